#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/function/activation.hpp"
#include "valence/function/mlp.hpp"
#include "valence/io/number_text.hpp"
#include "valence/io/parameters.hpp"
#include "valence/io/safetensors.hpp"
#include "valence/io/text.hpp"
#include "valence/policy/saved_policy.hpp"

/// Saved policies as safetensors files: weights, observation scale, what the outputs mean and the bounds of actions,
/// all in one file that describes itself. `load_policy` is all that a program that only acts needs to include.
///
///     save_policy("pole.safetensors", policy);
///     auto policy = load_policy<float>("pole.safetensors");
///
/// The tensors `network.*` are the network's parameters by PyTorch's names (function/parameters.hpp), in the policy's
/// scalar type; the others are F64:
///
///     observation.mean, observation.deviation     where observations are scaled
///     head.atoms                                  GreedyValues with atoms
///     head.low, head.high                         continuous actions' bounds, which may be infinite
///     head.log_std                                a Gaussian whose network gives means only
///
/// The metadata are words of their own: `policy.format` (1), `policy.sizes` ("4 64 64 2"), `policy.hidden` and
/// `policy.output` ("relu", ...), `policy.layer_norm` ("true" or "false"), `policy.clip` (of scaled observations,
/// "inf" without), `policy.head` (greedy_values, softmax, clipped_gaussian, squashed_gaussian, deterministic) and what
/// that head has: `policy.actions`, `policy.logits`, `policy.min_log_std`, `policy.max_log_std`. Every word must be
/// there and no other beginning with "policy.". Initialisation options are no part of a policy and aren't kept.
namespace valence {

namespace detail {

inline constexpr std::array<std::string_view, 5> policy_head_names{"greedy_values", "softmax", "clipped_gaussian",
                                                                   "squashed_gaussian", "deterministic"};

/// Reads the words of a policy's file: each must be there, and `finish` names those that nobody asked for.
class PolicyWords {
 public:
  PolicyWords(std::string_view where, const std::map<std::string, std::string>& words) : where_(where) {
    for (const auto& [key, value] : words)
      if (key.starts_with("policy.")) words_.emplace(key, value);
    if (words_.empty()) fail(where, "the file's metadata have no word 'policy.*'; expected a file of save_policy");
  }
  std::string text(const std::string& key) {
    const auto found = words_.find(key);
    if (found == words_.end()) fail(where_, "{} is missing from the metadata", shown(key));
    std::string value = std::move(found->second);
    words_.erase(found);
    return value;
  }
  template <class T>
  T number(const std::string& key) {
    const std::string value = text(key);
    const auto parsed = parse_number<T>(value);
    if (!parsed) fail(where_, "{} is {}; expected a number", shown(key), shown(value));
    return *parsed;
  }
  bool flag(const std::string& key) {
    const std::string value = text(key);
    if (value != "true" && value != "false")
      fail(where_, "{} is {}; expected 'true' or 'false'", shown(key), shown(value));
    return value == "true";
  }
  Activation activation(const std::string& key) {
    const std::string value = text(key);
    for (const auto a : {Activation::identity, Activation::relu, Activation::tanh, Activation::gelu, Activation::silu})
      if (name(a) == value) return a;
    fail(where_, "{} is {}; expected 'identity', 'relu', 'tanh', 'gelu' or 'silu'", shown(key), shown(value));
  }
  std::vector<int> sizes(const std::string& key) {
    const std::string value = text(key);
    std::vector<int> sizes;
    for (std::size_t begin = 0; begin <= value.size();) {
      const std::size_t end = (std::min)(value.find(' ', begin), value.size());
      const auto parsed = parse_number<int>(std::string_view(value).substr(begin, end - begin));
      if (!parsed || *parsed < 1)
        fail(where_, "{} is {}; expected positive whole numbers with a blank between", shown(key), shown(value));
      sizes.push_back(*parsed);
      begin = end + 1;
    }
    if (sizes.size() < 2) fail(where_, "{} is {}; expected two numbers at least", shown(key), shown(value));
    return sizes;
  }
  void finish() const {
    if (!words_.empty()) fail(where_, "{} is not known in the metadata of this policy", shown(words_.begin()->first));
  }

