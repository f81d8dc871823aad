// Stands in for cuBLAS: the host's BLAS on memory of the emulated card.
#include <cublas_v2.h>

#include <cblas.h>

struct EmulatedBlas { cudaStream_t stream = nullptr; };

static CBLAS_TRANSPOSE of(cublasOperation_t operation) { return operation == CUBLAS_OP_N ? CblasNoTrans : CblasTrans; }

extern "C" {

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  if (cudaFree(nullptr) != cudaSuccess) return CUBLAS_STATUS_NOT_INITIALIZED;
  *handle = new EmulatedBlas;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGetStream(cublasHandle_t handle, cudaStream_t* stream) {
  *stream = handle->stream;
  return CUBLAS_STATUS_SUCCESS;
}

// Scalars are the host's, as cuBLAS takes them unless it is told otherwise; in `pointers` is the card's.
#define ON_CARD(name, ...)                                     \
  if (!handle) return CUBLAS_STATUS_NOT_INITIALIZED;           \
  const ::emulated::Access access("cublas" name, __VA_ARGS__); \
  if (!access) return CUBLAS_STATUS_EXECUTION_FAILED;

#define EMULATED_BLAS(letter, prefix, T)                                                                              \
  cublasStatus_t cublas##letter##gemm(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb, int m, int n, \
                                      int k, const T* alpha, const T* a, int lda, const T* b, int ldb, const T* beta,  \
                                      T* c, int ldc) {                                                                 \
    if (m < 0 || n < 0 || k < 0 || lda < 1 || ldb < 1 || ldc < 1 || lda < (ta == CUBLAS_OP_N ? m : k) ||               \
        ldb < (tb == CUBLAS_OP_N ? k : n) || ldc < m)                                                                  \
      return CUBLAS_STATUS_INVALID_VALUE;                                                                              \
    ON_CARD(#letter "gemm", {a, b, c})                                                                                 \
    cblas_##prefix##gemm(CblasColMajor, of(ta), of(tb), m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc);               \
    return CUBLAS_STATUS_SUCCESS;                                                                                      \
  }                                                                                                                    \
  cublasStatus_t cublas##letter##gemv(cublasHandle_t handle, cublasOperation_t t, int m, int n, const T* alpha,        \
                                      const T* a, int lda, const T* x, int incx, const T* beta, T* y, int incy) {      \
    if (m < 0 || n < 0 || lda < 1 || lda < m || !incx || !incy) return CUBLAS_STATUS_INVALID_VALUE;                    \
    ON_CARD(#letter "gemv", {a, x, y})                                                                                 \
    cblas_##prefix##gemv(CblasColMajor, of(t), m, n, *alpha, a, lda, x, incx, *beta, y, incy);                         \
    return CUBLAS_STATUS_SUCCESS;                                                                                      \
  }                                                                                                                    \
  cublasStatus_t cublas##letter##axpy(cublasHandle_t handle, int n, const T* alpha, const T* x, int incx, T* y,        \
                                      int incy) {                                                                      \
    ON_CARD(#letter "axpy", {x, y})                                                                                    \
    cblas_##prefix##axpy(n, *alpha, x, incx, y, incy);                                                                 \
    return CUBLAS_STATUS_SUCCESS;                                                                                      \
  }                                                                                                                    \
  cublasStatus_t cublas##letter##scal(cublasHandle_t handle, int n, const T* alpha, T* x, int incx) {                  \
    ON_CARD(#letter "scal", {x})                                                                                       \
    for (int i = 0; i < n; ++i) x[i * incx] = *alpha ? *alpha * x[i * incx] : T(0);                                    \
    return CUBLAS_STATUS_SUCCESS;                                                                                      \
  }                                                                                                                    \
  cublasStatus_t cublas##letter##dot(cublasHandle_t handle, int n, const T* x, int incx, const T* y, int incy,         \
                                     T* result) {                                                                      \
    ON_CARD(#letter "dot", {x, y})                                                                                     \
    *result = cblas_##prefix##dot(n, x, incx, y, incy);                                                                \
    return CUBLAS_STATUS_SUCCESS;                                                                                      \
  }                                                                                                                    \
  cublasStatus_t cublas##letter##asum(cublasHandle_t handle, int n, const T* x, int incx, T* result) {                 \
    ON_CARD(#letter "asum", {x})                                                                                       \
    *result = cblas_##prefix##asum(n, x, incx);                                                                        \
    return CUBLAS_STATUS_SUCCESS;                                                                                      \
  }                                                                                                                    \
  cublasStatus_t cublas##letter##copy(cublasHandle_t handle, int n, const T* x, int incx, T* y, int incy) {            \
    ON_CARD(#letter "copy", {x, y})                                                                                    \
    cblas_##prefix##copy(n, x, incx, y, incy);                                                                         \
    return CUBLAS_STATUS_SUCCESS;                                                                                      \
  }
EMULATED_BLAS(S, s, float)
EMULATED_BLAS(D, d, double)

}
