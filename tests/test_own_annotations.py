"""Annotation files of COCO, CVAT, Label Studio, labelme and Supervisely: their shapes, photographs and faults."""
import base64
import json
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

import cli
from cli import BadInput
from data_layers import open_dataset
from data_layers.__main__ import main as data_layers_main
from data_layers.own import annotations, layouts, runs, shapes
from data_layers.own.survey import survey
from tests.helpers import annotations as written
from tests.helpers import own
from tests.helpers.annotations import NAMES, PLAN, SIZE, classes
from tests.helpers.own_nets import describe


def look(folder):
    return survey(folder, layouts.find(folder, 1337), 1)


def names(path):
    """The name at every pixel."""
    positions, keys = annotations.draw(path)
    return np.array(keys, object)[positions]


def plan(path, **letters):
    """Every pixel as a letter, '.' for the background."""
    letter = {**letters, shapes.GROUND: '.', shapes.IGNORED: 'x'}
    return tuple(''.join(letter[name] for name in row) for row in names(path))


def refusal(path):
    """The line that says why annotations cannot be drawn."""
    with pytest.raises(BadInput) as problem:
        annotations.draw(path)
    assert '\n' not in str(problem.value) and len(str(problem.value)) < 1000
    return str(problem.value)


def mistake(folder):
    """The line that says what is wrong in a folder."""
    try:
        found = look(folder)
    except BadInput as problem:
        assert '\n' not in str(problem)
        return str(problem)
    assert found.mistakes and '\n' not in found.mistakes[0]
    return found.mistakes[0]


# From a folder to labels.

