# SPDX-License-Identifier: Apache-2.0
kms_unit_test(encryption LIBRARIES kms_cluster)
kms_unit_test(apiserver LIBRARIES kms_cluster)
kms_unit_test(kubeadm LIBRARIES kms_cluster)

set(command_dir ${PROJECT_SOURCE_DIR}/provider/command)
set(doctor_sources doctor_rig.c ${command_dir}/doctor_apiserver.c ${command_dir}/doctor_audit.c
  ${command_dir}/doctor_directory.c ${command_dir}/doctor_disk.c
  ${command_dir}/doctor_encryption.c ${command_dir}/doctor_finding.c ${command_dir}/doctor_host.c
  ${command_dir}/doctor_kek.c ${command_dir}/doctor_kubeadm.c ${command_dir}/doctor_libraries.c
  ${command_dir}/doctor_mount.c ${command_dir}/doctor_probe.c
  ${command_dir}/doctor_ring.c ${command_dir}/doctor_token.c ${command_dir}/doctor_unit.c)
foreach(name doctor_token doctor_ring doctor_audit doctor_host doctor_cluster doctor_kubeadm)
  kms_unit_test(${name} SOURCES ${doctor_sources} LIBRARIES kms_cluster kms_config kms_rpc kms_server
    kms_pkcs11 PkgConfig::JANSSON ${CMAKE_DL_LIBS})
  target_include_directories(test_${name} PRIVATE ${command_dir})
endforeach()
