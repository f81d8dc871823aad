"""The FCN-score against counts made pixel by pixel, and the command from generated frames to JSON."""
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
from data_layers.cityscapes import SCORED  # noqa: E402
from report import fcn_score  # noqa: E402
from report.__main__ import main  # noqa: E402
from report.frames import label_files, match  # noqa: E402
from solvers.instance import segment  # noqa: E402
from solvers.metrics import METRICS, ConfusionMatrix  # noqa: E402
from surgery import write_weights  # noqa: E402
from tests.helpers import datasets, narrow_nets  # noqa: E402

pytestmark = pytest.mark.caffe
ROOT = Path(__file__).resolve().parent.parent
NET = 'cityscapes-fcn8s'
NUMBERS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]     # of the 19 classes, in order
IDS = [f'frankfurt_000000_{n:06d}' for n in (294, 576, 1016, 1236)]
SIZE = (48, 80)


def by_the_script(frames):
    """The FCN-score by the published definition, pixel by pixel, of (truth, prediction) pairs; and frames it drops.

    Cells of the table are numbered in one row, 19 true + predicted, and one beyond the table drops the frame.
    """
    cells, dropped = [0] * 361, 0
    for truth, prediction in frames:
        numbers = [19 * int(t) + int(p) for t, p in zip(truth.flat, prediction.flat, strict=True) if t < 19]
        if any(number >= 361 for number in numbers):
            dropped += 1
            continue
        for number in numbers:
            cells[number] += 1
    right = [cells[20 * k] for k in range(19)]
    true = [sum(cells[19 * k:19 * k + 19]) for k in range(19)]
    predicted = [sum(cells[k::19]) for k in range(19)]
    accuracy = sum(right) / (sum(cells) + 1e-12)
    per_class = sum(r / (t + 1e-12) for r, t in zip(right, true, strict=True)) / 19
    iu = sum(r / (t + p - r + 1e-12) for r, t, p in zip(right, true, predicted, strict=True)) / 19
    return (accuracy, per_class, iu), dropped


@pytest.mark.parametrize('held', [0, 0.02])
def test_counts_pixel_by_pixel(held):
    """With frames that the script drops, pixels that it counts in the wrong place, absent classes, and void."""
    rng = np.random.default_rng(0)
    frames = {}
    for id in IDS:
        truth = rng.choice([0, 1, 2, 8, 13, 17, 255], (20, 30)).astype(np.uint8)        # no bicycles, 18
        prediction = np.where(rng.random(truth.shape) < 0.6, truth % 19, rng.integers(19, size=truth.shape))
        prediction[rng.random(truth.shape) < held] = 19
        frames[id] = truth, prediction.astype(np.uint8)
    for id in IDS[:2]:
        frames[id][0][3, 4] = 18
        frames[id][1][3, 4] = 19 if held and id == IDS[0] else 18
    found = fcn_score.evaluate({id: fcn_score.count(*frame) for id, frame in frames.items()})
    expected, dropped = by_the_script(frames.values())
    first, without, every = found.scores.values()
    np.testing.assert_allclose(first, expected, rtol=1e-12)
    assert found.dropped == IDS[:dropped] and dropped == (held > 0)
    known = [(t[t < 19], p[t < 19]) for t, p in frames.values()]
    assert found.held == [id for id, (_, p) in zip(IDS, known, strict=True) if (p == 19).any()]
    assert found.miscounted == sum((p == 19).sum() for _, p in known[dropped:]) and (found.miscounted > 0) == (held > 0)
    np.testing.assert_allclose(without, by_the_script(
        [frame for id, frame in frames.items() if id not in found.held])[0], rtol=1e-12)
    matrix = ConfusionMatrix([*SCORED, 'unused'])
    for frame in frames.values():
        matrix.update(*frame)
    usual = matrix.compute()
    assert found.matrix.counts.tolist() == matrix.counts.tolist()
    present = sum(accuracy == accuracy for accuracy in usual.accuracy)
    np.testing.assert_allclose(every, (usual.pixel_accuracy, usual.mean_accuracy * present / 20,
                                       np.nansum(usual.iu) / 20), rtol=1e-10)


