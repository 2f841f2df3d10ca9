#include "mapping/operation_parser.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "util/suggest.hpp"

namespace shardwise {
namespace {

std::string text_of(JsonReader const& op, std::string const& key, std::string fallback = {}) {
    auto const value = op.find(key);
    return value ? value->text() : std::move(fallback);
}

Operation parse_chunk(JsonReader const& op) {
    op.allow_only({"op", "dim", "count"});
    return Chunk{parse_dim(op, "dim", 0), text_of(op, "count")};
}

Operation parse_split(JsonReader const& op) {
    op.allow_only({"op", "dim", "sizes"});
    return Split{parse_dim(op, "dim", 0), op["sizes"].texts()};
}

Operation parse_concatenate(JsonReader const& op) {
    op.allow_only({"op", "dim", "count"});
    return Concatenate{parse_dim(op, "dim", 0), text_of(op, "count")};
}

Operation parse_merge(JsonReader const& op) {
    op.allow_only({"op", "dim", "count"});
    return MergeModulelist{parse_dim(op, "dim", 0), text_of(op, "count")};
}

Operation parse_unmerge(JsonReader const& op) {
    op.allow_only({"op", "dim"});
    return SplitModulelist{parse_dim(op, "dim", 0)};
}

Operation parse_transpose(JsonReader const& op) {
    op.allow_only({"op", "dim0", "dim1", "unless_shape"});
    Transpose transpose{parse_dim(op, "dim0", 0), parse_dim(op, "dim1", 1), optional_texts(op, "unless_shape")};
    if (transpose.unless_shape.size() > Shape::kMaxRank) {
        op["unless_shape"].refuse(fmt::format("expected at most {} extents", Shape::kMaxRank));
    }
    return transpose;
}

Operation parse_interleave(JsonReader const& op) {
    op.allow_only({"op", "dim", "inverse"});
    return Interleave{parse_dim(op, "dim", 0), parse_flag(op, "inverse")};
}

Operation parse_permute(JsonReader const& op) {
    op.allow_only({"op", "heads", "kv_heads", "names", "kv_names", "inverse"});
    PermuteForRope permute;
    permute.heads = text_of(op, "heads", permute.heads);
    permute.kv_heads = text_of(op, "kv_heads", permute.kv_heads);
    permute.names = optional_texts(op, "names");
    permute.kv_names = optional_texts(op, "kv_names");
    permute.inverse = parse_flag(op, "inverse");
    return permute;
}

template <class Ernie>
Operation parse_ernie(JsonReader const& op) {
    op.allow_only({"op", "stack_dim", "concat_dim"});
    return Ernie{parse_dim(op, "stack_dim", 0), parse_dim(op, "concat_dim", 1)};
}

Operation parse_conv_to_linear(JsonReader const& op) {
    op.allow_only({"op"});
    return Conv3dToLinear{};
}

Operation parse_linear_to_conv(JsonReader const& op) {
    op.allow_only({"op", "in_channels", "kernel_size"});
    LinearToConv3d conversion{op["in_channels"].text(), op["kernel_size"].texts()};
    constexpr std::size_t kKernelDims = 3;
    if (conversion.kernel_size.size() != kKernelDims) { op["kernel_size"].refuse("expected three sizes: t, h, w"); }
    return conversion;
}

struct NamedParser {
    std::string_view name;
    Operation (*parse)(JsonReader const& op);
};

constexpr std::array kParsers = {
    NamedParser{"Chunk", parse_chunk},
    NamedParser{"Split", parse_split},
    NamedParser{"Concatenate", parse_concatenate},
    NamedParser{"MergeModulelist", parse_merge},
    NamedParser{"SplitModulelist", parse_unmerge},
    NamedParser{"Transpose", parse_transpose},
    NamedParser{"Interleave", parse_interleave},
    NamedParser{"PermuteForRope", parse_permute},
    NamedParser{"ErnieFuseAndSplitTextVisionExperts", parse_ernie<ErnieFuseAndSplitTextVisionExperts>},
    NamedParser{"ErnieSplitAndDecoupleTextVisionExperts", parse_ernie<ErnieSplitAndDecoupleTextVisionExperts>},
    NamedParser{"Conv3dToLinear", parse_conv_to_linear},
    NamedParser{"LinearToConv3d", parse_linear_to_conv},
};
static_assert(kParsers.size() == std::variant_size_v<Operation>);

[[noreturn]] void refuse_unknown(JsonReader const& op, std::string const& name) {
    std::vector<std::string> known;
    for (auto const& parser : kParsers) { known.emplace_back(parser.name); }
    auto const near = nearest(name, known);
    op["op"].refuse(fmt::format("unknown operation '{}'; {}", name,
                                near.empty() ? fmt::format("known are {}", fmt::join(known, ", "))
                                             : fmt::format("the nearest known one is '{}'", near)));
}

}  // namespace

std::size_t parse_dim(JsonReader const& object, std::string const& key, std::size_t fallback) {
    auto const value = object.find(key);
    if (!value) { return fallback; }
    auto const dim = value->integer();
    if (dim < 0 || dim >= static_cast<std::int64_t>(Shape::kMaxRank)) {
        value->refuse(fmt::format("expected a dimension from 0 to {}", Shape::kMaxRank - 1));
    }
    return static_cast<std::size_t>(dim);
}

std::vector<std::string> optional_texts(JsonReader const& object, std::string const& key) {
    auto const value = object.find(key);
    return value ? value->texts() : std::vector<std::string>{};
}

bool parse_flag(JsonReader const& object, std::string const& key) {
    auto const value = object.find(key);
    return value && value->boolean();
}

Operation parse_operation(JsonReader const& op) {
    auto const name = op["op"].text();
    auto const found = std::ranges::find(kParsers, name, &NamedParser::name);
    if (found == kParsers.end()) { refuse_unknown(op, name); }
    return found->parse(op);
}

}  // namespace shardwise
