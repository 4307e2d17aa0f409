#include "valence/reward/implicit_reward.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/schedules.hpp"
#include "valence/function/sequence_log_prob.hpp"
#include "valence/function/token_softmax.hpp"
#include "valence/preference/losses.hpp"
#include "valence/reward/links.hpp"
#include "valence/reward/metrics.hpp"
#include "valence/reward/pair_objective.hpp"
#include "valence/reward/train_on_pairs.hpp"

using valence::Adam;
using valence::BradleyTerry;
using valence::Dpo;
using valence::FeaturedTokens;
using valence::ImplicitReward;
using valence::IndexPairs;
using valence::Matrix;
using valence::PairObjective;
using valence::Rng;
using valence::SequenceLogProb;
using valence::TokenSoftmax;
using namespace valence::test;  // close, message_of, says

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

using Policy = SequenceLogProb<TokenSoftmax<double>>;

std::vector<double> normals(std::size_t n, std::uint64_t seed) {
  Rng rng{seed};
  std::vector<double> v(n);
  rng.fill_normal(v);
  return v;
}
/// 40 sequences of 3 tokens out of 4, in 20 pairs; the one with more of token 0 is chosen, the first of ties.
struct Data {
  FeaturedTokens<double> x;
  std::vector<int> chosen, rejected;
  Data() {
    Rng rng{1};
    Matrix<double> h(2, 120);
    rng.fill_normal(valence::view(h));
    std::vector<std::int32_t> tokens(120);
    for (auto& t : tokens) t = rng.below(4);
    x = FeaturedTokens<double>::of_length(3, h, tokens);
    const auto zeros = [&](int i) { return std::count(tokens.begin() + 3 * i, tokens.begin() + 3 * i + 3, 0); };
    for (int k = 0; k < 20; ++k) {
      const bool second = zeros(2 * k + 1) > zeros(2 * k);
      chosen.push_back(2 * k + (second ? 1 : 0));
      rejected.push_back(2 * k + (second ? 0 : 1));
    }
  }
  IndexPairs<double> pairs() const { return {chosen, rejected}; }
  double accuracy(const std::vector<double>& reward) const {
    std::vector<double> a, b;
    for (std::size_t k = 0; k < chosen.size(); ++k) {
      a.push_back(reward[static_cast<std::size_t>(chosen[k])]);
      b.push_back(reward[static_cast<std::size_t>(rejected[k])]);
    }
    return valence::pairwise_accuracy_of_scores(a, b);
  }
};

}  // namespace

TEST_CASE("The implicit reward is beta times the log-ratio, 0 for the reference itself") {
  const Data data;
  const Policy policy{TokenSoftmax{4, 2}};
  const auto reference = normals(8, 2), theta = normals(8, 3);
  const auto nothing = ImplicitReward{policy, reference, reference, 0.1}(data.x);
  for (const double r : nothing) CHECK(r == 0);
  CHECK(data.accuracy(nothing) == 0.5);

  const auto reward = ImplicitReward{policy, theta, reference, 0.3}(data.x);
  Policy::Tape tape, other;
  const auto q = policy.forward(theta, data.x, tape), r = policy.forward(reference, data.x, other);
  for (Eigen::Index i = 0; i < 40; ++i) CHECK(reward[std::size_t(i)] == close(0.3 * (q(0, i) - r(0, i)), 1e-13));
}

