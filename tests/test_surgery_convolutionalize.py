"""Classifiers of every kind made fully convolutional: Caffe runs old and new net, and the outputs must agree."""
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')
from google.protobuf import text_format  # noqa: E402

import cli  # noqa: E402
from cli import BadInput  # noqa: E402
from surgery import (  # noqa: E402
    Mismatch,
    convolutionalize,
    fill_bilinear,
    prepare,
    prove,
    read_net,
    read_weights,
    transplant,
    write_weights,
)
from surgery import __main__ as command  # noqa: E402
from surgery import write_prototxt as write  # noqa: E402
from surgery.convolutionalize import sizes  # noqa: E402
from surgery.coordinates import fields  # noqa: E402
from surgery.graph import prune  # noqa: E402
from surgery.layers import LAYER_TYPES  # noqa: E402
from surgery.shapes import infer  # noqa: E402
from tests.helpers.surgery_nets import DATA, LENET, WHOLE, caffenet, conv, ip, layer, pool, randomise, relu  # noqa: E402

pytestmark = pytest.mark.caffe
ROOT = Path(__file__).resolve().parent.parent

@pytest.fixture
def made(tmp_path):
    """Write a classifier's prototxt and random weights; their paths."""
    def make(text, name='net', seed=0):
        prototxt, weights = tmp_path / f'{name}.prototxt', tmp_path / f'{name}.caffemodel'
        prototxt.write_text(text)
        net = caffe.Net(str(prototxt), caffe.TEST)
        randomise(net, seed)
        net.save(str(weights))
        return prototxt, weights
    return make


def nets(classifier, dense, folder, weights):
    """Caffe's nets of both, the classifier with its own file."""
    write(folder / 'old.prototxt', classifier.net)
    write(folder / 'new.prototxt', dense.net)
    old = caffe.Net(str(folder / 'old.prototxt'), caffe.TEST, weights=str(weights))
    new = caffe.Net(str(folder / 'new.prototxt'), caffe.TEST)
    report = transplant(new, dense.weights)
    assert not report.coerced and not report.dropped
    return old, new


def run(net, image):
    for name in net.inputs:
        if net.blobs[name].data.shape != image.shape:
            net.blobs[name].reshape(*image.shape)
    for name in net.inputs:
        net.blobs[name].data[...] = image
    net.forward()
    return net


def check(prototxt, weights, folder, size=None, positions=0):
    """Equal at the classifier's size; and at `positions` further ones along each axis, for nets without padding."""
    classifier = prepare(read_net(prototxt), read_weights(weights), size)
    dense = convolutionalize(classifier)
    old, new = nets(classifier, dense, folder, weights)
    for a, b in ((old, classifier.shapes), (new, dense.shapes)):
        assert {k: v.data.shape for k, v in a.blobs.items() if k in b.blobs} == {
            k: v for k, v in b.blobs.items() if k in a.blobs}                    # shapes are Caffe's
    shape = next(iter(classifier.inputs.values()))
    random = np.random.default_rng(1)
    image = random.normal(size=shape).astype('f')
    run(old, image), run(new, image)
    for name, blob in dense.outputs.items():
        a, b = old.blobs[name].data, new.blobs[blob].data
        np.testing.assert_allclose(b.ravel(), a.ravel(), rtol=1e-4, atol=1e-5 * np.abs(a).max())
        assert a.size == 1 or a.std() > 0
    for name, blob in dense.outputs.items() if positions else ():
        y, x = dense.fields[blob]
        big = random.normal(size=(*shape[:2], shape[2] + positions * y.step, shape[3] + positions * x.step)).astype('f')
        whole = run(new, big).blobs[blob].data.copy()
        for i in range(positions + 1):
            for j in range(positions + 1):
                crop = big[:, :, i * y.step:i * y.step + shape[2], j * x.step:j * x.step + shape[3]]
                a = run(old, crop).blobs[name].data
                np.testing.assert_allclose(whole[:, :, i, j].ravel(), a.ravel(), rtol=1e-4, atol=1e-5 * np.abs(a).max())
    return classifier, dense


def test_lenet(made, tmp_path):
    _, dense = check(*made(LENET), tmp_path, positions=2)
    assert [c.layer for c in dense.changes] == ['ip1', 'ip2']
    assert dense.shapes.params[-4] == [(8, 6, 4, 4), (8,)]
    y, _ = dense.fields['prob']
    assert (y.stride, y.size, y.first) == (4, 28, 0)
    assert sizes(dense) == (4, [0, 1, 2, 3])


