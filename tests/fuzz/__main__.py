"""Try damaged and hostile input, thousands of pieces of it, on every command.

A mutant is a file, a folder or a request with something changed: bytes, lengths, numbers, types, names, kinds of files,
places of outputs. It is given to a real command in a process of its own. What a command may do to it is to work, or to
refuse in one line; docs/robustness.md lists what is looked at.

  python -m tests.fuzz                                  20,000 mutants over all surfaces (make fuzz)
  python -m tests.fuzz --count 500 --surface onnx       some of one surface
  python -m tests.fuzz --seed 7                         others
  python -m tests.fuzz --repeat onnx:412                one of them again; its input and output stay in runs/fuzz
  python -m tests.fuzz --table                          the figures of the last time, as Markdown

Mutant NUMBER of a surface is the same for a seed, however many are tried. Exits 1 when a promise was broken, and
runs/fuzz/fuzz.json then has the command that repeats it.
"""
import os

# Mutants run beside each other, one a core; set before anything starts threads.
os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', FCN_WORKERS='0')

import json  # noqa: E402
import multiprocessing  # noqa: E402
import platform  # noqa: E402
import shutil  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
import warnings  # noqa: E402
from collections import Counter  # noqa: E402
from concurrent.futures import ProcessPoolExecutor, as_completed  # noqa: E402
from dataclasses import asdict  # noqa: E402
from operator import attrgetter  # noqa: E402
from pathlib import Path  # noqa: E402

import cli  # noqa: E402
import files  # noqa: E402
from solvers.weights import runs_folder  # noqa: E402
from tests.fuzz import worlds  # noqa: E402
from tests.fuzz.harness import MEMORY, SECONDS, attack  # noqa: E402
from tests.fuzz.page import Page, attack_page  # noqa: E402
from tests.fuzz.surfaces import SURFACES  # noqa: E402

PROGRAM = 'python -m tests.fuzz'
COUNT = 20_000
BATCH = 25      # mutants that travel to a process together
NAMES = (*SURFACES, 'page')


def parser():
    parser = cli.Parser(prog=PROGRAM, description=__doc__)
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='other mutants [0]')
    parser.add_argument('--count', type=int, default=COUNT, metavar='N', help=f'how many, over all surfaces [{COUNT}]')
    parser.add_argument('--surface', action='append', choices=NAMES, metavar='S',
                        help=f'only this one; repeatable: {", ".join(NAMES)}')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), metavar='N', help='processes [one a core]')
    parser.add_argument('--repeat', metavar='SURFACE:NUMBER', help='one mutant again, its files kept')
    parser.add_argument('--table', action='store_true', help='print the figures of the last time as Markdown')
    return parser


def main(argv=None):
    args = parser().parse_args(argv)
    out = runs_folder() / 'fuzz'
    if args.table:
        if not (out / 'fuzz.json').is_file():
            raise cli.BadInput(f'{out / "fuzz.json"} is missing; run {PROGRAM} first')
        print(markdown(json.loads((out / 'fuzz.json').read_text())))
        return 0
    if args.count < 1 or args.jobs < 1:
        raise cli.BadInput(f'--count {args.count} --jobs {args.jobs}: give numbers above 0')
    out.mkdir(parents=True, exist_ok=True)
    if args.repeat:
        return repeat(args.repeat, args.seed, out)
    names = args.surface or list(NAMES)
    facts = fuzz(names, args.seed, args.count, args.jobs)
    files.write_json(out / 'fuzz.json', facts)
    print(cli.table(rows(facts)))
    for failure in facts['failures']:
        print(cli.printable(f'{failure["repeat"]}: {"; ".join(failure["problems"])}'))
    print(f'{facts["mutants"]} mutants in {facts["seconds"]:.0f} s, {len(facts["failures"])} failures; '
          f'{out / "fuzz.json"}')
    return 1 if facts['failures'] else 0


def fuzz(names, seed, count, jobs):
    """Try `count` mutants, dealt out evenly to the surfaces; what was found, as fuzz.json has it."""
    begin, outcomes = time.monotonic(), []
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context('fork'))       # its processes start with the work
    scratch = Path(tempfile.mkdtemp(prefix='fuzz-'))
    try:
        bases = build(names, scratch)
        shares = zip(names, deal(count, len(names)), strict=True)
        work = [(name, list(range(at, min(at + BATCH, each)))) for name, each in shares for at in range(0, each, BATCH)]
        work.sort(key=lambda batch: batch[1][0])    # all surfaces from the start
        with cli.progress(total=count, unit='mutant', desc='fuzz') as bar:
            for done in as_completed([pool.submit(try_batch, *batch, seed, bases, scratch) for batch in work]):
                outcomes += done.result()
                bar.update(len(done.result()))
    finally:
        pool.shutdown(cancel_futures=True)      # after Ctrl-C too, batches that have not begun are left out
        shutil.rmtree(scratch)
    return account(names, outcomes, seed, time.monotonic() - begin)


