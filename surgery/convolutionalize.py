"""Turn a classifier of images of one size into the fully convolutional net that maps images of any size.

Every blob of the classifier is followed as the N x C x H x W map that holds the same numbers in the same order.
Flattening changes nothing then; an inner product over a C x H x W map is a convolution with an H x W kernel; and a net
of convolutions and windows gives, at each position of its output, what the classifier gives for the image under it
(Shelhamer, Long, Darrell 2017, section 3.1).
"""
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from cli import BadInput

from .caffemodel import Weights, by
from .classifier import Classifier, shared
from .coordinates import Fields, fields
from .shapes import ELEMENTWISE, Shape, Shapes, canonical, concat_axis, crop_offsets, infer, slice_axis, window
from .transplant import Entry, Report


class Held(NamedTuple):
    """A blob of the classifier in the new net: which map has its numbers, its shape here and there."""

    name: str
    old: Shape
    new: Shape

    @property
    def flat(self) -> bool:
        """Whether it is a map with a height and width in the new net and none in the classifier."""
        return self.old != self.new and self.new[2:] != (1, 1)

    @property
    def per_channel(self) -> bool:
        """Whether axis 1 is the map's channels and nothing else is left of it, or it is the map itself."""
        return self.old == self.new or (not self.flat and len(self.old) > 1 and self.old[1] == self.new[1]
                                        and math.prod(self.old[1:]) == self.new[1])


class Change(NamedTuple):
    """A layer that became another: what, and how its parameters moved."""

    layer: str
    what: str
    transposed: bool = False


class Dense(NamedTuple):
    """The fully convolutional net of a classifier.

    Attributes
    ----------
    net : caffe_pb2.NetParameter
        A deploy net at the classifier's input size.
    shapes : Shapes
        Its shapes at that size.
    weights : dict of str to list of ndarray
        Its parameters; views of the classifier's wherever possible.
    outputs : dict of str to str
        The classifier's outputs, each with its blob here.
    scores : dict of str to str
        What goes into a Softmax that makes an output: probabilities can hide a difference, scores cannot.
    fields : dict of str to (Field, Field)
        What the positions of its blobs see.
    changes : list of Change
        Layers that are not as they were.
    report : Report
        Parameters copied, coerced, unused (dropped) and missing from the weights (untouched).
    """

    net: Any
    shapes: Shapes
    weights: Weights
    outputs: dict[str, str]
    scores: dict[str, str]
    fields: dict[str, Fields]
    changes: list[Change]
    report: Report


def convolutionalize(classifier: Classifier) -> Dense:
    """Make a classifier fully convolutional.

    Parameters
    ----------
    classifier : Classifier
        From `prepare`.

    Returns
    -------
    Dense

    Raises
    ------
    BadInput
        A layer has no equivalent that works at every size; names it and says why.
    """
    net = type(classifier.net)(name=classifier.net.name)
    held: dict[str, Held] = {}
    changes: list[Change] = []
    for i, layer in enumerate(classifier.net.layer):
        new = net.layer.add()
        new.CopyFrom(layer)
        try:
            change = _convert(new, held, classifier.shapes.tops[i])
        except BadInput as problem:
            raise BadInput(f'cannot convolutionalize layer {layer.name} ({layer.type}): {problem}') from None
        if change:
            changes.append(change)
        if not new.type:
            del net.layer[-1]
    shapes = infer(net)
    seen = fields(net, shapes)
    weights, report = _weights(classifier, net, shapes, changes)
    outputs = {name: held[name].name for name in classifier.outputs}
    scores = {layer.bottom[0]: held[layer.bottom[0]].name for layer in classifier.net.layer
              if layer.type == 'Softmax' and layer.top[0] in outputs and layer.bottom[0] != layer.top[0]}
    return Dense(net, shapes, weights, outputs, scores, seen, changes, report)


def sizes(dense: Dense) -> tuple[int, list[int]]:
    """By how many pixels an image may be larger than the classifier's for all of the net to fit together.

    Where one branch rounds up and another down, some sizes have no net.

    Returns
    -------
    (int, list of int)
        A step, and the numbers of pixels below it that fit; sizes a whole step apart behave alike.
    """
    inputs = {name: dense.shapes.blobs[name] for layer in dense.net.layer if layer.type == 'Input'
              for name in layer.top}
    step = min(math.lcm(*(f.step for blob in dense.outputs.values() for f in dense.fields[blob])), 1024)
    fit = []
    for more in range(step):
        try:
            infer(dense.net, {name: (*shape[:2], shape[2] + step + more, shape[3] + step + more)
                              for name, shape in inputs.items()})
        except BadInput:
            continue
        fit.append(more)
    return step, fit


