#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/parallel.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/functionals.hpp"
#include "valence/distributional/particles.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/planning/policy_iteration.hpp"
#include "valence/planning/return_laws.hpp"
#include "valence/planning/stock_augmentation.hpp"
#include "valence/planning/value_iteration.hpp"

namespace valence {

/// Either `horizon` >= 1 steps with discount 1 and integer rewards, exactly; or, with horizon 0, for ever with
/// `discount` in (0, 1), on a grid of stocks and atoms. `stock`: see `distributional_value_iteration`. `atoms`,
/// `min_return` and `max_return` are the support of discounted laws and `law_tolerance` > 0 their error, as in
/// `DistributionalEvaluationOptions`; `tolerance` > 0 is the largest error of a discounted statistic (`bound`),
/// `max_iterations` >= 1 the number of its sweeps or improvements at most. `threads` as for `parallel_for`.
struct DistributionalIterationOptions {
  double discount = 1;
  std::size_t horizon = 0;
  StockGrid stock = StockGrid::covering();
  int atoms = 51;
  double min_return = std::numeric_limits<double>::quiet_NaN(), max_return = min_return;
  double tolerance = 1e-4, law_tolerance = 1e-2;
  std::size_t max_iterations = 100'000;
  int threads = 0;
};

/// A stock to begin with, and what the statistic is worth from there.
struct StockStart {
  double stock = 0, value = 0;
};

/// What planning for a statistic of the return gives: for every state, stock and (with a horizon) step an action, and
/// the law of the return from there. Discounted, a stock stands for the nearest point of the grid.
struct StockSolution {
  int states = 0;
  std::size_t horizon = 0;  ///< 0: for ever, and then a policy and laws don't depend on the step
  double discount = 1;
  StockGrid grid = {};             ///< of the augmented states: state s and stock j have index s * grid.points + j
  StockGrid stocks = {};           ///< those one may begin with
  double level = 0;                ///< of the CVaR that was asked for; else 0
  Matrix<double> value = {};       ///< grid.points x states: the statistic of stock + return, at the first step
  std::vector<double> atoms = {};  ///< in increasing order, of all laws
  std::vector<Matrix<double>> probability = {};  ///< a step: atoms x augmented states
  std::vector<std::vector<int>> policy = {};     ///< a step: an action an augmented state, -1 in terminal ones
  std::size_t iterations = 0;                    ///< sweeps or improvements
  double bound = 0;             ///< no value is further from the best one of the model with its grid of stocks
  double law_bound = 0;         ///< no law is further from that of the policy on the grids (`ReturnLaws::bound`)
  double projection_bound = 0;  ///< what atoms may add to that (`ReturnLaws::projection_bound`)
  /// What the grid of stocks may add to `bound`, where it covers: no value is further from E f(stock + G), G the return
  /// of `policy` where it is played with a stock that is rounded at random to the points around it.
  double stock_bound = 0;
  double seconds = 0;      ///< wall clock
  bool converged = false;  ///< `bound` and `law_bound` are at most the tolerances asked for

