"""docs/deploy.md, run as written but with a narrow net of random weights in place of the released one."""
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')
pytest.importorskip('onnxruntime')

from surgery import write_prototxt, write_weights  # noqa: E402
from tests.helpers.datasets import save_jpeg  # noqa: E402
from tests.helpers.narrow_nets import alive  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.slow]
ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / 'docs/deploy.md').read_text()


def blocks(kind):
    return re.findall(rf'^```{kind}\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Where the commands have run."""
    folder = tmp_path_factory.mktemp('deploy')
    parameter, net = alive('voc-fcn8s')
    write_prototxt(folder / 'deploy.prototxt', parameter)
    write_weights(folder / 'weights.caffemodel', {key: [blob.data for blob in blobs]
                                                  for key, blobs in net.params.items()})
    save_jpeg(folder / 'photo.jpg', np.random.default_rng(0).integers(0, 256, (61, 83, 3), np.uint8))
    commands = [line for block in blocks('sh') for line in block.splitlines()]
    assert len(commands) == 4
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'}
    for command in commands:
        narrow = command.replace('--net voc-fcn8s --weights fcn8s.caffemodel', '--prototxt deploy.prototxt --weights '
                                 'weights.caffemodel --mean 104,116.7,122.7')
        done = subprocess.run(['bash', '-c', narrow], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return folder


def test_the_commands(folder):
    written = {path.name for path in folder.iterdir()}
    assert written >= {'fcn8s.onnx', 'fcn8s.report.json', 'net.onnx', 'torch_net', 'back'}


@pytest.mark.parametrize('code', blocks('python'))
def test_the_programs(folder, code):
    """Each in its engine gives Caffe's labels for the photograph."""
    for module in re.findall(r'^import (\w+)', code, re.MULTILINE):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f'{module} is not installed')
    from PIL import Image
    done = subprocess.run([sys.executable, '-c', code + "np.save('labels.npy', labels)"], cwd=folder,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    net = caffe.Net(str(folder / 'deploy.prototxt'), caffe.TEST, weights=str(folder / 'weights.caffemodel'))
    rgb = np.asarray(Image.open(folder / 'photo.jpg'), np.float32)
    net.blobs['data'].reshape(1, 3, *rgb.shape[:2])
    net.blobs['data'].data[...] = (rgb[..., ::-1] - [104, 116.7, 122.7]).transpose(2, 0, 1)
    net.forward()
    labels = np.load(folder / 'labels.npy')
    assert labels.shape == rgb.shape[:2]
    assert (labels == net.blobs['score'].data.argmax(1)[0]).mean() > 0.999 and len(np.unique(labels)) > 1
