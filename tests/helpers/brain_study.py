"""The study with nets whose steps take milliseconds. As a program it trains: tests kill it.

    python -m tests.helpers.brain_study OUT STEPS
"""
import sys
from pathlib import Path

import numpy as np

import accel  # noqa: F401 (as in the process of the tests)
import cli
from experiments import brain, study
from nets.blocks import conv_relu, crop, dropout, loss, score, upsample
from report import study_tables
from solvers import monitor
from surgery import write_weights


def fcn(split):
    n = study.data.feed(split)
    n.fc6, n.relu6 = conv_relu(n.data, 8, stride=2, pad=3)
    n.drop6 = dropout(n.relu6)
    n.score_fr = score(n.drop6, study.data.NUM_CLASSES)
    n.upscore = upsample(n.score_fr, 2, kernel_size=3)
    n.score = crop(n.upscore, n.data)
    loss(n)
    return n.to_proto()


def volumes(folder: Path, flipped: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The three files of the package, small; the voxels as right, anterior, superior whatever is in the files."""
    import nibabel
    rng = np.random.default_rng(0)
    regions = rng.integers(0, 4, (4, 5, 181), np.uint8).repeat(6, 0).repeat(6, 1)
    head = (60 * regions + rng.integers(0, 40, regions.shape)).astype(np.uint8)
    folder.mkdir(parents=True)
    for name, volume in (('ch2', head), ('aal', regions)):
        affine = np.diag([-1., 1, 1, 1] if flipped else [1., 1, 1, 1])
        nibabel.Nifti1Image(volume[::-1] if flipped else volume, affine).to_filename(folder / f'{name}.nii.gz')
    (folder / 'aal.nii.txt').write_text('1 Insula_L 3001\r\n2 Heschl_R 8102\r\n3 Vermis_10 9170\r\n\r\n')
    return head, regions


def rows(steps: int):
    return [study.Row('first', fcn, 1e-8, steps), study.Row('second', fcn, 1e-9, steps, start='first')]


def main(argv) -> None:
    out, steps = Path(argv[0]), int(argv[1])
    monitor.plot = lambda *_: None      # curves take longer than the steps between them here
    study.SNAPSHOTS, study_tables.WIDTH = 5, 8
    if not (out / 'templates').exists():
        volumes(out / 'templates')
    brain.prepare(out / 'templates')
    write_weights(out / 'none.caffemodel', {'none': [np.zeros(1, np.float32)]})
    study.study(rows(steps), [1, 2], out / 'none.caffemodel', out / 'runs', out)
    study.show(['first', 'second'], out / 'runs', 1, out)


if __name__ == '__main__':
    sys.exit(cli.run(main, sys.argv[1:]))
