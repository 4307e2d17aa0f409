#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "valence/core/archive.hpp"
#include "valence/core/config.hpp"
#include "valence/core/error.hpp"
#include "valence/function/parameters.hpp"
#include "valence/io/parameters.hpp"
#include "valence/io/safetensors.hpp"
#include "valence/io/text.hpp"

/// A whole training run, or any other object that lists its state in `archive(ar)`, as one safetensors file, from which
/// it goes on to the bit as if it had never stopped:
///
///     Run run{Dqn{...}, TimeLimit{CartPole{}}, rng};
///     train_with_checkpoints(run, {.path = "run.safetensors", .steps = 1'000'000, .every = 10'000});
///
/// Python's `safetensors` opens the file. The names of its tensors are paths through the lists of fields: in a `Run`,
/// whose first field is the agent, `0.5` is the agent's sixth field.
///
/// | field at path p              | tensors                                                                   |
/// | ---------------------------- | ------------------------------------------------------------------------- |
/// | number, bool, enumeration    | `p`, no dimensions; integers of more than a byte have 64 bits             |
/// | vector or array of n numbers | `p` of shape [n] and the numbers' own type; a string is its bytes         |
/// | Eigen matrix, rows x columns | `p` of shape [columns, rows], so that a sample is a row; vectors [n]      |
/// | `theta` beside a `model`     | its blocks under PyTorch's names, `p.0.weight`: a `state_dict` after `p.` |
/// | optional                     | `p.has`, and `p.value` where it has one                                   |
/// | pair                         | `p.0`, `p.1`                                                              |
/// | list of anything else        | `p.size`, and by columns: `p.each.0` has the first field of every element |
///
/// In columns, what has a size of its own is joined, with the sizes beside it (`.size`; `.shape` of matrices).
namespace valence {

/// What a checkpoint says about itself.
struct CheckpointOptions {
  /// What it is of: "dqn on cart-pole, 64 x 64". Loading expects the same words, so this is the place for what the
  /// state's types and sizes don't show.
  std::string kind = {};
};

namespace detail {

inline constexpr std::string_view checkpoint_format = "1";
inline constexpr std::string_view checkpoint_description =
    "names are paths through the lists of fields; see valence/io/checkpoint.hpp";

/// The type that a number has in the file, in arrays.
template <class T>
auto stored_type() {
  if constexpr (std::is_enum_v<T>)
    return stored_type<std::underlying_type_t<T>>();
  else if constexpr (TensorScalar<T>)
    return T{};
  else
    return std::uint8_t{};  // a character
}
template <class T>
using Stored = decltype(stored_type<T>());
/// And alone: one that means the same on every machine.
template <class T>
using Widened = std::conditional_t<std::is_floating_point_v<Stored<T>> || sizeof(Stored<T>) == 1, Stored<T>,
                                   std::conditional_t<std::is_signed_v<Stored<T>>, std::int64_t, std::uint64_t>>;

template <class T>
concept NumberField = std::is_arithmetic_v<T> || std::is_enum_v<T>;
/// A contiguous list of numbers whose length may change.
template <class T>
concept NumberList =
    std::same_as<T, std::string> ||
    (StdVector<T> && requires(T x) { requires NumberField<std::remove_cvref_t<decltype(*x.data())>>; });

/// A model with its parameters, which it can name.
template <class T>
concept NamesItsParameters = requires(T x) {
  { x.model.parameters() } -> std::convertible_to<std::vector<ParameterBlock>>;
  requires std::floating_point<std::remove_cvref_t<decltype(*x.theta.data())>>;
  requires NumberList<std::remove_cvref_t<decltype(x.theta)>>;
};

template <class T>
std::span<Stored<T>> stored_numbers(T* data, std::size_t n) {
  static_assert(sizeof(Stored<T>) == sizeof(T), "valence: numbers of this type can't be stored");
  return {reinterpret_cast<Stored<T>*>(data), n};
}

/// Walks the fields of an object and tells `Port` what stands at which path. The port is a `CheckpointSaver` or a
/// `CheckpointLoader`: the layout of the file is written down here, once, for both.
template <class Port>
class CheckpointWalk {
 public:
  explicit CheckpointWalk(Port& port) : port_(port) {}

