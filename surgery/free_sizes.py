"""Which sizes of a net's images are free, and which axes of its blobs follow them.

Both are found by asking `infer` for the shapes at other sizes: where Caffe would refuse the net, or its parameters
would have other shapes, as those of an inner product over a map, the net is bound to the size that it states.
"""
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from cli import BadInput

from .layers import Shape
from .shapes import Shapes, infer

NAMES = ('batch', 'height', 'width')
OTHERS = (*range(1, 65), 96, 128, 192, 256)     # pixels that images are made larger by, to see what follows
ELSEWHERE = ''          # a size that follows that of the images in another way

Follows = tuple[str | None, ...]        # for each axis: one of NAMES where it equals that, ELSEWHERE, or None if fixed


class FreeSizes(NamedTuple):
    """What may change of a net's inputs, all of which change together.

    Attributes
    ----------
    inputs : dict of str to shape
        As the net states them.
    free : dict of str to bool
        For batch, height and width.
    some : bool
        Whether images of some heights or widths have no net, as where one branch rounds up and another down.
    bottoms, tops : list of list of tuple
        For each layer's bottoms and tops, what their axes follow.
    """

    inputs: dict[str, Shape]
    free: dict[str, bool]
    some: bool
    bottoms: list[list[Follows]]
    tops: list[list[Follows]]


def free_sizes(net: Any, shapes: Shapes, bound: Collection[str] = ()) -> FreeSizes:
    """Find out what may change of a net's inputs.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Its inputs are Input layers.
    shapes : Shapes
        At the sizes that it states.
    bound : collection of str
        Layer types that bind a net to its height and width.

    Returns
    -------
    FreeSizes
    """
    inputs = {name: shapes.blobs[name] for layer in net.layer if layer.type == 'Input' for name in layer.top}
    own = [layer for layer in net.layer if layer.type in bound]
    samples = {name: [more for more in ((1, 2) if name == 'batch' else () if own else OTHERS)
                      if (larger := enlarged(inputs, **{name: more})) != inputs and fits(net, shapes, larger)]
               for name in NAMES}
    free = {name: bool(found) for name, found in samples.items()}
    seen = [(name, _at(net, shapes, enlarged(inputs, **{name: more})), more)
            for name, found in samples.items() for more in dict.fromkeys([*found[:3], *found[-3:]])]
    some = any(free[name] and len(samples[name]) < len(OTHERS) for name in NAMES[1:])
    first = next(iter(inputs.values()))
    base = dict(zip(NAMES, (first[0], *first[2:]), strict=False))

    def follow(pick: Callable[[Shapes], list[list[Shape]]]) -> list[list[Follows]]:
        now = pick(shapes)
        return [[tuple(_follows(base, size, [(name, more, pick(other)[i][j][axis]) for name, other, more in seen
                                             if other]) for axis, size in enumerate(shape))
                 for j, shape in enumerate(group)] for i, group in enumerate(now)]

    return FreeSizes(inputs, free, some, follow(lambda s: s.bottoms), follow(lambda s: s.tops))


def enlarged(inputs: Mapping[str, Shape], batch: int = 0, height: int = 0, width: int = 0) -> dict[str, Shape]:
    """Inputs N x C x H x W with more images a batch, rows and columns; of those with fewer axes only the batch."""
    more = (batch, 0, height, width)
    return {name: tuple(d + m for d, m in zip(shape, (*more, *[0] * len(shape)), strict=False))
            for name, shape in inputs.items()}


def fits(net: Any, shapes: Shapes, inputs: Mapping[str, Shape]) -> bool:
    """Whether a net takes inputs of other sizes with the same parameters."""
    return _at(net, shapes, inputs) is not None


def _at(net: Any, shapes: Shapes, inputs: Mapping[str, Shape]) -> Shapes | None:
    try:
        found = infer(net, inputs)
    except BadInput:
        return None
    return found if found.params == shapes.params else None


def _follows(base: Mapping[str, int], size: int, seen: Sequence[tuple[str, int, int]]) -> str | None:
    """What an axis follows whose size is given, and in `seen` after a change of one of the inputs' sizes."""
    if all(other == size for _, _, other in seen):
        return None
    return next((name for name in base if size == base[name] and all(
        other == size + (more if changed == name else 0) for changed, more, other in seen)), ELSEWHERE)


def some_sizes(net: Any, shapes: Shapes, sizes: FreeSizes, multiple: int = 1,
               largest: int = 500) -> list[dict[str, Shape]]:
    """Three sizes, or fewer, at which to try a net: its own or one of `largest` pixels a side, and two odd ones.

    Where nothing but its own size has a net, that alone.

    Parameters
    ----------
    net, shapes, sizes
        As of `free_sizes`.
    multiple : int
        Of which the sides are to be multiples, where they are free.
    largest : int
        Pixels.

    Returns
    -------
    list of dict of str to shape
        The inputs' shapes, each time others.
    """
    first = next((shape for shape in sizes.inputs.values() if len(shape) == 4), None)
    given: list[dict[str, Shape]] = []
    for odd, *parts in ((0, 1.0, 1.0), (1, 2 / 3, 0.45), (1, 0.3, 0.55)):
        if first is None:
            break
        more = {name: _more(net, shapes, sizes, name, side, int(min(side, largest) * part), odd, multiple)
                for name, side, part in zip(NAMES[1:], first[2:], parts, strict=True) if sizes.free[name]}
        inputs = enlarged(sizes.inputs, **more)
        if inputs not in given and fits(net, shapes, inputs):
            given.append(inputs)
    return given or [dict(sizes.inputs)]


def _more(net: Any, shapes: Shapes, sizes: FreeSizes, name: str, own: int, least: int, odd: int,
          multiple: int) -> int:
    """To the first side from `least` on that fits, of odd ones if they are asked for and there are any."""
    for wanted in ([True, False] if odd else [False]):
        for side in range(max(least, 1), own + OTHERS[-1]):
            if side % multiple == 0 and (not wanted or side % 2) and fits(
                    net, shapes, enlarged(sizes.inputs, **{name: side - own})):
                return side - own
    return 0
