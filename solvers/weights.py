"""Where weights lie and what they are called: classifiers to start from, published nets, and what was trained here."""
import os
from pathlib import Path

import cli

ROOT = Path(__file__).resolve().parent.parent
# Host of the published weights; it is often out of reach.
PUBLISHED_HOST = 'dl.caffe.berkeleyvision.org'

# The classifiers whose weights a trunk starts from: file name, and where it comes from.
CLASSIFIERS = {
    'vgg16': ('VGG_ILSVRC_16_layers.caffemodel',
              'the 16-layer model of the Oxford VGG group for ILSVRC-2014, in Caffe format, 528 MB'),
    'caffenet': ('bvlc_reference_caffenet.caffemodel', f'{PUBLISHED_HOST}/bvlc_reference_caffenet.caffemodel, 233 MB'),
}

# Released weights of the papers' nets.
PUBLISHED = {
    'voc-fcn32s': 'fcn32s-heavy-pascal', 'voc-fcn16s': 'fcn16s-heavy-pascal', 'voc-fcn8s': 'fcn8s-heavy-pascal',
    'voc-fcn8s-atonce': 'fcn8s-atonce-pascal', 'voc-fcn-alexnet': 'fcn-alexnet-pascal',
}


def runs_folder() -> Path:
    """Where runs are written: `$FCN_RUNS`, or `runs/` of the checkout."""
    return Path(os.environ.get('FCN_RUNS') or ROOT / 'runs')


def weights_folder() -> Path:
    """Where downloaded weights lie: `$FCN_WEIGHTS`, or `weights/` of the checkout."""
    return Path(os.environ.get('FCN_WEIGHTS') or ROOT / 'weights')


def candidates(name) -> list[Path]:
    """The files that may hold the weights of a classifier or net, the preferred one first."""
    if name in CLASSIFIERS:
        return [weights_folder() / CLASSIFIERS[name][0]]
    paths = [runs_folder() / name / 'weights.caffemodel', weights_folder() / f'{name}.caffemodel']
    if name in PUBLISHED:
        paths.append(weights_folder() / f'{PUBLISHED[name]}.caffemodel')
    return paths


def existing(name) -> Path | None:
    """The file with the weights of a classifier or net, or None."""
    return next((path for path in candidates(name) if path.is_file()), None)


def find(name) -> Path:
    """The file with the weights of a classifier or net.

    Raises
    ------
    cli.BadInput
        When there is none; says what to download or train, and where to put it.
    """
    path = existing(name)
    if path:
        return path
    if name in CLASSIFIERS:
        file, source = CLASSIFIERS[name]
        raise cli.BadInput(f'weights of {name} are missing: get {file} ({source}) and put it at '
                           f'{weights_folder() / file}; FCN_WEIGHTS names another folder')
    raise cli.BadInput(f'weights of {name} are missing: train it (make {name}), '
                       f'or put its caffemodel at {" or ".join(map(str, candidates(name)[1:]))}')
