#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "preference/cases.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/preference.hpp"

using namespace valence;
using namespace valence::test;

namespace {

template <class S>
bool same_bits(S a, S b) {
  using B = std::conditional_t<sizeof(S) == 4, std::uint32_t, std::uint64_t>;
  return std::bit_cast<B>(a) == std::bit_cast<B>(b);
}

// Scores and links behind functions, so that all pairings go through one MarginLoss and one TwoScoreLoss.
struct AnyScore {
  std::function<ValueAndSlope<double>(double, double, double)> f = {};
  ValueAndSlope<double> operator()(double q, double r, double n) const { return f(q, r, n); }
};
struct AnyLink {
  std::function<ValueAndSlope<double>(double)> f = {};
  ValueAndSlope<double> operator()(double z) const { return f(z); }
};
struct AnyTwoScoreLink {
  std::function<TwoSlopes<double>(double, double)> f = {};
  TwoSlopes<double> operator()(double a, double b) const { return f(a, b); }
};

template <class Any>
struct Named {
  std::string name;
  Any part;
};
template <class Score>
Named<AnyScore> score(std::string name, Score s) {
  return {std::move(name), {[s](double q, double r, double n) { return s(q, r, n); }}};
}
template <class Link>
Named<AnyLink> link(std::string name, Link l) {
  return {std::move(name), {[l](double z) { return l(z); }}};
}
template <class Link>
Named<AnyTwoScoreLink> two_score_link(std::string name, Link l) {
  return {std::move(name), {[l](double a, double b) { return l(a, b); }}};
}

const std::vector<Named<AnyScore>>& scores() {
  static const std::vector<Named<AnyScore>> all{
      score("log_ratio", LogRatio{}),           score("log_prob", LogProb{}),
      score("mean_log_prob", MeanLogProb{}),    score("mean_log_ratio", MeanLogRatio{}),
      score("forward_kl", ForwardKl{}),         score("js", JsDivergence{}),
      score("alpha .5", AlphaDivergence{}),     score("alpha 1.75", AlphaDivergence{1.75}),
      score("alpha_po", AlphaMeanLogProb{}),    score("alpha_po -1", AlphaMeanLogProb{-1}),
      score("alpha_po 0", AlphaMeanLogProb{0}), score("log_odds", LogOdds{})};
  return all;
}
const std::vector<Named<AnyLink>>& links() {
  static const std::vector<Named<AnyLink>> all{link("logistic", LogisticLink{}),
                                               link("label_smoothed", LabelSmoothedLink{0.2}),
                                               {"soft_label", {[](double z) { return SoftLabelLink{}(z, 0.3); }}},
                                               link("robust", RobustLink{0.2}),
                                               link("hinge", HingeLink{}),
                                               link("exponential", ExponentialLink{}),
                                               link("exo", ExoLink{0.05}),
                                               link("discopop .05", DiscoPopLink{}),
                                               link("discopop 1.5", DiscoPopLink{1.5}),
                                               link("square", SquareLink{0.7}),
                                               link("one_minus_sigmoid", OneMinusSigmoidLink{})};
  return all;
}
const std::vector<Named<AnyTwoScoreLink>>& two_score_links() {
  static const std::vector<Named<AnyTwoScoreLink>> all{
      two_score_link("nca", NcaLink{}), two_score_link("bco", BcoLink{0.3}), two_score_link("apo_zero", ApoZeroLink{}),
      two_score_link("apo_down", ApoDownLink{}), two_score_link("sppo", SppoLink{0.4})};
  return all;
}

Pair<double> random_pair(Rng& rng) {
  const auto below_zero = [&] { return -0.3 - 5 * rng.uniform(); };
  Pair<double> p{below_zero(), below_zero()};
  p.ref_chosen = p.chosen + 2 * rng.uniform() - 1;
  p.ref_rejected = p.rejected + 2 * rng.uniform() - 1;
  p.chosen_length = 1 + static_cast<double>(rng.below(4u));
  p.rejected_length = 1 + static_cast<double>(rng.below(4u));
  p.p_chosen = rng.uniform();
  return p;
}

/// Are the derivatives those of the value?
template <class L>
DerivativeMatch pair_gradient_matches(const L& loss, Pair<double> p, DifferenceOptions options = {}) {
  const PairLoss<double> l = loss(p);
  const double x[] = {p.chosen, p.rejected}, analytic[] = {l.d_chosen, l.d_rejected};
  const auto f = [&](std::span<const double> at) {
    p.chosen = at[0], p.rejected = at[1];
    return loss(p).value;
  };
  return gradient_matches(f, x, analytic, options);
}

}  // namespace

