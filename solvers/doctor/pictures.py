"""Whether photographs reach the net as it expects them: mean, scale, order of the channels."""
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from data_layers.dataset import VOC_MEAN
from solvers.doctor.finding import Finding, fine, look, wrong
from solvers.doctor.samples import Split
from solvers.source import data_layer
from surgery.caffemodel import Weights
from surgery.preparation import Preparation

DARK = 4.0          # largest pixel of photographs that are from 0 to 1
NEAR = 1.5          # of a mean: what rounding makes of it
FAR = 6.0           # and what is not that of the data any more
STRONG = 0.1        # of the pixels' size that still comes to the first convolution: below, something scales them
FITS = 0.8          # distance of statistics, as of `trial.distance`, at which images are such as those were gathered of
PLAIN = 1.0         # standard deviation of the pixels of photographs that show something


def scale(train: Split, where: str) -> list[Finding]:
    """Whether pixels are from 0 to 255."""
    if not train.read or not len(train.mean):
        return []
    if train.highest <= DARK and len(train.mean) == 3:      # depth, say, has a scale of its own
        return [wrong('pixels', 'pixel scale', f'the photographs have pixels from 0 to {train.highest:g}, not to 255',
                      f'multiply them by {255 / max(train.highest, 1):.0f} in the files of {where}',
                      highest=train.highest)]
    if float(train.deviation.max()) < PLAIN:
        return [wrong('pixels', 'data', f'the photographs of {where} are plain: their pixels differ by '
                      f'{train.deviation.max():.2g} (standard deviation)', 'put the photographs there')]
    return []


def mean(train: Split, stated: Sequence[float], where: str, starts_from: bool) -> list[Finding]:
    """Whether the mean that is subtracted is that of the photographs, or of those that the trunk knows.

    Parameters
    ----------
    train : Split
    stated : sequence of float
        In the channel order of the blob.
    where : str
        The file that states it.
    starts_from : bool
        Whether the net starts from weights.
    """
    if not train.read or len(train.mean) != len(stated):
        return []
    data, own = train.mean, np.array(stated, float)
    shown = f'{", ".join(f"{value:.1f}" for value in own)}, that of the photographs is ' \
            f'{", ".join(f"{value:.1f}" for value in data)}'
    remedy = f'write "mean": [{", ".join(f"{value:.1f}" for value in data)}] into {where}'
    figures = dict(mean=own.tolist(), of_data=data.tolist())
    off = float(np.abs(own - data).max())
    if len(own) == 3 and np.abs(own[::-1] - VOC_MEAN).max() < NEAR:
        return [wrong('mean', 'channel order', f'the mean {shown}: it is that of ImageNet from red to blue, and '
                      'channels here go from blue to red', f'turn it round in {where}', **figures)]
    if not own.any() and float(data.max()) > FAR:
        return [wrong('mean', 'mean', f'no mean is subtracted; {shown}', remedy, **figures)]
    if float(own.max()) <= 1 and float(data.max()) > FAR:
        return [wrong('mean', 'mean', f'the mean is {shown}: it is on the scale from 0 to 1', remedy, **figures)]
    if off < FAR:
        return [fine('mean', f'{shown}', **figures)]
    if np.abs(own - VOC_MEAN[:len(own)]).max() < NEAR if len(own) == 3 else False:
        return [fine('mean', f'that of ImageNet, which the trunk knows: {shown}', **figures)]
    turned = float(np.abs(own[::-1] - data).max())
    if len(own) == 3 and turned < FAR and turned < off / 3:
        return [wrong('mean', 'channel order', f'the mean is {shown}: red and blue are exchanged in one of the two',
                      f'turn the mean round in {where}, or exchange the channels of the photographs', **figures)]
    if off > float(train.deviation.max()):
        return [wrong('mean', 'mean', f'the mean is {shown}', remedy, **figures)]
    return [look('mean', f'the mean is {shown}', remedy, **figures)]


