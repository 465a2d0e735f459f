/* SPDX-License-Identifier: Apache-2.0 */
/* A server with handlers that tests can hold, on a socket of its own, and calls from threads. */
#ifndef TEST_SERVER_FIXTURE_H
#define TEST_SERVER_FIXTURE_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/un.h>

#include "client.h"
#include "server.h"
#include "socket.h"

enum { FIXTURE_GRACE_MS = 20000, FIXTURE_CALL_MS = 60000 };

struct fixture {
    char dir[64], path[80];
    struct kms_server *server;
    struct kms_socket *socket;
};

/* Both zeroed structs give the defaults: 4 workers, mode 0600, and the methods /test.Test/… Fast
 * (on the poller), Echo, Hold, Fail and Look. */
struct fixture *fixture_open(const struct kms_server_options *server,
                             const struct kms_socket_options *socket);
void fixture_close(struct fixture *fixture);
/* Stops listener and server, as `serve` does, and tells what kms_server_stop() said. */
bool fixture_stop(struct fixture *fixture, int64_t grace_ms);

struct sockaddr_un unix_address(const char *path);
struct kms_client *fixture_client(const struct fixture *fixture);
/* A plain connection on which nothing was sent. */
int fixture_connect(const struct fixture *fixture);

/* What the handlers below did so far; fixture_open() sets all to 0. */
struct tally {
    unsigned arrived;  /* snapshots taken */
    unsigned released; /* and given back: the call is over */
    unsigned held;     /* calls that reached Hold */
    unsigned finished; /* and left it */
    /* Of the last call of Look or Fast: */
    int64_t left_ms; /* until its deadline */
    int64_t peer_uid, peer_pid;
    bool had_snapshot; /* it got what arrive gave */
};
struct tally tally_now(void);
/* Waits (a test that fails waits 60 s) until the member is at least @count. */
void tally_wait_arrived(unsigned count);
void tally_wait_released(unsigned count);
void tally_wait_held(unsigned count);
void hold_release(void); /* lets go all calls of Hold, also later ones */

/* One call of /test.Test/NAME in a thread of its own; caller_join() frees the reply. */
struct caller {
    pthread_t thread;
    struct kms_client *client;
    char path[64];
    struct kms_bytes request;
    int64_t deadline_ms;
    struct kms_secret reply;
    struct kms_error err;
    enum kms_code code;
};
void caller_start(struct caller *caller, struct kms_client *client, const char *name,
                  struct kms_bytes request, int64_t deadline_ms);
enum kms_code caller_join(struct caller *caller);

/* The same and wait; true if the reply equals the request. */
enum kms_code call_now(struct kms_client *client, const char *name, struct kms_bytes request,
                       bool *ret_echoed, struct kms_error *err);

/* What tests send; static storage. */
struct kms_bytes sample(void);
/* A call through a new client comes back right. */
void assert_served(const struct fixture *fixture);
/* Reads until the server closes @fd; false if it doesn't within a minute. */
bool is_closed_by_server(int fd);

#endif
