#include "valence/function/optimizers.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/close.hpp"
#include "valence/function/concepts.hpp"
#include "valence/function/schedules.hpp"

using namespace valence;
using namespace valence::test;

static_assert(Optimizer<Sgd> && Optimizer<Momentum> && Optimizer<Nesterov> && Optimizer<RmsProp> && Optimizer<Adam> &&
              Optimizer<AdamW>);
static_assert(Schedule<ConstantSchedule> && Schedule<LinearSchedule> && Schedule<CosineSchedule> &&
              Schedule<WarmUp<CosineSchedule>>);

namespace {

struct Count {
  std::size_t fields = 0;
  void operator()(auto&... f) { fields += sizeof...(f); }
};

struct AnySubnormal {
  bool found = false;
  std::size_t numbers = 0;
  void operator()(auto&... f) { (look(f), ...); }
  void look(const std::int64_t&) {}
  void look(const Vector<float>& v) {
    for (const float x : view(v)) found = found || std::fpclassify(x) == FP_SUBNORMAL, ++numbers;
  }
};

constexpr double stiffness[2] = {0.5, 3};

/// Ten steps from (1, -2) on g_i = a_i theta_i + sin(1.3 t (i + 1)), a = (0.5, 3), t = 1, 2, ...; alone, and as two of
/// many parameters, so that whole registers and the rest are both seen.
template <class O>
void check_trajectory(const O& optimizer, const std::vector<std::array<double, 2>>& expected) {
  REQUIRE(expected.size() == 10);
  for (const std::size_t copies : {std::size_t{1}, std::size_t{9}}) {
    std::vector<double> theta, gradient(2 * copies);
    for (std::size_t c = 0; c < copies; ++c) theta.insert(theta.end(), {1.0, -2.0});
    auto state = optimizer.template start<double>(theta.size());
    for (std::size_t t = 0; t < 10; ++t) {
      CAPTURE(t, copies);
      for (std::size_t i = 0; i < theta.size(); ++i)
        gradient[i] = stiffness[i % 2] * theta[i] + std::sin(1.3 * double(t + 1) * double(i % 2 + 1));
      state.step(theta, gradient, 1.0);
      for (std::size_t i = 0; i < theta.size(); ++i) CHECK(theta[i] == close(expected[t][i % 2], 1e-12));
    }
    CHECK(state.steps() == 10);
  }
}

}  // namespace