def test_a_table_worked_out_by_hand():
    counts = np.zeros((19, 20), np.int64)
    counts[0, 0], counts[0, 1], counts[1, 1], counts[1, 19] = 6, 2, 3, 1     # sidewalk taken for the 20th class
    table = fcn_score.as_published(counts)
    assert table[2, 0] == 1 and table.sum() == 12           # becomes a building taken for road
    assert fcn_score.score(table) == pytest.approx((9 / 12, (6 / 8 + 3 / 3 + 0) / 19, (6 / 9 + 3 / 5 + 0) / 19))
    counts[18, 19] = 1                                      # bicycle: beyond the table
    assert fcn_score.as_published(counts) is None
    assert fcn_score.score(np.zeros((19, 19), int)) == (0, 0, 0)


@pytest.fixture
def city(tmp_path, monkeypatch):
    """A narrow net in place of the published one; four generated frames, one of half the size; and labels."""
    (tmp_path / 'weights').mkdir()
    path = narrow_nets.stand_in(monkeypatch, NET, tmp_path / 'weights/fcn-8s-cityscapes.caffemodel')
    _, net = narrow_nets.alive(NET)
    rng = np.random.default_rng(3)
    blocks = [rng.integers(0, 256, (6, 10, 3)).astype(np.uint8) for _ in IDS]
    predictions, truths = {}, {}
    for id, block in zip(IDS, blocks, strict=True):
        size = SIZE if id != IDS[-1] else (24, 40)
        pixels = np.kron(block, np.ones((size[0] // 6, size[1] // 10, 1))).astype(np.uint8)
        datasets.save_png(tmp_path / f'fake/{id}_leftImg8bit.png', pixels)
        image = np.asarray(Image.fromarray(pixels).resize(SIZE[::-1], Image.BILINEAR), float)[:, :, ::-1]
        blob = (image - (72.78044, 83.21195, 73.45286)).transpose(2, 0, 1).astype(np.float32)
        predictions[id] = segment(net, {'data': blob})['score'].argmax(0)
        truths[id] = np.where(rng.random(SIZE) < 0.7, predictions[id] % 19, rng.integers(0, 5, SIZE))
        truths[id][truths[id] == 18] = 17
    for row in (predictions[IDS[1]] == 19).nonzero()[0][:1]:
        truths[IDS[1]][row] = 18        # whose row has a pixel that is taken for the 20th class
    for id, truth in truths.items():
        datasets.save_png(tmp_path / f'gtFine/val/frankfurt/{id}_gtFine_labelIds.png',
                          np.array(NUMBERS, np.uint8)[truth])
    return tmp_path, path, predictions, truths


def test_the_command(city, capsys):
    folder, path, predictions, truths = city
    assert cli.run(main, ['fcn-score', str(folder / 'fake'), '--truth', str(folder), '--json', str(folder / 'x.json'),
                          '--cpu']) == 0
    out, found = capsys.readouterr().out, json.loads((folder / 'x.json').read_text())
    expected, dropped = by_the_script([(truths[id], predictions[id]) for id in IDS])
    assert [found[name] for name in fcn_score.METRICS] == pytest.approx(expected) and expected[0] > 0.3
    assert dropped == 1 and found['dropped'] == [IDS[1]] and IDS[1] in found['hold_20th_class']
    assert f'1 of 4 frames are dropped without a word, since bicycles in them are taken for the 20th class: {IDS[1]}' \
        in out
    assert f'{expected[0]:.4f}' in out and '0.80?' in out and '0.17?' in out
    assert found['resized'] == {'40x24': 1} and '1 of 4 frames are resized, from 40x24 to 80x48 pixels' in out
    absent = [name for k, name in enumerate(SCORED) if not any((truth == k).any() for truth in truths.values())]
    assert found['absent_classes'] == absent
    matrix = ConfusionMatrix([*SCORED, 'unused'])
    for id in IDS:
        matrix.update(truths[id], predictions[id])
    usual = matrix.compute().summary()
    assert {name: found['usual'][name] for name in METRICS} == pytest.approx(usual)
    assert f'mean iu {100 * usual["mean_iu"]:.1f}' in out and found['frames'] == 4


def test_what_is_left_out_is_said(city, capsys):
    folder, *_ = city
    (folder / f'fake/{IDS[0]}_leftImg8bit.png').unlink()
    (folder / f'fake/{IDS[2]}_leftImg8bit.png').rename(folder / f'fake/{IDS[2]}_fake_B.png')
    datasets.save_png(folder / 'fake/x.png', np.zeros((4, 4, 3), np.uint8))
    datasets.save_png(folder / f'fake/{IDS[0]}7_leftImg8bit.png', np.zeros((4, 4, 3), np.uint8))    # another frame
    for truth in ('gtFine/val', 'gtFine', 'gtFine/val/frankfurt'):
        assert cli.run(main, ['fcn-score', str(folder / 'fake'), '--truth', str(folder / truth), '--cpu',
                              '--json', str(folder / 'x.json')]) == 0
        found, out = json.loads((folder / 'x.json').read_text()), capsys.readouterr().out
        assert found['without_frame'] == [IDS[0]] and found['frames'] == 3
        assert [Path(name).name for name in found['without_truth']] == [f'{IDS[0]}7_leftImg8bit.png', 'x.png']
        assert f'1 labels have no generated frame and are left out, where the published script fails: {IDS[0]}' in out


def test_of_several_pictures_of_a_frame_the_published_name_counts(tmp_path):
    for name in ('_leftImg8bit', '_leftImg8bit_real_A', '_leftImg8bit_fake_B'):
        datasets.save_png(tmp_path / f'fake/{IDS[0]}{name}.png', np.zeros((4, 4, 3), np.uint8))
    labels = {IDS[0]: tmp_path / 'label.png'}
    assert match(tmp_path / 'fake', labels).pairs[IDS[0]][0].stem == f'{IDS[0]}_leftImg8bit'
    (tmp_path / f'fake/{IDS[0]}_leftImg8bit.png').unlink()
    with pytest.raises(cli.BadInput, match='2 pictures of .*fake_B.png, .*real_A.png'):
        match(tmp_path / 'fake', labels)


def break_png(path):
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize('change, said', [
    (lambda fake, truth: break_png(fake), 'fake.*cannot be read'),
    (lambda fake, truth: break_png(truth), 'labelIds.png cannot be read'),
    (lambda fake, truth: datasets.save_png(truth, np.full((5, 5), 7, np.uint8)), 'is 5x5 pixels, other .* are 80x48'),
    (lambda fake, truth: datasets.save_png(truth, np.zeros((*SIZE, 3), np.uint8)), 'RGB picture, not class indices'),
    (lambda fake, truth: datasets.save_png(truth, np.full(SIZE, 77, np.uint8)), 'label value 77'),
    (lambda fake, truth: datasets.save_png(fake, np.zeros(SIZE, np.uint16)), 'more than 8 bits'),
    (lambda fake, truth: [path.rename(path.with_name(f'x{path.name}')) for path in fake.parent.iterdir()],
     'no picture of any of the 4 labelled frames: call them as in frankfurt_000000_000294_leftImg8bit.png'),
    (lambda fake, truth: [path.unlink() for path in truth.parent.iterdir()], 'has no labels'),
    (lambda fake, truth: fake.parent.rename(fake.parent.with_name('gone')), 'is no folder'),
    (lambda fake, truth: datasets.save_png(truth.parent.parent / f'ulm/{truth.name}', np.zeros(SIZE, np.uint8)),
     'several label files of'),
])
def test_hostile_input(city, capsys, change, said):
    folder, *_ = city
    change(folder / f'fake/{IDS[1]}_leftImg8bit.png', folder / f'gtFine/val/frankfurt/{IDS[1]}_gtFine_labelIds.png')
    assert cli.run(main, ['fcn-score', str(folder / 'fake'), '--truth', str(folder), '--cpu', '--json',
                          str(folder / 'x.json')]) == 2
    error = capsys.readouterr().err
    assert re.search(said, error) and len(error.splitlines()) == 1 and not (folder / 'x.json').exists()


def test_weights_that_are_missing_or_of_another_net(city, capsys, tmp_path):
    folder, path, *_ = city
    call = ['fcn-score', str(folder / 'fake'), '--truth', str(folder), '--cpu']
    write_weights(tmp_path / 'other', {'conv1_1': [np.ones((8, 3, 3, 3), 'f'), np.ones(8, 'f')]})
    path.unlink()
    for options, said in (([], f'{path} is missing: python -m nets weights cityscapes-fcn8s fetches'),
                          (['--weights', str(tmp_path / 'other')], 'holds no weights for'),
                          (['--weights', str(tmp_path / 'no')], 'no such caffemodel'),
                          (['--weights', str(tmp_path / 'other'), '--tile', '40'], 'tiles of this net have at least')):
        assert cli.run(main, [*call, *options]) == 2
        error = capsys.readouterr().err
        assert said in error and len(error.splitlines()) == 1


def test_tiles_are_those_of_the_whole_frame(tmp_path):
    """Of a strip as wide as a frame of Cityscapes, three tiles make what all of it makes."""
    from solvers.segmenting import segment_image
    from solvers.tiles import pieces, tiling
    parameter, net = narrow_nets.alive(NET)
    rng = np.random.default_rng(0)
    frame = np.kron(rng.integers(0, 256, (2, 64, 3)), np.ones((32, 32, 1))).astype(np.uint8)
    datasets.save_png(tmp_path / 'frame.png', frame)
    cut = tiling(parameter, fcn_score.TILE)
    assert cut.overlap >= cut.enough
    found = fcn_score.segment(net, tmp_path / 'frame.png', (64, 2048), cut)
    blob = (frame[:, :, ::-1] - np.array((72.78044, 83.21195, 73.45286))).transpose(2, 0, 1).astype(np.float32)
    assert len(list(pieces({'data': blob}, cut))) == 3
    whole = segment_image(net, {'data': blob})['score'].labels
    assert np.mean(found != whole) < 1e-5 and len(np.unique(whole)) > 3


WEIGHTS = f"""
import sys
import numpy as np
import nets
from solvers.instance import instantiate
from surgery import write_weights
params = instantiate(nets.load("{NET}").fcn("deploy")).params
write_weights(sys.argv[1], {{name: [np.full(blob.data.shape, 1e-3, 'f') for blob in params[name]] for name in params}})
"""
# Its own peak: ru_maxrss begins at that of the process that started it.
SCORED_AND_MEASURED = """
import sys
from report.__main__ import main
main(sys.argv[1:])
print(next(1024 * int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM')))
"""


@pytest.mark.slow
def test_a_frame_of_cityscapes_takes_3_gb(tmp_path):
    """The published net at its full width, in a process of its own."""
    datasets.save_png(tmp_path / f'fake/{IDS[0]}_leftImg8bit.png', np.eye(256, dtype=np.uint8) * 255)
    datasets.save_png(tmp_path / f'gtFine/val/frankfurt/{IDS[0]}_gtFine_labelIds.png',
                      np.full((1024, 2048), 7, np.uint8))
    subprocess.run([sys.executable, '-c', WEIGHTS, str(tmp_path / 'w')], cwd=ROOT, check=True)
    done = subprocess.run([sys.executable, '-c', SCORED_AND_MEASURED, 'fcn-score', str(tmp_path / 'fake'), '--truth',
                           str(tmp_path), '--weights', str(tmp_path / 'w'), '--cpu'],
                          cwd=ROOT, check=True, capture_output=True, text=True)
    assert int(done.stdout.splitlines()[-1]) <= 3e9, done.stdout


def test_labels_are_found_in_the_folders_of_cities(tmp_path):
    datasets.write_cityscapes(tmp_path)
    assert list(label_files(tmp_path)) == ['frankfurt_000000_000294']
