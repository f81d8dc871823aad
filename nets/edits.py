"""Small edits of an emitted net, for demonstrations, studies and your own data: each returns an edited copy."""
from collections.abc import Iterable

from data_layers import VOID, param_str
from nets.blocks import Net
from nets.data import Data


def _copy(net: Net) -> Net:
    result = type(net)()
    result.CopyFrom(net)
    return result


def narrow(net: Net, width: int, layers: Iterable[str] = ('fc6', 'fc7')) -> Net:
    """The net with fewer outputs in some convolutions, which start from scaled random weights.

    The scale keeps the variance of activations behind a ReLU (He et al., ICCV 2015).

    Parameters
    ----------
    net : caffe_pb2.NetParameter
    width : int
        Outputs of each of the layers.
    layers : iterable of str
        What the layers' names begin with.

    Returns
    -------
    caffe_pb2.NetParameter
    """
    net = _copy(net)
    for layer in net.layer:
        if layer.name.startswith(tuple(layers)):
            layer.convolution_param.num_output = width
            layer.convolution_param.weight_filler.type = 'msra'
    return net


def freeze(net: Net, prefixes: Iterable[str]) -> Net:
    """The net with nothing to learn in some layers.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
    prefixes : iterable of str
        What the layers' names begin with.

    Returns
    -------
    caffe_pb2.NetParameter
    """
    net = _copy(net)
    for layer in net.layer:
        if layer.name.startswith(tuple(prefixes)):
            for param in layer.param:
                param.lr_mult = 0
                param.decay_mult = 0
    return net


def slow(net: Net, **rates: float) -> Net:
    """The net with layers that learn slower than they did.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
    **rates : float
        Layer -> what its rate is multiplied by.

    Returns
    -------
    caffe_pb2.NetParameter
    """
    net = _copy(net)
    for layer in net.layer:
        for param in layer.param:
            param.lr_mult *= rates.get(layer.name, 1)
    return net


def trained_on(data: Data, split: str, deploy: Net, normalize: bool) -> Net:
    """A net that is known as a deploy net, with the images, the labels and the loss of one split of a data set.

    Parameters
    ----------
    data : Data
        A data module, such as `nets.voc`.
    split : str
        One of its phases, or 'deploy'.
    deploy : caffe_pb2.NetParameter
        From an Input layer, the first one, to a blob of scores for every pixel.
    normalize : bool
        Whether the loss is the mean over the labelled pixels, or their sum.

    Returns
    -------
    caffe_pb2.NetParameter
    """
    if split == 'deploy':
        return _copy(deploy)
    net = data.feed(split).to_proto()
    net.layer[0].top[0] = deploy.layer[0].top[0]
    net.layer.extend(list(deploy.layer)[1:])
    loss = net.layer.add(name='loss', type='SoftmaxWithLoss', bottom=[net.layer[-1].top[0], net.layer[0].top[1]],
                         top=['loss'])
    loss.loss_param.normalize, loss.loss_param.ignore_label = normalize, VOID
    return net


def weigh(net: Net, weights: Iterable[float]) -> Net:
    """The net with a loss that weighs every pixel by its true class: see `data_layers.layers.ClassWeights`.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        For training.
    weights : iterable of float
        One above 0 for each class.

    Returns
    -------
    caffe_pb2.NetParameter
    """
    net = _copy(net)
    layers = list(net.layer)
    del net.layer[:]
    for layer in layers:
        if layer.type == 'SoftmaxWithLoss':
            scores, label = layer.bottom
            layer.bottom[0] = f'{scores}_weighted'
            weighted = net.layer.add(name=layer.bottom[0], type='Python', bottom=[scores, label], top=[layer.bottom[0]])
            weighted.python_param.module, weighted.python_param.layer = param_str.MODULE, param_str.WEIGHTS_LAYER
            weighted.python_param.param_str = param_str.write_weights(weights)
        net.layer.add().CopyFrom(layer)
    return net


def learn_upsampling(net: Net, lr_mult: float = 1) -> Net:
    """The net with deconvolutions that learn from bilinear kernels.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
    lr_mult : float
        Their rate, as a multiple of the base rate.

    Returns
    -------
    caffe_pb2.NetParameter
    """
    net = _copy(net)
    for layer in net.layer:
        if layer.type == 'Deconvolution':
            layer.param[0].lr_mult = lr_mult
    return net


def normalise(net: Net) -> Net:
    """The net with a loss that is the mean over the labelled pixels instead of their sum."""
    net = _copy(net)
    for layer in net.layer:
        if layer.type == 'SoftmaxWithLoss':
            layer.loss_param.normalize = True
    return net
