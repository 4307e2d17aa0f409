#pragma once

#include "valence/core/config.hpp"

namespace valence::detail {

/// Asks for the cache line at `address` before it is read. A hint: where the compiler has none, nothing.
inline void prefetch([[maybe_unused]] const void* address) {
#if defined(__GNUC__)
  __builtin_prefetch(address);
#endif
}

}  // namespace valence::detail
