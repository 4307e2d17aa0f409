#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/function/concepts.hpp"
#include "valence/policy/gaussian.hpp"

/// Denoising diffusion as a policy: a chain of Gaussian steps x_T -> ... -> x_0 whose log-densities are known, so that
/// policy gradients and preference losses apply to each step (Black et al. 2023, arXiv:2305.13301; Yang et al. 2023,
/// arXiv:2311.13231). Steps t are 1..T; a step t leads from x_t to x_{t-1}.
namespace valence {

/// The noise of each step: beta_t, alpha_t = 1 - beta_t, alpha_bar_t = alpha_1 ... alpha_t, and the deviation s_t of a
/// denoising step, s_t^2 = beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) (Ho et al. 2020, arXiv:2006.11239, equation
/// 7). At t = 1 that is 0, which has no density: s_1 is a choice, `last_deviation`.
class DiffusionSchedule {
 public:
  /// Throws `Error` unless there is a beta, all lie in (0, 1), and last_deviation > 0.
  explicit DiffusionSchedule(std::span<const double> betas, double last_deviation = 0.05) {
    constexpr std::string_view where = "DiffusionSchedule";
    if (betas.empty()) fail(where, "betas is empty; expected a number for each step");
    for (std::size_t t = 0; t < betas.size(); ++t)
      if (!(betas[t] > 0 && betas[t] < 1)) fail(where, "betas[{}] is {}; expected a number in (0, 1)", t, betas[t]);
    check_positive(where, "last_deviation", last_deviation);
    double before = 1;
    for (const double beta : betas) {
      const double after = before * (1 - beta);
      if (!(after > 0)) fail(where, "alpha_bar is {} after {} steps; expected less noise", after, step_.size() + 1);
      const double s = step_.empty() ? last_deviation : std::sqrt(beta * (1 - before) / (1 - after));
      step_.push_back({beta, after, s});
      before = after;
    }
  }
  /// `steps` betas from `first` to `last` at equal distances.
  static DiffusionSchedule linear(int steps, double first, double last, double last_deviation = 0.05) {
    check_positive("DiffusionSchedule::linear", "steps", steps);
    std::vector<double> betas(static_cast<std::size_t>(steps), first);
    for (int t = 1; t < steps; ++t) betas[static_cast<std::size_t>(t)] = first + (last - first) * t / (steps - 1);
    return DiffusionSchedule(betas, last_deviation);
  }

  int steps() const { return static_cast<int>(step_.size()); }
  double beta(int t) const { return at(t).beta; }
  double alpha(int t) const { return 1 - at(t).beta; }
  double alpha_bar(int t) const { return at(t).alpha_bar; }
  double deviation(int t) const { return at(t).deviation; }
  /// Throws `Error` unless t is in 1..steps.
  void check(std::string_view where, int t) const { check_range(where, "t", t, 1, steps()); }

 private:
  struct Step {
    double beta, alpha_bar, deviation;
  };
  std::vector<Step> step_ = {};
  const Step& at(int t) const {
    check("DiffusionSchedule", t);
    return step_[static_cast<std::size_t>(t - 1)];
  }
};

/// How the log-density of a step adds up over the coordinates: their sum, which is the density, or their mean, which
/// the code of DDPO and D3PO uses (the ratio of two policies then shrinks with the number of pixels).
enum class LogDensity { sum, mean };

/// n runs of the chain, as `Ddpm::roll_out` leaves them: transitions of an MDP with states (x_t, t) and actions
/// x_{t-1}.
template <std::floating_point S>
struct DenoisingRuns {
  std::vector<Matrix<S>> states = {};  ///< x_0, ..., x_T, each dimensions x n
  Matrix<S> log_prob = {};             ///< n x T: of each step under the policy that ran; column t - 1 is step t

