"""Run folders that came from elsewhere: damaged JSON is one line, and links in them lead to no file that is written."""
import json
import os

import pytest

pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from caffe.proto import caffe_pb2  # noqa: E402
from google.protobuf.message import DecodeError  # noqa: E402

import files  # noqa: E402
from cli import BadInput  # noqa: E402
from solvers import monitor, snapshot  # noqa: E402
from solvers.evaluation import read_record  # noqa: E402
from solvers.loop import solve  # noqa: E402
from solvers.metrics import METRICS  # noqa: E402
from solvers.run import Run  # noqa: E402
from surgery import wire  # noqa: E402
from tests.helpers import tiny  # noqa: E402

pytestmark = pytest.mark.caffe
NESTED = '[' * 100_000
WRITTEN = ('train.prototxt', 'val.prototxt', 'deploy.prototxt', 'solver.prototxt', 'run.json', 'init.txt', 'lock',
           'metrics.jsonl', 'loss.png', 'scores.png', 'weights.caffemodel')


@pytest.mark.parametrize('name', WRITTEN)
def test_training_writes_through_no_link(name, voc, monkeypatch):
    monkeypatch.setenv('FCN_DATA', str(voc / 'data'))
    run, mine = voc / 'run', voc / 'mine'
    run.mkdir()
    mine.write_text('mine')
    (run / name).symlink_to(mine)
    solve(tiny.training(2, score_every=2), run, (), resume=name == 'metrics.jsonl')
    assert mine.read_text() == 'mine'
    assert (run / name).stat().st_size > 0


@pytest.mark.usefixtures('without_curves')
def test_json_nested_too_deeply(voc, monkeypatch):
    monkeypatch.setenv('FCN_DATA', str(voc / 'data'))
    solve(tiny.training(2, score_every=2), voc / 'run', ())
    run, newest = Run(voc / 'run'), snapshot.list_snapshots(voc / 'run/snapshots')[-1]
    assert read_record(run)
    (voc / 'run/evaluation/evaluation.json').write_text(NESTED)
    assert read_record(run) is None
    assert snapshot.problem_of(newest) is None
    manifest = json.loads((newest / snapshot.MANIFEST).read_text())
    for kept in ({}, {snapshot.weights(newest).name: manifest['files'][snapshot.weights(newest).name]}):
        (newest / snapshot.MANIFEST).write_text(json.dumps({**manifest, 'files': kept}))
        assert 'not the weights and the state' in snapshot.problem_of(newest)    # Caffe would abort on a missing one
    (newest / snapshot.MANIFEST).write_text(NESTED)
    assert 'cannot be read' in snapshot.problem_of(newest)
    (voc / 'run/run.json').write_text(NESTED)
    with pytest.raises(BadInput, match='run.json is damaged'):
        Run(voc / 'run')
    (voc / 'run/metrics.jsonl').write_text(NESTED + '\n' + json.dumps({'iteration': 1, 'loss': 1.0}) + '\n')
    with pytest.raises(BadInput, match='metrics.jsonl is damaged at line 1'):
        monitor.read(voc / 'run/metrics.jsonl')


@pytest.mark.parametrize('line', [
    '{"iteration": 4, "loss": Infinity, "scores": 2147483648}', '{"iteration": 4, "loss": 1, "scores": {"label": 7}}',
    '{"iteration": 4, "loss": 1, "scores": {"label": {"mean_iu": 0.5}}}', '[4, 1]', '{"iteration": 4, "loss": "1"}',
    f'{{"iteration": 4, "loss": 1{"0" * 400}}}', f'{{"iteration": 1{"0" * 400}, "loss": 1}}'])
def test_a_line_that_no_training_wrote(tmp_path, line):
    (tmp_path / 'metrics.jsonl').write_text(f'{{"iteration": 3, "loss": 2}}\n{line}\n')
    with pytest.raises(BadInput, match='metrics.jsonl is damaged at line 2'):
        monitor.plot(tmp_path, 'tiny')


