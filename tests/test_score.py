"""The metrics against matrices worked out by hand."""
import math

import numpy as np
import pytest

from solvers.metrics import ConfusionMatrix, to_json, variants
from solvers.monitor import loss_at_chance, one_class, smooth


def test_metrics_of_a_matrix_worked_out_by_hand():
    #            predicted  a  b  c
    counts = np.array([[6, 2, 0],   # true a: 8 pixels, 6 right
                       [1, 3, 0],   # true b: 4 pixels, 3 right
                       [0, 0, 0]])  # true c: none
    matrix = ConfusionMatrix('abc')
    matrix.counts += counts
    scores = matrix.compute()
    assert scores.pixel_accuracy == pytest.approx(9 / 12)
    assert scores.mean_accuracy == pytest.approx((6 / 8 + 3 / 4) / 2)
    assert scores.iu[:2] == pytest.approx((6 / 9, 3 / 6)) and math.isnan(scores.iu[2])
    assert scores.mean_iu == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert scores.fw_iu == pytest.approx((8 * 6 / 9 + 4 * 3 / 6) / 12)
    assert 'absent' in str(matrix) and '75.0' in str(matrix)


def test_void_is_left_out_and_counts_add_up():
    truth = np.array([[0, 1, 255], [1, 1, 0]])
    prediction = np.array([[0, 1, 1], [0, 1, 0]])
    matrix = ConfusionMatrix(('a', 'b'))
    matrix.update(truth, prediction)
    assert matrix.counts.tolist() == [[2, 0], [1, 2]]
    matrix.update(truth, prediction)
    assert matrix.counts.tolist() == [[4, 0], [2, 4]]


def test_a_predicted_class_that_the_truth_lacks_costs_the_others():
    matrix = ConfusionMatrix('abc')
    matrix.update(np.array([0, 0, 1]), np.array([0, 2, 1]))
    scores = matrix.compute()
    assert scores.mean_iu == pytest.approx((1 / 2 + 1) / 2) and math.isnan(scores.iu[2])


def test_the_published_convention_counts_an_absent_class_that_was_predicted():
    matrix = ConfusionMatrix('abcd')
    matrix.update(np.array([0, 0, 1]), np.array([0, 2, 1]))    # c is predicted but absent, d is neither
    assert matrix.compute(published=True).mean_iu == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert matrix.compute(published=True).mean_accuracy == matrix.compute().mean_accuracy == pytest.approx(3 / 4)
    assert list(variants(matrix, None)) == ['absent classes counted as the published code does']


def test_a_class_left_out_of_the_truth_stays_an_error_as_a_prediction():
    matrix = ConfusionMatrix(('background', 'sky', 'sea'))
    matrix.counts += np.array([[5, 1, 0], [2, 6, 0], [0, 0, 4]])
    scores = variants(matrix, 'background')['without background']
    assert scores.pixel_accuracy == pytest.approx(10 / 12)
    assert scores.mean_iu == pytest.approx((6 / 8 + 1) / 2)


def test_no_pixel_at_all_has_no_score():
    assert math.isnan(ConfusionMatrix('ab').compute().mean_iu)
    assert to_json(ConfusionMatrix('ab'))['iu'] == [None, None]


def test_shapes_must_agree():
    with pytest.raises(ValueError, match='shape'):
        ConfusionMatrix('ab').update(np.zeros((2, 2), int), np.zeros((2, 3), int))


def test_a_run_that_does_not_learn_is_told_from_one_that_does():
    assert 'ln(21)' in loss_at_chance([math.log(21)] * 20, 21)
    assert loss_at_chance([0.8 * math.log(21)] * 20, 21) is None
    assert 'class 0' in one_class(np.array([[5, 0], [3, 0]]))
    assert one_class(np.array([[5, 0], [3, 1]])) is None
    assert one_class(np.array([[5, 0], [0, 0]])) is None  # the truth has but one class, too


def test_running_mean():
    assert smooth([1, 2, 3, 4], 2).tolist() == [1, 1.5, 2.5, 3.5]
