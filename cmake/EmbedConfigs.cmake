# cmake -DOUTPUT=... -DCONFIGS=a.json;b.json -P EmbedConfigs.cmake: writes the C++ source that carries the configurations.

# The keys by which a description is found, as JSON; all of a file that is no JSON, for the program to say so.
function(header_of text result)
  string(JSON family ERROR_VARIABLE no_family GET "${text}" family)
  string(JSON types ERROR_VARIABLE no_types GET "${text}" model_types)
  string(JSON classes ERROR_VARIABLE no_classes GET "${text}" model_classes)
  if(no_family OR no_types)
    set(${result} "${text}" PARENT_SCOPE)
    return()
  endif()
  if(no_classes)
    set(classes "[]")
  endif()
  string(CONCAT header "{\"family\": \"${family}\", \"model_types\": ${types}, \"model_classes\": ${classes}}")
  string(REGEX REPLACE "[ \n]+" " " header "${header}")
  set(${result} "${header}" PARENT_SCOPE)
endfunction()

set(entries "")
foreach(path IN LISTS CONFIGS)
  get_filename_component(name "${path}" NAME)
  file(READ "${path}" text)
  header_of("${text}" header)
  string(APPEND entries "    {\"${name}\", R\"__json__(${header})__json__\", R\"__json__(${text})__json__\"},\n")
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
