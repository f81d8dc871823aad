"""The nets as files, tables and trained weights.

    python -m nets emit [NET ...] --out DIR     prototxts: both phases, deploy and solver
    python -m nets summary NET                  one line a layer
    python -m nets train NET [options]          train it, and first whatever it is initialised from
    python -m nets weights NET                  fetch the weights released with the papers
    python -m nets new NAME --data DIR          nets for your own photographs
    python -m nets list                         the nets there are
"""
import sys
from collections.abc import Sequence
from pathlib import Path

import cli
import files
import nets
from accel import ranks
from nets import new
from nets.summary import summary
from solvers import solve, weights
from solvers.instance import instantiate, load


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m nets', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    emit = commands.add_parser('emit', help='write the prototxts of nets')
    emit.add_argument('net', nargs='*', metavar='NET', help='all of them when none is named')
    emit.add_argument('--out', type=Path, required=True, metavar='DIR', help='gets a folder for each net')
    for name, does in {'summary': 'print a net, one line a layer', 'train': 'train a net and first what it starts from',
                       'weights': 'fetch the released weights of a net, checked against it'}.items():
        commands.add_parser(name, help=does).add_argument('net', metavar='NET')
    new.arguments(commands.add_parser('new', help='look at your own data and write nets for it'))
    commands.add_parser('list', help='print the names of the nets')
    args, rest = parser.parse_known_args(argv)
    if args.command == 'train':
        solve.train_chain(args.net, nets.load, solve.parser(args.net).parse_args(rest))
    elif rest:
        parser.error(f'unrecognised arguments: {" ".join(rest)}')
    elif args.command == 'emit':
        cli.check_output_folder(args.out)
        with files.whole_folder(args.out) as folder:
            for training in [nets.load(name) for name in args.net or nets.names()]:
                training.emit(folder / training.net)
    elif args.command == 'new':
        cli.show(*new.new(args, nets.FOLDER).split('\n'))
    elif args.command == 'summary':
        cli.show(*summary(nets.load(args.net).fcn('deploy')).split('\n'))
    elif args.command == 'weights':
        fcn = nets.load(args.net).fcn
        cli.show(weights.fetch(args.net, lambda path: load(instantiate(fcn('deploy')), path, exactly=True)))
    else:
        cli.show(*nets.names())


if __name__ == '__main__':
    sys.exit(ranks.run(main))
