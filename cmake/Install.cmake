# find_package(shardwise) gives shardwise::shardwise. The library is static unless BUILD_SHARED_LIBS is on; then its own
# dependencies have to be found again, which is what the package file does.
include(CMakePackageConfigHelpers)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/shardwise)
install(TARGETS shardwise EXPORT shardwise COMPONENT library)
install(TARGETS shardwise_program COMPONENT program)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/shardwise DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/configs DESTINATION ${CMAKE_INSTALL_DATADIR}/shardwise COMPONENT program)
install(EXPORT shardwise NAMESPACE shardwise:: DESTINATION ${package_folder} COMPONENT library)

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/shardwise-config.cmake.in
  ${PROJECT_BINARY_DIR}/shardwise-config.cmake INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/shardwise-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/shardwise-config.cmake ${PROJECT_BINARY_DIR}/shardwise-config-version.cmake
  DESTINATION ${package_folder} COMPONENT library)
