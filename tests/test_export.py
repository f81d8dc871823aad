"""surgery export as a command: what it writes, what it refuses, and that it writes nothing unproved."""
import importlib.util
import json
import shutil

import numpy as np
import onnx
import onnxruntime
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import nets  # noqa: E402
from cli import BadInput, run  # noqa: E402
from surgery import __main__ as command  # noqa: E402
from surgery import bilinear_kernel, read_net, read_weights, write_prototxt, write_weights  # noqa: E402
from surgery.export import FORMATS, formats, named, open_net, source  # noqa: E402
from surgery.export.engines import ENGINES, compared  # noqa: E402
from surgery.export.proof import is_installed  # noqa: E402
from surgery.preparation import Preparation  # noqa: E402
from tests.helpers.narrow_nets import alive  # noqa: E402
from tests.helpers.surgery_nets import DATA, LENET, conv, ip, layer, pool, randomise, relu  # noqa: E402
from tests.helpers.whole_nets import compare  # noqa: E402

pytestmark = pytest.mark.caffe
# A net of a page with what fully convolutional ones have: pools that round up, a skip, an upsampling and crops.
FCN = (DATA % (3, 40, 44) + conv('conv1', 'data', num_output=6, kernel_size=3, pad=8) + relu('relu1', 'conv1')
       + pool('pool1', 'conv1', kernel_size=3, stride=2) + conv('conv2', 'pool1', num_output=8, kernel_size=3)
       + relu('relu2', 'conv2') + pool('pool2', 'conv2', pool='AVE', kernel_size=2, stride=2)
       + conv('score_fr', 'pool2', num_output=5, kernel_size=1) + conv('score1', 'pool1', num_output=5, kernel_size=1)
       + layer('up2', 'Deconvolution', 'score_fr', convolution_param={
           'num_output': 5, 'kernel_size': 4, 'stride': 2, 'bias_term': 'false'})
       + layer('crop1', 'Crop', ['up2', 'score1']) + layer('fuse', 'Eltwise', ['score1', 'crop1'])
       + layer('up', 'Deconvolution', 'fuse', convolution_param={
           'num_output': 5, 'kernel_size': 4, 'stride': 2, 'group': 5, 'bias_term': 'false'})
       + layer('score', 'Crop', ['up', 'data'], crop_param={'axis': 2, 'offset': 8}))


@pytest.fixture
def made(tmp_path):
    """Writes a prototxt and random weights for it."""
    def make(text, seed=0, name='net'):
        prototxt, weights = tmp_path / f'{name}.prototxt', tmp_path / f'{name}.caffemodel'
        prototxt.write_text(text)
        net = caffe.Net(str(prototxt), caffe.TEST)
        randomise(net, seed)
        write_weights(weights, {key: [blob.data for blob in blobs] for key, blobs in net.params.items()})
        return prototxt, weights
    return make


def export(prototxt, weights, out, *more):
    return run(command.main, ['export', '--prototxt', str(prototxt), '--weights', str(weights), '--out', str(out),
                              *map(str, more)])


def report(out):
    return json.loads(out.with_name(f'{out.stem}.report.json').read_text())


def metadata(model):
    return {entry.key: entry.value for entry in model.metadata_props}


def test_a_net_with_skips(made, tmp_path, capsys):
    prototxt, weights = made(FCN)
    assert export(prototxt, weights, tmp_path / 'fcn.onnx') == 0
    text = capsys.readouterr().out
    assert 'free to change: batch, height, width' in text and 'onnxruntime' in text and 'written to' in text
    facts = report(tmp_path / 'fcn.onnx')
    proof = facts['proof']
    assert facts['outputs'] == {'score': [1, 5, 40, 44]} and not proof['constant']
    assert [run['data'] for run in proof['sizes']][-1][0] == 2 and len(proof['sizes']) == 4
    assert sum(run['data'][2] % 2 and run['data'][3] % 2 for run in proof['sizes']) >= 2
    rows = proof['engines']['onnxruntime']['runs']
    assert len(rows) == 4 and all(row['score']['max_relative'] < 1e-5 for row in rows)
    for name, module in (('openvino', 'openvino'), ('opencv', 'cv2')):
        assert (name in proof['not_installed']) == (importlib.util.find_spec(module) is None)


