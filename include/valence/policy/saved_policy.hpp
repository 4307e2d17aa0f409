#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/activation.hpp"
#include "valence/function/dueling.hpp"
#include "valence/function/kernels.hpp"
#include "valence/function/mlp.hpp"
#include "valence/mdp/normalizers.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/policy/deterministic.hpp"
#include "valence/policy/divergences.hpp"
#include "valence/policy/gaussian.hpp"
#include "valence/policy/squashed_gaussian.hpp"

/// A trained policy without the trainer: what a robot, a game or a server needs to act, and no more. io/policy_file.hpp
/// saves and loads it, io/policy_source.hpp writes it as plain C++.
namespace valence {

/// How observations are brought to the scale that the network was trained on: (x - mean) / deviation, computed in
/// double as `Normalizer::apply` does, then cut to +-`clip`.
struct ObservationScale {
  std::vector<double> mean = {}, deviation = {};          ///< an entry an observation; both empty: left as they are
  double clip = std::numeric_limits<double>::infinity();  ///< > 0
};

/// What `normalizer.apply` does at this moment.
inline ObservationScale observation_scale(const Normalizer& normalizer) {
  ObservationScale scale;
  const std::size_t n = normalizer.size();
  const bool started = normalizer.count() > 0;
  for (std::size_t i = 0; i < n; ++i) {
    scale.mean.push_back(started ? normalizer.mean(i) : 0);
    scale.deviation.push_back(started ? normalizer.deviation(i) : 1);
  }
  scale.clip = normalizer.options().clip;
  return scale;
}

/// The action of the largest value, the first of ties. Without `atoms` output a is the value of action a. With K atoms
/// the outputs are `actions` runs of K, action 0's first, that describe a return each: its value is the sum of
/// `atoms[k]` times output k of the run, or, where the outputs are `logits`, times their softmax.
///
///     GreedyValues{.actions = 2}                                        // DQN
///     GreedyValues{.actions = 2, .atoms = head_support, .logits = true} // C51, HL-Gauss: the atoms' places
///     GreedyValues{.actions = 2, .atoms = std::vector(200, 1 / 200.0)}  // QR-DQN: the mean of 200 quantiles
struct GreedyValues {
  int actions = 2;                 ///< >= 1
  std::vector<double> atoms = {};  ///< finite
  bool logits = false;             ///< only with atoms

  /// Outputs that it reads.
  int size() const { return actions * (std::max)(1, static_cast<int>(atoms.size())); }
};

/// A diagonal Gaussian (outputs as `DiagonalGaussian`: d means, then d log-stds) whose action is cut to a box, which
/// may be infinite on any side: what PPO and A2C act with.
struct ClippedGaussian {
  Box<Vector<double>> actions;
  GaussianOptions options = {};

