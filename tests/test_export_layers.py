"""Every layer type as ONNX, in many forms and at many sizes: Caffe says what onnxruntime must give."""
import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')
pytest.importorskip('onnxruntime')

from cli import BadInput  # noqa: E402
from surgery.layers import LAYER_TYPES  # noqa: E402
from surgery.onnx_export import OPERATORS  # noqa: E402
from tests.helpers.exported import Exported  # noqa: E402
from tests.helpers.surgery_nets import DATA, conv, ip, layer, pool  # noqa: E402

pytestmark = pytest.mark.caffe
IMAGE = DATA % (3, 11, 13)
SIZES = [{}, {'height': 1}, {'width': 1}, {'height': 2, 'width': 3}, {'height': 7, 'width': 4, 'batch': 1}]


def blobs(*shapes):
    """Inputs x0, x1, ... of given shapes."""
    return ''.join(f'layer {{ name: "x{i}" type: "Input" top: "x{i}" input_param {{ shape {{ '
                   f'{" ".join(f"dim: {d}" for d in shape)} }} }} }}\n' for i, shape in enumerate(shapes))


def check(text, sizes=SIZES, free=('batch', 'height', 'width'), fill=None):
    """Caffe and onnxruntime agree at all sizes, which are free; the outputs are not all the same number."""
    net = Exported(text, fill=fill)
    assert {name for name, is_free in net.sizes.free.items() if is_free} == set(free)
    found = [net.agree(**{name: n for name, n in more.items() if name in free}) for more in sizes]
    assert any(np.ptp(blob) > 0 for outputs in found for blob in outputs)


# --------------------------------------------------------------------------------------------------------- windows

@pytest.mark.parametrize('params', [
    dict(kernel_size=3), dict(kernel_size=3, pad=1, stride=2), dict(kernel_size=1, bias_term='false'),
    dict(kernel_size=3, pad=2, dilation=2), dict(kernel_h=2, kernel_w=5, stride_h=3, stride_w=1, pad_h=0, pad_w=4),
    dict(kernel_size=3, stride=3, pad=5), dict(kernel_size=3, group=3), dict(kernel_size=2, stride=3, pad=1),
])
@pytest.mark.parametrize('kind', ['Convolution', 'Deconvolution'])
def test_convolutions(kind, params):
    check(IMAGE + layer('c', kind, 'data', convolution_param=dict(num_output=6, **params)))


def test_deconvolutions_that_upsample():
    check(IMAGE + conv('c', 'data', num_output=4, kernel_size=3) + layer('up', 'Deconvolution', 'c', convolution_param={
        'num_output': 4, 'kernel_size': 4, 'stride': 2, 'bias_term': 'false'}) + layer(
        'planes', 'Deconvolution', 'c', convolution_param={
            'num_output': 4, 'kernel_size': 5, 'stride': 3, 'pad': 1, 'group': 4}))


def test_a_kernel_for_each_axis():
    check(IMAGE + 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 2 '
          'kernel_size: 3 kernel_size: 2 stride: 1 stride: 2 pad: 0 pad: 1 dilation: 1 dilation: 2 } }')


def test_one_convolution_of_several_blobs():
    check(blobs((1, 3, 9, 9), (1, 3, 9, 9)) + layer('c', 'Convolution', ['x0', 'x1'], ['y0', 'y1'], convolution_param={
        'num_output': 2, 'kernel_size': 3}))


WINDOWS = [(k, s, p) for k in (1, 2, 3, 4, 5) for s in (1, 2, 3, 4) for p in range(k)]


@pytest.mark.parametrize('method', ['MAX', 'AVE'])
@pytest.mark.parametrize('rounds', ['CEIL', 'FLOOR'])
@pytest.mark.parametrize('kernel', [1, 2, 3, 4, 5])
def test_poolings_at_every_size(kernel, rounds, method):
    """Sizes around the window, where the last one may begin in the padding, be cut off, or lie beyond the map."""
    for k, s, p in WINDOWS:
        if k != kernel:
            continue
        low = max(1, k - 2 * p, k - s + 1 if rounds == 'CEIL' else k)
        net = Exported(DATA % (2, 12, 12) + pool('p', 'data', pool=method, kernel_size=k, stride=s, pad=p,
                                                round_mode=rounds))
        assert all(net.sizes.free.values())
        for height in range(low, 15):
            net.agree(height=height - 12, width=(height * 5) % 7 + low - 12, batch=height % 2)