// The numbers are PyTorch 2.15's in float64 (torch.optim.SGD, RMSprop, Adam, AdamW); those with a `placement` are
// NumPy's of the formula.
TEST_CASE("Optimizers follow golden trajectories") {
  check_trajectory(Sgd{.step_size = 0.05, .weight_decay = 0.1}, {{0.92182209072914, -1.71577506859107},
                                                                 {0.868392359416193, -1.40565720017345},
                                                                 {0.876728896592906, -1.23770750141529},
                                                                 {0.894599762481126, -1.00447151524164},
                                                                 {0.857005770202302, -0.869786782220519},
                                                                 {0.781368429827503, -0.740357513591311},
                                                                 {0.74197245881521, -0.595360457864343},
                                                                 {0.761104608505036, -0.549519348599232},
                                                                 {0.776370649445837, -0.414998071660319},
                                                                 {0.73207117812113, -0.388801293076949}});
  check_trajectory(Momentum{.step_size = 0.05, .momentum = 0.8, .dampening = 0.25, .weight_decay = 0.1},
                   {{0.92182209072914, -1.71577506859107},
                    {0.819207464827742, -1.25580672215071},
                    {0.744474827117398, -0.779289888999953},
                    {0.701067582928488, -0.276440480292388},
                    {0.642500767408175, 0.142218988626655},
                    {0.543745672273693, 0.456572844372812},
                    {0.440541129951849, 0.677660566651633},
                    {0.379108813261169, 0.740922882323542},
                    {0.350007396007212, 0.742409783220481},
                    {0.303094831912886, 0.628698224745667}});
  check_trajectory(Nesterov{.step_size = 0.05, .momentum = 0.8, .weight_decay = 0.1},
                   {{0.859279763312453, -1.48839512346393},
                    {0.716449670696298, -0.811718008900968},
                    {0.66663903790469, -0.353675075389275},
                    {0.659987088368715, 0.125227700382661},
                    {0.580326577721029, 0.358627591167352},
                    {0.419836122566591, 0.46792749347298},
                    {0.293923326893292, 0.528030566051816},
                    {0.274665614355696, 0.379030621413875},
                    {0.286947124785138, 0.345531122113424},
                    {0.219574786463671, 0.161221253790748}});
  check_trajectory(RmsProp{.step_size = 0.05, .decay = 0.9, .epsilon = 0.01, .weight_decay = 0.1},
                   {{0.845020557609323, -1.84276083599174},
                    {0.756829826107958, -1.72080418694122},
                    {0.777861733965234, -1.64631704306252},
                    {0.816162645373379, -1.55752771182065},
                    {0.753621838184773, -1.49388355752063},
                    {0.651062765630046, -1.43079021904248},
                    {0.600976717445785, -1.36371264950306},
                    {0.634886638248638, -1.31931139972121},
                    {0.66352520472823, -1.25378534729828},
                    {0.603652849769883, -1.21274673970415}});
  check_trajectory(RmsProp{.step_size = 0.05, .decay = 0.9, .epsilon = 0.01, .momentum = 0.5, .centered = true},
                   {{0.837044728238017, -1.83434017000294},
                    {0.660043060977142, -1.61597594292387},
                    {0.60754653296466, -1.42593193530896},
                    {0.636689187586975, -1.22952177916995},
                    {0.599427605163477, -1.06409415362747},
                    {0.472999256822982, -0.915275180715882},
                    {0.361813956418189, -0.766362095954306},
                    {0.358587823076188, -0.659998374471582},
                    {0.403121738945345, -0.534614721830806},
                    {0.375162167820818, -0.450792645721941}});
  check_trajectory(RmsProp{.step_size = 0.05, .decay = 0.9, .epsilon = 0.01, .placement = Epsilon::inside},
                   {{0.845452513934638, -1.84214828816163},
                    {0.758461270020306, -1.719477077743},
                    {0.788027394977956, -1.64535738901671},
                    {0.835125908455853, -1.55603708346766},
                    {0.775766301062823, -1.49250023529417},
                    {0.672292973899855, -1.42934394671178},
                    {0.623338287545367, -1.36192163045235},
                    {0.662661500537212, -1.31788274025013},
                    {0.696405084850643, -1.25187202035687},
                    {0.637579130880063, -1.21114285289469}});
  check_trajectory(Adam{.step_size = 0.05}, {{0.950000000341633, -1.95000000009117},
                                             {0.901397434225453, -1.89999412638837},
                                             {0.86841182021713, -1.85079198807145},
                                             {0.84932082459563, -1.80117007390834},
                                             {0.825106834582507, -1.75190612174882},
                                             {0.792880031678095, -1.7027611031433},
                                             {0.75867557676748, -1.65341157773628},
                                             {0.733366425160752, -1.60493790658196},
                                             {0.714920885851769, -1.5560543184079},
                                             {0.692151486295176, -1.50801216877868}});
  check_trajectory(Adam{.step_size = 0.05, .beta1 = 0.7, .beta2 = 0.95, .epsilon = 0.01, .weight_decay = 0.1},
                   {{0.950317751198928, -1.95008780404258},
                    {0.902817773157518, -1.89966882260189},
                    {0.873998404767688, -1.85113066318399},
                    {0.861444901173658, -1.80137785798081},
                    {0.838568215633447, -1.75275157551288},
                    {0.801208360791664, -1.7044691563396},
                    {0.762297710642803, -1.65550522606122},
                    {0.740121562803054, -1.60894575157236},
                    {0.729463082946652, -1.56073053435058},
                    {0.707161411624651, -1.51489068181604}});
  check_trajectory(Adam{.step_size = 0.05, .epsilon = 0.01, .placement = Epsilon::uncorrected},
                   {{0.958883870719455, -1.95272576005596},
                    {0.917630422315766, -1.90447732447016},
                    {0.889451620682136, -1.85679349937718},
                    {0.872866823213279, -1.80846323234053},
                    {0.851692273537003, -1.76037497769801},
                    {0.822926274321802, -1.71231330409285},
                    {0.792240623765981, -1.6639664389},
                    {0.769265623053601, -1.61643086755838},
                    {0.752249899323244, -1.56843091627913},
                    {0.731273409777051, -1.52121973522937}});
  check_trajectory(Adam{.step_size = 0.05, .epsilon = 0.01, .placement = Epsilon::inside},
                   {{0.950116306136582, -1.95000830917441},
                    {0.901668315505499, -1.90000906828253},
                    {0.868834246123827, -1.85081446996561},
                    {0.849848929257991, -1.80119970758314},
                    {0.825785431419355, -1.75194324933756},
                    {0.793718202717116, -1.70280592106508},
                    {0.759694954966775, -1.65346406401992},
                    {0.734527325376781, -1.60499834964774},
                    {0.716187520343469, -1.55612265474889},
                    {0.693554431013683, -1.50808858884714}});
  check_trajectory(AdamW{.step_size = 0.05, .epsilon = 1e-8, .weight_decay = 0.3},
                   {{0.935000000341633, -1.92000000009117},
                    {0.872415106125073, -1.84117877906265},
                    {0.826684432764868, -1.76447365582402},
                    {0.795857079040901, -1.68849816424164},
                    {0.760516897151519, -1.61415006635588},
                    {0.717538695777945, -1.54115040210702},
                    {0.673317797195317, -1.46910699764962},
                    {0.639123452081439, -1.39928773059852},
                    {0.612700096786702, -1.33015655147318},
                    {0.58243075633137, -1.26320854005749}});
}

