#include "valence/function/linear.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/tabular.hpp"
#include "valence/function/tile_coding.hpp"

using namespace valence;
using namespace valence::test;

static_assert(Approximator<Tabular<double>> && Approximator<Tabular<float>> && Local<Tabular<double>> &&
              Linearisable<Tabular<double>>);
static_assert(std::same_as<decltype(Tabular{10, 2}), Tabular<double>> &&
              std::same_as<decltype(Tabular{10, 2, 0.5f}), Tabular<float>>);
static_assert(!InputDifferentiable<Tabular<double>>);
static_assert(FeatureMap<Identity> && FeatureMap<Polynomial> && FeatureMap<Fourier> && FeatureMap<Rbf>);
static_assert(!SparseFeatureMap<Identity> && !SparseFeatureMap<Rbf> && SparseFeatureMap<OneHot> &&
              SparseFeatureMap<TileCoding>);
static_assert(DifferentiableFeatureMap<Identity> && DifferentiableFeatureMap<Polynomial> &&
              DifferentiableFeatureMap<Fourier> && DifferentiableFeatureMap<Rbf> &&
              !DifferentiableFeatureMap<TileCoding> && !DifferentiableFeatureMap<OneHot>);
static_assert(Local<Linear<TileCoding>> && Local<Linear<OneHot, float>> && !Local<Linear<Fourier>>);
static_assert(InputDifferentiable<Linear<Fourier>> && !InputDifferentiable<Linear<TileCoding>> &&
              Linearisable<Linear<Rbf, float>>);

namespace {

Matrix<double> random_matrix(Eigen::Index rows, Eigen::Index cols, Rng& rng) {
  Matrix<double> m(rows, cols);
  for (double& x : view(m)) x = rng.normal();
  return m;
}
Outputs<double> outputs(const Matrix<double>& m) { return {m.data(), m.rows(), m.cols()}; }
template <class Map>
std::vector<double> features(const Map& map, const std::vector<double>& x) {
  std::vector<double> f(static_cast<std::size_t>(map.size()));
  map(std::span(x), std::span(f));
  return f;
}
std::vector<int> tiles(const TileCoding& map, const std::vector<double>& x) {
  std::vector<int> i(static_cast<std::size_t>(map.active_count()));
  map.active(std::span(x), std::span(i));
  return i;
}
int shared(const TileCoding& map, const std::vector<double>& x, const std::vector<double>& y) {
  const auto a = tiles(map, x), b = tiles(map, y);
  int same = 0;
  for (std::size_t t = 0; t < a.size(); ++t) same += a[t] == b[t];
  return same;
}
/// A dense map's derivative, and all of `Linear` on it, against differences.
template <class Map>
void check_linear(const Map& map) {
  Rng rng{5};
  const Linear model(map, 3);
  const Matrix<double> x = 0.4 * random_matrix(map.input_size(), 5, rng).array() + 0.3, dy = random_matrix(3, 5, rng);
  const Vector<double> theta = random_matrix(Eigen::Index(model.parameter_count()), 1, rng);
  const Vector<double> v = random_matrix(theta.size(), 1, rng);
  typename Linear<Map>::Tape tape;
  model.forward(view(theta), x, tape);
  const auto of_theta = [&](std::span<const double> t) {
    typename Linear<Map>::Tape own;
    const Matrix<double> y = model.forward(t, x, own);
    return std::vector<double>(y.data(), y.data() + y.size());
  };
  const auto of_x = [&](std::span<const double> at) {
    typename Linear<Map>::Tape own;
    const Matrix<double> y = model.forward(view(theta), Outputs<double>(at.data(), x.rows(), x.cols()), own);
    return std::vector<double>(y.data(), y.data() + y.size());
  };
  Vector<double> gradient = Vector<double>::Zero(theta.size());
  model.pullback(view(theta), x, tape, outputs(dy), view(gradient));
  CHECK(pullback_matches(of_theta, view(theta), view(dy), view(gradient)));
  const Matrix<double> jv = model.pushforward(view(theta), x, tape, view(v));
  CHECK(pushforward_matches(of_theta, view(theta), view(v), view(jv)));
  Matrix<double> dx;
  model.pullback_input(view(theta), x, tape, outputs(dy), dx);
  CHECK(pullback_matches(of_x, view(x), view(dy), view(dx)));
  Matrix<double> in_place = x;
  model.pullback_input(view(theta), in_place, tape, outputs(dy), in_place);
  CHECK(in_place == dx);
}

}  // namespace

