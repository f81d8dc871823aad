"""Parameters that a weights file lacks and that the net itself states: by constant and bilinear fillers."""
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli import BadInput

from ..bilinear import bilinear_kernel
from ..caffemodel import Weights
from ..classifier import Classifier
from ..layers import Shape

MOST = 2 ** 28          # parameters that fillers may make
FIELDS = {      # of a layer type's message: the fillers of its parameters, in order
    'Convolution': ('convolution_param', 'weight_filler', 'bias_filler'),
    'Deconvolution': ('convolution_param', 'weight_filler', 'bias_filler'),
    'InnerProduct': ('inner_product_param', 'weight_filler', 'bias_filler'),
    'Embed': ('embed_param', 'weight_filler', 'bias_filler'), 'Scale': ('scale_param', 'filler', 'bias_filler'),
    'Bias': ('bias_param', 'filler'), 'PReLU': ('prelu_param', 'filler'),
}


def filled(net: Classifier) -> Weights:
    """The parameters of all layers of a net.

    Raises
    ------
    BadInput
        The weights file has none for a layer, and its fillers are not there or random; names the layer.
    """
    missing = {entry.target for entry in net.missing}
    weights = dict(net.weights)
    if sum(math.prod(entry.new or ()) for entry in net.missing) > MOST:
        raise BadInput(f'the weights lack more than {MOST:,} parameters; are prototxt and weights of one net?')
    for layer, shapes in zip(net.net.layer, net.shapes.params, strict=True):
        if layer.name in missing:
            weights[layer.name] = [_filled(layer, i, shape) for i, shape in enumerate(shapes)]
    return weights


def _filled(layer: Any, i: int, shape: Shape) -> NDArray[np.float32]:
    message, *names = FIELDS.get(layer.type, ('',))
    name = names[i] if i < len(names) else ''
    filler = getattr(getattr(layer, message), name) if name else None
    if filler is not None and getattr(layer, message).HasField(name):
        if filler.type == 'constant':
            return np.full(shape, filler.value, np.float32)
        if filler.type == 'bilinear' and len(shape) == 4 and shape[2] == shape[3]:
            return np.broadcast_to(bilinear_kernel(shape[3]), shape).astype(np.float32)
    elif filler is not None and i and name == 'bias_filler':
        return np.zeros(shape, np.float32)
    raise BadInput(f'layer {layer.name} ({layer.type}): the weights have no parameters for it; are prototxt and '
                   'weights of one net?')
