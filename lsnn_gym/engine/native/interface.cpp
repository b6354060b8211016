// The plain interface to the kernels: chooses those of this processor, prepares weights, spreads blocks over threads.
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "problem.hpp"

#if defined(_WIN32)
#define LSNN_EXPORT extern "C" __declspec(dllexport)
#else
#define LSNN_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace lsnn {
namespace {

Variant best_variant() {
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        return kAvx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kAvx2;
#endif
    return kAny;
}

std::atomic<int64_t> chosen_variant{best_variant()};

template <class T>
const Kernels<T>& kernels_of(int64_t variant);

template <>
const Kernels<float>& kernels_of<float>(int64_t variant) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (variant == kAvx512) return avx512::kernels_float();
    if (variant == kAvx2) return avx2::kernels_float();
#endif
    (void)variant;
    return baseline::kernels_float();
}

template <>
const Kernels<double>& kernels_of<double>(int64_t variant) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (variant == kAvx512) return avx512::kernels_double();
    if (variant == kAvx2) return avx2::kernels_double();
#endif
    (void)variant;
    return baseline::kernels_double();
}

// Working memory that starts at a cache line.
template <class T>
class Buffer {
public:
    explicit Buffer(int64_t count) : memory_(new char[count * sizeof(T) + 64]) {}
    T* data() const {
        const auto at = reinterpret_cast<uintptr_t>(memory_.get());
        return reinterpret_cast<T*>((at + 63) / 64 * 64);
    }

private:
    std::unique_ptr<char[]> memory_;
};

// Blocks in chains (0, C, 2 C, ... are the first of C). A chain's blocks come one after another, by whichever thread
// is free: no thread waits for a slower one, and yet sums over a chain come out the same each time.
class Chains {
public:
    Chains(int64_t blocks, int64_t chains) : blocks_(blocks), next_(chains), busy_(chains, 0) {
        for (int64_t chain = 0; chain < chains; ++chain) next_[chain] = chain;
    }
    // Give back the chain of the last block (or -1); return a block to work at, or -1 if there is none left.
    int64_t take(int64_t last) {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto chains = static_cast<int64_t>(next_.size());
        if (last >= 0) busy_[last % chains] = 0;
        int64_t found = -1;
        for (int64_t chain = 0; chain < chains; ++chain)
            if (!busy_[chain] && next_[chain] < blocks_ && (found < 0 || next_[chain] < next_[found])) found = chain;
        if (found < 0) return -1;
        busy_[found] = 1;
        const int64_t block = next_[found];
        next_[found] += chains;
        return block;
    }

private:
    std::mutex mutex_;
    const int64_t blocks_;
    std::vector<int64_t> next_;
    std::vector<char> busy_;
};

// Call work(thread, block) for every block.
template <class Work>
void for_blocks(int64_t blocks, int64_t chains, int64_t threads, const Work& work) {
    Chains todo(blocks, chains);
    auto share = [&](int64_t thread) {
        for (int64_t block = todo.take(-1); block >= 0; block = todo.take(block)) work(thread, block);
    };
    std::vector<std::thread> helpers;
    helpers.reserve(threads);
    try {
        for (int64_t thread = 1; thread < threads; ++thread) helpers.emplace_back(share, thread);
    } catch (const std::system_error&) {
        // The system has no thread left: those that there are do it all.
    }
    share(0);
    for (std::thread& each : helpers) each.join();
}

// Few samples are spread over all threads, in narrower vectors if that suffices; many fill the widest ones.
Plan plan(int64_t steps, int64_t batch, int64_t inputs, int64_t neurons, int64_t most_threads) {
    // Starting a thread takes longer than a small piece of work.
    const int64_t work = steps * batch * (inputs + neurons);
    const int64_t wanted = work < 100000 || most_threads < 1 ? 1 : most_threads;
    const int64_t share = (batch + wanted - 1) / wanted;
    int64_t variant = chosen_variant;
    if (variant == kAvx512 && share <= lanes_of(kAvx2)) variant = kAvx2;
    const int64_t lanes = lanes_of(variant);
    const int64_t filled = (batch + lanes - 1) / lanes;
    const int64_t even = (filled + wanted - 1) / wanted * wanted;
    const int64_t blocks = even < batch ? even : batch < 1 ? 1 : batch;
    return {variant, lanes, blocks, wanted < blocks ? wanted : blocks};
}

// Above this share of synapses, rows without gaps are faster than lists.
constexpr double kDense = 0.4;

