/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of `hsm-kms verify` share. */
#ifndef KMS_VERIFY_H
#define KMS_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "etcd_choice.h"
#include "keyring.h"
#include "kms/error.h"
#include "report/report.h"
#include "report/verdict.h"
#include "snapshot.h"

enum { KMS_VERIFY_NAMES_MAX = 64 };

enum kms_verify_format { KMS_VERIFY_TEXT, KMS_VERIFY_JSON, KMS_VERIFY_CSV };

/* Borrowed; NULL and 0: not given. */
struct kms_verify_names {
    const char *items[KMS_VERIFY_NAMES_MAX];
    size_t count;
};
struct kms_verify_options {
    struct kms_keyring_options keyring;
    struct kms_etcd_choice etcd;
    enum kms_verify_format format;
    const char *socket, *prefix, *key_id, *list_path, *remove;
    struct kms_verify_names exempt, expected, allowed;
    bool prove, record;
    unsigned sample;
    uint32_t destroy;
};

/* Whether all of etcd matters, and not only what is below the prefix. */
bool kms_verify_reads_all(const struct kms_verify_options *options);

/* --- verify_ring.c: the keys of the ring --- */

/* Caller owns the struct, which starts as zeros. */
struct kms_verify_ring {
    char *key_id;     /* the promoted one; owned */
    char *name;       /* of the ring; owned; NULL: not known */
    char **ids;       /* all of the ring's; owned, and each */
    size_t count;     /* 0: not known */
    const char *from; /* who named the promoted one */
    bool listed;      /* the three below are filled */
    struct kms_keyring keyring;
    struct kms_inventory inventory;
    struct kms_snapshot *snapshot;
};
void kms_verify_ring_done(struct kms_verify_ring *ring);

/* The promoted key_id by --key-id, else the socket, else the token, which is listed in any case for
 * --prove.  May become the owner of state_dir: whatever that can't open is opened before.
 * KMS_E_PRECONDITION: nobody knows it. */
KMS_MUST_CHECK enum kms_code kms_verify_ring_find(struct kms_verify_ring *ring,
                                                  const struct kms_verify_options *options,
                                                  struct kms_error *err);

/* --- verify_read.c: all values of an etcd --- */

/* Reads what is below @prefix, as kube-apiserver has it of its --etcd-prefix, or with NULL all there is, into
 * @report: where one value more that needs a key would matter.  Blocks, with
 * progress on a terminal; SIGINT ends it, which ret_summary->stopped tells.  As kms_etcd_read(). */
KMS_MUST_CHECK enum kms_code kms_verify_read(struct kms_etcd_source *source, const char *prefix,
                                             struct kms_report *report,
                                             struct kms_etcd_summary *ret_summary,
                                             struct kms_error *err);

/* --- verify_destroy.c: whether a KEK may be destroyed --- */

/* Borrowed. */
struct kms_verify_question {
    const char *ring, *prefix; /* the latter is kube-apiserver's --etcd-prefix */
    struct kms_keystore *keystore;
    const struct kms_snapshot *snapshot;
    uint32_t generation, promoted;
};
enum { KMS_VERIFY_WHY_MAX = 800 };
/* Whether nothing in @source needs the generation any more, by proof: as `verify --can-destroy`.  False
 * if something does, or if it can't be told: @ret_why says what, escaped.  Blocks, as
 * kms_verify_read(). */
KMS_MUST_CHECK bool kms_verify_can_destroy(const struct kms_verify_question *question,
                                           struct kms_etcd_source *source,
                                           char ret_why[static KMS_VERIFY_WHY_MAX]);

/* --- verify_text.c, verify_json.c: what is printed --- */

/* Borrowed. */
struct kms_verify_result {
    const struct kms_verify_options *options;
    const struct kms_verify_ring *ring;
    struct kms_report *report;
    const struct kms_etcd_summary *summary;
    struct kms_verdict verdict;
    int64_t started_utc_s, duration_ms;
};
void kms_verify_print_text(const struct kms_verify_result *result);
void kms_verify_print_json(const struct kms_verify_result *result);
void kms_verify_print_csv(const struct kms_verify_result *result);

/* Of the whole report: "proven" only if each distinct DEK source was unwrapped, and there is one;
 * "partly-proven" if some were, else "labelled". */
const char *kms_verify_level(const struct kms_verify_result *result);

/* --- verify_record.c: the ledger of snapshots --- */

/* Durably adds the snapshot, which was read in whole and proven, to state_dir's ledger.  Returns an exit
 * code and says why it isn't KMS_EXIT_OK: it is no such snapshot, or the ledger can't be written;
 * KMS_EXIT_REFUSED: the audit log can't be. */
int kms_verify_record(const struct kms_verify_result *result);

/* --- verify_progress.c: on a terminal --- */

struct kms_progress {
    bool shown;
    uint64_t values;
    int64_t started_ms, next_ms;
};
/* Shows something only if stderr is a terminal. */
void kms_progress_start(struct kms_progress *progress);
void kms_progress_step(struct kms_progress *progress, double fraction);
/* Clears the line. */
void kms_progress_end(const struct kms_progress *progress);

#endif
