/// @file
/// How one family of models is stored and how it is cut: the rules in configs/*.json.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace shardwise {

struct ArchitectureData;

/// The conversion rules and parallel plans of an architecture. Cheap to copy.
class Architecture {
   public:
    /// An architecture by name (a model type or family that shardwise knows) or by file (a path with a `/` or ending in
    /// .json, in the format of configs/schema.json).
    /// @throws Error input naming file, key and what was expected; for an unknown name, the nearest known one.
    static Architecture load(std::string const& name_or_file);

    /// The architecture that a checkpoint's config.json asks for: by the class in "architectures", else by
    /// "model_type".
    /// @param config_json text of config.json, as in Catalog::config_json().
    static Architecture for_config(std::string const& config_json);

    /// From text; @p origin is how errors call it.
    static Architecture parse(std::string const& json, std::string const& origin);

    /// Every model type that load() knows, sorted.
    static std::vector<std::string> known_model_types();

    std::string const& family() const noexcept;

    /// Names of its parallel plans, sorted; "tp" is the default one.
    std::vector<std::string> plans() const;

    ArchitectureData const& data() const noexcept { return *data_; }

   private:
    explicit Architecture(std::shared_ptr<ArchitectureData const> data) : data_(std::move(data)) {}

    std::shared_ptr<ArchitectureData const> data_;
};

}  // namespace shardwise
