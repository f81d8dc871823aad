"""The engines that run exported nets beside Caffe, each in a process of its own.

`python -m surgery.export.engines FOLDER` does what `job.json` says: it loads the export, runs it on what Caffe was fed,
and compares the outputs.
"""
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..proof import LARGEST, TOLERANCE, difference
from .torch import PAGE, WEIGHTS

Arrays = dict[str, NDArray[np.float32]]
Run = Callable[[Arrays], Sequence[NDArray[Any]]]    # inputs by name -> outputs, in the order of the job's names


class Engine(NamedTuple):
    """An engine.

    Attributes
    ----------
    module : str
        What is imported.
    load : function
        (path of the export, names of what it is to give) -> `Run`.
    inner : bool
        Whether these may lie within the net; else they are its outputs.
    """

    module: str
    load: Callable[[Path, Sequence[str]], Run]
    inner: bool = False


def _onnxruntime(path: Path, names: Sequence[str]) -> Run:
    import onnx
    import onnxruntime
    model = onnx.load(path)
    known = {output.name for output in model.graph.output}
    inner = [name for name in names if name not in known]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4

    def session(source: str | bytes) -> Any:
        return onnxruntime.InferenceSession(source, options, providers=['CPUExecutionProvider'])
    sessions = [(session(str(path)), [name for name in names if name in known])]
    if inner:       # of a copy: as outputs they keep the engine from what it does to the export itself
        model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in inner)
        sessions.append((session(model.SerializeToString()), inner))

    def run(feed: Arrays) -> Sequence[NDArray[Any]]:
        found = {name: value for one, wanted in sessions for name, value in zip(
            wanted, one.run(wanted, feed), strict=True)}
        return [found[name] for name in names]
    return run


def _openvino(path: Path, names: Sequence[str]) -> Run:
    import openvino
    hints = {'INFERENCE_PRECISION_HINT': 'f32'}     # some processors would compute with fewer bits
    model = openvino.Core().compile_model(str(path), 'CPU', hints)
    inputs = [entry.names for entry in model.inputs]

    def run(feed: Arrays) -> Sequence[NDArray[Any]]:
        found = model([next(feed[name] for name in entry if name in feed) for entry in inputs])
        return [found[i] for i in range(len(names))]
    return run


def _opencv(path: Path, names: Sequence[str]) -> Run:
    import cv2
    net = cv2.dnn.readNetFromONNX(str(path))

    def run(feed: Arrays) -> Sequence[NDArray[Any]]:
        for name, value in feed.items():
            net.setInput(value, name)
        return list(net.forward(list(names)))
    return run


def _torch(path: Path, names: Sequence[str]) -> Run:
    import torch
    spec = importlib.util.spec_from_file_location('net', path / PAGE)
    assert spec is not None and spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    net = page.load(path / WEIGHTS)

    def run(feed: Arrays) -> Sequence[NDArray[Any]]:
        with torch.no_grad():
            found = net(*map(torch.from_numpy, feed.values()))
        return [value.numpy() for value in (found if isinstance(found, tuple) else (found,))]
    return run


ENGINES = {
    'onnxruntime': Engine('onnxruntime', _onnxruntime, inner=True), 'openvino': Engine('openvino', _openvino),
    'opencv': Engine('cv2', _opencv), 'torch': Engine('torch', _torch, inner=True),
}


def main(folder: str) -> None:
    """Do what `folder/job.json` says; the answer goes into `folder/result.json`."""
    job = json.loads(Path(folder, 'job.json').read_text())
    engine = ENGINES[job['engine']]
    names = [*job['outputs'], *(job['inner'] if engine.inner else ())]
    result: dict[str, Any] = {'runs': []}
    try:
        result['version'] = str(getattr(__import__(engine.module), '__version__', ''))
        run = engine.load(Path(job['new'][0]), names)
        for i in range(job['runs']):
            feed = load(folder, f'feed-{i}', job['inputs'])
            expected = load(folder, f'caffe-{i}', [*job['outputs'], *job['inner']])
            ties = load(folder, f'ties-{i}', job['labels'])
            found = dict(zip(names, run(feed), strict=True))
            result['runs'].append({name: compared(value, expected[name], ties.get(name))
                                   for name, value in found.items()})
    except Exception as problem:        # whatever an engine of another kind has against the file
        result['refused'] = f'{type(problem).__name__}: {" ".join(str(problem).split())[:200]}'
    Path(folder, 'result.json').write_text(json.dumps(result))


def save(folder: str | Path, stem: str, arrays: Sequence[NDArray[Any]]) -> None:
    """Write arrays into `folder/stem.npz`; `load` gives them their names again, which a file's could not be."""
    np.savez(Path(folder, f'{stem}.npz'), allow_pickle=False, **{f'x{i}': array for i, array in enumerate(arrays)})


def load(folder: str | Path, stem: str, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Arrays that `save` wrote, by names in the same order."""
    with np.load(Path(folder, f'{stem}.npz'), allow_pickle=False) as stored:
        return {name: stored[f'x{i}'] for i, name in enumerate(names)}


def compared(found: NDArray[Any], expected: NDArray[Any], ties: NDArray[Any] | None = None) -> dict[str, Any]:
    """How far an output is from Caffe's.

    Parameters
    ----------
    found, expected : ndarray
        The engine's and Caffe's.
    ties : ndarray of bool, optional
        Where two labels are as good as each other.

    Returns
    -------
    dict
        `max_absolute`, `max_relative` to the largest, and `labels_differ`: at how many positions another channel is the
        largest, without a tie.
    """
    if np.squeeze(found).shape != np.squeeze(expected).shape:
        return {'max_absolute': LARGEST, 'max_relative': LARGEST, 'labels_differ': 0, 'shape': list(found.shape)}
    found = found.reshape(expected.shape).astype(np.float32)
    if ties is not None:
        found = np.where(ties, expected, found)
    absolute, relative = difference(found, expected)
    differ = 0
    if expected.ndim > 1 and expected.shape[1] > 1:
        here, there = (np.argmax(scores, 1, keepdims=True) for scores in (found, expected))
        gap = np.take_along_axis(expected, there, 1) - np.take_along_axis(expected, here, 1)
        near = gap <= TOLERANCE * np.abs(expected[np.isfinite(expected)]).max(initial=0)
        differ = int((~near & (here != there)).sum())
    return {'max_absolute': absolute, 'max_relative': relative, 'labels_differ': differ}


def finite_range(values: NDArray[Any]) -> Mapping[str, bool]:
    """Whether any number is finite, and whether all are the same."""
    return {'finite': bool(np.isfinite(values).any()), 'constant': bool((values == values.flat[0]).all())}


if __name__ == '__main__':
    main(sys.argv[1])
