"""Runs that are killed, starved of disk and damaged, and still end as if nothing had been."""
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
from solvers import __main__ as runs  # noqa: E402
from solvers import monitor, preflight, snapshot  # noqa: E402
from solvers.instance import instantiate  # noqa: E402
from solvers.loop import Diverged, solve  # noqa: E402
from surgery import fill_bilinear, read_weights  # noqa: E402
from tests.helpers import datasets, tiny  # noqa: E402
from tests.helpers.training_process import TrainingProcess  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.usefixtures('without_curves')]
ROOT = Path(__file__).resolve().parent.parent


def outcome(run):
    return ((run / 'metrics.jsonl').read_text(),
            *((run / name).read_bytes() for name in ('weights.caffemodel', 'best.caffemodel', 'best.json')))


def test_killed_at_20_random_moments_a_run_ends_like_one_left_alone(voc):
    iterations = 200
    solve(tiny.training(iterations), voc / 'alone')
    run, rng, kills = voc / 'killed', random.Random(7), 0
    timed = TrainingProcess(voc / 'timed', iterations)
    timed.wait_until_started()
    begin = time.perf_counter()
    assert timed.wait() == 0, timed.output()
    whole = time.perf_counter() - begin
    while kills < 20:
        process = TrainingProcess(run, iterations)
        process.wait_until_started()
        time.sleep(rng.uniform(0, 0.3 * whole))
        if process.ended():                 # before it was killed: kill another one, from a fresh start
            shutil.rmtree(run)
            continue
        process.send(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        kills += 1
    last = TrainingProcess(run, iterations)
    assert last.wait() == 0, last.output()
    assert outcome(run) == outcome(voc / 'alone')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_with_a_snapshot_and_says_how_to_go_on(voc, number):
    run = voc / 'run'
    process = TrainingProcess(run, 100_000)
    process.wait_until((run / 'snapshots').exists)
    process.send(number)
    assert process.wait(60) == 0 and '--resume' in process.output()
    newest = snapshot.newest(run / 'snapshots')
    assert f'after step {int(newest.name)} ' in process.output()
    lines = monitor.read(run / 'metrics.jsonl')
    assert lines[-1]['iteration'] == int(newest.name)
    assert ' stopped ' in runs.table(voc)


def test_two_processes_do_not_share_a_run(voc):
    process = TrainingProcess(voc / 'run', 100_000)
    process.wait_until((voc / 'run/snapshots').exists)
    assert ' running ' in runs.table(voc)
    with pytest.raises(cli.BadInput, match='another process'):
        solve(tiny.training(5), voc / 'run', resume=True)
    process.send(signal.SIGKILL)
    process.wait()


def test_runs_lists_what_there_is(voc):
    solve(tiny.training(10), voc / 'one')
    row = runs.table(voc).splitlines()[1].split()
    assert row[1:4] == ['tiny', 'finished', '10/10']
    with pytest.raises(cli.BadInput, match='no run'):
        runs.table(voc / 'data')


def truncate(newest):
    path = snapshot.weights(newest)
    path.write_bytes(path.read_bytes()[:-1])


def flip(newest):
    path = snapshot.weights(newest).with_suffix('.solverstate')
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)


@pytest.mark.parametrize('damage, said', [
    (truncate, 'bytes instead of'),
    (flip, 'has changed'),
    (lambda newest: (newest / 'snapshot.json').unlink(), 'cannot be read'),
    (lambda newest: (newest / 'snapshot.json').write_text('[]'), 'cannot be read'),
    (lambda newest: snapshot.weights(newest).unlink(), 'cannot be read'),
], ids=['short', 'altered', 'no manifest', 'foreign manifest', 'no weights'])
def test_a_damaged_snapshot_is_refused_by_name_and_the_one_before_taken(voc, damage, said, capsys):
    solve(tiny.training(12), voc / 'alone')
    solve(tiny.training(10), voc / 'run')
    newest = snapshot.newest(voc / 'run/snapshots')
    damage(newest)
    solve(tiny.training(12), voc / 'run', resume=True)
    told = capsys.readouterr().err
    assert str(newest) in told and said in told
    assert outcome(voc / 'run') == outcome(voc / 'alone')


def test_a_snapshot_of_another_net_is_refused(voc, capsys):
    solve(tiny.training(5), voc / 'run')

    def wider(split):
        net = tiny.fcn(split)
        next(layer for layer in net.layer if layer.name == 'conv1_1').convolution_param.num_output = 9
        return net
    with pytest.raises(cli.BadInput, match='no snapshot is whole'):
        solve(replace(tiny.training(10), fcn=wider), voc / 'run', resume=True)
    assert 'layer conv1_1' in capsys.readouterr().err


def test_keep_removes_the_oldest(voc):
    solve(tiny.training(20), voc / 'run', keep=2)
    assert [path.name for path in snapshot.list_snapshots(voc / 'run/snapshots')] == ['00000015', '00000020']


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    if os.geteuid() or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder]).returncode:
        pytest.skip('needs the right to mount a small tmpfs')
    yield folder
    subprocess.run(['umount', folder], check=True)


