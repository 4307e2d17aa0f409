#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/concepts.hpp"
#include "valence/mdp/finite_mdp.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// A finite Markov decision process with a full table: column s * actions + a of `transition` (states x (states *
/// actions)) is P(. | s, a), column s of `reward` (actions x states) its expected rewards. For models of a few hundred
/// states, where most states can follow most. Checked like a `FiniteMdp`; every action is available in every state that
/// isn't terminal. Satisfies `FiniteModel`.
template <Scalar S = double>
class DenseMdp {
 public:
  using Scalar = S;
  /// One successor of (s, a).
  struct Successor {
    int next;
    S probability, reward;
  };
  /// The successors of (s, a), those of probability 0 left out.
  class Successors {
   public:
    class Iterator {
     public:
      using value_type = Successor;
      using difference_type = std::ptrdiff_t;
      using iterator_category = std::input_iterator_tag;
      Iterator() = default;
      Iterator(const S* column, int next, int states, S reward)
          : column_(column), next_(next), states_(states), reward_(reward) {
        skip();
      }
      Successor operator*() const { return {next_, column_[next_], reward_}; }
      Iterator& operator++() {
        ++next_;
        skip();
        return *this;
      }
      Iterator operator++(int) {
        Iterator old = *this;
        ++*this;
        return old;
      }
      friend bool operator==(const Iterator& a, const Iterator& b) { return a.next_ == b.next_; }

     private:
      void skip() {
        while (next_ < states_ && column_[next_] == S(0)) ++next_;
      }
      const S* column_ = nullptr;
      int next_ = 0, states_ = 0;
      S reward_ = 0;
    };
    Successors(const S* column, int states, S reward) : column_(column), states_(states), reward_(reward) {}
    Iterator begin() const { return {column_, 0, states_, reward_}; }
    Iterator end() const { return {column_, states_, states_, reward_}; }

   private:
    const S* column_;
    int states_;
    S reward_;
  };

  /// States and actions are read off the shapes. `terminal` lists the states where the episode is over: their columns
  /// are not read. Throws `Error` that names state and action of what is wrong.
  DenseMdp(Matrix<S> transition, Matrix<S> reward, std::span<const int> terminal = {}, Vector<S> initial = {})
      : transition_(std::move(transition)), reward_(std::move(reward)), initial_(std::move(initial)) {
    constexpr auto where = "DenseMdp";
    check_positive(where, "states", reward_.cols());
    check_positive(where, "actions", reward_.rows());
    check_shape(where, "transition", transition_.rows(), transition_.cols(), reward_.cols(),
                reward_.cols() * reward_.rows());
    terminal_.assign(static_cast<std::size_t>(states()), 0);
    for (std::size_t i = 0; i < terminal.size(); ++i) {
      if (terminal[i] < 0 || terminal[i] >= states())
        fail(where, "terminal[{}] is {}; expected a state in [0, {}]", i, terminal[i], states() - 1);
      terminal_[static_cast<std::size_t>(terminal[i])] = 1;
    }
    for (int s = 0; s < states(); ++s)
      for (int a = 0; a < actions(); ++a) {
        if (this->terminal(s)) {
          transition_.col(column(s, a)).setZero();
          reward_(a, s) = S(0);
          continue;
        }
        if (!std::isfinite(reward_(a, s)))
          fail(where, "the reward of state {}, action {} is {}; expected a finite number", s, a, reward_(a, s));
        double sum = 0;
        for (int next = 0; next < states(); ++next) {
          const double p = static_cast<double>(transition_(next, column(s, a)));
          if (!(p >= 0 && p <= 1 + detail::row_tolerance<S>))
            fail(where, "state {}, action {} leads to state {} with probability {}; expected a number in [0, 1]", s, a,
                 next, p);
          sum += p;
        }
        if (!(std::abs(sum - 1) <= detail::row_tolerance<S>))
          fail(where, "the probabilities of state {}, action {} sum to {}; expected 1 (within {})", s, a, sum,
               detail::row_tolerance<S>);
      }
    if (initial_.size() != 0) {
      check_size(where, "initial", static_cast<std::size_t>(initial_.size()), static_cast<std::size_t>(states()));
      check_probabilities(where, "initial", this->initial());
    }
  }

