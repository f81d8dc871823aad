"""Damaged and hostile models, thousands of them with fixed seeds: each gives a net, or BadInput, and soon."""
import json
import random
import time

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')
onnx = pytest.importorskip('onnx')

from cli import BadInput, printable, run  # noqa: E402
from surgery import __main__ as command  # noqa: E402
from surgery import convolutionalize, prepare, read_net, read_weights  # noqa: E402
from surgery.caffemodel import read_layers, summary, write_weights  # noqa: E402
from surgery.free_sizes import free_sizes, some_sizes  # noqa: E402
from surgery.net_input import fold_input  # noqa: E402
from surgery.onnx_export import FIXED_SIZE, onnx_model  # noqa: E402
from surgery.onnx_import import import_graph, read_onnx  # noqa: E402
from surgery.proof import Mismatch, prove  # noqa: E402
from surgery.shapes import infer  # noqa: E402
from surgery.torch_import import build_classifier, read_safetensors  # noqa: E402
from tests.fuzz.damage import NUMBERS, flipped  # noqa: E402
from tests.fuzz.formats import change_model, varint  # noqa: E402
from tests.helpers.surgery_models import a_classifier, a_state, chain  # noqa: E402
from tests.helpers.surgery_nets import DATA, LENET, caffenet, conv, ip, layer, pool, vgg16  # noqa: E402

pytestmark = pytest.mark.caffe
SECONDS = 20            # for one model; it takes a fraction of one, on a machine with nothing else to do


def tried(work, *args):
    """Whether some work refused its file; it may do that, in one line, but not raise anything else."""
    start = time.monotonic()
    try:
        work(*args)
        return False
    except BadInput as problem:
        assert len(str(problem)) < 3000
        return True
    finally:
        assert time.monotonic() - start < SECONDS


# -------------------------------------------------------------------------------------------------------- ONNX

def take_onnx(path):
    graph = import_graph(read_onnx(path))
    outputs = [*graph.outputs.values(), *graph.scores.values()]
    fold_input(graph.builder, 'unit', 'rgb')
    graph.builder.finish(outputs)


def fuzz_onnx(path, count, seed=0):
    rng, whole, refused = random.Random(seed), a_classifier(), 0
    path.write_bytes(whole.SerializeToString())
    take_onnx(path)
    for i in range(count):
        model = onnx.ModelProto()
        model.CopyFrom(whole)
        for _ in range(rng.choice((1, 1, 2, 3))):
            if model.graph.node and model.graph.initializer:
                change_model(model, rng)
        text = model.SerializeToString()
        path.write_bytes(flipped(text, rng) if i % 3 == 2 else text)
        refused += tried(take_onnx, path)
    return refused


def test_onnx(tmp_path):
    assert fuzz_onnx(tmp_path / 'm.onnx', 250) > 100


CONV = np.ones((4, 3, 1, 1), np.float32)
HUNGRY = {
    'views of one tensor': chain(('Flatten', 'x', 'b0', {}), ('Expand', 'one wide', 'matrix', {}),
                                 *(('MatMul', f'b{i} matrix', f'b{i + 1}', {}) for i in range(400)),
                                 constants=[('one', np.ones((1, 1), np.float32)), ('wide', [2048, 2048])],
                                 shape=(1, 2048, 1, 1)),
    'copies of copies': chain(('Concat', 'one one', 'a0', {'axis': 0}),
                              *(('Concat', f'a{i} a{i}', f'a{i + 1}', {'axis': 0}) for i in range(60)),
                              ('Add', 'x a60', 'y', {}), constants=[('one', np.ones(64, np.float32))]),
    'a pad on one side': chain(('Conv', 'x w', 'y', {'pads': [0, 0, 30_000, 30_000]}), constants=[('w', CONV)]),
    'a wide gather': chain(('Gather', 'x i', 'y', {'axis': 1}), shape=(1, 2 ** 29, 1, 1), constants=[('i', [0, 1])]),
    'a wide slice': chain(('Slice', 'x a b c', 'y', {}), shape=(1, 2 ** 29, 1, 1),
                          constants=[('a', [1]), ('b', [2 ** 62]), ('c', [1])]),
    'a wide split': chain(('Split', 'x', 'y z', {'axis': 1}), shape=(1, 2 ** 29, 1, 1)),
    'a range': chain(('Range', 'a b c', 'r', {}), ('Add', 'x r', 'y', {}),
                     constants=[('a', np.float32(0)), ('b', np.float32(1)), ('c', np.float32(1e-12))]),
    'an outer product': chain(('Mul', 'a b', 'c', {}), ('Add', 'x c', 'y', {}), constants=[
        ('a', np.ones((1, 60_000), np.float32)), ('b', np.ones((60_000, 1), np.float32))]),
    'an empty reduction': chain(('ReduceSum', 'a b', 'c', {'keepdims': 0}), ('Add', 'x c', 'y', {}), constants=[
        ('a', np.ones((0, 2 ** 40), np.float32)), ('b', [0])]),
    'sums of themselves': chain(('Relu', 'x', 'a0', {}), *(('Max', f'a{i} a{i}', f'a{i + 1}', {}) for i in range(60)),
                                ('Pad', 'a60 p', 'b', {}), ('MaxPool', 'b', 'c', {'kernel_shape': [2, 2]}),
                                ('Reshape', 'c p', 'y', {}), constants=[('p', [0, 0, 1, 1, 0, 0, 1, 1])]),
    'too many layers': chain(*(('Relu', 'x' if not i else f'a{i - 1}', f'a{i}', {'name': 'same'})
                               for i in range(10_001))),
}