 private:
  std::string_view where_;
  std::map<std::string, std::string> words_;
};

}  // namespace detail

/// The policy as the content of a safetensors file.
template <std::floating_point S>
Safetensors policy_tensors(const SavedPolicy<S>& policy) {
  Safetensors file;
  const auto word = [&](std::string_view key, std::string value) {
    file.set_metadata("policy." + std::string(key), std::move(value));
  };
  const auto numbers = [&](std::string name, std::span<const double> values) {
    file.add<double>(std::move(name), values, {values.size()});
  };
  const Mlp<S>& network = policy.network();
  std::string sizes;
  for (const int size : network.sizes()) sizes += fmt::format("{}{}", sizes.empty() ? "" : " ", size);
  word("format", "1");
  word("sizes", sizes);
  word("hidden", std::string(name(network.hidden())));
  word("output", std::string(name(network.options().output)));
  word("layer_norm", network.options().layer_norm ? "true" : "false");
  add_parameters<S>(file, policy.theta(), network.parameters("network."));

  const ObservationScale& scale = policy.options().observations;
  word("clip", format_number(scale.clip));
  if (!scale.mean.empty()) {
    numbers("observation.mean", scale.mean);
    numbers("observation.deviation", scale.deviation);
  }

  word("head", std::string(detail::policy_head_names[policy.head().index()]));
  const auto box = [&](const Box<Vector<double>>& actions) {
    numbers("head.low", view(actions.low));
    numbers("head.high", view(actions.high));
  };
  const auto gaussian = [&](const auto& law) {
    box(law.actions);
    word("min_log_std", format_number(law.options.min_log_std));
    word("max_log_std", format_number(law.options.max_log_std));
    if (!policy.options().log_std.empty()) numbers("head.log_std", policy.options().log_std);
  };
  if (const auto* greedy = std::get_if<GreedyValues>(&policy.head())) {
    word("actions", format_number(greedy->actions));
    word("logits", greedy->logits ? "true" : "false");
    if (!greedy->atoms.empty()) numbers("head.atoms", greedy->atoms);
  } else if (const auto* softmax = std::get_if<Softmax>(&policy.head())) {
    word("actions", format_number(softmax->actions));
  } else if (const auto* clipped = std::get_if<ClippedGaussian>(&policy.head())) {
    gaussian(*clipped);
  } else if (const auto* squashed = std::get_if<SquashedGaussian<Vector<double>>>(&policy.head())) {
    gaussian(*squashed);
  } else {
    box(std::get<Deterministic<Vector<double>>>(policy.head()).actions);
  }
  return file;
}

/// The policy of such a file. Throws `Error`, which names what was seen and what was expected, for words that are
/// missing, unknown or not understood, tensors that are missing, unknown, of another shape or type (S must be the type
/// that was saved; nothing is converted), numbers that aren't finite, and parts that do not fit together. Memory is
/// asked for only in proportion to the file.
template <std::floating_point S>
SavedPolicy<S> read_policy(const Safetensors& file) {
  constexpr std::string_view where = "load_policy";
  detail::PolicyWords words(where, file.metadata());
  if (const auto format = words.text("policy.format"); format != "1")
    fail(where, "'policy.format' is {}; expected '1', the only one that this version reads", shown(format));
  const std::vector<int> sizes = words.sizes("policy.sizes");
  std::uint64_t weights = 0;  // a file may claim what it likes
  for (std::size_t k = 0; k + 1 < sizes.size() && weights >> 48 == 0; ++k)
    weights += static_cast<std::uint64_t>(sizes[k]) * static_cast<std::uint64_t>(sizes[k + 1]);
  if (weights >> 48 != 0) fail(where, "'policy.sizes' asks for more than 2^48 weights; expected what fits a file");
  const Activation hidden = words.activation("policy.hidden");
  const Activation output = words.activation("policy.output");
  const Mlp<S> network(sizes, hidden, {.layer_norm = words.flag("policy.layer_norm"), .output = output});
  const auto layout = network.parameters("network.");

  std::vector<std::string> known;
  std::uint64_t there = 0;  // memory is asked for only in proportion to it; `read_parameters` looks at each tensor
  for (const ParameterBlock& block : layout) {
    const TensorInfo& tensor = file.info(known.emplace_back(block.name));
    there += 8 * (tensor.end - tensor.begin) / bits_of(tensor.dtype);
  }
  if (network.parameter_count() / 16 > there)
    fail(where, "the tensors 'network.*' have {} numbers; expected {}, as 'policy.sizes' says", there,
         network.parameter_count());
  const auto numbers = [&](const std::string& name) {
    known.push_back(name);
    return file.values<double>(name);
  };
  const auto vector = [&](const std::string& name) {
    const auto values = numbers(name);
    return Vector<double>(Eigen::Map<const Vector<double>>(values.data(), static_cast<Eigen::Index>(values.size())));
  };
  SavedPolicyOptions options;
  options.observations.clip = words.number<double>("policy.clip");
  if (file.contains("observation.mean") || file.contains("observation.deviation")) {
    options.observations.mean = numbers("observation.mean");
    options.observations.deviation = numbers("observation.deviation");
  }

  const auto box = [&] { return Box<Vector<double>>{vector("head.low"), vector("head.high")}; };
  const auto gaussian = [&] {
    if (file.contains("head.log_std")) options.log_std = numbers("head.log_std");
    return GaussianOptions{.min_log_std = words.number<double>("policy.min_log_std"),
                           .max_log_std = words.number<double>("policy.max_log_std")};
  };
  const auto read_head = [&]() -> PolicyHead {
    const std::string head = words.text("policy.head");
    if (head == detail::policy_head_names[0]) {
      GreedyValues greedy{.actions = words.number<int>("policy.actions"), .logits = words.flag("policy.logits")};
      if (file.contains("head.atoms")) greedy.atoms = numbers("head.atoms");
      return greedy;
    }
    if (head == detail::policy_head_names[1]) return Softmax{.actions = words.number<int>("policy.actions")};
    if (head == detail::policy_head_names[2]) return ClippedGaussian{box(), gaussian()};
    if (head == detail::policy_head_names[3]) return SquashedGaussian<Vector<double>>{box(), gaussian()};
    if (head == detail::policy_head_names[4]) return Deterministic<Vector<double>>{box()};
    fail(where,
         "'policy.head' is {}; expected 'greedy_values', 'softmax', 'clipped_gaussian', 'squashed_gaussian' or "
         "'deterministic'",
         shown(head));
  };
  PolicyHead head = read_head();
  words.finish();

  std::vector<S> theta(network.parameter_count());
  read_parameters<S>(file, theta, layout, {.allow_extra = true});
  std::ranges::sort(known);
  for (const TensorInfo& tensor : file.tensors())
    if (!std::ranges::binary_search(known, tensor.name))
      fail(where, "{} is not a tensor of this policy, whose head is '{}'", shown(tensor.name),
           detail::policy_head_names[head.index()]);
  return SavedPolicy<S>(network, theta, std::move(head), std::move(options));
}

/// Writes a policy to a safetensors file, atomically and with a checksum.
template <std::floating_point S>
void save_policy(const std::filesystem::path& path, const SavedPolicy<S>& policy) {
  policy_tensors(policy).save(path);
}

/// Reads a policy from a file of `save_policy`; errors as `read_policy`, and those of `Safetensors::load` for a file
/// that is cut off, damaged or no safetensors file.
template <std::floating_point S>
SavedPolicy<S> load_policy(const std::filesystem::path& path) {
  return read_policy<S>(Safetensors::load(path));
}

}  // namespace valence
