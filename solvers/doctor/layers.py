"""What the layers of a net and the parameters that it begins from tell, before anything is computed."""
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from cli import BadInput
from data_layers import VOID
from solvers.doctor.finding import Finding, fine, look, wrong
from solvers.doctor.start import Start, held
from solvers.losses import LOSSES, SIGMOID, losses_of, normalisation_of, weight_of
from solvers.preflight import unlearnable
from solvers.prototxts import computing
from surgery.caffemodel import Weights, by
from surgery.coordinates import fields
from surgery.shapes import infer

WEIGHING = ('Convolution', 'Deconvolution', 'InnerProduct')
ROOM = 512              # pixels: at a size where all windows fit, coordinates are those of every size
TOLERANCE = 0.05        # by which the sums of a kernel that interpolates may be off
UNSEEN = 1e-8           # a variance so small is none
MOST_RATE = 200.0       # times the base rate at which a layer may learn
MOST_DROPPED, ALL = 0.75, 0.95      # of a bottom by Dropout: worth a look, and wrong
SEVERAL = 4             # names that are listed


def some(names: list[str]) -> str:
    """Names in words: the first few, and how many more."""
    more = len(names) - SEVERAL
    return ', '.join(names[:SEVERAL]) + (f' and {more} more' if more > 0 else '')


def rate_of(layer: Any, blob: int = 0) -> float:
    """By what the learning rate of a layer's parameter is multiplied."""
    return float(layer.param[blob].lr_mult) if blob < len(layer.param) else 1.0


def may_learn(layer: Any) -> bool:
    """Whether a layer's parameters are learnt: BatchNorm gathers its own."""
    return bool(layer.type != 'BatchNorm')


def learns(layer: Any) -> bool:
    """Whether a layer with parameters learns."""
    return may_learn(layer) and rate_of(layer) > 0


# ------------------------------------------------------------------------------------------------------------ losses

def losses(net: Any, where: str, void: bool) -> list[Finding]:
    """Whether the losses leave void out, and count.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        That trains.
    where : str
        The file that states it.
    void : bool
        Whether void occurs in the labels.
    """
    found, layers = [], losses_of(net)
    if not layers:
        return [wrong('loss', 'loss weight', f'the net has no loss, which is one of {" and ".join(LOSSES)}',
                      f'add a layer SoftmaxWithLoss of its scores and labels to {where}')]
    for layer in layers:
        if not layer.loss_param.HasField('ignore_label'):
            found.append(wrong(
                'loss', 'ignore label', f'layer {layer.name} has no ignore_label'
                + (f', so void ({VOID}) counts as a class, beyond all scores' if void else ''),
                f'write loss_param {{ ignore_label: {VOID} }} into the layer {layer.name} of {where}'))
        elif layer.loss_param.ignore_label != VOID:
            found.append(wrong(
                'loss', 'ignore label', f'layer {layer.name} leaves out the label {layer.loss_param.ignore_label}, but '
                f'void is {VOID}', f'write ignore_label: {VOID} into the layer {layer.name} of {where}'))
    weights = {layer.name: weight_of(layer) for layer in layers}
    if not any(weights.values()):
        found.append(wrong('loss', 'loss weight', 'every loss has a loss_weight of 0, so nothing is learnt from it',
                           f'write loss_weight: 1 into the layer {layers[-1].name} of {where}'))
    if negative := [name for name, weight in weights.items() if weight < 0]:
        found.append(wrong('loss', 'loss weight', f'layer {negative[0]} has a loss_weight of {weights[negative[0]]:g}: '
                           'the net learns to be wrong', f'write loss_weight: 1 there, in {where}'))
    kinds = '; '.join(f'{layer.name} is {kind_of(layer)}' + (f' times {weights[layer.name]:g}' if weights[layer.name]
                                                             != 1 else '') for layer in layers)
    return found or [fine('loss', f'{kinds}; void is left out', weights=weights)]


def kind_of(layer: Any) -> str:
    """How a loss is normalised, in words."""
    return {'VALID': 'the mean over the labelled pixels', 'FULL': 'the mean over all pixels',
            'BATCH_SIZE': 'the sum over the pixels of an image', 'NONE': 'the sum over all pixels of the batch'}[
                normalisation_of(layer)] + (' and classes' if layer.type == SIGMOID else '')