@pytest.mark.parametrize('params', [
    dict(kernel_h=2, kernel_w=3, stride_h=2, stride_w=1), dict(kernel_h=3, kernel_w=2, stride=2, pad_h=1, pad_w=0),
    dict(kernel_h=2, kernel_w=4, stride_h=3, stride_w=2, pad_h=1, pad_w=2), dict(kernel_size=3, stride_h=4, stride_w=1),
    dict(kernel_h=1, kernel_w=2, stride=2, pad_h=0, pad_w=1)])
@pytest.mark.parametrize('method', ['MAX', 'AVE'])
def test_rectangular_poolings(params, method):
    net = Exported(DATA % (2, 9, 9) + pool('p', 'data', pool=method, **params))
    for height in range(-4, 5):
        for width in range(-4, 5):
            net.agree(height=height, width=width)


@pytest.mark.parametrize('method', ['MAX', 'AVE'])
def test_global_pooling(method):
    check(IMAGE + pool('p', 'data', pool=method, global_pooling='true'))


@pytest.mark.parametrize('params', [dict(kernel_size=2, stride=2), dict(kernel_size=3, stride=2, pad=1),
                                    dict(kernel_size=3, stride=1)])
def test_where_the_maxima_are(params):
    check(IMAGE + layer('p', 'Pooling', 'data', ['p', 'where'], pooling_param=params)
          + layer('w', 'Power', 'where', power_param={'scale': 0.5}))


@pytest.mark.parametrize('method', ['MAX', 'AVE'])
@pytest.mark.parametrize('levels', [1, 2, 3])
@pytest.mark.parametrize('size', [(8, 8), (9, 11), (13, 10)])
def test_pyramids_bind_the_size(size, levels, method):
    check(DATA % (3, *size) + conv('c', 'data', num_output=3, kernel_size=1) + layer(
        'spp', 'SPP', 'c', spp_param={'pyramid_height': levels, 'pool': method}), [{}, {'batch': 2}], ['batch'])


def test_stochastic_pooling_is_refused():
    with pytest.raises(BadInput, match=r'layer p .Pooling.: stochastic pooling, which Caffe itself'):
        Exported(IMAGE + pool('p', 'data', pool='STOCHASTIC', kernel_size=2))


# ---------------------------------------------------------------------------------------------------- elementwise

@pytest.mark.parametrize('kind, params', [
    ('ReLU', {}), ('ReLU', {'negative_slope': 0.1}), ('ELU', {}), ('ELU', {'alpha': 0.3}),
    ('Clip', {'min': -1, 'max': 0.5}), ('AbsVal', {}), ('Sigmoid', {}), ('TanH', {}),
    ('BNLL', {}), ('Threshold', {}), ('Threshold', {'threshold': 0.7}), ('Swish', {}), ('Swish', {'beta': 2.0}),
    ('Exp', {}), ('Exp', {'base': 2.0, 'scale': 0.5, 'shift': 1.5}), ('Exp', {'scale': -0.5, 'shift': 0.25}),
    ('Exp', {'base': 0.5}), ('Power', {}), ('Power', {'scale': -2.0, 'shift': 3.0}), ('Power', {'power': 2.0}),
    ('Power', {'power': 3.0, 'scale': 0.5, 'shift': -1.0}), ('Dropout', {}),
])
def test_functions_of_one_number(kind, params):
    message = {'AbsVal': 'power_param', 'BNLL': 'power_param', 'Sigmoid': 'sigmoid_param', 'TanH': 'tanh_param'}.get(
        kind, f'{kind.lower()}_param')
    check(IMAGE + conv('c', 'data', num_output=3, kernel_size=1) + layer('f', kind, 'c', **{message: params}))


