"""The layer that feeds a net, in real Caffe nets and solvers."""
import warnings

import numpy as np
import pytest

from cli import BadInput
from data_layers import draw, open_dataset
from tests.datasets import save_jpeg, save_lines, write_sbd, write_voc

caffe = pytest.importorskip('caffe', reason='pycaffe is not built (make setup)')
layers = pytest.importorskip('data_layers.layers')

pytestmark = [pytest.mark.caffe, pytest.mark.filterwarnings('ignore:.*not held-out')]

NET = """
layer {{
  name: "data" type: "Python" top: "data" top: "label" include {{ phase: {phase} }}
  python_param {{ module: "data_layers.layers" layer: "SegmentationData" param_str: "{param}" }}
}}"""
LOSS = """
layer {
  name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 21 kernel_size: 1 weight_filler { type: "xavier" } }
}
layer {
  name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"
  loss_param { ignore_label: 255 normalize: true }
}"""


def prototxt(folder, param, phase='TRAIN', body=''):
    path = folder / f'net{len(list(folder.glob("net*")))}.prototxt'
    path.write_text(NET.format(phase=phase, param=param) + body)
    return str(path)


def net(folder, phase=caffe.TEST, **options):
    text = str(options)
    assert '"' not in text
    return caffe.Net(prototxt(folder, text, 'TRAIN' if phase == caffe.TRAIN else 'TEST'), phase)


def solver(folder, train, test=None):
    text = (f'train_net: "{prototxt(folder, train, "TRAIN", LOSS)}" base_lr: 1e-4 lr_policy: "fixed" display: 0 '
            'snapshot: 0 snapshot_after_train: false max_iter: 100 random_seed: 1 ')
    if test:
        text += (f'test_net: "{prototxt(folder, test, "TEST", LOSS)}" test_iter: 3 test_interval: 1000 '
                 'test_initialization: false')
    path = folder / 'solver.prototxt'
    path.write_text(text)
    return caffe.SGDSolver(str(path))


@pytest.fixture
def root(tmp_path):
    write_voc(tmp_path / 'VOC2011')
    return str(tmp_path / 'VOC2011')


def test_in_order_layers_give_every_sample_in_turn_at_its_size(tmp_path, root):
    dataset = open_dataset('voc', 'val', root)
    feed = net(tmp_path, dataset='voc', split='val', root=root)
    for id in dataset.ids + dataset.ids[:2]:
        feed.forward()
        image, label = dataset.load(id)
        np.testing.assert_array_equal(feed.blobs['data'].data, image[None])
        np.testing.assert_array_equal(feed.blobs['label'].data, label[None])
    layers.rewind()
    feed.forward()
    np.testing.assert_array_equal(feed.blobs['data'].data[0], dataset.load(dataset.ids[0])[0])


def test_training_layers_draw_by_seed_and_position_and_can_seek(tmp_path, root):
    dataset = open_dataset('voc', 'train', root)
    feed = net(tmp_path, caffe.TRAIN, dataset='voc', split='train', root=root, seed=7)

    def upcoming(count):
        for _ in range(count):
            feed.reshape()      # reshaping by hand must not use up a sample
            feed.forward()
            yield feed.blobs['data'].data[0].copy()

    stream = [dataset.load(dataset.ids[draw(7, position, 3)])[0] for position in range(12)]
    for got, expected in zip(upcoming(8), stream, strict=False):
        np.testing.assert_array_equal(got, expected)
    assert layers.position() == 8
    layers.seek(5)
    layers.rewind()     # is for in-order layers
    for got, expected in zip(upcoming(7), stream[5:], strict=True):
        np.testing.assert_array_equal(got, expected)
    assert layers.position() == 12


