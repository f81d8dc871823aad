"""Put a segmentation head on a fully convolutional classifier: scores, skips, upsampling (PAMI 2017, section 4).

The trunk is the dense net without its last classifying layer. A 1x1 convolution scores its last feature; scores of
finer layers are added on the way up; and a bilinear Deconvolution brings them back to the pixels, where they are
cropped to the image. Where a crop begins follows from the coordinates of the two blobs. The first convolution is padded
just so much that the upsampled scores cover an image of any size.
"""
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cli import BadInput, table

from .bilinear import bilinear_kernel
from .caffemodel import Weights, write_weights
from .convolutionalize import Dense
from .coordinates import Field, fields
from .prototxt import write_prototxt
from .shapes import ELEMENTWISE, infer, window

LEARNED = ((1, 1), (2, 0))              # lr_mult, decay_mult of weights and bias (section 4.3)
GREY = (0.114, 0.587, 0.299)            # of blue, green and red
VOID = 255
SPLITS = {'nyud': ('trainval', 'test'), 'siftflow': ('trainval', 'test')}


class Plan(NamedTuple):
    """Where a head goes.

    Attributes
    ----------
    net : caffe_pb2.NetParameter
        The trunk, from its inputs to `feature`.
    feature : str
        The blob that is scored first.
    stride : int
        Its stride.
    skips : tuple of (int, str)
        Strides and blobs of the finer layers that are scored too, the coarsest first.
    stop : int
        The stride of the finest prediction.
    source : str
        The blob of the dense net that `feature` is, before any Dropout of the head's own.
    """

    net: Any
    feature: str
    stride: int
    skips: tuple[tuple[int, str], ...]
    stop: int
    source: str

    @property
    def measured(self) -> tuple[str, ...]:
        """The dense net's blobs whose lengths decide the scales: the feature's, then those of the skips."""
        return self.source, *(blob for _, blob in self.skips)


class Joint(NamedTuple):
    """Kernel and padding of a Deconvolution."""

    kernel: int
    pad: int


class Data(NamedTuple):
    """A data set as the head's nets name it."""

    name: str
    root: str
    splits: tuple[str, str]
    tops: tuple[str, str]
    test_size: int


# -------------------------------------------------------------------------------------------------------- plan

def plan(dense: Dense, stop: int, skips: Sequence[str] = ()) -> Plan:
    """Find the trunk of a dense classifier and the layers to skip from.

    Parameters
    ----------
    dense : Dense
        From `convolutionalize`; of several outputs the last one is taken.
    stop : int
        Stride of the finest prediction: 32, 16 or 8 in the paper.
    skips : sequence of str
        Blobs to skip from. By default the deepest layer at each stride between the trunk's and `stop`, and of the
        layers at one stride those that all that follows goes through.

    Raises
    ------
    BadInput
        The trunk has no layer of that stride, or its images are not the net's only input.
    """
    if sum(layer.type == 'Input' for layer in dense.net.layer) != 1:
        raise BadInput('a head needs a net with one input')
    net = type(dense.net)()
    net.CopyFrom(dense.net)
    feature = _feature(net, dense)
    _keep(net, feature)
    shapes = infer(net)
    seen = fields(net, shapes)
    strides = {name: _stride(pair) for name, pair in seen.items()}
    top = strides[feature]
    if not top:
        raise BadInput(f'the trunk ends at {feature}, which has no whole stride, equal along both axes')
    finer = {name: strides[name] for name in skips} if _known(skips, strides) else {}
    found = {s: name for name, s in finer.items()} or _deepest(net, strides)
    wanted = sorted((s for s in found if s and stop <= s < top), reverse=True)
    if stop > top or stop != (wanted or [top])[-1]:
        there = sorted({s for s in [*found, top] if s and s <= top})
        raise BadInput(f'--head {stop}: the trunk has no layer at stride {stop} to predict from; it has '
                       f'{", ".join(map(str, there))}')
    chain = [top, *wanted]
    if any(a % b for a, b in zip(chain, chain[1:], strict=False)):
        raise BadInput(f'the strides {", ".join(map(str, chain))} are no multiples of each other')
    _any_size(net, shapes.blobs, top)
    own = [layer.bottom[0] for layer in net.layer if feature in layer.top and feature not in dense.shapes.blobs]
    return Plan(net, feature, top, tuple((s, found[s]) for s in wanted), stop, own[0] if own else feature)


