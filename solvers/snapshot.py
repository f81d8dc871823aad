"""Snapshots of a solver: weights, state and a manifest in one folder that appears whole or not at all.

A power cut or a full disk can still leave a folder whose files are short, so the manifest holds each file's size and
SHA-256, and a snapshot that does not match it, or is of another net, is passed over.
"""
import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path

import cli

MANIFEST = 'snapshot.json'
PREFIX = 'train'    # of the solver's file names
ROOM = 1.05  # of the bytes of two copies of the parameters: what a snapshot needs


class DiskFull(Exception):
    """There is no room for a snapshot; the message says how much it needs."""


def shapes(net) -> dict[str, list[list[int]]]:
    """The shapes of a net's parameters, by layer: what a snapshot must fit."""
    return {name: [list(blob.shape) for blob in blobs] for name, blobs in net.params.items()}


def size(net) -> int:
    """Bytes of a snapshot: weights and momentum, each as many float32 as the net has parameters."""
    return 2 * 4 * sum(blob.count for blobs in net.params.values() for blob in blobs)


def save(solver, folder: Path, passes: int, keep: int | None = None) -> Path:
    """Write weights and state of `solver` as `folder/<iteration>/`.

    Parameters
    ----------
    solver : caffe.Solver
    folder : Path
        Of all snapshots of the run.
    passes : int
        Images the run has seen, noted for resuming.
    keep : int, optional
        Remove all but so many snapshots, the oldest first.

    Returns
    -------
    Path
        The snapshot.

    Raises
    ------
    DiskFull
        There is no room; earlier snapshots are as they were.
    """
    partial = folder / '.partial'
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    need, free = int(size(solver.net) * ROOM), shutil.disk_usage(partial).free
    if free < need:     # Caffe would abort, or not notice
        shutil.rmtree(partial)
        raise DiskFull(f'{folder} has room for {free / 1e6:.0f} MB, a snapshot needs {need / 1e6:.0f} MB')
    # The solver names its files by its prefix, and the state names the weights: inside the folder both stay relative.
    with contextlib.chdir(partial):
        solver.snapshot()
    files = {path.name: (path.stat().st_size, _sha256(path)) for path in sorted(partial.iterdir())}
    if sum(length for length, _ in files.values()) < size(solver.net):
        shutil.rmtree(partial)
        raise DiskFull(f'{folder}: a snapshot was cut short, probably for want of room')
    manifest = {'iteration': solver.iter, 'passes': passes, 'shapes': shapes(solver.net), 'files': files}
    (partial / MANIFEST).write_text(json.dumps(manifest) + '\n')
    for path in (*(partial / name for name in files), partial / MANIFEST, partial):
        _sync(path)
    final = folder / f'{solver.iter:08d}'
    shutil.rmtree(final, ignore_errors=True)
    os.rename(partial, final)
    _sync(folder)
    for old in everything(folder)[:-keep] if keep else ():
        shutil.rmtree(old)
    return final


def weights(snapshot: Path) -> Path:
    """The caffemodel of a snapshot."""
    return snapshot / f'{PREFIX}_iter_{int(snapshot.name)}.caffemodel'


def restore(solver, snapshot: Path) -> int:
    """Bring `solver` to the weights, momentum and iteration of a snapshot; returns the images seen until then."""
    with contextlib.chdir(snapshot):
        solver.restore(f'{PREFIX}_iter_{int(snapshot.name)}.solverstate')
    return json.loads((snapshot / MANIFEST).read_text())['passes']


def everything(folder: Path) -> list[Path]:
    """The snapshots in `folder`, whole or not, oldest first."""
    return sorted(path for path in folder.glob('[0-9]*') if path.is_dir())


def newest(folder: Path, expected: dict | None = None) -> Path | None:
    """The newest snapshot in `folder` that is whole and fits, or None; says which ones were passed over and why.

    Parameters
    ----------
    folder : Path
    expected : dict, optional
        The `shapes` of the net that is to be restored.
    """
    for snapshot in reversed(everything(folder)):
        problem = damage(snapshot, expected)
        if not problem:
            return snapshot
        cli.say(f'warning: snapshot {snapshot} is passed over: {problem}')
    return None


def damage(snapshot: Path, expected: dict | None = None) -> str | None:
    """What is wrong with a snapshot, or None."""
    try:
        manifest = json.loads((snapshot / MANIFEST).read_text())
        files, found, iteration = manifest['files'], manifest['shapes'], manifest['iteration']
        if iteration != int(snapshot.name) or not isinstance(manifest['passes'], int):
            return f'{MANIFEST} is of iteration {iteration}'
        for name, (length, digest) in files.items():
            if (snapshot / name).stat().st_size != length:
                return f'{name} has {(snapshot / name).stat().st_size} bytes instead of {length}'
            if _sha256(snapshot / name) != digest:
                return f'{name} has changed since it was written'
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        return f'{MANIFEST} or what it names cannot be read ({problem})'
    if expected is not None and found != expected:
        layer = next(name for name in {**found, **expected} if found.get(name) != expected.get(name))
        return f'it is of another net: layer {layer} has the shapes {found.get(layer)}, not {expected.get(layer)}'
    return None


def _sha256(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _sync(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
