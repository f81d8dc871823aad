"""Run folders that came from elsewhere: damaged JSON is one line, and links in them lead to no file that is written."""
import json

import pytest

pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from cli import BadInput  # noqa: E402
from solvers import monitor, snapshot  # noqa: E402
from solvers.evaluation import read_record  # noqa: E402
from solvers.loop import solve  # noqa: E402
from solvers.run import Run  # noqa: E402
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
