/* SPDX-License-Identifier: Apache-2.0 */
/* How kube-apiserver is started: flags, mounts, user, probes. */
#ifndef KMS_APISERVER_H
#define KMS_APISERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "kms/bytes.h"
#include "kms/error.h"

enum {
    KMS_APISERVER_ARGS_MAX = 512,
    KMS_APISERVER_MOUNTS_MAX = 128,
    KMS_APISERVER_GROUPS_MAX = 64,
    KMS_APISERVER_PATH_MAX = 1023, /* bytes */
};

struct kms_apiserver_mount {
    char inside[KMS_APISERVER_PATH_MAX + 1];
    char host[KMS_APISERVER_PATH_MAX + 1]; /* "": not of the host */
    char type[24];                         /* of the hostPath; "": any */
    bool sub_path;                         /* @host has it at its end */
    bool sub_path_expr;                    /* @host lacks it: only kubelet knows what it comes to */
};

enum kms_probe_kind {
    KMS_PROBE_NONE,
    KMS_PROBE_HTTP,
    KMS_PROBE_EXEC,
    KMS_PROBE_OTHER, /* asks no URL: tcpSocket, grpc */
};
struct kms_probe {
    enum kms_probe_kind kind;
    char text[KMS_APISERVER_PATH_MAX + 1]; /* path of HTTP; words of EXEC, as many as fit */
};

enum kms_apiserver_source {
    KMS_APISERVER_K3S, /* sees the host's files where they are */
    KMS_APISERVER_POD,
    KMS_APISERVER_PROCESS, /* a command line: what files it sees isn't said */
};

struct kms_apiserver {
    enum kms_apiserver_source source;
    char root[KMS_APISERVER_PATH_MAX + 1]; /* of a process: what it sees as "/"; "": not known */
    char **args;                           /* owned */
    size_t arg_count;
    struct kms_apiserver_mount *mounts; /* owned; of a Pod only */
    size_t mount_count;
    uid_t uid;
    gid_t gid;
    gid_t groups[KMS_APISERVER_GROUPS_MAX]; /* supplementary */
    size_t group_count;
    struct kms_probe liveness, startup; /* of a Pod only */
};

/* Reads @text, which is the manifest of kube-apiserver's Pod, the config.yaml of k3s (its
 * kube-apiserver-arg), or a command line with NULs between the words, of a process that @uid and
 * @gid have: kube-apiserver, hyperkube, or k3s server with --kube-apiserver-arg.  Messages call it
 * @file.  KMS_E_INVALID: none of these; KMS_E_BUSY: no memory.  kms_apiserver_done(). */
KMS_MUST_CHECK enum kms_code kms_apiserver_parse(const char *file, struct kms_bytes text, uid_t uid,
                                                 gid_t gid, struct kms_apiserver *ret_apiserver,
                                                 struct kms_error *err);
/* The same of the file @path and its owner; of /proc/PID/cmdline the root, too.  KMS_E_PRECONDITION: it
 * can't be read. */
KMS_MUST_CHECK enum kms_code kms_apiserver_load(const char *path,
                                                struct kms_apiserver *ret_apiserver,
                                                struct kms_error *err);
void kms_apiserver_done(struct kms_apiserver *apiserver);

/* The value of --@name, the last if it is given several times; "true" where it stands alone; NULL if
 * it isn't given.  As for kube-apiserver, "_" in an argument is a "-".  Borrowed. */
const char *kms_apiserver_flag(const struct kms_apiserver *apiserver, const char *name);
/* Each value in turn, of a flag that may be given several times; *at is where the last was found, 0 at
 * first. */
const char *kms_apiserver_next_flag(const struct kms_apiserver *apiserver, const char *name,
                                    size_t *at);

/* The mount that @path (absolute) is under, the innermost; NULL if none.  Borrowed. */
const struct kms_apiserver_mount *kms_apiserver_mount_of(const struct kms_apiserver *apiserver,
                                                         const char *path);

/* True if @path is @dir or below it. */
bool kms_path_is_below(const char *path, const char *dir);

#endif
