#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/function/activation.hpp"
#include "valence/function/initialization.hpp"
#include "valence/function/kernels.hpp"
#include "valence/function/parameters.hpp"

namespace valence {

/// Options of a network beside its sizes and its hidden activation.
struct MlpOptions {
  bool layer_norm = false;                   ///< between each hidden layer's sums and its activation
  Activation output = Activation::identity;  ///< after the last layer
  Initialization initialization = Initialization::orthogonal;
  double gain = 0;         ///< of hidden layers' weights; 0: sqrt 2 (1 for tanh, identity and fan_in)
  double output_gain = 1;  ///< of the last layer's weights; policies often start at 0.01
};

/// Variance offset of layer normalisation, PyTorch's.
inline constexpr double layer_norm_epsilon = 1e-5;

namespace detail {

struct MlpLayer {
  std::ptrdiff_t in, out;
  std::ptrdiff_t weight, bias, scale, shift;  // offsets in theta; scale and shift with layer norm only
  std::ptrdiff_t row, prior;                  // padded out, padded in
  std::ptrdiff_t whole;                       // columns in whole registers; the rest, if any, is packed: see `tail`
  std::ptrdiff_t tail, transposed, tail_sum;  // offsets in the tape's packs and sums
  std::ptrdiff_t kept;                        // offset, in numbers a sample, of what forward keeps
};

struct DynamicMlpShape {
  using Sizes = std::vector<int>;
  using Layers = std::vector<MlpLayer>;
  static constexpr std::string_view name = "Mlp";
};
template <int... Size>
struct StaticMlpShape {
  static_assert(sizeof...(Size) >= 2, "valence: a network needs at least an input and an output size");
  static_assert(((Size > 0) && ...), "valence: the sizes of a network are positive");
  using Sizes = std::array<int, sizeof...(Size)>;
  using Layers = std::array<MlpLayer, sizeof...(Size) - 1>;
  static constexpr std::string_view name = "StaticMlp";
};

}  // namespace detail

/// A fully connected network: x -> W x + b [-> layer norm] -> activation, for each hidden layer, then a last W x + b
/// (and `options.output`). Use `Mlp<S>` (sizes at run time) or `StaticMlp<S, hidden, sizes...>`; this is the code of
/// both.
///
///     Mlp<float> net{{4, 64, 64, 2}, relu};
///     Vector<float> theta(net.parameter_count());  net.initialize(view(theta), rng);
///     Mlp<float>::Tape tape;
///     auto y = net.forward(view(theta), x, tape);               // 2 x batch, lives in the tape
///     net.pullback(view(theta), x, tape, dy, view(gradient));   // gradient += J' dy
///
/// Parameters, in order, for each layer: W (out x in, column-major), b (out), and for hidden layers with layer norm its
/// scale (out) and shift (out). `parameters()` lists them by PyTorch's names.
///
/// S is `float`, `double`, or `Dual` of them (slow, exact derivatives of derivatives; `rebind<T>()` gives the same
/// network over other numbers). Batches are `Matrix<S>` with one sample a column; a view of one (`Outputs<S>`) is taken
/// as well. A sample's outputs are the same to the bit whatever batch it came in. Once a tape has seen the largest
/// batch nothing allocates. The gradient may not overlap theta (it throws): a network is not Local.
template <class S, class Shape>
class BasicMlp {
 public:
  using Scalar = S;
  using Batch = Matrix<S>;
  using View = Outputs<S>;

  /// Everything that a forward leaves for its pullbacks, and their scratch. Belongs to the caller; one a thread.
  class Tape {
    friend class BasicMlp;
    Vector<S> outputs_, output_sums_, tangents_;  // out x batch
    Vector<S> activations_, kept_, deviations_;   // of hidden layers: panels; sums (or normalised sums); 1 / sigma
    Vector<S> packs_, sums_, block_;
    std::ptrdiff_t samples_ = -1, parameters_ = 0, kept_a_sample_ = 0;  // whose forward it holds
  };

  /// `sizes`: inputs, hidden layers, outputs; at least two, all positive (else Error).
  BasicMlp(std::vector<int> sizes, Activation hidden, MlpOptions options = {})
    requires std::is_same_v<Shape, detail::DynamicMlpShape>
      : sizes_(std::move(sizes)), hidden_(hidden), options_(options) {
    if (sizes_.size() < 2)
      fail(Shape::name, "sizes has {} entries; expected at least 2 (inputs, outputs)", sizes_.size());
    for (std::size_t i = 0; i < sizes_.size(); ++i)
      if (sizes_[i] <= 0) fail(Shape::name, "sizes[{}] is {}; expected a number greater than 0", i, sizes_[i]);
    layers_.resize(sizes_.size() - 1);
    lay_out();
  }
  constexpr BasicMlp(typename Shape::Sizes sizes, Activation hidden, MlpOptions options = {})
    requires(!std::is_same_v<Shape, detail::DynamicMlpShape>)
      : sizes_(sizes), hidden_(hidden), options_(options) {
    lay_out();
  }

