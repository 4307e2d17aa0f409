#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <numbers>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/env/dynamics.hpp"
#include "valence/env/finite_episode.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// Two links that hang from a joint; a motor at the second joint must swing their end one length above the first. The
/// agent sees (cos t1, sin t1, cos t2, sin t2, speed of t1, speed of t2), where t1 is the first link's angle from hanging
/// down and t2 the second's from the first. Actions: torque -1 (0), 0 (1), 1 (2). The reward is -1 a step and 0 for
/// the one that gets there, which terminates. Source: Sutton (1996), in the form of Sutton & Barto's book; the dynamics
/// (one Runge-Kutta step of 0.2 s) are those of Gymnasium's Acrobot-v1, which is `TimeLimit{Acrobot{}}`.
struct Acrobot {
  using State = Eigen::Matrix<double, 6, 1>;
  using Angles = Eigen::Vector4d;  ///< t1, t2 in [-pi, pi], their speeds
  using Action = int;
  static constexpr int time_limit = 500;
  static constexpr double reward_threshold = -100;
  static constexpr double dt = 0.2, gravity = 9.8, length = 1, mass = 1, center = 0.5, inertia = 1;
  static constexpr double fastest_1 = 4 * std::numbers::pi, fastest_2 = 9 * std::numbers::pi;

  Angles angles = Angles::Zero();  ///< may be set; then set `over` to false
  bool over = true;

  /// Each of the four uniform in [-0.1, 0.1). Four outputs.
  State reset(Rng& rng) {
    for (double& x : angles) x = rng.uniform(-0.1, 0.1);
    over = false;
    return observation();
  }
  /// Throws `Error` for another action than 0, 1, 2, and where the episode is over. Draws nothing.
  Step<State> step(int action, Rng&) {
    detail::check_action("Acrobot::step", action, 3);
    detail::check_running("Acrobot::step", over);
    const double torque = action - 1;
    const Angles k1 = derivative(angles, torque), k2 = derivative(angles + dt / 2 * k1, torque);
    const Angles k3 = derivative(angles + dt / 2 * k2, torque), k4 = derivative(angles + dt * k3, torque);
    angles += dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4);
    angles[0] = wrap_angle(angles[0]), angles[1] = wrap_angle(angles[1]);
    angles[2] = std::clamp(angles[2], -fastest_1, fastest_1), angles[3] = std::clamp(angles[3], -fastest_2, fastest_2);
    over = -std::cos(angles[0]) - std::cos(angles[0] + angles[1]) > 1;
    return {.next = observation(), .reward = over ? 0.0 : -1.0, .terminated = over};
  }
  State observation() const {
    const double t1 = angles[0], t2 = angles[1];  // arguments that are read once: cos and sin are computed together
    State s;
    s << std::cos(t1), std::sin(t1), std::cos(t2), std::sin(t2), angles[2], angles[3];
    return s;
  }
  Discrete actions() const { return {3}; }
  Box<State> states() const {
    State high;
    high << 1, 1, 1, 1, fastest_1, fastest_2;
    return {-high, high};
  }

  template <class A>
  void archive(A& ar) {
    ar(angles, over);
  }

 private:
  static Angles derivative(const Angles& s, double torque) {
    constexpr double half_pi = std::numbers::pi / 2;
    const double t1 = s[0], t2 = s[1], w1 = s[2], w2 = s[3];
    const double cosine = std::cos(t2), sine = std::sin(t2);
    const double d1 = mass * center * center +
                      mass * (length * length + center * center + 2 * length * center * cosine) + 2 * inertia;
    const double d2 = mass * (center * center + length * center * cosine) + inertia;
    const double phi2 = mass * center * gravity * std::cos(t1 + t2 - half_pi);
    const double phi1 = -mass * length * center * w2 * w2 * sine - 2 * mass * length * center * w2 * w1 * sine +
                        (mass * center + mass * length) * gravity * std::cos(t1 - half_pi) + phi2;
    const double a2 = (torque + d2 / d1 * phi1 - mass * length * center * w1 * w1 * sine - phi2) /
                      (mass * center * center + inertia - d2 * d2 / d1);
    const double a1 = -(d2 * a2 + phi1) / d1;
    return {w1, w2, a1, a2};
  }
};

}  // namespace valence
