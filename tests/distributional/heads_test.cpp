// What every head does alike; the classification heads, their numbers, and the faults that others shipped.
#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/distributional/categorical.hpp"
#include "valence/distributional/concepts.hpp"
#include "valence/distributional/cross_entropy.hpp"
#include "valence/distributional/functionals.hpp"
#include "valence/distributional/hl_gauss.hpp"
#include "valence/distributional/quantile.hpp"
#include "valence/distributional/scalar_head.hpp"
#include "valence/distributional/two_hot.hpp"

using namespace valence;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

static_assert(GivesLaw<ScalarHead> && GivesLaw<CategoricalReturn> && GivesLaw<TwoHot> && GivesLaw<HlGauss> &&
              GivesLaw<QuantileReturn>);
// Probabilities don't pass for logits, nor the reverse. [D8]
static_assert(!std::is_convertible_v<Probabilities<double>, Logits<double>> &&
              !std::is_convertible_v<Logits<double>, Probabilities<double>>);

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();
constexpr double infinite = std::numeric_limits<double>::infinity();

void same(const Numbers& seen, const Numbers& expected, double tolerance = 1e-12) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i, seen[i], expected[i]);
    CHECK(seen[i] == close(expected[i], tolerance, tolerance));
  }
}
double mass(const Numbers& p) {
  double sum = 0;
  for (const double x : p) sum += x;
  return sum;
}
template <class H>
Numbers encoded(const H& head, double v) {
  Numbers out(static_cast<std::size_t>(head.size(1)), poison);
  head.encode(v, out);
  return out;
}
/// The value of logits that give these probabilities.
template <class H>
double decoded(const H& head, const Numbers& p) {
  Numbers z(p.size());
  for (std::size_t i = 0; i < p.size(); ++i) z[i] = p[i] > 0 ? std::log(p[i]) : -800;
  return head.value(std::span<const double>(z));
}
Numbers outputs(std::size_t n, Rng& rng) {
  Numbers y(n);
  for (double& x : y) x = rng.normal();
  return y;
}
/// One head of each kind, of different sizes, and a name.
template <class F>
void each_head(F f) {
  f("scalar", ScalarHead{});
  f("Huber", ScalarHead{.huber = 0.7});
  f("categorical", CategoricalReturn{.atoms = 7, .min = -2, .max = 3});
  f("two-hot", TwoHot{.atoms = 5, .min = -2, .max = 3});
  f("HL-Gauss", HlGauss{.bins = 9, .min = -2, .max = 3});
  f("quantile", QuantileReturn{.quantiles = 6});
  f("pinball", QuantileReturn{.quantiles = 6, .kappa = 0});
}

}  // namespace

TEST_CASE("HL-Gauss: published numbers") {
  const HlGauss five{.bins = 5, .min = -1, .max = 1};
  const Numbers p = encoded(five, 0.3);
  same(p, {0.00135587290266, 0.04690114884518, 0.32484180240289, 0.47658474150783, 0.15031643434145}, 1e-13);
  CHECK(decoded(five, p) == close(0.2910418862160892));
  const Numbers z{0.5, -1, 0, 2, 1};
  Numbers dz(5);
  CHECK(cross_entropy(Logits<double>{z}, Probabilities<double>{p}, dz) == close(1.5171752346645402));
  same(dz, {0.124271144719, -0.01886997228428, -0.24864516452709, 0.08643649030636, 0.05680750178601}, 1e-13);
  CHECK(std::abs(mass(dz)) < 1e-15);
  CHECK(five.value(std::span<const double>(z)) == close(0.2791935569059525));

  const HlGauss eight{.bins = 8, .min = -2, .max = 2};
  const Numbers q = encoded(eight, 0.7);
  // With 40 digits (mpmath). The specification's first number, 2.22350130530217e-09, had lost eight of its digits to the
  // cancellation of two erf.
  const Numbers expected{2.22350127993606884e-09, 2.90154533586832618e-06, 6.84415261854106257e-04,
                         3.02949197975225266e-02, 2.65997437227806331e-01, 4.91372638430336537e-01,
                         1.95458201592295554e-01, 1.61894839213477968e-02};
  for (std::size_t i = 0; i < 8; ++i) CHECK(q[i] == close(expected[i], 1e-13));
  CHECK(decoded(eight, q) == close(0.6995925147638636));

  const HlGauss atari{};
  CHECK(atari.width() == close(0.39215686274509803));
  CHECK(atari.sigma_ratio * atari.width() == close(0.29411764705882354));
  const Numbers zero = encoded(atari, 0);
  CHECK(zero[25] == close(0.4950149249061526));
  double entropy = 0;
  for (const double x : zero) entropy -= x > 0 ? x * std::log(x) : 0;
  CHECK(entropy == close(1.200300578966898));
  CHECK(decoded(atari, encoded(atari, 1.234)) == close(1.2339985021200945));
  CHECK(decoded(atari, encoded(atari, 9.9)) == close(9.69837228726993));
  CHECK(decoded(atari, encoded(atari, 10)) == close(9.729354259010659));
  CHECK(encoded(atari, 10)[50] == close(0.8175775605482626));
  double off = 0;
  for (double y = -6; y <= 6; y += 0.01) off = std::max(off, std::abs(decoded(atari, encoded(atari, y)) - y));
  CHECK(off < 1.9e-6);
}

