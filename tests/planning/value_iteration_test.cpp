// Value iteration and the Bellman sweeps: the base's goldens, certified bounds, and the faults that others shipped.
#include <cmath>
#include <limits>
#include <vector>

#include "planning/models.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/mdp/dense_mdp.hpp"
#include "valence/planning/bellman.hpp"
#include "valence/planning/value_iteration.hpp"

using namespace valence;
using valence::test::Allocations;
using valence::test::m1;
using valence::test::message_of;
using valence::test::random_model;
using valence::test::RandomModel;
using valence::test::says;
using valence::test::solved_optimum;

namespace {

using valence::test::close;  // in here, for other headers bring the ::close of files

Vector<double> numbers(std::initializer_list<double> x) {
  Vector<double> v(static_cast<std::ptrdiff_t>(x.size()));
  std::copy(x.begin(), x.end(), v.data());
  return v;
}

/// L3's corridor: moves succeed with 0.8, else stay; the last cell pays 1 and ends the episode.
FiniteMdp<double> corridor() {
  return FiniteMdp(4, 1,
                   std::vector<ModelEntry>{{0, 0, 1, .8}, {0, 0, 0, .2}, {1, 0, 2, .8}, {1, 0, 1, .2}, {2, 0, 3, 1, 1}},
                   std::vector<int>{3});
}

double error_of(const Vector<double>& v, const Eigen::VectorXd& exact) { return (v - exact).cwiseAbs().maxCoeff(); }

const std::vector<ValueIterationOptions> ways{{.bounds = Bounds::span},
                                              {.bounds = Bounds::norm},
                                              {.sweep = Sweep::gauss_seidel},
                                              {.sweep = Sweep::asynchronous, .seed = 3}};

}  // namespace

TEST_CASE("M1: sweeps of value iteration from zero, and the fixed point") {
  const auto model = m1();
  Vector<double> v = Vector<double>::Zero(2), out(2);
  std::vector<int> policy(2);
  const Vector<double> sweeps[3] = {numbers({1, 2}), numbers({2.17, 2.99}), numbers({3.1744, 4.0268})};
  Change last;
  for (int k = 0; k < 3; ++k) {
    const Change change = bellman_optimality(model, view(v), view(out), policy, {.discount = .9});
    CHECK(out[0] == close(sweeps[k][0]));
    CHECK(out[1] == close(sweeps[k][1]));
    if (k > 0) CHECK(change.residual() <= .9 * last.residual() + 1e-15);  // a contraction by the discount
    last = change;
    v = out;
  }
  for (auto options : ways) {
    options.discount = .9, options.tolerance = 1e-10;
    const auto solution = value_iteration(model, options);
    REQUIRE(solution.converged);
    CHECK(solution.value[0] == close(12.28813559322, 1e-10));
    CHECK(solution.value[1] == close(13.135593220339, 1e-10));
    CHECK(solution.policy == std::vector<int>{0, 1});
    CHECK(solution.bound <= 1e-10);
    CHECK(solution.iterations > 0);
    CHECK(solution.seconds >= 0);
  }
  const auto exact = value_iteration(model, {.discount = .9, .tolerance = 1e-12});
  const Matrix<double> q = action_values(model, view(exact.value), {.discount = .9});
  CHECK(q(0, 0) == close(12.28813559322, 1e-11));
  CHECK(q(1, 0) == close(11.669491525424, 1e-11));
  CHECK(q(0, 1) == close(11.940677966102, 1e-11));
  CHECK(q(1, 1) == close(13.135593220339, 1e-11));
  CHECK(greedy_policy(model, view(exact.value), {.discount = .9}) == std::vector<int>{0, 1});
}

