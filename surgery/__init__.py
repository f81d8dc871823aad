"""Turn classifiers into fully convolutional nets, and move parameters between nets.

`transplant`, `fill_bilinear` and `expand_score` take `caffe.Net`s or mappings of layer name to arrays;
`read_weights` and `write_weights` do `.caffemodel` files. None of them needs Caffe.

    >>> import numpy as np
    >>> from surgery import transplant
    >>> fcn = {'fc6': [np.zeros((2, 3, 2, 2), 'f')]}
    >>> transplant(fcn, {'fc6': [np.ones((2, 12), 'f')]}).coerced[0].old
    (2, 12)

`read_net`, `prepare` and `convolutionalize` make a classifier fully convolutional, `prove` runs the two side by side,
and `import_model` brings classifiers from elsewhere.

    >>> classifier = prepare(read_net('deploy.prototxt'), read_weights('vgg16.caffemodel'))        # doctest: +SKIP
    >>> dense = convolutionalize(classifier)                                                       # doctest: +SKIP
    >>> print(dense.changes[0].what)                                                               # doctest: +SKIP
    InnerProduct to Convolution, kernel 7x7
"""
from .bilinear import bilinear_kernel, fill_bilinear
from .caffemodel import read_weights, write_weights
from .classifier import prepare
from .convolutionalize import convolutionalize
from .expand import expand_score
from .importers import import_model
from .proof import Mismatch, prove
from .prototxt import read_net, write_prototxt
from .transplant import Report, transplant

__all__ = ['Mismatch', 'Report', 'bilinear_kernel', 'convolutionalize', 'expand_score', 'fill_bilinear', 'import_model',
           'prepare', 'prove', 'read_net', 'read_weights', 'transplant', 'write_prototxt', 'write_weights']
