// A block forwards: only presynaptic channels that are active in it add their weights.
#pragma once

#include "block.hpp"

namespace lsnn {
namespace LSNN_ISA {
namespace {

constexpr int64_t kCached = 4 << 20;  // bytes of a result that are likely to stay in a cache

// The vector of a synapse's target among the vectors from `first` on.
template <class T>
LSNN_INLINE Vec<T>& target(Vec<T>* first, const Synapse<T>& synapse) {
    return *(Vec<T>*)((char*)first + synapse.offset);
}

template <class T>
LSNN_INLINE const Vec<T>& target(const Vec<T>* first, const Synapse<T>& synapse) {
    return *(const Vec<T>*)((const char*)first + synapse.offset);
}

template <class T>
LSNN_INLINE void push_row(const Weights<T>& w, int64_t pre, Vec<T> value, Vec<T>* due) {
    const Synapse<T>* synapse = w.synapses.data() + w.start[pre];
    const Synapse<T>* const end = w.synapses.data() + w.start[pre + 1];
    for (; synapse != end; synapse += 4) {  // always whole fours, in which no two have the same target
        Vec<T> sum[4];
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) sum[q] = multiply_add<T>(splat(synapse[q].weight), value, target(due, synapse[q]));
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) target(due, synapse[q]) = sum[q];
    }
}

// Add `count` rows of a dense part, `value[a]` times row `pre[a]`, a few columns at a time.
template <class T>
void push_dense(const Weights<T>& w, int part, const int32_t* pre, const Vec<T>* value, int64_t count, Vec<T>* due) {
    const int64_t columns = w.delays * w.neurons, first = part ? w.inputs : 0, pres = part ? w.neurons : w.inputs;
    const T* tile = w.by_post[part].data();
    for (int64_t i = 0; i < columns; i += kGroup, tile += pres * kGroup) {
        const int here = columns - i < kGroup ? (int)(columns - i) : kGroup;
        Vec<T> sum[kGroup] = {};
        for (int g = 0; g < here; ++g) sum[g] = due[i + g];
        for (int64_t a = 0; a < count; ++a) {
            const T* row = tile + (pre[a] - first) * kGroup;
            const Vec<T> x = value[a];
#pragma GCC unroll 8
            for (int g = 0; g < kGroup; ++g) sum[g] = multiply_add<T>(splat(row[g]), x, sum[g]);
        }
        for (int g = 0; g < here; ++g) due[i + g] = sum[g];
    }
}

template <class T>
struct Forward {
    const Problem<T>& p;
    const Weights<T>& w;
    const Block<T> block;
    const Tape<T>* tape;
    T* spikes_out;
    Vec<T>*voltage, *adaptation, *refractory, *ring, *value;
    uint16_t* emitted;
    int32_t* active;
    ActiveInputs<T> inputs;
    int64_t slot = 0;
    T pulse;       // what a spike is: 1/dt
    T* staged;     // a step's spikes: [lanes, N]
    bool usual;
    bool streams;  // past the caches, as results that do not fit them anyway

    Forward(const Problem<T>& problem, const Weights<T>& weights, T* spikes, const Tape<T>* kept, int64_t index, Arena<T> arena)
        : p(problem), w(weights), block(problem, index), tape(kept), spikes_out(spikes),
          voltage(arena.vectors(padded(problem.neurons))), adaptation(arena.vectors(padded(problem.neurons))),
          refractory(arena.vectors(padded(problem.neurons))), ring(arena.vectors(ring_slots(problem.delays) * problem.neurons)),
          value(arena.vectors(padded(problem.neurons) + padded(problem.inputs))),
          emitted(arena.bits(padded(problem.neurons))),
          active(arena.indices(padded(problem.neurons))), inputs(arena, block, (T)(1 / problem.dt)), pulse((T)(1 / problem.dt)),
          staged((T*)arena.vectors(problem.neurons)), usual(problem.has_usual_cell()),
          streams(problem.steps * problem.batch * problem.neurons * (int64_t)sizeof(T) > kCached) {}

    Vec<T>* due() { return ring + slot * p.neurons; }

    void load(const State<const T>& before) {
        const int64_t at = block.first * p.neurons;
        for (int64_t n = 0; n < p.neurons; n += kLanes) {
            const int columns = p.neurons - n < kLanes ? (int)(p.neurons - n) : kLanes;
            Vec<T> tile[kLanes];
            load_tile<T>(before.voltage + at + n, p.neurons, block.rows, columns, tile);
            for (int c = 0; c < columns; ++c) voltage[n + c] = tile[c];
            load_tile<T>(before.adaptation + at + n, p.neurons, block.rows, columns, tile);
            for (int c = 0; c < columns; ++c) adaptation[n + c] = tile[c];
            load_tile<T>(before.refractory + at + n, p.neurons, block.rows, columns, tile);
            for (int c = 0; c < columns; ++c) refractory[n + c] = tile[c];
            load_tile<T>(before.spikes + at + n, p.neurons, block.rows, columns, tile);
            for (int c = 0; c < kLanes; ++c) emitted[n + c] = (uint16_t)positive<T>(tile[c]);
            for (int64_t k = 0; k < p.delays; ++k) {
                const T* currents = before.currents + (block.first * p.delays + k) * p.neurons + n;
                load_tile<T>(currents, p.delays * p.neurons, block.rows, columns, tile);
                for (int c = 0; c < columns; ++c) ring[k * p.neurons + n + c] = tile[c];
            }
        }
    }

