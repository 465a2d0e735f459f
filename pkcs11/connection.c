/* SPDX-License-Identifier: Apache-2.0 */
#include "connection.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "choice.h"
#include "credentials.h"
#include "kms/clock.h"
#include "kms/log.h"
#include "lock.h"
#include "module.h"
#include "rv.h"
#include "uri.h"
#include "vendor.h"

enum { FIND_PAUSE_MS = 200 }; /* between two C_Initialize while a token is looked for */

struct pkcs11_connection {
    /* Set once. */
    char *module_name;
    char *pin_file;
    char *user;
    char *lock_dir;
    char *latch_dir;
    struct pkcs11_uri *uri;
    unsigned sessions;
    enum kms_user_type user_type;
    enum kms_profile profile;
    struct pkcs11_seam seam;

    /* Changed by the thread that connects, while nobody is inside. */
    struct pkcs11_module *module;
    struct pkcs11_token token;
    struct pkcs11_pool *pool;
    struct pkcs11_choice choice;

    struct pkcs11_credentials credentials; /* used by whoever connects or set logging_in */

    pthread_mutex_t mutex; /* guards what follows; never held across a Cryptoki call */
    pthread_cond_t changed;
    bool connected;
    bool connecting;
    bool logging_in;
    uint64_t logins; /* begun and ended: odd while one is under way */
    bool doubted;
    unsigned inside;
    uint64_t epoch;
    int64_t next_attempt_ms;
    struct kms_error last_error; /* why it isn't connected */
    struct kms_token_info info;
};

/* --- opened and closed --- */

static enum kms_code check_options(const struct pkcs11_keystore_options *options,
                                   const struct pkcs11_seam *seam, struct kms_error *err)
{
    bool named = options->module != NULL && pkcs11_module_name_is_valid(options->module);
    if (seam == NULL && !named)
        return kms_fail(err, KMS_E_INVALID,
                        "module: give an absolute path or the name of a p11-kit module");
    if (options->uri == NULL)
        return kms_fail(err, KMS_E_INVALID, "uri: missing");
    if (options->pin_file == NULL && options->pin == NULL)
        return kms_fail(err, KMS_E_INVALID, "pin_file: missing");
    if (options->sessions < 1 || options->sessions > PKCS11_SESSIONS_MAX)
        return kms_fail(err, KMS_E_INVALID, "sessions: %u is out of range 1..%d", options->sessions,
                        PKCS11_SESSIONS_MAX);
    return KMS_OK;
}

/* True also if there is nothing to copy. */
static bool copy_text(const char *text, char **ret_copy)
{
    *ret_copy = text != NULL ? strdup(text) : NULL;
    return text == NULL || *ret_copy != NULL;
}

static enum kms_code copy_options(struct pkcs11_connection *connection,
                                  const struct pkcs11_keystore_options *options,
                                  const struct pkcs11_seam *seam, struct kms_error *err)
{
    const char *lock_dir = options->lock_dir != NULL ? options->lock_dir : PKCS11_LOCK_DIR;
    bool copied = copy_text(options->module, &connection->module_name) &&
                  copy_text(options->pin_file, &connection->pin_file) &&
                  copy_text(options->user, &connection->user) &&
                  copy_text(lock_dir, &connection->lock_dir) &&
                  copy_text(options->latch_dir, &connection->latch_dir);
    if (!copied)
        return kms_fail(err, KMS_E_BUSY, "out of memory for a keystore");
    connection->sessions = options->sessions;
    connection->user_type = options->user_type;
    connection->profile = options->profile;
    connection->seam.reconnect_pause_ms = PKCS11_RECONNECT_PAUSE_MS;
    connection->seam.find_retry_ms = PKCS11_FIND_RETRY_MS;
    connection->seam.busy_pause_ms = PKCS11_BUSY_PAUSE_MS;
    if (seam != NULL)
        connection->seam = *seam;
    connection->credentials.pin_file = connection->pin_file;
    connection->credentials.pin = options->pin;
    connection->credentials.user = connection->user;
    connection->credentials.latch_dir = connection->latch_dir;
    connection->credentials.administrator = options->administrator;
    return pkcs11_uri_open(options->uri, &connection->uri, err);
}

