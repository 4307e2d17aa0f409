#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <span>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/batch.hpp"
#include "valence/env/pendulum.hpp"

namespace valence {

/// Many Pendulums that step together, their state in one array a variable. Copy i draws from `rng.split(i)` alone and
/// plays what `TimeLimit{Pendulum{}}` plays with that generator, to rounding (in double to 1e-6 over an episode); its
/// angle is kept in [-pi, pi). Episodes are only ever truncated, and reset in the same step (Gymnasium's same-step mode):
/// `cosine()` and its kin then hold the new episode's first state, `last_state(i)` the old one's last.
template <Scalar S = float>
class BatchPendulum {
 public:
  /// `copies` >= 1, `time_limit` >= 1; the fastest pendulum may turn by at most pi a step.
  explicit BatchPendulum(int copies, const PendulumConstants& constants = {},
                         std::int64_t time_limit = Pendulum::time_limit)
      : constants_(constants), episodes_("BatchPendulum", copies, time_limit) {
    check_range("BatchPendulum", "fastest * dt", constants.fastest * constants.dt, 0, std::numbers::pi);
    const std::size_t padded = detail::padded_size<S>(episodes_.size());
    for (auto* x : {&angle_, &speed_, &sine_, &cosine_, &torque_, &reward_}) x->assign(padded, S(0));
    last_.assign(3 * episodes_.size(), S(0));
  }

  int size() const { return static_cast<int>(episodes_.size()); }

  void reset(const Rng& rng) {
    episodes_.begin(rng);
    for (std::size_t i = 0; i < episodes_.size(); ++i) start(i);
  }

  /// One step of every copy. `actions`: torques, cut to the limits. Throws `Error`, and changes nothing, for one that isn't
  /// finite, for another number of them, and before the first reset. Allocates nothing.
  void step(std::span<const S> actions) {
    constexpr auto where = "BatchPendulum::step";
    episodes_.check_begun(where);
    check_size(where, "actions", actions.size(), episodes_.size());
    S zero = 0;  // stays 0 unless one is infinite or NaN
    for (const S a : actions) zero += a - a;
    if (zero != S(0)) check_finite(where, "actions", actions);
    std::copy(actions.begin(), actions.end(), torque_.begin());
    episodes_.clear();
    move();
    episodes_.truncate();
    for (const std::uint32_t i : episodes_.ended()) {
      last_[3 * i] = cosine_[i], last_[3 * i + 1] = sine_[i], last_[3 * i + 2] = speed_[i];
      start(i);
    }
  }

  std::span<const S> cosine() const { return {cosine_.data(), episodes_.size()}; }
  std::span<const S> sine() const { return {sine_.data(), episodes_.size()}; }
  std::span<const S> speed() const { return {speed_.data(), episodes_.size()}; }
  std::span<const S> angle() const { return {angle_.data(), episodes_.size()}; }
  std::span<const S> reward() const { return {reward_.data(), episodes_.size()}; }
  /// How the last step ended for each copy: `terminated()` is false throughout.
  std::span<const bool> terminated() const { return episodes_.terminated(); }
  std::span<const bool> truncated() const { return episodes_.truncated(); }
  /// The last state (cos, sin, speed) of the episode that ended most recently in copy i.
  std::array<S, 3> last_state(int i) const {
    if (i < 0 || i >= size()) fail("BatchPendulum::last_state", "copy is {}; expected one below {}", i, size());
    const S* const x = last_.data() + 3 * static_cast<std::ptrdiff_t>(i);
    return {x[0], x[1], x[2]};
  }
  /// What the agents see: 3 x copies, a copy a column; `out` is resized if need be.
  void observe(Matrix<S>& out) const {
    out.resize(3, size());
    for (Eigen::Index i = 0; i < size(); ++i) {
      const auto k = static_cast<std::size_t>(i);
      out(0, i) = cosine_[k], out(1, i) = sine_[k], out(2, i) = speed_[k];
    }
  }

  template <class A>
  void archive(A& ar) {
    for (auto* column : {&angle_, &speed_, &sine_, &cosine_, &reward_, &last_}) episodes_.archive_column(ar, *column);
    ar(episodes_);
  }

 private:
  void start(std::size_t i) {
    const double angle = episodes_.rng(i).uniform(-std::numbers::pi, std::numbers::pi);
    angle_[i] = static_cast<S>(angle);
    speed_[i] = static_cast<S>(episodes_.rng(i).uniform(-1.0, 1.0));
    sine_[i] = static_cast<S>(std::sin(angle)), cosine_[i] = static_cast<S>(std::cos(angle));
  }

  void move() {
    using T = Lanes<S>;
    const PendulumConstants& c = constants_;
    const S pull = static_cast<S>(3 * c.gravity / (2 * c.length)),
            lever = static_cast<S>(3 / (c.mass * c.length * c.length)), dt = static_cast<S>(c.dt),
            pi = static_cast<S>(std::numbers::pi), limit = static_cast<S>(c.torque_limit),
            fastest = static_cast<S>(c.fastest);
    const T strongest = splat<T>(limit), cap = splat<T>(fastest);
    for (std::size_t i = 0; i < episodes_.size(); i += lane_count<T>) {
      T a = load<T>(angle_.data() + i), w = load<T>(speed_.data() + i), u = load<T>(torque_.data() + i);
      u = u > strongest ? strongest : u;
      u = u < -strongest ? -strongest : u;
      store(reward_.data() + i, -(a * a + S(0.1) * (w * w) + S(0.001) * (u * u)));
      w = w + (pull * load<T>(sine_.data() + i) + lever * u) * dt;
      w = w > cap ? cap : w;
      w = w < -cap ? -cap : w;
      a = a + w * dt;
      a = a >= pi ? a - (pi + pi) : a;
      a = a < -pi ? a + (pi + pi) : a;
      // The right half turn of the angle, where the polynomials are good: sin(pi - x) = sin x, cos(pi - x) = -cos x.
      const auto up = a > S(0.5) * pi, down = a < S(-0.5) * pi;
      T near_angle = up ? pi - a : a;
      near_angle = down ? -pi - a : near_angle;
      const T cosine = detail::cosine_near_zero(near_angle);
      store(angle_.data() + i, a), store(speed_.data() + i, w);
      store(sine_.data() + i, detail::sine_near_zero(near_angle));
      store(cosine_.data() + i, (up | down) ? -cosine : cosine);
    }
  }

  PendulumConstants constants_;
  detail::BatchEpisodes episodes_;
  std::vector<S> angle_ = {}, speed_ = {}, sine_ = {}, cosine_ = {}, torque_ = {}, reward_ = {}, last_ = {};
};

}  // namespace valence
