// Stands in for cuRAND: numbers of the C++ library, written into memory of the emulated card.
#include <curand.h>

#include <random>

struct EmulatedGenerator { std::mt19937_64 numbers; unsigned long long seed = 0; };

template <typename T, typename Next>
static curandStatus_t fill(T* numbers, size_t count, const Next& next) {
  const emulated::Access access("curandGenerate", {numbers});
  if (!access) return CURAND_STATUS_LAUNCH_FAILURE;
  for (size_t i = 0; i < count; ++i) numbers[i] = next();
  return CURAND_STATUS_SUCCESS;
}

// 0 is never drawn, 1 may be.
template <typename T>
static curandStatus_t uniform(curandGenerator_t generator, T* numbers, size_t count) {
  std::uniform_real_distribution<T> below_one(0, 1);
  return fill(numbers, count, [&] { return 1 - below_one(generator->numbers); });
}

template <typename T>
static curandStatus_t normal(curandGenerator_t generator, T* numbers, size_t count, T mean, T std) {
  if (count % 2) return CURAND_STATUS_LENGTH_NOT_MULTIPLE;      // cuRAND draws pairs
  std::normal_distribution<T> drawn(mean, std);
  return fill(numbers, count, [&] { return drawn(generator->numbers); });
}

extern "C" {

curandStatus_t curandCreateGenerator(curandGenerator_t* generator, curandRngType_t) {
  if (cudaFree(nullptr) != cudaSuccess) return CURAND_STATUS_INITIALIZATION_FAILED;
  *generator = new EmulatedGenerator;
  return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandDestroyGenerator(curandGenerator_t generator) {
  delete generator;
  return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandSetPseudoRandomGeneratorSeed(curandGenerator_t generator, unsigned long long seed) {
  generator->seed = seed;
  generator->numbers.seed(seed);
  return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandSetGeneratorOffset(curandGenerator_t generator, unsigned long long offset) {
  generator->numbers.seed(generator->seed);
  generator->numbers.discard(offset);
  return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandGenerate(curandGenerator_t generator, unsigned* numbers, size_t count) {
  return fill(numbers, count, [&] { return static_cast<unsigned>(generator->numbers()); });
}
curandStatus_t curandGenerateUniform(curandGenerator_t generator, float* numbers, size_t count) {
  return uniform(generator, numbers, count);
}
curandStatus_t curandGenerateUniformDouble(curandGenerator_t generator, double* numbers, size_t count) {
  return uniform(generator, numbers, count);
}
curandStatus_t curandGenerateNormal(curandGenerator_t generator, float* numbers, size_t count, float mean, float std) {
  return normal(generator, numbers, count, mean, std);
}
curandStatus_t curandGenerateNormalDouble(curandGenerator_t generator, double* numbers, size_t count, double mean,
                                          double std) {
  return normal(generator, numbers, count, mean, std);
}

}
