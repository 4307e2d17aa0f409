#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "valence/core/error.hpp"

namespace valence {
namespace detail {

/// Where readers get their bytes: a file (read in order, any size, pipes too) or a text in memory that outlives it.
class ByteSource {
 public:
  /// Opens `path` for reading; `where` names the caller in the error.
  static ByteSource of_file(std::string_view where, const std::filesystem::path& path) {
    ByteSource out;
    out.name_ = path.string();
#if defined(_WIN32)
    out.file_.reset(::_wfopen(path.c_str(), L"rb"));
#else
    out.file_.reset(std::fopen(path.c_str(), "rb"));
#endif
    if (!out.file_) {
      const int error = errno;
      fail(where, "cannot open '{}': {}", out.name_, std::generic_category().message(error));
    }
    return out;
  }
  /// Reads from memory; `name` stands for the file in messages.
  static ByteSource of_text(std::string_view text, std::string name) {
    ByteSource out;
    out.text_ = text;
    out.name_ = std::move(name);
    return out;
  }

  /// The file's name, for messages.
  const std::string& name() const { return name_; }

  /// Up to `out.size()` bytes; 0 at the end. Throws `Error` when the system cannot read (as on a folder).
  std::size_t read(std::span<char> out) {
    if (!file_) {
      const std::size_t count = (std::min)(out.size(), text_.size());
      if (count != 0) std::memcpy(out.data(), text_.data(), count);
      text_.remove_prefix(count);
      return count;
    }
    const std::size_t count = std::fread(out.data(), 1, out.size(), file_.get());
    if (count == 0 && std::ferror(file_.get())) {
      const int error = errno;
      fail("read", "cannot read '{}': {}", name_, std::generic_category().message(error));
    }
    return count;
  }

 private:
  ByteSource() = default;
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file_;
  std::string_view text_;
  std::string name_;
};

}  // namespace detail
}  // namespace valence
