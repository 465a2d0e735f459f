/* SPDX-License-Identifier: Apache-2.0 */
/* Which libraries a shared object needs and the loader can't find. */
#ifndef KMS_DOCTOR_LIBRARIES_H
#define KMS_DOCTOR_LIBRARIES_H

#include <stddef.h>

/* Asks the dynamic loader as ldd does, in a child that runs no code of @path.  "liba.so.1, libb.so.2", cut
 * to @size; "" if nothing is missing, or the loader can't say.  Call before threads. */
void kms_missing_libraries(const char *path, char *ret_names, size_t size);

/* The same of what the loader printed. */
void kms_missing_in(const char *printed, char *ret_names, size_t size);

#endif
