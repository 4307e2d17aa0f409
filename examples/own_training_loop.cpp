// Valence's preference losses in a training loop that is written in another language: log-probabilities come in as
// text, the loss and its gradients go back in the same order. Numbers keep all their bits both ways.
//
//   own_training_loop                                    a small demonstration
//   own_training_loop pairs.csv --loss ipo --set beta=0.05 > gradients.csv      one batch, a pair a row
//   own_training_loop batches.jsonl --loss dpo           a batch a line, an answer a line
//   own_training_loop - --loss rpo --set eta=0.1         the same through a pipe, answered line by line
//
// From Python:
//
//   pipe = subprocess.Popen(["own_training_loop", "-", "--loss", "dpo"], stdin=PIPE, stdout=PIPE, text=True)
//   ...
//   chosen, rejected = log_probs(model, batch)           # tensors that hold their graph, one entry a response
//   row = {"chosen": chosen.tolist(), "rejected": rejected.tolist(), "ref_chosen": ..., "ref_rejected": ...}
//   print(json.dumps(row), file=pipe.stdin, flush=True)
//   answer = json.loads(pipe.stdout.readline())          # {"loss": ..., "d_chosen": [...], "d_rejected": [...]}
//   torch.autograd.backward([chosen, rejected], [torch.tensor(answer["d_chosen"]), torch.tensor(answer["d_rejected"])])
//   optimizer.step()
//
// Keys (and columns of CSV): chosen, rejected, ref_chosen, ref_rejected, chosen_length, rejected_length, p_chosen,
// weight; for KTO and the like also objects: "unpaired": {"log_prob", "ref_log_prob", "desirable"}, "kl": {"log_prob",
// "ref_log_prob"}. A loss says what it lacks. Bad input ends the program (exit 1) with the line's number.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "valence/core/error.hpp"
#include "valence/io/csv.hpp"
#include "valence/io/log_prob_columns.hpp"
#include "valence/io/number_text.hpp"
#include "valence/io/text.hpp"
#include "valence/preference/any_loss.hpp"
#include "valence/preference/by_name.hpp"
#include "valence/preference/evaluate.hpp"

namespace vl = valence;

namespace {

/// "beta=0.1" as an option of a loss; it refers to `text`.
vl::LossOption parse_option(std::string_view text) {
  const std::size_t sign = text.find('=');
  const auto value = vl::parse_number<double>(sign == text.npos ? std::string_view{} : text.substr(sign + 1));
  if (!value) vl::fail("--set", "{} is no name=number", vl::shown(text));
  return {text.substr(0, sign), *value};
}

/// One batch a line, one answer a line, written out before the next line is read.
void answer_lines(const vl::AnyLoss<double>& loss, std::istream& in, const std::string& name) {
  std::size_t number = 0;
  for (std::string line; std::getline(in, line);) {
    const std::string where = fmt::format("{} line {}", name, ++number);
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    const vl::PreferenceColumns<double> batch = vl::parse_log_probs(line, where);
    try {
      fmt::print("{}\n", vl::to_json_line(vl::evaluate(loss, batch.view())));
    } catch (const vl::Error& e) { vl::fail(where, "{}", e.what()); }  // the loss knows the entry, not the line
    std::fflush(stdout);
  }
  if (in.bad()) vl::fail(name, "cannot be read");
}

/// A table is one batch. `loss` is that of the batch, the same in every row.
void answer_table(const vl::AnyLoss<double>& loss, const std::string& path) {
  const auto pairs = vl::load_log_prob_pairs(path);
  vl::CsvWriter out{"loss", "d_chosen", "d_rejected"};
  try {
    const auto answer = vl::evaluate(loss, pairs);
    for (std::size_t i = 0; i < pairs.chosen.size(); ++i) {
      out << answer.value << answer.d_chosen[i] << answer.d_rejected[i];
      out.end_row();
    }
  } catch (const vl::Error& e) { vl::fail(path, "{} (entry i stands on line i + 2)", e.what()); }
  fmt::print("{}", out.text());
}

/// What a caller's loop does, without the caller: two steps that follow the gradient of the loss.
void demonstrate(const vl::AnyLoss<double>& loss) {
  vl::PreferenceColumns<double> batch = vl::parse_log_probs(
      R"({"chosen": [-12.1, -30.5], "rejected": [-14.0, -28.9], "ref_chosen": [-12.5, -30.0],
          "ref_rejected": [-13.5, -29.5], "chosen_length": [9, 21], "rejected_length": [10, 20]})");
  for (int step = 0; step < 3; ++step) {
    const auto answer = vl::evaluate(loss, batch.view());
    fmt::print("{}\n", vl::to_json_line(answer));
    for (std::size_t i = 0; i < batch.pairs.chosen.size(); ++i) {
      batch.pairs.chosen[i] -= answer.d_chosen[static_cast<Eigen::Index>(i)];
      batch.pairs.rejected[i] -= answer.d_rejected[static_cast<Eigen::Index>(i)];
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string input, name = "dpo";
  std::vector<std::string> settings;
  CLI::App app{"Losses and gradients for the log-probabilities of another program."};
  app.add_option("input", input, "a .csv file, a file of JSON lines, or - for standard input");
  app.add_option("--loss", name, "one of " + vl::loss_names(vl::all_losses));
  app.add_option("--set", settings, "a hyper-parameter of the loss: --set beta=0.05");
  CLI11_PARSE(app, argc, argv);
  try {
    std::vector<vl::LossOption> options;
    for (const std::string& setting : settings) options.push_back(parse_option(setting));
    const auto loss = vl::any_loss<double>(name, options, vl::all_losses);
    if (input.empty()) {
      demonstrate(loss);
    } else if (input == "-") {
      answer_lines(loss, std::cin, "standard input");
    } else if (input.ends_with(".csv")) {
      answer_table(loss, input);
    } else {
      std::ifstream file(input);
      if (!file) vl::fail("own_training_loop", "cannot open {}", vl::shown(input));
      answer_lines(loss, file, input);
    }
  } catch (const vl::Error& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
  return 0;
}
