# SPDX-License-Identifier: Apache-2.0
# What every target of ours is compiled and linked with: kms_hardening (generated code too),
# kms_flags (our own code: the above, our headers and our warnings), and kms_add_layer().

add_library(kms_hardening INTERFACE)
target_compile_options(kms_hardening INTERFACE
  -fstack-protector-strong -fstack-clash-protection -ftrivial-auto-var-init=zero
  -fno-omit-frame-pointer)
if(CMAKE_C_COMPILER_ID STREQUAL "Clang" AND CMAKE_C_COMPILER_VERSION VERSION_LESS 16)
  target_compile_options(kms_hardening INTERFACE
    -enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(kms_hardening INTERFACE -fcf-protection)
endif()
target_link_options(kms_hardening INTERFACE
  -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed)

if(KMS_SANITIZE OR KMS_FUZZ)
  # The sanitizers intercept libc themselves; fortified calls would hide from them.
  target_compile_options(kms_hardening INTERFACE -U_FORTIFY_SOURCE -fno-sanitize-recover=all)
else()
  target_compile_options(kms_hardening INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
endif()
if(KMS_SANITIZE)
  target_compile_options(kms_hardening INTERFACE -fsanitize=${KMS_SANITIZE})
  target_link_options(kms_hardening INTERFACE -fsanitize=${KMS_SANITIZE})
endif()
if(KMS_FUZZ)
  target_compile_options(kms_hardening INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(KMS_COVERAGE)
  target_compile_options(kms_hardening INTERFACE --coverage)
  target_link_options(kms_hardening INTERFACE --coverage)
endif()

add_library(kms_flags INTERFACE)
target_include_directories(kms_flags INTERFACE ${PROJECT_SOURCE_DIR}/include)
target_compile_definitions(kms_flags INTERFACE _GNU_SOURCE KMS_VERSION="${PROJECT_VERSION}")
target_link_libraries(kms_flags INTERFACE kms_hardening Threads::Threads)
# -Wcast-qual by gcc only: protobuf-c's INIT macros cast a const away, for which clang blames us.
target_compile_options(kms_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wformat=2 -Wundef -Wvla
  -Wwrite-strings -Wstrict-prototypes -Wmissing-prototypes -Wnull-dereference -Wswitch-enum
  $<$<C_COMPILER_ID:GNU>:-Wcast-qual -Wduplicated-cond -Wduplicated-branches -Wlogical-op
    -Wimplicit-fallthrough=5>
  $<$<C_COMPILER_ID:Clang>:-Wimplicit-fallthrough>
  $<$<BOOL:${KMS_WERROR}>:-Werror>)

# kms_add_layer(NAME SOURCES a.c … LAYERS kms_base … LIBRARIES PkgConfig::X …)
#
# A static library kms_NAME and, for the tests, the same objects linked alone as a shared object
# with -z defs against exactly the named layers and libraries: a call that the layer rule of
# docs/architecture.md forbids doesn't link.
function(kms_add_layer name)
  cmake_parse_arguments(arg "" "" "SOURCES;LAYERS;LIBRARIES" ${ARGN})
  add_library(kms_${name} STATIC ${arg_SOURCES})
  target_include_directories(kms_${name} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
  set(static_layers ${arg_LAYERS})
  list(TRANSFORM static_layers PREPEND kms_)
  target_link_libraries(kms_${name} PUBLIC kms_flags ${static_layers} ${arg_LIBRARIES})
  if(KMS_TESTS AND NOT KMS_SANITIZE AND NOT KMS_COVERAGE AND NOT KMS_FUZZ)
    add_library(layer_${name} SHARED $<TARGET_OBJECTS:kms_${name}>)
    set(shared_layers ${arg_LAYERS})
    list(TRANSFORM shared_layers PREPEND layer_)
    set_target_properties(layer_${name} PROPERTIES LINKER_LANGUAGE C)
    target_link_options(layer_${name} PRIVATE -Wl,-z,defs -Wl,--as-needed)
    target_link_libraries(layer_${name} PRIVATE Threads::Threads ${shared_layers} ${arg_LIBRARIES})
  endif()
endfunction()
