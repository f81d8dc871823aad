"""What a net reads: the data set behind its data layer."""
from pathlib import Path

import numpy as np

from data_layers import Dataset, dataset_type, open_dataset
from solvers.score import tasks


def facts(net_parameter) -> dict:
    """What the data layer of a net says: data set, split, tops, perhaps root and more."""
    from data_layers.param_str import parse
    return parse(net_parameter.layer[0].python_param.param_str)


def open_source(net_parameter) -> Dataset:
    """The split that the data layer of a net reads."""
    read = facts(net_parameter)
    return open_dataset(read['dataset'], read['split'], read.get('root'), read.get('tops'))


class Source:
    """What a net reads and tells apart, known without the data set: how a user's own image becomes its input."""

    def __init__(self, training) -> None:
        test = training.fcn(training.phases[1])
        self.dataset: type[Dataset] = dataset_type(facts(test)['dataset'], facts(test).get('root'))
        self.tasks = tasks(test)
        inputs = [layer.top[0] for layer in training.fcn('deploy').layer if layer.type == 'Input']
        self.tops = dict(zip(inputs, facts(test)['tops'], strict=False))

    def classes(self, score: str) -> tuple[str, ...]:
        """Names of the classes of a score blob."""
        return self.dataset.classes[self.tasks[score]]

    def read(self, path: Path) -> dict[str, np.ndarray]:
        """The input blobs of a photograph; other views of it lie beside its folder."""
        first, *others = self.tops
        paths = {first: path, **{name: path.parent.parent / self.tops[name] / path.name for name in others}}
        return {name: self.dataset.read_image(top, paths[name]) for name, top in self.tops.items()}
