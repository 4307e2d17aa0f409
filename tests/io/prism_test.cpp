#include "valence/io/prism.hpp"

#include <fmt/core.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "support/close.hpp"
#include "valence/core/archive.hpp"
#include "valence/io/model_files.hpp"
#include "valence/planning/value_iteration.hpp"

using namespace valence;
using test::message_of, test::says, test::TemporaryFolder;

namespace {

// A robot on four fields: PRISM's form with action names, whose choices are not numbered alike in every state.
constexpr auto robot_tra =
    "4 6 9\n"
    "0 0 1 0.75 east\n"
    "0 0 0 0.25 east\n"  // successors in any order
    "0 1 2 1 south\n"
    "1 0 3 0.5 south\n"
    "1 0 1 0.5 south\n"
    "1 1 0 1 west\n"
    "2 0 3 0.9 east\n"
    "2 0 2 0.1 east\n"
    "3 0 3 1 stay\n";
constexpr auto robot_lab = "0=\"init\" 1=\"deadlock\" 2=\"goal\" 3=\"wet\"\n0: 0\n1: 3\n3: 2 3\n";
constexpr auto robot_srew = "# Reward structure \"r\"\n# State rewards\n4 2\n0 2\n2 0.5\n";
constexpr auto robot_trew = "# Reward structure \"r\"\n# Transition rewards\n4 6 3\n1 0 3 8\n1 0 1 -2\n2 0 3 6\n";

std::string refused(const PrismTexts& texts, const ModelFileOptions& options = {}) {
  return message_of([&] { parse_prism(texts, options); });
}
std::string refused(std::string_view transitions) { return refused(PrismTexts{.transitions = transitions}); }

void check_equal(const ModelColumns<double>& a, const ModelColumns<double>& b) {
  CHECK(a.states == b.states);
  CHECK(a.actions == b.actions);
  CHECK(a.row_begin == b.row_begin);
  CHECK(a.next == b.next);
  CHECK(a.probability == b.probability);
  CHECK(a.reward == b.reward);
  CHECK(a.entry_reward == b.entry_reward);
  CHECK(a.terminal == b.terminal);
  CHECK(a.initial == b.initial);
}

// Knuth and Yao's die out of a fair coin: states 0 to 6 flip, states 7 to 12 show 1 to 6.
constexpr int after_flip[7][2] = {{1, 2}, {3, 4}, {5, 6}, {1, 7}, {8, 9}, {10, 11}, {2, 12}};

/// Two such dice; each step the controller flips the coin of one of them. As Storm's .tra, with labels.
PrismTexts two_dice(std::string& tra, std::string& lab, std::string& trew) {
  tra = "mdp\n", lab = "#DECLARATION\ninit done seven\n#END\n0 init\n", trew = "";
  for (int x = 0; x < 13; ++x)
    for (int y = 0; y < 13; ++y) {
      const int s = 13 * x + y;
      int choice = 0;
      for (int face = 0; x < 7 && face < 2; ++face) {
        tra += fmt::format("{} {} {} 0.5 \n", s, choice, 13 * after_flip[x][face] + y);
        trew += fmt::format("{} {} {} 1\n", s, choice, 13 * after_flip[x][face] + y);
      }
      choice += x < 7 ? 1 : 0;
      for (int face = 0; y < 7 && face < 2; ++face) {
        tra += fmt::format("{} {} {} 0.5 \n", s, choice, 13 * x + after_flip[y][face]);
        trew += fmt::format("{} {} {} 1\n", s, choice, 13 * x + after_flip[y][face]);
      }
      if (x >= 7 && y >= 7) {
        tra += fmt::format("{} 0 {} 1\n", s, s);
        lab += fmt::format("{} done{}\n", s, (x - 6) + (y - 6) == 7 ? " seven" : "");
      }
    }
  return {.transitions = tra, .labels = lab, .transition_rewards = trew};
}

}  // namespace

