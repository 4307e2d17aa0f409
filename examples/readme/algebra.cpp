#include <fmt/core.h>

#include <valence/preference.hpp>

namespace vl = valence;

// [algebra]
// The user's own loss: one body for a scalar and for a register full of pairs.
struct LogRatioGap {
  static constexpr vl::Column needs = vl::Column::reference;
  template <class T>
  vl::PairLoss<T> operator()(const vl::Pair<T>& p) const {
    const T gap = (p.chosen - p.ref_chosen) - (p.rejected - p.ref_rejected);
    return {gap * gap, gap + gap, -(gap + gap)};
  }
};
using valence::operator+, valence::operator*;  // so that sums find a loss that is not of valence

const auto mixed = vl::SimPo{.beta = 2, .gamma = 0.5} + 0.1 * LogRatioGap{};  // two of pairs: one pass
const auto fdpo = vl::with_score(vl::Dpo{.beta = 0.1}, vl::JsDivergence{});   // DPO with another f-divergence
const auto noisy = vl::RobustDpo{.beta = 0.1, .label_smoothing = 0.2} + vl::Aot{} / 2.0;  // one that sorts the batch
// [/algebra]

int main() {
  const Eigen::ArrayXf chosen{{-10.0F, -12.5F, -3.25F}}, rejected{{-11.0F, -9.5F, -3.25F}};
  const Eigen::ArrayXf ref_chosen{{-10.5F, -11.0F, -4.0F}}, ref_rejected{{-10.75F, -10.0F, -3.5F}};
  const Eigen::ArrayXf length{{5.0F, 8.0F, 2.0F}};
  const vl::PairLogProbs<Eigen::ArrayXf> batch{chosen, rejected, ref_chosen, ref_rejected, length, length};
  fmt::print("mixed {:.5f}, f-DPO {:.5f}, robust and sorted {:.5f}\n", vl::evaluate(mixed, batch).value,
             vl::evaluate(fdpo, batch).value, vl::evaluate(noisy, batch).value);
}
