"""Caffe's solvers: a recipe, the loop, its scores. `solvers.score` needs numpy alone."""