TEST_CASE("HL-Gauss: limits of sigma, and edges") {
  Numbers sharp = encoded(HlGauss{.bins = 8, .min = -2, .max = 2, .sigma_ratio = 2e-4}, 0.7);
  CHECK(sharp == Numbers{0, 0, 0, 0, 0, 1, 0, 0});
  sharp = encoded(HlGauss{.bins = 8, .min = -2, .max = 2, .sigma_ratio = 2e-4}, 0.5);
  same(sharp, {0, 0, 0, 0, 0.5, 0.5, 0, 0}, 1e-15);
  const HlGauss flat{.bins = 8, .min = -2, .max = 2, .sigma_ratio = 1e6};
  same(encoded(flat, 0.7), Numbers(8, 0.125), 1e-8);
  // Both ends mirror each other, and one bin's mass doesn't depend on the side it is on.
  const HlGauss odd{.bins = 7, .min = -1, .max = 1};
  const Numbers a = encoded(odd, 0.37), b = encoded(odd, -0.37);
  for (std::size_t i = 0; i < 7; ++i) CHECK(a[i] == close(b[6 - i], 1e-12));
}

TEST_CASE("Encodings lose no mass, decode to what they encode, and grow with it", "[D9]") {
  const HlGauss smooth{};
  const TwoHot hot{};
  for (const double y : {-50.0, -10.0, -9.99, 0.0, 10.0, 50.0}) {
    CAPTURE(y);
    const Numbers p = encoded(smooth, y);
    CHECK(mass(p) == close(1, 1e-14));
    for (const double x : p) CHECK(x >= 0);
    CHECK(mass(encoded(hot, y)) == close(1, 1e-15));
    std::vector<float> single(51);
    smooth.encode(static_cast<float>(y), single);
    double sum = 0;
    for (const float x : single) sum += static_cast<double>(x);
    CHECK(sum == close(1, 1e-6));
  }
  double last = -11, last_hot = -11;
  for (int i = -120; i <= 120; ++i) {
    const double y = i * 0.1, v = decoded(smooth, encoded(smooth, y)), w = decoded(hot, encoded(hot, y));
    CAPTURE(y);
    if (std::abs(y) <= 8) CHECK(std::abs(v - y) < 1e-3);
    CHECK(w == close(std::clamp(y, -10.0, 10.0), 1e-12, 1e-12));
    if (y > -9.95 && y < 10.05) CHECK((v > last && w > last_hot));
    CHECK((v >= last && w >= last_hot - 1e-12));
    last = v, last_hot = w;
  }
  for (int k = 0; k < 51; ++k) {  // on an atom: one-hot
    Numbers expected(51);
    expected[std::size_t(k)] = 1;
    same(encoded(hot, hot.support().atom(k)), expected, 1e-13);
  }
  const TwoHot centres{.atoms = 5, .min = -0.8, .max = 0.8};  // those of five bins on [-1, 1]
  same(encoded(centres, 0.3), {0, 0, 0.25, 0.75, 0}, 1e-15);
}

