"""Look after data sets on disk.

python -m data_layers list                         the data sets, their sources, licences and folders
python -m data_layers check voc                    read all of it, list everything that is wrong
python -m data_layers check DIR --split train      the data set in a folder, one split
python -m data_layers prepare sbd --from DIR       bring a download into place
"""
import json
import sys
from pathlib import Path

import cli
from data_layers import DATASETS
from data_layers.check import check, recognise, text
from data_layers.prepare import prepare


def parser() -> cli.Parser:
    top = cli.Parser(prog='python -m data_layers', description=__doc__)
    commands = top.add_subparsers(dest='command', required=True, metavar='COMMAND')
    commands.add_parser('list', help='say where every data set comes from and on which terms')
    one = commands.add_parser('check', help='read every image and label of a data set; exit 1 when something is wrong')
    one.add_argument('dataset', metavar='DATASET_OR_DIR', help=f'{", ".join(DATASETS)}, or the folder of one')
    one.add_argument('--root', metavar='DIR', help="the data set's folder (default: its place in $FCN_DATA)")
    one.add_argument('--split', action='append', metavar='S', help='a split (default: all that are there); repeatable')
    one.add_argument('--tops', metavar='TOP,TOP', help='what to read (default: all), e.g. color,label')
    one.add_argument('--workers', type=int, metavar='N', help='processes (default: one a core)')
    one.add_argument('--json', action='store_true', help='print the whole report as JSON')
    one = commands.add_parser('prepare', help='bring a download into the layout that the data layers read')
    one.add_argument('dataset', metavar='DATASET', help=', '.join(DATASETS))
    one.add_argument('--from', dest='source', metavar='PATH', required=True,
                     help='the folder with the download, packed or unpacked, or one archive')
    one.add_argument('--to', metavar='DIR', help="the data set's folder (default: its place in $FCN_DATA)")
    return top


def main(argv=None) -> int:
    options = parser().parse_args(argv)
    if options.command == 'list':
        print('\n'.join(kind.describe() for kind in DATASETS.values()))
        return 0
    if options.command == 'check':
        return run_check(options)
    print(prepare(options.dataset, Path(options.source), options.to and Path(options.to)))
    return 0


def run_check(options) -> int:
    name, root = options.dataset, options.root
    if name not in DATASETS:
        if not Path(name).is_dir():
            raise cli.BadInput(f'{name} is neither a folder nor a data set: choose from {", ".join(DATASETS)}')
        name, root = recognise(Path(name)), name
    if options.workers is not None and options.workers < 1:
        raise cli.BadInput(f'--workers must be at least 1, not {options.workers}')
    report = check(name, root, options.split, options.tops and options.tops.split(','), options.workers)
    print(json.dumps(report, indent=2) if options.json else text(report))
    return 1 if report['problems'] else 0


if __name__ == '__main__':
    sys.exit(cli.run(main))
