"""What every command shares: one line on stderr and an exit status, whatever goes wrong."""
import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
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
    assert capsys.readouterr().err == 'error: a error: b\\x1b[31m c\\x00: gone\n'


def shell(command):
    """A command line of a shell, `python` being this one."""
    return subprocess.run(['bash', '-c', command.replace('python', sys.executable)], cwd=ROOT, capture_output=True,
                          text=True)


def test_text_of_files_reaches_the_terminal_as_text(capsys):
    cli.say('warning: a\x1b[2J.jpg\nerror: forged')
    cli.show('one\x01', '  two\x1b[31m\u2028')
    out, err = capsys.readouterr()
    assert out == 'one\\x01\n  two\\x1b[31m \n' and err == 'warning: a\\x1b[2J.jpg error: forged\n'


def test_a_line_is_bounded(capsys):
    assert cli.run(raising(cli.BadInput('x' * 100_000 + 'end'))) == 2
    cli.say('x' * 100_000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(len(line) < 5000 for line in lines) and lines[0].endswith('end')


def test_a_link_to_itself_is_one_line(tmp_path, capsys):
    from surgery import __main__ as surgery
    (tmp_path / 'a').symlink_to('a')
    for argv in (['import', str(tmp_path / 'a'), '--out', str(tmp_path / 'out')],
                 ['transplant', '--from', 'w', '--to', 'w', '--out', str(tmp_path / 'a/b')]):
        assert cli.run(surgery.main, argv) == 2
        assert capsys.readouterr().err.startswith('error: ')


def test_a_reader_that_has_enough_ends_a_command_quietly():
    many = 'python -c "import cli, sys; sys.exit(cli.run(lambda _: print(*range(10 ** 6), sep=chr(10))))"'
    result = shell(f'{many} | head -1')
    assert result.stdout == '0\n' and result.stderr == ''


def test_a_full_disk_behind_stdout_is_one_line():
    result = shell('python -c "import cli, sys; sys.exit(cli.run(lambda _: print(1)))" > /dev/full')
    assert result.returncode == 1 and result.stderr == 'error: No space left on device\n'


def test_a_closed_stderr_changes_no_status():
    assert shell('python -m data_layers check nowhere 2>&-').returncode == 2


def test_an_output_may_replace_what_its_command_wrote(tmp_path):
    path = tmp_path / 'scores.json'
    cli.check_output(path, begins=b'{')
    path.write_text('{"net": 1}')
    cli.check_output(path, begins=b'{')
    path.write_text('')
    cli.check_output(path, begins=b'{')


def test_an_output_never_replaces_what_is_the_users(tmp_path):
    weights, link = tmp_path / 'w.caffemodel', tmp_path / 'link'
    weights.write_bytes(b'weights')
    link.symlink_to(weights)
    os.mkfifo(tmp_path / 'pipe')
    for path, options, says in (
            (weights, {'inputs': [weights]}, 'is an input'), (link, {'inputs': [weights]}, 'is an input'),
            (weights, {'begins': b'{'}, 'not a file that this command writes'),
            (tmp_path, {}, 'not a regular file'), (tmp_path / 'pipe', {}, 'not a regular file'),
            (Path('/dev/stdout'), {}, 'not a regular file'), (weights / 'x', {}, 'is not a folder'),
            (tmp_path / 'nowhere/x', {}, 'is not a folder')):
        with pytest.raises(cli.BadInput, match=says):
            cli.check_output(path, **options)
    assert weights.read_bytes() == b'weights'


def test_a_folder_of_outputs_is_none_of_the_inputs(tmp_path):
    photo = tmp_path / 'photos/a.jpg'
    photo.parent.mkdir()
    photo.touch()
    (tmp_path / 'link').symlink_to(photo.parent)
    cli.check_output_folder(tmp_path / 'new/deep', [photo])
    cli.check_output_folder(photo.parent / 'below', [photo])
    for folder, says in ((photo.parent, 'holds'), (tmp_path / 'link', 'holds'), (photo, 'not a folder'),
                         (photo / 'x', 'not a folder')):
        with pytest.raises(cli.BadInput, match=says):
            cli.check_output_folder(folder, [photo])


@pytest.mark.caffe
def test_photographs_and_masks_survive_their_own_folder_as_output(tmp_path, capsys):
    pytest.importorskip('caffe', reason='pycaffe is not built: make setup')
    from nets import infer
    from tests.helpers import own
    own.photo(tmp_path / 'd/a.jpg')
    own.grey(tmp_path / 'd/a.png', [[1]])
    before = {path: path.read_bytes() for path in (tmp_path / 'd').iterdir()}
    (tmp_path / 'w.caffemodel').touch()
    assert cli.run(infer.main, ['--net', 'voc-fcn32s', '--weights', str(tmp_path / 'w.caffemodel'),
                                str(tmp_path / 'd/a.jpg'), '--out', str(tmp_path / 'd')]) == 2
    assert 'which this command reads' in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in (tmp_path / 'd').iterdir()}


@pytest.mark.parametrize('command', [
    'convolutionalize --prototxt deploy.prototxt --weights w.caffemodel --out .',
    'import model.onnx --out .', 'transplant --from w.caffemodel --to w.caffemodel --out w.caffemodel',
    'transplant --from w.caffemodel --to w.caffemodel --out /dev/stdout',
    'expand --weights w.caffemodel --layer a --classes 3 --out w.caffemodel',
    'transplant --from w.caffemodel --to w.caffemodel --out deploy.prototxt',
    'expand --weights w.caffemodel --layer a --classes 3 --out model.onnx'])
def test_surgery_never_writes_over_what_it_reads(command, tmp_path, monkeypatch, capsys):
    from surgery import __main__ as surgery
    from surgery import write_weights
    write_weights(tmp_path / 'w.caffemodel', {'a': [np.ones((2, 3), np.float32)]})
    for name in ('deploy.prototxt', 'model.onnx'):
        (tmp_path / name).write_text('mine')
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.chdir(tmp_path)
    device = Path('/dev/stdout').readlink()
    assert cli.run(surgery.main, command.split()) == 2
    assert capsys.readouterr().err.count('\n') == 1 and Path('/dev/stdout').readlink() == device
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.caffe
def test_weights_survive_as_the_scores_file(tmp_path, capsys):
    pytest.importorskip('caffe', reason='pycaffe is not built: make setup')
    from solvers import score
    weights = tmp_path / 'w.caffemodel'
    weights.write_bytes(b'weights')
    assert cli.run(score.main, ['--net', 'voc-fcn32s', '--weights', str(weights), '--json', str(weights)]) == 2
    assert 'is an input' in capsys.readouterr().err and weights.read_bytes() == b'weights'


@pytest.mark.caffe
def test_a_run_without_git_has_no_commit(monkeypatch):
    pytest.importorskip('caffe', reason='pycaffe is not built: make setup')
    from solvers import run
    assert run.commit() is None or len(run.commit()) == 40
    monkeypatch.setenv('PATH', '/nowhere')
    assert run.commit() is None
