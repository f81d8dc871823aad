"""VOC and SBD: what is read back is what was written, and bad files are refused by name."""
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.io
from PIL import Image

from cli import BadInput
from data_layers import DATASETS, draw, open_dataset, warn_overlap
from data_layers.dataset import CHECKOUT
from data_layers.palette import PALETTE, colorize, save_indexed
from data_layers.reading import to_blob, to_classes
from tests.helpers.datasets import save_jpeg, save_lines, write_sbd, write_voc

MEAN = (104.00699, 116.66877, 122.67892)


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / 'VOC2011'
    return root, write_voc(root)


def test_labels_are_read_back_exactly(voc):
    root, written = voc
    for id, sample in written.items():
        image, label = open_dataset('voc', 'val', root).load(id)
        assert label.dtype == np.uint8 and image.dtype == np.float32
        assert image.shape[1:] == label.shape[1:] and image.shape[0] == 3 and label.shape[0] == 1
        np.testing.assert_array_equal(label[0], sample['label'])


def test_images_are_bgr_with_the_mean_subtracted(voc):
    root, _ = voc
    save_jpeg(root / 'JPEGImages/2007_000001.jpg', np.full((40, 56, 3), (200, 90, 10), np.uint8))   # R, G, B
    image, _ = open_dataset('voc', 'val', root).load('2007_000001')
    for channel, value in enumerate((10, 90, 200)):
        np.testing.assert_allclose(image[channel], value - MEAN[channel], atol=2.5)     # JPEG is not exact
    assert open_dataset('voc', 'val', root).mean == MEAN


def test_the_mean_is_subtracted_in_double_and_rounded_once():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    blob = to_blob(pixels, MEAN)
    expected = [np.float32(value - MEAN[2]) for value in range(256)]
    assert blob.shape == (3, 16, 16) and blob.dtype == np.float32
    np.testing.assert_array_equal(blob[2].ravel(), expected)


@pytest.mark.parametrize('mode', ['L', 'CMYK', 'P', 'RGBA', 'LA', '1'])
def test_photographs_of_any_mode_load_as_rgb(voc, mode):
    root, _ = voc
    path = root / 'JPEGImages/2007_000001.jpg'
    photo = Image.open(path).convert('RGB').convert(mode)
    photo.save(path, format='JPEG' if mode in ('L', 'CMYK') else 'PNG')
    dataset = open_dataset('voc', 'val', root)
    assert dataset.load('2007_000001')[0].shape == (3, 40, 56)
    rgb = dataset.image('2007_000001').astype(int)
    if mode in ('CMYK', 'RGBA'):
        assert np.abs(rgb - np.asarray(photo.convert('RGB'))).mean() < 6
    elif mode == 'L':
        assert (rgb[:, :, 0] == rgb[:, :, 2]).all()


def test_sbd_reads_matlab_structs_and_converted_png(tmp_path):
    written = write_sbd(tmp_path, png=['2008_000004'])
    dataset = open_dataset('sbd', 'train', tmp_path)
    assert [dataset.file('label', id).suffix for id in dataset.ids] == ['.mat', '.png', '.mat']
    for id in dataset.ids:
        np.testing.assert_array_equal(dataset.load(id)[1][0], written[id]['label'])


def test_seg11valid_is_voc_val_without_sbd_train(tmp_path, monkeypatch):
    monkeypatch.setenv('FCN_DATA', str(tmp_path))
    write_voc(tmp_path / 'pascal/VOC2011', ids=['d', 'a', 'c', 'b'], splits={'val': ['d', 'a', 'c', 'b']})
    with pytest.raises(BadInput, match='seg11valid is VOC 2011 val without SBD train.*prepare sbd'):
        open_dataset('voc', 'seg11valid')
    write_sbd(tmp_path / 'sbdd/dataset', ids=['c', 'x'])
    assert open_dataset('voc', 'seg11valid').ids == ['d', 'a', 'b']
    assert DATASETS['voc'].splits() == ['seg11valid', 'val']
    save_lines(tmp_path / 'pascal/VOC2011/ImageSets/Segmentation/seg11valid.txt', ['b'])
    assert open_dataset('voc', 'seg11valid').ids == ['b']


@pytest.mark.parametrize('below', ['', 'VOCdevkit/VOC2011', 'TrainVal/VOCdevkit/VOC2011', 'pascal/VOC2011'])
def test_a_folder_that_holds_the_data_set_will_do(tmp_path, below):
    write_voc(tmp_path / below)
    assert len(open_dataset('voc', 'val', tmp_path)) == 3


