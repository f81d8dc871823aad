"""Samples read ahead: the same, in the same order, as those read one by one, whatever happens to the processes."""
import json
import os
import signal
import subprocess
import sys
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest

from cli import BadInput
from data_layers import bench, draw, open_dataset
from data_layers.__main__ import main
from data_layers.dataset import CHECKOUT
from data_layers.prefetch import Prefetcher
from tests.helpers.datasets import write_nyud, write_voc

SIZES = ((12, 10), (40, 56), (90, 80), (36, 36))    # later samples outgrow the memory of earlier ones


@pytest.fixture
def root(tmp_path):
    write_voc(tmp_path / 'VOC2011', [f'2007_{n:06}' for n in range(7)], SIZES)
    return str(tmp_path / 'VOC2011')


@pytest.fixture
def reader(root, request):
    reader = Prefetcher('voc', 'val', root, workers=2, ahead=4)
    yield reader
    reader.close()


def upcoming(reader, start=0, count=20):
    return list(islice(cycle(reader.dataset.ids), start, start + count))


def assert_equal(sample, expected):
    assert len(sample) == len(expected)
    for array, other in zip(sample, expected, strict=True):
        assert array.dtype == other.dtype
        np.testing.assert_array_equal(array, other)


def assert_follows(reader, start, count):
    """Take samples in order and compare them with what the data set gives."""
    for position in range(start, start + count):
        ids = upcoming(reader, position)
        sample, = reader.take(ids[:1])
        assert_equal(sample, reader.dataset.load(ids[0]))
        reader.expect(ids[1:])


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'in vain'
        time.sleep(0.02)


def alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


@pytest.mark.parametrize('workers, ahead', [(0, 4), (1, 1), (2, 5), (3, 2)])
def test_samples_are_those_of_the_data_set_in_the_order_asked_for(root, workers, ahead):
    reader = Prefetcher('voc', 'val', root, workers=workers, ahead=ahead)
    assert_follows(reader, 0, 16)
    assert len(reader.processes) == workers
    reader.close()


def test_all_tops_come_and_several_samples_at_once(tmp_path):
    write_nyud(tmp_path, [f'{n}' for n in range(5000, 5005)], splits={'train': [f'{n}' for n in range(5000, 5005)]})
    reader = Prefetcher('nyud', 'train', str(tmp_path), ('label', 'depth', 'color'), workers=2, ahead=1, batch=2)
    for start in range(0, 10, 2):
        ids = upcoming(reader, start, 6)
        for sample, id in zip(reader.take(ids[:2]), ids, strict=False):
            assert [array.shape[0] for array in sample] == [1, 1, 3]
            assert_equal(sample, reader.dataset.load(id))
        reader.expect(ids[2:])
    reader.close()


def test_a_seek_in_any_direction_is_exact(reader):
    for start, count in ((0, 5), (2, 4), (40, 3), (43, 1), (41, 6)):
        assert_follows(reader, start, count)


def test_what_was_read_ahead_survives_a_rewind_to_the_same_samples(reader):
    assert_follows(reader, 0, 7)        # all there are: what follows is the first again
    asked = reader.number
    reader.expect(upcoming(reader, 0))
    assert reader.number == asked
    assert_follows(reader, 0, 7)


def test_reading_goes_ahead_as_far_as_told_and_no_further(root):
    reader = Prefetcher('voc', 'val', root, workers=1, ahead=3)
    ids = reader.dataset.ids
    expected = [reader.dataset.load(id) for id in ids[:3]]
    reader.expect(ids)
    wait_for(lambda: os.fstat(reader.slots[2]).st_size)
    for path in Path(root, 'JPEGImages').iterdir():
        path.unlink()
    for id, sample in zip(ids, expected, strict=False):
        assert_equal(*reader.take([id]), sample)
    with pytest.raises(BadInput, match=f'{ids[3]}.jpg is missing'):
        reader.take([ids[3]])
    reader.close()


