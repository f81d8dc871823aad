// The kernels, each once: KERNEL(name, its parameters). Whoever includes this defines KERNEL, and undefines it after:
// kernels.h makes the table's members of it, kernels/table.h the declarations, kernels/table.cpp the table's content.

// Convolutions 3x3 of stride and dilation 1 by Winograd's F(4x4, 3x3), and the gradients. `images` follow each other
// at the given strides. A bias may be null. Gradients of weights are added to what is there.
KERNEL(winograd, const Geometry& g, int images, const float* bottom, ptrdiff_t bottom_stride, const float* weights,
       const float* bias, float* top, ptrdiff_t top_stride)
KERNEL(winograd_to_bottom, const Geometry& g, int images, const float* top, ptrdiff_t top_stride, const float* weights,
       float* bottom, ptrdiff_t bottom_stride)
KERNEL(winograd_to_weights, const Geometry& g, int images, const float* bottom, ptrdiff_t bottom_stride,
       const float* top, ptrdiff_t top_stride, float* weights)

// Any convolution of one image, and the gradients: matrix products with columns of the image that exist only a block at
// a time. A bias may be null. Gradients of weights are added to what is there.
KERNEL(convolve, const Geometry& g, const float* bottom, const float* weights, const float* bias, float* top)
KERNEL(convolve_to_bottom, const Geometry& g, const float* top, const float* weights, float* bottom)
KERNEL(convolve_to_weights, const Geometry& g, const float* bottom, const float* top, float* weights)

// Convolutions in which each of g.channels has g.outputs / g.channels filters of its own, of `images` one after another:
// weights are g.outputs x kernel_h x kernel_w. And the gradients; those of weights are added to what is there.
KERNEL(depthwise, const Geometry& g, int images, const float* bottom, const float* weights, const Epilogue& e,
       float* top)
KERNEL(depthwise_to_bottom, const Geometry& g, int images, const float* top, const float* weights, float* bottom)
KERNEL(depthwise_to_weights, const Geometry& g, int images, const float* bottom, const float* top, float* weights)

// sums[row] += the sum of the row: the gradient of a bias.
KERNEL(add_rows, int rows, int columns, const float* matrix, float* sums)

// matrix[row][column] += bias[row].
KERNEL(add_bias, int rows, int columns, const float* bias, float* matrix)

// Deconvolution of each of g.channels planes of `images`, g.out_height x g.out_width, by a filter of its own: the
// filters `weights_stride` apart, a bias for each or null. Only the window of g.height x g.width is written.
KERNEL(upsample, const Geometry& g, int images, const float* weights, ptrdiff_t weights_stride, const float* bias,
       const Window& window, const float* bottom, float* top)
KERNEL(upsample_backward, const Geometry& g, int images, const float* weights, ptrdiff_t weights_stride,
       const float* top_diff, float* bottom_diff)

// Whether channels x channels filters of `size` floats are zero off the diagonal.
KERNEL(is_diagonal, int channels, ptrdiff_t size, const float* weights, bool* result)

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
