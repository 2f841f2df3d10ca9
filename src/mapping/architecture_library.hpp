/// @file
/// Every architecture that is known, by family, model type and model class.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

#include "mapping/architecture_data.hpp"

namespace shardwise {

/// A file in the format of configs/schema.json, unparsed.
struct RuleText {
    std::string json;
    std::string origin;      ///< how errors call it
    bool is_shared = false;  ///< known to the library
};

/// One description in a file.
struct Description {
    std::shared_ptr<RuleText const> text;
    Variant variant;
    bool is_of_class = false;  ///< found by its class, not by its type
};

/// The built-in architectures and those that were added. For use by any number of threads.
class ArchitectureLibrary {
   public:
    static ArchitectureLibrary& instance();

    /// @throws Error input for a family, type or class that is known already, naming both files, unless it is to be
    ///         overwritten.
    void add(RuleText text, bool overwrite);

    /// The class's description, else the type's; what is empty is not looked up. None if neither is known.
    std::optional<Description> find(std::string const& model_class, std::string const& model_type) const;

    /// By family, type or class.
    std::optional<Description> find_name(std::string const& name) const;

    std::vector<std::string> model_types() const;

    /// Transforms of the description that @p name is known by, for `use`.
    std::vector<Transform> transforms_of(std::string const& name) const;

    /// The renames that come after every architecture's own.
    static RuleText legacy();

   private:
    using Names = std::map<std::string, std::shared_ptr<RuleText const>>;

    ArchitectureLibrary();
    void add(RuleText text, ArchitectureHeader const& header, bool overwrite);

    mutable std::shared_mutex mutex_;
    Names families_;
    Names types_;
    Names classes_;
};

/// What @p description says, without its parts.
ArchitectureData parse_description(Description const& description);

}  // namespace shardwise
