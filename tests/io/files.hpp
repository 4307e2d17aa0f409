#pragma once

#include <fmt/core.h>

#include <clocale>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <locale>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace valence::test {

/// A folder of its own, removed in the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    static int counter = 0;
    std::random_device seed;
    path_ =
        std::filesystem::temp_directory_path() / fmt::format("valence-io-{:08x}{:08x}-{}", seed(), seed(), counter++);
    std::filesystem::create_directories(path_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  /// Writes a file and returns its path.
  std::filesystem::path with(std::string_view name, std::string_view content) const {
    std::ofstream(path_ / name, std::ios::binary).write(content.data(), static_cast<std::streamsize>(content.size()));
    return path_ / name;
  }
  /// The names of the files in it.
  std::vector<std::string> files() const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(path_))
      out.push_back(entry.path().filename().string());
    return out;
  }

 private:
  std::filesystem::path path_;
};

inline std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// While it lives, the decimal sign is a comma and thousands are grouped by dots, for C++ streams and (where the
/// machine has or can make such a locale) for the C library too.
class DecimalComma {
 public:
  DecimalComma() : before_(std::locale::global(std::locale(std::locale::classic(), new Facet))) {
    for (const char* name : {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "German_Germany.1252", "de_DE"})
      if (try_locale(name)) return;
#if !defined(_WIN32)
    // Debian's minimal images have the sources of locales but none made.
    const std::string target = (folder_ / "de_DE.UTF-8").string();
    if (std::system(("localedef -i de_DE -f UTF-8 '" + target + "' >/dev/null 2>&1").c_str()) == 0) {
      ::setenv("LOCPATH", folder_.path().c_str(), 1);
      try_locale("de_DE.UTF-8");
    }
#endif
  }
  ~DecimalComma() {
    std::locale::global(before_);
    std::setlocale(LC_ALL, "C");
#if !defined(_WIN32)
    ::unsetenv("LOCPATH");
#endif
  }
  /// Whether the C library's decimal sign is a comma too.
  bool c_library() const { return c_library_; }

 private:
  struct Facet : std::numpunct<char> {
    char do_decimal_point() const override { return ','; }
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
  };
  bool try_locale(const char* name) {
    c_library_ = std::setlocale(LC_ALL, name) != nullptr && std::string_view(std::localeconv()->decimal_point) == ",";
    return c_library_;
  }
  TemporaryFolder folder_;
  std::locale before_;
  bool c_library_ = false;
};

}  // namespace valence::test
