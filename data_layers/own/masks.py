"""Masks as they are stored: class numbers, colours, or polygons drawn with labelme.

All of them become positions in a list of the values that occur, written as dataset.json writes them: numbers as "7",
colours as "128 64 128", polygons by their name.
"""
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from cli import BadInput
from data_layers.reading import MOST_PIXELS, picture_size, read_json, read_pixels, to_integers

KINDS = ('index', 'colour', 'polygons')
GROUND = '_background_'     # labelme's name for what no polygon covers
FARTHEST = 1 << 28          # a coordinate, in pixels
WIDEST = 1 << 16            # the radius of a circle, in pixels: beyond, Pillow takes minutes to draw it


class Colourful(BadInput):
    """A mask that should hold class numbers holds colours."""


def read_stored(path: Path, masks: str) -> tuple[np.ndarray, list[str]]:
    """Read a mask.

    Parameters
    ----------
    path : path
        The file.
    masks : str
        The kind of the masks, one of `KINDS`.

    Returns
    -------
    positions : array
        H x W integers: where in `keys` the value of each pixel stands.
    keys : list of str
        The values that occur, as dataset.json writes them.

    Raises
    ------
    BadInput
        The file is missing, corrupt, or not such a mask; `Colourful` when it has colours instead of numbers.
    """
    if masks == 'polygons':
        return draw_polygons(path)
    picture = read_pixels(path)
    values = colour_values(picture, path) if masks == 'colour' else index_values(picture, path)
    present, positions = np.unique(values, return_inverse=True)
    keys = [f'{v >> 16} {v >> 8 & 255} {v & 255}' if masks == 'colour' else str(v) for v in present.tolist()]
    return positions.reshape(values.shape), keys


def index_values(picture: Image.Image, path: Path) -> np.ndarray:
    """The class numbers of a mask.

    Parameters
    ----------
    picture : Image
        Palette, grey, black and white, or in colours that are grey all over.
    path : path
        Where it comes from, for the complaint.

    Returns
    -------
    array
        H x W, int64.

    Raises
    ------
    BadInput
        Of another mode; `Colourful` when it has colours.
    """
    if picture.mode in ('RGB', 'RGBA', 'LA'):
        planes = np.asarray(picture)
        if picture.mode != 'LA' and (planes[..., :1] != planes[..., 1:3]).any():
            raise Colourful(f'{path} holds colours, not class numbers')
        return planes[..., 0].astype(np.int64)
    if picture.mode not in ('P', 'L', '1', 'I', 'I;16'):
        raise BadInput(f'{path} is a {picture.mode} picture, not a mask; save it as a palette, grey or RGB PNG')
    return to_integers(np.asarray(picture), path)


def colour_values(picture: Image.Image, path: Path) -> np.ndarray:
    """The colours of a mask.

    Parameters
    ----------
    picture : Image
        RGB, palette, grey, or black and white.
    path : path
        Where it comes from, for the complaint.

    Returns
    -------
    array
        H x W, int64: 65536 R + 256 G + B.

    Raises
    ------
    BadInput
        Of another mode.
    """
    if picture.mode not in ('RGB', 'RGBA', 'P', 'L', '1'):
        raise BadInput(f'{path} is a {picture.mode} picture, the other masks hold colours; save it as an RGB PNG')
    planes = np.asarray(picture.convert('RGB'), np.int64)
    return planes[..., 0] << 16 | planes[..., 1] << 8 | planes[..., 2]


def draw_polygons(path: Path) -> tuple[np.ndarray, list[str]]:
    """Draw the polygons, rectangles and circles of a labelme file, later ones over earlier ones.

    Returns
    -------
    positions : array
        H x W integers: where in `keys` the name at each pixel stands.
    keys : list of str
        The names that show, `GROUND` among them where no shape is.

    Raises
    ------
    BadInput
        The file is missing, or not one of labelme, or has shapes without an area.
    """
    known = read_json(path)
    try:
        height, width = drawn_size(known)
        shapes = [(str(shape['label']), shape.get('shape_type') or 'polygon', np.array(shape['points'], float))
                  for shape in known['shapes']]
        names = [GROUND, *dict.fromkeys(name for name, _, _ in shapes if name != GROUND)]
        numbers = {name: number for number, name in enumerate(names)}
        picture = Image.new('I', (width, height))
        pen = ImageDraw.Draw(picture)
        for name, kind, points in shapes:
            if points.ndim != 2 or points.shape[1] != 2 or not (np.abs(points) < FARTHEST).all():
                raise ValueError(f'the {kind} of {name} has points that are not two numbers each')
            outline(pen, kind, points, numbers[name])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as problem:
        reason = ' '.join((f'{problem} is missing' if isinstance(problem, KeyError) else str(problem)).split())[:300]
        raise BadInput(f'{path} is not a labelme file that can be drawn ({reason}); save it again in labelme, '
                       'or remove it') from None
    positions = np.asarray(picture)
    present, positions = np.unique(positions, return_inverse=True)      # a shape that others hide does not occur
    return positions.reshape(height, width), [names[number] for number in present]


def drawn_size(known: Any) -> tuple[int, int]:
    """Height and width in pixels that a labelme file states.

    Parameters
    ----------
    known : object
        What the file holds.

    Raises
    ------
    ValueError, KeyError, TypeError, OverflowError
        It is no labelme file, or too large.
    """
    width, height = int(known['imageWidth']), int(known['imageHeight'])
    if width < 1 or height < 1 or width * height > MOST_PIXELS:
        raise ValueError(f'a size of {width}x{height}')
    return height, width


def stored_size(path: Path) -> tuple[int, int] | None:
    """Height and width of a mask in pixels, from its head; None where it cannot be read, which `read_stored` tells."""
    if path.suffix.lower() != '.json':
        return picture_size(path)
    try:
        return drawn_size(read_json(path))
    except (BadInput, KeyError, TypeError, ValueError, OverflowError):
        return None


def outline(pen: ImageDraw.ImageDraw, kind: str, points: np.ndarray, value: int) -> None:
    """Draw one filled shape.

    Parameters
    ----------
    pen : ImageDraw
        Of the picture.
    kind : str
        polygon, rectangle or circle.
    points : array
        N x 2, x and y in pixels: corners; or two opposite corners; or the centre and a point of the circle.
    value : int
        What the pixels become.

    Raises
    ------
    ValueError
        The shape has no area.
    """
    least = {'polygon': 3, 'rectangle': 2, 'circle': 2}
    if kind not in least:
        raise ValueError(f'a {kind} has no area; draw {", ".join(least)}')
    if len(points) < least[kind]:
        raise ValueError(f'a {kind} has {len(points)} points')
    if kind == 'polygon':
        pen.polygon([*map(tuple, points)], fill=value, outline=value)
    elif kind == 'rectangle':
        pen.rectangle([*points.min(0), *points.max(0)], fill=value, outline=value)
    else:
        radius = np.hypot(*(points[1] - points[0]))
        if radius > WIDEST:
            raise ValueError(f'a circle has a radius of {radius:.0f} pixels')
        pen.ellipse([*(points[0] - radius), *(points[0] + radius)], fill=value, outline=value)
