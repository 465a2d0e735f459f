/* SPDX-License-Identifier: Apache-2.0 */
/* `hsm-kms token-host`: the child of `serve` that has the PKCS#11 library. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "command.h"
#include "harden.h"
#include "host.h"
#include "host_process.h"
#include "keystore.h"
#include "kms/log.h"
#include "kms/secret.h"

enum {
    GRACE_MS = 3000, /* for calls in flight when the parent has closed a lane */
    FLUSH_MS = 1000, /* for the log's last lines, if nobody reads them */
    GIVE_UP_S = 5,   /* after the parent's end: a library that never returns can't be waited for */
};

enum {
    MODULE = 256,
    URI,
    PIN_FILE,
    USER,
    USER_TYPE,
    PROFILE,
    SESSIONS,
    LATCH_DIR,
    LOG_FORMAT,
    LOG_LEVEL,
    LANES,
    PARENT
};
static const struct argp_option argp_options[] = {
    { "module", MODULE, "MODULE", 0, "as tokens[].module", 0 },
    { "uri", URI, "URI", 0, "as tokens[].uri", 0 },
    { "pin-file", PIN_FILE, "FILE", 0, "as tokens[].pin_file", 0 },
    { "user", USER, "USER", 0, "as tokens[].user", 0 },
    { "user-type", USER_TYPE, "TYPE", 0, "as tokens[].user_type", 0 },
    { "profile", PROFILE, "PROFILE", 0, "as profile", 0 },
    { "sessions", SESSIONS, "N", 0, "as tokens[].sessions", 0 },
    { "latch-dir", LATCH_DIR, "DIR", 0, "where a refused PIN is remembered", 0 },
    { "log-format", LOG_FORMAT, "text|json", 0, "as log.format", 0 },
    { "log-level", LOG_LEVEL, "LEVEL", 0, "as log.level", 0 },
    { "lanes", LANES, "N", 0, "sockets from descriptor 3 on", 0 },
    { "parent", PARENT, "PID", 0, "who must be alive", 0 },
    { 0 },
};

struct options {
    struct pkcs11_keystore_options keystore;
    enum kms_log_format log_format;
    enum kms_log_level log_level;
    size_t lanes;
    pid_t parent;
};

static uint32_t parse_number(struct argp_state *state, const char *arg, uint32_t max)
{
    char *end = NULL;
    errno = 0;
    unsigned long number = strtoul(arg, &end, 10);
    if (errno != 0 || end == arg || *end != '\0' || number == 0 || number > max)
        argp_error(state, "'%s' is no number from 1 to %" PRIu32, arg, max);
    return (uint32_t)number;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case MODULE:
        options->keystore.module = arg;
        return 0;
    case URI:
        options->keystore.uri = arg;
        return 0;
    case PIN_FILE:
        options->keystore.pin_file = arg;
        return 0;
    case USER:
        options->keystore.user = arg;
        return 0;
    case USER_TYPE:
        return kms_user_type_parse(arg, &options->keystore.user_type) ? 0 : EINVAL;
    case PROFILE:
        return kms_profile_parse(arg, &options->keystore.profile) ? 0 : EINVAL;
    case SESSIONS:
        options->keystore.sessions = parse_number(state, arg, KMS_HOST_LANES_MAX);
        return 0;
    case LATCH_DIR:
        options->keystore.latch_dir = arg;
        return 0;
    case LOG_FORMAT:
        return kms_log_format_parse(arg, &options->log_format) ? 0 : EINVAL;
    case LOG_LEVEL:
        return kms_log_level_parse(arg, &options->log_level) ? 0 : EINVAL;
    case LANES:
        options->lanes = parse_number(state, arg, KMS_HOST_LANES_MAX);
        return 0;
    case PARENT:
        options->parent = (pid_t)parse_number(state, arg, INT32_MAX);
        return 0;
    case ARGP_KEY_END:
        if (options->lanes == 0 || options->parent == 0)
            argp_error(state, "it is started by hsm-kms serve");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The parent is gone.  Its lanes are closed then, so we end by ourselves, with C_Finalize; unless the
 * library doesn't let us. */
static void give_up_soon(int number)
{
    (void)number;
    (void)alarm(GIVE_UP_S);
}

/* False: it has gone already. */
static bool follow_parent(pid_t parent)
{
    (void)signal(SIGUSR1, give_up_soon);
    (void)prctl(PR_SET_PDEATHSIG, SIGUSR1);
    return getppid() == parent;
}

static int serve(const struct options *options)
{
    struct kms_keystore *keystore = NULL;
    struct kms_error err = { .code = KMS_OK };
    int lanes[KMS_HOST_LANES_MAX];
    for (size_t i = 0; i < options->lanes; i++) {
        lanes[i] = KMS_HOST_FIRST_FD + (int)i;
        (void)fcntl(lanes[i], F_SETFD, FD_CLOEXEC); /* what the library runs must not keep them */
    }
    if (pkcs11_keystore_open(&options->keystore, &keystore, &err) != KMS_OK)
        return kms_command_fail(&err);
    bool quiet = false;
    enum kms_code rc = kms_host_serve(keystore, lanes, options->lanes, GRACE_MS, &quiet, &err);
    if (!quiet) {
        kms_log_stop(FLUSH_MS);
        _exit(KMS_EXIT_ERROR); /* C_Finalize under a call aborts some libraries, and harms tokens */
    }
    (void)alarm(GIVE_UP_S);
    kms_keystore_close(keystore);
    return rc == KMS_OK ? KMS_EXIT_OK : kms_command_fail(&err);
}

int kms_command_token_host(int argc, char **argv)
{
    static const struct argp argp = {
        .options = argp_options,
        .parser = parse,
        .doc = "The child of hsm-kms serve that loads the PKCS#11 library, so that a crash or a "
               "hang of the library doesn't take the plugin with it.  Not to be run by hand.",
    };
    struct options options = { .log_format = KMS_LOG_TEXT, .log_level = KMS_LOG_INFO };
    if (kms_command_parse(&argp, argc, argv, &options) != 0)
        return KMS_EXIT_ERROR;
    kms_log_open(options.log_format, options.log_level, STDERR_FILENO);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)prctl(PR_SET_NAME, "hsm-kms-host");
    if (!follow_parent(options.parent))
        return KMS_EXIT_OK;
    struct kms_error err = { .code = KMS_OK };
    if (kms_log_start(&err) != KMS_OK)
        return kms_command_fail(&err);
    (void)kms_harden_swap(NULL); /* where that can't be, the parent has said so */
    if (!kms_secret_heap_open())
        kms_log_fields(KMS_LOG_WARN, "memory for secrets can't be locked: raise LimitMEMLOCK", NULL,
                       0);
    int code = serve(&options);
    kms_log_stop(FLUSH_MS);
    return code;
}
