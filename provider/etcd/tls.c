/* SPDX-License-Identifier: Apache-2.0 */
#include "tls.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "kms/fd.h"

enum { PEM_MAX = 512 * 1024 }; /* bytes: more than a system's whole bundle of roots */

static enum kms_code read_pem(const char *path, struct kms_secret *ret_text, struct kms_error *err)
{
    if (path == NULL)
        return KMS_OK;
    KMS_CLEANUP(kms_fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "%s", path);
    KMS_CLEANUP(kms_secret_done) struct kms_secret text = { 0 };
    enum kms_code rc = kms_secret_init(&text, PEM_MAX, err);
    if (rc != KMS_OK)
        return rc;
    if (!kms_fd_read(fd, text.data, text.cap - 1, &text.len)) /* the last byte stays NUL */
        return kms_fail_errno(err, KMS_E_PRECONDITION, "read", errno, "%s", path);
    if (text.len == PEM_MAX - 1 || strstr((const char *)text.data, "-----BEGIN ") == NULL)
        return kms_fail(err, KMS_E_PRECONDITION, "%s is not a PEM file", path);
    return kms_secret_copy(ret_text, (struct kms_bytes){ text.data, text.len + 1 }, err);
}

enum kms_code kms_etcd_tls_read(const char *ca_path, const char *cert_path, const char *key_path,
                                struct kms_etcd_tls *ret_tls, struct kms_error *err)
{
    if ((cert_path == NULL) != (key_path == NULL))
        return kms_fail(err, KMS_E_INVALID, "--cert and --key go together");
    KMS_CLEANUP(kms_etcd_tls_done) struct kms_etcd_tls tls = { 0 };
    enum kms_code rc = read_pem(ca_path, &tls.ca, err);
    if (rc == KMS_OK)
        rc = read_pem(cert_path, &tls.cert, err);
    if (rc == KMS_OK)
        rc = read_pem(key_path, &tls.key, err);
    if (rc != KMS_OK)
        return rc;
    *ret_tls = (struct kms_etcd_tls){ .ca = kms_secret_take(&tls.ca),
                                      .cert = kms_secret_take(&tls.cert),
                                      .key = kms_secret_take(&tls.key) };
    return KMS_OK;
}

void kms_etcd_tls_done(struct kms_etcd_tls *tls)
{
    kms_secret_done(&tls->ca);
    kms_secret_done(&tls->cert);
    kms_secret_done(&tls->key);
}
