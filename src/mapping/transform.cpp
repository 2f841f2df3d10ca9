#include "mapping/transform.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "mapping/number_groups.hpp"
#include "util/digits.hpp"
#include "util/name_hash.hpp"
#include "util/parallel.hpp"

namespace shardwise {
namespace {

/// @p path with a dot at its end, to be put in front of names; nothing for an empty one.
std::string as_prefix(std::string_view path) { return path.empty() ? std::string() : fmt::format("{}.", path); }

/// Only the first group exists for plain rules and converters; the reference leaves `\2` as text.
std::span<std::string_view const> usable_groups(Transform const& transform, PatternMatch const& match) {
    std::span<std::string_view const> const groups = match.groups;
    return transform.kind == Transform::Kind::group_rename ? groups
                                                           : groups.first(std::min<std::size_t>(groups.size(), 1));
}

std::string shifted_number(std::string_view digits, std::int64_t offset) {
    std::int64_t number = 0;
    auto const [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc{} || end != digits.data() + digits.size() || number + offset < 0) {
        throw Error(Errc::input, fmt::format("'{}' plus {} is no index", digits, offset));
    }
    return std::to_string(number + offset);
}

std::string replacement(Transform const& transform, PatternMatch const& match) {
    switch (transform.kind) {
        case Transform::Kind::group_rename: return substitute_groups(transform.targets[match.source], match.groups);
        case Transform::Kind::offset_rename: {
            if (match.groups.empty()) { throw Error(Errc::input, "an index offset rule needs a capture group"); }
            auto const number = shifted_number(match.groups.front(), transform.offset);
            std::string_view const group = number;
            return substitute_groups(transform.targets.front(), {&group, 1});
        }
        default: return substitute_groups(transform.targets.front(), usable_groups(transform, match));
    }
}

bool is_guard_met(Transform const& transform, std::span<MappedName const> names, std::string_view base_prefix) {
    if (transform.kind != Transform::Kind::group_rename) { return true; }
    return std::any_of(names.begin(), names.end(), [&](MappedName const& mapped) {
        auto const scoped = enter_scope(mapped.name, transform.scope, base_prefix);
        auto const match = scoped ? transform.pattern.find(scoped->rest) : std::nullopt;
        return match && match->source == 0;
    });
}

void rename_all(Transform const& transform, std::span<MappedName> names, std::string_view base_prefix) {
    if (!is_guard_met(transform, names, base_prefix)) { return; }
    for (auto& mapped : names) {
        auto const scoped = enter_scope(mapped.name, transform.scope, base_prefix);
        if (!scoped) { continue; }
        auto const match = transform.pattern.find(scoped->rest);
        if (!match) { continue; }
        try {
            mapped.name = fmt::format("{}{}{}{}", scoped->scope, scoped->rest.substr(0, match->begin),
                                      replacement(transform, *match), scoped->rest.substr(match->end));
        } catch (Error const& error) { throw error.while_(fmt::format("renaming {}", mapped.name)); }
    }
}

std::optional<ConverterHit> find_converter(std::span<Transform const> transforms, std::string_view name,
                                           std::string_view base_prefix) {
    for (std::size_t i = 0; i < transforms.size(); ++i) {
        auto const& transform = transforms[i];
        if (transform.kind != Transform::Kind::convert) { continue; }
        auto const scoped = enter_scope(name, transform.scope, base_prefix);
        if (!scoped) { continue; }
        auto const match = transform.pattern.find(scoped->rest);
        if (!match) { continue; }
        ConverterHit hit;
        hit.transform = i;
        hit.source = match->source;
        hit.prefix = fmt::format("{}{}", scoped->scope, scoped->rest.substr(0, match->begin));
        hit.suffix = scoped->rest.substr(match->end);
        for (auto const group : usable_groups(transform, *match)) { hit.groups.emplace_back(group); }
        hit.star = match->star.value_or("");
        return hit;
    }
    return std::nullopt;
}

/// What all hits have in common that go into the same outputs.
std::string key_of(ConverterHit const& hit) {
    auto key = std::to_string(hit.transform);
    for (std::string_view const text : {std::string_view(hit.prefix), std::string_view(hit.suffix)}) {
        key.append(1, '\0').append(text);
    }
    for (auto const& group : hit.groups) { key.append(1, '\0').append(group); }
    return key;
}

/// Numbers the places in a model where converters make something.
class Places {
   public:
    std::uint32_t place_of(ConverterHit const& hit) {
        return known_.try_emplace(key_of(hit), static_cast<std::uint32_t>(known_.size())).first->second;
    }

   private:
    NameMap<std::uint32_t> known_;
};

/// Names of what a stored tensor becomes, or has a part in; `*` counts from 0.
std::vector<std::string> output_names(MappedName const& mapped, std::span<Transform const> transforms) {
    if (!mapped.converter) { return {mapped.name}; }
    std::vector<std::string> names;
    for (auto target : transforms[mapped.converter->transform].targets) {
        std::replace(target.begin(), target.end(), '*', '0');
        names.push_back(output_name(*mapped.converter, target));
    }
    return names;
}

/// Tells whether something made of a tensor is to have the name that another stored tensor has.
class StoredNames {
   public:
    StoredNames(std::span<std::string const> names, std::span<Transform const> transforms)
        : names_(names), transforms_(transforms) {}

