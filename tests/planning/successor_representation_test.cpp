#include "valence/planning/successor_representation.hpp"

#include <cmath>
#include <vector>

#include "planning/models.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/subspace.hpp"
#include "valence/env/four_rooms.hpp"
#include "valence/value/indicators.hpp"

using namespace valence;
using valence::test::m1;
using valence::test::message_of;
using valence::test::says;

namespace {

using valence::test::close;

/// To the left or to the right with 1/2 each; on a ring, or on a path whose ends hold.
FiniteMdp<double> walk(int states, bool ring) {
  std::vector<ModelEntry> entries;
  for (int s = 0; s < states; ++s)
    for (const int step : {-1, 1}) {
      const int next = ring ? (s + step + states) % states : std::clamp(s + step, 0, states - 1);
      entries.push_back({s, 0, next, .5});
    }
  return FiniteMdp(states, 1, entries);
}

}  // namespace

TEST_CASE("Successor representation of a ring and of a path: golden rows and singular values") {
  // Numbers: value.md 27, by numpy.
  const auto ring = walk(4, true);
  const Matrix<double> psi = successor_representation(ring, uniform_policy(ring), .9);
  const double row[] = {3.131578947368, 2.368421052632, 2.131578947368, 2.368421052632};
  for (int j = 0; j < 4; ++j) CHECK(psi(0, j) == close(row[j], 1e-11));
  const auto singular = singular_functions(psi, 4);
  const double values[] = {10, 1, 1, 0.526315789474};
  for (int k = 0; k < 4; ++k) CHECK(singular.values[k] == close(values[k], 1e-11));

  const auto path = walk(5, false);
  const Matrix<double> phi = successor_representation(path, uniform_policy(path), .9);
  const double path_row[] = {3.823618459941, 2.451089228817, 1.623246492986, 1.15612520004, .945920618215};
  const double path_values[] = {10, 3.678029625719, 1.385262761473, .782402028957, .578665094239};
  const auto pvf = proto_value_functions(path, uniform_policy(path), 5);
  const auto svd = singular_functions(phi, 5);
  for (int j = 0; j < 5; ++j) {
    CHECK(phi(0, j) == close(path_row[j], 1e-11));
    CHECK(phi.row(j).sum() == close(10, 1e-12));
    CHECK(svd.values[j] == close(path_values[j], 1e-11));
    CHECK(1 / (1 - .9 * pvf.values[j]) == close(path_values[j], 1e-11));
  }
  // Leading subspaces are the same, whatever the sign of a vector.
  for (int count = 1; count < 5; ++count)
    CHECK(subspace_distance(Matrix<double>(pvf.functions.topRows(count)),
                            Matrix<double>(svd.functions.topRows(count))) < 1e-11);
  CHECK((pvf.functions * pvf.functions.transpose() - Matrix<double>::Identity(5, 5)).cwiseAbs().maxCoeff() < 1e-13);
}

TEST_CASE("Successor representation: values are its product with rewards; deterministic policies; terminal states") {
  const auto model = m1();
  const std::vector<int> policy{0, 1};
  const Matrix<double> psi = successor_representation(model, std::span<const int>(policy), .9);
  const Vector<double> r{{model.reward(0, 0), model.reward(1, 1)}};
  const Vector<double> v = psi * r;
  CHECK(v[0] == close(12.28813559322, 1e-12));
  CHECK(v[1] == close(13.135593220339, 1e-12));

  const int terminal[] = {1};
  const FiniteMdp ends(2, 2, std::vector<ModelEntry>{{0, 0, 0, .5}, {0, 0, 1, .5}, {0, 1, 1, 1}}, terminal);
  const Matrix<double> uniform = uniform_policy(ends);
  CHECK((uniform.col(0).array() == .5).all());
  CHECK((uniform.col(1).array() == 0).all());
  const Matrix<double> visits = successor_representation(ends, uniform, .5);
  CHECK(visits(0, 0) == close(1 / (1 - .5 * .25)));
  CHECK(visits(0, 1) == close(.5 * .75 / (1 - .5 * .25)));
  CHECK(visits(1, 0) == 0);
  CHECK(visits(1, 1) == 1);
}

TEST_CASE("Four rooms: 104 states, a symmetric uniform walk, its top eigenvalues") {
  const GridWorld rooms = four_rooms();
  const FiniteMdp model{rooms};
  CHECK(model.states() == 104);
  const auto pvf = proto_value_functions(model, uniform_policy(model), 32);
  const double values[] = {1, .993656186578, .993656186578, .986713584212, .90902649523};
  for (int k = 0; k < 5; ++k) CHECK(pvf.values[k] == close(values[k], 1e-11));
  CHECK((pvf.functions.row(0).array().abs() - 1 / std::sqrt(104.0)).abs().maxCoeff() < 1e-12);
  CHECK(four_rooms(5).states().n == 20);
  CHECK(says(message_of([] { four_rooms(10); }), "four_rooms: side is 10", "odd"));
  CHECK(says(message_of([] { four_rooms(3); }), "side is 3"));
}

TEST_CASE("Four rooms: the best 32 features of more tasks are nearer to the proto-value functions") {
  const FiniteMdp model{four_rooms()};
  const Matrix<double> policy = uniform_policy(model), psi = successor_representation(model, policy, .97);
  const auto pvf = proto_value_functions(model, policy, 32);
  const auto distance = [&](int tasks) {
    double mean = 0;
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
      Rng rng{seed};
      const Matrix<double> cumulants = random_indicators(tasks, 104, .1, rng);
      mean += subspace_distance(singular_functions(Matrix<double>(psi * cumulants.transpose()), 32).functions,
                                pvf.functions) /
              4;
    }
    return mean;
  };
  // Means of value.md 27, by numpy on ten seeds: .564 +- .006, .472, .269, .093.
  CHECK(distance(32) == close(.564, 0, .025));
  CHECK(distance(64) == close(.472, 0, .025));
  CHECK(distance(320) == close(.269, 0, .02));
  CHECK(distance(3200) == close(.093, 0, .01));
}

TEST_CASE("Successor representation and proto-value functions: bad input") {
  const auto model = m1();
  const Matrix<double> policy = uniform_policy(model);
  for (const double discount : {-.1, 1.0, 1.1})
    CHECK(says(message_of([&] { successor_representation(model, policy, discount); }),
               "successor_representation: discount is"));
  CHECK(says(message_of([&] { successor_representation(model, Matrix<double>(policy.leftCols(1)), .9); }),
             "policy is 2 x 1"));
  CHECK(says(message_of([&] { proto_value_functions(model, policy, 1); }), "proto_value_functions", "from state 0 to 1",
             "symmetric", "singular_functions"));
  CHECK(says(message_of([&] { proto_value_functions(model, policy, 0); }), "count is 0"));
  CHECK(says(message_of([&] { proto_value_functions(model, policy, 3); }), "count is 3"));
  CHECK(says(message_of([&] { singular_functions(policy, 3); }), "count is 3"));
}
