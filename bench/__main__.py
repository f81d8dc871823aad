"""Time nets here, in Caffe alone and in other engines, in alternation: python -m bench   (make bench)

    python -m bench                                     everything; some 25 minutes on two cores
    python -m bench --nets resnet50 mobilenetv2         these alone; what runs/bench has of others stays there
    python -m bench --only forward --quick              a rough figure of each net, forward
    python -m bench --isa avx2                          our layers held to AVX2
    python -m bench --busy                              forward beside two other busy processes on the same cores

The nets are FCN-8s at full width and the basket of `python -m bench.basket`: seven trunks with FCN's head, at 500x500
pixels. They run in our layers, in Caffe's own (in the first round alone), in ONNX Runtime and OpenVINO from our ONNX
export, and in PyTorch from our exported module; a training step in ours, Caffe and PyTorch. Where the processor has
AVX-512, our layers are measured with it and held to AVX2.

Each round runs every engine once, each in a process of its own, so that what else the machine does falls on all alike;
the figures are medians over rounds of the medians of each process. Engines that compute something else than Caffe are
named and left out. After every net, runs/bench/bench.json and table.txt are written; with --quick, quick.json and
quick.txt.

The other engines live in an environment of their own in the cache folder, made on the first call. Those that can't be
had are named and left out.
"""
import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cli
import files
from bench import basket, busy
from bench.engines import CAFFE, FCN8S, OURS, TITLES, Agreement, Job, Settings, peers
from bench.floor import Work, work
from bench.ours import net_parameter
from bench.processes import Report, environment, rounds
from bench.table import SIZE, Row, best_peer, goals, key, summarise, table
from report.timing import processor
from solvers.weights import runs_folder

OTHER_SIZES = (250, 1000)
WHAT = ('forward', 'step')
RUNS, SECONDS, QUICK_SECONDS = 20, 2.0, 1.0


def machine() -> dict[str, Any]:
    """What the figures are measured on."""
    return {'cpu': processor(), 'cores': len(os.sched_getaffinity(0)), 'system': platform.platform()}


def ours(isa: Sequence[str]) -> list[str]:
    """Our engines: held to some instruction sets; by default to none, and also to AVX2 where there is AVX-512."""
    if isa:
        return [f'{OURS}-{name}' for name in isa]
    import accel
    return [OURS, f'{OURS}-avx2'] if 'AVX-512' in accel.status() else [OURS]


def measure_net(net: str, what: str, engines: Sequence[str], settings: Settings, agreement: Agreement,
                count: int) -> dict[Job, list[Report]]:
    """Time a net in Caffe, in our engines and in the others.

    Parameters
    ----------
    net : str
        Of `TITLES`.
    what : str
        'forward' or 'step'.
    engines : sequence of str
        Which of ours.
    settings : Settings
    agreement : Agreement
    count : int
        Rounds.

    Returns
    -------
    dict
        Job -> what its processes reported.
    """
    all_of_them = [CAFFE, *engines, *peers(what, settings)]
    if what == 'step' and net != FCN8S:
        all_of_them = agreement.same_step(net, all_of_them)
    jobs = [Job(net, engine, what, SIZE) for engine in all_of_them]
    return rounds(jobs, agreement.measure, count, once=jobs[:1])


def other_sizes(rows: Sequence[Row], agreement: Agreement, count: int) -> dict[Job, list[Report]]:
    """Time FCN-8s at other sizes, in ours and in the engine that was the fastest of the others."""
    best = best_peer(rows, FCN8S, 'forward')
    return rounds([Job(FCN8S, OURS, 'sizes', SIZE), *(
        Job(FCN8S, engine, 'forward', size) for size in OTHER_SIZES
        for engine in (OURS, *([best['engine']] if best else [])))], agreement.measure, count)


def arithmetic(net: str) -> Work:
    """What a net takes at `SIZE`."""
    if net == FCN8S:
        return work(net_parameter(SIZE, training=False))
    return Work(**json.loads((basket.folder_of(net) / basket.FACTS).read_text())['work'])


