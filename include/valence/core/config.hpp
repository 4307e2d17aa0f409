#pragma once

/// The library's macros, all of them. Everything else that valence defines lives in `namespace valence`.
///
/// - `VALENCE_VERSION_MAJOR`, `VALENCE_VERSION_MINOR`, `VALENCE_VERSION_PATCH`, `VALENCE_VERSION`: what is included.
/// - `VALENCE_VECTOR_EXTENSIONS`: 1 where the compiler has GNU vector types (GCC, Clang), 0 elsewhere (MSVC). Define it
///   to 0 before including valence to run every kernel on scalars.
/// - `VALENCE_OPENMP`: defined by the user (CMake: `-DVALENCE_OPENMP=ON`) to let `parallel_for` use OpenMP.

#define VALENCE_VERSION_MAJOR 0
#define VALENCE_VERSION_MINOR 1
#define VALENCE_VERSION_PATCH 0
#define VALENCE_VERSION "0.1.0"

#if (defined(_MSVC_LANG) ? _MSVC_LANG : __cplusplus) < 202002L
#error "valence needs C++20: compile with -std=c++20 (or /std:c++20 /Zc:__cplusplus)"
#endif

// Finite-math modes delete every check for NaN and infinity, so bad input would pass silently (pitfall N7).
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || defined(_M_FP_FAST)
#error "valence does not support -ffast-math, -ffinite-math-only, /fp:fast: its checks for NaN would be deleted"
#endif

#ifndef VALENCE_VECTOR_EXTENSIONS
#if defined(__GNUC__)
#define VALENCE_VECTOR_EXTENSIONS 1
#else
#define VALENCE_VECTOR_EXTENSIONS 0
#endif
#endif
