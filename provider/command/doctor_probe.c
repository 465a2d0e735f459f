/* SPDX-License-Identifier: Apache-2.0 */
/* Whether kubelet restarts kube-apiserver while the HSM is away. */
#include <stdio.h>
#include <string.h>

#include "doctor_apiserver.h"

enum verdict { QUIET, ASKS, UNKNOWN };

/* @query: "a=b&c=d" up to the end or "#".  "%" and ";" are left to Go. */
static enum verdict judge_query(const char *query)
{
    static const char excluded[] = "exclude=kms-providers";
    size_t end = strcspn(query, "#"), foreign = strcspn(query, "%;");
    for (size_t at = 0; at < end;) {
        size_t len = strcspn(query + at, "&#");
        if (len == sizeof(excluded) - 1 && strncmp(query + at, excluded, len) == 0)
            return QUIET;
        at += len + 1;
    }
    return foreign < end ? UNKNOWN : ASKS;
}

/* kube-apiserver's /livez never asks KMS providers; /healthz and /readyz do unless they are excluded;
 * /healthz/NAME asks for one check alone.  Of a path without a slash kubelet adds that. */
static enum verdict judge_path(const char *path)
{
    static const char check[] = "/kms-provider";
    if (path[0] == '/')
        path++;
    size_t len = strcspn(path, "?#"), first = strcspn(path, "/?#");
    const char *rest = path + first;
    bool alone = first < len && rest[1] != '?' && rest[1] != '#' && rest[1] != '\0';
    bool one_of_kms = strncmp(rest, check, sizeof(check) - 1) == 0;
    bool lives = first == 5 && strncmp(path, "livez", first) == 0;
    bool asking = (first == 7 && strncmp(path, "healthz", first) == 0) ||
                  (first == 6 && strncmp(path, "readyz", first) == 0);
    if (memchr(path, '%', len) != NULL || (lives && one_of_kms))
        return UNKNOWN;
    if (lives || (asking && alone && !one_of_kms))
        return QUIET;
    if (asking && alone)
        return ASKS;
    if (asking)
        return judge_query(path[len] == '?' ? path + len + 1 : "");
    return UNKNOWN;
}

/* A command may do anything: what it names is all that is seen. */
static enum verdict judge_words(const char *words)
{
    bool asking = strstr(words, "/healthz") != NULL || strstr(words, "/readyz") != NULL;
    if (asking && strstr(words, "exclude=") == NULL)
        return ASKS;
    return !asking && strstr(words, "/livez") != NULL ? QUIET : UNKNOWN;
}

static enum verdict judge(const struct kms_probe *probe)
{
    switch (probe->kind) {
    case KMS_PROBE_HTTP:
        return judge_path(probe->text);
    case KMS_PROBE_EXEC:
        return judge_words(probe->text);
    case KMS_PROBE_NONE:
    case KMS_PROBE_OTHER:
        break;
    }
    return QUIET;
}

static void look_at_probe(const char *name, const struct kms_probe *probe, const char *outcome,
                          struct kms_doctor_finding *finding)
{
    switch (judge(probe)) {
    case ASKS:
        kms_doctor_say(finding, KMS_DOCTOR_FAIL, "path: /livez, or add ?exclude=kms-providers",
                       "the %s probe asks %.200s: %s", name, probe->text, outcome);
        return;
    case UNKNOWN:
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "httpGet with path: /livez",
                       "unknown: whether the %s probe asks KMS providers can't be judged: %.200s",
                       name, probe->text);
        return;
    case QUIET:
        break;
    }
}

void kms_doctor_check_liveness(const struct kms_doctor *doctor, struct kms_doctor_finding *finding)
{
    const struct kms_apiserver *apiserver = &doctor->apiserver;
    if (apiserver->source == KMS_APISERVER_PROCESS) {
        kms_doctor_say(finding, KMS_DOCTOR_WARN, "see how the process is watched and restarted",
                       "not looked at: a command line has no probes");
        return;
    }
    look_at_probe("liveness", &apiserver->liveness,
                  "while the HSM is away kube-apiserver is restarted, and loses the seeds that it "
                  "had",
                  finding);
    look_at_probe("startup", &apiserver->startup,
                  "without the HSM kube-apiserver is restarted over and over", finding);
    kms_doctor_say(finding, KMS_DOCTOR_OK, "", "no probe restarts kube-apiserver for KMS%s%.100s",
                   apiserver->liveness.text[0] != '\0' ? ": " : "", apiserver->liveness.text);
}
