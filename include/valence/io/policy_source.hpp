#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <initializer_list>
#include <numbers>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "valence/core/config.hpp"
#include "valence/core/error.hpp"
#include "valence/core/types.hpp"
#include "valence/function/activation.hpp"
#include "valence/function/mlp.hpp"
#include "valence/io/atomic_file.hpp"
#include "valence/io/number_text.hpp"
#include "valence/io/text.hpp"
#include "valence/policy/saved_policy.hpp"

/// A saved policy as one header of plain C++17, for where valence cannot go: it includes <cmath> and nothing else, has
/// no heap, exceptions, RTTI or state, and is clean under -Wall -Wextra -Wconversion.
///
///     save_policy_source("pole_policy.hpp", policy, {.name = "pole_policy"});
///
///     #include <pole_policy.hpp>                       // in the other program
///     int a = pole_policy::act(observation);           // const float*, `observation_size` numbers
///
/// Continuous policies have `void act(const float* observation, float* action)`; those of double take double. Discrete
/// ones take a mask as second argument, if need be: `const bool* possible`. Both give the mode, as `SavedPolicy::act`.
/// There are no errors to throw: where the observation or an output isn't finite, or nothing is possible, a discrete
/// `act` returns -1 and a continuous one fills the action with NaN.
///
/// **The same actions.** The arithmetic is that of `SavedPolicy::act`, number for number: weights are printed so that
/// they are read back exactly, sums run in the same order, tanh, exp and erfc are the library's own, written out, and
/// the file switches contraction of products and sums off for itself (GCC, Clang). So the actions are the same to the
/// bit wherever the library's are: for networks of relu and identity always; with tanh, gelu, silu, logits or a
/// squashed action when the program with valence was compiled without contraction too (x86-64 without -march, or
/// -ffp-contract=off), and to about 1e-6 (float) otherwise. Nothing is promised without subnormals (flush to zero),
/// with -ffast-math, which the file refuses, and with Clang's -ffp-contract=fast, which no file can switch off.
namespace valence {

/// How a policy is written as source.
struct PolicySourceOptions {
  std::string name = "policy";  ///< of the namespace: letters, digits and _, no digit first
};

namespace detail {

/// Shortest literal that is read back as exactly x.
template <std::floating_point S>
std::string literal(S x) {
  if (std::isinf(x)) return x < 0 ? "-HUGE_VAL" : "HUGE_VAL";
  std::string text = format_number(x);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return std::is_same_v<S, float> ? text + "f" : text;
}

/// `text` with each $name replaced.
inline std::string substituted(std::string text,
                               std::initializer_list<std::pair<std::string_view, std::string>> replacements) {
  for (const auto& [name, value] : replacements)
    for (std::size_t at = 0; (at = text.find(name, at)) != std::string::npos; at += value.size())
      text.replace(at, name.size(), value);
  return text;
}

// The elementary functions of core/elementary.hpp on one number, with the same operations in the same order. Powers of
// 2 go through std::ldexp instead of the number's bits, which rounds alike.

inline constexpr std::string_view source_exp_float = R"(
inline float exp_of(float x) {
  if (x != x) return x;
  x = x < -105.0f ? -105.0f : x > 89.0f ? 89.0f : x;
  const float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
  const float r = (x - n * 0.693145751953125f) - n * 1.42860682e-6f;
  float q = 0.00019891030654f;
  q = q * r + 0.0013933685863f;
  q = q * r + 0.0083333108896f;
  q = q * r + 0.041666464602f;
  q = q * r + 0.16666666682f;
  q = q * r + 0.50000000135f;
  return std::ldexp(((r * r) * q + r) + 1.0f, static_cast<int>(n));
}
)";
inline constexpr std::string_view source_exp_double = R"(
inline double exp_of(double x) {
  if (x != x) return x;
  x = x < -746.0 ? -746.0 : x > 710.0 ? 710.0 : x;
  const double n = (x * 1.4426950408889634074 + 6755399441055744.0) - 6755399441055744.0;
  const double r = (x - n * 0x1.62e42fefa3000p-1) - n * 2.8235290563031577e-13;
  double q = 2.091471734171637595e-9;
  q = q * r + 2.510525953844849342e-8;
  q = q * r + 2.755727357010213967e-7;
  q = q * r + 2.755725529796964439e-6;
  q = q * r + 0.00002480158732560532278;
  q = q * r + 0.0001984126987490125923;
  q = q * r + 0.001388888888888373183;
  q = q * r + 0.008333333333326112053;
  q = q * r + 0.04166666666666666977;
  q = q * r + 0.1666666666666667101;
  q = q * r + 0.5;
  return std::ldexp(((r * r) * q + r) + 1.0, static_cast<int>(n));
}
)";
inline constexpr std::string_view source_tanh_float = R"(
inline float tanh_of(float x) {
  const float a = std::fabs(x), z = a * a;
  if (!(a < 0.625f)) return std::copysign(1.0f - 2.0f / (exp_of(a + a) + 1.0f), x);
  float p = 0.0022925576991f;
  p = p * z - 0.0083437803705f;
  p = p * z + 0.021768868215f;
  p = p * z - 0.053959253379f;
  p = p * z + 0.13333303531f;
  p = p * z - 0.33333333172f;
  return std::copysign((a * z) * p + a, x);
}
)";
inline constexpr std::string_view source_tanh_double = R"(
inline double tanh_of(double x) {
  const double a = std::fabs(x), z = a * a;
  if (!(a < 0.625)) return std::copysign(1.0 - 2.0 / (exp_of(a + a) + 1.0), x);
  double p = 6.484104982405478879e-6;
  p = p * z - 0.00003119892666773487463;
  p = p * z + 0.00009256923588512032486;
  p = p * z - 0.0002375896885211701225;
  p = p * z + 0.0005896603606552671371;
  p = p * z - 0.001455775353209629581;
  p = p * z + 0.003592121743695985626;
  p = p * z - 0.00886323510265348432;
  p = p * z + 0.02186948851898142877;
  p = p * z - 0.05396825396789636385;
  p = p * z + 0.1333333333333304103;
  p = p * z - 0.3333333333333333294;
  return std::copysign((a * z) * p + a, x);
}
)";
inline constexpr std::string_view source_erfc_float = R"(
inline float erfc_of(float x) {
  const float a = std::fabs(x);
  if (a < 0.5f) {
    const float z = x * x;
    float p = 7.8758750627e-5f;
    p = p * z - 0.00080168642872f;
    p = p * z + 0.0051890874234f;
    p = p * z - 0.026854212011f;
    p = p * z + 0.11283594715f;
    p = p * z - 0.37612626667f;
    p = p * z + 0.12837916585f;
    return 1.0f - (x * p + x);
  }
  const float h = a > 40.0f ? 40.0f : a, t = 1.0f / (h + 2.5f), u = t * 6.0f - 1.0f;
  float p = -1.206103261e-5f;
  p = p * u + 1.869082674e-5f;
  p = p * u + 0.0001444109661f;
  p = p * u - 0.0001293856498f;
  p = p * u - 0.001599055039f;
  p = p * u - 0.001410618751f;
  p = p * u + 0.01606596076f;
  p = p * u + 0.08707519999f;
  p = p * u + 0.2592691173f;
  p = p * u + 0.5558868404f;
  p = p * u + 0.9317619337f;
  int exponent = 0;  // h * h = square + rest, exactly
  const float significand = std::frexp(h, &exponent);
  const float upper = std::ldexp(std::trunc(std::ldexp(significand, 12)), exponent - 12), lower = h - upper;
  const float square = h * h, rest = ((upper * upper - square) + upper * lower * 2.0f) + lower * lower;
  const float e = exp_of(-square), tail = t * p * (e - e * rest);
  return x < 0.0f ? 2.0f - tail : tail;
}
)";
inline constexpr std::string_view source_erfc_double = R"(
inline double erfc_of(double x) {
  const double a = std::fabs(x);
  if (a < 0.5) {
    const double z = x * x;
    double p = 5.957176147748911404e-11;
    p = p * z - 1.137284885679167367e-9;
    p = p * z + 1.465977527404743581e-8;
    p = p * z - 1.635031270105469501e-7;
    p = p * z + 1.646100048412136803e-6;
    p = p * z - 0.00001492559526683118157;
    p = p * z + 0.0001205533111164271092;
    p = p * z - 0.0008548326980833789905;
    p = p * z + 0.005223977624818014467;
    p = p * z - 0.02686617064507679325;
    p = p * z + 0.1128379167095487867;
    p = p * z - 0.3761263890318374806;
    p = p * z + 0.1283791670955125738;
    return 1.0 - (x * p + x);
  }
  const double h = a > 40.0 ? 40.0 : a, t = 1.0 / (h + 2.5), u = t * 6.0 - 1.0;
  double p = 9.96253277510816534e-11;
  p = p * u - 7.08643290582266195e-11;
  p = p * u - 9.77841824528756192e-10;
  p = p * u + 1.23584207466347976e-9;
  p = p * u + 4.82082072159607882e-9;
  p = p * u - 1.12236635600425412e-8;
  p = p * u - 1.42174342710083112e-8;
  p = p * u + 7.51672323425008794e-8;
  p = p * u + 4.30208256516180362e-9;
  p = p * u - 4.42078341850680851e-7;
  p = p * u + 3.27869036263012098e-7;
  p = p * u + 2.60633347507372343e-6;
  p = p * u - 3.46175263393780155e-6;
  p = p * u - 0.0000175313687786233695;
  p = p * u + 0.0000266878834198156822;
  p = p * u + 0.000149394988743324447;
  p = p * u - 0.000136907263345263123;
  p = p * u - 0.00160114367154236594;
  p = p * u - 0.00140742196116667191;
  p = p * u + 0.0160663258563289751;
  p = p * u + 0.0870746373692240135;
  p = p * u + 0.259269099241470109;
  p = p * u + 0.555886868343723932;
  p = p * u + 0.931761933653365786;
  int exponent = 0;  // h * h = square + rest, exactly
  const double significand = std::frexp(h, &exponent);
  const double upper = std::ldexp(std::trunc(std::ldexp(significand, 26)), exponent - 26), lower = h - upper;
  const double square = h * h, rest = ((upper * upper - square) + upper * lower * 2.0) + lower * lower;
  const double e = exp_of(-square), tail = t * p * (e - e * rest);
  return x < 0.0 ? 2.0 - tail : tail;
}
)";

