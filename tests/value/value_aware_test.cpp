#include "valence/value/value_aware.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/function/fit.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/residual.hpp"
#include "valence/value/value_gradient.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;

using Pair = std::array<double, 2>;

/// V = tanh(x0) + x0 x1^2.
double value(double x0, double x1) { return std::tanh(x0) + x0 * x1 * x1; }
Pair slope(double x0, double x1) {
  const double t = std::tanh(x0);
  return {1 - t * t + x1 * x1, 2 * x0 * x1};
}
constexpr Pair next{1, -2}, predicted{1.3, -1.4};

template <class Loss>
double loss_of(const Loss& loss, std::span<const double> m, std::span<const double> s, std::span<const double> g) {
  std::vector<double> ignored(m.size());
  return loss(m, s, g, 1.0, std::span(ignored));
}

}  // namespace

TEST_CASE("value-aware losses: the golden example") {
  // NumPy, double.
  const Pair g = slope(next[0], next[1]);
  CHECK(value(next[0], next[1]) == close(4.761594155955764, 1e-14));
  CHECK(value(predicted[0], predicted[1]) == close(3.409723159313306, 1e-14));
  CHECK(g[0] == close(4.419974341614, 1e-12));
  Pair dm{100, 200};
  CHECK(Vagram{}(std::span<const double>(predicted), next, g, 0.5, dm) == close(7.518255586247372, 1e-13));
  CHECK(dm[0] == close(100 + 0.5 * 11.721703908316, 1e-12));  // w times the gradient is added
  CHECK(dm[1] == close(200 + 0.5 * 19.2, 1e-12));
  dm = {};
  const double taylor = TaylorVaml{}(std::span<const double>(predicted), next, g, 1.0, dm);
  CHECK(taylor == close(1.153492534323174, 1e-12));
  CHECK(dm[0] == close(-9.494172931432, 1e-12));
  CHECK(dm[1] == close(8.592061580126, 1e-12));
  CHECK(taylor <= 2 * 7.518255586247372);
  dm = {};
  const Pair there = slope(predicted[0], predicted[1]);
  CHECK(IterVaml{}(value(predicted[0], predicted[1]), value(next[0], next[1]), there, 1.0, dm) ==
        close(1.8275551915630734, 1e-13));
  CHECK(dm[0] == close(-5.99536725123, 1e-11));
  CHECK(dm[1] == close(9.841620855557, 1e-11));
}

TEST_CASE("value-aware losses: gradients against finite differences, in any dimension, with several critics") {
  Rng rng{1};
  for (const std::size_t n : {std::size_t{1}, std::size_t{2}, std::size_t{5}}) {
    std::vector<double> m(n), s(n), g(3 * n), dm(n);
    for (auto* v : {&m, &s, &g}) rng.fill_normal(std::span(*v));
    for (const double weight : {0.0, 0.3}) {
      std::fill(dm.begin(), dm.end(), 0.0);
      const Vagram loss{.mse_weight = weight};
      loss(std::span<const double>(m), s, g, 1.0, dm);
      CHECK(gradient_matches([&](std::span<const double> at) { return loss_of(loss, at, s, g); }, m, dm));
    }
    std::fill(dm.begin(), dm.end(), 0.0);
    TaylorVaml{}(std::span<const double>(m), s, g, 1.0, dm);
    CHECK(gradient_matches([&](std::span<const double> at) { return loss_of(TaylorVaml{}, at, s, g); }, m, dm));
  }
  Pair dm{};
  IterVaml{}(value(predicted[0], predicted[1]), 4.0, slope(predicted[0], predicted[1]), 1.0, dm);
  CHECK(gradient_matches(
      [](std::span<const double> at) { return (value(at[0], at[1]) - 4) * (value(at[0], at[1]) - 4); }, predicted, dm));
}