@pytest.mark.parametrize('takes, order', [('rgb', 'bgr'), ('bgr', 'rgb'), ('rgb', 'rgb')])
def test_a_model_that_takes_pixels(made, tmp_path, takes, order):
    """The mean goes before the padding: numpy prepares what Caffe is fed."""
    prototxt, weights = made(FCN)
    out = tmp_path / 'fcn.onnx'
    assert export(prototxt, weights, out, '--input', takes, '--mean', '104,117,123', '--scale', '0.017', '--order',
                  order) == 0
    rgb = np.random.default_rng(0).integers(0, 256, (37, 41, 3), np.uint8)
    bgr = (rgb[..., ::-1] - np.float64([104, 117, 123])) * 0.017
    blob = (bgr if order == 'bgr' else bgr[..., ::-1]).transpose(2, 0, 1)[np.newaxis]
    net = caffe.Net(str(prototxt), caffe.TEST, weights=str(weights))
    net.blobs['data'].reshape(*blob.shape)
    net.blobs['data'].data[...] = blob
    net.forward()
    session = onnxruntime.InferenceSession(str(out))
    pixels = (rgb if takes == 'rgb' else rgb[..., ::-1]).transpose(2, 0, 1)[np.newaxis].astype(np.float32)
    compare({'score': session.run(None, {'data': pixels})[0]}, {'score': net.blobs['score'].data}, 1e-5)
    known = metadata(onnx.load(out))
    assert known['input'] == takes and json.loads(known['mean']) == [104, 117, 123] and known['order'] == order


def test_a_grey_net(made, tmp_path):
    prototxt, weights = made(LENET)
    out = tmp_path / 'm.onnx'
    assert export(prototxt, weights, out, '--input', 'rgb', '--mean', '33', '--scale', '0.00390625') == 0
    rgb = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    net = caffe.Net(str(prototxt), caffe.TEST, weights=str(weights))
    net.blobs['data'].data[...] = (rgb @ [0.299, 0.587, 0.114] - 33) / 256
    net.forward()
    scores = onnxruntime.InferenceSession(str(out)).run(None, {'data': rgb.transpose(2, 0, 1)[np.newaxis].astype('f')})
    compare({'prob': scores[0]}, {'prob': net.blobs['prob'].data}, 1e-5)
    facts = report(out)
    assert facts['free'] == ['batch'] and facts['bound_by'] == 'ip1'
    assert set(facts['proof']['engines']['onnxruntime']['runs'][0]) == {'prob', 'ip2'}   # what probabilities hide


@pytest.mark.slow
def test_what_net_json_says(made, tmp_path):
    prototxt, weights = made(FCN)
    Preparation((1.0, 2.0, 3.0), 0.5, 'rgb', 8, ('a', 'b', 'c', 'd', 'e')).write(tmp_path)
    out = tmp_path / 'm.onnx'
    assert export(prototxt, weights, out, '--input', 'rgb') == 0
    known = metadata(onnx.load(out))
    assert (known['mean'], known['scale'], known['order']) == ('[1.0, 2.0, 3.0]', '0.5', 'rgb')
    assert json.loads(known['classes']) == {'score': ['a', 'b', 'c', 'd', 'e']}
    assert all(n % 8 == 0 for run in report(out)['proof']['sizes'] for n in run['data'][2:])
    (tmp_path / 'names').write_text('v\nw\nx\ny\nz\n')
    assert export(prototxt, weights, out, '--classes', tmp_path / 'names', '--mean', '7') == 0
    known = metadata(onnx.load(out))
    assert json.loads(known['classes']) == {'score': list('vwxyz')} and known['mean'] == '[7.0]'


OLD = """name: "old" layers { name: "d" type: DATA top: "data" top: "label" data_param { mean_file: "" crop_size: 28 }
  transform_param { mean_value: 9 scale: 0.25 } include { phase: TEST } }
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" convolution_param { num_output: 3 kernel_size: 3
  pad: 1 } } layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "fc" type: INNER_PRODUCT bottom: "conv" top: "fc" inner_product_param { num_output: 4 } }
layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc" bottom: "label" }"""


def test_a_training_net_of_the_old_form(tmp_path):
    (tmp_path / 'old.prototxt').write_text(OLD.replace('mean_file: "" ', ''))
    rng = np.random.default_rng(0)
    write_weights(tmp_path / 'w.caffemodel', {
        'conv': [rng.normal(size=(3, 3, 3, 3)), rng.normal(size=3)],
        'fc': [rng.normal(size=(4, 3 * 28 * 28)), rng.normal(size=4)]})
    out = tmp_path / 'm.onnx'
    assert export(tmp_path / 'old.prototxt', tmp_path / 'w.caffemodel', out, '--input', 'bgr') == 0
    facts = report(out)
    assert facts['preparation']['mean'] == [9] and facts['preparation']['scale'] == 0.25
    assert {entry['layer'] for entry in facts['left_out']} == {'d', 'loss'} and list(facts['outputs']) == ['fc']


