"""A training schedule as data, and the Caffe `SolverParameter` it stands for."""
from dataclasses import asdict, dataclass, replace
from typing import Any

from surgery.solver_parameter import solver_parameter


@dataclass(frozen=True)
class Recipe:
    """How a net is trained: SGD with momentum at a fixed rate, one image at a time (PAMI 2017, section 4.3).

    Parameters
    ----------
    base_lr : float
        Learning rate. For the unnormalised loss it is tiny, since a gradient sums over all pixels of an image.
    iterations : int
        Steps of one training run.
    score_every, snapshot : int
        Steps between two scorings of the test split, and between two snapshots.
    test_iter : int
        Images in the scored split.
    momentum, weight_decay : float
        As in Caffe's solver. A momentum of 0.99 over single images stands in for 0.9 over batches of about 20.
    iter_size : int
        Images whose gradients are summed for one step.
    max_iter : int, optional
        What the published solver file says where it disagrees with the published loop; `iterations` rules here.
    seed : int
        Picks the order of the training images and dropout's masks.
    """
    base_lr: float
    iterations: int
    score_every: int
    snapshot: int
    test_iter: int
    momentum: float = 0.99
    weight_decay: float = 0.0005
    iter_size: int = 1
    max_iter: int | None = None
    seed: int = 1337

    def solver(self, train: str = 'train', test: str = 'val') -> Any:
        """The `SolverParameter` for `<train>.prototxt` and `<test>.prototxt` in the solver's own folder."""
        return solver_parameter(
            train=train, test=test, test_iter=self.test_iter, base_lr=self.base_lr, momentum=self.momentum,
            iter_size=self.iter_size, max_iter=self.max_iter or self.iterations, weight_decay=self.weight_decay,
            snapshot=self.snapshot, snapshot_prefix='snapshot/train')

    def changed(self, **changes: Any) -> 'Recipe':
        """The recipe with another `base_lr` or `iter_size`."""
        return replace(self, **changes)

    def facts(self) -> dict[str, Any]:
        """What `run.json` notes of it: numbers, words and lists of them."""
        return asdict(self)
