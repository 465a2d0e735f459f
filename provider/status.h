/* SPDX-License-Identifier: Apache-2.0 */
/* The one table from our codes to gRPC statuses. */
#ifndef KMS_STATUS_H
#define KMS_STATUS_H

#include <stddef.h>

#include <grpc/status.h>

#include "kms/error.h"

enum { KMS_STATUS_TEXT_MAX = 200 }; /* characters, without the final NUL */

grpc_status_code kms_status_of(enum kms_code code);

/* The same table read backwards, for clients; a status that we never send is KMS_E_INTERNAL, but a
 * cancelled call (the server stops) is KMS_E_UNAVAILABLE. */
enum kms_code kms_status_code_of(grpc_status_code status);

/* "NOT_FOUND" …: for logs and for clients. Static. */
const char *kms_grpc_status_name(grpc_status_code status);

/* The text that goes to the client: at most 200 characters of operation, CKR name and advice, all of
 * them printable ASCII. */
void kms_status_text(const struct kms_error *err, char *ret_text, size_t size);

#endif
