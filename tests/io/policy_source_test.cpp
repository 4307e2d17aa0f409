// Policies as plain C++: the source is compiled by the compiler that is found, under the strictest flags, and must take
// the same actions as the policy that it was written from.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/files.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/io/policy_source.hpp"

using namespace valence;
using valence::test::content_of;
using valence::test::DecimalComma;
using valence::test::message_of;
using valence::test::says;
using valence::test::TemporaryFolder;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int inputs = 5, trials = 1000;

// Where this program itself contracts products and sums, its tanh and exp differ from the source's in their last bits.
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(__aarch64__)
constexpr bool contracts = true;
#else
constexpr bool contracts = false;
#endif

#if defined(VALENCE_TEST_COMPILER)
const std::string compiler = VALENCE_TEST_COMPILER;
#else
const std::string compiler = "c++";
#endif

bool runs(const std::string& command) { return std::system(command.c_str()) == 0; }

/// A compiler that takes GCC's options, and makes programs that run here.
bool compiler_found() {
  static const bool found = runs(fmt::format("'{}' --version >/dev/null 2>&1", compiler));
  if (!found) WARN("skipped: '" + compiler + "' isn't there, or isn't like GCC, so no source can be compiled");
  return found;
}

/// Compiles a program, and says all that the compiler says.
void compiles(const TemporaryFolder& folder, const std::string& file, const std::string& options,
              const std::string& program) {
  const std::string log = (folder / "log").string();
  const bool good =
      runs(fmt::format("'{}' -std=c++17 {} -I '{}' '{}' -o '{}' >'{}' 2>&1", compiler, options, folder.path().string(),
                       (folder / file).string(), (folder / program).string(), log));
  INFO(content_of(log).substr(0, 4000));
  REQUIRE(good);
}
constexpr std::string_view strict =
    "-fno-exceptions -fno-rtti -Wall -Wextra -Wpedantic -Wconversion -Wdouble-promotion -Wshadow -Werror";

Box<Vector<double>> box(double low0, double high0, double low1, double high1) {
  Box<Vector<double>> b{Vector<double>(2), Vector<double>(2)};
  b.low << low0, low1;
  b.high << high0, high1;
  return b;
}

struct Network {
  std::vector<int> hidden;
  Activation activation = relu;
  MlpOptions options = {};
};

template <class S>
SavedPolicy<S> policy_of(const Network& network, PolicyHead head, int outputs, SavedPolicyOptions options = {}) {
  Rng rng{31};
  std::vector<int> sizes{inputs};
  sizes.insert(sizes.end(), network.hidden.begin(), network.hidden.end());
  sizes.push_back(outputs);
  const Mlp<S> net(sizes, network.activation, network.options);
  std::vector<S> theta(net.parameter_count());
  net.initialize(theta, rng);
  for (S& x : theta) x += static_cast<S>(0.2 * rng.normal());
  theta[0] = std::numeric_limits<S>::denorm_min(), theta[1] = S(-0.0), theta[2] = 1;
  return SavedPolicy<S>(net, theta, std::move(head), std::move(options));
}

/// Every head, activation and scale. `exact`: of relu and identity alone.
template <class S>
struct Case {
  SavedPolicy<S> policy;
  bool exact;
};
template <class S>
std::vector<Case<S>> cases() {
  const ObservationScale scale{{0.1, -2, 1e-9, 0, 1}, {1.0 / 3, 2, 1, 0.7, 2}, 2};
  const Network plain{{16, 9}};
  std::vector<double> atoms(11);
  for (std::size_t k = 0; k < atoms.size(); ++k) atoms[k] = -1 + 0.3 * static_cast<double>(k * k) / 7;
  using Squashed = SquashedGaussian<Vector<double>>;
  using Limited = Deterministic<Vector<double>>;
  std::vector<Case<S>> all;
  const auto add = [&](bool exact, const Network& network, PolicyHead head, int outputs,
                       SavedPolicyOptions options = {}) {
    all.push_back({policy_of<S>(network, std::move(head), outputs, std::move(options)), exact});
  };
  add(true, plain, GreedyValues{.actions = 3}, 3);
  add(true, {{}}, GreedyValues{.actions = 4}, 4, {.observations = scale});
  add(true, plain, GreedyValues{.actions = 3, .atoms = atoms}, 33, {.observations = {.clip = 0.5}});
  add(false, plain, GreedyValues{.actions = 3, .atoms = atoms, .logits = true}, 33);
  add(true, {{12}, relu, {.layer_norm = true}}, Softmax{.actions = 4}, 4, {.observations = scale});
  add(false, {{12, 4, 7}, silu, {.layer_norm = true}}, Softmax{.actions = 4}, 4);
  add(false, {{12, 33}, gelu}, Softmax{.actions = 4}, 4);
  add(true, plain, ClippedGaussian{box(-0.3, 0.1, -infinity, infinity)}, 4, {.observations = scale});
  add(true, {{8}, Activation::identity}, ClippedGaussian{box(-0.3, infinity, -infinity, 0.2)}, 2, {.log_std = {1, 2}});
  add(false, {{32}, gelu, {.output = Activation::gelu}}, ClippedGaussian{box(-99, 99, -99, 99)}, 4);
  add(false, {{32, 5}, silu, {.output = Activation::silu}}, ClippedGaussian{box(-99, 99, -99, 99)}, 4);
  add(false, {{32}, Activation::tanh, {.layer_norm = true, .output = Activation::tanh}},
      ClippedGaussian{box(-99, 99, -99, 99)}, 4);
  add(false, plain, Squashed{box(-2, 3, 0.1, 0.7), {.min_log_std = -20}}, 4);
  add(false, {{16}, Activation::tanh}, Limited{box(-2, 3, -infinity, infinity)}, 2, {.observations = scale});
  return all;
}

