// Your own environment: a struct with `reset` and `step`. No base class, no registration.
// Here it is solved by Q-learning, written out with the library's table and random numbers.

#include <fmt/core.h>

#include <algorithm>
#include <vector>

#include "valence/core/random.hpp"
#include "valence/function/tabular.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

namespace vl = valence;

struct Corridor {  // ten cells, the goal in the last; each step costs a little
  using State = int;
  using Action = int;  // 0: left, 1: right

  int reset(vl::Rng&) { return x = 0; }
  vl::Step<int> step(int action, vl::Rng&) {
    x = std::max(0, x + (action == 1 ? 1 : -1));
    return {.next = x, .reward = x == 9 ? 1.0 : -0.01, .terminated = x == 9};
  }
  vl::Discrete actions() const { return {2}; }
  vl::Discrete states() const { return {10}; }

  int x = 0;
};
static_assert(vl::Environment<Corridor>);

int main() {
  vl::explain_environment<Corridor>();  // were something missing, the compiler would say what, in words

  Corridor env;
  vl::Rng rng{7};
  const vl::Tabular q{env.states().n, env.actions().n};  // an architecture: it owns sizes, and no numbers
  std::vector<double> theta(q.parameter_count());        // the numbers
  vl::Tabular<double>::Tape tape;
  const auto values = [&](int state) { return q.forward(theta, std::span(&state, 1), tape); };
  const auto greedy = [&](int state) { return values(state)(1) > values(state)(0) ? 1 : 0; };

  const double step_size = 0.5, discount = 0.99, exploration = 0.1;
  for (int episode = 0; episode < 200; ++episode) {
    int state = env.reset(rng);
    for (int t = 0; t < 500; ++t) {
      const int action = rng.bernoulli(exploration) ? env.actions().sample(rng) : greedy(state);
      const vl::Step<int> step = env.step(action, rng);
      // The TD error, Watkins (1989): what follows counts unless the episode terminated.
      const double target = step.reward + (step.terminated ? 0 : discount * values(step.next).maxCoeff());
      vl::Matrix<double> change = vl::Matrix<double>::Zero(2, 1);
      change(action) = step_size * (target - values(state)(action));
      // A table is local: its pullback may write into the parameters themselves, so a step costs O(actions).
      q.pullback(theta, std::span(&state, 1), tape, vl::Outputs<double>(change.data(), 2, 1), theta);
      if (step.done()) break;
      state = step.next;
    }
  }

  fmt::print("cell   Q(left)  Q(right)\n");
  for (int s = 0; s < 9; ++s) fmt::print("{:4}  {:8.4f}  {:8.4f}\n", s, values(s)(0), values(s)(1));
  int state = env.reset(rng), steps = 0;
  while (state != 9 && steps < 100) {
    state = env.step(greedy(state), rng).next;
    ++steps;
  }
  fmt::print("the greedy policy reaches the goal in {} steps (the shortest way has 9)\n", steps);
  return steps == 9 ? 0 : 1;
}
