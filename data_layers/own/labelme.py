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
        canvas.paint(shape['label'], patch(canvas.size, shape))
    return canvas


def patch(size: Size, shape: dict[str, Any]) -> Patch:
    """The pixels of one shape.

    Parameters
    ----------
    size : (int, int)
        Height and width of the picture.
    shape : dict
        With `shape_type`, one of `LEAST`; `points`, whose meaning depends on it; and `mask`.

    Raises
    ------
    ValueError, KeyError, TypeError, OverflowError
        It cannot be drawn.
    """
    kind = shape.get('shape_type') or 'polygon'
    if kind not in LEAST:
        raise ValueError(f'a {str(kind)[:40]} of {str(shape["label"])[:40]} is unknown; draw {", ".join(LEAST)}')
    points = checked_points(shape['points'], LEAST[kind], f'a {kind} of {str(shape["label"])[:40]}')
    if kind in ('polygon', 'oriented_rectangle'):
        return shapes.polygon(size, points)
    if kind == 'mask':      # the box of its pixels, both corners within
        left, top = points.min(0).astype(int)
        mask = shapes.embedded(shape.get('mask'), size)
        if mask.shape != tuple((np.ptp(points.astype(int), 0) + 1)[::-1]):
            raise ValueError(f'a mask of {mask.shape[1]}x{mask.shape[0]} pixels does not fill its box')
        return Patch(mask, int(left), int(top))
    if kind in ('line', 'linestrip'):
        return shapes.pen(size, points, lambda pen, corners: pen.line(corners, fill=1, width=LINE), LINE)
    if kind == 'rectangle':
        corners = np.array([points.min(0), points.max(0)])
        return shapes.pen(size, corners, lambda pen, corners: pen.rectangle(corners, fill=1, outline=1))
    radius = POINT if kind == 'point' else np.hypot(*(points[1] - points[0]))
    if radius > WIDEST:
        raise ValueError(f'a circle has a radius of {radius:.0f} pixels')
    corners = np.array([points[0] - radius, points[0] + radius])
    return shapes.pen(size, corners, lambda pen, corners: pen.ellipse(corners, fill=1, outline=1))
