#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/env/dynamics.hpp"
#include "valence/env/finite_episode.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// An underpowered car in a valley, which must swing to get up to the goal on the right. State: position in [-1.2, 0.6],
/// speed in [-0.07, 0.07]. Actions: 0 push left, 1 nothing, 2 push right. The reward is -1 a step; the episode terminates
/// at position 0.5 with a speed of at least 0. The left wall stops the car. Source: Moore (1990); the dynamics are those
/// of Gymnasium's MountainCar-v0, which is `TimeLimit{MountainCar{}}`.
struct MountainCar {
  using State = Eigen::Vector2d;
  using Action = int;
  static constexpr int time_limit = 200;
  static constexpr double reward_threshold = -110;
  static constexpr double lowest = -1.2, highest = 0.6, fastest = 0.07, goal = 0.5;

  State state = State::Zero();  ///< may be set; then set `over` to false
  bool over = true;

  /// Position uniform in [-0.6, -0.4), speed 0. One output.
  State reset(Rng& rng) {
    state = State(rng.uniform(-0.6, -0.4), 0);
    over = false;
    return state;
  }
  /// Throws `Error` for another action than 0, 1, 2, and where the episode is over. Draws nothing.
  Step<State> step(int action, Rng&) {
    detail::check_action("MountainCar::step", action, 3);
    detail::check_running("MountainCar::step", over);
    double& position = state[0];
    double& speed = state[1];
    speed = std::clamp(speed + (action - 1) * 0.001 - 0.0025 * std::cos(3 * position), -fastest, fastest);
    position = std::clamp(position + speed, lowest, highest);
    if (position == lowest && speed < 0) speed = 0;
    over = position >= goal && speed >= 0;
    return {.next = {position, speed}, .reward = -1, .terminated = over};
  }
  Discrete actions() const { return {3}; }
  Box<State> states() const { return {State(lowest, -fastest), State(highest, fastest)}; }

  template <class A>
  void archive(A& ar) {
    ar(state, over);
  }
};

/// The same with a force in [-1, 1] as the action (larger ones are cut to it), which costs 0.1 times its square, cut or
/// not; the goal, at 0.45, pays 100. Source: Gymnasium's MountainCarContinuous-v0, `TimeLimit{MountainCarContinuous{}}`.
struct MountainCarContinuous {
  using State = Eigen::Vector2d;
  using Action = double;
  static constexpr int time_limit = 999;
  static constexpr double reward_threshold = 90;
  static constexpr double lowest = -1.2, highest = 0.6, fastest = 0.07, goal = 0.45, power = 0.0015;

  /// Round the state to float after each step, as Gymnasium does.
  bool float_state = false;
  State state = State::Zero();  ///< may be set; then set `over` to false
  bool over = true;

  /// Position uniform in [-0.6, -0.4), speed 0. One output.
  State reset(Rng& rng) {
    state = State(rng.uniform(-0.6, -0.4), 0);
    round_state();
    over = false;
    return state;
  }
  /// Throws `Error` for an action that isn't finite, and where the episode is over. Draws nothing.
  Step<State> step(double action, Rng&) {
    detail::check_force("MountainCarContinuous::step", action);
    detail::check_running("MountainCarContinuous::step", over);
    double& position = state[0];
    double& speed = state[1];
    const double force = std::clamp(action, -1.0, 1.0);
    speed = std::clamp(speed + force * power - 0.0025 * std::cos(3 * position), -fastest, fastest);
    position = std::clamp(position + speed, lowest, highest);
    if (position == lowest && speed < 0) speed = 0;
    over = position >= goal && speed >= 0;
    round_state();
    return {.next = state, .reward = (over ? 100 : 0) - 0.1 * action * action, .terminated = over};
  }
  Box<double> actions() const { return {-1, 1}; }
  Box<State> states() const { return {State(lowest, -fastest), State(highest, fastest)}; }

  template <class A>
  void archive(A& ar) {
    ar(float_state, state, over);
  }

 private:
  void round_state() {
    if (float_state)
      for (double& x : state) x = static_cast<double>(static_cast<float>(x));
  }
};

}  // namespace valence
