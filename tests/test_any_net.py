"""Classifiers of every kind, by command from first to last: made dense, given a head, trained, killed, resumed, scored,
reported, used, and exported."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from tests.helpers import folders, torch_nets  # noqa: E402
from tests.helpers.surgery_nets import LENET, WHOLE, randomise  # noqa: E402
from tests.helpers.torch_files import save_zip  # noqa: E402

pytestmark = pytest.mark.caffe
ROOT = Path(__file__).resolve().parent.parent
SIZE = (24, 32)     # height and width of the photographs
STRIDES = {'lenet': 2}
RATES = {'efficientnet': 1e-9}      # random weights and statistics have wild gradients
TRUNKS = ('lenet', *(pytest.param(name, marks=pytest.mark.slow)
                     for name in ('resnet', 'caffenet', 'googlenet', 'efficientnet')))


def start(folder, *arguments):
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get('PYTHONPATH'))))
    environment = {**os.environ, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1'}
    return subprocess.Popen([sys.executable, '-m', *map(str, arguments)], cwd=folder, env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def command(folder, *arguments):
    """Run a command to its end, without errors; what it printed."""
    process = start(folder, *arguments)
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, f'{arguments}\n{out}\n{errors}'
    return out


def classifier(name, folder):
    """Write the classifier `net/`: by Caffe, or imported from torch's weights."""
    if name == 'efficientnet':
        twin, _ = torch_nets.efficientnet()
        save_zip(folder / 'e.pth', twin.state)
        command(folder, 'surgery', 'import', 'e.pth', '--size', 'x'.join(map(str, twin.size)), '--out', 'net')
        return
    (folder / 'net').mkdir()
    (folder / 'net/deploy.prototxt').write_text({'lenet': LENET, **WHOLE}[name])
    net = caffe.Net(str(folder / 'net/deploy.prototxt'), caffe.TEST)
    randomise(net)
    net.save(str(folder / 'net/weights.caffemodel'))


def train_and_kill(folder):
    """Training of the head into the folder `killed`, ended without warning after its first snapshot."""
    process = start(folder, 'solvers', 'train', 'head', '--run', 'killed', '--cpu', '--iterations', 400)
    deadline = time.monotonic() + 200
    while not [*folder.glob('killed/snapshots/0*')]:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return max(int(path.name) for path in folder.glob('killed/snapshots/0*'))


@pytest.mark.parametrize('name', TRUNKS)
def test_from_a_classifier_to_another_engine(name, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    labels = folders.write_own(tmp_path / 'own', size=SIZE)
    classifier(name, tmp_path)

    command(tmp_path, 'surgery', 'convolutionalize', '--prototxt', 'net/deploy.prototxt', '--weights',
            'net/weights.caffemodel', '--out', 'head', '--grid', '0', '--head', STRIDES.get(name, 8), '--classes',
            len(folders.CLASSES), '--data', 'own', '--cpu')
    solver = tmp_path / 'head/solver.prototxt'
    solver.write_text(re.sub('base_lr: .*', f'base_lr: {RATES[name]}' if name in RATES else r'\g<0>',
                             solver.read_text().replace('snapshot: 4000', 'snapshot: 4')))

    taken = train_and_kill(tmp_path)
    steps = taken + 8
    command(tmp_path, 'solvers', 'train', 'head', '--run', 'killed', '--cpu', '--iterations', steps, '--resume')
    command(tmp_path, 'solvers', 'train', 'head', '--run', 'alone', '--cpu', '--iterations', steps)
    for file in ('weights.caffemodel', 'metrics.jsonl'):
        assert (tmp_path / 'killed' / file).read_bytes() == (tmp_path / 'alone' / file).read_bytes()
    shutil.rmtree(tmp_path / 'alone')
    assert f'finished  {steps}/{steps}' in command(tmp_path, 'solvers', 'runs', '.')
    assert 'road' in (tmp_path / 'killed/report.html').read_text()
    command(tmp_path, 'report', 'killed', '--cpu')

    model = '--prototxt', 'killed/deploy.prototxt', '--weights', 'killed/weights.caffemodel'
    scored = json.loads(command(tmp_path, 'solvers.score', *model, '--dataset', 'folder', '--root', 'own', '--split',
                                'val', '--json', 'scores.json', '--cpu') and (tmp_path / 'scores.json').read_text())
    matrix, = (task['confusion_matrix'] for task in scored['tasks'].values())
    last = [json.loads(line) for line in (tmp_path / 'killed/metrics.jsonl').read_text().splitlines()][-1]
    assert scored['tasks'].popitem()[1]['mean_iu'] == pytest.approx(last['scores']['label']['mean_iu'])

    command(tmp_path, 'nets.infer', *model, 'own/images', '--out', 'segmented', '--cpu')
    command(tmp_path, 'surgery', 'export', *model, '--input', 'rgb', '--to', 'onnx', '--out', 'net.onnx')
    command(tmp_path, 'surgery', 'export', *model, '--to', 'torch', '--out', 'torch')
    session = onnxruntime.InferenceSession(str(tmp_path / 'net.onnx'))
    counts = np.zeros((3, 3), int)
    for id, label in labels.items():
        rgb = np.asarray(Image.open(tmp_path / f'own/images/{id}.jpg'), np.float32)
        found = session.run(None, {session.get_inputs()[0].name: rgb.transpose(2, 0, 1)[np.newaxis]})[0][0].argmax(0)
        segmented = np.asarray(Image.open(tmp_path / f'segmented/{id}.png'))
        assert segmented.shape == label.shape and np.mean(segmented != found) < 0.002
        if id in (tmp_path / 'own/val.tsv').read_text():
            known = label != 255
            np.add.at(counts, (label[known], segmented[known]), 1)
    np.testing.assert_array_equal(counts, matrix)
