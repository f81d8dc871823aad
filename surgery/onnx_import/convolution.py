"""Convolutions."""
from cli import BadInput

from ..caffemodel import by
from ..padding import pad_alike
from .node import MAP, Node, Operator, Value
from .windows import field, pads, steps


def _conv(node: Node) -> Value:
    value, weights = node.map(pad=True), node.array(1)
    if weights.ndim != 4:
        raise BadInput(f'weights {by(weights.shape)}, where a convolution of images has 4 axes')
    stride, dilation = steps(node)
    before, after = pads(node, value, weights.shape[2:], stride, dilation)
    if before != after:
        if dilation != [1, 1]:
            raise BadInput(f'dilated, and padded by {before} before and {after} after: Caffe pads both sides alike')
        weights, before = pad_alike(node.state.builder, weights, before, after)
    blobs = [weights] + ([node.array(2).reshape(-1)] if node.given(2) else [])
    group = node.attribute('group', 1)
    return node.add('Convolution', [value], blobs, axes=MAP, num_output=weights.shape[0],
                    **field('kernel', weights.shape[2:]), **field('pad', before), **field('stride', stride),
                    dilation=dilations(dilation), bias_term=None if len(blobs) > 1 else False,
                    group=group if group > 1 else None)


def dilations(values: list[int]) -> list[int]:
    """A dilation, (y, x), as Caffe's field has it: empty where there is none."""
    if values == [1, 1]:
        return []
    return [int(v) for v in (values[:1] if values[0] == values[1] else values)]


OPERATORS: dict[str, Operator] = {'Conv': _conv}
