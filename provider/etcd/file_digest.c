/* SPDX-License-Identifier: Apache-2.0 */
#include "file_digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "kms/bytes.h"
#include "kms/fd.h"

enum { PIECE_LEN = 256 * 1024 }; /* bytes */

KMS_DEFINE_CLOSE_PTR(EVP_MD_CTX *, EVP_MD_CTX_free)

static enum kms_code fail_read(struct kms_error *err)
{
    if (errno == 0)
        return kms_fail(err, KMS_E_CORRUPT, "the file has become shorter while it was read");
    return kms_fail_errno(err, KMS_E_PRECONDITION, "pread", errno, "its SHA-256");
}

static enum kms_code digest_pieces(int fd, uint64_t size, EVP_MD_CTX *digest, uint8_t *piece,
                                   const volatile sig_atomic_t *stop, struct kms_error *err)
{
    for (uint64_t at = 0; at < size && (stop == NULL || *stop == 0);) {
        size_t want = size - at < PIECE_LEN ? (size_t)(size - at) : PIECE_LEN;
        if (!kms_fd_read_at(fd, piece, want, at))
            return fail_read(err);
        if (EVP_DigestUpdate(digest, piece, want) != 1)
            return kms_fail(err, KMS_E_INTERNAL, "OpenSSL doesn't do SHA-256");
        at += want;
    }
    return KMS_OK;
}

static enum kms_code compare(int fd, uint64_t size, EVP_MD_CTX *digest, struct kms_error *err)
{
    uint8_t found[KMS_SHA256_LEN], said[KMS_SHA256_LEN];
    if (!kms_fd_read_at(fd, said, sizeof said, size))
        return fail_read(err);
    if (EVP_DigestFinal_ex(digest, found, NULL) != 1)
        return kms_fail(err, KMS_E_INTERNAL, "OpenSSL doesn't do SHA-256");
    if (memcmp(found, said, sizeof said) != 0)
        return kms_fail(err, KMS_E_CORRUPT,
                        "the SHA-256 at the end of the snapshot is not that of its bytes: it was "
                        "changed or damaged; take another one");
    return KMS_OK;
}

enum kms_code kms_file_digest_check(int fd, uint64_t size, const volatile sig_atomic_t *stop,
                                    bool *ret_stopped, struct kms_error *err)
{
    KMS_CLEANUP(EVP_MD_CTX_free_ptr) EVP_MD_CTX *digest = EVP_MD_CTX_new();
    uint8_t *piece = malloc(PIECE_LEN);
    enum kms_code rc = KMS_OK;
    if (digest == NULL || piece == NULL || EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1)
        rc = kms_fail(err, KMS_E_BUSY, "out of memory");
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    if (rc == KMS_OK)
        rc = digest_pieces(fd, size, digest, piece, stop, err);
    free(piece);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL);
    if (rc != KMS_OK)
        return rc;
    if (stop != NULL && *stop != 0) {
        *ret_stopped = true;
        return KMS_OK;
    }
    return compare(fd, size, digest, err);
}
