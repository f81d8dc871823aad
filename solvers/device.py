"""Choosing the processor Caffe computes on."""
import subprocess
import sys

import cli

# In a child process, since Caffe aborts on a card that does not answer and on any card in a build without CUDA.
PROBE = 'import caffe, sys; caffe.set_device(int(sys.argv[1])); caffe.set_mode_gpu()'


def choose(gpu: int | None) -> str:
    """Make Caffe compute on GPU number `gpu`, or on the CPU when it is None. Returns the device's name.

    Raises
    ------
    cli.BadInput
        When that GPU cannot be used.
    """
    import caffe
    if gpu is None:
        import accel  # puts its layers into Caffe's registries
        caffe.set_mode_cpu()
        return f'CPU: {accel.status()}'
    probe = subprocess.run([sys.executable, '-c', PROBE, str(gpu)], capture_output=True, text=True)
    if probe.returncode:
        reason = ('this Caffe was built for the CPU alone' if 'CPU-only' in probe.stderr
                  else 'no such card answers')
        raise cli.BadInput(f'GPU {gpu} cannot be used: {reason}; pass --cpu to compute on the CPU')
    caffe.set_device(gpu)
    caffe.set_mode_gpu()
    return f'GPU {gpu}'