@pytest.mark.parametrize('name', HUNGRY)
def test_small_models_that_ask_for_much(tmp_path, name):
    path = tmp_path / 'm.onnx'
    path.write_bytes(HUNGRY[name].SerializeToString())
    assert tried(take_onnx, path)


def external(tmp_path, **facts):
    model = chain(('Conv', 'x w', 'y', {}), constants=[('w', CONV)])
    tensor = model.graph.initializer[0]
    tensor.ClearField('raw_data')
    tensor.data_location = tensor.EXTERNAL
    for key, value in facts.items():
        tensor.external_data.add(key=key, value=value)
    (tmp_path / 'm.onnx').write_bytes(model.SerializeToString())
    return tmp_path / 'm.onnx'


def test_a_model_of_a_terabyte(tmp_path):
    with (tmp_path / 'm.onnx').open('wb') as file:
        file.truncate(1 << 40)      # which takes no room on disk
    with pytest.raises(BadInput, match='m.onnx: .* more than 2 GB'):
        read_onnx(tmp_path / 'm.onnx')


def test_weights_behind_a_link(tmp_path):
    there, folder = tmp_path / 'there', tmp_path / 'folder'
    there.mkdir(), folder.mkdir()
    (there / 'w').write_bytes(CONV.tobytes())
    (folder / 'below').mkdir()
    (folder / 'below/w').write_bytes(CONV.tobytes())
    (folder / 'link').symlink_to(there)
    assert not tried(take_onnx, external(folder, location='below/w'))
    for location in ('link/w', 'below', 'below/../below/w', str(there / 'w'), 'x' * 5000, 'a\0b', ''):
        with pytest.raises(BadInput, match='not a file beside it'):
            read_onnx(external(folder, location=location))
    for facts in ({'offset': '-1'}, {'length': '1' * 5000}, {'offset': '9' * 30}, {'length': '-3'}):
        assert tried(take_onnx, external(folder, location='below/w', **facts))


# ------------------------------------------------------------------------------------- state dicts, caffemodels