def _convert(layer: Any, held: dict[str, Held], tops: list[Shape]) -> Change | None:
    """Change a copy of the classifier's layer into its equivalent, or clear it when it needs none."""
    if layer.type == 'Input':
        held |= {name: Held(name, shape, shape) for name, shape in zip(layer.top, tops, strict=True)}
        return None
    if layer.type not in CONVERSIONS:
        raise BadInput('a layer of a type that is not known here')
    bottoms = [held[name] for name in layer.bottom]
    made = CONVERSIONS[layer.type](layer, bottoms, tops)
    names = list(layer.top)
    if isinstance(made, Alias):
        held |= {name: Held(bottoms[0].name, shape, bottoms[0].new) for name, shape in zip(names, tops, strict=True)}
        change = Change(layer.name, made.what)
        layer.Clear()
        return change
    for i, bottom in enumerate(bottoms):
        layer.bottom[i] = bottom.name       # a layer in place on a flattened blob now has a top of its own
    maps = made.maps or tops
    held |= {name: Held(name, old, new) for name, old, new in zip(names, tops, maps, strict=True)}
    return made.change


class Alias(NamedTuple):
    """The layer goes: its top is its bottom under another name and shape."""

    what: str


class Made(NamedTuple):
    """The layer stays; the maps it makes, if not the classifier's blobs; and what was changed about it."""

    maps: list[Shape] | None = None
    change: Change | None = None


# ------------------------------------------------------------------------------------------------- conversions

def _flatten(layer: Any, bottoms: list[Held], tops: list[Shape]) -> Alias:
    if tops[0][:1] != bottoms[0].old[:1]:
        raise BadInput(f'it moves images into another axis: {by(bottoms[0].old)} to {by(tops[0])}')
    return Alias(f'{layer.type} removed')


def _split(layer: Any, bottoms: list[Held], tops: list[Shape]) -> Alias:
    return Alias('Split removed: Caffe adds its own')


def _inner_product(layer: Any, bottoms: list[Held], tops: list[Shape]) -> Made:
    p, bottom = layer.inner_product_param, bottoms[0]
    axis = canonical(p.axis, bottom.old)
    if axis == 0 or math.prod(bottom.old[1:axis]) != 1:
        raise BadInput(f'its axis {p.axis} leaves more than the batch of {by(bottom.old)} apart')
    conv = layer.convolution_param
    conv.num_output, conv.bias_term = p.num_output, p.bias_term
    for filler in ('weight_filler', 'bias_filler'):
        if p.HasField(filler):
            getattr(conv, filler).CopyFrom(getattr(p, filler))
    _kernel(conv, bottom.new[2:])
    transposed = p.transpose
    layer.type = 'Convolution'
    layer.ClearField('inner_product_param')
    return Made([(bottom.new[0], conv.num_output, 1, 1)],
                Change(layer.name, f'InnerProduct to Convolution, kernel {by(bottom.new[2:])}'
                       + (', weights transposed' if transposed else ''), transposed))


def _kernel(p: Any, size: Shape) -> None:
    if size[0] == size[1]:
        p.kernel_size.append(size[0])
    else:
        p.kernel_h, p.kernel_w = size


def _convolution(layer: Any, bottoms: list[Held], tops: list[Shape]) -> Made:
    bottom, p = bottoms[0], layer.convolution_param
    if all(b.old == b.new for b in bottoms):
        return Made()
    w = window(layer, bottom.old)
    if len(bottoms) == 1 and bottom.old[2:] == (1, 1) and w.kernel == (1, 1) and w.pad == (0, 0) and p.group == 1 \
            and layer.type == 'Convolution':
        for field in ('kernel_size', 'kernel_h', 'kernel_w', 'stride', 'stride_h', 'stride_w'):
            p.ClearField(field)
        _kernel(p, bottom.new[2:])
        return Made(tops, Change(layer.name, f'1x1 over a flattened map, kernel now {by(bottom.new[2:])}'))
    raise BadInput(f'its bottom was reshaped from {by(bottom.new)} to {by(bottom.old)}')


