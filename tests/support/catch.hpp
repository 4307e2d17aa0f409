#pragma once

// One spelling for Debian's Catch2 2.13 and for Catch2 3. Tests use what both have: TEST_CASE, SECTION, CHECK, REQUIRE,
// CHECK_THROWS_AS, GENERATE, CAPTURE, INFO, and the helpers of this folder.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif
