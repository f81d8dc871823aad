"""Classes that overlap: a plane of labels for each, SigmoidCrossEntropyLoss, precision and recall."""
import doctest
import json
from dataclasses import replace

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
from accel.ranks import Alone  # noqa: E402
from data_layers import __main__ as data_layers  # noqa: E402
from data_layers import open_dataset  # noqa: E402
from data_layers.layers import planes_of  # noqa: E402
from nets import infer  # noqa: E402
from report.page import write  # noqa: E402
from solvers import __main__ as solvers  # noqa: E402
from solvers import metrics, monitor, score  # noqa: E402
from solvers.folder import read_training  # noqa: E402
from solvers.foreign import check_training  # noqa: E402
from solvers.instance import instantiate  # noqa: E402
from solvers.loop import Passes, solve  # noqa: E402
from solvers.metrics import METRICS, OverlapCounts, from_json, to_json  # noqa: E402
from tests.helpers import folders  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.usefixtures('without_curves')]
SIGMOID = 'SigmoidCrossEntropyLoss'


def test_counts_by_hand():
    """Two classes, five pixels, the last one void."""
    truth = np.array([[[1, 1, 0, 0, 255]], [[0, 0, 0, 0, 255]]])
    counts = OverlapCounts(('road', 'wet'))
    counts.update(truth, counts.decide(np.array([[[2., -1., .5, -3., 9.]], [[0., -1., 1., -1., 9.]]])))
    assert counts.counts.tolist() == [[1, 1, 1, 1], [0, 1, 0, 3]]       # a score of 0 is a no
    scores = counts.compute()
    assert scores.precision == (0.5, 0.0) and scores.accuracy[0] == 0.5 and scores.iu[0] == pytest.approx(1 / 3)
    assert np.isnan(scores.accuracy[1]) and np.isnan(scores.iu[1])      # the truth lacks it: not in the means
    assert scores.summary() == dict(zip(METRICS, (5 / 8, 0.5, pytest.approx(1 / 3), pytest.approx(1 / 3)), strict=True))
    assert 'absent' in str(counts) and 'precision' in str(counts)
    known = json.loads(json.dumps(to_json(counts, 'road')))
    assert known['iu'] == [pytest.approx(1 / 3), None] and known['variants'] == {}
    assert np.array_equal(from_json(known).counts, counts.counts)
    assert doctest.testmod(metrics).failed == 0
    nothing = OverlapCounts(('road',)).compute()
    assert np.isnan(nothing.pixel_accuracy) and np.isnan(nothing.mean_iu)


def test_planes_of_indices():
    planes = planes_of(np.array([[[0, 2, 255]]], np.uint8), 3)
    assert planes.dtype == np.uint8 and planes.tolist() == [[[1, 0, 255]], [[0, 0, 255]], [[0, 1, 255]]]


