#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/agent/action_mask.hpp"
#include "valence/agent/metrics.hpp"
#include "valence/agent/network.hpp"
#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/mdp/step.hpp"
#include "valence/policy/concepts.hpp"
#include "valence/policy/rate.hpp"
#include "valence/policy_gradient/group_baselines.hpp"
#include "valence/policy_gradient/surrogate.hpp"

/// Policy gradients whose baseline is the other answers to the same prompt: RLOO and GRPO. An episode is one step: the
/// prompt is its state and the answer its action. The environment must show each prompt `group` times in a row, which
/// `PromptBandit` does by itself:
///
///     PromptBandit bandit{rewards, reference, {.repeats = 4}};
///     Linear table{OneHot{bandit.prompts()}, bandit.answers()};
///     Rloo agent{table, Softmax{bandit.answers()}, Adam{.step_size = 0.05}, {.group = 4}};
///     train(agent, bandit, {.steps = 100'000}, rng);
///
/// and an environment of your own with `if (left == 0) draw_a_prompt(rng), left = 4; --left;` in its `reset`.
namespace valence {

namespace detail {

/// A law's parameters, a reference policy, and the answers since the last update.
template <Approximator F, ActionDistribution L, Optimizer O>
class GroupPolicyAgent {
 public:
  using Scalar = typename F::Scalar;
  using Action = typename L::Action;

  /// An answer of the law.
  template <class State>
  Action act(const State& state, Rng& rng) {
    const auto y = outputs(state);
    return sample_possible(law_, y, rng, mask_(std::span<const S>(single_)));
  }
  /// The most likely answer.
  template <class State>
  Action greedy(const State& state) {
    const auto y = outputs(state);
    return likeliest(law_, y, mask_(std::span<const S>(single_)));
  }
  template <class State>
  Action greedy(const State& state, Rng&) {
    return greedy(state);
  }

  const F& model() const { return net_.model(); }
  const L& law() const { return law_; }
  /// theta of the policy that learns, and of the one that it is to stay close to.
  std::span<const Scalar> parameters() const { return net_.theta(); }
  std::span<Scalar> parameters() { return net_.theta(); }
  std::span<const Scalar> reference_parameters() const { return reference_; }
  /// The policy as it is now becomes the reference. At first that is the one that was drawn, so call this after writing
  /// to `parameters()`.
  void set_reference() { std::copy(parameters().begin(), parameters().end(), reference_.begin()); }
  /// Forgets the answers since the last update: before a run in another environment, if the last one was stopped within
  /// a group.
  void forget() { count_ = 0; }

  /// How many actions it knows.
  int actions() const
    requires std::integral<Action>
  {
    return law_.size();
  }
  /// Answers learned from, and steps of the optimizer.
  std::int64_t steps() const { return steps_; }
  std::int64_t updates() const { return net_.updates(); }

  template <class A>
  void archive(A& ar) {
    ar(net_, reference_, inputs_, actions_, reward_, count_, steps_, statistics_);
    check_size(where_, "the reference", reference_.size(), net_.theta().size());
    check_size(where_, "the prompts", inputs_.size(), capacity_ * inputs_each_);
    check_size(where_, "the rewards", reward_.size(), capacity_);
    if (count_ >= capacity_) fail(where_, "{} answers are waiting; expected fewer than {}", count_, capacity_);
  }

 protected:
  using S = Scalar;

  /// Means over the last update, and of its last epoch.
  struct Statistics {
    double reward = 0, log_ratio = 0, loss = 0, clip_fraction = 0;
    template <class A>
    void archive(A& ar) {
      ar(reward, log_ratio, loss, clip_fraction);
    }
  };

  template <class Options>
  GroupPolicyAgent(std::string_view where, F model, L law, const O& optimizer, const Options& options, int least,
                   Rng& start)
      : where_(where),
        net_(std::move(model), optimizer, start),
        law_(std::move(law)),
        mask_(options.possible, std::integral<Action> ? law_.size() : 0),
        reference_(net_.theta().begin(), net_.theta().end()),
        group_(checked(where, "group", options.group, least)),
        capacity_(group_ * checked(where, "prompts", options.prompts, 1)),
        inputs_each_(net_.learned().input_count()),
        actions_(action_dimensions<S>(law_), capacity_),
        single_(inputs_each_),
        inputs_(capacity_ * inputs_each_),
        reward_(capacity_),
        advantage_(capacity_),
        log_prob_(capacity_),
        reference_log_prob_(capacity_) {
    constexpr double largest = (std::numeric_limits<double>::max)();
    check_range(where, "beta", options.beta, 0, largest);
    check_range(where, "max_gradient_norm", options.max_gradient_norm, 0, largest);
    check_size(where, "the model's outputs", static_cast<std::size_t>(net_.model().output_size()),
               static_cast<std::size_t>(law_.size()));
  }

