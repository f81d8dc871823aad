"""Run Caffe on what an exported net will be fed: `python -m surgery.export.run_caffe FOLDER`, by its `job.json`."""
import json
import sys
from pathlib import Path

import numpy as np

from ..proof import TOLERANCE, set_device
from .engines import finite_range, load, save


def main(folder: str) -> None:
    """Do what `folder/job.json` says; the answer goes into `folder/result.json`."""
    job = json.loads(Path(folder, 'job.json').read_text())
    import caffe
    set_device(None)
    net = caffe.Net(job['new'][0], caffe.TEST, weights=job['new'][1])
    names = [*job['outputs'], *job['inner']]
    result = {name: {'finite': False, 'constant': True} for name in names}
    for i in range(job['runs']):
        feed = load(folder, f'blobs-{i}', job['inputs'])
        for name, value in feed.items():
            net.blobs[name].reshape(*value.shape)
        net.reshape()
        for name, value in feed.items():
            net.blobs[name].data[...] = value
        net.forward()
        save(folder, f'caffe-{i}', [net.blobs[name].data for name in names])
        save(folder, f'ties-{i}', [_ties(net.blobs[bottom].data) for bottom in job['labels'].values()])
        for name in names:
            found = finite_range(net.blobs[name].data)
            result[name] = {'finite': result[name]['finite'] or found['finite'],
                            'constant': result[name]['constant'] and found['constant']}
    Path(folder, 'result.json').write_text(json.dumps(result))


def _ties(scores: np.ndarray) -> np.ndarray:
    """Positions, N x 1 x ..., whose two largest scores are within the tolerance of each other."""
    if scores.shape[1] < 2:
        return np.zeros((scores.shape[0], 1, *scores.shape[2:]), bool)
    best = np.sort(scores, axis=1)[:, -2:]
    return np.asarray(best[:, 1:] - best[:, :1] <= TOLERANCE * np.abs(scores).max())


if __name__ == '__main__':
    main(sys.argv[1])
