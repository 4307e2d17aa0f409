#include "preference/cases.hpp"

#include <cstddef>

#include "preference/golden.hpp"
#include "support/catch.hpp"
#include "valence/preference.hpp"

namespace valence::test {
namespace {

template <class S, class L>
std::function<PairLoss<S>(const Pair<S>&)> caller(const L& loss) {
  return [loss](const Pair<S>& p) { return loss(p); };
}

template <class L>
PairCase make(std::string name, L loss, bool is_golden = false) {
  static_assert(PointwiseLoss<L>);
  PairCase c;
  c.name = std::move(name);
  c.golden = is_golden;
  c.needs = L::needs;
  c.one = caller<double>(loss);
  c.one_float = caller<float>(loss);
  c.accumulate = [loss](const PreferenceBatch<double>& in, PreferenceGradient<double> out, double factor) {
    return accumulate(loss, in, out, factor);
  };
  c.accumulate_float = [loss](const PreferenceBatch<float>& in, PreferenceGradient<float> out, double factor) {
    return accumulate(loss, in, out, factor);
  };
  c.evaluate = [loss](const PreferenceBatch<double>& in, PreferenceGradient<double> out) {
    return evaluate(loss, in, out);
  };
  c.values = [loss](const PairBatch<double>& in, std::span<double> out) { pair_values(loss, in, out); };
  // Every field that the loss lists, moved by a little: within the range of each.
  int fields = 0;
  L probe = loss;
  detail::visit_fields(probe, [&](std::string_view, auto&) { ++fields; });
  for (int k = 0; k < fields; ++k) {
    L other = loss;
    std::string field;
    int i = 0;
    detail::visit_fields(other, [&](std::string_view f, auto& value) {
      if (i++ == k) {
        field = std::string(f);
        value = value == 1 ? 0.875 : value + 0.03125;
      }
    });
    c.changed.emplace_back(field, caller<double>(other));
  }
  return c;
}

template <class L>
PairCase gold(std::string name, L loss) {
  return make(std::move(name), loss, true);
}

std::vector<PairCase> make_all() {
  std::vector<PairCase> all;
  const auto add = [&](PairCase c) { all.push_back(std::move(c)); };
  add(gold("sigmoid", Dpo{.beta = 0.5}));
  add(gold("cdpo", Cdpo{.beta = 0.5, .label_smoothing = 0.1}));
  add(gold("robust", RobustDpo{.beta = 0.5, .label_smoothing = 0.1}));
  add(gold("hinge", HingeDpo{.beta = 0.5}));
  add(gold("ipo", IpoAveraged{.beta = 0.5}));
  add(gold("ipo_sum", Ipo{.beta = 0.5}));
  add(gold("exponential", ExponentialDpo{.beta = 0.5}));
  add(gold("exo_pair", ExoPair{.beta = 0.5}));
  add(gold("nca_pair", NcaPair{.beta = 0.5}));
  add(gold("bco_pair", BcoPair{.beta = 0.5}));
  add(gold("sppo_hard", Sppo{.beta = 0.5}));
  add(gold("apo_zero", ApoZero{.beta = 0.5}));
  add(gold("apo_down", ApoDown{.beta = 0.5}));
  add(gold("discopop", DiscoPop{.beta = 0.5}));
  add(gold("sigmoid_norm", SigmoidNorm{.beta = 0.5}));
  add(gold("sigmoid+forward_kl", with_score(Dpo{.beta = 0.5}, ForwardKl{})));
  add(gold("sigmoid+js_divergence", with_score(Dpo{.beta = 0.5}, JsDivergence{})));
  add(gold("sigmoid+alpha_divergence(0.5)", with_score(Dpo{.beta = 0.5}, AlphaDivergence{})));
  add(gold("cpo_sigmoid", with_score(Dpo{.beta = 0.5}, LogProb{})));
  add(gold("cpo_hinge", with_score(HingeDpo{.beta = 0.5}, LogProb{})));
  add(gold("cpo_ipo", with_score(Ipo{.beta = 0.5}, MeanLogProb{})));
  add(gold("simpo", SimPo{}));
  add(gold("alphapo", AlphaPo{}));
  add(gold("slic", SlicCalibration{}));
  add(gold("orpo_or", 0.1 * OddsRatio{}));
  add(gold("soft_dpo(p=0.7)", SoftDpo{.beta = 0.5}));
  add(make("odds_ratio", OddsRatio{}));
  add(make("dpo_positive", DpoPositive{.beta = 0.1, .lambda = 5}));
  add(make("one_minus_sigmoid", MarginLoss{LogRatio{}, OneMinusSigmoidLink{}, 0.5, 0.25}));
  add(make("discopop 2", DiscoPop{.beta = 0.5, .tau = 2}));
  add(make("two-score", TwoScoreLoss{JsDivergence{}, BcoLink{0.25}, 0.5}));
  add(make("sft", Sft{}));
  add(make("token_mean_sft", TokenMeanSft{}));
  add(make("rpo", rpo()));
  add(make("sum", Dpo{.beta = 0.5} + 0.25 * IpoAveraged{.beta = 0.5} - Cdpo{.beta = 0.25} / 3));
  return all;
}

constexpr auto others = named_losses(
    named_loss("aot", Aot{}), named_loss("aot_unpaired", AotUnpaired{}), named_loss("kto", Kto{}),
    named_loss("kto_at", KtoAt{.kl = 0.5}), named_loss("kto_pair", KtoPair{}), named_loss("bco", Bco{}),
    named_loss("apo_zero_unpaired", ApoZeroUnpaired{}), named_loss("rpo", RpoOptions{}, rpo),
    named_loss("rpo_minimax", RpoOptions{}, rpo_minimax), named_loss("cpo", CpoOptions{}, cpo),
    named_loss("orpo", OrpoOptions{}, orpo), named_loss("mpo", MixedPreferenceOptions{}, mpo),
    named_loss("xpo", XpoOptions{}, xpo), named_loss("iterative_rpo", IterativeRpoOptions{}, iterative_rpo),
    named_loss("slic", SlicOptions{}, slic));

template <class List, class F>
void for_each_entry(const List& list, F& f) {
  if constexpr (requires { list.first; }) {
    f(list.first);
    for_each_entry(list.rest, f);
  }
}

}  // namespace

AnyLoss<double> pair_loss(std::string_view name, std::initializer_list<LossOption> options) {
  return any_loss(name, options);
}

const std::vector<std::string>& other_losses() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> result;
    auto add = [&](const auto& entry) { result.emplace_back(entry.name); };
    for_each_entry(others, add);
    return result;
  }();
  return names;
}

