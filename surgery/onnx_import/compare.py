"""Run an imported net, and the ONNX model it was made of, on the same images.

Caffe and onnxruntime run in a process of their own (`python -m surgery.onnx_import.compare FOLDER`): a net that either
of them refuses ends that process and not the caller's.
"""
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .reading import read_onnx

IMAGES = 3              # random images that are compared


def compare(job: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Run an imported net beside onnxruntime.

    Parameters
    ----------
    job : mapping
        The Caffe net and the ONNX model:

        - `new` : prototxt and caffemodel of the Caffe net.
        - `mean` : what is subtracted from pixels for it, one number or one per channel.
        - `gpu` : the GPU that it runs on, or None for the CPU.
        - `onnx` : the ONNX file, and `input`, its input.
        - `scale`, `offset`, `deviation` : what the ONNX model takes is `(pixels * scale - offset) / deviation`.
        - `swap` : whether its channels are in the reverse order of the Caffe net's.
        - `channels_last` : whether it takes N x H x W x C.
        - `others` : its further inputs, each with its blob in the Caffe net.
        - `outputs` : its outputs, each with its blob in the Caffe net.
    folder : Path
        An empty folder for the two processes' messages.

    Returns
    -------
    dict
        `outputs`: for each the number of `images`, and the largest difference, `max_absolute`, and `max_relative` to
        the largest output, and whether any number of Caffe's is `finite`. `not_compared`: why
        onnxruntime could not run the model, where that is so.

    Raises
    ------
    BadInput
        Caffe refuses the net.
    """
    from ..proof import in_child
    result: dict[str, Any] = in_child('surgery.onnx_import.compare', job, folder)
    return result


def main(folder: str) -> None:
    """Do what `folder/job.json` says, as `compare` describes it; the answer goes into `folder/result.json`."""
    job = json.loads(Path(folder, 'job.json').read_text())
    import caffe

    from ..proof import set_device
    set_device(job['gpu'])
    net = caffe.Net(job['new'][0], caffe.TEST, weights=job['new'][1])
    rows: dict[str, Any] = {name: {'images': 0, 'max_absolute': 0.0, 'max_relative': 0.0, 'finite': False}
                            for name in job['outputs']}
    result: dict[str, Any] = {'outputs': rows}
    try:
        model = _session(job)
    except Exception as problem:        # whatever an engine of another kind has against the file
        model, result['not_compared'] = None, f'onnxruntime: {type(problem).__name__}: {str(problem)[:200]}'
    for seed in range(IMAGES if model else 1):
        pixels = np.random.default_rng(seed).uniform(0, 255, net.blobs['data'].data.shape).astype(np.float32)
        net.blobs['data'].data[...] = pixels - np.reshape(job['mean'], (-1, 1, 1))
        others = {name: np.random.default_rng([seed, i]).uniform(0, 255, net.blobs[blob].data.shape).astype(np.float32)
                  for i, (name, blob) in enumerate(job['others'].items())}
        for name, blob in job['others'].items():
            net.blobs[blob].data[...] = others[name]
        net.forward()
        for name, blob in job['outputs'].items():
            rows[name]['finite'] |= bool(np.isfinite(net.blobs[blob].data).any())
        if model:
            _note_differences(net, model(pixels, others), job['outputs'], rows)
    Path(folder, 'result.json').write_text(json.dumps(result))


def _session(job: Mapping[str, Any]) -> Callable[[np.ndarray, dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """The ONNX model as a function of the pixels that the Caffe net sees, and of its further inputs."""
    import onnxruntime
    model = read_onnx(job['onnx'])
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

    def run(pixels: np.ndarray, others: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        image = pixels[:, ::-1] if job['swap'] else pixels
        offset, deviation = (np.reshape(job[key], (-1, 1, 1)) for key in ('offset', 'deviation'))
        image = (image * job['scale'] - offset) / deviation
        image = image.transpose(0, 2, 3, 1) if job['channels_last'] else image
        names = [o.name for o in session.get_outputs()]
        feed = {entry.name: np.ascontiguousarray(image, dtype)} | others
        return dict(zip(names, session.run(None, feed), strict=True))

    return run


def _note_differences(net: Any, expected: Mapping[str, np.ndarray], outputs: Mapping[str, str],
                      rows: dict[str, dict[str, Any]]) -> None:
    from ..proof import difference
    for name, blob in outputs.items():
        absolute, relative = difference(net.blobs[blob].data.ravel(), expected[name].astype(np.float32).ravel())
        row = rows[name]
        row.update(images=row['images'] + 1, max_absolute=max(row['max_absolute'], absolute),
                   max_relative=max(row['max_relative'], relative))


if __name__ == '__main__':
    main(sys.argv[1])
