"""Broken input of every kind is answered by exit status 2 and one line that names the offender."""
import fcntl
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
from nets import __main__ as nets_main  # noqa: E402
from nets import infer  # noqa: E402
from solvers import score, snapshot, solve  # noqa: E402
from solvers.instance import instantiate  # noqa: E402
from surgery import __main__ as surgery_main  # noqa: E402
from surgery import read_weights, write_weights  # noqa: E402
from tests.helpers import datasets, tiny  # noqa: E402

pytestmark = pytest.mark.caffe


def train(voc, *options, fcn=tiny.fcn):
    """`solve.py` of the tiny net."""
    training = replace(tiny.training(2), fcn=fcn)
    return cli.run(lambda argv: solve.train(training, solve.parser('tiny').parse_args(argv)),
                   ['--run', str(voc / 'run'), *map(str, options)])


def sbd(voc):
    return voc / 'data/sbdd/dataset'


def each(pattern, change):
    """Apply a change to every file that matches, and train."""
    def breaks(voc):
        files = sorted((voc / 'data').glob(pattern))
        assert files
        for path in files:
            change(path)
        return train(voc)
    return breaks


def truncate(path):
    path.write_bytes(path.read_bytes()[:len(path.read_bytes()) // 2])


def mask_of(array):
    return lambda path: Image.fromarray(array(np.asarray(Image.open(path)))).save(path)


def reads(param_str):
    """Train with another `param_str` in the data layer."""
    def fcn(split):
        net = tiny.fcn(split)
        net.layer[0].python_param.param_str = param_str
        return net
    return lambda voc: train(voc, fcn=fcn)


def more_classes(split):
    net = tiny.fcn(split)
    for layer in net.layer:
        if layer.name in ('score_fr', 'upscore'):
            layer.convolution_param.num_output = 22
    return net


def trained(voc):
    """A finished run; its weights."""
    assert train(voc) == 0
    return voc / 'run/weights.caffemodel'


def with_weights(change):
    """Score the FCN-32s net with a caffemodel that `change` writes."""
    def breaks(voc):
        path = voc / 'w.caffemodel'
        change(path)
        return cli.run(score.main, ['--net', 'voc-fcn32s', '--weights', str(path)])
    return breaks


def half_written(path):
    write_weights(path, {'a': [np.ones(99, 'f')]})
    truncate(path)


def damaged_snapshots(voc):
    trained(voc)
    for path in snapshot.list_snapshots(voc / 'run/snapshots'):
        truncate(snapshot.weights(path))
    return train(voc, '--resume', '--iterations', 9)


def locked(voc):
    (voc / 'run').mkdir()
    with (voc / 'run/lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return train(voc)


def begun(voc):
    trained(voc)
    return train(voc)


def segment(*arguments):
    return lambda voc: cli.run(infer.main, ['--net', 'voc-fcn8s', '--out', str(voc / 'out'),
                                            *(str(a).replace('VOC', str(voc)) for a in arguments)])


def broken_image(voc):
    for path in (voc / 'data/pascal/VOC2011/JPEGImages').iterdir():
        truncate(path)
    weights = voc / 'w.caffemodel'
    net = instantiate(__import__('nets').load('voc-fcn-alexnet').fcn('deploy'))
    write_weights(weights, {name: [np.zeros(blob.data.shape, 'f') for blob in blobs]
                            for name, blobs in net.params.items()})
    return cli.run(infer.main, ['--net', 'voc-fcn-alexnet', '--weights', str(weights), '--out', str(voc / 'out'),
                                str(voc / 'data/pascal/VOC2011/JPEGImages')])


def same_names(voc):
    for folder in ('a', 'b'):
        (voc / folder).mkdir()
        Image.new('RGB', (9, 9)).save(voc / folder / 'x.png')
    return segment('--weights', 'w', 'VOC/a', 'VOC/b')(voc)


def broken_prototxt(voc):
    (voc / 'p.prototxt').write_text('layer { name: "conv" type: ')
    write_weights(voc / 'w.caffemodel', {'conv': [np.ones((1, 1), 'f')]})
    return cli.run(surgery_main.main, ['convolutionalize', '--prototxt', str(voc / 'p.prototxt'), '--weights',
                                       str(voc / 'w.caffemodel'), '--out', str(voc / 'out')])


def foreign_weights(voc):
    weights = trained(voc)
    wrong = read_weights(weights)
    wrong['conv1_1'][0] = np.zeros((3, 3, 3, 3), 'f')
    write_weights(voc / 'w.caffemodel', wrong)
    training = replace(tiny.training(2), init=('vgg16',))
    return cli.run(lambda argv: solve.train(training, solve.parser('tiny').parse_args(argv)),
                   ['--run', str(voc / 'other'), '--weights', str(voc / 'w.caffemodel')])


CASES = {
    # data
    'no data at all': (lambda voc: train(voc, '--data', voc / 'nowhere'), 'nowhere'),
    'an image is missing': (each('sbdd/dataset/img/*.jpg', Path.unlink), '.jpg'),
    'an image is cut short': (each('sbdd/dataset/img/*.jpg', truncate), '.jpg'),
    'a label file is missing': (each('sbdd/dataset/cls/*.mat', Path.unlink), '.mat'),
    'a label file is cut short': (each('sbdd/dataset/cls/*.mat', truncate), '.mat'),
    'a label file holds something else': (
        each('sbdd/dataset/cls/*.mat', lambda path: datasets.save_mat(path, other=1)), 'GTcls'),
    'a mask value is no class': (
        each('pascal/VOC2011/SegmentationClass/*.png', mask_of(lambda m: np.full_like(m, 21))), 'label value 21'),
    'a mask has another size than its image': (
        each('pascal/VOC2011/SegmentationClass/*.png', mask_of(lambda m: m[:-1])), 'pixels but'),
    'a mask is an RGB picture': (
        each('pascal/VOC2011/SegmentationClass/*.png', mask_of(lambda m: np.dstack([m] * 3))), 'is a RGB picture'),
    'a split is empty': (each('sbdd/dataset/train.txt', lambda path: path.write_text('\n')), 'split train'),
    'a split is missing': (each('sbdd/dataset/train.txt', Path.unlink), 'train.txt'),
    'an id leads out of the folder': (
        each('sbdd/dataset/train.txt', lambda path: path.write_text('../../secret\n')), '../../secret'),
    # prototxt
    'param_str holds code': (reads("__import__('os').getcwd()"), 'never run as code'),
    'param_str has an unknown key': (reads("{'dataset': 'voc', 'split': 'val', 'colour': 1}"), 'colour'),
    'param_str names no data set': (reads("{'dataset': 'imagenet', 'split': 'val'}"), 'imagenet'),
    'more scores than classes': (lambda voc: train(voc, fcn=more_classes), '22 classes'),
    'a prototxt is broken': (broken_prototxt, 'p.prototxt'),
    # weights
    'weights are missing': (with_weights(lambda path: None), 'w.caffemodel'),
    'weights are cut short': (with_weights(half_written), 'w.caffemodel'),
    'weights are a text file': (with_weights(lambda path: path.write_text('hello, world')), 'w.caffemodel'),
    'weights are of another net': (with_weights(lambda path: write_weights(path, {'a': [np.ones(9, 'f')]})), 'conv1_1'),
    'weights have other shapes': (with_weights(
        lambda path: write_weights(path, {'conv1_1': [np.ones((64, 1, 3, 3), 'f')]})), 'layer conv1_1'),
    'initial weights have other shapes': (foreign_weights, 'layer conv1_1'),
    # snapshots and runs
    'no snapshot is whole': (damaged_snapshots, 'no snapshot is whole'),
    'a run was begun there': (begun, '--resume'),
    'another process trains there': (locked, 'another process'),
    # arguments
    'no iterations': (lambda voc: train(voc, '--iterations', 0), '--iterations 0'),
    'no snapshots': (lambda voc: train(voc, '--keep', 0), '--keep 0'),
    'GPU and CPU': (lambda voc: train(voc, '0', '--cpu'), '--cpu'),
    'no such GPU': (lambda voc: train(voc, '77'), 'GPU 77'),
    'no such weights': (lambda voc: train(voc, '--weights', 'gone.caffemodel'), 'starts from 0'),
    'no such net': (lambda voc: cli.run(nets_main.main, ['summary', 'voc-fcn4s']), 'voc-fcn4s'),
    'no such image': (segment('--weights', 'w', 'VOC/gone.jpg'), 'gone.jpg'),
    'a folder without images': (segment('--weights', 'w', 'VOC/data/sbdd/dataset/cls'), 'no image'),
    'an image to segment is cut short': (broken_image, '.jpg'),
    'two images of one name': (same_names, 'x'),
}


@pytest.mark.parametrize('case', CASES)
def test_broken_input(case, tmp_path, capfd):
    datasets.write_voc(tmp_path / 'data/pascal/VOC2011', sizes=[(24, 32)])
    datasets.write_sbd(tmp_path / 'data/sbdd/dataset', sizes=[(24, 32)])
    breaks, said = CASES[case]
    capfd.readouterr()
    assert breaks(tmp_path) == 2
    line = [line for line in capfd.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(line) == 1 and said in line[0], line
    assert json.dumps(line[0])  # plain text


def test_there_are_at_least_24_kinds():
    assert len(CASES) >= 24