def classes(counts: Mapping[str, int], names: Mapping[str, tuple[str, ...]], tasks: Mapping[str, str],
            where: str) -> list[Finding]:
    """Whether the scores are as many as the classes.

    Parameters
    ----------
    counts : mapping of str to int
        Score blob -> its channels.
    names : mapping of str to tuple of str
        Label top -> names of its classes.
    tasks : mapping of str to str
        Score blob -> label top.
    where : str
        The file that states the net.
    """
    found = []
    for score, label in tasks.items():
        if label not in names:
            found.append(wrong('classes', 'classes', f'the loss compares {score} with {label}, which are no labels of '
                               'the data set', f'name one of {", ".join(names)} in {where}'))
        elif counts[score] != len(names[label]):
            found.append(wrong(
                'classes', 'classes', f'{score} has {counts[score]} channels, and the data set has {len(names[label])} '
                f'classes in {label}', f'write num_output: {len(names[label])} into the layers of {score} in {where}'))
        else:
            found.append(fine('classes', f'{counts[score]} channels in {score} for {counts[score]} classes'))
    return found


# ----------------------------------------------------------------------------------------------------------- weights

def transplanted(start: Start, scores: Mapping[str, bool], net: Any, sources: int, where: str) -> list[Finding]:
    """Whether the layers have the weights of the caffemodels.

    A layer that was renamed on purpose has other classes or another width; one that has none of the weights though a
    layer of its very shape is left over was named otherwise by mistake.

    Parameters
    ----------
    start : Start
    scores : mapping of str to bool
        The layers that make the scores, as of `scoring_layers`.
    net : caffe_pb2.NetParameter
    sources : int
        How many caffemodels there are.
    where : str
        The file that states the net.
    """
    if start.problem:
        return [wrong('weights', 'transplant', start.problem,
                      f'name other weights with --weights, or call the layers in {where} as there')]
    types = {layer.name: layer.type for layer in net.layer}
    trunk = [name for name, blobs in start.weights.items() if types.get(name) in WEIGHING and name not in scores]
    if not sources:
        return [look('weights', 'nothing is transplanted: all layers start from their fillers',
                     'start from a classifier with --weights FILE')] if trunk else [fine('weights', 'from fillers')]
    bare = [name for name in trunk if name not in start.given]
    left = Counter(entry.old for report in start.reports for entry in report.dropped
                   if entry.old is not None and len(entry.old) > 1)
    named = {entry.old: str(entry.source) for report in start.reports for entry in report.dropped}
    suspects = [name for name in bare if left[start.weights[name][0].shape]]
    figures = dict(transplanted=len(start.given), fresh=bare)
    if suspects:
        one = named[start.weights[suspects[0]][0].shape]
        return [wrong('weights', 'transplant', f'{some(suspects)} {"get" if len(suspects) > 1 else "gets"} no weights, '
                      f'though the caffemodel has unused ones of the same shape, such as {one}',
                      f'call {suspects[0]} {one} in {where}, since weights are found by the names of layers',
                      **figures)]
    if not start.given or trunk and len(bare) == len(trunk):
        return [wrong('weights', 'transplant', 'no layer of the trunk has a name that the caffemodels have',
                      f'name the layers in {where} as there, or name other weights with --weights', **figures)]
    fresh = f'; {some(bare)} start from fillers' if bare else ''
    return [fine('weights', f'{len(start.given)} layers transplanted{fresh}', **figures)]


def finite(weights: Weights, what: str, cause: str, remedy: str) -> list[Finding]:
    """Whether all parameters are finite numbers."""
    bad = [name for name, blobs in weights.items() if not all(np.isfinite(blob).all() for blob in blobs)]
    if bad:
        return [wrong('weights', cause, f'{what} of {some(bad)} are not finite numbers (NaN or infinite)', remedy)]
    return []


def zeros(start: Start, net: Any, scores: Mapping[str, bool], where: str) -> list[Finding]:
    """Which layers are at zero: scores may be, as the papers' are; whatever else is lets no signal pass."""
    blocked = [name for name in unlearnable(held(start.weights), net) if name not in scores]
    types = {layer.name: layer.type for layer in net.layer}
    blocked = [name for name in blocked if types[name] != 'Deconvolution']
    at_zero = [name for name, upsamples in scores.items() if not upsamples and name in start.weights
               and not start.weights[name][0].any()]
    if blocked:
        nothing = '' if start.given else 'nothing was transplanted, and '
        return [wrong('zero layers', 'zero layers', f'{nothing}all weights of {some(blocked)} are 0, so no signal '
                      'passes and no gradient returns', 'name a caffemodel that has them with --weights, or write '
                      f'weight_filler {{ type: "msra" }} into them in {where}')]
    return [fine('zero layers', f'{some(at_zero)} start at 0, as the papers\' scores do: every class starts equal'
                 if at_zero else 'none', scores=at_zero)]