TEST_CASE("Float and double, with and without whole lanes, encode alike") {
  Rng rng{21};
  for (const int bins : {2, 3, 7, 8, 15, 16, 17, 33, 51, 64, 101}) {
    CAPTURE(bins);
    const HlGauss head{.bins = bins, .min = -2, .max = 3, .sigma_ratio = 0.9};
    for (int n = 0; n < 20; ++n) {
      const double y = rng.uniform(-2.2, 3.2);
      const Numbers p = encoded(head, y);
      std::vector<float> f(static_cast<std::size_t>(bins));
      head.encode(static_cast<float>(y), f);
      // By the formula, with the standard library.
      const double sigma = 0.9 * head.width(), at = std::clamp(y, -2.0, 3.0);
      const auto phi = [&](double e) { return 0.5 * std::erfc(-(e - at) / sigma / std::sqrt(2.0)); };
      for (int i = 0; i < bins; ++i) {
        const double expected = (phi(-2 + (i + 1) * head.width()) - phi(-2 + i * head.width())) / (phi(3) - phi(-2));
        CHECK(p[std::size_t(i)] == close(expected, 1e-12, 1e-14));
        CHECK(static_cast<double>(f[std::size_t(i)]) == close(expected, 1e-5, 1e-6));
      }
    }
  }
}

TEST_CASE("Cross-entropy: logits that have the target's probabilities have no gradient", "[D8]") {
  const Numbers z{0, std::log(2.0), std::log(4.0)}, p{1.0 / 7, 2.0 / 7, 4.0 / 7};
  Numbers dz(3);
  cross_entropy(Logits<double>{z}, Probabilities<double>{p}, dz);
  for (const double d : dz) CHECK(std::abs(d) <= 1e-16);
  // Shifts don't matter, logits may be of any size, and the gradient is added with its weight.
  const Numbers large{1000, 1000 + std::log(2.0), 1000 + std::log(4.0)}, apart{-1000, 0, 1000};
  Numbers added{1, 2, 3};
  CHECK(cross_entropy(Logits<double>{large}, Probabilities<double>{p}, added, 0.5) ==
        close(cross_entropy(Logits<double>{z}, Probabilities<double>{p}, dz), 1e-12));
  same(added, {1, 2, 3}, 1e-12);
  CHECK(cross_entropy(Logits<double>{apart}, Probabilities<double>{p}, added, 2) == close(2000.0 / 7 + 2000.0 / 7));
  same(added, {1 - 2.0 / 7, 2 - 4.0 / 7, 3 + 2 * 3.0 / 7});
}

TEST_CASE("Cross-entropy: what aren't probabilities, or numbers, is refused before the gradient changes") {
  const auto refused = [](const Numbers& z, const Numbers& p, double weight = 1) {
    Numbers dz(z.size(), 7.0);
    const auto message = message_of([&] { cross_entropy(Logits<double>{z}, Probabilities<double>{p}, dz, weight); });
    CHECK(dz == Numbers(z.size(), 7.0));
    return message;
  };
  CHECK(says(refused({1, 2, 3}, {0.2, 0.5, 0.4}), "target sums to 1.1"));
  CHECK(says(refused({1, 2, 3}, {0.7, -0.2, 0.5}), "target[1] is -0.2"));
  CHECK(says(refused({1, 2, 3}, {0.7, poison, 0.3}), "target[1] is nan"));
  CHECK(says(refused({1, poison, 3}, {0.2, 0.5, 0.3}), "y[1] is nan"));
  CHECK(says(refused({1, -infinite, 3}, {0.2, 0.5, 0.3}), "y[1] is -inf"));
  CHECK(says(refused({1, -infinite, 3}, {0.5, 0, 0.5}), "y[1] is -inf"));
  CHECK(says(refused({1, infinite, 3}, {0.2, 0.5, 0.3}), "y[1] is inf"));
  CHECK(says(refused({1, 2, 3}, {0.5, 0.5}), "2 entries; expected 3"));
  CHECK(says(refused({}, {}), "empty"));
  CHECK(says(refused({1, 2, 3}, {0.2, 0.5, 0.3}, poison), "weight is nan"));
}

