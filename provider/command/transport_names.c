/* SPDX-License-Identifier: Apache-2.0 */
#include "transport_names.h"

#include <stdio.h>
#include <string.h>

#include "key_file.h"
#include "oaep.h"

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

enum kms_code kms_spki_read(const char *path, struct kms_spki *ret_spki, struct kms_error *err)
{
    KMS_CLEANUP(kms_file_done) struct kms_file file = { 0 };
    enum kms_code rc = kms_file_read(path, &file, err);
    struct kms_error why = { 0 };
    if (rc == KMS_OK &&
        pkcs11_spki_from_pem((struct kms_bytes){ file.data, file.len }, ret_spki, &why) != KMS_OK)
        return kms_fail(err, KMS_E_INVALID, "%.200s: %.200s", path, why.msg);
    return rc;
}

void kms_spki_digest(const struct kms_spki *spki, char ret_hex[static 2 * KMS_SHA256_LEN + 1])
{
    uint8_t digest[KMS_SHA256_LEN];
    kms_sha256((struct kms_bytes){ spki->data, spki->len }, digest);
    kms_hex_encode((struct kms_bytes){ digest, sizeof(digest) }, ret_hex);
}