@pytest.mark.parametrize('kind', written.KINDS)
def test_labels_come_out_of_every_format(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('FCN_DATA', str(tmp_path / 'data'))
    written.write(kind, tmp_path / 'photos')
    found = look(tmp_path / 'photos')
    assert not found.mistakes and found.card.masks == 'polygons'
    order = ('background', 'door', 'lamp', 'wall') if kind in ('label-studio', 'labelme') else \
        ('background', 'wall', 'door', 'lamp')      # by name where the file does not list them
    assert found.card.classes == order
    describe(found, tmp_path / 'data/rooms')
    expected = np.array([order.index(name) for name in ('background', 'wall', 'door', 'lamp')])[classes(PLAN)]
    read = 0
    for split in ('train', 'val'):
        dataset = open_dataset('rooms', split)
        for id in dataset.ids:
            image, label = dataset.load(id)
            assert image.shape == (3, *SIZE)
            np.testing.assert_array_equal(label[0], expected)
            read += 1
    assert read == len(NAMES)
    assert cli.run(data_layers_main, ['check', 'rooms', '--workers', '1']) == 0
    assert 'no problems' in capsys.readouterr().out


@pytest.mark.parametrize('kind', written.KINDS)
def test_nets_are_written_for_every_format(kind, checkout, tmp_path):
    pytest.importorskip('caffe', reason='pycaffe is not built: make setup')
    from tests.helpers.own_nets import write
    written.write(kind, tmp_path / 'photos')
    text = write('rooms', tmp_path / 'photos', checkout, '--width', 8)
    assert 'polygons masks' in text and 'wall' in text and 'stored as' in text
    assert open_dataset('rooms', 'train').load(open_dataset('rooms', 'train').ids[0])[1].max() == 3


def test_a_list_of_classes_in_the_folder_counts(tmp_path):
    written.write('cvat', tmp_path)
    (tmp_path / 'classes.txt').write_text('lamp\nwall\nvoid\n')
    assert 'the masks have 1 name that' in mistake(tmp_path)
    (tmp_path / 'classes.txt').write_text('lamp\nwall\ndoor\nvoid\n')
    assert look(tmp_path).card.classes == ('background', 'lamp', 'wall', 'door')


def test_names_of_void(tmp_path):
    written.photos(tmp_path)
    for name in NAMES:
        own.polygons(tmp_path / f'{name}.json', SIZE, [('__ignore__', 'rectangle', [[0, 0], [3, 3]]),
                                                       ('wall', 'rectangle', [[4, 4], [5, 5]])])
    found = look(tmp_path)
    assert found.card.classes == ('background', 'wall') and found.card.values['__ignore__'] is None


# COCO.

# Made by pycocotools 2.0.11: merge(frPyObjects([polygon], 20, 30)).
POLYGONS = [
    ([25.1, 14.6, 6.3, -2.1, 9.8, 10.7, -2.4, -2.2, 32.0, 19.5, 4.4, 11.7],
     '01c010000O100O1LNE22M34JN2N53OM2371FL33MM43KM62JO61IO81GO:0GO:1E0:1EO<0D0=0B1>21O2N010O1O010O^O'),
    ([31.1, 28.3, 26.4, 10.1, 13.7, 20.4, -1.8, 16.0, 5.8, 27.7, -1.7, 20.5, 27.3, 4.2],
     'a03a0O1O100000O1O2O0O100O2O0O1O10O001O010O00001O0010O01O142N2L'),
    ([27.4, -3.3, 21.5, -4.0, 14.1, 11.7, 3.3, 7.7, 25.0, 7.4], '\\31c000001O00001O001OO1N10O2N2N2O0100000000N2LP2'),
    ([1.4, 21.1, 12.1, 24.8, 4.5, 7.5, 24.8, 14.3, 14.2, 4.5, -3.5, 29.6, -0.9, 26.4],
     'R3280O111K1660IJ06NOOd01E1N3O01O100O00100O1O100O[3'),
    ([9.0, 29.0, 28.0, 19.0, 10.0, 4.0, 27.0, 6.0, 15.0, 19.0],
     'P71c01O100O1HNL23OM21OO2OO12MO390HMO30N03NO11N11ON319OZ1'),
    ([8.0, 21.0, 4.0, 19.0, 28.0, 19.0, 18.0, 12.0], 'g31c00000000c00\\O1O1O1O1O1O1001O1O001O1O001O1OZ1')]


def on_canvas(size, *patches):
    canvas = shapes.Canvas(size)
    for patch in patches:
        canvas.paint('a', patch)
    return np.asarray(canvas.picture) > 0


@pytest.mark.parametrize('polygon, text', POLYGONS)
def test_polygons_have_the_pixels_that_pycocotools_gives_them(polygon, text):
    drawn = on_canvas((20, 30), shapes.fill((20, 30), np.reshape(polygon, (-1, 2))))
    np.testing.assert_array_equal(drawn, on_canvas((20, 30), runs.of_columns(runs.lengths(text), (20, 30))))
    assert 0 < drawn.sum() < 600


def test_runs_as_text():
    """3 and then 2 is -1, O. 32, 3, 5, 2, 6 are 48 pixels: rows 2 to 4 of column 5, rows 4 and 5 of column 6."""
    assert runs.lengths('P135O1').tolist() == [32, 3, 5, 2, 6]
    expected = np.zeros(SIZE, bool)
    expected[2:5, 5] = expected[4:, 6] = True
    np.testing.assert_array_equal(on_canvas(SIZE, runs.of_columns(runs.lengths('P135O1'), SIZE)), expected)
    np.testing.assert_array_equal(on_canvas(SIZE, runs.of_columns([32, 3, 5, 2, 6], SIZE)), expected)
    assert not on_canvas(SIZE, runs.of_columns([48], SIZE)).any()
    assert on_canvas(SIZE, runs.of_columns([0, 48], SIZE)).all()


@pytest.mark.parametrize('counts, complaint', [
    ([32, 3, 12], 'do not fill its 48 pixels'), ([32, -3, 19], 'do not fill'), ([32.5, 15.5], 'do not fill'),
    ([1 << 62, 1 << 62, 1 << 62], 'do not fill'), ([], 'do not fill'), ('', 'is damaged'), ('P', 'is damaged'),
    ('P1\u00e9', 'is damaged'), ('~' * 9 + '0', 'is damaged'), ('P' * 9 + '0', 'longer than any picture'),
    ('P13', 'do not fill'), ({}, 'do not fill'), (None, 'do not fill'), ([[32, 3, 13]], 'do not fill')])
def test_runs_that_do_not_fill_an_image(counts, complaint, tmp_path):
    written.coco(tmp_path / 'a.json', lamp={'counts': counts, 'size': [6, 8]})
    assert complaint in refusal(tmp_path / 'a.json/139') and 'not a COCO file' in refusal(tmp_path / 'a.json/139')


def test_crowds_are_void_and_later_annotations_lie_above(tmp_path):
    written.photos(tmp_path)
    written.coco(tmp_path / 'x.json', lamp={'counts': [32, 3, 13], 'size': [6, 8]}, crowd=True,
                 extra=[{'id': 1, 'image_id': 146, 'category_id': 90, 'segmentation': [[0, 0, 2, 0, 2, 2, 0, 2]]}])
    letters = {'wall': 'w', 'door': 'd', 'lamp': 'l'}
    assert plan(tmp_path / 'x.json/139', **letters) == tuple(row.replace('l', 'x') for row in PLAN)
    assert plan(tmp_path / 'x.json/146', **letters) == ('ll......', '.ldd....'.replace('.l', 'll'), *(
        row.replace('l', 'x') for row in PLAN[2:]))
    found = look(tmp_path)
    assert not found.mistakes and found.card.values['__ignore__'] is None and found.card.classes[0] == 'background'


def test_an_annotation_of_several_polygons_is_their_union(tmp_path):
    written.coco(tmp_path / 'x.json', lamp=[[0, 0, 2, 0, 2, 1, 0, 1], [0, 0, 1, 0, 1, 2, 0, 2]])
    assert plan(tmp_path / 'x.json/139', lamp='l', wall='w', door='d') == (
        'll......', 'lwdd....', '.wdd....', *3 * ('........',))


@pytest.mark.parametrize('extra, complaint', [
    ({'segmentation': []}, 'the annotation 5 has no outline'), ({}, 'has no outline'),
    ({'segmentation': [[1, 2, 3, 4]]}, 'the annotation 5 has 2 points'),
    ({'segmentation': [[1, 2, 3, 4, 5]]}, 'no list of x and y by turns'),
    ({'segmentation': [[1, 2, 3, 4, float('nan'), 5]]}, 'not two numbers each'),
    ({'segmentation': [[1, 2, 3, 4, 1e300, 5]]}, 'not two numbers each'),
    ({'segmentation': {'counts': [35], 'size': [5, 7]}}, 'has a mask of [5, 7]'),
    ({'segmentation': [[1, 2, 3, 4, 5, 6]], 'category_id': 4}, 'the category 4, which is not listed')])
def test_annotations_that_cannot_be_drawn(extra, complaint, tmp_path):
    written.coco(tmp_path / 'x.json', extra=[{'id': 5, 'image_id': 139, 'category_id': 3} | extra])
    assert complaint in refusal(tmp_path / 'x.json/139')
    assert plan(tmp_path / 'x.json/146', wall='w', door='d', lamp='l') == PLAN


def test_images_of_another_size_than_the_file_says(tmp_path):
    written.photos(tmp_path)
    written.coco(tmp_path / 'x.json')
    own.photo(tmp_path / 'b.jpg', (8, 6))
    told = mistake(tmp_path)
    assert '1 mask has another size' in told and 'x.json/146 is 8x6 pixels, the photograph 6x8' in told


def test_photographs_in_folders_and_missing_ones(tmp_path):
    """As Label Studio and COCO's own data name them; of two of one name, that in the named folder is meant."""
    for place in ('images/one', 'images/two'):
        written.photos(tmp_path / place)
    own.photo(tmp_path / 'a.jpg', SIZE)
    written.coco(tmp_path / 'x.json', names=('one/a', 'one/b', 'two/c', 'two/gone'), where='../../data/images/')
    found = look(tmp_path)
    assert not found.mistakes
    pairs = {id: photo for split in found.layout.splits.values() for id, (photo, _) in split.items()}
    assert pairs == {'a': 'images/one/a.jpg', 'b': 'images/one/b.jpg', 'c': 'images/two/c.jpg'}
    assert any('missing: ../../data/images/two/gone.jpg' in note for note in found.layout.notes)
    written.coco(tmp_path / 'x.json', names=('a', 'one/b', 'two/b'))
    assert {*layouts.find(tmp_path, 0).splits['train'], *layouts.find(tmp_path, 0).splits['val']} == {
        'a', 'images_one_b', 'images_two_b'}
    written.coco(tmp_path / 'x.json', names=('one/a', 'b'))
    assert 'which may be images/one/b.jpg or images/two/b.jpg' in mistake(tmp_path)
    written.coco(tmp_path / 'x.json', names=('one/a', 'images/one/a'))
    assert 'a.jpg is annotated twice, by x.json/139 and x.json/146' in mistake(tmp_path)
    written.coco(tmp_path / 'x.json', names=('gone', 'lost'))
    assert "none of the 2 photographs that it names is in" in mistake(tmp_path)


def test_nothing_outside_of_the_folder_is_read(tmp_path):
    written.photos(tmp_path / 'secret')
    (tmp_path / 'mine').mkdir()
    written.coco(tmp_path / 'mine/x.json', where='../secret/')
    assert 'is in' in mistake(tmp_path / 'mine')
    written.coco(tmp_path / 'mine/x.json', where=f'{tmp_path}/secret/')
    assert 'none of the 3 photographs' in mistake(tmp_path / 'mine')


def test_splits_of_coco(tmp_path):
    """A file for each split, by its name; of several files on the same photographs, that of the instances."""
    written.photos(tmp_path / 'train2017')
    written.photos(tmp_path / 'val2017')
    for split in ('train', 'val'):
        written.coco(tmp_path / f'annotations/instances_{split}2017.json')
    written.coco(tmp_path / 'annotations/person_keypoints_val2017.json')
    written.save_json(tmp_path / 'annotations/captions_val2017.json', {'images': [], 'annotations': []})
    found = look(tmp_path)
    assert not found.mistakes
    assert {split: len(ids) for split, ids in found.layout.splits.items()} == {'train': 3, 'val': 3}
    assert [*found.layout.splits['val'].values()] == [
        (f'val2017/{name}.jpg', f'annotations/instances_val2017.json/{139 + 7 * number}')
        for number, name in enumerate(NAMES)]
    assert any('left out: annotations/person_keypoints' in note for note in found.layout.notes)


def test_roboflow(tmp_path):
    for split in ('train', 'valid'):
        written.photos(tmp_path / split)
        written.coco(tmp_path / split / '_annotations.coco.json')
    assert {split: len(ids) for split, ids in look(tmp_path).layout.splits.items()} == {'train': 3, 'val': 3}


IMAGE = {'id': 139, 'file_name': 'a.jpg'}


@pytest.mark.parametrize('changes, complaint', [
    (dict(categories=[{'id': 3}]), "'name' is missing"), (dict(images=[{'id': 1}]), "'file_name' is missing"),
    (dict(images=2 * [{'id': 1, 'file_name': 'a.jpg'}], annotations=[]), 'two images have the id 1'),
    (dict(annotations=[{'image_id': 4}]), 'belongs to image 4, which is none of its images'),
    (dict(annotations=[4]), 'not a COCO file'), (dict(images=[[]]), 'not a COCO file'),
    (dict(categories=[{'id': 'a', 'name': 'x'}, {'id': 1, 'name': 'y'}]), 'not a COCO file'),
    (dict(images=[IMAGE], annotations=[]), 'has no height and width'),
    (dict(images=[IMAGE | {'height': 1 << 20, 'width': 1 << 20}], annotations=[]), 'a size of'),
    (dict(images=[IMAGE | {'height': float('inf'), 'width': 3}], annotations=[]), 'infinity'),
    (dict(images=[IMAGE | {'height': 'tall', 'width': 3}], annotations=[]), 'invalid literal')])
def test_files_that_are_not_as_coco_says(changes, complaint, tmp_path):
    written.coco(tmp_path / 'x.json', **changes)
    assert complaint in refusal(tmp_path / 'x.json/139')


def test_photographs_without_shapes_are_background_and_told(tmp_path):
    written.photos(tmp_path)
    written.coco(tmp_path / 'x.json', annotations=[])
    assert '3 of the photographs of x.json have no shape: all of them is background' in look(tmp_path).layout.notes
    assert plan(tmp_path / 'x.json/139') == 6 * ('........',)


def test_a_file_without_photographs(tmp_path):
    written.photos(tmp_path)
    written.coco(tmp_path / 'x.json', images=[], annotations=[])
    assert 'x.json is of COCO, but names no photograph' in mistake(tmp_path)


def panoptic(folder, ids):
    """Three photographs and their segments, of the same ids: 3 x 3 pixels of each."""
    digits = np.array(ids)[..., None] // np.array([1, 256, 65536]) % 256
    for number, name in enumerate(NAMES):
        own.photo(folder / f'val2017/{name}.jpg', np.shape(ids), number)
        path = folder / f'annotations/panoptic_val2017/{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.astype(np.uint8)).save(path)
    known = {'images': [{'id': n, 'file_name': f'{name}.jpg', 'height': len(ids), 'width': len(ids[0])}
                        for n, name in enumerate(NAMES)],
             'categories': [{'id': 1, 'name': 'person', 'isthing': 1}, {'id': 200, 'name': 'rug', 'isthing': 0}],
             'annotations': [{'image_id': n, 'file_name': f'{name}.png', 'segments_info': [
                 {'id': 70000, 'category_id': 200, 'iscrowd': 0}, {'id': 259, 'category_id': 1, 'iscrowd': 0},
                 {'id': 5, 'category_id': 1, 'iscrowd': 1}]} for n, name in enumerate(NAMES)]}
    written.save_json(folder / 'annotations/panoptic_val2017.json', known)
    return known


def test_panoptic_segments(tmp_path, monkeypatch):
    """70000 is 112 + 17 * 256 + 1 * 65536 and 259 is 3 + 256; what has no segment is void, and so is a crowd."""
    monkeypatch.setenv('FCN_DATA', str(tmp_path / 'data'))
    known = panoptic(tmp_path / 'coco', [[70000, 70000, 0], [259, 5, 0]])
    found = look(tmp_path / 'coco')
    assert not found.mistakes and found.card.classes == ('person', 'rug') and found.layout.name == 'COCO, panoptic'
    describe(found, tmp_path / 'data/rooms')
    dataset = open_dataset('rooms', 'train')
    assert dataset.load(dataset.ids[0])[1].tolist() == [[[1, 1, 255], [0, 255, 255]]]
    known['annotations'][1]['file_name'] = '../../../secret.png'
    written.save_json(tmp_path / 'coco/annotations/panoptic_val2017.json', known)
    assert 'lie elsewhere' in refusal(tmp_path / 'coco/annotations/panoptic_val2017.json/1')
    panoptic(tmp_path / 'coco', [[70000, 8, 0], [259, 5, 0]])
    assert 'the segment 8 of a.png is not described' in refusal(tmp_path / 'coco/annotations/panoptic_val2017.json/0')


# CVAT.

def test_boxes_and_ellipses_of_cvat(tmp_path):
    """A box of 4 x 2 about (3, 3), upright once turned; an ellipse about (4, 3) with radii 2 and 1, turned by half."""
    written.cvat(tmp_path / 'a.xml', [written.cvat_image(0, 'a.jpg', [
        '<box label="door" source="manual" occluded="0" xtl="1.00" ytl="2.00" xbr="5.00" ybr="4.00" rotation="90.00" '
        'z_order="0"></box>']), written.cvat_image(1, 'b.jpg', [
            '<ellipse label="lamp" source="manual" occluded="0" cx="4.00" cy="3.00" rx="2.00" ry="1.00" '
            'rotation="180.00" z_order="0"></ellipse>']), written.cvat_image(2, 'c.jpg', [
                '<box label="door" occluded="0" xtl="0.00" ytl="0.00" xbr="100.00" ybr="1.00" z_order="-4"></box>',
                '<box label="lamp" occluded="0" xtl="6.00" ytl="0.00" xbr="9.00" ybr="2.00" z_order="-5"></box>'])])
    assert plan(tmp_path / 'a.xml/0', door='d') == ('........', *4 * ('..dd....',), '........')
    assert plan(tmp_path / 'a.xml/1', lamp='l') == (*2 * ('........',), '..llll..', '..llll..', *2 * ('........',))
    assert plan(tmp_path / 'a.xml/2', door='d', lamp='l') == ('dddddddd', '......ll', *4 * ('........',))


def test_subsets_of_cvat_are_splits(tmp_path):
    written.photos(tmp_path / 'images')
    images = [written.cvat_image(0, f'{name}.jpg', written.CVAT_SHAPES).replace(
        '<image ', f'<image task_id="{number}" subset="{"Validation" if name == "b" else "Train"}" ')
        for number, name in enumerate(NAMES)]
    written.cvat(tmp_path / 'annotations.xml', images)
    assert layouts.find(tmp_path, 0).splits == {
        'train': {'a': ('images/a.jpg', 'annotations.xml/0-0'), 'c': ('images/c.jpg', 'annotations.xml/2-0')},
        'val': {'b': ('images/b.jpg', 'annotations.xml/1-0')}}


@pytest.mark.parametrize('shape, complaint', [
    ('<polyline label="x" points="1,1;2,2" z_order="0"/>', 'a polyline of x has no area'),
    ('<points label="x" points="1,1" z_order="0"/>', 'a points of x has no area'),
    ('<cuboid label="x" xtl1="1" z_order="0"/>', 'a cuboid of x has no area'),
    ('<polygon label="x" points="1,1;2,2" z_order="0"/>', 'a polygon has 2 points'),
    ('<polygon label="x" points="1,1;2,nan;3,3" z_order="0"/>', 'not two numbers each'),
    ('<polygon label="x" points="1,1;2;3,3" z_order="0"/>', 'not a CVAT for images file'),
    ('<polygon points="1,1;2,2;4,1" z_order="0"/>', "'label' is missing"),
    ('<polygon label="" points="1,1;2,2;4,1" z_order="0"/>', 'no name of a class'),
    ('<polygon label="x" points="1,1;2,2;4,1" z_order="high"/>', 'invalid literal'),
    ('<mask label="x" rle="1, 2" left="0" top="0" width="2" height="2"/>', 'do not fill its 4 pixels'),
    ('<mask label="x" rle="1, 99999999999999999999" left="0" top="0" width="2" height="2"/>', 'not a CVAT'),
    ('<mask label="x" rle="0, 4" left="0" top="0" width="-2" height="-2"/>', 'a size of -2x-2'),
    ('<mask label="x" rle="0, 49" left="0" top="0" width="7" height="7"/>', 'larger than its picture'),
    ('<ellipse label="x" cx="1" cy="1" rx="-1" ry="1"/>', 'has the radii -1 and 1'),
    ('<ellipse label="x" cx="1" cy="1" rx="1" ry="1" rotation="inf"/>', 'a rotation of inf')])
def test_shapes_of_cvat_that_cannot_be_drawn(shape, complaint, tmp_path):
    written.cvat(tmp_path / 'a.xml', [written.cvat_image(0, 'a.jpg', [shape])])
    assert complaint in refusal(tmp_path / 'a.xml/0')


def test_masks_of_cvat_reach_beyond_the_image(tmp_path):
    written.cvat(tmp_path / 'a.xml', [written.cvat_image(0, 'a.jpg', [
        '<mask label="lamp" rle="0, 6" left="6" top="-1" width="3" height="2"/>'])])
    assert plan(tmp_path / 'a.xml/0', lamp='l') == ('......ll', *5 * ('........',))


BOMB = ('<?xml version="1.0"?><!DOCTYPE annotations [<!ENTITY a "aaaaaaaaaa">' + ''.join(
    f'<!ENTITY {after} "{10 * f"&{before};"}">' for before, after in zip('abcdefghi', 'bcdefghij', strict=True)) + ']>')


@pytest.mark.parametrize('head', [
    BOMB, '<!DOCTYPE annotations [<!ENTITY x SYSTEM "file:///etc/passwd">]>', '<!DOCTYPE annotations>',
    '<!DOCTYPE annotations SYSTEM "http://localhost/x.dtd">'])
def test_documents_with_entities_are_refused(head, tmp_path):
    written.photos(tmp_path)
    written.cvat(tmp_path / 'a.xml', head=head)
    (tmp_path / 'a.xml').write_text((tmp_path / 'a.xml').read_text().replace('1.1</version>', '&j;</version>'))
    assert 'document type (DOCTYPE)' in mistake(tmp_path)


def test_damaged_xml_and_tracks(tmp_path):
    written.photos(tmp_path)
    written.cvat(tmp_path / 'a.xml')
    whole = (tmp_path / 'a.xml').read_text()
    track = '<track id="0"></track><image '
    for text, complaint in ((whole[:-20], 'it is no XML'), (whole.replace('</image>', '</box>', 1), 'it is no XML'),
                            (whole.replace('<image ', track, 1), 'export it as "CVAT for images"'),
                            (whole.replace('utf-8', 'utf-99'), 'it is no XML'),
                            (whole.replace('name="', 'nam="'), "'name' is missing")):
        (tmp_path / 'a.xml').write_text(text)
        assert complaint in mistake(tmp_path)
    (tmp_path / 'a.xml').write_text('<annotations>' + 200_000 * '<a>')
    assert 'it is no XML' in mistake(tmp_path)


def test_other_xml_is_no_annotation_file(tmp_path):
    own.write(tmp_path)
    (tmp_path / 'Annotations').mkdir()
    (tmp_path / 'Annotations/photo0.xml').write_text('<annotation><object/></annotation>')
    assert not look(tmp_path).mistakes


# Label Studio.

WIDE = 10, 20


def test_regions_in_percent_and_turned(tmp_path):
    """A rectangle of 4 x 2 at (10, 2), turned about that corner: columns 8, 9, rows 2 to 5. An ellipse at (15, 5)."""
    regions = [written.region('rectangle', 'door', {'x': 50, 'y': 20, 'width': 20, 'height': 20, 'rotation': 90}, WIDE),
               written.region('ellipse', 'lamp', {'x': 75, 'y': 50, 'radiusX': 10, 'radiusY': 10, 'rotation': 0}, WIDE),
               written.region('polygon', 'wall', {'points': [[5, 10], [20, 10], [20, 30], [5, 30]]}, WIDE)]
    written.label_studio(tmp_path / 'x.json', regions=regions)
    expected = np.full(WIDE, shapes.GROUND, object)
    expected[2:6, 8:10], expected[4:6, 13:17], expected[1:3, 1:4] = 'door', 'lamp', 'wall'
    np.testing.assert_array_equal(names(tmp_path / 'x.json/31'), expected)


def test_a_brush_that_label_studio_wrote(tmp_path):
    """label_studio_converter 0.0.59: mask2rle of [[0, 255, 0], [0, 255, 0]]."""
    rle = [0, 0, 0, 24, 57, 27, 252, 96, 17, 255, 206, 1, 31, 252, 96, 0]
    assert runs.unpacked(bytes(rle), 24).tolist() == 2 * [*4 * [0], *4 * [255], *4 * [0]]
    region = written.region('brush', 'lamp', {'format': 'rle', 'rle': rle}, (2, 3))
    written.label_studio(tmp_path / 'x.json', regions=[region])
    assert plan(tmp_path / 'x.json/31', lamp='l') == ('.l.', '.l.')


def test_which_annotation_of_a_task_counts(tmp_path):
    """The ground truth, else the last that was not cancelled; tasks without one are left out."""
    written.photos(tmp_path)
    written.label_studio(tmp_path / 'x.json')
    tasks = json.loads((tmp_path / 'x.json').read_text())
    other = {'result': [written.region('rectangle', 'lamp', {'x': 0, 'y': 0, 'width': 50, 'height': 50})]}
    tasks[0]['annotations'] = [tasks[0]['annotations'][0], other, {'result': [], 'was_cancelled': True}]
    tasks[1]['annotations'] = [{**tasks[1]['annotations'][0], 'ground_truth': True}, other]
    tasks[2]['annotations'] = []
    written.save_json(tmp_path / 'x.json', tasks)
    assert plan(tmp_path / 'x.json/31', lamp='l') == (*3 * ('llll....',), *3 * ('........',))
    assert plan(tmp_path / 'x.json/33', lamp='l', wall='w', door='d') == PLAN
    found = layouts.find(tmp_path, 0)
    assert sum(map(len, found.splits.values())) == 2 and 'left out of x.json: 1 tasks without a region' in found.notes


def test_addresses_of_label_studio(tmp_path):
    """As files are uploaded, mounted, in a bucket, with other letters."""
    names = ('/data/upload/4/0123abcd-a.jpg', '/data/local-files/?d=room%201/b.jpg', 's3://bucket/deep/c%C3%A9.jpg?x=1')
    for name in ('a.jpg', 'room 1/b.jpg', 'c\u00e9.jpg'):
        own.photo(tmp_path / name, SIZE)
    written.label_studio(tmp_path / 'x.json', names)
    found = look(tmp_path)
    assert not found.mistakes and {photo for split in found.layout.splits.values() for photo, _ in split.values()} == {
        'a.jpg', 'room 1/b.jpg', 'c\u00e9.jpg'}


def test_labels_apart_from_their_shapes(tmp_path):
    """With <Labels> and <Polygon> a region is told twice, with and without its label."""
    bare = written.region('polygon', 'wall', {'points': written.percent(written.WALL)})
    bare['value'].pop('polygonlabels')
    told = {**bare, 'type': 'labels', 'value': {**bare['value'], 'labels': ['wall']}}
    written.label_studio(tmp_path / 'x.json', regions=[{**bare, 'type': 'polygon'}, told,
                                                       {'type': 'choices', 'value': {}}])
    assert plan(tmp_path / 'x.json/31', wall='w') == ('........', '.www....', '.www....', *3 * ('........',))


@pytest.mark.parametrize('region, complaint', [
    (written.region('keypoint', 'x', {'x': 1, 'y': 2, 'width': 1}), 'a region of the type keypointlabels'),
    (written.region('polygon', 'x', {'points': [[1, 2], [3, 4]]}), 'a polygon has 2 points'),
    (written.region('polygon', 'x', {'points': [[1, 2], [3, 4], [5, None]]}), 'not two numbers each'),
    (written.region('polygon', 'x', {'points': 4 * [[1]]}), 'not two numbers each'),
    (written.region('polygon', 'x', {'points': written.WALL}, image_rotation=90), 'turned by 90 degrees'),
    (written.region('rectangle', 'x', {'x': 1, 'y': 2, 'width': 1}), "'height' is missing"),
    (written.region('rectangle', 'x', {'x': 1, 'y': 2, 'width': 1, 'height': 1, 'rotation': 1e400}), 'a rotation of'),
    (written.region('ellipse', 'x', {'x': 1, 'y': 2, 'radiusX': 1, 'radiusY': -1}), 'has the radii'),
    (written.region('brush', 'x', {'format': 'rle', 'rle': written.BRUSH[:-3]}), 'ends early'),
    (written.region('brush', 'x', {'format': 'rle', 'rle': written.stream((1 << 32) - 1, [])}),
     'a brush of 4294967295 values'),
    (written.region('brush', 'x', {'format': 'rle', 'rle': written.stream(192, [(0, 100), (0, 100)])}),
     'longer than the picture'),
    (written.region('brush', 'x', {'format': 'rle', 'rle': written.stream(188, [(0, 188)])}), 'a brush of 188 values'),
    (written.region('brush', 'x', {'format': 'rle', 'rle': [256]}), 'no list of bytes'),
    (written.region('brush', 'x', {'format': 'png', 'rle': 'x'}), 'a brush of the format png'),
    ({'type': 'polygonlabels', 'value': {'points': written.WALL}}, "'original_height' is missing")])
def test_regions_that_cannot_be_drawn(region, complaint, tmp_path):
    written.label_studio(tmp_path / 'x.json', regions=[region])
    assert complaint in refusal(tmp_path / 'x.json/31')


def test_other_exports_of_label_studio(tmp_path):
    written.photos(tmp_path)
    written.save_json(tmp_path / 'x.json', [{'image': '/data/upload/a.jpg', 'id': 1, 'annotation_id': 2, 'label': []}])
    assert 'export it as JSON' in mistake(tmp_path)
    region = written.region('polygon', 'x', {'points': written.WALL})
    for labels in ([], ['x', 'y'], 'x'):
        value = {**region['value'], 'polygonlabels': labels}
        written.label_studio(tmp_path / 'x.json', regions=[{**region, 'value': value}])
        assert 'give it one' in refusal(tmp_path / 'x.json/31')
    written.label_studio(tmp_path / 'x.json', images=['data:image/png;base64,xx', '/a.mp4'])
    assert 'names no photograph' in mistake(tmp_path)


# Supervisely.

# From the documentation of Supervisely's Bitmap: a ring of 3 x 3 pixels.
RING = ('eJzrDPBz5+WS4mJgYOD19HAJAtLMIMwIInOeqf8BUmwBPiGuQPr///9Lb86/C2QxlgT5BTM4PLuRBuTwebo4hlTMSa44sKHhISMDuxpTYrr'
        '03F6gDIOnq5/LOqeEJgDM5ht6')


def test_bitmaps_and_holes_of_supervisely(tmp_path):
    """A bitmap lies where its origin is, its zeros show what is below; the outline of a hole belongs to the hole."""
    ring = written.bitmap('lamp', [[1]], 2, 1)
    ring['bitmap']['data'] = RING
    written.supervisely(tmp_path, [ring])
    assert plan(tmp_path / 'room/ann/a.jpg.json', lamp='l') == (
        '........', '..lll...', '..l.l...', '..lll...', '........', '........')
    wall = written.figure('wall', written.rectangle(0, 0, 7, 5), [written.rectangle(2, 2, 4, 3)])
    written.supervisely(tmp_path, [wall, ring])
    assert plan(tmp_path / 'room/ann/a.jpg.json', lamp='l', wall='w') == (
        'wwwwwwww', 'wwlllwww', 'wwl.lwww', 'wwlllwww', 'wwwwwwww', 'wwwwwwww')


def test_bitmaps_with_opacity(tmp_path):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, 1] = 0, 0, 0, 255
    one = written.bitmap('lamp', [[1]], 0, 0)
    one['bitmap']['data'] = base64.b64encode(zlib.compress(written.png(pixels))).decode()
    written.supervisely(tmp_path, [one])
    assert plan(tmp_path / 'room/ann/a.jpg.json', lamp='l')[0] == '.l......'


