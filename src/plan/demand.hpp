/// @file
/// In which order things are planned: parameters in plan order, and the stored tensors they need layer after layer in
/// that order, those of a layer as they lie in files.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <shardwise/plan.hpp>

#include "mapping/parameters.hpp"
#include "plan/priority.hpp"
#include "plan/source_uses.hpp"

namespace shardwise {

struct DemandOptions {
    Mesh mesh;
    std::span<std::string const> priority;  ///< as PriorityClasses has them; tensors of an earlier class come first
    std::uint32_t files_at_once = 1;        ///< as read_order has it
    std::uint64_t max_gap = 0;              ///< bytes between two runs up to which one read takes both
};

/// Demands of a whole mesh on a checkpoint. Index `tensor` everywhere is the place in plan order, all stages taken
/// together.
class Demand {
   public:
    Demand(Catalog const& catalog, Parameters parameters, DemandOptions const& options);

    std::span<Parameter const> parameters() const noexcept { return parameters_; }
    std::span<SourceUse const> uses() const noexcept { return uses_; }

    /// The stages that need any of a stored tensor.
    Stages stages(SourceUse const& use) const { return stages_of(use, parameters_, mesh_); }

    /// The priority class of a parameter.
    std::uint32_t priority(std::size_t tensor) const noexcept { return priorities_[tensor]; }

    /// The most parameters that are asked for by turns when stored tensors are gone through in their order.
    std::size_t parameters_by_turns() const noexcept { return by_turns_; }

    Mesh const& mesh() const noexcept { return mesh_; }

   private:
    void sort_by_priority(PriorityClasses const& classes);
    std::vector<std::uint32_t> groups() const;
    void sort_by_place(Catalog const& catalog, std::uint32_t files_at_once);

    Mesh mesh_;
    std::vector<Parameter> parameters_;
    std::vector<std::uint32_t> priorities_;  ///< by parameter
    std::vector<SourceUse> uses_;
    std::size_t by_turns_ = 0;
};

}  // namespace shardwise