def _pooling(layer: Any, bottoms: list[Held], tops: list[Shape]) -> Made:
    bottom, p = bottoms[0], layer.pooling_param
    if bottom.old != bottom.new:
        raise BadInput(f'its bottom was reshaped from {by(bottom.new)} to {by(bottom.old)}')
    w, size = window(layer, bottom.new), bottom.new[2:]
    if tops[0][2:] != (1, 1) or not all(k - d >= n for k, d, n in zip(w.kernel, w.pad, size, strict=True)):
        return Made()
    if w.kernel == size and w.stride == (1, 1) and w.pad == (0, 0) and not p.global_pooling:
        return Made()
    if len(layer.top) > 1:
        raise BadInput('it tells where in the whole map the maximum was')
    if any(w.pad) and p.pool != p.MAX:
        raise BadInput(f'it averages over the whole {by(size)} map and its padding')
    was = 'global' if p.global_pooling else f'{by(w.kernel)} window, stride {by(w.stride)}'
    method = p.pool
    p.Clear()
    p.pool = method
    if size[0] == size[1]:
        p.kernel_size = size[0]
    else:
        p.kernel_h, p.kernel_w = size
    p.stride = 1
    return Made(None, Change(layer.name, f'pooling over the whole map ({was}) to a {by(size)} window, stride 1'))


def _elementwise(layer: Any, bottoms: list[Held], tops: list[Shape]) -> Made:
    return Made([bottoms[0].new] * len(tops))


def _per_channel(layer: Any, bottoms: list[Held], tops: list[Shape]) -> Made:
    if layer.type == 'BatchNorm' and layer.batch_norm_param.HasField('use_global_stats') \
            and not layer.batch_norm_param.use_global_stats:
        raise BadInput('it normalises by statistics of the batch (use_global_stats: false)')
    if layer.type != 'PReLU' or not layer.prelu_param.channel_shared:
        _need_channels(bottoms[0])
    return Made([bottoms[0].new])


def _need_channels(bottom: Held) -> None:
    if not bottom.per_channel:
        raise BadInput(f'it works on {by(bottom.old)}, a flattened {by(bottom.new)} map, so it has a parameter for '
                       'each of its positions')


def _scale(layer: Any, bottoms: list[Held], tops: list[Shape]) -> Made:
    bottom, p = bottoms[0], layer.scale_param if layer.type == 'Scale' else layer.bias_param
    if len(bottoms) == 2:
        if canonical(p.axis, bottom.old) == 0 and bottoms[1].new == bottom.new:
            return Made([bottom.new])
        raise BadInput(f'it applies one {by(bottoms[1].old)} blob, made of the whole image, to each position')
    axis = canonical(p.axis, bottom.old)
    count = len(bottom.old) - axis if p.num_axes == -1 else p.num_axes
    if count == 0:
        return Made([bottom.new])
    _need_channels(bottom)
    if axis != 1 or (count > 1 and bottom.new[2:] != (1, 1)):
        raise BadInput(f'it has a parameter for each position of its {by(bottom.old)} bottom')
    p.axis, p.num_axes = 1, 1
    return Made([bottom.new])


def _softmax(layer: Any, bottoms: list[Held], tops: list[Shape]) -> Made:
    bottom = bottoms[0]
    axis = canonical(layer.softmax_param.axis, bottom.old)
    if not (bottom.per_channel and axis == 1 or not bottom.flat and bottom.old[axis] == bottom.new[1] and axis):
        raise BadInput(f'it normalises along axis {layer.softmax_param.axis} of {by(bottom.old)}, made of a '
                       f'{by(bottom.new)} map: more than the channels of one position')
    layer.softmax_param.axis = 1
    return Made([bottom.new])


def _on_maps(layer: Any, bottoms: list[Held], tops: list[Shape]) -> Made:
    for bottom in bottoms:
        if bottom.old != bottom.new:
            raise BadInput(f'its bottom was reshaped from {by(bottom.new)} to {by(bottom.old)}')
    if layer.type == 'Crop' and crop_offsets(layer, bottoms[0].old)[0] < 2:
        raise BadInput('it crops channels')
    return Made()


def _eltwise(layer: Any, bottoms: list[Held], tops: list[Shape]) -> Made:
    if len({b.new for b in bottoms}) > 1:
        raise BadInput(f'its bottoms come from maps of different sizes, {" and ".join(by(b.new) for b in bottoms)}')
    return Made([bottoms[0].new])


def _concat(layer: Any, bottoms: list[Held], tops: list[Shape]) -> Made:
    axis = concat_axis(layer, bottoms[0].old)
    if len({b.new[2:] for b in bottoms}) > 1:
        raise BadInput(f'it joins maps of different sizes, {" and ".join(by(b.new) for b in bottoms)}')
    if axis == 0 and len({b.new[1:] for b in bottoms}) == 1:
        return Made([(tops[0][0], *bottoms[0].new[1:])])
    if axis != 1 or not (all(b.per_channel for b in bottoms) or all(len(b.old) == 2 for b in bottoms)):
        raise BadInput(f'it joins along axis {axis} of {" and ".join(by(b.old) for b in bottoms)}, not along channels')
    layer.concat_param.ClearField('concat_dim')
    layer.concat_param.axis = 1
    return Made([(bottoms[0].new[0], sum(b.new[1] for b in bottoms), *bottoms[0].new[2:])])