TEST_CASE("A policy trained by DPO ranks its training pairs: what a user writes") {
  const Data data;
  const Policy policy{TokenSoftmax{4, 2}};
  const std::vector<double> reference = normals(8, 2);
  std::vector<double> theta = reference;
  PairObjective objective{policy, Dpo{.beta = 0.1}};
  const auto log_prob = objective.scores(reference, data.x);
  const std::vector<double> ref_log_prob(log_prob.begin(), log_prob.end());
  Rng rng{4};
  const auto training =
      valence::train_on_pairs(objective, std::span(theta), data.x, data.pairs(), Adam{.step_size = 0.1}, {.steps = 300},
                              rng, {}, {}, std::span<const double>(ref_log_prob));
  CHECK(training.loss < std::log(2.0));
  CHECK(data.accuracy(ImplicitReward{policy, theta, reference, 0.1}(data.x)) >= 0.8);

  SECTION("mini-batches gather their sequences: one of all pairs is the whole") {
    std::vector<double> whole = reference, gathered = reference;
    const auto train = [&](std::vector<double>& at, int batch_size) {
      valence::train_on_pairs(objective, std::span(at), data.x, data.pairs(), Adam{.step_size = 0.1},
                              {.steps = 20, .batch_size = batch_size}, rng, {}, {},
                              std::span<const double>(ref_log_prob));
    };
    train(whole, 0);
    train(gathered, 20);
    for (std::size_t i = 0; i < 8; ++i) CHECK(gathered[i] == close(whole[i], 1e-9));
    train(gathered, 5);
  }
}

TEST_CASE("Over whole responses a log-linear policy and a linear reward model are one class") {
  // log pi = log_ref + theta phi - log Z: the normaliser cancels in pairs, so DPO's margins are those of Bradley-Terry
  // on the features, with theta = w / beta, on data that neither has seen as well.
  Rng rng{5};
  Matrix<double> phi(3, 60), unseen(3, 30);
  rng.fill_normal(valence::view(phi));
  rng.fill_normal(valence::view(unseen));
  std::vector<int> chosen, rejected;
  for (int k = 0; k < 30; ++k) {
    const bool swap = rng.bernoulli(valence::sigmoid(phi(0, 2 * k + 1) - phi(0, 2 * k) + phi(2, 2 * k)));
    chosen.push_back(2 * k + (swap ? 1 : 0));
    rejected.push_back(2 * k + (swap ? 0 : 1));
  }
  const IndexPairs<double> pairs{chosen, rejected};
  const valence::Linear features{valence::Identity{3}, 1};
  const double beta = 0.1;
  PairObjective explicit_objective{features, BradleyTerry{}};
  PairObjective implicit_objective{features, Dpo{.beta = beta}, 2};  // sets of two responses, uniform reference
  std::vector<double> w(3), theta(3);
  const valence::PairTrainingOptions options{.steps = 20000, .tolerance = 1e-13};
  CHECK(valence::train_on_pairs(explicit_objective, std::span(w), phi, pairs, Adam{.step_size = 0.02}, options, rng,
                                valence::CosineSchedule{.steps = 20000})
            .gradient_norm < 1e-12);
  CHECK(valence::train_on_pairs(implicit_objective, std::span(theta), phi, pairs, Adam{.step_size = 0.2}, options, rng,
                                valence::CosineSchedule{.steps = 20000})
            .gradient_norm < 1e-12);
  const auto margins = [&](auto& objective, const std::vector<double>& at, const Matrix<double>& x, double scale) {
    const auto score = objective.scores(at, x);
    std::vector<double> m;
    for (std::size_t k = 0; k + 1 < score.size(); k += 2) m.push_back(scale * (score[k] - score[k + 1]));
    return m;
  };
  for (const Matrix<double>* x : {&phi, &unseen}) {
    const auto a = margins(explicit_objective, w, *x, 1), b = margins(implicit_objective, theta, *x, beta);
    for (std::size_t k = 0; k < a.size(); ++k) CHECK(a[k] == close(b[k], 0, 1e-10));
  }
}

TEST_CASE("Rankings see neither a function of the prompt nor the order of pairs") {
  const Data data;
  const Policy policy{TokenSoftmax{4, 2}};
  auto reward = ImplicitReward{policy, normals(8, 3), normals(8, 2), 0.3}(data.x);
  const double before = data.accuracy(reward);
  for (std::size_t i = 0; i < reward.size(); ++i) reward[i] += static_cast<double>(i / 2) * 0.5;
  CHECK(data.accuracy(reward) == before);
  Data reversed;
  std::reverse(reversed.chosen.begin(), reversed.chosen.end());
  std::reverse(reversed.rejected.begin(), reversed.rejected.end());
  CHECK(reversed.accuracy(reward) == before);
}

