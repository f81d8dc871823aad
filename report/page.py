"""The report of one run or several: a single HTML file that needs nothing else, neither network nor other files."""
import base64
import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

import cli
import files
from cli import BadInput
from data_layers import VOID, Dataset
from data_layers.palette import Colours, colorize, palette_of
from data_layers.reading import read_indices
from report import charts, published
from report.pictures import error_map
from report.scored import Scored
from solvers.evaluation import evaluate_run
from solvers.metrics import METRICS
from solvers.monitor import guess_name, smooth
from solvers.run import Run
from solvers.source import open_source

TEMPLATES = Path(__file__).parent / 'templates'
SIDE = 500          # pixels: longest side of a picture in the page
POINTS = 300        # of a curve
CONFUSIONS = 5      # named above the matrix


@dataclass
class Stage:
    """A run as the report shows it.

    Parameters
    ----------
    name : str
        What the page calls it.
    run : Run or Scored
    evaluation : dict
        As of `solvers.evaluation.evaluate_run`; empty for a run that cannot be scored.
    problem : str or None
        Why it cannot be scored.
    """
    name: str
    run: Run | Scored
    evaluation: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


def write(paths: Sequence[Path], out: Path | None = None, count: int = 4) -> Path:
    """Report on runs, scoring those that were not scored yet.

    Parameters
    ----------
    paths : sequence of Path
        Folders of runs, in the order of training, or files of scores: the slider goes from the first to the last.
    out : Path, optional
        The HTML file; by default `report.html` in the folder of the run, or in that which holds all of them.
    count : int
        So many worst and so many best images.

    Returns
    -------
    Path
        The file.
    """
    runs = [Scored(path) if path.is_file() else Run(path) for path in paths]
    stages = [Stage(name, run) for name, run in named(runs)]
    for stage in stages:
        try:
            stage.evaluation = stage.run.evaluation if isinstance(stage.run, Scored) else evaluate_run(stage.run)
        except BadInput as problem:
            stage.problem = str(problem)
            cli.say(f'warning: {stage.name} is reported without scores: {problem}')
    folders = [stage.run.path for stage in stages]
    out = out or (folders[0] if len(folders) == 1 else Path(os.path.commonpath([f.parent for f in folders]))
                  ) / 'report.html'
    with files.new_folder(out.parent):
        files.write(out, render(stages, count))
    return out


def named(runs: Sequence[Run | Scored]) -> list[tuple[str, Run | Scored]]:
    """Runs with names that tell them apart: that of the net, else with the folder's name, else with its whole path."""
    candidates = [[run.net for run in runs], [f'{run.net} in {run.path.name}' for run in runs],
                  [f'{run.net} in {run.path}' for run in runs]]
    return [(next((names[i] for names in candidates if names.count(names[i]) == 1), candidates[-1][i]), run)
            for i, run in enumerate(runs)]


def render(stages: Sequence[Stage], count: int) -> str:
    """The page of evaluated stages.

    Parameters
    ----------
    stages : sequence of Stage
    count : int
        So many worst and so many best images.

    Returns
    -------
    str
        HTML.
    """
    groups: dict[tuple[Any, ...], list[Stage]] = {}
    for stage in stages:
        of = stage.evaluation.get('of', {})
        groups.setdefault(tuple(of.get(key) for key in ('dataset', 'split', 'root')), []).append(stage)
    ordered = [stage for members in groups.values() for stage in members]
    return fill_template('report.html', script='report.js', title=', '.join(stage.name for stage in ordered),
                         groups=[group(members, count) for members in groups.values()], metrics=METRICS,
                         recipe=recipe(ordered), names=[stage.name for stage in ordered])


def fill_template(template: str, script: str, **values: Any) -> str:
    """A page from a template that extends page.html, which holds style sheet and script and lets no other script run.

    Parameters
    ----------
    template, script : str
        File names in `TEMPLATES`.
    **values
        What the template shows; text in them is escaped.

    Returns
    -------
    str
        HTML.
    """
    code, style = ((TEMPLATES / name).read_text(encoding='utf-8') for name in (script, 'style.css'))
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return environment().get_template(template).render(script=Markup(code), style=Markup(style),
                                                       script_hash=f'sha256-{digest}', **values)


def environment() -> jinja2.Environment:
    """Templates that escape whatever they show."""
    result = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True,
                                lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    result.filters['percent'] = percent
    return result


def percent(fraction: float | None) -> str:
    """A fraction of 1 in percent; a dash for None and NaN."""
    return '–' if fraction is None or fraction != fraction else f'{100 * fraction:.1f}'


