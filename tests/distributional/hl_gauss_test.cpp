// Values as classes in use: the temporal-difference step that a user would write, and what a target's own mean is.
#include "valence/distributional/hl_gauss.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/distributional/concepts.hpp"
#include "valence/distributional/two_hot.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"

using namespace valence;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

}  // namespace

TEST_CASE("Two-hot: the target's own mean is the number, whatever the support") {
  Rng rng{41};
  for (const int atoms : {2, 3, 51, 101})
    for (int n = 0; n < 200; ++n) {
      const TwoHot head{.atoms = atoms, .min = -1 - rng.uniform(), .max = 1 + rng.uniform()};
      const double y = rng.uniform(head.min, head.max);
      Numbers p(static_cast<std::size_t>(atoms));
      head.encode(y, p);
      double mean = 0, mass = 0;
      for (int k = 0; k < atoms; ++k) {
        const double pk = p[static_cast<std::size_t>(k)];
        CHECK((pk >= 0 && pk <= 1));
        mean += pk * head.support().atom(k), mass += pk;
      }
      CAPTURE(atoms, y);
      CHECK(mean == close(y, 0, 1e-14));
      CHECK(mass == close(1, 1e-15));
    }
}

TEST_CASE("HL-Gauss: the target's own mean is the number, away from the ends") {
  const HlGauss head;
  for (int i = -60; i <= 60; ++i) {
    const double y = 0.1 * i;
    Numbers p(51);
    head.encode(y, p);
    double mean = 0;
    for (int k = 0; k < 51; ++k) mean += p[static_cast<std::size_t>(k)] * head.support().atom(k);
    CAPTURE(y);
    CHECK(mean == close(y, 0, 1.9e-6));
  }
}

// Three states in a row, a reward of 1 on leaving the last, two actions that do the same: values 0.81, 0.9 and 1.
TEST_CASE("HL-Gauss: temporal differences with a target network find the values") {
  Rng rng{42};
  const HlGauss head{.bins = 21, .min = -1, .max = 2};
  const Mlp<float> q{{3, 16, head.size(2)}, relu};
  std::vector<float> theta(q.parameter_count()), gradient(theta.size()), target_theta;
  q.initialize(theta, rng);
  auto adam = Adam{.step_size = 5e-3}.start<float>(theta.size());

  const Matrix<float> states = Matrix<float>::Identity(3, 3);
  Matrix<float> next = Matrix<float>::Zero(3, 3), target(head.size(1), 3), dy(head.size(2), 3);
  next(1, 0) = next(2, 1) = 1;
  const std::vector<float> reward{0, 0, 1}, discount{0.9F, 0.9F, 0};  // 0 where the episode ends
  Mlp<float>::Tape tape, next_tape;
  for (int step = 0; step < 1500; ++step) {
    if (step % 50 == 0) target_theta = theta;
    const std::vector<int> actions{int(rng.below(2)), int(rng.below(2)), int(rng.below(2))};
    const auto ahead = q.forward(target_theta, next, next_tape);
    bootstrap_greedy_columns(head, ahead, ahead, reward, discount,
                             OutputsGradient<float>(target.data(), target.rows(), 3));
    const auto logits = q.forward(theta, states, tape);
    dy.setZero();
    loss_columns(head, logits, actions, Outputs<float>(target.data(), target.rows(), 3),
                 OutputsGradient<float>(dy.data(), dy.rows(), 3));
    std::fill(gradient.begin(), gradient.end(), 0.0F);
    q.pullback(theta, states, tape, {dy.data(), dy.rows(), 3}, gradient);
    adam.step(theta, std::span<const float>(gradient));
  }
  const auto logits = q.forward(theta, states, tape);
  for (Eigen::Index s = 0; s < 3; ++s) {
    std::vector<float> values(2);
    action_values(head, std::span<const float>(logits.col(s).data(), std::size_t(head.size(2))), values);
    CAPTURE(s);
    for (const float v : values) CHECK(static_cast<double>(v) == close(std::pow(0.9, 2.0 - double(s)), 0, 0.03));
  }
}
