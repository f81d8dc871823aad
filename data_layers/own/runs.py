"""Masks as runs of pixels, in the three ways that annotation files have them.

- COCO and CVAT: lengths of runs, of pixels outside and inside by turns; COCO goes down the columns, CVAT along the rows
  of a box
- COCO, compressed: these lengths as text, differences in groups of five bits (`lengths`)
- Label Studio: a stream of bits, of red, green, blue and opacity of every pixel (`unpacked`)
"""
from typing import Any

import numpy as np

from data_layers.own.shapes import NOTHING, Patch, Size

MOST_GROUPS = 7     # of five bits in a length: no picture has longer runs


def lengths(text: str) -> np.ndarray:
    """Lengths of runs from COCO's text.

    A character less 48 holds five bits, the lowest first, and in bit 5 whether the number goes on; the last of a number
    tells by its bit 4 whether it is negative. From the fourth on, a number is the difference to the last but one.

    Parameters
    ----------
    text : str
        What pycocotools writes as `counts`.

    Returns
    -------
    array
        N, int64.

    Raises
    ------
    ValueError
        It is no such text.

    Examples
    --------
    >>> lengths('52203').tolist()       # 5, 2, 2, 2 + 0, 2 + 3
    [5, 2, 2, 2, 5]
    """
    try:
        codes = np.frombuffer(text.encode('ascii'), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        codes = np.array([-1])
    ends = np.flatnonzero((codes & 32) == 0)
    if not len(ends) or codes.min() < 0 or codes.max() > 63 or ends[-1] != len(codes) - 1:
        raise ValueError('the text of a run-length mask is damaged')
    begins = np.append(0, ends[:-1] + 1)
    if (ends - begins).max() >= MOST_GROUPS:
        raise ValueError('a run-length mask has a number that is longer than any picture')
    place = np.arange(len(codes)) - np.repeat(begins, ends - begins + 1)
    numbers = np.add.reduceat((codes & 31) << 5 * place, begins)
    numbers -= np.where(codes[ends] & 16, 1 << 5 * (ends - begins + 1), 0)
    numbers[1::2], numbers[2::2] = np.cumsum(numbers[1::2]), np.cumsum(numbers[2::2])
    return numbers


def lines(counts: Any, count: int, length: int) -> tuple[np.ndarray, int]:
    """The lines of a mask, from the first to the last with a pixel inside.

    Parameters
    ----------
    counts : sequence of int
        Lengths of runs, the first of pixels outside.
    count, length : int
        Of the lines, and the pixels of each.

    Returns
    -------
    mask : array of bool
        N x `length`.
    first : int
        Which line is the first.

    Raises
    ------
    ValueError
        The runs do not fill the mask.
    """
    runs = np.array(counts)
    pixels = count * length
    if (runs.ndim != 1 or runs.dtype.kind not in 'iu' or runs.min(initial=0) < 0 or runs.max(initial=0) > pixels
            or runs.sum(dtype=np.int64) != pixels):
        raise ValueError(f'the runs of a mask do not fill its {pixels} pixels')
    ends = np.cumsum(runs, dtype=np.int64)
    inside = 2 * np.flatnonzero(runs[1::2]) + 1
    if not len(inside):
        return np.zeros((0, length), bool), 0
    first, last = ends[inside[0] - 1] // length, (ends[inside[-1]] - 1) // length
    cut = runs[inside[0]:inside[-1] + 1].astype(np.int64)
    cut = np.concatenate([[ends[inside[0] - 1] - first * length], cut, [(last + 1) * length - ends[inside[-1]]]])
    return np.repeat(np.arange(len(cut)) % 2 == 1, cut).reshape(-1, length), int(first)


def of_columns(counts: Any, size: Size) -> Patch:
    """A mask of COCO, from its lengths of runs; raises ValueError where they do not fill `size`."""
    mask, left = lines(counts, size[1], size[0])
    return Patch(mask.T, left) if len(mask) else NOTHING


def of_box(counts: Any, box: Size, left: int, top: int) -> Patch:
    """A mask of CVAT, from its lengths of runs in a box of this height and width; ValueError if they do not fill it."""
    mask, first = lines(counts, *box)
    return Patch(mask, left, top + first)


def unpacked(data: bytes, count: int) -> np.ndarray:
    """The bytes of Label Studio's runs, the format of @thi.ng/rle-pack.

    A stream of bits, the highest first: 32 for how many values follow; 5 for the bits of a value, less 1; four times 4
    for the bits of a length, less 1. Then blocks: 1 for a run or 0 for values one by one, 2 for which of the four
    lengths follows, that length less 1, and one value or as many as it says.

    Parameters
    ----------
    data : bytes
        The stream.
    count : int
        How many values it must hold.

    Returns
    -------
    array of uint8
        `count` values.

    Raises
    ------
    ValueError
        It holds as many values of 8 bits as does not fit, or ends early.
    """
    stream = Bits(data)
    total, word = stream.number(32), stream.number(5) + 1
    sizes = [stream.number(4) + 1 for _ in range(4)]
    if (total, word) != (count, 8):
        raise ValueError(f'a brush of {total} values of {word} bits, where {count} of 8 bits fill the picture')
    values, at = np.zeros(count, np.uint8), 0
    while at < count:
        run = stream.number(1)
        length = stream.number(sizes[stream.number(2)]) + 1
        if at + length > count:
            raise ValueError('the runs of a brush are longer than the picture')
        values[at:at + length] = stream.number(8) if run else stream.bytes(length)
        at += length
    return values


class Bits:
    """A stream of bits, the highest of a byte first; reading beyond its end raises ValueError."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> tuple[int, int]:
        """The bytes that the next bits lie in, as one number, and how many bits follow them there."""
        begin, self.at = self.at, self.at + count
        if self.at > 8 * len(self.data):
            raise ValueError('the stream of a brush ends early')
        last = -(-self.at // 8)
        return int.from_bytes(self.data[begin // 8:last]), 8 * last - self.at

    def number(self, count: int) -> int:
        """The next bits as a number."""
        value, rest = self.take(count)
        return value >> rest & (1 << count) - 1

    def bytes(self, count: int) -> np.ndarray:
        """The next bytes, wherever they begin."""
        value, rest = self.take(8 * count)
        return np.frombuffer((value >> rest & (1 << 8 * count) - 1).to_bytes(count), np.uint8)
