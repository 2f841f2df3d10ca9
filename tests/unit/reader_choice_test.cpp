#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "io/reader_set.hpp"
#include "support/blocked_call.hpp"
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
