"""Someone's own data: found in a folder, looked at, described, read."""
import json
import re

import numpy as np
import pytest
from PIL import Image

import cli
from cli import BadInput
from data_layers import dataset_type, open_dataset
from data_layers.__main__ import main as data_layers_main
from data_layers.augment import augment
from data_layers.dataset import CHECKOUT
from data_layers.own import classlist, layouts
from data_layers.own.annotations import draw as draw_polygons
from data_layers.own.folder import Card
from data_layers.own.masks import read_stored
from data_layers.own.survey import survey
from data_layers.palette import PALETTE, save_indexed
from tests.helpers import own
from tests.helpers.datasets import save_jpeg, save_lines, save_png


def look(folder, workers=1):
    return survey(folder, layouts.find(folder, 1337), workers)


def describe(found, root):
    """What `nets new` writes of the data."""
    from tests.helpers.own_nets import describe
    describe(found, root)


def mistake(folder):
    """The one mistake found in a folder."""
    found = look(folder)
    assert len(found.mistakes) == 1, found.mistakes
    assert '\n' not in found.mistakes[0]
    return found.mistakes[0]


# Reading.

@pytest.mark.parametrize('masks', ['index', 'palette', 'rgb'])
def test_labels_come_back_from_every_kind_of_mask(masks, tmp_path):
    made = own.write(tmp_path / 'photos', masks)
    describe(look(tmp_path / 'photos'), tmp_path / 'data/roads')
    train, val = (open_dataset('roads', split) for split in ('train', 'val'))
    assert len(train) == 4 and len(val) == 1 and {*train.ids, *val.ids} == set(made)
    assert train.classes['label'] == own.CLASSES and train.name == 'roads'
    for id in train.ids:
        image, label = train.load(id)
        np.testing.assert_array_equal(label[0], made[id][0])
        assert image.shape == (3, *label.shape[1:])
    every = np.concatenate([train.image(id).reshape(-1, 3) for id in train.ids]).mean(0)[::-1]
    np.testing.assert_allclose(train.mean, every, atol=1e-3)
    bgr = train.image(train.ids[0])[:, :, ::-1] - np.array(train.mean)
    np.testing.assert_allclose(train.load(train.ids[0])[0], bgr.transpose(2, 0, 1), atol=1e-4)


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.tiff', '.webp', '.jpeg'])
def test_photographs_and_masks_of_many_formats(suffix, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(2):
        own.photo(tmp_path / f'photos/images/{number}{suffix}', seed=number)
        mask = tmp_path / f'photos/masks/{number}{".png" if suffix == ".jpeg" else suffix}'
        mask.parent.mkdir(exist_ok=True)
        label = rng.integers(0, 3, (8, 10)).astype(np.uint8)
        Image.fromarray(label).save(mask, **(dict(lossless=True) if suffix == '.webp' else {}))
    found = look(tmp_path / 'photos')
    describe(found, tmp_path / 'data/many')
    id = '1'
    split = 'train' if id in found.found['train'] else 'val'
    np.testing.assert_array_equal(open_dataset('many', split).load(id)[1][0], label)


def test_values_may_be_remapped_by_hand(tmp_path):
    made = own.write(tmp_path / 'photos')
    describe(look(tmp_path / 'photos'), tmp_path / 'data/roads')
    path = tmp_path / 'data/roads/dataset.json'
    card = json.loads(path.read_text())
    card |= {'classes': ['rest', 'road'], 'values': {'0': 'rest', '1': 'road', '2': 'road', '255': None}}
    path.write_text(json.dumps(card))
    train = open_dataset('roads', 'train')
    for id in train.ids:
        stored = made[id][0]
        np.testing.assert_array_equal(train.load(id)[1][0], np.where(stored == 2, 1, stored))


def test_lists_remap_and_leave_out(tmp_path):
    made = own.write(tmp_path / 'photos')
    save_lines(tmp_path / 'photos/classes.txt', ['0 void', '1 way', '2 way', '9 other'])
    found = look(tmp_path / 'photos')
    assert not found.mistakes and found.card.classes == ('way', 'other')
    assert found.card.values == {'0': None, '1': 'way', '2': 'way', '9': 'other', '255': None}
    describe(found, tmp_path / 'data/roads')
    id = found.layout.splits['val'].keys().__iter__().__next__()
    expected = np.array([255, 0, 0] + 253 * [255])[made[id][0]]
    np.testing.assert_array_equal(open_dataset('roads', 'val').load(id)[1][0], expected)
    assert any('other' in note for note in found.layout.notes)


def test_other_values_than_those_described_are_refused(tmp_path):
    own.write(tmp_path / 'photos')
    describe(look(tmp_path / 'photos'), tmp_path / 'data/roads')
    train = open_dataset('roads', 'train')
    path = train.file('label', train.ids[0])
    label = np.array(Image.open(path))
    label[3, 5] = 77
    own.grey(path, label)
    with pytest.raises(BadInput, match=rf'{path} has the label 77 \(at row 3, column 5\)'):
        train.load(train.ids[0])


def test_the_description_may_be_moved_with_the_data(tmp_path, monkeypatch):
    own.write(tmp_path / 'data/roads')
    describe(look(tmp_path / 'data/roads'), tmp_path / 'data/roads')
    (tmp_path / 'data').rename(tmp_path / 'elsewhere')
    monkeypatch.setenv('FCN_DATA', str(tmp_path / 'elsewhere'))
    train = open_dataset('roads', 'train')
    assert train.load(train.ids[0])[1].shape[0] == 1
    assert open_dataset('folder', 'train', tmp_path / 'elsewhere/roads').ids == train.ids


@pytest.mark.parametrize('change, key', [
    ({'masks': 'eval'}, 'masks'), ({'classes': []}, 'classes'), ({'classes': ['road', 'road']}, 'classes'),
    ({'values': {'0': 'tree'}}, 'values'), ({'mean': [1, 2]}, 'mean'), ({'mean': [1, 2, 'x']}, 'mean'),
    ({'folder': 3}, 'folder'), ({'classes': [['a'], 'b']}, 'classes'), ({'values': {'0': ['road']}}, 'values')])
def test_a_wrong_description_is_refused(change, key, tmp_path):
    root = tmp_path / 'data/roads'
    root.mkdir(parents=True)
    Card(tmp_path, 'index', ('road', 'car'), {'0': 'road', '1': 'car'}, (1.0, 2.0, 3.0)).write(root / 'dataset.json')
    card = json.loads((root / 'dataset.json').read_text())
    (root / 'dataset.json').write_text(json.dumps(card | change))
    with pytest.raises(BadInput, match=f'{root / "dataset.json"} has a {key} of the wrong kind') as caught:
        open_dataset('roads', 'train')
    told, = re.findall(r'as the beginning of (\S+) tells', str(caught.value))
    assert f'"{key}"' in (CHECKOUT / told).read_text().split('"""')[1]


def test_wrong_names_and_lists_are_refused(tmp_path):
    root = tmp_path / 'data/roads'
    with pytest.raises(BadInput, match='no data set is called .*roads.*nets new roads --data DIR'):
        open_dataset('roads', 'train')
    with pytest.raises(BadInput, match="no data set is called '../roads'"):
        dataset_type('../roads')
    with pytest.raises(BadInput, match='may lie anywhere'):
        open_dataset('folder', 'train')
    root.mkdir(parents=True)
    (root / 'dataset.json').write_text('{"folder": ')
    with pytest.raises(BadInput, match='dataset.json cannot be read'):
        open_dataset('roads', 'train')
    Card(tmp_path, 'index', ('road', 'car'), {'0': 'road', '1': 'car'}, (1.0, 2.0, 3.0)).write(root / 'dataset.json')
    with pytest.raises(BadInput, match=r'roads has no split train: .*train.tsv is missing \(present: none\)'):
        open_dataset('roads', 'train')
    (root / 'train.tsv').write_text('one two\n')
    with pytest.raises(BadInput, match="train.tsv has the line 'one two'"):
        open_dataset('roads', 'train')
    (root / 'train.tsv').write_text('../one\ta.jpg\ta.png\n')
    with pytest.raises(BadInput, match='which is not a file name'):
        open_dataset('roads', 'train')


# Polygons.

def test_polygons_are_drawn_in_their_order(tmp_path):
    path = tmp_path / 'a.json'
    own.polygons(path, (10, 12), [('car', 'polygon', [[2, 2], [9, 2], [9, 7], [2, 7]]),
                                  ('road', 'rectangle', [[11, 9], [8, 6]]), ('wheel', 'circle', [[4, 4], [5, 4]]),
                                  ('hidden', 'rectangle', [[0, 0], [0, 0]]), ('car', 'rectangle', [[0, 0], [0, 0]])])
    positions, keys = draw_polygons(path)
    expected = np.full((10, 12), '_background_', object)
    expected[2:8, 2:10] = 'car'
    expected[6:10, 8:12] = 'road'
    expected[4, 3:6] = expected[3:6, 4] = 'wheel'       # a circle of radius 1
    expected[0, 0] = 'car'
    drawn = np.array(keys, object)[positions]
    corners = np.zeros((10, 12), bool)
    corners[np.ix_([3, 5], [3, 5])] = True              # of that circle: either is right
    np.testing.assert_array_equal(drawn[~corners], expected[~corners])
    assert 'hidden' not in keys


@pytest.mark.parametrize('text, complaint', [
    ('{', 'cannot be read'), ('[]', 'not a labelme file'), ('{"imageWidth": 3}', "'imageHeight' is missing"),
    ('{"imageWidth": 1e9, "imageHeight": 1e9, "shapes": []}', 'a size of'),
    ('{"imageWidth": 3, "imageHeight": 3, "shapes": [{"label": "a", "points": [[1]]}]}',
     'has points that are not two numbers'),
    ('{"imageWidth": 3, "imageHeight": 3, "shapes": [{"label": "a", "points": [[1, NaN]]}]}',
     'points that are not two numbers'),
    ('{"imageWidth": 3, "imageHeight": 3, "shapes": [{"label": "a", "points": [[1, 2]], "shape_type": "cube"}]}',
     'a cube of a is unknown; draw polygon'),
    ('{"imageWidth": 3, "imageHeight": 3, "shapes": [{"label": "a", "points": [[1, 2]]}]}',
     'a polygon of a has 1 points')])
def test_corrupt_polygons_are_refused(text, complaint, tmp_path):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(BadInput, match=rf'a.json .*{complaint}'):
        draw_polygons(tmp_path / 'a.json')


def test_labelme_folder(tmp_path):
    for number in range(3):
        own.photo(tmp_path / f'{number}.jpg', (10, 12), number)
        own.polygons(tmp_path / f'{number}.json', (10, 12), [('car', 'rectangle', [[1, 1], [4, 4]])])
    own.photo(tmp_path / 'unlabelled.jpg')
    found = look(tmp_path)
    assert found.layout.name == "labelme's polygons" and not found.mistakes
    assert found.card.classes == ('background', 'car')
    assert any('without a mask: unlabelled.jpg' in note for note in found.layout.notes)
    save_lines(tmp_path / 'labels.txt', ['__ignore__', '_background_', 'car', 'road'])
    assert look(tmp_path).card.classes == ('background', 'car', 'road')
    save_lines(tmp_path / 'labels.txt', ['_background_', 'road'])
    complaint = mistake(tmp_path)
    assert 'the masks have 1 name that' in complaint and 'labels.txt lacks: car' in complaint


# Layouts.

def tree(root, *pairs, classes=2):
    """Photographs and index masks at these places."""
    for number, (image, mask) in enumerate(pairs):
        own.photo(root / image, seed=number)
        own.grey(root / mask, np.arange(80).reshape(8, 10) % classes)


CITY = 'aachen_000000_000019', 'bonn_000001_000019', 'ulm_000002_000019'


def cityscapes(root, kind='labelIds'):
    for split, name in zip(('train', 'train', 'val'), CITY, strict=True):
        city = name.partition('_')[0]
        own.photo(root / f'leftImg8bit/{split}/{city}/{name}_leftImg8bit.png')
        place = root / f'gtFine/{split}/{city}'
        ids = np.array([0, 7, 8, 11, 33, 1, 7, 7], np.uint8) if kind == 'labelIds' else np.array([255, 0, 1, 18] * 2)
        own.grey(place / f'{name}_gtFine_{kind}.png', np.tile(ids[:, None], (1, 10)))
        save_png(place / f'{name}_gtFine_color.png', np.zeros((8, 10, 3), np.uint8))
        own.grey(place / f'{name}_gtFine_instanceIds.png', np.zeros((8, 10)))
        (place / f'{name}_gtFine_polygons.json').write_text('{}')


def test_cityscapes(tmp_path):
    cityscapes(tmp_path / 'city')
    found = look(tmp_path / 'city')
    assert found.layout.name == 'Cityscapes' and not found.mistakes
    assert [*found.found['train']] == [*CITY[:2]] and [*found.found['val']] == [CITY[2]]
    assert len(found.card.classes) == 19 and found.card.classes[:2] == ('road', 'sidewalk')
    describe(found, tmp_path / 'data/city')
    label = open_dataset('city', 'val').load(CITY[2])[1][0]
    # Their numbering for training: road 0, sidewalk 1, building 2, bicycle 18; unlabelled and ego vehicle are void.
    np.testing.assert_array_equal(label[:, 0], [255, 0, 1, 2, 18, 255, 0, 0])


def test_cityscapes_numbered_for_training(tmp_path):
    cityscapes(tmp_path, 'labelTrainIds')
    found = look(tmp_path)
    assert found.layout.name == 'Cityscapes, numbered for training' and not found.mistakes
    assert found.card.values['18'] == 'bicycle' and found.card.values['255'] is None


def test_camvid_with_11_classes(tmp_path):
    tree(tmp_path, *((f'{split}/{name}.png', f'{split}annot/{name}.png') for split, name in (
        ('train', '0001TP_006690'), ('val', '0016E5_07959'), ('test', '0001TP_008550'))), classes=12)
    save_lines(tmp_path / 'train.txt', ['/SegNet/train/0001TP_006690.png /SegNet/trainannot/0001TP_006690.png'])
    found = look(tmp_path)
    assert found.layout.name == 'CamVid with 11 classes' and not found.mistakes
    assert {split: [*ids] for split, ids in found.found.items()} == {
        'train': ['0001TP_006690'], 'val': ['0016E5_07959'], 'test': ['0001TP_008550']}
    assert found.card.classes[0] == 'sky' and len(found.card.classes) == 11 and found.card.values['11'] is None


@pytest.mark.parametrize('kind', ['original', 'csv'])
def test_camvid_in_colour(kind, tmp_path):
    colours = {'Road': (128, 64, 128), 'Sky': (128, 128, 128), 'Void': (0, 0, 0)}
    label = np.array([*colours.values()], np.uint8)[np.arange(80).reshape(8, 10) % 3]
    for number, name in enumerate(('0001TP_006690', '0001TP_006720', '0016E5_07959')):
        split = 'val' if number == 2 else 'train'
        photos, masks = (('701_StillsRaw_full', 'LabeledApproved_full') if kind == 'original' else
                         (split, f'{split}_labels'))
        own.photo(tmp_path / photos / f'{name}.png')
        save_png(tmp_path / masks / f'{name}_L.png', label)
    if kind == 'original':
        save_lines(tmp_path / 'label_colors.txt', ['128 64 128\tRoad', '128 128 128\tSky', '0 0 0\t\tVoid'])
    else:
        save_lines(tmp_path / 'class_dict.csv', ['name,r,g,b', 'Road,128,64,128', 'Sky,128,128,128', 'Void,0,0,0'])
    found = look(tmp_path)
    assert found.layout.name == 'CamVid' and not found.mistakes and found.card.masks == 'colour'
    assert found.card.classes == ('Road', 'Sky') and found.card.values['0 0 0'] is None
    assert len(found.found['train']) == 2 and len(found.found['val']) == 1


@pytest.mark.parametrize('pairs', [
    [('a.jpg', 'a.png'), ('b.jpg', 'b.png')],
    [('a.jpg', 'a_mask.png'), ('b.jpg', 'b_mask.png')],
    [('a.png', 'a-label.png'), ('b.png', 'b-label.png')],
    [('a_image.png', 'a_mask.png'), ('b_image.png', 'b_mask.png')],
    [('images/a.jpg', 'masks/a.png'), ('images/b.jpg', 'masks/b.png')],
    [('images/a.jpg', 'labels/a_P.png'), ('images/b.jpg', 'labels/b_P.png')],
    [('x/img/a_l.jpg', 'x/Annotations/a_l.png'), ('x/img/b_l.jpg', 'x/Annotations/b_l.png')],
    [('JPEGImages/a.jpg', 'SegmentationClass/a.png'), ('JPEGImages/b.jpg', 'SegmentationClass/b.png')],
    [('my labelled data/photos/a.jpg', 'my labelled data/gt/a.png'),
     ('my labelled data/photos/b.jpg', 'my labelled data/gt/b.png')]])
def test_two_folders_and_one(pairs, tmp_path):
    tree(tmp_path, *pairs)
    own.grey(tmp_path / 'SegmentationObject/a.png', np.full((8, 10), 9))
    found = look(tmp_path)
    assert not found.mistakes
    assert sorted(pair for split in found.layout.splits.values() for pair in split.values()) == pairs


def test_ids_that_come_in_two_splits_stay_apart(tmp_path):
    tree(tmp_path, *((f'{split}/images/{n}.jpg', f'{split}/masks/{n}.png') for split in ('train', 'val') for n in '12'))
    splits = layouts.find(tmp_path, 0).splits
    assert {split: [*ids] for split, ids in splits.items()} == {'train': ['train_1', 'train_2'],
                                                                'val': ['val_1', 'val_2']}


def test_lists_of_splits(tmp_path):
    tree(tmp_path, *((f'images/{n}.jpg', f'masks/{n}.png') for n in 'abcd'))
    save_lines(tmp_path / 'valid.txt', ['b.jpg', 'images/d.jpg'])
    splits = layouts.find(tmp_path, 0).splits
    assert {split: [*ids] for split, ids in splits.items()} == {'val': ['b', 'd'], 'train': ['a', 'c']}
    save_lines(tmp_path / 'valid.txt', ['b', 'e'])
    with pytest.raises(BadInput, match="valid.txt lists 'e'"):
        layouts.find(tmp_path, 0)


def test_a_split_is_drawn_by_the_seed(tmp_path):
    tree(tmp_path, *((f'images/{n}.jpg', f'masks/{n}.png') for n in 'abcdefghijk'))
    first, again, other = (layouts.find(tmp_path, seed).splits for seed in (1, 1, 2))
    assert first == again and first != other
    assert len(first['val']) == 2 and not first['val'].keys() & first['train'].keys()
    assert len(first['train']) == 9


def test_folders_without_pairs_are_refused(tmp_path):
    own.photo(tmp_path / 'a.jpg')
    with pytest.raises(BadInput, match='has no photograph with a mask; put them'):
        layouts.find(tmp_path, 0)
    own.grey(tmp_path / 'a.png', np.zeros((8, 10)))
    with pytest.raises(BadInput, match='at least two are needed'):
        layouts.find(tmp_path, 0)


# Lists of classes.

@pytest.mark.parametrize('lines, expected', [
    (['road', 'traffic light'], [('road', 0, None), ('traffic light', 1, None)]),
    (['0: road', '7: car'], [('road', 0, None), ('car', 7, None)]),
    (['0 road', '7 void'], [('road', 0, None), (None, 7, None)]),
    (['# label:color_rgb:parts:actions', 'road:128,64,128::', 'car:0,0,142::'],
     [('road', 0, (128, 64, 128)), ('car', 1, (0, 0, 142))]),
    (['128 64 128 road', '0 0 142 car'], [('road', 0, (128, 64, 128)), ('car', 1, (0, 0, 142))]),
    (['road 128 64 128', 'car 0 0 142'], [('road', 0, (128, 64, 128)), ('car', 1, (0, 0, 142))]),
    (['name,r,g,b', 'road,128,64,128'], [('road', 0, (128, 64, 128))]),
    (['1 128 64 128 road', '2 0 0 142 car'], [('road', 1, (128, 64, 128)), ('car', 2, (0, 0, 142))]),
    (['name,id', 'road,3', 'car,4'], [('road', 3, None), ('car', 4, None)]),
    (['0 128 64 128 road', '1 0 0 142 car', '2 void'], [('road', 0, (128, 64, 128)), ('car', 1, (0, 0, 142)),
                                                        (None, 2, None)]),
    (['0 background', '1 0 0 142 car'], [('background', 0, (0, 0, 0)), ('car', 1, (0, 0, 142))]),
    (['zone 30', 'zone 50'], [('zone 30', 0, None), ('zone 50', 1, None)]),
    (['__ignore__', '_background_', 'car'], [(None, 0, None), ('background', 0, None), ('car', 1, None)])])
def test_lists_of_classes(lines, expected, tmp_path):
    save_lines(tmp_path / 'classes.txt', lines)
    found = classlist.read(tmp_path / 'classes.txt').entries
    assert [(entry.name, entry.number, entry.colour) for entry in found] == expected


@pytest.mark.parametrize('lines, complaint', [
    ([], 'names no class'), (['12'], "the line '12'"), (['1 2 road'], "the line '1 2 road'"),
    (['1 300 0 0 road'], 'the line'), (['0 road', 'car'], "'car' has no number"),
    (['0 0 0 road', 'car'], "'car' has no colour")])
def test_wrong_lists_of_classes_are_refused(lines, complaint, tmp_path):
    save_lines(tmp_path / 'classes.txt', lines)
    with pytest.raises(BadInput, match=f'classes.txt.*{complaint}'):
        classlist.read(tmp_path / 'classes.txt')


# The five mistakes, and that the remedy told is one.

def test_mistake_colours_for_numbers(tmp_path):
    own.write(tmp_path, 'rgb', void=None)
    save_lines(tmp_path / 'classes.txt', own.CLASSES)
    told = mistake(tmp_path)
    assert '5 masks hold colours, not class numbers' in told and '3 colours' in told
    lines = [part for part in told.split('"')[1::2]]
    assert {line.rpartition(' ')[0] for line in lines} == {'0 0 0', '128 0 0', '0 128 0'}
    save_lines(tmp_path / 'classes.txt', lines)
    assert not look(tmp_path).mistakes
    (tmp_path / 'classes.txt').unlink()
    assert 'NAME' in mistake(tmp_path)


def test_mistake_no_and_yes(tmp_path):
    for id, (label, photo) in own.scenes(classes=2, void=None).items():
        save_jpeg(tmp_path / f'images/{id}.jpg', photo)
        own.grey(tmp_path / f'masks/{id}.png', label * 255)
    for classes in (None, ['background', 'balloon']):
        if classes:
            save_lines(tmp_path / 'classes.txt', classes)
        told = mistake(tmp_path)
        assert 'the values 0 and 255 alone' in told
    assert '"255 balloon"' in told
    save_lines(tmp_path / 'classes.txt', told.split('"')[1::2])
    found = look(tmp_path)
    assert not found.mistakes and found.card.values == {'0': 'background', '255': 'balloon'}


@pytest.mark.parametrize('zero', [False, True])
def test_mistake_off_by_one(zero, tmp_path):
    for id, (label, photo) in own.scenes(void=0 if zero else None).items():
        save_jpeg(tmp_path / f'images/{id}.jpg', photo)
        label[1:-1] += 1
        own.grey(tmp_path / f'masks/{id}.png', label if zero else np.clip(label, 1, 3))
    save_lines(tmp_path / 'classes.txt', ['road', 'car', 'sky'])
    told = mistake(tmp_path)
    assert ('count the 3 classes' in told and 'from 1, the list from 0' in told) != zero
    assert not zero or '"0 void"' in told and '"0 background"' in told and '"3 void"' in told
    save_lines(tmp_path / 'classes.txt', ['1 road', '2 car', '3 sky', *['0 void'] * zero])
    found = look(tmp_path)
    assert not found.mistakes and found.card.classes == ('road', 'car', 'sky')
    assert {key: found.card.values[key] for key in '123'} == {'1': 'road', '2': 'car', '3': 'sky'}


def test_mistake_of_size(tmp_path):
    own.write(tmp_path)
    own.grey(tmp_path / 'masks/photo1.png', np.zeros((10, 10)))
    told = mistake(tmp_path)
    assert '1 mask has another size' in told and 'photo1.png is 10x10 pixels, the photograph 20x33' in told
    assert 'nearest' in told
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.zeros((8, 20, 3), np.uint8)).save(tmp_path / 'images/photo1.jpg', exif=exif)
    assert 'photo1.png is 10x10 pixels, the photograph 8x20' in mistake(tmp_path)
    own.grey(tmp_path / 'masks/photo1.png', np.zeros((8, 20)))
    assert 'EXIF' in mistake(tmp_path)


