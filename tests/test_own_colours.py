"""The colours of a list of classes, from the list to every picture; what overlays leave bare; and --values."""
import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
from cli import BadInput  # noqa: E402
from data_layers.own import layouts  # noqa: E402
from data_layers.own.folder import Folder, read_card  # noqa: E402
from data_layers.own.survey import survey  # noqa: E402
from data_layers.palette import PALETTE, save_indexed, save_values  # noqa: E402
from data_layers.pictures import OPACITY, blend, legend, overlay  # noqa: E402
from nets import infer  # noqa: E402
from report import page, serve  # noqa: E402
from report.scored import Scored  # noqa: E402
from solvers import __main__ as solvers  # noqa: E402
from solvers import score  # noqa: E402
from solvers.deploy import open_deploy  # noqa: E402
from solvers.run import Run  # noqa: E402
from surgery import preparation, write_weights  # noqa: E402
from surgery.preparation import Preparation, of_dataset  # noqa: E402
from tests.helpers import folders, own  # noqa: E402
from tests.helpers.datasets import save_jpeg, save_lines, save_png  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.usefixtures('without_curves')]
ROAD, CAR, SKY = (128, 64, 128), (64, 0, 128), (70, 130, 180)
LABELS = np.array([[0, 0, 1, 1], [2, 2, 255, 1]], np.uint8)
PHOTO = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10


# From the list to dataset.json.

LISTS = {
    'classes.txt': ['70 130 180 sky', '128 64 128 road', '64 0 128 car', '0 0 0 void'],
    'label_colors.txt': ['70 130 180\tsky', '128 64 128\troad', '64 0 128\tcar', '0 0 0\tVoid'],
    'class_dict.csv': ['name,r,g,b', 'sky,70,130,180', 'road,128,64,128', 'car,64,0,128', 'void,0,0,0'],
    'labelmap.txt': ['# label:color_rgb:parts:actions', 'sky:70,130,180::', 'road:128,64,128::', 'car:64,0,128::',
                     'void:0,0,0::'],
}


@pytest.mark.parametrize('masks', ['colour', 'index'])
@pytest.mark.parametrize('name', LISTS)
def test_every_list_brings_its_colours(name, masks, tmp_path):
    table = np.zeros((256, 3), np.uint8)
    table[:3] = SKY, ROAD, CAR
    for id, (label, photo) in own.scenes().items():
        save_jpeg(tmp_path / f'images/{id}.jpg', photo)
        save_png(tmp_path / f'masks/{id}.png', table[label] if masks == 'colour' else np.where(label == 255, 3, label
                                                                                               ).astype(np.uint8))
    save_lines(tmp_path / name, LISTS[name])
    found = survey(tmp_path, layouts.find(tmp_path, 1), 1)
    assert not found.mistakes and found.card.masks == masks and found.card.colours == (SKY, ROAD, CAR)
    (tmp_path / 'data').mkdir()
    found.card.write(tmp_path / 'data/dataset.json')
    card = read_card(tmp_path / 'data')
    assert card.colours == (SKY, ROAD, CAR) and card.stored == (
        ('70 130 180', '128 64 128', '64 0 128') if masks == 'colour' else ('0', '1', '2'))
    takes = of_dataset(Folder.at(tmp_path / 'data'), ['data'], ['label'])
    takes.write(tmp_path)
    assert preparation.read(tmp_path / 'net.json') == takes and takes.colours == (SKY, ROAD, CAR)


def test_lines_of_one_class_have_its_first_colour_and_value(tmp_path):
    own.write(tmp_path)
    save_lines(tmp_path / 'classes.txt', ['0 70 130 180 sky', '2 128 64 128 road', '1 1 2 3 road', '3 9 9 9 car'])
    card = survey(tmp_path, layouts.find(tmp_path, 1), 1).card
    assert (card.classes, card.colours, card.stored) == (('sky', 'road', 'car'), (SKY, ROAD, (9, 9, 9)),
                                                         ('0', '2', '3'))


def test_without_colours_nothing_is_stated(tmp_path):
    own.write(tmp_path)
    card = survey(tmp_path, layouts.find(tmp_path, 1), 1).card
    card.write(tmp_path / 'dataset.json')
    assert card.colours == () and 'colours' not in json.loads((tmp_path / 'dataset.json').read_text())


@pytest.mark.parametrize('colours', [[[1, 2, 3]], [[1, 2, 3], [1, 2, 256]], [[1, 2], [1, 2]], 'red', [[1, 2, True]] * 2,
                                     [[1, 2, 3.0]] * 2])
