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
                                   std::span<std::string const> targets) {
    std::vector<Bucket> result;
    std::int64_t begin = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        result.push_back(result_of(targets[i], slice_of(whole, dim, begin, begin + sizes[i])));
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

/// Sizes of @p count pieces of ceil(extent / count); @p what is how a message calls the indices.
std::vector<std::int64_t> chunk_sizes(std::int64_t extent, std::int64_t count, std::string_view what) {
    auto const piece = ceil_div(extent, count);
    std::vector<std::int64_t> sizes;
    for (std::int64_t i = 0; i < count; ++i) {
        sizes.push_back(std::min((i + 1) * piece, extent) - std::min(i * piece, extent));
    }
    if (extent > 0 && sizes.back() == 0) {
        refuse(fmt::format("{} {} in pieces of {} leave nothing for target {} of {}", extent, what, piece, count,
                           count));
    }
    return sizes;
}

/// @p target with every `*` replaced by @p number.
std::string numbered(std::string_view target, std::int64_t number) {
    std::string name;
    for (char const c : target) { name += c == '*' ? std::to_string(number) : std::string(1, c); }
    return name;
}

/// One target for each number from 0 to @p count - 1.
std::vector<std::string> numbered_targets(Rule const& rule, std::int64_t count, std::string const& expression) {
    if (rule.targets.size() != 1 || rule.targets.front().find('*') == std::string::npos) {
        refuse(fmt::format("with a count it needs one target with a '*', the rule has {} target(s), the first '{}'",
                           rule.targets.size(), rule.targets.front()));
    }
    if (count < 1) { refuse(fmt::format("'{}' is {}: there must be at least one piece", expression, count)); }
    std::vector<std::string> targets;
    for (std::int64_t i = 0; i < count; ++i) { targets.push_back(numbered(rule.targets.front(), i)); }
    return targets;
}

std::vector<Bucket> apply(Chunk const& op, std::vector<Bucket> buckets, Rule const& rule) {
    auto const whole = take_only_tensor(buckets);
    check_dim(whole, op.dim);
    std::vector<std::string> targets(rule.targets.begin(), rule.targets.end());
    if (!op.count.empty()) { targets = numbered_targets(rule, rule.size_of(op.count), op.count); }
    auto const sizes = chunk_sizes(whole.shape[op.dim], static_cast<std::int64_t>(targets.size()),
                                   fmt::format("indices of dimension {}", op.dim));
    return cut_to_targets(whole, op.dim, sizes, targets);
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
    return cut_to_targets(whole, op.dim, sizes, rule.targets);
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
            result.push_back(result_of(numbered(key, index), select_of(whole, op.dim, index)));
        }
    }
    return result;
}

