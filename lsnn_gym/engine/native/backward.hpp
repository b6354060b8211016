// A block backwards: thresholds are computed anew from the spikes; errors go back over existing synapses only, and only
// to neurons whose pseudo-derivative is not 0; the weight gradient gets one row of errors for each presynaptic spike and
// delay, or one in all, where each synapse has but one delay.
#pragma once

#include "forward.hpp"

namespace lsnn {
namespace LSNN_ISA {
namespace {

// The error that reaches presynaptic channels `pre`, `pre + 1`, ... (`count` of them, at most kGroup, the first of a
// group) from the errors of the D steps from `errors` on. Those without a bit in `wanted` may be left out, as 0.
template <class T>
LSNN_INLINE void pull(const Weights<T>& w, int64_t pre, int count, unsigned wanted, const Vec<T>* errors, Vec<T>* sum) {
    const int64_t columns = w.delays * w.neurons;
    if (w.is_sparse(pre)) {
        for (int g = 0; g < count; ++g) {
            sum[g] = Vec<T>{};
            if (!(wanted >> g & 1)) continue;
            const Synapse<T>* synapse = w.synapses.data() + w.start[pre + g];
            const Synapse<T>* const end = w.synapses.data() + w.start[pre + g + 1];
            Vec<T> part[4] = {};
            for (; synapse != end; synapse += 4) {
#pragma GCC unroll 4
                for (int q = 0; q < 4; ++q) part[q] = multiply_add<T>(splat(synapse[q].weight), target(errors, synapse[q]), part[q]);
            }
            sum[g] = (part[0] + part[1]) + (part[2] + part[3]);
        }
        return;
    }
    const int part = pre >= w.inputs;
    const T* row = w.by_pre[part].data() + (pre - (part ? w.inputs : 0)) / kGroup * columns * kGroup;
    Vec<T> found[kGroup] = {};
    for (int64_t i = 0; i < columns; ++i, row += kGroup) {
        const Vec<T> error = errors[i];
#pragma GCC unroll 8
        for (int g = 0; g < kGroup; ++g) found[g] = multiply_add<T>(splat(row[g]), error, found[g]);
    }
    for (int g = 0; g < count; ++g) sum[g] = found[g];
}

template <class T>
struct Backward {
    const Problem<T>& p;
    const Weights<T>& w;
    const Tape<T>& tape;
    const Gradients<T>& out;
    const Block<T> block;
    const int64_t padded_neurons, slots, length;
    Vec<T>*by_voltage, *by_spikes, *by_adaptation;
    Vec<T>* ring;    // errors of the currents that arrive at a step: [slots, N]
    T* rows;         // the same, a row a sample: [slots, lanes, padded N]
    Vec<T>* course;  // adaptation before each step of the segment: [length, N]
    ActiveInputs<T> inputs;
    int64_t slot;
    const int32_t* sources;  // [I + N, padded N]: from error_rows(0) of a sample to each synapse's error, or null
    T* by_weight;
    T pulse;

    Backward(const Problem<T>& problem, const Weights<T>& weights, const Tape<T>& kept, const Gradients<T>& gradients,
             const int32_t* error_sources, int64_t index, T* weight_gradient, Arena<T> arena)
        : p(problem), w(weights), tape(kept), out(gradients), block(problem, index), padded_neurons(padded(problem.neurons)),
          slots(ring_slots(problem.delays)), length(segment_steps(problem.neurons, kLanes)),
          by_voltage(arena.vectors(padded_neurons)), by_spikes(arena.vectors(padded_neurons)),
          by_adaptation(arena.vectors(padded_neurons)), ring(arena.vectors(slots * padded_neurons)),
          rows((T*)arena.vectors(slots * padded_neurons)), course(arena.vectors(length * padded_neurons)),
          inputs(arena, block, (T)(1 / problem.dt)), slot(slots - problem.delays), sources(error_sources),
          by_weight(weight_gradient), pulse((T)(1 / problem.dt)) {}

    Vec<T>* errors() { return ring + slot * p.neurons; }
    T* error_rows(int64_t k) { return rows + (slot + k) * kLanes * padded_neurons; }

