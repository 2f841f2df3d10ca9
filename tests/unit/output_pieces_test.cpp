// Stored tensors put together out of shards, and parameters out of stored tensors, against whole-tensor references.
#include "exec/output_pieces.hpp"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "convert/runs.hpp"
#include "support/error_of.hpp"
#include "support/test_model.hpp"

namespace shardwise::test {
namespace {

using ::testing::ElementsAre;

Expression whole_of(TestModel const& model, char const* name) { return model.leaf(name); }

/// Every operation there is, placements with unequal blocks, and heads that several ranks hold.
TestModel every_operation(Mesh const& mesh) {
    auto const tp = mesh.tp;
    ModelBuilder builder("/nowhere", 7);
    builder.add("columns", DType::bf16, {13, 7});
    builder.add("fused", DType::bf16, {24, 5});
    builder.add("heads", DType::f32, {24, 6});
    builder.add("rotary", DType::f32, {16});
    builder.next_file();
    for (int i = 0; i < 3; ++i) { builder.add(fmt::format("gate.{}", i), DType::u8, {5, 6}); }
    for (int i = 0; i < 3; ++i) { builder.add(fmt::format("up.{}", i), DType::u8, {5, 6}); }
    builder.add("scalar", DType::i64, {});
    builder.add("stack", DType::bf16, {3, 4, 5});
    builder.add("turned", DType::bf16, {9, 12});
    builder.add("empty", DType::bf16, {0, 3});
    auto model = builder.finish();
    model.mesh = mesh;
    // Parameters go to the stages by turns; what tp leaves is cut along dimension 0 once more.
    auto add = [&, next = std::int64_t{0}](std::string name, Expression value, Placement placement) mutable {
        if (mesh.fsdp > 1 && value.shape.rank() > 0) {
            placement.cuts.push_back({Placement::Kind::shard, 0, {}, MeshAxis::fsdp});
        }
        if (mesh.pp > 1) { placement.stages = {next++ % mesh.pp}; }
        model.add(std::move(name), std::move(value), std::move(placement));
    };
    auto const cut = [&](std::string name, Expression value, std::size_t dim) {
        auto const placement = cut_along(value.shape, dim, tp);
        add(std::move(name), std::move(value), placement);
    };
    cut("columns", whole_of(model, "columns"), 1);
    add("empty", whole_of(model, "empty"), {});
    std::vector<Expression> gate;
    std::vector<Expression> up;
    for (int i = 0; i < 3; ++i) {
        gate.push_back(model.leaf(fmt::format("gate.{}", i)));
        up.push_back(model.leaf(fmt::format("up.{}", i)));
    }
    std::vector<Expression> halves;
    halves.push_back(stack_of(std::move(gate), 0));
    halves.push_back(stack_of(std::move(up), 0));
    add("gate_up", concatenation_of(std::move(halves), 1),
              {.cuts = {{Placement::Kind::packed, 1, {{5, tp, 1}, {5, tp, 1}}}}, .stages = {}});
    add("heads", interleave_of(whole_of(model, "heads"), 0, 4, false),
              {.cuts = {{Placement::Kind::packed, 0, {{16, tp, 1}, {8, 1, tp}}}}, .stages = {}});
    cut("q", slice_of(whole_of(model, "fused"), 0, 0, 16), 0);
    auto const pairs = std::min<std::int64_t>(tp, 2);
    add("k", slice_of(whole_of(model, "fused"), 0, 16, 20),
        {.cuts = {{Placement::Kind::shard, 0, {{4, pairs, (tp + 1) / 2}}}}, .stages = {}});
    add("v", slice_of(whole_of(model, "fused"), 0, 20, 24), {});
    add("scalar", whole_of(model, "scalar"), {});
    for (int i = 0; i < 3; ++i) {
        cut(fmt::format("stack.{}", i), select_of(whole_of(model, "stack"), 0, i), 1);
    }
    cut("turned", interleave_of(transpose_of(whole_of(model, "turned"), 0, 1), 0, 1, true), 0);
    return model;
}

std::vector<std::byte> const& held(TestModel const& model, ShardPieces const& pieces, Piece const& piece) {
    return model.expected(pieces.parameters()[piece.block.tensor].name, piece.holder);
}

std::vector<Mesh> const& cut_meshes() {
    static std::vector<Mesh> const meshes = {
        {.dp = 2, .tp = 1},           {.dp = 2, .tp = 2},
        {.dp = 2, .tp = 3},           {.dp = 2, .tp = 4},
        {.dp = 2, .tp = 5},           {.dp = 2, .fsdp = 3},
        {.dp = 2, .fsdp = 2, .tp = 3}, {.pp = 3, .dp = 2, .fsdp = 2, .tp = 2},
    };
    return meshes;
}

TEST(ShardPieces, StoredTensorsComeOutOfWhatTheRanksHold) {
    for (auto const& mesh : cut_meshes()) {
        auto const model = every_operation(mesh);
        auto const& catalog = model.catalog();
        ShardPieces pieces(catalog, model.parameters(), mesh);
        for (std::uint32_t item = 0; item < catalog.tensors().size(); ++item) {
            auto const& stored = catalog.tensors()[item];
            if (stored.name == "rotary") { continue; }
            for (int writer = 0; writer < mesh.world(); ++writer) {
                SCOPED_TRACE(fmt::format("{}, {}, writer {}", stored.name, to_string(mesh), writer));
                std::vector<std::byte> bytes(stored.size_bytes);
                std::vector<int> writes(stored.size_bytes, 0);
                for (auto const& piece : pieces.pieces_of(item, writer)) {
                    ASSERT_EQ(piece.holder / mesh.copy_ranks() % mesh.dp, writer / mesh.copy_ranks() % mesh.dp)
                        << "another copy of the model is nearer";
                    auto const& from = held(model, pieces, piece);
                    for_each_run(piece.block, [&](std::uint64_t at, std::uint64_t local, std::uint64_t size) {
                        for (std::uint64_t i = 0; i < size; ++i) {
                            bytes.at(at + i) = from.at(local + i);
                            ++writes.at(at + i);
                        }
                    });
                }
                auto const first = model.files()[stored.file].begin() + static_cast<std::ptrdiff_t>(stored.begin);
                EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), first));
                EXPECT_THAT(writes, ::testing::Each(::testing::Ge(1)));
                // Shared heads, cut unevenly once more, overlap.
                bool const may_overlap = mesh.fsdp > 1 && (stored.name == "heads" || stored.name == "fused");
                if (!may_overlap) { EXPECT_THAT(writes, ::testing::Each(1)); }
            }
        }
    }
}

