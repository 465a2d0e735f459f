/* SPDX-License-Identifier: Apache-2.0 */
#include "endpoint.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "kms/bytes.h"

#define DEFAULT_PORT ":2379"

/* One URL in a list. */
struct part {
    const char *text;
    size_t len;
};

static bool take_scheme(struct part *part, const char *scheme)
{
    size_t len = strlen(scheme);
    if (part->len < len || strncmp(part->text, scheme, len) != 0)
        return false;
    part->text += len;
    part->len -= len;
    return true;
}

/* HOST, [HOST], HOST:PORT or [HOST]:PORT: the bytes of HOST with its brackets; 0: none of them. */
static size_t host_len(struct part part)
{
    const char *end = part.text + part.len;
    const char *bracket = part.len > 0 && part.text[0] == '[' ? memchr(part.text, ']', part.len)
                                                              : NULL;
    const char *host_end = bracket != NULL ? bracket + 1 : memchr(part.text, ':', part.len);
    if (host_end == NULL)
        return part.len;
    if (host_end == end)
        return part.len;
    size_t digits = strspn(host_end + 1, "0123456789");
    bool port = *host_end == ':' && digits >= 1 && digits <= 5 && host_end + 1 + digits == end;
    return port ? (size_t)(host_end - part.text) : 0;
}

static bool is_loopback(const char *host, size_t len)
{
    char text[KMS_ETCD_ENDPOINT_MAX];
    struct in_addr address;
    snprintf(text, sizeof text, "%.*s", (int)len, host);
    if (strcmp(text, "localhost") == 0 || strcmp(text, "[::1]") == 0)
        return true;
    return inet_pton(AF_INET, text, &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

static enum kms_code parse_one(struct part part, struct kms_etcd_endpoint *ret_endpoint,
                               struct kms_error *err)
{
    static const char host_bytes[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        "-._:[]%";
    bool tls = take_scheme(&part, "https://");
    if (!tls && !take_scheme(&part, "http://"))
        return kms_fail(err, KMS_E_INVALID,
                        "an endpoint of etcd is https://HOST:PORT (http:// on loopback only)");
    if (part.len > 0 && part.text[part.len - 1] == '/')
        part.len--;
    size_t host = host_len(part);
    if (host == 0 || part.len + sizeof DEFAULT_PORT > sizeof ret_endpoint->target ||
        strspn(part.text, host_bytes) < part.len)
        return kms_fail(err, KMS_E_INVALID, "an endpoint of etcd is https://HOST:PORT");
    if (!tls && !is_loopback(part.text, host))
        return kms_fail(err, KMS_E_INVALID,
                        "http:// is for etcd on the loopback address only: use https:// for %.*s",
                        (int)host, part.text);
    ret_endpoint->tls = tls;
    snprintf(ret_endpoint->target, sizeof ret_endpoint->target, "%.*s%s", (int)part.len, part.text,
             host == part.len ? DEFAULT_PORT : "");
    return KMS_OK;
}

enum kms_code kms_etcd_endpoints_parse(
    const char *text, struct kms_etcd_endpoint ret_endpoints[static KMS_ETCD_ENDPOINTS_MAX],
    size_t *ret_count, struct kms_error *err)
{
    struct kms_etcd_endpoint endpoints[KMS_ETCD_ENDPOINTS_MAX];
    size_t count = 0;
    for (const char *at = text; at != NULL; count++) {
        if (count == KMS_ETCD_ENDPOINTS_MAX)
            return kms_fail(err, KMS_E_INVALID, "more than %d endpoints", KMS_ETCD_ENDPOINTS_MAX);
        const char *end = strchrnul(at, ',');
        enum kms_code rc = parse_one((struct part){ at, (size_t)(end - at) }, &endpoints[count],
                                     err);
        if (rc != KMS_OK)
            return rc;
        at = *end == ',' ? end + 1 : NULL;
    }
    memcpy(ret_endpoints, endpoints, count * sizeof *endpoints);
    *ret_count = count;
    return KMS_OK;
}
