#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/linear.hpp"
#include "valence/function/tabular.hpp"
#include "valence/mdp/encode.hpp"

/// What the agents of this floor do with a model, one state at a time: outputs of a state, and steps of its parameters.
/// A table is read in place; a linear model over sparse features costs O(active); any other model goes through
/// `forward` and `pullback`.
namespace valence::detail {

template <class F>
inline constexpr bool is_table = false;
template <class S>
inline constexpr bool is_table<Tabular<S>> = true;
template <class F>
inline constexpr bool is_sparse_linear = false;
template <SparseFeatureMap Map, class S>
inline constexpr bool is_sparse_linear<Linear<Map, S>> = true;

/// A state enters a table as its index and any other model as numbers. Agents that remember states keep these.
template <class F>
using InputNumber = std::conditional_t<is_table<F>, int, typename F::Scalar>;

/// A model and its parameters.
template <Approximator F>
struct Learned {
  using S = typename F::Scalar;

  Learned(F f, Rng& start) : model(std::move(f)), theta(model.parameter_count()) {
    model.initialize(std::span<S>(theta), start);
  }

  /// How many numbers a state is.
  std::size_t input_count() const {
    if constexpr (is_table<F>)
      return 1;
    else
      return static_cast<std::size_t>(model.input_size());
  }
  /// An integer is its own number where the model takes one number (`OneHot`), and one-hot where it takes more.
  template <class State>
  void write_input(const State& state, std::span<InputNumber<F>> input) const {
    constexpr auto where = "the state";
    if constexpr (is_table<F>) {
      static_assert(std::is_integral_v<State> || std::is_enum_v<State>,
                    "valence: a table's states are integers; use Linear or Mlp for vectors");
      input[0] = static_cast<int>(state);
      if (static_cast<unsigned>(input[0]) >= static_cast<unsigned>(model.states)) [[unlikely]]  // negative: large
        fail(where, "is {}; expected one in [0, {}]", input[0], model.states - 1);
    } else if constexpr (std::is_integral_v<State>) {
      if (input.size() == 1) {
        if constexpr (requires { model.feature_map().states; })
          if (state < 0 || static_cast<std::size_t>(state) >= static_cast<std::size_t>(model.feature_map().states))
            fail(where, "is {}; expected one in [0, {}]", state, model.feature_map().states - 1);
        input[0] = static_cast<S>(state);
      } else {
        if (state < 0 || static_cast<std::size_t>(state) >= input.size())
          fail(where, "is {}; expected one in [0, {}]", state, input.size() - 1);
        encode(static_cast<int>(state), input);
      }
    } else {
      static_assert(Encodable<State, S>, "valence: write `encode(state, column)` for your state, see mdp/encode.hpp");
      if constexpr (requires { state.size(); })
        check_size(where, "the vector", static_cast<std::size_t>(state.size()), input.size());
      encode(state, input);
    }
  }

  template <class A>
  void archive(A& ar) {
    ar(theta);
    check_size("archive", "the parameters of the model", theta.size(), model.parameter_count());
  }

  F model;
  std::vector<S> theta;
};

/// Scratch for one state: look at it, then step from there.
template <Approximator F>
class StateValues {
  using S = typename F::Scalar;

 public:
  explicit StateValues(const Learned<F>& f) : outputs_(f.model.output_size()) {
    if constexpr (is_sparse_linear<F>) {
      active_.resize(static_cast<std::size_t>(f.model.feature_map().active_count()));
      input_.resize(f.input_count());
      y_.resize(static_cast<std::size_t>(outputs_));
    } else if constexpr (!is_table<F>) {
      x_ = Matrix<S>::Zero(static_cast<Eigen::Index>(f.input_count()), 1);
      dy_ = Matrix<S>::Zero(outputs_, 1);
      gradient_.resize(f.theta.size());
    }
  }

  /// The outputs of a state: valid until the parameters or this object change.
  template <class State>
  std::span<const S> look(const Learned<F>& f, const State& state) {
    f.write_input(state, input());
    return outputs(f);
  }
  /// The same for one that was written with `write_input`.
  std::span<const S> look_again(const Learned<F>& f, std::span<const InputNumber<F>> written) {
    std::copy(written.begin(), written.end(), input().begin());
    return outputs(f);
  }

  /// Calls visit(i, d) for each parameter i that output `o` of the state looked at depends on, d being its derivative.
  /// An index may come twice; the parts add.
  template <class Visit>
  void each(const Learned<F>& f, int o, Visit&& visit) {
    if constexpr (is_table<F>) {
      visit(entry(state_, o), S(1));
    } else if constexpr (is_sparse_linear<F>) {
      for (const int feature : active_) visit(entry(feature, o), S(1));
    } else {
      std::fill(gradient_.begin(), gradient_.end(), S(0));
      dy_.setZero();
      dy_(o, 0) = S(1);
      f.model.pullback(std::span<const S>(f.theta), x_, tape_, Outputs<S>(dy_.data(), outputs_, 1),
                       std::span<S>(gradient_));
      for (std::size_t i = 0; i < gradient_.size(); ++i) visit(i, gradient_[i]);
    }
  }
  /// theta <- theta + amount times the gradient of output `o`.
  void move(Learned<F>& f, int o, S amount) {
    each(f, o, [&](std::size_t i, S derivative) { f.theta[i] += amount * derivative; });
  }

 private:
  std::size_t entry(int column, int o) const {
    return static_cast<std::size_t>(column) * static_cast<std::size_t>(outputs_) + static_cast<std::size_t>(o);
  }
  std::span<InputNumber<F>> input() {
    if constexpr (is_table<F>)
      return {&state_, 1};
    else if constexpr (is_sparse_linear<F>)
      return input_;
    else
      return {x_.data(), static_cast<std::size_t>(x_.size())};
  }
  std::span<const S> outputs(const Learned<F>& f) {
    const auto count = static_cast<std::size_t>(outputs_);
    if constexpr (is_table<F>) {
      return {f.theta.data() + entry(state_, 0), count};
    } else if constexpr (is_sparse_linear<F>) {
      f.model.feature_map().active(std::span<const S>(input_), std::span<int>(active_));
      std::fill(y_.begin(), y_.end(), S(0));
      for (const int feature : active_)
        for (int o = 0; o < outputs_; ++o) y_[static_cast<std::size_t>(o)] += f.theta[entry(feature, o)];
      return y_;
    } else {
      const auto y = f.model.forward(std::span<const S>(f.theta), x_, tape_);
      return {y.data(), count};
    }
  }

  struct Nothing {};
  template <bool used, class T>
  using If = std::conditional_t<used, T, Nothing>;
  static constexpr bool dense = !is_table<F> && !is_sparse_linear<F>;

  int outputs_, state_ = 0;
  [[no_unique_address]] If<is_sparse_linear<F>, std::vector<int>> active_ = {};
  [[no_unique_address]] If<is_sparse_linear<F>, std::vector<S>> input_ = {}, y_ = {};
  [[no_unique_address]] If<dense, Matrix<S>> x_ = {}, dy_ = {};
  [[no_unique_address]] If<dense, typename F::Tape> tape_ = {};
  [[no_unique_address]] If<dense, std::vector<S>> gradient_ = {};
};

}  // namespace valence::detail
