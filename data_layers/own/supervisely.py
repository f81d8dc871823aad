"""Supervisely: a JSON file for each photograph, ann/a.jpg.json for img/a.jpg, and the classes in meta.json."""
from typing import Any

import numpy as np

from data_layers.own import shapes
from data_layers.own.shapes import Canvas, Patch, Size, checked_points, checked_size

TITLE = 'Supervisely'
UPRIGHT = False     # whether it turns photographs is an option of its import
META = 'meta.json'
FOLDER = 'ann'      # of the files


def recognised(known: Any) -> bool:
    """Whether a JSON file is Supervisely's."""
    return isinstance(known, dict) and 'objects' in known and isinstance(known.get('size'), dict)


def classes(known: Any) -> list[tuple[str, Any]]:
    """The classes of a meta.json: name and colour of each; none if it is another file."""
    listed = known.get('classes') if isinstance(known, dict) else None
    if not isinstance(listed, list) or not all(isinstance(one, dict) and isinstance(one.get('title'), str)
                                               for one in listed):
        return []
    return [(one['title'], one.get('color')) for one in listed]


def size(known: Any) -> Size:
    """Height and width in pixels that a file states; raises ValueError, KeyError or TypeError for none."""
    return checked_size(known['size']['height'], known['size']['width'])


def draw(known: Any) -> Canvas:
    """Draw the objects of a file, later ones over earlier ones.

    Raises
    ------
    ValueError, KeyError, TypeError, AttributeError, OverflowError
        It is not Supervisely's, or has objects that cannot be drawn.
    """
    canvas = Canvas(size(known))
    for one in known['objects']:
        canvas.paint(one['classTitle'], patch(canvas.size, one))
    return canvas


def patch(size: Size, one: dict[str, Any]) -> Patch:
    """The pixels of one object: a bitmap, a polygon less its holes and their outlines, or a rectangle.

    Raises
    ------
    ValueError, KeyError, TypeError, OverflowError
        It is of another kind, or damaged.
    """
    kind = one.get('geometryType', 'bitmap' if 'bitmap' in one else '')
    if kind == 'bitmap':
        left, top = checked_points([one['bitmap']['origin']], 1, 'a bitmap')[0].astype(int)
        return Patch(shapes.embedded(one['bitmap']['data'], size, zipped=True), int(left), int(top))
    if kind not in ('polygon', 'rectangle'):
        raise ValueError(f'a {str(kind)[:40]} of {str(one["classTitle"])[:40]} has no area that is drawn here; draw '
                         'bitmap, polygon or rectangle')
    points = checked_points(one['points']['exterior'], 3 if kind == 'polygon' else 2, f'a {kind}')
    if kind == 'rectangle':
        low, high = points.min(0), points.max(0)
        return shapes.outlined(size, np.array([low, (high[0], low[1]), high, (low[0], high[1])]))
    return shapes.outlined(size, points, [checked_points(hole, 3, 'a hole')
                                          for hole in one['points'].get('interior') or ()])
