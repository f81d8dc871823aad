// cuBLAS as far as Caffe calls it, computed by the host's BLAS (cublas.cpp).
#pragma once

#include <cuda_runtime.h>

enum cublasStatus_t {
  CUBLAS_STATUS_SUCCESS = 0, CUBLAS_STATUS_NOT_INITIALIZED = 1, CUBLAS_STATUS_ALLOC_FAILED = 3,
  CUBLAS_STATUS_INVALID_VALUE = 7, CUBLAS_STATUS_ARCH_MISMATCH = 8, CUBLAS_STATUS_MAPPING_ERROR = 11,
  CUBLAS_STATUS_EXECUTION_FAILED = 13, CUBLAS_STATUS_INTERNAL_ERROR = 14, CUBLAS_STATUS_NOT_SUPPORTED = 15,
  CUBLAS_STATUS_LICENSE_ERROR = 16,
};
enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T };
typedef struct EmulatedBlas* cublasHandle_t;
#define CUDA_VERSION 13000

extern "C" {
cublasStatus_t cublasCreate(cublasHandle_t* handle);
cublasStatus_t cublasDestroy(cublasHandle_t handle);
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream);
cublasStatus_t cublasGetStream(cublasHandle_t handle, cudaStream_t* stream);
#define EMULATED_BLAS(letter, T)                                                                                      \
  cublasStatus_t cublas##letter##gemm(cublasHandle_t, cublasOperation_t, cublasOperation_t, int m, int n, int k,       \
                                      const T* alpha, const T* a, int lda, const T* b, int ldb, const T* beta, T* c,   \
                                      int ldc);                                                                        \
  cublasStatus_t cublas##letter##gemv(cublasHandle_t, cublasOperation_t, int m, int n, const T* alpha, const T* a,     \
                                      int lda, const T* x, int incx, const T* beta, T* y, int incy);                   \
  cublasStatus_t cublas##letter##axpy(cublasHandle_t, int n, const T* alpha, const T* x, int incx, T* y, int incy);    \
  cublasStatus_t cublas##letter##scal(cublasHandle_t, int n, const T* alpha, T* x, int incx);                          \
  cublasStatus_t cublas##letter##dot(cublasHandle_t, int n, const T* x, int incx, const T* y, int incy, T* result);    \
  cublasStatus_t cublas##letter##asum(cublasHandle_t, int n, const T* x, int incx, T* result);                         \
  cublasStatus_t cublas##letter##copy(cublasHandle_t, int n, const T* x, int incx, T* y, int incy);
EMULATED_BLAS(S, float)
EMULATED_BLAS(D, double)
#undef EMULATED_BLAS
}
