// Random numbers: every distribution, one by one (`/valence`) and in blocks (`/valence_block`), next to std::mt19937_64
// with the standard library's distribution (`/std`) in the same run. `ns` is CPU time a number; `std_over_valence` how
// many times longer the standard one takes.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <iterator>
#include <map>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "valence/core/random.hpp"

namespace {

constexpr std::size_t count = 4'096;  // numbers a pass: stays in the first cache

std::map<std::string, double>& standard_seconds() {
  static std::map<std::string, double> seconds;
  return seconds;
}

/// Registers `name/kind`: `pass()` makes `numbers` numbers.
template <class Pass>
void add(const std::string& name, const std::string& kind, std::size_t numbers, Pass pass) {
  benchmark::RegisterBenchmark((name + "/" + kind).c_str(), [=](benchmark::State& state) mutable {
    const std::clock_t start = std::clock();
    for (auto _ : state) pass();
    const double made = static_cast<double>(state.iterations()) * static_cast<double>(numbers);
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC / made;
    state.SetItemsProcessed(static_cast<std::int64_t>(made));
    state.counters["ns"] = seconds * 1e9;
    if (kind == "std")
      standard_seconds()[name] = seconds;
    else if (const auto rival = standard_seconds().find(name); rival != standard_seconds().end())
      state.counters["std_over_valence"] = rival->second / seconds;
  });
}

/// One number at a time into an array, from valence and from the standard library. The standard one is run first, so
/// that the others can print the ratio.
template <class T, class Draw, class Standard>
void compare(const std::string& name, Draw draw, Standard standard) {
  add(name, "std", count, [standard, engine = std::mt19937_64{1}, out = std::vector<T>(count)]() mutable {
    for (T& x : out) x = static_cast<T>(standard(engine));
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  });
  add(name, "valence", count, [draw, rng = valence::Rng{1}, out = std::vector<T>(count)]() mutable {
    for (T& x : out) x = static_cast<T>(draw(rng));
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  });
}

template <class T, class Fill>
void block(const std::string& name, Fill fill) {
  add(name, "valence_block", count, [fill, rng = valence::Rng{1}, out = std::vector<T>(count)]() mutable {
    fill(rng, std::span<T>(out));
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
  });
}

void add_all() {
  using valence::Rng;
  compare<std::uint64_t>(
      "bits", [](Rng& r) { return r(); }, [](auto& e) { return e(); });
  block<std::uint64_t>("bits", [](Rng& r, auto out) { r.fill(out); });

  compare<double>(
      "uniform<double>", [](Rng& r) { return r.uniform(); }, std::uniform_real_distribution<double>{});
  block<double>("uniform<double>", [](Rng& r, auto out) { r.fill_uniform(out); });
  compare<float>(
      "uniform<float>", [](Rng& r) { return r.uniform<float>(); }, std::uniform_real_distribution<float>{});
  block<float>("uniform<float>", [](Rng& r, auto out) { r.fill_uniform(out); });
  compare<double>(
      "uniform(-1, 2)", [](Rng& r) { return r.uniform(-1, 2); }, std::uniform_real_distribution<double>{-1, 2});
  block<double>("uniform(-1, 2)", [](Rng& r, auto out) { r.fill_uniform(out, -1, 2); });
  compare<std::uint32_t>(
      "below(1000)", [](Rng& r) { return r.below(1'000u); }, std::uniform_int_distribution<std::uint32_t>{0, 999});
  block<std::uint32_t>("below(1000)", [](Rng& r, auto out) { r.fill_below(out, 1'000u); });
  compare<std::uint8_t>(
      "bernoulli(0.3)", [](Rng& r) { return r.bernoulli(0.3); }, std::bernoulli_distribution{0.3});

  compare<double>(
      "normal<double>", [](Rng& r) { return r.normal(); }, std::normal_distribution<double>{});
  block<double>("normal<double>", [](Rng& r, auto out) { r.fill_normal(out); });
  compare<float>(
      "normal<float>", [](Rng& r) { return r.normal<float>(); }, std::normal_distribution<float>{});
  block<float>("normal<float>", [](Rng& r, auto out) { r.fill_normal(out); });
  compare<double>(
      "exponential<double>", [](Rng& r) { return r.exponential(); }, std::exponential_distribution<double>{});
  block<double>("exponential<double>", [](Rng& r, auto out) { r.fill_exponential(out); });
  compare<double>(
      "gumbel", [](Rng& r) { return r.gumbel(); }, std::extreme_value_distribution<double>{});
  compare<double>(
      "gamma(2.5)", [](Rng& r) { return r.gamma(2.5); }, std::gamma_distribution<double>{2.5});
  compare<double>(
      "gamma(0.3)", [](Rng& r) { return r.gamma(0.3); }, std::gamma_distribution<double>{0.3});
  compare<double>(
      "beta(2, 3)", [](Rng& r) { return r.beta(2, 3); },
      [a = std::gamma_distribution<double>{2}, b = std::gamma_distribution<double>{3}](auto& e) mutable {
        const double x = a(e);
        return x / (x + b(e));
      });

  compare<std::uint64_t>(
      "geometric(0.2)", [](Rng& r) { return r.geometric(0.2); }, std::geometric_distribution<int>{0.2});
  compare<std::uint64_t>(
      "poisson(4)", [](Rng& r) { return r.poisson(4); }, std::poisson_distribution<int>{4});
  compare<std::uint64_t>(
      "poisson(123.4)", [](Rng& r) { return r.poisson(123.4); }, std::poisson_distribution<int>{123.4});
  compare<std::uint64_t>(
      "binomial(20, 0.3)", [](Rng& r) { return r.binomial(20, 0.3); }, std::binomial_distribution<int>{20, 0.3});
  compare<std::uint64_t>(
      "binomial(1000, 0.6)", [](Rng& r) { return r.binomial(1'000, 0.6); },
      std::binomial_distribution<int>{1'000, 0.6});

  for (const std::size_t categories : {4u, 1'000u}) {
    std::vector<double> weights(categories), logits(categories);
    Rng{2}.fill_uniform(weights);
    Rng{2}.fill_normal(logits);
    const std::string size = " of " + std::to_string(categories);
    const std::discrete_distribution<std::size_t> standard(weights.begin(), weights.end());
    compare<std::size_t>(
        "alias table" + size, [table = valence::AliasTable(weights)](Rng& r) { return table(r); }, standard);
    block<std::size_t>("alias table" + size,
                       [table = valence::AliasTable(weights)](Rng& r, auto out) { table.fill(r, out); });
    // Weights that change with every draw: the standard way builds a distribution for each.
    compare<std::size_t>(
        "categorical" + size, [weights](Rng& r) { return r.categorical(weights); },
        [weights](auto& e) { return std::discrete_distribution<std::size_t>(weights.begin(), weights.end())(e); });
    if (categories < 100)
      compare<std::size_t>(
          "categorical_logits" + size, [logits](Rng& r) { return r.categorical_logits(logits); },
          [logits](auto& e) {
            std::vector<double> p(logits);
            for (double& x : p) x = std::exp(x);
            return std::discrete_distribution<std::size_t>(p.begin(), p.end())(e);
          });
  }

  std::vector<std::uint32_t> items(count);
  std::iota(items.begin(), items.end(), 0u);
  add("shuffle of 4096", "std", count, [items, engine = std::mt19937_64{1}]() mutable {
    std::shuffle(items.begin(), items.end(), engine);
    benchmark::DoNotOptimize(items.data());
  });
  add("shuffle of 4096", "valence", count, [items, rng = valence::Rng{1}]() mutable {
    rng.shuffle(items);
    benchmark::DoNotOptimize(items.data());
  });
  add("64 of 4096", "std", 64, [items, engine = std::mt19937_64{1}]() mutable {
    std::vector<std::uint32_t> chosen;
    std::sample(items.begin(), items.end(), std::back_inserter(chosen), 64, engine);
    benchmark::DoNotOptimize(chosen.data());
  });
  add("64 of 4096", "valence", 64, [rng = valence::Rng{1}]() mutable {
    auto chosen = rng.sample(count, 64);
    benchmark::DoNotOptimize(chosen.data());
  });
  // A stream for each sample, thread or episode, against seeding an engine.
  add("new stream and first output", "std", 1, [seed = std::uint64_t{0}]() mutable {
    std::mt19937_64 engine{++seed};
    benchmark::DoNotOptimize(engine());
  });
  add("new stream and first output", "valence", 1, [rng = valence::Rng{1}, i = std::uint64_t{0}]() mutable {
    auto child = rng.split(++i);
    benchmark::DoNotOptimize(child());
  });
}

}  // namespace

int main(int argc, char** argv) {
  add_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
