// A saved policy: its network against plain loops and against Mlp, its heads against the laws, its scale against the
// normaliser that it came from, refusals, and allocations.
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/function/dueling.hpp"
#include "valence/policy/saved_policy.hpp"

// It acts, and knows nothing of learning: these are complete only where somebody includes them.
namespace valence {
struct Adam;
struct Sgd;
}  // namespace valence

using namespace valence;
using valence::test::Allocations;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;

template <class T>
concept Complete = requires { sizeof(T); };
static_assert(!Complete<Adam> && !Complete<Sgd>);

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double poison = std::numeric_limits<double>::quiet_NaN();

template <class S>
std::vector<S> random_theta(const Mlp<S>& net, Rng& rng) {
  std::vector<S> theta(net.parameter_count());
  net.initialize(theta, rng);
  for (S& x : theta) x += static_cast<S>(0.1 * rng.normal());  // biases, scales and shifts too
  return theta;
}
template <class S>
std::vector<S> random_observation(std::size_t n, Rng& rng) {
  std::vector<S> x(n);
  for (S& v : x) v = rng.normal<S>();
  return x;
}

/// Its outputs are the observation (and what stands below): for heads alone.
template <class S = double>
SavedPolicy<S> transparent(int size, PolicyHead head, SavedPolicyOptions options = {}) {
  const Mlp<S> net({size, size}, relu);
  std::vector<S> theta(net.parameter_count());
  for (int i = 0; i < size; ++i) theta[static_cast<std::size_t>(i * size + i)] = S(1);
  return SavedPolicy<S>(net, theta, std::move(head), std::move(options));
}

Box<Vector<double>> box(std::initializer_list<std::pair<double, double>> bounds) {
  Box<Vector<double>> b{Vector<double>(static_cast<Eigen::Index>(bounds.size())),
                        Vector<double>(static_cast<Eigen::Index>(bounds.size()))};
  Eigen::Index i = 0;
  for (const auto& [low, high] : bounds) b.low[i] = low, b.high[i] = high, ++i;
  return b;
}

template <class S>
void agrees_with_mlp(double tolerance) {
  Rng rng{3};
  const std::vector<std::vector<int>> shapes{{3, 2}, {4, 64, 64, 2}, {1, 1, 1}, {5, 7, 33, 13}, {67, 19, 130, 3, 40}};
  for (const auto& sizes : shapes)
    for (const auto hidden :
         {Activation::identity, Activation::relu, Activation::tanh, Activation::gelu, Activation::silu})
      for (const bool layer_norm : {false, true})
        for (const auto output : {Activation::identity, Activation::tanh, Activation::gelu}) {
          CAPTURE(sizes, name(hidden), layer_norm, name(output));
          const Mlp<S> net(sizes, hidden, {.layer_norm = layer_norm, .output = output});
          const auto theta = random_theta(net, rng);
          SavedPolicy<S> policy(net, theta, Softmax{.actions = sizes.back()});
          typename Mlp<S>::Tape tape;
          const auto x = random_observation<S>(static_cast<std::size_t>(sizes.front()), rng);
          const auto expected = net.forward(theta, Outputs<S>(x.data(), sizes.front(), 1), tape);
          const auto seen = policy.outputs(x);
          REQUIRE(seen.size() == static_cast<std::size_t>(sizes.back()));
          for (std::size_t i = 0; i < seen.size(); ++i)
            CHECK(static_cast<double>(seen[i]) ==
                  close(static_cast<double>(expected(static_cast<Eigen::Index>(i), 0)), tolerance, tolerance));
        }
}

}  // namespace

TEST_CASE("A saved policy's network is the Mlp's, up to rounding", "[F5]") {
  agrees_with_mlp<float>(3e-5);
  agrees_with_mlp<double>(1e-12);
}

