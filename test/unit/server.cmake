# SPDX-License-Identifier: Apache-2.0
kms_unit_test(queue LIBRARIES kms_server)
kms_unit_test(access LIBRARIES kms_server)
kms_unit_test(status LIBRARIES kms_rpc)
kms_unit_test(describe LIBRARIES kms_rpc kms_policy)
kms_unit_test(wire LIBRARIES kms_rpc)
kms_unit_test(rpc LIBRARIES kms_rpc kms_policy fake_keystore)
kms_unit_test(server SOURCES server_fixture.c LIBRARIES kms_server kms_client LABELS threads)
kms_unit_test(server_stop SOURCES server_fixture.c LIBRARIES kms_server kms_client LABELS threads)
kms_unit_test(socket SOURCES server_fixture.c LIBRARIES kms_server kms_client LABELS threads)
kms_unit_test(client SOURCES server_fixture.c LIBRARIES kms_server kms_client LABELS threads)
kms_unit_test(witness SOURCES witness.c LIBRARIES kms_base)
kms_unit_test(promotion SOURCES policy_rig.c promotion_rig.c watched_rpc.c witness.c
  LIBRARIES kms_server kms_client kms_rpc kms_policy fake_keystore LABELS threads)
