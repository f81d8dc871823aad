"""Own data whose pictures are not colours of 8 bits: channels, windows and means as numpy finds them by hand."""
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cli import BadInput
from data_layers import augment, bands, open_dataset, show
from data_layers.bands import Bands
from data_layers.own import layouts
from data_layers.own.folder import CARD, read_card
from data_layers.own.survey import survey
from data_layers.pictures import blend
from data_layers.reading import picture_size, read_rgb
from surgery import preparation
from surgery.preparation import Preparation, of_dataset
from tests.helpers import annotations, own
from tests.helpers.datasets import save_lines
from tests.helpers.other_pictures import SIZE, folder, save
from tests.helpers.own_nets import describe

FULL = (0.0, 255.0)


def look(root, *also, alpha=False):
    return survey(root, layouts.find(root, 1, None, also), 1, also, alpha)


def by_hand(values, low, high):
    return np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255


@pytest.mark.parametrize(('suffix', 'dtype', 'count', 'least', 'most', 'names'), [
    ('.png', 'u2', 1, 700, 4000, ['grey']), ('.tif', 'u2', 1, 0, 65535, ['grey']),
    ('.tif', 'i2', 1, -900, 2000, ['grey']), ('.tif', 'f4', 1, -0.4, 1.3, ['grey']),
    ('.tif', 'f8', 3, 0, 1e-3, ['blue', 'green', 'red']), ('.tif', 'u2', 3, 0, 4095, ['blue', 'green', 'red']),
    ('.tif', 'f4', 2, 0, 1, ['grey', 'band 2']),
    ('.tif', 'u2', 5, 100, 9000, ['blue', 'green', 'red', 'band 4', 'band 5']),
    ('.tif', 'u2', 16, 100, 9000, ['blue', 'green', 'red', *(f'band {n}' for n in range(4, 17))])])
def test_windows_and_means_are_those_of_numpy(suffix, dtype, count, least, most, names, tmp_path):
    arrays = folder(tmp_path / 'in', images=(suffix, dtype, count, least, most))['images']
    found = look(tmp_path / 'in')
    assert not found.mistakes and found.card.channels == tuple(names)
    order = [2, 1, 0, *range(3, count)] if count > 2 else range(count)
    assert found.card.pictures.bands == tuple(band + 1 for band in order)
    train = np.stack([arrays[int(id)] for id in found.found['train']]).astype(float)
    for channel, band in enumerate(order):
        seen = train[..., :3] if count > 2 and channel < 3 else train[..., band]     # colours share a window
        low, high = np.percentile(seen, (0.5, 99.5))
        stated = found.card.pictures.window[channel]
        if np.dtype(dtype).kind == 'f':
            assert stated == pytest.approx((low, high), rel=1e-5)
        else:
            assert stated == (np.floor(low), np.ceil(high))
        assert found.card.mean[channel] == pytest.approx(by_hand(train[..., band], *stated).mean(), abs=6e-4)
    describe(found, tmp_path / 'out')
    dataset = open_dataset('folder', 'val', tmp_path / 'out')
    image, _ = dataset.load(dataset.ids[0])
    expected = np.stack([by_hand(arrays[int(dataset.ids[0])][..., band], *window) - mean for band, window, mean in zip(
        order, found.card.pictures.window, found.card.mean, strict=True)])
    assert image.dtype == np.float32 and image.shape == (count, *SIZE)
    np.testing.assert_allclose(image, expected, atol=2e-5)
    assert f'{names[-1]} ' in str(found)


def test_a_window_is_yours_to_change(tmp_path):
    arrays = folder(tmp_path / 'in', images=('.tif', 'u2', 2, 0, 5000))['images']
    describe(look(tmp_path / 'in'), tmp_path / 'out')
    card = json.loads((tmp_path / 'out' / CARD).read_text())
    card['pictures'] |= {'window': [[1000, 2000]], 'bands': [2, 1]}      # one for all, and the other order
    (tmp_path / 'out' / CARD).write_text(json.dumps(card))
    dataset = open_dataset('folder', 'val', tmp_path / 'out')
    image, _ = dataset.load(dataset.ids[0])
    one = arrays[int(dataset.ids[0])]
    for channel, band in enumerate((1, 0)):
        np.testing.assert_allclose(image[channel], by_hand(one[..., band], 1000, 2000) - card['mean'][channel],
                                   atol=2e-5)


