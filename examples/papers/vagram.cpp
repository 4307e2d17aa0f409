// A model of the dynamics that can't be right everywhere should be right where the value function looks. VaGraM
// (Voelcker et al. 2022, arXiv:2204.01464) weights each coordinate of the next state's error by the value's gradient,
// taken at the *observed* next state. Here two coordinates are to be controlled among eight that move more and matter
// nothing, with a linear model of rank 3 and the optimal control of that model. Expect: the unweighted model spends its
// rank on what moves most, and its controller is as good as none (excess cost 1; the optimum's is 0); VaGraM's is near
// the optimum. Without its bound by coordinates (Taylor-VAML), and with the value asked at states that the model made
// up (IterVAML), controllers are often worse than none. With full rank nobody loses anything.

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "harness.hpp"
#include "valence/env/linear_quadratic.hpp"
#include "valence/function/fit.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/residual.hpp"
#include "valence/value/value_aware.hpp"

namespace vl = valence;

namespace {

using Matrix = vl::Matrix<double>;
using Batch = vl::Matrix<float>;
using Span = std::span<const float>;
constexpr int relevant = 2, distractors = 8, n = relevant + distractors;
constexpr double discount = 0.98;

Matrix normal(int rows, vl::Rng& rng, int columns = 1) {
  Matrix m(rows, columns);
  rng.fill_normal(vl::view(m));
  return m;
}

/// The optimal control of x' = a x + b u at cost x0^2 + 0.05 u^2, over the longest horizon of 1, 2, 4, ..., 256 steps
/// whose costs stay below 1e4: a model may believe in what no control can stop.
vl::LinearQuadraticSolution solve(const Matrix& a, const Matrix& b) {
  Matrix q = Matrix::Zero(n, n);
  q(0, 0) = 1;
  const vl::LinearQuadratic system{a, b, q, Matrix::Constant(1, 1, 0.05)};
  vl::LinearQuadraticSolution best;
  for (std::size_t doublings = 0; doublings <= 8; ++doublings) {
    auto next = vl::solve_linear_quadratic(system, {.discount = discount, .max_iterations = doublings});
    if (doublings > 0 && !(next.cost.cwiseAbs().maxCoeff() <= 1e4)) break;
    best = std::move(next);
  }
  return best;
}

/// A damped mass that is pushed, and distractors that turn by a random rotation.
struct World {
  Matrix a = Matrix::Zero(n, n), b = Matrix::Zero(n, 1);

  explicit World(vl::Rng rng) {
    a.topLeftCorner(relevant, relevant) << 1, 0.1, 0, 0.95;
    b(1, 0) = 0.1;
    Matrix turn = normal(distractors, rng, distractors);  // made orthogonal, column by column
    for (Eigen::Index j = 0; j < distractors; ++j) {
      for (Eigen::Index i = 0; i < j; ++i) turn.col(j) -= turn.col(i).dot(turn.col(j)) * turn.col(i);
      turn.col(j).normalize();
    }
    a.bottomRightCorner(distractors, distractors) = 0.97 * turn;
  }
  Matrix step(const Matrix& x, double u, vl::Rng& rng) const {
    Matrix next = a * x + b * u;
    for (int d = 0; d < n; ++d) next(d) += (d < relevant ? 0.02 : 0.3) * rng.normal();
    return next;
  }
  /// The discounted cost of u = -gain x, within +-5: mean over 64 starts, 150 steps.
  double cost(const Matrix& gain, vl::Rng rng) const {
    double total = 0;
    for (int start = 0; start < 64; ++start) {
      Matrix x = normal(n, rng);
      x(0) = 1, x(1) = 0;
      double weight = 1;
      for (int t = 0; t < 150; ++t, weight *= discount) {
        const double u = std::clamp(-gain.row(0).dot(x.col(0)), -5.0, 5.0);
        total += weight * (x(0) * x(0) + 0.05 * u * u);
        x = step(x, u, rng);
      }
    }
    return total / 64;
  }
};

struct Data {
  Batch x{n + 1, 1000}, next{n, 1000};  // (state; action), and the next state

