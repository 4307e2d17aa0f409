#include "valence/io/tensorboard.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "io/files.hpp"
#include "io/mutations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"

using namespace valence;
using test::content_of, test::message_of, test::says, test::TemporaryFolder;

namespace {

double clock_now = 0;
double test_clock() { return clock_now; }

std::string from_hex(std::string_view hex) {
  std::string out;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    out += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  return out;
}

/// Written by the `tensorboard` package, version 2.21.0 (RecordWriter over Event(...).SerializeToString()): the version
/// at 1700000000.25; at 1700000001.5 step 300, {"train/loss": -0.1, "eval/é": 3.5}; at 1700000002.0 step 129, a
/// session's start.
const std::string version_record =
    from_hex("1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9");
const std::string summary_record = from_hex(
    "31000000000000009d8383e90900006040fc54d94110ac022a230a110a0a747261696e2f6c6f737315cdccccbd0a0e0a076576616c2fc3a915"
    "000060407c28e394");
const std::string session_record = from_hex("100000000000000095fbfe180900008040fc54d9411081013a0208019d722508");

std::filesystem::path only_file(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry.path());
  REQUIRE(files.size() == 1);
  return files[0];
}

std::string record_of(std::string_view data) {
  std::string out;
  detail::append_little_endian(out, static_cast<std::uint64_t>(data.size()));
  detail::append_little_endian(out, detail::masked_crc32c(out));
  out += data;
  detail::append_little_endian(out, detail::masked_crc32c(data));
  return out;
}

}  // namespace

TEST_CASE("event files are, byte for byte, what TensorBoard's own package writes") {
  TemporaryFolder folder;
  clock_now = 1700000000.25;
  {
    TensorBoardLog log{folder / "runs" / "7", {.clock = test_clock}};
    const auto path = only_file(folder / "runs" / "7");
    CHECK(path.filename().string().starts_with("events.out.tfevents.1700000000."));
    CHECK(path.filename().string().ends_with(".0000"));
    CHECK(content_of(path) == version_record);
    clock_now = 1700000001.5;
    log.record(metric::loss, -0.1);
    log.record("eval/\xC3\xA9", 3.5);
    CHECK(content_of(path) == version_record);
    log.dump(300);
    CHECK(content_of(path) == version_record + summary_record);
    clock_now = 1700000002;
    log.resume({.steps = 128});
    CHECK(content_of(path) == version_record + summary_record + session_record);
  }
  const auto events = read_tensorboard_events(only_file(folder / "runs" / "7"));
  CHECK_FALSE(events.torn);
  CHECK(events.whole_bytes == version_record.size() + summary_record.size() + session_record.size());
  REQUIRE(events.scalars.size() == 2);
  CHECK(events.scalars[0].tag == "train/loss");
  CHECK(events.scalars[0].value == -0.1F);
  CHECK(events.scalars[0].step == 300);
  CHECK(events.scalars[0].wall_time == 1700000001.5);
  CHECK(events.scalars[1].tag == "eval/\xC3\xA9");
  CHECK(events.scalars[1].value == 3.5F);
  CHECK(events.scalars[1].step == 300);
}

TEST_CASE("numbers come back as floats, steps whole") {
  TemporaryFolder folder;
  constexpr double inf = std::numeric_limits<double>::infinity();
  const double values[] = {0.0, -0.0, 1e-45, -1.25, 16777217.0, 1e39, -inf, std::numeric_limits<double>::quiet_NaN()};
  const std::int64_t steps[] = {
      0, 1, 127, 128, 16384, std::int64_t{1} << 40, (std::numeric_limits<std::int64_t>::max)()};
  {
    TensorBoardLog log{folder.path()};
    for (const std::int64_t step : steps)
      for (const double x : values) {
        log.record("x", x);
        log.dump(step);
      }
  }
  const auto events = read_tensorboard_events(only_file(folder.path()));
  CHECK_FALSE(events.torn);
  REQUIRE(events.scalars.size() == std::size(steps) * std::size(values));
  for (std::size_t k = 0; k < events.scalars.size(); ++k) {
    CHECK(events.scalars[k].step == steps[k / std::size(values)]);
    const auto expected = static_cast<float>(values[k % std::size(values)]);
    CHECK(std::bit_cast<std::uint32_t>(events.scalars[k].value) == std::bit_cast<std::uint32_t>(expected));
    CHECK(events.scalars[k].wall_time > 1.7e9);  // by the system's clock
  }
}

TEST_CASE("logs of the same second have files of their own, in order by name") {
  TemporaryFolder folder;
  clock_now = 5;  // ten digits all the same
  for (int k = 0; k < 12; ++k) {
    TensorBoardLog log{folder.path(), {.append = k % 2 == 0, .clock = test_clock}};
    log.record("k", k);
    log.dump(k);
  }
  auto files = folder.files();
  std::sort(files.begin(), files.end());
  REQUIRE(files.size() == 12);
  for (std::size_t k = 0; k < 12; ++k) {
    CHECK(files[k].starts_with("events.out.tfevents.0000000005."));
    const auto events = read_tensorboard_events(folder / files[k]);
    REQUIRE(events.scalars.size() == 1);
    CHECK(events.scalars[0].step == static_cast<std::int64_t>(k));
    // A session that starts at step 0 makes TensorBoard forget all that was.
    const bool forgets =
        content_of(folder / files[k]).find(std::string("\x10\x00\x3a\x02\x08\x01", 6)) != std::string::npos;
    CHECK(forgets == (k % 2 == 1));
  }
}