def fuzz_safetensors(path, count, seed=1):
    rng, state, refused = random.Random(seed), a_state(), 0
    for i in range(count):
        header, at = {}, 0
        for name, array in state.items():
            header[name] = {'dtype': 'F32', 'shape': list(array.shape), 'data_offsets': [at, at + array.nbytes]}
            at += array.nbytes
        for _ in range(rng.choice((0, 1, 2)) if i else 0):
            facts = header[rng.choice(list(header))]
            value = rng.choice((*NUMBERS, float('inf'), float('nan'), 1.5, 'text', None, [], {}, True))
            how = rng.randrange(5)
            if how == 0:
                facts[rng.choice(('dtype', 'shape', 'data_offsets', 'more'))] = value
            elif how == 1 and isinstance(facts.get('shape'), list):
                facts['shape'] = [*facts['shape'], value][rng.randrange(2):]
            elif how == 2:
                facts['data_offsets'] = [rng.choice(NUMBERS), rng.choice(NUMBERS)]
            elif how == 3:
                header[rng.choice((f'features.{10 ** 30}.weight', f'features.{"7" * 5000}.weight',
                                   'classifier.1.weight', 'features.0.bias', 'classifier.3.weight',
                                   '\x1b[2J\n'))] = facts
            else:
                facts.update(header.pop(rng.choice(list(header))))
        text = json.dumps(header)
        if i and not rng.randrange(8):
            text = text.replace(rng.choice(('0', '2', '3')), '9' * 5000, 1)
        head = text.encode()
        head = flipped(head, rng) if i % 3 == 2 else head
        path.write_bytes(len(head).to_bytes(8, 'little') + head + b''.join(a.tobytes() for a in state.values()))
        bad = tried(lambda: build_classifier(read_safetensors(path), None)[0].finish([]))
        assert i or not bad
        refused += bad
    return refused


def test_safetensors(tmp_path):
    assert fuzz_safetensors(tmp_path / 'm.safetensors', 200) > 80


@pytest.mark.parametrize('shape, offsets', [
    ('[Infinity]', '[0, 4]'), ('[NaN]', '[0, 4]'), (f'[{"1" * 5000}]', '[0, 4]'), ('[1e400]', '[0, 4]'),
    ('[1]', '[-4, 0]'), ('[1]', '[4, 0]'), ('[1]', '[0, Infinity]'), ('[-1, -1]', '[0, 4]'), ('"1"', '[0, 4]'),
    ('[1]', '[0, 4, 8]'), ('[0, 99999999999999999999, 99999999999999999999]', '[0, 0]'), ('[1]', '[2, 6]')])
def test_safetensors_that_cannot_be(tmp_path, shape, offsets):
    head = (f'{{"b": {{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, '
            f'"a": {{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}}}').encode()
    (tmp_path / 'm.safetensors').write_bytes(len(head).to_bytes(8, 'little') + head + bytes(8))
    with pytest.raises(BadInput, match='not a safetensors file'):
        read_safetensors(tmp_path / 'm.safetensors')


def fuzz_caffemodel(path, count, seed=2):
    rng, numbers, refused = random.Random(seed), np.random.default_rng(0), 0
    write_weights(path, {'conv1': [numbers.normal(size=(4, 1, 5, 5)), numbers.normal(size=4)], 'ip1': [np.ones((2, 3))],
                         'name': [np.ones(())]}, {'conv1': 'Convolution'})
    whole = path.read_bytes()
    for _ in range(count):
        path.write_bytes(flipped(whole, rng))
        refused += tried(lambda: summary(read_layers(path)))
        refused += tried(read_weights, path)
    return refused


def test_caffemodels(tmp_path):
    assert fuzz_caffemodel(tmp_path / 'w', 1000) > 300


def test_an_empty_blob_of_any_shape(tmp_path):
    write_weights(tmp_path / 'w', {'a': [np.zeros((0, 1000, 1000, 1000))]})
    whole = (tmp_path / 'w').read_bytes()
    read_weights(tmp_path / 'w')
    (tmp_path / 'w').write_bytes(whole.replace(b'\xe8\x07', b'\xff\x7f'))
    assert tried(read_weights, tmp_path / 'w')


def test_a_shape_of_thousands_of_digits(tmp_path):
    from caffe.proto import caffe_pb2
    shape = caffe_pb2.BlobProto()
    shape.shape.dim.extend([2 ** 62] * 32)
    blob = shape.SerializeToString() * 100      # protobuf joins them
    layer = caffe_pb2.LayerParameter(name='a').SerializeToString() + b'\x3a' + varint(len(blob)) + blob
    (tmp_path / 'w').write_bytes(varint(100 << 3 | 2) + varint(len(layer)) + layer)
    with pytest.raises(BadInput, match="w: .*layer 'a', blob 0: .* is none that Caffe can hold"):
        read_weights(tmp_path / 'w')


