#include "valence/preference/composites.hpp"

#include <Eigen/Core>
#include <vector>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/preference/evaluate.hpp"

using valence::evaluate;
using valence::PreferenceBatch;
using valence::ValueIncentive;
using valence::vpo;

namespace {

using valence::test::close;
using valence::test::message_of;
using valence::test::says;

/// Two pairs, and three calibration samples.
struct Columns {
  std::vector<double> chosen{-1, -2}, rejected{-1.5, -.5}, ref_chosen{-1.25, -1.75}, ref_rejected{-1, -1},
      calibration{-1, -3, -.5};
  PreferenceBatch<double> batch(bool base_is_chosen = false) const {
    PreferenceBatch<double> b;
    b.pairs = {.chosen = chosen, .rejected = rejected, .ref_chosen = ref_chosen, .ref_rejected = ref_rejected};
    b.base.log_prob = base_is_chosen ? chosen : calibration;
    return b;
  }
};

}  // namespace

TEST_CASE("VPO without its incentive is DPO, and adds a signed mean of log pi", "[vpo]") {
  const Columns columns;
  const auto in = columns.batch();
  const auto dpo = evaluate(valence::Dpo{.beta = 0.5}, in);
  const auto none = evaluate(vpo({.beta = 0.5, .alpha = 0}), in);
  CHECK(none.value == dpo.value);
  CHECK((none.d_chosen == dpo.d_chosen).all());
  CHECK((none.d_rejected == dpo.d_rejected).all());
  CHECK((none.d_base == 0).all());

  const auto down = evaluate(vpo({.beta = 0.5, .alpha = 0.2}), in);
  CHECK(down.value == close(dpo.value - 0.2 * 0.5 * (-4.5 / 3)));
  const auto up = evaluate(vpo({.beta = 0.5, .alpha = 0.2, .incentive = ValueIncentive::optimism}), in);
  CHECK(up.value == close(dpo.value + 0.2 * 0.5 * (-4.5 / 3)));
  for (int i = 0; i < 3; ++i) {  // s alpha beta / m: pessimism raises log pi of the calibration samples
    CHECK(down.d_base[i] == close(-0.2 * 0.5 / 3));
    CHECK(up.d_base[i] == close(0.2 * 0.5 / 3));
  }
}

TEST_CASE("pessimistic VPO with the chosen as calibration is RPO in its minimax form", "[vpo]") {
  const Columns columns;
  const auto vpo_loss = evaluate(vpo({.beta = 0.5, .alpha = 0.2}), columns.batch(true));
  const auto rpo_loss = evaluate(valence::rpo_minimax({.beta = 0.5, .eta = 0.2}), columns.batch());
  CHECK(vpo_loss.value == close(rpo_loss.value));
  for (int i = 0; i < 2; ++i) {
    CHECK(vpo_loss.d_chosen[i] + vpo_loss.d_base[i] == close(rpo_loss.d_chosen[i]));
    CHECK(vpo_loss.d_rejected[i] == close(rpo_loss.d_rejected[i]));
  }
}

TEST_CASE("RPO's derivatives are those of the sum, on the SFT term itself", "[rpo][P14][P15]") {
  const Columns columns;
  const auto in = columns.batch();
  const auto dpo = evaluate(valence::Dpo{.beta = 0.5}, in), rpo = evaluate(valence::rpo({.beta = 0.5, .eta = 0.3}), in);
  for (int i = 0; i < 2; ++i) {
    CHECK(rpo.d_chosen[i] == close(dpo.d_chosen[i] - 0.3 / 2));
    CHECK(rpo.d_rejected[i] == dpo.d_rejected[i]);
  }
  const auto none = evaluate(valence::rpo({.beta = 0.5, .eta = 0}), in);
  CHECK(none.value == dpo.value);
  CHECK((none.d_chosen == dpo.d_chosen).all());
}

TEST_CASE("VPO and RPO refuse bad input", "[vpo][rpo]") {
  CHECK(says(message_of([] { vpo({.alpha = -1}); }), "vpo: alpha is -1"));
  CHECK(says(message_of([] { valence::rpo({.eta = -0.1}); }), "rpo: eta is -0.1"));
  const Columns columns;
  auto in = columns.batch();
  in.base = {};
  CHECK(says(message_of([&] { evaluate(vpo(), in); }), "base.log_prob is empty"));
}
