"""The tables of the study (`experiments.study`): which nets stand beside each other, and how a line is written."""
import statistics
from collections.abc import Iterable
from typing import Any

from report import published
from solvers.metrics import METRICS

WIDTH = 512     # outputs of fc6 and fc7 in the study's nets
HEADING = ('', 'pixel acc', 'mean acc', 'mean IU', 'f.w. IU', 'published, on VOC')      # in the order of METRICS
TABLES = {'Skips (CVPR 2015, Table 2)': ('FCN-32s-fixed', 'FCN-32s', 'FCN-32s, as long as 8s', 'FCN-16s', 'FCN-8s',
                                         'FCN-8s at once'),
          'One layer at a time': ('pool5 only', 'pool4 only', 'pool3 only'),
          'Upsampling': ('FCN-8s', 'FCN-8s, upsampling learned'),
          'Loss': ('FCN-32s', 'FCN-32s, loss normalised')}
NAMES = tuple(dict.fromkeys(name for names in TABLES.values() for name in names))       # of all nets of the study
PUBLISHED = {
    **{name: published.in_percent(published.SCORES[net]['label'][published.PAPER]) for name, net in (
        ('FCN-32s-fixed', 'voc-fcn32s-fixed'), ('FCN-32s', 'voc-fcn32s'), ('FCN-16s', 'voc-fcn16s'),
        ('FCN-8s', 'voc-fcn8s'))},
    'FCN-8s at once': published.in_percent(published.SCORES['voc-fcn8s-atonce']['label'][published.RELEASED])
    + ' (released weights)',
    **{name: published.in_percent(row, confirmed=False) for name, row in published.ONE_LAYER.items()}}


def row_of(name: str, entry: dict[str, Any]) -> tuple[str, ...]:
    """A line of a table: mean over the seeds in percent, and their standard deviation where there are several.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    entry : dict
        What study.json has of that net: `scores`, by seed the metrics as fractions of 1.

    Returns
    -------
    tuple of str
        Cells under `HEADING`.
    """
    seeds = entry['scores'].values()
    return name, *(over_seeds(scores[metric] for scores in seeds) for metric in METRICS), PUBLISHED.get(name, '')


def over_seeds(values: Iterable[float]) -> str:
    """The mean of fractions of 1 in percent, and their standard deviation where there are several.

    >>> over_seeds([0.4, 0.5, 0.6]), over_seeds([0.5])
    ('50.0 ± 10.0', '50.0')
    """
    percent = [100 * value for value in values]
    return f'{statistics.fmean(percent):.1f}' + (f' ± {statistics.stdev(percent):.1f}' if len(percent) > 1 else '')


def tables(result: dict[str, Any]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """The tables of what has been trained so far; one with a single net would compare nothing and is left out.

    Parameters
    ----------
    result : dict
        What is in study.json.

    Returns
    -------
    list of (str, list of tuple of str)
        Title and lines, the first of which is the heading.
    """
    found = []
    for title, names in TABLES.items():
        lines = [row_of(name, result['rows'][name]) for name in names if name in result['rows']]
        if len(lines) > 1:
            found.append((title, [HEADING, *lines]))
    return found
