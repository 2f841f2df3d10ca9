/// @file
/// What tests of GPUDirect Storage have in common: the stand-in for libcufile, a GPU that it watches, and files.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <shardwise/catalog.hpp>

#include "io/gds_driver.hpp"
#include "support/emulated_accelerator.hpp"
#include "support/environment.hpp"
#include "support/fake_cufile.hpp"
#include "support/scratch_folder.hpp"
#include "util/shared_library.hpp"

namespace shardwise::test {

/// An emulated GPU that tells the stand-in which threads it was given, and complains about memory that is given back
/// while it is registered.
class WatchedAccelerator final : public Accelerator {
   public:
    explicit WatchedAccelerator(FakeCufile& fake, EmulatedGpu gpu = {})
        : fake_(fake), gpu_(make_emulated_accelerator(std::move(gpu))) {}

    std::string describe() const override { return gpu_->describe(); }
    std::string uuid() const override { return gpu_->uuid(); }
    std::uint64_t free_bytes() const override { return gpu_->free_bytes(); }

    MemoryHandle share(Memory const& memory) override { return gpu_->share(memory); }
    Memory open(MemoryHandle const& handle, std::uint64_t size_bytes) override {
        return gpu_->open(handle, size_bytes);
    }

    Memory allocate(std::uint64_t size_bytes, std::uint64_t alignment = kDevicePage) override {
        auto memory = gpu_->allocate(size_bytes, alignment);
        auto const* const base = memory.bytes().data();
        std::shared_ptr<void const> owner(nullptr, [this, base, inner = memory.owner()](void const*) {
            if (fake_.has_registered(base)) { ADD_FAILURE() << "memory was given back while it was registered"; }
        });
        return {memory.bytes(), std::move(owner)};
    }

    Memory allocate_pinned(std::uint64_t size_bytes) override {
        ++pinned_;
        return gpu_->allocate_pinned(size_bytes);
    }
    std::unique_ptr<Stream> make_stream() override { return gpu_->make_stream(); }
    void attach_thread() override { fake_.attach_thread(); }
    std::uint64_t peak_bytes() const noexcept override { return gpu_->peak_bytes(); }

    /// Calls of allocate_pinned().
    int pinned() const noexcept { return pinned_; }

   private:
    FakeCufile& fake_;
    std::unique_ptr<Accelerator> gpu_;
    std::atomic<int> pinned_ = 0;
};

/// Bytes that tell where they come from.
inline std::string random_bytes(std::uint64_t size, unsigned seed) {
    std::string bytes(size, '\0');
    std::mt19937 random(seed);
    for (auto& byte : bytes) { byte = static_cast<char>(random()); }
    return bytes;
}

inline bool allows_direct(std::string const& folder) {
    ScratchFolder const probe(folder);
    int const fd = ::open(probe.write("f", "x").c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (fd >= 0) { ::close(fd); }
    return fd >= 0;
}

/// A stand-in as just loaded, and an environment without a word about cuFile.
class GdsTest : public testing::Test {
   protected:
    explicit GdsTest(std::string const& library = SHARDWISE_FAKE_CUFILE)
        : library_(library), fake_(*library_.get<GetFakeCufile>(kGetFakeCufile)()) {
        fake_.reset();
        accelerator_.emplace(fake_);
        accelerator_->attach_thread();
    }

    void SetUp() override {
        if (!allows_direct(folder_.path())) { GTEST_SKIP() << folder_.path() << " has no direct I/O"; }
    }

    void TearDown() override {
        if (driver_) { driver_->close(); }
        EXPECT_THAT(fake_.violations(), testing::IsEmpty());
    }

    GdsSettings settings() const { return {library_.name(), folder_ / "no-module", folder_ / "no-node", false}; }

    /// Opens the driver when it is first asked for.
    GdsDriver& driver() {
        if (!driver_) { driver_.emplace(settings()); }
        return *driver_;
    }

    /// Adds a file to the checkpoint; returns its number.
    std::uint32_t add_file(std::string const& content) {
        auto const name = "file-" + std::to_string(files_.size());
        files_.push_back({folder_.write(name, content), content.size(), 0});
        contents_.push_back(content);
        return static_cast<std::uint32_t>(files_.size() - 1);
    }

    EnvironmentVariable log_{"CUFILE_LOGFILE_PATH", std::nullopt};
    EnvironmentVariable allow_{"CUFILE_ALLOW_COMPAT_MODE", std::nullopt};
    EnvironmentVariable force_{"CUFILE_FORCE_COMPAT_MODE", std::nullopt};
    EnvironmentVariable json_{"CUFILE_ENV_PATH_JSON", "/nonexistent/cufile.json"};
    ScratchFolder folder_;
    SharedLibrary library_;
    FakeCufile& fake_;
    std::optional<WatchedAccelerator> accelerator_;
    std::optional<GdsDriver> driver_;
    std::vector<FileRecord> files_;
    std::vector<std::string> contents_;
};

}  // namespace shardwise::test
