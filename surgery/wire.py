"""Protobuf's wire format: fields of a number, a wire type and a payload, read from a file and written as bytes.

Numbers go from the file straight into arrays, so that VGG-16's 528 MB take 528 MB of memory and no second copy.
"""
import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Malformed(Exception):
    """The bytes are not what the wire format allows."""


# ---------------------------------------------------------------------------------------------------- reading

def fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int, int]]:
    """Walk over the fields of a message.

    Parameters
    ----------
    file : binary file
        At the message's first byte.
    end : int
        The byte after its last.

    Yields
    ------
    (int, int, int)
        The field's number, its wire type, and its length in bytes, which the caller consumes or skips; for a varint its
        value.

    Raises
    ------
    Malformed
        A field is cut short, or of a wire type that protobuf no longer has.
    """
    while (at := file.tell()) < end:
        key = varint(file, end)
        number, wire = key >> 3, key & 7
        if wire == VARINT or wire == BYTES:
            length = varint(file, end)
        elif wire == FIXED32 or wire == FIXED64:
            length = 4 if wire == FIXED32 else 8
        else:
            raise Malformed(f'wire type {wire} at byte {at}')
        if number == 0:
            raise Malformed(f'field 0 at byte {at}')
        if wire != VARINT and length > end - file.tell():
            raise Malformed(f'cut short: {length} bytes announced at byte {at}, {end - file.tell()} left')
        yield number, wire, length


def varint(file: BinaryIO, end: int) -> int:
    """The number of variable length that starts here, before byte `end`; Malformed where it does not stop."""
    value = shift = 0
    while shift < 70 and file.tell() < end:
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7f) << shift
        if byte[0] < 0x80:
            return value
        shift += 7
    raise Malformed(f'cut short, or not a number, at byte {file.tell()}')


def skip(file: BinaryIO, wire: int, length: int) -> None:
    """Pass over the payload of a field from `fields`."""
    if wire != VARINT:
        file.seek(length, os.SEEK_CUR)


def text(file: BinaryIO, length: int) -> str:
    """The payload as UTF-8."""
    return file.read(length).decode('utf-8')


def numbers(file: BinaryIO, dtype: str, length: int) -> np.ndarray:
    """The payload of `length` bytes as an array of one axis; Malformed where it is cut short."""
    count, rest = divmod(length, np.dtype(dtype).itemsize)
    if rest:
        raise Malformed(f'{length} bytes are not a whole count of numbers')
    data: np.ndarray = np.empty(count, dtype)
    if file.readinto(data.view(np.uint8)) != length:    # type: ignore[attr-defined]
        raise Malformed('cut short inside a blob')
    return data


# ---------------------------------------------------------------------------------------------------- writing

def encode(value: int) -> bytes:
    """A number from 0 as a varint."""
    out = bytearray()
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, length: int) -> bytes:
    """What comes before a payload of `length` bytes in field `number`."""
    return encode(number << 3 | BYTES) + encode(length)


def field(number: int, payload: bytes) -> bytes:
    """A whole field."""
    return tag(number, len(payload)) + payload


def byte_count(chunks: Sequence[bytes | np.ndarray]) -> int:
    """How many bytes some chunks have together."""
    return sum(c.nbytes if isinstance(c, np.ndarray) else len(c) for c in chunks)
