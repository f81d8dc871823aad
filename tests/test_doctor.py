"""`python -m solvers doctor`: set-ups that learn are broken in one way at a time, and it names the cause of each."""
import json
import math
import re
import shutil

import numpy as np
import pytest
from PIL import Image

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from caffe.proto import caffe_pb2  # noqa: E402

import cli  # noqa: E402
import files  # noqa: E402
from data_layers.palette import save_indexed  # noqa: E402
from solvers import __main__ as solvers  # noqa: E402
from solvers import weights as weights_module  # noqa: E402
from solvers.doctor import schedule  # noqa: E402
from solvers.doctor.finding import CAUSES, cause_of, sentence, wrong  # noqa: E402
from solvers.doctor.labels import outlines  # noqa: E402
from solvers.doctor.layers import problem_of_kernel  # noqa: E402
from solvers.doctor.outlines import WAYS, align  # noqa: E402
from solvers.folder import read_folder  # noqa: E402
from solvers.loop import solve  # noqa: E402
from surgery import read_weights, write_weights  # noqa: E402
from surgery.bilinear import bilinear_kernel  # noqa: E402
from tests.helpers import own, own_nets, set_ups  # noqa: E402
from tests.helpers.commands import tree  # noqa: E402
from tests.helpers.datasets import save_png  # noqa: E402

pytestmark = [pytest.mark.caffe, pytest.mark.usefixtures('without_curves')]
MINUTES = '0.02'
MEAN_RATE, SUMMED_RATE = 1e-3, 1e-6     # at which the small net learns


def doctor(capsys, *arguments):
    """Exit status, and what is printed as JSON."""
    capsys.readouterr()
    status = cli.run(solvers.main, ['doctor', *map(str, arguments), '--cpu', '--minutes', MINUTES, '--json'])
    return status, json.loads(capsys.readouterr().out)


def small(place, normalize=True, **changes):
    """A small set-up that learns, with a mean loss or a summed one."""
    rate = MEAN_RATE if normalize else SUMMED_RATE
    return set_ups.SetUp(place, lambda root: set_ups.small(root, normalize=normalize), set_ups.small_weights(),
                         **{'base_lr': rate} | changes)


# ---------------------------------------------------------------------------------------------------- breakages

def masks(setup, change):
    """Change every mask."""
    for path in sorted((setup.root / 'masks').iterdir()):
        save_indexed(path, change(np.array(Image.open(path))))


def from_one(setup):
    masks(setup, lambda label: np.where(label == 255, 255, label + 1).astype(np.uint8))


