# cmake -DOUTPUT=... -DCONFIGS=a.json;b.json -P EmbedConfigs.cmake: writes the C++ source that carries the configurations.

# The words of a list in JSON, a blank between them; none if there is no list.
function(words_of text key result)
  string(JSON words ERROR_VARIABLE missing GET "${text}" ${key})
  if(missing)
    set(words "")
  endif()
  string(REGEX REPLACE "[][\", \n]+" " " words "${words}")
  string(STRIP "${words}" words)
  set(${result} "${words}" PARENT_SCOPE)
endfunction()

set(entries "")
foreach(path IN LISTS CONFIGS)
  get_filename_component(name "${path}" NAME)
  file(READ "${path}" text)
  string(JSON family ERROR_VARIABLE error GET "${text}" family)
  if(error)
    message(FATAL_ERROR "${path}: ${error}")
  endif()
  words_of("${text}" model_types types)
  words_of("${text}" model_classes classes)
  string(APPEND entries
         "    {\"${name}\", \"${family}\", \"${types}\", \"${classes}\", R\"__json__(${text})__json__\"},\n")
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
