"""State dicts in files of torch.save, read without torch: both forms, strange tensors, and hostile files."""
import os
import pickle
import random
import time
import zipfile

import numpy as np
import pytest

from cli import BadInput
from surgery.torch_import import read_pth
from tests.fuzz.damage import NUMBERS, any_bytes
from tests.helpers.torch_files import SAVERS, View, save_legacy, save_zip, whole

RNG = np.random.default_rng(0)
ROW = RNG.normal(size=60).astype('f')
BFLOAT = RNG.normal(size=6).astype('f')
DTYPES = ('float32', 'float16', 'float64', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool')


def strange():
    """Tensors by name, and what each must be read as."""
    upper = (BFLOAT.view(np.uint32) >> 16).astype(np.uint16)
    cases = {
        'whole': (View(ROW, (3, 4, 5), (20, 5, 1)), ROW.reshape(3, 4, 5)),
        'transposed': (View(ROW, (5, 12), (1, 5)), ROW.reshape(12, 5).T),
        'strided': (View(ROW, (2, 3), (30, 2), 7), ROW.reshape(2, 30)[:, 7:13:2]),
        'expanded': (View(ROW, (4, 3), (0, 1), 2), np.broadcast_to(ROW[2:5], (4, 3))),
        'scalar': (View(ROW, (), (), 59), ROW[59]),
        'empty': (View(ROW[:0], (0, 3), (3, 1)), np.zeros((0, 3))),
        'empty view': (View(ROW, (2, 0), (1, 1)), np.zeros((2, 0))),
        'bfloat16': (View(upper, (2, 3), (3, 1), kind='BFloat16'),
                     (upper.astype(np.uint32) << 16).view('f').reshape(2, 3))}
    for dtype in DTYPES:
        array = (RNG.normal(size=(2, 3)) * 3).astype(dtype)
        cases[dtype] = (whole(array), array)
    return cases


@pytest.mark.parametrize('order', ['little', 'big'])
@pytest.mark.parametrize('form', SAVERS)
def test_tensors_of_every_kind(tmp_path, form, order):
    cases = strange()
    state = read_pth(SAVERS[form](tmp_path / 'a.pth', {name: view for name, (view, _) in cases.items()}, order=order))
    assert list(state) == list(cases)
    for name, (_, expected) in cases.items():
        assert state[name].dtype == np.float32
        np.testing.assert_array_equal(state[name], np.asarray(expected, 'f'), err_msg=name)


@pytest.mark.parametrize('form', SAVERS)
@pytest.mark.parametrize('wrap', [
    lambda state: {'state_dict': state, 'epoch': 3, 'best': 0.5, 'args': ('x', [1, None, True], {'lr': 1e-3})},
    lambda state: {'model': {'model_state_dict': state}},
    lambda state: {'net': state, 'optimizer': {'state': {0: ROW}}}])
def test_checkpoints(tmp_path, form, wrap):
    state = read_pth(SAVERS[form](tmp_path / 'a.pth', wrap({'w': ROW})))
    assert list(state) == ['w'] and (state['w'] == ROW).all()


def test_parameters_attributes_and_other_ways_to_say_it(tmp_path):
    """nn.Parameter, the versions that state dicts carry, memoised values, tuples and lists of other protocols."""
    row = Pickled(ROW)
    for program in (
            b'(X\1\0\0\0w' + b'ctorch._utils\n_rebuild_parameter\n(' + row + b'\x88ccollections\nOrderedDict\n)RtRd',
            b'ccollections\nOrderedDict\n)R(X\1\0\0\0w' + row + b'u}(X\t\0\0\0_metadata}ub',
            b'ccollections\nOrderedDict\n(](X\1\0\0\0w' + row + b'\x86atR'.replace(b'\x86a', b'\x86e'),
            b'}q\0X\1\0\0\0wq\1' + row + b'q\2s0h\0', b'\x95\0\0\0\0\0\0\0\0}\x94\x8c\1w' + row + b's',
            b'}\x8c\1w' + row.replace(b'ctorch._utils\n_rebuild_tensor_v2\n', b'\x8c\x0ctorch._utils\x8c\x12'
                                                                              b'_rebuild_tensor_v2\x93') + b's'):
        state = read_pth(save_zip(tmp_path / 'a.pth', {}, more=[('data.pkl', b'\x80\4' + program + b'.'),
                                                               ('data/0', ROW.tobytes())]))
        assert (state['w'] == ROW).all()


def Pickled(array):
    """The opcodes that make a tensor."""
    from tests.helpers.torch_files import Pickler
    pickler = Pickler(legacy=False)
    return pickler.dump(array)[2:-1]


def test_a_storage_that_is_part_of_another(tmp_path):
    """As torch saved shared storages until 1.0: a view of the root storage's numbers 10 to 20."""
    path = save_legacy(tmp_path / 'a.pth', {'w': View(ROW, (2, 4), (4, 1), 2)})
    path.write_bytes(path.read_bytes().replace(b'K<NtQ', b'K<(X\1\0\0\0vK\nK\x0attQ'))
    np.testing.assert_array_equal(read_pth(path)['w'], ROW[12:20].reshape(2, 4))
    path.write_bytes(path.read_bytes().replace(b'K\x02(K\x02K\x04t', b'K\x03(K\x02K\x04t'))
    refused(path, 'beyond the end')


def refused(path, says):
    with pytest.raises(BadInput, match=says) as caught:
        read_pth(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 3000


@pytest.mark.parametrize('form', SAVERS)
@pytest.mark.parametrize('program, says', [
    (b'cos\nsystem\n(X\4\0\0\0truetR', 'it holds os.system, which is neither'),
    (b'cbuiltins\neval\n(X\1\0\0\x001tR', 'builtins.eval'),
    (b'ctorchvision.models.resnet\nResNet\n)\x81', 'torchvision.models.resnet.ResNet.*not loaded; save the state_dict'),
    (b'X\2\0\0\0osX\6\0\0\0system\x93)R', 'os.system'), (b'(ios\nsystem\n', 'os.system'),
    (b'(ctorch\nFloatStorage\no', 'makes objects'), (b'\x82\x01', 'makes objects|make no sense'),
    (b'ctorch\nFloatStorage\n)R', 'make no sense'), (b'ctorch._utils\n_rebuild_tensor_v2\n(NK\0))tR', 'make no sense'),
    (b'P0\n', 'makes objects')])
def test_nothing_is_called(tmp_path, form, program, says):
    refused(SAVERS[form](tmp_path / 'a.pth', {'w': program}), says)


def test_a_pickle_that_would_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'ran'),)

    (tmp_path / 'a.pth').write_bytes(pickle.dumps({'features.0.weight': Evil()}))
    refused(tmp_path / 'a.pth', 'posix.mkdir|os.mkdir|nt.mkdir')
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('value, says', [
    ({}, 'no state dict'), ([ROW], 'no state dict'), ({'a': 3}, 'no state dict'), ({'w': ROW, 'a': 3}, 'no state dict'),
    ({7: ROW}, 'no state dict'), (ROW, 'no state dict'), ({'state_dict': {'state_dict': {'x': 'y'}}}, 'no state dict')])
