// What holds for every target: episodes apart, definitions summed forward, lanes, memory, errors.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "value/columns.hpp"

using namespace valence;
using valence::test::all_targets;
using valence::test::Columns;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;
using Sizes = std::vector<std::size_t>;

namespace {

using valence::test::close;  // in here, for other headers bring the ::close of files

template <class S>
std::vector<S> run(const test::Target<S>& target, const Steps<S>& steps) {
  std::vector<S> out(steps.reward.size());
  target.run(steps, out);
  return out;
}

template <class S>
double largest_difference(const std::vector<S>& a, const std::vector<S>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    largest = std::isnan(difference) ? difference : std::max(largest, difference);
  }
  return largest;
}

}  // namespace

TEST_CASE("Episodes glued equal episodes apart, at random boundaries", "[V2][V4]") {
  Rng rng{11};
  for (int trial = 0; trial < 1'000; ++trial) {
    const std::size_t length = 2 + rng.below(40u), boundary = 1 + rng.below(length - 1);
    Columns<double> columns(length, 1, rng, 0.05);
    if (!columns.terminated[boundary - 1]) columns.truncated[boundary - 1] = true;
    for (const auto& target : all_targets<double>()) {
      const Numbers glued = run(target, columns.steps());
      Numbers apart = run(target, columns.steps(0, boundary));
      const Numbers second = run(target, columns.steps(boundary, length - boundary));
      apart.insert(apart.end(), second.begin(), second.end());
      CAPTURE(trial, target.name, length, boundary);
      if (!(largest_difference(glued, apart) < 1e-12)) CHECK(largest_difference(glued, apart) < 1e-12);
    }
  }
  SUCCEED();
}

TEST_CASE("What follows an end changes nothing before it", "[V2][V3]") {
  Rng rng{12};
  for (int trial = 0; trial < 100; ++trial) {
    Columns<double> columns(20, 1, rng, 0.1), other(20, 1, rng, 0.1);
    const std::size_t boundary = 1 + rng.below(19u);
    (trial % 2 ? columns.truncated : columns.terminated)[boundary - 1] = true;
    std::vector<Numbers> before;
    for (const auto& target : all_targets<double>()) before.push_back(run(target, columns.steps()));
    for (std::size_t k = 0; k < 9; ++k)
      std::copy(other.column[k].begin() + static_cast<std::ptrdiff_t>(boundary), other.column[k].end(),
                columns.column[k].begin() + static_cast<std::ptrdiff_t>(boundary));
    for (std::size_t t = boundary; t < 20; ++t) columns.terminated[t] = other.terminated[t];
    for (std::size_t n = 0; n < before.size(); ++n) {
      const Numbers after = run(all_targets<double>()[n], columns.steps());
      for (std::size_t t = 0; t < boundary; ++t) CHECK(after[t] == close(before[n][t], 1e-13, 1e-13));
    }
  }
}