/// Observations of every size, some of them not finite in the end.
template <class S>
std::vector<S> observations() {
  Rng rng{41};
  std::vector<S> x(static_cast<std::size_t>(inputs * trials));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<S>(rng.normal() * std::pow(10, rng.uniform(-3, 2.5)));
  return x;
}

/// Runs the source of all cases on all observations: `a` actions for each, as numbers.
template <class S>
std::vector<std::vector<double>> actions_of_source(std::vector<Case<S>>& all, const std::vector<S>& x,
                                                   const std::string& options) {
  const TemporaryFolder folder;
  const std::string type = std::is_same_v<S, float> ? "float" : "double";
  std::string includes = "#include <cstdio>\n", body;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string name = fmt::format("policy_{}", i);
    save_policy_source(folder / (name + ".hpp"), all[i].policy, {.name = name});
    includes += fmt::format("#include \"{}.hpp\"\n", name);
    if (all[i].policy.discrete())
      body += fmt::format("    out[0] = {}::act(x), std::fwrite(out, sizeof(double), 1, to);\n", name);
    else
      body += fmt::format(
          "    {}::act(x, a), out[0] = double(a[0]), out[1] = double(a[1]), std::fwrite(out, sizeof(double), 2, to);\n",
          name);
  }
  folder.with("main.cpp", fmt::format(R"({}
int main(int, char** files) {{
  std::FILE* from = std::fopen(files[1], "rb");
  std::FILE* to = std::fopen(files[2], "wb");
  {} x[{}], a[2];
  double out[2];
  while (std::fread(x, sizeof(x), 1, from) == 1) {{
{}  }}
  return std::fclose(to);
}}
)",
                                      includes, type, inputs, body));
  compiles(folder, "main.cpp", options, "main");
  folder.with("x", std::string_view(reinterpret_cast<const char*>(x.data()), x.size() * sizeof(S)));
  REQUIRE(runs(
      fmt::format("'{}' '{}' '{}'", (folder / "main").string(), (folder / "x").string(), (folder / "y").string())));
  const std::string y = content_of(folder / "y");
  std::vector<std::vector<double>> actions(all.size());
  std::size_t at = 0;
  for (int t = 0; t < trials; ++t)
    for (std::size_t i = 0; i < all.size(); ++i)
      for (int k = 0; k < (all[i].policy.discrete() ? 1 : 2); ++k, at += sizeof(double)) {
        REQUIRE(at + sizeof(double) <= y.size());
        std::memcpy(&actions[i].emplace_back(), y.data() + at, sizeof(double));
      }
  CHECK(at == y.size());
  return actions;
}

template <class S>
void same_actions(const std::string& options) {
  CAPTURE(options, compiler);
  auto all = cases<S>();
  const auto x = observations<S>();
  const auto source = actions_of_source(all, x, options);
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto& policy = all[i].policy;
    CAPTURE(i);
    std::vector<int> seen(static_cast<std::size_t>(policy.action_size()));
    std::vector<S> a(seen.size());
    for (std::size_t t = 0; t < trials; ++t) {
      const auto observation = std::span(x).subspan(t * inputs, inputs);
      if (policy.discrete()) {
        const int expected = policy.act(observation);
        REQUIRE(source[i][t] == expected);
        ++seen[static_cast<std::size_t>(expected)];
        continue;
      }
      policy.act(observation, a);
      for (std::size_t k = 0; k < 2; ++k) {
        const double expected = static_cast<double>(a[k]);
        if (all[i].exact || !contracts)
          REQUIRE(source[i][2 * t + k] == expected);
        else
          REQUIRE(std::abs(source[i][2 * t + k] - expected) <= 1e-6 * (1 + std::abs(expected)));
      }
    }
    if (policy.discrete()) CHECK(std::ranges::count_if(seen, [](int n) { return n > 20; }) >= 2);  // and not one action
  }
}

}  // namespace

