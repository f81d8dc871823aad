"""One command on one input: run in a process of its own, and what it may not do, whatever the input.

A mutant lives in a folder, its world. The command's process is forked from one that has all imports done, leads a
process group of its own, and has its folders (data, weights, runs, home, temporary files) in the world. It breaks a
promise when

    it ends by a signal, with another status than 0, 1 or 2, or not within `SECONDS`
    it says Traceback, two lines of errors, nothing at all when it fails, or characters that a terminal obeys
    a file that was there has changed, or is gone
    files are left in TMPDIR, in the folder that it works in, beside its outputs; or anywhere at all when it failed
    it or one of its children used more than `MEMORY`, or a process of it goes on
"""
import contextlib
import faulthandler
import hashlib
import os
import re
import resource
import select
import signal
import stat
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

import cli

SECONDS = 60
MEMORY = 4 << 30        # bytes
STOP = 12 << 30         # bytes of addresses, where allocation fails; what is only mapped, as libraries are, counts too
LONGEST = 10_000        # characters of a line of stderr
HALF = r'\.partial$|^\.[^.].*\.\w{8}$'     # names of what is not finished
FOLDERS = ('in', 'out', 'data', 'nets', 'weights', 'runs', 'home', 'tmp', 'cwd', 'neighbour')     # of a world


@dataclass(frozen=True)
class Call:
    """A command.

    Parameters
    ----------
    main : callable
        Takes `argv`, as the `main` of every command.
    argv : tuple of str
    writes : tuple of str
        Folders of the world that get new files when the command succeeds.
    rewrites : tuple of str
        Folders whose files it may change, such as the run that it resumes.
    keeps : bool
        Whether files may be in `writes` after a failure: results of the input that was good.
    """
    main: Callable
    argv: tuple[str, ...]
    writes: tuple[str, ...] = ('out',)
    rewrites: tuple[str, ...] = ()
    keeps: bool = False


@dataclass
class Outcome:
    """What came of a mutant.

    Attributes
    ----------
    surface, number
        Which mutant it was.
    status : str
        '0', '1', '2', another exit status, the name of a signal, or 'hang'.
    seconds : float
    peak : int
        Bytes of memory.
    problems : list of str
        The promises that were broken.
    said : str
        The end of stderr.
    call : str
        The command line.
    """
    surface: str
    number: int
    status: str = '0'
    seconds: float = 0.0
    peak: int = 0
    problems: list[str] = field(default_factory=list)
    said: str = ''
    call: str = ''


def make_world(world):
    """The folders of a world, with something of the user's in each place that a command may write to."""
    for name in FOLDERS:
        (world / name).mkdir(parents=True, exist_ok=True)
    (world / 'neighbour/secret.txt').write_text('secret')
    (world / 'out/keep.txt').write_text('kept')


def snapshot(folder):
    """Every path below a folder -> its kind, and the hash of what a regular file holds."""
    found = {}
    for place, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = os.path.join(place, name)
            info = os.lstat(path)
            kind = stat.S_IFMT(info.st_mode)
            inside = (os.readlink(path) if kind == stat.S_IFLNK else b'' if kind != stat.S_IFREG else info.st_size
                      if info.st_size > 1 << 26 else hashlib.sha256(open(path, 'rb').read()).digest())
            found[os.path.relpath(path, folder)] = kind, inside
    return found


def attack(call, world, seconds=SECONDS, memory=MEMORY):
    """Run a command in a world.

    Returns
    -------
    Outcome
        Without the mutant's surface and number.
    """
    before = snapshot(world)
    logs = [world.with_name(f'{world.name}.{name}') for name in ('stdout', 'stderr')]
    begin = time.monotonic()
    child = os.fork()
    if not child:
        become(call, world, logs)
    ended, usage = _wait(child, seconds)
    outcome = Outcome('', 0, seconds=time.monotonic() - begin, peak=usage.ru_maxrss << 10,
                      call=' '.join([call.main.__module__, *call.argv]))
    outcome.status = ('hang' if ended is None else str(os.waitstatus_to_exitcode(ended)) if os.WIFEXITED(ended)
                      else signal.Signals(os.WTERMSIG(ended)).name)
    out, err = (log.read_bytes()[-1 << 20:].decode(errors='replace') for log in logs)
    outcome.said = err[-2000:]
    outcome.problems += _of_the_end(outcome, out, err)
    if outcome.peak > memory:
        outcome.problems.append(f'{outcome.peak >> 20} MB of memory')
    if _left_behind(child):
        outcome.problems.append('a process of it goes on')
    outcome.problems += _of_files(call, before, snapshot(world), outcome.status)
    return outcome


