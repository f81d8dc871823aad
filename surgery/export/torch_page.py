"""What a page that defines a torch module holds besides the net: text that is the same for all nets."""

HEAD = '''\
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
'''

HELPERS = {
    'Pool': '''\
class Pool(nn.Module):
    """Caffe's pooling: windows are counted up, cut at the edge, and an average is over what is left of them."""

    def __init__(self, kernel, stride, pad, average, floor):
        super().__init__()
        self.window, self.padded = list(zip(kernel, stride, pad)), any(pad)
        self.average, self.floor = average, floor

    def forward(self, x):
        kernel, stride, margins, counts = [], [], [], []
        for n, (k, s, p) in zip(x.shape[2:], self.window):
            steps = n + 2 * p - k
            count = (steps // s if self.floor else -(-steps // s)) + 1
            count -= self.padded and (count - 1) * s >= n + p
            kernel.append(k)
            stride.append(s)
            margins = [p, (count - 1) * s + k - n - p, *margins]
            starts = torch.arange(count, device=x.device) * s - p
            counts.append((starts + k).clamp(max=n + p) - starts)
        if not self.average:
            return F.max_pool2d(F.pad(x, margins, value=torch.finfo(x.dtype).min), kernel, stride)
        total = F.avg_pool2d(F.pad(x, margins), kernel, stride, divisor_override=1)
        return total / (counts[0][:, None] * counts[1])
''',
    'Scale': '''\
class Scale(nn.Module):
    """A factor, and a summand, for each channel: for some axes of a tensor, with `trailing` ones after them."""

    def __init__(self, shape, trailing, bias=False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape)) if bias else None
        self.view = (*shape, *[1] * trailing)

    def forward(self, x):
        x = x * self.weight.view(self.view)
        return x if self.bias is None else x + self.bias.view(self.view)
''',
    'Bias': '''\
class Bias(nn.Module):
    """A summand for each channel: for some axes of a tensor, with `trailing` ones after them."""

    def __init__(self, shape, trailing):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))
        self.view = (*shape, *[1] * trailing)

    def forward(self, x):
        return x + self.bias.view(self.view)
''',
    'argmax': '''\
def argmax(x, axis, count):
    """The largest numbers along an axis, and where they are; of equal ones the later is first, as in Caffe."""
    values, places = x.flip(axis).sort(dim=axis, descending=True, stable=True)
    places = x.shape[axis] - 1 - places
    return values.narrow(axis, 0, count), places.narrow(axis, 0, count).to(x.dtype)
''',
}

LOADING = '''\
def load(path=Path(__file__).with_name('weights.safetensors')):
    """The net with its weights, ready to compute: without dropout."""
    net = Net()
    net.load_state_dict(read_tensors(path))
    return net.eval()


def read_tensors(path):
    """Name -> tensor of a .safetensors file: the header's length in 8 bytes, the header as JSON, the numbers."""
    try:
        from safetensors.torch import load_file
        return load_file(path)
    except ImportError:
        data = Path(path).read_bytes()
    start = 8 + int.from_bytes(data[:8], 'little')
    tensors = {}
    for name, facts in json.loads(data[8:start]).items():
        if name != '__metadata__':
            begin, end = facts['data_offsets']
            dtype = {'F32': torch.float32, 'I64': torch.int64}[facts['dtype']]
            tensors[name] = torch.frombuffer(bytearray(data[start + begin:start + end]),
                                             dtype=dtype).reshape(facts['shape'])
    return tensors
'''

PREPARING = '''\
def prepare(rgb):
    """A photograph, H x W x 3 of red, green and blue from 0 to 255, as the net takes it."""
    pixels = torch.as_tensor(rgb).flip(-1).float()          # blue, green, red
    %s
    blob = pixels.permute(2, 0, 1)[None] * SCALE
    return F.pad(blob, (0, -blob.shape[3] %% MULTIPLE, 0, -blob.shape[2] %% MULTIPLE))
'''
CHANNELS = {
    'bgr': 'pixels = pixels - torch.tensor(MEAN)',
    'rgb': 'pixels = (pixels - torch.tensor(MEAN)).flip(-1)',
    'grey': 'pixels = (pixels @ torch.tensor(GREY))[..., None] - sum(MEAN) / len(MEAN)',
}