def bomb(data):
    one = written.bitmap('lamp', [[1]], 0, 0)
    one['bitmap']['data'] = base64.b64encode(data).decode()
    return one


@pytest.mark.parametrize('one, complaint', [
    (bomb(zlib.compress(bytes(300 << 20))), 'a mask is larger than its picture'),
    (bomb(zlib.compress(written.png(np.zeros((4000, 4000), bool)))), 'a mask is larger than its picture'),
    (bomb(zlib.compress(b'GIF89a')), 'no PNG'),
    (bomb(zlib.compress(written.png(np.ones((2, 2), bool)))[:-30]), 'no PNG'),
    (bomb(b'x'), 'no PNG'), (bomb(b'') | {'bitmap': {'data': '!', 'origin': [0, 0]}}, 'no PNG in base64'),
    (bomb(b'') | {'bitmap': {'data': 3, 'origin': [0, 0]}}, 'no text'),
    (bomb(b'') | {'bitmap': {'data': ''}}, "'origin' is missing"),
    (written.bitmap('x', [[1]], float('nan'), 0), 'not two numbers'),
    (written.figure('x', [[1, 2]], kind='point'), 'a point of x has no area'),
    (written.figure('x', [[1, 2], [3, 4]], kind='line'), 'a line of x has no area'),
    (written.figure('x', written.WALL, [[[1, 1]]]), 'a hole has 1 points'), ({}, "'classTitle' is missing")])
