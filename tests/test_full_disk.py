"""A disk that is full ends a command with one line and status 1, and leaves nothing of what could not be finished."""
import errno
import os
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import files  # noqa: E402
from solvers.instance import instantiate  # noqa: E402
from surgery import write_weights  # noqa: E402
from tests.helpers import own, surgery_nets, tiny  # noqa: E402
from tests.helpers.commands import ROOT, TINY  # noqa: E402
from tests.helpers.datasets import save_jpeg, write_voc  # noqa: E402

pytestmark = pytest.mark.caffe
MOUNT = 'mount -t tmpfs -o size={size} tmpfs "$0" && {{ "$@"; status=$?; find "$0" -mindepth 1; exit $status; }}'
FULL = 'No space left on device'


def can_mount(tmp):
    command = ['unshare', '-m', 'sh', '-c', 'mount -t tmpfs -o size=64k tmpfs "$0"', tmp]
    return shutil.which('unshare') and subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path):
    """Runs a command in `tmp_path` beside `disk/`, which has so much room; its status, stderr and what is left there.
    """
    (tmp_path / 'disk').mkdir()
    if not can_mount(tmp_path / 'disk'):
        pytest.skip('a file system of its own cannot be mounted here: unshare needs root')

    def run(size, *arguments, **environment):
        words = ['-c', TINY, *arguments[1:]] if arguments[0] == 'tiny' else arguments
        done = subprocess.run(
            ['unshare', '-m', 'sh', '-c', MOUNT.format(size=size), tmp_path / 'disk', sys.executable, *words],
            cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120,
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', **environment})
        left = [line for line in done.stdout.splitlines() if line.startswith(f'{tmp_path}/disk/')]
        return done.returncode, done.stderr, [line.removeprefix(f'{tmp_path}/disk/') for line in left]
    return run


def assert_full(result, left=()):
    status, errors, found = result
    assert status == 1 and FULL in errors.splitlines()[-1] and errors.splitlines()[-1].startswith('error: '), errors
    assert 'Traceback' not in errors and files.SCRATCH not in errors and files.PARTIAL not in errors
    assert sorted(found) == sorted(left)


def weights(folder, text=surgery_nets.LENET):
    (folder / 'net.prototxt').write_text(text)
    caffe.Net(str(folder / 'net.prototxt'), caffe.TEST).save(str(folder / 'net.caffemodel'))
    return folder / 'net.prototxt', folder / 'net.caffemodel'


@pytest.mark.parametrize('size', ['4k', '64k', '256k'])
def test_emitted_prototxts(disk, size):
    assert_full(disk(size, '-m', 'nets', 'emit', '--out', 'disk/a/b'))


def test_surgery(disk, tmp_path):
    prototxt, caffemodel = weights(tmp_path)
    size = os.path.getsize(caffemodel)
    kilobytes = f'{size // 2048}k'
    for arguments in (
            ['convolutionalize', '--prototxt', prototxt, '--weights', caffemodel, '--out', 'disk/a/b'],
            ['transplant', '--from', caffemodel, '--to', caffemodel, '--out', 'disk/w.caffemodel'],
            ['expand', '--weights', caffemodel, '--layer', 'ip2', '--classes', '99', '--out', 'disk/w.caffemodel']):
        assert_full(disk(kilobytes, '-m', 'surgery', *arguments))


def test_the_folder_for_temporary_files(disk, tmp_path):
    prototxt, caffemodel = weights(tmp_path)
    status, errors, left = disk('0', '-m', 'nets', 'summary', 'voc-fcn8s', TMPDIR='disk')
    assert status == 0 and not errors       # it needs none
    save_jpeg(tmp_path / 'a.jpg', np.zeros((400, 400, 3), np.uint8))
    status, errors, left = disk('16k', '-m', 'surgery', 'convolutionalize', '--prototxt', prototxt, '--weights',
                                caffemodel, '--image', 'a.jpg', '--out', 'out', TMPDIR=str(tmp_path / 'disk'))
    assert status == 1 and FULL in errors.splitlines()[-1] and not left and not (tmp_path / 'out').exists()


def test_an_import(disk, tmp_path):
    onnx = pytest.importorskip('onnx')
    weight = onnx.numpy_helper.from_array(np.ones((4000, 3, 8, 8), np.float32), 'w')
    taken, given = (onnx.helper.make_tensor_value_info(name, 1, shape)
                    for name, shape in (('x', [1, 3, 8, 8]), ('y', [1, 4000, 1, 1])))
    graph = onnx.helper.make_graph([onnx.helper.make_node('Conv', ['x', 'w'], ['y'])], 'g', [taken], [given], [weight])
    (tmp_path / 'm.onnx').write_bytes(onnx.helper.make_model(graph).SerializeToString())
    for size in ('4k', '1m'):
        assert_full(disk(size, '-m', 'surgery', 'import', 'm.onnx', '--out', 'disk/a/b'))


@pytest.mark.parametrize(('size', 'some'), [('4k', False), ('64k', True)])
@pytest.mark.parametrize('scores', [[], ['--scores']])
def test_segmentations(disk, tmp_path, size, some, scores):
    write_weights(tmp_path / 'w.caffemodel', {
        name: [np.random.default_rng(0).normal(size=blob.data.shape).astype(np.float32) for blob in blobs]
        for name, blobs in instantiate(tiny.fcn('deploy')).params.items()})
    for number in range(30):
        save_jpeg(tmp_path / f'photos/{number:02}.jpg',
                  np.random.default_rng(number).integers(0, 255, (70, 90, 3), np.uint8))
    status, errors, left = disk(size, 'tiny', 'infer', '--net', 'tiny', '--weights', 'w.caffemodel', '--cpu', 'photos',
                                '--out', 'disk/out', *scores)
    assert status == 1 and FULL in errors.splitlines()[-1] and 'disk/out' in errors, errors
    assert files.SCRATCH not in errors + ''.join(left)
    suffixes = ['.png', '_overlay.jpg', *(['.npz'] if scores else [])]
    names = {name.removeprefix('out/') for name in left} - {'out'}
    stems = {name.split('.')[0].split('_')[0] for name in names}
    assert names == {stem + suffix for stem in stems for suffix in suffixes}     # whole images or nothing
    assert bool(names) == (some and not scores) or scores


def test_downloads(disk, tmp_path):
    write_voc(tmp_path / 'voc')
    with tarfile.open(tmp_path / 'VOC2011.tar', 'w') as archive:
        archive.add(tmp_path / 'voc', 'VOC2011')
    assert_full(disk('8k', '-m', 'data_layers', 'prepare', 'voc', '--from', 'VOC2011.tar', '--to', 'disk/a/voc'))
    write_voc(tmp_path / 'unpacked/VOC2011')
    assert_full(disk('8k', '-m', 'data_layers', 'prepare', 'voc', '--from', 'unpacked', '--to', 'disk/a/voc'))


def test_scores_and_reports(disk, tmp_path, voc):
    write_weights(tmp_path / 'w.caffemodel', {
        name: [np.ones(blob.data.shape, np.float32) for blob in blobs]
        for name, blobs in instantiate(tiny.fcn('deploy')).params.items()})
    assert_full(disk('4k', 'tiny', 'score', '--net', 'tiny', '--weights', 'w.caffemodel', '--cpu', '--json',
                     'disk/a.json', FCN_DATA=str(voc / 'data')))


def test_own_nets(disk, tmp_path):
    own.write(tmp_path / 'photos')
    result = disk('4k', '-m', 'nets', 'new', 'roads-x', '--data', 'photos', '--workers', '1',
                  FCN_DATA=str(tmp_path / 'disk/data'))
    assert_full(result)
    assert not [*(ROOT / 'nets').glob('roads*')]


def test_a_run(disk, tmp_path, voc):
    for size in ('4k', '40k', '100k'):
        status, errors, left = disk(size, '-m', 'tests.helpers.tiny', str(tmp_path / 'disk/run'), '10',
                                    FCN_DATA=str(voc / 'data'))
        last = errors.splitlines()[-1]
        assert status == 1 and last.startswith('error: ') and (FULL in last or 'has room for' in last), errors
        assert 'Traceback' not in errors and not [name for name in left if '.partial' in name]


@pytest.mark.parametrize('command', [
    ['-m', 'nets', 'list'], ['-m', 'nets', 'summary', 'voc-fcn8s'], ['-m', 'data_layers', 'list'],
    ['-m', 'nets', '--help'], ['-m', 'solvers', 'runs'], ['-m', 'surgery', 'show', 'net.caffemodel'],
    ['-m', 'data_layers', 'check', 'voc', '--workers', '1'],
    ['-m', 'data_layers', 'check', 'voc', '--json', '--workers', '1']])
def test_a_full_stdout(command, tmp_path, voc):
    weights(tmp_path)
    (tmp_path / 'runs/a').mkdir(parents=True)
    (tmp_path / 'runs/a/run.json').write_text('{}')
    with open('/dev/full', 'w') as full:
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, 'PYTHONPATH': str(ROOT), 'FCN_DATA': str(voc / 'data'),
                                   'FCN_RUNS': str(tmp_path / 'runs')})
    assert (done.returncode, done.stderr) == (1, f'error: {FULL}\n')


def test_the_file_is_named(tmp_path):
    """Not the one beside it, or aside, that was written."""
    with pytest.raises(OSError) as problem, files.whole(tmp_path / 'a') as file:
        file.write(b'text')
        raise OSError(errno.ENOSPC, FULL)
    assert problem.value.filename == str(tmp_path / 'a')
    with pytest.raises(OSError) as problem, files.whole_folder(tmp_path / 'out/b') as aside:
        raise OSError(errno.ENOSPC, FULL, str(aside / 'x/a'))
    assert problem.value.filename == str(tmp_path / 'out/b/x/a')
    assert not any(tmp_path.iterdir())
