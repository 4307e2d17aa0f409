// From people's judgements to a policy: the main job of valence, on real data, in one program.
//
//   quickstart                                    59 language models, 8,931 votes between their answers (shipped)
//   quickstart --data votes.csv                   your own votes: columns left, right, winner (left, right or tie)
//   quickstart --features pairs.csv               pairs of feature rows: columns chosen_* and rejected_*
//   quickstart --jsonl pairs.jsonl                pairs of texts in TRL's format, through hashed words
//
// It fits a Bradley-Terry reward model, trains a softmax policy from a uniform reference with several preference
// losses, and says what they predict of judgements that they have not seen.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "valence/core/progress.hpp"
#include "valence/core/random.hpp"
#include "valence/core/statistics.hpp"
#include "valence/function/mlp.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/schedules.hpp"
#include "valence/function/standardizer.hpp"
#include "valence/io/feature_pairs.hpp"
#include "valence/io/jsonl.hpp"
#include "valence/io/votes.hpp"
#include "valence/preference/any_loss.hpp"
#include "valence/reward/bootstrap.hpp"
#include "valence/reward/bradley_terry.hpp"
#include "valence/reward/metrics.hpp"
#include "valence/reward/text_features.hpp"
#include "valence/reward/train_on_pairs.hpp"

namespace vl = valence;
namespace fs = std::filesystem;

#ifndef VALENCE_EXAMPLE_DATA
#define VALENCE_EXAMPLE_DATA "examples/data"
#endif

namespace {

struct Options {
  std::string votes, names, features, jsonl, out = "quickstart-results";
  vl::Ties ties = vl::Ties::half;
  std::vector<std::string> losses = {"dpo:beta=0.1", "ipo:beta=0.1", "rpo:beta=0.1,eta=0.005"};
  std::optional<double> l2;
  std::optional<int> steps;
  int splits = 20, resamples = 1000, path_splits = 5, path_betas = 13, hash_size = 256, ngrams = 1;
  std::uint64_t seed = 1;
  bool quick = false;
};

// ---------------------------------------------------------------- data

/// Judgements between candidates, whatever file they came from. Candidates come in sets of one size: the answers to one
/// prompt.
struct Data {
  vl::Matrix<double> x = {};               // features x candidates; one-hot where the candidates are items
  int set = 0;                             // candidates in a set
  std::vector<std::string> names = {};     // of items; empty where candidates are described by features
  std::vector<int> left = {}, right = {};  // candidates of each judgement, of one set
  std::vector<double> outcome = {};        // 1: left was preferred, 0: right, 0.5: tie
  int steps = 200;                         // of a policy's optimizer, by default
  double l2 = 1;                           // default penalty of the reward model
  bool penalise_policy = false;            // ... and of the policies, on beta theta

