"""Copy parameters between nets by layer name, the step that starts every fully convolutional net from a classifier.

An inner product with `O` outputs over an `I x H x W` bottom and an `O x I x H x W` convolution hold the same numbers
in the same order, so a classifier's layer becomes a convolution by a copy that disregards shape.
"""
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from cli import BadInput, table

from .caffemodel import Weights, by
from .untrusted import shortened

Shape = tuple[int, ...]


class Entry(NamedTuple):
    """One blob of a report.

    Attributes
    ----------
    source : str or None
        The layer that it came from; None if the source has no such blob.
    target : str or None
        The layer that it went to; None if it went to none.
    blob : int
        Its number in its layer: 0 for weights, 1 for a bias.
    old, new : tuple of int, or None
        Its shape in the source and in the target.
    """

    source: str | None
    target: str | None
    blob: int
    old: Shape | None
    new: Shape | None


@dataclass(frozen=True)
class Report:
    """What an operation on parameters did, blob by blob.

    Attributes
    ----------
    copied : tuple of Entry
        Same shape on both sides.
    coerced : tuple of Entry
        Same count of numbers, another shape.
    dropped : tuple of Entry
        In the source only: its layer, or this blob of it, is not in the new net.
    untouched : tuple of Entry
        In the new net only: as it was before.
    skipped : tuple of Entry
        In the source, and not copied because the caller said so; where the new net has it too, it is as it was before.
    """

    copied: tuple[Entry, ...] = field(default=())
    coerced: tuple[Entry, ...] = field(default=())
    dropped: tuple[Entry, ...] = field(default=())
    untouched: tuple[Entry, ...] = field(default=())
    skipped: tuple[Entry, ...] = field(default=())

    def __str__(self) -> str:
        rows = [('', 'layer', 'blob', 'shape')]
        kinds = ('copied', 'coerced', *(['skipped'] if self.skipped else []), 'dropped', 'untouched')
        for what in kinds:
            rows += [_row(what, entry) for entry in getattr(self, what)]
        counts = ', '.join(f'{len(getattr(self, what))} {what}' for what in kinds)
        return f'{table(rows)}\nblobs: {counts}'


def _row(what: str, entry: Entry) -> tuple[str, str, str, str]:
    names = dict.fromkeys(n for n in (entry.source, entry.target) if n is not None)
    shapes = dict.fromkeys(by(s) for s in (entry.old, entry.new) if s is not None)
    return what, ' -> '.join(map(shortened, names)), str(entry.blob), ' -> '.join(shapes)


def parameters(net: Any) -> Weights:
    """The parameters of a net.

    Parameters
    ----------
    net : caffe.Net, or mapping of str to list of ndarray
        Layer name to blobs.

    Returns
    -------
    dict of str to list of ndarray
        Views, not copies: writing to them writes to the net.
    """
    params = getattr(net, 'params', net)
    return {str(name): [blob if isinstance(blob, np.ndarray) else blob.data for blob in blobs]
            for name, blobs in params.items()}


def transplant(new_net: Any, net: Any, suffix: str = '', rename: Mapping[str, str] | None = None,
               skip: Iterable[str] = ()) -> Report:
    """Copy the parameters of `net` into the layers of `new_net` that have the same names.

    Nothing is copied unless all of it can be.

    Parameters
    ----------
    new_net, net : caffe.Net, or mapping of str to list of ndarray
        Where to copy to (written in place), and from.
    suffix : str
        Layer `conv1` of `net` goes to `conv1<suffix>` of `new_net`: one trunk among several.
    rename : mapping of str to str, optional
        Layers of `net` that have another name in `new_net`; the suffix is not added to these.
    skip : iterable of str
        Layers of `net` that are not copied, whatever their shapes: scores of other classes, say.

    Returns
    -------
    Report
        Copied, coerced, skipped, dropped and untouched blobs, with their shapes.

    Raises
    ------
    BadInput
        A blob has another count of numbers than its namesake, or `rename` or `skip` names a layer that is not there.

    Examples
    --------
    >>> classifier = {'fc6': [np.ones((2, 12), 'f'), np.ones(2, 'f')], 'prob': [np.ones(1, 'f')]}
    >>> fcn = {'fc6': [np.zeros((2, 3, 2, 2), 'f'), np.zeros(2, 'f')], 'score': [np.zeros((5, 2, 1, 1), 'f')]}
    >>> print(transplant(fcn, classifier))
               layer  blob  shape
    copied     fc6    1     2
    coerced    fc6    0     2x12 -> 2x3x2x2
    dropped    prob   0     1
    untouched  score  0     5x2x1x1
    blobs: 1 copied, 1 coerced, 1 dropped, 1 untouched
    """
    source, target, rename, left = parameters(net), parameters(new_net), rename or {}, frozenset(skip)
    _known(rename, source, target)
    if strange := sorted(left - source.keys()):
        raise BadInput(f'cannot skip {strange[0]}: the weights have no layer {strange[0]!r} with parameters; they have '
                       f'{", ".join(source)}')
    copied: list[Entry] = []
    coerced: list[Entry] = []
    dropped: list[Entry] = []
    skipped: list[Entry] = []
    reached: set[tuple[str, int]] = set()
    for name, blobs in source.items():
        to = rename.get(name, name + suffix)
        for i, blob in enumerate(blobs):
            new = target[to][i] if i < len(target.get(to, ())) else None
            if new is None:
                (skipped if name in left else dropped).append(Entry(name, None, i, blob.shape, None))
                continue
            if name in left:
                skipped.append(Entry(name, to, i, blob.shape, new.shape))
                continue
            if new.size != blob.size:
                raise BadInput(f'layer {to}: blob {i} is {by(new.shape)} in the new net, '
                               f'{by(blob.shape)} in the weights' + (f' (layer {name})' if to != name else ''))
            if (to, i) in reached:
                raise BadInput(f'layer {to}: more than one layer would be copied into it, {name} among them')
            reached.add((to, i))
            (copied if new.shape == blob.shape else coerced).append(Entry(name, to, i, blob.shape, new.shape))
    for origin, to_layer, i, _, shape in copied + coerced:
        np.copyto(target[str(to_layer)][i], source[str(origin)][i].reshape(shape))
    reached |= {(entry.target, entry.blob) for entry in skipped if entry.target}
    untouched = [Entry(None, name, i, None, blob.shape) for name, blobs in target.items()
                 for i, blob in enumerate(blobs) if (name, i) not in reached]
    return Report(tuple(copied), tuple(coerced), tuple(dropped), tuple(untouched), tuple(skipped))


def _known(rename: Mapping[str, str], source: Weights, target: Weights) -> None:
    for old, new in rename.items():
        if old not in source:
            raise BadInput(f'cannot map {old}={new}: the weights have no layer {old!r} with parameters')
        if new not in target:
            raise BadInput(f'cannot map {old}={new}: the new net has no layer {new!r} with parameters')
