// Your own log-probabilities in, gradients out. The losses know no network: any model, in any framework, can use them.

#include <fmt/core.h>

#include <Eigen/Core>
#include <cmath>
#include <string>

#include "valence/preference/any_loss.hpp"
#include "valence/preference/composites.hpp"
#include "valence/preference/evaluate.hpp"
#include "valence/preference/losses.hpp"

namespace vl = valence;

// A loss of your own: a struct with a call operator over scalars and lanes. It adds, scales and runs like the
// library's.
struct Calibrated {
  double target = 1;  // squared distance of the margin from a target
  static constexpr vl::Column needs = vl::Column::reference;
  template <class T>
  vl::PairLoss<T> operator()(const vl::Pair<T>& p) const {
    using S = vl::scalar_t<T>;  // a bare 0.5 would make a float kernel double
    const T error = (p.chosen - p.ref_chosen) - (p.rejected - p.ref_rejected) - S(target);
    return {error * error, S(2) * error, S(-2) * error};
  }
};
static_assert(vl::PointwiseLoss<Calibrated>);
// The operators live in namespace valence, `Calibrated` does not.
using valence::operator+;  // NOLINT(misc-unused-using-decls)

int main() {
  // log pi of whole responses, one entry a pair: summed over tokens by whatever model you have.
  const Eigen::ArrayXd chosen{{-12.1, -30.5, -8.7, -21.0}}, rejected{{-14.0, -28.9, -9.9, -26.4}};
  const Eigen::ArrayXd ref_chosen{{-12.5, -30.0, -9.0, -22.5}}, ref_rejected{{-13.5, -29.5, -9.5, -25.0}};
  const vl::PairLogProbs<Eigen::ArrayXd> batch{chosen, rejected, ref_chosen, ref_rejected};

  // One line a loss. The gradients are with respect to your log-probabilities: feed them to your own backward pass.
  const auto show = [&](const std::string& name, const auto& loss) {
    const auto [value, d_chosen, d_rejected] = vl::evaluate(loss, batch);
    fmt::print("{:34} {:8.4f}   d_chosen ", name, value);
    for (const double d : d_chosen) fmt::print("{:9.5f}", d);
    fmt::print("\n");
    return value;
  };
  fmt::print("{:34} {:>8}\n", "loss", "value");
  const double dpo = show("Dpo{.beta = 0.1}", vl::Dpo{.beta = 0.1});
  show("Ipo{.beta = 0.1}", vl::Ipo{.beta = 0.1});
  show("HingeDpo{.beta = 0.1}", vl::HingeDpo{.beta = 0.1});
  const double sft = show("Sft{}", vl::Sft{});

  // Losses are values: they add and scale. This is RPO.
  const double rpo = show("Dpo{.beta = 0.1} + 0.005 * Sft{}", vl::Dpo{.beta = 0.1} + 0.005 * vl::Sft{});
  show("rpo({.beta = 0.1, .eta = 0.005})", vl::rpo({.beta = 0.1, .eta = 0.005}));
  // Every score goes with every link: DPO under the forward KL.
  show("with_score(Dpo{}, ForwardKl{})", vl::with_score(vl::Dpo{}, vl::ForwardKl{}));
  show("Calibrated{} + Dpo{}", Calibrated{.target = 2} + vl::Dpo{});
  // ... and by name, for a command line.
  show("any_loss(\"exo\", {{\"beta\", 0.2}})", vl::any_loss("exo", {{"beta", 0.2}}));

  // Bad input never passes silently; it says which entry it is.
  std::string complaint;
  try {
    Eigen::ArrayXd broken = rejected;
    broken[2] = std::nan("");
    vl::evaluate(vl::Dpo{}, vl::PairLogProbs<Eigen::ArrayXd>{chosen, broken, ref_chosen, ref_rejected});
  } catch (const vl::Error& e) { complaint = e.what(); }
  fmt::print("\na NaN among the rejected: {}\n", complaint);
  const bool right = std::abs(rpo - (dpo + 0.005 * sft)) < 1e-12 && complaint.find("rejected[2]") != std::string::npos;
  return right ? 0 : 1;
}