def test_mistake_of_a_missing_class(tmp_path):
    own.write(tmp_path)
    label = np.array(Image.open(tmp_path / 'masks/photo2.png'))
    label[:3] = 7
    own.grey(tmp_path / 'masks/photo2.png', label)
    told = mistake(tmp_path)
    assert '4 values 0, 1, 2, 7' in told and 'photo2.png has 7' in told
    assert '"7 NAME"' in told and '"7 void"' in told
    label[10, 10] = 8
    own.grey(tmp_path / 'masks/photo2.png', np.where(label == 8, 9, label + 5 * (label == 2)))
    save_lines(tmp_path / 'classes.txt', ['0 background', '1 road', '2 car'])
    told = mistake(tmp_path)
    assert '2 values that' in told and 'classes.txt lacks: 7, 9 (7 in 1 mask' in told and 'photo2.png' in told
    own.grey(tmp_path / 'masks/photo2.png', np.minimum(label, 7))
    save_lines(tmp_path / 'classes.txt', ['0 background', '1 road', '2 car', '7 tree'])
    assert not look(tmp_path).mistakes


def test_mistake_of_a_missing_colour(tmp_path):
    own.write(tmp_path, 'rgb')
    save_lines(tmp_path / 'classes.txt', ['0 0 0 background', '128 0 0 road', '224 224 192 void'])
    told = mistake(tmp_path)
    assert '1 colour that' in told and '0 128 0' in told and 'numbers too' not in told


