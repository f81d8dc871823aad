// Segment a photograph with Caffe from C++:
//
//     segment deploy.prototxt weights.caffemodel photo.jpg out.png 104.00699,116.66877,122.67892
//
// The photograph is a JPEG, or a PNG of 8 bits a channel. The numbers are the mean of blue, green and red that the net
// was trained with. In out.png, the value of every pixel is its class, shown in the colours of PASCAL VOC.
//
// Compile it with what Caffe itself needs; libjpeg and zlib came with HDF5 and protobuf:
//
//     g++ -std=c++14 -O2 docs/deploy/segment.cpp -o segment $(.venv/bin/python -m accel flags) -ljpeg -lz
#include <caffe/caffe.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <jpeglib.h>        // after cstdio, which it needs
#include <stdexcept>
#include <string>
#include <vector>
#include <zlib.h>

struct Picture {
  int height, width;
  std::vector<uint8_t> rgb;     // height x width x 3
};

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }

const uint8_t* bytes(const std::string& text) { return reinterpret_cast<const uint8_t*>(text.data()); }

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(file), {}};
  if (!file || content.empty()) fail(path + ": no such file, or it is empty");
  return content;
}

Picture read_jpeg(const std::string& file) {
  jpeg_decompress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg.err = jpeg_std_error(&errors);
  errors.error_exit = [](j_common_ptr info) {
    std::cerr << "error: the JPEG cannot be read: ";
    info->err->output_message(info);
    std::exit(2);
  };
  errors.emit_message = [](j_common_ptr info, int level) {
    if (level < 0) info->err->error_exit(info);     // a warning, such as that the file is cut short
  };
  jpeg_create_decompress(&jpeg);
  jpeg_mem_src(&jpeg, bytes(file), file.size());
  jpeg_read_header(&jpeg, TRUE);
  jpeg.out_color_space = JCS_RGB;
  jpeg_start_decompress(&jpeg);
  const size_t row = size_t(3) * jpeg.output_width;
  Picture picture{int(jpeg.output_height), int(jpeg.output_width), std::vector<uint8_t>(row * jpeg.output_height)};
  while (jpeg.output_scanline < jpeg.output_height) {
    uint8_t* line = &picture.rgb[row * jpeg.output_scanline];
    jpeg_read_scanlines(&jpeg, &line, 1);
  }
  jpeg_finish_decompress(&jpeg);
  jpeg_destroy_decompress(&jpeg);
  return picture;
}

uint32_t big_endian(const uint8_t* p) { return uint32_t(p[0]) << 24 | p[1] << 16 | p[2] << 8 | p[3]; }

// The parts of a PNG of one name, one after the other.
std::string chunks(const std::string& file, const std::string& name) {
  std::string found;
  for (size_t at = 8, size; at + 12 <= file.size(); at += size + 12) {
    size = big_endian(bytes(file) + at);
    if (size > file.size() - at - 12) fail("the PNG is cut short");
    if (file.compare(at + 4, 4, name) == 0) found += file.substr(at + 8, size);
  }
  return found;
}

Picture read_png(const std::string& file) {
  const std::string header = chunks(file, "IHDR"), palette = chunks(file, "PLTE"), packed = chunks(file, "IDAT");
  const size_t channels_of[] = {1, 0, 3, 1, 2, 0, 4};      // by colour type: grey, RGB, palette, grey or RGB with alpha
  if (header.size() != 13 || header[8] != 8 || header[9] > 6 || !channels_of[int(header[9])] || header[12])
    fail("the PNG does not have 8 bits a channel, or is interlaced; save it as a plain RGB one");
  const size_t width = big_endian(bytes(header)), height = big_endian(bytes(header) + 4);
  const size_t step = channels_of[int(header[9])], row = width * step + 1;    // in front of each row is its filter
  if (!width || !height || width > 1 << 16 || height > 1 << 16) fail("the PNG has no pixels, or too many");
  std::vector<uint8_t> rows(row * height);
  uLongf size = rows.size();
  if (uncompress(rows.data(), &size, bytes(packed), packed.size()) != Z_OK || size != rows.size())
    fail("the PNG is damaged");
  for (size_t y = 0; y < height; ++y) {
    for (size_t x = 1; x < row; ++x) {
      uint8_t* value = &rows[y * row + x];
      const int left = x > step ? value[-int(step)] : 0, above = y ? value[-int(row)] : 0;
      const int corner = x > step && y ? value[-int(row + step)] : 0, guess = left + above - corner;
      const int a = std::abs(guess - left), b = std::abs(guess - above), c = std::abs(guess - corner);
      const int paeth = a <= b && a <= c ? left : b <= c ? above : corner;
      const int predicted[] = {0, left, above, (left + above) / 2, paeth};
      if (rows[y * row] > 4) fail("the PNG is damaged");
      *value = uint8_t(*value + predicted[rows[y * row]]);
    }
  }
  Picture picture{int(height), int(width), {}};
  for (size_t y = 0; y < height; ++y)
    for (size_t x = 0; x < width; ++x)
      for (size_t c = 0; c < 3; ++c) {
        const uint8_t* pixel = &rows[y * row + 1 + x * step];
        if (header[9] == 3 && pixel[0] * 3u + c >= palette.size()) fail("the PNG is damaged");
        picture.rgb.push_back(header[9] == 3 ? bytes(palette)[pixel[0] * 3 + c] : pixel[step < 3 ? 0 : c]);
      }
  return picture;
}

