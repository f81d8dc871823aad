"""Whether the learning rate is one for this loss, from steps that Caffe's solver took on one image.

The part of an image that is learnt has fewer pixels than a whole one, and a loss that is summed over them has a
smaller gradient there: rates found on the part are divided by `ratio` for whole images, stated ones multiplied by it.
Too large is a matter of the rate itself, since beyond 2 (1 + momentum) over the curvature steps lead up. How far a run
comes is a matter of rate / (1 - momentum), and of its number of steps.
"""
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from solvers.doctor.finding import Finding, fine, look, wrong
from solvers.doctor.layers import kind_of
from solvers.doctor.schedule import PLAIN, last_momentum, rates
from solvers.doctor.subject import Subject
from solvers.doctor.trial import end_of, is_stable
from solvers.losses import first_of, is_mean, losses_of, weight_of
from solvers.monitor import chance

SEARCHED = 0.9              # momentum of the search
FAR_ABOVE, ABOVE = 30, 3    # times the largest stable rate: wrong, and wrong if steps lead up
NEAR = 0.03                 # of the best rate: that, with decades tried, is as good as it
FEW = 1.0                   # images that a run can half learn, at least
SOME = 4.0
PAPERS = (1e-10, 0.99, 375 * 500)       # FCN-32s: rate, momentum, pixels of an image


class Measured(NamedTuple):
    """What the search came to, at the scale of whole images.

    Attributes
    ----------
    best, largest : float
        The rate at which the loss falls fastest with a momentum of 0.9, and the largest that is stable.
    half : int
        Steps at the best rate until the loss has halved; as many as were taken where it has not.
    ratio : float
        See above.
    """
    best: float
    largest: float
    half: int
    ratio: float


def measured(search: dict[str, Any], ratio: float) -> Measured | None:
    """What a search came to; None where no rate led down."""
    one = search['one']
    losses = one['losses']
    if search['largest_stable'] is None or not is_stable(losses):
        return None
    half = next((i for i, loss in enumerate(losses) if loss <= 0.5 * losses[0]), len(losses))
    return Measured(one['rate'] / ratio, search['largest_stable'] / ratio, max(half, 1), ratio)


def one_image(search: dict[str, Any], first: float, classes: int, variety: float) -> list[Finding]:
    """Whether the net learns one image by heart, at the best rate that was found.

    Parameters
    ----------
    search : dict
        As of `trial.search`.
    first : float
        The loss of a pixel before.
    classes : int
    variety : float
        The loss of a pixel for whoever knows how frequent the classes of this image are, and sees nothing.
    """
    one = search['one']
    own, losses = one['per_pixel'], one['losses']
    what = (f'loss {first:.3g} -> {own:.3g} a pixel in {len(losses)} steps at {one["rate"]:.1g}, '
            f'{100 * one["right"]:.0f} % of its pixels right; knowing only how frequent its classes are gives '
            f'{variety:.3g} and {100 * one["majority"]:.0f} %')
    figures = dict(per_pixel=own, first=first, variety=variety, chance=chance(classes), rate=one['rate'],
                   steps=len(losses), right=one['right'], tried=search['tried'])
    if search['largest_stable'] is None or not (own < 0.98 * first or own < 0.2 * chance(classes)):
        return [wrong('one image', 'one image', f'the net learns not even one image, at no rate from '
                      f'{min(search["tried"], key=float)} to {max(search["tried"], key=float)}: {what}',
                      'look at the lines above that are not OK, and start again from a net that is known to learn',
                      **figures)]
    if own < 0.8 * variety or own < 0.5 * first or one['right'] > one['majority'] + 0.05:
        return [fine('one image', what, **figures)]
    return [look('one image', f'{what}; so far it has only learnt the latter', **figures)]


def kind(net: Any) -> str:
    """How the first loss that counts is normalised, in words."""
    return kind_of(first_of(losses_of(net)))


def compare(net: Any, settings: Any, pixels: float, iterations: int) -> str:
    """The rate beside the papers': per pixel, with momentum."""
    mean = is_mean(net)
    own = settings.base_lr * (1 if mean else pixels) / max(1 - last_momentum(settings), 1e-6)
    rate, momentum, whole = PAPERS
    papers = rate * whole / (1 - momentum)
    return (f'{settings.base_lr:.3g}' + ('' if mean else f' x {pixels:,.0f} pixels')
            + (f' / (1 - {settings.momentum:g})' if settings.momentum else '')
            + f' = {own:.2g} for a mean loss; FCN-32s of the paper has {rate:g} x {whole:,} / (1 - {momentum}) = '
            f'{papers:.2g}')


