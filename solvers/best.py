"""The weights of the best scoring of a run, beside those of its end, and when there is no better one to come."""
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import files
from cli import BadInput
from solvers import snapshot

WEIGHTS, RECORD = 'best.caffemodel', 'best.json'


@dataclass(frozen=True)
class Best:
    """The best scoring of a run so far.

    Attributes
    ----------
    iteration : int
        The step after which it was made; 0 before the first.
    mean_iu : float
        As a fraction of 1, the mean over the tasks.
    since : int
        Scorings after it.
    """
    iteration: int = 0
    mean_iu: float = -1.0
    since: int = 0

    def after(self, iteration: int, mean_iu: float) -> 'Best':
        """The best scoring once another one is made; an equal one comes too late."""
        if mean_iu > self.mean_iu:
            return Best(iteration, mean_iu)
        return replace(self, since=self.since + 1)


def mean_iu(scores: Mapping[str, Mapping[str, float]]) -> float:
    """What a scoring is judged by: the mean IU, over several tasks their mean.

    >>> mean_iu({'sem': {'mean_iu': 0.25}, 'geo': {'mean_iu': 0.75}})
    0.5
    """
    return float(np.mean([task['mean_iu'] for task in scores.values()]))


def of_lines(lines: Iterable[Mapping[str, Any]]) -> Best:
    """The best scoring among the lines of a `metrics.jsonl`."""
    best = Best()
    for line in lines:
        if 'scores' in line:
            best = best.after(line['iteration'], mean_iu(line['scores']))
    return best


def keep(net: Any, run: Path, best: Best) -> str | None:
    """Write the weights of a net as the best of a run, whole or not at all, and what they score beside them.

    Parameters
    ----------
    net : caffe.Net
    run : Path
        The folder. Where its newest snapshot is of the same step, its file gets a second name.
    best : Best

    Returns
    -------
    str or None
        Why they were not written; what was there before is as it was.
    """
    target, record = run / WEIGHTS, run / RECORD
    known = read(run)
    if known and known['mean_iu'] >= best.mean_iu:      # made before, by a process that got further than its snapshots
        return None
    partial = target.with_name(target.name + files.PARTIAL)
    partial.unlink(missing_ok=True)
    snapshots = snapshot.list_snapshots(run / 'snapshots')
    try:
        if snapshots and int(snapshots[-1].name) == best.iteration:
            os.link(snapshot.weights(snapshots[-1]), partial)
        else:
            need = 4 * sum(blob.count for blobs in net.params.values() for blob in blobs)
            free = shutil.disk_usage(run).free
            if free < need * snapshot.ROOM:     # Caffe would abort, or not notice
                return f'{run} has room for {free / 1e6:.0f} MB, they need {need / 1e6:.0f} MB'
            net.save(str(partial))
            if partial.stat().st_size < need:
                return 'they were cut short, probably because the disk is full'
            files.sync(partial)
        record.unlink(missing_ok=True)      # so that it never speaks of other weights
        os.replace(partial, target)
        files.write_json(record, {'iteration': best.iteration, 'mean_iu': best.mean_iu})
    finally:
        partial.unlink(missing_ok=True)
    return None


def read(run: Path) -> dict[str, Any] | None:
    """Step and mean IU of the best weights in a run's folder; None where there are none, or it is not known."""
    try:
        known = json.loads(files.read_text(run / RECORD))
        whole = type(known['iteration']) is int and type(known['mean_iu']) is float and 0 <= known['mean_iu'] <= 1
        return dict(known) if whole and (run / WEIGHTS).is_file() else None
    except (BadInput, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def forget(run: Path) -> None:
    """Remove what another run left, one that came to no snapshot."""
    for name in (RECORD, WEIGHTS):
        (run / name).unlink(missing_ok=True)