def test_inner_product_as_convolution_by_transplant_alone(made, tmp_path):
    """The classifier's scores at the one valid position, through `transplant`'s coercion."""
    prototxt, weights = made(LENET)
    text = prototxt.read_text().replace('type: "InnerProduct"', 'type: "Convolution"').replace(
        'inner_product_param { num_output: 8 }', 'convolution_param { num_output: 8 kernel_size: 4 }').replace(
        'inner_product_param { num_output: 5 }', 'convolution_param { num_output: 5 kernel_size: 1 }')
    (tmp_path / 'fcn.prototxt').write_text(text)
    old = caffe.Net(str(prototxt), caffe.TEST, weights=str(weights))
    new = caffe.Net(str(tmp_path / 'fcn.prototxt'), caffe.TEST)
    report = transplant(new, old)
    assert [(e.old, e.new) for e in report.coerced] == [((8, 96), (8, 6, 4, 4)), ((5, 8), (5, 8, 1, 1))]
    image = np.random.default_rng(0).normal(size=(1, 1, 28, 28))
    a, b = run(old, image).blobs['ip2'].data, run(new, image).blobs['ip2'].data
    assert b.shape == (1, 5, 1, 1)
    np.testing.assert_allclose(b[:, :, 0, 0], a, rtol=1e-5)
    again = read_weights(weights)
    np.testing.assert_array_equal(again['ip1'][0], old.params['ip1'][0].data)


def test_fill_bilinear_finds_deconvolutions_by_type(tmp_path):
    (tmp_path / 'net.prototxt').write_text(
        DATA % (2, 4, 4) + layer('up', 'Deconvolution', 'data', convolution_param={
            'num_output': 2, 'kernel_size': 4, 'stride': 2, 'bias_term': 'false'}) + layer(
            'up_each', 'Deconvolution', 'up', convolution_param={
                'num_output': 2, 'group': 2, 'kernel_size': 3, 'stride': 2, 'bias_term': 'false'})
        + conv('conv', 'up_each', num_output=2, kernel_size=4))
    net = caffe.Net(str(tmp_path / 'net.prototxt'), caffe.TEST)
    net.params['conv'][0].data[...] = 7
    assert fill_bilinear(net) == {'up': (2, 2, 4, 4), 'up_each': (2, 1, 3, 3)}
    assert (net.params['conv'][0].data == 7).all()
    ramp = np.stack([np.add.outer(np.arange(4.), np.arange(4.)), np.ones((4, 4))])[None]
    run(net, ramp)
    np.testing.assert_allclose(np.diff(net.blobs['up'].data[0, 0, 4], axis=0)[2:-2], 0.5, rtol=1e-5)


def test_not_square_and_one_channel(made, tmp_path):
    text = (DATA % (1, 30, 22) + conv('c', 'data', num_output=3, kernel_h=3, kernel_w=5, stride_h=2, stride_w=1)
            + pool('p', 'c', kernel_h=2, kernel_w=3, stride_h=2, stride_w=3) + ip('fc', 'p', 4) + ip('out', 'fc', 3))
    _, dense = check(*made(text), tmp_path, positions=2)
    assert dense.shapes.params[3][0] == (4, 3, 7, 6)
    assert dense.net.layer[3].convolution_param.kernel_h == 7


def test_transpose_axis_and_no_bias(made, tmp_path):
    text = (DATA % (2, 9, 9) + conv('c', 'data', num_output=3, kernel_size=3)
            + ip('fc', 'c', 4, transpose='true', axis=-3) + ip('out', 'fc', 3, bias_term='false', axis=-1,
                                                                transpose='true'))
    _, dense = check(*made(text), tmp_path, positions=2)
    assert [c.transposed for c in dense.changes] == [True, True]


def test_flatten_and_reshape_disappear(made, tmp_path):
    text = (DATA % (2, 9, 8) + conv('c', 'data', num_output=3, kernel_size=3) + layer('flat', 'Flatten', 'c')
            + relu('r', 'flat') + layer('drop', 'Dropout', 'flat', 'flat') + layer(
                'shape', 'Reshape', 'flat', reshape_param={'shape { dim': '0 dim: -1 dim: 1 dim: 1 }'})
            + conv('fc', 'shape', num_output=4, kernel_size=1) + layer('again', 'Flatten', 'fc')
            + ip('out', 'again', 3) + layer('prob', 'Softmax', 'out', softmax_param={'axis': -1}))
    _, dense = check(*made(text), tmp_path, positions=2)
    assert {x.type for x in dense.net.layer} == {'Input', 'Convolution', 'ReLU', 'Dropout', 'Softmax'}


