#include "valence/core/archive.hpp"

#include <Eigen/Core>
#include <cmath>
#include <limits>

#include "support/close.hpp"

using namespace valence;
using namespace valence::test;

namespace {

enum class Colour : short { red = -2, green = 7 };

struct Inner {
  int count = 0;
  char letter = 'a';  // three bytes of padding follow
  std::optional<float> limit;
  template <class A>
  void archive(A& ar) {
    ar(count, letter, limit);
  }
};

struct State {
  bool flag = false;
  std::uint64_t steps = 0;
  long negative = 0;
  Colour colour = Colour::red;
  float x = 0;
  double y = 0;
  std::string name;
  std::vector<double> numbers;
  std::vector<bool> bits;
  std::vector<Inner> inner;
  std::array<std::int32_t, 3> three{};
  unsigned char raw[2] = {};
  std::pair<int, double> both{};
  Eigen::VectorXd theta;
  Eigen::Matrix<float, 2, Eigen::Dynamic, Eigen::RowMajor> table{2, 0};
  Eigen::Array3d fixed = Eigen::Array3d::Zero();
  int not_listed = 0;
  template <class A>
  void archive(A& ar) {
    ar(flag, steps, negative, colour, x, y, name, numbers, bits, inner, three, raw, both, theta, table, fixed);
  }
};

State sample() {
  State s;
  s.flag = true;
  s.steps = (std::uint64_t(1) << 53) + 1;
  s.negative = -3;
  s.colour = Colour::green;
  s.x = -0.0f;
  s.y = std::numeric_limits<double>::quiet_NaN();
  s.name = "a name";
  s.numbers = {1.5, -0.0, 5e-324, std::numeric_limits<double>::infinity()};
  s.bits = {true, false, true};
  s.inner = {{.count = 4, .letter = 'b', .limit = 0.5f}, {.count = -1, .letter = 'c', .limit = {}}};
  s.three = {1, -2, 3};
  s.raw[1] = 200;
  s.both = {3, 0.25};
  s.theta = Eigen::VectorXd::LinSpaced(5, 0, 1);
  s.table.resize(2, 3);
  s.table << 1, 2, 3, 4, 5, 6;
  s.fixed << 7, 8, 9;
  return s;
}

std::size_t count_fields_changed(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) n += a[i] != b[i];
  return n;
}

}  // namespace

static_assert(Archivable<State> && Archivable<std::vector<State>> && Archivable<Eigen::MatrixXf> && !Archivable<int*> &&
              !Archivable<std::vector<int*>>);

TEST_CASE("an archived object comes back field by field", "[archive][F9]") {
  const State s = sample();
  State t;
  t.not_listed = 17;
  from_bytes(to_bytes(s), t);
  CHECK(same_state(s, t));
  CHECK(state_hash(s) == state_hash(t));
  CHECK(t.not_listed == 17);
  CHECK(t.flag);
  CHECK(t.steps == 9007199254740993u);
  CHECK(t.negative == -3);
  CHECK(t.colour == Colour::green);
  CHECK(std::signbit(t.x));
  CHECK(std::isnan(t.y));
  CHECK(t.name == "a name");
  CHECK(t.numbers == s.numbers);
  CHECK(t.bits == s.bits);
  REQUIRE(t.inner.size() == 2);
  CHECK(t.inner[0].limit == 0.5f);
  CHECK(!t.inner[1].limit);
  CHECK(t.three == s.three);
  CHECK(t.raw[1] == 200);
  CHECK(t.both == s.both);
  CHECK(t.theta == s.theta);
  CHECK(t.table == s.table);
  CHECK((t.fixed == s.fixed).all());
}

