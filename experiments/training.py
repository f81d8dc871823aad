"""What the demo and the studies train alike: published nets that fit a CPU, from the convolutions of VGG-16."""
import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cli
import files
from data_layers import dataset_type
from nets import blocks
from nets.edits import freeze, narrow
from solvers import best, snapshot
from solvers.loop import NONE, solve
from solvers.options import Options
from solvers.source import read_from
from solvers.training import Training

FROZEN = ('conv1', 'conv2', 'conv3')
UPSAMPLING = 1e4        # times the rate of a net, with which kernels of its upsampling would move by a millionth


def data_in(dataset: str, root: Path) -> Any:
    """A data module, as of `nets.data`, for a data set with the tops `data` and `label` in a folder of its own."""
    def feed(split: str) -> Any:
        options: dict[str, Any] = {} if split == 'deploy' else {'root': str(root)}
        return blocks.feed(dataset, split, {'data': 'data'}, **options)
    return SimpleNamespace(NUM_CLASSES=len(dataset_type(dataset).classes['label']), feed=feed)


def shrink(net: Any, width: int) -> Any:
    """A net with fc6 and fc7 of `width` outputs, which start at random, and with conv1 to conv3 as they are.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
    width : int
        Outputs of fc6 and of fc7.

    Returns
    -------
    caffe_pb2.NetParameter
        A copy.
    """
    return freeze(narrow(net, width), FROZEN)


def seeded(fcn: Callable[[str], Any], seed: int, width: int | None) -> Callable[[str], Any]:
    """A net, split -> `NetParameter`, whose images are drawn by a seed, shrunk to a width where one is given."""
    def result(split: str) -> Any:
        net = fcn(split) if width is None else shrink(fcn(split), width)
        return read_from(net, seed=seed) if split == 'train' else net
    return result


def train(training: Training, run: Path, initial: Path, what: str, keep: int | None = None,
          options: Options = NONE) -> tuple[dict[str, float], float]:
    """Train a net to the end of its recipe, from where an earlier call was stopped.

    Parameters
    ----------
    training : Training
        Net and schedule, of one task.
    run : Path
        The run's folder.
    initial : Path
        The caffemodel it starts from.
    what : str
        What the message about a signal calls it: the demo or the study.
    keep : int, optional
        Snapshots to keep; all by default.
    options : Options
        As of `solve`.

    Returns
    -------
    scores : dict
        Name -> value of each of `solvers.metrics.METRICS`, as fractions of 1.
    seconds : float
        Of this call.

    Raises
    ------
    cli.Failed
        A signal stopped it.
    """
    begin = time.perf_counter()
    matrices = solve(training, run, [initial], resume=True, keep=keep, options=options)
    if not matrices:
        raise cli.Failed(f'the {what} was stopped; the same command goes on with it')
    return matrices['label'].compute().summary(), time.perf_counter() - begin


def train_once(training: Training, run: Path, initial: Path, what: str, options: Options = NONE) -> dict[str, Any]:
    """Train a net, unless just that was done before.

    What a training is, its net, its recipe and the weights it starts from, is written down before it begins. At its end
    only its weights, its metrics and its predictions stay.

    Parameters
    ----------
    training, run, initial, what, options
        As of `train`; the folder also gets `training.json`.

    Returns
    -------
    dict
        What `training.json` holds: `about`, `scores` (the metrics as fractions of 1) and `seconds` (None for a
        training that was resumed).

    Raises
    ------
    BadInput
        The folder holds another training.
    Failed
        A signal stopped the training.
    """
    about = {'net': hashlib.sha256(str(training.fcn('train')).encode()).hexdigest(),
             'recipe': training.recipe.facts(), 'initial': files.sha256(initial)}
    record = run / 'training.json'
    known: dict[str, Any] = json.loads(files.read_text(record)) if record.exists() else {'about': about}
    if known['about'] != about:
        raise cli.BadInput(f'{run} holds another training than this {what} asks for; remove it, or give another --out')
    if 'scores' in known:
        return known
    run.mkdir(parents=True, exist_ok=True)
    files.write_json(record, known)
    resumed = snapshot.list_snapshots(run / 'snapshots')
    scores, seconds = train(training, run, initial, what, keep=1, options=options)
    known |= {'scores': scores, 'seconds': None if resumed else round(seconds)}
    files.write_json(record, known)
    shutil.rmtree(run / 'snapshots')    # weights.caffemodel is the last of them
    best.forget(run)
    return known


def slug(name: str) -> str:
    """What a net's run is called.

    >>> slug('FCN-32s, as long as 8s')
    'fcn-32s-as-long-as-8s'
    """
    return name.lower().replace(',', '').replace(' ', '-')


def run_folder(runs: Path, name: str, seed: int) -> Path:
    """The folder, below `runs`, of the run of a net and a seed."""
    return runs / f'seed-{seed}' / slug(name)
