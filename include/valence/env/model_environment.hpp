#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/env/finite_episode.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// Plays a finite model. A step costs O(successors) and one output of the generator, and allocates nothing; copies
/// share the model. Entering a terminal state ends the episode.
///
///     ModelEnvironment walk{random_walk()};
///     ModelEnvironment world{load_mdp("model.tra"), {0.5, 0.5, 0}};   // where episodes begin
template <FiniteModel M>
class ModelEnvironment {
 public:
  using State = int;
  using Action = int;

  /// `initial`: a probability a state, 0 where it is terminal; empty: the model's own. Throws `Error` where it is
  /// neither, and where it isn't a distribution over the states that are not terminal.
  explicit ModelEnvironment(M model, std::vector<double> initial = {})
      : world_(std::make_shared<const World>(std::move(model), std::move(initial))) {}

  /// One output.
  int reset(Rng& rng) { return episode_.begin(static_cast<int>(world_->first(rng))); }
  /// Throws `Error` for an action that doesn't exist or isn't available in this state, and after the end. One output.
  Step<int> step(int action, Rng& rng) {
    constexpr auto where = "ModelEnvironment::step";
    if (episode_.over) [[unlikely]]
      fail(where, "the episode is over, or has not begun; call reset first");
    check(where, episode_.state, action);
    if (!model().available(episode_.state, action)) [[unlikely]]
      fail(where, "action {} is not available in state {}; expected one that is", action, episode_.state);
    const auto to = draw_outcome(model().successors(episode_.state, action), rng);
    episode_ = {to.next, model().terminal(to.next)};
    return {.next = to.next, .reward = static_cast<double>(to.reward), .terminated = episode_.over};
  }

  Discrete states() const { return {model().states()}; }
  Discrete actions() const { return {model().actions()}; }
  /// Empty where the action isn't available; a terminal state leads to itself. Throws `Error` for a state or an action
  /// that doesn't exist.
  std::vector<Outcome<int>> outcomes(int state, int action) const {
    check("ModelEnvironment::outcomes", state, action);
    if (model().terminal(state)) return {{.next = state, .probability = 1, .reward = 0, .terminated = true}};
    std::vector<Outcome<int>> list;
    for (const auto& to : model().successors(state, action))
      list.push_back({.next = to.next,
                      .probability = static_cast<double>(to.probability),
                      .reward = static_cast<double>(to.reward),
                      .terminated = model().terminal(to.next)});
    return list;
  }
  const std::vector<double>& initial_distribution() const { return world_->initial; }

  const M& model() const { return world_->model; }
  /// Can the action be taken there? Throws `Error` for a state or an action that doesn't exist.
  bool available(int state, int action) const {
    check("ModelEnvironment::available", state, action);
    return model().available(state, action);
  }
  int state() const { return episode_.state; }
  /// The episode goes on from there. Throws `Error` for a state that doesn't exist.
  void set_state(int state) {
    detail::check_state("ModelEnvironment::set_state", state, model().states());
    episode_ = {state, model().terminal(state)};
  }
  /// `state` is one of `states()`.
  bool terminal(int state) const { return model().terminal(state); }

  /// The episode. The model is no state: restore into an environment that was made from the same one.
  template <class A>
  void archive(A& ar) {
    ar(episode_);
  }

 private:
  struct World {  // never changes, so copies share it
    World(M m, std::vector<double> p) : model(std::move(m)), initial(checked(model, std::move(p))), first(initial) {}

    static std::vector<double> checked(const M& model, std::vector<double> p) {
      constexpr auto where = "ModelEnvironment";
      const auto own = model.initial();
      if (p.empty()) p.assign(own.begin(), own.end());
      if (p.empty()) fail(where, "the model doesn't say where episodes begin; expected an initial distribution");
      check_size(where, "initial", p.size(), static_cast<std::size_t>(model.states()));
      check_probabilities(where, "initial", std::span<const double>(p));
      for (std::size_t s = 0; s < p.size(); ++s)
        if (p[s] > 0 && model.terminal(static_cast<int>(s)))
          fail(where, "initial[{}] is {}, but state {} is terminal; expected 0", s, p[s], s);
      return p;
    }

    M model;
    std::vector<double> initial;
    AliasTable first;
  };

  void check(std::string_view where, int state, int action) const {
    detail::check_state(where, state, model().states());
    detail::check_action(where, action, model().actions());
  }

  std::shared_ptr<const World> world_;
  FiniteEpisode episode_;
};
template <class M>
ModelEnvironment(M) -> ModelEnvironment<M>;
template <class M>
ModelEnvironment(M, std::vector<double>) -> ModelEnvironment<M>;

}  // namespace valence
