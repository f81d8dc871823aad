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

// y as an epilogue leaves it, for element i of planes of `pixels`.
double finished(const Epilogue& e, double y, size_t i, size_t output) {
  y = y * (e.scale ? e.scale[output] : 1) + (e.shift ? e.shift[output] : 0) + (e.addend ? e.addend[i] : 0);
  return std::min<double>(std::max<double>(y, e.lowest), e.highest);
}

// Images, weights and tops of a convolution in `groups`, `gap` floats between images.
struct Convolution {
  Geometry g;
  int images, groups;
  size_t in, out;
  Array bottom, weights, scale, shift, top, addend;

  Convolution(const Geometry& g, int images, int groups, int gap)
      : g(g), images(images), groups(groups), in(groups * g.channels * g.height * g.width),
        out(groups * g.outputs * g.out_height * g.out_width), bottom(images * in + (images - 1) * gap),
        weights(groups * g.outputs * g.channels * g.kernel_h * g.kernel_w), scale(groups * g.outputs),
        shift(groups * g.outputs), top(images * out + (images - 1) * gap), addend(top.count()) {
    in += gap;
    out += gap;
    if (one_in(3)) std::fill_n(bottom.begin(), bottom.count() / 2, 0.f);   // as behind a frame of padding
    if (one_in(2)) frame();
  }
  // Around a random window each channel becomes one number, and each line of the frame in one channel too.
  void frame() {
    const int y = between(0, g.height), x = between(0, g.width), bottom_y = between(y, g.height), right = between(x, g.width);
    const bool lines = one_in(2);
    for (int n = 0; n < images; ++n)
      for (int c = 0; c < groups * g.channels; ++c)
        for (int i = 0; i < g.height; ++i)
          for (int j = 0; j < g.width; ++j)
            if (i < y || i >= bottom_y || j < x || j >= right)
              bottom[n * in + (c * g.height + i) * g.width + j] = lines && c == 0 ? i : c % 7;
  }

  // f(element of the bottom, of the weights, of the top) for one image.
  template <typename F>
  void each_of(int image, const F& f) const {
    const size_t x_group = g.channels * g.height * g.width, w_group = weights.count() / groups,
                 y_group = g.outputs * g.out_height * g.out_width;
    for (int j = 0; j < groups; ++j)
      each_product(g, [&](int x, int w, int y) {
        f(image * in + j * x_group + x, j * w_group + w, image * out + j * y_group + y);
      });
  }
  Epilogue epilogue() {
    return {one_in(2) ? scale.begin() : nullptr, one_in(2) ? shift.begin() : nullptr,
            one_in(3) ? addend.begin() : nullptr, one_in(2) ? -INFINITY : number(), one_in(2) ? INFINITY : 1 + number()};
  }
  Doubles forward(const Epilogue& e) {
    Doubles expected = doubles(top);
    for (int n = 0; n < images; ++n) {
      const size_t pixels = g.out_height * g.out_width, count = groups * g.outputs * pixels;
      std::fill_n(expected.begin() + n * out, count, 0.);
      each_of(n, [&](size_t x, size_t w, size_t y) { expected[y] += static_cast<double>(bottom[x]) * weights[w]; });
      for (size_t i = n * out; i < n * out + count; ++i)
        expected[i] = finished(e, expected[i], i, (i - n * out) / pixels);
    }
    return expected;
  }
  Doubles to_bottom() {
    Doubles expected = doubles(bottom);
    for (int n = 0; n < images; ++n) {
      std::fill_n(expected.begin() + n * in, groups * g.channels * g.height * g.width, 0.);
      each_of(n, [&](size_t x, size_t w, size_t y) { expected[x] += static_cast<double>(top[y]) * weights[w]; });
    }
    return expected;
  }
  Doubles to_weights() {
    Doubles expected = doubles(weights);
    for (int n = 0; n < images; ++n)
      each_of(n, [&](size_t x, size_t w, size_t y) { expected[w] += static_cast<double>(bottom[x]) * top[y]; });
    return expected;
  }
};

