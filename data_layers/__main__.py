"""Look after data sets on disk.

python -m data_layers list                         the data sets, their sources, licences and folders
python -m data_layers check voc                    read all of it, list all that is wrong
python -m data_layers check DIR --split train      the data set in a folder, one split
python -m data_layers prepare sbd --from DIR       bring a download into place
python -m data_layers show voc                     a sheet of samples as the net gets them
python -m data_layers hha DIR --camera 525,525,319.5,239.5      depth as NYUDv2's nets take it
python -m data_layers bench voc                    how fast a solver is fed from it
"""
import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cli
from data_layers import DATASETS, SEED, augment, bench, data_home, hha, show
from data_layers.check import check, recognise, text
from data_layers.own.folder import CARD
from data_layers.prepare import prepare

HHA = """Make HHA images of depth images, which NYUDv2's nets take beside colour.

Of each pixel they hold 31000 over its depth in centimetres, its height above the floor in centimetres, and the angle
between its surface and gravity in degrees plus 38 (floor 38, wall 128), as Gupta et al. (ECCV 2014) do. The camera is
to be held upright, within 45 degrees. Missing depth is filled from the nearest pixel that has one. Images that are
there already, made of the same depth in the same way, are kept; so the command goes on where it was stopped."""

SHOW = """Write a sheet of samples as the net gets them: each picture beside its labels over it, and a legend.

Of a training split, these are the first samples of the stream that a seed draws, varied as the nets of the data set
are, which VARIED in nets/NAME.py says; of others, the first in order. Above each stands its size as the net gets it,
its position in the stream and its id. Void is hatched, and background is bare."""


def parser() -> cli.Parser:
    """The arguments of all commands."""
    top = cli.Parser(prog='python -m data_layers', description=__doc__)
    commands = top.add_subparsers(dest='command', required=True, metavar='COMMAND')
    commands.add_parser('list', help='say where every data set comes from and on which terms')
    one = commands.add_parser('check', help='read every image and label of a data set; exit 1 when something is wrong')
    add_dataset(one)
    one.add_argument('--split', action='append', metavar='S', help='a split (default: all that are there); repeatable')
    one.add_argument('--tops', metavar='TOP,TOP', help='what to read (default: all), e.g. color,label')
    one.add_argument('--workers', type=int, metavar='N', help='processes (default: one a core)')
    one.add_argument('--json', action='store_true', help='print the whole report as JSON')
    one = commands.add_parser('prepare', help='bring a download into the layout that the data layers read')
    one.add_argument('dataset', metavar='DATASET', help=', '.join(DATASETS))
    one.add_argument('--from', dest='sources', metavar='PATH', required=True, nargs='+', type=Path,
                     help='the folder with the download, packed or unpacked, or its archives')
    one.add_argument('--to', metavar='DIR', help="the data set's folder (default: its place in $FCN_DATA)")
    one = commands.add_parser('show', help='write a sheet of samples as the net gets them, labels over pictures',
                              description=SHOW)
    add_dataset(one)
    one.add_argument('--split', metavar='S', help='the split (default: the one that the nets train on)')
    one.add_argument('--tops', metavar='TOP,TOP', help='what to show, e.g. color,depth,label (default: as the nets)')
    one.add_argument('--count', type=int, default=8, metavar='N', help='samples at most (default: 8)')
    varied = one.add_mutually_exclusive_group()
    varied.add_argument('--vary', metavar='LIST', help='vary them by these, as python -m nets new --vary takes them: '
                        f'{augment.describe(augment.DEFAULTS)} are the defaults of all')
    varied.add_argument('--plain', action='store_true', help='as they are on disk, each once')
    one.add_argument('--seed', type=int, default=SEED, metavar='N', help=f'of the stream (default: {SEED})')
    one.add_argument('--out', type=Path, metavar='FILE.png', help='default: show/NAME-SPLIT.png in $FCN_RUNS or runs/')
    one = commands.add_parser('hha', help='make images of disparity, height above ground and angle with gravity from '
                              'depth', description=HHA)
    one.add_argument('folder', metavar='DEPTH_DIR', type=Path, help='depth images: PNG or TIFF of 16 bits, TIFF of '
                     'floats, or .npy; 0 or 65535 where depth is missing')
    one.add_argument('--camera', type=cli.numbers, required=True, metavar='FX,FY,CX,CY', help='focal lengths and '
                     'centre of the camera in pixels of these images, the first of which has its middle at 0,0')
    one.add_argument('--out', type=Path, metavar='DIR', help='gets a PNG for each (default: hha beside DEPTH_DIR)')
    one.add_argument('--unit', type=float, metavar='M', help='metres a value (default: 0.001 of integers, which is '
                     'millimetres, and 1 of floats)')
    one.add_argument('--height', type=float, metavar='M', help='of the camera above the floor in metres (default: by '
                     'the lowest surface in sight; where that is less than 0.9 m below the camera, 1.3)')
    one.add_argument('--workers', type=int, metavar='N', help='processes (default: one a core)')
    one = commands.add_parser('bench', help='images per second from a data set, and how long a solver waits for one')
    add_dataset(one)
    one.add_argument('--split', metavar='S', help='the split (default: the one that the nets train on)')
    one.add_argument('--tops', metavar='TOP,TOP', help='what to read, e.g. color,label (default: as the nets)')
    one.add_argument('--images', type=int, default=200, metavar='N', help='in each measurement (default: 200)')
    one.add_argument('--rate', type=float, default=20, metavar='R', help='steps per second of the solver (default: 20)')
    one.add_argument('--workers', type=int, metavar='N', help='processes (default: $FCN_WORKERS or 2)')
    one.add_argument('--ahead', type=int, metavar='N', help='samples read ahead (default: $FCN_AHEAD or 8)')
    one.add_argument('--json', action='store_true', help='print the figures as JSON')
    return top


