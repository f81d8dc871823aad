"""Caffe's own arithmetic against independent numpy and scipy: the layers and the solver the rest relies on."""
import numpy as np
import pytest
from scipy.signal import convolve2d, correlate2d

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from caffe import layers as L  # noqa: E402
from caffe.net_spec import NetSpec  # noqa: E402

from nets.blocks import conv_relu, loss, max_pool, upsample  # noqa: E402
from solvers.instance import instantiate  # noqa: E402
from solvers.recipe import Recipe  # noqa: E402

pytestmark = pytest.mark.caffe


def spec(*shape):
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=list(shape)))
    return n


def fill(net, seed=0):
    rng = np.random.default_rng(seed)
    for blobs in [*net.params.values(), [net.blobs['data']]]:
        for blob in blobs:
            blob.data[...] = rng.standard_normal(blob.data.shape)


def test_convolution_and_relu():
    n = spec(2, 3, 9, 7)
    n.conv, n.relu = conv_relu(n.data, 4, pad=2)
    net = instantiate(n.to_proto())
    fill(net)
    net.forward()
    weights, bias = (blob.data for blob in net.params['conv'])
    padded = np.pad(net.blobs['data'].data, ((0, 0), (0, 0), (2, 2), (2, 2)))
    expected = np.array([[sum(correlate2d(image[c], weights[k, c], 'valid') for c in range(3)) + bias[k]
                          for k in range(4)] for image in padded])
    np.testing.assert_allclose(net.blobs['conv'].data, np.maximum(expected, 0), rtol=1e-4, atol=1e-5)


def test_deconvolution():
    n = spec(1, 2, 5, 4)
    n.score = L.Convolution(n.data, num_output=3, kernel_size=1)
    n.up = upsample(n.score, 2)
    net = instantiate(n.to_proto())
    fill(net)
    net.forward()
    scores, weights = net.blobs['score'].data[0], net.params['up'][0].data
    spread = np.zeros((3, 9, 7))
    spread[:, ::2, ::2] = scores
    expected = np.array([sum(convolve2d(spread[i], weights[i, o], 'full') for i in range(3)) for o in range(3)])
    assert net.blobs['up'].data.shape[1:] == (3, 12, 10) == expected.shape
    np.testing.assert_allclose(net.blobs['up'].data[0], expected, rtol=1e-4, atol=1e-5)


def test_pooling_rounds_up():
    n = spec(1, 1, 5, 7)
    n.pool = max_pool(n.data)
    net = instantiate(n.to_proto())
    fill(net)
    net.forward()
    padded = np.pad(net.blobs['data'].data[0, 0], ((0, 1), (0, 1)), constant_values=-np.inf)
    np.testing.assert_array_equal(net.blobs['pool'].data[0, 0], padded.reshape(3, 2, 4, 2).max((1, 3)))


@pytest.mark.parametrize('normalize', [False, True])
def test_softmax_loss_and_its_gradient(normalize):
    n = spec(1, 4, 3, 5)
    n.label = L.Input(shape=dict(dim=[1, 1, 3, 5]))
    n.score = L.Convolution(n.data, num_output=4, kernel_size=1)
    loss(n, normalize=normalize)
    net = instantiate(n.to_proto(), caffe.TRAIN)
    fill(net)
    label = np.random.default_rng(1).integers(0, 4, (3, 5))
    label[0, :3] = 255
    net.blobs['label'].data[0, 0] = label
    net.forward()
    net.backward()
    scores = net.blobs['score'].data[0].astype(float)
    p = np.exp(scores - scores.max(0))
    p /= p.sum(0)
    known = label != 255
    truth = np.arange(4)[:, None, None] == label
    count = known.sum() if normalize else 1
    assert float(net.blobs['loss'].data) == pytest.approx(-np.log(p[truth]).sum() / count, rel=1e-5)
    np.testing.assert_allclose(net.blobs['score'].diff[0], (p - truth) * known / count, atol=1e-6)


@pytest.mark.parametrize('iter_size', [1, 3])
def test_sgd_steps_with_momentum_and_weight_decay(tmp_path, monkeypatch, iter_size):
    """Two steps of the solver a `Recipe` describes on a linear model whose gradient is known in closed form."""
    n = NetSpec()
    n.data = L.DummyData(shape=dict(dim=[4, 3, 1, 1]), data_filler=dict(type='constant', value=0.5))
    n.target = L.DummyData(shape=dict(dim=[4, 2, 1, 1]), data_filler=dict(type='constant', value=2))
    n.out, _ = conv_relu(n.data, 2, kernel_size=1, pad=0)
    n.loss = L.EuclideanLoss(n.out, n.target)
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath('train.prototxt').write_text(str(n.to_proto()))
    tmp_path.joinpath('val.prototxt').write_text(str(n.to_proto()))
    tmp_path.joinpath('snapshot').mkdir()
    lr, momentum, decay = 0.01, 0.9, 0.05
    recipe = Recipe(base_lr=lr, iterations=2, score_every=1, snapshot=2, test_iter=1, momentum=momentum,
                    weight_decay=decay, iter_size=iter_size)
    tmp_path.joinpath('solver.prototxt').write_text(str(recipe.solver()))
    solver = caffe.SGDSolver('solver.prototxt')
    weights, bias = (blob.data for blob in solver.net.params['out'])
    rng = np.random.default_rng(0)
    weights[...], bias[...] = rng.uniform(0.1, 1, weights.shape), rng.uniform(0.1, 1, bias.shape)
    w, b = weights[:, :, 0, 0].astype(float), bias.astype(float)
    x, target = np.full((4, 3), 0.5), np.full((4, 2), 2.0)
    vw, vb = np.zeros_like(w), np.zeros_like(b)
    for _ in range(2):
        # the mean over iter_size equal passes is the gradient of one pass
        error = np.maximum(x @ w.T + b, 0) - target
        dw, db = error.T @ x / 4, error.sum(0) / 4
        vw = momentum * vw + lr * (dw + decay * w)          # lr_mult 1, decay_mult 1
        vb = momentum * vb + 2 * lr * db                    # lr_mult 2, decay_mult 0
        w, b = w - vw, b - vb
        solver.step(1)
    np.testing.assert_allclose(weights[:, :, 0, 0], w, rtol=1e-5)
    np.testing.assert_allclose(bias, b, rtol=1e-5)
