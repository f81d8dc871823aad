"""Prove that a fully convolutional net is its classifier, and measure what it saves.

The comparison runs Caffe in a process of its own (`python -m surgery.proof FOLDER`): a net that Caffe refuses ends
that process and not the caller's.
"""
import errno
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import files
from cli import BadInput

from .classifier import Classifier
from .convolutionalize import Dense
from .shapes import infer

TOLERANCE = 1e-4        # relative to the largest output; float32 sums in another order differ by 1e-6 or so
SAMPLES = 5             # crops along an axis at most, of those that are compared one by one
LARGEST = sys.float_info.max      # in place of infinity, which JSON does not have
MEAN_SQUARE = 'energy'    # what report.json calls the mean squared lengths of features
MEMORY = 0.4            # of the machine's memory that the timed dense net may take


class Mismatch(Exception):
    """The new net does not give what the old one gave."""


def prove(classifier: Classifier, dense: Dense, old: tuple[Path, Path], new: tuple[Path, Path],
          images: Mapping[str, np.ndarray] | None = None, grid: int = 10, seed: int = 0,
          measure: Sequence[str] = (), gpu: int | None = None) -> dict[str, Any]:
    """Run classifier and dense net side by side.

    Parameters
    ----------
    classifier, dense : Classifier, Dense
        The two nets.
    old, new : (path, path)
        Their prototxt and caffemodel.
    images : mapping of str to ndarray, optional
        Prepared pictures, C x h x w, of any size; resized to the sizes that are compared.
    grid : int
        The dense net is timed at the size that gives it `grid` x `grid` positions; 0 leaves timing out.
    seed : int
        Picks the random images.
    measure : sequence of str
        Blobs of the dense net whose squared length over channels, the mean over positions, goes into `energy`.
    gpu : int, optional
        The GPU to compute on; the CPU by default.

    Returns
    -------
    dict
        As in `report.json`: `classifier_size`, `larger_size`, `timing` and `energy`.

    Raises
    ------
    BadInput
        Caffe refuses one of the nets.
    Mismatch
        The outputs differ, or none of their numbers is finite.
    """
    with files.scratch() as folder:
        job = _job(classifier, dense, old, new, grid, seed) | {'measure': list(measure), 'gpu': gpu}
        if images:
            content = io.BytesIO()      # numpy hides why a file cannot be written
            np.savez(content, allow_pickle=False, **dict(images))
            files.write(folder / 'images.npz', [content.getvalue()])
        result: dict[str, Any] = in_child('surgery.proof', job, folder)
    _judge(result)
    return result


def _job(classifier: Classifier, dense: Dense, old: tuple[Path, Path], new: tuple[Path, Path], grid: int,
         seed: int) -> dict[str, Any]:
    outputs: list[dict[str, Any]] = []
    for name, blob in (dense.scores | dense.outputs).items():
        fields = dense.fields[blob]
        outputs.append({
            'old': name, 'new': blob, 'block': dense.shapes.blobs[blob][2:], 'step': [f.step for f in fields],
            'shift': [int(f.step / f.stride) for f in fields],
            'field': [[float(f.first), float(f.last)] for f in fields]})
    step = [max(o['step'][axis] for o in outputs) for axis in (0, 1)]
    size = next(iter(classifier.inputs.values()))[2:]
    larger = [n + 2 * s for n, s in zip(size, step, strict=True)]
    weights = 2 * 4 * sum(blob.size for blobs in dense.weights.values() for blob in blobs)
    if _memory(dense, _grown(classifier, size, step, 3)) + weights > machine():
        raise BadInput('the comparison of the two nets would take more memory than this machine has')
    while grid > 1 and _memory(dense, _grown(classifier, size, step, grid)) > MEMORY * machine():
        grid -= 1
    moved = {change.layer for change in dense.changes if change.transposed}
    return {'old': [str(Path(p).resolve()) for p in old], 'new': [str(Path(p).resolve()) for p in new],
            'inputs': {k: list(v) for k, v in classifier.inputs.items()}, 'outputs': outputs, 'size': list(size),
            'step': step, 'larger': larger, 'grid': grid, 'seed': seed,
            'missing': {e.target: e.target in moved for e in classifier.missing}}


