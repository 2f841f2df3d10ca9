#include "sink/atomic_file.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <gmock/gmock.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/blocked_call.hpp"
#include "support/error_of.hpp"
#include "support/scratch_folder.hpp"

namespace shardwise::test {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::MatchesRegex;

void put(PendingFile const& file, std::string const& text) {
    FileWriter writer(file, text.size());
    writer.write(std::as_bytes(std::span(text)));
    writer.close();
}

mode_t mode_of(std::string const& path) {
    struct stat status = {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 07777U;
}

TEST(AtomicFile, NothingStandsUnderTheFinalNameBeforeCommit) {
    ScratchFolder const folder;
    PendingFile file(folder / "out");
    put(file, "new");
    file.make_durable();
    EXPECT_THAT(folder.names(), ElementsAre(MatchesRegex("\\.out\\.[0-9]+\\.[0-9a-f]+\\.tmp")));
    file.commit();
    EXPECT_THAT(folder.names(), ElementsAre("out"));
    EXPECT_EQ(content_of(folder / "out"), "new");
}

TEST(AtomicFile, WithoutCommitTheOldContentStaysAndTheTemporaryGoes) {
    ScratchFolder const folder;
    folder.write("out", "old");
    {
        PendingFile const file(folder / "out");
        put(file, "half");
    }
    EXPECT_THAT(folder.names(), ElementsAre("out"));
    EXPECT_EQ(content_of(folder / "out"), "old");
}

TEST(AtomicFile, AMovedPendingFileIsRemovedOrCommittedOnce) {
    ScratchFolder const folder;
    {
        PendingFile first(folder / "out");
        PendingFile const second = std::move(first);
        put(second, "x");
    }
    EXPECT_THAT(folder.names(), IsEmpty());
    {
        PendingFile first(folder / "out");
        put(first, "x");
        PendingFile second = std::move(first);
        second.commit();
    }
    EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST(AtomicFile, TwoWritersOfOneNameDoNotMeet) {
    ScratchFolder const folder;
    PendingFile first(folder / "out");
    PendingFile second(folder / "out");
    put(first, "first");
    put(second, "second");
    second.commit();
    first.commit();
    EXPECT_EQ(content_of(folder / "out"), "first") << "the last one to commit";
    EXPECT_THAT(folder.names(), ElementsAre("out"));
}

TEST(AtomicFile, FoldersOnTheWayAreMade) {
    ScratchFolder const folder;
    write_file_atomically(folder / "a/b/out", "x");
    EXPECT_EQ(content_of(folder / "a/b/out"), "x");
    write_file_atomically(folder / "a/empty", "");
    EXPECT_EQ(content_of(folder / "a/empty"), "");
}

TEST(AtomicFile, ANewFileHasTheModeOfTheMaskAndAReplacedOneItsOwn) {
    ScratchFolder const folder;
    auto const old_mask = ::umask(027);
    write_file_atomically(folder / "new", "x");
    ::umask(old_mask);
    EXPECT_EQ(mode_of(folder / "new"), 0640U);

    ::chmod(folder.write("old", "x").c_str(), 0604);
    write_file_atomically(folder / "old", "y");
    EXPECT_EQ(mode_of(folder / "old"), 0604U);
}

TEST(AtomicFile, ALinkStaysAndItsTargetIsReplaced) {
    ScratchFolder const folder;
    folder.write("real/target", "old");
    fs::create_symlink("real/target", folder / "link");
    write_file_atomically(folder / "link", "new");
    EXPECT_TRUE(fs::is_symlink(folder / "link"));
    EXPECT_EQ(content_of(folder / "real/target"), "new");
    EXPECT_THAT(folder.names(), ElementsAre("link", "real"));
}

TEST(AtomicFile, AFolderThatCannotBeMadeIsAnIoError) {
    ScratchFolder const folder;
    folder.write("file", "");
    EXPECT_THAT(error_of([&] { PendingFile const file(folder / "file/sub/out"); }), IsError(Errc::io, "make folder"));
}

TEST(AtomicFile, AFinalNameThatIsAFolderIsAnIoErrorAndLeavesNothing) {
    ScratchFolder const folder;
    folder.write("out/inside", "");
    EXPECT_THAT(error_of([&] { write_file_atomically(folder / "out", "x"); }), IsError(Errc::io, "rename "));
    EXPECT_THAT(folder.names(), ElementsAre("out"));
}

/// Ends a child: prints what was thrown, and succeeds if it was an error of kind io and @p folder holds only "out" with
/// its old content.
template <class Action>
[[noreturn]] void report(ScratchFolder const& folder, Action&& action) {
    auto const error = error_of(action);
    std::fputs(error ? error->what() : "nothing was thrown", stderr);
    bool const is_clean = folder.names() == std::vector<std::string>{"out"} && content_of(folder / "out") == "old";
    std::_Exit(error && error->code() == Errc::io && is_clean ? 0 : 1);
}

TEST(AtomicFile, AModeThatCannotBeSetLeavesNothing) {
    ScratchFolder const folder;
    folder.write("out", "old");
    auto const replace = [&] {
        if (!block_call(SYS_fchmod, EPERM)) { std::_Exit(77); }
        report(folder, [&] { write_file_atomically(folder / "out", "new"); });
    };
    EXPECT_EXIT(replace(), testing::ExitedWithCode(0), "set the mode of .*: Operation not permitted");
}

void limit_file_size(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit const limit = {bytes, bytes};
    ::setrlimit(RLIMIT_FSIZE, &limit);
}

TEST(AtomicFile, WhatDoesNotFitShowsBeforeTheFirstByte) {
    ScratchFolder const folder;
    folder.write("out", "old");
    auto const replace = [&] {
        limit_file_size(4096);
        report(folder, [&] {
            PendingFile const file(folder / "out");
            FileWriter const writer(file, 10000);
        });
    };
    EXPECT_EXIT(replace(), testing::ExitedWithCode(0), "reserve 10000 B for .*/out: File too large");
}

TEST(AtomicFile, AWriteThatStopsHalfWaySaysWhere) {
    ScratchFolder const folder;
    folder.write("out", "old");
    auto const replace = [&] {
        limit_file_size(4096);
        report(folder, [&] {
            PendingFile const file(folder / "out");
            FileWriter writer(file, 0);
            std::string const text(10000, 'x');
            writer.write(std::as_bytes(std::span(text)));
        });
    };
    EXPECT_EXIT(replace(), testing::ExitedWithCode(0), "write .*/out at 4096 for 5904 B: File too large");
}

TEST(AtomicFile, AFullDiskIsAnIoErrorAndLeavesNothing) {
    ScratchFolder const folder;
    auto const fill = [&] {
        bool const is_mounted = ::unshare(CLONE_NEWNS) == 0 &&
                                ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                                ::mount("none", folder.path().c_str(), "tmpfs", 0, "size=64k") == 0;
        if (!is_mounted) { std::_Exit(77); }
        folder.write("out", "old");
        report(folder, [&] { write_file_atomically(folder / "out", std::string(1 << 20, 'x')); });
    };
    auto const was_permitted = [](int status) {
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
            std::puts("no file system may be mounted here: not tested");
        }
        return WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77);
    };
    EXPECT_EXIT(fill(), was_permitted, "^$|reserve 1048576 B for .*/out: No space left on device");
}

TEST(AtomicFile, ANameWithoutAFolderIsInTheWorkingFolder) {
    ScratchFolder const folder;
    auto const before = std::filesystem::current_path();
    std::filesystem::current_path(folder.path());
    write_file_atomically("plain", "text");
    std::filesystem::current_path(before);
    EXPECT_EQ(content_of(folder / "plain"), "text");
}

}  // namespace
}  // namespace shardwise::test
