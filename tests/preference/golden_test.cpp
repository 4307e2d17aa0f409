#include "preference/golden.hpp"

#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "preference/cases.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/preference.hpp"

using namespace valence;
using namespace valence::test;

namespace {

constexpr double digits = 2e-12;  // the table has 13

std::vector<double> zeros(std::size_t n = 6) { return std::vector<double>(n, 0.0); }

void check_all(const std::vector<double>& seen, std::initializer_list<double> expected, double factor = 1) {
  REQUIRE(seen.size() == expected.size());
  std::size_t i = 0;
  for (const double e : expected) {
    CAPTURE(i);
    CHECK(seen[i] == close(e * factor, digits, 1e-15));
    ++i;
  }
}

}  // namespace

TEST_CASE("Every pointwise loss has the golden values and gradients, pair by pair and in the mean") {
  const GoldenColumns<double> columns;
  const PairBatch<double> in = columns.view();
  std::size_t found = 0;
  for (const auto& row : golden::rows) {
    CAPTURE(row.name);
    const PairCase& loss = pair_case(row.name);
    std::vector<double> values = zeros(), chosen = zeros(), rejected = zeros();
    loss.values(in, values);
    const double mean = loss.accumulate({.pairs = in}, {chosen, rejected}, 1.0);
    CHECK(mean == close(row.mean, digits));
    for (std::size_t i = 0; i < 6; ++i) {
      CAPTURE(i);
      CHECK(values[i] == close(row.values[i], digits, 1e-300));
      CHECK(chosen[i] * 6 == close(row.d_chosen[i], digits, 1e-300));
      CHECK(rejected[i] * 6 == close(row.d_rejected[i], digits, 1e-300));
    }
    ++found;
  }
  std::size_t expected = 0;
  for (const PairCase& c : pair_cases()) expected += c.golden;
  CHECK(found == expected);
}

TEST_CASE("Float columns give the golden values to float's precision") {
  const GoldenColumns<float> columns;
  for (const auto& row : golden::rows) {
    CAPTURE(row.name);
    std::vector<float> chosen(6), rejected(6);
    const double mean = pair_case(row.name).accumulate_float({.pairs = columns.view()}, {chosen, rejected}, 1.0);
    CHECK(mean == close(row.mean, 2e-6));
    for (std::size_t i = 0; i < 6; ++i) {
      CHECK(double(chosen[i]) * 6 == close(row.d_chosen[i], 2e-5, 1e-6));
      CHECK(double(rejected[i]) * 6 == close(row.d_rejected[i], 2e-5, 1e-6));
    }
  }
}

TEST_CASE("Margin links at extreme margins are finite and right") {
  const auto at = [](auto link) { return [link](double z) { return link(z); }; };
  const std::map<std::string, std::function<ValueAndSlope<double>(double)>> links{
      {"logistic", at(LogisticLink{})},    {"cdpo .1", at(LabelSmoothedLink{0.1})},
      {"robust .1", at(RobustLink{0.1})},  {"hinge", at(HingeLink{})},
      {"square m=1", at(SquareLink{1})},   {"exponential cap700", at(ExponentialLink{})},
      {"exo 1e-3", at(ExoLink{1e-3})},     {"discopop .05", at(DiscoPopLink{0.05})},
      {"discopop 2", at(DiscoPopLink{2})}, {"one_minus_sigmoid", at(OneMinusSigmoidLink{})}};
  for (const auto& row : golden::link_rows) {
    CAPTURE(row.name);
    for (std::size_t i = 0; i < 7; ++i) {
      const double z = golden::extreme_z[i];
      CAPTURE(z);
      const auto l = links.at(row.name)(z);
      CHECK(std::isfinite(l.value));
      CHECK(l.value == close(row.values[i], 1e-12, 1e-300));
      CHECK(l.slope == close(row.slopes[i], 1e-12, 1e-300));
    }
  }
  CHECK(links.size() == std::size(golden::link_rows));
}

