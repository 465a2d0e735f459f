# SPDX-License-Identifier: Apache-2.0
kms_unit_test(encryption LIBRARIES kms_cluster)
kms_unit_test(apiserver LIBRARIES kms_cluster)