TEST_CASE("vagram: ones give the squared error, zeros forget a coordinate, and its bound holds") {
  const Pair e{0.3, 0.6};
  CHECK(loss_of(Vagram{}, predicted, next, Pair{1, 1}) == close(0.45, 1e-14));
  CHECK(loss_of(Vagram{}, predicted, next, Pair{0, 2}) == close(4 * e[1] * e[1], 1e-14));
  CHECK(loss_of(Vagram{.mse_weight = 0.1}, predicted, next, Pair{0, 0}) == close(0.045, 1e-14));
  CHECK(loss_of(Vagram{}, predicted, next, Pair{0, 0}) == 0);
  // A linear value with one component that isn't 0: all three agree.
  const Pair one{0, -3};
  const double v = one[1] * predicted[1], v_next = one[1] * next[1];
  Pair ignored{};
  CHECK(loss_of(Vagram{}, predicted, next, one) == close(9 * 0.36, 1e-13));
  CHECK(loss_of(TaylorVaml{}, predicted, next, one) == close(9 * 0.36, 1e-13));
  CHECK(IterVaml{}(v, v_next, one, 1.0, ignored) == close(9 * 0.36, 1e-13));
  Rng rng{2};
  std::array<double, 4> m, s, g;
  for (int k = 0; k < 100; ++k) {
    for (auto* x : {&m, &s, &g}) rng.fill_normal(std::span<double>(*x));
    CHECK(loss_of(TaylorVaml{}, m, s, g) <= 4 * loss_of(Vagram{}, m, s, g) * (1 + 1e-14));
  }
}

TEST_CASE("vagram: several critics are averaged, and a reward counts unweighted") {
  const Pair a{1, 2}, b{3, -1};
  const std::array<double, 4> both{1, 2, 3, -1};
  for (const auto& mean : {[](auto l, const Pair& g) { return loss_of(l, predicted, next, g); }}) {
    CHECK(loss_of(Vagram{}, predicted, next, both) == close((mean(Vagram{}, a) + mean(Vagram{}, b)) / 2, 1e-14));
    CHECK(loss_of(TaylorVaml{}, predicted, next, both) ==
          close((mean(TaylorVaml{}, a) + mean(TaylorVaml{}, b)) / 2, 1e-14));
  }
  const std::array<double, 3> m{1.3, -1.4, 0.7}, s{1, -2, 0.2}, g{1, 2, 1};
  CHECK(loss_of(Vagram{}, m, s, g) == close(loss_of(Vagram{}, predicted, next, a) + 0.25, 1e-14));
}

TEST_CASE("taylor-vaml is IterVAML up to third order in the error") {
  // (V(s' + t e) - V(s'))^2 - (g' t e)^2 shrinks like t^3.
  const Pair g = slope(next[0], next[1]);
  const auto difference = [&](double t) {
    const Pair m{next[0] + 0.3 * t, next[1] + 0.6 * t};
    const double gap = value(m[0], m[1]) - value(next[0], next[1]);
    return gap * gap - loss_of(TaylorVaml{}, m, next, g);
  };
  for (const double t : {1e-1, 1e-2, 1e-3}) CHECK(difference(t) / difference(t / 2) == close(8.0, 2.5 * t));
}

TEST_CASE("value-aware losses: scalars of float, and no allocation") {
  const std::array<float, 2> m{1.3f, -1.4f}, s{1, -2}, g{4.4f, -4};
  std::array<float, 2> dm{};
  const Allocations allocations;
  const float loss = Vagram{}(std::span<const float>(m), s, g, 1.0f, dm);
  CHECK(allocations.count() == 0);
  CHECK(static_cast<double>(loss) == close(4.4 * 4.4 * 0.09 + 16 * 0.36, 1e-6));
}

TEST_CASE("clip norms by quantile: steep columns are shortened to it, the others stay") {
  Matrix<double> g(2, 5);
  g << 0.6, 0, 3, 0, 6, 0.8, 2, 0, 4, 8;  // norms 1, 2, 3, 4, 10
  Matrix<double> clipped = g;
  CHECK(clip_norms_by_quantile(clipped, 0.8) == close(5.2));  // NumPy: 4 + 0.2 * 6
  CHECK(clipped.leftCols(4) == g.leftCols(4));
  CHECK(clipped(0, 4) == close(3.12));
  CHECK(clipped(1, 4) == close(4.16));
  clipped = g;
  CHECK(clip_norms_by_quantile(clipped, 1) == 10);
  CHECK(clipped == g);
  Matrix<double> zero = Matrix<double>::Zero(3, 2);
  CHECK(clip_norms_by_quantile(zero) == 0);
}