TEST_CASE("A saved policy of relu has the bits of plain loops, whatever the registers") {
  Rng rng{5};
  const Mlp<float> net({6, 37, 64, 5}, relu);
  const auto theta = random_theta(net, rng);
  SavedPolicy policy(net, theta, GreedyValues{.actions = 5});
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<float> x = random_observation<float>(6, rng), y;
    const auto seen = policy.outputs(x);
    const float* p = theta.data();
    for (const std::size_t out : {37u, 64u, 5u}) {
      y.assign(p + x.size() * out, p + x.size() * out + out);
      for (std::size_t i = 0; i < x.size(); ++i)
        for (std::size_t o = 0; o < out; ++o) {
          const volatile float product = x[i] * p[i * out + o];  // volatile: rounded before it is added
          y[o] += product;
        }
      p += (x.size() + 1) * out;
      if (out != 5)
        for (float& v : y) v = v < 0 ? 0 : v;
      x = y;
    }
    for (std::size_t i = 0; i < 5; ++i) REQUIRE(seen[i] == y[i]);
  }
}

TEST_CASE("GreedyValues: the first of the largest, of those that a mask allows") {
  auto policy = transparent(4, GreedyValues{.actions = 4});
  CHECK(policy.discrete());
  CHECK(policy.action_size() == 4);
  CHECK(policy.act(std::vector{0.5, -1.0, 2.0, 2.0}) == 2);
  CHECK(policy.act(std::vector{-5.0, -4.0, -7.0, -6.0}) == 1);
  CHECK(policy.act(std::vector{0.5, -1.0, 2.0, 2.0}, std::array{true, true, false, true}) == 3);
  CHECK(policy.act(std::vector{0.5, -1.0, 2.0, 2.0}, std::array{false, true, false, false}) == 1);
  CHECK(says(message_of([&] {
               policy.act(std::vector{0.5, -1.0, 2.0, 2.0}, std::array{false, false, false, false});
             }),
             "mask", "none of 4"));
  CHECK(says(message_of([&] { policy.act(std::vector{0.5, -1.0, 2.0, 2.0}, std::array{true}); }), "mask", "4"));
}

TEST_CASE("GreedyValues with atoms: expectations of runs of outputs") {
  const std::vector<double> atoms{-1, 0.5, 2, 5};
  const std::vector<double> y{0.1, 0.2, -0.3, 0.4, 1.0, -2.0, 0.7, 0.3, -3, -2.9, -2.5, -1};
  const auto same = [](std::span<const double> seen, const std::array<double, 3>& expected) {
    REQUIRE(seen.size() == 3);
    for (std::size_t a = 0; a < 3; ++a) CHECK(seen[a] == close(expected[a], 1e-14));
  };
  // By Python. Read with the atoms outside, action 1 would be the best of the first.
  auto means = transparent(12, GreedyValues{.actions = 3, .atoms = atoms});
  same(means.action_values(y), {1.4, 0.9, -8.45});
  CHECK(means.act(y) == 0);
  CHECK(means.act(y, std::array{false, true, true}) == 1);
  auto logits = transparent(12, GreedyValues{.actions = 3, .atoms = atoms, .logits = true});
  same(logits.action_values(y), {1.8525749359340475, 1.3070430176923375, 3.5713446268969875});
  CHECK(logits.act(y) == 2);
  CHECK(logits.act(y, std::array{true, true, false}) == 0);
  // Logits count by their differences, also where exp overflows.
  auto distant = y;
  for (std::size_t k = 0; k < 4; ++k) distant[k] -= 2000, distant[4 + k] += 2000;
  for (const double shift : {0.0, 1e-9}) {
    distant[8] = y[8] + shift;
    CHECK(logits.action_values(distant)[0] == close(1.8525749359340475, 1e-11));
    CHECK(logits.act(distant) == 2);
  }
  // QR-DQN: atoms 1/K are the mean.
  auto quantiles = transparent(4, GreedyValues{.actions = 2, .atoms = {0.5, 0.5}});
  CHECK(quantiles.action_values(std::vector{1.0, 4.0, -1.0, 5.0})[1] == 2.0);
}