    void load_vectors(const T* from, int64_t stride, Vec<T>* to) {
        for (int64_t n = 0; n < p.neurons; n += kLanes) {
            const int columns = p.neurons - n < kLanes ? (int)(p.neurons - n) : kLanes;
            Vec<T> tile[kLanes];
            load_tile<T>(from + n, stride, block.rows, columns, tile);
            for (int c = 0; c < columns; ++c) to[n + c] = tile[c];
        }
    }

    void store_vectors(const Vec<T>* from, int64_t count, int64_t stride, T* to) {
        for (int64_t n = 0; n < count; n += kLanes) {
            const int columns = count - n < kLanes ? (int)(count - n) : kLanes;
            Vec<T> tile[kLanes];
            for (int c = 0; c < kLanes; ++c) tile[c] = c < columns ? from[n + c] : Vec<T>{};
            store_tile<T>(tile, stride, block.rows, columns, to + n);
        }
    }

    // Keep a row a sample of the errors of slot `k`, for the weight gradient.
    void lay_rows(int64_t k) {
        const Vec<T>* from = errors() + k * p.neurons;
        T* const to = error_rows(k);
        for (int64_t n = 0; n < p.neurons; n += kLanes) {
            Vec<T> tile[kLanes];
            for (int c = 0; c < kLanes; ++c) tile[c] = n + c < p.neurons ? from[n + c] : Vec<T>{};
            transpose<T>(tile);
            for (int row = 0; row < kLanes; ++row) *(Vec<T>*)(to + row * padded_neurons + n) = tile[row];
        }
    }

    void load() {
        const int64_t at = block.first * p.neurons;
        load_vectors(out.by_after.voltage + at, p.neurons, by_voltage);
        load_vectors(out.by_after.spikes + at, p.neurons, by_spikes);
        load_vectors(out.by_after.adaptation + at, p.neurons, by_adaptation);
        // The slot before is the last step's, still to come.
        for (int64_t k = 0; k < p.delays; ++k) {
            const T* currents = out.by_after.currents + (block.first * p.delays + k) * p.neurons;
            load_vectors(currents, p.delays * p.neurons, errors() + k * p.neurons);
            lay_rows(k);
        }
    }

    // Make room for the errors of the step before; return those of the D slots from there on.
    const Vec<T>* turn_ring() {
        const Vec<T>* later = errors();
        if (p.delays == 1) {
            slot = 1 - slot;
            return later;
        }
        if (slot == 0) {
            slot = slots - p.delays;
            for (int64_t i = p.delays * p.neurons - 1; i >= 0; --i) errors()[i] = ring[i];
            const int64_t width = kLanes * padded_neurons;
            for (int64_t i = p.delays * width - 1; i >= 0; --i) rows[slot * width + i] = rows[i];
            later = errors();
        }
        --slot;
        return later;
    }

    // Compute the adaptation before each step of a segment, as the forward pass did.
    void follow_adaptation(int64_t from, int64_t to) {
        const int64_t segments = (p.steps + length - 1) / length;
        const Vec<T>* kept = (const Vec<T>*)tape.adaptation + (block.index * segments + from / length) * p.neurons;
        for (int64_t n = 0; n < p.neurons; ++n) course[n] = kept[n];
        for (int64_t t = from; t + 1 < to; ++t) {
            Vec<T>* before = course + (t - from) * p.neurons;
            const uint16_t* emitted = tape.spikes + (block.index * p.steps + t) * p.neurons;
            const unsigned kept_lanes = kAllLanes & ~block.resets(t + 1);
            for (int64_t n = 0; n < p.neurons; ++n) before[p.neurons + n] = keep<T>(kept_lanes, adapted(p, n, before[n], emitted[n], pulse));
        }
    }

