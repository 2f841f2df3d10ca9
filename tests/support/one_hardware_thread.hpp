/// @file
/// A thread bound as a launcher binds a rank to one core.
#pragma once

#include <stdexcept>

#include <sched.h>

namespace shardwise::test {

/// Binds this thread to the first hardware thread of its mask, and gives it back its mask at the end.
class OneHardwareThread {
   public:
    OneHardwareThread() {
        if (::sched_getaffinity(0, sizeof(before_), &before_) != 0) { throw std::runtime_error("no affinity mask"); }
        int first = 0;
        while (!CPU_ISSET(first, &before_)) { ++first; }
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(first, &one);
        if (::sched_setaffinity(0, sizeof(one), &one) != 0) { throw std::runtime_error("the mask cannot be set"); }
    }
    OneHardwareThread(OneHardwareThread const&) = delete;
    OneHardwareThread& operator=(OneHardwareThread const&) = delete;
    ~OneHardwareThread() { ::sched_setaffinity(0, sizeof(before_), &before_); }

   private:
    cpu_set_t before_ = {};
};

}  // namespace shardwise::test
