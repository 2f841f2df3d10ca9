#include "io/cufile_library.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

#include "util/checked.hpp"

namespace shardwise {
namespace {

using CloseDriver = CUfileError_t (*)();

/// The header defines cuFileDriverClose as a macro for the newer symbol; both are exported, and the older one does not
/// count users of the driver.
CloseDriver find_driver_close(SharedLibrary const& library) {
    if (auto* const close = library.find<CloseDriver>("cuFileDriverClose_v2")) { return close; }
    return library.get<CloseDriver>("cuFileDriverClose");
}

int version_of(CufileLibrary const& cufile) {
    int version = 0;
    bool const is_known = cufile.get_version != nullptr && cufile.get_version(&version).err == CU_FILE_SUCCESS;
    return is_known ? version : 0;
}

/// 1.19 put counters of vector reads at the end of the first level of statistics, so that all that follows moved.
constexpr std::size_t kVectorCounterBytes = 2 * sizeof(CUfileOpCounter_t) + 10 * sizeof(std::uint64_t);

template <class Level1>
constexpr bool has_vector_counters() {
    return requires(Level1 stats) {
        stats.readv_ops;
    };
}

constexpr std::size_t kMostGpus = std::extent_v<decltype(CUfileStatsLevel3_t::per_gpu_stats)>;
static_assert(offsetof(CUfileStatsLevel3_t, per_gpu_stats) ==
              offsetof(CUfileStatsLevel3_t, num_gpus) + sizeof(std::uint64_t));

/// Where the library puts the number of GPUs; their statistics begin 8 bytes further on.
std::size_t gpu_count_offset(CufileLibrary const& cufile) {
    constexpr std::size_t kInHeader = offsetof(CUfileStatsLevel3_t, num_gpus);
    constexpr std::size_t kShort =
        has_vector_counters<CUfileStatsLevel1_t>() ? kInHeader - kVectorCounterBytes : kInHeader;
    return cufile.has_vector_reads ? kShort + kVectorCounterBytes : kShort;
}

}  // namespace

CufileLibrary::CufileLibrary(std::string name)
    : library(std::move(name)),
      driver_open(library.get<decltype(driver_open)>("cuFileDriverOpen")),
      driver_close(find_driver_close(library)),
      driver_get_properties(library.get<decltype(driver_get_properties)>("cuFileDriverGetProperties")),
      handle_register(library.get<decltype(handle_register)>("cuFileHandleRegister")),
      handle_deregister(library.get<decltype(handle_deregister)>("cuFileHandleDeregister")),
      buf_register(library.get<decltype(buf_register)>("cuFileBufRegister")),
      buf_deregister(library.get<decltype(buf_deregister)>("cuFileBufDeregister")),
      read(library.get<decltype(read)>("cuFileRead")),
      get_version(library.find<decltype(get_version)>("cuFileGetVersion")),
      set_parameter_size_t(library.find<decltype(set_parameter_size_t)>("cuFileSetParameterSizeT")),
      set_parameter_bool(library.find<decltype(set_parameter_bool)>("cuFileSetParameterBool")),
      get_parameter_bool(library.find<decltype(get_parameter_bool)>("cuFileGetParameterBool")),
      set_stats_level(library.find<decltype(set_stats_level)>("cuFileSetStatsLevel")),
      stats_start(library.find<decltype(stats_start)>("cuFileStatsStart")),
      get_stats_l3(library.find<decltype(get_stats_l3)>("cuFileGetStatsL3")),
      version(version_of(*this)),
      has_vector_reads(library.find<void (*)()>("cuFileReadv") != nullptr) {}

std::vector<CUfilePerGpuStats_t> per_gpu_stats(CufileLibrary const& cufile) {
    if (cufile.get_stats_l3 == nullptr) { return {}; }
    // More room than any version fills: the library writes as much as its own header says.
    std::vector<std::uint64_t> room(2 * ceil_div(sizeof(CUfileStatsLevel3_t), sizeof(std::uint64_t)) + 1024);
    if (cufile.get_stats_l3(reinterpret_cast<CUfileStatsLevel3_t*>(room.data())).err != CU_FILE_SUCCESS) { return {}; }
    auto const bytes = std::as_bytes(std::span(room)).subspan(gpu_count_offset(cufile));
    std::uint32_t count = 0;
    std::memcpy(&count, bytes.data(), sizeof(count));
    if (count > kMostGpus) { return {}; }  // laid out in yet another way
    std::vector<CUfilePerGpuStats_t> gpus(count);
    if (count > 0) { std::memcpy(gpus.data(), bytes.data() + sizeof(std::uint64_t), count * sizeof(gpus.front())); }
    return gpus;
}

}  // namespace shardwise