enum kms_code pkcs11_connection_open(const struct pkcs11_keystore_options *options,
                                     const struct pkcs11_seam *seam,
                                     struct pkcs11_connection **ret_connection,
                                     struct kms_error *err)
{
    enum kms_code rc = check_options(options, seam, err);
    if (rc != KMS_OK)
        return rc;
    struct pkcs11_connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL)
        return kms_fail(err, KMS_E_BUSY, "out of memory for a keystore");
    (void)pthread_mutex_init(&connection->mutex, NULL);
    kms_cond_init(&connection->changed);
    (void)kms_fail(&connection->last_error, KMS_E_UNAVAILABLE,
                   "the token has not been connected yet: retry");
    rc = copy_options(connection, options, seam, err);
    if (rc != KMS_OK) {
        pkcs11_connection_close(connection);
        return rc;
    }
    *ret_connection = connection;
    return KMS_OK;
}

static void tear_down(struct pkcs11_connection *connection)
{
    pkcs11_pool_close(connection->pool);
    connection->pool = NULL;
    if (connection->module != NULL)
        pkcs11_module_finalize(connection->module);
}

void pkcs11_connection_close(struct pkcs11_connection *connection)
{
    if (connection == NULL)
        return;
    tear_down(connection);
    pkcs11_module_close(connection->module);
    pkcs11_credentials_done(&connection->credentials);
    pkcs11_uri_close(connection->uri);
    free(connection->module_name);
    free(connection->pin_file);
    free(connection->user);
    free(connection->lock_dir);
    free(connection->latch_dir);
    (void)pthread_cond_destroy(&connection->changed);
    (void)pthread_mutex_destroy(&connection->mutex);
    free(connection);
}

/* --- connecting --- */

static CK_FUNCTION_LIST *functions(const struct pkcs11_connection *connection)
{
    return pkcs11_module_functions(connection->module);
}

static enum kms_code load(struct pkcs11_connection *connection, struct kms_error *err)
{
    if (connection->module != NULL)
        return KMS_OK;
    if (connection->seam.fn != NULL)
        return pkcs11_module_open_functions(connection->seam.fn, &connection->module, err);
    return pkcs11_module_open(connection->module_name, &connection->module, err);
}

static void pause_ms(int64_t ms)
{
    const struct timespec pause = { .tv_nsec = ms * 1000000L };
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

/* SoftHSM reads the tokens at C_Initialize alone, and misses one that another process is just
 * logging in to: so each look needs an initialisation of its own. */
static enum kms_code initialize_and_find(struct pkcs11_connection *connection, int64_t deadline_ms,
                                         struct kms_error *err)
{
    int64_t give_up_ms = kms_monotonic_ms() + connection->seam.find_retry_ms;
    if (give_up_ms > deadline_ms)
        give_up_ms = deadline_ms;
    for (;;) {
        enum kms_code rc = pkcs11_module_initialize(connection->module, err);
        if (rc != KMS_OK)
            return rc;
        rc = pkcs11_token_find(functions(connection), connection->uri, &connection->token, err);
        if (rc != KMS_E_UNAVAILABLE || kms_monotonic_ms() + FIND_PAUSE_MS >= give_up_ms)
            return rc;
        pkcs11_module_finalize(connection->module);
        pause_ms(FIND_PAUSE_MS);
    }
}

/* A vendor's limited user has a number of the vendor's own. */
static enum kms_code choose_user(struct pkcs11_connection *connection, struct kms_error *err)
{
    const struct pkcs11_vendor *vendor = pkcs11_vendor_of(&connection->token);
    connection->credentials.user_type = CKU_USER;
    if (connection->user_type == KMS_USER_TYPE_USER)
        return KMS_OK;
    if (vendor == NULL || !vendor->has_crypto_user)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "user_type: crypto-user: only Thales Luna is known to have such a user, "
                        "and this is another vendor's token: take the setting out");
    connection->credentials.user_type = vendor->crypto_user;
    return KMS_OK;
}

static enum kms_code log_in(struct pkcs11_connection *connection, CK_SESSION_HANDLE session,
                            struct kms_error *err)
{
    if ((connection->token.info.flags & CKF_LOGIN_REQUIRED) == 0)
        return KMS_OK;
    enum kms_code rc = choose_user(connection, err);
    if (rc != KMS_OK)
        return rc;
    return pkcs11_credentials_login(&connection->credentials, functions(connection), session,
                                    connection->token.slot, err);
}

/* Half of the time that is left, so that the rest of the work has the other half. */
static struct pkcs11_lock take_lock(const struct pkcs11_connection *connection, int64_t deadline_ms)
{
    int64_t wait_ms = PKCS11_LOCK_WAIT_MS;
    int64_t half_ms = (deadline_ms - kms_monotonic_ms()) / 2;
    return pkcs11_lock_acquire(connection->lock_dir, pkcs11_module_path(connection->module),
                               half_ms < wait_ms ? half_ms : wait_ms);
}