TEST_CASE("Backward recursions equal the definitions, summed forward") {
  Rng rng{13};
  for (std::size_t length = 1; length <= 64; ++length) {
    const Columns<double> columns(length, 1, rng, 0.1);
    const auto& [reward, value, next, discount, lambda, ratio, action_value, probability, sigma] = columns.column;
    Numbers lambda_g(length), a(length), vs(length), pg(length), q(length), tree(length), mixed(length), n_step(length);
    const Steps<double> steps = columns.steps();
    lambda_returns(steps, lambda_g);
    gae(steps, {.advantage = a});
    vtrace(steps, {.advantage = pg, .target = vs}, {.rho_bar = 1.3, .c_bar = 1.1});
    retrace(steps, q);
    tree_backup(steps, tree, {.steps = 3});
    q_sigma(steps, mixed);
    n_step_returns(steps, n_step, {.steps = 4});
    const auto follows = [&](std::size_t t) { return columns.terminated[t] ? 0 : next[t]; };
    const auto ends = [&](std::size_t t) { return t + 1 == length || columns.terminated[t] || columns.truncated[t]; };
    // sum_k (product of the traces between) error_k, to the end of the episode
    const auto sum = [&](std::size_t t, const auto& trace, const auto& error, std::size_t window = 1'000) {
      double total = 0, weight = 1;
      for (std::size_t k = t;; ++k) {
        total += weight * error(k);
        if (ends(k) || k + 1 == t + window) return total;
        weight *= trace(k);
      }
    };
    for (std::size_t t = 0; t < length; ++t) {
      CAPTURE(length, t);
      const auto delta = [&](std::size_t k) { return reward[k] + discount[k] * follows(k) - value[k]; };
      const double forward = sum(
          t, [&](std::size_t k) { return discount[k] * lambda[k]; }, delta);
      CHECK(a[t] == close(forward, 1e-12, 1e-12));

      // The lambda-return as the mixture of all n-step returns.
      double mixture = 0, rewards = 0, discounts = 1, weight = 1;
      for (std::size_t k = t;; ++k) {
        rewards += discounts * reward[k];
        discounts *= discount[k];
        if (ends(k)) {
          mixture += weight * (rewards + discounts * follows(k));
          break;
        }
        mixture += weight * (1 - lambda[k]) * (rewards + discounts * follows(k));
        weight *= lambda[k];
      }
      CHECK(lambda_g[t] == close(mixture, 1e-12, 1e-12));

      const auto rho = [&](std::size_t k) { return std::min(1.3, ratio[k]); };
      const auto correction = [&](std::size_t from) {
        return sum(
            from, [&](std::size_t k) { return discount[k] * lambda[k] * std::min(1.1, ratio[k]); },
            [&](std::size_t k) { return rho(k) * delta(k); });
      };
      CHECK(vs[t] == close(value[t] + correction(t), 1e-12, 1e-12));
      const double later = ends(t) ? 0 : correction(t + 1);
      CHECK(pg[t] == close(rho(t) * (reward[t] + discount[t] * (follows(t) + later) - value[t]), 1e-12, 1e-12));

      // Action values: Q + sum of traced errors, the trace of k being that of the action k + 1.
      const auto error = [&](std::size_t k) { return reward[k] + discount[k] * follows(k) - action_value[k]; };
      const auto target = [&](const auto& c, std::size_t window = 1'000) {
        return action_value[t] +
               sum(
                   t, [&](std::size_t k) { return discount[k] * lambda[k + 1] * c(k + 1); }, error, window);
      };
      CHECK(q[t] == close(target([&](std::size_t k) { return std::min(1.0, ratio[k]); }), 1e-12, 1e-12));
      CHECK(tree[t] == close(target([&](std::size_t k) { return probability[k]; }, 3), 1e-12, 1e-12));
      CHECK(mixed[t] ==
            close(target([&](std::size_t k) { return sigma[k] * ratio[k] + (1 - sigma[k]) * probability[k]; }), 1e-12,
                  1e-12));

      rewards = 0, discounts = 1;
      for (std::size_t k = t;; ++k) {
        rewards += discounts * reward[k];
        discounts *= discount[k];
        if (ends(k) || k + 1 == t + 4) {
          rewards += discounts * follows(k);
          break;
        }
      }
      CHECK(n_step[t] == close(rewards, 1e-12, 1e-12));
    }
  }
}

TEST_CASE("Identities: lambda 0 and 1, one step and all steps, on-policy V-trace", "[V6]") {
  Rng rng{14};
  Columns<double> columns(700, 1, rng, 0.02);
  for (std::size_t t = 0; t + 1 < columns.count; ++t)  // where the episode goes on, s' is the next state
    if (!columns.terminated[t] && !columns.truncated[t]) columns.column[2][t] = columns.column[1][t + 1];
  Steps<double> steps = columns.steps();
  steps.lambda = {};
  const std::size_t count = columns.count;
  const Numbers ones(count, 1);
  steps.ratio = ones;
  Numbers mc(count), td(count), a(count), g(count), x(count), y(count);
  discounted_returns(steps, mc);
  n_step_returns(steps, td, {.steps = 1});

  gae(steps, {.advantage = a, .target = g}, {.lambda = 1});
  for (std::size_t t = 0; t < count; ++t) CHECK(a[t] == close(mc[t] - steps.value[t], 1e-12, 1e-12));
  CHECK(largest_difference(g, mc) < 1e-12);
  gae(steps, {.advantage = a}, {.lambda = 0});
  for (std::size_t t = 0; t < count; ++t) CHECK(a[t] == close(td[t] - steps.value[t], 1e-12, 1e-12));
  lambda_returns(steps, x, {.lambda = 1});
  CHECK(largest_difference(x, mc) < 1e-12);
  lambda_returns(steps, x, {.lambda = 0});
  CHECK(largest_difference(x, td) < 1e-12);
  n_step_returns(steps, x, {.steps = count});
  CHECK(largest_difference(x, mc) < 1e-12);
  n_step_returns(steps, x, {.steps = all_steps});
  CHECK(x == mc);
  // V-trace with ratios 1 is the lambda-return.
  vtrace(steps, {.target = x}, {.lambda = 0.7});
  lambda_returns(steps, y, {.lambda = 0.7});
  CHECK(largest_difference(x, y) < 1e-12);
  // Retrace, tree backup, Q(sigma) with lambda 0 or one step are expected Sarsa: the TD target of E_pi Q.
  retrace(steps, x, {.lambda = 0});
  CHECK(largest_difference(x, td) < 1e-12);
  tree_backup(steps, x, {.steps = 1});
  CHECK(largest_difference(x, td) < 1e-12);
  q_sigma(steps, x, {.lambda = 0});
  CHECK(largest_difference(x, td) < 1e-12);
}

