"""Import classifiers of other frameworks as prototxt and caffemodel."""
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from cli import BadInput, table

from .builder import RANGES, Builder, InputForm, fold_input
from .caffemodel import by, write_weights
from .forward import verify
from .proof import TOLERANCE, Mismatch
from .prototxt import write_prototxt


def import_model(path: str | os.PathLike, folder: Path, size: tuple[int, int] | None = None,
                 input_range: str | None = None, order: str = 'rgb', gpu: int | None = None) -> str:
    """Write a torch state dict or an ONNX classifier as a Caffe net.

    Parameters
    ----------
    path : path
        `.onnx`, `.safetensors`, or `.pth` with a state dict (VGG and AlexNet as in torchvision).
    folder : Path
        Gets `deploy.prototxt`, `weights.caffemodel` and `report.json`.
    size : (int, int), optional
        Height and width of the images, where the model does not say it.
    input_range : str, optional
        What the model takes, one of `RANGES`: 'imagenet' for state dicts, else 'raw'.
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
        The file is damaged, or a part of the model has no equivalent in Caffe; names it.
    Mismatch
        onnxruntime's outputs are others than Caffe's.
    """
    path, kind = Path(path), Path(path).suffix.lower()
    try:
        if kind == '.onnx':
            facts = _onnx(path, folder, size, input_range or 'raw', order, gpu)
        elif kind in ('.safetensors', '.pth', '.pt', '.bin'):
            facts = _state(path, folder, size, input_range or 'imagenet', order)
        else:
            raise BadInput('neither .onnx nor .safetensors nor .pth')
    except (BadInput, Mismatch) as problem:
        text = str(problem)
        raise type(problem)(text if text.startswith(str(path)) else f'{path}: {text}') from None
    (folder / 'report.json').write_text(json.dumps(facts, indent=1) + '\n')
    return _readable(facts)


def _onnx(path: Path, folder: Path, size: tuple[int, int] | None, input_range: str, order: str,
          gpu: int | None) -> dict[str, Any]:
    from .onnx_import import Importer, load
    importer = Importer(load(path), size)
    channels_last = importer.values[importer.input].axes[1] != (1,)
    outputs = {name: value.blob for name, value in (importer.outputs | importer.scores).items()}
    facts, form, names = _write(importer.builder, list(outputs.values()), folder, input_range, order, path.name)
    blobs = dict(zip(outputs, names, strict=True))
    scale, mean, deviation = RANGES[input_range]
    job = {'new': _files(folder), 'outputs': blobs, 'mean': form.mean, 'onnx': str(path.resolve()),
           'input': importer.input, 'scale': scale, 'offset': mean, 'deviation': deviation,
           'swap': order == 'rgb' and form.order == 'bgr', 'channels_last': channels_last, 'gpu': gpu}
    with tempfile.TemporaryDirectory(prefix='surgery-') as place:
        facts['onnxruntime'] = verify(job, Path(place))
    for name, row in facts['onnxruntime']['outputs'].items():
        if not row['max_relative'] <= TOLERANCE:
            raise Mismatch(f'output {name} differs from onnxruntime\'s by {row["max_relative"]:.2g} relative')
    facts['outputs'] = {name: blobs[name] for name in importer.outputs}
    return facts


def _state(path: Path, folder: Path, size: tuple[int, int] | None, input_range: str, order: str) -> dict[str, Any]:
    from .torch_import import build, read_state
    builder, top = build(read_state(path), size)
    facts, _, names = _write(builder, [top], folder, input_range, order, path.name)
    facts['outputs'] = {names[0]: names[0]}
    return facts


def _write(builder: Builder, outputs: list[str], folder: Path, input_range: str, order: str,
           source: str) -> tuple[dict[str, Any], InputForm, list[str]]:
    form = fold_input(builder, input_range, order)
    names = builder.finish(outputs)
    mean = ', '.join(f'{m:g}' for m in form.mean)
    pixels = {'bgr': 'blue, green, red pixels'}.get(form.order, 'pixels')
    feed = f'{pixels} from 0 to 255 less the mean {mean}' if any(form.mean) else f'{pixels} from 0 to 255'
    write_prototxt(folder / 'deploy.prototxt', builder.net, f'From {source}. Takes {feed}.')
    write_weights(folder / 'weights.caffemodel', builder.weights, {x.name: x.type for x in builder.net.layer})
    shape = list(builder.shapes['data'])
    return ({'source': source, 'input': shape, 'takes': feed, 'mean': list(form.mean), 'order': form.order,
             'layers': [[x.name, x.type] for x in builder.net.layer]}, form, names)


def _files(folder: Path) -> list[str]:
    return [str((folder / name).resolve()) for name in ('deploy.prototxt', 'weights.caffemodel')]


def _readable(facts: dict[str, Any]) -> str:
    kinds: dict[str, int] = {}
    for _, kind in facts['layers']:
        kinds[kind] = kinds.get(kind, 0) + 1
    lines = [f'{facts["source"]}: {", ".join(f"{n} {kind}" for kind, n in kinds.items() if kind != "Input")}',
             f'input data {by(facts["input"])}: {facts["takes"]}', f'outputs: {", ".join(facts["outputs"].values())}']
    checked = facts.get('onnxruntime')
    if checked and 'not_compared' in checked:
        lines.append(f'not compared with another engine ({checked["not_compared"]})')
    elif checked:
        rows = [('same as onnxruntime', 'images', 'largest difference', 'relative')]
        rows += [(name, str(row['images']), f'{row["max_absolute"]:.2g}', f'{row["max_relative"]:.2g}')
                 for name, row in checked['outputs'].items()]
        lines.append(table(rows))
    return '\n'.join(lines)