  template <class... Fields>
  void operator()(Fields&... fields) {
    (at(std::to_string(next_++), [&] { field(fields); }), ...);
  }
  template <class T>
  void field(T& x) {
    static_assert(Archivable<T>, "valence: a field listed in archive(ar) is not Archivable (see core/archive.hpp)");
    if constexpr (NumberField<T>) {
      port_.number(x);
    } else if constexpr (ListsItsFields<T>) {
      CheckpointWalk inside(port_);
      if constexpr (NamesItsParameters<T>) inside.name_parameters(x);
      x.archive(inside);
    } else if constexpr (NumberList<T>) {
      if constexpr (std::floating_point<std::remove_cvref_t<decltype(*x.data())>>)
        if (static_cast<const void*>(&x) == theta_ && !port_.in_columns) return port_.parameters(x, layout_);
      port_.list(x);
    } else if constexpr (StdVector<T>) {
      std::size_t n = x.size();
      at("size", [&] { port_.number(n); });
      port_.check_count(n);
      x.resize(n);
      columns([&] {
        if constexpr (std::is_same_v<typename VectorElement<T>::type, bool>)
          for (std::size_t i = 0; i < n; ++i) {
            bool b = x[i];
            field(b);
            x[i] = b;
          }
        else
          for (auto& element : x) field(element);
      });
    } else if constexpr (is_optional<T>) {
      at("has", [&] { port_.presence(x); });
      if (x) at("value", [&] { field(*x); });
    } else if constexpr (is_pair<T>) {
      at("0", [&] { field(x.first); });
      at("1", [&] { field(x.second); });
    } else if constexpr (is_std_array<T> || std::is_array_v<T>) {
      if constexpr (NumberField<std::remove_cvref_t<decltype(x[0])>>)
        port_.fixed(stored_numbers(std::data(x), std::size(x)));
      else
        columns([&] {
          for (auto& element : x) field(element);
        });
    } else {
      port_.matrix(x);
    }
  }

 private:
  template <class T>
  void name_parameters(T& x) {
    theta_ = &x.theta;
    layout_ = x.model.parameters();
  }
  template <class F>
  void at(std::string_view name, F&& inside) {
    std::string& path = port_.path;
    const std::size_t before = path.size();
    if (!path.empty()) path += '.';
    path += name;
    inside();
    path.resize(before);  // not where it throws: the message says where that was
  }
  template <class F>
  void columns(F&& elements) {
    at("each", [&] {
      const bool before = std::exchange(port_.in_columns, true);
      elements();
      port_.in_columns = before;
    });
  }

  Port& port_;
  std::size_t next_ = 0;
  const void* theta_ = nullptr;
  std::vector<ParameterBlock> layout_ = {};
};

/// The shape of an Eigen matrix in the file.
template <class M>
std::vector<std::uint64_t> matrix_shape(const M& x) {
  if constexpr (M::IsVectorAtCompileTime)
    return {static_cast<std::uint64_t>(x.size())};
  else
    return {static_cast<std::uint64_t>(x.outerSize()), static_cast<std::uint64_t>(x.innerSize())};
}

/// Puts fields into a file.
class CheckpointSaver {
 public:
  explicit CheckpointSaver(Safetensors& file) : file_(file) {}

  std::string path = {};
  bool in_columns = false;

