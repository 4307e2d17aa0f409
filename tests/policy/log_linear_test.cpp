#include "valence/policy/log_linear.hpp"

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/preference_bandit.hpp"
#include "valence/function/concepts.hpp"

using valence::LogLinear;
using valence::LogLinearPolicy;
using valence::Matrix;
using valence::Outputs;
using valence::Vector;

namespace {

using namespace valence::test;
using valence::test::close;

static_assert(valence::Approximator<LogLinear> && valence::Linearisable<LogLinear>);

const Matrix<double> reference{{.2, .5}, {.7, .4}, {.1, .1}};
const Matrix<double> features{{1, 0, -1, 2, 0, 1}, {0, 1, 1, -1, 3, .5}};

}  // namespace

TEST_CASE("log-linear logits are an offset plus a product, and linear in theta", "[log_linear]") {
  const LogLinear model{Vector<double>{{1, 2, 3}}, Matrix<double>{{1, 0, -1}, {2, 5, 4}}};
  CHECK(model.parameter_count() == 2);
  const std::vector<double> theta{3, .5}, v{1, -2};
  const std::vector<int> x{2, 0, 2};
  LogLinear::Tape tape;
  const auto y = model.forward(theta, x, tape);
  REQUIRE(y.cols() == 3);
  CHECK(y(0, 0) == 3 - 3 + 2);
  CHECK(y(0, 1) == 1 + 3 + 1);
  CHECK(y(0, 2) == y(0, 0));
  const auto tangent = model.pushforward(theta, x, tape, v);
  CHECK(tangent(0, 0) == -1 - 8);
  CHECK(tangent(0, 1) == 1 - 4);
  const std::vector<double> dy{.5, -1, 2};
  std::vector<double> gradient(2, 0.0);
  model.pullback(theta, x, tape, Outputs<double>(dy.data(), 1, 3), gradient);
  const auto f = [&](std::span<const double> at) {
    LogLinear::Tape own;
    const auto out = model.forward(at, x, own);
    return std::vector<double>(out.data(), out.data() + 3);
  };
  CHECK(pullback_matches(f, theta, dy, gradient));

  const LogLinear table{Vector<double>{{1, 2, 3}}};
  CHECK(table.tabular());
  CHECK(table.parameter_count() == 3);
  std::vector<double> own(3, 0.0);
  table.pullback(own, x, tape, Outputs<double>(dy.data(), 1, 3), own);
  CHECK(own == std::vector<double>{-1, 0, 2.5});
}

TEST_CASE("a log-linear policy tilts its reference", "[log_linear]") {
  LogLinearPolicy pi{features, reference};
  CHECK(pi.prompts() == 2);
  CHECK(pi.answers() == 3);
  for (Eigen::Index i = 0; i < 6; ++i) CHECK(pi.probabilities().data()[i] == close(reference.data()[i]));
  pi.parameters()[0] = .3, pi.parameters()[1] = -.7;
  const auto p = pi.probabilities();
  for (int x = 0; x < 2; ++x) {
    CHECK(p.col(x).sum() == close(1.0));
    double total = 0;
    for (int k = 0; k < 3; ++k)
      total += reference(k, x) * std::exp(.3 * features(0, x * 3 + k) - .7 * features(1, x * 3 + k));
    for (int k = 0; k < 3; ++k) {
      const double tilted = reference(k, x) * std::exp(.3 * features(0, x * 3 + k) - .7 * features(1, x * 3 + k));
      CHECK(p(k, x) == close(tilted / total));
      CHECK(pi.log_probs()(k, x) == close(std::log(tilted / total)));
      CHECK(pi.reference_log_probs()(k, x) == close(std::log(reference(k, x))));
    }
  }
}

