"""Quiet Caffe, no workers that read ahead, and no folder of the user's own."""
import ctypes
import os
import signal
import sys

os.environ.setdefault('GLOG_minloglevel', '2')
os.environ.setdefault('FCN_WORKERS', '0')    # many tests make nets
if 'PYTEST_XDIST_WORKER' in os.environ:     # tests that run beside each other share the cores
    os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1')

# Commands that the tests start hear signals, also where nohup or a script in the background started the tests.
for number, action in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, action)

import pytest  # noqa: E402

from tests.helpers import datasets, recipe  # noqa: E402

try:
    import accel  # noqa: F401 (the whole suite runs on the accelerated layers; FCN_ACCEL=0 runs it on Caffe's own)
except ImportError:
    pass    # no Caffe yet: what needs it is skipped


def pytest_addoption(parser):
    parser.addoption('--record-golden', action='store_true', help='accept the summaries of the nets as they are now')


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Each test has its own data, weights and runs."""
    for name in ('data', 'weights', 'runs'):
        monkeypatch.setenv(f'FCN_{name.upper()}', str(tmp_path / name))


@pytest.fixture(autouse=True)
def threads_of_layers(request):
    """Tests of accelerated layers share loops between two threads, but for the long ones, which others run beside."""
    of_layers = request.module.__name__.startswith('tests.test_accel') and not request.node.get_closest_marker('slow')
    if not of_layers or 'PYTEST_XDIST_WORKER' not in os.environ:
        yield
        return
    openmp = ctypes.CDLL('libgomp.so.1')
    openmp.omp_set_num_threads(2)
    yield
    openmp.omp_set_num_threads(1)


@pytest.fixture
def without_curves(monkeypatch):
    """No curves are drawn: they take longer than the steps of a tiny net; tests/test_solve.py looks at them."""
    from solvers import monitor
    monkeypatch.setattr(monitor, 'plot', lambda *_: None)


@pytest.fixture
def voc(tmp_path):
    """A folder with VOC 2011 and SBD as `data/`, three small images each."""
    datasets.write_voc(tmp_path / 'data/pascal/VOC2011', sizes=[(24, 32), (33, 20)])
    datasets.write_sbd(tmp_path / 'data/sbdd/dataset', sizes=[(24, 32), (33, 20)])
    return tmp_path


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder that stands for nets/, its nets to be loaded as the others are."""
    import nets
    folder = tmp_path / 'nets'
    folder.mkdir()
    monkeypatch.setattr(nets, 'FOLDER', folder)
    monkeypatch.setattr(nets, '__path__', [*nets.__path__, str(folder)])
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith('nets.'):
            del sys.modules[name]
            vars(nets).pop(name.split('.')[1], None)


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """Put a shell script in front of the program it is named after."""
    def script(name, text):
        recipe.write(tmp_path / 'bin' / name, f'#!/bin/sh\n{text}\n', 0o755)
        monkeypatch.setenv('PATH', f'{tmp_path / "bin"}:{os.environ["PATH"]}')
    return script