TEMPLATE_TEST_CASE("Environments in lanes, one by one, and on threads agree", "[V7]", float, double) {
  using S = TestType;
  const double tolerance = std::is_same_v<S, float> ? 2e-5 : 1e-12;
  Rng rng{15};
  for (const std::size_t environments : Sizes{1, 2, 3, 7, 8, 16, 19, 32, 37, 64, 70})
    for (const std::size_t rows : Sizes{1, 2, 17, 64}) {
      const Columns<S> columns(rows, environments, rng, 0.05);
      for (const auto& target : all_targets<S>()) {
        CAPTURE(target.name, environments, rows);
        const std::vector<S> together = run(target, columns.steps());
        for (std::size_t e = 0; e < environments; e += environments < 8 ? 1 : 5) {
          const Columns<S> one = columns.alone(e);
          std::vector<S> mine(rows);
          for (std::size_t t = 0; t < rows; ++t) mine[t] = together[t * environments + e];
          if (!(largest_difference(mine, run(target, one.steps())) < tolerance))
            CHECK(largest_difference(mine, run(target, one.steps())) < tolerance);
        }
      }
    }
  // Pure functions: two threads on two halves, cut at an end of all episodes.
  Columns<S> columns(64, 19, rng, 0.05);
  for (std::size_t e = 0; e < 19; ++e) columns.truncated[31 * 19 + e] = true;
  for (const auto& target : all_targets<S>()) {
    const std::vector<S> whole = run(target, columns.steps());
    std::vector<S> halves(columns.count);
    std::thread first([&] { target.run(columns.steps(0, 32), std::span(halves).first(32 * 19)); });
    std::thread second([&] { target.run(columns.steps(32, 32), std::span(halves).subspan(32 * 19)); });
    first.join(), second.join();
    CHECK(whole == halves);
  }
}

TEMPLATE_TEST_CASE("The same data in every environment give the same bits in every lane", "[V7]", float, double) {
  using S = TestType;
  Rng rng{16};
  const Columns<S> one(50, 1, rng, 0.05);
  for (const std::size_t environments : Sizes{2, 37, 83}) {
    Columns<S> many(50, environments);
    for (std::size_t i = 0; i < many.count; ++i) {
      for (std::size_t k = 0; k < 9; ++k) many.column[k][i] = one.column[k][i / environments];
      many.terminated[i] = one.terminated[i / environments];
      many.truncated[i] = one.truncated[i / environments];
    }
    for (const auto& target : all_targets<S>()) {
      const std::vector<S> out = run(target, many.steps());
      bool equal = true;
      for (std::size_t i = 0; i < many.count; ++i) equal = equal && out[i] == out[i / environments * environments];
      CAPTURE(target.name, environments);
      CHECK(equal);
    }
  }
}

TEST_CASE("Long sequences, of every length around the blocks") {
  Rng rng{17};
  for (const std::size_t rows : Sizes{31, 32, 33, 255, 256, 257, 258, 272, 512, 513, 1'025}) {
    const Columns<double> columns(rows, 1, rng, 0.01);
    Columns<double> twice(rows, 2);  // two environments don't take the blocks
    for (std::size_t i = 0; i < twice.count; ++i) {
      for (std::size_t k = 0; k < 9; ++k) twice.column[k][i] = columns.column[k][i / 2];
      twice.terminated[i] = columns.terminated[i / 2], twice.truncated[i] = columns.truncated[i / 2];
    }
    for (const auto& target : all_targets<double>()) {
      const Numbers both = run(target, twice.steps()), single = run(target, columns.steps());
      Numbers first(rows);
      for (std::size_t t = 0; t < rows; ++t) first[t] = both[2 * t];
      CAPTURE(rows, target.name);
      CHECK(largest_difference(first, single) < 1e-11);
    }
  }
}

TEST_CASE("T + 1 rows of values say the same as next values") {
  Rng rng{18};
  for (const std::size_t environments : Sizes{1, 5, 16}) {
    Columns<double> columns(40, environments, rng, 0);
    for (std::size_t i = 0; i < columns.count; ++i) columns.terminated[i] = rng.uniform() < 0.1;
    Numbers rows(columns.count + environments);
    for (double& x : rows) x = rng.normal();
    std::copy_n(rows.begin(), columns.count, columns.column[1].begin());
    std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(environments), columns.count, columns.column[2].begin());
    Steps<double> contiguous = columns.steps();
    contiguous.value = rows, contiguous.next_value = {};
    for (const auto& target : all_targets<double>()) {
      CAPTURE(target.name, environments);
      CHECK(run(target, contiguous) == run(target, columns.steps()));
    }
  }
}

