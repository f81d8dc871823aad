"""docs/results.md: every table of the papers, and beside it what was measured here.

    python -m report results                        print the page
    python -m report results --measure              time nets on this machine's CPU, into docs/results/speed.json

All of ours comes from the files in docs/results/: study.json (make study), demo.json (summary.json of make demo),
speed.json, and for a net that somebody has trained on its data set, NET.json of python -m solvers.score --json. Where
there is none, the page says what it takes.
"""
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import cli
import nets
from experiments.study import HEADING, ROWS, WIDTH, tables
from report import published
from report.published import in_percent
from solvers.instance import instantiate
from solvers.metrics import METRICS
from solvers.weights import ROOT

FOLDER = ROOT / 'docs/results'
DATA = {'voc': 'VOC 2011 and SBD', 'nyud': 'NYUDv2', 'siftflow': 'SIFT Flow', 'pascalcontext': 'PASCAL-Context'}


class Results:
    """What is in docs/results/."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.known = {path.stem: json.loads(path.read_text()) for path in folder.glob('*.json')}

    def scores(self, net: str, label: str = 'label') -> str:
        """Our four metrics of a net on its own data set, in percent, or what it takes to have them."""
        if net not in self.known:
            return f'needs {DATA[net.partition("-")[0]]}: `make {net}`'
        task = self.known[net]['tasks'][label]
        scores = task['variants'].get('without background', task)       # as PASCAL-Context's are published
        return in_percent(tuple(100 * scores[name] for name in METRICS))


def markdown(heading, lines) -> str:
    """A table."""
    rows = [heading, ['---'] * len(heading), *lines]
    return '\n'.join(f'| {" | ".join(map(str, row))} |' for row in rows)


def demo(results: Results) -> str:
    summary = results.known['demo']
    lines = [[stage['net'], *(f'{100 * stage[name]:.1f}' for name in METRICS), stage['iterations']]
             for stage in summary['stages']]
    return markdown(['', *HEADING[1:5], 'steps'], lines)


def study(results: Results) -> str:
    """The tables of the study, and whether finer nets came out better."""
    found = results.known['study']
    parts = [f'**{title}**\n\n{markdown(heading, lines)}' for title, (heading, *lines) in tables(found)]
    chain = ['FCN-32s', 'FCN-16s', 'FCN-8s']
    means = [statistics.fmean(scores['mean_iu'] for scores in found['rows'][name]['scores'].values()) for name in chain]
    rising = means == sorted(set(means))
    said = ' < '.join(chain) if rising else ', '.join(f'{name} {100 * mean:.1f}'
                                                      for name, mean in zip(chain, means, strict=True))
    recipes = [[name, f'{row["base_lr"]:g}', row['steps'], row['start']] for name, row in found['rows'].items()]
    bound = found['data']['upper_bound']
    missing = [row.name for row in ROWS if row.name not in found['rows']]
    return '\n\n'.join([
        *parts, *([f'Not trained for this page: {"; ".join(missing)}. `make study` does.'] if missing else []),
        f'Mean IU on the held-out slices: {"as in the papers, " if rising else "other than in the papers, "}{said}.',
        '**Upper bound: labels of the held-out slices made coarse, mean IU**\n\n' + markdown(
            ['factor', *bound], [['mean IU', *(f'{100 * value:.1f}' for value in bound.values())]]),
        '**How they were trained**\n\n' + markdown(['', 'rate', 'steps', 'from'], recipes)])


def rows_of(results: Results, names, source: str = published.PAPER) -> str:
    """Published beside ours, for nets with one task."""
    return markdown(['net', 'published', 'ours'],
                    [[name, in_percent(published.SCORES[name]['label'][source]), results.scores(name)]
                     for name in names])


def released(results: Results) -> str:
    """The weights that were released: ours are those of the nets trained here."""
    names = [name for name, tasks in published.SCORES.items() if published.RELEASED in tasks.get('label', {})]
    return rows_of(results, names, published.RELEASED)


def siftflow(results: Results) -> str:
    tasks = published.SCORES['siftflow-fcn16s']
    return markdown(['siftflow-fcn16s', 'published', 'ours'],
                    [[title, in_percent(tasks[label][published.PAPER]), results.scores('siftflow-fcn16s', label)]
                     for title, label in (('semantic', 'sem'), ('geometric', 'geo'))])


def classifiers(results: Results) -> str:
    speed, lines = results.known['speed'], []
    for name, (mean_iu, milliseconds, parameters) in published.CLASSIFIERS.items():
        ours = speed['nets'][name]
        with_sbd = published.WITH_SBD.get(name)
        lines.append([name, mean_iu, '-' if with_sbd is None else with_sbd, results.scores(name),
                      f'{milliseconds} ms', f'{1000 * ours["seconds"]:.0f} ms', f'{parameters} M',
                      f'{ours["parameters"] / 1e6:.1f} M'])
    return markdown(['', 'published mean IU', 'with SBD', 'ours, with SBD', 'published, K40c', 'ours, CPU',
                     'published parameters', 'ours'], lines)


def upper_bound(results: Results) -> str:
    bound = published.UPPER_BOUND['voc']
    return markdown(['factor', *bound],
                    [['published', *bound.values()],
                     ['ours, held-out slices of the study',
                      *(f'{100 * results.known["study"]["data"]["upper_bound"][str(factor)]:.1f}' for factor in bound)],
                     ['ours, VOC', *['needs VOC: `python -m report upper-bound voc`'], *[''] * (len(bound) - 1)]])


def unconfirmed(rows: dict[str, published.Row]) -> str:
    """What no command here trains on VOC; of the nets of one layer the study has its own."""
    return markdown(['', 'published', 'ours'],
                    [[name, in_percent(row, confirmed=False), f'needs {DATA["voc"]}'] for name, row in rows.items()])


def efficiency(results: Results) -> str:
    timing, paper = results.known['speed']['grid'], published.EFFICIENCY
    one, ten = timing['crop_by_crop'], timing['crops_in_batches_of_10']
    crops = paper['crop'] * paper['positions']
    return markdown(
        ['AlexNet, a grid of 10 x 10 positions', 'published, K40c', 'ours, CPU'],
        [['dense net, once', f'{paper["grid"]} ms', f'{timing["dense_seconds"]:.2f} s'],
         ['100 crops', f'{crops:.0f} ms', f'{one["seconds"]:.1f} s one by one, {ten["seconds"]:.1f} s in tens'],
         ['dense net is faster', f'{crops / paper["grid"]:.1f} times',
          f'{one["times_faster"]:.1f} times, {ten["times_faster"]:.1f} times']])


def command(found: dict) -> str:
    """What made a study.json."""
    if not found['quick']:
        return 'make study'
    return 'make study QUICK=1' + (' ARGS=--all' if len(found['rows']) == len(ROWS) else '')


def page(results: Results) -> str:
    """The text of docs/results.md."""
    found, speed = results.known['study'], results.known['speed']
    seeds = len(next(iter(found['rows'].values()))['scores'])
    text = (Path(__file__).parent / 'templates/results.md').read_text()
    facts = {
        'demo': demo(results), 'study': study(results), 'classifiers': classifiers(results),
        'skips': rows_of(results, ['voc-fcn32s-fixed', 'voc-fcn32s', 'voc-fcn16s', 'voc-fcn8s']),
        'released': released(results),
        'nyud': rows_of(results, [name for name in published.SCORES if name.startswith('nyud')]),
        'siftflow': siftflow(results),
        'context': rows_of(results, [name for name in published.SCORES if name.startswith('pascalcontext')]),
        'upper_bound': upper_bound(results), 'efficiency': efficiency(results),
        'one_layer': unconfirmed(published.ONE_LAYER), 'optimisation': unconfirmed(published.OPTIMISATION),
        'train': found['data']['train'], 'val': found['data']['val'], 'width': WIDTH,
        'command': command(found),
        'seeds': 'one seed' if seeds == 1 else f'{seeds} seeds: mean ± standard deviation',
        'processor': speed['processor'], 'cores': speed['cores']}
    for name, value in facts.items():
        text = text.replace(f'{{{name}}}', str(value))
    return text


def measure() -> dict:
    """Forward times at 500 x 500 and parameters of the nets of Table 1, and the grid of CaffeNet; random weights."""
    return {'processor': processor(), 'cores': os.cpu_count(),
            'nets': {name: forward(name) for name in published.CLASSIFIERS}, 'grid': grid()}


def forward(name: str) -> dict:
    """Median seconds of a forward pass after the first, and the number of learnt parameters."""
    parameters = nets.load(name).fcn('deploy')
    net = instantiate(parameters)
    randomise(net)
    net.blobs['data'].data[...] = np.random.default_rng(0).uniform(-120, 120, net.blobs['data'].shape)
    net.forward()
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        net.forward()
        times.append(time.perf_counter() - begin)
    fixed = {layer.name for layer in parameters.layer if layer.type == 'Deconvolution'}
    count = sum(blob.count for layer, blobs in net.params.items() if layer not in fixed for blob in blobs)
    return {'seconds': statistics.median(times), 'parameters': count}


def randomise(net) -> None:
    """Weights like those of a trained net, in scale; a net of zeros might be faster."""
    rng = np.random.default_rng(0)
    for blobs in net.params.values():
        fan_in = blobs[0].count / blobs[0].shape[0]
        blobs[0].data[...] = rng.normal(0, (2 / fan_in) ** 0.5, blobs[0].shape)


def grid() -> dict:
    """What `surgery convolutionalize` measures of CaffeNet: a 10 x 10 grid at once, and crop by crop."""
    from nets import alexnet
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        net = instantiate(alexnet.classifier())
        randomise(net)
        (folder / 'net.prototxt').write_text(str(alexnet.classifier()))
        net.save(str(folder / 'net.caffemodel'))
        subprocess.run([sys.executable, '-m', 'surgery', 'convolutionalize', '--prototxt', folder / 'net.prototxt',
                        '--weights', folder / 'net.caffemodel', '--out', folder / 'dense'], cwd=ROOT, check=True,
                       stdout=subprocess.DEVNULL)
        return json.loads((folder / 'dense/report.json').read_text())['proof']['timing']


def processor() -> str:
    """The model of the CPU as Linux names it."""
    lines = Path('/proc/cpuinfo').read_text().splitlines()
    return next((line.partition(':')[2].strip() for line in lines if line.startswith('model name')),
                platform.machine())


def main(argv=None) -> None:
    parser = cli.Parser(prog='python -m report results', description=__doc__)
    parser.add_argument('--measure', action='store_true', help='time nets and write docs/results/speed.json instead')
    args = parser.parse_args(argv)
    if args.measure:
        from accel import device
        device.choose(cpu=True)
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / 'speed.json').write_text(json.dumps(measure(), indent=1) + '\n')
    else:
        print(page(Results()), end='')