  /// The index of an augmented state. Throws `Error` for a state or a step that there isn't, a stock that isn't finite,
  /// and, with a horizon, one that can't be at that step: a number between two points too, nothing being interpolated.
  int index(int state, double stock, std::size_t step = 0) const {
    constexpr auto where = "StockSolution";
    check_range(where, "state", state, 0, states - 1);
    check_finite(where, "stock", stock);
    if (horizon > 0 && step >= horizon) fail(where, "step is {}; expected one below {}", step, horizon);
    if (grid.is_none()) return state;
    const int j = grid.nearest(stock);
    if (horizon > 0) {
      const double steps = static_cast<double>(step), low = stocks.min + steps * reward_low,
                   high = stocks.max + steps * reward_high;
      if (std::abs(grid.stock(j) - stock) > 1e-9 || stock < low - 0.5 || stock > high + 0.5)
        fail(where, "stock is {} at step {}; expected an integer in [{}, {}]", stock, step, low, high);
    }
    return state * grid.points + j;
  }
  /// What to do there. -1 in a terminal state.
  int action(int state, double stock, std::size_t step = 0) const {
    return policy[horizon > 0 ? step : 0][static_cast<std::size_t>(index(state, stock, step))];
  }
  /// The law of the return from there, the stock not counted.
  Particles law(int state, double stock, std::size_t step = 0) const {
    const auto weights = probability[horizon > 0 ? step : 0].col(index(state, stock, step));
    return tidy({atoms, {weights.data(), atoms.size()}});
  }
  /// The statistic of stock + return from the first step on.
  double value_at(int state, double stock) const {
    return value.data()[static_cast<std::ptrdiff_t>(index(state, stock))];
  }
  /// The stock to begin with in a state, and the statistic of the return that was asked for. See `cvar_stock`; for
  /// other statistics the stock is 0.
  StockStart start(int state) const;

  double reward_low = 0, reward_high = 0;  ///< how far a step may move a stock, with a horizon
};

/// The stock that makes CVaR of the return largest: max_c -c + E min(c + G, 0) / level over the stocks of a solution
/// for `Cvar` (of any level: one solution serves all) or `ExpectedUtility<NegativePart>` (Rockafellar and Uryasev 2000;
/// Bauerle and Ott 2011). Start with it and act as the solution says. Where returns are integers the best stock is one.
/// Discounted, `value` is that of the model with its grid of stocks. Throws `Error` for a level outside (0, 1] and a
/// solution without a stock.
inline StockStart cvar_stock(const StockSolution& solution, int state, double level) {
  constexpr auto where = "cvar_stock";
  detail::check_open_level(where, level, true);
  if (solution.grid.is_none()) fail(where, "the solution has no stock; expected one for Cvar with a grid of stocks");
  StockStart best{0, -std::numeric_limits<double>::infinity()};
  for (int j = 0; j < solution.stocks.points; ++j) {
    const double c = solution.stocks.stock(j), value = -c + solution.value_at(state, c) / level;
    if (value > best.value) best = {c, value};
  }
  return best;
}

inline StockStart StockSolution::start(int state) const {
  if (level > 0 && !grid.is_none()) return cvar_stock(*this, state, level);
  return {0, value_at(state, 0)};
}

namespace detail {

/// What is maximised, of the law of stock + return; and whether the best action depends on the stock.
template <class F>
struct StockObjective {
  static constexpr bool with_stock = false, mixes = false;
  const F& operator()(const F& f) const { return f; }
};
template <>
struct StockObjective<Mean> {
  static constexpr bool with_stock = false, mixes = true;
  Mean operator()(const Mean& f) const { return f; }
};
template <>
struct StockObjective<EntropicRisk> : StockObjective<Mean> {  // translation moves it, so a stock changes no choice
  EntropicRisk operator()(const EntropicRisk& f) const { return f; }
};
template <class U>
struct StockObjective<ExpectedUtility<U>> {
  static constexpr bool with_stock = true, mixes = true;
  const ExpectedUtility<U>& operator()(const ExpectedUtility<U>& f) const { return f; }
};
template <>
struct StockObjective<Cvar> {
  static constexpr bool with_stock = true, mixes = true;
  ExpectedUtility<NegativePart> operator()(const Cvar& f) const {
    check_open_level("Cvar", f.level, true);
    return {};
  }
};

template <class F>
double cvar_level(const F& f) {
  if constexpr (std::is_same_v<F, Cvar>)
    return f.level;
  else
    return 0;
}

/// Finite horizon, discount 1, integer rewards: laws on the integers, without rounding but that of probabilities.
template <class M>
class ExactStocks {
 public:
  ExactStocks(std::string_view where, const M& model, const DistributionalIterationOptions& options, bool with_stock)
      : threads_(options.threads) {
    const RewardRange rewards = reward_range(model);
    for (int s = 0; s < model.states(); ++s)
      for (int a = 0; a < model.actions(); ++a)
        if (model.available(s, a))
          for (const auto& to : model.successors(s, a)) {
            const double r = static_cast<double>(to.reward);
            if (r != std::floor(r))
              fail(where, "the reward {} of state {}, action {} isn't an integer; a horizon needs integers", r, s, a);
          }
    const double steps = static_cast<double>(options.horizon);
    low_ = (std::min)(rewards.low, 0.0), high_ = (std::max)(rewards.high, 0.0);
    solution_.states = model.states(), solution_.horizon = options.horizon;
    solution_.reward_low = low_, solution_.reward_high = high_;
    StockGrid grid = with_stock ? options.stock : StockGrid::none();
    check_numbers(where, steps * (high_ - low_), model.states(), 1, steps);
    if (grid.is_covering()) {  // 0 is one of them
      grid = {.min = -steps * high_, .max = -steps * low_};
      grid.points = static_cast<int>(grid.max - grid.min) + 1;
    }
    solution_.stocks = grid;
    if (!grid.is_none()) {
      if (!std::isfinite(grid.min) || grid.min != std::floor(grid.min) || grid.points < 1 ||
          grid.max - grid.min != grid.points - 1)
        fail(where, "the stocks are {} points in [{}, {}]; a horizon needs StockGrid::integers", grid.points, grid.min,
             grid.max);
      grid.min += steps * low_, grid.max += steps * high_;
      grid.clamp = true;  // what lies further out is never reached from the stocks one begins with
      check_numbers(where, steps * (high_ - low_), model.states(), grid.max - grid.min + 1, steps);
      grid.points = static_cast<int>(grid.max - grid.min) + 1;
    }
    solution_.grid = grid;
    model_ = std::make_unique<const FiniteMdp<double>>(grid.points == 1
                                                           ? stock_augmented(model, StockGrid::none(), 1, keep_reward)
                                                           : stock_augmented(model, grid, 1, keep_reward));
    for (double x = steps * low_; x <= steps * high_; ++x) solution_.atoms.push_back(x);
    zero_ = static_cast<std::ptrdiff_t>(-steps * low_);
    const auto n = static_cast<Eigen::Index>(model_->states());
    solution_.probability.assign(options.horizon + 1, Matrix<double>::Zero(std::ssize(solution_.atoms), n));
    solution_.policy.assign(options.horizon, std::vector<int>(static_cast<std::size_t>(n), -1));
    for (auto& laws : solution_.probability) laws.row(zero_).setOnes();  // of what is over
    solution_.value.resize(grid.points, model.states());
  }

