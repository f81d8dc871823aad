"""Shapes drawn into a mask: where each lies, as a patch of pixels, and a canvas that later ones cover.

Coordinates are x and y in pixels from the upper left corner. `fill` decides as pycocotools does (its frPyObjects):
corners are rounded to a fifth of a pixel, and a pixel belongs to a polygon when the centre of its area does, by the
even-odd rule. The pen of a canvas draws as labelme does, and `outlined` as Supervisely: coordinates are those of
pixels, and the outline belongs to the shape.
"""
import base64
import binascii
import io
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from data_layers.reading import MOST_PIXELS

GROUND = '_background_'     # labelme's name for what no shape covers
IGNORED = '__ignore__'      # and for what is void
FARTHEST = 1 << 28          # a coordinate, in pixels
CROSSINGS = 1 << 24         # of the columns of a picture by the sides of a polygon
FIFTHS = 5                  # to which corners are rounded, of a pixel
CORNERS = 720               # of the polygon that stands for an ellipse

Size = tuple[int, int]      # height and width, in pixels


class Patch(NamedTuple):
    """A part of a picture.

    Attributes
    ----------
    mask : array of bool
        H x W: which pixels belong to the shape.
    left, top : int
        Column and row of its first pixel in the picture.
    """
    mask: np.ndarray
    left: int = 0
    top: int = 0


NOTHING = Patch(np.zeros((0, 0), bool))


class Canvas:
    """A mask of names that shapes are painted into, later ones over earlier ones.

    Parameters
    ----------
    size : (int, int)
        Height and width in pixels, as of `checked_size`.
    """

    def __init__(self, size: Size) -> None:
        self.size = size
        self.picture = Image.new('I', size[::-1])
        self.pen = ImageDraw.Draw(self.picture)     # draws in the colour `number(name)`
        self.numbers = {GROUND: 0}

    def number(self, name: Any) -> int:
        """What stands for a name in the picture; raises ValueError for none."""
        return self.numbers.setdefault(checked_name(name), len(self.numbers))

    def paint(self, name: Any, patch: Patch) -> None:
        """Give the pixels of a patch a name; what lies beyond the picture is left out.

        Raises
        ------
        ValueError
            The name is none.
        """
        number, (mask, left, top) = self.number(name), patch
        mask = mask[max(-top, 0):max(self.size[0] - top, 0), max(-left, 0):max(self.size[1] - left, 0)]
        if mask.size:
            self.picture.paste(number, (max(left, 0), max(top, 0)), Image.fromarray(np.ascontiguousarray(mask)))

    def read(self) -> tuple[np.ndarray, list[str]]:
        """What was painted.

        Returns
        -------
        positions : array
            H x W integers: where in `keys` the name at each pixel stands.
        keys : list of str
            The names that show, `GROUND` among them where no shape is.
        """
        names = list(self.numbers)
        shown = np.zeros(len(names), bool)      # a shape that others hide does not occur
        plane = np.asarray(self.picture)
        shown[plane] = True
        positions: np.ndarray = (np.cumsum(shown, dtype=np.int32) - 1)[plane]
        return positions, [name for name, seen in zip(names, shown, strict=True) if seen]


def checked_name(name: Any) -> str:
    """The name of a class as text; raises ValueError for none."""
    text = str(name) if isinstance(name, str | int) else ''
    if not text:
        raise ValueError(f'a shape has the label {str(name)[:40]!r}, which is no name of a class')
    return text


def checked_size(height: Any, width: Any) -> Size:
    """Height and width in pixels.

    Parameters
    ----------
    height, width : int or str
        As a file states them.

    Raises
    ------
    ValueError, TypeError, OverflowError
        They are no size of a picture, or one of too many pixels.
    """
    height, width = int(height), int(width)
    if width < 1 or height < 1 or width * height > MOST_PIXELS:
        raise ValueError(f'a size of {width}x{height}')
    return height, width