def test_an_error_is_raised_for_the_sample_it_belongs_to(reader, root):
    ids = reader.dataset.ids
    path = Path(root, 'JPEGImages', f'{ids[3]}.jpg')
    good = path.read_bytes()
    path.write_bytes(good[:300])
    with pytest.raises(BadInput) as directly:
        reader.dataset.load(ids[3])
    reader.expect(ids)
    assert_follows(reader, 0, 3)
    for _ in range(2):
        with pytest.raises(BadInput) as read_ahead:
            reader.take([ids[3]])
        assert str(read_ahead.value) == str(directly.value) and str(path) in str(directly.value)
    path.write_bytes(good)
    assert_follows(reader, 3, 5)        # fixed: goes on with the sample it failed on


def test_a_fixed_sample_is_read_anew(reader, root):
    id = reader.dataset.ids[3]
    path = Path(root, 'JPEGImages', f'{id}.jpg')
    good = path.read_bytes()
    path.write_bytes(good[:300])
    reader.expect([id] * 4)
    with pytest.raises(BadInput, match='cannot be read'):
        reader.take([id])
    path.write_bytes(good)
    assert_equal(*reader.take([id]), reader.dataset.load(id))


def test_a_failure_that_is_no_bad_input_shows_its_traceback(reader, tmp_path, monkeypatch):
    (tmp_path / 'sitecustomize.py').write_text('import data_layers\n'
                                               'def load(self, id): raise KeyError("a bug")\n'
                                               'data_layers.Dataset.load = load\n')
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))
    reader.expect(reader.dataset.ids)
    with pytest.raises(RuntimeError, match="(?s)reading voc 2007_000000 failed.*KeyError: 'a bug'"):
        reader.take(reader.dataset.ids[:1])


def test_a_worker_that_dies_is_said_and_replaced(reader):
    assert_follows(reader, 0, 2)
    for worker in reader.processes:
        worker.process.kill()
        worker.process.wait()
    with pytest.raises(BadInput, match='voc 2007_.*: the worker process reading it died'):
        assert_follows(reader, 2, 10)
    assert not reader.processes
    assert_follows(reader, 2, 4)


def test_a_call_that_was_interrupted_does_not_shift_the_samples(reader, monkeypatch):
    assert_follows(reader, 0, 2)
    class Interrupted:
        def readline(self):
            raise KeyboardInterrupt
    processes = reader.processes
    reader.processes = [worker._replace(replies=Interrupted()) for worker in processes]
    with pytest.raises(KeyboardInterrupt):
        reader.take(upcoming(reader, 2, 1))
    reader.processes = processes
    assert_follows(reader, 2, 9)


def test_workers_outlive_signals_meant_for_the_solver(reader):
    for _ in range(2):      # while they start, and while they work
        reader.expect(reader.dataset.ids)
        for worker in reader.processes:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):     # of Ctrl-C, a scheduler, a lost terminal
                os.kill(worker.process.pid, number)
        assert_follows(reader, 0, 8)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGINT, signal.SIGTERM}   # we still hear them


