#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/kernels.hpp"

/// First-order optimizers on one flat parameter vector. The hyper-parameters are the value; `start<S>(n)` makes the
/// state:
///
///     auto state = Adam{.step_size = 3e-4}.start<float>(theta.size());
///     state.step(theta, gradient, schedule(state.steps()));
///
/// Semantics are PyTorch's (version 2; its names differ: step_size = lr, momentum, decay = alpha, ...), so that runs
/// can be compared; each formula is written at its type. `step` moves theta against the gradient, in place; `factor`
/// multiplies the step size and comes from a schedule. It allocates nothing. Wrong sizes and a factor that is not
/// finite throw before anything changes. The gradient is not searched for NaN: that is one more pass over memory, and
/// the trainer's to decide (it has `check_finite`; `clip_global_norm` finds it for free).
/// Moments smaller than about 2e-31 (float; double 4e-301) are set to zero, and second moments when they are about to
/// become subnormal; nothing else differs from the formulas. With epsilon = 0 a parameter without any gradient becomes
/// NaN (0 / 0), as in PyTorch. A state is archived as its step count (64 bits) and its flat vectors; the
/// hyper-parameters are not state.
namespace valence {

namespace detail {

/// What the states share: sizes, the count of steps.
template <class S>
void check_step(std::string_view where, std::size_t size, std::span<S> theta, std::span<const S> gradient,
                double factor) {
  check_size(where, "theta", theta.size(), size);
  check_size(where, "gradient", gradient.size(), size);
  check_finite(where, "factor", factor);
}
inline void check_not_negative(std::string_view where, std::string_view argument, double value) {
  if (!(value >= 0) || !std::isfinite(value))
    fail(where, "{} is {}; expected a finite number, 0 or more", argument, value);
}
inline void check_decay(std::string_view where, std::string_view argument, double value) {
  if (!(value >= 0 && value < 1)) fail(where, "{} is {}; expected a number in [0, 1)", argument, value);
}
/// x, or 0 where |x| is so small that a few more decays would make it subnormal. A moment whose gradient has died (a
/// dead relu) decays forever, and arithmetic on subnormal numbers is a hundred times slower. `least` is far below what
/// can move a parameter.
template <class T>
T flush(const T& x, std::type_identity_t<scalar_t<T>> least) {
  return elementary::select(elementary::abs(x) < least, T{}, x);
}
template <class S>
inline constexpr S least_moment = (std::numeric_limits<S>::min)() * S(1 << 24);
/// Second moments decay slowly, and their square roots matter at smaller values.
template <class S>
inline constexpr S least_square = (std::numeric_limits<S>::min)() * S(2);
template <class S>
Vector<S> zeros(std::size_t n) {
  return Vector<S>::Zero(static_cast<Eigen::Index>(n));
}

}  // namespace detail

template <std::floating_point S>
class SgdState;
template <std::floating_point S>
class MomentumState;
template <std::floating_point S>
class RmsPropState;
template <std::floating_point S>
class AdamState;

/// theta -= step_size * (g + weight_decay theta)
struct Sgd {
  double step_size = 1e-2;
  double weight_decay = 0;

  template <std::floating_point S>
  SgdState<S> start(std::size_t n) const {
    detail::check_not_negative("Sgd", "step_size", step_size);
    detail::check_not_negative("Sgd", "weight_decay", weight_decay);
    return {*this, n};
  }
};

/// The state of `Sgd`: what it remembers of past gradients.
template <std::floating_point S>
class SgdState {
 public:
  SgdState(const Sgd& options, std::size_t n) : options_(options), size_(n) {}
  void step(std::span<S> theta, std::span<const S> gradient, double factor = 1) {
    detail::check_step<S>("Sgd::step", size_, theta, gradient, factor);
    const S rate = static_cast<S>(options_.step_size * factor), decay = static_cast<S>(options_.weight_decay);
    S* const t = theta.data();
    const S* const g = gradient.data();
    kernel::each<S>(static_cast<std::ptrdiff_t>(size_),
                    [=](auto at) { at.put(t, at(t) - (at(g) + at(t) * decay) * rate); });
    ++steps_;
  }
  std::int64_t steps() const { return steps_; }
  template <class A>
  void archive(A& ar) {
    ar(steps_);
  }

 private:
  Sgd options_;
  std::size_t size_;
  std::int64_t steps_ = 0;
};

/// Heavy ball (Polyak 1964): d = g + weight_decay theta; b = momentum b + (1 - dampening) d, but b = d at the first
/// step; theta -= step_size * b.
struct Momentum {
  double step_size = 1e-2;
  double momentum = 0.9;
  double dampening = 0;
  double weight_decay = 0;

