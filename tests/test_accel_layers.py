"""Accelerated layers against Caffe's own, which are the oracle, in every shape our nets use and those at the edges."""
import os
import platform
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='needs pycaffe: make setup')
import accel  # noqa: E402
from tests.helpers.single_layers import (  # noqa: E402
    CASES,
    CONV,
    DECONV,
    POOL,
    differ,
    make,
    net_of,
    pass_through,
    same,
)

pytestmark = [pytest.mark.caffe,
              pytest.mark.skipif(not accel.status().startswith('accelerated'), reason=accel.status())]

@pytest.mark.parametrize('name', CASES)
def test_layer_is_caffes(name):
    layer, shapes = CASES[name]
    ours = make(layer, shapes)
    with accel.off():
        theirs = make(layer, shapes)
    same(pass_through(ours), pass_through(theirs))


@pytest.mark.parametrize('name', ['winograd odd', 'fc6', 'first layer', 'deconvolution', 'pool odd', 'softmax',
                                  'pool overlap', 'average pad', 'batch norm', 'scale', 'lrn', 'swish'])
def test_sizes_may_change(name):
    """A net that has seen other sizes gives what a fresh one gives, byte for byte."""
    layer, shapes = CASES[name]
    net, fresh = make(layer, shapes), make(layer, shapes)
    for size in ((31, 18), (12, 45)):
        net.blobs['x0'].reshape(1, shapes[0][1], *size)
        pass_through(net)
    net.blobs['x0'].reshape(*shapes[0])
    for (key, ours), theirs in zip(pass_through(net).items(), pass_through(fresh).values(), strict=True):
        assert np.array_equal(ours, theirs), key


@pytest.mark.parametrize('name', ['winograd odd', 'winograd deep', 'first layer', 'fc6', 'deconvolution'])
def test_repeats_byte_for_byte(name):
    layer, shapes = CASES[name]
    first, second = (pass_through(make(layer, shapes)) for _ in range(2))
    for key, value in first.items():
        assert np.array_equal(value, second[key]), key


def test_convolution_by_hand():
    """Neither Caffe nor we: a sum over a window in numpy, in double precision."""
    net = make(CONV % 'num_output: 18 kernel_size: 3 pad: 1', [(1, 16, 10, 11)])
    found = pass_through(net)
    x, (w, b) = net.blobs['x0'].data, (param.data for param in net.params['layer'])
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x[0], ((0, 0), (1, 1), (1, 1))), (3, 3), axis=(1, 2))
    y = np.einsum('cyxrs,ocrs->oyx', windows.astype(np.float64), w.astype(np.float64)) + b[:, None, None]
    assert differ(found['y0'][0], y) < 3e-6
    dy = net.blobs['y0'].diff[0].astype(np.float64)
    assert differ(found['dw0'], 1 + np.einsum('cyxrs,oyx->ocrs', windows, dy)) < 3e-6
    assert differ(found['dw1'], 1 + dy.sum(axis=(1, 2))) < 3e-6


@pytest.mark.parametrize('kernel, stride, pad', [(4, 2, 0), (16, 8, 0), (63, 32, 0), (3, 2, 1)])
def test_bilinear_upsampling(kernel, stride, pad):
    """Dense weights with kernels on the diagonal only take the quick way; one number off it takes the other."""
    layer = DECONV % f'num_output: 3 kernel_size: {kernel} stride: {stride} pad: {pad} bias_term: false'
    layer = layer.replace('convolution_param', 'param { lr_mult: 0 } convolution_param')
    ours = make(layer, [(2, 3, 6, 5)])
    with accel.off():
        theirs = make(layer, [(2, 3, 6, 5)])
    weights = ours.params['layer'][0].data
    diagonal = np.zeros_like(weights)
    diagonal[range(3), range(3)] = weights[range(3), range(3)]
    for off_diagonal in (0, 0.5):
        diagonal[2, 0, -1, -1] = off_diagonal
        for net in (ours, theirs):
            net.params['layer'][0].data[...] = diagonal
        same(pass_through(ours), pass_through(theirs))


@pytest.mark.parametrize('phase', ['TRAIN', 'TEST'])
@pytest.mark.parametrize('name', ['pool', 'pool odd', 'pool long', 'pool long, down', 'pool overlap', 'pool pad',
                                  'pool stride 1', 'pool oblong', 'pool apart', 'pool down', 'pool all'])