  const FiniteMdp<double>& model() const { return *model_; }
  StockSolution& solution() { return solution_; }

  /// For every augmented state: choose(x, action value) gives an action, whose law is kept. Action values are those of
  /// the laws of the step after.
  template <class F, class Choose>
  void step(std::size_t t, const F& objective, Choose&& choose) {
    constexpr std::size_t block = 64;
    const std::size_t rest = solution_.horizon - t - 1, n = static_cast<std::size_t>(model_->states());
    const auto range = [&](std::size_t b) {
      std::vector<double> law(solution_.atoms.size()), shifted(law.size());
      for (std::size_t x = b * block; x < (std::min)(n, (b + 1) * block); ++x) {
        const int i = static_cast<int>(x);
        if (model_->terminal(i)) continue;
        const int chosen = choose(x, [&](int a) {
          backup(i, a, rest, law.data());
          return evaluate(objective, i, rest + 1, law, shifted);
        });
        solution_.policy[t][x] = chosen;
        backup(i, chosen, rest, solution_.probability[t].col(i).data());
      }
    };
    parallel_for((n + block - 1) / block, range, {.threads = threads_});
  }
  /// The statistic of stock + return at the first step.
  template <class F>
  void set_values(const F& objective) {
    std::vector<double> law(solution_.atoms.size()), shifted(law.size());
    for (int x = 0; x < model_->states(); ++x) {
      const double* const p = solution_.probability[0].col(x).data();
      law.assign(p, p + law.size());
      solution_.value.data()[x] = evaluate(objective, x, solution_.horizon, law, shifted);
    }
  }

