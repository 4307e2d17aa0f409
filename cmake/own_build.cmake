# What valence's own tests, examples and benchmarks are built with. Nothing here reaches a project that uses valence: the
# warnings are a target that only our programs link, and the rest applies only when valence is the top project.
add_library(valence_warnings INTERFACE)
if(PROJECT_IS_TOP_LEVEL AND NOT MSVC)
  target_compile_options(valence_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wdouble-promotion -Werror)
endif()

if(PROJECT_IS_TOP_LEVEL)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug, Release, RelWithDebInfo or MinSizeRel" FORCE)
  endif()
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  set(CMAKE_CXX_EXTENSIONS OFF)

  find_program(VALENCE_CCACHE ccache DOC "Compiler cache; used when there")
  if(VALENCE_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
    # With the base directory two clones share what was compiled. No precompiled header: it saved a fifth of the compile
    # time, but one made in another clone would still name that clone's files.
    set(CMAKE_CXX_COMPILER_LAUNCHER
        ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${VALENCE_CCACHE})
  endif()
endif()
