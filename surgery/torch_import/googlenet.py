"""GoogLeNet of torchvision: with batch normalisation, and heads for training that are left out."""
from .layers import SIZE, Imported, Layers
from .reading import State

EPSILON = 1e-3
HEADS = ('aux1.', 'aux2.')
MODULES = {'3': 'ab', '4': 'abcde', '5': 'ab'}
POOLED = {'3': 3, '4': 2}       # kernels of the poolings after a stage
NOTES = ('it takes what torchvision\'s trained weights do (transform_input: pixels from -1 to 1); '
         '--input imagenet is for one trained without',)


def recognised(state: State) -> bool:
    """Whether it is a state dict of this module's nets."""
    return 'inception3a.branch1.conv.weight' in state


def build(state: State, size: tuple[int, int] | None) -> Imported:
    """A GoogLeNet of any width."""
    heads = {name for name in state if name.startswith(HEADS)}
    net = Layers('GoogLeNet', {name: array for name, array in state.items() if name not in heads}, size or SIZE,
                 'conv1.conv')
    top = net.max_pool('maxpool1', _unit(net, 'conv1', 'data', 7, 2), 3, 2, ceil=True)
    top = net.max_pool('maxpool2', _unit(net, 'conv3', _unit(net, 'conv2', top, 1), 3), 3, 2, ceil=True)
    for stage, letters in MODULES.items():
        for letter in letters:
            top = _inception(net, f'inception{stage}{letter}', top)
        if stage in POOLED:
            top = net.max_pool(f'maxpool{stage}', top, POOLED[stage], 2, ceil=True)
    top = net.drop('dropout', net.average('avgpool', top), 0.2)
    left_out = ('its auxiliary heads, for training, are left out',) if heads else ()
    return net.finish(net.connect('fc', top), 'symmetric', (*NOTES, *left_out))


def _unit(net: Layers, name: str, bottom: str, kernel: int, stride: int = 1) -> str:
    """Convolution, normalisation and ReLU."""
    top = net.convolve(f'{name}.conv', bottom, (3, 5) if kernel == 5 else kernel, stride)
    return net.relu(f'{name}.relu', net.normalise(f'{name}.bn', top, EPSILON))


def _inception(net: Layers, name: str, bottom: str) -> str:
    """Four branches; the third, of 5x5 in the paper, is of 3x3 in torchvision."""
    return net.join(name, [
        _unit(net, f'{name}.branch1', bottom, 1),
        _unit(net, f'{name}.branch2.1', _unit(net, f'{name}.branch2.0', bottom, 1), 3),
        _unit(net, f'{name}.branch3.1', _unit(net, f'{name}.branch3.0', bottom, 1), 5),
        _unit(net, f'{name}.branch4.1', net.max_pool(f'{name}.branch4.0', bottom, 3, 1, pad=1, ceil=True), 1)])
