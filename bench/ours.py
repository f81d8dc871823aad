"""Time FCN-8s in this project's Caffe, accelerated or (FCN_ACCEL=0) not. One JSON line, as in peers.py.

    python -m bench.ours forward|step|sizes [--size 500] [--threads 2] [--runs 6] [--gpu 0]

`sizes` alternates between two shapes of a photograph, each seen once before: a net is reshaped for every image.
On a GPU a pass ends when the card has finished; image and scores stay on it.
"""
import argparse
import ctypes
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Functions import NumPy, which reads the number of threads once, when it is imported: `main` sets that first.
if TYPE_CHECKING:
    import numpy as np

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('what', choices=('forward', 'step', 'sizes'))
parser.add_argument('--size', type=int, default=500)
parser.add_argument('--threads', type=int, default=2)
parser.add_argument('--runs', type=int, default=6)
parser.add_argument('--gpu', type=int)


def net_parameter(size: int, training: bool) -> Any:
    """FCN-8s over blobs that are filled by hand instead of by a data set.

    Parameters
    ----------
    size : int
        Pixels of a side of the image.
    training : bool
        With label and loss.

    Returns
    -------
    caffe_pb2.NetParameter
    """
    from nets.voc_fcn8s.net import fcn
    net = fcn('train' if training else 'deploy')
    feed = net.layer[0]
    feed.ClearField('python_param')
    feed.type = 'Input'
    feed.input_param.ClearField('shape')
    for channels in (3, 1)[:len(feed.top)]:
        feed.input_param.shape.add().dim.extend((1, channels, size, size))
    return net


def fill(net: Any, rng: 'np.random.Generator') -> None:
    """Give a net random weights, a random image, and one label for all pixels.

    Parameters
    ----------
    net : caffe.Net
        Of `net_parameter`; written in place.
    rng : numpy.random.Generator
    """
    from report.timing import randomise
    randomise(net, rng)
    image = net.blobs['data'].data
    image[...] = rng.standard_normal(image.shape, dtype='float32') * 50
    if 'label' in net.blobs:
        net.blobs['label'].data[...] = 3


def prepare(what: str, size: int) -> tuple[Any, Callable[[], object]]:
    """The net or solver, which must stay alive, and the function to time; `size` as for `net_parameter`."""
    import caffe
    import numpy as np
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'net.prototxt')
        path.write_text(str(net_parameter(size, what == 'step')))
        if what != 'step':
            net = caffe.Net(str(path), caffe.TEST)
            fill(net, rng)
            return net, lambda: net._forward(0, len(net.layers) - 1)    # `forward` would fetch the scores
        solver_path = Path(folder, 'solver.prototxt')
        solver_path.write_text(f'train_net: "{path}" base_lr: 1e-14 lr_policy: "fixed" momentum: 0.99 '
                               'weight_decay: 0.0005 display: 0 snapshot_prefix: "x" snapshot: 0')
        solver = caffe.get_solver(str(solver_path))
        fill(solver.net, rng)
        return solver, lambda: solver.step(1)


def turns(net: Any, size: int) -> Callable[[], None]:
    """A function that passes an image upright and one across through the net; `size` is the longer side, in pixels."""
    import numpy as np
    images = [np.ones(shape, np.float32) for shape in ((1, 3, size, size * 3 // 4), (1, 3, size * 3 // 4, size))]

    def run() -> None:
        for image in images:
            net.blobs['data'].reshape(*image.shape)
            net.forward(data=image)
    return run


class Card:
    """A GPU that Caffe computes on, asked through the CUDA runtime that Caffe itself uses.

    Parameters
    ----------
    number : int
        Of the GPU.
    """

    def __init__(self, number: int) -> None:
        import caffe

        from accel import device
        device.choose(number)
        self.runtime = ctypes.CDLL(caffe._caffe.__file__)   # what it is linked with is looked through too

    def finish(self) -> None:
        """Wait until the GPU has done what it was given."""
        if code := self.runtime.cudaDeviceSynchronize():
            raise SystemExit(f'the card reports error {code}')

    def used_mb(self) -> int:
        """Megabytes in use on the GPU, of all processes."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.runtime.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
        return (total.value - free.value) >> 20


class NoCard:
    """In place of a `Card`: passes on the CPU end when they return."""

    def finish(self) -> None:
        """Do nothing."""

    def used_mb(self) -> int:
        """0."""
        return 0


def main() -> None:
    args = parser.parse_args()
    os.environ.update({name: str(args.threads) for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS')},
                      GLOG_minloglevel='2')
    import accel
    card = NoCard() if args.gpu is None else Card(args.gpu)
    kept_alive, run = prepare(args.what, args.size)
    if args.what == 'sizes':
        run = turns(kept_alive, args.size)
    seconds = []
    for _ in range(1 + args.runs):
        begin = time.perf_counter()
        run()
        card.finish()
        seconds.append(time.perf_counter() - begin)
    first, *seconds = seconds
    engine = 'ours' if accel.status().startswith('accelerated') else 'caffe'
    layers = accel.status() if args.gpu is None else accel.cudnn.status()
    print(json.dumps({'engine': engine, 'layers': layers, 'what': args.what, 'size': args.size,
                      'threads': args.threads, 'first_s': round(first, 6),
                      'median_s': round(statistics.median(seconds), 6), 'min_s': round(min(seconds), 6),
                      'peak_mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                      'card_mb': card.used_mb(), 'counts': accel.cudnn.counts()._asdict()}))


if __name__ == '__main__':
    main()
