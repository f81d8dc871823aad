"""Segmentation heads on trunks of every kind: the papers' own offsets, all image sizes, two steps of training."""
import json
import os

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from cli import BadInput, run  # noqa: E402
from data_layers import DATASETS  # noqa: E402
from data_layers.voc import CLASSES  # noqa: E402
from solvers.folder import read_training  # noqa: E402
from surgery import __main__ as command  # noqa: E402
from surgery import convolutionalize, head, prepare, read_net, read_weights, write_prototxt  # noqa: E402
from surgery.coordinates import fields  # noqa: E402
from surgery.head.data import splits_of  # noqa: E402
from surgery.shapes import infer  # noqa: E402
from tests.helpers.datasets import write_voc  # noqa: E402
from tests.helpers.surgery_nets import DATA, LENET, WHOLE, caffenet, conv, ip, layer, pool, randomise, vgg16  # noqa: E402

pytestmark = pytest.mark.caffe


def dense(text, folder):
    (folder / 'net.prototxt').write_text(text)
    return convolutionalize(prepare(read_net(folder / 'net.prototxt'), {}))


def crops(net):
    return {x.name: list(x.crop_param.offset) for x in net.layer if x.type == 'Crop'}


@pytest.mark.parametrize('text, stop, skips, expected', [
    (vgg16(4), 32, (), {'score': [19]}),
    (vgg16(4), 16, ('pool4',), {'score_pool4c': [5], 'score': [27]}),
    (vgg16(4), 8, ('pool4', 'pool3'), {'score_pool4c': [5], 'score_pool3c': [9], 'score': [31]}),
    (caffenet(), 32, (), {'score': [18]})])
def test_offsets_are_the_published_ones(tmp_path, text, stop, skips, expected):
    """With the papers' padding of 100, for VGG-16 and for CaffeNet."""
    trunk = head.plan(dense(text, tmp_path), stop, skips)
    upsamplings = []
    vgg = 'conv5_3' in text
    net = head.segmenter(trunk, 21, 99 if vgg else 100, {}, upsamplings)          # VGG-16 has 1 already
    assert crops(net) == expected
    assert upsamplings == [(4, 0)] * len(skips) + [(2 * stop if vgg else 63, 0)]


def test_offsets_are_those_of_caffes_coord_map(tmp_path):
    """Caffe maps coordinates for the layers it knows how to; the rest is in its generated net."""
    from caffe import layers as L
    from caffe.coord_map import crop
    n = caffe.NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 1, 60, 60]))
    n.conv1 = L.Convolution(n.data, num_output=2, kernel_size=5, stride=2, pad=40)
    n.pool1 = L.Pooling(n.conv1, kernel_size=3, stride=2)
    n.conv2 = L.Convolution(n.pool1, num_output=2, kernel_size=3, dilation=2, pad=6)
    n.up1 = L.Deconvolution(n.conv2, convolution_param=dict(num_output=2, kernel_size=3, stride=2, pad=1))
    n.crop1 = crop(n.up1, n.conv1)
    n.up2 = L.Deconvolution(n.crop1, convolution_param=dict(num_output=2, kernel_size=3, stride=2))
    n.crop2 = crop(n.up2, n.data)
    net = n.to_proto()
    seen = fields(net, infer(net))
    for name, bottom, like in (('crop1', 'up1', 'conv1'), ('crop2', 'up2', 'data')):
        (a, _), (b, _) = seen[bottom], seen[like]
        theirs = next(x for x in net.layer if x.name == name).crop_param.offset[0]
        assert theirs == (b.centre - a.centre) / a.stride
    assert seen['crop2'][0].centre == 0


@pytest.mark.parametrize('name', WHOLE)
@pytest.mark.parametrize('stop', [32, 16, 8])
def test_images_of_every_size_are_covered_and_scores_lie_on_their_pixels(tmp_path, name, stop):
    trunk = head.plan(dense(WHOLE[name], tmp_path), stop)
    upsamplings = []
    pad = head.smallest_pad(trunk, 3, upsamplings)
    net = head.segmenter(trunk, 3, pad, {}, upsamplings)
    for n in (*range(1, 70), 225, 500):
        assert infer(net, {'data': (1, 3, n, 3 * n % 71 + 1)}).blobs['score'] == (1, 3, n, 3 * n % 71 + 1)
    for f in fields(net, infer(net))['score']:
        assert (f.stride, f.centre) == (1, 0)
    with pytest.raises(BadInput):
        less = head.segmenter(trunk, 3, pad - 1, {}, upsamplings)
        for n in range(1, 33):
            infer(less, {'data': (1, 3, n, n)})
    write_prototxt(tmp_path / 'fcn.prototxt', net)
    caffes = caffe.Net(str(tmp_path / 'fcn.prototxt'), caffe.TEST)
    for n in (1, 33, 71):
        caffes.blobs['data'].reshape(1, 3, n, n + 5)
        caffes.reshape()
        assert caffes.blobs['score'].data.shape == (1, 3, n, n + 5)