  /// Outputs that it reads.
  int size() const { return 2 * static_cast<int>(actions.low.size()); }
};

/// What a network's outputs mean. The mode of `Softmax` is its most likely action, that of `ClippedGaussian` its mean,
/// cut to the box, that of `SquashedGaussian` tanh of the mean, on the box; `Deterministic` is tanh, on the box.
using PolicyHead = std::variant<GreedyValues, Softmax, ClippedGaussian, SquashedGaussian<Vector<double>>,
                                Deterministic<Vector<double>>>;

/// A box of numbers or of other vectors, as a box of vectors of double.
template <class A>
Box<Vector<double>> vector_box(const Box<A>& box) {
  const auto copy = [](const A& corner) {
    Vector<double> v(static_cast<Eigen::Index>(detail::dimensions_of(corner)));
    for (Eigen::Index i = 0; i < v.size(); ++i)
      v[i] = static_cast<double>(detail::entry(corner, static_cast<std::size_t>(i)));
    return v;
  };
  return {copy(box.low), copy(box.high)};
}

/// A network and its parameters.
template <class S>
struct NetworkWithTheta {
  Mlp<S> network;
  std::vector<S> theta;
};

/// The plain network that gives what a dueling one gives: its last layer is linear, and so is q_a = v + advantage_a -
/// mean advantage (Wang et al. 2016, equation 9), so the two are one layer, whose rows combine those of v and of the
/// advantages (in double). Throws `Error` for another size of theta, and where an activation stands between the two.
///
///     auto [network, theta] = without_dueling(net, theta_of_net);
template <class S, class Shape>
NetworkWithTheta<S> without_dueling(const Dueling<BasicMlp<S, Shape>>& net,
                                    std::span<const std::type_identity_t<S>> theta) {
  const auto& inner = net.inner();
  check_size("without_dueling", "theta", theta.size(), net.parameter_count());
  if (inner.options().output != Activation::identity)
    fail("without_dueling", "the activation of the model's outputs is {}; expected identity",
         name(inner.options().output));
  std::vector<int> sizes(inner.sizes().begin(), inner.sizes().end());
  const auto before = static_cast<std::size_t>(inner.output_size()),
             after = static_cast<std::size_t>(net.output_size());
  const std::size_t atoms = before - after, actions = after / atoms;
  sizes.back() = net.output_size();
  NetworkWithTheta<S> plain{{sizes, inner.hidden(), inner.options()}, {}};
  const std::size_t rows = static_cast<std::size_t>(sizes[sizes.size() - 2]) + 1;  // of the last layer: inputs, bias
  const std::size_t kept = theta.size() - rows * before;
  plain.theta.assign(theta.begin(), theta.begin() + static_cast<std::ptrdiff_t>(kept));
  for (std::size_t r = 0; r < rows; ++r) {
    const auto row = theta.subspan(kept + r * before, before);
    for (std::size_t i = 0; i < after; ++i) {
      const std::size_t k = i % atoms;
      double sum = 0;
      for (std::size_t a = 1; a <= actions; ++a) sum += static_cast<double>(row[a * atoms + k]);
      plain.theta.push_back(static_cast<S>(static_cast<double>(row[k]) + static_cast<double>(row[atoms + i]) -
                                           sum / static_cast<double>(actions)));
    }
  }
  return plain;
}

/// Options of a saved policy beside its network and its head.
struct SavedPolicyOptions {
  ObservationScale observations = {};
  std::vector<double> log_std = {};  ///< of a Gaussian head whose network gives the means only: d numbers; else empty
};

namespace detail {

/// Packs * w outputs of y = b + W x, each summed in the order of the inputs. Products are rounded before they are
/// added, also where the target has fused multiply-adds: so the bits are the same on every machine,
/// and those of plain code.
template <class S, std::size_t... Q>
void affine_packs(const S* weight, std::ptrdiff_t row, const S* bias, const S* x, std::ptrdiff_t in, S* y,
                  std::index_sequence<Q...>) {
  constexpr std::ptrdiff_t w = kernel::pack_size<S>;
  constexpr auto at = [](std::size_t q) { return static_cast<std::ptrdiff_t>(q) * w; };
  kernel::Pack<S> sum[] = {kernel::get<S>(bias + at(Q))...};
  for (std::ptrdiff_t i = 0; i < in; ++i, weight += row) {
    const S factor = x[i];
    ((sum[Q] += rounded(kernel::Pack<S>(factor * kernel::get<S>(weight + at(Q))))), ...);
  }
  (kernel::put<S>(y + at(Q), sum[Q]), ...);
}
/// y = b + W x; W as `in` rows of `row` numbers, `row` whole registers.
template <class S>
void affine(const S* weight, std::ptrdiff_t row, const S* bias, const S* x, std::ptrdiff_t in, S* y) {
  constexpr std::ptrdiff_t w = kernel::pack_size<S>;
  std::ptrdiff_t o = 0;
  const auto run = [&](auto packs) {
    affine_packs(weight + o, row, bias + o, x, in, y + o, packs);
    o += w * static_cast<std::ptrdiff_t>(packs.size());
  };
  while (o + 8 * w <= row) run(std::make_index_sequence<8>{});
  if (o + 4 * w <= row) run(std::make_index_sequence<4>{});
  if (o + 2 * w <= row) run(std::make_index_sequence<2>{});
  if (o < row) run(std::make_index_sequence<1>{});
}

/// Layer normalisation of z in place, its sums in the order of the entries.
template <class S>
void normalise_in_order(S* z, std::ptrdiff_t size, const S* scale, const S* shift) {
  S mean = 0, variance = 0;
  for (std::ptrdiff_t i = 0; i < size; ++i) mean += z[i];
  mean /= static_cast<S>(size);
  for (std::ptrdiff_t i = 0; i < size; ++i) {
    const S d = z[i] - mean;
    variance += rounded(d * d);
  }
  const S inverse = S(1) / std::sqrt(variance / static_cast<S>(size) + static_cast<S>(layer_norm_epsilon));
  for (std::ptrdiff_t i = 0; i < size; ++i) z[i] = rounded((z[i] - mean) * inverse * scale[i]) + shift[i];
}

}  // namespace detail

/// A policy that acts and cannot learn: a network with its numbers, the scale of its observations, and what its outputs
/// mean, in one value. No trainer, replay memory or optimizer is included.
///
///     SavedPolicy<float> policy{net, view(theta), Softmax{.actions = 2},
///                               {.observations = observation_scale(normalizer)}};
///     int a = policy.act(observation);                       // discrete
///     policy.act(observation, action);                       // continuous: fills `action`
///
/// `act` takes the mode and needs no generator; `sample` draws from the law. One observation at a time, nothing
/// allocates. The scratch is inside, so a thread needs a copy of its own.
///
/// The network's outputs are those of `Mlp::forward` up to rounding, and do not depend on the width of the machine's
/// registers: a network of relu and identity, with layer normalisation too, gives the same bits everywhere (but for
/// Clang's -ffp-contract=fast). tanh, gelu, silu and squashing do so among programs that are compiled without
/// contraction (x86-64 without -march, or -ffp-contract=off); else they agree to about 1e-6 (float).
///
/// `act` and `sample` throw `Error` for an observation of another size or with a number that isn't finite, for outputs
/// that aren't finite, and where the head gives actions of the other kind.
template <class S>
class SavedPolicy {
 public:
  using Scalar = S;

