"""Time a net in this project's Caffe, accelerated or (FCN_ACCEL=0) not. One JSON line, as in peers.py.

    python -m bench.ours forward|step|sizes|check [--net DIR] [--size 500] [--threads 2] [--runs 6] [--gpu 0]

The net is FCN-8s with random weights, or that of a folder of `bench.basket`. `sizes` alternates between two shapes of a
photograph, each seen once before: a net is reshaped for every image. `check` takes one step without dropout and gives
its loss and the length of the first convolution's gradient. `--scores FILE` keeps what the net gives.
On a GPU a pass ends when the card has finished; image and scores stay on it.
"""
import argparse
import ctypes
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.passes import on_threads, peak_mb, timed

# Functions import NumPy, which reads the number of threads once, when it is imported: `main` sets that first.
if TYPE_CHECKING:
    import numpy as np

LABEL = 3       # of all pixels

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument('what', choices=('forward', 'step', 'sizes', 'check'))
parser.add_argument('--net', type=Path, metavar='DIR')
parser.add_argument('--size', type=int, default=500)
parser.add_argument('--threads', type=int, default=2)
parser.add_argument('--runs', type=int, default=6)
parser.add_argument('--seconds', type=float, default=float('inf'), help='after which no other pass begins')
parser.add_argument('--scores', type=Path, metavar='FILE')
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
        net.blobs['label'].data[...] = LABEL


def fill_from(net: Any, folder: Path, size: int) -> None:
    """Give a net of the basket its weights, its image or a corner of it, and one label for all pixels.

    Parameters
    ----------
    net : caffe.Net
        Written in place.
    folder : Path
        As `bench.basket` writes it.
    size : int
        Pixels of a side of the image.
    """
    import numpy as np

    from solvers.instance import load
    load(net, folder / 'weights.caffemodel')
    net.blobs['data'].data[...] = np.load(folder / 'image.npy', mmap_mode='r')[..., :size, :size]
    if 'label' in net.blobs:
        net.blobs['label'].data[...] = LABEL


def of_basket(folder: Path, what: str, size: int) -> Any:
    """A net of the basket; arguments as of `prepare`.

    Returns
    -------
    caffe_pb2.NetParameter
    """
    from surgery import read_net
    net = read_net(folder / ('deploy.prototxt' if what == 'forward' else 'train.prototxt'))
    for layer in net.layer:
        if layer.type == 'Input':
            layer.input_param.shape[0].dim[2:] = size, size
        if layer.type == 'Dropout' and what == 'check':
            layer.dropout_param.dropout_ratio = 0
    return net


def prepare(what: str, size: int, folder: Path | None = None) -> tuple[Any, Callable[[], object]]:
    """The net or solver, which must stay alive, and the function to time.

    Parameters
    ----------
    what : str
        'forward', 'step', 'sizes' or 'check'.
    size : int
        Pixels of a side of the image.
    folder : Path, optional
        Of a net of the basket; by default it is FCN-8s.
    """
    import caffe
    import numpy as np

    import accel
    learning = what in ('step', 'check')
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, 'net.prototxt')
        path.write_text(str(of_basket(folder, what, size) if folder else net_parameter(size, learning)))

        def filled(net: Any) -> Any:
            if folder:
                fill_from(net, folder, size)
            else:
                fill(net, np.random.default_rng(0))
            return net

        if not learning:
            # Nobody reads blobs between here, and a pass is always whole.
            with accel.inference():
                net = filled(caffe.Net(str(path), caffe.TEST))
            return net, lambda: net._forward(0, len(net.layers) - 1)    # `forward` would fetch the scores
        solver_path = Path(place, 'solver.prototxt')
        solver_path.write_text(f'train_net: "{path}" base_lr: 1e-14 lr_policy: "fixed" momentum: 0.99 '
                               'weight_decay: 0.0005 display: 0 snapshot_prefix: "x" snapshot: 0')
        solver = caffe.get_solver(str(solver_path))
        filled(solver.net)
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


def checked(net: Any) -> dict[str, float]:
    """The loss of a training net, and the length of the gradient of its first convolution, which all others end in."""
    import numpy as np
    losses = net.forward()
    net.backward()
    first = next(name for name, layer in zip(net._layer_names, net.layers, strict=True) if layer.type == 'Convolution')
    return {'loss': float(losses['loss']), 'gradient': float(np.linalg.norm(net.params[first][0].diff))}


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
    os.environ.update(on_threads(args.threads), GLOG_minloglevel='2')
    import accel
    card = NoCard() if args.gpu is None else Card(args.gpu)
    kept_alive, run = prepare(args.what, args.size, args.net)
    if args.what == 'sizes':
        run = turns(kept_alive, args.size)
    found = checked(kept_alive.net) if args.what == 'check' else timed(run, card.finish, args.runs, args.seconds)
    if args.scores:
        import numpy as np
        np.save(args.scores, kept_alive.blobs['score'].data, allow_pickle=False)
    engine = 'ours' if accel.status().startswith('accelerated') else 'caffe'
    layers = accel.status() if args.gpu is None else accel.cudnn.status()
    print(json.dumps({'engine': engine, 'layers': layers, 'what': args.what, 'size': args.size,
                      'threads': args.threads, **found, 'peak_mb': peak_mb(),
                      'card_mb': card.used_mb(), 'counts': accel.cudnn.counts()._asdict()}))


if __name__ == '__main__':
    main()
