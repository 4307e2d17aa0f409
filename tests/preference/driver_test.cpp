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

}  // namespace

namespace {

/// n pairs with weights, some of them zero.
template <class S>
struct Columns {
  std::vector<S> c[8];
  explicit Columns(std::size_t n, Rng& rng) {
    for (std::size_t i = 0; i < n; ++i) {
      const Pair<double> p = random_pair(rng);
      const double weight = rng.below(4u) == 0 ? 0 : rng.uniform();
      const double row[] = {p.chosen,        p.rejected,        p.ref_chosen, p.ref_rejected,
                            p.chosen_length, p.rejected_length, p.p_chosen,   weight};
      for (std::size_t k = 0; k < 8; ++k) c[k].push_back(static_cast<S>(row[k]));
    }
  }
  PairBatch<S> view() const { return {c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]}; }
  Pair<S> pair(std::size_t i) const { return {c[0][i], c[1][i], c[2][i], c[3][i], c[4][i], c[5][i], c[6][i]}; }
};

template <class S>
void lanes_equal_scalars(const PairCase& c, std::size_t n, Rng& rng) {
  const Columns<S> columns(n, rng);
  const PairBatch<S> in = columns.view();
  std::vector<S> d_chosen(n, S(0)), d_rejected(n, S(0));
  double value = 0, expected_value = 0;
  const auto one = [&](std::size_t i) {
    if constexpr (sizeof(S) == 4)
      return c.one_float(columns.pair(i));
    else
      return c.one(columns.pair(i));
  };
  if constexpr (sizeof(S) == 4)
    value = c.accumulate_float({.pairs = in}, {d_chosen, d_rejected}, 1.0);
  else
    value = c.accumulate({.pairs = in}, {d_chosen, d_rejected}, 1.0);
  const S scale = S(1 / static_cast<double>(n));
  for (std::size_t i = 0; i < n; ++i) {
    const PairLoss<S> l = one(i);
    const S factor = scale * in.weight[i];
    CAPTURE(i);
    if (!same_bits(d_chosen[i], S(0) + factor * l.d_chosen)) CHECK(d_chosen[i] == factor * l.d_chosen);
    if (!same_bits(d_rejected[i], S(0) + factor * l.d_rejected)) CHECK(d_rejected[i] == factor * l.d_rejected);
    expected_value += static_cast<double>(l.value) * static_cast<double>(in.weight[i]);
  }
  CHECK(value == close(expected_value / static_cast<double>(n), 1e-6, 1e-6));
  if constexpr (sizeof(S) == 8) {
    CHECK(value == close(expected_value / static_cast<double>(n), 1e-13, 1e-13));
    std::vector<double> values(n), overwritten(n, std::numeric_limits<double>::quiet_NaN()), second = overwritten;
    c.values(in, values);
    const double again = c.evaluate({.pairs = in}, {overwritten, second});
    CHECK(again == close(value, 1e-15, 1e-16));
    for (std::size_t i = 0; i < n; ++i) {
      CAPTURE(i);
      if (!same_bits(values[i], one(i).value)) CHECK(values[i] == one(i).value);
      if (overwritten[i] != d_chosen[i] || second[i] != d_rejected[i]) CHECK(overwritten[i] == d_chosen[i]);
    }
  }
}

}  // namespace

TEST_CASE("Lanes and scalars agree to the bit for every loss, any number of pairs, and poisoned results", "[N6]") {
  Rng rng{11};
  for (const PairCase& c : pair_cases()) {
    if (c.name == "orpo_or") continue;  // a multiple: its factor is taken into the scale, once (see "odds_ratio")
    CAPTURE(c.name);
    for (const std::size_t n :
         {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 9u, 10u, 11u, 12u, 13u, 14u, 15u, 16u, 17u, 33u, 1025u}) {
      CAPTURE(n);
      lanes_equal_scalars<double>(c, n, rng);
      lanes_equal_scalars<float>(c, n, rng);
    }
  }
}

TEST_CASE("Accumulating adds to what is there, and only what is asked for") {
  const GoldenColumns<double> columns;
  std::vector<double> chosen(6, 1.0), alone(6, 0.0);
  accumulate(Dpo{.beta = 0.5}, columns.view(), {.chosen = alone}, -2);
  accumulate(Dpo{.beta = 0.5}, columns.view(), {.chosen = chosen}, -2);
  for (std::size_t i = 0; i < 6; ++i) CHECK(chosen[i] == close(1 + alone[i], 1e-15));
  CHECK(accumulate(Dpo{.beta = 0.5}, columns.view(), {}, -2) == close(-2 * 0.6406589382612));
}

