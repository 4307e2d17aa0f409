#pragma once

#include <fmt/core.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#if !defined(_WIN32)
#include <unistd.h>
#endif

#include "valence/core/error.hpp"
#include "valence/io/append_file.hpp"
#include "valence/io/checksum.hpp"
#include "valence/io/metric_log.hpp"

/// TensorBoard's event files, written and read without TensorFlow or protobuf. The file is a TFRecord file: a record is
/// the length of its data (8 bytes, little-endian), the masked CRC-32C of these 8 bytes, the data, and its masked
/// CRC-32C. The data are an `Event` in protobuf's encoding (tensorflow/core/util/event.proto, framework/summary.proto).
namespace valence {

namespace detail {

/// The mask of TFRecord (tensorflow/core/lib/hash/crc32c.h): a CRC of data that hold CRCs is weak.
inline std::uint32_t masked_crc32c(std::string_view bytes) {
  Crc32c crc;
  crc.update(bytes);
  return std::rotr(crc.value(), 15) + 0xA282EAD8U;
}

template <class U>
void append_little_endian(std::string& out, U value) {
  for (std::size_t k = 0; k < sizeof(U); ++k) out += static_cast<char>(value >> (8 * k) & 0xFF);
}
template <class U>
U little_endian(std::string_view bytes) {
  U value = 0;
  for (std::size_t k = 0; k < sizeof(U); ++k)
    value |= static_cast<U>(static_cast<U>(static_cast<unsigned char>(bytes[k])) << (8 * k));
  return value;
}

/// Protobuf's wire types: what follows a field's number.
enum class ProtoWire : unsigned { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

/// A message in protobuf's encoding, as it grows.
struct ProtoWriter {
  std::string text = {};

  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) text += static_cast<char>((value & 0x7F) | 0x80);
    text += static_cast<char>(value);
  }
  void key(unsigned field, ProtoWire wire) { varint(field << 3 | static_cast<unsigned>(wire)); }
  void integer(unsigned field, std::int64_t value) {
    key(field, ProtoWire::varint);
    varint(static_cast<std::uint64_t>(value));
  }
  void number(unsigned field, double value) {
    key(field, ProtoWire::fixed64);
    append_little_endian(text, std::bit_cast<std::uint64_t>(value));
  }
  void number(unsigned field, float value) {
    key(field, ProtoWire::fixed32);
    append_little_endian(text, std::bit_cast<std::uint32_t>(value));
  }
  void bytes(unsigned field, std::string_view value) {
    key(field, ProtoWire::bytes);
    varint(value.size());
    text += value;
  }
};

/// One field of a message: `number` holds what a varint or fixed field has, `bytes` the rest.
struct ProtoField {
  std::uint64_t id = 0;
  ProtoWire wire = ProtoWire::varint;
  std::uint64_t number = 0;
  std::string_view bytes = {};

  bool is(unsigned other_id, ProtoWire other_wire) const { return id == other_id && wire == other_wire; }
};

/// Takes a protobuf message apart from its front.
struct ProtoReader {
  std::string_view rest;
  bool malformed = false;

  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = fixed<std::uint8_t>();
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    malformed = true;
    return 0;
  }
  template <class U>
  U fixed() {
    const std::string_view bytes = take(sizeof(U));
    return malformed ? U{0} : little_endian<U>(bytes);
  }
  std::string_view take(std::uint64_t count) {
    malformed = malformed || count > rest.size();
    if (malformed) return {};
    const std::string_view out = rest.substr(0, static_cast<std::size_t>(count));
    rest.remove_prefix(out.size());
    return out;
  }
};

/// Shows each field of a message to `use`, which says whether all is well with it. Is all well with the message?
template <class F>
bool for_each_field(std::string_view message, F&& use) {
  ProtoReader in{message};
  while (!in.rest.empty()) {
    const std::uint64_t key = in.varint();
    ProtoField field{.id = key >> 3, .wire = static_cast<ProtoWire>(key & 7)};
    if (field.wire == ProtoWire::varint)
      field.number = in.varint();
    else if (field.wire == ProtoWire::fixed64)
      field.number = in.fixed<std::uint64_t>();
    else if (field.wire == ProtoWire::fixed32)
      field.number = in.fixed<std::uint32_t>();
    else if (field.wire == ProtoWire::bytes)
      field.bytes = in.take(in.varint());
    else
      return false;  // groups, which nobody writes
    if (in.malformed || field.id == 0 || !use(std::as_const(field))) return false;
  }
  return true;
}

