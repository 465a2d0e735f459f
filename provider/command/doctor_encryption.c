/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of kube-apiserver's EncryptionConfiguration. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "doctor.h"
#include "doctor_apiserver.h"

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

static bool is_ours(const struct kms_doctor *doctor, const struct kms_encryption_provider *provider)
{
    const char *path = kms_doctor_endpoint_path(provider->endpoint);
    return provider->kind == KMS_ENCRYPTION_KMS && path != NULL &&
           kms_doctor_is_our_socket(doctor, path);
}

bool kms_doctor_next_provider(const struct kms_doctor *doctor, size_t *at,
                              struct kms_doctor_provider *ret_found)
{
    size_t index = 0;
    for (size_t i = 0; i < doctor->encryption.entry_count; i++) {
        const struct kms_encryption_entry *entry = &doctor->encryption.entries[i];
        for (size_t k = 0; k < entry->provider_count; k++) {
            const struct kms_encryption_provider *provider = &entry->providers[k];
            if (index++ < *at || provider->kind != KMS_ENCRYPTION_KMS)
                continue;
            *at = index;
            *ret_found = (struct kms_doctor_provider){ .entry = entry,
                                                       .provider = provider,
                                                       .ours = is_ours(doctor, provider) };
            (void)snprintf(ret_found->place, sizeof(ret_found->place),
                           "resources[%zu].providers[%zu]", i, k);
            return true;
        }
    }
    return false;
}

/* Looks at each provider with our endpoint; without one, at the first of kind kms. */
static void look_at_ours(const struct kms_doctor *doctor, struct kms_doctor_finding *finding,
                         void (*look)(const struct kms_doctor *doctor,
                                      const struct kms_doctor_provider *provider,
                                      struct kms_doctor_finding *finding))
{
    struct kms_doctor_provider found, first;
    size_t at = 0, ours = 0, all = 0;
    while (kms_doctor_next_provider(doctor, &at, &found)) {
        if (all++ == 0)
            first = found;
        if (found.ours && ++ours > 0)
            look(doctor, &found, finding);
    }
    if (all == 0)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "add a kms provider, as docs/deploy/encryption.yaml has it",
                       "the EncryptionConfiguration has no provider of kind kms");
    else if (ours == 0)
        look(doctor, &first, finding);
}

/* Without a manifest that says so, as it should be. */
static bool is_reloading(const struct kms_doctor *doctor)
{
    bool known = doctor->options.apiserver_manifest != NULL &&
                 doctor->apiserver_fault.code == KMS_OK;
    return !known || kms_doctor_is_reloading(&doctor->apiserver);
}

static void check_parses(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    static const char fix[] =
        "mend it; kube-apiserver doesn't start with it, or keeps the old file";
    const char *file = doctor->options.encryption_config;
    struct kms_error err = { 0 };
    if (file == NULL)
        kms_doctor_say(finding, KMS_DOCTOR_WARN,
                       "give kube-apiserver's file by --encryption-config FILE",
                       "not looked at: it wasn't given");
    else if (doctor->encryption_fault.code != KMS_OK)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix, "%s", doctor->encryption_fault.msg);
    else if (kms_encryption_check(&doctor->encryption, is_reloading(doctor), &err) != KMS_OK)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix, "%.200s: %s", file, err.msg);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%s parses, and keeps kube-apiserver's rules",
                       file);
}

static void look_at_version(const struct kms_doctor *doctor,
                            const struct kms_doctor_provider *found,
                            struct kms_doctor_finding *finding)
{
    const struct kms_encryption_provider *provider = found->provider;
    (void)doctor;
    if (strcmp(provider->api_version, "v2") != 0)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "write apiVersion: v2 under kms: (without it kube-apiserver takes v1)",
                       "%s: '%.100s' has apiVersion %s, which the plugin doesn't speak, and "
                       "kube-apiserver refuses since 1.29 unless it is switched on",
                       found->place, provider->name, provider->api_version);
    else if (provider->has_cachesize)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "remove cachesize",
                       "%s: '%.100s' has a cachesize, which v2 forbids", found->place,
                       provider->name);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "v2");
}

static void check_api_version(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    look_at_ours(doctor, finding, look_at_version);
}

