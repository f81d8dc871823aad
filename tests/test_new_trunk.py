"""`python -m nets new --trunk DIR`: nets for your own data on classifiers that surgery has brought here."""
import json
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
import nets  # noqa: E402
from cli import BadInput  # noqa: E402
from data_layers.own.folder import Card  # noqa: E402
from solvers.instance import instantiate, load  # noqa: E402
from solvers.loop import solve  # noqa: E402
from solvers.prototxts import read_solver  # noqa: E402
from solvers.snapshot import list_snapshots  # noqa: E402
from solvers.source import source_of  # noqa: E402
from surgery import __main__ as surgery  # noqa: E402
from surgery import import_model, read_weights, write_weights  # noqa: E402
from surgery.prototxt import read_net  # noqa: E402
from tests.helpers import own  # noqa: E402
from tests.helpers.commands import Command  # noqa: E402
from tests.helpers.own_nets import write  # noqa: E402
from tests.helpers.surgery_models import chain  # noqa: E402
from tests.helpers.surgery_nets import DATA, LENET, WHOLE, conv, ip, pool, randomise, relu  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.usefixtures('without_curves')]
ROOT = Path(__file__).resolve().parent.parent
SMALL = (DATA % (3, 32, 32) + conv('c1', 'data', num_output=4, kernel_size=3, pad=1, stride=2) + relu('r1', 'c1')
         + conv('c2', 'c1', num_output=6, kernel_size=3, pad=1, stride=4) + relu('r2', 'c2')
         + pool('p', 'c2', pool='AVE', global_pooling='true') + ip('fc', 'p', 5))


def classifier(folder, text, **more):
    """The folder of a classifier, as surgery writes it; `more` are JSON files."""
    folder.mkdir(parents=True)
    (folder / 'deploy.prototxt').write_text(text)
    net = caffe.Net(str(folder / 'deploy.prototxt'), caffe.TEST)
    randomise(net)
    for blobs in net.params.values():       # so that features are of the length of a trained net's
        blobs[0].data[...] *= 0.7
    net.save(str(folder / 'weights.caffemodel'))
    for name, value in more.items():
        (folder / f'{name}.json').write_text(json.dumps(value))
    return folder


def dense(folder, out, *options):
    """What `python -m surgery convolutionalize` makes of a classifier."""
    words = ['convolutionalize', '--prototxt', folder / 'deploy.prototxt', '--weights', folder / 'weights.caffemodel',
             '--out', out, '--grid', 0, *options]
    assert cli.run(surgery.main, [*map(str, words)]) == 0


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()} if folder.exists() else {}


@pytest.fixture
def photos(tmp_path):
    own.write(tmp_path / 'photos')
    return tmp_path / 'photos'


@pytest.mark.slow
@pytest.mark.parametrize('name, feature, skips', [
    ('resnet', 'res5b', ['res4b', 'res3b']),
    ('googlenet', 'drop_map', ['inception_4a/output', 'inception_3a/output'])])
def test_a_net_on_a_trunk(name, feature, skips, photos, checkout, tmp_path):
    """The net of `surgery convolutionalize --head`, fed as the other nets are; it learns and resumes exactly."""
    folder = classifier(tmp_path / name, WHOLE[name])
    text = write('roads', photos, checkout, '--trunk', folder)
    assert all(re.search(rf'^{blob} +{stride}$', text, re.MULTILINE)
               for blob, stride in zip([feature, *skips], (32, 16, 8), strict=True))
    assert nets.names() == [f'roads-fcn8s-{name}'] and f'make roads-fcn8s-{name}' in text
    dense(folder, tmp_path / 'out', '--head', '8', '--classes', '3')
    training = nets.load(nets.names()[0])
    assert training.fcn('deploy').layer == read_net(tmp_path / 'out/deploy.prototxt').layer
    theirs, ours = read_weights(tmp_path / 'out/init.caffemodel'), read_weights(training.init[0])
    assert theirs.keys() == ours.keys() and all(
        np.array_equal(a, b) for layer in ours for a, b in zip(theirs[layer], ours[layer], strict=True))
    by_surgery = read_net(tmp_path / 'out/train.prototxt').layer
    assert list(training.fcn('train').layer)[1:] == [x for x in by_surgery if x.type != 'Input']
    solver = read_solver(tmp_path / 'out')
    assert (training.recipe.base_lr, training.recipe.momentum) == (pytest.approx(solver.base_lr), 0.9)

    training = replace(training, recipe=replace(training.recipe, iterations=4, snapshot=2, score_every=2))
    whole, parts = tmp_path / 'runs/whole', tmp_path / 'runs/parts'
    solve(training, whole, training.init)
    solve(replace(training, recipe=replace(training.recipe, iterations=2)), parts, training.init)
    solve(training, parts, resume=True)
    assert (whole / 'metrics.jsonl').read_text() == (parts / 'metrics.jsonl').read_text()
    assert (whole / 'weights.caffemodel').read_bytes() == (parts / 'weights.caffemodel').read_bytes()
    first = json.loads((whole / 'metrics.jsonl').read_text().splitlines()[0])['loss']
    assert first == pytest.approx(np.log(3), rel=1e-3)
    assert source_of(training).classes('score') == own.CLASSES
    load(instantiate(training.fcn('deploy')), whole / 'weights.caffemodel', exactly=True)