  template <std::floating_point S>
  MomentumState<S> start(std::size_t n) const {
    check("Momentum");
    return {*this, false, n};
  }
  void check(std::string_view where) const {
    detail::check_not_negative(where, "step_size", step_size);
    detail::check_decay(where, "momentum", momentum);
    check_range(where, "dampening", dampening, 0.0, 1.0);
    detail::check_not_negative(where, "weight_decay", weight_decay);
  }
};

/// The state of `Momentum` and `Nesterov`: what it remembers of past gradients.
template <std::floating_point S>
class MomentumState {
 public:
  MomentumState(const Momentum& options, bool nesterov, std::size_t n)
      : options_(options), nesterov_(nesterov), velocity_(detail::zeros<S>(n)) {}
  void step(std::span<S> theta, std::span<const S> gradient, double factor = 1) {
    detail::check_step<S>("Momentum::step", static_cast<std::size_t>(velocity_.size()), theta, gradient, factor);
    const S rate = static_cast<S>(options_.step_size * factor), decay = static_cast<S>(options_.weight_decay);
    const S keep = static_cast<S>(options_.momentum), add = static_cast<S>(steps_ == 0 ? 1 : 1 - options_.dampening);
    const S ahead = nesterov_ ? keep : S(1), now = nesterov_ ? S(1) : S(0);
    S* const t = theta.data();
    S* const b = velocity_.data();
    const S* const g = gradient.data();
    kernel::each<S>(velocity_.size(), [=](auto at) {
      const auto d = at(g) + at(t) * decay;
      const auto v = detail::flush(at(b) * keep + d * add, detail::least_moment<S>);
      at.put(b, v);
      at.put(t, at(t) - (d * now + v * ahead) * rate);
    });
    ++steps_;
  }
  std::int64_t steps() const { return steps_; }
  template <class A>
  void archive(A& ar) {
    ar(steps_, velocity_);
  }

 private:
  Momentum options_;
  bool nesterov_;
  std::int64_t steps_ = 0;
  Vector<S> velocity_;
};

/// Nesterov's momentum in the form of Sutskever et al. (2013): b as in `Momentum` without dampening; theta -= step_size
/// * (d + momentum b).
struct Nesterov {
  double step_size = 1e-2;
  double momentum = 0.9;
  double weight_decay = 0;

  template <std::floating_point S>
  MomentumState<S> start(std::size_t n) const {
    const Momentum same{.step_size = step_size, .momentum = momentum, .weight_decay = weight_decay};
    same.check("Nesterov");
    return {same, true, n};
  }
};

/// Where an adaptive optimizer adds its epsilon.
/// - `outside`: sqrt(v) + epsilon, after Adam's bias correction of v. PyTorch; Adam's paper, algorithm 1.
/// - `inside`: sqrt(v + epsilon), v corrected. TensorFlow's RMSProp, rlax's "eps_root".
/// - `uncorrected` (Adam only; the same as outside elsewhere): v is not yet corrected, step_size sqrt(c2) / c1 m /
///   (sqrt(v) + epsilon). TensorFlow's Adam; the paper's "epsilon hat", end of section 2.
enum class Epsilon { outside, inside, uncorrected };

/// RMSProp (Hinton 2012): d = g + weight_decay theta; v = decay v + (1 - decay) d^2; with `centered` (Graves 2013) a =
/// decay a + (1 - decay) d and a^2 is taken from v; u = d / (sqrt(v) + epsilon); with momentum b = momentum b + u, u =
/// b; theta -= step_size * u.
struct RmsProp {
  double step_size = 1e-2;
  double decay = 0.99;
  double epsilon = 1e-8;
  double momentum = 0;
  bool centered = false;
  double weight_decay = 0;
  Epsilon placement = Epsilon::outside;

