#include "valence/io/cassandra.hpp"

#include <fmt/core.h>

#include <string>
#include <vector>

#include "io/files.hpp"
#include "support/close.hpp"
#include "valence/io/model_files.hpp"

using namespace valence;
using test::message_of, test::says, test::TemporaryFolder;

namespace {

std::string refused(const std::string& text, const ModelFileOptions& options = {}) {
  return message_of([&] { parse_cassandra(text, options); });
}
/// Four lines of preamble, then these.
std::string with_preamble(std::string_view rest) {
  return "discount: 0.95\nvalues: reward\nstates: low mid high\nactions: wait go\n" + std::string(rest);
}
std::vector<double> row(const FiniteMdp<double>& mdp, int s, int a) {
  std::vector<double> out(static_cast<std::size_t>(mdp.states()), 0.0);
  for (const auto& to : mdp.successors(s, a)) out[static_cast<std::size_t>(to.next)] += to.probability;
  return out;
}
/// The reward on the way from s to next, -99 where there is no way.
double reward_of(const FiniteMdp<double>& mdp, int s, int a, int next) {
  for (const auto& to : mdp.successors(s, a))
    if (to.next == next) return to.reward;
  return -99;
}
using Row = std::vector<double>;

}  // namespace

TEST_CASE("Cassandra's format: every way to give transitions") {
  const ModelFile file =
      parse_cassandra(with_preamble("# a comment: not read\n"
                                    "start: 0.2 0.3 0.5\n"
                                    "T: wait identity\n"
                                    "T : go : low : mid 0.25   T:go:low:low 0.75 # two on a line\n"
                                    "T: go : mid\n0.125 0.25\n0.625\n"
                                    "T: 1 : 2 uniform\n"));
  CHECK(file.mdp.states() == 3);
  CHECK(file.mdp.actions() == 2);
  CHECK(file.state_names == std::vector<std::string>{"low", "mid", "high"});
  CHECK(file.action_names == std::vector<std::string>{"wait", "go"});
  CHECK(file.discount == 0.95);
  for (int s = 0; s < 3; ++s) CHECK(row(file.mdp, s, 0) == Row{s == 0 ? 1.0 : 0, s == 1 ? 1.0 : 0, s == 2 ? 1.0 : 0});
  CHECK(row(file.mdp, 0, 1) == Row{0.75, 0.25, 0});
  CHECK(row(file.mdp, 1, 1) == Row{0.125, 0.25, 0.625});
  CHECK(row(file.mdp, 2, 1) == Row{1.0 / 3, 1.0 / 3, 1.0 / 3});
  CHECK(Row(file.mdp.initial().begin(), file.mdp.initial().end()) == Row{0.2, 0.3, 0.5});

  // Matrices, for one action and for all; wildcards; later lines win, of single entries too.
  const ModelFile other = parse_cassandra(
      "states: 2\nactions: 3\nvalues: reward\ndiscount: 0.5\n"
      "T: *\n0.25 0.75\n1.0 0.0\n"
      "T: 1 : 0 : 0 0\nT: 1 : 0 : 1 1\n"
      "T: 2 uniform\nT: 2 : 0 : 0 0.125\nT: 2 : 0 : 1 0.875\nT: * : 1 : 1 0.5\nT: * : 1 : 0 0.5\n");
  CHECK(row(other.mdp, 0, 0) == Row{0.25, 0.75});
  CHECK(row(other.mdp, 0, 1) == Row{0, 1});
  CHECK(row(other.mdp, 1, 0) == Row{0.5, 0.5});
  CHECK(row(other.mdp, 0, 2) == Row{0.125, 0.875});
  CHECK(row(other.mdp, 1, 2) == Row{0.5, 0.5});
  CHECK(other.state_names.empty());
  CHECK(other.action_names.empty());
}

TEST_CASE("Cassandra's format: later rows replace earlier ones whole") {
  const ModelFile file =
      parse_cassandra(with_preamble("start: high\nT: * identity\nT: go : * : * 0\n"
                                    "T: go : * : mid 1\nT: go : high reset\n"));
  CHECK(row(file.mdp, 0, 1) == Row{0, 1, 0});
  CHECK(row(file.mdp, 2, 1) == Row{0, 0, 1});
  CHECK(file.mdp.initial()[2] == 1);
}

