// Runs the kernels of trains.hpp over many sizes under a sanitizer; see sanitize.cpp. Every array has exactly the size
// that the interface asks for.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "trains.hpp"

#define DECLARE(suffix, T)                                                                                         \
    extern "C" int trains_pack_##suffix(const trains::Fired<T>*, int64_t, int64_t, int64_t, uint8_t*, int64_t);    \
    extern "C" int trains_forward_##suffix(const trains::Layer<T>*, const trains::Fired<T>*, int64_t);             \
    extern "C" int trains_responses_##suffix(const trains::Layer<T>*, const uint64_t*, T*, int64_t);               \
    extern "C" int trains_sums_##suffix(const trains::Layer<T>*, const trains::Sums<T>*, int64_t);                 \
    extern "C" int trains_within_##suffix(const trains::Layer<T>*, const uint64_t*, T*, int64_t);                  \
    extern "C" int trains_shared_forward_##suffix(const trains::Shared<T>*, const trains::Fired<T>*, int64_t);     \
    extern "C" int trains_shared_sums_##suffix(const trains::Shared<T>*, const trains::SharedSums<T>*, int64_t);   \
    static int pack(const trains::Fired<T>* f, int64_t t, int64_t b, int64_t n, uint8_t* s, int64_t k) {           \
        return trains_pack_##suffix(f, t, b, n, s, k);                                                             \
    }                                                                                                              \
    static int forward(const trains::Layer<T>* l, const trains::Fired<T>* f, int64_t k) {                          \
        return trains_forward_##suffix(l, f, k);                                                                   \
    }                                                                                                              \
    static int responses(const trains::Layer<T>* l, const uint64_t* f, T* h, int64_t k) {                          \
        return trains_responses_##suffix(l, f, h, k);                                                              \
    }                                                                                                              \
    static int sums(const trains::Layer<T>* l, const trains::Sums<T>* s, int64_t k) {                              \
        return trains_sums_##suffix(l, s, k);                                                                      \
    }                                                                                                              \
    static int within(const trains::Layer<T>* l, const uint64_t* f, T* e, int64_t k) {                             \
        return trains_within_##suffix(l, f, e, k);                                                                 \
    }                                                                                                              \
    static int shared_forward(const trains::Shared<T>* l, const trains::Fired<T>* f, int64_t k) {                  \
        return trains_shared_forward_##suffix(l, f, k);                                                            \
    }                                                                                                              \
    static int shared_sums(const trains::Shared<T>* l, const trains::SharedSums<T>* s, int64_t k) {                \
        return trains_shared_sums_##suffix(l, s, k);                                                               \
    }

DECLARE(float, float)
DECLARE(double, double)
extern "C" int trains_solve_double(int64_t, int64_t, const int64_t*, const int64_t*, const double*, const double*, const double*,
                            double, double*, uint8_t*, int64_t);
extern "C" int lsnn_choose_isa(int);

static std::mt19937 generator(0);
static double uniform() { return std::uniform_real_distribution<double>()(generator); }

// Trains as numbers and as bits.
template <class T>
struct Trains {
    std::vector<T> spikes, counts;
    std::vector<uint64_t> bits;
    trains::Fired<T> fired;

    Trains(int64_t steps, int64_t batch, int64_t neurons)
        : spikes(steps * batch * neurons), counts(batch * neurons), bits(batch * steps * ((neurons + 63) / 64)),
          fired{spikes.data(), bits.data(), counts.data()} {}
};

template <class T>
static void run(int64_t steps, int64_t batch, int64_t inputs, int64_t neurons, int64_t period, int64_t threads) {
    Trains<T> below(steps, batch, inputs), own(steps, batch, neurons);
    std::vector<T> weight(inputs * neurons);
    for (T& each : below.spikes) each = uniform() < 0.2;
    for (T& each : weight) each = static_cast<T>(uniform() - 0.2);
    std::vector<int64_t> first(1, 0), post;
    for (int64_t p = 0; p < neurons; ++p) {
        for (int64_t o = 0; o < neurons; ++o)
            if (uniform() < 0.3) post.push_back(o);
        first.push_back(static_cast<int64_t>(post.size()));
    }
    std::vector<T> strength(post.size());
    for (T& each : strength) each = static_cast<T>(uniform() - 0.5);
    std::vector<uint8_t> are_spikes(batch);
    if (pack(&below.fired, steps, batch, inputs, are_spikes.data(), threads) || !are_spikes[0]) std::abort();
    trains::Layer<T> layer = {steps,   batch, inputs, neurons,           period,  1 - 1 / 64.0,  1 - 1 / 8.0,  8.0,
                              0.5,     below.bits.data(),  nullptr,      weight.data(), nullptr, nullptr,      nullptr};
    std::vector<T> found(batch * steps * neurons), psp(batch * post.size());
    std::vector<T> factor(batch * neurons), by_weight(inputs * neurons), by_below((neurons + 63) / 64 * batch * inputs);
    for (T& each : factor) each = static_cast<T>(uniform());
    const trains::Sums<T> wanted = {own.bits.data(), factor.data(),    factor.data(),   factor.data(),
                                    0.5,             by_weight.data(), by_below.data()};
    for (int round = 0; round < 4; ++round) {  // received as bits and as numbers, without synapses within and with them
        layer.bits = round % 2 ? nullptr : below.bits.data();
        layer.values = round % 2 ? below.spikes.data() : nullptr;
        if (round == 2) layer.first = first.data(), layer.post = post.data(), layer.within = strength.data();
        if (forward(&layer, &own.fired, threads) || sums(&layer, &wanted, threads)) std::abort();
        const std::vector<uint64_t> bits = own.bits;
        if (pack(&own.fired, steps, batch, neurons, are_spikes.data(), threads) || bits != own.bits) std::abort();
    }
    if (responses(&layer, own.bits.data(), found.data(), threads) || within(&layer, own.bits.data(), psp.data(), threads))
        std::abort();
    std::vector<double> divisor(batch * neurons, 1.0), others(batch * post.size(), 0.01), right(batch * neurons, 1.0);
    std::vector<double> solution(batch * neurons);
    std::vector<uint8_t> solved(batch);
    if (trains_solve_double(batch, neurons, first.data(), post.data(), divisor.data(), others.data(), right.data(), 1e-12,
                     solution.data(), solved.data(), threads))
        std::abort();
    for (const T each : by_below)
        if (!std::isfinite(each)) std::abort();
}

