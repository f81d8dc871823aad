"""Nets for your own data: `python -m nets new NAME --data DIR`.

Looks at the data, says what it found, describes it in `$FCN_DATA/NAME`, and writes the nets like those of the papers.
"""
import argparse
import keyword
import os
import re
import shutil
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import cli
import files
from cli import BadInput
from data_layers import DATASETS, data_home
from data_layers.own import classlist, layouts
from data_layers.own.folder import CARD, Card
from data_layers.own.survey import Survey, survey

SEED = 1337
PIXELS = 500 * 375          # of a photograph of VOC, for which the published rates are
PASSES = 40                 # over the training photographs, as SIFT Flow's nets make
STEPS = 4_000, 100_000      # at least and at most
STRIDES = (32, 16, 8)
WIDEST = 46_340             # outputs of fc6 and fc7: fc7 has as many weights as their square, and 2^31 is the limit
SCORED = 25                 # times in a run, as VOC's nets are
CLASSIFIERS = {'vgg16': 'VGG-16', 'caffenet': 'CaffeNet', 'googlenet': 'GoogLeNet'}

COMMON = '''"""What the nets of {name} share: {classes} classes, {train} photographs to learn from, {val} to score.

{card} under $FCN_DATA says where they lie and which value of a mask is which class. Yours to change.
"""
from nets import blocks
from solvers.recipe import Recipe

NUM_CLASSES = {classes}
PHASES = ('train', 'val')
VARIED: dict = {{}}       # training images, such as {{'mirror': True, 'scale': (0.5, 2), 'crop': 400}}
{weights}

def feed(split):
    """A net that begins with `data` and `label`."""
    return blocks.feed('{name}', split, {{'data': 'data'}}, **(VARIED if split == 'train' else {{}}))


def recipe(base_lr, **changes):
    """VOC's, but as many steps as {passes} passes over the images take, {least:,} at least and {most:,} at most."""
    return Recipe(**dict(base_lr=base_lr, iterations={steps:_}, score_every={every:_}, snapshot={every:_},
                         test_iter={val}) | changes)
'''

NET = '''"""{title} for {name}: the net of {source} over {classes} classes.

python -m nets summary {net}
"""
from nets import {module}
from nets.{source_module} import net
{imports}

def fcn(split):
    {body}
'''