TEST_CASE("Large sums are kept in double") {
  const std::size_t n = std::size_t(1) << 20;
  const std::vector<float> q(n, -0.1f), r(n, -0.2f);
  const double each = static_cast<double>(LogisticLink{}(0.1f * (-0.1f - -0.2f)).value);
  CHECK(evaluate(Dpo{}, PairBatch<float>{q, r, q, q}).value == close(each, 1e-6));  // a float sum is off by 1e-3
}

TEST_CASE("Losses allocate nothing in steady state") {
  const GoldenColumns<double> columns;
  const PreferenceBatch<double> in{.pairs = columns.view()};
  std::vector<double> chosen(6), rejected(6), unpaired(6);
  const std::array<bool, 6> desirable{true, false, true};
  const PreferenceBatch<double> single{
      .unpaired = {.log_prob = columns.chosen, .ref_log_prob = columns.ref_chosen, .desirable = desirable},
      .kl = {.log_prob = columns.rejected, .ref_log_prob = columns.ref_rejected}};
  const auto all = [&] {
    for (const PairCase& c : pair_cases()) c.accumulate(in, {chosen, rejected}, 0.5);
    accumulate(Aot{}, in, {chosen, rejected});
    accumulate(AotUnpaired{}, in, {chosen, rejected});
    accumulate(KtoPair{}, in, {chosen, rejected});
    accumulate(mpo(), in, {chosen, rejected});
    accumulate(Kto{}, single, {.unpaired = unpaired});
    accumulate(Bco{}, single, {.unpaired = unpaired});
    evaluate(Dpo{}, in, {chosen, rejected});
  };
  all();
  Allocations allocations;
  all();
  CHECK(allocations.count() == 0);
}

TEST_CASE("Losses of a batch have the gradient of their value") {
  Rng rng{12};
  Columns<double> columns(7, rng);
  for (double& w : columns.c[7]) w += 0.1;
  for (std::size_t i = 0; i < 7; ++i) columns.c[2][i] = columns.c[0][i] + 0.1 + rng.uniform();  // mean log-ratios < 0:
  for (std::size_t i = 0; i < 7; ++i) columns.c[3][i] = columns.c[1][i] + 0.1 + rng.uniform();  // kto_pair's KL is held
  const std::array<bool, 7> desirable{true, false, false, true, true, false, true};
  const std::vector<double> kl{-3, -4.5}, kl_ref{-4, -4.25};
  // x: policy log-probabilities of chosen, rejected, unpaired and base, one after the other.
  std::vector<double> x(columns.c[0]);
  x.insert(x.end(), columns.c[1].begin(), columns.c[1].end());
  for (const std::size_t k : {2u, 3u}) x.insert(x.end(), columns.c[k].begin(), columns.c[k].end());
  const auto check = [&](const char* name, const auto& loss, bool weights = true) {
    const auto batch = [&](std::span<const double> at) {
      PreferenceBatch<double> in{.pairs = columns.view()};
      in.pairs.chosen = at.subspan(0, 7), in.pairs.rejected = at.subspan(7, 7);
      in.unpaired = {
          .log_prob = at.subspan(14, 7), .ref_log_prob = columns.c[0], .weight = columns.c[7], .desirable = desirable};
      in.base = {.log_prob = at.subspan(21, 7), .length = columns.c[4], .weight = columns.c[7]};
      in.kl = {.log_prob = kl, .ref_log_prob = kl_ref};
      if (!weights) in.pairs.weight = {};
      return in;
    };
    std::vector<double> g(28, 0.0);
    std::span<double> all(g);
    const double value =
        accumulate(loss, batch(x), {all.subspan(0, 7), all.subspan(7, 7), all.subspan(14, 7), all.subspan(21, 7)}, 0.5);
    CAPTURE(name);
    CHECK(value == close(0.5 * evaluate(loss, batch(x)).value, 1e-14));
    CHECK(gradient_matches([&](std::span<const double> at) { return 0.5 * evaluate(loss, batch(at)).value; }, x, g,
                           {.relative = 1e-7, .absolute = 1e-10, .step = 1e-4}));
    CHECK(std::any_of(g.begin(), g.end(), [](double d) { return d != 0; }));
  };
  check("aot", Aot{.beta = 0.5, .label_smoothing = 0.1}, false);
  check("aot_unpaired", AotUnpaired{.beta = 0.5, .label_smoothing = 0.1}, false);
  check("kto", Kto{.beta = 0.5, .desirable_weight = 1.5, .undesirable_weight = 0.75});
  check("kto at", KtoAt{.kl = -1, .beta = 0.5});
  check("apo_zero_unpaired", ApoZeroUnpaired{.beta = 0.5});
  check("kto_pair", KtoPair{.beta = 0.5});
  check("bco", Bco{.beta = 0.5, .delta = 0.25});
  check("batch token mean", BatchTokenMeanSft{});
  check("base", BaseSft{});
  check("base token mean", BaseSft{SftReduction::token_mean});
  check("base batch token mean", BaseSft{SftReduction::batch_token_mean});
  check("mixed", mpo() + 0.5 * Kto{} - 0.25 * LogProbMean{} + summed(Sft{}));
  check("weighted", weighted(Dpo{.beta = 0.5}, columns.c[4]) + 2 * Sft{});
}

