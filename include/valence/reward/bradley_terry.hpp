#pragma once

#include <fmt/core.h>

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/types.hpp"
#include "valence/reward/tie_models.hpp"

/// The Bradley-Terry model by Newton's method: abilities of items that were compared in pairs, and rewards linear in
/// features.
///
/// Objective, with difference d_k = score(first_k) - score(second_k) and counts of wins, losses and ties of comparison
/// k:
///   sum_k [wins_k L_win(d_k) + losses_k L_loss(d_k) + ties_k L_tie(d_k)] + (l2 / 2) |w|^2
/// where L = -log P. It is convex, so a gradient of zero is a certificate of the minimum, and every fit returns it.
/// Source: R. A. Bradley and M. E. Terry, "Rank analysis of incomplete block designs" (Biometrika 1952).
namespace valence {

/// One pair of items and how their comparisons ended, seen from `first`. A single vote is a row with one 1 in it; a
/// soft label p is wins = p, losses = 1 - p. Counts are weights: any finite numbers >= 0.
struct Matchup {
  int first = 0, second = 0;
  double wins = 0, losses = 0, ties = 0;
};

/// What a tie counts for.
enum class Ties {
  half,       ///< half a win for each side
  drop,       ///< nothing
  davidson,   ///< an outcome of its own: `Davidson`, with nu fitted
  rao_kupper  ///< an outcome of its own: `RaoKupper`, with the threshold fitted
};

struct BradleyTerryOptions {
  double l2 = 0;  ///< >= 0: penalty (l2 / 2)(|w|^2 + order_effect^2). 0: maximum likelihood, which has to exist
  Ties ties = Ties::half;
  bool order_effect =
      false;                 ///< fit an advantage of being `first` (home field, left position), added to the difference
  int max_iterations = 100;  ///< >= 1
  double tolerance = 1e-10;  ///< > 0: converged when no entry of the gradient is larger
};

/// Does a maximum-likelihood fit exist without a penalty?
enum class MleStatus {
  unique,
  not_identified,  ///< some direction of the parameters changes no difference: the data say nothing about it
  separable        ///< some direction explains the outcomes better the further one goes: the fit is infinite
};

/// A fitted model. `weight` holds one number an item (abilities, with mean 0) or one a feature.
struct BradleyTerryFit {
  Vector<double> weight;
  double order_effect = 0;   ///< 0 unless fitted
  double tie_parameter = 0;  ///< Davidson's nu or Rao and Kupper's threshold; 0 for the other options
  Ties ties = Ties::half;
  /// Inverse Hessian at the optimum: of `weight` (for abilities: of abilities against their mean), then the order
  /// effect, then log nu or the threshold, as fitted.
  Matrix<double> covariance;
  double objective = 0;      ///< in nats, penalty included
  double gradient_norm = 0;  ///< largest entry of the gradient, absolute: the certificate
  int iterations = 0;
  bool converged = false;

  /// P(win), P(tie), P(loss) of a comparison with this score difference (`score(first) - score(second)`, without the
  /// order effect, which is added here). The tie is 0 unless a tie model was fitted.
  OutcomeProbabilities outcome(double difference) const {
    const double d = difference + order_effect;
    if (ties == Ties::davidson) return Davidson{tie_parameter}.probabilities(d);
    if (ties == Ties::rao_kupper) return RaoKupper{tie_parameter}.probabilities(d);
    check_finite("BradleyTerryFit::outcome", "difference", difference);
    return {sigmoid(d), 0.0, sigmoid(-d)};
  }
  /// The same for two items of a fit of abilities.
  OutcomeProbabilities outcome(int first, int second) const {
    check_item("BradleyTerryFit::outcome", first);
    check_item("BradleyTerryFit::outcome", second);
    return outcome(weight[first] - weight[second]);
  }
  /// Expected score of `first` against `second`: P(win) + P(tie) / 2, in [0, 1].
  double win_probability(int first, int second) const {
    const OutcomeProbabilities p = outcome(first, second);
    return p.win + p.tie / 2;
  }
  /// Standard error of `weight[i]`; of abilities this is the error against the mean of all items.
  double standard_error(int i) const {
    check_item("BradleyTerryFit::standard_error", i);
    return std::sqrt(covariance(i, i));
  }
  /// Standard error of `weight[i] - weight[j]`: the one to quote against a reference item.
  double standard_error(int i, int j) const {
    check_item("BradleyTerryFit::standard_error", i);
    check_item("BradleyTerryFit::standard_error", j);
    // Rounding may leave a variance of -1e-20 where i == j.
    const double variance = covariance(i, i) + covariance(j, j) - 2 * covariance(i, j);
    return variance > 0 ? std::sqrt(variance) : 0.0;
  }
  /// Abilities with that of `item` moved to 0: only differences of abilities mean anything.
  Vector<double> relative_to(int item) const {
    check_item("BradleyTerryFit::relative_to", item);
    return Vector<double>((weight.array() - weight[item]).matrix());
  }