  template <class T>
  void number(T x) {
    const auto stored = static_cast<Widened<T>>(x);
    put(path, std::span<const Widened<T>>(&stored, 1), {});
  }
  template <class T>
  void list(T& x) {
    put_size("size", x.size());
    put(path, stored(x.data(), x.size()), {x.size()});
  }
  template <class S>
  void fixed(std::span<S> x) {
    put(path, std::span<const S>(x), {x.size()});
  }
  template <class M>
  void matrix(M& x) {
    if constexpr (M::SizeAtCompileTime < 0)
      put_size("shape", static_cast<std::uint64_t>(x.rows()), static_cast<std::uint64_t>(x.cols()));
    put(path, stored(x.data(), static_cast<std::size_t>(x.size())), matrix_shape(x));
  }
  template <class T>
  void parameters(T& theta, std::span<const ParameterBlock> layout) {
    using S = std::remove_cvref_t<decltype(*theta.data())>;
    check_layout("save_checkpoint", layout, theta.size());
    std::vector<S> block;
    for (const auto& b : layout) {
      block.resize(b.size());
      for_each_number(b, [&](std::size_t k, std::size_t i) { block[k] = theta[i]; });
      file_.add<S>(path + '.' + b.name, std::span<const S>(block), shape_of(b));
    }
    weights_ += (weights_.empty() ? "" : " ") + path;
  }
  template <class T>
  void presence(std::optional<T>& x) {
    number(x.has_value());
  }
  void check_count(std::size_t) const {}

  /// Adds the columns, which grew with every element, and where the weights are.
  void finish() {
    for (auto& [name, column] : columns_)
      file_.add_bytes(name, column.dtype, {column.bytes.size() / column.size}, column.bytes);
    columns_.clear();
    if (!weights_.empty()) file_.set_metadata("valence.parameters", weights_);
  }

 private:
  struct Column {
    DType dtype = DType::boolean;
    std::size_t size = 1;
    std::vector<std::byte> bytes = {};
  };

  template <class T>
  static std::span<const Stored<T>> stored(T* data, std::size_t n) {
    return stored_numbers(data, n);
  }
  template <class S>
  void put(const std::string& name, std::span<const S> numbers, std::vector<std::uint64_t> shape) {
    if (!in_columns) {
      file_.add<S>(name, numbers, std::move(shape));
      return;
    }
    Column& column = columns_[name];
    column.dtype = dtype_of<S>();
    column.size = sizeof(S);
    const std::size_t end = column.bytes.size();
    column.bytes.resize(end + numbers.size_bytes());
    copy_numbers(column.bytes.data() + end, std::as_bytes(numbers).data(), numbers.size_bytes(), sizeof(S),
                 swaps_bytes);
  }
  template <class... Sizes>
  void put_size(std::string_view what, Sizes... sizes) {
    if (!in_columns) return;  // the tensor has its shape
    const std::array<std::uint64_t, sizeof...(Sizes)> all{static_cast<std::uint64_t>(sizes)...};
    put(fmt::format("{}.{}", path, what), std::span<const std::uint64_t>(all), {});
  }

  Safetensors& file_;
  std::unordered_map<std::string, Column> columns_ = {};
  std::string weights_ = {};
};

/// Fills fields from a file; at the first that doesn't fit throws `Error`, because an object that is half filled can't
/// be trusted to go on.
class CheckpointLoader {
 public:
  explicit CheckpointLoader(const Safetensors& file) : file_(file) {
    for (const auto& tensor : file_.tensors()) {
      unread_.insert(tensor.name);
      bytes_ += tensor.end - tensor.begin;
    }
  }

  std::string path = {};
  bool in_columns = false;

