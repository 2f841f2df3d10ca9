// Whether GPUDirect Storage works, and why not, found out through a stand-in for libcufile.
#include "io/gds_driver.hpp"

#include <cerrno>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "io/cufile_library.hpp"
#include "support/error_of.hpp"
#include "support/gds_test.hpp"

namespace shardwise::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

MATCHER_P3(IsProbe, state, code, fragment,
           std::string("is '") + to_string(state) + "' with code " + std::to_string(code) + " and '" + fragment + "'") {
    return arg.state == state && arg.code == code && arg.reason.find(fragment) != std::string::npos;
}

class GdsDriverTest : public GdsTest {
   protected:
    GdsProbe probe(FileRecord const& file) { return GdsTrial(driver(), *accelerator_).probe(file); }
};

TEST_F(GdsDriverTest, OpensWithTheCompatibleModeOffAndLongReads) {
    EXPECT_TRUE(driver().probe().works()) << driver().probe().reason;
    EXPECT_EQ(driver().cufile().version, 1150);
    auto const settings = fake_.opened_with();
    EXPECT_FALSE(settings.allows_compatible);
    EXPECT_EQ(settings.longest_read_kib, 16384U);
    EXPECT_EQ(fake_.counts().opens, 1);
    EXPECT_EQ(fake_.counts().closes, 0);
}

TEST_F(GdsDriverTest, LogsToTheFolderOfTemporaryFilesNotToTheWorkingFolder) {
    EnvironmentVariable const where("TMPDIR", folder_.path());
    driver();
    EXPECT_EQ(fake_.opened_with().log, folder_ / ("cufile." + std::to_string(::getpid()) + ".log"));
}

TEST_F(GdsDriverTest, WhatTheUserSetStays) {
    EnvironmentVariable const log("CUFILE_LOGFILE_PATH", "/mine.log");
    auto const configuration = folder_.write("cufile.json", R"({
        // "dir": "/home/somebody",
        "properties": { "max_direct_io_size_kb": 2048, // "dir": "no"
                        "allow_compat_mode": true } })");
    EnvironmentVariable const json("CUFILE_ENV_PATH_JSON", configuration);
    EXPECT_TRUE(driver().probe().works());
    EXPECT_EQ(fake_.opened_with().log, "/mine.log");
    EXPECT_EQ(fake_.opened_with().longest_read_kib, 1024U) << "the stand-in's own, as it does not read the file";
    EXPECT_FALSE(fake_.opened_with().allows_compatible) << "what is called GPUDirect Storage has to be it";
}

TEST_F(GdsDriverTest, AConfigurationThatSaysWhereToLogIsLeftAlone) {
    auto const configuration = folder_.write("cufile.json", R"({"logging": {"dir": "/var/log"}})");
    EnvironmentVariable const json("CUFILE_ENV_PATH_JSON", configuration);
    driver();
    EXPECT_EQ(fake_.opened_with().log, "");
    EXPECT_EQ(fake_.opened_with().longest_read_kib, 16384U) << "about which the file says nothing";
}

TEST_F(GdsDriverTest, TheCompatibleModeThatTheUserTurnsOnIsNoGpuDirectStorage) {
    EnvironmentVariable const allow("CUFILE_ALLOW_COMPAT_MODE", "true");
    EXPECT_THAT(driver().probe(), IsProbe(GdsState::compatible, 0, "compatible mode is on (CUFILE_ALLOW_COMPAT_MODE"));
    driver_.reset();
}

TEST_F(GdsDriverTest, WithoutAGpuTheLibraryIsNotEvenLoaded) {
    auto const gpus = visible_gpus();
    if (gpus.count > 0) { GTEST_SKIP() << gpus.count << " GPU(s)"; }
    GdsDriver const driver({.library = library_.name()});
    EXPECT_THAT(driver.probe(), IsProbe(GdsState::gpu_missing, 0, gpus.obstacle));
    EXPECT_EQ(fake_.counts().opens, 0);
}

TEST_F(GdsDriverTest, AMissingLibraryIsNamed) {
    GdsDriver const driver({"libshardwise-absent.so.0", "", "", false});
    EXPECT_THAT(driver.probe(), IsProbe(GdsState::library_missing, 0,
                                        "load libshardwise-absent.so.0: libshardwise-absent.so.0: cannot"));
}

