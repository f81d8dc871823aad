"""What Caffe would make of a net's shapes, worked out without running it.

Caffe ends the process on a net that does not fit together, so every net is checked here first, and everything that
surgery needs to know about a layer is asked here: shapes of its tops and parameters, its window on its bottom.
"""
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cli import BadInput

from .caffemodel import by

Shape = tuple[int, ...]
Pair = tuple[int, int]

ELEMENTWISE = ('AbsVal', 'BNLL', 'Clip', 'Dropout', 'ELU', 'Exp', 'Log', 'Power', 'ReLU', 'Sigmoid', 'Swish', 'TanH',
               'Threshold')
INPUTS = ('Input', 'Data', 'ImageData', 'HDF5Data', 'MemoryData', 'WindowData', 'DummyData')
ENDS = ('Accuracy', 'ContrastiveLoss', 'EuclideanLoss', 'HDF5Output', 'HingeLoss', 'InfogainLoss',
        'MultinomialLogisticLoss', 'SigmoidCrossEntropyLoss', 'Silence', 'SoftmaxWithLoss')


REASONS = {
    'Python': 'runs code of its own, which is not run here', 'MVN': 'normalises over the whole image',
    'SPP': 'pools into a fixed grid of whatever size', 'Reduction': 'adds over all that follows an axis',
    'Tile': 'repeats along an axis', 'Embed': 'takes indices, not images', 'Im2col': 'makes columns, not a map',
    'LSTM': 'works along time', 'RNN': 'works along time', 'Recurrent': 'works along time',
    'BatchReindex': 'picks from the batch', 'Filter': 'picks from the batch', 'Parameter': 'has no bottom',
}


class Window(NamedTuple):
    """How a convolution or pooling reads its bottom, (y, x) each; `extent` is the kernel with its dilation."""

    kernel: Pair
    stride: Pair
    pad: Pair
    dilation: Pair = (1, 1)

    @property
    def extent(self) -> Pair:
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1


class Shapes(NamedTuple):
    """Shapes of a net: of every layer's bottoms, tops and parameters, by layer, and of all blobs at the end."""

    bottoms: list[list[Shape]]
    tops: list[list[Shape]]
    params: list[list[Shape]]
    blobs: dict[str, Shape]


def infer(net: Any, inputs: Mapping[str, Shape] | None = None) -> Shapes:
    """The shapes of all blobs and parameters of a net.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Upgraded, and of one phase; its inputs are Input layers.
    inputs : mapping of str to shape, optional
        Sizes for input blobs, in place of those in the net.

    Returns
    -------
    Shapes

    Raises
    ------
    BadInput
        Caffe would refuse the net, or the layer is not one of those known here; names the layer.
    """
    blobs: dict[str, Shape] = {}
    names: set[str] = set()
    result = Shapes([], [], [], blobs)
    for layer in net.layer:
        try:
            if layer.name in names:
                raise BadInput('a second layer of this name')
            names.add(layer.name)
            for name in layer.bottom:
                if name not in blobs:
                    raise BadInput(f'its bottom {name!r} comes from no layer before it')
            bottoms = [blobs[name] for name in layer.bottom]
            tops, params = layer_shapes(layer, bottoms, inputs or {})
            _check_tops(layer, tops, blobs)
            if any(math.prod(shape) >= 2 ** 31 for shape in params):
                raise BadInput(f'its parameters would be {" and ".join(map(by, params))}, more than Caffe can count')
        except BadInput as problem:
            raise BadInput(f'layer {layer.name} ({layer.type}): {problem}') from None
        result.bottoms.append(bottoms)
        result.tops.append(tops)
        result.params.append(params)
        blobs.update(zip(layer.top, tops, strict=True))
    return result


