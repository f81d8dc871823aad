"""Trainings as data: what the `solve.py` of a folder states, read by name; folders of prototxts read back."""
import shutil

import pytest

pytest.importorskip('caffe', reason='pycaffe is not built: make setup')

import nets  # noqa: E402
from cli import BadInput  # noqa: E402
from data_layers import param_str  # noqa: E402
from nets import cityscapes, nyud, pascalcontext, siftflow, voc  # noqa: E402
from nets import data as interface  # noqa: E402
from nets.edits import weigh  # noqa: E402
from solvers import training  # noqa: E402
from solvers.folder import read_training  # noqa: E402
from solvers.prototxts import check_net, read_net  # noqa: E402
from solvers.source import data_layer, facts, read_from  # noqa: E402
from tests import NETS  # noqa: E402

pytestmark = pytest.mark.caffe


@pytest.mark.parametrize('name', NETS)
def test_a_net_is_named_after_its_folder_and_trains_its_own_net(name):
    found = nets.load(name)
    assert found.net == name and found.fcn.__module__ == f'nets.{name.replace("-", "_")}.net'
    assert f'python -m nets summary {name}' in (nets.FOLDER / name.replace('-', '_') / 'net.py').read_text()


def copy(tmp_path, text=lambda text: text):
    """The folder of FCN-32s under another name, its solve.py changed."""
    folder = tmp_path / 'nets/mine_fcn32s'
    shutil.copytree(nets.FOLDER / 'voc_fcn32s', folder)
    program = folder / 'solve.py'
    program.write_text(text(program.read_text()))
    return tmp_path / 'nets'


def test_a_copied_folder_that_still_trains_the_other_net_is_refused(tmp_path):
    with pytest.raises(BadInput, match='mine_fcn32s/solve.py trains voc-fcn32s, not the net of its own folder'):
        training.load('mine-fcn32s', copy(tmp_path))


def test_a_name_typed_by_hand_must_be_that_of_the_folder(tmp_path):
    folder = copy(tmp_path, lambda text: text.replace('net_name(__file__)', "'voc-fcn32s'"))
    with pytest.raises(BadInput, match='trains voc-fcn32s, not the net of its own folder'):
        training.load('mine-fcn32s', folder)


def test_a_program_with_imports_of_another_version_is_one_line(tmp_path):
    folder = copy(tmp_path, lambda text: text.replace('from solvers.training', 'from solvers.solve'))
    with pytest.raises(BadInput, match='mine_fcn32s/solve.py cannot be loaded .*net_name') as caught:
        training.load('mine-fcn32s', folder)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('module', [voc, nyud, siftflow, pascalcontext, cityscapes])
def test_every_data_module_offers_the_same(module):
    wanted = [name for name in vars(interface.Data) if not name.startswith('_')] + list(interface.Data.__annotations__)
    assert {'feed', 'recipe', 'NUM_CLASSES', 'PHASES'} == set(wanted) and all(hasattr(module, name) for name in wanted)
    assert module.recipe(1e-3, momentum=0.5).momentum == 0.5
    trained, scored = module.PHASES
    options = {} if module is not nyud else {'data': 'color'}
    for split in (trained, scored):
        stated = facts(module.feed(split, **options).to_proto())
        assert stated['split'] in (split, 'seg11valid')
    assert data_layer(module.feed('deploy', **options).to_proto()) is None


def test_a_net_with_class_weights_is_redirected():
    """Its other Python layer keeps its own parameters."""
    net = weigh(voc_net(), [1.0] * 21)
    moved = read_from(net, split='val', root='/elsewhere')
    assert facts(moved) == facts(net) | {'split': 'val', 'root': '/elsewhere'}
    weighted = [layer for layer in moved.layer if layer.python_param.layer == 'ClassWeights']
    assert len(param_str.parse_weights(weighted[0].python_param.param_str, 21)) == 21
    assert facts(net)['split'] == 'train'        # the original stays


def voc_net():
    return nets.load('voc-fcn32s').fcn('train')


def test_a_folder_of_prototxts_is_a_training(tmp_path):
    published = nets.load('voc-fcn-alexnet')
    published.emit(tmp_path / 'net')
    found = read_training(tmp_path / 'net')
    assert found.net == 'net' and found.phases == ('train', 'val')
    theirs = published.recipe.facts() | {'score_every': found.recipe.snapshot}      # which a solver file does not say
    assert {name: found.recipe.facts()[name] for name in theirs if name != 'max_iter'} == {
        name: value for name, value in theirs.items() if name != 'max_iter'}
    assert not found.recipe.notes
    for stem, message in published.prototxts().items():
        assert found.prototxts()[stem] == message


@pytest.mark.parametrize(('old', 'new', 'complaint'), [
    ('lr_policy: "fixed"', 'lr_policy: "step"', 'lr_policy "step" needs gamma and stepsize'),
    ('max_iter: 100000', 'max_iter: 0', 'max_iter is 0'), ('train_net', 'type: "Adamant" train_net', 'Adamant'),
    ('base_lr', 'base_lrr', 'not a prototxt')])
def test_solvers_that_caffe_would_end_on_are_refused(old, new, complaint, tmp_path):
    nets.load('voc-fcn32s').emit(tmp_path)
    path = tmp_path / 'solver.prototxt'
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(BadInput, match=f'solver.prototxt.*{complaint}'):
        read_training(tmp_path)


@pytest.mark.parametrize('name', NETS)
def test_nets_of_the_project_pass_the_checks_of_a_folder(name, tmp_path):
    found = nets.load(name)
    found.emit(tmp_path)
    for split in (*found.phases, 'deploy'):
        check_net(read_net(tmp_path, split), split)


@pytest.mark.parametrize(('old', 'new', 'complaint'), [
    ('type: "SoftmaxWithLoss"', 'type: "HDF5Output" hdf5_output_param { file_name: "%s" }', 'HDF5Output.*not let in'),
    ('type: "Crop"', 'type: "Nonsense"', 'Nonsense'),
    ('layer: "SegmentationData"', 'layer: "Popen"', 'Popen'),
    ('module: "data_layers.layers"', 'module: "data_layers.layers.os"', 'data_layers.layers.os'),
    ('num_output: 21', 'num_output: 0', 'score_fr'),
    ('bottom: "score_fr"', 'bottom: "nothing"', 'nothing'),
    ('stride: 32', 'stride: 0', 'upscore'),
    ('offset: 19', 'offset: 190000', 'score'),
    ('bottom: "label"', 'bottom: "data"', 'loss'),
    ('ignore_label: 255', 'ignore_label: 3', 'loss.*ignore_label: 255'),
    ('loss_param {', 'softmax_param { axis: 2 } loss_param {', 'loss.*axis: 1'),
    ('kernel_size: 7', 'kernel_size: 7000', 'fc6'),
    ('num_output: 4096', 'num_output: 2000000000', 'fc6'),
])
def test_a_net_that_would_end_the_process_or_write_files_is_refused(old, new, complaint, tmp_path):
    precious = tmp_path / 'precious'
    precious.write_text('mine')
    nets.load('voc-fcn32s').emit(tmp_path)
    path = tmp_path / 'val.prototxt'
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new.replace('%s', str(precious)), 1))
    with pytest.raises(BadInput, match=complaint) as caught:
        check_net(read_net(tmp_path, 'val'), str(path))
    assert str(path) in str(caught.value) and precious.read_text() == 'mine'
