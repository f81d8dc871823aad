"""ONNX classifiers as Caffe nets."""
from .layout import Importer, load

__all__ = ['Importer', 'load']
