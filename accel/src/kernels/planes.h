// Filters over single planes, which depthwise convolutions and upsampling share.
#ifndef ACCEL_PLANES_H_
#define ACCEL_PLANES_H_

#include "../kernels.h"
#include "lines.h"

namespace accel {
namespace ACCEL_ISA {

// `images` of g.outputs planes each, one filter for each plane, `weights_stride` apart: g.channels divides g.outputs,
// and neighbouring planes of the top see the same of the bottom.
void correlate(const Geometry& g, int images, const float* bottom, const float* weights, ptrdiff_t weights_stride,
               const Epilogue& e, float* top);

// Its transpose: g.height x g.width pixels, of which those in the window are written, are the sums of what the filters
// spread from g.out_height x g.out_width. Each plane of `image` is the sum of what g.outputs / g.channels neighbouring
// planes of `columns` give. A bias, one for each of g.channels, may be null.
void spread(const Geometry& g, int images, const float* columns, const float* weights, ptrdiff_t weights_stride,
            const float* bias, const Window& window, float* image);

}  // namespace ACCEL_ISA
}  // namespace accel

#endif