@pytest.mark.slow
def test_what_other_commands_wrote(made, tmp_path):
    """The dense net of a classifier, and a model imported; both exported."""
    prototxt, weights = made(LENET)
    assert run(command.main, ['convolutionalize', '--prototxt', str(prototxt), '--weights', str(weights), '--grid', '0',
                              '--out', str(tmp_path / 'dense')]) == 0
    dense = tmp_path / 'dense'
    assert export(dense / 'deploy.prototxt', dense / 'weights.caffemodel', tmp_path / 'dense.onnx') == 0
    assert report(tmp_path / 'dense.onnx')['free'] == ['batch', 'height', 'width']
    assert run(command.main, ['import', str(tmp_path / 'dense.onnx'), '--size', '33x36', '--out',
                              str(tmp_path / 'back')]) == 0
    back = tmp_path / 'back'
    assert export(back / 'deploy.prototxt', back / 'weights.caffemodel', tmp_path / 'again.onnx') == 0


def test_a_net_by_name(tmp_path, monkeypatch):
    """Its data layer knows the mean and the classes; the net is narrow, as the weights are."""
    parameter, net = alive('voc-fcn32s')
    write_weights(tmp_path / 'w.caffemodel', {key: [blob.data for blob in blobs] for key, blobs in net.params.items()})
    full = named.named_net('voc-fcn32s')
    assert [x.type for x in full.deploy.layer][:2] == ['Input', 'Convolution'] and full.scored.layer[0].type == 'Python'
    monkeypatch.setattr(source, 'named_net', lambda name: full._replace(deploy=parameter))
    out = tmp_path / 'm.onnx'
    assert run(command.main, ['export', '--net', 'voc-fcn32s', '--weights', str(tmp_path / 'w.caffemodel'), '--input',
                              'rgb', '--size', '60x70', '--out', str(out)]) == 0
    known = metadata(onnx.load(out))
    assert json.loads(known['mean']) == [104.00699, 116.66877, 122.67892] and known['source'] == 'voc-fcn32s'
    assert json.loads(known['classes'])['score'][:2] == ['background', 'aeroplane']


@pytest.mark.parametrize('name', nets.names())
def test_every_net_is_found_by_name(name):
    found = named.named_net(name)
    assert found.deploy == nets.load(name).fcn('deploy')


@pytest.mark.slow
@pytest.mark.parametrize('name', nets.names())
def test_every_net_agrees(tmp_path, name):
    """At the sizes of photographs, upright and lying, and a small one with odd and even sides."""
    parameter, net = alive(name)
    write_prototxt(tmp_path / 'n.prototxt', parameter)
    write_weights(tmp_path / 'w.caffemodel', {key: [blob.data for blob in blobs] for key, blobs in net.params.items()})
    out = tmp_path / 'm.onnx'
    assert export(tmp_path / 'n.prototxt', tmp_path / 'w.caffemodel', out) == 0
    outputs = [entry.name for entry in onnxruntime.InferenceSession(str(out)).get_outputs()]
    engines = {key: ENGINES[key].load(out, outputs) for key in formats.FORMATS['onnx'].engines
               if is_installed(ENGINES[key].module)}
    for height, width in ((375, 500), (500, 333), (97, 130)):
        feed = {layer.top[0]: np.random.default_rng(0).uniform(-120, 130, (
            1, layer.input_param.shape[0].dim[1], height, width)).astype('f')
            for layer in parameter.layer if layer.type == 'Input'}
        for blob, value in feed.items():
            net.blobs[blob].reshape(*value.shape)
            net.blobs[blob].data[...] = value
        net.forward()
        for engine, forward in engines.items():
            for output, scores in zip(outputs, forward(feed), strict=True):
                row = compared(scores, net.blobs[output].data)
                assert row['max_relative'] < 1e-5 and not row['labels_differ'] and 'shape' not in row, engine


# ------------------------------------------------------------------------------------------------------------ proof

@pytest.mark.parametrize('spoil', [
    lambda node: node.op_type == 'MaxPool' and _set(node, 'strides', [2, 1]),
    lambda node: node.op_type == 'Slice' and node.input.__setitem__(1, 'spoiled'),
    lambda node: node.op_type == 'ConvTranspose' and _set(node, 'pads', [1, 1, 0, 0])])
