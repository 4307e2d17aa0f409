#include "papers/harness.hpp"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"

using paper::at_least, paper::at_most, paper::Seed, paper::Study;
using valence::test::message_of, valence::test::says;

namespace {

const paper::About about{.id = "none",
                         .header = "valence/core/random.hpp",
                         .claim = "one draw is larger than another",
                         .seeds = 6,
                         .quick_seeds = 3};

int run(std::vector<std::string> flags, const std::function<void(Study&)>& body) {
  std::vector<char*> arguments;
  flags.insert(flags.begin(), "paper_none");
  for (std::string& flag : flags) arguments.push_back(flag.data());
  return paper::run(about, static_cast<int>(arguments.size()), arguments.data(), body);
}

std::vector<double> draws(std::vector<std::string> flags) {
  std::vector<double> out;
  const int code = run(std::move(flags), [&](Study& study) {
    study.each_seed([](Seed& seed) { seed.measure("draw", seed.rng.uniform()); });
    out.assign(study["draw"].begin(), study["draw"].end());
    study.require("mean", study.mean("draw"), at_least(0));
  });
  CHECK(code == 0);
  return out;
}

std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("seeds are independent, shifted by --seed, and the same for any number of threads") {
  const std::vector<double> all = draws({});
  REQUIRE(all.size() == 6);
  for (std::size_t i = 0; i < 6; ++i)
    for (std::size_t j = 0; j < i; ++j) CHECK(all[i] != all[j]);
  CHECK(draws({"--threads", "1"}) == all);
  CHECK(draws({"--threads", "3"}) == all);
  CHECK(draws({"--quick"}) == std::vector<double>(all.begin(), all.begin() + 3));
  const std::vector<double> shifted = draws({"--seed", "1"});  // not seeds 1 to 6 of --seed 0
  for (const double a : shifted)
    for (const double b : all) CHECK(a != b);
  CHECK(draws({"--seeds", "2"}).size() == 2);
}

TEST_CASE("the verdict is the exit code: all requirements, on what was measured") {
  const auto code = [](double figure, paper::Bound bound) {
    return run({"--quick"}, [&](Study& study) {
      study.each_seed([](Seed& seed) { seed.measure("x", 1); });
      study.require("first", 0, at_most(0));
      study.require("second", figure, bound);
    });
  };
  CHECK(code(1, at_most(1)) == 0);
  CHECK(code(1, at_least(1)) == 0);
  CHECK(code(1, paper::above(1)) == 1);
  CHECK(code(1, paper::below(1)) == 1);
  CHECK(code(std::nan(""), at_most(1)) == 1);
  CHECK(code(std::nan(""), at_least(1)) == 1);
  CHECK(run({}, [](Study& study) { study.each_seed([](Seed& s) { s.measure("x", 1); }); }) == 2);  // requires nothing
  CHECK(run({"--no-such-flag"}, [](Study&) {}) == 2);
  CHECK(run({"--seeds", "0"}, [](Study&) {}) == 2);
  CHECK(run({"--help"}, [](Study&) { FAIL("ran"); }) == 0);
}

TEST_CASE("summaries of what the seeds measured") {
  Study study(about, false, 0, 4, 1);
  study.each_seed([](Seed& seed) {
    seed.measure("a", static_cast<double>(seed.index * seed.index));  // 0 1 4 9
    seed.measure("b", 2);
  });
  CHECK(study.mean("a") == 3.5);
  CHECK(study.median("a") == 2.5);
  CHECK(study.minimum("a") == 0);
  CHECK(study.maximum("a") == 9);
  CHECK(study.difference("a", "b") == std::vector<double>{-2, -1, 2, 7});
  CHECK(study.share_above("a", "b") == 0.5);
  CHECK(says(message_of([&] { study.mean("c"); }), "\"c\""));
}

TEST_CASE("what can't be measured is refused") {
  const auto message = [](const std::function<void(Seed&)>& body) {
    return message_of([&] { Study(about, false, 0, 3, 1).each_seed(body); });
  };
  CHECK(says(message([](Seed& s) { s.measure("x", std::nan("")); }), "\"x\" of seed 0", "nan"));
  CHECK(says(message([](Seed& s) { s.measure("x", 1), s.measure("x", 2); }), "twice"));
  CHECK(says(message([](Seed& s) { s.measure(s.index == 1 ? "x" : "y", 1); }), "seed 1"));
  CHECK(says(message([](Seed& s) {
               s.measure("x", 1);
               if (s.index == 2) s.measure("y", 1);
             }),
             "seed 2"));
}

TEST_CASE("JSON holds what was printed, the plot what was measured or traced") {
  const auto folder = std::filesystem::temp_directory_path() / "valence-harness-test";
  std::filesystem::create_directories(folder);
  const auto json = folder / "out.json", rows = folder / "rows.svg", curves = folder / "curves.svg";
  CHECK(run({"--json", json.string(), "--plot", rows.string(), "--seed", "7"}, [](Study& study) {
          study.each_seed([](Seed& seed) { seed.measure("group/a", static_cast<double>(seed.index)); });
          study.require("largest", study.maximum("group/a"), at_most(4));
          study.note("a condition");
        }) == 1);
  const std::string text = text_of(json);
  CHECK(says(text, "\"id\": \"none\"", "\"verdict\": \"FAILS\"", "\"seeds\": 6", "\"seed\": 7", "\"mean\": 2.5",
             "largest 5 (needs <= 4)", "a condition"));
  CHECK(says(text_of(rows), "class=\"center\"", ">group</text>", ">a</text>"));
  CHECK(run({"--plot", curves.string()}, [](Study& study) {
          study.each_seed([](Seed& seed) {
            seed.measure("a", 0);
            seed.trace("error/a", {1, 2, 3}, {3, 2, 1});
            seed.trace("error/b", {1, 2, 3}, {3, 3, 3});
          });
          study.require("a", study.mean("a"), at_most(0));
        }) == 0);
  CHECK(says(text_of(curves), "class=\"curve\"", ">a</text>", ">b</text>", ">error</text>"));
  CHECK(run({"--json", (folder / "no" / "such" / "folder.json").string()}, [](Study& study) {
          study.each_seed([](Seed& seed) { seed.measure("a", 0); });
          study.require("a", 0, at_most(0));
        }) == 2);
  std::filesystem::remove_all(folder);
}