def test_masks_in_a_lossy_format_are_told(tmp_path):
    made = own.write(tmp_path, 'rgb')
    for id, (label, _) in made.items():
        (tmp_path / f'masks/{id}.png').unlink()
        Image.fromarray(PALETTE[label]).save(tmp_path / f'masks/{id}.jpg', quality=80)
    assert 'come from a lossy format' in mistake(tmp_path)
    (tmp_path / 'classes.txt').unlink()
    assert 'saved in a lossy format' in mistake(tmp_path)


def test_all_mistakes_are_told(tmp_path):
    own.write(tmp_path)
    (tmp_path / 'masks/photo0.png').write_bytes(b'no picture')
    own.grey(tmp_path / 'masks/photo1.png', np.full((10, 10), 9))
    found = look(tmp_path)
    assert [word in line for word, line in zip(('photo0.png cannot be read', 'another size', '9'), found.mistakes,
                                               strict=True)] == [True] * 3


# What is said of the data.

def test_the_survey_counts_like_numpy(tmp_path):
    made = own.write(tmp_path, count=20)
    found = look(tmp_path, workers=2)       # in other processes
    every = np.concatenate([label.ravel() for label, _ in made.values()])
    labelled = every[every != 255]
    for number, name in enumerate(own.CLASSES):
        line = next(line for line in str(found).splitlines() if line.strip().startswith(name))
        assert float(line.split()[1]) == pytest.approx(100 * (labelled == number).mean(), abs=1e-3)
    assert f'void {100 * (every == 255).mean():.2f} %' in str(found)
    assert found.card == look(tmp_path, workers=1).card


