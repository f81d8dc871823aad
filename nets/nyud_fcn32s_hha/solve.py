"""Train FCN-32s on the HHA images of NYUDv2 from the VGG-16 classifier.   python solve.py --help"""
from nets import nyud
from nets.nyud_fcn32s_hha.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name

training = Training(net_name(__file__), fcn, nyud.recipe(1e-10), init=('vgg16',), phases=nyud.PHASES)

if __name__ == '__main__':
    main(training)