  /// `network` may also be a `StaticMlp`; `theta` its parameters. Throws `Error` where sizes disagree, a number isn't
  /// finite, or the head's bounds are not in order (SquashedGaussian: finite; Deterministic: finite or both infinite).
  template <class Shape>
  SavedPolicy(const BasicMlp<S, Shape>& network, std::span<const std::type_identity_t<S>> theta, PolicyHead head,
              SavedPolicyOptions options = {})
      : network_({network.sizes().begin(), network.sizes().end()}, network.hidden(), network.options()),
        theta_(theta.begin(), theta.end()),
        head_(std::move(head)),
        options_(std::move(options)) {
    check();
    pack();
  }

  /// Whether actions are numbers 0 ... `action_size()` - 1; otherwise they are vectors of `action_size()` numbers.
  bool discrete() const {
    return std::holds_alternative<GreedyValues>(head_) || std::holds_alternative<Softmax>(head_);
  }
  int action_size() const { return action_size_; }
  int observation_size() const { return network_.input_size(); }

  const Mlp<S>& network() const { return network_; }
  /// The network's parameters.
  std::span<const S> theta() const { return theta_; }
  const PolicyHead& head() const { return head_; }
  const SavedPolicyOptions& options() const { return options_; }

  /// What the head reads, for one observation: the network's outputs, and `options().log_std` below them. Valid until
  /// the next call.
  std::span<const S> outputs(std::span<const S> observation) {
    constexpr auto where = "SavedPolicy";
    check_size(where, "observation", observation.size(), static_cast<std::size_t>(observation_size()));
    check_finite(where, "observation", observation);
    S* x = panels_[0].data();
    S* y = panels_[1].data();
    scale(observation, x);
    for (const Layer& layer : layers_) {
      detail::affine(packed_.data() + layer.weight, layer.row, packed_.data() + layer.bias, x, layer.in, y);
      if (layer.norm >= 0)
        detail::normalise_in_order(y, layer.out, packed_.data() + layer.norm, packed_.data() + layer.norm + layer.out);
      if (layer.activation != Activation::identity)
        kernel::each<S>(layer.row, [&](auto at) { at.put(y, activate(layer.activation, at(y))); });
      std::swap(x, y);
    }
    const std::span<S> result(x, static_cast<std::size_t>(network_.output_size()) + options_.log_std.size());
    for (std::size_t i = 0; i < options_.log_std.size(); ++i)
      result[result.size() - options_.log_std.size() + i] = static_cast<S>(options_.log_std[i]);
    check_finite(where, "the network's output", std::span<const S>(result));
    return result;
  }