def checked_points(points: Any, least: int, what: str) -> np.ndarray:
    """Points as N x 2 numbers.

    Parameters
    ----------
    points : sequence
        Pairs of x and y.
    least : int
        How many there must be.
    what : str
        The shape, for the complaint.

    Raises
    ------
    ValueError, TypeError, OverflowError
        There are fewer, or they are not two finite numbers each within `FARTHEST`.
    """
    array = np.array(points, float)
    if array.ndim != 2 or array.shape[1] != 2 or not (np.abs(array) < FARTHEST).all():
        raise ValueError(f'{what} has points that are not two numbers each')
    if len(array) < least:
        raise ValueError(f'{what} has {len(array)} points')
    return array


# Filled by the centres of the pixels.

def fill(size: Size, points: np.ndarray) -> Patch:
    """The pixels of a polygon, as pycocotools gives them.

    Where a side passes from the left half of a column of pixels to the right one, at a height v in fifths of a pixel,
    all pixels of the column whose centre lies at v or below change sides.

    Parameters
    ----------
    size : (int, int)
        Height and width of the picture.
    points : array
        N x 2, as of `checked_points`.

    Raises
    ------
    ValueError
        Its sides cross more than `CROSSINGS` columns of pixels.
    """
    height, width = size
    begin = np.trunc(FIFTHS * points + .5)
    end = np.roll(begin, -1, 0)
    steep = np.abs(end - begin)[:, 0] < np.abs(end - begin)[:, 1]
    turned = np.where(steep, begin[:, 1] > end[:, 1], begin[:, 0] > end[:, 0])[:, None]
    begin, end = np.where(turned, end, begin), np.where(turned, begin, end)
    low, high = np.minimum(begin, end)[:, 0], np.maximum(begin, end)[:, 0]
    first = np.maximum(np.ceil((low - 2) / FIFTHS), 0).astype(np.int64)     # the middle of column c is at 5 c + 2.5
    last = np.minimum(np.floor((high - 3) / FIFTHS), width - 1).astype(np.int64)
    count = np.maximum(last - first + 1, 0)
    if count.sum() > CROSSINGS:
        raise ValueError(f'a polygon of {len(points)} points crosses {count.sum()} columns of pixels, more than any')
    if not count.any():
        return NOTHING
    side = np.repeat(np.arange(len(points)), count)
    column = np.arange(len(side)) - np.repeat(np.cumsum(count) - count, count) + first[side]
    v = crossing(begin[side], end[side], steep[side], FIFTHS * column + 2)
    row = np.clip(np.ceil((v - 2) / FIFTHS), 0, height).astype(np.int64)
    left, right, top, bottom = column.min(), column.max() + 1, row.min(), row.max()
    flips = np.zeros((bottom - top + 1, right - left), np.uint8)
    np.bitwise_xor.at(flips, (row - top, column - left), 1)
    return Patch(np.bitwise_xor.accumulate(flips, 0)[:-1].view(bool), int(left), int(top))