TEST_CASE("An implicit reward refuses another vocabulary's reference and a beta of 0") {
  const Policy policy{TokenSoftmax{4, 2}};
  const auto theta = normals(8, 3), other = normals(10, 3);
  CHECK(says(message_of([&] { ImplicitReward(policy, theta, other, 0.1); }), "reference has 10", "8"));
  CHECK(says(message_of([&] { ImplicitReward(policy, other, theta, 0.1); }), "policy has 10"));
  CHECK(says(message_of([&] { ImplicitReward(policy, theta, theta, 0); }), "beta is 0"));
}

TEST_CASE("The implicit reward of a table of log-probabilities") {
  Matrix<double> log_probs(2, 3), reference(2, 3);
  log_probs << -1, -0.5, -2, -0.25, -3, -1;
  reference << -0.5, -0.5, -1, -1.25, -1, -4;
  Matrix<double> expected(2, 3);
  expected << -0.05, 0, -0.1, 0.1, -0.2, 0.3;
  CHECK((valence::implicit_reward(log_probs, reference, 0.1) - expected).cwiseAbs().maxCoeff() < 1e-16);
  CHECK(valence::implicit_reward(reference, reference, 3).isZero(0));
  CHECK(says(message_of([&] { valence::implicit_reward(log_probs, reference, 0); }), "implicit_reward", "beta"));
  CHECK(says(message_of([&] { valence::implicit_reward(log_probs, reference.leftCols(2), 1); }), "reference"));
  log_probs(1, 0) = not_a_number;
  CHECK(says(message_of([&] { valence::implicit_reward(log_probs, reference, 1); }), "log_probs", "nan"));
}

namespace {

/// All texts of 3 tokens out of 3, with rewards at the end: a text is a number with these digits. The optimal policy of
/// E r - beta E log pi is pi(text) proportional to exp(r / beta); its conditional probabilities are sums of it.
struct TextTree {
  double beta = 0.4;
  std::vector<double> reward = std::vector<double>(27);

  TextTree() {
    Rng rng{12};
    rng.fill_normal(reward);
  }
  // Sum of exp(r / beta) over the texts that begin with the first `length` digits of `text`.
  double mass(int text, int length) const {
    const int span[] = {27, 9, 3, 1};
    const int first = text / span[length] * span[length];
    double sum = 0;
    for (int y = first; y < first + span[length]; ++y) sum += std::exp(reward[static_cast<std::size_t>(y)] / beta);
    return sum;
  }
  std::vector<int> tokens(int text) const { return {text / 9, text / 3 % 3, text % 3}; }
  // Q*(s, a) of the three states on the way to `text`: the best soft value after a, from the definition of pi*.
  Matrix<double> values(int text) const {
    Matrix<double> q(3, 3);
    const int span[] = {9, 3, 1};
    for (int t = 0; t < 3; ++t)
      for (int a = 0; a < 3; ++a) {
        const int to = text / (3 * span[t]) * (3 * span[t]) + a * span[t];
        q(a, t) = beta * std::log(mass(to, t + 1));
      }
    return q;
  }
};

}  // namespace