def test_grey_of_8_bits_is_one_channel_and_colours_among_it_are_three(tmp_path):
    arrays = folder(tmp_path / 'grey', images=('.png', 'u1', 1, 0, 256))['images']
    found = look(tmp_path / 'grey')
    assert found.card.pictures == Bands(('grey',), (1,), (FULL,))
    train = np.stack([arrays[int(id)] for id in found.found['train']])
    assert found.card.mean == (round(float(train.mean()), 3),)
    own.photo(tmp_path / 'grey/images/0.png', SIZE)
    assert look(tmp_path / 'grey').card.pictures is None


def test_colours_of_8_bits_are_described_as_ever(tmp_path):
    own.write(tmp_path / 'in')
    describe(look(tmp_path / 'in'), tmp_path / 'out')
    assert [*json.loads((tmp_path / 'out' / CARD).read_text())] == ['folder', 'masks', 'classes', 'values', 'mean']
    assert of_dataset(type(open_dataset('folder', 'val', tmp_path / 'out')), ['data'], ['label']).facts().keys() == {
        'mean', 'scale', 'order', 'multiple', 'classes', 'values'}


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_transparency_is_left_out_and_said_or_a_channel(suffix, tmp_path):
    rng = np.random.default_rng(0)
    made = folder(tmp_path, depth=('.png', 'u2', 1, 0, 9))['depth']
    for number in range(len(made)):
        array = rng.integers(0, 256, (*SIZE, 4), np.uint8)
        (tmp_path / 'images').mkdir(exist_ok=True)
        Image.fromarray(array).save(tmp_path / f'images/{number}{suffix}')
    found = look(tmp_path, 'depth')
    assert found.card.channels == ('blue', 'green', 'red', 'depth') and found.card.pictures.bands == (3, 2, 1, 5)
    assert any('transparency' in note and '--alpha' in note for note in found.layout.notes)
    (tmp_path / 'depth').rename(tmp_path / '.depth')
    found = look(tmp_path)
    assert found.card.pictures is None and any('transparency' in note for note in found.layout.notes)
    found = look(tmp_path, alpha=True)
    assert found.card.channels == ('blue', 'green', 'red', 'band 4')
    np.testing.assert_array_equal(found.card.pictures.values(tmp_path / f'images/{number}{suffix}')[3], array[..., 3])


def test_several_files_make_one_picture(tmp_path):
    made = folder(tmp_path / 'in', images=('.jpg', 'u1', 3, 0, 256), depth=('.png', 'u2', 1, 500, 8000),
                  normals=('.tif', 'f4', 2, -1, 1))
    found = look(tmp_path / 'in', 'depth', 'normals')
    assert not found.mistakes
    assert found.card.channels == ('blue', 'green', 'red', 'depth', 'normals 1', 'normals 2')
    assert found.card.pictures.also == ('depth', 'normals') and found.card.pictures.window[:3] == (FULL,) * 3
    describe(found, tmp_path / 'out')
    dataset = open_dataset('folder', 'val', tmp_path / 'out')
    id = dataset.ids[0]
    image, _ = dataset.load(id)
    colours = np.asarray(Image.open(tmp_path / f'in/images/{id}.jpg')).astype(float)
    for channel in range(3):
        np.testing.assert_allclose(image[channel], colours[..., 2 - channel] - found.card.mean[channel], atol=2e-5)
    for channel, (name, band) in enumerate((('depth', 0), ('normals', 0), ('normals', 1)), 3):
        np.testing.assert_allclose(image[channel], by_hand(made[name][int(id)][..., band], *found.card.pictures.window[
            channel]) - found.card.mean[channel], atol=2e-5)
    np.testing.assert_array_equal(dataset.image(id), colours)       # overlays lie on the colours


def test_bands_in_folders_of_their_own_become_colours(tmp_path):
    made = folder(tmp_path, red=('.tif', 'u2', 1, 0, 4000), green=('.tif', 'u2', 1, 0, 4000),
                  blue=('.tif', 'u2', 1, 0, 4000), nir=('.tif', 'u2', 1, 0, 4000))
    found = look(tmp_path, 'nir', 'green', 'blue')
    assert found.card.channels == ('blue', 'green', 'red', 'nir')
    for plane, name in zip(found.card.pictures.values(tmp_path / 'red/2.tif'), found.card.channels, strict=True):
        np.testing.assert_array_equal(plane, made[name][2][..., 0])