TEST_CASE("PRISM's files are read with rewards of states and transitions") {
  const ModelFile file = parse_prism(
      {.transitions = robot_tra, .labels = robot_lab, .state_rewards = robot_srew, .transition_rewards = robot_trew});
  const FiniteMdp<double>& mdp = file.mdp;
  CHECK(mdp.states() == 4);
  CHECK(mdp.actions() == 2);
  CHECK(mdp.transitions() == 9);
  const double v[] = {1, 10, 100, 1000};
  CHECK(mdp.expectation(0, 0, v) == 0.25 * 1 + 0.75 * 10);
  CHECK(mdp.expectation(1, 0, v) == 505);
  CHECK(mdp.expectation(2, 0, v) == test::close(910, 1e-15));
  CHECK_FALSE(mdp.available(2, 1));
  CHECK_FALSE(mdp.terminal(3));
  CHECK(mdp.reward(0, 0) == 2);  // the state's
  CHECK(mdp.reward(0, 1) == 2);
  CHECK(mdp.reward(1, 0) == 0.5 * 8 + 0.5 * -2);
  CHECK(mdp.reward(1, 1) == 0);
  CHECK(mdp.reward(2, 0) == test::close(0.5 + 0.9 * 6, 1e-15));  // both
  CHECK(mdp.has_entry_rewards());
  CHECK((*mdp.successors(2, 0).begin()).reward == 0.5);  // the loop earns the state's alone
  CHECK(std::vector(mdp.initial().begin(), mdp.initial().end()) == std::vector<double>{1, 0, 0, 0});
  REQUIRE(file.labels.size() == 4);
  CHECK(file.find_label("wet")->states == std::vector{1, 3});
  CHECK(file.find_label("deadlock")->states.empty());
  CHECK(file.find_label("dry") == nullptr);
  // Choice 0 has another name in each state, choice 1 too: they have none in common.
  CHECK(file.action_names.empty());
  CHECK_FALSE(file.discount.has_value());
}

TEST_CASE("Actions are the choices of a state, or the names") {
  const ModelFile file =
      parse_prism({.transitions = robot_tra, .transition_rewards = robot_trew}, {.actions_by_name = true});
  CHECK(file.action_names == std::vector<std::string>{"east", "south", "west", "stay"});
  CHECK(file.mdp.actions() == 4);
  CHECK(file.mdp.available(1, 1));
  CHECK(file.mdp.available(1, 2));
  CHECK_FALSE(file.mdp.available(1, 0));
  CHECK(file.mdp.reward(1, 1) == 3);
  const double v[] = {1, 10, 100, 1000};
  CHECK(file.mdp.expectation(1, 1, v) == 505);
  CHECK(file.mdp.expectation(1, 2, v) == 1);
  // Names in another order than the choices: the entries move along.
  const ModelFile moved = parse_prism({.transitions = "2 3 4\n0 0 1 1 b\n1 0 0 1 a\n1 1 0 0.25 b\n1 1 1 0.75 b\n",
                                       .transition_rewards = "2 3 1\n1 0 0 5\n"},
                                      {.actions_by_name = true});
  CHECK(moved.action_names == std::vector<std::string>{"b", "a"});
  CHECK(moved.mdp.expectation(1, 0, v) == 0.25 + 7.5);
  CHECK(moved.mdp.reward(1, 0) == 0);
  CHECK(moved.mdp.reward(1, 1) == 5);

  CHECK(says(refused({.transitions = "1 1 1\n0 0 0 1\n"}, {.actions_by_name = true}), "transitions:2",
             "choice 0 of state 0 has no name"));
  CHECK(says(refused({.transitions = "1 2 2\n0 0 0 1 a\n0 1 0 1 a\n"}, {.actions_by_name = true}), "transitions:3",
             "state 0 has two choices named 'a'"));
  CHECK(says(refused("1 1 2\n0 0 0 0.5 a\n0 0 0 0.5 b\n"), "transitions:3", "choice 0 of state 0 is named 'b'",
             "line 2 names it 'a'"));
  // Without the option, a choice has a name where it is the same wherever the choice is.
  const ModelFile common = parse_prism({.transitions = "2 3 3\n0 0 1 1 go\n1 0 0 1 go\n1 1 1 1 x\n"});
  CHECK(common.action_names == std::vector<std::string>{"go", "x"});
}

