// The kernels of layered.hpp on sizes that fill no vector and no chunk, with several threads: run under a sanitizer by
// .ci/sanitize. Arrays are exactly as large as they have to be, so that any step beyond them is found.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "layered.hpp"

extern "C" {
int lsnn_choose_isa(int wanted);
int layered_tssl_run_float(const layered::Size*, const layered::TsslConstants*, const layered::TsslRun<float>*, int64_t);
int layered_tssl_errors_float(const layered::Size*, const layered::TsslConstants*, const layered::TsslErrors<float>*, int64_t);
int layered_window_sums_float(const layered::Windows*, const float*, float*, int64_t);
int layered_window_errors_float(const layered::Windows*, const float*, float*, int64_t);
int layered_antlr_run_float(const layered::Size*, const layered::AntlrConstants*, const layered::AntlrRun<float>*, int64_t);
int layered_antlr_errors_float(const layered::Size*, const layered::AntlrConstants*, const layered::AntlrErrors<float>*,
                               int64_t);
int layered_antlr_dense_run_float(const layered::DenseSize*, const layered::AntlrConstants*,
                                  const layered::AntlrDenseRun<float>*, int64_t);
int layered_antlr_dense_errors_float(const layered::DenseSize*, const layered::AntlrConstants*,
                                     const layered::AntlrDenseErrors<float>*, int64_t);
int layered_antlr_dense_delays_float(const layered::DenseSize*, const layered::AntlrConstants*,
                                     const layered::AntlrDenseDelays<float>*, int64_t);
}