// Of 3x3, or of up to `largest` x `largest`.
std::unique_ptr<Convolution> random_winograd(int largest_pad, int largest) {
  const bool deep = one_in(8);      // more filters than are held at a time, and more channels than a block has
  const bool small = one_in(2);
  const int kernel_h = small ? 3 : between(3, largest), kernel_w = small ? 3 : between(3, largest);
  Geometry g = {deep ? between(500, 540) : between(1, 40), between(1, 40), one_in(3) ? between(60, 200) : between(1, 60),
                deep ? between(270, 300) : between(1, 70), 0, 0, kernel_h, kernel_w, 1, 1, between(0, largest_pad),
                between(0, largest_pad), 1, 1};
  if (deep) g.height = between(2, 5), g.width = between(2, 5);
  if (largest_pad < 3) g.pad_h = std::min(g.pad_h, kernel_h - 1), g.pad_w = std::min(g.pad_w, kernel_w - 1);
  g.height = std::max(g.height, kernel_h - 2 * g.pad_h);
  g.width = std::max(g.width, kernel_w - 2 * g.pad_w);
  g.out_height = tops(g.height, kernel_h, 1, g.pad_h, 1);
  g.out_width = tops(g.width, kernel_w, 1, g.pad_w, 1);
  return std::unique_ptr<Convolution>(new Convolution(g, between(1, 3), 1, one_in(2) ? between(1, 50) : 0));
}

std::unique_ptr<Convolution> random_convolution() {
  const bool deep = one_in(4);
  Geometry g = {deep ? between(250, 600) : between(1, 40), between(1, 30), between(1, 30),
                deep ? between(100, 300) : between(1, 70), 0, 0, between(1, 5), between(1, 5), between(1, 3),
                between(1, 3), between(0, 4), between(0, 4), between(1, 2), between(1, 2)};
  if (deep) g.height = between(1, 6), g.width = between(1, 6), g.kernel_h = g.kernel_w = between(1, 2);
  if (one_in(3)) g.stride_h = g.stride_w = 1;
  if (one_in(4)) g.kernel_h = g.kernel_w = g.stride_h = g.stride_w = 1, g.pad_h = g.pad_w = 0;   // the image itself
  if (one_in(8)) g.stride_w = 4, g.width = between(60, 150);
  g.height = std::max(g.height, g.dilation_h * (g.kernel_h - 1) + 1 - 2 * g.pad_h);
  g.width = std::max(g.width, g.dilation_w * (g.kernel_w - 1) + 1 - 2 * g.pad_w);
  g.out_height = tops(g.height, g.kernel_h, g.stride_h, g.pad_h, g.dilation_h);
  g.out_width = tops(g.width, g.kernel_w, g.stride_w, g.pad_w, g.dilation_w);
  return std::unique_ptr<Convolution>(new Convolution(g, between(1, 2), deep ? 1 : between(1, 3), 0));
}

void check_winograd() {
  const auto c = random_winograd(9, 9);
  const Epilogue e = c->epilogue();
  const Doubles expected = c->forward(e);
  kernels()->winograd(c->g, c->images, c->bottom, c->in, c->weights, e, c->top, c->out);
  compare(c->top, expected);
}

void check_winograd_to_bottom() {
  const auto c = random_winograd(2, 9);
  const Doubles expected = c->to_bottom();
  kernels()->winograd_to_bottom(c->g, c->images, c->top, c->out, c->weights, c->bottom, c->in);
  compare(c->bottom, expected);
}

void check_winograd_to_weights() {
  const auto c = random_winograd(7, 3);
  const Doubles expected = c->to_weights();
  kernels()->winograd_to_weights(c->g, c->images, c->bottom, c->in, c->top, c->out, c->weights);
  compare(c->weights, expected);
}

void check_convolve() {
  const auto c = random_convolution();
  const Epilogue e = c->epilogue();
  const Doubles expected = c->forward(e);
  kernels()->convolve(c->g, c->images, c->groups, c->bottom, c->weights, e, c->top);
  compare(c->top, expected);
}

void check_convolve_to_bottom() {
  const auto c = random_convolution();
  const Doubles expected = c->to_bottom();
  kernels()->convolve_to_bottom(c->g, c->images, c->groups, c->top, c->weights, c->bottom);
  compare(c->bottom, expected);
}