TEST_CASE("value-aware losses: bad input is refused before anything changes") {
  Pair dm{1, 2};
  const auto message = [&](auto loss, std::vector<double> m, std::vector<double> s, std::vector<double> g) {
    return message_of([&] { loss(std::span<const double>(m), s, g, 1.0, dm); });
  };
  const double bad = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  CHECK(says(message(Vagram{}, {}, {}, {1}), "prediction is empty"));
  CHECK(says(message(Vagram{}, {1, 2}, {1}, {1, 2}), "next has 1 entries; expected 2"));
  CHECK(says(message(Vagram{}, {1, 2}, {1, 2}, {1, 2, 3}), "value_gradient has 3 entries; expected 2 for each critic"));
  CHECK(says(message(TaylorVaml{}, {1, 2}, {1, 2}, {}), "value_gradient has 0 entries"));
  CHECK(says(message(Vagram{}, {1, 2}, {1, 2}, {1, bad}), "value_gradient[1] is nan"));
  CHECK(says(message(TaylorVaml{}, {1, infinity}, {1, 2}, {1, 2}), "prediction[1] is inf"));
  CHECK(says(message(TaylorVaml{}, {1, 2}, {bad, 2}, {1, 2}), "next[0] is nan"));
  CHECK(says(message(Vagram{.mse_weight = -1}, {1, 2}, {1, 2}, {1, 2}), "mse_weight is -1"));
  CHECK(says(message_of([&] { IterVaml{}(bad, 1.0, Pair{1, 2}, 1.0, dm); }), "predicted_value is nan"));
  CHECK(says(message_of([&] { IterVaml{}(1.0, 1.0, std::array<double, 3>{1, 2, 3}, 1.0, dm); }), "dm has 2"));
  CHECK(dm == Pair{1, 2});
  Matrix<double> none(2, 0), g = Matrix<double>::Ones(2, 2);
  CHECK(says(message_of([&] { clip_norms_by_quantile(none); }), "gradients has no columns"));
  CHECK(says(message_of([&] { clip_norms_by_quantile(g, 0); }), "level is 0"));
  CHECK(says(message_of([&] { clip_norms_by_quantile(g, 1.1); }), "level is 1.1"));
  g(0, 1) = bad;
  CHECK(says(message_of([&] { clip_norms_by_quantile(g); }), "gradients[2] is nan"));
}

TEST_CASE("value-aware losses: a model of any kind is fitted under a critic's gradients") {
  Rng rng{5};
  const int state = 3, action = 1;
  Matrix<float> x(state + action, 64), next_states(state, 64);
  rng.fill_normal(view(x));
  rng.fill_normal(view(next_states));
  const Mlp<float> critic{{state, 16, 1}, silu};
  std::vector<float> critic_theta(critic.parameter_count());
  critic.initialize(std::span(critic_theta), rng);

  Matrix<float> g = value_gradient(critic, critic_theta, next_states);
  clip_norms_by_quantile(g, 0.95);
  const Residual model{Mlp<float>{{state + action, 16, state}, silu}};
  std::vector<float> theta(model.parameter_count());
  model.initialize(std::span(theta), rng);
  const auto loss = [&](std::span<const float> m, std::size_t i, float w, std::span<float> dm) {
    const auto column = [&](const Matrix<float>& all) { return view(all).subspan(i * state, state); };
    return Vagram{.mse_weight = 0.01}(m, column(next_states), column(g), w, dm);
  };
  const auto fitted = [&](std::size_t steps) {
    return fit_columns(model, std::span(theta), x, loss, Adam{.step_size = 3e-3}, {.steps = steps}, rng);
  };
  const double before = fitted(1), after = fitted(300);
  CHECK(after < 0.5 * before);
}
