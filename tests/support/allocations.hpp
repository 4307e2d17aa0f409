#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#if defined(__clang__) && __has_include(<mm_malloc.h>)
#include <mm_malloc.h>  // clang's declares posix_memalign its own way, which must come before the definition below
#endif

/// Counts calls of malloc and its kin (so operator new and Eigen's own allocator too) while a scope lasts:
///
///     Allocations allocations;
///     train_one_step();
///     CHECK(allocations.count() == 0);
///
/// How: the test program defines malloc, calloc, realloc, memalign, aligned_alloc and posix_memalign itself, as
/// forwards to glibc's own entry points; a program's definitions win over the C library's. They are weak, so that
/// several translation units of one program may include this file. Under a sanitizer, which must own malloc, and
/// without glibc nothing is counted: `Allocations::available()` is false, `count()` is 0, and the reason is printed
/// once.

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define VALENCE_TEST_COUNTS_ALLOCATIONS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define VALENCE_TEST_COUNTS_ALLOCATIONS 0
#endif
#endif
#ifndef VALENCE_TEST_COUNTS_ALLOCATIONS
#if defined(__GLIBC__)
#define VALENCE_TEST_COUNTS_ALLOCATIONS 1
#else
#define VALENCE_TEST_COUNTS_ALLOCATIONS 0
#endif
#endif

namespace valence::test {

inline constinit std::atomic<std::size_t> allocation_calls{0};

class Allocations {
 public:
  Allocations() : start_(allocation_calls.load()) {
    if (!available()) {
      static const bool said =
          (std::fputs("allocations are not counted in this build (sanitizer, or no glibc)\n", stderr), true);
      static_cast<void>(said);
    }
  }
  /// Calls since construction, by all threads.
  std::size_t count() const { return allocation_calls.load() - start_; }
  static constexpr bool available() { return VALENCE_TEST_COUNTS_ALLOCATIONS != 0; }

 private:
  std::size_t start_;
};

}  // namespace valence::test

#if VALENCE_TEST_COUNTS_ALLOCATIONS
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

#define VALENCE_TEST_COUNTED __attribute__((weak, noinline, used))
VALENCE_TEST_COUNTED void* malloc(std::size_t size) noexcept {
  valence::test::allocation_calls.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(size);
}
VALENCE_TEST_COUNTED void* calloc(std::size_t count, std::size_t size) noexcept {
  valence::test::allocation_calls.fetch_add(1, std::memory_order_relaxed);
  return __libc_calloc(count, size);
}
VALENCE_TEST_COUNTED void* realloc(void* old, std::size_t size) noexcept {
  valence::test::allocation_calls.fetch_add(1, std::memory_order_relaxed);
  return __libc_realloc(old, size);
}
VALENCE_TEST_COUNTED void* memalign(std::size_t alignment, std::size_t size) noexcept {
  valence::test::allocation_calls.fetch_add(1, std::memory_order_relaxed);
  return __libc_memalign(alignment, size);
}
VALENCE_TEST_COUNTED void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  valence::test::allocation_calls.fetch_add(1, std::memory_order_relaxed);
  return __libc_memalign(alignment, size);
}
VALENCE_TEST_COUNTED int posix_memalign(void** result, std::size_t alignment, std::size_t size) noexcept {
  valence::test::allocation_calls.fetch_add(1, std::memory_order_relaxed);
  void* p = __libc_memalign(alignment, size);
  if (!p) return ENOMEM;
  *result = p;
  return 0;
}
#undef VALENCE_TEST_COUNTED
}
#endif