def test_balance_is_by_the_median_of_frequencies(tmp_path):
    tree(tmp_path, *((f'{split}/images/{n}.jpg', f'{split}/masks/{n}.png') for split, n in
                     (('train', 'a'), ('train', 'b'), ('val', 'c'))))
    a, b = np.zeros((8, 10)), np.zeros((8, 10))
    a[0] = 1            # 10 of 80
    b[:2], b[2] = 2, 255    # 20 of the 70 labelled
    own.grey(tmp_path / 'train/masks/a.png', a)
    own.grey(tmp_path / 'train/masks/b.png', b)
    own.grey(tmp_path / 'val/masks/c.png', a)
    # Class 0 is in both: (70 + 50) / (80 + 70) = 0.8; class 1: 10 / 80 = 0.125; class 2: 20 / 70.
    middle = 20 / 70
    np.testing.assert_allclose(look(tmp_path).balance(), [middle / 0.8, middle / 0.125, 1], atol=1e-4)


def test_palette_masks_may_be_told_by_their_colours(tmp_path):
    """As CVAT writes them: the list gives colours, indices are arbitrary."""
    made = own.write(tmp_path, 'rgb')
    for id, (label, _) in made.items():
        shuffled = np.array([5, 3, 9] + 252 * [0] + [1], np.uint8)[label]
        picture = Image.fromarray(shuffled)
        colours = np.zeros((256, 3), np.uint8)
        colours[[5, 3, 9, 1]] = PALETTE[[0, 1, 2, 255]]
        picture.putpalette(colours.ravel().tolist())
        picture.save(tmp_path / f'masks/{id}.png')
    found = look(tmp_path)
    assert found.card.masks == 'colour' and not found.mistakes and found.card.classes == own.CLASSES


