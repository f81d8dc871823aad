"""Which processor Caffe computes on: chosen in one way by every command, refused with one line. No card is needed."""
import contextlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
from accel import build, device, nccl, ranks  # noqa: E402
from solvers.run import write_down  # noqa: E402
from surgery import write_weights  # noqa: E402
from tests.helpers import tiny  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
MPIRUN = shutil.which('mpirun', path=f'{Path(sys.executable).parent}:{os.environ["PATH"]}')
needs_mpi = pytest.mark.skipif(not (MPIRUN and find_spec('mpi4py')), reason='no MPI: make mpi')
pytestmark = pytest.mark.caffe


class Rank(ranks.Alone):
    """A rank on a machine with others."""

    def __init__(self, local=0, others=()):
        self.local, self.others = local, others

    def any(self, flag):
        return flag or any(self.others)


@pytest.fixture
def machine(monkeypatch):
    """Pretend a build and cards; `pick` decides from these."""
    def pretend(cuda=True, cards=(), compiled=(90,), rank=None):
        monkeypatch.setattr(device, 'has_cuda', lambda: cuda)
        monkeypatch.setattr(device, 'cards', lambda: len(cards))
        monkeypatch.setattr(device, '_capability', lambda number: cards[number])
        monkeypatch.setattr(device, 'architectures', lambda: list(compiled))
        monkeypatch.setattr(ranks, 'world', lambda: rank or ranks.Alone())
    return pretend


@pytest.mark.parametrize(('facts', 'arguments', 'expected'), [
    (dict(cuda=False), {}, (None, '')),
    (dict(), {}, (None, 'no card answers')),
    (dict(cards=[90]), {}, (0, '')),
    (dict(cards=[90]), dict(cpu=True), (None, '')),
    (dict(cuda=False), dict(cpu=True), (None, '')),
    (dict(cards=[90, 90]), dict(gpu=1), (1, '')),
    (dict(cards=[100]), {}, (0, '')),                                   # by PTX
    (dict(cards=[80], compiled=(80, 90)), {}, (0, '')),
    (dict(cards=[90, 90], rank=Rank(local=1)), {}, (1, '')),
    (dict(cards=[90, 90, 90], rank=Rank(local=1)), dict(gpu=1), (2, '')),
    (dict(cards=[90, 90], rank=Rank(local=1)), dict(cpu=True), (None, '')),
    (dict(cards=[90], rank=Rank(others=[True])), {}, (None, 'no card answers')),    # another machine has none
])
def test_what_is_picked(machine, facts, arguments, expected):
    machine(**facts)
    assert device.pick(**arguments) == expected


@pytest.mark.parametrize(('facts', 'arguments', 'says'), [
    (dict(cuda=False), dict(gpu=0), 'GPU 0 cannot be used: this Caffe was built for the CPU alone'),
    (dict(), dict(gpu=0), 'GPU 0 cannot be used: no card answers; pass --cpu'),
    (dict(cards=[90]), dict(gpu=1), 'GPU 1 cannot be used: 1 card answers;'),
    (dict(cards=[90, 90]), dict(gpu=2), 'GPU 2 cannot be used: 2 cards answer, numbered 0 to 1;'),
    (dict(cards=[90]), dict(gpu=-1), 'GPU -1 cannot be used: 1 card answers;'),
    (dict(cards=[90]), dict(gpu=0, cpu=True), 'GPU 0 and --cpu exclude each other'),
    (dict(cards=[80]), {}, 'GPU 0 .*: it is of architecture 80 .*compiled for 90: make setup GPU=1 CUDA_ARCH=80'),
    (dict(cards=[90], rank=Rank(local=1)), {}, 'GPU 1 cannot be used: 1 card answers;'),   # two ranks, one card
])
def test_what_is_refused(machine, facts, arguments, says):
    machine(**facts)
    with pytest.raises(cli.BadInput, match=says):
        device.pick(**arguments)


