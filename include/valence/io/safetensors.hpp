#pragma once

#if !__has_include(<nlohmann/json.hpp>)
#error "valence/io/safetensors.hpp reads JSON: install nlohmann-json (Debian: nlohmann-json3-dev)"
#endif
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/io/atomic_file.hpp"
#include "valence/io/byte_source.hpp"
#include "valence/io/checksum.hpp"
#include "valence/io/json_text.hpp"
#include "valence/io/text.hpp"

namespace valence {

/// The types of numbers that a safetensors file can hold, in the format's order of alignment, smallest first: files
/// list tensors by falling type, then by name.
enum class DType : std::uint8_t {
  boolean,
  f4,
  f6_e2m3,
  f6_e3m2,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  c64,
  f64,
  i64,
  u64
};

namespace detail {

struct DTypeFacts {
  std::string_view name;
  unsigned bits;
};
inline constexpr std::array<DTypeFacts, 22> dtype_facts{
    {{"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
     {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
     {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
     {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}}};

}  // namespace detail

/// The format's name of a type: "F32".
constexpr std::string_view name_of(DType dtype) { return detail::dtype_facts[static_cast<std::size_t>(dtype)].name; }
/// Bits of one number; not always a multiple of 8.
constexpr unsigned bits_of(DType dtype) { return detail::dtype_facts[static_cast<std::size_t>(dtype)].bits; }

/// The C++ types that tensors are read into and written from: float, double, bool and the integers of 8 to 64 bits.
template <class S>
concept TensorScalar = std::same_as<S, float> || std::same_as<S, double> || std::same_as<S, bool> ||
                       (std::integral<S> && !std::same_as<S, char> && !std::same_as<S, wchar_t> &&
                        !std::same_as<S, char8_t> && !std::same_as<S, char16_t> && !std::same_as<S, char32_t>);

/// The type that tensors of `S` have in the file.
template <TensorScalar S>
constexpr DType dtype_of() {
  if constexpr (std::same_as<S, bool>) return DType::boolean;
  if constexpr (std::same_as<S, float>) return DType::f32;
  if constexpr (std::same_as<S, double>) return DType::f64;
  constexpr bool is_signed = std::signed_integral<S>;
  if constexpr (sizeof(S) == 1) return is_signed ? DType::i8 : DType::u8;
  if constexpr (sizeof(S) == 2) return is_signed ? DType::i16 : DType::u16;
  if constexpr (sizeof(S) == 4) return is_signed ? DType::i32 : DType::u32;
  return is_signed ? DType::i64 : DType::u64;
}

/// A tensor's entry in the header.
struct TensorInfo {
  std::string name;
  DType dtype = DType::boolean;
  std::vector<std::uint64_t> shape;  ///< row-major; no dimensions: a single number; a dimension of 0: no numbers
  std::uint64_t begin = 0, end = 0;  ///< where its bytes lie in the data that follows the header
  friend bool operator==(const TensorInfo&, const TensorInfo&) = default;
};

/// How `Safetensors::load` reads.
struct SafetensorsLoadOptions {
  bool verify = true;  ///< check valence's checksum where the file carries one
};

/// How `Safetensors::save` writes.
struct SafetensorsSaveOptions {
  bool checksum = true;  ///< put a checksum of names, types, shapes, metadata and numbers into the metadata
};

namespace detail {

inline std::string shape_text(std::span<const std::uint64_t> shape) {
  std::string out = "[";
  for (std::size_t i = 0; i < shape.size() && i < 16; ++i) out += fmt::format("{}{}", i ? ", " : "", shape[i]);
  return out + (shape.size() > 16 ? ", ...]" : "]");
}

/// a * b, or nothing where that does not fit.
inline std::optional<std::uint64_t> checked_product(std::uint64_t a, std::uint64_t b) {
  if (b != 0 && a > (std::numeric_limits<std::uint64_t>::max)() / b) return std::nullopt;
  return a * b;
}

/// The size in bytes of a tensor; throws when the count of numbers or of bits overflows or ends inside a byte.
inline std::uint64_t tensor_bytes(std::string_view where, std::string_view file, std::string_view name, DType dtype,
                                  std::span<const std::uint64_t> shape) {
  std::optional<std::uint64_t> count = 1;
  for (const auto dimension : shape)
    if (count) count = checked_product(*count, dimension);
  if (!count) fail(where, "{}: tensor {} of shape {} has more than 2^64 numbers", file, shown(name), shape_text(shape));
  const auto bits = checked_product(*count, bits_of(dtype));
  if (!bits)
    fail(where, "{}: tensor {} of shape {} and type {} has more than 2^64 bits", file, shown(name), shape_text(shape),
         name_of(dtype));
  if (*bits % 8 != 0)
    fail(where, "{}: tensor {} of shape {} and type {} ends inside a byte ({} bits)", file, shown(name),
         shape_text(shape), name_of(dtype), *bits);
  return *bits / 8;
}

/// Reads a header's JSON straight into entries, without a tree between (a header may have 100 MB), and refuses what
/// serde and most readers let pass: a name or a key that comes twice, a key that the format does not know.
class SafetensorsHeader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
  bool has_metadata = false;
  std::string error;

  bool null() override { return value("null"); }
  bool boolean(bool) override { return value("true or false"); }
  bool number_integer(number_integer_t) override {
    return at_ == In::list ? refuse(fmt::format("{} of tensor {} has a negative number", list_name(), here()))
                           : value("a number");
  }
  bool number_unsigned(number_unsigned_t number) override {
    if (at_ != In::list) return value("a number");
    if (list_ == Key::shape) {
      tensors.back().shape.push_back(number);
      return true;
    }
    if (offsets_ == 2) return refuse(fmt::format("data_offsets of tensor {} has more than two numbers", here()));
    (offsets_++ == 0 ? tensors.back().begin : tensors.back().end) = number;
    return true;
  }
  bool number_float(number_float_t, const string_t& text) override {
    return at_ == In::list ? refuse(fmt::format("{} of tensor {} has {}; expected whole numbers below 2^64",
                                                list_name(), here(), shown(text)))
                           : value("a number");
  }
  bool string(string_t& text) override {
    if (at_ == In::metadata) {
      if (!metadata.emplace(key_, text).second) return refuse(fmt::format("__metadata__ names {} twice", shown(key_)));
      return true;
    }
    if (at_ == In::tensor && key_ == "dtype") {
      for (std::size_t i = 0; i < dtype_facts.size(); ++i)
        if (dtype_facts[i].name == text) {
          tensors.back().dtype = static_cast<DType>(i);
          return true;
        }
      return refuse(fmt::format("tensor {} has the unknown dtype {}", here(), shown(text)));
    }
    return value("a string");
  }
  bool binary(binary_t&) override { return value("binary data"); }
  bool start_object(std::size_t) override {
    if (at_ == In::nothing) {
      at_ = In::header;
    } else if (at_ == In::header && key_ == "__metadata__") {
      if (has_metadata) return refuse("__metadata__ comes twice");
      has_metadata = true;
      at_ = In::metadata;
    } else if (at_ == In::header) {
      if (!names_.insert({key_, tensors.size()}).second)
        return refuse(fmt::format("two tensors have the name {}", shown(key_)));
      tensors.emplace_back().name = key_;
      seen_ = 0;
      offsets_ = 0;
      at_ = In::tensor;
    } else {
      return value("an object");
    }
    return true;
  }
  bool end_object() override {
    if (at_ == In::tensor) {
      if (!(seen_ & bit(Key::dtype))) return refuse(fmt::format("tensor {} has no dtype", here()));
      if (!(seen_ & bit(Key::shape))) return refuse(fmt::format("tensor {} has no shape", here()));
      if (!(seen_ & bit(Key::offsets))) return refuse(fmt::format("tensor {} has no data_offsets", here()));
    }
    at_ = In::header;
    return true;
  }
  bool start_array(std::size_t) override {
    if (at_ != In::tensor || key_ == "dtype") return value("an array");
    list_ = key_ == "shape" ? Key::shape : Key::offsets;
    at_ = In::list;
    return true;
  }
  bool end_array() override {
    at_ = In::tensor;
    return list_ == Key::shape || offsets_ == 2 ||
           refuse(fmt::format("data_offsets of tensor {} has {} numbers; expected two", here(), offsets_));
  }
  bool key(string_t& name) override {
    key_ = std::move(name);
    if (at_ != In::tensor) return true;
    const unsigned known = key_ == "dtype"          ? bit(Key::dtype)
                           : key_ == "shape"        ? bit(Key::shape)
                           : key_ == "data_offsets" ? bit(Key::offsets)
                                                    : 0;
    if (known == 0)
      return refuse(
          fmt::format("tensor {} has the unknown key {}; expected dtype, shape and data_offsets", here(), shown(key_)));
    if (seen_ & known) return refuse(fmt::format("tensor {} has {} twice", here(), key_));
    seen_ |= known;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    return refuse(fmt::format("the header is not valid JSON at byte {}", position));
  }

  /// Where each name stands in `tensors`.
  std::unordered_map<std::string, std::size_t> take_names() { return std::move(names_); }

 private:
  enum class In { nothing, header, metadata, tensor, list };
  enum class Key { dtype, shape, offsets };
  static unsigned bit(Key k) { return 1U << static_cast<unsigned>(k); }

  bool refuse(std::string why) {
    error = std::move(why);
    return false;
  }
  std::string here() const { return shown(tensors.back().name); }
  std::string_view list_name() const { return list_ == Key::shape ? "shape" : "data_offsets"; }
  /// A value that the format does not have at this place.
  bool value(std::string_view what) {
    switch (at_) {
      case In::nothing:
        return refuse(fmt::format("the header is {}; expected an object", what));
      case In::metadata:
        return refuse(fmt::format("__metadata__ has {} under {}; expected strings only", what, shown(key_)));
      case In::header:
        if (key_ == "__metadata__")
          return refuse(fmt::format("__metadata__ is {}; expected an object of strings", what));
        return refuse(fmt::format("tensor {} is {}; expected an object", shown(key_), what));
      case In::list:
        return refuse(fmt::format("{} of tensor {} has {}; expected whole numbers", list_name(), here(), what));
      default:
        return refuse(fmt::format("{} of tensor {} is {}; expected {}", key_, here(), what,
                                  key_ == "dtype" ? "a string" : "a list of whole numbers"));
    }
  }

  In at_ = In::nothing;
  Key list_ = Key::shape;
  unsigned seen_ = 0, offsets_ = 0;
  std::string key_;
  std::unordered_map<std::string, std::size_t> names_;
};

/// Copies numbers of `size` bytes each between memory and file, which is little-endian.
inline void copy_numbers(std::byte* out, const std::byte* in, std::size_t bytes, std::size_t size, bool swap) {
  if (bytes == 0) return;
  if (!swap) {
    std::memcpy(out, in, bytes);
    return;
  }
  for (std::size_t i = 0; i < bytes; i += size) std::reverse_copy(in + i, in + i + size, out + i);
}
inline constexpr bool swaps_bytes = std::endian::native == std::endian::big;

}  // namespace detail

/// Named tensors and a few words of metadata: the content of a safetensors file
/// (https://github.com/huggingface/safetensors, format 0.x). Python's `safetensors` reads what `save` writes, and
/// `load` reads what Python writes. Everything that the format demands is checked before any number is used, each rule
/// with words of its own; a refused file leaves the object that was to be filled as it was. Memory is asked for only in
/// proportion to the bytes that are really there, whatever the header claims.
///
/// Files that valence writes carry a CRC-32C of all they mean (names, types, shapes, metadata, numbers; not of the
/// header's spelling) as `__metadata__["valence.checksum"]`. So every flipped bit is found on loading, while a faithful
/// rewrite by another program stays good. Files without it are read too.
class Safetensors {
 public:
  static constexpr std::uint64_t max_header_bytes = 100'000'000;
  static constexpr std::string_view checksum_key = "valence.checksum";
  static constexpr std::string_view checksum_tag = "valence-crc32c:";

  Safetensors() = default;

  /// Reads a file.
  static Safetensors load(const std::filesystem::path& path, SafetensorsLoadOptions options = {}) {
    auto source = detail::ByteSource::of_file(where, path);
    std::error_code error;
    const std::uint64_t size = std::filesystem::file_size(path, error);
    if (error) fail(where, "cannot read '{}': {}", path.string(), error.message());
    return read_source(source, size, options);
  }
  /// Reads the content of a file from memory; `name` stands for the file in messages.
  static Safetensors parse(std::span<const std::byte> content, SafetensorsLoadOptions options = {},
                           std::string name = "content") {
    auto source = detail::ByteSource::of_text(
        std::string_view(reinterpret_cast<const char*>(content.data()), content.size()), std::move(name));
    return read_source(source, content.size(), options);
  }

  /// The tensors, in the order of their data.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  /// Whether there is a tensor of this name.
  bool contains(std::string_view name) const { return names_.find(std::string(name)) != names_.end(); }
  /// The entry of a tensor; an `Error` when there is none of this name.
  const TensorInfo& info(std::string_view name) const {
    const auto found = names_.find(std::string(name));
    if (found == names_.end()) fail(where, "{} has no tensor {}", name_, shown(name));
    return tensors_[found->second];
  }
  /// The file's words about itself.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// Adds to them, or replaces. UTF-8.
  void set_metadata(const std::string& key, std::string value) {
    if (find_invalid_utf8(key) != std::string::npos || find_invalid_utf8(value) != std::string::npos)
      fail(where, "metadata {}: {} is not UTF-8", shown(key), shown(value));
    if (key == checksum_key || value.starts_with(checksum_tag))
      fail(where, "metadata {}: {} is reserved for the checksum, which save() writes", shown(key), shown(value));
    has_metadata_ = true;
    metadata_[key] = std::move(value);
  }

  /// A tensor's bytes as they stand in the file: row-major, little-endian. Valid until the object changes.
  std::span<const std::byte> bytes(std::string_view name) const {
    const TensorInfo& tensor = info(name);
    return bytes_of(tensor);
  }
  /// Copies a tensor's numbers to `out`. Type and count must agree (nothing is converted); otherwise an `Error` says
  /// what the file has, and `out` is as it was.
  template <TensorScalar S>
  void read(std::string_view name, std::span<S> out) const {
    const TensorInfo& tensor = info(name);
    const auto data = checked<S>(tensor);
    check_size(where, fmt::format("the target of tensor {} of shape {}", shown(name), detail::shape_text(tensor.shape)),
               out.size(), data.size() / sizeof(S));
    detail::copy_numbers(reinterpret_cast<std::byte*>(out.data()), data.data(), data.size(), sizeof(S),
                         detail::swaps_bytes);
  }
  /// A tensor's numbers.
  template <TensorScalar S>
  std::vector<S> values(std::string_view name) const {
    const auto data = checked<S>(info(name));
    if constexpr (std::same_as<S, bool>) {
      std::vector<bool> out;
      for (const std::byte b : data) out.push_back(b != std::byte{0});
      return out;
    } else {
      std::vector<S> out(data.size() / sizeof(S));
      detail::copy_numbers(reinterpret_cast<std::byte*>(out.data()), data.data(), data.size(), sizeof(S),
                           detail::swaps_bytes);
      return out;
    }
  }
  /// A tensor's numbers, when it has the given shape.
  template <TensorScalar S>
  std::vector<S> values(std::string_view name, std::span<const std::uint64_t> shape) const {
    const TensorInfo& tensor = info(name);
    if (!std::ranges::equal(tensor.shape, shape))
      fail(where, "{}: tensor {} has the shape {}; expected {}", name_, shown(name), detail::shape_text(tensor.shape),
           detail::shape_text(shape));
    return values<S>(name);
  }
  template <TensorScalar S>
  std::vector<S> values(std::string_view name, std::initializer_list<std::uint64_t> shape) const {
    return values<S>(name, std::span(shape.begin(), shape.size()));
  }

  /// Adds a tensor of `values`, row-major, as many as the shape says. No shape means one dimension.
  template <TensorScalar S>
  void add(std::string name, std::span<const S> values, std::vector<std::uint64_t> shape) {
    std::vector<std::byte> data(values.size_bytes());
    detail::copy_numbers(data.data(), reinterpret_cast<const std::byte*>(values.data()), data.size(), sizeof(S),
                         detail::swaps_bytes);
    add_bytes(std::move(name), dtype_of<S>(), std::move(shape), data);
  }
  template <TensorScalar S>
  void add(std::string name, const std::vector<S>& values, std::vector<std::uint64_t> shape)
    requires(!std::same_as<S, bool>)
  {
    add(std::move(name), std::span<const S>(values), std::move(shape));
  }
  template <TensorScalar S>
  void add(std::string name, const std::vector<S>& values)
    requires(!std::same_as<S, bool>)
  {
    add(std::move(name), std::span<const S>(values), {values.size()});
  }
  /// Adds a tensor of any type from its bytes, row-major and little-endian.
  void add_bytes(std::string name, DType dtype, std::vector<std::uint64_t> shape, std::span<const std::byte> data) {
    if (const std::size_t bad = find_invalid_utf8(name); bad != std::string::npos)
      fail(where, "a tensor's name {} is not UTF-8", shown(name));
    if (name == "__metadata__") fail(where, "a tensor cannot have the name '__metadata__'");
    if (names_.contains(name)) fail(where, "two tensors have the name {}", shown(name));
    const std::uint64_t size = detail::tensor_bytes(where, name_, name, dtype, shape);
    if (size != data.size())
      fail(where, "tensor {} of shape {} and type {} got {} bytes; expected {}", shown(name), detail::shape_text(shape),
           name_of(dtype), data.size(), size);
    names_.emplace(name, tensors_.size());
    tensors_.push_back({std::move(name), dtype, std::move(shape), data_.size(), data_.size() + size});
    data_.insert(data_.end(), data.begin(), data.end());
  }

  /// The content of the file, as `save` writes it: the same bytes for the same content, and those that Python's package
  /// writes when `checksum` is off.
  std::vector<std::byte> serialize(SafetensorsSaveOptions options = {}) const {
    std::vector<std::byte> out;
    write([&](std::span<const std::byte> part) { out.insert(out.end(), part.begin(), part.end()); }, options);
    return out;
  }
  /// Writes the file, atomically: `path` holds the old content or all of the new, whatever happens.
  void save(const std::filesystem::path& path, SafetensorsSaveOptions options = {}) const {
    AtomicFile file(path);
    write([&](std::span<const std::byte> part) { file.write(part); }, options);
    file.commit();
  }

 private:
  static constexpr std::string_view where = "Safetensors";

  static void read_exactly(detail::ByteSource& source, std::span<char> out) {
    std::size_t have = 0;
    while (have < out.size()) {
      const std::size_t count = source.read(out.subspan(have));
      if (count == 0)
        fail(where, "{} ended {} bytes early; did it change while it was read?", source.name(), out.size() - have);
      have += count;
    }
  }

  /// Reads from a source that holds `size` bytes.
  static Safetensors read_source(detail::ByteSource& source, std::uint64_t size, SafetensorsLoadOptions options) {
    Safetensors out;
    out.name_ = source.name();
    const std::string& file = out.name_;
    if (size < 8) fail(where, "{} has {} bytes; expected at least the 8 of the header's length", file, size);
    std::array<char, 8> prefix{};
    read_exactly(source, prefix);
    std::uint64_t length = 0;
    for (std::size_t i = 8; i-- > 0;) length = length << 8 | static_cast<unsigned char>(prefix[i]);
    if (length > max_header_bytes)
      fail(where, "{}: the header's length is {}; expected at most {}", file, length, max_header_bytes);
    if (length > size - 8)
      fail(where, "{}: the header's length is {}, but only {} bytes follow", file, length, size - 8);
    std::string header(static_cast<std::size_t>(length), '\0');
    read_exactly(source, header);
    const std::uint64_t rest = size - 8 - length;
    out.parse_header(header, rest);
    if (!std::in_range<std::size_t>(rest))
      fail(where, "{} has {} bytes of data, too many for this machine", file, rest);
    out.data_.resize(static_cast<std::size_t>(rest));
    read_exactly(source, std::span(reinterpret_cast<char*>(out.data_.data()), out.data_.size()));
    char more = 0;
    if (source.read(std::span(&more, 1)) != 0)
      fail(where, "{} has more than {} bytes; did it change while it was read?", file, size);
    if (options.verify) out.verify_checksum();
    return out;
  }

  void parse_header(const std::string& text, std::uint64_t data_size) {
    const std::string& file = name_;
    if (const std::size_t bad = find_invalid_utf8(text); bad != std::string::npos)
      fail(where, "{}: the header is not UTF-8 at byte {}", file, bad + 1);
    if (!text.starts_with('{'))
      fail(where, "{}: the header begins with {}; expected '{{'", file, shown(std::string_view(text).substr(0, 1)));
    // The parser would take a zero byte for the end of the text and never look at what follows.
    if (const std::size_t zero = text.find('\0'); zero != std::string::npos)
      fail(where, "{}: the header is not valid JSON at byte {}", file, zero + 1);
    detail::SafetensorsHeader header;
    if (!nlohmann::json::sax_parse(text.begin(), text.end(), &header) || !header.error.empty())
      fail(where, "{}: {}", file, header.error.empty() ? "the header is not valid JSON" : header.error);
    tensors_ = std::move(header.tensors);
    metadata_ = std::move(header.metadata);
    has_metadata_ = header.has_metadata;
    // Any order in the header is allowed; the data must be covered without hole or overlap.
    std::ranges::stable_sort(tensors_, [](const TensorInfo& a, const TensorInfo& b) {
      return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    names_ = header.take_names();
    std::uint64_t covered = 0;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      const TensorInfo& tensor = tensors_[i];
      names_[tensor.name] = i;
      if (tensor.end < tensor.begin)
        fail(where, "{}: tensor {} ends at byte {}, before its begin {}", file, shown(tensor.name), tensor.end,
             tensor.begin);
      if (tensor.begin > covered)
        fail(where, "{}: tensor {} begins at byte {}, which leaves a hole after byte {}", file, shown(tensor.name),
             tensor.begin, covered);
      if (tensor.begin < covered)
        fail(where, "{}: tensor {} begins at byte {}, inside another that ends at {}", file, shown(tensor.name),
             tensor.begin, covered);
      const std::uint64_t bytes = detail::tensor_bytes(where, file, tensor.name, tensor.dtype, tensor.shape);
      if (tensor.end - tensor.begin != bytes)
        fail(where, "{}: tensor {} of shape {} and type {} has {} bytes of data; expected {}", file, shown(tensor.name),
             detail::shape_text(tensor.shape), name_of(tensor.dtype), tensor.end - tensor.begin, bytes);
      covered = tensor.end;
    }
    if (covered > data_size)
      fail(where, "{}: the data end after {} bytes, inside a tensor; expected {}: the file is cut off", file, data_size,
           covered);
    if (covered < data_size)
      fail(where, "{}: {} bytes follow the last tensor; expected none", file, data_size - covered);
  }

  std::span<const std::byte> bytes_of(const TensorInfo& tensor) const {
    return std::span(data_).subspan(static_cast<std::size_t>(tensor.begin),
                                    static_cast<std::size_t>(tensor.end - tensor.begin));
  }

  /// A tensor's bytes, when they are numbers of type `S`.
  template <TensorScalar S>
  std::span<const std::byte> checked(const TensorInfo& tensor) const {
    if (tensor.dtype != dtype_of<S>())
      fail(where, "{}: tensor {} has the type {}; expected {}", name_, shown(tensor.name), name_of(tensor.dtype),
           name_of(dtype_of<S>()));
    const auto data = bytes_of(tensor);
    if constexpr (std::same_as<S, bool>)  // any other byte would be no bool to C++
      for (std::size_t i = 0; i < data.size(); ++i)
        if (std::to_integer<unsigned>(data[i]) > 1)
          fail(where, "{}: tensor {} has the byte {} as number {}; expected 0 or 1", name_, shown(tensor.name),
               std::to_integer<unsigned>(data[i]), i);
    return data;
  }

  /// The tensors in the order of a written file.
  std::vector<const TensorInfo*> written_order() const {
    std::vector<const TensorInfo*> out;
    for (const auto& tensor : tensors_) out.push_back(&tensor);
    std::ranges::sort(out, [](const TensorInfo* a, const TensorInfo* b) {
      return a->dtype != b->dtype ? a->dtype > b->dtype : a->name < b->name;
    });
    return out;
  }

  /// The header of a written file, without padding. An empty `checksum` leaves it out.
  std::string header_text(const std::vector<const TensorInfo*>& order, const std::string& checksum,
                          bool empty_metadata) const {
    std::string out = "{";
    auto entry = [&, first = true](std::string_view name) mutable {
      if (!std::exchange(first, false)) out += ',';
      detail::append_json_string(out, name);
      out += ':';
    };
    std::map<std::string, std::string> words = metadata_;
    words.erase(std::string(checksum_key));
    if (!checksum.empty()) words.emplace(checksum_key, checksum);
    if (!words.empty() || empty_metadata) {
      entry("__metadata__");
      out += '{';
      for (const auto& [key, value] : words) {
        if (out.back() != '{') out += ',';
        detail::append_json_string(out, key);
        out += ':';
        detail::append_json_string(out, value);
      }
      out += '}';
    }
    std::uint64_t offset = 0;
    for (const auto* tensor : order) {
      entry(tensor->name);
      out += fmt::format("{{\"dtype\":\"{}\",\"shape\":[", name_of(tensor->dtype));
      for (std::size_t i = 0; i < tensor->shape.size(); ++i) out += fmt::format("{}{}", i ? "," : "", tensor->shape[i]);
      const std::uint64_t end = offset + (tensor->end - tensor->begin);
      out += fmt::format("],\"data_offsets\":[{},{}]}}", offset, end);
      offset = end;
    }
    return out + '}';
  }

  /// CRC-32C of the header without checksum and of the numbers, both in the order of a written file.
  std::string checksum(const std::vector<const TensorInfo*>& order) const {
    Crc32c crc;
    crc.update(header_text(order, "", false));  // {} and no metadata at all mean the same
    for (const auto* tensor : order) crc.update(bytes_of(*tensor));
    return fmt::format("{}{:08x}", checksum_tag, crc.value());
  }

  void verify_checksum() const {
    for (const auto& [key, value] : metadata_)
      if (key != checksum_key && value.starts_with(checksum_tag))
        fail(where, "{} is damaged: its checksum stands under {}", name_, shown(key));
    const auto found = metadata_.find(std::string(checksum_key));
    if (found == metadata_.end()) return;
    const std::string expected = checksum(written_order());
    if (found->second != expected)
      fail(where,
           "{} is damaged, or was changed by a program that kept the old checksum: {} is {}; the content has {} "
           "({{.verify = false}} reads it as it is)",
           name_, checksum_key, shown(found->second), expected);
  }

  template <class Sink>
  void write(Sink&& sink, SafetensorsSaveOptions options) const {
    const auto order = written_order();
    std::string header =
        header_text(order, options.checksum ? checksum(order) : "", has_metadata_ && metadata_.empty());
    header.resize((header.size() + 7) / 8 * 8, ' ');  // so that the data are aligned
    if (header.size() > max_header_bytes)
      fail(where, "the header would have {} bytes; the format allows {}", header.size(), max_header_bytes);
    std::array<std::byte, 8> prefix{};
    for (std::size_t i = 0; i < 8; ++i)
      prefix[i] = static_cast<std::byte>(std::uint64_t{header.size()} >> (8 * i) & 0xFF);
    sink(std::span<const std::byte>(prefix));
    sink(std::as_bytes(std::span(std::as_const(header))));
    for (const auto* tensor : order) sink(bytes_of(*tensor));
  }

  std::string name_ = "the file";
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, std::size_t> names_;
  std::map<std::string, std::string> metadata_;
  bool has_metadata_ = false;
  std::vector<std::byte> data_;
};

}  // namespace valence