TEST_CASE("A saved Softmax acts by its most likely action and draws by its law") {
  auto policy = transparent(4, Softmax{.actions = 4});
  const std::vector<double> z{0.5, -1, 2, 0};
  CHECK(policy.act(z) == 2);
  CHECK(policy.act(z, std::array{true, true, false, true}) == 0);
  Rng rng{11}, same{11};
  const std::array mask{true, false, true, true};
  for (int i = 0; i < 50; ++i) CHECK(policy.sample(z, rng, mask) == Softmax{4}.sample(std::span(z), same, mask));
}

TEST_CASE("A saved ClippedGaussian acts by its mean, cut to the box") {
  const ClippedGaussian law{box({{-1, 3}, {-infinity, 0.25}, {-infinity, infinity}}), {.max_log_std = 0.5}};
  auto policy = transparent(6, law);
  CHECK_FALSE(policy.discrete());
  CHECK(policy.action_size() == 3);
  const std::vector<double> y{-1.5, 0.5, 1e6, 2.0, -3.0, 0.1};
  std::array<double, 3> a{poison, poison, poison}, b = a;
  policy.act(y, a);
  CHECK(a == std::array{-1.0, 0.25, 1e6});
  policy.act(std::vector{2.0, -8.0, -7.0, 0.0, 0.0, 0.0}, a);
  CHECK(a == std::array{2.0, -8.0, -7.0});

  Rng rng{7}, same{7};
  for (int i = 0; i < 20; ++i) {
    policy.sample(y, rng, a);
    DiagonalGaussian<Vector<double>>{3, law.options}.sample(std::span(y), same, b);
    CHECK(a[0] == std::min(std::max(b[0], -1.0), 3.0));
    CHECK(a[1] == std::min(b[1], 0.25));
    CHECK(a[2] == b[2]);
  }
}

TEST_CASE("Log-stds that no observation changes stand below the network's means") {
  const ClippedGaussian law{box({{-5, 5}, {-5, 5}})};
  auto policy = transparent(2, law, {.log_std = {-1.0, 0.5}});
  const std::vector<double> mean{0.75, -2};
  const auto y = policy.outputs(mean);
  CHECK(std::vector(y.begin(), y.end()) == std::vector{0.75, -2.0, -1.0, 0.5});
  Rng rng{7}, same{7};
  std::array<double, 2> a{};
  policy.sample(mean, rng, a);
  CHECK(a[0] == close(0.75 + std::exp(-1.0) * same.normal(), 1e-14));
  CHECK(a[1] == close(-2 + std::exp(0.5) * same.normal(), 1e-14));
}

TEST_CASE("A saved SquashedGaussian acts and draws as the law does, to the bit and inside", "[G16]") {
  const SquashedGaussian<Vector<double>> law{box({{-1, 3}, {0, 0.1}}), {.min_log_std = -2, .max_log_std = 1}};
  auto policy = transparent<float>(4, law);
  Rng rng{2}, noise{4}, same{4};
  for (int i = 0; i < 500; ++i) {
    std::vector<float> y = random_observation<float>(4, rng);
    for (float& v : y) v *= static_cast<float>(i) / 10;
    std::array<float, 2> a{}, b{};
    policy.act(y, a);
    const SquashedGaussian<std::array<float, 2>> as_float{{{-1.0F, 0.0F}, {3.0F, 0.1F}}};
    const auto expected = law.mode(std::span<const float>(y));
    CHECK(static_cast<double>(a[0]) == close(expected[0], 1e-6, 1e-6));
    CHECK(a[0] == as_float.mode(std::span<const float>(y))[0]);
    CHECK((a[0] > -1 && a[0] < 3 && a[1] > 0 && static_cast<double>(a[1]) < 0.1));
    policy.sample(y, noise, a);
    law.sample(std::span<const float>(y), same, b);
    CHECK(a == b);
  }
}

