"""Caffe's SGD solver: its recipe, its loop, its scores. `solvers.score` needs numpy alone."""
