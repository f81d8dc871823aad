"""Names and texts from files and folders can neither command a terminal nor forge a line of ours."""
import ast
import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
import nets  # noqa: E402
from data_layers import __main__ as data_layers  # noqa: E402
from nets import __main__ as nets_main  # noqa: E402
from nets import infer  # noqa: E402
from report import __main__ as report  # noqa: E402
from solvers import __main__ as runs  # noqa: E402
from solvers import score  # noqa: E402
from solvers.instance import instantiate  # noqa: E402
from solvers.loop import solve  # noqa: E402
from surgery import __main__ as surgery  # noqa: E402
from surgery import write_weights  # noqa: E402
from tests.helpers import own, surgery_nets, tiny  # noqa: E402
from tests.helpers.datasets import save_jpeg, write_sbd, write_voc  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.usefixtures('without_curves')]
ROOT = Path(__file__).resolve().parent.parent
EVIL = 'x\x1b[2J\x07\nerror: forged\u2028\x9b31m'
PACKAGES = ('accel', 'data_layers', 'surgery', 'solvers', 'nets', 'report', 'experiments')


def test_only_cli_prints():
    """So that no line is printed which was not made printable."""
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob('*.py')):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == 'print'], path


def test_what_is_shown_and_said(capsys):
    cli.show(EVIL, 3)
    cli.say(EVIL)
    clean = 'x\\x1b[2J\\x07 error: forged \\x9b31m'
    assert capsys.readouterr() == (f'{clean}\n3\n', f'{clean}\n')
    with cli.progress(total=2, desc=EVIL) as bar:
        print(bar, file=sys.stderr)
    assert clean in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.Parser(prog='x').parse_args([EVIL])
    assert capsys.readouterr().err == f'x: unrecognized arguments: {clean} (see x --help)\n'


@pytest.fixture
def printed(capsys):
    """Runs a command and looks at all that it has printed; status and text."""
    def run(main, *arguments):
        status = cli.run(main, [*map(str, arguments)])
        out, errors = capsys.readouterr()
        lines = (out + errors).split('\n')
        assert not [line for line in lines if line != line.rstrip('\r') or not line.isprintable()], out + errors
        assert not [line for line in lines if line.lstrip().startswith(('error: forged', 'forged'))], out + errors
        return status, out + errors
    return run


def weights(folder):
    write_weights(folder / 'w.caffemodel', {
        name: [np.ones(blob.data.shape, np.float32) for blob in blobs]
        for name, blobs in instantiate(tiny.fcn('deploy')).params.items()})
    return folder / 'w.caffemodel'


def test_photographs_and_folders(printed, tmp_path, monkeypatch):
    monkeypatch.setattr(nets, 'load', lambda _: tiny.training(1))
    folder = tmp_path / EVIL
    for name in (f'{EVIL}.jpg', 'b.jpg'):
        save_jpeg(folder / name, np.zeros((20, 30, 3), np.uint8))
    call = (infer.main, '--net', EVIL, '--weights', weights(tmp_path), '--cpu', folder, '--out')
    assert printed(*call, folder / 'out')[0] == 0
    assert {'b.png', f'{EVIL}.png'} <= {path.name for path in (folder / 'out').iterdir()}
    (folder / f'{EVIL}.jpg').write_bytes(b'no photograph')
    for out in ('out', EVIL):
        status, text = printed(*call, folder / out)
        assert status == 1 and 'forged' in text
    assert printed(infer.main, '--net', 'x', '--weights', folder / 'no', '--cpu', folder, '--out', folder / 'n')[0] == 2


def test_data_sets(printed, tmp_path):
    write_voc(tmp_path / EVIL)
    assert printed(data_layers.main, 'check', 'voc', '--root', tmp_path / EVIL, '--workers', '1')[0] == 0
    (tmp_path / EVIL / 'JPEGImages/2007_000001.jpg').write_bytes(b'')
    for options in ([], ['--json']):
        status, text = printed(data_layers.main, 'check', 'voc', '--root', tmp_path / EVIL, '--workers', '1', *options)
        assert status == 1 and 'forged' in text
    assert printed(data_layers.main, 'check', EVIL)[0] == 2


