#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace valence {

/// One named tensor inside a flat parameter vector: what files and inspection tools need to know. `Mlp::parameters()`
/// and the composites list theirs, in order of offset, without gaps.
///
/// A tensor of two dimensions {rows, cols} lies column by column, entry (r, c) at offset + c * rows + r, as every
/// matrix in valence does: it is `Eigen::Map<Matrix<S>>(theta.data() + offset, rows, cols)`. Names and shapes are those
/// that PyTorch gives the same network, so a writer of a row-major format (safetensors) transposes the two-dimensional
/// ones and is compatible.
struct ParameterBlock {
  std::string name;
  std::size_t offset;
  std::vector<std::size_t> shape;

  /// Numbers in the tensor.
  std::size_t size() const {
    std::size_t n = 1;
    for (const std::size_t d : shape) n *= d;
    return n;
  }
};

}  // namespace valence
