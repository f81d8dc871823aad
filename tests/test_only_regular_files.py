"""Whatever a command reads, a FIFO, socket, device or folder in its place is one line and status 2, never a hang."""
import contextlib
import io
import os
import shutil
import signal
import socket
from pathlib import Path

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
import files  # noqa: E402
import nets  # noqa: E402
from data_layers import __main__ as data_layers  # noqa: E402
from nets import __main__ as emit  # noqa: E402
from nets import infer  # noqa: E402
from report import __main__ as report  # noqa: E402
from report import serve, upper_bound  # noqa: E402
from solvers import __main__ as runs  # noqa: E402
from solvers import score, snapshot  # noqa: E402
from solvers.instance import instantiate  # noqa: E402
from solvers.loop import solve  # noqa: E402
from surgery import __main__ as surgery  # noqa: E402
from surgery import write_weights  # noqa: E402
from tests.helpers import own, surgery_nets, tiny  # noqa: E402
from tests.helpers.datasets import write_voc  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.usefixtures('without_curves')]
SECONDS = 30        # after which a command hangs


@pytest.fixture(autouse=True)
def no_hang():
    def hangs(*_):
        raise AssertionError('it hangs')
    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def fifo(path):
    os.mkfifo(path)


def bound_socket(path):
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as place:     # whose names are short
        place.bind(path.name)


KINDS = {'FIFO': fifo, 'socket': bound_socket, 'device': lambda path: path.symlink_to('/dev/zero'),
         'folder': lambda path: path.mkdir()}


def in_place(path, kind):
    """Put what is no regular file in place of one, which need not exist; returns its path."""
    path.unlink(missing_ok=True)
    KINDS[kind](path)
    return path


