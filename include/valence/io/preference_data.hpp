#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "valence/core/error.hpp"

/// Rows of text data in TRL's six types (https://huggingface.co/docs/trl/dataset_formats), each in both of its shapes:
/// standard (strings) and conversational (lists of messages). `valence/io/jsonl.hpp` reads and writes them.

namespace valence {

/// One turn of a conversation.
struct Message {
  std::string role, content;
  /// The message's other keys ("name", "tool_calls", ...) as one JSON object, keys sorted; empty when there are none.
  std::string extra = {};
  friend bool operator==(const Message&, const Message&) = default;
};
using Conversation = std::vector<Message>;

/// A text in either shape.
using Text = std::variant<std::string, Conversation>;

/// Whether a text is a list of messages.
inline bool is_conversational(const Text& text) { return std::holds_alternative<Conversation>(text); }

/// The words alone: the string, or the messages' contents, one after the other, a line break between them.
inline std::string plain_text(const Text& text) {
  if (const auto* string = std::get_if<std::string>(&text)) return *string;
  std::string out;
  for (const auto& message : std::get<Conversation>(text)) {
    if (!out.empty()) out += '\n';
    out += message.content;
  }
  return out;
}

/// {"text"} or {"messages"}: language modelling.
struct LanguageModelingRow {
  Text text;
  friend bool operator==(const LanguageModelingRow&, const LanguageModelingRow&) = default;
};

/// {"prompt"}.
struct PromptRow {
  Text prompt;
  friend bool operator==(const PromptRow&, const PromptRow&) = default;
};

/// {"prompt", "completion"}.
struct PromptCompletionRow {
  Text prompt, completion;
  friend bool operator==(const PromptCompletionRow&, const PromptCompletionRow&) = default;
};

/// {"prompt", "chosen", "rejected"} or, with the prompt implicit, {"chosen", "rejected"}.
struct PreferenceRow {
  std::optional<Text> prompt;  ///< absent while it is implicit: the common beginning of `chosen` and `rejected`
  Text chosen, rejected;       ///< of one shape
  /// Log-probabilities (nats, summed over tokens) under the reference model, where somebody has computed them: both or
  /// none.
  std::optional<double> ref_chosen_logps = {}, ref_rejected_logps = {};
  friend bool operator==(const PreferenceRow&, const PreferenceRow&) = default;
};

/// {"prompt", "completion", "label"}: unpaired preference.
struct UnpairedPreferenceRow {
  Text prompt, completion;
  bool label;  ///< whether the completion is desirable
  friend bool operator==(const UnpairedPreferenceRow&, const UnpairedPreferenceRow&) = default;
};

/// {"prompt", "completions", "labels"}: stepwise supervision, strings only (TRL has no conversational shape of it).
struct StepwiseRow {
  std::string prompt;
  std::vector<std::string> completions;  ///< the steps
  std::vector<bool> labels;              ///< whether each step is right; as many as there are completions
  friend bool operator==(const StepwiseRow&, const StepwiseRow&) = default;
};

namespace detail {

/// How many leading elements (bytes of a string, messages of a conversation) of `chosen` and `rejected` TRL takes for
/// the prompt. Neither may be empty.
inline std::size_t prompt_size(std::string_view chosen, std::string_view rejected) {
  const auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; };
  const std::size_t shorter = chosen.size() < rejected.size() ? chosen.size() : rejected.size();
  std::size_t same = 0;
  while (same < shorter && chosen[same] == rejected[same]) ++same;
  // TRL compares characters, not bytes: two that differ in a later byte differ as a whole.
  const auto start_of_character = [&](std::size_t i) {
    while (i > 0 && i < chosen.size() && continues(chosen[i])) --i;
    return i;
  };
  if (same == shorter) return start_of_character(shorter - 1);  // one begins with all of the other
  same = start_of_character(same);
  return same > 0 && chosen[same - 1] == ' ' ? same - 1 : same;
}
inline std::size_t prompt_size(const Conversation& chosen, const Conversation& rejected) {
  const std::size_t shorter = chosen.size() < rejected.size() ? chosen.size() : rejected.size();
  for (std::size_t i = 0; i < shorter; ++i)
    if (chosen[i] != rejected[i]) return i;
  return shorter - 1;
}

}  // namespace detail

/// Makes an implicit prompt explicit as TRL's `maybe_extract_prompt` does: the longest common beginning of `chosen` and
/// `rejected`, in characters (not bytes) or messages, becomes the prompt and is removed from both; a space just before
/// the first difference goes to the completions. Where one text begins with all of the other, the prompt is one element
/// shorter than the shorter one, so that neither completion is empty. A row whose prompt has the shape of its
/// completions is left as it is; a prompt of the other shape (a string beside lists of messages) is replaced.
///
/// One deviation, on purpose: TRL looks at the character before the first difference even where there is none, and
/// Python's index -1 then finds the *last* character of `chosen`; if that is a space, TRL cuts both texts near their
/// ends. Here the prompt of texts that differ from the start is empty.
///
/// Throws `Error` when `chosen` and `rejected` differ in shape or one of them is empty.
inline void extract_prompt(PreferenceRow& row) {
  if (row.prompt && is_conversational(*row.prompt) == is_conversational(row.chosen)) return;
  if (is_conversational(row.chosen) != is_conversational(row.rejected))
    fail("extract_prompt", "one of chosen and rejected is a string, the other a list of messages; expected one shape");
  std::visit(
      [&](auto& chosen) {
        auto& rejected = std::get<std::remove_reference_t<decltype(chosen)>>(row.rejected);
        if (chosen.empty()) fail("extract_prompt", "chosen is empty; expected a text that begins with the prompt");
        if (rejected.empty()) fail("extract_prompt", "rejected is empty; expected a text that begins with the prompt");
        const auto size = static_cast<std::ptrdiff_t>(detail::prompt_size(chosen, rejected));
        // In place: g++ 12 warns about a moved variant (-Wmaybe-uninitialized, wrongly).
        row.prompt.emplace(std::in_place_type<std::remove_reference_t<decltype(chosen)>>, chosen.begin(),
                           chosen.begin() + size);
        chosen.erase(chosen.begin(), chosen.begin() + size);
        rejected.erase(rejected.begin(), rejected.begin() + size);
      },
      row.chosen);
}

/// Columns of reference log-probabilities, one entry a row: what a `PairBatch` takes.
struct ReferenceLogProbs {
  std::vector<double> chosen, rejected;
};

/// The reference log-probabilities of all rows. A row without them is an `Error` that names it: half a column is no
/// column.
inline ReferenceLogProbs reference_log_probs(std::span<const PreferenceRow> rows) {
  ReferenceLogProbs out;
  out.chosen.reserve(rows.size());
  out.rejected.reserve(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].ref_chosen_logps || !rows[i].ref_rejected_logps)
      fail("reference_log_probs", "rows[{}] has no {}; expected both in every row", i,
           rows[i].ref_chosen_logps ? "ref_rejected_logps" : "ref_chosen_logps");
    out.chosen.push_back(*rows[i].ref_chosen_logps);
    out.rejected.push_back(*rows[i].ref_rejected_logps);
  }
  return out;
}

/// Two unpaired rows of a pair, the chosen completion (label true), then the rejected one. The prompt must be explicit.
inline std::pair<UnpairedPreferenceRow, UnpairedPreferenceRow> unpair(const PreferenceRow& row) {
  if (!row.prompt) fail("unpair", "prompt is implicit; call extract_prompt first");
  return {{*row.prompt, row.chosen, true}, {*row.prompt, row.rejected, false}};
}

}  // namespace valence