TEST_CASE("Cassandra's format: rewards by pattern, the last that holds") {
  const std::string transitions = "T: * uniform\n";
  const ModelFile file =
      parse_cassandra(with_preamble(transitions + "R: * : * : * : * 1\n"
                                                  "R: go : * : * : * -2.5\n"
                                                  "R: go : mid : high : * 7\n"
                                                  "R: * : * : low 4\n"         // the form without observation
                                                  "R: wait : high 10 20 30\n"  // a row over successors
                                                  "R: 0 : 2 : 1 : * +21\n"));
  const FiniteMdp<double>& mdp = file.mdp;
  CHECK(reward_of(mdp, 0, 0, 1) == 1);
  CHECK(reward_of(mdp, 0, 1, 1) == -2.5);
  CHECK(reward_of(mdp, 1, 1, 2) == 7);
  CHECK(reward_of(mdp, 1, 1, 0) == 4);  // later than go's
  CHECK(reward_of(mdp, 2, 0, 0) == 10);
  CHECK(reward_of(mdp, 2, 0, 1) == 21);
  CHECK(reward_of(mdp, 2, 0, 2) == 30);
  CHECK(mdp.reward(2, 0) == test::close(61.0 / 3, 1e-14));

  const ModelFile costs = parse_cassandra(
      "discount: 1\nvalues: cost\nstates: 1\nactions: 2\nT: * identity\nR: * : * : * : * 3\nR: 1 : 0 : 0 : * 5\n");
  CHECK(costs.mdp.reward(0, 0) == -3);
  CHECK(costs.mdp.reward(0, 1) == -5);
}

TEST_CASE("Cassandra's format: where the process starts") {
  const auto initial = [](std::string_view start) {
    const ModelFile file = parse_cassandra(with_preamble(std::string(start) + "\nT: * identity\n"));
    return Row(file.mdp.initial().begin(), file.mdp.initial().end());
  };
  CHECK(initial("") == Row{});
  CHECK(initial("start: mid") == Row{0, 1, 0});
  CHECK(initial("start: 2") == Row{0, 0, 1});
  CHECK(initial("start: uniform") == Row{1.0 / 3, 1.0 / 3, 1.0 / 3});
  CHECK(initial("start: 1 0 0") == Row{1, 0, 0});
  CHECK(initial("start include: low 2") == Row{0.5, 0, 0.5});
  CHECK(initial("start exclude: low") == Row{0, 0.5, 0.5});
  CHECK(initial("start exclude:") == Row{1.0 / 3, 1.0 / 3, 1.0 / 3});
  CHECK(says(refused(with_preamble("start include:\nT: * identity\n")), "starts in no state"));
  CHECK(says(refused(with_preamble("start exclude: *\nT: * identity\n")), "starts in no state"));
  CHECK(says(refused(with_preamble("start: 0.5 0.5 0.5\nT: * identity\n")), "sum to 1.5"));
  CHECK(says(refused(with_preamble("start: 3\nT: * identity\n")), "text:5", "probability is '3'"));
  CHECK(says(refused(with_preamble("start: low\nstart: low\n")), "text:6", "given twice"));
}

TEST_CASE("Cassandra's format: absorbing states are terminal on request only") {
  const std::string text = with_preamble(
      "T: * uniform\nT: * : high : * 0\nT: * : high : high 1\nT: * : mid : * 0\n"
      "T: * : mid : mid 1\nR: * : mid : * : * 1\n");
  CHECK_FALSE(parse_cassandra(text).mdp.terminal(2));
  const ModelFile file = parse_cassandra(text, {.absorbing_are_terminal = true});
  CHECK(file.mdp.terminal(2));
  CHECK_FALSE(file.mdp.terminal(1));  // it earns
}

