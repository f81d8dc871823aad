"""The nets as files, tables and trained weights.

    python -m nets emit [NET ...] --out DIR     prototxts: both phases, deploy and solver
    python -m nets summary NET                  one line a layer
    python -m nets train NET [options]          train it, and first whatever it is initialised from
    python -m nets list                         the nets there are
"""
import argparse
import sys
from pathlib import Path

import cli
import nets
from nets.summary import summary
from solvers import solve, weights


def main(argv=None) -> None:
    parser = cli.Parser(prog='python -m nets', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    emit = commands.add_parser('emit', help='write the prototxts of nets')
    emit.add_argument('net', nargs='*', metavar='NET', help='all of them when none is named')
    emit.add_argument('--out', type=Path, required=True, metavar='DIR', help='gets a folder for each net')
    show = commands.add_parser('summary', help='print a net, one line a layer')
    show.add_argument('net', metavar='NET')
    chain = commands.add_parser('train', help='train a net and what it starts from; options as of its solve.py')
    chain.add_argument('net', metavar='NET')
    commands.add_parser('list', help='print the names of the nets')
    args, rest = parser.parse_known_args(argv)
    if args.command == 'train':
        train(args.net, solve.parser(args.net).parse_args(rest))
        return
    if rest:
        parser.error(f'unrecognised arguments: {" ".join(rest)}')
    if args.command == 'emit':
        for training in [nets.load(name) for name in args.net or nets.names()]:
            solve.emit(training, args.out / training.net)
    elif args.command == 'summary':
        print(summary(nets.load(args.net).fcn('deploy')))
    else:
        print('\n'.join(nets.names()))


def train(name, args) -> None:
    """Train a net; first those it starts from, as long as their weights do not exist. What was begun goes on."""
    training = nets.load(name)
    if not args.run and weights.existing(name):
        print(f'{name} is trained: {weights.existing(name)}')
        return
    if not args.weights:
        for source in training.init:
            if source in nets.names():
                train(source, replace_args(args, run=None, weights=None))
    solve.train(training, replace_args(args, resume=True))


def replace_args(args, **changes):
    """A copy of parsed arguments with some changed."""
    return argparse.Namespace(**vars(args) | changes)


if __name__ == '__main__':
    sys.exit(cli.run(main))
