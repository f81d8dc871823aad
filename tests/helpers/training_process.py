"""Processes that train the tiny net, for tests that kill them. Forked from one that has Caffe loaded, they start in
milliseconds; each has its own environment and writes to a log of its own.
"""
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(['tests.helpers.tiny'])


def train(log: Path, environment: dict[str, str], argv: list[str]) -> None:
    """In the child: what `python -m tests.helpers.tiny` does, said into `log`."""
    from accel import ranks
    from tests.helpers import tiny
    os.environ.clear()
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout = sys.stderr = open(1, 'w', buffering=1, closefd=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)    # the fork server ignores it
    sys.exit(ranks.run(tiny.main, argv))


class TrainingProcess:
    """A process that trains in the folder `run`, up to so many iterations; resumes what is there."""

    def __init__(self, run: Path, iterations: int) -> None:
        self.log = run.with_name(f'{run.name}.log')
        self.log.unlink(missing_ok=True)
        self.process = CONTEXT.Process(target=train, args=(self.log, dict(os.environ), [str(run), str(iterations)]))
        self.process.start()

    def wait_until(self, done, seconds: float = 120) -> None:
        """Wait until `done()`; fails with the log when the process has ended before."""
        deadline = time.monotonic() + seconds
        while not done():
            assert self.process.is_alive() and time.monotonic() < deadline, self.output()
            time.sleep(0.005)

    def wait_until_started(self) -> None:
        """Wait for the first line that the training says."""
        self.wait_until(lambda: 'started' in self.output())

    def ended(self) -> bool:
        return not self.process.is_alive()

    def send(self, number: int) -> None:
        os.kill(self.process.pid or 0, number)

    def wait(self, seconds: float = 120) -> int:
        """Wait for the end; the exit status, negative for a signal."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, self.output()
        return self.process.exitcode

    def output(self) -> str:
        """What it has said so far."""
        return self.log.read_text() if self.log.exists() else ''
