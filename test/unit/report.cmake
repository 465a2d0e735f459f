# SPDX-License-Identifier: Apache-2.0
kms_unit_test(report SOURCES etcd_rig.c report_rig.c LIBRARIES kms_report PkgConfig::JANSSON)
kms_unit_test(verdict SOURCES etcd_rig.c report_rig.c LIBRARIES kms_report PkgConfig::JANSSON)
kms_unit_test(report_resources LIBRARIES kms_report)
kms_unit_test(tally LIBRARIES kms_report)
kms_unit_test(intern LIBRARIES kms_report)
kms_unit_test(finding LIBRARIES kms_report)
kms_unit_test(unwrapper SOURCES etcd_rig.c ${PROJECT_SOURCE_DIR}/provider/command/unwrapper.c
  LIBRARIES kms_report fake_keystore PkgConfig::JANSSON)
target_include_directories(test_unwrapper PRIVATE ${PROJECT_SOURCE_DIR}/provider/command)
foreach(name report verdict unwrapper)
  target_compile_definitions(test_${name} PRIVATE
    ETCD_VECTORS="${CMAKE_CURRENT_SOURCE_DIR}/vectors/etcd-values.json")
endforeach()
