// Checkpoints written out of the memory of ranks and out of rank files: every byte of every stored tensor comes back.
#include <shardwise/export.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/resource.h>

#include "exec/gather_windows.hpp"
#include "exec/write_rank_files.hpp"
#include "support/loaded.hpp"
#include "support/scratch_folder.hpp"

namespace shardwise::test {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ExportReport export_from_memory(Loaded const& loaded, std::string const& out, ExportOptions const& options,
                                Context& context) {
    return export_checkpoint(loaded.store, loaded.plan, *loaded.catalog, *loaded.architecture, loaded.options, out,
                             options, context);
}

/// A folder of that name beside others, the same on all ranks and not there yet.
std::string new_folder(std::string const& name) { return shared_folder(name) + "/out"; }

/// The first stored tensor that @p out does not hold as the model's files do, in words; empty if all are the same.
std::string difference_of(std::string const& out, TestModel const& model) {
    auto const written = Catalog::open(out);
    if (written.tensors().size() != model.catalog().tensors().size()) { return "another number of tensors"; }
    std::map<std::string, std::string> contents;
    for (auto const& file : written.files()) { contents[file.path] = content_of(file.path); }
    for (std::size_t i = 0; i < written.tensors().size(); ++i) {
        auto const& tensor = written.tensors()[i];
        auto const& stored = model.catalog().tensors()[i];
        if (tensor.name != stored.name || tensor.dtype != stored.dtype || tensor.shape != stored.shape) {
            return fmt::format("{} instead of {}, or another type or shape", tensor.name, stored.name);
        }
        auto const* const right = model.files()[stored.file].data() + stored.begin;
        auto const& content = contents[written.files()[tensor.file].path];
        if (std::memcmp(content.data() + tensor.begin, right, stored.size_bytes) != 0) { return tensor.name; }
    }
    return {};
}

std::vector<std::string> file_names(std::string const& folder) {
    std::vector<std::string> names;
    for (auto const& entry : fs::directory_iterator(folder)) { names.push_back(entry.path().filename()); }
    std::sort(names.begin(), names.end());
    return names;
}

TEST(ExportFromMemory, GivesBackEveryModelFromEveryCut) {
    auto context = Context(make_world());
    for (auto const& [name, make] : kModels) {
        for (auto const& mesh : meshes(context.size())) {
            SCOPED_TRACE(fmt::format("{}, {}", name, to_string(mesh)));
            Loaded const loaded(context, make, options_for(mesh));
            auto const out = new_folder("exported");
            auto const report = export_from_memory(loaded, out, {}, context);
            EXPECT_EQ(difference_of(out, loaded.model), "");
            EXPECT_EQ(report.files.size(), loaded.model.files().size());
            EXPECT_EQ(report.tensors, loaded.model.catalog().tensors().size());
            EXPECT_EQ(report.tensor_bytes, loaded.model.catalog().tensor_bytes());
            EXPECT_THAT(report.left_out, IsEmpty());
            for (auto const& file : report.files) { EXPECT_EQ(fs::file_size(file.path), file.size_bytes); }
        }
    }
}

TEST(ExportFromMemory, TakesKeyValueHeadsThatSeveralRanksHoldOnce) {
    auto context = Context(make_world());
    if (8 % context.size() != 0) { return; }  // 4 heads go into 1, 2, 4 and 8 ranks
    auto options = options_for({.tp = context.size()});
    options.replicate_kv_heads = true;
    options.priority = {"*k_proj*", "lm_head*"};
    Loaded const loaded(context, small_llama, options);
    auto const out = new_folder("exported");
    export_from_memory(loaded, out, {.max_file_bytes = 20'000, .overwrite = false}, context);
    EXPECT_EQ(difference_of(out, loaded.model), "");
    EXPECT_GT(file_names(out).size(), 4U);
}

TEST(ExportFromMemory, WritesValuesAsTheyAreNow) {
    auto context = Context(make_world());
    Loaded const loaded(context, small_mixtral, options_for({.tp = context.size()}));
    auto const held = *loaded.store.find("model.layers.0.mlp.experts.down_proj");  // [3, 64, 90], cut along the last
    auto const first_rank_width = (90 + context.size() - 1) / context.size();
    if (context.rank() == 0) {
        // expert 2, row 5, column 1
        auto const at = static_cast<std::size_t>(((2 * 64 + 5) * first_rank_width + 1) * 2);
        held.bytes[at] ^= std::byte{0xff};
    }
    auto const out = new_folder("exported");
    export_from_memory(loaded, out, {}, context);
    auto const name = "model.layers.0.block_sparse_moe.experts.2.w2.weight";
    EXPECT_EQ(difference_of(out, loaded.model), name);
    auto const written = Catalog::open(out);
    auto const& tensor = written.tensors()[*written.find(name)];
    auto const& stored = loaded.model.catalog().tensors()[*loaded.model.catalog().find(name)];
    auto const content = content_of(written.files()[tensor.file].path);
    std::vector<std::uint64_t> changed;
    for (std::uint64_t i = 0; i < tensor.size_bytes; ++i) {
        auto const right = static_cast<char>(loaded.model.files()[stored.file][stored.begin + i]);
        if (content[tensor.begin + i] != right) { changed.push_back(i); }
    }
    EXPECT_THAT(changed, ElementsAre((5 * 90 + 1) * 2));
}

/// An element of @p type at @p at, worked out from its bits.
float number_at(std::byte const* at, DType type) {
    std::uint32_t bits = 0;
    if (type == DType::f8_e4m3) {
        auto const code = static_cast<unsigned>(*at);
        auto const exponent = static_cast<int>(code >> 3U & 15U);
        auto const fraction = static_cast<float>(code & 7U) / 8;
        float const sign = (code & 128U) != 0 ? -1.0F : 1.0F;
        if ((code & 127U) == 127U) { return std::nanf(""); }
        return sign * (exponent == 0 ? std::ldexp(fraction, -6) : std::ldexp(1 + fraction, exponent - 7));
    }
    std::memcpy(&bits, at, type == DType::bf16 ? 2 : 4);
    return std::bit_cast<float>(type == DType::bf16 ? bits << 16U : bits);
}

/// Elements of an F32 tensor of @p out that are not what @p right gives for their index.
template <class Right>
std::size_t wrong_elements(std::string const& out, std::string const& name, Right right) {
    auto const written = Catalog::open(out);
    auto const& tensor = written.tensors()[written.find(name).value()];
    EXPECT_EQ(tensor.dtype, DType::f32) << name;
    auto const content = content_of(written.files()[tensor.file].path);
    std::size_t wrong = 0;
    for (std::uint64_t i = 0; i < tensor.size_bytes / 4; ++i) {
        auto const* const at = reinterpret_cast<std::byte const*>(content.data() + tensor.begin + 4 * i);
        float const value = number_at(at, DType::f32);
        float const expected = right(i);
        bool const is_nan = std::isnan(value) && std::isnan(expected);
        if (!is_nan && std::bit_cast<std::uint32_t>(value) != std::bit_cast<std::uint32_t>(expected)) { ++wrong; }
    }
    return wrong;
}

TEST(ExportFromMemory, WritesTheTypesThatWereAskedFor) {
    auto context = Context(make_world());
    for (auto const& [name, make] : kModels) {
        SCOPED_TRACE(name);
        auto options = options_for({.tp = context.size()});
        options.dtype = DType::f32;
        Loaded const loaded(context, make, options);
        auto const out = new_folder("exported");
        auto const report = export_from_memory(loaded, out, {}, context);
        EXPECT_EQ(report.tensors, loaded.model.catalog().tensors().size());
        EXPECT_EQ(report.files.size(), loaded.model.files().size());
        if (context.rank() != 0) { continue; }
        for (auto const& stored : loaded.model.catalog().tensors()) {
            auto const* const first = loaded.model.files()[stored.file].data() + stored.begin;
            auto const width = static_cast<std::uint64_t>(bits(stored.dtype)) / 8;
            auto const right = [&](std::uint64_t i) { return number_at(first + i * width, stored.dtype); };
            EXPECT_EQ(wrong_elements(out, stored.name, right), 0U) << stored.name;
        }
    }
}

TEST(ExportFromMemory, WritesNumbersForCodesAndNoScales) {
    auto context = Context(make_world());
    constexpr std::uint64_t kRows = 40;
    constexpr std::uint64_t kColumns = 36;
    std::string const name = "model.layers.0.self_attn.o_proj.weight";
    auto const make = [](std::string const& folder, Mesh const&) {
        ModelBuilder builder(folder, 9);
        builder.add("model.layers.0.self_attn.o_proj.weight", DType::f8_e4m3, {kRows, kColumns});
        builder.add("model.layers.0.self_attn.o_proj.weight_scale_inv", DType::bf16, {5, 3});
        builder.next_file();
        builder.add("model.norm.weight", DType::f32, {7});
        return builder.finish(R"({"model_type": "llama", "quantization_config": {"quant_method": "fp8"}})");
    };
    auto options = options_for({.tp = context.size()});
    options.dequantizes = true;
    options.dtype = DType::f32;
    Loaded const loaded(context, +make, options);
    auto const out = new_folder("exported");
    auto const report = export_from_memory(loaded, out, {}, context);
    EXPECT_EQ(report.tensors, 2U);
    EXPECT_THAT(report.left_out, IsEmpty());
    if (context.rank() != 0) { return; }
    auto const& catalog = loaded.model.catalog();
    auto const& codes = catalog.tensors()[catalog.find(name).value()];
    auto const& scales = catalog.tensors()[catalog.find(name + "_scale_inv").value()];
    auto const* const file = loaded.model.files()[codes.file].data();
    auto const right = [&](std::uint64_t i) {
        auto const block = i / kColumns / (kRows / 5) * 3 + i % kColumns / (kColumns / 3);
        return number_at(file + codes.begin + i, DType::f8_e4m3) *
               number_at(file + scales.begin + 2 * block, DType::bf16);
    };
    EXPECT_EQ(wrong_elements(out, name, right), 0U);
    EXPECT_EQ(content_of(out + "/config.json"), "{\n  \"model_type\": \"llama\",\n  \"dtype\": \"float32\"\n}\n");
}

/// Larger than a window of any number of ranks: rounds follow each other, and a tensor goes through several.
TEST(ExportFromMemory, TensorsLongerThanAWindowComeInParts) {
    auto context = Context(make_world());
    constexpr std::int64_t kRows = 3001;
    constexpr std::int64_t kColumns = 2003;
    auto const make = [](std::string const& folder, Mesh const&) {
        ModelBuilder builder(folder, 9);
        builder.add("model.layers.0.self_attn.o_proj.weight", DType::bf16, {kRows, kColumns});
        builder.add("model.norm.weight", DType::f32, {77});
        auto model = builder.finish(R"({"model_type":"llama"})");
        auto value = model.leaf("model.norm.weight");
        model.add("model.norm.weight", std::move(value), {});
        return model;
    };
    ASSERT_GT(static_cast<std::uint64_t>(kRows * kColumns * 2), gathered_window_bytes(context.size()));
    Loaded const loaded(context, +make, options_for({.tp = context.size()}));
    auto const out = new_folder("exported");
    export_from_memory(loaded, out, {}, context);
    EXPECT_EQ(difference_of(out, loaded.model), "");
}

TEST(ExportFromMemory, AFailureIsThatOfAllRanksWhichCanGoOn) {
    auto context = Context(make_world());
    Loaded const loaded(context, small_llama, options_for({.tp = context.size()}));
    auto const folder = shared_folder("blocked");
    auto const out = folder + "/out";
    together(context.communicator(), [&] {
        if (context.rank() == 0) { std::ofstream(folder + "/file"); }
    });
    try {
        export_from_memory(loaded, folder + "/file/out", {}, context);
        ADD_FAILURE() << "a file was taken for a folder";
    } catch (Error const& error) {
        EXPECT_EQ(error.code(), Errc::io);
        EXPECT_THAT(error.what(), HasSubstr(folder + "/file"));
    }
    // The same ranks go on afterwards.
    export_from_memory(loaded, out, {}, context);
    EXPECT_EQ(difference_of(out, loaded.model), "");
}

/// No file of this process can grow beyond so many bytes while this lives.
class FileSizeLimit {
   public:
    explicit FileSizeLimit(rlim_t bytes) {
        std::signal(SIGXFSZ, SIG_IGN);
        ::getrlimit(RLIMIT_FSIZE, &before_);
        rlimit const limit = {bytes, before_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    FileSizeLimit(FileSizeLimit const&) = delete;
    FileSizeLimit& operator=(FileSizeLimit const&) = delete;
    ~FileSizeLimit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

   private:
    rlimit before_ = {};
};

TEST(ExportFromMemory, WhenOneRankCannotWriteNoRanksFilesGetTheirNames) {
    auto context = Context(make_world());
    PlanOptions options;
    options.mesh.tp = context.size();
    Loaded const loaded(context, small_llama, options);
    auto const out = new_folder("exported");
    {
        std::optional<FileSizeLimit> limit;
        if (context.rank() == 0) { limit.emplace(1000); }
        try {
            export_from_memory(loaded, out, {}, context);
            ADD_FAILURE() << "files were longer than they can be";
        } catch (Error const& error) {
            EXPECT_EQ(error.code(), Errc::io);
            EXPECT_EQ(error.rank(), 0);
            EXPECT_THAT(error.what(), HasSubstr("File too large"));
        }
    }
    together(context.communicator(), [] {});  // the others have taken theirs away, too
    EXPECT_THAT(file_names(out), IsEmpty());
}

TEST(ExportFromRankFiles, GivesBackWhatAnyNumberOfRanksWrote) {
    auto context = Context(make_world());
    for (auto const format : {RankFormat::safetensors, RankFormat::hdf5}) {
        Loaded const loaded(context, small_mixtral, options_for({.tp = context.size()}));
        auto const ranks = shared_folder("ranks");
        try {
            write_rank_files(loaded.store, loaded.plan, context, ranks, format,
                             {*loaded.catalog, *loaded.architecture, loaded.options});
        } catch (Error const& error) {
            ASSERT_EQ(error.code(), Errc::unavailable) << error.what();  // no HDF5 in this build
            continue;
        }
        auto const out = new_folder("exported");
        auto const report = export_checkpoint(ranks, out, {}, context);
        EXPECT_EQ(difference_of(out, loaded.model), "");
        EXPECT_EQ(report.tensors, loaded.model.catalog().tensors().size());

        // One process alone, whatever the number of ranks was.
        auto alone = Context::self();
        auto const own = new_folder("alone") + std::to_string(context.rank());
        export_checkpoint(ranks, own, {.max_file_bytes = 50'000, .overwrite = false}, alone);
        EXPECT_EQ(difference_of(own, loaded.model), "");
    }
}

TEST(ExportFromRankFiles, AFailureIsThatOfAllRanksWhichCanGoOn) {
    auto context = Context(make_world());
    Loaded const loaded(context, small_llama, options_for({.tp = context.size()}));
    auto const ranks = shared_folder("ranks");
    write_rank_files(loaded.store, loaded.plan, context, ranks, RankFormat::safetensors,
                     {*loaded.catalog, *loaded.architecture, loaded.options});
    auto const folder = shared_folder("blocked");
    if (context.rank() == 0) { std::ofstream(folder + "/file"); }
    for (int time = 0; time < 2; ++time) {
        try {
            export_checkpoint(ranks, folder + "/file/out", {}, context);
            ADD_FAILURE() << "a file was taken for a folder";
        } catch (Error const& error) { EXPECT_EQ(error.code(), Errc::io) << error.what(); }
    }
    auto const out = folder + "/out";
    export_checkpoint(ranks, out, {}, context);
    EXPECT_EQ(difference_of(out, loaded.model), "");
    try {
        export_checkpoint(ranks, out, {}, context);
        ADD_FAILURE() << "a checkpoint was written over without being told";
    } catch (Error const& error) { EXPECT_THAT(error.what(), HasSubstr("--overwrite")); }
    export_checkpoint(ranks, out, {.max_file_bytes = {}, .overwrite = true}, context);
    EXPECT_EQ(difference_of(out, loaded.model), "");
}

}  // namespace
}  // namespace shardwise::test
