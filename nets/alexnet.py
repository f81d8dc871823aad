"""CaffeNet, Caffe's AlexNet (Krizhevsky, Sutskever, Hinton; NIPS 2012), fully convolutional and as the classifier."""
from caffe import layers as L
from caffe.net_spec import NetSpec

from nets.blocks import Net, Top, conv_relu, dropout, inner_products, max_pool

INPUT_PAD = 100
NORM = dict(local_size=5, alpha=1e-4, beta=0.75)


def _conv(bottom: Top, num_output: int, kernel_size: int, stride: int = 1, pad: int = 0,
          group: int = 1) -> tuple[Top, Top]:
    """These layers state no learning rates of their own: all their parameters learn at the base rate."""
    return conv_relu(bottom, num_output, kernel_size, stride, pad, param=None, group=group)


def _features(n: NetSpec, input_pad: int) -> Top:
    """conv1 ... pool5: two of its convolutions are split in two groups, once one for each GPU."""
    n.conv1, n.relu1 = _conv(n.data, 96, 11, stride=4, pad=input_pad)
    n.pool1 = max_pool(n.relu1, 3)
    n.norm1 = L.LRN(n.pool1, **NORM)
    n.conv2, n.relu2 = _conv(n.norm1, 256, 5, pad=2, group=2)
    n.pool2 = max_pool(n.relu2, 3)
    n.norm2 = L.LRN(n.pool2, **NORM)
    n.conv3, n.relu3 = _conv(n.norm2, 384, 3, pad=1)
    n.conv4, n.relu4 = _conv(n.relu3, 384, 3, pad=1, group=2)
    n.conv5, n.relu5 = _conv(n.relu4, 256, 3, pad=1, group=2)
    n.pool5 = max_pool(n.relu5, 3)
    return n.pool5


def alexnet(n: NetSpec) -> Top:
    """Add the trunk to `n` and return its last feature (4096 channels at stride 32)."""
    n.fc6, n.relu6 = _conv(_features(n, INPUT_PAD), 4096, 6)
    n.drop6 = dropout(n.relu6)
    n.fc7, n.relu7 = _conv(n.drop6, 4096, 1)
    n.drop7 = dropout(n.relu7)
    return n.drop7


def classifier() -> Net:
    """bvlc_reference_caffenet, the classifier that the trunk's weights come from: 227x227 images, 1000 classes."""
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, 227, 227]))
    return inner_products(n, _features(n, 0))
