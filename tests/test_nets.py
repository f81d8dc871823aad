"""The nets against the facts of the papers' published prototxts, stated here by hand."""
import subprocess
import sys
from pathlib import Path

import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import nets  # noqa: E402
from nets import alexnet, vgg16  # noqa: E402
from nets.summary import summary  # noqa: E402
from solvers.instance import instantiate  # noqa: E402
from tests import NETS  # noqa: E402

pytestmark = pytest.mark.caffe
ROOT = Path(__file__).resolve().parent.parent
GOLDEN = Path(__file__).parent / 'golden'

VGG_LAYERS = '''conv1_1 relu1_1 conv1_2 relu1_2 pool1 conv2_1 relu2_1 conv2_2 relu2_2 pool2
    conv3_1 relu3_1 conv3_2 relu3_2 conv3_3 relu3_3 pool3 conv4_1 relu4_1 conv4_2 relu4_2 conv4_3 relu4_3 pool4
    conv5_1 relu5_1 conv5_2 relu5_2 conv5_3 relu5_3 pool5 fc6 relu6 drop6 fc7 relu7 drop7'''.split()
HEADS = {
    'voc-fcn32s': 'score_fr upscore score',
    'voc-fcn16s': 'score_fr upscore2 score_pool4 score_pool4c fuse_pool4 upscore16 score',
    'voc-fcn8s': 'score_fr upscore2 score_pool4 score_pool4c fuse_pool4 upscore_pool4 score_pool3 score_pool3c '
                 'fuse_pool3 upscore8 score',
    'voc-fcn8s-atonce': 'score_fr upscore2 scale_pool4 score_pool4 score_pool4c fuse_pool4 upscore_pool4 scale_pool3 '
                        'score_pool3 score_pool3c fuse_pool3 upscore8 score',
}
# (offset of each crop), (kernel and stride of each deconvolution)
GEOMETRY = {
    'voc-fcn32s': ({'score': 19}, {'upscore': (64, 32)}),
    'voc-fcn16s': ({'score_pool4c': 5, 'score': 27}, {'upscore2': (4, 2), 'upscore16': (32, 16)}),
    'voc-fcn8s': ({'score_pool4c': 5, 'score_pool3c': 9, 'score': 31},
                  {'upscore2': (4, 2), 'upscore_pool4': (4, 2), 'upscore8': (16, 8)}),
    'voc-fcn8s-atonce': ({'score_pool4c': 5, 'score_pool3c': 9, 'score': 31},
                         {'upscore2': (4, 2), 'upscore_pool4': (4, 2), 'upscore8': (16, 8)}),
    'voc-fcn-alexnet': ({'score': 18}, {'upscore': (63, 32)}),
}
LEARNED = [(1, 1), (2, 0)]


def by_name(net):
    return {layer.name: layer for layer in net.layer}


@pytest.mark.parametrize('name', HEADS)
def test_layers_of_the_vgg_nets(name):
    train = nets.load(name).fcn('train')
    assert [layer.name for layer in train.layer] == ['data', *VGG_LAYERS, *HEADS[name].split(), 'loss']


@pytest.mark.parametrize('name', GEOMETRY)
def test_offsets_and_kernels(name):
    crops, deconvolutions = GEOMETRY[name]
    train = nets.load(name).fcn('train')
    assert {layer.name: layer.crop_param.offset[0] for layer in train.layer if layer.type == 'Crop'} == crops
    assert all(layer.crop_param.axis == 2 for layer in train.layer if layer.type == 'Crop')
    found = {layer.name: layer for layer in train.layer if layer.type == 'Deconvolution'}
    assert {key: (layer.convolution_param.kernel_size[0], layer.convolution_param.stride[0])
            for key, layer in found.items()} == deconvolutions
    for layer in found.values():
        assert not layer.convolution_param.bias_term and layer.convolution_param.group == 1
        assert layer.convolution_param.num_output == 21
        assert [param.lr_mult for param in layer.param] == [0]