  int count() const { return static_cast<int>(log_prob.rows()); }
  int steps() const { return static_cast<int>(log_prob.cols()); }
  const Matrix<S>& samples() const { return states.front(); }  ///< x_0
};

/// The diffusion model of a noise predictor eps(x_t, t): any `Approximator` on columns of x_t and below it t, with as
/// many outputs as x has coordinates (`LinearPerStep`, `Mlp`). Its policy is x_{t-1} ~ N(mu, s_t^2), mu = (x_t - beta_t
/// / sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_t) (Ho et al. 2020, algorithm 2). As all models, it owns no numbers: theta
/// is the predictor's.
///
///     const Ddpm ddpm{LinearPerStep{features, 2, 10}, DiffusionSchedule::linear(10, 0.02, 0.5)};
///     auto theta = fit_denoiser(ddpm, data, {.ridge = 0.01}, rng);
///     Matrix<double> x = ddpm.sample(theta, 1000, rng);
template <Approximator F>
class Ddpm {
 public:
  using Scalar = typename F::Scalar;
  using Runs = DenoisingRuns<Scalar>;
  /// Scratch and the last forward, one a thread; in steady state nothing is allocated.
  class Tape {
    friend class Ddpm;
    typename F::Tape predictor_;
    Matrix<Scalar> input_, residual_, d_noise_;
    int t_ = 0;  // of `log_prob`; 0 after `denoising_errors`
  };

  /// Throws `Error` where a predictor that says its input size expects another than its outputs and the time.
  Ddpm(F predictor, DiffusionSchedule schedule, LogDensity log_density = LogDensity::sum)
      : predictor_(std::move(predictor)), schedule_(std::move(schedule)), log_density_(log_density) {
    if constexpr (requires { predictor_.input_size(); })
      if (predictor_.input_size() != dimensions() + 1)
        fail("Ddpm", "the predictor has {} inputs; expected {}: x and the time", predictor_.input_size(),
             dimensions() + 1);
  }

  const F& predictor() const { return predictor_; }
  const DiffusionSchedule& schedule() const { return schedule_; }
  int steps() const { return schedule_.steps(); }
  int dimensions() const { return predictor_.output_size(); }
  std::size_t parameter_count() const { return predictor_.parameter_count(); }

  /// Runs the chain from `start` (x_T, dimensions x n; of a model's own distribution: standard normal) and leaves it in
  /// `runs`. n x dimensions normals a step. Throws `Error` for a shape that doesn't fit, and where a diverged model
  /// leaves the range of numbers.
  void roll_out(std::span<const Scalar> theta, const Matrix<Scalar>& start, Rng& rng, Tape& tape, Runs& runs) const {
    constexpr std::string_view where = "Ddpm::roll_out";
    check_shape(where, "start", start.rows(), start.cols(), dimensions(), start.cols());
    runs.states.resize(static_cast<std::size_t>(steps()) + 1);
    runs.log_prob.resize(start.cols(), steps());
    runs.states.back() = start;
    for (int t = steps(); t >= 1; --t) {
      const Matrix<Scalar>& x = runs.states[static_cast<std::size_t>(t)];
      Matrix<Scalar>& next = runs.states[static_cast<std::size_t>(t - 1)];
      next.resize(x.rows(), x.cols());
      rng.fill_normal(view(next));
      const auto mean = mean_of(theta, t, x, tape);
      const auto s = static_cast<Scalar>(schedule_.deviation(t));
      for (Eigen::Index j = 0; j < x.cols(); ++j) {
        runs.log_prob(j, t - 1) = density(next.col(j).squaredNorm(), s);
        for (Eigen::Index i = 0; i < x.rows(); ++i) next(i, j) = mean(i, j) + s * next(i, j);
      }
    }
    check_finite(where, "the samples", view(runs.samples()));
  }
  /// n samples from standard normal starts: dimensions x n. Throws for n < 1.
  Matrix<Scalar> sample(std::span<const Scalar> theta, int n, Rng& rng) const {
    check_positive("Ddpm::sample", "n", n);
    Matrix<Scalar> start(dimensions(), n);
    rng.fill_normal(view(start));
    Tape tape;
    Runs runs;
    roll_out(theta, start, rng, tape, runs);
    return std::move(runs.states.front());
  }