TEST_CASE("AOT on one pair is cDPO, and on a batch of its own order too") {
  const double q[] = {-3}, l[] = {-4}, rq[] = {-3.5}, rl[] = {-3};
  const PairBatch<double> one{q, l, rq, rl};
  CHECK(evaluate(Aot{.beta = 0.5, .label_smoothing = 0.1}, one).value ==
        evaluate(Cdpo{.beta = 0.5, .label_smoothing = 0.1}, one).value);
  CHECK(evaluate(AotUnpaired{.beta = 0.5, .label_smoothing = 0.1}, one).value ==
        evaluate(Cdpo{.beta = 0.5, .label_smoothing = 0.1}, one).value);
}

// ---------------------------------------------------------------- honest options

TEST_CASE("Every option of every pointwise loss changes its result", "[P5]") {
  const GoldenColumns<double> columns;
  std::size_t options = 0;
  for (const PairCase& c : pair_cases()) {
    for (const auto& [field, changed] : c.changed) {
      CAPTURE(c.name, field);
      bool differs = false;
      for (std::size_t i = 0; i < 6; ++i) {
        Pair<double> p{columns.chosen[i],
                       columns.rejected[i],
                       columns.ref_chosen[i],
                       columns.ref_rejected[i],
                       columns.chosen_length[i],
                       columns.rejected_length[i],
                       0.7};
        p.ref_chosen += 0.75;  // DPO-Positive's penalty acts below the reference
        const auto a = c.one(p), b = changed(p);
        differs = differs || a.value != b.value || a.d_chosen != b.d_chosen || a.d_rejected != b.d_rejected;
      }
      CHECK(differs);
      ++options;
    }
  }
  CHECK(options > 60);
}

TEST_CASE("Every option of every loss by name changes its result or throws", "[P5]") {
  const GoldenColumns<double> columns;
  std::vector<double> q(columns.chosen), l(columns.rejected), kl(columns.rejected), kl_ref(columns.ref_rejected);
  const std::array<bool, 6> desirable{true, false, false, true};
  PreferenceBatch<double> in{
      .pairs = columns.view(),
      .unpaired = {.log_prob = columns.chosen, .ref_log_prob = columns.ref_chosen, .desirable = desirable},
      .base = {.log_prob = columns.rejected, .length = columns.rejected_length},
      .kl = {.log_prob = columns.ref_chosen, .ref_log_prob = columns.chosen}};
  in.pairs.ref_chosen = columns.ref_rejected;  // some chosen are below their reference
  const auto result = [&](const AnyLoss<double>& loss) {
    const auto r = evaluate(loss, in);
    double sum = r.value;
    for (int i = 0; i < 6; ++i)
      sum += (i + 2) * (std::sin(r.d_chosen[i]) + 2 * std::sin(r.d_rejected[i]) + 3 * std::sin(r.d_unpaired[i]));
    return sum;
  };
  std::size_t options = 0;
  for (const std::string& name : other_losses())
    for (const auto& [field, value] : other_loss_options(name)) {
      CAPTURE(name, field);
      CHECK(result(other_loss(name, {{field, value + 0.03125}})) != result(other_loss(name)));
      ++options;
    }
  CHECK(options == 32);
}