TEST_CASE("Tabular: a state's column out, a step on theta itself in") {
  const Tabular table{4, 2};
  std::vector<double> theta{0, 1, 2, 3, 4, 5, 6, 7};
  const std::vector<int> x{2, 0, 2};
  Tabular<>::Tape tape;
  const Matrix<double> y = table.forward(theta, x, tape);
  CHECK(y == (Matrix<double>(2, 3) << 4, 0, 4, 5, 1, 5).finished());
  const Matrix<double> dy = (Matrix<double>(2, 3) << 1, 10, 100, 2, 20, 200).finished();
  table.pullback(theta, x, tape, outputs(dy), theta);  // Local: the gradient is theta
  CHECK(theta == std::vector<double>{10, 21, 2, 3, 105, 207, 6, 7});
  const std::vector<double> v{1, 2, 3, 4, 5, 6, 7, 8};
  CHECK(Matrix<double>(table.pushforward(theta, x, tape, v)) == (Matrix<double>(2, 3) << 5, 1, 5, 6, 2, 6).finished());
  Rng rng{1};
  Tabular{4, 2, 0.5}.initialize(theta, rng);
  CHECK(theta == std::vector<double>(8, 0.5));
  CHECK(table.parameters("q.")[0].name == "q.weight");
  CHECK(table.parameters()[0].shape == std::vector<std::size_t>{2, 4});
}

TEST_CASE("Tabular: bad states and sizes throw before anything changes") {
  const Tabular table{4, 2};
  std::vector<double> theta(8, 1.0);
  Tabular<>::Tape tape;
  const std::vector<int> below{0, -1}, above{1, 2, 4}, good{1, 2};
  const Matrix<double> dy = Matrix<double>::Ones(2, 3), dy2 = Matrix<double>::Ones(2, 2);
  CHECK(says(message_of([&] { table.forward(theta, below, tape); }), "x[1] is -1", "[0, 3]"));
  CHECK(says(message_of([&] { table.pullback(theta, above, tape, outputs(dy), theta); }), "x[2] is 4"));
  CHECK(says(message_of([&] { table.pullback(theta, good, tape, outputs(dy), theta); }), "dy is 2 x 3", "2 x 2"));
  CHECK(says(message_of([&] { table.forward(std::span(theta).first(7), good, tape); }), "7", "expected 8"));
  CHECK(says(message_of([&] { table.pullback(theta, good, tape, outputs(dy2), std::span(theta).first(7)); }), "7"));
  CHECK(says(message_of([&] { Tabular{0, 2}.forward(theta, good, tape); }), "0 states"));
  CHECK(theta == std::vector<double>(8, 1.0));
}

