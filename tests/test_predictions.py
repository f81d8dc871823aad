"""Scores of pictures from anywhere, against counts made pixel by pixel; and what does not go together."""
import json
import os

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
from data_layers.palette import save_indexed  # noqa: E402
from report import __main__ as report  # noqa: E402
from solvers import score  # noqa: E402
from tests.helpers.datasets import save_lines, save_png  # noqa: E402

NAMES = ('sky', 'sea', 'land')


@pytest.fixture
def folders(tmp_path):
    """Predictions and truths of three pictures, two of them deeper down; the arrays by id."""
    rng, arrays = np.random.default_rng(0), {}
    for id, size in (('a', (20, 30)), ('north/b', (7, 9)), ('north/c', (1, 1))):
        truth, guess = rng.integers(0, 3, size).astype(np.uint8), rng.integers(0, 3, size).astype(np.uint8)
        truth[0, :2] = 255
        for folder, labels in (('truth', truth), ('guess', guess)):
            (tmp_path / folder / id).parent.mkdir(parents=True, exist_ok=True)
            save_indexed(tmp_path / folder / f'{id}.png', labels)
        arrays[id] = truth, guess
    save_lines(tmp_path / 'classes.txt', NAMES)
    return tmp_path, arrays


def call(tmp_path, *options):
    folders = '--predictions', tmp_path / 'guess', '--truth', tmp_path / 'truth'
    return cli.run(score.main, [*map(str, (*folders, '--classes', tmp_path / 'classes.txt', '--json',
                                           tmp_path / 'scores.json', *options))])


def counted(arrays, classes=3):
    """The confusion matrix, one pixel at a time."""
    counts = [[0] * classes for _ in range(classes)]
    for truth, guess in arrays.values():
        for t, g in zip(truth.ravel().tolist(), guess.ravel().tolist(), strict=True):
            if t != 255:
                counts[t][g] += 1
    return counts


def test_the_confusion_matrix_and_the_metrics(folders, capsys):
    tmp_path, arrays = folders
    assert call(tmp_path) == 0
    found, counts = json.loads((tmp_path / 'scores.json').read_text()), np.array(counted(arrays))
    task = found['tasks']['label']
    assert task['confusion_matrix'] == counts.tolist() and task['classes'] == list(NAMES) and found['images'] == 3
    right = np.diag(counts)
    ius = right / (counts.sum(0) + counts.sum(1) - right)
    assert task['mean_iu'] == pytest.approx(ius.mean()) and task['iu'] == pytest.approx(ius)
    assert task['pixel_accuracy'] == pytest.approx(right.sum() / counts.sum())
    said = capsys.readouterr().out
    assert '3 images' in said and f'mean iu {100 * ius.mean():.1f}' in said and 'land' in said
    assert found['per_image']['label'].keys() == {'a', 'north/b'}      # c is void


@pytest.mark.parametrize('form', ['grey', '16 bit', 'tiff', 'colours', 'numbers'])
def test_pictures_of_all_kinds(form, folders):
    tmp_path, arrays = folders
    colours = np.array([[0, 0, 0], [10, 20, 30], [255, 0, 9]] + [[1, 1, 1]] * 252 + [[7, 8, 9]], np.uint8)
    for id, pair in arrays.items():
        for folder, labels in zip(('truth', 'guess'), pair, strict=True):
            path = tmp_path / folder / f'{id}.png'
            if form == 'tiff' and folder == 'guess':
                path.unlink()
                path = path.with_suffix('.TIF')
            values = {'colours': colours[labels], '16 bit': labels.astype(np.uint16),
                      'numbers': np.where(labels == 255, 255, 10 * labels.astype(int) + 7).astype(np.uint8)}
            Image.fromarray(values.get(form, labels)).save(path)
    if form == 'colours':
        save_lines(tmp_path / 'classes.txt', ['0 0 0 sky', '10 20 30 sea', '255 0 9 land', '7 8 9 void'])
    if form == 'numbers':
        save_lines(tmp_path / 'classes.txt', ['7 sky', '17: sea', '27 land'])
    assert call(tmp_path) == 0
    task = json.loads((tmp_path / 'scores.json').read_text())['tasks']['label']
    assert task['confusion_matrix'] == counted(arrays) and task['classes'] == list(NAMES)