  template <std::floating_point S>
  RmsPropState<S> start(std::size_t n) const {
    detail::check_not_negative("RmsProp", "step_size", step_size);
    detail::check_decay("RmsProp", "decay", decay);
    detail::check_not_negative("RmsProp", "epsilon", epsilon);
    detail::check_decay("RmsProp", "momentum", momentum);
    detail::check_not_negative("RmsProp", "weight_decay", weight_decay);
    return {*this, n};
  }
};

/// The state of `RmsProp`: what it remembers of past gradients.
template <std::floating_point S>
class RmsPropState {
 public:
  RmsPropState(const RmsProp& options, std::size_t n)
      : options_(options),
        square_(detail::zeros<S>(n)),
        mean_(detail::zeros<S>(options.centered ? n : 0)),
        velocity_(detail::zeros<S>(options.momentum > 0 ? n : 0)) {}
  void step(std::span<S> theta, std::span<const S> gradient, double factor = 1) {
    detail::check_step<S>("RmsProp::step", static_cast<std::size_t>(square_.size()), theta, gradient, factor);
    const S rate = static_cast<S>(options_.step_size * factor), weight_decay = static_cast<S>(options_.weight_decay);
    const S keep = static_cast<S>(options_.decay), add = static_cast<S>(1 - options_.decay);
    const bool in = options_.placement == Epsilon::inside;
    const S inside = in ? static_cast<S>(options_.epsilon) : S(0),
            outside = in ? S(0) : static_cast<S>(options_.epsilon);
    const S momentum = static_cast<S>(options_.momentum);
    S* const t = theta.data();
    S* const v = square_.data();
    S* const a = mean_.size() > 0 ? mean_.data() : nullptr;
    S* const b = velocity_.size() > 0 ? velocity_.data() : nullptr;
    const S* const g = gradient.data();
    kernel::each<S>(square_.size(), [=](auto at) {
      const auto d = at(g) + at(t) * weight_decay;
      const auto square = detail::flush(at(v) * keep + (d * d) * add, detail::least_square<S>);
      at.put(v, square);
      auto variance = square;
      if (a) {
        const auto mean = detail::flush(at(a) * keep + d * add, detail::least_moment<S>);
        at.put(a, mean);
        variance = (elementary::max)(square - mean * mean, decltype(mean * mean){});  // rounding can make it negative
      }
      auto u = d / (elementary::sqrt(variance + inside) + outside);
      if (b) {
        u = detail::flush(at(b) * momentum + u, detail::least_moment<S>);
        at.put(b, u);
      }
      at.put(t, at(t) - u * rate);
    });
    ++steps_;
  }
  std::int64_t steps() const { return steps_; }
  template <class A>
  void archive(A& ar) {
    ar(steps_, square_, mean_, velocity_);
  }

 private:
  RmsProp options_;
  std::int64_t steps_ = 0;
  Vector<S> square_, mean_, velocity_;
};

/// Adam (Kingma and Ba 2015, algorithm 1): d = g + weight_decay theta; m = beta1 m + (1 - beta1) d; v = beta2 v + (1 -
/// beta2) d^2; c_i = 1 - beta_i^t, t = 1 at the first step; theta -= step_size * (m / c1) / (sqrt(v / c2) + epsilon).
struct Adam {
  double step_size = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;  ///< coupled (L2): part of the gradient. `AdamW` has the decoupled one.
  Epsilon placement = Epsilon::outside;

  template <std::floating_point S>
  AdamState<S> start(std::size_t n) const {
    check("Adam");
    return {*this, 0, n};
  }
  void check(std::string_view where) const {
    detail::check_not_negative(where, "step_size", step_size);
    detail::check_decay(where, "beta1", beta1);
    detail::check_decay(where, "beta2", beta2);
    detail::check_not_negative(where, "epsilon", epsilon);
    detail::check_not_negative(where, "weight_decay", weight_decay);
  }
};

/// The state of `Adam` and `AdamW`: what it remembers of past gradients.
template <std::floating_point S>
class AdamState {
 public:
  AdamState(const Adam& options, double decoupled, std::size_t n)
      : options_(options), decoupled_(decoupled), mean_(detail::zeros<S>(n)), square_(detail::zeros<S>(n)) {}
  void step(std::span<S> theta, std::span<const S> gradient, double factor = 1) {
    detail::check_step<S>("Adam::step", static_cast<std::size_t>(mean_.size()), theta, gradient, factor);
    const double t = static_cast<double>(steps_ + 1);
    const double c1 = 1 - std::pow(options_.beta1, t), c2 = 1 - std::pow(options_.beta2, t);
    // (m rate) / (sqrt(v scale + inside) + outside)
    double rate = options_.step_size * factor / c1, scale = 1 / c2, outside = options_.epsilon, inside = 0;
    if (options_.placement == Epsilon::inside) inside = outside, outside = 0;
    if (options_.placement == Epsilon::uncorrected) rate *= std::sqrt(c2), scale = 1;
    update(theta.data(), gradient.data(), static_cast<S>(rate), static_cast<S>(scale), static_cast<S>(inside),
           static_cast<S>(outside), static_cast<S>(1 - options_.step_size * factor * decoupled_));
    ++steps_;
  }
  std::int64_t steps() const { return steps_; }
  template <class A>
  void archive(A& ar) {
    ar(steps_, mean_, square_);
  }