def test_masks_of_their_own_for_each_class(tmp_path, capsys):
    made = folders.write_overlapping(tmp_path / 'own')
    train = open_dataset('folder', 'train', tmp_path / 'own')
    for id in train.ids:
        image, planes = train.load(id)
        assert image.shape == (3, 24, 32)
        np.testing.assert_array_equal(planes, made[id])
    assert cli.run(data_layers.main, ['check', str(tmp_path / 'own'), '--workers', '1', '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    labelled = sum((planes == 1).sum() for planes in made.values())
    shares = [float(sum((planes[k] == 1).sum() for planes in made.values()) / labelled) for k in (0, 1)]
    assert [row['share'] for row in found['classes']['label']] == pytest.approx(shares)
    for path in (tmp_path / 'own/masks').glob('*/p0.png'):
        path.unlink()
    with pytest.raises(cli.BadInput, match='leads to no mask'):
        train.load('p0')
    folders.save_png(tmp_path / 'own/masks/wet/p0.png', np.zeros((3, 3), np.uint8))
    with pytest.raises(cli.BadInput, match='3x3'):
        train.load('p0')
    folders.save_png(tmp_path / 'own/masks/road/p0.png', np.zeros((24, 32), np.uint8))
    with pytest.raises(cli.BadInput, match='another size'):
        train.load('p0')
    lists = tmp_path / 'own/train.tsv'
    lists.write_text(lists.read_text().replace('*', 'road'))
    with pytest.raises(cli.BadInput, match='without one'):
        open_dataset('folder', 'train', tmp_path / 'own')


@pytest.mark.parametrize('source', ['planes', 'indices'])
def test_trained_resumed_scored_and_reported(source, tmp_path, capsys):
    """On masks for each class, and on class indices made planes; scores are counted anew from the deploy net."""
    if source == 'planes':
        made, classes, options = folders.write_overlapping(tmp_path / 'own'), 2, {}
    else:
        labels = folders.write_own(tmp_path / 'own')
        made, classes, options = {id: planes_of(label[None], 3) for id, label in labels.items()}, 3, {'planes': True}
    folder = folders.write(tmp_path / 'net', tmp_path / 'own', folders.simple(classes), folders.loss(kind=SIGMOID),
                           folders.SOLVER.replace('base_lr: 0.01', 'base_lr: 1e-6'), **options)
    training = read_training(folder)
    check_training(training, folder, ())
    solve(training, tmp_path / 'whole')
    solve(replace(training, recipe=replace(training.recipe, iterations=4)), tmp_path / 'parts')
    matrices = solve(training, tmp_path / 'parts', resume=True)
    for name in ('metrics.jsonl', 'weights.caffemodel'):
        assert (tmp_path / 'whole' / name).read_bytes() == (tmp_path / 'parts' / name).read_bytes()
    ids = ('p2', 'p3')
    weights = tmp_path / 'whole/weights.caffemodel'
    predicted = [scores > 0 for scores in folders.predict(training, weights, tmp_path / 'own', ids)]
    scores = matrices['label'].compute()
    for k in range(classes):
        known = [made[id][k] != 255 for id in ids]
        true = [(made[id][k] == 1) & these for id, these in zip(ids, known, strict=True)]
        found = [one[k] & these for one, these in zip(predicted, known, strict=True)]
        hit = sum((a & b).sum() for a, b in zip(true, found, strict=True))
        either = sum((a | b).sum() for a, b in zip(true, found, strict=True))
        assert scores.iu[k] == pytest.approx(hit / either)
        assert scores.accuracy[k] == pytest.approx(hit / sum(a.sum() for a in true))
        if sum(b.sum() for b in found):
            assert scores.precision[k] == pytest.approx(hit / sum(b.sum() for b in found))
    again = solve(training, tmp_path / 'parts', resume=True)        # at its end: the scores on record
    np.testing.assert_array_equal(again['label'].counts, matrices['label'].counts)
    page = write([tmp_path / 'whole']).read_text()
    assert 'Precision and recall' in page and 'Confusion matrix' not in page and 'classes overlap' in page
    assert cli.run(solvers.main, ['runs', str(tmp_path)]) == 0
    assert f'{100 * scores.mean_iu:.1f}' in capsys.readouterr().out
    call = ['--net', str(tmp_path / 'whole'), '--cpu']
    assert cli.run(score.main, [*call, '--json', str(tmp_path / 's.json')]) == 0
    assert json.loads((tmp_path / 's.json').read_text())['tasks']['label']['mean_iu'] == pytest.approx(scores.mean_iu)
    assert cli.run(score.main, [*call, '--flip']) == 2 and 'overlap' in capsys.readouterr().err
    assert cli.run(infer.main, [*call, str(tmp_path / 'own/images'), '--out', str(tmp_path / 'out')]) == 0
    assert 'overlap; a picture has the strongest' in capsys.readouterr().err


def test_the_loss_at_chance_is_that_of_a_coin(tmp_path):
    """Scores of zero: ln 2 for each class at each labelled pixel, summed over an image."""
    folders.write_overlapping(tmp_path / 'own')
    folder = folders.write(tmp_path / 'net', tmp_path / 'own', folders.simple(2).replace('"msra"', '"constant"'),
                           folders.loss(kind=SIGMOID))
    training = read_training(folder)
    net = instantiate(training.fcn('train'), caffe.TRAIN)
    passes = Passes(net, training.fcn('train'), 1, 0, Alone())
    net.forward()
    labelled = int((net.blobs['label'].data != 255).sum())
    assert labelled == 2 * 23 * 32
    loss, pixel = passes.take_loss()
    assert loss == pytest.approx(labelled * np.log(2), rel=1e-4)
    assert pixel == pytest.approx(np.log(2), rel=1e-4) and passes.classes == 2
    assert 'ln(2)' in monitor.loss_at_chance([pixel], passes.classes)


@pytest.mark.parametrize('stated, divisor', [
    ('', 'known'), ('normalize: true', 'known'), ('normalize: false', 1), ('normalization: FULL', 24 * 32),
    ('normalization: VALID', 'known'), ('normalization: BATCH_SIZE', 1), ('normalization: NONE', 1),
    ('normalization: NONE normalize: true', 1)])
def test_the_loss_of_a_pixel_by_every_normalisation(stated, divisor, tmp_path):
    folders.write_own(tmp_path / 'own')
    losses = folders.loss().replace('ignore_label: 255', f'ignore_label: 255 {stated}') + folders.loss(
        'heavy', extra='loss_weight: 3')
    folder = folders.write(tmp_path / 'net', tmp_path / 'own', folders.simple().replace('"msra"', '"constant"'), losses)
    trained = read_training(folder).fcn('train')
    net = instantiate(trained, caffe.TRAIN)
    passes = Passes(net, trained, 1, 0, Alone())
    net.forward()
    known = int((net.blobs['label'].data != 255).sum())
    value = known * np.log(3) / (known if divisor == 'known' else divisor)
    assert float(net.blobs['loss'].data) == pytest.approx(value, rel=1e-5)
    assert passes.take_loss() == (pytest.approx(value + 3 * np.log(3), rel=1e-5), pytest.approx(np.log(3), rel=1e-5))
