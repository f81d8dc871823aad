// The kernels, each once: KERNEL(name, its parameters). Whoever includes this defines KERNEL, and undefines it after:
// kernels.h makes the table's members of it, kernels/table.h the declarations, kernels/table.cpp the table's content.

// Convolutions 3x3 of stride and dilation 1 by Winograd's F(4x4, 3x3), and the gradients. `images` follow each other
// at the given strides; an addend has that of the top. Gradients of weights are added to what is there.
KERNEL(winograd, const Geometry& g, int images, const float* bottom, ptrdiff_t bottom_stride, const float* weights,
       const Epilogue& e, float* top, ptrdiff_t top_stride)
KERNEL(winograd_to_bottom, const Geometry& g, int images, const float* top, ptrdiff_t top_stride, const float* weights,
       float* bottom, ptrdiff_t bottom_stride)
KERNEL(winograd_to_weights, const Geometry& g, int images, const float* bottom, ptrdiff_t bottom_stride,
       const float* top, ptrdiff_t top_stride, float* weights)

// Any convolution, and the gradients: matrix products with columns of the image that exist only a block at a time.
// `groups` of the geometry follow each other in each of the `images`. Gradients of weights are added to what is there.
KERNEL(convolve, const Geometry& g, int images, int groups, const float* bottom, const float* weights,
       const Epilogue& e, float* top)
KERNEL(convolve_to_bottom, const Geometry& g, int images, int groups, const float* top, const float* weights,
       float* bottom)
KERNEL(convolve_to_weights, const Geometry& g, int images, int groups, const float* bottom, const float* top,
       float* weights)

// Convolutions in which each of g.channels has g.outputs / g.channels filters of its own, of `images` one after another:
// weights are g.outputs x kernel_h x kernel_w.
KERNEL(depthwise, const Geometry& g, int images, const float* bottom, const float* weights, const Epilogue& e,
       float* top)

// sums[row] += the sum of the row: the gradient of a bias.
KERNEL(add_rows, int rows, int columns, const float* matrix, float* sums)

// matrix[row][column] += bias[row].
KERNEL(add_bias, int rows, int columns, const float* bias, float* matrix)

// Deconvolution of each plane of height x width with a kernel x kernel of its own, `weights_stride` apart.
KERNEL(upsample, int planes, int height, int width, int kernel, int stride, int pad, const float* weights,
       ptrdiff_t weights_stride, const float* bottom, float* top)
KERNEL(upsample_backward, int planes, int height, int width, int kernel, int stride, int pad, const float* weights,
       ptrdiff_t weights_stride, const float* top_diff, float* bottom_diff)

// top = max(bottom, 0) + slope min(bottom, 0), NaN where the bottom is. In place too.
KERNEL(relu, size_t count, float slope, const float* bottom, float* top)
KERNEL(relu_backward, size_t count, float slope, const float* bottom, const float* top_diff, float* bottom_diff)

// Maxima of windows. The first of equal maxima takes the gradient; NaN is never a maximum.
KERNEL(max_pool, const Pool& p, int planes, const float* bottom, float* top)
KERNEL(max_pool_backward, const Pool& p, int planes, const float* bottom, const float* top_diff, float* bottom_diff)

// top = coefficients[0] bottoms[0] + ...; top may be one of them.
KERNEL(sum, size_t count, int terms, const float* const* bottoms, const float* coefficients, float* top)

// exp(bottom) over its sum over the channels, for each pixel of images x channels x pixels.
KERNEL(softmax, int images, int channels, int pixels, const float* bottom, float* top)

// One update of `count` parameters: see Sgd.
KERNEL(sgd, size_t count, const Sgd& s, float* data, float* diff, float* history)
