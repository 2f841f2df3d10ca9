/// @file
/// Sizes and times as people write and read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace shardwise {

/// Bytes of "4096", "64KiB", "1.5GiB", "2MB" (powers of 1000 without the i); units in any case, B may be left out.
/// @throws Error usage naming @p text, when it is no such size or does not fit 64 bits.
std::uint64_t parse_size(std::string_view text);

/// At most four significant characters and a binary unit. Example: 1536 -> "1.50 KiB".
std::string format_bytes(std::uint64_t bytes);

/// Example: 0.0123 -> "12.3 ms", 75.2 -> "75.2 s".
std::string format_seconds(double seconds);

/// Decimal GB/s, or "-" when no time has passed. Example: 2^30 B in 2 s -> "0.54 GB/s".
std::string format_rate(std::uint64_t bytes, double seconds);

}  // namespace shardwise