def become(call, world, logs):
    """In the child: be the command; never returns."""
    status = 99
    try:
        faulthandler.disable()      # of a test, whose terminal it would write to
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (STOP, STOP))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 31, 1 << 31))
        for number, name in enumerate((os.devnull, *logs)):
            os.dup2(os.open(name, os.O_RDONLY if not number else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
        sys.stdin = open(0, closefd=False)
        sys.stdout = open(1, 'w', 1, closefd=False)     # by the line, for who reads it meanwhile
        sys.stderr = open(2, 'w', 1, closefd=False, errors='backslashreplace')
        _move(world)
        sys.argv = [call.main.__module__, *call.argv]
        status = cli.run(call.main, list(call.argv))
    except SystemExit as done:
        status = done.code if isinstance(done.code, int) else 1 if done.code else 0
    except BaseException:
        status = 1
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)


def _move(world):
    """Have every folder that a command may write to in the world."""
    import tempfile

    import nets
    from solvers import weights
    os.chdir(world / 'cwd')
    tempfile.tempdir = None
    os.environ.update(HOME=str(world / 'home'), TMPDIR=str(world / 'tmp'),
                      **{f'FCN_{name.upper()}': str(world / name) for name in ('data', 'weights', 'runs')})
    nets.FOLDER, weights.ROOT = world / 'nets', world


def _wait(child, seconds):
    """The child's wait status, None when it was killed because it did not end, and what it used."""
    watched = os.pidfd_open(child)
    try:
        ready, _, _ = select.select([watched], [], [], seconds)
    finally:
        os.close(watched)
    if not ready:
        kill(child)
    _, ended, usage = os.wait4(child, 0)
    return (ended if ready else None), usage


def _left_behind(group):
    """Whether processes of a group that has ended go on; they are killed."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(.02)
    kill(group)
    return True


def kill(group):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _of_the_end(outcome, out, err):
    """What is wrong with how a command ended and what it said."""
    if outcome.status == 'hang':
        yield f'no end within {outcome.seconds:.0f} s'
    elif outcome.status.startswith('SIG'):
        yield f'ended by {outcome.status}'
    elif outcome.status not in '012':
        yield f'exit status {outcome.status}'
    lines = err.splitlines()
    errors = [line for line in re.split('[\n\r]', err) if line.startswith('error: ')]
    if any('Traceback (most recent call last)' in text for text in (out, err)):
        yield f'Traceback: {lines[-1] if lines else ""}'
    if len(errors) > 1:
        yield f'{len(errors)} lines of errors'
    if outcome.status == '2' and not errors and not re.search(r'\(see .* --help\)', err):
        yield 'exit status 2 without a line that says why'
    if outcome.status == '1' and not (out + err).strip():
        yield 'exit status 1 in silence'
    if any('out of memory' in line for line in errors):
        yield 'asked for more memory than there may be'
    if any(len(line) > LONGEST for line in lines):
        yield f'a line of {max(map(len, lines))} characters'
    if found := re.search('[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202e]', out + err):
        yield f'the character {found[0]!r} reaches the terminal'


def _of_files(call, before, after, status):
    """What is wrong with the files that a command left and changed."""
    def below(path, folders):
        return any(path == folder or path.startswith(f'{folder}/') for folder in folders)
    for path in before:
        if after.get(path) != before[path] and not below(path, call.rewrites):
            yield f'{"changed" if path in after else "removed"}: {path}'
    for path in sorted(after.keys() - before.keys()):
        name, is_folder = os.path.basename(path), after[path][0] == stat.S_IFDIR
        may = below(path, call.rewrites) or below(path, call.writes) and (status == '0' or call.keeps or is_folder)
        if not may:
            yield f'left: {path}'
        elif re.search(HALF, name) or after[path][0] not in (stat.S_IFDIR, stat.S_IFREG):
            yield f'left half: {path}'