def test_files_are_found_beside_folders_at_any_depth(tmp_path):
    for place in ('images/train/a.jpg', 'depth/train/a.png', 'set/rgb/b.tif', 'set/depth/b.TIF', 'c/d/e/f/g/h.png',
                  'depth/d/e/f/g/h.png'):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    assert bands.beside(tmp_path / 'images/train/a.jpg', 'depth') == tmp_path / 'depth/train/a.png'
    assert bands.beside(tmp_path / 'set/rgb/b.tif', 'depth') == tmp_path / 'set/depth/b.TIF'
    with pytest.raises(BadInput, match='no file of its name in a folder depth'):
        bands.beside(tmp_path / 'c/d/e/f/g/h.png', 'depth')


def test_holes_become_the_mean_and_do_not_count(tmp_path):
    arrays = folder(tmp_path, images=('.tif', 'f4', 1, 0, 1))['images']
    for number, array in enumerate(arrays):
        array[3:7, 2:9] = np.nan
        array[0, 0] = np.inf
        save(tmp_path / f'images/{number}.tif', array[..., 0])
    found = look(tmp_path)
    train = np.stack([arrays[int(id)] for id in found.found['train']]).astype(float)
    finite = train[np.isfinite(train)]
    low, high = found.card.pictures.window[0]
    assert (low, high) == pytest.approx(tuple(np.percentile(finite, (0.5, 99.5))), rel=1e-5)
    measured = by_hand(train[~np.isnan(train)], low, high)
    assert found.card.mean[0] == pytest.approx(measured.mean(), abs=6e-4)
    blob = found.card.pictures.blob(tmp_path / 'images/0.tif', found.card.mean)
    assert (blob[0, 3:7, 2:9] == 0).all() and np.isfinite(blob).all()
    assert blob[0, 0, 0] == np.float32(255 - found.card.mean[0])
    assert (found.card.pictures.rgb(tmp_path / 'images/0.tif')[3:7, 2:9] == 0).all()


def test_overlays_lie_on_what_the_window_shows(tmp_path):
    arrays = folder(tmp_path, images=('.tif', 'u2', 5, 0, 4095))['images']
    pictures = look(tmp_path).card.pictures
    shown = pictures.rgb(tmp_path / 'images/1.tif')
    expected = np.stack([by_hand(arrays[1][..., band], *pictures.window[0]).round() for band in range(3)], 2)
    np.testing.assert_array_equal(shown, expected.astype(np.uint8))
    labels = np.ones(SIZE, np.uint8)
    assert blend(shown, labels).shape == (*SIZE, 3)
    grey = Bands(('thermal',), (4,), ((100.0, 200.0),)).rgb(tmp_path / 'images/1.tif')
    np.testing.assert_array_equal(grey, np.repeat(by_hand(arrays[1][..., 3:4], 100, 200).round().astype('u1'), 3, 2))


@pytest.mark.parametrize(('change', 'complaint'), [
    (lambda root: save(root / 'images/1.tif', np.zeros((*SIZE, 3), 'u2')), 'different kinds: .*5 bands of uint16, '
     '.*3 bands of uint16'),
    (lambda root: save(root / 'images/1.tif', np.zeros((*SIZE, 5), 'u1')), 'different kinds'),
])
def test_pictures_of_two_kinds_are_refused(change, complaint, tmp_path):
    folder(tmp_path, images=('.tif', 'u2', 5, 0, 4095))
    change(tmp_path)
    with pytest.raises(BadInput, match=complaint):
        look(tmp_path)


def test_mistakes_with_further_files_are_told(tmp_path):
    folder(tmp_path, images=('.png', 'u1', 3, 0, 256), depth=('.png', 'u2', 1, 0, 4000))
    with pytest.raises(BadInput, match='two photographs called 0.*say --and depth$'):
        look(tmp_path)
    save(tmp_path / 'depth/2.png', np.zeros((4, 4), 'u2'))
    assert 'is 4x4 pixels but' in look(tmp_path, 'depth').mistakes[0]
    (tmp_path / 'depth/2.png').unlink()
    with pytest.raises(BadInput, match='2.png has no file of its name in a folder depth'):
        look(tmp_path, 'depth')


