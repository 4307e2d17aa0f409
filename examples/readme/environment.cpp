#include <fmt/core.h>

#include <algorithm>
#include <valence/function.hpp>
#include <valence/mdp.hpp>

namespace vl = valence;

// [environment]
struct Corridor {  // no base class, no registration
  using State = int;
  using Action = int;
  int reset(vl::Rng&) { return x = 0; }
  vl::Step<int> step(int action, vl::Rng&) {
    x = std::max(0, x + (action == 1 ? 1 : -1));
    return {.next = x, .reward = x == 9 ? 1.0 : -0.01, .terminated = x == 9};
  }
  vl::Discrete actions() const { return {2}; }
  int x = 0;
};
static_assert(
    vl::Environment<Corridor>);  // and when it isn't one, the compiler says which requirement failed, in words
// [/environment]

int main() {
  // [algorithm]
  Corridor world;
  vl::Rng rng{7};
  const vl::Tabular q{10, 2};  // states, actions
  vl::Vector<double> theta = vl::Vector<double>::Zero(20), next(2);
  vl::Tabular<double>::Tape tape;
  for (int episode = 0; episode < 200; ++episode)
    for (int state = world.reset(rng), steps = 0; steps < 100; ++steps) {
      const auto value = q.forward(vl::view(theta), {&state, 1}, tape);
      const int greedy = value(1) > value(0) ? 1 : 0;
      const int action = rng.bernoulli(0.1) ? rng.below(2) : greedy;
      const double before = value(action);
      const auto step = world.step(action, rng);
      const double after = step.terminated ? 0 : q.forward(vl::view(theta), {&step.next, 1}, tape).maxCoeff();
      next.setZero();
      next[action] = 0.5 * (step.reward + 0.99 * after - before);  // Q-learning (Watkins 1989)
      q.pullback(vl::view(theta), {&state, 1}, tape, {next.data(), 2, 1}, vl::view(theta));  // a table is local: O(1)
      state = step.next;
      if (step.terminated) break;
    }
  // [/algorithm]
  for (int state = 0; state < 9; ++state) fmt::print("{}", theta[2 * state + 1] > theta[2 * state] ? '>' : '<');
  fmt::print("\nvalue of the start {:.4f}\n", std::max(theta[0], theta[1]));
  return theta[1] > theta[0] ? 0 : 1;
}