def prepared(takes: Preparation | None, stated: Sequence[float], where: str) -> list[Finding]:
    """Whether the net.json beside a net asks for what the data layer gives: blue, green, red, less the mean."""
    if takes is None:
        return []
    if takes.order != 'bgr' and len(stated) == 3:
        return [wrong('channels', 'channel order', f'{where} says that the net takes {takes.order}, and it is trained '
                      'on blue, green, red', f'fold the order into the first convolution (python -m surgery '
                      f'convolutionalize --head does), and write "order": "bgr" into {where}')]
    if takes.scale != 1:
        return [wrong('channels', 'pixel scale', f'{where} says that the net takes pixels times {takes.scale:g}, and '
                                                 'it '
                      'is trained on pixels from 0 to 255', f'fold the scale into the first convolution (python -m '
                      f'surgery convolutionalize --head does), and write "scale": 1 into {where}')]
    means = [*takes.mean] * (len(stated) // len(takes.mean))
    if len(means) == len(stated) and np.abs(np.array(means) - np.array(stated)).max() > FAR:
        return [look('channels', f'{where} subtracts {", ".join(f"{m:.1f}" for m in means)}, training '
                     f'{", ".join(f"{m:.1f}" for m in stated)}')]
    return [fine('channels', f'blue, green, red, from 0 to 255, as {where} says')]


def reading(layers: dict[str, Any], net: Any, weights: Weights, given: Collection[str], where: str) -> list[Finding]:
    """Whether pixels come to the first convolution at a size that its weights are for, beside its bias.

    Parameters
    ----------
    layers : dict
        As of `trial.signals`: of the net that the first weights make.
    net : caffe_pb2.NetParameter
        That trains.
    weights : dict of str to list of array
    given : collection of str
        Layers that have weights from a caffemodel.
    where : str
        The file that states the net.
    """
    first = next((layer for layer in net.layer if layer.type == 'Convolution'), None)
    feed = data_layer(net)
    if first is None or first.name not in layers or feed.name not in layers:
        return []
    between = [layer.name for layer in net.layer if layer.type in ('Power', 'Scale') and first.bottom[0] in layer.top]
    came, read = layers[feed.name]['rms'], layers[between[-1]]['rms'] if between else layers[feed.name]['rms']
    if not between or read > came * STRONG or not read:
        return []
    blobs = weights.get(first.name, [])
    bias = float(np.sqrt(np.mean(np.square(blobs[1])))) if len(blobs) > 1 else 0.0
    signal = layers[first.name]['varies']
    figures = dict(pixels=came, read=read, signal=signal, bias=bias)
    what = f'layer {between[-1]} makes pixels {came / read:,.0f} times smaller before {first.name}'
    if first.name in given and signal < bias:
        return [wrong('pixels', 'pixel scale', f'{what}, whose bias then outweighs what it '
                                               'sees', f'leave {between[-1]} '
                      f'out of {where}, or start from weights that were trained with it', **figures)]
    return [look('pixels', what, **figures)]


def statistics(input: dict[str, Any], where: str) -> list[Finding]:
    """Whether the stored statistics of the first BatchNorm are those of such an input, or of one in another form."""
    if not input or 'swapped' not in input:
        return []
    layer, own = input['layer'], input['own']
    forms = {name: input[name] for name in ('swapped', 'smaller', 'larger', 'with mean')}
    best = min(forms, key=lambda name: forms[name])
    figures = {'layer': layer, 'own': own, **forms}
    if forms[best] > min(FITS, 0.4 * own):
        what = f'the statistics that {layer} stores are {own:.2g} away from those of these images'
        return [fine('input', what, **figures) if own < 2 else look('input', what, **figures)]
    cause, what, remedy = {
        'swapped': ('channel order', 'with red and blue exchanged', 'exchange the channels in the first convolution'),
        'smaller': ('pixel scale', 'with pixels from 0 to 1', 'divide the weights of the first convolution by 255'),
        'larger': ('pixel scale', 'with pixels 255 times as large', 'multiply the weights of the first convolution '
                                                                    'by 255'),
        'with mean': ('mean', 'without a mean subtracted', f'write "mean": [0, 0, 0] into {where}')}[best]
    return [wrong('input', cause, f'the statistics that {layer} stores are those of images {what}', remedy, **figures)]