def test_curves_of_tasks_that_come_and_go(tmp_path):
    scores = dict.fromkeys(METRICS, 0.5)
    lines = [{'iteration': at, 'loss': 1, 'scores': {task: scores for task in tasks}}
             for at, tasks in enumerate((['one'], ['one', 'two'], ['two']))]
    (tmp_path / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    monitor.plot(tmp_path, 'tiny')
    assert (tmp_path / 'scores.png').is_file()


def reshaped(state):
    """As many numbers, in another order of axes."""
    shape = state.history[0].shape
    shape.dim[:] = reversed(shape.dim)


def without_numbers(state):
    del state.history[0].data[:]


def with_doubles(state):
    state.history[0].double_data.extend([0.] * len(state.history[0].data))


HOSTILE_STATES = {
    'momentum of another shape': reshaped,
    'momentum without numbers': without_numbers,
    'momentum twice': with_doubles,
    'a momentum too few': lambda state: state.history.pop(),
    'a momentum too many': lambda state: state.history.add(),
    'another iteration': lambda state: setattr(state, 'iter', 7),
}


def forge(newest, path, content):
    """A file of a snapshot replaced, and its manifest as if it had been so from the first."""
    path.write_bytes(content)
    manifest = json.loads((newest / snapshot.MANIFEST).read_text())
    manifest['files'][path.name] = [len(content), files.sha256(path)]
    (newest / snapshot.MANIFEST).write_text(json.dumps(manifest))


@pytest.fixture
def halfway(voc, monkeypatch):
    """A run of ten steps, with snapshots after five and ten."""
    monkeypatch.setenv('FCN_DATA', str(voc / 'data'))
    solve(tiny.training(10), voc / 'run')
    return voc / 'run'


def resumed(run, capsys, passed_over):
    """Resume a run, from its newest snapshot or the one before; what it says."""
    solve(tiny.training(12), run, resume=True)
    told = capsys.readouterr().err
    assert ('is passed over' in told) is passed_over
    return told


@pytest.mark.usefixtures('without_curves')
@pytest.mark.parametrize('change', HOSTILE_STATES.values(), ids=HOSTILE_STATES)
def test_a_state_that_caffe_would_die_of_is_passed_over(halfway, change, capsys):
    newest = snapshot.list_snapshots(halfway / 'snapshots')[-1]
    state = caffe_pb2.SolverState.FromString(snapshot.state(newest).read_bytes())
    change(state)
    forge(newest, snapshot.state(newest), state.SerializeToString())
    assert snapshot.state(newest).name in resumed(halfway, capsys, passed_over=True)


@pytest.mark.usefixtures('without_curves')
@pytest.mark.parametrize('kind', ['state', 'weights'])
def test_no_state_and_no_weights_at_all_are_passed_over(halfway, kind, capsys):
    newest = snapshot.list_snapshots(halfway / 'snapshots')[-1]
    path = getattr(snapshot, kind)(newest)
    forge(newest, path, b'\xff' * 40)
    assert path.name in resumed(halfway, capsys, passed_over=True)


@pytest.mark.usefixtures('without_curves')
def test_a_state_leads_to_no_other_file(halfway, capsys):
    """Caffe reads the weights that a state names, wherever they are; here a FIFO that nobody writes to."""
    newest = snapshot.list_snapshots(halfway / 'snapshots')[-1]
    os.mkfifo(halfway / 'fifo')
    state = caffe_pb2.SolverState.FromString(snapshot.state(newest).read_bytes())
    state.learned_net = str(halfway / 'fifo')
    forge(newest, snapshot.state(newest), state.SerializeToString())
    resumed(halfway, capsys, passed_over=False)


@pytest.mark.usefixtures('without_curves')
def test_what_caffe_cannot_parse_in_saved_weights_does_not_end_the_process(halfway, capsys):
    """Parameters are in order, but the layer's convolution_param is none: Caffe's parser would refuse the file."""
    newest = snapshot.list_snapshots(halfway / 'snapshots')[-1]
    net = caffe_pb2.NetParameter.FromString(snapshot.weights(newest).read_bytes())
    broken = b''.join(wire.field(100, layer.SerializeToString() + wire.field(106, b'\xff')) for layer in net.layer)
    with pytest.raises(DecodeError):
        caffe_pb2.NetParameter.FromString(broken)
    forge(newest, snapshot.weights(newest), broken)
    resumed(halfway, capsys, passed_over=False)


@pytest.mark.usefixtures('without_curves')
def test_a_snapshot_of_terabytes_is_not_read(halfway, capsys):
    newest = snapshot.list_snapshots(halfway / 'snapshots')[-1]
    os.truncate(snapshot.state(newest), 1 << 42)    # sparse
    manifest = json.loads((newest / snapshot.MANIFEST).read_text())
    manifest['files'][snapshot.state(newest).name] = [1 << 42, '0' * 64]
    (newest / snapshot.MANIFEST).write_text(json.dumps(manifest))
    assert f'{snapshot.state(newest).name} has {1 << 42} bytes' in resumed(halfway, capsys, passed_over=True)
