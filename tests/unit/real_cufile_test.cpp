// The real libcufile, if one is at hand, as far as it goes without a GPU.
#include <cstdio>
#include <cstdlib>

#include <gmock/gmock.h>
#include <unistd.h>

#include <shardwise/error.hpp>

#include "io/cufile_library.hpp"
#include "io/gds_driver.hpp"
#include "support/environment.hpp"
#include "support/scratch_folder.hpp"

namespace shardwise::test {
namespace {

/// The library's path, or its name if there may be one that the loader knows.
std::string real_library() {
    std::string const path = SHARDWISE_REAL_CUFILE;
    return std::filesystem::exists(path) ? path : "libcufile.so.0";
}

class RealCufile : public testing::Test {
   protected:
    void SetUp() override {
        try {
            SharedLibrary const library(real_library());
        } catch (Error const& error) { GTEST_SKIP() << error.what(); }
    }
};

TEST_F(RealCufile, HasAllFunctionsAndAVersion) {
    CufileLibrary const cufile(real_library());
    std::printf("libcufile %d\n", cufile.version);
    EXPECT_GE(cufile.version, 1150);
    EXPECT_NE(cufile.set_parameter_size_t, nullptr);
    EXPECT_NE(cufile.set_parameter_bool, nullptr);
    EXPECT_NE(cufile.get_parameter_bool, nullptr);
    EXPECT_NE(cufile.set_stats_level, nullptr);
    EXPECT_NE(cufile.stats_start, nullptr);
    EXPECT_NE(cufile.get_stats_l3, nullptr);
    EXPECT_EQ(cufile.has_vector_reads, cufile.version >= 1190) << "on which the layout of statistics depends";
    EXPECT_TRUE(per_gpu_stats(cufile).empty()) << "before the driver is open";
}

/// Opens the driver in a folder of its own and says what came of it; 0 if it works.
[[noreturn]] void open_in(std::string const& folder) {
    if (::chdir(folder.c_str()) != 0) { std::_Exit(77); }
    ::unsetenv("CUFILE_LOGFILE_PATH");
    ::setenv("CUFILE_ENV_PATH_JSON", "/nonexistent/cufile.json", 1);
    ::setenv("TMPDIR", (folder + "/temporary").c_str(), 1);
    GdsDriver const driver({.library = real_library(), .needs_gpu = false});
    std::fprintf(stderr, "probe: %s: %s\n", to_string(driver.probe().state), driver.probe().reason.c_str());
    std::_Exit(driver.probe().works() ? 0 : 1);
}

TEST_F(RealCufile, WithoutADriverItSaysSoAndLeavesTheWorkingFolderAlone) {
    try {
        SharedLibrary const driver("libcuda.so.1");
        GTEST_SKIP() << "there is a driver";
    } catch (Error const&) {}
    ScratchFolder const folder;
    folder.write("temporary/empty", "");
    EXPECT_EXIT(open_in(folder.path()), testing::ExitedWithCode(1),
                "probe: driver open failed: open cuFile's driver: .* \\(cuFile error 50(33|01)");
    EXPECT_THAT(folder.names(), testing::ElementsAre("temporary")) << "cufile.log";
}

}  // namespace
}  // namespace shardwise::test
