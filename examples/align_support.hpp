#pragma once

// What examples/align.cpp stands on: pairs of replies, from JSON lines or made up, as texts and then as tokens; the
// loop of a training that a checkpoint can interrupt; what held-out pairs say about a policy.

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/progress.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/function/ngram_language_model.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/schedules.hpp"
#include "valence/function/sequence_log_prob.hpp"
#include "valence/io/atomic_file.hpp"
#include "valence/io/byte_pair.hpp"
#include "valence/io/checkpoint.hpp"
#include "valence/io/curve.hpp"
#include "valence/io/jsonl.hpp"
#include "valence/io/number_text.hpp"
#include "valence/io/preference_data.hpp"
#include "valence/preference/any_loss.hpp"

namespace vl = valence;
namespace fs = std::filesystem;

/// A prompt with the reply that people liked better and the other one.
struct TextPair {
  std::string prompt, chosen, rejected;
};

/// What a file held: a uniform sample of its pairs, and what was left out.
struct TextPairs {
  std::vector<TextPair> pairs;
  std::uint64_t rows = 0, identical = 0, empty = 0;
  std::vector<vl::JsonlFault> faults;
};

/// The first or the last `bytes` bytes of a text, not cutting a character.
inline std::string head(const std::string& text, std::size_t bytes) {
  const auto inside = [&](std::size_t i) { return i < text.size() && (text[i] & '\xC0') == '\x80'; };
  std::size_t end = (std::min)(bytes, text.size());
  while (inside(end)) --end;
  return text.substr(0, end);
}
inline std::string tail(const std::string& text, std::size_t bytes) {
  std::size_t begin = text.size() - (std::min)(bytes, text.size());
  while (begin < text.size() && (text[begin] & '\xC0') == '\x80') ++begin;
  return text.substr(begin);
}