def test_shared_parameters_several_heads_and_siamese_slices(made, tmp_path):
    name = 'param { name: "w" } param { name: "b" }'
    text = (DATA % (2, 9, 9) + layer('cut', 'Slice', 'data', ['one', 'two'], slice_param={'axis': 1, 'slice_point': 1})
            + layer('c1', 'Convolution', 'one', extra=name, convolution_param={'num_output': 3, 'kernel_size': 3})
            + layer('c2', 'Convolution', 'two', extra=name, convolution_param={'num_output': 3, 'kernel_size': 3})
            + ip('f1', 'c1', 4, extra='param { name: "fw" }') + ip('f2', 'c2', 4, extra='param { name: "fw" }')
            + layer('both', 'Concat', ['f1', 'f2']) + layer('sum', 'Eltwise', ['f1', 'f2']) + ip('out', 'both', 2))
    classifier, dense = check(*made(text), tmp_path, positions=1)
    assert set(dense.outputs) == {'sum', 'out'}
    np.testing.assert_array_equal(dense.weights['f1'][0], dense.weights['f2'][0])


def test_shared_by_only_one_copy_in_the_file(made, tmp_path):
    name = 'param { name: "w" } param { name: "b" }'
    prototxt, weights = made(DATA % (1, 5, 5) + ip('a', 'data', 25, extra=name) + ip('b', 'a', 25, extra=name))
    stored = read_weights(weights)
    del stored['b']
    classifier = prepare(read_net(prototxt), stored)
    assert not classifier.missing
    dense = convolutionalize(classifier)
    assert dense.weights['a'][0].shape == (25, 1, 5, 5) and dense.weights['b'][0].shape == (25, 25, 1, 1)
    assert dense.net.layer[2].param[0].share_mode == dense.net.layer[2].param[0].PERMISSIVE
    check(prototxt, weights, tmp_path)


def test_shared_by_copies_that_differ(made, tmp_path):
    """Caffe loads one after the other into the shared blob, in the file's order; `check` loads it in Caffe."""
    name = 'param { name: "w" }'
    prototxt, weights = made(DATA % (1, 4, 4) + ip('a', 'data', 3, extra=name) + ip('b', 'data', 3, extra=name))
    stored = read_weights(weights)
    for order in ('ab', 'ba'):
        write_weights(weights, {x: [stored[x][0] + (x == 'a'), stored[x][1]] for x in order})
        check(prototxt, weights, tmp_path)


def test_transposed_and_not_cannot_share(made):
    prototxt, weights = made(DATA % (1, 3, 3) + ip('a', 'data', 9, extra='param { name: "w" }')
                             + ip('b', 'a', 9, extra='param { name: "w" }', transpose='true'))
    with pytest.raises(BadInput, match="layer b .*shares 'w' with layer a"):
        convolutionalize(prepare(read_net(prototxt), read_weights(weights)))


@pytest.mark.parametrize('pooling', [
    {'pool': 'AVE', 'global_pooling': 'true'}, {'pool': 'MAX', 'global_pooling': 'true'},
    {'pool': 'AVE', 'kernel_size': 6, 'stride': 1}, {'pool': 'MAX', 'kernel_size': 6, 'stride': 6},
    {'pool': 'AVE', 'kernel_size': 8, 'stride': 4}, {'pool': 'MAX', 'kernel_size': 8, 'stride': 9, 'pad': 1}])
def test_pooling_over_the_whole_map(made, tmp_path, pooling):
    text = (DATA % (2, 14, 14) + conv('c', 'data', num_output=3, kernel_size=3, stride=2) + pool('p', 'c', **pooling)
            + ip('fc', 'p', 4))
    _, dense = check(*made(text), tmp_path, positions=2)
    p = dense.net.layer[2].pooling_param
    assert (p.kernel_size, p.stride, p.pad, p.global_pooling) == (6, 1, 0, False)


