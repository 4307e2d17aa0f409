#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/quantile.hpp"
#include "valence/policy/concepts.hpp"

/// Parts of implicit quantile networks (Dabney, Ostrovski, Silver and Munos 2018, "Implicit Quantile Networks for
/// Distributional Reinforcement Learning"). The fraction is an input of the network, so IQN is not a head: draw fractions
/// tau for the predictions and others for the targets, give the network `cosine_features` of each next to the state's,
/// and regress with `implicit_quantile_loss`.
namespace valence {

/// out_i = cos(pi i tau), i = 0 ... out.size() - 1: the embedding of a fraction before its linear layer (equation 4; 64
/// of them in the paper). tau in [0, 1].
template <Scalar S>
void cosine_features(S tau, std::span<std::type_identity_t<S>> out) {
  check_range("cosine_features", "tau", tau, 0, 1);
  // By rotation, in double: one sine and one cosine, whatever the number of features.
  constexpr double pi = 3.14159265358979323846;
  const double angle = pi * static_cast<double>(tau), c = std::cos(angle), s = std::sin(angle);
  double x = 1, y = 0;
  for (S& feature : out) {
    feature = static_cast<S>(x);
    const double next = x * c - y * s;
    y = x * s + y * c;
    x = next;
  }
}

/// The same of several fractions, one a column: out is features x fractions.
template <Scalar S>
void cosine_features_columns(std::span<const S> fractions, OutputsGradient<S> out) {
  check_shape("cosine_features_columns", "out", out.rows(), out.cols(), out.rows(),
              static_cast<std::ptrdiff_t>(fractions.size()));
  check_range("cosine_features_columns", "fractions", fractions, 0, 1);
  for (std::size_t j = 0; j < fractions.size(); ++j)
    cosine_features(fractions[j], detail::column(out, static_cast<Eigen::Index>(j)));
}

/// Another view of the fractions is another attitude to risk: values are the mean over beta(tau), tau uniform (section
/// 3.1). Takes [0, 1] to [0, 1].
template <class D>
concept Distortion = std::copyable<D> && requires(const D d, double tau) {
  { d(tau) } -> std::same_as<double>;
};

/// tau itself: no attitude, the mean.
struct Neutral {
  double operator()(double tau) const { return tau; }
};
/// level tau: the mean over it is CVaR at this level, in (0, 1].
struct CvarDistortion {
  double level = 0.25;
  double operator()(double tau) const { return level * tau; }
};
/// Phi(Phi^-1(tau) + eta): averse to risk for eta < 0, seeking it for eta > 0 (Wang 2000).
struct WangDistortion {
  double eta = -0.75;
  double operator()(double tau) const { return normal_cdf(normal_quantile(tau) + eta); }
};
/// tau^(1 / (1 + |eta|)) for eta >= 0, 1 - (1 - tau)^(1 / (1 + |eta|)) below: averse for eta < 0.
struct PowerDistortion {
  double eta = -2;
  double operator()(double tau) const {
    const double power = 1 / (1 + std::abs(eta));
    return eta >= 0 ? std::pow(tau, power) : 1 - std::pow(1 - tau, power);
  }
};

/// out_i = beta(u_i) with u_i uniform on [0, 1). One output of the generator each. Throws `Error` for a distortion that
/// leaves [0, 1].
template <Scalar S, Distortion D = Neutral>
void sample_fractions(Rng& rng, std::span<S> out, const D& distortion = {}) {
  for (S& tau : out) {
    const double t = distortion(rng.uniform());
    check_range("sample_fractions", "a distorted fraction", t, 0, 1);
    tau = static_cast<S>(t);
  }
}

/// Quantile Huber loss at sampled fractions (equation 3): theta_i is the network's output at fractions[i], y_j are
/// samples r + g Z_{tau'_j}(s', a'), of any number. A sum over predictions of a mean over targets, divided by kappa:
/// `quantile_huber` by another name, and the loss of QR-DQN where the fractions are the midpoints.
template <Scalar S>
S implicit_quantile_loss(std::span<const S> theta, std::span<const std::type_identity_t<S>> fractions,
                         std::span<const std::type_identity_t<S>> y, std::span<std::type_identity_t<S>> d_theta,
                         std::type_identity_t<S> weight = 1, const QuantileHuberOptions& options = {}) {
  return quantile_huber<S>(theta, fractions, y, d_theta, weight, options);
}

}  // namespace valence