  bool items() const { return !names.empty(); }
  std::size_t size() const { return left.size(); }
};

Data from_votes(const vl::Votes& votes) {
  const auto n = static_cast<Eigen::Index>(votes.names.size());
  Data data{.x = vl::Matrix<double>::Identity(n, n), .set = static_cast<int>(n), .names = votes.names};
  for (const vl::Vote& vote : votes.votes) {
    data.left.push_back(vote.left);
    data.right.push_back(vote.right);
    data.outcome.push_back(vote.winner == vl::Winner::left ? 1 : vote.winner == vl::Winner::right ? 0 : 0.5);
  }
  return data;
}

/// Pair k is a prompt of its own with two candidates, 2k (chosen) and 2k + 1 (rejected).
Data from_pairs(vl::Matrix<double> x) {
  Data data{.x = std::move(x), .set = 2};
  data.steps = 100;
  for (int k = 0; k < data.x.cols(); k += 2) {
    data.left.push_back(k);
    data.right.push_back(k + 1);
    data.outcome.push_back(1);
  }
  return data;
}

Data from_features(const vl::FeaturePairs& pairs) {
  vl::Matrix<double> x(pairs.chosen.rows(), 2 * pairs.chosen.cols());
  for (Eigen::Index k = 0; k < pairs.chosen.cols(); ++k) {
    x.col(2 * k) = pairs.chosen.col(k);
    x.col(2 * k + 1) = pairs.rejected.col(k);
  }
  return from_pairs(std::move(x));
}

Data from_texts(const std::vector<vl::PreferenceRow>& rows, const vl::HashedNgrams& ngrams) {
  vl::Matrix<double> x(ngrams.size, 2 * static_cast<Eigen::Index>(rows.size()));
  const auto write = [&](Eigen::Index column, const vl::Text& text) {
    ngrams(vl::plain_text(text), std::span<double>(x.col(column).data(), static_cast<std::size_t>(x.rows())));
  };
  for (std::size_t k = 0; k < rows.size(); ++k) {
    write(2 * static_cast<Eigen::Index>(k), rows[k].chosen);
    write(2 * static_cast<Eigen::Index>(k) + 1, rows[k].rejected);
  }
  Data data = from_pairs(std::move(x));
  data.l2 = 1000;  // hundreds of words, a few thousand pairs
  data.penalise_policy = true;
  return data;
}

struct Split {
  std::vector<std::size_t> train, test;
};

Split random_split(std::size_t n, vl::Rng rng) {
  const std::vector<std::size_t> order = rng.permutation(n);
  const auto cut = order.begin() + static_cast<std::ptrdiff_t>(n - n / 5);
  return {{order.begin(), cut}, {cut, order.end()}};
}

/// Features in units of their standard deviation over the training split's candidates, chosen and rejected TOGETHER:
/// apart, their means would tell the labels.
vl::Matrix<double> scaled_features(const Data& data, const std::vector<std::size_t>& train) {
  if (data.items()) return data.x;
  vl::Matrix<double> seen(data.x.rows(), 2 * static_cast<Eigen::Index>(train.size()));
  for (std::size_t i = 0; i < train.size(); ++i) {
    seen.col(2 * static_cast<Eigen::Index>(i)) = data.x.col(data.left[train[i]]);
    seen.col(2 * static_cast<Eigen::Index>(i) + 1) = data.x.col(data.right[train[i]]);
  }
  return vl::Standardizer(seen)(data.x);
}

// ---------------------------------------------------------------- reward model

std::vector<vl::Matchup> matchups(const Data& data, const std::vector<std::size_t>& rows) {
  std::vector<vl::Matchup> result;
  for (const std::size_t k : rows) {
    const double y = data.outcome[k];
    result.push_back({data.left[k], data.right[k], y == 1 ? 1.0 : 0.0, y == 0 ? 1.0 : 0.0, y == 0.5 ? 1.0 : 0.0});
  }
  return result;
}

/// The reward of every candidate.
std::vector<double> rewards(const Data& data, const vl::Matrix<double>& x, const std::vector<std::size_t>& train,
                            const Options& options) {
  const vl::BradleyTerryOptions fit{.l2 = options.l2.value_or(data.l2), .ties = options.ties};
  vl::Vector<double> weight;
  if (data.items()) {
    weight = vl::fit_bradley_terry(matchups(data, train), data.set, fit).weight;
  } else {
    vl::Matrix<double> difference(x.rows(), static_cast<Eigen::Index>(train.size()));
    for (std::size_t i = 0; i < train.size(); ++i)
      difference.col(static_cast<Eigen::Index>(i)) = x.col(data.left[train[i]]) - x.col(data.right[train[i]]);
    weight = vl::fit_linear_reward(difference, {}, {}, fit).weight;
  }
  const vl::Vector<double> scores = x.transpose() * weight;
  return {scores.begin(), scores.end()};
}

// ---------------------------------------------------------------- policies

/// A loss as the command line names it: "rpo:beta=0.1,eta=0.005".
struct NamedLoss {
  std::string name;
  std::map<std::string, double> settings;

  explicit NamedLoss(const std::string& text) : name(text.substr(0, text.find(':'))) {
    std::size_t at = name.size();
    while (at < text.size()) {
      const std::size_t end = (std::min)(text.find(',', at + 1), text.size());
      const std::string item = text.substr(at + 1, end - at - 1);
      const std::size_t equals = item.find('=');
      char* rest = nullptr;
      const double value = equals == std::string::npos ? 0 : std::strtod(item.c_str() + equals + 1, &rest);
      if (rest == nullptr || *rest != '\0' || rest == item.c_str() + equals + 1)
        vl::fail("--loss", "\"{}\" has \"{}\"; expected option=number, as in rpo:beta=0.1,eta=0.005", text, item);
      settings[item.substr(0, equals)] = value;
      at = end;
    }
    make();  // unknown names and options are refused here, before any work
  }