def test_wrong_colours_are_refused(colours, tmp_path):
    known = {'folder': '.', 'masks': 'index', 'classes': ['a', 'b'], 'values': {'0': 'a', '1': 'b'}, 'mean': [1, 2, 3]}
    (tmp_path / 'dataset.json').write_text(json.dumps(known | {'colours': colours}))
    with pytest.raises(BadInput, match=r'dataset\.json has a colours of the wrong kind'):
        read_card(tmp_path)
    (tmp_path / 'net.json').write_text(json.dumps({'classes': ['a', 'b'], 'colours': colours}))
    with pytest.raises(BadInput, match='the colours is of the wrong kind'):
        preparation.read(tmp_path / 'net.json')


@pytest.mark.parametrize('values', [['1'], ['1', 'x'], ['1', '1 2 3'], ['1', '65536'], ['1 2 3', '1 2 256'], [1, 2],
                                    ['1', ''], ['-1', '2'], ['1 2', '1 2']])
def test_wrong_values_are_refused(values, tmp_path):
    (tmp_path / 'net.json').write_text(json.dumps({'classes': ['a', 'b'], 'values': values}))
    with pytest.raises(BadInput, match='the values is of the wrong kind'):
        preparation.read(tmp_path / 'net.json')


# Pictures, pixel by pixel.

def mixed(pixel, colour):
    return [round((1 - OPACITY) * a + OPACITY * b) for a, b in zip(pixel.tolist(), colour, strict=True)]


@pytest.mark.parametrize('first, bare', [('sky', False), ('background', True), ('Background', True), ('void', True),
                                         ('unlabelled', True), ('bg', True), ('ground', False)])
def test_class_0_is_bare_when_it_is_called_background(first, bare):
    found = blend(PHOTO, LABELS, [first, 'road', 'car'], (SKY, ROAD, CAR))
    assert found[0, 0].tolist() == (PHOTO[0, 0].tolist() if bare else mixed(PHOTO[0, 0], SKY))
    assert found[0, 2].tolist() == mixed(PHOTO[0, 2], ROAD) and found[1, 0].tolist() == mixed(PHOTO[1, 0], CAR)
    assert found[1, 2].tolist() == PHOTO[1, 2].tolist()     # void
    assert blend(PHOTO, LABELS, [first, 'road', 'car'])[0, 2].tolist() == mixed(PHOTO[0, 2], PALETTE[1].tolist())


def test_the_legend_has_the_same_colours():
    strip = np.asarray(legend(LABELS, ['sky', 'road', 'car'], 300, (SKY, ROAD, CAR)))
    occurring = {*map(tuple, strip.reshape(-1, 3).tolist())}
    assert {SKY, ROAD, CAR} <= occurring and tuple(PALETTE[1].tolist()) not in occurring
    whole = np.asarray(overlay(PHOTO, LABELS, ['sky', 'road', 'car'], (SKY, ROAD, CAR)))
    assert whole[0, 0].tolist() == mixed(PHOTO[0, 0], SKY)


def test_a_png_of_classes_shows_their_colours(tmp_path):
    save_indexed(tmp_path / 'a.png', LABELS, (SKY, ROAD, CAR))
    with Image.open(tmp_path / 'a.png') as picture:
        np.testing.assert_array_equal(np.asarray(picture), LABELS)
        shown = np.asarray(picture.convert('RGB'))
    assert [shown[0, 0].tolist(), shown[0, 2].tolist(), shown[1, 0].tolist(), shown[1, 2].tolist()] == [
        [*SKY], [*ROAD], [*CAR], [224, 224, 192]]


@pytest.mark.parametrize('values, mode, expected', [
    (('7', '26', '0'), 'P', [7, 26, 0]), (('7', '1000', '65535'), 'I;16', [7, 1000, 65535]),
    (('9 9 9', '1 2 3', '255 0 4'), 'RGB', [[9, 9, 9], [1, 2, 3], [255, 0, 4]])])
def test_a_png_of_the_users_values(values, mode, expected, tmp_path):
    labels = LABELS[:, :2]
    save_values(tmp_path / 'a.png', labels, values, (SKY, ROAD, CAR))
    with Image.open(tmp_path / 'a.png') as picture:
        assert picture.mode == mode
        np.testing.assert_array_equal(np.asarray(picture), np.array(expected)[labels])
        if mode == 'P':
            np.testing.assert_array_equal(np.asarray(picture.convert('RGB')), np.array([SKY, ROAD, CAR])[labels])


