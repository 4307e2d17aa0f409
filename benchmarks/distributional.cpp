// Return distributions, CPU time: the projection of C51 (ns an atom), the quantile Huber loss (a batch) and the HL-Gauss
// and two-hot targets (ns a bin) through the public interface, checks of the input included, next to the loops that one
// would write by hand (`peer:`), in one run. `limit:stream` reads and writes the same arrays and does nothing else.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "valence/core/elementary.hpp"
#include "valence/core/lanes.hpp"
#include "valence/core/random.hpp"
#include "valence/distributional/categorical.hpp"
#include "valence/distributional/concepts.hpp"
#include "valence/distributional/hl_gauss.hpp"
#include "valence/distributional/projection.hpp"
#include "valence/distributional/quantile.hpp"
#include "valence/distributional/two_hot.hpp"

namespace {

using valence::Outputs;
using valence::OutputsGradient;

constexpr double low = -10, high = 10;

template <class Pass>
void add(const std::string& name, std::size_t items, Pass pass) {
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
    auto run = pass();
    run();
    for (auto _ : state) {
      run();
      benchmark::ClobberMemory();
    }
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(items));
  });
}

// ---------------------------------------------------------------- C51

template <class S>
struct Laws {
  std::size_t atoms, batch;
  std::vector<S> p, out, reward, discount;

  Laws(std::size_t atoms_, std::size_t batch_)
      : atoms(atoms_), batch(batch_), p(atoms * batch), out(atoms * batch), reward(batch), discount(batch) {
    valence::Rng rng{3};
    for (std::size_t j = 0; j < batch; ++j) {
      double sum = 0;
      for (std::size_t k = 0; k < atoms; ++k) {
        p[j * atoms + k] = static_cast<S>(rng.uniform());
        sum += static_cast<double>(p[j * atoms + k]);
      }
      for (std::size_t k = 0; k < atoms; ++k) p[j * atoms + k] /= static_cast<S>(sum);
      reward[j] = static_cast<S>(rng.uniform(-1, 1));
      discount[j] = rng.uniform() < 0.1 ? S(0) : S(0.99);
    }
  }
  Outputs<S> columns() const { return {p.data(), Eigen::Index(atoms), Eigen::Index(batch)}; }
  OutputsGradient<S> results() { return {out.data(), Eigen::Index(atoms), Eigen::Index(batch)}; }
  valence::Support support() const { return {.atoms = int(atoms), .min = low, .max = high}; }
};

template <class S>
[[gnu::noinline]] void project(Laws<S>& d) {
  valence::project_bellman_columns(d.support(), d.columns(), d.reward, d.discount, d.results());
}

/// Atom after atom, as one writes it.
template <class S>
[[gnu::noinline]] void project_plain(Laws<S>& d) {
  const S step = S(high - low) / S(d.atoms - 1), inverse = S(1) / step;
  std::fill(d.out.begin(), d.out.end(), S(0));
  for (std::size_t i = 0; i < d.batch; ++i)
    for (std::size_t j = 0; j < d.atoms; ++j) {
      const S at = std::min(std::max(d.reward[i] + d.discount[i] * (S(low) + S(j) * step), S(low)), S(high));
      const S b = (at - S(low)) * inverse;
      const auto l = static_cast<std::size_t>(b);
      const S w = b - S(l);
      d.out[i * d.atoms + l] += d.p[i * d.atoms + j] * (S(1) - w);
      d.out[i * d.atoms + std::min(l + 1, d.atoms - 1)] += d.p[i * d.atoms + j] * w;
    }
}

/// 51 atoms, the arithmetic first and then the scatter.
template <class S>
[[gnu::noinline]] void project_split(Laws<S>& d) {
  constexpr std::size_t atoms = 51;
  const S step = S(high - low) / S(atoms - 1), inverse = S(1) / step;
  for (std::size_t i = 0; i < d.batch; ++i) {
    S lower[64], upper[64], sums[atoms + 1] = {};
    int at[64];
    const S* q = d.p.data() + i * atoms;
    const S shift = (d.reward[i] - S(low) + d.discount[i] * S(low)) * inverse, factor = d.discount[i] * step * inverse;
    for (std::size_t j = 0; j < atoms; ++j) {
      const S b = std::min(std::max(shift + S(j) * factor, S(0)), S(atoms - 1));
      at[j] = static_cast<int>(b);
      upper[j] = q[j] * (b - S(at[j]));
      lower[j] = q[j] - upper[j];
    }
    for (std::size_t j = 0; j < atoms; ++j) sums[at[j]] += lower[j], sums[at[j] + 1] += upper[j];
    std::memcpy(d.out.data() + i * atoms, sums, sizeof(S) * atoms);
  }
}

