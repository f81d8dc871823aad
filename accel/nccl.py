"""Gradients summed over the cards by NCCL, through the class of Caffe's own that does so.

Caffe makes the sums on the cards, without a copy to the host, and while the backward pass goes on where a step has one.
"""
from typing import Any

import cli

UID_BYTES = 128     # NCCL_UNIQUE_ID_BYTES, the same in every release of NCCL 2


def available() -> bool:
    """Whether this Caffe was built with NCCL."""
    import caffe
    return bool(caffe.has_nccl())


def share_uid(comm: Any) -> bytes:
    """The unique id by which the ranks find each other in NCCL, made by the first.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        The ranks.

    Returns
    -------
    bytes
        `UID_BYTES` of them, the same on every rank.

    Raises
    ------
    cli.Failed
        It is cut short, as by a Caffe whose binding ends it at its first zero byte.
    """
    import caffe
    uid: bytes = comm.bcast(caffe.NCCL.new_uid() if comm.rank == 0 else None)
    if len(uid) != UID_BYTES:
        raise cli.Failed(f'NCCL\'s unique id has {len(uid)} bytes instead of {UID_BYTES}: build Caffe again with '
                         'make setup GPU=1')
    return uid


def connect(solver: Any, comm: Any) -> Any:
    """Let NCCL average gradients over ranks, each on a card of its own.

    Parameters
    ----------
    solver : caffe.Solver
        This rank's, on the card in use.
    comm : mpi4py.MPI.Comm
        The ranks.

    Returns
    -------
    caffe.NCCL
        Owns the memory of the net's parameters from now on: keep it as long as the solver.
    """
    import caffe
    uid = share_uid(comm)
    caffe.set_solver_count(comm.size)
    caffe.set_solver_rank(comm.rank)
    nccl = caffe.NCCL(solver, uid)      # returns when all ranks have come
    caffe.set_solver_rank(0)            # it had what it needs; only a rank 0 may test and take snapshots
    solver.add_callback(nccl)
    if solver.param.layer_wise_reduce:
        solver.net.after_backward(nccl)
    return nccl


def layer_wise(net_parameter: Any, iter_size: int) -> bool:
    """Whether Caffe may sum each layer's gradients as soon as it has them.

    Not after each of several passes, whose sums it would sum again, and not where layers share a parameter.

    Parameters
    ----------
    net_parameter : caffe_pb2.NetParameter
        The training net.
    iter_size : int
        Passes of a step.
    """
    return iter_size == 1 and not any(param.name for layer in net_parameter.layer for param in layer.param)