TEST_CASE("Dense feature maps give the features of their definitions") {
  CHECK(features(Identity{2}, {3, -4}) == std::vector<double>{3, -4});
  CHECK(features(Identity{2, true}, {3, -4}) == std::vector<double>{3, -4, 1});
  // Order 2 in 2 inputs: exponents (0,0) (0,1) (0,2) (1,0) ... (2,2).
  CHECK(features(Polynomial{2, 2}, {2, 3}) == std::vector<double>{1, 3, 9, 2, 6, 18, 4, 12, 36});
  CHECK(features(Polynomial{2, 2, 2}, {2, 3}) == std::vector<double>{1, 3, 9, 2, 6, 4});
  CHECK(features(Polynomial{3, 0}, {2, 3, 4}) == std::vector<double>{1});
  CHECK(Polynomial{4, 5}.size() == 6 * 6 * 6 * 6);
  CHECK(Polynomial{4, 5, 5}.size() == 126);  // C(9, 4)
  CHECK(Polynomial{4, 2, 3}.size() == 31);   // C(7, 4) less the 4 cubes
  const Fourier fourier{{0, -1}, {2, 1}, 2};
  CHECK(fourier.size() == 9);
  const auto f = features(fourier, {0.5, 0.5});  // u = (0.25, 0.75)
  for (int i = 0; i < 9; ++i) {
    const auto c = fourier.frequencies(i);
    CHECK(f[std::size_t(i)] == close(std::cos(M_PI * (c[0] * 0.25 + c[1] * 0.75)), 1e-14, 1e-15));
  }
  CHECK(f[0] == 1);
  CHECK(fourier.step_scale(0) == 1);
  CHECK(fourier.frequencies(5)[0] == 1);
  CHECK(fourier.frequencies(5)[1] == 2);
  CHECK(fourier.step_scale(5) == close(1 / std::sqrt(5.0), 1e-15));
  const auto rbf = features(Rbf{(Matrix<double>(1, 3) << 0, 1, 2).finished(), {0.5}}, {0.25});
  CHECK(rbf[0] == close(std::exp(-0.125), 1e-15));
  CHECK(rbf[2] == close(std::exp(-0.5 * 3.5 * 3.5), 1e-15));
  const Rbf grid = Rbf::grid({0, 0}, {1, 2}, 3, true);
  CHECK(grid.size() == 9);
  CHECK(grid.centers().col(5) == (Vector<double>(2) << 0.5, 2).finished());
  for (const double far : {0.0, 0.3, 1e3, 1e8}) {
    const auto n = features(grid, {far, -far});
    double sum = 0;
    for (const double x : n) sum += x;
    CHECK(sum == close(1, 1e-14));  // also where every unnormalised feature underflows
  }
}

TEST_CASE("One-hot features are a table") {
  const Linear one_hot{OneHot{4}, 2};
  std::vector<double> theta{0, 1, 2, 3, 4, 5, 6, 7};
  const Matrix<double> x = (Matrix<double>(1, 3) << 2, 0, 2).finished();
  Linear<OneHot>::Tape tape;
  CHECK(Matrix<double>(one_hot.forward(theta, x, tape)) == (Matrix<double>(2, 3) << 4, 0, 4, 5, 1, 5).finished());
  const Matrix<double> dy = (Matrix<double>(2, 3) << 1, 10, 100, 2, 20, 200).finished();
  one_hot.pullback(theta, x, tape, outputs(dy), theta);
  CHECK(theta == std::vector<double>{10, 21, 2, 3, 105, 207, 6, 7});
  CHECK(features(OneHot{3}, {1}) == std::vector<double>{0, 1, 0});
  for (const double bad : {-1.0, 3.0, 0.5, std::nan(""), 1e300})
    CHECK(says(message_of([&] { features(OneHot{3}, {bad}); }), "OneHot", "x[0] is"));
}

TEST_CASE("Linear over every differentiable map has the right derivatives") {
  check_linear(Identity{3, true});
  check_linear(Polynomial{2, 3});
  check_linear(Fourier{{0, -1}, {1, 2}, 3});
  check_linear(Rbf::grid({0, 0}, {1, 1}, 3));
  check_linear(Rbf::grid({0, 0}, {1, 1}, 3, true, 1.5));
}

TEST_CASE("Linear::precondition gives each Fourier feature its own step size") {
  const Linear v{Fourier{{0}, {1}, 3}, 2};
  std::vector<double> g(8, 6.0);
  v.precondition(g);
  CHECK(g == std::vector<double>{6, 6, 6, 6, 3, 3, 2, 2});
  CHECK(says(message_of([&] { v.precondition(std::span(g).first(3)); }), "gradient has 3"));
}