def test_a_training_split_that_meets_the_scored_one_is_warned_of(tmp_path):
    write_voc(tmp_path / 'voc')
    write_sbd(tmp_path / 'sbd')
    sbd = open_dataset('sbd', 'train', tmp_path / 'sbd')
    with pytest.warns(UserWarning, match='voc val shares 1 of its 3 samples .2008_000003.* sbd train'):
        assert warn_overlap(sbd, open_dataset('voc', 'val', tmp_path / 'voc')) == 1
    save_lines(tmp_path / 'voc/ImageSets/Segmentation/val.txt', ['2007_000001'])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert warn_overlap(sbd, open_dataset('voc', 'val', tmp_path / 'voc')) == 0


# What is refused. Each breaks one file of a good data set; the complaint names data set, id and file.

def value_21(root):
    label = np.zeros((40, 56), np.uint8)
    label[3, 5] = 21
    save_indexed(root / 'SegmentationClass/2007_000001.png', label)


def other_size(root):
    save_indexed(root / 'SegmentationClass/2007_000001.png', np.zeros((41, 56), np.uint8))


def rgb_mask(root):
    Image.fromarray(np.zeros((40, 56, 3), np.uint8)).save(root / 'SegmentationClass/2007_000001.png')


def truncate(name):
    def spoil(root):
        path = root / name
        path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    return spoil


def remove(name):
    return lambda root: (root / name).unlink()


def fill(name, content):
    return lambda root: (root / name).write_bytes(content)


PHOTO, MASK = 'JPEGImages/2007_000001.jpg', 'SegmentationClass/2007_000001.png'


@pytest.mark.parametrize('spoil, complaint', [
    (value_21, f'{MASK} has label value 21 .first at row 3, column 5.*0 to 20.*255'),
    (other_size, f'{MASK} is 56x41 pixels but .*{PHOTO} is 56x40'),
    (rgb_mask, f'{MASK} is a RGB picture, not class indices'),
    (truncate(PHOTO), f'{PHOTO} cannot be read .*truncated'),
    (truncate(MASK), f'{MASK} cannot be read'),
    (remove(PHOTO), f'{PHOTO} is missing; restore'),
    (remove(MASK), f'{MASK} is missing; restore'),
    (fill(PHOTO, b''), f'{PHOTO} cannot be read'),
    (fill(MASK, b'\x89PNG\r\n\x1a\nnonsense'), f'{MASK} cannot be read'),
    (fill(PHOTO, b'hello'), f'{PHOTO} cannot be read'),
])
def test_bad_files_are_refused_by_name(voc, spoil, complaint):
    root, _ = voc
    spoil(root)
    with pytest.raises(BadInput, match=f'^voc 2007_000001: .*{complaint}') as caught:
        open_dataset('voc', 'train', root).load('2007_000001')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('content, complaint', [
    (b'not a mat file', 'cannot be read'),
    (b'', 'cannot be read'),
    ({'other': np.zeros((2, 2))}, 'has no variable GTcls'),
    ({'GTcls': np.zeros((2, 2))}, 'has no GTcls.Segmentation'),
    ({'GTcls': {'Boundaries': 1}}, 'has no GTcls.Segmentation'),
    ({'GTcls': {'Segmentation': np.full((40, 56), 21, np.uint8)}}, 'label value 21'),
    ({'GTcls': {'Segmentation': np.full((40, 56), 0.5)}}, 'label value 0.5'),
    ({'GTcls': {'Segmentation': np.full((40, 56), np.nan)}}, 'label value nan, which is not an integer'),
    ({'GTcls': {'Segmentation': np.zeros((40, 56, 3))}}, 'no plane of labels'),
    ({'GTcls': {'Segmentation': 'text'}}, 'no plane of labels'),
])
def test_bad_matlab_files_are_refused_by_name(tmp_path, content, complaint):
    write_sbd(tmp_path)
    path = tmp_path / 'cls/2008_000003.mat'
    path.write_bytes(content) if isinstance(content, bytes) else scipy.io.savemat(path, content)
    with pytest.raises(BadInput, match=f'^sbd 2008_000003: .*cls/2008_000003.mat.*{complaint}'):
        open_dataset('sbd', 'train', tmp_path).load('2008_000003')


