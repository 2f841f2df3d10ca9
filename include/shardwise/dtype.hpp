/// @file
/// Element types of stored tensors, by the names of the safetensors format.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace shardwise {

/// Every element type of the safetensors format (0.8). The value is part of the binary catalog form: append only.
enum class DType : std::uint8_t {
    boolean,
    f4,        ///< E2M1, two elements a byte, low nibble first
    f6_e2m3,   ///< four elements in three bytes
    f6_e3m2,   ///< four elements in three bytes
    u8,
    i8,
    f8_e5m2,
    f8_e4m3,
    f8_e8m0,
    f8_e4m3fnuz,
    f8_e5m2fnuz,
    i16,
    u16,
    f16,
    bf16,
    i32,
    u32,
    f32,
    c64,  ///< two F32
    f64,
    i64,
    u64,
};

inline constexpr int kDTypeCount = 22;

/// Bits of one element: 4, 6, 8, 16, 32 or 64. Elements below 8 bits are packed without gaps over the whole tensor,
/// whose total must be whole bytes.
int bits(DType dtype) noexcept;

/// The fewest bytes that hold whole elements: 1 for F4 (two elements), 3 for F6 (four).
std::uint64_t unit_bytes(DType dtype) noexcept;

/// The format's own name, for example "BF16".
std::string_view to_string(DType dtype) noexcept;

/// The type of that name; nothing for an unknown one.
std::optional<DType> parse_dtype(std::string_view name) noexcept;

}  // namespace shardwise
