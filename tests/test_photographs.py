"""The experiment on photographs: what it brings together, its nets, its scores, its tables, and all of it, small."""
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from cli import BadInput  # noqa: E402
from data_layers import open_dataset  # noqa: E402
from data_layers.reading import read_lines  # noqa: E402
from data_layers.voc import CLASSES  # noqa: E402
from experiments.photographs import material, scores  # noqa: E402
from experiments.photographs.rows import Chain  # noqa: E402
from report import photographs  # noqa: E402
from solvers.metrics import ConfusionMatrix  # noqa: E402
from tests.helpers.datasets import write_sbd, write_voc  # noqa: E402

pytestmark = pytest.mark.caffe
ROOT = Path(__file__).resolve().parent.parent
OWN, SBDS = ('2007_000001', '2007_000002'), ('2008_000003', '2008_000004')


# What is brought together.

def test_the_lists_are_apart_and_as_long_as_said():
    train, val = (read_lines(material.HERE / f'{split}.txt') for split in material.SPLITS)
    assert (len(set(train)), len(set(val))) == (1112, 445) and not set(train) & set(val)


@pytest.fixture
def voc_and_sbd(tmp_path, monkeypatch):
    """VOC 2012 with masks for some photographs, SBD with those for the others; the lists name both."""
    monkeypatch.setenv('FCN_DATA', str(tmp_path))
    written = write_voc(tmp_path / 'pascal/VOC2012', ids=OWN)
    written |= write_sbd(tmp_path / 'sbdd/dataset', ids=SBDS, png=SBDS[1:])
    lists = tmp_path / 'lists'
    lists.mkdir()
    monkeypatch.setattr(material, 'HERE', lists)
    (lists / 'train.txt').write_text('\n'.join([OWN[0], *SBDS]) + '\n')
    (lists / 'val.txt').write_text(OWN[1] + '\n')
    return written


def test_voc_and_sbd_become_one_folder(voc_and_sbd, tmp_path):
    folder = material.gather(tmp_path / 'out/data', None, quick=False)
    train, val = (open_dataset('voc2012', split, folder) for split in ('train', 'val'))
    assert (*train.ids,) == (OWN[0], *SBDS) and (*val.ids,) == (OWN[1],)
    for dataset in (train, val):
        for id in dataset.ids:
            assert (dataset.read('label', id)[0] == voc_and_sbd[id]['label']).all()
            assert np.abs(dataset.image(id).astype(int) - voc_and_sbd[id]['data']).mean() < 12
    about = material.describe(folder)
    assert about['train']['photographs'] == 3 and about['train']['with void borders'] == 1
    for number, name in enumerate(CLASSES):
        assert about['train']['with class'][name] == sum(
            number in voc_and_sbd[id]['label'] for id in (OWN[0], *SBDS))
    assert material.gather(folder, None, quick=False) == folder     # once


def test_halves_are_photograph_and_mask_alike(voc_and_sbd, tmp_path):
    folder = material.gather(tmp_path / 'out/half', None, quick=False, scale=0.5)
    for id in (*OWN, *SBDS):
        height, width = voc_and_sbd[id]['label'].shape
        mask, photo = (Image.open(folder / name) for name in (f'SegmentationClass/{id}.png', f'JPEGImages/{id}.jpg'))
        assert mask.size == photo.size == (width // 2, height // 2)
        assert set(np.unique(np.asarray(mask))) <= set(np.unique(voc_and_sbd[id]['label']))


def test_missing_photographs_are_named(voc_and_sbd, tmp_path):
    (tmp_path / f'sbdd/dataset/cls/{SBDS[0]}.mat').unlink()
    (tmp_path / f'pascal/VOC2012/JPEGImages/{OWN[0]}.jpg').unlink()
    with pytest.raises(BadInput, match=rf'^2 photographs or their masks \({OWN[0]}, {SBDS[0]}\) are not in VOC 2012'):
        material.gather(tmp_path / 'out/data', None, quick=False)
    assert not (tmp_path / 'out/data').exists()


def test_a_folder_of_the_users_own(tmp_path):
    ids = [f'{number:04d}' for number in range(100)]
    write_voc(tmp_path / 'mine', ids=ids, sizes=((20, 24),), splits={'train': ids[:80], 'val': ids[80:]})
    folder = material.gather(tmp_path / 'out/data', tmp_path / 'mine', quick=True)
    train, val = (open_dataset('voc2012', split, folder).ids for split in ('train', 'val'))
    assert (len(train), len(val)) == (30, 10) and set(train) < set(ids[:80]) and (*val,) == (*ids[80::2],)
    with pytest.raises(BadInput, match='holds other photographs'):
        material.gather(folder, tmp_path / 'mine', quick=False)
    with pytest.raises(BadInput):
        material.gather(tmp_path / 'other', tmp_path / 'nowhere', quick=False)


# Scores.

def test_void_is_scored_as_the_nearest_class():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (13, 17)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.7] = 255
    places = np.argwhere(labels != 255)
    found = scores.filled(labels)
    for row, column in np.ndindex(labels.shape):
        distances = ((places - (row, column)) ** 2).sum(1)
        nearest = {int(labels[tuple(places[k])]) for k in np.flatnonzero(distances == distances.min())}
        assert int(found[row, column]) in nearest
    assert (scores.filled(np.full((3, 3), 255, np.uint8)) == 255).all()


