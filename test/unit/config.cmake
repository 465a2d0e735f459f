# SPDX-License-Identifier: Apache-2.0
set(command_dir ${PROJECT_SOURCE_DIR}/provider/command)

kms_unit_test(config LIBRARIES kms_config)
kms_unit_test(schema LIBRARIES kms_config)
kms_unit_test(key_plan SOURCES ${command_dir}/key_plan.c LIBRARIES kms_policy)
kms_unit_test(key_settle SOURCES ${command_dir}/key_plan.c ${command_dir}/key_settle.c
  LIBRARIES kms_policy fake_keystore)
kms_unit_test(text SOURCES ${command_dir}/text.c LIBRARIES kms_base)
kms_unit_test(json SOURCES ${command_dir}/json.c ${command_dir}/kek_view.c ${command_dir}/text.c
  LIBRARIES kms_policy PkgConfig::JANSSON)
foreach(name key_plan key_settle text json)
  target_include_directories(test_${name} PRIVATE ${command_dir})
endforeach()

# The command line itself: exit codes and what goes where.
kms_unit_test(cli LIBRARIES kms_base)
target_compile_definitions(test_cli PRIVATE HSM_KMS="$<TARGET_FILE:hsm-kms>")
add_dependencies(test_cli hsm-kms)
