"""The commands on a card: they give what they give on the CPU, resume, take a card each, and are refused in one line.

    make test-gpu EMULATED=1        on the emulated card, of which there may be several, small ones and busy ones
"""
import fcntl
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

caffe = pytest.importorskip('caffe', reason='needs pycaffe: make setup')

from caffe.proto import caffe_pb2  # noqa: E402
from google.protobuf import text_format  # noqa: E402

import nets  # noqa: E402
from accel import device  # noqa: E402
from solvers import capacity, monitor  # noqa: E402
from solvers.metrics import METRICS  # noqa: E402
from solvers.prototxts import computing  # noqa: E402
from surgery import read_weights  # noqa: E402
from surgery.shapes import infer as infer_shapes  # noqa: E402
from tests import NETS  # noqa: E402
from tests.helpers import tiny  # noqa: E402
from tests.helpers.commands import Command, tree  # noqa: E402
from tests.helpers.gpu import emulated, on, why_not  # noqa: E402
from tests.helpers.single_layers import differ, make, pass_through, text_of  # noqa: E402
from tests.test_gpu import LAYERS, small, solver  # noqa: E402
from tests.test_report_serve import post  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.gpu, pytest.mark.skipif(bool(why_not('caffe')), reason=why_not('caffe'))]
only_emulated = pytest.mark.skipif(not emulated(), reason='needs cards of a chosen number, size and use: EMULATED=1')
MPIRUN = shutil.which('mpirun', path=f'{Path(sys.executable).parent}:{os.environ["PATH"]}')
ROOT = Path(__file__).resolve().parent.parent

# A net's solve.py, of the tiny net; WITHOUT_DROPOUT, as a card draws other masks than the CPU.
SOLVE = '''
import os
from dataclasses import replace
from solvers.solve import main
from tests.helpers import tiny

def fcn(split):
    net = tiny.fcn(split)
    for layer in net.layer:
        if layer.type == 'Dropout' and os.environ.get('WITHOUT_DROPOUT'):
            layer.dropout_param.dropout_ratio = 0
    return net

main(replace(tiny.training(12, iter_size=int(os.environ.get('TINY_ITER_SIZE', '1'))), fcn=fcn))
'''
LOSSES, WEIGHTS = 1e-4, 1e-4    # relative, after 12 steps
SCORES = 0.005      # of a metric: pixels whose two best classes are equal but for rounding


def program(folder, text=SOLVE):
    """Write that solve.py into a folder of the net's name."""
    (folder / 'tiny').mkdir(exist_ok=True)
    (folder / 'tiny/solve.py').write_text(text)
    return folder / 'tiny/solve.py'


def train(folder, *arguments, ranks=1, **environment):
    """Run that solve.py to its end in `folder`; status and what it said."""
    command = [sys.executable, program(folder), '--data', folder / 'data', *arguments]
    if ranks > 1:
        command = [MPIRUN, '--allow-run-as-root', '--oversubscribe', '-n', str(ranks), *command]
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=300,
                          env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT), **environment})
    return done.returncode, done.stdout + done.stderr


def trained(*arguments, **options):
    status, said = train(*arguments, **options)
    assert status == 0, said
    return said


def assert_alike(run, other):
    """Losses and scores of every step, and the weights at the end."""
    one, two = (monitor.read(folder / 'metrics.jsonl') for folder in (run, other))
    assert len(one) == len(two) > 12
    for line, twin in zip(one, two, strict=True):
        assert line['iteration'] == twin['iteration'] and line['loss'] == pytest.approx(twin['loss'], rel=LOSSES)
        for name, scores in line.get('scores', {}).items():
            assert scores == pytest.approx(twin['scores'][name], abs=SCORES)
    weights, others = (read_weights(folder / 'weights.caffemodel') for folder in (run, other))
    worst = max(differ(blob, twin) for name in weights for blob, twin in zip(weights[name], others[name], strict=True))
    print(f'weights differ by {worst:.1e}, losses by',
          f'{max(abs(line["loss"] / twin["loss"] - 1) for line, twin in zip(one, two, strict=True)):.1e}')
    assert worst <= WEIGHTS


def test_training_on_a_card_is_training_on_the_cpu(voc):
    said = trained(voc, '0', '--run', voc / 'card', WITHOUT_DROPOUT='1')
    assert 'computing on GPU 0' in said
    assert 'computing on CPU' in trained(voc, '--cpu', '--run', voc / 'cpu', WITHOUT_DROPOUT='1')
    assert_alike(voc / 'card', voc / 'cpu')
    for run in ('card', 'cpu'):
        assert (voc / run / 'report.html').is_file(), 'what tells of a finished run was not told, or failed on the card'


