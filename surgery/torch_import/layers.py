"""Modules of torch as Caffe layers: what the state dicts of several architectures are laid out with."""
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cli import BadInput

from ..builder import Builder
from ..caffemodel import by
from ..padding import pad_alike, same
from .reading import State

SIZE = (224, 224)           # of images, for most of torchvision's nets
FACTOR = 2                  # numbers that the net may take for each of the file's
STATISTICS = ('running_mean', 'running_var')
PROD = 0                    # EltwiseParameter.EltwiseOp


class Imported(NamedTuple):
    """A state dict as a Caffe net.

    Attributes
    ----------
    builder : Builder
        The net.
    top : str
        Its output blob.
    input_range : str
        What its author's net takes, one of `net_input.RANGES`.
    notes : tuple of str
        What a reader of the report should know.
    """

    builder: Builder
    top: str
    input_range: str = 'imagenet'
    notes: tuple[str, ...] = ()


class Layers:
    """A net that grows from a state dict, module by module; every parameter must be taken in the end.

    Parameters
    ----------
    kind : str
        The architecture, for messages and the net's name.
    state : dict of str to ndarray
        Parameters by their names.
    size : (int, int)
        Height and width of the images, in pixels.
    stem : str
        The convolution that reads the image.

    Attributes
    ----------
    builder : Builder
        The net so far.
    """

    def __init__(self, kind: str, state: State, size: tuple[int, int], stem: str) -> None:
        self.kind, self.state = kind, state
        self.left = {name for name in state if not name.endswith('.num_batches_tracked')}
        self.builder = Builder(kind, (1, self._kernel(stem).shape[1], *size))
        self.builder.spare += FACTOR * sum(array.size for array in state.values())

    def has(self, name: str) -> bool:
        """Whether the state dict has a parameter."""
        return name in self.state

    def numbers(self, part: str, first: int = 0) -> list[int]:
        """The numbers of `part`'s modules, which must count from `first` without a gap."""
        found = sorted({int(match[1]) for name in self.state
                        if (match := re.match(rf'{re.escape(part)}\.(\d{{1,4}})\.', name))})
        if not found or found != list(range(first, first + len(found))):
            raise self.wrong(f'its {part} are numbered {", ".join(map(str, found[:9])) or "not at all"}')
        return found

    def wrong(self, why: str) -> BadInput:
        """What to raise where the state dict is not of the architecture."""
        return BadInput(f'not a state dict of {self.kind} as it is known here: {why}; export the net as ONNX')

    def channels(self, blob: str) -> int:
        """How many channels a blob has."""
        return self.builder.shapes[blob][1]

    def take(self, name: str) -> np.ndarray:
        """A parameter; refuses where it is missing."""
        if name not in self.state:
            raise self.wrong(f'it has no {name}')
        self.left.discard(name)
        return self.state[name]

    def _kernel(self, name: str) -> np.ndarray:
        weights = self.take(f'{name}.weight')
        if weights.ndim != 4:
            raise self.wrong(f'{name}.weight is {by(weights.shape)}, not that of a convolution')
        return weights

    def convolve(self, name: str, bottom: str, kernel: int | Sequence[int] = 1, stride: int = 1,
                 pad: int | None = None, grouped: bool = False, same_padding: bool = False) -> str:
        """A Conv2d.

        Parameters
        ----------
        name : str
            Of the module.
        bottom : str
            The blob that it reads.
        kernel : int or sequence of int
            The size that its square kernel must have, or some sizes.
        stride : int
        pad : int, optional
            By default half the kernel.
        grouped : bool
            Whether its inputs may be in groups, as many as its weights say.
        same_padding : bool
            Whether it pads as TensorFlow does, at this image size.

        Returns
        -------
        str
            Its top.
        """
        weights, channels = self._kernel(name), self.channels(bottom)
        sizes = [kernel] if isinstance(kernel, int) else kernel
        if weights.shape[2] not in sizes or weights.shape[2] != weights.shape[3]:
            raise self.wrong(f'{name} has a {by(weights.shape[2:])} kernel')
        if weights.shape[1] == 0 or channels % weights.shape[1] or weights.shape[1] != channels and not grouped:
            raise self.wrong(f'{name} takes {weights.shape[1]} channels where there are {channels}')
        group, size = channels // weights.shape[1], weights.shape[2]
        pads = [size // 2 if pad is None else pad] * 2
        if same_padding:
            before, after = zip(*(same(n, size, stride) for n in self.builder.shapes[bottom][2:]), strict=True)
            weights, pads = pad_alike(self.builder, weights, before, after)
        blobs = [weights] + ([self.take(f'{name}.bias')] if self.has(f'{name}.bias') else [])
        uneven = pads[0] != pads[1] or weights.shape[2] != weights.shape[3]
        window = {'kernel_h': weights.shape[2], 'kernel_w': weights.shape[3], 'pad_h': pads[0], 'pad_w': pads[1]} \
            if uneven else {'kernel_size': [weights.shape[2]], 'pad': pads[:1] if pads[0] else []}
        return self.builder.add('Convolution', _called(name), [bottom], blobs, num_output=weights.shape[0], **window,
                                stride=[stride] if stride > 1 else [], group=group if group > 1 else None,
                                bias_term=None if len(blobs) > 1 else False)

    def normalise(self, name: str, bottom: str, epsilon: float = 1e-5) -> str:
        """A BatchNorm2d."""
        statistics = [self.take(f'{name}.{field}') for field in STATISTICS]
        top = self.builder.add('BatchNorm', _called(name), [bottom], [*statistics, np.ones(1)], eps=epsilon)
        layer = self.builder.layer(top)
        for _ in range(3):
            layer.param.add(lr_mult=0, decay_mult=0)
        return self.builder.add('Scale', f'{_called(name)}_scale', [top],
                                [self.take(f'{name}.weight'), self.take(f'{name}.bias')], bias_term=True)

    def relu(self, name: str, bottom: str) -> str:
        """A ReLU."""
        return self.builder.add('ReLU', _called(name), [bottom])

    def relu6(self, name: str, bottom: str) -> str:
        """A ReLU6."""
        return self.builder.add('Clip', _called(name), [bottom], min=0.0, max=6.0)

    def sigmoid(self, name: str, bottom: str) -> str:
        """A Sigmoid."""
        return self.builder.add('Sigmoid', _called(name), [bottom])

    def swish(self, name: str, bottom: str) -> str:
        """A SiLU: a number times its sigmoid."""
        gate = self.sigmoid(f'{name}_gate', bottom)
        return self.builder.add('Eltwise', _called(name), [bottom, gate], operation=PROD)

    def max_pool(self, name: str, bottom: str, kernel: int, stride: int, pad: int = 0, ceil: bool = False) -> str:
        """A MaxPool2d; torch rounds sizes down, unless it is told `ceil` as Caffe does."""
        return self.builder.add('Pooling', _called(name), [bottom], pool=0, kernel_size=kernel, stride=stride,
                                pad=pad or None, round_mode=None if ceil else 1)

    def average(self, name: str, bottom: str) -> str:
        """An AdaptiveAvgPool2d(1)."""
        return self.builder.add('Pooling', _called(name), [bottom], pool=1, global_pooling=True)

    def add(self, name: str, bottoms: Sequence[str]) -> str:
        """A sum of maps."""
        return self.builder.add('Eltwise', _called(name), bottoms)

    def join(self, name: str, bottoms: Sequence[str]) -> str:
        """Maps one after the other along channels."""
        return self.builder.add('Concat', _called(name), bottoms)

    def gate(self, name: str, bottom: str, gates: str) -> str:
        """A map times one number for each channel, each computed from the image, N x C x 1 x 1."""
        flat = self.builder.add('Flatten', f'{_called(name)}_gate', [gates])
        return self.builder.add('Scale', _called(name), [bottom, flat], axis=0)

    def drop(self, name: str, bottom: str, ratio: float) -> str:
        """A Dropout."""
        return self.builder.add('Dropout', _called(name), [bottom], dropout_ratio=ratio)

    def connect(self, name: str, bottom: str) -> str:
        """A Linear, on a map of one position."""
        weights = self.take(f'{name}.weight')
        blobs = [weights] + ([self.take(f'{name}.bias')] if self.has(f'{name}.bias') else [])
        return self.builder.add('InnerProduct', _called(name), [bottom], blobs,
                                num_output=weights.shape[0] if weights.ndim else 0,
                                bias_term=None if len(blobs) > 1 else False)

    def finish(self, top: str, input_range: str = 'imagenet', notes: Sequence[str] = ()) -> Imported:
        """The net, once all its parameters are taken."""
        if self.left:
            raise self.wrong(f'it also has {", ".join(sorted(self.left)[:3])}')
        return Imported(self.builder, top, input_range, tuple(notes))


def _called(name: str) -> str:
    """A module's name without the underscores that say it is its class's own."""
    return re.sub(r'(^|\.)_', r'\1', name)