TEST_CASE("Heads: gradients are those of the loss, and add up") {
  Rng rng{22};
  each_head([&](const char* name, const auto& head) {
    CAPTURE(name);
    const auto n = static_cast<std::size_t>(head.size(1));
    CHECK(head.size(3) == 3 * head.size(1));
    for (int trial = 0; trial < 5; ++trial) {
      const Numbers y = outputs(n, rng), next = outputs(n, rng);
      Numbers target(n, poison), dy(n), twice(n, 1.0);
      head.bootstrap(std::span<const double>(next), 0.31, 0.9, target);
      const double value = head.loss(std::span<const double>(y), target, dy);
      const auto loss = [&](std::span<const double> at) {
        Numbers ignored(n);
        return head.loss(at, target, ignored);
      };
      CHECK(gradient_matches(loss, y, dy, {.relative = 1e-7, .absolute = 1e-9, .step = 1e-5}));
      CHECK(head.loss(std::span<const double>(y), target, twice, 3.0) == value);
      for (std::size_t i = 0; i < n; ++i) CHECK(twice[i] == close(1 + 3 * dy[i], 1e-12));
    }
  });
}

TEST_CASE("Heads: a step down the gradient brings the value nearer to the target") {
  each_head([&](const char* name, const auto& head) {
    CAPTURE(name);
    const auto n = static_cast<std::size_t>(head.size(1));
    for (const double aim : {-1.4, 2.2}) {
      Numbers y(n, 0.0), target(n);
      head.encode(aim, target);
      const double before = std::abs(head.value(std::span<const double>(y)) - aim);
      for (int step = 0; step < 50; ++step) {
        Numbers dy(n);
        head.loss(std::span<const double>(y), target, dy);
        for (std::size_t i = 0; i < n; ++i) y[i] -= 0.1 * dy[i];
      }
      CHECK(std::abs(head.value(std::span<const double>(y)) - aim) < before);
    }
  });
}

TEST_CASE("Heads: a target's mean is r + g value, and a terminal state's outputs are not read") {
  Rng rng{24};
  each_head([&](const char* name, const auto& head) {
    CAPTURE(name);
    const auto n = static_cast<std::size_t>(head.size(1));
    const Numbers y = outputs(n, rng), nothing(n, poison);
    Numbers target(n, poison), other(n, poison);
    head.bootstrap(std::span<const double>(nothing), 1.25, 0.0, target);
    head.encode(1.25, other);
    CHECK(target == other);
    head.bootstrap(std::span<const double>(), 1.25, 0.0, target);
    CHECK(target == other);
    CHECK(says(message_of([&] { head.bootstrap(std::span<const double>(nothing), 1.25, 0.9, target); }), "is nan"));
    CHECK(target == other);
    CHECK(says(message_of([&] { head.bootstrap(std::span<const double>(y), poison, 0.9, target); }), "is nan"));
    CHECK(says(message_of([&] { head.bootstrap(std::span<const double>(y), 1, 1.5, target); }), "1.5"));
    CHECK(says(message_of([&] { head.encode(poison, target); }), "is nan"));
    CHECK(says(message_of([&] { head.value(std::span<const double>(nothing)); }), "y[0] is nan"));
    CHECK(target == other);
    // In float, too, and to float's rounding the same.
    std::vector<float> yf(y.begin(), y.end()), tf(n);
    head.bootstrap(std::span<const double>(y), 0.1, 0.5, target);
    head.bootstrap(std::span<const float>(yf), 0.1F, 0.5F, tf);
    for (std::size_t i = 0; i < n; ++i) CHECK(static_cast<double>(tf[i]) == close(target[i], 1e-4, 1e-5));
    CHECK(static_cast<double>(head.value(std::span<const float>(yf))) ==
          close(head.value(std::span<const double>(y)), 1e-4, 1e-5));
    // The law's mean is the value.
    Particles law;
    read_law(head, std::span<const double>(y), law);
    CHECK(Mean{}(law) == close(head.value(std::span<const double>(y)), 1e-12, 1e-13));
  });
}

