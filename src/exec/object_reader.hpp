/// @file
/// Reads the objects that outputs are made of, out of files.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "exec/output_pieces.hpp"
#include "util/handle.hpp"

namespace shardwise {

/// Where an object begins.
struct ObjectPlace {
    std::uint32_t file = 0;
    std::uint64_t begin = 0;
};

/// Fills windows by plain reads: what is needed, in runs as long as they lie together. Memory beside the window is a
/// few times its size at most.
class ObjectReader {
   public:
    using Find = std::function<ObjectPlace(int holder, std::uint32_t object)>;

    ObjectReader(std::vector<std::string> paths, Find find)
        : paths_(std::move(paths)), find_(std::move(find)), files_(paths_.size()) {}

    /// @throws Error io; Error input naming the file that ends early.
    void fill(std::span<Piece const> parts, std::span<std::byte> window);

   private:
    Fd const& opened(std::uint32_t file);

    std::vector<std::string> paths_;
    Find find_;
    std::vector<Fd> files_;
    std::deque<std::uint32_t> open_;  ///< oldest first
    std::vector<ByteRange> ranges_;
    std::vector<CopyBlock> inside_;
    std::vector<std::byte> read_;
};

}  // namespace shardwise
