# cmake -DOUTPUT=... -DCONFIGS=a.json;b.json -P EmbedConfigs.cmake: writes the C++ source that carries the configurations.
set(entries "")
foreach(path IN LISTS CONFIGS)
  get_filename_component(name "${path}" NAME)
  file(READ "${path}" text)
  string(APPEND entries "    {\"${name}\", R\"__json__(${text})__json__\"},\n")
endforeach()
list(LENGTH CONFIGS count)
file(WRITE "${OUTPUT}.new" "// Generated from configs/ by cmake/EmbedConfigs.cmake.
#include \"mapping/embedded_configs.hpp\"

#include <array>

namespace shardwise {
namespace {

constexpr std::array<EmbeddedConfig, ${count}> kConfigs = {{
${entries}}};

}  // namespace

std::span<EmbeddedConfig const> embedded_configs() noexcept { return kConfigs; }

}  // namespace shardwise
")
file(COPY_FILE "${OUTPUT}.new" "${OUTPUT}" ONLY_IF_DIFFERENT)
file(REMOVE "${OUTPUT}.new")
