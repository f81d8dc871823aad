"""Every net of the project on accelerated layers: the numbers of Caffe's own layers, forward and backward."""
import functools

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='needs pycaffe: make setup')
import accel  # noqa: E402
import nets  # noqa: E402
from nets.edits import narrow  # noqa: E402
from tests import NETS  # noqa: E402
from tests.helpers.whole_nets import backward, build, compare, forward  # noqa: E402

pytestmark = [pytest.mark.caffe,
              pytest.mark.skipif(not accel.status().startswith('accelerated'), reason=accel.status())]
SHAPES = [(1, 33, 47), (2, 50, 21), (1, 97, 130)]  # images, height, width


def decide_alike(ours, theirs, net_parameter):
    """Put Caffe's activations where ReLU or max pooling decides otherwise in accel's net; returns how many there were.

    Only numbers within rounding error of zero, or of another in their window, may do so.
    """
    changed = 0
    for layer in net_parameter.layer:
        if layer.type == 'ReLU':
            blob, differ = layer.top[0], lambda a, b: (a > 0) != (b > 0)
        elif layer.type == 'Pooling':
            blob, differ = layer.bottom[0], functools.partial(differing_windows, pool=layer.pooling_param)
        else:
            continue
        a, b = ours.blobs[blob].data, theirs.blobs[blob].data
        while (other := differ(a, b)).any():    # again, since windows overlap
            assert np.abs(a - b)[other].max() < 1e-4 * np.sqrt(np.mean(np.square(b, dtype=np.float64))), layer.name
            a[other] = b[other]
            changed += np.count_nonzero(other)
    for i, layer in enumerate(ours.layers):
        if layer.type == 'Pooling':     # it keeps where the maxima are
            ours._forward(i, i)
    return changed


def differing_windows(a, b, pool):
    """Where the windows of max pooling lie whose maximum is at another place in `a` than in `b`."""
    size, stride, pad = pool.kernel_size, pool.stride, pool.pad
    found = np.zeros(a.shape, bool)
    beyond = [(0, 0), (0, 0), (pad, pad + size), (pad, pad + size)]    # Caffe's last window may reach over the edge
    places = []
    for blob in (a, b):
        padded = np.pad(blob, beyond, constant_values=-np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
        places.append(windows.reshape(*windows.shape[:4], -1).argmax(-1))   # the first, as in Caffe
    for n, c, y, x in np.argwhere(places[0] != places[1]):
        top, left = y * stride - pad, x * stride - pad
        found[n, c, max(top, 0):top + size, max(left, 0):left + size] = True
    return found


def check(net_parameter, shape):
    """Scores, and gradients twice: in ours as it is, and with its decisions made alike.

    A number within rounding error of zero may pass ReLU in one net and not in the other, and the gradient with it;
    likewise two almost equal numbers in max pooling. One of a million doing so shows in the gradients of these small
    images, also between Caffe with one kernel of its BLAS and with another. So the strict comparison is made without.
    """
    ours = build(net_parameter, shape)
    with accel.off():
        theirs = build(net_parameter, shape)
    scores = compare(forward(ours), forward(theirs), 1e-5)
    expected = backward(theirs)
    free = compare(backward(ours), expected, 2e-2)
    ties = decide_alike(ours, theirs, net_parameter)
    print(f'{shape}: scores {scores:.1e}, gradients {free:.1e}, with {ties} numbers made alike '
          f'{compare(backward(ours), expected, 1e-4):.1e}')


FAST = ('voc-fcn8s', 'voc-fcn-alexnet')


@pytest.mark.parametrize('name', [name if name in FAST else pytest.param(name, marks=pytest.mark.slow)
                                  for name in NETS])
def test_net_is_caffes(name):
    training = nets.load(name)
    for shape in SHAPES[:1] if name in FAST else SHAPES:
        check(narrow(training.fcn(training.phases[0]), 16), shape)


@pytest.mark.slow
def test_full_width():
    check(nets.load('voc-fcn8s').fcn('train'), (1, 100, 77))
