#pragma once

#include <fmt/core.h>

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "valence/core/error.hpp"
#include "valence/preference/composites.hpp"
#include "valence/preference/losses.hpp"

/// Losses by name, for programs with a `--loss` option. What `visit_loss` is given is compiled with every loss of the
/// list: a list of one's own may be shorter.
///
///   visit_loss("ipo", {{"beta", 0.05}}, [&](const auto& loss) { train(policy, loss, data); });
namespace valence {

/// A hyper-parameter by name: `{"beta", 0.1}`.
struct LossOption {
  std::string_view name;
  double value;
};

/// An entry of the list: a name, an aggregate of options, and the loss it makes.
template <class Options, class Make>
struct NamedLoss {
  std::string_view name;
  Options options;
  Make make;
};

/// A list of named losses, for `visit_loss`.
template <class... Entries>
struct NamedLosses;
template <>
struct NamedLosses<> {};
template <class First, class... Rest>
struct NamedLosses<First, Rest...> {
  First first;
  NamedLosses<Rest...> rest;
};

namespace detail {

inline constexpr auto itself = [](const auto& loss) { return loss; };

template <class... Entries>
constexpr auto list(Entries... entries) {
  if constexpr (sizeof...(entries) == 0)
    return NamedLosses<>{};
  else
    return [](auto first, auto... rest) {
      return NamedLosses<decltype(first), decltype(rest)...>{first, list(rest...)};
    }(entries...);
}
template <class L>
constexpr NamedLoss<L, decltype(itself)> named(std::string_view name, L loss) {
  return {name, loss, itself};
}
template <class Options, class Make>
constexpr NamedLoss<Options, Make> named(std::string_view name, Options options, Make make) {
  return {name, options, make};
}

inline void names(const NamedLosses<>&, std::string&) {}
template <class First, class... Rest>
void names(const NamedLosses<First, Rest...>& losses, std::string& out) {
  out += fmt::format("{}{}", out.empty() ? "" : ", ", losses.first.name);
  names(losses.rest, out);
}

template <class Options>
void set_option(std::string_view loss, Options& options, const LossOption& option) {
  bool found = false;
  std::string known;
  visit_fields(options, [&](std::string_view name, auto& value) {
    known += fmt::format("{}{}", known.empty() ? "" : ", ", name);
    if (name != option.name) return;
    value = option.value;
    found = true;
  });
  if (!found)
    fail("visit_loss", "{} has no option \"{}\"; it has {}", loss, option.name, known.empty() ? "none" : known);
}

template <class F>
void visit(const NamedLosses<>&, std::string_view name, std::span<const LossOption>, F&, const std::string& known) {
  fail("visit_loss", "unknown loss \"{}\"; known are {}", name, known);
}
template <class First, class... Rest, class F>
void visit(const NamedLosses<First, Rest...>& losses, std::string_view name, std::span<const LossOption> options, F& f,
           const std::string& known) {
  if (losses.first.name != name) return visit(losses.rest, name, options, f, known);
  auto chosen = losses.first.options;
  for (const LossOption& option : options) set_option(name, chosen, option);
  const auto loss = losses.first.make(chosen);
  check_loss(loss);
  f(loss);
}

}  // namespace detail

/// `named_losses(named_loss("dpo", Dpo{}), named_loss("own", Own{}))`: a list of one's own, shorter or longer.
template <class... Entries>
constexpr auto named_losses(Entries... entries) {
  return detail::list(entries...);
}
/// An entry: a loss, whose members are the options.
template <class L>
constexpr auto named_loss(std::string_view name, L loss) {
  return detail::named(name, loss);
}
/// An entry: options and what makes a loss of them. The options list their members in `fields`.
template <class Options, class Make>
constexpr auto named_loss(std::string_view name, Options options, Make make) {
  return detail::named(name, options, make);
}

/// The entries of several lists, one after the other.
template <class... Entries>
constexpr auto joined_losses(const NamedLosses<Entries...>& losses) {
  return losses;
}
template <class... More>
  requires(sizeof...(More) > 0)
constexpr auto joined_losses(const NamedLosses<>&, const More&... more) {
  return joined_losses(more...);
}
template <class First, class... Rest, class... More>
  requires(sizeof...(More) > 0)
constexpr auto joined_losses(const NamedLosses<First, Rest...>& losses, const More&... more) {
  const auto rest = joined_losses(losses.rest, more...);
  return [&]<class... Entries>(const NamedLosses<Entries...>& all) {
    return NamedLosses<First, Entries...>{losses.first, all};
  }(rest);
}

/// The losses that need pairs with a reference and nothing else: what a program with a policy and preference pairs can
/// offer.
inline constexpr auto pair_losses =
    named_losses(named_loss("dpo", Dpo{}), named_loss("cdpo", Cdpo{}), named_loss("rdpo", RobustDpo{}),
                 named_loss("hinge", HingeDpo{}), named_loss("exponential", ExponentialDpo{}), named_loss("ipo", Ipo{}),
                 named_loss("exo", ExoPair{}), named_loss("discopop", DiscoPop{}), named_loss("nca", NcaPair{}),
                 named_loss("bco_pair", BcoPair{}), named_loss("sppo", Sppo{}), named_loss("apo_zero", ApoZero{}),
                 named_loss("apo_down", ApoDown{}), named_loss("dpo_positive", DpoPositive{}),
                 named_loss("slic", SlicCalibration{}), named_loss("sft", Sft{}), named_loss("rpo", RpoOptions{}, rpo),
                 named_loss("rpo_minimax", RpoOptions{}, rpo_minimax), named_loss("aot", Aot{}),
                 named_loss("aot_unpaired", AotUnpaired{}), named_loss("kto_pair", KtoPair{}));

/// The losses that also need the responses' lengths (`soft_dpo`: the labels' probabilities).
inline constexpr auto length_losses =
    named_losses(named_loss("ipo_averaged", IpoAveraged{}), named_loss("sigmoid_norm", SigmoidNorm{}),
                 named_loss("simpo", SimPo{}), named_loss("alphapo", AlphaPo{}), named_loss("odds_ratio", OddsRatio{}),
                 named_loss("token_mean_sft", TokenMeanSft{}), named_loss("batch_token_mean_sft", BatchTokenMeanSft{}),
                 named_loss("cpo", CpoOptions{}, cpo), named_loss("orpo", OrpoOptions{}, orpo),
                 named_loss("mpo", MixedPreferenceOptions{}, mpo),
                 named_loss("iterative_rpo", IterativeRpoOptions{}, iterative_rpo), named_loss("soft_dpo", SoftDpo{}));

/// The losses of single responses labelled desirable or not.
inline constexpr auto single_losses = named_losses(
    named_loss("kto", Kto{}), named_loss("apo_zero_unpaired", ApoZeroUnpaired{}), named_loss("bco", Bco{}));

/// All of them: for a program that has pairs with a reference, lengths, and mismatched responses (`AnyLoss::reads` says
/// whether they are needed).
inline constexpr auto all_losses = joined_losses(pair_losses, length_losses, single_losses);

/// Calls `f(loss)` with the loss of that name in `losses`, its options set and checked. Throws `Error` for an unknown
/// name (listing the known ones; never a default: pitfall P3), for an option that the loss does not have, and for a bad
/// value.
template <class F, class... Entries>
void visit_loss(std::string_view name, std::span<const LossOption> options, F&& f,
                const NamedLosses<Entries...>& losses) {
  std::string known;
  detail::names(losses, known);
  detail::visit(losses, name, options, f, known);
}
template <class F, class... Entries>
void visit_loss(std::string_view name, std::initializer_list<LossOption> options, F&& f,
                const NamedLosses<Entries...>& losses) {
  visit_loss(name, std::span<const LossOption>(options.begin(), options.size()), f, losses);
}
/// ... of `pair_losses`.
template <class F>
void visit_loss(std::string_view name, std::span<const LossOption> options, F&& f) {
  visit_loss(name, options, f, pair_losses);
}
template <class F>
void visit_loss(std::string_view name, std::initializer_list<LossOption> options, F&& f) {
  visit_loss(name, options, f, pair_losses);
}

/// The names in a list, for a program's `--help`: "dpo, cdpo, ...".
template <class... Entries>
std::string loss_names(const NamedLosses<Entries...>& losses) {
  std::string result;
  detail::names(losses, result);
  return result;
}

}  // namespace valence
