"""One archive that sets this project up on a machine without network.

    .venv/bin/python -m third_party.caffe.bundle        (make bundle)

writes dist/fcn-caffe-VERSION-PYTHON-PLATFORM.tar.gz: the wheel of Caffe, the wheels of requirements.txt for this
interpreter, this checkout's files as they are now, and setup.sh, which unpacked there does what `make setup` does.
"""
from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from . import Problem, run
from .wheel import DIST, ROOT, platform_tag, python_tags

SCRIPT = '''#!/bin/sh
# Sets the checkout in fcn/ up from the wheels beside it, without network: sh setup.sh [PYTHON]
set -eu
cd "$(dirname "$0")/fcn"
export PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS=../wheels
unset PIP_INDEX_URL PIP_EXTRA_INDEX_URL GPU
export WHEEL="../@WHEEL@"
"${1:-@PYTHON@}" -m third_party.caffe
.venv/bin/python -m accel
echo "set up: cd $(pwd), then .venv/bin/python -m nets --help, or make help"
'''


def main() -> int:
    """Write the archive and print its path; returns the exit status."""
    return run(lambda: print(make(DIST)), 'make bundle again')


def make(target: Path) -> Path:
    """Write the archive.

    Parameters
    ----------
    target : Path
        Folder that has this interpreter's wheel of Caffe, and gets the archive.

    Returns
    -------
    Path
        Of the archive.

    Raises
    ------
    Problem
        The wheel is not there, pip cannot fetch the others, or this is no checkout.
    """
    wheel = newest_wheel(target)
    archive = target / f'fcn-{wheel.stem}.tar.gz'
    with tempfile.TemporaryDirectory(dir=target) as name:
        work = Path(name)
        fetch(work / 'wheels')
        script = work / 'setup.sh'
        python = f'python{sys.version_info[0]}.{sys.version_info[1]}'
        script.write_text(SCRIPT.replace('@WHEEL@', wheel.name).replace('@PYTHON@', python))
        script.chmod(0o755)
        with tarfile.open(work / 'archive', 'w:gz') as tar:
            top = Path(archive.name.removesuffix('.tar.gz'))
            for file in (script, wheel, *sorted((work / 'wheels').iterdir())):
                inside = top / file.relative_to(work) if file.is_relative_to(work) else top / file.name
                tar.add(file, str(inside), filter=anonymous)
            for tracked in checkout():
                tar.add(ROOT / tracked, str(top / 'fcn' / tracked), filter=anonymous)
        return (work / 'archive').replace(archive)


def newest_wheel(folder: Path, mark: str = '') -> Path:
    """Return the last wheel of Caffe for this interpreter that was written into a folder.

    Parameters
    ----------
    folder : Path
    mark : str
        In its version.

    Raises
    ------
    Problem
        There is none.
    """
    wheels = sorted((path for path in folder.glob(f'caffe-*-{python_tags()}-{platform_tag()}.whl')
                     if mark in path.name.split('-')[1]), key=lambda path: path.stat().st_mtime)
    if not wheels:
        raise Problem(f'{folder}: no wheel of Caffe for {python_tags()}: make wheel{" GPU=1" * bool(mark)} writes it',
                      status=2)
    return wheels[-1]


def fetch(folder: Path) -> None:
    """Download the wheels of requirements.txt for this interpreter into a new folder; raises Problem when pip fails."""
    print('fetching the wheels of requirements.txt', flush=True)
    pip('make bundle', 'download', '--dest', str(folder), '-r', str(ROOT / 'requirements.txt'))


def pip(again: str, command: str, *arguments: str) -> None:
    """Run a command of this interpreter's pip on wheels alone; raises Problem when it fails, with what to run again."""
    result = subprocess.run([sys.executable, '-m', 'pip', command, '--quiet', '--disable-pip-version-check',
                             '--only-binary', ':all:', *arguments],
                            stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode != 0:
        says = (result.stderr.strip().splitlines() or ['no output'])[-1]
        raise Problem(f"pip {command} failed ({says}); check the network and pip's settings, then run {again} again")


def checkout() -> list[str]:
    """Return the files of this checkout that git tracks, as far as they exist; raises Problem without git."""
    try:
        listed = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError) as problem:
        raise Problem(f'{ROOT}: git does not list its files ({problem}); make bundle needs a checkout', 2) from None
    return [name for name in listed.decode().split('\0') if name and (ROOT / name).is_file()]


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out whose file it was."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ''
    return entry


if __name__ == '__main__':
    sys.exit(main())
