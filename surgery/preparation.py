"""`net.json` beside a deploy.prototxt: how a photograph becomes the net's input, and what the classes are.

For example

    {"mean": [104.0, 116.7, 122.7],     of blue, green and red, or one number; subtracted first
     "scale": 1.0,                      what pixels are multiplied by after that
     "order": "bgr",                    of the input's channels: "bgr", "rgb" or "grey"
     "multiple": 1,                     height and width are multiples of so many pixels
     "classes": ["sky", "sea"],         in the order of the scores' channels
     "colours": [[70, 130, 180], [0, 0, 142]],      of the classes, R, G and B, for pictures
     "values": ["1", "2"]}              what stands for the classes in the masks that it learnt from

Every key may be left out; the numbers above, a mean of 0, no names, the colours of VOC and no values are then meant.
Of pictures that are not colours of 8 bits, "pictures" says how they become the channels, as `data_layers.bands`
describes it; `mean` is then that of each channel after the window, and `order` says nothing.
"""
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import files
from cli import BadInput
from data_layers import VOID, Dataset, bands
from data_layers.bands import LUMA, Bands
from data_layers.own import classlist
from data_layers.palette import are_colours
from data_layers.reading import read_json, read_rgb

NAME = 'net.json'
ORDERS = {'bgr': 3, 'rgb': 3, 'grey': 1}    # channels
GREY = LUMA[::-1]           # of blue, green and red
MOST = 1024                                 # of `multiple`: larger than any net's stride


