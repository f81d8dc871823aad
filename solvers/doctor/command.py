"""The command line of `python -m solvers doctor`."""
import argparse
import json
import math
import os
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cli
from accel import device
from data_layers import data_home
from solvers import weights
from solvers.doctor.examination import examine
from solvers.doctor.finding import WRONG, Finding, cause_of, sentence
from solvers.doctor.subject import find
from solvers.folder import SOLVER

DESCRIPTION = """Find out why a net does not learn: look at data, weights, layers and schedule, take steps on one image.

    python -m solvers doctor roads-fcn8s            a net of nets/
    python -m solvers doctor runs/roads-fcn8s       a run: what it started from, what it has written, its weights now
    python -m solvers doctor mine                   a folder of prototxts, as python -m solvers train takes it

Each line says OK, look (worth a look) or wrong, with figures. The last one names the cause, of several wrong things
that which brings about the others, and the line or command that mends it. Exits 0 where nothing is wrong, else 1.

One part of an image is learnt by heart through Caffe's own solver: decades of the rate for a few steps each, all from
the same weights, then more steps at the best one, then some as the solver file says. Nothing is written.
"""
WIDTH = 118


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m solvers doctor`."""
    parser.add_argument('subject', metavar='RUN_OR_NET', help='folder of a run or of prototxts, or a net of nets/')
    parser.add_argument('--data', type=Path, metavar='DIR', help='folder of the data sets (default: $FCN_DATA)')
    parser.add_argument('--weights', type=Path, action='append', metavar='FILE',
                        help='caffemodel to start from, in place of those stated')
    parser.add_argument('--minutes', type=float, default=3.0, metavar='M', help='for the steps, about (default: 3)')
    parser.add_argument('--seed', type=int, metavar='N', help='of fillers and dropout (default: the recipe\'s)')
    parser.add_argument('--json', action='store_true', help='print all findings with their figures as JSON')
    cli.add_device_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Examine, and tell; returns the exit status.

    Raises
    ------
    BadInput
        A wrong call.
    """
    if not (math.isfinite(args.minutes) and args.minutes > 0):
        raise cli.BadInput(f'--minutes {args.minutes:g}: give a number above 0')
    if args.seed is not None and not 0 <= args.seed < 2 ** 31:
        raise cli.BadInput(f'--seed {args.seed}: give a number from 0 to below 2^31')
    for path in args.weights or ():
        if not path.is_file():
            raise cli.BadInput(f'--weights {path}: no such file')
    os.environ['FCN_DATA'] = str((args.data or data_home()).resolve())
    number, why = device.pick(args.gpu, args.cpu)
    processor = device.use(number, why)
    if not args.json:
        cli.show(f'examining {args.subject} on {processor}')
    places = [Path(args.subject), weights.runs_folder() / args.subject]
    has_solver = any((place / SOLVER).is_file() for place in places)
    found = examine(partial(find, args.subject, args.weights or (), weights.ROOT / 'nets'), 60 * args.minutes,
                    args.seed, number, has_solver)
    cause = cause_of(found)
    if args.json:
        cli.show(*json.dumps(report(args.subject, found), indent=1).split('\n'))
    else:
        cli.show(*text(found))
    return int(cause is not None)


def text(found: Sequence[Finding]) -> list[str]:
    """The table and the sentence, as lines."""
    wide = max((len(finding.check) for finding in found), default=0) + 2
    lines = []
    for finding in found:
        what = finding.what + (f'; {finding.remedy}' if finding.remedy and finding.state != WRONG else '')
        head = f'{finding.state:<7}{finding.check:<{wide}}'
        lines += textwrap.wrap(cli.printable(what), WIDTH, initial_indent=head, subsequent_indent=' ' * len(head),
                               break_long_words=False, break_on_hyphens=False)
    return [*lines, '', sentence(found)]


def report(subject: str, found: Sequence[Finding]) -> dict[str, Any]:
    """What `--json` prints: subject, cause (its key, or null), sentence, checks."""
    cause = cause_of(found)
    return {'subject': subject, 'cause': cause.cause if cause else None, 'sentence': sentence(found),
            'checks': [{'check': finding.check, 'state': finding.state, 'what': finding.what, 'cause': finding.cause,
                        'remedy': finding.remedy, 'figures': plain(finding.figures)} for finding in found]}


def plain(value: Any) -> Any:
    """A value for JSON: numbers that are not finite are null."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, bool | str | int) or value is None:
        return value
    return float(value) if math.isfinite(float(value)) else None
