/// @file
/// A stretch of memory that is handed out in parts of any length.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <vector>

namespace shardwise {

/// Hands out the first free part that is long enough; parts come back in any order. For a few parts at a time.
class BufferRoom {
   public:
    explicit BufferRoom(std::span<std::byte> memory) : memory_(memory) {
        if (!memory.empty()) { free_.push_back({0, memory.size()}); }
    }

    /// Empty if no free part is that long.
    std::span<std::byte> take(std::size_t size_bytes) {
        auto const fits = [=](Part const& part) { return part.size_bytes >= size_bytes; };
        auto const part = std::ranges::find_if(free_, fits);
        if (part == free_.end()) { return {}; }
        auto const begin = part->begin;
        part->begin += size_bytes;
        part->size_bytes -= size_bytes;
        if (part->size_bytes == 0) { free_.erase(part); }
        used_bytes_ = std::max(used_bytes_, begin + size_bytes);
        return memory_.subspan(begin, size_bytes);
    }

    void give_back(std::span<std::byte> bytes) {
        Part part{static_cast<std::size_t>(bytes.data() - memory_.data()), bytes.size()};
        auto next = std::ranges::lower_bound(free_, part.begin, {}, &Part::begin);
        if (next != free_.begin() && std::prev(next)->end() == part.begin) {
            --next;
            part = {next->begin, next->size_bytes + part.size_bytes};
            next = free_.erase(next);
        }
        if (next != free_.end() && part.end() == next->begin) {
            part.size_bytes += next->size_bytes;
            next = free_.erase(next);
        }
        free_.insert(next, part);
    }

    /// Of the memory, what was ever handed out, from its beginning to the last byte.
    std::uint64_t used_bytes() const noexcept { return used_bytes_; }

   private:
    struct Part {
        std::size_t begin = 0;
        std::size_t size_bytes = 0;
        std::size_t end() const noexcept { return begin + size_bytes; }
    };

    std::span<std::byte> memory_;
    std::vector<Part> free_;  ///< in order, with something in use between any two
    std::uint64_t used_bytes_ = 0;
};

}  // namespace shardwise
