"""What Caffe would make of a net's shapes, worked out without running it.

Caffe ends the process on a net that does not fit together, so every net is checked here first. The rules of each layer
type are in `surgery.layers`.
"""
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cli import BadInput

from .caffemodel import by
from .layers import Shape, layer_type

LARGEST = 2 ** 31       # numbers in a blob: Caffe counts them with an int


class TooLarge(BadInput):
    """A blob would have more numbers than Caffe can count."""


class Shapes(NamedTuple):
    """Shapes of a net.

    Attributes
    ----------
    bottoms, tops, params : list of list of shape
        Of every layer's bottoms, tops and parameters, in the order of `net.layer`.
    blobs : dict of str to shape
        Of all blobs, at the end of the net where layers work in place.
    """

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
        Caffe would refuse the net, or the layer is not one of those known here; names the layer. Where it is the size
        of a blob, `TooLarge`.
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
            if any(math.prod(shape) >= LARGEST for shape in params):
                raise TooLarge(f'its parameters would be {" and ".join(map(by, params))}, more than Caffe can count')
        except BadInput as problem:
            raise type(problem)(f'layer {layer.name} ({layer.type}): {problem}') from None
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
        if math.prod(tops[i]) >= LARGEST:
            raise TooLarge(f'its top {name!r} would be {by(tops[i])}, more numbers than Caffe can count')


def layer_shapes(layer: Any, bottoms: Sequence[Shape], inputs: Mapping[str, Shape]) -> tuple[list[Shape], list[Shape]]:
    """Shapes of one layer's tops and parameters.

    Parameters
    ----------
    layer : caffe_pb2.LayerParameter
        Any layer of a net.
    bottoms : sequence of shape
        Of its bottoms, in order.
    inputs : mapping of str to shape
        Sizes for the tops of an Input layer, in place of those it states.

    Returns
    -------
    (list of shape, list of shape)
        Of its tops and of its parameters.

    Raises
    ------
    BadInput
        Caffe would refuse the layer, or no rule is known; does not name the layer.
    """
    record = layer_type(layer.type)
    if record.shapes is None:
        raise BadInput(f'it {record.refused}: surgery does not know it' if record.refused
                       else 'a type that surgery does not know')
    fewest, most = record.bottoms
    if not fewest <= len(layer.bottom) <= most:
        raise BadInput(f'{len(layer.bottom)} bottoms')
    if record.source and all(name in inputs for name in layer.top):
        return [tuple(inputs[name]) for name in layer.top], []
    tops, params = record.shapes(layer, list(bottoms))
    if record.source:
        tops = [tuple(inputs.get(name, shape)) for name, shape in zip(layer.top, tops, strict=True)]
    return tops, params
