"""Nets for someone's own data: written, trained, and fed with variations."""
import ast
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import nets  # noqa: E402
from cli import BadInput  # noqa: E402
from data_layers import layers  # noqa: E402
from data_layers.augment import OPTIONS, augment  # noqa: E402
from solvers.instance import instantiate  # noqa: E402
from solvers.loop import solve  # noqa: E402
from solvers.source import read_from, source_of  # noqa: E402
from surgery import write_weights  # noqa: E402
from tests.helpers import own  # noqa: E402
from tests.helpers.datasets import save_lines, save_png  # noqa: E402
from tests.helpers.own_nets import convolutions, light, train_chain, write  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.usefixtures('without_curves')]
ROOT = Path(__file__).resolve().parent.parent
WIDTH = 24      # of convolutions


@pytest.fixture
def narrow_weights(tmp_path):
    """Of a classifier like VGG-16, but narrow."""
    path = tmp_path / 'narrow.caffemodel'
    write_weights(path, convolutions(WIDTH))
    return path


def test_three_kinds_of_masks_train_to_the_same_result(checkout, narrow_weights, tmp_path):
    """The same photographs with index, palette and RGB masks: equal bits of weights, equal losses and scores."""
    results = []
    for masks in ('index', 'palette', 'rgb'):
        own.write(tmp_path / masks, masks)
        write(f'by-{masks}', tmp_path / masks, checkout)
        results.append(train_chain(f'by-{masks}', narrow_weights, tmp_path / 'runs', 2, WIDTH))
    assert np.sum(results[0][1]) > 0
    assert results[0] == results[1] == results[2]


def test_written_nets_are_like_those_by_hand(checkout, tmp_path):
    own.write(tmp_path / 'photos')
    text = write('my-roads', tmp_path / 'photos', checkout)
    assert nets.names() == ['my-roads-fcn16s', 'my-roads-fcn32s', 'my-roads-fcn8s'] and 'make my-roads-fcn8s' in text
    before = 'vgg16'
    for name in ('fcn32s', 'fcn16s', 'fcn8s'):
        training = nets.load(f'my-roads-{name}')
        assert training.net == f'my-roads-{name}' and training.init == (before,)
        before = training.net
        by_hand = __import__(f'nets.voc_{name}.net', fromlist=['fcn']).fcn('train')
        written = training.fcn('train')
        for layer in by_hand.layer:     # but for the number of classes
            if layer.convolution_param.num_output == 21:
                layer.convolution_param.num_output = 3
        assert list(by_hand.layer)[1:] == list(written.layer)[1:]
        assert ast.literal_eval(written.layer[0].python_param.param_str) == {
            'dataset': 'my-roads', 'split': 'train', 'tops': ('data', 'label'), 'seed': 1337}
        assert training.fcn('deploy').layer[0].type == 'Input'
    recipe = nets.load('my-roads-fcn32s').recipe
    assert (recipe.iterations, recipe.momentum, recipe.test_iter) == (4000, 0.99, 1)
    assert recipe.base_lr == pytest.approx(1e-10 * 187500 / (24 * 32 + 33 * 20) * 2, rel=0.3)
    source = source_of(nets.load('my-roads-fcn8s'))
    assert source.classes('score') == own.CLASSES
    image = source.read(next((tmp_path / 'photos/images').iterdir()))['data']
    assert image.shape[0] == 3 and abs(image).max() < 256
    for path in checkout.rglob('*.py'):
        result = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--isolated', '--select=E,F,UP,B',
                                 '--line-length=120', path], capture_output=True, text=True)
        assert result.returncode == 0, result.stdout


def test_heads_trunks_and_widths(checkout, tmp_path):
    own.write(tmp_path / 'photos')
    write('coarse', tmp_path / 'photos', checkout, '--head', 16, '--width', 24, '--balance')
    assert nets.names() == ['coarse-fcn16s', 'coarse-fcn32s']
    train, val = (nets.load('coarse-fcn16s').fcn(split) for split in ('train', 'val'))
    sizes = {layer.name: layer.convolution_param.num_output for layer in train.layer}
    assert sizes['fc6'] == sizes['fc7'] == 24
    assert [layer.name for layer in train.layer if layer.name not in {other.name for other in val.layer}] == [
        'score_weighted']
    for trunk, init in (('alexnet', 'caffenet'), ('googlenet', 'googlenet')):
        write(f'by-{trunk}', tmp_path / 'photos', checkout, '--trunk', trunk)
        training = nets.load(f'by-{trunk}-fcn-{trunk}')
        assert training.init == (init,)
        net = instantiate(training.fcn('train'), caffe.TRAIN)
        assert net.blobs['score'].channels == 3
    assert nets.load('by-alexnet-fcn-alexnet').recipe.iter_size == 20


