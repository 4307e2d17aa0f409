// A model file in, a policy and bounds out.
//
//   solve_file model.tra                              PRISM or Storm, rewards and labels beside it (.srew, .trew, .lab)
//   solve_file model.mdp --discount 0.99              Cassandra's format; DRN too
//   solve_file dice.tra --goal six --discount 1 --goal-reward 1     the largest probability of reaching "six"
//   solve_file model.tra --method mpi --out policy.csv
//
// The value of every state lies within the printed bound of the optimal one; `--method interval`, the default, counts
// rounding too and works without a discount.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/io/atomic_file.hpp"
#include "valence/io/model_files.hpp"
#include "valence/planning/interval_iteration.hpp"
#include "valence/planning/policy_iteration.hpp"
#include "valence/planning/value_iteration.hpp"

namespace vl = valence;

namespace {

struct Options {
  std::string file, method = "interval", out;
  std::optional<double> discount;
  double tolerance = 1e-6;
  int rows = 20;
  vl::ModelFileOptions model;
};

vl::Solution<double> solve(const vl::FiniteMdp<double>& mdp, double discount, const Options& options,
                           vl::Progress bar) {
  if (options.method == "vi")
    return vl::value_iteration(mdp, {.discount = discount, .tolerance = options.tolerance}, bar);
  if (options.method == "gauss-seidel")
    return vl::value_iteration(
        mdp, {.discount = discount, .tolerance = options.tolerance, .sweep = vl::Sweep::gauss_seidel}, bar);
  if (options.method == "pi")
    return vl::policy_iteration(mdp, {.discount = discount, .tolerance = options.tolerance}, bar);
  if (options.method == "mpi")
    return vl::modified_policy_iteration(mdp, {.discount = discount, .tolerance = options.tolerance}, bar);
  return vl::interval_iteration(mdp, {.discount = discount, .tolerance = options.tolerance}, bar);
}

std::string name_of(const std::vector<std::string>& names, int i) {
  return i >= 0 && static_cast<std::size_t>(i) < names.size() ? names[static_cast<std::size_t>(i)]
                                                              : fmt::format("{}", i);
}

int run(const Options& options) {
  const vl::ModelFile file = vl::load_mdp(options.file, options.model);
  const vl::FiniteMdp<double>& mdp = file.mdp;
  const double discount = options.discount.value_or(file.discount.value_or(1.0));
  fmt::print("{}: {} states, {} actions at most, {} transitions, discount {}\n", options.file, mdp.states(),
             mdp.actions(), mdp.transitions(), discount);

  vl::ProgressBar bar;
  const vl::Solution<double> s = solve(mdp, discount, options, bar);
  fmt::print("{} iterations in {:.3g} s; ", s.iterations, s.seconds);
  if (!s.converged)
    fmt::print("the tolerance of {:g} was NOT reached\n", options.tolerance);
  else if (s.bound <= options.tolerance)
    fmt::print("every value is within {:.2g} of the optimal one\n", s.bound);
  else
    fmt::print("no value changes any more (--method interval gives bounds)\n");

  if (!mdp.initial().empty()) {
    double value = 0;
    for (int i = 0; i < mdp.states(); ++i) value += mdp.initial()[static_cast<std::size_t>(i)] * s.value[i];
    fmt::print("value of the start: {:.9g}\n", value);
  }
  fmt::print("\n{:>16} {:>16}  {}\n", "state", "value", "action");
  for (int i = 0; i < std::min(mdp.states(), options.rows); ++i) {
    const int action = s.policy[static_cast<std::size_t>(i)];
    fmt::print("{:>16} {:16.9g}  {}\n", name_of(file.state_names, i), s.value[i],
               action < 0 ? "-" : name_of(file.action_names, action));
  }
  if (mdp.states() > options.rows) fmt::print("  ... {} more (--rows, --out)\n", mdp.states() - options.rows);

  if (!options.out.empty()) {
    std::string text = "state,action,value\n";
    for (int i = 0; i < mdp.states(); ++i)
      text += fmt::format("{},{},{}\n", i, s.policy[static_cast<std::size_t>(i)], s.value[i]);
    vl::save_atomically(options.out, text);
    fmt::print("{}: {} rows\n", options.out, mdp.states());
  }
  return s.converged ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"Solves a Markov decision process from a file (PRISM, Storm, DRN, Cassandra)."};
  app.add_option("file", options.file, "the model")->required()->check(CLI::ExistingFile);
  app.add_option("--discount", options.discount, "in [0, 1]; the file's own, else 1 (total reward)")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--tolerance", options.tolerance, "largest error of a value")->capture_default_str();
  app.add_option("--method", options.method, "interval, vi, gauss-seidel, pi (policy iteration), mpi (modified)")
      ->check(CLI::IsMember({"interval", "vi", "gauss-seidel", "pi", "mpi"}))
      ->capture_default_str();
  app.add_option("--goal", options.model.goal, "label whose states are terminal");
  app.add_option("--goal-reward", options.model.goal_reward, "earned on entering a goal state");
  app.add_flag("--costs", options.model.costs, "the file's rewards are costs");
  app.add_flag("--absorbing-ends", options.model.absorbing_are_terminal,
               "absorbing states without reward are terminal");
  app.add_option("--out", options.out, "write the policy and the values: CSV with columns state, action, value");
  app.add_option("--rows", options.rows, "states to print")->check(CLI::Range(0, 1'000'000))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return run(options);
  } catch (const vl::Error& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 2;
  }
}