TEST_CASE("A saved Deterministic acts as the law does, with and without bounds") {
  const Deterministic<Vector<double>> law{box({{-1, 3}, {-infinity, infinity}})};
  auto policy = transparent(2, law);
  std::array<double, 2> a{};
  for (const double y : {-100.0, -2.0, -0.1, 0.0, 0.3, 1.0, 50.0}) {
    policy.act(std::vector{y, 10 * y}, a);
    CHECK(a[0] == close(1 + 2 * std::tanh(y), 1e-15, 1e-15));
    CHECK(a[1] == 10 * y);
  }
  Rng rng{1};
  CHECK(says(message_of([&] { policy.sample(std::vector{0.0, 0.0}, rng, a); }), "sample", "ClippedGaussian"));
}

TEST_CASE("vector_box takes boxes of numbers and of vectors") {
  const auto one = vector_box(Box{-2.0F, 3.0F});
  REQUIRE(one.low.size() == 1);
  CHECK(one.low[0] == -2.0);
  CHECK(one.high[0] == 3.0);
  const auto two = vector_box(Box{std::array{-1.0, 0.0}, std::array{1.0, 7.0}});
  REQUIRE(two.high.size() == 2);
  CHECK(two.low[0] == -1.0);
  CHECK(two.high[1] == 7.0);
}

TEST_CASE("Observations are scaled as the normaliser scaled them in training", "[F4]") {
  Rng rng{9};
  Normalizer normalizer(3, {.floor = 0.5, .clip = 2});
  auto unstarted = transparent<float>(3, Softmax{.actions = 3}, {.observations = observation_scale(normalizer)});
  for (int i = 0; i < 100; ++i) {  // the second one hardly moves: its deviation is the floor
    const std::array x{rng.normal() * 4 + 3, 1.0 + 1e-3 * rng.normal(), rng.normal() - 1};
    normalizer.observe(std::span<const double>(x));
  }
  const ObservationScale scale = observation_scale(normalizer);
  CHECK(scale.clip == 2);
  CHECK(scale.deviation[1] == 0.5);
  auto policy = transparent<float>(3, Softmax{.actions = 3}, {.observations = scale});
  for (int i = 0; i < 100; ++i) {
    const std::vector<float> x = random_observation<float>(3, rng);
    std::vector<float> expected = x;
    normalizer.apply(std::span(expected));
    const auto seen = policy.outputs(x);
    CHECK(std::vector(seen.begin(), seen.end()) == expected);
  }
  std::vector<float> x{-5.0F, 1.5F, 7.0F};
  const auto only_cut = unstarted.outputs(x);
  CHECK(std::vector(only_cut.begin(), only_cut.end()) == std::vector{-2.0F, 1.5F, 2.0F});
}

TEST_CASE("A copy acts alone, and a StaticMlp is taken as well") {
  Rng rng{13};
  const StaticMlp<float, 3, 8, 2> net(Activation::tanh);
  std::vector<float> theta(net.parameter_count());
  net.initialize(theta, rng);
  auto original = std::make_unique<SavedPolicy<float>>(net, theta, Softmax{.actions = 2});
  const auto x = random_observation<float>(3, rng);
  const auto y = original->outputs(x);
  const std::vector<float> expected(y.begin(), y.end());
  SavedPolicy<float> copy = *original;
  original.reset();
  const auto z = copy.outputs(x);
  CHECK(std::vector(z.begin(), z.end()) == expected);
  CHECK(std::vector(copy.theta().begin(), copy.theta().end()) == theta);
}

