// The kernels of trains.hpp for layers whose neurons share their weights. Within them the neurons of a place lie side by
// side, `lanes` apart from those of the next; only what goes in and comes out has places side by side.
#pragma once

#include <cmath>

#include "train_events.hpp"

namespace trains {
namespace LSNN_ISA {
namespace {

// Those of some places that are not left out, one after another: each place's number among them, or -1.
class Chosen {
  public:
    explicit Chosen(int64_t places) : number_(places, -1) {}

    // Choose a place, if it is not yet chosen; `finish` numbers them.
    void add(int64_t place) { number_[place] = 0; }

    void finish() {
        for (size_t p = 0; p < number_.size(); ++p) {
            if (number_[p] < 0) continue;
            number_[p] = static_cast<int32_t>(places_.size());
            places_.push_back(static_cast<int32_t>(p));
        }
    }

    int64_t number(int64_t place) const { return number_[place]; }
    int64_t place(int64_t number) const { return places_[number]; }
    int64_t count() const { return static_cast<int64_t>(places_.size()); }

  private:
    std::vector<int32_t> number_, places_;
};

// The places that some spike comes to, given what came in, input by input; all of them, if neurons may fire without any.
template <class T>
Chosen reached(const Shared<T>& shared, const Events<T>& arrivals) {
    Chosen chosen(shared.places);
    for (int64_t p = 0; shared.layer.bound < 0 && p < shared.places; ++p) chosen.add(p);
    for (int64_t i = 0; i < shared.layer.inputs; ++i) {
        if (!arrivals.count(i)) continue;
        for (int64_t k = shared.first[i]; k < shared.first[i + 1]; ++k) chosen.add(shared.place[k]);
    }
    chosen.finish();
    return chosen;
}

// How many places are taken at a time, so that what is kept of them step by step stays near: about a word of neurons.
template <class T>
int64_t group_of(const Shared<T>& shared) {
    return std::max<int64_t>(1, kStretch / shared.lanes);
}

// Add what comes to the neurons of a place to `drive` [T - 1, lanes], `stride` apart from step to step.
template <class T>
void drive_place(const Shared<T>& shared, const Events<T>& arrivals, int64_t place, T* drive, int64_t stride) {
    for (int64_t k = shared.place_first[place]; k < shared.place_first[place + 1]; ++k) {
        const int64_t i = shared.input[k];
        const T* weight = shared.layer.weight + shared.input_row[k] * shared.lanes;
        each_block<T>(shared.lanes, [&](int64_t from, int64_t width) {
            scatter_block(drive + from, stride, weight + from, arrivals, i, width);
        });
    }
}

template <class T>
void shared_forward(const Shared<T>& shared, const Fired<T>& fired, int64_t sample) {
    const Layer<T>& layer = shared.layer;
    const int64_t n = layer.neurons, steps = layer.steps, lanes = shared.lanes, words = words_of(n);
    const Events<T> arrivals = received_by_input(layer, sample, steps - 1);
    const Chosen chosen = reached(shared, arrivals);
    const int64_t group = group_of(shared), inside = group * lanes;
    const std::unique_ptr<T[]> drive(new T[(steps - 1) * inside]);
    std::vector<T> now(words_of(inside) * kStretch, 0);
    std::vector<int32_t> neuron(inside);  // its number in the layer, or -1 of what only fills a vector
    uint64_t* bits = fired.bits + sample * steps * words;
    T* counts = fired.counts + sample * n;
    std::fill_n(bits, steps * words, 0);
    std::fill_n(counts, n, T(0));
    for (int64_t begin = 0; begin < chosen.count(); begin += group) {
        const int64_t end = std::min(begin + group, chosen.count());
        std::fill_n(drive.get(), (steps - 1) * inside, T(0));
        std::fill(neuron.begin(), neuron.end(), -1);
        for (int64_t k = begin; k < end; ++k) {
            const int64_t place = chosen.place(k), at = (k - begin) * lanes;
            drive_place(shared, arrivals, place, drive.get() + at, inside);
            for (int64_t j = 0; j < shared.width; ++j) neuron[at + j] = static_cast<int32_t>(j * shared.places + place);
        }
        Membranes<T> membranes(layer, inside);
        for (int64_t t = 1; t < steps; ++t) {
            membranes.advance(drive.get() + (t - 1) * inside, now.data());
            each_not_zero(now.data(), static_cast<int64_t>(now.size()), [&](int64_t o) {
                if (neuron[o] < 0) return;
                bits[t * words + neuron[o] / kStretch] |= uint64_t(1) << (neuron[o] % kStretch);
                counts[neuron[o]] += 1;
            });
        }
    }
    write_spikes(layer, fired, sample);
}

// What the neurons of a layer fired, some places at a time; those are left out whose neurons were silent, for nothing
// responds there.
template <class T>
class Groups {
  public:
    Groups(const Shared<T>& shared, const uint64_t* bits)
        : shared_(shared),
          spikes_(Events<T>::by_column(bits, shared.layer.steps, words_of(shared.layer.neurons), shared.layer.neurons)),
          chosen_(shared.places) {
        for (int64_t o = 0; o < shared.layer.neurons; ++o)
            if (spikes_.count(o)) chosen_.add(o % shared.places);
        chosen_.finish();
    }

