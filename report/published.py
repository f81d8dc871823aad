"""Numbers of the papers (CVPR 2015 and PAMI 2017) and of the weights released with them, to stand beside ours."""

PAPER, RELEASED = 'paper', 'released weights'
SPLITS = {'voc': 'seg11valid', 'nyud': 'test', 'siftflow': 'test', 'pascalcontext': 'val'}   # what they were scored on

Row = tuple[float | None, float | None, float | None, float | None]

# Net -> label blob -> where the row is from -> percent, in the order of solvers.score.METRICS; None is not published.
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
