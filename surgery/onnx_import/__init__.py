"""ONNX classifiers as Caffe nets.

`read_onnx` reads the file, `import_graph` walks over its graph and calls one function for each node, by the table in
`operators`. A new operator is a function `Node -> Value` in the module of its kind, and an entry in that module's
`OPERATORS`.
"""
from .reading import read_onnx
from .walk import ImportedGraph, import_graph

__all__ = ['ImportedGraph', 'import_graph', 'read_onnx']
