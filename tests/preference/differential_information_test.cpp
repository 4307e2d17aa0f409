#include "valence/preference/differential_information.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/core/types.hpp"
#include "valence/mdp/responses.hpp"
#include "valence/offline/fit_preferences.hpp"
#include "valence/policy/divergences.hpp"
#include "valence/policy/log_linear.hpp"
#include "valence/preference/losses.hpp"

using namespace valence;

namespace {

using valence::test::close;
using valence::test::message_of;
using valence::test::says;

const Matrix<double> reference = Vector<double>{{.4, .3, .2, .1}}, target = Vector<double>{{.1, .2, .3, .4}};

Matrix<double> random_policy(int answers, int prompts, Rng& rng) {
  Matrix<double> logits(answers, prompts);
  rng.fill_normal(view(logits));
  return softmax(logits);
}

void check_close(const Matrix<double>& seen, const std::vector<double>& expected, double tolerance) {
  REQUIRE(seen.size() == static_cast<Eigen::Index>(expected.size()));
  for (Eigen::Index i = 0; i < seen.size(); ++i)
    CHECK(seen.data()[i] == close(expected[static_cast<std::size_t>(i)], tolerance));
}

}  // namespace

TEST_CASE("differential information and the optimal rejected law of four answers", "[differential_information]") {
  check_close(differential_information(target, reference),
              {0.03896103896104, 0.1038961038961, 0.2337662337662, 0.6233766233766}, 1e-12);
  CHECK(did_entropy(target, reference) == close(0.996068936592));
  check_close(optimal_rejected(target, reference, .5),
              {0.5794066795862, 0.2661095097275, 0.1182708932122, 0.03621291747414}, 1e-12);
  check_close(optimal_rejected(target, reference, 1),
              {0.7245283018868, 0.2037735849057, 0.06037735849057, 0.01132075471698}, 1e-12);
}

TEST_CASE("where chosen and rejected are drawn so, labels encode the information", "[differential_information]") {
  const double beta = .5;
  const Matrix<double> rejected = optimal_rejected(target, reference, beta);
  const Matrix<double> q = differential_information(target, reference);
  // The log-odds that answer 3 is the chosen of {0, 3}.
  const double odds = std::log(reference(3) * rejected(0) / (reference(0) * rejected(3)));
  CHECK(odds == close(1.38629436112));
  CHECK(odds == close(beta * std::log(q(3) / q(0))));
}

TEST_CASE("margins grow from the rejected law over the reference to the target", "[differential_information]") {
  Rng rng{2};
  for (const double beta : {.1, .5, 2.0}) {
    const Matrix<double> from = random_policy(6, 1, rng), to = random_policy(6, 1, rng);
    const Matrix<double> rejected = optimal_rejected(to, from, beta), q = differential_information(to, from);
    for (int w = 0; w < 6; ++w)
      for (int l = 0; l < 6; ++l) {
        const auto margin = [&](const Matrix<double>& p) { return std::log(p(w) / p(l)); };
        CHECK(margin(to) - margin(from) == close(margin(q), 1e-11, 1e-13));
        CHECK(margin(from) - margin(rejected) == close(beta * margin(q), 1e-11, 1e-13));
      }
  }
}

TEST_CASE("nothing to learn is uniform, and rejects what the reference says", "[differential_information]") {
  const Matrix<double> q = differential_information(reference, reference);
  check_close(q, {.25, .25, .25, .25}, 1e-15);
  CHECK(did_entropy(reference, reference) == close(std::log(4.0)));
  check_close(optimal_rejected(reference, reference, .5), {.4, .3, .2, .1}, 1e-14);
}