def _grown(classifier: Classifier, size: Sequence[int], step: Sequence[int], grid: int) -> dict[str, tuple[int, ...]]:
    h, w = (n + s * (grid - 1) for n, s in zip(size, step, strict=True))
    return {name: (1, shape[1], h, w) for name, shape in classifier.inputs.items()}


def _memory(dense: Dense, inputs: Mapping[str, tuple[int, ...]]) -> float:
    """Bytes that the dense net takes at a size."""
    return memory(dense.net, inputs)


def memory(net: Any, inputs: Mapping[str, tuple[int, ...]] | None = None) -> float:
    """Bytes that a net takes: data and gradients of all blobs, and the largest column buffer.

    Parameters
    ----------
    net : caffe_pb2.NetParameter
        Upgraded, and of one phase.
    inputs : mapping of str to shape, optional
        Sizes for input blobs, in place of those in the net.

    Returns
    -------
    float
        Infinity where Caffe cannot count them.
    """
    try:
        shapes = infer(net, inputs)
    except BadInput:                    # more than Caffe can count
        return float('inf')
    blobs = sum(float(np.prod(shape)) for tops in shapes.tops for shape in tops)
    columns = [float(np.prod(p[0][1:])) * layer.convolution_param.group * float(np.prod(t[0][2:])) if p else 0.0
               for layer, p, t in zip(net.layer, shapes.params, shapes.tops, strict=True)
               if layer.type == 'Convolution']
    return 4 * (2 * blobs + max(columns, default=0.0))


def machine() -> float:
    """Bytes of memory that the machine has."""
    return float(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))


def _judge(result: Mapping[str, Any]) -> None:
    for name, measured in result['classifier_size'].items():
        if not measured.pop('finite'):
            raise Mismatch(f'output {name}: its outputs are not finite, so nothing is proved')
        if not measured['max_relative'] <= TOLERANCE:
            raise Mismatch(f'output {name}: differs by {measured["max_relative"]:.2g} relative at the input size of '
                           'the classifier')
    for name, measured in result['larger_size']['outputs'].items():
        exact = measured['inside']
        if exact['positions'] and not exact['max_relative'] <= TOLERANCE:
            raise Mismatch(f'output {name}: differs by {exact["max_relative"]:.2g} relative from the classifier run on '
                           'the crop under it')


