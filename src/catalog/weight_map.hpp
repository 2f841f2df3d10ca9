/// @file
/// What an index says: which file holds which tensor.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace shardwise {

/// Files of an index in natural order, and the tensors that it gives to each, in its own order. A name may come twice:
/// whoever puts the files' tensors together notices.
struct WeightMap {
    std::vector<std::string> files;
    std::vector<std::vector<std::string_view>> tensors;  ///< by file
    std::shared_ptr<void const> text;                    ///< where names of tensors lie
};

/// The `weight_map` of an index. Pure: looks at no file.
/// @throws Error input: malformed JSON, a file that is not a plain name, no tensor at all.
WeightMap parse_index(std::string json);

}  // namespace shardwise
