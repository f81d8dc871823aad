"""NYUDv2, SIFT Flow, PASCAL-Context and Cityscapes: what is read back, above all which value becomes which class."""
import math

import numpy as np
import pytest

from cli import BadInput
from data_layers import DATASETS, open_dataset
from data_layers.siftflow import CATEGORIES
from tests.helpers.datasets import (
    CONTEXT_NUMBERS,
    save_jpeg,
    save_lines,
    save_mat,
    save_png,
    write_cityscapes,
    write_nyud,
    write_pascalcontext,
    write_siftflow,
    write_voc,
)

ALL = ('color', 'hha', 'depth', 'label')


def test_nyud_photographs_are_bgr_and_hha_keeps_its_order(tmp_path):
    written = write_nyud(tmp_path)
    dataset = open_dataset('nyud', 'test', tmp_path, ALL)
    color, hha, depth, label = dataset.load('5003')
    assert color.shape == hha.shape == (3, 36, 36) and depth.shape == label.shape == (1, 36, 36)
    stored = written['5003']
    for channel, (rgb, mean) in enumerate(((2, 116.190), (1, 97.203), (0, 92.318))):
        np.testing.assert_allclose(color[channel] + mean, stored['color'][:, :, rgb], atol=1e-4)
    for channel, mean in enumerate((132.431, 94.076, 118.477)):
        np.testing.assert_allclose(hha[channel] + mean, stored['hha'][:, :, channel], atol=1e-4)
    assert {array.dtype for array in (color, hha, depth)} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(dataset.image('5003'), stored['color'])
    assert dataset.mean == (116.190, 97.203, 92.318)


def test_nyud_depth_is_its_logarithm_minus_the_mean_and_holes_become_the_mean(tmp_path):
    written = write_nyud(tmp_path)
    (depth,) = open_dataset('nyud', 'test', tmp_path, ['depth']).load('5003')
    stored = written['5003']['depth']
    for row, column in ((0, 0), (5, 9), (35, 35)):
        assert depth[0, row, column] == pytest.approx(math.log(stored[row, column]) - 7.844, abs=1e-5)
    assert (stored == 0).sum() == 4 and (depth[0][stored == 0] == 0).all()
    save_png(tmp_path / 'data/depth/img_5003.png', np.full((36, 36), round(math.exp(7.844)), np.uint16))
    (depth,) = open_dataset('nyud', 'test', tmp_path, ['depth']).load('5003')
    np.testing.assert_allclose(depth, 0, atol=2e-4)     # millimetres are whole


def test_nyud_label_0_is_void_and_1_to_40_are_0_to_39(tmp_path):
    write_nyud(tmp_path, sizes=[(41, 8)])
    save_mat(tmp_path / 'segmentation/img_5003.mat', segmentation=np.arange(41, dtype=np.uint8)[:, None].repeat(8, 1))
    _, label = open_dataset('nyud', 'test', tmp_path).load('5003')
    np.testing.assert_array_equal(label[0, :, 0], [255, *range(40)])
    save_mat(tmp_path / 'segmentation/img_5003.mat', segmentation=np.full((41, 8), 41))
    with pytest.raises(BadInput, match='^nyud 5003: .*segmentation/img_5003.mat has label value 41'):
        open_dataset('nyud', 'test', tmp_path).load('5003')


def test_nyud_trainval_is_train_and_val(tmp_path):
    write_nyud(tmp_path)
    dataset = open_dataset('nyud', 'trainval', tmp_path)
    assert dataset.ids == ['5001', '5002'] and dataset.tops == ('color', 'label')
    assert dataset.splits(tmp_path) == ['train', 'val', 'test', 'trainval']
    save_lines(tmp_path / 'trainval.txt', ['5002'])
    assert open_dataset('nyud', 'trainval', tmp_path).ids == ['5002']


def test_nyud_tops_must_agree_in_size_and_depth_must_be_16_bit(tmp_path):
    write_nyud(tmp_path)
    dataset = open_dataset('nyud', 'test', tmp_path, ALL)
    save_png(tmp_path / 'data/hha/img_5003.png', np.zeros((36, 35, 3), np.uint8))
    with pytest.raises(BadInput, match='hha/img_5003.png is 35x36 pixels but .*images/img_5003.png is 36x36'):
        dataset.load('5003')
    save_png(tmp_path / 'data/depth/img_5003.png', np.zeros((36, 36), np.uint8))
    with pytest.raises(BadInput, match='^nyud 5003: .*depth/img_5003.png is a L picture, not a 16 bit one'):
        dataset.load('5003')


