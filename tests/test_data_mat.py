"""The reader of MATLAB files gives what scipy's gives, and survives files that kill scipy's."""
import random
import struct
import time
import zlib

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from cli import BadInput
from data_layers import mat
from data_layers.mat import TYPES
from data_layers.reading import mat_size, read_mat
from data_layers.siftflow import CATEGORIES
from tests.fuzz import mats
from tests.helpers.datasets import save_mat, write_nyud, write_pascalcontext, write_sbd, write_siftflow

DTYPES = ['u1', 'i1', 'u2', 'i2', 'u4', 'i4', 'u8', 'i8', 'f4', 'f8']
VARIANTS = [(order, packed) for order in '<>' for packed in (False, True)]


def big(data: bytes, inside: bool = False) -> bytes:
    """A little-endian row of elements, none compressed, as big-endian."""
    result, position = b'', 0
    while position < len(data):
        kind, length = struct.unpack_from('<II', data, position)
        small, size = kind >> 16, length
        if small:
            kind, size = kind & 0xffff, kind >> 16
            body, position = data[position + 4:position + 8], position + 8
            result += struct.pack('>I', size << 16 | kind)
        else:
            body, position = data[position + 8:position + 8 + size], position + 8 + size
            result += struct.pack('>II', kind, size)
        if kind == 14:
            result += big(body)
            continue
        width = 1 if kind == 16 else int(TYPES[kind][1])
        swapped = b''.join(body[i:i + width][::-1] for i in range(0, size, width))
        fill = 4 - size if small else -size % 8
        result, position = result + swapped + bytes(fill), position if small else position + fill
    return result


def write(path, order='<', packed=False, change=lambda element: element, **variables):
    """A file as scipy writes it, of any byte order; `change` is done to the bytes of every variable."""
    scipy.io.savemat(path, variables)
    data = path.read_bytes()
    parts = [change(element) for element in mats.elements(data)]
    if order == '>':
        parts = [big(part) for part in parts]
    if packed:
        parts = [struct.pack(f'{order}II', 15, len(zipped)) + zipped for zipped in map(zlib.compress, parts)]
    head = data[:124] + (b'\x00\x01IM' if order == '<' else b'\x01\x00MI')
    path.write_bytes(head + b''.join(parts))


def check(path, found, expected):
    assert found.dtype == expected.dtype.newbyteorder('=') and found.dtype.isnative
    assert found.flags.f_contiguous and found.flags.writeable
    np.testing.assert_array_equal(found, expected, strict=False)
    assert found.shape == expected.shape


@pytest.mark.parametrize(('order', 'packed'), VARIANTS)
@pytest.mark.parametrize('dtype', DTYPES)
def test_numbers_of_every_type(dtype, order, packed, tmp_path):
    path, rng = tmp_path / 'a.mat', np.random.default_rng(0)
    for shape in ((7, 5), (1, 1), (0, 0), (0, 3), (2, 3, 4), (3, 1), (300, 400)):
        values = (rng.random(shape) * 300 - 100).astype(np.int64).astype(dtype)
        write(path, order, packed, before=np.eye(3), x=values, after='text')
        loaded = scipy.io.loadmat(path)['x']
        np.testing.assert_array_equal(loaded, values)
        check(path, read_mat(path, 'x'), loaded)
        assert mat_size(path, 'x') == shape


@pytest.mark.parametrize(('order', 'packed'), VARIANTS)
@pytest.mark.parametrize('stored', DTYPES)
def test_doubles_stored_as_smaller_numbers(stored, order, packed, tmp_path):
    def as_doubles(element):
        return element[:16] + b'\x06' + element[17:]     # the class, and nothing else
    path, values = tmp_path / 'a.mat', np.arange(12).reshape(3, 4).astype(stored)
    write(path, order, packed, as_doubles, x=values)
    check(path, read_mat(path, 'x'), scipy.io.loadmat(path)['x'])


@pytest.mark.parametrize(('order', 'packed'), VARIANTS)
def test_fields_and_cells_among_others(order, packed, tmp_path):
    path, label = tmp_path / 'a.mat', np.random.default_rng(0).integers(0, 21, (40, 56)).astype(np.uint8)
    cell = np.empty((2, 2), object)
    for place, value in zip(np.ndindex(2, 2), ({'a': 'text', 'SegmentationClass': label}, label > 3, 'x', label / 2),
                            strict=True):
        cell[place] = value
    sparse = np.empty((3, 1), object)
    for number in range(3):
        sparse[number, 0] = scipy.sparse.csc_matrix(label == number)
    several = np.array([(1, label), (2, label + 1)], [('a', object), ('b', object)])
    write(path, order, packed, yes=label > 4, several=several, empty=np.zeros((0, 0)), cell=cell,
          GTcls={'Boundaries': sparse if order == '<' else cell, 'Deep': {'er': {'x': label}}, 'Segmentation': label,
                 'a_name_that_has_as_many_as_31_c': 1j})
    loaded = scipy.io.loadmat(path, struct_as_record=False)
    check(path, read_mat(path, 'yes'), loaded['yes'])
    check(path, read_mat(path, 'GTcls', 'Segmentation'), loaded['GTcls'][0, 0].Segmentation)
    check(path, read_mat(path, 'GTcls', 'Deep', 'er', 'x'), label)
    check(path, read_mat(path, 'cell', 0, 'SegmentationClass'), loaded['cell'][0, 0][0, 0].SegmentationClass)
    check(path, read_mat(path, 'cell', 2), loaded['cell'][0, 1])
    check(path, read_mat(path, 'several', 'b'), loaded['several'].flat[0].b)


