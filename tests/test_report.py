"""The report of runs: what is scored, what is drawn, and the page in a browser."""
import doctest
import html.parser
import json
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest
from PIL import Image

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
from data_layers import open_dataset  # noqa: E402
from data_layers.voc import VOC2012  # noqa: E402
from report import __main__ as program  # noqa: E402
from report import charts, page, published  # noqa: E402
from solvers import evaluation, foreign  # noqa: E402
from solvers.evaluation import score_weights  # noqa: E402
from solvers.loop import solve  # noqa: E402
from solvers.metrics import METRICS  # noqa: E402
from solvers.run import Run  # noqa: E402
from surgery import read_weights, write_weights  # noqa: E402
from tests.helpers import datasets, tiny  # noqa: E402
from tests.helpers.browser import Browser, needs_browser  # noqa: E402

pytestmark = pytest.mark.caffe
IDS = ('2007_000001', '2007_000002', '2007_000009', '2008_000003')
SCORED = IDS[:3]    # of seg11valid: the last is in SBD's training split


def write_data(folder, ids=IDS):
    datasets.write_voc(folder / 'data/pascal/VOC2011', ids, sizes=[(24, 32), (33, 20)])
    datasets.write_sbd(folder / 'data/sbdd/dataset', sizes=[(24, 32), (33, 20)])


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with data and a run, made once."""
    folder = tmp_path_factory.mktemp('trained')
    write_data(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('FCN_DATA', str(folder / 'data'))
        solve(tiny.training(10, base_lr=1e-5), folder / 'runs/tiny')
    return folder


@pytest.fixture
def run(tmp_path, trained):
    """The run, a test's own, and evaluated on its data."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    record = tmp_path / 'runs/tiny/evaluation/evaluation.json'
    known = json.loads(record.read_text())
    known['of']['root'] = str(tmp_path / 'data')
    record.write_text(json.dumps(known) + '\n')
    return tmp_path / 'runs/tiny'


def relabel(run, **about):
    """A copy of a run under another name, with other words in its run.json."""
    copy = run.with_name(f'{run.name}-{len(list(run.parent.iterdir()))}')
    shutil.copytree(run, copy)
    known = json.loads((copy / 'run.json').read_text())
    (copy / 'run.json').write_text(json.dumps(known | about))
    return copy


