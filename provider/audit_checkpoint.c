/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_checkpoint.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "audit_check.h"
#include "kms/signature.h"

#define DOMAIN "hsm-kms audit checkpoint v1"

size_t kms_audit_checkpoint_text(const struct kms_audit_chain *at,
                                 char ret_text[static KMS_AUDIT_SIGNED_MAX])
{
    char digest[2 * KMS_SHA256_LEN + 1];
    kms_hex_encode((struct kms_bytes){ at->head, sizeof(at->head) }, digest);
    return (size_t)snprintf(ret_text, KMS_AUDIT_SIGNED_MAX, DOMAIN "\n%s\n%" PRIu64 "\n%s\n",
                            at->id, at->seq, digest);
}

void kms_audit_vouchers_done(struct kms_audit_vouchers *vouchers)
{
    free(vouchers->items);
    *vouchers = (struct kms_audit_vouchers){ .count = 0 };
}

static enum kms_code add(struct kms_audit_vouchers *vouchers, const struct kms_audit_chain *at,
                         struct kms_error *err)
{
    size_t count = vouchers->count;
    if ((count & (count - 1)) == 0) { /* it is full at each power of two */
        struct kms_audit_chain *items = reallocarray(vouchers->items, count == 0 ? 1 : 2 * count,
                                                     sizeof(*items));
        if (items == NULL)
            return kms_fail(err, KMS_E_BUSY, "out of memory for %zu checkpoints", count);
        vouchers->items = items;
    }
    vouchers->items[vouchers->count++] = *at;
    return KMS_OK;
}

/* --- one checkpoint --- */

/* Canonical base64; false: it isn't, or it is too long. */
static bool read_signature(const char *text, struct kms_signature *ret)
{
    uint8_t data[sizeof(ret->data) + 3]; /* EVP_DecodeBlock() counts the padding */
    char again[4 * (sizeof(ret->data) + 2) / 3 + 1];
    size_t len = strlen(text), pad = 0;
    if (len == 0 || len % 4 != 0 || len / 4 * 3 > sizeof(data))
        return false;
    while (pad < 2 && text[len - 1 - pad] == '=')
        pad++;
    int got = EVP_DecodeBlock(data, (const uint8_t *)text, (int)len);
    if (got < 0 || (size_t)got - pad > sizeof(ret->data))
        return false;
    ret->len = (size_t)got - pad;
    memcpy(ret->data, data, ret->len);
    (void)EVP_EncodeBlock((uint8_t *)again, data, (int)ret->len);
    return strcmp(again, text) == 0;
}

static const struct kms_spki *find_key(const struct kms_audit_vouchers *vouchers,
                                       const uint8_t sha256[static KMS_SHA256_LEN])
{
    for (size_t i = 0; i < vouchers->key_count; i++) {
        uint8_t own[KMS_SHA256_LEN];
        const struct kms_spki *key = &vouchers->keys[i];
        kms_sha256((struct kms_bytes){ key->data, key->len }, own);
        if (memcmp(own, sha256, sizeof(own)) == 0)
            return key;
    }
    return NULL;
}

/* KMS_E_BUSY, else the text says what is wrong with it. */
static enum kms_code check_one(const struct kms_audit_vouchers *vouchers,
                               const struct kms_audit_line *line, struct kms_audit_chain *ret_at,
                               struct kms_error *err)
{
    struct kms_audit_chain at = line->at;
    struct kms_signature signature = { .len = 0 };
    char text[KMS_AUDIT_SIGNED_MAX];
    int64_t seq = kms_audit_line_number(line, "signed_seq");
    if (seq < 1 || (uint64_t)seq >= line->at.seq ||
        !kms_hex_decode(kms_audit_line_text(line, "signed_sha256"), at.head, sizeof(at.head)) ||
        !kms_hex_decode(kms_audit_line_text(line, "key_sha256"), signature.key_sha256,
                        sizeof(signature.key_sha256)) ||
        !read_signature(kms_audit_line_text(line, "signature"), &signature))
        return kms_fail(err, KMS_E_INVALID, "is a checkpoint that lacks what one has");
    at.seq = (uint64_t)seq;
    const struct kms_spki *key = find_key(vouchers, signature.key_sha256);
    if (key == NULL)
        return kms_fail(err, KMS_E_INVALID,
                        "is a checkpoint of another key, with SHA-256 %.64s: give its "
                        "--checkpoint-key too, if it is one of yours",
                        kms_audit_line_text(line, "key_sha256"));
    size_t len = kms_audit_checkpoint_text(&at, text);
    enum kms_code rc = kms_signature_check(key, (struct kms_bytes){ (const uint8_t *)text, len },
                                           (struct kms_bytes){ signature.data, signature.len },
                                           err);
    if (rc == KMS_E_CORRUPT)
        return kms_fail(err, rc, "is a checkpoint with a wrong signature");
    if (rc == KMS_OK)
        *ret_at = at;
    return rc;
}