def _slice(layer: Any, bottoms: list[Held], tops: list[Shape]) -> Made:
    bottom, p = bottoms[0], layer.slice_param
    axis = slice_axis(layer, bottom.old)
    if axis == 0:
        return Made([(top[0], *bottom.new[1:]) for top in tops])
    pixels = 1 if bottom.per_channel else math.prod(bottom.new[2:])
    parts = [top[1] if len(top) > 1 else 0 for top in tops]
    if axis != 1 or not (bottom.per_channel or len(bottom.old) == 2) or any(part % pixels for part in parts):
        raise BadInput(f'it cuts axis {axis} of {by(bottom.old)}, made of a {by(bottom.new)} map, not between channels')
    points = [point // pixels for point in p.slice_point]
    p.ClearField('slice_dim')
    p.ClearField('slice_point')
    p.slice_point.extend(points)
    p.axis = 1
    return Made([(bottom.new[0], part // pixels, *bottom.new[2:]) for part in parts])


def _argmax(layer: Any, bottoms: list[Held], tops: list[Shape]) -> Made:
    bottom, p = bottoms[0], layer.argmax_param
    whole = not p.HasField('axis')
    if whole and (p.out_max_val or bottom.new[2:] != (1, 1)) or \
            not whole and (canonical(p.axis, bottom.old) != 1 or not bottom.per_channel):
        raise BadInput(f'it looks for the maximum of {by(bottom.old)} in more than the channels of one position')
    p.axis = 1
    return Made([(bottom.new[0], p.top_k, *bottom.new[2:])])


Conversion = Callable[[Any, list[Held], list[Shape]], 'Alias | Made']
CONVERSIONS: dict[str, Conversion] = {
    'Flatten': _flatten, 'Reshape': _flatten, 'Split': _split, 'InnerProduct': _inner_product,
    'Convolution': _convolution, 'Deconvolution': _convolution, 'Pooling': _pooling, 'BatchNorm': _per_channel,
    'PReLU': _per_channel, 'Scale': _scale, 'Bias': _scale, 'Softmax': _softmax, 'LRN': _on_maps, 'Crop': _on_maps,
    'Eltwise': _eltwise, 'Concat': _concat, 'Slice': _slice, 'ArgMax': _argmax,
    **dict.fromkeys(ELEMENTWISE, _elementwise),
}


# ---------------------------------------------------------------------------------------------------- weights

def _weights(classifier: Classifier, net: Any, shapes: Shapes, changes: list[Change]) -> tuple[Weights, Report]:
    """The classifier's parameters in the new net's shapes."""
    transposed = {change.layer for change in changes if change.transposed}
    params = {layer.name: p for layer, p in zip(net.layer, shapes.params, strict=True) if p}
    _share(net, params, transposed)
    weights: Weights = {}
    copied: list[Entry] = []
    coerced: list[Entry] = []
    for name, blobs in classifier.weights.items():
        weights[name] = []
        for i, (blob, shape) in enumerate(zip(blobs, params[name], strict=True)):
            turned = i == 0 and name in transposed
            weights[name].append(np.ascontiguousarray(blob.T if turned else blob).reshape(shape))
            entry = Entry(name, name, i, blob.shape, shape)
            (copied if blob.shape == shape and not turned else coerced).append(entry)
    missing = [entry._replace(new=params[str(entry.target)][entry.blob]) for entry in classifier.missing]
    return weights, Report(tuple(copied), tuple(coerced), tuple(classifier.unused), tuple(missing))


def _share(net: Any, params: dict[str, list[Shape]], transposed: set[str]) -> None:
    """Shared parameters stay shared: counts are the same, and shapes need not be."""
    layers = {layer.name: layer for layer in net.layer}
    for name, members in shared(net, params).items():
        if len({layer in transposed and i == 0 for layer, i in members}) > 1:
            raise BadInput(f'cannot convolutionalize layer {members[-1][0]} (InnerProduct): it shares {name!r} with '
                           f'layer {members[0][0]}, one of them transposed')
        if len({params[layer][i] for layer, i in members}) > 1:
            for layer, i in members:
                layers[layer].param[i].share_mode = layers[layer].param[i].PERMISSIVE
