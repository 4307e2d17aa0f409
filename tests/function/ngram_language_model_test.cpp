#include "valence/function/ngram_language_model.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "support/finite_difference.hpp"
#include "valence/core/random.hpp"
#include "valence/function/optimizers.hpp"
#include "valence/function/sequence_log_prob.hpp"
#include "valence/preference/losses.hpp"
#include "valence/reward/pair_objective.hpp"

using namespace valence;

static_assert(SequenceModel<NgramLanguageModel<float>>);
static_assert(SequenceModel<NgramLanguageModel<double>>);
static_assert(Approximator<SequenceLogProb<NgramLanguageModel<float>>>);

namespace {

using test::close, test::message_of, test::says;
using Model = NgramLanguageModel<double>;
using Tokens = std::vector<std::int32_t>;

NgramLanguageModelOptions tiny(Activation activation = Activation::tanh) {
  return {.context = 2, .embedding = 3, .hidden = {4}, .activation = activation};
}
TokenWindows batch() {  // prompts of 3, 0 and 1 tokens; replies of 3, 1 and 2
  TokenWindows x{2};
  x.add(Tokens{4, 1, 2}, Tokens{0, 3, 4});
  x.add(Tokens{}, Tokens{2});
  x.add(Tokens{3}, Tokens{3, 0});
  return x;
}
std::vector<double> parameters(const Model& model, std::uint64_t seed = 3) {
  Rng rng{seed};
  std::vector<double> theta(model.parameter_count());
  rng.fill_normal(theta);
  return theta;
}
std::vector<double> outputs(const auto& model, std::span<const double> theta, const TokenWindows& x) {
  typename std::remove_cvref_t<decltype(model)>::Tape tape;
  const auto y = model.forward(theta, x, tape);
  return {y.data(), y.data() + y.size()};
}
/// log softmax(V tanh(W [e_a; e_b] + c) + d)[token], number by number.
double by_hand(const std::vector<double>& theta, int a, int b, int token) {
  const auto at = [&](std::size_t i) { return theta[i]; };
  const std::size_t w = 3 * 6, c = w + 4 * 6, v = c + 4, d = v + 5 * 4;  // 5 tokens and "nothing"; column-major
  double x[6], h[4], z[5], total = 0;
  for (std::size_t e = 0; e < 3; ++e) {
    x[e] = at(static_cast<std::size_t>(a) * 3 + e);
    x[3 + e] = at(static_cast<std::size_t>(b) * 3 + e);
  }
  for (std::size_t i = 0; i < 4; ++i) {
    h[i] = at(c + i);
    for (std::size_t j = 0; j < 6; ++j) h[i] += at(w + j * 4 + i) * x[j];
    h[i] = std::tanh(h[i]);
  }
  for (std::size_t i = 0; i < 5; ++i) {
    z[i] = at(d + i);
    for (std::size_t j = 0; j < 4; ++j) z[i] += at(v + j * 5 + i) * h[j];
    total += std::exp(z[i]);
  }
  return z[static_cast<std::size_t>(token)] - std::log(total);
}

}  // namespace

TEST_CASE("windows hold what stands before each token of a reply, and nothing before the text") {
  const TokenWindows x = batch();
  REQUIRE(x.size() == 3);
  CHECK(Tokens(x.tokens().begin(), x.tokens().end()) == Tokens{0, 3, 4, 2, 3, 0});
  CHECK(std::vector<std::size_t>(x.offsets().begin(), x.offsets().end()) == std::vector<std::size_t>{0, 3, 4, 6});
  const auto window = [&](std::size_t i, std::size_t k) {
    const auto w = x.window(i, k);
    return Tokens(w.begin(), w.end());
  };
  CHECK(window(0, 0) == Tokens{1, 2});
  CHECK(window(0, 1) == Tokens{2, 0});
  CHECK(window(0, 2) == Tokens{0, 3});
  CHECK(window(1, 3) == Tokens{-1, -1});
  CHECK(window(2, 4) == Tokens{-1, 3});
  CHECK(window(2, 5) == Tokens{3, 3});
  TokenWindows some;
  gather(x, std::vector<int>{2, 0, 2}, some);
  CHECK(some.context() == 2);
  CHECK(Tokens(some.tokens().begin(), some.tokens().end()) == Tokens{3, 0, 0, 3, 4, 3, 0});
  CHECK(some.window(1, 2)[0] == 1);
  CHECK(some.window(2, 5)[1] == 3);
}