def test_a_prediction_that_is_no_class_is_an_error(folders, capsys):
    tmp_path, arrays = folders
    truth, guess = arrays['a']
    guess[5], guess[6] = 77, 255
    save_indexed(tmp_path / 'guess/a.png', guess)
    assert call(tmp_path) == 0
    task = json.loads((tmp_path / 'scores.json').read_text())['tasks']['label']
    expected = counted({id: (t, np.where(g > 2, 3, g)) for id, (t, g) in arrays.items()}, 4)
    assert task['classes'] == [*NAMES, 'no class'] and task['confusion_matrix'] == expected
    assert sum(row[3] for row in expected) == 60 and '60 labelled pixels' in capsys.readouterr().err
    right = sum(expected[k][k] for k in range(3))
    assert task['pixel_accuracy'] == pytest.approx(right / sum(map(sum, expected))) and task['iu'][3] is None
    ius = [expected[k][k] / (sum(expected[k]) + sum(row[k] for row in expected) - expected[k][k]) for k in range(3)]
    assert task['mean_iu'] == pytest.approx(np.mean(ius))


def test_another_void_and_a_list_of_ids(folders, capsys):
    tmp_path, arrays = folders
    truth, _ = arrays['a']
    truth[3] = 9
    save_indexed(tmp_path / 'truth/a.png', np.where(truth == 255, 9, truth).astype(np.uint8))
    save_lines(tmp_path / 'ids.txt', ['a'])
    assert call(tmp_path, '--void', 9, '--ids', tmp_path / 'ids.txt') == 0
    found = json.loads((tmp_path / 'scores.json').read_text())
    assert found['images'] == 1
    assert found['tasks']['label']['confusion_matrix'] == counted({'a': (np.where(truth == 9, 255, truth),
                                                                         arrays['a'][1])})
    assert '2 pictures that are not scored: north/b, north/c' in capsys.readouterr().err


def remove(path):
    return lambda folder: (folder / path).unlink()


def truncated(folder):
    path = folder / 'guess/a.png'
    path.write_bytes(path.read_bytes()[:60])


def a_fifo(folder):
    (folder / 'guess/a.png').unlink()
    os.mkfifo(folder / 'guess/a.png')


def lines(*text):
    return lambda folder: save_lines(folder / 'classes.txt', text)


BAD = {
    'no prediction': (remove('guess/a.png'), 'guess has no picture for 1 of 3: a'),
    'a suffix more': (lambda folder: (folder / 'guess/a.png').rename(folder / 'guess/a_labelTrainIds.png'),
                      'guess has 1 more: a_labelTrainIds'),
    'another size': (lambda folder: save_indexed(folder / 'guess/a.png', np.zeros((3, 4), np.uint8)),
                     '1 pictures of other sizes than their truth: a (4x3, truth 30x20)'),
    'a truth that is no class': (lambda folder: save_indexed(folder / 'truth/a.png', np.full((20, 30), 3, np.uint8)),
                                 'truth/a.png has the value 3 (at row 0, column 0)'),
    'colours': (lambda folder: save_png(folder / 'guess/a.png', np.arange(1800, dtype=np.uint8).reshape(20, 30, 3)),
                'guess/a.png holds colours'),
    'cut short': (truncated, 'guess/a.png'),
    'a FIFO': (a_fifo, 'FIFO'),
    'text': (lambda folder: (folder / 'guess/a.png').write_text('hello'), 'guess/a.png cannot be read'),
    'two of a name': (lambda folder: save_png(folder / 'truth/a.bmp', np.zeros((20, 30), np.uint8)), 'of one name'),
    'no folder': (lambda folder: (folder / 'truth').rename(folder / 'elsewhere'), 'truth is no folder'),
    'no pictures': (lambda folder: [path.unlink() for path in (folder / 'guess').rglob('*.png')], 'has no picture'),
    'no classes': (remove('classes.txt'), 'classes.txt is missing'),
    'an empty list': (lines(), 'names no class'),
    'two meanings': (lines('0 sky', '0 sea'), '0 means two things'),
    'half numbered': (lines('0 sky', 'sea'), 'give every class its number'),
    'too many classes': (lines(*(f'c{k}' for k in range(300))), '300 classes'),
}


