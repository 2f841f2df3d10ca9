# shardwise_test(NAME SOURCES ... [NP 1 2 4] LABELS unit|mpi|e2e): a GoogleTest program; with NP it runs under mpirun
# once for each number of ranks, as mpi.NAME.npN.
find_package(GTest 1.12 REQUIRED)
set(SHARDWISE_MPIRUN_ENV
  "OMPI_ALLOW_RUN_AS_ROOT=1;OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1;OMPI_MCA_rmaps_base_oversubscribe=1;OMPI_MCA_btl=self,vader,tcp;OMPI_MCA_btl_vader_single_copy_mechanism=none;OMPI_MCA_mpi_yield_when_idle=1")

function(shardwise_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TIMEOUT" "SOURCES;NP;LABELS;LIBRARIES")
  add_executable(${name} ${arg_SOURCES})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE shardwise::shardwise shardwise_test_support fmt::fmt GTest::gmock ${arg_LIBRARIES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  if(NOT arg_NP)
    target_link_libraries(${name} PRIVATE GTest::gmock_main)
    add_test(NAME ${arg_LABELS}.${name} COMMAND ${name})
    set_tests_properties(${arg_LABELS}.${name} PROPERTIES LABELS ${arg_LABELS} TIMEOUT ${arg_TIMEOUT})
  endif()
  foreach(np IN LISTS arg_NP)
    set(test ${arg_LABELS}.${name}.np${np})
    add_test(NAME ${test} COMMAND ${MPIEXEC_EXECUTABLE} -n ${np} $<TARGET_FILE:${name}>)
    set_tests_properties(${test} PROPERTIES LABELS ${arg_LABELS} TIMEOUT ${arg_TIMEOUT} PROCESSORS 2
                         ENVIRONMENT "${SHARDWISE_MPIRUN_ENV}")
  endforeach()
endfunction()