# What the templates show, as dicts.

def group(stages: list[Stage], count: int) -> dict[str, Any]:
    """Runs that are scored on the same images, or not at all; `count` as for `render`."""
    scored = [stage for stage in stages if stage.evaluation]
    of = scored[0].evaluation['of'] if scored else None
    images = scored[0].evaluation['count'] if scored else 0
    shared = max((stage.evaluation['learnt'] or 0 for stage in scored), default=0)
    labels = list(dict.fromkeys(label for stage in scored for label in stage.evaluation['tasks']))
    return {'title': scored[0].evaluation['title'] if scored else 'Not scored', 'of': of, 'images': images,
            'learnt': shared, 'stages': stages, 'charts': curves(stages),
            'tasks': [task(label, [stage for stage in scored if label in stage.evaluation['tasks']], count)
                      for label in labels]}


def task(label: str, stages: list[Stage], count: int) -> dict[str, Any]:
    """Scores, classes, confusions and pictures of one label blob; `count` as for `render`."""
    of = stages[0].evaluation['of']
    split = published.SPLITS.get(of['dataset'])
    results = [(stage.name, stage.evaluation['tasks'][label]) for stage in stages]
    cards, problem = [], None
    try:
        cards = pictures(label, stages, count) if not overlapping(results[-1][1]) else []
    except BadInput as reason:
        problem = str(reason)
    if overlapping(results[-1][1]):
        problem = 'classes overlap, so one colour a pixel cannot show them.'
    return {'label': label, 'split': split, 'scores': [row for stage in stages for row in score_rows(label, stage)],
            **class_table(results), 'names': [name for name, _ in results],
            'confusions': [{'name': name, **confusion(result)} for name, result in results if not overlapping(result)],
            'answers': answers(results[-1][1]),
            'cards': cards, 'all': len(cards) == len(stages[-1].evaluation['images'][label]), 'problem': problem}


def score_rows(label: str, stage: Stage) -> list[tuple[str, str, list[float | None]]]:
    """Kind, heading and metrics (fractions of 1) of a run, by other conventions, and as published."""
    result = stage.evaluation['tasks'][label]
    ours = [result[name] for name in METRICS]
    variants = [(what, [scores[name] for name in METRICS]) for what, scores in result['variants'].items()]
    return [('ours', stage.name, ours), *(('variant', what, values) for what, values in variants if values != ours),
            *(('published', f'published: {source}', [None if value is None else value / 100 for value in row])
              for source, row in published.SCORES.get(stage.run.net, {}).get(label, {}).items())]


