/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "audit_seal.h"
#include "audit_sealed.h"

struct data_key {
    char id[KMS_AUDIT_SEAL_ID_LEN + 1];
    struct kms_secret key;
};

struct kms_audit_opener {
    EVP_PKEY *key;         /* owned: the recipient's */
    struct data_key *keys; /* owned */
    size_t count;
};

static void free_bio(BIO *const *bio)
{
    (void)BIO_free(*bio);
}

static void free_cms(CMS_ContentInfo *const *cms)
{
    CMS_ContentInfo_free(*cms);
}

static void free_data(uint8_t *const *data)
{
    free(*data);
}

enum kms_code kms_audit_opener_open(const char *path, struct kms_audit_opener **ret_opener,
                                    struct kms_error *err)
{
    KMS_CLEANUP(kms_audit_opener_close_ptr)
    struct kms_audit_opener *opener = calloc(1, sizeof(*opener));
    KMS_CLEANUP(free_bio) BIO *bio = BIO_new_file(path, "r");
    if (opener == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    if (bio != NULL)
        opener->key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    if (opener->key == NULL)
        return kms_fail(err, KMS_E_INVALID, "%.200s is no private key in PEM that can be read",
                        path);
    *ret_opener = opener;
    opener = NULL;
    return KMS_OK;
}

void kms_audit_opener_close(struct kms_audit_opener *opener)
{
    if (opener == NULL)
        return;
    for (size_t i = 0; i < opener->count; i++)
        kms_secret_done(&opener->keys[i].key);
    free(opener->keys);
    EVP_PKEY_free(opener->key);
    free(opener);
}

/* The newest of this name. */
static const struct kms_secret *find(const struct kms_audit_opener *opener, const char *id)
{
    for (size_t i = opener->count; i-- > 0;)
        if (strcmp(opener->keys[i].id, id) == 0)
            return &opener->keys[i].key;
    return NULL;
}

/* --- "key" lines --- */

static enum kms_code open_key(const struct kms_audit_opener *opener, struct kms_bytes der,
                              struct kms_secret *ret_key, struct kms_error *err)
{
    const uint8_t *at = der.data;
    KMS_CLEANUP(free_cms) CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &at, (long)der.len);
    KMS_CLEANUP(free_bio) BIO *out = BIO_new(BIO_s_secmem());
    if (out == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    if (cms == NULL)
        return kms_fail(err, KMS_E_CORRUPT, "its key isn't CMS");
    if (CMS_decrypt(cms, opener->key, NULL, NULL, out, CMS_BINARY) != 1)
        return kms_fail(err, KMS_E_PRECONDITION, "it is sealed to another recipient's key");
    KMS_CLEANUP(kms_secret_done) struct kms_secret key = { 0 };
    enum kms_code rc = kms_secret_init(&key, KMS_AUDIT_SEAL_KEY_LEN, err);
    if (rc != KMS_OK)
        return rc;
    if (BIO_pending(out) != KMS_AUDIT_SEAL_KEY_LEN ||
        BIO_read(out, key.data, KMS_AUDIT_SEAL_KEY_LEN) != KMS_AUDIT_SEAL_KEY_LEN)
        return kms_fail(err, KMS_E_CORRUPT, "its key is none of AES-256");
    *ret_key = kms_secret_take(&key);
    return KMS_OK;
}

static enum kms_code remember(struct kms_audit_opener *opener, const struct kms_audit_line *line,
                              struct kms_error *err)
{
    const char *id = kms_audit_line_text(line, "key");
    size_t len = 0;
    if (find(opener, id) != NULL)
        return KMS_OK;
    KMS_CLEANUP(free_data)
    uint8_t *der = kms_audit_unbase64(kms_audit_line_text(line, "sealed_key"), &len);
    if (der == NULL || strlen(id) != KMS_AUDIT_SEAL_ID_LEN)
        return kms_fail(err, KMS_E_CORRUPT, "it lacks what a key line has");
    struct data_key *keys = reallocarray(opener->keys, opener->count + 1, sizeof(*keys));
    if (keys == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    opener->keys = keys;
    struct data_key *key = &keys[opener->count];
    *key = (struct data_key){ .id = "" };
    (void)snprintf(key->id, sizeof(key->id), "%s", id);
    enum kms_code rc = open_key(opener, (struct kms_bytes){ der, len }, &key->key, err);
    opener->count += rc == KMS_OK ? 1 : 0;
    return rc;
}

/* --- "sealed" lines --- */

/* The text of what @plain has room for, as a line would have it. */
static json_t *parse(const char *text, const json_t *sealed)
{
    static const char *const places[] = { "chain", "seq", "prev" };
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    for (size_t i = 0; json != NULL && i < sizeof(places) / sizeof(places[0]); i++) {
        if (json_object_set(json, places[i], json_object_get(sealed, places[i])) == 0)
            continue;
        json_decref(json);
        json = NULL;
    }
    return json;
}

static enum kms_code replace(struct kms_audit_line *line, const char *text, struct kms_error *err)
{
    json_t *json = parse(text, line->json);
    const char *type = json_string_value(json_object_get(json, "type"));
    const char *time = json_string_value(json_object_get(json, "ts"));
    if (type == NULL || time == NULL) {
        json_decref(json);
        return kms_fail(err, KMS_E_CORRUPT, "what was sealed is no line");
    }
    json_decref(line->json);
    line->json = json;
    line->type = type;
    line->time = time;
    return KMS_OK;
}

static enum kms_code unseal(const struct kms_audit_opener *opener, struct kms_audit_line *line,
                            struct kms_error *err)
{
    const char *id = kms_audit_line_text(line, "key");
    int64_t number = kms_audit_line_number(line, "number");
    size_t len = 0;
    const struct kms_secret *key = find(opener, id);
    if (key == NULL)
        return kms_fail(err, KMS_E_PRECONDITION, "no line before it holds its key");
    KMS_CLEANUP(free_data)
    uint8_t *data = kms_audit_unbase64(kms_audit_line_text(line, "data"), &len);
    if (data == NULL || number < 0)
        return kms_fail(err, KMS_E_CORRUPT, "it lacks what a sealed line has");
    KMS_CLEANUP(free_data) uint8_t *text = malloc(len + 2);
    if (text == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    struct kms_audit_sealed at = { .number = (uint64_t)number };
    (void)snprintf(at.id, sizeof(at.id), "%s", id);
    size_t got = kms_audit_gcm_open(key, &at, (struct kms_bytes){ data, len }, text + 1);
    if (got == 0)
        return kms_fail(err, KMS_E_CORRUPT, "it was changed after it was sealed");
    text[0] = '{'; /* which a body lacks */
    text[got + 1] = '\0';
    return replace(line, (const char *)text, err);
}

enum kms_code kms_audit_opener_read(struct kms_audit_opener *opener, struct kms_audit_line *line,
                                    struct kms_error *err)
{
    if (strcmp(line->type, "key") == 0)
        return remember(opener, line, err);
    return strcmp(line->type, "sealed") == 0 ? unseal(opener, line, err) : KMS_OK;
}
