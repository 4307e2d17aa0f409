#include "valence/io/checkpoint.hpp"

#include <Eigen/Core>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/files.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/mlp.hpp"
#include "valence/io/parameters.hpp"
#include "valence/io/safetensors.hpp"

using namespace valence;
using test::message_of;
using test::says;

namespace {

enum class Mode : std::uint8_t { slow = 3, fast = 200 };

struct Part {
  std::int16_t count = 0;
  std::vector<float> numbers = {};
  Matrix<double> matrix = {};
  std::string name = {};
  std::optional<double> maybe = {};

  template <class A>
  void archive(A& ar) {
    ar(count, numbers, matrix);
    ar(name, maybe);  // two calls go on counting
  }
};

/// A field of every kind that an archive takes.
struct Everything {
  double real = 0;
  float single = 0;
  bool flag = false;
  Mode mode = Mode::slow;
  std::int8_t small_integer = 0;
  std::int32_t integer = 0;
  std::uint64_t large = 0;
  char letter = 0;
  std::string text = {};
  std::vector<float> floats = {};
  std::vector<int> integers = {};
  std::vector<bool> flags = {};
  std::vector<Mode> modes = {};
  std::array<double, 3> three = {};
  std::array<std::vector<double>, 2> two_lists = {};
  double raw[2] = {};
  std::optional<double> number = {};
  std::optional<std::vector<float>> list = {};
  std::pair<int, std::vector<std::uint8_t>> pair = {};
  Matrix<double> matrix = {};
  Eigen::Vector4d four = Eigen::Vector4d::Zero();
  Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> rows = {};
  Eigen::Array<bool, Eigen::Dynamic, 1> bits = {};
  std::vector<Part> parts = {};
  std::vector<std::vector<int>> ragged = {};
  std::vector<Eigen::Vector2d> points = {};
  Part part = {};
  Rng rng{1};

