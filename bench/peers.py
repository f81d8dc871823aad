"""A net in the engines a user would pick instead of Caffe: FCN-8s (VGG-16, 21 classes, pad 100), or one of the basket.

    python -m bench.peers forward    --engine torch|ort|openvino [--net DIR] [--size 500] [--threads 2] [--runs 6]
    python -m bench.peers step|check --engine torch
    python -m bench.peers forward|step --engine torch --device cuda [--tf32]

Prints one JSON line: engine, what, size, threads, first, median and minimum seconds, peak resident MB of this process.
It runs in an environment of its own, which `python -m bench` makes, and imports nothing of this project but
`bench.passes`, which imports nothing. One process times one engine, so peak memory is that engine's own.

`check` takes one step without dropout and gives its loss and the length of the first convolution's gradient.

Each engine gets what a user who cares for speed would give it: float32, the number of threads, and the size of the
image, which it may compile for. The exported torch module is written as a PyTorch user would: BatchNorm with its own
factors instead of a module for them, and ReLU in place.
"""
import argparse
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.passes import peak_mb, timed

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


def build(classes: int = 21) -> Any:
    """The net as a PyTorch module, with random weights."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class FCN8s(nn.Module):     # type: ignore[misc]    # PyTorch is not where types are checked
        """N x 3 x H x W images to N x classes x H x W scores."""

        def __init__(self) -> None:
            super().__init__()
            self.stages, channels = nn.ModuleList(), 3
            for s, (width, depth) in enumerate(STAGES):
                layers: list[Any] = []
                for i in range(depth):
                    pad = 100 if s == 0 and i == 0 else 1
                    layers += [nn.Conv2d(channels, width, 3, padding=pad), nn.ReLU(inplace=True)]
                    channels = width
                self.stages.append(nn.Sequential(*layers, nn.MaxPool2d(2, 2, ceil_mode=True)))
            self.fc6, self.fc7 = nn.Conv2d(512, 4096, 7), nn.Conv2d(4096, 4096, 1)
            self.score_fr = nn.Conv2d(4096, classes, 1)
            self.score_pool4, self.score_pool3 = nn.Conv2d(512, classes, 1), nn.Conv2d(256, classes, 1)
            self.up2, self.up_pool4 = (nn.ConvTranspose2d(classes, classes, 4, 2, bias=False) for _ in range(2))
            self.up8 = nn.ConvTranspose2d(classes, classes, 16, 8, bias=False)

        def forward(self, x: Any) -> Any:
            h, pools = x, []
            for stage in self.stages:
                h = stage(h)
                pools.append(h)
            h = self.up2(self.score_fr(F.relu(self.fc7(F.relu(self.fc6(h))))))
            skip = self.score_pool4(pools[3])[:, :, 5:5 + h.shape[2], 5:5 + h.shape[3]]
            h = self.up_pool4(h + skip)
            skip = self.score_pool3(pools[2])[:, :, 9:9 + h.shape[2], 9:9 + h.shape[3]]
            h = self.up8(h + skip)
            return h[:, :, 31:31 + x.shape[2], 31:31 + x.shape[3]]

    torch.manual_seed(0)
    return FCN8s()


def export(path: str, size: int) -> None:
    """Write the net as ONNX, for images of `size` pixels a side, in a child process: its memory does not count here."""
    pid = os.fork()
    if pid == 0:
        import torch
        torch.onnx.export(build().eval(), torch.zeros(1, 3, size, size), path, dynamo=False,
                          input_names=['data'], output_names=['score'])
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        raise SystemExit('ONNX export failed')


def exported(folder: str) -> Any:
    """The torch module that `surgery export` has written into a folder, as a PyTorch user would write it.

    A Scale after BatchNorm becomes BatchNorm's own factors and summands, ReLU works in place as the layers of the net
    do, and the kernels of upsampling stay as they are.
    """
    from torch import nn
    spec = importlib.util.spec_from_file_location('net', Path(folder, 'net.py'))
    assert spec and spec.loader
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    net = page.load()
    named = list(net.named_children())
    for (_, norm), (name, scale) in zip(named, named[1:], strict=False):    # in the order in which they are called
        if isinstance(norm, nn.BatchNorm2d) and type(scale).__name__ == 'Scale' and scale.bias is not None:
            norm.affine, norm.weight, norm.bias = True, scale.weight, scale.bias
            setattr(net, name, nn.Identity())
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
        if isinstance(module, nn.ConvTranspose2d):
            module.requires_grad_(False)
    return net


def forward(args: argparse.Namespace) -> Callable[[], np.ndarray]:
    """A function that passes an image through the net, and gives its scores."""
    engine, size, threads = args.engine, args.size, args.threads
    x = image(args)
    if engine == 'torch':
        import torch
        torch.set_num_threads(threads)
        net = (exported(f'{args.net}/torch') if args.net else build()).eval().to(args.device)
        on_device = torch.from_numpy(x).to(args.device)

        def run() -> Any:
            with torch.inference_mode():
                return net(on_device)
        return run
    path = f'{args.net}/model.onnx'
    if not args.net:
        path = os.path.join(tempfile.mkdtemp(), 'fcn8s.onnx')
        export(path, size)
    if engine == 'ort':
        import onnxruntime as ort
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        for name, value in (('batch', 1), ('height', size), ('width', size)):
            options.add_free_dimension_override_by_name(name, value)
        session = ort.InferenceSession(path, options, providers=['CPUExecutionProvider'])
        return lambda: session.run(None, {'data': x})[0]
    import openvino as ov
    core = ov.Core()
    read = core.read_model(path)
    read.reshape([1, 3, size, size])
    model = core.compile_model(read, 'CPU', {'INFERENCE_NUM_THREADS': threads, 'PERFORMANCE_HINT': 'LATENCY',
                                             'INFERENCE_PRECISION_HINT': 'f32'})
    return lambda: model([x])[0]


def image(args: argparse.Namespace) -> np.ndarray:
    """The basket's image or a corner of it, else a random one: 1 x 3 x `args.size` x `args.size`."""
    if args.net:
        return np.ascontiguousarray(np.load(f'{args.net}/image.npy')[..., :args.size, :args.size])
    return np.random.default_rng(0).standard_normal((1, 3, args.size, args.size), dtype=np.float32) * 50