  template <class T>
  void number(T& x) {
    using W = Widened<T>;
    W stored{};
    if (in_columns)
      take(path, std::span<W>(&stored, 1));
    else
      read(path, std::span<W>(&stored, 1), {});
    const T value = static_cast<T>(stored);
    if constexpr (std::is_integral_v<W>)
      if (static_cast<W>(value) != stored) refuse("is {}; expected what fits into {} bytes", stored, sizeof(T));
    x = value;
  }
  template <class T>
  void list(T& x) {
    using S = Stored<std::remove_cvref_t<decltype(*x.data())>>;
    if (in_columns) {
      const auto n = take_sizes<1>("size")[0];
      check_left<S>(n);
      x.resize(static_cast<std::size_t>(n));
      take(path, stored_numbers(x.data(), x.size()));
    } else {
      const auto& shape = find<S>(path).shape;
      if (shape.size() != 1) refuse("has the shape {}; expected one dimension", shape_text(shape));
      x.resize(static_cast<std::size_t>(shape[0]));
      read(path, stored_numbers(x.data(), x.size()), shape);
    }
  }
  template <class S>
  void fixed(std::span<S> x) {
    if (in_columns)
      take(path, x);
    else
      read(path, x, {x.size()});
  }
  template <class M>
  void matrix(M& x) {
    using S = Stored<typename M::Scalar>;
    std::uint64_t rows = static_cast<std::uint64_t>(x.rows()), cols = static_cast<std::uint64_t>(x.cols());
    if constexpr (M::SizeAtCompileTime < 0) {
      if (in_columns) {
        const auto shape = take_sizes<2>("shape");
        rows = shape[0], cols = shape[1];
        const auto count = checked_product(rows, cols);
        if (!count) refuse("has an element of {} x {} numbers", rows, cols);
        check_left<S>(*count);
      } else {
        const auto& shape = find<S>(path).shape;
        if (shape.size() != (M::IsVectorAtCompileTime ? 1U : 2U))
          refuse("has the shape {}; expected {} dimensions", shape_text(shape), M::IsVectorAtCompileTime ? 1 : 2);
        const std::uint64_t inner = shape.back(), outer = M::IsVectorAtCompileTime ? 1 : shape.front();
        rows = M::IsRowMajor ? outer : inner, cols = M::IsRowMajor ? inner : outer;
      }
      if (!fits(rows, M::RowsAtCompileTime, M::MaxRowsAtCompileTime) ||
          !fits(cols, M::ColsAtCompileTime, M::MaxColsAtCompileTime))
        refuse("has {} x {} numbers, which don't fit into the field", rows, cols);
      x.resize(static_cast<std::ptrdiff_t>(rows), static_cast<std::ptrdiff_t>(cols));
    }
    const auto numbers = stored_numbers(x.data(), static_cast<std::size_t>(x.size()));
    if (in_columns)
      take(path, numbers);
    else
      read(path, numbers, matrix_shape(x));
  }
  template <class T>
  void parameters(T& theta, std::span<const ParameterBlock> layout) {
    using S = std::remove_cvref_t<decltype(*theta.data())>;
    for (const auto& b : layout) unread_.erase(path + '.' + b.name);
    read_parameters<S>(file_, std::span<S>(theta), layout,
                       {.prefix = path + '.', .allow_extra = true, .require_finite = false});
  }
  /// Makes what is there and isn't yet. A part that can't be made from nothing belongs to how the object was built: the
  /// file must have it where the object has it.
  template <class T>
  void presence(std::optional<T>& x) {
    bool has = false;
    number(has);
    if constexpr (std::default_initializable<T>) {
      if (has && !x) x.emplace();
      if (!has) x.reset();
    } else if (has != x.has_value()) {
      refuse("is {}; expected {}, as the object was built", has, x.has_value());
    }
  }
  /// A list that is announced must have something in the file for each element.
  void check_count(std::size_t n) const {
    if (n > bytes_) refuse("announces {} elements; the file has {} bytes of numbers", n, bytes_);
  }

  /// Everything must have been read.
  void finish() const {
    for (const auto& [name, column] : columns_)
      if (!column.empty()) fail(where, "{} has {} bytes that belong to no element", shown(name), column.size());
    if (!unread_.empty()) fail(where, "{} is not a field", shown(*unread_.begin()));
  }
  const std::set<std::string>& unread() const { return unread_; }

 private:
  static constexpr std::string_view where = "load_checkpoint";
  using Column = std::span<const std::byte>;  // what is left of it