  /// Takes in what came of an answer. True where that completes the last group; an update follows.
  template <class State, class V>
  bool take(const Transition<State, V>& t) {
    if (!t.terminated) fail(where_, "step {} didn't terminate its episode; expected episodes of one step", steps_);
    if (!std::isfinite(t.reward))
      fail(where_, "the reward of step {} is {}; expected a finite number", steps_, t.reward);
    if constexpr (std::integral<Action>)
      if (t.action < 0 || t.action >= law_.size())
        fail(where_, "the action of step {} is {}; expected one in [0, {}]", steps_, t.action, law_.size() - 1);
    const auto input = std::span<S>(inputs_).subspan(count_ * inputs_each_, inputs_each_);
    net_.learned().write_input(t.state, input);
    const std::size_t within = count_ % group_;
    if (!std::equal(input.begin(), input.end(), prompt(count_ - within).begin()))
      fail(where_,
           "answer {} of a group isn't to the prompt of the first; expected an environment that shows each prompt {} "
           "times in a row (PromptBandit: repeats)",
           within, group_);
    actions_.put(count_, t.action);
    reward_[count_] = static_cast<double>(t.reward);
    ++steps_;
    if (++count_ < capacity_) return false;
    count_ = 0;  // whatever the update says
    return true;
  }

  /// The log-probabilities of all answers, by the policy that gave them and, where asked, by the reference.
  void look_back(bool by_reference) {
    log_probs_of(parameters(), log_prob_);
    statistics_.reward = mean(reward_);
    statistics_.log_ratio = 0;
    if (!by_reference) return;
    log_probs_of(reference_, reference_log_prob_);
    for (std::size_t j = 0; j < capacity_; ++j)
      statistics_.log_ratio += static_cast<double>(log_prob_[j]) - static_cast<double>(reference_log_prob_[j]);
    statistics_.log_ratio /= static_cast<double>(capacity_);
  }

  /// One step down the mean of `loss(PolicySample)` over all answers.
  template <class Loss>
  void descend(const Loss& loss, double clip, double max_gradient_norm, double factor) {
    const auto x = batch_of(inputs_);
    const auto n = x.cols();
    const auto y = net_.forward(x, tape_);
    auto dy = dy_.zero(y.rows(), n);
    const S share = S(1) / static_cast<S>(n);
    double value = 0, clipped = 0;
    for (Eigen::Index j = 0; j < n; ++j) {
      const auto i = static_cast<std::size_t>(j);
      const auto action = actions_[i];
      const auto mask = mask_(prompt(i));
      const PolicySample<S> sample{.log_prob = log_prob_of(law_, column(y, j), action, mask),
                                   .advantage = static_cast<S>(advantage_[i]),
                                   .old_log_prob = log_prob_[i],
                                   .ref_log_prob = reference_log_prob_[i]};
      const auto term = loss.term(sample);
      if (!std::isfinite(term.value) || !std::isfinite(term.slope))
        fail(where_,
             "the run has diverged: the loss is {} at update {} (log-probabilities: {}, before {}, reference {})",
             term.value, updates(), sample.log_prob, sample.old_log_prob, sample.ref_log_prob);
      if (term.slope != 0) log_prob_of(law_, column(y, j), action, share * term.slope, column(dy, j), mask);
      value += static_cast<double>(term.value);
      const double change = static_cast<double>(sample.log_prob) - static_cast<double>(sample.old_log_prob);
      clipped += std::abs(elementary::expm1(change)) > clip ? 1 : 0;
    }
    statistics_.loss = value / static_cast<double>(n), statistics_.clip_fraction = clipped / static_cast<double>(n);
    net_.pullback(x, tape_, dy_.get());
    net_.step(where_, max_gradient_norm, factor);
  }

  std::string_view where_;
  Network<F, O> net_;
  L law_;
  MaskOf mask_;
  std::vector<S> reference_;
  std::size_t group_, capacity_, inputs_each_;
  ActionColumns<Action, S> actions_;
  std::vector<S> single_, inputs_;
  std::vector<double> reward_, advantage_;  // an entry an answer, the groups one after the other
  std::vector<S> log_prob_, reference_log_prob_;
  std::size_t count_ = 0;
  std::int64_t steps_ = 0;
  Statistics statistics_ = {};

