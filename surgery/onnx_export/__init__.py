"""Caffe nets as ONNX models: the mirror of `surgery.onnx_import`.

`onnx_model` walks over the layers and calls one function for each, by the table in `operators`. A further layer type is
a function `Layer -> names of its tops` in the module of its family, and an entry in that module's `OPERATORS`.

Whatever depends on a size that is free (the batch, height and width of the images) is computed in the graph, from the
size of the moment.
"""
from .model import OPSET, onnx_model
from .operators import FIXED_SIZE, OPERATORS

__all__ = ['FIXED_SIZE', 'OPERATORS', 'OPSET', 'onnx_model']
