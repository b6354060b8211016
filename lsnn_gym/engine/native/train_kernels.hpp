// The kernels of trains.hpp. Sums over spikes are made for a few neurons at a time, whose rows then stay in the nearest
// cache and whose sums stay in registers; loops over neurons are what the compiler turns into vectors.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "trains.hpp"

#if !defined(LSNN_ISA)
#error "include this through one of trains_*.cpp, which say for which processor"
#endif

namespace trains {
namespace LSNN_ISA {
namespace {

// What is not 0 in each of some rows, row after row.
template <class T>
struct Events {
    std::vector<int64_t> first;  // where each row's begin, and how many there are
    std::vector<int32_t> place;
    std::vector<T> value;

    // `rows` rows of `width` numbers, `stride` from one to the next.
    Events(const T* at, int64_t rows, int64_t width, int64_t stride) : first(rows + 1) {
        constexpr int64_t kChunk = 16;
        int64_t count = 0;
        for (int64_t r = 0; r < rows; ++r, at += stride) {
            first[r] = count;
            if (static_cast<int64_t>(place.size()) < count + width) {
                place.resize(2 * (count + width));
                value.resize(place.size());
            }
            for (int64_t start = 0; start < width; start += kChunk) {
                const int64_t end = std::min(start + kChunk, width);
                bool any = false;
                for (int64_t i = start; i < end; ++i) any |= at[i] != 0;
                if (!any) continue;
                for (int64_t i = start; i < end; ++i) {
                    place[count] = static_cast<int32_t>(i);
                    value[count] = at[i];
                    count += at[i] != 0;
                }
            }
        }
        first[rows] = count;
    }

    // The same, column by column; places are rows then.
    Events(const Events& rows, int64_t columns) : first(columns + 1), place(rows.count()), value(rows.count()) {
        const int64_t number = static_cast<int64_t>(rows.first.size()) - 1;
        for (int64_t k = 0; k < rows.count(); ++k) ++first[rows.place[k] + 1];
        for (int64_t i = 0; i < columns; ++i) first[i + 1] += first[i];
        std::vector<int64_t> next(first.begin(), first.end() - 1);
        for (int64_t r = 0; r < number; ++r) {
            for (int64_t k = rows.first[r]; k < rows.first[r + 1]; ++k) {
                const int64_t to = next[rows.place[k]]++;
                place[to] = static_cast<int32_t>(r);
                value[to] = rows.value[k];
            }
        }
    }

