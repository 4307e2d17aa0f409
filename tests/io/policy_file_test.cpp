// Saved policies in files: what is written is read back to the last bit, in every locale; what is damaged or does not
// fit is refused in words.
#include <array>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "io/files.hpp"
#include "io/mutations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/io/policy_file.hpp"

// A program that loads a policy and acts includes nothing that learns: these are complete only where somebody includes
// them.
namespace valence {
struct Adam;
}  // namespace valence

using namespace valence;
using valence::test::content_of;
using valence::test::DecimalComma;
using valence::test::message_of;
using valence::test::mutate;
using valence::test::says;
using valence::test::TemporaryFolder;

namespace {

template <class T>
concept Complete = requires { sizeof(T); };
static_assert(!Complete<Adam>);

constexpr double infinity = std::numeric_limits<double>::infinity();

Box<Vector<double>> box(double low0, double high0, double low1, double high1) {
  Box<Vector<double>> b{Vector<double>(2), Vector<double>(2)};
  b.low << low0, low1;
  b.high << high0, high1;
  return b;
}

template <class S>
SavedPolicy<S> policy_of(PolicyHead head, int outputs, SavedPolicyOptions options = {}, MlpOptions network = {},
                         Activation hidden = relu) {
  Rng rng{17};
  const Mlp<S> net({3, 5, 7, outputs}, hidden, network);
  std::vector<S> theta(net.parameter_count());
  net.initialize(theta, rng);
  for (S& x : theta) x += static_cast<S>(0.1 * rng.normal());
  theta[0] = std::numeric_limits<S>::denorm_min();
  theta[1] = S(-0.0);
  return SavedPolicy<S>(net, theta, std::move(head), std::move(options));
}

/// One of each head, with all that it may have.
template <class S>
std::vector<SavedPolicy<S>> one_of_each() {
  const ObservationScale scale{{0.1, -2, 1e-300}, {1.0 / 3, 2, 1e9}, 10};
  std::vector<SavedPolicy<S>> all;
  all.push_back(policy_of<S>(GreedyValues{.actions = 2}, 2));
  all.push_back(policy_of<S>(GreedyValues{.actions = 2, .atoms = {-1, 0.1, 2}, .logits = true}, 6,
                             {.observations = scale}, {.layer_norm = true, .output = gelu}, silu));
  all.push_back(policy_of<S>(Softmax{.actions = 4}, 4, {.observations = {.clip = 0.3}}, {}, Activation::identity));
  all.push_back(policy_of<S>(ClippedGaussian{box(-1, 0.1, -infinity, infinity), {.min_log_std = -20, .max_log_std = 2}},
                             4, {}, {}, Activation::tanh));
  all.push_back(policy_of<S>(ClippedGaussian{box(-1, 0.1, -infinity, 3)}, 2, {.log_std = {-0.1, 1.0 / 3}}));
  all.push_back(policy_of<S>(SquashedGaussian<Vector<double>>{box(-2, 2, 0.1, 0.7), {.min_log_std = -20}}, 4));
  all.push_back(
      policy_of<S>(Deterministic<Vector<double>>{box(-2, 2, -infinity, infinity)}, 2, {.observations = scale}));
  return all;
}

/// The content of its file says all of a policy.
template <class S>
std::vector<std::byte> bytes(const SavedPolicy<S>& policy) {
  return policy_tensors(policy).serialize();
}

template <class S>
void same_behaviour(SavedPolicy<S> a, SavedPolicy<S> b) {
  Rng rng{23}, noise_a{29}, noise_b{29};
  REQUIRE(a.discrete() == b.discrete());
  REQUIRE(a.action_size() == b.action_size());
  for (int i = 0; i < 50; ++i) {
    const std::array<S, 3> x{rng.normal<S>(), rng.normal<S>(), rng.normal<S>()};
    const auto ya = a.outputs(x), yb = b.outputs(x);
    REQUIRE(std::vector(ya.begin(), ya.end()) == std::vector(yb.begin(), yb.end()));
    if (a.discrete()) {
      REQUIRE(a.act(x) == b.act(x));
    } else {
      std::array<S, 2> u{}, v{};
      a.act(x, u), b.act(x, v);
      REQUIRE(u == v);
      if (a.head().index() == 4) continue;
      a.sample(x, noise_a, u), b.sample(x, noise_b, v);
      REQUIRE(u == v);
    }
  }
}

/// The content of a good file, changed.
Safetensors changed(const SavedPolicy<float>& policy, const std::map<std::string, std::string>& words,
                    const std::string& without = "") {
  const Safetensors good = policy_tensors(policy);
  Safetensors file;
  for (const auto& [key, value] : good.metadata())
    if (key != without) file.set_metadata(key, value);
  for (const auto& [key, value] : words) file.set_metadata(key, value);
  for (const auto& tensor : good.tensors())
    if (tensor.name != without) file.add_bytes(tensor.name, tensor.dtype, tensor.shape, good.bytes(tensor.name));
  return file;
}
std::string refusal(const Safetensors& file) {
  return message_of([&] { read_policy<float>(file); });
}

}  // namespace

