"""What the demo and the study train alike: published nets that fit a CPU, from the convolutions of VGG-16."""
import time
from pathlib import Path
from typing import Any

import cli
from nets.edits import freeze, narrow
from solvers.loop import solve
from solvers.training import Training

FROZEN = ('conv1', 'conv2', 'conv3')


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


def train(training: Training, run: Path, initial: Path, what: str, keep: int | None = None,
          ) -> tuple[dict[str, float], float]:
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
    matrices = solve(training, run, [initial], resume=True, keep=keep)
    if not matrices:
        raise cli.Failed(f'the {what} was stopped; the same command goes on with it')
    return matrices['label'].compute().summary(), time.perf_counter() - begin