def scores_of(training, image):
    net = instantiate(training.fcn('deploy'))
    training.initialise(net, read_weights(training.init[0]))
    net.params['score_fr'][0].data[...] = np.random.default_rng(0).standard_normal(net.params['score_fr'][0].data.shape)
    net.blobs['data'].reshape(1, *image.shape)
    net.blobs['data'].data[0] = image
    return net.forward()['score'][0].copy()


@pytest.mark.parametrize('files, channels, turn', [
    ({}, 3, lambda bgr: bgr),
    ({'net': {'mean': [1, 2, 3], 'scale': 0.25, 'order': 'rgb'}}, 3, lambda bgr: bgr[::-1] * 0.25),
    ({'report': {'transform': {'mean': [], 'scale': 0.25}}}, 3, lambda bgr: bgr * 0.25),
    ({'net': {}, 'report': {'transform': {'scale': 0.5}}}, 3, lambda bgr: bgr),     # net.json rules
    ({'net': {'order': 'grey'}}, 1, lambda bgr: np.tensordot((0.114, 0.587, 0.299), bgr, 1)[None])])
def test_pixels_as_the_trunk_wants_them(files, channels, turn, photos, checkout, tmp_path):
    """Scores of blue, green and red are those of a trunk that gets what its net.json or report says, run by Caffe."""
    text = SMALL.replace('dim: 1 dim: 3', f'dim: 1 dim: {channels}')
    write('roads', photos, checkout, '--trunk', classifier(tmp_path / 'theirs', text, **files))
    training = nets.load('roads-fcn8s-theirs')
    bgr = np.random.default_rng(1).uniform(-100, 100, (3, 30, 41)).astype(np.float32)
    mine = scores_of(training, bgr)
    original = training.fcn('deploy')
    original.layer[0].input_param.shape[0].dim[1] = channels
    theirs = replace(training, fcn=lambda _: original, init=(first_as_it_was(training, tmp_path),))
    expected = scores_of(theirs, turn(bgr))
    np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert np.abs(expected).max() > 0


def first_as_it_was(training, folder):
    """The weights that a net starts from, with the first convolution of the classifier's own file."""
    theirs, path = read_weights(folder / 'theirs/weights.caffemodel'), folder / 'as_it_was.caffemodel'
    write_weights(path, read_weights(training.init[0]) | {'c1': theirs['c1']})
    return path


@pytest.mark.slow
def test_folders_that_surgery_writes(photos, checkout, tmp_path):
    """An imported ONNX model and its dense net are a trunk; what has a head already is not."""
    rng = np.random.default_rng(0)
    constants = [(name, rng.normal(size=shape).astype('f') * np.float32(0.2)) for name, shape in (
        ('w1', (4, 3, 4, 4)), ('w2', (6, 4, 2, 2)), ('w3', (6, 5)), ('b3', 5))]
    model = chain(('Conv', 'x w1', 'a', {'strides': [4, 4]}), ('Relu', 'a', 'b', {}),
                  ('Conv', 'b w2', 'c', {'strides': [2, 2]}), ('GlobalAveragePool', 'c', 'd', {}),
                  ('Flatten', 'd', 'e', {}), ('Gemm', 'e w3 b3', 'y', {}), shape=(1, 3, 64, 64), constants=constants)
    (tmp_path / 'model.onnx').write_bytes(model.SerializeToString())
    (tmp_path / 'imported').mkdir()
    import_model(tmp_path / 'model.onnx', tmp_path / 'imported')
    for name, more in (('dense', []), ('headed', ['--head', '8', '--classes', '4'])):
        dense(tmp_path / 'imported', tmp_path / name, *more)
    made = []
    for name in ('imported', 'dense'):
        write(f'by-{name}', photos, checkout, '--trunk', tmp_path / name)
        training = nets.load(f'by-{name}-fcn8s-{name}')
        made.append((training.fcn('deploy').layer, read_weights(training.init[0]), training.recipe))
    for layers, weights, recipe in made[1:]:
        assert layers == made[0][0] and recipe == made[0][2] and weights.keys() == made[0][1].keys()
        assert all(np.array_equal(a, b) for x in weights for a, b in zip(weights[x], made[0][1][x], strict=True))
    with pytest.raises(BadInput, match='has a head already; name the folder of the classifier'):
        write('by-headed', photos, checkout, '--trunk', tmp_path / 'headed')


