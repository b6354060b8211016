// Weights [D N, I + N] in the forms that the kernels want.
#pragma once

#include <memory>

#include "problem.hpp"

namespace lsnn {
namespace {

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

}  // namespace
}  // namespace lsnn
