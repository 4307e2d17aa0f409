// Any texts as the files of PRISM, Storm or DRN: they are refused with an Error, or a model that can be written in
// PRISM's form and reads back the same. A byte 0 ends one file and begins the next.
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "valence/io/drn.hpp"
#include "valence/io/prism.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace valence;
  if (size == 0) return 0;
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::array<std::string_view, 5> texts;
  for (std::string_view& text : texts) {
    text = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(text.size() == rest.size() ? text.size() : text.size() + 1);
  }
  // The first byte picks the options.
  const ModelFileOptions options{.goal = (data[0] & 1) != 0 ? "goal" : "",
                                 .goal_reward = 0.5,
                                 .deadlocks_are_terminal = (data[0] & 2) != 0,
                                 .absorbing_are_terminal = (data[0] & 4) != 0,
                                 .costs = (data[0] & 8) != 0,
                                 .actions_by_name = (data[0] & 16) != 0,
                                 .rounding = (data[0] & 32) != 0 ? 0.1 : 1e-9,
                                 .max_pairs = 2000,
                                 .max_entries = 10'000};
  try {
    ModelFile file = (data[0] & 64) != 0 ? parse_drn(texts[0], options)
                                         : parse_prism({texts[0], texts[1], texts[2], texts[3], texts[4]}, options);
    const auto folder = std::filesystem::temp_directory_path() / ("valence-fuzz-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder);
    std::filesystem::remove(folder / "m.sta");
    file.mdp = file.mdp.with_initial({});  // scaled rows of labels are no business of this test
    save_prism(file, folder / "m");
    bool ends = false;
    for (int s = 0; s < file.mdp.states(); ++s) ends = ends || file.mdp.terminal(s);
    const ModelFile again = load_prism(folder / "m.tra", {.goal = ends ? "terminal" : ""});
    const ModelColumns<double>&a = file.mdp.columns(), &b = again.mdp.columns();
    if (a.row_begin != b.row_begin || a.next != b.next || a.probability != b.probability || a.terminal != b.terminal)
      std::abort();
    if (a.reward != b.reward || a.entry_reward != b.entry_reward || file.state_names != again.state_names) std::abort();
  } catch (const Error&) {}
  return 0;
}
