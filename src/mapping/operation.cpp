#include "mapping/operation.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include <shardwise/error.hpp>

#include "util/checked.hpp"

namespace shardwise {
namespace {

[[noreturn]] void refuse(std::string text) { throw Error(Errc::input, std::move(text)); }

struct Rule {
    std::span<std::string const> targets;
    SizeLookup const& size_of;
};

Expression take_only_tensor(std::vector<Bucket>& buckets) {
    if (buckets.size() != 1 || buckets.front().tensors.size() != 1) {
        refuse(fmt::format("takes one tensor, but {} source(s) gave {}", buckets.size(),
                           buckets.empty() ? 0 : buckets.front().tensors.size()));
    }
    return std::move(buckets.front().tensors.front());
}

void check_dim(Expression const& tensor, std::size_t dim) {
    if (dim >= tensor.shape.rank()) {
        refuse(fmt::format("no dimension {} in shape {}", dim, to_string(tensor.shape)));
    }
}

Bucket result_of(std::string key, Expression tensor) {
    Bucket bucket{std::move(key), {}, false};
    bucket.tensors.push_back(std::move(tensor));
    return bucket;
}

/// Key of an operation's only output: the target if there is one, else what the entry was called.
std::string only_key(Rule const& rule, Bucket const& entry) {
    return rule.targets.size() == 1 ? rule.targets.front() : entry.key;
}

/// Entries that are worked on one by one: a single one may take the name of a single target, several keep theirs.
void name_entries(std::vector<Bucket>& buckets, Rule const& rule) {
    if (buckets.size() == 1) { buckets.front().key = only_key(rule, buckets.front()); }
}

std::vector<Bucket> cut_to_targets(Expression const& whole, std::size_t dim, std::span<std::int64_t const> sizes,
                                   Rule const& rule) {
    std::vector<Bucket> result;
    std::int64_t begin = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        result.push_back(result_of(rule.targets[i], slice_of(whole, dim, begin, begin + sizes[i])));
        begin += sizes[i];
    }
    return result;
}

/// A list that ends too early has no gap: only config.json can tell that its last tensors are missing.
void check_count(std::vector<Bucket> const& buckets, std::string const& count, Rule const& rule) {
    if (count.empty()) { return; }
    std::int64_t stated = 0;
    try {
        stated = rule.size_of(count);
    } catch (Error const&) { return; }
    for (auto const& bucket : buckets) {
        auto const found = static_cast<std::int64_t>(bucket.tensors.size());
        if (!bucket.is_list || found == stated) { continue; }
        refuse(fmt::format("{} tensors match '{}', but '{}' is {}", found, bucket.key, count, stated));
    }
}

std::vector<Bucket> apply(Chunk const& op, std::vector<Bucket> buckets, Rule const& rule) {
    auto const whole = take_only_tensor(buckets);
    check_dim(whole, op.dim);
    auto const count = static_cast<std::int64_t>(rule.targets.size());
    auto const extent = whole.shape[op.dim];
    auto const piece = ceil_div(extent, count);
    std::vector<std::int64_t> sizes;
    for (std::int64_t i = 0; i < count; ++i) {
        sizes.push_back(std::min((i + 1) * piece, extent) - std::min(i * piece, extent));
    }
    if (extent > 0 && sizes.back() == 0) {
        refuse(fmt::format("{} indices of dimension {} in pieces of {} leave nothing for target {} of {}", extent,
                           op.dim, piece, count, count));
    }
    return cut_to_targets(whole, op.dim, sizes, rule);
}

std::vector<Bucket> apply(Split const& op, std::vector<Bucket> buckets, Rule const& rule) {
    auto const whole = take_only_tensor(buckets);
    check_dim(whole, op.dim);
    std::vector<std::int64_t> sizes;
    std::int64_t sum = 0;
    for (auto const& size : op.sizes) {
        sizes.push_back(rule.size_of(size));
        sum += sizes.back();
    }
    bool const fits = sizes.size() == rule.targets.size() && sum == whole.shape[op.dim] &&
                      std::all_of(sizes.begin(), sizes.end(), [](std::int64_t size) { return size >= 0; });
    if (!fits) {
        refuse(fmt::format("sizes [{}] for {} targets do not make up dimension {} of shape {}", fmt::join(sizes, ", "),
                           rule.targets.size(), op.dim, to_string(whole.shape)));
    }
    return cut_to_targets(whole, op.dim, sizes, rule);
}

std::vector<Bucket> apply(Concatenate const& op, std::vector<Bucket> buckets, Rule const& rule) {
    if (rule.targets.size() != 1) { refuse(fmt::format("makes one target, the rule has {}", rule.targets.size())); }
    check_count(buckets, op.count, rule);
    std::vector<Expression> inputs;
    for (auto& bucket : buckets) {
        std::move(bucket.tensors.begin(), bucket.tensors.end(), std::back_inserter(inputs));
    }
    std::vector<Bucket> result;
    result.push_back(result_of(rule.targets.front(), concatenation_of(std::move(inputs), op.dim)));
    return result;
}

std::vector<Bucket> apply(MergeModulelist const& op, std::vector<Bucket> buckets, Rule const& rule) {
    check_count(buckets, op.count, rule);
    for (auto& bucket : buckets) {
        if (!bucket.is_list) { continue; }  // merged before
        auto merged = stack_of(std::move(bucket.tensors), op.dim);
        bucket = result_of(std::move(bucket.key), std::move(merged));
    }
    name_entries(buckets, rule);
    return buckets;
}

std::vector<Bucket> apply(SplitModulelist const& op, std::vector<Bucket> buckets, Rule const& rule) {
    name_entries(buckets, rule);
    std::vector<Bucket> result;
    for (auto& bucket : buckets) {
        std::vector<Bucket> one;
        one.push_back(std::move(bucket));
        auto const key = one.front().key;
        auto const whole = take_only_tensor(one);
        check_dim(whole, op.dim);
        for (std::int64_t index = 0; index < whole.shape[op.dim]; ++index) {
            std::string name;
            for (char const c : key) { name += c == '*' ? std::to_string(index) : std::string(1, c); }
            result.push_back(result_of(std::move(name), select_of(whole, op.dim, index)));
        }
    }
    return result;
}

std::vector<Bucket> apply(Transpose const& op, std::vector<Bucket> buckets, Rule const& rule) {
    auto const key = only_key(rule, buckets.front());
    auto tensor = take_only_tensor(buckets);
    buckets.front() = result_of(key, transpose_of(std::move(tensor), op.dim0, op.dim1));
    return buckets;
}

std::vector<Bucket> apply(Interleave const& op, std::vector<Bucket> buckets, Rule const& rule) {
    auto tensor = take_only_tensor(buckets);
    buckets.front() = result_of(rule.targets.front(), interleave_of(std::move(tensor), op.dim, 1, op.inverse));
    return buckets;
}

bool contains_any(std::string const& key, std::vector<std::string> const& names) {
    return std::any_of(names.begin(), names.end(),
                       [&](auto const& name) { return key.find(name) != std::string::npos; });
}

std::vector<Bucket> apply(PermuteForRope const& op, std::vector<Bucket> buckets, Rule const& rule) {
    constexpr std::size_t kRankWithoutRows = 3;  // stacked tensors pass unchanged, as in the reference
    for (auto& bucket : buckets) {
        if (bucket.tensors.size() != 1) {
            refuse(fmt::format("takes one tensor for '{}', got {}", bucket.key, bucket.tensors.size()));
        }
        bucket.is_list = false;
        auto& tensor = bucket.tensors.front();
        bool const is_named = op.names.empty() || contains_any(bucket.key, op.names);
        if (!is_named || tensor.shape.rank() >= kRankWithoutRows) { continue; }
        auto const heads = rule.size_of(contains_any(bucket.key, op.kv_names) ? op.kv_heads : op.heads);
        tensor = interleave_of(std::move(tensor), 0, heads, op.inverse);
    }
    name_entries(buckets, rule);  // last: names are looked for in what an entry is called before
    return buckets;
}

char const* name_of(Operation const& operation) {
    constexpr std::array kNames = {"Chunk",           "Split",     "Concatenate", "MergeModulelist",
                                   "SplitModulelist", "Transpose", "Interleave",  "PermuteForRope"};
    static_assert(kNames.size() == std::variant_size_v<Operation>);
    return kNames[operation.index()];
}

}  // namespace

std::vector<Bucket> apply_operations(std::span<Operation const> operations, std::vector<Bucket> buckets,
                                     std::span<std::string const> targets, SizeLookup const& size_of) {
    Rule const rule{targets, size_of};
    for (auto const& operation : operations) {
        try {
            buckets = std::visit([&](auto const& op) { return apply(op, std::move(buckets), rule); }, operation);
        } catch (Error const& error) { throw error.while_(name_of(operation)); }
    }
    return buckets;
}

}  // namespace shardwise
