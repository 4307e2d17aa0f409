// Soft actor-critic: policy_gradient.md A7, baseline.md 5, and the faults that others shipped.
#include "valence/policy_gradient/soft_actor.hpp"

#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/math.hpp"
#include "valence/function/tabular.hpp"
#include "valence/mdp/spaces.hpp"
#include "valence/policy/categorical.hpp"
#include "valence/policy/squashed_gaussian.hpp"
#include "valence/policy_gradient/surrogate.hpp"
#include "valence/value/one_step.hpp"

using namespace valence;
using valence::test::gradient_matches;
using valence::test::message_of;
using valence::test::says;
using Numbers = std::vector<double>;

namespace {

using valence::test::close;

constexpr double poison = std::numeric_limits<double>::quiet_NaN();
const Numbers z{0.5, -1, 2, 0}, q1{1, 0.5, 2, -1}, q2{0.8, 0.9, 1.7, -0.5}, least{0.8, 0.5, 1.7, -1};

std::span<const double> in(const Numbers& x) { return x; }

void same(std::span<const double> seen, const Numbers& expected, double tolerance = 1e-13) {
  REQUIRE(seen.size() == expected.size());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    CAPTURE(i);
    CHECK(seen[i] == close(expected[i], tolerance, tolerance));
  }
}

}  // namespace

TEST_CASE("A7: soft value, target and actor with discrete actions") {
  CHECK(soft_value(in(z), q1, q2, 0.2) == close(1.43115719408650));
  CHECK(soft_value(in(z), least, {}, 0.2) == close(1.43115719408650));
  CHECK(td_target(1.0, soft_value(in(z), q1, q2, 0.2), false, {.discount = 0.99}) == close(2.41684562214564));

  const DiscreteSacActor loss{.temperature = 0.2};
  Numbers dz(4);
  const auto r = loss(in(z), q1, q2, 1, dz);
  CHECK(r.value == close(-1.43115719408650));
  CHECK(r.entropy == close(0.878281175268733));
  same(dz, {0.0416214093939658, 0.00928699174367895, -0.239525738158702, 0.188617337021057});
  CHECK(gradient_matches(
      [&](std::span<const double> x) {
        Numbers unused(4);
        return 3 * DiscreteSacActor{.temperature = 0.7}(x, q1, q2, 1, unused).value;
      },
      z,
      [&] {
        Numbers d(4);
        DiscreteSacActor{.temperature = 0.7}(in(z), q1, q2, 3, d);
        return d;
      }()));

  // The best policy is softmax(min Q / alpha): given, and flat there.
  Numbers best(4), p(4), flat(4);
  for (std::size_t a = 0; a < 4; ++a) best[a] = least[a] / 0.2;
  Softmax{4}.probabilities(in(best), p);
  same(p, {0.0109600589850603, 0.00244551971657274, 0.986593068719635, 1.35257873212474e-06}, 1e-14);
  loss(in(best), q1, q2, 1, flat);
  same(flat, {0, 0, 0, 0}, 1e-15);
}

TEST_CASE("The expectation over actions is a sum weighted by the policy", "[G21]") {
  const Numbers logits{std::log(0.7), std::log(0.3)}, q{1, 2};
  CHECK(soft_value(in(logits), q, {}, 0.1) == close(1.36108643, 1e-8));
}

TEST_CASE("What is masked isn't read, and extremes stay finite") {
  const Numbers hidden{0.5, poison, 2, -std::numeric_limits<double>::infinity()}, q{1, poison, 2, 5},
      other{3, poison, 1, 5};
  const bool mask[4] = {true, false, true, true};
  Numbers dz{0, 9, 0, 0};
  const auto r = DiscreteSacActor{}(in(hidden), q, other, 1, dz, mask);
  CHECK(r.value == close(-soft_value(in(hidden), q, other, 0.2, mask)));
  CHECK((dz[1] == 9 && dz[3] == 0 && std::isfinite(dz[0])));
  const Numbers steep{700, -700, 0, 1};
  Numbers d(4);
  CHECK(DiscreteSacActor{}(in(steep), q1, q2, 1, d).value == close(-0.8));
  for (const double x : d) CHECK(std::isfinite(x));
  CHECK(says(message_of([&] { DiscreteSacActor{}(in(z), q, {}, 1, d); }), "q1[1]", "nan"));
  CHECK(says(message_of([&] { DiscreteSacActor{}(in(z), q1, in(q2).first(2), 1, d); }), "q2 has 2"));
  CHECK(says(message_of([&] { DiscreteSacActor{.temperature = 0}(in(z), q1, q2, 1, d); }), "temperature"));
}