@pytest.mark.parametrize('classes', ['0', '-1', '100000000000', '9' * 30, '99999999'])
def test_expanded_to_no_or_too_many_classes(tmp_path, capsys, classes):
    write_weights(tmp_path / 'w', {'score': [np.ones((2, 300, 1, 1)), np.ones(2)]})
    assert run(command.main, ['expand', '--weights', str(tmp_path / 'w'), '--layer', 'score', '--classes', classes,
                              '--out', str(tmp_path / 'o')]) == 2
    assert 'cannot have' in capsys.readouterr().err and not (tmp_path / 'o').exists()


@pytest.mark.parametrize('blobs', [[np.ones(())], [np.ones((0, 3))], [np.ones((4, 2)), np.ones(4), np.ones(3)],
                                   [np.ones((4, 2)), np.ones(())]])
def test_expanding_layers_that_score_nothing(tmp_path, blobs):
    write_weights(tmp_path / 'w', {'score': blobs})
    assert run(command.main, ['expand', '--weights', str(tmp_path / 'w'), '--layer', 'score', '--classes', '9',
                              '--out', str(tmp_path / 'o')]) in (0, 2)


def test_names_never_reach_the_terminal_raw(tmp_path, capsys):
    name = 'a\x1b[2J\nb\x07\x9b\u202e\r'
    write_weights(tmp_path / 'w', {name: [np.ones(2)], 'n' * 100_000: [np.ones(1)]}, {name: name})
    weights = str(tmp_path / 'w')
    for args in (['show', weights], ['transplant', '--from', weights, '--to', weights, '--out', str(tmp_path / 'o')],
                 ['expand', '--weights', weights, '--layer', name, '--classes', '5', '--out', str(tmp_path / 'o')],
                 ['expand', '--weights', weights, '--layer', name, '--classes', '0', '--out', str(tmp_path / 'o')],
                 ['expand', '--weights', weights, '--layer', 'x', '--classes', '5', '--out', str(tmp_path / 'o')],
                 ['transplant', '--from', weights, '--to', weights, '--out', 'o', '--map', f'{name}={name}x']):
        run(command.main, args)
        out = capsys.readouterr()
        text = out.out + out.err
        assert all(c == '\n' or c.isprintable() for c in text) and len(text) < 20_000
        assert 'a\\x1b[2J b\\x07\\x9b\\u202e' in text or args[3:5] == ['--layer', 'x'] or '--map' in args
    assert printable('conv1 é  x') == 'conv1 é  x'


# -------------------------------------------------------------------------------------------------- prototxts

CLASSIFIERS = (LENET, caffenet(), vgg16(4))


def fuzz_prototxts(path, count, seed=3, texts=CLASSIFIERS, take=None):
    rng, refused = random.Random(seed), 0
    nets = [text.replace(' } ', ' }\n').replace('{ ', '{\n').replace(': ', ' : ').split('\n')
            for text in texts]
    texts = [[word for line in net for word in line.replace(' : ', ': ').split('  ')] for net in nets]
    for _ in range(count):
        lines = list(rng.choice(texts))
        for _ in range(rng.choice((1, 1, 2, 3))):
            at, how = rng.randrange(len(lines)), rng.randrange(4)
            if how == 0:
                del lines[at]
            elif how == 1:
                lines.insert(at, lines[at])
            elif how == 2:
                lines[at] = rng.choice(lines)
            else:
                words = lines[at].split(' ')
                numeric = [i for i, word in enumerate(words) if word.isdigit()]
                if numeric:
                    words[rng.choice(numeric)] = rng.choice(('0', '-1', '2147483647', '9223372036854775808', '9' * 5000,
                                                             '1e400', 'nan', '-9223372036854775808', '7'))
                lines[at] = ' '.join(words)
        path.write_text('\n'.join(lines))
        refused += tried(take or take_prototxt, path)
    return refused


def take_prototxt(path):
    net = read_net(path)
    convolutionalize(prepare(net, {}))
    infer(net)


def test_prototxts(tmp_path):
    assert fuzz_prototxts(tmp_path / 'p', 300) > 100


