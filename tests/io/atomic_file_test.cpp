#include "valence/io/atomic_file.hpp"

#include <string>
#include <vector>

#include "io/files.hpp"
#include "support/close.hpp"
#include "valence/io/text.hpp"

#if !defined(_WIN32)
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#endif

using namespace valence;
using test::content_of, test::message_of, test::says, test::TemporaryFolder;

TEST_CASE("a file appears whole or not at all", "[F10]") {
  const TemporaryFolder folder;
  const auto path = folder.with("a.txt", "old");
  {
    AtomicFile file(path);
    file.write("new ");
    CHECK(content_of(path) == "old");
    file.write("content");
    CHECK(folder.files().size() == 2);  // beside it, in the same folder
    file.commit();
    CHECK(content_of(path) == "new content");
    CHECK(says(message_of([&] { file.write("more"); }), "committed already"));
    CHECK(says(message_of([&] { file.commit(); }), "committed already"));
  }
  CHECK(folder.files() == std::vector<std::string>{"a.txt"});
  // Without commit, as when an exception passes by, nothing happened.
  CHECK(message_of([&] {
          AtomicFile file(path);
          file.write("half");
          throw Error("stop");
        }) == "stop");
  CHECK(content_of(path) == "new content");
  CHECK(folder.files() == std::vector<std::string>{"a.txt"});
  save_atomically(folder / "b.txt", "");
  CHECK(content_of(folder / "b.txt").empty());
  // Two writers of one file do not meet in a temporary: the last to commit wins, whole.
  AtomicFile first(path), second(path);
  first.write("first");
  second.write("second");
  second.commit();
  first.commit();
  CHECK(content_of(path) == "first");
  CHECK(folder.files().size() == 2);
}

TEST_CASE("what cannot be written is said with path and reason") {
  const TemporaryFolder folder;
  CHECK(says(message_of([&] { AtomicFile file(folder / "no/such/file"); }), "no/such/file", "No such file"));
  CHECK(says(message_of([&] { AtomicFile file(folder.path() / ""); }), "names no file"));
  std::filesystem::create_directory(folder / "d");
  CHECK(says(message_of([&] { save_atomically(folder / "d", "x"); }), "cannot replace", "directory"));
  CHECK(folder.files() == std::vector<std::string>{"d"});
}

#if !defined(_WIN32)

TEST_CASE("a replaced file keeps its permissions, a symbolic link its place") {
  const TemporaryFolder folder;
  const auto path = folder.with("a.txt", "old");
  ::chmod(path.c_str(), 0640);
  save_atomically(path, "new");
  struct stat after {};
  REQUIRE(::stat(path.c_str(), &after) == 0);
  CHECK((after.st_mode & 07777) == 0640);
  std::filesystem::create_directory(folder / "elsewhere");
  const auto target = folder.with("elsewhere/real.txt", "old");
  std::filesystem::create_symlink(target, folder / "link.txt");
  save_atomically(folder / "link.txt", "new");
  CHECK(std::filesystem::is_symlink(folder / "link.txt"));
  CHECK(content_of(target) == "new");
}

TEST_CASE("a full disk leaves the old file", "[F10]") {
  // A process of its own, whose files may not grow beyond 1000 bytes.
  const TemporaryFolder folder;
  const auto path = folder.with("a.txt", "old");
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const auto message = message_of([&] { save_atomically(path, std::string(5000, 'x')); });
    ::_exit(message.find("cannot write") != std::string::npos && message.find("too large") != std::string::npos ? 0
                                                                                                                : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(content_of(path) == "old");
  CHECK(folder.files() == std::vector<std::string>{"a.txt"});
}

TEST_CASE("a process killed while it writes leaves the old file or the new, whole", "[F10]") {
  const TemporaryFolder folder;
  const std::string a(200'000, 'a'), b(300'000, 'b');
  const auto path = folder.with("a.txt", a);
  int odd = 0;
  for (int round = 0; round < 20; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (bool flip = false;; flip = !flip) save_atomically(path, flip ? a : b);
    }
    ::usleep(static_cast<useconds_t>(500 + 701 * round));
    ::kill(child, SIGKILL);
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    const std::string now = content_of(path);
    odd += now != a && now != b;
  }
  CHECK(odd == 0);
}

#endif

TEST_CASE("UTF-8 is told from what is not") {
  const auto bad = [](std::string_view text) { return find_invalid_utf8(text); };
  constexpr auto none = std::string_view::npos;
  // The first and last character of each length, and those beside the surrogates.
  for (const char* good : {"", "a", "\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                           "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
    CHECK(bad(good) == none);
  // Their neighbours outside.
  for (const char* wrong : {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF",
                            "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC2", "\xC2g",
                            "\xE1\x80", "\xE1\x80g", "\xF1\x80\x80", "\xF1\x80\x80g"})
    CHECK(bad(std::string("ok") + wrong) == 2);
}

TEST_CASE("texts are shown on one readable line") {
  CHECK(shown("plain ü") == "'plain ü'");
  CHECK(shown("a\nb\x7F\xFFz") == "'a\\x0ab\\x7f\\xffz'");
  CHECK(shown("12345", 3) == "'123...'");
  CHECK(shown("12üx", 3) == "'12...'");  // no half characters
  CHECK(shown("") == "''");
}
