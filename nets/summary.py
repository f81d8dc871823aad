"""A net in one line a layer, from the shapes Caffe gives it."""
from typing import Any

import cli
from nets.blocks import Net
from solvers.instance import instantiate
from surgery.layers.window import conv_window, pooling_window


def summary(net: Net) -> str:
    """The layers of a deploy net: name, type, bottoms, shape, parameters, learning rates, specials.

    Parameters
    ----------
    net : caffe_pb2.NetParameter

    Returns
    -------
    str
        A table, and the number of parameters.
    """
    shapes = instantiate(net)
    rows = [('layer', 'type', 'bottoms', 'shape', 'parameters', 'lr', '')]
    total = 0
    for layer in net.layer:
        blobs = shapes.params.get(layer.name, ())
        count = sum(blob.count for blob in blobs)
        total += count
        rates = ' '.join(f'{param.lr_mult:g}' for param in layer.param) or ('1 ' * len(blobs)).strip()
        rows.append((layer.name, layer.type, ' '.join(layer.bottom),
                     'x'.join(map(str, shapes.blobs[layer.top[0]].shape)), f'{count:,}' if count else '', rates,
                     _details(layer, [tuple(shapes.blobs[name].shape) for name in layer.bottom])))
    return f'{cli.table(rows)}\n{total:,} parameters'


def _details(layer: Any, bottoms: list[tuple[int, ...]]) -> str:
    """Kernel, stride, padding and groups of a layer, whose bottoms are so large; the offset of a crop."""
    if layer.type == 'Crop':
        return f'offset {" ".join(map(str, layer.crop_param.offset))}'
    if layer.type in ('Convolution', 'Deconvolution'):
        p, window = layer.convolution_param, conv_window(layer, bottoms[0])
        facts = [f'k{_side(window.kernel)}', f's{_side(window.stride)}', f'p{_side(window.pad)}',
                 f'd{_side(window.dilation)}' if window.dilation != (1, 1) else '',
                 f'g{p.group}' if p.group > 1 else '']
    elif layer.type == 'Pooling':
        p, window = layer.pooling_param, pooling_window(layer, bottoms[0])
        facts = [p.PoolMethod.Name(p.pool).lower(), f'k{_side(window.kernel)}', f's{_side(window.stride)}',
                 f'p{_side(window.pad)}' if any(window.pad) else '']
    elif layer.type == 'Scale':
        facts = [f'constant {layer.scale_param.filler.value:g}']
    else:
        facts = []
    return ' '.join(filter(None, facts))


def _side(pair: tuple[int, int]) -> str:
    """A number for both axes, or both."""
    return str(pair[0]) if pair[0] == pair[1] else f'{pair[0]}x{pair[1]}'
