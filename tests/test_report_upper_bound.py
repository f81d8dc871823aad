"""The best that coarse predictions can do: worked out by hand, pixel by pixel, and from the command line."""
import doctest
import json

import numpy as np
import pytest

import cli
from data_layers import open_dataset
from report import upper_bound as bounds
from report.__main__ import main
from tests.helpers import datasets


@pytest.fixture
def voc(tmp_path):
    datasets.write_voc(tmp_path / 'data/pascal/VOC2011', sizes=[(70, 52), (33, 20)])
    return open_dataset('voc', 'val')


def test_worked_out_by_hand(monkeypatch):
    """Of a 4 x 4 image whose last column is another class, blocks of 4 see nothing, blocks of 2 too much."""
    labels = np.array([[0, 0, 0, 1]] * 4)
    np.testing.assert_array_equal(bounds.coarsen(labels, 4), np.zeros((4, 4)))
    np.testing.assert_array_equal(bounds.coarsen(labels, 2), [[0, 0, 1, 1]] * 4)
    np.testing.assert_array_equal(bounds.coarsen(labels, 1), labels)


def test_void_takes_the_class_of_its_nearest_neighbour():
    labels = np.array([[3, 255, 255, 255, 7]])
    filled = bounds.fill_void(labels)
    assert filled[0, [0, 1, 3, 4]].tolist() == [3, 3, 7, 7] and filled[0, 2] in (3, 7)
    assert (bounds.fill_void(np.full((3, 3), 255)) == 255).all()
    assert doctest.testmod(bounds).failed == 0


def slow_upper_bound(dataset, factor):
    """Mean IU over the classes of the truth, one pixel at a time."""
    true, guessed, both = np.zeros(21), np.zeros(21), np.zeros(21)
    for id in dataset.ids:
        labels = dataset.read('label', id)[0]
        height, width = labels.shape
        known = np.argwhere(labels != 255)
        for y, x in known:
            centre = [min(k // factor * factor + factor // 2, size - 1) for k, size in ((y, height), (x, width))]
            guess = labels[tuple(centre)]
            if guess == 255:    # straight up or down: in these data void is the first and the last row
                guess = labels[1 if centre[0] == 0 else height - 2, centre[1]]
            true[labels[y, x]] += 1
            guessed[guess] += 1
            both[guess] += guess == labels[y, x]
    there = true > 0
    return np.mean(both[there] / (true + guessed - both)[there])


def test_the_same_pixel_by_pixel(voc):
    found = bounds.upper_bound(voc, workers=1)
    for factor in (4, 16, 64):
        assert found['label'][factor] == pytest.approx(slow_upper_bound(voc, factor))
    assert found == bounds.upper_bound(voc, workers=2)


def test_both_tasks_of_sift_flow(tmp_path):
    datasets.write_siftflow(tmp_path / 'data/sift-flow')
    found = bounds.upper_bound(open_dataset('siftflow', 'test', tmp_path / 'data/sift-flow'), workers=1)
    assert set(found) == {'sem', 'geo'} and 0 < found['sem'][128] < found['sem'][4] <= 1


def test_the_command(voc, tmp_path, capsys):
    main(['upper-bound', 'voc', '--split', 'val', '--workers', '1', '--json', str(tmp_path / 'bound.json')])
    lines = capsys.readouterr().out.splitlines()
    found = json.loads((tmp_path / 'bound.json').read_text())
    assert lines[1].split() == ['factor', 'label', 'published']
    assert lines[4].split() == ['32', f'{100 * found["mean_iu"]["label"]["32"]:.1f}', '86.1']
    assert found['images'] == 3 and found['published']['4'] == 0.985


@pytest.mark.parametrize('arguments, said', [
    (['none'], 'no data set is called'), (['voc', '--workers', '0'], 'at least 1'),
    (['voc'], 'prepare'), (['nyud', '--root', '/nowhere'], 'prepare')])
def test_wrong_calls(arguments, said, capsys):
    assert cli.run(main, ['upper-bound', *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
