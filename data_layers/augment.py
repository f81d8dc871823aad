"""Variations of a training sample: colours, size, angle, place and side at random. The published recipes do without.

What comes out depends on the sample, the seed and the position alone, so that a resumed run goes on exactly.
"""
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from cli import BadInput
from data_layers.bands import COLOURS
from data_layers.dataset import Dataset
from data_layers.reading import VOID

DEFAULTS: dict[str, Any] = {'mirror': True, 'scale': (0.5, 2), 'crop': 400, 'rotate': 10, 'colour': 0.2}
OPTIONS = (*DEFAULTS, 'max_size')
STREAM = 1      # apart from the draws of samples, which come from (seed, position)
FORMS = {'mirror': 'mirror', 'scale': 'scale=SMALLEST-LARGEST', 'crop': 'crop=PIXELS', 'rotate': 'rotate=DEGREES',
         'colour': 'colour=STRENGTH'}       # of what `parse` reads
YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])    # of RGB: NTSC, 1953
HUE = 90    # degrees by which colours turn at most at strength 1


def parse(text: str, longest: int | None = None) -> dict[str, Any]:
    """Read variations as a command line has them.

    Parameters
    ----------
    text : str
        Names of `DEFAULTS` with commas between them, each perhaps with = and its value.
    longest : int, optional
        Side of the largest image in pixels: a crop without its value is no larger.

    Returns
    -------
    dict
        Options of `augment`.

    Raises
    ------
    BadInput
        A name or a value is none of these.

    Examples
    --------
    >>> parse('mirror,scale=0.5-1.5,rotate,colour=0.1')
    {'mirror': True, 'scale': (0.5, 1.5), 'rotate': 10, 'colour': 0.1}
    >>> parse('crop', 300), parse('crop=500', 300)
    ({'crop': 300}, {'crop': 500})
    """
    options: dict[str, Any] = {}
    for word in text.split(','):
        name, given, value = word.strip().partition('=')
        if name not in DEFAULTS or name in options:
            raise BadInput(f'variation {name!r} is {"given twice" if name in options else "unknown"}: choose from '
                           f'{", ".join(FORMS.values())}, with commas between them')
        options[name] = DEFAULTS[name]
        if name == 'crop' and not given and longest is not None:
            options[name] = min(options[name], longest)
        if given:
            options[name] = value_of(name, value)
    check(**options)
    return options