  template <class A>
  void archive(A& ar) {
    ar(real, single, flag, mode, small_integer, integer, large, letter, text, floats);
    ar(integers, flags, modes, three, two_lists, raw, number, list, pair, matrix);
    ar(four, rows, bits, parts, ragged, points, part, rng);
  }
};

Everything everything() {
  Everything x;
  x.real = std::bit_cast<double>(std::uint64_t{0x7ff8'0000'dead'beef});  // a NaN with a payload
  x.single = -0.0F;
  x.flag = true;
  x.mode = Mode::fast;
  x.small_integer = -7, x.integer = -123456789, x.large = (std::numeric_limits<std::uint64_t>::max)(), x.letter = 'v';
  x.text = std::string("caf\xe9\0x", 6);  // no UTF-8, and a zero
  x.floats = {1.5F, std::numeric_limits<float>::denorm_min(), std::numeric_limits<float>::infinity()};
  x.integers = {3, -1, 2, 8};
  x.flags = {true, false, false, true, true};
  x.modes = {Mode::fast, Mode::slow};
  x.three = {1, -2, 3};
  x.two_lists = {{{1, 2, 3}, {4}}};
  x.raw[0] = 5, x.raw[1] = -0.0;
  x.number = 7;
  x.list = {{1, 2}};
  x.pair = {-4, {9, 8}};
  x.matrix.resize(2, 3);
  x.matrix << 1, 2, 3, 4, 5, 6;
  x.four << 1, 2, 3, -4;
  x.rows.resize(2, 3);
  x.rows << 1, 2, 3, 4, 5, 6;
  x.bits.resize(3);
  x.bits << true, false, true;
  x.parts.resize(3);
  x.parts[0] = {-2, {1, 2, 3}, Matrix<double>::Constant(1, 2, 0.5), "a", 1.25};
  x.parts[1] = {300, {}, Matrix<double>::Zero(0, 4), "", {}};
  x.parts[2] = {4, {-1}, Matrix<double>::Constant(2, 2, -3), "long name", -2.5};
  x.ragged = {{1, 2}, {}, {3}};
  x.points = {{1, 2}, {3, 4}, {5, 6}};
  x.part = {5, {2}, Matrix<double>::Constant(3, 1, 2), "part", 3.0};
  x.rng = Rng{99}.split(3);
  for (int i = 0; i < 7; ++i) x.rng();
  return x;
}

/// Weights beside their model, as the deep agents keep them.
struct Learner {
  Mlp<float> model;
  std::vector<float> theta;
  std::vector<float> target = theta;
  std::int64_t steps = 0;

  explicit Learner(const std::vector<int>& sizes, std::uint64_t seed = 1)
      : model(sizes, Activation::tanh), theta(model.parameter_count()) {
    Rng rng{seed};
    model.initialize(std::span<float>(theta), rng);
    target = theta;
  }
  template <class A>
  void archive(A& ar) {
    ar(theta, target, steps);
  }
};

/// A run without an agent: a walk of a generator, whose sum shows every step.
struct Walk {
  Rng rng{5};
  std::int64_t walked = 0;
  double sum = 0;
  std::vector<std::int64_t> slices = {};  // not state

  std::int64_t steps() const { return walked; }
  template <class... Callbacks>
  void advance(std::int64_t n, Callbacks&&... callbacks) {
    slices.push_back(n);
    bool go_on = true;
    for (std::int64_t i = 0; i < n && go_on; ++i) {
      sum += rng.uniform(), ++walked;
      ((go_on = callbacks(walked) && go_on), ...);
    }
  }
  template <class A>
  void archive(A& ar) {
    ar(rng, walked, sum);
  }
};

/// Objects to a limit above 5.
struct Limited {
  int limit = 3;
  template <class A>
  void archive(A& ar) {
    ar(limit);
    check_range("Limited", "limit", limit, 0, 5);
  }
};
/// Lists the same and objects to nothing.
struct Unlimited {
  int limit = 6;
  template <class A>
  void archive(A& ar) {
    ar(limit);
  }
};
template <class Inner>
struct Outer {
  double x = 0;
  Inner inner = {};
  template <class A>
  void archive(A& ar) {
    ar(x, inner);
  }
};

struct Memory {
  explicit Memory(int n) : size(n) {}
  int size;
  template <class A>
  void archive(A& ar) {
    ar(size);
  }
};
struct Owner {
  std::optional<Memory> memory = {};
  template <class A>
  void archive(A& ar) {
    ar(memory);
  }
};

/// Copies a file's tensors, under names that `rename` gives; an empty one leaves the tensor out.
template <class F>
Safetensors renamed(const Safetensors& file, F&& rename) {
  Safetensors out;
  for (const auto& tensor : file.tensors())
    if (const std::string name = rename(tensor.name); !name.empty())
      out.add_bytes(name, tensor.dtype, tensor.shape, file.bytes(tensor.name));
  for (const auto& [key, value] : file.metadata()) out.set_metadata(key, value);
  return out;
}

}  // namespace

TEST_CASE("every kind of field goes into a checkpoint and back, to the bit", "[F2][F9]") {
  const Everything saved = everything(), empty;
  Everything x;
  from_checkpoint(to_checkpoint(saved), x);
  CHECK(same_state(x, saved));
  from_checkpoint(to_checkpoint(empty), x);  // lists shrink, optionals empty
  CHECK(same_state(x, empty));

  const test::TemporaryFolder folder;
  const auto path = folder / "all.safetensors";
  save_checkpoint(path, saved, {.kind = "everything"});
  load_checkpoint(path, x, {.kind = "everything"});
  CHECK(same_state(x, saved));
  CHECK(folder.files().size() == 1);
  // The same state, the same file.
  const std::string content = test::content_of(path);
  save_checkpoint(path, x, {.kind = "everything"});
  CHECK(test::content_of(path) == content);
}

TEST_CASE("a checkpoint's tensors have the documented names, types and shapes", "[F8]") {
  Everything x = everything();
  const Safetensors file = to_checkpoint(x);
  std::map<std::string, std::string> seen;
  for (const auto& tensor : file.tensors())
    seen[tensor.name] = fmt::format("{}{}", name_of(tensor.dtype), detail::shape_text(tensor.shape));
  const std::map<std::string, std::string> expected{{"0", "F64[]"},
                                                    {"1", "F32[]"},
                                                    {"2", "BOOL[]"},
                                                    {"3", "U8[]"},
                                                    {"4", "I8[]"},
                                                    {"5", "I64[]"},
                                                    {"6", "U64[]"},
                                                    {"7", "U8[]"},
                                                    {"8", "U8[6]"},
                                                    {"9", "F32[3]"},
                                                    {"10", "I32[4]"},
                                                    {"11.size", "U64[]"},
                                                    {"11.each", "BOOL[5]"},
                                                    {"12", "U8[2]"},
                                                    {"13", "F64[3]"},
                                                    {"14.each", "F64[4]"},
                                                    {"14.each.size", "U64[2]"},
                                                    {"15", "F64[2]"},
                                                    {"16.has", "BOOL[]"},
                                                    {"16.value", "F64[]"},
                                                    {"17.has", "BOOL[]"},
                                                    {"17.value", "F32[2]"},
                                                    {"18.0", "I64[]"},
                                                    {"18.1", "U8[2]"},
                                                    {"19", "F64[3, 2]"},
                                                    {"20", "F64[4]"},
                                                    {"21", "F32[2, 3]"},
                                                    {"22", "BOOL[3]"},
                                                    {"23.size", "U64[]"},
                                                    {"23.each.0", "I64[3]"},
                                                    {"23.each.1", "F32[4]"},
                                                    {"23.each.1.size", "U64[3]"},
                                                    {"23.each.2", "F64[6]"},
                                                    {"23.each.2.shape", "U64[6]"},
                                                    {"23.each.3", "U8[10]"},
                                                    {"23.each.3.size", "U64[3]"},
                                                    {"23.each.4.has", "BOOL[3]"},
                                                    {"23.each.4.value", "F64[2]"},
                                                    {"24.size", "U64[]"},
                                                    {"24.each", "I32[3]"},
                                                    {"24.each.size", "U64[3]"},
                                                    {"25.size", "U64[]"},
                                                    {"25.each", "F64[6]"},
                                                    {"26.0", "I64[]"},
                                                    {"26.1", "F32[1]"},
                                                    {"26.2", "F64[1, 3]"},
                                                    {"26.3", "U8[4]"},
                                                    {"26.4.has", "BOOL[]"},
                                                    {"26.4.value", "F64[]"},
                                                    {"27.0", "U64[]"},
                                                    {"27.1", "U64[]"},
                                                    {"27.2", "U64[]"}};
  for (const auto& [name, what] : expected) {
    CAPTURE(name);
    CHECK(seen[name] == what);
  }
  CHECK(seen.size() == expected.size());
  CHECK(file.values<double>("19") == std::vector<double>{1, 4, 2, 5, 3, 6});  // a column is a row
  CHECK(file.values<float>("21") == std::vector<float>{1, 2, 3, 4, 5, 6});
  CHECK(file.values<std::int64_t>("23.each.0") == std::vector<std::int64_t>{-2, 300, 4});
  CHECK(file.values<float>("23.each.1") == std::vector<float>{1, 2, 3, -1});
  CHECK(file.values<std::uint64_t>("23.each.1.size") == std::vector<std::uint64_t>{3, 0, 1});
  CHECK(file.metadata().at("valence.checkpoint") == "1");
  CHECK(file.metadata().at("valence.version") == VALENCE_VERSION);
  CHECK(file.metadata().at("valence.kind").empty());
  CHECK_FALSE(file.metadata().contains("valence.parameters"));
}

TEST_CASE("weights stand in a checkpoint under PyTorch's names", "[F5]") {
  const Learner saved({3, 5, 2});
  const Safetensors file = to_checkpoint(saved);
  CHECK(file.metadata().at("valence.parameters") == "0");
  CHECK(file.info("0.0.weight").shape == std::vector<std::uint64_t>{5, 3});
  CHECK(file.info("0.2.bias").shape == std::vector<std::uint64_t>{2});
  CHECK(file.values<float>("0.0.weight")[1] == saved.theta[5]);  // row-major there, column by column here
  CHECK(file.values<float>("1") == saved.target);
  // A reader of parameters alone finds them.
  std::vector<float> theta(saved.theta.size());
  read_parameters<float>(file, std::span<float>(theta), saved.model.parameters(),
                         {.prefix = "0.", .allow_extra = true});
  CHECK(theta == saved.theta);

  Learner loaded({3, 5, 2}, 2);
  loaded.target.assign(loaded.theta.size(), std::numeric_limits<float>::quiet_NaN());
  from_checkpoint(file, loaded);
  CHECK(same_state(loaded, saved));
}

TEST_CASE("a checkpoint of something else is refused, and the object left alone", "[F8][F10]") {
  const Learner saved({3, 5, 2});
  const Safetensors file = to_checkpoint(saved, {.kind = "a"});
  const auto refusal = [](const Safetensors& from, auto object, const CheckpointOptions& options = {.kind = "a"}) {
    const auto before = to_bytes(object);
    const std::string message = message_of([&] { from_checkpoint(from, object, options); });
    CHECK(to_bytes(object) == before);
    return message;
  };
  SECTION("another kind") {
    CHECK(says(refusal(file, saved, {.kind = "b"}), "load_checkpoint", "'valence.kind' is 'a'; expected 'b'"));
    CHECK(says(refusal(file, saved, {}), "'valence.kind' is 'a'; expected ''"));
  }
  SECTION("no checkpoint, and one of another format") {
    Safetensors weights;
    add_parameters<float>(weights, std::span<const float>(saved.theta), saved.model.parameters());
    CHECK(says(refusal(weights, saved), "no 'valence.checkpoint' in its metadata; expected '1'"));
    Safetensors newer = file;
    newer.set_metadata("valence.checkpoint", "2");
    CHECK(says(refusal(newer, saved), "'valence.checkpoint' is '2'; expected '1'"));
  }
  SECTION("another network") {
    CHECK(says(refusal(file, Learner({3, 6, 2})), "0.0.weight", "[5, 3]", "expected [6, 3]", "0.2.weight"));
    CHECK(says(refusal(file, Learner({3, 5, 5, 2})), "'0.4.weight' is missing"));
    CHECK(says(refusal(to_checkpoint(Learner({3, 5, 5, 2}), {.kind = "a"}), saved), "'0.4.weight' is not a field"));
  }
  SECTION("an unknown, a missing and a renamed field") {
    const Safetensors changed = renamed(file, [](const std::string& name) -> std::string {
      return name == "1" ? "target" : name == "0.0.bias" ? "" : name;
    });
    CHECK(says(refusal(changed, saved), "'1' is missing", "'target' is not a field", "'0.0.bias' is missing"));
    Safetensors more = file;
    more.add<double>("3", {1.0});
    CHECK(says(refusal(more, saved), "'3' is not a field"));
  }
  SECTION("another type of number, and another shape") {
    Safetensors other = renamed(file, [](const std::string& name) { return name == "1" ? std::string() : name; });
    other.add<double>("1", std::vector<double>(saved.target.size()));
    CHECK(says(refusal(other, saved), "'1' has the type F64; expected F32"));
    other = renamed(file, [](const std::string& name) { return name == "2" ? std::string() : name; });
    other.add<std::int64_t>("2", {1, 2});
    CHECK(says(refusal(other, saved), "'2' has the shape [2]; expected []"));
  }
  SECTION("another object altogether") {
    CHECK(says(refusal(file, everything()), "'0' is missing", "'0.0.weight' is not a field"));
  }
}

TEST_CASE("an object's own objection says where it stands", "[F8]") {
  Outer<Limited> object;
  CHECK(says(message_of([&] { from_checkpoint(to_checkpoint(Outer<Unlimited>{}), object); }), "limit is 6", "at '1'"));
  CHECK(object.inner.limit == 3);
  CHECK(object.x == 0);
}

TEST_CASE("a part that can't be made from nothing is there or isn't, as the object was built", "[F8]") {
  Owner with{Memory{4}}, other{Memory{5}}, without;
  from_checkpoint(to_checkpoint(with), other);
  CHECK(other.memory->size == 4);
  CHECK(says(message_of([&] { from_checkpoint(to_checkpoint(with), without); }), "'0.has' is true; expected false"));
  CHECK(says(message_of([&] { from_checkpoint(to_checkpoint(without), with); }), "'0.has' is false; expected true"));
  CHECK(with.memory->size == 4);
}

TEST_CASE("a damaged checkpoint is refused wherever the damage is, and the object left alone", "[F10]") {
  Learner saved({2, 3, 1});
  saved.steps = 17;
  const auto good = to_checkpoint(saved).serialize();
  Learner object({2, 3, 1}, 4);
  const auto before = to_bytes(object);
  const auto refused = [&](std::span<const std::byte> content) {
    try {
      from_checkpoint(Safetensors::parse(content), object);
    } catch (const Error&) { return to_bytes(object) == before; }
    return false;
  };
  std::size_t wrong = 0;
  for (std::size_t n = 0; n < good.size(); ++n) wrong += refused(std::span(good).first(n)) ? 0 : 1;
  CHECK(wrong == 0);
  auto damaged = good;
  for (std::size_t i = 0; i < good.size(); ++i)  // more than the first 256 bytes: all
    for (unsigned bit = 0; bit < 8; ++bit) {
      damaged[i] ^= std::byte{1} << bit;
      wrong += refused(damaged) ? 0 : 1;
      damaged[i] = good[i];
    }
  CHECK(wrong == 0);
  from_checkpoint(Safetensors::parse(good), object);  // which it would have taken whole
  CHECK(same_state(object, saved));

  const test::TemporaryFolder folder;
  CHECK(says(message_of([&] { load_checkpoint(folder / "none", object); }), "cannot open", "none"));
  const auto path = folder.with("half", std::string_view(reinterpret_cast<const char*>(good.data()), good.size() / 2));
  CHECK(says(message_of([&] { load_checkpoint(path, object); }), "half"));
}

TEST_CASE("sizes in a checkpoint are believed only as far as there are numbers", "[F10][F11]") {
  const Everything saved = everything();
  const Safetensors file = to_checkpoint(saved);
  const auto with = [&](const std::string& name, const std::vector<std::uint64_t>& sizes) {
    Safetensors out = renamed(file, [&](const std::string& n) { return n == name ? std::string() : n; });
    out.add<std::uint64_t>(name, std::span<const std::uint64_t>(sizes), file.info(name).shape);
    return out;
  };
  constexpr std::uint64_t huge = std::uint64_t{1} << 60;
  Everything x;
  const auto refusal = [&](const Safetensors& from) {
    const std::string message = message_of([&] { from_checkpoint(from, x); });
    CHECK(same_state(x, Everything{}));
    return message;
  };
  CHECK(says(refusal(with("23.size", {huge})), "'23'", "1152921504606846976 elements"));
  CHECK(says(refusal(with("23.size", {4})), "'23.each", "next element"));
  CHECK(says(refusal(with("23.size", {2})), "belong to no element"));
  CHECK(says(refusal(with("23.each.1.size", {3, 0, huge})), "'23.each.1' has 1 numbers"));
  CHECK(says(refusal(with("23.each.1.size", {3, 0, 0})), "'23.each.1' has 4 bytes that belong to no element"));
  CHECK(says(refusal(with("23.each.2.shape", {huge, huge, 0, 4, 2, 2})), "'23.each.2'"));
  // A number that its field can't hold.
  Safetensors wide = renamed(file, [](const std::string& n) { return n == "5" ? std::string() : n; });
  const std::int64_t number = std::int64_t{1} << 40;
  wide.add<std::int64_t>("5", std::span<const std::int64_t>(&number, 1), {});
  CHECK(says(refusal(wide), "'5' is 1099511627776", "4 bytes"));
}

TEST_CASE("training with checkpoints takes up where the file stands", "[F2]") {
  const test::TemporaryFolder folder;
  const auto path = folder / "walk.safetensors";
  Walk whole;
  whole.advance(1050);

  Walk first;
  CHECK(train_with_checkpoints(first, {.path = path, .steps = 450, .every = 100}));
  CHECK(first.slices == std::vector<std::int64_t>{100, 100, 100, 100, 50});
  // What AtomicFile leaves when it is killed is cleared away; what isn't ours stays.
  folder.with("walk.safetensors.123-4.tmp", "half");
  folder.with("walk.safetensors.notes.tmp", "mine");
  Walk second;
  second.rng = Rng{77};
  CHECK(train_with_checkpoints(second, {.path = path, .steps = 1050, .every = 100}));
  CHECK(second.slices == std::vector<std::int64_t>{50, 100, 100, 100, 100, 100, 50});
  CHECK(same_state(second, whole));
  CHECK(folder.files().size() == 2);
  CHECK(std::filesystem::exists(folder / "walk.safetensors.notes.tmp"));
  // Nothing is left to do.
  Walk third;
  CHECK(train_with_checkpoints(third, {.path = path, .steps = 1000, .every = 100}));
  CHECK(third.slices.empty());
  CHECK(same_state(third, whole));
}

TEST_CASE("a callback stops training with checkpoints, on any step", "[F2]") {
  const test::TemporaryFolder folder;
  for (const std::int64_t last : {150, 200}) {  // inside a slice, and on its last step
    const auto path = folder / fmt::format("{}", last);
    Walk walk;
    const auto stop = [&](std::int64_t step) { return step < last; };
    CHECK_FALSE(train_with_checkpoints(walk, {.path = path, .steps = 1000, .every = 100}, stop));
    CHECK(walk.steps() == last);
    Walk saved;
    load_checkpoint(path, saved);
    CHECK(same_state(saved, walk));
  }
}

TEST_CASE("training with checkpoints refuses what can't work", "[F10]") {
  const test::TemporaryFolder folder;
  const auto path = folder / "walk";
  Walk walk;
  const auto refusal = [&](const CheckpointedTraining& training) {
    return message_of([&] { train_with_checkpoints(walk, training); });
  };
  CHECK(says(refusal({.steps = 10}), "path is empty"));
  CHECK(says(refusal({.path = path}), "steps is 0"));
  CHECK(says(refusal({.path = path, .steps = 10, .every = 0}), "every is 0"));
  const test::TemporaryFolder other;
  CHECK(says(refusal({.path = other.with("file", "text") / "walk", .steps = 10}), "file' is no folder"));
  CHECK(walk.steps() == 0);
  CHECK(folder.files().empty());
  folder.with("walk", "no checkpoint");
  CHECK(says(refusal({.path = path, .steps = 10}), "walk"));
  CHECK(walk.steps() == 0);
  CHECK(test::content_of(path) == "no checkpoint");  // somebody's file isn't overwritten
  struct Stuck : Walk {
    void advance(std::int64_t) {}
  } stuck;
  CHECK(says(message_of([&] { train_with_checkpoints(stuck, {.path = folder / "stuck", .steps = 10}); }), "step 0",
             "expected it to advance"));
}
