"""Reading one array of numbers from a MATLAB file of version 5 to 7.2, safe against damaged and hostile files.

Such a file is a header of 128 bytes and a row of elements, each a tag (type and length) and data. A variable is an
element of its own, perhaps compressed by zlib; the cells and fields of a variable are elements within it. Only those on
the way to the array asked for are parsed, the others are skipped by their length.
"""
import io
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

import files

MOST_NUMBERS = 1 << 28      # of an array; no camera takes as many pixels
MOST_BYTES = (1 << 31) + (1 << 20)      # of a variable when decompressed: as many doubles, and their surroundings
MOST_VARIABLES = 10_000     # before the one asked for, and fields before the one asked for
MOST_NAMES = 1 << 20        # bytes of names and dimensions
CHUNK = 1 << 16
HEADER = 128

TYPES = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8'}
INT8, UINT8, INT32, UINT32, MATRIX, COMPRESSED, UTF8 = 1, 2, 5, 6, 14, 15, 16
CLASSES = {1: 'cell', 2: 'struct', 3: 'object', 4: 'char', 5: 'sparse', 6: 'double', 7: 'single', 8: 'int8', 9: 'uint8',
           10: 'int16', 11: 'uint16', 12: 'int32', 13: 'uint32', 14: 'int64', 15: 'uint64',
           16: 'function', 17: 'opaque'}
CELL, STRUCT, NUMERIC, OPAQUE = 1, 2, range(6, 16), 17
COMPLEX = 1 << 11


class Stream:
    """The bytes of an element, from first to last.

    Parameters
    ----------
    file : file
        At the beginning of the data.
    length : int
        Bytes of the data.
    order : str
        `<` or `>`, the byte order.
    """

    def __init__(self, file: BinaryIO, length: int, order: str) -> None:
        self.file, self.left, self.order = file, length, order

    def take(self, count: int) -> bytes | bytearray:
        """Read bytes.

        Raises
        ------
        ValueError
            There are not as many.
        """
        data = self.some(self.claim(count))
        if len(data) != count:
            raise ValueError('it is cut short')
        return data

    def skip(self, count: int) -> None:
        """Leave out bytes; raises ValueError as `take` does."""
        self.claim(count)
        self.file.seek(count, io.SEEK_CUR)

    def claim(self, count: int) -> int:
        """Count bytes as read; raises ValueError if the element has not as many."""
        if not 0 <= count <= self.left:
            raise ValueError('an element is longer than what holds it')
        self.left -= count
        return count

    def some(self, count: int) -> bytes | bytearray:
        """At most so many bytes of what follows."""
        return self.file.read(count)

    def finish(self) -> None:
        """Raise ValueError if the rest is damaged, as far as this can be told."""


class Inflated(Stream):
    """The bytes of a compressed element, decompressed as they are asked for: see `Stream`."""

    def __init__(self, file: BinaryIO, length: int, order: str) -> None:
        super().__init__(file, MOST_BYTES, order)
        self.packed, self.zlib = length, zlib.decompressobj()
        self.to_come = MOST_BYTES       # that are still to be decompressed, at most

    def some(self, count: int) -> bytearray:
        data = bytearray()
        while len(data) < count and (chunk := self.inflate(min(count - len(data), CHUNK))):
            data += chunk
        return data

    def skip(self, count: int) -> None:
        left = self.claim(count)
        while left:
            chunk = self.inflate(min(left, CHUNK))
            if not chunk:
                raise ValueError('it is cut short')
            left -= len(chunk)

    def finish(self) -> None:
        while self.inflate(CHUNK):
            continue
        if not self.zlib.eof:       # where the sum of all bytes is checked
            raise ValueError('it is cut short')

    def inflate(self, most: int) -> bytes:
        """The next 1 to `most` bytes, or none at the end.

        Raises
        ------
        ValueError
            What is compressed is damaged, or more than it says.
        """
        while not self.zlib.eof:
            data = self.zlib.unconsumed_tail or self.file.read(min(self.packed, CHUNK))
            self.packed -= 0 if self.zlib.unconsumed_tail else len(data)
            try:
                chunk = self.zlib.decompress(data, most)
            except zlib.error as problem:
                raise ValueError(f'it cannot be decompressed: {problem}') from None
            self.to_come -= len(chunk)
            if self.to_come < 0:
                raise ValueError('it is longer than it says')
            if chunk or not data:
                return chunk
        return b''


