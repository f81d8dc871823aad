"""The emulated card: what programs of CUDA do on it, and the faults in them that it finds."""
import subprocess

import pytest

from third_party.caffe import emulated

MAIN = r'''
#include <cuda_runtime.h>
#include <cublas_v2.h>
#include <curand.h>
#include <cstdio>
#include <vector>
#define CUDA_KERNEL_LOOP(i, n) \
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += blockDim.x * gridDim.x)
'''
CHECK = r'''
  const cudaError_t error = cudaGetLastError();
  std::printf("%s", cudaGetErrorString(error));
  return error != cudaSuccess;
'''


@pytest.fixture(scope='session')
def toolkit(tmp_path_factory):
    return emulated.toolkit(tmp_path_factory.mktemp('cache'))


@pytest.fixture
def run(toolkit, tmp_path):
    """Compile a program, run it, and return its exit status, what it printed and what it said."""
    def compile_and_run(kernels, main, **environment):
        (tmp_path / 'program.cu').write_text(f'{MAIN}\n{kernels}\nint main() {{\n{main}\n}}\n')
        compiled = subprocess.run([toolkit / 'bin/nvcc', tmp_path / 'program.cu', '-o', tmp_path / 'program', '-O1',
                                   f'-L{toolkit / "lib64"}', '-lcublas', '-lcurand', '-lcudart',
                                   f'-Wl,-rpath,{toolkit / "lib64"}'], capture_output=True, text=True)
        assert compiled.returncode == 0, compiled.stderr
        done = subprocess.run([tmp_path / 'program'], capture_output=True, text=True, env=environment)
        return done.returncode, done.stdout, done.stderr
    return compile_and_run


DOUBLE = '''
template <typename T> __global__ void twice(int n, const T* x, T* y) {
  CUDA_KERNEL_LOOP(i, n) y[i] = 2 * x[i];
}
'''
START = '''
  const int n = 1000;
  std::vector<float> host(n);
  for (int i = 0; i < n; ++i) host[i] = i;
  float *x, *y;
  cudaMalloc(&x, n * sizeof(float));
  cudaMalloc(&y, n * sizeof(float));
  cudaMemcpy(x, host.data(), n * sizeof(float), cudaMemcpyDefault);
'''


@pytest.mark.parametrize('seed', '012')
def test_a_kernel_computes_for_every_thread_in_any_order(run, seed):
    status, printed, _ = run(DOUBLE, START + '''
  twice<float>  // a comment
      <<<(n + 255) / 256,
         256>>>(n, x, y);
  cudaMemcpy(host.data(), y, n * sizeof(float), cudaMemcpyDeviceToHost);
  int wrong = 0;
  for (int i = 0; i < n; ++i) wrong += host[i] != 2 * i;
  std::printf("%d", wrong);
  return cudaPeekAtLastError();
''', FCN_EMULATED_SEED=seed)
    assert (status, printed) == (0, '0')


def test_order_is_shuffled_by_the_seed(run):
    """The last thread to write wins: which one that is depends on the seed alone."""
    kernel = '__global__ void last(int n, int* y) { CUDA_KERNEL_LOOP(i, n) *y = i; }'
    main = '''
  int *y, host;
  cudaMalloc(&y, sizeof(int));
  last<<<4, 256>>>(1024, y);
  cudaMemcpy(&host, y, sizeof(int), cudaMemcpyDefault);
  std::printf("%d", host);
  return 0;
'''
    found = [run(kernel, main, FCN_EMULATED_SEED=seed)[1] for seed in ('1', '2', '3', '1')]
    assert found[0] == found[3] and len(set(found)) == 3


@pytest.mark.parametrize('bound, says', [('n + 1', 'twice touches memory 0 bytes after an allocation of 4000'),
                                         ('n + 300', 'after an allocation of 4000')])
def test_an_index_too_high_is_found(run, bound, says):
    status, _, said = run(DOUBLE, START + f'  twice<float><<<8, 256>>>({bound}, x, y);\n{CHECK}')
    assert status < 0 and says in said


