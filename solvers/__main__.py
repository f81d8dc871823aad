"""What was trained, and what is training.

    python -m solvers runs [DIR]        the runs in a folder: state, step, loss, best mean IU
"""
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cli
import files
from cli import BadInput
from solvers import monitor, weights
from solvers.run import is_held, weights_of


def state(run: Path, iteration: int, iterations: int) -> str:
    """Whether a run is `running`, `finished` or `stopped`."""
    if is_held(run):
        return 'running'
    return 'finished' if iteration >= iterations and weights_of(run).exists() else 'stopped'


def describe(run: Path) -> tuple[str, ...]:
    """One row: folder, net, state, step, loss, best mean IU; of a damaged run, what is wrong."""
    try:
        return _describe(run)
    except (BadInput, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        reason = str(problem) if isinstance(problem, BadInput) else f'run.json is damaged ({type(problem).__name__})'
        return str(run), cli.printable(reason), 'damaged', '', '', ''


def _describe(run: Path) -> tuple[str, ...]:
    known = json.loads(files.read_text(run / 'run.json'))
    lines = monitor.read(run / 'metrics.jsonl')
    losses = [line['loss'] for line in lines if 'scores' not in line]
    iteration, iterations = max((line['iteration'] for line in lines), default=0), known['recipe']['iterations']
    best = max((scores['mean_iu'] for line in lines for scores in line.get('scores', {}).values()), default=None)
    return (str(run), str(known['net']), state(run, iteration, iterations), f'{iteration}/{iterations}',
            f'{monitor.smooth(losses)[-1]:.4g}' if losses else '', f'{100 * best:.1f}' if best is not None else '')


def table(folder: Path) -> str:
    """The runs below a folder, newest last."""
    runs = sorted(folder.rglob('run.json'), key=lambda path: path.stat().st_mtime)
    if not runs:
        raise cli.BadInput(f'{folder}: no run is in there; runs are written to $FCN_RUNS or runs/ by solve.py')
    rows = [('run', 'net', 'state', 'step', 'loss', 'best mIU'), *(describe(path.parent) for path in runs)]
    return cli.table(rows)


def main(argv: Sequence[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m solvers', description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    runs = commands.add_parser('runs', help='list runs')
    runs.add_argument('folder', nargs='?', type=Path, default=weights.runs_folder(), help='default: $FCN_RUNS or runs/')
    cli.show(*table(parser.parse_args(argv).folder).split('\n'))


if __name__ == '__main__':
    sys.exit(cli.run(main))
