// What would another policy have earned? Off-policy evaluation on a fashion shop's real logs, where the answer is
// known.
//
//   open_bandit                                            the shipped sample of the Open Bandit Dataset
//   open_bandit --log random.csv --target bts.csv          files of one's own: item_id, position, click, propensity
//
// Two recommenders ran side by side in an A/B test: one showed items at random, the other by Bernoulli Thompson
// sampling (BTS). This program estimates the click rate of BTS from the random one's log alone, by several estimators,
// and sets beside it the rate that BTS did have in its own log. Of that second log, only the choices enter the
// estimates (they say what policy BTS was), never the clicks.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/evaluation/bandit_feedback.hpp"
#include "valence/evaluation/off_policy.hpp"
#include "valence/io/bandit_feedback.hpp"

namespace vl = valence;

#ifndef VALENCE_EXAMPLE_DATA
#define VALENCE_EXAMPLE_DATA "examples/data"
#endif

namespace {

struct Options {
  std::string log = VALENCE_EXAMPLE_DATA "/obd_men_random.csv", target = VALENCE_EXAMPLE_DATA "/obd_men_bts.csv";
  std::uint64_t seed = 1;
  std::size_t resamples = 1000;
};

/// One line of the table, in clicks of 1000 impressions.
void print_row(const std::string& name, const vl::PolicyEstimate& e, const vl::Interval& bootstrap,
               const std::string& overlap) {
  fmt::print("  {:20} {:8.2f}   [{:6.2f}, {:6.2f}]   [{:6.2f}, {:6.2f}]  {:7.0f} {:7.1f} {:7.3f}  {}\n", name,
             1000 * e.value, 1000 * e.lower, 1000 * e.upper, 1000 * bootstrap.low, 1000 * bootstrap.high,
             e.effective_sample_size, e.max_weight, e.mean_weight, overlap);
}

void run(const Options& options) {
  const vl::LoggedBandit log = vl::load_bandit_feedback(options.log, {.categorical = true});
  const vl::LoggedBandit target =
      vl::load_bandit_feedback(options.target, {.context_prefix = "", .actions = log.actions});
  const vl::PolicyEstimate truth = vl::on_policy_estimate(target);
  const vl::PolicyEstimate logging = vl::on_policy_estimate(log);
  fmt::print("log     {}: {} impressions of {} items, {:.2f} clicks of 1000\n", options.log, log.size(), log.actions,
             1000 * logging.value);
  fmt::print("target  {}: {} impressions\n", options.target, target.size());

  // Models of the click rate, learnt from the random log only: by item and position, and by item and user.
  const vl::RewardTable table(log, {.penalty = 100});
  const vl::LinearRewards linear(log, {.penalty = 100});

  vl::Rng rng{options.seed};
  const vl::BootstrapOptions resampling{.resamples = options.resamples};
  const vl::Interval truth_bootstrap = vl::bootstrap_interval(truth, rng, resampling);
  const auto evaluate = [&](const char* title, const vl::PositionPolicy& policy) {
    fmt::print("\n{}\n  {:20} {:>8}   {:^16}   {:^16}  {:>7} {:>7} {:>7}  {}\n", title, "clicks of 1000", "",
               "95 % normal", "95 % bootstrap", "ESS", "max w", "mean w", "both overlap the truth's");
    const auto estimates = vl::evaluate(log, policy, vl::Ips{}, vl::Snips{}, vl::DirectMethod{table},
                                        vl::DoublyRobust{table}, vl::DoublyRobust{linear});
    const char* names[] = {"IPS", "SNIPS", "DM, table", "DR, table", "DR, linear in user"};
    for (std::size_t k = 0; k < estimates.size(); ++k) {
      const vl::PolicyEstimate& e = estimates[k];
      const vl::Interval b = vl::bootstrap_interval(e, rng, resampling);
      const bool normal = e.lower <= truth.upper && truth.lower <= e.upper;
      const bool bootstrap = b.low <= truth_bootstrap.high && truth_bootstrap.low <= b.high;
      print_row(names[k], e, b, fmt::format("{}, {}", normal ? "yes" : "NO", bootstrap ? "yes" : "NO"));
    }
    print_row("truth: its own log", truth, truth_bootstrap, "");
    const vl::PolicyEstimate& snips = estimates[1];
    const double error = std::hypot(snips.standard_error, truth.standard_error);
    fmt::print("  SNIPS minus truth: {:+.2f} +- {:.2f} (standard error), {:+.1f} standard errors\n",
               1000 * (snips.value - truth.value), 1000 * error, (snips.value - truth.value) / error);
  };
  evaluate("BTS, as how often it chose each item at each position", vl::action_frequencies(target));
  evaluate("BTS, as the mean propensity it logged for each item and position, scaled to 1",
           vl::mean_propensities(target));

  fmt::print(
      "\nBTS went on learning during its log, so no fixed policy is quite it. Its frequencies estimate its average; an "
      "item\n"
      "shows its propensity mostly where that is high, so the mean of those does not. No interval knows that the "
      "target's\n"
      "probabilities were estimated, and those of DM do not know how wrong its model is. ESS: so many impressions "
      "without\n"
      "weights would say as much. A mean weight near 1: the log has what the target does.\n");
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"Estimates one recommender's click rate from the log of another."};
  app.add_option("--log", options.log, "CSV file of the logging policy")->capture_default_str();
  app.add_option("--target", options.target, "CSV file of the policy to be evaluated")->capture_default_str();
  app.add_option("--seed", options.seed, "of the bootstrap")->capture_default_str();
  app.add_option("--resamples", options.resamples, "of the bootstrap")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    run(options);
  } catch (const std::exception& e) {
    fmt::print(stderr, "open_bandit: {}\n", e.what());
    return 1;
  }
  return 0;
}
