/// @file
/// Loops compiled for the vector instructions that the processor has.
#pragma once

#include "convert/host_device.hpp"

namespace shardwise {

#if defined(__x86_64__)
template <class Loop>
__attribute__((target("avx2"), flatten, noinline)) void vectorised_avx2(Loop const& loop) {
    auto const own = loop;  // in registers: what the loop writes cannot change it
    own();
}

inline bool has_avx2() noexcept {
    return __builtin_cpu_supports("avx2") != 0;
}

template <class Loop>
__attribute__((target("avx512f,avx512bw,avx512dq,prefer-vector-width=512"), flatten, noinline)) void vectorised_avx512(
    Loop const& loop) {
    auto const own = loop;
    own();
}

inline bool has_avx512() noexcept {
    return __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512dq") != 0;
}
#endif

/// Calls @p loop, a lambda marked SHARDWISE_INLINE, compiled a second time for wider vectors than the least that the
/// architecture has, and that version where the processor can. Other processors run the plain version.
template <class Loop>
void vectorised(Loop const& loop) {
#if defined(__x86_64__)
    if (has_avx2()) { return vectorised_avx2(loop); }
#endif
    auto const own = loop;
    own();
}

/// The same for a loop of 64-bit products, which only the widest vectors have an instruction for.
template <class Loop>
void vectorised_products(Loop const& loop) {
#if defined(__x86_64__)
    if (has_avx512()) { return vectorised_avx512(loop); }
#endif
    vectorised(loop);
}

}  // namespace shardwise