@pytest.mark.parametrize('cudnn', ['0', '1'])
def test_training_lowers_the_loss(voc, cudnn):
    if cudnn == '1' and why_not('cudnn'):
        pytest.skip(why_not('cudnn'))
    trained(voc, '0', '--run', voc / 'run', '--iterations', '150', FCN_CUDNN=cudnn)
    losses = [line['loss'] for line in monitor.read(voc / 'run/metrics.jsonl') if 'scores' not in line]
    print('losses of 150 steps:', *(f'{np.mean(losses[at:at + 30]):.0f}' for at in range(0, 150, 30)))
    assert np.mean(losses[-30:]) < 0.9 * np.mean(losses[:30])


def test_a_run_resumes_to_the_same_bytes(voc):
    """With dropout: the masks of a step are those of its number."""
    trained(voc, '0', '--run', voc / 'whole')
    trained(voc, '0', '--run', voc / 'parts', '--iterations', '5')
    trained(voc, '0', '--run', voc / 'parts', '--resume')
    assert (voc / 'whole/weights.caffemodel').read_bytes() == (voc / 'parts/weights.caffemodel').read_bytes()
    assert monitor.read(voc / 'whole/metrics.jsonl')[-1] == monitor.read(voc / 'parts/metrics.jsonl')[-1]


def test_a_signal_on_a_card_leaves_a_snapshot(voc):
    endless = program(voc, SOLVE.replace('training(12', 'training(100_000'))
    command = Command(voc, endless, '0', '--run', voc / 'run', '--data', voc / 'data')
    command.wait_until((voc / 'run/snapshots/00000005').exists)
    status, said = command.end(signal.SIGTERM)
    assert status == 0 and '--resume goes on from there' in said, said


@only_emulated
@pytest.mark.mpi
@pytest.mark.skipif(not (MPIRUN and find_spec('mpi4py')), reason='no MPI: make mpi')
@pytest.mark.parametrize('iter_size', ['1', '2'])
def test_two_ranks_on_a_card_each_are_one_with_twice_the_images(voc, iter_size):
    """By NCCL, layer by layer or all at once."""
    trained(voc, '--run', voc / 'two', ranks=2, FCN_EMULATED_CARDS='2', TINY_ITER_SIZE=iter_size)
    trained(voc, '0', '--run', voc / 'one', TINY_ITER_SIZE=str(2 * int(iter_size)))
    assert_alike(voc / 'two', voc / 'one')


@only_emulated
def test_two_ranks_on_one_card_are_refused(voc):
    if not (MPIRUN and find_spec('mpi4py')):
        pytest.skip('no MPI: make mpi')
    status, said = train(voc, '0', '--run', voc / 'two', ranks=2)
    assert status and 'GPU 1 cannot be used: 1 card answers' in said and not (voc / 'two').exists()


# What segments

@pytest.fixture
def weights(tmp_path):
    """Of the tiny net, random."""
    return tiny.random_weights(tmp_path / 'tiny.caffemodel')


def test_infer_and_score_as_on_the_cpu(voc, weights):
    for name, where in (('card', ('--gpu', '0')), ('cpu', ('--cpu',))):
        command = ['tiny', 'infer', '--net', 'tiny', '--weights', weights, *where, '--out', voc / name,
                   voc / 'data/pascal/VOC2011/JPEGImages']
        assert Command(voc, *command).wait(120)[0] == 0
        # The number of a card is the first argument of score.
        where = where[1:] if name == 'card' else where
        done = Command(voc, 'tiny', 'score', *where, '--net', 'tiny', '--weights', weights, '--json',
                       voc / f'{name}.json', FCN_DATA=str(voc / 'data'))
        assert done.wait(120)[0] == 0
    masks = sorted(path.name for path in (voc / 'cpu').glob('*.png'))
    assert masks and tree(voc / 'card').keys() == tree(voc / 'cpu').keys()
    for name in masks:
        ours, theirs = (np.asarray(Image.open(voc / where / name)) for where in ('card', 'cpu'))
        assert np.mean(ours != theirs) <= SCORES and len(np.unique(ours)) > 1
    card, cpu = (json.loads((voc / f'{name}.json').read_text()) for name in ('card', 'cpu'))
    assert card.pop('loss') == pytest.approx(cpu.pop('loss'), rel=LOSSES)
    assert card['images'] == cpu['images'] and card['tasks'].keys() == cpu['tasks'].keys()
    for name, task in card['tasks'].items():
        assert [task[metric] for metric in METRICS] == pytest.approx([cpu['tasks'][name][metric] for metric in METRICS],
                                                                     abs=SCORES)


