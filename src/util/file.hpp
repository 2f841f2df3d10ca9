/// @file
/// Small whole-file helpers over POSIX calls; every failure names the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "util/handle.hpp"

namespace shardwise {

/// Opens @p path for reading; @p extra_flags are ORed in (O_DIRECT).
/// @throws Error io with the path.
Fd open_for_read(std::string const& path, int extra_flags = 0);

/// Size in bytes of the regular file behind @p fd.
/// @throws Error io; Error input if @p path is not a regular file.
std::uint64_t file_size(Fd const& fd, std::string const& path);

/// Called where a read of bytes up to @p end gave none. Returns if the file ends before them; else storage has failed
/// without saying so, as that of a network's file systems does where a server is gone.
/// @param what the read, for the error.
/// @throws Error io.
void check_file_ends(int fd, std::string const& what, std::uint64_t end);

/// Fills @p into from byte @p offset on; retries interrupted and short reads.
/// @throws Error io; Error input if the file ends early.
void read_exactly(Fd const& fd, std::string const& path, std::uint64_t offset, std::span<std::byte> into);

/// The whole file as text; meant for configuration files.
/// @throws Error io; Error input above 64 MiB.
std::string read_text(std::string const& path);

}  // namespace shardwise
