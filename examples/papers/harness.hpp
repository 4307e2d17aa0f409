#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "valence/core/random.hpp"

/// What all programs of the systems share: flags, seeds over threads, the table with its intervals, the verdict, JSON and
/// plot. A program measures one seed, and says what the paper's claim requires of all of them:
///
///     int main(int count, char** arguments) {
///       return paper::run({.id = "two_hot",
///                          .header = "valence/distributional/two_hot.hpp",
///                          .claim = "two-hot targets survive noise that squared error does not"},
///                         count, arguments, [](paper::Study& study) {
///         study.each_seed([](paper::Seed& seed) {
///           seed.measure("squared error", error_of(seed.rng.split(0)));
///           seed.measure("two-hot", error_of(seed.rng.split(1)));
///         });
///         study.require("error of two-hot / squared error", study.mean("two-hot") / study.mean("squared error"),
///                       paper::at_most(0.75));
///       });
///     }
///
///     paper_<id> [--seed S] [--seeds N] [--quick] [--threads T] [--json FILE] [--plot FILE.svg]
///
/// The last line is `CLAIM HOLDS: <figure> (needs <threshold>)`, exit code 0, or `CLAIM FAILS: ...`, exit code 1; what
/// can't be run (a wrong flag, a file that can't be written) ends with exit code 2. The results are the same to the bit
/// for any number of threads.
namespace paper {

struct About {
  std::string id;      ///< as in docs/systems.csv
  std::string header;  ///< the part of the library that the paper is about, as one includes it
  std::string claim;   ///< the paper's claim, one line, in our words
  int seeds = 10, quick_seeds = 4;
};

/// One seed's part: measured by `Study::each_seed`.
struct Seed {
  valence::Rng rng;   ///< of this seed alone: shifted by --seed, split by the index
  std::size_t index;  ///< 0, 1, ...
  bool quick;         ///< do less: a few seconds for all seeds

  /// A row of the table: a number of this seed, finite. "noisy targets/two-hot" puts it under a heading. Every seed
  /// measures the same names in the same order.
  void measure(std::string name, double value);
  /// A curve of the plot: y over x, strictly increasing, the same for every seed. "heading/name" likewise, though a plot
  /// has one pair of axes: that of the first heading.
  void trace(std::string name, std::vector<double> x, std::vector<double> y);

  std::vector<std::pair<std::string, double>> measured = {};
  std::vector<std::tuple<std::string, std::vector<double>, std::vector<double>>> traced = {};
};

/// What a figure has to be.
struct Bound {
  enum class Kind { at_least, at_most, above, below } kind;
  double threshold;
  bool holds(double figure) const;
  std::string text() const;  ///< "<= 0.75"
};
inline Bound at_least(double threshold) { return {Bound::Kind::at_least, threshold}; }
inline Bound at_most(double threshold) { return {Bound::Kind::at_most, threshold}; }
inline Bound above(double threshold) { return {Bound::Kind::above, threshold}; }
inline Bound below(double threshold) { return {Bound::Kind::below, threshold}; }

/// A run of a program: its flags, what the seeds measured, and the verdict so far.
class Study {
 public:
  Study(About about, bool quick, std::uint64_t seed, int seeds, int threads);

  bool quick() const { return quick_; }
  int seeds() const { return seeds_; }
  /// A stream for what all seeds share: of --seed alone.
  valence::Rng shared_rng() const;

  /// Calls `body` for each seed, on several threads at once. May be called once.
  void each_seed(const std::function<void(Seed&)>& body);

  /// What the seeds measured under a name, one value a seed; throws `valence::Error` if there is no such name.
  std::span<const double> operator[](std::string_view name) const;
  double mean(std::string_view name) const;
  double median(std::string_view name) const;
  double minimum(std::string_view name) const;
  double maximum(std::string_view name) const;
  /// The paired difference of each seed, a - b.
  std::vector<double> difference(std::string_view a, std::string_view b) const;
  /// The share of seeds with a > b, in [0, 1].
  double share_above(std::string_view a, std::string_view b) const;

  /// A part of the claim. The first is the one that the last line and the README's table show.
  void require(std::string what, double figure, Bound bound);
  /// A line below the table: a condition of the claim, what does not reproduce and why.
  void note(std::string text);
  /// A number for the reader, below the table, that the verdict does not depend on.
  void report(std::string what, double figure);

 private:
  friend int run(About, int, char**, const std::function<void(Study&)>&);
  struct Requirement {
    std::string what;
    double figure;
    Bound bound;
  };

  About about_;
  bool quick_;
  std::uint64_t seed_;
  int seeds_, threads_;
  std::vector<Seed> results_ = {};
  std::vector<std::pair<std::string, std::vector<double>>> columns_ = {};
  std::vector<Requirement> requirements_ = {};
  std::vector<std::string> notes_ = {};
  std::vector<std::pair<std::string, double>> reports_ = {};

  bool holds() const;
  std::string table() const;
  std::string verdict() const;
  void write_json(const std::string& file, double seconds) const;
  void write_plot(const std::string& file) const;
};

/// Parses the flags, runs `body`, prints, writes the files that were asked for. The program's exit code.
int run(About about, int count, char** arguments, const std::function<void(Study&)>& body);

}  // namespace paper