TEST_CASE("baseline.md: the target takes the smaller critic and the entropy; TD3's is that without") {
  const Numbers q{2, 2.3}, swapped{2.3, 2}, bad{2, poison};
  CHECK(sac_target(1.0, q, -1, false, {.temperature = 0.2, .discount = 0.99}) == close(3.178));
  CHECK(sac_target(1.0, swapped, -1, false, {.temperature = 0.2, .discount = 0.99}) == close(3.178));
  CHECK(sac_target(1.0, q, 0, false, {.discount = 0.99}) == close(2.98));
  CHECK(sac_target(1.0, {}, poison, true) == 1);  // nothing of the next state is read
  CHECK(says(message_of([&] { sac_target(1.0, bad, -1, false); }), "next_q[1]", "nan"));
  CHECK(says(message_of([&] { sac_target(1.0, q, poison, false); }), "next_log_prob"));
  CHECK(says(message_of([&] { sac_target(1.0, {}, -1, false); }), "next_q is empty"));
}

TEST_CASE("A7: the actor of continuous actions, down to the law's outputs") {
  const SquashedGaussian law{Box{-1.0, 1.0}};
  const Numbers y{0.1, -1};
  const double noise = 0.3, alpha = 0.2;
  const auto critic = [](double a) { return -(a - 0.5) * (a - 0.5); };
  const auto loss_at = [&](std::span<const double> at) {
    const Numbers l{law.action_log_prob(at, noise)}, q{critic(law.action(at, noise))};
    return SacActor{alpha}(SacColumns<double>{.log_prob = l, .q1 = q}, {});
  };
  CHECK(loss_at(y) == close(0.101663036966460));
  const double a = law.action(in(y), noise);
  const Numbers l{law.action_log_prob(in(y), noise)}, q{critic(a)};
  Numbers d_log_prob(1), d_q(1), dy(2);
  SacActor{alpha}(SacColumns<double>{.log_prob = l, .q1 = q}, {.log_prob = d_log_prob, .q1 = d_q});
  law.pullback_action(in(y), noise, d_q[0] * -2 * (a - 0.5), d_log_prob[0], dy);
  same(dy, {-0.477285797923771, -0.252675089785779});
  CHECK(gradient_matches(loss_at, y, dy));

  // baseline.md's action and density.
  const Numbers b{0.3, -0.5};
  CHECK(law.action(in(b), 0.7) == close(0.619732988094, 1e-11));
  CHECK(law.action_log_prob(in(b), 0.7) == close(-0.179318236597, 1e-11));
}

TEST_CASE("A batch of actors: each sample's smaller critic, ties to the first, masks") {
  const Numbers l{-1.3, 0.4, 2, poison}, a{1, 0.5, 3, poison}, b{0.8, 0.9, 3, poison};
  const bool mask[4] = {true, true, true, false};
  const SacColumns<double> columns{.log_prob = l, .q1 = a, .q2 = b};
  Numbers dl(4, 1.0), da(4), db(4);
  const double value = SacActor{0.2}(columns, {.log_prob = dl, .q1 = da, .q2 = db}, {.mask = mask});
  CHECK(value == close((0.2 * (-1.3 + 0.4 + 2) - (0.8 + 0.5 + 3)) / 3));
  same(dl, {1 + 0.2 / 3, 1 + 0.2 / 3, 1 + 0.2 / 3, 1});
  same(da, {0, -1.0 / 3, -1.0 / 3, 0});
  same(db, {-1.0 / 3, 0, 0, 0});
  const SacColumns<double> single{.log_prob = l, .q1 = a};
  CHECK(says(message_of([&] { SacActor{}(columns, {.log_prob = dl}); }), "SacActor", "log_prob[3]"));
  CHECK(says(message_of([&] { SacActor{}(single, {.q2 = db}, {.mask = mask}); }), "q2 is empty"));
  CHECK(says(message_of([&] { SacActor{}(columns, {.q1 = std::span(da).first(3)}, {.mask = mask}); }), "3 entries"));
  same(da, {0, -1.0 / 3, -1.0 / 3, 0});
}