def test_an_export_that_differs_is_not_written(made, tmp_path, monkeypatch, capsys, spoil):
    prototxt, weights = made(FCN)
    right = formats.onnx_model

    def wrong(*args):
        model = right(*args)
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2, 2]), 'spoiled'))
        assert [node for node in model.graph.node if spoil(node) is not False]
        return model
    monkeypatch.setattr(formats, 'onnx_model', wrong)
    before = sorted(tmp_path.iterdir())
    assert export(prototxt, weights, tmp_path / 'm.onnx') == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and 'nothing was written' in error and str(prototxt) in error
    assert sorted(tmp_path.iterdir()) == before


def _set(node, name, value):
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


def test_outputs_that_prove_nothing(made, tmp_path, capsys):
    prototxt, weights = made(FCN)
    blobs = read_weights(weights)
    zero = {key: [blob * (key == 'conv1') for blob in value] for key, value in blobs.items()}
    write_weights(weights, zero)
    assert export(prototxt, weights, tmp_path / 'm.onnx') == 0
    assert 'constant whatever the image, which proves nothing: score' in capsys.readouterr().out
    write_weights(weights, blobs | {'conv1': [blobs['conv1'][0] * np.nan, blobs['conv1'][1]]})
    assert export(prototxt, weights, tmp_path / 'n.onnx') == 1
    assert 'not finite' in capsys.readouterr().err and not (tmp_path / 'n.onnx').exists()


def test_labels_may_differ_where_scores_are_tied(made, tmp_path):
    prototxt, weights = made(FCN + layer('label', 'ArgMax', 'score', argmax_param={'axis': 1}))
    assert export(prototxt, weights, tmp_path / 'm.onnx') == 0
    scores = np.float32([[1, 2, 3], [1.00001, 0, 3.1]]).T[np.newaxis, ..., np.newaxis].transpose(0, 2, 1, 3)
    other = scores[:, ::-1]
    assert compared(scores, scores)['labels_differ'] == 0
    assert compared(other, scores)['labels_differ'] == 2        # that at the first position is a tie


def test_an_engine_that_refuses_is_named(made, tmp_path, monkeypatch, capsys):
    prototxt, weights = made(FCN)
    text = FCN.replace('"score"', '"sc/ore"')
    (tmp_path / 'net.prototxt').write_text(text)
    assert export(prototxt, weights, tmp_path / 'm.onnx') == 0      # whatever blobs are called
    assert list(report(tmp_path / 'm.onnx')['outputs']) == ['sc/ore']


# --------------------------------------------------------------------------------------------------------- bad input

@pytest.mark.parametrize('text, more, says', [
    (DATA % (3, 12, 12) + pool('p', 'data', pool='STOCHASTIC', kernel_size=2), (), 'layer p (Pooling)'),
    (DATA % (3, 12, 12) + layer('c', 'Im2col', 'data', convolution_param={'kernel_size': 3}), (), 'layer c (Im2col)'),
    (DATA % (3, 12, 12) + layer('x', 'Interp', 'data'), (), 'layer x (Interp)'),
    (DATA % (3, 12, 12) + layer('x', 'Python', 'data', python_param={'module': '"os"', 'layer': '"x"'}), (),
     'layer x (Python)'),
    (DATA % (3, 12, 12) + conv('c', 'data', num_output=2, kernel_size=33), (), 'layer c (Convolution)'),
    (DATA % (3, 12, 12) + conv('d', 'data', num_output=2, kernel_size=3), (), 'layer d (Convolution): the weights'),
    (DATA % (3, 12, 12) + conv('c', 'data', num_output=2, kernel_size=5), (), 'blob 0'),
    (DATA % (3, 12, 12) + conv('c', 'data', num_output=2, kernel_size=3), ('--input', 'rgb'), '--mean'),
    (DATA % (3, 12, 12) + conv('c', 'data', num_output=2, kernel_size=3), ('--order', 'grey', '--input', 'bgr',
                                                                          '--mean', '1'), '3 channels'),
    (DATA % (3, 12, 12) + conv('c', 'data', num_output=2, kernel_size=3), ('--mean', '1,2'), 'mean'),
    (DATA % (3, 12, 12) + conv('c', 'data', num_output=2, kernel_size=3), ('--scale', '0'), 'scale'),
    ('layer {', (), 'not a prototxt'), ('', (), 'without layers'),
    ('layer { name: "x" type: "Input" top: "x" input_param { shape { } } }' + conv(
        'c', 'x', num_output=2, kernel_size=3), (), 'net.prototxt'),
])
def test_one_line_names_what_is_wrong(tmp_path, capsys, text, more, says):
    (tmp_path / 'net.prototxt').write_text(text)
    rng = np.random.default_rng(0)
    write_weights(tmp_path / 'w.caffemodel', {'c': [rng.normal(size=(2, 3, 3, 3)), rng.normal(size=2)]})
    before = sorted(tmp_path.iterdir())
    assert export(tmp_path / 'net.prototxt', tmp_path / 'w.caffemodel', tmp_path / 'm.onnx', *more) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and says in error and 'net.prototxt' in error or 'command line' in error
    assert sorted(tmp_path.iterdir()) == before


