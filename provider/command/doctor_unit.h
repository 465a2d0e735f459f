/* SPDX-License-Identifier: Apache-2.0 */
/* What systemd's unit files of the host say. */
#ifndef KMS_DOCTOR_UNIT_H
#define KMS_DOCTOR_UNIT_H

#include <stdbool.h>

#include "doctor.h"

/* True if the unit has a file, and isn't masked. */
bool kms_unit_exists(const struct kms_doctor *doctor, const char *unit);
/* True if setting @key (a list of units) in section [Unit] of @unit, drop-ins included, names @word. */
bool kms_unit_lists(const struct kms_doctor *doctor, const char *unit, const char *key,
                    const char *word);
/* True if another unit pulls it in by a link (systemctl enable). */
bool kms_unit_is_enabled(const struct kms_doctor *doctor, const char *unit);

#endif