namespace {
template <class L, class Score>
concept TakesScore = requires(L loss, Score score) { with_score(loss, score); };
template <class L>
concept HasLabelSmoothing = requires(L loss) { loss.label_smoothing; };
}  // namespace

TEST_CASE("Options that a loss does not have do not compile", "[P5]") {
  STATIC_REQUIRE(TakesScore<Dpo, ForwardKl>);
  STATIC_REQUIRE(TakesScore<Ipo, JsDivergence>);
  STATIC_REQUIRE(TakesScore<NcaPair, JsDivergence>);
  STATIC_REQUIRE(!TakesScore<ApoDown, ForwardKl>);
  STATIC_REQUIRE(!TakesScore<ApoZero, ForwardKl>);
  STATIC_REQUIRE(!TakesScore<IpoAveraged, ForwardKl>);
  STATIC_REQUIRE(!TakesScore<SimPo, LogRatio>);
  STATIC_REQUIRE(!TakesScore<Aot, ForwardKl>);
  STATIC_REQUIRE(!HasLabelSmoothing<Ipo> && !HasLabelSmoothing<IpoAveraged> && !HasLabelSmoothing<Dpo>);
  STATIC_REQUIRE(HasLabelSmoothing<Cdpo> && HasLabelSmoothing<RobustDpo> && HasLabelSmoothing<SimPo>);
}

// ---------------------------------------------------------------- bad input