void check_convolve_to_weights() {
  const auto c = random_convolution();
  const Doubles expected = c->to_weights();
  kernels()->convolve_to_weights(c->g, c->images, c->groups, c->bottom, c->top, c->weights);
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
  bool halves = one_in(3);
  bool down = one_in(4);      // sizes are rounded down
  Pool p = {0, 0, 0, 0, 2, 2, 2, 2, 0, 0};
  std::unique_ptr<Array> bottom, top;
  std::vector<int> winner;    // of each window: the element of the bottom, or -1
  Doubles maximum;

  Pooling() {
    if (!halves) {
      p.kernel_h = between(1, 4), p.kernel_w = one_in(2) ? p.kernel_h : between(1, 7);
      p.stride_h = between(1, 3), p.stride_w = one_in(2) ? p.stride_h : between(1, 4);
      p.pad_h = between(0, p.kernel_h - 1), p.pad_w = between(0, p.kernel_w - 1);
    }
    p.height = between(p.kernel_h, 20);
    p.width = between(p.kernel_w, halves ? 400 : one_in(2) ? 10 : 90);   // `halves` is of long rows only
    if (one_in(8)) p.kernel_h = p.height + p.pad_h, p.kernel_w = p.width + p.pad_w, p.stride_h = p.stride_w = 1;
    p.out_height = outputs(p.height, p.kernel_h, p.stride_h, p.pad_h);
    p.out_width = outputs(p.width, p.kernel_w, p.stride_w, p.pad_w);
    bottom.reset(new Array(planes * p.height * p.width));
    top.reset(new Array(planes * p.out_height * p.out_width));
  }
  // Caffe's: rounded up or down, but where there is padding no window begins in that behind the image.
  int outputs(int size, int kernel, int stride, int pad) const {
    const int n = (size + 2 * pad - kernel + (down ? 0 : stride - 1)) / stride + 1;
    return (p.pad_h || p.pad_w) && (n - 1) * stride >= size + pad ? n - 1 : n;
  }
  // Calls f(number of the window, its size, elements of the bottom).
  template <typename F>
  void each_window(const F& f) const {
    int window = 0;
    for (int c = 0; c < planes; ++c)
      for (int y = 0; y < p.out_height; ++y)
        for (int x = 0; x < p.out_width; ++x) {
          const int top = y * p.stride_h - p.pad_h, left = x * p.stride_w - p.pad_w;
          const int bottom_end = std::min(top + p.kernel_h, p.height + p.pad_h);
          const int right_end = std::min(left + p.kernel_w, p.width + p.pad_w);
          std::vector<int> elements;
          for (int i = std::max(top, 0); i < std::min(bottom_end, p.height); ++i)
            for (int j = std::max(left, 0); j < std::min(right_end, p.width); ++j)
              elements.push_back((c * p.height + i) * p.width + j);
          f(window++, (bottom_end - top) * (right_end - left), elements);
        }
  }
  // With ties and NaN in the bottom: finds `winner` and `maximum`.
  void find_maxima() {
    for (size_t i = 0; i < bottom->count(); ++i)
      if (one_in(3)) (*bottom)[i] = one_in(4) ? NAN : static_cast<float>(between(0, 1));
    each_window([&](int, int, const std::vector<int>& elements) {
      int index = -1;
      float best = -FLT_MAX;
      for (int at : elements)
        if ((*bottom)[at] > best) best = (*bottom)[index = at];
      winner.push_back(index);
      maximum.push_back(best == -FLT_MAX ? 0 : best);
    });
  }
};

void check_max_pool() {
  Pooling pooling;
  pooling.find_maxima();
  Array places(pooling.top->count());
  int* winners = one_in(2) ? reinterpret_cast<int*>(places.begin()) : nullptr;
  kernels()->max_pool(pooling.p, pooling.planes, *pooling.bottom, *pooling.top, winners);
  Array& top = *pooling.top;
  for (size_t i = 0; i < top.count(); ++i)
    if (top[i] == -FLT_MAX) top[i] = 0;     // nothing but NaN: as in `maximum`, so that the norm is finite
  compare(top, pooling.maximum);
  const int plane = pooling.p.height * pooling.p.width, outputs = pooling.p.out_height * pooling.p.out_width;
  for (size_t i = 0; winners && !halves(pooling.p) && i < top.count(); ++i)
    if (winners[i] != (pooling.winner[i] < 0 ? -1 : pooling.winner[i] - static_cast<int>(i) / outputs * plane))
      worst = NAN;
}

void check_max_pool_backward() {
  Pooling pooling;
  pooling.find_maxima();
  Array diff(pooling.bottom->count()), places(pooling.top->count()), unused(pooling.top->count());
  int* winners = one_in(2) ? reinterpret_cast<int*>(places.begin()) : nullptr;
  if (winners) kernels()->max_pool(pooling.p, pooling.planes, *pooling.bottom, unused, winners);
  Doubles expected(diff.count());
  for (size_t i = 0; i < pooling.winner.size(); ++i)
    if (pooling.winner[i] >= 0) expected[pooling.winner[i]] += (*pooling.top)[i];
  kernels()->max_pool_backward(pooling.p, pooling.planes, *pooling.bottom, winners, *pooling.top, diff);
  compare(diff, expected);
}