static enum kms_code find_and_open(struct pkcs11_connection *connection, int64_t deadline_ms,
                                   struct pkcs11_session **ret_session, struct kms_error *err)
{
    enum kms_code rc = initialize_and_find(connection, deadline_ms, err);
    if (rc == KMS_OK)
        rc = pkcs11_pool_open(functions(connection), connection->token.slot, connection->sessions,
                              PKCS11_SHRUNK_MS, &connection->pool, err);
    if (rc == KMS_OK)
        rc = pkcs11_pool_acquire(connection->pool, deadline_ms, ret_session, err);
    return rc;
}

static enum kms_code find_and_log_in(struct pkcs11_connection *connection, int64_t deadline_ms,
                                     struct pkcs11_session **ret_session, struct kms_error *err)
{
    KMS_CLEANUP(pkcs11_lock_release) struct pkcs11_lock lock = take_lock(connection, deadline_ms);
    struct pkcs11_session *session = NULL;
    enum kms_code rc = find_and_open(connection, deadline_ms, &session, err);
    if (rc != KMS_OK)
        return rc;
    rc = log_in(connection, session->handle, err);
    if (rc == KMS_OK)
        *ret_session = session;
    else
        pkcs11_pool_release(connection->pool, session);
    return rc;
}

static enum kms_code choose_wrap(struct pkcs11_connection *connection,
                                 struct pkcs11_session *session, struct kms_error *err)
{
    const struct pkcs11_probe probe = {
        .fn = functions(connection),
        .token = &connection->token,
        .session = session,
        .profile = connection->profile,
    };
    return pkcs11_choice_make(&connection->choice, &probe, err);
}

static enum kms_code build(struct pkcs11_connection *connection, int64_t deadline_ms,
                           struct kms_error *err)
{
    tear_down(connection);
    enum kms_code rc = load(connection, err);
    struct pkcs11_session *session = NULL;
    if (rc == KMS_OK)
        rc = find_and_log_in(connection, deadline_ms, &session, err);
    if (rc == KMS_OK) {
        rc = choose_wrap(connection, session, err);
        pkcs11_pool_release(connection->pool, session);
    }
    if (rc != KMS_OK)
        tear_down(connection);
    return rc;
}

/* What those who can't enter are told: an operator's case, or an outage. */
static void remember_failure(struct pkcs11_connection *connection, const struct kms_error *why)
{
    connection->last_error = *why;
    if (why->code != KMS_E_PRECONDITION)
        connection->last_error.code = KMS_E_UNAVAILABLE;
}

/* KMS_OK with *ret_build: the caller alone builds now.  Called and returns with the mutex held. */
static enum kms_code claim_build(struct pkcs11_connection *connection, int64_t deadline_ms,
                                 bool *ret_build, struct kms_error *err)
{
    bool in_time = true;
    while (connection->connecting && in_time)
        in_time = kms_cond_wait_until(&connection->changed, &connection->mutex, deadline_ms);
    *ret_build = false;
    if (connection->connected)
        return KMS_OK;
    if (connection->connecting || kms_monotonic_ms() < connection->next_attempt_ms) {
        *err = connection->last_error;
        return err->code;
    }
    connection->connecting = true;
    while (connection->inside > 0 && in_time)
        in_time = kms_cond_wait_until(&connection->changed, &connection->mutex, deadline_ms);
    if (connection->inside > 0) {
        connection->connecting = false;
        (void)pthread_cond_broadcast(&connection->changed);
        return kms_fail(err, KMS_E_UNAVAILABLE,
                        "the token is not reconnected: %u calls are still inside the module",
                        connection->inside);
    }
    connection->next_attempt_ms = kms_monotonic_ms() + connection->seam.reconnect_pause_ms;
    *ret_build = true;
    return KMS_OK;
}

static void publish(struct pkcs11_connection *connection, enum kms_code rc,
                    const struct kms_error *err)
{
    (void)pthread_mutex_lock(&connection->mutex);
    connection->connecting = false;
    connection->connected = rc == KMS_OK;
    connection->doubted = false;
    if (rc == KMS_OK) {
        connection->epoch++;
        pkcs11_token_describe(&connection->token, &connection->info);
        strncpy(connection->info.profile, pkcs11_wrap_name(&connection->choice.wrap),
                sizeof(connection->info.profile) - 1);
        connection->info.algorithm = connection->choice.wrap.algorithm;
    } else {
        remember_failure(connection, err);
    }
    (void)pthread_cond_broadcast(&connection->changed);
    (void)pthread_mutex_unlock(&connection->mutex);
    if (rc == KMS_OK)
        kms_log(KMS_LOG_INFO, "token connected", KMS_F_TEXT("token", connection->info.label),
                KMS_F_TEXT("serial", connection->info.serial),
                KMS_F_TEXT("library", connection->info.library),
                KMS_F_TEXT("profile", connection->info.profile));
}

