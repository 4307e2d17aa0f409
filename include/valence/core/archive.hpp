#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/config.hpp"
#include "valence/core/error.hpp"

namespace valence {

/// What `archive(ar)` is called with: something that takes any number of fields by reference. Each stateful part lists
/// its fields once, `template <class A> void archive(A& ar) { ar(steps, first, second); }`, and that one list saves,
/// loads, hashes and compares it. Field by field, because padding bytes are not data. The list must not depend on the
/// archive, but it may depend on fields that stand earlier in it.
struct AnyArchive {
  template <class... Fields>
  void operator()(Fields&...) {}
};

namespace detail {

template <class T>
concept ListsItsFields = requires(T x, AnyArchive& ar) { x.archive(ar); };

/// An Eigen matrix or array that owns its numbers. Told by its shape, so that this header needs no Eigen.
template <class T>
concept DensePlain = requires(T x, std::ptrdiff_t i) {
  requires std::same_as<T, typename T::PlainObject>;
  typename T::Scalar;
  x.resize(i, i);
  x.coeffRef(i, i);
  T::RowsAtCompileTime;
};

template <class T>
struct IsArchivable
    : std::bool_constant<std::is_arithmetic_v<T> || std::is_enum_v<T> || ListsItsFields<T> || DensePlain<T>> {};
template <>
struct IsArchivable<std::string> : std::true_type {};
template <class T, class Allocator>
struct IsArchivable<std::vector<T, Allocator>> : IsArchivable<T> {};
template <class T, std::size_t Size>
struct IsArchivable<std::array<T, Size>> : IsArchivable<T> {};
template <class T, std::size_t Size>
struct IsArchivable<T[Size]> : IsArchivable<T> {};
template <class T>
struct IsArchivable<std::optional<T>> : IsArchivable<T> {};
template <class A, class B>
struct IsArchivable<std::pair<A, B>> : std::bool_constant<IsArchivable<A>::value && IsArchivable<B>::value> {};

}  // namespace detail

/// A number, an enumeration, a type that lists its fields in `archive(ar)`; or a string, vector, array, optional, pair
/// or Eigen matrix of those.
template <class T>
concept Archivable = detail::IsArchivable<T>::value;

namespace detail {

template <class T>
struct VectorElement {};
template <class T, class Allocator>
struct VectorElement<std::vector<T, Allocator>> {
  using type = T;
};
template <class T>
concept StdVector = requires { typename VectorElement<T>::type; };

template <class T>
inline constexpr bool is_std_array = false;
template <class T, std::size_t Size>
inline constexpr bool is_std_array<std::array<T, Size>> = true;
template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;
template <class T>
inline constexpr bool is_pair = false;
template <class A, class B>
inline constexpr bool is_pair<std::pair<A, B>> = true;

/// The integer that stands for an arithmetic or enumeration value in the encoding, and its size there. Integers of more
/// than one byte take eight, so that `long` and `std::size_t` mean the same on every machine; bits of floats are kept.
template <class T>
constexpr auto wire(T x) {
  static_assert(!std::is_same_v<T, long double>,
                "valence: long double differs from machine to machine; archive a double");
  if constexpr (std::is_enum_v<T>)
    return wire(static_cast<std::underlying_type_t<T>>(x));
  else if constexpr (std::is_same_v<T, float>)
    return std::bit_cast<std::uint32_t>(x);
  else if constexpr (std::is_same_v<T, double>)
    return std::bit_cast<std::uint64_t>(x);
  else if constexpr (sizeof(T) == 1)
    return static_cast<std::uint8_t>(x);
  else if constexpr (std::is_signed_v<T>)
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(x));
  else
    return static_cast<std::uint64_t>(x);
}
template <class T>
using Wire = decltype(wire(std::declval<T>()));

/// Walks fields and gives their bytes, little-endian, to `Sink::bytes(const unsigned char*, std::size_t)`.
template <class Sink>
class Encoder {
 public:
  explicit Encoder(Sink& sink) : sink_(sink) {}

  template <class... Fields>
  void operator()(Fields&... fields) {
    (field(fields), ...);
  }