 private:
  void check_item(const char* where, int i) const {
    if (i < 0 || i >= weight.size()) fail(where, "item is {}; expected a number in [0, {}]", i, weight.size() - 1);
  }
};

namespace detail {

/// PairOutcome counts of each comparison, after `Ties` has been applied.
struct OutcomeCounts {
  Vector<double> wins, losses, ties;
};

/// Design of item comparisons: +1 for the first, -1 for the second.
struct ItemDesign {
  using Scalar = double;
  std::span<const Matchup> rows;
  Eigen::Index parameters;

  Eigen::Index size() const { return static_cast<Eigen::Index>(rows.size()); }
  template <class W>
  void differences(const W& w, Vector<double>& d) const {
    for (std::size_t k = 0; k < rows.size(); ++k)
      d[static_cast<Eigen::Index>(k)] = w[rows[k].first] - w[rows[k].second];
  }
  template <class Out>
  void accumulate(const Vector<double>& r, Out&& out) const {  // out += X r
    for (std::size_t k = 0; k < rows.size(); ++k) {
      out[rows[k].first] += r[static_cast<Eigen::Index>(k)];
      out[rows[k].second] -= r[static_cast<Eigen::Index>(k)];
    }
  }
  void accumulate_square(const Vector<double>& c, Matrix<double>& h) const {  // lower triangle of h += X diag(c) X'
    for (std::size_t k = 0; k < rows.size(); ++k) {
      const int a = rows[k].first, b = rows[k].second;
      const double x = c[static_cast<Eigen::Index>(k)];
      h(a, a) += x;
      h(b, b) += x;
      h(a > b ? a : b, a > b ? b : a) -= x;
    }
  }
  template <class R = double>
  R largest() const {
    return 1;
  }
};

/// Design of feature differences, features x comparisons.
struct FeatureDesign {
  using Scalar = double;
  const Eigen::Ref<const Matrix<double>>& x;
  Eigen::Index parameters;

  Eigen::Index size() const { return x.cols(); }
  template <class W>
  void differences(const W& w, Vector<double>& d) const {
    d.noalias() = x.transpose() * w;
  }
  template <class Out>
  void accumulate(const Vector<double>& r, Out&& out) const {
    out += x * r;
  }
  template <class H>
  void accumulate_square(const Vector<double>& c, H& h) const {
    const Matrix<double> scaled = x * c.cwiseMax(0.0).cwiseSqrt().asDiagonal();
    h.topLeftCorner(parameters, parameters).template selfadjointView<Eigen::Lower>().rankUpdate(scaled);
  }
  template <class R = double>
  R largest() const {
    return x.size() == 0 ? 0.0 : x.cwiseAbs().maxCoeff();
  }
};

/// The objective over theta = [w, order effect, tie parameter], the last two where they are fitted. Scratch is kept, so
/// an iteration allocates nothing.
template <class Design>
class BradleyTerryObjective {
 public:
  using Scalar = typename Design::Scalar;  // double; dependent, so that nothing is instantiated before a fit is called
  BradleyTerryObjective(Design design, const OutcomeCounts& counts, const BradleyTerryOptions& options)
      : design_(design), counts_(counts), l2_(options.l2), order_(options.order_effect), ties_(options.ties) {
    for (Vector<Scalar>* v : {&d_, &slope_, &curve_, &cross_}) v->setZero(design.size());
  }
  bool has_tie_parameter() const { return ties_ == Ties::davidson || ties_ == Ties::rao_kupper; }
  Eigen::Index order_index() const { return design_.parameters; }
  Eigen::Index tie_index() const { return design_.parameters + (order_ ? 1 : 0); }
  Eigen::Index size() const { return tie_index() + (has_tie_parameter() ? 1 : 0); }

