"""Snapshots of a solver: weights, state and a manifest in one folder that appears whole or not at all.

A power cut or a full disk can still leave a folder whose files are short, so the manifest holds each file's size and
SHA-256, and a snapshot that does not match it, or is of another net, is passed over.
"""
import contextlib
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import cli
import files
from surgery.caffemodel import LARGEST, Weights, read_weights

MANIFEST = 'snapshot.json'
PREFIX = 'train'    # of the solver's file names
ROOM = 1.05  # of the bytes of two copies of the parameters: what a snapshot needs

HISTORIES = {'Adam': 2, 'AdaDelta': 2}  # numbers that a solver keeps for each parameter; 1 of the other types

Shapes = dict[str, list[list[int]]]     # layer -> the shape of each of its parameters


class Expected(NamedTuple):
    """What a snapshot must fit.

    Attributes
    ----------
    shapes : dict
        Of the parameters, by layer.
    history : list of list of int
        Of the solver's state: one for each parameter that learns, of those that layers share one for all, and with some
        types of solvers all of them once more.
    """
    shapes: Shapes
    history: list[list[int]]


def expected(net: Any, type: str = 'SGD') -> Expected:
    """What a snapshot of a solver of some type for a net must fit."""
    owned = {blob.data.ctypes.data: list(blob.shape) for blobs in net.params.values() for blob in blobs}
    return Expected(shapes(net), [*owned.values()] * HISTORIES.get(type, 1))


class DiskFull(Exception):
    """The disk has too little room for a snapshot; the message says how much it needs."""


def shapes(net: Any) -> Shapes:
    """The shapes of a net's parameters, by layer: what a snapshot must fit."""
    return {name: [list(blob.shape) for blob in blobs] for name, blobs in net.params.items()}


def size(net: Any, type: str = 'SGD') -> int:
    """Bytes of a snapshot: weights, and the state of a solver of some type, such as momentum, all of them float32."""
    history = sum(math.prod(shape) for shape in expected(net, type).history)
    return 4 * int(sum(blob.count for blobs in net.params.values() for blob in blobs) + history)


def save(solver: Any, folder: Path, passes: int, keep: int | None = None, type: str = 'SGD') -> Path:
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
    type : str
        Of the solver.

    Returns
    -------
    Path
        The snapshot.

    Raises
    ------
    DiskFull
        The disk has too little room; earlier snapshots are as they were.
    """
    partial = folder / '.partial'
    shutil.rmtree(partial, ignore_errors=True)
    try:
        return _save(solver, folder, partial, passes, keep, size(solver.net, type))
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _save(solver: Any, folder: Path, partial: Path, passes: int, keep: int | None, whole: int) -> Path:
    partial.mkdir(parents=True)
    need, free = int(whole * ROOM), shutil.disk_usage(partial).free
    if free < need:     # Caffe would abort, or not notice
        raise DiskFull(f'{folder} has room for {free / 1e6:.0f} MB, a snapshot needs {need / 1e6:.0f} MB')
    # The solver names its files by its prefix, and the state names the weights: inside the folder both stay relative.
    with contextlib.chdir(partial):
        solver.snapshot()
    written = {path.name: (path.stat().st_size, files.sha256(path)) for path in sorted(partial.iterdir())}
    if sum(length for length, _ in written.values()) < whole:
        raise DiskFull(f'{folder}: a snapshot was cut short, probably because the disk is full')
    manifest = {'iteration': solver.iter, 'passes': passes, 'shapes': shapes(solver.net), 'files': written}
    (partial / MANIFEST).write_text(json.dumps(manifest) + '\n')
    for path in (*(partial / name for name in written), partial / MANIFEST, partial):
        files.sync(path)
    final = folder / f'{solver.iter:08d}'
    shutil.rmtree(final, ignore_errors=True)
    os.rename(partial, final)
    files.sync(folder)
    for old in list_snapshots(folder)[:-keep] if keep else ():
        shutil.rmtree(old)
    return final


def weights(snapshot: Path) -> Path:
    """The caffemodel of a snapshot."""
    return snapshot / f'{PREFIX}_iter_{int(snapshot.name)}.caffemodel'


def state(snapshot: Path) -> Path:
    """The solver's state of a snapshot: its momentum and iteration."""
    return weights(snapshot).with_suffix('.solverstate')


