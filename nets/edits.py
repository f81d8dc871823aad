"""Variations on an emitted net: small edits of a `NetParameter`, for demonstrations, studies and other data."""
import ast
from collections.abc import Iterable


def _copy(net):
    result = type(net)()
    result.CopyFrom(net)
    return result


def read_from(net, **facts):
    """The net with other `facts` (data set, split, root ...) in its data layer; a deploy net stays as it is."""
    net = _copy(net)
    for layer in net.layer:
        if layer.type == 'Python':
            known = ast.literal_eval(layer.python_param.param_str)
            layer.python_param.param_str = str(known | facts)
    return net


def narrow(net, width: int, layers: Iterable[str] = ('fc6', 'fc7')):
    """The net with `width` outputs in the layers whose names begin so, which start from scaled random weights.

    The scale keeps the variance of activations behind a ReLU (He et al., ICCV 2015).
    """
    net = _copy(net)
    for layer in net.layer:
        if layer.name.startswith(tuple(layers)):
            layer.convolution_param.num_output = width
            layer.convolution_param.weight_filler.type = 'msra'
    return net


def freeze(net, prefixes: Iterable[str]):
    """The net with nothing to learn in the layers whose names begin with one of `prefixes`."""
    net = _copy(net)
    for layer in net.layer:
        if layer.name.startswith(tuple(prefixes)):
            for param in layer.param:
                param.lr_mult = 0
                param.decay_mult = 0
    return net


def weigh(net, weights: Iterable[float]):
    """The net with a loss that weighs every pixel by its true class: see `data_layers.layers.ClassWeights`."""
    net = _copy(net)
    layers = list(net.layer)
    del net.layer[:]
    for layer in layers:
        if layer.type == 'SoftmaxWithLoss':
            scores, label = layer.bottom
            layer.bottom[0] = f'{scores}_weighted'
            weighted = net.layer.add(name=layer.bottom[0], type='Python', bottom=[scores, label], top=[layer.bottom[0]])
            weighted.python_param.module, weighted.python_param.layer = 'data_layers.layers', 'ClassWeights'
            weighted.python_param.param_str = str(tuple(weights))
        net.layer.add().CopyFrom(layer)
    return net


def learn_upsampling(net, lr_mult=1):
    """The net with deconvolutions that learn, from bilinear kernels, at `lr_mult` times the rate."""
    net = _copy(net)
    for layer in net.layer:
        if layer.type == 'Deconvolution':
            layer.param[0].lr_mult = lr_mult
    return net


def normalise(net):
    """The net with a loss that is the mean over the labelled pixels instead of their sum."""
    net = _copy(net)
    for layer in net.layer:
        if layer.type == 'SoftmaxWithLoss':
            layer.loss_param.normalize = True
    return net


def prune(net, output: str):
    """The net without the layers that its blob `output` does not depend on."""
    needed, kept = {output}, []
    for layer in reversed(net.layer):
        if needed.intersection(layer.top):
            needed.update(layer.bottom)
            kept.append(layer)
    result = _copy(net)
    del result.layer[:]
    result.layer.extend(reversed(kept))
    return result
