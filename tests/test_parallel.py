"""Data-parallel training over MPI, on this machine."""
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from solvers import monitor, snapshot  # noqa: E402
from surgery import read_weights  # noqa: E402

MPIRUN = shutil.which('mpirun', path=f'{Path(sys.executable).parent}:{os.environ["PATH"]}')
pytestmark = [pytest.mark.caffe, pytest.mark.mpi,
              pytest.mark.skipif(not (MPIRUN and find_spec('mpi4py')), reason='no MPI: make mpi')]
ROOT = Path(__file__).resolve().parent.parent


def start(ranks, run, iterations, iter_size=1):
    """Train on so many ranks; on one, without mpirun."""
    command = [sys.executable, '-m', 'tests.helpers.tiny', run, str(iterations)]
    if ranks > 1:
        command = [MPIRUN, '--allow-run-as-root', '--oversubscribe', '-n', str(ranks), *command]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={**os.environ, 'TINY_ITER_SIZE': str(iter_size), 'OMP_NUM_THREADS': '1',
                                 'OPENBLAS_NUM_THREADS': '1'})


def train(*arguments, **options):
    process = start(*arguments, **options)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    return output


def assert_same(one, other, scores=True):
    one_weights, other_weights = (read_weights(run / 'weights.caffemodel') for run in (one, other))
    for name, blobs in one_weights.items():
        for blob, twin in zip(blobs, other_weights[name], strict=True):
            assert np.linalg.norm(blob - twin) <= 1e-6 * np.linalg.norm(blob)
    both = [[line for line in monitor.read(run / 'metrics.jsonl') if scores or 'scores' not in line]
            for run in (one, other)]
    for line, twin in zip(*both, strict=True):
        assert line['iteration'] == twin['iteration'] and line['loss'] == pytest.approx(twin['loss'], rel=1e-5)
        assert line.get('scores', {}).keys() == twin.get('scores', {}).keys()


def test_two_ranks_equal_one_with_twice_the_images_a_step(voc):
    """Same images, same dropout, gradients averaged, scores summed."""
    train(2, voc / 'two', 20)
    train(1, voc / 'one', 20, iter_size=2)
    assert_same(voc / 'two', voc / 'one')


def test_gradients_of_several_passes_a_step_on_several_ranks(voc):
    train(2, voc / 'two', 8, iter_size=2)
    train(1, voc / 'one', 8, iter_size=4)
    assert_same(voc / 'two', voc / 'one')


def test_a_run_resumes_with_another_number_of_ranks(voc):
    """After 10 steps on two ranks, 5 more of one rank with two images each are the next ten images of the stream."""
    train(2, voc / 'mixed', 10)
    train(1, voc / 'mixed', 15, iter_size=2)
    train(2, voc / 'two', 15)
    assert_same(voc / 'mixed', voc / 'two', scores=False)    # the first 10 steps ended with a score of their own


def test_a_killed_rank_ends_the_job_and_the_run_resumes(voc):
    train(2, voc / 'alone', 60)
    process = start(2, voc / 'killed', 60_000)
    while not (voc / 'killed/snapshots/00000005').exists():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    children = [pid for pid in _descendants(process.pid) if 'tests.helpers.tiny' in _command(pid)]
    assert len(children) == 2
    os.kill(children[-1], signal.SIGKILL)
    begin = time.perf_counter()
    output = process.communicate(timeout=30)[0]
    assert process.returncode != 0 and time.perf_counter() - begin < 20
    assert 'signal 9' in output or 'Killed' in output
    assert not any('tests.helpers.tiny' in _command(pid) for pid in children)
    for path in snapshot.list_snapshots(voc / 'killed/snapshots'):     # of the endless run, keep what both have seen
        if int(path.name) > 55:
            shutil.rmtree(path)
    train(2, voc / 'killed', 60)
    assert_same(voc / 'killed', voc / 'alone')


def _descendants(pid):
    children = [int(child) for child in subprocess.run(['pgrep', '-P', str(pid)], capture_output=True,
                                                       text=True).stdout.split()]
    return children + [other for child in children for other in _descendants(child)]


def _command(pid):
    try:
        return Path(f'/proc/{pid}/cmdline').read_bytes().replace(b'\0', b' ').decode()
    except OSError:
        return ''


def test_a_rank_without_an_image_of_the_scored_split_scores_with_the_others(voc):
    """Three ranks share two images; the record of the run has the predictions of all."""
    train(3, voc / 'three', 2)
    train(1, voc / 'one', 2, iter_size=3)
    assert_same(voc / 'three', voc / 'one')
    records = [json.loads((voc / run / 'evaluation/evaluation.json').read_text()) for run in ('three', 'one')]
    first, second = (record['images']['label'] for record in records)
    assert list(first) == list(second) and len(first) == 2
    assert first == {id: pytest.approx(scores, rel=1e-3) for id, scores in second.items()}


def test_bad_input_on_every_rank_is_told_and_ends(voc):
    shutil.rmtree(voc / 'data')
    process = start(2, voc / 'run', 5)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 2 and 'no PASCAL VOC 2011' in output
