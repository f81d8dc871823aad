"""How far apart runs of training drift that differ in rounding alone: python -m bench.drift [--steps N]

FCN-8s with narrow fc6 and fc7, dropout, momentum 0.99, small synthetic images; every run has the same weights, images
and dropout masks. Beside Caffe on one thread stand ours, Caffe on two threads, and Caffe with OpenBLAS's kernels for
another CPU. Printed are the largest difference of the loss, relative, and the median over the layers of the difference
of the way that their weights have moved, relative in the L2 norm; last, ours over the larger of Caffe's own.
"""
import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import cli

RUNS = {  # name -> environment
    'Caffe, 1 thread': {'FCN_ACCEL': '0', 'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1'},
    'Caffe, 2 threads': {'FCN_ACCEL': '0', 'OMP_NUM_THREADS': '2', 'OPENBLAS_NUM_THREADS': '2'},
    'Caffe, Haswell': {'FCN_ACCEL': '0', 'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1',
                       'OPENBLAS_CORETYPE': 'Haswell'},
    'ours': {'FCN_ACCEL': '1', 'OMP_NUM_THREADS': '2', 'OPENBLAS_NUM_THREADS': '2'},
}
SIZE, WIDTH, RATE = 60, 64, 1e-9


def sample(seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Smooth noise, 3 x SIZE x SIZE, and as labels, SIZE x SIZE, how many of its channels are positive."""
    from scipy.ndimage import gaussian_filter
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((3, SIZE, SIZE)), (0, 6, 6))
    return (noise / noise.std() * 50).astype(np.float32), (noise > 0).sum(0)


def train(steps: int, seed: int, out: Path) -> None:
    """Train, and save the losses and how far each layer's weights have moved.

    Parameters
    ----------
    steps : int
    seed : int
        Of weights, images and dropout.
    out : Path
        The .npz file: `losses`, and by layer the difference of its weights.

    Raises
    ------
    cli.BadInput
        Nets run on other layers than the environment asks for.
    """
    import caffe

    import accel  # noqa: F401 (in use or not as the environment says)
    from bench.ours import fill, net_parameter
    from nets.edits import narrow
    if accel.status().startswith('accelerated') != (os.environ['FCN_ACCEL'] == '1'):
        raise cli.BadInput(f'nothing to compare: nets run on {accel.status()}')
    net_file, solver_file = out.with_suffix('.net'), out.with_suffix('.solver')
    net_file.write_text(str(narrow(net_parameter(SIZE, True), WIDTH)))
    solver_file.write_text(f'train_net: "{net_file}" base_lr: {RATE} lr_policy: "fixed" momentum: 0.99 '
                           'weight_decay: 0.0005 display: 0 snapshot: 0 snapshot_prefix: "s"')
    solver = caffe.get_solver(str(solver_file))
    net = solver.net
    fill(net, np.random.default_rng(seed))
    start = {name: params[0].data.copy() for name, params in net.params.items()}
    losses = []
    for step in range(steps):
        net.blobs['data'].data[0], net.blobs['label'].data[0, 0] = sample(1000 * seed + step)
        caffe.set_random_seed(1000 * seed + step)     # dropout
        solver.step(1)
        losses.append(float(net.blobs['loss'].data))
    moved = {name: params[0].data - start[name] for name, params in net.params.items()}
    changed: dict[str, Any] = {name: difference for name, difference in moved.items() if difference.any()}
    np.savez(out, losses=losses, **changed)


def drift(run: Mapping[str, npt.NDArray[Any]], reference: Mapping[str, npt.NDArray[Any]]) -> tuple[float, float]:
    """How far apart two runs are.

    Parameters
    ----------
    run, reference : mapping of str to array
        As `train` saves them.

    Returns
    -------
    loss : float
        The largest difference of the losses, relative.
    weights : float
        The median over the layers of the difference of how their weights have moved, relative in the L2 norm.
    """
    layers = [name for name in reference if name != 'losses']
    moves = [np.linalg.norm(run[name] - reference[name]) / np.linalg.norm(reference[name]) for name in layers]
    return float(np.abs(run['losses'] / reference['losses'] - 1).max()), float(np.median(moves))


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m bench.drift', description=__doc__)
    parser.add_argument('--steps', type=int, default=50, metavar='N', help='steps of each run (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='of weights, images and dropout (default: 0)')
    parser.add_argument('--as-run', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.as_run:
        train(args.steps, args.seed, args.as_run)
        return
    with tempfile.TemporaryDirectory() as folder:
        results: dict[str, np.lib.npyio.NpzFile] = {}
        for name, environment in cli.progress(RUNS.items(), desc='runs'):
            out = Path(folder, f'{len(results)}.npz')
            command = [sys.executable, '-m', 'bench.drift', '--as-run', out, '--steps', args.steps, '--seed', args.seed]
            result = subprocess.run(list(map(str, command)),
                                    env={**os.environ, 'GLOG_minloglevel': '2', **environment})
            if result.returncode:
                raise cli.Failed(f'{name}: ended with status {result.returncode}')
            results[name] = np.load(out)
    reference, *others = RUNS
    losses = results[reference]['losses']
    print(f'{reference}: loss {losses[0]:.0f} at the first step, {losses[-1]:.0f} at the last')
    found = {name: drift(results[name], results[reference]) for name in others}
    for name, (loss, weights) in found.items():
        print(f'{name:17} loss {loss:.2g}, way {weights:.2g} apart')
    ours = found.pop('ours')
    print(f'ours / Caffe: loss {ours[0] / max(f[0] for f in found.values()):.1f}, '
          f'way {ours[1] / max(f[1] for f in found.values()):.1f}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
