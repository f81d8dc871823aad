"""The study of the design choices: its data, its nets, its going on, its tables, and the page of results."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')
nibabel = pytest.importorskip('nibabel')

from cli import BadInput  # noqa: E402
from data_layers import open_dataset  # noqa: E402
from experiments import brain, study  # noqa: E402
from report import published, results, study_tables  # noqa: E402
from solvers import snapshot  # noqa: E402
from solvers.instance import instantiate  # noqa: E402
from solvers.metrics import METRICS  # noqa: E402
from tests.helpers import brain_study  # noqa: E402

pytestmark = pytest.mark.caffe
ROOT = Path(__file__).resolve().parent.parent
installed = pytest.mark.skipif(not brain.TEMPLATES.is_dir(), reason='mricron-data is not installed: make brain')


# The data.

def test_regions_are_taken_together_by_lobe(tmp_path):
    (tmp_path / 'aal.txt').write_text('2 Precentral_R 2002\r\n1 Frontal_Inf_Orb_L 2321\r\n3 Cerebelum_3_R 9022\r\n'
                                      '4 Vermis_3 9110\r\n5 Thalamus_L 7101\r\n\r\n')
    classes = [brain.CLASSES[k] for k in brain.read_regions(tmp_path / 'aal.txt')]
    assert classes == ['background', 'frontal', 'frontal', 'cerebellum', 'vermis', 'central grey']


@pytest.mark.parametrize('text', ['1 Precentral_L', '1 Precentral_L x', '1 Precentral_L 1001', '2 Precentral_L 2001'])
def test_a_strange_list_of_regions_is_refused(text, tmp_path):
    (tmp_path / 'aal.txt').write_text(text)
    with pytest.raises(BadInput, match='aal.txt cannot be read as a list of regions'):
        brain.read_regions(tmp_path / 'aal.txt')


def test_learnt_and_held_out_slices_are_apart():
    slices = brain.split(brain.SLICES)
    train, val = (np.array(slices[name]) for name in ('train', 'val'))
    assert len(train) > 3 * len(val) > 40
    assert np.abs(train[:, None] - val).min() == brain.GAP + 1 == 5
    blocks = np.split(val, np.flatnonzero(np.diff(val) > 1) + 1)
    assert [len(block) for block in blocks] == [4] * 5


@pytest.mark.parametrize('flipped', [False, True])
def test_slices_are_an_ordinary_data_set(flipped, tmp_path):
    """Each pixel against the voxel it comes from, whatever the order of the voxels in the file."""
    head, regions = brain_study.volumes(tmp_path / 'templates', flipped)
    brain.prepare(tmp_path / 'templates')
    assert brain.prepare(tmp_path / 'gone') == tmp_path / 'data/brain'        # made once
    classes = np.array([0, brain.CLASSES.index('insula'), brain.CLASSES.index('temporal'),
                        brain.CLASSES.index('vermis')])
    for split in ('train', 'val'):
        dataset = open_dataset('brain', split)
        assert dataset.classes['label'] == brain.CLASSES
        for id in dataset.ids[::7]:
            image, label = dataset.load(id)
            assert image.shape == (3, 30, 24) and label.shape == (1, 30, 24)
            for x, y in ((0, 0), (0, 29), (23, 0), (23, 29), (7, 12)):      # from left, from the back
                assert label[0, 29 - y, x] == classes[regions[x, y, int(id)]]
                assert image[1, 29 - y, x] == pytest.approx(float(head[x, y, int(id)]) - dataset.mean[1], abs=1e-3)
    learnt = [int(id) for id in open_dataset('brain', 'train').ids]
    assert dataset.mean == pytest.approx([head[:, :, learnt].mean()] * 3)


def test_a_missing_or_damaged_package(tmp_path):
    with pytest.raises(BadInput, match='apt-get install mricron-data'):
        brain.prepare(tmp_path / 'none')
    brain_study.volumes(tmp_path / 'templates')
    (tmp_path / 'templates/ch2.nii.gz').write_bytes(b'no volume')
    with pytest.raises(BadInput, match='ch2.nii.gz cannot be read'):
        brain.prepare(tmp_path / 'templates')
    assert not (tmp_path / 'data/brain').exists()


@installed
def test_the_real_slices_stand_upright():
    """The nose is on top, the left of the person on the left: by what the atlas calls its regions."""
    values = brain.read_volume(brain.TEMPLATES / 'aal.nii.gz')
    assert values.shape == (181, 217, 181)
    lines = [line.split() for line in (brain.TEMPLATES / 'aal.nii.txt').read_text().split('\n') if line.strip()]
    assert [int(value) for value, _, _ in lines] == [*range(1, 117)]
    left, right = ([int(value) for value, name, _ in lines if name.endswith(end) and not name.startswith('Vermis')]
                   for end in ('_L', '_R'))
    classes = brain.read_regions(brain.TEMPLATES / 'aal.nii.txt')
    present = {}
    for split, slices in brain.split(brain.SLICES).items():
        present[split] = {*np.unique(classes[values[:, :, slices]])}
        for z in slices:
            label = brain.axial(values, z)
            assert label.shape == (217, 181)
            assert middle(label, left)[1] + 20 < middle(label, right)[1]
            front, back = ([brain.CLASSES.index(name) for name in names]
                           for names in (('frontal', 'temporal'), ('occipital', 'parietal', 'cerebellum')))
            if {*front} & {*np.unique(classes[label])}:
                assert middle(classes[label], front)[0] + 20 < middle(classes[label], back)[0]
    assert present['train'] == present['val'] == set(range(10))


def middle(label, values):
    """Mean row and column of the pixels that have one of the values."""
    return np.argwhere(np.isin(label, values)).mean(0)


# The nets.

@pytest.fixture
def small(tmp_path):
    brain_study.volumes(tmp_path / 'templates')
    brain.prepare(tmp_path / 'templates')


def test_the_tables_name_the_rows():
    assert len(study.ROWS) == len(study_tables.NAMES) and {row.name for row in study.ROWS} == {*study_tables.NAMES}


def test_rows_are_nets(small):
    """Each row in Caffe: the score of every pixel, what learns and what does not, where it starts."""
    names = []
    for row in study.ROWS:
        assert row.start in ('', *names)
        names.append(row.name)
        training = study.training(row, 7)
        train = training.fcn('train')
        layers = {layer.name: layer for layer in train.layer}
        assert "'seed': 7" in layers['data'].python_param.param_str and training.recipe.seed == 7
        learning = {name for name, layer in layers.items() if any(param.lr_mult for param in layer.param)}
        assert not any(name.startswith(('conv1', 'conv2', 'conv3')) for name in learning)
        ups = {name for name in learning if layers[name].type == 'Deconvolution'}
        assert bool(ups) == ('learned' in row.name)
        assert layers['loss'].loss_param.normalize == ('normalised' in row.name)
        if row.name == 'FCN-32s-fixed':
            assert learning == {'score_fr'}
        if row.name == 'pool4 only':
            assert learning == {'conv4_1', 'conv4_2', 'conv4_3', 'score_pool4'}
            assert 'pool4' in layers and 'conv5_1' not in layers
        assert layers.get('fc6') is None or layers['fc6'].convolution_param.num_output == study_tables.WIDTH
    for name in ('pool5 only', 'pool4 only', 'pool3 only'):
        net = instantiate(study.training(next(row for row in study.ROWS if row.name == name), 1).fcn('deploy'))
        net.blobs['data'].reshape(1, 3, 30, 24)
        net.reshape()
        assert net.blobs['score'].data.shape == (1, 10, 30, 24)


# Going on.

def start(out, steps):
    environment = {**os.environ, 'FCN_DATA': str(out / 'data'), 'FCN_WORKERS': '0'}
    command = [sys.executable, '-m', 'tests.helpers.brain_study', out, str(steps)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True)


def test_a_killed_study_goes_on(tmp_path):
    """Killed in its second training: the first is not repeated, the second goes on, the scores are those of one run."""
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    for out in (whole, parts):
        out.mkdir()
    process = start(whole, 40)
    assert process.wait(600) == 0, process.stdout.read()
    assert Image.open(whole / 'study.png').width > 4 * 24       # slice, truth and two predictions
    assert 'mean IU' in (whole / 'report.html').read_text()
    process = start(parts, 40)
    first, second = (parts / f'runs/seed-1/{name}' for name in ('first', 'second'))
    deadline = time.monotonic() + 600
    while not snapshot.list_snapshots(second / 'snapshots'):
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (parts / 'runs/seed-2').exists()
    done = {path: path.stat().st_mtime_ns for path in (first / 'training.json', first / 'weights.caffemodel')}
    assert 'scores' in json.loads((first / 'training.json').read_text())
    process = start(parts, 40)
    assert process.wait(600) == 0, process.stdout.read()
    assert done == {path: path.stat().st_mtime_ns for path in done}
    one, other = (json.loads((out / 'study.json').read_text()) for out in (whole, parts))
    assert list(one['rows']) == ['first', 'second'] and set(one['rows']['second']['scores']) == {'1', '2'}
    assert one['rows']['second']['scores']['1'] != one['rows']['second']['scores']['2']
    for name in one['rows']:
        assert one['rows'][name]['scores'] == other['rows'][name]['scores']
    assert other['rows']['second']['seconds']['1'] is None and one['rows']['second']['seconds']['1'] is not None
    assert not list(parts.glob('runs/*/*/snapshots'))
    process = start(parts, 41)
    assert process.wait(600) == 2 and 'holds another training' in process.stdout.read()


# What comes out.

def made_up(quick=False):
    """A study.json worked out by hand: mean IU of 32s is 0.4, 0.5 and 0.6, so 50.0 and a standard deviation of 10.0."""
    def row(*mean_ius):
        return {'base_lr': 1e-9, 'steps': 10, 'start': 'x', 'seconds': {'1': 5, '2': None, '3': 7}, 'scores': {
            str(seed): {'pixel_accuracy': 0.9, 'mean_accuracy': 0.8, 'mean_iu': mean_iu, 'fw_iu': 0.7}
            for seed, mean_iu in enumerate(mean_ius, 1)}}
    return {'quick': quick, 'processor': 'CPU', 'data': {'train': 80, 'val': 20, 'classes': [],
            'upper_bound': {str(factor): 1 / factor for factor in (128, 64, 32, 16, 8, 4)}},
            'rows': {'FCN-32s': row(0.4, 0.5, 0.6), 'FCN-16s': row(0.6), 'FCN-8s': row(0.55)}}


def test_tables():
    (title, (heading, *lines)), = study_tables.tables(made_up())       # of the other tables not enough was trained
    assert title == 'Skips (CVPR 2015, Table 2)'
    assert heading == ('', 'pixel acc', 'mean acc', 'mean IU', 'f.w. IU', 'published, on VOC')
    assert lines[0] == ('FCN-32s', '90.0 ± 0.0', '80.0 ± 0.0', '50.0 ± 10.0', '70.0 ± 0.0', '89.1 / 73.3 / 59.4 / 81.4')
    assert [line[0] for line in lines] == ['FCN-32s', 'FCN-16s', 'FCN-8s'] and lines[1][3] == '60.0'
    assert study_tables.row_of('pool3 only', made_up()['rows']['FCN-8s'])[-1] == '70.9? / 13.7? / 9.2? / 57.6?'


@pytest.mark.parametrize('finest, said', [
    (0.55, 'other than in the papers, FCN-32s 50.0, FCN-16s 60.0, FCN-8s 55.0.'),
    (0.7, 'as in the papers, FCN-32s < FCN-16s < FCN-8s.')])
def test_the_page_says_whether_finer_is_better(finest, said, tmp_path):
    found = made_up()
    found['rows']['FCN-8s']['scores']['1']['mean_iu'] = finest
    (tmp_path / 'study.json').write_text(json.dumps(found))
    assert said in results.study(results.Results(tmp_path))


def test_ours_is_what_the_json_says(tmp_path):
    """A net that somebody scored shows its scores; others say what they need."""
    known = results.Results(tmp_path)
    assert known.scores('nyud-fcn32s-color') == 'needs NYUDv2: `make nyud-fcn32s-color`'
    scores = dict(zip(METRICS, (0.905, 0.765, 0.636, 0.835), strict=True))
    (tmp_path / 'voc-fcn32s.json').write_text(json.dumps({'tasks': {'label': {**scores, 'variants': {}}}}))
    (tmp_path / 'pascalcontext-fcn8s.json').write_text(json.dumps({'tasks': {'label': {
        **dict.fromkeys(METRICS, 0.1), 'variants': {'without background': scores}}}}))
    assert results.Results(tmp_path).scores('pascalcontext-fcn8s') == '90.5 / 76.5 / 63.6 / 83.5'
    table = results.released(results.Results(tmp_path)).splitlines()
    assert table[2] == '| voc-fcn32s | 90.5 / 76.5 / 63.6 / 83.5 | 90.5 / 76.5 / 63.6 / 83.5 |'
    assert table[3] == '| voc-fcn16s | 91.0 / 78.1 / 65.0 / 84.3 | needs VOC 2011 and SBD: `make voc-fcn16s` |'


def test_docs_results_is_what_the_command_writes():
    assert (ROOT / 'docs/results.md').read_text() == results.page(results.Results())


def test_all_that_is_published_is_on_the_page():
    text = results.page(results.Results())
    rows = [row for tasks in published.SCORES.values() for sources in tasks.values() for row in sources.values()]
    for row in rows:
        shown = f'| {row[2]} |' if row[0] is None else published.in_percent(row)    # of some the mean IU alone
        assert shown in text
    for row in (*published.ONE_LAYER.values(), *published.OPTIMISATION.values()):
        assert published.in_percent(row, confirmed=False) in text
    assert '{' not in text and '}' not in text
