"""Every net takes two steps of its own solver on tiny data in the real formats, and is scored."""
import math
from dataclasses import replace

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import nets  # noqa: E402
from nets.edits import freeze, narrow  # noqa: E402
from solvers import monitor  # noqa: E402
from solvers.loop import solve  # noqa: E402
from solvers.source import source_of  # noqa: E402
from surgery import read_weights, write_weights  # noqa: E402
from tests import NETS  # noqa: E402
from tests.helpers import datasets  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.usefixtures('without_curves')]
SIZES = [(24, 32), (30, 20)]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """All data sets in their usual places, a few small images each."""
    root = tmp_path_factory.mktemp('data')
    datasets.write_voc(root / 'pascal/VOC2011', sizes=SIZES)
    datasets.write_sbd(root / 'sbdd/dataset', sizes=SIZES)
    datasets.write_nyud(root / 'nyud', sizes=SIZES)
    datasets.write_siftflow(root / 'sift-flow', sizes=SIZES)
    datasets.write_pascalcontext(root / 'pascal-context', sizes=SIZES)
    datasets.write_cityscapes(root / 'cityscapes', sizes=SIZES)
    return root


def light(training):
    """The net with 8 outputs in fc6 and fc7, random convolutions, and nothing to learn below the last of them."""
    def fcn(split):
        net = freeze(narrow(training.fcn(split), 8), ('conv1', 'conv2', 'conv3', 'conv4', 'inception_3', 'inception_4'))
        for layer in net.layer:
            if layer.type == 'Convolution' and not layer.name.startswith('score'):
                layer.convolution_param.weight_filler.type = 'msra'
        return net
    recipe = replace(training.recipe, iterations=2, score_every=2, snapshot=2,
                     iter_size=min(2, training.recipe.iter_size))
    return replace(training, fcn=fcn, recipe=recipe)


@pytest.mark.parametrize('name', NETS)
def test_two_steps_and_a_score(name, data, tmp_path, monkeypatch):
    monkeypatch.setenv('FCN_DATA', str(data))
    rng = np.random.default_rng(0)
    weights = tmp_path / 'initial.caffemodel'
    write_weights(weights, {'conv1_1': [rng.standard_normal((64, 3, 3, 3), np.float32) / 50, np.ones(64, 'f')]})
    training = light(nets.load(name))
    matrices = solve(training, tmp_path / 'run', [weights] * len(training.init))
    lines = monitor.read(tmp_path / 'run/metrics.jsonl')
    assert len(lines) == 3 and all(math.isfinite(line['loss']) and line['loss'] > 0 for line in lines)
    source = source_of(training)
    assert set(matrices) == set(source.tasks.values()) == set(lines[-1]['scores'])
    for label, matrix in matrices.items():
        assert matrix.classes == source.dataset.classes[label] and matrix.counts.sum() > 0
    learnt = read_weights(tmp_path / 'run/weights.caffemodel')
    scores = [blobs for layer, blobs in learnt.items() if layer.startswith('score')]
    assert scores and all(np.abs(blob).max() > 0 for blobs in scores for blob in blobs)


def test_the_first_convolution_of_color_and_depth():
    """Its BGR filters are the classifier's, its depth filter their mean."""
    from nets.nyud_fcn32s_color_d import solve as color_d
    from solvers.instance import instantiate
    rng = np.random.default_rng(0)
    vgg = {'conv1_1': [rng.standard_normal((64, 3, 3, 3), np.float32), rng.standard_normal(64, np.float32)],
           'conv1_2': [rng.standard_normal((64, 64, 3, 3), np.float32), np.ones(64, 'f')]}
    net = instantiate(color_d.training.fcn('deploy'))
    color_d.initialise(net, vgg)
    filters, bias = (blob.data for blob in net.params['conv1_1_bgrd'])
    np.testing.assert_array_equal(filters[:, :3], vgg['conv1_1'][0])
    np.testing.assert_allclose(filters[:, 3], vgg['conv1_1'][0].mean(1), rtol=1e-5)
    np.testing.assert_array_equal(bias, vgg['conv1_1'][1])
    np.testing.assert_array_equal(net.params['conv1_2'][0].data, vgg['conv1_2'][0])


def test_late_fusion_starts_from_both_nets():
    from nets.nyud_fcn32s_color_hha import solve as color_hha
    from solvers.instance import instantiate
    rng = np.random.default_rng(0)
    trained = [{'score_fr': [rng.standard_normal((40, 4096, 1, 1), np.float32), np.ones(40, 'f')]} for _ in range(2)]
    net = instantiate(color_hha.training.fcn('deploy'))
    color_hha.initialise(net, *trained)
    for suffix, weights in zip(('color', 'hha'), trained, strict=True):
        np.testing.assert_array_equal(net.params[f'score_fr{suffix}'][0].data, weights['score_fr'][0])


def test_the_classifiers_fc6_and_fc7_get_the_names_of_the_cityscapes_net():
    from nets.cityscapes_fcn8s import solve as cityscapes
    from solvers.instance import instantiate
    rng = np.random.default_rng(0)
    vgg = {'conv1_1': [rng.standard_normal((64, 3, 3, 3), np.float32), np.ones(64, 'f')],
           'fc6': [rng.standard_normal((8, 512 * 7 * 7), np.float32), np.ones(8, 'f')],
           'fc7': [rng.standard_normal((8, 8), np.float32), np.ones(8, 'f')], 'fc8': [np.ones((1000, 8), 'f')]}
    net = instantiate(narrow(cityscapes.training.fcn('deploy'), 8))
    report, = cityscapes.initialise(net, vgg)
    assert {entry.source for entry in report.dropped} == {'fc8'}
    for fc in ('fc6', 'fc7'):
        np.testing.assert_array_equal(net.params[f'{fc}_cs'][0].data.ravel(), vgg[fc][0].ravel())
    np.testing.assert_array_equal(net.params['conv1_1'][0].data, vgg['conv1_1'][0])


def test_the_cityscapes_net_learns_its_upsampling_from_bilinear_kernels(data, tmp_path, monkeypatch):
    from surgery import bilinear_kernel
    monkeypatch.setenv('FCN_DATA', str(data))
    write_weights(tmp_path / 'w', {'conv1_1': [np.ones((64, 3, 3, 3), 'f') / 50, np.ones(64, 'f')]})
    training = light(nets.load('cityscapes-fcn8s'))
    training = replace(training, recipe=replace(training.recipe, base_lr=1e-7))
    solve(training, tmp_path / 'run', [tmp_path / 'w'])
    learnt = read_weights(tmp_path / 'run/weights.caffemodel')
    for name, size in (('upscore2', 4), ('upscore_pool4', 4), ('upscore8', 16)):
        kernels = learnt[name][0]
        assert kernels.shape == (20, 20, size, size)
        np.testing.assert_allclose(kernels[range(20), range(20)].mean(0), bilinear_kernel(size), atol=0.1)
    start = np.zeros((20, 20, 16, 16), 'f')
    start[range(20), range(20)] = bilinear_kernel(16)
    assert (learnt['upscore8'][0] != start).any()