 private:
  static constexpr auto keep_reward = [](double, double r, int) { return r; };

  static void check_numbers(std::string_view where, double span, int states, double points, double steps) {
    const double numbers = static_cast<double>(states) * points * (span + 1) * (steps + 1);
    if (!(numbers <= most_atoms))
      fail(where, "{} states x {} stocks x {} returns x {} steps are {} numbers; expected at most {}", states, points,
           span + 1, steps + 1, numbers, most_atoms);
  }
  /// out = the law of R + G(next) with `rest` steps after this one.
  void backup(int x, int a, std::size_t rest, double* out) const {
    const auto first = zero_ + static_cast<std::ptrdiff_t>(static_cast<double>(rest) * low_),
               last = zero_ + static_cast<std::ptrdiff_t>(static_cast<double>(rest) * high_);
    const Matrix<double>& laws = solution_.probability[solution_.horizon - rest];
    std::fill(out, out + solution_.atoms.size(), 0.0);
    double sum = 0;
    for (const auto& to : model_->successors(x, a)) sum += to.probability;
    for (const auto& to : model_->successors(x, a)) {
      const double p = to.probability / sum, *const law = laws.col(to.next).data();
      double* const moved = out + static_cast<std::ptrdiff_t>(to.reward);
      for (std::ptrdiff_t k = first; k <= last; ++k) moved[k] += p * law[k];
    }
    for (double* q = out; q != out + solution_.atoms.size(); ++q) *q = (std::min)(*q, 1.0);  // a probability still
  }
  template <class F>
  double evaluate(const F& objective, int x, std::size_t steps, const std::vector<double>& law,
                  std::vector<double>& shifted) const {
    const double c = solution_.grid.is_none() ? 0 : solution_.grid.stock(x % solution_.grid.points);
    const auto first = static_cast<std::size_t>(zero_ + static_cast<std::ptrdiff_t>(static_cast<double>(steps) * low_)),
               count = static_cast<std::size_t>(static_cast<double>(steps) * (high_ - low_)) + 1;
    for (std::size_t k = 0; k < count; ++k) shifted[k] = c + solution_.atoms[first + k];
    return objective({std::span<const double>(shifted).first(count), std::span(law).subspan(first, count)});
  }

