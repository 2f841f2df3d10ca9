# Every library is a Debian package; launch/setup installs them.
find_package(MPI 3.1 REQUIRED COMPONENTS C)
find_package(Boost 1.74 REQUIRED COMPONENTS program_options)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(simdjson REQUIRED)
find_package(fmt 9 REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)

# shardwise_optional(<NAME> <found>): resolves SHARDWISE_WITH_<NAME> to ON or OFF in SHARDWISE_HAS_<NAME>.
function(shardwise_optional name found)
  set(wish ${SHARDWISE_WITH_${name}})
  if(wish STREQUAL "ON" AND NOT found)
    message(FATAL_ERROR "SHARDWISE_WITH_${name}=ON, but its library was not found; launch/setup installs it")
  endif()
  if(found AND NOT wish STREQUAL "OFF")
    set(SHARDWISE_HAS_${name} ON PARENT_SCOPE)
  else()
    set(SHARDWISE_HAS_${name} OFF PARENT_SCOPE)
  endif()
endfunction()

pkg_check_modules(uring IMPORTED_TARGET liburing)
shardwise_optional(URING "${uring_FOUND}")

# The serial library: Debian installs serial and MPI builds side by side under names of their own.
pkg_check_modules(hdf5 IMPORTED_TARGET hdf5-serial)
if(NOT hdf5_FOUND)
  pkg_check_modules(hdf5 IMPORTED_TARGET hdf5)
endif()
shardwise_optional(HDF5 "${hdf5_FOUND}")