def in_child(module: str, job: Mapping[str, Any], folder: Path) -> Any:
    """Run `python -m module folder` with `folder/job.json`, in a process that Caffe may end.

    Parameters
    ----------
    module : str
        Reads `job.json` and writes `result.json`.
    job : mapping
        Ready for JSON; `old` or `new` begins with the path that an error names.
    folder : Path
        For both files.

    Returns
    -------
    object
        What `result.json` says.

    Raises
    ------
    BadInput
        The process failed; says why, in Caffe's words where there are any.
    OSError
        The disk is full.
    """
    (folder / 'job.json').write_text(json.dumps(job))
    root = str(Path(__file__).resolve().parent.parent)
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(filter(None, [root, os.environ.get('PYTHONPATH')]))}
    done = subprocess.run([sys.executable, '-P', '-m', module, str(folder)], env=environment, text=True,
                          errors='replace', stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode == 0:
        return json.loads((folder / 'result.json').read_text())
    if os.strerror(errno.ENOSPC) in done.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    raise BadInput(f'{job.get("old", job.get("new"))[0]}: {_last_words(done.stderr, done.returncode)}')


def _last_words(log: str, status: int) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    fatal = [line for line in lines if line[:1] == 'F' and '] ' in line]     # glog's mark of a failed CHECK
    if fatal:
        return f'Caffe refuses it: {fatal[0].split("] ", 1)[1]}'
    if status in (-9, 137):
        return 'the machine has too little memory for the comparison'
    return f'the comparison ended with status {status}: {lines[-1] if lines else "no message"}'


# ------------------------------------------------------------------------------------------------- in the child

def set_device(gpu: int | None) -> None:
    """Compute on a GPU, or on the CPU, there with Caffe's own layers."""
    import caffe
    if gpu is None:
        caffe.set_mode_cpu()
    else:
        from accel import device
        device.use(gpu)


def main(folder: str) -> None:
    """Do what `folder/job.json` says."""
    job = json.loads(Path(folder, 'job.json').read_text())
    import caffe
    set_device(job['gpu'])
    caffe.set_random_seed(job['seed'])
    old, new = (caffe.Net(job[which][0], caffe.TEST, weights=job[which][1]) for which in ('old', 'new'))
    for layer, turned in job['missing'].items():        # both must start from the same random numbers
        for i, (a, b) in enumerate(zip(old.params[layer], new.params[layer], strict=True)):
            b.data.flat = (a.data.T if turned and i == 0 else a.data).ravel()
    pictures: dict[str, np.ndarray] = {}
    if Path(folder, 'images.npz').exists():
        with np.load(Path(folder, 'images.npz'), allow_pickle=False) as stored:
            pictures = dict(stored)
    images = _Images(job, pictures)
    result = {'classifier_size': _same_size(old, new, job, images), MEAN_SQUARE: _mean_squares(new, job),
              'larger_size': _larger(old, new, job, images), 'timing': _timing(old, new, job, images)}
    Path(folder, 'result.json').write_text(json.dumps(result))


class _Images:
    """What the nets are shown: random noise of a photograph's range, and the caller's pictures."""

    def __init__(self, job: Mapping[str, Any], pictures: Mapping[str, np.ndarray]) -> None:
        self.job, self.pictures = job, pictures
        self.names = ['random 1', 'random 2', *pictures]

    def get(self, name: str, size: Sequence[int], batch: bool = True) -> dict[str, np.ndarray]:
        random = np.random.default_rng([self.job['seed'], self.names.index(name)])
        feed = {}
        for blob, (n, channels, _, _) in self.job['inputs'].items():
            shape = (n if batch else 1, channels, *size)
            feed[blob] = (np.broadcast_to(resize(self.pictures[name], size), shape) if name in self.pictures
                          else random.uniform(-120, 130, shape)).astype(np.float32)
        return feed


def resize(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resample an image linearly.

    Parameters
    ----------
    image : ndarray
        C x h x w.
    size : (int, int)
        Height and width, in pixels.

    Returns
    -------
    ndarray
        C x height x width, float32.
    """
    from PIL import Image
    return np.stack([np.asarray(Image.fromarray(channel.astype(np.float32)).resize((size[1], size[0]), 2))
                     for channel in image])


def _forward(net: Any, feed: Mapping[str, np.ndarray]) -> None:
    for name, value in feed.items():
        if net.blobs[name].data.shape != value.shape:
            net.blobs[name].reshape(*value.shape)
    for name, value in feed.items():
        net.blobs[name].data[...] = value
    net.forward()


def difference(new: np.ndarray, old: np.ndarray) -> tuple[float, float]:
    """How far two arrays of one shape differ at most; equal non-finite numbers do not differ.

    Parameters
    ----------
    new, old : ndarray
        Of any shape.

    Returns
    -------
    (float, float)
        Absolute, and relative to the largest finite old value.
    """
    with np.errstate(invalid='ignore'):
        gap = np.abs(new.astype(float) - old)
    gap[(new == old) | (np.isnan(new) & np.isnan(old))] = 0
    gap[np.isnan(gap)] = np.inf
    finite = np.abs(old[np.isfinite(old)])
    top = float(finite.max()) if finite.size else 0.0
    worst = float(gap.max()) if gap.size else 0.0
    return min(worst, LARGEST), min(worst / top if top else worst, LARGEST)


def _same_size(old: Any, new: Any, job: Mapping[str, Any], images: _Images) -> dict[str, Any]:
    rows: dict[str, Any] = {o['old']: {'images': images.names, 'max_absolute': 0.0, 'max_relative': 0.0}
                            for o in job['outputs']}
    for row in rows.values():
        row['finite'] = False
    for name in images.names:
        feed = images.get(name, job['size'])
        _forward(old, feed)
        _forward(new, feed)
        for o in job['outputs']:
            a, b = old.blobs[o['old']].data, new.blobs[o['new']].data
            absolute, relative = difference(b.ravel(), a.ravel())
            row = rows[o['old']]
            row['max_absolute'] = max(row['max_absolute'], absolute)
            row['max_relative'] = max(row['max_relative'], relative)
            row['finite'] |= bool(np.isfinite(a).any())
            row['largest_output'] = float(np.nan_to_num(np.abs(a).max()))
    return rows


def _mean_squares(new: Any, job: Mapping[str, Any]) -> dict[str, float]:
    """Mean squared length of features over positions, for the image shown last."""
    squares = {name: np.square(new.blobs[name].data[0].astype(float)).sum(0).mean() for name in job['measure']}
    return {name: float(np.nan_to_num(square, posinf=0.0)) for name, square in squares.items()}


def _larger(old: Any, new: Any, job: Mapping[str, Any], images: _Images) -> dict[str, Any]:
    size, larger = job['size'], job['larger']
    rows: dict[str, Any] = {}
    for name in images.names[1:]:
        feed = images.get(name, larger)
        _forward(new, feed)
        dense = {o['new']: new.blobs[o['new']].data.copy() for o in job['outputs']}
        for o in job['outputs']:
            row = rows.setdefault(o['old'], {
                'map': list(dense[o['new']].shape[2:]), 'step': o['step'],
                'inside': {'positions': 0, 'max_absolute': 0.0, 'max_relative': 0.0},
                'sees_padding': {'positions': 0, 'max_absolute': 0.0, 'max_relative': 0.0}})
            for at in _positions(o, size, larger):
                y, x = (i * s for i, s in zip(at, o['step'], strict=True))
                _forward(old, {k: v[:, :, y:y + size[0], x:x + size[1]] for k, v in feed.items()})
                i, j = (i * s for i, s in zip(at, o['shift'], strict=True))
                block = dense[o['new']][:, :, i:i + o['block'][0], j:j + o['block'][1]]
                absolute, relative = difference(block.ravel(), old.blobs[o['old']].data.ravel())
                part = row['sees_padding' if _sees_padding(o, (y, x), size, larger) else 'inside']
                part['positions'] += 1
                part['max_absolute'] = max(part['max_absolute'], absolute)
                part['max_relative'] = max(part['max_relative'], relative)
    return {'input': larger, 'outputs': rows}


def _positions(o: Mapping[str, Any], size: Sequence[int], larger: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Positions whose crop lies in the larger image; those at both ends and some between."""
    axes = []
    for n, big, step in zip(size, larger, o['step'], strict=True):
        count = (big - n) // step + 1
        axes.append(sorted({round(i) for i in np.linspace(0, count - 1, min(count, SAMPLES))}))
    return ((i, j) for i in axes[0] for j in axes[1])


def _sees_padding(o: Mapping[str, Any], at: Sequence[int], size: Sequence[int], larger: Sequence[int]) -> bool:
    """Whether the classifier sees padding at an edge of the crop where the dense net sees more of the image."""
    for start, n, big, (first, last), block, step, shift in zip(at, size, larger, o['field'], o['block'], o['step'],
                                                                o['shift'], strict=True):
        end = last + (block - 1) * step / shift
        if (first < 0 and start > 0) or (end > n - 1 and start + n < big):
            return True
    return False


# ------------------------------------------------------------------------------------------------------- timing

def _timing(old: Any, new: Any, job: Mapping[str, Any], images: _Images) -> dict[str, Any] | None:
    """Seconds for the grid: the dense net once, the classifier for every crop, one at a time and in batches of ten."""
    grid = job['grid']
    if grid < 1:
        return None
    large = [n + s * (grid - 1) for n, s in zip(job['size'], job['step'], strict=True)]
    _forward(new, images.get('random 1', large))
    dense = _best(new.forward)
    result = {'grid': [grid, grid], 'input': large, 'dense_seconds': dense, 'crops': grid * grid}
    alone = all(shape[0] == 1 for shape in job['inputs'].values())
    for label, batch in (('crop_by_crop', 1), ('crops_in_batches_of_10', 10)):
        if batch > 1 and not alone:
            continue
        feed = images.get('random 1', job['size'])
        _forward(old, {k: np.repeat(v, batch, axis=0) for k, v in feed.items()})
        seconds = _best(old.forward) / batch * grid * grid
        result[label] = {'seconds': seconds, 'times_faster': seconds / dense}
    return result


def _best(run: Callable[[], Any], budget: float = 6.0) -> float:
    """The shortest of a few runs, at least two."""
    times: list[float] = []
    while len(times) < 2 or (sum(times) < budget and len(times) < 10):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == '__main__':
    main(sys.argv[1])
