"""MobileNetV2 of torchvision, of any width."""
from .layers import SIZE, Imported, Layers
from .reading import State

BLOCKS = 17
STRIDED = (2, 4, 7, 14)         # the blocks with stride 2, which a state dict does not say


def recognised(state: State) -> bool:
    """Whether it is a state dict of this module's nets."""
    return 'features.1.conv.0.0.weight' in state


def build(state: State, size: tuple[int, int] | None) -> Imported:
    """A MobileNetV2, its width as in its state dict."""
    net = Layers('MobileNetV2', state, size or SIZE, 'features.0.0')
    last = net.numbers('features')[-1]
    if last != BLOCKS + 1:
        raise net.wrong(f'it has {last - 1} blocks, not {BLOCKS}')
    top = _unit(net, 'features.0', 'data', 3, 2)
    for i in range(1, last):
        top = _block(net, f'features.{i}', top, 2 if i in STRIDED else 1)
    top = net.average('pool', _unit(net, f'features.{last}', top, 1))
    return net.finish(net.connect('classifier.1', net.drop('classifier.0', top, 0.2)))


def _unit(net: Layers, name: str, bottom: str, kernel: int, stride: int = 1, grouped: bool = False) -> str:
    """Convolution, normalisation and ReLU6, numbered 0 to 2."""
    top = net.convolve(f'{name}.0', bottom, kernel, stride, grouped=grouped)
    return net.relu6(f'{name}.2', net.normalise(f'{name}.1', top))


def _block(net: Layers, name: str, bottom: str, stride: int) -> str:
    """Expansion (but in the first block), depthwise convolution, projection; and the bottom where it fits, added."""
    top, last = bottom, 1
    if net.has(f'{name}.conv.3.weight'):
        top, last = _unit(net, f'{name}.conv.0', bottom, 1), 2
    top = _unit(net, f'{name}.conv.{last - 1}', top, 3, stride, grouped=True)
    top = net.normalise(f'{name}.conv.{last + 1}', net.convolve(f'{name}.conv.{last}', top))
    return net.add(name, [bottom, top]) if stride == 1 and net.channels(top) == net.channels(bottom) else top
