"""The fuzzer finds what it looks for, its mutants are what they were, and a few hundred of them break no promise."""
import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from cli import BadInput, Failed  # noqa: E402
from tests.fuzz import __main__ as program  # noqa: E402
from tests.fuzz import harness, worlds  # noqa: E402
from tests.fuzz.harness import Call, attack, make_world, snapshot  # noqa: E402
from tests.fuzz.page import attack_page  # noqa: E402
from tests.fuzz.surfaces import SURFACES, Surface  # noqa: E402

pytestmark = pytest.mark.caffe
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def world(tmp_path):
    make_world(tmp_path / 'world')
    (tmp_path / 'world/in/photo.jpg').write_bytes(b'precious')
    return tmp_path / 'world'


def fails(*_):
    raise Failed('as it may')


def refuses(*_):
    print(b'one\x1b[2J'.hex())
    raise BadInput('a name that\nhas two lines')


def works(argv):
    Path('../out/result').write_text('done')


@pytest.mark.parametrize(('main', 'status'), [(works, '0'), (refuses, '2'), (fails, '1')])
def test_what_is_promised_is_no_failure(main, status, world):
    outcome = attack(Call(main, ()), world)
    assert (outcome.status, outcome.problems) == (status, [])
    assert 0 < outcome.peak < 4 << 30


def segfaults(*_):
    os.kill(os.getpid(), signal.SIGSEGV)