TEST_CASE("Bad data is refused with the loss, the column, the entry and the value, and nothing is changed") {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  GoldenColumns<double> good;
  std::vector<double> weight(6, 1.0), chosen(6, 7.0), rejected(6, 7.0);
  // Whatever is done to the batch, the loss's message has these parts.
  const auto refuses = [&](const auto& loss, const auto& spoil, const auto&... parts) {
    GoldenColumns<double> columns = good;
    std::vector<double> w = weight;
    PairBatch<double> in;
    const auto view = [&] {
      in = columns.view();
      in.weight = w;
    };
    view();
    spoil(columns, w);
    view();
    const std::string message = message_of([&] { accumulate(loss, in, {chosen, rejected}); });
    CHECK(says(message, parts...));
    for (const double g : chosen) CHECK(g == 7);
    for (const double g : rejected) CHECK(g == 7);
    CHECK_THROWS_AS(accumulate(loss, in, {chosen, rejected}), Error);
  };
  using C = GoldenColumns<double>;
  using V = std::vector<double>;
  const auto all = Dpo{} + IpoAveraged{} + SoftDpo{};
  refuses(
      Dpo{}, [&](C& c, V&) { c.chosen[3] = nan; }, "Dpo", "chosen[3]", "nan");
  refuses(
      Dpo{}, [&](C& c, V&) { c.rejected[5] = -inf; }, "Dpo", "rejected[5]", "-inf");
  refuses(
      Dpo{}, [&](C& c, V&) { c.ref_chosen[0] = inf; }, "Dpo", "ref_chosen[0]", "inf");
  refuses(
      Dpo{}, [&](C& c, V&) { c.ref_rejected[1] = nan; }, "Dpo", "ref_rejected[1]", "nan");
  refuses(
      Dpo{}, [&](C& c, V&) { c.rejected.pop_back(); }, "Dpo", "rejected has 5 entries", "expected 6");
  refuses(
      Dpo{}, [&](C& c, V&) { c.ref_chosen.clear(); }, "Dpo", "ref_chosen is missing");
  refuses(
      Dpo{}, [&](C& c, V&) { c.chosen_length.pop_back(); }, "Dpo", "chosen_length has 5");
  refuses(
      Dpo{}, [&](C&, V& w) { w[2] = -0.5; }, "Dpo", "weight[2]", "-0.5");
  refuses(
      Dpo{}, [&](C&, V& w) { w[2] = nan; }, "Dpo", "weight[2]", "nan");
  refuses(
      Dpo{}, [&](C&, V& w) { w.pop_back(); }, "Dpo", "weight has 5");
  refuses(
      IpoAveraged{}, [&](C& c, V&) { c.chosen_length[1] = 0; }, "IpoAveraged", "chosen_length[1] is 0");
  refuses(
      IpoAveraged{}, [&](C& c, V&) { c.rejected_length[4] = 2.5; }, "IpoAveraged", "rejected_length[4] is 2.5");
  refuses(
      IpoAveraged{}, [&](C& c, V&) { c.rejected_length[4] = nan; }, "IpoAveraged", "rejected_length[4] is nan");
  refuses(
      IpoAveraged{}, [&](C& c, V&) { c.chosen_length.clear(); }, "IpoAveraged", "chosen_length is missing");
  refuses(
      SoftDpo{}, [&](C& c, V&) { c.p_chosen[0] = 1.5; }, "SoftDpo", "p_chosen[0] is 1.5");
  refuses(
      SoftDpo{}, [&](C& c, V&) { c.p_chosen[0] = nan; }, "SoftDpo", "p_chosen[0] is nan");
  refuses(
      SoftDpo{}, [&](C& c, V&) { c.p_chosen.clear(); }, "SoftDpo", "p_chosen is missing");
  refuses(
      all, [&](C& c, V&) { c.p_chosen[0] = -1; }, "Dpo + IpoAveraged + SoftDpo", "p_chosen[0] is -1");
  refuses(
      AlphaPo{}, [&](C& c, V&) { c.chosen[2] = 1e-6; }, "AlphaPo", "chosen[2] is 1e-06", "at most 0");
  refuses(
      OddsRatio{}, [&](C& c, V&) { c.rejected[2] = 0; }, "OddsRatio", "rejected[2] is 0", "below 0");
  refuses(
      Aot{}, [&](C&, V&) {}, "Aot", "weight");
  refuses(
      Dpo{}, [&](C& c, V& w) { c = C{}, c.chosen.clear(), w.clear(); }, "Dpo", "chosen is empty");
  refuses(
      weighted(Dpo{}, std::span<const double>(weight).first(4)), [](C&, V&) {}, "weighted(Dpo)", "4 entries");
  refuses(
      Dpo{} + Kto{}, [](C&, V&) {}, "Dpo + Kto", "unpaired.log_prob is empty");
  refuses(
      Dpo{} + LogProbMean{}, [](C&, V&) {}, "base.log_prob is empty");

  // In a sum with a batch loss the pairs are checked too, whichever side they stand on.
  const PreferenceBatch<double> with_base{.pairs = good.view(), .base = {.log_prob = good.rejected}};
  CHECK_NOTHROW(evaluate(xpo(), with_base));
  for (const int column : {0, 1, 2}) {
    PreferenceBatch<double> in = with_base;
    std::vector<double> bad = good.chosen;
    bad[3] = inf;
    (column == 0 ? in.pairs.chosen : column == 1 ? in.pairs.rejected : in.pairs.ref_rejected) = bad;
    CHECK(says(message_of([&] { evaluate(xpo(), in); }), "Dpo + 1e-05 * LogProbMean", "[3] is inf"));
    if (column < 2) CHECK(says(message_of([&] { evaluate(LogProbMean{} + Sft{}, in); }), "[3] is inf"));
  }

  // Densities may be positive where no odds are taken; what is not read may be anything.
  good.chosen[0] = 3;
  good.chosen_length[0] = nan;
  CHECK_NOTHROW(evaluate(Dpo{}, good.view()));
  std::vector<double> short_gradient(5);
  CHECK(says(message_of([&] { accumulate(Dpo{}, good.view(), {.chosen = short_gradient}); }), "gradient.chosen has 5"));
  CHECK(says(message_of([&] { accumulate(Dpo{}, good.view(), {}, nan); }), "factor is nan"));
}

