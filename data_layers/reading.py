"""Reading a file of a data set, and turning stored values into what the nets take; complaints name the file."""
import json
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import files
from cli import BadInput
from data_layers import mat, tiff

VOID = 255
IMAGES = {'.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp'}    # how the names of photographs end
FORMATS = ('JPEG', 'PNG', 'WEBP', 'TIFF', 'BMP')    # of pictures; others may start programs, as EPS does Ghostscript
MOST_PIXELS = 1 << 28       # of a picture; no camera takes as many
LARGE = 1 << 24             # pixels, from which on sizes are compared before anything is decoded
LARGE_MAT = LARGE // 1032   # bytes of a MATLAB file; of fewer, zlib makes no more than `LARGE` bytes
ORIENTATION = 274           # the tag of EXIF that says how a picture is to be turned
TURNS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
         5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
         8: Image.Transpose.ROTATE_90}
SURROGATE = re.compile(r'\\u[dD][89a-fA-F]')     # half a character, as JSON may write it


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file, stripped, without empty ones.

    Raises
    ------
    BadInput
        As of `read_text`.
    """
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


def read_text(path: Path) -> str:
    """Read a text file.

    Raises
    ------
    BadInput
        The file is missing, not UTF-8, not a regular file, or larger than `files.MOST_TEXT`.
    """
    try:
        return files.read_text(path)
    except OSError as problem:
        raise unreadable(path, problem) from None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    BadInput
        The file is missing or not JSON, or a string in it holds half a character, which no file can be written with.
    """
    text = read_text(path)
    try:
        known = json.loads(text)
        if SURROGATE.search(text):
            json.dumps(known, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as problem:
        raise unreadable(path, problem) from None
    return known


def read_pixels(path: Path) -> Image.Image:
    """Decode a picture file whole, and turn it as its EXIF says.

    Returns
    -------
    Image
        Loaded, in the mode that the file has.

    Raises
    ------
    BadInput
        As of `open_picture`.
    """
    with open_picture(path) as picture:
        try:
            picture.load()
        except Exception as problem:  # a corrupt file makes the decoders raise almost anything
            raise unreadable(path, problem) from None
        return upright(picture)


def orientation(picture: Image.Image) -> int:
    """How a picture is to be turned: 1 for not at all, or as EXIF counts to 8; 1 too where its EXIF is damaged."""
    try:
        note = Image.Image.getexif(picture).get(ORIENTATION, 1)     # a PNG's own would decode it
    except Exception:   # damaged EXIF, of which Pillow raises almost anything
        return 1
    return note if note in TURNS else 1


def upright(picture: Image.Image) -> Image.Image:
    """A decoded picture, turned as its EXIF says; Pillow turns those in TIFF files itself."""
    note = orientation(picture)
    return picture if note == 1 or picture.format == 'TIFF' else picture.transpose(TURNS[note])


def turned_size(picture: Image.Image) -> tuple[int, int]:
    """Height and width of a picture in pixels once it is turned as its EXIF says."""
    swapped = orientation(picture) > 4 and picture.format != 'TIFF'
    return picture.size if swapped else picture.size[::-1]


def open_picture(path: Path) -> Image.Image:
    """Read the head of a picture file: its size, its mode and its EXIF; the pixels are read later.

    Returns
    -------
    Image
        To be closed, or used in a `with` statement.

    Raises
    ------
    BadInput
        The file is missing, corrupt, of none of `FORMATS`, not a regular file, or has more than `MOST_PIXELS`.
    """
    regular(path)
    try:
        picture = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as problem:
        raise too_large(path, str(problem)) from None
    except Exception as problem:  # a corrupt file makes the decoders raise almost anything
        page = tiff_page(path)
        raise unreadable(path, problem) if page is None else BadInput(
            f'{path} has {page.bands} bands of {page.dtype}, not colours of 8 bits, which are wanted here') from None
    if picture.width * picture.height > MOST_PIXELS:
        picture.close()
        raise too_large(path, f'{picture.width}x{picture.height} pixels, at most {MOST_PIXELS} are possible')
    return picture


def too_large(path: Path, problem: str) -> BadInput:
    """The complaint about a picture of too many pixels."""
    return BadInput(f'{path} is too large a picture ({problem}); resize it, or cut it into pieces')


def picture_size(path: Path) -> tuple[int, int] | None:
    """Height and width of a picture in pixels, turned as its EXIF says, from its head; None where it cannot be read."""
    try:
        with open_picture(path) as picture:
            return turned_size(picture)
    except BadInput:
        return tiff_size(path)


def tiff_size(path: Path) -> tuple[int, int] | None:
    """Height and width of a TIFF that Pillow does not know, such as one of many bands; None where it cannot be read."""
    page = tiff_page(path)
    return page.size if page and page.height * page.width <= MOST_PIXELS else None


def tiff_page(path: Path) -> tiff.Page | None:
    """What the first page of a TIFF says; None for what is none, damaged, or of a kind that Pillow alone may know."""
    try:
        with files.open_regular(path) as file:
            return tiff.pages(file)[0] if tiff.is_tiff(file.read(4)) else None
    except (BadInput, OSError, ValueError, NotImplementedError):
        return None


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


def read_mat(path: Path, key: str, *within: str | int, most: int = MOST_PIXELS) -> np.ndarray:
    """Read an array of numbers from a MATLAB file.

    Parameters
    ----------
    path : path
        The file, of version 7 or older.
    key : str
        Name of the variable.
    *within : str or int
        The way from there: names of fields, and numbers of cells, which count from 0.
    most : int
        How many numbers are possible.

    Returns
    -------
    array
        Of the type in which the file stores the numbers, in column-major order: see `mat.read`.

    Raises
    ------
    BadInput
        The file is missing, corrupt, of version 4 or 7.3, or lacks the array, or it is not one of real numbers.
    """
    regular(path)
    name = ''.join((key, *(f'.{step}' if isinstance(step, str) else f'{{{step + 1}}}' for step in within)))
    try:
        return mat.read(path, key, *within, most=most)
    except NotImplementedError:
        raise BadInput(f'{path} is a MATLAB 7.3 file; save it again in MATLAB with the option -v7') from None
    except KeyError:
        raise BadInput(f'{path} has no variable {key}; it is not a file of this data set') from None
    except LookupError:
        raise BadInput(f'{path} has no {name}; it is not a file of this data set') from None
    except TypeError as problem:
        raise BadInput(f'{path} holds no plane of labels or other numbers as {name} but what is {problem}; restore it '
                       'from the download') from None
    except (OSError, ValueError, MemoryError) as problem:
        raise unreadable(path, problem) from None


def mat_size(path: Path, key: str, *within: str | int) -> tuple[int, ...] | None:
    """Shape of the array that `read_mat` gives, without reading it; None where it cannot, which reading it tells."""
    try:
        regular(path)
        return mat.shape(path, key, *within)
    except (BadInput, NotImplementedError, LookupError, TypeError, OSError, ValueError, MemoryError):
        return None


def regular(path: Path) -> os.stat_result:
    """What the system knows of a regular file; reading of others, such as a FIFO, might never end.

    Parameters
    ----------
    path : path
        The file, or a link to it.

    Raises
    ------
    BadInput
        It is missing, or not a regular file.
    """
    try:
        return files.check_regular(path)
    except OSError as problem:
        raise unreadable(path, problem) from None


def unreadable(path: Path, problem: Exception) -> BadInput:
    """The complaint about a file that is missing or that a reader failed on with `problem`."""
    if isinstance(problem, FileNotFoundError):
        return BadInput(f'{path} is missing; restore it from the download')
    reason = str(problem).splitlines()[0][:300] if str(problem) else type(problem).__name__
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
    values = check_plane(values, path) if bytes_only else to_integers(values, path)
    possible = np.arange(256) if bytes_only else values     # a mask of bytes is looked up in a table, ten times faster
    is_void = np.isin(possible, tuple(void))
    wrong = ~is_void & ((possible < first) | (possible >= first + count))
    classes = np.where(is_void, VOID, possible - first).astype(np.uint8)
    if bytes_only:
        stored = values.tobytes()
        if not stored.translate(None, np.flatnonzero(~wrong).astype(np.uint8).tobytes()):     # nothing wrong is left
            return np.frombuffer(bytearray(stored.translate(classes.tobytes())), np.uint8).reshape(values.shape)
        wrong = wrong.take(values)
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
    check_plane(values, path)
    with np.errstate(invalid='ignore'):     # NaN: found by the comparison
        whole = values.astype(np.int64)
    if (different := whole != values).any():
        raise BadInput(f'{path} has label value {values[different][0]:g}, which is not an integer; restore it from the '
                       'download')
    return whole


def check_plane(values: np.ndarray, path: Path) -> np.ndarray:
    """Refuse what is not H x W numbers, with a BadInput that names the file; returns the same array."""
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in 'iufb':
        raise BadInput(f'{path} holds no plane of labels but an array of shape {values.shape} and type {values.dtype}; '
                       'restore it from the download')
    return values
