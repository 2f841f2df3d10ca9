// What ranks hold in the memory of GPUs goes on: to other processes by handle, to files, and back into a checkpoint.
// The GPUs are emulated; a handle of one is opened by the process that made it.
#include "exec/handoff.hpp"

#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <shardwise/export.hpp>

#include "comm/watch.hpp"
#include "exec/write_rank_files.hpp"
#include "sink/manifest.hpp"
#include "support/emulated_accelerator.hpp"
#include "support/error_of.hpp"
#include "support/loaded.hpp"
#include "support/scratch_folder.hpp"
#include "util/file.hpp"

namespace shardwise::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

/// A model in the memory of an emulated GPU a rank.
struct OnGpus {
    explicit OnGpus(Maker make = small_mixtral)
        : context(make_world()), loaded(context, make, options(context.size()), [&](Communicator& communicator) {
              gpu = make_emulated_accelerator({.uuid = fmt::format("GPU-emulated-{}", communicator.rank())});
              return make_gpu_backend(communicator, gpu);
          }) {}

    static PlanOptions options(int ranks) {
        auto options = options_for({.tp = ranks});
        options.device = Device::cuda;
        return options;
    }

    void write(std::string const& folder, RankFormat format) {
        write_rank_files(loaded.store, loaded.plan, context, folder, format,
                         {*loaded.catalog, *loaded.architecture, loaded.options});
    }

    ParameterStore open(std::string const& folder, std::int64_t rank) {
        return open_handoff(folder, rank, [&](std::string const& uuid) { return uuid == gpu->uuid() ? gpu : nullptr; });
    }

    Context context;
    std::shared_ptr<Accelerator> gpu;
    Loaded loaded;
};

std::string new_folder(std::string const& name) {
    return shared_folder(name) + "/out";
}

TEST(Handoff, OpensTheVeryTensorsThatTheLoadHolds) {
    for (auto const& [name, make] : kModels) {
        SCOPED_TRACE(name);
        OnGpus job(make);
        auto const folder = new_folder("handles");
        job.write(folder, RankFormat::cuda_ipc);
        auto const opened = job.open(folder, job.context.rank());
        EXPECT_EQ(opened.device(), Device::cuda);
        EXPECT_EQ(difference(opened, job.loaded.plan, job.loaded.model), "");
        for (std::size_t i = 0; i < opened.size(); ++i) {
            auto const held = job.loaded.store[i];
            EXPECT_EQ(opened[i].bytes.data(), held.bytes.data()) << held.info->name;
            EXPECT_EQ(opened[i].info->dtype, held.info->dtype);
            EXPECT_EQ(opened[i].info->local_shape, held.info->local_shape);
            EXPECT_EQ(opened[i].info->global_shape, held.info->global_shape);
            EXPECT_EQ(opened[i].info->global_bytes, held.info->global_bytes);
            EXPECT_EQ(opened[i].info->placement, held.info->placement);
            EXPECT_EQ(opened[i].info->aliases, held.info->aliases);
        }
    }
}

TEST(Handoff, SaysWhyItCannotOpen) {
    OnGpus job;
    auto const folder = new_folder("handles");
    job.write(folder, RankFormat::cuda_ipc);
    auto const last = job.context.size();
    EXPECT_THAT(error_of([&] { job.open(folder, last); }),
                IsError(Errc::input, fmt::format("there is no rank {}, the load had {}", last, last)));
    EXPECT_THAT(error_of([&] { open_handoff(folder, 0, [](std::string const&) { return nullptr; }); }),
                IsError(Errc::unavailable, "GPU-emulated-0 is not visible"));
    job.write(folder, RankFormat::safetensors);
    EXPECT_THAT(error_of([&] { job.open(folder, 0); }), IsError(Errc::input, "files of tensors (safetensors)"));
}