TEST_CASE("Tile coding: one tile of each tiling, indices in range, each tiling its own") {
  const TileCoding map{{-1, 0}, {1, 5}, {.tilings = 8, .tiles = 4}};
  CHECK(map.size() == 8 * 5 * 5);
  Rng rng{3};
  for (int k = 0; k < 1000; ++k) {
    const auto t = tiles(map, {rng.uniform(-2, 2), rng.uniform(-1, 6)});
    for (std::size_t i = 0; i < t.size(); ++i) {
      CHECK(t[i] >= int(i) * 25);
      CHECK(t[i] < int(i + 1) * 25);
    }
  }
  const auto f = features(map, {0.1, 2});
  double sum = 0;
  for (const double x : f) sum += x;
  CHECK(sum == 8);
}

TEST_CASE("Tile coding generalises over one tile: moving a fraction of it changes that fraction of the tilings") {
  const TileCoding map{{0}, {1}, {.tilings = 8, .tiles = 4}};  // a tile is 1/4, a step 1/32
  for (int step = 0; step <= 8; ++step) CHECK(shared(map, {0.0}, {step / 32.0}) == 8 - step);
  CHECK(shared(map, {0.5}, {0.5 + 0.99 / 32}) == 8);
  CHECK(shared(map, {0.5}, {0.5 - 1e-9}) == 7);  // tiles are half open: the edge belongs above
  CHECK(shared(map, {0.1}, {0.9}) == 0);
  // Two inputs: shifts (1, 3) mod 8 so that a diagonal is no special direction; all 8 shifts differ along each input.
  const TileCoding plane{{0, 0}, {1, 1}, {.tilings = 8, .tiles = 4}};
  for (int step = 0; step <= 8; ++step) {
    CHECK(shared(plane, {0.25, 0.25}, {0.25 + step / 32.0, 0.25}) == 8 - step);
    CHECK(shared(plane, {0.25, 0.25}, {0.25, 0.25 + step / 32.0}) == 8 - step);
  }
  CHECK(shared(plane, {0.25, 0.25}, {0.25 + 1 / 32.0, 0.25 + 1 / 32.0}) ==
        6);  // (1 + 2 j) t is 7 mod 8 for t = 7 and t = 5
}

TEST_CASE("Tile coding: outside of the box is clipped without hashing, and goes on with it") {
  const TileCoding exact{{0}, {1}, {.tilings = 4, .tiles = 4}};
  CHECK(tiles(exact, {-5}) == tiles(exact, {0}));
  CHECK(tiles(exact, {7}) == tiles(exact, {1}));
  const TileCoding hashed{{0}, {1}, {.tilings = 4, .tiles = 4, .memory = 100000}};
  CHECK(tiles(hashed, {-5}) != tiles(hashed, {0}));
  CHECK(tiles(hashed, {7}) != tiles(hashed, {1}));
  CHECK(shared(hashed, {-5}, {-5 + 0.99 / 16}) == 4);  // floor, not truncation, below zero
  CHECK(shared(hashed, {-5}, {-5 + 1.01 / 16}) == 3);
  CHECK(shared(hashed, {-0.01}, {0.01}) == 3);
}

TEST_CASE("Tile coding: hashed indices are the same on every machine, and spread") {
  const TileCoding map{{-1.2, -0.07}, {0.6, 0.07}, {.tilings = 8, .tiles = 8, .memory = 4096}};
  CHECK(map.size() == 4096);
  CHECK(tiles(map, {-0.5, 0.01}) == std::vector<int>{1356, 1287, 804, 2911, 3641, 1154, 3146, 163});
  CHECK(tiles(map, {0.3, -0.05}) == std::vector<int>{1225, 3857, 909, 2520, 3193, 3712, 709, 233});
  // 648 distinct tiles into 4096 places: expected distinct 4096 (1 - exp(-648/4096)) = 599 (less 1), standard deviation
  // about 6.
  std::set<int> seen;
  std::set<std::vector<int>> cells;
  for (int i = 0; i <= 64; ++i)
    for (int j = 0; j <= 64; ++j) {
      const auto t = tiles(map, {-1.2 + 1.8 * i / 64, -0.07 + 0.14 * j / 64});
      seen.insert(t.begin(), t.end());
    }
  CHECK(seen.size() > 560);
  CHECK(seen.size() < 635);
}