TEST_CASE("Adam's first step has length step_size, whatever the gradient: the bias correction starts at t = 1",
          "[N12]") {
  const std::vector<double> gradient{1e-8, -3, 1e12, 0.5, -1e-3};
  std::vector<double> theta(gradient.size(), 0.0);
  auto state = Adam{.step_size = 0.125, .epsilon = 0}.start<double>(theta.size());
  state.step(theta, gradient, 1.0);
  for (std::size_t i = 0; i < theta.size(); ++i) CHECK(theta[i] == close(gradient[i] > 0 ? -0.125 : 0.125, 1e-14));
}

TEST_CASE("A factor scales the step; AdamW's decay with it") {
  const std::vector<double> gradient{1.0, -2.0};
  std::vector<double> a{1, 1}, b{1, 1}, c{1, 1};
  auto half = AdamW{.step_size = 0.1, .weight_decay = 0.5}.start<double>(2);
  auto small_steps = AdamW{.step_size = 0.05, .weight_decay = 0.5}.start<double>(2);
  auto none = AdamW{.step_size = 0.1, .weight_decay = 0.5}.start<double>(2);
  half.step(a, gradient, 0.5);
  small_steps.step(b, gradient, 1.0);
  none.step(c, gradient, 0.0);
  for (std::size_t i = 0; i < 2; ++i) CHECK(a[i] == close(b[i], 1e-15));
  CHECK(c == std::vector<double>{1, 1});
  CHECK(none.steps() == 1);
}

TEST_CASE("Each hyper-parameter of each optimizer has an effect") {
  const auto after = [](const auto& optimizer) {
    std::vector<double> theta{1.0, -2.0, 0.5};
    auto state = optimizer.template start<double>(3);
    for (int t = 0; t < 5; ++t) state.step(theta, std::vector<double>{0.1 + t, -0.2 * t, 0.7}, 1.0);
    return theta;
  };
  const auto sgd = after(Sgd{});
  CHECK(after(Sgd{.step_size = 0.02}) != sgd);
  CHECK(after(Sgd{.weight_decay = 0.02}) != sgd);
  const auto momentum = after(Momentum{});
  CHECK(after(Momentum{.step_size = 0.02}) != momentum);
  CHECK(after(Momentum{.momentum = 0.8}) != momentum);
  CHECK(after(Momentum{.dampening = 0.1}) != momentum);
  CHECK(after(Momentum{.weight_decay = 0.1}) != momentum);
  const auto nesterov = after(Nesterov{});
  CHECK(nesterov != momentum);
  CHECK(after(Nesterov{.step_size = 0.02}) != nesterov);
  CHECK(after(Nesterov{.momentum = 0.8}) != nesterov);
  CHECK(after(Nesterov{.weight_decay = 0.1}) != nesterov);
  const auto rms = after(RmsProp{});
  CHECK(after(RmsProp{.step_size = 0.02}) != rms);
  CHECK(after(RmsProp{.decay = 0.9}) != rms);
  CHECK(after(RmsProp{.epsilon = 1e-3}) != rms);
  CHECK(after(RmsProp{.momentum = 0.1}) != rms);
  CHECK(after(RmsProp{.centered = true}) != rms);
  CHECK(after(RmsProp{.weight_decay = 0.1}) != rms);
  CHECK(after(RmsProp{.placement = Epsilon::inside}) != rms);
  const auto adam = after(Adam{});
  CHECK(after(Adam{.step_size = 0.02}) != adam);
  CHECK(after(Adam{.beta1 = 0.8}) != adam);
  CHECK(after(Adam{.beta2 = 0.9}) != adam);
  CHECK(after(Adam{.epsilon = 1e-3}) != adam);
  CHECK(after(Adam{.weight_decay = 0.1}) != adam);
  CHECK(after(Adam{.placement = Epsilon::inside}) != adam);
  CHECK(after(Adam{.placement = Epsilon::uncorrected}) != adam);
  const auto adamw = after(AdamW{});
  CHECK(after(AdamW{.step_size = 0.02}) != adamw);
  CHECK(after(AdamW{.beta1 = 0.8}) != adamw);
  CHECK(after(AdamW{.beta2 = 0.9}) != adamw);
  CHECK(after(AdamW{.epsilon = 1e-3}) != adamw);
  CHECK(after(AdamW{.weight_decay = 0.1}) != adamw);
  CHECK(after(AdamW{.placement = Epsilon::inside}) != adamw);
  CHECK(after(AdamW{.weight_decay = 0}) == adam);
}