TEST_CASE("A result may be an input column, entry for entry; other overlaps throw", "[C7]") {
  Rng rng{19};
  for (const std::size_t environments : Sizes{1, 3, 20})
    for (const auto& target : all_targets<double>()) {
      Columns<double> columns(30, environments, rng, 0.1);
      columns.terminated[columns.count - 1] = false, columns.column[2][columns.count - 1] = 1;
      const Numbers expected = run(target, columns.steps());
      for (std::size_t k = 0; k < 9; ++k) {
        CAPTURE(target.name, Columns<double>::names[k], environments);
        const Numbers kept = columns.column[k];
        target.run(columns.steps(), columns.column[k]);
        CHECK(columns.column[k] == expected);
        columns.column[k] = kept;

        // Shifted by one entry.
        columns.column[k].push_back(1);
        const Numbers before = columns.column[k];
        CHECK(says(message_of([&] { target.run(columns.steps(), std::span(columns.column[k]).subspan(1)); }),
                   target.name, "overlaps", Columns<double>::names[k]));
        // (bit by bit, for there are NaNs)
        CHECK(std::memcmp(columns.column[k].data(), before.data(), before.size() * sizeof(double)) == 0);
        columns.column[k] = kept;
      }
      Numbers rows(columns.count + environments, 0.5);
      Steps<double> contiguous = columns.steps();
      std::fill_n(columns.truncated.get(), columns.count, false);
      contiguous.value = rows, contiguous.next_value = {};
      for (const std::size_t shift : Sizes{0, environments})
        CHECK(says(message_of([&] { target.run(contiguous, std::span(rows).subspan(shift, columns.count)); }),
                   "overlaps value"));
    }
  Columns<double> columns(30, 1, rng, 0);
  Numbers out(40);
  for (const std::size_t shift : Sizes{0, 1, 10})
    CHECK(says(message_of([&] {
                 gae(columns.steps(),
                     {.advantage = std::span(out).first(30), .target = std::span(out).subspan(shift, 30)});
               }),
               "target overlaps another output"));
  // Both outputs on inputs at once.
  Numbers a(30), g(30);
  vtrace(columns.steps(), {.advantage = a, .target = g});
  vtrace(columns.steps(), {.advantage = columns.column[5], .target = columns.column[0]});
  CHECK(columns.column[5] == a);
  CHECK(columns.column[0] == g);
}

TEST_CASE("Bad columns are named before anything is changed") {
  constexpr double poison = std::numeric_limits<double>::quiet_NaN(),
                   infinity = std::numeric_limits<double>::infinity();
  Rng rng{20};
  for (const std::size_t environments : Sizes{1, 4})
    for (const auto& target : all_targets<double>()) {
      const Columns<double> good(40, environments, rng, 0);
      const auto throws = [&](const Steps<double>& steps, const auto&... fragments) {
        Numbers out(good.count, 77);
        const bool named = says(message_of([&] { target.run(steps, out); }), target.name, fragments...);
        return named && std::all_of(out.begin(), out.end(), [](double x) { return x == 77; });
      };
      for (std::size_t k = 0; k < 9; ++k) {
        const std::string name = Columns<double>::names[k];
        const bool reads = k == 0 || k == 3 || (" " + target.reads + " ").find(" " + name + " ") != std::string::npos;
        CAPTURE(target.name, name);
        for (const double bad : {poison, infinity, -infinity, -2.0, 2.0}) {
          CAPTURE(bad);
          Columns<double> columns(40, environments);
          columns.column = good.column;
          columns.column[k][6] = bad;
          const bool unbounded = k < 3 || k == 6, ratio = k == 5;
          const bool wrong = !std::isfinite(bad) || (!unbounded && !(ratio && bad > 0));
          if (wrong && (reads || k == 1))  // values are checked wherever they are
            CHECK(throws(columns.steps(), name + "[6]"));
          else if (!reads || !wrong)
            CHECK(message_of([&] { run(target, columns.steps()); }) == "nothing thrown");
        }
        Columns<double> shorter(40, environments);
        shorter.column = good.column;
        Steps<double> steps = shorter.steps();
        std::span<const double>* const fields[9] = {&steps.reward,       &steps.value,       &steps.next_value,
                                                    &steps.discount,     &steps.lambda,      &steps.ratio,
                                                    &steps.action_value, &steps.probability, &steps.sigma};
        *fields[k] = fields[k]->first(good.count - 1);
        if (reads) CHECK(throws(steps));
        if (reads && k != 0) CHECK(throws(steps, name, std::to_string(good.count)));
        *fields[k] = {};
        if (k == 0)
          CHECK(throws(steps, "reward is empty"));
        else if (reads && k != 3 && k != 4 && k != 8 && !(k == 2 && target.name == "discounted_returns"))
          CHECK(throws(steps, "expected", k == 2 ? "value" : name + " is missing"));
      }
      Steps<double> steps = good.steps();
      steps.environments = 0;
      CHECK(throws(steps, "environments is 0"));
      steps.environments = 7;
      CHECK(throws(steps, "multiple of 7"));
      steps = good.steps();
      steps.truncated = steps.truncated.first(3);
      CHECK(throws(steps, "truncated has 3"));
      Numbers wrong_size(good.count - 1);
      CHECK(
          says(message_of([&] { target.run(good.steps(), wrong_size); }), target.name, std::to_string(good.count - 1)));
      CHECK(says(message_of([&] { target.run(good.steps(), {}); }), target.name));
    }
}

