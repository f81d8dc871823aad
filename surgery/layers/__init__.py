"""The Caffe layer types that surgery knows, one record each: see `LayerType`.

A family of types is a module here with its rules and a list `TYPES`. A new type is an entry there, or a new module that
is listed below: `shapes.infer`, `coordinates.fields`, `convolutionalize`, `prepare`, the importers and the head ask the
records.
"""
from . import (
    across_channels,
    boundary,
    channelwise,
    combining,
    convolution,
    elementwise,
    inner_product,
    one_size,
    pooling,
    refused,
    reshaping,
)
from .axes import Pair, Shape
from .field import Field, Fields
from .record import Alias, Change, Converted, DenseBlob, LayerType

FAMILIES = (boundary, convolution, pooling, inner_product, elementwise, channelwise, across_channels, reshaping,
            combining, one_size, refused)
LAYER_TYPES: dict[str, LayerType] = {record.name: record for family in FAMILIES for record in family.TYPES}
UNKNOWN = LayerType('')


def layer_type(name: str) -> LayerType:
    """The record of a layer type; of one that is not in `LAYER_TYPES`, a record without rules."""
    return LAYER_TYPES.get(name, UNKNOWN)


__all__ = ['LAYER_TYPES', 'UNKNOWN', 'Alias', 'Change', 'Converted', 'DenseBlob', 'Field', 'Fields', 'LayerType',
           'Pair', 'Shape', 'layer_type']
