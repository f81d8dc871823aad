"""The solver file that every net here has: what its schedule leaves open is a parameter, the rest is the same."""
from typing import Any

NEVER = 999_999_999     # iterations


def solver_parameter(*, train: str = 'train', test: str = 'val', test_iter: int, base_lr: float, momentum: float,
                     weight_decay: float, max_iter: int, snapshot: int, snapshot_prefix: str,
                     iter_size: int | None = None) -> Any:
    """SGD with momentum at a fixed rate, for nets in the solver file's own folder.

    The solver itself never tests: the loop around it scores.

    Parameters
    ----------
    train, test : str
        The nets are `<train>.prototxt` and `<test>.prototxt`.
    test_iter : int
        Images in the scored split.
    base_lr, momentum, weight_decay : float
        As in Caffe's solver.
    max_iter, snapshot : int
        Iterations of a run, and from one snapshot to the next.
    snapshot_prefix : str
        Path that the names of snapshots begin with.
    iter_size : int, optional
        Images whose gradients are summed for one iteration; not stated when left out, which Caffe takes for 1.

    Returns
    -------
    caffe_pb2.SolverParameter
    """
    from caffe.proto import caffe_pb2
    return caffe_pb2.SolverParameter(
        train_net=f'{train}.prototxt', test_net=[f'{test}.prototxt'], test_iter=[test_iter], test_interval=NEVER,
        test_initialization=False, display=20, average_loss=20, lr_policy='fixed', base_lr=base_lr, momentum=momentum,
        iter_size=iter_size, max_iter=max_iter, weight_decay=weight_decay, snapshot=snapshot,
        snapshot_prefix=snapshot_prefix)
