"""The layer that feeds a net, in real Caffe nets and solvers."""
import warnings
from pathlib import Path

import numpy as np
import pytest

from cli import BadInput
from data_layers import draw, open_dataset
from tests.helpers.datasets import save_jpeg, save_lines, write_sbd, write_voc

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


@pytest.mark.parametrize('split, drawn', [('train_aug', True), ('sbd_train', True), ('constrained', False)])
def test_the_name_of_a_split_decides_whether_it_is_drawn(tmp_path, root, split, drawn):
    ids = ['2007_000001', '2007_000002', '2008_000003'] * 2
    save_lines(tmp_path / f'VOC2011/ImageSets/Segmentation/{split}.txt', ids)
    net(tmp_path, dataset='voc', split=split, root=root, seed=3)
    layer = layers._layers[-1]
    in_order = layer.upcoming(6) == ids
    assert layer.random == drawn and in_order != drawn


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
    feed.forward()      # fixed: goes on with the sample it failed on
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
    ("{'dataset': 'voc', 'split': 'val', 'batch_size': 0}", 'batch_size of the wrong kind'),
    ("{'dataset': 'voc', 'split': 'val', 'root': '%s', 'workers': 99}", 'workers is 99; give a number from 0 to 64'),
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


# Read ahead by workers, in batches, and by ranks.

def batches(feed, count):
    for _ in range(count):
        feed.forward()
        yield feed.blobs['data'].data.copy(), feed.blobs['label'].data.copy()


def assert_holds(batch, dataset, ids):
    """The blobs of a net are these samples."""
    for blob, arrays in zip(batch, zip(*map(dataset.load, ids), strict=True), strict=True):
        np.testing.assert_array_equal(blob, np.stack(arrays))


@pytest.fixture
def workers():
    yield dict(workers=2, ahead=3)
    layers.close()


def test_a_net_fed_by_workers_sees_the_same_stream(tmp_path, root, workers):
    dataset = open_dataset('voc', 'train', root)
    feed = net(tmp_path, caffe.TRAIN, dataset='voc', split='train', root=root, seed=7, **workers)
    reader = layers.newest_training().reader
    assert not reader.processes                 # a net that is only made starts none
    position = 0
    for start, count in ((0, 6), (3, 4), (50, 3), (0, 2)):
        if start != position:
            layers.seek(start)
        for batch, place in zip(batches(feed, count), range(start, start + count), strict=True):
            assert_holds(batch, dataset, [dataset.ids[draw(7, place, 3)]])
        position = start + count
        assert layers.position() == position
    for worker in reader.processes:
        assert 'caffe' not in Path(f'/proc/{worker.process.pid}/maps').read_text()
    assert len(reader.processes) == 2
    net(tmp_path, dataset='voc', split='val', root=root, **workers)     # a new net ends the workers of those before,
    assert not reader.processes
    assert_holds(next(batches(feed, 1)), dataset, [dataset.ids[draw(7, 2, 3)]])     # which start again when needed
    assert len(reader.processes) == 2
    layers.close()
    assert not reader.processes


def test_in_order_layers_fed_by_workers_rewind(tmp_path, root, workers):
    dataset = open_dataset('voc', 'val', root)
    feed = net(tmp_path, dataset='voc', split='val', root=root, **workers)
    for count in (3, 2, 4):
        layers.rewind()
        for batch, place in zip(batches(feed, count), range(count), strict=True):
            assert_holds(batch, dataset, [dataset.ids[place % 3]])


def test_bad_data_that_workers_read_reach_the_step_they_belong_to(tmp_path, root, workers):
    path = tmp_path / 'VOC2011/JPEGImages/2008_000003.jpg'
    good = path.read_bytes()
    feed = net(tmp_path, dataset='voc', split='val', root=root, **workers)
    feed.forward()
    path.write_bytes(good[:200])
    layers.close()      # anew: what was read ahead had been good
    layers.rewind()
    feed.forward()
    feed.forward()
    for _ in range(2):
        with pytest.raises(BadInput, match='^voc 2008_000003: .*2008_000003.jpg cannot be read'):
            feed.forward()
    path.write_bytes(good)
    assert_holds(next(batches(feed, 1)), open_dataset('voc', 'val', root), ['2008_000003'])


