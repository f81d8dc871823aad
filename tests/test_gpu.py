"""A GPU against Caffe on the CPU: every type of layer that the nets have, the losses, whole nets, a step of the solver.

    make test-gpu       all of it on GPU 0, with Caffe's own layers and with cuDNN's convolutions

Each test also runs without a GPU (`reference`, see tests/helpers/gpu.py). Errors are relative, in the L2 norm of each
array.
"""
import tempfile
from pathlib import Path

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='needs pycaffe: make setup')
import nets  # noqa: E402
from accel import cudnn  # noqa: E402
from nets.edits import narrow  # noqa: E402
from tests import NETS  # noqa: E402
from tests.helpers.gpu import DEVICES, computed, emulated, on, why_not  # noqa: E402
from tests.helpers.single_layers import CASES, CONV, DECONV, differ, make, pass_through, same  # noqa: E402
from tests.helpers.whole_nets import backward, build, compare, forward  # noqa: E402

pytestmark = pytest.mark.caffe

LAYER = 2e-5        # sums of float32 in another order; products rounded to TF32 would be 3e-4 off
NET = 5e-5          # scores and losses after 20 layers
GRADIENTS = 2e-4    # of a net, from equal activations
CHOICES = 2e-2      # of a net, each from its own: see `test_accel_nets.check`
UPDATE = 1e-6       # from equal gradients

MORE = {
    'concat': ('type: "Concat"', [(2, 3, 7, 8), (2, 5, 7, 8)]),
    'lrn': ('type: "LRN" lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }', [(2, 16, 13, 14)]),
    'lrn strong': ('type: "LRN" lrn_param { local_size: 3 alpha: 2 beta: 0.75 k: 2 }', [(1, 7, 5, 6)]),
    'scale': ('type: "Scale" scale_param { filler { type: "constant" value: 0.01 } }', [(2, 5, 7, 8)]),
    'conv wide sum': (CONV % 'num_output: 32 kernel_size: 3 pad: 1', [(1, 512, 20, 21)]),
    'conv 1x1 wide sum': (CONV % 'num_output: 64 kernel_size: 1', [(1, 4096, 9, 10)]),
    'upsample 8': (DECONV % 'num_output: 21 kernel_size: 16 stride: 8 bias_term: false', [(1, 21, 9, 10)]),
}
LAYERS = {name: case for name, case in {**CASES, **MORE}.items() if '"Dropout"' not in case[0]}
ELSEWHERE = {
    'Dropout': 'test_dropout: its numbers are random', 'SoftmaxWithLoss': 'test_loss',
    'Python': 'on the CPU always', 'Input': 'computes nothing',
}
LOSSES = ['', 'loss_param { ignore_label: 255 normalize: false }', 'loss_param { ignore_label: 255 normalize: true }',
          'loss_param { normalization: FULL } loss_weight: 0.3', 'loss_param { normalization: NONE }']


@pytest.fixture(params=DEVICES)
def device(request):
    reason = why_not(request.param)
    if reason:
        pytest.skip(reason)
    return request.param


def test_every_type_of_layer_is_here():
    """What the emitted nets are made of."""
    trainings = [nets.load(name) for name in NETS]
    used = {layer.type for training in trainings for split in (*training.phases, 'deploy')
            for layer in training.fcn(split).layer}
    tested = {layer.split('"')[1] for layer, _ in LAYERS.values()}
    assert used - tested == ELSEWHERE.keys() & used
    assert {'Convolution', 'Deconvolution', 'LRN'} < used, 'the nets were not looked at'


@pytest.mark.parametrize('name', LAYERS)
def test_layer(device, name):
    with on('cpu'):
        theirs = pass_through(make(*LAYERS[name]))
    with on(device):
        ours = pass_through(make(*LAYERS[name]))
    print({key: f'{differ(value, theirs[key]):.1e}' for key, value in ours.items()})
    same(ours, theirs, LAYER)


