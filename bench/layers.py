"""Time single layers, accelerated and Caffe's own, in alternation in one process: python -m bench.layers

Sweeps the layers of the classifiers that nets are made of, at three sizes of an image, and random ones, forward and
backward. The ratio is that of the medians or of the shortest samples, whichever is smaller: what else the machine does
makes either larger. What takes more than 1.1 times as long as Caffe's own is measured again with more samples before it
counts as slower. Prints the worst ratios and each kind's median, and writes runs/bench/layers.json.
"""
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import cli
import files
from bench.layer_shapes import Case, basket, random_cases
from bench.passes import on_threads

if TYPE_CHECKING:
    import numpy as np

# Libraries read the number of threads, and accel its instruction set, when they are first imported: `main` sets both
# before a function imports them.
SLOWER = 1.1        # times Caffe's own seconds
SHORT = 2e-3        # seconds that a sample takes at least, as many passes as that needs
Row = dict[str, Any]


def text_of(case: Case) -> str:
    """The prototxt of a net of one layer."""
    inputs = ''.join(f'layer {{ name: "x{i}" type: "Input" top: "x{i}" input_param {{ shape {{ '
                     f'{" ".join(f"dim: {size}" for size in shape)} }} }} }}\n' for i, shape in enumerate(case.shapes))
    bottoms = ' '.join(f'bottom: "x{i}"' for i in range(len(case.shapes)))
    tops = 'top: "x0"' if case.in_place else ' '.join(f'top: "y{i}"' for i in range(case.tops))
    # The first layer of a net has no gradient of its image.
    first = case.shapes[0][1] == 3 and 'Convolution' in case.layer
    return (f'force_backward: {str(not first).lower()}\n{inputs}'
            f'layer {{ name: "layer" {bottoms} {tops} {case.layer} }}\n')


def make(case: Case) -> Any:
    """The net of a case; layers are Caffe's own within `accel.off()`."""
    import caffe
    with tempfile.NamedTemporaryFile('w', suffix='.prototxt') as file:
        file.write(text_of(case))
        file.flush()
        return caffe.Net(file.name, getattr(caffe, case.phase))


def fill(net: Any, rng: 'np.random.Generator') -> None:
    """Random numbers for every blob and its gradient."""
    for blob in {id(blob): blob for blob in net.blobs.values()}.values():
        values = rng.random(blob.data.shape, dtype='float32') - 0.5
        blob.data[...] = values
        blob.diff[...] = values


def sample(net: Any, what: str, passes: int) -> float:
    """Seconds of a pass through the layer."""
    last = len(net.layers) - 1
    run = net._forward if what == 'forward' else net._backward
    start = time.perf_counter()
    for _ in range(passes):
        run(last, last)
    return (time.perf_counter() - start) / passes


def compare(nets: Sequence[Any], what: str, samples: int) -> list[list[float]]:
    """Seconds of a pass of each net, in samples that are taken in turn.

    Parameters
    ----------
    nets : sequence of caffe.Net
    what : 'forward' or 'backward'
    samples : int
        Of each.
    """
    import numpy as np
    rng = np.random.default_rng(0)
    passes = []
    for net in nets:
        fill(net, rng)
        for _ in range(2):      # the first allocates
            net._forward(0, len(net.layers) - 1)
            first = sample(net, what, 1)
        passes.append(max(1, min(1000, round(SHORT / first))))
    found: list[list[float]] = [[] for _ in nets]
    for i in range(samples):
        if i % 4 == 0:      # in place, numbers are changed by each pass
            for net in nets:
                fill(net, rng)
                net._forward(0, len(net.layers) - 1)
        for j in range(len(nets)):
            found[j].append(sample(nets[j], what, passes[j]))
    return found


