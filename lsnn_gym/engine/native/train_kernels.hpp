// The kernels of trains.hpp. Loops over neurons are what the compiler turns into vectors.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "trains.hpp"

#if !defined(LSNN_ISA)
#error "include this through one of trains_*.cpp, which say for which processor"
#endif

namespace trains {
namespace LSNN_ISA {
namespace {

// Call f with the places of what is not 0 in `row`; eight at a time are passed over where all are.
template <class T, class F>
inline void each_active(const T* row, int64_t count, F f) {
    int64_t i = 0;
    for (; i + 8 <= count; i += 8) {
        bool any = false;
        for (int64_t k = 0; k < 8; ++k) any |= row[i + k] != 0;
        if (!any) continue;
        for (int64_t k = 0; k < 8; ++k)
            if (row[i + k] != 0) f(i + k);
    }
    for (; i < count; ++i)
        if (row[i] != 0) f(i);
}

// sum += scale_k * row_k, over all k in order.
template <class T>
inline void add_rows(T* __restrict sum, const std::vector<const T*>& rows, const std::vector<T>& scales, int64_t count) {
    size_t k = 0;
    for (; k + 4 <= rows.size(); k += 4) {
        const T *a = rows[k], *b = rows[k + 1], *c = rows[k + 2], *d = rows[k + 3];
        const T p = scales[k], q = scales[k + 1], r = scales[k + 2], s = scales[k + 3];
        for (int64_t o = 0; o < count; ++o) sum[o] = sum[o] + p * a[o] + q * b[o] + r * c[o] + s * d[o];
    }
    for (; k < rows.size(); ++k) {
        const T* a = rows[k];
        const T p = scales[k];
        for (int64_t o = 0; o < count; ++o) sum[o] += p * a[o];
    }
}

template <class T>
void forward(const Layer<T>& layer, T* spikes, int64_t sample) {
    const int64_t n = layer.neurons, m = layer.inputs;
    const T leak = static_cast<T>(layer.membrane_decay), forget = static_cast<T>(layer.synapse_decay);
    const T share = static_cast<T>(1 / layer.tau_synapse), bound = static_cast<T>(layer.bound);
    const T period = static_cast<T>(layer.refractory_period);
    std::vector<T> memory(4 * n, 0);
    T *__restrict drive = memory.data(), *__restrict trace = drive + n, *__restrict voltage = trace + n,
                 *__restrict wait = voltage + n;
    std::vector<const T*> rows;
    std::vector<T> scales;
    std::fill_n(spikes + sample * n, n, T(0));
    for (int64_t t = 1; t < layer.steps; ++t) {
        const T* values = layer.values + ((t - 1) * layer.batch + sample) * m;
        std::fill_n(drive, n, T(0));
        rows.clear();
        scales.clear();
        each_active(values, m, [&](int64_t i) {
            rows.push_back(layer.weight + i * n);
            scales.push_back(values[i]);
        });
        add_rows(drive, rows, scales, n);
        if (layer.first) {
            each_active(spikes + ((t - 1) * layer.batch + sample) * n, n, [&](int64_t p) {
                for (int64_t k = layer.first[p]; k < layer.first[p + 1]; ++k) drive[layer.post[k]] += layer.within[k];
            });
        }
        T* __restrict now = spikes + (t * layer.batch + sample) * n;
        for (int64_t o = 0; o < n; ++o) {
            const T a = forget * trace[o] + drive[o];
            T v = leak * voltage[o] + a * share;
            v = wait[o] > 0 ? T(0) : v;
            const bool fired = v > bound;
            trace[o] = a;
            now[o] = fired ? T(1) : T(0);
            voltage[o] = fired ? T(0) : v;
            const T less = wait[o] > 0 ? wait[o] - 1 : T(0);
            wait[o] = fired ? period : less;
        }
    }
}

template <class T>
void responses(const Layer<T>& layer, const T* spikes, T* found, int64_t sample) {
    const int64_t n = layer.neurons, steps = layer.steps;
    const T leak = static_cast<T>(layer.membrane_decay), forget = static_cast<T>(layer.synapse_decay);
    const T share = static_cast<T>(1 / layer.tau_synapse);
    std::vector<T> memory(3 * n, 0);
    T *__restrict membrane = memory.data(), *__restrict trace = membrane + n, *__restrict refractory = trace + n;
    const auto at = [&](int64_t t) { return spikes + (t * layer.batch + sample) * n; };
    for (int64_t t = steps - 1; t >= 0; --t) {
        T* __restrict now = found + (sample * steps + t) * n;
        const T* __restrict fired = at(t);
        std::fill_n(refractory, n, T(0));
        for (int64_t lag = 1; lag <= std::min(layer.refractory_period, t); ++lag) {
            const T* before = at(t - lag);
            for (int64_t o = 0; o < n; ++o) refractory[o] += before[o];
        }
        for (int64_t o = 0; o < n; ++o) {
            now[o] = trace[o];
            T q = fired[o] != 0 ? T(1) : leak * membrane[o];
            q = refractory[o] > 0 ? T(0) : q;
            membrane[o] = q;
            trace[o] = forget * trace[o] + q * share;
        }
    }
}

// The spikes of some inputs in one sample, those of each input side by side.
template <class T>
struct Arrivals {
    std::vector<int64_t> first, step;
    std::vector<T> value;