def test_objects_of_supervisely_that_cannot_be_drawn(one, complaint, tmp_path):
    written.supervisely(tmp_path, [one])
    tracemalloc.start()
    told = refusal(tmp_path / 'room/ann/a.jpg.json')
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert complaint in told and 'Supervisely' in told
    assert peak < 16 << 20      # bytes: unpacking is bounded


# labelme.

def labelme(path, size, kind, points, **more):
    own.polygons(path, size, [('x', kind, points)])
    known = json.loads(path.read_text())
    known['shapes'][0].update(more)
    written.save_json(path, known)
    return path


def test_lines_and_points_of_labelme_have_a_width(tmp_path):
    """shapes_to_label draws lines ten pixels wide and points as discs of radius five."""
    drawn = names(labelme(tmp_path / 'a.json', (20, 30), 'line', [[5, 10], [24, 10]])) == 'x'
    rows = np.flatnonzero(drawn[:, 15])
    assert len(rows) == 10 and rows[0] in (5, 6) and (np.diff(rows) == 1).all()
    assert drawn[10, 5:25].all() and not drawn[:, :4].any() and not drawn[:, 26:].any()
    drawn = names(labelme(tmp_path / 'a.json', (40, 40), 'linestrip', [[5, 10], [30, 10], [30, 35]])) == 'x'
    assert len(np.flatnonzero(drawn[:, 15])) == 10 and len(np.flatnonzero(drawn[25])) == 10 and not drawn[30, 10]
    drawn = names(labelme(tmp_path / 'a.json', (20, 20), 'point', [[10, 10]])) == 'x'
    y, x = np.mgrid[:20, :20]
    away = np.hypot(x - 10, y - 10)
    assert drawn[away <= 4.7].all() and not drawn[away > 5.5].any()
    assert drawn[10, 5] and drawn[10, 15] and drawn[5, 10] and drawn[15, 10]


