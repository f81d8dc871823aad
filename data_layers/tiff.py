"""Reading TIFF files of any number of bands, 8 to 64 bits, safe against damaged and hostile files.

Pillow, which reads all other pictures, knows few TIFFs beyond grey and colours of 8 bits, and of colours of 16 bits it
keeps the upper 8. Here the tags of a page are read, checked, and its strips or tiles are put together: chunky or
planar, classic or BigTIFF, either byte order, plain, deflated, LZW, PackBits, LZMA or Zstandard, with either predictor.
Bands may also lie in pages of their own. Of compressions, only the two that Python has are undone here; a strip of the
others is given to Pillow's libtiff as a grey picture of 8 bits.

What is rarer (palettes, YCbCr, JPEG inside, other numbers of bits) raises NotImplementedError: Pillow may know it.
(TIFF 6.0, Adobe 1992; Adobe Photoshop TIFF Technical Notes 2002 and 3, for deflate and the predictor of floats.)
"""
import io
import math
import struct
import zlib
from collections.abc import Iterator
from typing import IO, Literal, NamedTuple

import numpy as np
from PIL import Image

MOST_NUMBERS = 1 << 28      # of a picture, all bands together
MOST_READ = 1 << 22         # numbers in the tags of all pages: offsets and sizes of strips, above all
MOST_PAGES = 1 << 10
MOST_TAGS = 1 << 9          # of a page
MOST_RATIO = 3000           # of numbers to compressed bytes: no LZW or deflate reaches it

SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, TURNED = 254, 256, 257, 258, 259, 262, 266, 274
STRIP_OFFSETS, SAMPLES, ROWS, STRIP_BYTES, PLANAR, PREDICTOR = 273, 277, 278, 279, 284, 317
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTES, EXTRA, FORMAT, NODATA = 322, 323, 324, 325, 338, 339, 42113
KNOWN = {SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, TURNED, STRIP_OFFSETS, SAMPLES, ROWS,
         STRIP_BYTES, PLANAR, PREDICTOR, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTES, EXTRA, FORMAT, NODATA}

MAGIC: dict[bytes, Literal['<', '>']] = {b'II*\0': '<', b'MM\0*': '>', b'II+\0': '<', b'MM\0+': '>'}
TYPES = {1: 'B', 2: 'B', 3: 'H', 4: 'I', 6: 'b', 8: 'h', 9: 'i', 13: 'I', 16: 'Q', 17: 'q', 18: 'Q'}
DTYPES = {(1, 8): 'u1', (1, 16): 'u2', (1, 32): 'u4', (2, 8): 'i1', (2, 16): 'i2', (2, 32): 'i4',
          (3, 16): 'f2', (3, 32): 'f4', (3, 64): 'f8'}
PLAIN, LZW, DEFLATE, PACKBITS, OLD_DEFLATE, LZMA, ZSTD = 1, 5, 8, 32773, 32946, 34925, 50000
COMPRESSIONS = {PLAIN, LZW, DEFLATE, PACKBITS, OLD_DEFLATE, LZMA, ZSTD}
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2


