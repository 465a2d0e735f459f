# SPDX-License-Identifier: Apache-2.0
kms_unit_test(frame LIBRARIES kms_host)
kms_unit_test(host_wire LIBRARIES kms_host)
foreach(name remote remote_late remote_life)
  kms_unit_test(${name} SOURCES remote_rig.c LIBRARIES kms_host fake_keystore)
  target_compile_definitions(test_${name} PRIVATE FAKE_HOST="$<TARGET_FILE:fake_host>")
  add_dependencies(test_${name} fake_host)
endforeach()
