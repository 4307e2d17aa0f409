#include "valence/offline/denoising_preference.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/env/ring_diffusion.hpp"
#include "valence/function/checkpoint_pool.hpp"
#include "valence/function/feature_maps.hpp"
#include "valence/function/linear_per_step.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/random_fourier.hpp"
#include "valence/policy/ddpm.hpp"
#include "valence/preference/clip_ratio.hpp"
#include "valence/preference/losses.hpp"
#include "valence/preference/seppo.hpp"

using valence::Anchor;
using valence::Ddpm;
using valence::DenoisingPairObjective;
using valence::DiffusionSchedule;
using valence::Dpo;
using valence::Identity;
using valence::LinearPerStep;
using valence::Matrix;
using valence::Rng;
using valence::SegmentObjective;
using valence::Seppo;
using namespace valence::test;  // close, message_of, says

namespace {

using Model = Ddpm<LinearPerStep<Identity>>;

Model small_model(int steps = 3) {
  return {LinearPerStep{Identity{.inputs = 2, .bias = true}, 2, steps}, DiffusionSchedule::linear(steps, 0.1, 0.5)};
}
std::vector<double> normals(std::size_t n, std::uint64_t seed) {
  Rng rng{seed};
  std::vector<double> v(n);
  rng.fill_normal(v);
  return v;
}
Matrix<double> points(int n, std::uint64_t seed) {
  Rng rng{seed};
  return valence::RingDiffusion{}.sample(n, rng);
}
struct TwoRuns {
  Model::Runs first, second;
};
TwoRuns roll_out(const Model& model, std::span<const double> theta, int n) {
  Rng rng{21};
  Matrix<double> start(2, n);
  rng.fill_normal(valence::view(start));
  Model::Tape tape;
  TwoRuns runs;
  model.roll_out(theta, start, rng, tape, runs.first);
  model.roll_out(theta, start, rng, tape, runs.second);
  return runs;
}

}  // namespace

TEST_CASE("D3PO's loss on the runs that the policy itself has made is log 2 at every step") {
  const Model model = small_model();
  const auto theta = normals(model.parameter_count(), 1);
  const auto runs = roll_out(model, theta, 4);
  std::vector<double> gradient(theta.size()), swapped(theta.size());
  SegmentObjective objective{model, Dpo{.beta = 0.1}};
  CHECK(objective(theta, runs.first, runs.second, std::vector<int>{1, 1, 1, 1}, gradient) ==
        close(std::log(2.0), 1e-13));
  CHECK(objective(theta, runs.first, runs.second, std::vector<int>{1, 1, 1, 1}, gradient, theta) ==
        close(std::log(2.0), 1e-15));
  objective(theta, runs.first, runs.second, std::vector<int>{-1, -1, -1, -1}, swapped, theta);
  double size = 0;
  for (std::size_t i = 0; i < theta.size(); ++i) {
    CHECK(swapped[i] == -gradient[i]);
    size += gradient[i] * gradient[i];
  }
  CHECK(size > 0);
  CHECK(objective(theta, runs.first, runs.second, std::vector<int>{0, 0, 0, 0}, gradient) == 0);
  for (const double g : gradient) CHECK(g == 0);
}

TEST_CASE("D3PO's gradient is exact, for either reference") {
  const Model model = small_model();
  const auto ran = normals(model.parameter_count(), 1), reference = normals(model.parameter_count(), 2);
  auto theta = normals(model.parameter_count(), 3);
  for (std::size_t i = 0; i < theta.size(); ++i) theta[i] = ran[i] + 0.1 * theta[i];
  const auto runs = roll_out(model, ran, 5);
  const std::vector<int> preference = {1, -1, 0, 1, -1};
  SegmentObjective objective{model, Dpo{.beta = 0.7}};
  for (const std::span<const double> behind : {std::span<const double>{}, std::span<const double>(reference)}) {
    std::vector<double> gradient(theta.size()), scratch(theta.size());
    objective(theta, runs.first, runs.second, preference, gradient, behind);
    CHECK(gradient_matches(
        [&](std::span<const double> at) { return objective(at, runs.first, runs.second, preference, scratch, behind); },
        theta, gradient, {.step = 2e-4}));  // the last step's density is narrow
  }
  std::vector<double> gradient(theta.size());
  const Allocations allocations;
  objective(theta, runs.first, runs.second, preference, gradient, reference);
  CHECK(allocations.count() == 0);
}

TEST_CASE("With one step D3PO is DPO on a Gaussian bandit") {
  const Model model = small_model(1);
  const auto theta = normals(model.parameter_count(), 1), reference = normals(model.parameter_count(), 2);
  const auto runs = roll_out(model, reference, 6);
  std::vector<double> gradient(theta.size());
  SegmentObjective objective{model, Dpo{.beta = 0.2}};
  const double value = objective(theta, runs.first, runs.second, std::vector<int>(6, 1), gradient);
  Model::Tape tape;
  valence::PairLogProbs<std::vector<double>> batch{std::vector<double>(6), std::vector<double>(6),
                                                   std::vector<double>(6), std::vector<double>(6)};
  model.log_prob(theta, 1, runs.first.states[1], runs.first.states[0], tape, batch.chosen);
  model.log_prob(theta, 1, runs.second.states[1], runs.second.states[0], tape, batch.rejected);
  model.log_prob(reference, 1, runs.first.states[1], runs.first.states[0], tape, batch.ref_chosen);
  model.log_prob(reference, 1, runs.second.states[1], runs.second.states[0], tape, batch.ref_rejected);
  CHECK(value == close(valence::evaluate(Dpo{.beta = 0.2}, batch).value, 1e-9));
}

