# SPDX-License-Identifier: Apache-2.0
kms_unit_test(bolt SOURCES bolt_rig.c LIBRARIES kms_etcd_source fake_etcd_file)
kms_unit_test(etcd_snapshot SOURCES bolt_rig.c LIBRARIES kms_etcd_source fake_etcd_file)
kms_unit_test(etcd_seen LIBRARIES kms_etcd_source)
kms_unit_test(etcd_kv LIBRARIES kms_etcd_source)
kms_unit_test(etcd_endpoint LIBRARIES kms_etcd_client)
kms_unit_test(etcd_pager LIBRARIES kms_etcd_client)
kms_unit_test(etcd_tls LIBRARIES kms_etcd_client)
kms_unit_test(etcd_stride LIBRARIES kms_etcd_client)