enum kms_code pkcs11_connection_connect(struct pkcs11_connection *connection, int64_t deadline_ms,
                                        struct kms_error *err)
{
    if (kms_monotonic_ms() >= deadline_ms)
        return kms_fail(err, KMS_E_DEADLINE, "the deadline passed before the token was asked");
    bool build_now = false;
    (void)pthread_mutex_lock(&connection->mutex);
    enum kms_code rc = claim_build(connection, deadline_ms, &build_now, err);
    (void)pthread_mutex_unlock(&connection->mutex);
    if (!build_now)
        return rc;
    rc = build(connection, deadline_ms, err);
    if (rc == KMS_E_INVALID || rc == KMS_E_CORRUPT) /* of the test key: no caller's input is bad */
        rc = err->code = KMS_E_PRECONDITION;
    publish(connection, rc, err);
    return rc;
}

/* --- calls --- */

enum kms_code pkcs11_connection_enter(struct pkcs11_connection *connection,
                                      struct pkcs11_link *ret_link, struct kms_error *err)
{
    (void)pthread_mutex_lock(&connection->mutex);
    bool connected = connection->connected;
    if (connected) {
        connection->inside++;
        *ret_link = (struct pkcs11_link){
            .epoch = connection->epoch,
            .wrap = connection->choice.wrap,
            .pool = connection->pool,
            .token = &connection->token,
            .busy_pause_ms = connection->seam.busy_pause_ms,
        };
    } else {
        *err = connection->last_error;
    }
    (void)pthread_mutex_unlock(&connection->mutex);
    return connected ? KMS_OK : err->code;
}

void pkcs11_connection_leave(struct pkcs11_connection *connection)
{
    (void)pthread_mutex_lock(&connection->mutex);
    if (--connection->inside == 0)
        (void)pthread_cond_broadcast(&connection->changed);
    (void)pthread_mutex_unlock(&connection->mutex);
}

void pkcs11_connection_break(struct pkcs11_connection *connection, const struct kms_error *why)
{
    (void)pthread_mutex_lock(&connection->mutex);
    bool was_connected = connection->connected;
    connection->connected = false;
    if (was_connected) {
        remember_failure(connection, why);
        pkcs11_pool_stop(connection->pool);
    }
    (void)pthread_mutex_unlock(&connection->mutex);
}

void pkcs11_connection_doubt(struct pkcs11_connection *connection)
{
    (void)pthread_mutex_lock(&connection->mutex);
    connection->doubted = true;
    (void)pthread_mutex_unlock(&connection->mutex);
}

bool pkcs11_connection_take_doubt(struct pkcs11_connection *connection)
{
    (void)pthread_mutex_lock(&connection->mutex);
    bool doubted = connection->doubted;
    connection->doubted = false;
    (void)pthread_mutex_unlock(&connection->mutex);
    return doubted;
}

/* --- login --- */

static bool begin_login(struct pkcs11_connection *connection, int64_t deadline_ms)
{
    (void)pthread_mutex_lock(&connection->mutex);
    bool in_time = true;
    while (connection->logging_in && in_time)
        in_time = kms_cond_wait_until(&connection->changed, &connection->mutex, deadline_ms);
    bool mine = !connection->logging_in;
    connection->logging_in = true;
    if (mine)
        connection->logins++;
    (void)pthread_mutex_unlock(&connection->mutex);
    return mine;
}

static void end_login(struct pkcs11_connection *connection)
{
    (void)pthread_mutex_lock(&connection->mutex);
    connection->logging_in = false;
    connection->logins++;
    (void)pthread_cond_broadcast(&connection->changed);
    (void)pthread_mutex_unlock(&connection->mutex);
}

/* Whoever waited for another's login finds it done here. */
static enum kms_code log_in_if_lost(struct pkcs11_connection *connection, CK_SESSION_HANDLE session,
                                    int64_t deadline_ms, struct kms_error *err)
{
    enum kms_code rc = pkcs11_token_check_login(functions(connection), session, &connection->token,
                                                err);
    if (rc == KMS_OK || err->ckr != CKR_USER_NOT_LOGGED_IN)
        return rc;
    KMS_CLEANUP(pkcs11_lock_release) struct pkcs11_lock lock = take_lock(connection, deadline_ms);
    return log_in(connection, session, err);
}

