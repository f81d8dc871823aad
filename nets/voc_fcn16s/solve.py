"""Train FCN-16s on SBD from FCN-32s.   python solve.py --help"""
from nets import voc
from nets.voc_fcn16s.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name

training = Training(net_name(__file__), fcn, voc.recipe(base_lr=1e-12), init=('voc-fcn32s',))

if __name__ == '__main__':
    main(training)
