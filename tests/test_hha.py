"""HHA images of rooms whose heights and directions are known, and of files of every kind."""
import io
import os
import pickle
import warnings

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import cli
from cli import BadInput
from data_layers import __main__ as command
from data_layers.hha import Camera, hha, normals
from data_layers.nyud import NYUD
from tests.helpers.rooms import CAMERA, NOISE, measured, room

OPTION = ['--camera', ','.join(map(str, CAMERA))]
ROOMS = [dict(pitch=15.0), dict(pitch=30.0, roll=5.0, height=1.2), dict(pitch=12.0, roll=-12.0, height=1.6),
         dict(pitch=42.0, roll=3.0, height=1.8), dict(pitch=20.0, roll=20.0, box=None, back=5.0)]


def degrees_between(a, b):
    return np.degrees(np.arccos(np.clip(a @ b, -1, 1)))


def heights(image):
    return image[..., 1].astype(float)


def angles(image):
    return image[..., 2].astype(float) - 38


def inside(surface, by=4):
    """Pixels whose neighbours belong to the same surface."""
    size = 2 * by + 1
    return ndimage.minimum_filter(surface, size) == ndimage.maximum_filter(surface, size)


@pytest.mark.parametrize('about', ROOMS)
def test_a_room_measured_exactly(about):
    truth = room(**about)
    scene = hha(truth.depth, Camera(*CAMERA))
    assert degrees_between(scene.gravity, truth.gravity) < 0.01
    assert scene.seen and scene.missing == 0 and abs(scene.camera - about.get('height', 1.4)) < 1e-3
    np.testing.assert_array_equal(scene.image[..., 0], np.clip(np.rint(31000 / (100 * truth.depth)), 0, 255))
    assert abs(heights(scene.image) - np.clip(100 * truth.height, 0, 255)).max() < 0.51 + 0.1
    assert abs(angles(scene.image) - truth.angle)[inside(truth.surface)].max() < 0.6
    assert scene.pitch == pytest.approx(about['pitch'], abs=0.01) or about.get('roll')
    assert len(np.unique(truth.surface)) > 2 and 0 in truth.surface


@pytest.mark.parametrize('about', ROOMS)
def test_a_room_with_noise_and_holes(about):
    truth = room(**about)
    values = measured(truth.depth)
    scene = hha(values / 1000, Camera(*CAMERA))
    known = values > 0
    assert degrees_between(scene.gravity, truth.gravity) < 0.25
    assert abs(scene.camera - about.get('height', 1.4)) < 0.01 and 0.1 < scene.missing < 0.15
    wrong = abs(heights(scene.image) - np.clip(100 * truth.height, 0, 255))[known]
    assert np.median(wrong) < 0.6 and np.percentile(wrong, 95) < 2
    for number in np.unique(truth.surface):
        of = inside(truth.surface) & known & (truth.surface == number)
        # Least squares over the 7 x 7 pixels, a tenth of them missing, tilt a plane at depth Z by so many degrees.
        expected = np.degrees(NOISE * CAMERA[0] / np.sqrt(0.9 * 7 * 7 * 4)) * truth.depth[of]
        if of.sum() > 200:
            assert np.median(abs(angles(scene.image) - truth.angle)[of] / expected) < 1
            assert np.median(abs(angles(scene.image) - truth.angle)[of]) < 7
    disparity = np.clip(np.rint(31e4 / values[known].astype(float)), 0, 255)
    np.testing.assert_array_equal(scene.image[..., 0][known], disparity)


def test_ceilings_walls_and_floors_have_their_bytes():
    """The convention that the mean of NYUDv2's third channel, 118.477 - 38 = 80 degrees, speaks for."""
    truth = room(pitch=-20, box=None, back=4)
    looking_up = hha(truth.depth, Camera(*CAMERA), height=1.4)
    assert {int(np.median(looking_up.image[..., 2][truth.surface == number])) for number in (1, 3)} == {128, 218}
    truth = room(pitch=20)
    looking_down = hha(truth.depth, Camera(*CAMERA))
    assert {int(np.median(looking_down.image[..., 2][truth.surface == number])) for number in (0, 1, 4)} == {38, 128}
    assert looking_down.pitch == pytest.approx(20, abs=0.01) and looking_up.pitch == pytest.approx(-20, abs=0.01)


