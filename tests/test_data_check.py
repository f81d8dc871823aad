"""python -m data_layers check: every fault of a data set is found, in one run, and good data sets have none."""
import json
import re
from collections import Counter

import numpy as np
import pytest

import cli
from cli import BadInput
from data_layers.__main__ import main
from data_layers.check import check, recognise
from data_layers.palette import save_indexed
from data_layers.siftflow import CATEGORIES
from tests.helpers.datasets import (
    save_jpeg,
    save_lines,
    save_mat,
    save_png,
    write_cityscapes,
    write_nyud,
    write_pascalcontext,
    write_sbd,
    write_siftflow,
    write_voc,
)

WRITERS = {'voc': write_voc, 'voc2012': write_voc, 'sbd': write_sbd, 'nyud': write_nyud, 'siftflow': write_siftflow,
           'pascalcontext': write_pascalcontext, 'cityscapes': write_cityscapes}


@pytest.mark.parametrize('name', WRITERS)
def test_good_data_have_no_problems(tmp_path, name, capsys):
    WRITERS[name](tmp_path)
    report = check(name, tmp_path, workers=1)
    assert report['problems'] == [] and report['samples'] == 3
    assert cli.run(main, ['check', name, '--root', str(tmp_path), '--workers', '1']) == 0
    out = capsys.readouterr().out
    assert 'no problems' in out and 'recipe:' in out