 private:
  static std::size_t checked(std::string_view where, std::string_view what, int n, int least) {
    check_range(where, what, n, least, 1 << 24);
    return static_cast<std::size_t>(n);
  }
  static double mean(const std::vector<double>& x) {
    double sum = 0;
    for (const double v : x) sum += v;
    return sum / static_cast<double>(x.size());
  }

  std::span<const S> prompt(std::size_t i) const {
    return std::span<const S>(inputs_).subspan(i * inputs_each_, inputs_each_);
  }
  Outputs<S> batch_of(std::span<const S> inputs) const {
    const auto rows = static_cast<Eigen::Index>(inputs_each_);
    return {inputs.data(), rows, static_cast<Eigen::Index>(inputs.size()) / rows};
  }
  void log_probs_of(std::span<const S> theta, std::span<S> out) {
    const auto y = net_.forward_with(theta, batch_of(inputs_), tape_);
    for (std::size_t i = 0; i < capacity_; ++i) {
      const auto action = actions_[i];
      out[i] = log_prob_of(law_, column(y, static_cast<Eigen::Index>(i)), action, mask_(prompt(i)));
    }
  }
  template <class State>
  std::span<const S> outputs(const State& state) {
    net_.learned().write_input(state, std::span<S>(single_));
    return column(net_.forward(batch_of(single_), act_tape_), 0);
  }

  typename F::Tape act_tape_ = {}, tape_ = {};
  BatchBuffer<S> dy_ = {};
};

}  // namespace detail

/// `group` >= 2 answers to each of `prompts` >= 1 prompts make an update.
struct RlooOptions {
  int group = 4, prompts = 16;
  double beta = 0.05;            ///< >= 0: weight of the divergence from the reference, in units of reward a nat
  double max_gradient_norm = 0;  ///< 0: not cut
  Rate step_factor = 1;          ///< of the optimizer's step size, by updates
  PossibleActions possible = {};
};

/// REINFORCE leave-one-out (Kool et al. 2019; Ahmadian et al. 2024, arXiv:2402.14740, section 3.2): one step down the
/// mean of -A log pi(answer) for each batch of answers, where an answer is worth its reward less beta log(pi /
/// reference) of it, as a number, and A is that less the mean of the other answers to the same prompt. The expected
/// step is down the exact gradient of -(E r - beta KL(pi || reference)), so what it finds is pi* proportional to
/// reference exp(r / beta), where all answers are worth the same and the noise vanishes. The reference is the policy at
/// the start, or as of `set_reference`.
///
///     Rloo agent{Linear{OneHot{prompts}, answers}, Softmax{answers}, Adam{.step_size = 0.05}, {.group = 4}};
template <Approximator F, ActionDistribution L, Optimizer O>
class Rloo : public detail::GroupPolicyAgent<F, L, O> {
  using Base = detail::GroupPolicyAgent<F, L, O>;

 public:
  /// `start` draws the parameters. Throws `Error` for options out of their ranges, and a model whose outputs don't fit.
  Rloo(F model, L law, const O& optimizer, RlooOptions options = {}, Rng start = Rng{})
      : Base("Rloo", std::move(model), std::move(law), optimizer, options, 2, start),
        options_(std::move(options)),
        worth_(this->capacity_) {}

  /// Takes in the answer; learns where it was the last of a batch. Throws `Error`, and remembers nothing, for an
  /// episode that goes on, a reward that isn't finite, and a prompt that isn't its group's.
  template <class State, class V>
  void learn(const Transition<State, V>& t, Rng&) {
    if (this->take(t)) update();
  }

  /// Of the last update: the mean reward, the mean of log(pi / reference), which estimates the divergence and may be
  /// negative, and the loss.
  std::array<Metric, 4> metrics() const {
    return {{{"train/reward", this->statistics_.reward},
             {"train/kl", this->statistics_.log_ratio},
             {"train/policy_gradient_loss", this->statistics_.loss},
             {"train/n_updates", static_cast<double>(this->updates())}}};
  }

