"""Masks as they are stored: class numbers, colours, or shapes in annotation files.

All of them become positions in a list of the values that occur, written as dataset.json writes them: numbers as "7",
colours as "128 64 128", shapes by their name.
"""
from pathlib import Path

import numpy as np
from PIL import Image

from cli import BadInput
from data_layers.own import annotations
from data_layers.reading import picture_size, read_pixels, to_integers

KINDS = ('index', 'colour', 'polygons')     # the last for all shapes of annotation files


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
        return annotations.draw(path)
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


def stored_size(path: Path) -> tuple[int, int] | None:
    """Height and width of a mask in pixels, from its head; None where it cannot be read, which `read_stored` tells."""
    return annotations.size(path) if annotations.is_drawn(path) else picture_size(path)
