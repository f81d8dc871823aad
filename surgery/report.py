"""The account of a convolutionalization: `report.json`, and the same to read."""
from collections.abc import Mapping
from typing import Any

from cli import printable, table

from .caffemodel import by
from .classifier import Classifier
from .convolutionalize import Dense, sizes
from .transplant import Entry, Report


def account(classifier: Classifier, dense: Dense, proof: Mapping[str, Any]) -> dict[str, Any]:
    """What was done to a classifier and what was measured, ready for JSON.

    Parameters
    ----------
    classifier, dense : Classifier, Dense
        The two nets.
    proof : mapping
        From `prove`.

    Returns
    -------
    dict
        The contents of `report.json`; strides, receptive fields, offsets and centres are (y, x) in pixels.
    """
    outputs = {}
    for name, blob in dense.outputs.items():
        y, x = dense.fields[blob]
        outputs[name] = {
            'blob': blob, 'shape': list(dense.shapes.blobs[blob]), 'stride': [_number(y.stride), _number(x.stride)],
            'receptive_field': [y.size, x.size], 'offset': [_number(y.first), _number(x.first)],
            'centre': [_number(y.centre), _number(x.centre)]}
    step, fit = sizes(dense)
    return {
        'inputs': {name: list(shape) for name, shape in classifier.inputs.items()},
        'transform': {'mean': list(classifier.transform.mean), 'scale': classifier.transform.scale},
        'outputs': outputs,
        'larger_by': 'any number of pixels' if len(fit) == step else
                     f'{", ".join(map(str, fit))} pixels, and these plus any multiple of {step}',
        'changes': [{'layer': c.layer, 'what': c.what} for c in dense.changes],
        'left_out': [{'layer': layer, 'why': why} for layer, why in classifier.removed],
        'parameters': parameters(dense.report),
        'proof': dict(proof)}


def parameters(report: Report) -> dict[str, list[dict[str, Any]]]:
    """A transplant's report for JSON, under the words of a user: unused for dropped, missing for untouched.

    Parameters
    ----------
    report : Report
        From `transplant` or `convolutionalize`.

    Returns
    -------
    dict of str to list of dict
        `copied`, `coerced`, `unused` and `missing` -> for each blob `layer`, `blob` (its number) and its shapes `old`
        and `new`, null where there is no such blob.
    """
    names = {'copied': report.copied, 'coerced': report.coerced, 'unused': report.dropped,
             'missing': report.untouched}
    return {what: [_entry(e) for e in entries] for what, entries in names.items()}


def _entry(entry: Entry) -> dict[str, Any]:
    return {'layer': entry.target or entry.source, 'blob': entry.blob, 'old': entry.old and list(entry.old),
            'new': entry.new and list(entry.new)}


def _number(value: Any) -> int | float:
    return int(value) if value == int(value) else float(value)


def readable(facts: Mapping[str, Any]) -> str:
    """The account as text.

    Parameters
    ----------
    facts : mapping
        From `account`.

    Returns
    -------
    str
        Tables, separated by empty lines.
    """
    parts = [_changes(facts), _outputs(facts), _same(facts['proof']), _larger(facts['proof']), _timing(facts['proof']),
             _parameters(facts)]
    return '\n\n'.join(part for part in parts if part)


def _changes(facts: Mapping[str, Any]) -> str:
    rows = [(c['layer'], c['what']) for c in facts['changes']] + [
        (c['layer'], f'left out: {c["why"]}') for c in facts['left_out']]
    return table([('layer', 'change'), *rows]) if rows else 'no layer needed a change'


def _outputs(facts: Mapping[str, Any]) -> str:
    rows = [('output', 'stride', 'receptive field', 'first pixel', 'at the classifier\'s size')]
    for name, o in facts['outputs'].items():
        label = name if o['blob'] == name else f'{name} (now {o["blob"]})'
        rows.append((label, by(o['stride']), by(o['receptive_field']), ', '.join(map(str, o['offset'])),
                     by(o['shape'])))
    return f'{table(rows)}\nimages may be larger by {facts["larger_by"]}'


def _same(proof: Mapping[str, Any]) -> str:
    rows = [('same as the classifier, at its size', 'images', 'largest difference', 'relative')]
    for name, m in proof['classifier_size'].items():
        rows.append((name, str(len(m['images'])), f'{m["max_absolute"]:.2g}', f'{m["max_relative"]:.2g}'))
    return table(rows)


def _larger(proof: Mapping[str, Any]) -> str:
    rows = [(f'same as on the crop below, at {by(proof["larger_size"]["input"])}', 'positions', 'largest difference',
             'relative')]
    for name, o in proof['larger_size']['outputs'].items():
        for key, label in (('inside', name), ('sees_padding', f'{name}, where the crop sees padding')):
            m = o[key]
            if m['positions']:
                rows.append((label, str(m['positions']), f'{m["max_absolute"]:.2g}', f'{m["max_relative"]:.2g}'))
    return table(rows)


def _timing(proof: Mapping[str, Any]) -> str:
    t = proof['timing']
    if not t:
        return ''
    rows = [(f'{by(t["grid"])} positions, image {by(t["input"])}', 'seconds', 'dense net is faster by'),
            ('dense net, once', f'{t["dense_seconds"]:.3g}', '')]
    for key in ('crop_by_crop', 'crops_in_batches_of_10'):
        if key in t:
            how = 'one by one' if key == 'crop_by_crop' else 'in batches of 10'
            rows.append((f'classifier, {t["crops"]} crops {how}', f'{t[key]["seconds"]:.3g}',
                         f'{t[key]["times_faster"]:.1f} times'))
    return table(rows)


def _parameters(facts: Mapping[str, Any]) -> str:
    p = facts['parameters']
    lines = [f'parameters: {", ".join(f"{len(entries)} {what}" for what, entries in p.items())}']
    for what, remark in (('unused', 'in the weights only'), ('missing', 'in the net only, left to its fillers')):
        if p[what]:
            lines.append(f'{what} ({remark}): {", ".join(dict.fromkeys(e["layer"] or "(no name)" for e in p[what]))}')
    return '\n'.join(map(printable, lines))
