"""Run docs/tutorial.ipynb from top to bottom, and write it with what its cells print and show.

    python -m experiments.tutorial [--out FILE]

The cells run in one process, as a Jupyter kernel runs them: what is printed is kept as text, the value of a last line
that is a picture as a JPEG, and lines that begin with ! go to the shell. It takes the files that `make demo` fetches.
"""
import ast
import base64
import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

import cli
import files
from solvers.weights import ROOT

NOTEBOOK = ROOT / 'docs/tutorial.ipynb'
SHELL = re.compile(r'^!((?:.*\\\n)*.*)$', re.MULTILINE)      # a line, and those that a backslash continues it with
QUALITY = 70        # of JPEG
Output = dict[str, Any]


def shell(command: str) -> None:
    """Run a line of the shell with this interpreter as `python`, and print what it says; its failure ends the cell."""
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL, env={**os.environ, 'PATH': path})
    sys.stdout.write(done.stdout.replace(f'{Path.cwd()}/', ''))     # the same on every machine
    if done.returncode:
        raise cli.Failed(f'{command} ended with status {done.returncode}: {done.stdout[-500:]}')


def run_cell(source: str, names: dict[str, Any]) -> list[Output]:
    """Run a cell of code.

    Parameters
    ----------
    source : str
    names : dict
        What the cells before it have defined; gets what it defines.

    Returns
    -------
    list of dict
        Its outputs, as a notebook holds them.
    """
    tree = ast.parse(SHELL.sub(lambda line: f'shell({line[1]!r})', source))
    *_, last = [None, *tree.body]
    printed, value = io.StringIO(), None
    if isinstance(last, ast.Expr):
        tree.body.remove(last)
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, '<cell>', 'exec'), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), '<cell>', 'eval'), names)
    outputs: list[Output] = []
    if text := printed.getvalue():
        outputs.append({'output_type': 'stream', 'name': 'stdout', 'text': text.splitlines(keepends=True)})
    if value is not None:
        outputs.append({'output_type': 'display_data', 'metadata': {}, 'data': shown(value)})
    return outputs


def shown(value: Any) -> dict[str, Any]:
    """A value as a notebook shows it: by type of content."""
    if not isinstance(value, Image.Image):
        return {'text/plain': [repr(value)]}
    data = io.BytesIO()
    value.convert('RGB').save(data, 'JPEG', quality=QUALITY, optimize=True)
    return {'image/jpeg': base64.b64encode(data.getvalue()).decode(),
            'text/plain': [f'<picture of {value.width}x{value.height} pixels>']}


def run(notebook: dict[str, Any]) -> dict[str, Any]:
    """A notebook with the outputs of its cells.

    Parameters
    ----------
    notebook : dict
        As its file has it.

    Returns
    -------
    dict
        A copy.

    Raises
    ------
    Failed
        A command of the shell failed.
    """
    names: dict[str, Any] = {'__name__': '__main__', 'shell': shell}
    cells, count = [], 0
    for cell in notebook['cells']:
        if cell['cell_type'] == 'code':
            count += 1
            cell = {**cell, 'execution_count': count, 'outputs': run_cell(''.join(cell['source']), names)}
        cells.append(cell)
    return {**notebook, 'cells': cells}


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m experiments.tutorial', description=__doc__)
    parser.add_argument('--out', type=Path, default=NOTEBOOK, metavar='FILE', help='default: the notebook itself')
    args = parser.parse_args(argv)
    out = args.out.resolve()
    done = run(json.loads(files.read_text(NOTEBOOK)))
    files.write(out, json.dumps(done, indent=1, ensure_ascii=False) + '\n')
    cli.show(f'{out}: {out.stat().st_size / 1000:.0f} kB')


if __name__ == '__main__':
    sys.exit(cli.run(main))