def statistics(start: Start, net: Any, where: str) -> list[Finding]:
    """Whether BatchNorm layers that use stored statistics have any."""
    layers = [layer for layer in net.layer if layer.type == 'BatchNorm' and layer.name in start.weights]
    if not layers:
        return []
    stored = [layer for layer in layers if layer.batch_norm_param.use_global_stats]
    empty, flat = [], []
    for layer in stored:
        blobs = start.weights[layer.name]
        count = float(blobs[2].ravel()[0])
        variance = blobs[1] / count if count else np.zeros_like(blobs[1])
        if not count:
            empty.append(layer.name)
        elif (variance < UNSEEN).mean() >= 0.5:
            flat.append(layer.name)
    bad = [*empty, *flat]
    if bad:
        why = 'were never gathered' if empty else 'have a variance of 0'
        return [wrong('batch statistics', 'batch statistics', f'the stored statistics of {some(bad)}, which '
                      f'use_global_stats takes, {why}', 'start from a caffemodel with statistics (--weights), or leave '
                      f'use_global_stats out of {where}')]
    fresh = [layer.name for layer in layers if not layer.batch_norm_param.use_global_stats]
    what = f'{len(stored)} layers use stored statistics' if stored else f'{len(fresh)} layers use those of each batch'
    return [fine('batch statistics', what)]


def multipliers(net: Any, where: str) -> list[Finding]:
    """Whether layers learn at rates that are near each other, and downwards."""
    rates = {layer.name: float(param.lr_mult) for layer in net.layer for param in layer.param}
    below = [name for name, rate in rates.items() if rate < 0]
    above = [name for name, rate in rates.items() if rate > MOST_RATE]
    if below or above:
        name = (below or above)[0]
        return [wrong('learning', 'lr_mult', f'layer {name} has lr_mult {rates[name]:g}'
                      + (', and goes up its gradient' if below else f': it learns {rates[name]:,.0f} times as fast as '
                         'the others'), f'write lr_mult: 1 there, in {where}')]
    drop = {layer.name: layer.dropout_param.dropout_ratio for layer in net.layer if layer.type == 'Dropout'}
    if drop and max(drop.values()) >= ALL:
        name = max(drop, key=lambda one: drop[one])
        return [wrong('learning', 'dropout', f'layer {name} drops {100 * drop[name]:.0f} % of its bottom, so next to '
                      'nothing passes', f'write dropout_ratio: 0.5 into it in {where}')]
    if most := [name for name, ratio in drop.items() if ratio > MOST_DROPPED]:
        return [look('learning', f'{most[0]} drops {100 * drop[most[0]]:.0f} % of its bottom',
                     f'write dropout_ratio: 0.5 in {where}')]
    return []


def frozen(start: Start, net: Any, scores: Mapping[str, bool], where: str) -> list[Finding]:
    """Whether what must learn does: at least one of the scores, and all that starts at random."""
    layers = [layer for layer in net.layer if layer.name in start.weights]
    weighing = [layer for layer in layers if layer.type in WEIGHING]
    fixed = [layer.name for layer in weighing if not rate_of(layer) and layer.type != 'Deconvolution']
    if weighing and not any(rate_of(layer) for layer in weighing):
        return [wrong('learning', 'frozen', 'every layer has lr_mult 0, so nothing learns',
                      f'write param {{ lr_mult: 1 }} into the layers that are to learn in {where}')]
    heads = [name for name in fixed if name in scores and not scores[name]
             and (name not in start.given or not start.weights[name][0].any())]
    random = [name for name in fixed if name not in scores and name not in start.given]
    if heads or random:
        bad = heads or random
        return [wrong('learning', 'frozen', f'{some(bad)} {"have" if len(bad) > 1 else "has"} lr_mult 0 and '
                      f'{"scores of zero for ever" if heads else "random weights for ever"}',
                      f'write param {{ lr_mult: 1 }} param {{ lr_mult: 2 }} into {some(bad)} in {where}')]
    heads = [name for name in fixed if name in scores]
    if heads:
        return [look('learning', f'{some(heads)} {"keep" if len(heads) > 1 else "keeps"} the scores of the caffemodel: '
                     'lr_mult is 0')]
    return [fine('learning', f'{len(weighing) - len(fixed)} of {len(weighing)} layers with weights'
                 + (f'; {some(fixed)} stay as they are' if fixed else ''), fixed=fixed)]


# ----------------------------------------------------------------------------------------------------- deconvolutions