  template <class... Values>
  [[noreturn]] void refuse(fmt::format_string<Values...> why, Values&&... values) const {
    fail(where, "{} {}", shown(path), fmt::format(why, std::forward<Values>(values)...));
  }
  static bool fits(std::uint64_t n, std::ptrdiff_t fixed, std::ptrdiff_t most) {
    return std::in_range<std::ptrdiff_t>(n) && (fixed < 0 || std::cmp_equal(n, fixed)) &&
           (most < 0 || std::cmp_less_equal(n, most));
  }

  /// The tensor, when it holds numbers of type `S`.
  template <class S>
  const TensorInfo& find(const std::string& name) {
    if (!file_.contains(name)) fail(where, "{} is missing", shown(name));
    unread_.erase(name);
    const TensorInfo& tensor = file_.info(name);
    if (tensor.dtype != dtype_of<S>())
      fail(where, "{} has the type {}; expected {}", shown(name), name_of(tensor.dtype), name_of(dtype_of<S>()));
    return tensor;
  }
  template <class S>
  void read(const std::string& name, std::span<S> out, const std::vector<std::uint64_t>& shape) {
    const TensorInfo& tensor = find<S>(name);
    if (tensor.shape != shape)
      fail(where, "{} has the shape {}; expected {}", shown(name), shape_text(tensor.shape), shape_text(shape));
    file_.read<S>(name, out);
  }
  template <class S>
  Column& column(const std::string& name) {
    const auto known = columns_.find(name);
    if (known != columns_.end()) return known->second;
    const TensorInfo& tensor = find<S>(name);
    if (tensor.shape.size() != 1)
      fail(where, "{} has the shape {}; expected one dimension", shown(name), shape_text(tensor.shape));
    return columns_.emplace(name, file_.bytes(name)).first->second;
  }
  /// The next numbers of a column.
  template <class S>
  void take(const std::string& name, std::span<S> out) {
    if (out.empty()) return column<S>(name), void();
    Column& left = column<S>(name);
    if (left.size() < out.size_bytes())
      fail(where, "{} has {} bytes for the next element; expected {}", shown(name), left.size(), out.size_bytes());
    if constexpr (std::same_as<S, bool>)
      for (std::size_t i = 0; i < out.size(); ++i)
        if (std::to_integer<unsigned>(left[i]) > 1)
          fail(where, "{} has the byte {}; expected 0 or 1", shown(name), std::to_integer<unsigned>(left[i]));
    copy_numbers(reinterpret_cast<std::byte*>(out.data()), left.data(), out.size_bytes(), sizeof(S), swaps_bytes);
    left = left.subspan(out.size_bytes());
  }
  template <std::size_t Count>
  std::array<std::uint64_t, Count> take_sizes(std::string_view what) {
    std::array<std::uint64_t, Count> sizes{};
    take(fmt::format("{}.{}", path, what), std::span<std::uint64_t>(sizes));
    return sizes;
  }
  /// So that a size is believed only as far as there are numbers.
  template <class S>
  void check_left(std::uint64_t count) {
    const std::size_t left = column<S>(path).size() / sizeof(S);
    if (count > left) refuse("has {} numbers for the next element; expected {}", left, count);
  }