/// This machine's name, with nothing in it that a file's name could not have.
inline std::string host_name() {
  char name[256] = {};
#if !defined(_WIN32)
  if (::gethostname(name, sizeof(name) - 1) != 0) name[0] = '\0';
#endif
  std::string out;
  for (const char c : std::string_view(name)) {
    const bool plain =
        (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
    out += plain ? c : '_';
  }
  return out.empty() ? "localhost" : out;
}

}  // namespace detail

/// The sink of `TensorBoardLog`.
class TensorBoardMetrics {
 public:
  /// Makes a new event file in `directory`, which is made too, and begins it. `seconds`: the time, since 1970.
  TensorBoardMetrics(const std::filesystem::path& directory, double seconds) : file_(create(directory, seconds)) {
    detail::ProtoWriter event = begin(seconds);
    event.bytes(3, "brain.Event:2");  // Event.file_version
    append(event);
  }

  /// Appends one event with the whole row. TensorBoard's numbers are floats: values are rounded to the nearest.
  void write(std::int64_t step, double seconds, std::span<const Metric> row) {
    detail::ProtoWriter summary;
    for (const Metric& m : row) {
      detail::ProtoWriter value;
      value.bytes(1, m.name);                        // Summary.Value.tag
      value.number(2, static_cast<float>(m.value));  // Summary.Value.simple_value
      summary.bytes(1, value.text);                  // Summary.value
    }
    detail::ProtoWriter event = begin(seconds);
    event.integer(2, step);        // Event.step
    event.bytes(5, summary.text);  // Event.summary
    append(event);
  }

  /// Tells TensorBoard that a session starts after `step`: it forgets what the directory's earlier files say of later
  /// steps (as PyTorch's `SummaryWriter(purge_step=...)`).
  void drop_after(std::int64_t step, double seconds) {
    detail::ProtoWriter session;
    session.integer(1, 1);  // SessionLog.status = START
    detail::ProtoWriter event = begin(seconds);
    event.integer(2, step + 1);
    event.bytes(7, session.text);  // Event.session_log
    append(event);
  }

 private:
  static detail::AppendFile create(const std::filesystem::path& directory, double seconds) {
    constexpr auto where = "TensorBoardLog";
    if (!(seconds >= 0 && seconds < 1e10)) fail(where, "the time is {}; expected seconds since 1970", seconds);
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error) fail(where, "cannot make the folder '{}': {}", directory.string(), error.message());
    const std::string name =
        fmt::format("events.out.tfevents.{:010}.{}", static_cast<std::int64_t>(seconds), detail::host_name());
    for (int k = 0; k < 10'000;
         ++k) {  // logs of the same second, in their order when sorted by name, as TensorBoard does
      detail::AppendFile file(where, directory / fmt::format("{}.{:04}", name, k), detail::AppendFile::Open::create);
      if (file.is_open()) return file;
    }
    fail(where, "'{}' holds 10000 files {}.*; expected a free name", directory.string(), name);
  }

  static detail::ProtoWriter begin(double seconds) {
    detail::ProtoWriter event;
    event.number(1, seconds);  // Event.wall_time
    return event;
  }

  void append(const detail::ProtoWriter& event) {
    std::string record;
    detail::append_little_endian(record, static_cast<std::uint64_t>(event.text.size()));
    detail::append_little_endian(record, detail::masked_crc32c(record));
    record += event.text;
    detail::append_little_endian(record, detail::masked_crc32c(event.text));
    file_.write(record);
  }

  detail::AppendFile file_;
};

/// A training log for TensorBoard: an event file `events.out.tfevents.<seconds>.<host>.<number>` in the given folder, a
/// record a dump. Tags are stable-baselines3's names, the x-axis is the step; see it with `tensorboard --logdir runs`.
///
///     train(agent, env, {.steps = 100'000}, rng, TensorBoardLog{"runs/1"});
///
/// Each log makes a file of its own; TensorBoard joins those of a folder.
using TensorBoardLog = MetricLog<TensorBoardMetrics>;