void check_average_pool() {
  Pooling pooling;
  for (size_t i = 0; i < pooling.bottom->count(); ++i) (*pooling.bottom)[i] += 1;    // so that no sum is near zero
  Doubles expected(pooling.top->count());
  pooling.each_window([&](int window, int size, const std::vector<int>& elements) {
    for (int at : elements) expected[window] += (*pooling.bottom)[at] / static_cast<double>(size);
  });
  kernels()->average_pool(pooling.p, pooling.planes, *pooling.bottom, *pooling.top);
  for (size_t i = 0; i < pooling.top->count(); ++i)
    if (expected[i] == 0 && (*pooling.top)[i] != (*pooling.top)[i]) (*pooling.top)[i] = 0;  // no element: 0 / 0 in Caffe
  compare(*pooling.top, expected);
}

void check_average_pool_backward() {
  Pooling pooling;
  Doubles expected(pooling.bottom->count());
  pooling.each_window([&](int window, int size, const std::vector<int>& elements) {
    for (int at : elements) expected[at] += (*pooling.top)[window] / static_cast<double>(size);
  });
  kernels()->average_pool_backward(pooling.p, pooling.planes, *pooling.top, *pooling.bottom);
  compare(*pooling.bottom, expected);
}

// Channels of a few images, with numbers of their own.
struct Channels {
  int images = between(1, 4), channels = between(1, 40);
  int pixels = one_in(4) ? 1 : one_in(4) ? between(5000, 20000) : between(2, 200);
  Channels() {
    if (pixels > 1000) channels = between(1, 4);
    if (pixels == 1 && one_in(2)) images = between(60, 150);
    x.reset(new Array(count()));
    y.reset(new Array(count()));
    kept.reset(new Array(count()));
  }
  size_t count() const { return static_cast<size_t>(images) * channels * pixels; }
  int channel(size_t i) const { return i / pixels % channels; }
  bool keeps = one_in(2);
  std::unique_ptr<Array> x, y, kept;
  // Checks that what is kept is the bottom, if anything is.
  float* keep() { return keeps ? kept->begin() : nullptr; }
  void compare_kept(const Doubles& bottom) {
    if (keeps) compare(*kept, bottom);
  }
};

void check_batch_norm() {
  Channels c;
  const float eps = between(1, 100) * 1e-3f;
  Array offsets(c.channels), mean(c.channels), variance(c.channels);
  for (size_t i = 0; i < c.count(); ++i) (*c.x)[i] += 3 * offsets[c.channel(i)];
  const Doubles x = doubles(*c.x);
  const double size = static_cast<double>(c.images) * c.pixels;
  Doubles means(c.channels), variances(c.channels), expected(c.count());
  for (size_t i = 0; i < c.count(); ++i) means[c.channel(i)] += x[i] / size;
  for (size_t i = 0; i < c.count(); ++i) variances[c.channel(i)] += pow(x[i] - means[c.channel(i)], 2) / size;
  for (size_t i = 0; i < c.count(); ++i)
    expected[i] = (x[i] - means[c.channel(i)]) / sqrt(variances[c.channel(i)] + eps);
  Array& y = one_in(2) ? *c.x : *c.y;
  kernels()->batch_norm(c.images, c.channels, c.pixels, eps, *c.x, mean, variance, c.keep(), y);
  compare(y, expected);
  compare(mean, means);
  compare(variance, variances);
  c.compare_kept(x);
}

void check_batch_norm_backward() {
  Channels c;
  Array mean(c.channels), deviation(c.channels), diff(c.count());
  for (size_t i = 0; i < deviation.count(); ++i) deviation[i] = fabsf(deviation[i]) + 0.5f;
  const double size = static_cast<double>(c.images) * c.pixels;
  Doubles normal(c.count()), sums(c.channels), products(c.channels), expected(c.count());
  for (size_t i = 0; i < c.count(); ++i) {
    const int k = c.channel(i);
    normal[i] = (static_cast<double>((*c.x)[i]) - mean[k]) / deviation[k];
    sums[k] += diff[i] / size;
    products[k] += diff[i] * normal[i] / size;
  }
  for (size_t i = 0; i < c.count(); ++i) {
    const int k = c.channel(i);
    expected[i] = (diff[i] - sums[k] - normal[i] * products[k]) / deviation[k];
  }
  Array& dx = one_in(2) ? diff : *c.y;
  kernels()->batch_norm_backward(c.images, c.channels, c.pixels, mean, deviation, *c.x, diff, dx);
  if (size > 2) compare(dx, expected);    // of one or two numbers the gradient is rounding error
}