def test_layers_that_pass_a_map_through(made, tmp_path):
    text = (DATA % (3, 17, 17) + layer('power', 'Power', 'data', power_param={'scale': 0.5, 'shift': 0.1})
            + conv('c', 'power', num_output=4, kernel_size=3, group=1, bias_term='false')
            + layer('bn', 'BatchNorm', 'c', 'c') + layer('scale', 'Scale', 'c', 'c', scale_param={'bias_term': 'true'})
            + layer('prelu', 'PReLU', 'c', 'c') + layer('norm', 'LRN', 'c', lrn_param={'local_size': 3})
            + layer('twice', 'Split', 'norm', ['left', 'right']) + layer('elu', 'ELU', 'left')
            + layer('sig', 'Sigmoid', 'right') + layer('mix', 'Eltwise', ['elu', 'sig'],
                                                       eltwise_param={'operation': 'PROD'})
            + layer('cat', 'Concat', ['mix', 'sig'], concat_param={'concat_dim': 1})
            + conv('d', 'cat', num_output=4, kernel_size=3, dilation=2) + pool('p', 'd', kernel_size=3, stride=2)
            + ip('fc', 'p', 6) + layer('fbn', 'BatchNorm', 'fc') + layer('fs', 'Scale', 'fbn', scale_param={
                'num_axes': -1}) + layer('fb', 'Bias', 'fs') + layer('fp', 'PReLU', 'fb')
            + layer('parts', 'Slice', 'fp', ['u', 'v'], slice_param={'axis': -1})
            + layer('tan', 'TanH', 'u') + layer('best', 'ArgMax', 'v', argmax_param={'top_k': 2})
            + layer('prob', 'Softmax', 'tan'))
    _, dense = check(*made(text), tmp_path, positions=1)
    assert set(dense.outputs) == {'best', 'prob'}


def test_flattened_maps_join_and_are_cut_between_channels(made, tmp_path):
    text = (DATA % (1, 8, 8) + conv('a', 'data', num_output=2, kernel_size=3)
            + conv('b', 'data', num_output=3, kernel_size=3) + layer('fa', 'Flatten', 'a') + layer('fb', 'Flatten', 'b')
            + layer('ab', 'Concat', ['fa', 'fb']) + layer('cut', 'Slice', 'ab', ['l', 'r'], slice_param={
                'slice_point': 36}) + ip('ol', 'l', 2) + ip('or', 'r', 2))
    check(*made(text), tmp_path, positions=2)


TRAINING = '''name: "old"
layers { name: "data" type: DATA top: "data" top: "label" data_param { source: "nowhere" batch_size: 9 crop_size: 13 }
         include { phase: TRAIN } }
layers { name: "data" type: DATA top: "data" top: "label" data_param { source: "nowhere" batch_size: 5 crop_size: 13 }
         include { phase: TEST } }
layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
         weight_decay: 0 convolution_param { num_output: 4 kernel_size: 3 stride: 2 } }
layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" }
layers { name: "fc" type: INNER_PRODUCT bottom: "conv1" top: "fc" param: "w" blob_share_mode: PERMISSIVE
         inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.01 } } }
layers { name: "aux" type: INNER_PRODUCT bottom: "conv1" top: "aux" inner_product_param { num_output: 3 } }
layers { name: "drop" type: DROPOUT bottom: "fc" top: "fc" }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc" bottom: "label" }
layers { name: "aux_loss" type: SOFTMAX_LOSS bottom: "aux" bottom: "label" loss_weight: 0.3 include { phase: TRAIN } }
layers { name: "accuracy" type: ACCURACY bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
'''


def test_legacy_training_net(made, tmp_path):
    """V1 layers, a data layer, losses; Caffe's own reading of the same layers in a deploy net gives the weights."""
    body = TRAINING[TRAINING.index('layers { name: "conv1"'):TRAINING.index('layers { name: "loss"')]
    _, weights = made('input: "data" input_dim: 2 input_dim: 3 input_dim: 13 input_dim: 13\n' + body)
    (tmp_path / 'train.prototxt').write_text(TRAINING)
    classifier, dense = check(tmp_path / 'train.prototxt', weights, tmp_path, positions=1)
    assert classifier.inputs == {'data': (1, 3, 13, 13)} and set(classifier.outputs) == {'fc', 'aux'}
    assert {name for name, _ in classifier.removed} == {'data', 'loss', 'accuracy'}
    one = next(x for x in dense.net.layer if x.name == 'conv1')
    assert [(p.lr_mult, p.decay_mult) for p in one.param] == [(1, 1), (2, 0)]
    fc = next(x for x in dense.net.layer if x.name == 'fc')
    assert fc.param[0].name == 'w' and fc.convolution_param.weight_filler.type == 'gaussian'


def test_legacy_caffemodel(made, tmp_path):
    """A binary file of V1 layers, its blobs with four axes."""
    from caffe.proto import caffe_pb2
    prototxt, weights = made(LENET)
    old = caffe_pb2.NetParameter.FromString(weights.read_bytes())
    v1 = caffe_pb2.NetParameter(name='v1')
    for x in old.layer:
        if x.blobs:
            kind = 4 if x.type == 'Convolution' else 14
            made_layer = v1.layers.add(name=x.name, type=kind)
            for b in x.blobs:
                dims = [1] * (4 - len(b.shape.dim)) + list(b.shape.dim)
                made_layer.blobs.add(num=dims[0], channels=dims[1], height=dims[2], width=dims[3], data=b.data)
    (tmp_path / 'v1.caffemodel').write_bytes(v1.SerializeToString())
    check(prototxt, tmp_path / 'v1.caffemodel', tmp_path)


