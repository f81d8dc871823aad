"""Windows of convolutions and poolings: what a node says of them, and the fields of Caffe's layers."""
from collections.abc import Sequence
from typing import Any

from cli import BadInput

from ..padding import same
from .node import Node, Value


def pads(node: Node, value: Value, kernel: Sequence[int], stride: Sequence[int],
         dilation: Sequence[int]) -> tuple[list[int], list[int]]:
    """Zeros before and after a map, those of a Pad node before this one included.

    Parameters
    ----------
    node : Node
        A convolution or pooling.
    value : Value
        The map that it reads.
    kernel, stride, dilation : sequence of int
        Its window, (y, x), in pixels of the map.

    Returns
    -------
    (list of int, list of int)
        Rows and columns (y, x) before the map, and after it.

    Raises
    ------
    BadInput
        Padding is negative, or not for two axes.
    """
    auto = node.attribute('auto_pad', 'NOTSET')
    given = list(node.attribute('pads', [0] * 4))
    if auto in ('SAME_UPPER', 'SAME_LOWER'):
        before, after = [], []
        for n, k, s, d in zip(value.dims[2:], kernel, stride, dilation, strict=True):
            small, large = same(n, k, s, d)
            before.append(small if auto == 'SAME_UPPER' else large)
            after.append(large if auto == 'SAME_UPPER' else small)
        given = before + after
    if len(given) != 4 or min(given) < 0:
        raise BadInput(f'padding {given}: expected 4 numbers from 0: top, left, bottom, right')
    return ([a + b for a, b in zip(given[:2], value.pad[:2], strict=True)],
            [a + b for a, b in zip(given[2:], value.pad[2:], strict=True)])


def steps(node: Node) -> tuple[list[int], list[int]]:
    """Stride and dilation of a node's window, (y, x) each, in pixels.

    Raises
    ------
    BadInput
        They are not two positive numbers.
    """
    stride, dilation = (list(node.attribute(key, [1, 1])) for key in ('strides', 'dilations'))
    for key, values in (('strides', stride), ('dilations', dilation)):
        if len(values) != 2 or min(values) < 1:
            raise BadInput(f'{key} {values}: expected 2 numbers from 1')
    return stride, dilation


def field(stem: str, values: Sequence[int], repeated: bool = True) -> dict[str, Any]:
    """A window's field in a Caffe layer: one number where both axes agree, `_h` and `_w` otherwise.

    Parameters
    ----------
    stem : str
        'kernel', 'stride' or 'pad'.
    values : sequence of int
        Along y and x.
    repeated : bool
        Whether Caffe takes a list of numbers, as in convolutions.

    Returns
    -------
    dict of str to value
        Fields of the layer's parameter message; empty where the values are Caffe's defaults.
    """
    whole = 'kernel_size' if stem == 'kernel' else stem
    values = [int(v) for v in values]
    if values == ([0, 0] if stem == 'pad' else [1, 1] if stem == 'stride' else None):
        return {}
    if values[0] == values[1]:
        return {whole: [values[0]] if repeated else values[0]}
    return {f'{stem}_h': values[0], f'{stem}_w': values[1]}