  vl::AnyLoss<> make() const {
    std::vector<vl::LossOption> list;
    for (const auto& [option, value] : settings) list.push_back({option, value});
    return vl::any_loss(name, std::span<const vl::LossOption>(list));
  }
  double beta() const { return settings.contains("beta") ? settings.at("beta") : 1; }
};

/// What a policy is trained on: candidates in sets, and pairs of them.
struct TrainingPairs {
  vl::Matrix<double> x;
  std::vector<int> chosen, rejected;
  std::vector<double> weight = {};
};

/// Votes between items. With ties as half-wins, equal votes share a weighted row; otherwise a tie has no direction to
/// learn from.
TrainingPairs pairs_of_items(const Data& data, const std::vector<std::size_t>& train, vl::Ties ties) {
  TrainingPairs pairs{data.x, {}, {}};
  std::map<std::pair<int, int>, double> votes;
  const auto add = [&](int chosen, int rejected, double weight) {
    if (ties == vl::Ties::half) {
      votes[{chosen, rejected}] += weight;
    } else if (weight == 1) {
      pairs.chosen.push_back(chosen);
      pairs.rejected.push_back(rejected);
    }
  };
  for (const std::size_t k : train) {
    if (data.outcome[k] > 0) add(data.left[k], data.right[k], data.outcome[k]);
    if (data.outcome[k] < 1) add(data.right[k], data.left[k], 1 - data.outcome[k]);
  }
  for (const auto& [pair, weight] : votes) {
    pairs.chosen.push_back(pair.first);
    pairs.rejected.push_back(pair.second);
    pairs.weight.push_back(weight);
  }
  return pairs;
}

/// The training split's prompts alone, the chosen reply before the rejected one.
TrainingPairs pairs_of_replies(const Data& data, const vl::Matrix<double>& x, const std::vector<std::size_t>& train) {
  TrainingPairs pairs{vl::Matrix<double>(x.rows(), 2 * static_cast<Eigen::Index>(train.size())), {}, {}};
  for (const std::size_t k : train) {
    const int next = 2 * static_cast<int>(pairs.chosen.size());
    pairs.x.col(next) = x.col(data.left[k]);
    pairs.x.col(next + 1) = x.col(data.right[k]);
    pairs.chosen.push_back(next);
    pairs.rejected.push_back(next + 1);
  }
  return pairs;
}

/// Trains a policy that is log-linear in the features (a free logit for each item) and returns log pi of every
/// candidate.
std::vector<double> train_policy(const Data& data, const vl::Matrix<double>& x, const std::vector<std::size_t>& train,
                                 const NamedLoss& loss, const Options& options, vl::Rng& rng) {
  const TrainingPairs pairs =
      data.items() ? pairs_of_items(data, train, options.ties) : pairs_of_replies(data, x, train);
  vl::PairObjective objective{vl::Mlp<double>{{static_cast<int>(x.rows()), 1}, vl::Activation::identity}, loss.make(),
                              data.set};
  std::vector<double> theta(objective.model().parameter_count());
  // Margins are beta times log-ratios, so logits are of the order of 1 / beta, and so are the steps towards them.
  const double beta = loss.beta(), l2 = data.penalise_policy ? options.l2.value_or(data.l2) * beta * beta : 0;
  const int steps = options.steps.value_or(data.steps);
  vl::train_on_pairs(objective, std::span<double>(theta), pairs.x, {pairs.chosen, pairs.rejected, {}, pairs.weight},
                     vl::Adam{.step_size = 0.05 / beta}, {.steps = steps, .l2 = l2}, rng,
                     vl::CosineSchedule{.steps = steps});
  const auto log_probs = objective.scores(theta, x);
  return {log_probs.begin(), log_probs.end()};
}

// ---------------------------------------------------------------- what is measured

/// Share of the decided judgements in `rows` whose winner has the higher score.
double accuracy(const std::vector<double>& scores, const Data& data, const std::vector<std::size_t>& rows) {
  std::vector<double> winner, loser;
  for (const std::size_t k : rows)
    if (data.outcome[k] != 0.5) {
      const auto left = static_cast<std::size_t>(data.left[k]), right = static_cast<std::size_t>(data.right[k]);
      winner.push_back(scores[data.outcome[k] == 1 ? left : right]);
      loser.push_back(scores[data.outcome[k] == 1 ? right : left]);
    }
  return vl::pairwise_accuracy_of_scores(winner, loser);
}

/// KL(policy || uniform reference) in nats, mean over the prompts of `rows`.
double kl_to_reference(const std::vector<double>& log_probs, const Data& data, const std::vector<std::size_t>& rows) {
  double sum = 0;
  for (const std::size_t k : rows) {
    const int begin = data.left[k] - data.left[k] % data.set;
    for (int i = begin; i < begin + data.set; ++i) {
      const double log_prob = log_probs[static_cast<std::size_t>(i)];
      sum += std::exp(log_prob) * (log_prob + std::log(data.set));
    }
  }
  return sum / static_cast<double>(rows.size());
}

/// Probability that the judges prefer a draw of the policy to a draw of the reference. The judges are the held-out
/// judgements, which the policy has not seen: a Bradley-Terry model of them for items, the labels themselves for pairs.
class Judge {
 public:
  Judge(const Data& data, const std::vector<std::size_t>& held_out) : data_(data), held_out_(held_out) {
    if (!data.items()) return;
    const vl::BradleyTerryFit fit = vl::fit_bradley_terry(matchups(data, held_out), data.set, {.l2 = 1});
    for (int i = 0; i < data.set; ++i) {
      double sum = 0;
      for (int j = 0; j < data.set; ++j) sum += fit.win_probability(i, j);
      against_reference_.push_back(sum / data.set);
    }
  }
  double win_rate(const std::vector<double>& log_probs) const {
    double sum = 0;
    if (data_.items()) {
      for (std::size_t i = 0; i < log_probs.size(); ++i) sum += std::exp(log_probs[i]) * against_reference_[i];
      return sum;
    }
    // The preferred reply beats the other one, and itself half of the time: 3/4 against the reference's draw, or 1/4.
    for (const std::size_t k : held_out_)
      sum += 0.25 + 0.5 * std::exp(log_probs[static_cast<std::size_t>(data_.left[k])]);
    return sum / static_cast<double>(held_out_.size());
  }