/// What others do while the ranks hold.
void hold_while(OnGpus& job, std::string const& folder, std::function<void()> const& other) {
    std::thread thread([&] {
        std::this_thread::sleep_for(300ms);
        if (job.context.rank() == 0) { other(); }
    });
    hold_handoff(folder, job.context.communicator());
    thread.join();
}

TEST(Handoff, IsHeldUntilTheManifestIsRemoved) {
    OnGpus job;
    auto const folder = new_folder("handles");
    job.write(folder, RankFormat::cuda_ipc);
    auto const begin = std::chrono::steady_clock::now();
    hold_while(job, folder, [&] { fs::remove(manifest_path(folder)); });
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 200ms);
    together(job.context.communicator(), [] {});
    EXPECT_TRUE(fs::is_empty(folder));
}

TEST(Handoff, EndsWhenOneRankIsAskedToEnd) {
    OnGpus job;
    auto const folder = new_folder("handles");
    job.write(folder, RankFormat::cuda_ipc);
    hold_while(job, folder, [] { termination_requested() = true; });
    termination_requested() = false;
    together(job.context.communicator(), [] {});
    EXPECT_TRUE(fs::is_empty(folder));
}

TEST(Handoff, LeavesWhatALaterLoadPutThere) {
    OnGpus job;
    auto const folder = new_folder("handles");
    job.write(folder, RankFormat::cuda_ipc);
    hold_while(job, folder, [&] {
        for (int rank = 0; rank < job.context.size(); ++rank) {
            write_file_atomically(rank_file_path(folder, rank, RankFormat::cuda_ipc), "later");
        }
        write_file_atomically(manifest_path(folder), "later");
    });
    together(job.context.communicator(), [] {});
    EXPECT_EQ(read_text(manifest_path(folder)), "later");
    EXPECT_EQ(read_text(rank_file_path(folder, job.context.rank(), RankFormat::cuda_ipc)), "later");
}

TEST(Handoff, NeedsOneArenaInAGpu) {
    auto context = Context(make_world());
    Loaded const on_host(context, small_llama, options_for({.tp = context.size()}));
    EXPECT_THAT(error_of([&] { handoff_of(on_host.store, on_host.plan); }), IsError(Errc::usage, "one arena"));
}

TEST(Handoff, HandlesAreNoRankFiles) {
    OnGpus job;
    auto const folder = new_folder("handles");
    job.write(folder, RankFormat::cuda_ipc);
    auto const out = new_folder("exported");
    EXPECT_THAT(error_of([&] { export_checkpoint(folder, out, {}, job.context); }),
                IsError(Errc::input, "it holds none"));
}

TEST(GpuStore, GoesIntoRankFilesAndBackIntoTheCheckpoint) {
    for (auto const& [name, make] : kModels) {
        SCOPED_TRACE(name);
        OnGpus job(make);
        auto const& loaded = job.loaded;
        auto const& stored = loaded.model.catalog();
        auto const files = new_folder("files");
        job.write(files, RankFormat::safetensors);
        auto const from_files = new_folder("exported");
        export_checkpoint(files, from_files, {}, job.context);
        auto const from_memory = new_folder("exported");
        export_checkpoint(loaded.store, loaded.plan, *loaded.catalog, *loaded.architecture, loaded.options, from_memory,
                          {}, job.context);
        for (auto const& out : {from_files, from_memory}) {
            auto const written = Catalog::open(out);
            ASSERT_EQ(written.tensors().size(), stored.tensors().size());
            for (auto const& tensor : written.tensors()) {
                auto const content = content_of(written.files()[tensor.file].path);
                auto const& right = stored.tensors()[*stored.find(tensor.name)];
                auto const* const bytes = loaded.model.files()[right.file].data() + right.begin;
                ASSERT_EQ(tensor.size_bytes, right.size_bytes);
                EXPECT_EQ(std::memcmp(content.data() + tensor.begin, bytes, right.size_bytes), 0) << tensor.name;
            }
        }
    }
}

}  // namespace
}  // namespace shardwise::test
