#include "valence/reward/pair_objective.hpp"

#include <cmath>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/tabular.hpp"
#include "valence/preference/any_loss.hpp"
#include "valence/preference/batch_losses.hpp"
#include "valence/preference/losses.hpp"
#include "valence/reward/links.hpp"

using valence::any_loss;
using valence::AnyLoss;
using valence::BradleyTerry;
using valence::Dpo;
using valence::IndexPairs;
using valence::Matrix;
using valence::Mlp;
using valence::PairObjective;
using valence::Sft;
using valence::Tabular;
using namespace valence::test;  // close, message_of, says

namespace {

struct Data {
  Matrix<double> x;
  std::vector<int> chosen, rejected;
  std::vector<double> p, w, reference;
  IndexPairs<double> pairs() const { return {chosen, rejected, p, w}; }
};

Data made_up(int features, int samples, int set, int pairs, std::uint64_t seed) {
  valence::Rng rng{seed};
  Data d;
  d.x.resize(features, samples);
  rng.fill_normal({d.x.data(), std::size_t(d.x.size())});
  for (int k = 0; k < pairs; ++k) {
    const int begin = set * rng.below(samples / set), a = rng.below(set), b = (a + 1 + rng.below(set - 1)) % set;
    d.chosen.push_back(begin + a);
    d.rejected.push_back(begin + b);
    d.p.push_back(rng.uniform());
    d.w.push_back(rng.uniform());
  }
  for (int i = 0; i < samples; ++i) d.reference.push_back(-1 - rng.uniform());
  return d;
}

template <class Objective>
void check_gradient(Objective objective, const Matrix<double>& x, const IndexPairs<double>& pairs,
                    std::span<const double> reference = {}) {
  valence::Rng rng{3};
  std::vector<double> theta(objective.model().parameter_count()), gradient(theta.size()), scratch(theta.size());
  for (double& t : theta) t = 0.4 * rng.normal();
  objective(theta, x, pairs, gradient, reference);
  const auto value = [&](std::span<const double> t) { return objective(t, x, pairs, scratch, reference); };
  CHECK(valence::test::gradient_matches(value, theta, gradient));
}

}  // namespace

TEST_CASE("Gradients of models trained on pairs match differences") {
  const Data d = made_up(3, 12, 4, 15, 1);
  const Mlp<double> net{{3, 5, 1}, valence::Activation::tanh};
  SECTION("a reward model, soft labels and weights") {
    check_gradient(PairObjective{net, BradleyTerry{.temperature = 0.8, .margin = 0.1}}, d.x, d.pairs());
    check_gradient(PairObjective{net, valence::Thurstone{}}, d.x, {d.chosen, d.rejected});
  }
  SECTION("a policy over sets of candidates") {
    check_gradient(PairObjective{net, Dpo{.beta = 0.5}, 4}, d.x, {d.chosen, d.rejected, {}, d.w});
    check_gradient(PairObjective{net, Dpo{.beta = 0.5} + 0.3 * Sft{}, 4}, d.x, {d.chosen, d.rejected}, d.reference);
    check_gradient(PairObjective{net, Dpo{.beta = 0.5} + 0.3 * Sft{}, 12}, d.x, {d.chosen, d.rejected});
    check_gradient(PairObjective{net, any_loss("ipo", {{"beta", 0.7}}), 4}, d.x, {d.chosen, d.rejected, {}, d.w});
  }
}

TEST_CASE("A softmax policy over three actions has RPO's published loss and gradient") {
  // systems/preference.md, 56, exact test 2: logits (.2, -.1, .4), uniform reference, winner 0, loser 2.
  PairObjective objective{Tabular{3, 1}, valence::rpo({.beta = 0.1, .eta = 0.005}), 3};
  const std::vector<double> theta = {.2, -.1, .4};
  const std::vector<int> items = {0, 1, 2}, chosen = {0}, rejected = {2};
  std::vector<double> gradient(3, 7.0);
  CHECK(objective(theta, items, {chosen, rejected}, gradient) == close(0.708626876315, 1e-11));
  const double expected[] = {-0.05381206064501, 0.001250443883109, 0.0525616167619};
  for (int i = 0; i < 3; ++i) CHECK(gradient[std::size_t(i)] == close(expected[i], 1e-11));
  const auto log_probs = objective.scores(theta, items);
  CHECK(std::exp(log_probs[0]) + std::exp(log_probs[1]) + std::exp(log_probs[2]) == close(1, 1e-14));
}