def test_pooling_ties_and_nan(name, phase):
    """Caffe's rules: the first of equal maxima takes the gradient; NaN is never a maximum."""
    layer, shapes = CASES[name]
    ours = make(layer, shapes, phase)
    with accel.off():
        theirs = make(layer, shapes, phase)
    rng = np.random.default_rng(1)
    x = rng.integers(0, 2, shapes[0]).astype(np.float32)
    odd = (np.indices(x.shape)[2:] % 2).any(axis=0)
    odd[..., -1], odd[..., -1, :] = False, False
    x[(rng.random(x.shape) < 0.2) & odd] = np.nan   # never a whole window: there Caffe writes its gradient before the
    # beginning of the blob
    results = []
    for net in (ours, theirs):
        net.blobs['x0'].data[...] = x
        net.forward()
        net.blobs['y0'].diff[...] = np.arange(net.blobs['y0'].count).reshape(net.blobs['y0'].shape)
        net.backward()
        results.append((net.blobs['y0'].data.copy(), net.blobs['x0'].diff.copy()))
    for a, b in zip(*results, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize('phase', ['TRAIN', 'TEST'])
@pytest.mark.parametrize('name', ['pool odd', 'pool long', 'pool overlap'])
def test_pooling_of_nothing_but_nan(name, phase):
    layer, shapes = CASES[name]
    net = make(layer, shapes, phase)
    net.blobs['x0'].data[...] = np.nan
    net.forward()
    net.blobs['y0'].diff[...] = 1
    net.backward()
    assert (net.blobs['y0'].data == -np.finfo(np.float32).max).all() and not net.blobs['x0'].diff.any()


def test_relu_lets_nan_through():
    net = make('type: "ReLU"', [(1, 1, 1, 4)])
    net.blobs['x0'].data[...] = [[[[np.nan, -1, 0, 2]]]]
    net.forward()
    assert np.array_equal(net.blobs['y0'].data.ravel(), [np.nan, 0, 0, 2], equal_nan=True)


@pytest.mark.parametrize('name', ['relu', 'leaky relu', 'leaky relu per channel', 'clip', 'sigmoid', 'swish', 'maximum',
                                  'maximum of three', 'power -1', 'batch norm', 'average stride 1'])
def test_numbers_that_are_not(name):
    """NaN and infinity pass as in Caffe, and go nowhere else."""
    layer, shapes = CASES[name]
    results = []
    ours = make(layer, shapes)
    with accel.off():
        theirs = make(layer, shapes)
    for net in (ours, theirs):
        rng = np.random.default_rng(2)
        for i in range(len(shapes)):
            x = net.blobs[f'x{i}'].data
            x[...] = rng.standard_normal(x.shape)
            x[0, 1, 0, :2] = np.nan, -np.inf
            x[-1, 0, -1, -1] = np.inf
        net.forward()
        results.append(net.blobs['y0'].data.copy())
    assert np.array_equal(np.isnan(results[0]), np.isnan(results[1]))
    assert np.allclose(*results, rtol=1e-4, atol=1e-5, equal_nan=True)


NORM = 'type: "BatchNorm"'
ONES = 'type: "Scale" scale_param { bias_term: true filler { value: 0.7 } bias_filler { value: 0.2 } }'


@pytest.mark.parametrize('layers', [
    [NORM, ONES, 'type: "ReLU"'],
    [NORM, ONES, 'type: "PReLU"', NORM],
    [NORM + ' batch_norm_param { use_global_stats: true }', ONES, 'type: "Clip" clip_param { min: 0 max: 1 }'],
    ['type: "PReLU" prelu_param { channel_shared: true }', 'type: "Sigmoid"'],
    [ONES, 'type: "Swish"', 'type: "Dropout"'],
    ['type: "Bias" bias_param { filler { value: 2 } }', 'type: "Sigmoid"', NORM],
    ['type: "Scale" scale_param { axis: 0 num_axes: -1 filler { type: "gaussian" std: 1 } }', NORM],
], ids=lambda layers: ' '.join(layer.split('"')[1] for layer in layers))
@pytest.mark.parametrize('phase', ['TRAIN', 'TEST'])
def test_in_place(layers, phase):
    """Layers that write where they read, behind a convolution: what each keeps for its gradient is its own."""
    if phase == 'TEST':
        layers = [layer.replace('type: "Dropout"', 'type: "ReLU"') for layer in layers]
    text = 'force_backward: true layer { name: "x0" type: "Input" top: "x0" input_param { shape { dim: 3 dim: 4 dim: ' \
           '13 dim: 17 } } } layer { name: "y0" bottom: "x0" top: "y0" '
    text += CONV % 'num_output: 9 kernel_size: 3 bias_term: false' + ' }'
    text += ' '.join(f'layer {{ name: "l{i}" bottom: "y0" top: "y0" {layer} }}' for i, layer in enumerate(layers))
    results = []
    for context in (nullcontext(), accel.off()):
        with context:
            caffe.set_random_seed(3)
            net = net_of(text, phase)
        for i, layer in enumerate(layers):
            if 'BatchNorm' in layer:
                for param, value in zip(net.params[f'l{i}'], (0.5, 3, 1.5), strict=True):
                    param.data[...] = value
        found = {}
        for turn in range(2):   # the second with the first one's averages
            for params in net.params.values():
                for param in params:
                    param.diff[...] = 0.1
            found |= {f'{key} {turn}': value for key, value in pass_through(net, turn).items()}
            found |= {f'{name} {i} {turn} {kind}': getattr(param, kind).copy() for name, params in net.params.items()
                      for i, param in enumerate(params) for kind in ('data', 'diff')}
        results.append(found)
    same(*results)


def test_gradients_of_split_blobs_are_added():
    text = 'force_backward: true layer { name: "x0" type: "Input" top: "x0" input_param { shape { dim: 2 dim: 4 dim: ' \
           '13 dim: 17 } } } layer { name: "r" bottom: "x0" top: "r" type: "ReLU" }'
    text += ' '.join(f'layer {{ name: "y{i}" bottom: "r" top: "y{i}" {layer} }}' for i, layer in enumerate(
        ('type: "Power" power_param { power: 2 shift: 1 }', 'type: "Sigmoid"', POOL % 'kernel_size: 3 pad: 1', NORM,
         'type: "Slice" slice_param { slice_point: 1 } top: "y8"')))
    ours = net_of(text)
    with accel.off():
        theirs = net_of(text)
    same(pass_through(ours), pass_through(theirs))


@pytest.mark.parametrize('options', ['slice_point: 1 slice_point: 4', '', 'axis: 3', 'axis: 0 slice_point: 1'])
def test_slice(options):
    tops = 2 if 'axis: 0' in options else 3
    text = 'force_backward: true layer { name: "x0" type: "Input" top: "x0" input_param { shape { dim: 4 dim: 6 dim: ' \
           '33 dim: 51 } } } layer { name: "s" bottom: "x0" type: "Slice" slice_param { ' + options + ' } ' + \
           ' '.join(f'top: "y{i}"' for i in range(tops)) + ' }'
    ours = net_of(text)
    with accel.off():
        theirs = net_of(text)
    same(pass_through(ours), pass_through(theirs), 1e-12)


def test_dropout_draws_caffes_numbers():
    """And leaves the generator where Caffe leaves it."""
    layer, shapes = CASES['dropout']
    ours = make(layer, shapes)
    with accel.off():
        theirs = make(layer, shapes)
    found = []
    for net in (ours, theirs):
        net.blobs['x0'].data[...] = 1
        caffe.set_random_seed(11)
        net.forward()
        first = net.blobs['y0'].data.copy()
        net.forward()
        found.append([first, net.blobs['y0'].data.copy()])
    assert np.array_equal(*found) and (found[0][0] != found[0][1]).any()
    assert set(np.unique(found[0])) == {0, np.float32(1 / 0.7)}
    inference = make(layer, shapes, 'TEST')
    assert all(not name.startswith('y') or np.array_equal(value, inference.blobs['x0'].data)
               for name, value in pass_through(inference).items())


def test_batch_norm_by_hand():
    """Neither Caffe nor we: numpy in double precision, numbers far from zero."""
    layer, shapes = CASES['batch norm']
    net = make(layer, shapes)
    x = np.random.default_rng(4).standard_normal(shapes[0]) * [[[[0.1]], [[1]], [[30]], [[1]], [[1]]]] + 20
    net.blobs['x0'].data[...] = x
    dy = np.random.default_rng(5).standard_normal(x.shape)
    net.forward()
    net.blobs['y0'].diff[...] = dy
    net.backward()
    x = net.blobs['x0'].data.astype(np.float64)
    mean, variance = x.mean(axis=(0, 2, 3), keepdims=True), x.var(axis=(0, 2, 3), keepdims=True)
    y = (x - mean) / np.sqrt(variance + 1e-5)
    dx = (dy - dy.mean(axis=(0, 2, 3), keepdims=True) - y * (dy * y).mean(axis=(0, 2, 3), keepdims=True)
          ) / np.sqrt(variance + 1e-5)
    count = x.size / 5
    assert differ(net.blobs['y0'].data, y) < 1e-6 * 20 / 0.1 and differ(net.blobs['x0'].diff, dx) < 1e-5
    assert differ(net.params['layer'][0].data, mean.ravel()) < 1e-6
    assert differ(net.params['layer'][1].data, variance.ravel() * count / (count - 1)) < 1e-5
    assert net.params['layer'][2].data == 1


@pytest.mark.parametrize('options', ['', 'loss_param { ignore_label: 255 normalize: false }',
                                     'loss_param { ignore_label: 255 normalize: true }',
                                     'loss_param { normalization: FULL } loss_weight: 0.3',
                                     'loss_param { normalization: NONE }'])
def test_softmax_loss(options):
    rng = np.random.default_rng(3)
    scores, label = rng.standard_normal((2, 5, 9, 11)) * 30, rng.integers(0, 5, (2, 1, 9, 11))
    if '255' in options:
        label[rng.random(label.shape) < 0.3] = 255
    found = []
    for context in (None, accel.off()):
        if context:
            context.__enter__()
        net = make(f'type: "SoftmaxWithLoss" propagate_down: true propagate_down: false {options}',
                   [scores.shape, label.shape])
        if context:
            context.__exit__(None, None, None)
        net.blobs['x0'].data[...], net.blobs['x1'].data[...] = scores, label
        net.forward()
        net.backward()
        found.append({'loss': net.blobs['y0'].data.copy(), 'gradient': net.blobs['x0'].diff.copy()})
    same(*found)


def test_wrong_label_stops():
    """Caffe would read and write out of bounds."""
    code = ('import accel, sys; from tests.helpers.single_layers import make\n'
            'net = make(\'type: "SoftmaxWithLoss"\'.replace("force", ""), [(1, 5, 2, 2), (1, 1, 2, 2)])\n'
            'net.blobs["x1"].data[...] = 7\nnet.forward()\n')
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.returncode != 0 and 'label 7 of 5' in result.stderr


def test_frozen_parameters_cost_nothing():
    """lr_mult 0: the gradients of the parameters stay as they are."""
    layer = 'param { lr_mult: 0 } param { lr_mult: 0 } ' + CONV % 'num_output: 16 kernel_size: 3 pad: 1'
    text = ('layer { name: "x0" type: "Input" top: "x0" input_param { shape { dim: 1 dim: 16 dim: 6 dim: 6 } } }\n'
            f'layer {{ name: "layer" bottom: "x0" top: "y0" {layer} }}\n'
            'layer { name: "y1" bottom: "y0" top: "y1" type: "InnerProduct" inner_product_param { num_output: 1 } '
            'loss_weight: 1 }')
    net = net_of(text)
    net.forward()
    net.backward()
    assert not any(param.diff.any() for param in net.params['layer'])


def test_gradient_numerically():
    """The gradient of a net of two convolutions and a ReLU is what small steps of its input give."""
    text = '''force_backward: true
    layer { name: "x0" type: "Input" top: "x0" input_param { shape { dim: 1 dim: 16 dim: 7 dim: 6 } } }
    layer { name: "a" type: "Convolution" bottom: "x0" top: "a" convolution_param { num_output: 16 kernel_size: 3 pad: 1
            weight_filler { type: "gaussian" std: 0.2 } } }
    layer { name: "r" type: "ReLU" bottom: "a" top: "a" relu_param { negative_slope: 0.5 } }
    layer { name: "b" type: "Convolution" bottom: "a" top: "b" convolution_param { num_output: 17 kernel_size: 3
            weight_filler { type: "gaussian" std: 0.2 } } }'''
    caffe.set_random_seed(1)
    net = net_of(text)
    rng = np.random.default_rng(5)
    x, step = (rng.standard_normal(net.blobs['x0'].shape) for _ in range(2))
    weight = rng.standard_normal(net.blobs['b'].shape)

    def value(at):
        net.blobs['x0'].data[...] = at
        net.forward()
        return float((net.blobs['b'].data.astype(np.float64) * weight).sum())

    h = 3e-3    # smaller, and rounding decides; larger, and too many numbers change sign before the ReLU
    slope = (value(x + h * step) - value(x - h * step)) / (2 * h)
    value(x)
    net.blobs['b'].diff[...] = weight
    net.backward()
    assert slope == pytest.approx(float((net.blobs['x0'].diff * step).sum()), rel=2e-3)


@pytest.mark.parametrize('environment, expected', [({'FCN_ACCEL': '0'}, 'FCN_ACCEL=0'),
                                                   ({'FCN_ACCEL_ISA': 'avx2'}, 'AVX2, '),
                                                   ({'FCN_ACCEL_ISA': 'sse4'}, 'SSE4.2, '),
                                                   ({'OMP_NUM_THREADS': '1'}, '1 thread)')])
def test_environment(environment, expected):
    result = subprocess.run([sys.executable, '-c', 'import accel; print(accel.status())'], capture_output=True,
                            text=True, check=True, env={**os.environ, **environment})
    assert expected in result.stdout


@pytest.mark.skipif('FCN_ACCEL_ISA' in os.environ, reason='is that run')
@pytest.mark.skipif(platform.machine() != 'x86_64', reason='ARM has one instruction set')
@pytest.mark.parametrize('isa', ['avx2', 'sse4'])
def test_on_lesser_cpus(isa):
    """The same tests on the kernels for CPUs without AVX-512, and without AVX2."""
    result = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', __file__, '-k',
                             'caffes or bilinear or ties or loss or place or numbers or slice or split or hand'],
                            capture_output=True, text=True,
                            env={**os.environ, 'FCN_ACCEL_ISA': isa})
    assert result.returncode == 0, result.stdout[-2000:]
