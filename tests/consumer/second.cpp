#include <valence/valence.hpp>

#include "exercise.hpp"

std::string second_file();
void second_file_throws();

std::string second_file() { return exercise(); }

void second_file_throws() { valence::check_positive("second file", "x", -1.0); }