TEST_CASE("Every score with every link has the gradient of its value") {
  Rng rng{2024};
  const DifferenceOptions options{.relative = 1e-7, .absolute = 1e-9, .step = 2e-4};
  for (const auto& s : scores()) {
    for (const auto& l : links()) {
      const MarginLoss<AnyScore, AnyLink> loss{s.part, l.part, 0.5, 0.125};
      CAPTURE(s.name, l.name);
      int checked = 0;
      while (checked < 50) {
        const Pair<double> p = random_pair(rng);
        if (l.name == "hinge") {
          const double z = 0.5 * (s.part(p.chosen, p.ref_chosen, p.chosen_length).value -
                                  s.part(p.rejected, p.ref_rejected, p.rejected_length).value) -
                           0.125;
          if (std::abs(z - 1) < 0.1) continue;  // its kink
        }
        ++checked;
        if (const auto match = pair_gradient_matches(loss, p, options); !match) CHECK(match);
      }
    }
    for (const auto& l : two_score_links()) {
      const TwoScoreLoss<AnyScore, AnyTwoScoreLink> loss{s.part, l.part, 0.5};
      CAPTURE(s.name, l.name);
      for (int k = 0; k < 50; ++k)
        if (const auto match = pair_gradient_matches(loss, random_pair(rng), options); !match) CHECK(match);
    }
  }
  CHECK(scores().size() * (links().size() + two_score_links().size()) == 12 * 16);
}

TEST_CASE("Every named pointwise loss has the gradient of its value") {
  Rng rng{2025};
  for (const PairCase& c : pair_cases()) {
    CAPTURE(c.name);
    for (int k = 0; k < 50; ++k) {
      const Pair<double> p = random_pair(rng);
      // Away from the kinks of max(0, .) in the margin and in DPO-Positive's penalty.
      const double margin = p.chosen - p.rejected - (p.ref_chosen - p.ref_rejected);
      if (c.name == "hinge" && std::abs(0.5 * margin - 1) < 0.1) continue;
      if ((c.name == "cpo_hinge" && std::abs(0.5 * (p.chosen - p.rejected) - 1) < 0.1) ||
          (c.name == "slic" && std::abs(p.chosen - p.rejected - 1) < 0.1) ||
          (c.name == "dpo_positive" && std::abs(p.chosen - p.ref_chosen) < 0.1))
        continue;
      if (const auto match = pair_gradient_matches(c.one, p, {.relative = 1e-7, .absolute = 1e-9, .step = 2e-4});
          !match)
        CHECK(match);
    }
  }
}

TEST_CASE("Kinks have slope 0") {
  CHECK(HingeLink{}(1.0).slope == 0);
  CHECK(SlicCalibration{1}(Pair<double>{-1, -2}).d_chosen == 0);
  const Pair<double> at_reference{.chosen = -2, .rejected = -3, .ref_chosen = -2, .ref_rejected = -3};
  CHECK(DpoPositive{.beta = 0.1, .lambda = 5}(at_reference).d_chosen == -0.05);
}

