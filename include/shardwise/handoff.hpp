/// @file
/// Opening tensors that a load keeps in the memory of a GPU for other processes: shardwise load --format cuda-ipc.
#pragma once

#include <cstdint>
#include <string>

#include <shardwise/materialize.hpp>

namespace shardwise {

/// The tensors of @p rank, where that rank of the load has them: nothing is copied. Name, aliases, types, shapes and
/// placements are those of the load. The process must see the GPU, and the load must hold them until this is done with
/// them: their memory goes when it ends. Any process on that machine but the load's own; not collective.
/// @param folder of the load's --out.
/// @throws Error io; Error input naming the file for a folder of another format or a rank that there is not; Error
///         unavailable when the GPU is not visible, the load has ended, or this build has no GPU back ends.
ParameterStore open_handoff(std::string const& folder, std::int64_t rank);

}  // namespace shardwise
