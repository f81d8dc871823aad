"""A training schedule as data, and the Caffe `SolverParameter` it stands for."""
from dataclasses import dataclass
from typing import Any

from cli import BadInput
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

    @classmethod
    def of_solver(cls, solver: Any) -> 'Recipe':
        """The recipe of a `SolverParameter`, scored as often as it takes snapshots.

        Raises
        ------
        BadInput
            It is not one of SGD at a fixed rate with snapshots and a test net.
        """
        if solver.lr_policy != 'fixed' or solver.type not in ('', 'SGD') or solver.base_lr <= 0:
            raise BadInput(f'the solver is {solver.type or "SGD"} with lr_policy {solver.lr_policy!r}: write type SGD '
                           'and lr_policy "fixed" with a base_lr above 0')
        if solver.max_iter < 1 or solver.snapshot < 1 or not list(solver.test_iter):
            raise BadInput('the solver lacks max_iter, snapshot or test_iter: write numbers above 0')
        return cls(base_lr=solver.base_lr, iterations=solver.max_iter, score_every=solver.snapshot,
                   snapshot=solver.snapshot, test_iter=solver.test_iter[0], momentum=solver.momentum,
                   weight_decay=solver.weight_decay, iter_size=solver.iter_size)
