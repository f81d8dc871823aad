"""Order and extent: transposed, reshaped, padded, joined and cut values."""
import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from cli import BadInput

from ..caffemodel import MOST_AXES, by
from .cropping import cut_map, finish_cut
from .node import MAP, Node, Operator, Value, refuse_padding


def _identity(node: Node) -> Value:
    return node.value()


# ------------------------------------------------------------------------------------------- axes and shapes

def _transpose(node: Node) -> Value:
    value = node.value()
    perm = list(node.attribute('perm', range(len(value.axes))[::-1]))
    if sorted(perm) != list(range(len(value.axes))) or perm[0] != 0:
        raise BadInput(f'{perm} moves the batch')
    return value._replace(axes=tuple(value.axes[i] for i in perm))


def _flatten(node: Node) -> Value:
    value = node.value()
    axis = node.attribute('axis', 1)
    if axis != 1:
        raise BadInput(f'axis {axis}; Caffe flattens all that follows the batch, axis 1')
    return _reshaped(value, (value.dims[0], math.prod(value.shape[1:])))


def _reshape(node: Node) -> Value:
    value, target = node.value(), node.array(1).ravel().tolist()
    if not node.attribute('allowzero', 0):
        target = [value.shape[i] if d == 0 and i < len(value.shape) else d for i, d in enumerate(target)]
    rest = math.prod(d for d in target if d != -1)
    total = math.prod(value.shape)
    if target.count(-1) == 1 and rest > 0 and total % rest == 0:
        target[target.index(-1)] = total // rest
    if value.axes == MAP and len(target) == 5 and (target[0], *target[3:]) == (value.dims[0], *value.dims[2:]) \
            and target[1] * target[2] == value.dims[1]:
        refuse_padding(value)
        return value._replace(dims=tuple(target), axes=tuple((i,) for i in range(5)))
    shaped = _reshaped(value, tuple(target))
    return _shuffle(node, shaped) if len(shaped.dims) == 5 else shaped


def _reshaped(value: Value, shape: tuple[int, ...]) -> Value:
    """A value under another shape: each new axis must be made of whole axes of the blob."""
    refuse_padding(value)
    if math.prod(shape) != math.prod(value.shape) or not shape or shape[0] != value.dims[0]:
        raise BadInput(f'{by(value.shape)} to {by(shape)}')
    left = [a for i in range(1, len(value.axes)) for a in value.axes[i] if value.dims[a] > 1 or len(value.dims) == 5]
    axes: list[tuple[int, ...]] = [(0,)]
    for d in shape[1:]:
        group: list[int] = []
        while left and math.prod(value.dims[a] for a in group) < d:
            group.append(left.pop(0))
        if math.prod(value.dims[a] for a in group) != d:
            raise BadInput(f'{by(value.shape)} to {by(shape)} cuts an axis apart')
        axes.append(tuple(group))
    order = [a for axis in axes for a in axis]
    if len(axes) == 4 and len(value.dims) == 4 and shape == value.dims and order == sorted(order):
        return value._replace(axes=MAP)
    return value._replace(axes=tuple(axes))


def _shuffle(node: Node, value: Value) -> Value:
    """Channels that a graph splits into two axes, swaps, and joins again: a 1x1 convolution that moves them."""
    n, a, b, h, w = value.dims
    if len(value.axes) != 4 or value.axes[2:] != ((3,), (4,)) or sorted(value.axes[1]) != [1, 2]:
        raise BadInput(f'{by(value.shape)} of channels that were split into {a} times {b}')
    node.state.builder.reserve(a * b)
    order = np.arange(a * b).reshape(a, b).transpose([i - 1 for i in value.axes[1]]).ravel()
    return _channels(node, Value(value.blob, (n, a * b, h, w), MAP), 1, order.tolist())


def _squeeze(node: Node) -> Value:
    value = node.value()
    given = node.attribute('axes', None)
    if given is None and len(node.inputs) > 1:
        given = node.array(1).ravel().tolist()
    drop = [a % len(value.axes) for a in given] if given is not None else [
        i for i, n in enumerate(value.shape) if n == 1 and i]
    if 0 in drop or any(value.shape[a] != 1 for a in drop):
        raise BadInput(f'axes {drop} of {by(value.shape)}: it removes the batch, or an axis longer than 1')
    return value._replace(axes=tuple(axis for i, axis in enumerate(value.axes) if i not in drop))


def _unsqueeze(node: Node) -> Value:
    value = node.value()
    given = node.attribute('axes', None)
    where = given if given is not None else node.array(1).ravel().tolist()
    rank = len(value.axes) + len(where)
    if rank > MOST_AXES:
        raise BadInput(f'more than {MOST_AXES} axes')
    axes = list(value.axes)
    for at in sorted(a % rank for a in where):
        axes.insert(at, ())
    if axes[0] != (0,):
        raise BadInput('it moves the batch')
    in_order = all(value.longer(*axis) == value.longer(i) for i, axis in enumerate(axes[1:4], 1))
    return value._replace(axes=MAP if len(axes) == 4 and in_order else tuple(axes))


def _expand(node: Node) -> Value:
    """One number per channel, to be multiplied with a map, stays one: the product repeats it."""
    value, target = node.value(), tuple(node.array(1).ravel().tolist())
    shape = np.broadcast_shapes(value.shape, target)
    repeated = [i for i, n in enumerate(shape) if n != ((1,) * (len(shape) - len(value.shape)) + value.shape)[i]]
    if repeated and (value.dims[2:] != (1, 1) or len(shape) != len(value.axes) or 0 in repeated):
        raise BadInput(f'{by(value.shape)} to {by(shape)}: not one number per channel over height and width')
    return value