def crossing(begin: np.ndarray, end: np.ndarray, steep: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Where sides pass from x = u to u + 1: the smaller y of the two steps of a line drawn in whole fifths.

    Parameters
    ----------
    begin, end : array
        K x 2 integers: the sides, in the direction of growing y where steep and of growing x elsewhere.
    steep : array of bool
        K: whether a line takes one step for each y, not for each x.
    u : array of int
        K, between the two ends.

    Returns
    -------
    array
        K integers, as floats.
    """
    (x, y), (run, rise) = begin.T, (end - begin).T
    with np.errstate(divide='ignore', invalid='ignore'):    # each quotient is used where it is one
        slope, lean = rise / run, run / rise
        step = np.where(steep, np.floor((u + .5 - x) / lean) - 1, u - x)
        flat = np.minimum(np.trunc(y + slope * step + .5), np.trunc(y + slope * (step + 1) + .5))
        for _ in range(3):      # the first step beyond u, whatever the rounding
            across = np.trunc(x + lean * step + .5)
            step = step + np.where(lean > 0, across <= u, across > u)
    crossed: np.ndarray = np.where(steep, y + step - 1, flat)
    return crossed


def turned_about(points: np.ndarray, centre: np.ndarray, degrees: float) -> np.ndarray:
    """Points (N x 2) turned clockwise, as seen, about a centre; raises ValueError for no angle."""
    if not abs(degrees) < FARTHEST:
        raise ValueError(f'a rotation of {degrees} degrees')
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    turned: np.ndarray = (points - centre) @ np.array([[cosine, sine], [-sine, cosine]]) + centre
    return turned


def ellipse(size: Size, centre: np.ndarray, radii: np.ndarray, degrees: float = 0) -> Patch:
    """The pixels of an ellipse: those of a polygon of `CORNERS` corners on it.

    Parameters
    ----------
    size : (int, int)
        Height and width of the picture.
    centre, radii : array
        2 each: x and y.
    degrees : float
        Of a turn about the centre, clockwise.

    Raises
    ------
    ValueError
        A radius is below 0.
    """
    if not (radii >= 0).all():
        raise ValueError(f'an ellipse has the radii {radii[0]:g} and {radii[1]:g}')
    angles = np.arange(CORNERS) * 2 * np.pi / CORNERS
    rim = centre + radii * np.stack([np.cos(angles), np.sin(angles)], 1)
    return fill(size, checked_points(turned_about(rim, centre, degrees), 3, 'an ellipse'))


def outlined(size: Size, points: np.ndarray, holes: Sequence[np.ndarray] = ()) -> Patch:
    """The pixels of a polygon and of its outline, less those of holes and of their outlines.

    Parameters
    ----------
    size : (int, int)
        Height and width of the picture.
    points : array
        N x 2, as of `checked_points`.
    holes : sequence of array
        Alike.
    """
    left, top = np.maximum(np.floor(points.min(0)).astype(int) - 1, 0).tolist()
    right, bottom = np.minimum(np.ceil(points.max(0)).astype(int) + 2, size[::-1]).tolist()
    if right <= left or bottom <= top:
        return NOTHING
    picture = Image.new('L', (right - left, bottom - top))
    pen = ImageDraw.Draw(picture)
    for value, corners in (1, points), *((0, hole) for hole in holes):
        pen.polygon([*map(tuple, corners - (left, top))], fill=value, outline=value)
    return Patch(np.asarray(picture).view(bool), left, top)


# Pictures within a file.

def embedded(text: Any, size: Size, zipped: bool = False) -> np.ndarray:
    """A mask that a file holds as a PNG in base64.

    Parameters
    ----------
    text : str
        In base64.
    size : (int, int)
        Height and width of the picture that the mask belongs to, which has as many pixels at least.
    zipped : bool
        Whether the PNG is compressed once more, by zlib.

    Returns
    -------
    array of bool
        H x W: where it is not 0, or not transparent where it has an alpha channel.

    Raises
    ------
    ValueError
        It is none, or larger than the picture.
    """
    if not isinstance(text, str):
        raise ValueError('a mask is no text in base64')
    most = 5 * size[0] * size[1] + (1 << 16)     # bytes of four channels and what goes with them
    try:
        data = base64.b64decode(text, validate=True)
        if zipped and not data.startswith(b'\x89PNG'):
            unpacker = zlib.decompressobj()
            data = unpacker.decompress(data, most)
            if unpacker.unconsumed_tail:
                raise ValueError('a mask is larger than its picture')
    except (binascii.Error, zlib.error):
        raise ValueError('a mask is damaged: no PNG in base64') from None
    try:
        with Image.open(io.BytesIO(data), formats=('PNG',)) as picture:
            fits = picture.width * picture.height <= size[0] * size[1]
            plane = opaque(picture) if fits else None
    except Exception:       # a damaged picture makes the decoders raise almost anything
        raise ValueError('a mask is damaged: no PNG') from None
    if plane is None:
        raise ValueError('a mask is larger than its picture')
    mask: np.ndarray = plane != 0
    return mask


def opaque(picture: Image.Image) -> np.ndarray:
    """What is not 0 where a picture shows something: its opacity if it has one, else its brightness or its indices."""
    if 'transparency' in picture.info:
        picture = picture.convert('RGBA')
    if 'A' in picture.getbands():
        return np.asarray(picture.getchannel('A'))
    return np.asarray(picture.convert('L') if picture.mode == 'RGB' else picture)