TEST_CASE("Two-score links at extreme scores are finite and right") {
  const auto at = [](auto link) { return [link](double a, double b) { return link(a, b); }; };
  const std::map<std::string, std::function<TwoSlopes<double>(double, double)>> links{{"nca_pair", at(NcaLink{})},
                                                                                      {"bco_pair", at(BcoLink{})},
                                                                                      {"sppo_hard", at(SppoLink{0.5})},
                                                                                      {"apo_zero", at(ApoZeroLink{})},
                                                                                      {"apo_down", at(ApoDownLink{})}};
  for (const auto& row : golden::two_score_rows) {
    CAPTURE(row.name);
    for (std::size_t i = 0; i < 7; ++i) {
      const auto [a, b] = golden::extreme_scores[i];
      CAPTURE(a, b);
      const auto l = links.at(row.name)(a, b);
      CHECK(l.value == close(row.values[i], 1e-12, 1e-300));
      CHECK(l.d_a == close(row.d_a[i], 1e-12, 1e-300));
      CHECK(l.d_b == close(row.d_b[i], 1e-12, 1e-300));
    }
  }
}

TEST_CASE("Links have the right asymptotes") {
  for (const double z : {1e3, 1e5, 1e8}) {
    CAPTURE(z);
    CHECK(LogisticLink{}(-z).value == z);
    CHECK(LogisticLink{}(z).value == 0);
    const double e = 0.125;  // exactly representable, as are its products here
    CHECK(LabelSmoothedLink{e}(-z).value == (1 - e) * z);
    CHECK(LabelSmoothedLink{e}(z).value == e * z);
    CHECK(RobustLink{e}(-z).value == close((1 - e) * z / (1 - 2 * e)));
    CHECK(RobustLink{e}(z).value == close(-e * z / (1 - 2 * e)));
    CHECK(ExoLink{e}(-z).value == close(-std::log(e)));
    CHECK(ExoLink{e}(z).value == close(-std::log1p(-e)));
    CHECK(HingeLink{}(-z).value == 1 + z);
    CHECK(HingeLink{}(z).value == 0);
    CHECK(DiscoPopLink{0.05}(-z).value == z);
    CHECK(DiscoPopLink{0.05}(z).value == 0);
    CHECK(OneMinusSigmoidLink{}(-z).value == 1);
  }
  for (const double z : {200.0, 600.0, 1200.0}) CHECK(DiscoPopLink{2}(-z).value == close(std::exp(z / 2), 1e-11));
}

TEST_CASE("Scores at extreme arguments are finite and right") {
  const auto score = [](auto s, double u) { return s(u, 0.0, 1.0); };
  const double m[] = {-800, -50, -1, -0.6931, -1e-6, -1e-12};
  const double odds[] = {-800, -50, -0.5413248546129, 9.436334600077e-05, 13.81551005796, 27.63102111593};
  const double odds_slope[] = {1, 1, 1.581976706869, 2.000094367798, 1000000.5, 1e12};
  for (std::size_t i = 0; i < 6; ++i) {
    CAPTURE(m[i]);
    // Around -log 2 the log-odds vanish: the constant is given to 13 digits of terms of order one.
    CHECK(score(LogOdds{}, m[i]).value == close(odds[i], 1e-12, 1e-15));
    CHECK(score(LogOdds{}, m[i]).slope == close(odds_slope[i], 1e-12));
  }
  const double u[] = {-800, -50, 0, 50, 800};
  const double forward[] = {-1.024374375282e+306, -5.184705528587e+21, -1, -1.928749847964e-22, 0};
  const double forward_slope[] = {1.014232054735e+304, 5.184705528587e+21, 1, 1.928749847964e-22, 0};
  const double js[] = {-800, -50, -0.6931471805599, -1.928749847964e-22, 0};
  const double js_slope[] = {1, 1, 0.5, 1.928749847964e-22, 0};
  const double alpha[] = {-1.108124476879e+35, -144009798674.8, -2, -2.777588772993e-11, -3.830339193428e-174};
  for (std::size_t i = 0; i < 5; ++i) {
    CAPTURE(u[i]);
    CHECK(score(ForwardKl{}, u[i]).value == close(forward[i], 1e-12, 1e-300));
    CHECK(score(ForwardKl{}, u[i]).slope == close(forward_slope[i], 1e-12, 1e-300));
    CHECK(score(JsDivergence{}, u[i]).value == close(js[i], 1e-12, 1e-300));
    CHECK(score(JsDivergence{}, u[i]).slope == close(js_slope[i], 1e-12, 1e-300));
    CHECK(score(AlphaDivergence{0.5}, u[i]).value == close(alpha[i], 1e-12, 1e-300));
  }
  CHECK(score(AlphaDivergence{0.5}, -800).slope == 0);
  CHECK(score(AlphaMeanLogProb{0.25}, -800).value == close(-2.89038950725e+87, 1e-11));
  CHECK(score(AlphaMeanLogProb{0.25}, -50).value == close(-1073345.146083));
  CHECK(score(AlphaMeanLogProb{0.25}, 0).value == 0);
}