    // Ask for what step t - 1 will read of these neurons: a little at a time, for many requests at once get lost.
    LSNN_INLINE void fetch(const Problem<T>& c, int64_t t, int64_t first, int count) const {
        constexpr int line = 64 / (int)sizeof(T);
        if (t == 0) return;
        if (first % line == 0)
            for (int row = 0; row < block.rows; ++row)
                __builtin_prefetch(out.by_spikes + ((t - 1) * c.batch + block.first + row) * c.neurons + first);
        const T* const voltages = tape.voltage + block.index * c.tape_numbers() + (t - 1) * c.neurons * c.widest();
        for (int64_t i = first * c.widest(); i < (first + count) * c.widest(); i += line) __builtin_prefetch(voltages + i);
    }

    // Take the errors of step t + 1 and later, and of the state after step t, back through step t.
    template <bool Usual>
    void retreat(int64_t t, const Vec<T>* before) {
        const Problem<T> c = Usual ? p.with_usual_cell() : p;
        const int64_t at = (block.index * c.steps + t) * c.neurons;
        const int64_t tape_width = c.widest();
        const T* const compared = tape.voltage + block.index * c.tape_numbers() + t * c.neurons * tape_width;
        const unsigned present = block.present();
        const uint16_t *const emitted = tape.spikes + at, *const blocked = tape.blocked + at;
        const Vec<T>* const later = turn_ring();  // errors of the D steps from t + 1 on
        const T* const outside_row = out.by_spikes + (t * c.batch + block.first) * c.neurons;
        const T height = (T)(c.dampening_factor / c.dt), one_pulse = pulse;
        const bool may_pull = !c.stops_spike_gradient && t + 1 < c.steps;
        const Sink sink = {by_voltage, by_spikes, by_adaptation, errors()};
        constexpr int tile = kLanes < kGroup ? kGroup : kLanes;
        for (int64_t first = 0; first < c.neurons; first += tile) {
            const int columns = c.neurons - first < tile ? (int)(c.neurons - first) : tile;
            fetch(c, t, first, tile);
            Vec<T> outside[tile];
            for (int part = 0; part < columns; part += kLanes) {
                const int here = columns - part < kLanes ? columns - part : kLanes;
                load_tile<T>(outside_row + first + part, c.neurons, block.rows, here, outside + part);
            }
            for (int half = 0; half < columns; half += kGroup) {
                const int count = columns - half < kGroup ? columns - half : kGroup;
                Vec<T> threshold[kGroup], steepness[kGroup], scaled[kGroup], sum[kGroup];
                unsigned sloped = 0;
                for (int g = 0; g < count; ++g) {
                    const int64_t n = first + half + g;
                    threshold[g] = threshold_of(c, n, adapted(c, n, before[n], emitted[n], one_pulse));
                    const Vec<T> inverse = reciprocal<T>(c.normalised_by_baseline ? splat<T>(c.threshold[n]) : threshold[g]);
                    scaled[g] = ((Vec<T>)*(const UnalignedVec<T>*)(compared + n * tape_width) - threshold[g]) * inverse;
                    const Vec<T> slope = keep<T>(present & ~(unsigned)blocked[n], at_least_zero<T>(1 - magnitude<T>(scaled[g])));
                    sloped |= (unsigned)(positive<T>(slope) != 0) << g;
                    steepness[g] = slope * height * inverse;
                }
                const bool pulls = sloped && may_pull;
                if (pulls) pull<T>(w, c.inputs + first + half, count, sloped, later, sum);
                for (int g = 0; g < count; ++g) {
                    const int64_t n = first + half + g;
                    Vec<T> by_spike = sink.by_spikes[n] + outside[half + g];
                    if (pulls) by_spike += sum[g];
                    retreat_neuron(c, sink, n, by_spike * steepness[g], scaled[g], threshold[g], before[n], emitted[n]);
                }
            }
        }
    }

    struct Sink {
        Vec<T>*by_voltage, *by_spikes, *by_adaptation, *error;
    };