def restore(solver: Any, snapshot: Path, fits: Expected) -> int:
    """Bring a solver to the weights, momentum and iteration of a snapshot.

    Parameters
    ----------
    solver : caffe.Solver
        Of the net that the snapshot is of.
    snapshot : Path
    fits : Expected
        Of that solver.

    Returns
    -------
    int
        Images that the run had seen.

    Raises
    ------
    BadInput
        The weights or the state do not fit the solver.
    """
    net = solver.net
    for layer, blobs in _saved_weights(snapshot, fits.shapes).items():
        for blob, saved in zip(net.params[layer], blobs, strict=True):
            blob.data[...] = saved
    with files.in_memory(_saved_state(snapshot, fits.history).SerializeToString()) as path:
        solver.restore(str(path))
    return int(json.loads(files.read_text(snapshot / MANIFEST))['passes'])


def _saved_weights(snapshot: Path, expected: Shapes) -> Weights:
    """The parameters of a snapshot; BadInput where they are not what the net has.

    Caffe would abort at a layer that differs, and at a file that it cannot parse.
    """
    saved = read_weights(weights(snapshot))
    found = {name: [list(blob.shape) for blob in blobs] for name, blobs in saved.items()}
    if found != expected:
        raise cli.BadInput(_difference(found, expected))
    return saved


def _saved_state(snapshot: Path, history: list[list[int]]) -> Any:
    """The `SolverState` of a snapshot without the weights that it names; BadInput where it does not fit the net.

    Caffe would read whatever file it names, and take a momentum of any shape and then compute beyond its end.
    """
    from caffe.proto import caffe_pb2
    from google.protobuf.message import DecodeError
    path = state(snapshot)
    saved = caffe_pb2.SolverState()
    try:
        with files.open_regular(path) as file:
            saved.ParseFromString(file.read())
    except DecodeError:
        raise cli.BadInput(f'{path.name} is not the state of a solver') from None
    if saved.iter != int(snapshot.name):
        raise cli.BadInput(f'{path.name} is of iteration {saved.iter}')
    if [_shape(blob) for blob in saved.history] != history:
        raise cli.BadInput(f'{path.name} has a momentum that is not of the shapes of the parameters')
    saved.ClearField('learned_net')
    return saved


def _shape(blob: Any) -> list[int] | None:
    """The shape of a saved momentum; None where it has other fields, or not as many numbers."""
    plain = {field.name for field, _ in blob.ListFields()} <= {'shape', 'data'}
    return list(blob.shape.dim) if plain and len(blob.data) == math.prod(blob.shape.dim) else None


def list_snapshots(folder: Path) -> list[Path]:
    """The snapshots in `folder`, whole or not, oldest first."""
    return sorted(path for path in folder.glob('[0-9]*') if path.is_dir())


def newest(folder: Path, fits: Expected | None = None) -> Path | None:
    """The newest snapshot in `folder` that is whole and fits, or None; says which ones were passed over and why.

    Parameters
    ----------
    folder : Path
    fits : Expected, optional
        Of the solver that is to be restored.
    """
    for snapshot in reversed(list_snapshots(folder)):
        problem = problem_of(snapshot, fits)
        if not problem:
            return snapshot
        cli.say(f'warning: snapshot {snapshot} is passed over: {problem}')
    return None


def problem_of(snapshot: Path, fits: Expected | None = None) -> str | None:
    """What is wrong with a snapshot.

    Parameters
    ----------
    snapshot : Path
    fits : Expected, optional
        Of the solver that is to be restored.

    Returns
    -------
    str or None
        None for a snapshot that is whole and fits.
    """
    try:
        manifest = json.loads(files.read_text(snapshot / MANIFEST))
        listed, found, iteration = manifest['files'], manifest['shapes'], manifest['iteration']
        if iteration != int(snapshot.name) or not isinstance(manifest['passes'], int):
            return f'{MANIFEST} is of iteration {iteration}'
        if set(listed) != {weights(snapshot).name, state(snapshot).name}:
            return f'{MANIFEST} names {", ".join(listed) or "nothing"}, not the weights and the state'
        for name, (length, digest) in listed.items():
            if length > LARGEST:
                return f'{name} has {length} bytes, more than a file that Caffe writes'
            if (snapshot / name).stat().st_size != length:
                return f'{name} has {(snapshot / name).stat().st_size} bytes instead of {length}'
            if files.sha256(snapshot / name) != digest:
                return f'{name} has changed since it was written'
        if fits is not None and found != fits.shapes:
            return _difference(found, fits.shapes)
        if fits is not None:
            _saved_weights(snapshot, fits.shapes)
            _saved_state(snapshot, fits.history)
    except (cli.BadInput, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        return f'{MANIFEST} or what it names cannot be read ({problem})'
    return None


def _difference(found: Any, expected: Shapes) -> str:
    """What is said of a snapshot whose layers have the shapes `found`."""
    layer = next(name for name in {**found, **expected} if found.get(name) != expected.get(name))
    return f'it is of another net: layer {layer} has the shapes {found.get(layer)}, not {expected.get(layer)}'
