"""State dicts of four classifiers as their libraries name and shape them, with random weights; NumPy alone.

`surgery import` tells the architecture by names and shapes, so what it makes of these is the net at its full width and
depth. Weights keep the scale of activations (He et al., ICCV 2015); BatchNorm gets the statistics 0 and 1, in whose
place `bench.basket` puts those of a picture.
"""
import numpy as np

State = dict[str, np.ndarray]


class Parameters:
    """A state dict that grows by torch's modules.

    Parameters
    ----------
    seed : int
        Picks the weights.

    Attributes
    ----------
    state : dict of str to ndarray
        Parameter name to its numbers, float32.
    """

    def __init__(self, seed: int = 0) -> None:
        self.state: State = {}
        self._rng = np.random.default_rng(seed)

    def convolution(self, name: str, inputs: int, outputs: int, kernel: int = 1, bias: bool = False) -> None:
        """A Conv2d; `inputs` are those of one group."""
        fan_in = inputs * kernel * kernel
        weights = self._rng.standard_normal((outputs, inputs, kernel, kernel), np.float32)
        self.state[f'{name}.weight'] = weights * np.float32((2 / fan_in) ** 0.5)
        if bias:
            self.state[f'{name}.bias'] = self._rng.uniform(-0.1, 0.1, outputs).astype(np.float32)

    def norm(self, name: str, channels: int) -> None:
        """A BatchNorm2d."""
        for field, low, high in (('weight', 0.7, 1.3), ('bias', -0.2, 0.2), ('running_mean', 0, 0),
                                 ('running_var', 1, 1)):
            self.state[f'{name}.{field}'] = self._rng.uniform(low, high, channels).astype(np.float32)

    def linear(self, name: str, inputs: int, outputs: int) -> None:
        """A Linear."""
        weights = self._rng.standard_normal((outputs, inputs), np.float32)
        self.state[f'{name}.weight'] = weights * np.float32(inputs ** -0.5)
        self.state[f'{name}.bias'] = np.zeros(outputs, np.float32)


def resnet50(width: int = 64) -> State:
    """torchvision's ResNet-50 (He et al., CVPR 2016)."""
    p, channels = Parameters(), width
    p.convolution('conv1', 3, width, 7)
    p.norm('bn1', width)
    for stage, depth in enumerate((3, 4, 6, 3), 1):
        inner = width * 2 ** (stage - 1)
        for i in range(depth):
            name, outputs = f'layer{stage}.{i}', 4 * inner
            plan = ((channels, inner, 1), (inner, inner, 3), (inner, outputs, 1))
            for at, (inputs, n, kernel) in enumerate(plan, 1):
                p.convolution(f'{name}.conv{at}', inputs, n, kernel)
                p.norm(f'{name}.bn{at}', n)
            if i == 0:
                p.convolution(f'{name}.downsample.0', channels, outputs)
                p.norm(f'{name}.downsample.1', outputs)
            channels = outputs
    p.linear('fc', channels, 1000)
    return p.state


def mobilenetv2(divide: int = 1) -> State:
    """torchvision's MobileNetV2 of width 1 (Sandler et al., CVPR 2018); `divide` makes it narrower."""
    p, at, channels = Parameters(), 1, 32 // divide

    def unit(name: str, inputs: int, outputs: int, kernel: int = 1) -> None:
        p.convolution(f'{name}.0', inputs, outputs, kernel)
        p.norm(f'{name}.1', outputs)

    unit('features.0', 3, channels, 3)
    for factor, outputs, count in ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3),
                                   (6, 320, 1)):
        for _ in range(count):
            name, inner, part = f'features.{at}.conv', channels * factor, 0
            if factor > 1:
                unit(f'{name}.0', channels, inner)
                part = 1
            unit(f'{name}.{part}', 1, inner, 3)
            channels, inputs = outputs // divide, inner
            p.convolution(f'{name}.{part + 1}', inputs, channels)
            p.norm(f'{name}.{part + 2}', channels)
            at += 1
    unit(f'features.{at}', channels, 1280 // divide)
    p.linear('classifier.1', 1280 // divide, 1000)
    return p.state


def squeezenet(divide: int = 1) -> State:
    """torchvision's SqueezeNet 1.1 (Iandola et al., 2016); `divide` makes it narrower."""
    p, channels = Parameters(), 64 // divide
    p.convolution('features.0', 3, channels, 3, bias=True)
    for at, squeezed, expanded in ((3, 16, 64), (4, 16, 64), (6, 32, 128), (7, 32, 128), (9, 48, 192), (10, 48, 192),
                                   (11, 64, 256), (12, 64, 256)):
        name, inner, outputs = f'features.{at}', squeezed // divide, expanded // divide
        p.convolution(f'{name}.squeeze', channels, inner, bias=True)
        for kernel in (1, 3):
            p.convolution(f'{name}.expand{kernel}x{kernel}', inner, outputs, kernel, bias=True)
        channels = 2 * outputs
    p.convolution('classifier.1', channels, 1000, bias=True)
    return p.state


def efficientnet_lite0(divide: int = 1) -> State:
    """efficientnet_lite_pytorch's EfficientNet-lite0 (Tan and Le, ICML 2019, without squeeze and excitation)."""
    p, at, channels = Parameters(), 0, 32 // divide
    p.convolution('_conv_stem', 3, channels, 3)
    p.norm('_bn0', channels)
    for factor, outputs, count, kernel in ((1, 16, 1, 3), (6, 24, 2, 3), (6, 40, 2, 5), (6, 80, 3, 3), (6, 112, 3, 5),
                                           (6, 192, 4, 5), (6, 320, 1, 3)):
        for _ in range(count):
            name, inner = f'_blocks.{at}', channels * factor
            if factor > 1:
                p.convolution(f'{name}._expand_conv', channels, inner)
                p.norm(f'{name}._bn0', inner)
            p.convolution(f'{name}._depthwise_conv', 1, inner, kernel)
            p.norm(f'{name}._bn1', inner)
            channels = outputs // divide
            p.convolution(f'{name}._project_conv', inner, channels)
            p.norm(f'{name}._bn2', channels)
            at += 1
    p.convolution('_conv_head', channels, 1280 // divide)
    p.norm('_bn1', 1280 // divide)
    p.linear('_fc', 1280 // divide, 1000)
    return p.state
