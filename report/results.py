"""docs/results.md: every table of the papers, and beside it what was measured here.

    python -m report results                        print the page
    python -m report results --measure              time nets on this machine's CPU, into docs/results/speed.json

All of ours comes from the files in docs/results/: study.json (make study), photographs.json (make photographs),
demo.json (summary.json of make demo),
speed.json, and for a net that was trained on its data set, NET.json of python -m solvers.score --json. Where
a file is missing, the page says what it takes.
"""
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cli
import files
from report import photographs, published
from report.published import in_percent
from report.study_tables import HEADING, NAMES, WIDTH, tables
from solvers.metrics import METRICS
from solvers.weights import ROOT

FOLDER = ROOT / 'docs/results'
TEMPLATE, PHOTOGRAPHS = (Path(__file__).parent / f'templates/{name}.md' for name in ('results', 'photographs'))
OWN = 'The nets on VGG-16 start from all of it.'
FRESH = ('The nets on VGG-16 start from its convolutions, of which conv1 to conv3 are held fixed; fc6 and fc7 are\n'
         '{width} wide and start at random.')
DATA = {'voc': 'VOC 2011 and SBD', 'nyud': 'NYUDv2', 'siftflow': 'SIFT Flow', 'pascalcontext': 'PASCAL-Context'}


