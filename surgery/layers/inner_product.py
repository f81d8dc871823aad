"""InnerProduct."""
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli import BadInput

from ..caffemodel import by
from .axes import Shape, canonical
from .record import Change, Converted, DenseBlob, LayerType, always
from .rules import same_coordinates
from .window import set_kernel


def _shapes(layer: Any, bottoms: list[Shape]) -> tuple[list[Shape], list[Shape]]:
    p = layer.inner_product_param
    axis = canonical(p.axis, bottoms[0])
    if p.num_output < 1:
        raise BadInput('no num_output')
    inputs = math.prod(bottoms[0][axis:])
    weights = (inputs, p.num_output) if p.transpose else (p.num_output, inputs)
    return [(*bottoms[0][:axis], p.num_output)], [weights, *([(p.num_output,)] if p.bias_term else [])]


def _dense(layer: Any, bottoms: list[DenseBlob], tops: list[Shape]) -> Converted:
    """A convolution whose kernel is the height and width of the map below."""
    p, bottom = layer.inner_product_param, bottoms[0]
    axis = canonical(p.axis, bottom.old)
    if axis == 0 or math.prod(bottom.old[1:axis]) != 1:
        raise BadInput(f'its axis {p.axis} leaves more than the batch of {by(bottom.old)} apart')
    conv = layer.convolution_param
    conv.num_output, conv.bias_term = p.num_output, p.bias_term
    for filler in ('weight_filler', 'bias_filler'):
        if p.HasField(filler):
            getattr(conv, filler).CopyFrom(getattr(p, filler))
    set_kernel(conv, bottom.new[2:])
    transposed = p.transpose
    layer.type = 'Convolution'
    layer.ClearField('inner_product_param')
    return Converted([(bottom.new[0], conv.num_output, 1, 1)],
                     Change(layer.name, f'InnerProduct to Convolution, kernel {by(bottom.new[2:])}'
                            + (', weights transposed' if transposed else ''), transposed))


def _channels(layer: Any, blobs: Sequence[NDArray[np.float32]], pixels: int) -> int:
    outputs = int(layer.inner_product_param.num_output)
    return blobs[0].size // outputs // pixels if outputs else 0


# A net of maps has no InnerProduct; on a map of one position, its top looks where the map looks.
TYPES = [LayerType('InnerProduct', _shapes, same_coordinates, _dense, overwritable=always, channels=_channels)]