// Where the vector of target `i` lies.
template <class T>
uint32_t offset_of(const Weights<T>& w, int64_t i) {
    return static_cast<uint32_t>(i * w.lanes * static_cast<int64_t>(sizeof(T)));
}

template <class T>
int64_t count_synapses(const T* weight, int64_t posts, int64_t pres, int64_t first, int64_t last) {
    int64_t count = 0;
    for (int64_t i = 0; i < posts; ++i)
        for (int64_t j = first; j < last; ++j) count += weight[i * pres + j] != 0;
    return count;
}

// List the synapses of sparse parts, each row filled up to a multiple of four with weights of 0.
template <class T>
void list_synapses(Weights<T>& w, const T* weight, int64_t posts, int64_t pres) {
    std::vector<int64_t> count(pres, 0);
    for (int64_t i = 0; i < posts; ++i)
        for (int64_t j = 0; j < pres; ++j) count[j] += w.is_sparse(j) && weight[i * pres + j] != 0;
    w.start.assign(pres + 1, 0);
    for (int64_t j = 0; j < pres; ++j) w.start[j + 1] = w.start[j] + (count[j] + 3) / 4 * 4;
    w.synapses.resize(w.start[pres]);
    std::vector<int64_t> next(w.start.begin(), w.start.end() - 1);
    for (int64_t i = 0; i < posts; ++i)
        for (int64_t j = 0; j < pres; ++j)
            if (w.is_sparse(j) && weight[i * pres + j] != 0) w.synapses[next[j]++] = {offset_of<T>(w, i), weight[i * pres + j]};
    for (int64_t j = 0; j < pres; ++j) {
        if (next[j] == w.start[j + 1]) continue;
        // A target that none of the last four has: that of the row's first, or one that the short row leaves out.
        int64_t filler = 0;
        for (int64_t s = w.start[j]; count[j] < 4 && s < next[j]; ++s) filler += w.synapses[s].offset == offset_of<T>(w, filler);
        const uint32_t offset = count[j] < 4 ? offset_of<T>(w, filler) : w.synapses[w.start[j]].offset;
        while (next[j] < w.start[j + 1]) w.synapses[next[j]++] = {offset, 0};
    }
}

// Lay out a dense part: the `channels` columns from `weight` on, of rows `stride` apart.
template <class T>
void pack(Weights<T>& w, int part, const T* weight, int64_t posts, int64_t channels, int64_t stride) {
    const int64_t group = kGroup;
    w.by_post[part].assign((posts + group - 1) / group * group * channels, 0);
    w.by_pre[part].assign((channels + group - 1) / group * group * posts, 0);
    for (int64_t i = 0; i < posts; ++i)
        for (int64_t j = 0; j < channels; ++j) {
            const T value = weight[i * stride + j];
            w.by_post[part][(i / group * channels + j) * group + i % group] = value;
            w.by_pre[part][(j / group * posts + i) * group + j % group] = value;
        }
}

template <class T>
Weights<T>* prepare(const T* weight, int64_t inputs, int64_t neurons, int64_t delays, int64_t lanes) {
    auto made = std::make_unique<Weights<T>>();
    Weights<T>& w = *made;
    const int64_t posts = delays * neurons, pres = inputs + neurons;
    w.inputs = inputs, w.neurons = neurons, w.delays = delays, w.lanes = lanes;
    const int64_t bounds[3] = {0, inputs, pres};
    for (int part = 0; part < 2; ++part) {
        const int64_t first = bounds[part], last = bounds[part + 1];
        w.sparse[part] = count_synapses(weight, posts, pres, first, last) <= kDense * (double)(posts * (last - first));
    }
    if (posts < 8) w.sparse[0] = w.sparse[1] = false;  // no room to fill up rows
    list_synapses(w, weight, posts, pres);
    for (int part = 0; part < 2; ++part)
        if (!w.sparse[part]) pack(w, part, weight + bounds[part], posts, bounds[part + 1] - bounds[part], pres);
    return made.release();
}

template <class T>
void forward(const Problem<T>& p, const Weights<T>& w, const State<const T>& before, const State<T>& after, T* spikes,
             const Tape<T>* tape) {
    const Kernels<T>& kernels = kernels_of<T>(p.plan.variant);
    const int64_t threads = p.plan.threads, size = scratch_numbers(p);
    Buffer<T> scratch(threads * size);
    for_blocks(p.plan.blocks, p.plan.blocks, threads, [&](int64_t thread, int64_t block) {
        kernels.forward(p, w, before, after, spikes, tape, block, scratch.data() + thread * size);
    });
}

