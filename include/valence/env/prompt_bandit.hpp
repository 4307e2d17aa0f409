#pragma once

#include <array>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/core/math.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/env/finite_episode.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/mdp/step.hpp"

namespace valence {

/// `repeats` >= 1 episodes in a row begin with the same prompt before another one is drawn: as many as the answers of a
/// group, for agents that compare answers to one prompt (`Rloo`, `Grpo`).
struct PromptBanditOptions {
  int repeats = 1;
};

/// The bandit of language-model alignment: a prompt is drawn, an answer is chosen and judged, and the episode is over.
/// A prompt stands for a query and an answer for a whole generated text, so it is where methods that see only sequences
/// and their log-probabilities can be checked against what they should find: the objective
///
///     J(pi) = sum_y pi(y) r(y) - beta KL(pi || reference)
///
/// of a prompt has its maximum, beta log sum_y reference(y) exp(r(y) / beta), at pi* proportional to reference exp(r /
/// beta) (Rafailov et al. 2023, equation 4). Prompts are states, all alike likely; answers are actions; rewards have no
/// noise. It lists its outcomes, so `FiniteMdp{bandit}` is its exact model.
class PromptBandit {
 public:
  using State = int;   ///< the prompt
  using Action = int;  ///< the answer

  /// `rewards`: answers x prompts, finite. `reference`: answers x prompts, a probability vector in each column (to
  /// within 1e-6); empty: uniform. Throws `Error` otherwise, and for repeats < 1.
  explicit PromptBandit(Matrix<double> rewards, Matrix<double> reference = {}, const PromptBanditOptions& options = {})
      : rewards_(std::move(rewards)), reference_(std::move(reference)), repeats_(options.repeats) {
    constexpr auto where = "PromptBandit";
    if (rewards_.size() == 0)
      fail(where, "rewards is {} x {}; expected at least one answer and one prompt", rewards_.rows(), rewards_.cols());
    check_finite(where, "rewards", view(std::as_const(rewards_)));
    check_positive(where, "repeats", repeats_);
    if (reference_.size() == 0)
      reference_.setConstant(rewards_.rows(), rewards_.cols(), 1 / static_cast<double>(rewards_.rows()));
    check_shape(where, "reference", reference_.rows(), reference_.cols(), rewards_.rows(), rewards_.cols());
    for (int x = 0; x < prompts(); ++x) check_probabilities(where, "reference", this->reference(x));
  }
  /// Rewards are standard normal, references the softmax of standard normal numbers. Two outputs an answer and prompt.
  /// Throws for sizes < 1.
  static PromptBandit random(int prompts, int answers, Rng& rng, const PromptBanditOptions& options = {}) {
    check_positive("PromptBandit::random", "prompts", prompts);
    check_positive("PromptBandit::random", "answers", answers);
    Matrix<double> rewards(answers, prompts), logits(answers, prompts);
    rng.fill_normal(view(rewards));
    rng.fill_normal(view(logits));
    return PromptBandit(std::move(rewards), softmax(logits), options);
  }

  int prompts() const { return static_cast<int>(rewards_.cols()); }
  int answers() const { return static_cast<int>(rewards_.rows()); }
  /// What an answer to a prompt earns. Throws if there is no such prompt or answer.
  double reward(int prompt, int answer) const {
    check_prompt("PromptBandit::reward", prompt);
    detail::check_action("PromptBandit::reward", answer, answers());
    return rewards_(answer, prompt);
  }
  /// All rewards of a prompt, an entry an answer; and the probabilities of the policy to stay close to.
  std::span<const double> rewards(int prompt) const { return column("PromptBandit::rewards", rewards_, prompt); }
  std::span<const double> reference(int prompt) const { return column("PromptBandit::reference", reference_, prompt); }

  /// pi*, the policy of a prompt whose objective is the largest: an entry an answer, 0 where the reference is. beta >
  /// 0.
  Vector<double> best_policy(int prompt, double beta) const {
    Vector<double> p = tilted("PromptBandit::best_policy", prompt, beta);
    valence::softmax(view(std::as_const(p)), view(p));
    return p;
  }
  /// J(pi*). beta > 0.
  double best_objective(int prompt, double beta) const {
    return beta * valence::log_sum_exp(tilted("PromptBandit::best_objective", prompt, beta));
  }
  /// J of a policy, an entry an answer; -infinity where it gives an answer that the reference never does. beta >= 0.
  /// Throws `Error` for a policy that isn't a probability vector.
  double objective(int prompt, std::span<const double> policy, double beta) const {
    constexpr auto where = "PromptBandit::objective";
    const auto r = column(where, rewards_, prompt), q = column(where, reference_, prompt);
    check_size(where, "policy", policy.size(), r.size());
    check_probabilities(where, "policy", policy);
    check_range(where, "beta", beta, 0, (std::numeric_limits<double>::max)());
    double sum = 0;
    for (std::size_t y = 0; y < r.size(); ++y) {
      sum += policy[y] * r[y];
      if (beta > 0 && policy[y] > 0) sum -= beta * policy[y] * (elementary::log(policy[y]) - elementary::log(q[y]));
    }
    return sum;
  }