TEST_CASE("Heads: the categorical target from logits is the projection of their probabilities") {
  Rng rng{25};
  const CategoricalReturn head{.atoms = 21, .min = -2, .max = 3};
  const Numbers y = outputs(21, rng);
  Numbers p(21), from_logits(21), from_law(21), atoms(21);
  head.law(std::span<const double>(y), atoms, p);
  head.bootstrap(std::span<const double>(y), -0.4, 0.93, from_logits);
  project_bellman(head.support(), Probabilities<double>{p}, -0.4, 0.93, from_law);
  same(from_logits, from_law, 1e-14);
  CHECK(mass(from_logits) == close(1, 1e-14));
}

TEST_CASE("Double: the online network chooses, the target network's law is projected", "[D11]") {
  const CategoricalReturn head{.atoms = 2, .min = 0, .max = 1};
  const auto logits = [](double a, double b) {  // of P(1) for two actions
    return Numbers{std::log(1 - a), std::log(a), std::log(1 - b), std::log(b)};
  };
  const Numbers online = logits(0.2, 0.8), target = logits(0.9, 0.3);
  Numbers out(2);
  bootstrap_greedy(head, std::span<const double>(online), target, 0, 1, out);
  same(out, {0.7, 0.3});
  bootstrap_greedy(head, std::span<const double>(target), target, 0, 1, out);
  same(out, {0.1, 0.9});
  CHECK(greedy_action(head, std::span<const double>(online)) == 1);
  // A mask: what is impossible isn't chosen, and isn't read.
  const bool first_only[] = {true, false}, none[] = {false, false};
  Numbers half = online;
  half[2] = half[3] = poison;
  CHECK(greedy_action(head, std::span<const double>(half), first_only) == 0);
  bootstrap_greedy(head, std::span<const double>(half), target, 0, 1, out, first_only);
  same(out, {0.1, 0.9});
  CHECK_THROWS_AS(greedy_action(head, std::span<const double>(online), none), Error);
  const Numbers nothing(4, poison);
  bootstrap_greedy(head, std::span<const double>(nothing), nothing, 0.25, 0, out);
  same(out, {0.75, 0.25});
}

TEST_CASE("Batches: shapes of their own, values of single samples, other actions untouched, no allocation", "[D5]") {
  // Batch 3, predictions 5, actions 2.
  Rng rng{26};
  each_head([&](const char* name, const auto& head) {
    CAPTURE(name);
    constexpr int batch = 3, actions = 2;
    const int n = head.size(1), rows = head.size(actions);
    const auto size = static_cast<std::size_t>(n);
    Matrix<double> y(rows, batch), next(rows, batch), online(rows, batch), target(n, batch), dy(rows, batch);
    for (auto* m : {&y, &next, &online})
      for (Eigen::Index i = 0; i < m->size(); ++i) m->data()[i] = rng.normal();
    dy.setConstant(0.5);
    const std::vector<int> taken{1, 0, 1};
    const Numbers r{0.3, -0.2, 0.9}, g{0.9, 0, 0.81}, weights{0.5, 2, 1.25};
    Numbers losses(batch), values(actions);
    next.col(1).setConstant(poison);
    for (int j = 0; j < batch; ++j) y.col(j).segment((1 - taken[std::size_t(j)]) * n, n).setConstant(poison);
    double loss = 0;
    {
      valence::test::Allocations allocations;
      bootstrap_greedy_columns(head, Outputs<double>(online.data(), rows, batch),
                               Outputs<double>(next.data(), rows, batch), r, g,
                               OutputsGradient<double>(target.data(), n, batch));
      loss = loss_columns(head, Outputs<double>(y.data(), rows, batch), taken, Outputs<double>(target.data(), n, batch),
                          OutputsGradient<double>(dy.data(), rows, batch), weights, losses);
      action_values(head, std::span<const double>(online.data(), std::size_t(rows)), values);
      CHECK(allocations.count() == 0);
    }
    double sum = 0;
    for (int j = 0; j < batch; ++j) {
      CAPTURE(j);
      const auto at = static_cast<std::size_t>(j);
      const int a = taken[at];
      Numbers t(size, poison), d(size);
      bootstrap_greedy(head, std::span<const double>(online.col(j).data(), std::size_t(rows)),
                       std::span<const double>(next.col(j).data(), std::size_t(rows)), r[at], g[at], t);
      same(Numbers(target.col(j).data(), target.col(j).data() + n), t, 0);
      const double one = head.loss(std::span<const double>(y.col(j).data() + a * n, size), t, d);
      CHECK(losses[at] == close(one, 1e-14));
      sum += weights[at] * one;
      for (int i = 0; i < n; ++i) {
        CHECK(dy(a * n + i, j) == close(0.5 + weights[at] / 3 * d[std::size_t(i)], 1e-13));
        CHECK(dy((1 - a) * n + i, j) == 0.5);
      }
    }
    CHECK(loss == close(sum / 3, 1e-13));
  });
}

