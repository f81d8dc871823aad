"""A run folder read back: how it was trained, its curves, its nets and its weights."""
import hashlib
import json
import math
from functools import cached_property
from pathlib import Path

from cli import BadInput
from solvers import monitor


class Run:
    """What `solvers.solve` left in a folder; like a `Training` it has `fcn` and `phases`, but read from the prototxts.

    Parameters
    ----------
    path : Path
        The folder.

    Attributes
    ----------
    about : dict
        `run.json`; empty when there is none.
    losses : list of (int, float)
        Iteration and training loss, up to the first that is not finite.
    scores : list of (int, dict)
        Iteration and, by label blob, the four metrics.

    Raises
    ------
    BadInput
        The folder holds no run, or a damaged one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        if not any((path / name).is_file() for name in ('run.json', 'metrics.jsonl')):
            raise BadInput(f'{path} is not the folder of a run: it has neither run.json nor metrics.jsonl')
        self.about = self._json('run.json')
        try:
            lines = monitor.read(path / 'metrics.jsonl')
            losses = [(int(line['iteration']), float(line['loss'])) for line in lines if 'scores' not in line]
            self.scores = [(int(line['iteration']), {label: {name: float(score) for name, score in task.items()}
                                                     for label, task in line['scores'].items()})
                           for line in lines if 'scores' in line]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
            raise BadInput(f'{path / "metrics.jsonl"} is damaged ({problem!r})') from None
        self.diverged = next((iteration for iteration, loss in losses if not math.isfinite(loss)), None)
        self.losses = [(iteration, loss) for iteration, loss in losses
                       if self.diverged is None or iteration < self.diverged]

    def _json(self, name: str) -> dict:
        path = self.path / name
        try:
            value = json.loads(path.read_text()) if path.exists() else {}
        except (OSError, ValueError) as problem:
            raise BadInput(f'{path} is damaged ({problem})') from None
        if not isinstance(value, dict):
            raise BadInput(f'{path} is damaged (it is no JSON object)')
        return value

    @property
    def net(self) -> str:
        """Name of the net."""
        return str(self.about.get('net') or self.path.name)

    @property
    def weights(self) -> Path:
        return self.path / 'weights.caffemodel'

    @cached_property
    def phases(self) -> tuple[str, str]:
        """The splits that train and score, as named by the solver."""
        solver = self._message('solver.prototxt', 'SolverParameter')
        if not solver.train_net or not solver.test_net:
            raise BadInput(f'{self.path / "solver.prototxt"} names no train_net or no test_net')
        return Path(solver.train_net).stem, Path(solver.test_net[0]).stem

    def fcn(self, split: str):
        """The `NetParameter` of a split or of 'deploy'."""
        net = self._message(f'{split}.prototxt', 'NetParameter')
        for layer in net.layer:     # Caffe imports whatever module a Python layer names
            if layer.type == 'Python' and layer.python_param.module.partition('.')[0] != 'data_layers':
                raise BadInput(f'{self.path / f"{split}.prototxt"}: the layer {layer.name} runs the Python module '
                               f'{layer.python_param.module!r}; only those of data_layers are let into a report')
        return net

    def _message(self, name: str, kind: str):
        from caffe.proto import caffe_pb2
        from google.protobuf import text_format
        path = self.path / name
        try:
            return text_format.Parse(path.read_text(), getattr(caffe_pb2, kind)())
        except FileNotFoundError:
            raise BadInput(f'{path} is missing') from None
        except (OSError, ValueError, text_format.ParseError) as problem:
            raise BadInput(f'{path} cannot be read ({problem})') from None


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
