// The kernels of trains.hpp for layers whose neurons share their weights. Within them the neurons of a place lie side by
// side, `lanes` apart from those of the next; only what goes in and comes out has places side by side.
#pragma once

#include <cmath>

#include "train_events.hpp"

namespace trains {
namespace LSNN_ISA {
namespace {

// sum[j] += value * row[j] for all lanes: whole vectors of them, or one.
template <class T>
inline void add_row(T* sum, const T* row, T value, int64_t lanes) {
    if (lanes == 1) {
        *sum += value * *row;
        return;
    }
    for (int64_t j = 0; j < lanes; j += kLanes<T>)
        *reinterpret_cast<Vec<T>*>(sum + j) += value * *reinterpret_cast<const Vec<T>*>(row + j);
}

template <class T>
void shared_forward(const Shared<T>& shared, T* spikes, int64_t sample) {
    const Layer<T>& layer = shared.layer;
    const int64_t n = layer.neurons, m = layer.inputs, steps = layer.steps, lanes = shared.lanes;
    const int64_t inside = shared.places * lanes;
    const Events<T> arrivals(layer.values + sample * m, steps - 1, m, layer.batch * m);
    Membranes<T> membranes(layer, inside);
    const uint32_t stride = static_cast<uint32_t>(lanes);
    std::vector<T> drive(inside), fired(inside);
    std::fill_n(spikes + sample * n, n, T(0));
    for (int64_t t = 1; t < steps; ++t) {
        std::fill(drive.begin(), drive.end(), T(0));
        for (int64_t e = arrivals.first[t - 1]; e < arrivals.first[t]; ++e) {
            const int64_t i = arrivals.place[e];
            for (int64_t k = shared.first[i]; k < shared.first[i + 1]; ++k)
                add_row(drive.data() + shared.place[k] * lanes, layer.weight + shared.row[k] * lanes, arrivals.value[e], lanes);
        }
        membranes.advance(drive.data(), fired.data());
        T* now = spikes + (t * layer.batch + sample) * n;
        std::fill_n(now, n, T(0));
        each_not_zero(fired.data(), inside, [&](int64_t o) {
            const uint32_t place = static_cast<uint32_t>(o) / stride, neuron = static_cast<uint32_t>(o) - place * stride;
            if (neuron < shared.width) now[neuron * shared.places + place] = T(1);
        });
    }
}

// What the neurons of a layer fired, those places left out whose neurons were silent: nothing responds there.
template <class T>
struct Fired {
    std::vector<int32_t> active;  // each place's number among those that are not left out, or -1
    int64_t inside = 0;           // how many neurons those have, with what fills their vectors
    Events<T> spikes;

    Fired(const Shared<T>& shared, const T* at, int64_t sample)
        : active(shared.places, -1),
          spikes(at + sample * shared.layer.neurons, shared.layer.steps, shared.layer.neurons,
                 shared.layer.batch * shared.layer.neurons) {
        const int32_t places = static_cast<int32_t>(shared.places), lanes = static_cast<int32_t>(shared.lanes);
        for (int64_t e = 0; e < spikes.count(); ++e) active[spikes.place[e] % places] = 0;
        int32_t count = 0;
        for (int32_t& each : active)
            if (each == 0) each = count++;
        inside = count * static_cast<int64_t>(lanes);
        for (int64_t e = 0; e < spikes.count(); ++e)
            spikes.place[e] = active[spikes.place[e] % places] * lanes + spikes.place[e] / places;
    }
};

// H [T, inside].
template <class T>
void shared_responses(const Shared<T>& shared, const Events<T>& fired, int64_t inside, T* found) {
    Responses<T> states(shared.layer, inside);
    std::vector<T> spikes(inside, 0), refractory(inside, 0);
    const auto mark = [&](std::vector<T>& flags, int64_t from, int64_t to, T value) {
        for (int64_t e = fired.first[from]; e < fired.first[to]; ++e) flags[fired.place[e]] = value;
    };
    for (int64_t t = shared.layer.steps - 1; t >= 0; --t) {
        const int64_t earliest = std::max<int64_t>(t - shared.layer.refractory_period, 0);
        mark(spikes, t, t + 1, 1);
        mark(refractory, earliest, t, 1);
        states.step_back(spikes.data(), refractory.data(), found + t * inside);
        mark(spikes, t, t + 1, 0);
        mark(refractory, earliest, t, 0);
    }
}

// Changes of some neurons' states, ordered by the step at which they come.
template <class T>
class Changes {
  public:
    enum Kind : int32_t { kFades, kGrows, kStops };