/// One number of an event file.
struct TensorBoardScalar {
  std::int64_t step = 0;
  double wall_time = 0;  ///< seconds since 1970
  std::string tag;
  float value = 0;
};

/// What an event file holds.
struct TensorBoardEvents {
  std::vector<TensorBoardScalar> scalars;  ///< in the file's order
  std::uint64_t whole_bytes = 0;           ///< of the records that are whole
  bool torn = false;                       ///< after these comes a part of a record, or one with a wrong CRC
};

namespace detail {

/// Adds the scalars of an event; gives the version that it states, if it does. Nothing where it is no event.
inline std::optional<std::string_view> read_event(std::string_view data, std::vector<TensorBoardScalar>& scalars) {
  std::string_view version;
  TensorBoardScalar at;  // step and time, which may come after the scalars
  const std::size_t first = scalars.size();
  const auto read_value = [&](std::string_view value) {
    TensorBoardScalar scalar;
    bool simple = false;
    const bool good = for_each_field(value, [&](const ProtoField& part) {
      if (part.is(1, ProtoWire::bytes)) scalar.tag = part.bytes;
      if (part.is(2, ProtoWire::fixed32)) {
        scalar.value = std::bit_cast<float>(static_cast<std::uint32_t>(part.number));
        simple = true;
      }
      return true;
    });
    if (simple) scalars.push_back(std::move(scalar));
    return good;
  };
  const bool good = for_each_field(data, [&](const ProtoField& field) {
    if (field.is(1, ProtoWire::fixed64)) at.wall_time = std::bit_cast<double>(field.number);
    if (field.is(2, ProtoWire::varint)) at.step = static_cast<std::int64_t>(field.number);
    if (field.is(3, ProtoWire::bytes)) version = field.bytes;
    if (!field.is(5, ProtoWire::bytes)) return true;
    return for_each_field(field.bytes, [&](const ProtoField& value) {
      return !value.is(1, ProtoWire::bytes) || read_value(value.bytes);
    });
  });
  for (std::size_t k = first; k < scalars.size(); ++k) scalars[k].step = at.step, scalars[k].wall_time = at.wall_time;
  return good ? std::optional(version) : std::nullopt;
}

}  // namespace detail

/// Reads an event file up to the first record that is not whole: cut short or with a wrong CRC, as after a kill or a
/// power cut. Throws `Error` where the file can't be read, where its first record doesn't say "brain.Event:2", and
/// where a record has right CRCs but is no event. What is not a scalar is skipped, and so are the scalars of TensorFlow
/// 2's own writer, which puts them into tensors.
inline TensorBoardEvents read_tensorboard_events(const std::filesystem::path& path) {
  constexpr auto where = "read_tensorboard_events";
  const std::string text = detail::content_of_file(where, path);
  TensorBoardEvents out;
  for (std::string_view rest = text; !rest.empty();) {
    out.torn = true;  // unless the record proves whole
    if (rest.size() < 16) break;
    const auto length = detail::little_endian<std::uint64_t>(rest);
    if (detail::little_endian<std::uint32_t>(rest.substr(8)) != detail::masked_crc32c(rest.substr(0, 8))) break;
    if (length > rest.size() - 16) break;
    const std::string_view data = rest.substr(12, static_cast<std::size_t>(length));
    if (detail::little_endian<std::uint32_t>(rest.substr(12 + data.size())) != detail::masked_crc32c(data)) break;
    out.torn = false;

    const auto version = detail::read_event(data, out.scalars);
    if (!version) fail(where, "'{}': the record at byte {} is whole but no event", path.string(), out.whole_bytes);
    if (out.whole_bytes == 0 && *version != "brain.Event:2")
      fail(where, "'{}' begins with version {}; expected 'brain.Event:2'", path.string(), shown(*version));
    rest.remove_prefix(16 + data.size());
    out.whole_bytes += 16 + data.size();
  }
  return out;
}

}  // namespace valence