  /// out[j] = log pi(next_j | x_j, t), the log-density of the step from `x` to `next`, both dimensions x n: the sum
  /// over coordinates of -(next - mu)^2 / (2 s_t^2) - log s_t - log(2 pi) / 2, or its mean (`LogDensity`).
  void log_prob(std::span<const Scalar> theta, int t, const Matrix<Scalar>& x, const Matrix<Scalar>& next, Tape& tape,
                std::span<Scalar> out) const {
    constexpr std::string_view where = "Ddpm::log_prob";
    schedule_.check(where, t);
    check_shape(where, "x", x.rows(), x.cols(), dimensions(), x.cols());
    check_shape(where, "next", next.rows(), next.cols(), dimensions(), x.cols());
    check_size(where, "out", out.size(), static_cast<std::size_t>(x.cols()));
    const auto mean = mean_of(theta, t, x, tape);
    const auto s = static_cast<Scalar>(schedule_.deviation(t));
    tape.residual_.resize(x.rows(), x.cols());
    for (Eigen::Index j = 0; j < x.cols(); ++j) {
      for (Eigen::Index i = 0; i < x.rows(); ++i) tape.residual_(i, j) = (next(i, j) - mean(i, j)) / s;
      out[static_cast<std::size_t>(j)] = density(tape.residual_.col(j).squaredNorm(), s);
    }
    tape.t_ = t;
  }
  /// gradient += sum_j d[j] d log pi(next_j | x_j, t) / d theta, after the `log_prob` that filled the tape: d log pi /
  /// d eps = -(next - mu) / s_t^2 beta_t / (sqrt(1 - alpha_bar_t) sqrt(alpha_t)).
  void pullback_log_prob(std::span<const Scalar> theta, Tape& tape, std::span<const Scalar> d,
                         std::span<Scalar> gradient) const {
    if (tape.t_ == 0) fail("Ddpm::pullback_log_prob", "the tape holds no log_prob; call it first");
    const double coordinates = log_density_ == LogDensity::mean ? dimensions() : 1;
    pull(theta, tape, d, slope(tape.t_) / (schedule_.deviation(tape.t_) * coordinates), gradient);
  }

  /// out[j] = |e_j - eps(sqrt(alpha_bar_t) x_j + sqrt(1 - alpha_bar_t) e_j, t)|^2: how badly the model explains the
  /// samples `x0`, each at its own step t[j] with its own noise e_j (a column of `noise`, standard normal). Its mean
  /// over t and e bounds -log pi(x_0) up to weights and constants (Ho et al. 2020, equation 14), which is why
  /// preference losses take minus the error for a log-probability (Diffusion-DPO, Wallace et al. 2023,
  /// arXiv:2311.12908).
  void denoising_errors(std::span<const Scalar> theta, const Matrix<Scalar>& x0, std::span<const int> t,
                        const Matrix<Scalar>& noise, Tape& tape, std::span<Scalar> out) const {
    noise_samples("Ddpm::denoising_errors", x0, t, noise, tape.input_);
    check_size("Ddpm::denoising_errors", "out", out.size(), t.size());
    const auto eps = predictor_.forward(theta, tape.input_, tape.predictor_);
    tape.residual_.resize(x0.rows(), x0.cols());
    for (Eigen::Index j = 0; j < x0.cols(); ++j) {
      for (Eigen::Index i = 0; i < x0.rows(); ++i) tape.residual_(i, j) = noise(i, j) - eps(i, j);
      out[static_cast<std::size_t>(j)] = tape.residual_.col(j).squaredNorm();
    }
    tape.t_ = 0;
  }
  /// gradient += sum_j d[j] d error_j / d theta, after the `denoising_errors` that filled the tape: d error / d eps =
  /// -2 (e - eps).
  void pullback_denoising_errors(std::span<const Scalar> theta, Tape& tape, std::span<const Scalar> d,
                                 std::span<Scalar> gradient) const {
    if (tape.t_ != 0) fail("Ddpm::pullback_denoising_errors", "the tape holds a log_prob; call denoising_errors first");
    pull(theta, tape, d, -2, gradient);
  }

  /// The predictor's columns for noised samples: sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) noise, and below it t.
  void noise_samples(std::string_view where, const Matrix<Scalar>& x0, std::span<const int> t,
                     const Matrix<Scalar>& noise, Matrix<Scalar>& input) const {
    check_shape(where, "x0", x0.rows(), x0.cols(), dimensions(), x0.cols());
    check_shape(where, "noise", noise.rows(), noise.cols(), x0.rows(), x0.cols());
    check_size(where, "t", t.size(), static_cast<std::size_t>(x0.cols()));
    for (const int step : t) schedule_.check(where, step);
    input.resize(x0.rows() + 1, x0.cols());
    for (Eigen::Index j = 0; j < x0.cols(); ++j) {
      const int step = t[static_cast<std::size_t>(j)];
      const auto keep = static_cast<Scalar>(std::sqrt(schedule_.alpha_bar(step)));
      const auto add = static_cast<Scalar>(std::sqrt(1 - schedule_.alpha_bar(step)));
      for (Eigen::Index i = 0; i < x0.rows(); ++i) input(i, j) = keep * x0(i, j) + add * noise(i, j);
      input(x0.rows(), j) = static_cast<Scalar>(step);
    }
  }