TEST_CASE("theta = w / beta makes a log-linear policy the best one for a reward w . phi", "[log_linear]") {
  valence::Rng rng{2};
  const std::vector<double> w{.5, -1, 2};
  const auto bandit = valence::linear_bandit(w, rng, {.prompts = 5, .answers = 4, .features = 3});
  LogLinearPolicy pi{bandit};
  for (std::size_t i = 0; i < 3; ++i) pi.parameters()[i] = w[i] / 0.5;
  CHECK((pi.probabilities() - bandit.best_policy(0.5)).cwiseAbs().maxCoeff() == close(0.0, 0, 1e-14));
}

TEST_CASE("a table reaches every policy, also extreme ones", "[log_linear]") {
  auto pi = LogLinearPolicy::tabular(reference);
  CHECK(pi.parameters().size() == 6);
  pi.parameters()[2] = 800;
  pi.parameters()[3] = -800;
  const auto p = pi.probabilities();
  CHECK(p(2, 0) == 1);
  CHECK(p(0, 1) == 0);
  CHECK(p(1, 1) == close(.8));
  CHECK(pi.log_probs()(0, 1) == close(-800 + std::log(.5) - std::log(.5), 1e-12));
  valence::Rng rng{4};
  for (int i = 0; i < 100; ++i) CHECK(pi.sample(0, rng) == 2);
  int count = 0;
  for (int i = 0; i < 10'000; ++i) count += pi.sample(1, rng) == 1 ? 1 : 0;
  CHECK(rng.position() == 10'100);
  CHECK(static_cast<double>(count) == close(8000.0, 0, 4 * 40));
}

TEST_CASE("a log-linear policy is saved and loaded", "[log_linear]") {
  LogLinearPolicy a{features, reference}, b{features, reference}, other = LogLinearPolicy::tabular(reference);
  a.parameters()[1] = 3;
  const auto bytes = valence::to_bytes(a);
  valence::from_bytes(bytes, b);
  CHECK(b.parameters()[1] == 3);
  CHECK_THROWS_AS(valence::from_bytes(bytes, other), valence::Error);
}

TEST_CASE("log-linear models refuse bad input", "[log_linear]") {
  const Matrix<double> zero{{0, .5}, {1, .5}};
  CHECK(says(message_of([&] { LogLinearPolicy::tabular(zero); }), "reference(0, 0) is 0"));
  CHECK(says(message_of([&] { LogLinearPolicy(features, Matrix<double>{{.5}, {.6}}); }), "reference sums to 1.1"));
  CHECK(says(message_of([&] {
               LogLinearPolicy(features, Matrix<double>{{.5}, {.5}});
             }),
             "features is 2 x 6", "expected 2 x 2"));
  CHECK(says(message_of([&] { LogLinearPolicy({}, {}); }), "reference is 0 x 0"));
  LogLinearPolicy pi{features, reference};
  valence::Rng rng{1};
  CHECK(says(message_of([&] { pi.sample(2, rng); }), "prompt is 2"));
  LogLinear::Tape tape;
  const std::vector<int> x{6};
  CHECK(says(message_of([&] { pi.model().forward(pi.parameters(), x, tape); }), "x[0] is 6"));
  CHECK(says(message_of([&] { pi.model().forward(std::span<const double>{}, x, tape); }), "theta has 0 entries"));
  CHECK(says(message_of([&] { LogLinear{Vector<double>{}}; }), "offset is empty"));
  CHECK(says(message_of([&] { LogLinear{Vector<double>{{std::nan("")}}}; }), "offset[0] is nan"));
}

TEST_CASE("a log-linear model allocates nothing in steady state", "[log_linear]") {
  LogLinearPolicy pi{features, reference};
  LogLinear::Tape tape;
  std::vector<double> gradient(2, 0.0);
  const auto pass = [&] {
    const auto y = pi.model().forward(pi.parameters(), pi.candidates(), tape);
    pi.model().pullback(pi.parameters(), pi.candidates(), tape, y, gradient);
  };
  pass();
  const Allocations allocations;
  pass();
  CHECK(allocations.count() == 0);
}
