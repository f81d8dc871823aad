"""What a run's metrics.jsonl tells: whether it diverged, stayed at chance, or parted from what is held out."""
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from solvers.best import mean_iu
from solvers.doctor.finding import Finding, fine, look, wrong
from solvers.monitor import SMOOTHING, chance, smooth

PARTED, FAR_PARTED = 1.25, 2.0      # times its lowest that a held-out loss ends at: wrong if mean IU falls, and anyhow
FALLEN = 0.9        # of what training's loss was then, or of the best mean IU
APART = 3.0         # times training's loss that a held-out one may be from the beginning
ENOUGH = 100        # steps before a loss at chance says something
MORE = 'train on more images or varied ones (mirror, scale, crop in the data layer)'


def read(lines: Sequence[dict[str, Any]], pixels: float, classes: int, mean: bool, different: str) -> list[Finding]:
    """What the lines of a run tell.

    Parameters
    ----------
    lines : sequence of dict
        As of `solvers.monitor.read`.
    pixels : float
        That are labelled in an image, for runs that do not tell the loss of a pixel.
    classes : int
    mean : bool
        Whether the loss of an image is the mean over its pixels.
    different : str
        How the held-out images differ from those of training, where they do.
    """
    per = 1.0 if mean else max(pixels, 1.0)
    told = [{**line, 'pixel_loss': float(line.get('pixel_loss', line['loss'] / per))} for line in lines]
    steps = [(int(line['iteration']), line['pixel_loss']) for line in told if 'scores' not in line]
    scored = [line for line in told if 'scores' in line]
    bad = next((i for i, loss in steps if not math.isfinite(loss)), None)
    if bad is not None:
        return [wrong('run', 'diverged', f'the loss is not finite any more from step {bad:,} on', 'lower the rate, and '
                      'go on from the last snapshot with --resume')]
    if not steps:
        return []
    losses = smooth([loss for _, loss in steps])
    last, guessing = float(losses[-1]), chance(classes)
    found = []
    if len(steps) >= ENOUGH and abs(last - guessing) < 0.02 * guessing:
        found.append(wrong('run', 'chance', f'after {steps[-1][0]:,} steps the loss is {last:.3g} a pixel, that of '
                           f'guessing, ln({classes}) = {guessing:.2f}', 'raise the rate, and see that weights were '
                           'transplanted (init.txt of the run)'))
    else:
        found.append(fine('run', f'loss {losses[min(SMOOTHING, len(losses)) - 1]:.3g} -> {last:.3g} a pixel in '
                          f'{steps[-1][0]:,} steps'))
    return found + _held_out(steps, losses, scored, different)


def _held_out(steps: Sequence[tuple[int, float]], losses: Any, scored: Sequence[dict[str, Any]],
              different: str) -> list[Finding]:
    """Whether the held-out loss parts from training's."""
    scored = [line for line in scored if math.isfinite(line['pixel_loss'])]
    if len(scored) < 2:
        return []
    at = np.array([line['iteration'] for line in scored])
    held = np.array([line['pixel_loss'] for line in scored])
    numbers = np.array([i for i, _ in steps])
    learnt = losses[np.minimum(np.searchsorted(numbers, at), len(losses) - 1)]
    lowest = int(held.argmin())
    rise, fall = held[-1] / max(held[lowest], 1e-12), learnt[-1] / max(float(learnt[lowest]), 1e-12)
    gap = float(held[-1] / max(float(learnt[-1]), 1e-12))
    figures = dict(iterations=at.tolist(), held_out=held.tolist(), learnt=[float(loss) for loss in learnt])
    what = f'held-out loss {held[-1]:.3g} a pixel, that of training {learnt[-1]:.3g}'
    if different and gap > APART:
        return [wrong('held-out loss', 'held-out images', f'{what}: {different}',
                      'hold out images of the same kind, in the list of the split', **figures)]
    ious = [mean_iu(line['scores']) for line in scored]
    figures |= dict(mean_iu=ious)
    if fall < FALLEN and (rise > FAR_PARTED or rise > PARTED and ious[-1] < FALLEN * max(ious)):
        return [wrong('held-out loss', 'overfitting', f'{what}: it was lowest, {held[lowest]:.3g}, at step '
                      f'{at[lowest]:,}, and rises since while that of training falls',
                      f'take the snapshot of step {at[lowest]}, and {MORE}', **figures)]
    if rise > PARTED and fall < FALLEN:
        return [look('held-out loss', f'{what}: it rises since step {at[lowest]:,}, while mean IU holds', **figures)]
    if gap > APART and learnt[-1] < 0.5 * learnt[0] and held[-1] > FALLEN * held[0]:
        return [wrong('held-out loss', 'overfitting', f"{what}: training's has fallen and that has not", MORE,
                      **figures)]
    if gap > APART:
        return [look('held-out loss', f'{what}: {gap:.1f} times as much', **figures)]
    return [fine('held-out loss', what, **figures)]
