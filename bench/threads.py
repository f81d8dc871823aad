"""How forward pass and training step scale over the threads of this machine: python -m bench.threads [--nets NET ...]

Each net runs in our layers on 1, 2, 4 ... threads, up to all cores of the machine, each time in a process of its own;
rounds alternate between them. `speed` is how many times as fast it is as on one thread, `of each` the same for each
thread: 1 where no thread is idle and memory keeps up.
"""
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cli
from bench import engines
from bench.engines import FCN8S, OURS, TITLES, Job, Settings
from bench.processes import Report, publish, rounds
from bench.table import SIZE, summarise
from solvers.weights import runs_folder


class Threaded(NamedTuple):
    """A job on so many threads."""

    job: Job
    threads: int


def counts(cores: int) -> list[int]:
    """Powers of two below a number of cores, and that number."""
    return [*(2 ** i for i in range((cores - 1).bit_length())), cores]


def rows_of(reports: Mapping[Threaded, Sequence[Report]]) -> list[dict[str, Any]]:
    """Rows of `bench.table.summarise`, each with its `threads`, and `speed` over one thread where that was measured."""
    found = [{**row, 'threads': threaded.threads} for threaded, some in reports.items()
             for row in summarise({threaded.job: some})]
    alone = {(row['net'], row['what']): row['seconds'] for row in found if row['threads'] == 1}
    return [{**row, 'speed': round(alone[at] / row['seconds'], 3) if (at := (row['net'], row['what'])) in alone
             else None} for row in found]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as text."""
    lines = [('', '', 'threads', 'seconds', 'speed', 'of each', 'peak MB')]
    lines += [(TITLES[row['net']], row['what'], str(row['threads']), f'{row["seconds"]:.3f}',
               *((f'{row["speed"]:.2f}', f'{row["speed"] / row["threads"]:.2f}') if row['speed'] else ('', '')),
               str(row['peak_mb'])) for row in rows]
    return cli.table(lines)


def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser(prog='python -m bench.threads', description=__doc__)
    parser.add_argument('--nets', nargs='+', choices=tuple(TITLES), metavar='NET',
                        default=[FCN8S, 'resnet50', 'mobilenetv2'],
                        help=f'of {", ".join(TITLES)} (default: %(default)s)')
    parser.add_argument('--threads', nargs='+', type=int, metavar='N', default=counts(len(os.sched_getaffinity(0))),
                        help='numbers of threads (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=3, help='default: %(default)s')
    parser.add_argument('--runs', type=int, default=20, help='passes after a process\'s first (default: %(default)s)')
    parser.add_argument('--seconds', type=float, default=2.0, help='after which no other pass begins '
                                                                   '(default: %(default)s)')
    args = parser.parse_args(argv)
    if min(args.rounds, args.runs, *args.threads) < 1:
        raise cli.BadInput('--rounds, --runs and --threads are at least 1')
    jobs = [Threaded(Job(net, OURS, what, SIZE), threads) for net in args.nets for what in ('forward', 'step')
            for threads in args.threads]
    rows = rows_of(rounds(jobs, lambda one: engines.measure(one.job, Settings(
        None, one.threads, args.runs, args.seconds)), args.rounds))
    publish(runs_folder() / 'bench', 'threads', rows, table(rows))


if __name__ == '__main__':
    sys.exit(cli.run(main))