def _check_tops(layer: Any, tops: list[Shape], blobs: dict[str, Shape]) -> None:
    if len(tops) != len(layer.top):
        raise BadInput(f'{len(layer.top)} tops where there are {len(tops)}')
    if len(set(layer.top)) != len(layer.top):
        raise BadInput('two tops of one name')
    for i, name in enumerate(layer.top):
        in_place = i < len(layer.bottom) and layer.bottom[i] == name
        if name in blobs and not in_place:
            raise BadInput(f'its top {name!r} is already the top of another layer')
        if any(d < 1 for d in tops[i]):
            raise BadInput(f'its top {name!r} would be {by(tops[i])}')
        if math.prod(tops[i]) >= 2 ** 31:
            raise BadInput(f'its top {name!r} would be {by(tops[i])}, more numbers than Caffe can count')


def layer_shapes(layer: Any, bottoms: Sequence[Shape], inputs: Mapping[str, Shape]) -> tuple[list[Shape], list[Shape]]:
    """Shapes of one layer's tops and parameters."""
    if layer.type == 'Input':
        return _input(layer, inputs), []
    rule = RULES.get(layer.type)
    if rule is None:
        reason = REASONS.get(layer.type)
        raise BadInput(f'it {reason}: surgery does not know it' if reason else 'a type that surgery does not know')
    fewest, most = BOTTOMS.get(layer.type, (1, 1))
    if not fewest <= len(layer.bottom) <= most:
        raise BadInput(f'{len(layer.bottom)} bottoms')
    tops, params = rule(layer, list(bottoms))
    return (tops * len(layer.top) if layer.type == 'Split' else tops), params


def _input(layer: Any, inputs: Mapping[str, Shape]) -> list[Shape]:
    shapes = [tuple(shape.dim) for shape in layer.input_param.shape]
    if len(shapes) == 1:
        shapes *= len(layer.top)
    if len(shapes) != len(layer.top) and not all(name in inputs for name in layer.top):
        raise BadInput(f'{len(layer.top)} tops but {len(shapes)} shapes')
    return [tuple(inputs[name]) if name in inputs else shapes[i] for i, name in enumerate(layer.top)]


# ------------------------------------------------------------------------------------------------------ windows

def window(layer: Any, bottom: Shape) -> Window:
    """The window of a Convolution, Deconvolution or Pooling layer."""
    if len(bottom) != 4:
        raise BadInput(f'its bottom is {by(bottom)}, it takes N x C x H x W')
    return _pooling_window(layer.pooling_param, bottom) if layer.type == 'Pooling' else conv_window(layer)


def conv_window(layer: Any) -> Window:
    """The window of a Convolution or Deconvolution, whose fields may be given once, twice, or as `_h` and `_w`."""
    p = layer.convolution_param

    def pair(repeated: Sequence[int], stem: str, default: int | None) -> Pair:
        if p.HasField(f'{stem}_h') or p.HasField(f'{stem}_w'):
            if len(repeated):
                raise BadInput(f'both {stem}_h/{stem}_w and the common value')
            return getattr(p, f'{stem}_h'), getattr(p, f'{stem}_w')
        return _twice(repeated, stem, default)

    w = Window(pair(p.kernel_size, 'kernel', None), pair(p.stride, 'stride', 1), pair(p.pad, 'pad', 0),
               _twice(p.dilation, 'dilation', 1))
    return _valid(w)


def _twice(values: Sequence[int], stem: str, default: int | None) -> Pair:
    if not len(values) and default is not None:
        return default, default
    if len(values) not in (1, 2):
        raise BadInput(f'{len(values)} values for its {stem}, where images have two axes')
    return values[0], values[-1]


def _pooling_window(p: Any, bottom: Shape) -> Window:
    def pair(stem: str, whole: str) -> Pair:
        if p.HasField(f'{stem}_h') or p.HasField(f'{stem}_w'):
            if p.HasField(whole) or not (p.HasField(f'{stem}_h') and p.HasField(f'{stem}_w')):
                raise BadInput(f'its {stem} must be given once, or as {stem}_h and {stem}_w')
            return getattr(p, f'{stem}_h'), getattr(p, f'{stem}_w')
        return getattr(p, whole), getattr(p, whole)

    stride, pad = pair('stride', 'stride'), pair('pad', 'pad')
    if p.global_pooling:
        if p.HasField('kernel_size') or p.HasField('kernel_h') or p.HasField('kernel_w'):
            raise BadInput('global pooling with a kernel size')
        if stride != (1, 1) or pad != (0, 0):
            raise BadInput('global pooling with a stride or padding')
        return Window((bottom[2], bottom[3]), stride, pad)
    w = _valid(Window(pair('kernel', 'kernel_size'), stride, pad))
    if any(pad) and (p.pool == p.STOCHASTIC or pad[0] >= w.kernel[0] or pad[1] >= w.kernel[1]):
        raise BadInput(f'its padding {by(pad)} does not go with its {by(w.kernel)} window')
    return w