def test_an_index_too_low_is_found(run):
    kernel = '__global__ void shift(int n, float* y) { CUDA_KERNEL_LOOP(i, n) y[i - 1] = 0; }'
    for seed in '0123':
        status, _, said = run(kernel, START + f'  shift<<<8, 256>>>(n, y);\n{CHECK}', FCN_EMULATED_SEED=seed)
        assert status and ('shift writes beside an allocation' in said
                           or 'bytes before an allocation of 4000' in said)


def test_a_pointer_of_the_host_is_found(run):
    status, printed, said = run(DOUBLE, START + f'  twice<float><<<8, 256>>>(n, host.data(), y);\n{CHECK}')
    assert status == 1 and 'twice is given a pointer to memory of the host' in said
    assert printed == 'an illegal memory access was encountered'


def test_the_host_cannot_read_the_card(run):
    status, _, said = run(DOUBLE, START + '  std::printf("%f", x[3]);\n  return 0;')
    assert status < 0 and 'host code touches memory of the card' in said


def test_memory_that_a_kernel_was_not_given_is_closed_to_it(run):
    kernel = '__global__ void jump(float* x, long by) { x[by] = 1; }'
    status, _, said = run(kernel, START + f'  jump<<<1, 1>>>(x, y - x);\n{CHECK}')
    assert status < 0 and 'jump touches memory that it was not given' in said


def test_freed_memory_is_closed(run):
    given = START + f'  cudaFree(x);\n  twice<float><<<8, 256>>>(n, x, y);\n{CHECK}'
    status, _, said = run(DOUBLE, given)
    assert status == 1 and 'twice is given a pointer to memory that was freed' in said
    status, _, said = run('', START + '  cudaFree(x);\n  x[0] = 1;\n  return 0;')
    assert status < 0 and 'host code touches memory that was freed' in said


REVERSE = '''
template <int n> __global__ void reverse(float* x) {
  __shared__ float kept[n];
  kept[threadIdx.x] = x[blockIdx.x * n + threadIdx.x];
  @
  x[blockIdx.x * n + threadIdx.x] = kept[n - 1 - threadIdx.x];
}
'''
REVERSED = START + '''
  reverse<250><<<4, 250>>>(x);
  cudaMemcpy(host.data(), x, n * sizeof(float), cudaMemcpyDefault);
  int wrong = 0;
  for (int i = 0; i < n; ++i) wrong += host[i] != i / 250 * 250 + 249 - i % 250;
  std::printf("%d", wrong);
  return cudaPeekAtLastError();
'''


def test_threads_wait_for_each_other(run):
    assert run(REVERSE.replace('@', '__syncthreads();'), REVERSED)[:2] == (0, '0')


def test_a_missing_wait_shows(run):
    status, printed, _ = run(REVERSE.replace('@', ''), REVERSED)
    assert status == 0 and int(printed) > 300


def test_a_wait_that_some_threads_never_reach_is_found(run):
    status, _, said = run(REVERSE.replace('@', 'if (threadIdx.x) __syncthreads();'), REVERSED)
    assert status == 719 % 256 and 'reverse ends in some threads of a block while others wait' in said


@pytest.mark.parametrize('grid, block, status', [('0', '256', 9), ('1', '0', 9), ('1', '1025', 9), ('1', '1024', 0)])
def test_sizes_that_a_card_refuses(run, grid, block, status):
    found, _, _ = run(DOUBLE, START + f'  twice<float><<<{grid}, {block}>>>(n, x, y);\n  return cudaGetLastError();')
    assert found == status


def test_what_nobody_wrote_is_not_a_number(run):
    printed = run('', START + '''
  cudaMemcpy(host.data(), y, n * sizeof(float), cudaMemcpyDefault);
  std::printf("%f", host[7]);
  return 0;
''')[1]
    assert 'nan' in printed


def test_copies_that_do_not_fit_are_refused(run):
    for call in ('cudaMemcpy(x + 1, host.data(), n * sizeof(float), cudaMemcpyDefault)',
                 'cudaMemset(x, 0, n * sizeof(float) + 1)', 'cudaMemset(host.data(), 0, 1)',
                 'cudaMemcpy(host.data(), x, 8, cudaMemcpyHostToDevice)', 'cudaFree(x + 1)'):
        assert run('', f'{START}  return {call};')[0] == 1, call


