#include "mapping/conversion.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "mapping/ignored.hpp"
#include "mapping/kept_scales.hpp"
#include "mapping/model_config.hpp"
#include "util/natural_order.hpp"

namespace shardwise {
namespace {

[[noreturn]] void refuse(std::string text) { throw Error(Errc::input, std::move(text)); }

/// One stored tensor in a converter's bucket.
struct Collected {
    std::uint32_t tensor;
    std::string star;
};

/// What one converter makes at one place of the model: all tensors whose first output has the same name.
struct Entry {
    ConverterPlace place;
    std::vector<std::vector<Collected>> by_source;
};

/// Entries by the name of their first output and their rule.
class Entries {
   public:
    using Map = std::map<std::pair<std::string, std::size_t>, Entry>;

    Entries(std::span<ConverterPlace const> places, std::span<Transform const> transforms)
        : places_(places), transforms_(transforms), entry_of_(places.size()) {}

    /// @param is_left_out whether the first output is no parameter.
    template <class IsLeftOut>
    void add(std::uint32_t tensor, ConverterHit hit, IsLeftOut is_left_out) {
        auto& [entry, is_known] = entry_of_[hit.place];
        if (!std::exchange(is_known, true)) {
            auto const& place = places_[hit.place];
            auto const& transform = transforms_[place.transform];
            auto output = output_name(place, transform.targets.front());
            if (!is_left_out(output)) { entry = &map_[{std::move(output), place.transform}]; }
            if (entry != nullptr) {
                entry->place = place;
                entry->by_source.resize(transform.pattern.sources().size());
            }
        }
        if (entry != nullptr) { entry->by_source[hit.source].push_back({tensor, std::move(hit.star)}); }
    }

    Map take() { return std::move(map_); }

   private:
    struct Known {
        Entry* entry = nullptr;  ///< null: not a parameter
        bool is_known = false;
    };