@pytest.mark.parametrize('kind, params', [
    ('Log', {}), ('Log', {'base': 10.0, 'scale': 2.0, 'shift': 1.0}), ('Power', {'power': 0.5}),
    ('Power', {'power': -1.0, 'shift': 0.1}), ('Power', {'power': 1.7, 'scale': 2.0})])
def test_functions_of_positive_numbers(kind, params):
    check(IMAGE + layer('abs', 'AbsVal', 'data') + layer('more', 'Power', 'abs', power_param={'shift': 0.01})
          + layer('f', kind, 'more', **{f'{kind.lower()}_param': params}))


@pytest.mark.parametrize('params', [{'scale': 0.0, 'shift': 2.0}, {'power': 0.0}, {'scale': 0, 'shift': -8, 'power': 3},
                                    {'scale': 0, 'shift': 0, 'power': -1}, {'scale': 0, 'shift': -2, 'power': 0.5}])
def test_powers_that_are_constant(params):
    net = Exported(IMAGE + layer('f', 'Power', 'data', power_param=params))
    for more in SIZES:
        feed = net.feed(**more)
        feed['data'][..., :2] = np.inf, np.nan
        net.agree(feed)


def test_a_clip_of_nothing():
    net = Exported(IMAGE + layer('f', 'Clip', 'data', clip_param={'min': 2, 'max': 1}))
    assert set(net.agree()[0].flat) == {2}


def test_in_place_and_names():
    """The blob's last value has its name; an input that is overwritten keeps its own."""
    net = Exported(IMAGE + layer('r', 'ReLU', 'data', 'data') + conv('c', 'data', num_output=2, kernel_size=3)
                   + layer('e', 'ELU', 'c', 'c') + layer('s', 'Power', 'c', 'c', power_param={'scale': 2.0})
                   + layer('d', 'Dropout', 'c', 'c'))
    net.agree()
    assert [x.name for x in net.model.graph.input] == ['data'] and [x.name for x in net.model.graph.output] == ['c']


def test_outputs_that_are_the_same_value():
    check(IMAGE + conv('c', 'data', num_output=2, kernel_size=3) + layer('s', 'Split', 'c', ['a', 'b']))
    check(IMAGE + layer('d', 'Dropout', 'data', 'out'))
    check(IMAGE + layer('r', 'ReLU', 'data', 'data') + layer('d', 'Dropout', 'data', 'out'))


def test_names_that_others_would_get(tmp_path):
    """Blobs called as nodes and constants would be."""
    text = IMAGE + conv('c', 'data', 'c.weight', num_output=2, kernel_size=3)
    text += layer('a', 'Swish', 'c.weight', 'a/Mul:0') + layer('b', 'Swish', 'a/Mul:0', 'c.weight_2')
    check(text + layer('a/Mul', 'Sigmoid', 'c.weight_2', 'Sigmoid'))


# --------------------------------------------------------------------------------------------------------- channels

@pytest.mark.parametrize('params', [{}, {'eps': 0.01}, {'use_global_stats': 'false'}, {'use_global_stats': 'true'}])
@pytest.mark.parametrize('shape', [(2, 3, 5, 6), (2, 5), (2, 3, 4)])
def test_batch_norm(shape, params):
    net = Exported(blobs(shape) + layer('bn', 'BatchNorm', 'x0', batch_norm_param=params))
    for more in ({}, {'batch': 2}, {'height': 2} if len(shape) > 2 else {}):
        net.agree(**more)


def test_batch_norm_of_an_empty_average():
    def fill(net, seed):
        for blob in net.params['bn']:
            blob.data[...] = 0
    check(IMAGE + layer('bn', 'BatchNorm', 'data'), fill=fill)


@pytest.mark.parametrize('params', [{}, {'bias_term': 'true'}, {'axis': 1, 'bias_term': 'true'}, {'num_axes': 0},
                                    {'axis': -3, 'bias_term': 'true'}, {'num_axes': 0, 'bias_term': 'true'}])
def test_scale(params):
    check(IMAGE + layer('s', 'Scale', 'data', scale_param=params))


