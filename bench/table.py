"""What processes reported as rows, the goals that they are held to, and both as text."""
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cli
from bench import basket
from bench.engines import CAFFE, FCN8S, OURS, PEER_NAMES, TITLES, TORCH, Job, title
from bench.floor import Work
from bench.processes import Report

# At most these shares of the best peer's time forward, and of PyTorch's in a step: of FCN-8s, of each net of the
# basket, in the geometric mean of the basket; and megabytes that FCN-8s takes forward, by pixels of a side.
FCN8S_FORWARD, FCN8S_STEP, FCN8S_STEP_AVX512 = 0.45, 0.45, 0.35
EACH_FORWARD, MEAN_FORWARD, MEAN_STEP = 0.9, 0.75, 0.6
PEAK_MB = {500: 950, 1000: 1500}
SIZE = basket.SIZE
Row = dict[str, Any]        # see `summarise`
Goal = dict[str, Any]       # see `goals`


def summarise(reports: Mapping[Job, Sequence[Report]]) -> list[Row]:
    """One row for each job: medians over rounds, the largest peak, and the spread of the rounds.

    Parameters
    ----------
    reports : mapping
        Job -> what its processes reported.

    Returns
    -------
    list of dict
        `net`, `engine`, `what`, `size` (pixels), `seconds`, `fastest`, `slowest` and `first` (seconds), `peak_mb`,
        `rounds`, `layers` (of Caffe and ours), and `difference`, that of the scores from Caffe's, relative.
    """
    return [{**job._asdict(), 'seconds': round(statistics.median(r['median_s'] for r in found), 4),
             'fastest': min(r['min_s'] for r in found), 'slowest': max(r['median_s'] for r in found),
             'first': round(statistics.median(r['first_s'] for r in found), 4),
             'peak_mb': max(r['peak_mb'] for r in found), 'rounds': len(found), 'layers': found[0].get('layers'),
             'difference': found[0].get('difference')}
            for job, found in reports.items()]


def row_of(rows: Iterable[Row], net: str, engine: str, what: str, size: int = SIZE) -> Row | None:
    """The row of a job, or None."""
    return next((row for row in rows if key(row) == (net, engine, what, size)), None)


def key(row: Row) -> Job:
    """The job of a row."""
    return Job(row['net'], row['engine'], row['what'], row['size'])


def best_peer(rows: Iterable[Row], net: str, what: str, size: int = SIZE) -> Row | None:
    """The row of the fastest peer, or None."""
    found = [row for row in rows if row['engine'] in PEER_NAMES and key(row) == (net, row['engine'], what, size)]
    return min(found, key=lambda row: row['seconds'], default=None)


def ratio(rows: Sequence[Row], net: str, what: str, engine: str = OURS, beside: str = '') -> float | None:
    """Our time over the best peer's, or over that of the engine `beside`; None where one of them is missing."""
    ours = row_of(rows, net, engine, what)
    other = row_of(rows, net, beside, what) if beside else best_peer(rows, net, what)
    return ours['seconds'] / other['seconds'] if ours and other else None


def goals(rows: Sequence[Row]) -> list[Goal]:
    """Whether the goals are met, as far as what they speak of is measured.

    Returns
    -------
    list of dict
        `goal`, in words; `engine`, which of ours; `net`, '' for the whole basket; `what`; `value`; `at_most`; `met`,
        None where nets of the basket are missing.
    """
    found: list[Goal] = []

    def add(words: str, engine: str, net: str, what: str, value: float | None, most: float, whole: bool = True) -> None:
        if value is not None:
            value = round(value, 3)
            found.append({'goal': words, 'engine': engine, 'net': net, 'what': what, 'value': value, 'at_most': most,
                          'met': value <= most if whole else None})

    for engine in dict.fromkeys(row['engine'] for row in rows if row['engine'].startswith(OURS)):
        step = row_of(rows, FCN8S, engine, 'step')
        avx512 = bool(step) and 'AVX-512' in str(step and step['layers'])
        add('of the best peer', engine, FCN8S, 'forward', ratio(rows, FCN8S, 'forward', engine), FCN8S_FORWARD)
        add('of PyTorch', engine, FCN8S, 'step', ratio(rows, FCN8S, 'step', engine, TORCH),
            FCN8S_STEP_AVX512 if avx512 else FCN8S_STEP)
        for size, megabytes in PEAK_MB.items():
            if row := row_of(rows, FCN8S, engine, 'forward', size):
                add(f'MB at {size} pixels', engine, FCN8S, 'forward', row['peak_mb'], megabytes)
        for what, words, beside, most in (('forward', 'of the best peer', '', MEAN_FORWARD),
                                          ('step', 'of PyTorch', TORCH, MEAN_STEP)):
            ratios = {net: value for net in basket.NETS if (value := ratio(rows, net, what, engine, beside))}
            if what == 'forward':
                for net, value in ratios.items():
                    add(words, engine, net, what, value, EACH_FORWARD)
            if ratios:
                whole = len(ratios) == len(basket.NETS)
                add(f'{words}, geometric mean of {len(ratios)} nets', engine, '', what,
                    statistics.geometric_mean(ratios.values()), most, whole)
    return found