TEST_CASE("Rows come in any order, and those of one transition add up", "[E9]") {
  // Frozen lake's corner: two of three thirds stay.
  const ModelFile file = parse_prism({.transitions = "2 3 5\n1 0 1 1\n0 0 0 1/3\n0 1 1 1\n0 0 1 1/3\n0 0 0 1/3\n",
                                      .transition_rewards = "2 3 2\n0 0 1 3\n0 0 0 6\n"});
  CHECK(file.mdp.transitions() == 4);
  CHECK((*file.mdp.successors(0, 0).begin()).probability == 2.0 / 3);
  CHECK(file.mdp.reward(0, 0) == test::close(5, 1e-15));
  CHECK(says(refused("2 2 3\n0 0 0 0.25\n0 0 1 0.25\n1 0 1 1\n"), "transitions:2",
             "the probabilities of state 0, choice 0 sum to 0.5; expected 1"));
}

TEST_CASE("A chain is a model of one action") {
  const ModelFile prism = parse_prism({.transitions = "3 4\n0 1 0.5\n0 2 .5 a\n1 0 1e0\n2 2 1\n",
                                       .labels = "0=\"init\" 5=\"end\"\n1: 0\n2: 5\n",
                                       .state_rewards = "3 1\n0 4\n",
                                       .transition_rewards = "3 1\n0 2 3\n",
                                       .states = "(s,t)\n0:(1,true)\n1:(1,false)\n2:(0,true)\n"},
                                      {.goal = "end"});
  CHECK(prism.mdp.actions() == 1);
  CHECK(prism.mdp.terminal(2));
  CHECK(prism.mdp.reward(0, 0) == 4 + 1.5);
  CHECK(prism.state_names == std::vector<std::string>{"1,true", "1,false", "0,true"});
  const ModelFile storm = parse_prism({.transitions = "DTMC\r\n0 1 0.5\r\n0 2 0.5\r\n1 0 1\r\n2 2 1\r\n",
                                       .labels = "#DECLARATION\ninit end\n#END\n1 init\n2 end\n",
                                       .state_rewards = "0 4\n",
                                       .transition_rewards = "0 2 3\n"},
                                      {.goal = "end"});
  check_equal(prism.mdp.columns(), storm.mdp.columns());
}

TEST_CASE("Two dice, by both dialects, are worth what is published") {
  // PRISM's case study dice: 22/3 flips for two dice whatever the order, and every sum has its usual probability.
  std::string tra, lab, trew;
  const PrismTexts texts = two_dice(tra, lab, trew);
  const ModelFile flips = parse_prism(texts, {.goal = "done"});
  CHECK(flips.mdp.states() == 169);
  CHECK(flips.mdp.reward(0, 1) == 1);
  CHECK_FALSE(flips.mdp.has_entry_rewards());
  CHECK(value_iteration(flips.mdp, {.discount = 1, .tolerance = 1e-13}).value[0] == test::close(22.0 / 3, 1e-10));
  const ModelFile costs = parse_prism(texts, {.goal = "done", .costs = true});
  CHECK(value_iteration(costs.mdp, {.discount = 1, .tolerance = 1e-13}).value[0] == test::close(-22.0 / 3, 1e-10));
  const ModelFile seven = parse_prism({.transitions = tra, .labels = lab},
                                      {.goal = "seven", .goal_reward = 1, .absorbing_are_terminal = true});
  CHECK(value_iteration(seven.mdp, {.discount = 1, .tolerance = 1e-13}).value[0] == test::close(1.0 / 6, 1e-10));

  const TemporaryFolder folder;
  save_prism(flips, folder / "dice");
  const ModelFile prism = load_mdp(folder / "dice.tra", {.goal = "terminal"});
  check_equal(prism.mdp.columns(), flips.mdp.columns());
}