TEST_CASE("Optimizers in float follow those in double") {
  const auto run = [](const auto& optimizer) {
    std::vector<double> exact(37), g(37);
    std::vector<float> theta(37), gf(37);
    for (std::size_t i = 0; i < 37; ++i) theta[i] = float(std::cos(double(i))), exact[i] = double(theta[i]);
    auto state = optimizer.template start<double>(37);
    auto state_f = optimizer.template start<float>(37);
    for (int t = 0; t < 20; ++t) {
      for (std::size_t i = 0; i < 37; ++i) gf[i] = float(std::sin(0.7 * double(i) + t)), g[i] = double(gf[i]);
      state.step(exact, g, 0.5);
      state_f.step(theta, gf, 0.5);
    }
    for (std::size_t i = 0; i < 37; ++i) CHECK(double(theta[i]) == close(exact[i], 1e-5, 1e-5));
  };
  run(Sgd{.weight_decay = 0.1});
  run(Momentum{});
  run(Nesterov{});
  run(RmsProp{.momentum = 0.5, .centered = true});
  run(Adam{});
  run(AdamW{});
}

TEST_CASE("A copied optimizer state goes on as the original does, and its fields are listed") {
  std::vector<float> theta(20, 1.0f), other;
  const std::vector<float> gradient(20, 0.3f);
  auto state = AdamW{}.start<float>(20);
  for (int t = 0; t < 3; ++t) state.step(theta, gradient, 1.0);
  other = theta;
  auto copy = state;
  state.step(theta, gradient, 1.0);
  copy.step(other, gradient, 1.0);
  CHECK(theta == other);
  Count count;
  copy.archive(count);
  CHECK(count.fields == 3);
  CHECK(copy.steps() == 4);
}

TEST_CASE("Centered RMSProp stays finite on a gradient that never changes: its variance is zero, or less by rounding") {
  std::vector<float> theta(40, 0.0f), gradient(40);
  for (std::size_t i = 0; i < 40; ++i) gradient[i] = 0.1f + 0.037f * float(i);
  auto state = RmsProp{.decay = 0.9, .centered = true}.start<float>(40);
  for (int t = 0; t < 2000; ++t) state.step(theta, gradient, 1e-6);
  for (const float x : theta) CHECK(std::isfinite(x));
}

TEST_CASE("Moments of a gradient that has died become zero, never subnormal") {
  const auto run = [](const auto& optimizer) {
    std::vector<float> theta(20, 1.0f);
    auto state = optimizer.template start<float>(20);
    const std::vector<float> alive(20, 0.3f), dead(20, 0.0f);
    state.step(theta, alive, 1.0);
    AnySubnormal seen;
    for (int t = 0; t < 3000; ++t) {
      state.step(theta, dead, 1.0);
      if (t % 50 == 0) state.archive(seen);
    }
    CHECK(!seen.found);
    CHECK(seen.numbers > 0);
    for (const float x : theta) CHECK(std::isfinite(x));
  };
  run(Momentum{});
  run(Nesterov{});
  run(RmsProp{.decay = 0.9, .momentum = 0.5, .centered = true});
  run(Adam{.beta2 = 0.95});
  run(AdamW{.beta2 = 0.95});
}