    bool has_other(MappedName const& mapped, std::string const& stored) {
        auto const outputs = output_names(mapped, transforms_);
        return std::ranges::any_of(
            outputs, [&](std::string const& output) { return output != stored && all().contains(output); });
    }

   private:
    HashedNames const& all() {
        if (all_.empty()) { all_.insert(names_.begin(), names_.end()); }
        return all_;
    }

    std::span<std::string const> names_;
    std::span<Transform const> transforms_;
    HashedNames all_;  ///< only made if it is asked for
};

/// Tells whether names are the model's, and mends them if only the base model's path makes the difference.
class ModelNames {
   public:
    ModelNames(NameSet const& names, std::string_view base_prefix, std::span<Transform const> transforms,
               Places& places)
        : names_(names.begin(), names.end()), base_(as_prefix(base_prefix)), transforms_(transforms), places_(places) {}

    bool contains(std::string_view name) const { return names_.contains(name); }

    /// True if @p mapped is, or has a part in, a parameter of the model; the base model's path is put in front of it or
    /// taken away if that makes it one.
    bool lead(MappedName& mapped) {
        auto const mend = mend_for(mapped);
        auto& start = mapped.converter ? mapped.converter->prefix : mapped.name;
        if (mend == Mend::without_base) { start.erase(0, base_.size()); }
        if (mend == Mend::with_base) { start.insert(0, base_); }
        bool const is_moved = mend == Mend::without_base || mend == Mend::with_base;
        if (is_moved && mapped.converter) { mapped.converter->place = places_.place_of(*mapped.converter); }
        return mend != Mend::none;
    }

   private:
    /// What makes a name one of the model's.
    enum class Mend : std::uint8_t { none, as_it_is, without_base, with_base };

    /// Experts of a layer have all but their number in common.
    Mend mend_for(MappedName const& mapped) {
        if (!mapped.converter) { return find_mend(mapped); }
        auto const place = mapped.converter->place;
        if (place >= known_.size()) { known_.resize(place + std::size_t{1}); }
        if (!known_[place]) { known_[place] = find_mend(mapped); }
        return *known_[place];
    }

    Mend find_mend(MappedName const& mapped) const {
        if (!mapped.converter) { return find_mend(mapped, {&mapped.name, 1}); }
        return find_mend(mapped, output_names(mapped, transforms_));
    }

    Mend find_mend(MappedName const& mapped, std::span<std::string const> outputs) const {
        auto const any = [&](auto const& is_known) { return std::any_of(outputs.begin(), outputs.end(), is_known); };
        if (any([&](std::string const& name) { return names_.contains(name); })) { return Mend::as_it_is; }
        if (base_.empty()) { return Mend::none; }
        auto const& start = mapped.converter ? mapped.converter->prefix : mapped.name;
        if (start.starts_with(base_) && any([&](std::string_view name) {
                return names_.contains(name.substr(std::min(base_.size(), name.size())));
            })) {
            return Mend::without_base;
        }
        bool const is_below = any([&](std::string const& name) { return names_.contains(base_ + name); });
        return is_below ? Mend::with_base : Mend::none;
    }

    HashedNames names_;
    std::string base_;
    std::span<Transform const> transforms_;
    Places& places_;
    std::vector<std::optional<Mend>> known_;  ///< by place of hits
};

std::vector<MappedName> map_each(std::span<Transform const> transforms, std::span<std::string const> names,
                                 std::string_view base_prefix) {
    std::vector<MappedName> mapped;
    mapped.reserve(names.size());
    for (auto const& name : names) { mapped.push_back({name, std::nullopt}); }
    for (auto const& transform : transforms) {
        if (transform.kind != Transform::Kind::convert) { rename_all(transform, mapped, base_prefix); }
    }
    for (auto& entry : mapped) { entry.converter = find_converter(transforms, entry.name, base_prefix); }
    return mapped;
}

/// What became of the names of a group.
struct MappedGroup {
    DigitTemplate name;
    std::optional<ConverterHit> converter;  ///< without its texts
    DigitTemplate prefix;
    DigitTemplate suffix;
    std::vector<DigitTemplate> groups;
    DigitTemplate star;

