/// @file
/// From stored tensors to the parameters a model wants: names, expressions, placements.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <shardwise/architecture.hpp>
#include <shardwise/catalog.hpp>
#include <shardwise/placement.hpp>
#include <shardwise/plan.hpp>

#include "mapping/expression.hpp"
#include "mapping/parallel_plan.hpp"

namespace shardwise {

/// One tensor of the model.
struct Parameter {
    std::string name;
    std::vector<std::string> aliases;  ///< tied parameters that share its values
    Expression value;                  ///< gives dtype and global shape, too
    Placement placement;
};

/// Every parameter of a checkpoint, in natural order of names.
struct Parameters {
    std::vector<Parameter> list;
    ParameterDifferences differences;  ///< from what is expected; empty if nothing is
    std::vector<std::string> warnings;
};

struct MappingOptions {
    Mesh mesh;
    std::string plan = "tp";
    KvHeads kv_heads = KvHeads::cut;
    bool strict_divisible = false;        ///< refuse cuts that do not come out even
    Expectation expected;                 ///< the parameters wanted; empty: those that the architecture states
    bool strict = false;                  ///< refuse differences from what is expected
    std::vector<std::string> include;     ///< shell patterns of parameter names; all if empty
    std::vector<std::string> exclude;
    std::optional<DType> dtype;           ///< of floating-point parameters, see TypeRule; as stored if none
    bool dequantizes = false;             ///< quantized tensors are held as numbers, see Leaves
};

/// Applies the rules of @p architecture to every stored tensor.
/// @throws Error input naming tensor, rule and cause: two sources for one parameter, a converter that misses a source
/// or
///         an expert, shapes that do not fit, a plan that does not exist, a cut that cannot be made, differences from
///         what is expected if these are to be refused; Error usage as check(mesh).
Parameters map_parameters(Catalog const& catalog, Architecture const& architecture, MappingOptions const& options);

}  // namespace shardwise