TEST_CASE("Bad hyper-parameters are refused with the loss, the member and the value") {
  const GoldenColumns<double> columns;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto says_of = [](const auto& loss, const auto&... parts) {
    CHECK(says(message_of([&] { loss.check(); }), parts...));
  };
  std::vector<double> d(6, 7.0);
  CHECK(says(message_of([&] { accumulate(Dpo{.beta = 0}, columns.view(), {.chosen = d}); }), "Dpo: beta is 0"));
  CHECK(d[0] == 7);
  says_of(Dpo{.beta = 0}, "Dpo: beta is 0");
  says_of(Dpo{.beta = -1}, "Dpo: beta is -1");
  says_of(Dpo{.beta = nan}, "Dpo: beta is nan");
  says_of(Ipo{.beta = 0}, "Ipo: beta is 0");
  says_of(Cdpo{.label_smoothing = 0.6}, "Cdpo: label_smoothing is 0.6", "[0, 0.5]");
  says_of(RobustDpo{.label_smoothing = 0.5}, "RobustDpo: label_smoothing is 0.5", "[0, 0.5)");
  says_of(RobustDpo{.label_smoothing = -0.1}, "RobustDpo: label_smoothing is -0.1");
  says_of(ExoPair{.label_smoothing = 0}, "ExoPair: label_smoothing is 0", "(0, 1)");
  says_of(DiscoPop{.tau = 0}, "DiscoPop: tau is 0");
  says_of(BcoPair{.delta = nan}, "BcoPair: delta is nan");
  says_of(Sppo{.win_probability = 1.5}, "Sppo: win_probability is 1.5");
  says_of(SimPo{.gamma = nan}, "SimPo: gamma is nan");
  says_of(AlphaPo{.alpha = nan}, "AlphaPo: alpha is nan");
  says_of(SlicCalibration{.delta = nan}, "SlicCalibration: delta is nan");
  says_of(DpoPositive{.lambda = -1}, "DpoPositive: lambda is -1");
  says_of(with_score(Dpo{}, AlphaDivergence{nan}), "MarginLoss: alpha is nan");
  says_of(Aot{.label_smoothing = 0.7}, "Aot: label_smoothing is 0.7");
  says_of(KtoPair{.beta = 0}, "KtoPair: beta is 0");
  says_of(Kto{.beta = 0}, "Kto: beta is 0");
  says_of(Kto{.desirable_weight = nan}, "Kto: desirable_weight is nan");
  says_of(Bco{.delta = nan}, "Bco: delta is nan");
  says_of(Dpo{} + 0.5 * Dpo{.beta = -1}, "Dpo: beta is -1");
  says_of(nan * Dpo{}, "factor is nan");
  says_of(Dpo{} / 0, "factor is inf");
  CHECK(says(message_of([] { rpo({.eta = -1}); }), "rpo: eta is -1"));
  CHECK(says(message_of([] { orpo({.lambda = std::nan("")}); }), "orpo: lambda is nan"));
  CHECK(says(message_of([] { bco_density_weight(1.5); }), "p is 1.5"));
}

TEST_CASE("Losses of single responses refuse bad data") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> q{-1, -2, -3}, r{-1, -2, -3}, w{1, 1, 1};
  std::array<bool, 3> desirable{true, false, true};
  const auto message = [&](const auto& loss) {
    return message_of([&] {
      evaluate(loss, PreferenceBatch<double>{
                         .unpaired = {.log_prob = q, .ref_log_prob = r, .weight = w, .desirable = desirable},
                         .base = {.log_prob = q, .weight = w}});
    });
  };
  CHECK(message(Bco{}) == "nothing thrown");
  CHECK(says(message(BaseSft{SftReduction::token_mean}), "BaseSft", "base.length is missing"));
  q[1] = nan;
  CHECK(says(message(Bco{}), "Bco", "unpaired.log_prob[1] is nan"));
  CHECK(says(message(BaseSft{}), "BaseSft", "base.log_prob[1] is nan"));
  q[1] = -2, r[2] = nan;
  CHECK(says(message(Bco{}), "unpaired.ref_log_prob[2] is nan"));
  r[2] = -3, w[0] = -1;
  CHECK(says(message(Bco{}), "unpaired.weight[0] is -1"));
  CHECK(says(message(LogProbMean{}), "base.weight[0] is -1"));
  w[0] = 1, r.pop_back();
  CHECK(says(message(Bco{}), "unpaired.ref_log_prob has 2 entries"));
  RewardMoments moments;
  CHECK(says(message_of([&] { moments.add(0.1, std::span<const double>(), std::span<const double>()); }), "empty"));
  CHECK(
      says(message_of([&] { moments.add(0.1, std::span<const double>(q), std::span<const double>(r)); }), "2 entries"));
  CHECK(moments.mean == 0);
}

