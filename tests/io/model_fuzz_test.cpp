// Damaged model files: each is refused with an Error, or read into a model that is valid and survives being written.

#include <cstddef>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "io/mutations.hpp"
#include "support/close.hpp"
#include "valence/io/model_files.hpp"

using namespace valence;

namespace {

const ModelFileOptions strict{.max_pairs = 5000, .max_entries = 50'000};
const ModelFileOptions lenient{.deadlocks_are_terminal = true,
                               .absorbing_are_terminal = true,
                               .rounding = 0.5,
                               .max_pairs = 5000,
                               .max_entries = 50'000};

/// How many of the texts were read. Anything but an `Error` fails the test; so does an error that says no file and
/// line.
template <class Parse>
std::size_t count_read(const std::vector<std::string>& seeds, std::size_t count, Parse&& parse) {
  std::size_t read = 0;
  test::mutate(seeds, count, [&](const std::string& text) {
    for (const ModelFileOptions& options : {strict, lenient}) {
      try {
        const ModelFile file = parse(text, options);
        if (file.mdp.states() < 1 || file.mdp.transitions() > 50'000) FAIL("a model of " << file.mdp.states());
        ++read;
      } catch (const Error& e) {
        const std::string message = e.what();
        if (message.find(':') == std::string::npos || message.find('\n') != std::string::npos) FAIL(message);
      }
    }
  });
  return read;
}

}  // namespace

TEST_CASE("Damaged files of PRISM and Storm are refused or read", "[fuzz]") {
  const std::string tra =
      "3 4 6\n0 0 1 0.25 go\n0 0 2 0.75 go\n0 1 0 1 stay\n1 0 0 0.5 go\n1 0 2 0.5 go\n2 0 2 1 stay\n";
  const std::string storm = "mdp\n0 0 1 0.5\n0 0 0 .5\n1 0 0 1e0\n1 1 1 1/1\n";
  const std::string chain = "dtmc\n0 1 1\n1 1 0.5\n1 0 0.5\n";
  const std::string lab = "0=\"init\" 1=\"deadlock\" 2=\"goal\"\n0: 0\n2: 1 2\n";
  const std::string storm_lab = "#DECLARATION\ninit goal\n#END\n0 init\n1 goal\n";
  const std::string srew = "3 2\n0 1.5\n1 -2\n", trew = "3 4 2\n0 0 1 3\n2 0 2 1\n", sta = "(x)\n0:(0)\n1:(1)\n2:(2)\n";
  const auto transitions = [](const std::string& text, const ModelFileOptions& options) {
    return parse_prism({.transitions = text}, options);
  };
  CHECK(count_read({tra, storm, chain}, 30'000, transitions) > 100);
  const auto labels = [&](const std::string& text, const ModelFileOptions& options) {
    return parse_prism({.transitions = tra, .labels = text}, options);
  };
  CHECK(count_read({lab, storm_lab}, 10'000, labels) > 100);
  const auto rewards = [&](const std::string& text, const ModelFileOptions& options) {
    return parse_prism({.transitions = tra, .state_rewards = text, .states = sta}, options);
  };
  CHECK(count_read({srew}, 10'000, rewards) > 100);
  const auto more = [&](const std::string& text, const ModelFileOptions& options) {
    return parse_prism({.transitions = tra, .transition_rewards = text}, options);
  };
  CHECK(count_read({trew}, 10'000, more) > 100);
  const auto names = [&](const std::string& text, const ModelFileOptions& options) {
    return parse_prism({.transitions = tra, .states = text}, options);
  };
  CHECK(count_read({sta}, 5'000, names) > 100);
  // Cut anywhere, the counts of the first line find it.
  for (std::size_t size = 0; size + 1 < tra.size(); ++size)
    if (tra.substr(0, size).find("2 0 2 1") == std::string::npos)
      CHECK_THROWS_AS(parse_prism({.transitions = std::string_view(tra).substr(0, size)}), Error);
}

TEST_CASE("Damaged files of DRN are refused or read", "[fuzz]") {
  const std::string drn =
      "// c\n@type: MDP\n@parameters\n\n@reward_models\nr\n@nr_states\n2\n@nr_choices\n3\n@model\nstate 0 [1] init\n"
      "\taction a [0.5]\n\t\t0 : 0.5\n\t\t1 : 1/2\n\taction b [0]\n\t\t1 : 1\nstate 1 [0] \"the goal\"\n\taction a "
      "[0]\n"
      "\t\t1 : 1\n";
  CHECK(count_read({drn}, 30'000, [](const std::string& text, const ModelFileOptions& options) {
          return parse_drn(text, options);
        }) > 100);
}

TEST_CASE("Damaged files in Cassandra's format are refused or read", "[fuzz]") {
  const std::string named =
      "discount: 0.95\nvalues: cost\nstates: a b c\nactions: x y\nstart include: a b\nT: x identity\nT: y : a : * 0.0\n"
      "T: y : a : c 1\nT: y : b\n0.25 0.25 0.5 # row\nT: y : c uniform\nR: * : * : * : * -1\nR: y : a : c 2.5\n";
  const std::string numbered =
      "states: 2\nactions: 2\ndiscount: 1\nvalues: reward\nstart: 0.5 0.5\nT: *\n0.5 0.5\n1 0\nR: 1 : 0 1.5 2\nT: 0 : "
      "1 reset\n";
  CHECK(count_read({named, numbered}, 30'000, [](const std::string& text, const ModelFileOptions& options) {
          return parse_cassandra(text, options);
        }) > 100);
}

TEST_CASE("A file that is none is told apart from those that are", "[fuzz]") {
  const test::TemporaryFolder folder;
  std::size_t refused = 0, count = 0;
  test::mutate(
      {"mdp\n0 0 0 1\n", "1 1\n0 0 1\n", "@type: MDP\n", "states: 1\nactions: 1\ndiscount: 1\nT: 0 identity\n"}, 300,
      [&](const std::string& text) {
        ++count;
        try {
          load_mdp(folder.with("file", text), strict);
        } catch (const Error&) { ++refused; }
      });
  CHECK(refused > 0);
  CHECK(refused < count);
}
