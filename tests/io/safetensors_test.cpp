#include "valence/io/safetensors.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/files.hpp"
#include "io/mutations.hpp"
#include "support/close.hpp"
#include "valence/io/parameters.hpp"

using namespace valence;
using test::message_of, test::says, test::TemporaryFolder, test::content_of;

namespace {

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }
std::string text_of(std::span<const std::byte> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

/// A file made by hand: eight bytes of length, the header, the data.
std::string raw(std::string_view header, std::string_view data = {}) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(header.size() >> (8 * i) & 0xFF);
  return out.append(header).append(data);
}
Safetensors parse(std::string_view content) { return Safetensors::parse(bytes(content)); }
std::string refused(std::string_view content) {
  return message_of([&] { parse(content); });
}
/// A header with one tensor.
std::string entry(std::string_view body, std::string_view data = {}) {
  return raw(fmt::format("{{\"t\":{{{}}}}}", body), data);
}

/// What two files must share to mean the same.
bool same(const Safetensors& a, const Safetensors& b) {
  if (a.tensors() != b.tensors() || a.metadata() != b.metadata()) return false;
  for (const auto& tensor : a.tensors())
    if (text_of(a.bytes(tensor.name)) != text_of(b.bytes(tensor.name))) return false;
  return true;
}

Safetensors example() {
  Safetensors file;
  file.add<float>("net.0.weight", {1.5F, -2.0F, 0.0F, std::numeric_limits<float>::quiet_NaN(), -0.0F, 1e-45F}, {2, 3});
  file.add<double>("step", {3.25}, {});
  file.add<std::int64_t>("count", {-7, 1LL << 60}, {2});
  file.add<std::uint8_t>("bytes", {1, 2, 255}, {3});
  file.add<float>("nothing", std::vector<float>{}, {2, 0, 3});
  const std::array<bool, 3> flags{true, false, true};
  file.add("flags", std::span<const bool>(flags), {3});
  file.set_metadata("format", "pt");
  return file;
}

}  // namespace

TEST_CASE("CRC-32C gives the published values") {
  const auto crc = [](std::string_view text) {
    Crc32c c;
    c.update(text);
    return c.value();
  };
  CHECK(crc("") == 0);
  CHECK(crc("123456789") == 0xE3069283U);
  // RFC 3720, B.4: 32 bytes of zeros, of ones, rising, falling.
  std::string rising, falling;
  for (int i = 0; i < 32; ++i) {
    rising += static_cast<char>(i);
    falling += static_cast<char>(31 - i);
  }
  CHECK(crc(std::string(32, '\0')) == 0x8A9136AAU);
  CHECK(crc(std::string(32, '\xFF')) == 0x62A8AB43U);
  CHECK(crc(rising) == 0x46DD794EU);
  CHECK(crc(falling) == 0x113FDB5CU);
  // In pieces of any size it is the same.
  for (std::size_t cut = 0; cut <= 32; ++cut) {
    Crc32c c;
    c.update(rising.substr(0, cut));
    c.update(rising.substr(cut));
    CHECK(c.value() == 0x46DD794EU);
  }
}

TEST_CASE("a file made by hand is read and written byte for byte", "[F11]") {
  // The length 136 = 0x88, little-endian; 136 bytes of header and 0 of padding; an F32 tensor of 2 x 2 before a single
  // I32 (F32 is the later type), their numbers little-endian.
  const std::string golden = std::string("\x88\0\0\0\0\0\0\0", 8) +
                             R"({"__metadata__":{"k":"v"},"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
                             R"("n":{"dtype":"I32","shape":[],"data_offsets":[16,20]}})" +
                             std::string("\0\0\x80\x3f\0\0\0\xc0\0\0\0\x3f\0\0\xc0\x7f", 16) +
                             std::string("\x04\x03\x02\x01", 4);
  const auto file = parse(golden);
  const auto w = file.values<float>("w", {2, 2});
  CHECK(w[0] == 1);
  CHECK(w[1] == -2);
  CHECK(w[2] == 0.5F);
  CHECK(std::bit_cast<std::uint32_t>(w[3]) == 0x7FC00000U);  // NaN is a value like others
  CHECK(file.values<std::int32_t>("n", {}) == std::vector<std::int32_t>{0x01020304});
  CHECK(file.metadata().at("k") == "v");
  CHECK(text_of(file.serialize({.checksum = false})) == golden);
}

