#include "valence/io/log_prob_columns.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "io/files.hpp"
#include "support/close.hpp"
#include "valence/core/random.hpp"
#include "valence/preference/any_loss.hpp"
#include "valence/preference/batch_losses.hpp"
#include "valence/preference/losses.hpp"

using namespace valence;
using test::message_of, test::says, test::TemporaryFolder;

namespace {

std::string refused(std::string_view json) {
  return message_of([&] { parse_log_probs(json, "pipe line 7"); });
}

std::string refused_table(std::string_view csv) {
  return message_of([&] { read_log_prob_pairs(CsvReader::from_text(csv, {}, "pairs.csv")); });
}

/// Any finite number: sign, exponent and fraction drawn as bits.
template <class S, class Bits>
S any_number(Rng& rng) {
  for (;;) {
    const auto x = std::bit_cast<S>(static_cast<Bits>(rng()));
    if (std::isfinite(x)) return x;
  }
}

template <class S, class Bits>
std::size_t numbers_that_change() {
  Rng rng{3};
  BatchEvaluation<S> answer{};
  answer.d_chosen.resize(2000);
  for (S& x : answer.d_chosen) x = any_number<S, Bits>(rng);
  answer.d_chosen[0] = S(-0.0);
  answer.d_chosen[1] = std::numeric_limits<S>::denorm_min();
  answer.d_chosen[2] = (std::numeric_limits<S>::max)();
  std::string line = to_json_line(answer);
  line.replace(line.find("d_chosen"), 8, "chosen");
  line.erase(1, line.find("\"chosen\"") - 1);
  const PreferenceColumns<S> back = parse_log_probs<S>(line);
  std::size_t changed = back.pairs.chosen.size() == 2000 ? 0 : 2000;
  for (std::size_t i = 0; i < back.pairs.chosen.size(); ++i)
    changed +=
        std::bit_cast<Bits>(back.pairs.chosen[i]) != std::bit_cast<Bits>(answer.d_chosen[static_cast<Eigen::Index>(i)]);
  return changed;
}

}  // namespace

TEST_CASE("numbers go through JSON to the last bit", "[F9]") {
  CHECK(numbers_that_change<double, std::uint64_t>() == 0);
  CHECK(numbers_that_change<float, std::uint32_t>() == 0);
}

TEST_CASE("a line of JSON is evaluated as the arrays are") {
  const auto columns = parse_log_probs(
      R"({"rejected": [-14, -28.9], "chosen": [-12.5, -30], "ref_chosen": [-12, -30], "ref_rejected": [-13.5, -29]})");
  const BatchEvaluation<double> answer = evaluate(Dpo{.beta = 0.1}, columns.view());
  const PairLogProbs<std::vector<double>> own{{-12.5, -30}, {-14, -28.9}, {-12, -30}, {-13.5, -29}};
  const auto [value, d_chosen, d_rejected] = evaluate(Dpo{.beta = 0.1}, own);
  CHECK(answer.value == value);
  // (log 2 + log(1 + e^0.01)) / 2, with 30 digits by mpmath: the margins are 0 and -0.1
  CHECK(std::abs(answer.value - 0.695653430533903816) < 1e-14);
  const auto read = nlohmann::json::parse(to_json_line(answer));
  CHECK(read.size() == 3);
  CHECK(read["loss"].get<double>() == value);
  CHECK(read["d_chosen"].get<std::vector<double>>() == d_chosen);
  CHECK(read["d_rejected"].get<std::vector<double>>() == d_rejected);
}

TEST_CASE("a line of JSON may hold single responses, calibration samples and lengths") {
  const auto columns = parse_log_probs(
      R"({"unpaired": {"log_prob": [-3, -4, -5], "ref_log_prob": [-3.5, -4, -4], "desirable": [true, false, true],
          "weight": [1, 2, 1]}, "kl": {"log_prob": [-6], "ref_log_prob": [-7]},
          "base": {"log_prob": [-2, -8], "length": [1, 2]}})");
  const PreferenceBatch<double> in = columns.view();
  CHECK(in.pairs.chosen.empty());
  REQUIRE(in.unpaired.desirable.size() == 3);
  CHECK((in.unpaired.desirable[0] && !in.unpaired.desirable[1] && in.unpaired.desirable[2]));
  const BatchEvaluation<double> kto = evaluate(Kto{}, in);
  const auto read = nlohmann::json::parse(to_json_line(kto));
  CHECK(read["d_unpaired"].size() == 3);
  CHECK(read["d_base"].get<std::vector<double>>() == std::vector<double>{0, 0});
  CHECK_FALSE(read.contains("d_chosen"));
  CHECK(evaluate(BaseSft{SftReduction::batch_token_mean}, in).value == 10.0 / 3);
}