# ------------------------------------------------------------------------------------------- padding, joining

def _pad(node: Node) -> Value:
    """Zeros around height and width are kept in `Value.pad`, for the convolution or pooling that reads the value."""
    value = node.value()
    pads = node.attribute('pads', None)
    pads = pads if pads is not None else node.array(1).ravel().tolist()
    fill = float(node.attribute('value', node.array(2, 0.0)))
    axes = node.array(3, range(len(value.axes))).ravel().tolist()
    if node.attribute('mode', 'constant') != 'constant' or fill or min(pads) < 0 or len(pads) != 2 * len(axes):
        raise BadInput('it pads with something else than zeros')
    more = list(value.pad)
    for i, axis in enumerate(axes):
        before, after = pads[i], pads[i + len(axes)]
        if not before and not after:
            continue
        if value.axes[axis] not in ((2,), (3,)):
            raise BadInput(f'it pads axis {axis} of {by(value.shape)}, not height or width')
        at = value.axes[axis][0] - 2
        more[at], more[at + 2] = more[at] + before, more[at + 2] + after
    return value._replace(pad=(more[0], more[1], more[2], more[3]))


def _concat(node: Node) -> Value:
    values = [node.value(i) for i in range(len(node.inputs))]
    axis = node.attribute('axis', 1) % len(values[0].axes)
    runs = [[v.runs_over(i) for i in range(len(v.axes)) if i != axis] for v in values]
    if any(v.runs_over(axis) not in ((1,), ()) for v in values) or any(r != runs[0] for r in runs):
        raise BadInput(f'it joins {" and ".join(by(v.shape) for v in values)} along axis {axis}, not along channels')
    if len({v.dims[2:] for v in values}) > 1:
        raise BadInput(f'maps of different sizes: {" and ".join(by(v.dims[2:]) for v in values)}')
    ranks = [len(node.state.builder.shapes[v.blob]) for v in values]
    if len(set(ranks)) > 1:          # N x C beside N x C x 1 x 1
        values = [v if rank == 2 else node.add('Flatten', [v]) for v, rank in zip(values, ranks, strict=True)]
    widest = max(values, key=lambda v: v.dims[1])
    return node.add('Concat', values, axes=widest.axes)


# ------------------------------------------------------------------------------------------- some of the channels

def _channels(node: Node, value: Value, axis: int, chosen: Sequence[int]) -> Value:
    """Some channels of a map, by a 1x1 convolution of ones and zeros."""
    if axis != 1 or not chosen:
        raise BadInput(f'it takes a part of axis {axis} of {by(value.shape)}, not of its channels')
    node.state.builder.reserve(len(chosen) * value.dims[1])
    weights = np.zeros((len(chosen), value.dims[1], 1, 1), np.float32)
    weights[range(len(chosen)), list(chosen)] = 1
    return node.add('Convolution', [value], [weights], axes=MAP, num_output=len(chosen), kernel_size=[1],
                    bias_term=False)


def _gather(node: Node) -> Value:
    value, index = node.map(), node.array(1)
    axis = node.attribute('axis', 0) % 4
    channels = value.dims[1]
    chosen = index.ravel().tolist()
    if axis == 1 and not all(-channels <= i < channels for i in chosen):
        raise BadInput(f'it takes channels that {by(value.shape)} does not have')
    part = _channels(node, value, axis, [int(i) % channels for i in chosen])
    return part._replace(axes=tuple(a for i, a in enumerate(part.axes) if i != axis)) if index.ndim == 0 else part


def _slice(node: Node) -> Value:
    value = node.value()
    starts = node.attribute('starts', None) or node.array(1).ravel().tolist()
    ends = node.attribute('ends', None) or node.array(2).ravel().tolist()
    axes = node.attribute('axes', None) or node.array(3, range(len(starts))).ravel().tolist()
    steps = node.array(4, [1] * len(starts)).ravel().tolist()
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis %= len(value.axes)
        chosen = range(value.shape[axis])[slice(int(start), int(end), int(step))]
        if len(chosen) != value.shape[axis] or step != 1:
            if value.axes == MAP and axis in (2, 3) and len(node.inputs) > 2:
                value = cut_map(node, value, axis, chosen, *node.inputs[1:3])
                continue
            if value.runs_over(axis) not in ((1,), ()) or len(value.axes) != 4:
                raise BadInput(f'it cuts axis {axis} of {by(value.shape)}, not its channels')
            value = _channels(node, finish_cut(node, value), 1, chosen)
    return value


def _split(node: Node) -> list[Value]:
    value = node.map()
    axis = node.attribute('axis', 0) % 4
    n = len(node.outputs)
    parts = node.attribute('split', None)
    if parts is None:
        even = -(-value.dims[1] // n)
        parts = node.array(1, [even] * (n - 1) + [value.dims[1] - even * (n - 1)]).ravel().tolist()
    if axis == 1 and (len(parts) != n or min(parts) < 1 or sum(parts) != value.dims[1]):
        raise BadInput(f'it cuts {value.dims[1]} channels into {n} of {parts}')
    edges = [0, *accumulate(parts)]
    return [_channels(node, value, axis, range(a, b)) for a, b in zip(edges, edges[1:], strict=False)]


OPERATORS: dict[str, Operator] = {
    'Identity': _identity, 'Cast': _identity, 'Transpose': _transpose, 'Flatten': _flatten, 'Reshape': _reshape,
    'Squeeze': _squeeze, 'Unsqueeze': _unsqueeze, 'Expand': _expand, 'Pad': _pad, 'Concat': _concat, 'Gather': _gather,
    'Slice': _slice, 'Split': _split,
}