TEST_CASE("Tile coding: a table gives indices without collisions until it is full, and remembers them") {
  const auto table = std::make_shared<TileTable>(700);
  const TileCoding map{{-1.2, -0.07}, {0.6, 0.07}, {.tilings = 8, .tiles = 8, .table = table}};
  const TileCoding exact{{-1.2, -0.07}, {0.6, 0.07}, {.tilings = 8, .tiles = 8}};
  CHECK(map.size() == 700);
  CHECK(tiles(map, {0, 0}) == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7});
  std::set<std::pair<int, int>> pairs;
  std::set<int> ours, theirs;
  for (int i = 0; i <= 64; ++i)
    for (int j = 0; j <= 64; ++j) {
      const std::vector<double> x{-1.2 + 1.8 * i / 64, -0.07 + 0.14 * j / 64};
      const auto a = tiles(map, x), b = tiles(exact, x);
      for (std::size_t t = 0; t < 8; ++t) pairs.insert({a[t], b[t]}), ours.insert(a[t]), theirs.insert(b[t]);
    }
  CHECK(pairs.size() == ours.size());  // one to one
  CHECK(pairs.size() == theirs.size());
  CHECK(table->used() == int(ours.size()));
  CHECK(table->collisions() == 0);
  CHECK(tiles(map, {0, 0}) == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7});
  const auto tight = std::make_shared<TileTable>(4);
  const TileCoding full{{0}, {1}, {.tilings = 8, .tiles = 2, .table = tight}};
  for (const int i : tiles(full, {0.2})) CHECK((i >= 0 && i < 4));
  CHECK(tight->used() == 4);
  CHECK(tight->collisions() == 4);
}

TEST_CASE("Linear over tiles is local: a step on theta touches the active weights alone, and allocates nothing") {
  const Linear q{TileCoding{{0, 0}, {1, 1}}, 3};
  Vector<double> theta = Vector<double>::Zero(Eigen::Index(q.parameter_count()));
  Matrix<double> x(2, 1), dy(3, 1);
  x << 0.3, 0.6;
  dy << 0, 0.5, 0;
  Linear<TileCoding>::Tape tape;
  const auto step = [&] {
    q.forward(view(theta), x, tape);
    q.pullback(view(theta), x, tape, outputs(dy), view(theta));
  };
  step();
  CHECK((theta.array() != 0).count() == 8);
  CHECK(theta.sum() == 4);
  CHECK(q.forward(view(theta), x, tape)(1, 0) == 4);
  CHECK(q.forward(view(theta), x, tape)(0, 0) == 0);
  Allocations allocations;
  step();
  CHECK(allocations.count() == 0);
}

TEST_CASE("Linear: a dense training step allocates nothing") {
  const Linear v{Fourier{{0, 0}, {1, 1}, 3}, 2};
  Vector<double> theta = Vector<double>::Ones(Eigen::Index(v.parameter_count())),
                 g = Vector<double>::Zero(theta.size());
  const Matrix<double> x = Matrix<double>::Constant(2, 7, 0.25), dy = Matrix<double>::Ones(2, 7);
  Linear<Fourier>::Tape tape;
  const auto step = [&] {
    v.forward(view(theta), x, tape);
    v.pullback(view(theta), x, tape, outputs(dy), view(g));
  };
  step();
  Allocations allocations;
  step();
  CHECK(allocations.count() == 0);
}

