"""Photographs with a note (EXIF) to turn them: every reader turns them alike, no mask is quietly turned otherwise."""
import io

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from cli import BadInput
from data_layers import bands, open_dataset
from data_layers.own import layouts
from data_layers.own.survey import survey
from data_layers.reading import picture_size, read_rgb
from report import serve
from surgery.pictures import load
from tests.helpers import annotations as written
from tests.helpers import own
from tests.helpers.datasets import save_lines
from tests.helpers.own_nets import describe

# How a picture is stored that its note turns into `seen`: the inverse of what EXIF 2.3, table 6, says of each number.
STORED = {1: lambda seen: seen, 2: lambda seen: seen[:, ::-1], 3: lambda seen: seen[::-1, ::-1],
          4: lambda seen: seen[::-1], 5: lambda seen: seen.swapaxes(0, 1), 6: lambda seen: np.rot90(seen),
          7: lambda seen: np.rot90(seen, 2).swapaxes(0, 1), 8: lambda seen: np.rot90(seen, -1)}


def save(path, seen, note, stored=None):
    """A picture that looks as `seen` once it is turned as its note says, losslessly."""
    exif = Image.Exif()
    exif[274] = note
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.ascontiguousarray(STORED[note](seen) if stored is None else stored)
    Image.fromarray(pixels).save(path, exif=exif, **(dict(lossless=True) if path.suffix == '.webp' else {}))


def scene(height=6, width=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def with_turned(name):
    """The split of a data set that has the photograph with a note."""
    return next(dataset for dataset in (open_dataset(name, split) for split in ('train', 'val'))
                if 'turned' in dataset.ids)


def look(folder):
    return survey(folder, layouts.find(folder, 1337), 1)


@pytest.mark.parametrize('suffix', ['.png', '.webp', '.tif'])
@pytest.mark.parametrize('note', STORED)
def test_every_reader_turns_alike(note, suffix, tmp_path):
    path, seen = tmp_path / f'a{suffix}', scene()
    save(path, seen, note)
    np.testing.assert_array_equal(read_rgb(path), seen)
    assert picture_size(path) == (6, 8)
    np.testing.assert_array_equal(load(path, 3), seen[:, :, ::-1].transpose(2, 0, 1))
    if suffix != '.tif':
        np.testing.assert_array_equal(np.asarray(serve.decode(path.read_bytes())), seen)
        np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(Image.open(path)).convert('RGB')), seen)


@pytest.mark.parametrize('kind', ['colours', 'colours.tif', 'grey of 16 bits', 'five bands', 'three bands, planar'])
@pytest.mark.parametrize('note', STORED)
def test_pictures_of_other_kinds_are_turned_alike(note, kind, tmp_path):
    """Bands as numpy turns them, whether Pillow or our own TIFF reader finds them."""
    path = tmp_path / ('a.png' if kind in ('colours', 'grey of 16 bits') else 'a.tif')
    if kind.startswith('colours'):
        seen = scene()
        save(path, seen, note)
    elif kind == 'grey of 16 bits':
        seen = np.random.default_rng(0).integers(0, 65536, (6, 8, 1)).astype(np.uint16)
        save(path, seen, note, stored=STORED[note](seen)[:, :, 0])
    else:
        seen = np.random.default_rng(0).random((6, 8, 5 if kind == 'five bands' else 3), np.float32)
        save_bands(path, seen, note, planar='planar' in kind)
    np.testing.assert_array_equal(bands.read_values(path), seen)
    assert bands.stored(path).size == picture_size(path) == (6, 8)
    if kind == 'colours.tif':
        np.testing.assert_array_equal(read_rgb(path), seen)


def save_bands(path, seen, note, planar=False):
    """A TIFF by tifffile."""
    stored = STORED[note](seen)
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.ascontiguousarray(np.moveaxis(stored, 2, 0) if planar else stored),
                     photometric='minisblack', planarconfig='separate' if planar else 'contig',
                     extratags=[(274, 3, 1, note, True)])


