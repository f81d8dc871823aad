"""Which part of a dense classifier a head keeps, and which layers it skips from."""
from collections.abc import Sequence
from typing import Any, NamedTuple

from cli import BadInput

from ..convolutionalize import Dense
from ..coordinates import fields
from ..graph import input_layer, last_writer, prune
from ..layers import Fields, Shape, layer_type
from ..layers.window import pooling_window
from ..shapes import infer


class Plan(NamedTuple):
    """Where a head goes.

    Attributes
    ----------
    net : caffe_pb2.NetParameter
        The trunk, from its input to `feature`.
    feature : str
        The blob that is scored first.
    stride : int
        Its stride, in pixels.
    skips : tuple of (int, str)
        Strides and blobs of the finer layers that are scored too, the coarsest first.
    finest : int
        The stride of the finest prediction.
    source : str
        The blob of the dense net that `feature` is, before any Dropout of the head's own.
    """

    net: Any
    feature: str
    stride: int
    skips: tuple[tuple[int, str], ...]
    finest: int
    source: str

    @property
    def measured(self) -> tuple[str, ...]:
        """The dense net's blobs whose lengths decide the scales: the feature's, then those of the skips."""
        return self.source, *(blob for _, blob in self.skips)


def plan(dense: Dense, finest: int, skips: Sequence[str] = ()) -> Plan:
    """Find the trunk of a dense classifier and the layers to skip from.

    Parameters
    ----------
    dense : Dense
        From `convolutionalize`; of several outputs the last one is taken.
    finest : int
        Stride of the finest prediction: 32, 16 or 8 in the paper.
    skips : sequence of str
        Blobs to skip from. By default the deepest layer at each stride from `finest` to the trunk's, and of the layers
        at one stride those that every path goes through.

    Returns
    -------
    Plan

    Raises
    ------
    BadInput
        The trunk has no layer of that stride, or its images are not the net's only input.
    """
    if sum(layer.type == 'Input' for layer in dense.net.layer) != 1:
        raise BadInput('a head needs a net with one input')
    net = type(dense.net)()
    net.CopyFrom(dense.net)
    feature = _feature(net, dense)
    net = prune(net, feature)
    shapes = infer(net)
    strides = {name: _stride(pair) for name, pair in fields(net, shapes).items()}
    top = strides[feature]
    if not top:
        raise BadInput(f'the trunk ends at {feature}, which has no whole stride, equal along both axes')
    found = _named(skips, strides) or _deepest(net, strides)
    wanted = sorted((s for s in found if s and finest <= s < top), reverse=True)
    if finest > top or finest != (wanted or [top])[-1]:
        there = sorted({s for s in [*found, top] if s and s <= top})
        raise BadInput(f'--head {finest}: the trunk has no layer at stride {finest} to predict from; it has '
                       f'{", ".join(map(str, there))}')
    chain = [top, *wanted]
    if any(a % b for a, b in zip(chain, chain[1:], strict=False)):
        raise BadInput(f'the strides {", ".join(map(str, chain))} are not multiples of each other')
    _check_every_size(net, shapes.blobs, top)
    dropped = [layer.bottom[0] for layer in net.layer if feature in layer.top and feature not in dense.shapes.blobs]
    return Plan(net, feature, top, tuple((s, found[s]) for s in wanted), finest, dropped[0] if dropped else feature)


def _stride(pair: Fields) -> int:
    """The stride of a blob if it is whole and the same along both axes, else 0."""
    y, x = pair
    return int(y.stride) if y.stride == x.stride and y.stride.denominator == 1 else 0


def _named(skips: Sequence[str], strides: dict[str, int]) -> dict[int, str]:
    """The blobs that the caller names, by stride."""
    for name in skips:
        if name not in strides:
            raise BadInput(f'--skip {name}: the trunk has no such blob')
    return {strides[name]: name for name in skips}


def _deepest(net: Any, strides: dict[str, int]) -> dict[int, str]:
    """The last blob at each stride; before others the bottlenecks, blobs that every path goes through."""
    last_read = {name: i for i, layer in enumerate(net.layer) for name in layer.bottom}
    found: dict[int, tuple[bool, str]] = {}
    unread: set[str] = set()            # blobs that a later layer reads, or the output
    for i, layer in enumerate(net.layer):
        unread = {name for name in unread | set(layer.top) if last_read.get(name, len(net.layer)) > i}
        for name in layer.top:
            bottleneck = unread == {name}
            if layer.type != 'Input' and name in unread and (bottleneck
                                                             or not found.get(strides[name], (False,))[0]):
                found[strides[name]] = bottleneck, name
    return {stride: name for stride, (_, name) in found.items()}


def _check_every_size(net: Any, blobs: dict[str, Shape], step: int) -> None:
    """Refuse a trunk whose branches round differently: a head takes images of every size."""
    data: str = input_layer(net).top[0]
    n, channels, height, width = blobs[data]
    for more in range(1, step):
        try:
            infer(net, {data: (n, channels, height + more, width + more)})
        except BadInput as problem:
            raise BadInput(f'a head needs a trunk for images of every size, and at {height + more}x{width + more}, '
                           f'{problem}') from None


# ----------------------------------------------------------------------------------------- the classifying layer

def _feature(net: Any, dense: Dense) -> str:
    """The blob that the classifying layer read, or the map below it where a pooling of the whole map comes before.

    A Dropout between pooling and classifying layer is added to the end of `net`, for the map.
    """
    output = list(dense.outputs.values())[-1]
    at = last_writer(net, output)
    layer = net.layer[at]
    while layer_type(layer.type).follows_scores and len(layer.bottom) == 1:
        at = last_writer(net, layer.bottom[0], at)
        layer = net.layer[at]
    if layer.type != 'Convolution':
        return _before_pooling(net, dense, output, None)
    return _before_pooling(net, dense, layer.bottom[0], at)


def _before_pooling(net: Any, dense: Dense, blob: str, before: int | None) -> str:
    dropouts, at = [], last_writer(net, blob, before)
    while net.layer[at].type in ('Dropout', 'Softmax'):
        dropouts += [net.layer[at]] if net.layer[at].type == 'Dropout' else []
        at = last_writer(net, net.layer[at].bottom[0], at)
    pool = net.layer[at]
    if pool.type != 'Pooling':
        return blob
    bottom = dense.shapes.bottoms[at][0]
    if pooling_window(pool, bottom).kernel != bottom[2:]:
        return blob
    feature: str = pool.bottom[0]
    for old in dropouts[:1]:                            # it goes from the pooled vector to the map
        new = net.layer.add()
        new.CopyFrom(old)
        new.name = f'{old.name}_map'
        new.bottom[0], new.top[0] = feature, new.name
        feature = new.name
    return feature
