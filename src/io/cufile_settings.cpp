#include "io/cufile_settings.hpp"

#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <unistd.h>

#include "io/cufile_library.hpp"

namespace shardwise {
namespace {

constexpr std::size_t kLongestReadKib = 16384;  // the most that there is, and as long as our requests get
constexpr int kEveryGpu = 3;                    // level of statistics that tells paths apart

std::string environment(char const* name, char const* otherwise) {
    char const* const value = std::getenv(name);
    return value == nullptr || *value == '\0' ? otherwise : value;
}

bool is_set(char const* name) {
    return std::getenv(name) != nullptr;
}

/// True if the configuration file in force has @p key; its comments begin with two slashes and end with the line.
bool configuration_sets(std::string_view key) {
    std::ifstream file(environment("CUFILE_ENV_PATH_JSON", "/etc/cufile.json"));
    auto const quoted = fmt::format("\"{}\"", key);
    for (std::string line; std::getline(file, line);) {
        if (line.substr(0, line.find("//")).find(quoted) != std::string::npos) { return true; }
    }
    return false;
}

}  // namespace

void stage_settings(CufileLibrary const& cufile) {
    // By the environment, because what is set by calls does not yet count when opening the driver fails, and errors
    // would land in the working folder, those of all ranks in one file.
    if (!is_set("CUFILE_LOGFILE_PATH") && !configuration_sets("dir")) {
        auto const path = fmt::format("{}/cufile.{}.log", environment("TMPDIR", "/tmp"), ::getpid());
        ::setenv("CUFILE_LOGFILE_PATH", path.c_str(), 0);
    }
    bool const is_users = is_set("CUFILE_ALLOW_COMPAT_MODE") || is_set("CUFILE_FORCE_COMPAT_MODE");
    if (!is_users && cufile.set_parameter_bool != nullptr) {
        cufile.set_parameter_bool(CUFILE_PARAM_PROPERTIES_ALLOW_COMPAT_MODE, false);
    } else if (!is_users) {
        ::setenv("CUFILE_ALLOW_COMPAT_MODE", "false", 0);
    }
    if (cufile.set_parameter_size_t != nullptr && !configuration_sets("max_direct_io_size_kb")) {
        cufile.set_parameter_size_t(CUFILE_PARAM_PROPERTIES_MAX_DIRECT_IO_SIZE_KB, kLongestReadKib);
    }
}

bool is_compatible(CufileLibrary const& cufile) {
    if (cufile.get_parameter_bool != nullptr) {
        bool is_allowed = true;
        bool is_forced = false;
        bool const is_known =
            cufile.get_parameter_bool(CUFILE_PARAM_PROPERTIES_ALLOW_COMPAT_MODE, &is_allowed).err == CU_FILE_SUCCESS;
        cufile.get_parameter_bool(CUFILE_PARAM_FORCE_COMPAT_MODE, &is_forced);
        if (is_known) { return is_allowed || is_forced; }
    }
    CUfileDrvProps_t properties = {};
    if (cufile.driver_get_properties(&properties).err != CU_FILE_SUCCESS) { return true; }
    return ((properties.nvfs.dcontrolflags >> static_cast<unsigned>(CU_FILE_ALLOW_COMPAT_MODE)) & 1U) != 0;
}

bool start_counting(CufileLibrary const& cufile) {
    if (cufile.set_stats_level == nullptr || cufile.stats_start == nullptr || cufile.get_stats_l3 == nullptr) {
        return false;
    }
    return cufile.set_stats_level(kEveryGpu).err == CU_FILE_SUCCESS && cufile.stats_start().err == CU_FILE_SUCCESS;
}

}  // namespace shardwise