    void store(const State<T>& after) {
        const int64_t at = block.first * p.neurons;
        for (int64_t n = 0; n < p.neurons; n += kLanes) {
            const int columns = p.neurons - n < kLanes ? (int)(p.neurons - n) : kLanes;
            store_vectors(voltage + n, p.neurons, columns, after.voltage + at + n);
            store_vectors(adaptation + n, p.neurons, columns, after.adaptation + at + n);
            store_vectors(refractory + n, p.neurons, columns, after.refractory + at + n);
            Vec<T> tile[kLanes];
            for (int c = 0; c < columns; ++c) tile[c] = spread<T>(emitted[n + c], pulse);
            store_vectors(tile, p.neurons, columns, after.spikes + at + n);
            for (int64_t k = 0; k < p.delays; ++k)
                store_vectors(due() + k * p.neurons + n, p.delays * p.neurons, columns,
                              after.currents + (block.first * p.delays + k) * p.neurons + n);
        }
    }

    void store_vectors(const Vec<T>* from, int64_t stride, int columns, T* to) {
        Vec<T> tile[kLanes];
        for (int c = 0; c < kLanes; ++c) tile[c] = c < columns ? from[c] : Vec<T>{};
        store_tile<T>(tile, stride, block.rows, columns, to);
    }

    // Put the samples of `lanes` to rest.
    void rest(unsigned lanes) {
        const unsigned kept = kAllLanes & ~lanes;
        for (int64_t n = 0; n < p.neurons; ++n) {
            voltage[n] = keep<T>(kept, voltage[n]);
            adaptation[n] = keep<T>(kept, adaptation[n]);
            refractory[n] = keep<T>(kept, refractory[n]);
            emitted[n] &= (uint16_t)kept;
        }
        for (int64_t i = 0; i < p.delays * p.neurons; ++i) due()[i] = keep<T>(kept, due()[i]);
    }

    void deliver() {
        if (w.sparse[0]) {
            for (int64_t a = 0; a < inputs.count; ++a) push_row(w, inputs.channel[a], inputs.value(inputs.channel[a]), due());
        } else {
            for (int64_t a = 0; a < inputs.count; ++a) value[a] = inputs.value(inputs.channel[a]);
            push_dense(w, 0, inputs.channel, value, inputs.count, due());
        }
        int64_t count = 0;
        for (int64_t n = 0; n < p.neurons; ++n) {
            active[count] = (int32_t)(p.inputs + n);
            value[count] = spread<T>(emitted[n], pulse);
            count += emitted[n] != 0;
        }
        if (w.sparse[1]) {
            for (int64_t a = 0; a < count; ++a) push_row(w, active[a], value[a], due());
        } else {
            push_dense(w, 1, active, value, count, due());
        }
    }

    void advance(int64_t t) {
        if (const unsigned lanes = block.resets(t)) rest(lanes);
        inputs.read(t);
        keep_on_tape(t);
        deliver();
        if (usual)
            update<true>(t);
        else
            update<false>(t);
        write_spikes(t);
        turn_ring();
    }

