#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/preference/concepts.hpp"
#include "valence/reward/links.hpp"
#include "valence/reward/metrics.hpp"
#include "valence/reward/tie_models.hpp"

using valence::Bins;
using valence::BradleyTerry;
using valence::Davidson;
using valence::Pair;
using valence::PairLoss;
using valence::PairOutcome;
using valence::RaoKupper;
using valence::Thurstone;
using namespace valence::test;  // close, message_of, says

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
static_assert(valence::PointwiseLoss<BradleyTerry> && valence::PointwiseLoss<Thurstone>);

template <class L>
PairLoss<double> at(const L& loss, double difference, double y) {
  Pair<double> p{difference + 0.25, 0.25};
  p.p_chosen = y;
  return loss(p);
}

}  // namespace

TEST_CASE("Links have the published values and slopes") {
  struct Case {
    double d, y, value, slope;
  };
  for (const Case& c : {Case{0.7, 1, 0.403186048885458, -0.331812227831834},
                        {0.7, 0, 1.10318604888546, 0.668187772168166},
                        {0.7, 0.5, 0.753186048885458, 0.168187772168166},
                        {0.7, 0.9, 0.473186048885458, -0.231812227831834},
                        {-40, 1, 40, -1},
                        {800, 0, 800, 1}}) {
    const PairLoss<double> loss = at(BradleyTerry{}, c.d, c.y);
    CHECK(loss.value == close(c.value, 1e-13));
    CHECK(loss.d_chosen == close(c.slope, 1e-13));
    CHECK(loss.d_rejected == -loss.d_chosen);
  }
  CHECK(at(BradleyTerry{.temperature = 0.1}, 0.07, 1).value == close(0.403186048885458, 1e-12));
  CHECK(at(BradleyTerry{.temperature = 0.1}, 0.07, 1).d_chosen == close(-3.31812227831834, 1e-12));
  CHECK(at(BradleyTerry{.margin = 0.25}, 0.7, 1).value == close(0.493248945997455, 1e-13));
  CHECK(at(BradleyTerry{.margin = 0.25}, 0.7, 1).d_chosen == close(-0.389360766050778, 1e-13));
  CHECK(at(BradleyTerry{.margin = 0.25}, 0.7, 0).value == close(1.27695640685095, 1e-13));
  CHECK(at(BradleyTerry{.margin = 0.25}, 0.7, 0).d_chosen == close(0.721115178022863, 1e-13));
  for (const Case& c : {Case{0.7, 1, 0.277023942277131, -0.411924750419291},
                        {0.7, 0, 1.41896776153153, 1.29049933945817},
                        {0.7, 0.5, 0.847995851904331, 0.439287294519438},
                        {-30, 1, 454.321243956343, -30.033259667433}}) {
    const PairLoss<double> loss = at(Thurstone{}, c.d, c.y);
    CHECK(loss.value == close(c.value, 1e-13));
    CHECK(loss.d_chosen == close(c.slope, 1e-13));
  }
  // Smoothing is the same as a softer label.
  CHECK(at(BradleyTerry{.label_smoothing = 0.1}, 0.7, 1).value == close(at(BradleyTerry{}, 0.7, 0.9).value, 1e-15));
  CHECK(at(Thurstone{.scale = 2}, 1.4, 1).value == close(0.277023942277131, 1e-13));
}

TEST_CASE("Slopes of the links match differences, for any options") {
  const auto check = [](const auto& loss) {
    for (const double d : {-6.0, -0.8, 0.0, 0.3, 4.0})
      for (const double y : {0.0, 0.3, 0.5, 1.0}) {
        CAPTURE(d, y);
        const auto value = [&](std::span<const double> s) {
          Pair<double> p{s[0], s[1]};
          p.p_chosen = y;
          return loss(p).value;
        };
        Pair<double> p{d + 0.1, 0.1};
        p.p_chosen = y;
        const PairLoss<double> l = loss(p);
        CHECK(valence::test::gradient_matches(value, std::vector<double>{d + 0.1, 0.1},
                                              std::vector<double>{l.d_chosen, l.d_rejected}));
      }
  };
  check(BradleyTerry{});
  check(BradleyTerry{.temperature = 0.7, .margin = 0.4, .label_smoothing = 0.2});
  check(Thurstone{});
  check(Thurstone{.scale = 1.7});
}