static enum kms_code check_line(struct kms_audit_vouchers *vouchers,
                                const struct kms_audit_reader *reader,
                                const struct kms_audit_line *line,
                                struct kms_audit_forgery *forgery, struct kms_error *err)
{
    struct kms_audit_chain at;
    struct kms_error why = { .code = KMS_OK };
    if (strcmp(line->type, "checkpoint") != 0)
        return KMS_OK;
    enum kms_code rc = check_one(vouchers, line, &at, &why);
    if (rc == KMS_OK)
        return add(vouchers, &at, err);
    if (rc == KMS_E_BUSY)
        return kms_fail(err, rc, "%s", why.msg);
    if (forgery->line == 0) {
        forgery->line = reader->number;
        (void)snprintf(forgery->why, sizeof(forgery->why), "%.*s", (int)KMS_AUDIT_FORGERY_MAX - 1,
                       why.msg);
    }
    return KMS_OK;
}

enum kms_code kms_audit_vouchers_add(struct kms_audit_vouchers *vouchers, FILE *in,
                                     struct kms_audit_forgery *ret_forgery, struct kms_error *err)
{
    struct kms_audit_reader reader = { .in = in };
    struct kms_audit_forgery forgery = { .line = 0 };
    for (;;) {
        KMS_CLEANUP(kms_audit_line_done) struct kms_audit_line line = { .json = NULL };
        struct kms_error why = { .code = KMS_OK };
        bool end = false;
        enum kms_code rc = kms_audit_reader_next(&reader, &line, &end, &why);
        if (rc == KMS_E_PRECONDITION)
            return kms_fail(err, rc, "%s", why.msg);
        if (end || rc != KMS_OK) /* what is wrong with that line is for whoever checks the chain */
            break;
        rc = check_line(vouchers, &reader, &line, &forgery, err);
        if (rc != KMS_OK)
            return rc;
    }
    *ret_forgery = forgery;
    return KMS_OK;
}

/* --- asked --- */

static int by_place(const void *left, const void *right)
{
    const struct kms_audit_chain *a = left, *b = right;
    int chains = strcmp(a->id, b->id);
    return chains != 0 ? chains : (a->seq > b->seq) - (a->seq < b->seq);
}

void kms_audit_vouchers_sort(struct kms_audit_vouchers *vouchers)
{
    if (vouchers->count > 1)
        qsort(vouchers->items, vouchers->count, sizeof(vouchers->items[0]), by_place);
}

/* The first that isn't before @at. */
static size_t find(const struct kms_audit_vouchers *vouchers, const struct kms_audit_chain *at)
{
    size_t low = 0, high = vouchers->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_place(&vouchers->items[middle], at) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

enum kms_audit_vouched kms_audit_vouchers_ask(const struct kms_audit_vouchers *vouchers,
                                              const struct kms_audit_chain *at)
{
    enum kms_audit_vouched vouched = KMS_AUDIT_UNVOUCHED;
    for (size_t i = find(vouchers, at);
         i < vouchers->count && by_place(&vouchers->items[i], at) == 0; i++) {
        if (memcmp(vouchers->items[i].head, at->head, sizeof(at->head)) != 0)
            return KMS_AUDIT_BELIED;
        vouched = KMS_AUDIT_VOUCHED;
    }
    return vouched;
}
