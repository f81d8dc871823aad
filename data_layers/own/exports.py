"""What the formats have in common that keep the annotations of many photographs in one file.

A list of a split names the annotations of one photograph as if the file were a folder: annotations.xml/17.
"""
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from data_layers.own.shapes import Canvas, Size

KEY = re.compile(r'[\w-]{1,80}', re.A)


class Photo(NamedTuple):
    """What an annotation file says of a photograph.

    Attributes
    ----------
    names : tuple of str
        Paths or addresses that it may have, the likeliest first.
    split : str
        That it belongs to, in the words of the file, or ''.
    """
    names: tuple[str, ...]
    split: str = ''


class Export(Protocol):
    """An annotation file of many photographs, read.

    Attributes
    ----------
    title : str
        What people call the format.
    upright : bool
        Whether shapes are drawn on photographs turned as EXIF says, in every version of the program.
    photos : dict
        Key -> photograph.
    classes : list of (str, object)
        Name and colour of each, in the order of the file; empty where it does not tell.
    ground : bool
        Whether what no shape covers is a class; else it is void.
    notes : list of str
        What should be known, a line each.
    """
    title: str
    upright: bool
    photos: dict[str, Photo]
    classes: list[tuple[str, Any]]
    ground: bool
    notes: list[str]

    def size(self, key: str) -> Size:
        """Height and width of a photograph as the file states them; raises ValueError where it does not."""

    def draw(self, key: str) -> Canvas:
        """Draw the shapes of a photograph; raises ValueError, KeyError, TypeError ... where one cannot be drawn."""


def key_of(id: Any, position: int) -> str:
    """How a list of a split names the photograph with an id, the one at a position of its file."""
    text = str(id) if isinstance(id, int | str) else ''
    return text if KEY.fullmatch(text) else f'number-{position}'


def unique(keys: list[str], what: str) -> None:
    """Refuse a file in which two photographs have one id, with a ValueError."""
    if twice := [key for key, count in Counter(keys).items() if count > 1]:
        raise ValueError(f'two {what} have the id {twice[0]}')


def bare(path: Path, count: int) -> list[str]:
    """The note, if any, on photographs of a file that have no shape."""
    return [f'{count} of the photographs of {path.name} have no shape: all of them is background'] if count else []
