"""What a run tells of a pixel, what it keeps of its best, when it ends early, and what the command line may change."""
import json
import math
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
from data_layers import augment  # noqa: E402
from data_layers.voc import CLASSES  # noqa: E402
from nets import infer  # noqa: E402
from report import page  # noqa: E402
from solvers import __main__ as solvers  # noqa: E402
from solvers import best, capacity, monitor, preflight, score, snapshot  # noqa: E402
from solvers.folder import read_folder  # noqa: E402
from solvers.instance import instantiate, load, segment  # noqa: E402
from solvers.loop import solve  # noqa: E402
from solvers.metrics import ConfusionMatrix  # noqa: E402
from solvers.monitor import Splits  # noqa: E402
from solvers.options import Options, changed  # noqa: E402
from solvers.run import Run  # noqa: E402
from solvers.solve import parser, train  # noqa: E402
from solvers.source import facts, open_source, read_from  # noqa: E402
from surgery import read_weights  # noqa: E402
from tests.helpers import folders, tiny  # noqa: E402
from tests.helpers.datasets import save_jpeg, save_png, write_voc  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.usefixtures('without_curves')]
LIVELY = dict(base_lr=2e-5, score_every=4, snapshot=6)      # a rate at which scores go up and down


def scorings(run):
    """(step, mean IU) of every scoring on record."""
    return [(line['iteration'], line['scores']['label']['mean_iu']) for line in monitor.read(run / 'metrics.jsonl')
            if 'scores' in line]


def ended_by(patience, known):
    """The step at which that patience ends, and the best one before, told by counting."""
    for end in range(1, len(known) + 1):
        values = [value for _, value in known[:end]]
        first = values.index(max(values))
        if end - 1 - first >= patience:
            return known[end - 1][0], known[first][0]
    return None


def without_dropout(split):
    """The tiny net, whose passes are all alike."""
    net = tiny.fcn(split)
    kept = [layer for layer in net.layer if layer.type != 'Dropout']
    del net.layer[:]
    net.layer.extend(kept)
    return net


def command(training, *arguments):
    """What a net's solve.py does with a command line; its exit status."""
    return cli.run(lambda argv: train(training, parser('tiny').parse_args(argv)), [*map(str, arguments), '--cpu'])


@pytest.fixture
def quiet(monkeypatch):
    """No report is made."""
    monkeypatch.setattr('solvers.solve.tell_finished', lambda *_: None)


# ------------------------------------------------------------------------------------------------- the loss of a pixel

def test_the_loss_of_a_pixel_is_the_mean_of_minus_log_p(voc, capsys):
    """Beside numpy: of the scored split after the last step, over all its labelled pixels together."""
    run = voc / 'run'
    solve(tiny.training(8), run)
    lines = monitor.read(run / 'metrics.jsonl')
    assert lines[0]['pixel_loss'] == pytest.approx(np.log(21), rel=1e-5)     # scores start at zero
    net, losses = load(instantiate(tiny.fcn('deploy')), run / 'weights.caffemodel'), []
    dataset = open_source(tiny.fcn('val'))
    for id in dataset.ids:
        image, label = dataset.load(id)
        scores = segment(net, {'data': image})['score'].astype(float)
        logs = scores - np.log(np.exp(scores - scores.max(0)).sum(0)) - scores.max(0)
        rows, columns = np.nonzero(label[0] != 255)
        losses += list(-logs[label[0][rows, columns], rows, columns])
    assert 'scores' in lines[-1] and lines[-1]['pixel_loss'] == pytest.approx(np.mean(losses), rel=1e-4)
    assert ' a pixel' in capsys.readouterr().err
    assert json.loads((run / 'run.json').read_text())['chance'] == pytest.approx(math.log(21))
    row = solvers.table(voc).splitlines()[1].split()
    assert float(row[5]) == pytest.approx(np.mean([x['pixel_loss'] for x in lines if 'scores' not in x]), rel=1e-2)


def test_a_step_of_several_images_counts_their_pixels_together(voc):
    """The same two images, one after the other: the mean over the pixels of both."""
    solve(replace(tiny.training(1, iter_size=2), fcn=without_dropout), voc / 'two')
    net = instantiate(without_dropout('train'), caffe.TRAIN)
    from data_layers import layers
    layers.seek(0)
    counts = []
    for _ in range(2):
        net.forward()
        counts.append(int((net.blobs['label'].data != 255).sum()))
    line = monitor.read(voc / 'two/metrics.jsonl')[0]
    assert line['loss'] == pytest.approx(np.log(21) * np.mean(counts), rel=1e-5)
    assert line['pixel_loss'] == pytest.approx(np.log(21), rel=1e-5)


