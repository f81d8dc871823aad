"""Training runs of real nets on tiny data sets in the real formats."""
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import nets  # noqa: E402
from nets import vgg16  # noqa: E402
from nets.edits import freeze, narrow  # noqa: E402
from solvers import monitor, snapshot  # noqa: E402
from solvers.loop import solve  # noqa: E402
from solvers.training import Training  # noqa: E402
from surgery import read_weights, write_weights  # noqa: E402

pytestmark = pytest.mark.caffe
ROOT = Path(__file__).resolve().parent.parent
WIDTH = 8


def first_convolution(path, channels):
    """A caffemodel with the first convolution of a classifier, random, and a layer that no FCN has."""
    rng = np.random.default_rng(0)
    write_weights(path, {'conv1_1': [rng.standard_normal((channels, 3, 3, 3), np.float32), np.ones(channels, 'f')],
                         'fc8': [np.ones((10, 8), np.float32)]})
    return path


@pytest.fixture
def vgg_weights(tmp_path):
    """Of a classifier as wide as VGG-16."""
    return first_convolution(tmp_path / 'VGG.caffemodel', 64)


@pytest.fixture
def narrow_weights(tmp_path):
    """Of a classifier as narrow as `small`."""
    return first_convolution(tmp_path / 'narrow.caffemodel', WIDTH)


def small(iterations, name='voc-fcn8s', **changes) -> Training:
    """A net of the project, every layer of its trunk 8 wide and nothing to learn below conv5: steps are quick."""
    published = nets.load(name)

    def fcn(split):
        return freeze(narrow(published.fcn(split), WIDTH, ('conv', 'fc')), ('conv1', 'conv2', 'conv3', 'conv4'))
    recipe = replace(published.recipe, **dict(iterations=iterations, score_every=2, snapshot=2, base_lr=1e-6) | changes)
    return replace(published, fcn=fcn, recipe=recipe)


def call(*arguments, cwd=ROOT, **environment):
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, **environment})


def parameters(run):
    return {name: [blob.copy() for blob in blobs] for name, blobs in read_weights(run / 'weights.caffemodel').items()}


def test_a_run_leaves_all_that_made_it(voc, narrow_weights):
    run = voc / 'runs/one'
    matrices = solve(small(3), run, [narrow_weights])
    assert matrices['label'].counts.sum() > 0
    assert {path.name for path in run.iterdir()} >= {
        'train.prototxt', 'val.prototxt', 'deploy.prototxt', 'solver.prototxt', 'run.json', 'init.txt',
        'metrics.jsonl', 'loss.png', 'scores.png', 'snapshots', 'weights.caffemodel'}
    lines = monitor.read(run / 'metrics.jsonl')
    assert [line['iteration'] for line in lines] == [1, 2, 2, 3, 3]
    assert set(lines[2]['scores']['label']) == {'pixel_accuracy', 'mean_accuracy', 'mean_iu', 'fw_iu'}
    assert sorted(path.name for path in (run / 'snapshots').iterdir()) == ['00000002', '00000003']
    known = json.loads((run / 'run.json').read_text())
    assert known['recipe']['seed'] == 1337 and known['initial'] == [str(narrow_weights)]
    text = (run / 'init.txt').read_text()
    assert 'conv1_1' in text and 'fc8' in text and 'upscore_pool4' in text
    # Frozen weights are those transplanted, the score has learnt, deconvolutions stay bilinear.
    weights = parameters(run)
    np.testing.assert_array_equal(weights['conv1_1'][0], read_weights(narrow_weights)['conv1_1'][0])
    assert np.abs(weights['score_fr'][1]).max() > 0
    assert weights['upscore2'][0][0, 0].sum() == pytest.approx(4)


def test_the_first_loss_is_that_of_a_net_that_knows_nothing(voc, narrow_weights):
    solve(small(1), voc / 'runs/one', [narrow_weights])
    loss = monitor.read(voc / 'runs/one/metrics.jsonl')[0]['loss']
    from data_layers import draw, open_dataset
    train = open_dataset('sbd', 'train')
    label = train.load(train.ids[draw(1337, 0, len(train))])[1]
    assert loss == pytest.approx(np.count_nonzero(label != 255) * np.log(21), rel=1e-5)


def test_a_resumed_run_ends_like_a_whole_one(voc, narrow_weights):
    """Same bytes of weights and metrics: samples, dropout and momentum continue where they were."""
    solve(small(6), voc / 'runs/whole', [narrow_weights])
    solve(small(4), voc / 'runs/parts', [narrow_weights])
    with (voc / 'runs/parts/metrics.jsonl').open('a') as file:
        file.write('{"iteration": 5, "loss": 1.0}\n{"iterat')   # a step whose snapshot was never taken
    solve(small(6), voc / 'runs/parts', resume=True)
    whole, parts = (voc / 'runs' / name for name in ('whole', 'parts'))
    assert (whole / 'metrics.jsonl').read_text() == (parts / 'metrics.jsonl').read_text()
    assert (whole / 'weights.caffemodel').read_bytes() == (parts / 'weights.caffemodel').read_bytes()


def test_the_loop_of_a_net_trained_by_several_images_a_step(voc, narrow_weights):
    solve(small(2, 'voc-fcn32s', iter_size=2), voc / 'runs/one', [narrow_weights])
    from data_layers import layers
    assert layers.position() == 4
    assert len(monitor.read(voc / 'runs/one/metrics.jsonl')) == 3


