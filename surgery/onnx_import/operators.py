"""The operators that have an equivalent in Caffe."""
from . import activations, arithmetic, convolution, fully_connected, layout, pooling, upsampling
from .node import Operator

OPERATORS: dict[str, Operator] = {
    **convolution.OPERATORS, **pooling.OPERATORS, **fully_connected.OPERATORS, **arithmetic.OPERATORS,
    **activations.OPERATORS, **layout.OPERATORS, **upsampling.OPERATORS,
}