static void look_at_endpoint(const struct kms_doctor *doctor,
                             const struct kms_doctor_provider *found,
                             struct kms_doctor_finding *finding)
{
    const char *endpoint = found->provider->endpoint, *path = kms_doctor_endpoint_path(endpoint);
    char fix[KMS_DOCTOR_FIX_MAX];
    (void)snprintf(fix, sizeof(fix), "endpoint: unix://%s", doctor->config.socket.path);
    if (found->ours)
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%s is our socket", endpoint);
    else if (path == NULL)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix, "'%s' is no path of a Unix socket", endpoint);
    else
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix, "'%s' leads to %s; the plugin listens on %s",
                       endpoint, path, doctor->config.socket.path);
}

static void check_endpoint(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    look_at_ours(doctor, finding, look_at_endpoint);
}

/* --- who writes --- */

enum { WRITER_MAX = 400 };
static void name_writer(const struct kms_encryption_provider *writer, char ret_name[WRITER_MAX])
{
    static const char *const names[] = { [KMS_ENCRYPTION_IDENTITY] = "identity (plaintext)",
                                         [KMS_ENCRYPTION_LOCAL] = "a key that lies in the file" };
    if (writer->kind == KMS_ENCRYPTION_KMS)
        (void)snprintf(ret_name, WRITER_MAX, "kms '%.100s' (%.200s)", writer->name,
                       writer->endpoint);
    else
        (void)snprintf(ret_name, WRITER_MAX, "%s", names[writer->kind]);
}

/* Says @status if the first entry that has @resource isn't written by us, or if none has it. */
static void look_at_resource(const struct kms_doctor *doctor, const char *resource,
                             enum kms_doctor_status status, struct kms_doctor_finding *finding)
{
    char writer[WRITER_MAX];
    const struct kms_encryption_entry *entry = kms_encryption_find(&doctor->encryption, resource);
    if (entry == NULL) {
        kms_doctor_say(finding, status,
                       "list it in the entry of our provider, or write \"*.*\" there",
                       "no entry has %s: they stand in etcd in plaintext", resource);
        return;
    }
    name_writer(&entry->providers[0], writer);
    if (!is_ours(doctor, &entry->providers[0]))
        kms_doctor_say(finding, status, "put our provider first in that entry",
                       "resources[%zu] has %s, and there %s writes, not our provider",
                       (size_t)(entry - doctor->encryption.entries), resource, writer);
}

static void look_at_first(const struct kms_doctor *doctor, const struct kms_doctor_provider *found,
                          struct kms_doctor_finding *finding)
{
    (void)doctor;
    if (found->ours)
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "provider '%.100s' is first: it writes",
                       found->provider->name);
    else
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "see the check 'encryption-endpoint'",
                       "%s: '%.100s' isn't ours, nor is any other", found->place,
                       found->provider->name);
}

static void check_order(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    struct kms_doctor_provider found;
    char writer[WRITER_MAX];
    for (size_t at = 0; kms_doctor_next_provider(doctor, &at, &found);) {
        if (!found.ours || is_ours(doctor, &found.entry->providers[0]))
            continue;
        name_writer(&found.entry->providers[0], writer);
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "move it to the front, once every API server has it as a reader",
                       "%s: '%.100s' isn't the first of its list: it reads, %s writes", found.place,
                       found.provider->name, writer);
    }
    if (kms_encryption_find(&doctor->encryption, "secrets") != NULL)
        look_at_resource(doctor, "secrets", KMS_DOCTOR_FAIL, finding);
    look_at_ours(doctor, finding, look_at_first);
}

static void check_identity(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    for (size_t i = 0; i < doctor->encryption.entry_count; i++) {
        const struct kms_encryption_entry *entry = &doctor->encryption.entries[i];
        for (size_t k = 0; k + 1 < entry->provider_count; k++) {
            if (entry->providers[k].kind == KMS_ENCRYPTION_IDENTITY)
                kms_doctor_say(
                    finding, KMS_DOCTOR_FAIL,
                    "put identity last, and take it away once nothing is in plaintext",
                    "resources[%zu] ('%.100s'): identity stands before another provider: "
                    "%s",
                    i, entry->resources[0],
                    k == 0 ? "new values are stored in plaintext"
                           : "what follows it is never asked");
        }
        if (entry->provider_count == 1 && entry->providers[0].kind == KMS_ENCRYPTION_IDENTITY)
            kms_doctor_say(finding, KMS_DOCTOR_WARN, "leave it so only if you mean it",
                           "resources[%zu]: '%.100s' is stored in plaintext", i,
                           entry->resources[0]);
    }
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "identity is last, or gone");
}