def test_numbers_saved_as_rgb_are_read(tmp_path):
    own.write(tmp_path)
    label = np.array(Image.open(tmp_path / 'masks/photo0.png'))
    save_png(tmp_path / 'masks/photo0.png', np.stack([label] * 3, -1))
    positions, keys = read_stored(tmp_path / 'masks/photo0.png', 'index')
    np.testing.assert_array_equal(np.array(keys, int)[positions], label)
    assert not look(tmp_path).mistakes


def test_check_takes_own_data(tmp_path, capsys):
    own.write(tmp_path / 'photos')
    describe(look(tmp_path / 'photos'), tmp_path / 'data/roads')
    assert cli.run(data_layers_main, ['check', 'roads', '--workers', '1']) == 0
    by_name = capsys.readouterr().out
    assert 'train' in by_name and 'car' in by_name and 'no problems' in by_name
    assert cli.run(data_layers_main, ['check', str(tmp_path / 'data/roads'), '--workers', '1']) == 0
    assert by_name.splitlines()[1:] == capsys.readouterr().out.splitlines()[1:]
    save_indexed(tmp_path / 'photos/masks/photo1.png', np.full((33, 20), 9, np.uint8))
    assert cli.run(data_layers_main, ['check', 'roads', '--workers', '1']) == 1
    assert 'has the label 9' in capsys.readouterr().out


