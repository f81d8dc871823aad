"""The kit for a machine with a card, tried on the emulated one: no checkout, no network, nothing but an interpreter."""
import json
import os
import shutil
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path

import pytest

caffe = pytest.importorskip('caffe', reason='needs pycaffe: make setup')

from accel import build  # noqa: E402
from tests.helpers.gpu import why_not  # noqa: E402
from third_party.caffe import kit, wheel  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.gpu, pytest.mark.slow,
              pytest.mark.skipif(bool(why_not('stand-in')), reason=why_not('stand-in')),
              pytest.mark.skipif(not find_spec('auditwheel'), reason='no auditwheel: make wheel installs it')]
QUICK = ('--size', '32', '--runs', '1', '--jobs', '2', '--tests', 'relu or score or training_lowers or resumes')


@pytest.fixture(scope='module')
def unpacked(tmp_path_factory):
    """The kit of the emulated build, unpacked."""
    folder = tmp_path_factory.mktemp('kit')
    libraries = subprocess.run([sys.executable, '-m', 'accel', 'libraries'], capture_output=True, text=True, check=True)
    wheel.make([Path(line) for line in libraries.stdout.split()], folder / 'dist')
    with tarfile.open(kit.make(folder / 'dist', preset=0)) as tar:
        tar.extractall(folder, filter='data')
    shutil.rmtree(folder / 'dist')
    return folder / 'gpu-kit'


def packages(folder):
    """CUDA's libraries as its packages have them, here the emulated card's."""
    (folder / 'nvidia/cu13/lib').mkdir(parents=True)
    for file in Path(build.facts()['cuda']['libraries']['cudart']).resolve().parent.glob('*.so.*'):
        shutil.copy(file, folder / 'nvidia/cu13/lib')
    return folder / 'nvidia'


def run(kit, home, *options, **environment):
    apart = ['unshare', '--net'] if os.geteuid() == 0 else []
    python = Path(sys.base_prefix, 'bin', f'python{sys.version_info[0]}.{sys.version_info[1]}')
    return subprocess.run([*apart, str(python), str(kit / 'run.py'), *map(str, options)], cwd=home, text=True,
                          capture_output=True, env={'HOME': str(home), 'PATH': '/usr/bin:/bin', **environment})


def test_the_kit(unpacked, tmp_path):
    done = run(unpacked, tmp_path, '--cuda', packages(tmp_path), *QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    machine, tests, timings = (json.loads((unpacked / f'results/{name}.json').read_text())
                               for name in ('machine', 'tests', 'gpu'))
    assert machine['device'] == 'has CUDA: yes, cards: 1'
    passed = {test['name']: test['printed'] for test in tests if test['outcome'] == 'passed'}
    assert 'test_gpu::test_layer[caffe-relu]' in passed
    assert 'test_gpu_commands::test_a_run_resumes_to_the_same_bytes' in passed
    assert 'losses of 150 steps' in passed['test_gpu_commands::test_training_lowers_the_loss[0]']
    assert {(row['engine'], row['what']) for row in timings['rows']} >= {('caffe', 'forward'), ('caffe', 'step')}
    assert f'{len(passed)} tests passed' in (unpacked / 'results/summary.txt').read_text()
    done = run(unpacked, tmp_path, '--cuda', tmp_path / 'nvidia', FCN_EMULATED_CARDS='0')
    assert done.returncode == 1 and done.stderr == 'error: no card answers this build: has CUDA: yes, cards: 0\n'


def test_a_kit_for_another_python(unpacked, tmp_path):
    info = next(unpacked.glob('site/caffe-*.dist-info')) / 'WHEEL'
    text = info.read_text()
    info.write_text(text.replace(f'cp{sys.version_info[0]}{sys.version_info[1]}', 'cp39'))
    done = run(unpacked, tmp_path)
    info.write_text(text)
    assert done.returncode == 2 and 'this kit is for Python 3.9' in done.stderr