TEST_CASE("Thurstone's slope is smooth and right at any margin") {
  // phi(u) / Phi(u) by mpmath with 30 digits.
  const std::pair<double, double> hazard[] = {{-1000, 1000.000999998},     {-40, 40.024968847207264},
                                              {-12.5, 12.579007304406976}, {-12, 12.082214175254284},
                                              {-11.5, 11.585688609767972}, {-3, 3.2830986549304365}};
  for (const auto& [u, expected] : hazard) CHECK(-at(Thurstone{}, u, 1).d_chosen == close(expected, 2e-12));
  CHECK(at(Thurstone{}, 40, 1).value >= 0);
  CHECK(at(Thurstone{}, 40, 1).d_chosen == close(0, 0, 1e-300));
  CHECK(std::isfinite(at(Thurstone{}, -1e6, 1).value));
}

TEST_CASE("The same links run on lanes") {
  using T = valence::Lanes<double>;
  Pair<T> p{valence::splat<T>(0.9), valence::splat<T>(0.2)};
  p.p_chosen = valence::splat<T>(0.3);
  T d[2] = {BradleyTerry{.margin = 0.1}(p).d_chosen, Thurstone{}(p).d_chosen};
  const double scalar[2] = {at(BradleyTerry{.margin = 0.1}, 0.7, 0.3).d_chosen, at(Thurstone{}, 0.7, 0.3).d_chosen};
  for (int k = 0; k < 2; ++k)
    for (std::size_t i = 0; i < valence::lane_count<T>; ++i) {
      double lane[valence::lane_count<T>];
      valence::store(lane, d[k]);
      CHECK(lane[i] == close(scalar[k], 1e-14));
    }
}

TEST_CASE("Hyper-parameters of the links are checked") {
  CHECK(says(message_of([] { BradleyTerry{.temperature = 0}.check(); }), "temperature is 0"));
  CHECK(says(message_of([] { BradleyTerry{.margin = not_a_number}.check(); }), "margin is nan"));
  CHECK(says(message_of([] { BradleyTerry{.label_smoothing = 0.6}.check(); }), "label_smoothing is 0.6", "[0, 0.5]"));
  CHECK(says(message_of([] { Thurstone{.scale = -1}.check(); }), "scale is -1"));
}

TEST_CASE("Tie models have the published values") {
  const RaoKupper rao_kupper{.threshold = 0.3};
  const auto p = rao_kupper.probabilities(0.7);
  CHECK(p.win == close(0.598687660112452, 1e-13));
  CHECK(p.tie == close(0.132370918517553, 1e-13));
  CHECK(p.loss == close(0.268941421369995, 1e-13));
  const double value[] = {0.513015252399953, 2.022147308264495, 1.313261687518223};
  const double slope[] = {-0.401312339887548, 0.329746238742457, 0.731058578630005};
  const double parameter[] = {0.401312339887548, -3.300367511804188, 0.731058578630005};
  const Davidson davidson{.nu = 0.8};
  const auto q = davidson.probabilities(0.7);
  CHECK(q.win == close(0.485357780930199, 1e-13));
  CHECK(q.tie == close(0.273620677979053, 1e-13));
  CHECK(q.loss == close(0.241021541090747, 1e-13));
  const double value2[] = {0.722868967366541, 1.296012518680751, 1.422868967366541};
  const double slope2[] = {-0.377831880080274, 0.122168119919726, 0.622168119919726};
  const double parameter2[] = {0.342025847473816, -0.907974152526184, 0.342025847473816};
  int k = 0;
  for (const PairOutcome o : {PairOutcome::win, PairOutcome::tie, PairOutcome::loss}) {
    const auto a = rao_kupper.loss(0.7, o), b = davidson.loss(0.7, o);
    CHECK(a.value == close(value[k], 1e-13));
    CHECK(a.d_difference == close(slope[k], 1e-13));
    CHECK(a.d_parameter == close(parameter[k], 1e-13));
    CHECK(b.value == close(value2[k], 1e-13));
    CHECK(b.d_difference == close(slope2[k], 1e-13));
    CHECK(b.d_parameter == close(parameter2[k], 1e-13));
    ++k;
  }
}

