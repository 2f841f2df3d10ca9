#include "plan/parameter_digest.hpp"

namespace shardwise {
namespace {

/// Where the values come from counts, too: ranks with different rules may well agree on names and shapes.
void add_expression(Digest& digest, Expression const& expression) {
    digest.add(expression.kind);
    digest.add(expression.dtype);
    digest.add(expression.inverse);
    digest.add(expression.source);
    digest.add(expression.dim);
    digest.add(expression.dim1);
    digest.add(expression.begin);
    digest.add(expression.groups);
    digest.add(expression.shape.rank());
    for (auto const extent : expression.shape) { digest.add(extent); }
    digest.add(expression.inputs.size());
    for (auto const& input : expression.inputs) { add_expression(digest, input); }
}

}  // namespace

void add_parameter(Digest& digest, Parameter const& parameter) {
    digest.add(parameter.name);
    add_expression(digest, parameter.value);
    digest.add(to_string(parameter.placement));
    for (auto const& cut : parameter.placement.cuts) {
        for (auto const& block : cut.blocks) { digest.add(block.repeat); }
    }
}

std::string digest_of(std::span<Parameter const> parameters) {
    Digest digest;
    for (auto const& parameter : parameters) { add_parameter(digest, parameter); }
    return digest.hex();
}

}  // namespace shardwise