 private:
  Adam options_;
  double decoupled_;
  std::int64_t steps_ = 0;
  Vector<S> mean_, square_;

  void update(S* t, const S* g, S rate, S scale, S inside, S outside, S shrink) {
    const S weight_decay = static_cast<S>(options_.weight_decay);
    const S keep1 = static_cast<S>(options_.beta1), add1 = static_cast<S>(1 - options_.beta1);
    const S keep2 = static_cast<S>(options_.beta2), add2 = static_cast<S>(1 - options_.beta2);
    S* const m = mean_.data();
    S* const v = square_.data();
    kernel::each<S>(mean_.size(), [=](auto at) {
      const auto d = at(g) + at(t) * weight_decay;
      const auto mean = detail::flush(at(m) * keep1 + d * add1, detail::least_moment<S>);
      const auto square = detail::flush(at(v) * keep2 + (d * d) * add2, detail::least_square<S>);
      at.put(m, mean);
      at.put(v, square);
      at.put(t, at(t) * shrink - (mean * rate) / (elementary::sqrt(square * scale + inside) + outside));
    });
  }
};

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2): theta *= 1 - step_size weight_decay
/// first.
struct AdamW {
  double step_size = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 1e-2;
  Epsilon placement = Epsilon::outside;

  template <std::floating_point S>
  AdamState<S> start(std::size_t n) const {
    const Adam same{.step_size = step_size, .beta1 = beta1, .beta2 = beta2, .epsilon = epsilon, .placement = placement};
    same.check("AdamW");
    detail::check_not_negative("AdamW", "weight_decay", weight_decay);
    return {same, weight_decay, n};
  }
};

/// The Euclidean norm, summed in double; right also where the squares would overflow or vanish. NaN and infinity come
/// out.
template <std::floating_point S>
double global_norm(std::span<const S> gradient) {
  constexpr std::size_t block = 1024;  // few enough for the scalar type
  double total = 0;
  for (std::size_t begin = 0; begin < gradient.size(); begin += block) {
    const S* const g = gradient.data() + begin;
    const auto n = static_cast<std::ptrdiff_t>((std::min)(block, gradient.size() - begin));
    total += static_cast<double>(kernel::sum<S>(n, [=](auto at) { return at(g) * at(g); }));
  }
  if (total > 1e-30 && total < 1e30) return std::sqrt(total);
  double most = 0;
  for (const S g : gradient)
    most = std::abs(static_cast<double>(g)) > most || std::isnan(g) ? std::abs(static_cast<double>(g)) : most;
  if (!(most > 0) || !std::isfinite(most)) return most;
  total = 0;
  for (const S g : gradient) total += (static_cast<double>(g) / most) * (static_cast<double>(g) / most);
  return most * std::sqrt(total);
}

/// If the gradient's norm is larger than `max_norm`, scales it to exactly that (Pascanu, Mikolov and Bengio 2013;
/// PyTorch adds 1e-6 to the norm it divides by). Returns the norm before. Throws, and changes nothing, if the norm is
/// NaN or infinite.
template <std::floating_point S>
double clip_global_norm(std::span<S> gradient, double max_norm) {
  check_positive("clip_global_norm", "max_norm", max_norm);
  const double norm = global_norm(std::span<const S>(gradient));
  if (!std::isfinite(norm)) fail("clip_global_norm", "the gradient's norm is {}; expected a finite number", norm);
  if (norm > max_norm) {
    const double factor = max_norm / norm;
    for (S& g : gradient) g = static_cast<S>(static_cast<double>(g) * factor);
  }
  return norm;
}

/// target = (1 - rate) target + rate theta: exact at rate 0 and 1. A target network's soft update (Lillicrap et al.
/// 2016); with rate = 1 / t at iterate t = 1, 2, ... the average of all iterates (Polyak and Juditsky 1992).
template <std::floating_point S>
void polyak_average(std::span<S> target, std::span<const S> theta, double rate) {
  check_size("polyak_average", "target", target.size(), theta.size());
  check_range("polyak_average", "rate", rate, 0.0, 1.0);
  const S keep = static_cast<S>(1 - rate), add = static_cast<S>(rate);
  S* const to = target.data();
  const S* const from = theta.data();
  kernel::each<S>(static_cast<std::ptrdiff_t>(target.size()),
                  [=](auto at) { at.put(to, at(to) * keep + at(from) * add); });
}
template <std::floating_point S>
void polyak_average(std::span<S> target, std::span<S> theta, double rate) {
  polyak_average(target, std::span<const S>(theta), rate);
}

}  // namespace valence
