/* SPDX-License-Identifier: Apache-2.0 */
#include "inbox.h"

#include <stdlib.h>
#include <string.h>

#include "kms/clock.h"
#include "kms/log.h"
#include "request.h"

struct kms_inbox {
    struct kms_state_dir *state_dir;
    struct kms_ring *keks;
    struct kms_request_list before; /* what the last round left, with the reasons */
    struct kms_error unreadable;    /* why state_dir couldn't be listed last time */
};

enum kms_code kms_inbox_open(struct kms_state_dir *state_dir, struct kms_ring *keks,
                             struct kms_inbox **ret_inbox, struct kms_error *err)
{
    struct kms_inbox *inbox = calloc(1, sizeof *inbox);
    if (inbox == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    inbox->state_dir = state_dir;
    inbox->keks = keks;
    *ret_inbox = inbox;
    return KMS_OK;
}

void kms_inbox_close(struct kms_inbox *inbox)
{
    if (inbox == NULL)
        return;
    kms_request_list_done(&inbox->before);
    free(inbox);
}

static bool same_fault(const struct kms_error *a, const struct kms_error *b)
{
    return a->code == b->code && strcmp(a->msg, b->msg) == 0;
}

/* How the last round went for the file with @name; NULL if it wasn't there. */
static const struct kms_error *fault_before(const struct kms_inbox *inbox, const char *name)
{
    for (size_t i = 0; i < inbox->before.count; i++) {
        if (strcmp(inbox->before.files[i].name, name) == 0)
            return &inbox->before.files[i].fault;
    }
    return NULL;
}

/* Durable first, then for the ring. */
static enum kms_code change_state(struct kms_inbox *inbox, const struct kms_request *request,
                                  bool *ret_changed, struct kms_error *err)
{
    KMS_CLEANUP(kms_state_done) struct kms_state state = { 0 };
    enum kms_code rc = kms_ring_copy_state(inbox->keks, &state, err);
    if (rc == KMS_OK)
        rc = kms_request_apply(request, &state, ret_changed, err);
    if (rc != KMS_OK || !*ret_changed)
        return rc;
    rc = kms_ring_check_state(inbox->keks, &state, err);
    if (rc == KMS_OK)
        rc = kms_state_dir_write(inbox->state_dir, &state, err);
    if (rc == KMS_OK)
        kms_ring_set_state(inbox->keks, &state);
    return rc;
}

static void log_applied(const struct kms_request *request, bool changed)
{
    char digits[2 * KMS_FINGERPRINT_LEN + 1], asked[KMS_RFC3339_LEN + 1];
    char until[KMS_RFC3339_LEN + 1];
    kms_hex_encode((struct kms_bytes){ request->fingerprint, KMS_FINGERPRINT_LEN }, digits);
    kms_rfc3339_format(request->asked_utc_s, asked);
    kms_rfc3339_format(request->until_utc_s, until);
    struct kms_log_field fields[8];
    size_t count = 0;
    fields[count++] = KMS_F_TEXT("kind", kms_request_kind_name(request->kind));
    if (request->generation != 0)
        fields[count++] = KMS_F_INT("generation", request->generation);
    if (request->token[0] != '\0')
        fields[count++] = KMS_F_TEXT("token", request->token);
    if (request->kind == KMS_REQUEST_ACCEPT)
        fields[count++] = KMS_F_TEXT("fingerprint", digits);
    if (request->kind == KMS_REQUEST_DRAIN)
        fields[count++] = KMS_F_TEXT("until", until);
    fields[count++] = KMS_F_TEXT("by", request->by);
    fields[count++] = KMS_F_TEXT("asked", asked);
    fields[count++] = KMS_F_BOOL("changed", changed);
    kms_log_fields(KMS_LOG_WARN, "request applied", fields, count);
}

static enum kms_code apply(struct kms_inbox *inbox, const struct kms_request_file *file,
                           struct kms_error *err)
{
    bool changed = false;
    enum kms_code rc = change_state(inbox, &file->request, &changed, err);
    if (rc != KMS_OK)
        return rc;
    /* Also without a change: this process may have been killed before it could say so.  But not again
     * and again when only the deleting fails. */
    if (changed || fault_before(inbox, file->name) == NULL)
        log_applied(&file->request, changed);
    return kms_request_remove(kms_state_dir_path(inbox->state_dir), file, err);
}

static void process_file(struct kms_inbox *inbox, struct kms_request_file *file)
{
    if (file->fault.code == KMS_OK && apply(inbox, file, &file->fault) == KMS_OK)
        file->fault = (struct kms_error){ .code = KMS_OK };
    const struct kms_error *before = fault_before(inbox, file->name);
    if (file->fault.code == KMS_OK || (before != NULL && same_fault(before, &file->fault)))
        return;
    kms_log_error(KMS_LOG_ERROR, "request not applied", &file->fault,
                  &KMS_F_TEXT("file", file->name), 1);
}

void kms_inbox_process(struct kms_inbox *inbox)
{
    struct kms_request_list list = { 0 };
    struct kms_error err = { .code = KMS_OK };
    if (kms_request_read(kms_state_dir_path(inbox->state_dir), &list, &err) != KMS_OK) {
        if (!same_fault(&inbox->unreadable, &err))
            kms_log_error(KMS_LOG_ERROR, "requests not read", &err, NULL, 0);
        inbox->unreadable = err;
        return;
    }
    inbox->unreadable = (struct kms_error){ .code = KMS_OK };
    for (size_t i = 0; i < list.count; i++)
        process_file(inbox, &list.files[i]);
    kms_request_list_done(&inbox->before);
    inbox->before = list;
}
