#ifndef ACCEL_BLOBS_H_
#define ACCEL_BLOBS_H_

#include <vector>

#include "caffe/blob.hpp"
#include "caffe/proto/caffe.pb.h"

namespace accel {

typedef caffe::Blob<float> Blob;
typedef std::vector<Blob*> Blobs;

// One line in the debug log for each layer left to Caffe.
inline void fall_back(const caffe::LayerParameter& param, const char* why) {
  VLOG(1) << param.name() << " (" << param.type() << ") stays Caffe's: " << why;
}

}  // namespace accel

#endif
