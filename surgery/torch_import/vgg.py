"""VGG and AlexNet of torchvision.

A state dict has no graph: which layers lie between those with parameters follows from the gaps in their numbers.
"""
import math
import re

import numpy as np

from cli import BadInput

from ..builder import Builder
from ..caffemodel import by
from .layers import FACTOR, SIZE, Imported
from .reading import State

Numbered = dict[int, dict[str, np.ndarray]]     # of features.N.weight and the like, by N and then by 'weight'

ALEXNET = {0: (4, 2), 3: (1, 2), 6: (1, 1), 8: (1, 1), 10: (1, 1)}     # stride and padding of features.N
ALEXNET_POOLED = (0, 3, 10)


def recognised(state: State) -> bool:
    """Whether it is a state dict of this module's nets, as far as its names tell."""
    return all(name.startswith(('features.', 'classifier.')) for name in state) and 'features.0.weight' in state


def build(state: State, size: tuple[int, int] | None) -> Imported:
    """A VGG or AlexNet of any width; of VGG of any depth, with batch normalisation or without."""
    features, classifier = _numbered(state, 'features'), _numbered(state, 'classifier')
    convs = [i for i, blobs in features.items() if 'weight' in blobs and blobs['weight'].ndim == 4]
    connected = all('weight' in b and b['weight'].ndim == 2 for b in classifier.values())
    if not convs or not classifier or not connected:
        raise BadInput('not a state dict of VGG or AlexNet as they are known here: convolutions are called features.N, '
                       'inner products classifier.N; export the net as ONNX')
    alexnet = features[convs[0]]['weight'].shape[2:] == (11, 11)
    channels = features[convs[0]]['weight'].shape[1]
    builder = Builder('AlexNet' if alexnet else f'VGG-{len(convs) + len(classifier)}', (1, channels, *(size or SIZE)))
    builder.spare += FACTOR * sum(array.size for array in state.values())
    top = _alexnet(builder, features, convs) if alexnet else _vgg(builder, features, convs)
    return Imported(builder, _classifier(builder, classifier, top))


def _numbered(state: State, part: str) -> Numbered:
    found: Numbered = {}
    for name, array in state.items():
        match = re.fullmatch(rf'{part}\.(\d{{1,6}})\.(\w+)', name)
        if match:
            found.setdefault(int(match[1]), {})[match[2]] = array
    return dict(sorted(found.items()))


def _vgg(builder: Builder, features: Numbered, convs: list[int]) -> str:
    """3x3 convolutions; a gap in the numbers is a pooling."""
    top = 'data'
    for i, following in zip(convs, [*convs[1:], None], strict=True):
        if features[i]['weight'].shape[2:] != (3, 3):
            raise BadInput(f'features.{i}: a {by(features[i]["weight"].shape[2:])} convolution, which no VGG has')
        top = _convolve(builder, features[i], top, 1, 1)
        norm = features.get(i + 1, {})
        if 'running_mean' in norm:
            top = _normalise(builder, norm, top)
        top = builder.add('ReLU', 'relu', [top])
        gap = (following - i if following is not None else 0) - ('running_mean' in norm)
        if following is None or gap == 3:
            top = _pool(builder, top, 2)
        elif gap != 2:
            raise BadInput(f'features.{i} and features.{following}: no VGG has so much between them')
    return top


def _alexnet(builder: Builder, features: Numbered, convs: list[int]) -> str:
    if convs != list(ALEXNET):
        raise BadInput(f'convolutions features.{", ".join(map(str, convs))}: not those of AlexNet')
    top = 'data'
    for i in convs:
        top = builder.add('ReLU', 'relu', [_convolve(builder, features[i], top, *ALEXNET[i])])
        if i in ALEXNET_POOLED:
            top = _pool(builder, top, 3)
    return top


def _classifier(builder: Builder, layers: Numbered, top: str) -> str:
    """Inner products; the gaps in their numbers are a ReLU, or a ReLU and a Dropout."""
    numbers = list(layers)
    shape, first = builder.shapes[top][1:], layers[numbers[0]]['weight'].shape[1]
    if first != math.prod(shape):
        raise BadInput(f'its first inner product takes {first} numbers, a map of {by(shape)} has {math.prod(shape)}: '
                       'torch would resize the map, Caffe cannot; choose another --size')
    if numbers[0] == 1:
        top = builder.add('Dropout', 'drop', [top], dropout_ratio=0.5)
    for i, following in zip(numbers, [*numbers[1:], None], strict=True):
        weights = layers[i]['weight']
        blobs = [weights] + ([layers[i]['bias']] if 'bias' in layers[i] else [])
        top = builder.add('InnerProduct', 'fc', [top], blobs, num_output=weights.shape[0],
                          bias_term=None if len(blobs) > 1 else False)
        if following is not None:
            if following - i not in (2, 3):
                raise BadInput(f'classifier.{i} and classifier.{following}: cannot tell what is between them')
            top = builder.add('ReLU', 'relu', [top])
            if following - i == 3:
                top = builder.add('Dropout', 'drop', [top], dropout_ratio=0.5)
    return top


# ------------------------------------------------------------------------------------------------------ layers

def _convolve(builder: Builder, blobs: dict[str, np.ndarray], bottom: str, stride: int, pad: int) -> str:
    weights = blobs['weight']
    if weights.shape[1] != builder.shapes[bottom][1]:
        raise BadInput(f'a convolution of {weights.shape[1]} channels over {builder.shapes[bottom][1]}: not '
                       "torchvision's VGG or AlexNet; export it as ONNX")
    given = [weights] + ([blobs['bias']] if 'bias' in blobs else [])
    return builder.add('Convolution', 'conv', [bottom], given, num_output=weights.shape[0],
                       kernel_size=[weights.shape[2]], pad=[pad], stride=[stride] if stride > 1 else [],
                       bias_term=None if 'bias' in blobs else False)


def _normalise(builder: Builder, norm: dict[str, np.ndarray], bottom: str) -> str:
    statistics = [norm['running_mean'], norm['running_var'], np.ones(1)]
    top = builder.add('BatchNorm', 'bn', [bottom], statistics, eps=1e-5)
    return builder.add('Scale', 'scale', [top], [norm['weight'], norm['bias']], bias_term=True)


def _pool(builder: Builder, bottom: str, kernel: int) -> str:
    """Maxima at stride 2; torch rounds the size down, which Caffe does when told to."""
    floor = any((n - kernel) % 2 for n in builder.shapes[bottom][2:])
    return builder.add('Pooling', 'pool', [bottom], pool=0, kernel_size=kernel, stride=2,
                       round_mode=1 if floor else None)