def bands_beside(folder, note, mask_note=1, size=(6, 8)):
    """As `pair`, of five bands."""
    rng = np.random.default_rng(0)
    for name, turn in (('a', 1), ('b', 1), ('turned', note)):
        seen, label = rng.integers(0, 4096, (*size, 5)).astype(np.uint16), rng.integers(0, 3, size).astype(np.uint8)
        save_bands(folder / f'images/{name}.tif', seen, turn)
        save(folder / f'masks/{name}.png', label, mask_note if name == 'turned' else 1)
    save_lines(folder / 'classes.txt', own.CLASSES)
    return seen, label


@pytest.mark.parametrize('note, mask_note', [(5, 1), (6, 1), (7, 1), (8, 1), (3, 3), (2, 2), (6, 6)])
def test_bands_and_their_mask_agree(note, mask_note, tmp_path, monkeypatch):
    monkeypatch.setenv('FCN_DATA', str(tmp_path / 'data'))
    seen, label = bands_beside(tmp_path / 'photos', note, mask_note)
    found = look(tmp_path / 'photos')
    assert not found.mistakes
    describe(found, tmp_path / 'data/fields')
    dataset = with_turned('fields')
    image, read = dataset.load('turned')
    np.testing.assert_array_equal(read[0], label)
    pictures = found.card.pictures
    for channel, (band, (low, high), mean) in enumerate(zip(pictures.bands, pictures.window, found.card.mean,
                                                            strict=True)):
        expected = np.clip((seen[..., band - 1].astype(float) - low) / (high - low), 0, 1) * 255 - mean
        np.testing.assert_allclose(image[channel], expected, atol=1e-3)


@pytest.mark.parametrize('note, size', [(3, (6, 8)), (2, (6, 8)), (6, (7, 7))])
def test_bands_and_a_mask_that_may_not_agree_are_refused(note, size, tmp_path):
    bands_beside(tmp_path, note, size=size)
    found = look(tmp_path)
    assert len(found.mistakes) == 1 and 'nothing shows whether' in found.mistakes[0]


@pytest.mark.parametrize('note, other, fits', [(3, 1, False), (3, 3, True), (6, 1, True), (6, 6, True)])
def test_further_channels_agree_with_their_photograph(note, other, fits, tmp_path, monkeypatch):
    """Depth beside a photograph: of the same note, or of the turned size; else it may be upside down."""
    monkeypatch.setenv('FCN_DATA', str(tmp_path / 'data'))
    root, rng = tmp_path / 'photos', np.random.default_rng(0)
    _, label = pair(root, note, mask_note=note)
    depths = {}
    for photo in sorted((root / 'images').iterdir()):
        size = picture_size(photo)
        depths[photo.stem] = rng.integers(500, 9000, size).astype(np.uint16)
        save(root / f'depth/{photo.stem}.png', depths[photo.stem], other if photo.stem == 'turned' else 1)
    found = survey(root, layouts.find(root, 1337, None, ['depth']), 1, ['depth'])
    assert len(found.mistakes) == (not fits)
    describe(found, tmp_path / 'data/rooms')
    dataset = with_turned('rooms')
    if not fits:
        assert 'EXIF' in found.mistakes[0] and 'depth/turned.png' in found.mistakes[0]
        with pytest.raises(BadInput, match='EXIF'):
            dataset.load('turned')
        return
    image, read = dataset.load('turned')
    np.testing.assert_array_equal(read[0], label)
    low, high = found.card.pictures.window[3]
    np.testing.assert_allclose(image[3], np.clip((depths['turned'].astype(float) - low) / (high - low), 0, 1) * 255
                               - found.card.mean[3], atol=1e-3)


def test_notes_that_are_none_turn_nothing(tmp_path):
    seen = scene()
    for note in (0, 9, 65535):
        save(tmp_path / 'a.png', seen, 1, stored=seen)
        exif = Image.Exif()
        exif[274] = note
        Image.fromarray(seen).save(tmp_path / 'a.png', exif=exif)
        np.testing.assert_array_equal(read_rgb(tmp_path / 'a.png'), seen)
    file = io.BytesIO()
    Image.fromarray(seen).save(file, 'PNG', exif=b'Exif\0\0MM\0*\xff\xff')
    (tmp_path / 'a.png').write_bytes(file.getvalue())
    np.testing.assert_array_equal(read_rgb(tmp_path / 'a.png'), seen)
    np.testing.assert_array_equal(np.asarray(serve.decode(file.getvalue())), seen)


