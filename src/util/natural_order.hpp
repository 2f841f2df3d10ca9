/// @file
/// The orders in which names and files are processed; pure functions, so every rank gets the same order.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace shardwise {

/// Order of tensor names: segments between dots compare by number when all digits (and come before text), otherwise
/// by text and then by a number at their end. A strict total order: names that count as equal (`a.01`, `a.1`) compare
/// as plain text.
///
/// Example: a.2 < a.10 < a.1x < a.x < a.x2 < a.x11.
bool natural_name_less(std::string_view a, std::string_view b) noexcept;

/// Cuts the text before the next dot off @p rest, and the dot.
std::string_view take_segment(std::string_view& rest) noexcept;

/// How segments of names compare: negative, positive or 0.
int compare_segments(std::string_view a, std::string_view b) noexcept;

/// Indices of @p names in the order that natural_name_less puts them in. Many are sorted faster than one by one.
std::vector<std::uint32_t> natural_order(std::span<std::string_view const> names);

/// Order of file names: runs of digits compare as numbers wherever they stand, everything else by character.
///
/// Example: model-2-of-10 < model-10-of-10.
bool natural_file_less(std::string_view a, std::string_view b) noexcept;

}  // namespace shardwise
