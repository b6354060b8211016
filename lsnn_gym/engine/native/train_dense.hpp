// The kernels of trains.hpp for layers whose neurons see all inputs, each by a weight of its own.
#pragma once

#include "train_events.hpp"

namespace trains {
namespace LSNN_ISA {
namespace {

template <class T>
void forward(const Layer<T>& layer, T* spikes, int64_t sample) {
    const int64_t n = layer.neurons, m = layer.inputs, steps = layer.steps;
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
    Membranes<T> membranes(layer, n);
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
        membranes.advance(drive, now);
    }
}

template <class T>
void responses(const Layer<T>& layer, const T* spikes, T* found, int64_t sample) {
    const int64_t n = layer.neurons, steps = layer.steps;
    Responses<T> states(layer, n);
    std::vector<T> refractory(n);
    const auto at = [&](int64_t t) { return spikes + (t * layer.batch + sample) * n; };
    for (int64_t t = steps - 1; t >= 0; --t) {
        T* __restrict now = found + (sample * steps + t) * n;
        const T* __restrict fired = at(t);
        std::fill(refractory.begin(), refractory.end(), T(0));
        for (int64_t lag = 1; lag <= std::min(layer.refractory_period, t); ++lag) {
            const T* before = at(t - lag);
            for (int64_t o = 0; o < n; ++o) refractory[o] += before[o];
        }
        states.step_back(fired, refractory.data(), now);
    }
}

// Of the inputs from `from` to before `to`, in all samples.
template <class T>
void sums(const Layer<T>& layer, const Sums<T>& s, int64_t from, int64_t to) {
    const int64_t n = layer.neurons, steps = layer.steps, m = layer.inputs;
    T psp[kParts * kLanes<T>];
    if (s.by_weight) std::fill(s.by_weight + from * n, s.by_weight + to * n, T(0));
    const auto is_right = [&](const T* errors, int64_t b) {  // or nothing is asked for
        return !errors || std::all_of(errors + b * n, errors + (b + 1) * n, [](T each) { return each == 0; });
    };
    for (int64_t b = 0; b < layer.batch; ++b) {
        if (is_right(s.by_weight ? s.of_weight : nullptr, b) && is_right(s.of_below, b)) {
            if (s.of_below) std::fill(s.below + b * m + from, s.below + b * m + to, T(0));
            continue;
        }
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
}  // namespace LSNN_ISA
}  // namespace trains
