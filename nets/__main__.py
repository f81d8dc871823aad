"""The nets as files, tables and trained weights.

    python -m nets emit [NET ...] --out DIR     prototxts: both phases, deploy and solver
    python -m nets summary NET                  one line a layer
    python -m nets train NET [options]          train it, and first whatever it is initialised from
    python -m nets weights NET                  fetch the weights released with the papers
    python -m nets list                         the nets there are
"""
import sys
from pathlib import Path

import cli
import nets
from solvers import parallel, solve, weights
from solvers.instance import instantiate, load
from solvers.summary import summary


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
    released = commands.add_parser('weights', help='fetch the released weights of a net, checked against it')
    released.add_argument('net', metavar='NET')
    commands.add_parser('list', help='print the names of the nets')
    args, rest = parser.parse_known_args(argv)
    if args.command == 'train':
        solve.train_chain(args.net, nets.load, solve.parser(args.net).parse_args(rest))
    elif rest:
        parser.error(f'unrecognised arguments: {" ".join(rest)}')
    elif args.command == 'emit':
        for training in [nets.load(name) for name in args.net or nets.names()]:
            solve.emit(training, args.out / training.net)
    elif args.command == 'summary':
        print(summary(nets.load(args.net).fcn('deploy')))
    elif args.command == 'weights':
        deploy = nets.load(args.net).fcn('deploy')
        print(weights.fetch(args.net, lambda path: load(instantiate(deploy), path, exactly=True)))
    else:
        print('\n'.join(nets.names()))


if __name__ == '__main__':
    sys.exit(parallel.run(main))