TEST_CASE("A constant added to policy and reference changes nothing; to all scores, no margin") {
  Rng rng{3};
  const auto eighth = [&] { return -static_cast<double>(rng.below(80u)) / 8; };  // sums stay exact
  for (int k = 0; k < 20; ++k) {
    const Pair<double> p{.chosen = eighth(), .rejected = eighth(), .ref_chosen = eighth(), .ref_rejected = eighth()};
    Pair<double> moved = p, raised = p;
    moved.chosen += 3, moved.ref_chosen += 3, moved.rejected -= 2, moved.ref_rejected -= 2;
    raised.chosen += 0.0625, raised.rejected += 0.0625;
    for (const PairCase& c : pair_cases()) {
      if (c.needs != Column::reference || c.name == "rpo") continue;
      CAPTURE(c.name);
      const auto a = c.one(p), b = c.one(moved);
      CHECK(same_bits(a.value, b.value));
      CHECK(same_bits(a.d_chosen, b.d_chosen));
      CHECK(same_bits(a.d_rejected, b.d_rejected));
    }
    for (const char* name : {"sigmoid", "cdpo", "robust", "hinge", "ipo_sum", "exponential", "exo_pair", "discopop"})
      CHECK(same_bits(pair_case(name).one(p).value, pair_case(name).one(raised).value));
    for (const char* name : {"nca_pair", "bco_pair", "apo_zero", "sppo_hard"})
      CHECK(pair_case(name).one(p).value != pair_case(name).one(raised).value);
  }
}

TEST_CASE("Swapping chosen and rejected negates the margin", "[P22]") {
  Rng rng{4};
  for (const auto& s : scores()) {
    double seen = 0;
    const MarginLoss<AnyScore, AnyLink> loss{s.part,
                                             {[&](double z) {
                                               return ValueAndSlope<double>{seen = z, 1};
                                             }},
                                             0.5};
    const Pair<double> p = random_pair(rng);
    const Pair<double> swapped{p.rejected,        p.chosen,        p.ref_rejected, p.ref_chosen,
                               p.rejected_length, p.chosen_length, p.p_chosen};
    loss(p);
    const double z = seen;
    loss(swapped);
    CAPTURE(s.name);
    CHECK(z != 0);
    CHECK(seen == -z);
  }
}

TEST_CASE("Links that contain others equal them bit for bit") {
  for (const double z : {-800.0, -50.0, -3.25, -1e-3, -0.0, 0.0, 1e-9, 0.7, 2.0, 40.0, 800.0}) {
    CAPTURE(z);
    const auto expected = LogisticLink{}(z);
    for (const auto& other : {LabelSmoothedLink{0}(z), RobustLink{0}(z), SoftLabelLink{}(z, 1.0)}) {
      CHECK(same_bits(other.value, expected.value));
      CHECK(same_bits(other.slope, expected.slope));
    }
    const auto even = LabelSmoothedLink{0.5}(z), mirrored = LabelSmoothedLink{0.5}(-z);
    CHECK(same_bits(even.value, mirrored.value));
    CHECK(even.slope == close(-mirrored.slope, 1e-15, 1e-16));
    CHECK(expected.value == close(softplus(-z), 1e-15));
    CHECK(-expected.slope == close(sigmoid(-z), 1e-15));
  }
}

TEST_CASE("The alpha divergence contains the others") {
  for (const double u : {-20.0, -1.5, 0.0, 0.3, 7.0}) {
    CAPTURE(u);
    const auto ratio = LogRatio{}(u, 0.0, 1.0), one = AlphaDivergence{1}(u, 0.0, 1.0);
    CHECK(same_bits(one.value, ratio.value));
    CHECK(same_bits(one.slope, ratio.slope));
    const auto forward = ForwardKl{}(u, 0.0, 1.0), zero = AlphaDivergence{0}(u, 0.0, 1.0);
    CHECK(zero.value == forward.value);
    CHECK(zero.slope == forward.slope);
    // To first order in alpha: -exp(-u) (1 + alpha (u + 1)).
    const double a = 1e-4;
    CHECK(AlphaDivergence{a}(u, 0.0, 1.0).value ==
          close(forward.value * (1 + a * (u + 1)), 0, std::abs(forward.value) * 1e-8 * (1 + u * u) * 2));
    CHECK(AlphaMeanLogProb{0}(u, 0.0, 2.0).value == MeanLogProb{}(u, 0.0, 2.0).value);
    CHECK(AlphaMeanLogProb{1e-12}(u, 0.0, 2.0).value == close(u / 2, 1e-10));
  }
}