  /// The values of all actions, of a `GreedyValues` head: with atoms the expectations, in the unit of the atoms. Valid
  /// until the next call. Throws `Error` for other heads.
  std::span<const S> action_values(std::span<const S> observation) {
    if (!std::holds_alternative<GreedyValues>(head_))
      fail("SavedPolicy::action_values", "the head has no values of actions; expected a GreedyValues");
    return values(outputs(observation));
  }

  /// The action of the largest value or logit, the first of ties; with a mask of those that it allows. Throws `Error`
  /// where there is none.
  int act(std::span<const S> observation, ActionMask mask = {}) {
    check_kind(true);
    if (!mask.empty()) check_size("SavedPolicy::act", "mask", mask.size(), static_cast<std::size_t>(action_size_));
    const std::span<const S> q = values(outputs(observation));
    int best = -1;
    for (std::size_t a = 0; a < q.size(); ++a)
      if ((mask.empty() || mask[a]) && (best < 0 || q[a] > q[static_cast<std::size_t>(best)]))
        best = static_cast<int>(a);
    if (best < 0) fail("SavedPolicy::act", "mask allows none of {} actions; expected one at least", q.size());
    return best;
  }
  /// `action`, of `action_size()` numbers, becomes the law's mode.
  void act(std::span<const S> observation, std::span<S> action) {
    check_kind(false);
    check_size("SavedPolicy::act", "action", action.size(), static_cast<std::size_t>(action_size_));
    const std::span<const S> y = outputs(observation);
    if (const auto* gaussian = std::get_if<ClippedGaussian>(&head_)) {
      std::copy_n(y.begin(), action.size(), action.begin());
      clip(*gaussian, action);
    } else if (const auto* squashed = std::get_if<Squashed>(&head_)) {
      for (std::size_t i = 0; i < action.size(); ++i) {
        const auto at = static_cast<Eigen::Index>(i);
        const detail::SquashedInterval range("SavedPolicy::act", i, squashed->actions.low[at],
                                             squashed->actions.high[at]);
        action[i] = range.template inside<S>(range.squash(static_cast<double>(y[i])));
      }
    } else {
      std::get<Limited>(head_).action(y, typename Limited::Noise{}, action);
    }
  }

  /// A draw from a Softmax. Throws `Error` for other heads.
  int sample(std::span<const S> observation, Rng& rng, ActionMask mask = {}) {
    const auto* law = std::get_if<Softmax>(&head_);
    if (!law) fail("SavedPolicy::sample", "the head has no law of a discrete action; expected a Softmax");
    return law->sample(outputs(observation), rng, mask);
  }
  /// A draw from a Gaussian (cut to its box) or a SquashedGaussian. Throws `Error` for other heads.
  void sample(std::span<const S> observation, Rng& rng, std::span<S> action) {
    constexpr auto where = "SavedPolicy::sample";
    check_size(where, "action", action.size(), static_cast<std::size_t>(action_size_));
    if (const auto* gaussian = std::get_if<ClippedGaussian>(&head_)) {
      DiagonalGaussian<Vector<double>>{action_size_, gaussian->options}.sample(outputs(observation), rng, action);
      clip(*gaussian, action);
    } else if (const auto* squashed = std::get_if<Squashed>(&head_)) {
      squashed->sample(outputs(observation), rng, action);
    } else {
      fail(where, "the head has no law of a continuous action; expected a ClippedGaussian or a SquashedGaussian");
    }
  }

 private:
  using Squashed = SquashedGaussian<Vector<double>>;
  using Limited = Deterministic<Vector<double>>;

  struct Layer {
    std::ptrdiff_t in, out, row;  // row: out in whole registers
    std::ptrdiff_t weight, bias;  // offsets in packed_
    std::ptrdiff_t norm;          // scale, then shift; -1 without layer normalisation
    Activation activation;
  };

  void check_kind(bool wants_discrete) const {
    if (wants_discrete != discrete())
      fail("SavedPolicy::act", "actions are {} {}; expected a call of act({})", discrete() ? "one of" : "vectors of",
           action_size_, discrete() ? "observation [, mask]" : "observation, action");
  }

