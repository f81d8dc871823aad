"""Caffe's layers as torch: for each, what a module's `__init__` makes, what its `forward` calls, and the numbers.

One function for each type, `Item -> Lines`; the types that are missing have no equivalent. What comes from a file gets
into the text as a number, or through `Item`'s names, which `torch_names` has made safe.
"""
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from cli import BadInput

from ..caffemodel import by
from ..layers import Shape
from ..layers.axes import canonical
from ..layers.window import Window, conv_window, pooling_window


class Item(NamedTuple):
    """A layer to be written.

    Attributes
    ----------
    layer : caffe_pb2.LayerParameter
        Of a net that `infer` has accepted.
    me : str
        Its module in `forward`, such as `self.conv1`.
    x : list of str
        The variables that hold its bottoms.
    bottoms, tops : list of shape
        Of its bottoms and tops, at the net's own size.
    blobs : list of ndarray
        Its parameters.
    """

    layer: Any
    me: str
    x: list[str]
    bottoms: list[Shape]
    tops: list[Shape]
    blobs: list[np.ndarray]


class Lines(NamedTuple):
    """A layer as text.

    Attributes
    ----------
    calls : list of str
        What each top is in `forward`; or one expression for all.
    module : str
        What `__init__` makes; '' for a layer without a module.
    tensors : dict of str to ndarray
        The module's parameters and buffers.
    helper : str
        The name in `torch_page.HELPERS` that it needs; '' for none.
    """

    calls: list[str]
    module: str = ''
    tensors: dict[str, np.ndarray] | None = None
    helper: str = ''


# ------------------------------------------------------------------------------------------------------------- text

def number(value: float) -> str:
    """A number of a prototxt as Python; the shortest text of those that give the same float32."""
    value = float(value)
    if not math.isfinite(value):
        return f"float('{value}')"
    return repr(float(str(np.float32(value))))


def _pair(values: Sequence[int]) -> str:
    return str(values[0]) if values[0] == values[1] else f'({values[0]}, {values[1]})'


def _window(w: Window, repeated: bool = False) -> str:
    """Kernel, stride, padding and dilation as arguments, without those that are torch's defaults."""
    text = _pair(w.kernel)
    if w.stride != (1, 1) or repeated:       # a pooling's stride is its kernel unless it is given
        text += f', stride={_pair(w.stride)}'
    if w.pad != (0, 0):
        text += f', padding={_pair(w.pad)}'
    return text + (f', dilation={_pair(w.dilation)}' if w.dilation != (1, 1) else '')


def _arguments(shape: Sequence[int]) -> str:
    """A shape as a tuple."""
    return f'({", ".join(map(str, shape))}{"," if len(shape) == 1 else ""})'


def _trailing(x: str, count: int) -> str:
    """A tensor with axes of one position after its own."""
    return f'{x}[..., {", ".join(["None"] * count)}]' if count else x


