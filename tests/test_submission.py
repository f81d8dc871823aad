"""VOC submissions: the server's folders, and what the check finds."""
import numpy as np
import pytest
from PIL import Image

import cli
from data_layers import open_dataset
from data_layers.palette import save_indexed
from data_layers.submission import FOLDER, Submission
from tests.helpers import datasets


@pytest.fixture
def submission(tmp_path):
    datasets.write_voc(tmp_path / 'VOC2012', ids=('2008_000006', '2008_000011'), sizes=[(12, 20), (9, 7)],
                       splits={'test': ('2008_000006', '2008_000011')})
    test = open_dataset('voc2012', 'test', tmp_path / 'VOC2012')
    result = Submission(test, [test.classes['label']], tmp_path / 'out')
    for id in test.ids:
        height, width = test.image(id).shape[:2]
        labels = np.zeros((height, width), np.uint8)
        labels[:, : width // 2] = 15
        result.write(id, labels)
    return result


def test_a_submission_is_written_as_the_server_wants_it(submission, tmp_path):
    assert '2 masks checked' in submission.check()
    mask = Image.open(tmp_path / 'out' / FOLDER / '2008_000006.png')
    assert mask.mode == 'P' and mask.size == (20, 12) and mask.getpalette()[45:48] == [192, 128, 128]
    assert np.unique(mask).tolist() == [0, 15]


def test_everything_wrong_is_found_at_once(submission):
    (submission.folder / '2008_000006.png').unlink()
    (submission.folder / '2008_999999.png').touch()
    Image.new('P', (3, 3)).save(submission.folder / '2008_000011.png')
    with pytest.raises(cli.BadInput) as problem:
        submission.check()
    assert all(f'{id}.png' in str(problem.value) for id in ('2008_000006', '2008_999999', '2008_000011'))


def test_a_value_that_is_no_class_is_found(submission):
    save_indexed(submission.folder / '2008_000011.png', np.full((9, 7), 21, np.uint8))
    with pytest.raises(cli.BadInput, match='2008_000011.png is not a 7x9'):
        submission.check()


def test_a_net_of_other_classes_is_refused(submission, tmp_path):
    from data_layers.siftflow import SIFTFlow
    with pytest.raises(cli.BadInput, match='VOC classes'):
        Submission(submission.dataset, [*SIFTFlow.classes.values()], tmp_path)
