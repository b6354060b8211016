// The kernels of trains.hpp for layers whose neurons see all inputs, each by a weight of its own. Neurons are taken a
// word at a time, so that what is kept of them step by step stays near.
#pragma once

#include <numeric>

#include "train_events.hpp"

namespace trains {
namespace LSNN_ISA {
namespace {

// gather_block of up to a word of neurons.
template <class T>
inline void gather_word(T* sum, const T* base, int64_t stride, const Events<T>& events, int64_t row, int64_t width) {
    each_block<T>(width, [&](int64_t from, int64_t part) {
        gather_block(sum + from, base + from, stride, events, row, part);
    });
}

// What comes to the neurons of a word from the spikes of one step.
template <class T>
inline void drive_word(const Layer<T>& layer, const Events<T>& arrivals, int64_t step, int64_t word, T* drive) {
    const int64_t from = word * kStretch;
    gather_word(drive, layer.weight + from, layer.neurons, arrivals, step, std::min(kStretch, layer.neurons - from));
}

template <class T>
void forward_apart(const Layer<T>& layer, const Events<T>& arrivals, uint64_t* bits, T* counts) {
    const int64_t n = layer.neurons, words = words_of(n);
    for (int64_t w = 0; w < words; ++w) {
        const uint64_t neurons = neurons_of_word(w, n);
        Membranes<T> membranes(layer, kStretch);
        T drive[kStretch] = {}, now[kStretch], count[kStretch] = {};
        bits[w] = 0;
        for (int64_t t = 1; t < layer.steps; ++t) {
            drive_word(layer, arrivals, t - 1, w, drive);
            membranes.advance(drive, now);
            bits[t * words + w] = not_zero(now) & neurons;
            for (int64_t j = 0; j < kStretch; ++j) count[j] += now[j];
        }
        std::copy_n(count, std::min(kStretch, n - w * kStretch), counts + w * kStretch);
    }
}

template <class T>
void forward_linked(const Layer<T>& layer, const Events<T>& arrivals, uint64_t* bits, T* counts) {
    const int64_t n = layer.neurons, words = words_of(n), lanes = words * kStretch, steps = layer.steps;
    // Of all steps, for what came in does not depend on what the neurons do.
    const std::unique_ptr<T[]> drives(new T[std::max<int64_t>(steps - 1, 0) * lanes]);
    for (int64_t w = 0; w < words; ++w) {
        for (int64_t t = 0; t < steps - 1; ++t) {
            T* drive = drives.get() + t * lanes + w * kStretch;
            drive_word(layer, arrivals, t, w, drive);
            if (w + 1 == words) std::fill(drive + n - w * kStretch, drive + kStretch, T(0));
        }
    }
    Membranes<T> membranes(layer, lanes);
    std::vector<T> now(lanes), count(lanes, 0);
    std::fill_n(bits, words, 0);
    for (int64_t t = 1; t < steps; ++t) {
        T* __restrict drive = drives.get() + (t - 1) * lanes;
        each_bit(bits + (t - 1) * words, words, [&](int64_t p) {
            for (int64_t k = layer.first[p]; k < layer.first[p + 1]; ++k) drive[layer.post[k]] += layer.within[k];
        });
        membranes.advance(drive, now.data());
        for (int64_t w = 0; w < words; ++w)
            bits[t * words + w] = not_zero(now.data() + w * kStretch) & neurons_of_word(w, n);
        for (int64_t o = 0; o < lanes; ++o) count[o] += now[o];
    }
    std::copy_n(count.data(), n, counts);
}

template <class T>
void forward(const Layer<T>& layer, const Fired<T>& fired, int64_t sample) {
    const Events<T> arrivals = received(layer, sample, layer.steps - 1);
    uint64_t* bits = fired.bits + sample * layer.steps * words_of(layer.neurons);
    T* counts = fired.counts + sample * layer.neurons;
    if (layer.first) {
        forward_linked(layer, arrivals, bits, counts);
    } else {
        forward_apart(layer, arrivals, bits, counts);
    }
    write_spikes(layer, fired, sample);
}

// H [T, 64] of a word of neurons.
template <class T>
void word_responses(const Layer<T>& layer, const uint64_t* fired, int64_t sample, int64_t word, T* found) {
    const int64_t words = words_of(layer.neurons);
    const uint64_t* bits = fired + sample * layer.steps * words + word;
    Responses<T> states(layer, kStretch);
    for (int64_t t = layer.steps - 1; t >= 0; --t) {
        uint64_t refractory = 0;
        for (int64_t lag = 1; lag <= std::min(layer.refractory_period, t); ++lag) refractory |= bits[(t - lag) * words];
        states.step_back([&](auto f) { each_bit(bits + t * words, 1, f); }, [&](auto f) { each_bit(&refractory, 1, f); },
                         found + t * kStretch);
    }
}

template <class T>
void responses(const Layer<T>& layer, const uint64_t* fired, T* found, int64_t sample) {
    const int64_t n = layer.neurons;
    const std::unique_ptr<T[]> of_word(new T[layer.steps * kStretch]);
    for (int64_t w = 0; w < words_of(n); ++w) {
        word_responses(layer, fired, sample, w, of_word.get());
        for (int64_t t = 0; t < layer.steps; ++t)
            std::copy_n(of_word.get() + t * kStretch, std::min(kStretch, n - w * kStretch),
                        found + (sample * layer.steps + t) * n + w * kStretch);
    }
}

// Of a word of neurons and one sample. `found` is their H, `arrivals` what came in, input by input.
template <class T>
void word_sums(const Layer<T>& layer, const Sums<T>& s, int64_t sample, int64_t word, const Events<T>& arrivals,
               const T* found) {
    const int64_t n = layer.neurons, m = layer.inputs, o = word * kStretch, width = std::min(kStretch, n - o);
    T psp[kStretch];
    T* below = s.of_below ? s.below + (word * layer.batch + sample) * m : nullptr;
    const T* of_weight = s.by_weight ? s.of_weight + sample * n + o : nullptr;
    const T* of_below = below ? s.of_below + sample * n + o : nullptr;
    const T* of_silent = below ? s.of_silent + sample * n + o : nullptr;
    for (int64_t i = 0; i < m; ++i) {
        const T* weight = layer.weight + i * n + o;
        if (!arrivals.count(i)) {
            if (below)
                below[i] = static_cast<T>(s.silent_ratio) * total<T>(width, [&](int64_t j) { return of_below[j] * weight[j]; });
            continue;
        }
        gather_word(psp, found, kStretch, arrivals, i, kStretch);
        if (of_weight) {
            T* by_weight = s.by_weight + i * n + o;
            for (int64_t j = 0; j < width; ++j) by_weight[j] += of_weight[j] * psp[j];
        }
        if (!below) continue;
        const T share = 1 / std::accumulate(arrivals.values(i), arrivals.values(i) + arrivals.count(i), T(0));
        below[i] = total<T>(width, [&](int64_t j) { return (of_below[j] * psp[j] * share + of_silent[j]) * weight[j]; });
    }
}

// Of some words of neurons, in all samples.
template <class T>
void sums(const Layer<T>& layer, const Sums<T>& s, int64_t first_word, int64_t last_word) {
    const int64_t n = layer.neurons, m = layer.inputs;
    const auto is_right = [&](const T* errors, int64_t b) {  // or nothing is asked for
        return !errors || std::all_of(errors + b * n, errors + (b + 1) * n, [](T each) { return each == 0; });
    };
    std::vector<int64_t> wrong;
    std::vector<Events<T>> arrivals;
    for (int64_t b = 0; b < layer.batch; ++b) {
        if (is_right(s.by_weight ? s.of_weight : nullptr, b) && is_right(s.of_below, b)) continue;
        wrong.push_back(b);
        arrivals.push_back(received_by_input(layer, b, layer.steps));
    }
    const std::unique_ptr<T[]> found(new T[layer.steps * kStretch]);
    for (int64_t w = first_word; w < last_word; ++w) {
        const int64_t o = w * kStretch, width = std::min(kStretch, n - o);
        if (s.of_below) std::fill_n(s.below + w * layer.batch * m, layer.batch * m, T(0));
        for (int64_t i = 0; s.by_weight && i < m; ++i) std::fill_n(s.by_weight + i * n + o, width, T(0));
        for (size_t k = 0; k < wrong.size(); ++k) {
            word_responses(layer, s.fired, wrong[k], w, found.get());
            word_sums(layer, s, wrong[k], w, arrivals[k], found.get());
        }
    }
}

template <class T>
void within(const Layer<T>& layer, const uint64_t* fired, T* psp, int64_t sample) {
    const int64_t n = layer.neurons, steps = layer.steps, words = words_of(n);
    const Events<T> by_neuron = Events<T>::by_column(fired + sample * steps * words, steps, words, n);
    const std::unique_ptr<T[]> found(new T[steps * kStretch]);
    std::vector<int64_t> next(layer.first, layer.first + n);  // of each neuron, its first synapse to this word or later
    T of_word[kStretch];
    for (int64_t w = 0; w < words; ++w) {
        word_responses(layer, fired, sample, w, found.get());
        for (int64_t p = 0; p < n; ++p) {
            const int64_t last = layer.first[p + 1], end = (w + 1) * kStretch;
            if (next[p] == last || layer.post[next[p]] >= end) continue;
            gather_word(of_word, found.get(), kStretch, by_neuron, p, kStretch);
            for (; next[p] < last && layer.post[next[p]] < end; ++next[p])
                psp[sample * layer.first[n] + next[p]] = of_word[layer.post[next[p]] - w * kStretch];
        }
    }
}

}  // namespace
}  // namespace LSNN_ISA
}  // namespace trains