  constexpr std::size_t parameter_count() const { return static_cast<std::size_t>(count_); }
  constexpr int input_size() const { return sizes_.front(); }
  constexpr int output_size() const { return sizes_.back(); }
  std::span<const int> sizes() const { return sizes_; }
  constexpr Activation hidden() const { return hidden_; }
  constexpr const MlpOptions& options() const { return options_; }

  /// The tensors of theta: names as PyTorch's `nn.Sequential(Linear, [LayerNorm,] activation, Linear, ...)` has them,
  /// behind a prefix
  /// ("actor." gives "actor.0.weight").
  std::vector<ParameterBlock> parameters(std::string_view prefix = "") const {
    std::vector<ParameterBlock> blocks;
    int module = 0;
    const auto add = [&](int index, std::string_view what, std::ptrdiff_t offset, std::vector<std::size_t> shape) {
      blocks.push_back(
          {fmt::format("{}{}.{}", prefix, index, what), static_cast<std::size_t>(offset), std::move(shape)});
    };
    for (const auto& layer : layers_) {
      const auto in = static_cast<std::size_t>(layer.in), out = static_cast<std::size_t>(layer.out);
      add(module, "weight", layer.weight, {out, in});
      add(module, "bias", layer.bias, {out});
      if (normalised(layer)) {
        ++module;
        add(module, "weight", layer.scale, {out});
        add(module, "bias", layer.shift, {out});
      }
      module += 2;
    }
    return blocks;
  }

  /// The same network over other numbers, `Dual<double>` for one.
  template <class T>
  BasicMlp<T, Shape> rebind() const {
    return BasicMlp<T, Shape>(sizes_, hidden_, options_);
  }

  /// Starting parameters, as the options say; layer norm starts as the identity.
  void initialize(std::span<S> theta, Rng& rng) const {
    check_size(Shape::name, "theta", theta.size(), parameter_count());
    for (const auto& layer : layers_) {
      const bool last = &layer == &layers_.back();
      const double automatic = hidden_ == Activation::tanh || hidden_ == Activation::identity ||
                                       options_.initialization == Initialization::fan_in
                                   ? 1
                                   : 1.4142135623730951;
      const double gain = last ? options_.output_gain : options_.gain > 0 ? options_.gain : automatic;
      initialize_layer(options_.initialization, gain, part(theta, layer.weight, layer.in * layer.out),
                       part(theta, layer.bias, layer.out), static_cast<std::size_t>(layer.in),
                       static_cast<std::size_t>(layer.out), rng);
      if (normalised(layer)) {
        for (S& x : part(theta, layer.scale, layer.out)) x = S(1);
        for (S& x : part(theta, layer.shift, layer.out)) x = S(0);
      }
    }
  }

  /// y = f(theta, x): `output_size()` x batch, a view into the tape.
  View forward(std::span<const S> theta, const Batch& x, Tape& tape) const {
    return forward(theta, View(x.data(), x.rows(), x.cols()), tape);
  }
  View forward(std::span<const S> theta, const View& x, Tape& tape) const {
    check_size("Mlp::forward", "theta", theta.size(), parameter_count());
    check_shape("Mlp::forward", "x", x.rows(), x.cols(), input_size(), x.cols());
    const std::ptrdiff_t n = x.cols();
    tape.samples_ = -1;  // until all is well
    reserve(tape.outputs_, n * output_size());
    if (options_.output == Activation::gelu || options_.output == Activation::silu)
      reserve(tape.output_sums_, n * output_size());
    reserve(tape.activations_, n * kept_a_sample_);
    if (keeps_sums()) reserve(tape.kept_, n * kept_a_sample_);
    if (options_.layer_norm) reserve(tape.deviations_, n * hidden_layers());
    reserve(tape.packs_, packs_);
    reserve(tape.block_, 4 * block_samples * widest_);
    pack_tails(theta.data(), tape.packs_.data(), !narrow());
    if (narrow()) pack_transposed(theta.data(), tape.packs_.data(), layers_.back());
    for (std::ptrdiff_t begin = 0; begin < n; begin += block_samples)
      forward_block(theta.data(), x.data(), tape, n, begin, (std::min)(block_samples, n - begin));
    tape.samples_ = n, tape.parameters_ = count_, tape.kept_a_sample_ = kept_a_sample_;
    return View(tape.outputs_.data(), output_size(), n);
  }

  /// What the tape's last forward gave: `output_size()` x batch. No columns where there was none.
  View outputs(const Tape& tape) const {
    return View(tape.outputs_.data(), output_size(), (std::max)(tape.samples_, std::ptrdiff_t{0}));
  }

