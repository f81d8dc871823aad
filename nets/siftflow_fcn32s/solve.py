"""Train FCN-32s on SIFT Flow from the VGG-16 classifier.   python solve.py --help"""
from nets import siftflow
from nets.siftflow_fcn32s.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name

training = Training(net_name(__file__), fcn, siftflow.recipe(1e-10), init=('vgg16',), phases=siftflow.PHASES)

if __name__ == '__main__':
    main(training)
