"""Times of nets on this machine's CPU, beside which docs/results.md puts the papers'."""
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

import files
import nets
import workers
from nets import alexnet
from report import published
from report.timing import processor, randomise
from solvers.instance import instantiate
from solvers.weights import ROOT

PASSES = 5      # timed after the first


def measure() -> dict[str, Any]:
    """Time the nets of the papers' Table 1 at 500 x 500, and the grid of CaffeNet, all with random weights.

    Returns
    -------
    dict
        `processor`, `cores`, `nets` (name -> as `forward`) and `grid` (as `grid`).
    """
    return {'processor': processor(), 'cores': os.cpu_count(),
            'nets': {name: forward(name) for name in published.CLASSIFIERS}, 'grid': grid()}


def forward(name: str) -> dict[str, float]:
    """Time the forward pass of a net.

    Parameters
    ----------
    name : str
        Such as 'voc-fcn32s'.

    Returns
    -------
    dict
        `seconds`, the median of a pass after the first, and `parameters`, the number of those that learn.
    """
    parameters = nets.load(name).fcn('deploy')
    net, rng = instantiate(parameters), np.random.default_rng(0)
    randomise(net, rng)
    net.blobs['data'].data[...] = rng.uniform(-120, 120, net.blobs['data'].shape)
    net.forward()
    times = []
    for _ in range(PASSES):
        begin = time.perf_counter()
        net.forward()
        times.append(time.perf_counter() - begin)
    fixed = {layer.name for layer in parameters.layer if layer.type == 'Deconvolution'}
    count = sum(blob.count for layer, blobs in net.params.items() if layer not in fixed for blob in blobs)
    return {'seconds': statistics.median(times), 'parameters': count}


def grid() -> dict[str, Any]:
    """The times of CaffeNet on a 10 x 10 grid of positions, at once and crop by crop.

    Returns
    -------
    dict
        `timing` in the report.json of `surgery convolutionalize`.
    """
    with files.scratch() as folder:
        net = instantiate(alexnet.classifier())
        randomise(net, np.random.default_rng(0))
        (folder / 'net.prototxt').write_text(str(alexnet.classifier()))
        net.save(str(folder / 'net.caffemodel'))
        done = workers.call([sys.executable, '-m', 'surgery', 'convolutionalize', '--prototxt', folder / 'net.prototxt',
                             '--weights', folder / 'net.caffemodel', '--out', folder / 'dense'], cwd=ROOT,
                            stdout=subprocess.DEVNULL)
        done.check_returncode()
        timing: dict[str, Any] = json.loads((folder / 'dense/report.json').read_text())['proof']['timing']
        return timing
