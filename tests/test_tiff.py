"""TIFFs of many bands: what tifffile and Pillow write is read back, and damaged ones end in a complaint."""
import io
import random
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from cli import BadInput
from data_layers import bands, tiff

SHAPE = 37, 45


def values(dtype, count, seed=0):
    """H x W x count numbers of a type, negative ones and fractions among them where it has such."""
    drawn = np.random.default_rng(seed).integers(0, 250, (*SHAPE, count))
    return (drawn / 7 - 9).astype(dtype) if np.dtype(dtype).kind == 'f' else (
        drawn - 100 * (np.dtype(dtype).kind == 'i')).astype(dtype)


def written(array, **options):
    """A TIFF of H x W x bands by tifffile."""
    file = io.BytesIO()
    if options.get('planarconfig') == 'separate':
        array = np.moveaxis(array, 2, 0)
    options = dict(photometric='minisblack') | (dict(planarconfig='contig') if array.shape[-1] > 1 else {}) | options
    tifffile.imwrite(file, array if array.shape[-1] > 1 else array[..., 0], **options)
    return file


@pytest.mark.parametrize('count', [1, 2, 3, 4, 5, 16])
@pytest.mark.parametrize('dtype', ['u1', 'u2', 'u4', 'i1', 'i2', 'i4', 'f2', 'f4', 'f8'])
def test_what_tifffile_writes_is_read(dtype, count):
    array = values(dtype, count)
    many = [{}, {'byteorder': '>'}, {'bigtiff': True}, {'bigtiff': True, 'byteorder': '>'}, {'tile': (16, 32)},
            {'rowsperstrip': 10}, {'compression': 'zlib'}, {'compression': 'zlib', 'tile': (16, 48), 'byteorder': '>'}]
    if dtype[0] != 'f':
        many += [{'compression': 'zlib', 'predictor': True, **more} for more in (
            {}, {'byteorder': '>'}, {'tile': (32, 16)}, {'rowsperstrip': 7})]
    if count > 3:
        many += [{'planarconfig': 'separate', **more} for more in (
            {}, {'tile': (16, 32)}, {'compression': 'zlib', 'rowsperstrip': 5})]
    for options in many:
        found = tiff.read(written(array, **options))
        assert found.dtype == array.dtype and found.shape == array.shape, options
        np.testing.assert_array_equal(found, array, str(options))


@pytest.mark.parametrize('compression', ['tiff_lzw', 'packbits', 'tiff_adobe_deflate', 'tiff_deflate', 'lzma', 'zstd'])
@pytest.mark.parametrize(('mode', 'dtype', 'count'), [('L', 'u1', 1), ('RGB', 'u1', 3), ('RGBA', 'u1', 4),
                                                      ('I;16', 'u2', 1), ('F', 'f4', 1)])
def test_what_libtiff_compresses_is_read(compression, mode, dtype, count):
    array, file = values(dtype, count), io.BytesIO()
    picture = Image.fromarray(array[..., 0] if count == 1 else array)
    assert picture.mode == mode
    picture.save(file, 'TIFF', compression=compression)
    np.testing.assert_array_equal(tiff.read(file), array)


@pytest.mark.parametrize('compression', ['tiff_lzw', 'tiff_adobe_deflate'])
@pytest.mark.parametrize(('predictor', 'dtype', 'count'), [(2, 'u1', 1), (2, 'u1', 3), (2, 'u1', 4), (2, 'u2', 1),
                                                           (3, 'f4', 1)])
def test_what_libtiff_predicts_is_read(compression, predictor, dtype, count):
    array, file = values(dtype, count), io.BytesIO()
    Image.fromarray(array[..., 0] if count == 1 else array).save(file, 'TIFF', compression=compression,
                                                                 tiffinfo={317: predictor})
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as read:
        assert read.pages[0].predictor == predictor
    np.testing.assert_array_equal(tiff.read(file), array)


def by_hand(array, tags=(), compress=bytes, drop=()):
    """A TIFF of one strip by the pages of the specification: little endian, chunky; `tags` come last and win."""
    rows, columns, count = array.shape
    data = compress(array.tobytes())
    known = {256: (4, columns), 257: (4, rows), 258: (3, 8 * array.itemsize), 259: (3, 1), 262: (3, 1), 273: (4, 8),
             277: (3, count), 278: (4, rows), 279: (4, len(data)), 284: (3, 1),
             339: (3, {'u': 1, 'i': 2, 'f': 3}[array.dtype.kind])} | dict(tags)
    entries = b''.join(struct.pack('<HHII', tag, kind, 1, value) for tag, (kind, value) in sorted(known.items())
                       if tag not in drop)
    count = len(entries) // 12
    return b'II*\0' + struct.pack('<I', 8 + len(data)) + data + struct.pack('<H', count) + entries + bytes(4)


def lzw(data):
    """As libtiff compresses bytes."""
    file = io.BytesIO()
    Image.frombytes('L', (len(data), 1), data).save(file, 'TIFF', compression='tiff_lzw')
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as read:
        page = read.pages[0]
        return file.getvalue()[page.dataoffsets[0]:page.dataoffsets[0] + page.databytecounts[0]]


def test_lzw_with_five_bands_of_16_bits_and_differences():
    array = values('u2', 5)
    differences = array.copy()
    differences[:, 1:] -= array[:, :-1]         # horizontal, band by band, modulo 2^16
    whole = by_hand(array, {317: (3, 2), 259: (3, 5)}, lambda _: lzw(differences.tobytes()))
    np.testing.assert_array_equal(tiff.read(io.BytesIO(whole)), array)


