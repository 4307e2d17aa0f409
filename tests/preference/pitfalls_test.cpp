#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "preference/cases.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/preference.hpp"

// One test for each fault that a real library shipped. Numbers are given to nine digits.
using namespace valence;
using namespace valence::test;

namespace {

constexpr double nine = 1e-8;

/// A pair with these log-ratios to a reference at (-10, -5).
Pair<double> ratios(double chosen, double rejected) {
  return {.chosen = -10 + chosen, .rejected = -5 + rejected, .ref_chosen = -10, .ref_rejected = -5};
}

template <class L>
concept HasLabelSmoothing = requires(L loss) { loss.label_smoothing; };
template <class L, class Score>
concept TakesScore = requires(L loss, Score score) { with_score(loss, score); };

/// One pair, as columns.
struct OnePair {
  std::array<double, 6> c;
  explicit OnePair(const Pair<double>& p)
      : c{p.chosen, p.rejected, p.ref_chosen, p.ref_rejected, p.chosen_length, p.rejected_length} {}
  PairBatch<double> view() const {
    const std::span<const double> s(c);
    return {s.subspan(0, 1), s.subspan(1, 1), s.subspan(2, 1), s.subspan(3, 1), s.subspan(4, 1), s.subspan(5, 1)};
  }
};

}  // namespace

TEST_CASE("IPO on sums is Ipo, on means IpoAveraged; lengths present change nothing in the former", "[P1]") {
  const Pair<double> p{
      .chosen = -8, .rejected = -6, .ref_chosen = -10, .ref_rejected = -5, .chosen_length = 4, .rejected_length = 2};
  CHECK(Ipo{.beta = 0.1}(p).value == close(4.0));
  CHECK(IpoAveraged{.beta = 0.1}(p).value == close(16.0));
  const OnePair one(p);
  PairBatch<double> without = one.view();
  without.chosen_length = without.rejected_length = {};
  CHECK(evaluate(Ipo{.beta = 0.1}, one.view()).value == evaluate(Ipo{.beta = 0.1}, without).value);
  CHECK(says(message_of([&] { evaluate(IpoAveraged{}, without); }), "IpoAveraged", "chosen_length is missing"));
}

TEST_CASE("The length counts the tokens that are scored", "[P2]") {
  const double tokens[] = {0.5, 0.25, 0.5};
  const bool scored[] = {true, false, true};
  const ScoredSequence chosen = sequence_log_prob(std::span<const double>(tokens), std::span<const bool>(scored));
  CHECK(chosen.sum == 1);
  CHECK(chosen.length == 2);
  CHECK(chosen.mean() == 0.5);
  Pair<double> p{.chosen = chosen.sum, .rejected = 0, .chosen_length = static_cast<double>(chosen.length)};
  CHECK(IpoAveraged{.beta = 1}(p).value == 0);
  p.chosen_length = 3;
  CHECK(IpoAveraged{.beta = 1}(p).value == close(0.0277778, 1e-6));  // what the faulty divisor gives
}

TEST_CASE("Each loss name reaches its own loss", "[P3]") {
  const OnePair pair(ratios(4, -2));
  const auto by_name = [&](std::string_view name) {
    const auto e = evaluate(pair_loss(name, {{"beta", 0.1}}), pair.view());
    return std::array{e.value, e.d_chosen[0]};
  };
  CHECK(by_name("dpo")[0] == close(0.43748795, nine));
  CHECK(by_name("dpo")[1] == close(-0.0354343694, nine));
  CHECK(by_name("hinge")[0] == close(0.4, nine));
  CHECK(by_name("hinge")[1] == close(-0.1, nine));
  CHECK(by_name("ipo")[0] == close(1, nine));
  CHECK(by_name("ipo")[1] == close(2, nine));
  CHECK_THROWS_AS(by_name("hing"), Error);
}