TEST_CASE("The denoising objective's gradient is exact, for Diffusion-DPO and every anchor of SePPO") {
  const Model model = small_model();
  const auto reference = normals(model.parameter_count(), 2);
  const auto theta = normals(model.parameter_count(), 1);
  const auto chosen = points(7, 3), rejected = points(7, 4);
  const auto check = [&](auto loss) {
    DenoisingPairObjective objective{model, loss};
    std::vector<double> gradient(theta.size()), scratch(theta.size());
    Rng rng{5};
    objective(theta, reference, chosen, rejected, gradient, rng);
    CHECK(gradient_matches(
        [&](std::span<const double> at) {
          Rng same{5};
          return objective(at, reference, chosen, rejected, scratch, same);
        },
        theta, gradient));
  };
  check(Dpo{.beta = 0.1});
  check(Seppo{.beta = 0.1});
  check(Seppo{.beta = 0.1, .anchor = Anchor::batch});
  check(valence::Sft{});
}

TEST_CASE("At the reference SePPO's loss is log 2, and fine-tuning needs no reference") {
  const Model model = small_model();
  const auto theta = normals(model.parameter_count(), 1);
  const auto chosen = points(7, 3), rejected = points(7, 4);
  std::vector<double> gradient(theta.size());
  Rng rng{5};
  DenoisingPairObjective seppo{model, Seppo{}};
  CHECK(seppo(theta, theta, chosen, rejected, gradient, rng) == close(std::log(2.0), 1e-15));
  DenoisingPairObjective tuning{model, valence::Sft{}};
  const double error = tuning(theta, std::span<const double>{}, chosen, rejected, gradient, rng);
  CHECK(error > 0);
}

TEST_CASE("Denoising objectives refuse bad input") {
  const Model model = small_model();
  const auto theta = normals(model.parameter_count(), 1);
  const auto runs = roll_out(model, theta, 4), others = roll_out(model, theta, 3);
  std::vector<double> gradient(theta.size()), shorter(3);
  SegmentObjective steps{model, Dpo{}};
  const std::vector<int> four(4, 1), bad = {1, 1, 3, 1};
  CHECK(says(message_of([&] { steps(theta, runs.first, others.second, four, gradient); }), "runs is 3 x 3"));
  CHECK(says(message_of([&] { steps(theta, runs.first, runs.second, bad, gradient); }), "preference[2] is 3"));
  CHECK(says(message_of([&] { steps(theta, runs.first, runs.second, four, shorter); }), "gradient has 3"));
  Rng rng{1};
  DenoisingPairObjective pairs{model, Seppo{}};
  auto chosen = points(4, 1);
  CHECK(says(message_of([&] { pairs(theta, theta, chosen, points(3, 1), gradient, rng); }), "rejected is 2 x 3"));
  CHECK(says(message_of([&] { pairs(theta, theta, Matrix<double>(2, 0), Matrix<double>(2, 0), gradient, rng); }),
             "empty"));
  chosen(1, 2) = std::nan("");
  CHECK(says(message_of([&] { pairs(theta, theta, chosen, points(4, 1), gradient, rng); }), "chosen[5]", "nan"));
}

TEST_CASE("What a user writes: SePPO and D3PO raise the reward of a small diffusion model") {
  using namespace valence;
  const RingDiffusion world;
  Rng rng{6};
  const Ddpm model{LinearPerStep{RandomFourier{2, rng, {.waves = 16, .frequency = 1.2}}, 2, 5},
                   DiffusionSchedule::linear(5, 0.05, 0.6)};
  const auto pretrained = fit_denoiser(model, world.sample(1000, rng), {.ridge = 0.01}, rng);
  const auto reward = [&](std::span<const double> theta) {
    Rng fresh{7};
    return world.rewards(model.sample(theta, 500, fresh)).mean();
  };
  const double before = reward(pretrained);
  auto theta = pretrained;
  std::vector<double> gradient(theta.size());
  auto adam = Adam{.step_size = 1e-2}.start<double>(theta.size());
  SECTION("D3PO: pairs of runs from a common start, judged once") {
    SegmentObjective objective{model, clip_ratio(0.1, Dpo{.beta = 0.1})};
    decltype(model)::Tape tape;
    decltype(model)::Runs a, b;
    Matrix<double> start(2, 32);
    for (int i = 0; i < 40; ++i) {
      rng.fill_normal(view(start));
      model.roll_out(theta, start, rng, tape, a);
      model.roll_out(theta, start, rng, tape, b);
      const Vector<double> better = world.rewards(a.samples()) - world.rewards(b.samples());
      std::vector<int> preference;
      for (const double d : better) preference.push_back(d > 0 ? 1 : -1);
      objective(theta, a, b, preference, gradient);
      adam.step(theta, gradient);
    }
    CHECK(reward(theta) > before + 0.5);
  }
  SECTION("SePPO: winners alone, against samples of the first checkpoint") {
    Matrix<double> winners = model.sample(pretrained, 64, rng);
    const Matrix<double> others = model.sample(pretrained, 64, rng);
    const Vector<double> gain = world.rewards(others) - world.rewards(winners);
    for (Eigen::Index j = 0; j < 64; ++j)
      if (gain[j] > 0) winners.col(j) = others.col(j);
    CheckpointPool<double> pool{{.every = 25, .select = Checkpoint::first}};
    DenoisingPairObjective objective{model, Seppo{.beta = 0.1, .anchor = Anchor::batch}};
    for (int i = 0; i < 60; ++i) {
      pool.offer(i, theta);
      const auto reference = pool.select(rng);
      objective(theta, reference, winners, model.sample(reference, 64, rng), gradient, rng);
      adam.step(theta, gradient);
    }
    CHECK(reward(theta) > before + 0.3);
  }
}