    void read(const Layer<T>& layer, int64_t sample, int64_t from, int64_t to) {
        const auto row = [&](int64_t t) { return layer.values + (t * layer.batch + sample) * layer.inputs + from; };
        first.assign(to - from + 1, 0);
        for (int64_t t = 0; t < layer.steps; ++t) each_active(row(t), to - from, [&](int64_t i) { ++first[i + 1]; });
        for (int64_t i = 0; i < to - from; ++i) first[i + 1] += first[i];
        step.resize(first.back());
        value.resize(first.back());
        std::vector<int64_t> next(first.begin(), first.end() - 1);
        for (int64_t t = 0; t < layer.steps; ++t) {
            const T* values = row(t);
            each_active(values, to - from, [&](int64_t i) {
                step[next[i]] = t;
                value[next[i]++] = values[i];
            });
        }
    }
};

// sum_o a[o] b[o], in as many parts as fit the vectors of any processor.
template <class T>
T dot(const T* a, const T* b, int64_t count) {
    constexpr int64_t kParts = 16;
    T part[kParts] = {};
    int64_t o = 0;
    for (; o + kParts <= count; o += kParts)
        for (int64_t k = 0; k < kParts; ++k) part[k] += a[o + k] * b[o + k];
    T sum = 0;
    for (int64_t k = 0; k < kParts; ++k) sum += part[k];
    for (; o < count; ++o) sum += a[o] * b[o];
    return sum;
}

// Of the inputs from `from` to before `to`, in all samples.
template <class T>
void sums(const Layer<T>& layer, const Sums<T>& s, int64_t from, int64_t to) {
    const int64_t n = layer.neurons;
    std::vector<T> memory(2 * n);
    T *__restrict psp = memory.data(), *__restrict effect = psp + n;
    std::vector<const T*> rows;
    std::vector<T> scales;
    Arrivals<T> arrivals;
    if (s.by_weight) std::fill(s.by_weight + from * n, s.by_weight + to * n, T(0));
    for (int64_t b = 0; b < layer.batch; ++b) {
        arrivals.read(layer, b, from, to);
        const T* responses = s.responses + b * layer.steps * n;
        const T* below = s.of_below ? s.of_below + b * n : nullptr;
        const T* silent = s.of_below ? s.of_silent + b * n : nullptr;
        for (int64_t i = from; i < to; ++i) {
            const T* weight = layer.weight + i * n;
            rows.clear();
            scales.clear();
            T count = 0;
            for (int64_t k = arrivals.first[i - from]; k < arrivals.first[i - from + 1]; ++k) {
                rows.push_back(responses + arrivals.step[k] * n);
                scales.push_back(arrivals.value[k]);
                count += arrivals.value[k];
            }
            if (rows.empty()) {
                if (below) s.below[b * layer.inputs + i] = static_cast<T>(s.silent_ratio) * dot(below, weight, n);
                continue;
            }
            std::fill_n(psp, n, T(0));
            add_rows(psp, rows, scales, n);
            if (s.by_weight) {
                const T* __restrict scale = s.of_weight + b * n;
                T* __restrict sum = s.by_weight + i * n;
                for (int64_t o = 0; o < n; ++o) sum[o] += scale[o] * psp[o];
            }
            if (below) {
                for (int64_t o = 0; o < n; ++o) effect[o] = below[o] * psp[o] / count + silent[o];
                s.below[b * layer.inputs + i] = dot(effect, weight, n);
            }
        }
    }
}

// S-PSPs of the synapses within the layer, `psp` [B, K].
template <class T>
void within(const Layer<T>& layer, const T* spikes, const T* responses, T* psp, int64_t sample) {
    const int64_t n = layer.neurons, synapses = layer.first[n];
    T* found = psp + sample * synapses;
    std::fill_n(found, synapses, T(0));
    for (int64_t t = 0; t < layer.steps; ++t) {
        const T* now = responses + (sample * layer.steps + t) * n;
        each_active(spikes + (t * layer.batch + sample) * n, n, [&](int64_t p) {
            for (int64_t k = layer.first[p]; k < layer.first[p + 1]; ++k) found[k] += now[layer.post[k]];
        });
    }
}

}  // namespace

const Kernels<float>& kernels_float() {
    static constexpr Kernels<float> table = {forward<float>, responses<float>, sums<float>, within<float>};
    return table;
}

const Kernels<double>& kernels_double() {
    static constexpr Kernels<double> table = {forward<double>, responses<double>, sums<double>, within<double>};
    return table;
}

}  // namespace LSNN_ISA
}  // namespace trains
