"""A net in one line a layer, from the shapes Caffe gives it."""
from typing import Any

import cli
from nets.blocks import Net
from solvers.instance import instantiate


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
                     _details(layer)))
    return f'{cli.table(rows)}\n{total:,} parameters'


def _details(layer: Any) -> str:
    """Kernel, stride, padding and groups of a layer; the offset of a crop."""
    if layer.type == 'Crop':
        return f'offset {" ".join(map(str, layer.crop_param.offset))}'
    if layer.type in ('Convolution', 'Deconvolution'):
        p = layer.convolution_param
        facts = [f'k{p.kernel_size[0]}', f's{p.stride[0] if p.stride else 1}', f'p{p.pad[0] if p.pad else 0}',
                 f'g{p.group}' if p.group > 1 else '']
    elif layer.type == 'Pooling':
        p = layer.pooling_param
        facts = [p.PoolMethod.Name(p.pool).lower(), f'k{p.kernel_size}', f's{p.stride}', f'p{p.pad}' if p.pad else '']
    elif layer.type == 'Scale':
        facts = [f'constant {layer.scale_param.filler.value:g}']
    else:
        facts = []
    return ' '.join(filter(None, facts))