  const Safetensors& file_;
  std::uint64_t bytes_ = 0;
  std::set<std::string> unread_ = {};
  std::unordered_map<std::string, Column> columns_ = {};
};

/// What the saved object's names and the file's differ in; nothing where they are the same. What stands inside lists
/// and optionals depends on what they hold, and isn't compared.
inline std::string name_differences(const Safetensors& file, const Safetensors& expected) {
  const auto depends = [](std::string_view name) {
    const std::string dotted = fmt::format(".{}.", name);
    return dotted.find(".each.") != std::string::npos || dotted.find(".value.") != std::string::npos;
  };
  std::string out;
  const auto compare = [&](const Safetensors& a, const Safetensors& b, std::string_view what) {
    std::size_t count = 0;
    for (const auto& tensor : a.tensors())
      if (!b.contains(tensor.name) && !depends(tensor.name) && ++count <= 10)
        out += fmt::format("; {} {}", shown(tensor.name), what);
    if (count > 10) out += fmt::format("; {} more {}", count - 10, what);
  };
  compare(expected, file, "is missing");
  compare(file, expected, "is not a field");
  return out;
}

template <class T>
Safetensors fields_of(T copy) {  // a copy: `archive` may tidy what it lists
  Safetensors file;
  CheckpointSaver saver(file);
  CheckpointWalk(saver).field(copy);
  saver.finish();
  return file;
}

inline void check_words(std::string_view name, const Safetensors& file, std::string_view key,
                        std::string_view expected) {
  const auto& words = file.metadata();
  const auto found = words.find(std::string(key));
  if (found == words.end())
    fail("load_checkpoint", "{} has no '{}' in its metadata; expected {}", name, key, shown(expected));
  if (found->second != expected)
    fail("load_checkpoint", "{}: '{}' is {}; expected {}", name, key, shown(found->second), shown(expected));
}

template <class T>
void load_fields(const Safetensors& file, T& object, const CheckpointOptions& options, const std::string& name) {
  check_words(name, file, "valence.checkpoint", checkpoint_format);
  check_words(name, file, "valence.kind", options.kind);
  T loaded = object;  // what is not listed stays
  CheckpointLoader loader(file);
  const auto load = [&] {
    CheckpointWalk(loader).field(loaded);
    loader.finish();
  };
#if defined(__cpp_exceptions)
  try {
    load();
  } catch (const Error& error) {
    std::string what = error.what();
    constexpr std::string_view own = "load_checkpoint: ";
    if (what.starts_with(own))
      what.erase(0, own.size());
    else if (!loader.path.empty())
      what += fmt::format(" (at {})", shown(loader.path));
    std::string differences = name_differences(file, fields_of(object));
    if (differences.find(what) == std::string::npos) differences = "; " + what + differences;
    fail("load_checkpoint", "{} is no state of this object: {}", name, std::string_view(differences).substr(2));
  }
#else
  load();
#endif
  object = std::move(loaded);
}

}  // namespace detail

/// The state of `object` as tensors: what `save_checkpoint` writes, for a place of one's own.
template <Archivable T>
  requires std::copyable<T>
Safetensors to_checkpoint(const T& object, const CheckpointOptions& options = {}) {
  Safetensors file = detail::fields_of(object);
  file.set_metadata("valence.checkpoint", std::string(detail::checkpoint_format));
  file.set_metadata("valence.version", VALENCE_VERSION);
  file.set_metadata("valence.kind", options.kind);
  file.set_metadata("valence.describe", std::string(detail::checkpoint_description));
  return file;
}

/// Fills `object` from what `to_checkpoint` made of an object of the same type. Throws `Error`, and leaves `object` as
/// it was, for another kind or format, for fields that are missing, unknown, of another type or of a size that doesn't
/// fit (all are named), and where the object's own `archive` finds fault.
///
/// What an object doesn't list, such as options and network sizes, it keeps: build it as the saved one was built.
template <Archivable T>
  requires std::copyable<T>
void from_checkpoint(const Safetensors& file, T& object, const CheckpointOptions& options = {}) {
  detail::load_fields(file, object, options, "the checkpoint");
}

/// Writes the state of `object` to `path`, whole or not at all: whatever happens meanwhile, even a power cut, the file
/// is the old one or the new one. It carries a checksum, by which loading finds every flipped bit. Takes memory for a
/// copy of the object and one of its numbers.
template <Archivable T>
  requires std::copyable<T>
void save_checkpoint(const std::filesystem::path& path, const T& object, const CheckpointOptions& options = {}) {
  to_checkpoint(object, options).save(path);
}

/// Fills `object` from a file of `save_checkpoint`. Throws `Error`, and leaves `object` as it was, for a file that is
/// damaged or isn't a checkpoint, and as `from_checkpoint` does.
template <Archivable T>
  requires std::copyable<T>
void load_checkpoint(const std::filesystem::path& path, T& object, const CheckpointOptions& options = {}) {
  detail::load_fields(Safetensors::load(path), object, options, shown(path.string()));
}

/// How `train_with_checkpoints` trains.
struct CheckpointedTraining {
  std::filesystem::path path = {};  ///< of the checkpoint; belongs to this run alone
  std::int64_t steps = 0;           ///< of the environment, in all, >= 1: those that the file has already count
  std::int64_t every = 10'000;      ///< steps between two saves, >= 1
  std::string kind = {};            ///< see `CheckpointOptions`
};

namespace detail {

/// Hears what `callback` hears and returns, and remembers whether it stopped.
template <class C>
struct StopWatch {
  C& callback;
  bool& stopped;

