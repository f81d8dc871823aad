"""Convolution and Deconvolution; Caffe and ONNX lay out their parameters alike."""
from ..layers.window import conv_window
from .graph import Layer, Operator


def _window(kind: str) -> Operator:
    def convolve(layer: Layer) -> list[str]:
        w, p = conv_window(layer.proto, layer.bottoms[0].shape), layer.proto.convolution_param
        params = [layer.parameter(i) for i in range(len(layer.blobs))]
        return [layer.add(kind, bottom.name, *params, kernel_shape=w.kernel, strides=w.stride, pads=w.pad * 2,
                          dilations=w.dilation, group=p.group) for bottom in layer.bottoms]
    return convolve


OPERATORS: dict[str, Operator] = {'Convolution': _window('Conv'), 'Deconvolution': _window('ConvTranspose')}