TEST(ShardPieces, TellsWhatNoRankHolds) {
    auto const model = every_operation({.tp = 2});
    ShardPieces const pieces(model.catalog(), model.parameters(), {.tp = 2});
    std::set<std::string> missing;
    for (std::size_t i = 0; i < pieces.is_held().size(); ++i) {
        if (!pieces.is_held()[i]) { missing.insert(model.catalog().tensors()[i].name); }
    }
    EXPECT_THAT(missing, ElementsAre("rotary"));
}

TEST(ShardPieces, AStoredTensorThatWasLoadedInPartIsRefusedByName) {
    auto const model = every_operation({.tp = 3});
    auto parameters = model.parameters();
    std::erase_if(parameters.list, [](Parameter const& parameter) { return parameter.name == "k"; });
    EXPECT_THAT(error_of([&] { ShardPieces(model.catalog(), std::move(parameters), {.tp = 3}); }),
                IsError(Errc::input, "fused: the ranks hold 200 of its 240 B"));
}

TEST(ShardPieces, OfEqualPartsTheWritersOwnIsTaken) {
    auto const model = every_operation({.tp = 4});
    ShardPieces pieces(model.catalog(), model.parameters(), {.dp = 2, .tp = 4});
    auto const scalar = *model.catalog().find("scalar");
    for (int writer = 0; writer < 8; ++writer) {
        auto const found = pieces.pieces_of(scalar, writer);
        ASSERT_EQ(found.size(), 1U);
        EXPECT_EQ(found.front().holder, writer);
    }
}

