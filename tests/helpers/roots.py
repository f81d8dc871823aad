"""A bare Debian in a folder, and commands that run in it without network."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from third_party.caffe import debian as recipe

SUITES = {'python3.11': 'bookworm', 'python3.13': 'trixie'}


def debian(folder, python, include=('python3', 'python3-venv')):
    """Make the Debian that has an interpreter, with few packages; skips where that cannot be done."""
    if os.geteuid() != 0 or not shutil.which('debootstrap'):
        pytest.skip('a bare Debian needs root and debootstrap')
    if python not in SUITES:
        pytest.skip(f'no Debian has {python}')
    found = recipe.mirrors()
    if not found:
        pytest.skip('no Debian mirror in the sources of apt')
    command = ['debootstrap', '--variant=minbase', f'--include={",".join(include)}', SUITES[python], str(folder),
               found[0][0]]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f'debootstrap: {made.stdout.splitlines()[-1]}')
    return Path(folder)


def environment():
    """What commands in a root and their counterparts outside have alike."""
    return {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': '/root', 'LANG': 'C.UTF-8', 'OMP_NUM_THREADS': '2',
            'OPENBLAS_NUM_THREADS': '2', **{name: value for name, value in os.environ.items()
                                            if name in ('FCN_ACCEL', 'FCN_ACCEL_ISA', 'OPENBLAS_CORETYPE')}}


def run(root, *command):
    """Run a command in /root of a Debian, in mount and network namespaces of its own."""
    script = ('mount -t proc proc "$0/proc"; mkdir -p "$0/dev/shm"; mount -t tmpfs tmpfs "$0/dev/shm"; '
              'exec chroot "$0" sh -c \'cd /root && exec "$@"\' sh "$@"')
    return subprocess.run(['unshare', '--mount', '--net', '--propagation', 'private', 'bash', '-c', script, str(root),
                           *command], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
