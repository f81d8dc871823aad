"""What fully convolutional nets have besides classifiers' layers: transposed convolutions, resizing, crops."""
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')
pytest.importorskip('onnxruntime')

import nets  # noqa: E402
from cli import BadInput  # noqa: E402
from surgery import import_model, prepare, read_net, read_weights  # noqa: E402
from surgery.free_sizes import free_sizes  # noqa: E402
from surgery.onnx_export import onnx_model  # noqa: E402
from tests.helpers.narrow_nets import alive  # noqa: E402
from tests.test_surgery_import import Graph, imported, refused  # noqa: E402

pytestmark = pytest.mark.caffe
RNG = np.random.default_rng(0)


def transposed(g, channels, out, k=(3, 3), group=1, bias=True, **attributes):
    weights = RNG.normal(size=(channels, out // group, *k)).astype('f')
    g.add('ConvTranspose', weights, *([RNG.normal(size=out).astype('f')] if bias else []), group=group, **attributes)


@pytest.mark.parametrize('attributes', [
    {}, {'strides': [2, 2], 'pads': [1, 1, 1, 1]}, {'bias': False}, {'group': 2, 'strides': [3, 2]},
    {'strides': [2, 2], 'output_padding': [1, 1], 'pads': [1, 1, 1, 1]}, {'strides': [2, 3], 'pads': [0, 1, 1, 0]},
    {'strides': [3, 3], 'pads': [0, 2, 2, 1]}, {'dilations': [2, 1], 'pads': [1, 0, 1, 0]}, {'k': (2, 5)},
    {'strides': [2, 2], 'auto_pad': 'SAME_UPPER'}, {'strides': [2, 2], 'auto_pad': 'SAME_LOWER', 'k': (4, 4)},
    {'strides': [2, 2], 'output_shape': [14, 13]}, {'auto_pad': 'VALID'}])
def test_transposed_convolutions(tmp_path, attributes):
    g = Graph((1, 4, 7, 6))
    transposed(g, 4, 6, **attributes)
    _, net = imported(g.save(tmp_path / 'm.onnx'), tmp_path / 'out')
    assert net.layer[-1].type == 'Deconvolution'


LINEAR = [('linear', where) for where in ('half_pixel', 'pytorch_half_pixel', 'asymmetric')]


@pytest.mark.parametrize('factors', [(2, 2), (3, 1), (4, 5), (1, 1)])
@pytest.mark.parametrize('mode, where', [*LINEAR, ('nearest', 'asymmetric'), ('nearest', 'half_pixel')])
def test_enlarged_by_whole_factors(tmp_path, mode, where, factors):
    g = Graph((1, 3, 5, 6))
    g.conv(3, 4)
    g.add('Resize', '', np.array([1, 1, *factors], np.float32), mode=mode, coordinate_transformation_mode=where,
          nearest_mode='floor' if where == 'asymmetric' else 'round_prefer_floor')
    g.conv(4, 2, k=1)
    imported(g.save(tmp_path / 'm.onnx'), tmp_path / 'out')


def test_enlarged_to_sizes_with_the_corners_aligned(tmp_path):
    g = Graph((1, 3, 5, 6))
    g.conv(3, 4)
    g.add('Resize', '', '', np.array([1, 4, 7, 13]), mode='linear', coordinate_transformation_mode='align_corners')
    imported(g.save(tmp_path / 'm.onnx'), tmp_path / 'out')


def test_upsample_of_old_models(tmp_path):
    g = Graph((1, 3, 5, 6), opset=9)
    g.conv(3, 4)
    g.add('Upsample', np.array([1, 1, 2, 3], np.float32), mode='nearest')
    imported(g.save(tmp_path / 'm.onnx'), tmp_path / 'out')


@pytest.mark.parametrize('inputs, attributes, says', [
    (['', np.array([1, 1, 1.5, 2], np.float32)], {'mode': 'linear'}, 'not by a whole factor'),
    (['', np.array([1, 1, 2, 2], np.float32)], {'mode': 'cubic'}, 'mode cubic'),
    (['', np.array([1, 2, 2, 2], np.float32)], {'mode': 'linear'}, 'more than height and width'),
    (['', np.array([1, 1, 2, 2], np.float32)], {'nearest_mode': 'ceil'}, 'rounded by ceil'),
    (['', '', np.array([1, 3, 9, 9])], {'mode': 'linear', 'coordinate_transformation_mode': 'align_corners'},
     'not by a whole factor'),
    (['', np.array([1, 1, np.nan, 2], np.float32)], {}, 'scales'), (['', np.array([2, 2], np.float32)], {}, 'scales')])
def test_other_resizing_is_refused(tmp_path, inputs, attributes, says):
    g = Graph((1, 3, 4, 4))
    g.add('Resize', *inputs, **attributes)
    refused(g.save(tmp_path / 'm.onnx'), tmp_path / 'out', says)


def crop(g, bottom, like, axis, start):
    """As torch writes x[:, :, start:start + like.size(2)]."""
    shape = g.add('Shape', bottom=like)
    size = g.add('Gather', np.array(axis), bottom=shape, axis=0)
    end = g.add('Unsqueeze', np.array([0]), bottom=g.add('Add', np.array(start), bottom=size))
    return g.add('Slice', np.array([start]), end, np.array([axis]), bottom=bottom)


@pytest.mark.parametrize('order', [(2, 3), (3, 2), (2,), (3,)])
def test_crops_of_one_axis_after_the_other(tmp_path, order):
    g = Graph((1, 3, 9, 9))
    like = g.conv(3, 4, k=(3 if len(order) == 2 else 1))
    if len(order) == 1:         # a blob that is as wide, or as high
        like = g.add('MaxPool', kernel_shape=[3, 1] if order == (2,) else [1, 3], bottom='x')
    g.at = 'x'
    if len(order) == 2:
        transposed(g, 3, 4, strides=[2, 2])
    else:
        g.conv(3, 4, k=1)
    name = g.at
    for axis in order:
        name = crop(g, name, like, axis, {2: 1, 3: 2}[axis] if len(order) == 2 else 1)
    g.conv(4, 2, k=1)
    _, net = imported(g.save(tmp_path / 'm.onnx'), tmp_path / 'out')
    found = next(x for x in net.layer if x.type == 'Crop')
    assert list(found.crop_param.offset) == {2: [1, 2], 1: [1, 0] if order == (2,) else [1]}[len(order)]


def test_a_crop_that_ends_the_graph(tmp_path):
    g = Graph((1, 3, 9, 9))
    pooled = g.add('MaxPool', kernel_shape=[1, 3])
    g.at = 'x'
    crop(g, 'x', pooled, 3, 2)
    imported(g.save(tmp_path / 'm.onnx'), tmp_path / 'out')


@pytest.mark.parametrize('make, says', [
    (lambda g: g.add('Slice', np.array([1]), np.array([5]), np.array([2])), 'no other map says so'),
    (lambda g: (crop(g, 'x', g.add('MaxPool', kernel_shape=[3, 3]), 2, 1), g.conv(3, 2)), 'which has another width'),
    (lambda g: crop(g, crop(g, 'x', g.add('MaxPool', kernel_shape=[3, 1]), 2, 1), g.add(
        'MaxPool', kernel_shape=[1, 3], bottom='x'), 3, 0), 'two maps say')])
def test_crops_that_caffe_has_not(tmp_path, make, says):
    g = Graph((1, 3, 9, 9))
    make(g)
    refused(g.save(tmp_path / 'm.onnx'), tmp_path / 'out', says)


def test_two_inputs(tmp_path):
    g = Graph((1, 3, 9, 9))
    g.nodes.append(helper.make_node('Concat', ['x', 'depth'], ['both'], axis=1))
    g.at = 'both'
    g.conv(4, 2)
    path = g.save(tmp_path / 'm.onnx')
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info('depth', TensorProto.FLOAT, [1, 1, 9, 9]))
    onnx.save(model, path)
    _, net = imported(path, tmp_path / 'out')
    assert [x.name for x in net.layer if x.type == 'Input'] == ['data', 'depth']
    refused(path, tmp_path / 'other', 'it takes 2 images', input_range='imagenet')


# -------------------------------------------------------------------------------------------------------- round trip

SOME = ('nyud-fcn32s-color-hha', 'siftflow-fcn16s', 'voc-fcn8s-atonce')


@pytest.mark.parametrize('name', [pytest.param(name, marks=() if name in SOME else pytest.mark.slow)
                                  for name in nets.names()])
def test_every_net_there_and_back(tmp_path, name):
    """Exported, imported and run by Caffe again: the scores of the net that it was."""
    parameter, net = alive(name)
    found = prepare(parameter, {layer: [blob.data for blob in blobs] for layer, blobs in net.params.items()})
    sizes = free_sizes(found.net, found.shapes)
    onnx.save(onnx_model(found.net, found.weights, found.shapes, sizes, found.outputs), tmp_path / 'm.onnx')
    (tmp_path / 'back').mkdir()
    import_model(tmp_path / 'm.onnx', tmp_path / 'back', (97, 130), order='bgr')
    facts = json.loads((tmp_path / 'back/report.json').read_text())
    assert list(facts['outputs']) == found.outputs
    back = caffe.Net(str(tmp_path / 'back/deploy.prototxt'), caffe.TEST,
                     weights=str(tmp_path / 'back/weights.caffemodel'))
    blobs = dict(zip(sizes.inputs, [x.top[0] for x in read_net(tmp_path / 'back/deploy.prototxt').layer
                                    if x.type == 'Input'], strict=True))
    for name, blob in blobs.items():
        feed = RNG.uniform(-120, 130, back.blobs[blob].data.shape)
        net.blobs[name].reshape(*feed.shape)
        net.blobs[name].data[...] = back.blobs[blob].data[...] = feed
    net.forward(), back.forward()
    for output, blob in facts['outputs'].items():
        scores = net.blobs[output].data
        np.testing.assert_allclose(back.blobs[blob].data, scores, rtol=0, atol=1e-5 * np.abs(scores).max())
    assert read_weights(tmp_path / 'back/weights.caffemodel').keys() >= {'fc6', 'conv1_1'} & found.weights.keys()


def test_resizing_of_a_hostile_graph(tmp_path):
    """More numbers than the file could ask for."""
    g = Graph((1, 3, 4, 4))
    g.add('Resize', '', np.array([1, 1, 1e6, 1e6], np.float32), mode='linear')
    with pytest.raises(BadInput, match='cannot import node'):
        import_model(g.save(tmp_path / 'm.onnx'), tmp_path)