template <class T>
void backward(const Problem<T>& p, const Weights<T>& w, const Tape<T>& tape, const Gradients<T>& gradients) {
    const Kernels<T>& kernels = kernels_of<T>(p.plan.variant);
    const int64_t threads = p.plan.threads, size = scratch_numbers(p);
    const int64_t pres = p.inputs + p.neurons, width = padded(p.neurons), posts = p.delays * p.neurons;
    const int64_t gradient_size = pres * p.delays * width;
    // With more chains than threads, a thread that is done always finds another one.
    const int64_t chains = threads == 1 ? 1 : p.plan.blocks < 2 * threads ? p.plan.blocks : 2 * threads;
    Buffer<T> scratch(threads * size), sums(chains * gradient_size);
    for_blocks(p.plan.blocks, chains, threads, [&](int64_t thread, int64_t block) {
        T* const sum = sums.data() + block % chains * gradient_size;
        if (block < chains) std::memset(sum, 0, gradient_size * sizeof(T));
        kernels.backward(p, w, tape, gradients, block, sum, scratch.data() + thread * size);
    });
    for (int64_t j0 = 0; j0 < pres; j0 += 16)
        for (int64_t i = 0; i < posts; ++i)
            for (int64_t j = j0; j < pres && j < j0 + 16; ++j) {
                const T* from = sums.data() + (j * p.delays + i / p.neurons) * width + i % p.neurons;
                T sum = 0;
                for (int64_t chain = 0; chain < chains; ++chain) sum += from[chain * gradient_size];
                gradients.by_weight[i * pres + j] = sum;
            }
}

}  // namespace
}  // namespace lsnn

#define LSNN_INTERFACE(suffix, T)                                                                                     \
    LSNN_EXPORT void* lsnn_prepare_##suffix(const T* weight, int64_t inputs, int64_t neurons, int64_t delays,         \
                                            int64_t lanes) {                                                          \
        try {                                                                                                         \
            return lsnn::prepare<T>(weight, inputs, neurons, delays, lanes);                                          \
        } catch (const std::bad_alloc&) {                                                                             \
            return nullptr;                                                                                           \
        }                                                                                                             \
    }                                                                                                                 \
    LSNN_EXPORT void lsnn_release_##suffix(void* weights) { delete static_cast<lsnn::Weights<T>*>(weights); }         \
    LSNN_EXPORT int lsnn_forward_##suffix(const lsnn::Problem<T>* problem, const void* weights,                       \
                                          const lsnn::State<const T>* before, const lsnn::State<T>* after, T* spikes, \
                                          const lsnn::Tape<T>* tape) {                                                \
        try {                                                                                                         \
            lsnn::forward<T>(*problem, *static_cast<const lsnn::Weights<T>*>(weights), *before, *after, spikes, tape);\
        } catch (const std::exception&) {                                                                             \
            return 1;                                                                                                 \
        }                                                                                                             \
        return 0;                                                                                                     \
    }                                                                                                                 \
    LSNN_EXPORT int lsnn_backward_##suffix(const lsnn::Problem<T>* problem, const void* weights,                      \
                                           const lsnn::Tape<T>* tape, const lsnn::Gradients<T>* gradients) {          \
        try {                                                                                                         \
            lsnn::backward<T>(*problem, *static_cast<const lsnn::Weights<T>*>(weights), *tape, *gradients);           \
        } catch (const std::exception&) {                                                                             \
            return 1;                                                                                                 \
        }                                                                                                             \
        return 0;                                                                                                     \
    }

LSNN_INTERFACE(float, float)
LSNN_INTERFACE(double, double)

// How a sequence is to be computed; forwards and backwards alike, for the tape follows from it.
LSNN_EXPORT void lsnn_plan(int64_t steps, int64_t batch, int64_t inputs, int64_t neurons, int64_t threads, lsnn::Plan* plan) {
    *plan = lsnn::plan(steps, batch, inputs, neurons, threads);
}

// The tape's sizes follow from this.
LSNN_EXPORT int64_t lsnn_segment_steps(int64_t neurons, int64_t lanes) { return lsnn::segment_steps(neurons, lanes); }

// Use the kernels for a lesser processor (0: every one, 1: AVX2, 2: AVX-512) or, below 0, for this one; return whose.
LSNN_EXPORT int lsnn_choose_isa(int wanted) {
    const lsnn::Variant best = lsnn::best_variant();
    if (wanted <= best) lsnn::chosen_variant = wanted < 0 ? static_cast<int64_t>(best) : wanted;
    return static_cast<int>(lsnn::chosen_variant);
}
