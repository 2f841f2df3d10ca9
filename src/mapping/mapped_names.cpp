#include "mapping/mapped_names.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "util/digits.hpp"
#include "util/name_hash.hpp"
#include "util/number_groups.hpp"

namespace shardwise {
namespace {

/// Numbers the places in a model where converters make something.
class Places {
   public:
    explicit Places(std::vector<ConverterPlace>& places) : places_(places) {}

    ConverterPlace const& operator[](std::uint32_t number) const { return places_[number]; }

    std::uint32_t number_of(ConverterPlace place) {
        auto const [known, is_new] = known_.try_emplace(key_of(place), static_cast<std::uint32_t>(places_.size()));
        if (is_new) { places_.push_back(std::move(place)); }
        return known->second;
    }

   private:
    static std::string key_of(ConverterPlace const& place) {
        auto key = std::to_string(place.transform);
        for (std::string_view const text : {std::string_view(place.prefix), std::string_view(place.suffix)}) {
            key.append(1, '\0').append(text);
        }
        for (auto const& group : place.groups) { key.append(1, '\0').append(group); }
        return key;
    }

    std::vector<ConverterPlace>& places_;
    NameMap<std::uint32_t> known_;
};

/// Names in front of which the base model's path is put, or from which it is taken away.
enum class Mend : std::uint8_t { none, as_it_is, without_base, with_base };

std::string mended(std::string_view text, Mend mend, std::string_view base) {
    if (mend == Mend::without_base) { text.remove_prefix(base.size()); }
    return std::string(mend == Mend::with_base ? base : std::string_view()).append(text);
}

bool is_moved(Mend mend) noexcept {
    return mend == Mend::without_base || mend == Mend::with_base;
}

/// Leads what rules make of names to the names of the model.
class ModelNames {
   public:
    ModelNames(NameSet const& names, std::string_view base_prefix, std::span<Transform const> transforms,
               Places& places, std::deque<std::string>& texts)
        : names_(names.begin(), names.end()),
          base_(as_prefix(base_prefix)),
          transforms_(transforms),
          places_(places),
          texts_(texts) {}

    bool contains(std::string_view name) const { return names_.contains(name); }

    /// True if @p mapped is, or has a part in, a parameter of the model; the base model's path is put in front of it or
    /// taken away if that makes it one.
    bool lead(MappedName& mapped) {
        if (mapped.converter) {
            auto const [mend, place] = led_place(mapped.converter->place);
            mapped.converter->place = place;
            return mend != Mend::none;
        }
        auto const mend = mend_for(mapped.name, std::span(&mapped.name, 1));
        if (is_moved(mend)) { mapped.name = texts_.emplace_back(mended(mapped.name, mend, base_)); }
        return mend != Mend::none;
    }

    /// Names of what is made at a place; `*` counts from 0.
    std::vector<std::string> output_names(std::uint32_t place) const {
        std::vector<std::string> names;
        for (auto target : transforms_[places_[place].transform].targets) {
            std::replace(target.begin(), target.end(), '*', '0');
            names.push_back(output_name(places_[place], target));
        }
        return names;
    }

   private:
    struct Led {
        Mend mend = Mend::none;
        std::uint32_t place = 0;
    };

    /// Experts of a layer have their place in common.
    Led led_place(std::uint32_t number) {
        if (number >= led_.size()) { led_.resize(number + std::size_t{1}); }
        if (led_[number]) { return *led_[number]; }
        auto const texts = output_names(number);
        std::vector<std::string_view> const outputs(texts.begin(), texts.end());
        Led led{mend_for(places_[number].prefix, outputs), number};
        if (is_moved(led.mend)) {
            auto place = places_[number];
            place.prefix = mended(place.prefix, led.mend, base_);
            led.place = places_.number_of(std::move(place));
        }
        led_[number] = led;
        return led;
    }

