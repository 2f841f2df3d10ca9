/// @file
/// A checkpoint without files: stored tensors with values, mapped by rules, and what each rank holds of the result.
#pragma once

#include <algorithm>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <shardwise/architecture.hpp>
#include <shardwise/catalog.hpp>

#include "mapping/parameters.hpp"
#include "mapping/tiling.hpp"
#include "support/naive_tensor.hpp"
#include "support/read_view.hpp"

namespace shardwise::test {

/// Names and values of the stored tensors.
using Stored = std::map<std::string, NaiveTensor>;

/// Tensors of these names and shapes; every element of all of them has a value of its own.
inline Stored stored_tensors(std::vector<std::pair<std::string, Shape>> const& tensors) {
    Stored result;
    std::int64_t next = 0;
    for (auto const& [name, shape] : tensors) {
        result.emplace(name, counting(shape, next));
        next += shape.num_elements();
    }
    return result;
}

inline Catalog catalog_of(Stored const& tensors, std::string config_json = "{}") {
    Catalog::Parts parts;
    parts.root = "memory";
    parts.config_json = std::move(config_json);
    std::uint64_t begin = 0;
    for (auto const& [name, tensor] : tensors) {
        auto const bytes = static_cast<std::uint64_t>(tensor.shape.num_elements()) * 2;
        parts.tensors.push_back({name, DType::bf16, tensor.shape, 0, begin, bytes});
        begin += bytes;
    }
    parts.files.push_back({"memory.safetensors", begin, 0});
    return Catalog(std::move(parts));
}

/// A configuration of rules and one plan, "tp". Example: R"({"rename": "a", "to": "b"})", R"("layers.*.w": "colwise")".
inline Architecture architecture_of(std::string const& transforms, std::string const& plan_rules = "",
                                    std::string const& more = "") {
    return Architecture::parse(R"({"family": "t", "model_types": [], "base": "model", "transforms": [)" + transforms +
                                   R"(], "plans": {"tp": {"base": {)" + plan_rules + "}}}" +
                                   (more.empty() ? "" : ", " + more) + "}",
                               "t.json");
}

/// Stored tensors mapped by rules.
class Model {
   public:
    Model(Stored const& tensors, Architecture const& architecture, MappingOptions const& options = {},
          std::string const& config = "{}")
        : Model(catalog_of(tensors, config), tensors, architecture, options) {}

    std::vector<std::string> names() const {
        std::vector<std::string> result;
        for (auto const& parameter : parameters_.list) { result.push_back(parameter.name); }
        return result;
    }

    Parameter const& operator[](std::string const& name) const {
        for (auto const& parameter : parameters_.list) {
            if (parameter.name == name) { return parameter; }
        }
        ADD_FAILURE() << "no parameter " << name;
        return parameters_.list.front();
    }

    std::vector<std::string> const& warnings() const { return parameters_.warnings; }

    /// All of a parameter.
    NaiveTensor whole(std::string const& name) const { return read_view(evaluate((*this)[name].value), contents_); }

    /// What @p rank holds: slices of the index map joined, as a plan reads them.
    NaiveTensor shard(std::string const& name, std::int64_t rank) const {
        auto const& [unused_name, aliases, value, placement] = (*this)[name];
        View shard{local_shape(placement, value.shape, mesh_, rank), {}};
        for (auto const& box : held_boxes(placement, value.shape, mesh_, rank)) {
            std::ranges::move(part_at(evaluate(value), box).regions, std::back_inserter(shard.regions));
        }
        return read_view(shard, contents_);
    }

   private:
    Model(Catalog const& catalog, Stored const& tensors, Architecture const& architecture,
          MappingOptions const& options)
        : parameters_(map_parameters(catalog, architecture, options)), mesh_(options.mesh) {
        for (auto const& record : catalog.tensors()) { contents_.push_back(tensors.at(record.name)); }
    }

    Parameters parameters_;
    Mesh mesh_;
    std::vector<NaiveTensor> contents_;
};

}  // namespace shardwise::test
