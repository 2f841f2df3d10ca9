#include "report/progress.hpp"

#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

#include "util/units.hpp"

namespace shardwise {
namespace {

constexpr std::chrono::milliseconds kBetweenFrames(100);
constexpr std::chrono::seconds kBetweenLines(5);
constexpr int kBarWidth = 30;

}  // namespace

ProgressLine::ProgressLine(ProgressMode mode)
    : is_bar_(mode == ProgressMode::always || (mode == ProgressMode::automatic && ::isatty(STDERR_FILENO) == 1)),
      is_silent_(mode == ProgressMode::never) {}

ProgressLine::~ProgressLine() {
    if (has_drawn_ && is_bar_) { std::fputc('\n', stderr); }
}

void ProgressLine::update(Progress const& progress) {
    auto const now = Clock::now();
    bool const is_last = progress.placed_bytes == progress.total_bytes;
    bool const is_due = is_bar_ ? now - shown_ >= kBetweenFrames || is_last : now - shown_ >= kBetweenLines;
    if (is_silent_ || !is_due || progress.total_bytes == 0) { return; }
    shown_ = now;
    auto const done = static_cast<double>(progress.placed_bytes) / static_cast<double>(progress.total_bytes);
    auto const seconds = std::chrono::duration<double>(now - began_).count();
    auto const text = fmt::format("{:3.0f} % of {} on rank 0, {}", done * 100, format_bytes(progress.total_bytes),
                                  format_rate(progress.placed_bytes, seconds));
    if (is_bar_) {
        auto const filled = static_cast<int>(done * kBarWidth);
        fmt::print(stderr, "\rshardwise [{:#<{}}{:{}}] {} ", "", filled, "", kBarWidth - filled, text);
    } else {
        fmt::print(stderr, "shardwise: {}\n", text);
    }
    std::fflush(stderr);
    has_drawn_ = true;
}

}  // namespace shardwise
