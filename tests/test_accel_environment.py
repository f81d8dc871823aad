"""What is wrong in the environment of the layers for cuDNN is told in one line where a GPU is chosen, not on import."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

caffe = pytest.importorskip('caffe', reason='needs pycaffe: make setup')
import cli  # noqa: E402
from accel import cudnn, device  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
WRONG = {'FCN_TF32': 'yes', 'FCN_CUDNN_WORKSPACE_MB': '1.5'}
pytestmark = [pytest.mark.caffe, pytest.mark.parametrize('name', WRONG)]


class Runtime:
    """A CUDA runtime with a card that is free."""

    def cudaSetDevice(self, number):    # noqa: N802
        return 0

    def cudaFree(self, pointer):    # noqa: N802
        return 0


def call(name, *arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, 'FCN_ACCEL': '1', name: WRONG[name]})


def test_import_goes_on_and_the_status_tells(name):
    result = call(name, '-c', 'import accel; print(accel.cudnn.status()); print(accel.status())')
    assert result.returncode == 0 and not result.stderr
    said, layers = result.stdout.splitlines()
    assert said.startswith(f"Caffe's own convolutions ({name}={WRONG[name]}: ") and said.endswith(')')
    assert 'FCN_' not in layers     # those for the CPU don't depend on it


def test_enabling_again_does_not_raise(name, monkeypatch):
    monkeypatch.setattr(cudnn, '_layers', None)
    monkeypatch.setattr(cudnn, '_status', cudnn.status())
    monkeypatch.setenv(name, WRONG[name])
    assert not cudnn.enable() and name in cudnn.status()


def test_a_gpu_is_refused(name, monkeypatch):
    monkeypatch.setattr(device, '_cuda', Runtime)
    monkeypatch.setattr(device, '_number', None)
    monkeypatch.setattr(caffe, 'set_device', lambda number: pytest.fail('Caffe was asked for the card'))
    monkeypatch.setenv(name, WRONG[name])
    with pytest.raises(cli.BadInput, match=f'^{name}={WRONG[name]}: '):
        device.use(0)


def test_a_command_on_a_gpu_ends_with_one_line_and_2(name):
    """With a card and a build for it pretended, as no machine needs to have them."""
    result = call(name, '-c', 'import sys; from accel import device; from nets import infer; import cli\n'
                  'from tests.test_accel_environment import Runtime\n'
                  'device._cuda, device.pick = Runtime, lambda *_: (0, "")\n'
                  'sys.exit(cli.run(lambda argv: print(device.choose())))')
    assert result.returncode == 2 and not result.stdout
    assert result.stderr.startswith(f'error: {name}={WRONG[name]}: ') and result.stderr.count('\n') == 1


@pytest.mark.parametrize('module', ['accel.device', 'solvers.device'])
def test_the_report_of_the_device_does_not_depend_on_it(name, module):
    result = call(name, '-m', module)
    assert result.returncode == 0 and not result.stderr
    assert result.stdout == f'has CUDA: {"yes" if device.has_cuda() else "no"}, cards: {device.cards()}\n'
