"""Nets as torch modules: what the page says and what the file holds; beside Caffe where torch is installed."""
import ast
import importlib.util
import json

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from cli import BadInput, run  # noqa: E402
from surgery import Mismatch, prepare, read_net  # noqa: E402
from surgery import __main__ as command  # noqa: E402
from surgery.export import export, open_net  # noqa: E402
from surgery.export import torch as torch_export  # noqa: E402
from surgery.export.torch import describe, write_torch  # noqa: E402
from surgery.export.torch_layers import RULES  # noqa: E402
from surgery.export.torch_names import MODULE, PAGE, python_names  # noqa: E402
from surgery.free_sizes import free_sizes, some_sizes  # noqa: E402
from surgery.layers import LAYER_TYPES  # noqa: E402
from surgery.onnx_export import FIXED_SIZE  # noqa: E402
from surgery.preparation import Preparation  # noqa: E402
from surgery.safetensors import read_safetensors, write_safetensors  # noqa: E402
from tests.helpers.surgery_nets import DATA, LENET, WHOLE, conv, ip, layer, pool, randomise, relu  # noqa: E402

pytestmark = pytest.mark.caffe
IMPORTS = {'json', 'pathlib', 'torch', 'torch.nn.functional', 'safetensors.torch'}
needs_torch = pytest.mark.skipif(importlib.util.find_spec('torch') is None,
                                 reason='torch is not a dependency of this project')
D6, D2 = DATA % (6, 13, 17), DATA % (2, 13, 17)
TOP = 'top: "y"'


def of(kind, message='', values='', bottoms=('data',), tops=('y',)):
    text = ' '.join([*(f'bottom: "{b}"' for b in bottoms), *(f'top: "{t}"' for t in tops)])
    return f'layer {{ name: "l" type: "{kind}" {text} {f"{message} {{ {values} }}" if message else ""} }}\n'


POOLS = [
    'kernel_size: 2 stride: 2', 'kernel_size: 3 stride: 2 pad: 1', 'kernel_size: 3 stride: 2 pad: 2',
    'kernel_size: 2 stride: 3', 'kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0',
    'kernel_size: 3 stride: 2 pad: 1 round_mode: FLOOR', 'kernel_size: 5 stride: 4 pad: 4', 'global_pooling: true']