  /// The same for a whole policy, answers x prompts: the mean over prompts of J, of J(pi*), and pi* itself. With beta =
  /// 0, the mean reward.
  double objective(const Matrix<double>& policy, double beta) const {
    check_policy("PromptBandit::objective", policy);
    double sum = 0;
    for (int x = 0; x < prompts(); ++x) sum += objective(x, answers_of(policy, x), beta);
    return sum / prompts();
  }
  double value(const Matrix<double>& policy) const { return objective(policy, 0); }
  double best_objective(double beta) const {
    double sum = 0;
    for (int x = 0; x < prompts(); ++x) sum += best_objective(x, beta);
    return sum / prompts();
  }
  Matrix<double> best_policy(double beta) const {
    Matrix<double> p(answers(), prompts());
    for (int x = 0; x < prompts(); ++x) p.col(x) = best_policy(x, beta);
    return p;
  }
  /// All rewards, and all probabilities of the reference: answers x prompts.
  const Matrix<double>& rewards() const { return rewards_; }
  const Matrix<double>& reference() const { return reference_; }

  /// The probability that a judge prefers answer `i` to `j`: sigmoid(r_i - r_j) (Bradley & Terry 1952). Throws if there
  /// is no such prompt or answer.
  double preference(int prompt, int i, int j) const { return sigmoid(reward(prompt, i) - reward(prompt, j)); }
  /// The probability that an answer of `policy` is preferred to one of `other`, mean over prompts; both answers x
  /// prompts. A policy against itself: 1/2.
  double win_rate(const Matrix<double>& policy, const Matrix<double>& other) const {
    check_policy("PromptBandit::win_rate", policy);
    check_policy("PromptBandit::win_rate", other);
    double sum = 0;
    for (int x = 0; x < prompts(); ++x)
      for (int i = 0; i < answers(); ++i)
        for (int j = 0; j < answers(); ++j) sum += policy(i, x) * other(j, x) * preference(x, i, j);
    return sum / prompts();
  }

  /// A prompt; one output where it is drawn, none where it is repeated.
  int reset(Rng& rng) {
    if (left_ == 0) prompt_ = rng.below(prompts()), left_ = repeats_;
    --left_;
    return episode_.begin(prompt_);
  }
  /// The episode ends: `next` is the prompt again, worth 0. Throws where there is no such answer, or the episode is
  /// over.
  Step<int> step(int answer, Rng& rng) { return episode_.step("PromptBandit::step", *this, answer, rng); }
  Discrete actions() const { return {answers()}; }
  Discrete states() const { return {prompts()}; }
  std::array<Outcome<int>, 1> outcomes(int prompt, int answer) const {
    return {{{.next = prompt, .reward = reward(prompt, answer), .terminated = true}}};
  }
  std::vector<double> initial_distribution() const {
    return std::vector<double>(static_cast<std::size_t>(prompts()), 1 / static_cast<double>(prompts()));
  }

  template <class A>
  void archive(A& ar) {
    ar(rewards_, reference_, repeats_, prompt_, left_, episode_);
  }

 private:
  void check_prompt(std::string_view where, int prompt) const { detail::check_state(where, prompt, prompts()); }
  std::span<const double> column(std::string_view where, const Matrix<double>& m, int prompt) const {
    check_prompt(where, prompt);
    return answers_of(m, prompt);
  }
  static std::span<const double> answers_of(const Matrix<double>& m, int prompt) {
    return {m.data() + prompt * m.rows(), static_cast<std::size_t>(m.rows())};
  }
  void check_policy(std::string_view where, const Matrix<double>& policy) const {
    check_shape(where, "policy", policy.rows(), policy.cols(), answers(), prompts());
    for (int x = 0; x < prompts(); ++x) check_probabilities(where, "policy", answers_of(policy, x));
  }
  // log reference + r / beta: the logits of pi*.
  Vector<double> tilted(std::string_view where, int prompt, double beta) const {
    const auto r = column(where, rewards_, prompt), q = column(where, reference_, prompt);
    check_positive(where, "beta", beta);
    Vector<double> z(rewards_.rows());
    for (std::size_t y = 0; y < r.size(); ++y) z[static_cast<Eigen::Index>(y)] = elementary::log(q[y]) + r[y] / beta;
    return z;
  }

  Matrix<double> rewards_, reference_;  // answers x prompts
  int repeats_;
  int prompt_ = 0, left_ = 0;  // the one that is shown, and in how many episodes more
  FiniteEpisode episode_ = {};
};

}  // namespace valence
