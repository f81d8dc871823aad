"""python -m data_layers prepare: downloads in the shape their authors gave them come into place, and nowhere else."""
import io
import tarfile
import time
import zipfile

import numpy as np
import pytest

import cli
import files
from cli import BadInput
from data_layers import open_dataset
from data_layers.__main__ import main
from data_layers.check import check
from data_layers.prepare import place, prepare
from data_layers.siftflow import CATEGORIES
from tests.helpers.datasets import (
    save_lines,
    save_mat,
    write_cityscapes,
    write_nyud,
    write_pascalcontext,
    write_sbd,
    write_siftflow,
    write_voc,
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty $FCN_DATA, beside a folder of downloads."""
    monkeypatch.setenv('FCN_DATA', str(tmp_path / 'data'))
    (tmp_path / 'downloads').mkdir()
    return tmp_path / 'data'


def pack(folder, archive, inside):
    """Put a folder's content into an archive, below `inside`."""
    if archive.suffix == '.zip':
        with zipfile.ZipFile(archive, 'w') as packed:
            for path in sorted(folder.rglob('*')):
                packed.write(path, f'{inside}/{path.relative_to(folder)}')
    else:
        with tarfile.open(archive, 'w:gz' if archive.suffix in ('.gz', '.tgz') else 'w') as packed:
            packed.add(folder, inside)
    return archive


def tar_with(path, *infos):
    with tarfile.open(path, 'w') as packed:
        for info in infos:
            packed.addfile(info, io.BytesIO(b'x' * info.size))


def member(name, kind=tarfile.REGTYPE, link='', size=1):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size if kind == tarfile.REGTYPE else 0
    return info


def test_voc_and_sbd_archives_with_the_scored_split(home, tmp_path):
    written = write_voc(tmp_path / 'voc')
    (tmp_path / 'voc/Annotations').mkdir()
    save_lines(tmp_path / 'voc/Annotations/2007_000001.xml', ['not needed'])
    save_lines(tmp_path / 'voc/JPEGImages/._2007_000001.jpg', ['litter of macOS'])
    downloads = tmp_path / 'downloads'
    pack(tmp_path / 'voc', downloads / 'VOCtrainval_25-May-2011.tar', 'TrainVal/VOCdevkit/VOC2011')
    labels = write_sbd(tmp_path / 'sbd')
    pack(tmp_path / 'sbd', downloads / 'benchmark.tgz', 'benchmark_RELEASE/dataset')
    assert 'once SBD is prepared' in prepare('voc', downloads)
    assert 'seg11valid.txt: 2 ids' in prepare('sbd', downloads)
    for name, split, source in (('voc', 'val', written), ('sbd', 'train', labels)):
        dataset = open_dataset(name, split)
        for id in dataset.ids:
            np.testing.assert_array_equal(dataset.load(id)[1][0], source[id]['label'])
    lists = home / 'pascal/VOC2011/ImageSets/Segmentation'
    assert (lists / 'seg11valid.txt').read_text().split() == ['2007_000001', '2007_000002']
    kept = sorted(str(path.relative_to(home)) for path in home.rglob('*') if path.is_file())
    assert len(kept) == 2 * 3 + 4 + 2 * 3 + 2 and not any('._' in name or 'Annot' in name for name in kept)
    assert check('voc', workers=1)['problems'] == []


def test_it_can_be_stopped_and_run_again(home, tmp_path):
    write_voc(tmp_path / 'voc')
    archive = pack(tmp_path / 'voc', tmp_path / 'downloads/VOCtrainval_25-May-2011.tar', 'VOCdevkit/VOC2011')
    assert '9 files new, 0 already there' in prepare('voc', archive)
    photo = home / 'pascal/VOC2011/JPEGImages/2007_000001.jpg'
    whole, untouched = photo.read_bytes(), home / 'pascal/VOC2011/JPEGImages/2007_000002.jpg'
    before = untouched.stat().st_mtime_ns
    photo.write_bytes(whole[:100])
    photo.with_name('2008_000003.jpg').rename(photo.with_name('2008_000003.jpg.partial'))
    assert '2 files new, 7 already there' in prepare('voc', archive.parent)
    assert photo.read_bytes() == whole and untouched.stat().st_mtime_ns == before
    assert check('voc', workers=1)['problems'] == []
    assert '0 files new, 9 already there' in prepare('voc', home)       # what is in place can be the source
    assert not list(home.rglob('*.partial'))


@pytest.mark.parametrize('cut', [0.3, 0.9])
def test_a_truncated_archive_is_named_and_nothing_of_it_is_kept(home, tmp_path, cut):
    write_sbd(tmp_path / 'sbd', ids=[f'2008_00000{n}' for n in range(9)])
    archive = pack(tmp_path / 'sbd', tmp_path / 'downloads/benchmark.tgz', 'benchmark_RELEASE/dataset')
    whole = archive.read_bytes()
    archive.write_bytes(whole[:int(len(whole) * cut)])
    with pytest.raises(BadInput, match='benchmark.tgz cannot be unpacked .*download it again'):
        prepare('sbd', archive)
    assert not home.exists()
    archive.write_bytes(whole)
    prepare('sbd', archive)
    assert check('sbd', workers=1)['problems'] == []


@pytest.mark.parametrize('name', ['../evil.txt', '/tmp/evil.txt', 'VOC2011/JPEGImages/../../../../evil.jpg',
                                  'VOC2011/JPEGImages/..', r'VOC2011\..\..\evil.txt', 'C:/evil.txt'])
@pytest.mark.parametrize('kind', ['tar', 'zip'])
def test_archives_that_point_outside_their_folder_are_refused(home, tmp_path, name, kind):
    archive = tmp_path / f'downloads/VOC2011.{kind}'
    if kind == 'tar':
        tar_with(archive, member('VOC2011/JPEGImages/1.jpg'), member(name))
    else:
        with zipfile.ZipFile(archive, 'w') as packed:
            packed.writestr('VOC2011/JPEGImages/1.jpg', b'x')
            packed.writestr(name, b'x')
    before = {path for path in tmp_path.rglob('*') if home not in path.parents}
    with pytest.raises(BadInput, match='VOC2011.* is refused: its member .* points outside the folder'):
        prepare('voc', archive)
    assert {path for path in tmp_path.rglob('*') if home not in path.parents} - {home} == before


@pytest.mark.parametrize('kind', [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_archives_are_refused(home, tmp_path, kind):
    archive = tmp_path / 'downloads/VOC2011.tar'
    tar_with(archive, member('VOC2011/JPEGImages/1.jpg', kind, link='../../../secret'))
    with pytest.raises(BadInput, match="its member 'VOC2011/JPEGImages/1.jpg' is a link or a device"):
        prepare('voc', archive)
    tar_with(archive, member('VOC2011/JPEGImages', tarfile.SYMTYPE, link='/tmp'), member('VOC2011/JPEGImages/1.jpg'))
    prepare('voc', archive)     # a link where a folder should be is not made, so nothing follows it
    assert (home / 'pascal/VOC2011/JPEGImages/1.jpg').is_file()
    assert not (home / 'pascal/VOC2011/JPEGImages').is_symlink()


def test_a_link_in_a_zip_is_refused(home, tmp_path):
    archive = tmp_path / 'downloads/VOC2011.zip'
    link = zipfile.ZipInfo('VOC2011/JPEGImages/1.jpg')
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, 'w') as packed:
        packed.writestr(link, '/etc/passwd')
    with pytest.raises(BadInput, match='is a link or a device'):
        prepare('voc', archive)


def names(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize('kind', ['outside', 'link', 'sparse', 'header', 'torn zip'])
def test_a_refused_archive_changes_nothing(home, tmp_path, kind):
    """Neither what was there, nor what came before the member that is refused."""
    there = home / 'pascal/VOC2011/JPEGImages/1.jpg'
    first, second = (member(f'VOC2011/JPEGImages/{n}.jpg', size=9) for n in (1, 2))
    last = {'outside': member('VOC2011/../../x.jpg'),
            'link': member('VOC2011/JPEGImages/3.jpg', tarfile.SYMTYPE, link='1.jpg'),
            'sparse': member('VOC2011/JPEGImages/3.jpg', size=512),
            'header': member('long', tarfile.REGTYPE, size=2 << 20)}.get(kind)
    if last is not None and kind in ('sparse', 'header'):
        last.type = tarfile.GNUTYPE_SPARSE if kind == 'sparse' else tarfile.GNUTYPE_LONGNAME
    archive = tmp_path / f'downloads/VOC2011.{"zip" if last is None else "tar"}'
    if last is None:
        with zipfile.ZipFile(archive, 'w') as packed:
            for number in (1, 2):
                packed.writestr(f'VOC2011/JPEGImages/{number}.jpg', b'x' * 9)
            packed.writestr('VOC2011/JPEGImages/3.jpg', b'here it is')
        archive.write_bytes(archive.read_bytes().replace(b'here it is', b'here it IS', 1))
    else:
        tar_with(archive, first, second, last)
    for before in ({}, {'pascal/VOC2011/JPEGImages/1.jpg': b'mine'}):
        for path, content in before.items():
            (home / path).parent.mkdir(parents=True)
            (home / path).write_bytes(content)
        with pytest.raises(BadInput, match='VOC2011.* (is refused|cannot be unpacked)') as problem:
            prepare('voc', archive)
        assert '\n' not in str(problem.value) and names(tmp_path / 'data') == before
        assert home.exists() == bool(before) and there.exists() == bool(before)


def test_what_follows_the_end_of_a_tar_file_is_not_read(home, tmp_path):
    with (tmp_path / 'VOC2011.tar').open('wb') as file:
        file.truncate(1 << 40)      # which takes no room on disk; reading it takes minutes
    begin = time.monotonic()
    with pytest.raises(BadInput, match='has nothing of'):
        prepare('voc', tmp_path / 'VOC2011.tar')
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize('suffix', ['tar', 'tar.gz'])
def test_a_tar_file_that_is_cut_anywhere_is_refused(home, tmp_path, suffix):
    archive = tmp_path / f'downloads/VOC2011.{suffix}'
    made = tmp_path / 'made/JPEGImages'
    made.mkdir(parents=True)
    for number in range(3):
        (made / f'{number}.jpg').write_bytes(bytes(700))
    pack(made.parent, archive, 'VOC2011')
    whole = archive.read_bytes()
    with tarfile.open(archive) as packed:
        end = max(info.offset_data + 1024 for info in packed)     # of the last member with content
    cuts = range(1, len(whole) - 8, 13) if suffix == 'tar.gz' else [*range(1, end, 97), *range(512, end + 1, 512)]
    for cut in cuts:
        archive.write_bytes(whole[:cut])
        with pytest.raises(BadInput, match='cannot be unpacked'):
            prepare('voc', archive)
    assert not home.exists()
    archive.write_bytes(whole)
    assert '3 files new' in prepare('voc', archive)


def test_what_a_killed_run_left_is_removed(home, tmp_path):
    write_voc(tmp_path / 'voc')
    archive = pack(tmp_path / 'voc', tmp_path / 'downloads/VOC2011.tar', 'VOCdevkit/VOC2011')
    left = home / f'pascal/VOC2011/{files.SCRATCH}x'
    (left / 'JPEGImages').mkdir(parents=True)
    (left / 'JPEGImages/2007_000001.jpg').write_bytes(b'half')
    assert '9 files new' in prepare('voc', archive)
    assert not left.exists() and check('voc', workers=1)['problems'] == []


def test_nyud_in_the_published_layout(home, tmp_path):
    written = write_nyud(tmp_path / 'nyud')
    pack(tmp_path / 'nyud', tmp_path / 'downloads/nyud.tar.gz', 'nyud')
    assert 'trainval.txt: 2 ids' in prepare('nyud', tmp_path / 'downloads')
    dataset = open_dataset('nyud', 'trainval', tops=('color', 'depth', 'hha', 'label'))
    assert dataset.ids == ['5001', '5002']
    np.testing.assert_array_equal(dataset.image('5001'), written['5001']['color'])
    assert check('nyud', workers=1)['problems'] == []


def test_nyud_as_gupta_et_al_distribute_it(home, tmp_path):
    folder = tmp_path / 'downloads/eccv14-data'
    write_nyud(folder)
    for split in ('train', 'val', 'test'):
        (folder / f'{split}.txt').unlink()
    rng, class_of = np.random.default_rng(0), np.arange(894) % 40 + 1
    raw = {}
    for id, size in (('5001', (40, 56)), ('5002', (48, 40)), ('5003', (36, 36))):
        (folder / f'segmentation/img_{id}.mat').unlink()
        raw[id] = rng.integers(0, 895, size)
        cell = np.empty((1, 1), object)
        cell[0, 0] = {'SegmentationClass': raw[id].astype(np.uint16), 'Boundaries': raw[id] > 4}
        save_mat(folder / f'benchmarkData/groundTruth/img_{id}.mat', groundTruth=cell)
    save_mat(folder / 'benchmarkData/metadata/classMapping40.mat', mapClass=class_of.astype(float)[None])
    save_mat(folder / 'benchmarkData/metadata/nyusplits.mat', train=[[5001]], val=[[5002]], test=[[5003]])
    (folder / 'segmentation').rmdir()
    done = prepare('nyud', tmp_path / 'downloads')
    assert 'wrote 3 label files of the 40 class task' in done and 'trainval.txt: 2 ids' in done
    assert 'wrote 0 label files' in prepare('nyud', tmp_path / 'downloads')
    dataset = open_dataset('nyud', 'trainval')
    for id in dataset.ids:
        # numbers 1 ... 894 -> classes 0 ... 39, 0 -> void
        expected = np.where(raw[id] == 0, 255, class_of[raw[id] - 1] - 1)
        np.testing.assert_array_equal(dataset.load(id)[1][0], expected)


def test_cityscapes_from_its_two_archives(home, tmp_path, capsys):
    written = write_cityscapes(tmp_path / 'city', splits={'train': ['ulm_000000_000019'], 'val': ['bonn_000001_000019'],
                                                           'test': ['berlin_000000_000019']})
    archives = [pack(tmp_path / 'city' / name, tmp_path / f'downloads/{name}_trainvaltest.zip', name)
                for name in ('leftImg8bit', 'gtFine')]
    assert cli.run(main, ['prepare', 'cityscapes', '--from', *map(str, archives)]) == 0
    assert '6 files new, 0 already there' in capsys.readouterr().out
    assert 'instanceIds' not in ' '.join(map(str, home.rglob('*')))
    assert open_dataset('cityscapes', 'test', tops=['data']).load('berlin_000000_000019')[0].shape == (3, 40, 56)
    label = open_dataset('cityscapes', 'val').load('bonn_000001_000019')[1][0]
    np.testing.assert_array_equal(label == 0, written['bonn_000001_000019']['label'] == 7)
    assert check('cityscapes', workers=1)['problems'] == []
    assert '0 files new, 6 already there' in prepare('cityscapes', tmp_path / 'downloads')      # finds both in a folder
    with pytest.raises(BadInput, match='voc.zip has nothing of Cityscapes'):
        write_voc(tmp_path / 'voc')
        prepare('cityscapes', archives[0], pack(tmp_path / 'voc', tmp_path / 'voc.zip', 'VOC2011'))


def test_siftflow_splits_leave_out_what_has_no_annotation(home, tmp_path):
    folder = tmp_path / 'sift'
    ids = ['coast_natu975', 'highway_gre37', 'street_par177', 'highway_bost181', 'street_urb506']
    write_siftflow(folder, ids)
    (folder / 'trainval.txt').unlink()
    (folder / 'test.txt').unlink()
    (folder / f'GeoLabels/{CATEGORIES}/highway_bost181.mat').unlink()
    save_mat(folder / f'SemanticLabels/{CATEGORIES}/street_urb506.mat', S=np.zeros((40, 40)))
    (folder / 'TestSet1.txt').write_text(f'{CATEGORIES}\\coast_natu975.jpg\r\n')
    pack(folder, tmp_path / 'downloads/SiftFlowDataset.zip', 'SiftFlowDataset')
    done = prepare('siftflow', tmp_path / 'downloads')
    assert 'test.txt: 1 ids' in done and 'trainval.txt: 2 ids' in done
    assert open_dataset('siftflow', 'test').ids == ['coast_natu975']
    assert open_dataset('siftflow', 'trainval').ids == ['highway_gre37', 'street_par177']
    assert check('siftflow', workers=1)['problems'] == []


def test_context_from_its_pieces(home, tmp_path):
    written = write_pascalcontext(tmp_path / 'made')
    downloads, context = tmp_path / 'downloads', tmp_path / 'made/pascal-context'
    pack(context / 'trainval', downloads / 'trainval.tar.gz', 'trainval')
    pack(tmp_path / 'made/pascal/VOC2010', downloads / 'VOCtrainval_03-May-2010.tar', 'VOCdevkit/VOC2010')
    for name in ('labels.txt', '59_labels.txt'):
        (context / name).rename(downloads / name)
    prepare('pascalcontext', downloads)
    dataset = open_dataset('pascalcontext', 'train')
    assert len(dataset) == 2
    for id in dataset.ids:
        np.testing.assert_array_equal(dataset.load(id)[1][0], dataset.class_of[written[id]['label']])


def test_downloads_of_several_data_sets_in_one_folder_do_not_mix(home, tmp_path):
    downloads = tmp_path / 'downloads'
    write_voc(downloads / 'VOCdevkit/VOC2011')
    write_sbd(downloads / 'benchmark_RELEASE/dataset')
    write_nyud(downloads / 'x/nyud')
    write_siftflow(downloads / 'x/SiftFlowDataset')
    for name, split in (('voc', 'val'), ('sbd', 'val'), ('nyud', 'test'), ('siftflow', 'test')):
        prepare(name, downloads)
        report = check(name, workers=1)
        assert report['problems'] == [] and report['samples'] == 3, name
        assert split in report['splits']
    assert open_dataset('nyud', 'test').ids == ['5003']


def test_wrong_sources_are_refused(home, tmp_path, capsys):
    (tmp_path / 'downloads/readme.txt').write_text('hello')
    for source, complaint in ((tmp_path / 'downloads', 'has nothing of PASCAL VOC 2011: download VOCtrainval'),
                              (tmp_path / 'downloads/readme.txt', 'readme.txt cannot be unpacked'),
                              (tmp_path / 'nowhere', 'nowhere is missing; --from takes')):
        assert cli.run(main, ['prepare', 'voc', '--from', str(source)]) == 2
        assert complaint in capsys.readouterr().err
    assert cli.run(main, ['prepare', 'imagenet', '--from', str(tmp_path)]) == 2


def test_it_says_where_the_data_come_from_and_on_which_terms(home, tmp_path, capsys):
    write_sbd(tmp_path / 'downloads/dataset')
    assert cli.run(main, ['prepare', 'sbd', '--from', str(tmp_path / 'downloads'), '--to', str(tmp_path / 'here')]) == 0
    out = capsys.readouterr().out
    assert 'benchmark.tgz' in out and 'licence' in out and 'python -m data_layers check sbd' in out
    assert len(open_dataset('sbd', 'train', tmp_path / 'here')) == 3


def test_place_takes_files_right_in_a_wanted_folder():
    wanted = {'a/b': 'x', 'list.txt': 'list.txt'}
    assert str(place(('z', 'a', 'b', 'f.jpg'), wanted)) == 'x/f.jpg'
    assert str(place(('z', 'list.txt'), wanted)) == 'list.txt'
    for other in (('a', 'b'), ('a', 'b', 'c', 'f.jpg'), ('b', 'f.jpg'), ('list.txt', 'f'), ('a', 'b', '._f.jpg')):
        assert place(other, wanted) is None