TEST_CASE("A dueling network is a plain one whose last layer combines the two") {
  Rng rng{19};
  for (const bool layer_norm : {false, true})
    for (const auto& [actions, atoms, hidden] : {std::array{2, 1, 6}, std::array{3, 5, 6}, std::array{1, 2, 0}}) {
      CAPTURE(actions, atoms, hidden);
      std::vector<int> sizes{4, (1 + actions) * atoms};
      if (hidden > 0) sizes.insert(sizes.begin() + 1, hidden);
      const Dueling net(Mlp<double>(sizes, Activation::tanh, {.layer_norm = layer_norm}), actions, atoms);
      const auto theta = random_theta(net.inner(), rng);
      const auto plain = without_dueling(net, theta);
      CHECK(plain.network.output_size() == actions * atoms);
      SavedPolicy<double> policy(plain.network, plain.theta, Softmax{.actions = actions * atoms});
      Dueling<Mlp<double>>::Tape tape;
      for (int trial = 0; trial < 5; ++trial) {
        const auto x = random_observation<double>(4, rng);
        const auto expected = net.forward(theta, Outputs<double>(x.data(), 4, 1), tape);
        const auto seen = policy.outputs(x);
        for (std::size_t i = 0; i < seen.size(); ++i)
          CHECK(seen[i] == close(expected(static_cast<Eigen::Index>(i), 0), 1e-13, 1e-13));
      }
    }
  const Dueling bent(Mlp<double>({4, 3}, relu, {.output = relu}), 2);
  CHECK(
      says(message_of([&] { without_dueling(bent, std::vector<double>(15)); }), "without_dueling", "relu", "identity"));
  CHECK(says(message_of([&] { without_dueling(bent, std::vector<double>(14)); }), "theta has 14", "expected 15"));
}

TEST_CASE("SavedPolicy refuses what does not fit, and says what was seen and expected", "[F5]") {
  const Mlp<double> net({3, 4}, relu);
  std::vector<double> theta(net.parameter_count(), 0.5);
  const auto refuses = [&](PolicyHead head, SavedPolicyOptions options, auto... words) {
    CHECK(says(message_of([&] { SavedPolicy<double>(net, theta, head, options); }), "SavedPolicy", words...));
  };
  refuses(GreedyValues{.actions = 3}, {}, "4 outputs", "expected 3");
  refuses(GreedyValues{.actions = 3, .atoms = {1, 2}}, {}, "4 outputs", "expected 6");
  refuses(GreedyValues{.actions = 2, .atoms = {1, poison}}, {}, "atoms[1]", "nan");
  refuses(GreedyValues{.actions = 0}, {}, "actions is 0");
  refuses(GreedyValues{.actions = 4, .logits = true}, {}, "logits", "atoms");
  refuses(Softmax{.actions = 5}, {}, "4 outputs", "expected 5");
  refuses(Softmax{.actions = 4}, {.log_std = {0.0}}, "log_std", "no Gaussian");
  refuses(ClippedGaussian{box({{-1, 1}, {2, 1}})}, {}, "action[1]", "2", "1");
  refuses(ClippedGaussian{box({{-1, 1}, {poison, 1}})}, {}, "action[1]", "nan");
  refuses(ClippedGaussian{box({{-1, 1}, {0, 1}}), {.min_log_std = 1, .max_log_std = 0}}, {}, "min_log_std is 1");
  refuses(ClippedGaussian{box({{-1, 1}, {0, 1}})}, {.log_std = {0, 0}}, "4 outputs", "expected 2");
  refuses(ClippedGaussian{box({{-1, 1}, {0, 1}})}, {.log_std = {0}}, "log_std has 1", "expected 2");
  refuses(SquashedGaussian<Vector<double>>{box({{-1, 1}, {0, infinity}})}, {}, "action[1]", "inf");
  refuses(Deterministic<Vector<double>>{box({{-1, 1}, {0, 1}, {0, infinity}, {0, 1}})}, {}, "action[2]", "inf");
  refuses(Softmax{.actions = 4}, {.observations = {.mean = {1, 2}, .deviation = {1, 2}}}, "mean has 2", "expected 3");
  refuses(Softmax{.actions = 4}, {.observations = {.mean = {1, 2, 3}}}, "deviation has 0", "expected 3");
  refuses(Softmax{.actions = 4}, {.observations = {.mean = {1, 2, 3}, .deviation = {1, 0, 1}}}, "deviation", "is 0");
  refuses(Softmax{.actions = 4}, {.observations = {.clip = 0}}, "clip is 0");
  refuses(Softmax{.actions = 4}, {.observations = {.clip = poison}}, "clip is nan");
  theta[2] = infinity;
  refuses(Softmax{.actions = 4}, {}, "theta[2]", "inf");
  theta.pop_back();
  refuses(Softmax{.actions = 4}, {}, "theta has 15", "expected 16");
}

