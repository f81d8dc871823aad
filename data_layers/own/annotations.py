"""Annotation files, told apart by what they hold, and drawn when they are read.

A file belongs to one photograph (labelme, Supervisely) or to many (COCO, CVAT, Label Studio). Of the latter, the path
of a mask names one photograph as if the file were a folder, annotations.xml/17. The values of such masks are names.
"""
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

import numpy as np

import files
from cli import BadInput
from data_layers.own import cvat, labelme, supervisely
from data_layers.own.coco import Coco
from data_layers.own.coco import recognised as is_coco
from data_layers.own.cvat import Cvat
from data_layers.own.exports import Export
from data_layers.own.labelstudio import LabelStudio
from data_layers.own.labelstudio import recognised as is_label_studio
from data_layers.own.shapes import Canvas, Size
from data_layers.reading import IMAGES, read_json, regular

SUFFIXES = {'.json', '.xml'}
KEPT = 256      # files of many photographs that a process keeps in memory
EXPORT_AGAIN = 'correct it, export it again, or remove it'
# What a file of another form causes.
WRONG = KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError


def is_drawn(path: PurePath) -> bool:
    """Whether the path of a mask leads to an annotation file, by its name."""
    return path.suffix.lower() in SUFFIXES or (path.parent.suffix.lower() in SUFFIXES and
                                               path.suffix.lower() not in IMAGES)


def draw(path: Path) -> tuple[np.ndarray, list[str]]:
    """Draw the shapes of a photograph, later ones over earlier ones.

    Parameters
    ----------
    path : path
        Of the annotations: a file, or a photograph's place in one of many.

    Returns
    -------
    positions : array
        H x W integers: where in `keys` the name at each pixel stands.
    keys : list of str
        The names that show, `shapes.GROUND` among them where no shape is, `shapes.IGNORED` for void.

    Raises
    ------
    BadInput
        The file is missing, of no known form, or has shapes that cannot be drawn.
    """
    return drawing(path).read()


def drawing(path: Path) -> Canvas:
    """The shapes of a photograph, drawn; raises BadInput as of `draw`."""
    opened, key = opened_at(path)
    if key is None:
        known = read_json(path)
        kind = format_of(known)
        with of_form(path, kind.TITLE, f'save it again in {program(kind.TITLE)}, or remove it'):
            return canvas_of(kind, known)
    with of_form(path, opened.title, 'correct it, export it again, or remove the photograph'):
        canvas: Canvas = opened.draw(key)
    return canvas


def size(path: Path) -> Size | None:
    """Height and width in pixels that annotations state; None where they cannot be read, which `draw` tells."""
    try:
        opened, key = opened_at(path)
        if key is not None:
            stated: Size = opened.size(key)
            return stated
        known = read_json(path)
        stated = format_of(known).size(known)
        return stated
    except (BadInput, *WRONG):
        return None


def upright(path: Path) -> bool:
    """Whether shapes are drawn on a photograph turned as EXIF says; raises BadInput as of `draw`."""
    opened, key = opened_at(path)
    return opened.upright if key is not None else bool(format_of(read_json(path)).UPRIGHT)


def canvas_of(kind: ModuleType, known: Any) -> Canvas:
    """What a file of one photograph shows."""
    canvas: Canvas = kind.draw(known)
    return canvas


def format_of(known: Any) -> ModuleType:
    """The format of a JSON file of one photograph; labelme's for want of another."""
    return supervisely if supervisely.recognised(known) and not labelme.recognised(known) else labelme


def opened_at(path: Path) -> tuple[Any, str | None]:
    """The file of many photographs that a path leads into, and the photograph's key there.

    Returns
    -------
    export : Export or None
        None for the file of one photograph.
    key : str or None
        The same.

    Raises
    ------
    BadInput
        The file cannot be read, or has no such photograph.
    """
    if not path.parent.is_file():
        return None, None
    export = open_export(path.parent)
    if export is None or path.name not in export.photos:
        raise BadInput(f'{path.parent} has no photograph with the id {path.name}; run python -m nets new again')
    return export, path.name


def open_export(path: Path) -> Export | None:
    """Read an annotation file of many photographs, once for as long as it stays the same.

    Returns
    -------
    Export or None
        None for another file.

    Raises
    ------
    BadInput
        It is damaged, or of a form that is not read here.
    """
    about = regular(path)
    return read_export(path, about.st_mtime_ns, about.st_size)


@lru_cache(KEPT)
def read_export(path: Path, changed: int, length: int) -> Export | None:
    """Read an annotation file of many photographs, that was changed at a time and has a length."""
    if path.suffix.lower() == '.xml':
        if not cvat.recognised(beginning(path)):
            return None
        with of_form(path, Cvat.title, EXPORT_AGAIN):
            return Cvat(path, files.read_text(path).encode())
    known = read_json(path)
    if is_label_studio(known):
        with of_form(path, LabelStudio.title, EXPORT_AGAIN):
            return LabelStudio(path, known)
    if is_coco(known):
        with of_form(path, 'COCO', EXPORT_AGAIN):
            return Coco(path, known)
    return None


def beginning(path: Path) -> bytes:
    """The first bytes of a file."""
    with files.open_regular(path) as file:
        return file.read(cvat.HEAD)


@contextmanager
def of_form(path: Path, title: str, remedy: str) -> Iterator[None]:
    """Tell by one line what in an annotation file has not the form of its format, and what to do."""
    try:
        yield
    except WRONG as problem:
        reason = ' '.join((f'{problem} is missing' if isinstance(problem, KeyError) else str(problem)).split())[:300]
        raise BadInput(f'{path} is not a {program(title)} file that can be drawn ({reason}); {remedy}') from None


def program(title: str) -> str:
    """The name of the program in the title of a format, such as labelme's."""
    return title.partition("'")[0]