TEST_CASE("Feature maps and Linear refuse bad input by name") {
  const double nan = std::nan("");
  CHECK(says(message_of([] { Polynomial(0, 2); }), "Polynomial", "inputs is 0"));
  CHECK(says(message_of([] { Polynomial(2, -1); }), "Polynomial", "order is -1"));
  CHECK(says(message_of([] { Polynomial(20, 9); }), "Polynomial", "features"));
  CHECK(says(message_of([] { Fourier({0, 1}, {1, 1}, 2); }), "Fourier", "low[1] is 1", "low < high"));
  CHECK(says(message_of([&] { Fourier({0, nan}, {1, 1}, 2); }), "low[1] is nan"));
  CHECK(says(message_of([] { Fourier({0}, {1, 2}, 2); }), "high has 2", "expected 1"));
  CHECK(says(message_of([] { Fourier({}, {}, 2); }), "low is empty"));
  CHECK(says(message_of([] { Rbf(Matrix<double>(2, 0), {1, 1}); }), "Rbf", "2 x 0"));
  CHECK(says(message_of([] { Rbf(Matrix<double>::Zero(2, 3), {1}); }), "widths has 1"));
  CHECK(says(message_of([] { Rbf(Matrix<double>::Zero(1, 3), {0}); }), "widths[0] is 0"));
  CHECK(says(message_of([] { Rbf::grid({0}, {1}, 1); }), "per_input is 1"));
  CHECK(says(message_of([] { TileCoding({0}, {1}, {.tilings = 0}); }), "TileCoding", "tilings is 0"));
  CHECK(says(message_of([] { TileCoding({0}, {1}, {.memory = -1}); }), "memory is -1"));
  CHECK(says(message_of([] { TileCoding(std::vector<double>(20, 0.0), std::vector<double>(20, 1.0)); }),
             "without hashing"));
  const auto table = std::make_shared<TileTable>(4);
  CHECK(says(message_of([&] { TileCoding({0}, {1}, {.memory = 5, .table = table}); }), "memory is 5", "4"));
  CHECK(says(message_of([] { TileTable(0); }), "size is 0"));
  const TileCoding map{{0}, {1}};
  CHECK(says(message_of([&] { tiles(map, {nan}); }), "x[0] is nan"));
  CHECK(says(message_of([&] { tiles(map, {1, 2}); }), "x has 2", "expected 1"));
  CHECK(says(message_of([&] { tiles(TileCoding{{0}, {1}, {.memory = 9}}, {1e300}); }), "x[0] is 1e+300", "nearer"));
  CHECK(says(message_of([&] { features(Fourier{{0}, {1}, 1}, {1, 2}); }), "x has 2"));
  CHECK(says(message_of([&] { Linear(Identity{2}, 0); }), "Linear", "outputs is 0"));

  const Linear v{Identity{2}, 3};
  std::vector<double> theta(6, 1.0), g(6, 2.0);
  const Matrix<double> x = Matrix<double>::Ones(2, 4), wide = Matrix<double>::Ones(3, 4),
                       dy = Matrix<double>::Ones(3, 4);
  Linear<Identity>::Tape tape;
  CHECK(says(message_of([&] { v.pullback(theta, x, tape, outputs(dy), g); }), "tape holds", "-1"));
  v.forward(theta, x, tape);
  CHECK(says(message_of([&] { v.forward(theta, wide, tape); }), "x is 3 x 4", "expected 2 x 4"));
  CHECK(says(message_of([&] { v.forward(std::span(theta).first(2), x, tape); }), "theta has 2"));
  CHECK(says(message_of([&] { v.pullback(theta, x, tape, outputs(x), g); }), "dy is 2 x 4"));
  CHECK(says(message_of([&] { v.pullback(theta, x, tape, outputs(dy), std::span(g).first(5)); }), "gradient has 5"));
  CHECK(g == std::vector<double>(6, 2.0));
}