TEST_CASE("A sum does not hand one loss's normalisation to the other", "[P4]") {
  const Pair<double> p{
      .chosen = -8, .rejected = -6, .ref_chosen = -10, .ref_rejected = -5, .chosen_length = 4, .rejected_length = 2};
  const OnePair one(p);
  const Dpo dpo{.beta = 0.1};
  const IpoAveraged ipo{.beta = 0.1};
  const auto sum = evaluate(dpo + ipo, one.view());
  const auto a = evaluate(dpo, one.view()), b = evaluate(ipo, one.view());
  CHECK(sum.value == a.value + b.value);
  CHECK(sum.d_chosen[0] == a.d_chosen[0] + b.d_chosen[0]);
  CHECK(sum.d_rejected[0] == a.d_rejected[0] + b.d_rejected[0]);
  const auto scaled = evaluate(0.3 * dpo, one.view());
  CHECK(scaled.value == 0.3 * a.value);
  CHECK(scaled.d_chosen[0] == 0.3 * a.d_chosen[0]);
  CHECK(scaled.d_rejected[0] == 0.3 * a.d_rejected[0]);
  const GoldenColumns<double> many;  // and for a mean over several pairs, whose rounding is the loss's own
  CHECK(evaluate(0.3 * dpo, many.view()).value == 0.3 * evaluate(dpo, many.view()).value);
}

TEST_CASE("Label smoothing is in the losses that have it, and nowhere else", "[P5]") {
  const Pair<double> p = ratios(4, -2);
  CHECK(Cdpo{.beta = 0.1, .label_smoothing = 0.1}(p).value == close(0.49748795, nine));
  CHECK(RobustDpo{.beta = 0.1, .label_smoothing = 0.1}(p).value == close(0.36248795, nine));
  CHECK(says(message_of([&] { evaluate(RobustDpo{.label_smoothing = 0.5}, OnePair(p).view()); }), "RobustDpo",
             "label_smoothing is 0.5"));
  STATIC_REQUIRE(!HasLabelSmoothing<Ipo>);  // the attempt does not compile
}

namespace {

/// beta 0.1, log-ratio 3, and reference estimates of this mean.
struct KtoCase {
  std::vector<double> q{-7}, r{-10}, kl, kl_ref;
  std::array<bool, 1> desirable{true};
  PreferenceBatch<double> view() const {
    return {.unpaired = {.log_prob = q, .ref_log_prob = r, .desirable = desirable},
            .kl = {.log_prob = kl, .ref_log_prob = kl_ref}};
  }
};

}  // namespace

TEST_CASE("KTO without reference pairs throws and says so; one group alone is fine", "[P6]") {
  KtoCase data;
  CHECK(says(message_of([&] { evaluate(Kto{}, data.view()); }), "Kto", "kl.log_prob is empty", "mismatched"));
  data.kl = {-3}, data.kl_ref = {-2};
  CHECK(std::isfinite(evaluate(Kto{}, data.view()).value));
  data.desirable[0] = false;
  CHECK(std::isfinite(evaluate(Kto{}, data.view()).value));
}

TEST_CASE("The mismatched pairing is a permutation without a fixed point", "[P7]") {
  for (std::size_t n = 2; n <= 9; ++n) {
    const auto other = mismatched_pairing(n);
    std::vector<int> seen(n, 0);
    for (std::size_t i = 0; i < n; ++i) {
      CHECK(other[i] != i);
      ++seen[other[i]];
    }
    for (const int times : seen) CHECK(times == 1);
  }
  CHECK(says(message_of([] { mismatched_pairing(1); }), "n is 1"));
}

TEST_CASE("KL estimates of several batches are averaged", "[P8]") {
  double sum = 0;
  for (const double estimate : {2.0, 8.0, 4.0, 6.0}) {
    const double q[] = {-1 + estimate - 1, -2 + estimate + 1}, r[] = {-1, -2};
    sum += kl_estimate(SingleBatch<double>{.log_prob = q, .ref_log_prob = r});
  }
  const double mean = sum / 4;
  CHECK(mean == 5);
  KtoCase data;
  data.kl = {0}, data.kl_ref = {-5};
  CHECK(evaluate(KtoAt{.kl = mean}, data.view()).value == evaluate(Kto{}, data.view()).value);
}

TEST_CASE("KTO's reference point is held at zero and is a constant", "[P9]") {
  KtoCase data;
  data.kl = {-4, -6}, data.kl_ref = {-1, -5};  // mean -2
  CHECK(evaluate(Kto{.beta = 0.1}, data.view()).value == close(0.425557483, nine));
  data.desirable[0] = false;
  CHECK(evaluate(Kto{.beta = 0.1}, data.view()).value == close(0.574442517, nine));
  // No gradient for the reference pairs exists: PreferenceGradient has no place for one. What it has for the responses
  // is that of a constant reference point, also where it comes from responses of the same model.
  data.desirable[0] = true, data.kl = {-4}, data.kl_ref = {-6};
  std::vector<double> d(1, 0.0);
  evaluate(Kto{.beta = 0.1}, data.view(), {.unpaired = d});
  const double s = 1 / (1 + std::exp(0.1 * (3 - 2)));
  CHECK(d[0] == close(-0.1 * s * (1 - s)));
}

