"""What every command shares: one line on stderr and an exit status, whatever goes wrong."""
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cli

ROOT = Path(__file__).resolve().parent.parent


def raising(problem):
    def main(_argv):
        raise problem
    return main


@pytest.mark.parametrize(('problem', 'status', 'says'), [
    (cli.BadInput('x.png: not a photograph; remove it'), 2, 'error: x.png: not a photograph; remove it'),
    (cli.Failed('the loss is nan'), 1, 'error: the loss is nan'),
    (FileNotFoundError(errno.ENOENT, 'No such file or directory', 'a/b'), 2, 'error: a/b: No such file or directory'),
    (PermissionError(errno.EACCES, 'Permission denied', 'a'), 2, 'error: a: Permission denied'),
    (NotADirectoryError(errno.ENOTDIR, 'Not a directory', 'a/b'), 2, 'error: a/b: Not a directory'),
    (IsADirectoryError(errno.EISDIR, 'Is a directory', 'a'), 2, 'error: a: Is a directory'),
    (OSError(errno.ENOSPC, 'No space left on device'), 1, 'error: No space left on device'),
    (OSError(errno.EROFS, 'Read-only file system', 'a'), 1, 'error: a: Read-only file system'),
    (MemoryError(), 1, 'error: out of memory'),
    (UnicodeEncodeError('ascii', 'é', 0, 1, 'ordinal not in range'), 1, 'error: text that cannot be read'),
    (KeyboardInterrupt(), 130, 'interrupted'),
])
def test_every_trouble_is_one_line_and_a_status(problem, status, says, capsys):
    kept = os.dup(1)
    try:
        assert cli.run(raising(problem)) == status
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    told = capsys.readouterr().err
    assert told.startswith(says) and told.count('\n') == 1


def test_a_mistake_of_the_program_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        cli.run(raising(ZeroDivisionError()))


def test_names_forge_no_lines_and_no_colours(capsys):
    assert cli.run(raising(cli.BadInput('a\nerror: b\x1b[31m\u2028c\x00: gone'))) == 2
    assert capsys.readouterr().err == 'error: a error: b?[31m c?: gone\n'


def shell(command):
    """A command line of a shell, `python` being this one."""
    return subprocess.run(['bash', '-c', command.replace('python', sys.executable)], cwd=ROOT, capture_output=True,
                          text=True)


def test_a_reader_that_has_enough_ends_a_command_quietly():
    many = 'python -c "import cli, sys; sys.exit(cli.run(lambda _: print(*range(10 ** 6), sep=chr(10))))"'
    result = shell(f'{many} | head -1')
    assert result.stdout == '0\n' and result.stderr == ''


def test_a_full_disk_behind_stdout_is_one_line():
    result = shell('python -c "import cli, sys; sys.exit(cli.run(lambda _: print(1)))" > /dev/full')
    assert result.returncode == 1 and result.stderr == 'error: No space left on device\n'


def test_a_closed_stderr_changes_no_status():
    assert shell('python -m data_layers check nowhere 2>&-').returncode == 2


@pytest.mark.caffe
def test_a_run_without_git_has_no_commit(monkeypatch):
    pytest.importorskip('caffe', reason='pycaffe is not built: make setup')
    from solvers import run
    assert run.commit() is None or len(run.commit()) == 40
    monkeypatch.setenv('PATH', '/nowhere')
    assert run.commit() is None
