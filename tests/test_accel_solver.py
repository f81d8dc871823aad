"""The accelerated SGD against Caffe's: same numbers step by step, same snapshots."""
import contextlib

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='needs pycaffe: make setup')
import accel  # noqa: E402

pytestmark = [pytest.mark.caffe,
              pytest.mark.skipif(not accel.status().startswith('accelerated'), reason=accel.status())]

NET = '''
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 1 dim: 3 dim: 12 dim: 11 } shape { dim: 1 dim: 1 dim: 12 dim: 11 }
  data_filler { type: "gaussian" } data_filler { type: "constant" value: 2 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 decay_mult: 1 }
  param { lr_mult: 2 decay_mult: 0 } convolution_param { num_output: 32 kernel_size: 3 pad: 1
  weight_filler { type: "gaussian" std: 0.3 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "deep" type: "Convolution" bottom: "conv" top: "deep" convolution_param { num_output: 600 kernel_size: 3
  pad: 1 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "frozen" type: "Convolution" bottom: "deep" top: "frozen" param { lr_mult: 0 } param { lr_mult: 0 }
  convolution_param { num_output: 5 kernel_size: 1 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "frozen" bottom: "label" top: "loss" }
'''
BASE = 'train_net: "net.prototxt" base_lr: 0.1 display: 0 snapshot: 0 snapshot_prefix: "s" random_seed: 3 ' \
       'solver_mode: CPU '


@contextlib.contextmanager
def prototxts(folder, options):
    (folder / 'net.prototxt').write_text(NET)
    (folder / 'solver.prototxt').write_text(BASE + options)
    with contextlib.chdir(folder):
        yield


def make(ours=True):
    with contextlib.nullcontext() if ours else accel.off():
        return caffe.get_solver('solver.prototxt')


def numbers(solver):
    """Every parameter and the update that Caffe leaves in its gradient."""
    return {f'{name} {i} {kind}': getattr(param, kind).copy() for name, params in solver.net.params.items()
            for i, param in enumerate(params) for kind in ('data', 'diff')}


def assert_close(ours, theirs, tolerance):
    for name, value in ours.items():
        difference = np.linalg.norm(value - theirs[name]) / max(np.linalg.norm(theirs[name]), 1e-30)
        assert difference < tolerance, f'{name}: {difference}'


@pytest.mark.parametrize('options', [
    'lr_policy: "fixed"',
    'lr_policy: "fixed" momentum: 0.9 weight_decay: 0.05',
    'lr_policy: "step" stepsize: 2 gamma: 0.5 momentum: 0.99 weight_decay: 0.05 regularization_type: "L1"',
    'lr_policy: "poly" power: 0.9 max_iter: 10 momentum: 0.9 weight_decay: 0.05 iter_size: 3',
    'lr_policy: "multistep" stepvalue: 1 stepvalue: 3 gamma: 0.1 momentum: 0.9 clip_gradients: 0.01',
])
def test_update_is_caffes(tmp_path, options):
    """From equal parameters and gradients; what is left of a difference is the order of rounding."""
    with prototxts(tmp_path, options):
        ours, theirs = make(), make(ours=False)
        rng = np.random.default_rng(0)
        for _ in range(4):
            for name, params in theirs.net.params.items():
                for param, other in zip(ours.net.params[name], params, strict=True):
                    param.diff[...] = other.diff[...] = 0 if name == 'frozen' else rng.standard_normal(param.diff.shape)
            ours.apply_update()
            theirs.apply_update()
            assert ours.iter == theirs.iter
            assert_close(numbers(ours), numbers(theirs), 1e-6)


def test_training_is_caffes(tmp_path):
    """Whole steps, forward and backward included."""
    with prototxts(tmp_path, 'lr_policy: "fixed" momentum: 0.9 weight_decay: 0.05 iter_size: 2'):
        ours, theirs = make(), make(ours=False)
        caffe.set_random_seed(5)
        ours.step(3)
        caffe.set_random_seed(5)
        theirs.step(3)
        assert_close(numbers(ours), numbers(theirs), 1e-4)


@pytest.mark.parametrize('snapshot_format', ['BINARYPROTO', 'HDF5'])
@pytest.mark.parametrize('saved_by_us', [True, False])
def test_snapshots_are_caffes(tmp_path, snapshot_format, saved_by_us):
    """What one solver saves the other restores, history included."""
    suffix = '.h5' if snapshot_format == 'HDF5' else ''
    with prototxts(tmp_path, f'lr_policy: "fixed" momentum: 0.9 snapshot_format: {snapshot_format}'):
        saver, restorer = make(saved_by_us), make(not saved_by_us)
        saver.step(2)
        saver.snapshot()
        restorer.restore(f's_iter_2.solverstate{suffix}')
        assert restorer.iter == 2
        for solver in (saver, restorer):  # momentum alone
            solver.net.clear_param_diffs()
            solver.apply_update()
        assert_close(numbers(saver), numbers(restorer), 1e-6)


def test_training_repeats_byte_for_byte(tmp_path):
    with prototxts(tmp_path, 'lr_policy: "fixed" momentum: 0.9 weight_decay: 0.05'):
        results = []
        for _ in range(2):
            caffe.set_random_seed(11)
            solver = make()
            solver.step(2)
            results.append(numbers(solver))
        for name, value in results[0].items():
            assert np.array_equal(value, results[1][name]), name
