#pragma once

#include <cstddef>
#include <exception>
#include <utility>
#include <vector>

#include "valence/core/config.hpp"
#include "valence/core/error.hpp"

#if defined(VALENCE_OPENMP) && defined(_OPENMP)
#include <omp.h>

#include <atomic>
#endif

/// Loops over threads, where the user wants them: with `VALENCE_OPENMP` defined and OpenMP enabled in the compiler, the
/// iterations are spread over OpenMP's threads; otherwise they run one after another. The results are the same to the
/// bit either way and for any number of threads, because nothing depends on who computed what: an iteration gets its
/// index (split a generator by it: `rng.split(i)`), and reductions add up fixed chunks in order.
namespace valence {

struct ParallelOptions {
  int threads = 0;  ///< at most so many; 0: as OpenMP decides (OMP_NUM_THREADS). Never changes a result
  std::size_t chunk =
      1;  ///< iterations that belong together, at least 1. Changes the rounding of a reduction, nothing else
};

// Files with and without OpenMP may meet in one program: their loops are different functions (pitfall C10).
#if defined(VALENCE_OPENMP) && defined(_OPENMP)
inline namespace with_openmp {

/// Does `parallel_for` use threads?
inline constexpr bool parallel_enabled = true;

namespace parallel_detail {

/// f(c) for c in [0, chunks). Of the exceptions thrown, the one of the lowest index is rethrown, as if run serially:
/// chunks above the lowest failure so far are skipped, all below it run.
template <class F>
void run_chunks(std::size_t chunks, int threads, F& f) {
  std::exception_ptr error;
  std::atomic<std::size_t> failed{chunks};
  const int team = threads > 0 ? threads : omp_get_max_threads();
  const auto n = static_cast<std::ptrdiff_t>(chunks);
#pragma omp parallel for schedule(dynamic, 1) num_threads(team)
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    const auto c = static_cast<std::size_t>(i);
    if (c > failed.load(std::memory_order_relaxed)) continue;
#if defined(__cpp_exceptions)
    try {
      f(c);
    } catch (...) {
#pragma omp critical(valence_parallel_error)
      {
        if (c < failed.load(std::memory_order_relaxed)) {
          failed.store(c, std::memory_order_relaxed);
          error = std::current_exception();
        }
      }
    }
#else
    f(c);
#endif
  }
  if (error) std::rethrow_exception(error);
}

}  // namespace parallel_detail
#else
inline namespace without_openmp {

/// Does `parallel_for` use threads?
inline constexpr bool parallel_enabled = false;

namespace parallel_detail {

template <class F>
void run_chunks(std::size_t chunks, int, F& f) {
  for (std::size_t c = 0; c < chunks; ++c) f(c);
}

}  // namespace parallel_detail
#endif

/// f(i) for each i in [0, n). Iterations may run at the same time, so they must not write to the same place. If some
/// throw, the exception with the lowest index comes out, after all iterations below it have run (those above it may or
/// may not have). Throws `Error` for options that make no sense.
template <class F>
void parallel_for(std::size_t n, F&& f, const ParallelOptions& options = {}) {
  if (options.chunk == 0) fail("parallel_for", "chunk is 0; expected at least 1");
  if (options.threads < 0) fail("parallel_for", "threads is {}; expected 0 or more", options.threads);
  const std::size_t chunk = options.chunk, chunks = n / chunk + (n % chunk != 0);
  auto body = [&f, n, chunk](std::size_t c) {
    const std::size_t first = c * chunk, last = n - first < chunk ? n : first + chunk;
    for (std::size_t i = first; i < last; ++i) f(i);
  };
  parallel_detail::run_chunks(chunks, options.threads, body);
}

/// combine(... combine(combine(initial, f(0, chunk)), f(chunk, 2 chunk)) ..., the last): `f(first, last)` reduces a
/// range of indices to a value, and the values are combined from left to right. The order depends on n and
/// `options.chunk` alone, so sums have the same bits for any number of threads. Choose the chunk large enough (1000,
/// not 1): one value is kept for each.
///
///     double sum = parallel_reduce(n, 0.0, [&](std::size_t first, std::size_t last) { ... return partial; },
///                                  std::plus<>(), {.chunk = 4096});
template <class T, class F, class Combine>
T parallel_reduce(std::size_t n, T initial, F&& f, Combine&& combine, const ParallelOptions& options) {
  if (options.chunk == 0) fail("parallel_reduce", "chunk is 0; expected at least 1");
  if (options.threads < 0) fail("parallel_reduce", "threads is {}; expected 0 or more", options.threads);
  const std::size_t chunk = options.chunk, chunks = n / chunk + (n % chunk != 0);
  struct Part {  // not a bare T: elements of vector<bool> share bytes
    T value;
  };
  std::vector<Part> parts(chunks, Part{initial});
  auto body = [&](std::size_t c) {
    const std::size_t first = c * chunk, last = n - first < chunk ? n : first + chunk;
    parts[c].value = f(first, last);
  };
  parallel_detail::run_chunks(chunks, options.threads, body);
  T result = std::move(initial);
  for (Part& part : parts) result = combine(std::move(result), std::move(part.value));
  return result;
}

}  // inline namespace
}  // namespace valence