def test_masks_of_labelme_fill_their_box(tmp_path):
    mask = base64.b64encode(written.png(np.array([[1, 0, 1], [0, 1, 0]], bool))).decode()
    path = labelme(tmp_path / 'a.json', SIZE, 'mask', [[5.0, 4.0], [7.0, 5.0]], mask=mask)
    assert plan(path, x='x') == (*4 * ('........',), '.....x.x', '......x.')
    path = labelme(tmp_path / 'a.json', SIZE, 'mask', [[6.0, 4.0], [7.0, 5.0]], mask=mask)
    assert 'a mask of 3x2 pixels does not fill its box' in refusal(path)
    for wrong in (None, '', 'x' * 9, base64.b64encode(b'\x89PNG').decode()):
        assert 'a mask is' in refusal(labelme(tmp_path / 'a.json', SIZE, 'mask', [[0, 0], [1, 1]], mask=wrong))
    path = labelme(tmp_path / 'a.json', SIZE, 'oriented_rectangle', [[1, 1], [3, 1], [3, 2], [1, 2]])
    assert plan(path, x='x') == ('........', '.xxx....', '.xxx....', *3 * ('........',))


# Hostile files.

@pytest.fixture
def quick():
    begin = time.process_time()
    yield
    assert time.process_time() - begin < 10


