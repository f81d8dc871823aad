// Compiled with ACCEL_REFERENCE, the layers are the same code on the host: each name of Caffe's GPU side is that of its
// CPU twin, and reference.cpp takes the place of cuDNN. So all but cudnn.cpp is tested on a machine without a card.
// To be included after Caffe's headers.
#if defined(ACCEL_REFERENCE) && !defined(ACCEL_GPU_REFERENCE_H_)
#define ACCEL_GPU_REFERENCE_H_

#define GPU CPU
#define Forward_gpu Forward_cpu
#define Backward_gpu Backward_cpu
#define gpu_data cpu_data
#define gpu_diff cpu_diff
#define mutable_gpu_data mutable_cpu_data
#define mutable_gpu_diff mutable_cpu_diff
#define forward_gpu_gemm forward_cpu_gemm
#define backward_gpu_gemm backward_cpu_gemm
#define weight_gpu_gemm weight_cpu_gemm
#define caffe_gpu_gemm caffe_cpu_gemm
#define caffe_gpu_gemv caffe_cpu_gemv

#endif
