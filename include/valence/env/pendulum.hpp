#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <numbers>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/env/dynamics.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// The defaults are Gymnasium's.
struct PendulumConstants {
  double gravity = 10, mass = 1, length = 1;
  double dt = 0.05;                      ///< seconds a step
  double torque_limit = 2, fastest = 8;  ///< larger torques are cut, and so are speeds
};

/// A pendulum that is to be swung up and held upright by a torque too weak to lift it. The agent sees (cos, sin, speed)
/// of its angle from upright; the action is the torque. The reward is -(angle^2 + 0.1 speed^2 + 0.001 torque^2) of the
/// state before the step, with the angle in [-pi, pi) and the torque cut to its limits; it never terminates. The speed
/// is cut before it moves the angle. Source: the dynamics are those of Gymnasium's Pendulum-v1, which is
/// `TimeLimit{Pendulum{}}`.
struct Pendulum {
  using State = Eigen::Vector3d;
  using Action = double;
  static constexpr int time_limit = 200;

  PendulumConstants constants = {};
  double angle = 0, speed = 0;  ///< the angle isn't wrapped; may be set; then set `begun` to true
  bool begun = false;

  /// Angle uniform in [-pi, pi), speed in [-1, 1). Two outputs.
  State reset(Rng& rng) {
    angle = rng.uniform(-std::numbers::pi, std::numbers::pi);
    speed = rng.uniform(-1.0, 1.0);
    begun = true;
    return observation();
  }
  /// Throws `Error` for an action that isn't finite, and before the first reset. Draws nothing.
  Step<State> step(double action, Rng&) {
    detail::check_force("Pendulum::step", action);
    detail::check_running("Pendulum::step", !begun);
    const PendulumConstants& c = constants;
    const double torque = std::clamp(action, -c.torque_limit, c.torque_limit), wrapped = wrap_angle(angle);
    const double cost = wrapped * wrapped + 0.1 * speed * speed + 0.001 * torque * torque;
    const double acceleration =
        3 * c.gravity / (2 * c.length) * std::sin(angle) + 3 / (c.mass * c.length * c.length) * torque;
    speed = std::clamp(speed + acceleration * c.dt, -c.fastest, c.fastest);
    angle += speed * c.dt;
    return {.next = observation(), .reward = -cost};
  }
  State observation() const {
    const double a = angle;  // one argument: compilers then compute both at once
    return {std::cos(a), std::sin(a), speed};
  }
  Box<double> actions() const { return {-constants.torque_limit, constants.torque_limit}; }
  Box<State> states() const {
    const State high(1, 1, constants.fastest);
    return {-high, high};
  }

  template <class A>
  void archive(A& ar) {
    ar(angle, speed, begun);
  }
};

}  // namespace valence
