"""CaffeNet, Caffe's AlexNet (Krizhevsky, Sutskever, Hinton; NIPS 2012), fully convolutional and as the classifier."""
from caffe import layers as L
from caffe.net_spec import NetSpec

from nets.blocks import conv_relu, dropout, max_pool

INPUT_PAD = 100


def _norm(bottom):
    return L.LRN(bottom, local_size=5, alpha=1e-4, beta=0.75)


def _plain(bottom, num_output, kernel_size, stride=1, pad=0, group=1):
    """These layers state no learning rates of their own: all their parameters learn at the base rate."""
    return conv_relu(bottom, num_output, kernel_size, stride, pad, param=None, group=group)


def _features(n, input_pad):
    """conv1 ... pool5: two of its convolutions are split in two groups, once one for each GPU."""
    n.conv1, n.relu1 = _plain(n.data, 96, 11, stride=4, pad=input_pad)
    n.pool1 = max_pool(n.relu1, 3)
    n.norm1 = _norm(n.pool1)
    n.conv2, n.relu2 = _plain(n.norm1, 256, 5, pad=2, group=2)
    n.pool2 = max_pool(n.relu2, 3)
    n.norm2 = _norm(n.pool2)
    n.conv3, n.relu3 = _plain(n.norm2, 384, 3, pad=1)
    n.conv4, n.relu4 = _plain(n.relu3, 384, 3, pad=1, group=2)
    n.conv5, n.relu5 = _plain(n.relu4, 256, 3, pad=1, group=2)
    n.pool5 = max_pool(n.relu5, 3)
    return n.pool5


def alexnet(n):
    """Add the trunk to `n` and return its last feature (4096 channels at stride 32)."""
    n.fc6, n.relu6 = _plain(_features(n, INPUT_PAD), 4096, 6)
    n.drop6 = dropout(n.relu6)
    n.fc7, n.relu7 = _plain(n.drop6, 4096, 1)
    n.drop7 = dropout(n.relu7)
    return n.drop7


def classifier():
    """bvlc_reference_caffenet, the classifier that the trunk's weights come from: 227x227 images, 1000 classes."""
    n = NetSpec()
    n.data = L.Input(shape=dict(dim=[1, 3, 227, 227]))
    n.fc6 = L.InnerProduct(_features(n, 0), num_output=4096)
    n.relu6 = L.ReLU(n.fc6, in_place=True)
    n.drop6 = dropout(n.relu6)
    n.fc7 = L.InnerProduct(n.drop6, num_output=4096)
    n.relu7 = L.ReLU(n.fc7, in_place=True)
    n.drop7 = dropout(n.relu7)
    n.fc8 = L.InnerProduct(n.drop7, num_output=1000)
    n.prob = L.Softmax(n.fc8)
    return n.to_proto()