TEST_CASE("the language model gives each token's log-probability given its window") {
  const Model model{5, tiny()};
  REQUIRE(model.parameter_count() == 3 * 6 + 4 * 6 + 4 + 5 * 4 + 5);
  const auto theta = parameters(model);
  const auto y = outputs(model, theta, batch());
  REQUIRE(y.size() == 6);
  CHECK(y[0] == close(by_hand(theta, 1, 2, 0), 1e-13));
  CHECK(y[1] == close(by_hand(theta, 2, 0, 3), 1e-13));
  CHECK(y[2] == close(by_hand(theta, 0, 3, 4), 1e-13));
  CHECK(y[3] == close(by_hand(theta, 5, 5, 2), 1e-13));  // 5: nothing
  CHECK(y[4] == close(by_hand(theta, 5, 3, 3), 1e-13));
  CHECK(y[5] == close(by_hand(theta, 3, 3, 0), 1e-13));
  const auto sums = outputs(SequenceLogProb{model}, theta, batch());
  CHECK(sums[0] == close(y[0] + y[1] + y[2], 1e-15));
  CHECK(sums[1] == y[3]);
  CHECK(NgramLanguageModel<float>{1024}.parameter_count() == 197'792);
}

TEST_CASE("a prompt's tokens are conditions and never scored, and a sequence's score is that of any batch", "[P18]") {
  const Model model{5, tiny()};
  const auto theta = parameters(model);
  TokenWindows far{2}, alone{2};
  far.add(Tokens{0, 0, 3, 1, 2}, Tokens{0, 3, 4});  // only what is out of sight differs
  alone.add(Tokens{3}, Tokens{3, 0});
  const auto whole = outputs(model, theta, batch());
  const auto one = outputs(model, theta, alone), seen = outputs(model, theta, far);
  CHECK(one == std::vector<double>(whole.begin() + 4, whole.end()));
  CHECK(seen == std::vector<double>(whole.begin(), whole.begin() + 3));
}

TEST_CASE("the pullback of the language model is exact and adds up") {
  const TokenWindows x = batch();
  const std::vector<double> dy{0.7, -1.1, 0.4, 2, 0, -0.3}, d_sequences{0.6, -1, 0.25};
  for (const Activation activation : {Activation::tanh, Activation::silu}) {
    const Model model{5, tiny(activation)};
    const auto theta = parameters(model);
    Model::Tape tape;
    std::vector<double> gradient(theta.size());
    model.forward(theta, x, tape);
    model.pullback(theta, x, tape, Outputs<double>(dy.data(), 1, 6), gradient);
    CHECK(test::pullback_matches([&](std::span<const double> t) { return outputs(model, t, x); }, theta, dy, gradient));
    const auto once = gradient;
    model.pullback(theta, x, tape, Outputs<double>(dy.data(), 1, 6), gradient);
    for (std::size_t i = 0; i < gradient.size(); ++i) CHECK(gradient[i] == close(2 * once[i], 1e-12, 1e-14));
    const SequenceLogProb sequences{model};
    SequenceLogProb<Model>::Tape of_sequences;
    std::vector<double> g(theta.size());
    sequences.forward(theta, x, of_sequences);
    sequences.pullback(theta, x, of_sequences, Outputs<double>(d_sequences.data(), 1, 3), g);
    CHECK(test::pullback_matches([&](std::span<const double> t) { return outputs(sequences, t, x); }, theta,
                                 d_sequences, g));
  }
}

TEST_CASE("steps with batches of changing length allocate nothing once the longest was seen") {
  using Small = NgramLanguageModel<float>;
  const Small model{20, {.context = 4, .embedding = 8, .hidden = {16}}};
  Rng rng{5};
  std::vector<float> theta(model.parameter_count()), gradient(theta.size());
  model.initialize(theta, rng);
  TokenWindows all{4}, x{4};
  for (int i = 0; i < 8; ++i) all.add(Tokens{1, 2}, Tokens(static_cast<std::size_t>(5 + 40 * i), i));
  PairObjective objective{SequenceLogProb{model}, Dpo{.beta = 0.1}};
  auto adam = Adam{.step_size = 1e-3}.start<float>(theta.size());
  const std::vector<int> chosen{0}, rejected{1};
  const std::vector<float> reference{-3, -4};
  const auto step = [&](int i) {
    gather(all, std::vector<int>{i, 7 - i}, x);
    const test::Allocations allocations;
    objective(theta, x, {.chosen = chosen, .rejected = rejected}, gradient, reference);
    adam.step(theta, gradient);
    return allocations.count();
  };
  step(7);
  for (int i = 0; i < 8; ++i) CHECK(step(i) == 0);
}

TEST_CASE("the language model samples its law, ends where it should and is greedy at temperature 0") {
  const Model model{5, tiny()};
  const auto theta = parameters(model);
  Model::Tape tape;
  Rng rng{11};
  constexpr int draws = 40'000;
  std::vector<int> count(5), hot(5);
  for (int i = 0; i < draws; ++i) {
    ++count[static_cast<std::size_t>(model.sample(theta, Tokens{4, 1, 2}, -1, 1, 1.0, tape, rng)[0])];
    ++hot[static_cast<std::size_t>(model.sample(theta, Tokens{4, 1, 2}, -1, 1, 2.0, tape, rng)[0])];
  }
  double total = 0;
  for (int token = 0; token < 5; ++token) total += std::exp(by_hand(theta, 1, 2, token) / 2);
  int likeliest = 0;
  for (int token = 0; token < 5; ++token) {
    const double p = std::exp(by_hand(theta, 1, 2, token)), warm = std::sqrt(p) / total;
    const auto five_deviations = [](double q) { return 5 * std::sqrt(q * (1 - q) / draws); };
    CHECK(std::abs(count[static_cast<std::size_t>(token)] / double(draws) - p) < five_deviations(p));
    CHECK(std::abs(hot[static_cast<std::size_t>(token)] / double(draws) - warm) < five_deviations(warm));
    if (by_hand(theta, 1, 2, token) > by_hand(theta, 1, 2, likeliest)) likeliest = token;
  }
  const auto greedy = model.sample(theta, Tokens{4, 1, 2}, -1, 7, 0.0, tape, rng);
  REQUIRE(greedy.size() == 7);
  CHECK(greedy[0] == likeliest);
  const auto ended = model.sample(theta, Tokens{4, 1, 2}, likeliest, 7, 0.0, tape, rng);
  CHECK(ended == Tokens{likeliest});
}

TEST_CASE("the mean KL per token is the sum over the vocabulary, and zero to itself") {
  const Model model{5, tiny()};
  const auto theta = parameters(model), other = parameters(model, 8);
  const TokenWindows x = batch();
  CHECK(mean_token_kl(model, std::span<const double>(theta), std::span<const double>(theta), x) == 0);
  double expected = 0;
  constexpr int windows[][2] = {{1, 2}, {2, 0}, {0, 3}, {5, 5}, {5, 3}, {3, 3}};
  for (const auto& w : windows)
    for (int token = 0; token < 5; ++token) {
      const double log_p = by_hand(theta, w[0], w[1], token);
      expected += std::exp(log_p) * (log_p - by_hand(other, w[0], w[1], token)) / 6;
    }
  CHECK(mean_token_kl(model, std::span<const double>(theta), std::span<const double>(other), x) ==
        close(expected, 1e-12));
  CHECK(says(message_of([&] {
               mean_token_kl(model, std::span<const double>(theta), std::span<const double>(other), TokenWindows{2});
             }),
             "no tokens"));
}

TEST_CASE("gradient steps on a text make it likely") {
  using Small = NgramLanguageModel<float>;
  const Small model{6, {.context = 3, .embedding = 8, .hidden = {16}}};
  Rng rng{1};
  std::vector<float> theta(model.parameter_count()), gradient(theta.size());
  model.initialize(theta, rng);
  TokenWindows x{3};
  x.add(Tokens{0}, Tokens{1, 2, 3, 4, 5});
  x.add(Tokens{1}, Tokens{4, 4, 2, 5});
  Small::Tape tape;
  const std::vector<float> dy(9, -1.0f / 9);
  auto adam = Adam{.step_size = 1e-2}.start<float>(theta.size());
  double first = 0, last = 0;
  for (int i = 0; i < 200; ++i) {
    const auto y = model.forward(theta, x, tape);
    last = static_cast<double>(y.mean());
    if (i == 0) first = last;
    std::fill(gradient.begin(), gradient.end(), 0.0f);
    model.pullback(theta, x, tape, Outputs<float>(dy.data(), 1, 9), gradient);
    adam.step(theta, gradient);
  }
  CHECK(first == close(-std::log(6.0), 0.1));
  CHECK(last > -0.05);
  CHECK(model.sample(theta, Tokens{0}, 5, 20, 0, tape, rng) == Tokens{1, 2, 3, 4, 5});
}

TEST_CASE("the language model's tensors cover its parameters once") {
  const Model model{5, tiny()};
  std::size_t end = 0;
  for (const ParameterBlock& block : model.parameters("policy.")) {
    CHECK(block.offset == end);
    CHECK(block.name.starts_with("policy."));
    end += block.size();
  }
  CHECK(end == model.parameter_count());
  CHECK(model.parameters()[0].name == "embedding.weight");
  CHECK(model.parameters()[0].shape == std::vector<std::size_t>{3, 6});
}

TEST_CASE("bad input to the language model is refused before anything changes") {
  TokenWindows x{2};
  CHECK(says(message_of([&] { x.add(Tokens{1}, Tokens{}); }), "reply is empty", "at least one token"));
  CHECK(says(message_of([&] { x.add(Tokens{1, -2}, Tokens{1}); }), "prompt[1] is -2"));
  CHECK(says(message_of([&] { x.add(Tokens{1}, Tokens{-1}); }), "reply[0] is -1"));
  CHECK(x.size() == 0);
  CHECK(says(message_of([] { TokenWindows{0}; }), "context", "0"));
  CHECK(says(message_of([] { Model{0}; }), "vocabulary", "0"));
  CHECK(says(message_of([] { Model{5, {.context = 0}}; }), "context"));
  CHECK(says(message_of([] { Model{5, {.embedding = -1}}; }), "embedding", "-1"));
  CHECK(says(message_of([] { Model{5, {.hidden = {0}}}; }), "0"));
  const Model model{5, tiny()};
  std::vector<double> theta = parameters(model), gradient(theta.size());
  Model::Tape tape;
  TokenWindows foreign{2}, other{3};
  foreign.add(Tokens{}, Tokens{5});
  other.add(Tokens{}, Tokens{1});
  CHECK(says(message_of([&] { model.forward(theta, foreign, tape); }), "a token is 5", "vocabulary of 5"));
  CHECK(says(message_of([&] { model.forward(theta, other, tape); }), "context of 3", "expected 2"));
  CHECK(says(message_of([&] { model.forward(std::span(theta).first(3), batch(), tape); }), "theta"));
  const std::vector<double> dy(6, 1);
  Model::Tape fresh;
  CHECK(says(message_of([&] { model.pullback(theta, batch(), fresh, Outputs<double>(dy.data(), 1, 6), gradient); }),
             "no forward"));
  model.forward(theta, batch(), tape);
  CHECK(says(message_of([&] { model.pullback(theta, batch(), tape, Outputs<double>(dy.data(), 1, 5), gradient); }),
             "dy"));
  CHECK(gradient == std::vector<double>(theta.size()));
  Rng rng{1};
  CHECK(says(message_of([&] { model.sample(theta, Tokens{1}, 0, 3, -1.0, tape, rng); }), "temperature is -1"));
  CHECK(says(message_of([&] { model.sample(theta, Tokens{7}, 0, 3, 1.0, tape, rng); }), "a token is 7"));
  CHECK(says(message_of([&] { model.sample(theta, Tokens{1}, 0, 0, 1.0, tape, rng); }), "longest"));
}