@pytest.mark.parametrize('call, complaint', [
    (['Roads'], 'take lower case letters'), (['a b'], 'take lower case letters'), (['../a'], 'take lower case letters'),
    (['class'], 'take lower case letters'), (['voc'], 'that of a data set of the papers'),
    (['blocks'], 'is taken; take another, or remove .*blocks.py'),
    (['roads', '--trunk', 'alexnet', '--head', '8'], 'has no head of stride 8'),
    (['roads', '--trunk', 'googlenet', '--width', '8'], 'leave it out'), (['roads', '--width', '0'], 'above 0'),
    (['roads', '--width', '1000000'], 'more weights than Caffe can count'),
    (['roads', '--workers', '0'], 'at least 1'), (['roads', '--vary', 'flip'], "variation 'flip' is unknown"),
    (['roads', '--classes', 'none.txt'], 'none.txt is missing')])
def test_wrong_calls(call, complaint, checkout, tmp_path):
    own.write(tmp_path / 'photos')
    (checkout / 'blocks.py').touch()
    with pytest.raises(BadInput, match=complaint):
        write(call[0], tmp_path / 'photos', checkout, *call[1:])
    assert [path.name for path in checkout.iterdir()] == ['blocks.py'] and not (tmp_path / 'data').exists()


def test_a_mistake_is_told_in_one_line_and_nothing_written(checkout, tmp_path, capsys):
    own.write(tmp_path / 'photos')
    save_png(tmp_path / 'photos/masks/photo1.png', np.full((33, 20), 9, np.uint8))
    with pytest.raises(BadInput, match='9 NAME') as problem:
        write('roads', tmp_path / 'photos', checkout)
    assert '\n' not in str(problem.value) and 'background' in capsys.readouterr().out
    assert not list(checkout.iterdir()) and not (tmp_path / 'data').exists()


def test_nothing_in_the_data_becomes_code(checkout, tmp_path):
    """Names of classes and folders go into dataset.json and nowhere else."""
    evil = tmp_path / 'a\'"""b'
    own.write(evil)
    save_lines(evil / 'classes.txt', ['background', '"""+__import__("os")+"""', "{'x'}"])
    write('roads', evil, checkout)
    for path in checkout.rglob('*.py'):
        assert '__import__' not in path.read_text() and evil.name not in path.read_text()
    assert source_of(nets.load('roads-fcn8s')).classes('score')[1] == '"""+__import__("os")+"""'


def test_make_knows_the_new_nets(tmp_path):
    """In a copy of the checkout: `make roads-fcn8s` is `python -m nets train roads-fcn8s`."""
    copy = tmp_path / 'copy'
    copy.mkdir()
    for name in ('nets', 'solvers', 'data_layers', 'surgery'):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('cli.py', 'files.py', 'workers.py', 'Makefile'):
        shutil.copy(ROOT / name, copy)
    own.write(tmp_path / 'photos')
    environment = {**os.environ, 'PYTHONPATH': str(copy)}
    subprocess.run([sys.executable, '-m', 'nets', 'new', 'roads', '--data', tmp_path / 'photos'], cwd=copy,
                   env=environment, check=True, capture_output=True)
    said = subprocess.run(['make', '-n', '-o', 'setup', 'roads-fcn8s'], cwd=copy, env=environment, check=True,
                          capture_output=True, text=True).stdout
    assert '-m nets train roads-fcn8s' in said
    listed = subprocess.run([sys.executable, '-m', 'nets', 'list'], cwd=copy, env=environment, check=True,
                            capture_output=True, text=True).stdout
    assert {'roads-fcn32s', 'roads-fcn16s', 'roads-fcn8s', 'voc-fcn8s'} <= set(listed.split())


# Variations and weights in the layer.

def data_net(**options):
    net = caffe.proto.caffe_pb2.NetParameter()
    layer = net.layer.add(name='data', type='Python', top=['data', 'label'])
    layer.python_param.module, layer.python_param.layer = 'data_layers.layers', 'SegmentationData'
    layer.python_param.param_str = str(options)
    return net


@pytest.fixture
def described(tmp_path, checkout):
    """One photograph to train on: every position draws it, and only the variations differ."""
    own.write(tmp_path / 'photos', count=2)
    write('roads', tmp_path / 'photos', checkout)
    return tmp_path


