"""COCO: one JSON file for many photographs, of polygons and run-length masks, or of panoptic segments in PNGs."""
import json
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from data_layers.own import runs, shapes
from data_layers.own.exports import Photo, bare, key_of, unique
from data_layers.own.shapes import IGNORED, Canvas, Patch, Size, checked_points, checked_size
from data_layers.reading import picture_size, read_pixels


def recognised(known: Any) -> bool:
    """Whether a JSON file is COCO's, of objects and not of captions."""
    return (isinstance(known, dict) and isinstance(known.get('images'), list) and
            isinstance(known.get('annotations'), list) and isinstance(known.get('categories'), list))


class Coco:
    """A file of COCO: see `Export`.

    Classes are in the order of the categories' ids. Annotations are drawn in the order of the file; crowds are void.

    Parameters
    ----------
    path : path
        Where it lies.
    known : dict
        What it holds.

    Raises
    ------
    ValueError, KeyError, TypeError, AttributeError, OverflowError
        It has not the form that COCO describes.
    """
    upright = False     # programs of many kinds write it

    def __init__(self, path: Path, known: dict[str, Any]) -> None:
        self.path = path
        images = known['images']
        keys = [key_of(image['id'], position) for position, image in enumerate(images)]
        unique(keys, 'images')
        by_id = {image['id']: key for key, image in zip(keys, images, strict=True)}
        self.photos = {key: Photo((str(image['file_name']),)) for key, image in zip(keys, images, strict=True)}
        self.sizes = {key: (image.get('height'), image.get('width')) for key, image in zip(keys, images, strict=True)}
        categories = sorted(known['categories'], key=lambda category: category['id'])
        self.names = {category['id']: shapes.checked_name(category['name']) for category in categories}
        self.classes = [(name, None) for name in self.names.values()]
        self.panoptic = any('segments_info' in one for one in known['annotations'])
        self.ground = not self.panoptic
        self.title = 'COCO, panoptic' if self.panoptic else 'COCO'
        found: dict[str, list[Any]] = defaultdict(list)
        for one in known['annotations']:
            if one['image_id'] not in by_id:
                raise ValueError(f'an annotation belongs to image {str(one["image_id"])[:40]}, which is none of its '
                                 'images')
            found[by_id[one['image_id']]].append(one)
        if self.panoptic:
            self.photos = {key: photo for key, photo in self.photos.items() if key in found}
        self.notes = bare(path, len(self.photos.keys() - found.keys()))
        self.found = {key: json.dumps(some).encode() for key, some in found.items()}    # a tenth of the memory

    def size(self, key: str) -> Size:
        """Height and width in pixels: see `Export`."""
        if self.panoptic:
            size = picture_size(self.segments(key))
            if size is None:
                raise ValueError(f'{self.segments(key)} is missing or damaged')
            return size
        height, width = self.sizes[key]
        if height is None or width is None:
            raise ValueError('an image has no height and width')
        return checked_size(height, width)

    def draw(self, key: str) -> Canvas:
        """Draw the annotations of a photograph: see `Export`."""
        some = json.loads(self.found.get(key, b'[]'))
        canvas = Canvas(self.size(key))
        if self.panoptic:
            self.draw_segments(canvas, key, some[0])
            return canvas
        for one in some:
            for patch in outlines(canvas.size, one):
                canvas.paint(self.name(one), patch)
        return canvas

    def name(self, one: dict[str, Any]) -> str:
        """The class of an annotation or a segment."""
        if one['category_id'] not in self.names:
            raise ValueError(f'an annotation has the category {str(one["category_id"])[:40]}, which is not listed')
        return IGNORED if one.get('iscrowd') else self.names[one['category_id']]

    def segments(self, key: str) -> Path:
        """The PNG of a panoptic annotation, in the folder named like the file or beside it.

        Raises
        ------
        ValueError, KeyError
            Its name leads elsewhere.
        """
        name = PurePosixPath(json.loads(self.found[key])[0]['file_name'])
        if name.is_absolute() or '..' in name.parts or '\0' in str(name):
            raise ValueError(f'the segments {str(name)[:80]!r} lie elsewhere')
        inside = self.path.with_suffix('') / name
        return inside if inside.exists() else self.path.parent / name

    def draw_segments(self, canvas: Canvas, key: str, one: dict[str, Any]) -> None:
        """Paint the segments of a panoptic annotation: red, green and blue are the digits of an id, to the base 256."""
        planes = np.asarray(read_pixels(self.segments(key)).convert('RGB'), np.int32)
        ids, positions = np.unique(planes @ np.array([1, 1 << 8, 1 << 16], np.int32), return_inverse=True)
        positions = positions.reshape(canvas.size)
        names = {segment['id']: self.name(segment) for segment in one['segments_info']}
        for position, id in enumerate(ids.tolist()):
            if id and id not in names:
                raise ValueError(f'the segment {id} of {self.segments(key).name} is not described')
            if id:
                canvas.paint(names[id], Patch(positions == position))


def outlines(size: Size, one: dict[str, Any]) -> list[Patch]:
    """The pixels of an annotation, in one patch or in several that are united.

    Parameters
    ----------
    size : (int, int)
        Height and width of the picture.
    one : dict
        Whose `segmentation` is a list of polygons, x and y by turns, or a mask of runs with its `size`.

    Raises
    ------
    ValueError, KeyError, TypeError, OverflowError
        It is neither.
    """
    outline = one.get('segmentation')
    what = f'the annotation {str(one.get("id"))[:40]}'
    if isinstance(outline, dict):
        if tuple(outline['size']) != size:
            raise ValueError(f'{what} has a mask of {str(outline["size"])[:40]}, its image is {list(size)}')
        counts = outline['counts']
        return [runs.of_columns(runs.lengths(counts) if isinstance(counts, str) else counts, size)]
    if not isinstance(outline, list) or not outline:
        raise ValueError(f'{what} has no outline, only a box perhaps; export segmentation, or remove it')
    return [shapes.fill(size, checked_points(pairs(part, what), 3, what)) for part in outline]


def pairs(part: Any, what: str) -> np.ndarray:
    """Numbers, x and y by turns, as N x 2; raises ValueError for what is no such list."""
    numbers = np.array(part, float)
    if numbers.ndim != 1 or len(numbers) % 2:
        raise ValueError(f'{what} has a polygon that is no list of x and y by turns')
    return numbers.reshape(-1, 2)