TEST_CASE("Losses that sort have the golden values and gradients") {
  GoldenColumns<double> columns;
  SECTION("paired") {
    columns.ref_rejected[0] = -8.75;
    auto [value, chosen, rejected, unpaired, base] =
        evaluate(Aot{.beta = 0.5, .label_smoothing = 0.1}, PreferenceBatch<double>{.pairs = columns.view()});
    CHECK(value == close(0.626462987767, digits));
    const double expected[] = {-0.1104106504123, -0.275677432333,  -0.1387703343991,
                               0.03534388462432, -0.1689117495571, -0.2310882504429};
    for (int i = 0; i < 6; ++i) {
      CAPTURE(i);
      CHECK(chosen[i] * 6 == close(expected[i], digits));
      CHECK(rejected[i] == -chosen[i]);
    }
    CHECK(evaluate(Cdpo{.beta = 0.5, .label_smoothing = 0.1}, columns.view()).value == close(0.6597905028382, digits));
  }
  SECTION("unpaired, with ties in stable order") {
    auto [value, chosen, rejected] = evaluate(AotUnpaired{.beta = 0.5, .label_smoothing = 0.1}, columns.view());
    CHECK(value == close(0.556203368698, digits));
    const double dc[] = {-0.1843953133131, -0.02402359901584, -0.1689117495571,
                         -0.1104106504123, -0.1689117495571,  -0.2};
    const double dr[] = {0.2, 0.1104106504123, 0.1843953133131, 0.02402359901584, 0.1689117495571, 0.1689117495571};
    for (int i = 0; i < 6; ++i) {
      CAPTURE(i);
      CHECK(chosen[i] * 6 == close(dc[i], digits));
      CHECK(rejected[i] * 6 == close(dr[i], digits));
    }
  }
}

namespace {

/// Desirable: the chosen of pairs 0..3; undesirable: all rejected.
struct KtoData {
  std::vector<double> q{-10, -12.5, -3.25, -40, -11, -9.5, -3.25, -55, -25, -2.75};
  std::vector<double> r{-10.5, -11, -4, -42, -10.75, -10, -3.5, -50, -24, -3};
  std::array<bool, 10> desirable{true, true, true, true};
  std::vector<double> kl{-20, -8.5, -12.25, -30}, kl_ref{-21, -8, -13.5, -30.5};
  PreferenceBatch<double> view() const {
    return {.unpaired = {.log_prob = q, .ref_log_prob = r, .desirable = desirable},
            .kl = {.log_prob = kl, .ref_log_prob = kl_ref}};
  }
};

}  // namespace