@dataclass(frozen=True)
class Preparation:
    """How a photograph becomes a net's input: (pixels - mean) * scale, of pixels from 0 to 255.

    Attributes
    ----------
    mean : tuple of float
        Of blue, green and red, whatever `order` is; or one number for all channels.
    scale : float
    order : str
        One of `ORDERS`: how the input's channels are ordered.
    multiple : int
        Images are enlarged to a multiple of so many pixels a side, with zeros; the scores are cut to the image.
    classes : tuple of str
        Names in the order of the scores' channels; empty where they are not known.
    colours : tuple of (int, int, int)
        R, G and B of each class; empty for VOC's.
    values : tuple of str
        What stands for each class in the user's own masks, as of `data_layers.palette.save_values`, or empty.
    pictures : Bands, optional
        What the pictures are where they are not colours of 8 bits.
    """
    mean: tuple[float, ...] = (0.0,)
    scale: float = 1.0
    order: str = 'bgr'
    multiple: int = 1
    classes: tuple[str, ...] = ()
    colours: tuple[tuple[int, ...], ...] = ()
    values: tuple[str, ...] = ()
    pictures: Bands | None = None

    @property
    def channels(self) -> int:
        """Of the net's input."""
        return len(self.pictures.channels) if self.pictures else ORDERS[self.order]

    def facts(self) -> dict[str, Any]:
        """As net.json has it."""
        known = asdict(self) | {'pictures': self.pictures and self.pictures.facts()}
        return {key: value for key, value in known.items() if value or key not in ('colours', 'values', 'pictures')}

    def write(self, folder: Path) -> None:
        """Write net.json into a folder."""
        files.write_json(folder / NAME, self.facts())

    def read(self, path: Path) -> npt.NDArray[np.float32]:
        """A picture file as the net takes it, C x H x W, but for `multiple`.

        Raises
        ------
        BadInput
            The file is missing, corrupt or of another kind.
        """
        if self.pictures:
            return self.pictures.blob(path, self.mean, self.scale)
        return self.planes(read_rgb(path))

    def planes(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """A photograph as the net takes it, but for `multiple`.

        Parameters
        ----------
        rgb : array of uint8, H x W x 3

        Returns
        -------
        array of float32, C x H x W
        """
        channels = ORDERS[self.order]
        result = np.empty((channels, *rgb.shape[:2]), np.float32)
        means = self.mean * (3 // len(self.mean))
        for plane, channel in zip(result, range(3) if self.order == 'bgr' else (2, 1, 0), strict=False):
            pixels: npt.NDArray[Any] = rgb[:, :, 2 - channel]
            if channels == 1:
                pixels = rgb[:, :, ::-1].astype(np.float32) @ np.array(GREY, np.float32)
            mean = float(np.mean(self.mean)) if channels == 1 else means[channel]
            plane[...] = np.subtract(pixels, mean, dtype=np.float64) * self.scale       # rounded once
        return result

    def blob(self, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """A photograph as the net takes it.

        Parameters
        ----------
        rgb : array of uint8, H x W x 3

        Returns
        -------
        array of float32, C x H' x W'
            H' and W' are the next multiples of `multiple`.
        """
        return enlarged(self.planes(rgb), self.multiple)


def enlarged(planes: npt.NDArray[np.float32], multiple: int) -> npt.NDArray[np.float32]:
    """Planes with zeros at the right and below, up to multiples of so many pixels.

    Parameters
    ----------
    planes : array of float32, C x H x W
    multiple : int

    Returns
    -------
    array of float32, C x H' x W'
        Contiguous.
    """
    more = [(0, -side % multiple) for side in planes.shape[1:]]
    return np.ascontiguousarray(np.pad(planes, [(0, 0), *more]) if any(n for _, n in more) else planes, np.float32)


def of_dataset(dataset: type[Dataset], images: Sequence[str], labels: Sequence[str]) -> Preparation | None:
    """What a net takes that reads a data set through our data layer.

    Parameters
    ----------
    dataset : type of Dataset
    images, labels : sequence of str
        The tops that it sees, and those that its scores are compared with.

    Returns
    -------
    Preparation or None
        None for a net that sees something else than a photograph, or has several tasks.
    """
    photograph = next(iter(dataset.means))
    if list(images) != [photograph] or len(labels) != 1 or labels[0] not in dataset.classes:
        return None
    return Preparation(tuple(dataset.means[photograph]), classes=tuple(dataset.classes[labels[0]]),
                       colours=tuple(dataset.colours.get(labels[0], ())), values=dataset.values.get(labels[0], ()),
                       pictures=dataset.pictures)


def read(path: Path) -> Preparation:
    """Read a net.json.

    Raises
    ------
    BadInput
        The file is missing, not JSON, or has a wrong key or value; names it.
    """
    known = read_json(path)
    if not isinstance(known, dict) or (unknown := known.keys() - Preparation.__dataclass_fields__.keys()):
        what = f'the unknown key {sorted(unknown)[0]!r}' if isinstance(known, dict) else 'no JSON object'
        raise BadInput(f'{path} has {what}; the keys are {", ".join(Preparation.__dataclass_fields__)}')
    return checked(path, **known)


def checked(what: object, **values: Any) -> Preparation:
    """A `Preparation` of values that come from a user.

    Parameters
    ----------
    what : object
        The file or option that a complaint names.
    **values
        As for `Preparation`, as JSON has them.

    Raises
    ------
    BadInput
        A value is of the wrong kind; names it.
    """
    mean, scale, order, multiple, classes, colours, stored, pictures = (
        values.get(name, field.default) for name, field in Preparation.__dataclass_fields__.items())
    mean = [mean] if _number(mean) else mean
    pictures = None if pictures is None else bands.checked(what, pictures)
    channels = len(pictures.channels) if pictures else 3
    fit = {
        'mean': isinstance(mean, list | tuple) and len(mean) in (1, channels) and all(map(_number, mean)),
        'scale': _number(scale) and scale != 0,
        'order': isinstance(order, str) and order in ORDERS,
        'multiple': type(multiple) is int and 1 <= multiple <= MOST,
        'classes': isinstance(classes, list | tuple) and len(classes) <= VOID and len({*map(str, classes)}) == len(
            classes) and all(isinstance(name, str) and name for name in classes),
        'colours': are_colours(colours) and isinstance(classes, list | tuple) and len(colours) in (0, len(classes)),
        'values': are_values(stored) and isinstance(classes, list | tuple) and len(stored) in (0, len(classes)),
    }
    if wrong := [key for key, right in fit.items() if not right]:
        raise BadInput(f'{what}: the {wrong[0]} is of the wrong kind, {str(values[wrong[0]])[:80]!r}')
    return Preparation(tuple(map(float, mean)), float(scale), order, multiple, tuple(classes),
                       tuple(map(tuple, colours)), tuple(stored), pictures)


def are_values(value: Any) -> bool:
    """Whether a value from JSON is a list of numbers of masks up to 65535, or of their colours, as text each."""
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        return False
    parts = [one.split(' ') for one in value]
    digits = all(part.isascii() and part.isdecimal() and len(part) < 6 for one in parts for part in one)
    return digits and any(all(len(one) == length and all(int(part) <= most for part in one) for one in parts)
                          for length, most in ((1, 65535), (3, 255)))


def class_names(path: Path) -> tuple[str, ...]:
    """Names of classes in the order of a net's scores, from a file of one a line; see `with_class_list`."""
    return with_class_list(Preparation(), path).classes


def with_class_list(takes: Preparation, path: Path) -> Preparation:
    """What a net takes, with names and colours of classes from a file of one a line, in the order of its scores.

    Parameters
    ----------
    takes : Preparation
    path : Path
        A line `road`, or with its number or its colour or both, as of `data_layers.own.classlist`.

    Returns
    -------
    Preparation

    Raises
    ------
    BadInput
        The file cannot be read, or its numbers are not those from 0 on, or two classes have one name.
    """
    listed = classlist.read(path)
    entries = sorted(listed.entries, key=lambda entry: entry.number)
    entries = [entry for entry in entries if not (entry.name is None and entry.number == VOID)]
    names = [entry.written for entry in entries]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadInput(f'{path} has the class {twice[0]} twice; every channel of the scores has a name of its own')
    if [entry.number for entry in entries] != list(range(len(entries))):
        raise BadInput(f'{path}: the numbers of the classes are not 0, 1, 2, ...; they are the channels of the scores')
    colours = [entry.colour for entry in entries if entry.colour]
    return checked(path, **takes.facts() | {'classes': names, 'colours': colours, 'values': ()})


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
