#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/function/parameters.hpp"
#include "valence/io/safetensors.hpp"
#include "valence/io/text.hpp"

/// A model's flat parameter vector as named tensors in a safetensors file, and back. The names and shapes come from the
/// model (`model.parameters()`, a list of `ParameterBlock`) and are those of PyTorch, so
/// `torch.nn.Module.load_state_dict` takes the file as it is.

namespace valence {

/// How parameters are read from a file.
struct LoadParametersOptions {
  std::string prefix = {};     ///< before each name in the file, such as "actor."
  bool allow_extra = false;    ///< tensors that the model does not have are ignored (a part of a larger file)
  bool require_finite = true;  ///< NaN and infinities are refused
  bool verify = true;          ///< check valence's checksum where the file carries one
};

namespace detail {

/// The blocks must cover `size` numbers once: a hole would stay unsaved, an overlap would be loaded twice.
inline void check_layout(std::string_view where, std::span<const ParameterBlock> layout, std::size_t size) {
  std::vector<const ParameterBlock*> order;
  for (const auto& block : layout) order.push_back(&block);
  std::ranges::stable_sort(order, {},
                           [](const ParameterBlock* block) { return std::pair(block->offset, block->size()); });
  std::size_t covered = 0;
  for (const auto* block : order) {
    if (block->offset != covered)
      fail(where, "block {} begins at {}; expected {}, where the one before it ends", shown(block->name), block->offset,
           covered);
    covered += block->size();
  }
  if (covered != size) fail(where, "the blocks cover {} numbers; theta has {}", covered, size);
}

inline std::vector<std::uint64_t> shape_of(const ParameterBlock& block) {
  return {block.shape.begin(), block.shape.end()};
}

/// Calls `f(k, i)` for each number: `k` its place in the file (row-major), `i` its place in theta (matrices column by
/// column).
template <class F>
void for_each_number(const ParameterBlock& block, F&& f) {
  if (block.shape.size() != 2) {
    for (std::size_t k = 0; k < block.size(); ++k) f(k, block.offset + k);
    return;
  }
  const std::size_t rows = block.shape[0], cols = block.shape[1];
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) f(r * cols + c, block.offset + c * rows + r);
}

}  // namespace detail

/// Adds the parameters to `file`, each block as a tensor of its own. Throws `Error`, and leaves `file` as it was, when
/// the blocks do not cover theta or a name is taken.
template <std::floating_point S>
void add_parameters(Safetensors& file, std::span<const S> theta, std::span<const ParameterBlock> layout,
                    std::string_view prefix = {}) {
  detail::check_layout("add_parameters", layout, theta.size());
  Safetensors extended = file;
  for (const auto& block : layout) {
    std::vector<S> values(block.size());
    detail::for_each_number(block, [&](std::size_t k, std::size_t i) { values[k] = theta[i]; });
    extended.add(std::string(prefix) + block.name, values, detail::shape_of(block));
  }
  file = std::move(extended);
}

/// Fills theta from the tensors of `file`. Tensors that are missing, that the model does not know, of another shape or
/// of another type, and numbers that are not finite: one `Error` names all of them, and theta is as it was.
template <std::floating_point S>
void read_parameters(const Safetensors& file, std::span<S> theta, std::span<const ParameterBlock> layout,
                     const LoadParametersOptions& options = {}) {
  constexpr std::string_view where = "load_parameters";
  detail::check_layout(where, layout, theta.size());
  std::vector<std::string> problems;
  std::vector<S> loaded(theta.size());
  std::vector<std::string> expected;
  for (const auto& block : layout) {
    const std::string& name = expected.emplace_back(options.prefix + block.name);
    if (!file.contains(name)) {
      problems.push_back(fmt::format("{} is missing", shown(name)));
      continue;
    }
    const TensorInfo& info = file.info(name);
    const auto shape = detail::shape_of(block);
    if (info.shape != shape) {
      problems.push_back(fmt::format("{} has the shape {}; expected {}", shown(name), detail::shape_text(info.shape),
                                     detail::shape_text(shape)));
      continue;
    }
    if (info.dtype != dtype_of<S>()) {
      problems.push_back(
          fmt::format("{} has the type {}; expected {}", shown(name), name_of(info.dtype), name_of(dtype_of<S>())));
      continue;
    }
    const auto values = file.values<S>(name);
    if (const auto bad = std::ranges::find_if(values, [](S x) { return !std::isfinite(x); });
        options.require_finite && bad != values.end()) {
      problems.push_back(
          fmt::format("{}[{}] is {}; expected a finite number", shown(name), bad - values.begin(), *bad));
      continue;
    }
    detail::for_each_number(block, [&](std::size_t k, std::size_t i) { loaded[i] = values[k]; });
  }
  if (!options.allow_extra) {
    std::ranges::sort(expected);
    for (const auto& tensor : file.tensors())
      if (!std::ranges::binary_search(expected, tensor.name))
        problems.push_back(fmt::format("{} is not a tensor of the model", shown(tensor.name)));
  }
  if (!problems.empty()) {
    std::string all;
    constexpr std::size_t most = 20;
    for (std::size_t i = 0; i < problems.size() && i < most; ++i) all += (i ? "; " : "") + problems[i];
    if (problems.size() > most) all += fmt::format("; and {} more", problems.size() - most);
    fail(where, "{}", all);
  }
  std::ranges::copy(loaded, theta.begin());
}

/// Writes a model's parameters to a safetensors file, atomically and with a checksum:
/// `save_parameters<float>("policy.safetensors", theta, model.parameters())`.
template <std::floating_point S>
void save_parameters(const std::filesystem::path& path, std::span<const S> theta,
                     std::span<const ParameterBlock> layout) {
  Safetensors file;
  add_parameters<S>(file, theta, layout);
  file.save(path);
}
template <std::floating_point S>
void save_parameters(const std::filesystem::path& path, const std::vector<S>& theta,
                     std::span<const ParameterBlock> layout) {
  save_parameters<S>(path, std::span<const S>(theta), layout);
}

/// Reads a model's parameters from a safetensors file into theta. Whatever is wrong with the file or does not fit the
/// model is an `Error`, and theta is as it was.
template <std::floating_point S>
void load_parameters(const std::filesystem::path& path, std::span<S> theta, std::span<const ParameterBlock> layout,
                     const LoadParametersOptions& options = {}) {
  read_parameters<S>(Safetensors::load(path, {.verify = options.verify}), theta, layout, options);
}
template <std::floating_point S>
void load_parameters(const std::filesystem::path& path, std::vector<S>& theta, std::span<const ParameterBlock> layout,
                     const LoadParametersOptions& options = {}) {
  load_parameters<S>(path, std::span<S>(theta), layout, options);
}

}  // namespace valence