# A net, from training to what people see.

@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Own data, numbered 7, 26 and 24, with colours; and a run on them."""
    place = tmp_path_factory.mktemp('coloured')
    data, values = place / 'own', {'24': 'car', '7': 'road', '26': 'sky', '8': 'road', '255': None}
    folders.write_own(data, classes=('road', 'sky', 'car'))
    card = json.loads((data / 'dataset.json').read_text())
    for path in (data / 'masks').iterdir():
        label = np.asarray(Image.open(path))
        save_png(path, np.where(label == 255, 255, np.array([7, 26, 24] + [0] * 253)[label]).astype(np.uint8))
    (data / 'dataset.json').write_text(json.dumps(card | {'values': values, 'colours': [ROAD, SKY, CAR]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('solvers.monitor.plot', lambda *_: None)
        folder = folders.write(place / 'net', data)
        assert cli.run(solvers.main, ['train', str(folder), '--run', str(place / 'run'), '--iterations', '2',
                                      '--cpu']) == 0
    return place


def palette(path):
    with Image.open(path) as picture:
        assert picture.mode == 'P'
        return [tuple(colour) for colour in np.array(picture.getpalette()).reshape(-1, 3)[:3].tolist()]


def test_a_run_keeps_the_colours_and_uses_them(trained):
    known = json.loads((trained / 'run/net.json').read_text())
    assert known['colours'] == [[*ROAD], [*SKY], [*CAR]] and known['values'] == ['7', '26', '24']
    maps = [*(trained / 'run/evaluation/label').iterdir()]
    assert len(maps) == 2 and all(palette(path) == [ROAD, SKY, CAR] for path in maps)
    cards = page.pictures('label', stages_of(trained / 'run'), 2)
    shown = {name: colour for card in cards for name, colour in card['legend']}
    assert shown['road'] == '#804080' and shown['sky'] == '#4682b4' and '#804080' in (
        trained / 'run/report.html').read_text()
    truth = Image.open(io.BytesIO(base64.b64decode(cards[0]['truth'].partition(',')[2]))).convert('RGB')
    label = np.asarray(Image.open(trained / f'own/masks/{cards[0]["id"]}.png'))
    colours = {7: ROAD, 26: SKY, 24: CAR, 255: (224, 224, 192)}
    assert all(tuple(np.asarray(truth)[row, column]) == colours[label[row, column]]
               for row in range(0, 24, 5) for column in range(0, 32, 7))


def stages_of(path):
    run = Run(path)
    record = json.loads((path / 'evaluation/evaluation.json').read_text())
    return [page.Stage(run.net, run, record)]


def test_infer_has_them_with_the_data_set_and_without(trained, tmp_path):
    photo = tmp_path / 'photo.png'
    with Image.open(trained / 'own/images/p0.jpg') as picture:
        picture.save(photo)
    call = ['--net', trained / 'run', photo, '--cpu', '--out']
    assert cli.run(infer.main, [*map(str, [*call, tmp_path / 'with'])]) == 0
    (trained / 'own').rename(trained / 'gone')
    try:
        assert cli.run(infer.main, [*map(str, [*call, tmp_path / 'without'])]) == 0
        assert cli.run(infer.main, [*map(str, [*call, tmp_path / 'values', '--values'])]) == 0
    finally:
        (trained / 'gone').rename(trained / 'own')
    for name in ('photo.png', 'photo_overlay.jpg'):
        assert (tmp_path / 'with' / name).read_bytes() == (tmp_path / 'without' / name).read_bytes()
    assert palette(tmp_path / 'with/photo.png') == [ROAD, SKY, CAR]
    labels = np.asarray(Image.open(tmp_path / 'with/photo.png'))
    shown = np.asarray(Image.open(tmp_path / 'with/photo_overlay.jpg')).astype(int)
    expected = (1 - OPACITY) * np.asarray(Image.open(photo)) + OPACITY * np.array([ROAD, SKY, CAR])[labels]
    assert np.abs(shown[:24] - expected).mean() < 6      # JPEG; class 0 is road here, and not bare
    with Image.open(tmp_path / 'values/photo.png') as picture:
        np.testing.assert_array_equal(np.asarray(picture), np.array([7, 26, 24])[labels])
        np.testing.assert_array_equal(np.asarray(picture.convert('RGB')), np.array([ROAD, SKY, CAR])[labels])


POINTWISE = '''layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 24 dim: 32 } } }
layer { name: "score" type: "Convolution" bottom: "data" top: "score"
        convolution_param { num_output: 3 kernel_size: 1 } }
'''


@pytest.fixture
def pointwise(tmp_path):
    """A net whose class is the strongest of red, green and blue."""
    folder = tmp_path / 'net'
    folder.mkdir()
    (folder / 'deploy.prototxt').write_text(POINTWISE)
    write_weights(folder / 'weights.caffemodel', {'score': [np.eye(3, dtype='f')[::-1].reshape(3, 3, 1, 1).copy(),
                                                            np.zeros(3, 'f')]})
    Preparation(classes=('sky', 'road', 'car'), colours=(SKY, ROAD, CAR)).write(folder)
    photo = np.zeros((24, 32, 3), np.uint8)
    photo[:, :10, 0] = photo[:, 10:20, 1] = photo[:, 20:, 2] = 200
    save_png(tmp_path / 'photo.png', photo)
    return folder


def test_the_page_has_them(pointwise, tmp_path):
    deploy = open_deploy(pointwise / 'deploy.prototxt', pointwise / 'weights.caffemodel',
                         preparation.read(pointwise / 'net.json'))
    with Image.open(tmp_path / 'photo.png') as picture:
        found = serve.Segmenter(deploy, cpu=True)(picture.convert('RGB'))['tasks'][0]
    assert {entry['name']: entry['colour'] for entry in found['legend']} == {
        'sky': '#4682b4', 'road': '#804080', 'car': '#400080'}
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(found['overlay'].partition(',')[2]))))
    for column, (name, strongest) in enumerate(((SKY, 0), (ROAD, 1), (CAR, 2))):
        pixel = np.eye(3, dtype=int)[strongest] * 200
        assert np.abs(shown[12, column * 10 + 4] - np.array(mixed(pixel, name))).max() < 12, name


def test_a_list_on_the_command_line_brings_its_own(pointwise, tmp_path, capsys):
    save_lines(tmp_path / 'list.txt', ['9 9 9 background', '1 2 3 road', '255 0 0 car'])
    call = ['--net', pointwise, tmp_path / 'photo.png', '--cpu', '--out']
    assert cli.run(infer.main, [*map(str, [*call, tmp_path / 'a', '--classes', tmp_path / 'list.txt'])]) == 0
    assert palette(tmp_path / 'a/photo.png') == [(9, 9, 9), (1, 2, 3), (255, 0, 0)]
    shown = np.asarray(Image.open(tmp_path / 'a/photo_overlay.jpg')).astype(int)
    assert np.abs(shown[12, 4] - [200, 0, 0]).max() < 12        # background is bare
    save_lines(tmp_path / 'list.txt', ['sky', 'road', 'car'])
    assert cli.run(infer.main, [*map(str, [*call, tmp_path / 'b', '--classes', tmp_path / 'list.txt'])]) == 0
    assert palette(tmp_path / 'b/photo.png') == [tuple(colour) for colour in PALETTE[:3].tolist()]
    capsys.readouterr()
    assert cli.run(infer.main, [*map(str, [*call, tmp_path / 'c', '--values'])]) == 2
    told = capsys.readouterr().err
    assert told.count('\n') == 1 and '--values: nothing says which values' in told and not (tmp_path / 'c').exists()


def test_scored_pictures_are_shown_in_the_colours_of_their_list(tmp_path):
    save_lines(tmp_path / 'list.txt', ['70 130 180 sky', '128 64 128 road', '64 0 128 car'])
    table = np.zeros((256, 3), np.uint8)
    table[:3] = SKY, ROAD, CAR
    labels = np.where(LABELS == 255, 0, LABELS)
    for folder in ('guess', 'truth'):
        save_png(tmp_path / folder / 'a.png', table[labels])
    assert cli.run(score.main, ['--predictions', str(tmp_path / 'guess'), '--truth', str(tmp_path / 'truth'),
                                '--classes', str(tmp_path / 'list.txt'), '--json', str(tmp_path / 'scores.json')]) == 0
    scored = Scored(tmp_path / 'scores.json')
    card = page.card(None, 'label', 'a', [page.Stage('a', scored, scored.evaluation)])
    assert dict(card['legend']) == {'sky': '#4682b4', 'road': '#804080', 'car': '#400080'}
    truth = np.asarray(Image.open(io.BytesIO(base64.b64decode(card['truth'].partition(',')[2]))).convert('RGB'))
    np.testing.assert_array_equal(truth, table[labels])
