"""Train FCN-16s with late fusion on NYUDv2 from its 32s.   python solve.py --help"""
from nets import nyud
from nets.nyud_fcn16s_color_hha.net import fcn
from solvers.solve import main
from solvers.training import Training, net_name

training = Training(net_name(__file__), fcn, nyud.recipe(1e-14), ('nyud-fcn32s-color-hha',), phases=nyud.PHASES)

if __name__ == '__main__':
    main(training)