    // Locals throughout: a store to a vector may alias whatever is reached through a pointer.
    template <bool Usual>
    void update(int64_t t) {
        const Problem<T> c = Usual ? p.with_usual_cell() : p;
        const int64_t neurons = c.neurons, at = (block.index * c.steps + t) * neurons, width = c.widest();
        const int rows = block.rows;
        const unsigned present = block.present();
        Vec<T>*const v = voltage, *const b = adaptation, *const wait = refractory, *const arrived = due();
        T* const compared_out = tape ? tape->voltage + block.index * c.tape_numbers() + t * neurons * width : nullptr;
        uint16_t* const blocked_out = tape ? tape->blocked + at : nullptr;
        uint16_t* const spikes = emitted;
        const T one_pulse = pulse;
        const bool around_cache = streams && width == kLanes;
        const T* const noise_row = c.noise ? c.noise + (t * c.batch + block.first) * neurons : nullptr;
        Vec<T> noise[kLanes];
        for (int64_t n = 0; n < neurons; ++n) {
            if (noise_row && n % kLanes == 0) {
                const int columns = neurons - n < kLanes ? (int)(neurons - n) : kLanes;
                load_tile<T>(noise_row + n, neurons, rows, columns, noise);
            }
            Vec<T> current = arrived[n];
            arrived[n] = Vec<T>{};
            if (noise_row) current += noise[n % kLanes];
            const unsigned emitted_here = spikes[n];
            const Vec<T> adaptation_after = adapted(c, n, b[n], emitted_here, one_pulse);
            const Vec<T> threshold = threshold_of(c, n, adaptation_after);
            const Vec<T> lost = keep<T>(emitted_here, reset_of(c, n, threshold, b[n]));  // dt times a spike is 1
            const Vec<T> next = multiply_add<T>(splat(c.membrane_decay[n]), v[n], splat(c.current_gain(n)) * current - lost);
            const Vec<T> compared = c.fires_on_new_voltage ? next : v[n];
            const Vec<T> waiting = wait[n];
            const unsigned silent = positive<T>(waiting);
            const unsigned fired = positive<T>(compared - threshold) & ~silent & present;
            wait[n] = at_least_zero<T>(waiting - 1) + spread<T>(fired, c.refractory_period[n]);
            v[n] = next;
            b[n] = adaptation_after;
            spikes[n] = (uint16_t)fired;
            if (compared_out) {
                T* const to = compared_out + n * width;
                if (around_cache)
                    stream<T>(compared, (Vec<T>*)to);
                else
                    *(UnalignedVec<T>*)to = (UnalignedVec<T>)compared;
                blocked_out[n] = (uint16_t)silent;
            }
        }
    }

    void keep_on_tape(int64_t t) {
        if (!tape) return;
        uint16_t* to = tape->spikes + (block.index * p.steps + t) * p.neurons;
        for (int64_t n = 0; n < p.neurons; ++n) to[n] = emitted[n];
        uint16_t* active_inputs = tape->inputs + (block.index * p.steps + t) * p.inputs;
        for (int64_t j = 0; j < p.inputs; ++j) active_inputs[j] = inputs.lanes[j];
        tape->plain[block.index * p.steps + t] = inputs.plain;
        const int64_t length = segment_steps(p.neurons, kLanes);
        if (t % length == 0) {
            const int64_t segments = (p.steps + length - 1) / length;
            Vec<T>* kept = (Vec<T>*)tape->adaptation + (block.index * segments + t / length) * p.neurons;
            for (int64_t n = 0; n < p.neurons; ++n) kept[n] = adaptation[n];
        }
    }

    void write_spikes(int64_t t) {
        T* const out = spikes_out + (t * p.batch + block.first) * p.neurons;
        if (!streams || (uintptr_t)out % alignof(Vec<T>)) {
            write_rows(out);
            return;
        }
        write_rows(staged);
        const int64_t count = block.rows * p.neurons;
        int64_t i = 0;
        for (; i + kLanes <= count; i += kLanes) stream<T>(*(const Vec<T>*)(staged + i), (Vec<T>*)(out + i));
        for (; i < count; ++i) out[i] = staged[i];
    }

    void write_rows(T* out) {
        const MaskVec<T> one = (MaskVec<T>)splat(pulse);
        const int64_t neurons = p.neurons;
        const int rows = block.rows;
        for (int64_t n = 0; n < neurons; n += kLanes) {
            const int columns = neurons - n < kLanes ? (int)(neurons - n) : kLanes;
            const MaskVec<T> bits = lane_masks<T>(emitted + n);
            for (int row = 0; row < rows; ++row) {
                const MaskVec<T> fired = (bits & (typename VectorOf<T>::Element)(1 << row)) != 0;
                store_row<T>((Vec<T>)(one & fired), columns, out + row * neurons + n);
            }
        }
    }

    // Move on by one slot; what is due lies in the D slots from there.
    void turn_ring() {
        if (p.delays == 1) return;  // its one slot was emptied when it was read
        ++slot;
        if (slot + p.delays <= ring_slots(p.delays)) {
            for (int64_t i = (p.delays - 1) * p.neurons; i < p.delays * p.neurons; ++i) due()[i] = Vec<T>{};
            return;
        }
        const Vec<T>* from = due();
        for (int64_t i = 0; i < (p.delays - 1) * p.neurons; ++i) ring[i] = from[i];
        for (int64_t i = (p.delays - 1) * p.neurons; i < p.delays * p.neurons; ++i) ring[i] = Vec<T>{};
        slot = 0;
    }

    void start(const State<const T>& before) {
        for (int64_t n = p.neurons; n < padded(p.neurons); ++n) emitted[n] = 0;
        load(before);
    }

    void run(const State<const T>& before, const State<T>& after) {
        start(before);
        for (int64_t t = 0; t < p.steps; ++t) {
            if (t + 1 < p.steps) fetch_rows(block, p.x, t + 1, p.inputs);
            advance(t);
        }
        store(after);
        if (streams) finish_streams();
    }
};

}  // namespace
}  // namespace LSNN_ISA
}  // namespace lsnn
