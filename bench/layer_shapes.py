"""The layers that `bench.layers` times: a table for each of the classifiers that nets are made of, and random ones."""
import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

SIZES = ((500, 500), (224, 224), (97, 130))     # pixels of an image, height and width


class Case(NamedTuple):
    """A layer over bottoms of given sizes."""

    name: str
    layer: str                              # of a prototxt, all but name, bottoms and tops
    shapes: tuple[tuple[int, ...], ...]     # of the bottoms
    tops: int = 1
    in_place: bool = False
    phase: str = 'TRAIN'                    # in TEST only forward is timed


class Row(NamedTuple):
    """A row of a table: a layer over `channels` maps that are `reduction` times smaller than the image."""

    layer: str
    channels: int | Sequence[int]           # of the bottom, or of each
    reduction: int
    tops: int = 1
    in_place: bool = False
    phase: str = 'TRAIN'


def conv(outputs: int, kernel: int, stride: int = 1, pad: int = 0, group: int = 1, dilation: int = 1,
         kind: str = 'Convolution', bias: bool = True) -> str:
    """A convolution as text."""
    return (f'type: "{kind}" convolution_param {{ num_output: {outputs} kernel_size: {kernel} stride: {stride} '
            f'pad: {pad} group: {group} dilation: {dilation} bias_term: {str(bias).lower()} '
            'weight_filler { type: "constant" value: 0.01 } }')


def pool(method: str, kernel: int, stride: int = 1, pad: int = 0) -> str:
    """A pooling as text; a kernel of 0 is the whole plane."""
    window = f'kernel_size: {kernel} stride: {stride} pad: {pad}' if kernel else 'global_pooling: true'
    return f'type: "Pooling" pooling_param {{ pool: {method} {window} }}'


def pools(method: str, kernel: int, stride: int, pad: int, channels: int, reduction: int) -> tuple[Row, ...]:
    """A pooling in training and in inference, which need not keep the same."""
    layer = pool(method, kernel, stride, pad)
    return Row(layer, channels, reduction), Row(layer, channels, reduction, phase='TEST')


def normalised(channels: int, reduction: int, activation: str = '') -> tuple[Row, ...]:
    """BatchNorm in training and in inference, Scale and an activation, in place."""
    rows = (Row(BATCH_NORM, channels, reduction, in_place=True),
            Row(BATCH_NORM, channels, reduction, in_place=True, phase='TEST'),
            Row(SCALE, channels, reduction, in_place=True))
    return (*rows, Row(activation, channels, reduction, in_place=True)) if activation else rows


