#include "util/units.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include <shardwise/error.hpp>

namespace shardwise {
namespace {

/// Factor of a unit such as "", "b", "k", "kb", "kib"; 0 if it is none.
double unit_factor(std::string unit) {
    std::transform(unit.begin(), unit.end(), unit.begin(), [](unsigned char c) { return std::tolower(c); });
    if (unit.ends_with('b')) { unit.pop_back(); }
    if (unit.empty()) { return 1; }
    double const base = unit.ends_with('i') ? 1024 : 1000;
    if (unit.ends_with('i')) { unit.pop_back(); }
    constexpr std::string_view kPrefixes = "kmgtp";
    auto const power = kPrefixes.find(unit);
    return unit.size() == 1 && power != std::string_view::npos ? std::pow(base, power + 1) : 0;
}

}  // namespace

std::uint64_t parse_size(std::string_view text) {
    double number = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    unit.remove_prefix(std::min(unit.find_first_not_of(' '), unit.size()));
    double const bytes = number * unit_factor(std::string(unit));
    bool const valid = error == std::errc{} && unit_factor(std::string(unit)) != 0 && number >= 0 && bytes < 0x1p63;
    if (!valid) {
        throw Error(Errc::usage, fmt::format("'{}' is not a size; sizes look like 4096, 64MiB or 1.5GiB", text));
    }
    return static_cast<std::uint64_t>(std::llround(bytes));
}

std::string format_bytes(std::uint64_t bytes) {
    constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1024 && unit + 1 < kUnits.size()) {
        value /= 1024;
        ++unit;
    }
    if (unit == 0) { return fmt::format("{} B", bytes); }
    int const decimals = value < 10 ? 2 : value < 100 ? 1 : 0;
    return fmt::format("{:.{}f} {}", value, decimals, kUnits[unit]);
}

std::string format_seconds(double seconds) {
    // {:.3g} gives an exponent from what rounds to 1000 on.
    auto const three_digits = [](double value) {
        return value < 999 ? fmt::format("{:.3g}", value) : fmt::format("{:.0f}", value);
    };
    if (seconds < 1e-3) { return fmt::format("{:.0f} us", seconds * 1e6); }
    if (seconds < 1) { return fmt::format("{} ms", three_digits(seconds * 1e3)); }
    return fmt::format("{} s", three_digits(seconds));
}

std::string format_rate(std::uint64_t bytes, double seconds) {
    if (seconds <= 0) { return "-"; }
    return fmt::format("{:.2f} GB/s", static_cast<double>(bytes) / seconds / 1e9);
}

}  // namespace shardwise
