/// @file
/// Stored tensors that are no parameters of the model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mapping/architecture_data.hpp"

namespace shardwise {

/// The patterns of an architecture's "ignore". Files state them for the models they were written for: one that names a
/// layer ("layers.46", draft heads behind the last layer of some models) means no layer that this model has.
class Ignored {
   public:
    /// @param base module path of the base model.
    /// @param layers how many the model has; if that is not known no layer is ignored by its number.
    Ignored(std::vector<IgnoreRule> const& rules, std::string_view base, std::optional<std::int64_t> layers);

    /// @param name after renaming.
    bool contains(std::string_view name) const;

   private:
    struct Group {
        std::optional<std::string> scope;
        std::string base;  ///< expected in front of names in the scope
        Pattern pattern;
    };
    bool fits(Pattern const& pattern, std::string_view name) const;

    std::string base_;
    std::optional<std::int64_t> layers_;
    std::vector<Group> groups_;
};

}  // namespace shardwise