TEST_F(GdsDriverTest, AMissingFunctionIsNamed) {
    GdsDriver const driver({"libm.so.6", "", "", false});
    EXPECT_THAT(driver.probe(), IsProbe(GdsState::symbol_missing, 0, "find cuFileDriverOpen in libm.so.6: "));
}

TEST_F(GdsDriverTest, AModuleWithoutItsDeviceNodeIsFoundOutBeforeTheDriverIsOpened) {
    auto const module = folder_.write("nvidia-fs/version", "2.28");
    GdsDriver const driver({library_.name(), folder_ / "nvidia-fs", folder_ / "nvidia-fs0", false});
    EXPECT_THAT(driver.probe(), IsProbe(GdsState::device_missing, 0, "there is no " + (folder_ / "nvidia-fs0")));
    EXPECT_EQ(fake_.counts().opens, 0);
}

TEST_F(GdsDriverTest, ADriverThatDoesNotOpenGivesItsCodeAndSentenceAndIsLeftAlone) {
    fake_.answer_driver_open(5033);
    EXPECT_THAT(driver().probe(),
                IsProbe(GdsState::driver_failed, 5033, "open cuFile's driver: the driver could not be set up"));
    add_file("12345");
    EXPECT_THAT(probe(files_[0]), IsProbe(GdsState::driver_failed, 5033, ""));
    EXPECT_EQ(fake_.counts().opens, 1) << "a second try would be with the compatible mode on";
    EXPECT_EQ(fake_.counts().files, 0);
    EXPECT_EQ(accelerator_->peak_bytes(), 0U);
    driver_.reset();
}

/// Inode of what descriptor 0 is; 0 if it is closed.
ino_t input_inode() {
    struct stat status = {};
    return ::fstat(0, &status) == 0 ? status.st_ino : 0;
}

TEST_F(GdsDriverTest, TheStandardInputSurvivesADriverThatClosesIt) {
    auto const before = input_inode();
    if (before == 0) { GTEST_SKIP() << "descriptor 0 is closed"; }
    for (int const code : {0, 5033}) {
        fake_.reset();
        accelerator_->attach_thread();
        fake_.close_input();
        fake_.answer_driver_open(code);
        GdsDriver const driver(settings());
        EXPECT_EQ(input_inode(), before);
    }
}

TEST_F(GdsDriverTest, AClosedStandardInputIsNotHandedToTheDriver) {
    Fd const before(::fcntl(0, F_DUPFD_CLOEXEC, 3));
    ::close(0);
    fake_.close_input();
    driver();
    struct stat null = {};
    ASSERT_EQ(::stat("/dev/null", &null), 0);
    EXPECT_EQ(input_inode(), null.st_ino);
    ::dup2(before.get(), 0);
}

TEST_F(GdsDriverTest, AFileThatIsReadForTrialWorks) {
    for (auto const size : {0U, 1U, 4095U, 4096U, 4097U, 100000U}) {
        auto const& file = files_[add_file(random_bytes(size, size))];
        EXPECT_THAT(probe(file), IsProbe(GdsState::works, 0, "")) << size;
    }
    auto const counts = fake_.counts();
    EXPECT_EQ(counts.reads, 5) << "of an empty file there is nothing to read";
    EXPECT_EQ(counts.open_files + counts.open_buffers, 0);
    EXPECT_EQ(accelerator_->free_bytes(), make_emulated_accelerator()->free_bytes());
}

TEST_F(GdsDriverTest, AFileThatCannotBeRegisteredIsRefusedWithCodeAndSentence) {
    add_file("12345");
    fake_.answer_handle_register(5008);
    EXPECT_THAT(probe(files_[0]), IsProbe(GdsState::file_refused, 5008,
                                          "register the file: the file's file system has no GPUDirect Storage"));
}

TEST_F(GdsDriverTest, AFileWithoutDirectIoIsRefused) {
    FileRecord const file = {"/proc/version", 0, 0};  // a regular file, of a file system that has none
    EXPECT_THAT(probe(file), IsProbe(GdsState::file_refused, 0, "cannot be opened with O_DIRECT"));
    EXPECT_EQ(fake_.counts().files, 0);
}

