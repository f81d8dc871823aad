"""Work spread over processes: in order, each job done, whatever becomes of the processes."""
import os
import signal
import time

import pytest

from cli import BadInput
from workers import CHUNK, Beside, spread

JOBS = 4 * CHUNK + 3


def square(number):
    return number * number


def late(number):
    """The earlier the job, the longer it takes."""
    time.sleep(0.002 * (JOBS - number))
    return number


def kill_self():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_once(flag, number):
    """Kills its process at the job 13, unless the file `flag` says that it did already."""
    if number == 13 and not flag.exists():
        flag.touch()
        kill_self()
    return number


def kill_together(folder, number):
    """Kills its process at every seventh job, once each."""
    flag = folder / str(number)
    if number % 7 == 0 and not flag.exists():
        flag.touch()
        kill_self()
    return number


def kill_always(wrong, number):
    if number == wrong:
        kill_self()
    return number


def note_process(factor, folder, number):
    (folder / str(os.getpid())).touch()
    return factor * number


def fail(number):
    if number == 5:
        raise BadInput('5 is bad')
    return number


@pytest.mark.parametrize('workers', [1, 2, 3, None])
def test_results_come_in_the_order_of_the_jobs(workers):
    assert list(spread(square, iter(range(JOBS)), workers)) == [number * number for number in range(JOBS)]


def test_results_keep_their_order_when_later_jobs_are_done_first():
    assert list(spread(late, range(JOBS), 3)) == list(range(JOBS))


def test_there_are_no_more_processes_than_jobs():
    assert [*spread(abs, [-1, -2, -3], 2 ** 62)] == [1, 2, 3]


@pytest.mark.parametrize('workers', [1, 2])
def test_nothing_to_do(workers):
    assert list(spread(square, [], workers)) == []


@pytest.mark.parametrize('workers', [1, 2])
def test_shared_arguments_come_first(workers, tmp_path):
    assert list(spread(note_process, range(JOBS), workers, shared=(3, tmp_path))) == [3 * n for n in range(JOBS)]
    processes = {path.name for path in tmp_path.iterdir()}
    assert processes == {str(os.getpid())} if workers == 1 else str(os.getpid()) not in processes


def test_jobs_of_a_killed_process_are_done_again(tmp_path):
    assert list(spread(kill_once, range(JOBS), 2, shared=(tmp_path / 'flag',))) == list(range(JOBS))
    assert (tmp_path / 'flag').exists()


def test_processes_may_be_killed_again_and_again(tmp_path):
    assert list(spread(kill_together, range(JOBS), 2, shared=(tmp_path,))) == list(range(JOBS))


@pytest.mark.parametrize('wrong', [0, 13, JOBS - 1])
def test_the_job_that_kills_its_process_alone_is_named(wrong):
    got = []
    with pytest.raises(BadInput, match=f'^image {wrong}: the process that read it was killed.*--workers') as caught:
        for result in spread(kill_always, range(JOBS), 2, lambda number: f'image {number}', (wrong,)):
            got.append(result)
    assert got == list(range(wrong)) and '\n' not in str(caught.value)


@pytest.mark.parametrize('workers', [1, 2])
def test_an_exception_of_a_job_reaches_the_caller(workers):
    with pytest.raises(BadInput, match='^5 is bad$'):
        list(spread(fail, range(JOBS), workers))


def test_stopping_early_waits_for_no_further_jobs():
    begin = time.monotonic()
    results = spread(late, range(200), 2)
    assert next(results) == 0
    results.close()
    assert time.monotonic() - begin < 10


def note(folder, name):
    (folder / name).touch()
    return sorted(path.name for path in folder.iterdir())


def kill_where(folder, name, again):
    """Kills its process, the first time or each time."""
    if again or not (folder / name).exists():
        (folder / name).touch()
        kill_self()
    return name


def pid(_):
    return os.getpid()


def test_a_process_beside_does_jobs_in_the_order_they_were_begun(tmp_path):
    with Beside(tmp_path) as beside:
        waiting = [beside.begin(name, note, name) for name in 'abc']
        processes = {beside.begin('process', pid)() for _ in range(3)}
        assert [wait() for wait in reversed(waiting)] == [['a', 'b', 'c'], ['a', 'b'], ['a']]
    assert len(processes) == 1 and os.getpid() not in processes
    with pytest.raises(ProcessLookupError):
        os.kill(*processes, 0)


def test_jobs_of_a_killed_process_beside_are_done_again(tmp_path):
    with Beside(tmp_path) as beside:
        waiting = [beside.begin(name, *job) for name, *job in (('a', note, 'a'), ('b', kill_where, 'b', False),
                                                               ('c', note, 'c'))]
        assert [wait() for wait in waiting] == [['a'], 'b', ['a', 'b', 'c']]
        assert beside.begin('d', note, 'd')() == ['a', 'b', 'c', 'd']


def test_the_job_that_kills_the_process_beside_is_named(tmp_path):
    with Beside(tmp_path) as beside:
        waiting = beside.begin('photo.jpg', kill_where, 'b', True), beside.begin('c', note, 'c')
        with pytest.raises(BadInput, match='^photo.jpg: the process that read it was killed'):
            waiting[0]()
        assert waiting[1]() == ['b', 'c']


def test_an_exception_of_a_job_beside_reaches_who_waits_for_it():
    with Beside() as beside:
        waiting = beside.begin('5', fail, 5), beside.begin('6', fail, 6)
        with pytest.raises(BadInput, match='^5 is bad$'):
            waiting[0]()
        assert waiting[1]() == 6