def test_nothing_of_the_users_is_lost(made, tmp_path, capsys):
    prototxt, weights = made(FCN)
    (tmp_path / 'text.onnx').write_text('mine')
    (tmp_path / 'm.report.json').write_text('{"mine": 1}')
    for out in (prototxt, weights, tmp_path / 'text.onnx', tmp_path / 'm.onnx', tmp_path / 'none/m.onnx', tmp_path):
        assert export(prototxt, weights, out) == 2
        assert capsys.readouterr().err.count('\n') == 1
    assert (tmp_path / 'text.onnx').read_text() == 'mine' and read_net(prototxt) and read_weights(weights)
    assert run(command.main, ['export', '--net', 'no-such-net', '--weights', str(weights), '--out',
                              str(tmp_path / 'x.onnx')]) == 2
    assert 'there are cityscapes-fcn8s' in capsys.readouterr().err


def test_several_inputs_take_no_photograph(made, tmp_path, capsys):
    two = DATA % (3, 12, 12) + (DATA % (3, 12, 12)).replace('data', 'more') + layer('e', 'Eltwise', ['data', 'more'])
    prototxt, weights = made(two + conv('c', 'e', num_output=2, kernel_size=3))
    assert export(prototxt, weights, tmp_path / 'm.onnx', '--input', 'rgb', '--mean', '0') == 2
    assert 'one input, and this one has data, more' in capsys.readouterr().err
    assert export(prototxt, weights, tmp_path / 'm.onnx') == 0


def test_an_input_that_is_no_image(made, tmp_path):
    text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 6 } } }\n'
    prototxt, weights = made(text + ip('a', 'x', 5) + relu('r', 'a') + ip('b', 'a', 3))
    assert export(prototxt, weights, tmp_path / 'm.onnx') == 0
    assert report(tmp_path / 'm.onnx')['free'] == ['batch']


# ----------------------------------------------------------------------------------------------------------- fillers

@pytest.mark.parametrize('size', [1, 2, 3, 4, 5, 6, 7, 8, 11, 16])
def test_the_bilinear_filler_is_caffes(tmp_path, size):
    (tmp_path / 'n.prototxt').write_text(DATA % (2, 3, 3) + layer('up', 'Deconvolution', 'data', extra=(
        f'convolution_param {{ num_output: 2 kernel_size: {size} group: 2 weight_filler {{ type: "bilinear" }} }}')))
    weights = caffe.Net(str(tmp_path / 'n.prototxt'), caffe.TEST).params['up'][0].data
    np.testing.assert_allclose(weights[1, 0], bilinear_kernel(size), atol=1e-6)


def test_parameters_that_the_net_itself_states(made, tmp_path):
    extra = 'convolution_param { num_output: 5 kernel_size: 4 stride: 2 group: 5 weight_filler { type: "bilinear" } }'
    text = FCN.replace(FCN[FCN.index('layer { name: "up" '):FCN.index('layer { name: "score" type')],
                       layer('up', 'Deconvolution', 'fuse', extra=extra))
    prototxt, weights = made(text)
    blobs = read_weights(weights)
    del blobs['up']
    write_weights(weights, blobs)
    assert export(prototxt, weights, tmp_path / 'm.onnx') == 0
    found = open_net(prototxt, None, weights)
    assert found.weights['up'][0].shape == (5, 1, 4, 4) and not found.weights['up'][1].any()


def test_formats_have_their_engines():
    from surgery.export.engines import ENGINES
    assert all(set(form.engines) <= set(ENGINES) for form in FORMATS.values())
    with pytest.raises(BadInput):
        open_net(None, 'nothing', shutil.which('python'))
