"""Whether a solver's numbers make sense by themselves: policy, momentum, weight decay, clipping."""
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from solvers.doctor.finding import Finding, fine, look, wrong
from solvers.doctor.subject import Subject

POINTS = 2000               # of a run, at which the rate is worked out
SPENT, LITTLE = 0.02, 0.1   # of what a fixed rate would come to: a policy that leaves less has decayed to nothing
LONGEST = 0.999             # momentum: a step then lasts for 1,000
PLAIN = ('SGD', 'Nesterov')


def rates(settings: Any, iterations: int) -> npt.NDArray[np.float64]:
    """The learning rate along a run, at `POINTS` steps at most, as Caffe's solver computes it.

    Parameters
    ----------
    settings : caffe_pb2.SolverParameter
    iterations : int
    """
    t = np.unique(np.linspace(0, max(iterations - 1, 0), min(iterations, POINTS)).astype(np.int64)).astype(np.float64)
    p = settings
    with np.errstate(over='ignore', invalid='ignore', divide='ignore'):
        factors: dict[str, Callable[[], Any]] = {
            'fixed': lambda: np.ones_like(t),
            'step': lambda: np.power(p.gamma, t // max(p.stepsize, 1)),
            'exp': lambda: np.power(p.gamma, t),
            'inv': lambda: np.power(1 + p.gamma * t, -p.power),
            'multistep': lambda: np.power(p.gamma, np.searchsorted(sorted(p.stepvalue), t, side='right')),
            'poly': lambda: np.power(np.maximum(1 - t / max(p.max_iter, 1), 0), p.power),
            'sigmoid': lambda: 1 / (1 + np.exp(-p.gamma * (t - p.stepsize))),
        }
        return np.asarray(p.base_lr * factors[p.lr_policy or 'fixed']())


def last_momentum(settings: Any) -> float:
    """How much of a step is in the next one: for how long 1/(1 - momentum) steps last."""
    return float(settings.momentum) if settings.type in (*PLAIN, 'Adam') else 0.0


def policy(settings: Any, iterations: int, subject: Subject) -> list[Finding]:
    """Whether the rate stays large enough for long enough."""
    along = rates(settings, iterations)
    kind = settings.lr_policy or 'fixed'
    remedy = subject.set(lr_policy='"fixed"')
    finite = bool(np.isfinite(along).all())
    share = float(along.mean() / settings.base_lr) if finite else math.inf
    figures: dict[str, Any] = dict(policy=kind, share=share, last=float(along[-1]) if finite else None)
    if not finite or along.max() > 10 * settings.base_lr:
        return [wrong('policy', 'policy', f'lr_policy "{kind}" makes the rate grow to {along.max():.1g}, from '
                      f'{settings.base_lr:.1g}', f'write a gamma below 1, or {remedy}')]
    if share < SPENT:
        spent = int(np.searchsorted(-along, -0.01 * settings.base_lr, side='left') * iterations / len(along))
        when = f'after {spent:,} of {iterations:,} steps' if spent else 'from the first step on'
        return [wrong('policy', 'policy', f'lr_policy "{kind}" takes the rate below a hundredth of base_lr '
                                          f'{when}', remedy
                      + ', or larger steps', **figures)]
    what = f'"{kind}", from {along[0]:.3g} to {along[-1]:.3g} in {iterations:,} steps'
    return [look('policy', f'{what}: {share:.2g} of what a fixed rate comes to', **figures) if share < LITTLE else
            fine('policy', what, **figures)]


def momentum(settings: Any, subject: Subject) -> list[Finding]:
    """Whether momentum is one."""
    if settings.type not in PLAIN:
        return [fine('solver', f'{settings.type}, which finds the size of its steps itself')]
    m = float(settings.momentum)
    lasts = 1 / (1 - m) if m < 1 else math.inf
    what = f'{settings.type}, momentum {m:g}: a gradient lasts for {lasts:.0f} steps'
    papers = '; the papers have 0.99 with single images, 0.9 with batches of 20'
    if m >= LONGEST:
        return [wrong('solver', 'momentum', f'momentum is {m:g}: a gradient lasts for {lasts:,.0f} steps, so steps '
                                            'go on '
                      'long after they lead up', subject.set(momentum='0.99'), momentum=m)]
    if m > 0.991:
        return [look('solver', what + papers, subject.set(momentum='0.99'), momentum=m)]
    return [fine('solver', what, momentum=m)]


def decay(settings: Any, gradients: dict[str, Any], decays: dict[str, float], iterations: int, ratio: float,
          subject: Subject) -> list[Finding]:
    """Whether weight decay leaves weights that learn.

    Parameters
    ----------
    settings : caffe_pb2.SolverParameter
    gradients : dict
        As of `trial.norms`, after a few steps.
    decays : dict of str to float
        Layer with weights that learn -> its decay_mult.
    iterations : int
    ratio : float
        By how much the gradient grows from the part that is learnt to whole images.
    subject : Subject
    """
    stated = float(settings.weight_decay)
    pull = stated * math.sqrt(sum(gradients[name]['weights'] * factor ** 2 for name, factor in decays.items()
                                  if name in gradients))
    push = ratio * math.sqrt(sum(gradients[name]['square'] for name in decays if name in gradients))
    if not math.isfinite(push) or not math.isfinite(pull):
        return []
    part = pull / push if push else (math.inf if pull else 0.0)
    along = rates(settings, iterations)
    shrink = float(along.mean()) * iterations / max(1 - last_momentum(settings), 1e-6) * stated
    figures: dict[str, Any] = dict(weight_decay=stated, pull=pull, push=push, shrinks=shrink)
    plain = settings.type in PLAIN
    if plain and float(along.max()) / max(1 - last_momentum(settings), 1e-6) * stated > 1:
        return [wrong('weight decay', 'weight decay', f'weight_decay {stated:g} takes weights to 0 within a step at '
                                                      'this '
                      'rate', subject.set(weight_decay='0.0005'), **figures)]
    if part > 1 and (shrink > 1 or not plain):
        return [wrong('weight decay', 'weight decay', f'weight_decay {stated:g} pulls weights to 0 {part:.1f} times as '
                      'strongly as the loss moves them', subject.set(weight_decay='0.0005'), **figures)]
    if stated > 0.05:
        return [look('weight decay', f'{stated:g}, where the papers have 0.0005; beside this loss it is {part:.1g} of '
                     'the gradient', **figures)]
    return [fine('weight decay', f'{stated:g}: {part:.1g} of the gradient', **figures)]


def clipping(settings: Any, gradients: dict[str, Any], ratio: float) -> float:
    """What clip_gradients leaves of a whole image's gradient: from 0 to 1."""
    limit = float(settings.clip_gradients)
    if limit <= 0:
        return 1.0
    length = ratio * math.sqrt(sum(entry['square'] for entry in gradients.values()))
    return min(1.0, limit / length) if math.isfinite(length) and length else 1.0
