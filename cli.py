"""What every command line here shares: how it reports a user's mistake and how it shows progress."""
import argparse
import contextlib
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

# Before Caffe is loaded, which tells every layer otherwise; 0 brings that back.
os.environ.setdefault('GLOG_minloglevel', '2')


# What opening a file for reading or writing fails with when it was named wrongly.
UNUSABLE = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)   # signals that ask a process to end
GRACE = 1.0     # seconds in which a second SIGTERM or SIGHUP is the first one's echo: of a terminal that is closed both
                # the system and the shell tell

LONGEST = 4000      # characters of a line on stderr: names in a file may be of any length


class BadInput(Exception):
    """A wrong call or bad input: one line that says what, in which file, and what to do about it."""


class Failed(Exception):
    """The input was right but the work failed: one line that says why, and how to go on. Commands exit 1."""


class Ended(BaseException):
    """A signal asks this process to end: what is unfinished is removed on the way out.

    Parameters
    ----------
    number : int
        Of the signal, SIGTERM or SIGHUP; Ctrl-C is a KeyboardInterrupt.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f'ended by {signal.Signals(number).name}')
        self.number = number


class Parser(argparse.ArgumentParser):
    """An argument parser that keeps its help text as written and complains in one line."""

    def __init__(self, **options: Any) -> None:
        options.setdefault('formatter_class', argparse.RawDescriptionHelpFormatter)
        super().__init__(**options)

    def _print_message(self, message: str, file: Any = None) -> None:
        if message and (file := file or sys.stderr):        # argparse's own hides a full disk
            file.write(message)
            file.flush()

    def error(self, message: str) -> NoReturn:
        self.exit(2, f'{self.prog}: {printable(message)} (see {self.prog} --help)\n')


def add_device_arguments(parser: argparse.ArgumentParser, gpu: str = '--gpu') -> None:
    """Let a command line choose what `accel.device` computes on.

    Parameters
    ----------
    parser : ArgumentParser
        Gets the arguments.
    gpu : str
        Name of the argument that takes the number of a GPU; without dashes, a positional one.
    """
    help = 'number of the GPU to use (default: 0, or the CPU when no card answers)'
    if gpu.startswith('-'):
        parser.add_argument(gpu, type=int, metavar='N', help=help)
    else:
        parser.add_argument(gpu, nargs='?', type=int, metavar='GPU', help=help)
    parser.add_argument('--cpu', action='store_true', help='compute on the CPU')


def numbers(text: str) -> tuple[float, ...]:
    """The numbers of an argument such as 104,117,123, for argparse.

    Raises
    ------
    argparse.ArgumentTypeError
        It is something else.
    """
    try:
        return tuple(float(part) for part in text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is not a list of numbers (expected e.g. 104,117,123)') from None


def run(main: Callable[[Any], int | None], argv: Sequence[str] | None = None) -> int:
    """Run a command, and turn its exceptions into one line on stderr.

    Parameters
    ----------
    main : callable
        The command; returns its exit status, or None for 0.
    argv : sequence of str, optional
        Its arguments; by default those of the process.

    Returns
    -------
    int
        The exit status: that of `main`, 2 after `BadInput` or a file that cannot be opened, 1 after `Failed` or what
        the system refuses (a full disk, too little memory, a closed pipe), 130 after Ctrl-C, 128 and its number after
        another signal that ends.
    """
    warnings.showwarning = lambda message, *_args, **_options: say(f'warning: {message}')
    try:
        with on_signals(end):
            status = main(argv) or 0
        if sys.stdout:
            sys.stdout.flush()      # a full disk or a closed pipe shows here, not at the interpreter's exit
        return status
    except (BadInput, Failed) as problem:
        return _complain(f'error: {problem}', 2 if isinstance(problem, BadInput) else 1)
    except KeyboardInterrupt:
        return _complain('interrupted', 130)
    except Ended as ended:
        return _complain(str(ended), 128 + ended.number)
    except BrokenPipeError:         # the reader has enough, as `head` has
        _discard_output()
        return 1
    except UNUSABLE as problem:
        return _complain(f'error: {problem.filename}: {problem.strerror}; name another file or folder', 2)
    except OSError as problem:
        where = f'{problem.filename}: ' if problem.filename else ''
        _discard_output()
        return _complain(f'error: {where}{problem.strerror or problem}', 1)
    except RuntimeError as problem:
        if 'Symlink loop' not in str(problem):      # what Path.resolve raises before Python 3.13
            raise
        return _complain(f'error: {problem}; name another file or folder', 2)
    except MemoryError:
        return _complain('error: out of memory; close other programs, or take smaller images', 1)
    except UnicodeError as problem:
        return _complain(f'error: text that cannot be read or shown here ({problem}); set PYTHONUTF8=1', 1)


@contextlib.contextmanager
def on_signals(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with the number of each signal of `ENDS` that arrives, between two steps of Python's main thread.

    A signal that the caller has ignored, as nohup does, stays ignored. Other threads than the main one change nothing.
    """
    last = -GRACE

    def note(number: int, _frame: object) -> None:
        nonlocal last
        echo = time.monotonic() - last < GRACE
        if number != signal.SIGINT:
            last = time.monotonic()
            if echo:
                return
        act(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: handler for number in ENDS if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, note)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end(number: int) -> None:
    """Raise what a signal stands for, KeyboardInterrupt or `Ended`; within `undisturbed`, when that is done."""
    problem = KeyboardInterrupt() if number == signal.SIGINT else Ended(number)
    if not _sections:
        raise problem
    _waiting[:] = [problem]


