"""The parameters that training begins from, brought together as the loop does, without Caffe but for the fillers."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from cli import BadInput
from solvers.loop import unfilled
from solvers.training import Training
from surgery import Report, fill_bilinear
from surgery.caffemodel import Weights
from surgery.classes import class_layers


@dataclass
class Start:
    """What a net's training begins from.

    Attributes
    ----------
    weights : dict of str to list of array
        Of every layer with parameters.
    reports : list of Report
        What was transplanted.
    filled : list of str
        Deconvolutions that the training fills with bilinear kernels, since nothing else gives them weights.
    problem : str
        Why the caffemodels do not fit; empty where they do.
    """
    weights: Weights
    reports: list[Report] = field(default_factory=list)
    filled: list[str] = field(default_factory=list)
    problem: str = ''

    @property
    def given(self) -> set[str]:
        """Layers that have parameters from a caffemodel."""
        return {str(entry.target) for report in self.reports for entry in (*report.copied, *report.coerced)}


def held(weights: Mapping[str, Sequence[Any]]) -> Any:
    """Parameters in the form that a `caffe.Net` has them; changes go to the arrays."""
    return SimpleNamespace(params={name: [SimpleNamespace(data=blob, shape=blob.shape) for blob in blobs]
                                   for name, blobs in weights.items()})


def begin(training: Training, net: Any, fillers: Weights, sources: Sequence[Weights]) -> Start:
    """Transplant and fill, as `solvers.loop` does at the beginning of a run.

    Parameters
    ----------
    training : Training
    net : caffe_pb2.NetParameter
        That trains.
    fillers : dict of str to list of array
        What Caffe fills it with; changed.
    sources : sequence of dict
        The caffemodels.
    """
    found = Start(fillers)
    made = held(fillers)
    try:
        found.reports = training.initialise(made, *sources) if sources else []
    except BadInput as problem:
        found.problem = str(problem)
    except (KeyError, IndexError, ValueError) as problem:     # a solve.py that takes the weights for others
        found.problem = f'the weights are not those that this net starts from ({type(problem).__name__}: {problem})'
    found.filled = unfilled(made, net, found.reports)
    fill_bilinear(made, found.filled)
    return found


def scoring_layers(deploy: Any, score: str) -> dict[str, bool]:
    """The layers that make the scores: name -> whether it is one that upsamples them; empty where that is not known."""
    try:
        return {name: layer.upsamples for name, layer in class_layers(deploy, score).items()}
    except (BadInput, ValueError):
        return {}
