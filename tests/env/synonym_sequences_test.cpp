#include "valence/env/synonym_sequences.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"

using valence::Matrix;
using valence::Rng;
using valence::SequencePairs;
using valence::SynonymSequences;
using namespace valence::test;  // close, message_of, says

TEST_CASE("SynonymSequences draws the tokens and prompts that a shift asks for") {
  Rng rng{1};
  const SynonymSequences world{rng};
  REQUIRE(world.vocabulary() == 32);
  const SequencePairs plain = world.pairs(2000, {}, rng);
  REQUIRE(plain.sequences() == 4000);
  REQUIRE(plain.tokens.size() == 20000);
  REQUIRE(plain.prompts.cols() == 2000);
  for (const auto token : plain.tokens) REQUIRE((token >= 0 && token < 16));
  CHECK(plain.prompts.mean() == close(0.0, 0, 0.05));

  const SequencePairs shifted = world.pairs(2000, {.synonyms = 0.1, .prompt_mean = 1, .prompt_scale = 2}, rng);
  int synonyms = 0;
  for (const auto token : shifted.tokens) synonyms += token >= 16 ? 1 : 0;
  CHECK(synonyms == close(2000.0, 0, 170));  // four standard deviations
  CHECK(shifted.prompts.mean() == close(1.0, 0, 0.11));
  CHECK((shifted.prompts.array() - 1).square().mean() == close(4.0, 0.1));
}

TEST_CASE("SynonymSequences' features are (m, m kron x), its states (1, x, the token before)") {
  Rng rng{2};
  const SynonymSequences world{rng};
  const SequencePairs data = world.pairs(3, {.synonyms = 0.5}, rng);
  const Matrix<double> z = world.features(data), h = world.states(data), &e = world.embeddings();
  REQUIRE((z.rows() == 24 && z.cols() == 6));
  REQUIRE((h.rows() == 10 && h.cols() == 30));
  for (int i = 0; i < 6; ++i)
    for (int d = 0; d < 6; ++d) {
      double mean = 0;
      for (int t = 0; t < 5; ++t) mean += e(d, data.tokens[std::size_t(5 * i + t)]) / 5;
      CHECK(z(d, i) == close(std::sqrt(5.0) * mean, 0, 1e-14));
      for (int j = 0; j < 3; ++j) CHECK(z(6 + 6 * j + d, i) == z(d, i) * data.prompts(j, i / 2));
    }
  for (int k = 0; k < 30; ++k) {
    CHECK(h(0, k) == 1);
    for (int j = 0; j < 3; ++j) CHECK(h(1 + j, k) == data.prompts(j, k / 10));
    for (int d = 0; d < 6; ++d) CHECK(h(4 + d, k) == (k % 5 == 0 ? 0 : e(d, data.tokens[std::size_t(k - 1)])));
  }
  const Matrix<double> u = world.reference_weights();
  CHECK(u.leftCols(4).isZero());
  CHECK(u.rightCols(6) == e.transpose());
}

TEST_CASE("A synonym's embedding is its word's up to noise, and the same without") {
  Rng rng{3}, again{3};
  const SynonymSequences world{rng}, exact{again, {.synonym_noise = 0}};
  const Matrix<double> gap = world.embeddings().rightCols(16) - world.embeddings().leftCols(16);
  CHECK(std::sqrt(gap.squaredNorm() / 96) == close(0.15 / std::sqrt(6.0), 0.3));
  CHECK(exact.embeddings().rightCols(16) == exact.embeddings().leftCols(16));
  CHECK(exact.embeddings().leftCols(16) == world.embeddings().leftCols(16));
}

TEST_CASE("Labels follow Bradley and Terry: more reward, more wins") {
  // With a large scale the better sequence nearly always wins, so a linear reward explains the labels: the head that
  // knows w and A would. Here the best of 24 single features is enough to see that labels aren't coins.
  Rng rng{4};
  const SynonymSequences world{rng, {.reward_scale = 100}}, coin{rng, {.reward_scale = 0}};
  const auto most_explained = [&rng](const SynonymSequences& w) {
    const SequencePairs data = w.pairs(2000, {}, rng);
    const Matrix<double> z = w.features(data);
    double best = 0;
    for (Eigen::Index f = 0; f < z.rows(); ++f) {
      double agree = 0;
      for (Eigen::Index k = 0; k < 2000; ++k) agree += z(f, 2 * k) > z(f, 2 * k + 1) ? 1 : 0;
      best = std::max(best, std::abs(agree / 2000 - 0.5));
    }
    return best;
  };
  CHECK(most_explained(world) > 0.1);
  CHECK(most_explained(coin) < 0.045);  // four standard deviations
}

TEST_CASE("SynonymSequences refuses options and shifts out of range") {
  Rng rng{5};
  CHECK(says(message_of([&] { SynonymSequences(rng, {.meanings = 0}); }), "meanings"));
  CHECK(says(message_of([&] { SynonymSequences(rng, {.embedding = 0}); }), "embedding"));
  CHECK(says(message_of([&] { SynonymSequences(rng, {.length = 0}); }), "length"));
  CHECK(says(message_of([&] { SynonymSequences(rng, {.synonym_noise = -1}); }), "synonym_noise"));
  const SynonymSequences world{rng};
  CHECK(says(message_of([&] { world.pairs(0, {}, rng); }), "n is 0"));
  CHECK(says(message_of([&] { world.pairs(1, {.synonyms = 1.5}, rng); }), "synonyms"));
  CHECK(says(message_of([&] { world.pairs(1, {.prompt_scale = 0}, rng); }), "prompt_scale"));
}
