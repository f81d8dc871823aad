"""Nets that `python -m nets new` writes: made for a folder of data, and trained in moments."""
from dataclasses import replace

import numpy as np

import cli
import nets
from data_layers.own.folder import CARD
from nets import new
from nets.edits import freeze, narrow
from solvers.loop import solve
from surgery import read_weights


def write(name, data, folder, *options):
    """What `python -m nets new NAME --data DATA OPTIONS` does, into a folder of nets."""
    parser = cli.Parser()
    new.arguments(parser)
    return new.new(parser.parse_args([name, '--data', str(data), *map(str, options)]), folder)


def describe(found, root):
    """Describe data that `survey` has looked at in the folder `root`, without nets."""
    new.write_together(new.lists(found, root), lambda: new.card(found, root).write(root / CARD))


def light(training, iterations=3, width=None):
    """8 outputs in fc6 and fc7, and `width` in the convolutions if given; nothing to learn below conv5."""
    def fcn(split):
        net = narrow(training.fcn(split), 8)
        return freeze(narrow(net, width, ('conv',)) if width else net, ('conv1', 'conv2', 'conv3', 'conv4'))
    return replace(training, fcn=fcn, recipe=replace(training.recipe, iterations=iterations, score_every=2, snapshot=2))


def convolutions(most=512):
    """Those of VGG-16, random but alive, with `most` channels at most: layer -> blobs."""
    rng = np.random.default_rng(0)
    blobs, channels = {}, 3
    for stage, (width, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
        width = min(width, most)
        for i in range(1, depth + 1):
            scale = np.float32(np.sqrt(2 / (9 * channels)))
            blobs[f'conv{stage}_{i}'] = [rng.standard_normal((width, channels, 3, 3), np.float32) * scale,
                                         np.zeros(width, np.float32)]
            channels = width
    return blobs


def train_chain(name, initial, runs, steps, width=None):
    """Train 32s, 16s and 8s of a data set; what came out: losses and scores, confusion matrix, bytes of the weights."""
    for stride in (32, 16, 8):
        run = runs / f'{name}-fcn{stride}s'
        matrices = solve(light(nets.load(f'{name}-fcn{stride}s'), steps, width), run, [initial])
        initial = run / 'weights.caffemodel'
    learnt = read_weights(initial)
    assert all(np.abs(learnt[name][0]).max() > 0 for name in ('score_fr', 'score_pool4', 'score_pool3'))
    return ((run / 'metrics.jsonl').read_text(), matrices['label'].counts.tolist(),
            {name: [blob.tobytes() for blob in blobs] for name, blobs in learnt.items()})
