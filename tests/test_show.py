"""Sheets of samples: what they show, and what they never write over."""
import itertools
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cli
from data_layers import __main__ as command
from data_layers import draw, open_dataset, show
from data_layers.augment import augment
from data_layers.own.folder import CARD, Card
from data_layers.palette import PALETTE
from data_layers.show import BOX, GAP, LINE, SEAM, Samples, paint
from tests.helpers import own
from tests.helpers.datasets import save_lines, save_png, write_nyud, write_siftflow, write_voc

VARIED = dict(mirror=True, scale=(0.5, 1.5), crop=20, rotate=30, colour=0.5)
TOP = 2 * LINE + 2 * GAP        # of the first picture of a sheet


@pytest.fixture
def roads(tmp_path):
    """The data set roads, photographs of 24 x 32 and 33 x 20 pixels, four of them to train on."""
    own.write(tmp_path / 'photos')
    root, values = tmp_path / 'data/roads', {str(number): name for number, name in enumerate(own.CLASSES)}
    for split, numbers in (('train', (0, 1, 2, 4)), ('val', (3,))):
        save_lines(root / f'{split}.tsv', [f'photo{n}\timages/photo{n}.jpg\tmasks/photo{n}.png' for n in numbers])
    Card(tmp_path / 'photos', 'index', own.CLASSES, {**values, '255': None}, (99.5, 110.25, 120)).write(root / CARD)
    return tmp_path


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A folder that stands for nets/."""
    (tmp_path / 'nets').mkdir()
    monkeypatch.setattr(show, 'NETS', tmp_path / 'nets')
    return tmp_path / 'nets'


def run(capsys, *arguments):
    status = cli.run(command.main, ['show', *map(str, arguments)])
    out, errors = capsys.readouterr()
    return status, out, errors


def fails(capsys, *arguments):
    status, out, errors = run(capsys, *arguments)
    assert status == 2 and not out and errors.count('\n') == 1, errors
    return errors


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert('RGB')).astype(int)


def first_pictures(path, height, width, count=1):
    """The images of the first sample of a sheet, at their own size."""
    factor = min(BOX[0] // height, BOX[1] // width)
    assert factor >= 1
    whole = pixels(path)
    lefts = [GAP + number * (factor * width + SEAM) for number in range(count)]
    found = [whole[TOP:TOP + factor * height, left:left + factor * width] for left in lefts]
    for one in found:
        np.testing.assert_array_equal(one[::factor, ::factor].repeat(factor, 0).repeat(factor, 1), one)
    return [one[::factor, ::factor] for one in found]


def test_a_sheet_shows_the_photograph_as_it_is(roads, capsys):
    status, out, _ = run(capsys, 'roads', '--split', 'val', '--count', 1)
    path = roads / 'runs/show/roads-val.png'
    assert status == 0 and out == f'written: {path}\n'
    dataset = open_dataset('roads', 'val')
    photo = dataset.image(dataset.ids[0])
    shown, = first_pictures(path, *photo.shape[:2])
    np.testing.assert_array_equal(shown, photo)


@pytest.mark.parametrize('seed', [1337, 4])
def test_training_samples_are_those_of_the_stream(roads, seed):
    dataset = open_dataset('roads', 'train')
    samples = Samples(dataset, seed, VARIED)
    for position, (at, id, sample) in enumerate(itertools.islice(samples, 6)):
        assert at == position and id == dataset.ids[draw(seed, position, len(dataset))]
        expected = augment(dataset.load(id), seed, position, photos={0: dataset.mean}, **VARIED)
        for a, b in zip(sample, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.caffe
def test_samples_are_what_the_layer_feeds(roads):
    pytest.importorskip('caffe', reason='pycaffe is not built: make setup')
    from data_layers import param_str
    from solvers.instance import instantiate
    from surgery import read_net
    options = param_str.write(dataset='roads', split='train', seed=9, **VARIED)
    (roads / 'net.prototxt').write_text(
        'layer { name: "data" type: "Python" top: "data" top: "label" python_param { module: "data_layers.layers" '
        f'layer: "SegmentationData" param_str: "{options}" }} }}')
    net = instantiate(read_net(roads / 'net.prototxt'))
    for _, _, (image, label) in itertools.islice(Samples(open_dataset('roads', 'train'), 9, VARIED), 5):
        net.forward()
        np.testing.assert_array_equal(net.blobs['data'].data[0], image)
        np.testing.assert_array_equal(net.blobs['label'].data[0], label)


def test_samples_that_are_not_varied_come_once_each(roads):
    for split in ('train', 'val'):
        dataset = open_dataset('roads', split)
        assert sorted(id for _, id, _ in Samples(dataset, 1, {})) == sorted(dataset.ids)


def test_own_variations_are_those_of_the_nets(roads, nets, capsys):
    (nets / 'roads.py').write_text("import sys\nsys.exit(3)\nVARIED: dict = {'crop': 17}     # training images\n")
    out = roads / 'sheet.png'
    assert run(capsys, 'roads', '--count', 3, '--out', out)[0] == 0
    dataset = open_dataset('roads', 'train')
    for options, position in ((dict(crop=17), 0),):
        id = dataset.ids[draw(1337, position, len(dataset))]
        image, _ = augment(dataset.load(id), 1337, position, **options)
        expected = np.rint(image + np.reshape(dataset.mean, (3, 1, 1))).astype(int).transpose(1, 2, 0)[:, :, ::-1]
        np.testing.assert_array_equal(first_pictures(out, 17, 17)[0], expected)
    first = out.read_bytes()
    assert run(capsys, 'roads', '--count', 3, '--out', out, '--vary', 'crop=17')[0] == 0 and out.read_bytes() == first
    assert run(capsys, 'roads', '--count', 3, '--out', out, '--plain')[0] == 0 and out.read_bytes() != first
    assert run(capsys, 'roads', '--count', 3, '--split', 'val')[0] == 0
    assert run(capsys, 'roads', '--tops', 'label', '--vary', 'crop')[0] == 0


@pytest.mark.parametrize('line', ["VARIED = dict(crop=3)", "VARIED = {'flip': True}", 'VARIED = 3', 'VARIED = (', '\0',
                                  "VARIED = {'crop': __import__('os').getpid()}"])
def test_variations_that_are_no_literal_are_refused(line, roads, nets, capsys):
    (nets / 'roads.py').write_text(f'{line}\n')
    assert 'roads.py: VARIED is not a literal' in fails(capsys, 'roads')
    (nets / 'roads.py').write_text("VARIED = {'rotate': 900}")
    assert 'roads.py: VARIED: rotate is 900; give the largest angle' in fails(capsys, 'roads')
    assert run(capsys, 'roads', '--plain')[0] == 0


def test_several_images_and_labels(tmp_path, capsys):
    write_nyud(tmp_path / 'nyud', sizes=[(24, 32)])
    write_siftflow(tmp_path / 'sift')
    out = tmp_path / 'a.png'
    tops = 'color,hha,depth,label'
    assert run(capsys, tmp_path / 'nyud', '--tops', tops, '--plain', '--count', 1, '--out', out)[0] == 0
    dataset = open_dataset('nyud', 'trainval', tmp_path / 'nyud')
    id = dataset.ids[draw(1337, 0, len(dataset))]
    color, hha, depth = first_pictures(out, 24, 32, 3)
    for picture, top in ((color, 'color'), (hha, 'hha')):
        with Image.open(dataset.file(top, id)) as stored:
            np.testing.assert_array_equal(picture, np.asarray(stored.convert('RGB')))
    assert depth.min() == 0 and depth.max() == 255 and (depth == depth[..., :1]).all()
    assert run(capsys, tmp_path / 'sift', '--count', 2, '--out', out)[0] == 0


def test_a_split_without_labels_and_a_large_photograph(tmp_path, capsys):
    write_voc(tmp_path / 'VOC2012', ['2007_000001'], [(700, 1100)])
    save_lines(tmp_path / 'VOC2012/ImageSets/Segmentation/test.txt', ['2007_000001'])
    for path in (tmp_path / 'VOC2012/SegmentationClass').iterdir():
        path.unlink()
    out = tmp_path / 'a.png'
    assert run(capsys, tmp_path / 'VOC2012', '--split', 'test', '--out', out)[0] == 0
    assert pixels(out).shape[1] < 2 * BOX[1]        # one picture


def test_labels_over_a_photograph_by_hand():
    photo = np.full((20, 24, 3), 100, np.uint8)
    label = np.zeros((1, 20, 24), np.uint8)
    label[0, :, 8:16], label[0, :, 16:] = 3, 255
    for bare in (True, False):
        painted = paint(photo, label, False, bare)
        first = 100 if bare else round(0.45 * 100)
        assert (painted[5, 3] == first).all()
        np.testing.assert_array_equal(painted[5, 12], np.rint(0.45 * 100 + 0.55 * PALETTE[3].astype(float)))
        assert len(np.unique(painted[2:-2, 18:, 0])) == 2 and not {100} & {*painted[:, 17:].ravel().tolist()}
        assert (painted[5, 8] > painted[5, 12]).all() and (painted[5, 16] > 180).all()      # lines between classes


def test_overlapping_labels_mix_their_colours():
    photo = np.full((6, 9, 3), 100, np.uint8)
    label = np.zeros((3, 6, 9), np.uint8)
    label[1, :, :6], label[2, :, 3:], label[:, :, 8:] = 1, 1, 255
    painted = paint(photo, label, True, False)
    colours = PALETTE[1:3].astype(float)
    np.testing.assert_array_equal(painted[2, 1], np.rint(45 + 0.55 * colours[0]))
    np.testing.assert_array_equal(painted[2, 4], np.rint(45 + 0.55 * colours.mean(0)))
    np.testing.assert_array_equal(painted[2, 7], np.rint(45 + 0.55 * colours[1]))


@pytest.mark.parametrize('arguments, complaint', [
    (['roads', '--count', '0'], 'show 1 to 200 samples'), (['roads', '--count', '201'], 'show 1 to 200 samples'),
    (['roads', '--seed', '-1'], 'a seed of at least 0'), (['roads', '--split', 'night'], 'no split night'),
    (['roads', '--tops', 'data,sem'], 'no top sem'), (['nowhere'], 'neither a folder nor a data set'),
    (['roads', '--vary', 'flip'], "variation 'flip' is unknown"),
    (['roads', '--split', 'val', '--vary', 'mirror'], 'the samples of val reach the nets as they are'),
    (['roads', '--out', 'sheet.jpg'], 'a sheet is a PNG')])
def test_wrong_calls(arguments, complaint, roads, capsys):
    assert complaint in fails(capsys, *arguments)


def test_nothing_else_is_written_over(roads, capsys):
    photo, folder, text = roads / 'photo.png', roads / 'folder.png', roads / 'text.png'
    save_png(photo, np.zeros((5, 6, 3), np.uint8))
    folder.mkdir()
    text.write_text('no picture')
    for path in (photo, text):
        before = path.read_bytes()
        assert 'is not a sheet of samples' in fails(capsys, 'roads', '--out', path)
        assert path.read_bytes() == before
    assert 'not a regular file' in fails(capsys, 'roads', '--out', folder)
    out = roads / 'new/folder/sheet.png'
    for count in (1, 2):        # its own sheet it does
        assert run(capsys, 'roads', '--count', count, '--out', out)[0] == 0
    assert [path.name for path in out.parent.iterdir()] == ['sheet.png']


def test_a_broken_photograph_leaves_no_sheet(roads, capsys):
    dataset = open_dataset('roads', 'val')
    Path(dataset.file('data', dataset.ids[0])).write_bytes(b'no photograph')
    assert 'cannot be read' in fails(capsys, 'roads', '--split', 'val', '--out', roads / 'new/sheet.png')
    assert not (roads / 'new').exists()


def test_names_of_any_kind_are_drawn(roads, capsys):
    evil = 'x\x1b[2J\nerror: forged ' + 'long ' * 90 + '道路'
    card = roads / 'data/roads' / CARD
    known = json.loads(card.read_text())
    renamed = {known['classes'][1]: evil}
    known['classes'] = [renamed.get(name, name) for name in known['classes']]
    known['values'] = {key: renamed.get(name, name) for key, name in known['values'].items()}
    card.write_text(json.dumps(known))
    path = roads / 'data/roads/train.tsv'
    path.write_text(''.join('i' * 150 + line + '\n' for line in path.read_text().splitlines()))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert run(capsys, 'roads')[0] == 0
