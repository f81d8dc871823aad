"""Where on the image each position of a blob looks: stride, receptive field, and their alignment."""
from typing import Any

from cli import BadInput

from .layers import Fields, layer_type
from .shapes import Shapes


def fields(net: Any, shapes: Shapes) -> dict[str, Fields]:
    """What the positions of every blob of a net of image maps see.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Its inputs are Input layers, its blobs N x C x H x W.
    shapes : Shapes
        From `infer`.

    Returns
    -------
    dict of str to (Field, Field)
        Along y and x, in pixels of the input.

    Raises
    ------
    BadInput
        Blobs of different strides meet in a layer, or its type states no coordinates; names it.
    """
    result: dict[str, Fields] = {}
    for layer, bottoms in zip(net.layer, shapes.bottoms, strict=True):
        rule = layer_type(layer.type).coordinates
        if rule is None:
            refused = layer_type(layer.type).refused
            raise BadInput(f'layer {layer.name} ({layer.type}): '
                           + (f'it {refused}' if refused else 'surgery does not know where on the image its tops look'))
        try:
            tops = rule(layer, bottoms, [result[name] for name in layer.bottom])
        except BadInput as problem:
            raise BadInput(f'layer {layer.name} ({layer.type}): {problem}') from None
        result |= dict(zip(layer.top, tops, strict=True))
    return result
