#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "support/catch.hpp"
#include "valence/io/checkpoint.hpp"
#include "valence/io/safetensors.hpp"

namespace valence::test {

/// The state of `x` as bytes: those of its checkpoint.
template <class T>
std::vector<std::byte> state_bytes(const T& x) {
  return to_checkpoint(x).serialize();
}

/// Loads `run`, as it stands, into `fresh`, which was built from other seeds, plays both for `steps` more and checks
/// that nothing differs, not a bit. Returns the loaded run as it was before it went on.
template <class R>
R check_resume(const R& run, R fresh, std::int64_t steps) {
  CHECK(state_bytes(fresh) != state_bytes(run));
  from_checkpoint(Safetensors::parse(state_bytes(run)), fresh);
  REQUIRE(state_bytes(fresh) == state_bytes(run));
  R whole = run, resumed = fresh;
  const auto before = state_bytes(run);
  whole.advance(steps);
  resumed.advance(steps);
  REQUIRE(state_bytes(whole) != before);
  REQUIRE(state_bytes(resumed) == state_bytes(whole));
  return fresh;
}

}  // namespace valence::test
