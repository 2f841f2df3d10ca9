#include "mapping/held_catalog.hpp"

#include <map>
#include <optional>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "catalog/safetensors.hpp"
#include "mapping/architecture_data.hpp"
#include "mapping/held_config.hpp"
#include "mapping/leaves.hpp"
#include "mapping/model_config.hpp"

namespace shardwise {
namespace {

/// What becomes of stored tensors on their way into parameters.
struct Changes {
    std::map<std::uint32_t, DType> types;  ///< by stored tensor: of its leaf, where that is another one
    bool dequantizes = false;
};

void collect_changes(Expression const& expression, Changes& changes) {
    bool const is_dequantized = expression.kind == Expression::Kind::dequantize;
    if (is_dequantized || expression.kind == Expression::Kind::cast) {
        changes.types.emplace(expression.inputs.front().source, expression.dtype);
        changes.dequantizes = changes.dequantizes || is_dequantized;
        return;
    }
    for (auto const& input : expression.inputs) { collect_changes(input, changes); }
}

Catalog catalog_of(Catalog const& catalog, Leaves const& leaves, Changes const& changes,
                   MappingOptions const& options) {
    Catalog::Parts parts;
    parts.root = catalog.root();
    parts.config_json = held_config(catalog.config_json(), {options.dtype, changes.dequantizes});
    parts.index_name = catalog.index_name();
    parts.files.assign(catalog.files().begin(), catalog.files().end());
    for (std::uint32_t index = 0; index < catalog.tensors().size(); ++index) {
        if (leaves.is_taken_in(index)) { continue; }
        auto tensor = catalog.tensors()[index];
        if (auto const changed = changes.types.find(index); changed != changes.types.end()) {
            tensor.name = leaves.name_of(index);
            tensor.shape = leaves.leaf(index, tensor.name).shape;
            tensor.dtype = changed->second;
            tensor.size_bytes = stored_bytes(tensor.dtype, tensor.shape);
        }
        parts.tensors.push_back(std::move(tensor));
    }
    return Catalog(std::move(parts));
}

/// Rules may look at names and shapes of stored tensors, and these are others now.
void check_alike(std::vector<Parameter> const& loaded, std::vector<Parameter> const& held) {
    for (std::size_t i = 0; i < loaded.size(); ++i) {
        bool const is_alike = i < held.size() && held[i].name == loaded[i].name &&
                              held[i].value.dtype == loaded[i].value.dtype &&
                              held[i].value.shape == loaded[i].value.shape && held[i].placement == loaded[i].placement;
        if (is_alike) { continue; }
        throw Error(Errc::input,
                    fmt::format("{}: the architecture's rules make it otherwise of tensors in the types in "
                                "which it is held, so these cannot be put back; load without --dtype and "
                                "--quantized dequantize",
                                loaded[i].name));
    }
}

}  // namespace

HeldCheckpoint held_checkpoint(Catalog const& catalog, Architecture const& architecture, MappingOptions const& options,
                               Parameters parameters) {
    Changes changes;
    for (auto const& parameter : parameters.list) { collect_changes(parameter.value, changes); }
    if (changes.types.empty()) { return {catalog, std::move(parameters), false}; }
    auto const data = architecture.data_for(catalog.config_json());
    ModelConfig const config(catalog.config_json());
    Leaves const leaves(catalog, data->keep_in_fp32, options.dtype,
                        {options.dequantizes, config.dtype(), config.block()});
    HeldCheckpoint held{catalog_of(catalog, leaves, changes, options), {}, true};
    auto as_stored = options;
    as_stored.dtype.reset();
    held.parameters = map_parameters(held.catalog, architecture, as_stored);
    check_alike(parameters.list, held.parameters.list);
    return held;
}

}  // namespace shardwise