class Results:
    """What was measured.

    Parameters
    ----------
    folder : Path
        Of JSON files, docs/results/ by default.

    Attributes
    ----------
    known : dict of str to dict
        Stem of a file -> what it holds.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self.known: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text())
                                                 for path in folder.glob('*.json')}

    def scores(self, net: str, label: str = 'label') -> str:
        """Our metrics of a net on its own data set, in percent, or what it takes to have them.

        Parameters
        ----------
        net : str
            Such as 'voc-fcn8s'.
        label : str
            The label blob.
        """
        if net not in self.known:
            return f'needs {DATA[net.partition("-")[0]]}: `make {net}`'
        task = self.known[net]['tasks'][label]
        scores = task['variants'].get('without background', task)       # as PASCAL-Context's are published
        pixel, mean, iu, weighted = (100 * scores[name] for name in METRICS)
        return in_percent((pixel, mean, iu, weighted))


def markdown(heading: Sequence[object], lines: Iterable[Sequence[object]]) -> str:
    """A table of cells, in Markdown."""
    rows = [heading, ['---'] * len(heading), *lines]
    return '\n'.join(f'| {" | ".join(map(str, row))} |' for row in rows)


# A function for each part of the page: Results -> Markdown.

def demo(results: Results) -> str:
    """The scores of the demo."""
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
    missing = [name for name in NAMES if name not in found['rows']]
    return '\n\n'.join([
        *parts, *([f'Not trained for this page: {"; ".join(missing)}. `make study` does.'] if missing else []),
        f'Mean IU on the held-out slices: {"as in the papers, " if rising else "other than in the papers, "}{said}.',
        '**Upper bound: labels of the held-out slices made coarse, mean IU**\n\n' + markdown(
            ['factor', *bound], [['mean IU', *(f'{100 * value:.1f}' for value in bound.values())]]),
        '**How they were trained**\n\n' + markdown(['', 'rate', 'steps', 'from'], recipes)])


def learnt_photographs(results: Results) -> str:
    """What was learnt from photographs: the tables, and how to read them."""
    found = results.known.get('photographs')
    if found is None:
        return f'Needs {DATA["voc"].replace("2011", "2012")}: `make photographs`.'
    parts = [f'**{title}**\n\n{markdown(heading, lines)}' for title, (heading, *lines) in photographs.tables(found)]
    learnt, held_out = found['data']['train'], found['data']['val']
    facts = {'train': f'{learnt["photographs"]:,}', 'borders': learnt['with void borders'],
             'val': held_out['photographs'], 'least': found['least'], 'common': ', '.join(found['common classes']),
             'trunk': FRESH.format(width=found['width']) if found['width'] else OWN, 'processor': found['processor'],
             'tables': '\n\n'.join(parts)}
    return filled(PHOTOGRAPHS.read_text().strip(), facts)


def compared(results: Results, names: Iterable[str], source: str = published.PAPER) -> str:
    """The published scores of nets with one task, and ours.

    Parameters
    ----------
    results : Results
    names : iterable of str
        Nets in `published.SCORES`.
    source : str
        Where the published scores are from: the paper or the released weights.
    """
    return markdown(['net', 'published', 'ours'],
                    [[name, in_percent(published.SCORES[name]['label'][source]), results.scores(name)]
                     for name in names])


def released(results: Results) -> str:
    """The weights that were released; ours are those of the nets trained here."""
    names = [name for name, tasks in published.SCORES.items() if published.RELEASED in tasks.get('label', {})]
    return compared(results, names, published.RELEASED)


def siftflow(results: Results) -> str:
    """The two tasks of SIFT Flow."""
    tasks = published.SCORES['siftflow-fcn16s']
    return markdown(['siftflow-fcn16s', 'published', 'ours'],
                    [[title, in_percent(tasks[label][published.PAPER]), results.scores('siftflow-fcn16s', label)]
                     for title, label in (('semantic', 'sem'), ('geometric', 'geo'))])


def classifiers(results: Results) -> str:
    """The classifiers made fully convolutional: scores, times and parameters."""
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
    """The mean IU of coarse labels, by factor."""
    bound = published.UPPER_BOUND['voc']
    return markdown(['factor', *bound],
                    [['published', *bound.values()],
                     ['ours, held-out slices of the study',
                      *(f'{100 * results.known["study"]["data"]["upper_bound"][str(factor)]:.1f}' for factor in bound)],
                     ['ours, VOC', *['needs VOC: `python -m report upper-bound voc`'], *[''] * (len(bound) - 1)]])


def unconfirmed(rows: dict[str, published.Row]) -> str:
    """Remembered scores of what no command here trains on VOC; of the nets of one layer the study has its own."""
    return markdown(['', 'published', 'ours'],
                    [[name, in_percent(row, confirmed=False), f'needs {DATA["voc"]}'] for name, row in rows.items()])


def efficiency(results: Results) -> str:
    """The dense net beside a crop for each of its positions."""
    timing, paper = results.known['speed']['grid'], published.EFFICIENCY
    one, ten = timing['crop_by_crop'], timing['crops_in_batches_of_10']
    crops = paper['crop'] * paper['positions']
    return markdown(
        ['AlexNet, a grid of 10 x 10 positions', 'published, K40c', 'ours, CPU'],
        [['dense net, once', f'{paper["grid"]} ms', f'{timing["dense_seconds"]:.2f} s'],
         ['100 crops', f'{crops:.0f} ms', f'{one["seconds"]:.1f} s one by one, {ten["seconds"]:.1f} s in tens'],
         ['dense net is faster', f'{crops / paper["grid"]:.1f} times',
          f'{one["times_faster"]:.1f} times, {ten["times_faster"]:.1f} times']])


def command(found: dict[str, Any]) -> str:
    """What was typed to make a study.json."""
    if not found['quick']:
        return 'make study'
    return 'make study QUICK=1' + (' ARGS=--all' if len(found['rows']) == len(NAMES) else '')


def page(results: Results) -> str:
    """The text of docs/results.md."""
    found, speed = results.known['study'], results.known['speed']
    seeds = len(next(iter(found['rows'].values()))['scores'])
    facts = {
        'demo': demo(results), 'study': study(results), 'photographs': learnt_photographs(results),
        'classifiers': classifiers(results),
        'skips': compared(results, ['voc-fcn32s-fixed', 'voc-fcn32s', 'voc-fcn16s', 'voc-fcn8s']),
        'released': released(results),
        'nyud': compared(results, [name for name in published.SCORES if name.startswith('nyud')]),
        'siftflow': siftflow(results),
        'context': compared(results, [name for name in published.SCORES if name.startswith('pascalcontext')]),
        'upper_bound': upper_bound(results), 'efficiency': efficiency(results),
        'one_layer': unconfirmed(published.ONE_LAYER), 'optimisation': unconfirmed(published.OPTIMISATION),
        'train': found['data']['train'], 'val': found['data']['val'], 'width': WIDTH,
        'command': command(found),
        'seeds': 'one seed' if seeds == 1 else f'{seeds} seeds: mean ± standard deviation',
        'processor': speed['processor'], 'cores': speed['cores']}
    return filled(TEMPLATE.read_text(), facts)


def filled(text: str, facts: Mapping[str, object]) -> str:
    """A text with {NAME} replaced by what is known of it."""
    for name, value in facts.items():
        text = text.replace(f'{{{name}}}', str(value))
    return text


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m report results', description=__doc__)
    parser.add_argument('--measure', action='store_true', help='time nets and write docs/results/speed.json instead')
    args = parser.parse_args(argv)
    if args.measure:
        from accel import device
        from report import speed
        device.choose(cpu=True)
        FOLDER.mkdir(exist_ok=True)
        files.write_json(FOLDER / 'speed.json', speed.measure())
    else:
        cli.show(*page(Results()).removesuffix('\n').split('\n'))