def test_truncated_matlab_files_never_pass(tmp_path):
    write_sbd(tmp_path)
    path = tmp_path / 'cls/2008_000003.mat'
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, max(1, len(whole) // 40)):
        path.write_bytes(whole[:size])
        with pytest.raises(BadInput, match='cls/2008_000003.mat'):
            open_dataset('sbd', 'train', tmp_path).load('2008_000003')


def test_wrong_calls_are_refused(voc, tmp_path, monkeypatch):
    root, _ = voc
    monkeypatch.setenv('FCN_DATA', str(tmp_path / 'nowhere'))
    names = ', '.join(DATASETS)
    for call, complaint in (
            (('imagenet', 'train'), f"no data set is called 'imagenet': choose from {names}"),
            (('voc', 'train'), 'no PASCAL VOC 2011 in .*nowhere/pascal/VOC2011.*download VOCtrainval_25-May-2011.tar '
                               'from http.*prepare voc --from'),
            (('voc', 'training', root), 'no split training.*present: train, trainval, val'),
            (('voc', 'train', root, ('data', 'depth')), 'voc has no top depth: choose from data, label')):
        with pytest.raises(BadInput, match=complaint):
            open_dataset(*call)
    save_lines(root / 'ImageSets/Segmentation/val.txt', ['', '  '])
    with pytest.raises(BadInput, match='split val in .* is empty'):
        open_dataset('voc', 'val', root)


@pytest.mark.parametrize('id', ['../../secret', '/etc/passwd', 'a/b', '..', r'a\b'])
def test_ids_that_point_outside_the_folder_are_refused(voc, id):
    root, _ = voc
    save_lines(root / 'ImageSets/Segmentation/val.txt', [id])
    with pytest.raises(BadInput, match='not a file name'):
        open_dataset('voc', 'val', root)


def test_a_split_without_labels_gives_images(voc):
    root, _ = voc
    (root / MASK).unlink()
    (image,) = open_dataset('voc', 'val', root, tops=('data',)).load('2007_000001')
    assert image.shape == (3, 40, 56)


def test_draw_is_a_pure_uniform_function():
    first = [draw(1337, position, 10) for position in range(2000)]
    assert first == [draw(1337, position, 10) for position in reversed(range(2000))][::-1]
    assert first != [draw(1338, position, 10) for position in range(2000)]
    pairs = np.histogram2d(first[:-1], first[1:], 10)[0]
    expected = 1999 / 100
    assert ((pairs - expected) ** 2 / expected).sum() < 148     # chi squared, 99 degrees of freedom, p = 0.001


def test_masks_of_bytes_are_mapped_as_any_other():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for first, void in ((0, (255,)), (1, (0, -1)), (1, (0, 255))):
        good = values[(values >= first) & (values < first + 40) | np.isin(values, void)].reshape(1, -1)
        expected = np.array([255 if value in void else value - first for value in good[0].tolist()], np.uint8)
        np.testing.assert_array_equal(to_classes(good, 40, 'f', first, void), expected[None])
        messages = []
        for kind in (np.uint8, np.int32, np.float64):
            with pytest.raises(BadInput, match='f has label value ') as problem:
                to_classes(values.astype(kind), 40, 'f', first, void)
            messages.append(str(problem.value))
        assert len(set(messages)) == 1


def test_to_classes_maps_and_refuses():
    values = np.array([[-1, 0, 1], [2, 3, 0]])
    np.testing.assert_array_equal(to_classes(values, 3, 'f', first=1, void=(-1, 0)), [[255, 255, 0], [1, 2, 255]])
    with pytest.raises(BadInput, match='label value -1, 0 .first at row 0, column 0'):
        to_classes(values, 3, 'f', first=1)
    with pytest.raises(BadInput, match='label value 256'):
        to_classes(np.array([[256]]), 21, 'f')      # must not wrap around to 0


def test_palette_is_that_of_voc(tmp_path):
    known = {'aeroplane': (128, 0, 0), 'bird': (128, 128, 0), 'person': (192, 128, 128), 'tvmonitor': (0, 64, 128)}
    names = DATASETS['voc'].classes['label']
    assert len(names) == 21
    for name, colour in known.items():
        assert tuple(PALETTE[names.index(name)]) == colour
    assert tuple(PALETTE[255]) == (224, 224, 192) and len({tuple(c) for c in PALETTE}) == 256
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    save_indexed(tmp_path / 'mask.png', labels)
    picture = Image.open(tmp_path / 'mask.png')
    assert picture.mode == 'P'
    np.testing.assert_array_equal(np.asarray(picture), labels)
    np.testing.assert_array_equal(np.asarray(picture.convert('RGB')), colorize(labels))


def test_only_layers_imports_caffe():
    code = ('import sys; sys.modules["caffe"] = None\n'
            'import pkgutil, importlib, data_layers\n'
            'for module in pkgutil.walk_packages(data_layers.__path__, "data_layers."):\n'
            '    if module.name not in ("data_layers.layers", "data_layers.__main__"): '
            'importlib.import_module(module.name)\n'
            'assert "data_layers.own.survey" in sys.modules')
    subprocess.run([sys.executable, '-c', code], check=True, cwd=CHECKOUT)
