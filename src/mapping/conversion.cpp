#include "mapping/conversion.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>

#include <fmt/format.h>

#include <shardwise/error.hpp>

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
    ConverterHit hit;  ///< of the first tensor; prefix, suffix and groups are the same for all
    std::vector<std::vector<Collected>> by_source;
};

std::vector<std::uint32_t> wanted_tensors(Catalog const& catalog, std::vector<std::string> const& ignore) {
    std::vector<std::uint32_t> wanted;
    if (ignore.empty()) {
        for (std::uint32_t i = 0; i < catalog.tensors().size(); ++i) { wanted.push_back(i); }
        return wanted;
    }
    Pattern const ignored(ignore);
    for (std::uint32_t i = 0; i < catalog.tensors().size(); ++i) {
        if (!ignored.find(catalog.tensors()[i].name)) { wanted.push_back(i); }
    }
    return wanted;
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

bool merges_lists(Transform const& transform) {
    return std::any_of(transform.operations.begin(), transform.operations.end(),
                       [](Operation const& op) { return std::holds_alternative<MergeModulelist>(op); });
}

/// Makes the expression of a stored tensor.
using LeafMaker = std::function<Expression(std::uint32_t tensor)>;

/// The buckets of an entry as expressions, complete and in the order of the rule's sources.
std::vector<Bucket> collect_buckets(Entry entry, Transform const& transform, Catalog const& catalog,
                                    LeafMaker const& leaf) {
    std::vector<Bucket> buckets;
    auto const sources = transform.pattern.sources();
    for (std::size_t i = 0; i < sources.size(); ++i) {
        auto& collected = entry.by_source[i];
        if (collected.empty()) { refuse(fmt::format("no tensor matches its source '{}'", sources[i])); }
        if (merges_lists(transform)) { order_by_number(collected, sources[i], catalog); }
        Bucket bucket{sources[i], {}, true};
        for (auto const& item : collected) {
            bucket.tensors.push_back(leaf(item.tensor));
        }
        if (i > 0 && merges_lists(transform) && bucket.tensors.size() != buckets.front().tensors.size()) {
            refuse(fmt::format("{} tensors match '{}' but {} match '{}'", buckets.front().tensors.size(), sources[0],
                               bucket.tensors.size(), sources[i]));
        }
        buckets.push_back(std::move(bucket));
    }
    return buckets;
}

std::vector<NamedExpression> convert_entry(Entry entry, Transform const& transform, Catalog const& catalog,
                                           SizeLookup const& size_of, LeafMaker const& leaf) {
    auto const hit = entry.hit;
    auto buckets = apply_operations(transform.operations, collect_buckets(std::move(entry), transform, catalog, leaf),
                                    transform.targets, size_of);
    std::vector<NamedExpression> outputs;
    for (auto& bucket : buckets) {
        if (bucket.tensors.size() != 1) {
            refuse(fmt::format("the rule leaves {} tensors for '{}'", bucket.tensors.size(), bucket.key));
        }
        outputs.push_back({output_name(hit, bucket.key), std::move(bucket.tensors.front())});
    }
    return outputs;
}

void check_single_source(std::vector<NamedExpression> const& parameters, Catalog const& catalog) {
    auto const twice = std::adjacent_find(parameters.begin(), parameters.end(),
                                          [](auto const& a, auto const& b) { return a.name == b.name; });
    if (twice == parameters.end()) { return; }
    refuse(fmt::format("parameter {} has two sources: {} and {}", twice->name, to_string(twice->value, catalog),
                       to_string(std::next(twice)->value, catalog)));
}

}  // namespace

std::vector<NamedExpression> convert(Catalog const& catalog, ArchitectureData const& architecture,
                                     SizeLookup const& size_of, Leaves const& leaves) {
    auto wanted = wanted_tensors(catalog, architecture.ignore);
    std::erase_if(wanted, [&](std::uint32_t tensor) { return leaves.is_taken_in(tensor); });
    std::vector<std::string> names;
    names.reserve(wanted.size());
    for (auto const tensor : wanted) { names.push_back(leaves.name_of(tensor)); }
    auto mapped = map_names(architecture.transforms, std::move(names), architecture.base);

    std::vector<NamedExpression> parameters;
    std::map<std::pair<std::string, std::size_t>, Entry> entries;
    for (std::size_t i = 0; i < mapped.size(); ++i) {
        auto& [name, hit] = mapped[i];
        if (!hit) {
            auto value = leaves.leaf(wanted[i], name);
            parameters.push_back({std::move(name), std::move(value)});
            continue;
        }
        auto const& transform = architecture.transforms[hit->transform];
        auto& entry = entries[{output_name(*hit, transform.targets.front()), hit->transform}];
        entry.by_source.resize(transform.pattern.sources().size());
        entry.by_source[hit->source].push_back({wanted[i], hit->star});
        entry.hit = std::move(*hit);
    }
    for (auto& [key, entry] : entries) {
        try {
            auto outputs = convert_entry(std::move(entry), architecture.transforms[key.second], catalog, size_of,
                                         [&](std::uint32_t tensor) { return leaves.leaf(tensor, key.first); });
            std::move(outputs.begin(), outputs.end(), std::back_inserter(parameters));
        } catch (Error const& error) { throw error.while_(fmt::format("making {}", key.first)); }
    }
    std::sort(parameters.begin(), parameters.end(),
              [](auto const& a, auto const& b) { return natural_name_less(a.name, b.name); });
    check_single_source(parameters, catalog);
    return parameters;
}

}  // namespace shardwise
