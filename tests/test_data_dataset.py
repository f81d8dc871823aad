"""What every data set inherits: its splits, which of them train, and the options of the layers that read it."""
import doctest
import importlib

import numpy as np
import pytest

from cli import BadInput
from data_layers import is_training, param_str
from data_layers.dataset import Dataset
from tests.helpers.datasets import save_lines


class Unpublished(Dataset):
    """A data set of which no paper says how many ids a split has."""
    name, title, source, home, marker = 'unpublished', 'Unpublished', 'nowhere', 'unpublished', 'lists'
    means = {'data': (1.0, 2.0, 3.0)}
    classes = {'label': ('background', 'thing')}

    @classmethod
    def lists(cls, root):
        return root / 'lists'


class Published(Unpublished):
    published = {'val': 2, 'train': 1, 'test': 3}


def test_without_published_splits_all_lists_are_splits(tmp_path):
    for split in ('val', 'mine', 'train'):
        save_lines(tmp_path / f'lists/{split}.txt', [split, f'{split}2'])
    assert Unpublished.splits(tmp_path) == ['mine', 'train', 'val']
    val = Unpublished('val', tmp_path)
    assert val.ids == ['val', 'val2'] and val.trained_on() == ['train', 'train2']
    with pytest.raises(BadInput, match=r'no split test: .*test.txt is missing \(present: mine, train, val\)'):
        Unpublished('test', tmp_path)


def test_published_splits_come_in_their_order(tmp_path):
    for split in ('train', 'mine', 'val'):
        save_lines(tmp_path / f'lists/{split}.txt', [split])
    assert Published.splits(tmp_path) == ['val', 'train']
    assert Published('mine', tmp_path).ids == ['mine']


@pytest.mark.parametrize('split', ['train', 'trainval', 'train_aug', 'sbd_train', '2012-train', 'trainaug', 'mytrain',
                                   'voctrainval', 'train2', 'mytrain2', 'my train'])
def test_training_splits(split):
    assert is_training(split)


@pytest.mark.parametrize('split', ['val', 'test', 'constrained', 'strain', 'restrained', 'constrain', 'strainval',
                                   'seg11valid', 'unrestrained_val', ''])
def test_other_splits(split):
    assert not is_training(split)


@pytest.mark.parametrize('options, text', [
    (dict(dataset='voc', split='val'), "{'dataset': 'voc', 'split': 'val'}"),
    (dict(split='val', dataset='voc', root='/a "b"', tops=['data', 'label']),
     "{'split': 'val', 'dataset': 'voc', 'root': '/a \"b\"', 'tops': ['data', 'label']}"),
    (dict(dataset='sbd', split='train', tops=('data', 'label'), seed=1337, mirror=True, scale=(0.5, 2)),
     "{'dataset': 'sbd', 'split': 'train', 'tops': ('data', 'label'), 'seed': 1337, 'mirror': True, "
     "'scale': (0.5, 2)}")])
def test_param_str_is_written_in_the_order_given_and_read_back(options, text):
    assert param_str.write(**options) == text
    assert param_str.parse(text) == options


def test_weights_are_written_and_read_back():
    text = param_str.write_weights(value / 4 for value in (1, 4, 10))
    assert text == '(0.25, 1.0, 2.5)'
    np.testing.assert_array_equal(param_str.parse_weights(text, 3), np.array([0.25, 1, 2.5], np.float32))
    with pytest.raises(BadInput, match='the 2 positive weights'):
        param_str.parse_weights(text, 2)


@pytest.mark.parametrize('name', ['dataset', 'palette', 'param_str', 'prepare', 'own.classlist'])
def test_examples_in_docstrings(name):
    found = doctest.testmod(importlib.import_module(f'data_layers.{name}'))
    assert found.attempted and not found.failed
