"""The recipe for BVLC Caffe: fetch its source, check it, build pycaffe, put it into .venv.

`python3 -m third_party.caffe` is `make setup`. It runs before anything is installed, so it is standard library only.

    recipe.py   the facts: commit, hashes, Debian packages, substitutions, CMake options
    debian.py   missing packages; the source package through a private apt configuration
    source.py   a verified source tree with the substitutions applied
    build.py    configure, compile, run Caffe's own tests, keep the result in the cache
    cuda.py     what a GPU build is made with and what it changes
    cudnn.py    the package of cuDNN for it
    __main__.py the steps in order
"""


class Problem(Exception):
    """Why setup stops, as one line with the remedy; `status` is the exit status (2: the caller can mend it)."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status