TEST_CASE("Any loss at run time is the same loss") {
  const Data d = made_up(2, 6, 3, 20, 5);
  const Mlp<double> net{{2, 1}, valence::relu};
  const std::vector<double> theta = {0.3, -0.7, 0.1};
  std::vector<double> a(3), b(3);
  const IndexPairs<double> pairs{d.chosen, d.rejected, {}, d.w};
  CHECK((PairObjective{net, Dpo{.beta = 0.3}, 3}(theta, d.x, pairs, a)) ==
        close((PairObjective{net, any_loss("dpo", {{"beta", 0.3}}), 3}(theta, d.x, pairs, b)), 1e-15));
  for (std::size_t i = 0; i < 3; ++i) CHECK(a[i] == close(b[i], 1e-13, 1e-16));
  // It adds and scales like the losses it holds, and keeps their checks and names.
  const auto sum = AnyLoss{Dpo{.beta = 0.3}} + 0.5 * Sft{};
  CHECK((PairObjective{net, sum, 3}(theta, d.x, pairs, b)) ==
        close((PairObjective{net, Dpo{.beta = 0.3} + 0.5 * Sft{}, 3}(theta, d.x, pairs, a)), 1e-14));
  for (std::size_t i = 0; i < 3; ++i) CHECK(a[i] == close(b[i], 1e-13, 1e-16));
  const AnyLoss<> copy = any_loss("ipo");
  CHECK(copy.describe() == valence::loss_name(valence::Ipo{}));
  CHECK(says(message_of([] { any_loss("dop"); }), "unknown loss \"dop\"", "dpo"));
  CHECK(says(message_of([] { any_loss("dpo", {{"beat", 1}}); }), "no option \"beat\""));
  CHECK(says(message_of([] { any_loss("dpo", {{"beta", -1}}); }), "beta is -1"));
  valence::Vector<float> q = valence::Vector<float>::Constant(2, -1.0f), g(2), h(2);
  const std::vector<float> r = {-0.5f, -2.0f}, ref = {-1, -1};
  const valence::PairBatch<float> batch{.chosen = {q.data(), 2}, .rejected = r, .ref_chosen = ref, .ref_rejected = ref};
  CHECK(valence::evaluate(any_loss<float>("dpo"), batch, {.chosen = {g.data(), 2}}) ==
        valence::evaluate(Dpo{}, batch, {.chosen = {h.data(), 2}}));
  CHECK(g == h);
  CHECK(says(message_of([&] { valence::evaluate(any_loss("dpo"), batch, {}); }), "AnyLoss", "another scalar type"));
}

TEST_CASE("A step on pairs allocates nothing once warm") {
  const Data d = made_up(3, 12, 4, 40, 1);
  PairObjective objective{Mlp<double>{{3, 8, 1}, valence::relu}, Dpo{} + 0.1 * Sft{}, 4};
  std::vector<double> theta(objective.model().parameter_count(), 0.1), gradient(theta.size());
  objective(theta, d.x, {d.chosen, d.rejected}, gradient);
  const valence::test::Allocations allocations;
  objective(theta, d.x, {d.chosen, d.rejected}, gradient);
  CHECK(allocations.count() == 0);
}

