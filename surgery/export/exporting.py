"""Write a net in another format, prove it, and give the account."""
from pathlib import Path
from typing import Any

import cli
import files
from cli import BadInput

from ..caffemodel import by
from ..free_sizes import NAMES
from ..onnx_export import FIXED_SIZE
from ..proof import Mismatch
from .formats import FORMATS
from .proof import prove, table
from .source import Source

REPORT = 'report.json'
REPORT_BEGINS = b'{\n "source"'


def check_out(to: str, out: Path, inputs: list[Path]) -> None:
    """See that an export can be written, and that nothing of the user's is lost.

    Raises
    ------
    BadInput
        It cannot; says why.
    """
    form = FORMATS[to]
    if form.folder:
        cli.check_output_folder(out, inputs)
        return
    cli.check_output(out, inputs, form.begins)
    cli.check_output(report_path(to, out), [*inputs, out], REPORT_BEGINS)


def report_path(to: str, out: Path) -> Path:
    """Where an export's report goes: into its folder, or beside it, as voc-fcn8s.report.json for voc-fcn8s.onnx."""
    return out / REPORT if FORMATS[to].folder else out.with_name(f'{out.stem}.{REPORT}')


def export(source: Source, to: str, out: Path) -> str:
    """Write a net in another format, with a report, once it is proved.

    Parameters
    ----------
    source : Source
        The net.
    to : str
        One of `FORMATS`.
    out : Path
        The file or folder to write.

    Returns
    -------
    str
        What was done, to read.

    Raises
    ------
    BadInput
        A layer has no equivalent, or Caffe refuses the net; names it. Nothing is written.
    Mismatch
        An engine gives other numbers than Caffe. Nothing is written.
    """
    form = FORMATS[to]
    try:
        with files.whole_folder(out if form.folder else out.absolute().parent) as folder:
            path = folder if form.folder else folder / out.name
            form.write(source, path)
            proof = prove(source, form, path)
            facts = account(source, to, proof)
            files.write_json(folder / report_path(to, out).name, facts)
    except (BadInput, Mismatch) as problem:
        text = str(problem)
        raise type(problem)(text if text.startswith(source.name) else f'{source.name}: {text}') from None
    return readable(facts)


def account(source: Source, to: str, proof: dict[str, Any]) -> dict[str, Any]:
    """What was exported and what was measured, ready for JSON: the contents of the report."""
    return {
        'source': source.name, 'weights': str(source.path), 'to': to, 'takes': source.takes,
        'inputs': {name: list(shape) for name, shape in source.sizes.inputs.items()},
        'free': [name for name in NAMES if source.sizes.free[name]], 'some_sizes_only': source.sizes.some,
        'bound_by': _bound(source), 'outputs': {name: list(source.shapes.blobs[name]) for name in source.outputs},
        'preparation': source.preparation.facts(), 'classes': {name: list(c) for name, c in source.classes.items()},
        'left_out': [{'layer': layer, 'why': why} for layer, why in source.removed], 'proof': proof}


def _bound(source: Source) -> str:
    """The first layer that binds the net to its height and width."""
    if source.sizes.free['height'] or source.sizes.free['width']:
        return ''
    images = [shape for shape in source.sizes.inputs.values() if len(shape) == 4]
    kinds = {*FIXED_SIZE, 'InnerProduct', 'Reshape', 'Scale', 'Bias'}
    layers = zip(source.net.layer, source.shapes.bottoms, strict=True)
    return next((layer.name for layer, bottoms in layers if images and layer.type in kinds
                 and any(len(shape) == 4 and shape[2:] != (1, 1) for shape in bottoms)), '')


def readable(facts: dict[str, Any]) -> str:
    """The account as text."""
    takes = 'pixels from 0 to 255, ' + ', '.join({'rgb': ('red', 'green', 'blue'), 'bgr': ('blue', 'green', 'red')}[
        facts['takes']]) if facts['takes'] != 'caffe' else "what the net's input takes in Caffe"
    lines = [f'input {name} {by(shape)}: {takes}' for name, shape in facts['inputs'].items()]
    lines += [f'output {name} {by(shape)}' for name, shape in facts['outputs'].items()]
    free = ', '.join(facts['free']) or 'nothing'
    bound = f'; layer {facts["bound_by"]} binds it to its height and width' if facts['bound_by'] else ''
    some = '; of some sizes only, as in Caffe' if facts['some_sizes_only'] else ''
    lines.append(f'free to change: {free}{some}{bound}')
    lines += [f'left out: {entry["layer"]} ({entry["why"]})' for entry in facts['left_out']]
    return '\n'.join([*map(cli.printable, lines), table(facts['proof'])])