class Record:
    """What is known so far, in two files that are written after every net.

    Parameters
    ----------
    figures, text : Path
        The JSON file, and the table to read.
    about : dict
        The machine and how it is measured.
    keep : bool
        Whether figures of other nets that are there stay.

    Raises
    ------
    cli.BadInput
        They are to stay, and were measured on another machine or otherwise.
    """

    def __init__(self, figures: Path, text: Path, about: dict[str, Any], keep: bool) -> None:
        self.files, self.about = (figures, text), about
        self.rows: list[Row] = []
        self.processes: list[Report] = []
        if keep and figures.is_file():
            found = json.loads(figures.read_text())
            if found.get('about') != about:
                raise cli.BadInput(f'{figures}: measured on another machine or with other settings, so nothing can be '
                                   'added to it: move it away, or leave out --nets and --only to replace it')
            self.rows, self.processes = found['rows'], found['processes']

    def add(self, reports: dict[Job, list[Report]]) -> None:
        """Write what processes reported, in place of what was known of the same nets, passes and sizes."""
        new = {(job.net, job.what, job.size) for job in reports}

        def other(row: Row) -> bool:
            return (row['net'], row['what'], row['size']) not in new
        self.rows = [row for row in self.rows if other(row)] + summarise(reports)
        self.processes = [report for report in self.processes if other(report)] + [
            {**report, **job._asdict()} for job, found in reports.items() for report in found]
        figures, text = self.files
        figures.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(figures, {
            'about': self.about, 'rows': self.rows, 'goals': goals(self.rows), 'processes': self.processes,
            'arithmetic': {net: arithmetic(net)._asdict() for net in self.nets()}})
        files.write(text, self.text() + '\n')

    def nets(self) -> list[str]:
        """The nets that there are rows of."""
        return [net for net in TITLES if any(key(row).net == net for row in self.rows)]

    def text(self) -> str:
        """The table."""
        return table(self.rows, {net: arithmetic(net) for net in self.nets()})


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    from accel.build import INSTRUCTION_SETS
    parser = cli.Parser(prog='python -m bench', description=__doc__)
    parser.add_argument('--nets', nargs='+', choices=tuple(TITLES), metavar='NET', default=[],
                        help=f'of {", ".join(TITLES)} (default: all)')
    parser.add_argument('--only', choices=WHAT, help='leave the other out')
    parser.add_argument('--isa', nargs='+', choices=tuple(INSTRUCTION_SETS.get(platform.machine(), ())), default=[],
                        help='instruction sets that our layers are held to (default: the best; where that is AVX-512, '
                        'AVX2 too)')
    parser.add_argument('--rounds', type=int, default=3, help='times every engine is run (default 3)')
    parser.add_argument('--runs', type=int, default=RUNS,
                        help='passes that a process times after its first (default %(default)s)')
    parser.add_argument('--seconds', type=float, default=SECONDS, help='after which no other pass of a process begins, '
                        'but for the second (default %(default)g)')
    parser.add_argument('--threads', type=int, default=2, help='threads of every engine (default 2)')
    parser.add_argument('--quick', action='store_true', help='one round of a second a process, at 500 pixels only')
    parser.add_argument('--busy', action='store_true', help='forward beside two busy processes instead, and how many '
                        'times as long it takes there')
    args = parser.parse_args(argv)
    if min(args.rounds, args.runs, args.threads) < 1 or not args.seconds > 0:
        raise cli.BadInput('--rounds, --runs and --threads are at least 1, --seconds more than 0')
    return args


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    settings = Settings(environment(), args.threads, args.runs, QUICK_SECONDS if args.quick else args.seconds)
    count = 1 if args.quick else args.rounds
    folder, chosen = runs_folder() / 'bench', [net for net in TITLES if not args.nets or net in args.nets]
    if args.busy:
        busy.measure(chosen, ours(args.isa), settings, folder, machine())
        return
    about = {'machine': machine(), 'threads': args.threads, 'rounds': count, 'runs': args.runs,
             'seconds': settings.seconds}
    figures, text = ('quick.json', 'quick.txt') if args.quick else ('bench.json', 'table.txt')
    record = Record(folder / figures, folder / text, about, keep=bool(args.nets or args.only))
    engines = ours(args.isa)
    with files.scratch() as place:
        agreement = Agreement(settings, place)
        for net in cli.progress(chosen, desc='nets', unit='net'):
            for what in WHAT:
                if args.only in (None, what):
                    record.add(measure_net(net, what, engines, settings, agreement, count))
            if net == FCN8S and not args.quick and args.only != 'step':
                record.add(other_sizes(record.rows, agreement, count))
    print(record.text())
    print(f'written to {folder}')


if __name__ == '__main__':
    sys.exit(cli.run(main))
