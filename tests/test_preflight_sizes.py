"""Before the first step and before a scoring, the heads of all images tell whether one is too large."""
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import accel  # noqa: E402
import cli  # noqa: E402
import nets  # noqa: E402
from data_layers import open_dataset  # noqa: E402
from data_layers.augment import augment, size_of  # noqa: E402
from nets.edits import freeze  # noqa: E402
from solvers import capacity, preflight, score, solve  # noqa: E402
from solvers.instance import instantiate  # noqa: E402
from solvers.prototxts import computing  # noqa: E402
from solvers.source import data_layer, open_source, read_from  # noqa: E402
from surgery import write_weights  # noqa: E402
from surgery.shapes import infer  # noqa: E402
from tests.helpers import datasets, tiny  # noqa: E402

pytestmark = pytest.mark.caffe
IDS = tuple(f'2008_{number:06}' for number in range(9))
HUGE = IDS[6]       # neither the first, the middle nor the last, which are read
BYTES = 4 * 21 * 600 * 800      # less than the net's scores of a 600x800 image, more than for a small one


@pytest.fixture
def one_is_huge(tmp_path):
    """VOC 2011 and SBD, of whose nine images one is much larger than the others."""
    sizes = [(24, 32)] * 9
    sizes[6] = (600, 800)
    datasets.write_voc(tmp_path / 'data/pascal/VOC2011', IDS, sizes)
    datasets.write_sbd(tmp_path / 'data/sbdd/dataset', IDS, sizes, splits={'train': IDS})
    datasets.save_lines(tmp_path / 'data/pascal/VOC2011/ImageSets/Segmentation/seg11valid.txt', IDS)
    return tmp_path


def train(folder, fcn=tiny.fcn):
    training = replace(tiny.training(1), fcn=fcn)
    return cli.run(lambda argv: solve.train(training, solve.parser('tiny').parse_args(argv)),
                   ['--run', str(folder / 'run'), '--cpu'])


def reading(**options):
    return lambda split: read_from(tiny.fcn(split), **options) if split == 'train' else tiny.fcn(split)


def test_training_refuses_the_image_before_anything_is_made(one_is_huge, monkeypatch, capsys):
    monkeypatch.setattr(capacity, 'available', lambda: BYTES)
    assert train(one_is_huge) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert f'{HUGE}.jpg is 800x600 pixels' in told and 'x' in told.split('make it')[1] and 'pixels fit' in told
    assert not (one_is_huge / 'run/run.json').exists()


def test_what_is_proposed_fits_and_a_step_more_does_not(one_is_huge, monkeypatch, capsys):
    monkeypatch.setattr(capacity, 'available', lambda: BYTES)
    assert train(one_is_huge) == 2
    side = int(capsys.readouterr().err.split('smaller (')[1].split('x')[0])
    net = computing(tiny.fcn('val'))        # the split that is scored is looked at first
    need = [capacity.forward_bytes(net, infer(net, {'data': (1, 3, n, n), 'label': (1, 1, n, n)}))
            for n in (side, side + 32)]
    assert need[0] <= BYTES < need[1]


def test_a_crop_is_what_the_net_gets(one_is_huge, monkeypatch, capsys, without_curves):
    """With one, the large image of the training split costs nothing; without, it is refused, now of that split."""
    list_of_val = one_is_huge / 'data/pascal/VOC2011/ImageSets/Segmentation/seg11valid.txt'
    list_of_val.write_text(f'{IDS[0]}\n')
    monkeypatch.setattr(capacity, 'available', lambda: BYTES)
    assert train(one_is_huge, reading(crop=16)) == 0
    assert train(one_is_huge / 'b', reading(scale=(0.5, 2))) == 2
    assert f'sbd train: {one_is_huge}' in (told := capsys.readouterr().err) and f'{HUGE}.jpg, of 800x600' in told
    assert 'is 1600x1200 pixels' in told
    assert train(one_is_huge / 'c', reading(crop=2000)) == 2
    assert 'is 2000x2000 pixels' in (told := capsys.readouterr().err) and 'set crop to ' in told


def test_a_batch_counts(one_is_huge):
    """Memory for one image is not memory for a batch."""
    need = []
    for batch in (1, 4):
        net = read_from(tiny.fcn('train'), batch_size=batch)
        need.append(preflight.sizes(net, open_source(net), capacity.forward_bytes))
    assert need[1] == 4 * need[0]