    std::span<ConverterPlace const> places_;
    std::span<Transform const> transforms_;
    Map map_;
    std::vector<Known> entry_of_;  ///< by place
};

/// How errors call a rule.
std::string told(Transform const& transform, ArchitectureData const& architecture) {
    return fmt::format("the rule for '{}' of {}", fmt::join(transform.pattern.sources(), "', '"),
                       architecture.components[transform.component].origin);
}

/// Orders a bucket by the numbers in its names and checks that they run from 0 without gap: the number is the place in
/// the stack, so a missing expert must not shift the ones after it.
void order_by_number(std::vector<Collected>& bucket, std::string const& source, Catalog const& catalog) {
    std::map<std::int64_t, Collected> by_number;
    for (auto& item : bucket) {
        auto const& name = catalog.tensors()[item.tensor].name;
        std::int64_t number = -1;
        auto const [end, error] = std::from_chars(item.star.data(), item.star.data() + item.star.size(), number);
        if (error != std::errc{} || end != item.star.data() + item.star.size() || number < 0) {
            refuse(fmt::format("{}: '{}' stands where '{}' has its number", name, item.star, source));
        }
        auto const [at, is_new] = by_number.emplace(number, item);
        if (!is_new) {
            refuse(fmt::format("{} and {} are both number {} of '{}'", catalog.tensors()[at->second.tensor].name, name,
                               number, source));
        }
    }
    bucket.clear();
    std::int64_t expected = 0;
    for (auto& [number, item] : by_number) {
        if (number != expected) {
            refuse(fmt::format("number {} of '{}' is missing: {} were found, up to number {}", expected, source,
                               by_number.size(), by_number.rbegin()->first));
        }
        bucket.push_back(item);
        ++expected;
    }
}

/// True if each source collects tensors that are told apart by their numbers. Shards that are joined need none where
/// the rule does not say how many there are: they come in natural order.
bool collects_by_number(Transform const& transform) {
    return std::any_of(transform.operations.begin(), transform.operations.end(), [](Operation const& op) {
        auto const* join = std::get_if<Concatenate>(&op);
        return std::holds_alternative<MergeModulelist>(op) || (join != nullptr && !join->count.empty()) ||
               std::holds_alternative<ErnieFuseAndSplitTextVisionExperts>(op);
    });
}

/// Makes the expression of a stored tensor.
using LeafMaker = std::function<Expression(std::uint32_t tensor)>;

/// The buckets of an entry as expressions, complete and in the order of the rule's sources.
std::vector<Bucket> collect_buckets(Entry entry, Transform const& transform, Catalog const& catalog,
                                    LeafMaker const& leaf) {
    std::vector<Bucket> buckets;
    auto const sources = transform.pattern.sources();
    bool const is_numbered = collects_by_number(transform);
    for (std::size_t i = 0; i < sources.size(); ++i) {
        auto& collected = entry.by_source[i];
        if (collected.empty()) { refuse(fmt::format("no tensor matches its source '{}'", sources[i])); }
        if (is_numbered) { order_by_number(collected, sources[i], catalog); }
        Bucket bucket{sources[i], {}, true};
        for (auto const& item : collected) {
            bucket.tensors.push_back(leaf(item.tensor));
        }
        if (i > 0 && is_numbered && bucket.tensors.size() != buckets.front().tensors.size()) {
            refuse(fmt::format("{} tensors match '{}' but {} match '{}'", buckets.front().tensors.size(), sources[0],
                               bucket.tensors.size(), sources[i]));
        }
        buckets.push_back(std::move(bucket));
    }
    return buckets;
}

std::vector<NamedExpression> convert_entry(Entry entry, std::size_t index, Transform const& transform,
                                           Catalog const& catalog, SizeLookup const& size_of,
                                           LeafMaker const& leaf) {
    auto const place = entry.place;
    auto buckets = apply_operations(transform.operations, collect_buckets(std::move(entry), transform, catalog, leaf),
                                    transform.targets, size_of);
    std::vector<NamedExpression> outputs;
    for (auto& bucket : buckets) {
        if (bucket.tensors.size() != 1) {
            refuse(fmt::format("the rule leaves {} tensors for '{}'", bucket.tensors.size(), bucket.key));
        }
        outputs.push_back({output_name(place, bucket.key), std::move(bucket.tensors.front()), index});
    }
    return outputs;
}

void check_single_source(std::vector<NamedExpression> const& parameters, Catalog const& catalog,
                         ArchitectureData const& architecture) {
    auto const twice = std::adjacent_find(parameters.begin(), parameters.end(),
                                          [](auto const& a, auto const& b) { return a.name == b.name; });
    if (twice == parameters.end()) { return; }
    auto const source = [&](NamedExpression const& parameter) {
        auto const text = to_string(parameter.value, catalog);
        return parameter.transform
                   ? fmt::format("{} by {}", text, told(architecture.transforms[*parameter.transform], architecture))
                   : text;
    };
    refuse(fmt::format("parameter {} has two sources: {} and {}", twice->name, source(*twice),
                       source(*std::next(twice))));
}

/// All that cannot be made is told at once, the first ones with their reasons.
void refuse_failures(std::vector<Error> const& failures) {
    constexpr std::size_t kMostTold = 3;
    if (failures.empty()) { return; }
    if (failures.size() == 1) { throw failures.front(); }
    std::string text = fmt::format("{} parameters cannot be made", failures.size());
    for (std::size_t i = 0; i < std::min(failures.size(), kMostTold); ++i) {
        text += fmt::format("{} {}", i == 0 ? ":" : ";", failures[i].what());
    }
    if (failures.size() > kMostTold) { text += fmt::format("; {} more", failures.size() - kMostTold); }
    refuse(std::move(text));
}

}  // namespace

std::vector<NamedExpression> convert(Catalog const& catalog, ArchitectureData const& architecture,
                                     ModelConfig const& config, Leaves const& leaves, NameSet const& model_names) {
    std::vector<std::string_view> names;
    names.reserve(catalog.tensors().size());
    for (std::uint32_t tensor = 0; tensor < catalog.tensors().size(); ++tensor) {
        names.push_back(leaves.name_of(tensor));
    }
    auto mapped = map_names(architecture.transforms, names, architecture.base, model_names);

    std::vector<bool> goes_with_codes;
    for (std::uint32_t tensor = 0; tensor < names.size(); ++tensor) {
        goes_with_codes.push_back(go_with_codes(tensor, leaves, catalog, mapped));
    }
    Ignored const ignored(architecture.ignore, architecture.base, config.size("num_hidden_layers"));
    // Whether a stored tensor is a parameter tells the name of the first thing made of it.
    auto const is_left_out = [&](std::string_view name) {
        return ignored.contains(name) && !model_names.contains(name);
    };
    std::vector<NamedExpression> parameters;
    Entries entries(mapped.places, architecture.transforms);
    for (std::uint32_t tensor = 0; tensor < names.size(); ++tensor) {
        if (leaves.is_taken_in(tensor) || goes_with_codes[tensor]) { continue; }
        auto& [name, hit] = mapped.list[tensor];
        if (hit) {
            entries.add(tensor, *std::move(hit), is_left_out);
        } else if (!is_left_out(name)) {
            std::string parameter(name);
            auto value = leaves.leaf(tensor, parameter);
            parameters.push_back({std::move(parameter), std::move(value), std::nullopt});
        }
    }
    std::vector<Error> failures;
    for (auto& [key, entry] : entries.take()) {
        auto const& transform = architecture.transforms[key.second];
        try {
            auto const size_of = size_lookup(architecture.components[transform.component], config);
            auto outputs = convert_entry(std::move(entry), key.second, transform, catalog, size_of,
                                         [&](std::uint32_t tensor) { return leaves.leaf(tensor, key.first); });
            std::move(outputs.begin(), outputs.end(), std::back_inserter(parameters));
        } catch (Error const& error) {
            failures.push_back(error.while_(fmt::format("making {} by {}", key.first, told(transform, architecture))));
        }
    }
    refuse_failures(failures);
    add_kept_scales(parameters, leaves, catalog, goes_with_codes);
    std::sort(parameters.begin(), parameters.end(),
              [](auto const& a, auto const& b) { return natural_name_less(a.name, b.name); });
    check_single_source(parameters, catalog, architecture);
    return parameters;
}

}  // namespace shardwise