PARENT = """
import sys, time
from data_layers.prefetch import Prefetcher
reader = Prefetcher('voc', 'val', sys.argv[1], workers=2, ahead=8)
reader.expect(reader.dataset.ids * 3)
reader.take(reader.dataset.ids[:1])
print(*(worker.process.pid for worker in reader.processes), flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize('seconds, how', [(100, signal.SIGKILL), (100, signal.SIGTERM), (0, None)])
def test_no_process_outlives_the_solver(root, seconds, how):
    with subprocess.Popen([sys.executable, '-c', PARENT, root, str(seconds)], stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.PIPE, cwd=CHECKOUT) as parent:
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(workers) == 2
        if how:
            parent.send_signal(how)
        parent.wait(20)
        wait_for(lambda: not any(map(alive, workers)))
        assert parent.stderr.read() == ''


def test_closing_ends_the_processes_and_frees_their_memory(reader):
    files = len(os.listdir('/proc/self/fd'))
    reader.expect(reader.dataset.ids)
    workers = [worker.process.pid for worker in reader.processes]
    assert all(map(alive, workers))
    reader.close()
    assert not any(map(alive, workers)) and len(os.listdir('/proc/self/fd')) == files
    reader.close()


def test_numbers_come_from_the_caller_or_the_environment(root, monkeypatch):
    monkeypatch.setenv('FCN_WORKERS', '3')
    monkeypatch.setenv('FCN_AHEAD', '5')
    reader = Prefetcher('voc', 'val', root)
    assert (reader.workers, reader.ahead) == (3, 5)
    reader = Prefetcher('voc', 'val', root, workers=0, ahead=2)
    assert (reader.workers, reader.ahead) == (0, 2)
    for value in ('many', '-1', '65', '1.5'):
        monkeypatch.setenv('FCN_WORKERS', value)
        with pytest.raises(BadInput, match=f"FCN_WORKERS is '{value}'; give a number from 0 to 64"):
            Prefetcher('voc', 'val', root)
    with pytest.raises(BadInput, match='ahead is 0; give a number from 1'):
        Prefetcher('voc', 'val', root, workers=0, ahead=0)
    with pytest.raises(BadInput, match='no split nosuch'):
        Prefetcher('voc', 'nosuch', root)


# The bench.

class Slow:
    """Stands for a reader: a sample takes 30 ms, but has been read when 50 ms have passed since it was expected."""

    def __init__(self, root):
        self.dataset, self.ahead, self.ready, self.told = open_dataset('voc', 'val', root), 2, 0, []

    def take(self, ids):
        if time.perf_counter() < self.ready:
            time.sleep(0.03)
        return [self.dataset.load(id) for id in ids]

    def expect(self, ids):
        self.told.append(list(ids))
        self.ready = time.perf_counter() + 0.05


def test_the_wait_is_the_time_until_the_sample_is_there(root):
    reader = Slow(root)
    ids = reader.dataset.ids[:4]
    waits, size = bench.consume(reader, ids)
    assert (waits[1:] >= 0.03).all() and waits.sum() < 0.5
    assert size == sum(array.nbytes for id in ids for array in reader.dataset.load(id))
    assert reader.told == [ids[1:3], ids[2:4], ids[3:], []]
    assert np.median(bench.consume(reader, ids, pause=0.06)[0][1:]) < 0.03


def test_the_bench_prints_figures(root, capsys, monkeypatch):
    pauses = []
    monkeypatch.setattr(bench.time, 'sleep', pauses.append)
    assert main(['bench', root, '--images', '6', '--rate', '100', '--workers', '1', '--ahead', '3', '--json']) == 0
    figures = json.loads(capsys.readouterr().out)
    assert pauses == [0] * 12 + [0.01] * 6
    assert {key: figures[key] for key in ('dataset', 'split', 'samples', 'images', 'workers', 'ahead')} == {
        'dataset': 'voc', 'split': 'train', 'samples': 7, 'images': 6, 'workers': 1, 'ahead': 3}
    drawn = [open_dataset('voc', 'train', root).load(f'2007_{draw(0, n, 7):06}') for n in range(6)]
    assert figures['megabytes'] == pytest.approx(np.mean([13e-6 * sample[1].size for sample in drawn]))
    assert min(figures['in_process'], figures['fed'], figures['start']) > 0
    assert 0 < figures['wait']['median'] <= figures['wait']['p95'] <= figures['wait']['max']
    assert main(['bench', 'voc', '--root', root, '--images', '3', '--rate', '100', '--workers', '0']) == 0
    assert 'images/s' in capsys.readouterr().out
    with pytest.raises(BadInput, match='--images 1 --rate 20: measure at least 2'):
        main(['bench', root, '--images', '1'])