    /// @param start of all @p outputs.
    template <class Outputs>
    Mend mend_for(std::string_view start, Outputs const& outputs) const {
        auto const any = [&](auto const& is_known) { return std::ranges::any_of(outputs, is_known); };
        if (any([&](std::string_view name) { return names_.contains(name); })) { return Mend::as_it_is; }
        if (base_.empty()) { return Mend::none; }
        if (start.starts_with(base_) && any([&](std::string_view name) {
                return names_.contains(name.substr(std::min(base_.size(), name.size())));
            })) {
            return Mend::without_base;
        }
        bool const is_below = any([&](std::string_view name) { return names_.contains(base_ + std::string(name)); });
        return is_below ? Mend::with_base : Mend::none;
    }

    HashedNames names_;
    std::string base_;
    std::span<Transform const> transforms_;
    Places& places_;
    std::deque<std::string>& texts_;
    std::vector<std::optional<Led>> led_;  ///< by place
};

/// Tells whether something made of a tensor is to have the name that another stored tensor has.
class StoredNames {
   public:
    StoredNames(std::span<std::string_view const> names, ModelNames const& model) : names_(names), model_(model) {}

    bool has_other(MappedName const& mapped, std::string_view stored) {
        auto const is_other = [&](std::string_view output) { return output != stored && all().contains(output); };
        if (!mapped.converter) { return is_other(mapped.name); }
        return std::ranges::any_of(model_.output_names(mapped.converter->place), is_other);
    }

   private:
    HashedNames const& all() {
        if (all_.empty()) { all_.insert(names_.begin(), names_.end()); }
        return all_;
    }

    std::span<std::string_view const> names_;
    ModelNames const& model_;
    HashedNames all_;  ///< only made if it is asked for
};

/// Rules run over every name for itself.
void map_each(std::span<Transform const> transforms, std::span<std::string_view const> names,
              std::string_view base_prefix, Places& places, MappedNames& mapped) {
    std::vector<std::string> renamed(names.begin(), names.end());
    for (auto const& transform : transforms) {
        if (transform.kind != Transform::Kind::convert) { rename_all(transform, renamed, base_prefix); }
    }
    for (auto& name : renamed) {
        auto match = find_converter(transforms, name, base_prefix);
        if (match) {
            auto const place = places.number_of(std::move(match->place));
            mapped.list.push_back({{}, ConverterHit{place, match->source, std::move(match->star)}});
        } else {
            mapped.list.push_back({mapped.texts.emplace_back(std::move(name)), std::nullopt});
        }
    }
}

/// What becomes of the names of a group.
class MappedGroup {
   public:
    /// @param stored two specimens, @p renamed and @p matches what rules make of them.
    static std::optional<MappedGroup> of(std::span<std::string const> stored, std::span<std::string const> renamed,
                                         std::array<std::optional<ConverterMatch>, 2> const& matches) {
        MappedGroup group;
        group.keeps_names_ = std::ranges::equal(stored, renamed);
        bool is_whole = true;
        auto const common = [&](std::string_view a, std::string_view b) {
            auto text = DigitTemplate::from({a, b});
            is_whole = is_whole && text;
            return std::move(text).value_or(DigitTemplate());
        };
        group.name_ = common(renamed[0], renamed[1]);
        auto const& [a, b] = matches;
        if (a.has_value() != b.has_value()) { return std::nullopt; }
        if (a) {
            if (a->place.transform != b->place.transform || a->source != b->source) { return std::nullopt; }
            group.taken_.emplace();
            group.taken_->transform = a->place.transform;
            group.taken_->source = a->source;
            group.taken_->star = common(a->star, b->star);
            group.taken_->texts = {common(a->place.prefix, b->place.prefix), common(a->place.suffix, b->place.suffix)};
            for (std::size_t i = 0; i < a->place.groups.size(); ++i) {
                group.taken_->texts.push_back(common(a->place.groups[i], b->place.groups[i]));
            }
        }
        return is_whole ? std::optional(std::move(group)) : std::nullopt;
    }

    MappedName map(std::string_view stored, NameDigits digits, Places& places, std::deque<std::string>& texts) {
        if (taken_) { return {{}, ConverterHit{place(digits, places), taken_->source, taken_->star.with(digits)}}; }
        return {keeps_names_ ? stored : texts.emplace_back(name_.with(digits)), std::nullopt};
    }