TEST_CASE("Bad pairs are named") {
  const Data d = made_up(2, 6, 3, 4, 1);
  const Mlp<double> net{{2, 1}, valence::relu};
  std::vector<double> theta(3, 0.1), gradient(3);
  const auto message = [&](std::vector<int> chosen, std::vector<int> rejected, int candidates = 3,
                           std::vector<double> reference = {}, std::vector<double> weight = {}) {
    return message_of([&] {
      PairObjective{net, Dpo{}, candidates}(theta, d.x, {chosen, rejected, {}, weight}, gradient, reference);
    });
  };
  CHECK(says(message({0, 6}, {1, 1}), "chosen[1] is 6", "[0, 5]"));
  CHECK(says(message({0, 1}, {1, -1}), "rejected[1] is -1"));
  CHECK(says(message({0, 1}, {1}), "rejected has 1 entries"));
  CHECK(says(message({0, 1}, {1, 4}), "chosen[1] is 1", "different sets"));
  CHECK(says(message({0}, {1}, 4), "6 samples", "4 candidates"));
  CHECK(says(message({0}, {1}, 1), "candidates is 1"));
  CHECK(says(message({0}, {1}, 3, {-1}), "reference has 1 entries", "6"));
  CHECK(says(message({0}, {1}, 3, {}, {-1}), "weight[0]", "-1"));
  CHECK(says(message({}, {}), "Dpo"));
  CHECK(says(message({0}, {1}, 0), "Dpo", "ref_chosen"));  // scores have no reference unless given
  CHECK(says(message_of([&] { PairObjective{Mlp<double>{{2, 2}, valence::relu}, Dpo{}, 3}; }), "2 outputs"));
  gradient.resize(2);
  CHECK(says(message({0}, {1}), "gradient has 2 entries"));
}

TEST_CASE("single responses besides the pairs: a base term, and nothing else", "[pair_objective]") {
  valence::Rng rng{21};
  const Tabular<double> table{6, 1};
  const std::vector<int> x{0, 1, 2, 3, 4, 5}, chosen{0, 4}, rejected{2, 3}, base{1, 4, 4};
  const std::vector<double> weight{1, 0.5, 2}, reference{-1, -2, -.5, -1, -1, -1};
  std::vector<double> theta(6), gradient(6), unused(6);
  for (double& t : theta) t = rng.normal();
  const auto loss = Dpo{.beta = 0.3} + 0.7 * valence::BaseSft{};
  PairObjective objective{table, loss, 3};
  const IndexPairs<double> pairs{chosen, rejected};
  const valence::IndexSamples<double> singles{.sample = base, .weight = weight};
  const double value = objective(theta, x, pairs, gradient, reference, singles);
  CHECK(
      gradient_matches([&](std::span<const double> at) { return objective(at, x, pairs, unused, reference, singles); },
                       theta, gradient));

  PairObjective only_pairs{table, Dpo{.beta = 0.3}, 3};
  const double of_pairs = only_pairs(theta, x, pairs, unused, reference);
  const auto log_probs = only_pairs.scores(theta, x);
  CHECK(value == close(of_pairs - 0.7 * (log_probs[1] + 0.5 * log_probs[4] + 2 * log_probs[4]) / 3));

  PairObjective only_base{table, valence::BaseSft{}, 3};  // no pairs at all
  CHECK(only_base(theta, x, {}, gradient, reference, singles) ==
        close(-(log_probs[1] + 0.5 * log_probs[4] + 2 * log_probs[4]) / 3));
  const std::vector<int> outside{6};
  CHECK(says(message_of([&] { only_base(theta, x, {}, gradient, {}, {.sample = outside}); }), "base[0] is 6"));
}

TEST_CASE("lengths reach the losses that read them", "[pair_objective]") {
  const Tabular<double> table{4, 1};
  const std::vector<int> x{0, 1, 2, 3}, chosen{0, 3}, rejected{1, 2};
  const std::vector<double> chosen_length{2, 5}, rejected_length{3, 1}, theta{.1, -.4, .3, .2};
  std::vector<double> gradient(4), unused(4);
  PairObjective objective{table, valence::SimPo{}, 2};
  const IndexPairs<double> pairs{chosen, rejected, {}, {}, chosen_length, rejected_length};
  objective(theta, x, pairs, gradient);
  CHECK(gradient_matches([&](std::span<const double> at) { return objective(at, x, pairs, unused); }, theta, gradient));
  CHECK(says(message_of([&] { objective(theta, x, IndexPairs<double>{chosen, rejected}, gradient); }), "length"));
}
