"""What `trial` works on, written to a folder, and the processes that it works in."""
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import cli
import files
from accel import ranks
from cli import BadInput
from solvers.doctor import trial
from solvers.doctor.samples import Samples
from solvers.foreign import COMPLAINT, FATAL
from solvers.losses import losses_of, normalisation_of
from solvers.source import data_layer
from solvers.weights import ROOT
from surgery import read_weights, write_weights
from surgery.caffemodel import Weights

ADAPTIVE = tuple(trial.USUAL)       # types whose steps do not depend on how large the loss is


def fed(net: Any, shapes: dict[str, tuple[int, ...]]) -> Any:
    """A net that trains, with Input layers in place of its data layer.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
    shapes : dict of str to shape
        Blob of the data layer -> C x H x W.
    """
    result = type(net)()
    result.CopyFrom(net)
    layer = data_layer(result)
    layer.type = 'Input'
    layer.ClearField('python_param')
    for name in layer.top:
        layer.input_param.shape.add(dim=[1, *shapes[name]])
    return result


def without_dropout(net: Any) -> Any:
    """A net whose passes always give the same: Dropout lets all through."""
    result = type(net)()
    result.CopyFrom(net)
    for layer in result.layer:
        if layer.type == 'Dropout':
            layer.type = 'Power'
            layer.ClearField('dropout_param')
    return result


def blobs_of(net: Any, samples: Samples, i: int) -> dict[str, Any]:
    """The inputs of an image by the names of the net's blobs, float32."""
    tops = samples.images[i][1]
    return {blob: tops[top].astype(np.float32) for blob, top in zip(data_layer(net).top, samples.dataset.tops,
                                                                   strict=True)}


def pixels_ratio(net: Any, samples: Samples, type: str, batch: int) -> float:
    """By how much a rate grows in its effect from the part that is learnt to whole images.

    A loss that is summed has a gradient for each labelled pixel.
    """
    kinds = {normalisation_of(layer) for layer in losses_of(net)}
    if type in ADAPTIVE or not kinds & {'BATCH_SIZE', 'NONE'} or not samples.train.labelled:
        return 1.0
    part = int(np.count_nonzero((samples.images[0][1][samples.label] != 255).any(0)))
    whole = float(np.mean([min(n, samples.size[0] * samples.size[1]) for n in samples.train.labelled]))
    return max(whole, 1) / max(part, 1) * (batch if 'NONE' in kinds else 1)


def write(folder: Path, net: Any, samples: Samples, settings: Any, plan: dict[str, Any]) -> None:
    """Write nets, solver, images and plan."""
    images = [blobs_of(net, samples, i) for i in range(len(samples.images))]
    feeding = fed(net, {name: array.shape for name, array in images[0].items()})
    files.write(folder / 'train.prototxt', str(feeding))
    files.write(folder / 'probe.prototxt', str(without_dropout(feeding)))
    solver = type(settings)()
    solver.CopyFrom(settings)
    for name in ('net', 'train_net', 'test_net', 'test_iter', 'test_interval', 'snapshot', 'test_state', 'train_state',
                 'test_initialization', 'snapshot_prefix', 'solver_mode', 'weights'):
        solver.ClearField(name)
    solver.display, solver.max_iter = 0, 1_000_000
    files.write(folder / 'solver.prototxt', str(solver))
    for i, tops in enumerate(images):
        for name, array in tops.items():
            np.save(folder / f'{name}.{i}.npy', np.ascontiguousarray(array))
    files.write_json(folder / trial.PLAN, plan | {'tops': list(images[0]), 'images': len(images)})


class Trial:
    """The process that computes: first what fillers give, then, from the parameters that it is told, all else.

    Parameters
    ----------
    folder : Path
        As of `write`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / 'log'

    def __enter__(self) -> 'Trial':
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get('PYTHONPATH'))))
        with self.log.open('w') as errors:
            self.process = subprocess.Popen(
                [sys.executable, '-P', '-m', trial.__name__, str(self.folder)], text=True, errors='replace',
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env=ranks.child_environment() | {'PYTHONPATH': paths, 'FCN_WORKERS': '0'})
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def fillers(self) -> Weights:
        """What Caffe fills the net with.

        Raises
        ------
        BadInput
            Caffe cannot make it; says which of its checks failed.
        """
        self._wait(trial.FILLED)
        return read_weights(self.folder / trial.FILLERS)

    def measured(self, start: Weights, now: Weights | None) -> dict[str, Any]:
        """What `trial.measure` finds.

        Parameters
        ----------
        start, now : dict of str to list of array
            The parameters that training begins from, and those of a snapshot.

        Raises
        ------
        BadInput
            Caffe ended the process; says which of its checks failed.
        """
        write_weights(self.folder / trial.START, start)
        if now:
            write_weights(self.folder / trial.NOW, now)
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):      # it has ended, which is noticed below
            self.process.stdin.write('go\n')
            self.process.stdin.flush()
        self._wait(trial.DONE)
        found: dict[str, Any] = json.loads(files.read_text(self.folder / trial.FOUND))
        return found

    def _wait(self, word: str) -> None:
        """Tell what the process does until it says a word."""
        with cli.progress(desc='try', unit='part', leave=False) as bar:
            for line in self.process.stdout or ():
                if line.strip() == word:
                    return
                bar.set_postfix_str(cli.printable(line.strip()), refresh=False)
                bar.update()
        status = self.process.wait()
        said = self.log.read_text(errors='replace')
        ended = signal.Signals(-status).name if status < 0 else f'exit {status}'
        last = [line for line in said.splitlines() if line.strip()]
        raise BadInput((FATAL.findall(said) or COMPLAINT.findall(said) or last or [ended])[-1].strip())