TEST_CASE("Tie models: differences, symmetry, extremes, no ties at 0") {
  for (const double d : {-5.0, -0.4, 0.0, 0.7, 3.0})
    for (const PairOutcome o : {PairOutcome::win, PairOutcome::tie, PairOutcome::loss}) {
      CAPTURE(d, int(o));
      const auto rk = [&](std::span<const double> x) { return RaoKupper{x[1]}.loss(x[0], o).value; };
      const auto dv = [&](std::span<const double> x) { return Davidson{x[1]}.loss(x[0], o).value; };
      const auto a = RaoKupper{0.6}.loss(d, o);
      const auto b = Davidson{0.6}.loss(d, o);
      CHECK(valence::test::gradient_matches(rk, std::vector<double>{d, 0.6},
                                            std::vector<double>{a.d_difference, a.d_parameter}));
      CHECK(valence::test::gradient_matches(dv, std::vector<double>{d, 0.6},
                                            std::vector<double>{b.d_difference, b.d_parameter}));
    }
  const auto check = [](const auto& model) {
    for (const double d : {0.0, 0.3, 40.0, 900.0}) {
      const auto p = model.probabilities(d), q = model.probabilities(-d);
      CHECK(p.win + p.tie + p.loss == close(1, 1e-14));
      CHECK(p.win == q.loss);
      CHECK(p.tie == close(q.tie, 1e-14, 1e-300));
      CHECK(p.win == close(std::exp(-model.loss(d, PairOutcome::win).value), 1e-13));
      CHECK(model.loss(-d, PairOutcome::win).value >= d / 2);
      CHECK(std::isfinite(model.loss(-d, PairOutcome::win).value));
      CHECK(std::isfinite(model.loss(d, PairOutcome::tie).value));
    }
  };
  check(RaoKupper{0.5});
  check(Davidson{0.5});
  CHECK(RaoKupper{}.probabilities(0.7).win == close(1 / (1 + std::exp(-0.7)), 1e-15));
  CHECK(Davidson{}.probabilities(0.7).win == close(1 / (1 + std::exp(-0.7)), 1e-15));
  CHECK(Davidson{}.loss(0.7, PairOutcome::win).d_difference == close(-0.331812227831834, 1e-13));
  CHECK(Davidson{}.loss(0.0, PairOutcome::win).d_parameter == close(0.5, 1e-15));  // 1 / Z
  CHECK(says(message_of([] { Davidson{}.loss(0, PairOutcome::tie); }), "Davidson", "nu"));
  CHECK(says(message_of([] { RaoKupper{}.loss(0, PairOutcome::tie); }), "RaoKupper", "threshold"));
  CHECK(says(message_of([] { RaoKupper{-0.1}.probabilities(0); }), "threshold is -0.1"));
  CHECK(says(message_of([] { Davidson{not_a_number}.probabilities(0); }), "nu is nan"));
  CHECK(says(message_of([] { Davidson{1}.probabilities(not_a_number); }), "difference is nan"));
}

TEST_CASE("Metrics have the published values") {
  const std::vector<double> p = {.95, .8, .65, .55, .3, .1}, y = {1, 1, 0, 1, 0, 1};
  CHECK(valence::log_loss(p, y) == close(0.763559334648139, 1e-13));
  CHECK(valence::brier_score(p, y) == close(0.26125, 1e-14));
  CHECK(valence::pairwise_accuracy(p, y) == close(2.0 / 3, 1e-15));
  CHECK(valence::expected_calibration_error(p, y) == close(2.45 / 6, 1e-13));

  const auto table = valence::reliability_table(p, y);
  CHECK(table.size() == 10);
  CHECK(table[9].weight == 2);
  CHECK(table[9].confidence == close(0.925, 1e-14));
  CHECK(table[9].accuracy == close(0.5, 1e-15));
  CHECK(table[0].weight == 0);
  CHECK(table[9].upper == 1);
  const auto mass = valence::reliability_table(p, y, 3, Bins::equal_mass);
  for (const auto& bin : mass) CHECK(bin.weight == 2);
  CHECK(mass[0].lower == .55);
  CHECK(mass[0].upper == .65);
  CHECK(mass[2].confidence == close(0.925, 1e-14));
  CHECK(valence::expected_calibration_error(p, y, 1) == close(std::abs(4.55 / 6 - 4.0 / 6), 1e-13));
}