AnyLoss<double> other_loss(std::string_view name, std::initializer_list<LossOption> options) {
  return any_loss(name, std::span<const LossOption>(options.begin(), options.size()), others);
}

std::vector<std::pair<std::string, double>> other_loss_options(std::string_view name) {
  std::vector<std::pair<std::string, double>> result;
  auto look = [&](const auto& entry) {
    if (entry.name != name) return;
    detail::visit_fields(entry.options,
                         [&](std::string_view field, double value) { result.emplace_back(field, value); });
  };
  for_each_entry(others, look);
  return result;
}

const std::vector<PairCase>& pair_cases() {
  static const std::vector<PairCase> cases = make_all();
  return cases;
}

const PairCase& pair_case(const std::string& name) {
  for (const PairCase& c : pair_cases())
    if (c.name == name) return c;
  throw Error("no case " + name);
}

template <class S>
GoldenColumns<S>::GoldenColumns() {
  const auto fill = [](std::vector<S>& to, const double(&from)[6]) {
    for (const double x : from) to.push_back(static_cast<S>(x));
  };
  fill(chosen, golden::chosen), fill(rejected, golden::rejected);
  fill(ref_chosen, golden::ref_chosen), fill(ref_rejected, golden::ref_rejected);
  fill(chosen_length, golden::chosen_length), fill(rejected_length, golden::rejected_length);
  fill(p_chosen, golden::p_chosen);
}
template struct GoldenColumns<double>;
template struct GoldenColumns<float>;

}  // namespace valence::test
