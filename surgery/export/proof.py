"""Prove that an export gives what Caffe gives: at three sizes, by every engine that is there."""
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cli
import files
from cli import BadInput

from ..caffemodel import by
from ..free_sizes import enlarged, fits, some_sizes
from ..layers import Shape
from ..proof import TOLERANCE, Mismatch, in_child, machine, memory
from ..prototxt import write_prototxt
from ..untrusted import shortened
from .engines import ENGINES, save
from .formats import Format
from .source import Source

Arrays = dict[str, NDArray[Any]]


def prove(source: Source, form: Format, path: Path, seed: int = 0) -> dict[str, Any]:
    """Run an export beside Caffe.

    Parameters
    ----------
    source : Source
        The net.
    form : Format
        What it was exported to.
    path : Path
        The export.
    seed : int
        Picks the random images.

    Returns
    -------
    dict
        As in the report: the inputs' shapes of each run in `sizes`; for each of the `engines` its `version` and for
        each run and output the largest difference, or why it has `refused` the export; engines that are
        `not_installed`; outputs that are `constant`, and prove nothing.

    Raises
    ------
    BadInput
        Caffe refuses the net, or there is no engine, or too little memory.
    Mismatch
        An engine gives other numbers, the format's first one refuses it, or no number of Caffe's is finite.
    """
    missing = [name for name in form.engines if not is_installed(ENGINES[name].module)]
    if form.needed and form.engines[0] in missing:
        raise BadInput(f'the proof needs {form.engines[0]}: pip install {form.engines[0]}')
    runs = _runs(source)
    parameters = sum(blob.nbytes for blobs in source.weights.values() for blob in blobs)
    if max(memory(source.net, run) for run in runs) + 3 * parameters > machine():
        raise BadInput('the comparison with Caffe would take more memory than this machine has')
    with files.scratch() as folder:
        write_prototxt(folder / 'net.prototxt', source.net)
        for i, shapes in enumerate(runs):
            blobs, feed = _feeds(source, shapes, np.random.default_rng([seed, i]))
            save(folder, f'blobs-{i}', list(blobs.values()))
            save(folder, f'feed-{i}', list(feed.values()))
        inner = _inner(source)
        job = {'runs': len(runs), 'inputs': list(source.sizes.inputs), 'outputs': source.outputs, 'inner': inner,
               'labels': _labels(source)}
        runnable = form.runnable(source, path, folder, inner)
        with cli.progress(total=1 + len(form.engines) - len(missing), desc='prove', unit='engine') as bar:
            caffe = _caffe(source, job, folder)
            bar.update()
            result: dict[str, Any] = {
                'tolerance': TOLERANCE, 'sizes': [{name: list(shape) for name, shape in run.items()} for run in runs],
                'engines': {}, 'not_installed': missing,
                'constant': [name for name in source.outputs if caffe[name]['constant']]}
            for name in form.engines:
                if name not in missing:
                    found = _engine(name, job, runnable, folder)
                    result['engines'][name] = _judged(name, found, name == form.engines[0])
                    bar.update()
    return result


def is_installed(module: str) -> bool:
    """Whether a module can be imported; a mere folder of its name, which Python would take too, does not count."""
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None


def _runs(source: Source) -> list[dict[str, Shape]]:
    """The inputs' shapes of each run: three sizes, and the last of them, the smallest, with two images."""
    multiple = source.preparation.multiple
    runs = some_sizes(source.net, source.shapes, source.sizes, multiple)
    last = min(runs, key=lambda run: sum(int(np.prod(shape)) for shape in run.values()))
    two = enlarged(last, batch=1)
    if source.sizes.free['batch'] and fits(source.net, source.shapes, two):
        runs.append(two)
    return runs


def _feeds(source: Source, shapes: Mapping[str, Shape], rng: np.random.Generator) -> tuple[Arrays, Arrays]:
    """Random inputs: as Caffe's blobs take them, and as the model does."""
    if source.takes != 'caffe':
        (name, (n, _, height, width)), = shapes.items()
        rgb = rng.integers(0, 256, (n, height, width, 3), np.uint8)
        pixels = np.ascontiguousarray(rgb.transpose(0, 3, 1, 2)[:, ::1 if source.takes == 'rgb' else -1], np.float32)
        return {name: np.stack([source.preparation.blob(image) for image in rgb])}, {name: pixels}
    indices = {layer.bottom[0]: layer.embed_param.input_dim for layer in source.net.layer if layer.type == 'Embed'}
    feed = {name: (rng.integers(0, indices[name], shape) if name in indices else
                   rng.uniform(-120, 130, shape) * source.preparation.scale).astype(np.float32)
            for name, shape in shapes.items()}
    return feed, feed


