// The C++ side of tests/peers/*.py: does with files what the tests ask, and says in JSON lines what it saw.
//
//   io_peer write FILE              writes tensors of every kind that NumPy has, with and without checksum
//   io_peer describe FILE           one line a tensor: name, type, shape, bytes in hexadecimal; then the metadata
//   io_peer resave FILE FILE        reads one, writes the other, without checksum
//   io_peer parameters FILE         writes a flat parameter vector under PyTorch's names
//   io_peer preferences FILE        one line a row: prompt, chosen, rejected as read, or line, key and reason
#include <fmt/core.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "valence/io.hpp"

using namespace valence;

namespace {

std::string json_quoted(std::string_view text) {
  std::string out;
  detail::append_json_string(out, text);
  return out;
}

void write(const char* path) {
  Safetensors file;
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  file.add<float>("net.0.weight", {1.5F, -2.0F, nan, inf, -0.0F, 1e-45F}, {2, 3});
  file.add<double>("scalar", {0.1}, {});
  file.add<std::int64_t>("i64", {-1, 9007199254740993}, {2});
  file.add<std::uint64_t>("u64", {18446744073709551615U}, {1});
  file.add<std::int32_t>("i32", {-2147483647, 7}, {1, 2, 1});
  file.add<std::uint32_t>("u32", {4294967295U}, {1});
  file.add<std::int16_t>("i16", {-32768}, {1});
  file.add<std::uint16_t>("u16", {65535}, {1});
  file.add<std::int8_t>("i8", {-128, 127}, {2});
  file.add<std::uint8_t>("u8 \"quoted\" ü\n", {0, 255}, {2});
  const std::array<bool, 3> flags{true, false, true};
  file.add("flags", std::span<const bool>(flags), {3});
  file.add<float>("empty", std::vector<float>{}, {3, 0, 2});
  file.set_metadata("format", "pt");
  file.set_metadata("note", "ü \x01 \"");
  file.save(path);
}

void describe(const char* path) {
  const auto file = Safetensors::load(path);
  for (const auto& tensor : file.tensors()) {
    std::string shape, hex;
    for (const auto d : tensor.shape) shape += fmt::format("{}{}", shape.empty() ? "" : ", ", d);
    for (const auto b : file.bytes(tensor.name)) hex += fmt::format("{:02x}", std::to_integer<unsigned>(b));
    fmt::print("{{\"name\": {}, \"dtype\": \"{}\", \"shape\": [{}], \"data\": \"{}\"}}\n", json_quoted(tensor.name),
               name_of(tensor.dtype), shape, hex);
  }
  std::string words;
  for (const auto& [key, value] : file.metadata())
    words += (words.empty() ? "" : ", ") + json_quoted(key) + ": " + json_quoted(value);
  fmt::print("{{\"metadata\": {{{}}}}}\n", words);
}

void parameters(const char* path) {
  const std::vector<float> theta{11, 21, 12, 22, 13, 23, 1, 2};  // the matrix column by column
  const std::vector<ParameterBlock> layout{{"net.0.weight", 0, {2, 3}}, {"net.0.bias", 6, {2}}};
  save_parameters<float>(path, theta, layout);
}

void preferences(const char* path) {
  const auto data = load_jsonl<PreferenceRow>(path, {.on_fault = OnFault::skip});
  for (std::size_t i = 0; i < data.rows.size(); ++i)
    fmt::print("{{\"line\": {}, \"row\": {}}}\n", data.lines[i], to_json_line(data.rows[i]));
  for (const auto& fault : data.faults)
    fmt::print("{{\"line\": {}, \"key\": {}, \"reason\": {}}}\n", fault.line, json_quoted(fault.key),
               json_quoted(fault.reason));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view verb = argc > 2 ? argv[1] : "";
  try {
    if (verb == "write")
      write(argv[2]);
    else if (verb == "describe")
      describe(argv[2]);
    else if (verb == "resave" && argc > 3)
      Safetensors::load(argv[2]).save(argv[3], {.checksum = false});
    else if (verb == "parameters")
      parameters(argv[2]);
    else if (verb == "preferences")
      preferences(argv[2]);
    else
      throw Error("usage: io_peer write|describe|resave|parameters|preferences FILE [FILE]");
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
  return 0;
}
