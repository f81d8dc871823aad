// The kernels, each once: KERNEL(name, its parameters). Whoever includes this defines KERNEL, and undefines it after:
// kernels.h makes the table's members of it, kernels/table.h the declarations, kernels/table.cpp the table's content.

// Convolutions of stride and dilation 1 by Winograd's F(4x4, 3x3), of kernels up to 9x9, and the gradients; that to the
// weights of 3x3 alone. `images` follow each other at the given strides; an addend has that of the top. Gradients of
// weights are added to what is there.
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

// Maxima of windows, and of each its place in the plane, or -1 where all are NaN; `winners` may be null, and are left as
// they are where `halves`. The first of equal maxima takes the gradient; without winners they are looked for.
KERNEL(max_pool, const Pool& p, int planes, const float* bottom, float* top, int* winners)
KERNEL(max_pool_backward, const Pool& p, int planes, const float* bottom, const int* winners, const float* top_diff,
       float* bottom_diff)

// Sums of windows over their sizes within the padded plane.
KERNEL(average_pool, const Pool& p, int planes, const float* bottom, float* top)
KERNEL(average_pool_backward, const Pool& p, int planes, const float* top_diff, float* bottom_diff)

// Each channel of images x channels x pixels less its mean, over the root of its variance + eps; both are written. The
// bottom is copied to `kept` unless that is null: in place it is lost, and backward needs it. There `deviation` is that
// root.
KERNEL(batch_norm, int images, int channels, int pixels, float eps, const float* bottom, float* mean, float* variance,
       float* kept, float* top)
KERNEL(batch_norm_backward, int images, int channels, int pixels, const float* mean, const float* deviation,
       const float* bottom, const float* top_diff, float* bottom_diff)

// (bottom - center) factor + shift, each of them one for a channel, or null: 0, 1, 0. The bottom is copied to `kept`
// unless that is null. In place too. The gradients of factors and shifts are added to what is there; any may be null.
KERNEL(scale, int images, int channels, int pixels, const float* centers, const float* factors, const float* shifts,
       const float* bottom, float* kept, float* top)
KERNEL(scale_backward, int images, int channels, int pixels, const float* bottom, const float* factors,
       const float* top_diff, float* bottom_diff, float* factors_diff, float* shifts_diff)

// max(bottom, 0) + slope min(bottom, 0), the slope of channel c at slopes[c slopes_stride]. The bottom is copied to
// `kept` unless that is null. In place too. Gradients of slopes, one for a channel, are added to what is there; either
// may be null.
KERNEL(prelu, int images, int channels, int pixels, const float* slopes, int slopes_stride, const float* bottom,
       float* kept, float* top)
KERNEL(prelu_backward, int images, int channels, int pixels, const float* slopes, int slopes_stride,
       const float* bottom, const float* top_diff, float* bottom_diff, float* slopes_diff)

// At least `lowest`, which NaN becomes, and at most `highest`. In place too.
KERNEL(clip, size_t count, float lowest, float highest, const float* bottom, float* top)
KERNEL(clip_backward, size_t count, float lowest, float highest, const float* bottom, const float* top_diff,
       float* bottom_diff)

// 1 / (1 + exp(-bottom)). In place too.
KERNEL(sigmoid, size_t count, const float* bottom, float* top)
KERNEL(sigmoid_backward, size_t count, const float* top, const float* top_diff, float* bottom_diff)

// The gate is the sigmoid of beta times the bottom, and the top their product. In place too.
KERNEL(swish, size_t count, float beta, const float* bottom, float* gate, float* top)
KERNEL(swish_backward, size_t count, float beta, const float* top, const float* gate, const float* top_diff,
       float* bottom_diff)

// (scale bottom + shift)^exponent. In place too.
KERNEL(power, size_t count, float exponent, float scale, float shift, const float* bottom, float* top)
KERNEL(power_backward, size_t count, float exponent, float scale, float shift, const float* bottom, const float* top,
       const float* top_diff, float* bottom_diff)

// bottom mask scale, where the mask is 0 or 1. In place too.
KERNEL(dropout, size_t count, const unsigned* mask, float scale, const float* bottom, float* top)

// Local response normalisation: see Lrn.
KERNEL(lrn, const Lrn& l, int images, int channels, int pixels, const float* bottom, float* top)
KERNEL(lrn_backward, const Lrn& l, int images, int channels, int pixels, const float* bottom, const float* top,
       const float* top_diff, float* bottom_diff)

// top = coefficients[0] bottoms[0] + ...; top may be one of them. Where a bottom's diff is null it is not wanted.
KERNEL(sum, size_t count, int terms, const float* const* bottoms, const float* coefficients, float* top)
KERNEL(sum_backward, size_t count, int terms, const float* coefficients, const float* top_diff,
       float* const* bottom_diffs)

// The product of two or more. The gradient is the product of the others, or with a top the top over the bottom.
KERNEL(product, size_t count, int terms, const float* const* bottoms, float* top)
KERNEL(product_backward, size_t count, int terms, const float* const* bottoms, const float* top,
       const float* top_diff, float* const* bottom_diffs)

// The largest of two or more, which takes the gradient: the second of the first two unless the first is larger.
KERNEL(maximum, size_t count, int terms, const float* const* bottoms, float* top)
KERNEL(maximum_backward, size_t count, int terms, const float* const* bottoms, const float* top_diff,
       float* const* bottom_diffs)

// A few rows of `inputs` numbers times the transpose of weights of outputs x inputs; a bias may be null. The gradient
// of the weights is added to what is there; either may be null.
KERNEL(inner_product, int rows, int outputs, int inputs, const float* bottom, const float* weights, const float* bias,
       float* top)
KERNEL(inner_product_backward, int rows, int outputs, int inputs, const float* bottom, const float* weights,
       const float* top_diff, float* weights_diff, float* bottom_diff)

// exp(bottom) over its sum over the channels, for each pixel of images x channels x pixels.
KERNEL(softmax, int images, int channels, int pixels, const float* bottom, float* top)

KERNEL(softmax_backward, int images, int channels, int pixels, const float* top, const float* top_diff,
       float* bottom_diff)

// One update of `count` parameters: see Sgd.
KERNEL(sgd, size_t count, const Sgd& s, float* data, float* diff, float* history)