/// From logits, by hand: the softmax in lanes, then `project_split`.
template <class S>
[[gnu::noinline]] void bootstrap_split(Laws<S>& d, Laws<S>& laws) {
  using T = valence::Lanes<S>;
  constexpr std::size_t lanes = valence::lane_count<T>;
  const std::size_t whole = d.atoms / lanes * lanes;
  for (std::size_t i = 0; i < d.batch; ++i) {
    const S* const z = d.p.data() + i * d.atoms;
    S* const q = laws.p.data() + i * d.atoms;
    const S top = *std::max_element(z, z + d.atoms);
    T sums{};
    for (std::size_t k = 0; k < whole; k += lanes) {
      const T e = valence::elementary::exp(valence::load<T>(z + k) - top);
      valence::store<T>(q + k, e);
      sums = sums + e;
    }
    S part[lanes], sum = 0;
    valence::store<T>(part, sums);
    for (const S x : part) sum += x;
    for (std::size_t k = whole; k < d.atoms; ++k) sum += q[k] = valence::elementary::exp(z[k] - top);
    for (std::size_t k = 0; k < d.atoms; ++k) q[k] /= sum;
  }
  project_split(laws);
}

template <class S>
void add_projection(const std::string& type) {
  const std::string name = "c51_projection/" + type + "/51x1024";
  const auto with = [&](const std::string& part, void (*pass)(Laws<S>&)) {
    add(name + part, 51 * 1024, [=] {
      return [d = Laws<S>(51, 1024), pass]() mutable {
        pass(d);
        benchmark::DoNotOptimize(d.out.data());
      };
    });
  };
  with("/peer:plain_loop", project_plain<S>);
  with("/peer:arithmetic_first", project_split<S>);
  with("/limit:stream", [](Laws<S>& d) { std::memcpy(d.out.data(), d.p.data(), d.out.size() * sizeof(S)); });
  with("", project<S>);

  // From logits, as the target of one action: softmax and projection.
  const std::string from_logits = "c51_bootstrap/" + type + "/51x1024";
  add(from_logits + "/peer:lanes_then_scatter", 51 * 1024, [=] {
    return [d = Laws<S>(51, 1024), laws = Laws<S>(51, 1024)]() mutable {
      bootstrap_split(d, laws);
      benchmark::DoNotOptimize(laws.out.data());
    };
  });
  add(from_logits, 51 * 1024, [=] {
    return [d = Laws<S>(51, 1024)]() mutable {
      const valence::CategoricalReturn head{.atoms = 51, .min = low, .max = high};
      for (std::size_t i = 0; i < d.batch; ++i)
        head.bootstrap(std::span<const S>(d.p).subspan(i * d.atoms, d.atoms), d.reward[i], d.discount[i],
                       std::span<S>(d.out).subspan(i * d.atoms, d.atoms));
      benchmark::DoNotOptimize(d.out.data());
    };
  });
}

// ---------------------------------------------------------------- quantile Huber

template <class S>
struct Quantiles {
  std::size_t n, batch;
  std::vector<S> theta, target, gradient;
  std::vector<int> actions;

  Quantiles(std::size_t n_, std::size_t batch_)
      : n(n_), batch(batch_), theta(n * batch), target(n * batch), gradient(n * batch), actions(batch, 0) {
    valence::Rng rng{5};
    for (S& x : theta) x = static_cast<S>(rng.uniform(0, 4));
    for (S& x : target) x = static_cast<S>(rng.uniform(0, 4));
  }
};

template <class S>
[[gnu::noinline]] S quantile_huber(Quantiles<S>& d) {
  const auto rows = Eigen::Index(d.n), columns = Eigen::Index(d.batch);
  std::fill(d.gradient.begin(), d.gradient.end(), S(0));
  return valence::loss_columns(
      valence::QuantileReturn{.quantiles = int(d.n)}, Outputs<S>(d.theta.data(), rows, columns), d.actions,
      Outputs<S>(d.target.data(), rows, columns), OutputsGradient<S>(d.gradient.data(), rows, columns));
}

template <class S>
[[gnu::noinline]] S quantile_huber_plain(Quantiles<S>& d) {
  double total = 0;
  for (std::size_t b = 0; b < d.batch; ++b)
    for (std::size_t i = 0; i < d.n; ++i) {
      const S t = d.theta[b * d.n + i], tau = (S(i) + S(0.5)) / S(d.n);
      S loss = 0, slope = 0;
      const S* y = d.target.data() + b * d.n;
      for (std::size_t j = 0; j < d.n; ++j) {
        const S u = y[j] - t, size = std::abs(u), c = std::min(size, S(1)), w = u < 0 ? 1 - tau : tau;
        loss += w * c * (size - S(0.5) * c);
        slope -= w * std::min(std::max(u, S(-1)), S(1));
      }
      total += static_cast<double>(loss);
      d.gradient[b * d.n + i] = slope / S(d.n * d.batch);
    }
  return static_cast<S>(total / static_cast<double>(d.n * d.batch));
}

