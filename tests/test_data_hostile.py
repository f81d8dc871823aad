"""Hostile and damaged data files are refused in one line: they neither hang nor kill a process, nor fill the memory."""
import json
import os
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from cli import BadInput
from data_layers import open_dataset, reading
from data_layers.check import check
from data_layers.own import classlist, layouts, survey
from data_layers.own.annotations import draw as draw_polygons
from data_layers.own.folder import read_card
from data_layers.pascalcontext import read_numbered
from data_layers.pictures import image_files
from data_layers.prepare import finish_nyud
from data_layers.reading import read_indices, read_json, read_lines, read_mat, read_pixels, read_rgb
from tests.helpers import own
from tests.helpers.datasets import save_lines, save_mat, save_png, write_sbd, write_voc

READERS = [read_lines, read_json, read_pixels, lambda path: read_mat(path, 'x'), classlist.read, draw_polygons,
           read_numbered]


@pytest.fixture(autouse=True)
def quick():
    """Each test ends in seconds: what hung before is a failure, not a wait."""
    begin = time.process_time()
    yield
    assert time.process_time() - begin < 5


def one_line(problem):
    assert '\n' not in str(problem.value) and len(str(problem.value)) < 2000
    str(problem.value).encode()


# Regular files only.

@pytest.mark.parametrize('reader', READERS)
def test_only_regular_files_are_read(reader, tmp_path):
    os.mkfifo(tmp_path / 'fifo.jpg')
    (tmp_path / 'folder.jpg').mkdir()
    (tmp_path / 'zero.jpg').symlink_to('/dev/zero')
    (tmp_path / 'gone.jpg').symlink_to('nowhere')
    for name, what in (('fifo', 'FIFO, not a regular'), ('folder', 'folder, not a regular'),
                       ('zero', 'device, not a regular'), ('gone', 'missing; restore')):
        with pytest.raises(BadInput, match=f'{name}.jpg .*{what}') as problem:
            reader(tmp_path / f'{name}.jpg')
        one_line(problem)


def test_own_data_with_a_fifo_is_surveyed(tmp_path):
    own.write(tmp_path)
    for name in ('images/photo0.jpg', 'masks/photo1.png'):
        (tmp_path / name).unlink()
        os.mkfifo(tmp_path / name)
    found = survey.survey(tmp_path, layouts.find(tmp_path, 0), 1)
    assert ['FIFO' in line for line in found.mistakes] == [True] * 2


def test_text_files_are_bounded(tmp_path):
    with (tmp_path / 'huge.txt').open('wb') as file:
        file.truncate(1 << 40)      # which takes no room on disk
    for reader in (read_lines, read_json):
        with pytest.raises(BadInput, match='huge.txt has 1099511627776 bytes'):
            reader(tmp_path / 'huge.txt')


# Formats.

@pytest.mark.parametrize('kind', ['EPS', 'GIF', 'PPM', 'PDF'])
def test_other_formats_are_refused_whatever_the_name(kind, tmp_path):
    path = tmp_path / 'a.jpg'
    Image.new('RGB', (8, 9)).save(path, format=kind)
    for reader in (read_pixels, read_rgb):
        with pytest.raises(BadInput, match='a.jpg cannot be read'):
            reader(path)
    assert survey.mode_of(path) == ''


@pytest.mark.parametrize('kind', reading.FORMATS)
def test_known_formats_are_read_whatever_the_name(kind, tmp_path):
    path = tmp_path / 'a.jpg'
    Image.new('RGB', (8, 9), 'red').save(path, format=kind)
    assert read_rgb(path).shape == (9, 8, 3) and survey.mode_of(path) == 'RGB'


# Sizes.

@pytest.fixture
def decoded(monkeypatch):
    """The sizes of the pictures that are decoded."""
    sizes, load = [], reading.read_pixels

    def watched(path):
        sizes.append(reading.picture_size(path))
        return load(path)
    for module in ('reading', 'own.masks', 'nyud', 'submission'):
        monkeypatch.setattr(f'data_layers.{module}.read_pixels', watched)
    return sizes


def enormous(path, side=5000):
    Image.new('L', (side, side)).save(path, compress_level=1)


def test_an_enormous_mask_beside_a_small_photograph_is_not_decoded(tmp_path, decoded):
    write_voc(tmp_path)
    enormous(tmp_path / 'SegmentationClass/2007_000001.png')
    with pytest.raises(BadInput, match='^voc 2007_000001: .*000001.png is 5000x5000 pixels but .*000001.jpg is 56x40'):
        open_dataset('voc', 'train', tmp_path).load('2007_000001')
    assert not decoded
    problems = check('voc', tmp_path, workers=1)['problems']
    assert len(problems) == 1 and '5000x5000 pixels but' in problems[0]
    assert (5000, 5000) not in decoded