@pytest.mark.parametrize('name', ['winograd odd', 'fc6', 'first layer', 'deconvolution', 'pool odd', 'softmax'])
def test_sizes_may_change(device, name):
    """A net that has seen other sizes gives what a fresh one gives, byte for byte."""
    layer, shapes = LAYERS[name]
    with on(device):
        net = make(layer, shapes)
        for size in ((31, 18), (12, 45)):
            net.blobs['x0'].reshape(1, shapes[0][1], *size)
            pass_through(net)
        net.blobs['x0'].reshape(*shapes[0])
        again, fresh = pass_through(net), pass_through(make(layer, shapes))
    for key, value in again.items():
        assert np.array_equal(value, fresh[key]), key


@pytest.mark.parametrize('name', ['winograd deep', 'fc6', 'alexnet conv2', 'deconvolution', 'upsample 8'])
def test_repeats_byte_for_byte(device, name):
    """As training that is resumed needs it."""
    with on(device):
        first, second = (pass_through(make(*LAYERS[name])) for _ in range(2))
    for key, value in first.items():
        assert np.array_equal(value, second[key]), key


def test_cudnn_computes(device):
    """Every pass of every convolution over two axes is the library's, searched for once; none is left to Caffe."""
    before = computed(device)
    with on(device):
        for _ in range(2):
            pass_through(make(*LAYERS['alexnet conv2']))
            pass_through(make(*LAYERS['upsample 8']))
    done = [now - then for now, then in zip(computed(device), before, strict=True)]
    assert done[1:] == ([0, 0] if device == 'caffe' else [12, 0]) and done[0] <= 6


@pytest.mark.gpu
def test_tf32_is_asked_for():
    """Off, errors are float32's, as `test_layer` holds; on, they may be TF32's and no more."""
    if reason := why_not('cudnn'):
        pytest.skip(reason)
    name = 'conv wide sum'
    with on('cpu'):
        theirs = pass_through(make(*LAYERS[name]))
    chosen = cudnn.settings()
    try:
        with on('cudnn'):
            cudnn.use(tf32=True)
            same(pass_through(make(*LAYERS[name])), theirs, 3e-3)
            cudnn.use(tf32=False)
            same(pass_through(make(*LAYERS[name])), theirs, LAYER)
    finally:
        cudnn.use(*chosen)


@pytest.mark.parametrize('options', LOSSES)
def test_loss(device, options):
    rng = np.random.default_rng(3)
    scores, label = rng.standard_normal((2, 5, 9, 11)) * 30, rng.integers(0, 5, (2, 1, 9, 11))
    if '255' in options:
        label[rng.random(label.shape) < 0.3] = 255
    found = []
    for place in ('cpu', device):
        with on(place):
            net = make(f'type: "SoftmaxWithLoss" propagate_down: true propagate_down: false {options}',
                       [scores.shape, label.shape])
            net.blobs['x0'].data[...], net.blobs['x1'].data[...] = scores, label
            net.forward()
            net.backward()
            found.append({'loss': net.blobs['y0'].data.copy(), 'gradient': net.blobs['x0'].diff.copy()})
    same(found[1], found[0], LAYER)


def test_dropout(device):
    """Half of the numbers, doubled, and their gradients alike; other ones each time."""
    with on(device):
        net = make('type: "Dropout" dropout_param { dropout_ratio: 0.5 }', [(1, 4, 50, 50)])
        first, second = pass_through(net), pass_through(net, 1)
        kept = net.blobs['y0'].data != 0
        x, dy, dx = (array.copy() for array in (net.blobs['x0'].data, net.blobs['y0'].diff, net.blobs['x0'].diff))
    assert np.array_equal(second['y0'], np.where(kept, 2 * x, 0)) and np.array_equal(dx, np.where(kept, 2 * dy, 0))
    assert abs(kept.mean() - 0.5) < 0.03    # six standard deviations
    assert not np.array_equal(first['y0'] != 0, kept)


