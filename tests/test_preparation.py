"""net.json: how a photograph becomes a net's input."""
import json

import numpy as np
import pytest

from cli import BadInput
from surgery import preparation
from surgery.preparation import Preparation

PHOTO = np.array([[[10, 20, 30], [40, 50, 60]]], np.uint8)      # 1 x 2 pixels of red, green, blue


@pytest.mark.parametrize('takes, expected', [
    (Preparation(), [[[30, 60]], [[20, 50]], [[10, 40]]]),
    (Preparation((1.0, 2.0, 3.0), 0.5), [[[14.5, 29.5]], [[9, 24]], [[3.5, 18.5]]]),
    (Preparation((1.0, 2.0, 3.0), order='rgb'), [[[7, 37]], [[18, 48]], [[29, 59]]]),
    (Preparation((5.0,), order='rgb'), [[[5, 35]], [[15, 45]], [[25, 55]]]),
    (Preparation((1.0, 2.0, 3.0), order='grey'), [[[16.15, 46.15]]]),
    (Preparation((5.0,), multiple=3), [[[25, 55, 0], [0, 0, 0], [0, 0, 0]], [[15, 45, 0], [0, 0, 0], [0, 0, 0]],
                                       [[5, 35, 0], [0, 0, 0], [0, 0, 0]]]),
])
def test_a_photograph_becomes_a_blob(takes, expected):
    blob = takes.blob(PHOTO)
    assert blob.dtype == np.float32 and blob.flags.c_contiguous
    np.testing.assert_allclose(blob, expected, rtol=1e-6)


def test_what_is_written_is_read(tmp_path):
    takes = Preparation((1.5, 2.0, 3.0), 0.25, 'rgb', 32, ('sky', 'sea'))
    takes.write(tmp_path)
    assert preparation.read(tmp_path / 'net.json') == takes


def test_keys_may_be_left_out(tmp_path):
    (tmp_path / 'net.json').write_text('{"mean": 117}')
    assert preparation.read(tmp_path / 'net.json') == Preparation((117.0,))


@pytest.mark.parametrize('known, says', [
    ([], 'no JSON object'), ({'means': 1}, "the unknown key 'means'"), ({'mean': [1, 2]}, 'the mean is of the wrong'),
    ({'mean': [1, 2, True]}, 'the mean'), ({'mean': [float('nan')] * 3}, 'the mean'), ({'scale': 0}, 'the scale'),
    ({'scale': '1'}, 'the scale'), ({'order': 'gbr'}, 'the order'), ({'order': []}, 'the order'),
    ({'multiple': 0}, 'the multiple'), ({'multiple': 2.0}, 'the multiple'), ({'multiple': True}, 'the multiple'),
    ({'classes': 'sky'}, 'the classes'), ({'classes': ['sky', 'sky']}, 'the classes'),
    ({'classes': [1]}, 'the classes'), ({'classes': ['']}, 'the classes'),
    ({'classes': [str(k) for k in range(256)]}, 'the classes')])
def test_a_wrong_value_is_named(known, says, tmp_path):
    (tmp_path / 'net.json').write_text(json.dumps(known))
    with pytest.raises(BadInput, match=r'net\.json.*') as refused:
        preparation.read(tmp_path / 'net.json')
    assert says in str(refused.value)
