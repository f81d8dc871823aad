"""CVAT for images: one XML file for many photographs, of polygons, boxes, ellipses and masks, by z_order.

Read by expat without a tree. A document type, which could define entities that grow without bound or lead to other
files, is refused.
"""
import re
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from data_layers.own import runs, shapes
from data_layers.own.exports import Photo, bare, key_of, unique
from data_layers.own.shapes import Canvas, Patch, Size, checked_points, checked_size

BEGIN = re.compile(rb'<annotations[\s>]')
HEAD = 4096     # bytes of a file in which it begins
SHAPES = {'polygon', 'box', 'ellipse', 'mask'}
LOST = {'polyline', 'points', 'cuboid', 'skeleton'}     # shapes that have no area

Shape = tuple[str, dict[str, str]]      # its kind and attributes


def recognised(data: bytes) -> bool:
    """Whether an XML file, or the beginning of one, is CVAT's."""
    return BEGIN.search(data[:HEAD]) is not None


class Cvat:
    """A file of CVAT: see `Export`.

    Parameters
    ----------
    path : path
        Where it lies.
    data : bytes
        What it holds.

    Raises
    ------
    ValueError, KeyError
        It is damaged, has a document type, or is of tracks in a video.
    """
    title = 'CVAT for images'
    upright = True      # CVAT turns photographs as EXIF says
    ground = True

    def __init__(self, path: Path, data: bytes) -> None:
        self.images: list[tuple[dict[str, str], list[Shape]]] = []
        self.classes: list[tuple[str, Any]] = []
        self.within: list[str] = []     # the elements around what is read
        self.text = ''
        parse(data, self.start, self.end, self.characters)
        keys = [key_of(f'{about["task_id"]}-{about["id"]}' if 'task_id' in about else about['id'], position)
                for position, (about, _) in enumerate(self.images)]
        unique(keys, 'images')
        self.photos = {key: Photo((about['name'],), about.get('subset', '').lower())
                       for key, (about, _) in zip(keys, self.images, strict=True)}
        self.notes = bare(path, sum(not some for _, some in self.images))
        self.by_key = dict(zip(keys, self.images, strict=True))

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        if name == 'track':
            raise ValueError('it holds tracks; export it as "CVAT for images"')
        if name == 'image' and self.within == ['annotations']:
            self.images.append((attributes, []))
        elif self.within == ['annotations', 'image'] and name in SHAPES | LOST:
            self.images[-1][1].append((name, attributes))
        self.within.append(name)
        self.text = ''

    def end(self, name: str) -> None:
        """An element ends."""
        self.within.pop()
        if self.within[-2:] == ['labels', 'label'] and name == 'name':
            self.classes.append((shapes.checked_name(self.text.strip()), None))
        elif self.within[-2:] == ['labels', 'label'] and name == 'color' and self.classes:
            self.classes[-1] = self.classes[-1][0], self.text.strip()
        self.text = ''

    def characters(self, text: str) -> None:
        """Text within an element, perhaps a part of it."""
        if self.within[-1] in ('name', 'color'):
            self.text += text

    def size(self, key: str) -> Size:
        """Height and width in pixels: see `Export`."""
        about, _ = self.by_key[key]
        return checked_size(about['height'], about['width'])

    def draw(self, key: str) -> Canvas:
        """Draw the shapes of a photograph, those of higher z_order over others: see `Export`."""
        canvas = Canvas(self.size(key))
        for kind, about in sorted(self.by_key[key][1], key=lambda shape: int(shape[1].get('z_order', 0))):
            canvas.paint(about['label'], patch(canvas.size, kind, about))
        return canvas


def patch(size: Size, kind: str, about: dict[str, str]) -> Patch:
    """The pixels of one shape.

    Parameters
    ----------
    size : (int, int)
        Height and width of the picture.
    kind : str
        The element.
    about : dict
        Its attributes.

    Raises
    ------
    ValueError, KeyError
        It is of another kind than `SHAPES`, or an attribute is missing or no number.
    """
    if kind == 'polygon':
        corners = [point.split(',') for point in about['points'].split(';')]
        return shapes.fill(size, checked_points(corners, 3, 'a polygon'))
    if kind == 'mask':
        left, top, width, height = (int(about[name]) for name in ('left', 'top', 'width', 'height'))
        if width * height > size[0] * size[1] or max(abs(left), abs(top)) > shapes.FARTHEST:
            raise ValueError('a mask is larger than its picture')
        counts = np.array(about['rle'].split(','), np.int64)
        return runs.of_box(counts, checked_size(height, width), left, top)
    if kind == 'box':
        box = checked_points([[about['xtl'], about['ytl']], [about['xbr'], about['ybr']]], 2, 'a box')
        rim = np.stack([box[[0, 1, 1, 0], 0], box[[0, 0, 1, 1], 1]], 1)
        return shapes.fill(size, shapes.turned_about(rim, box.mean(0), float(about.get('rotation', 0))))
    if kind == 'ellipse':
        centre, radii = checked_points([[about['cx'], about['cy']], [about['rx'], about['ry']]], 2, 'an ellipse')
        return shapes.ellipse(size, centre, radii, float(about.get('rotation', 0)))
    raise ValueError(f'a {kind} of {about.get("label", "")[:40]} has no area; draw {", ".join(sorted(SHAPES))}')


def parse(data: bytes, start: Any, end: Any, characters: Any) -> None:
    """Read XML, telling what begins, ends and stands between; raises ValueError if it is damaged or has a DOCTYPE."""
    def refuse(*_: Any) -> None:
        raise ValueError('it has a document type (DOCTYPE), which CVAT writes none of')

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, characters
    parser.StartDoctypeDeclHandler = refuse
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, LookupError) as problem:
        raise ValueError(f'it is no XML: {problem}') from None
