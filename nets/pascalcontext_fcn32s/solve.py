"""Train FCN-32s on PASCAL-Context from the VGG-16 classifier.   python solve.py --help"""
from nets import pascalcontext
from nets.pascalcontext_fcn32s.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name

training = Training(net_name(__file__), fcn, pascalcontext.recipe(1e-10), init=('vgg16',))

if __name__ == '__main__':
    main(training)