    MappedName with(std::string_view digits) const {
        MappedName mapped{name.with(digits), converter};
        if (!converter) { return mapped; }
        auto& hit = *mapped.converter;
        hit.prefix = prefix.with(digits);
        hit.suffix = suffix.with(digits);
        hit.star = star.with(digits);
        for (auto const& group : groups) { hit.groups.push_back(group.with(digits)); }
        return mapped;
    }
};

/// @param specimens two.
std::optional<MappedGroup> group_of(std::span<MappedName const> specimens) {
    bool is_whole = true;
    auto const common = [&](auto text_of) {
        auto text = DigitTemplate::from({text_of(specimens[0]), text_of(specimens[1])});
        is_whole = is_whole && text;
        return text.value_or(DigitTemplate());
    };
    MappedGroup group;
    group.name = common([](MappedName const& mapped) -> std::string_view { return mapped.name; });
    auto const& hit = specimens[0].converter;
    auto const& other = specimens[1].converter;
    if (hit && other && hit->transform == other->transform && hit->source == other->source) {
        group.converter.emplace();
        group.converter->transform = hit->transform;
        group.converter->source = hit->source;
        group.prefix = common([](MappedName const& mapped) -> std::string_view { return mapped.converter->prefix; });
        group.suffix = common([](MappedName const& mapped) -> std::string_view { return mapped.converter->suffix; });
        group.star = common([](MappedName const& mapped) -> std::string_view { return mapped.converter->star; });
        for (std::size_t i = 0; i < hit->groups.size(); ++i) {
            group.groups.push_back(
                common([&](MappedName const& mapped) -> std::string_view { return mapped.converter->groups[i]; }));
        }
    } else if (hit || other) {
        return std::nullopt;
    }
    return is_whole ? std::optional(std::move(group)) : std::nullopt;
}

/// As map_each, but rules run over two names a group of those that differ only in numbers. None where rules may look
/// at what the numbers are, or put them beside other characters, where a later rule might.
std::optional<std::vector<MappedName>> map_groups(std::span<Transform const> transforms,
                                                  std::span<std::string const> names, std::string_view base_prefix) {
    bool const is_fit = !has_digit(base_prefix) && std::ranges::all_of(transforms, [&](Transform const& transform) {
        return transform.kind != Transform::Kind::offset_rename && !has_digit(transform.scope.value_or("")) &&
               transform.pattern.treats_numbers_alike();
    });
    if (!is_fit) { return std::nullopt; }
    auto const groups = NumberGroups::of(names);
    if (!groups) { return std::nullopt; }
    std::vector<MappedName> specimens;
    for (auto const& name : groups->specimens()) { specimens.push_back({name, std::nullopt}); }
    for (auto const& transform : transforms) {
        if (transform.kind == Transform::Kind::convert) { continue; }
        rename_all(transform, specimens, base_prefix);
        for (std::size_t i = 0; i < specimens.size(); i += 2) {
            if (!differ_in_numbers_only(specimens[i].name, specimens[i + 1].name)) { return std::nullopt; }
        }
    }
    std::vector<MappedGroup> mapped_groups;
    for (std::size_t i = 0; i < specimens.size(); ++i) {
        specimens[i].converter = find_converter(transforms, specimens[i].name, base_prefix);
        if (i % 2 == 0) { continue; }
        auto group = group_of(std::span(specimens).subspan(i - 1, 2));
        if (!group) { return std::nullopt; }
        mapped_groups.push_back(*std::move(group));
    }
    constexpr std::size_t kLeastNames = 8192;
    auto const parts = parts_for_threads(names.size(), kLeastNames);
    std::vector<MappedName> mapped(names.size());
    for_each_in_parallel(parts.size(), parts.size(), [&](std::size_t part) {
        for (auto i = parts[part].begin; i < parts[part].end; ++i) {
            mapped[i] = mapped_groups[groups->group(i)].with(groups->digits(i));
        }
    });
    return mapped;
}

}  // namespace

std::optional<ScopedName> enter_scope(std::string_view name, std::optional<std::string> const& scope,
                                      std::string_view base_prefix) {
    if (!scope) { return ScopedName{{}, name}; }
    auto const below = as_prefix(*scope);
    for (auto const& prefix : {as_prefix(base_prefix) + below, below}) {
        if (name.starts_with(prefix)) { return ScopedName{name.substr(0, prefix.size()), name.substr(prefix.size())}; }
    }
    return std::nullopt;
}

std::vector<MappedName> map_names(std::span<Transform const> transforms, std::vector<std::string> names,
                                  std::string_view base_prefix, NameSet const& model_names) {
    auto by_groups = map_groups(transforms, names, base_prefix);
    auto mapped = by_groups ? *std::move(by_groups) : map_each(transforms, names, base_prefix);
    Places places;
    for (auto& entry : mapped) {
        if (entry.converter) { entry.converter->place = places.place_of(*entry.converter); }
    }
    if (model_names.empty()) { return mapped; }
    ModelNames known(model_names, base_prefix, transforms, places);
    StoredNames stored_names(names, transforms);
    for (std::size_t i = 0; i < mapped.size(); ++i) {
        bool const is_led = known.lead(mapped[i]);
        if (is_led && !(known.contains(names[i]) && stored_names.has_other(mapped[i], names[i]))) { continue; }
        if (!mapped[i].converter && mapped[i].name == names[i]) { continue; }
        MappedName stored{names[i], std::nullopt};
        if (known.lead(stored)) { mapped[i] = std::move(stored); }
    }
    return mapped;
}

std::string output_name(ConverterHit const& hit, std::string_view target) {
    std::vector<std::string_view> const groups(hit.groups.begin(), hit.groups.end());
    return fmt::format("{}{}{}", hit.prefix, substitute_groups(target, groups), hit.suffix);
}

}  // namespace shardwise