def test_a_border_is_five_pixels_wide():
    labels = np.zeros((20, 30), np.uint8)
    labels[:, 12:] = 7
    found = scores.bordered(labels)
    assert (found == 255).sum(1).tolist() == [scores.BORDER] * 20
    assert (found[:, 10:15] == 255).all() and (found[:, :10] == 0).all() and (found[:, 15:] == 7).all()
    assert (scores.bordered(labels.T) == found.T).all()
    known = np.where(np.arange(30) == 3, 255, labels).astype(np.uint8)
    assert (scores.bordered(known) == known).all()      # has its own


def test_both_ways_to_score(tmp_path):
    """Half of a photograph is right; a prediction that errs at the border alone is right where that is void."""
    write_voc(tmp_path, ids=('a',), sizes=((40, 40),))
    truth = np.zeros((40, 40), np.uint8)
    truth[:, 20:] = 8
    Image.fromarray(truth).save(tmp_path / 'SegmentationClass/a.png')
    Image.fromarray(np.roll(truth, 2, 1)).save(tmp_path / 'a.png')     # two columns late, and two before at the left
    dataset = open_dataset('voc2012', 'val', tmp_path)
    found = scores.count(dataset, tmp_path)
    bordered, plain = (found[name].compute() for name in photographs.BORDERS)
    assert plain.pixel_accuracy == 1 - 4 / 40 and bordered.pixel_accuracy == 1 - 2 / 35
    about = scores.summary(found['no borders'], ['background', 'cat'])
    assert about['iu']['dog'] is None and about['iu']['cat'] == pytest.approx(18 / 22)
    assert about['common_iu'] == pytest.approx((18 / 22 + 18 / 22) / 2) == pytest.approx(about['mean_iu'])


# Nets.

def test_nets_and_their_recipes(tmp_path):
    """As the study states them: rates of the stages, momentum and batches, what is held fixed."""
    write_voc(tmp_path, ids=('a', 'b'))
    chain = Chain(tmp_path, tmp_path / 'none.caffemodel', {'fcn32s': 1e-9, 'fcn16s': 1e-10, 'fcn8s': 1e-11}, full=False)
    steps = {'FCN-32s': 100, 'FCN-16s': 50, 'FCN-8s': 40}
    found = {row.name: row for row in (*chain.stages(steps), chain.at_once(60), *chain.studies(steps))}
    recipes = {name: row.training(3).recipe for name, row in found.items()}
    assert {name: (r.base_lr, r.iterations, r.momentum, r.iter_size) for name, r in recipes.items()} == {
        'FCN-32s': (1e-9, 100, 0.99, 1), 'FCN-16s': (1e-10, 50, 0.99, 1), 'FCN-8s': (1e-11, 40, 0.99, 1),
        'FCN-8s at once': (1e-9, 60, 0.99, 1), photographs.LEARNED: (1e-11, 40, 0.99, 1),
        photographs.ONE: (1e-9, 100, 0.9, 1), photographs.TWENTY: (2e-8, 5, 0.9, 20)}
    assert [row.start for row in found.values()] == ['', 'FCN-32s', 'FCN-16s', '', 'FCN-16s', '', '']
    assert all(recipe.seed == 3 and recipe.test_iter == 2 for recipe in recipes.values())
    for name, row in found.items():
        net = row.training(3).fcn('train')
        layers = {layer.name: layer for layer in net.layer}
        assert layers['fc6'].convolution_param.num_output == 512 and layers['conv3_3'].param[0].lr_mult == 0
        assert layers['conv4_1'].param[0].lr_mult == 1 and "'seed': 3" in layers['data'].python_param.param_str
        rates = {layer.param[0].lr_mult for layer in net.layer if layer.type == 'Deconvolution'}
        assert rates == {1e4 if name == photographs.LEARNED else 0}
    whole = Chain(tmp_path, tmp_path / 'vgg.caffemodel', chain.rates, full=True).stages(steps)[0].training(1)
    layers = {layer.name: layer for layer in whole.fcn('train').layer}
    assert layers['fc6'].convolution_param.num_output == 4096 and layers['conv1_1'].param[0].lr_mult == 1


