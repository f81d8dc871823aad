"""A net's scores for other classes: which layers count classes, and which of their numbers go to which class."""
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cli import BadInput

from .bilinear import bilinear_kernel
from .caffemodel import by
from .graph import last_writer
from .layers import Shape, layer_type
from .shapes import infer
from .transplant import Entry, Report, parameters


class ClassLayer(NamedTuple):
    """A layer with a number of channels that is the number of classes.

    Attributes
    ----------
    axes : tuple of tuple of int
        For each of its blobs, the axes that run over the classes.
    upsamples : bool
        Whether it is a Deconvolution that brings class scores to a larger map, each to its own class at first.
    """

    axes: tuple[tuple[int, ...], ...]
    upsamples: bool = False


def same_names(new: Sequence[str], old: Sequence[str]) -> dict[int, int]:
    """Which of the new classes are among the old ones, by name.

    Names are the same if only case, spaces, `-` and `_` differ; of several, the one spelled alike is taken.

    Parameters
    ----------
    new, old : sequence of str
        Names in the order of the scores' channels.

    Returns
    -------
    dict of int to int
        Number of a new class -> number of the old class of that name.

    Examples
    --------
    >>> same_names(['road', 'Dining table', 'car'], ['background', 'car', 'dining_table'])
    {1: 2, 2: 1}
    """
    known: dict[str, int] = {}
    for number, name in enumerate(old):
        known.setdefault(_plain(name), number)
    exact = {name: number for number, name in enumerate(old)}
    return {number: exact.get(name, known[_plain(name)]) for number, name in enumerate(new) if _plain(name) in known}


def _plain(name: str) -> str:
    return ''.join(c for c in name.lower() if c not in ' -_')


def class_layers(net: Any, score: str | None = None) -> dict[str, ClassLayer]:
    """The layers of a net that have a channel for each class: those that make the scores, and those that upsample them.

    From the scores back, through what leaves channels as they are, to the convolutions that read features.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        A deploy net.
    score : str, optional
        The blob of scores; by default the last one.

    Returns
    -------
    dict of str to ClassLayer
        In the order of the net.

    Raises
    ------
    BadInput
        A layer on the way mixes channels or has parameters for them in another way; names it.
    """
    shapes, found = infer(net), dict[str, ClassLayer]()
    score = score or net.layer[-1].top[0]
    at, wanted = last_writer(net, score), {score}
    classes = shapes.tops[at][list(net.layer[at].top).index(score)][1]
    for i in range(at, -1, -1):
        layer = net.layer[i]
        if wanted.isdisjoint(layer.top):
            continue
        wanted -= set(layer.top)
        one, bottoms = _class_layer(layer, shapes.bottoms[i], shapes.params[i], classes)
        if one:
            found[layer.name] = one
        wanted.update(bottoms)
    return dict(reversed(found.items()))


def _class_layer(layer: Any, bottoms: list[Shape], params: list[Shape],
                 classes: int) -> tuple[ClassLayer | None, list[str]]:
    """What a layer that makes scores has for each class, and the blobs of scores that it makes them of."""
    p, scores = layer.convolution_param, bool(bottoms) and bottoms[0][1:2] == (classes,)
    bias = ((0,),) * (len(params) - 1)
    if layer.type == 'Convolution' and p.group == 1:
        return ClassLayer(((0,), *bias)), []
    if layer.type == 'Deconvolution' and p.group == 1 and not scores:
        return ClassLayer(((1,), *bias)), []
    if layer.type == 'Deconvolution' and p.group in (1, classes) and params[0][2] == params[0][3]:
        return ClassLayer(((0, 1) if p.group == 1 else (0,), *bias), upsamples=True), [layer.bottom[0]]
    if layer.type == 'Crop':
        return None, [layer.bottom[0]]
    if layer.type == 'Eltwise' or (layer_type(layer.type).elementwise or layer.type in ('Pooling', 'Interp', 'Softmax')
                                   and scores):
        return None, list(layer.bottom)
    raise BadInput(f'layer {layer.name} ({layer.type}): which of its channels belong to which class is not known here; '
                   'scores come from convolutions, sums, crops and deconvolutions')