TEST_CASE("numbers of machines of the other byte order") {
  const std::string in("\x01\x02\x03\x04\x05\x06\x07\x08", 8);
  std::string out(8, '\0');
  const auto copy = [&](std::size_t size, bool swap) {
    detail::copy_numbers(reinterpret_cast<std::byte*>(out.data()), bytes(in).data(), 8, size, swap);
    return out;
  };
  CHECK(copy(4, false) == in);
  CHECK(copy(1, true) == in);
  CHECK(copy(2, true) == "\x02\x01\x04\x03\x06\x05\x08\x07");
  CHECK(copy(4, true) == "\x04\x03\x02\x01\x08\x07\x06\x05");
  CHECK(copy(8, true) == "\x08\x07\x06\x05\x04\x03\x02\x01");
}

TEST_CASE("the smallest files and the allowed spellings are read") {
  CHECK(parse(raw("{}")).tensors().empty());
  CHECK(parse(raw("{}      ")).tensors().empty());   // trailing spaces
  CHECK(parse(raw("{}\r \t\n")).tensors().empty());  // and other white space, as Python's reader
  CHECK(parse(raw(R"({"__metadata__":{}})")).metadata().empty());
  CHECK(parse(entry(R"("dtype":"I32","shape":[],"data_offsets":[0,4])", "abcd")).info("t").shape.empty());
  CHECK(parse(entry(R"("dtype":"F64","shape":[2,0],"data_offsets":[0, 0])")).values<double>("t").empty());
  CHECK(parse(entry(R"("data_offsets":[0,1],"shape":[1],"dtype":"U8")", "a")).values<std::uint8_t>("t") ==
        std::vector<std::uint8_t>{'a'});
  // Any order of names in the header; the data decide. Empty tensors may share a place.
  const auto file = parse(raw(R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"e":{"dtype":"U8","shape":[0],)"
                              R"("data_offsets":[1,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                              R"("":{"dtype":"U8","shape":[0,5],"data_offsets":[2,2]}})",
                              "xy"));
  CHECK(text_of(file.bytes("a")) == "x");
  CHECK(text_of(file.bytes("b")) == "y");
  CHECK(file.contains("e"));
  CHECK(file.contains(""));
  CHECK(file.tensors().front().name == "a");
  CHECK(says(message_of([&] { file.info("c"); }), "no tensor 'c'"));
}

