"""Variations of a training sample: scaled, cropped, mirrored at random. The published recipes do without.

What comes out depends on the sample, the seed and the position alone, so that a resumed run goes on exactly.
"""
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from cli import BadInput
from data_layers.reading import VOID

OPTIONS = ('mirror', 'scale', 'crop', 'max_size')
STREAM = 1      # apart from the draws of samples, which come from (seed, position)


def check(mirror: bool = False, scale: Sequence[float] | None = None, crop: int | None = None,
          max_size: int | None = None) -> None:
    """Refuse options of the wrong kind.

    Parameters
    ----------
    mirror, scale, crop, max_size
        As for `augment`.

    Raises
    ------
    BadInput
        One is not what `augment` takes.
    """
    if not isinstance(mirror, bool):
        raise BadInput(f'mirror is {mirror!r}; give True or False')
    if scale is not None and not (isinstance(scale, list | tuple) and len(scale) == 2 and all(
            isinstance(factor, int | float) for factor in scale) and 0 < scale[0] <= scale[1] <= 16):
        raise BadInput(f'scale is {scale!r}; give the smallest and the largest factor, such as (0.5, 2)')
    if crop is not None and (isinstance(crop, bool) or not isinstance(crop, int) or crop < 1):
        raise BadInput(f'crop is {crop!r}; give the side of the square in pixels')
    if max_size is not None and (isinstance(max_size, bool) or not isinstance(max_size, int) or max_size < 1):
        raise BadInput(f'max_size is {max_size!r}; give the longest side that an image may have, in pixels')


def augment(sample: Sequence[np.ndarray], seed: int, position: int, mirror: bool = False,
            scale: Sequence[float] | None = None, crop: int | None = None,
            max_size: int | None = None) -> tuple[np.ndarray, ...]:
    """Vary a sample, all its tops alike.

    Parameters
    ----------
    sample : sequence of array
        C x H x W each: images float32, mean subtracted; labels uint8.
    seed, position : int
        Of the training stream.
    mirror : bool
        Swap left and right of every other sample.
    scale : (float, float), optional
        Resize by a factor between these two, as often below as above their geometric mean: images bilinearly, labels
        to the nearest pixel.
    crop : int, optional
        Cut out a square of so many pixels. What lies beyond the image is the mean, and void.
    max_size : int, optional
        Before all else, shrink a sample whose longer side has more pixels to that many.

    Returns
    -------
    tuple of array
        Of the same types.
    """
    rng = np.random.default_rng((seed, position, STREAM))
    factor, down, across, flip = rng.random(4)      # always all, so that one option leaves the others as they are
    sample = [limit(array, max_size) for array in sample]
    if scale is not None:
        sample = [resize(array, scale[0] * (scale[1] / scale[0]) ** factor) for array in sample]
    if crop is not None:
        sample = [window(array, crop, down, across) for array in sample]
    if mirror and flip < 0.5:
        sample = [array[:, :, ::-1] for array in sample]
    return tuple(sample)


def size_of(height: int, width: int, scale: Sequence[float] | None = None, crop: int | None = None,
            max_size: int | None = None, **_: Any) -> tuple[int, int]:
    """The largest height and width, in pixels, that `augment` with these options makes of a sample of a size."""
    if crop is not None:
        return crop, crop
    height, width = limited(height, width, max_size)
    return (height, width) if scale is None else (max(1, round(scale[1] * height)), max(1, round(scale[1] * width)))


def limited(height: int, width: int, max_size: int | None) -> tuple[int, int]:
    """Height and width of an image whose longer side may have so many pixels.

    >>> limited(300, 400, 200), limited(300, 400, 500), limited(1, 4000, 2)
    ((150, 200), (300, 400), (1, 2))
    """
    if max_size is None or max(height, width) <= max_size:
        return height, width
    factor = max_size / max(height, width)
    return max(1, round(factor * height)), max(1, round(factor * width))


def limit(array: np.ndarray, max_size: int | None) -> np.ndarray:
    """An array, C x H x W, whose longer side may have so many pixels, as `resize` makes it smaller."""
    _, height, width = array.shape
    size = limited(height, width, max_size)
    return array if size == (height, width) else resized(array, *size)


def resize(array: np.ndarray, factor: float) -> np.ndarray:
    """Resize an array.

    Parameters
    ----------
    array : array
        C x H x W: an image, float32, resized bilinearly, or a label, uint8, to the nearest pixel.
    factor : float
        Of height and width; both stay at least 1.

    Returns
    -------
    array
        C x H' x W', of the same type.
    """
    _, height, width = array.shape
    return resized(array, max(1, round(factor * height)), max(1, round(factor * width)))


def resized(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """An array, C x H x W, at another height and width, as of `resize`."""
    how = Image.Resampling.NEAREST if array.dtype == np.uint8 else Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(channel).resize((width, height), how)) for channel in array])


def window(array: np.ndarray, side: int, down: float, across: float) -> np.ndarray:
    """Cut a square out of an array; a smaller array is filled up at the right and below, with 0 or void.

    Parameters
    ----------
    array : array
        C x H x W: an image, float32, or a label, uint8.
    side : int
        Of the square, in pixels.
    down, across : float
        Where it begins, as fractions, 0 to 1, of the rows and columns where it may.

    Returns
    -------
    array
        C x side x side, of the same type.
    """
    channels, height, width = array.shape
    top, left = int(down * max(height - side + 1, 1)), int(across * max(width - side + 1, 1))
    result = np.full((channels, side, side), VOID if array.dtype == np.uint8 else 0, array.dtype)
    part = array[:, top:top + side, left:left + side]
    result[:, :part.shape[1], :part.shape[2]] = part
    return result