TEST_CASE("cut anywhere, a file is read up to its last whole record", "[F10]") {
  TemporaryFolder folder;
  const std::string whole = version_record + summary_record + session_record + summary_record;
  const std::size_t first_scalars = version_record.size() + summary_record.size();
  for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
    CAPTURE(cut);
    const auto events = read_tensorboard_events(folder.with("events", whole.substr(0, cut)));
    std::size_t bytes = 0;
    for (const std::size_t end :
         {version_record.size(), first_scalars, whole.size() - summary_record.size(), whole.size()})
      if (cut >= end) bytes = end;
    CHECK(events.whole_bytes == bytes);
    CHECK(events.torn == (cut != bytes));
    CHECK(events.scalars.size() == (cut == whole.size() ? 4U : cut >= first_scalars ? 2U : 0U));
  }
}

TEST_CASE("no flipped bit is read as data", "[F10]") {
  TemporaryFolder folder;
  const std::string whole = version_record + summary_record + session_record;
  for (std::size_t bit = 0; bit < 8 * whole.size(); bit += 3) {
    CAPTURE(bit);
    std::string damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    const auto events = read_tensorboard_events(folder.with("events", damaged));
    CHECK(events.torn);
    const std::size_t at = bit / 8;
    CHECK(events.whole_bytes == (at < version_record.size() ? 0
                                 : at < version_record.size() + summary_record.size()
                                     ? version_record.size()
                                     : whole.size() - session_record.size()));
    for (const auto& s : events.scalars) CHECK((s.value == -0.1F || s.value == 3.5F));
  }
}

TEST_CASE("a length without end allocates nothing", "[F11]") {
  TemporaryFolder folder;
  for (const std::uint64_t length : {std::uint64_t{1} << 60, ~std::uint64_t{0}, ~std::uint64_t{0} - 15}) {
    std::string record;
    detail::append_little_endian(record, length);
    detail::append_little_endian(record, detail::masked_crc32c(record));
    const auto events = read_tensorboard_events(folder.with("events", version_record + record + "more than four"));
    CHECK(events.torn);
    CHECK(events.whole_bytes == version_record.size());
    // The same inside of an event: a right CRC over a field that is longer than its record.
    detail::ProtoWriter event;
    event.key(5, detail::ProtoWire::bytes);
    event.varint(length);
    CHECK_THROWS_AS(read_tensorboard_events(folder.with("events", version_record + record_of(event.text))), Error);
  }
}

TEST_CASE("whole records that are no events are refused, strange fields in events are skipped") {
  TemporaryFolder folder;
  const auto read = [&](std::string_view content) { return read_tensorboard_events(folder.with("events", content)); };
  const auto refused = [&](std::string_view content) { return message_of([&] { read(content); }); };
  CHECK(says(refused(record_of("hello")), "byte 0", "no event"));
  CHECK(says(refused(version_record + record_of("hello")), "byte 40", "no event"));
  CHECK(says(refused(summary_record), "version ''", "brain.Event:2"));
  CHECK(says(refused(record_of(from_hex("1a0d627261696e2e4576656e743a31"))), "brain.Event:1"));
  CHECK_THROWS_AS(read_tensorboard_events(folder / "none"), Error);
  CHECK_THROWS_AS(read_tensorboard_events(folder.path()), Error);
  CHECK_FALSE(read("").torn);

  detail::ProtoWriter value;
  value.number(2, 0.75F);
  value.bytes(9, "metadata");
  value.bytes(1, "late tag");
  detail::ProtoWriter tensor;  // as TensorFlow 2 writes scalars
  tensor.bytes(1, "t");
  tensor.bytes(8, from_hex("0801"));
  detail::ProtoWriter summary;
  summary.bytes(1, tensor.text);
  summary.bytes(1, value.text);
  detail::ProtoWriter event;
  event.number(77, 1.0F);
  event.bytes(5, summary.text);
  event.integer(2, -3);  // step and time after what they are of
  event.bytes(1000, "?");
  event.number(1, 8.5);
  const auto events = read(version_record + record_of(event.text) + record_of(""));
  CHECK_FALSE(events.torn);
  REQUIRE(events.scalars.size() == 1);
  CHECK(events.scalars[0].tag == "late tag");
  CHECK(events.scalars[0].value == 0.75F);
  CHECK(events.scalars[0].step == -3);
  CHECK(events.scalars[0].wall_time == 8.5);

  // Whatever stands in a record with right CRCs, it is read or refused.
  std::size_t well = 0;
  test::mutate({event.text, summary.text}, 3000, [&](const std::string& data) {
    std::vector<TensorBoardScalar> scalars;
    if (detail::read_event(data, scalars)) ++well;
  });
  CHECK(well > 30);
}

TEST_CASE("where a folder can't be made, an error says so") {
  TemporaryFolder folder;
  const auto file = folder.with("file", "x");
  CHECK(says(message_of([&] { TensorBoardLog log{file}; }), "TensorBoardLog", "file"));
  CHECK(says(message_of([&] { TensorBoardLog log{file / "below"}; }), "TensorBoardLog", "folder"));
  clock_now = -1;
  CHECK(says(message_of([&] { TensorBoardLog log{folder.path(), {.clock = test_clock}}; }), "time", "-1"));
  CHECK(folder.files().size() == 1);
}
