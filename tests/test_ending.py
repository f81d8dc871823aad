"""Commands that a signal ends leave nothing behind: no temporary file, no half of an output, no process."""
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

caffe = pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import cli  # noqa: E402
import files  # noqa: E402
import workers  # noqa: E402
from solvers.instance import instantiate  # noqa: E402
from surgery import write_weights  # noqa: E402
from tests.helpers import own, surgery_nets, tiny  # noqa: E402
from tests.helpers.commands import ROOT, Command, running, tree  # noqa: E402
from tests.helpers.datasets import save_jpeg, write_voc  # noqa: E402

pytestmark = pytest.mark.caffe
ENDS = [signal.SIGTERM, signal.SIGHUP]
LINE = {signal.SIGTERM: 'ended by SIGTERM\n', signal.SIGHUP: 'ended by SIGHUP\n', signal.SIGINT: 'interrupted\n'}


def below(folder):
    """Paths in a folder that a running command fills and empties meanwhile."""
    return [Path(parent, name) for parent, folders, names in os.walk(folder) for name in (*folders, *names)]


def scratches(folder):
    return [path for path in below(folder) if path.name.startswith(files.SCRATCH)]


def classifier(folder):
    """A classifier whose proof takes a while."""
    prototxt, weights = folder / 'net.prototxt', folder / 'net.caffemodel'
    prototxt.write_text(surgery_nets.WHOLE['vgg16'])
    net = caffe.Net(str(prototxt), caffe.TEST)
    surgery_nets.randomise(net)
    net.save(str(weights))
    return '--prototxt', prototxt, '--weights', weights


def tiny_weights(folder):
    net = instantiate(tiny.fcn('deploy'))
    write_weights(folder / 'tiny.caffemodel', {
        name: [np.ones(blob.data.shape, np.float32) for blob in blobs] for name, blobs in net.params.items()})
    return '--net', 'tiny', '--weights', folder / 'tiny.caffemodel', '--cpu'


def photographs(folder, count=3000):
    save_jpeg(folder / 'photos/0.jpg', np.zeros((60, 80, 3), np.uint8))
    for number in range(1, count):
        os.link(folder / 'photos/0.jpg', folder / f'photos/{number}.jpg')


def convolutionalize(folder):
    return ['-m', 'surgery', 'convolutionalize', *classifier(folder), '--out', 'a/out']


def emit(_folder):
    return ['-m', 'nets', 'emit', '--out', 'a/out']


def infer(folder):
    photographs(folder)
    return ['tiny', 'infer', *tiny_weights(folder), 'photos', '--out', 'out']


def prepare(folder):
    write_voc(folder / 'made/VOC2011')
    with tarfile.open(folder / 'VOC2011.tar', 'w') as archive:
        for number in range(20_000):
            archive.add(folder / 'made/VOC2011/JPEGImages/2007_000001.jpg', f'VOC2011/JPEGImages/{number}.jpg')
    return ['-m', 'data_layers', 'prepare', 'voc', '--from', 'VOC2011.tar', '--to', 'a/voc']


MAKES = {'convolutionalize': convolutionalize, 'emit': emit, 'prepare': prepare}


@pytest.mark.parametrize('number', ENDS)
@pytest.mark.parametrize('kind', MAKES)
def test_a_command_that_writes_a_folder_leaves_nothing(kind, number, tmp_path):
    for attempt in map(str, range(5)):
        folder = tmp_path / attempt
        (folder / 'temporary').mkdir(parents=True)
        arguments = MAKES[kind](folder)
        before = tree(folder)
        command = Command(folder, *arguments)
        command.wait_until(lambda: any(map(below, scratches(folder))))    # noqa: B023
        status, errors = command.end(number)
        if status:      # on a busy machine the command may have ended before the signal came
            break
    assert (status, errors.splitlines(keepends=True)[-1:]) == (128 + number, [LINE[number]])
    assert tree(folder) == before
    assert not running(str(command.temporary))


@pytest.mark.parametrize('number', [*ENDS, signal.SIGINT])
def test_segmenting_keeps_what_is_whole(number, tmp_path):
    command = Command(tmp_path, *infer(tmp_path))
    command.wait_until(lambda: len([*tmp_path.glob('out/*.png')]) > 3)
    status, errors = command.end(number)
    assert (status, errors.splitlines(keepends=True)[-1:]) == (128 + number, [LINE[number]])
    assert not scratches(tmp_path) and not any(command.temporary.iterdir())
    stems = {path.stem for path in tmp_path.glob('out/*.png')}
    assert {path.name.removesuffix('_overlay.jpg') for path in tmp_path.glob('out/*.jpg')} == stems
    assert 3 < len(stems) < 3000


def test_the_page(tmp_path):
    command = Command(tmp_path, 'tiny', 'serve', *tiny_weights(tmp_path), '--port', '0')
    command.serving()
    assert command.end(signal.SIGTERM) == (143, 'ended by SIGTERM\n')
    assert not any(command.temporary.iterdir())


@pytest.mark.parametrize('group', [False, True])
def test_processes_that_share_work_end_with_their_first(group, tmp_path):
    names = [f'2007_{n:06}' for n in range(4000)]
    write_voc(tmp_path / 'voc', names[:1], splits={'train': names})
    for path in (tmp_path / 'voc/JPEGImages/2007_000000.jpg', tmp_path / 'voc/SegmentationClass/2007_000000.png'):
        for name in names[1:]:
            os.link(path, path.with_stem(name))
    command = Command(tmp_path, '-m', 'data_layers', 'check', 'voc', '--root', 'voc', '--workers', '2')
    command.wait_until(lambda: len(running(str(command.temporary))) == 3)
    time.sleep(1)
    status, errors = command.end(signal.SIGTERM, group=group)
    assert (status, errors) == (143, 'ended by SIGTERM\n')
    assert not running(str(command.temporary))