 private:
  template <class T>
  void field(T& x) {
    static_assert(Archivable<T>, "valence: a field listed in archive(ar) is not Archivable (see core/archive.hpp)");
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
      number(wire(x));
    } else if constexpr (ListsItsFields<T>) {
      x.archive(*this);
    } else if constexpr (std::is_same_v<T, std::string>) {
      number(static_cast<std::uint64_t>(x.size()));
      sink_.bytes(reinterpret_cast<const unsigned char*>(x.data()), x.size());
    } else if constexpr (StdVector<T>) {
      number(static_cast<std::uint64_t>(x.size()));
      if constexpr (std::is_same_v<typename VectorElement<T>::type, bool>) {
        for (const bool b : x) number(wire(b));
      } else {
        for (auto& element : x) field(element);
      }
    } else if constexpr (is_optional<T>) {
      number(wire(x.has_value()));
      if (x) field(*x);
    } else if constexpr (is_pair<T>) {
      field(x.first);
      field(x.second);
    } else if constexpr (is_std_array<T> || std::is_array_v<T>) {
      for (auto& element : x) field(element);
    } else {
      number(static_cast<std::uint64_t>(x.rows()));
      number(static_cast<std::uint64_t>(x.cols()));
      for (std::ptrdiff_t j = 0; j < x.cols(); ++j)
        for (std::ptrdiff_t i = 0; i < x.rows(); ++i) field(x.coeffRef(i, j));
    }
  }

  template <class B>
  void number(B bits) {
    unsigned char bytes[sizeof(B)];
    for (std::size_t i = 0; i < sizeof(B); ++i) bytes[i] = static_cast<unsigned char>(bits >> (8 * i) & 0xff);
    sink_.bytes(bytes, sizeof(B));
  }

  Sink& sink_;
};

/// Walks fields and fills them from bytes.
class Decoder {
 public:
  explicit Decoder(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <class... Fields>
  void operator()(Fields&... fields) {
    (field(fields), ...);
  }

  void finish() const {
    if (offset_ != bytes_.size())
      fail("from_bytes", "{} bytes follow the last field at offset {}; expected none", bytes_.size() - offset_,
           offset_);
  }

 private:
  template <class T>
  void field(T& x) {
    static_assert(Archivable<T>, "valence: a field listed in archive(ar) is not Archivable (see core/archive.hpp)");
    if constexpr (std::is_enum_v<T>) {
      std::underlying_type_t<T> value{};
      field(value);
      x = static_cast<T>(value);
    } else if constexpr (std::is_same_v<T, bool>) {
      const auto byte = number<std::uint8_t>();
      if (byte > 1) fail("from_bytes", "the bool at offset {} is {}; expected 0 or 1", offset_ - 1, byte);
      x = byte == 1;
    } else if constexpr (std::is_floating_point_v<T>) {
      x = std::bit_cast<T>(number<Wire<T>>());
    } else if constexpr (std::is_integral_v<T>) {
      const auto bits = number<Wire<T>>();
      const T value = static_cast<T>(bits);
      if (wire(value) != bits)
        fail("from_bytes", "the integer at offset {} does not fit into {} bytes", offset_ - sizeof(bits), sizeof(T));
      x = value;
    } else if constexpr (ListsItsFields<T>) {
      x.archive(*this);
    } else if constexpr (std::is_same_v<T, std::string>) {
      const std::size_t n = size(1);
      x.assign(reinterpret_cast<const char*>(bytes_.data()) + offset_, n);
      offset_ += n;
    } else if constexpr (StdVector<T>) {
      using Element = typename VectorElement<T>::type;
      const std::size_t n = size(least_size<Element>());
      x.resize(n);
      if constexpr (std::is_same_v<Element, bool>) {
        for (std::size_t i = 0; i < n; ++i) {
          bool b = false;
          field(b);
          x[i] = b;
        }
      } else {
        for (Element& element : x) field(element);
      }
    } else if constexpr (is_optional<T>) {
      bool has_value = false;
      field(has_value);
      x.reset();
      if (has_value) field(x.emplace());
    } else if constexpr (is_pair<T>) {
      field(x.first);
      field(x.second);
    } else if constexpr (is_std_array<T> || std::is_array_v<T>) {
      for (auto& element : x) field(element);
    } else {
      const auto rows = number<std::uint64_t>(), cols = number<std::uint64_t>();
      const std::uint64_t most = (bytes_.size() - offset_) / least_size<typename T::Scalar>();
      if ((rows != 0 && cols > most / rows) || !fits(rows, T::RowsAtCompileTime, T::MaxRowsAtCompileTime) ||
          !fits(cols, T::ColsAtCompileTime, T::MaxColsAtCompileTime))
        fail("from_bytes", "a matrix of {} x {} at offset {} does not fit into its field or the {} bytes left", rows,
             cols, offset_ - 16, bytes_.size() - offset_);
      x.resize(static_cast<std::ptrdiff_t>(rows), static_cast<std::ptrdiff_t>(cols));
      for (std::ptrdiff_t j = 0; j < x.cols(); ++j)
        for (std::ptrdiff_t i = 0; i < x.rows(); ++i) field(x.coeffRef(i, j));
    }
  }

  /// May a dimension be `n`, given Eigen's sizes at compile time (-1: any)?
  static bool fits(std::uint64_t n, std::ptrdiff_t fixed, std::ptrdiff_t most) {
    if (n > static_cast<std::uint64_t>((std::numeric_limits<std::ptrdiff_t>::max)())) return false;
    const auto size = static_cast<std::ptrdiff_t>(n);
    return (fixed < 0 || size == fixed) && (most < 0 || size <= most);
  }

  template <class T>
  static constexpr std::size_t least_size() {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>)
      return sizeof(Wire<T>);
    else
      return 1;
  }