def test_headers_and_sizes(made, tmp_path):
    body = LENET[LENET.index('layer { name: "conv1"'):]
    for header in ('input: "data" input_dim: 10 input_dim: 1 input_dim: 28 input_dim: 28\n',
                   'input: "data" input_shape { dim: 64 dim: 1 dim: 28 dim: 28 }\n'):
        prototxt, weights = made(header + body)
        classifier, _ = check(prototxt, weights, tmp_path)
        assert classifier.inputs == {'data': (1, 1, 28, 28)}
    source = 'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "x" batch_size: 2 } }\n'
    (tmp_path / 'train.prototxt').write_text(source + body)
    with pytest.raises(BadInput, match='layer d: .*--size'):
        prepare(read_net(tmp_path / 'train.prototxt'), read_weights(weights))
    check(tmp_path / 'train.prototxt', weights, tmp_path, size=(28, 28))


def test_layers_in_only_one_of_the_files(made, tmp_path):
    prototxt, weights = made(LENET)
    stored = read_weights(weights)
    stored['elsewhere'] = stored.pop('ip2')
    classifier = prepare(read_net(prototxt), stored)
    dense = convolutionalize(classifier)
    assert [(e.target, e.new) for e in dense.report.untouched] == [('ip2', (5, 8, 1, 1)), ('ip2', (5,))]
    assert {e.source for e in dense.report.dropped} == {'elsewhere'} and 'ip2' not in dense.weights


@pytest.mark.parametrize('text, says', [
    (layer('x', 'MVN', 'data') + ip('fc', 'x', 2), 'layer x .MVN.*whole image'),
    (layer('x', 'Python', 'data', python_param={'module': '"os"', 'layer': '"x"'}) + ip('fc', 'x', 2),
     'code of its own'),
    (layer('x', 'SPP', 'data', spp_param={'pyramid_height': 2}) + ip('fc', 'x', 2), 'layer x .SPP'),
    (conv('c', 'data', num_output=2, kernel_size=3) + ip('fc', 'c', 4, axis=2), r'layer fc .*axis 2'),
    (conv('c', 'data', num_output=2, kernel_size=3) + layer('f', 'Flatten', 'c') + layer('bn', 'BatchNorm', 'f')
     + ip('fc', 'bn', 2), 'layer bn .*each of its positions'),
    (layer('f', 'Flatten', 'data') + layer('prob', 'Softmax', 'f'), 'layer prob .*more than the channels'),
    (pool('p', 'data', pool='AVE', global_pooling='true') + layer('f', 'Flatten', 'p') + layer(
        's', 'Scale', ['data', 'f'], scale_param={'axis': 0}) + ip('fc', 's', 2), 'layer s .*whole image'),
    (conv('c', 'data', num_output=2, kernel_size=3, stride=2, pad=1) + pool('p', 'data', kernel_size=6, stride=1)
     + layer('j', 'Concat', ['c', 'p']) + ip('fc', 'j', 2), 'layer j .*different strides, 2 and 1'),
    (layer('j', 'Concat', ['data', 'data'], concat_param={'axis': 2}) + ip('fc', 'j', 2), 'layer j .*axis 2'),
    (layer('bn', 'BatchNorm', 'data', batch_norm_param={'use_global_stats': 'false'}) + ip('fc', 'bn', 2),
     'of the batch'),
    (layer('r', 'Reduction', 'data', reduction_param={'axis': 1}), 'layer r .Reduction'),
    (pool('p', 'data', pool='AVE', kernel_size=12, stride=12, pad=2) + ip('fc', 'p', 2), 'layer p .*padding'),
])
def test_refusals_name_layer_and_reason(tmp_path, text, says):
    (tmp_path / 'net.prototxt').write_text(DATA % (3, 10, 10) + text)
    with pytest.raises(BadInput, match=says):
        convolutionalize(prepare(read_net(tmp_path / 'net.prototxt'), {}))