# Augmentation.

def sample(height=20, width=31, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((3, height, width)).astype(np.float32),
            rng.integers(0, 5, (1, height, width), np.uint8))


def test_augmentation_depends_on_seed_and_position_alone():
    options = dict(mirror=True, scale=(0.5, 2), crop=16)
    one = [augment(sample(), 7, position, **options) for position in range(8)]
    for position in (5, 2, 2):
        for a, b in zip(augment(sample(), 7, position, **options), one[position], strict=True):
            np.testing.assert_array_equal(a, b)
    assert any((one[0][0] != other[0]).any() for other in one[1:])
    assert (augment(sample(), 8, 0, **options)[0] != one[0][0]).any()


def test_mirror_turns_every_other_sample():
    image, label = sample()
    turned = 0
    for position in range(200):
        a, b = augment((image, label), 1, position, mirror=True)
        if (a == image).all():
            np.testing.assert_array_equal(b, label)
        else:
            turned += 1
            np.testing.assert_array_equal(a, image[:, :, ::-1])
            np.testing.assert_array_equal(b, label[:, :, ::-1])
    assert 70 < turned < 130


def test_a_crop_cuts_image_and_label_alike_and_fills_up():
    image, label = sample()
    image[0] = label[0]     # so that they can be compared
    places = set()
    for position in range(50):
        a, b = augment((image, label), 1, position, crop=18)
        assert a.shape == (3, 18, 18) and b.shape == (1, 18, 18) and a.dtype == np.float32 and b.dtype == np.uint8
        np.testing.assert_array_equal(a[0], b[0])
        places.add(next((y, x) for y in range(3) for x in range(14) if (image[:, y:y + 18, x:x + 18] == a).all()))
    assert {y for y, _ in places} == {0, 1, 2} and {x for _, x in places} >= {0, 13}
    a, b = augment((image, label), 1, 0, crop=25)
    assert (b[0, 20:] == 255).all() and (a[:, 20:] == 0).all() and (b[0, :20] != 255).all()