TEST(ModelPieces, ParametersComeOutOfStoredTensors) {
    auto const model = every_operation({.tp = 1});
    ModelPieces pieces(model.parameters().list);
    for (std::uint32_t item = 0; item < model.parameters().list.size(); ++item) {
        auto const& expected = model.expected(model.parameters().list[item].name, 0);
        std::vector<std::byte> bytes(expected.size());
        std::size_t written = 0;
        for (auto const& piece : pieces.pieces_of(item, 0)) {
            auto const& stored = model.catalog().tensors()[piece.block.tensor];
            auto const* const from = model.files()[stored.file].data() + stored.begin;
            for_each_run(piece.block, [&](std::uint64_t at, std::uint64_t source, std::uint64_t size) {
                for (std::uint64_t i = 0; i < size; ++i) { bytes.at(at + i) = from[source + i]; }
                written += size;
            });
        }
        EXPECT_EQ(bytes, expected) << model.parameters().list[item].name;
        EXPECT_EQ(written, expected.size());
    }
}

/// A layout of two files; the second has no data.
CheckpointLayout small_layout() {
    CheckpointLayout layout;
    layout.files.resize(2);
    layout.files[0].data_bytes = 25;
    layout.files[0].tensors = {{"a", DType::u8, {10}, 10, 0, 0}, {"e", DType::u8, {0}, 0, 1, 10},
                               {"b", DType::u8, {15}, 15, 2, 10}};
    return layout;
}

TEST(Windows, CoverEveryFileOfARankInOrderAndAnEmptyOneOnce) {
    auto const layout = small_layout();
    auto const of = [&](int rank, std::uint64_t bytes) {
        std::vector<std::string> texts;
        for (auto const& window : windows_of(layout, std::vector<int>{1, 0}, rank, bytes)) {
            texts.push_back(fmt::format("{} {}-{}{}", window.file, window.range.begin, window.range.end,
                                        window.is_last ? " last" : ""));
        }
        return texts;
    };
    EXPECT_THAT(of(1, 10), ElementsAre("0 0-10", "0 10-20", "0 20-25 last"));
    EXPECT_THAT(of(1, 25), ElementsAre("0 0-25 last"));
    EXPECT_THAT(of(0, 10), ElementsAre("1 0-0 last"));
    EXPECT_THAT(of(2, 10), ElementsAre());
}

/// Every item is one run in object 100 + item, shifted by 1000.
class PlainPieces final : public PieceMap {
   public:
    std::vector<Piece> pieces_of(std::uint32_t item, int) override {
        if (item == 1) { return {}; }
        return {{3, {100 + item, 0, 1000, item == 0 ? 10U : 15U, {}}}};
    }
};

TEST(WindowParts, AreCutToTheWindowAndCountFromItsFirstByte) {
    auto const layout = small_layout();
    PlainPieces pieces;
    WindowParts parts(layout, pieces);
    auto const texts = [&](std::uint64_t begin, std::uint64_t end) {
        std::vector<std::string> result;
        for (auto const& part : parts.parts_of({0, {begin, end}, false}, 0)) {
            auto const& block = part.block;
            result.push_back(
                fmt::format("{}: {}+{} from {}", block.tensor, block.source, block.run_bytes, block.target));
        }
        return result;
    };
    EXPECT_THAT(texts(0, 25), ElementsAre("100: 0+10 from 1000", "102: 10+15 from 1000"));
    EXPECT_THAT(texts(4, 12), ElementsAre("100: 0+6 from 1004", "102: 6+2 from 1000"));
    EXPECT_THAT(texts(10, 20), ElementsAre("102: 0+10 from 1000"));
    EXPECT_THAT(texts(24, 25), ElementsAre("102: 0+1 from 1014"));
    EXPECT_THAT(texts(10, 10), ElementsAre());
}

}  // namespace
}  // namespace shardwise::test