_sections = 0       # of `undisturbed` that the main thread is in
_waiting: list[BaseException] = []


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let no signal end the process within: for steps of which all or none are to be done, and which are short."""
    global _sections
    if threading.current_thread() is not threading.main_thread():     # where no signal is heard
        yield
        return
    _sections += 1
    try:
        yield
    finally:
        _sections -= 1
        if _waiting and not _sections:
            raise _waiting.pop()


def check_output(path: Path, inputs: Iterable[Path] = (), begins: bytes = b'') -> None:
    """See that a file can be written before the work for it begins, and that nothing of the user's is lost.

    Parameters
    ----------
    path : Path
        The file to write.
    inputs : iterable of Path
        What the command reads.
    begins : bytes
        How the files that the command writes begin: a file that begins otherwise is somebody else's.

    Raises
    ------
    BadInput
        It is an input, exists and is not a regular file or not one of this kind, or its folder cannot be written.
    """
    if path.exists():
        if not is_ordinary(path):
            raise BadInput(f'{path} exists and is not a regular file; name another file to write')
        if any(other.exists() and path.samefile(other) for other in inputs):
            raise BadInput(f'{path} is an input of this command; name another file to write')
        with path.open('rb') as file:
            head = file.read(len(begins))
        if head and head != begins:
            raise BadInput(f'{path} exists and is not a file that this command writes; remove it, or name another')
    _check_folder(path.absolute().parent, path)


def is_ordinary(path: Path) -> bool:
    """Whether an existing path is a regular file, and not another name of an open one, as /dev/stdout may be."""
    return path.is_file() and not any({'/dev', '/proc'} & set(map(str, place.parents))
                                      for place in (path.absolute(), path.resolve()))


def check_output_folder(folder: Path, inputs: Iterable[Path] = ()) -> None:
    """See that files can be written into a folder, which may not exist yet, and that it is not the folder of an input.

    Parameters
    ----------
    folder : Path
        Gets the files.
    inputs : iterable of Path
        Files that the command reads.

    Raises
    ------
    BadInput
        It is not a folder, cannot be written or made, or an input lies right in it.
    """
    if folder.exists() and not folder.is_dir():
        raise BadInput(f'{folder} exists and is not a folder; name another folder to write to')
    place = folder.resolve()
    for path in inputs:
        if path.resolve().parent == place or path.absolute().parent.resolve() == place:
            raise BadInput(f'{folder} holds {path}, which this command reads; name another folder to write to')
    missing = folder.absolute()
    while not missing.exists() and missing != missing.parent:
        missing = missing.parent
    _check_folder(missing, folder)


def _check_folder(folder: Path, target: Path) -> None:
    if not folder.is_dir():
        raise BadInput(f'{target}: {folder} is not a folder; make it, or name another')
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInput(f'{target}: {folder} cannot be written; name another folder')


def _complain(line: str, status: int) -> int:
    """Print a line to stderr, where there is one to write to; returns the status."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr:
            print(shortened(' '.join(printable(line).split())), file=sys.stderr, flush=True)
    return status


def _discard_output() -> None:
    """Let what is still to be written to stdout go nowhere, so that the interpreter's exit does not fail on it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def progress(items: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """A progress bar: live on a terminal, a line every half minute elsewhere.

    Parameters
    ----------
    items : iterable, optional
        What the bar goes through; without, its `update` is called.
    **options
        As for `tqdm`.

    Returns
    -------
    tqdm
        The bar, which gives the items.
    """
    if 'desc' in options:
        options['desc'] = printable(options['desc'])
    if sys.stderr.isatty():
        return tqdm(items, dynamic_ncols=True, **options)
    return _Lines(items, mininterval=30.0, delay=5.0, ascii=True, **options)


class _Lines(tqdm):     # type: ignore[misc]    # tqdm comes without types
    """A bar for a file: each update a line of its own."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if msg != '':
            print(self, file=self.fp, flush=True)

    def clear(self, nolock: bool = False) -> None:
        """Lines that are written stay."""

    def moveto(self, n: int) -> None:
        """The cursor stays where it is."""


def show(*lines: object) -> None:
    """Print lines to stdout, each made `printable`: there may be names in them that somebody else has given."""
    print(*(printable(str(line)) for line in lines), sep='\n', flush=True)


def say(line: str) -> None:
    """Print a line to stderr, `printable`, without breaking a bar in progress."""
    tqdm.write(shortened(printable(line)), file=sys.stderr)


def shortened(text: str, most: int = LONGEST) -> str:
    """Text of so many characters, without its middle where there are more."""
    return text if len(text) <= most else f'{text[:most // 2]} ... {text[-most // 2:]}'


def printable(text: str) -> str:
    """Text that a terminal shows and does not obey: names in a file may hold line breaks and escape sequences.

    Parameters
    ----------
    text : str
        Anything.

    Returns
    -------
    str
        One line: a space in place of white space other than a space, and Python's escape of each other character that
        is not printable.
    """
    return ''.join(c if c == ' ' or c.isprintable() else ' ' if c.isspace() and c not in '\x1c\x1d\x1e\x1f'
                   else c.encode('unicode_escape').decode() for c in text)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as aligned columns, each as wide as its longest cell and two spaces apart; cells are `printable`."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return '\n'.join('  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                     for row in rows)