def _valid(w: Window) -> Window:
    if min(w.kernel) < 1 or min(w.stride) < 1 or min(w.dilation) < 1 or max(*w.kernel, *w.pad, *w.dilation) > 10 ** 6:
        raise BadInput(f'impossible window: kernel {by(w.kernel)}, stride {by(w.stride)}, pad {by(w.pad)}, '
                       f'dilation {by(w.dilation)}')
    return w


def pooled(layer: Any, w: Window, size: Sequence[int]) -> Pair:
    """Height and width after pooling: Caffe rounds up unless told otherwise, then drops a window all in padding."""
    out = []
    for n, k, s, p in zip(size, w.kernel, w.stride, w.pad, strict=True):
        steps = n + 2 * p - k
        count = (steps // s if layer.pooling_param.round_mode == layer.pooling_param.FLOOR else -(-steps // s)) + 1
        if any(w.pad) and (count - 1) * s >= n + p:
            count -= 1
        out.append(count)
    return out[0], out[1]


def convolved(w: Window, size: Sequence[int]) -> Pair:
    """Height and width after a convolution: the windows that fit."""
    out = [(n + 2 * p - e) // s + 1 if n + 2 * p >= e else 0
           for n, e, s, p in zip(size, w.extent, w.stride, w.pad, strict=True)]
    return out[0], out[1]


# -------------------------------------------------------------------------------------------------- layer types

def _convolution(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    p = layer.convolution_param
    if p.axis not in (1, -3):
        raise BadInput(f'convolves along axis {p.axis}; only images, axis 1, are known here')
    channels, group, w = bottoms[0][1] if len(bottoms[0]) > 1 else 0, p.group, window(layer, bottoms[0])
    if any(shape != bottoms[0] for shape in bottoms):
        raise BadInput('its bottoms differ in shape')
    if p.num_output < 1 or group < 1 or channels % group or p.num_output % group:
        raise BadInput(f'{channels} channels and {p.num_output} outputs in {group} groups')
    if layer.type == 'Deconvolution':
        ins, outs = channels, p.num_output // group
        size = [(n - 1) * s + e - 2 * d for n, s, e, d in zip(bottoms[0][2:], w.stride, w.extent, w.pad, strict=True)]
    else:
        ins, outs = p.num_output, channels // group
        size = list(convolved(w, bottoms[0][2:]))
    if min(size) < 1:
        raise BadInput(f'its window, {by(w.extent)} with pad {by(w.pad)}, does not fit its bottom, {by(bottoms[0])}')
    params: list[Shape] = [(ins, outs, *w.kernel)] + ([(p.num_output,)] if p.bias_term else [])
    return [(bottoms[0][0], p.num_output, *size)] * len(bottoms), params


def _pooling(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    w = window(layer, bottoms[0])
    size = pooled(layer, w, bottoms[0][2:])
    if min(size) < 1:
        raise BadInput(f'its window, {by(w.kernel)}, does not fit its bottom, {by(bottoms[0])}')
    return [(*bottoms[0][:2], *size)] * len(layer.top), []


def _inner_product(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    p = layer.inner_product_param
    axis = canonical(p.axis, bottoms[0])
    if p.num_output < 1:
        raise BadInput('no num_output')
    inputs = math.prod(bottoms[0][axis:])
    weights = (inputs, p.num_output) if p.transpose else (p.num_output, inputs)
    return [(*bottoms[0][:axis], p.num_output)], [weights, *([(p.num_output,)] if p.bias_term else [])]


def _reshape(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    p, shape = layer.reshape_param, bottoms[0]
    start = p.axis if p.axis >= 0 else len(shape) + p.axis + 1
    stop = len(shape) if p.num_axes == -1 else start + p.num_axes
    if not 0 <= start <= stop <= len(shape):
        raise BadInput(f'its axes are not those of its bottom, {by(shape)}')
    middle = []
    for i, d in enumerate(p.shape.dim):
        if d == 0 and start + i >= len(shape):
            raise BadInput(f'dim 0 copies an axis that its bottom, {by(shape)}, has not')
        middle.append(shape[start + i] if d == 0 else d)
    if middle.count(-1) > 1 or any(d < -1 for d in middle):
        raise BadInput('impossible dims')
    rest = math.prod(d for d in middle if d != -1)
    inside = math.prod(shape[start:stop])
    if -1 in middle and rest and inside % rest == 0:
        middle[middle.index(-1)] = inside // rest
    if math.prod(middle) != inside:
        raise BadInput(f'cannot make {by([*shape[:start], *p.shape.dim, *shape[stop:]])} of {by(shape)}')
    return [(*shape[:start], *middle, *shape[stop:])], []


def _flatten(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    p, shape = layer.flatten_param, bottoms[0]
    start, stop = canonical(p.axis, shape), canonical(p.end_axis, shape) + 1
    if start >= stop:
        raise BadInput(f'flattens no axis of {by(shape)}')
    return [(*shape[:start], math.prod(shape[start:stop]), *shape[stop:])], []


def _concat(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    axis, first = concat_axis(layer, bottoms[0]), bottoms[0]
    for shape in bottoms:
        if len(shape) != len(first) or any(a != b for i, (a, b) in enumerate(zip(shape, first, strict=True))
                                           if i != axis):
            raise BadInput(f'cannot join {" and ".join(map(by, bottoms))} along axis {axis}')
    return [(*first[:axis], sum(shape[axis] for shape in bottoms), *first[axis + 1:])], []


def _slice(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    axis, shape, n = slice_axis(layer, bottoms[0]), bottoms[0], len(layer.top)
    points = list(layer.slice_param.slice_point)
    if points:
        edges = [0, *points, shape[axis]]
        if len(points) != n - 1 or edges != sorted(set(edges)):
            raise BadInput(f'slice points {points} do not cut {shape[axis]} into {n}')
        parts = [b - a for a, b in zip(edges, edges[1:], strict=False)]
    elif shape[axis] % n:
        raise BadInput(f'cannot cut {shape[axis]} into {n} equal parts')
    else:
        parts = [shape[axis] // n] * n
    return [(*shape[:axis], part, *shape[axis + 1:]) for part in parts], []


def _same(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    if any(shape != bottoms[0] for shape in bottoms):
        raise BadInput(f'its bottoms differ: {" and ".join(map(by, bottoms))}')
    coefficients = len(layer.eltwise_param.coeff)
    if coefficients not in (0, len(bottoms)) or coefficients and layer.eltwise_param.operation != 1:
        raise BadInput(f'{coefficients} coefficients for {len(bottoms)} bottoms')
    return [bottoms[0]], []


def _batch_norm(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    channels = bottoms[0][1] if len(bottoms[0]) > 1 else 1
    return [bottoms[0]], [(channels,), (channels,), (1,)]


def _scale(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    p = layer.scale_param if layer.type == 'Scale' else layer.bias_param
    shape = bottoms[0]
    bias = layer.type == 'Scale' and p.bias_term
    if len(bottoms) == 2:
        axis = 0 if not len(bottoms[1]) else canonical(p.axis, shape)
        if shape[axis:axis + len(bottoms[1])] != bottoms[1]:
            raise BadInput(f'{by(bottoms[1])} does not fit {by(shape)} from axis {axis}')
        return [shape], [bottoms[1]] if bias else []
    axis = canonical(p.axis, shape)
    stop = len(shape) if p.num_axes == -1 else axis + p.num_axes
    if p.num_axes < -1 or stop > len(shape):
        raise BadInput(f'takes more axes than its bottom, {by(shape)}, has')
    return [shape], [shape[axis:stop]] * (1 + bias)


def _prelu(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    if len(bottoms[0]) < 2:
        raise BadInput(f'its bottom is {by(bottoms[0])}')
    return [bottoms[0]], [() if layer.prelu_param.channel_shared else (bottoms[0][1],)]


def _softmax(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    canonical(layer.softmax_param.axis, bottoms[0])
    return [bottoms[0]], []


def _lrn(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    if layer.lrn_param.local_size % 2 == 0:
        raise BadInput('its local_size must be odd')
    if len(bottoms[0]) != 4:
        raise BadInput(f'its bottom is {by(bottoms[0])}, it takes N x C x H x W')
    return [bottoms[0]], []


def _crop(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    shape, like = bottoms
    axis, offsets = crop_offsets(layer, shape)
    if len(shape) != len(like):
        raise BadInput(f'its bottoms differ in axes: {by(shape)} and {by(like)}')
    for i, offset in enumerate(offsets, axis):
        if offset < 0 or offset + like[i] > shape[i]:
            raise BadInput(f'{by(like)} from offset {offset} does not fit into {by(shape)}')
    return [(*shape[:axis], *like[axis:])], []


def _argmax(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    p, shape = layer.argmax_param, bottoms[0]
    if p.HasField('axis'):
        axis = canonical(p.axis, shape)
        if not 1 <= p.top_k <= shape[axis]:
            raise BadInput(f'top_k of {p.top_k} for {shape[axis]} classes')
        return [(*shape[:axis], p.top_k, *shape[axis + 1:])], []
    if not 1 <= p.top_k <= math.prod(shape[1:]):
        raise BadInput(f'top_k of {p.top_k} for {by(shape)}')
    return [(shape[0], 2 if p.out_max_val else 1, p.top_k, *[1] * (len(shape) - 3))], []


def _elementwise(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    return [bottoms[0]], []


Rule = Callable[[Any, list[Shape]], tuple[list[Shape], list[Shape]]]
RULES: dict[str, Rule] = {
    'Convolution': _convolution, 'Deconvolution': _convolution, 'Pooling': _pooling, 'InnerProduct': _inner_product,
    'Reshape': _reshape, 'Flatten': _flatten, 'Concat': _concat, 'Slice': _slice, 'Eltwise': _same,
    'BatchNorm': _batch_norm, 'Scale': _scale, 'Bias': _scale, 'PReLU': _prelu, 'Softmax': _softmax, 'LRN': _lrn,
    'Crop': _crop, 'ArgMax': _argmax, 'Split': _elementwise, **dict.fromkeys(ELEMENTWISE, _elementwise),
}
MANY = 10 ** 6
BOTTOMS = {'Convolution': (1, MANY), 'Deconvolution': (1, MANY), 'Concat': (1, MANY), 'Eltwise': (2, MANY),
           'Scale': (1, 2), 'Bias': (1, 2), 'Crop': (2, 2)}


# ------------------------------------------------------------------------------------------------------- axes

def canonical(axis: int, shape: Shape) -> int:
    """An axis counted from the front."""
    if not -len(shape) <= axis < len(shape):
        raise BadInput(f'axis {axis} of a {by(shape)} blob')
    return axis % len(shape)


def concat_axis(layer: Any, shape: Shape) -> int:
    """Along which axis a Concat joins; `concat_dim` is the older way to say it."""
    p = layer.concat_param
    return canonical(p.concat_dim if p.HasField('concat_dim') else p.axis, shape)


def slice_axis(layer: Any, shape: Shape) -> int:
    """Along which axis a Slice cuts; `slice_dim` is the older way to say it."""
    p = layer.slice_param
    return canonical(p.slice_dim if p.HasField('slice_dim') else p.axis, shape)


def crop_offsets(layer: Any, shape: Shape) -> tuple[int, list[int]]:
    """The first axis that a Crop cuts, and its offset along that and each later one."""
    p = layer.crop_param
    axis = canonical(p.axis, shape)
    offsets = list(p.offset) or [0]
    if len(offsets) == 1:
        offsets *= len(shape) - axis
    if len(offsets) != len(shape) - axis:
        raise BadInput(f'{len(offsets)} offsets for {len(shape) - axis} axes')
    return axis, offsets
