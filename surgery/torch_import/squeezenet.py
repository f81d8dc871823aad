"""SqueezeNet 1.0 and 1.1 of torchvision."""
import re

from .layers import SIZE, Imported, Layers
from .reading import State

FIRST = 3                       # the first fire module, after convolution, ReLU and pooling


def recognised(state: State) -> bool:
    """Whether it is a state dict of this module's nets."""
    return f'features.{FIRST}.squeeze.weight' in state


def build(state: State, size: tuple[int, int] | None) -> Imported:
    """A SqueezeNet; a gap in the numbers of its fire modules is a pooling."""
    net = Layers('SqueezeNet', state, size or SIZE, 'features.0')
    fires = sorted({int(match[1]) for name in state if (match := re.match(r'features\.(\d{1,3})\.squeeze\.', name))})
    top = net.relu('features.1', net.convolve('features.0', 'data', (3, 7), 2, pad=0))
    top = net.max_pool('features.2', top, 3, 2, ceil=True)
    for i, before in zip(fires, [FIRST - 1, *fires], strict=False):
        if i - before == 2:
            top = net.max_pool(f'features.{before + 1}', top, 3, 2, ceil=True)
        elif i - before != 1:
            raise net.wrong(f'features.{before} and features.{i} have more than a pooling between them')
        top = _fire(net, f'features.{i}', top)
    top = net.relu('classifier.2', net.convolve('classifier.1', net.drop('classifier.0', top, 0.5)))
    return net.finish(net.average('classifier.3', top))


def _fire(net: Layers, name: str, bottom: str) -> str:
    def unit(part: str, bottom: str, kernel: int) -> str:
        return net.relu(f'{name}.{part}_activation', net.convolve(f'{name}.{part}', bottom, kernel))

    squeezed = unit('squeeze', bottom, 1)
    return net.join(name, [unit('expand1x1', squeezed, 1), unit('expand3x3', squeezed, 3)])