    struct Change {
        int32_t step, neuron;
        Kind kind;  // whether something begins or stops to grow
        T amount;   // that comes to what fades
    };

    explicit Changes(int64_t steps) : first_(steps + 1, 0) {}

    void add(int64_t step, int32_t neuron, Kind kind, T amount) {
        if (step < 0) return;
        unsorted_.push_back({static_cast<int32_t>(step), neuron, kind, amount});
        ++first_[step + 1];
    }

    void sort() {
        for (size_t t = 1; t < first_.size(); ++t) first_[t] += first_[t - 1];
        std::vector<int64_t> next(first_.begin(), first_.end() - 1);
        sorted_.resize(unsorted_.size());
        for (const Change& each : unsorted_) sorted_[next[each.step]++] = each;
    }

    template <class F>
    void each_at(int64_t step, F f) const {
        for (int64_t k = first_[step]; k < first_[step + 1]; ++k) f(sorted_[k]);
    }

  private:
    std::vector<int64_t> first_;
    std::vector<Change> unsorted_, sorted_;
};

// H [T, inside] of the S-PSP of continuous time (see rules/st_rsbp/continuous.py). Backwards from a spike, with t
// steps gone since its refractory period, it is a difference of two exponentials until t = s, and from there on fades
// like the faster one; after `furthest` steps it ends. No two spikes of a neuron have theirs grow at a time.
template <class T>
void continuous_responses(const Shared<T>& shared, const Events<T>& fired, int64_t furthest, int64_t inside, T* found) {
    const int64_t steps = shared.layer.steps, period = shared.layer.refractory_period;
    const double slow = std::exp(-1 / shared.tau_membrane), fast = std::exp(-1 / shared.layer.tau_synapse);
    const double height = 1 / (1 - shared.layer.tau_synapse / shared.tau_membrane);
    const int64_t below = std::max<int64_t>(period, 1), last = furthest - period;  // s is at least -below, t at most last
    std::vector<double> shape(steps + below), fade(furthest + below + 2);
    for (int64_t s = -below; s < steps; ++s) shape[s + below] = height * (std::pow(slow, s) - std::pow(fast, s));
    for (size_t k = 0; k < fade.size(); ++k) fade[k] = std::pow(fast, k);

    Changes<T> ends(steps), begins(steps);
    std::vector<int32_t> before(inside, -1);
    for (int64_t f = 0; f < steps; ++f) {
        for (int64_t e = fired.first[f]; e < fired.first[f + 1]; ++e) {
            const int32_t o = fired.place[e];
            const int64_t s = before[o] < 0 ? f - 1 : f - before[o] - period;
            before[o] = static_cast<int32_t>(f);
            if (f < period || last < 0) continue;
            const double reached = shape[s + below];
            if (s <= 0) {
                begins.add(f - period, o, Changes<T>::kFades, static_cast<T>(reached * fade[-s]));
            } else {
                begins.add(f - period, o, Changes<T>::kGrows, 0);
            }
            if (s > last) {
                ends.add(f - furthest - 1, o, Changes<T>::kStops, 0);
                continue;
            }
            if (s > 0) ends.add(f - period - s, o, Changes<T>::kStops, static_cast<T>(reached));
            ends.add(f - furthest - 1, o, Changes<T>::kFades, static_cast<T>(-reached * fade[last + 1 - s]));
        }
    }
    ends.sort();
    begins.sort();

    std::vector<T> memory(3 * inside, 0);
    T *__restrict high = memory.data(), *__restrict low = high + inside, *__restrict fading = low + inside;
    const T keep_high = static_cast<T>(slow), keep_low = static_cast<T>(fast), unit = static_cast<T>(height);
    const auto change = [&](const typename Changes<T>::Change& each) {
        fading[each.neuron] += each.amount;
        if (each.kind != Changes<T>::kFades)
            high[each.neuron] = low[each.neuron] = each.kind == Changes<T>::kGrows ? unit : T(0);
    };
    for (int64_t u = steps - 1; u >= 0; --u) {
        ends.each_at(u, change);
        begins.each_at(u, change);
        T* __restrict now = found + u * inside;
        for (int64_t o = 0; o < inside; ++o) {
            now[o] = fading[o] + high[o] - low[o];
            high[o] *= keep_high;
            low[o] *= keep_low;
            fading[o] *= keep_low;
        }
    }
}

// Of one sample.
template <class T>
void shared_sums(const Shared<T>& shared, const SharedSums<T>& s, int64_t sample) {
    const Layer<T>& layer = shared.layer;
    const int64_t n = layer.neurons, m = layer.inputs, lanes = shared.lanes;
    T* by_weight = s.of_weight ? s.by_weight + sample * shared.rows * lanes : nullptr;
    T* below = s.of_below ? s.below + sample * m : nullptr;
    if (by_weight) std::fill_n(by_weight, shared.rows * lanes, T(0));
    if (below) std::fill_n(below, m, T(0));
    const auto placed = [&](const T* wanted) {
        std::vector<T> inner(wanted ? shared.places * lanes : 0, 0);
        for (int64_t k = 0; wanted && k < n; ++k) inner[k % shared.places * lanes + k / shared.places] = wanted[sample * n + k];
        return inner;
    };
    const std::vector<T> of_weight = placed(s.of_weight), of_below = placed(s.of_below);
    const auto is_zero = [](T each) { return each == 0; };
    if (std::all_of(of_weight.begin(), of_weight.end(), is_zero) && std::all_of(of_below.begin(), of_below.end(), is_zero))
        return;  // a sample that was right

    const Fired<T> fired(shared, s.spikes, sample);
    const int64_t inside = fired.inside;
    const std::unique_ptr<T[]> found(new T[layer.steps * inside]);
    if (s.furthest < 0) {
        shared_responses(shared, fired.spikes, inside, found.get());
    } else {
        continuous_responses(shared, fired.spikes, s.furthest, inside, found.get());
    }

    const Events<T> arrivals(Events<T>(layer.values + sample * m, layer.steps, m, layer.batch * m), m);
    T psp[kParts * kLanes<T>];
    for (int64_t i = 0; i < m; ++i) {
        const int64_t begin = arrivals.first[i], count = arrivals.first[i + 1] - begin;
        if (!count) continue;
        for (int64_t k = shared.first[i]; k < shared.first[i + 1]; ++k) {
            const int64_t active = fired.active[shared.place[k]];
            if (active < 0) continue;
            const int64_t to = shared.place[k] * lanes, by = shared.row[k] * lanes;
            each_block<T>(lanes, [&](int64_t from, int64_t width) {
                gather_block(psp, found.get() + active * lanes + from, inside, arrivals.place.data() + begin,
                             arrivals.value.data() + begin, count, width);
                if (by_weight) {
                    const T* factor = of_weight.data() + to + from;
                    T* sum = by_weight + by + from;
                    for (int64_t j = 0; j < width; ++j) sum[j] += factor[j] * psp[j];
                }
                if (!below) return;
                const T *factor = of_below.data() + to + from, *weight = layer.weight + by + from;
                below[i] += total<T>(width, [&](int64_t j) { return factor[j] * psp[j] * weight[j]; });
            });
        }
    }
}

}  // namespace
}  // namespace LSNN_ISA
}  // namespace trains