@pytest.mark.parametrize('name', [f'VOC2011/{EVIL}', f'VOC2011/JPEGImages/{EVIL}', f'../{EVIL}'])
def test_archives(printed, tmp_path, name):
    (tmp_path / EVIL).mkdir()
    archive = tmp_path / EVIL / f'VOC2011{EVIL}.tar'
    with tarfile.open(archive, 'w') as packed:
        for one in ('VOC2011/JPEGImages/1.jpg', name):
            info = tarfile.TarInfo(one)
            info.size = 1
            packed.addfile(info, io.BytesIO(b'x'))
    status, _ = printed(data_layers.main, 'prepare', 'voc', '--from', tmp_path / EVIL, '--to', tmp_path / EVIL / 'voc')
    assert status == (2 if '..' in name else 0)


def test_own_data(printed, tmp_path, checkout):
    own.write(tmp_path / EVIL)
    assert printed(nets_main.main, 'new', 'roads', '--data', tmp_path / EVIL, '--workers', '1')[0] == 0
    card = tmp_path / 'data/roads/dataset.json'
    known = json.loads(card.read_text())
    known['classes'][1] = EVIL
    known['values'] = {key: EVIL if name == 'road' else name for key, name in known['values'].items()}
    card.write_text(json.dumps(known))
    printed(data_layers.main, 'check', 'roads', '--workers', '1')
    assert printed(nets_main.main, 'new', EVIL, '--data', tmp_path / EVIL)[0] == 2


def test_models(printed, tmp_path):
    (tmp_path / 'net.prototxt').write_text(surgery_nets.LENET)
    net = caffe.Net(str(tmp_path / 'net.prototxt'), caffe.TEST)
    blobs = {f'{name}{EVIL}': [blob.data for blob in blobs] for name, blobs in net.params.items()}
    write_weights(tmp_path / EVIL, blobs, {name: EVIL for name in blobs})
    assert printed(surgery.main, 'show', tmp_path / EVIL)[0] == 0
    assert printed(surgery.main, 'transplant', '--from', tmp_path / EVIL, '--to', tmp_path / EVIL, '--out',
                   tmp_path / f'{EVIL}2')[0] == 0
    assert printed(surgery.main, 'expand', '--weights', tmp_path / EVIL, '--layer', f'ip2{EVIL}', '--classes', '9',
                   '--out', tmp_path / f'{EVIL}3')[0] == 0
    assert printed(surgery.main, 'expand', '--weights', tmp_path / EVIL, '--layer', EVIL, '--classes', '9', '--out',
                   tmp_path / f'{EVIL}4')[0] == 2
    assert printed(surgery.main, 'convolutionalize', '--prototxt', tmp_path / 'net.prototxt', '--weights',
                   tmp_path / EVIL, '--out', tmp_path / f'{EVIL}5')[0] == 0      # names that match no layer


def test_runs(printed, tmp_path, monkeypatch, voc):
    write_sbd(tmp_path / 'data/sbdd/dataset', sizes=[(24, 32), (33, 20)])
    run = tmp_path / f'runs/{EVIL}'
    solve(tiny.training(10), run)
    known = json.loads((run / 'run.json').read_text())
    (run / 'run.json').write_text(json.dumps(known | {'net': EVIL}))
    assert printed(runs.main, 'runs', tmp_path / 'runs')[0] == 0
    assert printed(report.report, run, '--cpu')[0] == 0
    monkeypatch.setattr(score, 'load', lambda *_: tiny.training(1))
    assert printed(score.main, '--net', EVIL, '--weights', run / 'weights.caffemodel', '--cpu')[0] == 0
    (run / 'run.json').write_text('{')
    assert printed(report.report, run, '--cpu')[0] == 2
    assert printed(runs.main, 'runs', tmp_path / 'runs')[0] == 0