  int threads_;
  double low_ = 0, high_ = 0;
  std::ptrdiff_t zero_ = 0;
  StockSolution solution_;
  std::unique_ptr<const FiniteMdp<double>> model_;
};

/// The best available action, the first of equals.
template <class M, class ValueOf>
std::pair<int, double> best_of(const M& model, int x, const ValueOf& value_of) {
  std::pair<int, double> best{-1, 0};
  for (int a = 0; a < model.actions(); ++a) {
    if (!model.available(x, a)) continue;
    const double value = value_of(a);
    if (best.first < 0 || value > best.second) best = {a, value};
  }
  return best;
}

/// A grid that has 0, where utilities bend, among its points.
inline StockGrid grid_around_zero(int points, double low, double high) {
  if (points < 4) fail("StockGrid::covering", "points is {}; expected at least 4", points);
  low = (std::min)(low, 0.0), high = (std::max)(high, 0.0);
  const double step = low < high ? (high - low) / (points - 3) : 1, below = std::ceil(-low / step);
  return {.points = points, .min = -below * step, .max = (points - 1 - below) * step, .clamp = true};
}

/// Discounted: `solve` plans for the utility in the augmented model, then the laws of its policy are found.
template <class M, class U, class Solve>
StockSolution discounted_stocks(std::string_view where, const M& model, const U& utility, bool with_stock,
                                const DistributionalIterationOptions& options, const Progress& progress,
                                Solve&& solve) {
  const double g = options.discount;
  const DistributionalEvaluationOptions evaluation{.discount = g,
                                                   .atoms = options.atoms,
                                                   .min_return = options.min_return,
                                                   .max_return = options.max_return,
                                                   .tolerance = options.law_tolerance,
                                                   .max_iterations = options.max_iterations,
                                                   .threads = options.threads};
  check_positive(where, "law_tolerance", options.law_tolerance);
  const RewardRange rewards = reward_range(model);
  return_support(where, rewards, evaluation);  // checks it
  StockGrid grid = with_stock ? options.stock : StockGrid::none();
  if (grid.is_covering()) grid = grid_around_zero(grid.points, -rewards.high / (1 - g), -rewards.low / (1 - g));
  grid.check(where);
  augmented_states(where, model.states(), grid.points, options.atoms);

  StockSolution result{.states = model.states(), .discount = g, .grid = grid, .stocks = grid};
  // U(s, c) = E f(c + G) has U(s, c) = discount E U(s', (c + R) / discount), mixed between two points of the grid and a
  // line beyond its ends. What is planned for is U - f, which is bounded and 0 in terminal states.
  const auto gain = [&](double c, double r, int next) {
    const double after = (c + r) / g, position = grid.position(after);
    const int j = static_cast<int>(position);
    const bool between = !grid.is_none() && !model.terminal(next) && grid.min < after && after < grid.max;
    const double f =
        between ? std::lerp(utility(grid.stock(j)), utility(grid.stock(j + 1)), position - j) : utility(after);
    return g * f - utility(c);
  };
  const Solution<double> solved = solve(stock_augmented(model, grid, g, gain), progress);
  result.iterations = solved.iterations, result.bound = solved.bound;
  result.value.resize(grid.points, model.states());
  for (int s = 0; s < model.states(); ++s)
    for (int j = 0; j < grid.points; ++j)
      result.value(j, s) = utility(grid.stock(j)) + solved.value[static_cast<Eigen::Index>(s) * grid.points + j];
  result.policy.push_back(solved.policy);
  const auto process = stock_augmented(
      model, grid, g, [](double, double r, int) { return r; }, std::span<const int>(solved.policy));
  const std::vector<int> only(solved.policy.size(), 0);
  ReturnLaws laws = distributional_policy_evaluation(process, std::span<const int>(only), evaluation, progress);
  for (int k = 0; k < laws.support.atoms; ++k) result.atoms.push_back(laws.support.atom(k));
  result.probability.push_back(std::move(laws.probability));
  if (with_stock)
    result.stock_bound =
        grid.step() / 2 * g / std::sqrt(1 - g * g) * (std::max)(std::abs(utility(1.0)), std::abs(utility(-1.0)));
  result.law_bound = laws.bound, result.projection_bound = laws.projection_bound;
  result.converged = solved.converged && laws.converged;
  return result;
}

/// What both solvers check and set up: `exact(stocks, objective)` or `discounted(model, progress)` do the work.
template <class M, class F, class Exact, class Discounted>
StockSolution plan_for_statistic(std::string_view where, const M& model, const F& statistic,
                                 const DistributionalIterationOptions& options, const Progress& progress, Exact&& exact,
                                 Discounted&& discounted) {
  using Objective = StockObjective<F>;
  check_positive(where, "max_iterations", options.max_iterations);
  check_positive(where, "tolerance", options.tolerance);
  if (!(options.discount > 0 && options.discount <= 1))
    fail(where, "discount is {}; expected a number in (0, 1]", options.discount);
  if (options.horizon == 0 && options.discount == 1)
    fail(where, "discount is 1 and horizon 0; expected a horizon, or a discount below 1");
  if (options.horizon > 0 && options.discount < 1)
    fail(where, "discount is {} and horizon {}; expected discount 1, or horizon 0", options.discount, options.horizon);
  if (!Objective::mixes && !options.stock.is_none())
    fail(where,
         "a mixture of better laws may be a worse one for this statistic, so that no stock makes it a matter of "
         "dynamic programming; expected Mean, Cvar, EntropicRisk or ExpectedUtility, or StockGrid::none()");
  const Stopwatch watch;
  const auto objective = Objective{}(statistic);
  const bool with_stock = Objective::with_stock && !options.stock.is_none();
  StockSolution result;
  if (options.horizon > 0) {
    const auto run = [&](const auto& maximised) {
      ExactStocks<M> stocks(where, model, options, with_stock);
      exact(stocks, maximised);
      return std::move(stocks.solution());
    };
    result = with_stock ? run(objective) : run(statistic);  // without one: of each law itself, step by step
  } else if constexpr (std::is_same_v<F, Mean>) {
    result = discounted_stocks(where, model, RiskNeutral{}, false, options, progress, discounted);
  } else if constexpr (Objective::with_stock) {
    if (!with_stock)
      fail(where, "greedy control of this statistic without a stock need not converge; expected a horizon or a stock");
    if (!is_positively_homogeneous(objective.utility))
      fail(where, "the utility doesn't say that it is positively homogeneous, which discount {} < 1 needs",
           options.discount);
    result = discounted_stocks(where, model, objective.utility, true, options, progress, discounted);
  } else {
    fail(where, "this statistic has no stationary best policy with discount {} < 1; expected a horizon",
         options.discount);
  }
  result.level = cvar_level(statistic);
  result.seconds = watch.seconds();
  return result;
}

}  // namespace detail

/// Distributional value iteration over stocks (Avila Pires et al. 2025, "Optimizing Return Distributions with
/// Distributional Dynamic Programming"): plans for any statistic of the return that dynamic programming can optimise,
/// by choosing for each state and stock the action for which K(law of stock + R + discount G(S', (stock + R) /
/// discount)) is largest.
///
///     auto tail = distributional_value_iteration(mdp, Cvar{0.1}, {.discount = 0.99});
///     auto [stock, value] = tail.start(s);              // begin with this stock, and keep it: (stock + r) / discount
///     int a = tail.action(s, stock);
///     Particles law = tail.law(s, stock);               // of the return
///
/// The statistic K is `Mean`; `Cvar`, whose stock to begin with is part of the answer; `EntropicRisk`, with a horizon;
/// or `ExpectedUtility{f}`, f any function with a horizon, else one that is positively homogeneous and says so
/// (`is_positively_homogeneous`). Mixing better laws must give a better law, and that leaves expectations of utilities.
/// Mean and EntropicRisk do without a stock. With `StockGrid::none()` and a horizon any `ReturnFunctional` is taken,
/// and each step is greedy for it: that is plain distributional control, in general not optimal.
///
/// - With a horizon (discount 1, integer rewards): backward induction on exact laws. `stock` are the integers to begin
///   with, by default from -horizon x largest to -horizon x smallest reward, 0 included, where the best stock of CVaR
///   is; later stocks are added. `bound` is 0.
/// - Discounted: `stock` is a grid, by default one that covers what matters. Since K is an expectation of f, U(s, c) =
///   E f(c + G) is carried along as a number and not read off the laws: value iteration in the model of
///   `stock_augmented`, to `tolerance` (`bound`, MacQueen's). Then the laws of that policy by
///   `distributional_policy_evaluation`, to `law_tolerance` (`law_bound`, and `projection_bound` for the atoms).
///
/// What the grid of stocks costs: mixing two points adds a noise to the stock whose mean is 0 and whose deviation is at
/// most step / 2; discounted and added up over all steps it has deviation step / 2 x discount / sqrt(1 - discount^2),
/// and f a Lipschitz constant: `stock_bound`. The laws have no such noise: they are what the policy earns, with a stock
/// rounded at random. `value` of a concave f tends to be too small, that of CVaR by up to stock_bound / level. So
/// compare `Cvar{level}(law)` with it, and take a finer grid, or a narrower one with `clamp`, where they differ by too
/// much.
///
/// `progress` is asked while discounted sweeps run. Throws `Error` for options out of range, discount 1 without a
/// horizon, rewards that aren't integers with one, statistics as above, and models of more than 2^27 numbers.
template <FiniteModel M, ReturnFunctional F>
StockSolution distributional_value_iteration(const M& model, const F& statistic,
                                             const DistributionalIterationOptions& options, Progress progress = {}) {
  return detail::plan_for_statistic(
      "distributional_value_iteration", model, statistic, options, progress,
      [&](auto& stocks, const auto& objective) {
        StockSolution& solution = stocks.solution();
        for (std::size_t t = options.horizon; t-- > 0; ++solution.iterations)
          stocks.step(t, objective, [&](std::size_t x, const auto& value_of) {
            return detail::best_of(stocks.model(), static_cast<int>(x), value_of).first;
          });
        stocks.set_values(objective);
        solution.converged = true;
      },
      [&](const FiniteMdp<double>& augmented, Progress report) {
        return value_iteration(augmented,
                               {.discount = options.discount,
                                .tolerance = options.tolerance,
                                .max_iterations = options.max_iterations,
                                .threads = options.threads},
                               report);
      });
}

/// Distributional policy iteration over stocks (Avila Pires et al. 2025): the laws of a policy, then the policy that is
/// greedy for them, until no action is better. Arguments and result as for `distributional_value_iteration`;
/// `iterations` counts improvements, of which a horizon needs no more than its steps and one. It starts with the first
/// action that is available. Discounted, the statistic of a policy is enough to improve it, and
/// `modified_policy_iteration` is what runs: it takes less time than value iteration where there are many actions.
template <FiniteModel M, ReturnFunctional F>
StockSolution distributional_policy_iteration(const M& model, const F& statistic,
                                              const DistributionalIterationOptions& options, Progress progress = {}) {
  return detail::plan_for_statistic(
      "distributional_policy_iteration", model, statistic, options, progress,
      [&](auto& stocks, const auto& objective) {
        StockSolution& solution = stocks.solution();
        const auto first = [&](std::size_t x, const auto&) {
          return detail::best_of(stocks.model(), static_cast<int>(x), [](int) { return 0.0; }).first;
        };
        for (std::size_t t = options.horizon; t-- > 0;) stocks.step(t, objective, first);
        std::vector<std::vector<int>> improved = solution.policy;
        for (bool changed = true; changed && solution.iterations < options.max_iterations; ++solution.iterations) {
          // The greedy policy for the laws as they are, forwards, so that no law is used after it was replaced ...
          for (std::size_t t = 0; t < options.horizon; ++t)
            stocks.step(t, objective, [&](std::size_t x, const auto& value_of) {
              const int now = solution.policy[t][x];
              const auto best = detail::best_of(stocks.model(), static_cast<int>(x), value_of);
              const double margin = 1e-12 * (1 + std::abs(best.second));
              return best.second > value_of(now) + margin ? best.first : now;
            });
          changed = improved != solution.policy;
          improved = solution.policy;
          // ... and then its own laws, backwards.
          for (std::size_t t = options.horizon; changed && t-- > 0;)
            stocks.step(t, objective, [&](std::size_t x, const auto&) { return improved[t][x]; });
          solution.converged = !changed;
        }
        stocks.set_values(objective);
      },
      [&](const FiniteMdp<double>& augmented, Progress report) {
        return modified_policy_iteration(augmented,
                                         {.discount = options.discount,
                                          .tolerance = options.tolerance,
                                          .max_iterations = options.max_iterations,
                                          .threads = options.threads},
                                         report);
      });
}

}  // namespace valence