def ratios(found: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Of the first one's seconds to the second's: of the medians, and of the shortest samples."""
    return statistics.median(found[0]) / statistics.median(found[1]), min(found[0]) / min(found[1])


def measure(case: Case, samples: int) -> list[Row]:
    """Time a case in both directions, or only forward in inference; again where ours is the slower one."""
    import accel
    ours = make(case)
    with accel.off():
        theirs = make(case)
    rows = []
    for what in ('forward', 'backward')[:1 if case.phase == 'TEST' else 2]:
        found = compare((ours, theirs), what, samples)
        if min(ratios(found)) > SLOWER:
            found = compare((ours, theirs), what, 5 * samples)
        medians, shortest = ratios(found)
        rows.append({'kind': case.layer.split('"')[1], 'what': what, 'ratio': min(medians, shortest),
                     'medians': medians, 'shortest': shortest, 'ours_s': statistics.median(found[0]),
                     'caffe_s': statistics.median(found[1]), **case._asdict(), 'samples': len(found[0])})
    return rows


def sweep(cases: Iterable[Case], samples: int) -> list[Row]:
    """Time all cases, each once however many nets have it; rows with the worst ratio first."""
    distinct = list({case._replace(name=''): case for case in reversed(list(cases))}.values())
    rows = [row for case in cli.progress(distinct, desc='layers') for row in measure(case, samples)]
    return sorted(rows, key=lambda row: -row['ratio'])


def worst_table(rows: Sequence[Row], count: int) -> str:
    """The rows with the worst ratios, the slowest against Caffe's first."""
    def sizes(row: Row) -> str:
        return ', '.join('x'.join(map(str, shape)) for shape in row['shapes'])

    def parameters(row: Row) -> str:
        words = row['layer'].partition('weight_filler')[0].split()[2:]
        return ' '.join(word for word in words if word not in '{}')

    return cli.table([('ours / Caffe\'s', 'ms', 'layer', '', 'phase', 'bottoms', 'of', 'parameters')] + [
        (f'{row["ratio"]:.2f}', f'{row["ours_s"] * 1e3:.3f}', row['kind'], row['what'],
         row['phase'] + (', in place' if row['in_place'] else ''), sizes(row), row['name'], parameters(row))
        for row in rows[:count]])


def kinds_table(rows: Sequence[Row]) -> str:
    """The median and the worst ratio of each kind of layer in each direction."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        found.setdefault((row['kind'], row['what']), []).append(row['ratio'])
    return cli.table([('layer', '', 'shapes', 'median', 'worst')] + [
        (kind, what, str(len(ratios)), f'{statistics.median(ratios):.2f}', f'{max(ratios):.2f}')
        for (kind, what), ratios in sorted(found.items())])


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m bench.layers', description=__doc__)
    parser.add_argument('--isa', choices=('avx512', 'avx2', 'sse4'), help='use no more of the CPU than this')
    parser.add_argument('--threads', type=int, default=2, help='of both (default 2)')
    parser.add_argument('--samples', type=int, default=7, help='of each layer (default 7)')
    parser.add_argument('--random', type=int, default=130, metavar='N',
                        help='random layers beside those of nets (default 130)')
    parser.add_argument('--only', default='', metavar='TEXT',
                        help='layers whose prototxt, or whose net, has this in it')
    parser.add_argument('--worst', type=int, default=30, metavar='N', help='rows of the table (default 30)')
    args = parser.parse_args(argv)
    if min(args.threads, args.samples) < 1 or min(args.random, args.worst) < 0:
        raise cli.BadInput('--threads and --samples are at least 1, --random and --worst at least 0')
    os.environ.update(on_threads(args.threads), GLOG_minloglevel='2',
                      **({'FCN_ACCEL_ISA': args.isa} if args.isa else {}))
    cases = [case for case in (*basket(), *random_cases(args.random)) if args.only in f'{case.name} {case.layer}']
    if not cases:
        raise cli.BadInput(f'--only {args.only}: no layer has that')
    import accel
    from report.timing import processor
    from solvers.weights import runs_folder
    if not accel.status().startswith('accelerated'):
        raise cli.BadInput(f'nothing to compare: nets run on {accel.status()}')
    rows = sweep(cases, args.samples)
    path = runs_folder() / 'bench/layers.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, {'processor': processor(), 'layers': accel.status(), 'threads': args.threads, 'rows': rows})
    slower = [row for row in rows if row['ratio'] > SLOWER]
    cli.show(accel.status())
    print(worst_table(rows, max(args.worst, len(slower))))
    print()
    print(kinds_table(rows))
    cli.show('', f'{len(slower)} of {len(rows)} take more than {SLOWER} times as long as Caffe\'s own',
             f'written to {path}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
