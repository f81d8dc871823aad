"""Look at what was trained.

    python -m report RUN ... [--out FILE]               one HTML file on runs: scores, curves, confusions, pictures
    python -m report serve --net NET --weights FILE     a page on 127.0.0.1 that segments the photographs dropped on it
    python -m report upper-bound DATASET                the best mean IU at coarse resolution, from the labels alone
    python -m report fcn-score RESULTS --truth DIR      what pix2pix and CycleGAN report, and what that hides
    python -m report results                            docs/results.md: the papers' tables, and ours beside them

A RUN is a folder of solve.py, or a file that python -m solvers.score --json wrote; several are compared, and the slider
of the pictures goes from the first to the last.
"""
import sys
from pathlib import Path

import cli
import nets  # noqa: F401, quietens Caffe before anything imports it
from accel import device


def main(argv: list[str] | None = None) -> None:
    """Run one of the commands, or report on runs."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ['serve']:
        from report import serve
        serve.main(arguments[1:])
    elif arguments[:1] == ['upper-bound']:
        from report import upper_bound
        upper_bound.main(arguments[1:])
    elif arguments[:1] == ['fcn-score']:
        from report import fcn_score
        fcn_score.main(arguments[1:])
    elif arguments[:1] == ['results']:
        from report import results
        results.main(arguments[1:])
    else:
        report(arguments)


def report(argv: list[str] | None = None) -> None:
    """Report on runs, as the command line says."""
    parser = cli.Parser(prog='python -m report', description=__doc__)
    parser.add_argument('runs', nargs='+', type=Path, metavar='RUN', help='folder of a run, or file of scores')
    parser.add_argument('--out', type=Path, metavar='FILE', help='default: report.html in or beside the runs')
    parser.add_argument('--images', type=int, default=4, metavar='N', help='worst and best images shown: %(default)s')
    cli.add_device_arguments(parser)
    args = parser.parse_args(argv)
    if args.images < 0:
        raise cli.BadInput(f'--images {args.images}: give 0 or more')
    if args.out:
        cli.check_output(args.out, begins=b'<!DOCTYPE html>')
    from report import page
    processor = device.choose(args.gpu, args.cpu)
    cli.show(page.write(args.runs, args.out, args.images))
    if any(path.is_dir() for path in args.runs):
        cli.say(f'scored on {processor}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