 private:
  F predictor_;
  DiffusionSchedule schedule_;
  LogDensity log_density_;

  /// d mu / d eps.
  double slope(int t) const {
    return -schedule_.beta(t) / std::sqrt((1 - schedule_.alpha_bar(t)) * schedule_.alpha(t));
  }
  /// mu of each column of x, as a function of (coordinate, column); x must live as long.
  auto mean_of(std::span<const Scalar> theta, int t, const Matrix<Scalar>& x, Tape& tape) const {
    tape.input_.resize(x.rows() + 1, x.cols());
    for (Eigen::Index j = 0; j < x.cols(); ++j) {
      for (Eigen::Index i = 0; i < x.rows(); ++i) tape.input_(i, j) = x(i, j);
      tape.input_(x.rows(), j) = static_cast<Scalar>(t);
    }
    const auto eps = predictor_.forward(theta, tape.input_, tape.predictor_);
    const auto keep = static_cast<Scalar>(1 / std::sqrt(schedule_.alpha(t))), move = static_cast<Scalar>(slope(t));
    return [eps, keep, move, &x](Eigen::Index i, Eigen::Index j) { return keep * x(i, j) + move * eps(i, j); };
  }
  /// The log-density at a standardised point of this squared length.
  Scalar density(Scalar square, Scalar s) const {
    const auto n = static_cast<Scalar>(dimensions());
    const Scalar sum = Scalar(-0.5) * square - n * (std::log(s) + Scalar(detail::half_log_2_pi));
    return log_density_ == LogDensity::mean ? sum / n : sum;
  }
  void pull(std::span<const Scalar> theta, Tape& tape, std::span<const Scalar> d, double factor,
            std::span<Scalar> gradient) const {
    check_size("Ddpm", "d", d.size(), static_cast<std::size_t>(tape.residual_.cols()));
    tape.d_noise_.resize(tape.residual_.rows(), tape.residual_.cols());
    for (Eigen::Index j = 0; j < tape.residual_.cols(); ++j) {
      const Scalar scale = static_cast<Scalar>(factor) * d[static_cast<std::size_t>(j)];
      for (Eigen::Index i = 0; i < tape.residual_.rows(); ++i) tape.d_noise_(i, j) = scale * tape.residual_(i, j);
    }
    predictor_.pullback(theta, tape.input_, tape.predictor_,
                        Outputs<Scalar>(tape.d_noise_.data(), tape.d_noise_.rows(), tape.d_noise_.cols()), gradient);
  }
};

struct DenoiserFit {
  double ridge = 0.01;  ///< >= 0: penalty on the squared weights, next to a sum over samples
};

/// The parameters that minimise the denoising error on samples `x0` (dimensions x n), exactly, for predictors that can
/// `fit` (`LinearPerStep`): each sample is noised afresh at each step, and each step is a ridge regression. n x
/// dimensions normals a step. Throws `Error` for what the predictor refuses.
template <Approximator F>
std::vector<typename F::Scalar> fit_denoiser(const Ddpm<F>& ddpm, const Matrix<typename F::Scalar>& x0,
                                             const DenoiserFit& options, Rng& rng)
  requires requires(const F f, std::span<typename F::Scalar> theta, const Matrix<typename F::Scalar>& x) {
    f.fit(theta, x, x, 1.0);
  }
{
  using S = typename F::Scalar;
  std::vector<S> theta(ddpm.parameter_count());
  Matrix<S> noise(x0.rows(), x0.cols()), input;
  std::vector<int> t(static_cast<std::size_t>(x0.cols()));
  for (int step = 1; step <= ddpm.steps(); ++step) {
    rng.fill_normal(view(noise));
    std::fill(t.begin(), t.end(), step);
    ddpm.noise_samples("fit_denoiser", x0, t, noise, input);
    ddpm.predictor().fit(theta, input, noise, options.ridge);
  }
  return theta;
}

}  // namespace valence