def test_learning_rates_and_padding_of_the_trunk():
    layers = by_name(nets.load('voc-fcn8s').fcn('train'))
    for name, layer in layers.items():
        if layer.type == 'Convolution':
            assert [(param.lr_mult, param.decay_mult) for param in layer.param] == LEARNED
            kernel = {'fc6': 7, 'fc7': 1}.get(name, 1 if name.startswith('score') else 3)
            pad = 100 if name == 'conv1_1' else 1 if kernel == 3 else 0
            assert layer.convolution_param.kernel_size == [kernel] and layer.convolution_param.pad == [pad]
            assert not layer.convolution_param.HasField('weight_filler')
    assert layers['loss'].loss_param.ignore_label == 255 and not layers['loss'].loss_param.normalize
    assert layers['loss'].loss_param.HasField('normalize')
    assert layers['drop6'].dropout_param.dropout_ratio == 0.5 and list(layers['drop6'].top) == ['fc6']
    assert list(layers['fuse_pool4'].bottom) == ['upscore2', 'score_pool4c']
    assert list(layers['score'].bottom) == ['upscore8', 'data']


def test_the_cityscapes_net_is_fcn8s_with_other_names_no_dropout_and_learned_upsampling():
    voc, cityscapes = (by_name(nets.load(name).fcn('train')) for name in ('voc-fcn8s', 'cityscapes-fcn8s'))
    renamed = {f'{kind}{fc}': f'{kind}{fc}_cs' for kind in ('fc', 'relu') for fc in '67'}
    assert list(cityscapes) == [renamed.get(name, name) for name in voc if not name.startswith('drop')]
    for name, layer in voc.items():
        if name.startswith('drop') or name == 'data':
            continue
        for field in (layer.bottom, layer.top):
            field[:] = [renamed.get(blob, blob) for blob in field]
        layer.name = renamed.get(name, name)
        if layer.convolution_param.num_output == 21:
            layer.convolution_param.num_output = 20
        if layer.type == 'Deconvolution':
            layer.param[0].lr_mult = 1
        assert cityscapes[layer.name] == layer
    assert {name: layer.crop_param.offset[0] for name, layer in cityscapes.items() if layer.type == 'Crop'} == {
        'score_pool4c': 5, 'score_pool3c': 9, 'score': 31}
    assert "'dataset': 'cityscapes'" in cityscapes['data'].python_param.param_str


def test_alexnet_has_no_rates_of_its_own_but_for_the_score():
    layers = by_name(nets.load('voc-fcn-alexnet').fcn('train'))
    assert {name: len(layer.param) for name, layer in layers.items() if layer.type == 'Convolution'} == {
        'conv1': 0, 'conv2': 0, 'conv3': 0, 'conv4': 0, 'conv5': 0, 'fc6': 0, 'fc7': 0, 'score_fr': 2}
    assert {name: layer.convolution_param.group for name, layer in layers.items() if layer.type == 'Convolution'} == {
        'conv1': 1, 'conv2': 2, 'conv3': 1, 'conv4': 2, 'conv5': 2, 'fc6': 1, 'fc7': 1, 'score_fr': 1}
    assert layers['conv1'].convolution_param.pad == [100] and layers['conv1'].convolution_param.stride == [4]
    assert layers['norm1'].lrn_param.local_size == 5 and layers['loss'].loss_param.normalize


def test_scales_of_the_net_trained_at_once():
    layers = by_name(nets.load('voc-fcn8s-atonce').fcn('train'))
    for pool, value in (('pool4', 0.01), ('pool3', 0.0001)):
        scale = layers[f'scale_{pool}']
        assert scale.scale_param.filler.value == pytest.approx(value) and scale.scale_param.filler.type == 'constant'
        assert [param.lr_mult for param in scale.param] == [0]
        assert list(layers[f'score_{pool}'].bottom) == [f'scale_{pool}']


@pytest.mark.parametrize('name', NETS)
def test_the_phases_differ_in_the_data_layer_only(name):
    training = nets.load(name)
    train, test = (training.fcn(split) for split in training.phases)
    assert train.layer[0].python_param.param_str != test.layer[0].python_param.param_str
    assert train.layer[1:] == test.layer[1:]
    deploy = training.fcn('deploy')
    assert deploy.layer[0].type == 'Input' and list(deploy.layer[0].input_param.shape[0].dim)[2:] == [500, 500]
    assert not any('Loss' in layer.type or layer.type == 'Python' for layer in deploy.layer)


