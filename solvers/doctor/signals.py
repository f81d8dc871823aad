"""What passes through a net tells: numbers that vanish, explode or are not numbers, units that are dead."""
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from solvers.doctor.finding import Finding, fine, look, wrong
from solvers.doctor.layers import some
from solvers.monitor import chance
from surgery.caffemodel import Weights

DEAD, MANY = 0.99, 0.75     # share of a layer's channels that are 0 everywhere on all images: wrong, and worth a look
HUGE, LARGE = 1e6, 3e4      # root mean square of a layer's numbers: wrong, and worth a look
FAINT = 1e-6                # and below that, it is as good as nothing
PLAIN = 1e-4                # a feature that varies so little over an image says nothing of it


def activations(found: Mapping[str, Any], bottoms: Mapping[str, str], weights: Weights, scores: Collection[str],
                remedy: str, cause: str = '') -> list[Finding]:
    """Whether what layers give is alive and of a sensible size.

    Parameters
    ----------
    found : mapping
        As of `trial.signals`.
    bottoms : mapping of str to str
        Layer -> the layer with weights before it.
    weights : dict of str to list of array
    scores : collection of str
        Layers that make the scores, which may be zero.
    remedy : str
        What to do about it.
    cause : str, optional
        What to call the cause, where these are not the weights that training begins from.
    """
    layers = found['layers']
    if bad := [name for name, entry in layers.items() if not entry['finite']]:
        return [wrong('activations', cause or 'activations', f'layer {bad[0]} gives numbers that are not '
                                                             'finite', remedy)]
    large = [name for name, entry in layers.items() if entry['rms'] > HUGE and entry['type'] != 'SoftmaxWithLoss'
             and 'Loss' not in entry['type']]
    if large:
        return [wrong('activations', cause or 'activations', f'layer {large[0]} gives numbers of '
                                                             f'{layers[large[0]]["rms"]:.1g}'
                      ', which grow from layer to layer', remedy, rms=layers[large[0]]['rms'])]
    small = [name for name, entry in layers.items() if entry['rms'] < FAINT and entry['type'] in ('Convolution', 'ReLU')
             and name not in scores]
    if small and any(layers[name]['rms'] for name in small):
        name = next(name for name in small if layers[name]['rms'])
        return [wrong('activations', cause or 'activations', f'layer {name} gives numbers of '
                                                             f'{layers[name]["rms"]:.1g}, '
                      'which vanish from layer to layer', remedy, rms=layers[name]['rms'])]
    units = {name: entry['dead'] for name, entry in layers.items() if entry['type'] == 'ReLU' and 'dead' in entry}
    dead = [name for name, share in units.items() if share >= DEAD]
    if dead:
        source = bottoms.get(dead[0], '')
        bias = f' (the bias of {source} is {weights[source][1].mean():.3g} in the mean)' \
            if source in weights and len(weights[source]) > 1 else ''
        return [wrong('dead units', cause or 'dead units', f'all units of {dead[0]} are 0 on every image{bias}, so '
                      'nothing behind them sees the image', remedy, dead=units)]
    quiet = {name: share for name, share in units.items() if share >= MANY}
    sizes = [entry['rms'] for entry in layers.values() if entry['type'] in ('Convolution', 'ReLU', 'InnerProduct')]
    highest = max(sizes, default=0.0)
    what = f'numbers up to {highest:.3g} (root mean square of a layer)'
    if highest > LARGE:
        return [look('activations', f'{what}: large', rms=highest)]
    if quiet:
        name = max(quiet, key=lambda one: quiet[one])
        return [look('dead units', f'{100 * quiet[name]:.0f} % of the channels of {name} are 0 on every image',
                     dead=units)]
    worst = f'; at most {100 * max(units.values()):.0f} % of the channels of a ReLU are 0 everywhere' if units else ''
    return [fine('activations', what + worst, rms=highest, dead=units)]


def features(found: Mapping[str, Any], read: Mapping[str, str], remedy: str) -> list[Finding]:
    """Whether the features that are scored vary over the image.

    Parameters
    ----------
    found : mapping
        As of `trial.signals`.
    read : mapping of str to str
        Layer that makes scores -> the layer whose top it reads.
    remedy : str
    """
    plain = []
    for score, source in read.items():
        entry = found['layers'].get(source)
        if entry and entry['finite'] and entry['varies'] <= PLAIN * max(entry['rms'], 1e-12):
            plain.append((score, source))
    if plain and len(plain) == len(read):
        score, source = plain[0]
        return [wrong('activations', 'dead units', f'{source}, which {score} reads, is the same everywhere on the '
                                                   'image',
                      remedy)]
    return []


def first_loss(per_pixel: Sequence[float], classes: int, kind: str, total: Sequence[float]) -> list[Finding]:
    """The loss that training begins from, a pixel, beside that of guessing."""
    guessing, own = chance(classes), per_pixel[0]
    what = (f'{own:.3g} a pixel with the first weights; guessing is ln({classes}) = {guessing:.2f}. The loss is '
            f'{kind}: {total[0]:.4g} here')
    figures: dict[str, Any] = dict(per_pixel=own, chance=guessing, total=total[0])
    if not math.isfinite(own):
        return [wrong('first loss', 'activations', 'the loss is not a finite number with the first '
                                                   'weights', 'start from '
                      'other weights with --weights')]
    if own > 5 * guessing:
        return [look('first loss', f'{what}; the scores start far from equal', **figures)]
    return [fine('first loss', what, **figures)]


def gradient(found: Mapping[str, Any], where: str) -> list[Finding]:
    """Whether a gradient reaches what learns, with the first weights."""
    total = sum(entry['moving'] for entry in found['gradients'].values())
    if not math.isfinite(total):
        return [wrong('gradient', 'gradient', 'the gradient is not a finite number', f'see the activations in {where}')]
    if not total:
        return [wrong('gradient', 'gradient', 'no gradient reaches any layer that learns', 'see that losses follow '
                                                                                           'from '
                      f'layers with lr_mult above 0, and that no propagate_down: false is between, in {where}')]
    return []


def reached(one: Mapping[str, Any], learns: Sequence[str], where: str) -> list[Finding]:
    """Whether a gradient reaches every layer that may learn, once the scores are not zero any more."""
    still = [name for name in learns if not one['gradients'][name]['square']]
    if not still:
        return [fine('gradient', f'reaches all {len(learns)} layers that learn')]
    if len(still) == len(learns):
        return [wrong('gradient', 'gradient', 'no gradient reaches any layer that '
                                              'learns', f'see that no propagate_down: '
                      f'false is between them and the loss in {where}')]
    return [wrong('gradient', 'gradient', f'no gradient reaches {some(still)}, though lr_mult is not 0', 'look for '
                  f'propagate_down: false, or for layers between them and the loss that give 0, in {where}')]