  /// Value only when `gradient` is null. The Hessian's lower triangle is filled.
  double operator()(const Vector<Scalar>& theta, Vector<Scalar>* gradient, Matrix<Scalar>* hessian) {
    const double tie = has_tie_parameter() ? theta[tie_index()] : 0;
    // A threshold at or below 0 gives ties no probability: outside of the domain.
    if (ties_ == Ties::rao_kupper && !(tie > 0)) return std::numeric_limits<double>::infinity();
    differences(theta, d_);
    double value = 0, tie_slope = 0, tie_curve = 0;
    for (Eigen::Index k = 0; k < d_.size(); ++k) {
      OutcomeCurvature total{};
      add(total, counts_.wins[k], d_[k], tie, PairOutcome::win);
      add(total, counts_.losses[k], d_[k], tie, PairOutcome::loss);
      add(total, counts_.ties[k], d_[k], tie, PairOutcome::tie);
      value += total.value;
      slope_[k] = total.d;
      curve_[k] = total.dd;
      cross_[k] = total.dt;
      tie_slope += total.t;
      tie_curve += total.tt;
    }
    const Eigen::Index n = design_.parameters, penalised = tie_index();
    value += l2_ / 2 * theta.head(penalised).squaredNorm();
    if (gradient != nullptr) {
      Vector<Scalar>& g = *gradient;
      g.setZero();
      design_.accumulate(slope_, g.head(n));
      if (order_) g[order_index()] = slope_.sum();
      if (has_tie_parameter()) g[tie_index()] = tie_slope;
      g.head(penalised) += l2_ * theta.head(penalised);
    }
    if (hessian != nullptr) {
      Matrix<Scalar>& h = *hessian;
      h.setZero();
      design_.accumulate_square(curve_, h);
      if (order_) {
        design_.accumulate(curve_, h.row(order_index()).head(n).transpose());
        h(order_index(), order_index()) = curve_.sum();
      }
      if (has_tie_parameter()) {
        design_.accumulate(cross_, h.row(tie_index()).head(n).transpose());
        if (order_) h(tie_index(), order_index()) = cross_.sum();
        h(tie_index(), tie_index()) = tie_curve;
      }
      h.diagonal().head(penalised).array() += l2_;
    }
    return value;
  }

  /// Does moving along `direction` for ever only raise the probability of what was seen? Then no finite maximum exists.
  /// The relative tolerance is far above the rounding of a Newton step and far below any violation by data that do
  /// overlap.
  bool separates(const Vector<Scalar>& direction) {
    differences(direction, d_);
    // In these units a tie is explained while |d| <= band, a win while d >= band (Davidson's parameter is log nu: d /
    // 2).
    const double band = !has_tie_parameter()      ? 0
                        : ties_ == Ties::davidson ? 2 * direction[tie_index()]
                                                  : direction[tie_index()];
    const double scale = d_.size() == 0 ? 0 : d_.cwiseAbs().maxCoeff(), slack = 1e-8 * scale;
    if (!(scale > 0)) return false;
    for (Eigen::Index k = 0; k < d_.size(); ++k) {
      const double win_band = band > 0 ? band : 0;
      if (counts_.wins[k] > 0 && d_[k] < win_band - slack) return false;
      if (counts_.losses[k] > 0 && -d_[k] < win_band - slack) return false;
      if (counts_.ties[k] > 0 && std::abs(d_[k]) > band + slack) return false;
    }
    return true;
  }