def test_siftflow_classes_count_from_1_and_void_is_0_or_minus_1(tmp_path):
    write_siftflow(tmp_path, sizes=[(34, 5)])
    values = np.arange(34)[:, None].repeat(5, 1)
    save_mat(tmp_path / f'SemanticLabels/{CATEGORIES}/street_par177.mat', S=values)
    save_mat(tmp_path / f'GeoLabels/{CATEGORIES}/street_par177.mat', S=(values % 5 - 1).astype(np.int16))
    dataset = open_dataset('siftflow', 'test', tmp_path)
    image, sem, geo = dataset.load('street_par177')
    assert image.shape == (3, 34, 5) and sem.shape == geo.shape == (1, 34, 5)
    np.testing.assert_array_equal(sem[0, :, 0], [255, *range(33)])
    np.testing.assert_array_equal(geo[0, :5, 0], [255, 255, 0, 1, 2])
    assert dataset.classes['sem'][27] == 'sky' and dataset.classes['geo'] == ('sky', 'horizontal', 'vertical')
    for top, folder, value in (('sem', 'SemanticLabels', 34), ('sem', 'SemanticLabels', -1), ('geo', 'GeoLabels', 4)):
        save_mat(tmp_path / f'{folder}/{CATEGORIES}/street_par177.mat', S=np.full((34, 5), value))
        with pytest.raises(BadInput, match=f'^siftflow street_par177: .*{folder}.* has label value {value}'):
            open_dataset('siftflow', 'test', tmp_path, [top]).load('street_par177')


def test_siftflow_reads_back_what_matlab_wrote(tmp_path):
    written = write_siftflow(tmp_path)
    dataset = open_dataset('siftflow', 'trainval', tmp_path)
    assert len(dataset) == 2
    for id in dataset.ids:
        _, sem, geo = dataset.load(id)
        stored = written[id]
        np.testing.assert_array_equal(sem[0], np.where(stored['sem'] == 0, 255, stored['sem'] - 1))
        np.testing.assert_array_equal(geo[0], np.where(stored['geo'] < 1, 255, stored['geo'] - 1))


def test_context_joins_the_lists_by_name(tmp_path):
    written = write_pascalcontext(tmp_path)
    dataset = open_dataset('pascalcontext', 'train', tmp_path)
    names = dataset.classes['label']
    assert len(names) == 60 and names[0] == 'background'
    assert names == type(dataset).classes['label']      # the order of the published nets
    for name, number in (('background', 1), ('aeroplane', 2), ('diningtable', 397), ('bedcloth', 19), ('clothes', 80),
                         ('wood', 458), ('background', 459), ('background', 0)):
        assert dataset.class_of[number] == names.index(name)
    for id in dataset.ids:
        image, label = dataset.load(id)
        stored = written[id]['label']
        assert image.shape[1:] == stored.shape and label.dtype == np.uint8
        for number in np.unique(stored):
            name = next((name for name, n in CONTEXT_NUMBERS.items() if n == number), 'background')
            name = {'table': 'diningtable', 'bedclothes': 'bedcloth', 'cloth': 'clothes'}.get(name, name)
            assert (label[0][stored == number] == names.index(name)).all()


def test_context_refuses_unknown_numbers_and_corrupt_lists(tmp_path):
    write_pascalcontext(tmp_path)
    folder = tmp_path / 'pascal-context'
    for value in (460, 65535):
        save_mat(folder / 'trainval/2008_000002.mat', LabelMap=np.full((40, 56), value, np.uint16))
        with pytest.raises(BadInput, match=f'^pascalcontext 2008_000002: .*label value {value}, which is not in'):
            open_dataset('pascalcontext', 'train', tmp_path).load('2008_000002')
    lines = (folder / '59_labels.txt').read_text().splitlines()
    for changed, complaint in (
            ([*lines[:-1], '59: ectoplasm'], 'names the class ectoplasm, which is not in'),
            (lines[:-1], 'names 58 classes, not 59'),
            ([f'{number}: wall' for number in range(300)], 'names 300 classes, not 59'),     # more than labels can tell
            ([*lines[:-1], '59: sky'], 'names 58 classes, not 59'),
            (['aeroplane', *lines[1:]], "line 'aeroplane', which is not of the form number: name")):
        save_lines(folder / '59_labels.txt', changed)
        with pytest.raises(BadInput, match=complaint):
            open_dataset('pascalcontext', 'train', tmp_path)
    (folder / '59_labels.txt').unlink()
    with pytest.raises(BadInput, match='59_labels.txt is missing'):
        open_dataset('pascalcontext', 'train', tmp_path)


def test_context_is_found_where_its_folders_usually_lie(tmp_path, monkeypatch):
    write_pascalcontext(tmp_path)
    monkeypatch.setenv('FCN_DATA', str(tmp_path))
    for root in (None, tmp_path, tmp_path / 'pascal-context'):
        assert open_dataset('pascalcontext', 'val', root).ids == ['2008_000007']
    (tmp_path / 'pascal').rename(tmp_path / 'elsewhere')
    with pytest.raises(BadInput, match='no PASCAL-Context in .*VOC2010.*VOCtrainval_03-May-2010.tar'):
        open_dataset('pascalcontext', 'val')


def test_voc_2012_has_its_own_place_and_splits(tmp_path, monkeypatch):
    monkeypatch.setenv('FCN_DATA', str(tmp_path))
    write_voc(tmp_path / 'pascal/VOC2012', splits={'val': ['2008_000003'], 'test': ['2007_000001']})
    assert open_dataset('voc2012', 'val').ids == ['2008_000003']
    assert open_dataset('voc2012', 'test', tops=['data']).load('2007_000001')[0].shape == (3, 40, 56)
    with pytest.raises(BadInput, match='no split seg11valid'):
        open_dataset('voc2012', 'seg11valid')


