"""Names of layers, as Caffe users know them."""
from collections.abc import Iterator
from typing import Any

STEMS = {'ReLU': 'relu', 'Pooling': 'pool', 'Dropout': 'drop', 'LRN': 'norm', 'BatchNorm': 'bn', 'Scale': 'scale',
         'Softmax': 'prob'}         # of other types, the type


def is_sequence(net: Any) -> bool:
    """Whether every layer of a `caffe_pb2.NetParameter` reads the one before it and no other."""
    return all(list(layer.bottom) == [before.top[0]] for before, layer in zip(net.layer, net.layer[1:], strict=False))


def name_layers(net: Any) -> dict[str, str]:
    """Rename the layers and blobs of a net without branches: `conv1_1`, `relu1_1`, `pool1`, `fc6` and so on.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Each layer has one top, of the layer's name, and reads the layer before it. The first is `data`, which keeps its
        name, as does `input`, a convolution that only converts the image. Written in place.

    Returns
    -------
    dict of str to str
        The old names, each with the new one.
    """
    new = {'data': 'data'}
    taken: set[str] = set()
    for layer, name in zip(net.layer[1:], _names(net), strict=True):
        while name in taken:
            name += '_'
        taken.add(name)
        new[layer.name] = name
    for layer in net.layer:
        layer.name = new[layer.name]
        layer.top[0] = layer.name
        if layer.bottom:
            layer.bottom[0] = new[layer.bottom[0]]
    return new


def _names(net: Any) -> Iterator[str]:
    """A name for each layer but the first: its kind, and the number of the convolution or inner product before it."""
    stages = _has_stages(net)
    number, place, tag = 0, 0, ''
    for layer in net.layer[1:]:
        if layer.name == 'input':
            yield 'input'
        elif layer.type in ('Convolution', 'InnerProduct'):
            if layer.type == 'Convolution' and stages:
                number, place = (number, place + 1) if place else (number + 1, 1)
                tag = f'{number}_{place}'
            else:
                number, place = number + 1, 0
                tag = str(number)
            yield ('conv' if layer.type == 'Convolution' else 'fc') + tag
        else:
            if layer.type == 'Pooling':
                place, tag = 0, str(number)
            stem = STEMS.get(layer.type, layer.type.lower())
            yield stem + ('' if stem == 'prob' else tag)


def _has_stages(net: Any) -> bool:
    """Whether it is a net of 3x3 convolutions, several before a pooling, which are numbered `1_1`, `1_2` and so on."""
    convolutions = [layer for layer in net.layer if layer.type == 'Convolution' and layer.name != 'input']
    counts = [0]
    for layer in net.layer:
        if layer.type == 'Pooling':
            counts.append(0)
        elif layer.type == 'Convolution' and layer.name != 'input':
            counts[-1] += 1
    return len(convolutions) > 1 and max(counts) > 1 and all(
        list(layer.convolution_param.kernel_size) == [3] for layer in convolutions)
