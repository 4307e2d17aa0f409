// Any text as a file in Cassandra's format: it is refused with an Error, or a model that can be written and reads back
// the same.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "valence/io/cassandra.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace valence;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const ModelFile file = parse_cassandra(text, {.absorbing_are_terminal = true,
                                                  .rounding = (size & 1) != 0 ? 0.1 : 1e-9,
                                                  .max_pairs = 2000,
                                                  .max_entries = 20'000});
    const auto path = std::filesystem::temp_directory_path() / ("valence-fuzz-" + std::to_string(::getpid()) + ".mdp");
    save_cassandra(file, path);
    const ModelFile again = load_cassandra(path, {.absorbing_are_terminal = true});
    const ModelColumns<double>&a = file.mdp.columns(), &b = again.mdp.columns();
    if (a.row_begin != b.row_begin || a.next != b.next || a.probability != b.probability || a.terminal != b.terminal)
      std::abort();
    if (a.reward != b.reward || a.entry_reward != b.entry_reward || a.initial != b.initial) std::abort();
    if (file.state_names != again.state_names || file.action_names != again.action_names) std::abort();
    if (file.discount != again.discount) std::abort();
  } catch (const Error&) {}
  return 0;
}