def add_dataset(command: argparse.ArgumentParser) -> None:
    """Let a command take a data set: by its name or by its folder."""
    command.add_argument('dataset', metavar='DATASET_OR_DIR', help=f'{", ".join(DATASETS)}, or the folder of one')
    command.add_argument('--root', metavar='DIR', help="the data set's folder (default: its place in $FCN_DATA)")


def name_and_root(options: argparse.Namespace) -> tuple[str, str | None]:
    """The data set that is meant, and its folder if one was given.

    Raises
    ------
    BadInput
        Neither a data set nor the folder of one.
    """
    name = options.dataset
    if name in DATASETS or (Path(name).name == name and (data_home() / name / CARD).is_file()):
        return name, options.root
    if not Path(name).is_dir():
        raise cli.BadInput(f'{name} is neither a folder nor a data set: choose from {", ".join(DATASETS)}, or describe '
                           'your own with python -m nets new')
    return recognise(Path(name)), name


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status."""
    options = parser().parse_args(argv)
    if options.command == 'list':
        cli.show(*(line for kind in DATASETS.values() for line in kind.describe().split('\n')))
        return 0
    if options.command == 'check':
        return run_check(options)
    if options.command == 'bench':
        return run_bench(options)
    if options.command == 'hha':
        cli.show(*hha.convert_folder(options.folder, options.camera, options.out, options.unit, options.height,
                                     options.workers).split('\n'))
        return 0
    if options.command == 'show':
        return run_show(options)
    cli.show(*prepare(options.dataset, *options.sources, target=options.to and Path(options.to)).split('\n'))
    return 0


def run_check(options: argparse.Namespace) -> int:
    """Check a data set; 1 when something is wrong with it."""
    name, root = name_and_root(options)
    if options.workers is not None and options.workers < 1:
        raise cli.BadInput(f'--workers must be at least 1, not {options.workers}')
    report = check(name, root, options.split, options.tops and options.tops.split(','), options.workers)
    cli.show(*(json.dumps(report, indent=2) if options.json else text(report)).split('\n'))
    return 1 if report['problems'] else 0


def run_show(options: argparse.Namespace) -> int:
    """Write a sheet of samples."""
    path = show.show(*name_and_root(options), options.split, options.tops and options.tops.split(','), options.count,
                     options.vary, options.plain, options.seed, options.out)
    cli.show(f'written: {path}')
    return 0


def run_bench(options: argparse.Namespace) -> int:
    """Measure how fast a data set is read."""
    figures = bench.bench(*name_and_root(options), options.split, options.tops and options.tops.split(','),
                          options.images, options.rate, options.workers, options.ahead)
    cli.show(*(json.dumps(figures, indent=2) if options.json else bench.text(figures)).split('\n'))
    return 0


if __name__ == '__main__':
    sys.exit(cli.run(main))