def aborts_without_a_word(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def raises(*_):
    raise KeyError('field')


def hangs(*_):
    time.sleep(60)


def ends_strangely(*_):
    return 3


def fails_in_silence(*_):
    return 1


def refuses_in_silence(*_):
    return 2


def complains_twice(*_):
    print('error: one\nerror: two', file=sys.stderr)
    return 2


def obeys_the_terminal(*_):
    print('\x1b[2J')


def says_too_much(*_):
    print('x' * 100_000, file=sys.stderr)


def runs_out_of_memory(*_):
    np.zeros(1 << 50)


def overwrites_an_input(*_):
    Path('../in/photo.jpg').write_bytes(b'PRECIOUS')


def removes_an_input(*_):
    next(Path('../in').iterdir()).unlink()


def overwrites_what_is_beside_its_output(*_):
    Path('../out/keep.txt').write_text('')


def replaces_by_a_link(*_):
    removes_an_input()
    Path('../in/photo.jpg').symlink_to('../out/keep.txt')


def writes_beside_its_input(*_):
    Path('../in/thumbs').write_text('')


def writes_where_it_works(*_):
    Path('core').write_text('')


def writes_to_a_neighbour(*_):
    Path('../neighbour/more').write_text('')


def leaves_temporaries(*_):
    Path(os.environ['TMPDIR'], 'net.prototxt').write_text('')


def leaves_half_a_file(*_):
    Path('../out/a.partial').write_text('')


def leaves_half_a_folder(*_):
    Path('../out/.net.a1b2c3d4').mkdir()


def leaves_a_result_and_fails(*_):
    works(())
    raise Failed('no space')


def leaves_a_process(*_):
    if not os.fork():
        time.sleep(60)


PLANTED = {
    segfaults: 'ended by SIGSEGV', aborts_without_a_word: 'ended by SIGKILL', raises: "Traceback: KeyError: 'field'",
    hangs: 'no end within', ends_strangely: 'exit status 3', fails_in_silence: 'exit status 1 in silence',
    refuses_in_silence: 'exit status 2 without a line', complains_twice: '2 lines of errors',
    obeys_the_terminal: r"the character '\x1b'", says_too_much: 'a line of 100000 characters',
    runs_out_of_memory: 'asked for more memory', overwrites_an_input: 'changed: in/photo.jpg',
    removes_an_input: 'removed: in/photo.jpg', overwrites_what_is_beside_its_output: 'changed: out/keep.txt',
    replaces_by_a_link: 'changed: in/photo.jpg', writes_beside_its_input: 'left: in/thumbs',
    writes_where_it_works: 'left: cwd/core', writes_to_a_neighbour: 'left: neighbour/more',
    leaves_temporaries: 'left: tmp/net.prototxt', leaves_half_a_file: 'left half: out/a.partial',
    leaves_half_a_folder: 'left half: out/.net.a1b2c3d4', leaves_a_result_and_fails: 'left: out/result',
    leaves_a_process: 'a process of it goes on'}


@pytest.mark.parametrize('main', PLANTED)
def test_a_planted_failure_is_found(main, world):
    outcome = attack(Call(main, ()), world, seconds=2)
    assert len(outcome.problems) == 1 and outcome.problems[0].startswith(PLANTED[main]), outcome.problems


def takes_300_megabytes(*_):
    np.ones(300 << 17)


def has_a_child_that_takes_300_megabytes(*_):
    if not (child := os.fork()):
        takes_300_megabytes()
        os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.parametrize('main', [takes_300_megabytes, has_a_child_that_takes_300_megabytes])
def test_memory_is_measured(main, world):
    base = attack(Call(lambda _: None, ()), world).peak
    limit = base + (200 << 20)
    assert not attack(Call(lambda _: None, ()), world, memory=limit).problems
    assert 'MB of memory' in attack(Call(main, ()), world, memory=limit).problems[0]


def test_what_a_call_may_write_is_no_failure(world):
    assert not attack(Call(overwrites_an_input, (), rewrites=('in',)), world).problems
    assert not attack(Call(writes_to_a_neighbour, (), writes=('neighbour',)), world).problems
    (world / 'out/result').unlink(missing_ok=True)
    assert not attack(Call(leaves_a_result_and_fails, (), keeps=True), world).problems


# The good input, and what is made of it.

@pytest.fixture(scope='module')
def bases(tmp_path_factory):
    """The good input of every surface."""
    return program.build(SURFACES, tmp_path_factory.mktemp('fuzz'))


@pytest.mark.parametrize('name', SURFACES)
def test_good_input_works(name, bases, tmp_path):
    for number, call in enumerate(SURFACES[name].calls):
        worlds.copy(bases[name], tmp_path / str(number))
        outcome = attack(worlds.placed(call, call.argv, tmp_path / str(number)), tmp_path / str(number))
        assert (outcome.status, outcome.problems) == ('0', []), (call.argv, outcome.said)


@pytest.mark.parametrize('name', SURFACES)
def test_a_mutant_is_a_function_of_its_seed_and_number(name, bases, tmp_path):
    made = []
    for seed, number in ((0, 5), (0, 5), (0, 6), (1, 5)):
        world = tmp_path / 'world'      # links lead into it, by name
        call = worlds.mutant(SURFACES[name], name, seed, number, bases[name], world)
        made.append((call, snapshot(world)))
        world.rename(tmp_path / str(len(made)))
    assert made[0] == made[1] and made[0] != made[2] and made[0] != made[3]


class Broken(socketserver.BaseRequestHandler):
    """Answers every request alike, and wrongly."""
    answer = b''

    def handle(self):
        while self.request.recv(1 << 16):
            continue
        self.request.sendall(self.answer)


class BrokenPage:
    """What `attack_page` needs of a page."""

    def __init__(self, world, port, line=''):
        self.world, self.port, self.line, self.before = world, port, line, snapshot(world)

    def said(self):
        return self.line

    def alive(self):
        return True

    def peak(self):
        return 1


@pytest.mark.parametrize(('answer', 'line', 'problem'), [
    (b'HTTP/1.1 500 Oh\r\n\r\n', '', 'answered'), (b'', '', 'the page is gone'),
    (b'HTTP/1.1 200 OK\r\n\r\n', 'Traceback (most recent call last)', 'said Traceback'),
    (b'HTTP/1.1 200 OK\r\n\r\n', 'warning: a request failed: KeyError()', 'said warning: a request failed')])
def test_a_broken_page_is_found(answer, line, problem, world):
    with socketserver.ThreadingTCPServer(('127.0.0.1', 0), type('', (Broken,), {'answer': answer})) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = BrokenPage(world, server.server_address[1], line)
        found = [attack_page(page, 0, number, b'picture').problems for number in range(5)]
        server.shutdown()
    assert all(problems and problems[0].startswith(problem) for problems in found), found


def test_a_page_that_is_not_there_is_found(world):
    assert attack_page(BrokenPage(world, 1), 0, 0, b'').problems[0].startswith('no answer')


@pytest.mark.parametrize('count', [60, pytest.param(400, marks=pytest.mark.slow)])
def test_mutants_break_no_promise(count, tmp_path):
    done = subprocess.run([sys.executable, '-m', 'tests.fuzz', '--count', str(count), '--jobs', '1'], cwd=ROOT,
                          env={**os.environ, 'FCN_RUNS': str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads((tmp_path / 'fuzz/fuzz.json').read_text())
    assert facts['mutants'] == count and facts['failures'] == [] and len(facts['surfaces']) == len(SURFACES) + 1
    statuses = [status for found in facts['surfaces'].values() for status in found['statuses'].items()]
    assert sum(count for status, count in statuses if status == '0') > count / 10      # some work,
    assert sum(count for status, count in statuses if status == '2') > count / 3       # more are refused
    assert all(found['slowest_seconds'] > 0 and found['peak_bytes'] > 1 << 20 for found in facts['surfaces'].values())
    assert facts['limits'] == {'seconds': harness.SECONDS, 'bytes': harness.MEMORY}


def test_a_failure_is_counted_told_and_repeated(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('FCN_RUNS', str(tmp_path))
    monkeypatch.setattr(program, 'NAMES', ('planted',))
    monkeypatch.setattr(program, 'SURFACES', {'planted': Surface(
        lambda world: (world / 'in/photo.jpg').write_bytes(b'precious' * 9), (Call(removes_an_input, ()),))})
    assert program.main(['--count', '4', '--jobs', '1']) == 1
    facts = json.loads((tmp_path / 'fuzz/fuzz.json').read_text())
    assert facts['mutants'] == facts['surfaces']['planted']['failures'] == 4
    assert [failure['repeat'] for failure in facts['failures']] == [
        f'python -m tests.fuzz --seed 0 --repeat planted:{number}' for number in range(4)]
    assert 'removed: in/' in capsys.readouterr().out
    assert program.main(['--repeat', 'planted:2']) == 1
    assert (tmp_path / 'fuzz/planted-2/neighbour/secret.txt').is_file()
    assert 'removed: in/' in capsys.readouterr().out
    assert program.main(['--table']) == 0
    assert '| planted | 4 |' in capsys.readouterr().out