TEST_CASE("Bad options are named") {
  Columns<double> c(4);
  Steps<double> steps = c.steps();
  Numbers out(4, 77);
  constexpr double poison = std::numeric_limits<double>::quiet_NaN();
  for (const double bad : {-0.1, 1.1, poison}) {
    CHECK(
        says(message_of([&] { discounted_returns(steps, out, {.discount = bad}); }), "discounted_returns", "discount"));
    CHECK(says(message_of([&] { n_step_returns(steps, out, {.discount = bad}); }), "n_step_returns", "discount"));
    CHECK(says(message_of([&] { lambda_returns(steps, out, {.lambda = bad}); }), "lambda_returns", "lambda"));
    CHECK(says(message_of([&] { gae(steps, {.target = out}, {.lambda = bad}); }), "gae", "lambda"));
    CHECK(says(message_of([&] { vtrace(steps, {.target = out}, {.lambda = bad}); }), "vtrace", "lambda"));
    CHECK(says(message_of([&] { q_sigma(steps, out, {.sigma = bad}); }), "q_sigma", "sigma"));
  }
  for (const double bad : {0.0, -1.0, poison}) {
    CHECK(says(message_of([&] { vtrace(steps, {.target = out}, {.rho_bar = bad}); }), "vtrace", "rho_bar"));
    CHECK(says(message_of([&] { vtrace(steps, {.target = out}, {.c_bar = bad}); }), "vtrace", "c_bar"));
  }
  CHECK(says(message_of([&] { n_step_returns(steps, out, {.steps = 0}); }), "n_step_returns", "steps"));
  CHECK(says(message_of([&] { retrace(steps, out, {.steps = 0}); }), "retrace", "steps"));
  CHECK(out == Numbers(4, 77));
  constexpr double infinity = std::numeric_limits<double>::infinity();
  CHECK(message_of([&] { vtrace(steps, {.target = out}, {.rho_bar = infinity, .c_bar = infinity}); }) ==
        "nothing thrown");
  c.truncated[2] = true;
  CHECK(says(
      message_of([&] { discounted_returns(Steps<double>{.reward = steps.reward, .truncated = steps.truncated}, out); }),
      "truncated[2]", "next_value"));
}

TEST_CASE("Results that overflow are never passed on in silence") {
  for (const std::size_t environments : Sizes{1, 2, 20}) {
    Columns<float> columns(50, environments);
    for (float& x : columns.column[0]) x = 1e38f;
    Steps<float> steps = columns.steps();
    steps.discount = {};
    std::vector<float> out(columns.count);
    CHECK(says(message_of([&] { discounted_returns(steps, out, {.discount = 1}); }), "discounted_returns", "overflow"));
    CHECK(message_of([&] { discounted_returns(steps, out, {.discount = 0.5}); }) == "nothing thrown");
  }
}

TEST_CASE("Nothing is allocated") {
  Rng rng{21};
  for (const std::size_t environments : Sizes{1, 20}) {
    const Columns<double> columns(600, environments, rng, 0.05);
    Numbers out(columns.count);
    for (const auto& target : all_targets<double>()) {
      const test::Allocations allocations;
      target.run(columns.steps(), out);
      CHECK(allocations.count() == 0);
    }
    const test::Allocations allocations;
    whiten(std::span(out));
    CHECK(allocations.count() == 0);
  }
}
