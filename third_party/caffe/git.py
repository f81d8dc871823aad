"""One commit of a public git repository, fetched without the user's hooks, filters or prompts."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path

from . import Problem

SECONDS = 900       # for one call of git; Caffe is 8 MB
# The user's configuration counts where it says how to reach a host (url.<base>.insteadOf, proxies, certificates).
SETTINGS = {
    'core.hooksPath': '/dev/null', 'init.templateDir': '', 'core.fsmonitor': 'false', 'core.symlinks': 'false',
    'core.autocrlf': 'false', 'core.eol': 'lf', 'submodule.recurse': 'false', 'fetch.recurseSubmodules': 'false',
    'credential.interactive': 'false', 'http.lowSpeedLimit': '1000', 'http.lowSpeedTime': '60', 'gc.auto': '0',
}
ATTRIBUTES = '* -text -eol -filter -ident -working-tree-encoding\n'     # files as they are stored
ENVIRONMENT = {
    'GIT_TERMINAL_PROMPT': '0', 'GIT_ASKPASS': 'true', 'GIT_SSH_COMMAND': 'ssh -o BatchMode=yes',
    'GIT_ALLOW_PROTOCOL': 'https:http:ssh:file', 'GIT_LFS_SKIP_SMUDGE': '1', 'LC_ALL': 'C.UTF-8',
}
# Of the git that may run this, as in a hook: they would point ours at another repository.
FOREIGN = ('GIT_DIR', 'GIT_WORK_TREE', 'GIT_INDEX_FILE', 'GIT_OBJECT_DIRECTORY', 'GIT_NAMESPACE', 'GIT_PREFIX')


def checkout(url: str, revision: str, target: Path) -> None:
    """Fetch one commit, without its history, into a new folder.

    Where the server does not give that commit away, it is the head of its default branch: the caller checks the files.

    Parameters
    ----------
    url : str
        Of the repository.
    revision : str
        A full commit hash or a reference.
    target : Path
        New folder.

    Raises
    ------
    Problem
        There is no git, or the repository cannot be reached in time.
    """
    _git('init', '--quiet', str(target))
    (target / '.git/info').mkdir(exist_ok=True)     # there is no template to make it
    (target / '.git/info/attributes').write_text(ATTRIBUTES)
    fetch = ('-C', str(target), 'fetch', '--quiet', '--no-tags', '--depth=1', url)
    try:
        _git(*fetch, revision)
    except Problem:
        _git(*fetch, 'HEAD')
    _git('-C', str(target), 'checkout', '--quiet', '--detach', 'FETCH_HEAD')


def _git(*arguments: str) -> None:
    settings = [word for name, value in SETTINGS.items() for word in ('-c', f'{name}={value}')]
    environment = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    try:
        result = subprocess.run(['git', *settings, *arguments], env={**environment, **ENVIRONMENT}, timeout=SECONDS,
                                stdin=subprocess.DEVNULL, capture_output=True, text=True, errors='replace')
    except FileNotFoundError:
        raise Problem('git is not installed') from None
    except subprocess.TimeoutExpired:
        raise Problem(f'git took longer than {SECONDS // 60} minutes') from None
    if result.returncode != 0:
        lines = [line for line in result.stderr.splitlines() if line.startswith(('fatal:', 'error:'))]
        raise Problem((lines or result.stderr.splitlines() or [f'git ended with status {result.returncode}'])[0])
