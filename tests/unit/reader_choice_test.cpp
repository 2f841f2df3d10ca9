#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "io/file_system.hpp"
#include "io/reader_set.hpp"
#include "support/blocked_call.hpp"
#include "support/emulated_accelerator.hpp"
#include "support/error_of.hpp"
#include "support/scratch_folder.hpp"

namespace shardwise::test {
namespace {

using testing::HasSubstr;

FileFacts on_disk(double cached_fraction, bool allows_direct) {
    return {cached_fraction, false, allows_direct, "ext4"};
}

TEST(ReaderChoice, FollowsWhatTheFileIsAndWhatTheSystemHas) {
    FileFacts const memory = {0.0, true, false, "tmpfs"};
    std::string const blocked = "io_uring cannot be used here: not permitted";
    struct Case {
        FileFacts facts;
        ReaderChoice choice;
        std::string uring_reason;
        ReaderKind kind;
        bool is_direct;
        char const* reason;
    };
    for (auto const& test_case : std::initializer_list<Case>{
             {on_disk(0, true), ReaderChoice::automatic, "", ReaderKind::uring, true, "0 % cached, ext4, direct I/O"},
             {on_disk(0.5, true), ReaderChoice::automatic, "", ReaderKind::uring, true, "50 % cached"},
             {on_disk(0, false), ReaderChoice::automatic, "", ReaderKind::uring, false, "no direct I/O there"},
             {on_disk(0, true), ReaderChoice::automatic, blocked, ReaderKind::pread, true, "not permitted"},
             {on_disk(0, false), ReaderChoice::automatic, blocked, ReaderKind::pread, false, "not permitted"},
             {on_disk(0.95, true), ReaderChoice::automatic, "", ReaderKind::cached, false, "95 % cached"},
             {on_disk(0.95, true), ReaderChoice::automatic, blocked, ReaderKind::cached, false, "95 % cached"},
             {memory, ReaderChoice::automatic, "", ReaderKind::cached, false, "tmpfs is memory"},
             {on_disk(0, true), ReaderChoice::mmap, "", ReaderKind::mmap, false, "asked for"},
             {on_disk(0, true), ReaderChoice::uring, "", ReaderKind::uring, true, "asked for"},
             // Direct I/O on cached pages reads from the disk what is in memory already.
             {on_disk(1, true), ReaderChoice::uring, "", ReaderKind::uring, false, "asked for"},
             {on_disk(0, true), ReaderChoice::pread, blocked, ReaderKind::pread, true, "asked for"},
             {on_disk(1, true), ReaderChoice::pread, "", ReaderKind::cached, false, "asked for"},
             {memory, ReaderChoice::pread, "", ReaderKind::cached, false, "asked for"},
         }) {
        auto const reader = choose_reader(test_case.facts, test_case.choice, test_case.uring_reason);
        EXPECT_EQ(reader.kind, test_case.kind) << test_case.reason;
        EXPECT_EQ(reader.is_direct, test_case.is_direct) << test_case.reason;
        EXPECT_THAT(reader.reason, HasSubstr(test_case.reason));
    }
}

TEST(ReaderChoice, IoUringThatCannotBeHadIsAnErrorOnlyWhenAskedFor) {
    EXPECT_THAT(error_of([] { choose_reader(on_disk(0, true), ReaderChoice::uring, "the reason"); }),
                IsError(Errc::unavailable, "--io uring: the reason"));
}

TEST(ReaderChoice, FilesForAGpuAreReadByGdsOrThroughPinnedMemory) {
    FileFacts const memory = {0.0, true, false, "tmpfs"};
    std::string const blocked = "io_uring cannot be used here: not permitted";
    std::string const no_gds = "register the file: no";
    struct Case {
        FileFacts facts;
        ReaderChoice choice;
        std::string uring_reason;
        std::string gds_obstacle;
        ReaderKind kind;
        bool is_direct;
        std::string reason;
    };
    for (auto const& test_case : std::initializer_list<Case>{
             {on_disk(0, true), ReaderChoice::automatic, "", "", ReaderKind::gds, true,
              "0 % cached, ext4, GPUDirect Storage"},
             {on_disk(0, true), ReaderChoice::automatic, "", no_gds, ReaderKind::uring, true,
              "0 % cached, ext4, direct I/O, through pinned memory: GDS: register the file: no"},
             {on_disk(0, false), ReaderChoice::automatic, "", no_gds, ReaderKind::uring, false,
              "0 % cached, ext4, no direct I/O there, through pinned memory: GDS: register the file: no"},
             {on_disk(0, true), ReaderChoice::automatic, blocked, no_gds, ReaderKind::pread, true,
              "0 % cached, ext4, direct I/O; " + blocked + ", through pinned memory: GDS: register the file: no"},
             {on_disk(0.95, true), ReaderChoice::automatic, "", no_gds, ReaderKind::pread, false,
              "95 % cached, through pinned memory: GDS: register the file: no"},
             {memory, ReaderChoice::automatic, "", no_gds, ReaderKind::pread, false,
              "tmpfs is memory, through pinned memory: GDS: register the file: no"},
             {on_disk(0, true), ReaderChoice::gds, blocked, "", ReaderKind::gds, true, "asked for"},
             {on_disk(0, true), ReaderChoice::uring, "", "", ReaderKind::uring, true,
              "asked for, through pinned memory"},
             {on_disk(1, true), ReaderChoice::uring, "", no_gds, ReaderKind::uring, false,
              "asked for, through pinned memory"},
             {on_disk(0, true), ReaderChoice::pread, "", "", ReaderKind::pread, true,
              "asked for, through pinned memory"},
             {on_disk(1, true), ReaderChoice::pread, "", "", ReaderKind::pread, false,
              "asked for, through pinned memory"},
         }) {
        auto const reader = choose_reader(test_case.facts, test_case.choice, test_case.uring_reason,
                                          {.is_gpu = true, .gds_obstacle = test_case.gds_obstacle});
        EXPECT_EQ(reader.kind, test_case.kind) << test_case.reason;
        EXPECT_EQ(reader.is_direct, test_case.is_direct) << test_case.reason;
        EXPECT_EQ(reader.reason, test_case.reason);
    }
}

TEST(ReaderChoice, WhatAGpuOrTheHostCannotHaveIsAnErrorThatNamesIt) {
    DeviceReading const gpu = {true, "the reason"};
    auto const choose = [](ReaderChoice choice, DeviceReading const& device) {
        return error_of([&] { choose_reader(on_disk(0, true), choice, "blocked", device); });
    };
    EXPECT_THAT(choose(ReaderChoice::gds, gpu), IsError(Errc::unavailable, "--io gds: the reason"));
    EXPECT_THAT(choose(ReaderChoice::mmap, gpu), IsError(Errc::unavailable, "--io mmap: "));
    EXPECT_THAT(choose(ReaderChoice::uring, gpu), IsError(Errc::unavailable, "--io uring: blocked"));
    EXPECT_THAT(choose(ReaderChoice::gds, {}), IsError(Errc::unavailable, "--io gds: it reads into the memory of"));
    EXPECT_THAT(choose(ReaderChoice::gds, {}), IsError(Errc::unavailable, "--device cuda"));
}

TEST(ReaderChoice, ThreadsThatFeedAGpuAreAsManyAsCoresUpToEight) {
    EXPECT_EQ(gpu_pread_threads(0), 1U);
    EXPECT_EQ(gpu_pread_threads(3), 3U);
    EXPECT_EQ(gpu_pread_threads(64), 8U);
}

TEST(GdsObstacle, WithoutAGpuSaysWhy) {
    if (auto const gpus = visible_gpus(); gpus.count > 0) { GTEST_SKIP() << gpus.count << " GPU(s)"; }
    ScratchFolder const folder;
    std::vector<FileRecord> const files = {{folder.write("f", "12345"), 5, 0}};
    auto const gpu = make_emulated_accelerator();
    auto const obstacle = gds_obstacle(files[0], *gpu);
    std::printf("no GPUDirect Storage: %s\n", obstacle.c_str());
    EXPECT_NE(obstacle, "");
    EXPECT_EQ(gds_obstacles(files, *gpu).at(0), obstacle);
    EXPECT_THAT(error_of([&] { make_gds_reader(files, *gpu, {}, {}); }), IsError(Errc::unavailable, obstacle));
}

/// In a child whose kernel refuses io_uring: reads a file all the same and prints why it did so otherwise.
[[noreturn]] void load_without_uring(std::string const& path, int error_number) {
    if (!block_call(SYS_io_uring_setup, error_number)) {
        std::fputs("no filter", stderr);
        std::_Exit(77);
    }
    auto const obstacle = uring_obstacle();
    auto const reader = choose_reader(on_disk(0, false), ReaderChoice::automatic, obstacle);
    auto const refused = error_of([&] { choose_reader(on_disk(0, false), ReaderChoice::uring, obstacle); });
    std::vector<FileRecord> const files = {{path, 5, 0}};
    auto const unavailable = error_of([&] { make_uring_reader(files, {false}, 8); });
    bool const is_right = reader.kind == ReaderKind::pread && refused && refused->code() == Errc::unavailable &&
                          unavailable && unavailable->code() == Errc::unavailable;
    std::fputs(reader.reason.c_str(), stderr);
    std::_Exit(is_right ? 0 : 1);
}

TEST(ReaderChoice, WhereIoUringIsBlockedFilesAreReadByThreadsAndTheReasonIsGiven) {
    if (auto const obstacle = uring_obstacle(); !obstacle.empty()) { GTEST_SKIP() << obstacle; }
    ScratchFolder const folder;
    auto const path = folder.write("f", "12345");
    EXPECT_EXIT(load_without_uring(path, EPERM), testing::ExitedWithCode(0),
                "not permitted \\(a container's seccomp profile");
    EXPECT_EXIT(load_without_uring(path, ENOSYS), testing::ExitedWithCode(0), "the kernel does not have it");
    EXPECT_EXIT(load_without_uring(path, ENOMEM), testing::ExitedWithCode(0), "not enough lockable memory");
}

TEST(ProbeFile, FilesInMemoryAreToldFromThoseOnDisk) {
    if (!std::filesystem::is_directory("/dev/shm")) { GTEST_SKIP() << "there is no /dev/shm"; }
    ScratchFolder const folder("/dev/shm");
    auto const path = folder.write("f", std::string(100000, 'x'));
    auto const facts = probe_file({path, 100000, 0});
    EXPECT_EQ(facts.file_system, "tmpfs");
    EXPECT_TRUE(facts.is_memory);
    EXPECT_FALSE(facts.allows_direct) << "there is no cache to bypass";
    EXPECT_TRUE(facts.is_cached());
}

TEST(ProbeFile, FilesOfAProgramInUserSpaceAreOfANetworkUnlessKnownNotToBe) {
    constexpr std::string_view kMounts =
        "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        "36 22 0:39 / /models ro,nosuid master:1 shared:2 - fuse.juicefs JuiceFS:models ro,user_id=0\n"
        "37 22 0:3 / /image ro - fuse.squashfuse_ll squashfuse_ll ro\n"
        "cut short\n"
        "38 22 0:393 /a\\040-\\040b /c rw - fuse store rw";
    EXPECT_EQ(mounted_type(kMounts, makedev(254, 0)), "ext4");
    EXPECT_EQ(mounted_type(kMounts, makedev(0, 39)), "fuse.juicefs");
    EXPECT_EQ(mounted_type(kMounts, makedev(0, 3)), "fuse.squashfuse_ll");
    EXPECT_EQ(mounted_type(kMounts, makedev(0, 393)), "fuse");
    EXPECT_EQ(mounted_type(kMounts, makedev(0, 9)), "");
    for (auto const* type : {"fuse", "fuse.juicefs", "fuse.sshfs"}) {
        EXPECT_TRUE(fuse_file_system(type).is_network) << type;
        EXPECT_EQ(fuse_file_system(type).name, type);
    }
    for (auto const* type : {"fuseblk", "fuse.squashfuse_ll", "fuse.fuse-overlayfs"}) {
        EXPECT_FALSE(fuse_file_system(type).is_network) << type;
    }
}

TEST(ProbeFile, SaysHowMuchOfAFileIsCached) {
    ScratchFolder const folder;
    constexpr std::uint64_t kSize = 1000003;
    auto const path = folder.write("f", std::string(kSize, 'x'));
    FileRecord const file = {path, kSize, 0};
    auto const written = probe_file(file);
    if (written.is_memory) { GTEST_SKIP() << folder.path() << " is memory"; }
    EXPECT_DOUBLE_EQ(written.cached_fraction, 1) << "just written";

    int const fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_EQ(::fsync(fd), 0);
    ASSERT_EQ(::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    ::close(fd);
    auto const dropped = probe_file(file);
    EXPECT_LT(dropped.cached_fraction, 0.1);
    EXPECT_LT(probe_file(file).cached_fraction, 0.1) << "looking must not read the file in";
    EXPECT_EQ(content_of(path).size(), kSize);
    EXPECT_DOUBLE_EQ(probe_file(file).cached_fraction, 1) << "just read";
}

TEST(ProbeFile, AnAbsentFileIsAnIoError) {
    EXPECT_THAT(error_of([] {
                    probe_file({"/nonexistent/f", 1, 0});
                }),
                IsError(Errc::io, "/nonexistent/f: No such file"));
}

}  // namespace
}  // namespace shardwise::test
