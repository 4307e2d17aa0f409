#pragma once

#include <filesystem>
#include <string_view>

#include "valence/core/error.hpp"
#include "valence/io/cassandra.hpp"
#include "valence/io/drn.hpp"
#include "valence/io/model_file.hpp"
#include "valence/io/number_text.hpp"
#include "valence/io/prism.hpp"
#include "valence/io/text.hpp"

namespace valence {

/// Reads a model from a file of any of the formats that valence knows, told by its content and not by its name: PRISM's
/// and Storm's `.tra` (io/prism.hpp), DRN (io/drn.hpp), Cassandra's (io/cassandra.hpp). What begins like none of them
/// is an `Error`.
///
///     const ModelFile file = load_mdp("two_dice.tra", {.goal = "done"});
///     const auto solution = value_iteration(file.mdp, {.discount = 1});
inline ModelFile load_mdp(const std::filesystem::path& path, const ModelFileOptions& options = {}) {
  detail::ModelLines in = detail::ModelLines::of_file("load_mdp", path);
  while (in.next_content("#")) {
    std::string_view rest = in.line();
    const std::string_view word = detail::take_word(rest), name = word.substr(0, word.find(':'));
    if (word.starts_with('@') || word.starts_with("//")) return load_drn(path, options);
    if (parse_number<double>(word) || detail::equal_ignoring_case(word, "mdp") ||
        detail::equal_ignoring_case(word, "dtmc"))
      return load_prism(path, options);
    for (const std::string_view keyword : {"discount", "values", "states", "actions", "observations"})
      if (name == keyword) return load_cassandra(path, options);
    in.reject(
        "the file begins with {}; expected a `.tra` of PRISM (numbers) or Storm (mdp, dtmc), a DRN file (@type:) or "
        "one of Cassandra's (discount:, values:, states:, actions:)",
        shown(word));
  }
  in.reject_end("expected a model");
}

}  // namespace valence
