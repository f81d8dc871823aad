"""Files are written whole or not at all."""
import hashlib
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import files
from cli import BadInput
from data_layers.dataset import CHECKOUT


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize('before', [None, b'old'])
def test_an_exception_in_the_block_leaves_the_file_as_it_was(tmp_path, before):
    path = tmp_path / 'a.bin'
    if before:
        path.write_bytes(before)
    with pytest.raises(KeyError), files.whole(path) as file:
        file.write(b'half')
        file.flush()
        raise KeyError
    assert (path.read_bytes() == before if before else not path.exists())
    assert names(tmp_path) == (['a.bin'] if before else [])


def test_the_name_is_taken_when_the_block_ends(tmp_path):
    path = tmp_path / 'a.bin'
    path.write_bytes(b'old')
    with files.whole(path) as file:
        file.write(b'new')
        assert path.read_bytes() == b'old'
    assert path.read_bytes() == b'new' and names(tmp_path) == ['a.bin']


KILLED = """
import os, signal, sys
import files
with files.whole(sys.argv[1]) as file:
    file.write(b'half' * 1000)
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_leaves_is_replaced(tmp_path):
    path = tmp_path / 'a.bin'
    path.write_bytes(b'old')
    done = subprocess.run([sys.executable, '-c', KILLED, str(path)], cwd=CHECKOUT)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b'old' and names(tmp_path) == ['a.bin', 'a.bin' + files.PARTIAL]
    files.write(path, 'new')
    assert path.read_bytes() == b'new' and names(tmp_path) == ['a.bin']


IN_HALVES = """
import sys, time
import files
path, content = sys.argv[1:]
for _ in range(60):
    with files.whole(path) as file:
        for _ in range(4):
            file.write(content.encode() * 5000)
            file.flush()
            time.sleep(.0005)
"""


def test_what_several_processes_write_is_whole_all_the_time(tmp_path):
    path, failures = tmp_path / 'a.bin', 0
    path.write_text('a' * 20_000)
    writers = [subprocess.Popen([sys.executable, '-c', IN_HALVES, str(path), each], cwd=CHECKOUT) for each in 'abc']
    while any(writer.poll() is None for writer in writers):
        content = path.read_text()
        failures += len(content) != 20_000 or len(set(content)) != 1
    assert [writer.wait() for writer in writers] == [0, 0, 0] and not failures
    assert names(tmp_path) == ['a.bin']


@pytest.mark.parametrize('kind', ['link', 'hard link', 'FIFO'])
def test_nothing_is_written_through_what_has_the_name_of_a_part(tmp_path, kind):
    mine, part = tmp_path / 'mine', tmp_path / f'a.bin{files.PARTIAL}'
    mine.write_text('mine')
    {'link': part.symlink_to, 'hard link': part.hardlink_to, 'FIFO': lambda _: os.mkfifo(part)}[kind](mine)
    files.write(tmp_path / 'a.bin', 'new')
    assert mine.read_text() == 'mine' and names(tmp_path) == ['a.bin', 'mine']


@pytest.mark.parametrize('path', ['missing/a.json', 'file/a.json', 'folder'])
def test_what_cannot_be_written_is_one_line(tmp_path, path):
    (tmp_path / 'file').write_text('')
    (tmp_path / 'folder').mkdir()
    for write in (files.write, files.write_json):
        with pytest.raises(BadInput, match=f'^{tmp_path / path}: cannot write: ') as caught:
            write(tmp_path / path, 'text')
        assert '\n' not in str(caught.value)
    assert names(tmp_path) == ['file', 'folder'] and names(tmp_path / 'folder') == []


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_folder_without_permission_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(BadInput, match='a.txt: cannot write: Permission denied$'):
            files.write(tmp_path / 'a.txt', 'text')
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize('mask, mode', [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_follows_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        files.write(tmp_path / 'a.txt', 'text')
    finally:
        os.umask(before)
    assert (tmp_path / 'a.txt').stat().st_mode & 0o777 == mode


def test_contents(tmp_path):
    array = np.arange(6, dtype='<f4').reshape(2, 3)
    files.write(tmp_path / 'a.bin', [b'head', array, b'', array[:0], b'tail'])
    assert (tmp_path / 'a.bin').read_bytes() == b'head' + array.tobytes() + b'tail'
    files.write(tmp_path / 'a.txt', 'é\n')
    assert (tmp_path / 'a.txt').read_bytes() == 'é\n'.encode()
    files.write_json(tmp_path / 'a.json', {'a': [1, 2.5, None]})
    assert (tmp_path / 'a.json').read_text() == '{\n "a": [\n  1,\n  2.5,\n  null\n ]\n}\n'
    files.write_json(tmp_path / 'a.json', {'a': 1}, indent=None)
    assert (tmp_path / 'a.json').read_text() == json.dumps({'a': 1}) + '\n'


def test_hash_and_sync(tmp_path):
    content = os.urandom(300_000)
    files.write(tmp_path / 'a.bin', [content])
    assert files.sha256(tmp_path / 'a.bin') == hashlib.sha256(content).hexdigest()
    files.sync(tmp_path / 'a.bin')
    files.sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.sync(tmp_path / 'missing')