TEST_CASE("KTO and its kin have the golden values and gradients") {
  KtoData data;
  CHECK(kl_estimate(data.view().kl) == 0.5625);
  std::vector<double> d = zeros(10);
  CHECK(evaluate(Kto{.beta = 0.5}, data.view(), {.unpaired = d}) == close(0.4235647699481, digits));
  check_all(d,
            {-0.1249694873882, -0.09687800294929, -0.1247257436279, -0.110150892729, 0.1199811463344, 0.1249694873882,
             0.1242401542524, 0.0274708017475, 0.1077114000911, 0.1242401542524},
            0.1);
  // One item at a time gives the values before the mean.
  const double items[] = {0.5078118642792, 0.7371581626287, 0.4765796510637,  0.3276683008207, 0.3998116407398,
                          0.4921881357208, 0.4610167793123, 0.05834584061168, 0.3140505449918, 0.4610167793123};
  for (std::size_t i = 0; i < 10; ++i) {
    PreferenceBatch<double> one = data.view();
    one.unpaired.log_prob = one.unpaired.log_prob.subspan(i, 1);
    one.unpaired.ref_log_prob = one.unpaired.ref_log_prob.subspan(i, 1);
    one.unpaired.desirable = one.unpaired.desirable.subspan(i, 1);
    CAPTURE(i);
    CHECK(evaluate(Kto{.beta = 0.5}, one).value == close(items[i], digits));
  }
  CHECK(evaluate(Kto{.beta = 0.5, .desirable_weight = 1.33}, data.view()).value == close(0.4911889632482, digits));
  CHECK(evaluate(KtoAt{.kl = 0.5625, .beta = 0.5}, data.view()).value == close(0.4235647699481, digits));
  CHECK(evaluate(ApoZeroUnpaired{.beta = 0.5}, data.view()).value == close(0.4340061742784, digits));
  const GoldenColumns<double> columns;
  CHECK(evaluate(KtoPair{.beta = 0.5}, columns.view()).value == close(0.4437960563692, digits));
}

TEST_CASE("BCO with its running mean has the golden values over two batches") {
  const GoldenColumns<double> c;
  RewardMoments moments;
  const auto batch = [&](std::size_t begin) {
    std::vector<double> q, r;
    for (std::size_t i = begin; i < begin + 3; ++i) q.push_back(c.chosen[i]), r.push_back(c.ref_chosen[i]);
    for (std::size_t i = begin; i < begin + 3; ++i) q.push_back(c.rejected[i]), r.push_back(c.ref_rejected[i]);
    const std::array<bool, 6> desirable{true, true, true};
    const PreferenceBatch<double> in{.unpaired = {.log_prob = q, .ref_log_prob = r, .desirable = desirable}};
    moments.add(0.5, in.unpaired);
    return evaluate(Bco{.beta = 0.5, .delta = moments.mean}, in).value;
  };
  const double first = batch(0);
  CHECK(moments.mean == close(0.02083333333333, 1e-11));
  CHECK(moments.standard_deviation() == close(0.4139494735673, digits));
  CHECK(first == close(0.7419329091292, digits));
  const double second = batch(3);
  CHECK(moments.mean == close(-0.1770833333333, digits));
  CHECK(moments.standard_deviation() == close(0.8568877574034, digits));
  CHECK(second == close(0.5266744863921, digits));
  CHECK(bco_density_weight(0.2) == 0.5);
  CHECK(bco_density_weight(0.5) == close(0.99999998));
  CHECK(bco_density_weight(0.95) == 10);
  CHECK(bco_density_weight(0.999) == 10);
  RewardMoments single;
  const double q[] = {-1}, r[] = {-2};
  single.add(0.5, std::span<const double>(q), std::span<const double>(r));
  CHECK(single.standard_deviation() == 0);
}

