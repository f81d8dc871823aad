// Every kernel of accel/src/kernel_list.h on random shapes against plain loops in double precision, without Caffe.
//
//     kernels ROUNDS [NAME]    prints the instruction set, then a line for each kernel: its name, the largest relative
//                              difference in the L2 norm, and ok or WRONG; ends with 1 where one is wrong
//
// FCN_ACCEL_ISA and OMP_NUM_THREADS count as they do for the library. Arrays end where their page ends, so that an
// access behind one stops the program.
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "../../accel/src/kernels.h"

using namespace accel;

namespace {

std::mt19937 generator(1);
double worst;

int between(int first, int last) { return first + static_cast<int>(generator() % (last - first + 1u)); }
bool one_in(int n) { return between(1, n) == 1; }
float number() { return generator() / 2147483648.f - 1; }

// Floats in front of a page that must not be touched.
class Array {
 public:
  explicit Array(size_t count) : count_(count) {
    const size_t page = sysconf(_SC_PAGESIZE);
    size_ = (count * sizeof(float) + page - 1) / page * page + page;
    memory_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED || mprotect(static_cast<char*>(memory_) + size_ - page, page, PROT_NONE)) {
      perror("memory");
      exit(2);
    }
    data_ = reinterpret_cast<float*>(static_cast<char*>(memory_) + size_ - page) - count;
    for (size_t i = 0; i < count; ++i) data_[i] = number();
  }
  ~Array() { munmap(memory_, size_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  float* begin() { return data_; }
  operator float*() { return data_; }
  size_t count() const { return count_; }

 private:
  void* memory_;
  float* data_;
  size_t count_, size_;
};

typedef std::vector<double> Doubles;

Doubles doubles(Array& array) { return Doubles(array.begin(), array.begin() + array.count()); }

// Note how far `found` is from what it should be.
void compare(Array& found, const Doubles& expected) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += (found[i] - expected[i]) * (found[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  const double relative = sqrt(difference / std::max(norm, 1e-30));
  if (!(relative <= worst)) worst = relative;   // NaN stays
}

// What a convolution multiplies: f(element of the bottom, of the weights, of the top) for one image.
template <typename F>
void each_product(const Geometry& g, const F& f) {
  for (int o = 0; o < g.outputs; ++o)
    for (int c = 0; c < g.channels; ++c)
      for (int r = 0; r < g.kernel_h; ++r)
        for (int s = 0; s < g.kernel_w; ++s)
          for (int y = 0; y < g.out_height; ++y)
            for (int x = 0; x < g.out_width; ++x) {
              const int i = y * g.stride_h - g.pad_h + r * g.dilation_h;
              const int j = x * g.stride_w - g.pad_w + s * g.dilation_w;
              if (i >= 0 && i < g.height && j >= 0 && j < g.width)
                f((c * g.height + i) * g.width + j, ((o * g.channels + c) * g.kernel_h + r) * g.kernel_w + s,
                  (o * g.out_height + y) * g.out_width + x);
            }
}

int tops(int size, int kernel, int stride, int pad, int dilation) {
  return (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
}

// Images, weights and tops of a convolution, `gap` floats between images as between groups.
struct Convolution {
  Geometry g;
  int images;
  size_t in, out;
  Array bottom, weights, bias, top;

  Convolution(const Geometry& g, int images, int gap)
      : g(g), images(images), in(g.channels * g.height * g.width), out(g.outputs * g.out_height * g.out_width),
        bottom(images * in + (images - 1) * gap), weights(g.outputs * g.channels * g.kernel_h * g.kernel_w),
        bias(g.outputs), top(images * out + (images - 1) * gap) {
    in += gap;
    out += gap;
    if (one_in(3)) std::fill_n(bottom.begin(), bottom.count() / 2, 0.f);   // as behind a frame of padding
  }

  Doubles forward(bool biased) {
    Doubles expected = doubles(top);
    for (int n = 0; n < images; ++n) {
      for (int i = 0; i < g.outputs * g.out_height * g.out_width; ++i)
        expected[n * out + i] = biased ? bias[i / (g.out_height * g.out_width)] : 0;
      each_product(g, [&](int x, int w, int y) {
        expected[n * out + y] += static_cast<double>(bottom[n * in + x]) * weights[w];
      });
    }
    return expected;
  }
  Doubles to_bottom() {
    Doubles expected = doubles(bottom);
    for (int n = 0; n < images; ++n) {
      std::fill_n(expected.begin() + n * in, g.channels * g.height * g.width, 0.);
      each_product(g, [&](int x, int w, int y) {
        expected[n * in + x] += static_cast<double>(top[n * out + y]) * weights[w];
      });
    }
    return expected;
  }
  Doubles to_weights() {
    Doubles expected = doubles(weights);
    for (int n = 0; n < images; ++n)
      each_product(g, [&](int x, int w, int y) {
        expected[w] += static_cast<double>(bottom[n * in + x]) * top[n * out + y];
      });
    return expected;
  }
};

std::unique_ptr<Convolution> random_3x3(int largest_pad) {
  const bool deep = one_in(8);      // more filters than are held at a time, and more channels than a block has
  Geometry g = {deep ? between(500, 540) : between(1, 40), between(1, 24), between(1, 60),
                deep ? between(270, 300) : between(1, 70), 0, 0, 3, 3, 1, 1, between(0, largest_pad),
                between(0, largest_pad), 1, 1};
  if (deep) g.height = between(2, 5), g.width = between(2, 5);
  g.height = std::max(g.height, 3 - 2 * g.pad_h);
  g.width = std::max(g.width, 3 - 2 * g.pad_w);
  g.out_height = tops(g.height, 3, 1, g.pad_h, 1);
  g.out_width = tops(g.width, 3, 1, g.pad_w, 1);
  return std::unique_ptr<Convolution>(new Convolution(g, between(1, 3), one_in(2) ? between(1, 50) : 0));
}

std::unique_ptr<Convolution> random_convolution() {
  const bool deep = one_in(4);
  Geometry g = {deep ? between(250, 600) : between(1, 40), between(1, 30), between(1, 30),
                deep ? between(100, 300) : between(1, 70), 0, 0, between(1, 5), between(1, 5), between(1, 3),
                between(1, 3), between(0, 4), between(0, 4), between(1, 2), between(1, 2)};
  if (deep) g.height = between(1, 6), g.width = between(1, 6), g.kernel_h = g.kernel_w = between(1, 2);
  if (one_in(3)) g.stride_h = g.stride_w = 1;
  g.height = std::max(g.height, g.dilation_h * (g.kernel_h - 1) + 1 - 2 * g.pad_h);
  g.width = std::max(g.width, g.dilation_w * (g.kernel_w - 1) + 1 - 2 * g.pad_w);
  g.out_height = tops(g.height, g.kernel_h, g.stride_h, g.pad_h, g.dilation_h);
  g.out_width = tops(g.width, g.kernel_w, g.stride_w, g.pad_w, g.dilation_w);
  return std::unique_ptr<Convolution>(new Convolution(g, 1, 0));
}

void check_winograd() {
  const auto c = random_3x3(7);
  const bool biased = one_in(2);
  const Doubles expected = c->forward(biased);
  kernels()->winograd(c->g, c->images, c->bottom, c->in, c->weights, biased ? c->bias.begin() : nullptr, c->top,
                      c->out);
  compare(c->top, expected);
}

void check_winograd_to_bottom() {
  const auto c = random_3x3(2);
  const Doubles expected = c->to_bottom();
  kernels()->winograd_to_bottom(c->g, c->images, c->top, c->out, c->weights, c->bottom, c->in);
  compare(c->bottom, expected);
}

void check_winograd_to_weights() {
  const auto c = random_3x3(7);
  const Doubles expected = c->to_weights();
  kernels()->winograd_to_weights(c->g, c->images, c->bottom, c->in, c->top, c->out, c->weights);
  compare(c->weights, expected);
}

void check_convolve() {
  const auto c = random_convolution();
  const bool biased = one_in(2);
  const Doubles expected = c->forward(biased);
  kernels()->convolve(c->g, c->bottom, c->weights, biased ? c->bias.begin() : nullptr, c->top);
  compare(c->top, expected);
}

void check_convolve_to_bottom() {
  const auto c = random_convolution();
  const Doubles expected = c->to_bottom();
  kernels()->convolve_to_bottom(c->g, c->top, c->weights, c->bottom);
  compare(c->bottom, expected);
}

void check_convolve_to_weights() {
  const auto c = random_convolution();
  const Doubles expected = c->to_weights();
  kernels()->convolve_to_weights(c->g, c->bottom, c->top, c->weights);
  compare(c->weights, expected);
}

// Filters of each channel's own, several images, and what becomes of the top.
struct Depthwise {
  Geometry g;
  int images, multiplier;
  size_t in, out, filter;
  Array bottom, weights, top, scale, shift, addend;

  static Geometry random(int channels, int outputs) {
    Geometry g = {channels, between(1, 40), between(1, 70), outputs, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    const int usual = between(0, 3);
    g.kernel_h = g.kernel_w = usual == 0 ? between(1, 8) : usual == 1 ? 5 : 3;
    g.stride_h = g.stride_w = one_in(4) ? between(1, 5) : between(1, 2);
    g.dilation_h = g.dilation_w = one_in(3) ? between(1, 4) : 1;
    g.pad_h = g.pad_w = one_in(2) ? g.dilation_h * (g.kernel_h - 1) / 2 : between(0, 9);
    if (one_in(6)) g.kernel_h = g.kernel_w = between(4, 40), g.stride_h = g.stride_w = between(3, 20);
    if (one_in(5)) {
      g.kernel_w = between(1, 8);
      g.stride_w = between(1, 5);
      g.dilation_w = between(1, 3);
      g.pad_w = between(0, 4);
    }
    if (one_in(3)) g.height = between(1, 6), g.width = between(1, 18);
    if (one_in(8)) g.width = between(300, 1100);   // lines longer than a band of them has room for
    g.height = std::max(g.height, g.dilation_h * (g.kernel_h - 1) + 1 - 2 * g.pad_h);
    g.width = std::max(g.width, g.dilation_w * (g.kernel_w - 1) + 1 - 2 * g.pad_w);
    g.out_height = tops(g.height, g.kernel_h, g.stride_h, g.pad_h, g.dilation_h);
    g.out_width = tops(g.width, g.kernel_w, g.stride_w, g.pad_w, g.dilation_w);
    return g;
  }

  Depthwise(int channels, int multiplier)
      : g(random(channels, channels * multiplier)), images(between(1, 3)), multiplier(multiplier),
        in(g.height * g.width), out(g.out_height * g.out_width), filter(g.kernel_h * g.kernel_w),
        bottom(images * g.channels * in), weights(g.outputs * filter), top(images * g.outputs * out),
        scale(g.outputs), shift(g.outputs), addend(top.count()) {}
  Depthwise() : Depthwise(between(1, 6), one_in(3) ? between(2, 3) : 1) {}

  // f(element of the bottom, of the weights, of the top)
  template <typename F>
  void each_product(const F& f) const {
    Geometry one = g;
    one.channels = one.outputs = 1;
    for (int i = 0; i < images * g.outputs; ++i)
      ::each_product(one, [&](int x, int w, int y) {
        f(i / multiplier * in + x, i % g.outputs * filter + w, i * out + y);
      });
  }
};

// y as an epilogue leaves it, for element i of planes of `pixels`.
double finished(const Epilogue& e, double y, size_t i, size_t output) {
  y = y * (e.scale ? e.scale[output] : 1) + (e.shift ? e.shift[output] : 0) + (e.addend ? e.addend[i] : 0);
  return std::min<double>(std::max<double>(y, e.lowest), e.highest);
}

void check_depthwise() {
  Depthwise d;
  const bool in_place = one_in(3);    // the addend is where the top goes
  const Epilogue e = {one_in(2) ? d.scale.begin() : nullptr, one_in(2) ? d.shift.begin() : nullptr,
                      in_place ? d.top.begin() : one_in(2) ? d.addend.begin() : nullptr,
                      one_in(2) ? -INFINITY : number(), one_in(2) ? INFINITY : 1 + number()};
  Doubles expected(d.top.count());
  d.each_product([&](size_t x, size_t w, size_t y) {
    expected[y] += static_cast<double>(d.bottom[x]) * d.weights[w];
  });
  for (size_t i = 0; i < expected.size(); ++i) expected[i] = finished(e, expected[i], i, i / d.out % d.g.outputs);
  kernels()->depthwise(d.g, d.images, d.bottom, d.weights, e, d.top);
  compare(d.top, expected);
  // NaN is clamped neither from below nor from above, and reaches no other plane.
  const size_t odd = between(0, static_cast<int>(d.bottom.count()) - 1);
  d.bottom[odd] = NAN;
  std::vector<bool> reached(d.top.count());
  d.each_product([&](size_t x, size_t w, size_t y) { if (x == odd) reached[y] = true; });
  const Epilogue clamp = {nullptr, nullptr, nullptr, 0, 6};
  kernels()->depthwise(d.g, d.images, d.bottom, d.weights, clamp, d.top);
  for (size_t i = 0; i < reached.size(); ++i)
    if (reached[i] != (d.top[i] != d.top[i])) worst = NAN;
}

void check_depthwise_to_bottom() {
  Depthwise d;
  Doubles expected(d.bottom.count());
  d.each_product([&](size_t x, size_t w, size_t y) { expected[x] += static_cast<double>(d.top[y]) * d.weights[w]; });
  kernels()->depthwise_to_bottom(d.g, d.images, d.top, d.weights, d.bottom);
  compare(d.bottom, expected);
}

void check_depthwise_to_weights() {
  Depthwise d;
  Doubles expected = doubles(d.weights);
  d.each_product([&](size_t x, size_t w, size_t y) { expected[w] += static_cast<double>(d.bottom[x]) * d.top[y]; });
  kernels()->depthwise_to_weights(d.g, d.images, d.bottom, d.top, d.weights);
  compare(d.weights, expected);
}

void check_add_rows() {
  const int rows = between(1, 40), columns = between(1, 3000);
  Array matrix(rows * columns), sums(rows);
  Doubles expected = doubles(sums);
  for (int i = 0; i < rows * columns; ++i) expected[i / columns] += matrix[i];
  kernels()->add_rows(rows, columns, matrix, sums);
  compare(sums, expected);
}

void check_add_bias() {
  const int rows = between(1, 40), columns = between(1, 300);
  Array matrix(rows * columns), bias(rows);
  Doubles expected = doubles(matrix);
  for (int i = 0; i < rows * columns; ++i) expected[i] += bias[i / columns];
  kernels()->add_bias(rows, columns, bias, matrix);
  compare(matrix, expected);
}

// Planes that are upsampled: a depthwise convolution's transpose. The weights of all are in one array or each plane's
// some floats behind those of the last.
struct Upsampling {
  Geometry g;
  int images, weights_stride;
  size_t in, out, filter;
  Array weights, bias, bottom, top;

  // Usually as bilinear upsampling is.
  static Geometry random() {
    Geometry g = Depthwise::random(1, 1);
    g.channels = g.outputs = between(1, 6);
    if (one_in(3)) return g;
    const int stride = one_in(3) ? between(1, 33) : between(1, 8);
    g.stride_h = g.stride_w = stride;
    g.kernel_h = g.kernel_w = one_in(2) ? 2 * stride : between(1, 3 * stride + 1);
    g.dilation_h = g.dilation_w = 1;
    g.pad_h = g.pad_w = between(0, (g.kernel_h - 1) / 2);
    g.out_height = between(1, 12);
    g.out_width = between(1, one_in(3) ? 60 : 12);
    g.height = (g.out_height - 1) * stride + g.kernel_h - 2 * g.pad_h;
    g.width = (g.out_width - 1) * stride + g.kernel_w - 2 * g.pad_w;
    return g;
  }

  Upsampling()
      : g(random()), images(between(1, 2)), weights_stride(g.kernel_h * g.kernel_w + between(0, 5)),
        in(g.out_height * g.out_width), out(g.height * g.width), filter(g.kernel_h * g.kernel_w),
        weights((g.channels - 1) * weights_stride + filter), bias(g.channels), bottom(images * g.channels * in),
        top(images * g.channels * out) {}

  // f(element of the bottom, of the weights, of the top)
  template <typename F>
  void each_product(const F& f) const {
    Geometry one = g;
    one.channels = one.outputs = 1;
    for (int i = 0; i < images * g.channels; ++i)
      ::each_product(one, [&](int x, int w, int y) {
        f(i * in + y, i % g.channels * weights_stride + w, i * out + x);
      });
  }
};

void check_upsample() {
  Upsampling u;
  const bool biased = one_in(2), cropped = one_in(2);
  Window window = {0, 0, u.g.height, u.g.width};
  if (cropped) {
    window.y = between(0, u.g.height - 1);
    window.x = between(0, u.g.width - 1);
    window.height = between(1, u.g.height - window.y);
    window.width = between(1, u.g.width - window.x);
  }
  Doubles whole(u.top.count()), expected;
  for (size_t i = 0; i < whole.size(); ++i) whole[i] = biased ? u.bias[i / u.out % u.g.channels] : 0;
  u.each_product([&](size_t x, size_t w, size_t y) { whole[y] += static_cast<double>(u.bottom[x]) * u.weights[w]; });
  for (int plane = 0; plane < u.images * u.g.channels; ++plane)
    for (int y = window.y; y < window.y + window.height; ++y)
      for (int x = window.x; x < window.x + window.width; ++x)
        expected.push_back(whole[plane * u.out + y * u.g.width + x]);
  Array top(expected.size());
  kernels()->upsample(u.g, u.images, u.weights, u.weights_stride, biased ? u.bias.begin() : nullptr, window, u.bottom,
                      top);
  compare(top, expected);
}

void check_upsample_backward() {
  Upsampling u;
  Doubles expected(u.bottom.count());
  u.each_product([&](size_t x, size_t w, size_t y) { expected[x] += static_cast<double>(u.top[y]) * u.weights[w]; });
  kernels()->upsample_backward(u.g, u.images, u.weights, u.weights_stride, u.top, u.bottom);
  compare(u.bottom, expected);
}

void check_is_diagonal() {
  const int channels = between(1, 30), size = between(1, 300);
  Array weights(channels * channels * size);
  for (size_t i = 0; i < weights.count(); ++i)
    if (i / size % channels != i / size / channels) weights[i] = one_in(2) ? 0.f : -0.f;
  const auto found = [&] {
    bool result;
    kernels()->is_diagonal(channels, size, weights, &result);
    return result;
  };
  if (!found()) worst = NAN;
  const size_t i = between(0, static_cast<int>(weights.count()) - 1);
  weights[i] = one_in(2) ? NAN : 1e-45f;    // the smallest that there is
  if (found() != (i / size % channels == i / size / channels)) worst = NAN;
}

size_t random_count() { return one_in(3) ? between(20000, 50000) : between(1, 300); }  // shared by threads, or not

void check_relu() {
  Array x(random_count()), y(x.count());
  const float slope = one_in(2) ? 0 : number();
  Doubles expected(x.count());
  for (size_t i = 0; i < x.count(); ++i) expected[i] = x[i] > 0 ? x[i] : static_cast<double>(slope) * x[i];
  kernels()->relu(x.count(), slope, x, y);
  compare(y, expected);
  kernels()->relu(x.count(), slope, x, x);
  compare(x, expected);
  const int odd = between(0, static_cast<int>(x.count()) - 1);
  x[odd] = NAN;
  kernels()->relu(x.count(), slope, x, y);
  if (y[odd] == y[odd]) worst = NAN;
}

void check_relu_backward() {
  Array x(random_count()), top(x.count()), bottom(x.count());
  const float slope = one_in(2) ? 0 : number();
  x[between(0, static_cast<int>(x.count()) - 1)] = 0;
  Doubles expected(x.count());
  for (size_t i = 0; i < x.count(); ++i) expected[i] = top[i] * (x[i] > 0 ? 1. : slope);
  kernels()->relu_backward(x.count(), slope, x, top, bottom);
  compare(bottom, expected);
}

// Planes that are pooled, with ties and NaN.
struct Pooling {
  int planes = between(1, 5);
  bool halves = one_in(2);
  int kernel = halves ? 2 : between(1, 4), stride = halves ? 2 : between(1, 3);
  int pad = halves ? 0 : between(0, kernel - 1);
  Pool p = {between(kernel, 20), between(kernel, 90), 0, 0, kernel, kernel, stride, stride, pad, pad};
  std::unique_ptr<Array> bottom, top;
  std::vector<int> winner;    // of each window: the element of the bottom, or -1
  Doubles maximum;

  Pooling() {
    p.out_height = outputs(p.height);
    p.out_width = outputs(p.width);
    bottom.reset(new Array(planes * p.height * p.width));
    top.reset(new Array(planes * p.out_height * p.out_width));
    for (size_t i = 0; i < bottom->count(); ++i)
      if (one_in(3)) (*bottom)[i] = one_in(4) ? NAN : static_cast<float>(between(0, 1));
    for (int c = 0; c < planes; ++c)
      for (int y = 0; y < p.out_height; ++y)
        for (int x = 0; x < p.out_width; ++x) find(c, y, x);
  }
  // Caffe's: rounded up, but no window begins in the padding behind the image.
  int outputs(int size) const {
    const int n = (size + 2 * pad - kernel + stride - 1) / stride + 1;
    return pad && (n - 1) * stride >= size + pad ? n - 1 : n;
  }
  void find(int c, int y, int x) {
    int index = -1;
    float best = -FLT_MAX;
    for (int i = y * stride - pad; i < y * stride - pad + kernel; ++i)
      for (int j = x * stride - pad; j < x * stride - pad + kernel; ++j)
        if (i >= 0 && i < p.height && j >= 0 && j < p.width) {
          const int at = (c * p.height + i) * p.width + j;
          if ((*bottom)[at] > best) best = (*bottom)[index = at];
        }
    winner.push_back(index);
    maximum.push_back(best == -FLT_MAX ? 0 : best);
  }
};

void check_max_pool() {
  Pooling pooling;
  kernels()->max_pool(pooling.p, pooling.planes, *pooling.bottom, *pooling.top);
  Array& top = *pooling.top;
  for (size_t i = 0; i < top.count(); ++i)
    if (top[i] == -FLT_MAX) top[i] = 0;     // nothing but NaN: as in `maximum`, so that the norm is finite
  compare(top, pooling.maximum);
}

void check_max_pool_backward() {
  Pooling pooling;
  Array diff(pooling.bottom->count());
  Doubles expected(diff.count());
  for (size_t i = 0; i < pooling.winner.size(); ++i)
    if (pooling.winner[i] >= 0) expected[pooling.winner[i]] += (*pooling.top)[i];
  kernels()->max_pool_backward(pooling.p, pooling.planes, *pooling.bottom, *pooling.top, diff);
  compare(diff, expected);
}

void check_sum() {
  const size_t count = random_count();
  Array a(count), b(count), c(count), top(count), coefficients(3);
  const float* bottoms[] = {a, b, c};
  const int terms = between(1, 3);
  Doubles expected(count);
  for (size_t i = 0; i < count; ++i)
    for (int t = 0; t < terms; ++t) expected[i] += static_cast<double>(coefficients[t]) * bottoms[t][i];
  kernels()->sum(count, terms, bottoms, coefficients, top);
  compare(top, expected);
  kernels()->sum(count, terms, bottoms, coefficients, a);
  compare(a, expected);
}

void check_softmax() {
  const int images = between(1, 3), channels = between(1, 30), pixels = between(1, 600);
  Array bottom(images * channels * pixels), top(bottom.count());
  const float scale = one_in(2) ? 2 : 100;    // with 100, many are too small for a float
  for (size_t i = 0; i < bottom.count(); ++i) bottom[i] *= scale;
  Doubles expected(bottom.count());
  for (int n = 0; n < images; ++n)
    for (int i = 0; i < pixels; ++i) {
      const size_t at = static_cast<size_t>(n) * channels * pixels + i;
      double largest = bottom[at], total = 0;
      for (int c = 0; c < channels; ++c) largest = std::max<double>(largest, bottom[at + c * pixels]);
      for (int c = 0; c < channels; ++c) total += exp(bottom[at + c * pixels] - largest);
      for (int c = 0; c < channels; ++c) expected[at + c * pixels] = exp(bottom[at + c * pixels] - largest) / total;
    }
  kernels()->softmax(images, channels, pixels, bottom, top);
  compare(top, expected);
}

void check_sgd() {
  const size_t count = random_count();
  const Sgd s = {number(), number(), number(), number(), one_in(2)};
  Array data(count), diff(count), history(count);
  data[0] = 0;
  Doubles new_data(count), new_history(count);
  for (size_t i = 0; i < count; ++i) {
    const double regulariser = s.l1 ? (data[i] > 0) - (data[i] < 0) : data[i];
    new_history[i] = s.rate * (static_cast<double>(s.scale) * diff[i] + s.decay * regulariser) +
                     static_cast<double>(s.momentum) * history[i];
    new_data[i] = data[i] - new_history[i];
  }
  kernels()->sgd(count, s, data, diff, history);
  compare(data, new_data);
  compare(diff, new_history);
  compare(history, new_history);
}

// From the list itself, so that a kernel without a check does not compile.
const struct { const char* name; void (*check)(); } kChecks[] = {
#define KERNEL(name, ...) {#name, check_##name},
#include "../../accel/src/kernel_list.h"
#undef KERNEL
};

}  // namespace

int main(int count, char** arguments) {
  if (!kernels()) return puts("none"), 2;
  puts(kernels()->instruction_set);
  bool right = true;
  for (const auto& kernel : kChecks) {
    if (count > 2 && strcmp(arguments[2], kernel.name)) continue;
    worst = 0;
    for (int i = 0; i < atoi(arguments[1]); ++i) kernel.check();
    const bool same = worst < 5e-6;
    printf("%-20s %.1e %s\n", kernel.name, worst, same ? "ok" : "WRONG");
    right = right && same;
  }
  return !right;
}