/// Writes the parts of a policy's source one after the other.
template <std::floating_point S>
class PolicySource {
 public:
  PolicySource(const SavedPolicy<S>& policy, const PolicySourceOptions& options)
      : policy_(policy), network_(policy.network()), name_(options.name) {}

  std::string text() {
    head();
    functions();
    numbers();
    outputs();
    act();
    write(R"(
}  // namespace $name

#if defined(__clang__)
#pragma STDC FP_CONTRACT DEFAULT
#elif defined(__GNUC__)
#pragma GCC pop_options
#endif
)");
    return std::move(out_);
  }

 private:
  static constexpr bool is_float = std::is_same_v<S, float>;
  using Law = Vector<double>;

  void write(std::string_view text, std::initializer_list<std::pair<std::string_view, std::string>> replacements = {}) {
    out_ += substituted(substituted(std::string(text), replacements),
                        {{"$S", is_float ? "float" : "double"}, {"$f", is_float ? "f" : ""}, {"$name", name_}});
  }

  bool uses(Activation a) const {
    return network_.options().output == a || (network_.sizes().size() > 2 && network_.hidden() == a);
  }
  bool squashes() const { return policy_.head().index() >= 3; }

  void head() {
    std::string sizes;
    for (const int size : network_.sizes()) sizes += fmt::format("{}{}", sizes.empty() ? "" : "-", size);
    write(R"(// A trained policy in plain C++17: no heap, no exceptions, nothing to link. Written by valence $version.
// A network $sizes ($hidden$norm); $kind: namespace $name.
//
//     $signature
//
$meaning
)"
          "#pragma"
          R"( once

#include <cmath>

#if defined(__FAST_MATH__)
#error "this policy checks for NaN, which -ffast-math deletes"
#endif
// Products are rounded before they are added, so that the actions are the same to the bit on every machine.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#endif

namespace $name {

constexpr int observation_size = $in;
constexpr int $action_size = $out;

namespace detail {
)",
          {{"$version", VALENCE_VERSION},
           {"$sizes", sizes},
           {"$hidden", std::string(valence::name(network_.hidden()))},
           {"$norm", network_.options().layer_norm ? ", layer normalisation" : ""},
           {"$kind", policy_.discrete() ? "actions are 0 ... action_count - 1" : "actions are vectors"},
           {"$signature", policy_.discrete() ? "int act(const $S* observation, const bool* possible = nullptr);"
                                             : "void act(const $S* observation, $S* action);"},
           {"$meaning", policy_.discrete()
                            ? "// The best action, the first of ties; of those that are possible, if that is given. -1 "
                              "where there is none, and\n// where a number of the observation isn't finite."
                            : "// Fills action_size numbers; with NaN where a number of the observation isn't finite."},
           {"$in", std::to_string(policy_.observation_size())},
           {"$action_size", policy_.discrete() ? "action_count" : "action_size"},
           {"$out", std::to_string(policy_.action_size())}});
  }

  void functions() {
    const auto* greedy = std::get_if<GreedyValues>(&policy_.head());
    const bool tanh = uses(Activation::tanh), gelu = uses(Activation::gelu), silu = uses(Activation::silu);
    const bool exp = tanh || gelu || silu || (greedy && greedy->logits);
    if (exp && is_float) write(source_exp_float);
    if (squashes() || (exp && !is_float)) write(source_exp_double);
    if (tanh && is_float) write(source_tanh_float);
    if (squashes() || (tanh && !is_float)) write(source_tanh_double);
    if (gelu) write(is_float ? source_erfc_float : source_erfc_double);
    write(R"(
inline bool finite(const $S* x, int size) {
  for (int i = 0; i < size; ++i)
    if (!(x[i] - x[i] == 0.0$f)) return false;
  return true;
}

// y = b + W x
inline void affine(const $S* weight, const $S* bias, const $S* x, int in, $S* y, int out) {
  for (int o = 0; o < out; ++o) y[o] = bias[o];
  for (int i = 0; i < in; ++i, weight += out)
    for (int o = 0; o < out; ++o) y[o] += x[i] * weight[o];
}
)");
    if (uses(Activation::relu))
      write(R"(
inline void relu($S* y, int size) {
  for (int i = 0; i < size; ++i) y[i] = y[i] < 0.0$f ? 0.0$f : y[i];
}
)");
    if (tanh)
      write(R"(
inline void tanh($S* y, int size) {
  for (int i = 0; i < size; ++i) y[i] = tanh_of(y[i]);
}
)");
    if (gelu)
      write(R"(
inline void gelu($S* y, int size) {
  for (int i = 0; i < size; ++i) y[i] = y[i] * (erfc_of(y[i] * $root) * 0.5$f);
}
)",
            {{"$root", literal(static_cast<S>(-1 / std::numbers::sqrt2))}});
    if (silu)
      write(R"(
inline void silu($S* y, int size) {
  for (int i = 0; i < size; ++i) {
    const $S e = exp_of(y[i] < 0.0$f ? y[i] : -y[i]);
    y[i] = y[i] * ((y[i] < 0.0$f ? e : 1.0$f) / (1.0$f + e));
  }
}
)");
    if (network_.options().layer_norm && network_.sizes().size() > 2)
      write(R"(
inline void normalise($S* z, int size, const $S* scale, const $S* shift) {
  $S mean = 0.0$f, variance = 0.0$f;
  for (int i = 0; i < size; ++i) mean += z[i];
  mean /= static_cast<$S>(size);
  for (int i = 0; i < size; ++i) variance += (z[i] - mean) * (z[i] - mean);
  const $S inverse = 1.0$f / std::sqrt(variance / static_cast<$S>(size) + $epsilon);
  for (int i = 0; i < size; ++i) z[i] = (z[i] - mean) * inverse * scale[i] + shift[i];
}
)",
            {{"$epsilon", literal(static_cast<S>(layer_norm_epsilon))}});
    if (std::holds_alternative<ClippedGaussian>(policy_.head()))
      write(R"(
inline $S clipped($S mean, double low, double high) {
  const double a = static_cast<double>(mean);
  return static_cast<$S>(a < low ? low : high < a ? high : a);
}
)");
    if (squashes())
      write(R"(
// center + scale tanh(u); near a bound through the distance from it.
inline double squashed($S output, double low, double high, double center, double scale) {
  const double u = static_cast<double>(output), size = std::fabs(u);
  if (size < 0.5) return center + scale * tanh_of(u);
  const double e = exp_of(-2.0 * size), distance = 2.0 * scale * e / (1.0 + e);
  return u < 0.0 ? low + distance : high - distance;
}
)");
    if (policy_.head().index() == 3)
      write(R"(
// As a $S strictly inside the bounds, of which the nearest inside are least and most.
inline $S inside(double x, double low, double high, $S least, $S most) {
  const $S a = static_cast<$S>(x);
  return static_cast<double>(a) <= low ? least : static_cast<double>(a) >= high ? most : a;
}
)");
  }

  // In one line where it fits, else in lines of 120 columns.
  template <class T>
  void array(const std::string& name, std::span<const T> values) {
    constexpr std::size_t columns = 120;
    std::string lines = "\n   ", line = "   ";
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::string number = " " + literal(values[i]) + (i + 1 < values.size() ? "," : "");
      if (line.size() + number.size() > columns - 2) {
        lines += line.substr(3) + "\n   ";
        line = "   ";
      }
      line += number;
    }
    const std::string begin = fmt::format("inline constexpr {} {}[{}] = {{",
                                          std::is_same_v<T, float> ? "float" : "double", name, values.size());
    const bool fits = lines.size() == 4 && begin.size() + line.size() - 4 + 2 <= columns;
    out_ += "\n" + begin + (fits ? line.substr(4) : lines + line.substr(3)) + "};\n";
  }

  void numbers() {
    const ObservationScale& scale = policy_.options().observations;
    if (!scale.mean.empty()) {
      array("observation_mean", std::span(scale.mean));
      array("observation_deviation", std::span(scale.deviation));
    }
    const auto blocks = network_.parameters();
    const std::size_t a_layer = network_.options().layer_norm ? 4 : 2;
    constexpr std::string_view names[] = {"weight", "bias", "scale", "shift"};
    for (std::size_t i = 0; i < blocks.size(); ++i)
      array(fmt::format("{}_{}", names[i % a_layer], i / a_layer),
            policy_.theta().subspan(blocks[i].offset, blocks[i].size()));
    if (const auto* greedy = std::get_if<GreedyValues>(&policy_.head()); greedy && !greedy->atoms.empty()) {
      const std::vector<S> atoms(greedy->atoms.begin(), greedy->atoms.end());
      array("atoms", std::span<const S>(atoms));
    }
  }

  // The network, from the observation to its outputs.
  void outputs() {
    const ObservationScale& scale = policy_.options().observations;
    const std::span<const int> sizes = network_.sizes();
    const bool scaled = !scale.mean.empty(), clipped = std::isfinite(scale.clip);
    int widest = 1;
    for (std::size_t k = scaled || clipped ? 0 : 1; k + 1 < sizes.size(); ++k) widest = (std::max)(widest, sizes[k]);
    write(R"(
// False where a number isn't finite.
inline bool outputs(const $S* observation, $S* y) {
  if (!finite(observation, observation_size)) return false;
)");
    if (scaled || clipped || sizes.size() > 2) write("  $S a[$widest];\n", {{"$widest", std::to_string(widest)}});
    if (sizes.size() > (scaled || clipped ? 2 : 3)) write("  $S b[$widest];\n", {{"$widest", std::to_string(widest)}});
    std::string from = "observation", to = "a";
    if (scaled || clipped) {
      write("  for (int i = 0; i < observation_size; ++i) {\n    $type z = $z;\n$clip    a[i] = $x;\n  }\n",
            {{"$type", "double"},
             {"$z", scaled ? "(static_cast<double>(observation[i]) - observation_mean[i]) / observation_deviation[i]"
                           : "static_cast<double>(observation[i])"},
             {"$clip", clipped ? fmt::format("    z = z < {0} ? {0} : {1} < z ? {1} : z;\n", literal(-scale.clip),
                                             literal(scale.clip))
                               : std::string()},
             {"$x", "static_cast<$S>(z)"}});
      if (scaled) write("  if (!finite(a, observation_size)) return false;\n");
      from = "a", to = "b";
    }
    for (std::size_t k = 0; k + 1 < sizes.size(); ++k) {
      const bool last = k + 2 == sizes.size();
      if (last) to = "y";
      out_ += fmt::format("  affine(weight_{0}, bias_{0}, {1}, {2}, {3}, {4});\n", k, from, sizes[k], to, sizes[k + 1]);
      if (!last && network_.options().layer_norm)
        out_ += fmt::format("  normalise({0}, {1}, scale_{2}, shift_{2});\n", to, sizes[k + 1], k);
      const Activation activation = last ? network_.options().output : network_.hidden();
      if (activation != Activation::identity)
        out_ += fmt::format("  {}({}, {});\n", valence::name(activation), to, sizes[k + 1]);
      from = to;
      to = from == "a" ? "b" : "a";
    }
    write("  return finite(y, $n);\n}\n", {{"$n", std::to_string(network_.output_size())}});
  }

  void act() {
    const std::string n = std::to_string(network_.output_size());
    if (!policy_.discrete()) {
      write(R"(
}  // namespace detail

inline void act(const $S* observation, $S* action) {
  $S y[$n];
  if (!detail::outputs(observation, y)) {
    for (int i = 0; i < action_size; ++i) action[i] = static_cast<$S>(NAN);
    return;
  }
)",
            {{"$n", n}});
      for (int i = 0; i < policy_.action_size(); ++i) out_ += fmt::format("  action[{}] = {};\n", i, action(i));
      out_ += "}\n";
      return;
    }
    const auto* greedy = std::get_if<GreedyValues>(&policy_.head());
    const bool atoms = greedy && !greedy->atoms.empty();
    if (atoms)
      write(greedy->logits ? R"(
// The expectation of each action's return: of the atoms, under the softmax of its outputs.
inline bool values(const $S* y, $S* q) {
  for (int a = 0; a < action_count; ++a, y += $k) {
    $S top = y[0], total = 0.0$f, sum = 0.0$f;
    for (int k = 1; k < $k; ++k) top = top < y[k] ? y[k] : top;
    for (int k = 0; k < $k; ++k) {
      const $S weight = exp_of(y[k] - top);
      total += weight;
      sum += weight * atoms[k];
    }
    q[a] = sum / total;
  }
  return finite(q, action_count);
}
)"
                           : R"(
// The expectation of each action's return.
inline bool values(const $S* y, $S* q) {
  for (int a = 0; a < action_count; ++a, y += $k) {
    q[a] = 0.0$f;
    for (int k = 0; k < $k; ++k) q[a] += y[k] * atoms[k];
  }
  return finite(q, action_count);
}
)",
            {{"$k", std::to_string(greedy->atoms.size())}});
    write(R"(
}  // namespace detail

