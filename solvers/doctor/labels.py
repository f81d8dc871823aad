"""Whether labels fit the classes and the photographs."""
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_layers import VOID
from data_layers.own.folder import CARD
from solvers.doctor.finding import Finding, fine, look, wrong
from solvers.doctor.outlines import ENOUGH, Alignment
from solvers.doctor.samples import Split

SIZES = re.compile(r' is \d+x\d+ pixels but .* is \d+x\d+')
BETWEEN = 4         # values that mean no class: so many are not an oversight
APART = 1.0         # standard deviations of pixels by which photographs of one kind differ, at most
CONTRAST = 1.5      # and the logarithm of how much their deviations do
CHANCE = 1.25       # gradient along outlines over that elsewhere, up to which masks may be those of other images


def unreadable(split: Split, described: Sequence[str], card: str) -> list[Finding]:
    """What is wrong with samples that could not be read.

    Parameters
    ----------
    split : Split
    described : sequence of str
        The values that dataset.json describes; empty of other data sets.
    card : str
        Where that is.
    """
    if not split.problems:
        return []
    several = f' (and {len(split.problems) - 1} more of {split.read + len(split.problems)} samples)' \
        if len(split.problems) > 1 else ''
    problem = split.problems[0]
    if SIZES.search(problem):
        what, _, remedy = problem.partition('; ')
        return [wrong('labels', 'label size', what + several, remedy or 'make mask and photograph of one size')]
    if split.strange:
        return [_strange(split, described, card, several)]
    what, _, remedy = problem.partition('; ')
    cause = 'label values' if 'label' in problem else 'data'
    return [wrong('labels' if cause != 'data' else 'data', cause, what + several,
                  remedy or 'python -m data_layers check lists all that is wrong with the data')]


def _strange(split: Split, described: Sequence[str], card: str, several: str) -> Finding:
    """What values mean that are stored in masks and mean no class."""
    values = sorted(split.strange, key=lambda key: (len(key), key))
    shown = ', '.join(values[:6]) + (', ...' if len(values) > 6 else '')
    numbers = [int(value) for value in values if value.isdecimal()]
    known = sorted(int(value) for value in described if value.isdecimal() and int(value) != VOID)
    figures: dict[str, Any] = dict(strange=dict(split.strange), described=list(described))
    if numbers == [VOID]:
        return wrong('labels', 'label values', f'masks have the value {VOID} for void, which {card} does not describe'
                     + several, f'write "{VOID}": null into values in {card}', **figures)
    if known and numbers == [known[-1] + 1] and known[0] == 0 and not split.histogram[0]:
        return wrong('labels', 'label values', f'masks count the classes from 1 to {numbers[0]}, and {card} from 0 to '
                     f'{known[-1]}' + several, f'number them from 1 in the values of {card}', **figures)
    if len(values) >= BETWEEN and numbers:
        return wrong('labels', 'label values', f'masks have {len(values)} values that are no class ({shown}), as '
                                               'smooth '
                     'resizing or JPEG makes them' + several, 'make the masks again without smoothing, as '
                                                              'PNG', **figures)
    return wrong('labels', 'label values', f'masks have the value{"s" * (len(values) > 1)} {shown}, which '
                 f'{"are" if len(values) > 1 else "is"} no class of {card}' + several,
                 f'say in the values of {card} which class that is, or correct the masks', **figures)