 private:
  void update() {
    const double factor = options_.step_factor.in("Rloo", "step_factor", this->updates(), 0, 1e9);
    this->look_back(options_.beta > 0);
    worth_ = this->reward_;
    if (options_.beta > 0)
      for (std::size_t i = 0; i < worth_.size(); ++i)
        worth_[i] -= options_.beta *
                     (static_cast<double>(this->log_prob_[i]) - static_cast<double>(this->reference_log_prob_[i]));
    rloo<double>(worth_, this->group_, this->advantage_);
    this->descend(PolicyGradient{}, (std::numeric_limits<double>::max)(), options_.max_gradient_norm, factor);
  }

  RlooOptions options_;
  std::vector<double> worth_;  // rewards less penalties
};

/// `group` >= 1 answers to each of `prompts` >= 1 prompts make an update. The defaults are the paper's, section 4.2,
/// where it says (the clip is PPO's).
struct GrpoAgentOptions {
  int group = 64, prompts = 16;
  int epochs = 1;                                              ///< steps on the same answers, >= 1
  GrpoOptions advantage = {};                                  ///< what rewards are divided by
  double clip = 0.2;                                           ///< of the ratio, > 0; infinity: not clipped
  double dual_clip = std::numeric_limits<double>::infinity();  ///< see `PpoClip`; > 1
  double beta = 0.04;                                          ///< >= 0: weight of the divergence from the reference
  double max_gradient_norm = 0;                                ///< 0: not cut
  Rate step_factor = 1;                                        ///< of the optimizer's step size, by updates
  PossibleActions possible = {};
};

/// Group relative policy optimisation (Shao et al. 2024, arXiv:2402.03300, algorithm 1, outcome supervision): for each
/// batch of answers `epochs` steps down the mean of `GrpoLoss`, with advantages by `grpo`. The first epoch is REINFORCE
/// with these advantages, and the penalty.
///
/// What it finds isn't the pi* of `Rloo`: k3 penalises beta KL(reference || pi), the other direction (see `kl_k3`), and
/// the advantages are scaled. Without the deviation, and with groups of k, the expected step is 0 where
///
///     (1 - 1 / k) pi (r - E r) = beta (pi - reference).
///
///     Grpo agent{Mlp<float>{{8, 64, answers}, relu}, Softmax{.actions = answers}, Adam{.step_size = 1e-3},
///                {.group = 8, .epochs = 2}};
template <Approximator F, ActionDistribution L, Optimizer O>
class Grpo : public detail::GroupPolicyAgent<F, L, O> {
  using Base = detail::GroupPolicyAgent<F, L, O>;

 public:
  /// `start` draws the parameters. Throws `Error` for options out of their ranges, and a model whose outputs don't fit.
  Grpo(F model, L law, const O& optimizer, GrpoAgentOptions options = {}, Rng start = Rng{})
      : Base("Grpo", std::move(model), std::move(law), optimizer, options, 1, start), options_(std::move(options)) {
    constexpr auto where = "Grpo";
    check_positive(where, "epochs", options_.epochs);
    check_positive(where, "advantage.epsilon", options_.advantage.epsilon);
    if (!(options_.clip > 0)) fail(where, "clip is {}; expected a number above 0", options_.clip);
    if (!(options_.dual_clip > 1)) fail(where, "dual_clip is {}; expected more than 1", options_.dual_clip);
  }

  /// Takes in the answer; learns where it was the last of a batch. Throws as `Rloo::learn`.
  template <class State, class V>
  void learn(const Transition<State, V>& t, Rng&) {
    if (this->take(t)) update();
  }

  /// Of the last update, as `Rloo::metrics`; loss and clip fraction of its last epoch.
  std::array<Metric, 5> metrics() const {
    return {{{"train/reward", this->statistics_.reward},
             {"train/kl", this->statistics_.log_ratio},
             {"train/policy_gradient_loss", this->statistics_.loss},
             {"train/clip_fraction", this->statistics_.clip_fraction},
             {"train/n_updates", static_cast<double>(this->updates())}}};
  }

 private:
  void update() {
    this->look_back(options_.beta > 0);
    grpo<double>(this->reward_, this->group_, this->advantage_, options_.advantage);
    const GrpoLoss loss{.epsilon = options_.clip, .beta = options_.beta, .dual_clip = options_.dual_clip};
    for (int epoch = 0; epoch < options_.epochs; ++epoch) {
      const double factor = options_.step_factor.in("Grpo", "step_factor", this->updates(), 0, 1e9);
      this->descend(loss, options_.clip, options_.max_gradient_norm, factor);
    }
  }

  GrpoAgentOptions options_;
};

}  // namespace valence