def test_strides(photos, checkout, tmp_path):
    folder = classifier(tmp_path / 'ResNet_18', WHOLE['resnet'])
    write('coarse', photos, checkout, '--trunk', folder, '--head', 16, '--balance')
    training = nets.load('coarse-fcn16s-resnet-18')
    assert [x.name for x in training.fcn('train').layer][-2:] == ['score_weighted', 'loss']
    lenet = classifier(tmp_path / 'lenet', LENET)
    with pytest.raises(BadInput, match='no layer at stride 32 .*it has 1, 2, 4; choose with --head'):
        write('fine', photos, checkout, '--trunk', lenet)
    write('fine', photos, checkout, '--trunk', lenet, '--head', 2)
    assert nets.names() == ['coarse-fcn16s-resnet-18', 'fine-fcn2s-lenet']


@pytest.mark.parametrize('options, complaint', [
    (['--trunk', 'nowhere'], '--trunk nowhere: neither a folder nor one of vgg16, alexnet, googlenet'),
    (['--trunk', '{}', '--width', 8], '--width 8: a number above 0, and for a trunk with fc6 and fc7'),
    (['--trunk', '{}', '--from', 'voc-fcn8s'], 'brings its own trunk'),
    (['--trunk', '{}', '--head', 4], '--head 4: the trunk has no layer at stride 4 .*it has 2, 8'),
    (['--trunk', '{}', '--head', 0], '--head 0: give the stride'), (['--head', 4], '--head 4: give the stride'),
    (['--trunk', 'alexnet', '--head', 16], 'has no head of stride 16')])
def test_wrong_calls(options, complaint, photos, checkout, tmp_path):
    folder = classifier(tmp_path / 'small', SMALL)
    with pytest.raises(BadInput, match=complaint):
        write('roads', photos, checkout, *(str(option).format(folder) for option in options))
    assert not contents(checkout) and not (tmp_path / 'data').exists()


def test_hostile_folders(photos, checkout, tmp_path):
    """Each is one line, and nothing is written."""
    folder = classifier(tmp_path / 'small', SMALL)
    prototxt, weights = folder / 'deploy.prototxt', folder / 'weights.caffemodel'
    good, blobs = {path: path.read_bytes() for path in (prototxt, weights)}, read_weights(weights)

    def fifo(path):
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    hostile = {
        'has no deploy.prototxt; make it with python -m surgery import': prototxt.unlink,
        'deploy.prototxt .*not a regular file': lambda: fifo(prototxt),
        'weights.caffemodel .*not a regular file': lambda: fifo(weights),
        'weights.caffemodel: .*no such file|cannot read|No such file': weights.unlink,
        'cut short|corrupt': lambda: weights.write_bytes(good[weights][:-7]),
        'not a prototxt': lambda: prototxt.write_text(SMALL[:-10]),
        'layer r1 .Nonsense.: a type': lambda: prototxt.write_text(SMALL.replace('"ReLU"', '"Nonsense"', 1)),
        'layer c1: blob 0': lambda: prototxt.write_text(SMALL.replace('num_output: 4', 'num_output: 5')),
        'holds no weights for its layer c2b': lambda: prototxt.write_text(SMALL.replace('name: "c2"', 'name: "c2b"')),
        'called label': lambda: prototxt.write_text(re.sub('(top|bottom): "c2"', r'\1: "label"', SMALL)),
        'its input, 3 channels bgr times 3': lambda: (
            prototxt.write_text(SMALL.replace('bottom: "data"', 'bottom: "n"', 1).replace(
                'layer { name: "c1"', 'layer { name: "n" type: "LRN" bottom: "data" top: "n" }\nlayer { name: "c1"')),
            (folder / 'net.json').write_text('{"scale": 3}')),
        'net.json': lambda: (folder / 'net.json').write_text('[' * 100_000),
        'net.json .*not a regular file': lambda: fifo(folder / 'net.json'),
        'report.json: the scale is of the wrong kind': lambda: (
            (folder / 'net.json').unlink(), (folder / 'report.json').write_text('{"transform": {"scale": "x"}}')),
    }
    for complaint, change in hostile.items():
        change()
        with pytest.raises(BadInput, match=complaint) as problem:
            write('roads', photos, checkout, '--trunk', folder)
        assert '\n' not in str(problem.value), complaint
        assert not contents(checkout) and not (tmp_path / 'data').exists()
        for path, content in good.items():
            path.unlink(missing_ok=True)
            path.write_bytes(content)
    (folder / 'report.json').write_text('[]')
    write_weights(weights, {name: [blob * np.float32('nan') for blob in both] for name, both in blobs.items()})
    with pytest.raises(cli.Failed, match='not finite, so nothing is proved'):
        write('roads', photos, checkout, '--trunk', folder)
    assert not contents(checkout) and not (tmp_path / 'data').exists()