def test_the_build_itself_tells_whether_it_has_cuda():
    described = build.facts()
    assert device.has_cuda() == ('cuda' in described) == ('CPU_ONLY' not in described['defines'])
    assert device.has_cuda() or device.cards() == 0


def call(*arguments, environment=()):
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, **dict(environment)})


def test_the_report_of_the_device():
    result = call('-m', 'accel.device')
    assert result.stdout == f'has CUDA: {"yes" if device.has_cuda() else "no"}, cards: {device.cards()}\n'


def test_the_cpu_is_chosen_without_a_word_of_missing_cards():
    result = call('-c', 'from accel import device; import caffe; device.choose(cpu=True); caffe.set_random_seed(1); '
                  'import sys; print("still heard", file=sys.stderr)')
    assert (result.returncode, result.stderr) == (0, 'still heard\n')


COMMANDS = {
    'solve': lambda tmp, gpu: ['nets/voc_fcn32s/solve.py', gpu, '--weights', tmp / 'w.caffemodel'],
    'train': lambda tmp, gpu: ['-m', 'nets', 'train', 'voc-fcn32s', gpu, '--weights', tmp / 'w.caffemodel'],
    'infer': lambda tmp, gpu: ['-m', 'nets.infer', '--net', 'voc-fcn32s', '--weights', tmp / 'w.caffemodel',
                               '--gpu', gpu, '--out', tmp / 'out', tmp / 'data/pascal/VOC2011/JPEGImages'],
    'score': lambda tmp, gpu: ['-m', 'solvers.score', gpu, '--net', 'voc-fcn32s', '--weights', tmp / 'w.caffemodel'],
    'report': lambda tmp, gpu: ['-m', 'report', tmp / 'runs', '--gpu', gpu],
    'serve': lambda tmp, gpu: ['-m', 'report', 'serve', '--net', 'voc-fcn32s', '--weights', tmp / 'w.caffemodel',
                               '--gpu', gpu, '--port', '0'],
    'convolutionalize': lambda tmp, gpu: ['-m', 'surgery', 'convolutionalize', '--prototxt', tmp / 'p.prototxt',
                                          '--weights', tmp / 'w.caffemodel', '--out', tmp / 'out', '--gpu', gpu],
    'import': lambda tmp, gpu: ['-m', 'surgery', 'import', tmp / 'm.onnx', '--out', tmp / 'out', '--gpu', gpu],
}


@pytest.mark.parametrize('name', COMMANDS)
def test_every_command_refuses_a_card_that_is_not_there(voc, name):
    write_weights(voc / 'w.caffemodel', {'conv1_1': [np.zeros((64, 3, 3, 3), np.float32)]})
    result = call(*COMMANDS[name](voc, '77'))
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1, result.stderr
    assert 'GPU 77 cannot be used' in result.stderr
    assert not (voc / 'out').exists()
    result = call(*COMMANDS[name](voc, '77'), '--cpu')
    assert result.returncode == 2 and result.stderr == 'error: GPU 77 and --cpu exclude each other\n'


# NCCL

class Comm:
    """Of one rank."""
    rank = 0

    def bcast(self, value):
        return value


def test_a_unique_id_cut_short_is_refused(monkeypatch):
    whole = bytes(range(128))   # its first byte is zero
    fake = type('NCCL', (), {'new_uid': staticmethod(lambda: whole)})
    monkeypatch.setattr(caffe, 'NCCL', fake)
    assert nccl.share_uid(Comm()) == whole
    fake.new_uid = staticmethod(lambda: whole.partition(b'\0')[0])
    with pytest.raises(cli.Failed, match='has 0 bytes instead of 128: .*make setup GPU=1'):
        nccl.share_uid(Comm())