def test_a_net_of_two_inputs_is_looked_at_by_the_one_it_reads(tmp_path):
    datasets.write_nyud(tmp_path / 'data/nyud')
    for name in ('nyud-fcn32s-hha', 'nyud-fcn32s-color-d'):
        net = nets.load(name).fcn('test')
        for path in (tmp_path / 'data/nyud/data/images').iterdir():
            if name == 'nyud-fcn32s-hha':
                path.rename(path.with_suffix('.gone'))
            elif path.suffix == '.gone':
                path.rename(path.with_suffix('.png'))
        assert preflight.sizes(net, open_source(net), capacity.forward_bytes) > 4 * 64 * 236 * 236


def test_scoring_refuses_the_image(one_is_huge, monkeypatch, capsys):
    net = tiny.fcn('deploy')
    weights = one_is_huge / 'w.caffemodel'
    write_weights(weights, {name: [blob.data for blob in blobs] for name, blobs in instantiate(net).params.items()})
    monkeypatch.setattr(score, 'load', lambda *_: tiny.training(1))
    arguments = ['--net', 'tiny', '--weights', str(weights), '--cpu']
    assert cli.run(score.main, arguments) == 0
    monkeypatch.setattr(capacity, 'available', lambda: BYTES)
    assert cli.run(score.main, arguments) == 2
    assert f'{HUGE}.jpg is 800x600 pixels' in capsys.readouterr().err


def test_more_than_caffe_can_count_is_refused_whatever_is_free(one_is_huge, monkeypatch, capsys):
    monkeypatch.setattr(capacity, 'available', lambda: 1 << 60)
    path = one_is_huge / f'data/sbdd/dataset/img/{HUGE}.jpg'
    Image.new('L', (11000, 11000)).save(path)
    assert train(one_is_huge) == 2
    assert 'img/' in (told := capsys.readouterr().err) and 'is 11000x11000 pixels, too large for this net' in told


def test_caffes_own_convolutions_count_their_columns():
    """conv1_2 spreads 3x3 windows of 64 channels: of a 2000x2000 image, more than Caffe can count."""
    net, inputs = nets.load('voc-fcn32s').fcn('deploy'), {'data': (1, 3, 2000, 2000)}
    with accel.off(), pytest.raises(cli.BadInput, match='conv1_2.*its columns'):
        capacity.countable(net, inputs)
    if accel.status().startswith('accelerated'):
        capacity.countable(net, inputs)


def test_what_does_not_learn_has_no_gradients():
    net = computing(nets.load('voc-fcn32s').fcn('train'))
    frozen = freeze(net, ('conv1', 'conv2'))
    shapes = infer(net)
    spared = capacity.training_bytes(net, shapes) - capacity.training_bytes(frozen, shapes)
    names = [f'conv{stage}_{i}' for stage in (1, 2) for i in (1, 2)]
    blobs = sum(np.prod(shapes.blobs[name]) for name in (*names, 'pool1', 'pool2'))
    filters = sum(np.prod(shape) for layer, params in zip(net.layer, shapes.params, strict=True)
                  if layer.name in names for shape in params)
    assert spared == 4 * (blobs + filters)


def test_a_net_with_a_layer_of_unknown_shapes_is_let_in(one_is_huge):
    net = tiny.fcn('train')
    data = data_layer(net)
    net.layer.add(name='spp', type='SPP', bottom=[data.top[0]], top=['spp'])
    assert preflight.sizes(net, open_source(net), capacity.forward_bytes) == 0


def test_the_largest_samples_cover_all(tmp_path):
    sizes = [(30, 20), (20, 30), (25, 25), (30, 10), (24, 24), (5, 30), (30, 20)]
    datasets.write_voc(tmp_path / 'v', IDS[:7], sizes)
    dataset = open_dataset('voc2012', 'val', tmp_path / 'v')
    assert preflight.largest(dataset, 'data') == {IDS[0]: (30, 20), IDS[2]: (25, 25), IDS[1]: (20, 30)}
    (tmp_path / f'v/JPEGImages/{IDS[2]}.jpg').write_bytes(b'')
    with pytest.raises(cli.BadInput, match=f'voc2012 {IDS[2]}: .*{IDS[2]}.jpg cannot be read'):
        preflight.largest(dataset, 'data')


@pytest.mark.parametrize('options', [{}, {'scale': (0.5, 1.7)}, {'crop': 12}, {'scale': (2, 3), 'crop': 40}])
def test_the_size_that_augment_gives_at_most(options):
    sample = [np.zeros((3, 21, 34), np.float32), np.zeros((1, 21, 34), np.uint8)]
    shapes = [augment(sample, 0, position, **options)[0].shape[1:] for position in range(200)]
    most = size_of(21, 34, mirror=True, **options)
    assert np.max(shapes, 0).tolist() == list(most)
