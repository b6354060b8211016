// The plain interface to the kernels: chooses those of this processor, prepares weights, spreads blocks over threads.
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "prepare.hpp"
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
    if (threads == 1) {
        for (int64_t block = 0; block < blocks; ++block) work(0, block);
        return;
    }
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

// Networks that take one step at a time, as an agent does that acts; what belongs to them stays where it is in between.
template <class T>
class Session {
public:
    Session(const Problem<T>& p, const Weights<T>& w, const State<const T>& before)
        : p_(p), kernels_(kernels_of<T>(p.plan.variant)), stride_((kernels_.forward_bytes + 63) / 64 * 64),
          blocks_(p.plan.blocks * stride_), scratch_(p.plan.blocks * scratch_numbers(p)) {
        for (int64_t block = 0; block < p.plan.blocks; ++block)
            kernels_.begin(at(block), p_, w, before, block, scratch_.data() + block * scratch_numbers(p));
    }
    void step(const T* x, const T* noise, const uint8_t* reset, T* spikes) {
        p_.x = x, p_.noise = noise, p_.reset = reset;
        const int64_t blocks = p_.plan.blocks;
        for_blocks(blocks, blocks, p_.plan.threads, [&](int64_t, int64_t block) { kernels_.step(at(block), spikes); });
    }
    void write(const State<T>& after) {
        for (int64_t block = 0; block < p_.plan.blocks; ++block) kernels_.write(at(block), after);
    }

private:
    void* at(int64_t block) { return blocks_.data() + block * stride_; }
    Problem<T> p_;
    const Kernels<T>& kernels_;
    const int64_t stride_;
    Buffer<char> blocks_;
    Buffer<T> scratch_;
};

// Where among a block's rows of errors, [D, lanes, padded N], each synapse's error is, from a sample's first on:
// [I + N, padded N].
template <class T>
std::vector<int32_t> error_sources(const Problem<T>& p, const int32_t* delay) {
    const int64_t pres = p.inputs + p.neurons, width = padded(p.neurons);
    std::vector<int32_t> found(pres * width, 0);
    for (int64_t i = 0; i < p.neurons; ++i)
        for (int64_t j = 0; j < pres; ++j)
            found[j * width + i] = static_cast<int32_t>(delay[i * pres + j] * p.plan.lanes * width + i);
    return found;
}

template <class T>
void backward(const Problem<T>& p, const Weights<T>& w, const Tape<T>& tape, const Gradients<T>& gradients) {
    const Kernels<T>& kernels = kernels_of<T>(p.plan.variant);
    const int64_t threads = p.plan.threads, size = scratch_numbers(p);
    const int64_t pres = p.inputs + p.neurons, width = padded(p.neurons), posts = p.delays * p.neurons;
    const int64_t kept_delays = gradients.delay ? 1 : p.delays, gradient_size = pres * kept_delays * width;
    const std::vector<int32_t> sources = gradients.delay ? error_sources(p, gradients.delay) : std::vector<int32_t>();
    // With more chains than threads, a thread that is done always finds another one.
    const int64_t chains = threads == 1 ? 1 : p.plan.blocks < 2 * threads ? p.plan.blocks : 2 * threads;
    Buffer<T> scratch(threads * size), sums(chains * gradient_size);
    for_blocks(p.plan.blocks, chains, threads, [&](int64_t thread, int64_t block) {
        T* const sum = sums.data() + block % chains * gradient_size;
        if (block < chains) std::memset(sum, 0, gradient_size * sizeof(T));
        kernels.backward(p, w, tape, gradients, gradients.delay ? sources.data() : nullptr, block, sum,
                         scratch.data() + thread * size);
    });
    const auto total = [&](int64_t at) {
        T sum = 0;
        for (int64_t chain = 0; chain < chains; ++chain) sum += sums.data()[chain * gradient_size + at];
        return sum;
    };
    if (gradients.delay) {
        std::memset(gradients.by_weight, 0, posts * pres * sizeof(T));
        for (int64_t i = 0; i < p.neurons; ++i)
            for (int64_t j = 0; j < pres; ++j)
                gradients.by_weight[(gradients.delay[i * pres + j] * p.neurons + i) * pres + j] = total(j * width + i);
        return;
    }
    for (int64_t j0 = 0; j0 < pres; j0 += 16)
        for (int64_t i = 0; i < posts; ++i)
            for (int64_t j = j0; j < pres && j < j0 + 16; ++j)
                gradients.by_weight[i * pres + j] = total((j * p.delays + i / p.neurons) * width + i % p.neurons);
}

}  // namespace

int64_t variant_in_use() { return chosen_variant; }

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
    }                                                                                                                 \
    LSNN_EXPORT void* lsnn_begin_##suffix(const lsnn::Problem<T>* problem, const void* weights,                       \
                                          const lsnn::State<const T>* before) {                                       \
        try {                                                                                                         \
            return new lsnn::Session<T>(*problem, *static_cast<const lsnn::Weights<T>*>(weights), *before);           \
        } catch (const std::exception&) {                                                                             \
            return nullptr;                                                                                           \
        }                                                                                                             \
    }                                                                                                                 \
    LSNN_EXPORT void lsnn_step_##suffix(void* session, const T* x, const T* noise, const uint8_t* reset, T* spikes) { \
        static_cast<lsnn::Session<T>*>(session)->step(x, noise, reset, spikes);                                       \
    }                                                                                                                 \
    LSNN_EXPORT void lsnn_write_##suffix(void* session, const lsnn::State<T>* after) {                                \
        static_cast<lsnn::Session<T>*>(session)->write(*after);                                                       \
    }                                                                                                                 \
    LSNN_EXPORT void lsnn_finish_##suffix(void* session) { delete static_cast<lsnn::Session<T>*>(session); }

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