@pytest.mark.parametrize('params, free', [
    ({'axis': 1, 'num_axes': -1, 'bias_term': 'true'}, ['batch']), ({'axis': 2, 'num_axes': 1}, ['batch', 'width']),
    ({'axis': 0, 'num_axes': 2}, ['height', 'width']), ({'axis': -1, 'num_axes': 1}, ['batch', 'height']),
    ({'axis': 0, 'num_axes': -1}, [])])
def test_scales_that_bind_sizes(params, free):
    check(IMAGE + layer('s', 'Scale', 'data', scale_param=params), [{}], free)
    bias = {key: value for key, value in params.items() if key != 'bias_term'}
    check(IMAGE + layer('s', 'Bias', 'data', bias_param=bias), [{}], free)


@pytest.mark.parametrize('kind', ['Scale', 'Bias'])
@pytest.mark.parametrize('second, axis', [((2, 3, 5, 6), 0), ((2, 3), 0), ((3, 5, 6), 1), ((3,), 1), ((5, 6), 2),
                                          ((3, 5), -3), ((2,), 0), ((1, 6), 2)])
def test_scale_and_bias_by_another_blob(second, axis, kind):
    first = (2, 3, 1 if second == (1, 6) else 5, 6)
    net = Exported(blobs(first, second) + layer('s', kind, ['x0', 'x1'], **{f'{kind.lower()}_param': {'axis': axis}}))
    net.agree()


def test_gates_computed_of_the_image():
    check(IMAGE + conv('c', 'data', num_output=4, kernel_size=3) + pool('p', 'c', pool='AVE', global_pooling='true')
          + layer('f', 'Flatten', 'p') + ip('fc', 'f', 4) + layer('g', 'Sigmoid', 'fc')
          + layer('s', 'Scale', ['c', 'g'], scale_param={'axis': 0}))


@pytest.mark.parametrize('shared', ['true', 'false'])
@pytest.mark.parametrize('shape', [(2, 3, 5, 6), (2, 5), (2, 3, 4)])
def test_prelu(shape, shared):
    Exported(blobs(shape) + layer('p', 'PReLU', 'x0', prelu_param={'channel_shared': shared})).agree(batch=1)


@pytest.mark.parametrize('params', [{}, {'across_channels': 'true'}, {'normalize_variance': 'false'},
                                    {'eps': 0.1, 'across_channels': 'true'}])
def test_mvn(params):
    check(IMAGE + layer('m', 'MVN', 'data', mvn_param=params))


def test_mvn_of_fewer_axes():
    Exported(blobs((2, 5)) + layer('m', 'MVN', 'x0', mvn_param={'across_channels': 'true'})).agree(batch=1)


@pytest.mark.parametrize('params', [{}, {'local_size': 3, 'alpha': 0.5, 'beta': 0.6, 'k': 2},
                                    {'local_size': 7, 'alpha': 2.0}, {'local_size': 1}])
@pytest.mark.parametrize('region', ['ACROSS_CHANNELS', 'WITHIN_CHANNEL'])
def test_lrn(region, params):
    check(DATA % (6, 9, 8) + layer('n', 'LRN', 'data', lrn_param={'norm_region': region, **params}))


@pytest.mark.parametrize('axis', [0, 1, 2, 3, -1, -3])
def test_softmax(axis):
    check(IMAGE + layer('p', 'Softmax', 'data', softmax_param={'axis': axis}), [{'batch': 1}, *SIZES[1:]])


@pytest.mark.parametrize('params', [{'axis': 1}, {'axis': -1}, {'axis': 2, 'out_max_val': 'true'}, {},
                                    {'out_max_val': 'true'}, {'top_k': 2}, {'top_k': 3, 'out_max_val': 'true'},
                                    {'axis': 1, 'top_k': 2}, {'axis': 1, 'top_k': 3, 'out_max_val': 'true'},
                                    {'axis': 3, 'top_k': 2}])
def test_argmax(params):
    check(IMAGE + layer('a', 'ArgMax', 'data', argmax_param=params))
    net = Exported(DATA % (5, 3, 4) + layer('a', 'ArgMax', 'data', argmax_param=params))      # ties: the later one
    net.agree({'data': np.random.default_rng(0).integers(0, 2, (1, 5, 3, 4)).astype('f')})