def test_both_losses_are_drawn_and_the_report_shows_them(voc, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv('FCN_DATA', str(voc / 'data'))
    solve(tiny.training(8, **LIVELY), voc / 'run')
    assert Image.open(voc / 'run/loss.png').size[0] == 1200
    text = page.write([voc / 'run']).read_text()
    assert 'Loss of a labelled pixel' in text and 'ln(21) = 3.04: guessing' in text and 'tiny, scored split' in text
    known = best.read(voc / 'run')
    assert f'its best mean IU was {100 * known["mean_iu"]:.1f}, after iteration {known["iteration"]}' in text
    lines = [{key: value for key, value in line.items() if key != 'pixel_loss'}     # as older runs have them
             for line in monitor.read(voc / 'run/metrics.jsonl')]
    (voc / 'run/metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    assert 'Loss of a labelled pixel' not in page.write([voc / 'run']).read_text()
    monitor.plot(voc / 'run', 'tiny', 3)
    assert Image.open(voc / 'run/loss.png').size[0] == 800
    solve(tiny.training(12, **LIVELY), voc / 'run', resume=True)


# ----------------------------------------------------------------------------------------------- the best, and patience

def test_the_best_weights_stay(voc, capsys):
    """They are those of a run that ends there, whatever is pruned, and score what their record says."""
    run = voc / 'runs/run'
    solve(tiny.training(40, **LIVELY), run, keep=1)
    known = scorings(run)
    step, mean_iu = max(known, key=lambda pair: (pair[1], -pair[0]))
    assert 0 < step < 40        # so that there is something to see
    assert best.read(run) == {'iteration': step, 'mean_iu': pytest.approx(mean_iu)}
    solve(tiny.training(step, **LIVELY), voc / 'short')
    assert (run / 'best.caffemodel').read_bytes() == (voc / 'short/weights.caffemodel').read_bytes()
    assert f'{100 * mean_iu:.1f}' in (table := solvers.table(voc)) and f'{step} (best.caffemodel)' in table
    weights = ['--weights', str(run / 'best.caffemodel'), '--cpu']
    assert cli.run(score.main, ['--net', str(run), *weights, '--json', str(voc / 's.json')]) == 0
    assert json.loads((voc / 's.json').read_text())['tasks']['label']['mean_iu'] == pytest.approx(mean_iu)
    images = str(voc / 'data/pascal/VOC2011/JPEGImages')
    assert cli.run(infer.main, ['--net', str(run), *weights, images, '--out', str(voc / 'out')]) == 0
    solve(tiny.training(1), voc / 'on', [run / 'best.caffemodel'])
    assert 'score_fr' in (voc / 'on/init.txt').read_text()


def test_best_weights_that_a_killed_run_did_not_come_to_are_made(voc):
    """Between snapshot and best: its record is gone, or both are those of an earlier step; a resumed run mends that."""
    solve(tiny.training(12, **LIVELY | dict(snapshot=4)), voc / 'whole')
    step = best.read(voc / 'whole')['iteration']
    for left in ('best.json', 'both'):
        run = voc / left
        solve(tiny.training(step, **LIVELY | dict(snapshot=4)), run)
        (run / 'best.json').unlink()
        if left == 'both':
            (run / 'best.caffemodel').unlink()
        solve(tiny.training(12, **LIVELY | dict(snapshot=4)), run, resume=True)
        for name in ('best.json', 'best.caffemodel', 'metrics.jsonl'):
            assert (run / name).read_bytes() == (voc / 'whole' / name).read_bytes()


def test_a_run_begun_anew_forgets_what_another_left(voc):
    run = voc / 'run'
    solve(tiny.training(4, **LIVELY), run)
    shutil.rmtree(run / 'snapshots')
    best_before = json.loads((run / 'best.json').read_text()) | {'mean_iu': 0.99}
    (run / 'best.json').write_text(json.dumps(best_before))
    solve(tiny.training(4, **LIVELY), run)
    assert best.read(run)['mean_iu'] < 0.99


def test_a_disk_without_room_for_the_best_is_told_and_training_goes_on(voc, monkeypatch, capsys):
    usage = shutil.disk_usage

    def full(path):
        return type(usage('/'))(9, 9, 0) if str(path).endswith('run') else usage(path)
    monkeypatch.setattr(shutil, 'disk_usage', full)
    monkeypatch.setattr('solvers.preflight.disk', lambda *_: None)
    solve(tiny.training(5, **LIVELY | dict(snapshot=5)), voc / 'run')
    assert 'step 4, the best so far, are not kept' in capsys.readouterr().err
    assert (voc / 'run/weights.caffemodel').is_file()


@pytest.mark.parametrize('patience', [1, 3])
def test_patience_ends_where_counting_says(patience, voc, capsys):
    solve(tiny.training(80, **LIVELY), voc / 'whole')
    end, top = ended_by(patience, scorings(voc / 'whole'))
    assert end < 80
    run, options = voc / 'run', Options(patience=patience)
    assert solve(tiny.training(80, **LIVELY), run, options=options)
    assert scorings(run)[-1][0] == end and snapshot.list_snapshots(run / 'snapshots')[-1].name == f'{end:08d}'
    assert f'better than that after step {top}: ended after step {end} of 80' in capsys.readouterr().err
    assert json.loads((run / 'run.json').read_text())['options'] == {'patience': patience}
    assert best.read(run)['iteration'] == top and (run / 'weights.caffemodel').is_file()
    assert ' finished ' in solvers.table(run)
    for stop in range(4, end, 4):       # cut short after a scoring, it ends there all the same
        parts = voc / f'parts{stop}'
        solve(tiny.training(stop, **LIVELY), parts, options=options)
        solve(tiny.training(80, **LIVELY), parts, resume=True, options=options)
        assert outcome(parts) == outcome(run)
    solve(tiny.training(80, **LIVELY), run, resume=True, options=options)
    assert scorings(run)[-1][0] == end      # nothing is added
    solve(tiny.training(80, **LIVELY), run, resume=True)
    assert (run / 'weights.caffemodel').read_bytes() == (voc / 'whole/weights.caffemodel').read_bytes()


def test_some_images_are_scored_on_the_way_and_all_at_the_end(voc):
    """Beside a run that scores all: the same weights; on the way, what those images alone come to."""
    ids = [f'{number:04d}' for number in range(7)]
    write_voc(voc / 'data/pascal/VOC2011', ids=ids, splits={'train': ids, 'seg11valid': ids})
    whole = solve(tiny.training(8, **LIVELY), voc / 'whole')
    some = solve(tiny.training(8, **LIVELY), voc / 'some', options=Options(score_images=3))
    assert (voc / 'some/weights.caffemodel').read_bytes() == (voc / 'whole/weights.caffemodel').read_bytes()
    assert (some['label'].counts == whole['label'].counts).all()
    assert json.loads((voc / 'some/evaluation/evaluation.json').read_text())['count'] == 7
    read = {name: [line for line in monitor.read(voc / name / 'metrics.jsonl') if 'scores' in line]
            for name in ('whole', 'some')}
    assert [line['iteration'] for line in read['some']] == [4, 8] == [line['iteration'] for line in read['whole']]
    dataset, matrix = open_source(tiny.fcn('val')), ConfusionMatrix(CLASSES)
    for id in ids[::3]:             # 7 images, 3 of which are at most 3 apart: 0, 3 and 6
        truth = dataset.read('label', id)[0]
        matrix.update(truth, np.asarray(Image.open(voc / f'some/evaluation/label/{id}.png')))
    known = matrix.compute()
    assert read['some'][-1]['scores']['label']['mean_iu'] == known.mean_iu
    assert read['some'][-1]['iu']['label'] == [None if value != value else value for value in known.iu]
    assert read['whole'][-1]['scores']['label']['mean_iu'] == whole['label'].compute().mean_iu


# --------------------------------------------------------------------------------------------------- the command line

def test_rate_and_iter_size_of_the_command_line_are_those_of_a_recipe(voc, quiet, capsys):
    solve(tiny.training(6, base_lr=3e-7, iter_size=2, score_every=6), voc / 'by-hand')
    training = tiny.training(6, score_every=6)
    assert command(training, '--run', voc / 'whole', '--base-lr', '3e-7', '--iter-size', 2) == 0
    assert outcome(voc / 'whole') == outcome(voc / 'by-hand')
    known = json.loads((voc / 'whole/run.json').read_text())
    assert known['options'] == {'base_lr': 3e-7, 'iter_size': 2}
    assert known['recipe']['base_lr'] == 3e-7 and known['recipe']['iter_size'] == 2
    assert command(training, '--run', voc / 'parts', '--base-lr', '3e-7', '--iter-size', 2, '--iterations', 5) == 0
    capsys.readouterr()
    for wrong in (('--base-lr', '1e-7'), ('--iter-size', 1), ('--batch', 2), ('--max-size', 20)):
        assert command(training, '--run', voc / 'parts', '--resume', *wrong) == 2
        told = capsys.readouterr().err
        assert len(told.splitlines()) == 1 and wrong[0] in told and 'was begun with' in told
    assert command(training, '--run', voc / 'parts', '--resume') == 0       # as it was begun
    assert (voc / 'parts/weights.caffemodel').read_bytes() == (voc / 'whole/weights.caffemodel').read_bytes()
    assert command(training, '--run', voc / 'parts', '--resume', '--base-lr', '3e-7') == 0      # which agrees
    assert json.loads((voc / 'parts/run.json').read_text())['options'] == known['options']


def outcome(run):
    return (run / 'metrics.jsonl').read_text(), (run / 'weights.caffemodel').read_bytes()


@pytest.mark.parametrize('wrong, said', [
    (('--base-lr', 0), 'above 0'), (('--base-lr', 'nan'), 'above 0'), (('--base-lr', 'inf'), 'above 0'),
    (('--iter-size', 0), 'from 1'), (('--batch', 0), 'from 1'), (('--max-size', 0), 'from 1'),
    (('--max-size', 2 ** 31), 'below 2^31'), (('--patience', -1), 'from 0'), (('--score-images', 0), 'from 1'),
    (('--batch', 2), '--iter-size 2')])
def test_a_wrong_option_is_one_line(wrong, said, voc, capsys):
    assert command(tiny.training(1), '--run', voc / 'run', *wrong) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1 and said in told and wrong[0] in told
    assert not (voc / 'run').exists()


def test_a_damaged_run_json_is_told(voc, quiet, capsys):
    assert command(tiny.training(2), '--run', voc / 'run', '--iterations', 1) == 0
    for damage in ({'options': 'x'}, {'options': {'batch': '2'}}, {'recipe': 3}):
        known = json.loads((voc / 'run/run.json').read_text())
        (voc / 'run/run.json').write_text(json.dumps(known | damage))
        capsys.readouterr()
        assert command(tiny.training(2), '--run', voc / 'run', '--resume') == 2
        assert 'run.json is damaged' in (told := capsys.readouterr().err) and len(told.splitlines()) == 1
        (voc / 'run/run.json').write_text(json.dumps(known))


def test_a_batch_is_a_step_of_as_many_passes(voc, quiet):
    """The same crops at the same positions: a batch of two, and two passes whose gradients are averaged."""
    def cropped(split):
        net = without_dropout(split)
        return read_from(net, crop=16) if split == 'train' else net
    training = replace(tiny.training(4, score_every=4), fcn=cropped)
    assert command(training, '--run', voc / 'batch', '--batch', 2) == 0
    assert command(training, '--run', voc / 'passes', '--iter-size', 2) == 0
    assert facts(Run(voc / 'batch').fcn('train'))['batch_size'] == 2
    first, other = (read_weights(voc / name / 'weights.caffemodel') for name in ('batch', 'passes'))
    for name, blobs in first.items():
        for blob, expected in zip(blobs, other[name], strict=True):
            np.testing.assert_allclose(blob, expected, rtol=1e-4, atol=1e-7)
    assert np.abs(first['score_fr'][0]).max() > 0
    losses = [[line['pixel_loss'] for line in monitor.read(voc / name / 'metrics.jsonl')]
              for name in ('batch', 'passes')]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_a_folder_of_prototxts_takes_the_options(tmp_path, monkeypatch, capsys):
    """`python -m solvers train`: they reach Caffe's solver file and the data layer, and the run's folder has them."""
    monkeypatch.setattr(solvers.solve, 'tell_finished', lambda *_: None)
    folders.write_own(tmp_path / 'own')
    folder = folders.write(tmp_path / 'net', tmp_path / 'own')
    call = ['train', str(folder), '--run', str(tmp_path / 'run'), '--cpu', '--base-lr', '0.004', '--iter-size', '3',
            '--max-size', '20', '--patience', '50', '--iterations']
    assert cli.run(solvers.main, [*call, '4']) == 0, capsys.readouterr().err
    solver = (tmp_path / 'run/solver.prototxt').read_text()
    assert 'base_lr: 0.004' in solver and 'iter_size: 3' in solver
    train, val = (facts(Run(tmp_path / 'run').fcn(split)) for split in ('train', 'val'))
    assert train['max_size'] == 20 and 'max_size' not in val
    assert json.loads((tmp_path / 'run/run.json').read_text())['options'] == {
        'base_lr': 0.004, 'iter_size': 3, 'max_size': 20, 'patience': 50}
    assert cli.run(solvers.main, ['train', str(folder), '--run', str(tmp_path / 'run'), '--cpu', '--resume']) == 0
    assert 'base_lr: 0.004' in (tmp_path / 'run/solver.prototxt').read_text()
    assert scorings(tmp_path / 'run')[-1][0] == 8


def test_a_folder_whose_images_fit_only_when_they_are_shrunk(tmp_path, monkeypatch, capsys):
    """Its check counts the images as the options change them."""
    monkeypatch.setattr(solvers.solve, 'tell_finished', lambda *_: None)
    folders.write_own(tmp_path / 'own', size=(48, 64))
    folder = folders.write(tmp_path / 'net', tmp_path / 'own')
    training = read_folder(folder).training
    train, val = map(training.fcn, training.phases)
    scoring = preflight.sizes(val, open_source(val), capacity.validating_bytes)
    needed = preflight.sizes(train, open_source(train), partial(capacity.training_bytes, type='SGD'), scoring)
    monkeypatch.setattr(capacity, 'available', lambda: scoring + needed - 1)
    call = ['train', str(folder), '--run', str(tmp_path / 'run'), '--cpu', '--iterations', '1']
    assert cli.run(solvers.main, call) == 2 and 'give --max-size' in capsys.readouterr().err
    assert cli.run(solvers.main, [*call, '--max-size', '32']) == 0, capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ the size of images

def triangle(old, new):
    """Weights, new x old, of a resampling whose filter is a triangle over `old / new` pixels on either side."""
    step = old / new
    centres = (np.arange(new) + 0.5) * step
    weights = np.maximum(0, 1 - np.abs(np.arange(old) + 0.5 - centres[:, None]) / step)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize('size, most', [((24, 32), 16), ((33, 20), 21), ((23, 31), 29), ((40, 3), 5)])
def test_images_are_shrunk_by_area_and_labels_by_nearest(size, most):
    rng = np.random.default_rng(0)
    image, label = rng.normal(0, 60, (3, *size)).astype(np.float32), rng.integers(0, 21, (1, *size), np.uint8)
    small, mask = augment.augment((image, label), 1, 0, max_size=most)
    height, width = (max(1, round(side * most / max(size))) for side in size)
    assert small.shape == (3, height, width) and mask.shape == (1, height, width) and max(height, width) == most
    expected = triangle(size[0], height) @ image.astype(float) @ triangle(size[1], width).T
    np.testing.assert_allclose(small, expected, atol=2e-3)
    rows, columns = (((np.arange(new) + 0.5) * old / new).astype(int) for old, new in zip(size, (height, width),
                                                                                         strict=True))
    np.testing.assert_array_equal(mask[0], label[0][np.ix_(rows, columns)])
    assert augment.size_of(*size, max_size=most) == (height, width)


def test_smaller_images_stay_and_the_scored_ones_too(voc, quiet):
    assert augment.augment((np.zeros((3, 24, 32), np.float32),), 1, 0, max_size=32)[0].shape == (3, 24, 32)
    training = changed(tiny.training(2), Options(max_size=16))
    net = instantiate(training.fcn('train'), caffe.TRAIN)
    for _ in range(6):
        net.forward()
        assert max(net.blobs['data'].shape[2:]) == 16 == max(net.blobs['label'].shape[2:])
    assert str(training.fcn('val')) == str(tiny.fcn('val'))
    assert str(changed(tiny.training(2), Options()).fcn('train')) == str(tiny.fcn('train'))
    assert command(tiny.training(6), '--run', voc / 'whole', '--max-size', 16) == 0
    assert command(tiny.training(6), '--run', voc / 'parts', '--max-size', 16, '--iterations', 4) == 0
    assert command(tiny.training(6), '--run', voc / 'parts', '--resume') == 0
    assert (voc / 'parts/weights.caffemodel').read_bytes() == (voc / 'whole/weights.caffemodel').read_bytes()


def test_a_rate_for_larger_images_is_told(voc, quiet, capsys):
    """Images of 24 x 32 and 33 x 20 pixels become 12 x 16 and 16 x 10: about a quarter of the pixels."""
    assert command(tiny.training(1), '--run', voc / 'a', '--max-size', 16) == 0
    told = capsys.readouterr().err
    ratio = np.median([24 * 32, 33 * 20, 24 * 32]) / np.median([12 * 16, 16 * 10, 12 * 16])
    assert f'{ratio:.2g} times fewer pixels' in told and f'--base-lr {1e-7 * ratio:.2g}' in told
    for name, more in (('b', ('--max-size', 31)), ('c', ('--max-size', 16, '--base-lr', '1e-7')), ('d', ())):
        assert command(tiny.training(1), '--run', voc / name, *more) == 0
        assert 'fewer pixels' not in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------- splits that part

@pytest.mark.parametrize('trained, held_out, said', [
    ([2, 1.5, 1.2, 1.0], [2, 2.1, 2.2, 2.3], True),
    ([2, 1.5, 1.2, 1.0], [2, 2.1, 2.05, 2.3], False),       # not each time
    ([2, 1.5, 1.2, 1.0], [2, 2.01, 2.02, 2.03], False),     # hardly
    ([1, 1.5, 1.2, 1.1], [2, 2.1, 2.2, 2.3], False),        # training gets worse too
    ([2, 1.5, 1.2], [2, 2.1, 2.3], False),                  # too early to tell
    ([3, 2, 1.5, 1.2, 1.0], [5, 2, 2.1, 2.2, 2.3], True)])
def test_splits_that_part_are_told(trained, held_out, said):
    splits = Splits()
    for loss, held in zip(trained, held_out, strict=True):
        for noise in (-0.01, 0.01):
            splits.add(loss + noise, scored=False)
        splits.add(held, scored=True)
    assert bool(splits.parted()) == said


def test_a_real_run_whose_splits_part_says_so_once(tmp_path, capsys):
    """What is bright is a road in training and a car among the held-out: what is learnt is wrong there."""
    own = tmp_path / 'own'
    folders.write_own(own)
    for number in range(4):
        bright = np.arange(32) % 8 < 4
        save_jpeg(own / f'images/p{number}.jpg', np.broadcast_to(np.where(bright, 220, 40)[None, :, None], (24, 32, 3)
                                                                 ).astype(np.uint8))
        classes = (1, 2) if number < 2 else (2, 1)
        save_png(own / f'masks/p{number}.png', np.broadcast_to(np.where(bright, *classes), (24, 32)).astype(np.uint8))
    folder = folders.write(tmp_path / 'net', own, solver=folders.SOLVER.replace('0.01', '0.001'))
    from solvers.folder import read_training
    training = read_training(folder)
    training = replace(training, recipe=replace(training.recipe, iterations=40, score_every=4, snapshot=10))
    solve(training, tmp_path / 'run')
    told = capsys.readouterr().err
    assert told.count('the scored split parts from training') == 1
    lines = monitor.read(tmp_path / 'run/metrics.jsonl')
    (line,) = [line for line in lines if 'warning' in line]
    at = [x['iteration'] for x in lines if 'scores' in x].index(line['iteration'])
    held = [x['pixel_loss'] for x in lines if 'scores' in x]
    assert held[at - 3] < held[at - 2] < held[at - 1] < held[at]
    for stop in (line['iteration'] - 4, line['iteration'], line['iteration'] + 4):
        parts = tmp_path / f'parts{stop}'
        solve(replace(training, recipe=replace(training.recipe, iterations=stop)), parts)
        solve(training, parts, resume=True)
        assert (parts / 'metrics.jsonl').read_text() == (tmp_path / 'run/metrics.jsonl').read_text()
    assert 'the scored split parts from training' in page.write([tmp_path / 'run']).read_text()
