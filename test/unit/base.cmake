# SPDX-License-Identifier: Apache-2.0
kms_unit_test(algorithm LIBRARIES kms_base)
kms_unit_test(bytes LIBRARIES kms_base)
kms_unit_test(clock LIBRARIES kms_base)
kms_unit_test(error LIBRARIES kms_base)
kms_unit_test(log LIBRARIES kms_base PkgConfig::JANSSON)
kms_unit_test(secret LIBRARIES kms_base)
kms_unit_test(keystore LIBRARIES kms_base)
kms_unit_test(fd LIBRARIES kms_base)