TEST_F(GdsDriverTest, ATrialReadThatFailsRefusesTheFile) {
    add_file(random_bytes(10000, 1));
    fake_.script(0, {FakeRead::Kind::refused, 5049});
    EXPECT_THAT(probe(files_[0]), IsProbe(GdsState::file_refused, 5049, "read a page for trial: it would need"));
    fake_.script(1, {FakeRead::Kind::fails, EIO});
    EXPECT_THAT(probe(files_[0]), IsProbe(GdsState::file_refused, 0, "read a page for trial: Input/output error"));
    fake_.script(2, {FakeRead::Kind::short_by, 5000});
    EXPECT_THAT(probe(files_[0]), IsProbe(GdsState::file_refused, 0, "read a page for trial: nothing came"));
    fake_.script(3, {FakeRead::Kind::fails, EINTR});
    EXPECT_THAT(probe(files_[0]), IsProbe(GdsState::works, 0, "")) << "tried again";
    EXPECT_EQ(fake_.counts().open_files + fake_.counts().open_buffers, 0);
}

TEST_F(GdsDriverTest, ATrialReadThatWentThroughTheHostRefusesTheFile) {
    add_file("12345");
    fake_.take_path(FakePath::posix);
    EXPECT_THAT(probe(files_[0]), IsProbe(GdsState::file_refused, 0, "through memory of the host"));
    fake_.take_path(FakePath::p2p);
    EXPECT_THAT(probe(files_[0]), IsProbe(GdsState::works, 0, ""));
}

TEST_F(GdsDriverTest, MemoryThatCannotBeRegisteredIsSaid) {
    add_file("12345");
    fake_.answer_buf_register(5036);
    EXPECT_THAT(probe(files_[0]), IsProbe(GdsState::memory_refused, 0,
                                          "register 64.0 KiB of GPU memory: the GPU's memory could not be pinned"));
}

TEST_F(GdsDriverTest, AFileThatIsMissingIsAnErrorOfItsOwn) {
    EXPECT_THAT(error_of([&] { probe({folder_ / "absent", 5, 0}); }), IsError(Errc::io, "absent: No such file"));
    EXPECT_EQ(fake_.counts().open_buffers, 0);
}

TEST_F(GdsDriverTest, ObstaclesAreAskedForByFile) {
    add_file("12345");
    add_file("123456");
    fake_.script(1, {FakeRead::Kind::refused, 5034});
    EXPECT_THAT(gds_obstacles(files_, *accelerator_, &driver()),
                testing::ElementsAre("", HasSubstr("cuFile's configuration excludes the file (cuFile error 5034)")));
    EXPECT_EQ(fake_.counts().buffers, 1) << "one page for all files";
    EXPECT_EQ(gds_obstacle(files_[1], *accelerator_, &driver()), "");
}

TEST_F(GdsDriverTest, NothingIsLeftOpenByAnyTrial) {
    add_file("12345");
    driver();
    auto const descriptors = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}); };
    auto const before = descriptors();
    for (int const code : {0, 5008, 5027}) {
        fake_.answer_handle_register(code);
        probe(files_[0]);
    }
    EXPECT_EQ(descriptors(), before);
}

// The stand-in is worth something only if it says no.
class FakeCufileRules : public GdsTest {
   protected:
    void TearDown() override { driver_.reset(); }
};

TEST_F(FakeCufileRules, WhatIsAgainstThemIsWrittenDown) {
    auto const& file = files_[add_file(random_bytes(20000, 1))];
    auto const memory = accelerator_->allocate(4 * kDevicePage);
    GdsFile const opened(driver(), file);
    GdsBuffer const buffer(driver(), memory);
    auto const bytes = buffer.bytes();
    auto const refused = [](CufileOutcome outcome) { return static_cast<int>(-outcome.value); };
    EXPECT_EQ(refused(opened.read(1, bytes.first(4096), buffer)), 5022);
    EXPECT_EQ(refused(opened.read(0, bytes.first(4095), buffer)), 5022);
    EXPECT_EQ(refused(opened.read(0, bytes.subspan(512, 4096), buffer)), 5022);
    EXPECT_EQ(refused(opened.read(0, {bytes.data() + bytes.size() - 4096, 8192}, buffer)), 5017);
    EXPECT_EQ(fake_.violations().size(), 4U);
    std::jthread([&] { EXPECT_EQ(refused(opened.read(0, bytes.first(4096), buffer)), 5011); }).join();
    EXPECT_EQ(fake_.violations().back(), "read of 4096 B at 0 to 0: not now");
    EXPECT_THAT(error_of([&] { GdsBuffer const again(driver(), memory); }), IsError(Errc::unavailable, "5023"));
    EXPECT_EQ(driver().cufile().set_parameter_size_t(CUFILE_PARAM_PROPERTIES_MAX_DIRECT_IO_SIZE_KB, 1).err, 5026);
    pid_t const child = ::fork();
    if (child == 0) { std::_Exit(refused(opened.read(0, bytes.first(4096), buffer)) == 5030 ? 0 : 1); }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "used after a fork";
}