TEST_CASE("Deadlocks, goals and absorbing states are terminal on request only") {
  constexpr auto tra = "4 3 4\n0 0 1 0.5\n0 0 2 0.5\n2 0 2 1\n3 0 3 1\n";  // 1 has no transitions
  constexpr auto lab = "0=\"goal\" 1=\"deadlock\"\n3: 0\n2: 1\n";
  const PrismTexts texts{.transitions = tra, .labels = lab};
  CHECK(says(refused(texts), "transitions: state 1 has no transitions", "deadlocks_are_terminal"));
  const ModelFile dead = parse_prism(texts, {.deadlocks_are_terminal = true});
  CHECK_FALSE(dead.mdp.terminal(0));
  CHECK(dead.mdp.terminal(1));
  CHECK(dead.mdp.terminal(2));
  CHECK_FALSE(dead.mdp.terminal(3));
  CHECK(parse_prism(texts, {.goal = "goal", .deadlocks_are_terminal = true}).mdp.terminal(3));
  const ModelFile absorbing =
      parse_prism({.transitions = "3 3 3\n0 0 1 1\n1 0 1 1\n2 0 2 1\n", .state_rewards = "3 1\n2 1\n"},
                  {.absorbing_are_terminal = true});
  CHECK(absorbing.mdp.terminal(1));
  CHECK_FALSE(absorbing.mdp.terminal(2));  // it earns
  CHECK(says(refused(texts, {.goal = "end", .deadlocks_are_terminal = true}), "no label 'end'", "goal, deadlock"));
  CHECK(says(refused({.transitions = tra, .labels = "0=\"goal\"\n"}, {.goal = "goal"}), "no state is labelled 'goal'"));
}

TEST_CASE("Rows written with few digits are scaled on request only") {
  constexpr auto tra = "mdp\n0 0 0 0.333\n0 0 1 0.666\n1 0 0 1\n";
  CHECK(says(refused(tra), "transitions:2", "sum to 0.999"));
  const ModelFile file = parse_prism({.transitions = tra}, {.rounding = 0.002});
  CHECK((*file.mdp.successors(0, 0).begin()).probability == test::close(1.0 / 3, 1e-15));
}

TEST_CASE("Every fault of a .tra names its line") {
  CHECK(says(refused("# nothing\n"), "transitions:1", "the file ends here; expected a model"));
  CHECK(says(refused("ctmc\n0 1 200\n"), "transitions:1", "of type 'ctmc'", "mdp"));
  CHECK(says(refused("mdp x\n"), "transitions:1", "'x' is too many"));
  CHECK(says(refused("5\n"), "transitions:1", "one number"));
  CHECK(says(refused("0 0 1 0.5\n"), "transitions:1", "more than 3 numbers"));
  CHECK(says(refused("0 0 1 1\n"), "transitions:1", "more than 3 numbers"));  // Storm's without its word
  CHECK(says(refused("0 1 1\n0 0 0 1\n"), "transitions:1", "0 states"));
  CHECK(says(refused("3000000000 1 1\n0 0 0 1\n"), "transitions:1", "3000000000 states"));
  CHECK(says(refused("2 2 2\n0 0 2 1\n"), "transitions:2", "successor is '2'", "[0, 1]"));
  CHECK(says(refused("2 2 2\n-1 0 1 1\n"), "transitions:2", "state is '-1'"));
  CHECK(says(refused("2 2 2\n0 0.5 1 1\n"), "transitions:2", "choice is '0.5'"));
  CHECK(says(refused("2 2 2\n0 0 1\n"), "transitions:2", "probability is ''"));
  CHECK(says(refused("2 2 2\n0 0 1 nan\n"), "transitions:2", "probability is 'nan'"));
  CHECK(says(refused("2 2 2\n0 0 1 1.5\n"), "transitions:2", "'1.5'", "[0, 1]"));
  CHECK(says(refused("2 2 2\n0 0 1 -0.5\n"), "transitions:2", "'-0.5'"));
  CHECK(says(refused("2 2 2\n0 0 1 1/0\n"), "transitions:2", "'1/0'"));
  CHECK(says(refused("2 2 2\n0 0 1 1 a b\n"), "transitions:2", "'b' is too many"));
  CHECK(says(refused("2 2 2\n0 0 0.7:0 0.3:1\n"), "transitions:2", "row form"));
  CHECK(says(refused("2 2 2\n0 0 1 1\n1 0 1 1\n1 1 1 1\n"), "transitions:4", "more transitions than the 2"));
  CHECK(says(refused("2 2 3\n0 0 1 1\n1 0 1 1\n"), "transitions:3", "ends here", "3 transitions, of which 2"));
  CHECK(says(refused("2 3 2\n0 0 1 1\n1 0 1 1\n"), "transitions:3", "3 choices, of which 2"));
  CHECK(says(refused("12 2\n0 1 0.5\n0 2 200\n"), "transitions:3", "'200'"));  // a chain in continuous time
  CHECK(says(refused("mdp\n0 2000000000 0 1\n"), "transitions:2", "choice of index 2000000000"));
  CHECK(says(refused({.transitions = "mdp\n900000 9 0 1\n"}, {.deadlocks_are_terminal = true, .max_pairs = 100}),
             "max_pairs"));
  CHECK(says(refused({.transitions = "1 1 5\n0 0 0 1\n"}, {.max_entries = 4}), "transitions:1", "max_entries"));
  CHECK(
      says(refused({.transitions = "mdp\n0 0 0 .5\n0 0 1 .5\n"}, {.max_entries = 1}), "transitions:3", "max_entries"));
}

