"""Filters over blue, green and red as filters over other channels: where a net for other pictures starts from.

A convolution is linear in its channels: its response to colours b, g, r is w_b * b + w_g * g + w_r * r. So

- blue, green and red keep their filters;
- grey gets their sum, since for a grey picture copied to three colours w_b * x + w_g * x + w_r * x is
  (w_b + w_g + w_r) * x: the response stays what it was;
- any other channel gets their mean, as the paper does for depth beside colour (PAMI 2017, section 5; the net
  nyud-fcn32s-color-d), since nothing in the classifier corresponds to it.
"""
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_layers.bands import COLOURS

from .caffemodel import Weights
from .graph import input_layer


def widened(filters: np.ndarray, channels: Sequence[str]) -> np.ndarray:
    """Filters of a first convolution over other channels.

    Parameters
    ----------
    filters : array, O x 3 x h x w
        Over blue, green and red.
    channels : sequence of str
        Names of the C channels: 'blue', 'green', 'red', 'grey', or any other.

    Returns
    -------
    array, O x C x h x w
        Of the same type.

    Examples
    --------
    >>> filters = np.array([1, 2, 6], 'f').reshape(1, 3, 1, 1)
    >>> widened(filters, ['blue', 'green', 'red', 'depth']).ravel().tolist()
    [1.0, 2.0, 6.0, 3.0]
    >>> widened(filters, ['grey']).ravel().tolist()
    [9.0]
    """
    of = dict(zip(COLOURS, filters.transpose(1, 0, 2, 3), strict=True)) | {'grey': filters.sum(1)}
    return np.stack([of.get(name, filters.mean(1)) for name in channels], axis=1)


def widen_input(deploy: Any, weights: Weights, channels: Sequence[str]) -> Weights:
    """The parameters of a net that sees colours, for one that sees other channels.

    Parameters
    ----------
    deploy : caffe_pb2.NetParameter
        With one input, of as many channels.
    weights : dict of str to list of ndarray
        What has no filters over three channels in the layers that read the input, or none at all, stays as it is.
    channels : sequence of str
        As of `widened`.

    Returns
    -------
    dict of str to list of ndarray
        The same but for the first convolutions.
    """
    data = input_layer(deploy).top[0]
    readers = [layer.name for layer in deploy.layer if layer.type == 'Convolution' and data in layer.bottom]
    return dict(weights) | {
        name: [widened(blob, channels), *others] for name in readers if name in weights
        for blob, *others in [weights[name]] if blob.ndim == 4 and blob.shape[1] == len(COLOURS)}


def can_widen(deploy: Any) -> bool:
    """Whether all that reads the input of a net does so by convolutions over all channels, or for its size alone."""
    data = input_layer(deploy).top[0]
    return all(layer.type == 'Convolution' and layer.convolution_param.group == 1
               or (layer.type == 'Crop' and layer.bottom[0] != data)
               for layer in deploy.layer if data in layer.bottom)
