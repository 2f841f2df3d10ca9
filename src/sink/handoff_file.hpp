/// @file
/// What a rank leaves for others to open its tensors in the memory of a GPU: model-rank-R-part-0.cuda-ipc.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <shardwise/plan.hpp>

#include "device/accelerator.hpp"

namespace shardwise {

struct HandoffFile {
    std::int64_t rank = 0;
    std::string gpu_uuid;
    MemoryHandle handle = {};      ///< of the stretch that all tensors lie in
    std::uint64_t size_bytes = 0;  ///< of it
    /// Name, aliases, type, local shape and place in the stretch are set.
    std::vector<PlannedTensor> tensors;
};

std::string to_json(HandoffFile const& handoff);

/// @param path how errors call the text.
/// @throws Error input naming the key and what was expected; a tensor outside of the stretch is refused, too.
HandoffFile parse_handoff(std::string const& text, std::string const& path);

}  // namespace shardwise