def class_table(results: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """The IU of classes.

    Parameters
    ----------
    results : sequence of (str, dict)
        Name of a run, and its scores as of `solvers.metrics.to_json`.

    Returns
    -------
    dict
        `classes`, those that the truth has, each with the IU of every run, best of the last run first; `absent`, the
        names of the others.
    """
    classes = results[-1][1]['classes']
    ius = [result['iu'] for _, result in results]
    present = sorted((k for k in range(len(classes)) if ius[-1][k] is not None), key=lambda k: -ius[-1][k])
    return {'classes': [(classes[k], [iu[k] for iu in ius]) for k in present],
            'absent': [name for k, name in enumerate(classes) if k not in present]}


def overlapping(result: dict[str, Any]) -> bool:
    """Whether classes overlap, given scores as of `solvers.metrics.to_json`."""
    return 'confusion_matrix' not in result


def answers(result: dict[str, Any]) -> list[tuple[str, list[float | None]]]:
    """Precision, recall and IU of each class where classes overlap; `result` is as of `solvers.metrics.to_json`."""
    if not overlapping(result):
        return []
    columns = (result['precision'], result['accuracy'], result['iu'])
    return [(name, list(values)) for name, *values in zip(result['classes'], *columns, strict=True)]


def confusion(result: dict[str, Any]) -> dict[str, Any]:
    """A confusion matrix as the page shows it.

    Parameters
    ----------
    result : dict
        Scores as of `solvers.metrics.to_json`.

    Returns
    -------
    dict
        `classes`, the k that occur; `shares`, k x k, in percent of the true class; `worst`, the most frequent errors:
        true class, predicted class, fraction of all errors.
    """
    classes, counts = result['classes'], np.array(result['confusion_matrix'])
    used = np.flatnonzero(counts.sum(0) + counts.sum(1))
    shown = counts[np.ix_(used, used)]
    shares = 100 * shown / np.maximum(shown.sum(1, keepdims=True), 1)
    wrong = counts * (1 - np.eye(len(classes), dtype=int))
    worst = np.argsort(-wrong, axis=None)[:CONFUSIONS]
    pairs = [(*divmod(int(k), len(classes)), wrong.flat[k] / max(wrong.sum(), 1)) for k in worst if wrong.flat[k]]
    return {'classes': [classes[k] for k in used], 'shares': shares.tolist(),
            'worst': [(classes[truth], classes[guess], share) for truth, guess, share in pairs]}


def curves(stages: list[Stage]) -> list[dict[str, Any]]:
    """The charts of loss and mean IU, each with the names of its lines."""
    window = max(20, max(len(stage.run.losses) for stage in stages) // 100)
    losses = [charts.Series(stage.name, smoothed(stage.run.losses, window)) for stage in stages]
    labels = list(dict.fromkeys(label for stage in stages for _, tasks in stage.run.scores for label in tasks))
    scores = [charts.Series(stage.name if len(labels) == 1 else f'{stage.name}, {label}',
                            [(iteration, 100 * tasks[label]['mean_iu']) for iteration, tasks in stage.run.scores
                             if label in tasks and np.isfinite(tasks[label]['mean_iu'])])
              for stage in stages for label in labels]
    return [{'title': title, 'names': [line.name for line in series],
             'svg': charts.line_chart(series, f'{title}; {endings(series, unit)}', axis, ends)}
            for title, axis, ends, unit, series in
            ((f'Training loss of an image, running mean of {window} steps', 'loss', None, '', losses),
             *((title, 'loss a pixel', None, '', series) for title, series in pixel_charts(stages, window)),
             ('Mean IU on the scored split', 'mean IU, %', (0, 100), ' %', scores)) if any(s.points for s in series)]


def pixel_charts(stages: list[Stage], window: int) -> list[tuple[str, list[charts.Series]]]:
    """Titles and lines of the loss a pixel, in training and on the scored split, beside that of guessing.

    Together for one run or two, and each in its own chart for more, whose lines would be too many.
    """
    trained = [charts.Series(stage.name, smoothed(stage.run.pixel_losses, window)) for stage in stages]
    held_out = [charts.Series(f'{stage.name}, scored split', stage.run.held_out_losses) for stage in stages]
    title = f'Loss of a labelled pixel, in training the running mean of {window} steps'
    found = [(title, trained + held_out)] if len(stages) < 3 else [
        (title, trained), ('Loss of a labelled pixel on the scored split', held_out)]
    guessing = sorted({stage.run.chance for stage in stages if stage.run.chance})
    result = []
    for title, lines in found:
        last = max((points[-1][0] for _, points in lines if points), default=0)
        result.append((title, lines + [charts.Series(guess_name(value), [(0, value), (last, value)])
                                       for value in guessing if last]))
    return result


def smoothed(points: Sequence[tuple[int, float]], window: int) -> list[tuple[float, float]]:
    """The running mean of a curve, at `POINTS` of its points at most."""
    values = smooth([value for _, value in points], window)
    picked = {*np.linspace(0, len(values) - 1, POINTS).astype(int).tolist()} if len(values) else ()
    return [(points[i][0], float(values[i])) for i in sorted(picked)]


def endings(series: Iterable[charts.Series], unit: str) -> str:
    """Where the lines begin and end, in words."""
    return '; '.join(f'{name}: from {points[0][1]:.4g}{unit} to {points[-1][1]:.4g}{unit} at iteration {points[-1][0]}'
                     for name, points in series if points)


def pictures(label: str, stages: list[Stage], count: int) -> list[dict[str, Any]]:
    """Cards of the images on which the last run does worst and best, worst first.

    Parameters
    ----------
    label : str
        The label blob.
    stages : list of Stage
    count : int
        As for `render`.

    Returns
    -------
    list of dict
        As of `card`.

    Raises
    ------
    BadInput
        The data set is missing, or predictions do not fit it.
    """
    of = stages[-1].evaluation['images'][label]
    ranked = sorted(of, key=lambda id: of[id]['mean_iu'])
    chosen = ranked if len(ranked) <= 2 * count else ranked[:count] + ranked[-count:]
    run = stages[-1].run
    dataset = None if isinstance(run, Scored) else open_source(run.fcn(run.phases[1]))
    return [card(dataset, label, id, stages) for id in cli.progress(chosen, desc='draw', unit='image')]


def card(dataset: Dataset | None, label: str, id: str, stages: list[Stage]) -> dict[str, Any]:
    """Photograph, truth, and prediction and errors of every stage.

    Parameters
    ----------
    dataset : Dataset or None
        The scored split; None where the last stage is a file of scores, which knows no photographs.
    label : str
        The label blob.
    id : str
        The image.
    stages : list of Stage

    Raises
    ------
    BadInput
        A prediction is not of the size of its image.
    """
    last, photo = stages[-1].run, None
    colours: Colours
    if isinstance(last, Scored):
        truth, _, classes = last.picture(label, id)
        colours = last.colours
    else:
        assert dataset
        truth, photo, classes = dataset.read(label, id)[0], dataset.image(id), dataset.classes[label]
        colours = dataset.colours.get(label, ())
    occurring, shown = {*np.unique(truth).tolist()}, []
    for stage in stages:
        if isinstance(stage.run, Scored):
            path, labels = stage.run.path, stage.run.picture(label, id)[1]
        else:
            path = stage.run.path / 'evaluation' / label / f'{id}.png'
            labels = read_indices(path).astype(np.uint8)
        if labels.shape != truth.shape:
            raise BadInput(f'{path} is not of the size of its image; remove the folder {path.parent.parent}')
        occurring |= {*np.unique(labels).tolist()}
        errors = np.mean((labels != truth)[truth != VOID])
        scores = stage.evaluation['images'][label].get(id)
        shown.append({'stage': stage.name, 'mean_iu': scores and scores['mean_iu'], 'errors': errors,
                      'prediction': data_uri(Image.fromarray(colorize(labels, colours)), 'PNG'),
                      'says': contents(labels, classes),
                      'wrong': data_uri(Image.fromarray(error_map(truth, labels, VOID)), 'PNG')})
    return {'id': id, 'width': truth.shape[1], 'height': truth.shape[0],
            'photo': None if photo is None else data_uri(Image.fromarray(photo), 'JPEG'),
            'truth': data_uri(Image.fromarray(colorize(truth, colours)), 'PNG'), 'says': contents(truth, classes),
            'stages': shown, 'legend': legend(sorted(occurring), classes, colours)}


def legend(values: Iterable[int], classes: Sequence[str], colours: Colours = ()) -> list[tuple[str, str]]:
    """Names of label values and their colours, as #rrggbb; void is named too."""
    palette = palette_of(colours)
    return [(classes[k] if k < len(classes) else 'void', f'#{bytes(palette[k]).hex()}') for k in values]


def contents(labels: npt.NDArray[np.uint8], classes: Sequence[str]) -> str:
    """What a segmentation (H x W) shows, in words: the classes by their share of the pixels."""
    shares = Counter(dict(enumerate(np.bincount(labels.ravel(), minlength=256) / labels.size)))
    return ', '.join(f'{classes[k]} {100 * share:.0f} %' for k, share in shares.most_common()
                     if share >= 0.005 and k < len(classes))


def data_uri(picture: Image.Image, format: str) -> str:
    """A picture as part of the page, at most `SIDE` pixels long.

    Parameters
    ----------
    picture : Image
    format : str
        'JPEG', or 'PNG' for pictures of classes, whose colours stay exact.

    Returns
    -------
    str
        A data: address.
    """
    file, scale = io.BytesIO(), SIDE / max(picture.size)
    if scale < 1:
        size = max(1, round(scale * picture.width)), max(1, round(scale * picture.height))
        picture = picture.resize(size, Image.Resampling.LANCZOS if format == 'JPEG' else Image.Resampling.NEAREST)
    options: dict[str, Any] = {'quality': 85} if format == 'JPEG' else {'optimize': True}
    picture.save(file, format, **options)
    return f'data:image/{format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}'


def recipe(stages: Sequence[Stage]) -> list[tuple[str, list[str]]]:
    """What made the runs: a line for each fact, a value for each run."""
    facts = [{**flatten(stage.run.about),
              **({'sha256 of the weights': stage.evaluation['of']['weights']} if stage.evaluation.get('of', {}).get(
                 'weights') else {})}
             for stage in stages]
    keys = dict.fromkeys(key for one in facts for key in one)
    return [(key, [one.get(key, '–') for one in facts]) for key in keys]


def flatten(value: dict[str, Any]) -> dict[str, str]:
    """The leaves of nested dicts as text; of paths of files only the end."""
    result: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, dict):
            result |= flatten(item)
        elif isinstance(item, list):
            result[key] = ', '.join('/'.join(Path(str(entry)).parts[-2:]) for entry in item) or '–'
        else:
            result[key] = '–' if item is None else str(item)
    return result
