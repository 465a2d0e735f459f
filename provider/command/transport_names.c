/* SPDX-License-Identifier: Apache-2.0 */
#include "transport_names.h"

#include <stdio.h>
#include <string.h>

#include "key_file.h"

#define PEM_HEADER "# hsm-kms transport-key, "
#define PEM_HASH "oaep-hash: "

void kms_transport_label(const char *ring, char ret_label[static KMS_TRANSPORT_LABEL_LEN + 1])
{
    (void)snprintf(ret_label, KMS_TRANSPORT_LABEL_LEN + 1, "%s.transport", ring);
}

const char *kms_oaep_hash_name(enum kms_oaep_hash hash)
{
    return hash == KMS_OAEP_SHA256 ? "sha256" : "sha1";
}

bool kms_oaep_hash_parse(const char *text, enum kms_oaep_hash *ret_hash)
{
    bool sha256 = strcmp(text, "sha256") == 0;
    if (!sha256 && strcmp(text, "sha1") != 0)
        return false;
    *ret_hash = sha256 ? KMS_OAEP_SHA256 : KMS_OAEP_SHA1;
    return true;
}

const char *kms_oaep_hash_caveat(enum kms_oaep_hash hash)
{
    if (hash == KMS_OAEP_SHA256)
        return NULL;
    return "RSA-OAEP with SHA-1 is sound (it needs no collision resistance), but some rules forbid "
           "it";
}

/* --- public keys as files --- */

enum kms_code kms_transport_pem(const char *ring, const struct kms_transport_key *key,
                                char ret_pem[static KMS_TRANSPORT_PEM_MAX], struct kms_error *err)
{
    char pem[PKCS11_PEM_MAX];
    enum kms_code rc = pkcs11_spki_to_pem(&key->spki, pem, err);
    if (rc == KMS_OK)
        (void)snprintf(ret_pem, KMS_TRANSPORT_PEM_MAX, PEM_HEADER "ring: %s, " PEM_HASH "%s\n%s",
                       ring, kms_oaep_hash_name(key->hash), pem);
    return rc;
}

static bool starts_with(struct kms_bytes line, const char *text)
{
    return line.len >= strlen(text) && memcmp(line.data, text, strlen(text)) == 0;
}

/* The next line of *rest, without what ends it (mail adds blanks and CRs).  False: none is left. */
static bool take_line(struct kms_bytes *rest, struct kms_bytes *ret_line)
{
    if (rest->len == 0)
        return false;
    const uint8_t *end = memchr(rest->data, '\n', rest->len);
    size_t len = end != NULL ? (size_t)(end - rest->data) : rest->len;
    size_t taken = end != NULL ? len + 1 : len;
    *ret_line = (struct kms_bytes){ rest->data, len };
    *rest = (struct kms_bytes){ rest->data + taken, rest->len - taken };
    while (ret_line->len > 0 && memchr(" \t\r", ret_line->data[ret_line->len - 1], 3) != NULL)
        ret_line->len--;
    return true;
}

/* False: @line names no hash that we know. */
static bool parse_header(struct kms_bytes line, enum kms_oaep_hash *ret_hash)
{
    char name[16] = "";
    const uint8_t *at = memmem(line.data, line.len, PEM_HASH, strlen(PEM_HASH));
    if (at == NULL)
        return false;
    at += strlen(PEM_HASH);
    size_t len = (size_t)(line.data + line.len - at);
    if (len >= sizeof(name))
        return false;
    memcpy(name, at, len);
    return strlen(name) == len && kms_oaep_hash_parse(name, ret_hash);
}

static enum kms_code find_hash(const char *path, struct kms_bytes rest,
                               enum kms_oaep_hash *ret_hash, struct kms_error *err)
{
    struct kms_bytes line;
    *ret_hash = KMS_OAEP_SHA256;
    while (take_line(&rest, &line) && !starts_with(line, "-----BEGIN")) {
        if (!starts_with(line, PEM_HEADER))
            continue;
        if (parse_header(line, ret_hash))
            return KMS_OK;
        return kms_fail(
            err, KMS_E_INVALID,
            "%.200s: the line above the PEM names no hash that this release knows: get the "
            "file again, or take the line out and give --hash",
            path);
    }
    return KMS_OK;
}

enum kms_code kms_spki_read(const char *path, struct kms_spki *ret_spki,
                            enum kms_oaep_hash *ret_hash, struct kms_error *err)
{
    KMS_CLEANUP(kms_file_done) struct kms_file file = { 0 };
    enum kms_oaep_hash hash = KMS_OAEP_SHA256;
    struct kms_error why = { 0 };
    enum kms_code rc = kms_file_read(path, &file, err);
    const struct kms_bytes text = { file.data, file.len };
    if (rc == KMS_OK)
        rc = find_hash(path, text, &hash, err);
    if (rc != KMS_OK)
        return rc;
    if (pkcs11_spki_from_pem(text, ret_spki, &why) != KMS_OK)
        return kms_fail(err, KMS_E_INVALID, "%.200s: %.200s", path, why.msg);
    *ret_hash = hash;
    return KMS_OK;
}

void kms_spki_digest(const struct kms_spki *spki, char ret_hex[static 2 * KMS_SHA256_LEN + 1])
{
    uint8_t digest[KMS_SHA256_LEN];
    kms_sha256((struct kms_bytes){ spki->data, spki->len }, digest);
    kms_hex_encode((struct kms_bytes){ digest, sizeof(digest) }, ret_hex);
}
