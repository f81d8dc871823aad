"""Nets for your own data: `python -m nets new NAME --data DIR`.

Looks at the data, says what it found, describes it in `$FCN_DATA/NAME`, and writes the nets: like those of the papers,
like a trained net (`--from`), or on the trunk of another classifier (`--trunk DIR`).
"""
import argparse
import keyword
import os
import re
import shutil
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import cli
import files
from cli import BadInput
from data_layers import DATASETS, augment, data_home
from data_layers.bands import COLOURS, is_folder_name
from data_layers.own import classlist, layouts
from data_layers.own.folder import CARD, Card
from data_layers.own.survey import Survey, survey
from nets.starts import Content, Names, Start
from nets.starts.classifier import CLASSIFIERS, STRIDES, Classifier
from nets.starts.trained import Trained, open_trained
from nets.starts.trunk import Trunk

SEED = 1337
PASSES = 40                 # over the training photographs, as SIFT Flow's nets make
STEPS = 4_000, 100_000      # at least and at most
WIDEST = 46_340             # outputs of fc6 and fc7: fc7 has as many weights as their square, and 2^31 is the limit
SCORED = 25                 # times in a run, as VOC's nets are

UNVARIED = "{}       # training images, such as {'mirror': True, 'scale': (0.5, 2), 'crop': 400}"
COMMON = '''"""What the nets of {name} share: {classes} classes, {train} photographs to learn from, {val} to score.

{card} under $FCN_DATA says where they lie and which value of a mask is which class. Yours to change.
"""
from nets import blocks
from solvers.recipe import Recipe

NUM_CLASSES = {classes}
PHASES = ('train', 'val')
VARIED: dict = {varied}
{weights}{channels}

def feed(split):
    """A net that begins with `data` and `label`."""
    return blocks.feed('{name}', split, {{'data': 'data'}}, {counted}**(VARIED if split == 'train' else {{}}))


def recipe(base_lr, **changes):
    """VOC's, but as many steps as {passes} passes over the images take, {least:,} at least and {most:,} at most."""
    return Recipe(**dict(base_lr=base_lr, iterations={steps:_}, score_every={every:_}, snapshot={every:_},
                         test_iter={val}) | changes)
'''