def test_normals_are_those_of_least_squares():
    """One window after the other, solved as n . r = 1 / Z by numpy."""
    rng = np.random.default_rng(3)
    depth, camera = rng.uniform(1, 4, (14, 17)), Camera(20, 25, 7.3, 6.1)
    known = rng.random(depth.shape) < 0.7
    found, misfit = normals(depth, known, camera, 2)
    rows, columns = np.indices(depth.shape)
    rays = np.stack(((columns - 7.3) / 20, (rows - 6.1) / 25, np.ones(depth.shape)), -1)
    tried = 0
    for row, column in np.argwhere(np.isfinite(found[..., 0])):
        window = np.s_[max(row - 2, 0):row + 3, max(column - 2, 0):column + 3]
        there = known[window]
        target = 1 / depth[window][there]
        solution, (left,), _, _ = np.linalg.lstsq(rays[window][there], target)
        np.testing.assert_allclose(found[row, column], solution / np.linalg.norm(solution), atol=1e-9)
        assert misfit[row, column] == pytest.approx(np.sqrt(left / len(target)) / target.mean(), rel=1e-6)
        tried += 1
    assert tried > 100 and not np.isfinite(found[~known]).any()


def test_pixels_in_a_line_have_no_normal():
    known = np.zeros((20, 20), bool)
    known[10] = True
    known[np.arange(20), np.arange(20)] = True
    found, _ = normals(np.full((20, 20), 2.0), np.eye(20, dtype=bool), Camera(20, 20, 10, 10), 3)
    assert not np.isfinite(found).any()
    with pytest.raises(BadInput, match='no surface'):
        hha(np.eye(20) * 2, Camera(20, 20, 10, 10))


def test_missing_depth_is_that_of_the_nearest_pixel_and_counts_for_nothing():
    truth = room(pitch=25)
    depth = truth.depth.copy()
    depth[100:140, 150:200] = np.nan
    depth[:, :3] = -1
    depth[::7, ::5] = 0
    scene = hha(depth, Camera(*CAMERA))
    known = np.isfinite(depth) & (depth > 0)
    assert scene.missing == pytest.approx(1 - known.mean())
    assert degrees_between(scene.gravity, truth.gravity) < 0.01 and abs(scene.camera - 1.4) < 1e-3
    places = np.argwhere(known)
    for place in np.argwhere(~known)[::150]:
        away = ((places - place) ** 2).sum(1)
        nearest = {int(np.rint(310 / depth[tuple(places[number])])) for number in np.flatnonzero(away == away.min())}
        assert int(scene.image[tuple(place)][0]) in nearest


def test_one_wall_leaves_gravity_where_it_was():
    rng = np.random.default_rng(0)
    wall = 1 / (0.5 + rng.normal(0, 1e-3, (120, 160)))
    scene = hha(wall, Camera(130, 130, 80, 60))
    assert degrees_between(scene.gravity, np.array([0, 1, 0])) < 1 and abs(np.median(angles(scene.image)) - 90) < 2


def test_a_floor_out_of_sight_is_assumed_and_may_be_told():
    truth = room(height=0.5, pitch=20, ceiling=2.4)
    scene = hha(truth.depth, Camera(*CAMERA))
    assert not scene.seen and scene.camera == 1.3
    told = hha(truth.depth, Camera(*CAMERA), height=0.5)
    assert told.seen and told.camera == 0.5
    assert abs(heights(told.image) - 100 * truth.height).max() < 0.6


