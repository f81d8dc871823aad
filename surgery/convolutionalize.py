"""Turn a classifier of images of one size into the fully convolutional net that maps images of any size.

Every blob of the classifier is followed as the N x C x H x W map that holds the same numbers in the same order.
Flattening changes nothing then; an inner product over a C x H x W map is a convolution with an H x W kernel; and a net
of convolutions and windows gives, at each position of its output, what the classifier gives for the image under it
(Shelhamer, Long, Darrell 2017, section 3.1).
"""
import math
from typing import Any, NamedTuple

import numpy as np

from cli import BadInput

from .caffemodel import Weights
from .classifier import Classifier, shared
from .coordinates import fields
from .layers import Alias, Change, DenseBlob, Fields, Shape, layer_type
from .shapes import Shapes, infer
from .transplant import Entry, Report


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
    blobs: dict[str, DenseBlob] = {}
    changes: list[Change] = []
    for i, layer in enumerate(classifier.net.layer):
        new = net.layer.add()
        new.CopyFrom(layer)
        try:
            change = _convert(new, blobs, classifier.shapes.tops[i])
        except BadInput as problem:
            raise BadInput(f'cannot convolutionalize layer {layer.name} ({layer.type}): {problem}') from None
        if change:
            changes.append(change)
        if not new.type:
            del net.layer[-1]
    shapes = infer(net)
    weights, report = _weights(classifier, net, shapes, changes)
    outputs = {name: blobs[name].name for name in classifier.outputs}
    scores = {layer.bottom[0]: blobs[layer.bottom[0]].name for layer in classifier.net.layer
              if layer.type == 'Softmax' and layer.top[0] in outputs and layer.bottom[0] != layer.top[0]}
    return Dense(net, shapes, weights, outputs, scores, fields(net, shapes), changes, report)


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


def _convert(layer: Any, blobs: dict[str, DenseBlob], tops: list[Shape]) -> Change | None:
    """Change a copy of the classifier's layer into its equivalent, or clear it when it needs none.

    `blobs` has the classifier's blobs so far, by name; the layer's tops, of the classifier's shapes `tops`, are added.
    """
    rule, refused = layer_type(layer.type).dense, layer_type(layer.type).refused
    if rule is None:
        raise BadInput(f'it {refused}' if refused else 'a layer of a type that is not known here')
    bottoms, names = [blobs[name] for name in layer.bottom], list(layer.top)
    result = rule(layer, bottoms, tops)
    if isinstance(result, Alias):
        blobs |= {name: bottoms[0]._replace(old=shape) for name, shape in zip(names, tops, strict=True)}
        change = Change(layer.name, result.what)
        layer.Clear()
        return change
    for i, bottom in enumerate(bottoms):
        layer.bottom[i] = bottom.name       # a layer in place on a flattened blob now has a top of its own
    maps = result.maps or tops
    blobs |= {name: DenseBlob(name, old, new) for name, old, new in zip(names, tops, maps, strict=True)}
    return result.change


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