  /// gradient += J' dy, for the theta and x of the tape's last forward. dy (outputs x batch) may be that forward's
  /// result.
  void pullback(std::span<const S> theta, const Batch& x, Tape& tape, const View& dy, std::span<S> gradient) const {
    pullback(theta, View(x.data(), x.rows(), x.cols()), tape, dy, gradient);
  }
  void pullback(std::span<const S> theta, const View& x, Tape& tape, const View& dy, std::span<S> gradient) const {
    check_pullback("Mlp::pullback", theta, x, tape, dy);
    check_gradient("Mlp::pullback", theta, gradient);
    backward(theta.data(), x, tape, dy, gradient.data(), nullptr);
  }

  /// dx = J_x' dy (inputs x batch; resized if need be).
  void pullback_input(std::span<const S> theta, const Batch& x, Tape& tape, const View& dy, Batch& dx) const {
    pullback_input(theta, View(x.data(), x.rows(), x.cols()), tape, dy, dx);
  }
  void pullback_input(std::span<const S> theta, const View& x, Tape& tape, const View& dy, Batch& dx) const {
    check_pullback("Mlp::pullback_input", theta, x, tape, dy);
    const View input(x);  // before dx is resized, in case it is x (then the size stays)
    dx.resize(input_size(), tape.samples_);
    backward(theta.data(), input, tape, dy, nullptr, dx.data());
  }

  /// Both at the price of little more than one.
  void pullback(std::span<const S> theta, const View& x, Tape& tape, const View& dy, std::span<S> gradient,
                Batch& dx) const {
    check_pullback("Mlp::pullback", theta, x, tape, dy);
    check_gradient("Mlp::pullback", theta, gradient);
    if (dx.data() == x.data() && dx.size() > 0)
      fail("Mlp::pullback", "dx is x, which the gradient of theta still needs");
    dx.resize(input_size(), tape.samples_);
    backward(theta.data(), x, tape, dy, gradient.data(), dx.data());
  }

  /// ... with dx in memory of the caller's, inputs x batch numbers: for batches whose size changes from step to step.
  void pullback(std::span<const S> theta, const View& x, Tape& tape, const View& dy, std::span<S> gradient,
                std::span<S> dx) const {
    check_pullback("Mlp::pullback", theta, x, tape, dy);
    check_gradient("Mlp::pullback", theta, gradient);
    check_size("Mlp::pullback", "dx", dx.size(), static_cast<std::size_t>(x.size()));
    if (dx.data() == x.data() && !dx.empty()) fail("Mlp::pullback", "dx is x, which the gradient of theta still needs");
    backward(theta.data(), x, tape, dy, gradient.data(), dx.data());
  }

  /// J v, the change of the outputs along the parameter direction v (and, second form, along the input direction dx
  /// too), after a forward: outputs x batch, a view into the tape.
  View pushforward(std::span<const S> theta, const Batch& x, Tape& tape, std::span<const S> v) const {
    return pushforward(theta, View(x.data(), x.rows(), x.cols()), tape, v, View(nullptr, 0, 0));
  }
  View pushforward(std::span<const S> theta, const View& x, Tape& tape, std::span<const S> v, const View& dx) const {
    check_pullback("Mlp::pushforward", theta, x, tape, View(nullptr, output_size(), x.cols()));
    check_size("Mlp::pushforward", "v", v.size(), parameter_count());
    if (dx.data()) check_shape("Mlp::pushforward", "dx", dx.rows(), dx.cols(), x.rows(), x.cols());
    const std::ptrdiff_t n = x.cols();
    reserve(tape.tangents_, n * output_size());
    reserve(tape.packs_, 2 * packs_);
    pack_tails(theta.data(), tape.packs_.data(), true);
    pack_tails(v.data(), tape.packs_.data() + packs_, true);
    for (std::ptrdiff_t begin = 0; begin < n; begin += block_samples)
      pushforward_block(theta.data(), v.data(), x.data(), dx.data(), tape, n, begin,
                        (std::min)(block_samples, n - begin));
    return View(tape.tangents_.data(), output_size(), n);
  }

 private:
  using Layer = detail::MlpLayer;
  static constexpr std::ptrdiff_t w = kernel::pack_size<S>;
  // Samples taken through all layers at once. So few that what a product touches (60 x 64 floats in, out, and the
  // weights) fits the first cache; a multiple of the tiles' rows.
  static constexpr std::ptrdiff_t block_samples = 60;

  typename Shape::Sizes sizes_;
  Activation hidden_;
  MlpOptions options_;
  typename Shape::Layers layers_ = {};
  std::ptrdiff_t count_ = 0, packs_ = 0, sums_ = 0, kept_a_sample_ = 0, widest_ = 0;