def test_skips_come_from_the_deepest_layer_that_every_path_goes_through(tmp_path):
    found = {name: (head.plan(dense(text, tmp_path), 8)) for name, text in WHOLE.items()}
    assert found['vgg16'].skips == ((16, 'conv5_3'), (8, 'conv4_3')) and found['vgg16'].feature == 'fc7'
    assert found['caffenet'].skips == ((16, 'conv5'), (8, 'conv2'))
    assert found['googlenet'].skips == ((16, 'inception_4a/output'), (8, 'inception_3a/output'))
    assert found['resnet'].skips == ((16, 'res4b'), (8, 'res3b')) and found['resnet'].feature == 'res5b'
    assert found['googlenet'].source == 'inception_5a/output' and found['googlenet'].feature == 'drop_map'
    assert not any(x.type in ('Softmax', 'InnerProduct') or x.name in ('fc8', 'pool5', 'fc')
                   for x in found['resnet'].net.layer)


def test_refusals(tmp_path):
    lenet = dense(LENET, tmp_path)
    with pytest.raises(BadInput, match='no layer at stride 8 .*it has 1, 2, 4'):
        head.plan(lenet, 8)
    assert head.plan(lenet, 4).skips == () and head.plan(lenet, 2).skips == ((2, 'conv2'),)
    with pytest.raises(BadInput, match='no such blob'):
        head.plan(lenet, 2, ['conv9'])
    uneven = (DATA % (3, 31, 31) + conv('a', 'data', num_output=2, kernel_size=3, stride=2)
              + pool('b', 'data', kernel_size=3, stride=2) + conv('b2', 'b', num_output=2, kernel_size=1)
              + layer('c', 'Concat', ['a', 'b2']) + ip('fc', 'c', 2))
    with pytest.raises(BadInput, match='every size, and at 32x32, layer c'):
        head.plan(dense(uneven, tmp_path), 2)


def test_balance_makes_skips_as_long_as_the_feature():
    trunk = head.Plan(None, 'fc7', 32, ((16, 'pool4'), (8, 'pool3')), 8, 'fc7')
    scales, rate = head.balance({'fc7': 1e3, 'pool4': 1.1e7, 'pool3': 0.9e11}, trunk)
    assert scales == {'pool4': 0.01, 'pool3': 0.0001} and rate == 1e-5       # what the paper's "at once" nets have
    assert head.balance({'fc7': float('nan')}, trunk) == ({}, 1e-4)


# ------------------------------------------------------------------------------------------------------ training

def make(text, folder, *args):
    (folder / 'net.prototxt').write_text(text)
    net = caffe.Net(str(folder / 'net.prototxt'), caffe.TEST)
    randomise(net)
    net.save(str(folder / 'net.caffemodel'))
    out = folder / 'out'
    status = run(command.main, ['convolutionalize', '--prototxt', str(folder / 'net.prototxt'), '--weights',
                                str(folder / 'net.caffemodel'), '--out', str(out), '--grid', '0', *map(str, args)])
    assert status == 0
    return out


def solver_of(out, monkeypatch):
    monkeypatch.chdir(out)
    solver = caffe.SGDSolver('solver.prototxt')
    solver.net.copy_from('init.caffemodel')
    return solver


