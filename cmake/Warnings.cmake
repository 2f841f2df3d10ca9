add_library(shardwise_warnings INTERFACE)
# GCC 12 sees overflows that cannot happen inside boost::container::small_vector, hence no stringop warnings.
set(warnings
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Woverloaded-virtual
  $<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overflow$<SEMICOLON>-Wno-stringop-overread>
  $<$<BOOL:${SHARDWISE_WERROR}>:-Werror>)
target_compile_options(shardwise_warnings INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:${warnings}>"
  "$<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${SHARDWISE_WERROR}>>:-Werror=all-warnings>")
