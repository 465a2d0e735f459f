/* SPDX-License-Identifier: Apache-2.0 */
#include "escrow_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "json.h"
#include "key_file.h"
#include "text.h"
#include "transport_names.h"

enum { BASE64_MAX = (KMS_TRANSPORT_MAX + 2) / 3 * 4 };

/* --- read --- */

static enum kms_code is_not_ours(const char *path, const char *why, struct kms_error *err)
{
    return kms_fail(err, KMS_E_INVALID, "%.200s is no escrow file: %s", path, why);
}

static bool get_text(const json_t *root, const char *name, char *ret_text, size_t size)
{
    const char *text = json_string_value(json_object_get(root, name));
    return text != NULL && snprintf(ret_text, size, "%s", text) < (int)size;
}

static bool get_digest(const json_t *root, const char *name, uint8_t ret[static KMS_SHA256_LEN])
{
    const char *text = json_string_value(json_object_get(root, name));
    return text != NULL && kms_hex_decode(text, ret, KMS_SHA256_LEN);
}

static bool get_blob(const json_t *root, struct kms_transport_blob *ret_blob)
{
    const json_t *value = json_object_get(root, "blob");
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    uint8_t decoded[BASE64_MAX];
    if (text == NULL || len == 0 || len % 4 != 0 || len > BASE64_MAX)
        return false;
    int got = EVP_DecodeBlock(decoded, (const uint8_t *)text, (int)len);
    size_t padding = (size_t)(text[len - 1] == '=') + (size_t)(text[len - 2] == '=');
    if (got < 3 || (size_t)got - padding > sizeof(ret_blob->data))
        return false;
    ret_blob->len = (size_t)got - padding;
    memcpy(ret_blob->data, decoded, ret_blob->len);
    uint8_t again[BASE64_MAX + 1]; /* OpenSSL is lenient about what it decodes */
    return EVP_EncodeBlock(again, ret_blob->data, (int)ret_blob->len) == (int)len &&
           memcmp(again, text, len) == 0;
}

static bool get_rest(const json_t *root, struct kms_escrow *escrow)
{
    const char *hash = json_string_value(json_object_get(root, "oaep_hash"));
    return get_digest(root, "fingerprint", escrow->fingerprint) && get_blob(root, &escrow->blob) &&
           hash != NULL && kms_oaep_hash_parse(hash, &escrow->blob.hash);
}

static enum kms_code parse(const json_t *root, const char *path, struct kms_escrow *ret_escrow,
                           struct kms_error *err)
{
    struct kms_escrow escrow = { .complete = json_object_get(root, "blob") != NULL };
    json_int_t version = json_integer_value(json_object_get(root, "version"));
    if (version > KMS_ESCROW_VERSION)
        return is_not_ours(path, "a newer hsm-kms wrote it: run that", err);
    if (version < 1 || !get_text(root, "ring", escrow.ring, sizeof(escrow.ring)) ||
        !kms_ring_name_is_valid(escrow.ring) ||
        !get_text(root, "id", escrow.id, sizeof(escrow.id)) ||
        strspn(escrow.id, "0123456789abcdef") != KMS_BACKUP_ID_LEN ||
        !get_digest(root, "recipient", escrow.recipient))
        return is_not_ours(path, "it lacks version, ring, id or recipient", err);
    if (escrow.complete && !get_rest(root, &escrow))
        return is_not_ours(path, "its fingerprint, hash or blob is damaged", err);
    *ret_escrow = escrow;
    return KMS_OK;
}

enum kms_code kms_escrow_read(const char *path, bool *ret_found, struct kms_escrow *ret_escrow,
                              struct kms_error *err)
{
    KMS_CLEANUP(kms_file_done) struct kms_file file = { 0 };
    *ret_found = access(path, F_OK) == 0 || errno != ENOENT;
    if (!*ret_found)
        return KMS_OK;
    enum kms_code rc = kms_file_read(path, &file, err);
    if (rc != KMS_OK)
        return rc;
    json_error_t fault;
    KMS_CLEANUP(kms_json_done)
    json_t *root = json_loadb((const char *)file.data, file.len, JSON_REJECT_DUPLICATES, &fault);
    return root != NULL ? parse(root, path, ret_escrow, err)
                        : is_not_ours(path, "it can't be parsed", err);
}

/* --- written --- */

static void set(json_t *root, const char *name, const char *text)
{
    int rc = json_object_set_new(root, name, kms_must_alloc(json_string(text)));
    (void)kms_must_alloc(rc == 0 ? root : NULL);
}

static void set_rest(json_t *root, const struct kms_escrow *escrow)
{
    char fingerprint[2 * KMS_FINGERPRINT_LEN + 1], base64[BASE64_MAX + 1];
    kms_hex_encode((struct kms_bytes){ escrow->fingerprint, KMS_FINGERPRINT_LEN }, fingerprint);
    (void)EVP_EncodeBlock((uint8_t *)base64, escrow->blob.data, (int)escrow->blob.len);
    set(root, "fingerprint", fingerprint);
    set(root, "oaep_hash", kms_oaep_hash_name(escrow->blob.hash));
    set(root, "blob", base64);
}

enum kms_code kms_escrow_write(const char *path, const struct kms_escrow *escrow,
                               struct kms_error *err)
{
    char recipient[2 * KMS_SHA256_LEN + 1];
    kms_hex_encode((struct kms_bytes){ escrow->recipient, KMS_SHA256_LEN }, recipient);
    KMS_CLEANUP(kms_json_done)
    json_t *root = kms_must_alloc(json_pack("{s:i}", "version", KMS_ESCROW_VERSION));
    set(root, "ring", escrow->ring);
    set(root, "id", escrow->id);
    set(root, "recipient", recipient);
    if (escrow->complete)
        set_rest(root, escrow);
    char *text = kms_must_alloc(json_dumps(root, JSON_INDENT(2) | JSON_ENSURE_ASCII));
    enum kms_code rc = kms_file_write(path, kms_bytes_of(text), err);
    free(text);
    return rc;
}