def _named(blobs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return dict(zip(('weight', 'bias'), blobs, strict=False))


# ---------------------------------------------------------------------------------------------------------- windows

def _convolution(item: Item) -> Lines:
    p, turned = item.layer.convolution_param, item.layer.type == 'Deconvolution'
    text = f'{item.bottoms[0][1]}, {p.num_output}, {_window(conv_window(item.layer, item.bottoms[0]))}'
    if p.group > 1:
        text += f', groups={p.group}'
    if not p.bias_term:
        text += ', bias=False'
    return Lines([f'{item.me}({x})' for x in item.x], f'nn.{"ConvTranspose2d" if turned else "Conv2d"}({text})',
                 _named(item.blobs))


def _pooling(item: Item) -> Lines:
    p, (x,) = item.layer.pooling_param, item.x
    if p.pool == p.STOCHASTIC or len(item.tops) > 1:
        raise BadInput('it pools at random, or tells where its maxima were')
    average = p.pool == p.AVE
    if p.global_pooling:
        return Lines([f'{x}.{"mean" if average else "amax"}((2, 3), keepdim=True)'])
    w, floor = pooling_window(item.layer, item.bottoms[0]), p.round_mode == p.FLOOR
    steps_within = any(w.pad) or all(k >= s for k, s in zip(w.kernel, w.stride, strict=True))
    if steps_within and all(2 * pad <= k for k, pad in zip(w.kernel, w.pad, strict=True)):     # torch's is the same
        text = f'{_window(w, repeated=True)}, ceil_mode={not floor}'
        return Lines([f'{item.me}({x})'], f'nn.{"Avg" if average else "Max"}Pool2d({text})')
    text = f'{w.kernel}, {w.stride}, {w.pad}, average={average}, floor={floor}'
    return Lines([f'{item.me}({x})'], f'Pool({text})', helper='Pool')


def _inner_product(item: Item) -> Lines:
    p, shape, (x,) = item.layer.inner_product_param, item.bottoms[0], item.x
    axis = canonical(p.axis, shape)
    weights, *bias = item.blobs
    weights = weights.T if p.transpose else weights
    outputs, inputs = weights.shape
    flat = x if axis == len(shape) - 1 else f'{x}.flatten({axis})'
    return Lines([f'{item.me}({flat})'], f'nn.Linear({inputs}, {outputs}{"" if bias else ", bias=False"})',
                 _named([weights, *bias]))


# --------------------------------------------------------------------------------------------- a number of its own

def _relu(item: Item) -> Lines:
    slope = item.layer.relu_param.negative_slope
    return Lines([f'{item.me}({item.x[0]})'], f'nn.LeakyReLU({number(slope)})' if slope else 'nn.ReLU()')


def _elu(item: Item) -> Lines:
    return Lines([f'{item.me}({item.x[0]})'], f'nn.ELU({number(item.layer.elu_param.alpha)})')


def _dropout(item: Item) -> Lines:
    return Lines([f'{item.me}({item.x[0]})'], f'nn.Dropout({number(item.layer.dropout_param.dropout_ratio)})')


def _clip(item: Item) -> Lines:
    p = item.layer.clip_param
    return Lines([f'{item.x[0]}.clamp({number(p.min)}, {number(p.max)})'])


def _line(x: str, scale: float, shift: float) -> str:
    """x * scale + shift, as far as that is more than x."""
    text = x if scale == 1 else f'{x} * {number(scale)}'
    return text if shift == 0 else f'{text} + {number(shift)}'


def _power(item: Item) -> Lines:
    p = item.layer.power_param
    text = _line(item.x[0], p.scale, p.shift)
    return Lines([text if p.power == 1 else f'({text}) ** {number(p.power)}'])


def _exp(item: Item) -> Lines:
    p, (x,) = item.layer.exp_param, item.x
    logarithm = 1.0 if p.base == -1 else math.log(_base(p.base))
    return Lines([f'({_line(x, p.scale * logarithm, p.shift * logarithm)}).exp()'])


def _log(item: Item) -> Lines:
    p, (x,) = item.layer.log_param, item.x
    text = f'({_line(x, p.scale, p.shift)}).log()'
    return Lines([text if p.base == -1 else f'{text} / {number(math.log(_base(p.base)))}'])


def _base(base: float) -> float:
    if not base > 0 or base == 1:
        raise BadInput(f'its base is {base:g}')
    return base


def _swish(item: Item) -> Lines:
    beta, (x,) = item.layer.swish_param.beta, item.x
    return Lines([f'{x} * ({_line(x, beta, 0)}).sigmoid()'])


def _threshold(item: Item) -> Lines:
    x, = item.x
    return Lines([f'({x} > {number(item.layer.threshold_param.threshold)}).to({x}.dtype)'])


def _method(text: str) -> Callable[[Item], Lines]:
    return lambda item: Lines([text.format(item.x[0])])


# ------------------------------------------------------------------------------------------------------- per channel

def _batch_norm(item: Item) -> Lines:
    p, shape = item.layer.batch_norm_param, item.bottoms[0]
    if p.HasField('use_global_stats') and not p.use_global_stats:
        raise BadInput('it normalises by statistics of the batch (use_global_stats: false)')
    if len(shape) not in (2, 3, 4):
        raise BadInput(f'its bottom is {by(shape)}')
    mean, variance, count = item.blobs
    factor = np.float32(1) / np.float32(count.ravel()[0]) if count.ravel()[0] else np.float32(0)
    return Lines([f'{item.me}({item.x[0]})'],
                 f'nn.BatchNorm{"2d" if len(shape) == 4 else "1d"}({shape[1]}, eps={number(p.eps)}, affine=False)',
                 {'running_mean': mean * factor, 'running_var': variance * factor,
                  'num_batches_tracked': np.zeros((), np.int64)})


def _scale(item: Item) -> Lines:
    p, shape = item.layer.scale_param, item.bottoms[0]
    if len(item.x) == 1:
        factors = item.blobs[0].shape
        text = f'{_arguments(factors)}, trailing={len(shape) - canonical(p.axis, shape) - len(factors)}'
        return Lines([f'{item.me}({item.x[0]})'], f'Scale({text}{", bias=True" if p.bias_term else ""})',
                     _named(item.blobs), 'Scale')
    product, trailing = _with_second(item, p.axis, '*')
    if not p.bias_term:
        return Lines([product])
    return Lines([f'{item.me}({product})'], f'Bias({_arguments(item.bottoms[1])}, trailing={trailing})',
                 {'bias': item.blobs[0]}, 'Bias')


def _bias(item: Item) -> Lines:
    p, shape = item.layer.bias_param, item.bottoms[0]
    if len(item.x) == 2:
        return Lines([_with_second(item, p.axis, '+')[0]])
    shifts = item.blobs[0].shape
    trailing = len(shape) - canonical(p.axis, shape) - len(shifts)
    return Lines([f'{item.me}({item.x[0]})'], f'Bias({_arguments(shifts)}, trailing={trailing})',
                 {'bias': item.blobs[0]}, 'Bias')


def _with_second(item: Item, axis: int, operator: str) -> tuple[str, int]:
    """The first bottom with the second, which has the first's axes from `axis` on; how many more the first has."""
    (a, b), (shape, other) = item.x, item.bottoms
    trailing = len(shape) - len(other) - (canonical(axis, shape) if other else 0)
    return f'{a} {operator} {_trailing(b, trailing)}', trailing


def _prelu(item: Item) -> Lines:
    slopes = item.blobs[0].reshape(-1)
    return Lines([f'{item.me}({item.x[0]})'], f'nn.PReLU({slopes.size})', {'weight': slopes})


# --------------------------------------------------------------------------------------------------- across channels

def _lrn(item: Item) -> Lines:
    p, (x,) = item.layer.lrn_param, item.x
    if p.norm_region == p.WITHIN_CHANNEL:
        n = p.local_size
        mean = f'F.avg_pool2d({x} * {x}, {n}, stride=1, padding={n // 2})'
        return Lines([f'{x} * (1 + {number(p.alpha)} * {mean}) ** -{number(p.beta)}'])
    text = f'{p.local_size}, alpha={number(p.alpha)}, beta={number(p.beta)}, k={number(p.k)}'
    return Lines([f'{item.me}({x})'], f'nn.LocalResponseNorm({text})')


def _softmax(item: Item) -> Lines:
    return Lines([f'{item.x[0]}.softmax({canonical(item.layer.softmax_param.axis, item.bottoms[0])})'])


def _argmax(item: Item) -> Lines:
    p, shape, (x,) = item.layer.argmax_param, item.bottoms[0], item.x
    if p.HasField('axis'):
        axis = canonical(p.axis, shape)
        return Lines([f'argmax({x}, {axis}, {p.top_k})[{0 if p.out_max_val else 1}]'], helper='argmax')
    found = f'argmax({x}.flatten(1), 1, {p.top_k})'
    both = f'torch.stack({found}[::-1], 1)' if p.out_max_val else f'{found}[1][:, None]'
    return Lines([_trailing(both, len(item.tops[0]) - 3)], helper='argmax')


# ------------------------------------------------------------------------------------------------- joining, reshaping

def _concat(item: Item) -> Lines:
    p = item.layer.concat_param
    axis = canonical(p.concat_dim if p.HasField('concat_dim') else p.axis, item.bottoms[0])
    return Lines([f'torch.cat(({", ".join(item.x)},), {axis})'])


def _slice(item: Item) -> Lines:
    p, (x,) = item.layer.slice_param, item.x
    axis = canonical(p.slice_dim if p.HasField('slice_dim') else p.axis, item.bottoms[0])
    points = list(p.slice_point)
    if len(item.tops) == 1:
        return Lines([x])
    return Lines([f'{x}.tensor_split({_arguments(points)}, {axis})' if points
                  else f'{x}.chunk({len(item.tops)}, {axis})'])


def _eltwise(item: Item) -> Lines:
    p = item.layer.eltwise_param
    if p.operation == p.PROD:
        return Lines([' * '.join(item.x)])
    if p.operation == p.MAX:
        text = item.x[0]
        for x in item.x[1:]:
            text = f'torch.maximum({text}, {x})'
        return Lines([text])
    factors = list(p.coeff) or [1.0] * len(item.x)
    return Lines([' + '.join(_line(x, factor, 0) for x, factor in zip(item.x, factors, strict=True))])


def _crop(item: Item) -> Lines:
    p, shape, (x, like) = item.layer.crop_param, item.bottoms[0], item.x
    axis = canonical(p.axis, shape)
    offsets = list(p.offset) or [0]
    offsets = offsets * (len(shape) - axis) if len(offsets) == 1 else offsets
    cuts = [f'{offset}:{offset} + {like}.shape[{i}]' for i, offset in enumerate(offsets, axis)]
    return Lines([f'{x}[{", ".join([":"] * axis + cuts)}]'])


def _flatten(item: Item) -> Lines:
    p, shape = item.layer.flatten_param, item.bottoms[0]
    return Lines([f'{item.x[0]}.flatten({canonical(p.axis, shape)}, {canonical(p.end_axis, shape)})'])


def _reshape(item: Item) -> Lines:
    p, shape, (x,) = item.layer.reshape_param, item.bottoms[0], item.x
    start = p.axis if p.axis >= 0 else len(shape) + p.axis + 1
    stop = len(shape) if p.num_axes == -1 else start + p.num_axes
    dims = [f'{x}.shape[{i}]' for i in range(start)]
    dims += [f'{x}.shape[{start + i}]' if d == 0 else str(d) for i, d in enumerate(p.shape.dim)]
    return Lines([f'{x}.reshape({", ".join([*dims, *(f"{x}.shape[{i}]" for i in range(stop, len(shape)))])})'])


def _split(item: Item) -> Lines:
    return Lines(item.x * len(item.tops))


RULES: dict[str, Callable[[Item], Lines]] = {
    'Convolution': _convolution, 'Deconvolution': _convolution, 'Pooling': _pooling, 'InnerProduct': _inner_product,
    'ReLU': _relu, 'ELU': _elu, 'Dropout': _dropout, 'Clip': _clip, 'Power': _power, 'Exp': _exp, 'Log': _log,
    'Swish': _swish, 'Threshold': _threshold, 'AbsVal': _method('{}.abs()'), 'BNLL': _method('F.softplus({})'),
    'Sigmoid': _method('{}.sigmoid()'), 'TanH': _method('{}.tanh()'), 'BatchNorm': _batch_norm, 'Scale': _scale,
    'Bias': _bias, 'PReLU': _prelu, 'LRN': _lrn, 'Softmax': _softmax, 'ArgMax': _argmax, 'Concat': _concat,
    'Slice': _slice, 'Eltwise': _eltwise, 'Crop': _crop, 'Flatten': _flatten, 'Reshape': _reshape, 'Split': _split,
}
