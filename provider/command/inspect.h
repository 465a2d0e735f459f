/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of `hsm-kms inspect` share. */
#ifndef KMS_INSPECT_H
#define KMS_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "etcd/object.h"
#include "etcd/registry.h"
#include "etcd_choice.h"
#include "keyring.h"
#include "kms/error.h"

/* Borrowed; NULL and 0: not given. */
struct kms_inspect_options {
    struct kms_keyring_options keyring;
    struct kms_etcd_choice etcd;
    const char *key, *prefix, *socket, *out_path;
    int64_t revision;
    bool decrypt, to_stdout;
};

/* One value; caller owns the struct, which starts as zeros. */
struct kms_inspected {
    struct kms_plaintext stored; /* as it stands in etcd, which may be in the clear */
    struct kms_value value;      /* of @stored */
    struct kms_registry_name name;
    bool history;
    int64_t create_revision, mod_revision, version; /* 0: not known */
};

/* --- inspect_print.c --- */

/* What the key_id is to the ring.  Caller owns the struct, which starts as zeros. */
struct kms_inspect_kek {
    const char *from; /* who says so (static); NULL: nobody was asked */
    bool of_ring;
    uint32_t generation;
    char label[KMS_LABEL_MAX + 1];
    char state[32]; /* "" if the ring has no such KEK */
    char reason[400];
    char problem[KMS_ERROR_MSG_MAX]; /* why nobody says so; "" */
};
/* Asks the running plugin, else the token, where there is a configuration. */
void kms_inspect_find_kek(const struct kms_inspect_options *options, const struct kms_value *value,
                          struct kms_inspect_kek *ret_kek);
void kms_inspect_print(const struct kms_inspect_options *options,
                       const struct kms_inspected *inspected, const struct kms_inspect_kek *kek);

/* --- inspect_open.c --- */

/* Break glass: opens the object with the HSM and writes it.  Returns the exit code; says what was
 * wrong. */
int kms_inspect_open(const struct kms_inspect_options *options,
                     const struct kms_inspected *inspected);

#endif