void check_scale() {
  Channels c;
  Array centers(c.channels), factors(c.channels), shifts(c.channels);
  const bool centered = one_in(2), scaled = one_in(2), shifted = one_in(2);
  const Doubles x = doubles(*c.x);
  Doubles expected(c.count());
  for (size_t i = 0; i < c.count(); ++i) {
    const int k = c.channel(i);
    expected[i] = (x[i] - (centered ? centers[k] : 0)) * (scaled ? factors[k] : 1) + (shifted ? shifts[k] : 0);
  }
  Array& y = one_in(2) ? *c.x : *c.y;
  kernels()->scale(c.images, c.channels, c.pixels, centered ? centers.begin() : nullptr,
                   scaled ? factors.begin() : nullptr, shifted ? shifts.begin() : nullptr, *c.x, c.keep(), y);
  compare(y, expected);
  c.compare_kept(x);
}

void check_scale_backward() {
  Channels c;
  Array factors(c.channels), to_factors(c.channels), to_shifts(c.channels), diff(c.count());
  const bool scaled = one_in(2), factors_too = one_in(2), shifts_too = one_in(2), bottom_too = one_in(2);
  Doubles expected(c.count()), expected_factors = doubles(to_factors), expected_shifts = doubles(to_shifts);
  for (size_t i = 0; i < c.count(); ++i) {
    const int k = c.channel(i);
    expected[i] = static_cast<double>(diff[i]) * (scaled ? factors[k] : 1);
    if (factors_too) expected_factors[k] += static_cast<double>(diff[i]) * (*c.x)[i];
    if (shifts_too) expected_shifts[k] += diff[i];
  }
  Array& dx = one_in(2) ? diff : *c.y;
  kernels()->scale_backward(c.images, c.channels, c.pixels, *c.x, scaled ? factors.begin() : nullptr, diff,
                            bottom_too ? dx.begin() : nullptr, factors_too ? to_factors.begin() : nullptr,
                            shifts_too ? to_shifts.begin() : nullptr);
  if (bottom_too) compare(dx, expected);
  compare(to_factors, expected_factors);
  compare(to_shifts, expected_shifts);
}

void check_prelu() {
  Channels c;
  const int stride = one_in(2);
  Array slopes(c.channels);
  const Doubles x = doubles(*c.x);
  Doubles expected(c.count());
  for (size_t i = 0; i < c.count(); ++i) expected[i] = x[i] * (x[i] > 0 ? 1 : slopes[c.channel(i) * stride]);
  Array& y = one_in(2) ? *c.x : *c.y;
  kernels()->prelu(c.images, c.channels, c.pixels, slopes, stride, *c.x, c.keep(), y);
  compare(y, expected);
  c.compare_kept(x);
}

void check_prelu_backward() {
  Channels c;
  const int stride = one_in(2);
  Array slopes(c.channels), to_slopes(c.channels), diff(c.count());
  for (size_t i = 0; i < diff.count(); ++i) diff[i] = fabsf(diff[i]);   // sums of one sign, or they might be nearly 0
  (*c.x)[0] = 0;
  const bool slopes_too = one_in(2), bottom_too = one_in(2);
  Doubles expected(c.count()), expected_slopes = doubles(to_slopes);
  for (size_t i = 0; i < c.count(); ++i) {
    const int k = c.channel(i);
    const bool above = (*c.x)[i] > 0;
    expected[i] = static_cast<double>(diff[i]) * (above ? 1 : slopes[k * stride]);
    if (slopes_too && !above) expected_slopes[k] += static_cast<double>(diff[i]) * (*c.x)[i];
  }
  Array& dx = one_in(2) ? diff : *c.y;
  kernels()->prelu_backward(c.images, c.channels, c.pixels, slopes, stride, *c.x, diff,
                            bottom_too ? dx.begin() : nullptr, slopes_too ? to_slopes.begin() : nullptr);
  if (bottom_too) compare(dx, expected);
  compare(to_slopes, expected_slopes);
}

void check_clip() {
  Array x(random_count()), y(x.count());
  Doubles expected = doubles(x);
  for (double& value : expected) value = std::min(std::max(value, -0.25), 0.5);
  kernels()->clip(x.count(), -0.25f, 0.5f, x, y);
  compare(y, expected);
  kernels()->clip(x.count(), -0.25f, 0.5f, x, x);
  compare(x, expected);
  x[x.count() - 1] = NAN;
  kernels()->clip(x.count(), -0.25f, 0.5f, x, x);
  if (x[x.count() - 1] != -0.25f) worst = NAN;
}