/// Targets in order, and prefix sums: time n log n.
template <class S>
[[gnu::noinline]] S quantile_huber_sorted(Quantiles<S>& d) {
  double total = 0;
  const std::size_t n = d.n;
  std::vector<S> y(n);
  std::vector<double> s1(n + 1), s2(n + 1);
  for (std::size_t b = 0; b < d.batch; ++b) {
    std::copy_n(d.target.begin() + std::ptrdiff_t(b * n), n, y.begin());
    std::sort(y.begin(), y.end());
    for (std::size_t j = 0; j < n; ++j) {
      const auto x = static_cast<double>(y[j]);
      s1[j + 1] = s1[j] + x;
      s2[j + 1] = s2[j] + x * x;
    }
    for (std::size_t i = 0; i < n; ++i) {
      const double t = static_cast<double>(d.theta[b * n + i]), tau = (double(i) + 0.5) / double(n);
      const auto below = [&](double v) {
        return std::size_t(std::lower_bound(y.begin(), y.end(), static_cast<S>(v)) - y.begin());
      };
      const std::size_t a = below(t - 1), m = below(t), c = below(t + 1);
      const double far_low = (double(a) * t - s1[a]) - 0.5 * double(a);
      const double near_low = 0.5 * ((s2[m] - s2[a]) - 2 * t * (s1[m] - s1[a]) + double(m - a) * t * t);
      const double near_high = 0.5 * ((s2[c] - s2[m]) - 2 * t * (s1[c] - s1[m]) + double(c - m) * t * t);
      const double far_high = ((s1[n] - s1[c]) - double(n - c) * t) - 0.5 * double(n - c);
      total += (1 - tau) * (far_low + near_low) + tau * (near_high + far_high);
      const double down = double(a) + (double(m - a) * t - (s1[m] - s1[a]));
      const double up = ((s1[c] - s1[m]) - double(c - m) * t) + double(n - c);
      d.gradient[b * n + i] = static_cast<S>(((1 - tau) * down - tau * up) / double(n * d.batch));
    }
  }
  return static_cast<S>(total / static_cast<double>(n * d.batch));
}

template <class S>
void add_quantiles(const std::string& type) {
  const std::string name = "quantile_huber/" + type + "/200x200x256";
  const auto with = [&](const std::string& part, S (*pass)(Quantiles<S>&)) {
    add(name + part, 1,
        [=] { return [d = Quantiles<S>(200, 256), pass]() mutable { benchmark::DoNotOptimize(pass(d)); }; });
  };
  with("/peer:all_pairs_plain", quantile_huber_plain<S>);
  with("/peer:sorted", quantile_huber_sorted<S>);
  with("", quantile_huber<S>);
}

// ---------------------------------------------------------------- classification targets

template <class S>
struct Returns {
  std::size_t bins, batch;
  std::vector<S> value, out, edges;

  Returns(std::size_t bins_, std::size_t batch_)
      : bins(bins_), batch(batch_), value(batch), out(bins * batch), edges(bins + 1) {
    valence::Rng rng{7};
    for (S& x : value) x = static_cast<S>(rng.uniform(-9, 9));
  }
};

template <class S>
[[gnu::noinline]] void hl_gauss(Returns<S>& d) {
  const valence::HlGauss head{.bins = int(d.bins), .min = low, .max = high};
  for (std::size_t j = 0; j < d.batch; ++j) head.encode(d.value[j], std::span<S>(d.out).subspan(j * d.bins, d.bins));
}

/// All edges, the standard library's erf.
template <class S>
[[gnu::noinline]] void hl_gauss_plain(Returns<S>& d) {
  const S width = S(high - low) / S(d.bins), scale = S(1) / (S(0.75) * width * std::sqrt(S(2)));
  for (std::size_t j = 0; j < d.batch; ++j) {
    S* p = d.out.data() + j * d.bins;
    for (std::size_t i = 0; i <= d.bins; ++i) d.edges[i] = std::erf((S(low) + S(i) * width - d.value[j]) * scale);
    const S total = d.edges[d.bins] - d.edges[0];
    for (std::size_t i = 0; i < d.bins; ++i) p[i] = (d.edges[i + 1] - d.edges[i]) / total;
  }
}