TEST_CASE("M1: the first sweep of Gauss-Seidel") {
  Vector<double> v = Vector<double>::Zero(2);
  std::vector<int> policy(2);
  gauss_seidel_sweep(m1(), view(v), policy, {.discount = .9});
  CHECK(v[0] == close(1.0));
  CHECK(v[1] == close(2.81));
  CHECK(policy == std::vector<int>{0, 1});
  // Backwards: state 1 first sees only zeros.
  const std::vector<int> backwards{1, 0};
  const auto once =
      value_iteration(m1(), {.discount = .9, .max_iterations = 1, .sweep = Sweep::gauss_seidel, .order = backwards});
  CHECK(once.value[1] == close(2.0));
  CHECK(once.value[0] == close(1 + .9 * .3 * 2));  // 2 of state 1 is new already
}

TEST_CASE("asynchronous sweeps reach the same fixed point in any order") {
  Rng rng{11};
  const auto model = random_model({.states = 23, .terminal = 2}, rng);
  const auto exact = solved_optimum(model, .9);
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto solution =
        value_iteration(model, {.discount = .9, .tolerance = 1e-11, .sweep = Sweep::asynchronous, .seed = seed});
    CHECK(solution.converged);
    CHECK(error_of(solution.value, exact) <= 1e-11);
  }
}

TEST_CASE("the certified tolerance holds on 100 random models for each kind of sweep", "[L5]") {
  Rng rng{5};
  for (int k = 0; k < 100; ++k) {
    const RandomModel shape{.states = 3 + k % 11,
                            .actions = 1 + k % 4,
                            .branching = 1 + k % 5,
                            .terminal = k % 3,
                            .missing = k % 2 * .4,
                            .reward = k % 7 == 0 ? 100. : 1.};
    const auto model = random_model(shape, rng);
    const double discount = k % 3 == 0 ? .5 : k % 3 == 1 ? .9 : .99, tolerance = k % 2 ? 1e-3 : 1e-8;
    const auto exact = solved_optimum(model, discount);
    for (auto options : ways) {
      options.discount = discount, options.tolerance = tolerance;
      const auto solution = value_iteration(model, options);
      CAPTURE(k, static_cast<int>(options.sweep), static_cast<int>(options.bounds));
      REQUIRE(solution.converged);
      CHECK(error_of(solution.value, exact) <= solution.bound + 1e-11);
      CHECK(solution.bound <= tolerance);
    }
  }
}

TEST_CASE("the bound holds at every sweep, not only at the end") {
  Rng rng{6};
  for (int k = 0; k < 20; ++k) {
    const auto model = random_model({.states = 9, .terminal = k % 2}, rng);
    const auto exact = solved_optimum(model, .95);
    for (auto options : ways)
      for (const std::size_t sweeps : {1u, 2u, 5u, 20u}) {
        options.discount = .95, options.tolerance = 1e-14, options.max_iterations = sweeps;
        const auto solution = value_iteration(model, options);
        CHECK(error_of(solution.value, exact) <= solution.bound + 1e-11);
        CHECK(solution.iterations <= sweeps);
      }
  }
}

TEST_CASE("a limit that was reached is reported, and never replaced", "[L5]") {
  const auto solution =
      value_iteration(m1(), {.discount = .99, .tolerance = 1e-9, .max_iterations = 7, .bounds = Bounds::norm});
  CHECK_FALSE(solution.converged);
  CHECK(solution.iterations == 7);
  CHECK(solution.bound > 1e-9);
}

TEST_CASE("discount 1 on an episodic corridor ends, with exact values", "[L2]") {
  std::vector<ModelEntry> entries;
  for (int s = 0; s < 9; ++s)
    for (int a = 0; a < 2; ++a) entries.push_back({s, a, std::max(0, s + (a ? 1 : -1)), 1, -1});
  const FiniteMdp model(10, 2, entries, std::vector<int>{9});
  for (auto options : ways) {
    options.discount = 1, options.tolerance = 1e-9;
    const auto solution = value_iteration(model, options);
    CHECK(solution.converged);
    for (int s = 0; s < 10; ++s) CHECK(solution.value[s] == s - 9);
    CHECK(solution.policy == std::vector<int>{1, 1, 1, 1, 1, 1, 1, 1, 1, -1});
  }
}

