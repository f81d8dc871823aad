"""A net with dropout whose steps take milliseconds, on VOC. As a program it trains: tests kill it.

    python -m tests.helpers.tiny RUN ITERATIONS [WEIGHTS]
"""
import os
import sys
from pathlib import Path

import numpy as np

import accel  # noqa: F401 (as in the process of the tests)
import cli
from accel import ranks
from nets import voc
from nets.blocks import conv_relu, crop, dropout, loss, score, upsample
from solvers import monitor
from solvers.instance import instantiate
from solvers.loop import solve
from solvers.recipe import Recipe
from solvers.training import Training
from surgery import write_weights


def fcn(split):
    n = voc.feed(split)
    n.conv1_1, n.relu1_1 = conv_relu(n.data, 8, stride=2, pad=3, weight_filler=dict(type='msra'))
    n.drop = dropout(n.relu1_1)
    n.score_fr = score(n.drop, voc.NUM_CLASSES)
    n.upscore = upsample(n.score_fr, 2, kernel_size=3)
    n.score = crop(n.upscore, n.data)
    loss(n)
    return n.to_proto()


def random_weights(path):
    """Write weights of a fixed seed, so that a photograph gets several classes; the path."""
    rng, net = np.random.default_rng(0), instantiate(fcn('deploy'))
    write_weights(path, {name: [rng.standard_normal(blob.data.shape).astype(np.float32) for blob in blobs]
                         for name, blobs in net.params.items() if not name.startswith('up')})
    return path


def training(iterations, **changes):
    recipe = dict(base_lr=1e-7, iterations=iterations, score_every=7, snapshot=5, test_iter=3, momentum=0.9)
    return Training('tiny', fcn, Recipe(**recipe | changes), init=())


def main(argv):
    run, iterations, *options = argv
    cli.say('started')
    monitor.plot = lambda *_: None      # curves take longer than the steps between them here
    iter_size = int(os.environ.get('TINY_ITER_SIZE', '1'))
    solve(training(int(iterations), iter_size=iter_size), Path(run), options, resume=True)


if __name__ == '__main__':
    sys.exit(ranks.run(main, sys.argv[1:]))
