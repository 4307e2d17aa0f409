#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/implicit_quantile.hpp"
#include "valence/function/activation.hpp"
#include "valence/function/composites.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/initialization.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/parameters.hpp"

namespace valence {

class Rng;

/// `fractions` >= 1 are asked of each state at once; `cosines` >= 1 features embed one of them (64 in the paper).
struct ImplicitQuantileNetworkOptions {
  int fractions = 8, cosines = 64;
};

/// The network of IQN (Dabney et al. 2018b, section 3, equation 4): quantiles of the return at fractions that are
/// inputs,
///
///     Z_tau(x, .) = head(trunk(x) * embedding(tau)),   embedding(tau)_i = relu(sum_j cos(pi j tau) w_ij + b_i),
///
/// where * multiplies entry by entry. A column of the input is a state above its fractions, `state_size()` +
/// `fractions()` numbers; a column of the output is `fractions()` quantiles an action, action after action, in the
/// order of the fractions: what `QuantileReturn{.quantiles = fractions()}` reads. The trunk sees each state once,
/// whatever the number of fractions. Parameters: the trunk's, the embedding's, the head's; the number of fractions
/// isn't among them, so `with_fractions(n)` works with the same theta.
///
///     Mlp<float> trunk{{4, 64}, relu, {.output = relu}}, head{{64, 64, 2}, relu};
///     ImplicitQuantileNetwork net{trunk, head, {.fractions = 8}};     // 4 + 8 inputs, 8 * 2 outputs
///
/// The head has an output an action, and may be `Dueling`. The embedding starts as `Initialization::fan_in` (a choice:
/// the paper doesn't say). There is no derivative with respect to the inputs. Fractions outside [0, 1] throw `Error`.
template <Approximator Trunk, InputDifferentiable Head>
  requires std::same_as<typename Trunk::Batch, Matrix<typename Trunk::Scalar>> &&
           std::same_as<typename Head::Batch, Matrix<typename Trunk::Scalar>>
class ImplicitQuantileNetwork {
 public:
  using Scalar = typename Trunk::Scalar;
  using Batch = Matrix<Scalar>;
  class Tape {
    friend class ImplicitQuantileNetwork;
    typename Trunk::Tape trunk_;
    typename Mlp<Scalar>::Tape embedding_;
    typename Head::Tape head_;
    Batch state_, cosines_;               // inputs of trunk and embedding
    Batch features_, embedded_, joined_;  // of a state; of a fraction; their product
    Batch y_, dq_, d_features_, d_embedded_, d_joined_;
    std::ptrdiff_t samples_ = -1;
    int fractions_ = 0;
  };

  /// Throws `Error` where the head's inputs aren't as many as the trunk's outputs, and for options out of range.
  ImplicitQuantileNetwork(Trunk trunk, Head head, ImplicitQuantileNetworkOptions options = {})
      : trunk_(std::move(trunk)), head_(std::move(head)), embedding_(embedding(trunk_, options)), options_(options) {
    check_size("ImplicitQuantileNetwork", "the head's inputs", static_cast<std::size_t>(head_.input_size()),
               static_cast<std::size_t>(trunk_.output_size()));
  }

  const Trunk& trunk() const { return trunk_; }
  const Mlp<Scalar>& embedding() const { return embedding_; }
  const Head& head() const { return head_; }
  const ImplicitQuantileNetworkOptions& options() const { return options_; }
  int fractions() const { return options_.fractions; }
  int actions() const { return head_.output_size(); }
  /// Numbers of a state.
  int state_size() const { return trunk_.input_size(); }
  int input_size() const { return state_size() + fractions(); }
  int output_size() const { return fractions() * actions(); }
  /// The same network, asked for n >= 1 fractions.
  ImplicitQuantileNetwork with_fractions(int n) const {
    return {trunk_, head_, {.fractions = n, .cosines = options_.cosines}};
  }
  template <class T>
  auto rebind() const
    requires requires(const Trunk f, const Head g) {
      f.template rebind<T>();
      g.template rebind<T>();
    }
  {
    return valence::ImplicitQuantileNetwork(trunk_.template rebind<T>(), head_.template rebind<T>(), options_);
  }

  std::size_t parameter_count() const { return head_begin() + head_.parameter_count(); }
  /// The parts' tensors under "trunk.", "embedding." and "head.".
  std::vector<ParameterBlock> parameters(std::string_view prefix = "") const {
    std::vector<ParameterBlock> blocks;
    detail::append_parameters(trunk_, std::string(prefix) + "trunk.", 0, blocks);
    detail::append_parameters(embedding_, std::string(prefix) + "embedding.", trunk_.parameter_count(), blocks);
    detail::append_parameters(head_, std::string(prefix) + "head.", head_begin(), blocks);
    return blocks;
  }
  /// The slices of theta.
  template <class T>
  std::span<T> trunk_theta(std::span<T> theta) const {
    return theta.first(trunk_.parameter_count());
  }
  template <class T>
  std::span<T> embedding_theta(std::span<T> theta) const {
    return theta.subspan(trunk_.parameter_count(), embedding_.parameter_count());
  }
  template <class T>
  std::span<T> head_theta(std::span<T> theta) const {
    return theta.subspan(head_begin(), head_.parameter_count());
  }
  void initialize(std::span<Scalar> theta, Rng& rng) const {
    check_size("ImplicitQuantileNetwork::initialize", "theta", theta.size(), parameter_count());
    trunk_.initialize(trunk_theta(theta), rng);
    embedding_.initialize(embedding_theta(theta), rng);
    head_.initialize(head_theta(theta), rng);
  }

