# SPDX-License-Identifier: Apache-2.0
set(command_dir ${PROJECT_SOURCE_DIR}/provider/command)

kms_unit_test(config SOURCES config_rig.c LIBRARIES kms_config)
kms_unit_test(config_values SOURCES config_rig.c LIBRARIES kms_config)
kms_unit_test(config_audit SOURCES config_rig.c LIBRARIES kms_config)
kms_unit_test(schema LIBRARIES kms_config)
kms_unit_test(key_plan SOURCES ${command_dir}/key_plan.c LIBRARIES kms_policy)
kms_unit_test(key_settle SOURCES ${command_dir}/key_plan.c ${command_dir}/key_settle.c
  LIBRARIES kms_policy kms_failover fake_keystore)
kms_unit_test(text SOURCES ${command_dir}/text.c LIBRARIES kms_base)
kms_unit_test(json SOURCES ${command_dir}/json.c ${command_dir}/kek_view.c ${command_dir}/text.c
  LIBRARIES kms_policy PkgConfig::JANSSON)
kms_unit_test(kek_view SOURCES ${command_dir}/attention.c ${command_dir}/json.c
  ${command_dir}/kek_view.c ${command_dir}/text.c LIBRARIES kms_policy PkgConfig::JANSSON)
set(node_view_sources ${command_dir}/node_view.c ${command_dir}/json.c ${command_dir}/kek_view.c
  ${command_dir}/text.c)
kms_unit_test(node_view SOURCES ${node_view_sources} LIBRARIES kms_policy kms_rpc PkgConfig::JANSSON)
kms_unit_test(node_check SOURCES ${node_view_sources} ${command_dir}/node_check.c
  ${command_dir}/key_plan.c LIBRARIES kms_policy kms_rpc PkgConfig::JANSSON)
kms_unit_test(rotation_rule SOURCES ${command_dir}/rotation_rule.c LIBRARIES kms_config)
kms_unit_test(backups SOURCES ${command_dir}/backups.c LIBRARIES kms_policy PkgConfig::JANSSON)
kms_unit_test(key_peer SOURCES ${command_dir}/key_peer.c LIBRARIES kms_base)
kms_unit_test(key_act SOURCES life_rig.c ${command_dir}/key_act.c ${command_dir}/key_peer.c
  ${command_dir}/key_pick.c ${command_dir}/key_plan.c LIBRARIES kms_policy fake_keystore)
kms_unit_test(key_destroy SOURCES life_rig.c ${command_dir}/key_act.c ${command_dir}/key_peer.c
  ${command_dir}/key_pick.c ${command_dir}/key_plan.c LIBRARIES kms_policy fake_keystore)
kms_unit_test(key_wait SOURCES life_rig.c ${command_dir}/disabled.c ${command_dir}/key_act.c
  ${command_dir}/key_peer.c ${command_dir}/key_pick.c ${command_dir}/key_plan.c ${command_dir}/key_wait.c
  ${command_dir}/ledger.c LIBRARIES kms_policy fake_keystore PkgConfig::JANSSON)
kms_unit_test(key_renew SOURCES life_rig.c ${command_dir}/backups.c ${command_dir}/key_act.c
  ${command_dir}/key_peer.c ${command_dir}/key_pick.c ${command_dir}/key_plan.c ${command_dir}/key_renew.c ${command_dir}/key_settle.c
  ${command_dir}/rotation_rule.c LIBRARIES kms_config fake_keystore PkgConfig::JANSSON)
foreach(name rotation_rule backups key_peer key_act key_destroy key_wait key_renew node_view node_check key_plan key_settle text json kek_view)
  target_include_directories(test_${name} PRIVATE ${command_dir})
endforeach()

set(carry_sources life_rig.c ${command_dir}/backups.c ${command_dir}/escrow_file.c
  ${command_dir}/key_act.c ${command_dir}/key_file.c ${command_dir}/key_peer.c ${command_dir}/key_pick.c ${command_dir}/key_plan.c
  ${command_dir}/key_renew.c ${command_dir}/key_settle.c ${command_dir}/rotation_rule.c
  ${command_dir}/text.c ${command_dir}/transport_names.c)
kms_unit_test(key_bring SOURCES ${carry_sources} ${command_dir}/key_bring.c
  LIBRARIES kms_config kms_pkcs11 fake_keystore PkgConfig::JANSSON)
kms_unit_test(key_leave SOURCES ${carry_sources} ${command_dir}/key_leave.c
  LIBRARIES kms_config kms_pkcs11 fake_keystore PkgConfig::JANSSON)
kms_unit_test(key_file SOURCES ${command_dir}/escrow_file.c ${command_dir}/key_file.c
  ${command_dir}/text.c ${command_dir}/transport_names.c
  LIBRARIES kms_policy kms_pkcs11 PkgConfig::JANSSON)
kms_unit_test(key_spread SOURCES ${command_dir}/key_spread.c ${command_dir}/key_file.c
  ${command_dir}/text.c ${command_dir}/transport_names.c
  LIBRARIES kms_policy kms_pkcs11 fake_keystore)
kms_unit_test(key_twins SOURCES ${carry_sources} LIBRARIES kms_config kms_pkcs11 kms_failover
  fake_keystore PkgConfig::JANSSON)
kms_unit_test(creation SOURCES ${node_view_sources} ${command_dir}/creation.c
  LIBRARIES kms_policy kms_rpc PkgConfig::JANSSON)
kms_unit_test(token_cover SOURCES ${command_dir}/token_cover.c LIBRARIES kms_policy kms_rpc)
foreach(name key_bring key_leave key_file key_spread key_twins creation token_cover)
  target_include_directories(test_${name} PRIVATE ${command_dir})
endforeach()

# What evidence says of files, and where it puts them.
kms_unit_test(effective SOURCES config_rig.c LIBRARIES kms_config)
kms_unit_test(evidence_child SOURCES ${command_dir}/evidence_child.c LIBRARIES kms_base)
kms_unit_test(evidence_stage SOURCES ${command_dir}/evidence_stage.c ${command_dir}/evidence_tar.c
  LIBRARIES kms_base PkgConfig::ARCHIVE)
kms_unit_test(evidence SOURCES ${command_dir}/account.c ${command_dir}/audit_log.c ${command_dir}/command.c
  ${command_dir}/evidence_audit.c ${command_dir}/evidence_child.c ${command_dir}/evidence_gather.c
  ${command_dir}/evidence_manifest.c ${command_dir}/evidence_plan.c ${command_dir}/evidence_stage.c
  ${command_dir}/evidence_versions.c ${command_dir}/json.c ${command_dir}/text.c
  LIBRARIES kms_config kms_audit kms_client kms_etcd_source PkgConfig::JANSSON ${CMAKE_DL_LIBS})
kms_unit_test(evidence_judge SOURCES ${command_dir}/account.c ${command_dir}/audit_log.c ${command_dir}/command.c
  ${command_dir}/evidence_audit.c ${command_dir}/evidence_judge.c ${command_dir}/evidence_plan.c
  ${command_dir}/evidence_stage.c ${command_dir}/json.c ${command_dir}/text.c
  LIBRARIES kms_config kms_audit kms_client kms_etcd_source PkgConfig::JANSSON)
foreach(name evidence evidence_child evidence_judge evidence_stage)
  target_include_directories(test_${name} PRIVATE ${command_dir})
endforeach()

# The command line itself: exit codes and what goes where.
kms_unit_test(cli LIBRARIES kms_base)
target_compile_definitions(test_cli PRIVATE HSM_KMS="$<TARGET_FILE:hsm-kms>")
add_dependencies(test_cli hsm-kms)