TEST_CASE("Evaluation gives arrays of the user's own kind") {
  const GoldenColumns<double> c;
  const auto map = [](const std::vector<double>& v) { return Eigen::Map<const Eigen::ArrayXd>(v.data(), 6); };
  const Eigen::ArrayXd chosen = map(c.chosen), rejected = map(c.rejected), ref_chosen = map(c.ref_chosen),
                       ref_rejected = map(c.ref_rejected);
  auto loss = Dpo{.beta = 0.1} + 0.005 * Sft{};
  PairLogProbs<Eigen::ArrayXd> batch{chosen, rejected, ref_chosen, ref_rejected};
  auto [value, d_chosen, d_rejected] = evaluate(loss, batch);
  STATIC_REQUIRE(std::is_same_v<decltype(d_chosen), Eigen::ArrayXd>);
  const auto vectors = evaluate(loss, PairLogProbs{c.chosen, c.rejected, c.ref_chosen, c.ref_rejected});
  STATIC_REQUIRE(std::is_same_v<decltype(vectors.d_chosen), std::vector<double>>);
  const PairLogProbs<std::span<const double>> spans{c.chosen, c.rejected, c.ref_chosen, c.ref_rejected};
  const auto viewed = evaluate(loss, spans);
  const auto matrix = evaluate(loss, PairLogProbs{chosen.matrix().eval(), rejected.matrix().eval(),
                                                  ref_chosen.matrix().eval(), ref_rejected.matrix().eval()});
  STATIC_REQUIRE(std::is_same_v<decltype(matrix.d_chosen), Eigen::VectorXd>);
  CHECK(value == vectors.value);
  CHECK(value == viewed.value);
  CHECK(value == matrix.value);
  for (int i = 0; i < 6; ++i) CHECK(d_chosen[i] == vectors.d_chosen[std::size_t(i)]);
  CHECK(pair_values(Dpo{.beta = 0.5}, batch)[1] == close(1.313261687518));
}

TEST_CASE("Losses are found by name, with their options", "[P3]") {
  const GoldenColumns<double> c;
  const auto value = [&](std::string_view name, std::initializer_list<LossOption> options) {
    return evaluate(pair_loss(name, options), c.view()).value;
  };
  CHECK(value("dpo", {{"beta", 0.5}}) == close(0.6406589382612));
  CHECK(value("ipo", {{"beta", 0.5}}) == 7.96875);
  CHECK(value("rpo", {}) == close(0.7499269772898));
  CHECK(value("aot", {}) > 0);
  CHECK(says(message_of([&] { value("dqo", {}); }), "unknown loss \"dqo\"", "dpo, cdpo", "kto_pair"));
  CHECK(says(message_of([&] {
               value("ipo", {{"label_smoothing", 0.1}});
             }),
             "ipo has no option \"label_smoothing\"", "it has beta"));
  CHECK(says(message_of([&] { value("sft", {{"beta", 0.1}}); }), "sft has no option", "none"));
  CHECK(says(message_of([&] { value("rdpo", {{"label_smoothing", 0.5}}); }), "RobustDpo: label_smoothing is 0.5"));
  CHECK(says(loss_names(pair_losses), "dpo, cdpo"));
  const auto own = named_losses(named_loss("mine", Dpo{.beta = 0.5}));
  double mine = 0;
  visit_loss(
      "mine", {}, [&](const auto& loss) { mine = evaluate(loss, c.view()).value; }, own);
  CHECK(mine == close(0.6406589382612));
}

TEST_CASE("A loss chosen at run time is checked with the others of its sum, before anything changes") {
  GoldenColumns<double> c;
  const AnyLoss<double> any = pair_loss("cdpo", {{"beta", 0.5}});
  CHECK(evaluate(any, c.view()).value == close(0.6927422715945));
  CHECK(evaluate(0.5 * Sft{} + 2 * any, c.view()).value == close(0.5 * 12.375 + 2 * 0.6927422715945));
  CHECK(says(message_of([] { pair_loss("cdpo", {{"beta", -1}}); }), "Cdpo: beta is -1"));
  std::vector<double> d(6, 7.0);
  c.ref_chosen[4] = std::numeric_limits<double>::quiet_NaN();
  CHECK(says(message_of([&] { accumulate(Sft{} + any, c.view(), {.chosen = d}); }), "Cdpo", "ref_chosen[4] is nan"));
  for (const double g : d) CHECK(g == 7);
}