def value_of(name: str, value: str) -> Any:
    """The value of a variation: a pair for `scale`, and a number for the others but `mirror`, which has none."""
    parts = value.split('-') if name == 'scale' else [value]
    try:
        numbers = [float(part) if not part.strip().isdecimal() else int(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != 1 + (name == 'scale') or name == 'mirror':
        raise BadInput(f'variation {name}={value}: write {FORMS[name]}, such as '
                       f'{name}{"" if name == "mirror" else "=" + written(DEFAULTS[name])}')
    return tuple(numbers) if name == 'scale' else numbers[0]


def written(value: Any) -> str:
    """A value of an option as `parse` reads it."""
    return '-'.join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def describe(options: Mapping[str, Any]) -> str:
    """Options as `parse` reads them.

    >>> describe({'mirror': True, 'scale': (0.5, 2)})
    'mirror,scale=0.5-2'
    """
    return ','.join(name if value is True else f'{name}={written(value)}' for name, value in options.items())


def check(mirror: bool = False, scale: Sequence[float] | None = None, crop: int | None = None,
          rotate: float | None = None, colour: float | None = None, max_size: int | None = None) -> None:
    """Refuse options of the wrong kind.

    Parameters
    ----------
    mirror, scale, crop, rotate, colour, max_size
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
    if rotate is not None and not (is_number(rotate) and 0 < rotate <= 180):
        raise BadInput(f'rotate is {rotate!r}; give the largest angle in degrees, such as 10')
    if colour is not None and not (is_number(colour) and 0 < colour <= 1):
        raise BadInput(f'colour is {colour!r}; give the strength, above 0 and at most 1, such as 0.2')
    if max_size is not None and (isinstance(max_size, bool) or not isinstance(max_size, int) or max_size < 1):
        raise BadInput(f'max_size is {max_size!r}; give the longest side that an image may have, in pixels')


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def photographs(dataset: Dataset, colour: float | None = None, **_: Any) -> dict[int, Sequence[float]]:
    """The tops whose colours `augment` varies.

    Parameters
    ----------
    dataset : Dataset
        Its first image is the photograph; others, of depth say, have no colours.
    colour
        As for `augment`; without it, there are none.

    Returns
    -------
    dict
        Number of the top in a sample -> its mean.

    Raises
    ------
    BadInput
        Its channels are neither those of a colour nor of a grey photograph.
    """
    photograph, mean = next(iter(dataset.means.items()))
    if colour is None or photograph not in dataset.tops:
        return {}
    coloured = dataset.pictures.channels == COLOURS if dataset.pictures else len(mean) == 3
    check_colours(len(mean), coloured, f'{photograph} of {dataset.name}')
    return {dataset.tops.index(photograph): mean}


def check_colours(channels: int, coloured: bool, what: object) -> None:
    """Refuse to vary the colours of pictures, which a BadInput calls `what`, unless they are grey or coloured."""
    if channels != 1 and not coloured:
        raise BadInput(f'colour varies photographs of 1 channel or of blue, green and red, and {what} has {channels}'
                       f'{" others" * (channels == 3)}; leave colour out')


def augment(sample: Sequence[np.ndarray], seed: int, position: int, mirror: bool = False,
            scale: Sequence[float] | None = None, crop: int | None = None, rotate: float | None = None,
            colour: float | None = None, photos: Mapping[int, Sequence[float]] | None = None,
            max_size: int | None = None) -> tuple[np.ndarray, ...]:
    """Vary a sample: its photographs in colour, and then all its tops alike in size, angle, place and side.

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
    rotate : float, optional
        Turn by an angle between minus and plus so many degrees: see `turn`.
    colour : float, optional
        Strength, up to 1, by which the `photos` vary in brightness, contrast, saturation and hue: see `recolour`.
    photos : mapping of int to sequence of float, optional
        Number of a top that is a photograph -> its mean, as of `photographs`.
    max_size : int, optional
        Before all else, shrink a sample whose longer side has more pixels to that many.

    Returns
    -------
    tuple of array
        Of the same types.
    """
    rng = np.random.default_rng((seed, position, STREAM))
    # Always all, so that one option leaves the others as they are; what is new comes last, for the same reason.
    factor, down, across, flip, angle, *tints = rng.random(9)
    sample = [limit(array, max_size) for array in sample]
    if colour is not None:
        strengths = [colour * (2 * tint - 1) for tint in tints]
        sample = [recolour(array, photos[number], *strengths) if photos and number in photos else array
                  for number, array in enumerate(sample)]
    if scale is not None:
        sample = [resize(array, scale[0] * (scale[1] / scale[0]) ** factor) for array in sample]
    if rotate is not None:
        sample = [turn(array, rotate * (2 * angle - 1)) for array in sample]
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


def turn(array: np.ndarray, angle: float) -> np.ndarray:
    """Rotate an array about its centre; its size stays.

    Parameters
    ----------
    array : array
        C x H x W: an image, float32, interpolated bilinearly, or a label, uint8, of the nearest pixel.
    angle : float
        In degrees, counter-clockwise.

    Returns
    -------
    array
        C x H x W, of the same type. The corners, which lie beyond the image, are the mean, 0, and void.
    """
    how, beyond = ((Image.Resampling.NEAREST, VOID) if array.dtype == np.uint8 else (Image.Resampling.BILINEAR, 0))
    return np.stack([np.asarray(Image.fromarray(channel).rotate(angle, how, fillcolor=beyond)) for channel in array])


def recolour(photo: np.ndarray, mean: Sequence[float], brightness: float, contrast: float, saturation: float = 0,
             hue: float = 0) -> np.ndarray:
    """Change the colours of a photograph, within the range of bytes.

    Brightness multiplies all values, contrast the differences from the mean luma Y, saturation and hue scale and turn
    the plane of the chroma I and Q (the YIQ of NTSC), so that grey stays grey and luma as it is. All are linear, so
    that values are clipped once.

    Parameters
    ----------
    photo : array
        3 x H x W, BGR, or 1 x H x W, grey, which has neither saturation nor hue; float32, mean subtracted.
    mean : sequence of float
        One value a channel, on the scale 0 ... 255.
    brightness, contrast, saturation, hue : float
        -1 ... 1: 0 changes nothing; 0.2 multiplies by 1.2, or turns the hue by a fifth of `HUE`.

    Returns
    -------
    array
        Of the same shape and type; with the mean added, 0 ... 255.
    """
    offset = np.array(mean, np.float32).reshape(-1, 1, 1)
    pixels = photo + offset
    chroma, luma = np.eye(len(photo)), np.ones(1)
    if len(photo) == 3:
        cos, sin = (1 + saturation) * np.cos(np.radians(HUE * hue)), (1 + saturation) * np.sin(np.radians(HUE * hue))
        chroma = np.linalg.solve(YIQ, np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ YIQ)[::-1, ::-1]   # of BGR
        luma = YIQ[0, ::-1]
    grey = (1 + brightness) * contrast * (luma * pixels.mean((1, 2), np.float64)).sum()
    gain = ((1 + brightness) * (1 + contrast) * chroma).astype(np.float32)
    pixels = np.einsum('ij,jhw->ihw', gain, pixels)     # which sums alike on any number of threads
    changed: np.ndarray = np.clip(pixels - np.float32(grey), 0, 255) - offset
    return changed


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
