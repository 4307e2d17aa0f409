#pragma once

#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/preference/any_loss.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/by_name.hpp"

/// Every pointwise loss, behind functions: so that each is compiled once for all tests.
namespace valence::test {

struct PairCase {
  std::string name;  ///< the golden table's where it is in there
  bool golden;
  Column needs;
  std::function<PairLoss<double>(const Pair<double>&)> one;
  std::function<PairLoss<float>(const Pair<float>&)> one_float;
  std::function<double(const PreferenceBatch<double>&, PreferenceGradient<double>, double)> accumulate;
  std::function<double(const PreferenceBatch<float>&, PreferenceGradient<float>, double)> accumulate_float;
  std::function<double(const PreferenceBatch<double>&, PreferenceGradient<double>)> evaluate;
  std::function<void(const PairBatch<double>&, std::span<double>)> values;
  /// The same loss with one field changed: the field's name, and the changed loss's value and derivatives.
  std::vector<std::pair<std::string, std::function<PairLoss<double>(const Pair<double>&)>>> changed;
};

const std::vector<PairCase>& pair_cases();

/// The case of that name.
const PairCase& pair_case(const std::string& name);

/// A loss of `pair_losses` by name.
AnyLoss<double> pair_loss(std::string_view name, std::initializer_list<LossOption> options = {});

/// Losses with options that are not pointwise: batch losses and named composites. Their names, a loss of them by name,
/// and the names and defaults of its options.
const std::vector<std::string>& other_losses();
AnyLoss<double> other_loss(std::string_view name, std::initializer_list<LossOption> options = {});
std::vector<std::pair<std::string, double>> other_loss_options(std::string_view name);

/// The golden batch, in the columns' type.
template <class S>
struct GoldenColumns {
  std::vector<S> chosen, rejected, ref_chosen, ref_rejected, chosen_length, rejected_length, p_chosen;
  GoldenColumns();
  PairBatch<S> view() const {
    return {chosen, rejected, ref_chosen, ref_rejected, chosen_length, rejected_length, p_chosen};
  }
};

}  // namespace valence::test
