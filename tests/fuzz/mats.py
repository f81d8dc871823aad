"""How MATLAB files are damaged, in the bytes of their variables."""
import io
import struct
import zlib

import numpy as np
import scipy.io
import scipy.sparse

EXTREMES = [0, 1, 4, 7, 0xff, 0x10001, 0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff]


def elements(data: bytes) -> list[bytes]:
    """The variables of a little-endian file, packed or not."""
    found, position = [], 128
    while position < len(data):
        kind, length = struct.unpack_from('<II', data, position)
        body = data[position + 8:position + 8 + length]
        found.append(zlib.decompress(body) if kind == 15 else data[position:position + 8 + length])
        position += 8 + length
    return found


def bare(data):
    """The same file with its variables not compressed."""
    return data[:128] + b''.join(elements(data))


def packed(data):
    """A file with each variable compressed anew, so that sums are right where the contents are not."""
    try:
        parts = [zlib.compress(element, 1) for element in elements(data)]
    except (struct.error, zlib.error):
        return data
    return data[:128] + b''.join(struct.pack('<II', 15, len(part)) + part for part in parts)


def in_bytes(data, rng):
    """A damaged copy: one to three bits flipped, cut short, bytes put in, or a word set to an extreme."""
    data, kind = bytearray(data), rng.randrange(5)
    at = rng.randrange(len(data) if rng.random() < .5 else min(len(data), 400))
    if kind == 0:
        for place in (at, *(rng.randrange(len(data)) for _ in range(rng.randrange(3)))):
            data[place] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        data[at:at] = rng.randbytes(rng.randrange(1, 17))
    else:
        place = at - at % 4
        data[place:place + 4] = struct.pack('<>'[kind - 3] + 'I', rng.choice(EXTREMES))
    return bytes(data)


def in_mat(whole, rng):
    """Bytes of the variables, bare or packed again; or other variables under the same names."""
    if rng.random() < .6:
        try:
            damaged = in_bytes(bare(whole), rng)
        except (struct.error, zlib.error):
            return in_bytes(whole, rng)
        return packed(damaged) if rng.random() < .6 else damaged
    if rng.random() < .2:
        return in_bytes(whole, rng)
    array = rng.choice((np.full((40, 56), np.nan), np.full((40, 56), 300.0), np.ones((56, 40), np.int16), np.eye(3),
                        np.zeros((0, 0)), np.ones((40, 56, 3)), np.ones((40, 56)) * 1j, 'text', np.ones((40, 56), bool),
                        scipy.sparse.eye(40).tocsc(), np.full((2, 2), 'a', object), {'Segmentation': np.ones((40, 56))},
                        np.full((40, 56), -7, np.int8), np.zeros((4000, 4000), np.uint8), np.array([[2 ** 60]])))
    name = rng.choice(('GTcls', 'segmentation', 'S', 'LabelMap', 'groundTruth', 'mapClass', 'train', 'test', 'val'))
    out = io.BytesIO()
    scipy.io.savemat(out, {name: rng.choice((array, {'Segmentation': array}, {name: {name: array}}))},
                     do_compression=rng.random() < .5)
    return undated(out.getvalue())


def undated(mat):
    """A MATLAB file without the time at which it was written."""
    return b'MATLAB 5.0 MAT-file'.ljust(116) + mat[116:]
