#pragma once

#include <type_traits>

#include "valence/core/config.hpp"

namespace valence {

/// What `archive(ar)` is called with: something that takes any number of fields by reference. Each stateful part lists its
/// fields once, `template <class A> void archive(A& ar) { ar(steps, first, second); }`, and that one list saves, loads,
/// hashes and compares it. Field by field, because padding bytes are not data.
struct AnyArchive {
  template <class... Fields>
  void operator()(Fields&...) {}
};

/// A number, an enumeration, or a type that lists its fields in `archive(ar)`.
template <class T>
concept Archivable = std::is_arithmetic_v<T> || std::is_enum_v<T> || requires(T x, AnyArchive& ar) { x.archive(ar); };

}  // namespace valence