    // `through`: the error that goes through the spike function.
    static LSNN_INLINE void retreat_neuron(const Problem<T>& c, const Sink& sink, int64_t n, Vec<T> through, Vec<T> scaled,
                                           Vec<T> threshold, Vec<T> adaptation, unsigned emitted) {
        const Vec<T> beta = splat(c.beta[n]);
        Vec<T> by_threshold = -through;
        if (!c.normalised_by_baseline) by_threshold = multiply_add<T>(by_threshold, scaled, by_threshold);
        Vec<T> by_next = sink.by_voltage[n];
        if (c.fires_on_new_voltage) by_next += through;
        const Vec<T> by_reset = -keep<T>(emitted, by_next);  // dt times a spike is 1
        if (c.reset_by == kCurrent) by_threshold += by_reset;
        const Vec<T> by_adapted = multiply_add<T>(beta, by_threshold, sink.by_adaptation[n]);
        Vec<T> by_before = c.adaptation_decay[n] * by_adapted;
        if (c.reset_by == kCrossed) by_before = multiply_add<T>(beta, by_reset, by_before);
        Vec<T> by_emitted = c.adaptation_gain(n) * by_adapted;
        if (!c.stops_spike_gradient) {
            by_emitted = multiply_add<T>(splat((T)-c.dt) * reset_of(c, n, threshold, adaptation), by_next, by_emitted);
        }
        Vec<T> by_voltage_before = c.membrane_decay[n] * by_next;
        if (!c.fires_on_new_voltage) by_voltage_before += through;
        sink.error[n] = c.current_gain(n) * by_next;
        sink.by_spikes[n] = by_emitted;
        sink.by_adaptation[n] = by_before;
        sink.by_voltage[n] = by_voltage_before;
    }

    // Add value times the errors that the channel's synapses lead to.
    LSNN_INLINE void add_rows(int64_t pre, unsigned lanes, const Vec<T>& value) {
        const int64_t width = padded_neurons;
        const T* row[kLanes];
        T factor[kLanes];
        int count = 0;
        for (unsigned left = lanes; left; left &= left - 1, ++count) {
            const int lane = __builtin_ctz(left);
            row[count] = error_rows(0) + lane * width;
            factor[count] = value[lane];
        }
        if (sources) {
            add_gathered(by_weight + pre * width, row, factor, count, sources + pre * width, width);
            return;
        }
        for (int64_t k = 0; k < p.delays; ++k) {
            add_scaled(by_weight + (pre * p.delays + k) * width, row, factor, count, width);
            for (int r = 0; r < count; ++r) row[r] += kLanes * width;
        }
    }

    static LSNN_INLINE void add_gathered(T* to, const T* const* row, const T* factor, int count, const int32_t* from,
                                         int64_t width) {
        for (int64_t i = 0; i < width; i += kLanes) {
            Vec<T> sum = *(const Vec<T>*)(to + i);
            for (int r = 0; r < count; ++r) sum = multiply_add<T>(splat(factor[r]), gather<T>(row[r], from + i), sum);
            *(Vec<T>*)(to + i) = sum;
        }
    }

    static LSNN_INLINE void add_scaled(T* to, const T* const* row, const T* factor, int count, int64_t width) {
        int64_t i = 0;
        for (; i + 4 * kLanes <= width; i += 4 * kLanes) {
            Vec<T> sum[4];
#pragma GCC unroll 4
            for (int q = 0; q < 4; ++q) sum[q] = *(const Vec<T>*)(to + i + q * kLanes);
            for (int r = 0; r < count; ++r) {
#pragma GCC unroll 4
                for (int q = 0; q < 4; ++q) sum[q] = multiply_add<T>(splat(factor[r]), *(const Vec<T>*)(row[r] + i + q * kLanes), sum[q]);
            }
#pragma GCC unroll 4
            for (int q = 0; q < 4; ++q) *(Vec<T>*)(to + i + q * kLanes) = sum[q];
        }
        for (; i < width; i += kLanes) {
            Vec<T> sum = *(const Vec<T>*)(to + i);
            for (int r = 0; r < count; ++r) sum = multiply_add<T>(splat(factor[r]), *(const Vec<T>*)(row[r] + i), sum);
            *(Vec<T>*)(to + i) = sum;
        }
    }

