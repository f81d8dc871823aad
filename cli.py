"""What every command line here shares: how it reports a user's mistake and how it shows progress."""
import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from tqdm import tqdm

# Before Caffe is loaded, which tells every layer otherwise; 0 brings that back.
os.environ.setdefault('GLOG_minloglevel', '2')


class BadInput(Exception):
    """A wrong call or bad input: one line that says what, in which file, and what to do about it."""


class Failed(Exception):
    """The input was right but the work failed: one line that says why, and how to go on. Commands exit 1."""


class Parser(argparse.ArgumentParser):
    """An argument parser that keeps its help text as written and complains in one line."""

    def __init__(self, **options: Any) -> None:
        options.setdefault('formatter_class', argparse.RawDescriptionHelpFormatter)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f'{self.prog}: {message} (see {self.prog} --help)\n')


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
        The exit status: that of `main`, 2 after `BadInput`, 1 after `Failed`, 130 after Ctrl-C.
    """
    warnings.showwarning = lambda message, *_args, **_options: say(f'warning: {message}')
    try:
        return main(argv) or 0
    except (BadInput, Failed) as problem:
        print(f'error: {problem}', file=sys.stderr)
        return 2 if isinstance(problem, BadInput) else 1
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130


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


def say(line: str) -> None:
    """Print a line to stderr without breaking a bar in progress."""
    tqdm.write(line, file=sys.stderr)


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