def verdict(net: Any, settings: Any, found: Measured | None, own: Sequence[float], iterations: int, kept: float,
            trained: bool, pixels: float, subject: Subject) -> list[Finding]:
    """Whether the rate is one for this loss.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        That trains.
    settings : caffe_pb2.SolverParameter
    found : Measured or None
    own : sequence of float
        Losses of steps with the solver as stated.
    iterations : int
        Of a run.
    kept : float
        What clip_gradients leaves of a gradient.
    trained : bool
        Whether the loss begins far below that of guessing, as that of a net that goes on from a trained one.
    pixels : float
        That are labelled in an image.
    subject : Subject
    """
    if found is None:
        return []
    rate, plain = float(settings.base_lr), settings.type in PLAIN
    beside = compare(net, settings, pixels, iterations) if plain else f'{rate:g} with {settings.type}'
    times = rate * kept / found.largest
    rises = not is_stable(own)
    safe = min(found.best, found.largest / ABOVE)       # the fastest of a few steps may be at the edge
    good = safe * (1 - last_momentum(settings)) / (1 - SEARCHED) if plain else safe
    figures = dict(base_lr=rate, best=found.best, largest_stable=found.largest, advised=good, ratio=found.ratio,
                   own=list(own), end=end_of(own))
    grows = ': the loss rises' if rises and math.isfinite(end_of(own)) else ': the loss is not finite any more' \
        if rises else ''
    other = _other_kind(net, rate, found.largest) if plain else ''
    if times > FAR_ABOVE or rises and times > ABOVE:
        return [wrong('rate', 'rate too large', f'the rate {rate:.3g} is {times:,.0f} times the largest that is stable '
                      f'for this loss, {kind(net)}{grows}{other}', subject.set_rate(good), **figures)]
    along = rates(settings, iterations)
    done = float(along.mean()) * iterations
    if plain:
        done /= max(1 - last_momentum(settings), 1e-6)
    need = found.best * found.half / ((1 - SEARCHED) if plain else 1)
    images = done * kept / need
    figures |= dict(images=images)
    least = FEW * (0.02 if trained else 1)
    if images < least:
        without = done / need >= least
        if kept < 0.1 and without:
            return [wrong('clipping', 'clipping', f'clip_gradients {settings.clip_gradients:g} leaves {kept:.1g} of '
                                                  'the '
                          f'gradient of this loss, {kind(net)}', 'leave clip_gradients out of ' + subject.solver,
                          **figures)]
        light = [layer for layer in losses_of(net) if 0 < weight_of(layer) < 0.1]
        if light and plain and done / need / weight_of(light[0]) >= least:
            return [wrong('rate', 'loss weight', f'layer {light[0].name} has a loss_weight of {weight_of(light[0]):g}, '
                          f'so {iterations:,} steps at {rate:.3g} come to nothing', f'write loss_weight: 1 into '
                          f'{subject.net}', **figures)]
        full = rate * iterations / (max(1 - last_momentum(settings), 1e-6) if plain else 1) / need
        enough = math.ceil(iterations * SOME / images) if images else 0
        if full >= least:
            return [wrong('rate', 'policy', f'lr_policy "{settings.lr_policy}" leaves too little of the rate '
                          f'{rate:.3g} for {iterations:,} steps', subject.set(lr_policy='"fixed"'), **figures)]
        if rate >= NEAR * good:
            return [wrong('rate', 'steps', f'{iterations:,} steps are too few at this rate', f'take about {enough:,} '
                          'with --iterations', **figures)]
        return [wrong('rate', 'rate too small', f'the rate {rate:.3g} is {good / rate:,.0f} times below the one at '
                                                'which '
                      f'this loss falls, {kind(net)}: {iterations:,} steps come to {images:.1g} of what one image '
                      f'takes{other}', subject.set_rate(good), **figures)]
    what = f'{beside}. Found: fastest at {good:.1g}' + (f' with momentum {settings.momentum:g}' if plain else '') + \
        f', stable up to {found.largest:.1g}'
    if images < SOME * (0.1 if trained else 1):
        return [look('rate', f'{what}: {iterations:,} steps will change little', subject.set_rate(good), **figures)]
    if rises or times > ABOVE:
        return [look('rate', f'{what}{grows}', subject.set_rate(good), **figures)]
    return [fine('rate', what, **figures)]


def _other_kind(net: Any, rate: float, largest: float) -> str:
    """Said of a rate that is one for the other kind of loss."""
    if is_mean(net) and rate < 1e-7:
        return '; it is one for a loss that is summed over pixels'
    if not is_mean(net) and rate > 1e-6 and rate > largest:
        return '; it is one for a mean loss'
    return ''
