"""Train FCN-32s on SIFT Flow from the VGG-16 classifier.   python solve.py --help"""
from nets import siftflow
from nets.siftflow_fcn32s.net import fcn
from solvers.solve import Training

training = Training('siftflow-fcn32s', fcn, siftflow.recipe(1e-10), init=('vgg16',), phases=siftflow.PHASES)
training.main(__name__)
