"""VGG and AlexNet state dicts, as torchvision names them, as Caffe nets."""
from .classifiers import build_classifier
from .reading import State, read_pth, read_safetensors, read_state

__all__ = ['State', 'build_classifier', 'read_pth', 'read_safetensors', 'read_state']