def test_solve_in_the_directory_of_a_net(voc, vgg_weights):
    net = ROOT / 'nets/voc_fcn32s'
    result = call('solve.py', '--cpu', '--iterations', 1, '--weights', vgg_weights, cwd=net)
    assert result.returncode == 0, result.stderr
    assert 'mean iu' in result.stdout
    run = voc / 'runs/voc-fcn32s'
    assert snapshot.newest(run / 'snapshots').name == '00000001'
    again = call('nets/voc_fcn32s/solve.py', '--iterations', 1, '--weights', vgg_weights)
    assert again.returncode == 2 and '--resume' in again.stderr and len(again.stderr.splitlines()) == 1
    scored = call('-m', 'solvers.score', '--net', 'voc-fcn32s', '--weights', run / 'weights.caffemodel',
                  '--split', 'val', '--json', voc / 'scores.json')
    assert scored.returncode == 0, scored.stderr
    scores = json.loads((voc / 'scores.json').read_text())
    assert np.array(scores['tasks']['label']['confusion_matrix']).shape == (21, 21) and scores['images'] == 3
    trained = call('-m', 'nets', 'train', 'voc-fcn32s')
    assert trained.returncode == 0 and 'is trained' in trained.stdout
    image = voc / 'data/pascal/VOC2011/JPEGImages'
    shown = call('-m', 'nets.infer', '--net', 'voc-fcn32s', '--weights', run / 'weights.caffemodel', image, '--out',
                 voc / 'out', '--scores')
    assert shown.returncode == 0, shown.stderr
    assert len(list((voc / 'out').glob('*_overlay.jpg'))) == 3
    probabilities = np.load(next((voc / 'out').glob('*.npz')))['probabilities']
    np.testing.assert_allclose(probabilities.sum(0), 1, rtol=1e-5)


@pytest.mark.parametrize('arguments, said', [
    (('0', '--cpu'), 'exclude'),
    (('--iterations', '0'), 'at least 1'),
    (('--iterations', str(2 ** 31)), 'fewer than 2^31'),
    (('--weights', 'missing.caffemodel'), 'missing.caffemodel'),
    (('--data', 'nowhere'), 'nowhere'),
    ((), 'VGG_ILSVRC_16_layers.caffemodel'),
    (('--frobnicate',), '--frobnicate'),
])
def test_a_wrong_call_is_one_line(voc, arguments, said):
    result = call('nets/voc_fcn32s/solve.py', *arguments)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1 and said in result.stderr


def test_a_gpu_of_a_cpu_build_is_refused(voc, vgg_weights):
    result = call('nets/voc_fcn32s/solve.py', '7', '--weights', vgg_weights)
    assert result.returncode == 2 and 'GPU 7' in result.stderr and len(result.stderr.splitlines()) == 1


def test_the_chain_names_the_first_thing_missing(voc):
    result = call('-m', 'nets', 'train', 'voc-fcn8s', '--iterations', 1)
    assert result.returncode == 2 and 'VGG_ILSVRC_16_layers.caffemodel' in result.stderr


@pytest.mark.slow
def test_make_trains_the_chain(voc, vgg_weights):
    """8s from 16s from 32s, each left in its run folder; `--iterations` bounds every stage."""
    (voc / 'weights').mkdir()
    vgg_weights.rename(voc / 'weights/VGG_ILSVRC_16_layers.caffemodel')
    result = call('-m', 'nets', 'train', 'voc-fcn8s', '--iterations', 1)
    assert result.returncode == 0, result.stderr
    for name, source in (('voc-fcn16s', 'voc-fcn32s'), ('voc-fcn8s', 'voc-fcn16s')):
        known = json.loads((voc / f'runs/{name}/run.json').read_text())
        assert known['initial'] == [str(voc / f'runs/{source}/weights.caffemodel')]


def test_weights_of_another_net_are_refused(voc, vgg_weights):
    for command in (('-m', 'nets.infer', voc / 'data/pascal/VOC2011/JPEGImages', '--out', voc / 'out'),
                    ('-m', 'solvers.score')):
        result = call(*command, '--net', 'voc-fcn32s', '--weights', vgg_weights)
        assert result.returncode == 2 and 'conv1_2' in result.stderr and len(result.stderr.splitlines()) == 1


def test_the_classifier_becomes_the_net_it_is_transplanted_into():
    """fc6, fc7 and fc8 as convolutions give the classifier's scores at the one position a 224x224 image leaves."""
    from caffe import layers as L
    from caffe.net_spec import NetSpec

    from solvers.instance import instantiate
    from surgery import transplant
    classifier = instantiate(vgg16.classifier())
    rng = np.random.default_rng(0)
    for blobs in classifier.params.values():
        for blob in blobs:
            blob.data[...] = rng.standard_normal(blob.data.shape, np.float32) * np.sqrt(2 / max(blob.data[0].size, 1))
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 512, 7, 7]))
    n.fc6 = L.Convolution(n.data, num_output=4096, kernel_size=7)
    n.relu6 = L.ReLU(n.fc6, in_place=True)
    n.fc7 = L.Convolution(n.relu6, num_output=4096, kernel_size=1)
    n.relu7 = L.ReLU(n.fc7, in_place=True)
    n.fc8 = L.Convolution(n.relu7, num_output=1000, kernel_size=1)
    dense = instantiate(n.to_proto())
    report = transplant(dense, classifier)
    assert {entry.target for entry in report.coerced} == {'fc6', 'fc7', 'fc8'} and not report.untouched
    classifier.blobs['data'].data[...] = rng.standard_normal((1, 3, 224, 224)) * 50
    classifier.forward()
    dense.blobs['data'].data[...] = classifier.blobs['pool5'].data
    dense.forward()
    np.testing.assert_allclose(dense.blobs['fc8'].data.ravel(), classifier.blobs['fc8'].data.ravel(), rtol=1e-3,
                               atol=1e-4 * np.abs(classifier.blobs['fc8'].data).max())
