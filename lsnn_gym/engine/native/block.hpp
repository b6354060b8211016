// What a block of samples works with: its memory, its samples, the inputs that are active in it.
#pragma once

#include "lanes.hpp"
#include "problem.hpp"

namespace lsnn {
namespace LSNN_ISA {
namespace {

using namespace ::LSNN_ISA;

// Hands out parts of a thread's working memory.
template <class T>
struct Arena {
    T* next;
    Vec<T>* vectors(int64_t count) {
        T* found = next;
        next += kLanes * count;
        return (Vec<T>*)found;
    }
    uint16_t* bits(int64_t count) {
        T* found = next;
        next += (count * 2 / (int64_t)sizeof(T) + 32) / 16 * 16;
        return (uint16_t*)found;
    }
    int32_t* indices(int64_t count) {
        T* found = next;
        next += (count * 4 / (int64_t)sizeof(T) + 32) / 16 * 16;
        return (int32_t*)found;
    }
};

// The adaptation after a step, from that before it and the spikes before it; and the threshold that it makes.
template <class T>
LSNN_INLINE Vec<T> adapted(const Problem<T>& p, int64_t n, Vec<T> before, unsigned emitted, T pulse) {
    return multiply_add<T>(splat(p.adaptation_decay[n]), before, spread<T>(emitted, p.adaptation_gain(n) * pulse));
}

template <class T>
LSNN_INLINE Vec<T> threshold_of(const Problem<T>& p, int64_t n, Vec<T> adaptation) {
    return multiply_add<T>(splat(p.beta[n]), adaptation, splat(p.threshold[n]));
}

// What a spike takes from the voltage.
template <class T>
LSNN_INLINE Vec<T> reset_of(const Problem<T>& p, int64_t n, Vec<T> threshold, Vec<T> adaptation_before) {
    if (p.reset_by == kCurrent) return threshold;
    return p.reset_by == kCrossed ? threshold_of(p, n, adaptation_before) : splat(p.threshold[n]);
}

// Which samples a block has, and which of them start anew before a step.
template <class T>
struct Block {
    const Problem<T>& p;
    int64_t index, first;
    int rows;
    Block(const Problem<T>& problem, int64_t block)
        : p(problem), index(block), first(problem.first_of(block)), rows((int)(problem.first_of(block + 1) - first)) {}
    unsigned present() const { return (1u << rows) - 1; }
    unsigned resets(int64_t t) const {
        unsigned found = 0;
        if (p.reset)
            for (int row = 0; row < rows; ++row)
                if (p.reset[t * p.batch + first + row]) found |= 1u << row;
        return found;
    }
};

// Ask for a block's rows of a step in time, for memory is slow where rows lie apart.
template <class T>
inline void fetch_rows(const Block<T>& block, const T* from, int64_t t, int64_t width) {
    for (int row = 0; row < block.rows; ++row) {
        const char* const start = (const char*)(from + (t * block.p.batch + block.first + row) * width);
        for (int64_t i = 0; i < width * (int64_t)sizeof(T); i += 64) __builtin_prefetch(start + i);
    }
}

// The input channels that are active at a step, in order: which samples they are active in and, unless all are
// plain spikes, their values.
template <class T>
struct ActiveInputs {
    const Block<T>& block;
    const T pulse;
    uint16_t* lanes;   // [padded I]
    uint16_t* bits;    // [padded I]: by group of as many channels as lanes, which are active in each sample
    Vec<T>* values;    // [padded I], of active channels of a step that is not plain
    int32_t* channel;  // [count]
    int64_t count = 0;
    bool plain = true;

    ActiveInputs(Arena<T>& arena, const Block<T>& of, T spike)
        : block(of), pulse(spike), lanes(arena.bits(padded(of.p.inputs))), bits(arena.bits(padded(of.p.inputs))),
          values(arena.vectors(padded(of.p.inputs))), channel(arena.indices(padded(of.p.inputs))) {}

    const T* row(int64_t t, int lane) const { return block.p.x + (t * block.p.batch + block.first + lane) * block.p.inputs; }

    void read(int64_t t) {
        const int64_t inputs = block.p.inputs;
        unsigned others = 0;
        for (int lane = 0; lane < block.rows; ++lane) others |= read_row(row(t, lane), lane, inputs);
        for (int64_t j = 0; j < inputs; j += kLanes) {
            for (int lane = block.rows; lane < kLanes; ++lane) bits[j + lane] = 0;
            transpose_bits(bits + j, lanes + j);
        }
        plain = !others;
        list();
        if (!plain)
            for (int64_t a = 0; a < count; ++a) values[channel[a]] = column(t, channel[a]);
    }

    // As `read`, for a step whose channels' samples are known to be plain spikes.
    void recall(const uint16_t* kept) {
        for (int64_t j = 0; j < block.p.inputs; ++j) lanes[j] = kept[j];
        plain = true;
        list();
    }

    Vec<T> value(int64_t j) const { return plain ? spread<T>(lanes[j], pulse) : values[j]; }

private:
    // Note which channels of a row are active; return whether any is neither 0 nor a plain spike.
    unsigned read_row(const T* from, int lane, int64_t inputs) {
        unsigned others = 0;
        int64_t j = 0;
        for (; j + kLanes <= inputs; j += kLanes) {
            const Vec<T> value = (Vec<T>)*(const UnalignedVec<T>*)(from + j);
            const unsigned active = differing<T>(value, Vec<T>{});
            others |= active & differing<T>(value, splat<T>(pulse));
            bits[j + lane] = (uint16_t)active;
        }
        if (j < inputs) {
            unsigned active = 0;
            for (int64_t c = j; c < inputs; ++c) {
                active |= (unsigned)(from[c] != 0) << (c - j);
                others |= from[c] != 0 && from[c] != pulse;
            }
            bits[j + lane] = (uint16_t)active;
        }
        return others;
    }

    void list() {
        count = 0;
        for (int64_t j = 0; j < block.p.inputs; ++j) {
            channel[count] = (int32_t)j;
            count += lanes[j] != 0;
        }
    }

    Vec<T> column(int64_t t, int64_t j) const {
        alignas(64) T found[kLanes] = {};
        for (int lane = 0; lane < block.rows; ++lane) found[lane] = row(t, lane)[j];
        return *(const Vec<T>*)found;
    }
};

}  // namespace
}  // namespace LSNN_ISA
}  // namespace lsnn