@pytest.mark.parametrize('text, says', [
    ('', 'a net without layers'), ('layer {', 'not a prototxt'), ('layer { nonsense: 3 }', 'nonsense'),
    (DATA % (3, 0, 10) + ip('fc', 'data', 2), 'size of an image'), (DATA % (3, 9, 9), 'no output'),
    (DATA % (3, 9, 9) + conv('c', 'data', num_output=2, kernel_size=11), 'layer c .*does not fit'),
    (DATA % (3, 9, 9) + conv('c', 'data', num_output=2), 'layer c .*kernel'),
    (DATA % (3, 9, 9) + conv('c', 'data', num_output=4, kernel_size=1, group=2), 'layer c .*2 groups'),
    (DATA % (3, 9, 9) + ip('fc', 'nowhere', 2), 'no output'), (DATA % (3, 9, 9) + ip('fc', 'data', 0), 'num_output'),
    (DATA % (3, 9, 9) + ip('a', 'data', 2) + ip('a', 'data', 2), 'second layer'),
    (DATA % (3, 9, 9) + conv('c', 'data', num_output=2, kernel_size=1, stride=0), 'impossible window'),
    (DATA % (3, 70000, 70000) + ip('a', 'data', 2), 'Caffe can count'),
    ('layers { name: "v0" layer { name: "x" } }', 'V0'),
])
def test_bad_prototxts_are_one_line_each(tmp_path, text, says):
    (tmp_path / 'net.prototxt').write_text(text)
    with pytest.raises(BadInput, match=says) as caught:
        prepare(read_net(tmp_path / 'net.prototxt'), {})
    assert '\n' not in str(caught.value)


def test_weights_of_another_net_are_refused(made):
    prototxt, weights = made(LENET)
    stored = read_weights(weights)
    with pytest.raises(BadInput, match='layer ip1: blob 0 is 8x96 in the net, 8x95'):
        prepare(read_net(prototxt), stored | {'ip1': [stored['ip1'][0][:, 1:], stored['ip1'][1]]})
    with pytest.raises(BadInput, match='layer ip1: the net has 2 parameters'):
        prepare(read_net(prototxt), stored | {'ip1': stored['ip1'][:1]})


# -------------------------------------------------------------------------------------------------- layer types

@pytest.mark.parametrize('name', LAYER_TYPES)
def test_every_layer_type_has_all_its_rules_or_a_reason(name):
    record = LAYER_TYPES[name]
    assert record.name == name
    rules = (record.coordinates, record.dense)
    assert all((record.shapes, *rules)) and not record.refused or not any(rules) and record.refused
    assert record.bottoms[0] <= record.bottoms[1]
    assert not (record.source and record.end)
    assert not record.elementwise or record.pixelwise
    if record.in_place or record.pixelwise or record.follows_scores or record.channels:
        assert record.shapes


def test_every_layer_type_of_caffe_is_known_or_refused_with_a_reason():
    assert set(caffe.layer_type_list()) <= set(LAYER_TYPES)


def test_a_type_with_shapes_but_no_coordinates_is_refused(made, monkeypatch):
    prototxt, weights = made(DATA % (1, 9, 9) + conv('c', 'data', num_output=2, kernel_size=3)
                             + layer('abs', 'AbsVal', 'c') + ip('fc', 'abs', 2))
    classifier = prepare(read_net(prototxt), read_weights(weights))
    monkeypatch.setitem(LAYER_TYPES, 'AbsVal', replace(LAYER_TYPES['AbsVal'], coordinates=None))
    assert infer(classifier.net)
    with pytest.raises(BadInput, match=r'layer abs \(AbsVal\): surgery does not know where'):
        convolutionalize(classifier)


def test_pruned_to_what_an_output_needs(tmp_path):
    (tmp_path / 'net.prototxt').write_text(LENET + ip('aux', 'pool1', 3))
    net = read_net(tmp_path / 'net.prototxt')
    assert [x.name for x in prune(net, 'aux').layer] == ['data', 'conv1', 'pool1', 'aux']
    assert [x.name for x in prune(net, 'prob').layer] == [x.name for x in net.layer][:-1]
    assert net.layer[-1].name == 'aux'


# -------------------------------------------------------------------------------------------- whole classifiers

@pytest.mark.parametrize('name', WHOLE)
def test_whole_classifiers(made, tmp_path, name):
    classifier, dense = check(*made(WHOLE[name]), tmp_path)
    y, x = dense.fields['prob']
    assert (y.stride, x.stride) == (32, 32)
    assert infer(dense.net, {'data': (1, 3, 224 + 96, 224 + 64)})
    if name == 'googlenet':
        assert dense.fields['aux'][0].stride == 48