class Page(NamedTuple):
    """What the tags of a page say.

    Attributes
    ----------
    height, width, bands : int
        In pixels, as it is stored, and how many numbers each has.
    dtype : dtype
        Of the numbers, in the byte order of the file.
    photometric : int
        `WHITE_IS_ZERO`, `BLACK_IS_ZERO` or `RGB`.
    alpha : tuple of int
        The bands, from 0, that the file calls transparency.
    nodata : float or None
        What stands for pixels without a measurement, as GDAL writes it.
    planar : bool
        Whether each band has strips or tiles of its own.
    compression, predictor : int
        As in the file.
    block : (int, int)
        Height and width of a strip or tile.
    chunks : list of (int, int)
        Offset and bytes of each.
    reduced : bool
        Whether it is a preview or a mask of another page.
    turned : int
        How it is to be turned: 1 for not at all, or as EXIF counts to 8.
    """
    height: int
    width: int
    bands: int
    dtype: np.dtype
    photometric: int
    alpha: tuple[int, ...]
    nodata: float | None
    planar: bool
    compression: int
    predictor: int
    block: tuple[int, int]
    chunks: list[tuple[int, int]]
    reduced: bool
    turned: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width once it is turned."""
        return (self.width, self.height) if self.turned > 4 else (self.height, self.width)


def is_tiff(begins: bytes) -> bool:
    """Whether a file that begins with these four bytes is a TIFF."""
    return begins[:4] in MAGIC


def pages(file: IO[bytes]) -> list[Page]:
    """The pages that hold the bands of a picture: the first, and those like it if each has one band.

    Parameters
    ----------
    file : file
        Seekable.

    Returns
    -------
    list of Page

    Raises
    ------
    ValueError
        It is damaged, or too large.
    NotImplementedError
        The first page is of a kind that is not read here.
    """
    found: list[Page] = []
    for tags in _directories(file):
        try:
            page = _page(tags)
        except (ValueError, NotImplementedError):
            if not found:
                raise
            continue
        if not found:
            found.append(page)
            if page.bands > 1:
                break
        elif not page.reduced and (page.height, page.width, page.bands, page.dtype) == (
                found[0].height, found[0].width, 1, found[0].dtype):
            found.append(page)
    if not found:
        raise ValueError('it has no page')
    if len(found) * math.prod(found[0][:3]) > MOST_NUMBERS:
        raise ValueError(f'{found[0].width}x{found[0].height} pixels of {len(found) * found[0].bands} bands are more '
                         'than are possible')
    return found


def read(file: IO[bytes]) -> np.ndarray:
    """The numbers of a picture.

    Parameters
    ----------
    file : file
        Seekable.

    Returns
    -------
    array
        H x W x bands, turned as the first page says, in the byte order of this machine; transparency is a band like
        others.

    Raises
    ------
    ValueError
        It is damaged, or too large.
    NotImplementedError
        It is of a kind that is not read here.
    """
    found = pages(file)
    size = file.seek(0, io.SEEK_END)
    for page in found:
        _check_chunks(page, size)
    planes = [_read_page(file, page) for page in found]
    return upright(np.concatenate(planes, axis=2) if len(planes) > 1 else planes[0], found[0].turned)


def upright(stored: np.ndarray, turned: int) -> np.ndarray:
    """Pixels as they are seen: EXIF says of 1 to 8 at which sides the first row and the first column are.

    Parameters
    ----------
    stored : array, H x W x ...
    turned : int
        1 to 8.

    Examples
    --------
    >>> [upright(np.array([[1, 2], [3, 4]]), turned).ravel().tolist() for turned in (1, 3, 6)]
    [[1, 2, 3, 4], [4, 3, 2, 1], [3, 1, 4, 2]]
    """
    seen = stored.swapaxes(0, 1) if turned > 4 else stored
    down, across = -1 if turned in (3, 4, 7, 8) else 1, -1 if turned in (2, 3, 6, 7) else 1
    return seen[::down, ::across]


def _directories(file: IO[bytes]) -> Iterator[dict[int, tuple[int, ...]]]:
    """The known tags of each page, tag -> numbers, in the order of the file."""
    size = file.seek(0, io.SEEK_END)
    head = _at(file, 0, 16 if size >= 16 else 8)
    if not is_tiff(head):
        raise ValueError('it is no TIFF')
    order, big = MAGIC[head[:4]], head[2:4] in (b'+\0', b'\0+')
    if big and struct.unpack(f'{order}HH', head[4:8]) != (8, 0):
        raise ValueError('it is a BigTIFF of another kind')
    at = struct.unpack(f'{order}Q', head[8:16])[0] if big else struct.unpack(f'{order}I', head[4:8])[0]
    seen: set[int] = set()
    left = [MOST_READ]
    while at and at not in seen and len(seen) < MOST_PAGES:
        seen.add(at)
        count = struct.unpack(f'{order}Q' if big else f'{order}H', _at(file, at, 8 if big else 2))[0]
        if count > MOST_TAGS:
            raise ValueError(f'a page has {count} tags')
        at += 8 if big else 2
        length = 20 if big else 12
        table = _at(file, at, count * length + (8 if big else 4))
        yield dict(_tags(file, table, count, order, big, left))
        at = struct.unpack(f'{order}Q' if big else f'{order}I', table[count * length:])[0]


def _tags(file: IO[bytes], table: bytes, count: int, order: str, big: bool, left: list[int],
          ) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The known tags of a page; `left` is how many numbers all pages may still have."""
    for entry in range(count):
        tag, kind, numbers = struct.unpack_from(f'{order}HHQ' if big else f'{order}HHI', table,
                                                entry * (20 if big else 12))
        if tag not in KNOWN or kind not in TYPES:
            continue
        left[0] -= numbers
        if left[0] < 0:
            raise ValueError(f'its tag {tag} has {numbers} numbers')
        form = f'{order}{numbers}{TYPES[kind]}'
        inside = table[(entry + 1) * 20 - 8:][:8] if big else table[(entry + 1) * 12 - 4:][:4]
        size = struct.calcsize(form)
        if size > len(inside):
            inside = _at(file, struct.unpack(f'{order}Q' if big else f'{order}I', inside)[0], size)
        yield tag, struct.unpack(form, inside[:size])