SOLVERS = {  # base_lr, momentum, iter_size, max_iter, snapshot, test_iter; steps, score every
    'voc-fcn32s': (1e-10, 0.99, 1, 100_000, 4_000, 736, 100_000, 4_000),
    'voc-fcn16s': (1e-12, 0.99, 1, 100_000, 4_000, 736, 100_000, 4_000),
    'voc-fcn8s': (1e-14, 0.99, 1, 100_000, 4_000, 736, 100_000, 4_000),
    'voc-fcn8s-atonce': (1e-10, 0.99, 1, 300_000, 4_000, 736, 300_000, 4_000),
    'voc-fcn-alexnet': (1e-4, 0.9, 20, 100_000, 4_000, 736, 100_000, 4_000),
    'cityscapes-fcn8s': (1e-12, 0.99, 1, 300_000, 4_000, 500, 300_000, 4_000),
}


@pytest.mark.parametrize('name', SOLVERS)
def test_solvers(name):
    training = nets.load(name)
    solver = training.prototxts()['solver']
    found = (pytest.approx(solver.base_lr), pytest.approx(solver.momentum), solver.iter_size, solver.max_iter,
             solver.snapshot, solver.test_iter[0], training.recipe.iterations, training.recipe.score_every)
    assert found == SOLVERS[name]
    assert solver.lr_policy == 'fixed' and solver.weight_decay == pytest.approx(5e-4)
    assert solver.display == solver.average_loss == 20
    assert solver.test_interval == 999_999_999 and not solver.test_initialization


@pytest.mark.parametrize('name', NETS)
def test_golden_summary(name, request):
    """One line a layer as Caffe instantiates it. `--record-golden` accepts a change."""
    found = summary(nets.load(name).fcn('deploy')) + '\n'
    path = GOLDEN / f'{name}.txt'
    if request.config.getoption('--record-golden'):
        path.write_text(found)
    assert found == path.read_text()


def test_classifiers():
    vgg = instantiate(vgg16.classifier())
    assert vgg.blobs['prob'].data.shape == (1, 1000)
    assert vgg.params['fc6'][0].data.shape == (4096, 512 * 7 * 7)
    assert sum(blob.count for blobs in vgg.params.values() for blob in blobs) == 138_357_544
    caffenet = instantiate(alexnet.classifier())
    assert caffenet.params['fc6'][0].data.shape == (4096, 256 * 6 * 6)
    assert sum(blob.count for blobs in caffenet.params.values() for blob in blobs) == 60_965_224


def test_an_image_of_any_size_keeps_its_size():
    net = instantiate(nets.load('voc-fcn8s').fcn('deploy'))
    for height, width in ((1, 1), (37, 61), (100, 33)):
        net.blobs['data'].reshape(1, 3, height, width)
        net.reshape()
        assert net.blobs['score'].data.shape == (1, 21, height, width)


def test_emit_writes_every_file(tmp_path):
    subprocess.run([sys.executable, '-m', 'nets', 'emit', '--out', tmp_path], cwd=ROOT, check=True)
    assert set(NETS) <= set(nets.names())
    for name in NETS:
        found = sorted(path.name for path in (tmp_path / name).iterdir())
        one_photograph = not name.startswith(('nyud-fcn32s-color-', 'nyud-fcn32s-hha', 'nyud-fcn16s', 'siftflow'))
        assert found == sorted([*(f'{stem}.prototxt' for stem in (*nets.load(name).phases, 'deploy', 'solver')),
                                *['net.json'] * one_photograph])


def test_an_unknown_net_is_refused_in_one_line(tmp_path):
    result = subprocess.run([sys.executable, '-m', 'nets', 'emit', 'voc-fcn4s', '--out', tmp_path], cwd=ROOT,
                            capture_output=True, text=True)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
    assert 'voc-fcn4s' in result.stderr and 'voc-fcn8s' in result.stderr