def test_an_enormous_mask_of_own_data_is_not_decoded(tmp_path, decoded):
    own.write(tmp_path / 'data')
    enormous(tmp_path / 'data/masks/photo1.png')
    found = survey.survey(tmp_path / 'data', layouts.find(tmp_path / 'data', 0), 1)
    assert len(found.mistakes) == 1 and 'photo1.png is 5000x5000 pixels, the photograph 20x33' in found.mistakes[0]
    assert (5000, 5000) not in decoded
    root = tmp_path / 'roads'
    root.mkdir()
    found.card.write(root / 'dataset.json')
    save_lines(root / 'train.tsv', ['a\timages/photo1.jpg\tmasks/photo1.png'])
    with pytest.raises(BadInput, match='photo1.png is 5000x5000 pixels but .*photo1.jpg is 20x33'):
        open_dataset('folder', 'train', root).load('a')
    assert (5000, 5000) not in decoded


def test_enormous_polygons_beside_a_small_photograph_are_not_drawn(tmp_path, monkeypatch):
    own.photo(tmp_path / 'a.jpg')
    own.polygons(tmp_path / 'a.json', (16000, 16000), [('road', 'rectangle', [[0, 0], [9, 9]])])
    own.photo(tmp_path / 'b.jpg')
    own.polygons(tmp_path / 'b.json', (8, 10), [('road', 'rectangle', [[0, 0], [9, 9]])])
    sizes, new = [], Image.new
    monkeypatch.setattr(Image, 'new', lambda mode, size, *rest: sizes.append(size) or new(mode, size, *rest))
    found = survey.survey(tmp_path, layouts.find(tmp_path, 0), 1)
    assert len(found.mistakes) == 1 and 'a.json is 16000x16000 pixels, the photograph 10x8' in found.mistakes[0]
    assert (16000, 16000) not in sizes


def test_an_enormous_matlab_file_beside_a_small_photograph_is_not_read(tmp_path, monkeypatch):
    write_sbd(tmp_path)
    label = np.zeros((5000, 5000), np.uint8)
    label[:, :100] = np.random.default_rng(0).integers(0, 21, (5000, 100))
    save_mat(tmp_path / 'cls/2008_000003.mat', GTcls={'Segmentation': label})
    monkeypatch.setattr('data_layers.mat.numbers', lambda *_: pytest.fail('it is read'))
    with pytest.raises(BadInput, match='2008_000003.mat is 5000x5000 pixels but .*2008_000003.jpg is 56x40'):
        open_dataset('sbd', 'train', tmp_path).load('2008_000003')