TEST_CASE("Metrics: ties, weights, certainty") {
  // Equal predictions count half, tied pairs not at all, soft labels by their larger side.
  CHECK(valence::pairwise_accuracy(std::vector{.5, .5, .9, .2}, std::vector{1., 0., .5, .4}) == close(2.0 / 3, 1e-15));
  CHECK(valence::pairwise_accuracy_of_scores(std::vector{1., 2., 3., 0.}, std::vector{0., 2., 4., -1.}) ==
        close(2.5 / 4, 1e-15));
  CHECK(valence::pairwise_accuracy_of_scores(std::vector{1., 2.}, std::vector{0., 3.}, std::vector{3., 1.}) ==
        close(0.75, 1e-15));
  const double inf = std::numeric_limits<double>::infinity();
  CHECK(valence::pairwise_accuracy_of_scores(std::vector{0., -inf}, std::vector{-inf, -inf}) == close(0.75, 1e-15));

  const std::vector<double> p = {.9, .3, .6}, y = {1, 0, 0}, w = {2, 0, 1}, twice_p = {.9, .9, .6}, twice_y = {1, 1, 0};
  CHECK(valence::log_loss(p, y, w) == close(valence::log_loss(twice_p, twice_y), 1e-14));
  CHECK(valence::brier_score(p, y, w) == close(valence::brier_score(twice_p, twice_y), 1e-14));
  CHECK(valence::pairwise_accuracy(p, y, w) == close(2.0 / 3, 1e-14));
  CHECK(valence::expected_calibration_error(p, y, 10, Bins::equal_width, w) ==
        close(valence::expected_calibration_error(twice_p, twice_y), 1e-14));

  CHECK(valence::log_loss(std::vector{1., 0.}, std::vector{1., 0.}) == 0);
  CHECK(valence::log_loss(std::vector{1., .5}, std::vector{0., 1.}) == inf);
  CHECK(valence::log_loss(std::vector{.5}, std::vector{.5}) == close(std::log(2.0), 1e-15));
  // A forecaster that says 70 % and is right 7 times of 10 is calibrated.
  std::vector<double> said(10, 0.7), seen(10, 1.0);
  for (int k = 0; k < 3; ++k) seen[std::size_t(k)] = 0;
  CHECK(valence::expected_calibration_error(said, seen) == close(0, 0, 1e-15));
  for (double& s : said) s = 0.3;  // seen from the other side
  CHECK(valence::expected_calibration_error(said, seen) == close(0.4, 1e-14));
  // Bin boundaries belong to the bin above, whatever the product rounds to.
  for (int bins : {3, 7, 10, 49})
    for (int b = (bins + 1) / 2; b < bins; ++b) {
      const double edge = double(b) / double(bins);
      const auto table = valence::reliability_table(std::vector{edge}, std::vector{1.}, bins);
      CHECK(table[std::size_t(b)].weight == 1);
    }
}

TEST_CASE("Bad input to the metrics names the entry") {
  const std::vector<double> p = {.5, .6}, y = {1, 0};
  CHECK(says(message_of([&] { valence::log_loss({}, {}); }), "probability is empty"));
  CHECK(says(message_of([&] { valence::log_loss(p, std::vector{1.}); }), "outcome has 1 entries", "2"));
  CHECK(says(message_of([&] { valence::brier_score(p, y, std::vector{1.}); }), "weight has 1 entries"));
  CHECK(says(message_of([&] { valence::brier_score(std::vector{.5, 1.5}, y); }), "probability[1] is 1.5", "[0, 1]"));
  CHECK(says(message_of([&] { valence::brier_score(std::vector{not_a_number, .5}, y); }), "probability[0] is nan"));
  CHECK(says(message_of([&] { valence::pairwise_accuracy(p, std::vector{1., -1.}); }), "outcome[1] is -1"));
  CHECK(says(message_of([&] { valence::pairwise_accuracy(p, std::vector{.5, .5}); }), "tie"));
  CHECK(says(message_of([&] { valence::log_loss(p, y, std::vector{-1., 1.}); }), "weight[0] is -1"));
  CHECK(says(message_of([&] { valence::log_loss(p, y, std::vector{0., 0.}); }), "weight is 0 everywhere"));
  CHECK(says(message_of([&] { valence::reliability_table(p, y, 0); }), "bins is 0"));
  CHECK(says(message_of([&] {
               valence::reliability_table(p, y, 2, Bins::equal_mass, std::vector{1., 2.});
             }),
             "weight[1]", "equal_mass"));
  CHECK(says(message_of([&] {
               valence::pairwise_accuracy_of_scores(std::vector{1., not_a_number}, p);
             }),
             "chosen[1] is nan"));
  CHECK(says(message_of([&] { valence::pairwise_accuracy_of_scores(p, std::vector{1.}); }), "rejected has 1 entries"));
}
