/* SPDX-License-Identifier: Apache-2.0 */
#include "oaep.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "pkcs11_rig.h"

enum { BITS = 2048 };

static EVP_PKEY *pair; /* of the group */

static int make_pair(void **state)
{
    (void)state;
    pair = EVP_RSA_gen(BITS);
    return pair != NULL ? 0 : -1;
}

static int free_pair(void **state)
{
    (void)state;
    EVP_PKEY_free(pair);
    return 0;
}

static size_t pem_of(EVP_PKEY *key, char *ret_pem, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
    int len = BIO_read(bio, ret_pem, (int)size - 1);
    assert_true(len > 0);
    ret_pem[len] = '\0';
    BIO_free(bio);
    return (size_t)len;
}

static struct kms_spki spki_of(EVP_PKEY *key)
{
    struct kms_error err;
    struct kms_spki spki;
    char pem[PKCS11_PEM_MAX];
    (void)pem_of(key, pem, sizeof(pem));
    assert_ok(pkcs11_spki_from_pem(kms_bytes_of(pem), &spki, &err), &err);
    return spki;
}

static size_t decrypt(const struct kms_transport_blob *blob, const EVP_MD *md,
                      uint8_t ret_plain[static BITS / 8])
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(pair, NULL);
    size_t len = BITS / 8;
    assert_int_equal(EVP_PKEY_decrypt_init(ctx), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md(ctx, md), 1);
    int good = EVP_PKEY_decrypt(ctx, ret_plain, &len, blob->data, blob->len);
    EVP_PKEY_CTX_free(ctx);
    return good == 1 ? len : 0;
}

static void a_fingerprint_by_openssl_is_the_tokens(void **state)
{
    (void)state;
    struct kms_error err;
    uint8_t own[KMS_FINGERPRINT_LEN], expected[KMS_FINGERPRINT_LEN];
    rig_fingerprint(rig_key, expected);
    assert_ok(pkcs11_key_fingerprint((struct kms_bytes){ rig_key, 32 }, own, &err), &err);
    assert_memory_equal(own, expected, sizeof(own));
}

static void only_32_bytes_have_a_fingerprint(void **state)
{
    (void)state;
    struct kms_error err;
    uint8_t own[KMS_FINGERPRINT_LEN];
    assert_int_equal(pkcs11_key_fingerprint((struct kms_bytes){ rig_key, 31 }, own, &err),
                     KMS_E_INVALID);
    assert_int_equal(pkcs11_key_fingerprint((struct kms_bytes){ rig_key, 0 }, own, &err),
                     KMS_E_INVALID);
}

static void the_private_key_opens_what_was_wrapped_by_either_hash(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_spki spki = spki_of(pair);
    struct kms_transport_blob blob;
    uint8_t plain[BITS / 8];
    const struct kms_bytes key = { rig_key, 32 };
    assert_ok(pkcs11_oaep_encrypt(&spki, KMS_OAEP_SHA256, key, &blob, &err), &err);
    assert_int_equal(blob.hash, KMS_OAEP_SHA256);
    assert_int_equal(decrypt(&blob, EVP_sha256(), plain), 32);
    assert_memory_equal(plain, rig_key, 32);
    assert_int_equal(decrypt(&blob, EVP_sha1(), plain), 0);
    assert_ok(pkcs11_oaep_encrypt(&spki, KMS_OAEP_SHA1, key, &blob, &err), &err);
    assert_int_equal(decrypt(&blob, EVP_sha1(), plain), 32);
    assert_memory_equal(plain, rig_key, 32);
}

static void a_public_key_survives_numbers_and_pem(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_spki spki = spki_of(pair), again;
    struct pkcs11_rsa_numbers numbers;
    char pem[PKCS11_PEM_MAX], expected[PKCS11_PEM_MAX];
    assert_ok(pkcs11_spki_to_numbers(&spki, &numbers, &err), &err);
    assert_int_equal(numbers.modulus_len, BITS / 8);
    assert_ok(pkcs11_spki_from_numbers(&numbers, &again, &err), &err);
    assert_int_equal(again.len, spki.len);
    assert_memory_equal(again.data, spki.data, spki.len);
    assert_ok(pkcs11_spki_to_pem(&again, pem, &err), &err);
    (void)pem_of(pair, expected, sizeof(expected));
    assert_string_equal(pem, expected);
}

static void other_keys_and_rubbish_are_refused(void **state)
{
    (void)state;
    struct kms_error err;
    struct kms_spki spki;
    char pem[PKCS11_PEM_MAX];
    EVP_PKEY *curve = EVP_EC_gen("P-256");
    EVP_PKEY *small = EVP_RSA_gen(1024);
    (void)pem_of(curve, pem, sizeof(pem));
    assert_int_equal(pkcs11_spki_from_pem(kms_bytes_of(pem), &spki, &err), KMS_E_INVALID);
    (void)pem_of(small, pem, sizeof(pem));
    assert_int_equal(pkcs11_spki_from_pem(kms_bytes_of(pem), &spki, &err), KMS_E_INVALID);
    assert_int_equal(pkcs11_spki_from_pem(kms_bytes_of("no PEM"), &spki, &err), KMS_E_INVALID);
    assert_int_equal(pkcs11_spki_from_pem(kms_bytes_of(""), &spki, &err), KMS_E_INVALID);
    EVP_PKEY_free(curve);
    EVP_PKEY_free(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fingerprint_by_openssl_is_the_tokens),
        cmocka_unit_test(only_32_bytes_have_a_fingerprint),
        cmocka_unit_test(the_private_key_opens_what_was_wrapped_by_either_hash),
        cmocka_unit_test(a_public_key_survives_numbers_and_pem),
        cmocka_unit_test(other_keys_and_rubbish_are_refused),
    };
    return cmocka_run_group_tests(tests, make_pair, free_pair);
}