def test_a_damaged_picture_is_a_mistake(tmp_path):
    folder(tmp_path, images=('.tif', 'u2', 5, 0, 4095))
    whole = (tmp_path / 'images/3.tif').read_bytes()
    (tmp_path / 'images/3.tif').write_bytes(whole[:len(whole) // 2])
    assert any('3.tif cannot be read' in line for line in look(tmp_path).mistakes)


@pytest.mark.parametrize(('changes', 'key'), [
    ({'window': [[5, 5]]}, 'window'), ({'window': [[0, 1], [0, 1], [0, 1]]}, 'window'),
    ({'window': [[0, '9']]}, 'window'),
    ({'bands': [0, 1]}, 'bands'), ({'bands': [1]}, 'bands'), ({'bands': [1.0, 2]}, 'bands'),
    ({'channels': ['a', 'a']}, 'channels'), ({'channels': []}, 'channels'), ({'also': ['../x']}, 'also'),
    ({'also': 'depth'}, 'also'), ({'more': 1}, 'keys'), ({'window': [[0, float('nan')]]}, 'window')])
def test_a_wrong_description_is_refused(changes, key, tmp_path):
    folder(tmp_path / 'in', images=('.tif', 'u2', 2, 0, 4095))
    describe(look(tmp_path / 'in'), tmp_path / 'out')
    card = json.loads((tmp_path / 'out' / CARD).read_text())
    card['pictures'] |= changes
    (tmp_path / 'out' / CARD).write_text(json.dumps(card))
    with pytest.raises(BadInput, match=f'{CARD}.*{key}'):
        open_dataset('folder', 'val', tmp_path / 'out')


def test_bands_that_are_not_there_and_pictures_of_fewer_bits_are_refused(tmp_path):
    folder(tmp_path, images=('.tif', 'u2', 2, 0, 4095), other=('.png', 'u1', 1, 0, 255))
    with pytest.raises(BadInput, match='has 2 bands, and nir is to be band 7'):
        Bands(('grey', 'nir'), (1, 7), (FULL, FULL)).values(tmp_path / 'images/0.tif')
    with pytest.raises(BadInput, match='0.png has 8 bits a channel, and the window of grey is 0 to 4095'):
        Bands(('grey',), (1,), ((0.0, 4095.0),)).values(tmp_path / 'other/0.png')


def test_a_net_of_colours_says_what_it_was_given(tmp_path):
    save(tmp_path / 'a.tif', np.zeros((*SIZE, 5), 'u2'))
    assert picture_size(tmp_path / 'a.tif') == SIZE
    with pytest.raises(BadInput, match='a.tif has 5 bands of uint16, not colours of 8 bits'):
        read_rgb(tmp_path / 'a.tif')


def test_net_json_prepares_as_the_data_set_does(tmp_path):
    folder(tmp_path / 'in', images=('.tif', 'u2', 5, 0, 4095))
    describe(look(tmp_path / 'in'), tmp_path / 'out')
    dataset = open_dataset('folder', 'train', tmp_path / 'out')
    takes = of_dataset(type(dataset), ['data'], ['label'])
    takes.write(tmp_path)
    read = preparation.read(tmp_path / 'net.json')
    assert read == takes and read.channels == 5 and read.pictures == dataset.pictures
    id = dataset.ids[0]
    assert read.read(dataset.file('data', id)).tobytes() == dataset.load(id)[0].tobytes()
    with pytest.raises(BadInput, match='the mean is of the wrong kind'):
        preparation.checked('net.json', mean=[1, 2, 3], pictures=dataset.pictures.facts())


def test_colours_of_classes_and_other_pictures_go_together(tmp_path):
    folder(tmp_path / 'in', images=('.tif', 'u2', 5, 0, 4095))
    save_lines(tmp_path / 'in/classes.txt', ['70 130 180 ground', '128 64 128 road'])
    found = look(tmp_path / 'in')
    assert not found.mistakes
    describe(found, tmp_path / 'out')
    card = read_card(tmp_path / 'out')
    assert card == found.card and card.colours == ((70, 130, 180), (128, 64, 128)) and len(card.pictures.channels) == 5
    takes = of_dataset(type(open_dataset('folder', 'train', tmp_path / 'out')), ['data'], ['label'])
    takes.write(tmp_path)
    assert preparation.read(tmp_path / 'net.json') == takes
    assert takes.colours == card.colours and takes.values == ('0', '1') and takes.pictures == card.pictures
    save_lines(tmp_path / 'list.txt', ['9 9 9 floor', '1 2 3 street'])
    other = preparation.with_class_list(takes, tmp_path / 'list.txt')
    assert other.pictures == takes.pictures and other.mean == takes.mean and other.scale == takes.scale
    assert other.colours == ((9, 9, 9), (1, 2, 3)) and other.values == ()


@pytest.mark.parametrize('kind', ['coco', 'cvat', 'label-studio'])
def test_annotation_files_and_depth_beside(kind, tmp_path):
    """Photographs of an annotation file, whose pictures in the folder of --and are further channels."""
    annotations.write(kind, tmp_path)
    photos = sorted(path for path in tmp_path.rglob('*.jpg'))
    plain = look(tmp_path)
    for number, path in enumerate(photos):
        with Image.open(path) as picture:
            save(tmp_path / f'depth/{path.stem}.png', np.full(picture.size[::-1], 900 + number, 'u2'))
    found = look(tmp_path, 'depth')
    assert not plain.mistakes and not found.mistakes and found.card.channels == ('blue', 'green', 'red', 'depth')
    assert found.card.values == plain.card.values
    assert found.layout.splits == plain.layout.splits


@pytest.mark.parametrize(('bands', 'shown'), [(5, (0, 1, 2)), (1, (0, 0, 0)), (2, (0, 0, 0))])
def test_a_sheet_of_samples_shows_what_the_window_does(bands, shown, tmp_path):
    arrays = folder(tmp_path / 'in', images=('.tif', 'u2', bands, 0, 4095))['images']
    describe(look(tmp_path / 'in'), tmp_path / 'out')
    dataset = open_dataset('folder', 'val', tmp_path / 'out')
    id = dataset.ids[0]
    low, high = dataset.pictures.window[0]
    expected = np.stack([by_hand(arrays[int(id)][..., band], low, high).round() for band in shown], 2)
    np.testing.assert_array_equal(show.visible(dataset, 'data', dataset.load(id)[0]), expected.astype(np.uint8))
    assert show.show('folder', tmp_path / 'out', 'train', out=tmp_path / 'sheet/a.png', vary='mirror,scale,crop,rotate')


def test_three_channels_that_are_no_colours_are_shown_in_grey_and_not_recoloured(tmp_path):
    arrays = folder(tmp_path / 'in', images=('.png', 'u1', 1, 0, 256), a=('.png', 'u1', 1, 0, 256),
                    b=('.png', 'u1', 1, 0, 256))['images']
    describe(look(tmp_path / 'in', 'a', 'b'), tmp_path / 'out')
    dataset = open_dataset('folder', 'val', tmp_path / 'out')
    assert dataset.pictures.channels == ('grey', 'a', 'b')
    id = dataset.ids[0]
    np.testing.assert_array_equal(show.visible(dataset, 'data', dataset.load(id)[0]), np.repeat(arrays[int(id)], 3, 2))
    with pytest.raises(BadInput, match='blue, green and red, and data of folder has 3 others; leave colour out'):
        augment.photographs(dataset, colour=0.2)


def test_grey_and_deep_colours_are_recoloured(tmp_path):
    for name, place in (('grey', ('.png', 'u1', 1, 0, 256)), ('deep', ('.tif', 'u2', 3, 0, 4095))):
        folder(tmp_path / name, images=place)
        describe(look(tmp_path / name), tmp_path / f'{name}-out')
        dataset = open_dataset('folder', 'train', tmp_path / f'{name}-out')
        assert augment.photographs(dataset, colour=0.2) == {0: dataset.means['data']}
        sample, photos = dataset.load(dataset.ids[0]), augment.photographs(dataset, colour=0.5)
        image, label = augment.augment(sample, 1, 0, colour=0.5, photos=photos)
        assert image.shape == sample[0].shape and np.abs(image - sample[0]).mean() > 1
        np.testing.assert_array_equal(label, sample[1])


def test_a_grey_net_takes_a_photograph_in_colours(tmp_path):
    pixels = own.photo(tmp_path / 'a.png', SIZE)
    takes = Preparation((100.0,), pictures=Bands(('grey',), (1,), (FULL,)))
    expected = 0.299 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.114 * pixels[..., 2] - 100
    np.testing.assert_allclose(takes.read(tmp_path / 'a.png')[0], expected, atol=1e-3)
    save(tmp_path / 'b.png', pixels[..., 0])
    np.testing.assert_array_equal(takes.read(tmp_path / 'b.png')[0], pixels[..., 0].astype('f') - 100)
    grey = SimpleNamespace(pictures=takes.pictures)
    assert (grey.pictures.rgb(tmp_path / 'b.png') == pixels[..., :1]).all()