// ---------------------------------------------------------------- algebra

TEST_CASE("Losses obey the laws of addition and scaling") {
  const GoldenColumns<double> columns;
  const PreferenceBatch<double> in{.pairs = columns.view()};
  struct Result {
    double value;
    std::vector<double> gradient;
  };
  const auto run = [&](const auto& loss) {
    Result r{0, std::vector<double>(12, 0.0)};
    std::span<double> g(r.gradient);
    r.value = accumulate(loss, in, {.chosen = g.first(6), .rejected = g.last(6)});
    return r;
  };
  const auto agree = [](const Result& a, const Result& b, double tolerance) {
    CHECK(a.value == close(b.value, tolerance));
    for (std::size_t i = 0; i < 12; ++i) CHECK(a.gradient[i] == close(b.gradient[i], tolerance, 1e-17));
  };
  const Dpo a{.beta = 0.5};
  const IpoAveraged b{.beta = 0.25};
  const BatchTokenMeanSft c{};  // couples the batch
  static_assert(PointwiseLoss<decltype(a + b)>);
  static_assert(PointwiseLoss<decltype(2 * a - b / 3)>);
  static_assert(BatchLoss<decltype(a + c)> && !PointwiseLoss<decltype(a + c)>);
  static_assert(BatchLoss<decltype(2 * c)> && BatchLoss<decltype(summed(a))>);
  static_assert(decltype(a + b)::needs == (Column::reference | Column::lengths));

  agree(run(a + b), run(b + a), 1e-15);
  agree(run((a + b) + c), run(a + (b + c)), 1e-15);
  agree(run(a + c), run(c + a), 1e-15);
  agree(run(2 * a), run(a + a), 1e-15);
  agree(run(2 * c), run(c + c), 1e-15);
  agree(run(a * 2), run(2 * a), 0);
  agree(run(a / 4), run(0.25 * a), 0);
  agree(run(a - b), run(a + (-b)), 0);
  agree(run(0.5 * (a + c)), run(0.5 * a + 0.5 * c), 1e-15);
  agree(run(2 * (3 * c)), run(6 * c), 1e-15);
  const Result sum = run(a + 0.25 * c), left = run(a), right = run(c);
  for (std::size_t i = 0; i < 12; ++i)
    CHECK(sum.gradient[i] == close(left.gradient[i] + 0.25 * right.gradient[i], 1e-14, 1e-17));
  agree(run(summed(a)), run(6 * a), 1e-15);
  const std::vector<double> ones(6, 1.0);
  agree(run(weighted(a, ones)), run(a), 0);

  const Result nothing = run(0.0 * with_score(Dpo{}, ForwardKl{}) + 0.0 * c);
  CHECK(nothing.value == 0);
  for (const double g : nothing.gradient) CHECK(g == 0);
}

TEST_CASE("Zero times a huge loss is zero") {
  const double q[] = {-800}, r[] = {0}, rejected[] = {-1};
  const PairBatch<double> in{q, rejected, r, rejected};
  CHECK(evaluate(with_score(ExponentialDpo{.beta = 1}, LogRatio{}), in).value > 1e300);
  const auto [value, d_chosen, d_rejected] = evaluate(0.0 * with_score(ExponentialDpo{.beta = 1}, LogRatio{}), in);
  CHECK(value == 0);
  CHECK(d_chosen[0] == 0);
  CHECK(d_rejected[0] == 0);
}

namespace other_library {
struct OwnLoss {  // a user's own, in the user's own namespace
  double slope = 1;
  static constexpr Column needs = Column::none;
  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    const scalar_t<T> s(slope);
    return {s * (p.rejected - p.chosen), T{} - s, T{} + s};
  }
};
using valence::operator+;
using valence::operator*;
double both(const PairBatch<double>& in) { return evaluate(0.5 * OwnLoss{2} + Sft{}, in).value; }
}  // namespace other_library

TEST_CASE("A user's own loss joins the algebra") {
  const double q[] = {-1, -2}, r[] = {-4, -3};
  CHECK(other_library::both({q, r}) == 0.5 * 2 * -2 + 1.5);
}
