// A language model aligned with human preferences, from the text to the verdict:
//
//     zcat pairs.jsonl.gz | align - --compare dpo,rpo,ipo --out runs/align
//
// 1. JSON lines with `prompt`, `chosen` and `rejected` come in (the prompt may be implicit; strings or lists of
//    messages).
// 2. A byte-pair tokenizer is learned, and a small language model, from nothing, by supervised fine-tuning on the
//    chosen replies: the reference.
// 3. Any preference loss by name goes on from there: --loss dpo|ipo|rpo|simpo|kto|orpo|... (--losses lists them).
// 4. Pairs whose prompts were held out say how well: does the policy raise the better reply more than the other one
//    (the implicit reward's accuracy), how far did it move (KL), and what became of the replies' own likelihood. DPO
//    only looks at the difference, so both replies may become less likely: the displacement that RPO's second term
//    stops.
//
// Without a file it aligns on made-up pairs. It leaves in --out: tokenizer.json, sft.safetensors, and for each loss
// run.safetensors and progress.csv; displacement.svg and accuracy.svg show all losses. --resume goes on from there.

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "align_support.hpp"
#include "valence/io/csv_log.hpp"
#include "valence/reward/pair_objective.hpp"

namespace {

struct Options {
  fs::path file, out = "runs/align";
  std::vector<std::string> losses{"dpo"}, set;
  std::uint64_t seed = 1;
  std::size_t pairs = 20'000;
  int vocabulary = 1024, context = 8, embedding = 32, hidden = 128, longest = 128;
  std::int64_t sft_epochs = 6, epochs = 2, until = std::numeric_limits<std::int64_t>::max();
  int batch = 16;
  double sft_step_size = 2e-3, step_size = 5e-4, held_out = 0.2, temperature = 0.8;
  bool skip_bad = false, resume = false, quick = false;
};

/// Supervised fine-tuning: the mean over the batch's tokens of -log pi(token).
void fine_tune(Run& run, const TokenPairs& data, const Plan& plan, const vl::Rng& rng) {
  Model::Tape tape;
  vl::TokenWindows x;
  std::vector<float> dy;
  train(
      run, plan, rng,
      [&](std::span<const int> pairs, std::span<float> gradient) {
        gather(data.x, pairs, x);  // sequence i is the chosen reply of pair i
        const auto y = run.model.forward(run.theta, x, tape);
        dy.assign(x.tokens().size(), -1 / static_cast<float>(x.tokens().size()));
        std::fill(gradient.begin(), gradient.end(), 0.0f);
        run.model.pullback(run.theta, x, tape, {dy.data(), 1, y.cols()}, gradient);
        return -static_cast<double>(y.mean());
      },
      [](double) {});
}

/// Minimises a preference loss on the training pairs; `reference` has log pi_ref of all sequences, computed once.
void prefer(Run& run, const vl::AnyLoss<float>& loss, const TokenPairs& data, std::span<const float> reference,
            const Plan& plan, const vl::Rng& rng, auto&& report) {
  vl::PairObjective objective{Replies{run.model}, loss};
  const bool needs_kl = vl::has(loss.reads(), vl::Column::kl);
  const int n = plan.batch;
  vl::TokenWindows x;
  std::vector<int> columns, places;
  for (int i = 0; i < 3 * n; ++i) places.push_back(i);
  const auto third = [&](int k) {
    return std::span<const int>(places).subspan(static_cast<std::size_t>(k * n), static_cast<std::size_t>(n));
  };
  std::vector<float> ref, lengths;
  train(
      run, plan, rng,
      [&](std::span<const int> pairs, std::span<float> gradient) {
        columns.clear();
        for (const int i : pairs) columns.push_back(data.chosen(i));
        for (const int i : pairs) columns.push_back(data.rejected(i));
        for (const int i : pairs)
          if (needs_kl) columns.push_back(data.mismatched(i));
        gather(data.x, columns, x);
        ref.clear();
        lengths.clear();
        for (const int i : columns) ref.push_back(reference[static_cast<std::size_t>(i)]);
        for (const int i : columns) lengths.push_back(static_cast<float>(data.length(i)));
        const std::span<const float> all(lengths);
        const auto size = static_cast<std::size_t>(n);
        const vl::IndexPairs<float> compared{.chosen = third(0),
                                             .rejected = third(1),
                                             .chosen_length = all.first(size),
                                             .rejected_length = all.subspan(size, size)};
        vl::IndexSamples<float> mismatched;
        if (needs_kl) mismatched.sample = third(2);
        return objective(run.theta, x, compared, gradient, ref, {}, mismatched);
      },
      report);
}

/// The texts, and what is to be said about them.
TextPairs read(const Options& o, const vl::Rng& rng) {
  TextPairs text;
  if (o.file.empty()) {
    text.pairs = made_up_pairs((std::min)(o.pairs, std::size_t{2000}), rng);
    return text;
  }
  text = read_pairs(o.file, o.skip_bad, o.pairs, o.context, o.longest, rng);
  fmt::print("{} rows, {} pairs held; {} rows have an empty reply\n", text.rows, text.pairs.size(), text.empty);
  fmt::print("left out: {} lines that hold no row, {} rows whose replies are the same\n", text.faults.size(),
             text.identical);
  for (std::size_t i = 0; i < (std::min)(text.faults.size(), std::size_t{5}); ++i)
    fmt::print("  line {}: {} {}\n", text.faults[i].line, text.faults[i].key, text.faults[i].reason);
  return text;
}

/// The verdict, a row a loss, and what the policies say to the first prompts that were held out.
void show(const Options& o, const std::map<std::string, Run>& policies, const Exam& exam,
          const vl::BytePairTokenizer& tokenizer) {
  fmt::print("\n{:<14}{:>9}  {:<16}{:>9}{:>12}{:>12}{:>10}\n", "held out", "accuracy", "95% interval", "margin",
             "chosen", "rejected", "KL");
  bool learned = true;
  for (const auto& [name, policy] : policies) {
    const Measures& m = policy.history.back();
    fmt::print("{:<14}{:>9.3f}  [{:.3f}, {:.3f}]  {:>9.3f}{:>12.4f}{:>12.4f}{:>10.4f}\n", name, m.accuracy,
               m.interval.low, m.interval.high, m.margin, m.chosen, m.rejected, m.kl);
    learned = learned && m.interval.low > 0.5;
  }
  fmt::print("margin: nats a pair; chosen, rejected: how log pi changed, nats a token; KL: nats a token\n");
  const auto say = [&](std::string_view who, std::span<const std::int32_t> tokens) {
    fmt::print("{:<14}{}\n", who, vl::shown(tokenizer.decode(tokens), 240));
  };
  for (int pair = 0; pair < (std::min)(2, exam.data.pairs); ++pair) {
    const std::span<const std::int32_t> prompt = exam.data.prompts[static_cast<std::size_t>(pair)];
    fmt::print("\n");
    say("... prompt", prompt.last((std::min)(prompt.size(), std::size_t{40})));
    say("reference", exam.draw(exam.start, pair, 60, o.temperature));
    for (const auto& [name, policy] : policies) say(name, exam.draw(policy.theta, pair, 60, o.temperature));
  }
  fmt::print("\n{}\n", learned ? "LEARNED: every policy ranks held-out pairs better than chance"
                               : "NOT SHOWN: not every interval of the accuracy lies above one half");
}

int run(Options o) {
  if (o.quick) o.pairs = (std::min)(o.pairs, std::size_t{600}), o.sft_epochs = 3, o.hidden = 64;
  for (const std::string& name : o.losses) loss_by_name(name, o.set);  // a wrong name is to be told at once
  const vl::Rng rng{o.seed};
  TextPairs text = read(o, rng.split(0));
  const std::vector<TextPair> held_out = hold_out(text.pairs, o.held_out, rng.split(1));
  if (text.pairs.size() < static_cast<std::size_t>(o.batch) || held_out.size() < 2)
    vl::fail("align", "{} pairs are left for training and {} are held out; expected at least {} and 2",
             text.pairs.size(), held_out.size(), o.batch);

  vl::PieceCounts counts;
  for (const TextPair& pair : text.pairs)
    for (const std::string* part : {&pair.prompt, &pair.chosen, &pair.rejected}) counts.add(*part);
  const vl::BytePairTokenizer tokenizer = vl::train_byte_pairs(counts, o.vocabulary);
  fs::create_directories(o.out);
  tokenizer.save(o.out / "tokenizer.json");
  const TokenPairs train_data(text.pairs, tokenizer, o.context, o.longest),
      test_data(held_out, tokenizer, o.context, o.longest);
  const Model model{tokenizer.vocabulary(), {.context = o.context, .embedding = o.embedding, .hidden = {o.hidden}}};
  fmt::print("{} pairs to train on, {} held out; {} tokens, a vocabulary of {}; {} parameters\n", train_data.pairs,
             test_data.pairs, train_data.x.tokens().size(), tokenizer.vocabulary(), model.parameter_count());

  // A checkpoint is only taken up by what made it: the same data, seed and numbers.
  Plan plan{.task = "sft",
            .items = train_data.pairs,
            .batch = o.batch,
            .epochs = o.sft_epochs,
            .until = o.until,
            .path = o.out / "sft.safetensors",
            .kind = fmt::format("data {:016x}, seed {}, context {}, batch {}, sft {} x {:.6g}",
                                hash_of(std::as_bytes(train_data.x.tokens())), o.seed, o.context, o.batch, o.sft_epochs,
                                o.sft_step_size)};
  const auto begin = [&](std::vector<float> theta, double step_size) {
    Run out(model, std::move(theta), step_size);
    if (o.resume && fs::exists(plan.path)) vl::load_checkpoint(plan.path, out, {.kind = plan.kind});
    if (out.steps() > 0) fmt::print("{} goes on at step {} of {}\n", plan.task, out.steps(), plan.steps());
    return out;
  };
  std::vector<float> theta(model.parameter_count());
  vl::Rng drawn = rng.split(2);
  model.initialize(theta, drawn);
  Run sft = begin(theta, o.sft_step_size);
  fine_tune(sft, train_data, plan, rng.split(3));
  if (sft.steps() < plan.steps()) return 0;
  const Replies replies{model};
  fmt::print("the reference, nats a token: {:.3f} on held-out chosen replies, {:.3f} on rejected; uniform {:.3f}\n",
             nats_a_token(replies, sft.theta, test_data, true), nats_a_token(replies, sft.theta, test_data, false),
             std::log(tokenizer.vocabulary()));

  const std::vector<float> reference = log_probs(replies, sft.theta, train_data.x);
  const Exam exam{replies, test_data, o.seed, sft.theta, log_probs(replies, sft.theta, test_data.x)};
  std::map<std::string, Run> policies;
  const std::string kind = plan.kind;
  for (const std::string& name : o.losses) {
    plan.task = name, plan.epochs = o.epochs, plan.path = o.out / name / "run.safetensors";
    plan.kind = fmt::format("{} {} x {:.6g}, {}", name, o.epochs, o.step_size, kind);
    for (const std::string& word : o.set) plan.kind += ", " + word;
    fs::create_directories(o.out / name);
    Run& policy = policies.insert_or_assign(name, begin(sft.theta, o.step_size)).first->second;
    vl::CsvMetrics log(o.out / name / "progress.csv");
    log.drop_after(policy.steps() > 0 ? policy.steps() : -1);
    if (policy.history.empty()) policy.history.push_back(exam.of(policy.theta, 0));
    prefer(policy, loss_by_name(name, o.set), train_data, reference, plan, rng.split(4), [&](double loss) {
      const Measures& m = policy.history.emplace_back(exam.of(policy.theta, policy.steps()));
      const vl::Metric row[] = {{"train/loss", loss},      {"eval/accuracy", m.accuracy}, {"eval/margin", m.margin},
                                {"eval/chosen", m.chosen}, {"eval/rejected", m.rejected}, {"eval/kl", m.kl}};
      log.write(m.step, 0, row);
    });
  }
  show(o, policies, exam, tokenizer);
  const bool drawable =
      std::all_of(policies.begin(), policies.end(), [](const auto& p) { return p.second.history.size() > 1; });
  if (drawable) save_plots(o.out, policies);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  std::string make;
  bool list = false;
  CLI::App app{
      "Aligns a small language model with preferences: fine-tuning on chosen replies, then any preference loss."};
  app.add_option("file", o.file, "JSON lines with prompt, chosen, rejected; - for standard input (default: made up)");
  app.add_option("--loss,--compare", o.losses, "losses, one after the other: dpo,rpo,ipo")
      ->delimiter(',')
      ->capture_default_str();
  app.add_flag("--losses", list, "list the losses and end");
  app.add_option("--set", o.set, "a loss's option: beta=0.05, or rpo.eta=0.01 for one of several");
  app.add_option("--out", o.out, "folder for what is left behind")->capture_default_str();
  app.add_option("--seed", o.seed, "of everything that is drawn")->capture_default_str();
  app.add_option("--pairs", o.pairs, "pairs held in memory, a uniform sample of the file")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  app.add_option("--vocabulary", o.vocabulary, "tokens, at most")
      ->check(CLI::Range(257, 1 << 16))
      ->capture_default_str();
  app.add_option("--context", o.context, "tokens that the model sees")->check(CLI::Range(1, 64))->capture_default_str();
  app.add_option("--embedding", o.embedding, "numbers that stand for a token")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--hidden", o.hidden, "units of the hidden layer")
      ->check(CLI::Range(1, 1 << 14))
      ->capture_default_str();
  app.add_option("--longest", o.longest, "tokens of a reply, its end included; the rest is cut off")
      ->check(CLI::Range(1, 1 << 14))
      ->capture_default_str();
  app.add_option("--batch", o.batch, "pairs in a step")->check(CLI::Range(1, 1 << 14))->capture_default_str();
  app.add_option("--sft-epochs", o.sft_epochs, "passes of fine-tuning")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--epochs", o.epochs, "passes of each loss")->check(CLI::Range(1, 1000))->capture_default_str();
  app.add_option("--sft-lr", o.sft_step_size, "step size of Adam in fine-tuning")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--lr", o.step_size, "step size of Adam for the losses")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--held-out", o.held_out, "share of the prompts")->check(CLI::Range(0.01, 0.9))->capture_default_str();
  app.add_option("--temperature", o.temperature, "of the replies shown")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--until", o.until, "stop each training after so many steps, to go on with --resume")
      ->check(CLI::PositiveNumber);
  app.add_flag("--skip-bad", o.skip_bad, "leave out lines that hold no row, instead of stopping at the first");
  app.add_flag("--resume", o.resume, "go on from what --out holds");
  app.add_flag("--quick", o.quick, "at most 600 pairs, a smaller model, fewer passes");
  app.add_option("--make", make, "write 600 made-up pairs to this file, as JSON lines, and end");
  try {
    app.parse(argc, argv);
    if (list) fmt::print("{}\n", vl::loss_names(vl::all_losses));
    if (!make.empty()) {
      std::vector<vl::PreferenceRow> rows;
      for (TextPair& pair : made_up_pairs(600, vl::Rng{o.seed})) {
        vl::PreferenceRow& row = rows.emplace_back();  // in place: g++ 12 warns about a moved variant, wrongly
        row.prompt.emplace(std::move(pair.prompt));
        row.chosen = std::move(pair.chosen), row.rejected = std::move(pair.rejected);
      }
      vl::save_jsonl(make, rows);
    }
    return list || !make.empty() ? 0 : run(o);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;  // --help is no error
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 2;
  }
}