def test_floats_of_three_bands_whose_bytes_are_sorted_and_subtracted():
    """By the pages of Adobe's Technical Note 3: of each row first all sign bytes, then the next; then differences."""
    array = values('f4', 3)
    rows = array.astype('>f4').view('u1').reshape(SHAPE[0], SHAPE[1] * 3, 4).transpose(0, 2, 1).reshape(SHAPE[0], -1)
    differences = rows.copy()
    differences[:, 3:] -= rows[:, :-3]
    whole = by_hand(array, {317: (3, 3), 259: (3, 8)}, lambda _: zlib.compress(differences.tobytes()))
    np.testing.assert_array_equal(tiff.read(io.BytesIO(whole)), array)


def test_bands_in_pages_of_their_own_and_previews_beside():
    array, file = values('u2', 4), io.BytesIO()
    with tifffile.TiffWriter(file) as out:
        for band in range(4):
            out.write(array[..., band], contiguous=False)
            out.write(array[::2, ::2, band], subfiletype=1)
    np.testing.assert_array_equal(tiff.read(file), array)
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as out:      # many bands: what follows is something else
        out.write(array, photometric='minisblack', planarconfig='contig')
        out.write(array, photometric='minisblack', planarconfig='contig')
    np.testing.assert_array_equal(tiff.read(file), array)


def test_white_is_zero_and_nodata(tmp_path):
    array = values('u2', 1)
    np.testing.assert_array_equal(tiff.read(written(array, photometric='miniswhite')), 65535 - array)
    height = values('f4', 1)
    height[3, 5] = height[0, 0] = -9999
    (tmp_path / 'a.tif').write_bytes(written(height, extratags=[(42113, 's', 0, '-9999', True)]).getvalue())
    found = bands.read_values(tmp_path / 'a.tif')
    assert np.isnan(found[3, 5, 0]) and np.isnan(found[0, 0, 0]) and np.isnan(found).sum() == 2
    np.testing.assert_array_equal(found[1:3], height[1:3])


def test_transparency_is_known(tmp_path):
    for extra, alpha in (('unassalpha', (3,)), ('assocalpha', (3,)), ('unspecified', ())):
        (tmp_path / 'a.tif').write_bytes(written(values('u2', 4), photometric='rgb', extrasamples=[extra]).getvalue())
        assert bands.stored(tmp_path / 'a.tif') == bands.Stored(SHAPE, 4, 'uint16', alpha, True)


@pytest.mark.parametrize(('tags', 'complaint'), [
    ({256: (4, 0)}, '0x37 pixels'),
    ({256: (4, 2 ** 31), 257: (4, 2 ** 31)}, 'more than are possible'),
    ({277: (3, 65535), 256: (4, 65535)}, 'more than are possible'),
    ({256: (4, 8000), 257: (4, 8000), 278: (4, 8000)}, 'too few bytes'),
    ({256: (4, 8000), 257: (4, 8000), 278: (4, 8000), 259: (3, 8)}, 'too few bytes'),
    ({273: (4, 2 ** 32 - 9)}, 'a strip or tile is missing'),
    ({273: (4, 0)}, 'a strip or tile is missing'),
    ({278: (4, 1)}, '1 strips or tiles where 37 are needed'),
    ({259: (3, 8)}, 'damaged'), ({259: (3, 5)}, 'damaged|cut short'), ({259: (3, 34925)}, 'damaged'),
    ({322: (4, 0), 323: (4, 0)}, 'strips or tiles'),
    ({322: (4, 2 ** 31), 323: (4, 2 ** 31)}, 'strips or tiles'),
])
def test_tags_that_make_no_sense_are_told_before_memory_is_taken(tags, complaint, tmp_path):
    (tmp_path / 'a.tif').write_bytes(by_hand(values('u2', 2), tags))
    tracemalloc.start()
    with pytest.raises(BadInput, match=complaint) as problem:
        bands.read_values(tmp_path / 'a.tif')
    assert tracemalloc.get_traced_memory()[1] < 20 << 20 and str(tmp_path / 'a.tif') in str(problem.value)
    tracemalloc.stop()


def test_a_page_that_leads_to_itself_ends():
    whole = bytearray(by_hand(values('u2', 1)))
    whole[-4:] = whole[4:8]
    assert tiff.read(io.BytesIO(bytes(whole))).shape == (*SHAPE, 1)


@pytest.mark.parametrize('make', [
    lambda: by_hand(values('u2', 5)), lambda: by_hand(values('u1', 4), {259: (3, 8)}, zlib.compress),
    lambda: by_hand(values('u1', 3), {259: (3, 5)}, lzw),
    lambda: written(values('f4', 2), tile=(16, 16), compression='zlib', bigtiff=True).getvalue()])
def test_damaged_bytes_end_in_a_complaint_or_a_picture(make, tmp_path):
    whole, rng, ends = make(), random.Random(0), {'read': 0, 'refused': 0}
    head = [at for at in range(len(whole)) if at < 16 or at > len(whole) - 260]     # where the tags are, or may be
    for number in range(400):
        data = bytearray(whole)
        if number % 4 == 0:
            del data[rng.randrange(len(data)):]
        for _ in range(rng.choice((1, 1, 2, 5))):
            if data:
                at = rng.choice(head) if rng.random() < .8 else rng.randrange(len(data))
                data[min(at, len(data) - 1)] = rng.choice((0, 1, 2, 127, 128, 255, rng.randrange(256)))
        path = tmp_path / 'a.tif'
        path.write_bytes(data)
        try:
            assert bands.read_values(path).ndim == 3
            ends['read'] += 1
        except BadInput as problem:
            assert '\n' not in str(problem)
            ends['refused'] += 1
    assert min(ends.values()) > 20, ends
