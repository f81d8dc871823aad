"""Snapshots of a solver: weights and state together in one folder that appears whole or not at all."""
import contextlib
import os
import shutil
from pathlib import Path


def save(solver, folder: Path) -> Path:
    """Write weights and state of `solver` as `folder/<iteration>/`; returns that folder."""
    partial = folder / '.partial'
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    # The solver names its files by its prefix, and the state names the weights: inside the folder both stay relative.
    with contextlib.chdir(partial):
        (partial / 'snapshot').mkdir()
        solver.snapshot()
        stem = f'snapshot/train_iter_{solver.iter}'
        _sync(f'{stem}.caffemodel')
        _sync(f'{stem}.solverstate')
    final = folder / f'{solver.iter:08d}'
    shutil.rmtree(final, ignore_errors=True)
    os.rename(partial, final)
    _sync(folder)
    return final


def weights(snapshot: Path) -> Path:
    """The caffemodel of a snapshot."""
    return snapshot / f'snapshot/train_iter_{int(snapshot.name)}.caffemodel'


def restore(solver, snapshot: Path) -> None:
    """Bring `solver` to the weights, history and iteration of a snapshot."""
    with contextlib.chdir(snapshot):
        solver.restore(f'snapshot/train_iter_{int(snapshot.name)}.solverstate')


def newest(folder: Path) -> Path | None:
    """The newest snapshot in `folder`, or None."""
    return max((path for path in folder.glob('[0-9]*') if path.is_dir()), default=None)


def _sync(path) -> None:
    """Wait until a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
