"""VGG and AlexNet state dicts, as torchvision names them, as Caffe nets."""
from .classifiers import build, read_pth, read_safetensors, read_state

__all__ = ['build', 'read_pth', 'read_safetensors', 'read_state']