// Places of `width` neurons that share `rows` rows of weights, each input with links to some of them.
template <class T>
static void run_shared(int64_t steps, int64_t batch, int64_t inputs, int64_t places, int64_t width, int64_t period,
                       int64_t threads) {
    const int64_t vector = 64 / sizeof(T), lanes = width == 1 ? 1 : (width + vector - 1) / vector * vector, rows = 7;
    const int64_t neurons = places * width;
    Trains<T> own(steps, batch, neurons);
    std::vector<T> values(steps * batch * inputs), weight(rows * lanes, 0);
    for (T& each : values) each = uniform() < 0.2;
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t j = 0; j < width; ++j) weight[r * lanes + j] = static_cast<T>(uniform() - 0.2);
    std::vector<int64_t> first(1, 0);
    std::vector<int32_t> place, row;
    for (int64_t i = 0; i < inputs; ++i) {
        for (int64_t p = 0; p < places; ++p) {
            if (uniform() < 0.5) continue;
            place.push_back(static_cast<int32_t>(p));
            row.push_back(static_cast<int32_t>(uniform() * rows));
        }
        first.push_back(static_cast<int64_t>(place.size()));
    }
    std::vector<int64_t> place_first(1, 0);
    std::vector<int32_t> input, input_row;
    for (int64_t p = 0; p < places; ++p) {
        for (int64_t i = 0; i < inputs; ++i) {
            for (int64_t k = first[i]; k < first[i + 1]; ++k) {
                if (place[k] != p) continue;
                input.push_back(static_cast<int32_t>(i));
                input_row.push_back(row[k]);
            }
        }
        place_first.push_back(static_cast<int64_t>(input.size()));
    }
    // Even a threshold that silent neurons pass must not let those fire that only fill a vector.
    const double bound = period == 30 ? -1 : 0.5;
    const trains::Layer<T> layer = {steps, batch,   inputs,        neurons,       period,  1 - 1 / 64.0, 1 - 1 / 8.0, 8.0,
                                    bound, nullptr, values.data(), weight.data(), nullptr, nullptr,      nullptr};
    const trains::Shared<T> shared = {layer,        64.0,         places,     width,
                                      lanes,        rows,         first.data(), place.data(),
                                      row.data(),   place_first.data(), input.data(), input_row.data()};
    if (shared_forward(&shared, &own.fired, threads)) std::abort();
    std::vector<T> factor(batch * neurons), by_weight(batch * rows * lanes), below(batch * inputs);
    std::vector<uint8_t> are_spikes(batch);
    for (T& each : factor) each = static_cast<T>(uniform());
    for (const double rate : {0.0, 0.3}) {  // as they fired, and in each other's refractory periods too
        for (T& each : own.spikes) each = each != 0 || uniform() < rate;
        const std::vector<uint64_t> bits = own.bits;
        if (pack(&own.fired, steps, batch, neurons, are_spikes.data(), threads)) std::abort();
        if (rate == 0 && bits != own.bits) std::abort();
        for (const int64_t furthest : {int64_t(-1), steps - 1, std::min<int64_t>(steps - 1, 3)}) {
            const trains::SharedSums<T> sums = {own.bits.data(), furthest,         factor.data(),
                                                factor.data(),   by_weight.data(), below.data()};
            if (shared_sums(&shared, &sums, threads)) std::abort();
            for (const T each : below)
                if (!std::isfinite(each)) std::abort();
        }
    }
}

int main() {
    int runs = 0;
    for (int isa = lsnn_choose_isa(-1); isa >= 0; --isa) {
        lsnn_choose_isa(isa);
        for (const int64_t steps : {1, 2, 17})
            for (const int64_t batch : {1, 3})
                for (const int64_t inputs : {1, 15, 40})
                    for (const int64_t neurons : {1, 10, 32, 64, 71})
                        for (const int64_t period : {0, 2, 30}) {
                            run<float>(steps, batch, inputs, neurons, period, 3);
                            run<double>(steps, batch, inputs, neurons, period, 1);
                            runs += 2;
                            if (neurons > 10) continue;
                            for (const int64_t width : {1, 3, 16, 70}) {
                                run_shared<float>(steps, batch, inputs, neurons, width, period, 3);
                                run_shared<double>(steps, batch, inputs, neurons, width, period, 1);
                                runs += 2;
                            }
                        }
    }
    std::printf("%d runs of the kernels for spike trains\n", runs);
}
