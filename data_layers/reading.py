"""Reading a file of a data set, and turning stored values into what the nets take; complaints name the file."""
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

from cli import BadInput

VOID = 255
IMAGES = {'.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp'}    # how the names of photographs end


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file, stripped, without empty ones.

    Raises
    ------
    BadInput
        The file is missing or not UTF-8.
    """
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise unreadable(path, problem) from None
    return [line.strip() for line in lines if line.strip()]


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    BadInput
        The file is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as problem:
        raise unreadable(path, problem) from None


def read_pixels(path: Path) -> Image.Image:
    """Decode a picture file whole.

    Returns
    -------
    Image
        Loaded, in the mode that the file has.

    Raises
    ------
    BadInput
        The file is missing or corrupt.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
    except Exception as problem:  # a corrupt file makes the decoders raise almost anything
        raise unreadable(path, problem) from None
    return picture


def read_rgb(path: Path) -> np.ndarray:
    """Read a photograph of any colour mode: grey, CMYK, palette, with alpha.

    Returns
    -------
    array
        H x W x 3, RGB, uint8; perhaps read-only.

    Raises
    ------
    BadInput
        The file is missing or corrupt, or has more than 8 bits a channel.
    """
    picture = read_pixels(path)
    if picture.mode[0] in 'IF':     # 16 or 32 bit: a conversion would clip, not scale
        raise BadInput(f'{path} has more than 8 bits a channel; save it as an 8 bit picture')
    return np.asarray(picture if picture.mode == 'RGB' else picture.convert('RGB'))    # which would copy


def read_photo(path: Path, mean: Sequence[float]) -> np.ndarray:
    """Read a photograph as the nets take it.

    Parameters
    ----------
    path : path
        The file.
    mean : sequence of float
        B, G and R, on the scale 0 ... 255.

    Returns
    -------
    array
        3 x H x W, float32, BGR, mean subtracted.

    Raises
    ------
    BadInput
        As of `read_rgb`.
    """
    return to_blob(read_rgb(path)[:, :, ::-1], mean)


def read_indices(path: Path) -> np.ndarray:
    """Read a mask whose pixels are class indices, a palette or grey picture.

    Returns
    -------
    array
        H x W, of the integer type that the file has.

    Raises
    ------
    BadInput
        The file is missing or corrupt, or a picture in colours.
    """
    picture = read_pixels(path)
    if picture.mode not in ('P', 'L', 'I', 'I;16'):
        raise BadInput(f'{path} is a {picture.mode} picture, not class indices; save the mask as a palette or grey PNG '
                       'whose pixel values are the classes')
    return np.asarray(picture)


def read_mat(path: Path, key: str) -> Any:
    """Read one variable of a MATLAB file.

    Parameters
    ----------
    path : path
        The file, of version 7 or older.
    key : str
        Name of the variable.

    Returns
    -------
    array
        As `scipy.io.loadmat` gives it, structs as objects.

    Raises
    ------
    BadInput
        The file is missing, corrupt, of version 7.3, or lacks the variable.
    """
    try:
        variables = scipy.io.loadmat(path, variable_names=[key], struct_as_record=False)
    except NotImplementedError:
        raise BadInput(f'{path} is a MATLAB 7.3 file; save it again in MATLAB with the option -v7') from None
    except Exception as problem:  # a corrupt file makes the reader raise almost anything
        raise unreadable(path, problem) from None
    if key not in variables:
        raise BadInput(f'{path} has no variable {key}; it is not a file of this data set')
    return variables[key]


def unreadable(path: Path, problem: Exception) -> BadInput:
    """The complaint about a file that is missing or that a reader failed on with `problem`."""
    if isinstance(problem, FileNotFoundError):
        return BadInput(f'{path} is missing; restore it from the download')
    reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
    return BadInput(f'{path} cannot be read ({reason}); restore it from the download')


# From stored values to what the net takes.

def to_blob(image: np.ndarray, mean: Sequence[float]) -> np.ndarray:
    """Turn pixels into what a net takes.

    Parameters
    ----------
    image : array
        H x W x C, on the scale 0 ... 255, already in the channel order of `mean`.
    mean : sequence of float
        One value a channel.

    Returns
    -------
    array
        C x H x W, float32, mean subtracted.
    """
    blob = np.empty((image.shape[2], *image.shape[:2]), np.float32)
    for channel, value in enumerate(mean):      # in double, rounded once
        np.subtract(image[:, :, channel], value, out=blob[channel], dtype=np.float64, casting='same_kind')
    return blob


def to_classes(values: np.ndarray, count: int, path: Path, first: int = 0,
               void: Collection[int] = (VOID,)) -> np.ndarray:
    """Turn stored label values into class indices.

    Parameters
    ----------
    values : array
        H x W label values as stored.
    count : int
        Number of classes, stored as `first` ... `first + count - 1`.
    path : path
        Where they come from, for the complaint.
    void : collection of int
        The values that stand for void.

    Returns
    -------
    array
        H x W, uint8, 0 ... count - 1, or 255 for void.

    Raises
    ------
    BadInput
        A value is neither a class nor void, or the array is not a plane of integers.
    """
    bytes_only = values.dtype == np.uint8
    values = to_integers(values, path)
    possible = np.arange(256) if bytes_only else values     # a mask of bytes is looked up in a table, ten times faster
    is_void = np.isin(possible, tuple(void))
    wrong = ~is_void & ((possible < first) | (possible >= first + count))
    classes = np.where(is_void, VOID, possible - first).astype(np.uint8)
    if bytes_only:
        wrong, classes = wrong.take(values), classes.take(values)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        some = ', '.join(map(str, np.unique(values[wrong])[:5]))
        raise BadInput(f'{path} has label value {some} (first at row {row}, column {column}), which is neither a class '
                       f'({first} to {first + count - 1}) nor void ({", ".join(map(str, void))}); '
                       'correct the mask, or the list of classes')
    return classes


def to_integers(values: np.ndarray, path: Path) -> np.ndarray:
    """Turn stored label values of any numeric type into integers; MATLAB stores doubles.

    Parameters
    ----------
    values : array
        H x W.
    path : path
        Where they come from, for the complaint.

    Returns
    -------
    array
        H x W, int64.

    Raises
    ------
    BadInput
        A value is not an integer, or the array is not a plane of numbers.
    """
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in 'iufb':
        raise BadInput(f'{path} holds no plane of labels but an array of shape {values.shape} and type {values.dtype}; '
                       'restore it from the download')
    with np.errstate(invalid='ignore'):     # NaN: found by the comparison
        whole = values.astype(np.int64)
    if (different := whole != values).any():
        raise BadInput(f'{path} has label value {values[different][0]:g}, which is not an integer; restore it from the '
                       'download')
    return whole
