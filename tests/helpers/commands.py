"""Commands in processes of their own, for tests that end them or starve them: their folders, and what they leave."""
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# Commands that take --net, with the tiny net in place of those of nets/.
TINY = """import sys
import nets
from accel import ranks
from tests.helpers import tiny
nets.load = lambda name: tiny.training(1)
if sys.argv[1] in ('infer', 'serve'):
    nets.names = lambda: ('tiny',)      # which comes before a folder of that name
if __name__ == '__main__':
    from nets import __main__ as emit, infer
    from report import serve
    from solvers import score
    score.load = lambda *_: tiny.training(1)
    sys.exit(ranks.run({'infer': infer, 'serve': serve, 'score': score, 'nets': emit}[sys.argv[1]].main, sys.argv[2:]))
"""


class Command:
    """A command that runs in a process of its own, with its temporary files in a folder of its own.

    Parameters
    ----------
    folder : Path
        Gets `temporary/`; the command runs in it.
    arguments : str or Path
        As for `python`; one that begins with 'tiny' is `TINY`.
    """

    def __init__(self, folder, *arguments, stdout=subprocess.PIPE, **environment):
        self.temporary = folder / 'temporary'
        self.temporary.mkdir(exist_ok=True)
        words = [*map(str, arguments)]
        words = ['-c', TINY, *words[1:]] if words[0] == 'tiny' else words
        self.process = subprocess.Popen(
            [sys.executable, *words], cwd=folder, text=True, stdin=subprocess.DEVNULL, stdout=stdout,
            stderr=subprocess.PIPE, start_new_session=True,
            env={**os.environ, 'TMPDIR': str(self.temporary), 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1',
                 **environment})

    def wait_until(self, done, seconds=60):
        """Wait until `done()`; fails when the process has ended before."""
        deadline = time.monotonic() + seconds
        while not done():
            assert self.process.poll() is None and time.monotonic() < deadline, self.process.communicate()
            time.sleep(0.002)

    def serving(self):
        """Wait until `report serve` takes requests; its port."""
        while 'Ctrl-C ends it' not in (line := self.process.stdout.readline()):
            assert line, self.wait()
        return int(line.split('/')[2].split(':')[1])

    def end(self, *numbers, group=False):
        """Send signals, to the process or to all that it started, and wait for the end; status and stderr."""
        for number in numbers:
            (os.killpg if group else os.kill)(self.process.pid, number)
        return self.wait()

    def wait(self, seconds=60):
        """Exit status and stderr."""
        errors = self.process.communicate(timeout=seconds)[1]
        return self.process.returncode, errors


def run(folder, *arguments, **options):
    """Run a command to its end; status and stderr."""
    return Command(folder, *arguments, **options).wait(120)


def tree(folder):
    """All that is in a folder: path -> content of files, None of folders."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in folder.rglob('*') if 'temporary' not in path.parts or path.parent.name == 'temporary'}


def running(mark):
    """Processes on this machine whose command line or environment has a text."""
    found = []
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            if mark.encode() in (folder / 'cmdline').read_bytes() + (folder / 'environ').read_bytes():
                found.append(int(folder.name))
        except OSError:     # it has ended
            continue
    return [number for number in found if number != os.getpid()]