def test_argmax_of_two_axes():
    Exported(blobs((2, 6)) + layer('a', 'ArgMax', 'x0')).agree(batch=1)
    Exported(blobs((2, 6)) + layer('a', 'ArgMax', 'x0', argmax_param={
        'top_k': 2, 'out_max_val': 'true'})).agree(batch=1)


# ------------------------------------------------------------------------------------------------------------ shapes

@pytest.mark.parametrize('params', [{}, {'transpose': 'true'}, {'bias_term': 'false'}])
@pytest.mark.parametrize('axis, free', [(1, ['batch']), (2, ['batch']), (3, ['batch', 'height']),
                                        (-1, ['batch', 'height']), (0, [])])
def test_inner_products(axis, free, params):
    check(IMAGE + ip('fc', 'data', 4, axis=axis, **params), [{}, {'batch': 2, 'height': 2}], free)


def test_inner_product_after_another():
    check(blobs((2, 6)) + ip('a', 'x0', 4) + ip('b', 'a', 3, transpose='true'), [{}, {'batch': 2}], ['batch'])
    check(IMAGE + pool('p', 'data', pool='AVE', global_pooling='true') + ip('fc', 'p', 3))


def test_shared_parameters_are_stored_once():
    share = ' param { name: "w" } param { name: "b" }'
    text = IMAGE + layer('a', 'Convolution', 'data', extra=share, convolution_param={'num_output': 3, 'kernel_size': 3})
    net = Exported(text + layer('b', 'Convolution', 'a', extra=share, convolution_param={
        'num_output': 3, 'kernel_size': 3}))
    net.agree()
    assert len([c for c in net.model.graph.initializer if len(c.dims) == 4]) == 1


@pytest.mark.parametrize('text, free', [
    (layer('r', 'Flatten', 'data'), 'bhw'), (layer('r', 'Flatten', 'data', flatten_param={'axis': 2}), 'bhw'),
    (layer('r', 'Flatten', 'data', flatten_param={'axis': 0}), 'bhw'),
    (layer('r', 'Flatten', 'data', flatten_param={'axis': 0, 'end_axis': 1}), 'bhw'),
    (layer('r', 'Flatten', 'data', flatten_param={'axis': -3, 'end_axis': -2}), 'bhw'),
    ('reshape_param { shape { dim: 0 dim: -1 } }', 'bhw'),
    ('reshape_param { shape { dim: 0 dim: 0 dim: -1 } }', 'bhw'),
    ('reshape_param { shape { dim: 0 dim: 3 dim: -1 dim: 0 } }', 'bhw'),
    ('reshape_param { shape { dim: 0 dim: -1 dim: 1 dim: 1 } }', 'bhw'),
    ('reshape_param { shape { dim: 0 dim: 1 dim: 3 dim: -1 } }', 'bhw'),
    ('reshape_param { shape { dim: 1 } axis: 1 num_axes: 0 }', 'bhw'),
    ('reshape_param { shape { dim: -1 } axis: 1 num_axes: 2 }', 'bhw'),
    ('reshape_param { shape { dim: 1 dim: 3 } axis: 1 num_axes: 1 }', 'bhw'),
    ('reshape_param { shape { dim: -1 dim: 1 } axis: -3 }', 'bhw'),
    ('reshape_param { shape { dim: 0 dim: 0 dim: 143 } }', 'b'),
    ('reshape_param { shape { dim: 1 dim: -1 } }', 'bhw'),
])
def test_reshaping(text, free):
    text = text if text.startswith('layer') else layer('r', 'Reshape', 'data', extra=text)
    check(IMAGE + text, [{'batch': 1} if 'b' in free else {}, *SIZES[1:]],
          [name for name in ('batch', 'height', 'width') if name[0] in free])


@pytest.mark.parametrize('operation', ['SUM', 'ASUM', 'SUMSQ', 'MEAN'])
@pytest.mark.parametrize('axis', [0, 1, 2, -1])
def test_reductions(axis, operation):
    for coeff in (1, 0.3):
        net = Exported(IMAGE + layer('r', 'Reduction', 'data', reduction_param={
            'axis': axis, 'operation': operation, 'coeff': coeff}))
        for more in SIZES:
            net.agree(**more)


