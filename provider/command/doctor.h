/* SPDX-License-Identifier: Apache-2.0 */
/* `hsm-kms doctor`: named checks over facts that were gathered before.  A check reads the facts, and
 * files below the host's root; it changes nothing and needs no token, so that tests can give it any
 * facts. */
#ifndef KMS_DOCTOR_H
#define KMS_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cluster/apiserver.h"
#include "cluster/encryption.h"
#include "cluster/kubeadm.h"
#include "config.h"
#include "kms/error.h"
#include "kms/keystore.h"
#include "node_view.h"
#include "pin_check.h"
#include "presence.h"
#include "ring.h"
#include "state.h"
#include "survey.h"

enum { KMS_DOCTOR_REASON_MAX = 640, KMS_DOCTOR_FIX_MAX = 400, KMS_DOCTOR_LABEL_MAX = 256 };

/* What the command line says. Borrowed. */
struct kms_doctor_options {
    const char *config_path;
    const char *host_root;          /* where the host's file system is mounted; "": it is ours */
    const char *encryption_config;  /* NULL: not given */
    const char *apiserver_manifest; /* NULL: not given */
    const char *kubeadm_config;     /* NULL: not given */
    const char *etcd_data_dir;      /* NULL: looked for */
    const char *unit;               /* the plugin's systemd unit */
    int64_t max_age_ms;             /* 0: as policy.max_age says */
    bool json;
};

/* What is known of one token. */
struct kms_doctor_token {
    const char *name; /* borrowed from the configuration */
    bool limited;     /* by the configuration its login is a crypto user's, who only uses keys */
    struct pkcs11_presence presence;
    char missing[256];             /* libraries that the module lacks; "": none known */
    struct kms_error pin_fault;    /* code not KMS_OK: the PIN couldn't be tried */
    struct pkcs11_pin_trial trial; /* one attempt at most */
    struct kms_error survey_fault; /* code KMS_OK: @survey is known */
    struct pkcs11_survey survey;
    struct kms_error list_fault; /* code KMS_OK: @inventory, @snapshot and the counts are known */
    struct kms_inventory inventory; /* owned */
    struct kms_snapshot *snapshot;  /* owned: this token's KEKs, judged */
    size_t inspected;               /* KEKs, and how many of them may be … */
    size_t modifiable, destroyable;
};

/* SELinux on the host. */
struct kms_doctor_selinux {
    bool present, enforcing;
    char label[KMS_DOCTOR_LABEL_MAX]; /* of the socket's directory; "": none */
};

/* What the running plugin says of its audit log. */
struct kms_doctor_audit {
    bool told; /* by a plugin that answered, and is no older one */
    bool configured, writable;
    char reason[256]; /* why it isn't writable */
    uint64_t lost;    /* lines since its start */
};

/* All facts.  Zeroed before; kms_doctor_done(). */
struct kms_doctor {
    struct kms_doctor_options options;
    struct kms_config config;
    struct kms_error config_fault; /* code KMS_OK: @config is known */
    uid_t service_uid;             /* who runs the plugin: the owner of state_dir */
    gid_t service_gid;
    gid_t socket_gid; /* of socket.group, or the service's own */
    bool socket_gid_known;
    struct kms_doctor_selinux selinux;
    bool clock_is_synchronised;
    int64_t now_utc_s;

    struct kms_encryption encryption;
    struct kms_error encryption_fault;
    struct kms_apiserver apiserver;
    struct kms_error apiserver_fault;
    struct kms_apiserver kubeadm; /* as kubeadm would start it */
    struct kms_error kubeadm_fault;

    struct kms_doctor_token tokens[KMS_TOKENS_MAX];
    size_t token_count;
    struct kms_vouched vouched;
    struct kms_state state;
    bool state_is_new;
    struct kms_error state_fault;
    size_t without_backup; /* KEKs that serve and have no record of a backup */
    uint32_t first_without_backup;
    struct kms_error backups_fault;
    struct kms_node node; /* reached: it answered */
    struct kms_error node_fault;
    struct kms_doctor_audit audit;
};
void kms_doctor_done(struct kms_doctor *doctor);

