"""One colour a class index, for masks, pictures and legends: those that a list of classes states, else those of VOC."""
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import files


def voc_palette() -> np.ndarray:
    """The 256 colours of VOC.

    The bits of the index are dealt out three at a time to R, G and B, the first three to bit 7, the next to bit 6, ...

    Returns
    -------
    array
        256 x 3, uint8, RGB: a colour for each class index.

    Examples
    --------

    >>> voc_palette()[[0, 1, 2, 15, 255]].tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [224, 224, 192]]
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        colours[:, bit % 3] |= ((index >> bit & 1) << 7 - bit // 3).astype(np.uint8)
    return colours


PALETTE = voc_palette()
Colours = Sequence[tuple[int, ...]]     # R, G and B of each class, in order; empty where none are stated


def are_colours(value: Any) -> bool:
    """Whether a value from JSON is a list of colours, R, G and B from 0 to 255 each."""
    return isinstance(value, list | tuple) and all(
        isinstance(colour, list | tuple) and len(colour) == 3 and
        all(type(part) is int and 0 <= part <= 255 for part in colour) for colour in value)


def palette_of(colours: Colours = ()) -> np.ndarray:
    """The 256 colours of indices: VOC's, but for the classes of which others are stated.

    Returns
    -------
    array
        256 x 3, uint8, RGB.

    Examples
    --------

    >>> palette_of([(128, 64, 128)])[[0, 1, 255]].tolist()
    [[128, 64, 128], [128, 0, 0], [224, 224, 192]]
    """
    result = PALETTE.copy()
    if colours:
        result[:len(colours)] = colours
    return result


def colorize(labels: np.ndarray, colours: Colours = ()) -> np.ndarray:
    """Colour class indices.

    Parameters
    ----------
    labels : array
        H x W, uint8.
    colours : sequence of (int, int, int)
        As for `palette_of`.

    Returns
    -------
    array
        H x W x 3, uint8, RGB.
    """
    result: np.ndarray = palette_of(colours)[labels]
    return result


def save_indexed(path: str | Path, labels: np.ndarray, colours: Colours = ()) -> None:
    """Write class indices as a PNG with a palette, whose pixel values are the indices.

    Parameters
    ----------
    path : path
        The file to write.
    labels : array
        H x W, uint8.
    colours : sequence of (int, int, int)
        As for `palette_of`.
    """
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ValueError(f'labels must be H x W uint8, not {labels.shape} {labels.dtype}')
    picture = Image.fromarray(labels)
    picture.putpalette(palette_of(colours).ravel().tolist())
    save(path, picture, 'PNG')


def save_values(path: str | Path, labels: np.ndarray, values: Sequence[str], colours: Colours = ()) -> None:
    """Write class indices as a PNG of the values that stand for the classes in a user's own masks.

    Numbers make a picture with a palette, of 16 bits without one where they are above 255; colours one in RGB.

    Parameters
    ----------
    path : path
        The file to write.
    labels : array
        H x W, uint8.
    values : sequence of str
        Of each class, in order: all numbers, such as "7", or all colours, such as "128 64 128".
    colours : sequence of (int, int, int)
        As for `palette_of`.
    """
    table = np.array([[int(part) for part in value.split()] for value in values])
    if table.shape[1] == 3:
        picture = Image.fromarray(table.astype(np.uint8)[labels])
    elif table.max() > 255:
        picture = Image.fromarray(table[:, 0].astype(np.uint16)[labels])
    else:
        palette = PALETTE.copy()
        palette[table[:, 0]] = palette_of(colours)[:len(table)]
        picture = Image.fromarray(table[:, 0].astype(np.uint8)[labels])
        picture.putpalette(palette.ravel().tolist())
    save(path, picture, 'PNG')


def save(path: str | Path, picture: Image.Image, format: str, **options: Any) -> None:
    """Write a picture, whole or not at all.

    Parameters
    ----------
    path : path
        The file, in a folder that exists.
    picture : Image
    format : str
        One of Pillow's.
    **options
        As for `Image.save`.

    Raises
    ------
    BadInput, OSError
        As of `files.write`.
    """
    content = io.BytesIO()      # Pillow does not say why it cannot write into a file
    picture.save(content, format, **options)
    files.write(path, [content.getvalue()])


def stamp(**entries: str) -> PngInfo:
    """Text to go into a PNG file, which tells what made it: for `save`, as its `pnginfo`."""
    info = PngInfo()
    for key, value in entries.items():
        info.add_text(key, value)
    return info


def stamped(path: Path) -> dict[str, str]:
    """The text in a regular PNG file; none where it is missing, or another kind of file."""
    try:
        with files.open_regular(path) as file, Image.open(file, formats=['PNG']) as picture:
            return {str(key): value for key, value in picture.info.items() if isinstance(value, str)}
    except Exception:       # whatever Pillow makes of another's file
        return {}
