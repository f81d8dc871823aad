"""Train FCN-GoogLeNet on SBD from the GoogLeNet classifier, at the rate of the other nets.   python solve.py --help"""
from nets import voc
from nets.voc_fcn_googlenet.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name

training = Training(net_name(__file__), fcn, voc.recipe(base_lr=1e-10), init=('googlenet',))

if __name__ == '__main__':
    main(training)