  /// A count of elements, refused before anything is allocated if so many can't follow.
  std::size_t size(std::size_t element) {
    const auto n = number<std::uint64_t>();
    const std::size_t left = bytes_.size() - offset_;
    if (n > left / element)
      fail("from_bytes", "{} elements are announced at offset {}, but {} bytes are left", n, offset_ - 8, left);
    return static_cast<std::size_t>(n);
  }

  template <class B>
  B number() {
    const std::size_t left = bytes_.size() - offset_;
    if (left < sizeof(B))
      fail("from_bytes", "{} bytes are left at offset {}; expected at least {}", left, offset_, sizeof(B));
    B bits = 0;
    for (std::size_t i = 0; i < sizeof(B); ++i)
      bits = static_cast<B>(bits | static_cast<B>(static_cast<B>(bytes_[offset_ + i]) << (8 * i)));
    offset_ += sizeof(B);
    return bits;
  }

  std::span<const std::byte> bytes_;
  std::size_t offset_ = 0;
};

struct ByteSink {
  std::vector<std::byte> data;
  void bytes(const unsigned char* p, std::size_t n) {
    const auto* first = reinterpret_cast<const std::byte*>(p);
    data.insert(data.end(), first, first + n);
  }
};

struct HashSink {
  std::uint64_t state = 0xcbf29ce484222325u;
  void bytes(const unsigned char* p, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) state = (state ^ p[i]) * 0x100000001b3u;
  }
};

}  // namespace detail

namespace detail {

/// Gives the bytes of `x` to `sink`, from a copy: `archive` can't be const, because it also loads, and may tidy what it
/// lists.
template <class T, class Sink>
void encode_state(const T& x, Sink& sink) {
  T copy = x;
  Encoder<Sink> encoder(sink);
  encoder(copy);
}

}  // namespace detail

/// The fields of `x` as bytes: little-endian, without names or types, the same on every machine. -0.0 and NaN keep
/// their bits. This is for checkpoints of one version of a program, hashes and comparisons; files that others read are
/// in `io/`.
template <Archivable T>
std::vector<std::byte> to_bytes(const T& x) {
  detail::ByteSink sink;
  detail::encode_state(x, sink);
  return std::move(sink.data);
}

/// Fills `x` from what `to_bytes` gave for an object of the same type. Throws `Error` if bytes are missing or left
/// over, or if a value or a size does not fit; `x` is then unchanged. Sizes are believed only as far as there are
/// bytes.
template <Archivable T>
  requires std::copyable<T>
void from_bytes(std::span<const std::byte> bytes, T& x) {
  T loaded = x;  // what is not listed stays
  detail::Decoder decoder(bytes);
  decoder(loaded);
  decoder.finish();
  x = std::move(loaded);
}

/// FNV-1a, 64 bits, over the bytes of `to_bytes`: equal states have equal hashes on every machine. Not for adversaries.
template <Archivable T>
std::uint64_t state_hash(const T& x) {
  detail::HashSink sink;
  detail::encode_state(x, sink);
  return sink.state;
}

/// Have both the same state, to the bit? NaN equals the same NaN, and -0.0 differs from 0.0.
template <Archivable T>
bool same_state(const T& a, const T& b) {
  return to_bytes(a) == to_bytes(b);
}

}  // namespace valence
