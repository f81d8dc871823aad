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