def small(net, device):
    """The net with few units in fc6 and fc7, and without a real card few everywhere; all of them kept.

    Which ones dropout drops is random, and differently so on each device.
    """
    net = narrow(net, 16)
    if device == 'reference' or emulated():
        net = narrow(net, 8, ('conv', 'inception'))
    for layer in net.layer:
        if layer.type == 'Dropout':
            layer.dropout_param.dropout_ratio = 0
    return net


@pytest.mark.parametrize('name', NETS)
def test_net(device, name):
    """Scores and losses, and the gradients as far as they are no matter of chance: see `test_accel_nets.check`."""
    training = nets.load(name)
    parameter = small(training.fcn(training.phases[0]), device)
    with on('cpu'):
        net = build(parameter, (1, 33, 47))
        scores, gradients = forward(net), backward(net)
    with on(device):
        net = build(parameter, (1, 33, 47))
        errors = compare(forward(net), scores, NET), compare(backward(net), gradients, CHOICES)
    print('scores {:.1e}, gradients {:.1e}'.format(*errors))


@pytest.mark.parametrize('name', NETS)
def test_gradients(device, name):
    """The gradient of every parameter, with nothing left to chance.

    Equal activations let ReLU pass the same. Pools take the mean: a maximum remembers its place from the pass forward.
    """
    training = nets.load(name)
    parameter = small(training.fcn(training.phases[0]), device)
    for layer in parameter.layer:
        if layer.type == 'Pooling':
            layer.pooling_param.pool = layer.pooling_param.AVE
    with on('cpu'):
        theirs = build(parameter, (1, 33, 47))
        forward(theirs)
        gradients = backward(theirs)
    with on(device):
        ours = build(parameter, (1, 33, 47))
        forward(ours)
        for blob_name, blob in theirs.blobs.items():
            ours.blobs[blob_name].data[...] = blob.data
        print(f'{compare(backward(ours), gradients, GRADIENTS):.1e}')


def solver(folder, parameter):
    """A solver over the weights and inputs of `build`, and the net that they belong to."""
    net = build(parameter, (1, 40, 53))
    path = Path(folder, 'train.prototxt')
    path.write_text(str(parameter))
    Path(folder, 'solver.prototxt').write_text(
        f'train_net: "{path}" base_lr: 1e-9 lr_policy: "fixed" momentum: 0.99 weight_decay: 0.0005 display: 0 '
        'snapshot: 0 snapshot_prefix: "s" random_seed: 1')
    made = caffe.get_solver(str(Path(folder, 'solver.prototxt')))
    made.net.share_with(net)
    for name in parameter.layer[0].top:
        made.net.blobs[name].data[...] = net.blobs[name].data
    return made, net


def test_solver_step(device):
    """FCN-8s: an update from equal gradients, then a whole step, and the losses before and after it."""
    parameter = small(nets.load('voc-fcn8s').fcn('train'), device)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for place in ('cpu', device):
            with on(place):
                made, _net = solver(folder, parameter)
                learned = {name: params[0] for name, params in made.net.params.items() if not name.startswith('up')}
                rng = np.random.default_rng(0)
                for param in learned.values():
                    param.diff[...] = rng.standard_normal(param.shape, np.float32)
                made.apply_update()     # leaves in `diff` what it subtracted
                update = {name: param.diff.copy() for name, param in learned.items()}
                made.net.clear_param_diffs()
                made.step(1)
                step = {name: param.diff.copy() for name, param in learned.items()}
                losses = {'before': made.net.blobs['loss'].data.copy()}
                made.net.forward()
                losses['after'] = made.net.blobs['loss'].data.copy()
                found.append((update, losses, step))
    theirs, ours = found
    same(ours[0], theirs[0], UPDATE)
    same(ours[1], theirs[1], NET)
    compare(ours[2], theirs[2], CHOICES)
    assert ours[1]['after'] < ours[1]['before'] and theirs[2]['conv1_1'].any()