TEST_CASE("Every fault of a file in Cassandra's format names its line") {
  CHECK(says(refused(""), "text:0", "the end of the file is here; expected states:"));
  CHECK(says(refused("states: 2\nT: 0 identity\n"), "text:2", "'T' is here; expected actions:"));
  CHECK(says(refused("states: 2\nactions: 1\nT: 0 identity\n"), "text:3", "expected discount:"));
  CHECK(says(refused("states: 2\nstates: 3\n"), "text:2", "states are given twice"));
  CHECK(says(refused("states: 0\n"), "text:1", "0 states"));
  CHECK(says(refused("states: a b a\n"), "text:1", "'a' is listed twice"));
  CHECK(says(refused("states: a 2b\n"), "text:1", "'2b' is no name"));
  CHECK(says(refused("states:\nactions: 2\n"), "text:2", "no states"));
  CHECK(says(refused("discount 0.9\n"), "text:1", "'0.9' is here; expected ':'"));
  CHECK(says(refused("discount: 1.5\n"), "discount is 1.5"));
  CHECK(says(refused("discount: nan\n"), "text:1", "'nan'"));
  CHECK(says(refused("values: money\n"), "text:1", "'money'; expected reward or cost"));
  CHECK(says(refused("states: 60000\nactions: 60000\ndiscount: 1\nT: * identity\n"), "60000 states x 60000 actions"));
  CHECK(says(refused("discount: 1\nstates: 2\nactions: 1\nobservations: 2\n"), "text:4", "partially observable"));
  CHECK(says(refused(with_preamble("O: * uniform\n")), "text:5", "partially observable"));
  CHECK(says(refused(with_preamble("Q: go\n")), "text:5", "'Q' is here; expected T:, R: or start:"));
  CHECK(says(refused(with_preamble("T: fly identity\n")), "text:5", "action is 'fly'", "[0, 1]"));
  CHECK(says(refused(with_preamble("T: go : low : 3 0.5\n")), "text:5", "state is '3'"));
  CHECK(says(refused(with_preamble("T: go : low : mid\nT: 0\n")), "text:6", "probability is 'T'"));
  CHECK(says(refused(with_preamble("T: go : low : mid 1.01\n")), "text:5", "'1.01'"));
  CHECK(says(refused(with_preamble("T: go : low 0.5 0.5\n")), "text:5", "probability is the end of the file"));
  CHECK(says(refused(with_preamble("T: go : low identity\n")), "text:5", "'identity' is of a whole matrix"));
  CHECK(says(refused(with_preamble("T: go : low reset\n")), "text:5", "expected start:"));
  CHECK(says(refused(with_preamble("R: go : low : mid : o1 5\n")), "text:5", "observation is 'o1'; expected *"));
  CHECK(says(refused(with_preamble("R: go : low : mid : * x\n")), "text:5", "reward is 'x'"));
  CHECK(says(refused(with_preamble("T: wait identity\n")), "text:5", "transitions of state low, action go"));
  CHECK(says(refused(with_preamble("T: * identity\n\nT: go : mid : low 0.5\n")), "text:5",
             "probabilities of state 1, choice 1 sum to 1.5"));
  CHECK(says(refused(with_preamble("T: * identity\nR: * : * : * : * 1e308\nR: go : low : low : * 1e309\n")), "text:7",
             "'1e309'"));
  // A few bytes can't ask for endless work.
  std::string work = "discount: 1\nstates: 4000\nactions: 1\n";
  for (int i = 0; i < 50; ++i) work += "T: * : * : * 0\n";
  CHECK(says(refused(work, {.max_entries = 1'000'000}), "text:4", "more than 1000000 transitions"));
}