CASES = [
    *(D6 + of('Pooling', 'pooling_param', f'pool: {method} {how}') for how in POOLS for method in ('MAX', 'AVE')
      if (method, how) != ('AVE', 'kernel_size: 2 stride: 3')),         # a window outside the map has no average
    D6 + conv('l', 'data', 'y', num_output=4, kernel_size=3, pad=1, stride=2, dilation=2, group=2),
    D6 + of('Convolution', 'convolution_param', 'num_output: 3 kernel_h: 1 kernel_w: 3 pad_w: 2 bias_term: false'),
    D6 + of('Deconvolution', 'convolution_param', 'num_output: 6 kernel_size: 4 stride: 2 pad: 1 group: 3'),
    D6 + of('Deconvolution', 'convolution_param', 'num_output: 4 kernel_size: 3 stride: 3 bias_term: false'),
    D6 + relu('r', 'data') + of('Convolution', 'convolution_param', 'num_output: 2 kernel_size: 1', ('data', 'data'),
                                ('y', 'z')),
    D6 + of('InnerProduct', 'inner_product_param', 'num_output: 5'),
    D6 + of('InnerProduct', 'inner_product_param', 'num_output: 5 transpose: true bias_term: false axis: -1'),
    D6 + of('ReLU'), D6 + of('ReLU', 'relu_param', 'negative_slope: 0.1'), D6 + of('ELU', 'elu_param', 'alpha: 0.7'),
    D6 + of('Dropout'), D6 + of('Clip', 'clip_param', 'min: -1.5 max: 6'), D6 + of('AbsVal'), D6 + of('BNLL'),
    D6 + of('Sigmoid'), D6 + of('TanH'), D6 + of('Swish', 'swish_param', 'beta: 0.05'),
    D6 + of('Threshold', 'threshold_param', 'threshold: 20'),
    D6 + of('Power', 'power_param', 'scale: -0.5 shift: 3'),
    D6 + of('AbsVal', tops=['a']) + of('Power', 'power_param', 'power: 0.5 shift: 1', ['a']).replace('"l"', '"m"'),
    D6 + of('Exp', 'exp_param', 'scale: 0.01 shift: 0.5'), D6 + of('Exp', 'exp_param', 'base: 2 scale: 0.02'),
    D6 + of('AbsVal', tops=['a']) + of('Log', 'log_param', 'base: 10 shift: 1', ['a']).replace('"l"', '"m"'),
    D6 + of('BatchNorm', 'batch_norm_param', 'eps: 0.01'), D6 + of('Scale', 'scale_param', 'bias_term: true'),
    D6 + of('Scale', 'scale_param', 'axis: 1 num_axes: 2'), D6 + of('Bias'),
    D6 + of('Bias', 'bias_param', 'num_axes: -1'),
    D6 + of('Scale', 'scale_param', 'num_axes: 0 axis: 0'),
    D6 + of('Pooling', 'pooling_param', 'pool: AVE global_pooling: true', tops=['p']) + layer('f', 'Flatten', 'p')
    + of('Scale', 'scale_param', 'axis: 0 bias_term: true', ('data', 'f')).replace('"l"', '"m"'),
    D6 + of('Bias', 'bias_param', 'axis: 0', ('data', 'data')),
    D6 + of('PReLU'), D6 + of('PReLU', 'prelu_param', 'channel_shared: true'),
    D6 + of('LRN', 'lrn_param', 'local_size: 3 alpha: 0.01 k: 2'),
    D6 + of('LRN', 'lrn_param', 'local_size: 3 alpha: 0.01 norm_region: WITHIN_CHANNEL'),
    D6 + of('Softmax'), D6 + of('Softmax', 'softmax_param', 'axis: -1'),
    D6 + of('ArgMax', 'argmax_param', 'axis: 1'),
    D6 + of('ArgMax', 'argmax_param', 'axis: 1 top_k: 2 out_max_val: true'),
    D6 + of('ArgMax', 'argmax_param', 'top_k: 3'), D6 + of('ArgMax', 'argmax_param', 'top_k: 2 out_max_val: true'),
    D6 + of('Power', 'power_param', 'scale: 2', tops=['a'])
    + of('Concat', bottoms=('a', 'data', 'a')).replace('"l"', '"m"'),
    D6 + of('Concat', 'concat_param', 'axis: 2', ('data', 'data')),
    D6 + of('Slice', 'slice_param', 'slice_point: 1 slice_point: 4', tops='abc'),
    D6 + of('Slice', 'slice_param', 'axis: 1', tops='ab'), D6 + of('Slice'),
    *(D6 + layer('a', 'AbsVal', 'data') + of('Eltwise', 'eltwise_param', values, ('data', 'a', 'data'))
      for values in ('', 'coeff: 0.5 coeff: -2 coeff: 1', 'operation: PROD', 'operation: MAX')),
    *(D6 + pool('p', 'data', kernel_size=3, stride=2) + of('Crop', 'crop_param', values, ('data', 'p'))
      for values in ('offset: 3 offset: 5', 'axis: 1 offset: 0 offset: 1 offset: 2', '')),
    D6 + of('Flatten'), D6 + of('Flatten', 'flatten_param', 'axis: 2 end_axis: -1'),
    D6 + of('Reshape', 'reshape_param', 'shape { dim: 0 dim: 3 dim: -1 }'),
    D6 + of('Reshape', 'reshape_param', 'axis: 1 num_axes: 1 shape { dim: 2 dim: 3 }'), D6 + of('Split', tops='ab')]


def made(text, folder, seed=0):
    """The net as `prepare` gives it, with random weights."""
    path = folder / 'p.prototxt'
    path.write_text(text)
    net = caffe.Net(str(path), caffe.TEST)
    randomise(net, seed)
    return prepare(read_net(path), {name: [blob.data.copy() for blob in blobs] for name, blobs in net.params.items()})


