#include "exec/object_reader.hpp"

#include <cstring>

#include "convert/runs.hpp"
#include "util/file.hpp"

namespace shardwise {

Fd const& ObjectReader::opened(std::uint32_t file) {
    constexpr std::size_t kMostOpen = 64;
    if (!files_[file]) {
        if (open_.size() == kMostOpen) {
            files_[open_.front()].reset();
            open_.pop_front();
        }
        files_[file] = open_for_read(paths_[file]);
        open_.push_back(file);
    }
    return files_[file];
}

void ObjectReader::fill(std::span<Piece const> parts, std::span<std::byte> window) {
    for (auto const& part : parts) {
        auto const block = swapped(part.block);
        auto const place = find_(part.holder, block.tensor);
        auto const& fd = opened(place.file);
        auto const& path = paths_[place.file];
        ranges_.clear();
        source_ranges(block, block.run_bytes, ranges_);  // gaps up to a run: at most a few times what is needed is read
        for (auto const& range : ranges_) {
            inside_.clear();
            clip(block, range, inside_);
            if (inside_.size() == 1 && inside_.front().loops.empty()) {
                read_exactly(fd, path, place.begin + range.begin, window.subspan(inside_.front().target, range.size()));
                continue;
            }
            read_.resize(range.size());
            read_exactly(fd, path, place.begin + range.begin, read_);
            for (auto const& inside : inside_) {
                for_each_run(inside, [&](std::uint64_t source, std::uint64_t target, std::uint64_t size) {
                    std::memcpy(&window[target], &read_[source - range.begin], size);
                });
            }
        }
    }
}

}  // namespace shardwise