def test_polygons_of_very_many_crossings_are_refused(quick, tmp_path):
    size = 1 << 13, 1 << 14
    written.save_json(tmp_path / 'x.json', {
        'images': [{'id': 1, 'file_name': 'a.jpg', 'height': size[0], 'width': size[1]}],
        'categories': [{'id': 1, 'name': 'x'}], 'annotations': [
            {'id': 1, 'image_id': 1, 'category_id': 1, 'segmentation': [3000 * [-1e6, 5.0, 1e6, 7.0]]}]})
    assert 'crosses 98304000 columns of pixels' in refusal(tmp_path / 'x.json/1')


def test_far_corners_are_cut_off(quick):
    far = (1 << 28) - 1.
    drawn = on_canvas(SIZE, shapes.fill(SIZE, np.array([[-far, -far], [far, -far], [far, 3], [-far, 3]])))
    np.testing.assert_array_equal(drawn, np.arange(6)[:, None] < np.full(8, 3))
    assert not on_canvas(SIZE, shapes.fill(SIZE, np.array([[far, 1], [far, 4], [far - 9, 2]]))).any()


@pytest.mark.parametrize('text', [
    '[' * 100_000, '[]', '{}', '[{}]', '[[]]', '3', '\x00', '{"images": 3, "annotations": [], "categories": []}',
    '[{"data": 3, "annotations": [{"result": [{"type": "x"}]}]}]', '[{"data": {}, "annotations": 3}]',
    '{"images": [], "annotations": [], "categories": [3]}'])
def test_odd_json_beside_photographs(text, tmp_path):
    written.photos(tmp_path)
    (tmp_path / 'x.json').write_text(text)
    with pytest.raises(BadInput) as problem:
        layouts.find(tmp_path, 0)
    assert '\n' not in str(problem.value)


def test_a_changed_file_is_read_again_and_a_lost_photograph_is_told(tmp_path):
    written.coco(tmp_path / 'x.json')
    assert plan(tmp_path / 'x.json/139', wall='w', door='d', lamp='l') == PLAN
    written.coco(tmp_path / 'x.json', lamp=[[0, 0, 1, 0, 1, 1, 0, 1]])
    assert plan(tmp_path / 'x.json/139', wall='w', door='d', lamp='l')[0] == 'l.......'
    assert 'has no photograph with the id 140' in refusal(tmp_path / 'x.json/140')
    (tmp_path / 'x.json').unlink()
    assert 'is missing' in refusal(tmp_path / 'x.json/139')
