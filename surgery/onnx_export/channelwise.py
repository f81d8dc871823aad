"""Layers that treat each number by parameters of its channel, or by another bottom: BatchNorm, Scale, Bias, PReLU."""
import numpy as np

from ..layers.axes import canonical
from .graph import Layer, Operator, number


def _batch_norm(layer: Layer) -> str:
    p, bottom = layer.proto.batch_norm_param, layer.bottoms[0]
    rank = len(bottom.shape)
    if p.HasField('use_global_stats') and not p.use_global_stats:
        over = [i for i in range(rank) if i != 1]
        return _normalised(layer, over, p.eps)
    factor = np.float32(0 if layer.blobs[2].item() == 0 else 1 / layer.blobs[2].item())
    mean, variance = (blob * factor for blob in layer.blobs[:2])
    if rank == 1:
        centred = layer.add('Sub', bottom.name, mean.reshape(1))
        return layer.add('Div', centred, np.sqrt(variance.reshape(1) + np.float32(p.eps)))
    name = layer.proto.name
    inputs = {'weight': np.ones_like(mean), 'bias': np.zeros_like(mean), 'running_mean': mean, 'running_var': variance}
    return layer.add('BatchNormalization', bottom.name, *(layer.graph.parameter(array, f'{name}.{what}')
                                                          for what, array in inputs.items()), epsilon=p.eps)


def _normalised(layer: Layer, over: list[int], eps: float) -> str:
    """Less the mean over some axes, over the root of the variance and eps."""
    mean = layer.add('ReduceMean', layer.bottoms[0].name, axes=over, keepdims=1)
    centred = layer.add('Sub', layer.bottoms[0].name, mean)
    variance = layer.add('ReduceMean', layer.add('Mul', centred, centred), axes=over, keepdims=1)
    return layer.add('Div', centred, layer.add('Sqrt', layer.add('Add', variance, number(eps))))


def _scale(layer: Layer) -> str:
    p = layer.proto.scale_param
    two = len(layer.bottoms) == 2
    top = layer.add('Mul', layer.bottoms[0].name, _other(layer, p.axis) if two else _parameter(layer, 0, p.axis))
    return layer.add('Add', top, _parameter(layer, 1 - two, p.axis)) if p.bias_term else top


def _bias(layer: Layer) -> str:
    axis = layer.proto.bias_param.axis
    return layer.add('Add', layer.bottoms[0].name, _other(layer, axis) if len(layer.bottoms) == 2
                     else _parameter(layer, 0, axis))


def _parameter(layer: Layer, i: int, axis: int) -> str:
    """A parameter that goes with the bottom's axes from `axis` on, as ONNX aligns it: from the last axis."""
    shape, rank = layer.blobs[i].shape, len(layer.bottoms[0].shape)
    trailing = rank - canonical(axis, layer.bottoms[0].shape) - len(shape) if shape else 0
    return layer.parameter(i, (*shape, *[1] * trailing))


def _other(layer: Layer, axis: int) -> str:
    """The second bottom, aligned likewise."""
    first, second = layer.bottoms
    rank = len(second.shape)
    trailing = len(first.shape) - canonical(axis, first.shape) - rank if rank else 0
    return layer.add('Unsqueeze', second.name, np.arange(rank, rank + trailing)) if trailing else second.name


def _prelu(layer: Layer) -> str:
    rank = len(layer.bottoms[0].shape)
    slopes = layer.parameter(0, (layer.blobs[0].size, *[1] * (rank - 2)))
    return layer.add('PRelu', layer.bottoms[0].name, slopes)


def _mvn(layer: Layer) -> str:
    p, bottom = layer.proto.mvn_param, layer.bottoms[0]
    rank = len(bottom.shape)
    name = layer.add('Unsqueeze', bottom.name, np.arange(rank, 4)) if rank < 4 else bottom.name
    over = [1, 2, 3] if p.across_channels else [2, 3]
    centred = layer.add('Sub', name, layer.add('ReduceMean', name, axes=over, keepdims=1))
    if not p.normalize_variance:
        return centred
    variance = layer.add('ReduceMean', layer.add('Mul', centred, centred), axes=over, keepdims=1)
    return layer.add('Div', centred, layer.add('Add', layer.add('Sqrt', variance), number(p.eps)))


OPERATORS: dict[str, Operator] = {
    'BatchNorm': _batch_norm, 'Scale': _scale, 'Bias': _bias, 'PReLU': _prelu, 'MVN': _mvn,
}