def histogram(split: Split, names: Sequence[str], overlapping: bool) -> list[Finding]:
    """What the labels of a split hold."""
    if not split.read:
        return []
    check = 'labels' if split.name else ''
    pixels = split.histogram
    if not pixels[:VOID].any():
        return [wrong(check, 'void', f'every pixel of the {split.read} samples of {split.name} that were read is void, '
                      'so there is nothing to learn', f'say in {CARD} which values are classes, or label the images',
                      void=1.0)]
    beyond = [k for k in range(len(names), VOID) if pixels[k]]
    if beyond:
        return [wrong(check, 'label values', f'labels of {split.name} have the value {beyond[0]}, beyond the '
                      f'{len(names)} classes', f'add a class, or correct {CARD}')]
    void = float(pixels[VOID] / pixels.sum())
    present = split.present
    figures: dict[str, Any] = dict(split=split.name, read=split.read, void=void,
                   shares={names[k]: float(pixels[k] / max(pixels[:VOID].sum(), 1)) for k in present})
    if len(present) == 1 and len(names) > 1 and not overlapping:
        return [wrong(check, 'one class', f'every labelled pixel of {split.name} is {names[present[0]]!r}: a net '
                                          'learns '
                      'to say so everywhere', f'say in {CARD} which values are the other classes, or label them',
                      **figures)]
    absent = [names[k] for k in range(len(names)) if k not in present]
    what = f'{split.name}: {len(present)} of {len(names)} classes in {split.read} samples, {100 * void:.1f} % void'
    if void > 0.9:
        return [look(check, f'{what}: little is labelled', **figures)]
    if absent and split.read == split.count:
        return [look(check, f'{what}; never {", ".join(absent[:4])}', **figures)]
    return [fine(check, what, **figures)]


def outlines(found: Alignment) -> list[Finding]:
    """Whether masks lie on what is in their photographs."""
    check, figures = 'masks on images', dict(found.figures, photographs=found.count, strangers=found.strangers)
    if not found.count:
        return [fine(check, 'no outlines to compare')]
    own = f'colours change {found.own:.2f} times as much along the outlines of masks as elsewhere'
    if found.mirrored:
        better = found.figures[found.mirrored]
        return [wrong(check, 'mirrored masks', f'masks are mirrored {found.mirrored} beside their photographs: {own}, '
                      f'and {better:.2f} times once turned back', f'mirror all masks {found.mirrored}, or write them '
                      'again', **figures)]
    if found.shift != (0, 0):
        down, right = found.shift
        return [wrong(check, 'shifted masks', f'masks lie {abs(down)} pixels too far {"down" if down > 0 else "up"} '
                                              'and '
                      f'{abs(right)} too far {"right" if right > 0 else "left"}: {own}, and '
                      f'{found.figures["shifted"]:.2f} times there', f'move all masks by {-down} pixels down and '
                      f'{-right} right', **figures)]
    if found.count > ENOUGH and found.strangers < (1 if found.own < CHANCE else -1):
        return [wrong(check, 'masks of other images', f'masks fit their own photographs no better than those of '
                                                      'others: '
                      f'{own}', 'see with python -m data_layers show which mask goes with which photograph, and '
                                'correct '
                      'the lists of the splits', **figures)]
    if found.own < 1.1:
        return [look(check, own, **figures)]
    return [fine(check, own, **figures)]


def alike(train: Split, val: Split, names: Sequence[str]) -> list[Finding]:
    """Whether what is held out is of the kind that is learnt: colours and classes."""
    if not train.read or not val.read or not len(train.mean) or not len(val.mean):
        return []
    spread = np.maximum(np.minimum(train.deviation, val.deviation), 1.0)
    apart = float(np.max(np.abs(train.mean - val.mean) / spread))
    contrast = float(np.max(np.abs(np.log(np.maximum(train.deviation, 1e-3) / np.maximum(val.deviation, 1e-3)))))
    never = [k for k in val.present if k not in train.present]
    share = float(sum(val.histogram[k] for k in never) / max(val.histogram[:VOID].sum(), 1))
    absent = [names[k] for k in never if k < len(names)]
    figures: dict[str, Any] = dict(apart=apart, contrast=contrast, never_learnt=absent,
                   never_share=share)
    if apart > APART or contrast > CONTRAST:
        return [look('held-out images', f'their colours differ from those of training by {apart:.1f} standard '
                     'deviations', **figures)]
    if share > 0.2 and train.read == train.count:
        return [look('held-out images', f'{100 * share:.0f} % of their pixels are of classes that training never shows '
                     f'({", ".join(absent)})', **figures)]
    return [fine('held-out images', 'of the colours and classes of training', **figures)]