TEST_CASE("Every fault of labels, rewards and names names its line") {
  constexpr auto tra = "2 3 3\n0 0 1 1\n0 1 0 1\n1 0 1 1\n";
  const auto lab = [&](std::string_view text) { return refused({.transitions = tra, .labels = text}); };
  CHECK(says(lab("\n"), "labels:1", "ends here"));
  CHECK(says(lab("init goal\n"), "labels:1", "'init' declares no label"));
  CHECK(says(lab("0=\"a\" 1=\"a\"\n"), "labels:1", "'a' is declared twice"));
  CHECK(says(lab("0=\"a\" 0=\"b\"\n"), "labels:1", "two labels have the number 0"));
  CHECK(says(lab("0=\"a\"\n1 0\n"), "labels:2", "'1'", "colon"));
  CHECK(says(lab("0=\"a\"\n2: 0\n"), "labels:2", "state is '2'"));
  CHECK(says(lab("0=\"a\"\n1: 1\n"), "labels:2", "label '1' is not declared"));
  CHECK(says(lab("#DECLARATION\na\n"), "labels:2", "expected #END"));
  CHECK(says(lab("#DECLARATION\na\n#END\n1 b\n"), "labels:4", "'b' is not declared"));

  const auto srew = [&](std::string_view text) { return refused({.transitions = tra, .state_rewards = text}); };
  CHECK(says(srew("# only\n"), "state_rewards:1", "ends here"));
  CHECK(says(srew("3 0\n"), "state_rewards:1", "of 3 states", "2"));
  CHECK(says(srew("2 1 1\n"), "state_rewards:1", "3 numbers"));
  CHECK(says(srew("2 1\n0 x\n"), "state_rewards:2", "'x'"));
  CHECK(says(srew("2 2\n0 1\n0 1\n"), "state_rewards:3", "state 0 is given twice"));
  CHECK(says(srew("2 2\n0 1\n"), "state_rewards:2", "2 rewards, of which 1"));
  CHECK(says(srew("2 1\n0 1\n1 1\n"), "state_rewards:3", "more rewards than the 1"));
  CHECK(says(srew("2 1\n0 inf\n"), "state_rewards:2", "'inf'"));

  const auto trew = [&](std::string_view text) { return refused({.transitions = tra, .transition_rewards = text}); };
  CHECK(says(trew("2 4 1\n0 0 1 1\n"), "transition_rewards:1", "of 4 choices", "3"));
  CHECK(says(trew("2 3 1\n0 0 0 1\n"), "transition_rewards:2", "no transition from state 0 by choice 0 to state 0"));
  CHECK(says(trew("2 3 1\n1 1 0 1\n"), "transition_rewards:2", "no transition"));
  CHECK(says(trew("2 3 2\n0 0 1 1\n0 0 1 1\n"), "transition_rewards:3", "given twice"));
  CHECK(says(trew("2 3 2\n0 0 1 1\n"), "transition_rewards:2", "2 rewards, of which 1"));
  CHECK(says(trew("2 3 0\n0 0 1 1\n"), "transition_rewards:2", "more rewards than the 0"));
  CHECK(says(trew("2 3 2\n1 0 1 1e308\n0 1 0 -1e308\n").substr(0, 7), "nothing"));  // order is free

  const auto sta = [&](std::string_view text) { return refused({.transitions = tra, .states = text}); };
  CHECK(says(sta("s\n"), "states:1", "parentheses"));
  CHECK(says(sta("(s)\n0:(1)\n"), "states:2", "2 states, of which 1"));
  CHECK(says(sta("(s)\n0:(1)\n0:(2)\n"), "states:3", "named twice"));
  CHECK(says(sta("(s)\n0 1\n"), "states:2", "'0 1' is no state"));
}

