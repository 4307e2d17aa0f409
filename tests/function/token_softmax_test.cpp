#include "valence/function/token_softmax.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/function/sequence_log_prob.hpp"

using valence::FeaturedTokens;
using valence::Matrix;
using valence::Outputs;
using valence::Rng;
using valence::SequenceLogProb;
using valence::TokenSoftmax;
using namespace valence::test;  // close, message_of, says

static_assert(valence::SequenceModel<TokenSoftmax<double>>);
static_assert(valence::SequenceModel<TokenSoftmax<float>>);
static_assert(valence::Approximator<SequenceLogProb<TokenSoftmax<double>>>);

namespace {

using Batch = FeaturedTokens<double>;
using Model = TokenSoftmax<double>;

std::vector<double> normals(std::size_t n, std::uint64_t seed) {
  Rng rng{seed};
  std::vector<double> v(n);
  rng.fill_normal(v);
  return v;
}
Batch batch() {  // sequences of 2, 1 and 3 tokens
  Matrix<double> h(2, 6);
  h << 1, 1, 1, 1, 1, 1, 0.5, -1, 2, 0, 0.25, -0.5;
  return {h, {0, 3, 1, 1, 2, 0}, {0, 2, 3, 6}};
}
std::vector<double> outputs(const auto& model, std::span<const double> theta, const Batch& x) {
  typename std::remove_cvref_t<decltype(model)>::Tape tape;
  const auto y = model.forward(theta, x, tape);
  return {y.data(), y.data() + y.size()};
}

}  // namespace

TEST_CASE("TokenSoftmax gives each token's log-softmax, and a sequence's is their sum") {
  const Model model{5, 2};
  const auto theta = normals(10, 1);
  const Batch x = batch();
  const auto y = outputs(model, theta, x);
  REQUIRE(y.size() == 6);
  for (std::size_t k = 0; k < 6; ++k) {
    double total = 0, own = 0;
    for (std::size_t v = 0; v < 5; ++v) {
      const double z = theta[v] + theta[5 + v] * x.states()(1, static_cast<Eigen::Index>(k));
      total += std::exp(z);
      if (static_cast<int>(v) == x.tokens()[k]) own = z;
    }
    CHECK(y[k] == close(own - std::log(total), 1e-13));
  }
  const auto sums = outputs(SequenceLogProb{model}, theta, x);
  REQUIRE(sums.size() == 3);
  CHECK(sums[0] == y[0] + y[1]);
  CHECK(sums[1] == y[2]);
  CHECK(sums[2] == close(y[3] + y[4] + y[5], 1e-15));
}

TEST_CASE("The pullbacks of tokens and of sequences are exact, and allocate nothing in steady state") {
  const Model tokens{5, 2};
  const auto theta = normals(10, 1), d_tokens = normals(6, 2), d_sequences = normals(3, 3);
  const Batch x = batch();
  const auto check = [&](const auto& model, const std::vector<double>& dy) {
    typename std::remove_cvref_t<decltype(model)>::Tape tape;
    std::vector<double> gradient(10);
    const Outputs<double> d(dy.data(), 1, static_cast<Eigen::Index>(dy.size()));
    model.forward(theta, x, tape);
    model.pullback(theta, x, tape, d, gradient);
    CHECK(pullback_matches([&](std::span<const double> at) { return outputs(model, at, x); }, theta, dy, gradient));
    const Allocations allocations;
    model.forward(theta, x, tape);
    model.pullback(theta, x, tape, d, gradient);
    CHECK(allocations.count() == 0);
  };
  check(tokens, d_tokens);
  check(SequenceLogProb{tokens}, d_sequences);
}

TEST_CASE("A token that no sequence has moves through the normaliser alone") {
  const Model model{5, 2};
  const auto theta = normals(10, 1);
  const Batch x = batch();  // without token 4; the first feature is 1
  std::vector<double> gradient(10);
  Model::Tape tape;
  const std::vector<double> dy(6, 1.0);
  model.forward(theta, x, tape);
  model.pullback(theta, x, tape, Outputs<double>(dy.data(), 1, 6), gradient);
  double expected = 0;
  for (Eigen::Index k = 0; k < 6; ++k) {
    double total = 0;
    for (std::size_t v = 0; v < 5; ++v) total += std::exp(theta[v] + theta[5 + v] * x.states()(1, k));
    expected -= std::exp(theta[4] + theta[9] * x.states()(1, k)) / total;
  }
  CHECK(gradient[4] == close(expected, 1e-12));
  CHECK(gradient[4] < 0);
}

TEST_CASE("Extreme logits are exact, and a mini-batch holds its sequences") {
  const Model model{3, 1};
  const Batch x{Matrix<double>::Ones(1, 2), {0, 1}, {0, 2}};
  const std::vector<double> theta = {700, -700, 0};
  const auto y = outputs(model, theta, x);
  CHECK(y[0] == 0);
  CHECK(y[1] == -1400);

  Batch part;
  gather(batch(), std::vector<int>{2, 0}, part);
  REQUIRE(part.size() == 2);
  CHECK(std::vector<std::int32_t>(part.tokens().begin(), part.tokens().end()) ==
        std::vector<std::int32_t>{1, 2, 0, 0, 3});
  CHECK(std::vector<std::size_t>(part.offsets().begin(), part.offsets().end()) == std::vector<std::size_t>{0, 3, 5});
  CHECK(part.states().col(3) == batch().states().col(0));
  CHECK(Batch::of_length(3, Matrix<double>::Ones(2, 6), {0, 1, 2, 0, 1, 2}).size() == 2);
}

TEST_CASE("Tokens, sequences and sizes that don't fit are refused") {
  const Matrix<double> h = Matrix<double>::Ones(2, 3);
  CHECK(says(message_of([&] { Batch(h, {0, 1}, {0, 2}); }), "tokens has 2", "3"));
  CHECK(says(message_of([&] { Batch(h, {0, 1, -1}, {0, 3}); }), "tokens[2] is -1"));
  CHECK(says(message_of([&] { Batch(h, {0, 1, 2}, {0, 0, 3}); }), "sequence 0 is empty"));
  CHECK(says(message_of([&] { Batch(h, {0, 1, 2}, {0, 2}); }), "tokens has 3"));
  CHECK(says(message_of([&] { Batch(h, {0, 1, 2}, {}); }), "offsets"));
  CHECK(says(message_of([&] { Batch::of_length(2, h, {0, 1, 2}); }), "tokens has 3"));
  CHECK(says(message_of([&] { Model(0, 2); }), "vocabulary"));
  const std::vector<double> theta(4);
  const Batch x{h, {0, 1, 2}, {0, 3}};
  CHECK(says(message_of([&] { outputs(Model{2, 2}, theta, x); }), "tokens[2] is 2", "vocabulary of 2"));
  CHECK(says(message_of([&] { outputs(Model{3, 2}, theta, x); }), "theta has 4", "6"));
  std::vector<double> gradient(6);
  const std::vector<double> dy(3, 1.0), six(6);
  Model::Tape fresh;
  CHECK(says(message_of([&] { Model(3, 2).pullback(six, x, fresh, Outputs<double>(dy.data(), 1, 3), gradient); }),
             "no forward"));
}