TEST_CASE("A saved policy refuses observations and outputs that aren't finite, and the other kind of action", "[N7]") {
  auto policy = transparent<float>(2, Softmax{.actions = 2});
  std::array<float, 2> a{7, 8};
  CHECK(says(message_of([&] { policy.act(std::vector{1.0F, static_cast<float>(poison)}); }), "observation[1]", "nan"));
  CHECK(says(message_of([&] { policy.act(std::vector{1.0F}); }), "observation has 1", "expected 2"));
  CHECK(says(message_of([&] { policy.act(std::vector{1.0F, 2.0F}, std::span<float>(a)); }), "one of 2"));
  CHECK(says(message_of([&] { policy.action_values(std::vector{1.0F, 2.0F}); }), "GreedyValues"));
  CHECK(a == std::array{7.0F, 8.0F});

  auto clipped = transparent<float>(1, Deterministic<Vector<double>>{box({{-1, 1}})}, {.observations = {.clip = 1}});
  const std::array<float, 1> infinite{static_cast<float>(infinity)};  // a cut would hide it
  std::array<float, 1> out{7};
  CHECK(says(message_of([&] { clipped.act(infinite, out); }), "observation[0]", "inf"));
  CHECK(says(message_of([&] { clipped.act(std::array{1.0F}, std::span(a)); }), "action has 2", "expected 1"));
  CHECK(says(message_of([&] { clipped.act(std::array{1.0F}); }), "vectors of 1"));
  CHECK(out[0] == 7);

  const Mlp<float> net({1, 1}, relu);
  SavedPolicy<float> overflows(net, std::array{3e38F, 0.0F}, Softmax{.actions = 1});
  CHECK(says(message_of([&] { overflows.act(std::array{10.0F}); }), "output[0]", "inf"));
  SavedPolicy<float> scaled(net, std::array{1.0F, 0.0F}, Softmax{.actions = 1},
                            {.observations = {.mean = {0}, .deviation = {1e-10}}});
  CHECK(says(message_of([&] { scaled.act(std::array{1e35F}); }), "scaled observation[0]", "inf"));
}

TEST_CASE("A saved policy allocates when it is made, and never again") {
  Rng rng{1};
  const auto observation = random_observation<float>(5, rng);
  const ObservationScale scale{{1, 2, 3, 4, 5}, {5, 4, 3, 2, 1}, 10};
  std::array<float, 2> action{};
  const std::array mask{true, false};
  const auto check = [&](int outputs, PolicyHead head, std::vector<double> log_std = {}) {
    CAPTURE(head.index(), outputs);
    const Mlp<float> net({5, 33, 64, outputs}, gelu, {.layer_norm = true});
    SavedPolicy<float> policy(net, random_theta(net, rng), std::move(head), {scale, std::move(log_std)});
    const bool samples = policy.head().index() != 0 && policy.head().index() != 4;
    const Allocations allocations;
    for (int i = 0; i < 3; ++i) {
      if (policy.discrete()) {
        policy.act(observation, mask);
        if (samples) policy.sample(observation, rng, mask);
      } else {
        policy.act(observation, std::span(action));
        if (samples) policy.sample(observation, rng, std::span(action));
      }
    }
    CHECK(allocations.count() == 0);
  };
  check(2, GreedyValues{.actions = 2});
  check(14, GreedyValues{.actions = 2, .atoms = {1, 2, 3, 4, 5, 6, 7}, .logits = true});
  check(14, GreedyValues{.actions = 2, .atoms = {1, 2, 3, 4, 5, 6, 7}});
  check(2, Softmax{.actions = 2});
  check(4, ClippedGaussian{box({{-1, 1}, {-2, infinity}})});
  check(2, ClippedGaussian{box({{-1, 1}, {-2, infinity}})}, {0, 1});
  check(4, SquashedGaussian<Vector<double>>{box({{-1, 1}, {-2, 3}})});
  check(2, Deterministic<Vector<double>>{box({{-1, 1}, {-infinity, infinity}})});
}
