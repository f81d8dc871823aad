"""labelme: a JSON file for each photograph, with shapes drawn as its `shapes_to_label` draws them."""
from typing import Any

import numpy as np

from data_layers.own import shapes
from data_layers.own.shapes import Canvas, Patch, Size, checked_points, checked_size

TITLE = "labelme's polygons"
UPRIGHT = True      # labelme turns a photograph as EXIF says before it shows it
LEAST = {'polygon': 3, 'rectangle': 2, 'circle': 2, 'line': 2, 'linestrip': 2, 'point': 1, 'mask': 2,
         'oriented_rectangle': 4}      # points
WIDEST = 1 << 16    # the radius of a circle, in pixels: beyond, Pillow takes minutes to draw it
LINE = 10           # the width of a line, in pixels
POINT = 5           # the radius of a point


def recognised(known: Any) -> bool:
    """Whether a JSON file is labelme's."""
    return isinstance(known, dict) and 'shapes' in known and 'imageHeight' in known


def size(known: Any) -> Size:
    """Height and width in pixels that a file states.

    Raises
    ------
    ValueError, KeyError, TypeError, OverflowError
        It is not labelme's, or the picture is too large.
    """
    width, height = known['imageWidth'], known['imageHeight']
    return checked_size(height, width)


def draw(known: Any) -> Canvas:
    """Draw the shapes of a file, later ones over earlier ones.

    Raises
    ------
    ValueError, KeyError, TypeError, AttributeError, OverflowError
        It is not labelme's, or has shapes that cannot be drawn.
    """
    canvas = Canvas(size(known))
    for shape in known['shapes']:
        add(canvas, shape)
    return canvas


def add(canvas: Canvas, shape: dict[str, Any]) -> None:
    """Draw one shape.

    Parameters
    ----------
    canvas : Canvas
        To draw on.
    shape : dict
        With `label`; `shape_type`, one of `LEAST`; `points`, whose meaning depends on it; and perhaps `mask`.

    Raises
    ------
    ValueError, KeyError, TypeError, OverflowError
        It cannot be drawn.
    """
    kind, name, pen = shape.get('shape_type') or 'polygon', shape['label'], canvas.pen
    if kind not in LEAST:
        raise ValueError(f'a {str(kind)[:40]} of {str(name)[:40]} is unknown; draw {", ".join(LEAST)}')
    points, value = checked_points(shape['points'], LEAST[kind], f'a {kind} of {str(name)[:40]}'), canvas.number(name)
    if kind in ('polygon', 'oriented_rectangle'):
        pen.polygon([*map(tuple, points)], fill=value, outline=value)
    elif kind == 'rectangle':
        pen.rectangle([*points.min(0), *points.max(0)], fill=value, outline=value)
    elif kind in ('line', 'linestrip'):
        pen.line([*map(tuple, points)], fill=value, width=LINE)
    elif kind == 'mask':
        canvas.paint(name, boxed(canvas.size, points, shape.get('mask')))
    else:
        radius = POINT if kind == 'point' else np.hypot(*(points[1] - points[0]))
        if radius > WIDEST:
            raise ValueError(f'a circle has a radius of {radius:.0f} pixels')
        pen.ellipse([*(points[0] - radius), *(points[0] + radius)], fill=value, outline=value)


def boxed(size: Size, points: np.ndarray, mask: Any) -> Patch:
    """The pixels of a mask in base64 that fills the box between two points, those of both included."""
    corners = points.astype(int)
    plane = shapes.embedded(mask, size)
    if plane.shape != tuple((np.ptp(corners, 0) + 1)[::-1]):
        raise ValueError(f'a mask of {plane.shape[1]}x{plane.shape[0]} pixels does not fill its box')
    return Patch(plane, *corners.min(0).tolist())
