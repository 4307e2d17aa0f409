#include <fmt/core.h>

#include <valence/function.hpp>

namespace vl = valence;

int main() {
  const vl::Mlp<float> net{{1, 32, 32, 1}, vl::relu};  // sizes and activations, no numbers
  vl::Vector<float> theta(net.parameter_count()), gradient(net.parameter_count());
  vl::Rng rng{7};
  net.initialize(vl::view(theta), rng);
  vl::Vector<float> target = theta;  // a target network is another theta

  auto adam = vl::Adam{.step_size = 3e-3}.start<float>(net.parameter_count());
  vl::Mlp<float>::Tape tape;  // all scratch is yours, so the network is const and thread-safe
  vl::Matrix<float> x(1, 64), error(1, 64);
  for (int step = 0; step < 2000; ++step) {
    rng.fill_uniform(vl::view(x));
    error = net.forward(vl::view(theta), x, tape).array() - (6 * x.array()).sin();
    gradient.setZero();
    net.pullback(vl::view(theta), x, tape, {error.data(), 1, 64}, vl::view(gradient));  // gradient += J' error
    adam.step(vl::view(theta), vl::view(gradient));
    target += 0.01F * (theta - target);  // Polyak averaging
  }
  fmt::print("mean squared error {:.5f}\n", error.squaredNorm() / 64);
}
