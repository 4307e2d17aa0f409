#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>

#include "valence/core/error.hpp"
#include "valence/io/byte_source.hpp"

namespace valence {
namespace detail {

/// All of a file.
inline std::string content_of_file(std::string_view where, const std::filesystem::path& path) {
  ByteSource source = ByteSource::of_file(where, path);
  std::string text;
  for (std::size_t size = 0;;) {
    text.resize(size + (std::size_t{1} << 16));
    const std::size_t count = source.read({text.data() + size, text.size() - size});
    text.resize(size += count);
    if (count == 0) return text;
  }
}

/// A file that only grows. Each `write` is one call of the system and nothing stays behind in this process, so whoever
/// is killed between two of them leaves whole pieces; one that is killed within leaves a torn last piece.
class AppendFile {
 public:
  enum class Open { append, create };

  /// Opens `path` at its end; with `create` as a new file, and where that exists already `is_open()` is false.
  AppendFile(std::string_view where, const std::filesystem::path& path, Open how = Open::append)
      : where_(where), path_(path) {
    if (how == Open::create) {
      if (!open("wbx")) {
        if (errno == EEXIST) return;
        fail_now("cannot make");
      }
      file_.reset();
    }
    if (!open("ab")) fail_now("cannot open");
    std::setvbuf(file_.get(), nullptr, _IONBF, 0);
    std::error_code error;
    size_ = std::filesystem::file_size(path_, error);
    if (error) fail(where_, "cannot append to '{}': {}", path_.string(), error.message());
  }

  bool is_open() const { return file_ != nullptr; }

  /// Appends `bytes`, all or nothing: where the disk is full, the part that was written is taken back.
  void write(std::string_view bytes) {
    errno = 0;
    if (std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) {
      const int reason = errno;
      std::error_code ignored;
      std::filesystem::resize_file(path_, size_, ignored);
      std::clearerr(file_.get());
      errno = reason;
      fail_now("cannot write to");
    }
    size_ += bytes.size();
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  bool open(const char* mode) {
#if defined(_WIN32)
    file_.reset(::_wfopen(path_.c_str(), std::wstring(mode, mode + std::strlen(mode)).c_str()));
#else
    file_.reset(std::fopen(path_.c_str(), mode));
#endif
    return file_ != nullptr;
  }

  [[noreturn]] void fail_now(std::string_view what) {
    const int error = errno;
    fail(where_, "{} '{}': {}", what, path_.string(), std::generic_category().message(error));
  }

  std::string where_;
  std::filesystem::path path_;
  std::unique_ptr<std::FILE, Close> file_;
  std::uintmax_t size_ = 0;
};

}  // namespace detail
}  // namespace valence
