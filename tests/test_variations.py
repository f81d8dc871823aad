"""Rotated and recoloured training samples, beside numpy, scipy and scikit-image; and variations as text."""
import numpy as np
import pytest
from scipy import ndimage
from skimage.color import rgb2yiq

from cli import BadInput
from data_layers import open_dataset
from data_layers.augment import (
    DEFAULTS,
    augment,
    describe,
    parse,
    photographs,
    recolour,
    turn,
)
from tests.helpers.datasets import write_nyud

VOID, MEAN = 255, (104.0, 116.5, 122.25)
ALL = dict(mirror=True, scale=(0.5, 2), crop=60, rotate=40)
CODES = np.array([[10, 20, 30], [200, 40, 90], [60, 180, 240], [120, 120, 120]], np.float32)    # of classes


def coded(height=70, width=90):
    """A photograph whose colours say the class, mean subtracted, and its label: four regions, none of them narrow."""
    label = np.zeros((height, width), np.uint8)
    label[:height // 3, 2 * width // 5:], label[height // 3:, :width // 3], label[height // 3:, width // 3:] = 1, 2, 3
    return (CODES[label].transpose(2, 0, 1) - np.float32(MEAN)[:, None, None]), label[None]


def inner(label):
    """Pixels whose 5 x 5 neighbours are there and have their class, which is not void."""
    options = dict(size=5, mode='constant', cval=VOID)
    return (ndimage.minimum_filter(label, **options) == ndimage.maximum_filter(label, **options)) & (label != VOID)


def test_picture_and_mask_stay_together():
    seen = set()
    for position in range(40):
        image, label = augment(coded(), 3, position, **ALL)
        assert image.shape == (3, 60, 60) and image.dtype == np.float32 and label.dtype == np.uint8
        inside = inner(label[0])
        pixels = (image + np.float32(MEAN)[:, None, None])[:, inside].T
        np.testing.assert_allclose(pixels, CODES[label[0][inside]], atol=1e-3)
        seen |= {*np.unique(label)}
    assert seen == {0, 1, 2, 3, VOID}


@pytest.mark.parametrize('angle', [-33.0, -2.5, 8.0, 45.0, 90.0, 180.0])
@pytest.mark.parametrize('size', [(40, 40), (31, 52)])
def test_a_turn_beside_scipy(angle, size):
    """Counter-clockwise about the centre; scipy samples input = matrix @ output + offset, in rows and columns."""
    rng = np.random.default_rng(1)
    image = ndimage.gaussian_filter(rng.normal(size=(2, *size)), (0, 2, 2)).astype(np.float32)
    label = rng.integers(0, 9, (1, *size), np.uint8)
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    matrix = np.array([[cos, sin], [-sin, cos]])
    centre = (np.array(size) - 1) / 2
    grid = np.moveaxis(np.indices(size), 0, -1) @ matrix.T + (centre - matrix @ centre)
    slack = 2e-3        # Pillow finds the nearest pixel by steps of 2**-16, one a column
    beyond = ((grid < -0.5 - slack) | (grid > np.array(size) - 0.5 + slack)).any(-1)
    within = ((grid > -0.5 + slack) & (grid < np.array(size) - 0.5 - slack)).all(-1)
    turned, classes = turn(image, angle), turn(label, angle)
    assert turned.shape == image.shape and classes.shape == label.shape
    assert (classes[0][beyond] == VOID).all() and (turned[:, beyond] == 0).all()
    assert (classes[0][within] != VOID).all() and beyond.any() == (angle % 180 != 0 and not (
        angle == 90 and size[0] == size[1]))
    whole = ((grid >= 0) & (grid <= np.array(size) - 1)).all(-1)        # between four pixels
    for one, channel in zip(turned, image, strict=True):
        expected = ndimage.map_coordinates(channel, np.moveaxis(grid, -1, 0), order=1)
        np.testing.assert_allclose(one[whole], expected[whole], atol=1e-4)
    clear = within & (abs(grid - np.floor(grid) - 0.5) > slack).all(-1)       # not halfway between two
    near = np.clip(np.rint(grid), 0, np.array(size) - 1).astype(int)
    np.testing.assert_array_equal(classes[0][clear], label[0][near[..., 0], near[..., 1]][clear])


def test_planes_of_overlapping_classes_turn_together():
    label = np.stack([np.eye(30, dtype=np.uint8), np.ones((30, 30), np.uint8)])
    _, turned = augment((np.zeros((3, 30, 30), np.float32), label), 1, 2, rotate=45)
    np.testing.assert_array_equal(turned[0] == VOID, turned[1] == VOID)
    assert (turned[0] == VOID).any() and set(np.unique(turned[1])) == {1, VOID}


def test_seed_and_position_alone_decide():
    options = dict(ALL, colour=0.4, photos={0: MEAN})
    one = [augment(coded(), 7, position, **options) for position in range(6)]
    for position in (4, 1, 1):
        for a, b in zip(augment(coded(), 7, position, **options), one[position], strict=True):
            np.testing.assert_array_equal(a, b)
    assert any((one[0][0] != other[0]).any() for other in one[1:])
    assert (augment(coded(), 8, 0, **options)[0] != one[0][0]).any()


def test_what_is_new_leaves_the_older_draws_alone():
    """So that runs begun before go on to the same bytes: mirror, crop and scale take the first four numbers."""
    image, label = coded()
    for position in range(20):
        factor, down, across, flip = np.random.default_rng((5, position, 1)).random(4)
        a, b = augment((image, label), 5, position, mirror=True, crop=50, colour=0.3)
        top, left = int(down * 21), int(across * 41)
        expected = label[:, top:top + 50, left:left + 50]
        np.testing.assert_array_equal(b, expected[:, :, ::-1] if flip < 0.5 else expected)
        assert augment((image, label), 5, position, scale=(0.5, 2))[0].shape[1] == round(70 * 0.5 * 4 ** factor)
        with_colour = augment((image, label), 5, position, **ALL, colour=0.3, photos={0: MEAN})
        np.testing.assert_array_equal(augment((image, label), 5, position, **ALL)[1], with_colour[1])


def test_angles_reach_the_limit_on_both_sides():
    column = np.zeros((1, 201, 201), np.uint8)
    column[0, 20, 98:103] = 9
    angles = []
    for position in range(300):
        label, = augment((column,), 0, position, rotate=20)
        row, place = np.argwhere(label[0] == 9).mean(0)
        angles.append(np.degrees(np.arctan2(100 - place, 100 - row)))      # counter-clockwise
    assert -20.5 < min(angles) < -18 and 18 < max(angles) < 20.5 and abs(np.mean(angles)) < 2


# Colour.

def photo(seed=0, low=0, high=256):
    """Colours of 20 x 30 pixels, RGB float, and the blob of them."""
    rgb = np.random.default_rng(seed).integers(low, high, (20, 30, 3)).astype(float)
    return rgb, (rgb[:, :, ::-1].transpose(2, 0, 1) - np.reshape(MEAN, (3, 1, 1))).astype(np.float32)


def seen(blob):
    """RGB of a blob, H x W x 3."""
    return (blob + np.reshape(MEAN, (3, 1, 1))).transpose(1, 2, 0)[:, :, ::-1]


def test_brightness_and_contrast_by_hand():
    rgb, blob = photo()
    np.testing.assert_allclose(seen(recolour(blob, MEAN, 0.2, 0)), np.clip(1.2 * rgb, 0, 255), atol=1e-3)
    luma = (rgb @ (0.299, 0.587, 0.114)).mean()
    for contrast in (-0.5, 0.5):
        expected = np.clip(luma + (1 + contrast) * (rgb - luma), 0, 255)
        np.testing.assert_allclose(seen(recolour(blob, MEAN, 0, contrast)), expected, atol=1e-3)
    grey = np.array([[[10.0, 90.0, 200.0]]], np.float32)
    np.testing.assert_allclose(recolour(grey - 100, (100,), 0.5, -0.5)[0, 0] + 100,
                               1.5 * np.array([100 - 45, 100 - 5, 100 + 50]))     # the mean is 100
    np.testing.assert_allclose(recolour(blob, MEAN, 0, 0, 0, 0), blob, atol=1e-4)


@pytest.mark.parametrize('saturation, hue', [(-1, 0), (0.5, 0), (0, 0.3), (-0.3, -1)])
def test_saturation_and_hue_beside_scikit_image(saturation, hue):
    """In YIQ: luma stays, the chroma is scaled and turned by 90 degrees at hue 1, towards Q."""
    rgb, blob = photo(low=90, high=150)        # so that nothing is clipped
    before, after = rgb2yiq(rgb), rgb2yiq(seen(recolour(blob, MEAN, 0, 0, saturation, hue)))
    np.testing.assert_allclose(after[..., 0], before[..., 0], atol=0.1)
    turned = (before[..., 1] + 1j * before[..., 2]) * (1 + saturation) * np.exp(1j * np.pi / 2 * hue)
    np.testing.assert_allclose(after[..., 1] + 1j * after[..., 2], turned, atol=0.2)
    grey = np.full((3, 4, 5), 77, np.float32) - np.reshape(MEAN, (3, 1, 1)).astype(np.float32)
    np.testing.assert_allclose(recolour(grey, MEAN, 0, 0, saturation, hue), grey, atol=1e-3)


def test_values_stay_those_of_bytes():
    _, blob = photo()
    changed, extremes = set(), [255, 0]
    for position in range(60):
        image, = augment((blob,), 2, position, colour=1, photos={0: MEAN})
        values = seen(image)
        extremes = [min(extremes[0], values.min()), max(extremes[1], values.max())]
        changed.add(float(abs(values - seen(blob)).mean()))
    assert -1e-3 < extremes[0] < 1 and 254 < extremes[1] < 255 + 1e-3 and len(changed) == 60 and max(changed) > 30


def test_a_weak_colour_changes_little():
    _, blob = photo()
    for position in range(30):
        image, = augment((blob,), 2, position, colour=0.02, photos={0: MEAN})
        assert 0 < abs(image - blob).mean() < 10


def test_depth_and_hha_have_no_colours_but_the_same_geometry(tmp_path):
    write_nyud(tmp_path / 'nyud', sizes=[(60, 80)])
    dataset = open_dataset('nyud', 'trainval', tmp_path / 'nyud', ('hha', 'color', 'depth', 'label'))
    assert photographs(dataset, colour=0.3) == {1: dataset.means['color']}
    assert photographs(dataset, mirror=True) == {}
    assert photographs(open_dataset('nyud', 'trainval', tmp_path / 'nyud', ('hha', 'label')), colour=0.3) == {}
    image, label = coded()
    sample = (image.copy(), image.copy(), image[:1].copy(), label)
    options = dict(ALL, colour=0.5, photos=photographs(dataset, colour=0.5))
    hha, color, depth, classes = augment(sample, 1, 3, **options)
    plain = augment((image, label), 1, 3, **ALL)
    np.testing.assert_array_equal(hha, plain[0])
    np.testing.assert_array_equal(depth, plain[0][:1])
    np.testing.assert_array_equal(classes, plain[1])
    assert color.shape == hha.shape and abs(color - hha).mean() > 1


def test_other_channels_have_no_colours(tmp_path):
    write_nyud(tmp_path / 'nyud')
    dataset = open_dataset('nyud', 'trainval', tmp_path / 'nyud')
    dataset.means = {'color': (1.0, 2.0, 3.0, 4.0)}
    with pytest.raises(BadInput, match='color of nyud has 4; leave colour out'):
        photographs(dataset, colour=0.3)


# As text.

def test_variations_as_text():
    assert parse('mirror,scale,crop,rotate,colour') == DEFAULTS
    assert parse(' crop=321 , mirror') == {'crop': 321, 'mirror': True}
    assert parse('scale=1-1.25,rotate=2.5,colour=1') == {'scale': (1, 1.25), 'rotate': 2.5, 'colour': 1}
    assert parse('crop', 300) == {'crop': 300} and parse('crop', 900) == {'crop': 400}
    for text in ('mirror,scale=0.5-2,crop=400,rotate=10,colour=0.2', 'rotate=0.5'):
        assert describe(parse(text)) == text


@pytest.mark.parametrize('text, complaint', [
    ('', "variation '' is unknown: choose from mirror, scale=SMALLEST-LARGEST, crop=PIXELS"),
    ('mirror,', "variation '' is unknown"), ('color', "variation 'color' is unknown"),
    ('mirror mirror', 'is unknown'), ('crop,mirror,crop=3', "variation 'crop' is given twice"),
    ('mirror=yes', 'variation mirror=yes: write mirror, such as mirror$'), ('mirror=1', 'write mirror'),
    ('scale=2', 'write scale=SMALLEST-LARGEST, such as scale=0.5-2$'), ('scale=2-1', 'give the smallest and the larg'),
    ('scale=0.5-2-3', 'write scale'), ('scale=0-1', 'give the smallest'), ('scale=nan-nan', 'give the smallest'),
    ('scale=1-inf', 'give the smallest'), ('crop=0', 'crop is 0'), ('crop=2.5', 'crop is 2.5'), ('crop=-3', 'crop is'),
    ('crop=', 'write crop=PIXELS, such as crop=400$'), ('crop=³', 'write crop'), ('rotate=nan', 'rotate is nan'),
    ('rotate=-3', 'rotate is -3'), ('rotate=200', 'rotate is 200'), ('colour=1.5', 'colour is 1.5'),
    ('colour=much', 'write colour=STRENGTH')])
def test_other_text_is_refused(text, complaint):
    with pytest.raises(BadInput, match=complaint) as problem:
        parse(text)
    assert '\n' not in str(problem.value)