def sound(text):
    """The page's syntax tree, after a look at what it imports and defines."""
    tree = ast.parse(text)
    compile(tree, 'net.py', 'exec')
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= IMPORTS
    assert all(isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.ClassDef | ast.FunctionDef)
               or isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in tree.body)
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    assert {'Net', 'load', 'read_tensors'} <= defined <= {'Net', 'load', 'read_tensors', 'prepare', 'Pool', 'Scale',
                                                         'Bias', 'argmax'}
    assert defined | {'torch', 'nn', 'F', 'json', 'Path', 'self', 'super', 'float'} <= PAGE | defined
    return tree


def test_every_layer_type_that_is_known_here():
    known = {name for name, record in LAYER_TYPES.items() if record.shapes and name != 'Input'}
    assert known - set(RULES) == {'MVN', 'SPP', 'Reduction', 'Tile', 'Embed'} and set(RULES) < known
    tested = {word.split('"')[1] for text in CASES for word in text.split('type: ')[1:]} - {'Input'}
    assert tested == set(RULES)


@pytest.mark.parametrize('at', range(len(CASES)))
def test_single_layers_are_sound(tmp_path, at):
    """The page is Python, defines each name before it is read, and its tensors are those of its modules."""
    classifier = made(CASES[at], tmp_path)
    text, tensors = describe(classifier.net, classifier.weights)
    tree = sound(text)
    net, = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == 'Net')
    init, forward = net.body
    modules = {node.attr for node in ast.walk(init) if isinstance(node, ast.Attribute) and isinstance(
        node.ctx, ast.Store)}
    assert {name.partition('.')[0] for name in tensors} <= modules
    known = {argument.arg for argument in forward.args.args} | {'torch', 'F', 'argmax', 'None', 'float'}
    for line in forward.body:
        read = {node.id for node in ast.walk(line) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        assert read <= known
        known |= {node.id for node in ast.walk(line) if isinstance(node, ast.Name)}


@pytest.mark.parametrize('text, line', [
    (conv('l', 'data', 'y', num_output=4, kernel_size=3, pad=1, stride=2, dilation=2, group=2),
     'nn.Conv2d(6, 4, 3, stride=2, padding=1, dilation=2, groups=2)'),
    (of('Deconvolution', 'convolution_param', 'num_output: 6 kernel_h: 4 kernel_w: 2 stride: 2 group: 3 '
        'bias_term: false'), 'nn.ConvTranspose2d(6, 6, (4, 2), stride=2, groups=3, bias=False)'),
    (pool('p', 'data', kernel_size=3, stride=2) + of('Crop', 'crop_param', 'offset: 3 offset: 5', ('data', 'p')),
     'y = data[:, :, 3:3 + p.shape[2], 5:5 + p.shape[3]]'),
    (layer('a', 'TanH', 'data') + of('Eltwise', 'eltwise_param', 'coeff: 0.5 coeff: 1', ('data', 'a')),
     'y = data * 0.5 + a'),
    (of('Pooling', 'pooling_param', 'pool: AVE kernel_size: 3 stride: 2 pad: 1'),
     'nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True)'),
    (of('Power', 'power_param', 'power: 2 scale: 3 shift: 1'), 'y = (data * 3.0 + 1.0) ** 2.0')])
def test_lines_as_a_reader_would_write_them(tmp_path, text, line):
    classifier = made(D6 + text, tmp_path)
    assert line in describe(classifier.net, classifier.weights)[0]


@needs_torch
def test_single_layers_give_what_caffe_gives(tmp_path):
    """All in one process each way would be one net: here each alone, its own page and comparison."""
    import torch
    for at, text in enumerate(CASES):
        folder = tmp_path / str(at)
        folder.mkdir()
        classifier = made(text, folder)
        outputs = write_torch(classifier.net, classifier.weights, folder)
        spec = importlib.util.spec_from_file_location('net', folder / 'net.py')
        page = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(page)
        (folder / 'd.prototxt').write_text(str(classifier.net))
        net = caffe.Net(str(folder / 'd.prototxt'), caffe.TEST)
        for name, blobs in classifier.weights.items():
            for i, blob in enumerate(blobs):
                net.params[name][i].data[...] = blob
        free = free_sizes(classifier.net, classifier.shapes, FIXED_SIZE)
        for feed in some_sizes(classifier.net, classifier.shapes, free):
            image = np.random.default_rng(0).uniform(-120, 130, feed['data']).astype('f')
            net.blobs['data'].reshape(*image.shape)
            net.blobs['data'].data[...] = image
            net.forward()
            with torch.no_grad():
                found = page.load()(torch.from_numpy(image))
            for name, new in zip(outputs, found if isinstance(found, tuple) else [found], strict=True):
                old = net.blobs[name].data
                assert new.shape == old.shape, text
                np.testing.assert_allclose(new.numpy(), old, rtol=0, atol=1e-4 * max(np.abs(old).max(), 1e-3),
                                           err_msg=f'{text} {feed}')


def saved(text, folder):
    """Prototxt and caffemodel of random weights."""
    path = folder / 'p.prototxt'
    path.write_text(text)
    net = caffe.Net(str(path), caffe.TEST)
    randomise(net)
    net.save(str(folder / 'w.caffemodel'))
    return path, folder / 'w.caffemodel'


@pytest.mark.slow
@pytest.mark.parametrize('name', ['lenet', *WHOLE])
def test_by_command(tmp_path, name, capsys):
    prototxt, weights = saved(WHOLE.get(name, LENET), tmp_path)
    out = tmp_path / 'out'
    assert run(command.main, ['export', '--prototxt', str(prototxt), '--weights', str(weights), '--to', 'torch',
                              '--out', str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ['net.py', 'report.json', 'weights.safetensors']
    proof = json.loads((out / 'report.json').read_text())['proof']
    if importlib.util.find_spec('torch') is None:
        assert proof['not_installed'] == ['torch'] and 'not installed: torch' in capsys.readouterr().out
        return
    runs = proof['engines']['torch']['runs']
    assert len(runs) == len(proof['sizes']) >= {'lenet': 2, 'vgg16': 2}.get(name, 3)
    assert all(len(rows) > 1 and all(row['max_relative'] < 1e-5 for row in rows.values()) for rows in runs)


@needs_torch
def test_another_net_is_a_mismatch(tmp_path, monkeypatch):
    prototxt, weights = saved(LENET, tmp_path)
    monkeypatch.setattr(torch_export, 'write_safetensors', lambda path, tensors: write_safetensors(
        path, tensors | {'conv2.weight': tensors['conv2.weight'] * 1.01}))
    with pytest.raises(Mismatch, match="differs from torch's by"):
        export(open_net(prototxt, None, weights), 'torch', tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_pixels_are_prepared_by_the_page(tmp_path, capsys):
    prototxt, weights = saved(WHOLE['vgg16'], tmp_path)
    assert run(command.main, ['export', '--prototxt', str(prototxt), '--weights', str(weights), '--to', 'torch',
                              '--input', 'rgb', '--mean', '1,2,3', '--out', str(tmp_path / 'out')]) == 2
    assert 'leave --input out' in capsys.readouterr().err and not (tmp_path / 'out').exists()


def test_the_files(tmp_path):
    """A page for people, and weights that every reader of safetensors takes."""
    classifier = made(LENET, tmp_path)
    preparation = Preparation((104.0, 117.0, 123.0), 0.5, 'rgb', 32, ('sky', 'sea'))
    assert write_torch(classifier.net, classifier.weights, tmp_path, preparation) == ['prob']
    text = (tmp_path / 'net.py').read_text()
    sound(text)
    for line in ('self.conv1 = nn.Conv2d(1, 4, 5)', 'self.pool1 = nn.MaxPool2d(2, stride=2, ceil_mode=True)',
                 'ip1 = self.ip1(pool2.flatten(1))', 'return prob', 'MEAN = (104.0, 117.0, 123.0)', "'sea',"):
        assert line in text
    tensors = read_safetensors(tmp_path / 'weights.safetensors')
    assert {name: array.shape for name, array in tensors.items()} == {
        'conv1.weight': (4, 1, 5, 5), 'conv1.bias': (4,), 'conv2.weight': (6, 4, 5, 5), 'conv2.bias': (6,),
        'ip1.weight': (8, 96), 'ip1.bias': (8,), 'ip2.weight': (5, 8), 'ip2.bias': (5,)}
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, classifier.weights[name.split('.')[0]]['.bias' in name])
    head = (tmp_path / 'weights.safetensors').read_bytes()
    assert int.from_bytes(head[:8], 'little') % 8 == 0


@needs_torch
@pytest.mark.parametrize('preparation', [
    Preparation((104.0, 117.0, 123.0), 0.5, 'rgb', 32), Preparation((5.0,), 2.0, 'grey'), Preparation(multiple=8)])
def test_photographs_are_prepared_alike(tmp_path, preparation):
    import torch
    classifier = made(LENET, tmp_path)
    write_torch(classifier.net, classifier.weights, tmp_path, preparation)
    spec = importlib.util.spec_from_file_location('net', tmp_path / 'net.py')
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    rgb = np.random.default_rng(0).integers(0, 256, (19, 45, 3), np.uint8)
    np.testing.assert_allclose(page.prepare(torch.from_numpy(rgb))[0].numpy(), preparation.blob(rgb), rtol=1e-5,
                               atol=1e-4)


EVIL = ['"""\nimport os\nos.system("touch ran")\n"""', "x'); import os; os.system('true') #", 'a\\', '\u2028import os',
        '3', 'class', 'self', 'torch', 'forward', 'type', 'train', '_modules', '', 'a/b', 'a.b', 'a b', 'é', 'x' * 5000,
        '__class__', 'load', '\x00', '{0}', '%s', "\\'''"]


def test_names_are_made_safe():
    names = python_names(EVIL)
    assert len(set(names.values())) == len(EVIL) and max(map(len, names.values())) < 100
    for name in names.values():
        assert name.isidentifier() and name.isascii() and name not in MODULE | PAGE and not name.startswith('_')
        compile(f'{name} = 0', '', 'exec')


def test_hostile_names_in_a_net(tmp_path):
    """Names of layers, blobs, net and classes become identifiers or literals; nothing of them is code."""
    classifier = made(LENET, tmp_path)
    net, weights = classifier.net, dict(classifier.weights)
    net.name = EVIL[0] + '\\'
    for i, item in enumerate(net.layer):
        evil, old = f'{i}{EVIL[i % len(EVIL)]}', item.top[0]
        if item.name in weights:
            weights[evil] = weights.pop(item.name)
        item.name = evil
        for other in net.layer:
            for blobs in (other.bottom, other.top):
                for at, name in enumerate(blobs):
                    if name == old:
                        blobs[at] = evil
    text, tensors = describe(net, weights, Preparation(classes=tuple(EVIL[:4])), EVIL)
    tree = sound(text)
    assert not {'os', 'system'} & {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == 'system']
    assert next(ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)
                and node.targets[0].id == 'CLASSES') == tuple(EVIL)
    assert all(name.split('.')[0].isidentifier() for name in tensors) and len(tensors) == 8
    assert text.isascii() and len(text) < 50_000


@pytest.mark.parametrize('text, says', [
    (D6 + of('Pooling', 'pooling_param', 'pool: STOCHASTIC kernel_size: 2'), 'at random'),
    (D6 + of('BatchNorm', 'batch_norm_param', 'use_global_stats: false'), 'statistics of the batch'),
    (D6 + of('Log', 'log_param', 'base: 1'), 'its base is 1'), (D6 + of('MVN'), 'nothing like it')])
def test_what_torch_has_not_is_refused_by_name(tmp_path, text, says):
    (tmp_path / 'p').write_text(text)
    weights = {'l': [np.ones(6), np.ones(6), np.ones(1)]} if 'BatchNorm' in text else {}
    classifier = prepare(read_net(tmp_path / 'p'), weights)
    with pytest.raises(BadInput, match=f'cannot export layer l .*{says}'):
        write_torch(classifier.net, classifier.weights, tmp_path)
    assert not (tmp_path / 'net.py').exists()


def test_missing_parameters_are_named(tmp_path):
    classifier = made(D2 + conv('l', 'data', 'y', num_output=4, kernel_size=3) + ip('m', 'y', 3), tmp_path)
    with pytest.raises(BadInput, match=r'layer m \(InnerProduct\): it takes parameters 3x660, 3, .* none'):
        write_torch(classifier.net, {'l': classifier.weights['l']}, tmp_path)
    assert not (tmp_path / 'net.py').exists()


@needs_torch
def test_what_a_module_has_already():
    import torch
    assert {name for name in dir(torch.nn.Module) if not name.startswith('_')} <= MODULE