enum kms_doctor_status { KMS_DOCTOR_OK, KMS_DOCTOR_WARN, KMS_DOCTOR_FAIL };
/* "ok", "warn", "FAIL". */
const char *kms_doctor_status_name(enum kms_doctor_status status);

struct kms_doctor_finding {
    enum kms_doctor_status status;
    char reason[KMS_DOCTOR_REASON_MAX];
    char fix[KMS_DOCTOR_FIX_MAX]; /* "" if ok */
};
/* Says something in @finding, which starts as zeros; of several the worst stays, the first of equals.
 * @fix is "" with KMS_DOCTOR_OK. */
void kms_doctor_say(struct kms_doctor_finding *finding, enum kms_doctor_status status,
                    const char *fix, const char *fmt, ...) KMS_PRINTF(4, 5);

/* Without these a check can't be made: then it warns. */
enum kms_doctor_need {
    KMS_DOCTOR_CONFIG = 1U << 0,
    KMS_DOCTOR_TOKEN = 1U << 1,      /* at least one is there, each with its library */
    KMS_DOCTOR_LISTING = 1U << 2,    /* at least one token's KEKs */
    KMS_DOCTOR_ENCRYPTION = 1U << 3, /* an EncryptionConfiguration that parses */
    KMS_DOCTOR_APISERVER = 1U << 4,  /* a manifest or flags that parse */
};

struct kms_doctor_check {
    const char *name;
    const char *asks; /* what is looked at, for the manual */
    uint32_t needs;   /* enum kms_doctor_need */
    void (*run)(const struct kms_doctor *doctor, struct kms_doctor_finding *finding);
};
/* Runs @check, or warns that it can't be made. */
void kms_doctor_run(const struct kms_doctor_check *check, const struct kms_doctor *doctor,
                    struct kms_doctor_finding *ret_finding);

/* Groups; each ends with a NULL name. */
extern const struct kms_doctor_check kms_doctor_token_checks[];
extern const struct kms_doctor_check kms_doctor_kek_checks[];
extern const struct kms_doctor_check kms_doctor_ring_checks[];
extern const struct kms_doctor_check kms_doctor_audit_checks[];
extern const struct kms_doctor_check kms_doctor_host_checks[];
extern const struct kms_doctor_check kms_doctor_encryption_checks[];
extern const struct kms_doctor_check kms_doctor_apiserver_checks[];
extern const struct kms_doctor_check kms_doctor_kubeadm_checks[];

/* Gathering, in this order: the first may need root, the second gives that up, see account.h.  Both
 * remember what fails. */
void kms_doctor_look_at_host(struct kms_doctor *doctor);
KMS_MUST_CHECK enum kms_code kms_doctor_look_at_token(struct kms_doctor *doctor,
                                                      struct kms_error *err);

/* @path below the host's root. */
enum { KMS_DOCTOR_PATH_MAX = 4096 };
void kms_doctor_host_path(const struct kms_doctor *doctor, const char *path,
                          char ret_path[static KMS_DOCTOR_PATH_MAX]);
/* The directory that @path is in. */
void kms_doctor_parent(const char *path, char ret_dir[static KMS_DOCTOR_PATH_MAX]);

/* A provider of kind kms.  Borrowed. */
struct kms_doctor_provider {
    const struct kms_encryption_entry *entry; /* that has it */
    const struct kms_encryption_provider *provider;
    bool ours;      /* it has our endpoint */
    char place[64]; /* "resources[0].providers[1]" */
};
/* The next one; *at is where the last was found, 0 at first.  False: there are no more. */
KMS_MUST_CHECK bool kms_doctor_next_provider(const struct kms_doctor *doctor, size_t *at,
                                             struct kms_doctor_provider *ret_found);
/* By name, or in the same directory of the host: /var/run is a link to /run.  @path is absolute. */
bool kms_doctor_is_our_socket(const struct kms_doctor *doctor, const char *path);
/* The path of a Unix endpoint as Go's URL parser sees it; NULL if @endpoint isn't one. */
const char *kms_doctor_endpoint_path(const char *endpoint);

#endif