  void check() {
    constexpr std::string_view where = "SavedPolicy";
    check_size(where, "theta", theta_.size(), network_.parameter_count());
    check_finite(where, "theta", theta());
    const auto check_box = [&](const Box<Vector<double>>& box) {
      check_size(where, "actions.high", static_cast<std::size_t>(box.high.size()),
                 static_cast<std::size_t>(box.low.size()));
      check_positive(where, "the size of actions", box.low.size());
      action_size_ = static_cast<int>(box.low.size());
    };
    std::size_t size = 0;  // of what the head reads; in the wide type, for a file may say anything
    bool gaussian = false;
    if (const auto* greedy = std::get_if<GreedyValues>(&head_)) {
      check_positive(where, "actions", greedy->actions);
      check_finite(where, "atoms", std::span(greedy->atoms));
      if (greedy->logits && greedy->atoms.empty()) fail(where, "logits is true without atoms; expected atoms");
      action_size_ = greedy->actions;
      size = static_cast<std::size_t>(action_size_) * (std::max)(std::size_t{1}, greedy->atoms.size());
    } else if (const auto* softmax = std::get_if<Softmax>(&head_)) {
      check_positive(where, "actions", softmax->actions);
      action_size_ = softmax->actions, size = static_cast<std::size_t>(action_size_);
    } else if (const auto* clipped = std::get_if<ClippedGaussian>(&head_)) {
      check_box(clipped->actions);
      for (Eigen::Index i = 0; i < clipped->actions.low.size(); ++i)
        if (!(clipped->actions.low[i] < clipped->actions.high[i]))
          fail(where, "the bounds of action[{}] are {} and {}; expected them in order", i, clipped->actions.low[i],
               clipped->actions.high[i]);
      check_log_std(clipped->options);
      size = static_cast<std::size_t>(clipped->size()), gaussian = true;
    } else if (const auto* squashed = std::get_if<Squashed>(&head_)) {
      check_box(squashed->actions);
      for (Eigen::Index i = 0; i < squashed->actions.low.size(); ++i)
        detail::SquashedInterval(where, static_cast<std::size_t>(i), squashed->actions.low[i],
                                 squashed->actions.high[i]);
      check_log_std(squashed->options);
      size = static_cast<std::size_t>(squashed->size()), gaussian = true;
    } else {
      const auto& box = std::get<Limited>(head_).actions;
      check_box(box);
      for (Eigen::Index i = 0; i < box.low.size(); ++i)
        if (!(std::isinf(box.low[i]) && std::isinf(box.high[i]) && box.low[i] < box.high[i]))
          detail::SquashedInterval(where, static_cast<std::size_t>(i), box.low[i], box.high[i]);
      size = static_cast<std::size_t>(box.low.size());
    }
    if (!options_.log_std.empty()) {
      if (!gaussian)
        fail(where, "log_std has {} entries; expected none: the head is no Gaussian", options_.log_std.size());
      check_size(where, "log_std", options_.log_std.size(), static_cast<std::size_t>(action_size_));
      check_finite(where, "log_std", std::span(options_.log_std));
    }
    const std::size_t expected = size - options_.log_std.size();
    if (static_cast<std::size_t>(network_.output_size()) != expected)
      fail(where, "the network has {} outputs; expected {}, which the head reads", network_.output_size(), expected);
    const ObservationScale& scale = options_.observations;
    if (!(scale.clip > 0)) fail(where, "observations.clip is {}; expected a number greater than 0", scale.clip);
    if (scale.mean.empty() && scale.deviation.empty()) return;
    check_size(where, "observations.mean", scale.mean.size(), static_cast<std::size_t>(observation_size()));
    check_size(where, "observations.deviation", scale.deviation.size(), scale.mean.size());
    check_finite(where, "observations.mean", std::span(scale.mean));
    for (const double d : scale.deviation) check_positive(where, "an entry of observations.deviation", d);
  }
  static void check_log_std(const GaussianOptions& options) {
    if (!(options.min_log_std <= options.max_log_std))
      fail("SavedPolicy", "min_log_std is {} and max_log_std {}; expected bounds in order", options.min_log_std,
           options.max_log_std);
  }

