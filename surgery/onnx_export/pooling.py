"""Poolings. Caffe rounds a map's size up; engines differ in what a window may count that reaches beyond the map.

Along an axis, of a map of n positions with p of padding, k-wide windows begin at -p, -p + s, ... There are
ceil((n + 2p - k) / s) + 1 of them, or floor with `round_mode: FLOOR`; where the layer pads, the last one is left out if
it would begin at n + p or later. A window has the maximum of what it has of the map, or the mean over what it has of
the map and its padding.

If s + p <= k, no window is ever left out or begins beyond the map, and ONNX says the same of a maximum with
`ceil_mode`; of a mean too without padding, where it takes what a window has of the map. Otherwise the map is enlarged
until all windows lie in it, and what is too much is cut off.
"""
import numpy as np
from numpy.typing import NDArray

from cli import BadInput

from ..layers.one_size import pyramid
from ..layers.window import Window, pooling_window
from .graph import Layer, Operator, Size, Value, number

LOWEST = float(np.finfo(np.float32).min)       # what Caffe begins a maximum with


def _pool(layer: Layer) -> list[str]:
    p, value = layer.proto.pooling_param, layer.bottoms[0]
    maximum = p.pool == p.MAX
    if p.pool == p.STOCHASTIC:
        raise BadInput('stochastic pooling, which Caffe itself does not compute on a CPU')
    if p.global_pooling and len(layer.tops) == 1:
        return [layer.add('GlobalMaxPool' if maximum else 'GlobalAveragePool', value.name)]
    if p.global_pooling:
        raise BadInput('it tells where in the whole map the maximum was')
    window = pooling_window(layer.proto, value.shape)
    if len(layer.tops) == 2:
        return _maxima(layer, value, window, floor=p.round_mode == p.FLOOR)
    return [_pooled(layer, value, window, maximum, floor=p.round_mode == p.FLOOR)]


def _spp(layer: Layer) -> str:
    """The pyramid at the size that the prototxt states."""
    p, value = layer.proto.spp_param, layer.bottoms[0]
    if p.pool == p.STOCHASTIC:
        raise BadInput('stochastic pooling, which Caffe itself does not compute on a CPU')
    levels = [_pooled(layer, value, window, p.pool == p.MAX, floor=False) for window in pyramid(layer.proto,
                                                                                               value.shape)]
    if len(levels) == 1:
        return levels[0]
    return layer.add('Concat', *(layer.add('Flatten', level, axis=1) for level in levels), axis=1)


def _pooled(layer: Layer, value: Value, w: Window, maximum: bool, floor: bool) -> str:
    ceil = not floor and w.stride != (1, 1)
    if ceil and (not _fits(w) or any(w.pad) and not maximum):
        return _enlarged(layer, value, w, maximum)
    if maximum:
        return layer.add('MaxPool', value.name, kernel_shape=w.kernel, strides=w.stride, pads=w.pad * 2,
                         ceil_mode=int(ceil))
    if not ceil:
        return layer.add('AveragePool', value.name, kernel_shape=w.kernel, strides=w.stride, pads=w.pad * 2,
                         count_include_pad=1)
    return layer.add('AveragePool', value.name, kernel_shape=w.kernel, strides=w.stride, ceil_mode=1)


def _fits(w: Window) -> bool:
    """Whether no window can begin beyond the map and its padding, whatever the map's size."""
    return all(s + p <= k for k, s, p in zip(w.kernel, w.stride, w.pad, strict=True))


def _maxima(layer: Layer, value: Value, w: Window, floor: bool) -> list[str]:
    """The maxima, and their places in the map of their channel, row by row; ONNX counts them over all maps."""
    if not floor and not _fits(w):
        raise BadInput('it tells where the maxima were, with windows that may begin beyond the map')
    top, places = layer.add_many('MaxPool', value.name, outputs=2, kernel_shape=w.kernel, strides=w.stride,
                                 pads=w.pad * 2, ceil_mode=int(not floor))
    area = layer.compute('Mul', layer.size(value, 2), layer.size(value, 3))
    place = layer.add('Mod', places, np.array(area) if isinstance(area, int) else area)
    return [top, layer.add('Cast', place, to=1)]


def _enlarged(layer: Layer, value: Value, w: Window, maximum: bool) -> str:
    """All windows within an enlarged map: s - 1 further positions round the number of windows up."""
    after = (w.pad[0] + w.stride[0] - 1, w.pad[1] + w.stride[1] - 1)
    padded = layer.add('Pad', value.name, np.array([0, 0, *w.pad, 0, 0, *after]), number(LOWEST if maximum else 0))
    # Any number is the larger one of the two: this keeps engines from merging the Pad into the pooling's own padding,
    # which may not be as wide and may count otherwise.
    apart = layer.add('Max', padded, number(LOWEST))
    pooled = layer.add('MaxPool' if maximum else 'AveragePool', apart, kernel_shape=w.kernel, strides=w.stride)
    counts = [_count(layer, layer.size(value, axis + 2), w, axis) for axis in (0, 1)]
    if any(w.pad):
        pooled = layer.add('Slice', pooled, np.array([0, 0]), layer.vector(counts), np.array([2, 3]))
    if maximum:
        return pooled
    for axis in (0, 1):         # the mean was taken over the whole window
        pooled = layer.add('Mul', pooled, _share(layer, layer.size(value, axis + 2), counts[axis], w, axis))
    return pooled


def _count(layer: Layer, n: Size, w: Window, axis: int) -> Size:
    """How many windows there are along an axis of n positions."""
    k, s, p = w.kernel[axis], w.stride[axis], w.pad[axis]
    count = layer.compute('Div', layer.compute('Add', n, 2 * p - k + s - 1 + s), s)
    if not any(w.pad):
        return count
    return layer.compute('Min', count, layer.compute('Div', layer.compute('Add', n, p - 1 + s), s))


def _share(layer: Layer, n: Size, count: Size, w: Window, axis: int) -> str | NDArray[np.float32]:
    """Caffe divides by the part of a window that is on the map and its padding: k over that, for each window."""
    k, s, p = w.kernel[axis], w.stride[axis], w.pad[axis]
    end = layer.compute('Add', n, 2 * p)
    if isinstance(end, int) and isinstance(count, int):
        with np.errstate(divide='ignore'):
            share = np.float32(k) / np.minimum(k, end - s * np.arange(count)).astype(np.float32)
        return share.reshape((-1, 1) if axis == 0 else (1, -1))
    assert isinstance(end, str) and isinstance(count, str)
    starts = layer.add('Mul', layer.add('Range', np.array(0), count, np.array(1)), np.array(s))
    lengths = layer.add('Cast', layer.add('Min', layer.add('Sub', end, starts), np.array(k)), to=1)
    return layer.add('Unsqueeze', layer.add('Div', number(k), lengths), np.array([1 if axis == 0 else 0]))


OPERATORS: dict[str, Operator] = {'Pooling': _pool, 'SPP': _spp}