def test_a_solver_draws_one_sample_an_iteration_and_scoring_does_not_disturb_it(tmp_path, root):
    save_lines(tmp_path / 'VOC2011/ImageSets/Segmentation/val.txt', ['2007_000001'])
    save_lines(tmp_path / 'VOC2011/ImageSets/Segmentation/train.txt', ['2007_000002', '2008_000003'])
    run = solver(tmp_path, f"{{'dataset': 'voc', 'split': 'train', 'root': '{root}'}}",
                 f"{{'dataset': 'voc', 'split': 'val', 'root': '{root}'}}")
    dataset = open_dataset('voc', 'train', root)
    for iteration in range(4):
        run.step(1)
        run.test_nets[0].forward()
        expected = dataset.load(dataset.ids[draw(1337, iteration, 2)])[0]
        np.testing.assert_array_equal(run.net.blobs['data'].data[0], expected)
    assert layers.position() == run.iter == 4
    assert np.isfinite(run.net.blobs['loss'].data)


def test_bad_data_reach_the_caller_of_step_and_forward(tmp_path, root):
    path = tmp_path / 'VOC2011/JPEGImages/2008_000003.jpg'
    good = path.read_bytes()
    run = solver(tmp_path, f"{{'dataset': 'voc', 'split': 'train', 'root': '{root}'}}")
    feed = net(tmp_path, dataset='voc', split='val', root=root)
    path.write_bytes(good[:200])
    with pytest.raises(BadInput, match='^voc 2008_000003: .*2008_000003.jpg cannot be read'):
        run.step(30)
    with pytest.raises(BadInput, match='^voc 2008_000003: .*2008_000003.jpg cannot be read'):
        for _ in range(3):
            feed.forward()
    path.write_bytes(good)
    feed.forward()      # mended: goes on with the sample it failed on
    np.testing.assert_array_equal(feed.blobs['data'].data[0], open_dataset('voc', 'val', root).load('2008_000003')[0])
    save_jpeg(path, np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(BadInput, match='2008_000003.png is 36x36 pixels but .*2008_000003.jpg is 20x20'):
        run.step(30)


@pytest.mark.parametrize('param, complaint', [
    ("__import__('os').system('touch HACKED')", 'never run as code'),
    ("dict(dataset='voc', split='val')", 'never run as code'),
    ("['voc', 'val']", 'never run as code'),
    ('', 'never run as code'),
    ('(' * 500, 'never run as code'),
    ("{'dataset': 'voc'}", 'lacks split'),
    ("{'dataset': 'voc', 'split': 'val', 'voc_dir': '.'}", "unknown key 'voc_dir'"),
    ("{'dataset': 'voc', 'split': 'val', 'seed': 'one'}", 'seed of the wrong kind'),
    ("{'dataset': ['voc'], 'split': 'val'}", 'dataset of the wrong kind'),
    ("{'dataset': 'nosuch', 'split': 'val'}", "no data set is called 'nosuch'"),
    ("{'dataset': 'voc', 'split': 'val', 'tops': ('data',), 'root': '%s'}", 'the tops data; the net gives it 0 and 2'),
    ("{'dataset': 'voc', 'split': 'nosuch', 'root': '%s'}", 'voc has no split nosuch'),
])
def test_bad_parameters_reach_the_caller_and_are_never_run(tmp_path, root, monkeypatch, param, complaint):
    monkeypatch.chdir(tmp_path)
    path = prototxt(tmp_path, param % root if '%s' in param else param)
    with pytest.raises(BadInput, match=complaint):
        caffe.Net(path, caffe.TRAIN)
    assert not (tmp_path / 'HACKED').exists()


def test_scoring_what_one_trains_on_is_warned_of(tmp_path, root):
    write_sbd(tmp_path / 'sbd')
    net(tmp_path, caffe.TRAIN, dataset='sbd', split='train', root=str(tmp_path / 'sbd'))
    with pytest.warns(UserWarning, match='shares 1 of its 3 samples'):
        net(tmp_path, dataset='voc', split='val', root=root)
    save_lines(tmp_path / 'sbd/train.txt', ['2008_000004', '2009_000005'])
    net(tmp_path, caffe.TRAIN, dataset='sbd', split='train', root=str(tmp_path / 'sbd'))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        net(tmp_path, dataset='voc', split='val', root=root)
