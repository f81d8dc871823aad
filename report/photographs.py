"""The tables of what was learnt from photographs (`experiments.photographs`)."""
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from report import published
from report.study_tables import over_seeds

STAGES = 'FCN-32s', 'FCN-16s', 'FCN-8s'
CHAIN, AT_ONCE, LITE = STAGES[0], 'FCN-8s at once', 'FCN-8s on EfficientNet-lite0'
LOWERED = f'{LITE}, then at a tenth of the rate'
LEARNED, ONE, TWENTY = ('FCN-8s, upsampling learned', 'FCN-32s, one image, momentum 0.9',
                        'FCN-32s, 20 images, momentum 0.9')
SIZES = 'full size', 'half size'
STUDIES = {'Skips, and all of them at once': (*STAGES, AT_ONCE), 'Upsampling': (STAGES[-1], LEARNED),
           'Optimisation, after as many photographs': (CHAIN, ONE, TWENTY)}
BORDERS = 'void borders', 'no borders'      # in the masks that are scored: see `experiments.photographs.scores`
HEADING = '', 'pixel acc', 'mean IU, common classes', 'all classes', 'f.w. IU', 'no borders'

Line = tuple[str, ...]


def line_of(name: str, entry: dict[str, Any]) -> Line:
    """A line under `HEADING`: means over the seeds in percent, and standard deviations where there are several."""
    cells = [(BORDERS[0], 'pixel_accuracy'), (BORDERS[0], 'common_iu'), (BORDERS[0], 'mean_iu'), (BORDERS[0], 'fw_iu'),
             (BORDERS[1], 'common_iu')]
    seeds = entry['seeds'].values()
    return name, *(over_seeds(seed[border][key] for seed in seeds) for border, key in cells)


def compared(rows: dict[str, Any], names: Iterable[str]) -> list[Line]:
    """The lines of those nets that are trained."""
    return [HEADING, *(line_of(name, rows[name]) for name in names if name in rows)]


def by_class(result: dict[str, Any]) -> list[Line]:
    """The IU of each common class, a column a net at full size, beside what is published of another test set."""
    rows = result[SIZES[0]]
    found = {name: next(iter(entry['seeds'].values()))[BORDERS[0]]['iu'] for name, entry in rows.items()}
    return [('', *found, 'published, VOC 2012 test'),
            *((name, *(percent(iu[name]) for iu in found.values()),
               f'{published.CLASS_IU[name]}?' if name in published.CLASS_IU else '') for name in
              result['common classes'])]


def percent(value: float | None) -> str:
    """A fraction of 1 as percent; nothing for a class that is absent."""
    return '' if value is None else f'{100 * value:.1f}'


def search(result: dict[str, Any]) -> list[Line]:
    """The held-out loss a pixel after short trainings, by the factor on the default rate."""
    found = result['search']
    factors = sorted({factor for losses in found.values() for factor in losses}, key=float)
    return [('rate times', *factors), *(
        (name, *(('-' if losses[factor] is None else f'{losses[factor]:.3f}') if factor in losses else ''
                 for factor in factors)) for name, losses in found.items())]


def trained(result: dict[str, Any]) -> list[Line]:
    """How each net was trained."""
    lines: list[Line] = [('', 'rate', 'momentum', 'images a step', 'steps', 'from', 'hours')]
    for size in SIZES:
        for name, entry in result[size].items():
            seconds = [seed['seconds'] for seed in entry['seeds'].values()]
            hours = f'{statistics.fmean(seconds) / 3600:.1f}' if None not in seconds else 'resumed'
            lines.append((f'{name}, {size}', f'{entry["base_lr"]:.2g}', f'{entry["momentum"]:g}',
                          str(entry['iter_size']), str(entry['steps']), entry['start'], hours))
    return lines


def tables(result: dict[str, Any]) -> list[tuple[str, Sequence[Line]]]:
    """Title and lines of every table, the first line of each its heading; those without a net are left out.

    Parameters
    ----------
    result : dict
        What is in photographs.json.
    """
    full, half = (result[size] for size in SIZES)
    makers: list[tuple[str, Callable[[], list[Line]]]] = [
        ('Held-out photographs', lambda: compared(full, full)),
        ('IU of the common classes', lambda: by_class(result) if full else []),
        *((f'{title} (half size)', lambda names=names: compared(half, names)) for title, names in STUDIES.items()),
        ('The search for rates: held-out loss a pixel', lambda: search(result)),
        ('How they were trained', lambda: trained(result))]
    return [(title, lines) for title, make in makers if len(lines := make()) > 1]
