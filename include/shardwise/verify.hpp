/// @file
/// Checks that ranks hold what the checkpoint says, by digests that do not depend on the cut.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <shardwise/materialize.hpp>

namespace shardwise {

/// Reads the checkpoint a second time, by plain sequential reads shared out over the ranks, and compares the digest of
/// every parameter with what all ranks hold of it (collective).
/// @throws Error io naming the first parameter that differs, the same on every rank.
void verify_load(ParameterStore const& store, Plan const& plan, Catalog const& catalog,
                 Architecture const& architecture, PlanOptions const& options, Context& context);

/// One tensor of a checkpoint or of a folder of rank files, put together from all its parts.
struct ContentDigest {
    DType dtype = DType::u8;
    Shape shape;
    std::uint64_t digest = 0;
    bool operator==(ContentDigest const&) const = default;
};

/// Digests of everything at @p path: a checkpoint, or a folder with shardwise.json and rank files, whatever
/// its world was. One process.
/// @throws Error input if parts of a tensor are missing, overlap, or copies of one part differ.
std::map<std::string, ContentDigest> digest_contents(std::string const& path);

/// What two contents differ in, one sentence a tensor: missing, unexpected, other type or shape, other values.
std::vector<std::string> compare_contents(std::map<std::string, ContentDigest> const& a,
                                          std::map<std::string, ContentDigest> const& b);

}  // namespace shardwise
