/* SPDX-License-Identifier: Apache-2.0 */
/* Who may change the directories above a file, and so put another in its place. */
#ifndef KMS_DOCTOR_DIRECTORY_H
#define KMS_DOCTOR_DIRECTORY_H

#include "doctor.h"

/* Says what directory above @path, as it is written and as links lead, others than root and the
 * service may change; a sticky one they may. */
void kms_doctor_look_above(const struct kms_doctor *doctor, const char *what, const char *path,
                           struct kms_doctor_finding *finding);
/* The same of all that the plugin trusts. */
void kms_doctor_check_directories(const struct kms_doctor *doctor,
                                  struct kms_doctor_finding *finding);

#endif
