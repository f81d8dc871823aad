"""FCN-8s (VGG-16, 21 classes, pad 100) in the engines a user would pick instead of Caffe.

    python peers.py forward --engine torch|ort|openvino [--size 500] [--threads 2] [--runs 6]
    python peers.py step    --engine torch
    python peers.py forward|step --engine torch --device cuda [--tf32]

Prints one JSON line: engine, what, size, threads, first, median and minimum seconds, peak resident MB of this process.
It runs in an environment of its own, which `python -m bench` makes, and imports nothing of this project.
One process times one engine, so peak memory is that engine's own.
"""
import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

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


def forward(engine: str, size: int, threads: int, device: str) -> Callable[[], object]:
    """A function that passes an image through the net.

    Parameters
    ----------
    engine : str
        'torch', 'ort' or 'openvino'.
    size : int
        Pixels of a side of the image.
    threads : int
    device : str
        'cpu' or 'cuda', for PyTorch.
    """
    x = np.random.default_rng(0).standard_normal((1, 3, size, size), dtype=np.float32) * 50
    if engine == 'torch':
        import torch
        torch.set_num_threads(threads)
        net, image = build().eval().to(device), torch.from_numpy(x).to(device)

        def run() -> None:
            with torch.inference_mode():
                net(image)
        return run
    path = os.path.join(tempfile.mkdtemp(), 'fcn8s.onnx')
    export(path, size)
    if engine == 'ort':
        import onnxruntime as ort
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        session = ort.InferenceSession(path, options, providers=['CPUExecutionProvider'])
        return lambda: session.run(None, {'data': x})
    import openvino as ov
    model = ov.Core().compile_model(path, 'CPU', {'INFERENCE_NUM_THREADS': threads,
                                                 'INFERENCE_PRECISION_HINT': 'f32'})
    return lambda: model([x])


def step(size: int, threads: int, device: str) -> Callable[[], object]:
    """A function that takes a training step in PyTorch; the arguments as for `forward`."""
    import torch
    from torch.nn import functional as F
    torch.set_num_threads(threads)
    net, image = build().to(device), torch.randn(1, 3, size, size, device=device) * 50
    label = torch.full((1, size, size), 3, device=device)
    sgd = torch.optim.SGD(net.parameters(), lr=1e-14, momentum=0.99, weight_decay=5e-4)

    def run() -> None:
        sgd.zero_grad()
        F.cross_entropy(net(image), label, reduction='sum').backward()
        sgd.step()
    return run


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
    parser.add_argument('what', choices=('forward', 'step'))
    parser.add_argument('--engine', choices=('torch', 'ort', 'openvino'), default='torch')
    parser.add_argument('--size', type=int, default=500)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--runs', type=int, default=6)
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--tf32', action='store_true')
    args = parser.parse_args()
    finish, used_mb = card(args.tf32) if args.device == 'cuda' else (lambda: None, lambda: 0)
    if args.what == 'forward':
        run = forward(args.engine, args.size, args.threads, args.device)
    else:
        run = step(args.size, args.threads, args.device)
    seconds = []
    for _ in range(1 + args.runs):
        begin = time.perf_counter()
        run()
        finish()
        seconds.append(time.perf_counter() - begin)
    first, *seconds = seconds
    print(json.dumps({'engine': args.engine, 'what': args.what, 'size': args.size, 'threads': args.threads,
                      'first_s': round(first, 6), 'median_s': round(statistics.median(seconds), 6),
                      'min_s': round(min(seconds), 6),
                      'peak_mb': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                      'card_mb': used_mb()}))


if __name__ == '__main__':
    main()
