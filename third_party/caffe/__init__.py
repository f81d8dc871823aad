"""The recipe for BVLC Caffe: fetch its source, check it, build pycaffe, put it into .venv.

`python3 -m third_party.caffe` is `make setup`. It runs before anything is installed: standard
library only. Annotations stay unevaluated, so that an older Python imports it and is told which one is needed.

    recipe.py   the facts: commit, hashes, Debian packages, substitutions, CMake options
    debian.py   missing packages; source packages of Debian and Ubuntu through a private apt configuration
    git.py      one commit of a public repository
    source.py   a verified source tree, from whichever place has it, with the substitutions applied
    build.py    configure, compile, run Caffe's own tests, keep the result in the cache
    cuda.py     a GPU build's toolkit, architectures, libraries and edits
    cudnn.py    the package of cuDNN for a GPU build
    __main__.py the steps in order
    wheel.py    what was built as one file
    bundle.py   that and all that sets a checkout up without network
    kit.py      a GPU build and its tests, for a machine with a card
    emulated/   a CUDA toolkit for machines without one
"""
from __future__ import annotations

import sys
from collections.abc import Callable


class Problem(Exception):
    """Why setup stops.

    Parameters
    ----------
    message : str
        One line: what is wrong, and what to do about it.
    status : int
        Exit status of the command: 2 when the call or the machine's state is to be changed, 1 when the work failed.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def run(work: Callable[[], None], again: str) -> int:
    """Do the work of a command, say in one line what stopped it, and return the exit status.

    Parameters
    ----------
    work : callable
    again : str
        What to type when the system's fault is mended, as in 'make setup again'.
    """
    try:
        work()
    except Problem as problem:
        print(f'error: {problem}', file=sys.stderr)
        return problem.status
    except OSError as problem:
        print(f'error: {problem.filename or "system"}: {problem.strerror}; fix that, then run {again}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    return 0
