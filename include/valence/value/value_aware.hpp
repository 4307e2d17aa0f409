#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/statistics.hpp"
#include "valence/core/types.hpp"

/// Losses of a learned model of the dynamics that count an error by what it does to a value function V, and not by its
/// size. Each takes the next state that the model predicts, m, and the one that was observed, s', an entry a coordinate;
/// e = m - s'. V is given by numbers and gets no gradient. All return the transition's loss and add w times its gradient
/// to `dm`; they throw `Error`, and change nothing, for sizes that disagree and for numbers that aren't finite.
namespace valence {

namespace detail {

template <class S>
void check_prediction(std::string_view where, std::span<const S> m, std::span<const S> next, S w,
                      std::span<const S> dm) {
  if (m.empty()) fail(where, "the prediction is empty; expected an entry a coordinate of the state");
  check_size(where, "next", next.size(), m.size());
  check_size(where, "dm", dm.size(), m.size());
  check_finite(where, "the prediction", m);
  check_finite(where, "next", next);
  check_finite(where, "w", w);
}

/// Gradients of several critics one after the other; returns how many.
template <class S>
std::size_t check_critic_gradients(std::string_view where, std::span<const S> g, std::size_t dimension) {
  if (g.empty() || g.size() % dimension != 0)
    fail(where, "value_gradient has {} entries; expected {} for each critic", g.size(), dimension);
  check_finite(where, "value_gradient", g);
  return g.size() / dimension;
}

}  // namespace detail

/// sum_d (g_d e_d)^2 with g = grad V(s') at the *observed* next state: the value-gradient weighted loss (Voelcker et al.
/// 2022, arXiv:2204.01464, equation 7). It bounds the first-order Taylor expansion of IterVAML's loss from above, (g'e)^2
/// <= dim * sum_d (g_d e_d)^2, is convex in the prediction, and asks for V at no state that the model made up. Gradient
/// 2 g_d^2 e_d.
///
/// A model that predicts the reward as well counts its error unweighted: append the reward to m and s', and a 1 to g.
struct Vagram {
  double mse_weight = 0;  ///< >= 0: times |e|^2 is added, which keeps coordinates sane that V ignores

  static constexpr std::string_view name = "Vagram";
  /// `value_gradient`: g, or that of several critics one after the other, whose losses are averaged. An all-zero g is
  /// allowed: the loss is 0 then, and the transition teaches nothing.
  template <Scalar S>
  S operator()(std::span<const S> m, std::span<const std::type_identity_t<S>> next,
               std::span<const std::type_identity_t<S>> value_gradient, std::type_identity_t<S> w,
               std::span<std::type_identity_t<S>> dm) const {
    detail::check_prediction<S>(name, m, next, w, dm);
    check_range(name, "mse_weight", mse_weight, 0, (std::numeric_limits<double>::max)());
    const std::size_t n = m.size(), critics = detail::check_critic_gradients(name, value_gradient, n);
    S loss = 0;
    for (std::size_t d = 0; d < n; ++d) {
      S square = 0;
      for (std::size_t k = 0; k < critics; ++k) square += value_gradient[k * n + d] * value_gradient[k * n + d];
      const S e = m[d] - next[d], weight = square / static_cast<S>(critics) + static_cast<S>(mse_weight);
      loss += weight * (e * e);
      dm[d] += w * (2 * weight * e);
    }
    return loss;
  }
};

/// (g'e)^2 with g = grad V(s'): the Taylor expansion itself, whose minimum is not unique: any error orthogonal to g is
/// free (Voelcker et al. 2022, section 4). Gradient 2 (g'e) g. Arguments as for `Vagram`.
struct TaylorVaml {
  static constexpr std::string_view name = "TaylorVaml";
  template <Scalar S>
  S operator()(std::span<const S> m, std::span<const std::type_identity_t<S>> next,
               std::span<const std::type_identity_t<S>> value_gradient, std::type_identity_t<S> w,
               std::span<std::type_identity_t<S>> dm) const {
    detail::check_prediction<S>(name, m, next, w, dm);
    const std::size_t n = m.size(), critics = detail::check_critic_gradients(name, value_gradient, n);
    const S share = S(1) / static_cast<S>(critics);
    S loss = 0;
    for (std::size_t k = 0; k < critics; ++k) {
      const auto g = value_gradient.subspan(k * n, n);
      S along = 0;
      for (std::size_t d = 0; d < n; ++d) along += g[d] * (m[d] - next[d]);
      loss += share * (along * along);
      for (std::size_t d = 0; d < n; ++d) dm[d] += w * (2 * share * along * g[d]);
    }
    return loss;
  }
};

/// (V(m) - V(s'))^2: iterative value-aware model learning (Farahmand 2018, of one sampled next state). It
/// needs V at the predicted states, where V was never trained. `gradient_at_prediction`: grad V(m). Gradient
/// 2 (V(m) - V(s')) grad V(m).
struct IterVaml {
  static constexpr std::string_view name = "IterVaml";
  template <Scalar S>
  S operator()(S predicted_value, std::type_identity_t<S> next_value,
               std::span<const std::type_identity_t<S>> gradient_at_prediction, std::type_identity_t<S> w,
               std::span<std::type_identity_t<S>> dm) const {
    check_size(name, "dm", dm.size(), gradient_at_prediction.size());
    check_finite(name, "predicted_value", predicted_value);
    check_finite(name, "next_value", next_value);
    check_finite(name, "gradient_at_prediction", gradient_at_prediction);
    check_finite(name, "w", w);
    const S e = predicted_value - next_value;
    for (std::size_t d = 0; d < dm.size(); ++d) dm[d] += w * (2 * e * gradient_at_prediction[d]);
    return e * e;
  }
};

/// Shortens the gradients (coordinates x samples) whose norm is above the batch's `level` quantile to that quantile
/// (type 7), so that a few steep places don't own the loss (Voelcker et al. 2022 clip likewise; the released code's
/// condition seldom holds). `level` in (0, 1]; 1 changes nothing. Returns the quantile. Throws `Error` for an empty batch, a level outside its range and gradients
/// that aren't finite.
template <Scalar S>
S clip_norms_by_quantile(Matrix<S>& gradients, double level = 0.95) {
  constexpr auto where = "clip_norms_by_quantile";
  if (gradients.cols() == 0) fail(where, "gradients has no columns; expected at least one sample");
  check_positive(where, "level", level);
  check_range(where, "level", level, 0, 1);
  check_finite(where, "gradients", view(gradients));
  std::vector<double> norms;
  for (Eigen::Index j = 0; j < gradients.cols(); ++j) norms.push_back(static_cast<double>(gradients.col(j).norm()));
  const double most = quantile(norms, level);
  for (Eigen::Index j = 0; j < gradients.cols(); ++j)
    if (const double norm = norms[static_cast<std::size_t>(j)]; norm > most)
      gradients.col(j) *= static_cast<S>(most / norm);
  return static_cast<S>(most);
}

}  // namespace valence
