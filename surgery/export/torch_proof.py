"""Run an exported torch module beside the Caffe net that it was made of.

Caffe and torch run one after the other in processes of their own (`python -m surgery.export.torch_proof FOLDER`): what
one of them refuses ends that process and not the caller's, and neither sees the other's libraries.
"""
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import files
from cli import BadInput

from ..caffemodel import Weights, by, write_weights
from ..layers import Shape
from ..proof import TOLERANCE, Mismatch, difference, in_child, machine, memory, set_device
from ..prototxt import write_prototxt
from ..shapes import infer
from .torch import PAGE, WEIGHTS, describe, outputs_of

SIZES = 3               # that are compared
AGREEING = 0.999        # of all positions, whose best class must be the same: equal scores may fall either way
HELD = 3                # times that a net's parameters are in memory


def prove_torch(net: Any, weights: Weights, folder: Path, gpu: int | None = None) -> dict[str, Any]:
    """Compare what `write_torch` has written with Caffe, on random images of several sizes, odd ones among them.

    Parameters
    ----------
    net, weights
        As of `write_torch`.
    folder : Path
        Where it has written.
    gpu : int, optional
        The GPU that Caffe computes on; the CPU by default.

    Returns
    -------
    dict
        `sizes`, and `outputs`: for each, and for the scores that a Softmax or ArgMax makes one of, the largest
        difference, `max_absolute` and, relative to the largest number, `max_relative`, and the share of positions whose
        best class is the same, `argmax_equal`. Where torch is missing, `not_compared` says so instead.

    Raises
    ------
    BadInput
        Caffe refuses the net, or the comparison takes more memory than there is.
    Mismatch
        The module's numbers are others than Caffe's, or none of Caffe's is finite.
    """
    if importlib.util.find_spec('torch') is None:
        return {'not_compared': 'torch is not installed'}
    feeds = list(_feeds(net))
    numbers = sum(blob.size for blobs in weights.values() for blob in blobs)
    if max(memory(net, feed) for feed in feeds) + HELD * 4 * numbers > machine():
        raise BadInput('the comparison with torch would take more memory than this machine has')
    outputs = outputs_of(net)
    last = [layer for layer in net.layer if layer.type in ('Softmax', 'ArgMax') and layer.top[0] in outputs]
    scores = [layer.bottom[0] for layer in last if layer.bottom[0] != layer.top[0]]     # probabilities hide differences
    compared = list(dict.fromkeys([*outputs, *scores]))
    with files.scratch() as place:
        write_prototxt(place / 'deploy.prototxt', net)
        write_weights(place / 'weights.caffemodel', weights)
        files.write(place / PAGE, describe(net, weights, more=compared[len(outputs):])[0])
        job = {'new': [str(place / 'deploy.prototxt'), str(place / 'weights.caffemodel')], 'feeds': feeds,
               'page': str(place / PAGE), 'tensors': str((folder / WEIGHTS).resolve()), 'outputs': compared,
               'labels': [layer.top[0] for layer in last if layer.type == 'ArgMax'], 'gpu': gpu, 'engine': 'caffe'}
        in_child('surgery.export.torch_proof', job, place)
        result: dict[str, Any] = in_child('surgery.export.torch_proof', job | {'engine': 'torch'}, place)
    if 'not_compared' not in result:
        _judge(result)
    return result


