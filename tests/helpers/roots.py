"""A bare Debian in a folder, and commands that run in it."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from third_party.caffe import debian

SUITES = {'python3.11': 'bookworm', 'python3.13': 'trixie'}
HERE = {'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': '/root', 'LANG': 'C.UTF-8'}


def make(folder, suite, include=()):
    """Make the Debian of a suite with few packages; skips where that cannot be done."""
    if os.geteuid() != 0 or not shutil.which('debootstrap'):
        pytest.skip('a bare Debian needs root and debootstrap')
    mirror = next((mirror.uri for mirror in debian.mirrors() if mirror.distribution == 'debian'), None)
    if mirror is None:
        pytest.skip('no Debian mirror in the sources of apt')
    made = subprocess.run(['debootstrap', '--variant=minbase', *(f'--include={name}' for name in include), suite,
                           str(folder), mirror], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return Path(folder)


def run(root, *command, network=False, place='/root', environment=HERE):
    """Run a command in a folder of a Debian, in a mount namespace of its own, and one without network."""
    script = ('mount -t proc proc "$0/proc"; mkdir -p "$0/dev/shm"; mount -t tmpfs tmpfs "$0/dev/shm"; '
              'exec chroot "$0" sh -c \'cd "$0" && exec "$@"\' "$@"')
    spaces = ['--mount', '--propagation', 'private', *([] if network else ['--net'])]
    return subprocess.run(['unshare', *spaces, 'bash', '-c', script, str(root), place, *command], env=environment,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