static enum kms_code restore_in_one(struct pkcs11_connection *connection,
                                    const struct pkcs11_link *link, int64_t deadline_ms,
                                    struct kms_error *err)
{
    struct pkcs11_session *session = NULL;
    enum kms_code rc = pkcs11_pool_acquire(link->pool, deadline_ms, &session, err);
    if (rc != KMS_OK)
        return rc;
    rc = log_in_if_lost(connection, session->handle, deadline_ms, err);
    session->broken = rc != KMS_OK;
    pkcs11_pool_release(link->pool, session);
    return rc;
}

/* Sessions die together: then the next idle one is no better, but a new one is. */
static bool is_of_the_session(const struct kms_error *err)
{
    return pkcs11_error_class(err) == PKCS11_CLASS_SESSION && strcmp(err->op, "C_Login") != 0;
}

enum kms_code pkcs11_connection_restore_login(struct pkcs11_connection *connection,
                                              const struct pkcs11_link *link, int64_t deadline_ms,
                                              struct kms_error *err)
{
    if (!begin_login(connection, deadline_ms))
        return kms_fail(err, KMS_E_DEADLINE, "the deadline passed while waiting for a login");
    enum kms_code rc;
    unsigned tries = 0;
    do
        rc = restore_in_one(connection, link, deadline_ms, err);
    while (rc != KMS_OK && is_of_the_session(err) && ++tries <= connection->sessions);
    end_login(connection);
    return rc;
}

uint64_t pkcs11_connection_logins(struct pkcs11_connection *connection)
{
    (void)pthread_mutex_lock(&connection->mutex);
    uint64_t logins = connection->logins;
    (void)pthread_mutex_unlock(&connection->mutex);
    return logins;
}

/* --- a PIN tried by hand --- */

static enum kms_code try_pin(struct pkcs11_connection *connection, int64_t deadline_ms,
                             struct pkcs11_pin_trial *trial, struct kms_error *err)
{
    KMS_CLEANUP(pkcs11_lock_release) struct pkcs11_lock lock = take_lock(connection, deadline_ms);
    struct pkcs11_session *session = NULL;
    enum kms_code rc = find_and_open(connection, deadline_ms, &session, err);
    if (rc != KMS_OK)
        return rc;
    if ((connection->token.info.flags & CKF_LOGIN_REQUIRED) == 0)
        rc = kms_fail(err, KMS_E_PRECONDITION,
                      "the token needs no login: there is no PIN to check");
    else
        rc = choose_user(connection, err);
    if (rc == KMS_OK)
        rc = pkcs11_credentials_try(&connection->credentials, functions(connection),
                                    session->handle, connection->token.slot, trial, err);
    pkcs11_pool_release(connection->pool, session);
    return rc;
}

enum kms_code pkcs11_connection_try_pin(struct pkcs11_connection *connection, int64_t deadline_ms,
                                        struct pkcs11_pin_trial *trial, struct kms_error *err)
{
    enum kms_code rc = load(connection, err);
    if (rc == KMS_OK)
        rc = try_pin(connection, deadline_ms, trial, err);
    tear_down(connection);
    return rc;
}

/* --- a token looked at --- */

enum kms_code pkcs11_connection_look(struct pkcs11_connection *connection, int64_t deadline_ms,
                                     enum kms_code (*look)(void *arg, CK_FUNCTION_LIST *fn,
                                                           const struct pkcs11_token *token,
                                                           struct pkcs11_session *session,
                                                           struct kms_error *err),
                                     void *arg, struct kms_error *err)
{
    struct pkcs11_session *session = NULL;
    enum kms_code rc = load(connection, err);
    if (rc == KMS_OK)
        rc = find_and_log_in(connection, deadline_ms, &session, err);
    if (rc == KMS_OK) {
        rc = look(arg, functions(connection), &connection->token, session, err);
        pkcs11_pool_release(connection->pool, session);
    }
    tear_down(connection);
    return rc;
}

/* --- the rest --- */

void pkcs11_connection_describe(struct pkcs11_connection *connection,
                                struct kms_token_info *ret_info)
{
    (void)pthread_mutex_lock(&connection->mutex);
    *ret_info = connection->info;
    ret_info->connected = connection->connected;
    (void)pthread_mutex_unlock(&connection->mutex);
}

void pkcs11_connection_reload(struct pkcs11_connection *connection)
{
    pkcs11_credentials_forget(&connection->credentials);
    (void)pthread_mutex_lock(&connection->mutex);
    connection->next_attempt_ms = 0;
    (void)pthread_mutex_unlock(&connection->mutex);
}