  Data(const World& world, vl::Rng rng) {
    Matrix state;
    for (Eigen::Index j = 0; j < x.cols(); ++j) {
      if (j % 25 == 0) state = normal(n, rng);
      const double u = 2 * rng.normal();
      x.col(j).head(n) = state.col(0).cast<float>();
      x(n, j) = static_cast<float>(u);
      state = world.step(state, u, rng);
      next.col(j) = state.col(0).cast<float>();
    }
  }
};

/// What a transition's prediction costs, given V(x) = -x' p x and g = grad V(s'), both scaled to a mean |g|^2 of 1.
using Loss = std::function<float(Span m, Span next, Span g, const Batch& p, float w, std::span<float> dm)>;

float squared_error(Span m, Span next, Span, const Batch&, float w, std::span<float> dm) {
  constexpr std::array<float, n> zeros{};
  return vl::Vagram{.mse_weight = 1}(m, next, zeros, w, dm);
}
float vagram(Span m, Span next, Span g, const Batch&, float w, std::span<float> dm) {
  return vl::Vagram{}(m, next, g, w, dm);
}
float vagram_and_squared_error(Span m, Span next, Span g, const Batch&, float w, std::span<float> dm) {
  return vl::Vagram{.mse_weight = 1e-4}(m, next, g, w, dm);
}
float taylor(Span m, Span next, Span g, const Batch&, float w, std::span<float> dm) {
  return vl::TaylorVaml{}(m, next, g, w, dm);
}
float iter_vaml(Span m, Span next, Span, const Batch& p, float w, std::span<float> dm) {
  const auto vector = [](Span s) { return Eigen::Map<const vl::Vector<float>>(s.data(), n); };
  const auto value = [&](const auto& x) { return -x.dot(p * x); };
  const vl::Vector<float> gradient = -2 * (p * vector(m));
  return vl::IterVaml{}(value(vector(m)), value(vector(next)), vl::view(gradient), w, dm);
}

/// Five rounds: fit the model, solve its control, take the value of that. The first has no value and weights nothing.
Matrix learn(const Loss& loss, int rank, const Data& data, vl::Rng rng) {
  const vl::Residual model{vl::Mlp<float>{{n + 1, rank, n}, vl::Activation::identity}};
  std::vector<float> theta(model.parameter_count());
  model.initialize(std::span(theta), rng);
  vl::Residual<vl::Mlp<float>>::Tape tape;
  vl::LinearQuadraticSolution control;
  for (int round = 0; round < 5; ++round) {
    Batch p = control.cost.cast<float>(), g = Batch::Ones(n, data.next.cols());
    if (round > 0) {
      g = -2 * (p * data.next);
      vl::clip_norms_by_quantile(g);
      const float scale = 1 / std::sqrt(g.squaredNorm() / static_cast<float>(g.cols()));
      p *= scale, g *= scale;
    }
    const auto of_sample = [&](Span m, std::size_t i, float w, std::span<float> dm) {
      const auto column = [&](const Batch& all) { return vl::view(all).subspan(i * n, n); };
      return (round > 0 ? loss : squared_error)(m, column(data.next), column(g), p, w, dm);
    };
    vl::fit_columns(model, std::span(theta), data.x, of_sample, vl::Adam{.step_size = 1e-2},
                    {.steps = 1000, .final_factor = 0.1}, rng);
    // The model is affine: its columns are its values at the unit vectors, less that at 0.
    const Batch origin = model.forward(theta, Batch(Batch::Zero(n + 1, 1)), tape);
    const Batch units = model.forward(theta, Batch(Batch::Identity(n + 1, n + 1)), tape);
    const Matrix slopes = (units.colwise() - origin.col(0)).cast<double>();
    control = solve(slopes.leftCols(n), slopes.rightCols(1));
  }
  return control.gain;
}

void measure(paper::Seed& seed) {
  const World world(seed.rng.split(0));
  const Data data(world, seed.rng.split(1));
  const vl::Rng trial = seed.rng.split(2);
  const double optimal = world.cost(solve(world.a, world.b).gain, trial), none = world.cost(Matrix::Zero(1, n), trial);
  const auto excess = [&](const Loss& loss, int rank) {
    const Matrix gain = learn(loss, rank, data, seed.rng.split(3));
    return (world.cost(gain, trial) - optimal) / (none - optimal);
  };
  seed.measure("rank 3/squared error", excess(squared_error, 3));
  seed.measure("rank 3/VaGraM", excess(vagram, 3));
  seed.measure("rank 3/VaGraM + 1e-4 squared error", excess(vagram_and_squared_error, 3));
  if (seed.quick) return;
  seed.measure("rank 3/Taylor-VAML", excess(taylor, 3));
  seed.measure("rank 3/IterVAML", excess(iter_vaml, 3));
  seed.measure("full rank/squared error", excess(squared_error, n));
  seed.measure("full rank/VaGraM", excess(vagram, n));
}

}  // namespace

int main(int count, char** arguments) {
  return paper::run(
      {.id = "vagram",
       .header = "valence/value/value_aware.hpp",
       .claim = "errors weighted by the value's gradient make a model that is too small useful"},
      count, arguments, [](paper::Study& study) {
        study.each_seed(measure);
        const auto good = [&](const char* name) {
          const auto costs = study[name];
          return static_cast<double>(
                     std::count_if(costs.begin(), costs.end(), [](double cost) { return cost < 0.1; })) /
                 static_cast<double>(costs.size());
        };
        study.require("median excess cost, VaGraM", study.median("rank 3/VaGraM"), paper::below(0.05));
        study.require("share below 0.1, VaGraM + 1e-4 squared error", good("rank 3/VaGraM + 1e-4 squared error"),
                      paper::at_least(0.8));
        study.report("share below 0.1, VaGraM alone", good("rank 3/VaGraM"));
        study.note(
            "VaGraM alone leaves the model free where the value is flat: a few controllers in a hundred are unstable.");
        study.note(
            "A trace of squared error mends that; ten times as much of it (1e-3) gives the rank back to what moves.");
        study.require("median excess cost, squared error", study.median("rank 3/squared error"), paper::above(0.5));
        if (study.quick()) return;
        for (const char* name : {"full rank/squared error", "full rank/VaGraM"})
          study.require(std::string("median excess cost, ") + name, study.median(name), paper::below(0.01));
        study.note("Both sides: the weights matter where the model is too small, and cost nothing where it isn't.");
      });
}
