// The kernels of layered.hpp on sizes that fill no vector and no chunk, with several threads: run under a sanitizer by
// .ci/sanitize. Arrays are exactly as large as they have to be, so that any step beyond them is found.
#include <cstdint>
#include <cstdio>
#include <vector>

#include "layered.hpp"

extern "C" {
int lsnn_choose_isa(int wanted);
void layered_tssl_run_float(const layered::Size*, const layered::TsslConstants*, const float*, const layered::TsslRecord<float>*,
                            int64_t);
void layered_tssl_errors_float(const layered::Size*, const layered::TsslConstants*, const layered::TsslRecord<float>*,
                               const float*, float*, int64_t);
void layered_antlr_run_float(const layered::Size*, const layered::AntlrConstants*, const layered::AntlrRun<float>*, int64_t);
void layered_antlr_errors_float(const layered::Size*, const layered::AntlrConstants*, const layered::AntlrErrors<float>*,
                                int64_t);
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

void tssl(int64_t steps, int64_t lanes, int64_t threads) {
    const layered::Size size{steps, lanes};
    const layered::TsslConstants constants{5, 3, 0.3, 0.2, 8, 8};
    std::vector<float> drive = drawn(steps * lanes), by_trace = drawn(steps * lanes), error(steps * lanes);
    std::vector<float> parts[4];
    for (auto& each : parts) each.resize(steps * lanes);
    const layered::TsslRecord<float> record{parts[0].data(), parts[1].data(), parts[2].data(), parts[3].data()};
    layered_tssl_run_float(&size, &constants, drive.data(), &record, threads);
    layered_tssl_errors_float(&size, &constants, &record, by_trace.data(), error.data(), threads);
}

void antlr(int64_t steps, int64_t batch, int64_t neurons, int64_t threads) {
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
    layered_antlr_run_float(&size, &constants, &run, threads);
    for (int both = 0; both < 2; ++both) {
        const layered::AntlrErrors<float> errors{parts[1].data(),
                                                 parts[2].data(),
                                                 parts[3].data(),
                                                 both ? by_spike.data() : nullptr,
                                                 both ? by_time.data() : nullptr,
                                                 found[0].data(),
                                                 by_bias.data(),
                                                 both ? found[1].data() : nullptr};
        layered_antlr_errors_float(&size, &constants, &errors, threads);
    }
}

}  // namespace

int main() {
    for (int isa = 0; isa <= 2; ++isa) {
        if (lsnn_choose_isa(isa) != isa) continue;
        for (int64_t threads : {1, 3, 5}) {
            for (int64_t lanes : {0, 1, 7, 513, 20011}) tssl(6, lanes, threads);
            tssl(0, 5, threads);
            antlr(6, 3, 701, threads);
            antlr(9, 7, 5003, threads);
            antlr(1, 1, 1, threads);
        }
    }
    std::puts("layered kernels are sane");
    return 0;
}
