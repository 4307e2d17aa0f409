// Logged bandit feedback from CSV files.
#include <Eigen/Core>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/evaluation/bandit_feedback.hpp"
#include "valence/evaluation/off_policy.hpp"
#include "valence/io/bandit_feedback.hpp"

using namespace valence;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;
using Integers = std::vector<int>;

namespace {

constexpr const char* three_rounds =
    "item_id,position,click,propensity,user_0,other,user_1\n"
    "4,2,0,0.25,7,x,0\n"
    "0,3,1,1,-1.5,y,2\n"
    "2,1,0,0.001,7,,0\n";

std::string with(const std::string& row) { return std::string(three_rounds) + row + "\n"; }

}  // namespace

TEST_CASE("bandit feedback: columns by name, position kept, other columns ignored") {
  const LoggedBandit log = parse_bandit_feedback(three_rounds);
  CHECK(log.actions == 5);
  CHECK(log.action == Integers{4, 0, 2});
  CHECK(log.position == Integers{2, 3, 1});
  CHECK(log.positions() == 4);
  CHECK(log.reward == Numbers{0, 1, 0});
  CHECK(log.propensity == Numbers{0.25, 1, 0.001});
  CHECK(log.features == std::vector<std::string>{"user_0", "user_1"});
  Matrix<double> context(2, 3);
  context << 7, -1.5, 7, 0, 2, 0;
  CHECK(log.context == context);
  CHECK(log.situation(1).position == 3);
  CHECK(log.situation(1).context[1] == 2);
  check_log("test", log);

  const test::TemporaryFolder folder;
  CHECK(load_bandit_feedback(folder.with("log.csv", three_rounds)).action == log.action);
}

TEST_CASE("bandit feedback: Open Bandit's own column names, in any order, and names of one's own") {
  for (const std::string name : {"propensity", "action_prob", "propensity_score", "pscore"}) {
    const LoggedBandit log = parse_bandit_feedback(",timestamp,reward," + name + ",action\n0,2019-11-24,0.5,0.125,3\n");
    CHECK(log.propensity == Numbers{0.125});
    CHECK(log.reward == Numbers{0.5});
    CHECK(log.action == Integers{3});
    CHECK(log.position.empty());
    CHECK(log.positions() == 1);
    CHECK((log.context.size() == 0 && log.situation(0).context.empty() && log.situation(0).position == 0));
  }
  const LoggedBandit own = parse_bandit_feedback("arm;slot;paid;p;f_a\n1;5;-2;0.5;3\n", {.action = "arm",
                                                                                         .position = "slot",
                                                                                         .reward = "paid",
                                                                                         .propensity = "p",
                                                                                         .context_prefix = "f_",
                                                                                         .actions = 7,
                                                                                         .csv = {.separator = ';'}});
  CHECK((own.actions == 7 && own.action[0] == 1 && own.position[0] == 5 && own.reward[0] == -2));
  CHECK(own.context(0, 0) == 3);
}

TEST_CASE("bandit feedback: categories become one feature each") {
  const LoggedBandit log =
      parse_bandit_feedback("item_id,click,propensity,user_b,user_a\n0,0,0.5,cef3,1\n1,0,0.5,81ce,1\n0,0,0.5,cef3,0\n",
                            {.categorical = true});
  CHECK(log.features == std::vector<std::string>{"user_b=cef3", "user_b=81ce", "user_a=1", "user_a=0"});
  Matrix<double> context(4, 3);
  context << 1, 0, 1, 0, 1, 0, 1, 1, 0, 0, 0, 1;
  CHECK(log.context == context);
}

TEST_CASE("bandit feedback: a probability that is none is refused with line and column", "[O8]") {
  for (const std::string p : {"0", "-0.5", "1.0000001", "nan", "inf", "", "x"})
    CHECK(says(message_of([&] { parse_bandit_feedback(with("1,1,0," + p + ",0,z,0")); }), "line 5", "propensity"));
  CHECK(says(message_of([&] { parse_bandit_feedback(with("1,1,0,1.5,0,z,0")); }), "1.5", "(0, 1]"));
  CHECK(says(message_of([] { parse_bandit_feedback("item_id,click\n0,0\n"); }), "no column", "propensity",
             "item_id, click"));
}

TEST_CASE("bandit feedback: other bad cells are named") {
  const auto says_of = [](const std::string& row, auto... words) {
    return says(message_of([&] { parse_bandit_feedback(with(row)); }), "line 5", words...);
  };
  CHECK(says_of("-1,1,0,0.5,0,z,0", "item_id", "-1"));
  CHECK(says_of("1.5,1,0,0.5,0,z,0", "item_id", "1.5"));
  CHECK(says_of("2147483647,1,0,0.5,0,z,0", "item_id"));  // the number of actions would overflow
  CHECK(says_of("1,-1,0,0.5,0,z,0", "position", "-1"));
  CHECK(says_of("1,,0,0.5,0,z,0", "position", "empty"));
  CHECK(says_of("1,1,yes,0.5,0,z,0", "click", "yes"));
  CHECK(says_of("1,1,0,0.5,nan,z,0", "user_0", "nan"));
  CHECK(says_of("1,1,0,0.5,0,z", "6 cells"));
  CHECK(says(message_of([] { parse_bandit_feedback(three_rounds, {.actions = 4}); }), "line 2", "[0, 3]", "4"));
  CHECK(says(message_of([] { parse_bandit_feedback(three_rounds, {.actions = -1}); }), "actions is -1"));
  CHECK(says(message_of([] { parse_bandit_feedback("item_id,click,propensity\n"); }), "no rows"));
  CHECK(says(message_of([] { parse_bandit_feedback(three_rounds, {.position = "slot"}); }), "no column", "slot"));
}
