"""`python -m nets new --from`: nets over other classes that go on from a trained one."""
import importlib
import json
import os
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import nets  # noqa: E402
from cli import BadInput  # noqa: E402
from data_layers import open_dataset  # noqa: E402
from data_layers.voc import CLASSES as VOC  # noqa: E402
from nets import voc  # noqa: E402
from nets.edits import freeze, learn_upsampling, narrow, slow  # noqa: E402
from nets.starts.rates import STEP  # noqa: E402
from nets.starts.trained import PAPER, SLOWER, recognised, width_of  # noqa: E402
from solvers.instance import instantiate  # noqa: E402
from solvers.loop import solve  # noqa: E402
from solvers.source import source_of  # noqa: E402
from surgery import bilinear_kernel, read_weights, write_weights  # noqa: E402
from surgery.prototxt import write_prototxt  # noqa: E402
from tests.helpers import own  # noqa: E402
from tests.helpers.datasets import save_lines  # noqa: E402
from tests.helpers.narrow_nets import alive  # noqa: E402
from tests.helpers.own_nets import light, write  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.usefixtures('without_curves')]
OTHER = ['Car', 'tree', 'back-ground']      # of own.CLASSES: background, road, car


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()} if folder.exists() else {}


def published(name):
    """One of the repository's nets, while `nets` knows those of a test."""
    return importlib.import_module(f'nets.{name.replace("-", "_")}.solve').training


def random_weights(net, path, scale=0.1):
    """For every layer of a deploy net, of a fixed seed; also of its deconvolutions."""
    rng, path = np.random.default_rng(0), path
    path.parent.mkdir(parents=True, exist_ok=True)
    made = {name: [rng.standard_normal(blob.data.shape).astype(np.float32) * np.float32(scale) for blob in blobs]
            for name, blobs in instantiate(net).params.items()}
    write_weights(path, made)
    return made


