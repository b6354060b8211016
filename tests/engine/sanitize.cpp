// Runs the kernels over many sizes under a sanitizer, which ends the program with an error where it finds one:
//
//     .ci/sanitize
//
// compiles and runs it. Every array has exactly the size that the interface asks for.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "problem.hpp"

#define DECLARE(suffix, T)                                                                                             \
    extern "C" void* lsnn_prepare_##suffix(const T*, int64_t, int64_t, int64_t, int64_t);                              \
    extern "C" void lsnn_release_##suffix(void*);                                                                      \
    extern "C" int lsnn_forward_##suffix(const lsnn::Problem<T>*, const void*, const lsnn::State<const T>*,            \
                                         const lsnn::State<T>*, T*, const lsnn::Tape<T>*);                             \
    extern "C" int lsnn_backward_##suffix(const lsnn::Problem<T>*, const void*, const lsnn::Tape<T>*,                  \
                                          const lsnn::Gradients<T>*);                                                  \
    extern "C" void* lsnn_begin_##suffix(const lsnn::Problem<T>*, const void*, const lsnn::State<const T>*);           \
    extern "C" void lsnn_step_##suffix(void*, const T*, const T*, const uint8_t*, T*);                                 \
    extern "C" void lsnn_write_##suffix(void*, const lsnn::State<T>*);                                                 \
    extern "C" void lsnn_finish_##suffix(void*);                                                                       \
    static void act(const lsnn::Problem<T>& p, const void* w, const lsnn::State<const T>& before,                      \
                    const lsnn::State<T>& after, T* spikes) {                                                          \
        void* session = lsnn_begin_##suffix(&p, w, &before);                                                           \
        if (!session) std::abort();                                                                                    \
        for (int64_t t = 0; t < p.steps; ++t)                                                                          \
            lsnn_step_##suffix(session, p.x + t * p.batch * p.inputs,                                                  \
                               p.noise ? p.noise + t * p.batch * p.neurons : nullptr,                                  \
                               p.reset ? p.reset + t * p.batch : nullptr, spikes + t * p.batch * p.neurons);           \
        lsnn_write_##suffix(session, &after);                                                                          \
        lsnn_finish_##suffix(session);                                                                                 \
    }                                                                                                                  \
    static void* prepare(const T* w, int64_t i, int64_t n, int64_t d, int64_t l) {                                     \
        return lsnn_prepare_##suffix(w, i, n, d, l);                                                                   \
    }                                                                                                                  \
    static void release(T, void* w) { lsnn_release_##suffix(w); }                                                      \
    static int forward(const lsnn::Problem<T>* p, const void* w, const lsnn::State<const T>* b,                        \
                       const lsnn::State<T>* a, T* s, const lsnn::Tape<T>* t) {                                        \
        return lsnn_forward_##suffix(p, w, b, a, s, t);                                                                \
    }                                                                                                                  \
    static int backward(const lsnn::Problem<T>* p, const void* w, const lsnn::Tape<T>* t, const lsnn::Gradients<T>* g) { \
        return lsnn_backward_##suffix(p, w, t, g);                                                                     \
    }

DECLARE(float, float)
DECLARE(double, double)
extern "C" int lsnn_choose_isa(int);
extern "C" void lsnn_plan(int64_t, int64_t, int64_t, int64_t, int64_t, lsnn::Plan*);

// Memory as tensors have it: the start of a cache line, and not a number more than asked for.
template <class T>
struct Array {
    T* data;
    size_t size;
    explicit Array(size_t count) : data(nullptr), size(count) {
        if (posix_memalign(reinterpret_cast<void**>(&data), 64, count * sizeof(T) + 1)) std::abort();
    }
    Array(const Array&) = delete;
    ~Array() { std::free(data); }
    template <class Draw>
    Array& fill(Draw draw) {
        for (size_t i = 0; i < size; ++i) data[i] = static_cast<T>(draw());
        return *this;
    }
};

template <class T>
struct StateArrays {
    Array<T> voltage, spikes, adaptation, refractory, currents;
    StateArrays(size_t batch, size_t neurons, size_t delays)
        : voltage(batch * neurons), spikes(batch * neurons), adaptation(batch * neurons), refractory(batch * neurons),
          currents(batch * delays * neurons) {}
    template <class S>
    lsnn::State<S> view() {
        return {voltage.data, spikes.data, adaptation.data, refractory.data, currents.data};
    }
};

template <class T>
static double run_once(std::mt19937& random, int64_t steps, int64_t batch, int64_t inputs, int64_t neurons, int64_t delays,
                       double connectivity, bool plain, int model) {
    std::uniform_real_distribution<double> uniform(0, 1);
    auto unit = [&] { return uniform(random); };
    auto any = [&] { return uniform(random) - 0.5; };
    Array<T> alpha(neurons), rho(neurons), threshold(neurons), beta(neurons), period(neurons);
    alpha.fill([&] { return 0.6 + 0.3 * unit(); });
    rho.fill([&] { return 0.8 + 0.1 * unit(); });
    threshold.fill([&] { return 0.2 + 0.2 * unit(); });
    beta.fill(unit);
    period.fill([&] { return std::floor(3 * unit()); });
    Array<T> weight(delays * neurons * (inputs + neurons));
    weight.fill([&] { return unit() < connectivity ? any() : 0; });
    Array<T> x(steps * batch * inputs), noise(steps * batch * neurons);
    x.fill([&] { return unit() < 0.3 ? (plain ? 1 : unit()) : 0; });
    noise.fill(any);
    Array<uint8_t> reset(steps * batch);
    reset.fill([&] { return unit() < 0.1; });
    StateArrays<T> before(batch, neurons, delays), after(batch, neurons, delays), by_after(batch, neurons, delays),
        by_before(batch, neurons, delays);
    for (Array<T>* each : {&before.voltage, &before.adaptation, &before.currents, &by_after.voltage, &by_after.spikes,
                           &by_after.adaptation, &by_after.currents})
        each->fill(any);
    before.spikes.fill([&] { return unit() < 0.2; });
    before.refractory.fill([&] { return std::floor(3 * unit()); });

    lsnn::Plan plan;
    lsnn_plan(steps, batch, inputs, neurons, 3, &plan);
    const int64_t blocks = plan.blocks, length = lsnn::segment_steps(neurons, plan.lanes), segments = (steps + length - 1) / length;
    Array<T> voltage(blocks * (steps * neurons * ((batch + blocks - 1) / blocks) + plan.lanes));
    Array<T> adaptation(blocks * segments * neurons * plan.lanes);
    Array<uint16_t> spikes(blocks * steps * neurons), blocked(blocks * steps * neurons), active(blocks * steps * inputs);
    Array<uint8_t> flags(blocks * steps);
    Array<T> out(steps * batch * neurons), by_spikes(steps * batch * neurons), by_weight(weight.size), by_noise(noise.size),
        by_input(x.size);
    by_spikes.fill(any);

    const lsnn::Problem<T> problem = {plan, steps, batch, inputs, neurons, delays, model & 1, model >> 1 & 1, model % 3, model >> 3 & 1,
                                      model >> 4 & 1, model >> 2 & 1, 1.0, 0.3, alpha.data, rho.data, threshold.data,
                                      beta.data, period.data, x.data, model & 1 ? noise.data : nullptr, model & 2 ? reset.data : nullptr};
    void* weights = prepare(weight.data, inputs, neurons, delays, plan.lanes);
    const lsnn::State<const T> start = before.template view<const T>();
    const lsnn::State<T> end = after.template view<T>();
    const lsnn::Tape<T> tape = {voltage.data, adaptation.data, spikes.data, blocked.data, active.data, flags.data};
    lsnn::Gradients<T> gradients = {by_spikes.data, by_after.template view<const T>(), by_weight.data, by_noise.data,
                                    by_input.data, by_before.template view<T>(), model >> 1 & 1, nullptr};
    if (forward(&problem, weights, &start, &end, out.data, &tape) || backward(&problem, weights, &tape, &gradients)) std::abort();
    Array<int32_t> delay(neurons * (inputs + neurons));
    delay.fill([&] { return std::floor(delays * unit()); });
    Array<T> where_asked(weight.size);
    gradients.by_weight = where_asked.data, gradients.delay = delay.data;
    if (backward(&problem, weights, &tape, &gradients)) std::abort();
    // Without the inputs' part, which is left to the caller, if it is.
    const int64_t pres = inputs + neurons, first = gradients.skips_input_weights ? inputs : 0;
    for (int64_t i = 0; i < neurons; ++i)
        for (int64_t j = first; j < pres; ++j) {
            const int64_t at = (delay.data[i * pres + j] * neurons + i) * pres + j;
            if (std::abs(where_asked.data[at] - by_weight.data[at]) > 1e-3 * (1 + std::abs(by_weight.data[at]))) std::abort();
        }
    Array<T> again(steps * batch * neurons);
    act(problem, weights, start, end, again.data);
    for (size_t i = 0; i < out.size; ++i)
        if (again.data[i] != out.data[i]) std::abort();
    release(T{}, weights);
    double sum = 0;
    for (size_t i = 0; i < by_weight.size; ++i) sum += by_weight.data[i];
    for (size_t i = 0; i < out.size; ++i) sum += out.data[i];
    return sum;
}

int main() {
    int cases = 0;
    for (int isa = 0; isa < 3; ++isa) {
        if (lsnn_choose_isa(isa) != isa) continue;
        std::mt19937 random(isa);
        for (int number = 0; number < 60; ++number) {
            auto draw = [&](int64_t most) { return static_cast<int64_t>(1 + random() % most); };
            const int64_t steps = draw(40), batch = draw(50), inputs = draw(40), neurons = draw(60), delays = draw(4);
            const double connectivity = number % 3 ? 0.2 : 1.0;
            for (double sum : {run_once<float>(random, steps, batch, inputs, neurons, delays, connectivity, number % 2, number),
                               run_once<double>(random, steps, batch, inputs, neurons, delays, connectivity, number % 2, number)})
                if (!std::isfinite(sum)) return std::printf("case %d: the result is not finite\n", number), 1;
            ++cases;
        }
        // Enough work for threads, and for results that go past the caches.
        run_once<float>(random, 400, 64, 30, 150, 1, 0.2, true, 1);
        run_once<float>(random, 300, 64, 30, 100, 2, 1.0, false, 3);
    }
    std::printf("%d cases\n", cases);
    return cases ? 0 : 1;
}