def with_classes(net: Any, layers: Mapping[str, ClassLayer], classes: int) -> Any:
    """The net with another number of classes.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Left as it is.
    layers : mapping of str to ClassLayer
        From `class_layers`.
    classes : int

    Returns
    -------
    caffe_pb2.NetParameter
    """
    result = type(net)()
    result.CopyFrom(net)
    for layer in result.layer:
        if layer.name in layers:
            p = layer.convolution_param
            p.num_output, p.group = classes, classes if p.group > 1 else 1
            if p.group == 1:
                p.ClearField('group')       # as nets have it that never had groups
    return result


def keep_classes(new_net: Any, net: Any, kept: Mapping[int, int], layers: Mapping[str, ClassLayer]) -> Report:
    """Copy what the score layers of a net have for some classes; the other classes start at zero.

    Deconvolutions upsample bilinearly where they have learnt nothing: from a new class to itself, and to no other.

    Parameters
    ----------
    new_net, net : caffe.Net, or mapping of str to list of ndarray
        Where to copy to (written in place), and from.
    kept : mapping of int to int
        Class of the new net -> class of the old one, from 0.
    layers : mapping of str to ClassLayer
        Of the new net, from `class_layers`.

    Returns
    -------
    Report
        Every blob as coerced, from the old number of classes to the new one.

    Raises
    ------
    BadInput
        A net lacks a layer or a class, or the layers differ in more than their classes. Nothing has been written then.

    Examples
    --------
    >>> old = {'score': [np.arange(6, dtype='f').reshape(3, 2, 1, 1), np.array([7, 8, 9], 'f')]}
    >>> new = {'score': [np.ones((2, 2, 1, 1), 'f'), np.ones(2, 'f')]}
    >>> print(keep_classes(new, old, {1: 2}, {'score': ClassLayer(((0,), (0,)))}))
             layer  blob  shape
    coerced  score  0     3x2x1x1 -> 2x2x1x1
    coerced  score  1     3 -> 2
    blobs: 0 copied, 2 coerced, 0 dropped, 0 untouched
    >>> new['score'][0][:, :, 0, 0].tolist(), new['score'][1].tolist()
    ([[0.0, 0.0], [4.0, 5.0]], [0.0, 9.0])
    """
    target, source = parameters(new_net), parameters(net)
    done: list[tuple[Entry, np.ndarray]] = []
    for name, layer in layers.items():
        for where, params in (('new net', target), ('weights', source)):
            if len(params.get(name, ())) != len(layer.axes):
                raise BadInput(f'layer {name}: {len(layer.axes)} blobs expected, and the {where} '
                               f'{"has" if where == "new net" else "have"} {len(params.get(name, ()))}')
        for i, axes in enumerate(layer.axes):
            new, old = target[name][i], source[name][i]
            done.append((Entry(name, name, i, old.shape, new.shape),
                         _kept(name, new.shape, old, kept, axes, layer.upsamples and i == 0)))
    for entry, values in done:
        np.copyto(target[str(entry.target)][entry.blob], values)
    return Report(coerced=tuple(entry for entry, _ in done))


def _kept(name: str, shape: Shape, old: np.ndarray, kept: Mapping[int, int], axes: tuple[int, ...],
          upsamples: bool) -> np.ndarray:
    """The values of a blob of the new shape."""
    if len(old.shape) != len(shape) or any(a != b for axis, (a, b) in enumerate(zip(old.shape, shape, strict=True))
                                           if axis not in axes):
        raise BadInput(f'layer {name}: {by(shape)} in the new net and {by(old.shape)} in the weights differ in more '
                       'than the number of classes')
    if any(not 0 <= a < shape[axis] or not 0 <= b < old.shape[axis] for axis in axes for a, b in kept.items()):
        raise BadInput(f'layer {name}: {by(shape)} in the new net and {by(old.shape)} in the weights do not have the '
                       'classes that are to be kept')
    values = np.zeros(shape, np.float32)
    if upsamples:
        fresh = [number for number in range(shape[0]) if number not in kept]
        values[fresh, fresh if 1 in axes else 0] = bilinear_kernel(shape[2])
    every = [np.arange(length) for length in shape]
    to, origin = (np.ix_(*(np.fromiter(numbers, int) if axis in axes else rest for axis, rest in enumerate(every)))
                  for numbers in (kept.keys(), kept.values()))
    values[to] = old[origin]
    return values
