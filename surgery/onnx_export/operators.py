"""The layer types that have an equivalent in ONNX, and the reasons why others have none."""
from collections.abc import Mapping

from . import across_channels, channelwise, combining, convolution, elementwise, inner_product, pooling, reshaping
from .graph import Operator

OPERATORS: Mapping[str, Operator] = {
    **convolution.OPERATORS, **pooling.OPERATORS, **inner_product.OPERATORS, **elementwise.OPERATORS,
    **channelwise.OPERATORS, **across_channels.OPERATORS, **reshaping.OPERATORS, **combining.OPERATORS,
}
FIXED_SIZE = {'SPP': 'its windows are as large as its map'}     # types that hold at the stated size only
