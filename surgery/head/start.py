"""What training starts from: weights, constants for the skips, a learning rate."""
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cli import BadInput

from ..bilinear import bilinear_kernel
from ..caffemodel import Weights
from ..convolutionalize import Dense
from ..graph import input_layer
from ..preparation import GREY
from ..shapes import Shapes
from .trunk import Plan

LARGEST_RATE, UNKNOWN_RATE = 0.01, 1e-4


def balance(mean_square: Mapping[str, float], trunk: Plan) -> tuple[dict[str, float], float]:
    """Constants for the skips, and a learning rate, from the mean squared length of the features.

    A score's gradient step moves it by the rate times the squared length of its feature. A skip is scaled by a power
    of ten so that its feature is about as long as the coarsest one (what the paper's "at once" nets do by hand), and
    the rate is the power of ten with which a step moves no score by more than a tenth.

    Parameters
    ----------
    mean_square : mapping of str to float
        Blob of `trunk.measured` -> its squared length over channels, the mean over positions.
    trunk : Plan
        From `plan`.

    Returns
    -------
    (dict of str to float, float)
        Skip blob -> constant, and base_lr. No constants where a length is unknown, zero or not finite.
    """
    squares = {blob: mean_square.get(blob, 0.0) for blob in trunk.measured}
    if not all(math.isfinite(value) and value > 0 for value in squares.values()):
        return {}, UNKNOWN_RATE
    base = squares[trunk.source]
    scales = {blob: 10.0 ** round(math.log10(math.sqrt(base / squares[blob]))) for _, blob in trunk.skips}
    total = sum(value * scales.get(blob, 1.0) ** 2 for blob, value in squares.items())
    return scales, min(LARGEST_RATE, 10.0 ** math.floor(math.log10(0.1 / total)))


def initial_weights(dense: Dense, net: Any, shapes: Shapes) -> Weights:
    """Weights to start from: the trunk's, zero scores, bilinear upsampling, constants for the skips.

    Parameters
    ----------
    dense : Dense
        Gives the trunk's.
    net : caffe_pb2.NetParameter
        From `segmenter`.
    shapes : Shapes
        Of `net`.

    Returns
    -------
    dict of str to list of ndarray
        Without the scores: zero is what Caffe starts them from.
    """
    weights: Weights = {}
    for layer, params in zip(net.layer, shapes.params, strict=True):
        if layer.name in dense.weights:
            weights[layer.name] = dense.weights[layer.name]
        elif layer.type == 'Deconvolution' and len(layer.param) == 1 and params:
            kernel = np.zeros(params[0], np.float32)
            kernel[range(params[0][0]), range(params[0][0])] = bilinear_kernel(params[0][2])
            weights[layer.name] = [kernel]
        elif layer.type == 'Scale' and layer.scale_param.filler.type == 'constant' and len(params) == 1:
            weights[layer.name] = [np.full(params[0], layer.scale_param.filler.value, np.float32)]
    return weights


def adapt_input(net: Any, weights: Weights, scale: float, order: str = 'bgr') -> None:
    """Fold what a net wants of pixels into its first convolutions: a factor, and red, green, blue or grey.

    The data layers give blue, green and red less the mean, from 0 to 255.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        With one input, whose Input layer gets 3 channels.
    weights : dict of str to list of ndarray
        Its parameters, as far as they are known; changed.
    scale : float
        What it takes pixels multiplied by.
    order : str
        Of its input's channels where it has three: 'bgr' or 'rgb'.

    Raises
    ------
    BadInput
        The input has other channels, or something else than an ungrouped convolution reads it.
    """
    data = input_layer(net)
    channels = data.input_param.shape[0].dim[1]
    readers = [layer for layer in net.layer if data.top[0] in layer.bottom and layer.type != 'Crop']
    if channels == 3 and scale == 1 and order == 'bgr':
        return
    if channels not in (1, 3) or any(x.type != 'Convolution' or x.convolution_param.group > 1 for x in readers):
        raise BadInput(f'its input, {channels} channels {order} times {scale}, is not what the data layers give')
    for layer in readers:
        if layer.name in weights:
            blob = weights[layer.name][0] * np.float32(scale)
            if channels == 3 and order == 'rgb':
                blob = np.ascontiguousarray(blob[:, ::-1])
            if channels == 1:
                blob = blob * np.reshape(np.array(GREY, np.float32), (1, 3, 1, 1))
            weights[layer.name] = [blob, *weights[layer.name][1:]]
    data.input_param.shape[0].dim[1] = 3