  // The parameters with rows of whole registers.
  void pack() {
    const auto blocks = network_.parameters();
    const bool norm = network_.options().layer_norm;
    const std::size_t count = network_.sizes().size() - 1;
    std::ptrdiff_t widest = static_cast<std::ptrdiff_t>(network_.input_size());
    const auto add = [&](std::size_t offset, std::ptrdiff_t rows, std::ptrdiff_t out, std::ptrdiff_t row) {
      const auto at = static_cast<std::ptrdiff_t>(packed_.size());
      packed_.resize(packed_.size() + static_cast<std::size_t>(rows * row), S(0));
      for (std::ptrdiff_t r = 0; r < rows; ++r)
        std::copy_n(theta_.begin() + static_cast<std::ptrdiff_t>(offset) + r * out, out,
                    packed_.begin() + at + r * row);
      return at;
    };
    std::size_t block = 0;
    for (std::size_t k = 0; k < count; ++k) {
      Layer layer{};
      const bool last = k + 1 == count;
      layer.in = network_.sizes()[k], layer.out = network_.sizes()[k + 1], layer.row = kernel::padded<S>(layer.out);
      layer.weight = add(blocks[block++].offset, layer.in, layer.out, layer.row);
      layer.bias = add(blocks[block++].offset, 1, layer.out, layer.row);
      layer.norm = -1;
      if (norm && !last) {
        layer.norm = add(blocks[block++].offset, 1, layer.out, layer.out);
        add(blocks[block++].offset, 1, layer.out, layer.out);
      }
      layer.activation = last ? network_.options().output : network_.hidden();
      widest = (std::max)(widest, layer.row);
      layers_.push_back(layer);
    }
    widest = (std::max)(widest, layers_.back().out + static_cast<std::ptrdiff_t>(options_.log_std.size()));
    if (const auto* greedy = std::get_if<GreedyValues>(&head_)) {
      atoms_.assign(greedy->atoms.begin(), greedy->atoms.end());
      values_.resize(static_cast<std::size_t>(action_size_));
    }
    for (auto& panel : panels_) panel.assign(static_cast<std::size_t>(widest), S(0));
  }

  void scale(std::span<const S> observation, S* x) const {
    const ObservationScale& by = options_.observations;
    for (std::size_t i = 0; i < observation.size(); ++i) {
      double z = static_cast<double>(observation[i]);
      if (!by.mean.empty()) z = (z - by.mean[i]) / by.deviation[i];
      x[i] = static_cast<S>(std::clamp(z, -by.clip, by.clip));
    }
    if (!by.mean.empty())
      check_finite("SavedPolicy", "the scaled observation", std::span<const S>(x, observation.size()));
  }

  // What the discrete heads take the largest of.
  std::span<const S> values(std::span<const S> y) {
    if (atoms_.empty()) return y;
    const bool logits = std::get<GreedyValues>(head_).logits;
    const std::size_t n = atoms_.size();
    for (std::size_t a = 0; a < values_.size(); ++a) {
      const std::span<const S> run = y.subspan(a * n, n);
      S sum = 0;
      if (logits) {
        const S top = *std::max_element(run.begin(), run.end());
        S total = 0;
        for (std::size_t k = 0; k < n; ++k) {
          const S weight = elementary::exp(run[k] - top);
          total += weight;
          sum += detail::rounded(weight * atoms_[k]);
        }
        sum /= total;
      } else {
        for (std::size_t k = 0; k < n; ++k) sum += detail::rounded(run[k] * atoms_[k]);
      }
      values_[a] = sum;
    }
    check_finite("SavedPolicy", "the value of an action", std::span<const S>(values_));
    return values_;
  }

  static void clip(const ClippedGaussian& law, std::span<S> action) {
    for (std::size_t i = 0; i < action.size(); ++i) {
      const auto at = static_cast<Eigen::Index>(i);
      action[i] = static_cast<S>(std::clamp(static_cast<double>(action[i]), law.actions.low[at], law.actions.high[at]));
    }
  }

  Mlp<S> network_;
  std::vector<S> theta_;
  PolicyHead head_;
  SavedPolicyOptions options_;
  int action_size_ = 0;
  std::vector<Layer> layers_;
  std::vector<S> packed_;                 // weights, biases, norms
  std::array<std::vector<S>, 2> panels_;  // a layer's inputs and outputs, in turn
  std::vector<S> atoms_, values_;
};

}  // namespace valence