  constexpr void lay_out() {
    for (std::size_t k = 0; k < layers_.size(); ++k) {
      Layer& layer = layers_[k];
      layer.in = sizes_[k], layer.out = sizes_[k + 1];
      layer.row = kernel::padded<S>(layer.out), layer.prior = kernel::padded<S>(layer.in);
      layer.whole = layer.out / w * w;
      layer.weight = count_, count_ += layer.in * layer.out;
      layer.bias = count_, count_ += layer.out;
      if (k + 1 < layers_.size()) {
        if (options_.layer_norm) {
          layer.scale = count_, count_ += layer.out;
          layer.shift = count_, count_ += layer.out;
        }
        layer.kept = kept_a_sample_, kept_a_sample_ += layer.row;
      }
      // Packs: a tail of columns as its own panel, and the biases behind it; then W with rows of `in`.
      layer.tail = packs_, packs_ += (layer.in + 1) * w;
      layer.transposed = packs_, packs_ += layer.out * layer.prior;
      // Sums: gradients of a tail and its biases; of a narrow layer, W' (out x prior) and nothing else.
      layer.tail_sum = sums_,
      sums_ += (std::max)((layer.in + 1) * w, layer.out < most_narrow_ ? layer.out * layer.prior : 0);
      widest_ = (std::max)({widest_, layer.row, layer.prior});
    }
  }
  static constexpr std::ptrdiff_t most_narrow_ = (std::min)(w / 2, kernel::most_narrow);

  constexpr std::ptrdiff_t hidden_layers() const { return static_cast<std::ptrdiff_t>(layers_.size()) - 1; }
  bool normalised(const Layer& layer) const { return options_.layer_norm && &layer != &layers_.back(); }
  // relu and tanh give their slope from their value; gelu and silu need their argument, layer norm its result.
  bool keeps_sums() const { return options_.layer_norm || hidden_ == Activation::gelu || hidden_ == Activation::silu; }
  // Few outputs would waste most of a register: then the sum runs along the lanes. Needs a padded panel before it.
  bool narrow() const { return layers_.size() > 1 && layers_.back().out < most_narrow_; }