def depthwise(channels: int, kernel: int, stride: int, reduction: int) -> Row:
    """One filter for each map."""
    return Row(conv(channels, kernel, stride, kernel // 2, channels, bias=False), channels, reduction)


def pointwise(channels: int, outputs: int, reduction: int) -> Row:
    """A 1x1 convolution."""
    return Row(conv(outputs, 1), channels, reduction)


BATCH_NORM, RELU = 'type: "BatchNorm"', 'type: "ReLU"'
SCALE = 'type: "Scale" scale_param { bias_term: true }'
RELU6 = 'type: "Clip" clip_param { min: 0 max: 6 }'
LRN = 'type: "LRN" lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }'
DROPOUT = 'type: "Dropout"'
SUM, CONCAT = 'type: "Eltwise"', 'type: "Concat"'
INNER = 'type: "InnerProduct" inner_product_param {{ num_output: {} weight_filler {{ type: "constant" value: 0.01 }} }}'

NETS: dict[str, tuple[Row, ...]] = {
    'VGG-16': (
        Row(conv(64, 3, pad=1), 3, 1), Row(conv(64, 3, pad=100), 3, 1), Row(conv(64, 3, pad=1), 64, 1),
        Row(RELU, 64, 1, in_place=True), *pools('MAX', 2, 2, 0, 64, 1), Row(conv(128, 3, pad=1), 64, 2),
        Row(conv(128, 3, pad=1), 128, 2), *pools('MAX', 2, 2, 0, 128, 2), Row(conv(256, 3, pad=1), 128, 4),
        Row(conv(256, 3, pad=1), 256, 4), Row(RELU, 256, 4, in_place=True), *pools('MAX', 2, 2, 0, 256, 4),
        Row(conv(512, 3, pad=1), 256, 8), Row(conv(512, 3, pad=1), 512, 8), Row(conv(512, 3, pad=1), 512, 16),
        *pools('MAX', 2, 2, 0, 512, 16), Row(conv(1024, 7), 512, 32), Row(conv(1024, 1), 1024, 32),
        Row(DROPOUT, 1024, 32, in_place=True), Row(conv(21, 1), 1024, 32), Row(conv(21, 1), 512, 16),
        Row(conv(21, 4, 2, kind='Deconvolution', bias=False), 21, 32),
        Row(conv(21, 16, 8, group=21, kind='Deconvolution', bias=False), 21, 8), Row(SUM, (21, 21), 16),
        Row(SUM, (21, 21), 8), Row('type: "Softmax"', 21, 1)),
    'CaffeNet': (
        Row(conv(96, 11, 4), 3, 1), Row(RELU, 96, 4, in_place=True), *pools('MAX', 3, 2, 0, 96, 4), Row(LRN, 96, 8),
        Row(conv(256, 5, pad=2, group=2), 96, 8), *pools('MAX', 3, 2, 0, 256, 8), Row(LRN, 256, 16),
        Row(conv(384, 3, pad=1), 256, 16), Row(conv(384, 3, pad=1, group=2), 384, 16),
        Row(conv(256, 3, pad=1, group=2), 384, 16), *pools('MAX', 3, 2, 0, 256, 16), Row(conv(1024, 6), 256, 32),
        Row(INNER.format(1000), 256, 64)),
    'GoogLeNet': (
        Row(conv(64, 7, 2, 3), 3, 1), *pools('MAX', 3, 2, 0, 64, 2), Row(LRN, 64, 4), pointwise(64, 64, 4),
        Row(conv(192, 3, pad=1), 64, 4), Row(LRN, 192, 4), *pools('MAX', 3, 2, 0, 192, 4), pointwise(192, 64, 8),
        pointwise(192, 16, 8), Row(conv(128, 3, pad=1), 96, 8), Row(conv(32, 5, pad=2), 16, 8),
        *pools('MAX', 3, 1, 1, 192, 8), Row(CONCAT, (64, 128, 32, 32), 8), Row('type: "Split"', 192, 8, tops=4),
        pointwise(480, 192, 16), Row(conv(208, 3, pad=1), 96, 16), Row(conv(48, 5, pad=2), 16, 16),
        *pools('MAX', 3, 1, 1, 480, 16), Row(CONCAT, (192, 208, 48, 64), 16), *pools('MAX', 3, 2, 0, 480, 8),
        pointwise(832, 384, 32), Row(conv(384, 3, pad=1), 192, 32), Row(conv(128, 5, pad=2), 48, 32),
        *pools('MAX', 3, 1, 1, 832, 32), Row(CONCAT, (384, 384, 128, 128), 32), Row(pool('AVE', 7), 1024, 32),
        Row(pool('AVE', 5, 3), 512, 16)),
    'SqueezeNet': (
        Row(conv(64, 3, 2), 3, 1), *pools('MAX', 3, 2, 0, 64, 2), pointwise(64, 16, 4), pointwise(16, 64, 4),
        Row(conv(64, 3, pad=1), 16, 4), Row(CONCAT, (64, 64), 4), *pools('MAX', 3, 2, 0, 128, 4), pointwise(128, 32, 8),
        pointwise(32, 128, 8), Row(conv(128, 3, pad=1), 32, 8), pointwise(256, 48, 16),
        Row(conv(192, 3, pad=1), 48, 16), pointwise(384, 64, 16), Row(conv(256, 3, pad=1), 64, 16),
        Row(CONCAT, (256, 256), 16), pointwise(512, 1000, 16), Row(pool('AVE', 0), 1000, 16),
        Row('type: "Softmax"', 1000, 1000)),
    'ResNet-50': (
        Row(conv(64, 7, 2, 3, bias=False), 3, 1), *normalised(64, 2, RELU), *pools('MAX', 3, 2, 1, 64, 2),
        pointwise(64, 64, 4), Row(conv(64, 3, pad=1, bias=False), 64, 4), pointwise(64, 256, 4), *normalised(256, 4),
        Row(SUM, (256, 256), 4), Row('type: "Split"', 256, 4, tops=2), pointwise(256, 128, 4),
        Row(conv(128, 3, 2, 1), 128, 4), Row(conv(512, 1, 2), 256, 4), pointwise(128, 512, 8),
        *normalised(512, 8, RELU), Row(SUM, (512, 512), 8), Row(conv(256, 3, pad=1), 256, 16),
        Row(conv(256, 3, pad=2, dilation=2), 256, 16), pointwise(256, 1024, 16), pointwise(1024, 256, 16),
        *normalised(1024, 16, RELU), Row(SUM, (1024, 1024), 16), Row(conv(512, 3, pad=1), 512, 32),
        pointwise(512, 2048, 32), pointwise(2048, 512, 32), *normalised(2048, 32, RELU), Row(SUM, (2048, 2048), 32),
        Row(pool('AVE', 0), 2048, 32), Row(INNER.format(1000), 2048, 1000)),
    'MobileNetV2': (
        Row(conv(32, 3, 2, 1, bias=False), 3, 1), *normalised(32, 2, RELU6), depthwise(32, 3, 1, 2),
        pointwise(32, 16, 2), pointwise(16, 96, 2), *normalised(96, 2, RELU6), depthwise(96, 3, 2, 2),
        pointwise(96, 24, 4), depthwise(144, 3, 1, 4), *normalised(144, 4, RELU6), Row(SUM, (24, 24), 4),
        depthwise(144, 3, 2, 4), depthwise(192, 3, 1, 8), pointwise(192, 32, 8), depthwise(384, 3, 1, 16),
        pointwise(384, 64, 16), pointwise(64, 384, 16), *normalised(384, 16, RELU6), Row(SUM, (64, 64), 16),
        depthwise(576, 3, 2, 16), depthwise(960, 3, 1, 32), pointwise(160, 960, 32), pointwise(960, 320, 32),
        *normalised(960, 32, RELU6), Row(conv(64, 4, 2, 1, group=64, kind='Deconvolution'), 64, 16)),
    'EfficientNet-lite0': (
        Row(conv(32, 4, 2, 1, bias=False), 3, 1), depthwise(144, 5, 2, 4), depthwise(240, 5, 1, 8),
        depthwise(240, 3, 2, 8), depthwise(480, 3, 1, 16), depthwise(480, 5, 1, 16), depthwise(672, 5, 1, 16),
        depthwise(672, 5, 2, 16), depthwise(1152, 5, 1, 32), pointwise(144, 40, 8), pointwise(40, 240, 8),
        pointwise(672, 112, 16), pointwise(1152, 192, 32), Row(SUM, (40, 40), 8), Row(SUM, (112, 112), 16),
        *normalised(672, 16, RELU6), *normalised(1152, 32, RELU6), *normalised(240, 8, RELU6)),
    'excitation': (     # of other nets: what opens and closes channels, and other activations
        Row(pool('AVE', 0), 96, 4), Row('type: "Sigmoid"', 96, 1000), Row('type: "Sigmoid"', 96, 8),
        Row('type: "Swish"', 96, 4), Row('type: "Power" power_param { shift: 3 }', 96, 8),
        Row('type: "Power" power_param { power: 0.5 shift: 1 }', 96, 16),
        Row('type: "Scale" scale_param { axis: 0 }', (96, -96), 4), Row('type: "PReLU"', 96, 4, in_place=True),
        Row('type: "PReLU" prelu_param { channel_shared: true }', 96, 16),
        Row('type: "Eltwise" eltwise_param { operation: MAX }', (96, 96), 8),
        Row('type: "Eltwise" eltwise_param { operation: PROD }', (96, 96), 8), Row('type: "Slice"', 96, 8, tops=3),
        Row('type: "ReLU" relu_param { negative_slope: 0.1 }', 96, 8), Row('type: "Bias"', 96, 8), Row(DROPOUT, 96, 8),
        Row(DROPOUT, 96, 8, phase='TEST'), Row(INNER.format(24), 96, 1000)),
}


def basket() -> Iterator[Case]:
    """Every row of `NETS` at every size that its window fits in."""
    for net, rows in NETS.items():
        for size in SIZES:
            for row in rows:
                channels = [row.channels] if isinstance(row.channels, int) else row.channels
                pixels = tuple(math.ceil(side / row.reduction) for side in size)
                # A negative number stands for a bottom of one number for each map.
                shapes = tuple((1, maps, *pixels) if maps > 0 else (1, -maps) for maps in channels)
                if fits(row.layer, shapes[0]):
                    yield Case(f'{net} at {size[0]}x{size[1]}', row.layer, shapes, row.tops, row.in_place, row.phase)


def fits(layer: str, shape: Sequence[int]) -> bool:
    """Whether a plane with its padding has room for the window of a layer."""
    words = layer.split()

    def number(name: str) -> int:
        return int(words[words.index(f'{name}:') + 1]) if f'{name}:' in words else 0

    reach = (number('kernel_size') - 1) * max(number('dilation'), 1) + 1
    return 'Deconvolution' in layer or min(shape[2:], default=reach) + 2 * number('pad') >= reach


def random_cases(count: int, seed: int = 0) -> Iterator[Case]:
    """Layers of random kinds and sizes, of at most a million numbers and some hundred million multiplications.

    Parameters
    ----------
    count : int
    seed : int
        Of what is drawn.
    """
    rng = random.Random(seed)
    makers = list(MAKERS)
    for i in range(count):
        made = None
        while made is None or not fits(made.layer, made.shapes[0]) or math.prod(made.shapes[0]) > 1 << 20:
            made = makers[i % len(makers)](rng)
        yield made._replace(name='random')


def _shape(rng: random.Random, most: int = 300) -> tuple[int, ...]:
    return rng.choice((1, 1, 2, 4)), rng.randint(1, most), rng.randint(1, 90), rng.randint(1, 90)


def _convolution(rng: random.Random) -> Case:
    images, channels, height, width = _shape(rng, 128)
    kernel, dilation = rng.choice((1, 1, 3, 3, 5, 7)), rng.choice((1, 1, 1, 2))
    layer = conv(rng.randint(1, 128), kernel, rng.choice((1, 1, 2, 3)), rng.randint(0, kernel // 2), dilation=dilation)
    return Case('', layer, ((images, channels, min(height, 40), min(width, 40)),))


def _grouped(rng: random.Random) -> Case:
    images, channels, height, width = _shape(rng, 64)
    groups = rng.choice((channels, channels, math.gcd(channels, 12)))
    kernel = rng.choice((1, 3, 3, 4, 5, 7))
    layer = conv(groups * rng.choice((1, 1, 2)), kernel, rng.choice((1, 1, 2, 3)), rng.randint(0, kernel // 2), groups)
    return Case('', layer, ((images, channels, min(height, 60), min(width, 60)),))


def _deconvolution(rng: random.Random) -> Case:
    channels, stride = rng.randint(1, 40), rng.choice((1, 2, 4, 8))
    groups = rng.choice((1, channels))
    layer = conv(channels if groups > 1 else rng.randint(1, 40), rng.randint(stride, 2 * stride), stride,
                 rng.randint(0, stride // 2), groups, kind='Deconvolution')
    return Case('', layer, ((rng.choice((1, 2)), channels, rng.randint(2, 20), rng.randint(2, 20)),))


def _pooling(rng: random.Random) -> Case:
    kernel = rng.choice((2, 2, 3, 3, 4, 5, 7))
    layer = pool(rng.choice(('MAX', 'AVE')), kernel, rng.choice((1, 2, 2, 3)), rng.randint(0, kernel // 2))
    return Case('', layer, (_shape(rng),), phase=rng.choice(('TRAIN', 'TEST')))


def _plain(*layers: str) -> Callable[[random.Random], Case]:
    return lambda rng: Case('', rng.choice(layers), (_shape(rng),), in_place='ReLU' in layers[0] and rng.random() < 0.5,
                            phase=rng.choice(('TRAIN', 'TRAIN', 'TEST')))


def _several(*layers: str) -> Callable[[random.Random], Case]:
    return lambda rng: Case('', rng.choice(layers), (_shape(rng),) * rng.randint(2, 4))


def _inner_product(rng: random.Random) -> Case:
    return Case('', INNER.format(rng.randint(1, 1000)), ((rng.choice((1, 1, 2, 4, 16, 32)), rng.randint(1, 3000)),))


MAKERS = (
    _convolution, _grouped, _pooling, _plain(BATCH_NORM, SCALE, LRN), _several(SUM, CONCAT), _convolution, _grouped,
    _plain(RELU, RELU6, 'type: "PReLU"', 'type: "ReLU" relu_param { negative_slope: 0.1 }'), _deconvolution, _pooling,
    _plain('type: "Sigmoid"', DROPOUT, 'type: "Softmax"', 'type: "Bias"', 'type: "Power" power_param { scale: 2 }',
           'type: "Swish"'), _inner_product,
    _several(*(f'type: "Eltwise" eltwise_param {{ operation: {name} }}' for name in ('MAX', 'PROD', 'SUM'))),
)