   private:
    struct Taken {
        std::size_t transform = 0;
        std::uint32_t source = 0;
        DigitTemplate star;
        std::vector<DigitTemplate> texts;  ///< of the place: before, behind, and those of its groups
        std::optional<std::pair<NameDigits, std::uint32_t>> last;  ///< of neighbours, which mostly go to the same place
    };

    std::uint32_t place(NameDigits digits, Places& places) {
        auto& last = taken_->last;
        bool const is_same = last && std::ranges::all_of(taken_->texts, [&](DigitTemplate const& text) {
                                 return text.is_same_with(digits, last->first);
                             });
        if (is_same) { return last->second; }
        ConverterPlace place{taken_->transform, taken_->texts[0].with(digits), taken_->texts[1].with(digits), {}};
        for (auto const& text : std::span(taken_->texts).subspan(2)) { place.groups.push_back(text.with(digits)); }
        last = {digits, places.number_of(std::move(place))};
        return last->second;
    }

    bool keeps_names_ = true;
    DigitTemplate name_;
    std::optional<Taken> taken_;
};

/// What rules make of names that differ only in numbers. None where rules may look at what the numbers are, or put them
/// beside other characters, where a later rule might.
std::optional<std::vector<MappedGroup>> mapped_groups(std::span<Transform const> transforms,
                                                      std::vector<std::string> const& specimens,
                                                      std::string_view base_prefix) {
    auto renamed = specimens;
    for (auto const& transform : transforms) {
        if (transform.kind == Transform::Kind::convert) { continue; }
        rename_all(transform, renamed, base_prefix);
        for (std::size_t i = 0; i < renamed.size(); i += 2) {
            if (!differ_in_numbers_only(renamed[i], renamed[i + 1])) { return std::nullopt; }
        }
    }
    std::vector<MappedGroup> groups;
    for (std::size_t i = 0; i < renamed.size(); i += 2) {
        auto group = MappedGroup::of(std::span(specimens).subspan(i, 2), std::span(renamed).subspan(i, 2),
                                     {find_converter(transforms, renamed[i], base_prefix),
                                      find_converter(transforms, renamed[i + 1], base_prefix)});
        if (!group) { return std::nullopt; }
        groups.push_back(*std::move(group));
    }
    return groups;
}

/// As map_each, but rules run over two names a group of those that differ only in numbers. False where they may not.
bool map_by_groups(std::span<Transform const> transforms, std::span<std::string_view const> names,
                   std::string_view base_prefix, Places& places, MappedNames& mapped) {
    bool const is_fit = !has_digit(base_prefix) && std::ranges::all_of(transforms, [&](Transform const& transform) {
        return transform.kind != Transform::Kind::offset_rename && !has_digit(transform.scope.value_or("")) &&
               transform.pattern.treats_numbers_alike();
    });
    if (!is_fit) { return false; }
    auto const numbers = NumberGroups::of(names);
    if (!numbers) { return false; }
    auto groups = mapped_groups(transforms, numbers->specimens(), base_prefix);
    if (!groups) { return false; }
    for (std::size_t i = 0; i < names.size(); ++i) {
        auto& group = (*groups)[numbers->group(i)];
        mapped.list.push_back(group.map(names[i], numbers->digits(i), places, mapped.texts));
    }
    return true;
}

}  // namespace

MappedNames map_names(std::span<Transform const> transforms, std::vector<std::string_view> const& names,
                      std::string_view base_prefix, NameSet const& model_names) {
    MappedNames mapped;
    mapped.list.reserve(names.size());
    Places places(mapped.places);
    if (!map_by_groups(transforms, names, base_prefix, places, mapped)) {
        map_each(transforms, names, base_prefix, places, mapped);
    }
    if (model_names.empty()) { return mapped; }
    ModelNames known(model_names, base_prefix, transforms, places, mapped.texts);
    StoredNames stored_names(names, known);
    for (std::size_t i = 0; i < names.size(); ++i) {
        auto& own = mapped.list[i];
        bool const is_led = known.lead(own);
        if (is_led && !(known.contains(names[i]) && stored_names.has_other(own, names[i]))) { continue; }
        if (!own.converter && own.name == names[i]) { continue; }
        MappedName stored{names[i], std::nullopt};
        if (known.lead(stored)) { own = std::move(stored); }
    }
    return mapped;
}

}  // namespace shardwise
