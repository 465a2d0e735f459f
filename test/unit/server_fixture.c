/* SPDX-License-Identifier: Apache-2.0 */
#include "server_fixture.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "kms/clock.h"
#include "ring.h"
#include "service.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static pthread_cond_t changed;
static struct tally tally;
static bool let_go;
static struct kms_snapshot the_snapshot; /* its address is what counts */

/* These two take the place of the real ones: no service stands behind this server. */
struct kms_snapshot *kms_service_arrive(struct kms_service *service)
{
    (void)service;
    pthread_mutex_lock(&mutex);
    tally.arrived++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    return &the_snapshot;
}

void kms_snapshot_release(struct kms_snapshot *snapshot)
{
    (void)snapshot;
    pthread_mutex_lock(&mutex);
    tally.released++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static enum kms_code echo(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                          struct kms_error *err)
{
    return kms_secret_copy(ret_reply, call->request, err);
}

static enum kms_code hold(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                          struct kms_error *err)
{
    pthread_mutex_lock(&mutex);
    tally.held++;
    pthread_cond_broadcast(&changed);
    while (!let_go)
        pthread_cond_wait(&changed, &mutex);
    tally.finished++;
    pthread_mutex_unlock(&mutex);
    return echo(call, ret_reply, err);
}

static enum kms_code refuse(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                            struct kms_error *err)
{
    (void)call;
    (void)ret_reply;
    return kms_fail(err, KMS_E_KEY_UNKNOWN, "no such KEK");
}

static enum kms_code look(const struct kms_rpc_call *call, struct kms_secret *ret_reply,
                          struct kms_error *err)
{
    pthread_mutex_lock(&mutex);
    tally.left_ms = call->deadline_ms - kms_monotonic_ms();
    tally.peer_uid = call->peer_uid;
    tally.peer_pid = call->peer_pid;
    tally.had_snapshot = call->arrived == &the_snapshot;
    pthread_mutex_unlock(&mutex);
    return echo(call, ret_reply, err);
}

static const struct kms_rpc_method methods[] = {
    { "/test.Test/Fast", look, false }, { "/test.Test/Echo", echo, true },
    { "/test.Test/Hold", hold, true },  { "/test.Test/Fail", refuse, true },
    { "/test.Test/Look", look, true },  { NULL, NULL, false },
};

static void must(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "fixture: %s\n", what);
    abort();
}

struct fixture *fixture_open(const struct kms_server_options *server,
                             const struct kms_socket_options *socket)
{
    static _Atomic bool cond_is_made;
    if (!atomic_exchange(&cond_is_made, true))
        kms_cond_init(&changed);
    pthread_mutex_lock(&mutex);
    tally = (struct tally){ 0 };
    let_go = false;
    pthread_mutex_unlock(&mutex);

    struct fixture *fixture = calloc(1, sizeof *fixture);
    must(fixture != NULL, "memory");
    snprintf(fixture->dir, sizeof fixture->dir, "/tmp/kms-server-XXXXXX");
    must(mkdtemp(fixture->dir) != NULL, "mkdtemp");
    snprintf(fixture->path, sizeof fixture->path, "%s/kms.sock", fixture->dir);

    struct kms_server_options server_options = *server;
    if (server_options.methods == NULL)
        server_options.methods = methods;
    if (server_options.workers == 0)
        server_options.workers = 4;
    struct kms_socket_options socket_options = *socket;
    socket_options.path = fixture->path;
    if (socket_options.mode == 0)
        socket_options.mode = 0600;
    struct kms_error err = { 0 };
    must(kms_socket_open(&socket_options, &fixture->socket, &err) == KMS_OK, err.msg);
    must(kms_server_open(&server_options, &fixture->server, &err) == KMS_OK, err.msg);
    must(kms_socket_serve(fixture->socket, fixture->server, &err) == KMS_OK, err.msg);
    return fixture;
}

bool fixture_stop(struct fixture *fixture, int64_t grace_ms)
{
    kms_socket_stop(fixture->socket);
    bool clean = kms_server_stop(fixture->server, grace_ms);
    fixture->server = NULL;
    return clean;
}

