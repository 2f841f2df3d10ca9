/// @file
/// A system call that fails as it does in a locked-down container.
#pragma once

#include <cstdint>
#include <iterator>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

namespace shardwise::test {

/// Makes system call @p number fail with @p error_number in this process and its children, for good: to be called in a
/// child that the test forks. False if the system has no such filters.
inline bool block_call(long number, int error_number) {
    sock_filter code[] = {
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, 0},  // offset of seccomp_data::nr
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, static_cast<std::uint32_t>(number)},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error_number)},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
    };
    sock_fprog program = {std::size(code), code};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

}  // namespace shardwise::test