TEST_CASE("The optimal policy's logits are soft action values over beta, up to a shift of each state") {
  const TextTree tree;
  for (const int text : {0, 5, 13, 26}) {
    Matrix<double> log_policy(3, 3);
    const int span[] = {27, 9, 3, 1};
    for (int t = 0; t < 3; ++t)
      for (int a = 0; a < 3; ++a) {
        const int to = text / span[t] * span[t] + a * span[t + 1];
        log_policy(a, t) = std::log(tree.mass(to, t + 1) / tree.mass(text, t));
      }
    const Matrix<double> q = tree.values(text);
    const auto v = valence::soft_value_from_logits(q / tree.beta, tree.beta);
    const auto tokens = tree.tokens(text);
    for (int t = 0; t < 3; ++t) {
      const double shift = log_policy(0, t) - q(0, t) / tree.beta;
      CHECK(shift == close(-v[t] / tree.beta, 1e-12));
      for (int a = 0; a < 3; ++a) CHECK(log_policy(a, t) - q(a, t) / tree.beta == close(shift, 1e-12));
      // Bellman's equation without rewards on the way: V of the next state is Q.
      if (t < 2) CHECK(v[t + 1] == close(q(tokens[static_cast<std::size_t>(t)], t), 1e-12));
    }
  }
}

TEST_CASE("The implicit rewards of tokens telescope to the reward of the text") {
  const TextTree tree;
  for (int text = 0; text < 27; ++text) {
    const double reward = tree.reward[static_cast<std::size_t>(text)];
    const auto tokens = tree.tokens(text);
    Matrix<double> logits = tree.values(text) / tree.beta;
    const auto exact = valence::implicit_token_rewards(logits, tokens, tree.beta);
    CHECK(exact[0] == close(0.0, 0, 1e-12));
    CHECK(exact[1] == close(0.0, 0, 1e-12));
    CHECK(exact[2] == close(reward, 1e-12));
    // A shift of each state's logits shapes the rewards; their sum sees that of the first state.
    const double shift[] = {0.3, -1, 2};
    for (int t = 0; t < 3; ++t) logits.col(t).array() += shift[t] / tree.beta;
    const auto shaped = valence::implicit_token_rewards(logits, tokens, tree.beta);
    CHECK(shaped[1] == close(-1 - 2, 1e-12));
    CHECK(shaped.sum() == close(reward + 0.3, 1e-11));
    // Of the normalised policy they are beta log pi, whose sum is r - V of the first state.
    const Matrix<double> log_policy = valence::log_softmax(logits);
    const auto normalised = valence::implicit_token_rewards(log_policy, tokens, tree.beta);
    for (int t = 0; t < 3; ++t)
      CHECK(normalised[t] == close(tree.beta * log_policy(tokens[static_cast<std::size_t>(t)], t), 1e-12, 1e-14));
    CHECK(normalised.sum() == close(reward - tree.beta * std::log(tree.mass(0, 0)), 1e-11));
  }
}

TEST_CASE("Soft values of logits: extremes and bad input") {
  Matrix<double> logits(2, 2);
  logits << 1e3, -1e3, 1e3, -1e3;
  const auto v = valence::soft_value_from_logits(logits, 2);
  CHECK(v[0] == close(2 * (1e3 + std::log(2.0)), 1e-15));
  CHECK(v[1] == close(2 * (-1e3 + std::log(2.0)), 1e-15));
  CHECK(valence::soft_value_from_logits(Matrix<double>(3, 0), 1).size() == 0);
  const auto message = [](const Matrix<double>& z, double beta) {
    return message_of([&] { valence::soft_value_from_logits(z, beta); });
  };
  CHECK(says(message(logits, -1), "soft_value_from_logits", "beta"));
  CHECK(says(message(Matrix<double>(0, 2), 1), "no rows"));
  logits(0, 1) = not_a_number;
  CHECK(says(message(logits, 1), "logits", "nan"));
  const auto tokens = [](std::vector<int> token) {
    return message_of([&] { valence::implicit_token_rewards(Matrix<double>::Zero(3, 2), token, 1); });
  };
  CHECK(says(tokens({0}), "implicit_token_rewards", "tokens"));
  CHECK(says(tokens({0, 3}), "tokens[1] is 3", "[0, 2]"));
  CHECK(says(tokens({-1, 0}), "tokens[0] is -1"));
}
