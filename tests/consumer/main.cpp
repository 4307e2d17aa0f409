// A project that uses valence: two files, each of which includes everything.
#include <valence/valence.hpp>

#include <cstdio>

#include "exercise.hpp"

std::string second_file();
void second_file_throws();

#ifndef CONSUMER_MAIN
#define CONSUMER_MAIN main
#endif

int CONSUMER_MAIN() {
  const std::string first = exercise();
  std::fputs(first.c_str(), stdout);
  if (second_file() != first) {
    std::puts("the two files disagree");
    return 1;
  }
#if defined(__cpp_exceptions)
  try {
    second_file_throws();
  } catch (const valence::Error& error) {
    std::puts(error.what());
    return 0;
  }
  std::puts("the other file's error was not caught");
  return 1;
#endif
}
