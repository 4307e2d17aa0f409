#pragma once

#include <concepts>
#include <string_view>
#include <utility>

#include "valence/core/elementary.hpp"
#include "valence/core/error.hpp"
#include "valence/preference/batch.hpp"
#include "valence/preference/links.hpp"
#include "valence/preference/scores.hpp"

/// A score and a link make a loss of pairs. The named losses in losses.hpp are these with the papers' choices.
///
/// Where two products meet in a sum, `detail::rounded` says that both are rounded: a compiler that fuses one of them
/// may choose differently for a scalar and for lanes.
namespace valence {

namespace detail {

template <class P>
consteval Column needs_of() {
  if constexpr (requires { P::needs; })
    return P::needs;
  else
    return Column::none;
}

/// Calls `part.check(where)` where a score or link has hyper-parameters.
template <class P>
void check_part(const P& part, std::string_view where) {
  if constexpr (requires { part.check(where); }) part.check(where);
}
template <class P>
void visit_fields(P& part, auto&& f) {
  if constexpr (requires { std::remove_const_t<P>::fields(part, f); }) std::remove_const_t<P>::fields(part, f);
}

}  // namespace detail

/// link(z), z = beta (s_chosen - s_rejected) - gamma. `gamma` is SimPO's target margin.
template <class Score, class Link>
struct MarginLoss {
  Score score = {};
  Link link = {};
  double beta = 0.1;
  double gamma = 0;

  static constexpr std::string_view name = "MarginLoss";
  static constexpr Column needs = detail::needs_of<Score>() | detail::needs_of<Link>();

  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    using S = scalar_t<T>;
    const ValueAndSlope<T> chosen = score(p.chosen, p.ref_chosen, p.chosen_length);
    const ValueAndSlope<T> rejected = score(p.rejected, p.ref_rejected, p.rejected_length);
    const T z = S(beta) * (detail::rounded(chosen.value) - detail::rounded(rejected.value)) - S(gamma);
    const ValueAndSlope<T> l = [&] {
      if constexpr (requires { link(z, p.p_chosen); })
        return link(z, p.p_chosen);
      else
        return link(z);
    }();
    const T d = S(beta) * l.slope;
    return {l.value, d * chosen.slope, -(d * rejected.slope)};
  }
  void check() const { check(name); }
  void check(std::string_view where) const {
    check_positive(where, "beta", beta);
    check_finite(where, "gamma", gamma);
    detail::check_part(score, where);
    detail::check_part(link, where);
  }
  static void fields(auto& self, auto&& f) {
    detail::visit_fields(self.score, f);
    detail::visit_fields(self.link, f);
    f("beta", self.beta);
    f("gamma", self.gamma);
  }
};
template <class Score, class Link>
MarginLoss(Score, Link) -> MarginLoss<Score, Link>;
template <class Score, class Link>
MarginLoss(Score, Link, double) -> MarginLoss<Score, Link>;
template <class Score, class Link>
MarginLoss(Score, Link, double, double) -> MarginLoss<Score, Link>;

/// link(beta s_chosen, beta s_rejected): losses that see where the scores are, not only how far apart.
template <class Score, class Link>
struct TwoScoreLoss {
  Score score = {};
  Link link = {};
  double beta = 0.1;

  static constexpr std::string_view name = "TwoScoreLoss";
  static constexpr Column needs = detail::needs_of<Score>() | detail::needs_of<Link>();

  template <class T>
  PairLoss<T> operator()(const Pair<T>& p) const {
    using S = scalar_t<T>;
    const ValueAndSlope<T> chosen = score(p.chosen, p.ref_chosen, p.chosen_length);
    const ValueAndSlope<T> rejected = score(p.rejected, p.ref_rejected, p.rejected_length);
    const T a = detail::rounded(S(beta) * chosen.value), b = detail::rounded(S(beta) * rejected.value);
    const TwoSlopes<T> l = link(a, b);
    return {l.value, S(beta) * l.d_a * chosen.slope, S(beta) * l.d_b * rejected.slope};
  }
  void check() const { check(name); }
  void check(std::string_view where) const {
    check_positive(where, "beta", beta);
    detail::check_part(score, where);
    detail::check_part(link, where);
  }
  static void fields(auto& self, auto&& f) {
    detail::visit_fields(self.score, f);
    detail::visit_fields(self.link, f);
    f("beta", self.beta);
  }
};
template <class Score, class Link>
TwoScoreLoss(Score, Link) -> TwoScoreLoss<Score, Link>;
template <class Score, class Link>
TwoScoreLoss(Score, Link, double) -> TwoScoreLoss<Score, Link>;

/// The same loss with another score: `with_score(Dpo{.beta = 0.1}, ForwardKl{})` is f-DPO with the forward KL,
/// `with_score(HingeDpo{}, LogProb{})` CPO's hinge. Losses whose definition fixes the score (IPO's averaged form, APO,
/// SimPO) do not compile here: an option that a loss does not have is never taken and ignored (pitfall P5).
template <class L, class Score>
  requires requires(const L loss) { loss.generic(); }
constexpr auto with_score(const L& loss, Score score) {
  auto g = loss.generic();
  if constexpr (requires { g.gamma; })
    return MarginLoss<Score, decltype(g.link)>{score, g.link, g.beta, g.gamma};
  else
    return TwoScoreLoss<Score, decltype(g.link)>{score, g.link, g.beta};
}

}  // namespace valence
