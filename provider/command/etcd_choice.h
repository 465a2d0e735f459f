/* SPDX-License-Identifier: Apache-2.0 */
/* Which etcd a command reads. */
#ifndef KMS_ETCD_CHOICE_H
#define KMS_ETCD_CHOICE_H

#include <argp.h>

#include "etcd/source.h"
#include "kms/error.h"

/* Borrowed; NULL: not given. */
struct kms_etcd_choice {
    const char *endpoints, *ca_path, *cert_path, *key_path;
    const char *snapshot;
};
/* An argp child whose input is a kms_etcd_choice. */
extern const struct argp kms_etcd_choice_argp;
/* The same without --snapshot. */
extern const struct argp kms_etcd_server_argp;

/* Opens what was chosen, as whoever runs the command: before it becomes another user.  One of the two
 * must be given.  As kms_etcd_client_open() and kms_etcd_snapshot_open(). */
KMS_MUST_CHECK enum kms_code kms_etcd_choice_open(const struct kms_etcd_choice *choice,
                                                  struct kms_etcd_source **ret_source,
                                                  struct kms_error *err);

/* "server", "snapshot", "member-db": for reports.  Static. */
const char *kms_etcd_kind_name(enum kms_etcd_kind kind);

#endif
