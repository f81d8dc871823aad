"""Photographs a second that `nets.infer` segments from a folder: python -m bench.folder [--nets NET ...]

The photographs are JPEGs of 500x375 pixels and, every fourth, 375x500, drawn with a fixed seed; the nets are those of
`python -m bench.basket`. The command is run on some and on all of them, and the difference of the two times is what
the others took: starting up and loading the net, which is told beside it, counts once.

Beside it stands what the stages take, one at a time in one process: reading a photograph, the net, and writing labels
and overlay. A command that does one after the other takes their sum; one that reads and writes meanwhile, the longest.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

import cli
import files
from bench import basket
from bench.passes import on_threads
from bench.processes import ask, publish
from solvers.weights import runs_folder

WIDE, TALL = (500, 375), (375, 500)
FEW = 4         # photographs of the shorter run
STAGES = ('read', 'compute', 'write')
Result = TypeVar('Result')
DETAIL = 250    # pixels of a side of the finest random picture that a photograph is made of


def photograph(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A picture with something at every scale, as photographs have it, so that it takes as long to decode.

    Parameters
    ----------
    rng : numpy.random.Generator
    size : (int, int)
        Width and height in pixels.
    """
    total = np.zeros((size[1], size[0], 3), np.float32)
    side = 4
    while side <= DETAIL:
        coarse = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
        total += (np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float32) - 128) * (4 / side) ** 0.5
        side *= 2
    return Image.fromarray(np.clip(total + 128, 0, 255).astype(np.uint8))


def write_photographs(folder: Path, count: int) -> list[Path]:
    """Write photographs; their files."""
    rng = np.random.default_rng(0)
    paths = [folder / f'{i:03}.jpg' for i in range(count)]
    for i, path in enumerate(paths):
        photograph(rng, TALL if i % 4 == 3 else WIDE).save(path, quality=92)
    return paths


def infer(net: Path, images: Sequence[Path], out: Path, threads: int) -> float:
    """Seconds that `nets.infer` takes on some photographs."""
    environment = {**os.environ, **on_threads(threads)}
    command = [sys.executable, '-m', 'nets.infer', '--net', str(net), '--cpu', '--out', str(out), *map(str, images)]
    begin = time.perf_counter()
    result = subprocess.run(command, cwd=basket.ROOT, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise cli.Failed(f'nets.infer: {(result.stderr.strip().splitlines() or ["?"])[-1]}')
    return time.perf_counter() - begin


def stages(net: Path, images: Path, out: Path) -> dict[str, float]:
    """Seconds of each stage for a photograph, the median over those of a folder, each done once before.

    Parameters
    ----------
    net : Path
        Folder of the net.
    images, out : Path
        Folder of the photographs, and where what is written goes.
    """
    import nets
    from accel import device
    from nets.infer import arguments, write
    from solvers import deploy_options
    from solvers.segmenting import segment_image
    args = arguments(['--net', str(net), '--cpu', '--out', str(out), str(images)])
    deploy = deploy_options.chosen(args, nets.load, nets.names())
    way = deploy_options.way(args, deploy)
    device.choose(cpu=True)
    live = deploy.load()
    seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}

    def clocked(stage: str, work: Callable[..., Result], *arguments: Any) -> Result:
        begin = time.perf_counter()
        result = work(*arguments)
        seconds[stage].append(time.perf_counter() - begin)
        return result

    for _ in range(2):
        for values in seconds.values():
            values.clear()
        for path in sorted(images.iterdir()):
            blobs = clocked('read', deploy.source.read, path)
            found = clocked('compute', segment_image, live, blobs, way)
            clocked('write', write, deploy.source, {}, None, out, path, found)
    return {stage: statistics.median(values) for stage, values in seconds.items()}


def measure(name: str, place: Path, count: int, threads: int) -> dict[str, Any]:
    """Time `nets.infer` and its stages with a net of the basket.

    Parameters
    ----------
    name : str
        Of the net.
    place : Path
        A folder that all nets share: the first call writes the photographs.
    count, threads : int
        Photographs; threads of each process.

    Returns
    -------
    dict
        `net`; `start` and, for each of `STAGES`, seconds; `images_per_s` of the command; what it would be one after
        the other (`serial`) and if only the longest stage counted (`overlapped`).
    """
    net, photographs = basket.folder_of(name), place / 'photographs'
    photographs.mkdir(exist_ok=True)
    paths = sorted(photographs.iterdir()) or write_photographs(photographs, count)
    few, all_of_them = (infer(net, paths[:n], place / f'{name}-{n}', threads) for n in (FEW, len(paths)))
    each = (all_of_them - few) / (len(paths) - FEW)
    out = place / f'{name}-stages'
    out.mkdir()
    found = ask(f'{name}, stages', [sys.executable, '-m', 'bench.folder', '--stages', str(net), str(photographs),
                                    str(out)], on_threads(threads))
    if found is None:
        raise cli.Failed(f'{name}: its stages could not be timed; the line above says why')
    return {'net': name, 'start': few - FEW * each, 'images_per_s': 1 / each, **found,
            'serial': 1 / sum(found[stage] for stage in STAGES),
            'overlapped': 1 / max(found[stage] for stage in STAGES)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text."""
    lines = [('', 'images/s', 'one after the other', 'longest stage', *(f'{stage} ms' for stage in STAGES), 'start s')]
    lines += [(basket.NETS[row['net']].title, *(f'{row[key]:.2f}' for key in ('images_per_s', 'serial', 'overlapped')),
               *(f'{1000 * row[stage]:.0f}' for stage in STAGES), f'{row["start"]:.1f}') for row in rows]
    return cli.table(lines)


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m bench.folder', description=__doc__)
    parser.add_argument('--nets', nargs='+', choices=tuple(basket.NETS), default=['vgg16', 'resnet50', 'mobilenetv2'],
                        metavar='NET', help=f'of {", ".join(basket.NETS)} (default: %(default)s)')
    parser.add_argument('--images', type=int, default=32, metavar='N', help='photographs (default: %(default)s)')
    parser.add_argument('--threads', type=int, default=2, help='of each process (default: %(default)s)')
    parser.add_argument('--stages', nargs=3, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.stages:
        print(json.dumps(stages(*args.stages)))
        return
    if args.images <= FEW or args.threads < 1:
        raise cli.BadInput(f'--images is more than {FEW}, --threads at least 1')
    with files.scratch() as place:
        rows = [measure(name, place, args.images, args.threads)
                for name in cli.progress(args.nets, desc='nets', unit='net')]
    publish(runs_folder() / 'bench', 'folder', {'images': args.images, 'threads': args.threads, 'rows': rows},
            table(rows))


if __name__ == '__main__':
    sys.exit(cli.run(main))