TEST_CASE("An optimizer's step allocates nothing") {
  const auto run = [](const auto& optimizer) {
    std::vector<float> theta(100, 1.0f);
    const std::vector<float> gradient(100, 0.3f);
    auto state = optimizer.template start<float>(100);
    Allocations allocations;
    state.step(theta, gradient, 1.0);
    CHECK(allocations.count() == 0);
  };
  run(Sgd{});
  run(Momentum{});
  run(Nesterov{});
  run(RmsProp{.momentum = 0.5, .centered = true});
  run(Adam{});
  run(AdamW{});
}

TEST_CASE("Optimizers refuse bad hyper-parameters, sizes and factors before anything changes") {
  const double nan = std::nan("");
  CHECK(says(message_of([&] { Adam{.step_size = nan}.start<float>(1); }), "Adam", "step_size is nan"));
  CHECK(says(message_of([&] { Adam{.beta1 = 1}.start<float>(1); }), "beta1 is 1", "[0, 1)"));
  CHECK(says(message_of([&] { AdamW{.beta2 = -0.1}.start<float>(1); }), "AdamW", "beta2 is -0.1"));
  CHECK(says(message_of([&] { AdamW{.weight_decay = -1}.start<float>(1); }), "AdamW", "weight_decay is -1"));
  CHECK(says(message_of([&] { Adam{.epsilon = -1}.start<float>(1); }), "epsilon is -1"));
  CHECK(says(message_of([&] { Sgd{.step_size = -1}.start<float>(1); }), "Sgd", "step_size is -1"));
  CHECK(says(message_of([&] { Momentum{.momentum = 1.5}.start<float>(1); }), "Momentum", "momentum is 1.5"));
  CHECK(says(message_of([&] { Momentum{.dampening = 2}.start<float>(1); }), "dampening is 2"));
  CHECK(says(message_of([&] { Nesterov{.momentum = nan}.start<float>(1); }), "Nesterov", "momentum is nan"));
  CHECK(says(message_of([&] { RmsProp{.decay = 1}.start<float>(1); }), "RmsProp", "decay is 1"));
  std::vector<double> theta{1, 2}, gradient{1, 1, 1};
  auto state = Adam{}.start<double>(2);
  CHECK(says(message_of([&] { state.step(theta, gradient, 1.0); }), "gradient has 3", "expected 2"));
  CHECK(says(message_of([&] { state.step(gradient, theta, 1.0); }), "theta has 3"));
  gradient.pop_back();
  CHECK(says(message_of([&] { state.step(theta, gradient, nan); }), "factor is nan"));
  CHECK(theta == std::vector<double>{1, 2});
  CHECK(state.steps() == 0);
}

TEST_CASE("clip_global_norm scales to exactly the norm, and leaves shorter gradients alone") {
  std::vector<double> g{3, 4};
  CHECK(clip_global_norm(std::span(g), 10) == 5);
  CHECK(g == std::vector<double>{3, 4});
  CHECK(clip_global_norm(std::span(g), 1) == 5);
  CHECK(g[0] == close(0.6, 1e-15));
  CHECK(g[1] == close(0.8, 1e-15));
  std::vector<float> large(5000, 1e30f), tiny(5000, 1e-30f), zero(7, 0.0f);
  CHECK(clip_global_norm(std::span(large), 1) == close(double(1e30f) * std::sqrt(5000.0), 1e-12));
  CHECK(double(large[4999]) == close(1 / std::sqrt(5000.0), 1e-6));
  CHECK(clip_global_norm(std::span(tiny), 1) == close(double(1e-30f) * std::sqrt(5000.0), 1e-12));
  CHECK(clip_global_norm(std::span(zero), 1) == 0);
  std::vector<float> many(4321);
  double exact = 0;
  for (std::size_t i = 0; i < many.size(); ++i)
    many[i] = float(std::sin(double(i))), exact += double(many[i]) * double(many[i]);
  CHECK(global_norm(std::span<const float>(many)) == close(std::sqrt(exact), 1e-6));
}

TEST_CASE("clip_global_norm reports NaN and infinity wherever they stand, and changes nothing", "[N5]") {
  for (const double bad :
       {std::nan(""), std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()})
    for (std::size_t i = 0; i < 19; ++i) {
      std::vector<double> g(19, 2.0);
      g[i] = bad;
      CHECK(says(message_of([&] { clip_global_norm(std::span(g), 1); }), "clip_global_norm", "finite"));
      CHECK(g[(i + 1) % 19] == 2);
    }
  std::vector<double> g{1};
  CHECK(says(message_of([&] { clip_global_norm(std::span(g), 0); }), "max_norm is 0"));
  CHECK(says(message_of([&] { clip_global_norm(std::span(g), std::nan("")); }), "max_norm is nan"));
}

