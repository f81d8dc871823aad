"""Masks that fit a list of classes in several ways: what is said of them, on cases of which the truth is known."""
import argparse

import numpy as np
import pytest
from scipy import ndimage

from cli import BadInput
from data_layers.own import classlist, layouts
from data_layers.own.evidence import measure
from data_layers.own.survey import survey
from nets.new import arguments, new
from tests.helpers import own
from tests.helpers.ambiguous_masks import NOTHING, Case, bands, cases, counted, of, seams, slivers
from tests.helpers.datasets import save_jpeg, save_lines

SEED = 2026


def look(folder):
    return survey(folder, layouts.find(folder, seed=1), 1)


def told_first(found):
    """The list that is told first, of those that are printed whole."""
    blocks = []
    for text in found.lists:
        if text.startswith('  '):
            blocks[-1].append(text[2:])
        else:
            blocks.append([])
    return blocks


def expected(case):
    """The list that is right, by the truth of the case."""
    names, (value, _, word) = case.names(case.words()), case.truth.partition(' ')
    if case.truth == 'from 1':
        return [f'{number} {name}' for number, name in enumerate(names, 1)]
    rest = iter(names)
    return [f'{number} {word if number == int(value) else next(rest)}' for number in range(len(names) + 1)]


def test_the_list_told_first_is_the_right_one(tmp_path):
    rows, right, every = [], 0, cases()
    for number, case in enumerate(every):
        folder = tmp_path / str(number)
        case.write(folder, SEED)
        found = look(folder)
        assert len(found.mistakes) == 1, case.title
        blocks = told_first(found)
        good = blocks[0] == expected(case)
        right += good
        odd = {*blocks[0]} - {*expected(case)}
        rows.append(f'{case.title:58} {case.truth:14} {"right" if good else f"wrong: {sorted(odd)}"}')
        assert len(blocks) == (1 if case.truth == 'from 1' else 2), 'both remedies'
        assert case.truth == 'from 1' or 'from 1, the list from 0' not in found.mistakes[0], 'masks with zeros'
        if good and 'NAME' not in case.truth:       # what is told can be written down, and means what is true
            save_lines(folder / 'classes.txt', blocks[0])
            means = {entry.number: entry.name for entry in classlist.read(folder / 'classes.txt').entries}
            assert [means[case.number(k)] for k in range(case.classes)] == case.words()
            assert 'void' not in case.truth or means[case.number(NOTHING)] is None
    print('\n' + '\n'.join(rows) + f'\n{right} of {len(every)} right')
    assert len(every) >= 40 and right == len(every)


def test_nothing_is_written_and_both_lists_are_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('FCN_DATA', str(tmp_path / 'data'))
    case = Case('', '11 void', 'street', 11, 6, unlabelled=of(slivers, 0.04), number=counted(11))
    case.write(tmp_path / 'street', SEED)
    parser = argparse.ArgumentParser()
    arguments(parser)
    (tmp_path / 'nets').mkdir()
    with pytest.raises(BadInput) as refused:
        new(parser.parse_args(['street', '--data', str(tmp_path / 'street'), '--workers', '1']), tmp_path / 'nets')
    told, out = str(refused.value), capsys.readouterr().out
    assert '\n' not in told and 'most likely 11 is void and the classes count from 0' in told
    assert '"0 sky", "1 building", "2 pole", ..., "11 void"' in told
    assert 'if 0 is void and the classes count from 1, write "0 void", "1 sky"' in told
    assert 'of the pixels, in 6 of 6 masks' in told and 'count the 11' not in told
    assert '  10 bicyclist\n  11 void' in out and '  11 bicyclist' in out
    assert not (tmp_path / 'data').exists() and not [*(tmp_path / 'nets').iterdir()]


@pytest.mark.parametrize('last', ['11 void', '10 R G B NAME'])
def test_what_is_told_of_a_list_with_colours_can_be_written_down(last, tmp_path):
    """void needs no colour, and one more class is told with a place for its own."""
    void = last == '11 void'
    case = Case('', '', 'street', 11, 6, unlabelled=of(slivers, 0.04) if void else None, number=counted(11))
    case.write(tmp_path, SEED)
    words = case.words() if void else case.words()[:10]
    coloured = [f'{7 * k} {5 * k} {3 * k} {word}' for k, word in enumerate(words, 1)]
    save_lines(tmp_path / 'classes.txt', coloured)
    lines = told_first(look(tmp_path))[0]
    assert lines == [*(f'{k} {line}' for k, line in enumerate(coloured)), last]
    save_lines(tmp_path / 'classes.txt', [line.replace('R G B NAME', '1 2 3 rest') for line in lines])
    found = look(tmp_path)
    assert not found.mistakes and found.card.classes == (*words, *['rest'] * (not void))
    assert len(found.card.colours) == len(found.card.classes)
    save_lines(tmp_path / 'classes.txt', [f'{k} {line}' for k, line in enumerate(coloured)])
    assert f'"{last}"' in look(tmp_path).mistakes[0]


# What is measured, against scipy.