@pytest.mark.parametrize('packed', [False, True])
def test_what_is_no_array_of_real_numbers(packed, tmp_path):
    path = tmp_path / 'a.mat'
    write(path, packed=packed, text='words', sparse=scipy.sparse.eye(4).tocsc(), complex=np.ones((2, 2)) * 1j,
          struct={'a': 1, 'text': 'words', 'inner': {'b': 1}}, cell=np.array([[1, 'a']], object))
    for way, complaint in (
            (('text',), 'as text but what is char'), (('sparse',), 'sparse'), (('complex',), 'complex'),
            (('struct',), 'is struct'), (('cell',), 'is cell'), (('struct', 'text'), 'as struct.text but what is char'),
            (('struct', 'inner'), 'is struct'), (('struct', 'other'), 'has no struct.other; it is not a file of this'),
            (('struct', 'a', 'b'), 'has no struct.a.b'), (('cell', 2), r'has no cell\{3\}'),
            (('struct', 0), r'has no struct\{1\}'), (('other',), 'has no variable other; it is not a file of this')):
        with pytest.raises(BadInput, match=f'a.mat .*{complaint}'):
            read_mat(path, *way)


def test_other_versions(tmp_path):
    path = tmp_path / 'a.mat'
    scipy.io.savemat(path, {'x': np.eye(3)}, format='4')
    with pytest.raises(BadInput, match='a.mat cannot be read .*not a MATLAB file of version 5 to 7'):
        read_mat(path, 'x')
    for head in (b'\x89HDF\r\n\x1a\n' + bytes(600), b'MATLAB 7.3 MAT-file'.ljust(124) + b'\x00\x02IM' + bytes(400)):
        path.write_bytes(head)
        with pytest.raises(BadInput, match='a.mat is a MATLAB 7.3 file; save it again in MATLAB with the option -v7'):
            read_mat(path, 'x')


def test_a_variable_of_an_unknown_class_is_skipped(tmp_path):
    path = tmp_path / 'a.mat'
    write(path, x=np.eye(3))
    body = struct.pack('<IIII', 6, 8, 17, 0) + struct.pack('<II', 1 | 3 << 16, 0)[:4] + b'tbl\0' + b'what follows is so'
    path.write_bytes(path.read_bytes()[:128] + struct.pack('<II', 14, len(body)) + body + path.read_bytes()[128:])
    np.testing.assert_array_equal(read_mat(path, 'x'), np.eye(3))
    with pytest.raises(BadInput, match='opaque'):
        read_mat(path, 'tbl')


def test_what_is_compressed_is_bounded(tmp_path, monkeypatch):
    path = tmp_path / 'a.mat'
    monkeypatch.setattr(mat, 'MOST_BYTES', 1 << 20)
    write(path, packed=True, many={'a': np.zeros((1200, 1200), np.uint8), 'x': np.eye(3)})
    with pytest.raises(BadInput, match='a.mat cannot be read'):
        read_mat(path, 'many', 'x')
    monkeypatch.setattr(mat, 'MOST_NUMBERS', 99)
    write(path, x=np.zeros((10, 10)))
    with pytest.raises(BadInput, match='a variable has the size 10x10'):
        read_mat(path, 'x')


# Damage.



def originals(folder):
    """Files like each data set's, compressed and not: name -> (bytes, the way to the array)."""
    write_sbd(folder / 'sbd')
    write_nyud(folder / 'nyud')
    write_siftflow(folder / 'siftflow')
    write_pascalcontext(folder / 'context')
    cell = np.empty((1, 1), object)
    cell[0, 0] = {'SegmentationClass': np.ones((9, 8), np.uint16), 'Boundaries': np.zeros((9, 8), bool)}
    save_mat(folder / 'truth.mat', groundTruth=cell)
    save_mat(folder / 'splits.mat', train=[[5001]], val=[[5002]], test=[[5003.0]])
    found = {}
    for path, way in ((next((folder / 'sbd/cls').glob('*.mat')), ('GTcls', 'Segmentation')),
                      (next((folder / 'nyud/segmentation').glob('*.mat')), ('segmentation',)),
                      (next((folder / 'siftflow/GeoLabels' / CATEGORIES).glob('*.mat')), ('S',)),
                      (next((folder / 'context').rglob('*.mat')), ('LabelMap',)),
                      (folder / 'truth.mat', ('groundTruth', 0, 'SegmentationClass')),
                      (folder / 'splits.mat', ('test',))):
        data = path.read_bytes()
        found[f'{path} compressed'] = data, way
        found[f'{path} bare'] = mats.bare(data), way
    return found


def attack(folder, count, seed):
    """Read so many mutants: how many were arrays and how many refused, and the longest time in seconds."""
    rng, files = random.Random(seed), list(originals(folder).items())
    path, arrays, refused, longest = folder / 'mutant.mat', 0, 0, 0.0
    for number in range(count):
        name, (data, way) = files[number % len(files)]
        changed = mats.in_bytes(data, rng)
        path.write_bytes(mats.packed(changed) if name.endswith('bare') and rng.random() < .5 else changed)
        begin = time.perf_counter()
        try:
            arrays += read_mat(path, *way).dtype.kind in 'iuf'
        except BadInput as problem:
            assert str(path) in str(problem) and '\n' not in str(problem)
            refused += 1
        longest = max(longest, time.perf_counter() - begin)
    return arrays, refused, longest


def test_damaged_files_are_arrays_or_refused(tmp_path):
    arrays, refused, longest = attack(tmp_path, 2000, 0)
    assert arrays + refused == 2000 and arrays > 100 and refused > 500
    assert longest < 1
