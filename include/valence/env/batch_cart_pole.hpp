#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/lanes.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/batch.hpp"
#include "valence/env/cart_pole.hpp"

namespace valence {

/// Many CartPoles that step together, their state in one array a variable. Copy i draws from `rng.split(i)` alone and
/// plays what `TimeLimit{CartPole{}}` plays with that generator, to rounding (in double to 1e-6 over an episode). A copy
/// whose episode ends is reset in the same step (Gymnasium's same-step mode): `position()` and its kin then hold the new
/// episode's first state, `last_state(i)` the old one's last. The angle must stay within a quarter turn, which its limit
/// sees to.
///
///     BatchCartPole<float> lanes{1024};
///     lanes.reset(rng);
///     lanes.step(actions);                     // 1024 ints, 0 or 1
template <Scalar S = float>
class BatchCartPole {
 public:
  /// `copies` >= 1, `time_limit` >= 1. The constants must be those of the explicit integrator and limit the angle to at
  /// most pi / 4; throws `Error` otherwise.
  explicit BatchCartPole(int copies, const CartPoleConstants& constants = {},
                         std::int64_t time_limit = CartPole::time_limit)
      : constants_(constants), episodes_("BatchCartPole", copies, time_limit) {
    check_range("BatchCartPole", "angle_limit", constants.angle_limit, 0, 0.7854);
    if (constants.integrator != Integrator::explicit_euler)
      fail("BatchCartPole", "the integrator is semi-implicit; expected the explicit one");
    for (auto& x : state_) x.assign(detail::padded_size<S>(episodes_.size()), S(0));
    last_.assign(4 * episodes_.size(), S(0));
    force_.assign(state_[0].size(), S(0));
    reward_.assign(episodes_.size(), S(1));
  }

  int size() const { return static_cast<int>(episodes_.size()); }

  void reset(const Rng& rng) {
    episodes_.begin(rng);
    for (std::size_t i = 0; i < episodes_.size(); ++i) start(i);
  }

  /// One step of every copy. `actions`: 0 or 1 each. Throws `Error`, and changes nothing, for others, for another number
  /// of them, and before the first reset. Allocates nothing.
  void step(std::span<const int> actions) {
    constexpr auto where = "BatchCartPole::step";
    episodes_.check_begun(where);
    check_size(where, "actions", actions.size(), episodes_.size());
    int odd = 0;
    for (const int a : actions) odd |= a & ~1;
    if (odd != 0)
      for (std::size_t i = 0; i < actions.size(); ++i)
        if (actions[i] != 0 && actions[i] != 1) fail(where, "actions[{}] is {}; expected 0 or 1", i, actions[i]);
    const S force = static_cast<S>(constants_.force);
    for (std::size_t i = 0; i < actions.size(); ++i) force_[i] = actions[i] != 0 ? force : -force;
    episodes_.clear();
    move();
    episodes_.truncate();
    for (const std::uint32_t i : episodes_.ended()) {
      for (std::size_t k = 0; k < 4; ++k) last_[4 * i + k] = state_[k][i];
      start(i);
    }
  }

  std::span<const S> position() const { return variable(0); }
  std::span<const S> speed() const { return variable(1); }
  std::span<const S> angle() const { return variable(2); }
  std::span<const S> angular_speed() const { return variable(3); }
  /// 1 each.
  std::span<const S> reward() const { return reward_; }
  /// How the last step ended for each copy.
  std::span<const bool> terminated() const { return episodes_.terminated(); }
  std::span<const bool> truncated() const { return episodes_.truncated(); }
  /// The last state of the episode that ended most recently in copy i.
  std::array<S, 4> last_state(int i) const {
    if (i < 0 || i >= size()) fail("BatchCartPole::last_state", "copy is {}; expected one below {}", i, size());
    const S* const x = last_.data() + 4 * static_cast<std::ptrdiff_t>(i);
    return {x[0], x[1], x[2], x[3]};
  }
  /// What the agents see: 4 x copies, a copy a column; `out` is resized if need be.
  void observe(Matrix<S>& out) const {
    out.resize(4, size());
    for (std::size_t i = 0; i < episodes_.size(); ++i)
      for (std::size_t k = 0; k < 4; ++k)
        out(static_cast<Eigen::Index>(k), static_cast<Eigen::Index>(i)) = state_[k][i];
  }

  template <class A>
  void archive(A& ar) {
    for (auto& column : state_) episodes_.archive_column(ar, column);
    episodes_.archive_column(ar, last_);
    ar(episodes_);
  }

 private:
  std::span<const S> variable(std::size_t k) const { return {state_[k].data(), episodes_.size()}; }

  void start(std::size_t i) {
    for (auto& x : state_) x[i] = static_cast<S>(episodes_.rng(i).uniform(-0.05, 0.05));
  }

  void move() {
    using T = Lanes<S>;
    const CartPoleConstants& c = constants_;
    const double total = c.cart_mass + c.pole_mass;
    const S inverse = static_cast<S>(1 / total), moment = static_cast<S>(c.pole_mass * c.half_length / total),
            gravity = static_cast<S>(c.gravity), straight = static_cast<S>(c.half_length * 4 / 3),
            bent = static_cast<S>(c.half_length * c.pole_mass / total), dt = static_cast<S>(c.dt),
            edge = static_cast<S>(c.position_limit), tilt = static_cast<S>(c.angle_limit);
    const std::size_t n = episodes_.size();
    S *const position = state_[0].data(), *const speed = state_[1].data(), *const angle = state_[2].data(),
             *const turning = state_[3].data();
    for (std::size_t i = 0; i < n; i += lane_count<T>) {
      const T x = load<T>(position + i), v = load<T>(speed + i), a = load<T>(angle + i), w = load<T>(turning + i);
      const T sine = detail::sine_near_zero(a), cosine = detail::cosine_near_zero(a);
      const T push = load<T>(force_.data() + i) * inverse + moment * w * w * sine;
      const T angular = (gravity * sine - cosine * push) / (straight - bent * cosine * cosine);
      const T linear = push - moment * angular * cosine;
      const T next_x = x + dt * v, next_a = a + dt * w;
      store(position + i, next_x), store(speed + i, v + dt * linear);
      store(angle + i, next_a), store(turning + i, w + dt * angular);
      const auto fallen = (next_x > edge) | (next_x < -edge) | (next_a > tilt) | (next_a < -tilt);
      if (any(fallen)) {
        if constexpr (lane_count<T> == 1) {
          episodes_.terminate(i);
        } else {
          for (std::size_t k = 0; k < lane_count<T>; ++k)
            if (fallen[k] != 0 && i + k < n) episodes_.terminate(i + k);
        }
      }
    }
  }

  CartPoleConstants constants_;
  detail::BatchEpisodes episodes_;
  std::array<std::vector<S>, 4> state_ = {};
  std::vector<S> last_ = {}, force_ = {}, reward_ = {};
};

}  // namespace valence