def _at(file: IO[bytes], offset: int, count: int) -> bytes:
    """Bytes from an offset on."""
    if offset >= 1 << 62:
        raise ValueError('it is cut short')
    file.seek(offset)
    data = file.read(count)
    if len(data) != count:
        raise ValueError('it is cut short')
    return data


def _page(tags: dict[int, tuple[int, ...]]) -> Page:
    """What the tags of a page say, once it is seen to make sense."""
    def number(tag: int, otherwise: int) -> int:
        return tags[tag][0] if tags.get(tag) else otherwise

    height, width, bands = number(LENGTH, 0), number(WIDTH, 0), number(SAMPLES, 1)
    if height < 1 or width < 1 or bands < 1:
        raise ValueError(f'{width}x{height} pixels of {bands} bands')
    if height * width * bands > MOST_NUMBERS:
        raise ValueError(f'{width}x{height} pixels of {bands} bands are more than are possible')
    bits, formats = {*tags.get(BITS, (1,))}, {*tags.get(FORMAT, (1,))}
    compression, photometric = number(COMPRESSION, PLAIN), number(PHOTOMETRIC, BLACK_IS_ZERO)
    kind = min(formats), min(bits)
    if len(bits) > 1 or len(formats) > 1 or kind not in DTYPES:
        raise NotImplementedError(f'{min(bits)} bits a number of format {min(formats)}')
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB):
        raise NotImplementedError(f'photometric interpretation {photometric}')
    if compression not in COMPRESSIONS or number(FILL_ORDER, 1) != 1:
        raise NotImplementedError(f'compression {compression}')
    predictor = number(PREDICTOR, 1)
    dtype = np.dtype(DTYPES[kind])
    if predictor not in (1, 2, 3) or predictor == 2 and dtype.kind == 'f' or predictor == 3 and dtype.kind != 'f':
        raise NotImplementedError(f'predictor {predictor}')
    extra = tags.get(EXTRA, ())
    alpha = tuple(bands - len(extra) + i for i, what in enumerate(extra) if what in (1, 2) and len(extra) < bands)
    if TILE_WIDTH in tags:
        block = number(TILE_LENGTH, 0), number(TILE_WIDTH, 0)
        offsets, counts = tags.get(TILE_OFFSETS, ()), tags.get(TILE_BYTES, ())
    else:
        block = min(number(ROWS, height), height), width
        offsets, counts = tags.get(STRIP_OFFSETS, ()), tags.get(STRIP_BYTES, ())
    if min(block) < 1 or max(block) > 1 << 20 and TILE_WIDTH in tags:
        raise ValueError(f'strips or tiles of {block[1]}x{block[0]} pixels')
    planar = number(PLANAR, 1) == 2 and bands > 1
    wanted = -(-height // block[0]) * -(-width // block[1]) * (bands if planar else 1)
    if len(offsets) != wanted or len(counts) != wanted:
        raise ValueError(f'{len(offsets)} strips or tiles where {wanted} are needed')
    return Page(height, width, bands, dtype, photometric, alpha, _nodata(tags.get(NODATA, ())), planar, compression,
                predictor, block, list(zip(offsets, counts, strict=True)), bool(number(SUBFILE, 0) & 5),
                number(TURNED, 1) if 1 <= number(TURNED, 1) <= 8 else 1)


def _nodata(text: tuple[int, ...]) -> float | None:
    try:
        return float(bytes(text).split(b'\0')[0])
    except ValueError:
        return None


def _check_chunks(page: Page, size: int) -> None:
    """Refuse a page whose chunks do not lie in a file of so many bytes, or cannot hold what it states."""
    if any(offset < 1 or count < 1 or offset + count > size for offset, count in page.chunks):
        raise ValueError('a strip or tile is missing')
    numbers = page.height * page.width * page.bands
    if numbers * page.dtype.itemsize > sum(count for _, count in page.chunks) * (
            1 if page.compression == PLAIN else MOST_RATIO):
        raise ValueError(f'too few bytes for {page.width}x{page.height} pixels of {page.bands} bands')


def _read_page(file: IO[bytes], page: Page) -> np.ndarray:
    file.seek(0)
    order = MAGIC[file.read(4)]
    result = np.empty((page.height, page.width, page.bands), page.dtype)
    down, across = page.block
    columns = -(-page.width // across)
    per_plane = columns * -(-page.height // down)
    for number, (offset, count) in enumerate(page.chunks):
        plane, place = divmod(number, per_plane)
        top, left = place // columns * down, place % columns * across
        rows = min(down, page.height - top)
        bands = slice(plane, plane + 1) if page.planar else slice(None)
        shape = rows, across, 1 if page.planar else page.bands     # of a tile, rows beyond the page are left
        values = _chunk(_at(file, offset, count), page, shape, order)
        result[top:top + rows, left:left + across, bands] = values[:, :page.width - left]
    if page.photometric == WHITE_IS_ZERO and page.dtype.kind == 'u':
        np.subtract(np.iinfo(page.dtype).max, result, out=result)
    return result


def _chunk(data: bytes, page: Page, shape: tuple[int, int, int], order: Literal['<', '>']) -> np.ndarray:
    """The numbers of a strip or tile of a shape: rows, columns, bands."""
    rows, columns, bands = shape
    wanted = rows * columns * bands * page.dtype.itemsize
    if wanted > max(len(data), 1) * MOST_RATIO:
        raise ValueError('a strip or tile has too few bytes')
    if page.compression in (DEFLATE, OLD_DEFLATE):
        try:
            data = zlib.decompressobj().decompress(data, wanted)
        except zlib.error as problem:
            raise ValueError(f'a strip or tile is damaged: {problem}') from None
    elif page.compression != PLAIN:
        data = _by_libtiff(data, page.compression, rows, wanted // rows)
    if len(data) < wanted:
        raise ValueError('a strip or tile is cut short')
    raw = np.frombuffer(data, np.uint8, wanted)
    if page.predictor == 3:     # differences of bytes, the bytes of a row sorted by their weight, the largest first
        size = page.dtype.itemsize
        raw = raw.reshape(rows, -1, bands).cumsum(1, np.uint8).reshape(rows, size, columns * bands)
        return np.ascontiguousarray(raw.transpose(0, 2, 1)).view(page.dtype.newbyteorder('>')).reshape(shape).astype(
            page.dtype)
    values = raw.view(page.dtype.newbyteorder(order)).reshape(shape).astype(page.dtype, copy=False)
    return values.cumsum(1, page.dtype) if page.predictor == 2 else values


def _by_libtiff(data: bytes, compression: int, rows: int, width: int) -> bytes:
    """Decompress a strip: as a picture of one strip, grey and of 8 bits, which Pillow gives to libtiff."""
    tags = {WIDTH: width, LENGTH: rows, BITS: 8, COMPRESSION: compression, PHOTOMETRIC: BLACK_IS_ZERO,
            STRIP_OFFSETS: 0, SAMPLES: 1, ROWS: rows, STRIP_BYTES: len(data)}
    tags[STRIP_OFFSETS] = 8 + 2 + 12 * len(tags) + 4
    head = b'II*\0' + struct.pack('<IH', 8, len(tags)) + b''.join(
        struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags.items()) + bytes(4)
    try:
        with Image.open(io.BytesIO(head + data), formats=('TIFF',)) as picture:
            if picture.size != (width, rows) or picture.mode != 'L':
                raise ValueError(f'{picture.mode} of {picture.size}')
            return picture.tobytes()
    except Exception as problem:    # a damaged strip makes the decoder raise almost anything
        raise ValueError(f'a strip or tile is damaged: {str(problem)[:100]}') from None