def pair(folder, note, mask_note=1, size=(6, 8), turned_mask=True):
    """Two upright photographs with masks, and one with a note, whose mask is upright or as the photograph is stored."""
    own.write(folder, count=2)
    (folder / 'classes.txt').write_text('background\nroad\ncar\n')
    seen, label = scene(*size), np.random.default_rng(1).integers(0, 3, size).astype(np.uint8)
    save(folder / 'images/turned.png', seen, note)
    save(folder / 'masks/turned.png', label, mask_note, stored=None if turned_mask else STORED[note](label))
    return seen, label


@pytest.mark.parametrize('note', [5, 6, 7, 8])
def test_a_mask_of_the_turned_size_fits(note, tmp_path, monkeypatch):
    monkeypatch.setenv('FCN_DATA', str(tmp_path / 'data'))
    seen, label = pair(tmp_path / 'photos', note)
    found = look(tmp_path / 'photos')
    assert not found.mistakes
    describe(found, tmp_path / 'data/roads')
    dataset = with_turned('roads')
    image, read = dataset.load('turned')
    np.testing.assert_array_equal(read[0], label)
    np.testing.assert_allclose(image.transpose(1, 2, 0)[:, :, ::-1] + np.array(found.card.mean)[::-1], seen, atol=1e-3)


@pytest.mark.parametrize('note', [2, 3, 4, 5, 6, 7, 8])
def test_a_mask_with_the_same_note_fits(note, tmp_path, monkeypatch):
    monkeypatch.setenv('FCN_DATA', str(tmp_path / 'data'))
    _, label = pair(tmp_path / 'photos', note, mask_note=note)
    found = look(tmp_path / 'photos')
    assert not found.mistakes
    describe(found, tmp_path / 'data/roads')
    dataset = with_turned('roads')
    np.testing.assert_array_equal(dataset.load('turned')[1][0], label)


@pytest.mark.parametrize('note, size, turned_mask, complaint', [
    (6, (6, 8), False, 'of the pixels as they are stored: turn the mask alike'),
    (3, (6, 8), True, 'nothing shows whether'), (3, (6, 8), False, 'nothing shows whether'),
    (2, (6, 8), True, 'nothing shows'), (4, (6, 8), True, 'nothing shows'),
    (6, (7, 7), True, 'nothing shows'), (8, (7, 7), False, 'nothing shows')])
def test_a_mask_that_may_or_may_not_be_turned_is_refused(note, size, turned_mask, complaint, tmp_path, monkeypatch):
    monkeypatch.setenv('FCN_DATA', str(tmp_path / 'data'))
    pair(tmp_path / 'photos', note, size=size, turned_mask=turned_mask)
    found = look(tmp_path / 'photos')
    assert len(found.mistakes) == 1 and complaint in found.mistakes[0] and 'EXIF' in found.mistakes[0]
    assert '\n' not in found.mistakes[0] and 'turned.png' in found.mistakes[0]
    describe(found, tmp_path / 'data/roads')        # by hand, or before the photograph was replaced
    dataset = with_turned('roads')
    with pytest.raises(BadInput, match='EXIF|they must agree'):
        dataset.load('turned')


@pytest.mark.parametrize('kind', ['labelme', 'cvat', 'label-studio'])
def test_programs_that_show_photographs_turned(kind, tmp_path):
    """Their shapes are of the turned photograph, whatever its note."""
    written.write(kind, tmp_path)
    for note, path in zip((3, 6, 2), sorted(tmp_path.rglob('*.jpg')), strict=True):
        save(path, scene(), note)
    assert not look(tmp_path).mistakes


@pytest.mark.parametrize('kind', ['coco', 'supervisely'])
def test_programs_that_may_not(kind, tmp_path):
    written.write(kind, tmp_path)
    photo, *_ = sorted(tmp_path.rglob('*.jpg'))
    save(photo, scene(), 6)
    assert not look(tmp_path).mistakes
    save(photo, scene(), 3)
    assert 'nothing shows' in look(tmp_path).mistakes[0]
