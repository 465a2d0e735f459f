# SPDX-License-Identifier: Apache-2.0
kms_unit_test(keyid LIBRARIES kms_policy)
kms_unit_test(state LIBRARIES kms_policy)
kms_unit_test(ring LIBRARIES kms_policy fake_keystore)
kms_unit_test(refresher SOURCES policy_rig.c LIBRARIES kms_policy fake_keystore)
kms_unit_test(service SOURCES policy_rig.c LIBRARIES kms_policy fake_keystore)
