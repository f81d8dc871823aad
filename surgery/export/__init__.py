"""Caffe nets for other engines."""
