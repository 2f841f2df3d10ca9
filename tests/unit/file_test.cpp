#include "util/file.hpp"

#include <array>
#include <filesystem>

#include <gmock/gmock.h>
#include <unistd.h>

#include "support/error_of.hpp"
#include "support/scratch_folder.hpp"

namespace shardwise::test {
namespace {

TEST(File, ReadsTextWithAnyBytes) {
    ScratchFolder const folder;
    std::string const text("a\0\xFF\n", 4);
    EXPECT_EQ(read_text(folder.write("t", text)), text);
    EXPECT_EQ(read_text(folder.write("empty", "")), "");
}

TEST(File, ReadsFromAnOffset) {
    ScratchFolder const folder;
    auto const path = folder.write("t", "0123456789");
    std::array<std::byte, 3> into = {};
    read_exactly(open_for_read(path), path, 4, into);
    EXPECT_EQ(std::string(reinterpret_cast<char*>(into.data()), 3), "456");
}

TEST(File, AnAbsentFileIsAnIoErrorWithPathAndReason) {
    ScratchFolder const folder;
    EXPECT_THAT(error_of([&] { read_text(folder / "none"); }), IsError(Errc::io, (folder / "none") + ": No such file"));
}

TEST(File, AFolderIsNoFile) {
    ScratchFolder const folder;
    EXPECT_THAT(error_of([&] { read_text(folder.path()); }),
                IsError(Errc::input, folder.path() + " is not a regular file"));
}

TEST(File, AFileThatEndsEarlySaysWhere) {
    ScratchFolder const folder;
    auto const path = folder.write("t", "0123456789");
    std::array<std::byte, 8> into = {};
    auto const error = error_of([&] { read_exactly(open_for_read(path), path, 4, into); });
    EXPECT_THAT(error, IsError(Errc::input, "read " + path + " at 4 for 8 B: the file ends at 10"));
}

TEST(File, NothingWhereAFileGoesOnIsAnIoError) {
    // The kernel says of its attributes that they have a page, and gives a few bytes.
    std::string const path = "/sys/devices/system/cpu/online";
    if (!std::filesystem::exists(path)) { GTEST_SKIP() << "there is no " << path; }
    std::array<std::byte, 4096> into = {};
    EXPECT_THAT(error_of([&] { read_exactly(open_for_read(path), path, 0, into); }),
                IsError(Errc::io, "read " + path + " at 0 for 4096 B: nothing came, though the file has 4096 B"));
}

TEST(File, AHugeConfigurationFileIsRefusedBeforeItIsRead) {
    ScratchFolder const folder;
    auto const path = folder.write("t", "");
    std::filesystem::resize_file(path, (64ULL << 20U) + 1);  // sparse
    EXPECT_THAT(error_of([&] { read_text(path); }), IsError(Errc::input, "67108865 B"));
}

TEST(Fd, IsClosedOnceByItsLastOwner) {
    ScratchFolder const folder;
    Fd first = open_for_read(folder.write("t", ""));
    int const raw = first.get();
    Fd second = std::move(first);
    first.reset();
    EXPECT_EQ(::lseek(raw, 0, SEEK_SET), 0) << "still open";
    second.reset();
    EXPECT_EQ(::lseek(raw, 0, SEEK_SET), -1);
}

}  // namespace
}  // namespace shardwise::test
