"""Classifiers' state dicts, as torchvision and others name them, as Caffe nets."""
from ..safetensors import read_safetensors
from .classifiers import build_classifier
from .pth import read_pth
from .reading import State, read_state

__all__ = ['State', 'build_classifier', 'read_pth', 'read_safetensors', 'read_state']