@pytest.mark.parametrize('case', BAD)
def test_what_does_not_go_together_is_one_line(case, folders, capsys):
    tmp_path, _ = folders
    breaks, said = BAD[case]
    breaks(tmp_path)
    assert call(tmp_path) == 2
    line, = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error:')]
    assert said in line and not (tmp_path / 'scores.json').exists()


def test_of_many_that_are_missing_some_are_named(folders, capsys):
    tmp_path, _ = folders
    for k in range(5000):
        (tmp_path / f'truth/t{k:04}.png').write_bytes(b'')
    assert call(tmp_path) == 2
    line = capsys.readouterr().err.strip()
    assert 'no picture for 5000 of 5003: t0000, t0001,' in line and 'and 4980 more' in line and len(line) < 1000


def test_wrong_calls(folders, capsys):
    tmp_path, _ = folders
    for arguments in (['--predictions', 'x'], ['--predictions', 'x', '--truth', 'y'],
                      ['--predictions', 'x', '--truth', 'y', '--classes', 'z', '--net', 'voc-fcn8s'], []):
        try:
            status = cli.run(score.main, arguments)
        except SystemExit as ended:
            status = ended.code
        assert status == 2 and len(capsys.readouterr().err.splitlines()) == 1


def test_black_and_white_masks(tmp_path):
    for folder in ('truth', 'guess'):
        save_png(tmp_path / folder / 'a.png', np.array([[0, 255], [255, 255]], np.uint8))
    save_png(tmp_path / 'guess/a.png', np.array([[0, 255], [0, 255]], np.uint8))
    save_lines(tmp_path / 'classes.txt', ['0 background', '255 balloon'])
    assert call(tmp_path) == 0
    task = json.loads((tmp_path / 'scores.json').read_text())['tasks']['label']
    assert task['confusion_matrix'] == [[1, 0], [1, 2]]


def test_the_report_of_pictures(folders, capsys):
    tmp_path, arrays = folders
    assert call(tmp_path) == 0
    assert cli.run(report.report, [str(tmp_path / 'scores.json'), '--cpu']) == 0
    page = (tmp_path / 'report.html').read_text()
    assert 'Confusion matrix' in page and 'land' in page and page.count('alt="Truth of') == 2
    task = json.loads((tmp_path / 'scores.json').read_text())['tasks']['label']
    assert f'>{100 * task["mean_iu"]:.1f}</td>' in page and 'Photograph' not in page
    (tmp_path / 'guess/a.png').unlink()
    assert cli.run(report.report, [str(tmp_path / 'scores.json'), '--cpu']) == 0
    assert 'No pictures:' in (tmp_path / 'report.html').read_text()


@pytest.mark.parametrize('text', ['', '{}', '[]', '{"tasks": 3}', '{"net": "x", "images": 1, "per_image": {"l": {}}, '
                                  '"tasks": {"l": {"classes": ["a"], "confusion_matrix": [[1, 2]]}}}'])
def test_a_file_that_holds_no_scores(text, tmp_path, capsys):
    (tmp_path / 'x.json').write_text(text)
    assert cli.run(report.report, [str(tmp_path / 'x.json'), '--cpu']) == 2
    assert 'x.json' in capsys.readouterr().err