void check_clip_backward() {
  Array x(random_count()), top(x.count()), bottom(x.count());
  x[0] = 0.5f;
  Doubles expected = doubles(top);
  for (size_t i = 0; i < x.count(); ++i)
    if (x[i] < -0.25 || x[i] > 0.5) expected[i] = 0;
  kernels()->clip_backward(x.count(), -0.25f, 0.5f, x, top, bottom);
  compare(bottom, expected);
}

double logistic(double x) { return 1 / (1 + exp(-x)); }

void check_sigmoid() {
  Array x(random_count()), y(x.count());
  for (size_t i = 0; i < x.count(); ++i) x[i] *= i % 2 ? 100 : 5;
  Doubles expected = doubles(x);
  for (double& value : expected) value = logistic(value);
  kernels()->sigmoid(x.count(), x, y);
  compare(y, expected);
  for (size_t i = 0; i < x.count(); ++i)    // the small ones too
    if (x[i] > -80 && fabs(y[i] / expected[i] - 1) > 1e-6) worst = NAN;
  kernels()->sigmoid(x.count(), x, x);
  compare(x, expected);
}

void check_sigmoid_backward() {
  Array y(random_count()), top(y.count()), bottom(y.count());
  Doubles expected = doubles(top);
  for (size_t i = 0; i < y.count(); ++i) expected[i] *= y[i] * (1. - y[i]);
  kernels()->sigmoid_backward(y.count(), y, top, bottom);
  compare(bottom, expected);
}

void check_swish() {
  Array x(random_count()), gate(x.count()), y(x.count());
  Doubles expected = doubles(x), gates = doubles(x);
  for (double& value : gates) value = logistic(1.5 * value);
  for (double& value : expected) value *= logistic(1.5 * value);
  kernels()->swish(x.count(), 1.5f, x, gate, y);
  compare(y, expected);
  compare(gate, gates);
  kernels()->swish(x.count(), 1.5f, x, gate, x);
  compare(x, expected);
}

void check_swish_backward() {
  Array y(random_count()), gate(y.count()), top(y.count()), bottom(y.count());
  Doubles expected = doubles(top);
  for (size_t i = 0; i < y.count(); ++i) expected[i] *= 1.5 * y[i] + gate[i] * (1 - 1.5 * y[i]);
  kernels()->swish_backward(y.count(), 1.5f, y, gate, top, bottom);
  compare(bottom, expected);
}

const float kExponents[] = {1, 2, 0.5, -1, 3, -0.75};

void check_power() {
  Array x(random_count()), y(x.count());
  const float exponent = kExponents[between(0, 5)], scale = number(), shift = 2;
  Doubles expected = doubles(x);
  for (double& value : expected) value = pow(value * scale + shift, exponent);
  kernels()->power(x.count(), exponent, scale, shift, x, y);
  compare(y, expected);
  kernels()->power(x.count(), exponent, scale, shift, x, x);
  compare(x, expected);
}

void check_power_backward() {
  Array x(random_count()), y(x.count()), top(x.count()), bottom(x.count());
  const float exponent = kExponents[between(0, 5)], scale = number(), shift = 2;
  Doubles expected = doubles(top);
  for (size_t i = 0; i < x.count(); ++i)
    expected[i] *= exponent * scale * pow(static_cast<double>(x[i]) * scale + shift, exponent - 1);
  kernels()->power(x.count(), exponent, scale, shift, x, y);
  kernels()->power_backward(x.count(), exponent, scale, shift, x, y, top, bottom);
  compare(bottom, expected);
}

void check_dropout() {
  Array x(random_count()), y(x.count()), bits(x.count());
  unsigned* mask = reinterpret_cast<unsigned*>(bits.begin());
  const float scale = number();
  Doubles expected = doubles(x);
  for (size_t i = 0; i < x.count(); ++i) {
    mask[i] = one_in(2);
    expected[i] *= mask[i] * scale;
  }
  kernels()->dropout(x.count(), mask, scale, x, y);
  compare(y, expected);
  kernels()->dropout(x.count(), mask, scale, x, x);
  compare(x, expected);
}

// A normalisation, and what its power is taken of.
struct Normalisation {
  int images = between(1, 3), channels = between(1, 20), pixels = between(1, 400);
  Lrn l = {2 * between(0, 6) + 1, between(1, 30) * 0.1f, one_in(2) ? 0.75f : between(1, 4) * 0.25f, between(1, 4) * 0.5f};
  Array x{static_cast<size_t>(images * channels * pixels)}, y{x.count()};
  Doubles scale = Doubles(x.count());