@pytest.mark.parametrize('workers', [0, 2])
def test_batches_hold_consecutive_samples_of_the_stream(tmp_path, workers):
    write_voc(tmp_path / 'VOC2011', ['a', 'b', 'c', 'd', 'e'], sizes=((30, 40),))
    root = str(tmp_path / 'VOC2011')
    dataset = open_dataset('voc', 'train', root)
    feed = net(tmp_path, caffe.TRAIN, dataset='voc', split='train', root=root, batch_size=3, workers=workers, ahead=2)
    assert feed.blobs['data'].data.shape == (3, 3, 30, 40) and feed.blobs['label'].data.shape == (3, 1, 30, 40)
    for number, batch in enumerate(batches(feed, 4)):
        assert_holds(batch, dataset, [dataset.ids[draw(1337, 3 * number + n, 5)] for n in range(3)])
    assert layers.position() == 12
    ordered = net(tmp_path, dataset='voc', split='val', root=root, batch_size=2, workers=workers)
    for batch, ids in zip(batches(ordered, 3), ('ab', 'cd', 'ea'), strict=True):
        assert_holds(batch, dataset, ids)
    layers.close()


def test_a_batch_of_several_sizes_is_refused_naming_both_files(tmp_path, root):
    with pytest.raises(BadInput, match=r'voc 2007_000002: .*2007_000002.jpg is 40x48 pixels but .*2007_000001.jpg, of '
                                       'the same batch, is 56x40; .*iter_size: 2 in the solver'):
        net(tmp_path, dataset='voc', split='val', root=root, batch_size=2)


@pytest.mark.parametrize('workers', [0, 1])
def test_ranks_draw_disjoint_positions_of_one_stream(tmp_path, root, monkeypatch, workers):
    for name in ('_rank', '_size'):
        monkeypatch.setattr(layers, name, getattr(layers, name))    # put back afterwards
    dataset = open_dataset('voc', 'train', root)
    drawn = {}
    for rank in range(3):
        feed = net(tmp_path, caffe.TRAIN, dataset='voc', split='train', root=root, seed=5, workers=workers)
        layers.set_rank(rank, 3)        # after the net is made, or, for the next one, before
        for number, batch in enumerate(batches(feed, 5)):
            drawn[3 * number + rank] = batch
        assert layers.position() == 15
        assert layers.newest_training().reader.number == (12 if workers else 0)     # 4 taken, 8 ahead: none in vain
    for position in range(15):
        assert_holds(drawn[position], dataset, [dataset.ids[draw(5, position, 3)]])
    layers.seek(8)      # of all ranks: this one, the last, takes 10 and 13
    for batch, position in zip(batches(feed, 2), (10, 13), strict=True):
        assert_holds(batch, dataset, [dataset.ids[draw(5, position, 3)]])
    assert layers.position() == 14
    with pytest.raises(ValueError, match='of 3 ranks, none has the number 3'):
        layers.set_rank(3, 3)
    layers.close()


def test_batches_of_ranks_are_interleaved(tmp_path, monkeypatch):
    for name in ('_rank', '_size'):
        monkeypatch.setattr(layers, name, getattr(layers, name))
    write_voc(tmp_path / 'VOC2011', list('abcdefgh'), sizes=((30, 40),))
    dataset = open_dataset('voc', 'val', tmp_path / 'VOC2011')
    feed = net(tmp_path, dataset='voc', split='val', root=str(tmp_path / 'VOC2011'), batch_size=2)
    layers.set_rank(1, 2)
    for batch, ids in zip(batches(feed, 3), ('bd', 'fh', 'bd'), strict=True):
        assert_holds(batch, dataset, ids)


def test_ranks_share_out_what_they_score(tmp_path, monkeypatch):
    for name in ('_rank', '_size'):
        monkeypatch.setattr(layers, name, getattr(layers, name))
    write_voc(tmp_path / 'VOC2011', list('abcdefg'))
    dataset = open_dataset('voc', 'val', tmp_path / 'VOC2011')
    feed = net(tmp_path, dataset='voc', split='val', root=str(tmp_path / 'VOC2011'))
    for rank, share in enumerate(('adg', 'be', 'cf')):
        layers.set_rank(rank, 3)
        layers.rewind()
        assert len(range(rank, 7, 3)) == len(share)
        for batch, id in zip(batches(feed, len(share)), share, strict=True):
            assert_holds(batch, dataset, [id])
