/* SPDX-License-Identifier: Apache-2.0 */
/* `hsm-kms serve`: options, signals and readiness around a plugin (plugin.h). */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "command.h"
#include "harden.h"
#include "kms/clock.h"
#include "kms/log.h"
#include "kms/secret.h"
#include "plugin.h"

enum {
    GRACE_MS = 5000, /* for calls in flight at SIGTERM */
    GIVE_UP_S = 15,  /* after SIGTERM: a module that never returns can't be waited for */
    FLUSH_MS = 1000, /* for the log's last lines, if nobody reads them */
    TICK_UNTIL_READY_MS = 50,
    TICK_MS = 1000 /* how soon a supervisor sees a change of health */
};

struct serve_options {
    const char *config;
    const char *socket;
    const char *log_format;
    const char *log_level;
};

static const struct argp_option options[] = {
    { "config", 'c', "FILE", 0, "configuration (default " KMS_CONFIG_PATH ")", 0 },
    { "socket", 's', "PATH", 0, "listen here instead of socket.path", 0 },
    { "log-format", 'f', "text|json", 0, "instead of log.format", 0 },
    { "log-level", 'l', "debug|info|warn|error", 0, "instead of log.level", 0 },
    { 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct serve_options *given = state->input;
    switch (key) {
    case 'c':
        given->config = arg;
        return 0;
    case 's':
        given->socket = arg;
        return 0;
    case 'f':
        given->log_format = arg;
        return 0;
    case 'l':
        given->log_level = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse_option,
    .doc =
        "Serves the Kubernetes KMS v2 API on a Unix socket, wrapping DEK seeds inside the HSM.\v"
        "Runs in the foreground until SIGTERM or SIGINT, then drains calls in flight and exits 0. "
        "SIGHUP lets a refused PIN be tried again, reads pins: and adopt: of the configuration "
        "anew and lists the token.  A missing HSM, token, PIN or KEK never ends it: Status says "
        "what is missing until it is there.",
};

static enum kms_code apply_options(const struct serve_options *given, struct kms_config *config,
                                   struct kms_error *err)
{
    if (given->log_format != NULL && !kms_log_format_parse(given->log_format, &config->log_format))
        return kms_fail(err, KMS_E_INVALID, "--log-format: '%.32s' is neither text nor json",
                        given->log_format);
    if (given->log_level != NULL && !kms_log_level_parse(given->log_level, &config->log_level))
        return kms_fail(err, KMS_E_INVALID,
                        "--log-level: '%.32s' is none of debug, info, warn, error",
                        given->log_level);
    if (given->socket != NULL)
        return kms_config_set_socket_path(config, given->socket, err);
    return KMS_OK;
}

/* Threads inherit the mask, so that main alone takes signals. */
static void block_signals(sigset_t *ret_signals)
{
    sigemptyset(ret_signals);
    sigaddset(ret_signals, SIGTERM);
    sigaddset(ret_signals, SIGINT);
    sigaddset(ret_signals, SIGHUP);
    sigprocmask(SIG_BLOCK, ret_signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is one that can't be written */
}

/* The second alarm ends us if nobody reads the text. */
static void give_up(int number)
{
    (void)signal(number, SIG_DFL);
    (void)alarm(1);
    static const char text[] = "hsm-kms: gave up waiting for the PKCS#11 module; ending anyway\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    _exit(KMS_EXIT_ERROR);
}

/* What the supervisor was told last. */
struct readiness {
    bool told_ready;
    int64_t give_up_waiting_ms; /* then READY goes out whatever is missing */
    struct kms_error told;
};

static void log_ready(const struct kms_error *health)
{
    if (health->code == KMS_OK)
        kms_log_fields(KMS_LOG_INFO, "ready", NULL, 0);
    else
        kms_log_error(KMS_LOG_WARN, "ready without a usable KEK", health, NULL, 0);
}

/* READY=1 once healthy or out of patience; STATUS= whenever health reads differently. */
static void tell_supervisor(struct readiness *readiness, struct kms_plugin *plugin)
{
    struct kms_error health = { .code = KMS_OK };
    bool healthy = kms_plugin_health(plugin, &health) == KMS_OK;
    bool ready_now = !readiness->told_ready &&
                     (healthy || kms_monotonic_ms() >= readiness->give_up_waiting_ms);
    bool news = readiness->told.code != health.code || strcmp(readiness->told.msg, health.msg) != 0;
    if (!ready_now && !news)
        return;
    sd_notifyf(0, "%sSTATUS=%s", ready_now ? "READY=1\n" : "", healthy ? "healthy" : health.msg);
    readiness->told = health;
    if (ready_now) {
        readiness->told_ready = true;
        log_ready(&health);
    }
}

/* SIGHUP.  A file that can't be used changes nothing. */
static void reload(struct kms_plugin *plugin, const char *path, const struct kms_config *running)
{
    kms_log_fields(KMS_LOG_INFO, "reload", NULL, 0);
    KMS_CLEANUP(kms_config_done) struct kms_config config = { 0 };
    struct kms_error err;
    enum kms_code rc = kms_config_load(path, &config, &err);
    if (rc == KMS_OK && strcmp(config.ring, running->ring) != 0)
        rc = kms_fail(&err, KMS_E_INVALID, "%s: ring: was '%s', is '%s': that needs a restart",
                      path, running->ring, config.ring);
    if (rc != KMS_OK)
        kms_log_error(KMS_LOG_ERROR, "configuration not reloaded, the old one stays", &err, NULL,
                      0);
    else if (memcmp(config.settings.sha256, running->settings.sha256, KMS_SHA256_LEN) != 0)
        kms_log_fields(KMS_LOG_WARN, "configuration differs in more than pins and adoptions", NULL,
                       0);
    kms_plugin_reload(plugin, rc == KMS_OK ? &config : NULL);
}

/* Waits for SIGTERM or SIGINT, serving SIGHUP and the supervisor meanwhile. */
static void run(struct kms_plugin *plugin, const sigset_t *signals, const char *path,
                const struct kms_config *config)
{
    struct readiness readiness = {
        .give_up_waiting_ms = kms_monotonic_ms() + config->ready_timeout_ms,
    };
    kms_fail(&readiness.told, KMS_E_UNAVAILABLE, "%s", "");
    for (;;) {
        tell_supervisor(&readiness, plugin);
        long tick_ms = readiness.told_ready ? TICK_MS : TICK_UNTIL_READY_MS;
        struct timespec tick = { .tv_sec = tick_ms / 1000, .tv_nsec = tick_ms % 1000 * 1000000 };
        int number = sigtimedwait(signals, NULL, &tick);
        if (number == SIGHUP) {
            reload(plugin, path, config);
        } else if (number > 0) {
            kms_log(KMS_LOG_INFO, "stopping", KMS_F_TEXT("signal", sigabbrev_np(number)));
            return;
        }
    }
}

static int stop(struct kms_plugin *plugin)
{
    const struct sigaction once = { .sa_handler = give_up, .sa_flags = SA_NODEFER };
    sd_notify(0, "STOPPING=1");
    (void)sigaction(SIGALRM, &once, NULL);
    alarm(GIVE_UP_S);
    if (!kms_plugin_close(plugin, GRACE_MS)) {
        kms_log_fields(KMS_LOG_ERROR, "a call never came back from the PKCS#11 module", NULL, 0);
        kms_log_stop(FLUSH_MS);
        _exit(KMS_EXIT_ERROR);
    }
    alarm(0);
    kms_log_fields(KMS_LOG_INFO, "stopped", NULL, 0);
    return KMS_EXIT_OK;
}

/* @freed: what kms_harden_freed_memory() said.  Neither is a reason not to serve. */
static void guard_memory(const struct kms_error *freed)
{
    if (freed->code != KMS_OK)
        kms_log_error(KMS_LOG_WARN, "freed memory is not overwritten", freed, NULL, 0);
    struct kms_error err;
    if (kms_harden_swap(&err) != KMS_OK)
        kms_log_error(KMS_LOG_WARN, "memory is not locked", &err, NULL, 0);
}

static int serve(const char *path, const struct kms_config *config)
{
    sigset_t signals;
    block_signals(&signals);
    if (!kms_secret_heap_open())
        kms_log_fields(KMS_LOG_WARN, "memory for secrets can't be locked: raise LimitMEMLOCK", NULL,
                       0);
    struct kms_plugin *plugin;
    struct kms_error err;
    if (kms_plugin_open(config, &plugin, &err) != KMS_OK) {
        kms_log_error(KMS_LOG_ERROR, "can't serve", &err, NULL, 0);
        return KMS_EXIT_ERROR;
    }
    run(plugin, &signals, path, config);
    return stop(plugin);
}

int kms_command_serve(int argc, char **argv)
{
    struct kms_error freed = { .code = KMS_OK };
    (void)kms_harden_freed_memory(argv, &freed); /* @freed says it; the log isn't open yet */
    struct serve_options given = { .config = KMS_CONFIG_PATH };
    if (kms_command_parse(&argp, argc, argv, &given) != 0)
        return KMS_EXIT_ERROR;
    KMS_CLEANUP(kms_config_done) struct kms_config config = { 0 };
    struct kms_error err;
    if (kms_config_load(given.config, &config, &err) != KMS_OK ||
        apply_options(&given, &config, &err) != KMS_OK)
        return kms_command_fail(&err);
    kms_log_open(config.log_format, config.log_level, STDERR_FILENO);
    if (kms_log_start(&err) != KMS_OK)
        return kms_command_fail(&err);
    guard_memory(&freed);
    int code = serve(given.config, &config);
    kms_log_stop(FLUSH_MS);
    return code;
}