  // f(element, one of the window that is normalised with it)
  template <typename F>
  void each_pair(const F& f) const {
    for (int i = 0; i < images * channels * pixels; ++i)
      for (int c = i / pixels % channels, d = std::max(c - l.size / 2, 0); d <= std::min(c + l.size / 2, channels - 1); ++d)
        f(i, i + (d - c) * pixels);
  }
  Normalisation() {
    std::fill(scale.begin(), scale.end(), static_cast<double>(l.k));
    each_pair([&](int i, int j) { scale[i] += l.alpha / l.size * static_cast<double>(x[j]) * x[j]; });
  }
};

void check_lrn() {
  Normalisation n;
  Doubles expected(n.x.count());
  for (size_t i = 0; i < expected.size(); ++i) expected[i] = n.x[i] * pow(n.scale[i], -n.l.beta);
  kernels()->lrn(n.l, n.images, n.channels, n.pixels, n.x, n.y);
  compare(n.y, expected);
}

void check_lrn_backward() {
  Normalisation n;
  Array diff(n.x.count()), dx(n.x.count());
  Doubles expected(n.x.count());
  for (size_t i = 0; i < expected.size(); ++i) {
    n.y[i] = n.x[i] * pow(n.scale[i], -n.l.beta);
    expected[i] = diff[i] * pow(n.scale[i], -n.l.beta);
  }
  n.each_pair([&](int i, int j) {   // y_i depends on x_j
    expected[j] -= diff[i] * n.x[i] * n.l.beta * pow(n.scale[i], -n.l.beta - 1) * n.l.alpha / n.l.size * 2 * n.x[j];
  });
  kernels()->lrn_backward(n.l, n.images, n.channels, n.pixels, n.x, n.y, diff, dx);
  compare(dx, expected);
}

// Some blobs of as many numbers, the first of which may be the top's own.
struct Terms {
  size_t count = random_count();
  int terms = between(2, 4);
  std::vector<std::unique_ptr<Array>> arrays, gradients;
  std::vector<const float*> bottoms;
  std::vector<float*> diffs;
  Array top{count}, diff{count}, coefficients{4};
  Terms() {
    for (int t = 0; t < terms; ++t) {
      arrays.emplace_back(new Array(count));
      gradients.emplace_back(new Array(count));
      bottoms.push_back(*arrays.back());
      diffs.push_back(t == 1 && one_in(2) ? nullptr : gradients.back()->begin());
    }
    if (one_in(2)) std::fill_n(coefficients.begin(), 4, 1.f);
    for (size_t i = 0; i < count; ++i)
      if (one_in(5)) (*arrays[1])[i] = (*arrays[0])[i];    // ties
  }
  int winner(size_t i) const {
    int best = bottoms[0][i] > bottoms[1][i] ? 0 : 1;
    for (int t = 2; t < terms; ++t)
      if (bottoms[t][i] > bottoms[best][i]) best = t;
    return best;
  }
  template <typename F>
  void compare_gradients(const F& derivative) {
    for (int t = 0; t < terms; ++t) {
      if (!diffs[t]) continue;
      Doubles expected(count);
      for (size_t i = 0; i < count; ++i) expected[i] = diff[i] * derivative(t, i);
      compare(*gradients[t], expected);
    }
  }
};

void check_sum_backward() {
  Terms t;
  kernels()->sum_backward(t.count, t.terms, t.coefficients, t.diff, t.diffs.data());
  t.compare_gradients([&](int term, size_t) { return static_cast<double>(t.coefficients[term]); });
  const Doubles before = doubles(t.diff);
  t.diffs[0] = t.diff;    // in place
  kernels()->sum_backward(t.count, t.terms, t.coefficients, t.diff, t.diffs.data());
  Doubles expected = before;
  for (double& value : expected) value *= t.coefficients[0];
  compare(t.diff, expected);
}

void check_product() {
  Terms t;
  Doubles expected(t.count, 1);
  for (size_t i = 0; i < t.count; ++i)
    for (int term = 0; term < t.terms; ++term) expected[i] *= t.bottoms[term][i];
  kernels()->product(t.count, t.terms, t.bottoms.data(), t.top);
  compare(t.top, expected);
}