def test_receptive_field_is_what_the_gradient_reaches(made, tmp_path):
    """Backpropagation from one position must touch its receptive field's edges and nothing outside."""
    text = 'force_backward: true\n' + caffenet(4).replace('"LRN"', '"Power"')
    prototxt, weights = made(text)
    classifier = prepare(read_net(prototxt), read_weights(weights))
    dense = convolutionalize(classifier)
    dense.net.force_backward = True
    _, new = nets(classifier, dense, tmp_path, weights)
    big = 227 + 32 * 12
    run(new, np.random.default_rng(0).normal(size=(1, 3, big, big)))
    for b in new.params.values():
        b[0].data[...] = np.abs(b[0].data)              # no cancellation, no ReLU at zero
    run(new, np.abs(np.random.default_rng(0).normal(size=(1, 3, big, big))))
    new.blobs['fc8'].diff[...] = 0
    new.blobs['fc8'].diff[0, :, 5, 6] = 1
    new.backward(start='fc8')
    reached = np.abs(new.blobs['data'].diff[0]).sum(0)
    y, x = fields(dense.net, dense.shapes)['fc8']
    rows, cols = np.flatnonzero(reached.sum(1)), np.flatnonzero(reached.sum(0))
    assert (rows[0], cols[0]) >= (y.first + 5 * y.stride, x.first + 6 * x.stride)
    assert (rows[-1], cols[-1]) <= (y.last + 5 * y.stride, x.last + 6 * x.stride)
    assert rows[-1] - rows[0] > 0.6 * y.size


# -------------------------------------------------------------------------------------------------- command line

def surgery(*args):
    return subprocess.run([sys.executable, '-m', 'surgery', *map(str, args)], cwd=ROOT, capture_output=True, text=True)


def test_command_proves_and_reports(made, tmp_path):
    from PIL import Image
    prototxt, weights = made(LENET)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8)).save(tmp_path / 'digit.png')
    out = tmp_path / 'deep' / 'out'
    done = surgery('convolutionalize', '--prototxt', prototxt, '--weights', weights, '--out', out, '--grid', 4,
                   '--image', tmp_path / 'digit.png', '--scale', 0.004)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in out.iterdir()) == ['deploy.prototxt', 'net.json', 'report.json', 'weights.caffemodel']
    assert json.loads((out / 'net.json').read_text()) == {'mean': [0.0], 'scale': 0.004, 'order': 'grey', 'multiple': 1,
                                                           'classes': []}
    facts = json.loads((out / 'report.json').read_text())
    for name in ('ip2', 'prob'):
        assert facts['proof']['classifier_size'][name]['max_relative'] < 1e-5
        assert len(facts['proof']['classifier_size'][name]['images']) == 3
        inside = facts['proof']['larger_size']['outputs'][name]['inside']
        assert inside['positions'] == 2 * 9 and inside['max_relative'] < 1e-5
    assert facts['outputs']['prob']['stride'] == [4, 4] and facts['outputs']['prob']['receptive_field'] == [28, 28]
    assert facts['proof']['timing']['crop_by_crop']['times_faster'] > 0
    net = caffe.Net(str(out / 'deploy.prototxt'), caffe.TEST, weights=str(out / 'weights.caffemodel'))
    assert net.blobs['prob'].data.shape == (1, 5, 1, 1)
    assert 'LRN' not in done.stdout and '10' in done.stdout


def test_command_writes_nothing_when_it_refuses(made, tmp_path):
    prototxt, weights = made(LENET)
    bad = tmp_path / 'bad.prototxt'
    bad.write_text(prototxt.read_text().replace('"Softmax"', '"MVN"'))
    done = surgery('convolutionalize', '--prototxt', bad, '--weights', weights, '--out', tmp_path / 'out')
    assert done.returncode == 2 and done.stderr.count('\n') == 1 and 'layer prob (MVN)' in done.stderr
    assert not (tmp_path / 'out').exists() and not list(tmp_path.glob('.out*'))


def test_command_writes_nothing_when_the_nets_differ(made, tmp_path, monkeypatch, capsys):
    def differ(*args, **options):
        raise Mismatch('output prob: differs')
    prototxt, weights = made(LENET)
    monkeypatch.setattr(command, 'prove', differ)
    assert command.main(['convolutionalize', '--cpu', '--prototxt', str(prototxt), '--weights', str(weights),
                         '--out', str(tmp_path / 'out')]) == 1
    assert capsys.readouterr().err == f'{prototxt}: output prob: differs; nothing was written\n'
    assert not (tmp_path / 'out').exists() and not list(tmp_path.glob('.out*'))


@pytest.mark.parametrize('text', [LENET, LENET.replace('kernel_size: 5', 'kernel_size: 5 pad: 2')])
def test_a_wrong_conversion_does_not_pass(made, tmp_path, text):
    """The proof finds a kernel whose numbers are in another order."""
    prototxt, weights = made(text)
    classifier = prepare(read_net(prototxt), read_weights(weights))
    dense = convolutionalize(classifier)
    dense.weights['ip1'][0] = dense.weights['ip1'][0].transpose(0, 1, 3, 2)
    write(tmp_path / 'old.prototxt', classifier.net)
    write(tmp_path / 'new.prototxt', dense.net)
    write_weights(tmp_path / 'new.caffemodel', dense.weights)
    with pytest.raises(Mismatch, match='output ip2: .* at the input size'):
        prove(classifier, dense, (tmp_path / 'old.prototxt', weights),
              (tmp_path / 'new.prototxt', tmp_path / 'new.caffemodel'), grid=0)


