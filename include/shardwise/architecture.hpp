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

    /// Makes an architecture known to load() and for_config(), to parts and to `use`.
    /// @throws Error input for a family, model type or class that is known already, naming both files, unless
    ///         @p overwrite says that the new one is to take its place.
    static void add(std::string const& json, std::string const& origin, bool overwrite = false);

    /// This architecture and a file of more rules, in the same format: its transforms run before all others, and its
    /// plans, heads and ties take the place of those they name. Several such files run in the order they are put.
    Architecture with_rules(std::string const& json, std::string const& origin) const;

    /// What restore() takes: the files that it was made of, as text. Parts and `use` are not in it; they are looked up
    /// again among what is known then.
    std::string record() const;

    /// @throws Error input for what is no record.
    static Architecture restore(std::string const& record);

    /// Every model type that load() knows, sorted.
    static std::vector<std::string> known_model_types();

    std::string const& family() const noexcept;

    /// Names of its parallel plans, sorted; "tp" is the default one.
    std::vector<std::string> plans() const;

    /// Its rules as far as they are known without a checkpoint.
    ArchitectureData const& data() const noexcept;

    /// Its rules for a model: those of the parts that @p config_json (Catalog::config_json()) asks for included.
    std::shared_ptr<ArchitectureData const> data_for(std::string const& config_json) const;

   private:
    struct Content;

    explicit Architecture(std::shared_ptr<Content const> content);

    std::shared_ptr<Content const> content_;
};

}  // namespace shardwise