def _any_size(net: Any, blobs: Any, step: int) -> None:
    """A head takes images of every size, so branches of the trunk must round alike."""
    data = next(layer.top[0] for layer in net.layer if layer.type == 'Input')
    n, channels, height, width = blobs[data]
    for more in range(1, step):
        try:
            infer(net, {data: (n, channels, height + more, width + more)})
        except BadInput as problem:
            raise BadInput(f'a head needs a trunk for images of every size, and at {height + more}x{width + more}, '
                           f'{problem}') from None


def _known(names: Sequence[str], strides: dict[str, int]) -> bool:
    for name in names:
        if name not in strides:
            raise BadInput(f'--skip {name}: the trunk has no such blob')
    return bool(names)


def _stride(pair: tuple[Field, Field]) -> int:
    y, x = pair
    return int(y.stride) if y.stride == x.stride and y.stride.denominator == 1 else 0


def _writer(net: Any, blob: str, before: int | None = None) -> int:
    """The last layer, of those before a number, that writes a blob."""
    return max(i for i, layer in enumerate(net.layer[:before]) if blob in layer.top)


def _feature(net: Any, dense: Dense) -> str:
    """Cut the classifying layer off: the blob it read. A pooling over the whole map before it goes too."""
    at = _writer(net, list(dense.outputs.values())[-1])
    passed = (*ELEMENTWISE, 'Softmax', 'Pooling', 'BatchNorm', 'Scale', 'Bias', 'PReLU', 'ArgMax')
    layer = net.layer[at]
    while layer.type in passed and len(layer.bottom) == 1:
        at = _writer(net, layer.bottom[0], at)
        layer = net.layer[at]
    if layer.type != 'Convolution':
        return _before_pooling(net, dense, list(dense.outputs.values())[-1], None)
    return _before_pooling(net, dense, layer.bottom[0], at)


def _before_pooling(net: Any, dense: Dense, blob: str, before: int | None) -> str:
    dropouts, at = [], _writer(net, blob, before)
    while net.layer[at].type in ('Dropout', 'Softmax'):
        dropouts += [net.layer[at]] if net.layer[at].type == 'Dropout' else []
        at = _writer(net, net.layer[at].bottom[0], at)
    pool = net.layer[at]
    if pool.type != 'Pooling' or window(pool, dense.shapes.bottoms[at][0]).kernel != dense.shapes.bottoms[at][0][2:]:
        return blob
    feature = pool.bottom[0]
    for old in dropouts[:1]:                            # it moves from the pooled vector to the map
        new = net.layer.add()
        new.CopyFrom(old)
        new.name = f'{old.name}_map'
        new.bottom[0], new.top[0] = feature, new.name
        feature = new.name
    return feature


def _keep(net: Any, blob: str) -> None:
    """Drop every layer that does not lead to a blob."""
    needed, kept = {blob}, []
    for layer in reversed(net.layer):
        if needed & set(layer.top):
            needed |= set(layer.bottom)
            kept.append(layer)
    kept.reverse()
    copies = [type(layer).FromString(layer.SerializeToString()) for layer in kept]
    del net.layer[:]
    net.layer.extend(copies)


def _deepest(net: Any, strides: dict[str, int]) -> dict[int, str]:
    """The last blob at each stride; before others those that nothing goes around."""
    last = {name: i for i, layer in enumerate(net.layer) for name in layer.bottom}
    found: dict[int, tuple[bool, str]] = {}
    live: set[str] = set()
    for i, layer in enumerate(net.layer):
        live = {name for name in live | set(layer.top) if last.get(name, len(net.layer)) > i}
        for name in layer.top:
            neck = live == {name}
            if layer.type != 'Input' and name in live and (neck or not found.get(strides[name], (False,))[0]):
                found[strides[name]] = neck, name
    return {stride: name for stride, (_, name) in found.items()}


# --------------------------------------------------------------------------------------------------------- net