TEST_CASE("both maps can be inverted, of every prompt alone", "[differential_information]") {
  Rng rng{1};
  const Matrix<double> from = random_policy(7, 3, rng), to = random_policy(7, 3, rng);
  const Matrix<double> q = differential_information(to, from);
  double entropy = 0;
  for (int x = 0; x < 3; ++x) {
    const Vector<double> back = from.col(x).cwiseProduct(q.col(x)) / from.col(x).dot(q.col(x));
    CHECK((back - to.col(x)).cwiseAbs().maxCoeff() < 1e-14);
    entropy += did_entropy(Matrix<double>(to.col(x)), Matrix<double>(from.col(x))) / 3;
  }
  CHECK(did_entropy(to, from) == close(entropy));
  for (const double beta : {.05, .5, 1.0, 4.0}) {
    const Matrix<double> rejected = optimal_rejected(to, from, beta);
    CHECK((encoded_target(from, rejected, beta) - to).cwiseAbs().maxCoeff() < 1e-12);
  }
}

TEST_CASE("DPO with the optimal rejected law returns the target", "[differential_information]") {
  // The composition of the specification.
  auto pi = LogLinearPolicy::tabular(reference);
  const auto pairs = population_pairs(reference, optimal_rejected(target, reference, .5));
  const Minimum found = fit(pi, Dpo{.beta = .5}, {.pairs = pairs}, Lbfgs{.tolerance = 1e-12});
  CHECK(found.converged);
  const Matrix<double> learned = pi.probabilities();
  for (int y = 0; y < 4; ++y) CHECK(learned(y) == close(target(y), 1e-8));
  CHECK(divergence(JensenShannon{}, view(target), view(learned)) < 1e-15);
  // Not so with pairs that were made for another beta: then it is the target that they encode.
  auto other = LogLinearPolicy::tabular(reference);
  const auto sharper = optimal_rejected(target, reference, 1);
  fit(other, Dpo{.beta = .5}, {.pairs = population_pairs(reference, sharper)}, Lbfgs{.tolerance = 1e-12});
  const Matrix<double> expected = encoded_target(reference, sharper, .5), seen = other.probabilities();
  for (int y = 0; y < 4; ++y) CHECK(seen(y) == close(expected(y), 1e-7));
  CHECK(divergence(JensenShannon{}, view(target), view(seen)) > .01);
}

TEST_CASE("probabilities of any size have their information", "[differential_information]") {
  const Matrix<double> tiny = Vector<double>{{1 - 1e-300, 1e-300}}, even = Vector<double>{{.5, .5}};
  const Matrix<double> q = differential_information(tiny, even);
  CHECK(q(1) == close(1e-300));
  const Matrix<double> rejected = optimal_rejected(tiny, even, 2);  // (1 / 1e-300)^2 overflows
  CHECK(rejected(1) == 1);
  CHECK(rejected(0) == 0);
}

TEST_CASE("bad input of differential information", "[differential_information][bad_input]") {
  const Matrix<double> zero = Vector<double>{{.5, .5, 0, 0}}, scaled = 2 * reference,
                       three = Vector<double>{{.5, .25, .25}}, nothing(0, 0);
  CHECK(says(message_of([&] { differential_information(zero, reference); }), "policy(2, 0) is 0"));
  CHECK(says(message_of([&] { differential_information(target, zero); }), "reference(2, 0) is 0"));
  CHECK(says(message_of([&] { differential_information(scaled, reference); }), "policy sums to"));
  CHECK(says(message_of([&] { did_entropy(three, reference); }), "4 x 1", "3 x 1"));
  CHECK(says(message_of([&] { differential_information(nothing, nothing); }), "empty"));
  CHECK(says(message_of([&] { optimal_rejected(nothing, nothing, .5); }), "empty"));
  CHECK(says(message_of([&] { optimal_rejected(three, reference, .5); }), "4 x 1", "3 x 1"));
  CHECK(says(message_of([&] { optimal_rejected(zero, reference, .5); }), "optimal_rejected", "target(2, 0)"));
  CHECK(says(message_of([&] { encoded_target(reference, zero, .5); }), "encoded_target", "rejected(2, 0)"));
  for (const double beta : {0.0, -1.0, HUGE_VAL}) {
    CHECK(says(message_of([&] { optimal_rejected(target, reference, beta); }), "beta"));
    CHECK(says(message_of([&] { encoded_target(target, reference, beta); }), "beta"));
  }
}