def test_a_full_disk_loses_nothing(voc, small_disk, monkeypatch):
    """The disk fills up just before the third snapshot; when there is room again, the run goes on as if nothing was."""
    solve(tiny.training(15), voc / 'alone')
    run, filler, save = small_disk / 'run', small_disk / 'filler', snapshot.save

    def fill(solver, *arguments):
        if solver.iter == 15:
            with filler.open('wb', buffering=0) as file, pytest.raises(OSError):
                while file.write(bytes(4096)):
                    pass
        return save(solver, *arguments)
    monkeypatch.setattr(snapshot, 'save', fill)
    with pytest.raises(cli.Failed, match='room for.*last good snapshot is .*00000010'):
        solve(tiny.training(15), run)
    assert [path.name for path in snapshot.list_snapshots(run / 'snapshots')] == ['00000005', '00000010']
    filler.unlink()
    monkeypatch.setattr(snapshot, 'save', save)
    solve(tiny.training(15), run, resume=True)
    assert outcome(run) == outcome(voc / 'alone')


@pytest.mark.slow
def test_a_disk_that_fills_while_caffe_writes_loses_nothing(voc, small_disk):
    """Where the free room was misjudged, the process may die, but what it had saved stays."""
    solve(tiny.training(10), voc / 'alone')
    run = small_disk / 'run'
    script = f"""
import shutil
from pathlib import Path
from solvers import snapshot
from solvers.loop import solve
from tests.helpers import tiny
usage, save = shutil.disk_usage, snapshot.save
def fill(solver, *arguments):
    if solver.iter == 10:
        shutil.disk_usage = lambda path: type(usage('/'))(9, 0, 10 ** 12)
        try:
            with open({str(small_disk / 'filler')!r}, 'wb', buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        except OSError:
            pass
    return save(solver, *arguments)
snapshot.save = fill
solve(tiny.training(10), Path({str(run)!r}))
"""
    result = subprocess.run([sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode != 0
    assert [path.name for path in snapshot.list_snapshots(run / 'snapshots')] == ['00000005']
    (small_disk / 'filler').unlink()
    solve(tiny.training(10), run, resume=True)
    assert outcome(run) == outcome(voc / 'alone')


def test_a_loss_that_is_no_number_names_the_last_good_snapshot(voc):
    solve(tiny.training(5), voc / 'run')
    with pytest.raises(Diverged, match='00000005'), np.errstate(all='ignore'):
        solve(tiny.training(200, base_lr=1e30), voc / 'run', resume=True)
    assert snapshot.newest(voc / 'run/snapshots') is not None


def test_weights_that_are_no_numbers_are_not_kept(voc):
    """A Clip layer lets the loss stay finite."""
    def clipped(split):
        net = tiny.fcn(split)
        at = next(i for i, layer in enumerate(net.layer) if layer.name == 'score_fr')
        layers = list(net.layer)
        clip = type(layers[0])(name='clip', type='Clip', bottom=['score_fr'], top=['score_fr'])
        clip.clip_param.min, clip.clip_param.max = -3, 3
        del net.layer[:]
        net.layer.extend([*layers[:at + 1], clip, *layers[at + 1:]])
        return net
    solve(replace(tiny.training(5), fcn=clipped), voc / 'run')
    says = 'weights of layer .* not finite after step .*00000005'
    with pytest.raises(Diverged, match=says), np.errstate(all='ignore'):
        solve(replace(tiny.training(200, base_lr=1e38), fcn=clipped), voc / 'run', resume=True)
    for path in snapshot.list_snapshots(voc / 'run/snapshots'):
        assert all(np.isfinite(blob).all() for blobs in read_weights(snapshot.weights(path)).values() for blob in blobs)


def test_preflight_warns_of_rates_for_the_other_loss():
    summed = tiny.fcn('train')
    assert 'diverge' in preflight.rate(summed, 1e-3) and preflight.rate(summed, 1e-10) is None
    summed.layer[-1].loss_param.normalize = True
    assert 'nothing will be learnt' in preflight.rate(summed, 1e-10) and preflight.rate(summed, 1e-3) is None


def test_preflight_finds_layers_that_nothing_passes(voc):
    net_parameter = tiny.fcn('train')
    net = instantiate(net_parameter, caffe.TRAIN)
    assert preflight.unlearnable(net, net_parameter) == ['upscore']     # which does not learn
    fill_bilinear(net)
    assert preflight.unlearnable(net, net_parameter) == []
    net.params['conv1_1'][0].data[...] = 0
    assert preflight.unlearnable(net, net_parameter) == ['conv1_1']     # the score, zero too, may be


def test_preflight_counts_classes_and_disk(voc, monkeypatch):
    from data_layers import open_dataset
    net = instantiate(tiny.fcn('deploy'))
    with pytest.raises(cli.BadInput, match='scores 21 classes.*33 in sem'):
        datasets.write_siftflow(voc / 'data/sift-flow')
        preflight.classes(net, {'score': 'sem'}, open_dataset('siftflow', 'test'))
    usage = type(shutil.disk_usage('/'))
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage(10, 9, 1))
    with pytest.raises(cli.Failed, match='one snapshot needs'):
        preflight.disk(net, voc, 3)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage(10, 9, int(1.5 * snapshot.size(net))))
    assert '--keep' in preflight.disk(net, voc, 3) and preflight.disk(net, voc, 1) is None


def test_metrics_hold_no_times(voc):
    solve(tiny.training(7), voc / 'run')
    for line in (voc / 'run/metrics.jsonl').read_text().splitlines():
        assert set(json.loads(line)) <= {'iteration', 'loss', 'pixel_loss', 'scores', 'iu'}
        assert math.isfinite(json.loads(line)['loss'])
