"""Poolings: windows, whole maps, and means or maxima over height and width."""
from collections.abc import Sequence
from typing import Any

from cli import BadInput

from ..caffemodel import by
from .node import ELTWISE, MAP, Node, Operator, State, Value
from .windows import field, pads, steps

MAX, AVE = 0, 1         # PoolingParameter.PoolMethod


def _pool(node: Node) -> Value:
    value = node.map(pad=True)
    kernel = list(node.attribute('kernel_shape', []))
    stride, dilation = steps(node)
    if len(kernel) != 2 or dilation != [1, 1] or len(node.outputs) > 1:
        raise BadInput(f'kernel {kernel}, dilation {dilation}, {len(node.outputs)} outputs: Caffe pools over height '
                       'and width, undilated, into one')
    before, after = pads(node, value, kernel, stride, dilation)
    ceil = bool(node.attribute('ceil_mode', 0))
    if any(value.pad) and (ceil or not _nonnegative(node.state, value.blob) and node.kind == 'MaxPool'):
        raise BadInput('zeros padded before it (Pad) give another result than the padding of a pooling')
    average = node.kind == 'AveragePool'
    include = bool(node.attribute('count_include_pad', 0)) or any(value.pad)
    if average and include and before != after or any(value.pad) and not include:
        raise BadInput(f'it averages with padding {before} before and {after} after, which Caffe counts differently')
    if any(k <= p for k, p in zip(kernel, before, strict=True)):
        raise BadInput(f'padding {before} as wide as its window {kernel}')
    size = _pooled(value, kernel, stride, before, after, ceil)
    if size == [1, 1] and all(k - p >= n for k, p, n in zip(kernel, before, value.dims[2:], strict=True)) and not (
            average and include and (any(before) or any(after))):
        kernel, stride, before = list(value.dims[2:]), [1, 1], [0, 0]       # the whole map, and none of the padding
    floor = _rounds_down(value, kernel, stride, before, size, prefer_floor=node.state.branches and not ceil)
    params = {'pool': AVE if average else MAX, **field('kernel', kernel, False), **field('stride', stride, False),
              **field('pad', before, False), 'round_mode': 1 if floor else None}
    pooled = node.add('Pooling', [value], axes=MAP, **params)
    return pooled if not average or include or not any(before) else _without_padding(node, value, pooled, params)


def _pooled(value: Value, kernel: Sequence[int], stride: Sequence[int], before: Sequence[int], after: Sequence[int],
            ceil: bool) -> list[int]:
    """Height and width of the pooled map, as ONNX counts them."""
    size = []
    for n, k, s, a, b in zip(value.dims[2:], kernel, stride, before, after, strict=True):
        reach = n + a + b - k
        count = (-(-reach // s) if ceil else reach // s) + 1
        size.append(count - 1 if ceil and (count - 1) * s >= n + a else count)
    return size


def _rounds_down(value: Value, kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int],
                 size: Sequence[int], prefer_floor: bool) -> bool:
    """Whether Caffe must round down to get the sizes of the graph; it rounds up by default.

    Where both give the same size, branches of a graph that rounds down must do so at all sizes to meet again.
    """
    results = []
    for floor in (prefer_floor, not prefer_floor):
        got = []
        for n, k, s, p in zip(value.dims[2:], kernel, stride, pad, strict=True):
            reach = n + 2 * p - k
            count = (reach // s if floor else -(-reach // s)) + 1
            got.append(count - 1 if any(pad) and (count - 1) * s >= n + p else count)
        if got == list(size):
            return floor
        results.append(got)
    raise BadInput(f'a {by(value.dims[2:])} map becomes {by(size)} in the model, {by(results[0])} or {by(results[1])} '
                   'in Caffe')


def _nonnegative(state: State, blob: str) -> bool:
    """Whether padding with zeros is no different from leaving the padding out of a maximum."""
    blobs = [blob]
    seen = {blob}
    while blobs:
        layer = state.builder.layer(blobs.pop())
        if layer.type in ('Pooling', 'Dropout', 'Concat', 'Eltwise') and layer.bottom[0] != 'data' \
                and not layer.eltwise_param.coeff:
            blobs += [name for name in dict.fromkeys(layer.bottom) if name not in seen]
            seen.update(layer.bottom)
        elif layer.type not in ('ReLU', 'Sigmoid', 'Softmax') or layer.relu_param.negative_slope:
            return False
    return True


def _without_padding(node: Node, value: Value, pooled: Value, params: dict[str, Any]) -> Value:
    """An average that leaves the padding out: Caffe's own, over what it makes of a map of ones."""
    ones = node.add('Power', [value], suffix='_ones', scale=0.0, shift=1.0)
    share = node.add('Pooling', [ones], suffix='_share', axes=MAP, **params)
    inverse = node.add('Power', [share], suffix='_inverse', power=-1.0)
    return node.add('Eltwise', [pooled, inverse], suffix='_inside', operation=ELTWISE['PROD'])


def _global_pool(node: Node) -> Value:
    return node.add('Pooling', [node.map()], axes=MAP, pool=MAX if node.kind == 'GlobalMaxPool' else AVE,
                    global_pooling=True)


def _reduce(node: Node) -> Value:
    value = node.value()
    axes = node.attribute('axes', None)
    if axes is None:
        axes = node.array(1, [2, 3]).ravel().tolist()
    over = sorted(a % len(value.axes) for a in axes)
    if sorted(b for a in over for b in value.runs_over(a)) != value.longer(2, 3):
        raise BadInput(f'it reduces axes {axes} of {by(value.shape)}, not height and width')
    keep = node.attribute('keepdims', 1)
    kept = tuple(axis for i, axis in enumerate(value.axes) if keep or i not in over)
    return node.add('Pooling', [value], axes=kept, pool=MAX if node.kind == 'ReduceMax' else AVE,
                    global_pooling=True)


OPERATORS: dict[str, Operator] = {
    'MaxPool': _pool, 'AveragePool': _pool, 'GlobalAveragePool': _global_pool, 'GlobalMaxPool': _global_pool,
    'ReduceMean': _reduce, 'ReduceMax': _reduce,
}
