"""The arithmetic of a net, whoever computes it: multiply-adds, and bytes that move at least once.

    forward   multiply-adds of every convolution and inner product, summed directly
    step      the same, once more for each gradient: to the weights that learn, and to bottoms that come of such weights
    bytes     float32: all weights are read once, and every blob is written once and read once; what a layer that
              treats each number on its own reads is no blob of its own, in place or not

A seconds' figure over them says how near an engine is to what the machine can do. Winograd's form needs fewer products
than are counted here, and an engine that sees that an upsampling is channel by channel needs a fraction of its.
"""
import math
from collections import Counter
from typing import Any, NamedTuple

from surgery.layers import layer_type
from surgery.shapes import infer

FLOAT = 4       # bytes


class Work(NamedTuple):
    """What a pass through a net takes.

    Attributes
    ----------
    forward : int
        Multiply-adds of a forward pass.
    upsampling : int
        Those among them of Deconvolutions.
    step : int
        Multiply-adds of a training step, without the update.
    weights, blobs : int
        Bytes of the parameters, and of blobs written and read, in a forward pass.
    """

    forward: int
    upsampling: int
    step: int
    weights: int
    blobs: int


def multiply_adds(layer: Any, bottom: tuple[int, ...], top: tuple[int, ...], params: list[tuple[int, ...]]) -> int:
    """Those of one layer.

    Parameters
    ----------
    layer : caffe_pb2.LayerParameter
    bottom, top : tuple of int
        Shapes of one of its bottoms and of what it makes of it.
    params : list of tuple of int
        Shapes of its parameters.
    """
    if layer.type == 'Convolution':         # a number of its top is a sum over one output's weights
        return math.prod(top) * math.prod(params[0][1:])
    if layer.type == 'Deconvolution':       # a number of its bottom goes into as many products as its input has weights
        return math.prod(bottom) * math.prod(params[0][1:])
    if layer.type == 'InnerProduct':
        outputs: int = layer.inner_product_param.num_output
        return math.prod(top) // outputs * math.prod(params[0])
    return 0


def work(net: Any) -> Work:
    """What a net takes at the size that it states.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        A deploy net.

    Returns
    -------
    Work
    """
    shapes = infer(net)
    forward = upsampling = step = weights = 0
    learned: set[str] = set()       # blobs that come of weights that learn
    for layer, bottoms, tops, params in zip(net.layer, shapes.bottoms, shapes.tops, shapes.params, strict=True):
        learns = bool(params) and (not layer.param or layer.param[0].lr_mult != 0)
        for name, bottom, top in zip(layer.bottom, bottoms, tops, strict=False):
            macs = multiply_adds(layer, bottom, top, params)
            forward += macs
            upsampling += macs * (layer.type == 'Deconvolution')
            step += macs * (1 + learns + (name in learned))
        if learns or learned.intersection(layer.bottom):
            learned.update(layer.top)
        weights += sum(map(math.prod, params))
    in_place = Counter(layer.top[0] for layer in net.layer if layer.top[0] in layer.bottom)
    read = Counter(name for layer in net.layer for name in layer.bottom)
    fused = {layer.bottom[0] for layer in net.layer if layer_type(layer.type).elementwise
             and layer.bottom[0] != layer.top[0] and read[layer.bottom[0]] == 1 + in_place[layer.bottom[0]]}
    inputs = {name for layer in net.layer if layer.type == 'Input' for name in layer.top}
    moved = sum(math.prod(shape) * ((name not in inputs) + (name in read)) for name, shape in shapes.blobs.items()
                if name not in fused)
    return Work(forward, upsampling, step, FLOAT * weights, FLOAT * moved)
