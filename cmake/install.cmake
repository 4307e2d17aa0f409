include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# Everything is independent of the architecture, hence share/. Nothing in these files names this machine's folders.
set(valence_package_dir "${CMAKE_INSTALL_DATADIR}/cmake/valence")

install(TARGETS valence EXPORT valence-targets FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT valence-targets NAMESPACE valence:: DESTINATION "${valence_package_dir}")

configure_package_config_file(cmake/valence-config.cmake.in valence-config.cmake
                              INSTALL_DESTINATION "${valence_package_dir}" NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(valence-config-version.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/valence-config.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/valence-config-version.cmake" DESTINATION "${valence_package_dir}")

# pkg-config finds the headers from where the file itself lies, so the prefix may be moved.
file(RELATIVE_PATH valence_pc_prefix "/prefix/${CMAKE_INSTALL_DATADIR}/pkgconfig" "/prefix")
configure_file(cmake/valence.pc.in valence.pc @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/valence.pc" DESTINATION "${CMAKE_INSTALL_DATADIR}/pkgconfig")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DATADIR}/licenses/valence")
