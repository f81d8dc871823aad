"""`python -m nets new` writes all of a net or nothing, and over nothing."""
import pytest

pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

from cli import BadInput  # noqa: E402
from data_layers import open_dataset  # noqa: E402
from data_layers.own.folder import Card  # noqa: E402
from tests.helpers import own  # noqa: E402
from tests.helpers.own_nets import write  # noqa: E402

pytestmark = pytest.mark.caffe


def contents(*folders):
    return {path: path.read_bytes() for folder in folders for path in folder.rglob('*') if path.is_file()}


def test_an_edited_net_of_another_trunk_is_not_overwritten(checkout, tmp_path):
    own.write(tmp_path / 'photos')
    edited = checkout / 'mine_fcn_alexnet/net.py'
    edited.parent.mkdir()
    edited.write_text('mine')
    with pytest.raises(BadInput, match='is taken; take another, or remove .*mine_fcn_alexnet'):
        write('mine', tmp_path / 'photos', checkout, '--trunk', 'alexnet')
    assert edited.read_text() == 'mine' and [path.name for path in checkout.iterdir()] == ['mine_fcn_alexnet']


def test_a_link_to_nowhere_is_taken_too(checkout, tmp_path):
    own.write(tmp_path / 'photos')
    (checkout / 'mine.py').symlink_to(tmp_path / 'nowhere')
    with pytest.raises(BadInput, match='is taken'):
        write('mine', tmp_path / 'photos', checkout)
    assert not (tmp_path / 'nowhere').exists()


@pytest.mark.parametrize('exists', [False, True])
def test_what_fails_in_the_end_leaves_nothing(checkout, tmp_path, monkeypatch, exists):
    """The disk is full when dataset.json is written, the last file of all."""
    photos = tmp_path / 'data/mine' if exists else tmp_path / 'photos'
    own.write(photos)
    before = contents(photos)

    def full(card, path):
        raise BadInput(f'{path}: cannot write: No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(Card, 'write', full)
        with pytest.raises(BadInput, match='No space left'):
            write('mine', photos, checkout)
    assert not list(checkout.iterdir()) and contents(photos) == before
    assert (tmp_path / 'data').exists() == exists
    write('mine', photos, checkout)
    assert len(open_dataset('mine', 'train')) == 4


@pytest.mark.parametrize('name', ['a\tb', 'a\nb', 'a\u2028b', 'a\\b', 'a\udcff', ' a', 'a\x1cb'])
def test_names_that_a_list_cannot_hold_are_refused(checkout, tmp_path, name):
    own.write(tmp_path / 'photos')
    for folder, suffix in (('images', '.jpg'), ('masks', '.png')):
        (tmp_path / f'photos/{folder}/photo0{suffix}').rename(tmp_path / f'photos/{folder}/{name}{suffix}')
    with pytest.raises(BadInput, match='whose name has a tab, a line break, a backslash') as problem:
        write('mine', tmp_path / 'photos', checkout)
    assert len(str(problem.value).splitlines()) == 1 and str(problem.value).isprintable()
    assert not list(checkout.iterdir()) and not (tmp_path / 'data').exists()