@pytest.mark.parametrize('dtype', ['u1', 'f8'])
def test_a_small_matlab_file_that_would_fill_the_memory(dtype, tmp_path):
    """One colour compresses a thousand times: of no file is more decompressed than the photograph has pixels."""
    write_sbd(tmp_path, splits={'train': ['2008_000003']})
    side = 16000 // np.dtype(dtype).itemsize ** 0.5
    save_mat(tmp_path / 'cls/2008_000003.mat', GTcls={'Segmentation': np.zeros((int(side), int(side)), dtype)})
    assert (tmp_path / 'cls/2008_000003.mat').stat().st_size < 1 << 18
    tracemalloc.start()
    with pytest.raises(BadInput, match='2008_000003.mat is [0-9x]* pixels but .*2008_000003.jpg is 56x40'):
        open_dataset('sbd', 'train', tmp_path).load('2008_000003')
    with pytest.raises(BadInput, match='numbers where at most 16777216 are possible'):
        read_mat(tmp_path / 'cls/2008_000003.mat', 'GTcls', 'Segmentation', most=reading.LARGE)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def test_labels_that_are_bytes_stay_bytes(tmp_path):
    values = np.zeros((4000, 4000), np.uint8)
    tracemalloc.start()
    reading.to_classes(values, 21, tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 4 * values.nbytes
    tracemalloc.stop()


def test_a_matlab_file_that_holds_more_than_it_says(tmp_path):
    save_mat(tmp_path / 'a.mat', x=np.arange(9.0))
    whole = (tmp_path / 'a.mat').read_bytes()
    head, packed = whole[:128], zlib.decompress(whole[136:])
    longer = zlib.compress(packed + bytes(1 << 24))
    (tmp_path / 'a.mat').write_bytes(head + struct.pack('<II', 15, len(longer)) + longer)
    with pytest.raises(BadInput, match='a.mat cannot be read .it is longer than it says'):
        read_mat(tmp_path / 'a.mat', 'x')


def test_pixels_of_a_picture_are_bounded(tmp_path, monkeypatch):
    enormous(tmp_path / 'a.png', 20000)
    with pytest.raises(BadInput, match='a.png is too large a picture .*; resize it') as problem:
        read_pixels(tmp_path / 'a.png')
    one_line(problem)
    monkeypatch.setattr(reading, 'MOST_PIXELS', 99)
    save_png(tmp_path / 'b.png', np.zeros((10, 10), np.uint8))
    with pytest.raises(BadInput, match='b.png is too large a picture .10x10 pixels, at most 99'):
        read_indices(tmp_path / 'b.png')


# Time.

@pytest.mark.parametrize('far', [2e5, 1e6, 1e8])
def test_a_circle_of_a_huge_radius(far, tmp_path):
    own.polygons(tmp_path / 'a.json', (9, 9), [('a', 'circle', [[4, 4], [far, 4]])])
    with pytest.raises(BadInput, match='a.json .*a circle has a radius of'):
        draw_polygons(tmp_path / 'a.json')
    own.polygons(tmp_path / 'a.json', (9, 9), [('a', 'circle', [[4, 4], [6e4, 4]])])
    assert draw_polygons(tmp_path / 'a.json')[1] == ['a']


def test_many_names_of_shapes(tmp_path):
    own.polygons(tmp_path / 'a.json', (9, 9),
                 [(f'{n} {"x" * 30}', 'rectangle', [[0, 0], [9, 9]]) for n in range(30000)])
    assert draw_polygons(tmp_path / 'a.json')[1] == [f'29999 {"x" * 30}']


@pytest.mark.parametrize('line', ['1 ' * 8000 + 'x', ' , ' * 8000 + 'x', 'x' * 16000, '7' * 5000, '7' * 5000 + ' road'])
def test_a_long_line_in_a_list_of_classes(line, tmp_path):
    save_lines(tmp_path / 'classes.txt', ['road', 'x' + line])
    with pytest.raises(BadInput, match='classes.txt has a line of [0-9]+ characters, .*one class a line') as problem:
        classlist.read(tmp_path / 'classes.txt')
    one_line(problem)


def test_eight_thousand_photographs(tmp_path):
    for number in range(8000):
        (tmp_path / f'{number}.jpg').touch()
    assert len(image_files([tmp_path])) == 8000
    (tmp_path / '77.png').touch()
    with pytest.raises(BadInput, match='in --out: 77$'):
        image_files([tmp_path])


# Numbers and names.

def test_numbers_of_five_thousand_digits(tmp_path):
    digits = '7' * 5000
    save_lines(tmp_path / 'labels.txt', [f'{digits}: road'])
    with pytest.raises(BadInput, match='labels.txt has the line .* 5000 digits') as problem:
        read_numbered(tmp_path / 'labels.txt')
    one_line(problem)
    for name in ('a.json', 'dataset.json'):
        (tmp_path / name).write_text(f'{{"imageWidth": {digits}, "imageHeight": "{digits}", "shapes": []}}')
    for reader in (read_json, draw_polygons, lambda path: read_card(path.parent)):
        with pytest.raises(BadInput, match=r'\.json cannot be read .*digits') as problem:
            reader(tmp_path / 'a.json')
        one_line(problem)
    for width in (f'"{digits}"', f'"{digits[:4000]}"', digits[:4000], '1e999', 'NaN', '[]', 'null'):
        (tmp_path / 'a.json').write_text(f'{{"imageWidth": {width}, "imageHeight": {width}, "shapes": []}}')
        with pytest.raises(BadInput, match='a.json is not a labelme file') as problem:
            draw_polygons(tmp_path / 'a.json')
        one_line(problem)


def test_names_of_five_thousand_digits(tmp_path):
    for name in 'ab':
        own.photo(tmp_path / f'{name}.jpg')
        own.polygons(tmp_path / f'{name}.json', (8, 10), [('7' * 5000, 'rectangle', [[0, 0], [3, 3]])])
    found = survey.survey(tmp_path, layouts.find(tmp_path, 0), 1)
    assert not found.mistakes and found.card.classes == ('_background_'.strip('_'), '7' * 5000)


@pytest.mark.parametrize('name', [b'a\xff.jpg', b'a\tb.jpg', b'a\nb.jpg'])
def test_file_names_that_no_list_can_hold(name, tmp_path):
    own.write(tmp_path)
    (tmp_path / 'images/photo0.jpg').rename(os.fsdecode(os.fsencode(tmp_path / 'images') + b'/' + name))
    with pytest.raises(BadInput, match='has the file .*; rename it') as problem:
        layouts.find(tmp_path, 0)
    one_line(problem)


def test_lists_of_numbered_names_are_bounded(tmp_path):
    for lines, complaint in ((['99999999999: road'], 'no class has a number of 11 digits'), ([], 'names no class')):
        save_lines(tmp_path / 'labels.txt', lines)
        with pytest.raises(BadInput, match=f'labels.txt .*{complaint}'):
            read_numbered(tmp_path / 'labels.txt')


def test_nul_in_names(tmp_path):
    write_voc(tmp_path / 'voc')
    save_lines(tmp_path / 'voc/ImageSets/Segmentation/train.txt', ['a\0b'])
    with pytest.raises(BadInput, match='which is not a file name') as problem:
        open_dataset('voc', 'train', tmp_path / 'voc')
    one_line(problem)
    own.write(tmp_path / 'data')
    root = tmp_path / 'roads'
    root.mkdir()
    survey.survey(tmp_path / 'data', layouts.find(tmp_path / 'data', 0), 1).card.write(root / 'dataset.json')
    save_lines(root / 'train.tsv', ['a\timages/photo0\0.jpg\tmasks/photo1.png'])
    with pytest.raises(BadInput, match='^folder a: .*cannot be read') as problem:
        open_dataset('folder', 'train', root).load('a')
    one_line(problem)


@pytest.mark.parametrize('text', ['"\\ud800"', '{"\\uDFFF": 1}', '[["a\\udc80b"]]'])
def test_half_characters_in_json(text, tmp_path):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(BadInput, match='a.json cannot be read .*surrogates') as problem:
        read_json(tmp_path / 'a.json')
    one_line(problem)
    (tmp_path / 'a.json').write_text('["\\ud83d\\ude00 \\\\ud800"]')       # a whole character, and a backslash
    assert read_json(tmp_path / 'a.json') == ['\U0001f600 \\ud800']


def test_labels_of_several_lines_are_told_in_one(tmp_path):
    for shape in ({'label': 'a\nb' * 999, 'points': [[1]]}, {'label': 'a', 'points': [[1, 2]], 'shape_type': 'a\nb'}):
        (tmp_path / 'a.json').write_text(json.dumps({'imageWidth': 9, 'imageHeight': 9, 'shapes': [shape]}))
        with pytest.raises(BadInput, match='a.json is not a labelme file') as problem:
            draw_polygons(tmp_path / 'a.json')
        one_line(problem)


# What prepare reads.

@pytest.mark.parametrize(('truth', 'classes', 'complaint'), [
    (np.full((4, 4), np.nan), np.arange(5.0)[None], 'img_1.mat has label value nan'),
    (np.full((4, 4), -1, np.int16), np.arange(5.0)[None], 'img_1.mat has no groundTruth of NYUDv2'),
    (np.full((4, 4), 6, np.int16), np.arange(5.0)[None], 'img_1.mat has no groundTruth of NYUDv2'),
    (np.ones((4, 4)), np.array([[1, 300.0]]), 'classMapping40.mat maps to classes other than'),
    (np.ones((4, 4)), np.array([[1, np.inf]]), 'classMapping40.mat has label value inf')])
def test_wrong_ground_truth_of_nyud(truth, classes, complaint, tmp_path):
    cell = np.empty((1, 1), object)
    cell[0, 0] = {'SegmentationClass': truth}
    save_mat(tmp_path / 'benchmarkData/groundTruth/img_1.mat', groundTruth=cell)
    save_mat(tmp_path / 'benchmarkData/metadata/classMapping40.mat', mapClass=classes)
    with pytest.raises(BadInput, match=complaint):
        finish_nyud(tmp_path)


@pytest.mark.parametrize('ids', [[[np.nan]], [[np.inf]], [[1.5]], 'text'])
def test_wrong_ids_of_nyud(ids, tmp_path):
    save_mat(tmp_path / 'benchmarkData/metadata/nyusplits.mat', train=ids)
    with pytest.raises(BadInput, match='nyusplits.mat'):
        finish_nyud(tmp_path)