def test_contacts_and_seams_are_those_of_scipy():
    rng = np.random.default_rng(3)
    label = ndimage.zoom(rng.integers(0, 4, (9, 12)), 6, order=0)
    label[bands(label, rng, 2)] = 4
    found = measure(label, [*'01234'])
    for a in range(5):
        for b in range(a + 1, 5):
            count = 0
            for one, other in ((label[:, 1:], label[:, :-1]), (label[1:], label[:-1])):
                count += int(((one == a) & (other == b)).sum() + ((one == b) & (other == a)).sum())
            assert found.contacts[str(a), str(b)] == count
    assert [found.sums['pixels'][str(k)] for k in range(5)] == [*ndimage.sum_labels(label >= 0, label, range(5))]
    rows = (np.mgrid[:54, :72][0] + 0.5) / 54
    for k in range(5):
        assert found.sums['height'][str(k)] == pytest.approx(ndimage.sum_labels(rows, label, k))


def test_a_seam_lies_between_two_different_values():
    label = np.repeat([[0] * 8 + [9] * 2 + [1] * 8 + [7] * 2 + [1] * 8], 12, axis=0)      # 7 is a pole before 1
    label = np.array([0, 1, 7, 9]).searchsorted(label)
    found = measure(label, ['0', '1', '7', '9'])
    assert found.sums['seam'] == {'0': 0, '1': 0, '7': 0, '9': 24}
    assert found.across == {('9', '0', '1'): 12}
    assert found.sums['width']['7'] == 24 * 2 and found.sums['frame']['9'] == 4


def write(root, labels, names=None):
    for number, label in enumerate(labels):
        own.photo(root / f'images/p{number}.png', label.shape, number)
        own.grey(root / f'masks/p{number}.png', label)
    if names:
        save_lines(root / 'classes.txt', names)
    return look(root)


def scenes():
    return [label for label, _ in own.scenes(void=None).values()]


@pytest.mark.parametrize('make, names, lines', [
    (lambda label: (label > 0) * 1, ['balloon'], ['0 background', '1 balloon']),
    (lambda label: label * 64, own.CLASSES, ['0 background', '64 road', '128 car']),
    (lambda label: np.array([0, 128, 255])[label], own.CLASSES, ['0 background', '128 road', '255 car']),
    (lambda label: label + 1, own.CLASSES, ['1 background', '2 road', '3 car'])])
def test_other_values_than_the_list_counts(make, names, lines, tmp_path):
    found = write(tmp_path, [make(label) for label in scenes()], names)
    assert len(found.mistakes) == 1 and told_first(found)[0] == lines
    save_lines(tmp_path / 'classes.txt', lines)
    assert not look(tmp_path).mistakes


def test_a_trimap_and_a_list_of_two(tmp_path):
    case = Case('', '', 'objects', 2, 6)
    labels = [np.where(bands(label, None, 4), 3, np.where(label == 1, 1, 2)) for label in case.labels(SEED)]
    found = write(tmp_path, labels, ['pet', 'background'])
    assert told_first(found)[0] == ['1 pet', '2 background', '3 void']


def test_two_things_that_a_list_lacks(tmp_path):
    """A background before the names, and void after them."""
    case = Case('', '', 'objects', 5, 8, unlabelled=seams(3), number=counted(5))
    found = write(tmp_path, case.labels(SEED), case.words()[1:])
    assert told_first(found)[0] == ['0 background', '1 kindb', '2 kindc', '3 kindd', '4 kinde', '5 void']


def test_masks_of_one_value_each_do_not_tell(tmp_path):
    found = write(tmp_path, [np.full((20, 20), number % 4) for number in range(8)], ['a', 'b', 'c'])
    assert 'the masks hardly tell' in found.mistakes[0] and len(told_first(found)) == 2


@pytest.mark.parametrize('masks', ['index', 'colour'])
def test_a_numbered_list_that_lacks_what_lies_in_seams(masks, tmp_path):
    case = Case('', '', 'mosaic', 4, 6, unlabelled=seams(3), number=counted(9))
    labels = case.labels(SEED)
    palette = np.arange(30).reshape(10, 3).astype(np.uint8) * 8
    names = [f'{k if masks == "index" else " ".join(map(str, palette[k]))} kind{k}' for k in range(4)]
    for number, label in enumerate(labels):
        save_jpeg(tmp_path / f'images/p{number}.jpg', palette[label])
        own.grey(tmp_path / f'masks/p{number}.png', label if masks == 'index' else palette[label])
    save_lines(tmp_path / 'classes.txt', names)
    told, key = look(tmp_path).mistakes[0], '9' if masks == 'index' else '216 224 232'
    assert f'it looks like void ({key}: ' in told and told.index(f'"{key} void"') < told.index(f'"{key} NAME"')
    save_lines(tmp_path / 'classes.txt', [*names, f'{key} void'])
    assert not look(tmp_path).mistakes


def test_a_class_that_looks_like_void_or_background_is_noted(tmp_path):
    case = Case('', '', 'street', 11, 6, unlabelled=of(slivers, 0.04), number=counted(0, 1))
    labels = [np.where(label == 11, 0, label) for label in case.labels(SEED)]      # no bicyclist: 11 names fit
    found = write(tmp_path / 'void', labels, case.words())
    assert not found.mistakes
    assert [note for note in found.layout.notes if 'sky, stored as 0, looks like void' in note]
    found = write(tmp_path / 'bare', labels)
    assert [note for note in found.layout.notes if 'class 0, stored as 0, looks like void' in note]
    things = Case('', '', 'objects', 4, 6)
    labels = [np.where(label == 3, 0, label) for label in things.labels(SEED)]
    found = write(tmp_path / 'ground', labels, things.words()[1:])
    assert [note for note in found.layout.notes if 'kindb, stored as 0, looks like a background' in note]
    found = write(tmp_path / 'well', things.labels(SEED), things.words())
    assert not [note for note in found.layout.notes if 'looks like' in note]