@pytest.mark.parametrize('stop', [32, 8])
@pytest.mark.parametrize('name', WHOLE)
def test_two_steps_of_training(tmp_path, monkeypatch, name, stop):
    out = make(WHOLE[name], tmp_path, '--head', stop, '--classes', 4)
    assert sorted(os.listdir(out)) == ['dense.prototxt', 'deploy.prototxt', 'init.caffemodel', 'report.json',
                                       'solver.prototxt', 'train.prototxt', 'val.prototxt', 'weights.caffemodel']
    solver = solver_of(out, monkeypatch)
    random = np.random.default_rng(0)
    for blob, values in (('data', random.uniform(-100, 100, (1, 3, 75, 66))),
                         ('label', np.ones((1, 1, 75, 66)))):
        solver.net.blobs[blob].reshape(*values.shape)
        solver.net.blobs[blob].data[...] = values
    losses = []
    for _ in range(3):
        solver.step(1)
        losses.append(float(solver.net.blobs['loss'].data))
    assert losses[0] == pytest.approx(np.log(4), rel=1e-3) and np.isfinite(losses[1])     # scores start at zero
    assert losses[0] > losses[1] > losses[2]
    facts = json.loads((out / 'report.json').read_text())['head']
    assert all(np.abs(solver.net.params[fresh][0].data).max() > 0 for fresh in facts['fresh'])
    trained = {x.name: x.type for x in read_net('train.prototxt').layer}
    assert all(x.batch_norm_param.use_global_stats for x in read_net('train.prototxt').layer if x.type == 'BatchNorm')
    assert trained['loss'] == 'SoftmaxWithLoss'
    test = caffe.Net('deploy.prototxt', caffe.TEST, weights='init.caffemodel')
    assert not test.blobs['score'].data.any()


def test_trained_on_a_data_set(tmp_path, monkeypatch):
    """A grey classifier with scaled pixels: its first convolution is folded to take what the data layers give."""
    write_voc(tmp_path / 'voc', ['a', 'b'])
    out = make(LENET, tmp_path, '--head', 2, '--classes', len(CLASSES), '--data', tmp_path / 'voc', '--scale', 0.004)
    before, after = read_weights(out / 'weights.caffemodel'), read_weights(out / 'init.caffemodel')
    assert after['conv1'][0].shape == (4, 3, 5, 5)
    np.testing.assert_allclose(after['conv1'][0].sum(1), before['conv1'][0][:, 0] * 0.004, rtol=1e-5)
    training = read_training(out)
    assert training.phases == ('train', 'val') and training.recipe.test_iter == 2
    assert training.recipe.base_lr == pytest.approx(json.loads((out / 'report.json').read_text())['head']['base_lr'])
    assert training.fcn('train') == read_net(out / 'train.prototxt')
    solver = solver_of(out, monkeypatch)
    solver.step(2)
    assert np.isfinite(solver.net.blobs['loss'].data)
    solver.test_nets[0].share_with(solver.net)
    solver.test_nets[0].forward()
    assert solver.test_nets[0].blobs['score'].data.shape[2:] == solver.test_nets[0].blobs['data'].data.shape[2:]


def test_trained_on_your_own_data(tmp_path, monkeypatch):
    write_voc(tmp_path / 'voc', ['a', 'b'], classes=3)
    (tmp_path / 'own').mkdir()
    card = {'folder': str(tmp_path / 'voc'), 'masks': 'index', 'classes': ['x', 'y', 'z'],
            'values': {'0': 'x', '1': 'y', '2': 'z', '255': None}, 'mean': [104.0, 117.0, 123.0]}
    (tmp_path / 'own/dataset.json').write_text(json.dumps(card))
    for split in ('train', 'val'):
        (tmp_path / f'own/{split}.tsv').write_text(
            ''.join(f'{i}\tJPEGImages/{i}.jpg\tSegmentationClass/{i}.png\n' for i in 'ab'))
    out = make(LENET, tmp_path, '--head', 4, '--classes', 3, '--data', tmp_path / 'own')
    solver = solver_of(out, monkeypatch)
    solver.step(2)
    assert np.isfinite(solver.net.blobs['loss'].data)


def test_splits_of_a_data_set():
    """VOC's seg11valid is for nets that learn from SBD; a head learns from the one data set and has all of val."""
    assert {name: splits_of(kind) for name, kind in DATASETS.items()} == {
        'nyud': ('trainval', 'test'), 'siftflow': ('trainval', 'test'),
        **dict.fromkeys(('voc', 'voc2012', 'sbd', 'pascalcontext', 'cityscapes', 'folder'), ('train', 'val'))}


def test_classes_must_be_those_of_the_data_set(tmp_path, capsys):
    write_voc(tmp_path / 'voc', ['a'])
    with pytest.raises(AssertionError):
        make(LENET, tmp_path, '--head', 2, '--classes', 5, '--data', tmp_path / 'voc')
    assert '--classes 5: the data set voc has 21' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