def test_no_process_outlives_one_that_is_killed(tmp_path):
    code = 'import time, workers\nlist(workers.spread(time.sleep, [99] * 99, 2))'
    command = Command(tmp_path, '-c', code)
    command.wait_until(lambda: len(running(str(command.temporary))) == 3)
    command.end(signal.SIGKILL)
    time.sleep(0.2)
    assert not running(str(command.temporary))


def test_a_killed_command_s_folder_is_removed_by_the_next(tmp_path):
    arguments = emit(tmp_path)
    command = Command(tmp_path, *arguments)
    command.wait_until(lambda: scratches(tmp_path))
    command.end(signal.SIGKILL)
    assert scratches(tmp_path)
    assert Command(tmp_path, *arguments).wait()[0] == 0
    assert not scratches(tmp_path) and len([*tmp_path.glob('a/out/*')]) > 9


def test_scratch_folders_in_use_stay(tmp_path):
    (tmp_path / 'fcn-mine').mkdir()
    (tmp_path / f'{files.SCRATCH}left').mkdir()
    with files.scratch(tmp_path) as one, files.scratch(tmp_path) as other:
        assert one.is_dir() and other.is_dir() and one != other
        assert {path.name for path in tmp_path.iterdir()} == {one.name, other.name, 'fcn-mine'}
    assert [path.name for path in tmp_path.iterdir()] == ['fcn-mine']


def test_nohup(tmp_path):
    process = subprocess.Popen(['nohup', sys.executable, '-m', 'nets', 'emit', '--out', tmp_path / 'out'], cwd=ROOT,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not scratches(tmp_path):
        assert process.poll() is None
    process.send_signal(signal.SIGHUP)
    assert 'ended' not in process.communicate(timeout=60)[1] and process.returncode == 0
    assert len([*tmp_path.glob('out/*')]) > 9


# Within the process.

@pytest.mark.parametrize('number', [*ENDS, signal.SIGINT])
def test_a_file_is_not_left_half(number, tmp_path, capsys):
    def main(_argv):
        with files.whole(tmp_path / 'a.json') as file:
            file.write(b'{')
            os.kill(os.getpid(), number)
            pytest.fail('nothing follows')
    handlers = [signal.getsignal(end) for end in cli.ENDS]
    assert cli.run(main) == 128 + number
    assert capsys.readouterr().err == LINE[number] and not any(tmp_path.iterdir())
    assert [signal.getsignal(end) for end in cli.ENDS] == handlers


@pytest.mark.parametrize('number', [*ENDS, signal.SIGINT])
def test_a_signal_waits_for_what_must_not_be_disturbed(number, tmp_path):
    done = []

    def main(_argv):
        with cli.undisturbed():
            with cli.undisturbed():
                os.kill(os.getpid(), number)
                done.append('inner')
            done.append('outer')
        done.append('never')
    assert cli.run(main) == 128 + number and done == ['inner', 'outer']
    assert cli.run(lambda _: done.append('next')) == 0 and done[-1] == 'next'


def test_a_terminal_that_closes_tells_twice():
    """The second hangup does not disturb what the first one has begun; a later one does."""
    told = []
    with cli.on_signals(told.append):
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGINT):
            os.kill(os.getpid(), number)
        time.sleep(cli.GRACE * 1.1)
        os.kill(os.getpid(), signal.SIGHUP)
    assert told == [signal.SIGHUP, signal.SIGINT, signal.SIGINT, signal.SIGHUP]


def test_files_move_together(tmp_path):
    folder, moved = tmp_path / 'a/b', []
    replace = os.replace

    def main(_argv):
        with files.whole_folder(folder) as aside:
            (aside / 'x').mkdir()
            for name in ('x/1', 'x/2', '3'):
                (aside / name).touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, 'replace', lambda *paths: (os.kill(os.getpid(), signal.SIGTERM), replace(*paths),
                                                     moved.append(paths)))
        assert cli.run(main) == 143
    assert len(moved) == 3
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob('*')) == ['3', 'x', 'x/1', 'x/2']


def test_a_program_that_is_called_is_ended_cleanly(tmp_path):
    code = (f'import os, signal, sys, time\nimport cli, files\nfrom pathlib import Path\n'
            f'def main(_):\n    with files.scratch(Path({str(tmp_path)!r})):\n'
            f'        os.kill(os.getppid(), signal.SIGTERM)\n        time.sleep(60)\nsys.exit(cli.run(main))')
    begin = time.monotonic()
    assert cli.run(lambda _: workers.call([sys.executable, '-c', code], cwd=ROOT) and None) == 143
    assert not any(tmp_path.iterdir()) and time.monotonic() - begin < workers.PATIENCE


def test_own_nets_are_written_whole(tmp_path, checkout, monkeypatch):
    """The signal comes while the last of the files is written."""
    from tests.helpers.own_nets import write
    own.write(tmp_path / 'photos')
    text = files.write
    monkeypatch.setattr(files, 'write', lambda path, content: (text(path, content), os.kill(
        os.getpid(), signal.SIGTERM if Path(path).name == 'dataset.json' else 0)))
    before = tree(checkout)
    assert cli.run(lambda _: write('roads', tmp_path / 'photos', checkout)) == 143
    assert tree(checkout) == before and not (tmp_path / 'data').exists()
