"""Train FCN-8s on SIFT Flow from FCN-16s.   python solve.py --help"""
from nets import siftflow
from nets.siftflow_fcn8s.net import fcn
from solvers.solve import Training

training = Training('siftflow-fcn8s', fcn, siftflow.recipe(1e-12), ('siftflow-fcn16s',), phases=siftflow.PHASES)
training.main(__name__)