def test_wrong_points_below_the_floor_do_not_move_it():
    truth = room(pitch=25)
    depth = truth.depth.copy()
    rng = np.random.default_rng(1)
    depth[(rng.random(depth.shape) < 0.003) & (truth.surface == 0)] *= 1.5     # as mirrors make them
    scene = hha(depth, Camera(*CAMERA))
    assert abs(scene.camera - 1.4) < 0.005


# The command.

def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values, allow_pickle=True) if path.suffix == '.npy' else Image.fromarray(values).save(path)


def run(capsys, *arguments):
    status = cli.run(command.main, ['hha', *map(str, arguments), '--workers', '1'])
    out, errors = capsys.readouterr()
    return status, out, errors


@pytest.fixture(scope='module')
def millimetres():
    return np.rint(1000 * room(pitch=20).depth).astype(np.uint16)


def test_files_are_converted_for_the_nets(tmp_path, capsys, millimetres):
    """Into hha beside depth, where nets.infer looks for them; in the order of channels that NYUDv2's nets take."""
    save(tmp_path / 'data/depth/img_5001.png', millimetres)
    save(tmp_path / 'data/depth/img_5002.png', measured(room(pitch=30).depth))
    status, out, errors = run(capsys, tmp_path / 'data/depth', *OPTION)
    assert status == 0 and not errors and f'2 images written to {tmp_path}/data/hha' in out
    assert 'looks down by 20.0 to 30.' in out and '1.40 m above' in out and 'out of sight' not in out
    assert sorted(path.name for path in (tmp_path / 'data/hha').iterdir()) == ['img_5001.png', 'img_5002.png']
    blob = NYUD.read_image('hha', tmp_path / 'data/hha/img_5001.png')
    expected = np.stack((np.clip(np.rint(31e4 / millimetres), 0, 255), np.rint(100 * room(pitch=20).height)))
    assert abs(blob[:2] + np.reshape((132.431, 94.076), (2, 1, 1)) - expected).max() < 1.01
    assert (abs(blob[0] + 132.431 - expected[0]) < 1e-3).all()
    assert abs(blob[2] + 118.477 - 38 - room(pitch=20).angle)[inside(room(pitch=20).surface)].max() < 4


def test_every_kind_of_file_gives_the_same(tmp_path, capsys, millimetres):
    metres = (millimetres / 1000).astype(np.float32)
    for name, values in (('a.png', millimetres), ('b.tif', millimetres), ('c.tiff', millimetres.astype('>u2')),
                         ('d.npy', millimetres), ('e.npy', metres), ('f.tif', metres), ('g.npy', metres.astype('f8')),
                         ('h.npy', millimetres.astype('>i4')), ('i.tif', millimetres.astype(np.int32)),
                         ('j.npy', np.asfortranarray(metres))):
        save(tmp_path / 'depth' / name, values)
    assert run(capsys, tmp_path / 'depth', *OPTION, '--out', tmp_path / 'out')[0] == 0
    made = [np.asarray(Image.open(tmp_path / f'out/{name}.png')) for name in 'abcdefghij']
    for one in made[1:]:
        np.testing.assert_array_equal(one, made[0])


def test_the_largest_value_of_16_bits_is_no_depth(tmp_path, capsys, millimetres):
    places = np.random.default_rng(0).random(millimetres.shape) < 0.05
    for name, value in (('a.png', 0), ('b.png', 65535)):
        save(tmp_path / 'depth' / name, np.where(places, np.uint16(value), millimetres))
    assert f'{100 * places.mean():.1f} % of the depths' in run(capsys, tmp_path / 'depth', *OPTION)[1]
    one, two = (np.asarray(Image.open(tmp_path / f'hha/{name}.png')) for name in 'ab')
    np.testing.assert_array_equal(one, two)