class Matrix(NamedTuple):
    """The head of a variable, cell or field: what precedes its contents.

    Attributes
    ----------
    kind : int
        Its MATLAB class, one of `CLASSES` if the file is whole.
    is_complex : bool
        Whether imaginary parts follow.
    dims : tuple of int
        At least two.
    name : str
        Of the variable; empty for cells and fields.
    """
    kind: int
    is_complex: bool
    dims: tuple[int, ...]
    name: str

    @property
    def size(self) -> int:
        """The number of its numbers, cells or structs."""
        return math.prod(self.dims)


def read(path: Path, variable: str, *within: str | int, most: int = MOST_NUMBERS) -> np.ndarray:
    """Read an array of numbers.

    Parameters
    ----------
    path : path
        The file.
    variable : str
        Name of the variable.
    *within : str or int
        The way from there: names are fields, of the first struct of an array; numbers are cells, the first is 0.
    most : int
        So many numbers are possible; more are not decompressed.

    Returns
    -------
    array
        As `scipy.io.loadmat` gives it: of the type in which the numbers are stored (MATLAB stores doubles as bytes
        where it can), in column-major order.

    Raises
    ------
    NotImplementedError
        The file is of version 7.3.
    KeyError
        The file has no such variable.
    LookupError
        The variable has no such field or cell.
    TypeError
        It is not an array of real numbers.
    ValueError
        The file is damaged, or of no version known here.
    OSError
        It cannot be read.
    """
    with files.open_regular(path) as file:
        stream, head = find(file, variable, within)
        if head.size > most:
            raise ValueError(f'it has {head.size} numbers where at most {most} are possible')
        values = numbers(stream, head)
        stream.finish()
    return values


def shape(path: Path, variable: str, *within: str | int) -> tuple[int, ...]:
    """The shape of the array that `read` gives, without reading it; see there for parameters and exceptions."""
    with files.open_regular(path) as file:
        return find(file, variable, within)[1].dims


def find(file: BinaryIO, variable: str, within: tuple[str | int, ...]) -> tuple[Stream, Matrix]:
    """Walk to an array; `file` is at its beginning, the rest is as for `read`.

    Returns
    -------
    stream : Stream
        At the contents of the array.
    head : Matrix
        What precedes them.
    """
    stream, head = find_variable(file, variable)
    for step in within:
        skipped = place_of(stream, head, step)
        for _ in range(skipped):
            stream.skip(enter(stream, MATRIX)[1])
        stream.left = enter(stream, MATRIX)[1]
        if not stream.left:
            raise LookupError(f'{step} is empty')
        head = read_head(stream)
    return stream, head


def find_variable(file: BinaryIO, variable: str) -> tuple[Stream, Matrix]:
    """Walk to a variable: see `find`."""
    order = byte_order(file.read(HEADER))
    position, size = HEADER, file.seek(0, io.SEEK_END)
    for _ in range(MOST_VARIABLES):
        if position == size:
            raise KeyError(variable)
        file.seek(position)
        tag = Stream(file, size - position, order)
        kind, length = struct.unpack(f'{order}II', tag.take(8))
        if length > tag.left:
            raise ValueError('it is cut short, or damaged')
        if kind not in (MATRIX, COMPRESSED):
            raise ValueError(f'it has an element of type {kind} instead of a variable')
        stream = Stream(file, length, order)
        if kind == COMPRESSED:
            stream = Inflated(file, length, order)
            stream.left = stream.to_come = enter(stream, MATRIX)[1]
        head = read_head(stream)
        if head.name == variable:
            return stream, head
        position += 8 + length
    raise ValueError(f'it has more than {MOST_VARIABLES} variables')


def byte_order(header: bytes) -> str:
    """`<` or `>`, from the first bytes of a file.

    Raises
    ------
    NotImplementedError
        The file is of version 7.3.
    ValueError
        It is of no version known here.
    """
    order = {b'IM': '<', b'MI': '>'}.get(header[126:128])
    if header.startswith(b'\x89HDF') or order and header[124:126] == struct.pack(f'{order}H', 0x200):
        raise NotImplementedError
    if not order or 0 in header[:4]:
        raise ValueError('it is not a MATLAB file of version 5 to 7')
    return order


