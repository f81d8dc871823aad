"""EfficientNet and EfficientNet-lite, as efficientnet_pytorch and efficientnet_lite_pytorch name their parameters.

They pad as TensorFlow does, where a strided window at an even size has more zeros after the map than before it; Caffe
gets the same from a larger kernel with rows of zeros. How many there are depends on the size of the map, so the net is
exact at the image size that it is imported for.
"""
from .layers import Imported, Layers
from .reading import State

EPSILON = 1e-3
DEPTHWISE = (3, 5)                      # kernels
STRIDES = (1, 2, 2, 2, 1, 2, 1)         # of the stages' first blocks
# Height and width of the images, by the number of blocks and the channels of the third stage.
LITE_SIZES = {(16, 40): 224, (21, 40): 240, (21, 48): 260, (24, 48): 280, (30, 56): 300}
SIZES = {(16, 40): 224, (23, 40): 240, (23, 48): 260, (26, 48): 300, (32, 56): 380, (39, 64): 456, (45, 72): 528,
         (55, 80): 600}


def recognised(state: State) -> bool:
    """Whether it is a state dict of this module's nets."""
    return '_conv_stem.weight' in state and '_blocks.0._depthwise_conv.weight' in state


def build(state: State, size: tuple[int, int] | None) -> Imported:
    """An EfficientNet: with squeeze and excitation and SiLU, or a lite one, with neither and ReLU6."""
    lite = '_blocks.0._se_reduce.weight' not in state
    sizes = LITE_SIZES if lite else SIZES
    kind = 'EfficientNet-lite' if lite else 'EfficientNet'
    outputs = [state[name].shape[0] for i in range(len(state))
               if (name := f'_blocks.{i}._project_conv.weight') in state and state[name].ndim]
    starts = [i for i, n in enumerate(outputs) if i == 0 or n != outputs[i - 1]]
    third = outputs[starts[2]] if len(starts) > 2 else 0
    side = sizes.get((len(outputs), third), 224)
    net = Layers(kind, state, size or (side, side), '_conv_stem')
    blocks = net.numbers('_blocks')
    if len(starts) != len(STRIDES):
        raise net.wrong(f'its {len(outputs)} blocks have {len(starts)} widths in a row, not {len(STRIDES)}')
    if (len(outputs), third) in sizes:
        net.builder.net.name = f'{kind}{"" if lite else "-B"}{list(sizes).index((len(outputs), third))}'
    top = _unit(net, '_conv_stem', '_bn0', 'data', lite, 3, 2)
    for i in blocks:
        top = _block(net, f'_blocks.{i}', top, STRIDES[starts.index(i)] if i in starts else 1, lite)
    top = net.average('avg_pooling', _unit(net, '_conv_head', '_bn1', top, lite))
    top = net.connect('_fc', net.drop('dropout', top, 0.2))
    return net.finish(top, 'lite' if lite else 'imagenet')


def _block(net: Layers, name: str, bottom: str, stride: int, lite: bool) -> str:
    """Expansion (but in the first stage), depthwise convolution, projection; and the bottom where it fits, added."""
    top = bottom
    if net.has(f'{name}._expand_conv.weight'):
        top = _unit(net, f'{name}._expand_conv', f'{name}._bn0', bottom, lite)
    top = _unit(net, f'{name}._depthwise_conv', f'{name}._bn1', top, lite, DEPTHWISE, stride, grouped=True)
    if not lite:
        squeezed = net.convolve(f'{name}._se_reduce', net.average(f'{name}._se_squeeze', top))
        gates = net.convolve(f'{name}._se_expand', net.swish(f'{name}._se_act', squeezed))
        top = net.gate(f'{name}._se', top, net.sigmoid(f'{name}._se_sigmoid', gates))
    top = net.normalise(f'{name}._bn2', net.convolve(f'{name}._project_conv', top), EPSILON)
    return net.add(name, [bottom, top]) if stride == 1 and net.channels(top) == net.channels(bottom) else top


def _unit(net: Layers, convolution: str, norm: str, bottom: str, lite: bool, kernel: int | tuple[int, ...] = 1,
          stride: int = 1, grouped: bool = False) -> str:
    """Convolution, normalisation, and ReLU6 or SiLU."""
    top = net.convolve(convolution, bottom, kernel, stride, grouped=grouped, same_padding=True)
    return (net.relu6 if lite else net.swish)(f'{convolution}_act', net.normalise(norm, top, EPSILON))