def step(args: argparse.Namespace) -> tuple[Any, Callable[[], Any]]:
    """The net, and a function that takes a training step in PyTorch and gives the loss."""
    import torch
    from torch.nn import functional as F
    torch.set_num_threads(args.threads)
    net = exported(f'{args.net}/torch').train() if args.net else build()
    net, x = net.to(args.device), torch.from_numpy(image(args)).to(args.device)
    label = torch.full((1, args.size, args.size), 3, device=args.device)
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    sgd = torch.optim.SGD(learned, lr=1e-14, momentum=0.99, weight_decay=5e-4)

    def run() -> Any:
        sgd.zero_grad()
        loss = F.cross_entropy(net(x), label, reduction='sum')
        loss.backward()
        sgd.step()
        return loss.detach()
    return net, run


def checked(net: Any, run: Callable[[], Any]) -> dict[str, float]:
    """The loss of a step without dropout, and the length of the gradient of the first convolution."""
    from torch import nn
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    loss = float(run())
    first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    return {'loss': loss, 'gradient': float(first.weight.grad.norm())}


def card(tf32: bool) -> tuple[Callable[[], object], Callable[[], int]]:
    """Set PyTorch up for a card; returns what waits for it, and what tells how many megabytes of it are in use."""
    import torch
    if not torch.cuda.is_available():
        raise SystemExit(f'PyTorch {torch.__version__} finds no card')
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.deterministic = True   # as ours is

    def used_mb() -> int:
        free, total = torch.cuda.mem_get_info()
        return int(total - free) >> 20
    return torch.cuda.synchronize, used_mb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=('forward', 'step', 'check'))
    parser.add_argument('--engine', choices=('torch', 'ort', 'openvino'), default='torch')
    parser.add_argument('--net', metavar='DIR', help='a folder of the basket (default: FCN-8s)')
    parser.add_argument('--size', type=int, default=500)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--runs', type=int, default=6)
    parser.add_argument('--seconds', type=float, default=float('inf'), help='after which no other pass begins')
    parser.add_argument('--scores', metavar='FILE', help='where the net\'s scores go')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--tf32', action='store_true')
    args = parser.parse_args()
    finish, used_mb = card(args.tf32) if args.device == 'cuda' else (lambda: None, lambda: 0)
    net, run = (None, forward(args)) if args.what == 'forward' else step(args)
    found = checked(net, run) if args.what == 'check' else timed(run, finish, args.runs, args.seconds)
    peak = peak_mb()
    if args.scores:
        np.save(args.scores, np.asarray(run()), allow_pickle=False)
    print(json.dumps({'engine': args.engine, 'what': args.what, 'size': args.size, 'threads': args.threads, **found,
                      'peak_mb': peak, 'card_mb': used_mb()}))


if __name__ == '__main__':
    main()
