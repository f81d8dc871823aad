"""The trunk with its head, from the image to the scores of its pixels."""
from collections.abc import Sequence
from typing import Any

from cli import BadInput

from ..graph import input_layer
from ..layers import layer_type
from .alignment import Upsampling, align, offsets, set_upsampling
from .trunk import Plan

LEARNED = ((1, 1), (2, 0))              # lr_mult, decay_mult of weights and bias (section 4.3)


def segmenter(trunk: Plan, classes: int, pad: int, scales: dict[str, float], upsamplings: list[Upsampling]) -> Any:
    """The trunk with its head, for an image blob that is there already; ends in the blob `score`.

    Parameters
    ----------
    trunk : Plan
        From `plan`.
    classes : int
        Channels of every score.
    pad : int
        How many pixels more the first convolution is padded.
    scales : dict of str to float
        Constants that skip blobs are multiplied by.
    upsamplings : list of Upsampling
        Kernel size and pad of each Deconvolution, in order. Those that are not in it yet are worked out and appended;
        they are the same for every `pad`.

    Returns
    -------
    caffe_pb2.NetParameter

    Raises
    ------
    BadInput
        `pad` is too little for the upsampled scores to cover the image.
    """
    head = _Head(trunk.net, classes, scales, upsamplings)
    data: str = input_layer(head.net).top[0]
    for layer in _first_convolutions(head.net, data):
        _pad_more(layer, pad)
    coarse, stride = head.score(trunk.feature, 'fr'), trunk.stride
    label = ''
    for finer, blob in trunk.skips:
        name = _layer_name(blob)
        fine = head.score(blob, name)
        up = head.upsample(f'upscore{label or stride // finer}', coarse, stride // finer, fine, last=False)
        cropped = head.crop(f'{fine}c', fine, up)
        coarse = head.add(f'fuse_{name}', 'Eltwise', [up, cropped]).top[0]
        stride, label = finer, f'_{name}'
    up = head.upsample(f'upscore{stride if trunk.skips else ""}', coarse, stride, data, last=True)
    head.crop('score', up, data)
    return head.net


class _Head:
    """A copy of the trunk that grows by the layers of the head; each method gives the blob it made."""

    def __init__(self, trunk: Any, classes: int, scales: dict[str, float], upsamplings: list[Upsampling]) -> None:
        self.net = type(trunk)()
        self.net.CopyFrom(trunk)
        self.classes, self.scales, self.upsamplings = classes, scales, upsamplings
        self._names = {layer.name for layer in trunk.layer} | {top for layer in trunk.layer for top in layer.top}
        self._upsampled = 0

    def add(self, name: str, kind: str, bottoms: Sequence[str]) -> Any:
        """A new layer of the net, with one top, called `name` or, where that is taken, `name_fcn`."""
        while name in self._names:
            name += '_fcn'
        self._names.add(name)
        return self.net.layer.add(name=name, type=kind, bottom=list(bottoms), top=[name])

    def score(self, bottom: str, label: str) -> str:
        if self.scales.get(bottom, 1.0) != 1.0:
            scale = self.add(f'scale_{label}', 'Scale', [bottom])
            scale.scale_param.filler.type, scale.scale_param.filler.value = 'constant', self.scales[bottom]
            scale.param.add(lr_mult=0, decay_mult=0)
            bottom = scale.top[0]
        layer = self.add(f'score_{label}', 'Convolution', [bottom])
        layer.convolution_param.num_output = self.classes
        layer.convolution_param.kernel_size.append(1)
        for lr, decay in LEARNED:                           # no filler: scores start at zero
            layer.param.add(lr_mult=lr, decay_mult=decay)
        return str(layer.top[0])

    def upsample(self, name: str, bottom: str, factor: int, onto: str, last: bool) -> str:
        layer = self.add(name, 'Deconvolution', [bottom])
        layer.param.add(lr_mult=0, decay_mult=0)
        layer.convolution_param.num_output, layer.convolution_param.bias_term = self.classes, False
        layer.convolution_param.stride.append(factor)
        if self._upsampled == len(self.upsamplings):
            self.upsamplings.append(align(self.net, layer, onto, last))
        set_upsampling(layer, self.upsamplings[self._upsampled])
        self._upsampled += 1
        return str(layer.top[0])

    def crop(self, name: str, bottom: str, like: str) -> str:
        y, x = (int(o) for o in offsets(self.net, bottom, like))
        if min(y, x) < 0:
            raise BadInput(f'{bottom} begins after {like}')
        layer = self.add(name, 'Crop', [bottom, like])
        layer.crop_param.axis = 2
        layer.crop_param.offset.extend([y, x] if y != x else [y])
        return str(layer.top[0])


def _layer_name(blob: str) -> str:
    return blob.replace('/', '_')


def _first_convolutions(net: Any, data: str) -> list[Any]:
    """Those that read the image, or something that is the image pixel by pixel."""
    images, first = {data}, []
    for layer in net.layer:
        if layer.type == 'Input' or not images & set(layer.bottom):
            continue
        if layer.type == 'Convolution':
            first.append(layer)
        elif layer_type(layer.type).pixelwise:
            images |= set(layer.top)
        else:
            raise BadInput(f'layer {layer.name} ({layer.type}) reads the image before any convolution; a head needs a '
                           'first convolution that it can pad')
    return first


def _pad_more(layer: Any, more: int) -> None:
    p = layer.convolution_param
    if p.HasField('pad_h') or p.HasField('pad_w'):
        p.pad_h, p.pad_w = p.pad_h + more, p.pad_w + more
    else:
        pads = [value + more for value in (p.pad or [0])]
        p.ClearField('pad')
        p.pad.extend(pads)