def call(main, *arguments):
    """Status and stderr of a command."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = cli.run(main, [*map(str, arguments)])
        except SystemExit as ended:
            status = ended.code
    return status, errors.getvalue()


def assert_refused(path, status, errors):
    last = errors.splitlines()[-1]
    assert status == 2 and path.name in last and last.startswith(('error:', 'python')), errors
    assert 'Traceback' not in errors


# Functions that all readers go through.

@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('read', [files.open_regular, files.read_text, files.sha256, files.check_regular])
def test_what_is_no_regular_file(read, kind, tmp_path):
    with pytest.raises(cli.BadInput, match=rf'a.txt cannot be read \(it is a {kind}, not a regular file\)'):
        read(in_place(tmp_path / 'a.txt', kind))
    with pytest.raises(FileNotFoundError):
        read(tmp_path / 'missing.txt')
    with pytest.raises(cli.BadInput, match='embedded null'):
        read(tmp_path / 'a\0b')


def test_a_file_that_becomes_a_fifo_meanwhile(tmp_path, monkeypatch):
    """It is looked at once more when it is open, which does not wait for a writer."""
    fifo(tmp_path / 'a')
    monkeypatch.setattr(files, 'check_regular', lambda path: None)
    with pytest.raises(cli.BadInput, match='FIFO'):
        files.open_regular(tmp_path / 'a')


def test_an_unfinished_file_that_is_a_fifo_or_a_link_is_replaced(tmp_path):
    (tmp_path / 'mine').write_text('stays')
    for make in (fifo, lambda path: path.symlink_to('mine')):
        make(tmp_path / f'a{files.PARTIAL}')
        files.write(tmp_path / 'a', 'text')
        assert (tmp_path / 'a').read_text() == 'text'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a', 'mine']
    assert (tmp_path / 'mine').read_text() == 'stays'


# Arguments of commands.

@pytest.fixture
def tiny_net(monkeypatch, tmp_path):
    """`--net tiny` and weights for it."""
    monkeypatch.setattr(nets, 'load', lambda _: tiny.training(1))
    monkeypatch.setattr(score, 'load', lambda *_: tiny.training(1))
    write_weights(tmp_path / 'w.caffemodel', {
        name: [np.ones(blob.data.shape, np.float32) for blob in blobs]
        for name, blobs in instantiate(tiny.fcn('deploy')).params.items()})
    return tmp_path / 'w.caffemodel'


@pytest.fixture
def classifier(tmp_path):
    (tmp_path / 'net.prototxt').write_text(surgery_nets.LENET)
    caffe.Net(str(tmp_path / 'net.prototxt'), caffe.TEST).save(str(tmp_path / 'net.caffemodel'))
    return tmp_path / 'net.prototxt', tmp_path / 'net.caffemodel'


@pytest.mark.parametrize('kind', KINDS)
def test_surgery(kind, classifier, tmp_path):
    prototxt, weights = classifier
    odd, out = in_place(tmp_path / 'odd.onnx', kind), ('--out', tmp_path / 'out')
    for arguments in (
            ('convolutionalize', '--prototxt', odd, '--weights', weights, *out),
            ('convolutionalize', '--prototxt', prototxt, '--weights', odd, *out),
            ('convolutionalize', '--prototxt', prototxt, '--weights', weights, '--image', odd, *out),
            ('import', odd, *out), ('transplant', '--from', odd, '--to', weights, *out),
            ('transplant', '--from', weights, '--to', odd, *out),
            ('expand', '--weights', odd, '--layer', 'ip2', '--classes', '9', *out), ('show', odd)):
        assert_refused(odd, *call(surgery.main, *arguments))
        assert not (tmp_path / 'out').exists()
    for suffix in ('.safetensors', '.pth'):
        odd = in_place(tmp_path / f'odd{suffix}', kind)
        status, errors = call(surgery.main, 'import', odd, *out)
        assert_refused(odd, status, errors)


@pytest.mark.parametrize('kind', KINDS)
def test_external_data_of_a_model(kind, tmp_path):
    onnx = pytest.importorskip('onnx')
    tensor = onnx.TensorProto(name='w', data_type=1, dims=[1, 3, 1, 1], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key='location', value='odd.bin')
    taken, given = (onnx.helper.make_tensor_value_info(name, 1, [1, channels, 8, 8])
                    for name, channels in (('x', 3), ('y', 1)))
    graph = onnx.helper.make_graph([onnx.helper.make_node('Conv', ['x', 'w'], ['y'])], 'g', [taken], [given], [tensor])
    (tmp_path / 'm.onnx').write_bytes(onnx.helper.make_model(graph).SerializeToString())
    odd = in_place(tmp_path / 'odd.bin', kind)
    assert_refused(odd, *call(surgery.main, 'import', tmp_path / 'm.onnx', '--out', tmp_path / 'out'))


@pytest.mark.parametrize('kind', KINDS)
def test_nets_and_photographs(kind, tiny_net, tmp_path, voc):
    odd = in_place(tmp_path / 'odd.jpg', kind)
    out = ('--cpu', '--out', tmp_path / 'out')
    refused = [call(infer.main, '--net', 'tiny', '--weights', odd, voc / 'data/pascal/VOC2011/JPEGImages', *out)]
    if kind != 'folder':
        refused += [call(infer.main, '--net', 'tiny', '--weights', tiny_net, odd, *out)]
    refused += [call(score.main, '--net', 'tiny', '--weights', odd, '--cpu'),
                call(score.main, '--net', 'tiny', '--weights', tiny_net, '--cpu', '--json', odd),
                call(serve.main, '--net', 'tiny', '--weights', odd, '--cpu'),
                call(upper_bound.main, 'voc', '--json', odd),
                call(emit.main, 'emit', 'voc-fcn8s', '--out', odd) if kind != 'folder' else refused[0]]
    for status, errors in refused:
        assert_refused(odd, status, errors)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('kind', KINDS)
def test_own_data(kind, tmp_path, checkout):
    own.write(tmp_path / 'photos')
    odd = in_place(tmp_path / 'odd.txt', kind)
    assert_refused(odd, *call(emit.main, 'new', 'roads', '--data', tmp_path / 'photos', '--classes', odd))
    for name in ('classes.txt', 'masks/photo1.png', 'images/photo1.jpg', 'train.txt') if kind != 'folder' else ():
        shutil.copytree(tmp_path / 'photos', tmp_path / 'bad', dirs_exist_ok=True)
        odd = in_place(tmp_path / 'bad' / name, kind)
        status, errors = call(emit.main, 'new', 'roads', '--data', tmp_path / 'bad', '--workers', '1')
        assert_refused(odd, status, errors)
        shutil.rmtree(tmp_path / 'bad')
    assert not [*checkout.iterdir()]


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', ['JPEGImages/2007_000001.jpg', 'SegmentationClass/2007_000001.png',
                                  'ImageSets/Segmentation/train.txt'])
def test_every_file_of_a_data_set(kind, name, tmp_path):
    write_voc(tmp_path / 'voc')
    in_place(tmp_path / 'voc' / name, kind)
    errors = io.StringIO()
    with contextlib.redirect_stdout(errors), contextlib.redirect_stderr(errors):
        status = cli.run(data_layers.main, ['check', 'voc', '--root', str(tmp_path / 'voc'), '--split', 'train',
                                            '--workers', '1'])
    assert status in (1, 2) and Path(name).name in errors.getvalue()
    assert kind in errors.getvalue() or 'is missing' in errors.getvalue()


@pytest.mark.parametrize('kind', KINDS)
def test_downloads(kind, tmp_path):
    odd = in_place(tmp_path / 'VOC2011.tar', kind)
    if kind != 'folder':
        assert_refused(odd, *call(data_layers.main, 'prepare', 'voc', '--from', odd))
    write_voc(tmp_path / 'VOC2011')
    odd.is_dir() and odd.rmdir()
    odd.unlink(missing_ok=True)
    odd = in_place(tmp_path / 'VOC2011/JPEGImages/2007_000001.jpg', kind)
    status, errors = call(data_layers.main, 'prepare', 'voc', '--from', tmp_path, '--to', tmp_path / 'out')
    if kind == 'folder':
        assert status == 0 and not (tmp_path / 'out/JPEGImages/2007_000001.jpg').exists()
    else:
        assert_refused(odd, status, errors)
        assert not (tmp_path / 'out').exists()


# Files of a run.

@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A finished run of the tiny net, and its data."""
    folder = tmp_path_factory.mktemp('trained')
    write_voc(folder / 'data/pascal/VOC2011', sizes=[(24, 32), (33, 20)])
    from tests.helpers.datasets import write_sbd
    write_sbd(folder / 'data/sbdd/dataset', sizes=[(24, 32), (33, 20)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('FCN_DATA', str(folder / 'data'))
        patch.setattr('solvers.monitor.plot', lambda *_: None)
        solve(tiny.training(10), folder / 'runs/tiny')
    return folder


RUN = ['run.json', 'metrics.jsonl', 'weights.caffemodel', 'solver.prototxt', 'train.prototxt', 'val.prototxt',
       'deploy.prototxt', 'lock', 'evaluation/evaluation.json']


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', RUN)
def test_every_file_of_a_run(kind, name, trained, tmp_path, monkeypatch):
    monkeypatch.setenv('FCN_DATA', str(trained / 'data'))
    run = tmp_path / 'runs/tiny'
    shutil.copytree(trained / 'runs', tmp_path / 'runs')
    if not (run / name).exists():
        pytest.skip(f'the tiny net has no {name}')
    odd = in_place(run / name, kind)
    for main, arguments in ((runs.main, ['runs', tmp_path / 'runs']), (report.report, [run, '--cpu'])):
        status, errors = call(main, *arguments)
        assert status in (0, 2) and 'Traceback' not in errors
        assert status == 0 or odd.name in errors.splitlines()[-1]
    shutil.rmtree(run / 'snapshots')
    if name in ('lock', 'metrics.jsonl', 'run.json'):
        with pytest.raises(cli.UNUSABLE + (cli.BadInput,), match=name):
            solve(tiny.training(10), run)


@pytest.mark.parametrize('kind', KINDS)
def test_every_file_of_a_snapshot(kind, trained, tmp_path, capsys):
    newest = snapshot.newest(trained / 'runs/tiny/snapshots')
    for name in [path.name for path in newest.iterdir()]:
        shutil.copytree(newest, tmp_path / name / '00000010')
        in_place(tmp_path / name / '00000010' / name, kind)
        assert snapshot.newest(tmp_path / name) is None
        said = capsys.readouterr().err
        assert 'is passed over' in said and (kind in said or 'bytes instead of' in said)


@pytest.mark.parametrize('kind', KINDS)
def test_downloaded_weights(kind, tmp_path, monkeypatch):
    monkeypatch.setenv('FCN_WEIGHTS_URL', 'http://127.0.0.1:9')
    (tmp_path / 'weights').mkdir()
    for name in ('fcn8s-heavy-pascal.partial', 'fcn8s-heavy-pascal.partial.entity'):
        odd = in_place(tmp_path / 'weights' / name, kind)
        assert_refused(odd, *call(emit.main, 'weights', 'voc-fcn8s'))
        shutil.rmtree(odd) if kind == 'folder' else odd.unlink()
