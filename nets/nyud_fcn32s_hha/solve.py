"""Train FCN-32s on the HHA images of NYUDv2 from the VGG-16 classifier.   python solve.py --help"""
from nets import nyud
from nets.nyud_fcn32s_hha.net import fcn
from solvers.solve import Training

training = Training('nyud-fcn32s-hha', fcn, nyud.recipe(1e-10), init=('vgg16',), phases=nyud.PHASES)
training.main(__name__)