def upsampling(start: Start, net: Any, where: str) -> list[Finding]:
    """Whether deconvolutions that stay as they are interpolate: a plain map stays plain."""
    found, right = [], []
    for layer in net.layer:
        if layer.type != 'Deconvolution' or layer.name not in start.weights:
            continue
        p, kernel = layer.convolution_param, start.weights[layer.name][0]
        stride = int(p.stride_h or (p.stride[0] if len(p.stride) else 1))
        if stride == 1:
            continue
        fixed = not rate_of(layer)
        what = problem_of_kernel(kernel, stride, p.group) if fixed or not kernel.any() else ''
        if what and (fixed or not kernel.any()):
            filler = p.weight_filler.type if p.HasField('weight_filler') else ''
            found.append(wrong(
                'upsampling', 'upsampling', f'layer {layer.name} {what}'
                + (f' (its filler is "{filler}")' if filler and layer.name not in start.given else '')
                + (', and lr_mult 0 keeps it so' if fixed else ''),
                (f'write weight_filler {{ type: "bilinear" }} and group: {p.num_output} into the layer {layer.name} of '
                 f'{where}' if kernel.shape[0] in (p.num_output, 1) or p.group > 1 else
                 f'write lr_mult: 1 into the layer {layer.name} of {where}')
                + ', or leave its filler out: training fills it' * bool(filler and layer.name not in start.given)))
        else:
            right.append(layer.name)
    if not found and right:
        filled = [name for name in right if name in start.filled]
        found.append(fine('upsampling', f'{some(right)}: {"bilinear, filled by this training" if filled else "fine"}'
                          + ('; a stock Caffe would leave them at 0' if filled else ''), filled=filled))
    return found


def problem_of_kernel(kernel: npt.NDArray[Any], stride: int, group: int) -> str:
    """What keeps a Deconvolution from interpolating; empty where it does.

    Each pixel of its top gets as many taps of the kernel as the stride leaves; they must add up to 1.

    Parameters
    ----------
    kernel : array, in x out/group x K x K
    stride, group : int
    """
    if not kernel.any():
        return 'has a kernel of zeros'
    n, m = kernel.shape[:2]
    if group > 1 or m == 1:
        own = kernel[:, 0]
    elif n == 1:
        own = kernel[0]
    elif n == m:
        own = kernel[range(n), range(n)]
    else:
        return f'has a kernel of {by(kernel.shape)}, which mixes channels'
    rest = 0.0 if group > 1 or 1 in (n, m) else float(np.abs(kernel).sum() - np.abs(own).sum())
    if rest > TOLERANCE * float(np.abs(own).sum()) * n:
        return 'mixes the classes: its kernel is not zero off the diagonal'
    sums = np.array([[own[:, i::stride, j::stride].sum((1, 2)) for j in range(stride)] for i in range(stride)])
    if np.abs(sums - 1).max() <= TOLERANCE:
        return ''
    if np.abs(sums - sums.mean()).max() <= TOLERANCE * abs(sums.mean()) and 0.1 <= sums.mean() <= 10:
        return ''       # a factor, which the scores learn
    return f'does not interpolate: the taps of a pixel add up to {sums.min():.2g} to {sums.max():.2g} instead of 1'


def alignment(net: Any, where: str) -> list[Finding]:
    """Whether every Crop begins where its two bottoms look at the same pixel."""
    try:
        computed = computing(net, (ROOM, ROOM))
        images = {top: (*shape.dim[:2], ROOM, ROOM) for layer in computed.layer if layer.type == 'Input'
                  for top, shape in zip(layer.top, layer.input_param.shape, strict=True) if len(shape.dim) == 4}
        shapes = infer(computed, images)
        seen = fields(computed, shapes)
    except BadInput as problem:
        strides = 'strides' in str(problem)
        if not strides:
            return [fine('crop', 'coordinates of this net are not known here')]
        return [wrong('crop', 'crop', f'{problem}', f'correct the strides and kernels of the deconvolutions in '
                                                    f'{where}')]
    found, right = [], []
    for layer in computed.layer:
        if layer.type != 'Crop' or layer.crop_param.axis not in (2, -2):
            continue
        blob, like = (seen[name] for name in layer.bottom)
        wanted = [(b.centre - a.centre) / a.stride for a, b in zip(blob, like, strict=True)]
        offset = [*layer.crop_param.offset] or [0]
        offset = offset * 2 if len(offset) == 1 else offset
        off = [abs(Fraction(have) - want) for have, want in zip(offset, wanted, strict=True)]
        if max(off) > Fraction(1, 2):
            pixels = float(max(d * a.stride for d, a in zip(off, blob, strict=True)))
            offsets = ' '.join(f'offset: {round(want)}' for want in dict.fromkeys(wanted))
            found.append(wrong('crop', 'crop', f'layer {layer.name} begins at {offset[0]}, {pixels:g} pixels of the '
                               f'image away from where {layer.bottom[0]} lies on {layer.bottom[1]}',
                               f'write {offsets} into its crop_param in {where}'
                               + (f', and a pad that leaves room: {float(min(wanted)):g} is below 0'
                                  if min(wanted) < 0 else '')))
        else:
            right.append(f'{layer.name} at {offset[0]}')
    return found or ([fine('crop', some(right))] if right else [])
