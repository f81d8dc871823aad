"""Train FCN-32s on SBD from the VGG-16 classifier.   python solve.py --help"""
from nets import voc
from nets.voc_fcn32s.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name

training = Training(net_name(__file__), fcn, voc.recipe(base_lr=1e-10), init=('vgg16',))

if __name__ == '__main__':
    main(training)
