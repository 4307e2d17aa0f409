#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#if defined(_WIN32)
#include <fcntl.h>
#include <io.h>
#include <process.h>
#include <share.h>
#include <sys/stat.h>
#else
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#include "valence/core/error.hpp"

namespace valence {

/// A file that appears whole or not at all. What is written goes to a temporary file in the same folder (a rename is
/// atomic only inside one file system); `commit()` flushes it to the disk, renames it over `path` and flushes the
/// folder, so after a crash or a power cut `path` holds either all of the old content or all of the new. Without
/// `commit()`, as when an exception passes by, the destructor removes the temporary file and `path` is as it was.
///
/// An existing file keeps its permission bits, and a symbolic link stays one: the file it points to is replaced.
/// Every failure throws `Error` with the path and the system's reason.
class AtomicFile {
 public:
  /// Opens the temporary file.
  explicit AtomicFile(const std::filesystem::path& path) : path_(path) {
    std::error_code ignored;
    if (std::filesystem::is_symlink(path_, ignored)) {
      auto target = std::filesystem::weakly_canonical(path_, ignored);
      if (!ignored) path_ = std::move(target);
    }
    if (path_.filename().empty()) fail("AtomicFile", "'{}' names no file", path_.string());
    static std::atomic<unsigned> counter{0};
    for (int attempt = 0; attempt < 100 && file_ < 0; ++attempt) {
      temporary_ = path_;
      temporary_ += fmt::format(".{}-{}.tmp", process(), counter++);
      file_ = create(temporary_);
      if (file_ < 0 && errno != EEXIST) break;
    }
    if (file_ < 0) {
      const int error = errno;
      fail("AtomicFile", "cannot create a file beside '{}': {}", path_.string(),
           std::generic_category().message(error));
    }
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    close();
    if (!committed_) {
      std::error_code ignored;
      std::filesystem::remove(temporary_, ignored);
    }
  }

  /// Appends `bytes`.
  void write(std::span<const std::byte> bytes) {
    if (file_ < 0) fail("AtomicFile", "'{}' was committed already", path_.string());
    if (buffer_.size() + bytes.size() > buffer_size) flush();
    if (bytes.size() > buffer_size)
      put(bytes);
    else
      buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  /// Makes the written content the content of `path`. To be called once, last.
  void commit() {
    if (file_ < 0) fail("AtomicFile", "'{}' was committed already", path_.string());
    flush();
#if defined(_WIN32)
    if (::_commit(file_) != 0) fail_now("cannot flush");
#else
    struct stat old {};
    if (::stat(path_.c_str(), &old) == 0 && S_ISREG(old.st_mode)) {
      // Best effort: on a file system without permission bits the content matters more.
      [[maybe_unused]] const int kept = ::fchmod(file_, old.st_mode & 07777);
    }
    if (::fsync(file_) != 0) fail_now("cannot flush");
#endif
    if (!close()) fail_now("cannot close");
    std::error_code error;
    std::filesystem::rename(temporary_, path_, error);  // replaces an existing file, on Windows too
    if (error) fail("AtomicFile", "cannot replace '{}': {}", path_.string(), error.message());
    committed_ = true;
#if !defined(_WIN32)
    // The rename itself is durable once the folder is flushed. Some file systems cannot; then it is as good as it gets.
    const auto folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
    const int directory = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory >= 0) {
      ::fsync(directory);
      ::close(directory);
    }
#endif
  }

 private:
  static constexpr std::size_t buffer_size = std::size_t{1} << 16;

  void flush() {
    put(buffer_);
    buffer_.clear();
  }
  void put(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      // Some systems refuse single writes of 2 GiB and more.
      const std::size_t chunk = (std::min)(bytes.size(), std::size_t{1} << 30);
#if defined(_WIN32)
      const auto written = ::_write(file_, bytes.data(), static_cast<unsigned>(chunk));
#else
      const auto written = ::write(file_, bytes.data(), chunk);
      if (written < 0 && errno == EINTR) continue;
#endif
      if (written <= 0) fail_now("cannot write");
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }
  static int process() {
#if defined(_WIN32)
    return ::_getpid();
#else
    return ::getpid();
#endif
  }
  /// A descriptor of a new file, or -1 with `errno` set.
  static int create(const std::filesystem::path& path) {
#if defined(_WIN32)
    int file = -1;
    const errno_t error = ::_wsopen_s(&file, path.c_str(), _O_CREAT | _O_EXCL | _O_WRONLY | _O_BINARY | _O_NOINHERIT,
                                      _SH_DENYRW, _S_IREAD | _S_IWRITE);
    errno = error;
    return error == 0 ? file : -1;
#else
    return ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
#endif
  }
  bool close() {
    if (file_ < 0) return true;
    const int file = std::exchange(file_, -1);
#if defined(_WIN32)
    return ::_close(file) == 0;
#else
    return ::close(file) == 0;
#endif
  }
  [[noreturn]] void fail_now(std::string_view what) {
    const int error = errno;
    fail("AtomicFile", "{} '{}': {}", what, temporary_.string(), std::generic_category().message(error));
  }

  std::filesystem::path path_, temporary_;
  std::vector<std::byte> buffer_;  // small writes, until they are worth a call
  int file_ = -1;
  bool committed_ = false;
};

/// Replaces the content of `path` by `content`, atomically.
inline void save_atomically(const std::filesystem::path& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

}  // namespace valence
