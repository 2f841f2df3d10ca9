/// @file
/// What cuFile's codes mean, as sentences, and what can be done about them.
#pragma once

#include <cstdint>
#include <string>

namespace shardwise {

/// The code in words, with what helps where that is known, and the code itself.
/// @param code as in CUfileOpError, 5001 and on.
/// @param cuda_code CUresult that came with it; 0 if none.
/// Example: 5020 -> "the file is not open with O_DIRECT (cuFile error 5020)".
std::string cufile_sentence(int code, int cuda_code = 0);

/// What one cuFileRead gave: bytes, or why none.
struct CufileOutcome {
    std::int64_t value = 0;  ///< bytes if not negative; -1: see errno; else a negative CUfileOpError
    int error_number = 0;    ///< errno after a value of -1
};

/// The CUfileOpError of a read; 0 if it has none.
int code_of(CufileOutcome outcome) noexcept;

/// Why a read gave nothing. Example: {-1, EIO} -> "Input/output error".
std::string cufile_sentence(CufileOutcome outcome);

/// How much a failed read spoils.
enum class CufileFailure : std::uint8_t {
    none,       ///< it has not failed
    interrupt,  ///< nothing: the same call may work now
    range,      ///< this range; others may be read
    file,       ///< every read of this file
};

/// By code, never by text.
CufileFailure failure_of(CufileOutcome outcome) noexcept;

}  // namespace shardwise