def test_all_problems_are_listed_at_once_and_the_exit_status_is_1(tmp_path, capsys):
    ids = [f'2007_00000{n}' for n in range(7)]
    write_voc(tmp_path, ids)
    photos, masks = tmp_path / 'JPEGImages', tmp_path / 'SegmentationClass'
    (photos / '2007_000000.jpg').unlink()
    (masks / '2007_000001.png').unlink()
    whole = (photos / '2007_000002.jpg').read_bytes()
    (photos / '2007_000002.jpg').write_bytes(whole[:len(whole) // 2])
    save_indexed(masks / '2007_000003.png', np.full((40, 56), 77, np.uint8))
    save_indexed(masks / '2007_000004.png', np.zeros((3, 3), np.uint8))
    save_jpeg(photos / '2007_000005.jpg', np.zeros((36, 36, 3), np.uint8))      # as large as it should be, but black
    (tmp_path / 'ImageSets/Segmentation/extra.txt').write_text('')
    assert cli.run(main, ['check', str(tmp_path), '--json']) == 1       # in parallel
    report = json.loads(capsys.readouterr().out)
    expected = ['split extra .* is empty', '2007_000000.jpg is missing', '2007_000001.png is missing',
                '2007_000002.jpg cannot be read', '2007_000003.png has label value 77', '2007_000004.png is 3x3 pixels',
                '2007_000005.jpg has one data value everywhere']
    assert len(report['problems']) == len(expected)
    for problem, pattern in zip(report['problems'], expected, strict=True):
        assert problem.startswith('voc') and re.search(pattern, problem), problem


def test_depth_hha_and_matlab_files_are_checked(tmp_path):
    write_nyud(tmp_path)
    save_png(tmp_path / 'data/depth/img_5001.png', np.full((40, 56), 3000, np.uint16))
    save_png(tmp_path / 'data/depth/img_5002.png', np.zeros((48, 40), np.uint16))
    (tmp_path / 'segmentation/img_5002.mat').write_bytes(b'MATLAB')
    save_mat(tmp_path / 'segmentation/img_5003.mat', segmentation=np.full((36, 36), 41))
    problems = check('nyud', tmp_path, workers=1)['problems']
    assert [problem.split(':')[0] for problem in problems] == ['nyud 5001', 'nyud 5002', 'nyud 5002', 'nyud 5003']
    assert 'depth/img_5001.png has one depth value everywhere' in problems[0]
    assert 'segmentation/img_5002.mat cannot be read' in problems[1]
    assert 'depth/img_5002.png has one depth value everywhere' in problems[2]


def test_a_missing_folder_is_one_problem_and_can_be_left_out(tmp_path):
    write_nyud(tmp_path)
    for path in (tmp_path / 'data/hha').iterdir():
        path.unlink()
    (tmp_path / 'data/hha').rmdir()
    (problem,) = check('nyud', tmp_path, workers=1)['problems']
    assert 'the folder' in problem and 'leave hha out' in problem
    assert check('nyud', tmp_path, tops=['color', 'label'], workers=1)['problems'] == []


def test_frequencies_and_means_are_those_of_the_data(tmp_path):
    written = write_sbd(tmp_path)
    report = check('sbd', tmp_path, workers=1)
    pixels = np.concatenate([sample['label'].ravel() for sample in written.values()])
    for index, row in enumerate(report['classes']['label']):
        assert row['share'] == pytest.approx((pixels == index).mean())
        assert row['images'] == sum((sample['label'] == index).any() for sample in written.values())
    photos = np.concatenate([sample['data'].reshape(-1, 3) for sample in written.values()])
    np.testing.assert_allclose(report['means']['data']['data'], photos.mean(0)[::-1], atol=1.5)   # JPEG is not exact
    assert report['means']['data']['recipe'] == [104.00699, 116.66877, 122.67892] and report['void'] == {'label': 0}


def test_the_mean_depth_leaves_holes_out(tmp_path):
    written = write_nyud(tmp_path)
    for id, sample in written.items():
        sample['depth'][5:20] = 0
        save_png(tmp_path / f'data/depth/img_{id}.png', sample['depth'])
    report = check('nyud', tmp_path, workers=1)
    depths = np.concatenate([sample['depth'].ravel() for sample in written.values()]).astype(float)
    assert report['means']['depth']['data'][0] == pytest.approx(np.log(depths[depths > 0]).mean(), abs=2e-3)
    colors = np.concatenate([sample['color'].reshape(-1, 3) for sample in written.values()])
    np.testing.assert_allclose(report['means']['color']['data'], colors.mean(0)[::-1], atol=1e-2)


def test_void_and_absent_classes_are_reported_by_split(tmp_path):
    written = write_siftflow(tmp_path)
    report = check('siftflow', tmp_path, workers=1)
    assert report['void']['sem'] == pytest.approx(np.mean([sample['sem'] == 0 for sample in written.values()]))
    test = report['splits']['test']
    present = set(np.unique(written['street_par177']['geo'])) - {0, -1}
    assert test['ids'] == 1
    assert test['absent']['geo'] == [name for value, name in enumerate(('sky', 'horizontal', 'vertical'), 1)
                                     if value not in present]


def test_suspicious_splits_are_warned_of(tmp_path, monkeypatch):
    monkeypatch.setenv('FCN_DATA', str(tmp_path))
    write_voc(tmp_path / 'pascal/VOC2011')
    write_sbd(tmp_path / 'sbdd/dataset')
    assert not any('shares' in line for line in check('voc', workers=1)['warnings'])
    lists = tmp_path / 'pascal/VOC2011/ImageSets/Segmentation'
    save_lines(lists / 'seg11valid.txt', ['2008_000003', '2007_000001', '2007_000001'])     # the first is in SBD train
    warnings = check('voc', workers=1)['warnings']
    assert 'the scored split seg11valid shares 1 ids with what the nets train on: 2008_000003, ...' in warnings
    assert 'seg11valid lists 1 ids more than once: 2007_000001, ...' in warnings
    assert 'train lists 3 ids, the published one 1112' in warnings


def test_the_voc_test_split_has_no_masks(tmp_path):
    write_voc(tmp_path, splits={'val': ['2007_000001', '2007_000002'], 'test': ['2007_000002', '2008_000003']})
    (tmp_path / 'SegmentationClass/2008_000003.png').unlink()
    report = check('voc2012', tmp_path, workers=1)
    assert report['problems'] == [] and report['samples'] == 3


def test_parallel_and_serial_agree(tmp_path):
    write_voc(tmp_path, ids=[str(n) for n in range(20)])
    (tmp_path / 'JPEGImages/7.jpg').unlink()
    assert check('voc', tmp_path, workers=2) == check('voc', tmp_path, workers=1)


def test_a_folder_is_recognised_by_what_is_in_it(tmp_path):
    for name, write in WRITERS.items():
        folder = tmp_path / {'voc': 'x/VOC2011', 'voc2012': 'y/VOC2012'}.get(name, name)
        write(folder)
        assert recognise(folder) == name
    with pytest.raises(BadInput, match='holds no data set known here; name one of voc'):
        recognise(tmp_path / 'x/VOC2011/JPEGImages')
    write_nyud(tmp_path / 'sbd')
    with pytest.raises(BadInput, match=r'several data sets \(sbd, nyud\)'):
        recognise(tmp_path / 'sbd')


def test_wrong_calls_exit_2_with_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('FCN_DATA', str(tmp_path / 'nowhere'))
    for arguments, complaint in ((['check', 'imagenet'], 'imagenet is neither a folder nor a data set: choose'),
                                 (['check', 'voc'], 'no PASCAL VOC 2011 in'),
                                 (['check', 'voc', '--workers', '0'], '--workers must be at least 1'),
                                 (['prepare', 'voc', '--from', str(tmp_path / 'no')], 'is missing; --from takes')):
        assert cli.run(main, arguments) == 2
        err = capsys.readouterr().err
        assert complaint in err and err.count('\n') == 1
    with pytest.raises(SystemExit) as caught:
        main(['prepare', 'voc'])
    assert caught.value.code == 2


def test_list_says_where_all_comes_from(capsys):
    assert main(['list']) == 0
    out = capsys.readouterr().out
    assert Counter(line.split()[0] for line in out.splitlines() if line.startswith('  ')) == {
        'from': 8, 'licence': 8, 'folder': 8, 'layout': 8}


def test_siftflow_files_of_one_image(tmp_path):
    write_siftflow(tmp_path)
    (tmp_path / f'GeoLabels/{CATEGORIES}/coast_natu975.mat').unlink()
    (problem,) = check('siftflow', tmp_path, workers=1)['problems']
    assert problem.startswith('siftflow coast_natu975: ') and 'GeoLabels' in problem