def segmenter(trunk: Plan, classes: int, pad: int, scales: dict[str, float], joints: list[Joint]) -> Any:
    """The trunk with its head, for an image blob that is there already; ends in the blob `score`.

    Parameters
    ----------
    trunk : Plan
        From `plan`.
    classes : int
        Channels of every score.
    pad : int
        How much more the first convolution is padded.
    scales : dict of str to float
        Constants that skip blobs are multiplied by.
    joints : list of Joint
        Kernel and padding of each Deconvolution, in order. Those that are not in it yet are worked out and appended;
        they are the same for every `pad`.

    Raises
    ------
    BadInput
        `pad` is too little for the upsampled scores to cover the image.
    """
    net = type(trunk.net)()
    net.CopyFrom(trunk.net)
    data = next(layer.top[0] for layer in net.layer if layer.type == 'Input')
    for layer in _entries(net, data):
        _pad(layer, pad)
    names = {layer.name for layer in net.layer} | {top for layer in net.layer for top in layer.top}
    chosen = iter(list(joints))

    def add(name: str, kind: str, bottoms: Sequence[str]) -> Any:
        while name in names:
            name += '_fcn'
        names.add(name)
        return net.layer.add(name=name, type=kind, bottom=list(bottoms), top=[name])

    def upsample(name: str, bottom: str, factor: int, onto: str, last: bool) -> str:
        layer = add(name, 'Deconvolution', [bottom])
        layer.param.add(lr_mult=0, decay_mult=0)
        layer.convolution_param.num_output, layer.convolution_param.bias_term = classes, False
        layer.convolution_param.stride.append(factor)
        joint = next(chosen, None)
        if joint is None:
            joint = _joint(net, layer, onto, last)
            joints.append(joint)
        _set(layer, joint)
        return layer.top[0]

    coarse, stride = _score(add, trunk.feature, 'fr', classes, scales), trunk.stride
    label = ''
    for finer, blob in trunk.skips:
        fine = _score(add, blob, _plain(blob), classes, scales)
        up = upsample(f'upscore{label or stride // finer}', coarse, stride // finer, fine, last=False)
        cropped = _crop(add, net, f'{fine}c', fine, up)
        coarse = add(f'fuse_{_plain(blob)}', 'Eltwise', [up, cropped]).top[0]
        stride, label = finer, f'_{_plain(blob)}'
    up = upsample(f'upscore{stride if trunk.skips else ""}', coarse, stride, data, last=True)
    _crop(add, net, 'score', up, data)
    return net


def _joint(net: Any, layer: Any, onto: str, last: bool) -> Joint:
    """The kernel and padding with which a Deconvolution's top and the blob that it meets differ by whole positions.

    Between scores the padding takes off what lies outside the skip, as it does where the trunk's convolutions are all
    padded. The last Deconvolution needs none: there the first convolution's padding makes the difference.
    """
    factor = layer.convolution_param.stride[0]
    data = next(other for other in net.layer if other.type == 'Input')
    n, channels, height, width = data.input_param.shape[0].dim
    for kernel in (2 * factor - factor % 2, 2 * factor - 1):
        _set(layer, Joint(kernel, 0))
        offsets = _offsets(net, onto, layer.top[0])
        if any(o.denominator != 1 for o in offsets):
            continue
        if last:
            return Joint(kernel, 0)
        step = max(f.step for f in fields(net, _roomy(net))[layer.top[0]])
        for pad in range(max(0, -int(min(offsets))), 4 * kernel):
            _set(layer, Joint(kernel, pad))
            if all(_inside(net, layer.top[0], onto, [int(o) + pad for o in offsets],
                           (n, channels, 4 * height + more, 4 * width + more)) for more in range(step)):
                return Joint(kernel, pad)
    raise BadInput(f'no upsampling of {layer.bottom[0]} aligns it with {onto}')


def _inside(net: Any, blob: str, other: str, offsets: Sequence[int], size: tuple[int, ...]) -> bool:
    """Whether a blob, laid over another from some offset on, ends inside it."""
    data = next(layer.top[0] for layer in net.layer if layer.type == 'Input')
    blobs = infer(net, {data: size}).blobs
    return all(o + a <= b for o, a, b in zip(offsets, blobs[blob][2:], blobs[other][2:], strict=True))


def _set(layer: Any, joint: Joint) -> None:
    p = layer.convolution_param
    p.ClearField('kernel_size')
    p.ClearField('pad')
    p.kernel_size.append(joint.kernel)
    if joint.pad:
        p.pad.append(joint.pad)


def _plain(blob: str) -> str:
    return blob.replace('/', '_')


def _entries(net: Any, data: str) -> list[Any]:
    """The first convolutions: those that read the image, or something that is the image pixel by pixel."""
    images, entries = {data}, []
    for layer in net.layer:
        if layer.type == 'Input' or not images & set(layer.bottom):
            continue
        if layer.type == 'Convolution':
            entries.append(layer)
        elif layer.type in (*ELEMENTWISE, 'BatchNorm', 'Scale', 'Bias', 'PReLU', 'Slice', 'Concat', 'Eltwise', 'LRN'):
            images |= set(layer.top)
        else:
            raise BadInput(f'layer {layer.name} ({layer.type}) reads the image before any convolution; a head needs a '
                           'first convolution that it can pad')
    return entries


def _pad(layer: Any, more: int) -> None:
    p = layer.convolution_param
    if p.HasField('pad_h') or p.HasField('pad_w'):
        p.pad_h, p.pad_w = p.pad_h + more, p.pad_w + more
    else:
        pads = [value + more for value in (p.pad or [0])]
        p.ClearField('pad')
        p.pad.extend(pads)


def _score(add: Any, bottom: str, label: str, classes: int, scales: dict[str, float]) -> str:
    if scales.get(bottom, 1.0) != 1.0:
        scale = add(f'scale_{label}', 'Scale', [bottom])
        scale.scale_param.filler.type, scale.scale_param.filler.value = 'constant', scales[bottom]
        scale.param.add(lr_mult=0, decay_mult=0)
        bottom = scale.top[0]
    layer = add(f'score_{label}', 'Convolution', [bottom])
    layer.convolution_param.num_output = classes
    layer.convolution_param.kernel_size.append(1)
    for lr, decay in LEARNED:                           # no filler: scores start at zero
        layer.param.add(lr_mult=lr, decay_mult=decay)
    return layer.top[0]


def _offsets(net: Any, blob: str, like: str) -> list[Fraction]:
    """At which of a blob's positions another of the same stride begins, (y, x)."""
    seen = fields(net, _roomy(net))
    return [(b.centre - a.centre) / a.stride for a, b in zip(seen[blob], seen[like], strict=True)]


def _roomy(net: Any) -> Any:
    """Shapes for an image that is large enough for anything; coordinates are the same at every size."""
    data = next(layer for layer in net.layer if layer.type == 'Input')
    n, channels, height, width = data.input_param.shape[0].dim
    return infer(net, {data.top[0]: (n, channels, 4 * height, 4 * width)})


def _crop(add: Any, net: Any, name: str, bottom: str, like: str) -> str:
    offsets = [int(o) for o in _offsets(net, bottom, like)]
    if min(offsets) < 0:
        raise BadInput(f'{bottom} begins after {like}')
    layer = add(name, 'Crop', [bottom, like])
    layer.crop_param.axis = 2
    layer.crop_param.offset.extend(offsets if offsets[0] != offsets[1] else offsets[:1])
    return layer.top[0]


def smallest_pad(trunk: Plan, classes: int, joints: list[Joint]) -> int:
    """The least padding of the first convolution with which images of every size from 1 pixel up are covered."""
    data = next(layer for layer in trunk.net.layer if layer.type == 'Input')
    name, channels = data.top[0], data.input_param.shape[0].dim[1]
    seen = fields(trunk.net, infer(trunk.net))[trunk.feature]
    step, widest, why = max(f.step for f in seen), max(f.size + f.step for f in seen), ''

    def covers(pad: int) -> bool:
        nonlocal why
        try:
            net = segmenter(trunk, classes, pad, {}, joints)
            for n in range(1, step + 1):            # sizes a step apart behave alike
                infer(net, {name: (1, channels, n, n)})
        except BadInput as problem:
            why = str(problem)
            return False
        return True

    low, high = -1, 1
    while not covers(high):
        low, high = high, 2 * high
        if high > 4 * widest:
            raise BadInput(f'no padding of the first convolution lets images of every size through: {why}')
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if covers(middle) else (middle, high)
    return high


# ----------------------------------------------------------------------------------------------------- outputs

def balance(energy: dict[str, float], trunk: Plan) -> tuple[dict[str, float], float]:
    """Constants for the skips, and a learning rate, from the mean squared length of the features.

    A score's gradient step moves it by the rate times the squared length of its feature. A skip is scaled by a power
    of ten so that its feature is about as long as the coarsest one (what the paper's "at once" nets do by hand), and
    the rate is the power of ten with which a step moves no score by more than a tenth.
    """
    lengths = {blob: energy.get(blob, 0.0) for blob in trunk.measured}
    if not all(math.isfinite(value) and value > 0 for value in lengths.values()):
        return {}, 1e-4
    base = lengths[trunk.source]
    scales = {blob: 10.0 ** round(math.log10(math.sqrt(base / lengths[blob]))) for _, blob in trunk.skips}
    total = sum(value * scales.get(blob, 1.0) ** 2 for blob, value in lengths.items())
    return scales, min(0.01, 10.0 ** math.floor(math.log10(0.1 / total)))


def open_data(name: str | None, root: Path, classes: int) -> Data:
    """Look at the data set that a head is to be trained on; without a name, your own if `root` describes it, or VOC."""
    from data_layers import open_dataset
    from data_layers.own.folder import CARD
    name = name or ('folder' if (root / CARD).is_file() else 'voc')
    splits = SPLITS.get(name, ('train', 'val'))
    train, test = (open_dataset(name, split, root) for split in splits)
    image, label = train.default_tops[0], next(top for top in train.default_tops if top in train.classes)
    if len(train.classes[label]) != classes:
        raise BadInput(f'--classes {classes}: the data set {name} has {len(train.classes[label])}')
    return Data(name, str(root), splits, (image, label), len(test))


def phases(net: Any, data: Data | None, name: str) -> dict[str, Any]:
    """The train, val and deploy nets of a segmenter."""
    nets = {}
    for phase in ('train', 'val', 'deploy'):
        made = type(net)(name=name)
        for layer in net.layer:
            if layer.type == 'Input' and phase != 'deploy':
                _feed(made, layer, data, phase)
            else:
                made.layer.add().CopyFrom(layer)
            if layer.type == 'BatchNorm':               # one image at a time makes no statistics
                made.layer[-1].batch_norm_param.use_global_stats = True
        if phase != 'deploy':
            loss = made.layer.add(name='loss', type='SoftmaxWithLoss', bottom=[net.layer[-1].top[0], 'label'],
                                  top=['loss'])
            loss.loss_param.ignore_label, loss.loss_param.normalize = VOID, True
        nets[phase] = made
    return nets


def _feed(net: Any, image: Any, data: Data | None, phase: str) -> None:
    if data is None:
        net.layer.add().CopyFrom(image)
        label = net.layer.add(name='label', type='Input', top=['label'])
        label.input_param.shape.add(dim=[1, 1, *image.input_param.shape[0].dim[2:]])
        return
    layer = net.layer.add(name=image.name, type='Python', top=[image.top[0], 'label'])
    layer.python_param.module, layer.python_param.layer = 'data_layers.layers', 'SegmentationData'
    layer.python_param.param_str = str({'dataset': data.name, 'split': data.splits[phase == 'val'], 'root': data.root,
                                        'tops': list(data.tops)})


def initial(dense: Dense, net: Any, shapes: Any) -> Weights:
    """Weights to start from: the trunk's, zero scores, bilinear upsampling, constants for the skips."""
    weights: Weights = {}
    for layer, params in zip(net.layer, shapes.params, strict=True):
        if layer.name in dense.weights:
            weights[layer.name] = dense.weights[layer.name]
        elif layer.type == 'Deconvolution' and len(layer.param) == 1 and params:
            kernel = np.zeros(params[0], np.float32)
            kernel[range(params[0][0]), range(params[0][0])] = bilinear_kernel(params[0][2])
            weights[layer.name] = [kernel]
        elif layer.type == 'Scale' and layer.scale_param.filler.type == 'constant' and len(params) == 1:
            weights[layer.name] = [np.full(params[0], layer.scale_param.filler.value, np.float32)]
    return weights


def adapt_input(net: Any, weights: Weights, scale: float) -> None:
    """Fold what the classifier did to pixels into its first convolutions: a factor, and grey made of blue, green, red.

    The data layers give blue, green and red less the mean, from 0 to 255.
    """
    data = next(layer for layer in net.layer if layer.type == 'Input')
    channels = data.input_param.shape[0].dim[1]
    direct = [layer for layer in net.layer if layer.type == 'Convolution' and data.top[0] in layer.bottom]
    readers = [layer for layer in net.layer if data.top[0] in layer.bottom and layer.type != 'Crop']
    if channels == 3 and scale == 1:
        return
    if channels not in (1, 3) or len(direct) != len(readers) or any(x.convolution_param.group > 1 for x in direct):
        raise BadInput(f'its input, {channels} channels times {scale}, is not what the data layers give')
    for layer in direct:
        if layer.name in weights:
            blob = weights[layer.name][0] * np.float32(scale)
            if channels == 1:
                blob = blob * np.reshape(np.array(GREY, np.float32), (1, 3, 1, 1))
            weights[layer.name] = [blob, *weights[layer.name][1:]]
    data.input_param.shape[0].dim[1] = 3


def add_head(dense: Dense, trunk: Plan, classes: int, pad: int, joints: list[Joint], energy: dict[str, float],
             folder: Path, data: Data | None, scale: float = 1.0) -> tuple[dict[str, Any], str]:
    """Write train, val, deploy and solver prototxt and the initial weights of a segmentation net.

    Parameters
    ----------
    dense, trunk : Dense, Plan
        The net, and what of it is kept.
    classes : int
        Classes to score.
    pad, joints : int, list of Joint
        From `smallest_pad`.
    energy : dict of str to float
        Mean squared lengths of the features in `trunk.measured`.
    folder : Path
        Where to.
    data : Data, optional
        What the nets are fed from; Input layers without it.
    scale : float
        What the classifier multiplied pixels by.

    Returns
    -------
    (dict, str)
        What was made, for `report.json` and to read.
    """
    from caffe.proto import caffe_pb2
    scales, rate = balance(energy, trunk)
    net = segmenter(trunk, classes, pad, scales, joints)
    weights = initial(dense, net, infer(net))
    if data is not None:
        adapt_input(net, weights, scale)
    shapes = infer(net)
    name = f'{dense.net.name or "classifier"}-fcn{trunk.stop}s'
    for phase, made in phases(net, data, name).items():
        write_prototxt(folder / f'{phase}.prototxt', made)
    solver = caffe_pb2.SolverParameter(
        train_net='train.prototxt', test_net=['val.prototxt'], test_iter=[data.test_size if data else 1],
        test_interval=999_999_999, test_initialization=False, display=20, average_loss=20, lr_policy='fixed',
        base_lr=rate, momentum=0.9, weight_decay=0.0005, max_iter=100_000, snapshot=4000, snapshot_prefix='train')
    write_prototxt(folder / 'solver.prototxt', solver)
    types = {layer.name: layer.type for layer in net.layer}
    write_weights(folder / 'init.caffemodel', weights, types)
    facts = {'classes': classes, 'stride': trunk.stop, 'feature': trunk.feature, 'feature_stride': trunk.stride,
             'skips': [{'blob': blob, 'stride': s, 'scale': scales.get(blob, 1.0)} for s, blob in trunk.skips],
             'pad': pad, 'base_lr': rate,
             'crops': {layer.name: list(layer.crop_param.offset) for layer in net.layer if layer.type == 'Crop'},
             'fresh': [layer.name for layer, p in zip(net.layer, shapes.params, strict=True)
                       if p and layer.name not in weights]}
    return facts, _describe(facts)


def _describe(facts: dict[str, Any]) -> str:
    rows = [('head: scored', 'stride', 'scaled by'), (facts['feature'], str(facts['feature_stride']), '')]
    rows += [(s['blob'], str(s['stride']), f'{s["scale"]:g}') for s in facts['skips']]
    crops = ', '.join(f'{name} {"x".join(map(str, o))}' for name, o in facts['crops'].items())
    return (f'{table(rows)}\nfirst convolution padded by {facts["pad"]} more; crop offsets: {crops}; '
            f'base_lr {facts["base_lr"]:g}\nfresh: {", ".join(facts["fresh"])}')
