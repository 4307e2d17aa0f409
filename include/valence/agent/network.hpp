#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/agent/state_values.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/policy/concepts.hpp"

/// What the agents of this floor do with a model, a batch at a time.
namespace valence::detail {

/// A number that is trained on: throws `Error` that says which one diverged, and when.
inline double check_divergence(std::string_view where, std::string_view what, double value, std::int64_t update) {
  if (!std::isfinite(value))
    fail(where, "the run has diverged: {} is {} at update {}; expected a finite number", what, value, update);
  return value;
}

/// A column of a batch, as `column(Outputs, j)` gives it.
template <class S>
std::span<const S> column(const Matrix<S>& m, Eigen::Index j) {
  return {m.data() + j * m.rows(), static_cast<std::size_t>(m.rows())};
}
template <class S>
std::span<S> column(Matrix<S>& m, Eigen::Index j) {
  return {m.data() + j * m.rows(), static_cast<std::size_t>(m.rows())};
}

/// A matrix whose columns a batch fills: grows when a batch is larger than any before, and is read as a view of the
/// batch's size, so that batches of changing sizes allocate nothing.
template <class S>
class BatchBuffer {
 public:
  /// Columns of `rows` numbers; what they hold is not kept where either grows.
  OutputsGradient<S> resize(Eigen::Index rows, Eigen::Index columns) {
    if (data_.size() < rows * columns) data_ = Vector<S>::Zero((std::max)(rows * columns, 2 * data_.size()));
    rows_ = rows, columns_ = columns;
    return {data_.data(), rows, columns};
  }
  OutputsGradient<S> zero(Eigen::Index rows, Eigen::Index columns) {
    auto all = resize(rows, columns);
    all.setZero();
    return all;
  }
  Outputs<S> get() const { return {data_.data(), rows_, columns_}; }
  std::span<S> column(Eigen::Index j) { return {data_.data() + j * rows_, static_cast<std::size_t>(rows_)}; }
  std::span<const S> column(Eigen::Index j) const {
    return {data_.data() + j * rows_, static_cast<std::size_t>(rows_)};
  }
  Eigen::Index columns() const { return columns_; }

 private:
  Vector<S> data_ = {};
  Eigen::Index rows_ = 0, columns_ = 0;
};

/// A model that an optimizer trains: its parameters, their gradient and the optimizer's state. The scratch of a forward
/// belongs to whoever asks, because agents look at several batches in turn.
template <Approximator F, Optimizer O>
class Network {
  static_assert(
      std::same_as<typename F::Batch, Matrix<typename F::Scalar>>,
      "valence: this agent's models take batches of numbers; a table is `Linear{OneHot{states}, outputs}` here");

 public:
  using S = typename F::Scalar;
  using Tape = typename F::Tape;
  using State = decltype(std::declval<const O&>().template start<S>(std::size_t{}));

  Network(F f, const O& optimizer, Rng& rng)
      : learned_(std::move(f), rng),
        gradient_(learned_.theta.size(), S(0)),
        state_(optimizer.template start<S>(learned_.theta.size())) {}

  const F& model() const { return learned_.model; }
  std::span<const S> theta() const { return learned_.theta; }
  std::span<S> theta() { return learned_.theta; }
  std::span<S> gradient() { return gradient_; }
  const Learned<F>& learned() const { return learned_; }
  /// Steps of the optimizer so far.
  std::int64_t updates() const { return state_.steps(); }

  Outputs<S> forward(const Outputs<S>& x, Tape& tape) const { return forward_with(theta(), x, tape); }
  /// With other parameters: a target network's.
  Outputs<S> forward_with(std::span<const S> theta, const Outputs<S>& x, Tape& tape) const {
    return model().forward(theta, x, tape);
  }
  /// gradient += J' dy.
  void pullback(const Outputs<S>& x, Tape& tape, const Outputs<S>& dy) {
    if constexpr (requires(const F& f) { f.pullback(theta(), x, tape, dy, gradient()); }) {
      model().pullback(theta(), x, tape, dy, gradient());
    } else {
      batch_ = x;
      model().pullback(theta(), batch_, tape, dy, gradient());
    }
  }
  /// dx = the pullback to the inputs; the parameters' gradient isn't touched.
  void pullback_input(const Matrix<S>& x, Tape& tape, const Outputs<S>& dy, Matrix<S>& dx) const {
    model().pullback_input(theta(), x, tape, dy, dx);
  }
  /// A step down the gradient, which is cut to norm `max_norm` where that is above 0 and then set to 0. Throws `Error`,
  /// and moves nothing, where it isn't finite: a run that diverges says so instead of going on. Returns the norm.
  double step(std::string_view where, double max_norm, double factor = 1) {
    const double norm = global_norm(std::span<const S>(gradient_));
    if (!std::isfinite(norm))
      for (S& g : gradient_) g = S(0);
    check_divergence(where, "the gradient's norm", norm, updates());
    if (max_norm > 0 && norm > max_norm) {
      const S shrink = static_cast<S>(max_norm / norm);
      for (S& g : gradient_) g *= shrink;
    }
    state_.step(theta(), std::span<const S>(gradient_), factor);
    for (S& g : gradient_) g = S(0);
    return norm;
  }

  template <class A>
  void archive(A& ar) {
    ar(learned_, state_);
  }

 private:
  Learned<F> learned_;
  std::vector<S> gradient_;
  State state_;
  Matrix<S> batch_ = {};  // scratch
};

/// Actions in order, each an `int` or a column of numbers.
template <class Action, class S>
class ActionColumns {
 public:
  static constexpr bool discrete = std::is_integral_v<Action>;
  /// `dimensions` numbers an action; 1 where actions are integers.
  ActionColumns(std::size_t dimensions, std::size_t count) : dimensions_(dimensions), data_(dimensions * count) {}

  std::size_t dimensions() const { return dimensions_; }
  std::size_t size() const { return data_.size() / dimensions_; }
  void resize(std::size_t count) { data_.resize(dimensions_ * count); }
  template <class V>
  void put(std::size_t i, const V& action) {
    if constexpr (discrete) {
      data_[i] = static_cast<int>(action);
    } else {
      check_size("an action", "entries", dimensions_of(action), dimensions_);
      for (std::size_t d = 0; d < dimensions_; ++d) data_[i * dimensions_ + d] = static_cast<S>(entry(action, d));
    }
  }
  /// The first `count`, as `log_prob_columns` takes them: a span of `int`, or a column each.
  auto first(std::size_t count) const {
    if constexpr (discrete)
      return std::span<const int>(data_).first(count);
    else
      return Outputs<S>(data_.data(), static_cast<Eigen::Index>(dimensions_), static_cast<Eigen::Index>(count));
  }
  /// An `int`, or the numbers.
  auto operator[](std::size_t i) const {
    if constexpr (discrete)
      return data_[i];
    else
      return std::span<const S>(data_.data() + i * dimensions_, dimensions_);
  }

  template <class A>
  void archive(A& ar) {
    ar(data_);
  }

 private:
  std::size_t dimensions_;
  std::vector<std::conditional_t<discrete, int, S>> data_;
};

/// How many numbers an action of the law is.
template <class S, class Law>
std::size_t action_dimensions(const Law& law) {
  if constexpr (std::is_integral_v<typename Law::Action>) {
    return 1;
  } else {
    const std::vector<S> y(static_cast<std::size_t>(law.size()), S(0));
    if constexpr (requires { law.mode(std::span<const S>(y)); })
      return dimensions_of(law.mode(std::span<const S>(y)));
    else
      return dimensions_of(law.action(std::span<const S>(y)));
  }
}

}  // namespace valence::detail
