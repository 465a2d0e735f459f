# SPDX-License-Identifier: Apache-2.0
kms_unit_test(rv LIBRARIES kms_pkcs11)
kms_unit_test(uri LIBRARIES kms_pkcs11)
kms_unit_test(pin LIBRARIES kms_pkcs11)
kms_unit_test(pin_record LIBRARIES kms_pkcs11)
kms_unit_test(latch LIBRARIES kms_pkcs11)
kms_unit_test(credentials SOURCES pkcs11_rig.c LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(lock LIBRARIES kms_pkcs11)
kms_unit_test(module LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(token LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(session LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(wrap SOURCES pkcs11_rig.c LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(profiles SOURCES pkcs11_rig.c LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(fingerprint SOURCES pkcs11_rig.c LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(choice SOURCES pkcs11_rig.c LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(presence SOURCES pkcs11_rig.c LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(survey SOURCES pkcs11_rig.c LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(kek SOURCES pkcs11_rig.c LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(edit SOURCES pkcs11_rig.c LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(manage SOURCES pkcs11_rig.c LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(pkcs11_keystore SOURCES pkcs11_rig.c LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(pkcs11_call SOURCES pkcs11_rig.c LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(pkcs11_recovery SOURCES pkcs11_rig.c LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(recovery_table SOURCES pkcs11_rig.c recovery_rows.c
  LIBRARIES kms_pkcs11 kms_rpc fake_module)
kms_unit_test(softhsm SOURCES pkcs11_rig.c softhsm_rig.c LIBRARIES kms_pkcs11 fake_module
  LABELS softhsm)
kms_unit_test(softhsm_manage SOURCES pkcs11_rig.c softhsm_rig.c LIBRARIES kms_pkcs11 fake_module
  LABELS softhsm)
kms_unit_test(oaep SOURCES pkcs11_rig.c LIBRARIES kms_pkcs11 fake_module)
kms_unit_test(transport SOURCES pkcs11_rig.c softhsm_rig.c LIBRARIES kms_pkcs11 fake_module
  LABELS softhsm)
kms_unit_test(signing SOURCES pkcs11_rig.c softhsm_rig.c LIBRARIES kms_pkcs11 fake_module
  LABELS softhsm)
kms_unit_test(escrow SOURCES pkcs11_rig.c softhsm_rig.c
  LIBRARIES kms_pkcs11 fake_module ${CMAKE_DL_LIBS} LABELS softhsm)
foreach(name misbehave misbehave_token misbehave_dialects)
  kms_unit_test(${name} SOURCES misbehave_rig.c pkcs11_rig.c softhsm_rig.c
    LIBRARIES kms_pkcs11 fake_module ${CMAKE_DL_LIBS} LABELS softhsm)
  target_compile_definitions(test_${name} PRIVATE KMS_MISBEHAVE="$<TARGET_FILE:misbehave>")
  add_dependencies(test_${name} misbehave)
endforeach()