@pytest.mark.skipif(not caffe.has_nccl(), reason='this Caffe is built without NCCL: make setup GPU=1')
def test_the_unique_id_of_nccl_arrives_whole():
    """Most have a zero byte in their first dozen, where Caffe's own binding ends them."""
    uids = [nccl.share_uid(Comm()) for _ in range(3)]
    assert len(set(uids)) == 3 and all(len(uid) == 128 and b'\0' in uid.rstrip(b'\0') for uid in uids)


def test_bytes_with_zeros_reach_caffe_whole():
    """As `caffe.NCCL(solver, uid)` takes them: Boost.Python makes a std::string of them, here one for the log."""
    result = subprocess.run([sys.executable, '-c', 'import caffe; caffe.init_log(0); caffe.log(b"<a\\0b\\0\\0c>")'],
                            env={**os.environ, 'GLOG_logtostderr': '1'}, capture_output=True)
    assert b'<a\0b\0\0c>' in result.stderr


@needs_mpi
@pytest.mark.mpi
def test_ranks_of_a_machine_are_numbered_and_share_bytes_with_zeros(tmp_path):
    """And a program that a rank starts is none."""
    script = tmp_path / 'ranks.py'
    script.write_text(f'''
import pathlib, subprocess, sys
from accel import ranks
world = ranks.world()
uid = world.comm.bcast(bytes(128) + b"x" if world.rank == 0 else None)
child = subprocess.run([sys.executable, "-c", "from accel import ranks; print(ranks.world().size)"],
                       env=ranks.child_environment(), capture_output=True, text=True)
pathlib.Path({str(tmp_path)!r}, str(world.rank)).write_text(f"{{world.local}} {{len(uid)}} {{child.stdout}}")
''')
    subprocess.run([MPIRUN, '--allow-run-as-root', '--oversubscribe', '-n', '2', sys.executable, str(script)],
                   check=True, cwd=ROOT, timeout=120, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert [(tmp_path / str(rank)).read_text() for rank in (0, 1)] == ['0 129 1\n', '1 129 1\n']


def shared_parameter():
    net = tiny.fcn('train')
    next(layer for layer in net.layer if layer.name == 'score_fr').param[0].name = 'shared'
    return net


@pytest.mark.parametrize(('net', 'iter_size', 'expected'), [
    (lambda: tiny.fcn('train'), 1, True), (lambda: tiny.fcn('train'), 2, False), (shared_parameter, 1, False)])
def test_layers_are_summed_one_by_one_only_where_that_is_right(net, iter_size, expected):
    assert nccl.layer_wise(net(), iter_size) == expected


@pytest.mark.parametrize(('count', 'iter_size', 'expected'), [(2, 1, True), (2, 2, False), (1, 2, True)])
def test_the_solver_of_a_run_says_how_to_sum(voc, count, iter_size, expected):
    training = tiny.training(1, iter_size=iter_size)
    (voc / 'run').mkdir()
    write_down(training, voc / 'run', (), 'CPU', count)
    with contextlib.chdir(voc / 'run'):
        assert caffe.get_solver('solver.prototxt').param.layer_wise_reduce == expected


@pytest.mark.parametrize(('cuda', 'expected'), [(True, 'nccl'), (False, 'mpi')])
def test_sums_are_those_of_nccl_on_cards_and_of_mpi_elsewhere(monkeypatch, cuda, expected):
    made = []
    monkeypatch.setattr(nccl, 'available', lambda: True)
    monkeypatch.setattr(nccl, 'connect', lambda solver, comm: made.append('nccl'))
    monkeypatch.setattr(ranks, 'GradientAverage', lambda *_: made.append('mpi'))
    group = ranks.Ranks.__new__(ranks.Ranks)
    group.comm = type('Comm', (), {'allreduce': staticmethod(lambda flag: flag)})()
    group.average_gradients(None, None, 1, on_gpu=cuda)
    monkeypatch.setattr(nccl, 'available', lambda: False)
    group.average_gradients(None, None, 1, on_gpu=cuda)
    assert made == [expected, 'mpi']
