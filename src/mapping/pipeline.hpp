/// @file
/// Which pipeline stages hold a parameter.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shardwise {

/// Module paths that tell where in the pipeline a parameter is wanted, relative to the base model or full.
struct PipelineRules {
    std::vector<std::string> layers = {"layers",
                                       "language_model.layers"};  ///< lists of layers: "layers" holds layers.0
    std::vector<std::string> first = {"embed_tokens", "language_model.embed_tokens"};
    std::vector<std::string> last = {"norm", "language_model.norm", "lm_head"};
};

/// Deals layers to stages: stage k of p has layers [k f, (k + 1) f), f = floor(layers / p), the last one the rest, too.
/// What the rules do not name is held by every stage.
class Pipeline {
   public:
    /// @param base module path of the base model; may be empty.
    /// @param layers how many there are; nothing: one more than the greatest number in @p names.
    /// @param names of all parameters.
    Pipeline(PipelineRules const& rules, std::string base, std::int64_t stages, std::optional<std::int64_t> layers,
             std::span<std::string const> names);

    /// Stages that hold the parameter of that name, ascending; empty for all.
    /// @param aliases names it is tied to: it is held where any of them is wanted.
    std::vector<std::int64_t> stages_of(std::string const& name, std::span<std::string const> aliases) const;

    /// What the user should know about this dealing, one sentence each.
    std::vector<std::string> warnings() const;

   private:
    std::optional<std::int64_t> layer_of(std::string_view name) const;
    std::vector<std::int64_t> wanted_at(std::string_view name) const;

    PipelineRules const& rules_;
    std::string base_;
    std::int64_t stages_;
    std::int64_t layers_ = 0;
    bool has_layers_ = false;
};

}  // namespace shardwise
