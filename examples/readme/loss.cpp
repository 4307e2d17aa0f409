#include <fmt/core.h>

#include <valence/preference.hpp>

namespace vl = valence;

int main() {
  // Log-probabilities of whole replies: from your own model, and from the reference that it started as.
  const Eigen::ArrayXd chosen{{-10.0, -12.5, -3.25}}, rejected{{-11.0, -9.5, -3.25}};
  const Eigen::ArrayXd ref_chosen{{-10.5, -11.0, -4.0}}, ref_rejected{{-10.75, -10.0, -3.5}};

  auto loss = vl::Dpo{.beta = 0.1} + 0.005 * vl::Sft{};  // = RPO, arXiv:2405.16436
  vl::PairLogProbs<Eigen::ArrayXd> batch{chosen, rejected, ref_chosen, ref_rejected};
  auto [value, d_chosen, d_rejected] = vl::evaluate(loss, batch);  // gradients, to give back to your model

  for (Eigen::Index i = 0; i < chosen.size(); ++i)
    fmt::print("pair {}: d loss / d log-prob {:+.4f} (chosen) {:+.4f} (rejected)\n", i, d_chosen[i], d_rejected[i]);
  fmt::print("loss {:.6f}\n", value);
}