def smooth(setup):
    for path in sorted((setup.root / 'masks').iterdir()):
        label = np.array(Image.open(path))
        grey = Image.fromarray(np.where(label == 255, 0, label * 100).astype(np.uint8))
        wide, high = grey.size
        half = grey.resize((wide // 2, high // 2), Image.BILINEAR)
        save_png(path, np.array(half.resize((wide, high), Image.BILINEAR)))
    setup.card(values={'0': 'ground', '100': 'road', '200': 'car'})


def other_masks(setup):
    """Every photograph gets the mask of the next."""
    paths = sorted((setup.root / 'masks').iterdir())
    content = [path.read_bytes() for path in paths]
    for path, other in zip(paths, content[1:] + content[:1], strict=True):
        path.write_bytes(other)


def smaller_masks(setup):
    for path in sorted((setup.root / 'masks').iterdir()):
        image = Image.open(path)
        image.resize((image.width // 2, image.height // 2), Image.NEAREST).save(path)


def photographs(setup, change):
    """Change every photograph, H x W x 3."""
    for path in sorted((setup.root / 'images').iterdir()):
        Image.fromarray(change(np.array(Image.open(path))).astype(np.uint8)).save(path, quality=95, subsampling=0)


def outputs(setup, count):
    for name in ('score_fr', 'upscore2', 'score_pool2', 'upscore4'):
        for layer in setup.layer(name):
            layer.convolution_param.num_output = count


def losses(setup, **values):
    for layer in setup.layer('loss'):
        for name, value in values.items():
            setattr(layer.loss_param, name, value)


def without_ignore_label(setup):
    for layer in setup.layer('loss'):
        layer.loss_param.ClearField('ignore_label')


def loss_weight(setup, weight):
    for layer in setup.layer('loss'):
        layer.loss_weight.append(weight)


def rename(setup, **names):
    """Call layers of the nets otherwise than in the caffemodel."""
    for old, new in names.items():
        for layer in setup.layer(old):
            layer.name = new
            layer.convolution_param.weight_filler.type = 'msra'


def rates(setup, names, rate=0):
    for layer in (layer for name in names for layer in setup.layer(name)):
        for param in layer.param:
            param.lr_mult = rate


def filler(setup, name, kind, **values):
    for layer in setup.layer(name):
        layer.convolution_param.weight_filler.type = kind
        for key, value in values.items():
            setattr(layer.convolution_param.weight_filler, key, value)


def offset(setup, name, value):
    for layer in setup.layer(name):
        layer.crop_param.offset[:] = [value]


def drop(setup, name, ratio):
    for one in setup.layer(name):
        one.dropout_param.dropout_ratio = ratio


def offset_of_scored(setup):
    next(layer for layer in setup.nets['val'].layer if layer.name == 'score').crop_param.offset[:] = [9]


def weights(setup, name, blob, change):
    setup.weights[name][blob] = np.asarray(change(setup.weights[name][blob]), np.float32)


def solver(setup, **values):
    for name, value in values.items():
        getattr(setup.solver, name).extend(value) if isinstance(value, list) else setattr(setup.solver, name, value)


def stop_gradient(setup):
    for name in ('conv3', 'score_pool2'):
        for layer in setup.layer(name):
            layer.propagate_down.append(False)


def dim(setup):
    """Multiply pixels by 1/255 in the net."""
    for net in setup.nets.values():
        first = next(layer for layer in net.layer if layer.name == 'conv1')
        first.bottom[0] = 'dim'
        at = list(net.layer).index(first)
        rest = [type(first).FromString(layer.SerializeToString()) for layer in net.layer[at:]]
        del net.layer[at:]
        net.layer.add(name='dim', type='Power', bottom=['data'], top=['dim']).power_param.scale = 1 / 255
        net.layer.extend(rest)


BREAKAGES = [
    ('labels are counted from 1', from_one, 'label values'),
    ('void is not described', lambda s: s.card(values={'0': 'ground', '1': 'road', '2': 'car'}), 'label values'),
    ('masks are smoothed', smooth, 'label values'),
    ('masks are of half the size', smaller_masks, 'label size'),
    ('every label is void', lambda s: masks(s, lambda label: np.full_like(label, 255)), 'void'),
    ('one class everywhere', lambda s: masks(s, lambda label: np.where(label == 255, label, 1).astype(np.uint8)),
     'one class'),
    ('masks are mirrored', lambda s: masks(s, lambda label: label[:, ::-1].copy()), 'mirrored masks'),
    ('masks are upside down', lambda s: masks(s, lambda label: label[::-1].copy()), 'mirrored masks'),
    ('masks are shifted', lambda s: masks(s, lambda label: np.roll(label, (8, 6), (0, 1))), 'shifted masks'),
    ('masks are those of other images', other_masks, 'masks of other images'),
    ('num_output is too small', lambda s: outputs(s, 2), 'classes'),
    ('num_output is too large', lambda s: outputs(s, 4), 'classes'),
    ('no ignore_label', without_ignore_label, 'ignore label'),
    ('ignore_label is 0', lambda s: losses(s, ignore_label=0), 'ignore label'),
    ('loss_weight is 0', lambda s: loss_weight(s, 0), 'loss weight'),
    ('loss_weight is 1e-5', lambda s: loss_weight(s, 1e-5), 'loss weight'),
    ('layers are called otherwise', lambda s: rename(s, conv1='c1', conv2='c2', conv3='c3', fc4='f4'), 'transplant'),
    ('one layer is called otherwise', lambda s: rename(s, conv2='conv2_1'), 'transplant'),
    ('a layer has no weights', lambda s: s.weights.pop('conv2'), 'zero layers'),
    ('a layer has other weights', lambda s: weights(s, 'conv2', 0, lambda w: w[:, :, :1, :1]), 'transplant'),
    ('the caffemodel is damaged', lambda s: (s.write() / 'init.caffemodel').write_bytes(b'x' * 999), 'weights'),
    ('NaN in the weights', lambda s: weights(s, 'conv3', 0, lambda w: np.where(w == w.max(), np.nan, w)), 'not finite'),
    ('photographs are from 0 to 1', lambda s: photographs(s, lambda image: image > 127), 'pixel scale'),
    ('no mean is subtracted', lambda s: s.card(mean=[0, 0, 0]), 'mean'),
    ('the mean is from 0 to 1', lambda s: s.card(mean=[0.41, 0.46, 0.48]), 'mean'),
    ('the mean is from red to blue', lambda s: s.card(mean=[122.68, 116.67, 104.01]), 'channel order'),
    ('red and blue of the photographs are exchanged',
     lambda s: (s.card(mean=[64.4, 64.1, 143.6]), photographs(s, lambda image: image[:, :, ::-1])), 'channel order'),
    ('scores have lr_mult 0', lambda s: rates(s, ['score_fr', 'score_pool2']), 'frozen'),
    ('every layer has lr_mult 0', lambda s: rates(s, ['conv1', 'conv2', 'conv3', 'fc4', 'score_fr', 'score_pool2']),
     'frozen'),
    ('a deconvolution is filled with zeros', lambda s: filler(s, 'upscore4', 'constant', value=0), 'upsampling'),
    ('a deconvolution is filled at random', lambda s: filler(s, 'upscore4', 'gaussian', std=0.1), 'upsampling'),
    ('a Crop begins elsewhere', lambda s: offset(s, 'score', 4), 'crop'),
    ('a Crop of a skip begins elsewhere', lambda s: offset(s, 'score_pool2c', 1), 'crop'),
    ('units are dead', lambda s: weights(s, 'conv2', 1, lambda b: b - 1e4), 'dead units'),
    ('activations explode', lambda s: weights(s, 'conv2', 0, lambda w: w * 1e8), 'activations'),
    ('gradients are stopped', stop_gradient, 'gradient'),
    ('momentum is 0.9995', lambda s: solver(s, momentum=0.9995), 'momentum'),
    ('weight decay is 20', lambda s: solver(s, weight_decay=20), 'weight decay'),
    ('the rate is 1e5 times too large', lambda s: solver(s, base_lr=MEAN_RATE * 1e5), 'rate too large'),
    ('the rate is 1e3 times too large', lambda s: solver(s, base_lr=MEAN_RATE * 1e3), 'rate too large'),
    ('the rate is 1e4 times too small', lambda s: solver(s, base_lr=MEAN_RATE / 1e4), 'rate too small'),
    ('the rate is 1e6 times too small', lambda s: solver(s, base_lr=MEAN_RATE / 1e6), 'rate too small'),
    ('a mean loss gets the rate of a summed one', lambda s: solver(s, base_lr=1e-10, momentum=0.99), 'rate too small'),
    ('a summed loss gets the rate of a mean one', lambda s: losses(s, normalize=False), 'rate too large'),
    ('the policy has decayed at once', lambda s: solver(s, lr_policy='step', gamma=0.1, stepsize=10), 'policy'),
    ('the policy lets the rate grow', lambda s: solver(s, lr_policy='exp', gamma=1.01), 'policy'),
    ('gradients are clipped to nothing', lambda s: solver(s, clip_gradients=1e-6), 'clipping'),
    ('pixels are multiplied by 1/255', dim, 'pixel scale'),
    ('numbers vanish', lambda s: [weights(s, name, 0, lambda w: w * 1e-4) or weights(s, name, 1, lambda b: 0 * b)
                                  for name in s.weights], 'activations'),
    ('a layer has lr_mult -1', lambda s: rates(s, ['conv3'], -1), 'lr_mult'),
    ('a layer has lr_mult 1e5', lambda s: rates(s, ['conv3'], 1e5), 'lr_mult'),
    ('dropout takes all', lambda s: drop(s, 'drop4', 0.99), 'dropout'),
    ('a run has 3 steps', lambda s: solver(s, max_iter=3), 'steps'),
    ('the scored net has a Crop elsewhere', lambda s: offset_of_scored(s), 'crop'),
    ('momentum is 1', lambda s: solver(s, momentum=1), 'set-up'),
    ('photographs are missing', lambda s: shutil.rmtree(s.root / 'images'), 'data'),
]


def judge(capsys, verdicts):
    """Print a table of breakages, each with the cause to name, None for a healthy one, and what the doctor said."""
    rows, wrong = [], []
    for what, cause, status, found in verdicts:
        right = (status, found['cause']) == (int(cause is not None), cause)
        rows.append((what, str(found['cause']), 'yes' if right else f'NO, {cause}', found['sentence']))
        wrong += [] if right else [what]
    with capsys.disabled():
        print('\n' + cli.table([('breakage', 'cause named', 'right?', ''), *rows]))
        print(f'{len(rows) - len(wrong)} of {len(rows)} right')
    assert not wrong


@pytest.mark.slow
def test_every_breakage_is_named(tmp_path, capsys):
    """Prints the table: breakage, cause that was named, whether that is right."""
    verdicts = []
    for number, (what, break_it, cause) in enumerate(BREAKAGES):
        setup = small(tmp_path / str(number))
        break_it(setup)
        if not (setup.folder / 'init.caffemodel').exists():
            setup.write()
        status, found = doctor(capsys, setup.folder)
        verdicts.append((what, cause, status, found))
    judge(capsys, verdicts)


# ------------------------------------------------------------------------------------------------------- BatchNorm

def statistics(blobs, scale=1.0, count=None, variance=1.0):
    """The stored statistics of a BatchNorm otherwise."""
    return [blobs[0] * scale, blobs[1] * variance, blobs[2] if count is None else np.full_like(blobs[2], count)]


NORMALISED = [
    ('healthy', lambda w: None, None),
    ('statistics were never gathered', lambda w: w.update({n: [0 * b for b in w[n]] for n in ('bn1', 'bn2', 'bn3')}),
     'batch statistics'),
    ('variances are 0', lambda w: w.update({n: statistics(w[n], variance=0) for n in ('bn2',)}), 'batch statistics'),
    ('red and blue are exchanged', lambda w: w.update(c1=[np.ascontiguousarray(w['c1'][0][:, ::-1])]), 'channel order'),
    ('a classifier for pixels from 0 to 1', lambda w: w.update(c1=[w['c1'][0] * 255]), 'pixel scale'),
]


@pytest.mark.slow
def test_a_head_on_batch_norm(tmp_path, capsys):
    verdicts = []
    for number, (what, break_it, cause) in enumerate(NORMALISED):
        place = tmp_path / str(number)
        root = small(place).root
        head = set_ups.normalised(place / 'trunk', root)
        weights = read_weights(head / 'init.caffemodel')
        break_it(weights)
        write_weights(head / 'init.caffemodel', weights)
        status, found = doctor(capsys, head)
        verdicts.append((what, cause, status, found))
    judge(capsys, verdicts)


# ------------------------------------------------------------------------------------------------------------- runs

STEPS = 160


def run_of(setup, place):
    """A real run of the set-up's folder: 160 steps, scored and saved every 40."""
    setup.solver.max_iter, setup.solver.snapshot = STEPS, 40
    found = read_folder(setup.write())
    solve(found.training, place, found.initial)
    return place


def lines(run, change):
    """Change the lines of metrics.jsonl: change(line) in place."""
    path = run / 'metrics.jsonl'
    found = [json.loads(line) for line in path.read_text().splitlines()]
    for line in found:
        change(line)
    path.write_text(''.join(json.dumps(line) + '\n' for line in found))


def told(line, loss):
    """Let a line tell another loss, the mean over an image's pixels."""
    line.update(loss=loss, pixel_loss=loss)


def parts_at_40(run):
    """The held-out loss rises from step 40 on."""
    def change(line):
        if 'scores' in line and line['iteration'] > 40:
            told(line, line['pixel_loss'] * line['iteration'] / 40)
    lines(run, change)


def stays(line):
    if 'scores' not in line:
        told(line, math.log(3))


def ends(line):
    if line['iteration'] > 90:
        told(line, math.nan)


def spoil(run, change):
    """Change the weights of the newest snapshot."""
    path = sorted((run / 'snapshots').iterdir())[-1] / 'train.caffemodel'
    path = next(path.parent.glob('*.caffemodel'))
    found = read_weights(path)
    path.unlink()
    write_weights(path, {name: [np.asarray(change(name, i, blob), np.float32) for i, blob in enumerate(blobs)]
                         for name, blobs in found.items()})


def inverted(setup):
    """The held-out photographs are negatives, overexposed."""
    held_out = [line.split('\t')[1] for line in (setup.root / 'val.tsv').read_text().splitlines()]
    for name in held_out:
        image = np.array(Image.open(setup.root / name)).astype(int)
        Image.fromarray((255 - image // 4).astype(np.uint8)).save(setup.root / name, quality=95)


RUNS = [
    ('healthy', None, None, None),
    ('held-out photographs are of another kind', inverted, None, 'held-out images'),
    ('the held-out loss parts from training', None, parts_at_40, 'overfitting'),
    ('the loss stays at chance', None, lambda run: lines(run, stays), 'chance'),
    ('the loss is NaN', None, lambda run: lines(run, ends), 'diverged'),
    ('NaN in the snapshot', None, lambda run: spoil(
        run, lambda name, i, blob: blob * np.nan if name == 'conv3' else blob), 'weights now'),
    ('dead units in the snapshot', None, lambda run: spoil(
        run, lambda name, i, blob: blob - 1e4 if (name, i) == ('fc4', 1) else blob), 'weights now'),
]


@pytest.mark.slow
def test_runs(tmp_path, capsys):
    verdicts = []
    for number, (what, before, after, cause) in enumerate(RUNS):
        setup = small(tmp_path / str(number), base_lr=3e-3)
        if before:
            before(setup)
        run = run_of(setup, tmp_path / str(number) / 'run')
        if after:
            after(run)
        status, found = doctor(capsys, run)
        verdicts.append((what, cause, status, found))
    judge(capsys, verdicts)


# --------------------------------------------------------------------------------------------------------- healthy

def of_vgg(stride, rate, **options):
    def make(place):
        return set_ups.SetUp(place, lambda root: set_ups.vgg(stride, root, **options), set_ups.classifier(),
                             base_lr=rate, momentum=0.99).write()
    return make


def many(place):
    """Photographs and classes as in a real data set: more of both."""
    return small(place, size=(80, 120), iterations=20_000).write()


HEALTHY = [
    ('a small net, mean loss', lambda place: small(place).write()),
    ('a small net, summed loss', lambda place: small(place, normalize=False).write()),
    ('larger images', many),
    ('FCN-32s', of_vgg(32, 1e-6)),
    ('FCN-16s', of_vgg(16, 1e-7)),
    ('FCN-8s', of_vgg(8, 1e-7)),
    ('FCN-8s, mean loss', of_vgg(8, 3e-4, normalize=True)),
]


@pytest.mark.slow
def test_nothing_is_wrong_with_what_learns(tmp_path, capsys):
    rows, wrong = [], []
    for number, (what, make) in enumerate(HEALTHY):
        status, found = doctor(capsys, make(tmp_path / str(number)))
        looks = '; '.join(f'{one["check"]}: {one["what"]}' for one in found['checks'] if one['state'] != 'OK')
        rows.append((what, found['sentence'], looks))
        wrong += [what] if status else []
    with capsys.disabled():
        print('\n' + cli.table([('set-up', 'said', ''), *rows]))
    assert not wrong


# ------------------------------------------------------------------------------------------------------ in a moment

def test_what_is_printed(tmp_path, capsys):
    """A healthy set-up and one that is broken: the table, the last line, the exit status; nothing is written."""
    setup = small(tmp_path)
    folder = setup.write()
    before = tree(tmp_path)
    assert cli.run(solvers.main, ['doctor', str(folder), '--cpu', '--minutes', MINUTES]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == 'Nothing wrong found.'
    assert all(len(line.replace(str(tmp_path), '')) <= 120 for line in out)     # a path is one word, however long
    assert any(line.startswith('OK     one image') for line in out)
    assert not any(line.startswith('wrong') for line in out)
    assert any('guessing is ln(3) = 1.10' in line for line in out) and any('the mean over' in line for line in out)
    assert tree(tmp_path) == before
    setup.solver.base_lr = 1e-9
    setup.write()
    assert cli.run(solvers.main, ['doctor', str(folder), '--cpu', '--minutes', MINUTES]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith('The cause: the rate 1e-09 is ')
    advised = re.search(rf'write base_lr: (\S+) into {folder}/solver.prototxt', last)
    assert advised and 1e-4 <= float(advised[1]) <= 1e-2


def test_a_net_by_its_name(tmp_path, checkout, monkeypatch, capsys):
    """What `nets new` writes, without the classifier's weights, and without its data."""
    own.write(tmp_path / 'photos')
    own_nets.write('roads', tmp_path / 'photos', checkout, '--width', '8')
    monkeypatch.setattr(weights_module, 'ROOT', tmp_path)
    status, found = doctor(capsys, 'roads-fcn32s')
    assert (status, found['cause']) == (1, 'weights')
    assert 'weights of roads' in found['sentence'] or 'vgg16' in found['sentence']
    shutil.rmtree(tmp_path / 'photos')
    status, found = doctor(capsys, 'roads-fcn32s')
    assert (status, found['cause']) == (1, 'data')


@pytest.mark.parametrize('arguments, said', [
    (['nowhere'], 'nowhere is neither a folder nor a net'),
    (['.', '--minutes', '0'], '--minutes 0: give a number above 0'),
    (['.', '--seed', '-1'], '--seed -1: give a number from 0'),
    (['.', '--weights', 'none.caffemodel'], '--weights none.caffemodel: no such file'),
    (['.'], 'has no solver.prototxt')])
def test_wrong_calls(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.run(solvers.main, ['doctor', *arguments, '--cpu']) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize('change', [
    lambda folder: (folder / 'train.prototxt').write_text('layer {'),
    lambda folder: (folder / 'solver.prototxt').write_text('base_lr: x'),
    lambda folder: (folder / 'val.prototxt').unlink(),
    lambda folder: (folder / 'train.prototxt').write_text(
        (folder / 'train.prototxt').read_text() + 'layer { name: "x" type: "HDF5Output" bottom: "data" }')])
def test_a_folder_that_cannot_be_read(change, tmp_path, capsys):
    folder = small(tmp_path).write()
    change(folder)
    status, found = doctor(capsys, folder)
    assert (status, found['cause']) == (1, 'set-up') and str(folder) in found['sentence']


POLICIES = [dict(lr_policy='fixed'), dict(lr_policy='step', gamma=0.5, stepsize=3),
            dict(lr_policy='exp', gamma=0.9), dict(lr_policy='inv', gamma=0.3, power=0.7),
            dict(lr_policy='multistep', gamma=0.1, stepvalue=[2, 5]), dict(lr_policy='poly', power=0.9),
            dict(lr_policy='sigmoid', gamma=0.5, stepsize=4)]


@pytest.mark.parametrize('fields', POLICIES, ids=lambda fields: fields['lr_policy'])
def test_rates_along_a_run_are_those_of_caffe(fields, tmp_path):
    net = tmp_path / 'net.prototxt'
    net.write_text('''layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 1 dim: 1 } } }
        layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 1 } }
        layer { name: "l" type: "EuclideanLoss" bottom: "y" bottom: "x" top: "l" }''')
    settings = caffe_pb2.SolverParameter(train_net=str(net), base_lr=0.5, max_iter=12, display=0,
                                         snapshot_prefix=str(tmp_path / 's'), **fields)
    path = tmp_path / 'solver.prototxt'
    path.write_text(str(settings))
    solver, found = caffe.SGDSolver(str(path)), []
    for _ in range(12):
        found.append(solver.lr)     # of the step to come
        solver.step(1)
    np.testing.assert_allclose(schedule.rates(settings, 12), found, rtol=1e-5)


def test_kernels_that_interpolate():
    """By what they do to a plain map, through Caffe itself."""
    rng = np.random.default_rng(0)
    cases = [(fill(4), 2), (fill(32), 16), (rng.normal(size=(3, 3, 8, 8)), 4), (np.zeros((3, 3, 4, 4)), 2),
             (fill(3), 4), (np.eye(3)[:, :, None, None] * np.ones((2, 2)), 2)]
    for kernel, stride in cases:
        n, side = kernel.shape[0], kernel.shape[2]
        text = f'''layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: [1, {n}, 9, 9] }} }} }}
            layer {{ name: "y" type: "Deconvolution" bottom: "x" top: "y" convolution_param {{ num_output: {n}
            kernel_size: {side} stride: {stride} bias_term: false }} }}'''
        with files.in_memory(text.encode()) as path:
            net = caffe.Net(str(path), caffe.TEST)
        net.params['y'][0].data[...] = kernel
        net.blobs['x'].data[...] = np.arange(1, n + 1)[:, None, None]
        net.forward()
        inside = net.blobs['y'].data[0, :, side:-side, side:-side]
        plain = np.allclose(inside, np.arange(1, n + 1)[:, None, None], atol=1e-3)
        assert (problem_of_kernel(np.asarray(kernel), stride, 1) == '') == plain, (side, stride)


def fill(side, channels=3):
    """A bilinear kernel on the diagonal."""
    kernel = np.zeros((channels, channels, side, side))
    kernel[range(channels), range(channels)] = bilinear_kernel(side)
    return kernel


def test_masks_of_a_known_place():
    """Discs on plain ground: where their masks lie is known by construction."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:70, :90]
    pairs = []
    for _ in range(6):
        label = np.zeros((70, 90), np.uint8)
        for _ in range(2):
            row, column, radius = rng.integers(15, 55), rng.integers(15, 75), rng.integers(8, 14)
            label[(y - row) ** 2 + (x - column) ** 2 < radius ** 2] = 1
        pairs.append((100 * label + rng.normal(0, 8, (3, 70, 90)), label))
    good = align(pairs)
    assert good.own > 2 and not good.mirrored and good.shift == (0, 0) and good.strangers > 2
    for name, way in WAYS.items():
        assert align([(image, label[way]) for image, label in pairs]).mirrored == name
    moved = align([(image, np.roll(label, (7, -6), (0, 1))) for image, label in pairs])
    assert not moved.mirrored and abs(moved.shift[0] - 7) <= 1 and abs(moved.shift[1] + 6) <= 1
    others = align([(image, pairs[i - 1][1]) for i, (image, _) in enumerate(pairs)])
    assert [one.cause for one in outlines(others)] == ['masks of other images']
    assert [one.state for one in outlines(good)] == ['OK']
    assert align([]).count == 0 and align([(np.zeros((3, 70, 90)), pairs[0][1])]).count == 0


def test_the_cause_is_what_brings_about_the_rest():
    found = [wrong('x', cause, cause, 'do') for cause in reversed(CAUSES)]
    assert cause_of(found).cause == CAUSES[0] and cause_of([]) is None
    assert sentence([]) == 'Nothing wrong found.' and sentence(found[:1]) == f'The cause: {CAUSES[-1]}; do.'
