// Pieces of work that threads share.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace {

// Call work(0) to work(count - 1), each by whichever thread is free; return whether all came to their end.
template <class F>
bool spread_work(int64_t count, int64_t threads, F work) {
    std::atomic<int64_t> next{0};
    std::atomic<bool> well{true};
    const auto take = [&] {
        try {
            for (int64_t k = next++; k < count; k = next++) work(k);
        } catch (const std::exception&) {
            well = false;
        }
    };
    std::vector<std::thread> others;
    try {
        for (int64_t k = 1; k < std::min(threads, count); ++k) others.emplace_back(take);
    } catch (const std::system_error&) {  // fewer threads than wished for
    }
    take();
    for (std::thread& each : others) each.join();
    return well;
}

}  // namespace