/// All edges, this library's erf in lanes.
template <class S>
[[gnu::noinline]] void hl_gauss_lanes(Returns<S>& d) {
  using T = valence::Lanes<S>;
  constexpr std::size_t lanes = valence::lane_count<T>;
  const S width = S(high - low) / S(d.bins), scale = S(1) / (S(0.75) * width * std::sqrt(S(2)));
  const std::size_t padded = (d.bins + lanes) / lanes * lanes;
  d.edges.resize(padded);
  std::vector<S> at(padded);
  for (std::size_t i = 0; i < padded; ++i) at[i] = S(low) + S(i) * width;
  for (std::size_t j = 0; j < d.batch; ++j) {
    S* p = d.out.data() + j * d.bins;
    for (std::size_t i = 0; i < padded; i += lanes)
      valence::store<T>(d.edges.data() + i, valence::erf((valence::load<T>(at.data() + i) - d.value[j]) * scale));
    const S inverse = S(1) / (d.edges[d.bins] - d.edges[0]);
    for (std::size_t i = 0; i < d.bins; ++i) p[i] = (d.edges[i + 1] - d.edges[i]) * inverse;
  }
}

template <class S>
[[gnu::noinline]] void two_hot(Returns<S>& d) {
  const valence::TwoHot head{.atoms = int(d.bins), .min = low, .max = high};
  for (std::size_t j = 0; j < d.batch; ++j) head.encode(d.value[j], std::span<S>(d.out).subspan(j * d.bins, d.bins));
}

template <class S>
[[gnu::noinline]] void two_hot_plain(Returns<S>& d) {
  const S inverse = S(d.bins - 1) / S(high - low);
  std::fill(d.out.begin(), d.out.end(), S(0));
  for (std::size_t j = 0; j < d.batch; ++j) {
    const S b = std::min(std::max((d.value[j] - S(low)) * inverse, S(0)), S(d.bins - 1));
    const auto l = std::min(static_cast<std::size_t>(b), d.bins - 2);
    d.out[j * d.bins + l] = S(1) - (b - S(l));
    d.out[j * d.bins + l + 1] = b - S(l);
  }
}

/// All atoms, in lanes: max(0, 1 - |b - i|).
template <class S>
[[gnu::noinline]] void two_hot_lanes(Returns<S>& d) {
  using T = valence::Lanes<S>;
  constexpr std::size_t lanes = valence::lane_count<T>;
  const S inverse = S(d.bins - 1) / S(high - low);
  const std::size_t whole = d.bins / lanes * lanes;
  d.edges.resize(d.bins);
  for (std::size_t i = 0; i < d.bins; ++i) d.edges[i] = S(i);
  for (std::size_t j = 0; j < d.batch; ++j) {
    const S b = std::min(std::max((d.value[j] - S(low)) * inverse, S(0)), S(d.bins - 1));
    S* const p = d.out.data() + j * d.bins;
    for (std::size_t i = 0; i < whole; i += lanes) {
      const T rest = S(1) - valence::elementary::abs(valence::load<T>(d.edges.data() + i) - b);
      valence::store<T>(p + i, valence::elementary::select(rest > S(0), rest, T{}));
    }
    for (std::size_t i = whole; i < d.bins; ++i) p[i] = std::max(S(0), S(1) - std::abs(d.edges[i] - b));
  }
}

template <class S>
void add_targets(const std::string& type) {
  const auto with = [&](const std::string& name, void (*pass)(Returns<S>&)) {
    add(name, 51 * 1024, [=] {
      return [d = Returns<S>(51, 1024), pass]() mutable {
        pass(d);
        benchmark::DoNotOptimize(d.out.data());
      };
    });
  };
  const std::string smooth = "hl_gauss/" + type + "/51x1024", hot = "two_hot/" + type + "/51x1024";
  with(smooth + "/peer:plain_loop", hl_gauss_plain<S>);
  with(smooth + "/peer:lanes_all_edges", hl_gauss_lanes<S>);
  with(smooth, hl_gauss<S>);
  with(hot + "/peer:plain_loop", two_hot_plain<S>);
  with(hot + "/peer:lanes_all_atoms", two_hot_lanes<S>);
  with(hot + "/limit:stream", [](Returns<S>& d) { std::fill(d.out.begin(), d.out.end(), S(0)); });
  with(hot, two_hot<S>);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  add_projection<float>("float");
  add_projection<double>("double");
  add_quantiles<float>("float");
  add_quantiles<double>("double");
  add_targets<float>("float");
  add_targets<double>("double");
  benchmark::RunSpecifiedBenchmarks();
}