namespace {

std::vector<float> drawn(int64_t count) {
    static uint32_t state = 1;
    std::vector<float> found(count);
    for (float& each : found) {
        state = state * 1664525u + 1013904223u;
        each = static_cast<float>(state >> 8) / (1 << 23) - 0.6f;
    }
    return found;
}

// Of all steps, and of one that comes with gains; by both rules.
int tssl(int64_t steps, int64_t lanes, int64_t threads) {
    const layered::Size size{steps, lanes};
    std::vector<float> by_trace = drawn(steps * lanes), gains = drawn(steps), spikes(steps * lanes), trace(steps * lanes);
    int failed = 0;
    for (double surrogate : {0.0, 1.0}) {
        const layered::TsslConstants constants{5, 3, 0.3, 0.2, 8, 8, surrogate, 1};
        for (bool once : {false, true}) {
            std::vector<float> values = drawn(once ? lanes : steps * lanes), error(values.size());
            const layered::Drive<float> drive{values.data(), once ? gains.data() : nullptr};
            const layered::TsslRun<float> run{drive, spikes.data(), trace.data()};
            const layered::TsslErrors<float> errors{drive, by_trace.data(), error.data()};
            failed |= layered_tssl_run_float(&size, &constants, &run, threads);
            failed |= layered_tssl_errors_float(&size, &constants, &errors, threads);
        }
    }
    return failed;
}

int windows(int64_t images, int64_t height, int64_t width, int64_t side, int64_t threads) {
    const layered::Windows given{images, height, width, side, 1.1};
    std::vector<float> values = drawn(images * height * width), sums(images * (height / side) * (width / side));
    const int failed = layered_window_sums_float(&given, values.data(), sums.data(), threads);
    return failed | layered_window_errors_float(&given, sums.data(), values.data(), threads);
}

int antlr(int64_t steps, int64_t batch, int64_t neurons, int64_t threads) {
    const int64_t lanes = batch * neurons;
    const layered::Size size{steps, lanes};
    const layered::AntlrConstants constants{0.9, 0.8, 1, 1, 1, 0.01, 1, 1, 3};
    std::vector<float> drive = drawn(steps * lanes), bias = drawn(neurons), by_spike = drawn(steps * lanes),
                       by_time = drawn(steps * lanes);
    std::vector<float> state[3], parts[4], found[2], by_bias(lanes);
    for (auto& each : state) each.assign(lanes, 0);
    for (auto& each : parts) each.resize(steps * lanes);
    for (auto& each : found) each.resize(steps * lanes);
    const layered::AntlrRun<float> run{drive.data(),    bias.data(),     neurons,         state[0].data(), state[1].data(),
                                       state[2].data(), parts[0].data(), parts[1].data(), parts[2].data(), parts[3].data()};
    int failed = layered_antlr_run_float(&size, &constants, &run, threads);
    for (int both = 0; both < 2; ++both) {
        const layered::AntlrErrors<float> errors{parts[1].data(),
                                                 parts[2].data(),
                                                 parts[3].data(),
                                                 both ? by_spike.data() : nullptr,
                                                 both ? by_time.data() : nullptr,
                                                 found[0].data(),
                                                 by_bias.data(),
                                                 both ? found[1].data() : nullptr};
        failed |= layered_antlr_errors_float(&size, &constants, &errors, threads);
    }
    return failed;
}

// In two pieces, all values of a sample side by side.
int antlr_dense(int64_t steps, int64_t batch, int64_t inputs, int64_t neurons, int64_t threads) {
    const layered::AntlrConstants constants{0.9, 0.8, 1, 1, 1, 0.01, 1, 1, 3};
    const int64_t at_once = batch * neurons, all = steps * at_once;
    std::vector<float> values = drawn(steps * batch * inputs), weight = drawn(inputs * neurons), bias = drawn(neurons);
    for (float& each : values) each = each < 0.6f ? 0.0f : each;
    std::vector<float> state[3], voltage(all), spikes(all);
    for (auto& each : state) each.assign(at_once, 0);
    const layered::Trains<float> came{values.data(), inputs, steps * inputs};
    int failed = 0;
    for (int64_t from : {int64_t(0), steps / 2}) {
        const int64_t to = from ? steps : steps / 2;
        const layered::DenseSize piece{to - from, batch, inputs, neurons};
        const layered::AntlrDenseRun<float> run{{values.data() + from * inputs, came.step, came.sample},
                                                weight.data(),
                                                bias.data(),
                                                state[0].data(),
                                                state[1].data(),
                                                state[2].data(),
                                                voltage.data() + from * neurons,
                                                spikes.data() + from * neurons,
                                                steps * neurons};
        failed |= layered_antlr_dense_run_float(&piece, &constants, &run, threads);
    }
    const layered::DenseSize size{steps, batch, inputs, neurons};
    std::vector<float> by_spike = drawn(all), by_time = drawn(all), by_weight(inputs * neurons), by_bias(neurons), by_current(all),
                       delayed(all), by_timing(steps * batch * inputs);
    for (int wanted = 0; wanted < 2; ++wanted) {
        const layered::AntlrDenseErrors<float> errors{came,
                                                      {wanted ? by_spike.data() : nullptr, at_once, neurons},
                                                      {wanted ? by_time.data() : nullptr, at_once, neurons},
                                                      voltage.data(),
                                                      steps * neurons,
                                                      wanted ? by_weight.data() : nullptr,
                                                      by_bias.data(),
                                                      wanted ? by_current.data() : nullptr,
                                                      wanted ? delayed.data() : nullptr};
        failed |= layered_antlr_dense_errors_float(&size, &constants, &errors, threads);
    }
    const layered::AntlrDenseDelays<float> delays{came, weight.data(), delayed.data(), by_timing.data()};
    return failed | layered_antlr_dense_delays_float(&size, &constants, &delays, threads);
}

}  // namespace

int main() {
    int failed = 0;
    for (int isa = 0; isa <= 2; ++isa) {
        if (lsnn_choose_isa(isa) != isa) continue;
        for (int64_t threads : {1, 3, 5}) {
            for (int64_t lanes : {0, 1, 7, 513, 20011}) failed |= tssl(6, lanes, threads);
            failed |= tssl(0, 5, threads) | tssl(301, 131, threads);
            failed |= windows(7, 6, 8, 2, threads) | windows(601, 10, 17, 3, threads) | windows(1, 3, 1, 1, threads);
            failed |= antlr(6, 3, 701, threads) | antlr(9, 7, 5003, threads) | antlr(1, 1, 1, threads);
            for (int64_t neurons : {1, 10, 64, 531, 1100}) failed |= antlr_dense(7, 3, 130, neurons, threads);
            failed |= antlr_dense(2, 1, 1, 1, threads);
        }
    }
    std::puts(failed ? "a layered kernel gave up" : "layered kernels are sane");
    return failed;
}