// Headers and libraries of different versions lay statistics out differently; what is not there is not called.
template <int Version>
class CufileVersion : public GdsTest {
   protected:
    CufileVersion() : GdsTest(Version == 1130 ? SHARDWISE_FAKE_CUFILE_1130 : SHARDWISE_FAKE_CUFILE_1190) {}
};
using Cufile113 = CufileVersion<1130>;
using Cufile119 = CufileVersion<1190>;

TEST_F(Cufile113, IsToldByTheEnvironmentAndCountsNoPaths) {
    EXPECT_TRUE(driver().probe().works()) << driver().probe().reason;
    EXPECT_EQ(driver().cufile().version, 1130);
    EXPECT_EQ(driver().cufile().get_stats_l3, nullptr);
    EXPECT_FALSE(fake_.opened_with().allows_compatible);
    add_file("12345");
    EXPECT_EQ(gds_obstacle(files_[0], *accelerator_, &driver()), "");
    EXPECT_EQ(to_text(driver().paths()), "path unverified");
}

TEST_F(Cufile119, CountsPathsThoughItsStatisticsAreLongerThanTheHeaders) {
    add_file("12345");
    EXPECT_EQ(gds_obstacle(files_[0], *accelerator_, &driver()), "");
    fake_.take_path(FakePath::p2p);
    EXPECT_EQ(gds_obstacle(files_[0], *accelerator_, &driver()), "");
    EXPECT_EQ(driver().paths(), (GdsPaths{true, 1, 1, 0, 0}));
    EXPECT_EQ(to_text(driver().paths()), "1 by peer-to-peer DMA, 1 by nvidia-fs, 0 through the host, 0 unaligned");
}

TEST(CufileErrors, AreSentencesWithTheirCodes) {
    EXPECT_EQ(cufile_sentence(5020), "the file is not open with O_DIRECT (cuFile error 5020)");
    EXPECT_EQ(cufile_sentence(5011, 201), "the CUDA driver refused (cuFile error 5011, CUDA error 201)");
    EXPECT_EQ(cufile_sentence(5031), "failed to obtain new file descriptor (cuFile error 5031)")
        << "the header's words";
    EXPECT_THAT(cufile_sentence(5999), HasSubstr("unknown cufile error (cuFile error 5999)"));
    EXPECT_EQ(cufile_sentence(123456), "unknown (cuFile error 123456)");
    EXPECT_EQ(cufile_sentence(CufileOutcome{-1, EIO}), "Input/output error");
    EXPECT_EQ(cufile_sentence(CufileOutcome{-EINVAL, 0}), "Invalid argument");
    EXPECT_THAT(cufile_sentence(CufileOutcome{-5027, 0}), HasSubstr("not registered"));
    for (int code = 5001; code <= 5050; ++code) {
        EXPECT_THAT(cufile_sentence(code), AllOf(HasSubstr(std::to_string(code)), testing::Not(HasSubstr("CU_FILE"))));
    }
}

TEST(CufileErrors, AreClassedByCode) {
    struct Case {
        CufileOutcome outcome;
        CufileFailure failure;
    };
    for (auto const& [outcome, failure] : std::initializer_list<Case>{
             {{0, 0}, CufileFailure::none},
             {{4096, EIO}, CufileFailure::none},
             {{-1, EINTR}, CufileFailure::interrupt},
             {{-1, EAGAIN}, CufileFailure::interrupt},
             {{-1, EIO}, CufileFailure::range},
             {{-1, EINVAL}, CufileFailure::range},
             {{-1, ENOMEM}, CufileFailure::range},
             {{-1, EOPNOTSUPP}, CufileFailure::file},
             {{-1, EPERM}, CufileFailure::file},
             {{-5043, 0}, CufileFailure::range},
             {{-5044, 0}, CufileFailure::range},
             {{-5017, 0}, CufileFailure::range},
             {{-5008, 0}, CufileFailure::file},
             {{-5011, 0}, CufileFailure::file},
             {{-5027, 0}, CufileFailure::file},
             {{-5049, 0}, CufileFailure::file},
         }) {
        EXPECT_EQ(failure_of(outcome), failure) << outcome.value << " " << outcome.error_number;
    }
}

}  // namespace
}  // namespace shardwise::test
