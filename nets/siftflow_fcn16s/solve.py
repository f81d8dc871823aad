"""Train FCN-16s on SIFT Flow from FCN-32s.   python solve.py --help"""
from nets import siftflow
from nets.siftflow_fcn16s.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name

training = Training(net_name(__file__), fcn, siftflow.recipe(1e-12), ('siftflow-fcn32s',), phases=siftflow.PHASES)

if __name__ == '__main__':
    main(training)
