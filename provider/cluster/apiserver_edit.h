/* SPDX-License-Identifier: Apache-2.0 */
/* A kms_apiserver while its file is read.  Private to this layer. */
#ifndef KMS_APISERVER_EDIT_H
#define KMS_APISERVER_EDIT_H

#include <stdbool.h>
#include <stddef.h>

#include "apiserver.h"

/* Appends a copy of @text.  KMS_E_INVALID: there are too many; KMS_E_BUSY: no memory.  Texts name
 * @file. */
KMS_MUST_CHECK enum kms_code kms_apiserver_add_arg(const char *file, const char *text,
                                                   struct kms_apiserver *apiserver,
                                                   struct kms_error *err);

/* Makes room for @mount_count mounts: once, before any is added.  Fails as above. */
KMS_MUST_CHECK enum kms_code kms_apiserver_reserve(const char *file, size_t mount_count,
                                                   struct kms_apiserver *apiserver,
                                                   struct kms_error *err);

/* Appends a mount of the host's @host (NULL: of nothing of the host's) of hostPath's @type (NULL: none),
 * without the slashes at the ends of the paths.  False: a path is too long, or empty; @inside is NULL. */
KMS_MUST_CHECK bool kms_apiserver_add_mount(struct kms_apiserver *apiserver, const char *host,
                                            const char *type, const char *inside);

#endif