def test_units_and_heights(tmp_path, capsys, millimetres):
    save(tmp_path / 'mm/a.png', millimetres)
    save(tmp_path / 'fifths/a.png', (millimetres * 5).astype(np.uint16))
    assert run(capsys, tmp_path / 'mm', *OPTION, '--out', tmp_path / '1')[0] == 0
    assert run(capsys, tmp_path / 'fifths', *OPTION, '--out', tmp_path / '2', '--unit', '0.0002')[0] == 0
    one, two = (np.asarray(Image.open(tmp_path / f'{n}/a.png')) for n in '12')
    np.testing.assert_array_equal(one, two)
    assert run(capsys, tmp_path / 'mm', *OPTION, '--out', tmp_path / '3', '--height', '1.5')[0] == 0
    three = np.asarray(Image.open(tmp_path / '3/a.png')).astype(int)
    assert abs(three[..., 1] - one[..., 1] - 10).max() <= 1


def test_what_is_there_is_kept_and_what_changed_is_made_again(tmp_path, capsys, millimetres):
    for name in 'abc':
        save(tmp_path / f'depth/{name}.png', millimetres + ord(name))
    out = tmp_path / 'hha'
    assert run(capsys, tmp_path / 'depth', *OPTION)[0] == 0
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / 'b.png').unlink()
    save(tmp_path / 'depth/c.png', millimetres)
    before = (out / 'a.png').stat().st_mtime_ns
    status, text, _ = run(capsys, tmp_path / 'depth', *OPTION)
    assert status == 0 and '2 images written' in text and ', 1 were there already' in text
    assert (out / 'a.png').stat().st_mtime_ns == before
    assert (out / 'b.png').read_bytes() == first['b.png'] and (out / 'c.png').read_bytes() != first['c.png']
    assert '0 images written' in run(capsys, tmp_path / 'depth', *OPTION)[1]
    assert '3 images written' in run(capsys, tmp_path / 'depth', *OPTION, '--height', 2)[1]