def square_of_fc7(training, weights):
    """The squared length of the source's fc7 in the middle of the training photographs, the mean."""
    net = instantiate(training.fcn('deploy'))
    for name, blobs in net.params.items():
        for blob, value in zip(blobs, weights[name], strict=True):
            blob.data[...] = value
    dataset, found = open_dataset('more', 'train'), []
    for image, _ in map(dataset.load, dataset.ids):
        net.blobs['data'].reshape(1, *image.shape)
        net.blobs['data'].data[0] = image
        net.forward()
        feature = net.blobs['fc7'].data[0].astype(float)
        rows, columns = (-(-side // 32) for side in image.shape[1:])
        top, left = (feature.shape[1] - rows) // 2, (feature.shape[2] - columns) // 2
        found.append((feature[:, top:top + rows, left:left + columns] ** 2).sum(0).mean())
    return np.mean(found)


@pytest.fixture
def photos(tmp_path):
    """Photographs with the classes `own.CLASSES`, and the same ones with `OTHER`."""
    own.write(tmp_path / 'photos')
    own.write(tmp_path / 'others')
    save_lines(tmp_path / 'others/classes.txt', OTHER)
    return tmp_path


@pytest.fixture
def run(photos, checkout):
    """The folder of a run: FCN-8s, narrow in its convolutions too, trained for two steps."""
    write('cats', photos / 'photos', checkout)
    training = light(nets.load('cats-fcn8s'), 2, 8)
    random_weights(training.fcn('deploy'), photos / 'start.caffemodel')
    solve(training, photos / 'runs/cats', [photos / 'start.caffemodel'])
    return photos / 'runs/cats'


# ---------------------------------------------------------------------------------------------- which net it is

@pytest.mark.parametrize('kind', PAPER)
def test_the_papers_nets_are_known_by_what_they_are(kind):
    """Over any number of classes, at the rates of either start, and narrow where they have fc6."""
    fcn = importlib.import_module(f'nets.voc_{kind.replace("-", "_")}.net').fcn
    data = SimpleNamespace(NUM_CLASSES=7, feed=voc.feed)
    deploy, normalize = fcn('deploy', data=data), kind == 'fcn-alexnet'
    assert recognised(deploy, normalize, width_of(deploy)) == kind
    assert recognised(deploy, not normalize, width_of(deploy)) == ''
    assert recognised(slow(deploy, **SLOWER.get(kind, {})), normalize, width_of(deploy)) == kind
    for other in (learn_upsampling(deploy), freeze(deploy, ['conv']), narrow(deploy, 8, ['conv2'])):
        if other != deploy:
            assert recognised(other, normalize, width_of(deploy)) == ''
    if kind != 'fcn-googlenet':
        assert recognised(narrow(deploy, 24), normalize, 24) == kind


# ---------------------------------------------------------------------------------------------- from a net of nets/

def test_from_a_net_of_nets(photos, checkout, capsys):
    """The paper's net is written, at the source's width; every number that it starts from is as numpy has it."""
    write('cats', photos / 'photos', checkout, '--width', 8)
    source = random_weights(nets.load('cats-fcn8s').fcn('deploy'), photos / 'runs/cats-fcn8s/weights.caffemodel')
    text = write('more', photos / 'others', checkout, '--from', 'cats-fcn8s')
    told = [line.split(maxsplit=1) for line in text.splitlines() if 'kept, of' in line or 'new, from' in line]
    assert told == [['Car', 'kept, of car'], ['tree', 'new, from zero'], ['back-ground', 'kept, of background']]
    assert [name for name in nets.names() if name.startswith('more')] == ['more-fcn8s'] and 'make more-fcn8s' in text
    assert not capsys.readouterr().err
    training = nets.load('more-fcn8s')
    assert training.init == ('cats-fcn8s',)
    sizes = [image[0].size for image, _ in map(open_dataset('more', 'train').load, open_dataset('more', 'train').ids)]
    moved = training.recipe.base_lr * np.median(sizes) * square_of_fc7(nets.load('cats-fcn8s'), source)
    assert moved == pytest.approx(STEP, rel=0.06)
    assert training.recipe.momentum == 0.99
    made, cats = training.fcn('train'), nets.load('cats-fcn8s').fcn('train')
    rates = {x.name: [p.lr_mult for p in x.param] for x in made.layer}
    assert rates['score_fr'] == [1, 2] and rates['conv1_1'] == [1, 2]
    assert rates['score_pool4'] == pytest.approx([0.01, 0.02]) and rates['score_pool3'] == pytest.approx([1e-4, 2e-4])
    assert slow(cats, **SLOWER['fcn8s']).layer[1:] == made.layer[1:]
    net = instantiate(training.fcn('deploy'))
    training.initialise(net, read_weights(photos / 'runs/cats-fcn8s/weights.caffemodel'))
    for name, blobs in net.params.items():
        for blob, old in zip(blobs, source[name], strict=True):
            expected = old
            if name.startswith('score'):
                expected = np.stack([old[2], 0 * old[1], old[0]])
            elif name.startswith('up'):
                expected = 0 * old
                for a, b in ((0, 2), (2, 0)):
                    for c, d in ((0, 2), (2, 0)):
                        expected[a, c] = old[b, d]
                expected[1, 1] = bilinear_kernel(old.shape[2])
            np.testing.assert_array_equal(blob.data, expected, err_msg=name)


def test_a_published_net_over_your_classes(photos, checkout, monkeypatch):
    """As `voc-fcn32s` with its released weights, here narrow ones: rows of VOC's numbers."""
    monkeypatch.setattr(nets, 'load', published)
    monkeypatch.setattr(nets, 'names', lambda: ['voc-fcn32s'])
    _, net = alive('voc-fcn32s')
    whole = published('voc-fcn32s')
    monkeypatch.setattr(nets, 'load', lambda _: replace(
        whole, fcn=lambda split: narrow(whole.fcn(split), 8, ('conv', 'fc'))))
    path = photos / 'weights/fcn32s-heavy-pascal.caffemodel'
    path.parent.mkdir()
    write_weights(path, {name: [blob.data for blob in blobs] for name, blobs in net.params.items()})
    text = write('more', photos / 'others', checkout, '--from', 'voc-fcn32s')
    assert 'kept, of car' in text and 'kept, of background' in text
    solver = next(checkout.glob('more_fcn32s/solve.py')).read_text()
    assert f'    0: {VOC.index("car")},' in solver and '    2: 0,' in solver and '# Car' in solver


def test_finer_nets_start_from_it(photos, checkout):
    write('cats', photos / 'photos', checkout, '--width', 8)
    random_weights(nets.load('cats-fcn32s').fcn('deploy'), photos / 'runs/cats-fcn32s/weights.caffemodel')
    write('more', photos / 'others', checkout, '--from', 'cats-fcn32s', '--head', 8)
    chain = [nets.load(f'more-fcn{stride}s') for stride in (32, 16, 8)]
    assert [training.init for training in chain] == [('cats-fcn32s',), ('more-fcn32s',), ('more-fcn16s',)]
    for training in chain:
        assert training.fcn('train').layer[1:] == nets.load(training.net.replace('more', 'cats')).fcn('train').layer[1:]
        recipe = nets.load(training.net.replace('more', 'cats')).recipe     # whose rate goes by other features
        assert replace(training.recipe, base_lr=recipe.base_lr) == recipe


@pytest.mark.parametrize('options, complaint', [
    (['--from', 'dogs-fcn8s'], 'neither a folder nor a net; the nets are .*cats-fcn8s'),
    (['--from', 'cats-fcn16s'], 'weights of cats-fcn16s are missing: train it .make cats-fcn16s'),
    (['--from', 'cats-fcn8s', '--width', 9], '--width 9: cats-fcn8s has 8 outputs in fc6 and fc7, .*leave --width out'),
    (['--from', 'cats-fcn8s', '--head', 32], '--head 32: cats-fcn8s is a net of stride 8; leave --head out'),
    (['--from', 'cats-fcn8s', '--trunk', 'vgg16'], '--from cats-fcn8s brings its own trunk; leave --trunk vgg16 out'),
    (['--from', 'siftflow-fcn8s'], 'it has 2 tasks with a softmax loss, score_sem, score_geo; take a net that has one'),
    (['--from', 'nyud-fcn32s-hha'], 'it sees hha; take a net that sees photographs'),
    (['--from', 'nyud-fcn32s-color-d'], 'it sees color and depth')])
def test_wrong_sources(options, complaint, photos, checkout, monkeypatch):
    write('cats', photos / 'photos', checkout, '--width', 8)
    random_weights(nets.load('cats-fcn8s').fcn('deploy'), photos / 'runs/cats-fcn8s/weights.caffemodel')
    names, load = nets.names(), nets.load
    more = ['siftflow-fcn8s', 'nyud-fcn32s-hha', 'nyud-fcn32s-color-d']
    monkeypatch.setattr(nets, 'names', lambda: [*names, *more])
    monkeypatch.setattr(nets, 'load', lambda name: published(name) if name in more else load(name))
    before = contents(photos / 'data') | contents(checkout)
    with pytest.raises(BadInput, match=complaint) as problem:
        write('more', photos / 'others', checkout, *options)
    assert '\n' not in str(problem.value) and contents(photos / 'data') | contents(checkout) == before


def test_a_net_with_the_same_width_may_be_asked_for(photos, checkout):
    write('cats', photos / 'photos', checkout, '--width', 8, '--head', 32)
    random_weights(nets.load('cats-fcn32s').fcn('deploy'), photos / 'runs/cats-fcn32s/weights.caffemodel')
    write('more', photos / 'others', checkout, '--from', 'cats-fcn32s', '--width', 8, '--balance')
    train = nets.load('more-fcn32s').fcn('train')
    assert 'score_weighted' in [x.name for x in train.layer]
    assert {x.name: x.convolution_param.num_output for x in train.layer}['fc6'] == 8


# ---------------------------------------------------------------------------------------------- from a folder

def test_from_the_folder_of_a_run(run, photos, checkout):
    """A net of its own shape is written down beside net.py; trained, interrupted, it goes on to the same bytes."""
    deploy = run / 'deploy.prototxt'        # which need not say how layers learn
    deploy.write_text(re.sub(r'^  param \{\n.*?^  \}\n', '', deploy.read_text(), flags=re.MULTILINE | re.DOTALL))
    assert 'lr_mult' not in deploy.read_text()
    write('more', photos / 'others', checkout, '--from', run)
    shutil.rmtree(run)                      # what is written stands alone
    name = next(name for name in nets.names() if name.startswith('more'))
    assert name == 'more-fcn8s' and sorted(path.name for path in (checkout / 'more_fcn8s').iterdir()) == [
        '__init__.py', 'deploy.prototxt', 'init.caffemodel', 'net.py', 'solve.py']
    training = nets.load(name)
    training = replace(training, recipe=replace(training.recipe, iterations=4, snapshot=2, score_every=2))
    assert training.recipe.base_lr == pytest.approx(nets.load('cats-fcn8s').recipe.base_lr)
    assert not next(x for x in training.fcn('train').layer if x.name == 'loss').loss_param.normalize
    frozen = {x.name: x.param[0].lr_mult for x in training.fcn('train').layer if x.name.startswith('conv')}
    assert frozen['conv1_1'] == 0 and frozen['conv5_1'] == 1        # as the source was trained
    whole, parts = photos / 'runs/whole', photos / 'runs/parts'
    solve(training, whole, training.init)
    solve(replace(training, recipe=replace(training.recipe, iterations=2)), parts, training.init)
    solve(training, parts, resume=True)
    assert (whole / 'metrics.jsonl').read_text() == (parts / 'metrics.jsonl').read_text()
    assert (whole / 'weights.caffemodel').read_bytes() == (parts / 'weights.caffemodel').read_bytes()
    said = (whole / 'init.txt').read_text()
    assert 'skipped  score_pool3' in said and 'coerced  score_pool3' in said
    assert source_of(training).classes('score') == tuple(OTHER)


@pytest.mark.parametrize('classes, count', [(['a', 'b'], 2), ([*'abcdefg'], 7)])
def test_fewer_and_more_classes_and_none_in_common(classes, count, run, photos, checkout, capsys):
    own.write(photos / 'new', classes=min(count, 3))
    save_lines(photos / 'new/classes.txt', classes)
    text = write('more', photos / 'new', checkout, '--from', run)
    error = capsys.readouterr().err
    assert f'warning: none of the {count} classes is one of ' in error and '(background, road, car)' in error
    assert text.count('new, from zero') == count
    training = nets.load('more-fcn8s')
    net = instantiate(training.fcn('deploy'))
    training.initialise(net, read_weights(training.init[0]))
    assert net.blobs['score'].channels == count
    for name in ('score_fr', 'score_pool4', 'score_pool3'):
        assert not any(blob.data.any() for blob in net.params[name])
    for name in ('upscore2', 'upscore8'):
        weights = net.params[name][0].data
        np.testing.assert_array_equal(weights[count - 1, count - 1], bilinear_kernel(weights.shape[2]).astype('f'))
        assert not weights[0, 1].any()
    assert net.params['fc6'][0].data.any()


def test_from_a_deploy_net_alone(photos, checkout, capsys, monkeypatch):
    """As from elsewhere: probabilities at its end, RGB pixels by half, and classes in net.json or not at all."""
    with monkeypatch.context() as patch:
        patch.setattr(nets, 'load', published)
        deploy, net = alive('voc-fcn32s')
    folder = photos / 'Theirs (1)'
    folder.mkdir()
    deploy.layer.add(name='prob', type='Softmax', bottom=['score'], top=['prob'])
    write_prototxt(folder / 'deploy.prototxt', deploy)
    write_weights(folder / 'theirs.caffemodel', {name: [b.data for b in blobs] for name, blobs in net.params.items()})
    text = write('none', photos / 'others', checkout, '--from', folder)
    assert 'not known, so all scores start at zero' in capsys.readouterr().err and text.count('new, from zero') == 3
    (folder / 'net.json').write_text(json.dumps({'mean': [1, 2, 3], 'scale': 0.5, 'order': 'rgb', 'classes': VOC}))
    write('more', photos / 'others', checkout, '--from', folder)
    training = nets.load('more-theirs-1')
    assert [x.name for x in training.fcn('deploy').layer][-1] == 'score'
    made = instantiate(training.fcn('deploy'))
    training.initialise(made, read_weights(training.init[0]))
    rgb = np.random.default_rng(0).uniform(-100, 100, (3, 40, 50)).astype(np.float32)   # less the mean
    scores = []
    for caffes, image in ((net, rgb * 0.5), (made, rgb[::-1])):
        caffes.blobs['data'].reshape(1, 3, 40, 50)
        caffes.blobs['data'].data[0] = image
        scores.append(caffes.forward(end='score')['score'][0])
    np.testing.assert_allclose(scores[1][[0, 2]], scores[0][[VOC.index('car'), 0]], rtol=1e-3, atol=1e-4)
    assert np.ptp(scores[0]) > 1e-3 and not scores[1][1].any()


def test_hostile_folders(run, photos, checkout):
    """Each is one line that names the file, and nothing is written."""
    prototxt, weights = (run / name for name in ('deploy.prototxt', 'weights.caffemodel'))
    good = {path: path.read_bytes() for path in (prototxt, weights, run / 'val.prototxt', run / 'solver.prototxt')}
    text = prototxt.read_text()
    assert 'kernel_size: 16' in text and 'num_output: 512' not in text

    def fifo(path):
        path.unlink()
        os.mkfifo(path)

    hostile = {
        'HDF5Output.*not let in': lambda: prototxt.write_text(text.replace('"Crop"', '"HDF5Output"', 1)),
        "Python module 'os'": lambda: prototxt.write_text(
            text + 'layer { name: "p" type: "Python" python_param { module: "os" layer: "system" } }'),
        'layer fc6 .*its window': lambda: prototxt.write_text(
            text.replace('kernel_size: 7', 'kernel_size: 7000')),
        'not a prototxt': lambda: prototxt.write_text(text[:-20]),
        'not a regular file': lambda: fifo(prototxt),
        'deploy.prototxt: cannot read': prototxt.unlink,
        'its scores are|takes no image|offset': lambda: prototxt.write_text(
            text.replace('offset: 31', 'offset: 190000')),
        'is it of another net': lambda: prototxt.write_text(
            text.replace('name: "fc7"', 'name: "fc7b"').replace('num_output: 8', 'num_output: 9')),
        'holds no weights for fc7b': lambda: prototxt.write_text(text.replace('name: "fc7"', 'name: "fc7b"')),
        'cut short|corrupt': lambda: weights.write_bytes(good[weights][:-50]),
        'empty': lambda: weights.write_bytes(b''),
        'weights.caffemodel .*not a regular file': lambda: fifo(weights),
        'has no weights.caffemodel; if it is a run': weights.unlink,
        'solver.prototxt.*not a prototxt': lambda: (run / 'solver.prototxt').write_text('nonsense: 3'),
        'no data layer': lambda: (run / 'val.prototxt').write_text(text),
        'called label': lambda: prototxt.write_text(re.sub('(top|bottom): "fc7"', r'\1: "label"', text)),
        'net.json': lambda: (run / 'net.json').write_text('[' * 100_000),
    }
    before = contents(photos / 'data') | contents(checkout)
    for complaint, change in hostile.items():
        change()
        with pytest.raises(BadInput, match=complaint) as problem:
            write('more', photos / 'others', checkout, '--from', run)
        assert '\n' not in str(problem.value), complaint
        assert contents(photos / 'data') | contents(checkout) == before
        for path, content in good.items():
            path.unlink(missing_ok=True)
            path.write_bytes(content)
    (run / 'net.json').unlink()
    write('more', photos / 'others', checkout, '--from', run)


def test_names_of_classes_do_not_become_code(run, photos, checkout):
    evil = '"""+__import__("os")+"""'
    save_lines(photos / 'others/classes.txt', ['car', evil, 'background'])
    (run / 'net.json').write_text(json.dumps({'classes': [evil, 'car', "\n'x"]}))
    folder = run.rename(run.with_name('a\'"""b'))
    text = write('more', photos / 'others', checkout, '--from', folder)
    assert 'kept, of """+__import__' in text
    for path in checkout.rglob('more*/*.py'):
        assert '__import__' not in path.read_text() and '"""b' not in path.read_text()
    assert '    1: 0,\n' in (checkout / 'more_fcn8s/solve.py').read_text()
