"""Numbers of the papers (CVPR 2015 and PAMI 2017) and of the weights released with them, to stand beside ours."""

PAPER, RELEASED = 'paper', 'released weights'
SPLITS = {'voc': 'seg11valid', 'nyud': 'test', 'siftflow': 'test', 'pascalcontext': 'val'}   # what they were scored on

Row = tuple[float | None, float | None, float | None, float | None]

# Net -> label blob -> where the row is from -> percent, in the order of solvers.metrics.METRICS; None is not published.
SCORES: dict[str, dict[str, dict[str, Row]]] = {
    'voc-fcn32s-fixed': {'label': {PAPER: (83.0, 59.7, 45.4, 72.0)}},
    'voc-fcn32s': {'label': {PAPER: (89.1, 73.3, 59.4, 81.4), RELEASED: (90.5, 76.5, 63.6, 83.5)}},
    'voc-fcn16s': {'label': {PAPER: (90.0, 75.7, 62.4, 83.0), RELEASED: (91.0, 78.1, 65.0, 84.3)}},
    'voc-fcn8s': {'label': {PAPER: (90.3, 75.9, 62.7, 83.2), RELEASED: (91.2, 77.6, 65.5, 84.5)}},
    'voc-fcn8s-atonce': {'label': {RELEASED: (91.1, 78.5, 65.4, 84.4)}},
    'voc-fcn-alexnet': {'label': {RELEASED: (None, None, 48.0, None)}},
    'voc-fcn-googlenet': {'label': {PAPER: (None, None, 42.5, None)}},
    'nyud-fcn32s-color': {'label': {PAPER: (60.0, 42.2, 29.2, 43.9)}},
    'nyud-fcn32s-color-d': {'label': {PAPER: (61.5, 42.4, 30.5, 45.5)}},
    'nyud-fcn32s-hha': {'label': {PAPER: (57.1, 35.2, 24.2, 40.4)}},
    'nyud-fcn32s-color-hha': {'label': {PAPER: (64.3, 44.9, 32.8, 48.0)}},
    'nyud-fcn16s-color-hha': {'label': {PAPER: (65.4, 46.1, 34.0, 49.5)}},
    'siftflow-fcn16s': {'sem': {PAPER: (85.2, 51.7, 39.5, 76.1)}, 'geo': {PAPER: (94.3, None, None, None)}},
    'pascalcontext-fcn32s': {'label': {PAPER: (63.8, 42.7, 31.8, 48.3)}},
    'pascalcontext-fcn16s': {'label': {PAPER: (65.7, 46.2, 34.8, 50.7)}},
    'pascalcontext-fcn8s': {'label': {PAPER: (65.9, 46.5, 35.1, 51.0)}},
}

# Mean IU, in percent, of VOC labels brought down by a factor and up again (CVPR 2015, Appendix A).
UPPER_BOUND = {'voc': {128: 50.9, 64: 73.3, 32: 86.1, 16: 92.8, 8: 96.4, 4: 98.5}}

# In the order of solvers.metrics.METRICS, remembered and not confirmed from a source: shown with a question mark.
ONE_LAYER: dict[str, Row] = {'pool5 only': (87.4, 60.5, 50.0, 78.5), 'pool4 only': (78.7, 31.7, 22.4, 67.0),
                             'pool3 only': (70.9, 13.7, 9.2, 57.6)}
OPTIMISATION: dict[str, Row] = {'20 images a step, momentum 0.9': (86.0, 66.5, 51.9, 76.5),
                                'one image, momentum 0.9': (89.3, 76.2, 60.7, 81.8),
                                'one image, momentum 0.99': (90.5, 76.5, 63.6, 83.5)}

# IU of classes of VOC 2012 test, FCN-8s, in percent; remembered. The mean over all 21 is 62.2.
CLASS_IU = {'cat': 77.6, 'cow': 62.5, 'dog': 71.8, 'horse': 63.9, 'person': 73.9, 'sheep': 72.4}

# FCN-scores (pix2pix, CVPR 2017, labels -> photograph): per-pixel accuracy, per-class accuracy, class IU; remembered.
FCN_SCORE = {'real photographs': (0.80, 0.26, 0.21), 'L1+cGAN of pix2pix': (0.66, 0.23, 0.17)}

# CVPR 2015, Table 1: mean IU on VOC 2011 val, forward time in ms for 500x500 on a Tesla K40c, millions of parameters.
CLASSIFIERS = {'voc-fcn-alexnet': (39.8, 50, 57), 'voc-fcn32s': (56.0, 210, 134), 'voc-fcn-googlenet': (42.5, 59, 6)}
WITH_SBD = {'voc-fcn-alexnet': 48.0, 'voc-fcn32s': 59.4}        # the same, trained on SBD too

# CVPR 2015, section 4.1, AlexNet on a K40c: ms for one 227x227 crop, and for the 10x10 grid of a 500x500 image at once.
EFFICIENCY = {'crop': 1.2, 'grid': 22, 'positions': 100}


def in_percent(row: Row, confirmed: bool = True) -> str:
    """A row as text.

    >>> in_percent((39.8, None, 50.0, 1.0), confirmed=False)
    '39.8? / - / 50.0? / 1.0?'
    """
    return ' / '.join('-' if value is None else f'{value:.1f}{"" if confirmed else "?"}' for value in row)