SOLVE = '''"""Train {title} on {name} from {origin}.   python solve.py --help"""
from nets import {module}
from nets.{net_module}.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name

training = Training(net_name(__file__), fcn, {module}.recipe({recipe}), init=('{init}',))

if __name__ == '__main__':
    main(training)
'''


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m nets new`."""
    parser.add_argument('name', metavar='NAME', help='of the data set; its nets will be NAME-fcn32s, ...')
    parser.add_argument('--data', type=Path, required=True, metavar='DIR', help='folder of photographs and masks')
    parser.add_argument('--head', type=int, choices=STRIDES, help='stride of the finest net (default: 8)')
    parser.add_argument('--trunk', choices=('vgg16', 'alexnet', 'googlenet'), default='vgg16',
                        help='the classifier it starts from (default: vgg16); only on vgg16 there are heads below 32')
    parser.add_argument('--classes', type=Path, metavar='FILE', help='list of classes (default: DIR/classes.txt)')
    parser.add_argument('--width', type=int, metavar='N', help='give fc6 and fc7 N outputs that start at random, '
                        'instead of 4096 that start from the classifier: for a CPU, or without its weights')
    parser.add_argument('--balance', action='store_true', help='weigh the classes in the loss, the rarer the more')
    parser.add_argument('--seed', type=int, default=SEED, metavar='N',
                        help=f'of the split, when none comes with the data (default: {SEED})')
    parser.add_argument('--workers', type=int, metavar='N', help='processes (default: one a core)')


def new(args: argparse.Namespace, nets: Path) -> str:
    """Look at data and write nets for it, as the command line `args` of `arguments` asks, into the folder `nets`.

    Returns
    -------
    str
        What was found and written.

    Raises
    ------
    BadInput
        The name is taken or none; the data have mistakes, the first of which it tells; nothing is written then.
    """
    check_call(args, nets)
    found = survey(args.data.resolve(), layouts.find(args.data.resolve(), args.seed,
                                                     args.classes and classlist.read(args.classes)), args.workers)
    if found.mistakes:
        more = len(found.mistakes) - 1
        cli.show(*str(found).split('\n'))
        raise BadInput(found.mistakes[0] + (f' (and {more} more: {"; ".join(found.mistakes[1:3])})' if more else ''))
    root = data_home() / args.name
    write_together(texts(args, nets, found) | lists(found, root), lambda: card(found, root).write(root / CARD))
    last = f'{args.name}-{kinds(args)[-1]}'
    written = (f'{data_home() / args.name} (the data), {nets / module_of(args.name)}.py (what the nets share), '
               f'{", ".join(f"{args.name}-{kind}" for kind in kinds(args))}')
    return (f'{found}\nwritten: {cli.printable(written)}\n'
            f"train them: make {last}, or fewer steps with make {last} ARGS='--iterations N'")


def check_call(args: argparse.Namespace, nets: Path) -> None:
    """Refuse a wrong call."""
    module = module_of(args.name)
    if not re.fullmatch('[a-z][a-z0-9]*(-[a-z0-9]+)*', args.name) or keyword.iskeyword(module):
        raise BadInput(f'NAME {args.name!r}: take lower case letters and digits, words joined by dashes')
    taken = [nets / f'{module}.py', nets / module, *(nets / module_of(f'{args.name}-{kind}') for kind in kinds(args)),
             data_home() / args.name / CARD]
    if args.name in DATASETS or (there := [str(path) for path in taken if os.path.lexists(path)]):
        raise BadInput(f'NAME {args.name!r} is ' + ('that of a data set of the papers; take another'
                       if args.name in DATASETS else f'taken; take another, or remove {", ".join(there)}'))
    if not args.data.is_dir():
        raise BadInput(f'--data {args.data} is not a folder')
    if args.trunk != 'vgg16' and args.head not in (None, 32):
        raise BadInput(f'--trunk {args.trunk} has no head of stride {args.head}; leave --head out')
    if args.width is not None and args.width > WIDEST:
        raise BadInput(f'--width {args.width}: fc7 would have more weights than Caffe can count; take at most {WIDEST}')
    if args.width is not None and (args.width < 1 or args.trunk == 'googlenet'):
        raise BadInput(f'--width {args.width}: a number above 0, and for a trunk with fc6 and fc7; leave it out')
    if args.seed < 0 or (args.workers is not None and args.workers < 1):
        raise BadInput('--seed must be at least 0, --workers at least 1')


def write_together(texts: Mapping[Path, str], then: Callable[[], None]) -> None:
    """Write files that are not there yet, and do what follows: all of it, or nothing is left.

    Parameters
    ----------
    texts : mapping of Path to str
        Path -> content; folders are made.
    then : callable
        Called when all are written.
    """
    if there := [str(path) for path in texts if os.path.lexists(path)]:
        raise BadInput(f'{there[0]} is there already: remove it, or take another NAME')
    made: list[Path] = []
    try:
        for path, text in texts.items():
            missing = [folder for folder in path.parents if not folder.exists()]
            made += reversed(missing)
            path.parent.mkdir(parents=True, exist_ok=True)
            made.append(path)
            files.write(path, text)
        then()
    except BaseException:
        for path in reversed(made):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        raise


def module_of(name: str) -> str:
    return name.replace('-', '_')


def kinds(args: argparse.Namespace) -> list[str]:
    """The nets to write, each started from the one before."""
    if args.trunk != 'vgg16':
        return [f'fcn-{args.trunk}']
    return [f'fcn{stride}s' for stride in STRIDES if stride >= (args.head or 8)]


def lists(found: Survey, root: Path) -> dict[Path, str]:
    """The lists of the splits, below the folder that describes the data: path -> text."""
    return {root / f'{split}.tsv': ''.join('\t'.join((id, *pair)) + '\n' for id, pair in pairs.items())
            for split, pairs in found.layout.splits.items()}


def card(found: Survey, root: Path) -> Card:
    """What dataset.json says; it is written last: with it, the data set is there."""
    if found.card.folder.is_relative_to(root.resolve()):    # so that the whole folder may be moved
        return replace(found.card, folder=found.card.folder.relative_to(root.resolve()))
    return found.card


def texts(args: argparse.Namespace, nets: Path, found: Survey) -> dict[Path, str]:
    """The modules to write: path -> text."""
    module, train, val = module_of(args.name), len(found.found['train']), len(found.found['val'])
    steps = min(max(PASSES * train, STEPS[0]), STEPS[1])
    weights = '' if not args.balance else textwrap.fill(
        f'WEIGHTS = ({", ".join(map(str, found.balance()))})', 110, subsequent_indent=11 * ' ') + '     # in the loss\n'
    result = {nets / f'{module}.py': COMMON.format(
        name=args.name, classes=len(found.card.classes), train=train, val=val,
        card=f'{args.name}/{CARD}', weights=weights, steps=steps, every=steps // SCORED, passes=PASSES,
        least=STEPS[0], most=STEPS[1])}
    before = {'vgg16': 'vgg16', 'alexnet': 'caffenet', 'googlenet': 'googlenet'}[args.trunk]
    for kind in kinds(args):
        net = f'{args.name}-{kind}'
        folder = nets / module_of(net)
        facts = dict(name=args.name, module=module, net=net, net_module=module_of(net), classes=len(found.card.classes),
                     source=f'voc-{kind}', source_module=f'voc_{module_of(kind)}', title=title(kind), init=before,
                     origin=f'the {CLASSIFIERS[before]} classifier' if before in CLASSIFIERS else
                     title(before.rpartition('-')[2]), recipe=recipe(kind, found.pixels), **body(args, module))
        result |= {folder / '__init__.py': '', folder / 'net.py': NET.format(**facts),
                   folder / 'solve.py': SOLVE.format(**facts)}
        before = net
    return result


def title(kind: str) -> str:
    """How people call a net."""
    names = {'fcn-alexnet': 'FCN-AlexNet', 'fcn-googlenet': 'FCN-GoogLeNet'}
    return names.get(kind) or kind.replace('fcn', 'FCN-')


def body(args: argparse.Namespace, module: str) -> dict[str, str]:
    """What a net does beside VOC's, and what it imports for that."""
    net = f'net.fcn(split, data={module})'
    if args.width:
        net = f'narrow({net}, {args.width})'
    if args.balance:
        net = f'n = {net}\n    return weigh(n, {module}.WEIGHTS) if split == \'train\' else n'
    used = [name for name, wanted in (('narrow', args.width), ('weigh', args.balance)) if wanted]
    return {'body': net if args.balance else f'return {net}',
            'imports': f'from nets.edits import {", ".join(used)}\n' if used else ''}


def recipe(kind: str, pixels: int) -> str:
    """The published rate, and what else AlexNet's recipe has.

    A loss summed over the pixels has gradients that grow with their number, so the rate shrinks with it.
    """
    if kind == 'fcn-alexnet':       # its loss is the mean over the pixels
        return '1e-4, momentum=0.9, iter_size=20'
    published = {'fcn16s': 1e-12, 'fcn8s': 1e-14}.get(kind, 1e-10)
    return f'{published * PIXELS / pixels:.0e}'.replace('e-0', 'e-')