Picture read_picture(const std::string& path) {
  const std::string file = read_file(path);
  if (file.compare(0, 8, "\x89PNG\r\n\x1a\n") == 0) return read_png(file);
  if (file.compare(0, 2, "\xff\xd8") == 0) return read_jpeg(file);
  fail(path + " is neither a JPEG nor a PNG");
}

std::string big_endian(size_t value) {
  return {char(value >> 24), char(value >> 16), char(value >> 8), char(value)};
}

std::string chunk(const std::string& content) {     // which begins with its name of four letters
  return big_endian(content.size() - 4) + content + big_endian(crc32(0, bytes(content), content.size()));
}

void write_png(const std::string& path, int height, int width, const std::vector<uint8_t>& classes) {
  std::string palette = "PLTE", rows;
  for (int k = 0; k < 256; ++k) {
    char colour[3] = {};
    for (int bit = 0; bit < 8; ++bit) colour[bit % 3] |= char((k >> bit & 1) << (7 - bit / 3));
    palette.append(colour, 3);
  }
  for (auto row = classes.begin(); row != classes.end(); row += width) rows += '\0' + std::string(row, row + width);
  std::string packed(compressBound(rows.size()), '\0');
  uLongf size = packed.size();
  compress(reinterpret_cast<uint8_t*>(&packed[0]), &size, bytes(rows), rows.size());
  std::ofstream file(path, std::ios::binary);
  const std::string header = big_endian(width) + big_endian(height) + std::string("\x08\x03\0\0\0", 5);
  file << "\x89PNG\r\n\x1a\n" << chunk("IHDR" + header) << chunk(palette)
       << chunk("IDAT" + packed.substr(0, size)) << chunk("IEND");
  if (!file.flush()) fail(path + " cannot be written");
}

void segment(const std::string& prototxt, const std::string& weights, const std::string& photo, const std::string& out,
             const std::string& numbers) {
  float mean[3];
  int end = 0;
  if (std::sscanf(numbers.c_str(), "%f,%f,%f%n", &mean[0], &mean[1], &mean[2], &end) != 3 || numbers[size_t(end)])
    fail(numbers + " is no mean; give three numbers, B,G,R");
  read_file(prototxt), read_file(weights);      // Caffe would end the process with a longer message
  const Picture picture = read_picture(photo);

  caffe::Caffe::set_mode(caffe::Caffe::CPU);
  caffe::Net<float> net(prototxt, caffe::TEST);
  net.CopyTrainedLayersFrom(weights);
  if (net.num_inputs() != 1 || net.num_outputs() != 1) fail(prototxt + ": the net needs one input and one output");
  caffe::Blob<float>* input = net.input_blobs()[0];
  if (input->num_axes() != 4 || input->shape(1) != 3) fail(prototxt + ": the input needs 3 channels");
  input->Reshape({1, 3, picture.height, picture.width});
  const size_t pixels = size_t(picture.height) * picture.width;
  float* planes = input->mutable_cpu_data();    // blue, green, red
  for (size_t i = 0; i < pixels; ++i)
    for (size_t c = 0; c < 3; ++c) planes[c * pixels + i] = picture.rgb[3 * i + 2 - c] - mean[c];

  const caffe::Blob<float>* score = net.Forward()[0];       // which reshapes the net to its input
  const int classes_count = score->num_axes() == 4 ? score->shape(1) : 0;
  if (score->shape() != std::vector<int>{1, classes_count, picture.height, picture.width} || classes_count > 256)
    fail(prototxt + ": the output is " + score->shape_string() + ", not a score of each pixel for at most 256 classes");
  const float* scores = score->cpu_data();
  std::vector<uint8_t> classes(pixels);         // that of the highest score, at first class 0
  for (int k = 1; k < classes_count; ++k)
    for (size_t i = 0; i < pixels; ++i)
      if (scores[k * pixels + i] > scores[classes[i] * pixels + i]) classes[i] = uint8_t(k);
  write_png(out, picture.height, picture.width, classes);
}

int main(int count, char** words) {
  FLAGS_minloglevel = 2;        // of Caffe's log only errors
  try {
    if (count != 6) fail("usage: segment deploy.prototxt weights.caffemodel photo out.png B,G,R");
    segment(words[1], words[2], words[3], words[4], words[5]);
  } catch (const std::exception& problem) {
    std::cerr << "error: " << problem.what() << std::endl;
    return 2;
  }
}
