include_guard()

# valence_dependency(<package> TARGET <target> MINIMUM <version> [GIT <url> TAG <tag>] [OPTIONAL])
#
# Takes, in this order: a target that the surrounding project already has; an installed package; with VALENCE_FETCH, the
# pinned tag. The version is compared here instead of being requested from find_package, because Eigen's version file
# answers "no" to everybody who asks for 3.4 and finds 5. OPTIONAL packages are never downloaded.
macro(valence_dependency package)
  cmake_parse_arguments(dependency "OPTIONAL" "TARGET;MINIMUM;GIT;TAG" "" ${ARGN})
  if(NOT TARGET ${dependency_TARGET})
    find_package(${package} CONFIG QUIET GLOBAL)
    if(${package}_FOUND AND ${package}_VERSION VERSION_LESS "${dependency_MINIMUM}")
      message(FATAL_ERROR "valence needs ${package} ${dependency_MINIMUM} or later; ${${package}_DIR} has "
                          "${${package}_VERSION}. Point ${package}_DIR or CMAKE_PREFIX_PATH to a newer one.")
    endif()
  endif()
  if(NOT TARGET ${dependency_TARGET} AND NOT dependency_OPTIONAL)
    if(NOT VALENCE_FETCH)
      message(FATAL_ERROR "valence needs ${package} ${dependency_MINIMUM} or later, which was not found, and "
                          "VALENCE_FETCH is OFF. Install it (Debian: libeigen3-dev libfmt-dev catch2 libbenchmark-dev; "
                          "./dev does it), or name its folder in CMAKE_PREFIX_PATH.")
    endif()
    message(STATUS "valence: ${package} is not installed; downloading ${dependency_GIT} at ${dependency_TAG}")
    include(FetchContent)
    set(BUILD_TESTING OFF)  # a normal variable: for the dependency's own tests, and gone with this directory's scope
    set(EIGEN_BUILD_DOC OFF)
    set(EIGEN_BUILD_PKGCONFIG OFF)
    set(BENCHMARK_ENABLE_TESTING OFF)
    FetchContent_Declare(${package} GIT_REPOSITORY ${dependency_GIT} GIT_TAG ${dependency_TAG} GIT_SHALLOW ON SYSTEM)
    FetchContent_MakeAvailable(${package})
    unset(BUILD_TESTING)
  endif()
endmacro()