# What comes out.

def entry(*values, **facts):
    """A row of photographs.json whose seeds have these mean IUs."""
    seeds = {}
    for seed, value in enumerate(values, 1):
        matrix = ConfusionMatrix(CLASSES, np.diag(np.ones(21, int)))
        seeds[str(seed)] = {'seconds': 3600, 'curve': [], **{name: scores.summary(matrix, ['cat']) | {
            'common_iu': value, 'mean_iu': value} for name in photographs.BORDERS}}
    return {'base_lr': 1e-9, 'momentum': 0.99, 'iter_size': 1, 'steps': 10, 'start': 'x', 'seeds': seeds, **facts}


def test_tables_by_hand():
    result = {'common classes': ['background', 'cat'], 'search': {'FCN-32s': {'1': 0.5, '10': None}},
              'full size': {'FCN-32s': entry(0.5)}, 'half size': {'FCN-32s': entry(0.4, 0.5, 0.6)}}
    found = dict(photographs.tables(result))
    assert found['Held-out photographs'][1][:4] == ('FCN-32s', '100.0', '50.0', '50.0')
    assert found['Skips, and all of them at once (half size)'][1][2] == '50.0 ± 10.0'
    assert found['IU of the common classes'][2] == ('cat', '100.0', '77.6?')
    assert found['The search for rates: held-out loss a pixel'] == [
        ('rate times', '1', '10'), ('FCN-32s', '0.500', '-')]
    assert found['How they were trained'][1] == ('FCN-32s, full size', '1e-09', '0.99', '1', '10', 'x', '1.0')


# All of it.

@pytest.mark.slow
def test_a_smoke_test_from_a_folder_in_the_layout_of_voc(tmp_path):
    """Every net is trained, scored and drawn; a second call repeats nothing; another folder is refused."""
    ids = [f'{number:02d}' for number in range(9)]
    write_voc(tmp_path / 'mine', ids=ids, sizes=((48, 64),), splits={'train': ids[:6], 'val': ids[6:]})
    command = [sys.executable, '-m', 'experiments.photographs', '--root', tmp_path / 'mine', '--out', tmp_path / 'out',
               '--quick']
    environment = {**os.environ, 'FCN_WORKERS': '0'}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / 'out/photographs.json').read_text())
    assert [*result['full size']] == [photographs.LITE, photographs.LOWERED, *photographs.STAGES, photographs.AT_ONCE]
    assert {*result['half size']} == {*photographs.STAGES, photographs.AT_ONCE, photographs.LEARNED, photographs.ONE,
                                      photographs.TWENTY}
    for size in photographs.SIZES:
        for row in result[size].values():
            found = row['seeds']['1']
            assert 0 <= found['void borders']['common_iu'] <= 1 and found['curve'][-1]['iteration'] == row['steps']
    assert (tmp_path / 'out/report.html').stat().st_size > 10_000
    assert Image.open(tmp_path / 'out/photographs.png').height > 3 * 48 // 3
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').rglob('*.caffemodel')}
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert again.returncode == 0 and json.loads((tmp_path / 'out/photographs.json').read_text()) == result
    assert before == {path: path.stat().st_mtime_ns for path in before}
    write_voc(tmp_path / 'other', ids=ids, sizes=((48, 64),), splits={'train': ids[:5], 'val': ids[5:]})
    command[command.index(tmp_path / 'mine')] = tmp_path / 'other'
    other = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert other.returncode == 2 and 'holds other photographs' in other.stderr
