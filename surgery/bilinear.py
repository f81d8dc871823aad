"""Bilinear interpolation: as a Deconvolution's weights, and of planes."""
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


def positions(length: int, given: int) -> np.ndarray:
    """Where the pixels of a resized axis lie on the axis that is given; the edges of the two coincide.

    Parameters
    ----------
    length, given : int
        Pixels of the resized axis and of the given one.

    Returns
    -------
    ndarray of float64
        In pixels of the given one, between the centres of its first and its last.
    """
    return np.asarray((np.arange(length) + 0.5) * given / length - 0.5)


def interpolate(planes: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Planes at other places than their pixels, linearly along both axes; beyond the edges, as on them.

    Parameters
    ----------
    planes : ndarray of float32, C x H x W
    y, x : ndarray of float
        Of the rows and of the columns wanted, in pixels.

    Returns
    -------
    ndarray of float32, C x len(y) x len(x)
    """
    for axis, places in ((1, y), (2, x)):
        if np.array_equal(places, np.arange(planes.shape[axis])):
            continue
        last = planes.shape[axis] - 1
        places = np.clip(places, 0, last)
        before = np.minimum(places.astype(int), max(last - 1, 0))
        share = np.float32(places - before).reshape(-1, *[1] * (2 - axis))
        one = planes.take(before, axis)
        planes = one + share * (planes.take(np.minimum(before + 1, last), axis) - one)
    return planes


def resize(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Planes C x H x W, float32, resized bilinearly to a height and a width, without smoothing; edges coincide."""
    _, h, w = planes.shape
    return interpolate(planes, positions(height, h), positions(width, w))
