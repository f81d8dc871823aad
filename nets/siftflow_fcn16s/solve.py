"""Train FCN-16s on SIFT Flow from FCN-32s.   python solve.py --help"""
from nets import siftflow
from nets.siftflow_fcn16s.net import fcn
from solvers.solve import Training

training = Training('siftflow-fcn16s', fcn, siftflow.recipe(1e-12), ('siftflow-fcn32s',), phases=siftflow.PHASES)
training.main(__name__)