TEMPLATE_TEST_CASE("a policy comes back from its file to the last bit, whatever its head", "[F9]", float, double) {
  const TemporaryFolder folder;
  for (const auto& policy : one_of_each<TestType>()) {
    CAPTURE(policy.head().index());
    save_policy(folder / "policy.safetensors", policy);
    const auto loaded = load_policy<TestType>(folder / "policy.safetensors");
    CHECK(bytes(loaded) == bytes(policy));
    for (std::size_t i = 0; i < policy.theta().size(); ++i) {
      REQUIRE(loaded.theta()[i] == policy.theta()[i]);
      REQUIRE(std::signbit(loaded.theta()[i]) == std::signbit(policy.theta()[i]));
    }
    same_behaviour(policy, loaded);
  }
  CHECK(folder.files() == std::vector<std::string>{"policy.safetensors"});
}

TEST_CASE("a policy's file is the same where the decimal sign is a comma", "[F1]") {
  const auto all = one_of_each<float>();
  std::vector<std::vector<std::byte>> before;
  for (const auto& policy : all) before.push_back(bytes(policy));
  const DecimalComma comma;
  for (std::size_t i = 0; i < all.size(); ++i) {
    CHECK(bytes(all[i]) == before[i]);
    CHECK(bytes(read_policy<float>(Safetensors::parse(before[i]))) == before[i]);
  }
}

TEST_CASE("a policy's file names its network as PyTorch does, and may carry words of others") {
  const auto policy = policy_of<float>(Softmax{.actions = 4}, 4);
  const Safetensors file = policy_tensors(policy);
  CHECK(file.info("network.0.weight").shape == std::vector<std::uint64_t>{5, 3});
  CHECK(file.info("network.4.bias").shape == std::vector<std::uint64_t>{4});
  CHECK(file.metadata().at("policy.sizes") == "3 5 7 4");
  CHECK(refusal(changed(policy, {{"author", "somebody"}})) == "nothing thrown");
}

TEST_CASE("words that are missing, renamed, unknown or wrong are named", "[F8]") {
  const auto greedy = policy_of<float>(GreedyValues{.actions = 2, .atoms = {-1, 0.1, 2}}, 6);
  for (const std::string key : {"policy.format", "policy.sizes", "policy.hidden", "policy.output", "policy.layer_norm",
                                "policy.clip", "policy.head", "policy.actions", "policy.logits"})
    CHECK(says(refusal(changed(greedy, {}, key)), "load_policy", key, "missing"));
  CHECK(says(refusal(changed(greedy, {{"policy.temperature", "1"}})), "policy.temperature", "not known"));
  CHECK(says(refusal(changed(greedy, {{"policy.min_log_std", "1"}})), "policy.min_log_std", "not known"));
  CHECK(says(refusal(changed(greedy, {{"policy.format", "2"}})), "policy.format", "'2'", "expected '1'"));
  CHECK(says(refusal(changed(greedy, {{"policy.hidden", "elu"}})), "policy.hidden", "'elu'", "gelu"));
  CHECK(says(refusal(changed(greedy, {{"policy.layer_norm", "1"}})), "policy.layer_norm", "'1'", "'true'"));
  CHECK(says(refusal(changed(greedy, {{"policy.head", "argmax"}})), "policy.head", "'argmax'", "greedy_values"));
  CHECK(says(refusal(changed(greedy, {{"policy.clip", "ten"}})), "policy.clip", "'ten'", "number"));
  CHECK(says(refusal(changed(greedy, {{"policy.clip", "-1"}})), "clip is -1"));
  CHECK(says(refusal(changed(greedy, {{"policy.actions", "2.5"}})), "policy.actions", "'2.5'"));
  CHECK(says(refusal(changed(greedy, {{"policy.actions", "3"}})), "6 outputs", "expected 9"));
  CHECK(says(refusal(changed(greedy, {{"policy.actions", "2147483647"}})), "6 outputs", "expected 6442450941"));
  for (const std::string sizes :
       {"", "3", "3 5  7 6", "3 5 7 6 ", "3,5,7,6", "3 -5 7 6", "3 0 7 6", "3 5 7 99999999999"})
    CHECK(says(refusal(changed(greedy, {{"policy.sizes", sizes}})), "policy.sizes", "'" + sizes + "'"));
  CHECK(says(refusal(Safetensors{}), "policy.*", "save_policy"));
}

