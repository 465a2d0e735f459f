/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of kube-apiserver's EncryptionConfiguration. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "doctor.h"

const char *kms_doctor_endpoint_path(const char *endpoint)
{
    static const char scheme[] = "unix:";
    if (strncmp(endpoint, scheme, sizeof(scheme) - 1) != 0)
        return NULL;
    const char *rest = endpoint + sizeof(scheme) - 1;
    if (strncmp(rest, "//", 2) == 0) /* up to the next slash it is a host, which is passed over */
        rest = strchr(rest + 2, '/');
    return rest != NULL && rest[0] == '/' ? rest : NULL;
}

bool kms_doctor_is_our_socket(const struct kms_doctor *doctor, const char *path)
{
    char dir[KMS_DOCTOR_PATH_MAX], ours_dir[KMS_DOCTOR_PATH_MAX], host[KMS_DOCTOR_PATH_MAX];
    const char *ours = doctor->config.socket.path;
    const char *name = strrchr(path, '/'), *ours_name = strrchr(ours, '/');
    struct stat a, b;
    if (strcmp(path, ours) == 0)
        return true;
    if (ours_name == NULL || strcmp(name, ours_name) != 0)
        return false;
    kms_doctor_parent(path, dir);
    kms_doctor_parent(ours, ours_dir);
    kms_doctor_host_path(doctor, dir, host);
    return stat(host, &a) == 0 && stat(ours_dir, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

const struct kms_encryption_provider *kms_doctor_provider(
    const struct kms_doctor *doctor, const struct kms_encryption_entry **ret_entry, bool *ret_ours)
{
    const struct kms_encryption_provider *first = NULL;
    for (size_t i = 0; i < doctor->encryption.entry_count; i++) {
        const struct kms_encryption_entry *entry = &doctor->encryption.entries[i];
        for (size_t k = 0; k < entry->provider_count; k++) {
            const struct kms_encryption_provider *provider = &entry->providers[k];
            if (provider->kind != KMS_ENCRYPTION_KMS)
                continue;
            const char *path = kms_doctor_endpoint_path(provider->endpoint);
            *ret_ours = path != NULL && kms_doctor_is_our_socket(doctor, path);
            if (first == NULL || *ret_ours)
                *ret_entry = entry;
            if (*ret_ours)
                return provider;
            first = first != NULL ? first : provider;
        }
    }
    *ret_ours = false;
    return first;
}

/* NULL after @finding says that there is none. */
static const struct kms_encryption_provider *need_provider(
    const struct kms_doctor *doctor, struct kms_doctor_finding *finding,
    const struct kms_encryption_entry **ret_entry)
{
    bool ours = false;
    const struct kms_encryption_provider *provider = kms_doctor_provider(doctor, ret_entry, &ours);
    if (provider == NULL)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "add a kms provider, as docs/deploy/encryption.yaml has it",
                       "the EncryptionConfiguration has no provider of kind kms");
    return provider;
}

static void check_parses(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    if (doctor->options.encryption_config == NULL)
        kms_doctor_say(finding, KMS_DOCTOR_WARN,
                       "give kube-apiserver's file by --encryption-config FILE",
                       "not looked at: it wasn't given");
    else if (doctor->encryption_fault.code != KMS_OK)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "mend the line; kube-apiserver doesn't start with it, or keeps the old file",
                       "%s", doctor->encryption_fault.msg);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%s parses", doctor->options.encryption_config);
}

static void check_api_version(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const struct kms_encryption_entry *entry = NULL;
    const struct kms_encryption_provider *provider = need_provider(doctor, finding, &entry);
    if (provider == NULL)
        return;
    if (strcmp(provider->api_version, "v2") != 0)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "write apiVersion: v2 under kms: (without it kube-apiserver takes v1)",
                       "provider '%.100s' has apiVersion %s", provider->name,
                       provider->api_version);
    else if (provider->has_cachesize)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "remove cachesize",
                       "provider '%.100s' has a cachesize, which v2 forbids", provider->name);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "v2");
}

static void check_endpoint(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    bool ours = false;
    const struct kms_encryption_entry *entry = NULL;
    const struct kms_encryption_provider *provider = need_provider(doctor, finding, &entry);
    if (provider == NULL)
        return;
    char fix[KMS_DOCTOR_FIX_MAX];
    (void)kms_doctor_provider(doctor, &entry, &ours);
    const char *path = kms_doctor_endpoint_path(provider->endpoint);
    (void)snprintf(fix, sizeof(fix), "endpoint: unix://%s", doctor->config.socket.path);
    if (ours)
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%s is our socket", provider->endpoint);
    else if (path == NULL)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix, "'%s' is no path of a Unix socket",
                       provider->endpoint);
    else
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix, "'%s' leads to %s; the plugin listens on %s",
                       provider->endpoint, path, doctor->config.socket.path);
}