  int states() const { return static_cast<int>(reward_.cols()); }
  int actions() const { return static_cast<int>(reward_.rows()); }
  bool terminal(int s) const { return terminal_[static_cast<std::size_t>(s)] != 0; }
  bool available(int s, int) const { return !terminal(s); }
  S reward(int s, int a) const { return reward_(a, s); }
  S expectation(int s, int a, const S* v) const {
    const S* const p = transition_.data() + column(s, a) * transition_.rows();
    S sum = 0;
    for (std::ptrdiff_t i = 0; i < transition_.rows(); ++i) sum += p[i] * v[i];
    return sum;
  }
  Successors successors(int s, int a) const {
    return {transition_.data() + column(s, a) * transition_.rows(), available(s, a) ? states() : 0, reward_(a, s)};
  }
  std::span<const S> initial() const { return view(initial_); }
  const Matrix<S>& transition() const { return transition_; }
  const Matrix<S>& rewards() const { return reward_; }

 private:
  std::ptrdiff_t column(int s, int a) const { return static_cast<std::ptrdiff_t>(s) * reward_.rows() + a; }

  Matrix<S> transition_, reward_;
  Vector<S> initial_;
  std::vector<std::uint8_t> terminal_;
};
template <class S>
DenseMdp(Matrix<S>, Matrix<S>) -> DenseMdp<S>;

/// The full table of any model all of whose actions are available. Throws `Error` otherwise.
template <FiniteModel M>
DenseMdp<typename M::Scalar> dense(const M& model) {
  using S = typename M::Scalar;
  const std::ptrdiff_t n = model.states(), m = model.actions();
  Matrix<S> transition = Matrix<S>::Zero(n, n * m), reward = Matrix<S>::Zero(m, n);
  std::vector<int> terminal;
  for (int s = 0; s < model.states(); ++s) {
    if (model.terminal(s)) {
      terminal.push_back(s);
      continue;
    }
    for (int a = 0; a < model.actions(); ++a) {
      if (!model.available(s, a)) fail("dense", "action {} is not available in state {}; expected all to be", a, s);
      reward(a, s) = model.reward(s, a);
      for (const auto& to : model.successors(s, a)) transition(to.next, s * m + a) += to.probability;
    }
  }
  const auto first = model.initial();
  Vector<S> initial(static_cast<std::ptrdiff_t>(first.size()));
  for (std::size_t i = 0; i < first.size(); ++i) initial[static_cast<std::ptrdiff_t>(i)] = first[i];
  return DenseMdp<S>(std::move(transition), std::move(reward), terminal, std::move(initial));
}

/// Any model in compressed rows: successors of probability 0 take no room. States keep their numbers; rows of a float
/// model are divided by their sum.
template <FiniteModel M>
FiniteMdp<typename M::Scalar> sparse(const M& model) {
  const auto first = model.initial();
  const std::vector<double> initial(first.begin(), first.end());
  std::vector<Outcome<int>> row;
  const auto outcomes = [&](int s, int a) -> const std::vector<Outcome<int>>& {
    row.clear();
    if (model.terminal(s) || !model.available(s, a)) return row;
    double sum = 0;
    for (const auto& to : model.successors(s, a)) {
      row.push_back({to.next, static_cast<double>(to.probability), static_cast<double>(to.reward)});
      sum += row.back().probability;
    }
    if (std::abs(sum - 1) > detail::row_tolerance<double>)
      for (Outcome<int>& outcome : row) outcome.probability /= sum;
    return row;
  };
  return FiniteMdp<typename M::Scalar>(model.states(), model.actions(), outcomes, initial);
}

}  // namespace valence