def test_scale_resizes_within_the_range():
    image, label = sample(40, 60)
    label[:] = 0
    label[:, :, 30:] = 200      # in the right half
    image[:] = label
    sizes = set()
    for position in range(60):
        a, b = augment((image, label), 1, position, scale=(0.5, 2))
        assert a.shape[1:] == b.shape[1:] and set(np.unique(b)) == {0, 200}
        height, width = b.shape[1:]
        assert abs(width - 1.5 * height) <= 2 and 20 <= height <= 80
        assert abs((b[0] == 200).sum() / b.size - 0.5) < 0.05
        assert abs(a.mean() - b.mean()) < 5
        sizes.add(height)
    assert min(sizes) < 26 and max(sizes) > 62
    same = augment((image, label), 1, 0, scale=(1, 1))
    np.testing.assert_allclose(same[0], image)
    np.testing.assert_array_equal(same[1], label)


def test_an_id_of_two_splits_is_each_ones_own_photograph(tmp_path):
    own.write(tmp_path / 'photos')
    describe(look(tmp_path / 'photos'), tmp_path / 'data/roads')
    root = tmp_path / 'data/roads'
    first, second = (root / 'train.tsv').read_text().splitlines()[:2]
    for split, line in (('train', first), ('val', second)):
        (root / f'{split}.tsv').write_text('\t'.join(['same', *line.split('\t')[1:]]) + '\n')
    files = [open_dataset('roads', split).file('data', 'same').name for split in ('train', 'val')]
    assert files == [line.split('\t')[1].rpartition('/')[2] for line in (first, second)]