  double rounding_floor() const {
    const double weight = counts_.wins.sum() + counts_.losses.sum() + counts_.ties.sum();
    const double entry = design_.largest() > 1 ? design_.largest() : 1;
    return 4 * std::numeric_limits<double>::epsilon() * weight * entry;
  }

 private:
  void differences(const Vector<Scalar>& theta, Vector<Scalar>& d) const {
    design_.differences(theta.head(design_.parameters), d);
    if (order_) d.array() += theta[order_index()];
  }
  void add(OutcomeCurvature& total, double count, double d, double tie, PairOutcome outcome) const {
    if (count == 0) return;  // 0 * inf would be NaN
    OutcomeCurvature c{};
    if (ties_ == Ties::davidson) {
      c = Davidson::curvature(d, tie, outcome);
    } else if (ties_ == Ties::rao_kupper) {
      c = RaoKupper::curvature(d, tie, outcome);
    } else {  // counts hold no ties here
      const double sign = outcome == PairOutcome::win ? 1 : -1, miss = sigmoid(-sign * d);
      c = {softplus(-sign * d), -sign * miss, 0, miss * (1 - miss), 0, 0};
    }
    total.value += count * c.value;
    total.d += count * c.d;
    total.t += count * c.t;
    total.dd += count * c.dd;
    total.dt += count * c.dt;
    total.tt += count * c.tt;
  }

