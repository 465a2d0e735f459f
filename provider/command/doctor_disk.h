/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a directory lies on an encrypted device, as far as /sys tells. */
#ifndef KMS_DOCTOR_DISK_H
#define KMS_DOCTOR_DISK_H

#include "doctor.h"

enum kms_disk {
    KMS_DISK_UNKNOWN, /* no such directory, or no block device: a network, btrfs, ZFS, overlay … */
    KMS_DISK_PLAIN,   /* a device that isn't on dm-crypt; it may still encrypt by itself */
    KMS_DISK_ENCRYPTED, /* dm-crypt, or all that it is made of is */
};
enum kms_disk kms_disk_encryption(const struct kms_doctor *doctor, const char *directory);

#endif
