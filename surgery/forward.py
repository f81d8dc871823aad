"""Run an imported net, and the ONNX model it was made of, on the same images; in a process of its own."""
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def main(folder: str) -> None:
    """Do what `folder/job.json` says: the Caffe net in `new`, and the ONNX file in `onnx`, if any."""
    job = json.loads(Path(folder, 'job.json').read_text())
    import caffe

    from surgery.proof import set_device
    set_device(job['gpu'])
    net = caffe.Net(job['new'][0], caffe.TEST, weights=job['new'][1])
    rows: dict[str, Any] = {name: {'images': 0, 'max_absolute': 0.0, 'max_relative': 0.0} for name in job['outputs']}
    result: dict[str, Any] = {'outputs': rows}
    try:
        model = _session(job)
    except Exception as problem:        # whatever an engine of another kind has against the file
        model, result['not_compared'] = None, f'onnxruntime: {type(problem).__name__}: {str(problem)[:200]}'
    for seed in range(3 if model else 1):
        pixels = np.random.default_rng(seed).uniform(0, 255, net.blobs['data'].data.shape).astype(np.float32)
        net.blobs['data'].data[...] = pixels - np.reshape(job['mean'], (-1, 1, 1))
        net.forward()
        if model:
            _compare(net, model(pixels), job['outputs'], rows)
    Path(folder, 'result.json').write_text(json.dumps(result))


def _session(job: Mapping[str, Any]) -> Any:
    """The ONNX model as a function of the pixels that the Caffe net sees."""
    import onnxruntime

    from surgery.onnx_import import load
    model = load(job['onnx'])
    known = {o.name for o in model.graph.output}
    for name in job['outputs']:                     # scores too: probabilities can hide a difference
        if name not in known:
            model.graph.output.add(name=name)
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=['CPUExecutionProvider'])
    entry = next(i for i in session.get_inputs() if i.name == job['input'])
    dtype = np.float16 if 'float16' in entry.type else np.float32

    def run(pixels: np.ndarray) -> dict[str, np.ndarray]:
        image = pixels[:, ::-1] if job['swap'] else pixels
        offset, deviation = (np.reshape(job[key], (-1, 1, 1)) for key in ('offset', 'deviation'))
        image = (image * job['scale'] - offset) / deviation
        image = image.transpose(0, 2, 3, 1) if job['channels_last'] else image
        names = [o.name for o in session.get_outputs()]
        return dict(zip(names, session.run(None, {entry.name: np.ascontiguousarray(image, dtype)}), strict=True))

    return run


def _compare(net: Any, expected: Mapping[str, np.ndarray], outputs: Mapping[str, str],
             rows: dict[str, dict[str, Any]]) -> None:
    from surgery.proof import difference
    for name, blob in outputs.items():
        absolute, relative = difference(net.blobs[blob].data.ravel(), expected[name].astype(np.float32).ravel())
        row = rows[name]
        row.update(images=row['images'] + 1, max_absolute=max(row['max_absolute'], absolute),
                   max_relative=max(row['max_relative'], relative))


def verify(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Run `main` in a child, on its own job."""
    from .proof import in_child
    return in_child('surgery.forward', job, folder)


if __name__ == '__main__':
    main(sys.argv[1])


__all__: Sequence[str] = ['main', 'verify']
