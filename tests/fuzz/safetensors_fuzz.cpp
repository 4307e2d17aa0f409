// Any bytes: the reader refuses them with an Error, or what it accepts can be written and reads back the same.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "valence/io/safetensors.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace valence;
  try {
    const auto file = Safetensors::parse(std::as_bytes(std::span(data, size)), {.verify = (size & 1) != 0});
    const auto written = file.serialize({.checksum = (size & 2) != 0});
    const auto again = Safetensors::parse(written);
    if (again.tensors().size() != file.tensors().size()) std::abort();
    for (const auto& tensor : file.tensors()) {
      const auto& other = again.info(tensor.name);
      if (other.dtype != tensor.dtype || other.shape != tensor.shape) std::abort();
      const auto a = file.bytes(tensor.name), b = again.bytes(tensor.name);
      if (!std::equal(a.begin(), a.end(), b.begin(), b.end())) std::abort();
      if (tensor.dtype == DType::f32 && file.values<float>(tensor.name).size() * 4 != a.size()) std::abort();
    }
    if (again.serialize({.checksum = (size & 2) != 0}) != written) std::abort();
  } catch (const Error&) {}
  return 0;
}
