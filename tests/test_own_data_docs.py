"""docs/own-data.md, run as written but for fewer steps and a narrower net, on tiny photographs, in a copy."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from surgery import write_weights  # noqa: E402
from tests.helpers import own, rooms  # noqa: E402
from tests.helpers.datasets import save_lines  # noqa: E402
from tests.helpers.own_nets import convolutions  # noqa: E402
from tests.helpers.surgery_models import chain  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.slow]
ROOT = Path(__file__).resolve().parent.parent
PYTHON = Path(sys.executable)


def blocks(text, kind):
    return re.findall(rf'^```{kind}\n(.*?)^```', text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def copy(tmp_path):
    """The checkout's code, a home with ~/balloons, and the convolutions that `make demo` fetches."""
    folder = tmp_path / 'checkout'
    folder.mkdir()
    for name in ('nets', 'solvers', 'data_layers', 'surgery', 'report', 'accel'):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('cli.py', 'files.py', 'workers.py', 'Makefile'):
        shutil.copy(ROOT / name, folder)
    own.write(tmp_path / 'home/balloons', count=3, classes=2)
    save_lines(tmp_path / 'home/balloons/classes.txt', ['background', 'balloon'])
    own.write(tmp_path / 'home/kites', count=3)
    save_lines(tmp_path / 'home/kites/classes.txt', ['kite', 'Balloon', 'background'])
    (tmp_path / 'home/room/depth').mkdir(parents=True)
    seen = rooms.room(camera=(525, 525, 319.5, 239.5), size=(480, 640))
    Image.fromarray(rooms.measured(seen.depth)).save(tmp_path / 'home/room/depth/1.png')
    (folder / 'resnet50.onnx').write_bytes(classifier().SerializeToString())
    (folder / 'weights').mkdir()
    write_weights(folder / 'weights/vgg16-convolutions.caffemodel', convolutions())
    return folder


def classifier():
    """A small one, of stride 16."""
    rng = np.random.default_rng(0)
    constants = [(name, rng.normal(size=shape).astype('f') * np.float32(0.2)) for name, shape in (
        ('w1', (4, 3, 4, 4)), ('w2', (6, 4, 2, 2)), ('w3', (6, 6, 2, 2)), ('w4', (6, 5)), ('b4', 5))]
    return chain(('Conv', 'x w1', 'a', {'strides': [4, 4]}), ('Relu', 'a', 'b', {}),
                 ('Conv', 'b w2', 'c', {'strides': [2, 2]}), ('Relu', 'c', 'd', {}),
                 ('Conv', 'd w3', 'e', {'strides': [2, 2]}), ('GlobalAveragePool', 'e', 'f', {}),
                 ('Flatten', 'f', 'g', {}), ('Gemm', 'g w4 b4', 'y', {}), shape=(1, 3, 64, 64), constants=constants)


def test_own_data_as_written(copy, tmp_path):
    text = (ROOT / 'docs/own-data.md').read_text()
    commands = [line for block in blocks(text, 'sh') for line in block.splitlines()]
    assert len(commands) == 14 and blocks(text, 'python') == [
        "VARIED = {'mirror': True, 'scale': (0.5, 2), 'crop': 400, 'rotate': 10, 'colour': 0.2}\n"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith('FCN_')}
    environment |= {'HOME': str(tmp_path / 'home'), 'PYTHONPATH': str(copy), 'FCN_WORKERS': '0',
                    'PATH': f'{PYTHON.parent}:{os.environ["PATH"]}'}
    said = []
    for command in commands:
        small = re.sub(r'--iterations \d+', '--iterations 1', command).replace('--width 512', '--width 8')
        small = re.sub(r'^make ', f'make -o setup VENV={PYTHON} ', small)
        result = subprocess.run(['bash', '-c', small], cwd=copy, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, f'{command}\n{result.stdout}\n{result.stderr}'
        said.append(result.stdout)
    assert 'balloon' in said[0] and 'mean' in said[0] and 'make balloons-fcn8s' in said[0]
    assert {path.name for path in (copy / 'data/balloons').iterdir()} == {'dataset.json', 'train.tsv', 'val.tsv'}
    for stride in (32, 16, 8):
        assert (copy / f'runs/balloons-fcn{stride}s/weights.caffemodel').is_file()
    assert 'balloon' in said[3]     # scores of every class
    assert {path.name for path in (copy / 'overlays').iterdir()} == {
        f'photo{number}{end}' for number in range(3) for end in ('.png', '_overlay.jpg')}
    assert 'kept, of balloon' in said[5] and 'kept, of background' in said[5] and 'new, from zero' in said[5]
    assert (copy / 'runs/kites-fcn8s/weights.caffemodel').is_file()
    assert (copy / 'runs/balloons-resnet-fcn8s-resnet50/weights.caffemodel').is_file()
    assert 'no problems' in said[-4]
    varied, = re.findall('^VARIED: dict = ({.*})', (copy / 'nets/kites_varied.py').read_text(), re.MULTILINE)
    assert f'VARIED = {varied}\n' in blocks(text, 'python')
    assert (copy / 'runs/show/kites-varied-train.png').is_file() and 'show/kites-varied-train.png' in said[-2]
    assert (tmp_path / 'home/room/hha/1.png').is_file() and '1.40 m above the floor' in said[-1]


def test_the_variations_shown_are_taken(copy, tmp_path):
    """The line of the document, put into the written module."""
    environment = {**os.environ, 'PYTHONPATH': str(copy), 'FCN_DATA': str(copy / 'data')}
    subprocess.run([PYTHON, '-m', 'nets', 'new', 'balloons', '--data', tmp_path / 'home/balloons'], cwd=copy,
                   env=environment, check=True, capture_output=True)
    module = copy / 'nets/balloons.py'
    line = blocks((ROOT / 'docs/own-data.md').read_text(), 'python')[0]
    written, count = re.subn(r'^VARIED.*\n', line, module.read_text(), flags=re.MULTILINE)
    assert count == 1
    module.write_text(written)
    code = ("import nets; t = nets.load('balloons-fcn32s'); "
            "print(*(t.fcn(s).layer[0].python_param.param_str for s in ('train', 'val')), sep='\\n')")
    train, val = subprocess.run([PYTHON, '-c', code], cwd=copy, env=environment, check=True, capture_output=True,
                                text=True).stdout.splitlines()
    assert line.partition('{')[2].rstrip('}\n') in train and 'mirror' not in val
