/// @file
/// Which tensors come first.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace shardwise {

/// Classes of parameters, in the order in which they are wanted. A class is a shell pattern of names, or a preset:
///   @embedding       token and position embeddings
///   @attention       everything of attention blocks
///   @lm_head         the output projection
///   @first-layers    layers 0 to 3; @first-layers=N: 0 to N - 1
/// Presets do not look at upper and lower case.
class PriorityClasses {
   public:
    /// @throws Error usage for an unknown preset, naming the nearest one.
    explicit PriorityClasses(std::span<std::string const> patterns);

    /// Index of the first class that @p name is of; the number of classes if it is of none.
    std::uint32_t class_of(std::string const& name) const;

    std::size_t size() const noexcept { return classes_.size(); }

   private:
    struct Class {
        std::string pattern;                      ///< of names, as fnmatch has it; empty for a preset
        std::vector<std::string> fragments = {};  ///< a name with any of them, in lower case, is of the class
        std::int64_t layers = 0;                  ///< a name whose first number is below is of the class
    };

    static Class make_class(std::string const& pattern);
    static bool is_of(std::string const& name, Class const& candidate);

    std::vector<Class> classes_;
};

}  // namespace shardwise