static void check_resources(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    look_at_resource(doctor, "secrets", KMS_DOCTOR_FAIL, finding);
    look_at_resource(doctor, "configmaps", KMS_DOCTOR_WARN, finding);
    if (finding->reason[0] != '\0')
        return;
    const struct kms_encryption_entry *entry = kms_encryption_find(&doctor->encryption, "secrets");
    kms_doctor_say(finding, KMS_DOCTOR_OK, "",
                   "our provider writes secrets and configmaps, by an entry for '%.100s'%s",
                   entry->resources[0], entry->resource_count > 1 ? " and more" : "");
}

static size_t count_name(const struct kms_doctor *doctor, const char *name)
{
    struct kms_doctor_provider found;
    size_t count = 0;
    for (size_t at = 0; kms_doctor_next_provider(doctor, &at, &found);)
        count += strcmp(found.provider->name, name) == 0 ? 1 : 0;
    return count;
}

static void look_at_name(const struct kms_doctor *doctor, const struct kms_doctor_provider *found,
                         struct kms_doctor_finding *finding)
{
    const char *name = found->provider->name;
    if (name[0] == '\0' || strchr(name, ':') != NULL)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "give it a name without a colon, and never change that again",
                       "%s: '%.100s' can't be a provider's name", found->place, name);
    else if (count_name(doctor, name) > 1)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL,
                       "put all resources under one entry, or give each provider its own name",
                       "%s: several providers are named '%.100s'", found->place, name);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "'%.100s', part of every stored value", name);
}

static void check_name(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    look_at_ours(doctor, finding, look_at_name);
}

static void look_at_timeout(const struct kms_doctor *doctor,
                            const struct kms_doctor_provider *found,
                            struct kms_doctor_finding *finding)
{
    enum { LEAST_MS = 1000, MOST_MS = 10000 };
    static const char fix[] = "timeout: 3s";
    int64_t timeout_ms = found->provider->timeout_ms;
    (void)doctor;
    if (timeout_ms <= 0)
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, fix, "%s: the timeout isn't a duration above zero",
                       found->place);
    else if (timeout_ms < LEAST_MS)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, fix,
                       "%s: %" PRId64 " ms are short for an HSM that has several calls to do",
                       found->place, timeout_ms);
    else if (timeout_ms > MOST_MS)
        kms_doctor_say(finding, KMS_DOCTOR_WARN, fix,
                       "%s: every call waits %" PRId64 " ms while the plugin is away", found->place,
                       timeout_ms);
    else
        kms_doctor_say(finding, KMS_DOCTOR_OK, "", "%" PRId64 " ms", timeout_ms);
}

static void check_timeout(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    look_at_ours(doctor, finding, look_at_timeout);
}

enum { ENCRYPTION = KMS_DOCTOR_CONFIG | KMS_DOCTOR_ENCRYPTION };
const struct kms_doctor_check kms_doctor_encryption_checks[] = {
    { "encryption-config",
      "the EncryptionConfiguration parses, and keeps kube-apiserver's rules for resources, "
      "providers "
      "and keys",
      0, check_parses },
    { "encryption-version", "`apiVersion: v2`, and no cachesize, wherever our provider stands",
      ENCRYPTION, check_api_version },
    { "encryption-endpoint", "the endpoint is our socket", ENCRYPTION, check_endpoint },
    { "encryption-order", "our provider is first wherever it stands, and for Secrets in any case",
      ENCRYPTION, check_order },
    { "encryption-identity", "identity is last, or gone", ENCRYPTION, check_identity },
    { "encryption-resources", "Secrets (and ConfigMaps) are written by our provider", ENCRYPTION,
      check_resources },
    { "encryption-name", "the provider's name: not empty, no colon, unique", ENCRYPTION,
      check_name },
    { "encryption-timeout", "above zero; 1 s to 10 s", ENCRYPTION, check_timeout },
    { NULL, NULL, 0, NULL },
};