TEST_CASE("The log-odds of confident answers are finite, in float too; certainty is refused", "[P10]") {
  CHECK(log1mexp(-1e-8) == close(-18.4206807, nine));
  CHECK(double(log1mexp(-1e-8f)) == close(-18.4206807, 1e-6));
  CHECK(log1mexp(-1e-10) == close(-23.0258509, nine));
  CHECK(log1mexp(-1e-17) == close(-39.1439466, nine));
  CHECK(log1mexp(-800.0) == 0);
  for (const double m : {-1e-8, -1e-6, -0.5}) {
    const auto odds = LogOdds{}(m, 0.0, 1.0);
    CHECK(odds.value == close(m - log1mexp(m)));
    // Relative step: the function changes on the scale of its argument.
    const double h = 1e-4 * m;
    const double numeric = (LogOdds{}(m + h, 0.0, 1.0).value - LogOdds{}(m - h, 0.0, 1.0).value) / ((m + h) - (m - h));
    CHECK(odds.slope == close(numeric, 1e-6));
    const auto in_float = LogOdds{}(float(m), 0.0f, 1.0f);
    CHECK(double(in_float.value) == close(odds.value, 1e-6, 1e-6));
    CHECK(double(in_float.slope) == close(odds.slope, 1e-5));
  }
  Pair<double> p{.chosen = 0, .rejected = -1};
  const OnePair certain(p);
  CHECK(
      says(message_of([&] { evaluate(OddsRatio{}, certain.view()); }), "OddsRatio", "chosen[0] is 0", "infinite odds"));
  CHECK(says(message_of([&] { evaluate(orpo(), certain.view()); }), "chosen[0] is 0"));
  CHECK(std::isfinite(LogOdds{}(0.0, 0.0, 1.0).value));  // the bare function is held at -1e-12
}

TEST_CASE("The log-odds carry no stabilising constant", "[P11]") {
  CHECK(LogOdds{}(-0.01, 0.0, 1.0).value == close(4.60016602, nine));
}

TEST_CASE("No clamp acts where the numbers are still good", "[P12]") {
  // The one clamp of the log-odds, at -1e-12, is documented; just above it they follow their argument, in float and
  // double.
  CHECK(LogOdds{}(-2e-12, 0.0, 1.0).value == close(-std::log(2e-12)));
  CHECK(double(LogOdds{}(-2e-12f, 0.0f, 1.0f).value) == close(-std::log(2e-12), 1e-6));
  CHECK(double(LogOdds{}(-1e-8f, 0.0f, 1.0f).value) == close(18.4206807, 1e-6));
  CHECK(LogisticLink{}(700.0).value == close(std::exp(-700.0)));  // no floor under a probability
  CHECK(double(LogisticLink{}(85.0f).value) == close(std::exp(-85.0), 1e-5));
}

TEST_CASE("The logistic loss is stable", "[P13]") {
  CHECK(LogisticLink{}(-1000.0).value == 1000);
  CHECK(LogisticLink{}(1000.0).value == 0);
  CHECK(LogisticLink{}(1000.0).slope == 0);
  CHECK(LogisticLink{}(40.0).value == close(4.24835426e-18, nine));
  for (double z = -1000; z <= 1000; z += 0.5) {
    const auto l = LogisticLink{}(z);
    if (!(std::isfinite(l.value) && std::isfinite(l.slope))) FAIL(z);
  }
}

TEST_CASE("RPO's likelihood term pulls the chosen up and leaves the rejected alone", "[P14]") {
  Pair<double> p = ratios(4, -2);
  const auto loss = rpo({.beta = 0.1, .eta = 0.5});
  const double before = loss(p).value, rejected = loss(p).d_rejected;
  CHECK(rejected == Dpo{.beta = 0.1}(p).d_rejected);
  p.chosen -= 1e-6;
  CHECK(loss(p).value > before);
}

