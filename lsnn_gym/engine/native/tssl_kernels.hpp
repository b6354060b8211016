// What the neurons of rules/tssl_bp do over a whole sequence, the errors of their drive, and sums over windows of images.
#pragma once

#include <algorithm>
#include <memory>

#include "lane_loops.hpp"
#include "layered.hpp"

namespace layered {
namespace LSNN_ISA {
namespace {

// Run `count` lanes from rest on, and call keep(t, n, increment, membrane, spike, trace) for each lane n at each step t.
template <class T, class Keep>
inline void tssl_steps(const Size& size, const TsslConstants& c, const Drive<T>& drive, int64_t first, int64_t count, Keep keep) {
    const T leak = static_cast<T>(1 / c.tau_membrane), rise = static_cast<T>(1 / c.tau_synapse);
    const T threshold = static_cast<T>(c.threshold);
    T after[kAtOnce] = {}, trace[kAtOnce] = {};
    for (int64_t t = 0; t < size.steps; ++t) {
        const T* const in = drive.at + (drive.gains ? 0 : t * size.lanes) + first;
        const T gain = drive.gains ? drive.gains[t] : T(1);
#pragma GCC ivdep
        for (int64_t n = 0; n < count; ++n) {
            const T increment = gain * in[n] - after[n] * leak;
            const T membrane = after[n] + increment;
            const T spike = membrane > threshold ? T(1) : T(0);
            after[n] = membrane * (1 - spike);
            trace[n] = trace[n] + (spike - trace[n]) * rise;
            keep(t, n, increment, membrane, spike, trace[n]);
        }
    }
}

template <class T>
void tssl_run(const Size& size, const TsslConstants& c, const TsslRun<T>& run, int64_t from, int64_t to) {
    for (int64_t first = from; first < to; first += kAtOnce) {
        const auto keep = [spikes = run.spikes + first, traces = run.trace + first, lanes = size.lanes](
                              int64_t t, int64_t n, T, T, T spike, T trace) {
            spikes[t * lanes + n] = spike;
            traces[t * lanes + n] = trace;
        };
        tssl_steps(size, c, run.drive, first, least(kAtOnce, to - first), keep);
    }
}

// What some lanes did, `room` apart from step to step. They are run again, as no more than their drive is kept.
template <class T>
struct TsslRecord {
    int64_t room;
    std::unique_ptr<T[]> increment, membrane, trace;

    explicit TsslRecord(const Size& size) : room(kAtOnce) {
        constexpr int64_t kInCache = 1 << 17, kFewest = 64;
        while (room > kFewest && 3 * size.steps * room > kInCache) room /= 2;
        for (auto* each : {&increment, &membrane, &trace}) each->reset(new T[size.steps * room]);
    }

    void run(const Size& size, const TsslConstants& c, const Drive<T>& drive, int64_t first, int64_t count) {
        const auto keep = [du = increment.get(), u = membrane.get(), r = trace.get(), room = room](
                              int64_t t, int64_t n, T change, T reached, T, T sent) {
            du[t * room + n] = change;
            u[t * room + n] = reached;
            r[t * room + n] = sent;
        };
        tssl_steps(size, c, drive, first, count, keep);
    }
};

// The errors of one step, by TSSL-BP. `future` is H, `later` the error that has come from later steps.
template <class T>
struct ByTssl {
    const T threshold, width, steepness, farthest, steepest, smallest, leak, by_reset, quiet;

    ByTssl(const TsslConstants& c)
        : threshold(static_cast<T>(c.threshold)), width(static_cast<T>(c.width)), steepness(static_cast<T>(1 / c.width)),
          farthest(static_cast<T>(c.farthest)), steepest(static_cast<T>(c.steepest)),
          smallest(static_cast<T>(0.5 / c.steepest)), leak(static_cast<T>(1 - 1 / c.tau_membrane)),
          by_reset(static_cast<T>(1 / c.tau_membrane)), quiet(static_cast<T>(1 / (4 * c.tau_synapse))) {}

    void operator()(const T* increment, const T* membrane, const T* trace, const T* future, T* later, T* error,
                    int64_t count) const {
#pragma GCC ivdep
        for (int64_t n = 0; n < count; ++n) {
            const T reached = membrane[n], spike = reached > threshold ? T(1) : T(0);
            const T odds = exponential(within((threshold - reached) * steepness, -farthest, farthest));
            // Both quotients by one division, the slowest of instructions. A change below the bound is cut off either way.
            const T change = increment[n] < smallest ? smallest : increment[n];
            const T below = width * ((1 + odds) * (1 + odds)), both = 1 / (change * below);
            const T inverse = both * below, rises = increment[n] < 0 ? T(0) : spike;
            const T sensitivity = rises * (inverse > steepest ? steepest : inverse);
            later[n] = sensitivity * future[n] + later[n] * (sensitivity * reached * by_reset + (1 - spike) * leak);
            error[n] = odds * change * both * future[n];
        }
        // A loop of its own: in the one above the compiler would branch around what is not chosen.
        for (int64_t n = 0; n < count; ++n) {
            const T chosen = error[n], other = later[n];
            error[n] = trace[n] < quiet ? chosen : other;
        }
    }
};

// The same by backpropagation through time, where a sigmoid's slope stands for the derivative of a spike.
template <class T>
struct BySurrogate {
    const T threshold, width, steepness, farthest, leak, through_reset;