void check_product_backward() {
  Terms t;
  kernels()->product(t.count, t.terms, t.bottoms.data(), t.top);
  kernels()->product_backward(t.count, t.terms, t.bottoms.data(), one_in(2) ? t.top.begin() : nullptr, t.diff,
                              t.diffs.data());
  t.compare_gradients([&](int term, size_t i) {
    double others = 1;
    for (int other = 0; other < t.terms; ++other)
      if (other != term) others *= t.bottoms[other][i];
    return others;
  });
}

void check_maximum() {
  Terms t;
  Doubles expected(t.count);
  for (size_t i = 0; i < t.count; ++i) expected[i] = t.bottoms[t.winner(i)][i];
  kernels()->maximum(t.count, t.terms, t.bottoms.data(), t.top);
  compare(t.top, expected);
}

void check_maximum_backward() {
  Terms t;
  kernels()->maximum_backward(t.count, t.terms, t.bottoms.data(), t.diff, t.diffs.data());
  t.compare_gradients([&](int term, size_t i) { return term == t.winner(i) ? 1. : 0.; });
}

// A few rows and a matrix.
struct Rows {
  int rows = between(1, 5), outputs = between(1, 40), inputs = one_in(3) ? between(1000, 5000) : between(1, 200);
  Array bottom{static_cast<size_t>(rows * inputs)}, weights{static_cast<size_t>(outputs * inputs)};
  Array top{static_cast<size_t>(rows * outputs)}, bias{static_cast<size_t>(outputs)};
  // f(element of the bottom, of the weights, of the top)
  template <typename F>
  void each_product(const F& f) const {
    for (int r = 0; r < rows; ++r)
      for (int o = 0; o < outputs; ++o)
        for (int i = 0; i < inputs; ++i) f(r * inputs + i, o * inputs + i, r * outputs + o);
  }
};

void check_inner_product() {
  Rows r;
  const bool biased = one_in(2);
  Doubles expected(r.top.count());
  for (size_t i = 0; i < expected.size(); ++i) expected[i] = biased ? r.bias[i % r.outputs] : 0;
  r.each_product([&](int x, int w, int y) { expected[y] += static_cast<double>(r.bottom[x]) * r.weights[w]; });
  kernels()->inner_product(r.rows, r.outputs, r.inputs, r.bottom, r.weights, biased ? r.bias.begin() : nullptr, r.top);
  compare(r.top, expected);
}

void check_inner_product_backward() {
  Rows r;
  Array to_weights(r.weights.count()), to_bottom(r.bottom.count());
  const bool weights_too = one_in(2), bottom_too = !weights_too || one_in(2);
  Doubles expected_weights = doubles(to_weights), expected_bottom(r.bottom.count());
  r.each_product([&](int x, int w, int y) {
    if (weights_too) expected_weights[w] += static_cast<double>(r.bottom[x]) * r.top[y];
    expected_bottom[x] += static_cast<double>(r.weights[w]) * r.top[y];
  });
  kernels()->inner_product_backward(r.rows, r.outputs, r.inputs, r.bottom, r.weights, r.top,
                                    weights_too ? to_weights.begin() : nullptr,
                                    bottom_too ? to_bottom.begin() : nullptr);
  compare(to_weights, expected_weights);
  if (bottom_too) compare(to_bottom, expected_bottom);
}

void check_sum() {
  const size_t count = random_count();
  Array a(count), b(count), c(count), top(count), coefficients(3);
  const float* bottoms[] = {a, b, c};
  const int terms = between(1, 3);
  if (one_in(2)) std::fill_n(coefficients.begin(), 3, 1.f);
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

void check_softmax_backward() {
  const int images = between(1, 3), channels = between(1, 30), pixels = one_in(3) ? 1 : between(1, 600);
  Array top(images * channels * pixels), diff(top.count()), bottom(top.count());
  Doubles expected(top.count());
  for (int n = 0; n < images; ++n)
    for (int i = 0; i < pixels; ++i) {
      const size_t at = static_cast<size_t>(n) * channels * pixels + i;
      double dot = 0;
      for (int c = 0; c < channels; ++c) dot += static_cast<double>(diff[at + c * pixels]) * top[at + c * pixels];
      for (int c = 0; c < channels; ++c) expected[at + c * pixels] = (diff[at + c * pixels] - dot) * top[at + c * pixels];
    }
  kernels()->softmax_backward(images, channels, pixels, top, diff, bottom);
  compare(bottom, expected);
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
    printf("%-24s %.1e %s\n", kernel.name, worst, same ? "ok" : "WRONG");
    right = right && same;
  }
  return !right;
}