TEST_CASE("polyak_average moves by the rate, exactly at both ends", "[V20]") {
  std::vector<double> target{2}, online{4};
  polyak_average(std::span(target), std::span(online), 0.005);
  CHECK(target[0] == close(2.01, 1e-15));
  for (int t = 1; t < 1000; ++t) polyak_average(std::span(target), std::span(online), 0.005);
  CHECK(target[0] == close(4 - 2 * std::pow(0.995, 1000), 1e-13));
  std::vector<float> a(21, 0.1f), b(21, 0.7f);
  polyak_average(std::span(a), std::span(b), 0);
  CHECK(a == std::vector<float>(21, 0.1f));
  polyak_average(std::span(a), std::span(b), 1);
  CHECK(a == b);
  // Rate 1 / t: the mean of all iterates.
  std::vector<double> mean{123}, theta{0};
  for (int t = 1; t <= 9; ++t) theta[0] = t * t, polyak_average(std::span(mean), std::span(theta), 1.0 / t);
  CHECK(mean[0] == close(285.0 / 9, 1e-14));
  CHECK(says(message_of([&] { polyak_average(std::span(mean), std::span(theta), 1.5); }), "rate is 1.5"));
  CHECK(says(message_of([&] { polyak_average(std::span(mean), std::span(online).first(0), 0.5); }), "target has 1"));
}

TEST_CASE("Schedules pass through the points that define them") {
  CHECK(ConstantSchedule{0.3}(17) == 0.3);
  const LinearSchedule linear{.begin = 1, .end = 0.1, .steps = 10};
  CHECK(linear(0) == 1);
  CHECK(linear(5) == close(0.55, 1e-15));
  CHECK(linear(10) == 0.1);
  CHECK(linear(1000) == 0.1);
  const CosineSchedule cosine{.begin = 2, .end = 1, .steps = 8};
  CHECK(cosine(0) == 2);
  CHECK(cosine(2) == close(1.5 + 0.5 * std::sqrt(0.5), 1e-15));
  CHECK(cosine(4) == close(1.5, 1e-15));
  CHECK(cosine(8) == 1);
  CHECK(cosine(9) == 1);
  const WarmUp warm{4, cosine};
  CHECK(warm(0) == 0.5);
  CHECK(warm(3) == 2);
  CHECK(warm(4) == 2);
  CHECK(warm(8) == close(1.5, 1e-15));
  CHECK(WarmUp{0}(0) == 1);
  CHECK(LinearSchedule{.begin = 1, .end = 0.5, .steps = 0}(0) == 0.5);
  CHECK(says(message_of([&] { linear(-1); }), "LinearSchedule", "step is -1"));
  CHECK(says(message_of([&] { warm(-1); }), "WarmUp", "step is -1"));
  CHECK(says(message_of([&] { CosineSchedule{.steps = -1}(0); }), "steps is -1"));
}

TEST_CASE("Schedules do not freeze at large step counts", "[N11]") {
  const LinearSchedule schedule{.begin = 1, .end = 0, .steps = std::int64_t{1} << 54};
  const auto at = [&](int power, int more) { return schedule((std::int64_t{1} << power) + more); };
  CHECK(at(24, 0) == close(1 - std::ldexp(1, -30), 1e-16));
  CHECK(at(31, 0) == 1 - std::ldexp(1, -23));
  CHECK(at(53, 0) == 0.5);
  const LinearSchedule shorter{.begin = 1, .end = 0, .steps = std::int64_t{1} << 25};
  CHECK(shorter((1 << 24) + 1) == 0.5 - std::ldexp(1, -25));
  CHECK(shorter(1 << 24) == 0.5);
  // Two million steps of a float optimizer still count.
  auto state = Sgd{}.start<float>(1);
  std::vector<float> theta{0}, gradient{0};
  static_assert(std::same_as<decltype(state.steps()), std::int64_t>);
  for (int i = 0; i < (1 << 24) + 2; i += 1 << 20) state.step(theta, gradient, 1.0);
  CHECK(state.steps() == 17);
}