TEST_CASE("What is saved in Cassandra's format is read back to the last bit") {
  Rng rng{11};
  for (int round = 0; round < 15; ++round) {
    const int n = 2 + rng.below(5), m = 1 + rng.below(3);
    std::vector<int> terminal;
    std::vector<ModelEntry> entries;
    for (int s = 0; s < n; ++s) {
      if (s > 0 && rng.bernoulli(0.25)) {
        terminal.push_back(s);
        continue;
      }
      for (int a = 0; a < m; ++a) {
        std::vector<double> p(static_cast<std::size_t>(n)), alpha(p.size(), 0.3);
        rng.dirichlet(alpha, p);
        const double r = rng.normal();
        for (int next = 0; next < n; ++next)
          entries.push_back({s, a, next, p[static_cast<std::size_t>(next)], round % 2 == 0 ? r : rng.normal()});
      }
    }
    std::vector<double> initial(static_cast<std::size_t>(n)), alpha(initial.size(), 1.0);
    rng.dirichlet(alpha, initial);
    ModelFile file{.mdp = FiniteMdp<double>(n, m, entries, terminal, initial), .discount = rng.uniform()};
    if (round % 3 == 0)
      for (int s = 0; s < n; ++s) file.state_names.push_back(fmt::format("s_{}", s));
    if (round % 4 != 0)
      for (int a = 0; a < m; ++a) file.action_names.push_back(fmt::format("go-{}", a));
    const TemporaryFolder folder;
    save_cassandra(file, folder / "model.mdp");
    const ModelFile back = load_mdp(folder / "model.mdp", {.absorbing_are_terminal = true});
    const ModelColumns<double>&a = file.mdp.columns(), &b = back.mdp.columns();
    CHECK(a.row_begin == b.row_begin);
    CHECK(a.next == b.next);
    CHECK(a.probability == b.probability);
    CHECK(a.reward == b.reward);
    CHECK(a.entry_reward == b.entry_reward);
    CHECK(a.terminal == b.terminal);
    CHECK(a.initial == b.initial);
    CHECK(back.state_names == file.state_names);
    CHECK(back.action_names == file.action_names);
    CHECK(back.discount == file.discount);
  }
}

TEST_CASE("What Cassandra's format can't hold is refused, and nothing is written") {
  const TemporaryFolder folder;
  const auto refuse = [&](const ModelFile& file) { return message_of([&] { save_cassandra(file, folder / "m"); }); };
  const FiniteMdp<double> mdp(2, 2,
                              std::vector<ModelEntry>{{0, 0, 1, 1.0}, {0, 1, 0, 1.0}, {1, 0, 1, 1.0}, {1, 1, 0, 1.0}});
  CHECK(says(refuse({.mdp = mdp}), "no discount"));
  CHECK(says(refuse({.mdp = mdp, .discount = 1.5}), "discount is 1.5"));
  CHECK(says(refuse({.mdp = mdp, .state_names = {"a", "T"}, .discount = 1}), "state_names[1] is 'T'"));
  CHECK(says(refuse({.mdp = mdp, .action_names = {"a", "a"}, .discount = 1}), "action_names[1] is 'a'"));
  CHECK(says(refuse({.mdp = mdp, .action_names = {"a"}, .discount = 1}), "action_names has 1 entries; expected 2"));
  const FiniteMdp<double> gap(2, 2, std::vector<ModelEntry>{{0, 0, 1, 1.0}, {0, 1, 0, 1.0}, {1, 0, 1, 1.0}});
  CHECK(says(refuse({.mdp = gap, .discount = 1}), "action 1 is not available in state 1"));
  CHECK(folder.files().empty());
}

TEST_CASE("Files in Cassandra's format know no locale, and have a digit on both sides of the point", "[F1]") {
  const test::DecimalComma locale;
  const FiniteMdp<double> mdp(1, 1, std::vector<ModelEntry>{{0, 0, 0, 1.0, 1e-5}});
  const TemporaryFolder folder;
  save_cassandra({.mdp = mdp, .discount = 0.25}, folder / "m");
  CHECK(test::content_of(folder / "m") ==
        "discount: 0.25\nvalues: reward\nstates: 1\nactions: 1\nT: 0 : 0 : 0 1.0\nR: 0 : 0 : * : * 1.0e-05\n");
  CHECK(load_cassandra(folder / "m").mdp.reward(0, 0) == 1e-5);
}