@pytest.mark.parametrize('form', SAVERS)
def test_what_is_no_state_dict(tmp_path, form, value, says):
    refused(SAVERS[form](tmp_path / 'a.pth', value), says)


@pytest.mark.parametrize('view', [
    View(ROW, (3, 21), (21, 1)), View(ROW, (2,), (1,), 59), View(ROW, (2, 2), (59, 2)),
    View(ROW, (2 ** 40, 2), (0, 1)), View(ROW, (60,), (-1,), 59), View(ROW, (-1,), (1,)), View(ROW, (60,), (1,), -1),
    View(ROW, (1,) * 40, (1,) * 40), View(ROW, (2,), (1, 1)), View(ROW, (2 ** 62,), (2 ** 62,)),
    View(ROW, (3,), (1,), kind='Double'), View(ROW, (3,), (1,), kind='ComplexFloat'), View(ROW, ('3',), (1,))])
@pytest.mark.parametrize('form', SAVERS)
def test_tensors_beyond_their_storage(tmp_path, form, view):
    refused(SAVERS[form](tmp_path / 'a.pth', {'w': view}), 'make no sense|ComplexFloatStorage')


def test_tensors_that_share_too_much(tmp_path):
    """A storage seen by so many tensors that they are many times what the file has."""
    row = np.ones(10_000, 'f')
    shared = whole(row)
    views = {f'w{i}': View(row, (10_000,), (1,)) for i in range(50)}
    for view in views.values():
        view.storage = shared.storage
    refused(save_zip(tmp_path / 'a.pth', views), 'many times more numbers')
    assert len(read_pth(save_zip(tmp_path / 'b.pth', dict(list(views.items())[:4])))) == 4