    const Chosen& chosen() const { return chosen_; }

    // The steps at which neurons of some chosen places fired, neuron by neuron as a group of `places` numbers them.
    Events<T> spikes(int64_t begin, int64_t end, int64_t places) const {
        Events<T> found;
        found.ones = true;
        found.first.reserve(places * shared_.lanes + 1);
        for (int64_t k = begin; k < begin + places; ++k) {
            for (int64_t j = 0; j < shared_.lanes; ++j) {
                found.first.push_back(static_cast<int64_t>(found.place.size()));
                if (k >= end || j >= shared_.width) continue;
                const int64_t o = j * shared_.places + chosen_.place(k);
                found.place.insert(found.place.end(), spikes_.places(o), spikes_.places(o) + spikes_.count(o));
            }
        }
        found.first.push_back(static_cast<int64_t>(found.place.size()));
        return found;
    }

  private:
    const Shared<T>& shared_;
    Events<T> spikes_;
    Chosen chosen_;
};

// H [T, inside] of neurons that fired at those steps.
template <class T>
void shared_responses(const Shared<T>& shared, const Events<T>& fired, int64_t inside, T* found) {
    const Events<T> by_step(fired, shared.layer.steps);
    Responses<T> states(shared.layer, inside);
    for (int64_t t = shared.layer.steps - 1; t >= 0; --t) {
        const int64_t earliest = std::max<int64_t>(t - shared.layer.refractory_period, 0);
        const auto between = [&](int64_t from, int64_t to) {
            return [&by_step, from, to](auto f) {
                for (int64_t e = by_step.first[from]; e < by_step.first[to]; ++e) f(by_step.place[e]);
            };
        };
        states.step_back(between(t, t + 1), between(earliest, t), found + t * inside);
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

    void clear() {
        std::fill(first_.begin(), first_.end(), 0);
        unsorted_.clear();
    }

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

// The S-PSP of continuous time (see rules/st_rsbp/continuous.py), by steps.
class Continuous {
  public:
    template <class T>
    Continuous(const Shared<T>& shared, int64_t furthest)
        : slow(std::exp(-1 / shared.tau_membrane)),
          fast(std::exp(-1 / shared.layer.tau_synapse)),
          height(1 / (1 - shared.layer.tau_synapse / shared.tau_membrane)),
          furthest(furthest),
          below_(std::max<int64_t>(shared.layer.refractory_period, 1)),  // s is at least -below
          shape_(shared.layer.steps + below_),
          fade_(furthest + below_ + 2) {
        for (int64_t s = -below_; s < shared.layer.steps; ++s)
            shape_[s + below_] = height * (std::pow(slow, s) - std::pow(fast, s));
        for (size_t k = 0; k < fade_.size(); ++k) fade_[k] = std::pow(fast, k);
    }

    double shape(int64_t s) const { return shape_[s + below_]; }
    double fade(int64_t steps) const { return fade_[steps]; }

    const double slow, fast, height;
    const int64_t furthest;

  private:
    int64_t below_;
    std::vector<double> shape_, fade_;
};

// H of that S-PSP. Backwards from a spike, with t steps gone since its refractory period, it is a difference of two
// exponentials until t = s, and from there on fades like the faster one; after `furthest` steps it ends. No two spikes of
// a neuron have theirs grow at a time.
template <class T>
class ContinuousResponses {
  public:
    ContinuousResponses(const Shared<T>& shared, int64_t furthest, int64_t inside)
        : form_(shared, furthest),
          steps_(shared.layer.steps),
          period_(shared.layer.refractory_period),
          inside_(inside),
          ends_(steps_),
          begins_(steps_),
          memory_(3 * inside) {}

    // Write H [T, inside] of neurons that fired at those steps.
    void write(const Events<T>& fired, T* found) {
        find_changes(fired);
        std::fill(memory_.begin(), memory_.end(), T(0));
        T *__restrict high = memory_.data(), *__restrict low = high + inside_, *__restrict fading = low + inside_;
        const T keep_high = static_cast<T>(form_.slow), keep_low = static_cast<T>(form_.fast);
        const T unit = static_cast<T>(form_.height);
        const auto change = [&](const typename Changes<T>::Change& each) {
            fading[each.neuron] += each.amount;
            if (each.kind != Changes<T>::kFades)
                high[each.neuron] = low[each.neuron] = each.kind == Changes<T>::kGrows ? unit : T(0);
        };
        for (int64_t u = steps_ - 1; u >= 0; --u) {
            ends_.each_at(u, change);
            begins_.each_at(u, change);
            T* __restrict now = found + u * inside_;
            for (int64_t o = 0; o < inside_; ++o) {
                now[o] = fading[o] + high[o] - low[o];
                high[o] *= keep_high;
                low[o] *= keep_low;
                fading[o] *= keep_low;
            }
        }
    }

  private:
    void find_changes(const Events<T>& fired) {
        const int64_t last = form_.furthest - period_;  // t is at most last
        ends_.clear();
        begins_.clear();
        for (int64_t o = 0; o < inside_; ++o) {
            int64_t before = -1;
            for (int64_t e = 0; e < fired.count(o); ++e) {
                const int64_t f = fired.places(o)[e], s = before < 0 ? f - 1 : f - before - period_;
                before = f;
                if (f >= period_ && last >= 0) add_response(static_cast<int32_t>(o), f, s, last);
            }
        }
        ends_.sort();
        begins_.sort();
    }

    void add_response(int32_t o, int64_t f, int64_t s, int64_t last) {
        const double reached = form_.shape(s);
        if (s <= 0) {
            begins_.add(f - period_, o, Changes<T>::kFades, static_cast<T>(reached * form_.fade(-s)));
        } else {
            begins_.add(f - period_, o, Changes<T>::kGrows, 0);
        }
        const int64_t end = f - form_.furthest - 1;
        if (s > last) {
            ends_.add(end, o, Changes<T>::kStops, 0);
            return;
        }
        if (s > 0) ends_.add(f - period_ - s, o, Changes<T>::kStops, static_cast<T>(reached));
        ends_.add(end, o, Changes<T>::kFades, static_cast<T>(-reached * form_.fade(last + 1 - s)));
    }

    const Continuous form_;
    int64_t steps_, period_, inside_;
    Changes<T> ends_, begins_;
    std::vector<T> memory_;
};

// Of the neurons of one place, whose H `found` [T, lanes] is `stride` apart from step to step; factors are those of the
// place [lanes], sums those of the sample.
template <class T>
void place_sums(const Shared<T>& shared, const Events<T>& arrivals, int64_t place, const T* found, int64_t stride,
                const T* of_weight, const T* of_below, T* by_weight, T* below) {
    const int64_t lanes = shared.lanes;
    T psp[kParts * kLanes<T>];
    for (int64_t k = shared.place_first[place]; k < shared.place_first[place + 1]; ++k) {
        const int64_t i = shared.input[k];
        if (!arrivals.count(i)) continue;
        each_block<T>(lanes, [&](int64_t from, int64_t width) {
            gather_block(psp, found + from, stride, arrivals, i, width);
            const int64_t by = shared.input_row[k] * lanes + from;
            if (by_weight)
                for (int64_t j = 0; j < width; ++j) by_weight[by + j] += of_weight[from + j] * psp[j];
            if (!below) return;
            const T *factor = of_below + from, *weight = shared.layer.weight + by;
            below[i] += total<T>(width, [&](int64_t j) { return factor[j] * psp[j] * weight[j]; });
        });
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

    const Groups<T> groups(shared, s.fired + sample * layer.steps * words_of(n));
    const Events<T> arrivals = received_by_input(layer, sample, layer.steps);
    const int64_t group = group_of(shared), inside = group * lanes;
    std::unique_ptr<ContinuousResponses<T>> continuous;
    if (s.furthest >= 0) continuous.reset(new ContinuousResponses<T>(shared, s.furthest, inside));
    const std::unique_ptr<T[]> found(new T[layer.steps * inside]);
    for (int64_t begin = 0; begin < groups.chosen().count(); begin += group) {
        const int64_t end = std::min(begin + group, groups.chosen().count());
        const Events<T> spikes = groups.spikes(begin, end, group);
        if (continuous) {
            continuous->write(spikes, found.get());
        } else {
            shared_responses(shared, spikes, inside, found.get());
        }
        for (int64_t k = begin; k < end; ++k) {
            const int64_t place = groups.chosen().place(k);
            place_sums(shared, arrivals, place, found.get() + (k - begin) * lanes, inside,
                       of_weight.empty() ? nullptr : of_weight.data() + place * lanes,
                       of_below.empty() ? nullptr : of_below.data() + place * lanes, by_weight, below);
        }
    }
}

}  // namespace
}  // namespace LSNN_ISA
}  // namespace trains
