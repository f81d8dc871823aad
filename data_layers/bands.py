"""Pictures that are more or less than 8 bit colours: of 16 bits, of floats, grey, of many bands, of several files.

Such a picture becomes a net's input by `Bands`, which dataset.json and net.json hold as "pictures", for example

    {"channels": ["blue", "green", "red", "nir", "depth"],      of the net's input, in its order
     "bands": [3, 2, 1, 4, 5],                                  where each is, counted from 1
     "window": [[0, 4095], [0, 4095], [0, 4095], [0, 4095], [400, 9000]],
     "also": ["depth"]}

Bands are counted through the picture and the files of the same name in the folders `also` beside its own:
images/a.tif has 1 to 4, depth/a.png the fifth. What a file calls transparency is a band like others, if it is named.
A `window` is what becomes 0 and 255 of each channel (one pair may stand for all); values beyond are cut off. Pixels
without a measurement, which are not a number or what a TIFF calls its nodata, become the mean.
"""
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import files
from cli import BadInput
from data_layers import tiff
from data_layers.reading import IMAGES, MOST_PIXELS, open_picture, read_pixels, too_large, turned_size, unreadable

COLOURS = ('blue', 'green', 'red')      # the order of a net's input
LUMA = (0.299, 0.587, 0.114)            # of red, green and blue: a grey of colours (ITU-R BT.601)
FULL = (0.0, 255.0)
BLOCK = 256         # rows that go through a window at once
DEEP = 3            # so many folders up, files of the same name are looked for
MODES = {'1': ('L', 1, 'u1'), 'L': ('', 1, 'u1'), 'LA': ('', 2, 'u1'), 'RGB': ('', 3, 'u1'), 'RGBA': ('', 4, 'u1'),
         'I;16': ('', 1, 'u2'), 'I;16L': ('', 1, 'u2'), 'I;16B': ('', 1, 'u2'), 'I': ('', 1, 'i4'),
         'F': ('', 1, 'f4')}    # of Pillow -> the mode to convert to, bands, type; all others become RGB
MOST_BANDS = 1 << 10

Array = npt.NDArray[Any]


class Stored(NamedTuple):
    """What a picture file holds, by its head.

    Attributes
    ----------
    size : (int, int)
        Height and width in pixels, once it is turned as its note (EXIF) says.
    bands : int
        With transparency.
    dtype : str
        Of the numbers, as numpy names it.
    alpha : tuple of int
        Which bands, from 0, are called transparency.
    coloured : bool
        Whether the first three are called red, green and blue.
    """
    size: tuple[int, int]
    bands: int
    dtype: str
    alpha: tuple[int, ...]
    coloured: bool

    @property
    def seen(self) -> int:
        """Bands without transparency."""
        return self.bands - len(self.alpha)