TEST_CASE("RPO's coefficient stands on the likelihood term", "[P15]") {
  const Pair<double> p{.chosen = -2, .rejected = -5, .ref_chosen = -6, .ref_rejected = -3};  // margin 6, chosen NLL 2
  CHECK(rpo({.beta = 0.1, .eta = 0.5})(p).value == close(1.43748795, nine));
  CHECK(std::abs(rpo({.beta = 0.1, .eta = 0.5})(p).value - 2.21874398) > 0.5);
}

TEST_CASE("APO-down takes the log-ratio in both terms and has no divergence option", "[P16]") {
  CHECK(ApoDown{.beta = 0.1}(ratios(2, -1)).value == close(0.975391481, nine));
  STATIC_REQUIRE(!TakesScore<ApoDown, ForwardKl>);
}

TEST_CASE("DPO-Positive's penalty is inside the log-sigmoid and punishes", "[P17]") {
  const DpoPositive loss{.beta = 0.1, .lambda = 5};
  const Pair<double> p = ratios(-2, -8);  // margin 6, chosen 2 below the reference
  CHECK(loss(p).value == close(0.913015252, nine));
  CHECK(loss(ratios(-2.1, -8.1)).value > loss(p).value);
  CHECK(loss(ratios(2, -4)).value == Dpo{.beta = 0.1}(ratios(2, -4)).value);
}

TEST_CASE("Prompt tokens do not count, in the chosen and in the rejected", "[P18]") {
  std::vector<double> chosen{-3, -1, -0.5, -0.25}, rejected{-2, -4, -1.5};
  const auto loss = [&] {
    const auto c = completion_log_prob(std::span<const double>(chosen), 2);
    const auto r = completion_log_prob(std::span<const double>(rejected), 2);
    const Pair<double> p{.chosen = c.sum, .rejected = r.sum, .ref_chosen = -1, .ref_rejected = -1};
    return Dpo{}(p).value;
  };
  const double before = loss();
  chosen[1] = -9;
  CHECK(loss() == before);
  rejected[0] = -9;
  CHECK(loss() == before);
  rejected[2] = -9;
  CHECK(loss() != before);
  const std::array<bool, 3> mask{false, false, true};
  CHECK(sequence_log_prob(std::span<const double>(rejected), std::span<const bool>(mask)).sum == -9);
  CHECK(says(message_of([&] { sequence_log_prob(std::span<const double>(chosen), std::span<const bool>(mask)); }),
             "scored has 3 entries", "expected 4"));
  CHECK(says(message_of([&] { completion_log_prob(std::span<const double>(chosen), 4); }), "prompt_length is 4"));
}

TEST_CASE("Masks select: padding is not read and not counted", "[P19]") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> tokens{-1, -2, nan, nan};
  const std::array<bool, 4> mask{true, true};
  const auto padded = sequence_log_prob(std::span<const double>(tokens), std::span<const bool>(mask));
  CHECK(padded.sum == -3);
  CHECK(padded.mean() == -1.5);
  const auto bare = sequence_log_prob(std::span<const double>(tokens).first(2), std::span<const bool>(mask).first(2));
  CHECK(bare.sum == padded.sum);
  CHECK(bare.length == padded.length);
  const std::array<bool, 4> inverted{false, false, true, true}, none{};
  CHECK(says(message_of([&] { sequence_log_prob(std::span<const double>(tokens), std::span<const bool>(inverted)); }),
             "tokens[2] is nan"));
  CHECK(says(message_of([&] { sequence_log_prob(std::span<const double>(tokens), std::span<const bool>(none)); }),
             "none of 4 tokens"));
  std::vector<double> d{1, 1, nan, 1};
  add_token_gradient<double>(mask, -0.5, d);
  CHECK(d[0] == 0.5);
  CHECK(d[1] == 0.5);
  CHECK(std::isnan(d[2]));
  CHECK(d[3] == 1);
}

TEST_CASE("The KL's name says which argument is sampled from", "[P20]") {
  const double p[] = {0.5, 0.5}, q[] = {0.9, 0.1};
  const std::span<const double> a(p), b(q);
  CHECK(kl_sampled_from_first(a, b) == close(0.510825624, nine));
  CHECK(kl_sampled_from_first(b, a) == close(0.368064207, nine));
  const double certain[] = {1, 0};
  CHECK(kl_sampled_from_first(std::span<const double>(certain), a) == close(std::log(2.0)));
  CHECK(std::isinf(kl_sampled_from_first(a, std::span<const double>(certain))));
}