TEST_CASE("sparse rewards: the first sweep changes one state and doesn't end the iteration", "[L3]") {
  for (auto options : ways) {
    options.discount = .9, options.tolerance = 1e-11;
    const auto solution = value_iteration(corridor(), options);
    CHECK(solution.value[0] == close(0.770969661, 1e-9));
    CHECK(solution.value[1] == close(0.87804878, 1e-8));
    CHECK(solution.value[2] == close(1.0, 1e-11));
    CHECK(solution.value[3] == 0);
  }
}

TEST_CASE("equal rewards everywhere: span 0 after one sweep, and no division by it", "[L4]") {
  for (const double reward : {0., 1.}) {
    std::vector<ModelEntry> entries;
    for (int s = 0; s < 3; ++s)
      for (int a = 0; a < 2; ++a) entries.push_back({s, a, (s + a) % 3, 1, reward});
    for (auto options : ways) {
      options.discount = .9, options.tolerance = 1e-10;
      const auto solution = value_iteration(FiniteMdp(3, 2, entries), options);
      CHECK(solution.converged);
      for (int s = 0; s < 3; ++s) CHECK(solution.value[s] == close(reward * 10, 1e-9, 1e-12));
    }
    const auto once = value_iteration(FiniteMdp(3, 2, entries), {.discount = .9, .max_iterations = 1});
    CHECK(once.converged);
    CHECK(once.bound < 1e-13);  // rounding
  }
}

TEST_CASE("the span's bounds end where the norm's need thousands of sweeps") {
  Rng rng{8};
  const auto model = random_model({.states = 50, .branching = 5}, rng);
  const auto span = value_iteration(model, {.discount = .999, .tolerance = 1e-6});
  const auto norm = value_iteration(model, {.discount = .999, .tolerance = 1e-6, .bounds = Bounds::norm});
  REQUIRE((span.converged && norm.converged));
  CHECK(span.iterations * 5 < norm.iterations);
  CHECK((span.value - norm.value).cwiseAbs().maxCoeff() <= 2e-6);
  CHECK(span.policy == norm.policy);
}

TEST_CASE("dense and compressed rows, float and double, a row kernel for every width: the same solution") {
  Rng rng{9};
  for (const int branching : {1, 2, 3, 4, 5, 6, 8, 9}) {
    // Distinct successors, so that every row has the same width.
    std::vector<ModelEntry> entries;
    for (int s = 0; s < 12; ++s)
      for (int a = 0; a < 3; ++a) {
        const int first = rng.below(12);
        const double r = rng.normal();
        for (int j = 0; j < branching; ++j)
          entries.push_back({s, a, (first + j) % 12, 2. * (j + 1) / (branching * (branching + 1)), r});
      }
    const FiniteMdp model(12, 3, entries);
    REQUIRE(model.successors_each() == branching);
    const auto compressed = value_iteration(model, {.discount = .9, .tolerance = 1e-10});
    const auto full = value_iteration(dense(model), {.discount = .9, .tolerance = 1e-10});
    const auto single = value_iteration(model.as<float>(), {.discount = .9, .tolerance = 1e-4});
    CHECK((compressed.value - full.value).cwiseAbs().maxCoeff() < 1e-10);
    CHECK((compressed.value - single.value.cast<double>()).cwiseAbs().maxCoeff() < 2e-4);
    CHECK(compressed.policy == full.policy);
    CHECK(error_of(compressed.value, solved_optimum(model, .9)) < 1e-10);
  }
}

TEST_CASE("actions that are not available are never chosen, however bad the others are", "[L8]") {
  const FiniteMdp model(2, 3, std::vector<ModelEntry>{{0, 1, 1, 1, -5}, {1, 0, 0, 1, -1}, {1, 2, 1, 1, -2}});
  const auto solution = value_iteration(model, {.discount = .5, .tolerance = 1e-10});
  CHECK(solution.policy == std::vector<int>{1, 2});
  CHECK(solution.value[1] == close(-4.0, 1e-9));
  CHECK(solution.value[0] == close(-7.0, 1e-9));
  CHECK(std::isinf(action_values(model, view(solution.value))(0, 0)));
}