TEST_CASE("Batches: shapes and actions that don't fit are refused") {
  const QuantileReturn head{.quantiles = 2};
  Matrix<double> y = Matrix<double>::Zero(4, 3), target = Matrix<double>::Zero(2, 3), dy = Matrix<double>::Zero(4, 3);
  const auto run = [&](const std::vector<int>& actions, int rows, int columns, int target_rows) {
    return message_of([&] {
      loss_columns(head, Outputs<double>(y.data(), rows, columns), actions,
                   Outputs<double>(target.data(), target_rows, columns),
                   OutputsGradient<double>(dy.data(), rows, columns));
    });
  };
  CHECK(run({0, 1, 0}, 4, 3, 2) == "nothing thrown");
  CHECK(says(run({0, 2, 0}, 4, 3, 2), "actions[1] is 2"));
  CHECK(says(run({0, -1, 0}, 4, 3, 2), "actions[1] is -1"));
  CHECK(says(run({0, 1}, 4, 3, 2), "actions has 2 entries; expected 3"));
  CHECK(says(run({0, 1, 0}, 3, 3, 2), "3 outputs"));
  CHECK(says(run({0, 1, 0}, 4, 3, 1), "target is 1 x 3; expected 2 x 3"));
  CHECK(says(run({}, 4, 0, 2), "empty"));
}

TEST_CASE("Options out of range are refused") {
  Numbers out(5);
  CHECK(says(message_of([&] { HlGauss{.bins = 1}.encode(0.0, out); }), "HlGauss", "1 atoms"));
  CHECK(says(message_of([&] { HlGauss{.bins = 5, .min = 1, .max = -1}.encode(0.0, out); }), "HlGauss", "smaller"));
  CHECK(says(message_of([&] { HlGauss{.bins = 5, .sigma_ratio = 0}.encode(0.0, out); }), "sigma_ratio is 0"));
  CHECK(says(message_of([&] { HlGauss{.bins = 6}.encode(0.0, out); }), "5 entries; expected 6"));
  CHECK(says(message_of([&] { TwoHot{.atoms = 5, .min = 2, .max = 2}.encode(0.0, out); }), "smaller"));
  CHECK(says(message_of([&] { QuantileReturn{.quantiles = 0}.encode(0.0, out); }), "0 quantiles"));
  CHECK(says(message_of([&] { QuantileReturn{.quantiles = 5, .kappa = -1}.encode(0.0, out); }), "kappa is -1"));
  const Numbers one{1};
  CHECK(
      says(message_of([&] { ScalarHead{.huber = 0}.loss(std::span<const double>(one), one, std::span(out).first(1)); }),
           "huber is 0"));
}

TEST_CASE("The scalar head: squared and Huber's error") {
  const Numbers y{3}, near_by{2.5}, beyond{-1};
  Numbers dy(1);
  CHECK(ScalarHead{}.loss(std::span<const double>(y), beyond, dy) == 8);
  CHECK(dy[0] == 4);
  CHECK(ScalarHead{.huber = 1}.loss(std::span<const double>(y), beyond, dy) == 3.5);
  CHECK(dy[0] == 5);
  CHECK(ScalarHead{.huber = 1}.loss(std::span<const double>(y), near_by, dy) == 0.125);
  CHECK(dy[0] == 5.5);
}
