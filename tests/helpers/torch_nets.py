"""Torch's classifiers written down twice: a state dict under torch's names, and the ONNX graph that torch would export.

The graphs are what the architectures' papers and libraries say, layer by layer, and know nothing of the importer.
"""
import numpy as np
from onnx import TensorProto, helper, numpy_helper


class Twin:
    """A net being written down; a call names torch's module, adds its parameters and nodes, and gives a value."""

    def __init__(self, size, seed=0):
        self.rng, self.state, self.nodes, self.constants, self.size = np.random.default_rng(seed), {}, [], [], size
        self.channels = {'x': 3}

    def node(self, op, *inputs, channels=None, **attributes):
        top = f'v{len(self.nodes)}'
        self.nodes.append(helper.make_node(op, list(inputs), [top], **attributes))
        self.channels[top] = channels or self.channels[inputs[0]]
        return top

    def constant(self, array):
        self.constants.append(numpy_helper.from_array(np.asarray(array), f'c{len(self.constants)}'))
        return self.constants[-1].name

    def parameter(self, name, array):
        self.state[name] = np.asarray(array, 'f')
        return self.constant(self.state[name])

    def conv(self, name, x, out, k, stride=1, pad=None, group=1, bias=False, same=False):
        inputs = self.channels[x] // group
        weights = self.rng.normal(size=(out, inputs, k, k)) * np.sqrt(2 / (inputs * k * k))
        blobs = [self.parameter(f'{name}.weight', weights)]
        if bias:
            blobs.append(self.parameter(f'{name}.bias', self.rng.normal(size=out) * 0.1))
        pad = {'auto_pad': 'SAME_UPPER'} if same else {'pads': [k // 2 if pad is None else pad] * 4}
        return self.node('Conv', x, *blobs, channels=out, strides=[stride] * 2, group=group, **pad)

    def norm(self, name, x, epsilon=1e-5):
        n = self.channels[x]
        blobs = [self.parameter(f'{name}.{field}', self.rng.uniform(low, high, n)) for field, low, high in (
            ('weight', .7, 1.3), ('bias', -.2, .2), ('running_mean', -.2, .2), ('running_var', .5, 1.5))]
        self.state[f'{name}.num_batches_tracked'] = np.float32(7)
        return self.node('BatchNormalization', x, *blobs, epsilon=epsilon)

    def relu6(self, x):
        return self.node('Clip', x, self.constant(np.float32(0)), self.constant(np.float32(6)))

    def silu(self, x):
        return self.node('Mul', x, self.node('Sigmoid', x))

    def pool(self, x, k, stride, pad=0, ceil=0):
        return self.node('MaxPool', x, kernel_shape=[k, k], strides=[stride] * 2, pads=[pad] * 4, ceil_mode=ceil)

    def linear(self, name, x, out):
        n = self.channels[x]
        weights = self.rng.normal(size=(out, n)) / np.sqrt(n)
        return self.node('Gemm', self.node('Flatten', x), self.parameter(f'{name}.weight', weights),
                         self.parameter(f'{name}.bias', self.rng.normal(size=out)), transB=1, channels=out)

    def model(self, output):
        graph = helper.make_graph(self.nodes, 'g', [helper.make_tensor_value_info(
            'x', TensorProto.FLOAT, [1, 3, *self.size])], [helper.make_empty_tensor_value_info(output)], self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)


def resnet(size=(65, 97), depths=(2, 1, 2, 1), bottleneck=False, group=1, width=4):
    t = Twin(size)
    x = t.node('Relu', t.norm('bn1', t.conv('conv1', 'x', width, 7, 2)))
    x = t.pool(x, 3, 2, 1)
    for stage, depth in enumerate(depths, 1):
        for i in range(depth):
            name, n, s = f'layer{stage}.{i}', width * 2 ** (stage - 1), 2 if stage > 1 and not i else 1
            y, out = x, n * (4 if bottleneck else 1)
            plan = [(n, 1, 1, 1), (n, 3, s, group), (out, 1, 1, 1)] if bottleneck else [(n, 3, s, 1), (n, 3, 1, 1)]
            for at, (channels, k, stride, groups) in enumerate(plan, 1):
                y = t.norm(f'{name}.bn{at}', t.conv(f'{name}.conv{at}', y, channels, k, stride, group=groups))
                y = t.node('Relu', y) if at < len(plan) else y
            if s > 1 or t.channels[x] != out:
                x = t.norm(f'{name}.downsample.1', t.conv(f'{name}.downsample.0', x, out, 1, s))
            x = t.node('Relu', t.node('Add', y, x))
    return t, t.linear('fc', t.node('GlobalAveragePool', x), 7)


def mobilenet(size=(65, 96), width=0.1):
    t, at = Twin(size), 1

    def wide(n):
        return max(8, int(n * width + 4) // 8 * 8)

    def unit(name, x, *args, **options):
        return t.relu6(t.norm(f'{name}.1', t.conv(f'{name}.0', x, *args, **options)))

    x = unit('features.0', 'x', wide(32), 3, 2)
    for factor, n, count, first in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                                    (6, 160, 3, 2), (6, 320, 1, 1)):
        for i in range(count):
            name, s, y = f'features.{at}.conv', first if i == 0 else 1, x
            if factor > 1:
                y = unit(f'{name}.0', x, t.channels[x] * factor, 1)
            y = unit(f'{name}.{int(factor > 1)}', y, t.channels[y], 3, s, group=t.channels[y])
            y = t.conv(f'{name}.{1 + (factor > 1)}', y, wide(n), 1)
            y = t.norm(f'{name}.{2 + (factor > 1)}', y)
            x = t.node('Add', x, y) if s == 1 and t.channels[x] == wide(n) else y
            at += 1
    x = unit(f'features.{at}', x, 40, 1)
    return t, t.linear('classifier.1', t.node('GlobalAveragePool', x), 6)


def squeezenet(version, size=(68, 90)):
    t = Twin(size)
    stem = {'1.0': 7, '1.1': 3}[version]
    x = t.pool(t.node('Relu', t.conv('features.0', 'x', 8, stem, 2, pad=0, bias=True)), 3, 2, ceil=1)
    for at in {'1.0': (3, 4, 5, 'M', 7, 8, 9, 10, 'M', 12), '1.1': (3, 4, 'M', 6, 7, 'M', 9, 10, 11, 12)}[version]:
        if at == 'M':
            x = t.pool(x, 3, 2, ceil=1)
            continue
        name = f'features.{at}'
        y = t.node('Relu', t.conv(f'{name}.squeeze', x, 3, 1, bias=True))
        parts = [t.node('Relu', t.conv(f'{name}.expand{k}x{k}', y, 5, k, bias=True)) for k in (1, 3)]
        x = t.node('Concat', *parts, axis=1, channels=10)
    x = t.node('Relu', t.conv('classifier.1', x, 6, 1, bias=True))
    return t, t.node('GlobalAveragePool', x)


def googlenet(size=(67, 93)):
    t = Twin(size)

    def unit(name, x, out, k, stride=1):
        return t.node('Relu', t.norm(f'{name}.bn', t.conv(f'{name}.conv', x, out, k, stride), 1e-3))

    x = t.pool(unit('conv1', 'x', 6, 7, 2), 3, 2, ceil=1)
    x = t.pool(unit('conv3', unit('conv2', x, 6, 1), 8, 3), 3, 2, ceil=1)
    for module in ('3a', '3b', 'M3', '4a', '4b', '4c', '4d', '4e', 'M2', '5a', '5b'):
        if module[0] == 'M':
            x = t.pool(x, int(module[1]), 2, ceil=1)
            continue
        name = f'inception{module}'
        parts = [unit(f'{name}.branch1', x, 3, 1)]
        parts += [unit(f'{name}.branch{b}.1', unit(f'{name}.branch{b}.0', x, 2, 1), n, 3) for b, n in ((2, 4), (3, 5))]
        parts.append(unit(f'{name}.branch4.1', t.pool(x, 3, 1, 1, ceil=1), 2, 1))
        x = t.node('Concat', *parts, axis=1, channels=14)
    for head in ('aux1', 'aux2'):
        t.state[f'{head}.conv.conv.weight'] = np.ones((4, 14, 1, 1), 'f')
        t.state[f'{head}.fc1.bias'] = np.ones(4, 'f')
    return t, t.linear('fc', t.node('GlobalAveragePool', x), 9)


def efficientnet(size=(64, 64), lite=True):
    """Width 8 to 24 in place of 16 to 320; the depth of lite0 and B0."""
    t, at = Twin(size), 0
    act = t.relu6 if lite else t.silu

    def unit(conv, norm, x, *args, **options):
        return act(t.norm(norm, t.conv(conv, x, *args, same=True, **options), 1e-3))

    x = unit('_conv_stem', '_bn0', 'x', 8, 3, 2)
    for factor, n, count, first, k in ((1, 4, 1, 1, 3), (2, 6, 2, 2, 3), (2, 8, 2, 2, 5), (2, 10, 3, 2, 3),
                                       (2, 12, 3, 1, 5), (2, 14, 4, 2, 5), (2, 16, 1, 1, 3)):
        for i in range(count):
            name, s, y = f'_blocks.{at}', first if i == 0 else 1, x
            if factor > 1:
                y = unit(f'{name}._expand_conv', f'{name}._bn0', x, t.channels[x] * factor, 1)
            y = unit(f'{name}._depthwise_conv', f'{name}._bn1', y, t.channels[y], k, s, group=t.channels[y])
            if not lite:
                gate = t.conv(f'{name}._se_reduce', t.node('GlobalAveragePool', y), 3, 1, bias=True)
                gate = t.conv(f'{name}._se_expand', t.silu(gate), t.channels[y], 1, bias=True)
                y = t.node('Mul', t.node('Sigmoid', gate), y, channels=t.channels[y])
            y = t.norm(f'{name}._bn2', t.conv(f'{name}._project_conv', y, n, 1), 1e-3)
            x = t.node('Add', y, x) if s == 1 and t.channels[x] == n else y
            at += 1
    x = unit('_conv_head', '_bn1', x, 20, 1)
    return t, t.linear('_fc', t.node('GlobalAveragePool', x), 5)


NETS = {
    'ResNet of two convolutions a block': resnet, 'ResNet-50-like': lambda: resnet((71, 90), bottleneck=True),
    'ResNeXt-like': lambda: resnet((71, 64), bottleneck=True, group=2), 'MobileNetV2': mobilenet,
    'MobileNetV2 even': lambda: mobilenet((64, 64), 0.4), 'SqueezeNet 1.0': lambda: squeezenet('1.0'),
    'SqueezeNet 1.1': lambda: squeezenet('1.1'), 'SqueezeNet 1.1 odd': lambda: squeezenet('1.1', (75, 71)),
    'GoogLeNet': googlenet, 'GoogLeNet even': lambda: googlenet((64, 96)), 'EfficientNet-lite0': efficientnet,
    'EfficientNet-lite0 odd': lambda: efficientnet((75, 58)), 'EfficientNet-B0': lambda: efficientnet(lite=False)}
