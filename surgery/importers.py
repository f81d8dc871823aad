"""Import classifiers of other frameworks as prototxt and caffemodel."""
import os
from pathlib import Path
from typing import Any, NamedTuple

import files
from cli import BadInput, printable, table

from .builder import Builder
from .caffemodel import by, write_weights
from .net_input import RANGES, NetInput, fold_input
from .preparation import Preparation
from .proof import TOLERANCE, Mismatch, machine, memory
from .prototxt import write_prototxt


class ModelInput(NamedTuple):
    """What an imported model takes.

    Attributes
    ----------
    size : (int, int) or None
        Height and width of its images, where the model does not say it.
    input_range : str
        One of `RANGES`; '' where the model's architecture says it.
    order : str
        'rgb' or 'bgr'.
    """

    size: tuple[int, int] | None
    input_range: str
    order: str


def import_model(path: str | os.PathLike[str], folder: Path, size: tuple[int, int] | None = None,
                 input_range: str | None = None, order: str = 'rgb', gpu: int | None = None) -> str:
    """Write a torch state dict or an ONNX classifier as a Caffe net.

    Parameters
    ----------
    path : path
        `.onnx`, `.safetensors`, or `.pth` with a state dict of an architecture that `torch_import` knows.
    folder : Path
        Gets `deploy.prototxt`, `weights.caffemodel`, `report.json`, and `net.json` for a net of photographs.
    size : (int, int), optional
        Height and width of the images in pixels, where the model does not say it.
    input_range : str, optional
        What the model takes, one of `RANGES`; by default what the architecture of a state dict does, else 'raw'.
    order : str
        'rgb' or 'bgr': the channels of the model's input.
    gpu : int, optional
        The GPU on which it is compared with onnxruntime; the CPU by default.

    Returns
    -------
    str
        What was done, to read. The Caffe net takes blue, green, red pixels less the mean that it states.

    Raises
    ------
    BadInput
        The file is corrupt, or a part of the model has no equivalent in Caffe; names it.
    Mismatch
        onnxruntime's outputs are others than Caffe's, or none of Caffe's numbers is finite.
    """
    path, kind = Path(path), Path(path).suffix.lower()
    try:
        if kind == '.onnx':
            facts = _onnx(path, folder, ModelInput(size, input_range or 'raw', order), gpu)
        elif kind in ('.safetensors', '.pth', '.pt', '.bin'):
            facts = _state(path, folder, ModelInput(size, input_range or '', order))
        else:
            raise BadInput('neither .onnx nor .safetensors nor .pth, .pt or .bin')
    except (BadInput, Mismatch) as problem:
        text = str(problem)
        raise type(problem)(text if text.startswith(str(path)) else f'{path}: {text}') from None
    files.write_json(folder / 'report.json', facts)
    return _readable(facts)


def _onnx(path: Path, folder: Path, takes: ModelInput, gpu: int | None) -> dict[str, Any]:
    from .onnx_import import import_graph, read_onnx
    from .onnx_import.compare import compare
    graph = import_graph(read_onnx(path), takes.size)
    if graph.others:                    # and nothing says which of them are photographs
        if takes.input_range != 'raw':
            raise BadInput(f'it takes {1 + len(graph.others)} images, and --input is for one: leave it out')
        takes = takes._replace(order='bgr')
    outputs = graph.outputs | graph.scores
    facts, pixels, names = _write(graph.builder, list(outputs.values()), folder, takes, path.name)
    blobs = dict(zip(outputs, names, strict=True))
    scale, mean, deviation = RANGES[takes.input_range]
    job = {'new': [str((folder / name).resolve()) for name in ('deploy.prototxt', 'weights.caffemodel')],
           'outputs': blobs, 'mean': pixels.mean, 'onnx': str(path.resolve()), 'input': graph.input, 'scale': scale,
           'offset': mean, 'deviation': deviation, 'swap': takes.order == 'rgb' and pixels.order == 'bgr',
           'channels_last': graph.channels_last, 'others': graph.others, 'gpu': gpu}
    with files.scratch() as place:
        facts['onnxruntime'] = compare(job, place)
    for name, row in facts['onnxruntime']['outputs'].items():
        if not row.pop('finite'):
            raise Mismatch(f'output {name}: its outputs are not finite, so nothing is proved')
        if not row['max_relative'] <= TOLERANCE:
            raise Mismatch(f'output {name} differs from onnxruntime\'s by {row["max_relative"]:.2g} relative')
    facts['outputs'] = {name: blobs[name] for name in graph.outputs}
    return facts


def _state(path: Path, folder: Path, takes: ModelInput) -> dict[str, Any]:
    from .torch_import import build_classifier, read_state
    net = build_classifier(read_state(path), takes.size)
    facts, _, names = _write(net.builder, [net.top], folder,
                             takes._replace(input_range=takes.input_range or net.input_range), path.name)
    facts['outputs'] = {names[0]: names[0]}
    facts['notes'] = list(net.notes)
    return facts


def _write(builder: Builder, outputs: list[str], folder: Path, takes: ModelInput,
           source: str) -> tuple[dict[str, Any], NetInput, list[str]]:
    """Write prototxt and caffemodel; facts for the report, what the net takes, and what its outputs are called."""
    pixels = fold_input(builder, takes.input_range, takes.order)
    names = builder.finish(outputs)
    mean = ', '.join(f'{m:g}' for m in pixels.mean)
    kind = 'blue, green, red pixels' if pixels.order == 'bgr' else 'pixels'
    feed = f'{kind} from 0 to 255 less the mean {mean}' if any(pixels.mean) else f'{kind} from 0 to 255'
    if memory(builder.net) > machine():
        raise BadInput('the net takes more memory than this machine has')
    layers = [[layer.name, layer.type] for layer in builder.net.layer]
    write_prototxt(folder / 'deploy.prototxt', builder.net, f'From {source}. Takes {feed}.')
    write_weights(folder / 'weights.caffemodel', builder.weights, {name: kind for name, kind in layers})
    if (order := {1: 'grey', 3: 'bgr'}.get(len(pixels.mean))) is not None:
        Preparation(tuple(map(float, pixels.mean)), order=order).write(folder)
    return ({'source': source, 'input': list(builder.shapes['data']), 'takes': feed, 'mean': list(pixels.mean),
             'order': pixels.order, 'layers': layers}, pixels, names)


def _readable(facts: dict[str, Any]) -> str:
    kinds: dict[str, int] = {}
    for _, kind in facts['layers']:
        kinds[kind] = kinds.get(kind, 0) + 1
    lines = [f'{facts["source"]}: {", ".join(f"{n} {kind}" for kind, n in kinds.items() if kind != "Input")}',
             f'input data {by(facts["input"])}: {facts["takes"]}', f'outputs: {", ".join(facts["outputs"].values())}']
    lines = [*map(printable, lines)]
    lines += map(printable, facts.get('notes', ()))
    checked = facts.get('onnxruntime')
    if checked and 'not_compared' in checked:
        lines.append(f'not compared with another engine ({checked["not_compared"]})')
    elif checked:
        rows = [('same as onnxruntime', 'images', 'largest difference', 'relative')]
        rows += [(name, str(row['images']), f'{row["max_absolute"]:.2g}', f'{row["max_relative"]:.2g}')
                 for name, row in checked['outputs'].items()]
        lines.append(table(rows))
    return '\n'.join(lines)
