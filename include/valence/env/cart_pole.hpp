#pragma once

#include <Eigen/Core>
#include <cmath>
#include <limits>
#include <numbers>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/env/dynamics.hpp"
#include "valence/env/finite_episode.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// How positions follow speeds. `explicit_euler` moves them by the old speeds (Gymnasium's "euler", its default),
/// `semi_implicit_euler` by the new ones.
enum class Integrator { explicit_euler, semi_implicit_euler };

/// Constants in SI units; the defaults are Gymnasium's.
struct CartPoleConstants {
  double gravity = 9.8, cart_mass = 1, pole_mass = 0.1;
  double half_length = 0.5;  ///< of the pole
  double force = 10;         ///< of a push
  double dt = 0.02;          ///< seconds a step
  double position_limit = 2.4, angle_limit = 12 * std::numbers::pi / 180;
  Integrator integrator = Integrator::explicit_euler;
};

/// A pole on a cart that is pushed left (0) or right (1) at every step, and must not fall. State: position, speed,
/// angle from upright, angular speed. The reward is 1 a step, that of the fall included; the episode terminates when
/// the cart leaves +-2.4 or the pole 12 degrees. Source: Barto, Sutton & Anderson (1983); the dynamics and their
/// constants are those of Gymnasium's CartPole-v1, which is `TimeLimit{CartPole{}}`.
struct CartPole {
  using State = Eigen::Vector4d;
  using Action = int;
  static constexpr int time_limit = 500;
  static constexpr double reward_threshold = 475;

  CartPoleConstants constants = {};
  State state = State::Zero();  ///< may be set; then set `over` to false
  bool over = true;

  /// Each of the four uniform in [-0.05, 0.05). Four outputs.
  State reset(Rng& rng) {
    for (double& x : state) x = rng.uniform(-0.05, 0.05);
    over = false;
    return state;
  }
  /// Throws `Error` for another action than 0 and 1, and where the episode is over. Draws nothing.
  Step<State> step(int action, Rng&) {
    detail::check_action("CartPole::step", action, 2);
    detail::check_running("CartPole::step", over);
    const CartPoleConstants& c = constants;
    // One division that waits for nothing, in place of three that wait for each other.
    const double lightness = 1 / (c.cart_mass + c.pole_mass), moment = c.pole_mass * c.half_length;
    const double force = (2 * action - 1) * c.force;  // no branch on what may be random
    double x = state[0], speed = state[1], angle = state[2], turning = state[3];
    const double cosine = std::cos(angle), sine = std::sin(angle);
    // Gymnasium's formulas (Florian 2007, without friction).
    const double push = (force + moment * turning * turning * sine) * lightness;
    const double angular =
        (c.gravity * sine - cosine * push) / (c.half_length * (4.0 / 3.0 - c.pole_mass * lightness * cosine * cosine));
    const double linear = push - moment * lightness * angular * cosine;
    if (c.integrator == Integrator::explicit_euler) {
      x += c.dt * speed, speed += c.dt * linear;
      angle += c.dt * turning, turning += c.dt * angular;
    } else {
      speed += c.dt * linear, x += c.dt * speed;
      turning += c.dt * angular, angle += c.dt * turning;
    }
    over = std::abs(x) > c.position_limit || std::abs(angle) > c.angle_limit;
    // Written number by number: a copy of the vector right after its numbers were stored would wait for them.
    state[0] = x, state[1] = speed, state[2] = angle, state[3] = turning;
    return {.next = {x, speed, angle, turning}, .reward = 1, .terminated = over};
  }
  Discrete actions() const { return {2}; }
  /// Twice the limits, as in Gymnasium: the last state of an episode is outside of them. Speeds have none.
  Box<State> states() const {
    constexpr double any = std::numeric_limits<double>::infinity();
    const State high(2 * constants.position_limit, any, 2 * constants.angle_limit, any);
    return {-high, high};
  }

  template <class A>
  void archive(A& ar) {
    ar(state, over);
  }
};

}  // namespace valence