  template <class Event>
    requires std::invocable<C&, const Event&>
  bool operator()(const Event& event) {
    if constexpr (std::is_void_v<std::invoke_result_t<C&, const Event&>>) {
      callback(event);
      return true;
    } else {
      const bool go_on = static_cast<bool>(callback(event));
      stopped = stopped || !go_on;
      return go_on;
    }
  }
};

/// Removes the temporary files that `AtomicFile` left beside `path` when its process was killed.
inline void remove_leftovers(const std::filesystem::path& path) {
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const std::string begin = path.filename().string() + '.', end = ".tmp";
  std::error_code error;
  std::vector<std::filesystem::path> found;
  for (std::filesystem::directory_iterator entry(folder, error), last; !error && entry != last;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.size() <= begin.size() + end.size() || !name.starts_with(begin) || !name.ends_with(end)) continue;
    const std::string_view middle =
        std::string_view(name).substr(begin.size(), name.size() - begin.size() - end.size());
    if (middle.find_first_not_of("0123456789-") == std::string_view::npos) found.push_back(entry->path());
  }
  for (const auto& leftover : found) std::filesystem::remove(leftover, error);
}

}  // namespace detail

/// Trains until `run.steps()` is `training.steps`, and saves after every `every` of them and at the end. Where there is
/// a checkpoint at `path` it goes on from there: a program that is killed at any moment and started again ends with the
/// same bits as one that never was.
///
///     Run run{agent, environment, Rng{7}};
///     train_with_checkpoints(run, {.path = "run.safetensors", .steps = 1'000'000, .every = 10'000}, ProgressBar{});
///
/// `run` is a `Run`, or has `advance(steps, callbacks...)` and `steps()`. Callbacks are those of `Run::advance`; where
/// one returns false the run is saved and this returns false. Their own state isn't saved. Throws `Error` as
/// `load_checkpoint` and `save_checkpoint` do, and for a run that doesn't advance.
template <Archivable R, class... Callbacks>
  requires std::copyable<R>
bool train_with_checkpoints(R& run, const CheckpointedTraining& training, Callbacks&&... callbacks) {
  constexpr auto where = "train_with_checkpoints";
  if (training.path.empty()) fail(where, "path is empty; expected a file's name");
  check_positive(where, "steps", training.steps);
  check_positive(where, "every", training.every);
  if (const auto folder = training.path.parent_path(); !folder.empty()) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (!std::filesystem::is_directory(folder))
      fail(where, "{} is no folder and can't be made one; expected one for the checkpoint", shown(folder.string()));
  }
  const CheckpointOptions options{.kind = training.kind};
  detail::remove_leftovers(training.path);
  if (std::filesystem::exists(training.path)) load_checkpoint(training.path, run, options);
  bool stopped = false;
  while (run.steps() < training.steps && !stopped) {
    const std::int64_t before = run.steps();
    // To the next multiple of `every`, so that the saves fall on the same steps however often it was begun.
    run.advance((std::min)(training.every - before % training.every, training.steps - before),
                detail::StopWatch<std::remove_reference_t<Callbacks>>{callbacks, stopped}...);
    if (run.steps() <= before) fail(where, "the run is still at step {}; expected it to advance", before);
    save_checkpoint(training.path, run, options);
  }
  return !stopped;
}

}  // namespace valence