TEST_CASE("a table of CSV is one batch, its columns in any order") {
  const TemporaryFolder folder;
  const auto path =
      folder.with("pairs.csv", "rejected,chosen_length,chosen,rejected_length\r\n-2,3,-1.5,4\r\n-4,5,-3e-1,6");
  const auto pairs = load_log_prob_pairs(path);
  CHECK(pairs.chosen == std::vector<double>{-1.5, -0.3});
  CHECK(pairs.rejected == std::vector<double>{-2, -4});
  CHECK(pairs.chosen_length == std::vector<double>{3, 5});
  CHECK(pairs.rejected_length == std::vector<double>{4, 6});
  CHECK(pairs.ref_chosen.empty());
  CHECK(evaluate(SimPo{}, pairs).value > 0);
  CHECK(load_log_prob_pairs<float>(path).chosen == std::vector<float>{-1.5F, -0.3F});
}

TEST_CASE("what a line of JSON must not hold is refused with line, key and entry", "[P3][P22]") {
  CHECK(says(refused("[1]"), "pipe line 7", "the line is an array", "an object"));
  CHECK(says(refused(R"({"chosen": [1, 2)"), "pipe line 7", "chosen", "not valid JSON at byte"));
  CHECK(says(refused(R"({"chosen": 3})"), "pipe line 7", "chosen is a number", "an array"));
  CHECK(says(refused(R"({"chosen": [1, "2"]})"), "pipe line 7", "chosen[1] is a string", "a number"));
  CHECK(says(refused(R"({"chosen": [1, null]})"), "chosen[1] is null"));
  CHECK(says(refused(R"({"chosen": [true]})"), "chosen[0] is true or false", "a number"));
  CHECK(says(refused(R"({"chosen": [NaN]})"), "pipe line 7", "not valid JSON"));
  CHECK(says(refused(R"({"chosen": [1], "chosen": [2]})"), "pipe line 7", "comes twice"));
  CHECK(says(refused(R"({"chosne": [1]})"), "unknown key 'chosne'", "chosen, rejected, ref_chosen", "unpaired"));
  CHECK(says(refused(R"({"unpaired": {"desirable": [1]}})"), "unpaired.desirable[0] is a number", "true or false"));
  CHECK(says(refused(R"({"kl": [1]})"), "'kl' is an array", "an object"));
  CHECK(says(refused(R"({"kl": {"logp": [1]}})"), "unknown key 'kl.logp'", "log_prob, ref_log_prob"));
  CHECK(says(refused("{\"chosen\": [1], \"\xFF\": 1}"), "pipe line 7", "not UTF-8"));
  CHECK(says(refused(""), "pipe line 7", "not valid JSON"));
  CHECK(says(message_of([] { parse_log_probs<float>(R"({"chosen": [-1, -1e300]})"); }), "chosen[1] is -1e+300"));
}

TEST_CASE("what a table must not hold is refused with line and column") {
  CHECK(says(refused_table("chosen,rejected\n-1,-2\n-1,nan\n"), "pairs.csv line 3", "'rejected'", "nan"));
  CHECK(says(refused_table("chosen,rejected\n-1,\n"), "pairs.csv line 2", "'rejected'", "empty"));
  CHECK(says(refused_table("chosen,rejected\n-1\n"), "pairs.csv line 2", "1 cells"));
  CHECK(says(refused_table("chosen,rejected,ref_chosne\n-1,-2,-3\n"), "column 'ref_chosne'", "ref_chosen"));
  CHECK(says(refused_table(""), "pairs.csv", "no header"));
}

TEST_CASE("an answer that JSON cannot hold is refused") {
  BatchEvaluation<double> answer{};
  answer.value = std::numeric_limits<double>::infinity();
  CHECK(says(message_of([&] { to_json_line(answer); }), "loss"));
  answer.value = 1;
  answer.d_rejected = Eigen::ArrayXd::Constant(1, std::nan(""));
  CHECK(says(message_of([&] { to_json_line(answer); }), "d_rejected"));
}