@pytest.mark.parametrize('axis', [0, 1, 2, -1])
def test_tile(axis):
    check(IMAGE + layer('t', 'Tile', 'data', tile_param={'axis': axis, 'tiles': 3}))


@pytest.mark.parametrize('bias', ['true', 'false'])
def test_embed(bias):
    net = Exported(DATA % (1, 4, 5) + layer('e', 'Embed', 'data', embed_param={
        'num_output': 3, 'input_dim': 7, 'bias_term': bias}))
    for more in SIZES:
        net.agree({name: np.abs(value * 3).clip(0, 6.9) for name, value in net.feed(**more).items()})


# --------------------------------------------------------------------------------------------------------- combining

@pytest.mark.parametrize('params', [{}, {'axis': 1}, {'axis': -1}, {'axis': 2}, {'concat_dim': 0}])
def test_concat(params):
    check(IMAGE + conv('c', 'data', num_output=3, kernel_size=3, pad=1) + layer(
        'j', 'Concat', ['data', 'c', 'data'], concat_param=params))


@pytest.mark.parametrize('text, free', [
    ('slice_param { slice_point: 1 slice_point: 2 }', 'bhw'), ('', 'bhw'), ('slice_param { slice_dim: 1 }', 'bhw'),
    ('slice_param { axis: 2 slice_point: 3 slice_point: 4 }', 'bhw'), ('slice_param { axis: 3 }', 'bhw'),
    ('slice_param { axis: -1 slice_point: 2 slice_point: 9 }', 'bhw')])
def test_slice(text, free):
    net = Exported(DATA % (3, 9, 12) + layer('s', 'Slice', 'data', ['a', 'b', 'c'], extra=text))
    for more in [{}, {'width': 3}, {'height': 1, 'width': 6, 'batch': 1}]:
        net.agree(**more)
    Exported(IMAGE + layer('s', 'Slice', 'data', 'a') + layer('r', 'ReLU', 'a')).agree()


@pytest.mark.parametrize('text', ['', 'eltwise_param { coeff: 0.5 coeff: -2 coeff: 1 }',
                                  'eltwise_param { operation: PROD }', 'eltwise_param { operation: MAX }'])
def test_eltwise(text):
    check(IMAGE + conv('c', 'data', num_output=3, kernel_size=3, pad=1) + layer('a', 'AbsVal', 'data')
          + layer('e', 'Eltwise', ['data', 'c', 'a'], extra=text))


@pytest.mark.parametrize('params', ['', 'axis: 2 offset: 3 offset: 1', 'axis: 2 offset: 2', 'axis: 3 offset: 2',
                                    'axis: -2 offset: 0 offset: 4'])
def test_crop_follows_the_size_of_the_moment(params):
    text = IMAGE + layer('up', 'Deconvolution', 'data', convolution_param={
        'num_output': 2, 'kernel_size': 4, 'stride': 2})
    if params == 'axis: 3 offset: 2':
        text += conv('like', 'up', num_output=2, kernel_h=1, kernel_w=5)
    else:
        text += conv('like', 'data', num_output=2, kernel_size=3)
    check(text + layer('crop', 'Crop', ['up', 'like'], extra=f'crop_param {{ {params} }}'))


def test_crop_of_channels_and_batch():
    check(blobs((1, 5, 9, 9), (1, 2, 4, 5)) + layer(
        'c', 'Crop', ['x0', 'x1'], extra='crop_param { axis: 1 offset: 2 }'))
    Exported(blobs((3, 5, 9, 9), (2, 2, 4, 5)) + layer(
        'c', 'Crop', ['x0', 'x1'], extra='crop_param { axis: 0 offset: 1 offset: 2 offset: 3 offset: 4 }')).agree()


# ------------------------------------------------------------------------------------------------------------- types

def test_every_layer_type_is_exported_or_refused():
    refused = {name for name, record in LAYER_TYPES.items() if record.shapes is None or record.source}
    assert set(OPERATORS) | refused == set(LAYER_TYPES) and not set(OPERATORS) & refused
