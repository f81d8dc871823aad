"""Label Studio's JSON: one file for many photographs, of polygons, brushes, rectangles and ellipses, in percent."""
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from data_layers.own import runs, shapes
from data_layers.own.exports import Photo, key_of, unique
from data_layers.own.shapes import Canvas, Patch, Size, checked_points, checked_size
from data_layers.reading import IMAGES

PREFIX = re.compile(r'^[0-9a-f]{8}-')       # before the names of uploaded files
REGIONS = ('polygon', 'brush', 'rectangle', 'ellipse')
# What belongs to the whole photograph, or to a region that is told again.
ASIDE = {'choices', 'taxonomy', 'textarea', 'rating', 'number', 'datetime', 'pairwise', 'ranker', 'relation', *REGIONS}


def recognised(known: Any) -> bool:
    """Whether a JSON file is Label Studio's."""
    return isinstance(known, list) and len(known) > 0 and isinstance(known[0], dict) and (
        'data' in known[0] and ('annotations' in known[0] or 'completions' in known[0]) or 'annotation_id' in known[0])


class LabelStudio:
    """A file of Label Studio: see `Export`.

    Of several annotations of a photograph the ground truth counts, or else the last that was not cancelled.

    Parameters
    ----------
    path : path
        Where it lies.
    known : list
        What it holds.

    Raises
    ------
    ValueError, KeyError, TypeError, AttributeError
        It has not the form of an export as JSON.
    """
    title = 'Label Studio'
    upright = True      # it shows photographs in a browser, which turns them
    ground = True
    classes: list[tuple[str, Any]] = []

    def __init__(self, path: Path, known: list[dict[str, Any]]) -> None:
        if 'data' not in known[0]:
            raise ValueError('it is the short form, JSON-MIN; export it as JSON')
        regions = [regions_of(task) for task in known]
        kept = [task for task, some in zip(known, regions, strict=True) if some]
        keys = [key_of(task.get('id'), position) for position, task in enumerate(kept)]
        unique(keys, 'tasks')
        self.photos = {key: Photo(names_of(task)) for key, task in zip(keys, kept, strict=True)}
        self.regions = {key: json.dumps(some).encode() for key, some in zip(keys, filter(None, regions), strict=True)}
        bare = len(known) - len(kept)
        self.notes = [f'left out of {path.name}: {bare} tasks without a region'] if bare else []

    def size(self, key: str) -> Size:
        """Height and width in pixels: see `Export`."""
        stated = {(region['original_height'], region['original_width']) for region in json.loads(self.regions[key])}
        if len(stated) > 1:
            raise ValueError('its regions have different original_width and original_height')
        return checked_size(*stated.pop())

    def draw(self, key: str) -> Canvas:
        """Draw the regions of a photograph, later ones over earlier ones: see `Export`."""
        canvas = Canvas(self.size(key))
        for region in json.loads(self.regions[key]):
            canvas.paint(label_of(region), patch(canvas.size, region))
        return canvas


def regions_of(task: dict[str, Any]) -> list[dict[str, Any]]:
    """The labelled regions of a task, in the order in which they were drawn; none if it is not annotated."""
    some = [one for one in task.get('annotations') or task.get('completions') or () if not one.get('was_cancelled')]
    chosen = next((one for one in some if one.get('ground_truth')), some[-1] if some else {})
    return [region for region in chosen.get('result') or () if region.get('type') not in ASIDE]


def names_of(task: dict[str, Any]) -> tuple[str, ...]:
    """What the photograph of a task may be called: its path, with and without what uploading put before the name."""
    data = task['data']
    values = [data.get('image'), *data.values(), task.get('file_upload')]
    names = []
    for value in dict.fromkeys(value for value in values if isinstance(value, str) and len(value) < 4096):
        try:
            parts = urlsplit(value)
        except ValueError:
            continue
        path = PurePosixPath(unquote(parse_qs(parts.query).get('d', [parts.path])[0]))
        if path.suffix.lower() in IMAGES:
            names += [str(path), str(path.with_name(PREFIX.sub('', path.name) or path.name))]
    if not names:
        raise ValueError(f'the task {str(task.get("id"))[:40]} names no photograph')
    return tuple(dict.fromkeys(names))


def label_of(region: dict[str, Any]) -> str:
    """The one label of a region.

    Raises
    ------
    ValueError, KeyError
        It has none, or several.
    """
    value, kind = region['value'], region['type']
    labels = value.get(kind if kind in value else 'labels')
    if not isinstance(labels, list) or len(labels) != 1:
        raise ValueError(f'the region {str(region.get("id"))[:40]} has the labels {str(labels)[:40]}; give it one')
    return shapes.checked_name(labels[0])


def patch(size: Size, region: dict[str, Any]) -> Patch:
    """The pixels of one region.

    Parameters
    ----------
    size : (int, int)
        Height and width of the picture.
    region : dict
        With `type` and `value`, whose numbers are percent of the width and height; angles are degrees, clockwise.

    Raises
    ------
    ValueError, KeyError, TypeError, OverflowError
        It is of another kind than `REGIONS`, or damaged.
    """
    value, percent = region['value'], np.array([size[1], size[0]]) / 100
    kind = region['type'].removesuffix('labels') or shape_of(value)
    if region.get('image_rotation'):
        raise ValueError(f'a photograph was turned by {region["image_rotation"]} degrees within Label Studio; save it '
                         'turned, and label that')
    if kind == 'polygon':
        return shapes.fill(size, checked_points(value['points'], 3, 'a polygon') * percent)
    if kind == 'brush':
        if value.get('format', 'rle') != 'rle':
            raise ValueError(f'a brush of the format {str(value["format"])[:40]}')
        bits = np.array(value['rle'])
        if bits.ndim != 1 or bits.dtype.kind not in 'iu' or bits.min(initial=0) < 0 or bits.max(initial=0) > 255:
            raise ValueError('the runs of a brush are no list of bytes')
        values = runs.unpacked(bits.astype(np.uint8).tobytes(), 4 * size[0] * size[1])
        return Patch(values.reshape(*size, 4)[..., 3] > 0)
    if kind not in REGIONS:
        raise ValueError(f'a region of the type {str(region["type"])[:40]} has no area that is drawn here; draw '
                         f'{", ".join(REGIONS)}')
    names = ('x', 'y', 'width', 'height') if kind == 'rectangle' else ('x', 'y', 'radiusX', 'radiusY')
    numbers = [value[name] for name in names]
    begin, extent = checked_points([numbers[:2], numbers[2:]], 2, f'a {kind}') * percent
    degrees = float(value.get('rotation') or 0)
    if kind == 'ellipse':
        return shapes.ellipse(size, begin, extent, degrees)
    corners = begin + extent * np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    return shapes.fill(size, checked_points(shapes.turned_about(corners, begin, degrees), 4, 'a rectangle'))


def shape_of(value: dict[str, Any]) -> str:
    """The kind of a region whose label is told apart from its shape, by what describes it."""
    return next((kind for key, kind in (('points', 'polygon'), ('rle', 'brush'), ('radiusX', 'ellipse'),
                                        ('width', 'rectangle')) if key in value), '')