def test_caffe_in_a_child_cannot_end_us(made, tmp_path):
    prototxt, weights = made(LENET)
    classifier = prepare(read_net(prototxt), read_weights(weights))
    (tmp_path / 'broken.prototxt').write_text(prototxt.read_text().replace('kernel_size: 5', 'kernel_size: 50'))
    with pytest.raises(BadInput, match='Caffe refuses it'):
        prove(classifier, convolutionalize(classifier), (tmp_path / 'broken.prototxt', weights), (prototxt, weights))


def test_commands_on_weights(made, tmp_path):
    prototxt, weights = made(LENET)
    shown = surgery('show', weights)
    assert shown.returncode == 0 and 'ip1' in shown.stdout and '8x96' in shown.stdout
    more = tmp_path / 'more.caffemodel'
    assert surgery('expand', '--weights', weights, '--layer', 'ip2', '--classes', 9, '--out', more).returncode == 0
    grown, stored = read_weights(more), read_weights(weights)
    np.testing.assert_array_equal(grown['ip2'][0][:5], stored['ip2'][0])
    assert grown['ip2'][0].shape == (9, 8) and not grown['ip2'][0][5:].any() and grown['ip2'][1].shape == (9,)
    moved = tmp_path / 'moved.caffemodel'
    done = surgery('transplant', '--from', weights, '--to', more, '--map', 'ip2=nowhere', '--out', moved)
    assert done.returncode == 2 and "no layer 'nowhere'" in done.stderr and not moved.exists()
    done = surgery('transplant', '--from', weights, '--to', more, '--out', moved)
    assert done.returncode == 2 and 'layer ip2: blob 0 is 9x8' in done.stderr


@pytest.mark.slow
def test_efficiency_of_caffenet(tmp_path):
    """The papers' claim, on this machine: a 10x10 grid at over five times the speed of crop by crop."""
    from nets.alexnet import classifier
    (tmp_path / 'net.prototxt').write_text(str(classifier()))
    random = np.random.default_rng(0)
    shapes = infer(read_net(tmp_path / 'net.prototxt'))
    names = [x.name for x in read_net(tmp_path / 'net.prototxt').layer]
    write_weights(tmp_path / 'w', {name: [random.standard_normal(s, dtype='f') / np.float32(np.sqrt(np.prod(s[1:])))
                                          for s in p] for name, p in zip(names, shapes.params, strict=True) if p})
    done = surgery('convolutionalize', '--prototxt', tmp_path / 'net.prototxt', '--weights', tmp_path / 'w',
                   '--out', tmp_path / 'out')
    assert done.returncode == 0, done.stderr
    proof = json.loads((tmp_path / 'out/report.json').read_text())['proof']
    assert proof['timing']['grid'] == [10, 10] and proof['timing']['crop_by_crop']['times_faster'] >= 5
    assert all(m['max_relative'] < 1e-5 for m in proof['classifier_size'].values())


def test_cudnn_is_not_insisted_on(made, tmp_path):
    prototxt, weights = made(LENET)
    prototxt.write_text(prototxt.read_text().replace('kernel_size: 5', 'kernel_size: 5 engine: CUDNN'))
    check(prototxt, weights, tmp_path)


def test_prototxt_text_is_caffes_own(made):
    """What surgery writes, Caffe's parser and surgery's read alike."""
    from caffe.proto import caffe_pb2
    prototxt, weights = made(WHOLE['googlenet'])
    dense = convolutionalize(prepare(read_net(prototxt), read_weights(weights)))
    text = text_format.MessageToString(dense.net)
    assert text_format.Parse(text, caffe_pb2.NetParameter()) == dense.net


def test_a_layer_without_a_name(made, tmp_path, capsys):
    prototxt, weights = made(DATA % (1, 5, 5) + ip('a', 'data', 3) + ip('b', 'a', 3))
    prototxt.write_text(prototxt.read_text().replace('name: "a"', 'name: ""', 1))
    assert cli.run(command.main, ['convolutionalize', '--prototxt', str(prototxt), '--weights', str(weights), '--out',
                                  str(tmp_path / 'out'), '--cpu', '--grid', '0']) == 0
    assert 'missing (in the net only, left to its fillers): (no name)' in capsys.readouterr().out
