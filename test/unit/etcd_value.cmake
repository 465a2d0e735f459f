# SPDX-License-Identifier: Apache-2.0
kms_unit_test(etcd_fields SOURCES etcd_rig.c LIBRARIES kms_etcd_value PkgConfig::JANSSON)
kms_unit_test(etcd_value SOURCES etcd_rig.c LIBRARIES kms_etcd_value PkgConfig::JANSSON)
kms_unit_test(etcd_registry LIBRARIES kms_etcd_value)
kms_unit_test(etcd_object SOURCES etcd_rig.c LIBRARIES kms_etcd_value PkgConfig::JANSSON)
foreach(name etcd_fields etcd_value etcd_object)
  target_compile_definitions(test_${name} PRIVATE
    ETCD_VECTORS="${CMAKE_CURRENT_SOURCE_DIR}/vectors/etcd-values.json")
endforeach()