TEST_CASE("tensors that are missing, unknown, or of another shape or type are named", "[F8]") {
  const auto policy = policy_of<float>(ClippedGaussian{box(-1, 1, -2, infinity)}, 2,
                                       {.observations = {{1, 2, 3}, {4, 5, 6}, 7}, .log_std = {0, 1}});
  for (const std::string name :
       {"network.2.weight", "observation.mean", "observation.deviation", "head.low", "head.high"})
    CHECK(says(refusal(changed(policy, {}, name)), name));
  CHECK(says(refusal(changed(policy, {}, "head.log_std")), "2 outputs", "expected 4"));
  CHECK(says(refusal(changed(policy, {{"policy.sizes", "3 7 5 2"}})), "network.0.weight", "[5, 3]", "[7, 3]"));
  auto more = changed(policy, {});
  more.add<double>("head.atoms", std::vector{1.0});
  CHECK(says(refusal(more), "head.atoms", "clipped_gaussian"));
  auto other = changed(policy, {}, "network.4.bias");
  other.add<float>("network.4.bias", std::vector{1.0F, std::numeric_limits<float>::quiet_NaN()});
  CHECK(says(refusal(other), "network.4.bias", "nan"));
  auto integers = changed(policy, {}, "head.low");
  integers.add<float>("head.low", std::vector{-1.0F, -2.0F});
  CHECK(says(refusal(integers), "head.low", "F32", "expected F64"));
  CHECK(says(message_of([&] { read_policy<double>(policy_tensors(policy)); }), "network.0.weight", "F32",
             "expected F64"));
}

TEST_CASE("sizes that the file has no numbers for ask for no memory", "[F11]") {
  const auto policy = policy_of<float>(Softmax{.actions = 4}, 4);
  const auto refuses = [&](const std::string& sizes, auto... words) {
    CHECK(says(refusal(changed(policy, {{"policy.sizes", sizes}})), words...));
  };
  refuses("2000000000 2000000000 2000000000 4", "policy.sizes", "2^48");
  refuses("3 2147483647 2147483647 2147483647 2147483647 2147483647 2147483647 4", "policy.sizes", "2^48");
  refuses("3 2000000 2000000 4", "94 numbers", "expected 4000018000004", "policy.sizes");
  refuses("3 5 7 4 7 7 7", "no tensor", "network.6.weight");
}

TEST_CASE("a file that is cut off or has a flipped bit is refused", "[F10]") {
  const TemporaryFolder folder;
  const auto policy = policy_of<float>(Softmax{.actions = 4}, 4, {.observations = {{1, 2, 3}, {4, 5, 6}, 7}});
  save_policy(folder / "good", policy);
  const std::string good = content_of(folder / "good");
  const auto parse = [](const std::string& text) {
    return read_policy<float>(Safetensors::parse(std::as_bytes(std::span(text))));
  };
  CHECK(bytes(parse(good)) == bytes(policy));
  for (std::size_t size = 0; size < good.size(); ++size) REQUIRE_THROWS_AS(parse(good.substr(0, size)), Error);
  for (std::size_t bit = 0; bit < 8 * good.size(); bit += bit < 2048 ? 1 : 13) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    bool same = false;  // padding of the header means nothing: there a flip may turn one blank into another
    try {
      same = bytes(parse(bad)) == bytes(policy);
    } catch (const Error&) { same = true; }
    REQUIRE(same);
  }
}

TEST_CASE("whatever a file says: a policy or an Error") {
  std::vector<std::string> seeds;
  for (const auto& policy : one_of_each<float>()) {
    const auto content = policy_tensors(policy).serialize({.checksum = false});
    seeds.emplace_back(reinterpret_cast<const char*>(content.data()), content.size());
  }
  std::size_t good = 0, bad = 0;
  mutate(seeds, 6000, [&](const std::string& text) {
    try {
      auto policy = read_policy<float>(Safetensors::parse(std::as_bytes(std::span(text))));
      CHECK(policy.action_size() > 0);
      ++good;
    } catch (const Error&) { ++bad; }
  });
  CHECK(good > 100);
  CHECK(bad > 100);
}