TEST_CASE("ties go to the first action, in every kernel") {
  std::vector<ModelEntry> entries;
  for (int s = 0; s < 4; ++s)
    for (int a = 0; a < 3; ++a) entries.push_back({s, a, (s + 1) % 4, 1, 1});
  const FiniteMdp model(4, 3, entries);
  CHECK(value_iteration(model, {.discount = .9}).policy == std::vector<int>(4, 0));
  CHECK(value_iteration(dense(model), {.discount = .9}).policy == std::vector<int>(4, 0));
}

TEST_CASE("a start near the solution saves sweeps, and progress may stop it") {
  Rng rng{10};
  const auto model = random_model({.states = 40}, rng);
  const ValueIterationOptions options{.discount = .99, .tolerance = 1e-8, .bounds = Bounds::norm};
  const auto cold = value_iteration(model, options);
  const auto warm = value_iteration(model, view(cold.value), options);
  CHECK(warm.iterations < 10);
  CHECK(cold.iterations > 100);
  std::size_t calls = 0;
  const auto stopped = value_iteration(model, options, [&](const ProgressEvent& e) {
    CHECK(e.step == ++calls);
    return e.step < 5;
  });
  CHECK(stopped.iterations == 5);
  CHECK_FALSE(stopped.converged);
}

TEST_CASE("a tolerance below rounding ends, and says that it wasn't reached") {
  Rng rng{12};
  const auto model = random_model({.states = 30}, rng).as<float>();
  const auto solution = value_iteration(model, {.discount = .999, .tolerance = 1e-12, .bounds = Bounds::norm});
  CHECK_FALSE(solution.converged);
  CHECK(solution.iterations < 100'000);
  CHECK(solution.bound > 1e-6);  // of rounding, whatever the residual is
  CHECK(error_of(solution.value.cast<double>(), solved_optimum(model, .999)) <= solution.bound);
}

TEST_CASE("the sweep allocates nothing") {
  Rng rng{13};
  const auto model = random_model({.states = 300}, rng);
  Vector<double> v = Vector<double>::Zero(300), out(300);
  std::vector<int> policy(300);
  detail::optimality_range(model, v.data(), .9, out.data(), policy.data(), 0, 300);
  const Allocations allocations;
  detail::optimality_range(model, v.data(), .9, out.data(), policy.data(), 0, 300);
  CHECK(allocations.count() == 0);
}

TEST_CASE("bad input is named before anything is done") {
  const auto model = m1();
  CHECK(says(message_of([&] { value_iteration(model, {.discount = 1.5}); }), "discount", "1.5"));
  CHECK(says(message_of([&] { value_iteration(model, {.discount = std::nan("")}); }), "discount", "nan"));
  CHECK(says(message_of([&] { value_iteration(model, {.tolerance = 0}); }), "tolerance"));
  CHECK(says(message_of([&] { value_iteration(model, {.max_iterations = 0}); }), "max_iterations"));
  const Vector<double> poisoned = numbers({1, std::numeric_limits<double>::quiet_NaN()});
  CHECK(says(message_of([&] { value_iteration(model, view(poisoned), {}); }), "v[1]", "nan"));
  const std::vector<int> twice{0, 0}, outside{0, 2};
  CHECK(says(message_of([&] { value_iteration(model, {.sweep = Sweep::gauss_seidel, .order = twice}); }), "order[1]"));
  CHECK(
      says(message_of([&] { value_iteration(model, {.sweep = Sweep::gauss_seidel, .order = outside}); }), "order[1]"));
  CHECK(says(message_of([&] { value_iteration(model, {.discount = 1}); }), "state 1", "for ever"));
  Vector<double> v = Vector<double>::Zero(2);
  CHECK(says(message_of([&] { bellman_optimality(model, view(v), view(v)); }), "out is v"));
  const FiniteMdp huge(1, 1, std::vector<ModelEntry>{{0, 0, 0, 1, 1e308}});
  CHECK(says(message_of([&] { value_iteration(huge, {.bounds = Bounds::norm}); }), "overflow"));
}