/// Reads JSON lines in one pass, from a file or ("-") standard input. Memory is bounded whatever the size of the file:
/// at most `most` pairs are held, a uniform sample (a reservoir), of each no more text than the model will see, and one
/// line. Rows whose replies are the same say nothing and are left out; an empty reply stays: its end is a token.
inline TextPairs read_pairs(const fs::path& file, bool skip_bad, std::size_t most, int context, int longest,
                            vl::Rng rng) {
  if (file.extension() == ".gz")
    vl::fail("align", "'{}' is compressed; expected text: zcat '{}' | align -", file.string(), file.string());
  // A token has a byte at least, and rarely more than eight; what is cut off here would be cut off as tokens, too.
  const std::size_t prompt_bytes = 16 * static_cast<std::size_t>(context),
                    reply_bytes = 8 * static_cast<std::size_t>(longest);
  vl::Reservoir<TextPair> sample(most);
  TextPairs out;
  out.faults = vl::for_each_jsonl<vl::PreferenceRow>(
      file == "-" ? fs::path("/dev/stdin") : file,
      [&](vl::PreferenceRow&& row, std::size_t) {
        ++out.rows;
        const std::string chosen = vl::plain_text(row.chosen), rejected = vl::plain_text(row.rejected);
        if (chosen == rejected) {
          ++out.identical;
          return;
        }
        out.empty += chosen.empty() || rejected.empty();
        sample.add({tail(row.prompt ? vl::plain_text(*row.prompt) : std::string(), prompt_bytes),
                    head(chosen, reply_bytes), head(rejected, reply_bytes)},
                   rng);
      },
      {.on_fault = skip_bad ? vl::OnFault::skip : vl::OnFault::stop,
       .max_line_bytes = std::size_t{1} << 20,
       .max_faults = 100'000});
  out.pairs.assign(sample.items().begin(), sample.items().end());
  return out;
}

/// Pairs from a small grammar, for trying things out: helpful replies are preferred to curt ones, and one label in ten
/// is wrong.
inline std::vector<TextPair> made_up_pairs(std::size_t n, vl::Rng rng) {
  constexpr std::array actions{"wash", "mend", "paint", "carry", "sharpen", "store", "measure", "replace"};
  constexpr std::array things{"a bicycle", "the kettle",     "an old door",     "my knife", "the roof",
                              "two lamps", "a wooden chair", "the garden gate", "a clock",  "her boots"};
  constexpr std::array openings{"Sure!", "Good question.", "I'd be glad to help.", "Of course."};
  constexpr std::array steps{"take your time",    "ask a friend to hold it", "use warm water and a soft cloth",
                             "put it on a table", "look for cracks",         "read the label"};
  constexpr std::array refusals{"I don't know.", "Why do you ask me?", "Just do it.", "Who cares?"};
  const auto one_of = [&](const auto& list) { return std::string_view(list[rng.below(list.size())]); };
  std::vector<TextPair> out;
  while (out.size() < n) {
    const auto action = one_of(actions), thing = one_of(things);
    TextPair pair{
        fmt::format("\n\nHuman: How do I {} {}?\n\nAssistant:", action, thing),
        fmt::format(" {} First {}, then {} it slowly and {}.", one_of(openings), one_of(steps), action, one_of(steps)),
        fmt::format(" {} First {} it, then {}.", one_of(refusals), action, one_of(steps))};
    if (rng.bernoulli(0.1)) std::swap(pair.chosen, pair.rejected);
    out.push_back(std::move(pair));
  }
  return out;
}

/// FNV-1a, 64 bits.
inline std::uint64_t hash_of(std::span<const std::byte> bytes, std::uint64_t hash = 14695981039346656037u) {
  for (const std::byte b : bytes) hash = (hash ^ static_cast<std::uint64_t>(b)) * 1099511628211u;
  return hash;
}

/// Takes about `share` of the pairs out of `pairs` and returns them. All pairs of one prompt go the same way, or what
/// was learned by heart would pass for understanding.
inline std::vector<TextPair> hold_out(std::vector<TextPair>& pairs, double share, const vl::Rng& rng) {
  const auto begin = std::stable_partition(pairs.begin(), pairs.end(), [&](const TextPair& pair) {
    return !rng.split(hash_of(std::as_bytes(std::span(pair.prompt)))).bernoulli(share);
  });
  std::vector<TextPair> out(std::make_move_iterator(begin), std::make_move_iterator(pairs.end()));
  pairs.erase(begin, pairs.end());
  return out;
}

/// n pairs as 3 n sequences of tokens: the chosen replies are 0, ..., n - 1, the rejected ones follow, and then each
/// prompt with the chosen reply of the next pair: what it has nothing to do with.
struct TokenPairs {
  vl::TokenWindows x;
  int pairs = 0;
  std::vector<std::vector<std::int32_t>> prompts;

  TokenPairs(std::span<const TextPair> text, const vl::BytePairTokenizer& tokenizer, int context, int longest)
      : x(context), pairs(static_cast<int>(text.size())) {
    for (const TextPair& pair : text) prompts.push_back(tokenizer.encode(pair.prompt));
    const auto add = [&](std::size_t prompt, const std::string& reply) {
      std::vector<std::int32_t> tokens = tokenizer.encode(reply);
      tokens.push_back(vl::BytePairTokenizer::end_of_text);
      if (tokens.size() > static_cast<std::size_t>(longest)) tokens.resize(static_cast<std::size_t>(longest));
      x.add(prompts[prompt], tokens);
    };
    for (std::size_t i = 0; i < text.size(); ++i) add(i, text[i].chosen);
    for (std::size_t i = 0; i < text.size(); ++i) add(i, text[i].rejected);
    for (std::size_t i = 0; i < text.size(); ++i) add(i, text[(i + 1) % text.size()].chosen);
  }
  int chosen(int pair) const { return pair; }
  int rejected(int pair) const { return pairs + pair; }
  int mismatched(int pair) const { return 2 * pairs + pair; }
  int length(int sequence) const { return static_cast<int>(x.length(static_cast<std::size_t>(sequence))); }
};

using Model = vl::NgramLanguageModel<float>;
using Replies = vl::SequenceLogProb<Model>;

/// What held-out pairs say about a policy. Log-probabilities in nats.
struct Measures {
  std::int64_t step = 0;
  double accuracy = 0;  ///< share of pairs whose chosen reply rose more than the other; a tie counts a half
  vl::Interval interval{0, 0};
  double margin = 0;                ///< how much more, a pair: DPO's implicit reward is beta times that
  double chosen = 0, rejected = 0;  ///< change of log pi a token: the displacement
  double kl = 0;                    ///< to the reference, a token, on replies that the policy drew

  template <class Archive>
  void archive(Archive& ar) {
    ar(step, accuracy, interval.low, interval.high, margin, chosen, rejected, kl);
  }
};

/// A model in training: what a checkpoint holds.
struct Run {
  Model model;
  std::vector<float> theta;
  vl::AdamState<float> adam;
  std::vector<Measures> history = {};

  Run(const Model& m, std::vector<float> start, double step_size)
      : model(m), theta(std::move(start)), adam(vl::Adam{.step_size = step_size}.start<float>(theta.size())) {}
  std::int64_t steps() const { return adam.steps(); }
  template <class Archive>
  void archive(Archive& ar) {
    ar(theta, adam, history);
  }
};

/// How a run is trained: passes over n items, `batch` at a time, each in an order of its own.
struct Plan {
  std::string task;
  int items = 0, batch = 1;
  std::int64_t epochs = 1, until = 0;
  fs::path path;
  std::string kind;

  std::int64_t an_epoch() const { return items / batch; }
  std::int64_t steps() const { return an_epoch() * epochs; }
  /// Ten looks at a run, at least one an epoch.
  std::int64_t every() const { return (std::max)(std::int64_t{1}, (std::min)(an_epoch(), steps() / 10)); }
};

/// Steps of Adam down `objective(items, gradient) -> loss`, the step size falling to 0 in a straight line. Tells
/// `report` and saves the run every few steps, and goes on from the saved one to the bit: no step depends on what was
/// before.
template <class Objective, class Report>
void train(Run& run, const Plan& plan, const vl::Rng& rng, Objective&& objective, Report&& report) {
  std::vector<float> gradient(run.theta.size());
  std::vector<std::size_t> order;
  std::vector<int> items(static_cast<std::size_t>(plan.batch));
  vl::ProgressBar bar;
  const vl::LinearSchedule falling{1, 0, plan.steps()};
  while (run.steps() < (std::min)(plan.steps(), plan.until)) {
    const std::int64_t step = run.steps(), place = step % plan.an_epoch();
    if (place == 0 || order.empty())
      order = rng.split(step / plan.an_epoch()).permutation(static_cast<std::size_t>(plan.items));
    for (std::size_t i = 0; i < items.size(); ++i)
      items[i] = static_cast<int>(order[static_cast<std::size_t>(place) * items.size() + i]);
    const double loss = objective(items, std::span<float>(gradient));
    vl::clip_global_norm(std::span<float>(gradient), 1.0);
    run.adam.step(run.theta, gradient, falling(step));
    bar({.step = static_cast<std::uint64_t>(run.steps()),
         .total = static_cast<std::uint64_t>(plan.steps()),
         .task = plan.task,
         .metric = "loss",
         .value = loss});
    if (run.steps() % plan.every() == 0 || run.steps() == plan.steps()) {
      report(loss);
      vl::save_checkpoint(plan.path, run, {.kind = plan.kind});
    }
  }
  vl::save_checkpoint(plan.path, run, {.kind = plan.kind});
  if (run.steps() < plan.steps())
    fmt::print("{} stopped at step {} of {}; --resume goes on\n", plan.task, run.steps(), plan.steps());
}

/// log pi of every sequence, a few at a time.
inline std::vector<float> log_probs(const Replies& model, std::span<const float> theta, const vl::TokenWindows& x) {
  std::vector<float> out;
  std::vector<int> some;
  vl::TokenWindows part;
  Replies::Tape tape;
  for (int i = 0; i < static_cast<int>(x.size()); ++i) {
    some.push_back(i);
    if (some.size() < 64 && i + 1 < static_cast<int>(x.size())) continue;
    gather(x, some, part);
    const auto y = model.forward(theta, part, tape);
    out.insert(out.end(), y.data(), y.data() + y.size());
    some.clear();
  }
  return out;
}

/// The held-out side of a run.
struct Exam {
  Replies model;
  const TokenPairs& data;
  std::uint64_t seed;
  std::vector<float> start, reference;  // parameters of the reference, and its log-probabilities

  std::vector<std::int32_t> draw(std::span<const float> theta, int pair, int longest, double temperature) const {
    Model::Tape tape;
    vl::Rng rng = vl::Rng{seed}.split(7).split(pair);
    return model.tokens().sample(theta, data.prompts[static_cast<std::size_t>(pair)],
                                 vl::BytePairTokenizer::end_of_text, longest, temperature, tape, rng);
  }
  Measures of(std::span<const float> theta, std::int64_t step) const {
    const std::vector<float> now = log_probs(model, theta, data.x);
    const auto rise = [&](int i) {
      return static_cast<double>(now[static_cast<std::size_t>(i)] - reference[static_cast<std::size_t>(i)]);
    };
    Measures m{.step = step};
    std::vector<double> right;
    double chosen_tokens = 0, rejected_tokens = 0;
    for (int i = 0; i < data.pairs; ++i) {
      const double chosen = rise(data.chosen(i)), rejected = rise(data.rejected(i));
      right.push_back(chosen > rejected ? 1 : chosen == rejected ? 0.5 : 0);
      m.margin += (chosen - rejected) / data.pairs;
      m.chosen += chosen;
      m.rejected += rejected;
      chosen_tokens += data.length(data.chosen(i));
      rejected_tokens += data.length(data.rejected(i));
    }
    m.chosen /= chosen_tokens;
    m.rejected /= rejected_tokens;
    m.accuracy = vl::mean(right);
    m.interval = vl::mean_interval(right);
    vl::TokenWindows drawn(model.tokens().options().context);
    for (int i = 0; i < (std::min)(32, data.pairs); ++i)
      drawn.add(data.prompts[static_cast<std::size_t>(i)], draw(theta, i, 32, 1));
    m.kl = vl::mean_token_kl(model.tokens(), theta, std::span<const float>(start), drawn);
    return m;
  }
};

/// How likely the reference finds the replies.
inline double nats_a_token(const Replies& model, std::span<const float> theta, const TokenPairs& data, bool chosen) {
  const auto y = log_probs(model, theta, data.x);
  double sum = 0, tokens = 0;
  for (int i = 0; i < data.pairs; ++i) {
    const int sequence = chosen ? data.chosen(i) : data.rejected(i);
    sum -= static_cast<double>(y[static_cast<std::size_t>(sequence)]);
    tokens += data.length(sequence);
  }
  return sum / tokens;
}

/// The options for one loss of those given: NAME=VALUE for all, LOSS.NAME=VALUE for one.
inline vl::AnyLoss<float> loss_by_name(const std::string& name, std::span<const std::string> set) {
  std::vector<vl::LossOption> options;
  for (const std::string_view word : set) {
    const std::size_t dot = word.find('.'), sign = word.find('=');
    const auto value = vl::parse_number<double>(word.substr((std::min)(sign, word.size() - 1) + 1));
    if (sign == std::string::npos || !value)
      vl::fail("align", "--set {} gives no number; expected NAME=VALUE or LOSS.NAME=VALUE", word);
    if (dot < sign && word.substr(0, dot) != name) continue;
    const std::size_t begin = dot < sign ? dot + 1 : 0;
    options.push_back({word.substr(begin, sign - begin), *value});
  }
  return vl::any_loss<float>(name, options, vl::all_losses);
}

/// Two pictures of all losses, from what was measured on the way.
inline void save_plots(const fs::path& out, const std::map<std::string, Run>& policies) {
  std::vector<vl::Curve> displacement, accuracy;
  for (const auto& [loss, run] : policies) {
    vl::Curve chosen{loss + ", chosen", {}, {{}}}, rejected{loss + ", rejected", {}, {{}}}, right{loss, {}, {{}}};
    for (const Measures& m : run.history) {
      for (vl::Curve* curve : {&chosen, &rejected, &right}) curve->x.push_back(static_cast<double>(m.step));
      chosen.y[0].push_back(m.chosen);
      rejected.y[0].push_back(m.rejected);
      right.y[0].push_back(m.accuracy);
    }
    displacement.insert(displacement.end(), {chosen, rejected});
    accuracy.push_back(right);
  }
  vl::save_atomically(out / "displacement.svg",
                      vl::curves_svg(displacement, {.title = "Log-likelihood of held-out replies, from the reference's",
                                                    .y_label = "nats a token"}));
  vl::save_atomically(out / "accuracy.svg",
                      vl::curves_svg(accuracy, {.title = "Implicit reward on held-out pairs", .y_label = "accuracy"}));
}
