"""The VOC palette: one colour a class index, used for masks, pictures and legends of every data set."""
import io
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


def colorize(labels: np.ndarray) -> np.ndarray:
    """Colour class indices.

    Parameters
    ----------
    labels : array
        H x W, uint8.

    Returns
    -------
    array
        H x W x 3, uint8, RGB.
    """
    colours: np.ndarray = PALETTE[labels]
    return colours


def save_indexed(path: str | Path, labels: np.ndarray) -> None:
    """Write class indices as a PNG with the VOC palette, whose pixel values are the indices.

    Parameters
    ----------
    path : path
        The file to write.
    labels : array
        H x W, uint8.
    """
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ValueError(f'labels must be H x W uint8, not {labels.shape} {labels.dtype}')
    picture = Image.fromarray(labels)
    picture.putpalette(PALETTE.ravel().tolist())
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