EVERY_KIND = (
    DATA % (3, 12, 12) + conv('c', 'data', num_output=4, kernel_size=3, pad=2, stride=2, group=1)
    + pool('p', 'c', kernel_size=2, stride=2, pad=1) + pool('q', 'c', pool='AVE', kernel_size=2, stride=2, pad=1)
    + layer('join', 'Concat', ['p', 'q'], concat_param={'axis': 1}) + layer('up', 'Deconvolution', 'join',
        convolution_param={'num_output': 4, 'kernel_size': 4, 'stride': 2, 'pad': 1, 'dilation': 1})
    + layer('crop', 'Crop', ['up', 'c'], crop_param={'axis': 2, 'offset': 0})
    + layer('cut', 'Slice', 'crop', ['s', 't'], slice_param={'axis': 1, 'slice_point': 2})
    + layer('scale', 'Scale', 's', scale_param={'axis': 1, 'num_axes': 1}) + layer('bn', 'BatchNorm', 'scale')
    + layer('norm', 'LRN', 'bn', lrn_param={'local_size': 3}) + layer('mvn', 'MVN', 'norm')
    + layer('power', 'Power', 'mvn', power_param={'power': 2, 'scale': 3, 'shift': 1})
    + layer('exp', 'Exp', 'power', exp_param={'base': 2, 'scale': 0, 'shift': 1})
    + layer('spp', 'SPP', 't', spp_param={'pyramid_height': 2}) + ip('fc', 'spp', 4, axis=1)
    + layer('tile', 'Tile', 'exp', tile_param={'axis': 1, 'tiles': 2})
    + layer('shape', 'Reshape', 'tile', extra='reshape_param { shape { dim: 0 dim: 4 dim: -1 } axis: 0 num_axes: 4 }')
    + layer('flat', 'Flatten', 'shape', flatten_param={'axis': 1, 'end_axis': 2})
    + layer('sum', 'Reduction', 'flat', reduction_param={'axis': 1, 'coeff': 2})
    + layer('best', 'ArgMax', 'exp', argmax_param={'axis': 1, 'top_k': 2})
    + layer('words', 'Embed', 'best', embed_param={'num_output': 2, 'input_dim': 5}))


def take_for_export(path):
    found = prepare(read_net(path), {}, images=False)
    if sum(np.prod(shape, dtype=float) for shapes in found.shapes.params for shape in shapes) > 2 ** 22:
        raise BadInput('too much for this test')
    weights = {x.name: [np.zeros(shape, np.float32) for shape in shapes]
               for x, shapes in zip(found.net.layer, found.shapes.params, strict=True) if shapes}
    sizes = free_sizes(found.net, found.shapes, FIXED_SIZE)
    assert some_sizes(found.net, found.shapes, sizes)
    onnx_model(found.net, weights, found.shapes, sizes, found.outputs)


def test_prototxts_to_export(tmp_path):
    """Damaged nets of nearly all layer types."""
    (tmp_path / 'p').write_text(EVERY_KIND)
    assert not tried(take_for_export, tmp_path / 'p')
    assert fuzz_prototxts(tmp_path / 'p', 200, texts=(EVERY_KIND,), take=take_for_export) > 50


@pytest.mark.parametrize('text', [
    'layer { ' * 5000, 'name: "' + 'x' * 10 ** 6, 'layer { type: "Input" top: "x" }',
    'layer { name: "a" type: "Input" }', 'layer { }', 'layer { name: "a" type: "Concat" top: "b" }',
    'input: "x" input_dim: 1',
    'layer { name: "a" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } } '   # one name
    'layer { name: "a" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }',
    'layer { name: "a" type: "Convolution" bottom: "b" top: "c" }'])
def test_prototxts_that_cannot_be(tmp_path, text):
    (tmp_path / 'p').write_text(text)
    assert tried(take_prototxt, tmp_path / 'p')


# ------------------------------------------------------------------------------------------------------ proofs

def test_outputs_that_are_not_finite_prove_nothing(tmp_path):
    from surgery import write_prototxt
    path = tmp_path / 'p'
    path.write_text(LENET)
    net = caffe.Net(str(path), caffe.TEST)
    net.params['ip2'][0].data[...] = np.nan
    net.save(str(tmp_path / 'w'))
    classifier = prepare(read_net(path), read_weights(tmp_path / 'w'))
    dense = convolutionalize(classifier)
    write_prototxt(tmp_path / 'd', dense.net)
    write_weights(tmp_path / 'v', dense.weights)
    with pytest.raises(Mismatch, match='not finite, so nothing is proved'):
        prove(classifier, dense, (path, tmp_path / 'w'), (tmp_path / 'd', tmp_path / 'v'), grid=0)
