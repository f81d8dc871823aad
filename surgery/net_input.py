"""What an imported net takes in place of what its author's did: pixels from 0 to 255, less a mean."""
from typing import Any, NamedTuple

import numpy as np

from cli import BadInput

from .builder import Builder

# What a model takes instead of pixels p from 0 to 255: (p * scale - mean) / deviation.
RANGES: dict[str, tuple[float, tuple[float, ...], tuple[float, ...]]] = {
    'imagenet': (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    'unit': (1 / 255, (0.0,), (1.0,)),
    'symmetric': (1 / 255, (0.5,), (0.5,)),
    'lite': (1.0, (127.0,), (128.0,)),
    'raw': (1.0, (0.0,), (1.0,)),
}


class NetInput(NamedTuple):
    """How to make a net's input of pixels from 0 to 255.

    Attributes
    ----------
    mean : tuple of float
        To subtract, one number per channel, in the order of the net's channels.
    order : str
        'bgr' for blue, green, red, where the net takes 3 channels; else 'as is'.
    """

    mean: tuple[float, ...]
    order: str


def fold_input(builder: Builder, input_range: str, order: str) -> NetInput:
    """Make a net that takes what its author's did take blue, green, red pixels less a mean.

    Only channel order and scale go into the first convolutions. The mean is left to be subtracted, so that padding with
    zeros remains padding with the mean, and the result exact.

    Parameters
    ----------
    builder : Builder
        The net, before `Builder.finish`; written in place.
    input_range : str
        What the author's net takes, one of `RANGES`.
    order : str
        'rgb' or 'bgr': the channels that the author's net takes.

    Returns
    -------
    NetInput

    Raises
    ------
    BadInput
        The range has a mean for another number of channels.
    """
    scale, mean, deviation = RANGES[input_range]
    channels = builder.shapes['data'][1]
    if len(mean) not in (1, channels):
        raise BadInput(f'the model takes {channels} channels, "{input_range}" has a mean for {len(mean)}')
    swap = channels == 3 and order == 'rgb'
    factors = np.broadcast_to(np.float64(scale) / np.array(deviation), channels)
    means = np.broadcast_to(np.array(mean) / scale, channels)
    if swap or (factors != 1).any():
        _convert_channels(builder, factors, swap)
    ordered = means[::-1] if swap else means
    return NetInput(tuple(round(float(m), 6) for m in ordered), 'bgr' if channels == 3 else 'as is')


def _convert_channels(builder: Builder, factors: np.ndarray, swap: bool) -> None:
    """Scale the input's channels by C factors, after reversing them for `swap`, in the layers that read them."""
    readers = [layer for layer in builder.net.layer if 'data' in layer.bottom
               and not (layer.type == 'Crop' and layer.bottom[0] != 'data')]        # which only asks for its size
    if all(layer.type == 'Convolution' and layer.convolution_param.group == 1 for layer in readers):
        for layer in readers:
            blobs = builder.weights[layer.name]
            blob = blobs[0] * factors.reshape(1, -1, 1, 1)
            blobs[0] = np.ascontiguousarray(blob[:, ::-1] if swap else blob, np.float32)
    else:
        _prepend_convolution(builder, np.diag(factors)[:, ::-1] if swap else np.diag(factors), readers)


def _prepend_convolution(builder: Builder, matrix: np.ndarray, readers: list[Any]) -> None:
    """A 1x1 convolution by a C x C matrix before all other layers, where not every reader is a convolution."""
    layers = [type(layer).FromString(layer.SerializeToString()) for layer in builder.net.layer]
    del builder.net.layer[1:]
    top = builder.add('Convolution', 'input', ['data'], [matrix[:, :, None, None]], num_output=len(matrix),
                      kernel_size=[1], bias_term=False)
    names = {layer.name for layer in readers}
    for layer in layers[1:]:
        if layer.name in names:
            for i, name in enumerate(layer.bottom):
                if name == 'data':
                    layer.bottom[i] = top
        builder.net.layer.add().CopyFrom(layer)