def table(rows: Sequence[Row], works: Mapping[str, Work]) -> str:
    """Rows and goals as text.

    Parameters
    ----------
    rows : sequence of dict
        From `summarise`.
    works : mapping of str to Work
        The arithmetic of each net at `SIZE`.
    """
    parts = [_beside(rows, works, what, engine) for what in ('forward', 'step')
             for engine in dict.fromkeys(row['engine'] for row in rows if row['engine'].startswith(OURS))]
    parts.append(_sizes(rows))
    parts.append('\n'.join(_said(goal, rows, works) for goal in goals(rows)))
    return '\n\n'.join(part for part in parts if part)


def _beside(rows: Sequence[Row], works: Mapping[str, Work], what: str, engine: str) -> str:
    """Seconds of every engine for each net, ratios, memory, and the arithmetic beside our time; '' without any."""
    others = [name for name in (CAFFE, *PEER_NAMES) if any((row['engine'], row['what']) == (name, what)
                                                           for row in rows)]
    beside = TORCH if what == 'step' else ''
    lines = [(f'{what} at {SIZE}', title(engine), *map(title, others), 'ours/peer', 'ours/Caffe', 'MB ours', 'peer',
              'GMAC', 'MB moved', 'GFLOP/s', 'GB/s', 'differs')]
    for net in TITLES:
        ours = row_of(rows, net, engine, what)
        if not ours:
            continue
        peer = row_of(rows, net, beside, what) if beside else best_peer(rows, net, what)
        found = [row_of(rows, net, name, what) for name in others]
        ratios = ratio(rows, net, what, engine, beside), ratio(rows, net, what, engine, CAFFE)
        lines.append((TITLES[net], f'{ours["seconds"]:.3f}', *(f'{row["seconds"]:.3f}' if row else '' for row in found),
                      *(f'{value:.2f}' if value else '' for value in ratios), str(ours['peak_mb']),
                      str(peer['peak_mb']) if peer else '', *_arithmetic(works[net], what, ours['seconds']),
                      '' if ours['difference'] is None else f'{ours["difference"]:.0e}'))
    return cli.table(lines) if len(lines) > 1 else ''


def _arithmetic(work: Work, what: str, seconds: float) -> tuple[str, str, str, str]:
    """Billions of multiply-adds, megabytes that move at least once, and what our time means; bytes of forward only."""
    macs = work.forward if what == 'forward' else work.step
    moved = work.weights + work.blobs
    return (f'{macs / 1e9:.1f}', *((f'{moved / 1e6:.0f}',) if what == 'forward' else ('',)),
            f'{2 * macs / seconds / 1e9:.0f}', f'{moved / seconds / 1e9:.1f}' if what == 'forward' else '')


def _sizes(rows: Sequence[Row]) -> str:
    """What was measured at other sizes; `sizes` passes a photograph upright and one across in turn."""
    found = [row for row in rows if row['what'] == 'sizes' or row['size'] != SIZE]
    lines = [('other sizes', '', 'pixels', 'seconds', 'ours/it', 'first', 'peak MB')]
    for row in sorted(found, key=lambda row: (row['what'], row['size'], row['seconds'])):
        ours = row_of(rows, row['net'], OURS, row['what'], row['size'])
        lines.append((title(row['engine']), row['what'], str(row['size']), f'{row["seconds"]:.3f}',
                      f'{ours["seconds"] / row["seconds"]:.2f}' if ours else '', f'{row["first"]:.2f}',
                      str(row['peak_mb'])))
    return cli.table(lines) if found else ''


def _said(goal: Goal, rows: Sequence[Row], works: Mapping[str, Work]) -> str:
    """A goal in a line; what is missed also says how fast the arithmetic was."""
    name, most = TITLES[goal['net']] if goal['net'] else 'the basket', goal['at_most']
    value = f'{goal["value"]:.0f}' if most > 1 else f'{goal["value"]:.2f}'
    state = 'the other nets are to come' if goal['met'] is None else 'met' if goal['met'] else 'missed'
    line = f'{title(goal["engine"])}: {name} {goal["what"]} {value} {goal["goal"]}, at most {most:g}: {state}'
    row = row_of(rows, goal['net'], goal['engine'], goal['what'])
    if goal['met'] is False and row and most <= 1:
        macs, moved, flops, bytes_ = _arithmetic(works[goal['net']], goal['what'], row['seconds'])
        line += f' ({macs} GMAC in {row["seconds"]:.3f} s are {flops} GFLOP/s' + (
            f', {moved} MB {bytes_} GB/s)' if moved else ')')
    return line