inline int act(const $S* observation, const bool* possible = nullptr) {
  $S y[$n];
  if (!detail::outputs(observation, y)) return -1;
$values  int best = -1;
  for (int a = 0; a < action_count; ++a)
    if ((!possible || possible[a]) && (best < 0 || $q[a] > $q[best])) best = a;
  return best;
}
)",
          {{"$n", n},
           {"$values", atoms ? "  $S q[action_count];\n  if (!detail::values(y, q)) return -1;\n" : ""},
           {"$q", atoms ? "q" : "y"}});
  }

  // Entry i of a continuous action, as an expression of y.
  std::string action(int i) const {
    const std::string y = fmt::format("y[{}]", i), type = is_float ? "float" : "double";
    if (const auto* gaussian = std::get_if<ClippedGaussian>(&policy_.head())) {
      const double low = gaussian->actions.low[i], high = gaussian->actions.high[i];
      if (std::isinf(low) && std::isinf(high)) return y;
      return fmt::format("detail::clipped({}, {}, {})", y, literal(low), literal(high));
    }
    const auto* squashed = std::get_if<SquashedGaussian<Law>>(&policy_.head());
    const Box<Law>& box = squashed ? squashed->actions : std::get<Deterministic<Law>>(policy_.head()).actions;
    if (std::isinf(box.low[i])) return y;  // Deterministic only
    const SquashedInterval range("policy_source", static_cast<std::size_t>(i), box.low[i], box.high[i]);
    const std::string value = fmt::format("detail::squashed({}, {}, {}, {}, {})", y, literal(range.low),
                                          literal(range.high), literal(range.center), literal(range.scale));
    if (!squashed) return fmt::format("static_cast<{}>({})", type, value);
    return fmt::format("detail::inside({}, {}, {}, {}, {})", value, literal(range.low), literal(range.high),
                       literal(range.template inside<S>(range.low)), literal(range.template inside<S>(range.high)));
  }

  const SavedPolicy<S>& policy_;
  const Mlp<S>& network_;
  std::string name_, out_;
};

}  // namespace detail

/// The policy as the text of a header. Throws `Error` for a name that is no identifier.
template <std::floating_point S>
std::string policy_source(const SavedPolicy<S>& policy, const PolicySourceOptions& options = {}) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  if (options.name.empty() || digit(options.name[0]) ||
      !std::ranges::all_of(options.name, [&](char c) { return letter(c) || digit(c); }))
    fail("policy_source", "name is {}; expected letters, digits and '_', no digit first", shown(options.name));
  return detail::PolicySource<S>(policy, options).text();
}

/// Writes it to a file, atomically.
template <std::floating_point S>
void save_policy_source(const std::filesystem::path& path, const SavedPolicy<S>& policy,
                        const PolicySourceOptions& options = {}) {
  save_atomically(path, policy_source(policy, options));
}

}  // namespace valence