TEST_CASE("The temperature: sign, variable and targets", "[G19]") {
  const TemperatureLoss loss{.target_entropy = -1};
  const auto at = [&](double log_prob, double log_alpha) {
    const Numbers l{log_prob};
    return loss(log_alpha, l);
  };
  CHECK(at(-1.3, std::log(0.2)).slope == close(0.46));
  CHECK(at(-1.3, std::log(0.2)).value == close(0.46));
  CHECK(at(1, 0.3).slope == 0);   // entropy -1 is the target
  CHECK(at(1.2, 0.3).slope < 0);  // below it: downhill raises alpha
  CHECK(at(0.8, 0.3).slope > 0);  // above it: alpha falls
  const Numbers l{-0.2, 1.7, 0.4}, log_alpha{-1.1};
  CHECK(gradient_matches([&](std::span<const double> x) { return loss(x[0], l).value; }, log_alpha,
                         Numbers{loss(log_alpha[0], l).slope}));
  const Numbers half{-1.3, poison};
  const bool mask[2] = {true, false};
  CHECK(loss(std::log(0.2), half, mask).slope == close(0.46));
  CHECK(says(message_of([&] { loss(0.0, half); }), "log_prob[1]"));
  CHECK(says(message_of([&] { at(1.5, 1e4); }), "TemperatureLoss", "inf"));

  CHECK(continuous_target_entropy(3) == -3);
  CHECK(discrete_target_entropy(4) == close(0.98 * std::log(4.0)));
  for (const int n : {2, 3, 100}) {
    CHECK(discrete_target_entropy(n) > 0);
    CHECK(discrete_target_entropy(n) < std::log(n));
  }
  CHECK_THROWS_AS(discrete_target_entropy(1), Error);
  CHECK_THROWS_AS(discrete_target_entropy(4, 1.0), Error);
  CHECK_THROWS_AS(continuous_target_entropy(0), Error);
}

TEST_CASE("MPO's dual divides by the number of samples", "[G25]") {
  const Numbers q{1, 2, 3};
  CHECK(MpoTemperature{.epsilon = 0.1}(1.0, q).value == close(2.4089936757, 1e-10));
  const Numbers eta{0.7};
  CHECK(gradient_matches([&](std::span<const double> x) { return MpoTemperature{}(x[0], q).value; }, eta,
                         Numbers{MpoTemperature{}(0.7, q).slope}));
  // Where it is flat, the weights softmax(Q / eta) are epsilon away from uniform ones.
  double low = 0.01, high = 100;
  for (int i = 0; i < 200; ++i) (MpoTemperature{}((low + high) / 2, q).slope < 0 ? low : high) = (low + high) / 2;
  Numbers w(3);
  double kl = 0;
  for (std::size_t i = 0; i < 3; ++i) w[i] = q[i] / low;
  softmax(std::span(w), w);
  for (const double x : w) kl += x * std::log(3 * x);
  CHECK(kl == close(0.1, 1e-10));
  const Numbers extreme{-1e300, 1e3, 0};
  CHECK(std::isfinite(MpoTemperature{}(1e-3, extreme).slope));
  CHECK(says(message_of([&] { MpoTemperature{}(0.0, q); }), "eta"));
  CHECK(says(message_of([&] { MpoTemperature{}(1.0, {}); }), "empty"));
}