def test_memory_ends(run):
    main = '''
  void *x, *y, *z;
  const size_t mb = 1 << 20;
  const int first = cudaMalloc(&x, 6 * mb), second = cudaMalloc(&y, 5 * mb);
  cudaFree(x);
  const int third = cudaMalloc(&z, 5 * mb);
  size_t free, total;
  cudaMemGetInfo(&free, &total);
  std::printf("%d %d %d %zu %zu", first, second, third, free / mb, total / mb);
  return 0;
'''
    assert run('', main, FCN_EMULATED_MEMORY_MB='10')[1] == '0 2 0 5 10'


def test_cards_are_apart(run):
    kernels, main = DOUBLE, '''
  float *x, *y;
  cudaMalloc(&x, 40);
  cudaSetDevice(1);
  cudaMalloc(&y, 40);
  twice<float><<<1, 10>>>(10, x, y);
''' + CHECK
    status, _, said = run(kernels, main, FCN_EMULATED_CARDS='2')
    assert status == 1 and 'twice is given a pointer to memory of another card' in said
    for cards, number, expected in (('2', 2, 101), ('2', -1, 101), ('0', 0, 100), ('3', 2, 0)):
        assert run('', f'  return cudaSetDevice({number});', FCN_EMULATED_CARDS=cards)[0] == expected


def test_exclusive_use(run, tmp_path):
    """A process that holds the card starts another of itself."""
    main = '''
  if (std::getenv("SECOND")) return cudaFree(nullptr);
  const int first = cudaFree(nullptr);
  setenv("SECOND", "1", 1);
  return first ? 99 : WEXITSTATUS(std::system("/proc/self/exe"));
'''.replace('/proc/self/exe', str(tmp_path / 'program'))
    include = '#include <cstdlib>\n#include <sys/wait.h>'
    assert run(include, main, FCN_EMULATED_EXCLUSIVE=str(tmp_path / 'lock'))[0] == 46
    assert run(include, main)[0] == 0


def test_blas_is_that_of_columns(run):
    """[1 2; 3 4] [1 0; 1 1], both by columns, and vectors."""
    main = '''
  cublasHandle_t handle;
  cublasCreate(&handle);
  const float a[] = {1, 3, 2, 4}, b[] = {1, 1, 0, 1}, one = 1, zero = 0, three = 3;
  float *x, *y, *z, host[4], dot, sum;
  for (float** p : {&x, &y, &z}) cudaMalloc(p, sizeof(a));
  cudaMemcpy(x, a, sizeof(a), cudaMemcpyDefault);
  cudaMemcpy(y, b, sizeof(b), cudaMemcpyDefault);
  cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 2, 2, 2, &one, x, 2, y, 2, &zero, z, 2);
  cudaMemcpy(host, z, sizeof(host), cudaMemcpyDefault);
  cublasSdot(handle, 4, x, 1, y, 1, &dot);
  cublasSscal(handle, 4, &three, x, 1);
  cublasSasum(handle, 4, x, 1, &sum);
  std::printf("%g %g %g %g, %g, %g", host[0], host[1], host[2], host[3], dot, sum);
  return cublasSasum(handle, 4, a, 1, &sum);
'''
    status, printed, said = run('', main)
    assert printed == '3 7 2 4, 8, 30'
    assert status == 13 and 'cublasSasum is given a pointer to memory of the host' in said


def test_random_numbers(run):
    main = '''
  curandGenerator_t generator;
  curandCreateGenerator(&generator, CURAND_RNG_PSEUDO_DEFAULT);
  const int n = 10000;
  std::vector<float> host(n), again(n);
  float *x;
  cudaMalloc(&x, n * sizeof(float));
  for (auto* kept : {&host, &again}) {
    curandSetPseudoRandomGeneratorSeed(generator, 7);
    curandSetGeneratorOffset(generator, 0);
    curandGenerateUniform(generator, x, n);
    cudaMemcpy(kept->data(), x, n * sizeof(float), cudaMemcpyDefault);
  }
  double sum = 0;
  for (float value : host) sum += value > 0 && value <= 1 ? value : 1e9;
  std::printf("%.2f %d %d", sum / n, host == again, curandGenerateNormal(generator, x, 3, 0, 1));
  return 0;
'''
    mean, same, odd = run('', main)[1].split()
    assert abs(float(mean) - 0.5) < 0.02 and (same, odd) == ('1', '105')
