/* SPDX-License-Identifier: Apache-2.0 */
/* What a plugin says of itself, by Describe or in the file of an export, as commands show and
 * compare it. */
#ifndef KMS_NODE_VIEW_H
#define KMS_NODE_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "kek_view.h"
#include "kms/bytes.h"
#include "kms/error.h"
#include "proto/node.pb-c.h"
#include "text.h"

#define KMS_NODE_EXPORT "node-export" /* the schema of an export: hsm-kms/node-export/v1 */

/* Longer texts are cut: they are for people. */
struct kms_node {
    const char *source; /* borrowed: the socket, or the file of an export */
    bool is_export;
    bool reached; /* false: @health says why, and nothing else is filled */
    bool healthy;
    char name[128];
    char version[64];
    char ring[64];
    char key_id[128];
    char health[256]; /* empty if healthy */
    uint32_t promoted;
    bool tells_configuration; /* the two below; neither an export nor an older version does */
    uint8_t settings[KMS_SHA256_LEN], vouched[KMS_SHA256_LEN];
    int64_t refresh_ms, clock_skew_ms;
    int64_t listed_utc_s; /* 0: never */
    int64_t told_utc_s;   /* when it said all this, by its own clock */
    int64_t offset_ms;    /* its clock minus ours; of an export only what is sure: not below 0 */
    int64_t doubt_ms;     /* half the round trip: the offset may be wrong by that much */
};

/* Of an answer to a Describe that was sent and received at these UTC times.  @source and
 * @is_export are the caller's. */
void kms_node_of(const Hsmkms__Node__V1__DescribeResponse *description, int64_t sent_utc_ms,
                 int64_t received_utc_ms, struct kms_node *ret_node);

/* Reads an export, which `key nodes --export` wrote. KMS_E_INVALID: it isn't one; the text names
 * @path. *ret_node borrows @path. */
KMS_MUST_CHECK enum kms_code kms_node_read(const char *path, int64_t now_utc_ms,
                                           struct kms_node *ret_node, struct kms_error *err);

/* Everything of a Describe, set in @object: `status -o json` and the export. */
void kms_node_describe_json(const Hsmkms__Node__V1__DescribeResponse *description, json_t *object);

/* One row each; { "node", "source", … } of one node. */
struct kms_table *kms_node_table(void);
void kms_node_row(const struct kms_node *node, struct kms_table *table);
json_t *kms_node_json(const struct kms_node *node);

/* "NODE (SOURCE)", escaped only when printed. */
enum { KMS_NODE_TITLE_MAX = 256 };
void kms_node_title(const struct kms_node *node, char ret_title[static KMS_NODE_TITLE_MAX]);

/* The plugin that answers no Status for want of health says so with this code. */
enum kms_code kms_node_health_code(const Hsmkms__Node__V1__Health *health);

/* True if a KEK in @state serves, now or after its activation. */
bool kms_node_kek_is_usable(const char *state);

/* --- what a rotation asks of every node before it makes a key --- */

struct kms_node_demand {
    const char *ring;
    uint32_t promoted;     /* what all should have promoted */
    bool lead_counts;      /* false: the first key, which nobody can use too early; or --force */
    int64_t lead_s;        /* from now to the activation */
    int64_t clock_skew_ms; /* as configured here */
};

/* KMS_E_PRECONDITION: another ring, another promoted generation, too slow a refresh for the lead,
 * or too wrong a clock; the text names node and numbers. */
KMS_MUST_CHECK enum kms_code kms_node_check(const struct kms_node *node,
                                            const struct kms_node_demand *demand,
                                            struct kms_error *err);

/* What one node lists of a KEK that another node or this command made. */
enum kms_node_sight {
    KMS_NODE_ABSENT,   /* not listed as usable; the text says what is listed */
    KMS_NODE_LISTED,   /* usable, and not yet promoted */
    KMS_NODE_PROMOTED, /* this generation, or already a later one */
};
enum { KMS_NODE_WHY_MAX = 320 };

/* @fingerprint is empty if any will do. ret_why is "" unless ABSENT. */
enum kms_node_sight kms_node_sees(const Hsmkms__Node__V1__DescribeResponse *description,
                                  uint32_t generation, struct kms_bytes fingerprint,
                                  char ret_why[static KMS_NODE_WHY_MAX]);

#endif