  Design design_;
  const OutcomeCounts& counts_;
  double l2_;
  bool order_;
  Ties ties_;
  Vector<Scalar> d_, slope_, curve_, cross_;
};

struct NewtonOutcome {
  Vector<double> theta, step;
  Matrix<double> covariance;
  double objective = 0, gradient_norm = 0;
  int iterations = 0;
  bool converged = false;
};

/// Damped Newton with step halving. The first `gauge` parameters may be shifted together without changing the objective
/// (0: no such freedom); the missing curvature along that shift is supplied, which keeps their mean where it started.
template <class Objective>
NewtonOutcome newton(Objective& objective, Vector<typename Objective::Scalar> theta, Eigen::Index gauge,
                     const BradleyTerryOptions& options, Progress progress) {
  using V = Vector<typename Objective::Scalar>;
  using M = Matrix<typename Objective::Scalar>;
  const Eigen::Index n = theta.size();
  NewtonOutcome out;
  V gradient(n), trial(n), step = V::Zero(n);
  M hessian(n, n);
  Eigen::LLT<M> factor(n);
  const double floor = objective.rounding_floor(), tolerance = options.tolerance > floor ? options.tolerance : floor;
  double shift = 0;
  const auto prepare = [&] {  // factor of a positive definite Hessian, gauge included
    const double top = hessian.diagonal().maxCoeff();
    shift = gauge > 0 ? top / static_cast<double>(gauge) : 0;
    if (gauge > 0) hessian.topLeftCorner(gauge, gauge).array() += shift;
    factor.compute(hessian);
    for (double ridge = 1e-12; factor.info() != Eigen::Success && ridge < 1e6; ridge *= 10) {
      hessian.diagonal().array() += ridge * (top > 0 ? top : 1);
      factor.compute(hessian);
    }
  };
  double value = objective(theta, &gradient, &hessian);
  for (;;) {
    out.gradient_norm = gradient.cwiseAbs().maxCoeff();
    out.converged = out.gradient_norm <= tolerance;
    const bool go_on = progress({.step = static_cast<std::uint64_t>(out.iterations),
                                 .task = "Newton",
                                 .metric = "gradient",
                                 .value = out.gradient_norm});
    if (out.converged || !go_on || out.iterations == options.max_iterations) break;
    prepare();
    step = factor.solve(-gradient);
    const double slope = gradient.dot(step);
    double length = 1, next = value;
    bool moved = false;
    for (int halving = 0; halving < 60 && !moved; ++halving, length /= 2) {
      trial = theta + length * step;
      next = objective(trial, nullptr, nullptr);
      // The last term lets the final steps through: their true decrease is below the rounding of the sum.
      moved = next <= value + 1e-4 * length * slope + 1e-14 * std::abs(value);
    }
    if (!moved) {  // rounding has the last word; `converged` stays false
      value = objective(theta, &gradient, &hessian);
      break;
    }
    theta.swap(trial);
    value = objective(theta, &gradient, &hessian);
    ++out.iterations;
  }
  prepare();
  out.covariance = factor.solve(M::Identity(n, n));
  if (gauge > 0) {
    const double m = static_cast<double>(gauge);
    out.covariance.topLeftCorner(gauge, gauge).array() -= 1 / (shift * m * m);
  }
  out.theta = std::move(theta);
  out.step = std::move(step);
  out.objective = value;
  return out;
}

inline void check_options(const char* where, const BradleyTerryOptions& o) {
  if (!(o.l2 >= 0 && std::isfinite(o.l2))) fail(where, "l2 is {}; expected a finite number of at least 0", o.l2);
  if (o.max_iterations < 1) fail(where, "max_iterations is {}; expected at least 1", o.max_iterations);
  check_positive(where, "tolerance", o.tolerance);
}

/// The part that fits of items and of features share. `counts` may be changed (ties folded in).
template <class Design>
MleStatus fit_comparisons(const char* where, Design design, OutcomeCounts& counts, const BradleyTerryOptions& options,
                          Eigen::Index gauge, Progress progress, BradleyTerryFit& fit) {
  BradleyTerryOptions used = options;
  const double total = counts.wins.sum() + counts.losses.sum() + counts.ties.sum(), ties = counts.ties.sum();
  if (!(total > 0)) fail(where, "every comparison has weight 0; expected at least one that counts");
  if (!std::isfinite(total)) fail(where, "the weights sum to {}; expected a finite number", total);
  const bool tie_model = options.ties == Ties::davidson || options.ties == Ties::rao_kupper;
  if (options.ties == Ties::half) {
    counts.wins += counts.ties / 2;
    counts.losses += counts.ties / 2;
    counts.ties.setZero();
  } else if (options.ties == Ties::drop) {
    counts.ties.setZero();
    if (!(total > ties))
      fail(where, "every comparison is a tie, and ties = drop leaves none; expected at least one decided");
  } else if (ties == 0) {
    used.ties = Ties::drop;  // both tie models are Bradley-Terry at a tie parameter of 0, which is then their maximum
  } else if (!(total > ties)) {
    fail(where, "every comparison is a tie, so the tie parameter has no finite maximum; use ties = half");
  }
  BradleyTerryObjective<Design> objective(design, counts, used);
  Vector<typename Design::Scalar> theta = Vector<typename Design::Scalar>::Zero(objective.size());
  if (objective.has_tie_parameter()) {  // the maximum for equal items
    const double share = ties / total;
    theta[objective.tie_index()] =
        used.ties == Ties::davidson ? std::log(2 * share / (1 - share)) : std::log1p(2 * share / (1 - share));
  }
  NewtonOutcome result = newton(objective, std::move(theta), options.l2 == 0 ? gauge : 0, used, progress);
  if (options.l2 == 0 && result.iterations > 0 && objective.separates(result.step)) return MleStatus::separable;
  fit.weight = result.theta.head(design.parameters);
  fit.order_effect = options.order_effect ? result.theta[objective.order_index()] : 0;
  fit.ties = options.ties;
  if (tie_model && objective.has_tie_parameter()) {
    const double t = result.theta[objective.tie_index()];
    fit.tie_parameter = options.ties == Ties::davidson ? std::exp(t) : t;
  }
  fit.covariance = std::move(result.covariance);
  fit.objective = result.objective;
  fit.gradient_norm = result.gradient_norm;
  fit.iterations = result.iterations;
  fit.converged = result.converged;
  return MleStatus::unique;
}

inline void check_matchups(const char* where, std::span<const Matchup> matchups, int items) {
  if (items < 2) fail(where, "items is {}; expected at least 2", items);
  if (matchups.empty()) fail(where, "matchups is empty; expected at least one comparison");
  for (std::size_t k = 0; k < matchups.size(); ++k) {
    const Matchup& m = matchups[k];
    for (const auto& [name, item] : {std::pair{"first", m.first}, std::pair{"second", m.second}})
      if (item < 0 || item >= items)
        fail(where, "matchups[{}].{} is {}; expected an item in [0, {}]", k, name, item, items - 1);
    if (m.first == m.second) fail(where, "matchups[{}] compares item {} with itself", k, m.first);
    for (const auto& [name, count] :
         {std::pair{"wins", m.wins}, std::pair{"losses", m.losses}, std::pair{"ties", m.ties}})
      if (!(count >= 0 && std::isfinite(count)))
        fail(where, "matchups[{}].{} is {}; expected a finite number of at least 0", k, name, count);
  }
}

inline OutcomeCounts counts_of(std::span<const Matchup> matchups) {
  const auto n = static_cast<Eigen::Index>(matchups.size());
  OutcomeCounts counts{Vector<double>(n), Vector<double>(n), Vector<double>(n)};
  for (Eigen::Index k = 0; k < n; ++k) {
    const Matchup& m = matchups[static_cast<std::size_t>(k)];
    counts.wins[k] = m.wins;
    counts.losses[k] = m.losses;
    counts.ties[k] = m.ties;
  }
  return counts;
}

/// Which items can be reached from item 0: along "did not lose to" (`forward`), along "did not win against", or either
/// way.
inline std::vector<char> reachable(std::span<const Matchup> matchups, int items, Ties ties, bool forward,
                                   bool backward) {
  std::vector<std::vector<int>> edges(static_cast<std::size_t>(items));
  const auto link = [&](int from, int to) { edges[static_cast<std::size_t>(from)].push_back(to); };
  for (const Matchup& m : matchups) {
    const double tie = ties == Ties::drop ? 0 : m.ties;
    const bool over = m.wins + tie > 0, under = m.losses + tie > 0;
    if ((forward && over) || (backward && under)) link(m.first, m.second);
    if ((forward && under) || (backward && over)) link(m.second, m.first);
  }
  std::vector<char> seen(static_cast<std::size_t>(items), 0);
  std::vector<int> stack{0};
  seen[0] = 1;
  while (!stack.empty()) {
    const auto from = static_cast<std::size_t>(stack.back());
    stack.pop_back();
    for (const int to : edges[from])
      if (!seen[static_cast<std::size_t>(to)]) {
        seen[static_cast<std::size_t>(to)] = 1;
        stack.push_back(to);
      }
  }
  return seen;
}

inline int first_unseen(const std::vector<char>& seen) {
  for (std::size_t k = 0; k < seen.size(); ++k)
    if (!seen[k]) return static_cast<int>(k);
  return -1;
}

/// What the graph of comparisons says about the existence of the maximum-likelihood fit, in words in `why`.
inline MleStatus graph_status(std::span<const Matchup> matchups, int items, Ties ties, std::string& why) {
  if (const int apart = first_unseen(reachable(matchups, items, ties, true, true)); apart >= 0) {
    why = fmt::format("items 0 and {} are not linked by any chain of comparisons, so their abilities can't be compared",
                      apart);
    return MleStatus::not_identified;
  }
  for (const bool forward : {true, false})
    if (const int end = first_unseen(reachable(matchups, items, ties, forward, !forward)); end >= 0) {
      why = fmt::format(
          "the data are separable: no chain of {} leads from item 0 to item {}, so their difference is infinite",
          forward ? "wins" : "losses", end);
      return MleStatus::separable;
    }
  return MleStatus::unique;
}

}  // namespace detail

// The fits are templates for one reason: a file that includes this header and fits nothing compiles no decomposition.

/// Abilities of `items` items from their comparisons, by Newton's method.
///
/// `matchups`: any number of rows, also several of one pair and in either order. The result's `weight` has one ability
/// an item, with mean 0 (`relative_to(item)` moves the zero). Ties count as `options.ties` says. An item without
/// comparisons gets ability 0 where l2 > 0. Throws `Error` for an item outside of [0, items), an item against itself, a
/// negative or non-finite count, no comparison at all, and, where l2 = 0, for data without a unique finite maximum
/// (unlinked items, or a group that always won: separable).
template <std::same_as<double> S = double>
BradleyTerryFit fit_bradley_terry(std::span<const Matchup> matchups, int items, const BradleyTerryOptions& options = {},
                                  Progress progress = {}) {
  const char* where = "fit_bradley_terry";
  detail::check_options(where, options);
  detail::check_matchups(where, matchups, items);
  if (options.l2 == 0) {
    std::string why;
    if (detail::graph_status(matchups, items, options.ties, why) != MleStatus::unique)
      fail(where, "{}; set l2 > 0 or leave items out", why);
  }
  detail::OutcomeCounts counts = detail::counts_of(matchups);
  BradleyTerryFit fit;
  if (detail::fit_comparisons(where, detail::ItemDesign{matchups, items}, counts, options, items, progress, fit) ==
      MleStatus::separable)
    fail(where,
         "the data are separable: the order effect or the tie parameter explains them without limit; set l2 > 0 or fit "
         "less");
  // The penalty alone says something about the common level of all abilities, which means nothing: errors are those of
  // abilities against their mean, as without a penalty. (The level is an eigenvector of the Hessian, with eigenvalue
  // l2.)
  if (options.l2 > 0) fit.covariance.topLeftCorner(items, items).array() -= 1 / (options.l2 * items);
  return fit;
}

/// Whether the abilities of `items` items have a maximum-likelihood fit without a penalty: exact, from the graph of
/// wins (L. R. Ford, "Solution of a ranking problem from binary comparisons", 1957), for ties as half a win or dropped.
inline MleStatus mle_status(std::span<const Matchup> matchups, int items, Ties ties = Ties::half) {
  detail::check_matchups("mle_status", matchups, items);
  if (ties != Ties::half && ties != Ties::drop)
    fail("mle_status", "ties is a tie model, whose existence the graph alone doesn't decide; expected half or drop");
  std::string why;
  return detail::graph_status(matchups, items, ties, why);
}

namespace detail {

inline void check_differences(const char* where, const Eigen::Ref<const Matrix<double>>& difference,
                              std::span<const double> outcome, std::span<const double> weight) {
  if (difference.rows() == 0 || difference.cols() == 0)
    fail(where, "difference is {} x {}; expected features x comparisons, at least 1 x 1", difference.rows(),
         difference.cols());
  const auto n = static_cast<std::size_t>(difference.cols());
  if (!outcome.empty()) check_size(where, "outcome", outcome.size(), n);
  if (!weight.empty()) check_size(where, "weight", weight.size(), n);
  for (Eigen::Index k = 0; k < difference.cols(); ++k)
    for (Eigen::Index j = 0; j < difference.rows(); ++j)
      if (!std::isfinite(difference(j, k)))
        fail(where, "difference({}, {}) is {}; expected a finite number", j, k, difference(j, k));
  check_range(where, "outcome", outcome, 0, 1);
  for (std::size_t k = 0; k < weight.size(); ++k)
    if (!(weight[k] >= 0 && std::isfinite(weight[k])))
      fail(where, "weight[{}] is {}; expected a finite number of at least 0", k, weight[k]);
}

template <std::same_as<double> S>
MleStatus fit_differences(const char* where, const Eigen::Ref<const Matrix<double>>& difference,
                          std::span<const double> outcome, std::span<const double> weight,
                          const BradleyTerryOptions& options, Progress progress, BradleyTerryFit& fit,
                          std::string& why) {
  check_options(where, options);
  check_differences(where, difference, outcome, weight);
  const Eigen::Index d = difference.rows(), n = difference.cols();
  OutcomeCounts counts{Vector<S>::Zero(n), Vector<S>::Zero(n), Vector<S>::Zero(n)};
  for (Eigen::Index k = 0; k < n; ++k) {
    const auto i = static_cast<std::size_t>(k);
    const double y = outcome.empty() ? 1 : outcome[i], c = weight.empty() ? 1 : weight[i];
    if (y == 0.5) {
      counts.ties[k] = c;
    } else {
      counts.wins[k] = c * y;
      counts.losses[k] = c * (1 - y);
    }
  }
  if (options.l2 == 0) {  // the columns that count must be linearly independent
    const Eigen::Index p = d + (options.order_effect ? 1 : 0);
    Matrix<S> gram = Matrix<S>::Zero(p, p);
    const Vector<S> used =
        ((counts.wins + counts.losses).array() + (options.ties == Ties::drop ? 0.0 : 1.0) * counts.ties.array())
            .matrix();
    const FeatureDesign design{difference, d};
    design.accumulate_square(used, gram);
    if (options.order_effect) {
      design.accumulate(used, gram.row(d).head(d).transpose());
      gram(d, d) = used.sum();
    }
    for (Eigen::Index j = 0; j < p; ++j)
      if (!(gram(j, j) > 0)) {
        why = fmt::format("feature {} is the same on both sides of every pair, so its weight can't be told", j);
        return MleStatus::not_identified;
      }
    const Vector<S> scale = gram.diagonal().cwiseSqrt().cwiseInverse();
    gram = scale.asDiagonal() * gram * scale.asDiagonal();
    const Eigen::LDLT<Matrix<S>> factor(gram);
    if (!(factor.vectorD().minCoeff() > 1e-12 * static_cast<double>(p))) {
      why = "the features of the pairs are linearly dependent, so their weights can't be told apart";
      return MleStatus::not_identified;
    }
  }
  const MleStatus status = fit_comparisons(where, FeatureDesign{difference, d}, counts, options, 0, progress, fit);
  if (status == MleStatus::separable)
    why = "the data are separable: some direction of the weights explains every comparison without limit";
  return status;
}

}  // namespace detail

/// A reward that is linear in features, r(x) = weight . phi(x), from comparisons, by Newton's method (IRLS).
///
/// `difference`: features x comparisons, phi(first) - phi(second). `outcome`: P(first preferred) of each comparison in
/// [0, 1]; 1 and 0 are hard labels, exactly 0.5 is a tie, anything else a soft label; empty: all 1 (first = chosen).
/// `weight`: of each comparison, >= 0; empty: all 1. Throws `Error` for lengths that differ, entries that are not
/// finite, outcomes outside of [0, 1], negative weights, and, where l2 = 0, for data without a unique finite maximum
/// (linearly dependent features, or separable data).
template <std::same_as<double> S = double>
BradleyTerryFit fit_linear_reward(const Eigen::Ref<const Matrix<double>>& difference,
                                  std::span<const double> outcome = {}, std::span<const double> weight = {},
                                  const BradleyTerryOptions& options = {}, Progress progress = {}) {
  BradleyTerryFit fit;
  std::string why;
  if (detail::fit_differences<S>("fit_linear_reward", difference, outcome, weight, options, progress, fit, why) !=
      MleStatus::unique)
    fail("fit_linear_reward", "{}; set l2 > 0", why);
  return fit;
}

/// Whether `fit_linear_reward` with these arguments and l2 = 0 has a unique finite maximum. Found by running the fit: a
/// separating direction is a proof; its absence is to within a relative 1e-8.
template <std::same_as<double> S = double>
MleStatus mle_status(const Eigen::Ref<const Matrix<double>>& difference, std::span<const double> outcome = {},
                     std::span<const double> weight = {}, BradleyTerryOptions options = {}) {
  options.l2 = 0;
  BradleyTerryFit fit;
  std::string why;
  return detail::fit_differences<S>("mle_status", difference, outcome, weight, options, {}, fit, why);
}

}  // namespace valence