def deal(count, hands):
    """Numbers that add up to `count` and differ by one at most."""
    return [count // hands + (hand < count % hands) for hand in range(hands)]


def build(names, scratch):
    """The good input of surfaces, by name; written by a process of its own, since nets start threads."""
    bases = {name: scratch / 'bases' / name for name in names}
    child = os.fork()
    if not child:
        try:
            for name, base in bases.items():
                os.environ['FCN_DATA'] = str(base / 'data')
                with open(os.devnull, 'w') as sys.stderr:
                    worlds.build(SURFACES[{'page': 'run'}.get(name, name)], base)
            os._exit(0)
        finally:
            sys.stderr = sys.__stderr__
            traceback.print_exc()
            os._exit(1)
    if os.waitpid(child, 0)[1]:
        raise cli.Failed('the good input could not be written')
    return bases


def try_batch(name, numbers, seed, bases, scratch):
    """Try mutants of a surface, in this process; their outcomes."""
    if name == 'page':
        return try_page(numbers, seed, bases[name])
    outcomes = []
    for number in numbers:
        world = scratch / f'{name}-{number}'
        outcomes.append(try_one(name, number, seed, bases[name], world))
        remove(world)
    return outcomes


def try_page(numbers, seed, base):
    """The same for requests, to a server of this batch."""
    page, outcomes = Page(base), []
    picture = next((base / 'data').rglob('*.jpg')).read_bytes()
    try:
        for number in numbers:
            outcomes.append(attack_page(page, seed, number, picture))
            if not page.alive():
                page = Page(base)
    finally:
        page.close()
    return outcomes


def try_one(name, number, seed, base, world):
    """Make a mutant and give it to its command; the outcome."""
    call = worlds.mutant(SURFACES[name], name, seed, number, base, world)
    outcome = attack(call, world)
    outcome.surface, outcome.number = name, number
    outcome.call = outcome.call.replace(str(world), '@')
    return outcome


def remove(world):
    shutil.rmtree(world)
    for log in world.parent.glob(f'{world.name}.std*'):
        log.unlink()


def repeat(which, seed, out):
    """Try one mutant again, and keep its files."""
    name, _, number = which.partition(':')
    if name not in NAMES or not number.isdigit():
        raise cli.BadInput(f'--repeat {which}: give it as SURFACE:NUMBER, with a surface of {", ".join(NAMES)}')
    world = out / f'{name}-{number}'
    if world.exists():
        remove(world)
    with tempfile.TemporaryDirectory(prefix='fuzz-') as scratch:
        base = build([name], Path(scratch))[name]
        if name == 'page':
            outcome, = try_page([int(number)], seed, base)
        else:
            outcome = try_one(name, int(number), seed, base, world)
            print(f'its files: {world}, what it said: {world}.stderr')
    for key, value in asdict(outcome).items():
        print(f'{key}: {cli.printable(str(value))}')
    return 1 if outcome.problems else 0


def account(names, outcomes, seed, seconds):
    """What was found, as fuzz.json has it."""
    surfaces = {}
    for name in names:
        mine = [outcome for outcome in outcomes if outcome.surface == name]
        if not mine:
            continue
        slowest = max(mine, key=attrgetter('seconds'))
        hungriest = max(mine, key=attrgetter('peak'))
        surfaces[name] = {
            'mutants': len(mine), 'statuses': dict(sorted(Counter(outcome.status for outcome in mine).items())),
            'slowest_seconds': round(slowest.seconds, 2), 'slowest': slowest.number,
            'peak_bytes': hungriest.peak, 'hungriest': hungriest.number,
            'failures': sum(bool(outcome.problems) for outcome in mine)}
    broken = sorted(filter(attrgetter('problems'), outcomes), key=attrgetter('surface', 'number'))
    failures = [{**asdict(outcome), 'repeat': f'{PROGRAM} --seed {seed} --repeat {outcome.surface}:{outcome.number}'}
                for outcome in broken]
    return {'seed': seed, 'mutants': len(outcomes), 'seconds': round(seconds, 1), 'date': time.strftime('%Y-%m-%d'),
            'processor': processor(), 'python': platform.python_version(),
            'limits': {'seconds': SECONDS, 'bytes': MEMORY}, 'surfaces': surfaces, 'failures': failures}


def processor():
    """The name of this machine's processor."""
    lines = Path('/proc/cpuinfo').read_text().splitlines()
    return next((line.partition(': ')[2] for line in lines if line.startswith('model name')), platform.machine())


def rows(facts):
    """The figures as a table, a surface a row."""
    lines = [('surface', 'mutants', 'worked', 'refused', 'other', 'slowest s', 'peak MB', 'failures')]
    for name, found in facts['surfaces'].items():
        statuses = found['statuses']
        worked, refused = statuses.get('0', 0), sum(statuses.get(key, 0) for key in ('1', '2', 'refused'))
        lines.append((name, *map(str, (found['mutants'], worked, refused, found['mutants'] - worked - refused,
                                       found['slowest_seconds'], found['peak_bytes'] >> 20, found['failures']))))
    return lines


def markdown(facts):
    """The figures for docs/robustness.md."""
    head, *lines = rows(facts)
    table = [f'| {" | ".join(line)} |' for line in (head, ['---'] * len(head), *lines)]
    return '\n'.join([f'{facts["mutants"]:,} mutants of seed {facts["seed"]} on {facts["date"]}, {facts["processor"]}, '
                      f'{facts["seconds"] / 60:.0f} minutes: {len(facts["failures"])} failures.', '', *table])


if __name__ == '__main__':
    warnings.filterwarnings('ignore', category=DeprecationWarning)   # of forks, in processes that have one thread
    warnings.filterwarnings('ignore', 'Duplicate name', UserWarning)    # in a zip: that is what was wanted
    sys.exit(cli.run(main))