def _feeds(net: Any) -> Iterator[dict[str, Shape]]:
    """Shapes for the inputs, at which the net fits together: its own first; the second of two images where it can."""
    inputs = {name: shape for layer in net.layer if layer.type == 'Input'
              for name, shape in zip(layer.top, _stated(layer), strict=True)}
    params = infer(net).params
    (height, width), found = next(iter(inputs.values()))[2:], 0
    sizes = [(height, width), (height * 2 // 3 | 1, width * 3 // 4), (height // 2, width // 2 + 1 | 1),
             *((height + a, width + b) for step in (1, 8, 16, 32, 64) for a, b in ((step, 0), (0, step), (step, step)))]
    for size in dict.fromkeys(sizes):
        for batch in (2, 1) if found == 1 else (1,):
            feed: dict[str, Shape] = {name: (batch * shape[0], shape[1], *size) for name, shape in inputs.items()}
            try:
                fits = infer(net, feed).params == params
            except BadInput:
                continue
            if fits:
                found += 1
                yield feed
                break
        if found == SIZES:
            return


def _stated(layer: Any) -> list[Shape]:
    shapes = [tuple(shape.dim) for shape in layer.input_param.shape]
    return shapes * len(layer.top) if len(shapes) == 1 else shapes


def _judge(result: Mapping[str, Any]) -> None:
    for name, row in result['outputs'].items():
        if not row.pop('finite'):
            raise Mismatch(f'output {name}: its numbers are not finite, so nothing is proved')
        if row['max_relative'] is not None and not row['max_relative'] <= TOLERANCE:
            raise Mismatch(f'output {name}: torch differs from Caffe by {row["max_relative"]:.2g} relative')
        if not row['argmax_equal'] >= AGREEING:
            raise Mismatch(f'output {name}: the best class is another in torch than in Caffe at '
                           f'{1 - row["argmax_equal"]:.2%} of the positions')


# --------------------------------------------------------------------------------------------------- in the children

def main(folder: str) -> None:
    """Do what `folder/job.json` says."""
    job = json.loads(Path(folder, 'job.json').read_text())
    work = _caffe if job['engine'] == 'caffe' else _torch
    Path(folder, 'result.json').write_text(json.dumps(work(job, Path(folder))))


def _images(feed: Mapping[str, Shape], seed: int) -> dict[str, np.ndarray]:
    """Random numbers of a photograph's range."""
    random = np.random.default_rng(seed)
    return {name: random.uniform(-120, 130, shape).astype(np.float32) for name, shape in feed.items()}


def _caffe(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Caffe's outputs as `outputs_N.npz`."""
    import caffe
    set_device(job['gpu'])
    net = caffe.Net(job['new'][0], caffe.TEST, weights=job['new'][1])
    for i, feed in enumerate(job['feeds']):
        for name, image in _images(feed, i).items():
            net.blobs[name].reshape(*image.shape)
            net.blobs[name].data[...] = image
        net.forward()
        np.savez(folder / f'outputs_{i}.npz', allow_pickle=False,
                 **{str(at): net.blobs[name].data for at, name in enumerate(job['outputs'])})
    return {}


def _torch(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """How far the module's outputs are from those."""
    try:
        import torch
    except Exception as problem:        # one that is installed and cannot be loaded
        return {'not_compared': f'torch cannot be loaded: {str(problem)[:200]}'}
    spec = importlib.util.spec_from_file_location('net', job['page'])
    assert spec is not None and spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    net = page.load(job['tensors'])
    rows: dict[str, Any] = {name: {'max_absolute': 0.0, 'max_relative': 0.0, 'argmax_equal': 1.0, 'finite': False}
                            for name in job['outputs']}
    for i, feed in enumerate(job['feeds']):
        with torch.no_grad():
            made = net(*map(torch.from_numpy, _images(feed, i).values()))
        with np.load(folder / f'outputs_{i}.npz', allow_pickle=False) as expected:
            for at, name in enumerate(job['outputs']):
                new = (made[at] if isinstance(made, tuple) else made).numpy()
                _compare(rows[name], new, expected[str(at)], name in job['labels'])
    return {'sizes': [by(next(iter(feed.values()))) for feed in job['feeds']], 'outputs': rows}


def _compare(row: dict[str, Any], new: np.ndarray, old: np.ndarray, labels: bool) -> None:
    """Note the difference between an output of torch's and Caffe's."""
    if new.shape != old.shape:
        raise ValueError(f'a shape of {by(new.shape)}, in Caffe {by(old.shape)}')
    row['finite'] |= bool(np.isfinite(old).any())
    best = (new, old) if labels else (new.argmax(1), old.argmax(1)) if old.ndim > 1 else (0, 0)
    row['argmax_equal'] = min(row['argmax_equal'], float(np.mean(np.equal(*best))))
    if labels:
        row['max_absolute'] = row['max_relative'] = None
        return
    absolute, relative = difference(new, old)
    row['max_absolute'] = max(row['max_absolute'], absolute)
    row['max_relative'] = max(row['max_relative'], relative)


if __name__ == '__main__':
    main(sys.argv[1])