def test_the_page_computes_on_a_card(voc, weights):
    picture = next((voc / 'data/pascal/VOC2011/JPEGImages').iterdir()).read_bytes()
    answers = []
    for where in (('--gpu', '0'), ('--cpu',)):
        command = Command(voc, 'tiny', 'serve', '--net', 'tiny', '--weights', weights, *where, '--port', '0')
        server = SimpleNamespace(server_port=command.serving())
        for _ in range(2):
            status, found = post(server, picture)
            assert status == 200
        answers.append(found['tasks'])
        assert command.end(signal.SIGTERM) == (143, 'ended by SIGTERM\n')
    card, cpu = ({entry['name']: entry['percent'] for task in tasks for entry in task['legend']} for tasks in answers)
    assert card == pytest.approx(cpu, abs=100 * SCORES) and len(card) > 1


# What a card refuses

@only_emulated
def test_a_card_that_another_process_has(voc, weights):
    with open(voc / 'use.0', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        busy = {'FCN_EMULATED_EXCLUSIVE': str(voc / 'use')}
        for call in (lambda: train(voc, '0', '--run', voc / 'run', **busy),
                     lambda: Command(voc, 'tiny', 'infer', '--net', 'tiny', '--weights', weights, '--gpu', '0', '--out',
                                     voc / 'out', voc / 'data/pascal/VOC2011/JPEGImages', **busy).wait()):
            status, said = call()
            assert status == 2 and 'GPU 0 cannot be used: it refuses this process' in said
            assert len(said.splitlines()) == 1, said
    assert not (voc / 'run').exists() and not (voc / 'out').exists()
    trained(voc, '0', '--run', voc / 'run', **busy)


@only_emulated
def test_no_card_at_all(voc):
    assert 'computing on CPU' in trained(voc, '--run', voc / 'run', FCN_EMULATED_CARDS='0')
    status, said = train(voc, '0', '--run', voc / 'none', FCN_EMULATED_CARDS='0')
    assert status == 2 and said.startswith('error: GPU 0 cannot be used: no card answers'), said


# Memory of the card

def taken(work):
    """Bytes of the card that `work` leaves taken, as long as what it returns is kept."""
    before = device.free_memory()
    kept = work()
    return before - device.free_memory(), kept


@only_emulated
@pytest.mark.parametrize('name', [name for name in LAYERS if name != 'volume'])     # whose shapes are not worked out
def test_what_a_layer_takes_is_foreseen(name):
    parameter = text_format.Parse(text_of(*LAYERS[name]), caffe_pb2.NetParameter())

    def passed():
        net = make(*LAYERS[name])
        pass_through(net)
        return net

    with on('caffe'):
        shapes = infer_shapes(parameter)
        bottoms = sum(map(math.prod, shapes.bottoms[-1]))       # with gradients here, which no data has
        assert taken(passed)[0] <= capacity.training_bytes(parameter, shapes) + 4 * bottoms


@only_emulated
@pytest.mark.parametrize('name', NETS)
def test_what_a_net_takes_is_foreseen(name, tmp_path):
    """In a step of the solver: enough is foreseen, and not much too much."""
    parameter = small(nets.load(name).fcn('train'), 'caffe')

    def step():
        made, net = solver(tmp_path, parameter)
        made.step(1)
        return made, net

    with on('caffe'):
        found, _kept = taken(step)
        computed = computing(parameter)
        foreseen = capacity.training_bytes(computed, infer_shapes(computed))
    print(f'{foreseen / found:.3f}')
    assert found <= foreseen <= 1.3 * found


@only_emulated
def test_a_photograph_that_a_card_has_no_room_for(voc, weights):
    photos = voc / 'data/pascal/VOC2011/JPEGImages'
    Image.fromarray(np.zeros((2000, 3000, 3), np.uint8)).save(photos / 'large.jpg')
    whole = len(list(photos.iterdir()))
    status, said = Command(voc, 'tiny', 'infer', '--net', 'tiny', '--weights', weights, '--gpu', '0', '--out',
                           voc / 'out', photos, FCN_EMULATED_MEMORY_MB='512').wait(120)
    assert status == 1 and 'GB are free on the card' in said and '--tile' in said, said
    assert f'1 of {whole} images were not segmented: large.jpg' in said
    assert len(list((voc / 'out').glob('*.png'))) >= whole - 1


@only_emulated
def test_training_that_a_card_has_no_room_for(voc):
    status, said = train(voc, '0', '--run', voc / 'run', FCN_EMULATED_MEMORY_MB='1')
    assert status == 2 and len(said.splitlines()) == 2, said
    assert 'GB are free on the card' in said
    trained(voc, '0', '--run', voc / 'run')