TEMPLATE_TEST_CASE("the source of a policy takes the same actions, to the bit", "[F9]", float, double) {
  if (!compiler_found()) return;
  same_actions<TestType>(std::string(strict));
}

TEST_CASE("the source of a policy is not contracted where the machine could", "[N7]") {
  if (!compiler_found()) return;
  // What GCC does by default, and what Clang refuses to be told otherwise by a file.
  const bool clang = runs(fmt::format("'{}' --version 2>&1 | grep -q clang", compiler));
  same_actions<float>(std::string(strict) + " -O2 -march=native" + (clang ? "" : " -ffp-contract=fast"));
}

TEST_CASE("the source of a policy knows masks, and has no errors to throw") {
  if (!compiler_found()) return;
  const TemporaryFolder folder;
  const Mlp<float> copies({3, 3}, relu);
  const std::vector<float> theta{1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0};
  save_policy_source(folder / "greedy.hpp", SavedPolicy<float>(copies, theta, GreedyValues{.actions = 3}),
                     {.name = "greedy"});
  const Mlp<float> one({1, 1}, relu);
  save_policy_source(
      folder / "limited.hpp",
      SavedPolicy<float>(one, std::array{2.0F, 0.0F}, Deterministic<Vector<double>>{vector_box(Box{-1.0, 1.0})}),
      {.name = "limited"});
  folder.with("second.cpp", "#include \"greedy.hpp\"\nint again(const float* x) { return greedy::act(x); }\n");
  folder.with("main.cpp", R"(#include "greedy.hpp"
#include "greedy.hpp"
#include "limited.hpp"
int again(const float* x);
#define EXPECT(what) if (!(what)) return __LINE__
int main() {
  static_assert(greedy::observation_size == 3 && greedy::action_count == 3 && limited::action_size == 1, "");
  const float x[] = {1, 4, 4}, bad[] = {1, 2, NAN}, endless[] = {1, 2, -INFINITY}, large[] = {3e38f};
  const bool not_one[] = {true, false, true}, none[] = {false, false, false};
  EXPECT(greedy::act(x) == 1 && again(x) == 1);
  EXPECT(greedy::act(x, not_one) == 2);
  EXPECT(greedy::act(x, none) == -1);
  EXPECT(greedy::act(bad) == -1);
  EXPECT(greedy::act(endless) == -1);
  float a[] = {7};
  limited::act(x, a);
  EXPECT(a[0] > 0.96f && a[0] < 0.97f);
  limited::act(large, a);  // its output overflows
  EXPECT(a[0] != a[0]);
  return 0;
}
)");
  compiles(folder, "main.cpp", fmt::format("{} '{}'", strict, (folder / "second.cpp").string()), "main");
  CHECK(runs((folder / "main").string()));

  // Nothing of the run-time library but the functions of <cmath> and memory copies.
  folder.with("alone.cpp",
              "#include \"greedy.hpp\"\n#include \"limited.hpp\"\n"
              "int act_1(const float* x) { return greedy::act(x); }\n"
              "void act_2(const float* x, float* a) { limited::act(x, a); }\n");
  compiles(folder, "alone.cpp", std::string(strict) + " -O2 -c", "alone.o");
  const std::string list = (folder / "symbols").string();
  if (runs(fmt::format("nm -u '{}' >'{}' 2>/dev/null", (folder / "alone.o").string(), list))) {
    const std::string symbols = content_of(list);
    CAPTURE(symbols);
    for (const std::string_view heap : {"malloc", "calloc", "_Zn", "_Zd", "__cxa", "_Unwind", "_ZT", "_ZS"})
      CHECK(symbols.find(heap) == std::string::npos);
  }
}

TEST_CASE("the source of a policy is one text, in every locale, with one include", "[F1]") {
  const auto all = cases<float>();
  std::vector<std::string> before;
  for (const auto& c : all) before.push_back(policy_source(c.policy));
  const DecimalComma comma;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string text = policy_source(all[i].policy);
    CHECK(text == before[i]);
    CHECK(text.find("#include <cmath>") != std::string::npos);
    CHECK(text.find("#include", text.find("#include") + 1) == std::string::npos);
    CHECK(text.find('$') == std::string::npos);
  }
}

TEST_CASE("the name of a policy's source is an identifier") {
  const auto policy = policy_of<float>({}, Softmax{.actions = 2}, 2);
  for (const char* name : {"", "2nd", "a-b", "a::b", "a b", "\xC3\xA9"})
    CHECK(says(message_of([&] { policy_source(policy, {.name = name}); }), "policy_source", "name is"));
  CHECK(policy_source(policy, {.name = "_x2"}).find("namespace _x2 {") != std::string::npos);
}