TEST_CASE("The actor's step leaves the critic alone, and the reverse", "[G26]") {
  // One vector of parameters: the actor's table of 2 states and 2 actions, then the critic's.
  const Tabular table{2, 2};
  Numbers theta{0.3, -0.2, 0.1, 0.9, 1, 2, -1, 0.5}, gradient(8);
  const auto part = [](Numbers& all, std::size_t k) { return std::span(all).subspan(4 * k, 4); };
  Tabular<double>::Tape actor, critic;
  const int state = 1;
  const auto z_s = table.forward(part(theta, 0), std::span(&state, 1), actor);
  const auto q_s = table.forward(part(theta, 1), std::span(&state, 1), critic);
  const std::span<const double> logits(z_s.data(), 2), q(q_s.data(), 2);

  Numbers dz(2);
  DiscreteSacActor{}(logits, q, {}, 1, dz);
  table.pullback(part(theta, 0), std::span(&state, 1), actor, Outputs<double>(dz.data(), 2, 1), part(gradient, 0));
  CHECK(gradient[2] != 0);
  for (std::size_t i = 4; i < 8; ++i) CHECK(gradient[i] == 0);

  gradient.assign(8, 0.0);
  const double y = td_target(0.5, soft_value(logits, q, {}), false);
  Numbers dq(2);
  dq[0] = SquaredError{}(ValueSample<double>{.value = q[0], .target = y}).slope;
  table.pullback(part(theta, 1), std::span(&state, 1), critic, Outputs<double>(dq.data(), 2, 1), part(gradient, 1));
  for (std::size_t i = 0; i < 4; ++i) CHECK(gradient[i] == 0);
  // The target holds Q too, and isn't differentiated: the slope is Q - y and nothing else.
  CHECK(gradient[6] == q[0] - y);
  CHECK(gradient[7] == 0);
}

TEST_CASE("Tabular soft policy iteration ends where soft value iteration does") {
  // A9's two states and actions.
  const double p0[4] = {0.9, 0.2, 0.3, 0.6}, reward[4] = {1, 0, -0.5, 2}, discount = 0.9, alpha = 0.3;
  Numbers q(4), soft_q(4), theta(4);
  for (int sweep = 0; sweep < 400; ++sweep) {
    const Numbers old = soft_q;
    const auto v = [&](std::size_t s) {
      const Numbers scaled{old[2 * s] / alpha, old[2 * s + 1] / alpha};
      return alpha * log_sum_exp(in(scaled));
    };
    for (std::size_t i = 0; i < 4; ++i) soft_q[i] = reward[i] + discount * (p0[i] * v(0) + (1 - p0[i]) * v(1));
  }
  for (int sweep = 0; sweep < 3000; ++sweep) {  // the actor follows its loss, the critic its target
    const Numbers old = q;
    double v[2];
    for (std::size_t s = 0; s < 2; ++s) {
      const auto row = in(theta).subspan(2 * s, 2), values = in(old).subspan(2 * s, 2);
      Numbers dz(2);
      DiscreteSacActor{alpha}(row, values, {}, 1, dz);
      v[s] = soft_value(row, values, {}, alpha);
      for (std::size_t a = 0; a < 2; ++a) theta[2 * s + a] -= 5 * dz[a];
    }
    for (std::size_t i = 0; i < 4; ++i)
      q[i] = p0[i] * td_target(reward[i], v[0], false, {.discount = discount}) +
             (1 - p0[i]) * td_target(reward[i], v[1], false, {.discount = discount});
  }
  same(q, soft_q, 1e-9);
}

TEST_CASE("Soft actor losses allocate nothing, in float too") {
  const std::vector<float> zf{0.5F, -1, 2, 0}, f1{1, 0.5F, 2, -1}, f2{0.8F, 0.9F, 1.7F, -0.5F};
  std::vector<float> d(4);
  const test::Allocations allocations;
  const auto r = DiscreteSacActor{}(std::span(zf), f1, f2, 1, d);
  const auto t = TemperatureLoss{}(0.0F, f1);
  const double batch = SacActor{}(SacColumns<float>{.log_prob = zf, .q1 = f1, .q2 = f2}, {.log_prob = d});
  CHECK(allocations.count() == 0);
  CHECK(static_cast<double>(r.value) == close(-1.43115719408650, 1e-6));
  CHECK(t.value == t.slope);
  CHECK(std::isfinite(batch));
}