def _inner(source: Source) -> list[str]:
    """What goes into a Softmax or Sigmoid that makes an output: probabilities can hide a difference."""
    last = {blob: i for i, layer in enumerate(source.net.layer) for blob in layer.top}
    return list(dict.fromkeys(
        layer.bottom[0] for i, layer in enumerate(source.net.layer) if layer.type in ('Softmax', 'Sigmoid')
        and layer.top[0] in source.outputs and last[layer.bottom[0]] < i and layer.bottom[0] not in source.sizes.inputs
        and source.net.layer[last[layer.bottom[0]]].type not in ('Dropout', 'Split', 'Slice')))


def _labels(source: Source) -> dict[str, str]:
    """Outputs that say which channel is the largest, each with the scores."""
    return {layer.top[0]: layer.bottom[0] for layer in source.net.layer if layer.type == 'ArgMax'
            and layer.top[0] in source.outputs and layer.argmax_param.HasField('axis')
            and layer.argmax_param.axis == 1 and layer.argmax_param.top_k == 1 and not layer.argmax_param.out_max_val}


def _caffe(source: Source, job: Mapping[str, Any], folder: Path) -> dict[str, dict[str, bool]]:
    prototxt = folder / 'net.prototxt'
    try:
        found: dict[str, dict[str, bool]] = in_child('surgery.export.run_caffe', {
            **job, 'new': [str(prototxt), str(source.path.resolve())]}, folder)
    except BadInput as problem:
        raise BadInput(str(problem).replace(str(prototxt), source.name)) from None
    for name in source.outputs:
        if not found[name]['finite']:
            raise Mismatch(f'output {name}: its outputs are not finite, so nothing is proved')
    return found


def _engine(name: str, job: Mapping[str, Any], path: Path, folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = in_child('surgery.export.engines', {**job, 'engine': name, 'new': [str(path)]}, folder)
    except BadInput as problem:         # it ended the process
        return {'runs': [], 'refused': shortened(str(problem).removeprefix(f'{path}: '))}
    return found


def _judged(name: str, found: dict[str, Any], needed: bool) -> dict[str, Any]:
    """What an engine has found, if it may be so."""
    for i, run in enumerate(found['runs']):
        for output, row in run.items():
            if 'shape' in row:
                raise Mismatch(f'output {output} is {by(row["shape"])} in {name}, run {i + 1}')
            if not row['max_relative'] <= TOLERANCE:
                raise Mismatch(f'output {output} differs from {name}\'s by {row["max_relative"]:.2g} relative')
            if row['labels_differ']:
                raise Mismatch(f'output {output}: {name} has another label at {row["labels_differ"]} positions')
    if needed and 'refused' in found:
        raise Mismatch(f'{name} refuses the export: {found["refused"]}')
    return found


def table(proof: Mapping[str, Any]) -> str:
    """A proof, to read."""
    rows = [('same as Caffe', 'images', 'largest difference', 'relative')]
    for name, found in proof['engines'].items():
        for run, shapes in zip(found['runs'], proof['sizes'], strict=False):
            size = ' and '.join(dict.fromkeys(by(shape) for shape in shapes.values()))
            worst = max(run.values(), key=lambda row: row['max_relative'])
            rows.append((f'{name} {found["version"].split("-")[0]}', size, f'{worst["max_absolute"]:.2g}',
                         f'{worst["max_relative"]:.2g}'))
    lines = [cli.table(rows)]
    lines += [cli.printable(f'{name} refuses it: {found["refused"]}') for name, found in proof['engines'].items()
              if 'refused' in found]
    if proof['not_installed']:
        lines.append(f'not compared, for they are not installed: {", ".join(proof["not_installed"])}')
    if proof['constant']:
        constant = ', '.join(map(cli.printable, proof['constant']))
        lines.append(f'constant whatever the image, which proves nothing: {constant}')
    return '\n'.join(lines)
