// The C++ side of tests/peers/trl_losses_peer.py: evaluates any preference loss on columns of float or double. Each line
// of standard input asks one question and gets one line of JSON, numbers to the last bit.
//
//   {"loss": "dpo", "type": "float", "options": {"beta": 0.1}, "batch": {"chosen": [...], ...}}
//   {"ld_alpha": 0.5, "common": 3, "tokens": [...]}
//
// What is refused is answered with {"error": "..."}.
#include <fmt/core.h>

#include <cstddef>
#include <iostream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/io/json.hpp"
#include "valence/io/json_text.hpp"
#include "valence/io/log_prob_columns.hpp"
#include "valence/preference/any_loss.hpp"
#include "valence/preference/by_name.hpp"
#include "valence/preference/composites.hpp"
#include "valence/preference/evaluate.hpp"
#include "valence/preference/links.hpp"
#include "valence/preference/losses.hpp"
#include "valence/preference/margin_loss.hpp"
#include "valence/preference/scores.hpp"
#include "valence/preference/tokens.hpp"

using namespace valence;

namespace {

/// The losses of TRL that have no name of their own here: a score, a link, or a sum.
template <class Score>
auto with_divergence(Score score, std::span<const char* const, 5> names) {
  return named_losses(
      named_loss(names[0], with_score(Dpo{}, score)), named_loss(names[1], with_score(HingeDpo{}, score)),
      named_loss(names[2], with_score(ExoPair{}, score)), named_loss(names[3], with_score(RobustDpo{}, score)),
      named_loss(names[4], with_score(DiscoPop{}, score)));
}
constexpr const char* forward_kl[] = {"dpo/forward_kl", "hinge/forward_kl", "exo/forward_kl", "rdpo/forward_kl",
                                      "discopop/forward_kl"};
constexpr const char* js[] = {"dpo/js", "hinge/js", "exo/js", "rdpo/js", "discopop/js"};
constexpr const char* alpha[] = {"dpo/alpha", "hinge/alpha", "exo/alpha", "rdpo/alpha", "discopop/alpha"};

struct MeanIpoOptions {
  double beta = 0.1;
  [[maybe_unused]] static constexpr std::string_view name = "MeanIpo";
  static void fields(auto& self, auto&& f) { f("beta", self.beta); }
};
auto mean_ipo(MeanIpoOptions o) { return MarginLoss{MeanLogProb{}, SquareLink{1 / (2 * o.beta)}, 1.0}; }

const auto losses = joined_losses(all_losses, with_divergence(ForwardKl{}, forward_kl),
                                  with_divergence(JsDivergence{}, js), with_divergence(AlphaDivergence{}, alpha),
                                  named_losses(named_loss("cdpo/log_prob", with_score(Cdpo{}, LogProb{})),
                                               named_loss("hinge/log_prob", with_score(HingeDpo{}, LogProb{})),
                                               named_loss("ipo/mean_log_prob", MeanIpoOptions{}, mean_ipo)));

template <class S>
std::string answer(const nlohmann::json& question) {
  std::vector<LossOption> options;
  const nlohmann::json& asked = question.at("options");
  for (auto it = asked.begin(); it != asked.end(); ++it) options.push_back({it.key(), it.value().get<double>()});
  const auto loss = any_loss<S>(question.at("loss").get_ref<const std::string&>(), options, losses);
  return to_json_line(evaluate(loss, parse_log_probs<S>(question.at("batch").dump()).view()));
}

std::string length_desensitised(const nlohmann::json& question) {
  const auto tokens = question.at("tokens").get<std::vector<double>>();
  std::string out = "{\"log_prob\": ";
  detail::append_json_number(out, "log_prob",
                             ld_log_prob(std::span<const double>(tokens), question.at("common").get<std::size_t>(),
                                         question.at("ld_alpha").get<double>()));
  return out + '}';
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::string out;
    try {
      const auto question = nlohmann::json::parse(line);
      out = question.contains("ld_alpha")    ? length_desensitised(question)
            : question.at("type") == "float" ? answer<float>(question)
                                             : answer<double>(question);
    } catch (const std::exception& e) {
      out = "{\"error\": ";
      detail::append_json_string(out, e.what());
      out += '}';
    }
    std::cout << out << std::endl;
  }
  return 0;
}
