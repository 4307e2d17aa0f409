#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/batch_losses.hpp"
#include "valence/preference/check.hpp"
#include "valence/preference/links.hpp"
#include "valence/preference/scores.hpp"

namespace valence {

/// Which divergence between the policy's and the demonstrations' distributions `FSft` descends, or, with another origin
/// and the same shape, `minor`. All have phi(0) = 0 and phi'(0) = 1, `minor` has -log 2 and 1/2.
enum class SftDivergence {
  total_variation,    ///< phi(r) = r: supervised fine-tuning itself
  pearson,            ///< r - r^2 / 4, largest at r = 2
  squared_hellinger,  ///< r / (1 + r)
  jensen_shannon,     ///< log(2 - e^-r)
  kl,                 ///< 1 - e^-r
  reverse_kl,         ///< log(1 + r)
  minor               ///< log sigma(r): MinorSFT, TorchRL's `minor_sft`
};

/// phi(r) = -f*(-r), what a demonstration of reward r is worth in the dual of the divergence, with its slope. Concave.
/// Where the formula has a pole it goes on along its tangent, once continuously differentiable: below -0.9
/// (`squared_hellinger`, `reverse_kl`), -0.6 (`jensen_shannon`) and -700 (`kl`); where these lines begin is a choice.
inline ValueAndSlope<double> demonstration_value(SftDivergence divergence, double r) {
  using elementary::expm1, elementary::log1p;
  const auto along_tangent_below = [r](double floor, auto phi) {
    const double inside = (std::max)(r, floor);
    const ValueAndSlope<double> at = phi(inside);
    return ValueAndSlope<double>{at.value + at.slope * (r - inside), at.slope};
  };
  switch (divergence) {
    case SftDivergence::total_variation:
      return {r, 1};
    case SftDivergence::pearson:
      return {r - r * r / 4, 1 - r / 2};
    case SftDivergence::squared_hellinger:
      return along_tangent_below(-0.9, [](double x) {
        return ValueAndSlope<double>{x / (1 + x), 1 / ((1 + x) * (1 + x))};
      });
    case SftDivergence::jensen_shannon:
      return along_tangent_below(-0.6, [](double x) {
        const double e = elementary::exp(-x);
        return ValueAndSlope<double>{log1p(-expm1(-x)), e / (2 - e)};
      });
    case SftDivergence::kl:
      return along_tangent_below(-detail::exp_cap<double>, [](double x) {
        return ValueAndSlope<double>{-expm1(-x), elementary::exp(-x)};
      });
    case SftDivergence::reverse_kl:
      return along_tangent_below(-0.9, [](double x) { return ValueAndSlope<double>{log1p(x), 1 / (1 + x)}; });
    case SftDivergence::minor: {
      const ValueAndSlope<double> loss = LogisticLink{}(r);
      return {-loss.value, -loss.slope};
    }
  }
  fail("demonstration_value", "divergence is {}; expected one of SftDivergence", static_cast<int>(divergence));
}

/// The value V of a prompt in the reward r = u + V of `FSft`.
enum class SftBaseline {
  zero,    ///< V = 0
  optimal  ///< the V of the prompt that makes the loss smallest; for `pearson`, where it is minus the mean of u
};

/// Supervised fine-tuning on demonstrations, the samples of `base`, as implicit reward learning (Wang et al. 2025,
/// arXiv:2507.00018): matching a distribution of demonstrations in an f-divergence, with a KL anchor to the reference,
/// gives policies and rewards of the form r = u + V, u = beta (log pi - log pi_ref), as DPO does, and the loss
///
///     mean over demonstrations of V - phi(u + V)        phi: `demonstration_value`
///
/// With the total variation that is `BaseSft` times beta, up to a constant: reference and V cancel, so nothing holds the
/// policy back. Of the others phi is strictly concave: the gradient of a demonstration fades as its log-ratio grows.
/// At pi = pi_ref the gradient is that of the total variation for all (for `minor`: half).
///
///     auto loss = FSft{.divergence = SftDivergence::pearson};
///     fit(pi, loss, {.base = demonstrations}, Adam{.step_size = 0.1}, {.steps = 200});
///     FSft{.divergence = SftDivergence::pearson, .baseline = SftBaseline::optimal, .prompt = demonstrations.prompt};
///
/// Reads `base.log_prob`, `base.ref_log_prob` and, if there, `base.weight`; weights multiply terms, the mean divides by
/// the number of demonstrations. With `optimal` the loss is Var(u) / 4 - mean u of each prompt: V is taken as a constant
/// by the gradient, which is exact (V is optimal). A prompt with one demonstration has no variance: plain SFT.
/// beta = 1 and V = 0 as defaults are choices; the paper's text leaves both open.
///
/// Throws `Error` for beta <= 0, for demonstrations without the reference's log-probabilities, for `optimal` with
/// another divergence than `pearson`, and for prompts of another number than demonstrations.
struct FSft {
  SftDivergence divergence = SftDivergence::total_variation;
  double beta = 1;  ///< of the KL anchor, > 0
  SftBaseline baseline = SftBaseline::zero;
  /// The prompt of each demonstration, any numbers: `optimal` has one V a prompt. A view of the user's memory, as long
  /// as the loss is used. Empty: all demonstrations are of one prompt. Not read with `zero`.
  std::span<const int> prompt = {};