TEST_CASE("Files lie beside each other, and their names are in the errors") {
  const TemporaryFolder folder;
  const auto tra = folder.with("m.tra", "2 2 2\n0 0 1 1\n1 0 1 1\n");
  CHECK(load_prism(tra).mdp.reward(0, 0) == 0);
  folder.with("m.rews", "2 1\n0 3\n");
  folder.with("m.rewt", "2 2 1\n0 0 1 4\n");
  folder.with("m.lab", "0=\"init\"\n1: 0\n");
  const ModelFile file = load_mdp(tra);
  CHECK(file.mdp.reward(0, 0) == 7);
  CHECK(file.mdp.initial()[1] == 1);
  CHECK(load_prism(tra, {.find_companions = false}).mdp.reward(0, 0) == 0);
  const auto other = folder.with("other", "2 1\n1 8\n");
  CHECK(load_prism(tra, {.state_rewards = other}).mdp.reward(1, 0) == 8);
  folder.with("m.srew", "2 1\n0 x\n");
  CHECK(says(message_of([&] { load_mdp(tra); }), "m.srew", "m.rews", "both"));
  std::filesystem::remove(folder / "m.rews");
  CHECK(says(message_of([&] { load_mdp(tra); }), "m.srew:2: the reward is 'x'"));
  CHECK(says(message_of([&] { load_mdp(folder / "none.tra"); }), "none.tra", "cannot open"));
  CHECK(says(message_of([&] { load_prism(tra, {.labels = folder / "none.lab"}); }), "none.lab"));
}

TEST_CASE("What is saved in PRISM's form is read back to the last bit") {
  Rng rng{5};
  for (int round = 0; round < 20; ++round) {
    const int n = 2 + rng.below(6), m = 1 + rng.below(3);
    std::vector<ModelEntry> entries;
    std::vector<int> terminal;
    for (int s = 0; s < n; ++s) {
      if (s > 0 && rng.bernoulli(0.2)) {
        terminal.push_back(s);
        continue;
      }
      for (int a = 0; a < m; ++a) {
        if (s > 0 && a > 0 && rng.bernoulli(0.3)) continue;  // not available
        std::vector<double> p(static_cast<std::size_t>(n)), alpha(p.size(), 0.5);
        rng.dirichlet(alpha, p);
        double sum = 0;
        for (const double x : p) sum += x;
        const bool own = rng.bernoulli(0.5);
        const double r = rng.normal();
        for (int next = 0; next < n; ++next)
          entries.push_back({s, a, next, p[static_cast<std::size_t>(next)] / sum, own ? rng.normal() : r});
      }
    }
    ModelFile file{.mdp = FiniteMdp<double>(n, m, entries, terminal)};
    std::vector<double> initial(static_cast<std::size_t>(n), 0.0);
    initial[0] = initial[1] = 0.5;
    file.mdp = file.mdp.with_initial(initial);
    file.labels = {{"odd", {1}}, {"none", {}}};
    if (round % 2 == 0)
      for (int a = 0; a < m; ++a) file.action_names.push_back(fmt::format("a{}", a));
    if (round % 3 == 0)
      for (int s = 0; s < n; ++s) file.state_names.push_back(fmt::format("{},true", s));
    const TemporaryFolder folder;
    save_prism(file, folder / "model");
    const ModelFile back = load_mdp(folder / "model.tra", {.goal = terminal.empty() ? "" : "terminal"});
    check_equal(file.mdp.columns(), back.mdp.columns());
    CHECK(back.action_names == file.action_names);
    CHECK(back.state_names == file.state_names);
    CHECK(back.find_label("odd")->states == std::vector{1});
    CHECK(back.find_label("none")->states.empty());
    CHECK(back.find_label("terminal")->states == terminal);
    // Without the goal they are loops that earn nothing.
    for (const int s : terminal) CHECK(load_mdp(folder / "model.tra").mdp.reward(s, 0) == 0);
  }
}