 private:
  const Data& data_;
  const std::vector<std::size_t>& held_out_;
  std::vector<double> against_reference_;
};

struct Figures {
  std::vector<double> accuracy, kl, win_rate;  // one entry a split
};

void print_row(const std::string& name, const Figures& f) {
  const auto interval = [](const std::vector<double>& v) {
    if (v.size() < 2) return fmt::format("{:.3f}", vl::mean(v));
    const vl::Interval i = vl::mean_interval(v);
    return fmt::format("{:.3f} [{:.3f}, {:.3f}]", vl::mean(v), i.low, i.high);
  };
  fmt::print("{:24} {:22}", name, interval(f.accuracy));
  if (!f.kl.empty()) fmt::print("  {:22}  {}", interval(f.kl), interval(f.win_rate));
  fmt::print("\n");
}

// ---------------------------------------------------------------- plot

struct Point {
  std::string loss;
  double beta, kl, win_rate;
};

/// Writes the points, a gnuplot script, and, where gnuplot is there, the picture.
void plot(const std::vector<Point>& points, const std::vector<NamedLoss>& losses, const fs::path& folder) {
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream file(folder / name);
    if (!(file << text)) vl::fail("quickstart", "can't write {}", (folder / name).string());
  };
  std::string table = "loss,beta,kl,win_rate\n", curves;
  for (const Point& p : points) table += fmt::format("{},{:.6g},{:.6g},{:.6g}\n", p.loss, p.beta, p.kl, p.win_rate);
  for (const NamedLoss& loss : losses)
    curves += fmt::format(
        "{}'curves.csv' using (strcol(1) eq '{}' ? column(3) : NaN):4 with linespoints pointtype 7 pointsize 0.5 "
        "linewidth 2 title '{}'",
        curves.empty() ? "" : ", \\\n  ", loss.name, loss.name);
  write("curves.csv", table);
  write("curves.gp",
        "set terminal svg size 900,600 font 'sans,14' background '#ffffff'\n"
        "set output 'curves.svg'\nset datafile separator ','\nset key bottom right\nset grid\n"
        "set xlabel 'KL(policy || reference), nats'\nset ylabel 'win rate against the reference, held-out judges'\n"
        "plot " +
            curves + "\n");
  const fs::path here = fs::current_path();
  fs::current_path(folder);  // the script's file names are relative, and no path goes through a shell
  const bool plotted = std::system("gnuplot curves.gp > gnuplot.log 2>&1") == 0;
  fs::current_path(here);
  if (plotted)
    fmt::print("plot: {}\n", (folder / "curves.svg").string());
  else
    fmt::print(
        "no plot: gnuplot did not run (see {}). The points are in {}; when gnuplot is installed:\n  cd {} && gnuplot "
        "curves.gp\n",
        (folder / "gnuplot.log").string(), (folder / "curves.csv").string(), folder.string());
}

