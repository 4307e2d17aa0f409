#include <array>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/core/random.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/schedules.hpp"
#include "valence/io/parameters.hpp"
#include "valence/io/safetensors.hpp"

using namespace valence;

namespace {

const Mlp<float> net{{2, 9, 3}, Activation::tanh};

/// A learner in small: parameters, a target network that follows them, the optimizer's state, a schedule's position,
/// and the stream that the data and the exploration come from.
template <class Optimizer>
struct Learner {
  using State = decltype(Optimizer{}.template start<float>(1));
  Vector<float> theta = Vector<float>::Zero(static_cast<Eigen::Index>(net.parameter_count())), target = theta;
  State state = Optimizer{.step_size = 1e-2}.template start<float>(net.parameter_count());
  Rng rng{2024};
  double last_loss = 0;

  template <class A>
  void archive(A& ar) {
    ar(theta, target, state, rng, last_loss);
  }

  void begin() {
    net.initialize(view(theta), rng);
    target = theta;
  }
  void advance(int steps) {
    const CosineSchedule schedule{.begin = 1, .end = 0.1, .steps = 70};  // its knee lies after the save
    Mlp<float>::Tape tape, target_tape;
    Matrix<float> x(2, 5), error(3, 5);
    Vector<float> gradient(theta.size());
    for (int i = 0; i < steps; ++i) {
      for (float& number : view(x)) number = rng.template normal<float>();
      const auto goal = net.forward(view(target), x, target_tape);
      error = net.forward(view(theta), x, tape) - 0.9F * goal;
      error.row(0).array() -= x.row(0).array() * x.row(1).array();
      last_loss = static_cast<double>(error.squaredNorm());
      gradient.setZero();
      net.pullback(view(theta), x, tape, {error.data(), 3, 5}, view(gradient));
      state.step(view(theta), view(gradient), schedule(state.steps()));
      target += 0.05F * (theta - target);
    }
  }
};

template <class Optimizer>
void check_resume() {
  Learner<Optimizer> whole;
  whole.begin();
  Learner<Optimizer> first = whole;
  whole.advance(100);
  first.advance(50);
  const std::vector<std::byte> saved = to_bytes(first);
  Learner<Optimizer> second;  // as a new process has it
  from_bytes(std::span<const std::byte>(saved), second);
  CHECK(same_state(second, first));
  second.advance(50);
  CHECK(same_state(second, whole));  // parameters, target, moments, step count, position of the stream, loss: every bit
  // The comparison can fail: forgetting any one part shows.
  Learner<Optimizer> forgot_target = first, forgot_stream = first, forgot_moments = first;
  forgot_target.target = forgot_target.theta;
  forgot_stream.rng = Rng{2024};
  forgot_moments.state = Optimizer{.step_size = 1e-2}.template start<float>(net.parameter_count());
  for (Learner<Optimizer>* forgot : {&forgot_target, &forgot_stream, &forgot_moments}) {
    forgot->advance(50);
    CHECK_FALSE(same_state(*forgot, whole));
  }
}

}  // namespace

TEST_CASE("50 steps, save, load, 50 steps are 100 steps, bit for bit, with every optimizer", "[F2][F3][F4]") {
  check_resume<Sgd>();
  check_resume<Momentum>();
  check_resume<Nesterov>();
  check_resume<RmsProp>();
  check_resume<Adam>();
  check_resume<AdamW>();
}

TEST_CASE("a file of parameters alone starts with fresh moments and counters", "[F7]") {
  Learner<Adam> trained;
  trained.begin();
  trained.advance(20);
  const auto path = std::filesystem::temp_directory_path() / "valence_parameters_only.safetensors";
  save_parameters<float>(path, view(trained.theta), net.parameters());
  Learner<Adam> fresh;
  const auto before = to_bytes(fresh.state);
  load_parameters<float>(path, view(fresh.theta), net.parameters());
  std::filesystem::remove(path);
  CHECK((fresh.theta.array() == trained.theta.array()).all());
  CHECK(to_bytes(fresh.state) == before);
  CHECK(fresh.state.steps() == 0);
}