class Page(html.parser.HTMLParser):
    """The tags of a page, with their attributes, and its text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text = [], ''
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for kind, attributes in self.tags if kind == tag]


def test_an_evaluation_is_what_the_weights_score_and_its_predictions_say_the_same(run):
    found = evaluation.evaluate_run(Run(run))
    scored, dataset = score_weights(tiny.training(10), run / 'weights.caffemodel')
    matrices, images = scored.matrices, len(dataset)
    assert found['tasks']['label']['confusion_matrix'] == matrices['label'].counts.tolist()
    assert found['tasks']['label']['mean_iu'] == matrices['label'].compute().mean_iu
    assert found['count'] == images == 3 and found['learnt'] == 0
    # Image by image, counted pixel by pixel from the files.
    val, total = open_dataset('voc', 'seg11valid'), np.zeros((21, 21), int)
    for id in SCORED:
        truth = val.read('label', id)[0]
        prediction = np.asarray(Image.open(run / f'evaluation/label/{id}.png'))
        for t, p in zip(truth.ravel(), prediction.ravel(), strict=True):
            if t != 255:
                total[t, p] += 1
        right = np.mean((truth == prediction)[truth != 255])
        assert found['images']['label'][id]['pixel_accuracy'] == pytest.approx(right)
    np.testing.assert_array_equal(total, matrices['label'].counts)


def test_an_evaluation_is_made_once_and_again_when_the_weights_change(run, monkeypatch):
    first = evaluation.evaluate_run(Run(run))
    monkeypatch.setattr(evaluation, 'load', lambda net, _: net)
    for step, result in (('evaluate', None), ('write_record', {'again': True})):
        monkeypatch.setattr(evaluation, step, lambda *_, result=result, **__: result)
    assert evaluation.evaluate_run(Run(run)) == first
    with (run / 'weights.caffemodel').open('ab') as file:
        file.write(b'\0')
    assert 'again' in evaluation.evaluate_run(Run(run))
    (run / 'evaluation/evaluation.json').write_text('{"of"')
    assert 'again' in evaluation.evaluate_run(Run(run))


def test_a_net_of_a_run_that_scores_fewer_classes_than_the_labels_have(run):
    weights = read_weights(run / 'weights.caffemodel')
    weights['score_fr'] = [blob[:20] for blob in weights['score_fr']]
    weights['upscore'] = [blob[:20, :20] for blob in weights['upscore']]
    write_weights(run / 'weights.caffemodel', weights)
    path = run / 'val.prototxt'
    path.write_text(path.read_text().replace('num_output: 21', 'num_output: 20').replace('group: 21', 'group: 20'))
    with pytest.raises(cli.BadInput, match='20 classes, but'):
        evaluation.evaluate_run(Run(run))


def test_a_finished_run_is_not_scored_again_for_its_report(run, monkeypatch):
    """The last scoring of the training has left label maps and per-image scores, the same that scoring would find."""
    left = evaluation.read_record(Run(run))
    assert left is not None and list(left['images']['label']) == sorted(SCORED)
    maps = {id: (run / f'evaluation/label/{id}.png').read_bytes() for id in SCORED}
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, 'evaluate', None)
        assert evaluation.evaluate_run(Run(run)) == left
        assert solve(tiny.training(10, base_lr=1e-5), run, resume=True)['label'].counts.tolist() == \
            left['tasks']['label']['confusion_matrix']
    shutil.rmtree(run / 'evaluation')
    assert evaluation.evaluate_run(Run(run)) == left
    assert maps == {id: (run / f'evaluation/label/{id}.png').read_bytes() for id in SCORED}


def test_images_that_were_trained_on_are_no_secret(run):
    (run / 'train.prototxt').write_text((run / 'val.prototxt').read_text())
    shutil.rmtree(run / 'evaluation')
    assert evaluation.evaluate_run(Run(run))['learnt'] == 3
    assert 'Not held out' in page.write([run]).read_text()


def test_the_page_needs_nothing_else_and_describes_its_pictures(run, capsys):
    other = relabel(run, net='voc-fcn8s')
    program.main([str(run), str(other)])
    path = run.parent / 'report.html'
    assert capsys.readouterr().out.strip() == str(path)
    found = Page(path)
    sources = [value for _, attributes in found.tags for key, value in attributes.items() if key in ('src', 'href')]
    assert sources and all(source.startswith(('data:', '#')) for source in sources)
    assert 'url(' not in path.read_text() and '@import' not in path.read_text()
    images = found.all('img')
    assert len(images) == 3 * (2 + 2 * 2) and all(image['alt'] for image in images)
    ids = [attributes['id'] for _, attributes in found.tags if attributes.get('id')]
    assert len(ids) == len(set(ids))
    assert {label['for'] for label in found.all('label')} == {field['id'] for field in found.all('input')}
    assert all(svg.get('aria-label') or svg.get('aria-hidden') for svg in found.all('svg'))
    assert '62.7' in found.text and '65.5' in found.text    # published: paper, released weights
    scores = evaluation.evaluate_run(Run(run))['tasks']['label']
    assert all(f'{100 * scores[metric]:.1f}' in found.text for metric in METRICS)
    assert '1337' in found.text and Run(run).about['versions']['numpy'] in found.text


def test_numbers_of_the_page(run):
    """From a matrix that can be worked out in the head."""
    result = {'classes': ['sky', 'sea', 'cat', 'dog'], 'iu': [0.5, 0.75, None, None],
              'confusion_matrix': [[6, 2, 0, 0], [3, 9, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]}
    shown = page.confusion(result)
    assert shown['classes'] == ['sky', 'sea'] and shown['shares'] == [[75, 25], [25, 75]]
    assert shown['worst'] == [('sea', 'sky', 0.6), ('sky', 'sea', 0.4)]
    assert page.class_table([('net', result)]) == {'classes': [('sea', [0.75]), ('sky', [0.5])],
                                                   'absent': ['cat', 'dog']}
    assert page.contents(np.array([[0, 1], [1, 255]], np.uint8), result['classes']) == 'sea 50 %, sky 25 %'


def test_the_worst_images_come_first(run):
    stage = page.Stage('tiny', Run(run))
    stage.evaluation = evaluation.evaluate_run(stage.run)
    for id, score in zip(SCORED, (0.4, 0.2, 0.3), strict=True):
        stage.evaluation['images']['label'][id]['mean_iu'] = score
    ranked = [SCORED[i] for i in (1, 2, 0)]
    assert [card['id'] for card in page.pictures('label', [stage], 1)] == [ranked[0], ranked[-1]]
    assert [card['id'] for card in page.pictures('label', [stage], 4)] == ranked


def test_lines_are_where_their_values_are():
    svg = charts.line_chart([charts.Series('a', [(0, 0), (50, 100)])], 'title', 'y', (0, 100))
    ends = re.search(r'<polyline class="line s0" points="(.*?)"', svg)[1].split()
    assert [tuple(map(float, end.split(','))) for end in ends] == [
        (charts.LEFT, charts.HEIGHT - charts.BOTTOM), (charts.WIDTH - charts.RIGHT, charts.TOP)]
    svg = charts.line_chart([charts.Series('a', [(0, 10), (1, 100), (2, 1000)])], '<&"', 'y')
    heights = [float(end.split(',')[1]) for end in re.search(r'points="(.*?)"', svg)[1].split()]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)   # logarithmic
    assert 'aria-label="&lt;&amp;&#34;"' in svg


def test_examples_in_the_documentation_of_charts():
    assert doctest.testmod(charts).failed == 0


def test_published_numbers_are_of_nets_there_are():
    import nets
    assert set(published.SCORES) <= set(nets.names())
    for tasks in published.SCORES.values():
        assert all(len(row) == len(METRICS) for rows in tasks.values() for row in rows.values())


def test_a_run_that_goes_on_or_diverged_is_reported_as_far_as_it_is(run, capsys):
    (run / 'weights.caffemodel').unlink()
    with (run / 'metrics.jsonl').open('a') as file:
        file.write('{"iteration": 11, "loss": NaN}\n{"iteration": 12, "loss": 4.0}\n{"itera')
    text = Page(page.write([run])).text
    assert 'has not come to its end' in text and 'not finite from iteration 11' in text
    assert 'without scores' in capsys.readouterr().err


def test_without_the_data_set_there_are_scores_but_no_pictures(run, tmp_path):
    page.write([run])
    shutil.rmtree(tmp_path / 'data/pascal')
    found = Page(page.write([run]))
    assert 'No pictures: no PASCAL VOC 2011' in found.text and not found.all('img')


@pytest.mark.parametrize('name, text, said', [
    ('run.json', '[1]', 'run.json is damaged'),
    ('run.json', '{', 'run.json is damaged'),
    ('metrics.jsonl', '{"iteration": 1}\n', 'metrics.jsonl is damaged'),
    ('metrics.jsonl', '{"iteration": 1, "loss": 1, "scores": 3}\n', 'metrics.jsonl is damaged'),
])
def test_damaged_files_are_named(tmp_path, name, text, said, capsys):
    (tmp_path / name).write_text(text)
    assert cli.run(program.main, [str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert cli.run(program.main, [str(tmp_path)]) == 2
    assert 'is not the folder of a run' in capsys.readouterr().err


def test_a_net_of_a_run_cannot_bring_its_own_python(run):
    text = (run / 'val.prototxt').read_text()
    (run / 'val.prototxt').write_text(text.replace('data_layers.layers', 'antigravity'))
    with pytest.raises(cli.BadInput, match='antigravity'):
        evaluation.evaluate_run(Run(run))


def test_a_net_of_a_run_that_would_end_the_process_is_named(run, capsys):
    """It is made in another process first; the report is one without scores."""
    path = run / 'val.prototxt'
    path.write_text(path.read_text().replace('type: "msra"', 'type: "nonsense"'))
    with pytest.raises(cli.BadInput, match='val.prototxt: Caffe cannot make this net .Check failed: .*nonsense'):
        evaluation.evaluate_run(Run(run))
    assert cli.run(program.main, [str(run)]) == 0
    assert 'reported without scores' in capsys.readouterr().err


def test_a_net_that_fails_otherwise_is_met_again_here(monkeypatch, tmp_path):
    """A child that ends by itself is no proof against a net: here, its data is missing."""
    foreign.rehearse(tiny.fcn('val'), 'val.prototxt')
    killed = subprocess.CompletedProcess([], -signal.SIGKILL, '', 'no line of Caffe')
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: killed)
    with pytest.raises(cli.BadInput, match='val.prototxt: .*it ends with SIGKILL'):
        foreign.rehearse(tiny.fcn('val'), 'val.prototxt')


def open_report(browser, path, **options):
    browser.open(path.as_uri(), **options)
    assert browser.console() == []


@needs_browser
def test_the_page_in_a_browser(run, tmp_path):
    path = page.write([run, relabel(run, net='voc-fcn8s')])
    visible = '''return [...document.querySelectorAll('.stage')].filter(s => s.offsetParent !== null ||
                 s.querySelector('img').offsetParent !== null).map(s => s.dataset.stage)'''
    with Browser(tmp_path / 'profile') as browser:
        for width in (1200, 375):
            open_report(browser, path, width=width)
            assert browser.overflows() == []
            assert browser.run('return document.documentElement.scrollWidth') <= width
            assert browser.run('return [...document.images].every(i => i.complete && i.naturalWidth > 0)')
        # The slider answers to the keyboard and says which net it shows.
        assert browser.run(visible) == ['1', '1', '1']
        browser.type('input[type=range]', '\ue012')     # left arrow
        assert browser.run(visible) == ['0', '0', '0']
        assert browser.run('return document.querySelector("output").textContent') == 'tiny'
        assert browser.run('return document.querySelector("input").getAttribute("aria-valuetext")') == 'tiny'
        background = 'return getComputedStyle(document.body).backgroundColor'
        light = browser.run(background)
        open_report(browser, path, dark=True)
        assert sum(map(int, re.findall(r'\d+', browser.run(background)))) < 150 < sum(
            map(int, re.findall(r'\d+', light)))


HOSTILE = '"><img src=x onerror=document.title=`owned`><script>document.title=`owned`</script>'


@needs_browser
def test_hostile_names_stay_text(tmp_path, monkeypatch):
    """As image id, class, net and anything in run.json."""
    id = HOSTILE.replace('/', '')
    write_data(tmp_path, (id, *IDS[1:]))
    monkeypatch.setitem(VOC2012.classes, 'label', tuple(f'{HOSTILE}{k}' for k in range(21)))
    solve(tiny.training(2), tmp_path / 'runs/tiny')
    run = relabel(tmp_path / 'runs/tiny', net=HOSTILE, recipe={HOSTILE: HOSTILE}, commit=HOSTILE)
    path = page.write([run, relabel(run, net=f"'{HOSTILE}")])
    with Browser(tmp_path / 'profile') as browser:
        open_report(browser, path)
        assert browser.run('return document.title').startswith('Report: ')
        assert browser.run('return document.querySelectorAll("[onerror], [src=x]").length') == 0
        assert browser.run('return document.scripts.length') == 1
        texts = browser.run('return document.body.innerText')
        assert id in texts and f'{HOSTILE}3' in browser.run('return document.body.textContent')
        assert browser.run('return document.querySelector("output").textContent') == f"'{HOSTILE}"