# Their definition of labels: number -> class for training. All others are not scored.
TRAIN_IDS = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14,
             28: 15, 31: 16, 32: 17, 33: 18}


def test_cityscapes_numbers_become_the_classes_for_training(tmp_path):
    write_cityscapes(tmp_path)
    path = tmp_path / 'gtFine/val/frankfurt/frankfurt_000000_000294_gtFine_labelIds.png'
    stored = np.resize(np.r_[np.arange(34), 255].astype(np.uint8), (40, 56))
    save_png(path, stored)
    save_png(tmp_path / 'leftImg8bit/val/frankfurt/frankfurt_000000_000294_leftImg8bit.png',
             np.zeros((40, 56, 3), np.uint8))
    dataset = open_dataset('cityscapes', 'val', tmp_path)
    expected = [[TRAIN_IDS.get(number, 255) for number in row] for row in stored.tolist()]
    np.testing.assert_array_equal(dataset.load('frankfurt_000000_000294')[1][0], expected)
    assert dataset.classes['label'][18] == 'bicycle' and dataset.classes['label'][19] == 'unused'
    for wrong in (34, 254):
        stored[3, 4] = wrong
        save_png(path, stored)
        with pytest.raises(BadInput, match=f'frankfurt_000000_000294: .*label value {wrong} .*row 3, column 4'):
            dataset.load('frankfurt_000000_000294')
    save_png(path, np.zeros((40, 56, 3), np.uint8))
    with pytest.raises(BadInput, match='RGB picture, not class indices'):
        dataset.load('frankfurt_000000_000294')


def test_cityscapes_splits_are_its_folders(tmp_path):
    write_cityscapes(tmp_path, splits={'train': ['ulm_000000_000019', 'bonn_000001_000019'],
                                       'val': ['ulm_000001_000019'], 'test': ['berlin_000000_000019']})
    (tmp_path / 'leftImg8bit/demo').mkdir()
    save_png(tmp_path / 'leftImg8bit/val/ulm/bonn_000001_000019_leftImg8bit.png', np.zeros((3, 3, 3), np.uint8))
    assert DATASETS['cityscapes'].splits(tmp_path) == ['train', 'val', 'test']
    train = open_dataset('cityscapes', 'train', tmp_path)
    assert train.ids == ['bonn_000001_000019', 'ulm_000000_000019']
    assert open_dataset('cityscapes', 'val', tmp_path).ids == ['ulm_000001_000019']     # another city's is not its
    assert train.load('ulm_000001_000019')[0].shape == (3, 40, 56)      # of another split, as `check` reads them
    for split in ('dev', '..', '../leftImg8bit', ''):
        with pytest.raises(BadInput, match='no split .*present: demo, test, train, val'):
            open_dataset('cityscapes', split, tmp_path)
    with pytest.raises(BadInput, match='demo .* is empty'):
        open_dataset('cityscapes', 'demo', tmp_path)


@pytest.mark.parametrize('name, split, path, mean', [
    ('cityscapes', 'val', 'leftImg8bit/val/frankfurt/frankfurt_000000_000294_leftImg8bit.png',
     (72.78044, 83.21195, 73.45286)),
    ('siftflow', 'test', f'Images/{CATEGORIES}/street_par177.jpg', (114.578, 115.294, 108.353)),
    ('pascalcontext', 'val', 'pascal/VOC2010/JPEGImages/2008_000007.jpg', (104.007, 116.669, 122.679))])
def test_photographs_are_bgr_with_the_mean_of_the_recipe(tmp_path, name, split, path, mean):
    {'siftflow': write_siftflow, 'pascalcontext': write_pascalcontext, 'cityscapes': write_cityscapes}[name](
        tmp_path, sizes=[(36, 36)] * 2)
    save_jpeg(tmp_path / path, np.full((36, 36, 3), (200, 90, 10), np.uint8))   # R, G, B
    dataset = open_dataset(name, split, tmp_path)
    image = dataset.load(dataset.ids[0])[0]
    for channel, value in enumerate((10, 90, 200)):
        np.testing.assert_allclose(image[channel], value - mean[channel], atol=2.5)     # JPEG is not exact
    assert dataset.mean == mean


@pytest.mark.parametrize('name, classes', [('nyud', 40), ('pascalcontext', 60), ('sbd', 21), ('siftflow', 33),
                                           ('voc', 21), ('voc2012', 21), ('cityscapes', 20)])
def test_every_data_set_says_where_it_comes_from(name, classes, monkeypatch, tmp_path):
    monkeypatch.setenv('FCN_DATA', str(tmp_path))
    with pytest.raises(BadInput, match=f'download .*http.*prepare {name} --from'):
        open_dataset(name, 'train')
    dataset = DATASETS[name]
    assert 'cited' in dataset.licence and 'ID' in dataset.layout and dataset.void == 255
    names = next(iter(dataset.classes.values()))
    assert len(names) == len(set(names)) == classes
