#include "mapping/architecture_library.hpp"

#include <algorithm>
#include <mutex>
#include <set>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "mapping/embedded_configs.hpp"

namespace shardwise {
namespace {

constexpr std::string_view kLegacyFile = "legacy.json";

RuleText text_of(EmbeddedConfig const& config) {
    return {std::string(config.json), std::string(config.name), true};
}

std::vector<std::string> words_of(std::string_view text) {
    std::vector<std::string> words;
    while (!text.empty()) {
        auto const end = std::min(text.find(' '), text.size());
        words.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(text.size(), end + 1));
    }
    return words;
}

/// @param names that the text describes.
template <class Names>
void check_are_free(Names const& known, char const* what, std::span<std::string const> names, RuleText const& text) {
    std::set<std::string_view> own;
    for (auto const& name : names) {
        auto const other = known.find(name);
        if (other == known.end() && own.insert(name).second) { continue; }
        throw Error(Errc::input,
                    fmt::format("{}: the {} '{}' is described by {} already", text.origin, what, name,
                                other == known.end() ? text.origin : other->second->origin));
    }
}

/// `use` within used transforms, and so on: names that lead in a circle end here.
std::vector<Transform> used_transforms(ArchitectureLibrary const& library, std::string const& name, int depth) {
    constexpr int kMaxDepth = 8;
    if (depth > kMaxDepth) { throw Error(Errc::input, "its transforms use each other in a circle"); }
    auto const found = library.find_name(name);
    if (!found) { throw Error(Errc::input, "no architecture, model type or class of that name is known"); }
    auto const used = [&, depth](std::string const& inner) { return used_transforms(library, inner, depth + 1); };
    return parse_architecture(found->text->json, found->text->origin, found->variant, used).transforms;
}

}  // namespace

ArchitectureLibrary& ArchitectureLibrary::instance() {
    static ArchitectureLibrary library;
    return library;
}

ArchitectureLibrary::ArchitectureLibrary() {
    for (auto const& config : embedded_configs()) {
        if (config.name == kLegacyFile) { continue; }
        auto text = text_of(config);
        add(std::move(text), {std::string(config.family), words_of(config.model_types), words_of(config.model_classes)},
            false);
    }
}

void ArchitectureLibrary::add(RuleText text, bool overwrite) {
    auto const header = parse_architecture_header(text.json, text.origin);
    std::unique_lock const lock(mutex_);
    add(std::move(text), header, overwrite);
}

void ArchitectureLibrary::add(RuleText text, ArchitectureHeader const& header, bool overwrite) {
    if (!overwrite) {  // all before any: a file that is refused leaves nothing behind
        check_are_free(families_, "family", std::span(&header.family, 1), text);
        check_are_free(types_, "model type", header.model_types, text);
        check_are_free(classes_, "model class", header.model_classes, text);
    }
    auto const shared = std::make_shared<RuleText const>(std::move(text));
    families_[header.family] = shared;
    for (auto const& name : header.model_types) { types_[name] = shared; }
    for (auto const& name : header.model_classes) { classes_[name] = shared; }
}

std::optional<Description> ArchitectureLibrary::find(std::string const& model_class,
                                                     std::string const& model_type) const {
    std::shared_lock const lock(mutex_);
    if (auto const found = classes_.find(model_class); found != classes_.end()) {
        return Description{found->second, {model_type, model_class}, true};
    }
    if (auto const found = types_.find(model_type); found != types_.end()) {
        return Description{found->second, {model_type, model_class}, false};
    }
    return std::nullopt;
}

std::optional<Description> ArchitectureLibrary::find_name(std::string const& name) const {
    if (auto found = find(name, name)) {
        found->variant = found->is_of_class ? Variant{{}, name} : Variant{name, {}};
        return found;
    }
    std::shared_lock const lock(mutex_);
    auto const family = families_.find(name);
    if (family == families_.end()) { return std::nullopt; }
    return Description{family->second, {}, false};
}

std::vector<std::string> ArchitectureLibrary::model_types() const {
    std::shared_lock const lock(mutex_);
    std::vector<std::string> names;
    for (auto const& [name, text] : types_) { names.push_back(name); }
    return names;
}

std::vector<Transform> ArchitectureLibrary::transforms_of(std::string const& name) const {
    return used_transforms(*this, name, 0);
}

RuleText ArchitectureLibrary::legacy() {
    auto const configs = embedded_configs();
    auto const found = std::find_if(configs.begin(), configs.end(),
                                    [](EmbeddedConfig const& config) { return config.name == kLegacyFile; });
    return found == configs.end() ? RuleText{} : text_of(*found);
}

ArchitectureData parse_description(Description const& description) {
    auto const& library = ArchitectureLibrary::instance();
    auto data = parse_architecture(description.text->json, description.text->origin, description.variant,
                                   [&](std::string const& name) { return library.transforms_of(name); });
    data.components.front().is_shared = description.text->is_shared;
    return data;
}

}  // namespace shardwise