    BySurrogate(const TsslConstants& c)
        : threshold(static_cast<T>(c.threshold)), width(static_cast<T>(c.width)), steepness(static_cast<T>(1 / c.width)),
          farthest(static_cast<T>(c.farthest)), leak(static_cast<T>(1 - 1 / c.tau_membrane)),
          through_reset(static_cast<T>(c.through_reset)) {}

    void operator()(const T*, const T* membrane, const T*, const T* future, T* later, T* error, int64_t count) const {
#pragma GCC ivdep
        for (int64_t n = 0; n < count; ++n) {
            const T reached = membrane[n], spike = reached > threshold ? T(1) : T(0);
            const T odds = exponential(within((threshold - reached) * steepness, -farthest, farthest));
            const T slope = odds / (width * ((1 + odds) * (1 + odds)));
            later[n] = slope * future[n] + leak * (1 - spike - through_reset * slope * reached) * later[n];
            error[n] = later[n];
        }
    }
};

template <class T, class Rule>
void errors_back(const Size& size, const TsslConstants& c, const TsslErrors<T>& errors, int64_t from, int64_t to) {
    const Rule rule(c);
    const T by_trace = static_cast<T>(1 / c.tau_synapse), synapse_leak = static_cast<T>(1 - 1 / c.tau_synapse);
    TsslRecord<T> record(size);
    for (int64_t first = from; first < to; first += record.room) {
        const int64_t count = least(record.room, to - first);
        record.run(size, c, errors.drive, first, count);
        T future[kAtOnce] = {}, later[kAtOnce] = {}, now[kAtOnce], sum[kAtOnce] = {};
        for (int64_t t = size.steps - 1; t >= 0; --t) {
            const T* const given = errors.by_trace + t * size.lanes + first;
            for (int64_t n = 0; n < count; ++n) future[n] = given[n] * by_trace + synapse_leak * future[n];
            const int64_t at = t * record.room;
            T* const error = errors.drive.gains ? now : errors.error + t * size.lanes + first;
            rule(record.increment.get() + at, record.membrane.get() + at, record.trace.get() + at, future, later, error, count);
            if (!errors.drive.gains) continue;
            const T gain = errors.drive.gains[t];
            for (int64_t n = 0; n < count; ++n) sum[n] += gain * now[n];
        }
        if (errors.drive.gains) std::memcpy(errors.error + first, sum, count * sizeof(T));
    }
}

template <class T>
void tssl_errors(const Size& size, const TsslConstants& c, const TsslErrors<T>& errors, int64_t from, int64_t to) {
    if (c.surrogate) {
        errors_back<T, BySurrogate<T>>(size, c, errors, from, to);
    } else {
        errors_back<T, ByTssl<T>>(size, c, errors, from, to);
    }
}

// Side by side, `side` values to each of `count` sums; the most frequent side is known to the compiler.
template <class T>
inline void join(const T* row, T* sums, T gain, int64_t side, int64_t count) {
    if (side == 2) {
        for (int64_t j = 0; j < count; ++j) sums[j] = gain * (row[2 * j] + row[2 * j + 1]);
        return;
    }
    for (int64_t j = 0; j < count; ++j) {
        T sum = row[side * j];
        for (int64_t k = 1; k < side; ++k) sum += row[side * j + k];
        sums[j] = gain * sum;
    }
}

template <class T>
inline void part(const T* sums, T* row, T gain, int64_t side, int64_t count) {
    if (side == 2) {
        for (int64_t j = 0; j < count; ++j) row[2 * j] = row[2 * j + 1] = gain * sums[j];
        return;
    }
    for (int64_t j = 0; j < count; ++j)
        for (int64_t k = 0; k < side; ++k) row[side * j + k] = gain * sums[j];
}

template <class T>
void window_sums(const Windows& windows, const T* values, T* sums, int64_t from, int64_t to) {
    const int64_t side = windows.side, width = windows.width, high = windows.height / side, wide = width / side;
    const T gain = static_cast<T>(windows.gain);
    const std::unique_ptr<T[]> rows(new T[width]);
    for (int64_t image = from; image < to; ++image) {
        for (int64_t i = 0; i < high; ++i) {
            const T* const in = values + (image * windows.height + i * side) * width;
            std::memcpy(rows.get(), in, width * sizeof(T));
            for (int64_t k = 1; k < side; ++k)
                for (int64_t j = 0; j < width; ++j) rows[j] += in[k * width + j];
            join(rows.get(), sums + (image * high + i) * wide, gain, side, wide);
        }
    }
}

template <class T>
void window_errors(const Windows& windows, const T* by_sum, T* by_value, int64_t from, int64_t to) {
    const int64_t side = windows.side, width = windows.width, high = windows.height / side, wide = width / side;
    const T gain = static_cast<T>(windows.gain);
    for (int64_t image = from; image < to; ++image) {
        T* const out = by_value + image * windows.height * width;
        for (int64_t i = 0; i < high; ++i) {
            T* const row = out + i * side * width;
            part(by_sum + (image * high + i) * wide, row, gain, side, wide);
            for (int64_t j = wide * side; j < width; ++j) row[j] = 0;
            for (int64_t k = 1; k < side; ++k) std::memcpy(row + k * width, row, width * sizeof(T));
        }
        std::fill(out + high * side * width, out + windows.height * width, T(0));
    }
}

}  // namespace
}  // namespace LSNN_ISA
}  // namespace layered