TEST_CASE("f-divergences of whole sequences do not overflow in silence", "[P21]") {
  for (const double u : {-800.0, 800.0}) {
    const Pair<double> p{.chosen = -1000 + u, .rejected = -5, .ref_chosen = -1000, .ref_rejected = -5};
    const Pair<float> f{.chosen = float(p.chosen), .rejected = -5, .ref_chosen = -1000, .ref_rejected = -5};
    for (const char* name : {"sigmoid+forward_kl", "sigmoid+js_divergence", "sigmoid+alpha_divergence(0.5)", "discopop",
                             "exponential", "discopop 2"}) {
      CAPTURE(u, name);
      const auto l = pair_case(name).one(p);
      const auto in_float = pair_case(name).one_float(f);
      CHECK(std::isfinite(l.value));
      CHECK(std::isfinite(l.d_chosen));
      CHECK(std::isfinite(l.d_rejected));
      CHECK(std::isfinite(in_float.value));
      CHECK(std::isfinite(in_float.d_chosen));
      CHECK(std::isfinite(in_float.d_rejected));
    }
  }
  const double q[] = {-1e200}, r[] = {0};  // a square beyond the type's range is an error
  CHECK(says(message_of([&] { evaluate(Ipo{}, PairBatch<double>{q, r, r, r}); }), "Ipo", "overflow"));
}

TEST_CASE("Swapped columns are seen: accuracy 1 becomes 0, a tie counts one half", "[P22]") {
  const std::vector<double> high{-1, -2, -3}, low{-4, -3, -5}, ref{-3, -3, -3};
  const PairBatch<double> right{high, low, ref, ref}, swapped{low, high, ref, ref};
  CHECK(reward_metrics(right, 0.1).accuracy == 1);
  CHECK(reward_metrics(swapped, 0.1).accuracy == 0);
  CHECK(reward_metrics(PairBatch<double>{high, high, ref, ref}, 0.1).accuracy == 0.5);
  const auto m = reward_metrics(right, 0.5);
  CHECK(m.chosen == close(0.5));
  CHECK(m.rejected == close(-0.5));
  CHECK(m.margin == close(1.0));
  CHECK(reward_metrics(swapped, 0.5).margin == close(-1.0));
  const auto a = evaluate(Dpo{}, right), b = evaluate(Dpo{}, swapped);
  CHECK(a.d_chosen[0] < 0);
  CHECK(a.d_rejected[0] > 0);
  CHECK(b.d_chosen[0] < 0);  // the response that now stands in the chosen column is the one pushed up
  CHECK(says(message_of([&] { reward_metrics(PairBatch<double>{high, low}, 0.1); }), "ref_chosen is missing"));
}

TEST_CASE("At the reference the loss is log 2 and its gradient -beta/2, exactly opposite", "[P23]") {
  const double q[] = {-7.3, -0.2, -51}, r[] = {-2.9, -90, -0.01};
  const auto [value, d_chosen, d_rejected] = evaluate(Dpo{.beta = 0.1}, PairBatch<double>{q, r, q, r});
  CHECK(value == close(std::log(2.0), 1e-15));
  for (int i = 0; i < 3; ++i) {
    CHECK(d_chosen[i] * 3 == close(-0.05, 1e-15));
    CHECK(d_rejected[i] == -d_chosen[i]);
  }
  const Pair<double> p{.chosen = -7.3, .rejected = -2.9, .ref_chosen = -7.3, .ref_rejected = -2.9};
  CHECK(Dpo{.beta = 0.1}(p).value == close(0.693147181, nine));
  CHECK(Dpo{.beta = 0.1}(p).d_chosen == -0.05);
}

TEST_CASE("One step down each loss's gradient raises what should rise") {
  const Pair<double> p{.chosen = -2, .rejected = -2.5, .ref_chosen = -2.25, .ref_rejected = -2.5, .p_chosen = 0.9};
  for (const PairCase& c : pair_cases()) {
    if (c.name == "sum") continue;
    CAPTURE(c.name);
    const auto l = c.one(p);
    // DiscoPOP is not monotone around 0, where its slope is positive; APO-down lowers the chosen by design.
    if (c.name.starts_with("discopop") || c.name == "apo_down") continue;
    CHECK(l.d_chosen < 0);
    CHECK(l.d_rejected >= 0);
  }
  CHECK(ApoDown{}(p).d_rejected > 0);
}