def test_what_fails_in_the_end_leaves_nothing(photos, checkout, tmp_path, monkeypatch):
    """The disk is full when dataset.json is written, after the prototxt and the weights of the net."""
    written = []

    def full(card, path):
        written.extend(sorted(path.name for path in contents(checkout / 'roads_fcn8s_small')))
        raise BadInput(f'{path}: cannot write: No space left on device')

    monkeypatch.setattr(Card, 'write', full)
    with pytest.raises(BadInput, match='No space left'):
        write('roads', photos, checkout, '--trunk', classifier(tmp_path / 'small', SMALL))
    assert written == ['__init__.py', 'deploy.prototxt', 'init.caffemodel', 'net.py', 'solve.py']
    assert not list(checkout.iterdir()) and not (tmp_path / 'data').exists()


@pytest.mark.slow
def test_by_command(tmp_path):
    """In a copy of the checkout: made, listed, trained, killed, resumed to the same bytes, and used."""
    copy = tmp_path / 'checkout'
    copy.mkdir()
    for name in ('nets', 'solvers', 'data_layers', 'surgery'):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('cli.py', 'files.py', 'workers.py'):
        shutil.copy(ROOT / name, copy)
    if (ROOT / 'accel').is_dir():
        shutil.copytree(ROOT / 'accel', copy / 'accel', ignore=shutil.ignore_patterns('__pycache__'))
    own.write(tmp_path / 'photos')
    trunk = classifier(tmp_path / 'resnet', WHOLE['resnet'])
    environment = {f'FCN_{name}': str(tmp_path / name) for name in ('DATA', 'RUNS', 'WEIGHTS')}
    environment['PYTHONPATH'] = str(copy)

    def command(*words):
        made = Command(copy, *words, **environment)
        said = made.process.communicate(timeout=120)
        assert made.process.returncode == 0, said
        return said[0]

    photos, run = tmp_path / 'photos', tmp_path / 'parts'
    assert 'make roads-fcn8s-resnet' in command('-m', 'nets', 'new', 'roads', '--data', photos, '--trunk', trunk)
    assert 'roads-fcn8s-resnet' in command('-m', 'nets', 'list').split()
    assert 'score_res3b' in command('-m', 'nets', 'summary', 'roads-fcn8s-resnet')
    command('-m', 'nets', 'emit', 'roads-fcn8s-resnet', '--out', tmp_path / 'emitted')
    emitted = {path.stem for path in (tmp_path / 'emitted/roads-fcn8s-resnet').iterdir()}
    assert emitted == {'train', 'val', 'deploy', 'solver', 'net'}
    module = copy / 'nets/roads.py'
    module.write_text(re.sub('snapshot=[0-9_]+', 'snapshot=1', module.read_text()))
    solver = ['nets/roads_fcn8s_resnet/solve.py', '--cpu', '--iterations', '6', '--workers', '0', '--run']
    command(*solver, tmp_path / 'whole')
    killed = Command(copy, *solver, run, **environment)
    killed.wait_until(lambda: (run / 'snapshots').exists() and len(list_snapshots(run / 'snapshots')) > 1)
    killed.end(signal.SIGKILL)
    assert not (run / 'weights.caffemodel').exists()
    command(*solver, run, '--resume')
    assert (tmp_path / 'whole/weights.caffemodel').read_bytes() == (run / 'weights.caffemodel').read_bytes()
    command('-m', 'nets.infer', '--net', 'roads-fcn8s-resnet', '--weights', run / 'weights.caffemodel', '--cpu',
            photos / 'images', '--out', tmp_path / 'overlays')
    assert len(list((tmp_path / 'overlays').glob('*_overlay.jpg'))) == 5
    assert 'kept, of road' in command('-m', 'nets', 'new', 'more', '--data', photos, '--from', run)