def test_one_bad_file_does_not_stop_the_others(tmp_path, capsys, millimetres):
    save(tmp_path / 'depth/a.png', millimetres)
    save(tmp_path / 'depth/b.png', 0 * millimetres)
    save(tmp_path / 'depth/c.png', millimetres)
    content = (tmp_path / 'depth/c.png').read_bytes()
    (tmp_path / 'depth/c.png').write_bytes(content[:len(content) // 2])
    (tmp_path / 'depth/notes.txt').write_text('x')
    status, out, errors = run(capsys, tmp_path / 'depth', *OPTION)
    warning, error = errors.splitlines()
    assert status == 1 and not out and '1 files that are not read: notes.txt' in warning
    assert '2 of 3 images were not made' in error and 'b.png has no depth at any pixel' in error and 'c.png' in error
    assert [path.name for path in (tmp_path / 'hha').iterdir()] == ['a.png']


@pytest.mark.parametrize('values, complaint', [
    (np.zeros((240, 320), np.uint16), 'a.png has no depth at any pixel'),
    (np.ones((240, 320), np.uint8), 'a.png is a L picture of 8 bits'),
    (np.ones((240, 320, 3), np.uint8), 'a.png is a RGB picture of 8 bits'),
    (np.full((1, 320), 2000, np.uint16), 'its centre 158.5,121 lies outside of'),
    (np.full((100, 100), 2000, np.uint16), 'its centre 158.5,121 lies outside of'),
    (np.full((240, 320), 3, np.uint16), 'has a median depth of 0.003 m; say with --unit')])
def test_pictures_that_hold_no_depth(values, complaint, tmp_path, capsys):
    save(tmp_path / 'depth/a.png', values)
    status, out, errors = run(capsys, tmp_path / 'depth', *OPTION)
    assert status == 2 and not out and errors.count('\n') == 1 and complaint in errors
    assert not (tmp_path / 'hha').exists()


class Evil:
    def __reduce__(self):
        return os.mkdir, ('/tmp/fcn-evil',)


@pytest.mark.parametrize('values, complaint', [
    (np.zeros((0, 320)), 'a.npy'), (np.ones((3, 240, 320)), 'shape (3, 240, 320)'), (np.array(2.0), 'shape ()'),
    (np.ones((240, 320), bool), 'type bool'), (np.ones((240, 320), np.int8), 'type int8'),
    (np.ones((240, 320), complex), 'type complex128'), (np.array([[Evil()]], object), 'a.npy cannot be read'),
    (np.full((240, 320), 2000.0), 'has a median depth of 2000 m; say with --unit'),
    (np.full((240, 320), np.nan), 'has no depth'), (np.full((240, 320), -np.inf), 'has no depth')])
def test_arrays_that_hold_no_depth(values, complaint, tmp_path, capsys):
    save(tmp_path / 'depth/a.npy', values)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        status, out, errors = run(capsys, tmp_path / 'depth', *OPTION)
    assert status == 2 and not out and errors.count('\n') == 1 and complaint in errors
    assert not os.path.exists('/tmp/fcn-evil')


def npz():
    content = io.BytesIO()
    np.savez(content, np.full((240, 320), 2.0))
    return content.getvalue()


@pytest.mark.parametrize('content', [b'', b'\x93NUMPY', b'no array', pickle.dumps(Evil()), npz(), b'PK\x03\x04',
                                     b'\x89PNG\r\n\x1a\n',
                                     b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': "
                                     b"(1000000, 1000000), }" + b' ' * 40 + b'\n'])
@pytest.mark.parametrize('suffix', ['.npy', '.png', '.tif'])
def test_corrupt_files(content, suffix, tmp_path, capsys):
    (tmp_path / 'depth').mkdir()
    (tmp_path / f'depth/a{suffix}').write_bytes(content)
    status, out, errors = run(capsys, tmp_path / 'depth', *OPTION)
    assert status == 2 and not out and errors.count('\n') == 1 and f'a{suffix}' in errors
    assert not os.path.exists('/tmp/fcn-evil')


@pytest.mark.parametrize('option', [
    '1,2,3', '1,2,3,4,5', '0,525,160,120', '525,-1,160,120', '525,nan,160,120', 'inf,1,1,1', 'a,b,c,d', '', '525'])
def test_cameras_that_are_none(option, tmp_path, capsys, millimetres):
    save(tmp_path / 'depth/a.png', millimetres)
    try:
        status, _, errors = run(capsys, tmp_path / 'depth', f'--camera={option}')
    except SystemExit as problem:       # of argparse
        status, errors = problem.code, capsys.readouterr().err
    assert status == 2 and errors.count('\n') == 1 and 'camera' in errors


@pytest.mark.parametrize('options, complaint', [
    (['--unit', '0'], '--unit 0: give'), (['--unit', 'nan'], '--unit nan'), (['--height', '-1'], '--height -1'),
    (['--out', 'depth'], 'which this command reads'), (['--out', 'depth/a.png'], 'not a folder'),
    (['--out', 'theirs'], 'was not made by python -m data_layers hha')])
def test_wrong_calls(options, complaint, tmp_path, capsys, millimetres, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / 'depth/a.png', millimetres)
    save(tmp_path / 'theirs/a.png', np.zeros((3, 4), np.uint8))
    before = (tmp_path / 'theirs/a.png').read_bytes()
    status, out, errors = run(capsys, 'depth', *OPTION, *options)
    assert status == 2 and not out and errors.count('\n') == 1 and complaint in errors
    assert (tmp_path / 'theirs/a.png').read_bytes() == before


def test_folders_without_depth(tmp_path, capsys, millimetres):
    (tmp_path / 'empty').mkdir()
    save(tmp_path / 'twice/a.png', millimetres)
    save(tmp_path / 'twice/a.tif', millimetres)
    (tmp_path / 'fifo').mkdir()
    os.mkfifo(tmp_path / 'fifo/a.png')
    os.mkfifo(tmp_path / 'fifo/b.npy')
    for name, complaint in (('none', 'is not a folder'), ('empty', 'has no depth image'),
                            ('fifo', 'not a regular file'), ('twice', 'would give images of one name')):
        status, out, errors = run(capsys, tmp_path / name, *OPTION)
        assert status == 2 and not out and errors.count('\n') == 1 and complaint in errors