    void add_weight_gradient(int64_t t) {
        lay_rows(0);
        if (!out.skips_input_weights) {
            const int64_t at = block.index * p.steps + t;
            if (tape.plain[at])
                inputs.recall(tape.inputs + at * p.inputs);
            else
                inputs.read(t);
            for (int64_t a = 0; a < inputs.count; ++a)
                add_rows(inputs.channel[a], inputs.lanes[inputs.channel[a]], inputs.value(inputs.channel[a]));
        }
        const uint16_t* emitted = tape.spikes + (block.index * p.steps + t) * p.neurons;
        const Vec<T> pulses = splat(pulse);
        for (int64_t n = 0; n < p.neurons; ++n)
            if (emitted[n]) add_rows(p.inputs + n, emitted[n], pulses);
    }

    void write_errors(int64_t t) {
        if (out.by_noise)
            for (int row = 0; row < block.rows; ++row) {
                T* const to = out.by_noise + (t * p.batch + block.first + row) * p.neurons;
                const T* const from = error_rows(0) + row * padded_neurons;
                for (int64_t n = 0; n < p.neurons; ++n) to[n] = from[n];
            }
        if (!out.by_input) return;
        for (int64_t first = 0; first < p.inputs; first += kGroup) {
            const int count = p.inputs - first < kGroup ? (int)(p.inputs - first) : kGroup;
            Vec<T> sum[kGroup];
            pull<T>(w, first, count, ~0u, errors(), sum);
            for (int row = 0; row < block.rows; ++row)
                for (int g = 0; g < count; ++g)
                    out.by_input[(t * p.batch + block.first + row) * p.inputs + first + g] = sum[g][row];
        }
    }

    // What came before a reset has no part in what came after it.
    void forget(unsigned lanes) {
        const unsigned kept = kAllLanes & ~lanes;
        for (int64_t n = 0; n < p.neurons; ++n) {
            by_voltage[n] = keep<T>(kept, by_voltage[n]);
            by_spikes[n] = keep<T>(kept, by_spikes[n]);
            by_adaptation[n] = keep<T>(kept, by_adaptation[n]);
        }
        for (int64_t i = 0; i < p.delays * p.neurons; ++i) errors()[i] = keep<T>(kept, errors()[i]);
        for (int64_t k = 0; k < p.delays; ++k)
            for (unsigned left = lanes; left; left &= left - 1) {
                T* const row = error_rows(k) + __builtin_ctz(left) * padded_neurons;
                for (int64_t n = 0; n < padded_neurons; ++n) row[n] = 0;
            }
    }

    void store() {
        if (!p.stops_spike_gradient)
            for (int64_t n = 0; n < p.neurons; n += kGroup) {
                const int count = p.neurons - n < kGroup ? (int)(p.neurons - n) : kGroup;
                Vec<T> sum[kGroup];
                pull<T>(w, p.inputs + n, count, ~0u, errors(), sum);
                for (int g = 0; g < count; ++g) by_spikes[n + g] += sum[g];
            }
        const int64_t at = block.first * p.neurons;
        store_vectors(by_voltage, p.neurons, p.neurons, out.by_before.voltage + at);
        store_vectors(by_spikes, p.neurons, p.neurons, out.by_before.spikes + at);
        store_vectors(by_adaptation, p.neurons, p.neurons, out.by_before.adaptation + at);
        for (int64_t k = 0; k < p.delays; ++k)
            store_vectors(errors() + k * p.neurons, p.neurons, p.delays * p.neurons,
                          out.by_before.currents + (block.first * p.delays + k) * p.neurons);
    }

    void run() {
        const bool usual = p.has_usual_cell();
        load();
        for (int64_t end = p.steps; end > 0;) {
            const int64_t from = (end - 1) / length * length;
            follow_adaptation(from, end);
            for (int64_t t = end - 1; t >= from; --t) {
                if (usual)
                    retreat<true>(t, course + (t - from) * p.neurons);
                else
                    retreat<false>(t, course + (t - from) * p.neurons);
                add_weight_gradient(t);
                write_errors(t);
                if (const unsigned lanes = block.resets(t)) forget(lanes);
            }
            end = from;
        }
        store();
    }
};

}  // namespace
}  // namespace LSNN_ISA
}  // namespace lsnn