TEST_CASE("every type of number is listed, with its size") {
  struct Case {
    const char* name;
    unsigned bits;
  };
  const std::vector<Case> cases{{"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
                                {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
                                {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
                                {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
                                {"I64", 64},        {"U64", 64}};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    CAPTURE(cases[i].name);
    const std::string data(cases[i].bits, '\1');  // eight numbers
    const auto file = parse(
        entry(fmt::format(R"("dtype":"{}","shape":[2,4],"data_offsets":[0,{}])", cases[i].name, cases[i].bits), data));
    CHECK(file.info("t").dtype == static_cast<DType>(i));
    CHECK(name_of(file.info("t").dtype) == cases[i].name);
    CHECK(bits_of(file.info("t").dtype) == cases[i].bits);
    CHECK(text_of(file.bytes("t")) == data);
    CHECK(same(parse(text_of(file.serialize({.checksum = false}))), file));
  }
  CHECK(says(refused(entry(R"("dtype":"F128","shape":[1],"data_offsets":[0,16])", std::string(16, 'x'))),
             "unknown dtype 'F128'"));
  CHECK(says(refused(entry(R"("dtype":"f32","shape":[1],"data_offsets":[0,4])", "abcd")), "unknown dtype 'f32'"));
  // Types smaller than a byte must end on one.
  CHECK(says(refused(entry(R"("dtype":"F4","shape":[3],"data_offsets":[0,2])", "ab")), "ends inside a byte (12 bits)"));
  CHECK(says(refused(entry(R"("dtype":"F6_E2M3","shape":[2],"data_offsets":[0,2])", "ab")),
             "ends inside a byte (12 bits)"));
}

TEST_CASE("each rule of the header has an error of its own") {
  const std::string good = R"("dtype":"U8","shape":[2],"data_offsets":[0,2])";
  REQUIRE(refused(entry(good, "ab")) == "nothing thrown");
  // The prefix.
  for (std::size_t size = 0; size < 8; ++size)
    CHECK(says(refused(std::string(size, '\0')), fmt::format("has {} bytes; expected at least the 8", size)));
  CHECK(says(refused(std::string("\x3C\0\0\0\0\0\0\0", 8)), "length is 60, but only 0 bytes follow"));
  CHECK(says(refused(std::string("\x03\0\0\0\0\0\0\0{}", 10)), "length is 3, but only 2 bytes follow"));
  CHECK(
      says(refused(std::string("\x01\xE1\xF5\x05\0\0\0\0{}", 10)), "length is 100000001; expected at most 100000000"));
  CHECK(says(refused(std::string("\0\0\0\0\0\0\0\x10{}", 10)), "length is 1152921504606846976; expected at most"));
  CHECK(says(refused(std::string(8, '\xFF') + "{}"), "length is 18446744073709551615; expected at most"));
  CHECK(says(refused(std::string("\0\xE1\xF5\x05\0\0\0\0{}", 10)), "length is 100000000, but only 2 bytes follow"));
  // The text.
  CHECK(says(refused(raw("")), "begins with ''; expected '{'"));
  CHECK(says(refused(raw(" {}")), "begins with ' '; expected '{'"));
  CHECK(says(refused(raw("[]")), "begins with '['; expected '{'"));
  CHECK(says(refused(raw("\xFF")), "not UTF-8 at byte 1"));
  CHECK(says(refused(raw("{\"\xC0\xAF\":1}")), "not UTF-8 at byte 3"));
  CHECK(says(refused(raw("{")), "not valid JSON at byte 2"));
  CHECK(says(refused(raw("{} x")), "not valid JSON at byte 4"));
  CHECK(says(refused(raw("{}{}")), "not valid JSON at byte 3"));
  CHECK(says(refused(raw(std::string_view("{}\0", 3))), "not valid JSON at byte 3"));
  CHECK(says(refused(raw("{\"t\":{" + good + "},}", "ab")), "not valid JSON"));
  CHECK(says(refused(raw("{/**/}")), "not valid JSON"));
  // __metadata__.
  CHECK(
      says(refused(raw(R"({"__metadata__":{"a":1}})")), "__metadata__ has a number under 'a'; expected strings only"));
  CHECK(says(refused(raw(R"({"__metadata__":{"a":null}})")), "__metadata__ has null under 'a'"));
  CHECK(says(refused(raw(R"({"__metadata__":{"a":{"b":"c"}}})")), "__metadata__ has an object under 'a'"));
  CHECK(says(refused(raw(R"({"__metadata__":{"a":["b"]}})")), "__metadata__ has an array under 'a'"));
  CHECK(says(refused(raw(R"({"__metadata__":"a"})")), "__metadata__ is a string; expected an object of strings"));
  CHECK(says(refused(raw(R"({"__metadata__":null})")), "__metadata__ is null"));
  CHECK(says(refused(raw(R"({"__metadata__":{"a":"1","b":"2","a":"3"}})")), "__metadata__ names 'a' twice"));
  CHECK(says(refused(raw(R"({"__metadata__":{},"__metadata__":{}})")), "__metadata__ comes twice"));
  // A tensor's entry.
  CHECK(says(refused(raw("{\"t\":{" + good + "},\"t\":{" + good + "}}", "ab")), "two tensors have the name 't'"));
  CHECK(says(refused(raw("{\"t\":{" + good + "},\"\\u0074\":{" + good + "}}", "ab")), "two tensors have the name 't'"));
  CHECK(says(refused(raw(R"({"t":3})")), "tensor 't' is a number; expected an object"));
  CHECK(says(refused(raw(R"({"t":["U8",[1],[0,1]]})", "a")), "tensor 't' is an array; expected an object"));
  CHECK(says(refused(entry(R"("shape":[2],"data_offsets":[0,2])", "ab")), "tensor 't' has no dtype"));
  CHECK(says(refused(entry(R"("dtype":"U8","data_offsets":[0,2])", "ab")), "tensor 't' has no shape"));
  CHECK(says(refused(entry(R"("dtype":"U8","shape":[2])", "ab")), "tensor 't' has no data_offsets"));
  CHECK(says(refused(entry(good + R"(,"dtype":"U8")", "ab")), "tensor 't' has dtype twice"));
  CHECK(says(refused(entry(good + R"(,"shape":[2])", "ab")), "tensor 't' has shape twice"));
  CHECK(says(refused(entry(good + R"(,"offset":2)", "ab")), "tensor 't' has the unknown key 'offset'"));
  CHECK(says(refused(entry(R"("dtype":8,"shape":[2],"data_offsets":[0,2])", "ab")), "dtype of tensor 't' is a number"));
  CHECK(says(refused(entry(R"("dtype":["U8"],"shape":[2],"data_offsets":[0,2])", "ab")),
             "dtype of tensor 't' is an array"));
  CHECK(
      says(refused(entry(R"("dtype":"U8","shape":2,"data_offsets":[0,2])", "ab")), "shape of tensor 't' is a number"));
  CHECK(says(refused(entry(R"("dtype":"U8","shape":{},"data_offsets":[0,2])", "ab")),
             "shape of tensor 't' is an object"));
  CHECK(says(refused(entry(R"("dtype":"U8","shape":[[2]],"data_offsets":[0,2])", "ab")),
             "shape of tensor 't' has an array"));
  CHECK(says(refused(entry(R"("dtype":"U8","shape":["2"],"data_offsets":[0,2])", "ab")),
             "shape of tensor 't' has a string"));
  CHECK(says(refused(entry(R"("dtype":"U8","shape":[-2],"data_offsets":[0,2])", "ab")),
             "shape of tensor 't' has a negative"));
  CHECK(says(refused(entry(R"("dtype":"U8","shape":[2.0],"data_offsets":[0,2])", "ab")),
             "shape of tensor 't' has '2.0'"));
  CHECK(says(refused(entry(R"("dtype":"U8","shape":[2e0],"data_offsets":[0,2])", "ab")),
             "shape of tensor 't' has '2e0'"));
  CHECK(says(refused(entry(R"("dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,2])", "ab")),
             "shape of tensor 't' has '18446744073709551616'; expected whole numbers below 2^64"));
  CHECK(says(refused(entry(R"("dtype":"U8","shape":[2],"data_offsets":[0])", "ab")),
             "data_offsets of tensor 't' has 1 numbers"));
  CHECK(says(refused(entry(R"("dtype":"U8","shape":[2],"data_offsets":[])", "ab")),
             "data_offsets of tensor 't' has 0 numbers"));
  CHECK(says(refused(entry(R"("dtype":"U8","shape":[2],"data_offsets":[0,2,2])", "ab")),
             "data_offsets of tensor 't' has more"));
  CHECK(says(refused(entry(R"("dtype":"U8","shape":[2],"data_offsets":[0,null])", "ab")),
             "data_offsets of tensor 't' has null"));
  CHECK(says(refused(entry(R"("dtype":"U8","shape":[2],"data_offsets":[0,-2])", "ab")),
             "data_offsets of tensor 't' has a negative"));
}

TEST_CASE("the data must be covered once, and to the end") {
  const auto two = [](int a, int b, int c, int d, std::string_view data) {
    return raw(fmt::format(R"({{"a":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}},)"
                           R"("b":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}}}})",
                           b - a, a, b, d - c, c, d),
               data);
  };
  CHECK(refused(two(0, 2, 2, 4, "abcd")) == "nothing thrown");
  CHECK(refused(two(2, 4, 0, 2, "abcd")) == "nothing thrown");
  CHECK(says(refused(two(1, 2, 2, 4, "abcd")), "'a' begins at byte 1, which leaves a hole after byte 0"));
  CHECK(says(refused(two(0, 2, 3, 4, "abcd")), "'b' begins at byte 3, which leaves a hole after byte 2"));
  CHECK(says(refused(two(0, 3, 2, 4, "abcd")), "'b' begins at byte 2, inside another that ends at 3"));
  CHECK(says(refused(two(0, 4, 0, 4, "abcd")), "'b' begins at byte 0, inside another that ends at 4"));
  CHECK(says(refused(two(0, 2, 2, 4, "abcde")), "1 bytes follow the last tensor"));
  CHECK(says(refused(two(0, 2, 2, 4, "abc")), "the data end after 3 bytes", "expected 4", "cut off"));
  CHECK(says(refused(raw("{}", "x")), "1 bytes follow the last tensor"));
  CHECK(says(refused(entry(R"("dtype":"U8","shape":[2],"data_offsets":[2,0])", "ab")),
             "ends at byte 0, before its begin 2"));
  CHECK(says(refused(entry(R"("dtype":"U8","shape":[1],"data_offsets":[0,2])", "ab")),
             "has 2 bytes of data; expected 1"));
  CHECK(says(refused(entry(R"("dtype":"F32","shape":[2,2],"data_offsets":[0,4])", "abcd")),
             "has 4 bytes of data; expected 16"));
  CHECK(says(refused(entry(R"("dtype":"F32","shape":[],"data_offsets":[0,0])")), "has 0 bytes of data; expected 4"));
}

TEST_CASE("sizes that overflow are refused, and nothing is allocated for them", "[F11]") {
  CHECK(says(
      refused(entry(R"("dtype":"U8","shape":[2,18446744073709551614],"data_offsets":[0,16])", std::string(16, 'x'))),
      "more than 2^64 numbers"));
  CHECK(says(refused(entry(R"("dtype":"U8","shape":[18446744073709551615,2,0],"data_offsets":[0,0])")),
             "more than 2^64 numbers"));
  CHECK(says(
      refused(entry(R"("dtype":"I32","shape":[2,2305843009213693952],"data_offsets":[0,16])", std::string(16, 'x'))),
      "more than 2^64 bits"));
  // 2^60 bytes, consistent in itself: only the file's end tells. That is looked at first.
  const std::string huge =
      entry(R"("dtype":"U8","shape":[1152921504606846976],"data_offsets":[0,1152921504606846976])", "abcd");
  CHECK(says(refused(huge), "the data end after 4 bytes", "expected 1152921504606846976"));
  const TemporaryFolder folder;
  CHECK(says(message_of([&] { Safetensors::load(folder.with("huge", huge)); }), "the data end after 4 bytes"));
  CHECK(says(message_of([&] { Safetensors::load(folder.with("long", std::string("\0\xE1\xF5\x05\0\0\0\0{}", 10))); }),
             "length is 100000000, but only 2 bytes follow"));
}

TEST_CASE("numbers come out only as what they are") {
  const auto file = parse(text_of(example().serialize()));
  CHECK(file.values<double>("step") == std::vector<double>{3.25});
  CHECK(file.values<std::int64_t>("count", {2}) == std::vector<std::int64_t>{-7, 1LL << 60});
  CHECK(file.values<std::uint8_t>("bytes") == std::vector<std::uint8_t>{1, 2, 255});
  CHECK(file.values<bool>("flags") == std::vector<bool>{true, false, true});
  CHECK(file.values<float>("nothing", {2, 0, 3}).empty());
  CHECK(file.metadata().at("format") == "pt");
  const auto weights = file.values<float>("net.0.weight");
  CHECK(std::isnan(weights[3]));
  CHECK(std::signbit(weights[4]));
  CHECK(weights[5] == 1e-45F);
  CHECK(
      says(message_of([&] { file.values<double>("net.0.weight"); }), "'net.0.weight' has the type F32; expected F64"));
  CHECK(says(message_of([&] { file.values<std::uint32_t>("net.0.weight"); }), "has the type F32; expected U32"));
  CHECK(says(message_of([&] { file.values<float>("net.0.weight", {3, 2}); }), "has the shape [2, 3]; expected [3, 2]"));
  std::vector<float> target(5, 9.0F);
  CHECK(says(message_of([&] { file.read<float>("net.0.weight", target); }),
             "'net.0.weight' of shape [2, 3] has 5 entries; expected 6"));
  std::vector<double> wrong(6, 9.0);
  CHECK(says(message_of([&] { file.read<double>("net.0.weight", wrong); }), "F32; expected F64"));
  CHECK(target == std::vector<float>(5, 9.0F));
  CHECK(wrong == std::vector<double>(6, 9.0));
  // A byte that is no bool would be undefined behaviour in C++.
  CHECK(says(message_of([&] {
               parse(entry(R"("dtype":"BOOL","shape":[2],"data_offsets":[0,2])", "\x01\x02")).values<bool>("t");
             }),
             "has the byte 2 as number 1; expected 0 or 1"));
}

TEST_CASE("the writer's order, padding and re-saving") {
  const auto bytes_once = example().serialize();
  const auto file = parse(text_of(bytes_once));
  // By type, largest alignment first, then by name; every tensor is aligned to its own size.
  std::vector<std::string> names;
  for (const auto& tensor : file.tensors()) {
    names.push_back(tensor.name);
    CHECK(tensor.begin % (bits_of(tensor.dtype) / 8) == 0);
  }
  CHECK(names == std::vector<std::string>{"count", "step", "net.0.weight", "nothing", "bytes", "flags"});
  CHECK(std::to_integer<unsigned>(bytes_once[0]) % 8 == 0);
  CHECK(file.serialize() == bytes_once);
  CHECK(same(file, parse(text_of(file.serialize()))));
  // The same content in another order of adding gives the same bytes.
  Safetensors a, b;
  a.add<float>("x", {1}, {1});
  a.add<float>("y", {2}, {1});
  b.add<float>("y", {2}, {1});
  b.add<float>("x", {1}, {1});
  CHECK(a.serialize() == b.serialize());
  // Files of others keep their bytes without our checksum. No metadata and empty metadata are told apart.
  for (const std::string& theirs : {raw("{}      "), raw(R"({"__metadata__":{}}     )"),
                                    raw(R"({"__metadata__":{"a":"1","b":"\u0001/\"é"}}    )")}) {
    CAPTURE(theirs);
    CHECK(text_of(parse(theirs).serialize({.checksum = false})) == theirs);
    CHECK(parse(text_of(parse(theirs).serialize())).metadata().size() == parse(theirs).metadata().size() + 1);
  }
  // Taking the checksum off gives the file that never had one.
  CHECK(file.serialize({.checksum = false}) == example().serialize({.checksum = false}));
}

TEST_CASE("what cannot be written is refused") {
  Safetensors file;
  CHECK(says(message_of([&] {
               file.add<float>("a", {1, 2}, {3});
             }),
             "shape [3] and type F32 got 8 bytes; expected 12"));
  CHECK(says(message_of([&] { file.add<float>("a", std::vector<float>{}, {}); }), "got 0 bytes; expected 4"));
  CHECK(says(message_of([&] { file.add<float>("\xFF", {1}, {1}); }), "not UTF-8"));
  CHECK(says(message_of([&] { file.add<float>("__metadata__", {1}, {1}); }), "'__metadata__'"));
  CHECK(says(message_of([&] {
               file.add<float>("a", std::vector<float>{}, {1ULL << 40, 1ULL << 40});
             }),
             "more than 2^64"));
  CHECK(file.tensors().empty());
  file.add<float>("a", {1}, {1});
  CHECK(says(message_of([&] { file.add<double>("a", {1}, {1}); }), "two tensors have the name 'a'"));
  CHECK(says(message_of([&] { file.set_metadata("a", "\xFF"); }), "not UTF-8"));
  CHECK(says(message_of([&] { file.set_metadata("valence.checksum", "x"); }), "reserved"));
  CHECK(file.metadata().empty());
  CHECK(file.values<float>("a") == std::vector<float>{1});
}

TEST_CASE("the checksum finds what changed, and forgives what did not") {
  const std::string content = text_of(example().serialize());
  // Another program that rewrites the header in another order and spelling, with everything kept.
  Safetensors file = parse(content);
  std::string header =
      R"({ "__metadata__" : {"valence.checksum": ")" + file.metadata().at("valence.checksum") + R"(", "format": "pt"})";
  std::string data;
  for (const char* name : {"bytes", "step", "nothing", "flags", "net.0.weight", "count"}) {
    const auto& info = file.info(name);
    std::string shape;
    for (const auto d : info.shape) shape += fmt::format("{}{}", shape.empty() ? "" : " , ", d);
    const std::size_t begin = data.size();
    data += text_of(file.bytes(name));
    header += fmt::format(R"(, "{}":{{"shape":[{}],"data_offsets":[{},{}],"dtype":"{}"}})", name, shape, begin,
                          data.size(), name_of(info.dtype));
  }
  const auto rewritten = parse(raw(header + "}", data));
  CHECK(rewritten.serialize() == file.serialize());
  // One that changed a number and kept the checksum.
  data[0] = static_cast<char>(data[0] ^ 1);
  CHECK(says(refused(raw(header + "}", data)), "is damaged, or was changed by a program that kept the old checksum"));
  const std::string changed = raw(header + "}", data);
  CHECK(Safetensors::parse(bytes(changed), {.verify = false}).contains("step"));
}

TEST_CASE("a file cut off anywhere, or with any bit flipped, is refused whole", "[F10]") {
  const std::string content = text_of(example().serialize());
  REQUIRE(content.size() > 256);
  const auto original = parse(content);
  Safetensors target = original;
  std::size_t accepted = 0;
  for (std::size_t size = 0; size < content.size(); ++size) {
    try {
      target = parse(content.substr(0, size));
      ++accepted;
    } catch (const Error&) {}
  }
  CHECK(accepted == 0);
  // Not the first 256 bytes alone: every bit of the file. The checksum covers all that the file means, so that what is
  // accepted at all must be the same.
  std::size_t different = 0;
  for (std::size_t bit = 0; bit < content.size() * 8; ++bit) {
    std::string flipped = content;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    try {
      target = parse(flipped);
      different += same(target, original) ? 0 : 1;
    } catch (const Error&) {}
  }
  CHECK(different == 0);
  CHECK(same(target, original));
  // Without a checksum (files of others) the structure still holds: same sizes, no crash.
  const std::string plain = text_of(original.serialize({.checksum = false}));
  for (std::size_t size = 0; size < plain.size(); ++size)
    accepted += refused(plain.substr(0, size)) == "nothing thrown";
  CHECK(accepted == 0);
}

TEST_CASE("random damage never crashes the safetensors reader") {
  const std::vector<std::string> seeds{text_of(example().serialize()),
                                       text_of(example().serialize({.checksum = false})), raw("{}"),
                                       entry(R"("dtype":"F4","shape":[2],"data_offsets":[0,1])", "a")};
  test::mutate(seeds, 20'000, [](const std::string& content) {
    try {
      const auto file = parse(content);
      // What is accepted can be written, and reads back the same.
      const auto again = parse(text_of(file.serialize({.checksum = false})));
      REQUIRE(again.tensors().size() == file.tensors().size());
      for (const auto& tensor : file.tensors())
        REQUIRE(text_of(again.bytes(tensor.name)) == text_of(file.bytes(tensor.name)));
    } catch (const Error&) {}
  });
  SUCCEED("no crash");
}

TEST_CASE("safetensors files are the same under a decimal comma", "[F1]") {
  const std::string content = text_of(example().serialize());
  const test::DecimalComma locale;
  CHECK(text_of(example().serialize()) == content);
  CHECK(same(parse(content), parse(text_of(example().serialize()))));
  Safetensors big;  // a size with thousands to group
  big.add<std::uint8_t>("t", std::vector<std::uint8_t>(1'234'567), {1'234'567});
  CHECK(parse(text_of(big.serialize())).info("t").shape == std::vector<std::uint64_t>{1'234'567});
}

namespace {

// A network of three inputs, two hidden and one output, as PyTorch names its tensors.
const std::vector<ParameterBlock> layout{
    {"net.0.weight", 0, {2, 3}}, {"net.0.bias", 6, {2}}, {"net.2.weight", 8, {1, 2}}, {"net.2.bias", 10, {1}}};
const std::vector<float> theta{11, 21, 12, 22, 13, 23, 1, 2, 31, 32, 3};  // matrices column by column

}  // namespace

TEST_CASE("parameters are written as PyTorch names and lays them out") {
  const TemporaryFolder folder;
  save_parameters<float>(folder / "p.safetensors", theta, layout);
  const auto file = Safetensors::load(folder / "p.safetensors");
  CHECK(file.values<float>("net.0.weight", {2, 3}) == std::vector<float>{11, 12, 13, 21, 22, 23});  // row by row
  CHECK(file.values<float>("net.0.bias", {2}) == std::vector<float>{1, 2});
  CHECK(file.values<float>("net.2.weight", {1, 2}) == std::vector<float>{31, 32});
  CHECK(file.values<float>("net.2.bias", {1}) == std::vector<float>{3});
  CHECK(file.metadata().contains("valence.checksum"));
  std::vector<float> loaded(theta.size(), -1.0F);
  load_parameters<float>(folder / "p.safetensors", loaded, layout);
  CHECK(loaded == theta);
  CHECK(folder.files() == std::vector<std::string>{"p.safetensors"});
  // Doubles too, and a part of a larger file under a prefix.
  Safetensors larger;
  add_parameters<float>(larger, theta, layout, "actor.");
  const std::vector<double> critic{0.5, -0.0};
  add_parameters<double>(larger, critic, std::vector<ParameterBlock>{{"v", 0, {2}}}, "critic.");
  std::vector<float> actor(theta.size());
  read_parameters<float>(larger, actor, layout, {.prefix = "actor.", .allow_extra = true});
  CHECK(actor == theta);
  CHECK(says(message_of([&] { read_parameters<float>(larger, actor, layout, {.prefix = "actor."}); }),
             "'critic.v' is not a tensor of the model"));
  CHECK(says(message_of([&] { add_parameters<float>(larger, theta, layout, "actor."); }),
             "two tensors have the name 'actor.net.0.weight'"));
  CHECK(larger.tensors().size() == 5);
}

TEST_CASE("parameters that do not fit are named, and the target is left alone", "[F5][F8]") {
  const TemporaryFolder folder;
  const auto path = folder / "p.safetensors";
  save_parameters<float>(path, theta, layout);
  std::vector<float> target(theta.size(), -7.0F);
  const auto why = [&](const std::vector<ParameterBlock>& other) {
    return message_of([&] { load_parameters<float>(path, target, other); });
  };
  // One missing, one unknown, one renamed (so one more of each): all of them in one message.
  Safetensors file;
  file.add<float>("net.0.weight", {1, 2, 3, 4, 5, 6}, {2, 3});
  file.add<float>("net.0.bais", {1, 2}, {2});
  file.add<float>("net.2.weight", {1, 2}, {1, 2});
  file.add<float>("momentum", {1}, {1});
  const auto mixed = message_of([&] { read_parameters<float>(file, std::span(target), layout); });
  CHECK(says(mixed, "'net.0.bias' is missing", "'net.2.bias' is missing", "'net.0.bais' is not a tensor of the model",
             "'momentum' is not a tensor of the model"));
  // The wrong shape, also where the count of numbers agrees.
  auto other = layout;
  other[0].shape = {3, 2};
  CHECK(says(why(other), "'net.0.weight' has the shape [2, 3]; expected [3, 2]"));
  other[0].shape = {6};
  CHECK(says(why(other), "'net.0.weight' has the shape [2, 3]; expected [6]"));
  // The wrong type.
  std::vector<double> doubles(theta.size(), -7.0);
  CHECK(says(message_of([&] { load_parameters<double>(path, doubles, layout); }),
             "'net.0.weight' has the type F32; expected F64", "'net.2.bias' has the type F32; expected F64"));
  // Numbers that would poison the model.
  auto poisoned = theta;
  poisoned[3] = std::numeric_limits<float>::quiet_NaN();
  save_parameters<float>(folder / "nan.safetensors", poisoned, layout);
  CHECK(says(message_of([&] { load_parameters<float>(folder / "nan.safetensors", target, layout); }),
             "'net.0.weight'[4] is nan; expected a finite number"));
  CHECK(target == std::vector<float>(theta.size(), -7.0F));
  CHECK(doubles == std::vector<double>(theta.size(), -7.0));
  load_parameters<float>(folder / "nan.safetensors", target, layout, {.require_finite = false});
  CHECK(std::isnan(target[3]));
  CHECK(target[4] == theta[4]);
  // A layout that does not cover theta once is the caller's mistake: said before any file is touched.
  target.assign(theta.size(), -7.0F);
  CHECK(says(why({{"a", 0, {10}}}), "the blocks cover 10 numbers; theta has 11"));
  CHECK(says(why({{"a", 0, {6}}, {"b", 5, {6}}}), "block 'b' begins at 5; expected 6"));
  CHECK(says(message_of([&] {
               save_parameters<float>(folder / "q", theta, std::vector<ParameterBlock>{{"a", 1, {10}}});
             }),
             "block 'a' begins at 1; expected 0"));
  CHECK(says(message_of([&] {
               save_parameters<float>(folder / "q", theta, std::vector<ParameterBlock>{{"a", 0, {10}}, {"a", 10, {1}}});
             }),
             "two tensors have the name 'a'"));
  CHECK(target == std::vector<float>(theta.size(), -7.0F));
  CHECK(folder.files().size() == 2);
}

TEST_CASE("a damaged parameter file leaves the model as it was", "[F10]") {
  const TemporaryFolder folder;
  save_parameters<float>(folder / "p.safetensors", theta, layout);
  const std::string content = content_of(folder / "p.safetensors");
  std::vector<float> target(theta.size(), -7.0F);
  std::size_t loaded = 0;
  const auto attempt = [&](const std::string& damaged, bool through_a_file) {
    try {
      if (through_a_file)
        load_parameters<float>(folder.with("d.safetensors", damaged), target, layout);
      else
        read_parameters<float>(parse(damaged), target, layout);
      ++loaded;
    } catch (const Error&) {}
  };
  for (std::size_t size = 0; size < content.size(); ++size) attempt(content.substr(0, size), size % 32 == 0);
  CHECK(loaded == 0);
  for (std::size_t bit = 0; bit < 256 * 8; ++bit) {
    std::string flipped = content;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    attempt(flipped, bit % 64 == 0);
  }
  CHECK(loaded == 0);
  CHECK(target == std::vector<float>(theta.size(), -7.0F));
}