    int64_t count() const { return first.back(); }
};

// 64 bytes of numbers; on lesser processors the compiler makes several vectors of them.
template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
    typedef float Type __attribute__((vector_size(64), aligned(4), may_alias));
};
template <>
struct VectorOf<double> {
    typedef double Type __attribute__((vector_size(64), aligned(8), may_alias));
};
template <class T>
using Vec = typename VectorOf<T>::Type;
template <class T>
constexpr int64_t kLanes = 64 / sizeof(T);

// sum[j] = sum_k value[k] row_k[j] for j < P * kLanes, in the order of k, where row_k = base + place[k] * stride.
template <int P, class T>
inline void gather(T* sum, const T* base, int64_t stride, const int32_t* place, const T* value, int64_t count) {
    Vec<T> parts[P] = {};
    for (int64_t k = 0; k < count; ++k) {
        const T* row = base + place[k] * stride;
        for (int p = 0; p < P; ++p) parts[p] += value[k] * *reinterpret_cast<const Vec<T>*>(row + p * kLanes<T>);
    }
    for (int p = 0; p < P; ++p) *reinterpret_cast<Vec<T>*>(sum + p * kLanes<T>) = parts[p];
}

template <class T>
inline void gather_some(T* sum, const T* base, int64_t stride, const int32_t* place, const T* value, int64_t count,
                        int64_t width) {
    std::fill_n(sum, width, T(0));
    for (int64_t k = 0; k < count; ++k) {
        const T* row = base + place[k] * stride;
        for (int64_t j = 0; j < width; ++j) sum[j] += value[k] * row[j];
    }
}

// sum_j f(j), in as many parts as make a vector.
template <class T, class F>
inline T total(int64_t count, F f) {
    T part[kLanes<T>] = {};
    int64_t j = 0;
    for (; j + kLanes<T> <= count; j += kLanes<T>)
        for (int64_t k = 0; k < kLanes<T>; ++k) part[k] += f(j + k);
    T sum = 0;
    for (int64_t k = 0; k < kLanes<T>; ++k) sum += part[k];
    for (; j < count; ++j) sum += f(j);
    return sum;
}

constexpr int kParts = 4;

// Call f(from, width) with neurons a few at a time.
template <class T, class F>
inline void each_block(int64_t neurons, F f) {
    for (int64_t from = 0; from < neurons; from += kParts * kLanes<T>)
        f(from, std::min<int64_t>(kParts * kLanes<T>, neurons - from));
}

// The same sum for `width` neurons, at most kParts * kLanes.
template <class T>
inline void gather_block(T* sum, const T* base, int64_t stride, const int32_t* place, const T* value, int64_t count,
                         int64_t width) {
    if (width == kParts * kLanes<T>) {
        gather<kParts>(sum, base, stride, place, value, count);
    } else if (width == kLanes<T>) {
        gather<1>(sum, base, stride, place, value, count);
    } else {
        gather_some(sum, base, stride, place, value, count, width);
    }
}

template <class T>
void forward(const Layer<T>& layer, T* spikes, int64_t sample) {
    const int64_t n = layer.neurons, m = layer.inputs, steps = layer.steps;
    const T leak = static_cast<T>(layer.membrane_decay), forget = static_cast<T>(layer.synapse_decay);
    const T share = static_cast<T>(1 / layer.tau_synapse), bound = static_cast<T>(layer.bound);
    const T period = static_cast<T>(layer.refractory_period);
    // Of all steps, for what came in does not depend on what the neurons do; not cleared before.
    const std::unique_ptr<T[]> drives(new T[std::max<int64_t>(steps - 1, 0) * n]);
    const Events<T> arrivals(layer.values + sample * m, steps - 1, m, layer.batch * m);
    each_block<T>(n, [&](int64_t from, int64_t width) {
        for (int64_t t = 0; t < steps - 1; ++t) {
            const int64_t first = arrivals.first[t];
            gather_block(drives.get() + t * n + from, layer.weight + from, n, arrivals.place.data() + first, arrivals.value.data() + first,
                         arrivals.first[t + 1] - first, width);
        }
    });
    std::vector<T> memory(3 * n, 0);
    T *__restrict trace = memory.data(), *__restrict voltage = trace + n, *__restrict wait = voltage + n;
    std::fill_n(spikes + sample * n, n, T(0));
    for (int64_t t = 1; t < steps; ++t) {
        T* __restrict drive = drives.get() + (t - 1) * n;
        T* __restrict now = spikes + (t * layer.batch + sample) * n;
        const T* before = now - layer.batch * n;
        if (layer.first) {
            for (int64_t p = 0; p < n; ++p) {
                if (before[p] == 0) continue;
                for (int64_t k = layer.first[p]; k < layer.first[p + 1]; ++k) drive[layer.post[k]] += layer.within[k];
            }
        }
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

// Of the inputs from `from` to before `to`, in all samples.
template <class T>
void sums(const Layer<T>& layer, const Sums<T>& s, int64_t from, int64_t to) {
    const int64_t n = layer.neurons, steps = layer.steps, m = layer.inputs;
    T psp[kParts * kLanes<T>];
    if (s.by_weight) std::fill(s.by_weight + from * n, s.by_weight + to * n, T(0));
    for (int64_t b = 0; b < layer.batch; ++b) {
        const Events<T> arrivals(Events<T>(layer.values + b * m + from, steps, to - from, layer.batch * m), to - from);
        T* below = s.of_below ? s.below + b * m : nullptr;
        if (below) std::fill(below + from, below + to, T(0));
        each_block<T>(n, [&](int64_t o, int64_t width) {
            const T* responses = s.responses + b * steps * n + o;
            const T* of_weight = s.by_weight ? s.of_weight + b * n + o : nullptr;
            const T* of_below = below ? s.of_below + b * n + o : nullptr;
            const T* of_silent = below ? s.of_silent + b * n + o : nullptr;
            for (int64_t i = from; i < to; ++i) {
                const int64_t first = arrivals.first[i - from], count = arrivals.first[i - from + 1] - first;
                const T* weight = layer.weight + i * n + o;
                if (!count) {
                    if (below)
                        below[i] += static_cast<T>(s.silent_ratio) *
                                    total<T>(width, [&](int64_t j) { return of_below[j] * weight[j]; });
                    continue;
                }
                gather_block(psp, responses, n, arrivals.place.data() + first, arrivals.value.data() + first, count, width);
                if (of_weight) {
                    T* by_weight = s.by_weight + i * n + o;
                    for (int64_t j = 0; j < width; ++j) by_weight[j] += of_weight[j] * psp[j];
                }
                if (!below) continue;
                T spikes = 0;
                for (int64_t k = 0; k < count; ++k) spikes += arrivals.value[first + k];
                const T share = 1 / spikes;
                below[i] += total<T>(
                    width, [&](int64_t j) { return (of_below[j] * psp[j] * share + of_silent[j]) * weight[j]; });
            }
        });
    }
}

// S-PSPs of the synapses within the layer, `psp` [B, K].
template <class T>
void within(const Layer<T>& layer, const T* spikes, const T* responses, T* psp, int64_t sample) {
    const int64_t n = layer.neurons, steps = layer.steps;
    const Events<T> by_neuron(Events<T>(spikes + sample * n, steps, n, layer.batch * n), n);
    T* found = psp + sample * layer.first[n];
    for (int64_t p = 0; p < n; ++p) {
        for (int64_t k = layer.first[p]; k < layer.first[p + 1]; ++k) {
            const T* of_post = responses + sample * steps * n + layer.post[k];
            T sum = 0;
            for (int64_t e = by_neuron.first[p]; e < by_neuron.first[p + 1]; ++e) sum += of_post[by_neuron.place[e] * n];
            found[k] = sum;
        }
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