BOMBS = {
    'nested tuples as a key': b'}(' + b'N' + b'2\x86' * 60 + b'Nu',
    'steps': b']' + b'N0' * 550_000,
    'one list copied for ever': b'](' + b'K\1K\1\x86' * 20_000 + b'eq\0' +
                                b'0ccollections\nOrderedDict\nh\0\x85R' * 5000,
    'a list of itself': b']q\0(' + b'h\0' * 1000 + b'e' + b'\x85' * 200_000,
    'a name of many lists': b']' + b'(2e' * 30 + b'2\x93', 'a number of many digits': b'I' + b'9' * 5000 + b'\n',
    'no stack': b'0', 'no mark': b't', 'marks': b'(((', 'a text that is cut': b'X\xff\xff\xff\x7fa',
    'bytes that are cut': b'\x8e\xff\xff\xff\xff\xff\xff\xff\x7f', 'a memo that is not there': b'j\xff\xff\xff\x7f',
    'a far memo': b'Nr\xff\xff\xff\xff'}


@pytest.mark.parametrize('form', SAVERS)
@pytest.mark.parametrize('name', BOMBS)
def test_bombs(tmp_path, name, form):
    start = time.monotonic()
    refused(SAVERS[form](tmp_path / 'a.pth', {'w': BOMBS[name]}), 'make no sense|steps|state dict|torch file|magic')
    assert time.monotonic() - start < 20


def test_archives_that_cannot_be(tmp_path):
    path = tmp_path / 'a.pth'
    refused(save_zip(path, {'w': np.zeros(10 ** 6, 'f')}, compression=zipfile.ZIP_DEFLATED), 'compressed')
    refused(save_zip(path, {'w': ROW}, more=[('data/0', ROW.tobytes()[:-4])]), 'make no sense')
    refused(save_zip(path, {'w': ROW}, more=[('b/data.pkl', b'N.')]), 'no data.pkl')
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('some/file', b'x')
    refused(path, 'a zip archive, but not one of torch.save')
    whole_file = save_zip(path, {'w': ROW}).read_bytes()
    path.write_bytes(whole_file.replace(ROW.tobytes(), ROW[::-1].tobytes()))      # the checksum tells
    refused(path, 'make no sense')
    path.write_bytes(whole_file[:-40])
    refused(path, 'make no sense')


def test_storages_of_one_place(tmp_path):
    """Entries of the archive that are all the same bytes: each is within the file, together they are not."""
    path, count = tmp_path / 'a.pth', 40
    rows = [np.full(5000, i, 'f') for i in range(count)]
    save_zip(path, {f'w{i}': row for i, row in enumerate(rows)})
    with zipfile.ZipFile(path) as archive:
        first = archive.getinfo('archive/data/0')
        info = archive.infolist()
    data = path.read_bytes()
    cut = data.index(b'PK\1\2')
    directory = data[cut:]
    for entry in info:
        if entry.filename.startswith('archive/data/'):
            at = directory.index(entry.filename.encode()) - 46
            directory = directory[:at + 16] + first.CRC.to_bytes(4, 'little') + directory[at + 20:at + 42] + \
                first.header_offset.to_bytes(4, 'little') + directory[at + 46:]
    end = data[:data.index(b'PK\3\4', first.header_offset + 4)]
    tail = bytearray(directory)
    place = tail.rindex(b'PK\5\6') + 16
    tail[place:place + 4] = len(end).to_bytes(4, 'little')
    path.write_bytes(end + bytes(tail))
    refused(path, 'make no sense')