// ---------------------------------------------------------------- the job

void print_ranking(const Data& data, const Options& options, const vl::Rng& rng, const fs::path& folder) {
  std::vector<std::size_t> all(data.size());
  for (std::size_t k = 0; k < all.size(); ++k) all[k] = k;
  const std::vector<vl::Matchup> votes = matchups(data, all);
  const vl::BradleyTerryOptions fit_options{.l2 = options.l2.value_or(data.l2), .ties = options.ties};
  const vl::BradleyTerryFit fit = vl::fit_bradley_terry(votes, data.set, fit_options);
  const auto resamples = static_cast<std::size_t>(options.resamples);
  vl::ProgressBar bar;
  const vl::BradleyTerryBootstrap sure =
      vl::bootstrap_bradley_terry(votes, data.set, fit_options, {.resamples = resamples}, rng, bar);
  std::vector<int> order(data.names.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  std::sort(order.begin(), order.end(), [&](int a, int b) { return fit.weight[a] > fit.weight[b]; });

  std::ofstream file(folder / "ranking.csv");
  file << "rank,name,ability,low,high\n";
  fmt::print("Bradley-Terry abilities of {} items from {} votes, with 95% bootstrap intervals\n", data.set,
             data.size());
  fmt::print("(Newton: {} iterations, largest gradient entry {:.1e})\n\n", fit.iterations, fit.gradient_norm);
  for (std::size_t rank = 1; rank <= order.size(); ++rank) {
    const int i = order[rank - 1];
    const vl::Interval interval = sure.weight[static_cast<std::size_t>(i)];
    const std::string& name = data.names[static_cast<std::size_t>(i)];
    fmt::print("{:4}  {:36} {:6.2f}  [{:5.2f}, {:5.2f}]\n", rank, name, fit.weight[i], interval.low, interval.high);
    file << fmt::format("{},\"{}\",{:.6g},{:.6g},{:.6g}\n", rank, name, fit.weight[i], interval.low, interval.high);
  }
  if (fit.tie_parameter > 0) fmt::print("tie parameter: {:.3f}\n", fit.tie_parameter);
  if (!file) vl::fail("quickstart", "can't write {}", (folder / "ranking.csv").string());
  fmt::print("\n");
}

/// Trains on 80 % of the judgements and measures on the rest, for several random splits.
std::vector<Figures> measure(const Data& data, const std::vector<NamedLoss>& losses, const Options& options,
                             vl::Rng& rng, vl::Progress progress) {
  std::vector<Figures> figures(losses.size() + 1);  // the reward model first
  for (int s = 0; s < options.splits; ++s) {
    const Split split = random_split(data.size(), rng.split(static_cast<std::uint64_t>(s)));
    const vl::Matrix<double> x = scaled_features(data, split.train);
    const Judge judge(data, split.test);
    figures[0].accuracy.push_back(accuracy(rewards(data, x, split.train, options), data, split.test));
    for (std::size_t i = 0; i < losses.size(); ++i) {
      const std::vector<double> log_probs = train_policy(data, x, split.train, losses[i], options, rng);
      Figures& f = figures[i + 1];
      f.accuracy.push_back(accuracy(log_probs, data, split.test));
      f.kl.push_back(kl_to_reference(log_probs, data, split.test));
      f.win_rate.push_back(judge.win_rate(log_probs));
    }
    progress({.step = static_cast<std::uint64_t>(s) + 1,
              .total = static_cast<std::uint64_t>(options.splits),
              .task = "splits",
              .metric = "accuracy",
              .value = vl::mean(figures[0].accuracy)});
  }
  return figures;
}

/// The same policies for beta from strong to weak: each loss's way from the reference (KL 0) to one that has only its
/// own opinion.
std::vector<Point> beta_path(const Data& data, const std::vector<NamedLoss>& losses, const Options& options,
                             vl::Rng& rng, vl::Progress progress) {
  std::vector<Point> points;
  for (const NamedLoss& base : losses) {
    const auto known = [&](const Point& p) { return p.loss == base.name; };
    if (std::any_of(points.begin(), points.end(), known)) continue;  // the same loss with another beta: the same path
    for (int b = 0; b < options.path_betas; ++b) {
      NamedLoss loss = base;
      if (loss.settings.contains("beta"))
        loss.settings["beta"] = 10 * std::pow(1e-3, b / (std::max)(1.0, options.path_betas - 1.0));
      Point point{loss.name, loss.beta(), 0, 0};
      const int splits = data.items() ? options.path_splits : 1;
      for (int s = 0; s < splits; ++s) {
        const Split split = random_split(data.size(), rng.split(static_cast<std::uint64_t>(s)));
        const vl::Matrix<double> x = scaled_features(data, split.train);
        const std::vector<double> log_probs = train_policy(data, x, split.train, loss, options, rng);
        point.kl += kl_to_reference(log_probs, data, split.test) / splits;
        point.win_rate += Judge(data, split.test).win_rate(log_probs) / splits;
      }
      points.push_back(point);
      progress({.step = points.size(),
                .total = losses.size() * static_cast<std::size_t>(options.path_betas),
                .task = "beta path"});
      if (!loss.settings.contains("beta")) break;  // no beta, no path: one point
    }
  }
  return points;
}

int run(const Options& options) {
  std::vector<NamedLoss> losses;
  for (const std::string& text : options.losses) losses.emplace_back(text);
  const fs::path shipped = VALENCE_EXAMPLE_DATA;
  Data data;
  double needed = 0;  // the figures that the shipped data are known to hold
  if (!options.features.empty()) {
    data = from_features(vl::load_feature_pairs(options.features));
    std::error_code unknown;
    if (fs::equivalent(options.features, shipped / "hh_harmless_features.csv", unknown)) needed = 0.58;
  } else if (!options.jsonl.empty()) {
    data = from_texts(vl::load_jsonl<vl::PreferenceRow>(options.jsonl).rows,
                      {.size = options.hash_size, .longest = options.ngrams});
  } else if (!options.votes.empty()) {
    data = from_votes(options.names.empty() ? vl::load_votes(options.votes)
                                            : vl::load_votes(options.votes, options.names));
  } else {
    data = from_votes(vl::load_votes(shipped / "llmfao_pairs.csv", shipped / "llmfao_models.csv"));
    needed = 0.69;
  }
  if (data.size() < 10)
    vl::fail("quickstart", "the file holds {} judgements; expected at least 10, to train on some and test on others",
             data.size());
  const fs::path folder = options.out;
  fs::create_directories(folder);
  vl::Rng rng{options.seed};
  if (data.items()) print_ranking(data, options, rng.split(0), folder);

  vl::ProgressBar bar;
  vl::Rng splits = rng.split(1);
  const std::vector<Figures> figures = measure(data, losses, options, splits, bar);
  fmt::print("Held-out figures: mean and 95% interval over {} random 80/20 splits of {} judgements\n", options.splits,
             data.size());
  fmt::print(
      "(accuracy on decided judgements; win rate against the uniform reference, by judges the policy has not "
      "seen)\n\n");
  fmt::print("{:24} {:22}  {:22}  {}\n", "", "accuracy", "KL to reference", "win rate");
  print_row("reward model", figures[0]);
  for (std::size_t i = 0; i < losses.size(); ++i) print_row(options.losses[i], figures[i + 1]);
  fmt::print("\n");

  vl::Rng path = rng.split(2);
  plot(beta_path(data, losses, options, path, bar), losses, folder);
  if (needed == 0) return 0;

  // What these data hold: every method that fits them reaches it.
  bool reached = vl::mean(figures[0].accuracy) >= needed;
  std::string report = fmt::format("reward model {:.3f}", vl::mean(figures[0].accuracy));
  std::optional<double> dpo;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const double value = vl::mean(figures[i + 1].accuracy);
    if (losses[i].name == "dpo") dpo = value;
    if (losses[i].name == "dpo" || losses[i].name == "ipo") reached = reached && value >= needed;
    if (losses[i].name == "rpo" && dpo) reached = reached && std::abs(value - *dpo) <= 0.02;
    report += fmt::format(", {} {:.3f}", losses[i].name, value);
  }
  fmt::print("{}: {} (needs {:.2f}; rpo within 0.02 of dpo)\n", reached ? "FIGURES REACHED" : "FIGURES MISSED", report,
             needed);
  return reached ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{
      "A reward model and a policy from people's judgements. Without a file: 8,931 real votes between 59 language "
      "models."};
  const std::map<std::string, vl::Ties> ties = {{"half", vl::Ties::half},
                                                {"drop", vl::Ties::drop},
                                                {"davidson", vl::Ties::davidson},
                                                {"rao-kupper", vl::Ties::rao_kupper}};
  std::string tie_name = "half";
  const CLI::Range count(1, 1'000'000);
  auto* const file = app.add_option_group("input")->require_option(0, 1);
  file->add_option("--data", options.votes,
                   "your own votes: CSV with columns left, right, winner (left, right or tie)");
  file->add_option("--features", options.features, "pairs of feature rows: CSV with columns chosen_* and rejected_*");
  file->add_option("--jsonl", options.jsonl, "pairs of texts: JSON lines with chosen and rejected (TRL's formats)");
  app.add_option("--names", options.names, "with --data: CSV of id, name");
  app.add_option("--ties", tie_name, "what a tie is to the reward model: half (a win), drop, davidson, rao-kupper")
      ->check(CLI::IsMember(std::vector<std::string>{"half", "drop", "davidson", "rao-kupper"}))
      ->capture_default_str();
  app.add_option("--loss", options.losses,
                 "losses of the policies, name or name:option=value,...; known: " + vl::loss_names(vl::pair_losses))
      ->capture_default_str();
  app.add_option("--l2", options.l2, "penalty of the reward model (default 1; 1000 for texts)")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--steps", options.steps, "optimizer steps of a policy (default 200 for votes, 100 for pairs)")
      ->check(count);
  app.add_option("--splits", options.splits, "random splits")->check(count)->capture_default_str();
  app.add_option("--resamples", options.resamples, "bootstrap samples of the ranking")
      ->check(count)
      ->capture_default_str();
  app.add_option("--hash-size", options.hash_size, "with --jsonl: hashed features")
      ->check(count)
      ->capture_default_str();
  app.add_option("--ngrams", options.ngrams, "with --jsonl: longest run of words")->check(count)->capture_default_str();
  app.add_option("--seed", options.seed, "shifts every random stream")->capture_default_str();
  app.add_option("--out", options.out, "folder for the ranking, the curves and the plot")->capture_default_str();
  app.add_flag("--quick", options.quick, "fewer bootstrap samples and a shorter path");
  try {
    app.parse(argc, argv);
    options.ties = ties.at(tie_name);
    if (options.quick) {
      options.resamples = (std::min)(options.resamples, 100);
      options.path_splits = 1;
      options.path_betas = 5;
    }
    return run(options);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;  // --help is no error
  } catch (const std::exception& e) {
    fmt::print(stderr, "quickstart: {}\n", e.what());
    return 2;
  }
}