static void check_order(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const struct kms_encryption_entry *entry = NULL;
    const struct kms_encryption_provider *provider = need_provider(doctor, finding, &entry);
    if (provider == NULL)
        return;
    if (provider == &entry->providers[0])
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "provider '%.100s' is first: it writes",
                       provider->name);
    else
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "move it to the front, once every API server has it as a reader",
                       "provider '%.100s' isn't the first of its list: it reads, another writes",
                       provider->name);
}

static void check_identity(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    for (size_t i = 0; i < doctor->encryption.entry_count; i++) {
        const struct kms_encryption_entry *entry = &doctor->encryption.entries[i];
        for (size_t k = 0; k + 1 < entry->provider_count; k++) {
            if (entry->providers[k].kind == KMS_ENCRYPTION_IDENTITY)
                kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                               "put identity last, and take it away once nothing is in plaintext",
                               "identity stands before another provider for '%.100s': %s",
                               entry->resources[0],
                               k == 0 ? "new values are stored in plaintext"
                                      : "what follows it is never asked");
        }
        if (entry->provider_count == 1 && entry->providers[0].kind == KMS_ENCRYPTION_IDENTITY)
            kms_doctor_say(finding, KMS_DOCTOR_WARN, "leave it so only if you mean it",
                           "'%.100s' is stored in plaintext", entry->resources[0]);
    }
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "identity is last, or gone");
}

static void check_resources(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    static const char *const wanted[] = { "secrets", "configmaps" };
    const struct kms_encryption_entry *ours = NULL;
    if (need_provider(doctor, finding, &ours) == NULL)
        return;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        const struct kms_encryption_entry *entry = kms_encryption_find(&doctor->encryption,
                                                                       wanted[i]);
        bool covered = entry != NULL && entry->providers[0].kind == KMS_ENCRYPTION_KMS;
        if (!covered)
            kms_doctor_say(finding, i == 0 ? KMS_DOCTOR_FAIL : KMS_DOCTOR_WARN,
                           "list it in the entry of our provider, or write \"*.*\" there",
                           "no kms provider writes %s", wanted[i]);
    }
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "secrets and configmaps, by an entry for '%.100s'%s",
                   ours->resources[0], ours->resource_count > 1 ? " and more" : "");
}

static size_t count_name(const struct kms_doctor *doctor, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < doctor->encryption.entry_count; i++) {
        const struct kms_encryption_entry *entry = &doctor->encryption.entries[i];
        for (size_t k = 0; k < entry->provider_count; k++)
            count += entry->providers[k].kind == KMS_ENCRYPTION_KMS &&
                             strcmp(entry->providers[k].name, name) == 0
                         ? 1
                         : 0;
    }
    return count;
}

static void check_name(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const struct kms_encryption_entry *entry = NULL;
    const struct kms_encryption_provider *provider = need_provider(doctor, finding, &entry);
    if (provider == NULL)
        return;
    if (provider->name[0] == '\0' || strchr(provider->name, ':') != NULL)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "give it a name without a colon, and never change that again",
                       "'%.100s' can't be a provider's name", provider->name);
    else if (count_name(doctor, provider->name) > 1)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "put all resources under one entry, or give each provider its own name",
                       "several providers are named '%.100s'", provider->name);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "'%.100s', part of every stored value",
                       provider->name);
}

static void check_timeout(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    enum { LEAST_MS = 1000, MOST_MS = 10000 };
    const struct kms_encryption_entry *entry = NULL;
    const struct kms_encryption_provider *provider = need_provider(doctor, finding, &entry);
    if (provider == NULL)
        return;
    if (provider->timeout_ms <= 0)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "timeout: 3s",
                       "the timeout isn't a duration above zero");
    else if (provider->timeout_ms < LEAST_MS)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "timeout: 3s",
                       "%" PRId64 " ms are short for an HSM that has several calls to do",
                       provider->timeout_ms);
    else if (provider->timeout_ms > MOST_MS)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "timeout: 3s",
                       "every call waits %" PRId64 " ms while the plugin is away",
                       provider->timeout_ms);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%" PRId64 " ms", provider->timeout_ms);
}

enum { ENCRYPTION = KMS_DOCTOR_CONFIG | KMS_DOCTOR_ENCRYPTION };
const struct kms_doctor_check kms_doctor_encryption_checks[] = {
    { "encryption-config",
      "the EncryptionConfiguration parses as strictly as kube-apiserver reads it", 0,
      check_parses },
    { "encryption-version", "`apiVersion: v2`, and no cachesize", ENCRYPTION, check_api_version },
    { "encryption-endpoint", "the endpoint is our socket", ENCRYPTION, check_endpoint },
    { "encryption-order", "our provider is first", ENCRYPTION, check_order },
    { "encryption-identity", "identity is last, or gone", ENCRYPTION, check_identity },
    { "encryption-resources", "Secrets (and ConfigMaps) are written by a kms provider", ENCRYPTION,
      check_resources },
    { "encryption-name", "the provider's name: not empty, no colon, unique", ENCRYPTION,
      check_name },
    { "encryption-timeout", "above zero; 1 s to 10 s", ENCRYPTION, check_timeout },
    { NULL, NULL, 0, NULL },
};