  Outputs<Scalar> forward(std::span<const Scalar> theta, const Batch& x, Tape& tape) const {
    return forward(theta, detail::outputs_of(x), tape);
  }
  Outputs<Scalar> forward(std::span<const Scalar> theta, const Outputs<Scalar>& x, Tape& tape) const {
    constexpr auto where = "ImplicitQuantileNetwork::forward";
    const Eigen::Index batch = x.cols(), n = fractions(), states = state_size();
    check_size(where, "theta", theta.size(), parameter_count());
    check_shape(where, "x", x.rows(), batch, input_size(), batch);
    tape.samples_ = -1;
    tape.cosines_.resize(options_.cosines, batch * n);
    for (Eigen::Index j = 0; j < batch; ++j)
      for (Eigen::Index k = 0; k < n; ++k)
        cosine_features(x(states + k, j), std::span<Scalar>(tape.cosines_.col(j * n + k).data(),
                                                            static_cast<std::size_t>(options_.cosines)));
    tape.state_ = x.topRows(states);
    tape.features_ = trunk_.forward(trunk_theta(theta), tape.state_, tape.trunk_);
    tape.embedded_ = embedding_.forward(embedding_theta(theta), tape.cosines_, tape.embedding_);
    tape.joined_.resize(tape.features_.rows(), batch * n);
    for (Eigen::Index c = 0; c < batch * n; ++c)
      tape.joined_.col(c) = tape.features_.col(c / n).cwiseProduct(tape.embedded_.col(c));
    const auto q = head_.forward(head_theta(theta), tape.joined_, tape.head_);
    tape.y_.resize(output_size(), batch);
    for (Eigen::Index c = 0; c < batch * n; ++c)
      for (Eigen::Index a = 0; a < q.rows(); ++a) tape.y_(a * n + c % n, c / n) = q(a, c);
    tape.samples_ = batch, tape.fractions_ = fractions();
    return detail::outputs_of(tape.y_);
  }
  void pullback(std::span<const Scalar> theta, const Batch& x, Tape& tape, const Outputs<Scalar>& dy,
                std::span<Scalar> gradient) const {
    pullback(theta, detail::outputs_of(x), tape, dy, gradient);
  }
  void pullback(std::span<const Scalar> theta, const Outputs<Scalar>& x, Tape& tape, const Outputs<Scalar>& dy,
                std::span<Scalar> gradient) const {
    constexpr auto where = "ImplicitQuantileNetwork::pullback";
    detail::check_composite(where, *this, theta, tape.samples_, dy);
    check_shape(where, "x", x.rows(), x.cols(), input_size(), tape.samples_);
    if (tape.fractions_ != fractions())
      fail(where, "the tape holds a forward of {} fractions; expected {}", tape.fractions_, fractions());
    check_size(where, "gradient", gradient.size(), parameter_count());
    const Eigen::Index n = fractions(), columns = tape.joined_.cols();
    tape.dq_.resize(actions(), columns);
    for (Eigen::Index c = 0; c < columns; ++c)
      for (Eigen::Index a = 0; a < actions(); ++a) tape.dq_(a, c) = dy(a * n + c % n, c / n);
    detail::pullback_both(head_, head_theta(theta), tape.joined_, tape.head_, detail::outputs_of(tape.dq_),
                          head_theta(gradient), tape.d_joined_);
    tape.d_embedded_.resize(tape.joined_.rows(), columns);
    tape.d_features_.setZero(tape.joined_.rows(), tape.samples_);
    for (Eigen::Index c = 0; c < columns; ++c) {
      tape.d_embedded_.col(c) = tape.d_joined_.col(c).cwiseProduct(tape.features_.col(c / n));
      tape.d_features_.col(c / n) += tape.d_joined_.col(c).cwiseProduct(tape.embedded_.col(c));
    }
    embedding_.pullback(embedding_theta(theta), tape.cosines_, tape.embedding_, detail::outputs_of(tape.d_embedded_),
                        embedding_theta(gradient));
    trunk_.pullback(trunk_theta(theta), tape.state_, tape.trunk_, detail::outputs_of(tape.d_features_),
                    trunk_theta(gradient));
  }

 private:
  static Mlp<Scalar> embedding(const Trunk& trunk, const ImplicitQuantileNetworkOptions& options) {
    check_positive("ImplicitQuantileNetwork", "fractions", options.fractions);
    check_positive("ImplicitQuantileNetwork", "cosines", options.cosines);
    return {{options.cosines, trunk.output_size()}, relu, {.output = relu, .initialization = Initialization::fan_in}};
  }
  std::size_t head_begin() const { return trunk_.parameter_count() + embedding_.parameter_count(); }

  Trunk trunk_;
  Head head_;
  Mlp<Scalar> embedding_;
  ImplicitQuantileNetworkOptions options_;
};

}  // namespace valence