TEST_CASE("states are compared and hashed by bits", "[archive]") {
  CHECK(same_state(0.0, 0.0));
  CHECK(!same_state(0.0, -0.0));
  CHECK(state_hash(0.0) != state_hash(-0.0));
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(same_state(nan, nan));
  CHECK(!same_state(nan, -nan));

  // Each listed field is seen.
  const auto before = to_bytes(sample());
  const auto changes = [&](auto change) {
    State s = sample();
    change(s);
    const auto after = to_bytes(s);
    return before != after && state_hash(s) != state_hash(sample());
  };
  CHECK(changes([](State& s) { s.flag = false; }));
  CHECK(changes([](State& s) { s.steps += 1; }));
  CHECK(changes([](State& s) { s.colour = Colour::red; }));
  CHECK(changes([](State& s) { s.inner[1].letter = 'd'; }));
  CHECK(changes([](State& s) { s.bits[1] = true; }));
  CHECK(changes([](State& s) { s.table(1, 2) = 7; }));
  CHECK(changes([](State& s) { s.fixed[0] = 0; }));
  CHECK(!changes([](State& s) { s.not_listed = 1; }));

  // Where a list ends and the next begins is seen, too.
  using Lists = std::pair<std::vector<int>, std::vector<int>>;
  CHECK(!same_state(Lists{{1}, {2, 3}}, Lists{{1, 2}, {3}}));
  CHECK(!same_state(Eigen::MatrixXd(Eigen::MatrixXd::Zero(2, 3)), Eigen::MatrixXd(Eigen::MatrixXd::Zero(3, 2))));
}

TEST_CASE("the encoding is little-endian and of fixed size", "[archive][F11]") {
  const auto as_ints = [](const auto& x) {
    std::vector<int> v;
    for (const std::byte b : to_bytes(x)) v.push_back(std::to_integer<int>(b));
    return v;
  };
  CHECK(as_ints(0x0102) == std::vector<int>{2, 1, 0, 0, 0, 0, 0, 0});
  CHECK(as_ints(short(-1)) == std::vector<int>(8, 255));
  CHECK(as_ints(1.0f) == std::vector<int>{0, 0, 0x80, 0x3f});
  CHECK(as_ints(true) == std::vector<int>{1});
  CHECK(as_ints(std::string("ab")) == std::vector<int>{2, 0, 0, 0, 0, 0, 0, 0, 'a', 'b'});
  // FNV-1a of one byte 'a' (published test vector).
  CHECK(state_hash('a') == 0xaf63dc4c8601ec8cu);
}

TEST_CASE("truncated, overlong or impossible bytes are refused and change nothing", "[archive][F10]") {
  const auto bytes = to_bytes(sample());
  State t = sample();
  t.name = "untouched";
  const auto before = to_bytes(t);
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    CHECK_THROWS_AS(from_bytes(std::span(bytes).first(n), t), Error);
    REQUIRE(to_bytes(t) == before);
  }
  auto longer = bytes;
  longer.push_back(std::byte{0});
  CHECK(says(message_of([&] { from_bytes(longer, t); }), "1 bytes follow", "expected none"));

  int i = 5;
  CHECK(says(message_of([&] { from_bytes(to_bytes(std::int64_t(1) << 40), i); }), "does not fit into 4 bytes"));
  unsigned u = 5;
  CHECK_THROWS_AS(from_bytes(to_bytes(-1), u), Error);
  bool b = true;
  CHECK_THROWS_AS(from_bytes(to_bytes(char(2)), b), Error);
  CHECK(i == 5);
  CHECK(u == 5);
}

TEST_CASE("a declared size is believed only as far as there are bytes", "[archive][F11]") {
  const std::uint64_t huge = std::uint64_t(1) << 60;
  std::vector<double> v{1};
  CHECK(says(message_of([&] { from_bytes(to_bytes(huge), v); }), "1152921504606846976 elements", "0 bytes"));
  std::string s;
  CHECK_THROWS_AS(from_bytes(to_bytes(huge), s), Error);
  Eigen::MatrixXd m(1, 1);
  CHECK_THROWS_AS(from_bytes(to_bytes(std::pair(huge, huge)), m), Error);
  CHECK_THROWS_AS(from_bytes(to_bytes(std::pair(~std::uint64_t(0), std::uint64_t(0))), m), Error);
  Eigen::Vector3d fixed = Eigen::Vector3d::Ones();
  CHECK_THROWS_AS(from_bytes(to_bytes(Eigen::VectorXd(Eigen::VectorXd::Zero(2))), fixed), Error);
  CHECK(v == std::vector<double>{1});
  CHECK(m.size() == 1);
  CHECK(fixed == Eigen::Vector3d::Ones());
}

TEST_CASE("a flipped bit is seen by the hash, and never crashes the reader", "[archive][F10]") {
  const auto bytes = to_bytes(sample());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    auto flipped = bytes;
    flipped[i] ^= std::byte{1 << 3};
    CHECK(count_fields_changed(bytes, flipped) == 1);
    State t;
    try {
      from_bytes(flipped, t);
      CHECK(state_hash(t) != state_hash(sample()));
    } catch (const Error&) { CHECK(same_state(t, State{})); }
  }
}