  static std::span<S> part(std::span<S> theta, std::ptrdiff_t offset, std::ptrdiff_t size) {
    return theta.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size));
  }
  static void reserve(Vector<S>& v, std::ptrdiff_t size) {
    if (v.size() < size) v = Vector<S>::Constant(size, S(0));
  }

  void check_pullback(std::string_view where, std::span<const S> theta, const View& x, const Tape& tape,
                      const View& dy) const {
    check_size(where, "theta", theta.size(), parameter_count());
    check_shape(where, "x", x.rows(), x.cols(), input_size(), x.cols());
    if (tape.samples_ != x.cols())
      fail(where, "the tape holds a forward of {} samples; expected the one of x ({} samples)", tape.samples_,
           x.cols());
    if (tape.parameters_ != count_ || tape.kept_a_sample_ != kept_a_sample_)
      fail(where, "the tape holds the forward of a network with {} parameters; expected this one's, with {}",
           tape.parameters_, count_);
    check_shape(where, "dy", dy.rows(), dy.cols(), output_size(), x.cols());
  }
  void check_gradient(std::string_view where, std::span<const S> theta, std::span<S> gradient) const {
    check_size(where, "gradient", gradient.size(), parameter_count());
    if (gradient.data() < theta.data() + theta.size() && theta.data() < gradient.data() + gradient.size())
      fail(where, "gradient overlaps theta, which is read while gradient is written");
  }

  // ---- packs

  // The columns beyond the last whole register, as a panel of one register a row, and their biases in the row after.
  void pack_tails(const S* theta, S* packs, bool last_too) const {
    for (const Layer& layer : layers_) {
      const std::ptrdiff_t rest = layer.out - layer.whole;
      if (rest == 0 || (!last_too && &layer == &layers_.back())) continue;
      S* to = packs + layer.tail;
      for (std::ptrdiff_t i = 0; i <= layer.in; ++i) {  // the biases follow the weights in theta as well
        const S* from = theta + layer.weight + i * layer.out + layer.whole;
        for (std::ptrdiff_t o = 0; o < rest; ++o) to[i * w + o] = from[o];
        for (std::ptrdiff_t o = rest; o < w; ++o) to[i * w + o] = S(0);
      }
    }
  }
  void pack_transposed(const S* theta, S* packs, const Layer& layer) const {
    S* to = packs + layer.transposed;
    if (layer.prior > layer.in)
      for (std::ptrdiff_t o = 0; o < layer.out; ++o)
        for (std::ptrdiff_t i = layer.in; i < layer.prior; ++i) to[o * layer.prior + i] = S(0);
    if (layer.out >= 16) {
      kernel::transpose(theta + layer.weight, layer.out, layer.in, layer.out, to, layer.prior);
    } else {
      for (std::ptrdiff_t o = 0; o < layer.out; ++o)
        for (std::ptrdiff_t i = 0; i < layer.in; ++i) to[o * layer.prior + i] = theta[layer.weight + i * layer.out + o];
    }
  }

  // c = begin + a W for a block; theta and packs may be those of a direction. `begin` is bias, or sum.
  void product(const Layer& layer, const S* theta, const S* packs, const S* a, std::ptrdiff_t lda, std::ptrdiff_t n,
               S* c, std::ptrdiff_t ldc, kernel::Begin begin, kernel::End end) const {
    kernel::Product<S> p{.a = a,
                         .a_row = lda,
                         .a_step = 1,
                         .b = theta + layer.weight,
                         .ldb = layer.out,
                         .c = c,
                         .ldc = ldc,
                         .rows = n,
                         .inner = layer.in,
                         .cols = layer.whole,
                         .begin = begin,
                         .end = end,
                         .bias = theta + layer.bias};
    if (layer.whole > 0) kernel::multiply(p);
    if (layer.out > layer.whole) {
      p.b = packs + layer.tail, p.ldb = w, p.c += layer.whole, p.cols = w, p.bias = p.b + layer.in * w;
      kernel::multiply(p);
    }
  }

  // ---- forward

  const S* input_of(std::size_t k, const S* x, const Tape& tape, std::ptrdiff_t n, std::ptrdiff_t begin) const {
    return k == 0 ? x + begin * layers_[0].in
                  : tape.activations_.data() + layers_[k - 1].kept * n + begin * layers_[k - 1].row;
  }
  std::ptrdiff_t input_row(std::size_t k) const { return k == 0 ? layers_[0].in : layers_[k - 1].row; }

  void forward_block(const S* theta, const S* x, Tape& tape, std::ptrdiff_t n, std::ptrdiff_t begin,
                     std::ptrdiff_t m) const {
    const std::size_t last = layers_.size() - 1;
    for (std::size_t k = 0; k < last; ++k) {
      const Layer& layer = layers_[k];
      S* const a = tape.activations_.data() + layer.kept * n + begin * layer.row;
      S* const kept = keeps_sums() ? tape.kept_.data() + layer.kept * n + begin * layer.row : a;
      const bool fused = hidden_ == Activation::relu && !options_.layer_norm;
      product(layer, theta, tape.packs_.data(), input_of(k, x, tape, n, begin), input_row(k), m, kept, layer.row,
              kernel::Begin::bias, fused ? kernel::End::relu : kernel::End::plain);
      if (options_.layer_norm)
        normalise(layer, theta, kept, tape.deviations_.data() + static_cast<std::ptrdiff_t>(k) * n + begin, a, m);
      if (!fused && hidden_ != Activation::identity) apply(hidden_, options_.layer_norm ? a : kept, a, m * layer.row);
    }
    const Layer& layer = layers_[last];
    S* const y = tape.outputs_.data() + begin * layer.out;
    const S* const a = input_of(last, x, tape, n, begin);
    if (narrow()) {
      kernel::multiply_narrow(a, input_row(last), tape.packs_.data() + layer.transposed, layer.prior,
                              theta + layer.bias, y, m, layer.prior, layer.out);
    } else if (layer.whole == layer.out) {
      product(layer, theta, tape.packs_.data(), a, input_row(last), m, y, layer.out, kernel::Begin::bias,
              kernel::End::plain);
    } else {
      S* const panel = tape.block_.data();
      product(layer, theta, tape.packs_.data(), a, input_row(last), m, panel, layer.row, kernel::Begin::bias,
              kernel::End::plain);
      unpad(panel, layer.row, m, layer.out, y);
    }
    if (options_.output != Activation::identity) {
      if (options_.output == Activation::gelu || options_.output == Activation::silu)
        std::copy(y, y + m * layer.out, tape.output_sums_.data() + begin * layer.out);
      apply(options_.output, y, y, m * layer.out);
    }
  }

  static void unpad(const S* panel, std::ptrdiff_t row, std::ptrdiff_t m, std::ptrdiff_t out, S* to) {
    for (std::ptrdiff_t i = 0; i < m; ++i) std::copy(panel + i * row, panel + i * row + out, to + i * out);
  }

  // The switch stays outside of the loops: run(constant).
  template <class F>
  static void dispatch(Activation a, const F& run) {
    switch (a) {
      case Activation::identity:
        return;
      case Activation::relu:
        return run(std::integral_constant<Activation, Activation::relu>{});
      case Activation::tanh:
        return run(std::integral_constant<Activation, Activation::tanh>{});
      case Activation::gelu:
        return run(std::integral_constant<Activation, Activation::gelu>{});
      case Activation::silu:
        return run(std::integral_constant<Activation, Activation::silu>{});
    }
  }
  // to = activation(from)
  static void apply(Activation a, const S* from, S* to, std::ptrdiff_t size) {
    dispatch(a,
             [&](auto which) { kernel::each<S>(size, [&](auto at) { at.put(to, activate(which.value, at(from))); }); });
  }
  // d *= activation'(z), from the argument z; or, for relu and tanh, from the value y (z is not read then).
  static void multiply_slope(Activation a, const S* z, const S* y, S* d, std::ptrdiff_t size) {
    dispatch(a, [&](auto which) {
      kernel::each<S>(size, [&](auto at) {
        auto x = at(d);
        if constexpr (which.value == Activation::relu)
          x = at(y) > decltype(x){} ? x : decltype(x){};
        else if constexpr (which.value == Activation::tanh)
          x -= x * (at(y) * at(y));
        else
          x = x * activation_slope(which.value, at(z));
        at.put(d, x);
      });
    });
  }

  // ---- layer normalisation (Ba, Kiros and Hinton 2016): n = scale * (z - mean) / sqrt(variance + epsilon) + shift

  // z becomes normalised in place; the result goes to `to`, and 1 / sigma to `deviations`.
  void normalise(const Layer& layer, const S* theta, S* z, S* deviations, S* to, std::ptrdiff_t m) const {
    const S* const scale = theta + layer.scale;
    const S* const shift = theta + layer.shift;
    for (std::ptrdiff_t r = 0; r < m; ++r, z += layer.row, to += layer.row) {
      const S mean = kernel::sum<S>(layer.out, [&](auto at) { return at(z); }) / S(layer.out);
      const S variance = kernel::sum<S>(layer.out,
                                        [&](auto at) {
                                          const auto d = at(z) - mean;
                                          return d * d;
                                        }) /
                         S(layer.out);
      const S inverse = S(1) / detail::generic_sqrt(variance + S(layer_norm_epsilon));
      deviations[r] = inverse;
      kernel::each<S>(layer.out, [&](auto at) {
        const auto x = (at(z) - mean) * inverse;
        at.put(z, x);
        at.put(to, x * at(scale) + at(shift));
      });
      for (std::ptrdiff_t i = layer.out; i < layer.row; ++i) to[i] = S(0);  // padding stays zero
    }
  }
  // d = dL/dn becomes dL/dz in place; the gradients of scale and shift grow.
  void normalise_back(const Layer& layer, const S* theta, const S* z, const S* deviations, S* d, S* gradient,
                      std::ptrdiff_t m) const {
    const S* const scale = theta + layer.scale;
    S* const d_scale = gradient ? gradient + layer.scale : nullptr;
    S* const d_shift = gradient ? gradient + layer.shift : nullptr;
    for (std::ptrdiff_t r = 0; r < m; ++r, z += layer.row, d += layer.row) {
      if (gradient)
        kernel::each<S>(layer.out, [&](auto at) {
          at.put(d_scale, at(d_scale) + at(d) * at(z));
          at.put(d_shift, at(d_shift) + at(d));
        });
      kernel::each<S>(layer.out, [&](auto at) { at.put(d, at(d) * at(scale)); });
      center(layer, z, deviations[r], d);
    }
  }
  // t = dz becomes dn in place, v being the direction of the parameters.
  void normalise_along(const Layer& layer, const S* theta, const S* v, const S* z, const S* deviations, S* t,
                       std::ptrdiff_t m) const {
    const S* const scale = theta + layer.scale;
    const S* const v_scale = v + layer.scale;
    const S* const v_shift = v + layer.shift;
    for (std::ptrdiff_t r = 0; r < m; ++r, z += layer.row, t += layer.row) {
      center(layer, z, deviations[r], t);
      kernel::each<S>(layer.out, [&](auto at) { at.put(t, at(t) * at(scale) + at(z) * at(v_scale) + at(v_shift)); });
    }
  }
  // The Jacobian of (z - mean) / sigma, which is symmetric: d -> (d - mean(d) - z mean(d z)) / sigma, z normalised.
  static void center(const Layer& layer, const S* z, S inverse, S* d) {
    const S mean = kernel::sum<S>(layer.out, [&](auto at) { return at(d); }) / S(layer.out);
    const S along = kernel::sum<S>(layer.out, [&](auto at) { return at(d) * at(z); }) / S(layer.out);
    kernel::each<S>(layer.out, [&](auto at) { at.put(d, (at(d) - mean - at(z) * along) * inverse); });
  }

  // The argument of a hidden layer's activation, for gelu and silu: kept as it is, or rebuilt from the normalised one.
  const S* argument(const Layer& layer, const S* theta, const Tape& tape, std::ptrdiff_t n, std::ptrdiff_t begin,
                    std::ptrdiff_t m, S* scratch) const {
    if (hidden_ != Activation::gelu && hidden_ != Activation::silu) return nullptr;
    const S* z = tape.kept_.data() + layer.kept * n + begin * layer.row;
    if (!options_.layer_norm) return z;
    for (std::ptrdiff_t r = 0; r < m; ++r) {
      kernel::each<S>(layer.out, [&](auto at) {
        at.put(scratch + r * layer.row, at(z + r * layer.row) * at(theta + layer.scale) + at(theta + layer.shift));
      });
      for (std::ptrdiff_t i = layer.out; i < layer.row; ++i) scratch[r * layer.row + i] = S(0);
    }
    return scratch;
  }

  // ---- backward

  static S* panel(Tape& tape, std::ptrdiff_t which, std::ptrdiff_t widest) {
    return tape.block_.data() + which * block_samples * widest;
  }

  void backward(const S* theta, const View& x, Tape& tape, const View& dy, S* gradient, S* dx) const {
    const std::ptrdiff_t n = x.cols();
    reserve(tape.packs_, packs_);
    if (gradient) {
      reserve(tape.sums_, sums_);
      std::fill(tape.sums_.data(), tape.sums_.data() + sums_, S(0));
    }
    for (std::size_t k = dx ? 0 : 1; k < layers_.size(); ++k) pack_transposed(theta, tape.packs_.data(), layers_[k]);
    for (std::ptrdiff_t begin = 0; begin < n; begin += block_samples)
      backward_block(theta, x.data(), tape, dy.data(), gradient, dx, n, begin, (std::min)(block_samples, n - begin));
    if (gradient) add_sums(tape.sums_.data(), gradient);
  }

  void backward_block(const S* theta, const S* x, Tape& tape, const S* dy, S* gradient, S* dx, std::ptrdiff_t n,
                      std::ptrdiff_t begin, std::ptrdiff_t m) const {
    using kernel::Begin, kernel::End;
    const std::size_t last = layers_.size() - 1;
    S* const packs = tape.packs_.data();
    // d: dL/dz of the current layer, a panel with rows of `row` numbers.
    const S* d = dy + begin * layers_[last].out;
    std::ptrdiff_t row = layers_[last].out;
    if (options_.output != Activation::identity) {
      S* const scaled = panel(tape, 2, widest_);
      std::copy(d, d + m * row, scaled);
      multiply_slope(options_.output, tape.output_sums_.data() + (tape.output_sums_.size() > 0 ? begin * row : 0),
                     tape.outputs_.data() + begin * row, scaled, m * row);
      d = scaled;
    }
    for (std::size_t k = last + 1; k-- > 0;) {
      const Layer& layer = layers_[k];
      if (gradient) {
        if (k == last && narrow())
          narrow_gradient(layer, input_of(k, x, tape, n, begin), d, m, gradient, tape.sums_.data());
        else
          layer_gradient(layer, input_of(k, x, tape, n, begin), input_row(k), d, row, m, gradient, tape.sums_.data(),
                         panel(tape, 3, widest_));
      }
      if (k == 0 && !dx) return;
      S* const next = panel(tape, k % 2 == 0 ? 0 : 1, widest_);
      kernel::Product<S> p{.a = d,
                           .a_row = row,
                           .a_step = 1,
                           .b = packs + layer.transposed,
                           .ldb = layer.prior,
                           .c = next,
                           .ldc = layer.prior,
                           .rows = m,
                           .inner = layer.out,
                           .cols = layer.prior};
      if (k == 0) {
        if (layer.prior == layer.in) p.c = dx + begin * layer.in;
        kernel::multiply(p);
        if (layer.prior != layer.in) unpad(next, layer.prior, m, layer.in, dx + begin * layer.in);
        return;
      }
      const Layer& before = layers_[k - 1];
      p.end = hidden_ == Activation::relu   ? End::relu_slope
              : hidden_ == Activation::tanh ? End::tanh_slope
                                            : End::plain;
      p.aux = tape.activations_.data() + before.kept * n + begin * before.row;
      kernel::multiply(p);
      if (const S* z = argument(before, theta, tape, n, begin, m, panel(tape, 2, widest_)))
        multiply_slope(hidden_, z, nullptr, next, m * before.row);
      if (options_.layer_norm)
        normalise_back(before, theta, tape.kept_.data() + before.kept * n + begin * before.row,
                       tape.deviations_.data() + static_cast<std::ptrdiff_t>(k - 1) * n + begin, next, gradient, m);
      d = next, row = before.row;
    }
  }

  // W (in x out as rows) += a' d, b += the sum of d's rows. Whole registers of columns straight into the gradient, a
  // tail through `sums`.
  static void layer_gradient(const Layer& layer, const S* a, std::ptrdiff_t lda, const S* d, std::ptrdiff_t row,
                             std::ptrdiff_t m, S* gradient, S* sums, S* scratch) {
    kernel::Product<S> p{.a = a,
                         .a_row = 1,
                         .a_step = lda,
                         .b = d,
                         .ldb = row,
                         .c = gradient + layer.weight,
                         .ldc = layer.out,
                         .rows = layer.in,
                         .inner = m,
                         .cols = layer.whole,
                         .begin = kernel::Begin::sum};
    if (layer.whole > 0) {
      kernel::multiply(p);
      kernel::add_rows(d, row, m, layer.whole, gradient + layer.bias);
    }
    if (layer.whole == layer.out) return;
    p.b = d + layer.whole, p.cols = w, p.c = sums + layer.tail_sum, p.ldc = w;
    if (row == layer.out) {  // no padding behind a row: the tail gets its own
      for (std::ptrdiff_t r = 0; r < m; ++r)
        for (std::ptrdiff_t i = 0; i < w; ++i)
          scratch[r * w + i] = i < layer.out - layer.whole ? d[r * row + layer.whole + i] : S(0);
      p.b = scratch, p.ldb = w;
    }
    kernel::multiply(p);
    kernel::add_rows(p.b, p.ldb, m, w, sums + layer.tail_sum + layer.in * w);
  }
  static void narrow_gradient(const Layer& layer, const S* a, const S* d, std::ptrdiff_t m, S* gradient, S* sums) {
    const kernel::Product<S> p{.a = d,
                               .a_row = 1,
                               .a_step = layer.out,
                               .b = a,
                               .ldb = layer.prior,
                               .c = sums + layer.tail_sum,
                               .ldc = layer.prior,
                               .rows = layer.out,
                               .inner = m,
                               .cols = layer.prior,
                               .begin = kernel::Begin::sum};
    kernel::multiply(p);
    kernel::add_narrow_rows(d, m, layer.out, gradient + layer.bias);
  }
  void add_sums(const S* sums, S* gradient) const {
    for (const Layer& layer : layers_) {
      S* const to = gradient + layer.weight;
      const S* const from = sums + layer.tail_sum;
      if (narrow() && &layer == &layers_.back()) {
        for (std::ptrdiff_t i = 0; i < layer.in; ++i)
          for (std::ptrdiff_t o = 0; o < layer.out; ++o) to[i * layer.out + o] += from[o * layer.prior + i];
      } else {
        for (std::ptrdiff_t i = 0; i <= layer.in; ++i)  // the biases follow the weights
          for (std::ptrdiff_t o = layer.whole; o < layer.out; ++o)
            to[i * layer.out + o] += from[i * w + o - layer.whole];
      }
    }
  }

  // ---- forward mode

  void pushforward_block(const S* theta, const S* v, const S* x, const S* dx, Tape& tape, std::ptrdiff_t n,
                         std::ptrdiff_t begin, std::ptrdiff_t m) const {
    using kernel::Begin, kernel::End;
    const S* const packs = tape.packs_.data();
    const S* t = dx ? dx + begin * layers_[0].in : nullptr;
    std::ptrdiff_t row = layers_[0].in;
    for (std::size_t k = 0; k < layers_.size(); ++k) {
      const Layer& layer = layers_[k];
      const bool last = k + 1 == layers_.size();
      const bool direct = last && layer.whole == layer.out;
      S* const next = direct ? tape.tangents_.data() + begin * layer.out : panel(tape, k % 2 == 0 ? 0 : 1, widest_);
      const std::ptrdiff_t ld = direct ? layer.out : layer.row;
      product(layer, v, packs + packs_, input_of(k, x, tape, n, begin), input_row(k), m, next, ld, Begin::bias,
              End::plain);
      if (t) product(layer, theta, packs, t, row, m, next, ld, Begin::sum, End::plain);
      if (last) {
        S* const y = tape.tangents_.data() + begin * layer.out;
        if (!direct) unpad(next, ld, m, layer.out, y);
        if (options_.output != Activation::identity)
          multiply_slope(options_.output,
                         tape.output_sums_.data() + (tape.output_sums_.size() > 0 ? begin * layer.out : 0),
                         tape.outputs_.data() + begin * layer.out, y, m * layer.out);
        return;
      }
      const S* const kept = keeps_sums() ? tape.kept_.data() + layer.kept * n + begin * layer.row : nullptr;
      if (options_.layer_norm)
        normalise_along(layer, theta, v, kept, tape.deviations_.data() + static_cast<std::ptrdiff_t>(k) * n + begin,
                        next, m);
      multiply_slope(hidden_, argument(layer, theta, tape, n, begin, m, panel(tape, 2, widest_)),
                     tape.activations_.data() + layer.kept * n + begin * layer.row, next, m * layer.row);
      t = next, row = layer.row;
    }
  }
};

/// A network whose sizes are known at run time: `Mlp<float>{{4, 64, 64, 2}, relu}`.
template <class S>
using Mlp = BasicMlp<S, detail::DynamicMlpShape>;

/// The same network with its sizes in the type: `constexpr StaticMlp<float, 4, 64, 64, 2> net{relu}` knows its
/// `parameter_count()` at compile time and owns no memory. Same kernels, same layout, same bits as `Mlp`.
template <class S, int... Sizes>
class StaticMlp : public BasicMlp<S, detail::StaticMlpShape<Sizes...>> {
  using Base = BasicMlp<S, detail::StaticMlpShape<Sizes...>>;

 public:
  constexpr explicit StaticMlp(Activation hidden, MlpOptions options = {}) : Base({Sizes...}, hidden, options) {}
  constexpr StaticMlp(const Base& base) : Base(base) {}
  template <class T>
  StaticMlp<T, Sizes...> rebind() const {
    return Base::template rebind<T>();
  }
};

}  // namespace valence