def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m nets new`."""
    parser.add_argument('name', metavar='NAME', help='of the data set; its nets will be NAME-fcn32s, ...')
    parser.add_argument('--data', type=Path, required=True, metavar='DIR', help='folder of photographs and masks')
    parser.add_argument('--and', dest='also', action='append', default=[], metavar='FOLDER', help='a folder beside '
                        'that of the photographs, such as depth, whose pictures of the same names are further '
                        'channels; again for each further one')
    parser.add_argument('--alpha', action='store_true', help='what pictures call transparency is a channel, such as '
                        'near infrared (default: it is left out)')
    parser.add_argument('--head', type=int, metavar='STRIDE', help='of the finest net: 32, 16 or 8 (default: 8, or '
                        'that of the net that it starts from)')
    parser.add_argument('--trunk', metavar='TRUNK', help='the classifier it starts from: vgg16 (the default), alexnet, '
                        'googlenet, or a folder that python -m surgery import or convolutionalize wrote; of the three, '
                        'only vgg16 has heads below 32')
    parser.add_argument('--from', dest='source', metavar='NET', help='go on from a trained net instead: one of nets/, '
                        'the folder of a run, or one with deploy.prototxt and weights.caffemodel; of its scores, those '
                        'of classes with the same name are kept')
    parser.add_argument('--classes', type=Path, metavar='FILE', help='list of classes (default: DIR/classes.txt)')
    parser.add_argument('--width', type=int, metavar='N', help='give fc6 and fc7 N outputs that start at random, '
                        'instead of 4096 that start from the classifier: for a CPU, or without its weights')
    parser.add_argument('--balance', action='store_true', help='weigh the classes in the loss, the rarer the more')
    parser.add_argument('--vary', metavar='LIST', help='vary the training images at random, by any of mirror, scale, '
                        'crop, rotate and colour with commas between them, each perhaps with its value (the defaults): '
                        'scale=0.5-2 of the size, crop=400 pixels or the longest side if that is less, rotate=10 '
                        'degrees at most, colour=0.2 for brightness, contrast, saturation and hue; VARIED in the '
                        'written nets/NAME.py says it')
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
    Failed
        The fully convolutional net of a trunk does not give what its classifier gives; nothing is written either.
    """
    names = Names(args.name, nets)
    check_call(args)
    check_name(names)
    start = open_start(args)
    check_taken(names, start)
    found = survey(args.data.resolve(), layouts.find(args.data.resolve(), args.seed, args.classes and classlist.read(
        args.classes), args.also), args.workers, args.also, args.alpha)
    if found.mistakes:
        more = len(found.mistakes) - 1
        cli.show(*str(found).split('\n'))
        raise BadInput(found.mistakes[0] + (f' (and {more} more: {"; ".join(found.mistakes[1:3])})' if more else ''))
    root = data_home() / args.name
    contents: dict[Path, Content] = {nets / f'{names.module}.py': common(names, found, args.balance, args.vary)}
    contents |= start.files(names, found, args.balance) | lists(found, root)
    write_together(contents, lambda: card(found, root).write(root / CARD))
    last = names.net(start.kinds[-1])
    places = (f'{data_home() / args.name} (the data), {nets / names.module}.py (what the nets share), '
              f'{", ".join(map(names.net, start.kinds))}')
    return '\n'.join([str(found), *start.account(found), f'written: {cli.printable(places)}',
                      f"train them: make {last}, or fewer steps with make {last} ARGS='--iterations N'"])


def check_call(args: argparse.Namespace) -> None:
    """Refuse options that are wrong or do not go together."""
    trunk = args.trunk or 'vgg16'
    if not args.data.is_dir():
        raise BadInput(f'--data {args.data} is not a folder')
    if args.source is not None and args.trunk is not None:
        raise BadInput(f'--from {args.source} brings its own trunk; leave --trunk {args.trunk} out')
    if trunk not in CLASSIFIERS and not Path(trunk).is_dir():
        raise BadInput(f'--trunk {trunk}: neither a folder nor one of {", ".join(CLASSIFIERS)}')
    if args.head is not None and (args.head < 1 or trunk in CLASSIFIERS and args.head not in STRIDES):
        raise BadInput(f'--head {args.head}: give the stride of the finest net, one of {", ".join(map(str, STRIDES))}')
    if trunk in ('alexnet', 'googlenet') and args.head not in (None, 32):
        raise BadInput(f'--trunk {trunk} has no head of stride {args.head}; leave --head out')
    if args.vary is not None:
        augment.parse(args.vary)
    if args.width is not None and args.width > WIDEST:
        raise BadInput(f'--width {args.width}: fc7 would have more weights than Caffe can count; take at most {WIDEST}')
    if args.width is not None and (args.width < 1 or trunk not in ('vgg16', 'alexnet')):
        raise BadInput(f'--width {args.width}: a number above 0, and for a trunk with fc6 and fc7; leave it out')
    if wrong := [name for name in args.also if not is_folder_name(name) or args.also.count(name) > 1]:
        raise BadInput(f'--and {wrong[0]}: give the name of a folder beside that of the photographs, such as depth, '
                       'each once')
    if args.seed < 0 or (args.workers is not None and args.workers < 1):
        raise BadInput('--seed must be at least 0, --workers at least 1')


def check_name(names: Names) -> None:
    """Refuse what is no name."""
    if not re.fullmatch('[a-z][a-z0-9]*(-[a-z0-9]+)*', names.data) or keyword.iskeyword(names.module):
        raise BadInput(f'NAME {names.data!r}: take lower case letters and digits, words joined by dashes')
    if names.data in DATASETS:
        raise BadInput(f'NAME {names.data!r} is that of a data set of the papers; take another')
    check_free(names, [names.nets / f'{names.module}.py', names.nets / names.module, data_home() / names.data / CARD])


def check_taken(names: Names, start: Start) -> None:
    """Refuse a name under which there are nets of the kinds to be written."""
    check_free(names, [names.folder(kind) for kind in start.kinds])


def check_free(names: Names, paths: list[Path]) -> None:
    if there := [str(path) for path in paths if os.path.lexists(path)]:
        raise BadInput(f'NAME {names.data!r} is taken; take another, or remove {", ".join(there)}')


def open_start(args: argparse.Namespace) -> Start:
    """What the nets start from, looked at before the data are."""
    if args.source is not None:
        return Trained(open_trained(args.source), args.head, args.width)
    if args.trunk is not None and args.trunk not in CLASSIFIERS:
        return Trunk(Path(args.trunk), args.head)
    return Classifier(args.trunk or 'vgg16', args.head, args.width)


def write_together(contents: Mapping[Path, Content], then: Callable[[], None]) -> None:
    """Write files that are not there yet, and do what follows: all of it, or nothing is left.

    Parameters
    ----------
    contents : mapping of Path to str or callable
        Path -> text, or what writes the file; folders are made.
    then : callable
        Called when all are written.
    """
    if there := [str(path) for path in contents if os.path.lexists(path)]:
        raise BadInput(f'{there[0]} is there already: remove it, or take another NAME')
    made: list[Path] = []
    try:
        for path, content in contents.items():
            missing = [folder for folder in path.parents if not folder.exists()]
            made += reversed(missing)
            path.parent.mkdir(parents=True, exist_ok=True)
            made.append(path)
            files.write(path, content) if isinstance(content, str) else content(path)
        then()
    except BaseException:
        for path in reversed(made):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        raise


def lists(found: Survey, root: Path) -> dict[Path, str]:
    """The lists of the splits, below the folder that describes the data: path -> text."""
    return {root / f'{split}.tsv': ''.join('\t'.join((id, *pair)) + '\n' for id, pair in pairs.items())
            for split, pairs in found.layout.splits.items()}


def card(found: Survey, root: Path) -> Card:
    """What dataset.json says; it is written last: with it, the data set is there."""
    if found.card.folder.is_relative_to(root.resolve()):    # so that the whole folder may be moved
        return replace(found.card, folder=found.card.folder.relative_to(root.resolve()))
    return found.card


def wrapped(items: Iterable[str], indent: str) -> str:
    """Items with commas, as many in a line as it holds; unlike words in a text, none is broken."""
    lines = ['']
    for item in items:
        if lines[-1] and len(lines[-1]) + len(item) > 80:
            lines.append('')
        lines[-1] += f'{lines[-1] and " " or indent}{item},'
    return '\n'.join(lines)


def common(names: Names, found: Survey, balanced: bool, vary: str | None = None) -> str:
    """The module of what the nets share."""
    train, val = len(found.found['train']), len(found.found['val'])
    steps = min(max(PASSES * train, STEPS[0]), STEPS[1])
    weights = '' if not balanced else textwrap.fill(
        f'WEIGHTS = ({", ".join(map(str, found.balance()))})', 110, subsequent_indent=11 * ' ') + '     # in the loss\n'
    channels, counted = '', ''
    if found.card.channels != COLOURS:
        listed = wrapped([repr(name) for name in found.card.channels], 12 * ' ')
        listed = listed.strip() if len(found.card.channels) == 1 else listed.strip().rstrip(',')
        channels = f'CHANNELS = ({listed})     # of the input, in its order\n'
        counted = f'channels=len(CHANNELS),\n{" " * len("    return blocks.feed(")}'
    longest = max(max(one.size) for one in found.found['train'].values())
    variation = {} if vary is None else augment.parse(vary, longest)
    if 'colour' in variation:
        sees = found.card.channels
        augment.check_colours(len(sees), sees == COLOURS, names.data)
    varied = UNVARIED if vary is None else f'{variation}     # training images'
    return COMMON.format(
        channels=channels, counted=counted,
        name=names.data, classes=len(found.card.classes), train=train, val=val, card=f'{names.data}/{CARD}',
        varied=varied, weights=weights, steps=steps, every=steps // SCORED, passes=PASSES, least=STEPS[0],
        most=STEPS[1])
