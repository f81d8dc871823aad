"""Why a net does not learn: `python -m solvers doctor RUN_OR_NET`.

`subject` finds what is examined; `samples` reads labels and photographs, `start` brings the weights together that
training begins from, and `trial` runs Caffe's solver on one image, in a process of its own. What they measured becomes
findings in pure functions: `labels`, `pictures`, `layers`, `signals`, `schedule`, `rate`, `history`. `examination`
puts all in a row, and `finding` says which of several wrong things is the cause of the others.
"""
