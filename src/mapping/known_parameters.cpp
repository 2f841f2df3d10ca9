#include "mapping/known_parameters.hpp"

#include <algorithm>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "mapping/model_config.hpp"

namespace shardwise {
namespace {

/// Quantizations that keep the names of what they quantize, with scales beside them.
bool keeps_names(std::string const& quantization) {
    return quantization.empty() || quantization == "fp8" || quantization == "mxfp4";
}

bool any_below(std::string const& prefix, Catalog const& catalog) {
    return std::any_of(catalog.tensors().begin(), catalog.tensors().end(),
                       [&](TensorRecord const& tensor) { return tensor.name.starts_with(prefix); });
}

Expectation without_prefix(Expectation const& whole, std::string const& prefix) {
    Expectation bare;
    for (auto const& [name, parameter] : whole) {
        if (name.starts_with(prefix)) { bare.emplace(name.substr(prefix.size()), parameter); }
    }
    return bare;
}

Expectation stated(std::vector<ParameterPattern> const& patterns, ArchitectureData const& data,
                   ModelConfig const& config) {
    return expectation_of(patterns, [&](std::optional<std::int64_t> layer) {
        return size_lookup(data.components.front(), config, layer);
    });
}

/// What the architecture's own file states.
KnownParameters stated_by_file(ArchitectureData const& data, ModelConfig const& config, Catalog const& catalog) {
    auto const& quantization = config.quantization();
    if (data.parameters.empty() || !keeps_names(quantization)) {
        auto const how = data.parameters.empty() ? "" : fmt::format(" that is quantized by {}", quantization);
        throw Error(Errc::input,
                    fmt::format("nothing states the parameters of {}{}; name a file with --expect", data.family, how));
    }
    KnownParameters known{stated(data.parameters, data, config), false, {}, !data.has_more_rules};
    auto const& classes = data.whole_classes;
    auto const& model_class = config.model_class();
    bool const is_whole = classes.empty() || std::find(classes.begin(), classes.end(), model_class) != classes.end();
    if (is_whole || data.base.empty()) { return known; }

    auto const prefix = data.base + ".";
    if (!any_below(prefix, catalog)) {
        known.expected = without_prefix(known.expected, prefix);
    } else if (!model_class.empty()) {
        std::erase_if(known.expected, [&](auto const& entry) { return !entry.first.starts_with(prefix); });
        known.within = prefix;
    }
    return known;
}

}  // namespace

KnownParameters parameters_by_architecture(ArchitectureData const& data, ModelConfig const& config,
                                           Catalog const& catalog) {
    if (data.more_parameters.empty()) { return stated_by_file(data, config, catalog); }
    KnownParameters known;
    try {
        known = stated_by_file(data, config, catalog);
    } catch (Error const&) { known.settles_names = false; }  // the file of more rules may well say it all
    known.expected.merge(stated(data.more_parameters, data, config));
    return known;
}

}  // namespace shardwise