@pytest.mark.parametrize('content', [b'', b'\0', b'PK\3\4', b'PK', b'\x93NUMPY', b'name: "x"', b'\x80\2N.',
                                     b'x' * 4096])
def test_files_of_other_kinds(tmp_path, content):
    (tmp_path / 'a.pth').write_bytes(content)
    refused(tmp_path / 'a.pth', 'not a file of torch.save|make no sense')


def test_files_that_are_not_there(tmp_path):
    refused(tmp_path / 'a.pth', 'cannot read')
    os.mkfifo(tmp_path / 'b.pth')
    refused(tmp_path / 'b.pth', 'FIFO')


def fuzz(tmp_path, form, count, seed):
    """Mutants of a good file; a refusal is one line, and nothing else is ever raised."""
    rng, refusals = random.Random(seed), 0
    path = SAVERS[form](tmp_path / 'a.pth', {'state_dict': {'a.w': ROW[:4].copy(), 'b.w': View(ROW, (2, 3), (3, 1))},
                                             'epoch': 3, 'notes': ['x', 1.5, None]})
    good = path.read_bytes()
    for _ in range(count):
        data = any_bytes(good, rng)
        if rng.random() < .4:
            data = data.replace(bytes([75, rng.randrange(8)]), b'\x8a\x08' + (rng.choice(NUMBERS) % 2 ** 64).to_bytes(
                8, 'little'), rng.choice((1, 2)))
        if form == 'zip' and rng.random() < .5:         # the pickle alone, in an archive that is sound
            try:
                with zipfile.ZipFile(SAVERS['zip'](tmp_path / 'b.pth', {'w': ROW[:4].copy()})) as archive:
                    program = archive.read('archive/data.pkl')
            except zipfile.BadZipFile:
                continue
            data = save_zip(tmp_path / 'b.pth', {'w': ROW[:4].copy()}, more=[
                ('data.pkl', any_bytes(program, rng))]).read_bytes()
        path.write_bytes(data)
        start = time.monotonic()
        try:
            assert all(array.dtype == np.float32 for array in read_pth(path).values())
        except BadInput as problem:
            refusals += 1
            assert len(str(problem)) < 3000
        assert time.monotonic() - start < 20
    return refusals


@pytest.mark.filterwarnings('ignore:invalid escape')     # what Python's own parser of opcodes says of some
@pytest.mark.parametrize('form', SAVERS)
def test_mutants(tmp_path, form):
    assert fuzz(tmp_path, form, 400, 5) > 200


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore:invalid escape')
@pytest.mark.parametrize('form', SAVERS)
def test_many_mutants(tmp_path, form):
    assert fuzz(tmp_path, form, 5000, 6) > 2500


@pytest.mark.parametrize('legacy', [False, True])
def test_as_torch_saves_it(tmp_path, legacy):
    torch = pytest.importorskip('torch', reason='torch is not a dependency of this project')
    base = torch.randn(6, 8)
    state = {'base': base, 't': base.t(), 'part': base[1:4, ::2], 'none': torch.zeros(0, 3), 'count': torch.tensor(3),
             'half': torch.randn(5).half(), 'bf': torch.randn(3, 5).bfloat16(), 'same': torch.ones(1).expand(3, 4),
             'd': torch.randn(3).double() * 1e300, 'i8': torch.arange(-4, 4, dtype=torch.int8),
             'p': torch.nn.Parameter(torch.randn(2, 2)), 'true': torch.tensor([True, False])}
    torch.save({'epoch': 1, 'state_dict': state}, tmp_path / 'a.pth', _use_new_zipfile_serialization=not legacy)
    read = read_pth(tmp_path / 'a.pth')
    for name, tensor in state.items():
        np.testing.assert_array_equal(read[name], tensor.detach().float().numpy())
    torch.save(torch.nn.Linear(2, 2), tmp_path / 'b.pth', _use_new_zipfile_serialization=not legacy)
    refused(tmp_path / 'b.pth', 'torch.nn.modules.linear.Linear')
