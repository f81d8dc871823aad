"""Bilinear upsampling as a Deconvolution's weights."""
from collections.abc import Iterable
from typing import Any

import numpy as np

from cli import BadInput

from .caffemodel import by
from .transplant import parameters


def bilinear_kernel(size: int) -> np.ndarray:
    """The kernel with which a Deconvolution of stride f = floor((size+1)/2) interpolates linearly along both axes.

    Parameters
    ----------
    size : int
        Side of the kernel, in pixels of the upsampled map.

    Returns
    -------
    ndarray of float64, size x size
        `(1 - |i-c|/f) (1 - |j-c|/f)` with the centre `c = f-1` for an odd size, else `f-0.5`.

    Raises
    ------
    ValueError
        The size is less than 1.

    Examples
    --------
    >>> bilinear_kernel(3)
    array([[0.25, 0.5 , 0.25],
           [0.5 , 1.  , 0.5 ],
           [0.25, 0.5 , 0.25]])
    """
    if size < 1:
        raise ValueError(f'a kernel of size {size}; expected 1 or more')
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    ramp = 1 - abs(np.arange(size) - centre) / factor
    return np.outer(ramp, ramp)


def fill_bilinear(net: Any, layers: Iterable[str] | None = None) -> dict[str, tuple[int, ...]]:
    """Make Deconvolutions upsample: the bilinear kernel on the channel diagonal, zero elsewhere, biases as they are.

    Nothing is written unless every layer can be filled.

    Parameters
    ----------
    net : caffe.Net, or mapping of str to list of ndarray
        Written in place.
    layers : iterable of str, optional
        Which layers; every Deconvolution of a `caffe.Net` by default. A mapping does not say
        its layers' types, so there they must be named.

    Returns
    -------
    dict of str to tuple of int
        The layers filled, each with the shape of its weights, `in x out/group x K x K`.

    Raises
    ------
    BadInput
        A kernel is not square; or input and output channels differ, neither being 1 (a
        Deconvolution with as many groups as channels has 1 on its second axis); or no such layer.

    Notes
    -----
    With one output channel every input channel is written to it, with one input channel it is written to every output.
    """
    params = parameters(net)
    names = list(layers) if layers is not None else _deconvolutions(net)
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        if not params.get(name):
            raise BadInput(f'layer {name}: no such layer with weights to fill')
        shape = params[name][0].shape
        if len(shape) != 4 or shape[2] != shape[3]:
            raise BadInput(f'layer {name}: its weights are {by(shape)}; bilinear upsampling needs a square kernel')
        if shape[0] != shape[1] and 1 not in shape[:2]:
            raise BadInput(f'layer {name}: its weights are {by(shape)}; bilinear upsampling needs as many input as '
                           'output channels, or one of either, or one group per channel')
        shapes[name] = shape
    for name, shape in shapes.items():
        weights = params[name][0]
        weights[...] = 0
        weights[range(shape[0]), range(shape[1])] = bilinear_kernel(shape[2])    # broadcasts where one side has 1
    return shapes


def _deconvolutions(net: Any) -> list[str]:
    try:
        return [str(name) for name, layer in zip(net._layer_names, net.layers, strict=True)
                if layer.type == 'Deconvolution']
    except AttributeError:
        raise TypeError('a mapping does not say which layers are Deconvolutions: name them') from None