std::vector<Bucket> apply(Transpose const& op, std::vector<Bucket> buckets, Rule const& rule) {
    auto const key = only_key(rule, buckets.front());
    auto tensor = take_only_tensor(buckets);
    std::vector<std::int64_t> extents;
    for (auto const& extent : op.unless_shape) { extents.push_back(rule.size_of(extent)); }
    Shape const wanted(extents);
    if (op.unless_shape.empty() || tensor.shape != wanted) {
        auto const stored_shape = tensor.shape;
        tensor = transpose_of(std::move(tensor), op.dim0, op.dim1);
        if (!op.unless_shape.empty() && tensor.shape != wanted) {
            refuse(fmt::format("shape {} is {} neither as it is nor with dimensions {} and {} swapped",
                               to_string(stored_shape), to_string(wanted), op.dim0, op.dim1));
        }
    }
    buckets.front() = result_of(key, std::move(tensor));
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

std::vector<Bucket> apply(ErnieFuseAndSplitTextVisionExperts const& op, std::vector<Bucket> buckets,
                          Rule const& rule) {
    auto const experts = buckets.front().tensors.size();
    for (auto const& bucket : buckets) {
        if (bucket.tensors.size() == experts) { continue; }
        refuse(fmt::format("{} tensors match '{}' but {} match '{}'", experts, buckets.front().key,
                           bucket.tensors.size(), bucket.key));
    }
    std::vector<Bucket> result;
    std::size_t first = 0;
    auto const sizes = chunk_sizes(static_cast<std::int64_t>(experts), static_cast<std::int64_t>(rule.targets.size()),
                                   "experts");
    for (std::size_t target = 0; target < sizes.size(); ++target) {
        auto const last = first + static_cast<std::size_t>(sizes[target]);
        std::vector<Expression> stacks;
        for (auto const& bucket : buckets) {
            auto const begin = bucket.tensors.begin();
            std::vector<Expression> group(begin + static_cast<std::ptrdiff_t>(first),
                                          begin + static_cast<std::ptrdiff_t>(last));
            stacks.push_back(stack_of(std::move(group), op.stack_dim));
        }
        result.push_back(result_of(rule.targets[target], concatenation_of(std::move(stacks), op.concat_dim)));
        first = last;
    }
    return result;
}

std::vector<Bucket> apply(ErnieSplitAndDecoupleTextVisionExperts const& op, std::vector<Bucket> buckets,
                          Rule const& rule) {
    std::vector<std::vector<Bucket>> by_target(rule.targets.size());
    std::int64_t number = 0;
    for (auto& bucket : buckets) {
        std::vector<Bucket> one;
        one.push_back(std::move(bucket));
        auto const whole = take_only_tensor(one);
        check_dim(whole, op.concat_dim);
        check_dim(whole, op.stack_dim);
        auto const sizes = chunk_sizes(whole.shape[op.concat_dim], static_cast<std::int64_t>(rule.targets.size()),
                                       fmt::format("indices of dimension {}", op.concat_dim));
        std::int64_t begin = 0;
        for (std::size_t target = 0; target < sizes.size(); ++target) {
            auto const part = slice_of(whole, op.concat_dim, begin, begin + sizes[target]);
            begin += sizes[target];
            for (std::int64_t index = 0; index < whole.shape[op.stack_dim]; ++index) {
                by_target[target].push_back(result_of(numbered(rule.targets[target], number + index),
                                                      select_of(part, op.stack_dim, index)));
            }
        }
        number += whole.shape[op.stack_dim];
    }
    std::vector<Bucket> result;
    for (auto& outputs : by_target) { std::move(outputs.begin(), outputs.end(), std::back_inserter(result)); }
    return result;
}

constexpr std::size_t kMatrixRank = 2;
constexpr std::size_t kConvolutionRank = 5;

/// @param rank of what is converted; what has @p passing_rank dimensions is left alone.
bool is_converted(Expression const& tensor, std::size_t rank, std::size_t passing_rank) {
    if (tensor.shape.rank() == rank) { return true; }
    if (tensor.shape.rank() == passing_rank) { return false; }
    refuse(fmt::format("takes {} or {} dimensions, got shape {}", rank, passing_rank, to_string(tensor.shape)));
}

std::vector<Bucket> apply(Conv3dToLinear const&, std::vector<Bucket> buckets, Rule const& rule) {
    auto const key = only_key(rule, buckets.front());
    auto tensor = take_only_tensor(buckets);
    if (is_converted(tensor, kConvolutionRank, kMatrixRank)) {
        while (tensor.shape.rank() > kMatrixRank) { tensor = merged_dims_of(std::move(tensor), 1); }
    }
    buckets.front() = result_of(key, std::move(tensor));
    return buckets;
}

std::vector<Bucket> apply(LinearToConv3d const& op, std::vector<Bucket> buckets, Rule const& rule) {
    auto const key = only_key(rule, buckets.front());
    auto tensor = take_only_tensor(buckets);
    if (is_converted(tensor, kMatrixRank, kConvolutionRank)) {
        std::vector<std::int64_t> extents = {rule.size_of(op.in_channels)};
        for (auto const& size : op.kernel_size) { extents.push_back(rule.size_of(size)); }
        std::int64_t columns = 1;
        for (auto const extent : extents) {
            if (extent < 1 || __builtin_mul_overflow(columns, extent, &columns)) {
                refuse(fmt::format("channels and kernel [{}] are no shape", fmt::join(extents, ", ")));
            }
        }
        if (columns != tensor.shape[1]) {
            refuse(fmt::format("shape {} has {} columns, channels and kernel [{}] make {}", to_string(tensor.shape),
                               tensor.shape[1], fmt::join(extents, ", "), columns));
        }
        for (std::size_t dim = 1; dim < extents.size(); ++dim) {
            columns /= extents[dim - 1];
            tensor = split_dim_of(std::move(tensor), dim, columns);
        }
    }
    buckets.front() = result_of(key, std::move(tensor));
    return buckets;
}

char const* name_of(Operation const& operation) {
    constexpr std::array kNames = {"Chunk",
                                   "Split",
                                   "Concatenate",
                                   "MergeModulelist",
                                   "SplitModulelist",
                                   "Transpose",
                                   "Interleave",
                                   "PermuteForRope",
                                   "ErnieFuseAndSplitTextVisionExperts",
                                   "ErnieSplitAndDecoupleTextVisionExperts",
                                   "Conv3dToLinear",
                                   "LinearToConv3d"};
    static_assert(kNames.size() == std::variant_size_v<Operation>);
    return kNames[operation.index()];
}

}  // namespace

bool supports_many_to_many(Operation const& operation) noexcept {
    return std::holds_alternative<ErnieFuseAndSplitTextVisionExperts>(operation) ||
           std::holds_alternative<ErnieSplitAndDecoupleTextVisionExperts>(operation);
}

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
