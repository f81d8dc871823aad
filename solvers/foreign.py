"""Nets that may come from anybody: checked, and made once in a process of their own, which Caffe may end."""
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from accel import ranks
from cli import BadInput
from solvers.instance import instantiate
from solvers.prototxts import check_net
from solvers.weights import ROOT

FATAL = re.compile(r'^F\d+ .*?\] (.+)$', re.MULTILINE)     # a line of Caffe's log before it ends the process


def instantiate_foreign(net_parameter: Any, what: str) -> Any:
    """Make a net that is not the project's own.

    Parameters
    ----------
    net_parameter : caffe_pb2.NetParameter
        A test or deploy net, as of `solvers.prototxts.read_net`.
    what : str
        What to call it in a complaint.

    Returns
    -------
    caffe.Net

    Raises
    ------
    BadInput
        As of `check_net` and `rehearse`.
    """
    check_net(net_parameter, what)
    rehearse(net_parameter, what)
    return instantiate(net_parameter)


def rehearse(net_parameter: Any, what: str) -> None:
    """Make a net in a fresh process: one that was forked would share the locks of this one's threads.

    Parameters
    ----------
    net_parameter, what
        As of `instantiate_foreign`.

    Raises
    ------
    BadInput
        The process was ended by a signal; says which of Caffe's checks failed. Other failures are met again in making
        the net here.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'net.prototxt')
        path.write_text(str(net_parameter))
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get('PYTHONPATH'))))
        done = subprocess.run([sys.executable, '-P', '-m', __name__, path], capture_output=True, text=True,
                              errors='replace', env=ranks.child_environment() | {'PYTHONPATH': paths})
    if done.returncode < 0:
        said = FATAL.findall(done.stderr)
        reason = said[-1].strip() if said else f'it ends with {signal.Signals(-done.returncode).name}'
        raise BadInput(f'{what}: Caffe cannot make this net ({reason}); correct it')


def main() -> None:
    """Make the net whose prototxt the command line names."""
    import caffe
    caffe.Net(sys.argv[1], caffe.TEST)


if __name__ == '__main__':
    main()