namespace {

constexpr auto drn =
    "// Exported by hand\n@type: MDP\n@value_type: double\n@parameters\n\n@reward_models\nsteps energy \n"
    "@nr_states\n3\n@nr_choices\n4\n@model\n"
    "state 0 [0, 2.5] init \"not a goal\"\n\taction up [1, 0.5]\n\t\t1 : 0.25\n\t\t2 : 0.75\n"
    "\taction down [1, 0]\n\t\t0 : 1\n"
    "//[x=1]\nstate 1 [0, 0] goal\n\taction __NOLABEL__ [0, 0]\n\t\t1 : 1\n"
    "state 2 [0, 1]\n\taction up [2, 0]\n\t\t0 : 1/3 // a third\n\t\t1 : 2/3\n";

std::string refused_drn(const std::string& text, const ModelFileOptions& options = {}) {
  return message_of([&] { parse_drn(text, options); });
}
std::string changed(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("A DRN file is read") {
  const ModelFile file = parse_drn(drn, {.goal = "goal", .reward_model = "energy"});
  CHECK(file.mdp.states() == 3);
  CHECK(file.mdp.actions() == 2);
  CHECK(row(file.mdp, 0, 0) == Row{0, 0.25, 0.75});
  CHECK(row(file.mdp, 2, 0) == Row{1.0 / 3, 2.0 / 3, 0});
  CHECK(file.mdp.terminal(1));
  CHECK(file.mdp.reward(0, 0) == 3);
  CHECK(file.mdp.reward(0, 1) == 2.5);
  CHECK(file.mdp.reward(2, 0) == 1);
  CHECK(file.mdp.initial()[0] == 1);
  CHECK(file.find_label("not a goal")->states == std::vector{0});
  CHECK(file.action_names == std::vector<std::string>{"0", "down"});  // choice 0 has no name in state 1
  CHECK(parse_drn(drn, {.reward_model = "steps"}).mdp.reward(2, 0) == 2);
  const TemporaryFolder folder;
  CHECK(load_mdp(folder.with("m", drn), {.reward_model = "steps"}).mdp.reward(0, 1) == 1);
}

TEST_CASE("Every fault of a DRN file names its line") {
  CHECK(says(refused_drn(drn), "text:12", "reward models are 'steps, energy'", "reward_model"));
  const ModelFileOptions steps{.reward_model = "steps"};
  CHECK(says(refused_drn(drn, {.reward_model = "time"}), "no reward model 'time'"));
  CHECK(says(refused_drn(changed(drn, "MDP", "POMDP"), steps), "text:2", "type 'POMDP'"));
  CHECK(says(refused_drn(changed(drn, "double", "parametric"), steps), "text:3", "'parametric'"));
  CHECK(says(refused_drn(changed(drn, "@parameters\n", "@parameters\np q"), steps), "text:5", "parameter 'p'"));
  CHECK(says(refused_drn(changed(drn, "@parameters", "@placeholders"), steps), "text:4", "'@placeholders'"));
  CHECK(says(refused_drn(changed(drn, "\n3\n", "\n4\n"), steps), "4 states, of which 3 came"));
  CHECK(says(refused_drn(changed(drn, "\n3\n", "\n2\n"), steps), "text:16", "successor is '2'"));
  CHECK(says(refused_drn(std::string(drn) + "state 3\n", steps), "text:27", "more states than the 3"));
  CHECK(says(refused_drn(changed(drn, "\n4\n", "\n5\n"), steps), "5 choices, of which 4 came"));
  CHECK(says(refused_drn(changed(drn, "state 1", "state 2"), steps), "text:20", "state is 2; expected 1"));
  CHECK(says(refused_drn(changed(drn, "2 : 0.75", "3 : 0.75"), steps), "text:16", "successor is '3'"));
  CHECK(says(refused_drn(changed(drn, "2 : 0.75", "2 0.75"), steps), "text:16", "'2' is no line of a model"));
  CHECK(says(refused_drn(changed(drn, "2 : 0.75", "2 : 0.7"), steps), "text:14", "sum to 0.95"));
  CHECK(says(refused_drn(changed(drn, "[1, 0.5]", "[1]"), steps), "text:14", "1 rewards; expected 2"));
  CHECK(says(refused_drn(changed(drn, "[1, 0.5]", "[1, 0.5"), steps), "text:14", "bracket"));
  CHECK(says(refused_drn(changed(drn, "2 : 0.75", "2 : [0.7, 0.8]"), steps), "text:16", "'[0.7,'"));
  CHECK(says(refused_drn("@type: MDP\n@model\n"), "text:2", "@nr_states"));
  CHECK(says(refused_drn("@type: MDP\n@nr_states\n"), "text:2", "ends here"));
  const TemporaryFolder folder;
  CHECK(says(message_of([&] { load_mdp(folder.with("m", "hello world\n")); }), "m:1", "begins with 'hello'"));
  CHECK(says(message_of([&] { load_mdp(folder.with("e", "\n# x\n")); }), "e:2", "ends here"));
}
