#include "util/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <system_error>
#include <thread>

#include <sched.h>

namespace shardwise {

std::size_t own_hardware_threads() noexcept {
    cpu_set_t mask;
    bool const is_known = ::sched_getaffinity(0, sizeof(mask), &mask) == 0;
    auto const count = is_known ? static_cast<std::size_t>(CPU_COUNT(&mask)) : std::thread::hardware_concurrency();
    return std::max<std::size_t>(1, count);
}

std::vector<IndexRange> parts_for_threads(std::size_t count, std::size_t least) {
    constexpr std::size_t kMostParts = 8;  // ranks of a node may do the same at this time, none of them bound
    auto const parts = std::min(
        {count, std::max<std::size_t>(1, count / std::max<std::size_t>(1, least)), kMostParts, own_hardware_threads()});
    std::vector<IndexRange> ranges;
    for (std::size_t i = 0; i < parts; ++i) { ranges.push_back({count * i / parts, count * (i + 1) / parts}); }
    return ranges;
}

void for_each_in_parallel(std::size_t count, std::size_t threads, std::function<void(std::size_t)> const& work) {
    std::vector<std::exception_ptr> errors(count);
    std::atomic<std::size_t> next = 0;
    auto const work_off = [&] {
        for (auto i = next++; i < count; i = next++) {
            try {
                work(i);
            } catch (...) { errors[i] = std::current_exception(); }
        }
    };
    {
        std::vector<std::jthread> others;
        try {
            for (std::size_t i = 1; i < std::min(count, threads); ++i) { others.emplace_back(work_off); }
        } catch (std::system_error const&) {}  // no more threads are to be had: these do what is left
        work_off();
    }
    auto const first = std::ranges::find_if(errors, [](auto const& error) { return error != nullptr; });
    if (first != errors.end()) { std::rethrow_exception(*first); }
}

void for_each_file(std::size_t count, std::function<void(std::size_t)> const& work) {
    constexpr std::size_t kMostThreads = 4;
    constexpr std::size_t kFilesOfThread = 4;  // a thread for fewer costs more than it saves
    for_each_in_parallel(count, std::min(kMostThreads, count / kFilesOfThread), work);
}

}  // namespace shardwise