@dataclass(frozen=True)
class Bands:
    """Which bands of a picture are a net's channels, and what of their values becomes 0 and 255.

    Attributes
    ----------
    channels : tuple of str
        Names of the C channels of the net's input: blue, green and red come first where there are all three.
    bands : tuple of int
        Where each is, from 1, counted through the picture and the files `also`.
    window : tuple of (float, float)
        Of each channel.
    also : tuple of str
        Folders beside the picture's own, with a file of the same name each.
    """
    channels: tuple[str, ...]
    bands: tuple[int, ...]
    window: tuple[tuple[float, float], ...]
    also: tuple[str, ...] = ()

    @property
    def coloured(self) -> bool:
        """Whether the first three channels are blue, green and red."""
        return self.channels[:3] == COLOURS

    def facts(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), 'window': [[_plain(value) for value in pair] for pair in self.window]}

    def values(self, path: Path) -> list[Array]:
        """The stored numbers of each channel, H x W each: floats with NaN where a TIFF says that there are none.

        Parameters
        ----------
        path : path
            The picture; the files `also` are found beside it.

        Raises
        ------
        BadInput
            A file is missing, corrupt, of another size than the picture, or of other numbers than the window's.
        """
        planes: list[Array] = []
        sources: list[Path] = []
        for file in (path, *(beside(path, folder) for folder in self.also)):
            found = read_values(file)
            if planes and found.shape[:2] != planes[0].shape:
                raise BadInput(f'{file} is {found.shape[1]}x{found.shape[0]} pixels but {path} is '
                               f'{planes[0].shape[1]}x{planes[0].shape[0]}; replace the wrong one, they must agree')
            if self._wants_grey(found):
                found = (found[:, :, :3] @ np.array(LUMA))[:, :, None].astype(np.float32)
            planes += [found[:, :, band] for band in range(found.shape[2])]
            sources += [file] * found.shape[2]
        if max(self.bands) > len(planes):
            raise BadInput(f'{path} has {len(planes)} bands{" with " + ", ".join(self.also) if self.also else ""}, and '
                           f'{self.channels[self.bands.index(max(self.bands))]} is to be band {max(self.bands)}')
        result = [planes[band - 1] for band in self.bands]
        for name, band, plane, (low, high) in zip(self.channels, self.bands, result, self.window, strict=True):
            if plane.dtype == np.uint8 and (low < 0 or high > 255):
                raise BadInput(f'{sources[band - 1]} has 8 bits a channel, and the window of {name} is {low:g} to '
                               f'{high:g}: it is not of the kind that these are; give the picture as it was recorded')
        return result

    def _wants_grey(self, found: Array) -> bool:
        """Whether colours of 8 bits stand where grey is wanted."""
        return (self.channels == ('grey',) and self.bands == (1,) and not self.also and self.window[0][1] <= 255
                and found.shape[2] in (3, 4) and found.dtype == np.uint8)

    def through(self, planes: Sequence[Array]) -> Iterator[tuple[int, slice, npt.NDArray[np.float64]]]:
        """Channels through their windows, some rows at a time: whole ones in double would take much memory.

        Parameters
        ----------
        planes : sequence of array, H x W
            As of `values`; the first ones may do.

        Yields
        ------
        channel : int
        rows : slice
        values : array of float64, rows x W
            0 to 255; NaN where there is no measurement.
        """
        for channel, (plane, (low, high)) in enumerate(zip(planes, self.window, strict=False)):
            for first in range(0, len(plane), BLOCK):
                rows = slice(first, first + BLOCK)
                values = np.clip(plane[rows], low, high, dtype=np.float64)
                yield channel, rows, 255 * (values - low) / (high - low)

    def blob(self, path: Path, mean: Sequence[float], scale: float = 1.0) -> npt.NDArray[np.float32]:
        """A picture as a net takes it.

        Parameters
        ----------
        path : path
            As of `values`, and so are the errors.
        mean : sequence of float
            Of each channel, after the window; or one for all.
        scale : float
            To multiply with, after that.

        Returns
        -------
        array of float32, C x H x W
            Channels through their window, less their mean; 0 where there is no measurement.
        """
        means = (*mean,) * (len(self.channels) // len(mean))
        planes = self.values(path)
        result = np.empty((len(planes), *planes[0].shape), np.float32)
        for channel, rows, values in self.through(planes):
            result[channel, rows] = np.nan_to_num((values - means[channel]) * scale, copy=False)    # rounded once
        return result

    def rgb(self, path: Path) -> npt.NDArray[np.uint8]:
        """A picture to look at: its colours through their window, else its first channel in grey.

        Parameters
        ----------
        path : path
            As of `values`, and so are the errors.

        Returns
        -------
        array of uint8, H x W x 3
            RGB, 0 where there is no measurement.
        """
        planes = self.values(path)[:3 if self.coloured else 1]
        result = np.empty((*planes[0].shape, 3), np.uint8)
        for channel, rows, values in self.through(planes):
            place = slice(2 - channel, 3 - channel) if self.coloured else slice(None)
            result[rows, :, place] = np.nan_to_num(values).round()[:, :, None]
        return result


def stored(path: Path) -> Stored:
    """What a picture file holds, from its head.

    Raises
    ------
    BadInput
        The file is missing, corrupt, not a picture, not a regular file, or too large.
    """
    try:
        with files.open_regular(path) as file:
            if tiff.is_tiff(file.read(4)):
                found = tiff.pages(file)
                page, bands = found[0], sum(one.bands for one in found)
                if page.height * page.width > MOST_PIXELS or bands > MOST_BANDS:
                    raise too_large(path, f'{page.width}x{page.height} pixels of {bands} bands')
                return Stored(page.size, bands, page.dtype.name, page.alpha,
                              page.photometric == tiff.RGB and bands >= 3)
    except NotImplementedError:
        pass
    except (OSError, ValueError) as problem:
        raise unreadable(path, problem) from None
    with open_picture(path) as picture:
        _, bands, dtype = MODES.get(picture.mode, ('RGB', 3, 'u1'))
        return Stored(turned_size(picture), bands, np.dtype(dtype).name,
                      (bands - 1,) * (picture.mode in ('LA', 'RGBA')), bands >= 3)


def read_values(path: Path) -> Array:
    """The numbers of a picture file as they are stored.

    Returns
    -------
    array
        H x W x bands, turned as its note (EXIF) says, transparency included, in the order of the file; float32 with NaN
        where a TIFF says that there is no measurement.

    Raises
    ------
    BadInput
        As of `stored`.
    """
    try:
        with files.open_regular(path) as file:
            if tiff.is_tiff(file.read(4)):
                nodata = tiff.pages(file)[0].nodata
                values = tiff.read(file)
                if nodata is None or not math.isfinite(nodata):
                    return values
                with np.errstate(over='ignore'):
                    missing = values == values.dtype.type(nodata) if values.dtype.kind == 'f' else values == nodata
                return np.where(missing, np.float32(np.nan), values.astype(np.float32))
    except NotImplementedError:
        pass
    except (OSError, ValueError, MemoryError) as problem:
        raise unreadable(path, problem) from None
    picture = read_pixels(path)
    mode = MODES.get(picture.mode, ('RGB', 3, 'u1'))[0]
    values = np.asarray(picture.convert(mode) if mode else picture)
    return values if values.ndim == 3 else values[:, :, None]


def beside(path: Path, folder: str) -> Path:
    """The file of the same name in a folder beside that of a picture.

    Parameters
    ----------
    path : path
        The picture, such as images/train/a.jpg.
    folder : str
        Such as depth: images/depth/a.png or depth/train/a.png would do, in any format.

    Returns
    -------
    path
        One that exists, the nearest.

    Raises
    ------
    BadInput
        There is none.
    """
    path = path.absolute()
    for up in path.parents[1:1 + DEEP]:
        inside = path.relative_to(up).parts[1:]
        for suffix in dict.fromkeys([path.suffix, *sorted(IMAGES), *(one.upper() for one in sorted(IMAGES))]):
            found = (up / folder / Path(*inside)).with_suffix(suffix)
            if found.is_file():
                return found
    raise BadInput(f'{path} has no file of its name in a folder {folder} beside its own, such as '
                   f'{path.parent.parent / folder / path.stem}.png; add it')


def checked(what: object, known: Any) -> Bands:
    """The "pictures" of a dataset.json or a net.json.

    Parameters
    ----------
    what : object
        The file that a complaint names.
    known : object
        As JSON has it.

    Raises
    ------
    BadInput
        It is of the wrong kind; says what.
    """
    if isinstance(known, Bands):
        return known
    keys = ('channels', 'bands', 'window', 'also')
    if not isinstance(known, dict) or not {*known} <= {*keys} or not {*known} >= {*keys[:3]}:
        raise BadInput(f'{what}: "pictures" must have the keys {", ".join(keys)}; correct it as the beginning of '
                       'data_layers/bands.py tells')
    channels, bands, window, also = (known.get(key, []) for key in keys)
    pairs = window
    if isinstance(window, list) and len(window) == 2 and all(map(_number, window)):
        pairs = [window]
    if isinstance(pairs, list) and len(pairs) == 1 and isinstance(channels, list):
        pairs = pairs * len(channels)
    fit = {
        'channels': _texts(channels) and 1 <= len(channels) <= MOST_BANDS,
        'bands': isinstance(bands, list | tuple) and len(bands) == len(channels or ()) and all(
            type(band) is int and 1 <= band <= MOST_BANDS for band in bands),
        'window': isinstance(pairs, list | tuple) and len(pairs) == len(channels or ()) and all(
            isinstance(pair, list | tuple) and len(pair) == 2 and all(map(_number, pair)) and pair[0] < pair[1]
            for pair in pairs),
        'also': _texts(also) and all(is_folder_name(name) for name in also),
    }
    if wrong := [key for key in keys if not fit[key]]:
        raise BadInput(f'{what}: the {wrong[0]} of "pictures" is of the wrong kind, {str(known.get(wrong[0]))[:80]!r}; '
                       'correct it as the beginning of data_layers/bands.py tells')
    return Bands(tuple(channels), tuple(bands), tuple((float(low), float(high)) for low, high in pairs), tuple(also))


def is_folder_name(name: str) -> bool:
    """Whether a name is that of a folder within another."""
    return Path(name).name == name and not {'\\', '\0'} & {*name} and name != '..'


def _texts(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(value, str) and value for value in values) and (
        len({*values}) == len(values))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _plain(value: float) -> float:
    """A number as people write it: 4095 and not 4095.0."""
    return int(value) if value == int(value) else value
