/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_seal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#include "audit_sealed.h"
#include "kms/secret.h"

struct kms_audit_seal {
    char id[KMS_AUDIT_SEAL_ID_LEN + 1];
    struct kms_secret key;
    char *sealed_key; /* owned: CMS in base64 */
    atomic_uint_fast64_t next;
};

static void free_bio(BIO *const *bio)
{
    (void)BIO_free(*bio);
}

static void free_cert(X509 *const *cert)
{
    X509_free(*cert);
}

static void free_cms(CMS_ContentInfo *const *cms)
{
    CMS_ContentInfo_free(*cms);
}

static void free_der(uint8_t *const *der)
{
    OPENSSL_free(*der);
}

static void free_text(char *const *text)
{
    free(*text);
}

/* --- the data key --- */

static X509 *read_cert(const char *path)
{
    KMS_CLEANUP(free_bio) BIO *bio = BIO_new_file(path, "r");
    return bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
}

/* By RSA-OAEP with SHA-256, or ECDH. */
static bool add_recipient(CMS_ContentInfo *cms, X509 *cert)
{
    CMS_RecipientInfo *info = CMS_add1_recipient_cert(cms, cert, CMS_KEY_PARAM);
    if (info == NULL)
        return false;
    if (EVP_PKEY_get_base_id(X509_get0_pubkey(cert)) != EVP_PKEY_RSA)
        return true;
    EVP_PKEY_CTX *ctx = CMS_RecipientInfo_get0_pkey_ctx(info);
    return ctx != NULL && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0 &&
           EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) > 0;
}

static enum kms_code seal_key(struct kms_audit_seal *seal, X509 *cert, struct kms_error *err)
{
    KMS_CLEANUP(free_bio) BIO *in = BIO_new_mem_buf(seal->key.data, (int)seal->key.len);
    KMS_CLEANUP(free_cms)
    CMS_ContentInfo *cms = CMS_encrypt(NULL, NULL, EVP_aes_256_gcm(), CMS_PARTIAL | CMS_BINARY);
    KMS_CLEANUP(free_der) uint8_t *der = NULL;
    if (in == NULL || cms == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    if (!add_recipient(cms, cert) || CMS_final(cms, in, NULL, CMS_BINARY) != 1)
        return kms_fail(err, KMS_E_INVALID, "its key can't be sealed to: RSA or EC is");
    int len = i2d_CMS_ContentInfo(cms, &der);
    if (len <= 0 || len > KMS_AUDIT_SEALED_KEY_MAX)
        return kms_fail(err, KMS_E_INVALID, "its key is too long");
    seal->sealed_key = kms_audit_base64((struct kms_bytes){ der, (size_t)len });
    return seal->sealed_key != NULL ? KMS_OK : kms_fail(err, KMS_E_BUSY, "out of memory");
}

static enum kms_code make_key(struct kms_audit_seal *seal, const char *path, struct kms_error *err)
{
    uint8_t id[KMS_AUDIT_SEAL_ID_LEN / 2];
    struct kms_error why = { .code = KMS_OK };
    KMS_CLEANUP(free_cert) X509 *cert = read_cert(path);
    if (cert == NULL)
        return kms_fail(err, KMS_E_INVALID,
                        "audit.encrypt: %.200s is no certificate in PEM that "
                        "can be read",
                        path);
    enum kms_code rc = kms_secret_init(&seal->key, KMS_AUDIT_SEAL_KEY_LEN, err);
    if (rc != KMS_OK)
        return rc;
    if (RAND_priv_bytes(seal->key.data, KMS_AUDIT_SEAL_KEY_LEN) != 1 ||
        RAND_bytes(id, sizeof(id)) != 1)
        return kms_fail(err, KMS_E_INTERNAL, "OpenSSL has no random bytes");
    kms_hex_encode((struct kms_bytes){ id, sizeof(id) }, seal->id);
    rc = seal_key(seal, cert, &why);
    return rc == KMS_OK ? rc : kms_fail(err, rc, "audit.encrypt: %.200s: %s", path, why.msg);
}

enum kms_code kms_audit_seal_open(const char *path, struct kms_audit_seal **ret_seal,
                                  struct kms_error *err)
{
    struct kms_audit_seal *seal = calloc(1, sizeof(*seal));
    if (seal == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory");
    enum kms_code rc = make_key(seal, path, err);
    if (rc != KMS_OK) {
        kms_audit_seal_close(seal);
        return rc;
    }
    *ret_seal = seal;
    return KMS_OK;
}

void kms_audit_seal_close(struct kms_audit_seal *seal)
{
    if (seal == NULL)
        return;
    kms_secret_done(&seal->key);
    free(seal->sealed_key);
    free(seal);
}

/* --- lines --- */

char *kms_audit_seal_key_body(const struct kms_audit_seal *seal,
                              const struct kms_audit_origin *origin)
{
    return kms_audit_body_key(origin, seal->id, seal->sealed_key);
}

char *kms_audit_seal_body(struct kms_audit_seal *seal, const struct kms_audit_origin *origin,
                          char *body)
{
    if (seal == NULL || body == NULL)
        return body;
    KMS_CLEANUP(free_text) char *plain = body;
    struct kms_audit_sealed sealed = { .number = atomic_fetch_add(&seal->next, 1) };
    (void)snprintf(sealed.id, sizeof(sealed.id), "%s", seal->id);
    uint8_t *data = malloc(strlen(plain) + KMS_AUDIT_SEAL_TAG_LEN);
    if (data == NULL)
        return NULL;
    size_t len = kms_audit_gcm_seal(&seal->key, &sealed, kms_bytes_of(plain), data);
    char *text = len > 0 ? kms_audit_base64((struct kms_bytes){ data, len }) : NULL;
    free(data);
    char *line = text != NULL ? kms_audit_body_sealed(origin, seal->id, sealed.number, text) : NULL;
    free(text);
    return line;
}