def enter(stream: Stream, *kinds: int) -> tuple[int, int, bytes | None]:
    """Read the tag of an element.

    Parameters
    ----------
    stream : Stream
        At the tag.
    *kinds : int
        The types that the element may have.

    Returns
    -------
    kind, length : int
        Of the element.
    small : bytes or None
        Its data if they stand in the tag.

    Raises
    ------
    ValueError
        It has another type, or is longer than the stream.
    """
    tag = bytes(stream.take(8))
    kind, length = struct.unpack(f'{stream.order}II', tag)
    small = None
    if kind >> 16:
        kind, length = kind & 0xffff, kind >> 16
        if length > 4:
            raise ValueError('a small element is longer than four bytes')
        small = tag[4:4 + length]
    if kind not in kinds:
        raise ValueError(f'it has an element of type {kind} where it should have {" or ".join(map(str, kinds))}')
    if small is None and length > stream.left:
        raise ValueError('an element is longer than what holds it')
    return kind, length, small


def contents(stream: Stream, *kinds: int, most: int = MOST_NAMES) -> tuple[int, bytes | bytearray]:
    """Read an element, with what fills it up to 8 bytes: its type and data; `kinds` and exceptions as of `enter`."""
    kind, length, small = enter(stream, *kinds)
    if small is not None:
        return kind, small
    if length > most:
        raise ValueError(f'an element has {length} bytes where at most {most} are possible')
    data = stream.take(length)
    stream.skip(min(-length % 8, stream.left))
    return kind, data


def read_head(stream: Stream) -> Matrix:
    """Read what precedes the contents of a variable, cell or field.

    Raises
    ------
    ValueError
        It is damaged.
    """
    flags = contents(stream, UINT32)[1]
    if len(flags) != 8:
        raise ValueError('a variable has no head')
    bits, _ = struct.unpack(f'{stream.order}II', flags)
    dims = contents(stream, INT32, UINT32)[1] if bits & 0xff != OPAQUE else bytes(8)     # which has no dimensions
    name = contents(stream, INT8, UINT8, UTF8)[1]
    if len(dims) % 4 or not 2 <= len(dims) // 4 <= 32:
        raise ValueError(f'a variable has {len(dims) / 4:g} dimensions')
    head = Matrix(bits & 0xff, bool(bits & COMPLEX), struct.unpack(f'{stream.order}{len(dims) // 4}i', dims),
                  bytes(name).decode('latin-1'))
    if min(head.dims) < 0 or head.size > MOST_NUMBERS:
        raise ValueError(f'a variable has the size {"x".join(map(str, head.dims))}')
    return head


def place_of(stream: Stream, head: Matrix, step: str | int) -> int:
    """How many elements precede a field or cell.

    Parameters
    ----------
    stream : Stream
        At the contents of a variable; afterwards at its first field or cell.
    head : Matrix
        Of the variable.
    step : str or int
        Name of the field, of the first struct, or number of the cell.

    Raises
    ------
    LookupError
        The variable is no such array, or has no such field or cell.
    ValueError
        The names of the fields are damaged.
    """
    if isinstance(step, int):
        if head.kind != CELL or step >= head.size:
            raise LookupError(f'it has no cell {step}')
        return step
    if head.kind != STRUCT or not head.size:
        raise LookupError(f'it has no field {step}')
    width = contents(stream, INT32, UINT32)[1]
    if len(width) != 4 or not 1 <= (wide := struct.unpack(f'{stream.order}I', width)[0]) <= MOST_NAMES:
        raise ValueError('a struct has names without a length')
    names = bytes(contents(stream, INT8, UINT8, UTF8)[1])
    if len(names) % wide or len(names) // wide > MOST_VARIABLES:
        raise ValueError('a struct has damaged names')
    fields = [names[start:start + wide].split(b'\0')[0].decode('latin-1') for start in range(0, len(names), wide)]
    if step not in fields:
        raise LookupError(f'it has no field {step}')
    return fields.index(step)


def numbers(stream: Stream, head: Matrix) -> np.ndarray:
    """Read the contents of an array of numbers.

    Parameters
    ----------
    stream : Stream
        At the contents.
    head : Matrix
        What precedes them.

    Returns
    -------
    array
        Of shape `head.dims`.

    Raises
    ------
    TypeError
        These are no real numbers.
    ValueError
        They are damaged.
    """
    if head.kind not in NUMERIC:
        raise TypeError(CLASSES.get(head.kind, f'of MATLAB class {head.kind}'))
    if head.is_complex:
        raise TypeError('complex')
    kind, data = contents(stream, *TYPES, most=8 * head.size)
    stored = np.dtype(f'{stream.order}{TYPES[kind]}')
    if len(data) != head.size * stored.itemsize:
        raise ValueError(f'{len(data)} bytes are stored for {head.size} numbers of type {stored.name}')
    values = np.frombuffer(bytearray(data) if isinstance(data, bytes) else data, stored)
    return values.astype(stored.newbyteorder('='), copy=False).reshape(head.dims, order='F')
