#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/function/tabular.hpp"
#include "valence/preference/any_loss.hpp"
#include "valence/preference/batch_losses.hpp"
#include "valence/preference/losses.hpp"
#include "valence/reward/pair_objective.hpp"

using namespace valence;

namespace {

using test::close, test::message_of, test::says;

// Scores of six samples, stored as they are: a table with one state a sample, whose gradient is that of the scores.
struct Setting {
  PairObjective<Tabular<double>, AnyLoss<double>> objective;
  std::vector<int> states{0, 1, 2, 3, 4, 5}, chosen{0, 2}, rejected{1, 3}, mismatched{4, 5};
  std::vector<double> theta{-1, -2.5, -0.75, -1.5, -3, -2}, reference{-1.25, -2, -1, -1.5, -3.5, -2.25};
  std::vector<double> gradient = std::vector<double>(6);

  explicit Setting(AnyLoss<double> loss) : objective(Tabular<double>{6, 1}, std::move(loss)) {}
  double value(std::span<const double> weight = {}) {
    return objective(theta, std::span<const int>(states), {.chosen = chosen, .rejected = rejected, .weight = weight},
                     gradient, reference, {}, {.sample = mismatched});
  }
};

}  // namespace

TEST_CASE("a loss of judged responses reads the chosen as desirable, the rejected as not, and the mismatched ones") {
  Setting s{any_loss("kto", std::initializer_list<LossOption>{{"beta", 0.5}, {"undesirable_weight", 1.5}}, all_losses)};
  const double value = s.value();
  // The same from columns written out.
  const std::vector<double> log_prob{-1, -0.75, -2.5, -1.5}, ref{-1.25, -1, -2, -1.5}, kl{-3, -2}, ref_kl{-3.5, -2.25};
  const bool desirable[] = {true, true, false, false};
  const PreferenceBatch<double> batch{.unpaired = {.log_prob = log_prob, .ref_log_prob = ref, .desirable = desirable},
                                      .kl = {.log_prob = kl, .ref_log_prob = ref_kl}};
  std::vector<double> d(4);
  CHECK(value == close(evaluate(Kto{.beta = 0.5, .undesirable_weight = 1.5}, batch, {.unpaired = d}), 1e-15));
  CHECK(s.gradient == std::vector<double>{d[0], d[2], d[1], d[3], 0, 0});
  CHECK(d[0] < 0);
  CHECK(d[2] > 0);
  // Weights of pairs are those of both responses.
  const std::vector<double> weight{2, 0}, both{2, 0, 2, 0};
  PreferenceBatch<double> weighted = batch;
  weighted.unpaired.weight = both;
  CHECK(s.value(weight) ==
        close(evaluate(Kto{.beta = 0.5, .undesirable_weight = 1.5}, weighted, {.unpaired = d}), 1e-15));
  CHECK(s.gradient == std::vector<double>{d[0], d[2], d[1], d[3], 0, 0});
}

TEST_CASE("what a response is told as one of a pair and as a judged one adds up", "[P4]") {
  Setting pair{AnyLoss<double>(Dpo{.beta = 0.3})}, judged{AnyLoss<double>(Kto{})};
  Setting both{AnyLoss<double>(AnyLoss<double>(Dpo{.beta = 0.3}) + AnyLoss<double>(Kto{}))};
  CHECK(both.value() == close(pair.value() + judged.value(), 1e-15));
  for (std::size_t i = 0; i < 6; ++i)
    CHECK(both.gradient[i] == close(pair.gradient[i] + judged.gradient[i], 1e-14, 1e-16));
}

TEST_CASE("a step with judged responses allocates nothing once warm") {
  Setting s{AnyLoss<double>(Kto{})};
  s.value();
  const test::Allocations allocations;
  s.value();
  CHECK(allocations.count() == 0);
}

TEST_CASE("mismatched responses that are missing or outside of the batch are named") {
  Setting s{AnyLoss<double>(Kto{})};
  s.mismatched = {4, 6};
  CHECK(says(message_of([&] { s.value(); }), "kl[1] is 6"));
  s.mismatched.clear();
  CHECK(says(message_of([&] { s.value(); }), "kl"));
}

TEST_CASE("a loss chosen at run time says what it reads, and all lists are one") {
  CHECK(has(any_loss("kto", {}, all_losses).reads(), Column::kl));
  CHECK(has(any_loss("dpo", {}, all_losses).reads(), Column::reference));
  CHECK(!has(any_loss("dpo", {}, all_losses).reads(), Column::kl));
  CHECK(has(any_loss("ipo_averaged", {}, all_losses).reads(), Column::lengths));
  CHECK(loss_names(all_losses) ==
        loss_names(pair_losses) + ", " + loss_names(length_losses) + ", " + loss_names(single_losses));
  CHECK(loss_names(joined_losses(named_losses(), single_losses, named_losses())) == loss_names(single_losses));
}

TEST_CASE("a mean over no tokens is refused, never NaN", "[P1]") {
  const std::vector<double> chosen{-1}, rejected{-2}, ref{-1.5}, none{0}, one{1};
  for (const std::string name : {"ipo_averaged", "simpo", "orpo", "sigmoid_norm", "cpo", "token_mean_sft"}) {
    const auto loss = any_loss(name, {}, all_losses);
    const PairBatch<double> bad{.chosen = chosen,
                                .rejected = rejected,
                                .ref_chosen = ref,
                                .ref_rejected = ref,
                                .chosen_length = none,
                                .rejected_length = one};
    CHECK(says(message_of([&] { evaluate(loss, bad); }), "chosen_length[0] is 0"));
  }
}
