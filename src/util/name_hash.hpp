/// @file
/// Hashing of names, of which a checkpoint has many.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include <xxhash.h>

namespace shardwise {

struct NameHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view name) const noexcept { return XXH3_64bits(name.data(), name.size()); }
};

/// Names for looking up; the texts lie elsewhere.
using HashedNames = std::unordered_set<std::string_view, NameHash, std::equal_to<>>;

/// Something for each name.
template <class T>
using NameMap = std::unordered_map<std::string, T, NameHash, std::equal_to<>>;

}  // namespace shardwise