void fixture_close(struct fixture *fixture)
{
    if (fixture->server != NULL)
        must(fixture_stop(fixture, FIXTURE_GRACE_MS), "a worker hangs");
    kms_socket_close(fixture->socket);
    char lock[96];
    snprintf(lock, sizeof lock, "%s.lock", fixture->path);
    unlink(lock);
    unlink(fixture->path);
    must(rmdir(fixture->dir) == 0, "something was left in the socket's directory");
    free(fixture);
}

struct kms_client *fixture_client(const struct fixture *fixture)
{
    struct kms_client *client = NULL;
    struct kms_error err = { 0 };
    must(kms_client_open(fixture->path, &client, &err) == KMS_OK, err.msg);
    return client;
}

struct sockaddr_un unix_address(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    must(strlen(path) < sizeof address.sun_path, "the path is too long");
    memcpy(address.sun_path, path, strlen(path));
    return address;
}

int fixture_connect(const struct fixture *fixture)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_un address = unix_address(fixture->path);
    must(connect(fd, (const struct sockaddr *)&address, sizeof address) == 0, "connect");
    const struct timeval guard = { .tv_sec = 60 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &guard, sizeof guard);
    return fd;
}

struct tally tally_now(void)
{
    pthread_mutex_lock(&mutex);
    struct tally now = tally;
    pthread_mutex_unlock(&mutex);
    return now;
}

static void wait_for(const unsigned *member, unsigned count, const char *what)
{
    int64_t deadline_ms = kms_monotonic_ms() + FIXTURE_CALL_MS;
    pthread_mutex_lock(&mutex);
    while (*member < count)
        must(kms_cond_wait_until(&changed, &mutex, deadline_ms), what);
    pthread_mutex_unlock(&mutex);
}

void tally_wait_arrived(unsigned count)
{
    wait_for(&tally.arrived, count, "the call didn't arrive");
}

void tally_wait_released(unsigned count)
{
    wait_for(&tally.released, count, "the call wasn't released");
}

void tally_wait_held(unsigned count)
{
    wait_for(&tally.held, count, "the call didn't reach its handler");
}

void hold_release(void)
{
    pthread_mutex_lock(&mutex);
    let_go = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static void *caller_run(void *arg)
{
    struct caller *caller = arg;
    caller->code = kms_client_call(caller->client, caller->path, caller->request,
                                   caller->deadline_ms, &caller->reply, &caller->err);
    return NULL;
}

void caller_start(struct caller *caller, struct kms_client *client, const char *name,
                  struct kms_bytes request, int64_t deadline_ms)
{
    *caller = (struct caller){ .client = client, .request = request, .deadline_ms = deadline_ms };
    snprintf(caller->path, sizeof caller->path, "/test.Test/%s", name);
    must(pthread_create(&caller->thread, NULL, caller_run, caller) == 0, "pthread_create");
}

enum kms_code caller_join(struct caller *caller)
{
    pthread_join(caller->thread, NULL);
    kms_secret_done(&caller->reply);
    return caller->code;
}

enum kms_code call_now(struct kms_client *client, const char *name, struct kms_bytes request,
                       bool *ret_echoed, struct kms_error *err)
{
    char path[64];
    snprintf(path, sizeof path, "/test.Test/%s", name);
    KMS_CLEANUP(kms_secret_done) struct kms_secret reply = { 0 };
    enum kms_code rc = kms_client_call(client, path, request, kms_monotonic_ms() + FIXTURE_CALL_MS,
                                       &reply, err);
    *ret_echoed = rc == KMS_OK && kms_bytes_equal(kms_secret_bytes(&reply), request);
    return rc;
}

struct kms_bytes sample(void)
{
    return kms_bytes_of("a seed of thirty-two bytes......");
}

void assert_served(const struct fixture *fixture)
{
    struct kms_client *client = fixture_client(fixture);
    bool echoed = false;
    struct kms_error err = { 0 };
    assert_ok(call_now(client, "Echo", sample(), &echoed, &err), &err);
    assert_true(echoed);
    kms_client_close(client);
}

bool is_closed_by_server(int fd)
{
    char bytes[512];
    ssize_t n = 0;
    do
        n = recv(fd, bytes, sizeof bytes, 0);
    while (n > 0);
    return n == 0 || errno == ECONNRESET;
}