TEST_CASE("What PRISM's form can't hold is refused, and nothing is written") {
  const TemporaryFolder folder;
  const ModelFile good{.mdp = FiniteMdp<double>(2, 1, std::vector<ModelEntry>{{0, 0, 1, 1.0}, {1, 0, 1, 1.0}})};
  const auto refuse = [&](const ModelFile& file) { return message_of([&] { save_prism(file, folder / "m"); }); };
  ModelFile file = good;
  file.action_names = {"go on"};
  CHECK(says(refuse(file), "action_names[0] is 'go on'", "without blanks"));
  file.action_names = {"a", "b"};
  CHECK(says(refuse(file), "action_names has 2 entries; expected 1"));
  file = good;
  file.labels = {{"a\"b", {}}};
  CHECK(says(refuse(file), "labels", "quotes"));
  file.labels = {{"a", {2}}};
  CHECK(says(refuse(file), "a label's state is 2"));
  file = good;
  file.mdp = file.mdp.with_initial({0.25, 0.75});
  CHECK(says(refuse(file), "state 0 has the initial probability 0.25"));
  file.mdp = FiniteMdp<double>(2, 2, std::vector<ModelEntry>{{0, 0, 1, 1.0}, {1, 0, 1, 1.0}});
  CHECK(says(refuse(file), "action 1, the last, is available nowhere"));
  CHECK(folder.files().empty());
  folder.with("m.srew", "2 1\n0 5\n");
  CHECK(says(refuse(good), "m.srew", "would be read with the model"));
  CHECK(folder.files().size() == 1);
}

TEST_CASE("Numbers in model files know no locale", "[F1]") {
  const test::DecimalComma locale;
  const ModelFile file =
      parse_prism({.transitions = "2 2\n0 1 1\n1 0 1e0\n", .state_rewards = "2 2\n0 1234.5\n1 0.25\n"});
  CHECK(file.mdp.reward(0, 0) == 1234.5);
  const TemporaryFolder folder;
  save_prism(file, folder / "m");
  CHECK(test::content_of(folder / "m.trew") == "2 2 2\n0 0 1 1234.5\n1 0 0 0.25\n");
  CHECK(says(refused("2 2\n0 1 1,0\n1 0 1\n"), "'1,0'"));
}

TEST_CASE("A line of any length passes the reader's buffer, and ends may be missing") {
  std::string text = "2 2 2\n0 0 1 1" + std::string(600'000, ' ') + "\n1 0 1 1";
  CHECK(parse_prism({.transitions = text}).mdp.states() == 2);
  // Rows across the ends of the buffer, which holds 2^18 bytes.
  std::string many = "60000 60000\n";
  for (int i = 0; i < 60'000; ++i) many += fmt::format("{} {} 1\n", i, (i + 7) % 60'000);
  const ModelFile file = parse_prism({.transitions = many});
  for (int i = 0; i < 60'000; i += 997) CHECK((*file.mdp.successors(i, 0).begin()).next == (i + 7) % 60'000);
}