def test_the_layer_varies_by_seed_and_position(described):
    options = dict(mirror=True, scale=(0.5, 1.5), crop=16, rotate=30, colour=0.5)
    net = instantiate(data_net(dataset='roads', split='train', seed=5, batch_size=2, **options))
    dataset = layers.newest_training().dataset
    seen = []
    for _ in range(4):
        net.forward()
        seen.append((net.blobs['data'].data.copy(), net.blobs['label'].data.copy()))
    assert seen[0][0].shape == (2, 3, 16, 16)
    for position in range(8):
        image, label = augment(dataset.load(dataset.ids[0]), 5, position, photos={0: dataset.mean}, **options)
        np.testing.assert_array_equal(seen[position // 2][0][position % 2], image)
        np.testing.assert_array_equal(seen[position // 2][1][position % 2], label)
    net.reshape()       # reads at position 8 the very same photograph
    layers.seek(4)
    net.forward()
    np.testing.assert_array_equal(net.blobs['data'].data, seen[2][0])


@pytest.mark.parametrize('options, complaint', [
    (dict(split='val', mirror=True), 'mirror are for training splits, not for val'),
    (dict(split='train', mirror=1), 'mirror is 1; give True or False'),
    (dict(split='train', scale=(2, 1)), 'give the smallest and the largest'),
    (dict(split='train', scale=2), 'give the smallest and the largest'),
    (dict(split='train', crop=True), 'give the side'), (dict(split='train', crop=0), 'crop'),
    (dict(split='train', rotate=True), 'the largest angle'), (dict(split='train', rotate=181), 'the largest angle'),
    (dict(split='train', colour=0), 'the strength'), (dict(split='train', colour='red'), 'the strength'),
    (dict(split='train', flip=True), "unknown key 'flip'")])
def test_wrong_variations_are_refused(options, complaint, described):
    with pytest.raises(BadInput, match=complaint):
        instantiate(data_net(dataset='roads', **options))


def test_published_nets_vary_nothing():
    for name in ('voc-fcn8s', 'siftflow-fcn8s'):
        training = nets.load(name)
        assert not {*OPTIONS} & ast.literal_eval(
            training.fcn(training.phases[0]).layer[0].python_param.param_str).keys()


def test_variations_asked_for_are_written(checkout, tmp_path):
    """In the module of the data set, where the net of the training split, and no other, takes them from."""
    own.write(tmp_path / 'photos')      # up to 33 pixels long
    for name, vary, expected in (('some', 'mirror,rotate=7.5', {'mirror': True, 'rotate': 7.5}),
                                 ('all', 'colour,crop,scale,mirror,rotate', {
                                     'colour': 0.2, 'crop': 33, 'scale': (0.5, 2), 'mirror': True, 'rotate': 10})):
        write(name, tmp_path / 'photos', checkout, '--vary', vary)
        train, val = (ast.literal_eval(nets.load(f'{name}-fcn8s').fcn(split).layer[0].python_param.param_str)
                      for split in ('train', 'val'))
        assert {key: train[key] for key in OPTIONS if key in train} == expected and not val.keys() & {*OPTIONS}
        instantiate(nets.load(f'{name}-fcn32s').fcn('train')).forward()


def test_varied_training_resumes_exactly(described, narrow_weights):
    """Six steps at once end as four and two do, with all variations on."""
    training = light(nets.load('roads-fcn32s'), 6, WIDTH)
    unvaried = training.fcn
    training = replace(training, fcn=lambda split: read_from(unvaried(split), mirror=True, scale=(0.5, 1.5), crop=24,
                                                               rotate=15, colour=0.3)
                       if split == 'train' else unvaried(split))
    whole, parts = described / 'runs/whole', described / 'runs/parts'
    solve(training, whole, [narrow_weights])
    solve(replace(training, recipe=replace(training.recipe, iterations=4)), parts, [narrow_weights])
    solve(training, parts, resume=True)
    assert (whole / 'metrics.jsonl').read_text() == (parts / 'metrics.jsonl').read_text()
    assert (whole / 'weights.caffemodel').read_bytes() == (parts / 'weights.caffemodel').read_bytes()


WEIGHED = """
layer {{ name: "score" type: "Input" top: "score" input_param {{ shape {{ dim: [2, 3, 4, 5] }} }} }}
layer {{ name: "label" type: "Input" top: "label" input_param {{ shape {{ dim: [2, 1, 4, 5] }} }} }}
layer {{ name: "weighted" type: "Python" bottom: "score" bottom: "label" top: "weighted"
        python_param {{ module: "data_layers.layers" layer: "ClassWeights" param_str: "{}" }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "weighted" bottom: "label" top: "loss" loss_weight: 1
        loss_param {{ normalize: false ignore_label: 255 }} }}
force_backward: true
"""


def weighed(weights):
    from google.protobuf import text_format
    return instantiate(text_format.Parse(WEIGHED.format(weights), caffe.proto.caffe_pb2.NetParameter()))


def test_class_weights_weigh_the_gradient():
    """Against the gradient of the weighted cross entropy, w (p - y), by numpy."""
    weights = (0.5, 1.0, 4.0)
    net, rng = weighed(weights), np.random.default_rng(0)
    score = rng.standard_normal((2, 3, 4, 5))
    label = rng.choice([0, 1, 2, 255], (2, 1, 4, 5))
    net.blobs['score'].data[...], net.blobs['label'].data[...] = score, label
    loss = net.forward()['loss']
    net.backward()
    p = np.exp(score) / np.exp(score).sum(1, keepdims=True)
    y = label == np.arange(3)[None, :, None, None]
    w = np.append(weights, np.zeros(253))[label]
    np.testing.assert_allclose(net.blobs['score'].diff, w * (p - y) / 2, atol=1e-6)     # Caffe divides by the batch
    np.testing.assert_allclose(loss, -np.log(p[y]).sum() / 2, rtol=1e-5)


@pytest.mark.parametrize('weights', ['(1, 2)', '(1, 2, 0)', '(1, 2, -3)', "(1, 2, 'a')", '__import__', '(1, 2, 1e999)'])
def test_wrong_class_weights_are_refused(weights):
    with pytest.raises(BadInput, match='the 3 positive weights'):
        weighed(weights)
