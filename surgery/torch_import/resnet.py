"""ResNets of torchvision: 18, 34, 50, 101, 152, wide ones, and ResNeXt, whose groups are in the weights' shapes.

Their state dicts do not say where stages are strided; as in torchvision, it is the first 3x3 convolution of a stage.
"""
from .layers import SIZE, Imported, Layers
from .reading import State

STAGES = (1, 2, 3, 4)


def recognised(state: State) -> bool:
    """Whether it is a state dict of this module's nets."""
    return 'layer1.0.conv1.weight' in state


def build(state: State, size: tuple[int, int] | None) -> Imported:
    """A ResNet, its depth and width as in its state dict."""
    net = Layers('ResNet', state, size or SIZE, 'conv1')
    blocks = {stage: net.numbers(f'layer{stage}') for stage in STAGES}
    convolutions = 3 if net.has('layer1.0.conv3.weight') else 2
    net.builder.net.name = f'ResNet-{2 + convolutions * sum(map(len, blocks.values()))}'
    top = net.relu('relu', net.normalise('bn1', net.convolve('conv1', 'data', 7, 2)))
    top = net.max_pool('maxpool', top, 3, 2, pad=1)
    for stage in STAGES:
        for i in blocks[stage]:
            top = _block(net, f'layer{stage}.{i}', top, 2 if stage > 1 and i == 0 else 1, convolutions)
    return net.finish(net.connect('fc', net.average('avgpool', top)))


def _block(net: Layers, name: str, bottom: str, stride: int, convolutions: int) -> str:
    """Two 3x3 convolutions, or a 3x3 one between two 1x1, and the block's bottom added."""
    top = bottom
    for i in range(1, convolutions + 1):
        strided = i == convolutions - 1             # the 3x3 one of three, the first of two
        kernel = 1 if convolutions == 3 and i != 2 else 3
        top = net.normalise(f'{name}.bn{i}', net.convolve(
            f'{name}.conv{i}', top, kernel, stride if strided else 1, grouped=convolutions == 3 and i == 2))
        if i < convolutions:
            top = net.relu(f'{name}.relu', top)
    short = bottom
    if net.has(f'{name}.downsample.0.weight'):
        short = net.normalise(f'{name}.downsample.1', net.convolve(f'{name}.downsample.0', bottom, 1, stride))
    return net.relu(f'{name}.relu', net.add(name, [top, short]))