  static constexpr std::string_view name = "FSft";
  static constexpr Column needs = Column::base;

  template <class S>
  double accumulate(const PreferenceBatch<S>& in, const PreferenceGradient<S>& out, double factor) const {
    const std::size_t n = in.base.log_prob.size();
    const double count = static_cast<double>(n);
    double sum = 0;
    const auto add = [&](std::size_t i, double v) {
      const ValueAndSlope<double> phi = demonstration_value(divergence, log_ratio(in, i) + v);
      const double w = weight(in, i);
      sum += w * (v - phi.value);
      if (!out.base.empty()) out.base[i] -= static_cast<S>(factor * w / count * beta * phi.slope);
    };
    if (baseline == SftBaseline::zero) {
      for (std::size_t i = 0; i < n; ++i) add(i, 0);
      return factor * (sum / count);
    }
    auto& order = detail::sort_workspace<int>().a;  // by prompt, so that each prompt's samples stand in a row
    order.resize(n);
    for (std::size_t i = 0; i < n; ++i) order[i] = {prompt.empty() ? 0 : prompt[i], static_cast<std::uint32_t>(i)};
    std::sort(order.begin(), order.end());
    for (std::size_t begin = 0, end = 0; begin < n; begin = end) {
      double total = 0, weights = 0;
      for (end = begin; end < n && order[end].first == order[begin].first; ++end) {
        const double w = weight(in, order[end].second);
        total += w * log_ratio(in, order[end].second), weights += w;
      }
      const double v = weights > 0 ? -total / weights : 0;
      for (std::size_t k = begin; k < end; ++k) add(order[k].second, v);
    }
    return factor * (sum / count);
  }
  void check() const {
    check_positive(name, "beta", beta);
    if (baseline == SftBaseline::optimal && divergence != SftDivergence::pearson)
      fail(name, "baseline is optimal, which is known for the Pearson divergence alone; expected zero");
  }
  template <class S>
  void check(const PreferenceBatch<S>& in) const {
    const detail::Where where{this, [](const void*) { return std::string(name); }};
    detail::check_column(where, "base.ref_log_prob", in.base.ref_log_prob, in.base.log_prob.size(), true);
    if (baseline == SftBaseline::optimal && !prompt.empty())
      check_size(name, "prompt", prompt.size(), in.base.log_prob.size());
  }
  static void fields(auto& self, auto&& f) {
    f("divergence", self.divergence);
    f("beta", self.beta);
    f("baseline", self.baseline);
  }

 private:
  template <class S>
  double log_ratio(const PreferenceBatch<S>& in, std::size_t i) const {
    return beta * (static_cast<double>(in.base.log_prob[i]) - static_cast<double>(in.base.ref_log_prob[i]));
  }
  template <class S>
  static double weight(const PreferenceBatch<S>& in, std::size_t i) {
    return in.base.weight.empty() ? 1.0 : static_cast<double>(in.base.weight[i]);
  }
};

}  // namespace valence