TEST_CASE("Composite losses have the golden values") {
  const GoldenColumns<double> c;
  const PairBatch<double> in = c.view();
  const auto value = [&](const auto& loss) { return evaluate(loss, PreferenceBatch<double>{.pairs = in}).value; };
  CHECK(value(Sft{}) == 12.375);
  CHECK(value(TokenMeanSft{}) == close(1.739583333333, digits));
  CHECK(value(BatchTokenMeanSft{}) == 1.85625);
  const PreferenceBatch<double> base{.base = {.log_prob = c.chosen, .length = c.chosen_length}};
  CHECK(evaluate(BaseSft{}, base).value == 12.375);
  CHECK(evaluate(BaseSft{SftReduction::token_mean}, base).value == close(1.739583333333, digits));
  CHECK(evaluate(BaseSft{SftReduction::batch_token_mean}, base).value == 1.85625);
  CHECK(evaluate(LogProbMean{}, base).value == -12.375);

  CHECK(value(Dpo{.beta = 0.1}) == close(0.652175667189, digits));
  std::vector<double> items(6);
  pair_values(Dpo{.beta = 0.1}, in, items);
  check_all(items,
            {0.6563501408268, 0.7981388693816, 0.6684596480133, 0.4031860488855, 0.6684596480133, 0.7184596480133});
  CHECK(value(rpo()) == close(0.7499269772898, digits));
  CHECK(value(Dpo{.beta = 0.01} + 0.005 * BatchTokenMeanSft{}) == close(0.6973332272898, digits));
  auto [v, chosen, rejected] = evaluate(rpo(), in);
  const double dc[] = {-0.001663541681315, -0.001674999722233, -0.001664583337674,
                       -0.001637511903889, -0.001664583337674, -0.00166874999566};
  const double dr[] = {0.0008302083479817, 0.0008416663889,    0.0008312500043403,
                       0.000804178570556,  0.0008312500043403, 0.0008354166623264};
  for (int i = 0; i < 6; ++i) {
    CHECK(chosen[i] == close(dc[i], digits));
    CHECK(rejected[i] == close(dr[i], digits));
  }
  CHECK(value(rpo_minimax()) == close(value(Dpo{.beta = 0.01} + 5e-5 * Sft{}), 1e-14));
  CHECK(value(mpo()) == close(2.646230529098, digits));
  const double w[] = {0.5, 1, 0.25, 0.125, 0.75, 1};
  CHECK(value(weighted(Dpo{.beta = 0.5}, std::span<const double>(w))) == close(0.4967368269383, digits));
  PreferenceBatch<double> with_base{.pairs = in, .base = {.log_prob = c.rejected}};
  CHECK(evaluate(xpo({.beta = 0.5, .alpha = 0.1}), with_base).value == close(-1.134341061739, digits));
  CHECK(value(cpo({.beta = 0.5})) == close(0.5496690757774 + 1.85625, digits));
  CHECK(value(orpo()) == close(0.0746186871811 + 1.85625, digits));
  CHECK(value(iterative_rpo({.beta = 0.1, .alpha = 2})) == close(0.652175667189 + 2 * 1.739583333333, digits));
  with_base.base = {.log_prob = c.chosen};
  CHECK(evaluate(slic({.lambda = 0.5}), with_base).value == close(0.8333333333333 + 0.5 * 12.375, digits));
  const double tokens[] = {-1, -0.5, -0.25, -2}, short_tokens[] = {-0.75, -1.5};
  CHECK(ld_log_prob(std::span<const double>(tokens), 2, 0.5) == -2.625);
  CHECK(ld_log_prob(std::span<const double>(short_tokens), 2, 0.5) == -2.25);
}

TEST_CASE("rDPO is unbiased for DPO under flips and has the golden values of its own system") {
  const double z[] = {-2, -0.5, 0, 1, 3};
  const double values[] = {3.626928011043, 1.34907698418, 0.6931471805599, -0.4367383124818, -2.201412648426};
  const double slopes[] = {-1.630797077978, -1.372459331202, -1.25, -1.01894142137, -0.7974258731776};
  const RobustLink robust{0.3};
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(robust(z[i]).value == close(values[i], digits));
    CHECK(robust(z[i]).slope == close(slopes[i], digits));
    CHECK(0.7 * robust(z[i]).value + 0.3 * robust(-z[i]).value == close(LogisticLink{}(z[i]).value, 0, 4.5e-16));
  }
}
