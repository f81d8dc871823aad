"""Grow a score layer to more classes."""
from typing import Any

import numpy as np

from cli import BadInput

from .caffemodel import by
from .transplant import Entry, Report, parameters


def expand_score(new_net: Any, new_layer: str, net: Any, layer: str) -> Report:
    """Copy the score layer of a net with k classes into the first k classes of one with k' >= k.

    The other classes keep what they have (zero, unless the net gave them a filler).

    Parameters
    ----------
    new_net, net : caffe.Net, or mapping of str to list of ndarray
        Where to copy to (written in place), and from.
    new_layer, layer : str
        The score layers' names.

    Returns
    -------
    Report
        Blobs of the same shape (copied) or of more classes (coerced); dropped and untouched where only one of the two
        layers has a bias.

    Raises
    ------
    BadInput
        No such layer, fewer classes than before, or another count of numbers per class. Nothing has been written then.

    Examples
    --------
    >>> old = {'score': [np.ones((2, 3, 1, 1), 'f')]}
    >>> new = {'score5': [np.zeros((5, 3, 1, 1), 'f')]}
    >>> print(expand_score(new, 'score5', old, 'score'))
             layer            blob  shape
    coerced  score -> score5  0     2x3x1x1 -> 5x3x1x1
    blobs: 0 copied, 1 coerced, 0 dropped, 0 untouched
    >>> new['score5'].pop()[:, 0, 0, 0]
    array([1., 1., 0., 0., 0.], dtype=float32)
    """
    old, new = _score(net, layer, 'weights'), _score(new_net, new_layer, 'new net')
    k, more = _classes(old), _classes(new)
    if more < k:
        raise BadInput(f'layer {new_layer}: {more} classes cannot hold the {k} of layer {layer}')
    for i, (a, b) in enumerate(zip(old, new, strict=False)):
        if a.size * more != b.size * k or a.size % k:
            raise BadInput(f'layer {new_layer}: blob {i} is {by(b.shape)} for {more} classes, '
                           f'{by(a.shape)} for {k} in layer {layer}: not as many numbers per class')
    done = []
    for i, (a, b) in enumerate(zip(old, new, strict=False)):
        grown = b.reshape(more, -1).copy()
        grown[:k] = a.reshape(k, -1)
        np.copyto(b, grown.reshape(b.shape))
        done.append(Entry(layer, new_layer, i, a.shape, b.shape))
    return Report(copied=tuple(e for e in done if e.old == e.new), coerced=tuple(e for e in done if e.old != e.new),
                  dropped=tuple(Entry(layer, None, i, a.shape, None) for i, a in enumerate(old) if i >= len(new)),
                  untouched=tuple(Entry(None, new_layer, i, None, b.shape) for i, b in enumerate(new) if i >= len(old)))


def _score(net: Any, layer: str, where: str) -> list[np.ndarray]:
    blobs = parameters(net).get(layer)
    if not blobs:
        raise BadInput(f'the {where} have no layer {layer!r} with parameters' if where == 'weights'
                       else f'the {where} has no layer {layer!r} with parameters')
    if not all(blob.size for blob in blobs) or not blobs[0].ndim:
        raise BadInput(f'layer {layer}: an empty blob')
    return blobs


def _classes(blobs: list[np.ndarray]) -> int:
    """The bias has one number per class, also where a legacy file calls an inner product 1 x 1 x O x I."""
    count = blobs[1].size if len(blobs) > 1 else blobs[0].shape[0]
    return count if blobs[0].size % count == 0 else blobs[0].shape[0]
