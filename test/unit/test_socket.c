/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "kms/clock.h"
#include "kms/log.h"
#include "server_fixture.h"

static const struct kms_socket_options default_socket;
static const struct kms_server_options default_server;

/* --- one directory per test --- */

struct place {
    char dir[64], path[96], lock[104];
};

static int set_up(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    snprintf(place->dir, sizeof place->dir, "/tmp/kms-socket-XXXXXX");
    if (mkdtemp(place->dir) == NULL)
        return -1;
    snprintf(place->path, sizeof place->path, "%s/kms.sock", place->dir);
    snprintf(place->lock, sizeof place->lock, "%s.lock", place->path);
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    struct place *place = *state;
    unlink(place->path);
    unlink(place->lock);
    int left = rmdir(place->dir);
    free(place);
    return left;
}

static enum kms_code open_at(const char *path, struct kms_socket **ret_socket,
                             struct kms_error *err)
{
    const struct kms_socket_options options = { .path = path, .mode = 0600 };
    return kms_socket_open(&options, ret_socket, err);
}

static void assert_refused(const char *path, const char *text)
{
    struct kms_socket *socket = NULL;
    struct kms_error err = { 0 };
    assert_int_equal(open_at(path, &socket, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, text);
    assert_null(socket);
}

static int bound_socket(const char *path)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_un address = unix_address(path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* --- the listener --- */

static void the_socket_has_the_wanted_mode_and_group(void **state)
{
    const struct place *place = *state;
    struct kms_socket *socket = NULL;
    struct kms_error err = { 0 };
    const struct kms_socket_options options = { .path = place->path, .mode = 0660, .group = "0" };
    assert_ok(kms_socket_open(&options, &socket, &err), &err);
    struct stat st;
    assert_int_equal(lstat(place->path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0660);
    assert_int_equal(st.st_gid, 0);
    kms_socket_close(socket);
}

static void the_socket_goes_to_a_group_by_number(void **state)
{
    const struct place *place = *state;
    if (geteuid() != 0)
        skip();
    struct kms_socket *socket = NULL;
    struct kms_error err = { 0 };
    const struct kms_socket_options options = { .path = place->path,
                                                .mode = 0660,
                                                .group = "4711" };
    assert_ok(kms_socket_open(&options, &socket, &err), &err);
    struct stat st;
    assert_int_equal(lstat(place->path, &st), 0);
    assert_int_equal(st.st_gid, 4711);
    kms_socket_close(socket);
}

static void an_unknown_group_is_refused(void **state)
{
    const struct place *place = *state;
    struct kms_socket *socket = NULL;
    struct kms_error err = { 0 };
    const struct kms_socket_options options = { .path = place->path,
                                                .mode = 0660,
                                                .group = "no-such-group" };
    assert_int_equal(kms_socket_open(&options, &socket, &err), KMS_E_PRECONDITION);
    assert_contains(err.msg, "no-such-group");
}

static void opening_leaves_umask_as_it_was(void **state)
{
    const struct place *place = *state;
    mode_t before = umask(027);
    struct kms_socket *socket = NULL;
    struct kms_error err = { 0 };
    assert_ok(open_at(place->path, &socket, &err), &err);
    assert_int_equal(umask(before), 027);
    kms_socket_close(socket);
}

static void a_live_instance_is_not_displaced(void **state)
{
    const struct place *place = *state;
    struct kms_socket *socket = NULL;
    struct kms_error err = { 0 };
    assert_ok(open_at(place->path, &socket, &err), &err);
    assert_refused(place->path, "another instance");
    kms_socket_close(socket);
}

static void a_live_stranger_without_a_lock_is_not_displaced(void **state)
{
    const struct place *place = *state;
    int stranger = bound_socket(place->path);
    assert_int_equal(listen(stranger, 1), 0);
    assert_refused(place->path, "another program");
    close(stranger);
}

static void a_stale_socket_is_replaced(void **state)
{
    const struct place *place = *state;
    close(bound_socket(place->path));
    struct kms_socket *socket = NULL;
    struct kms_error err = { 0 };
    assert_ok(open_at(place->path, &socket, &err), &err);
    kms_socket_close(socket);
}

static void what_a_killed_instance_left_half_made_is_replaced(void **state)
{
    const struct place *place = *state;
    char fresh[104];
    snprintf(fresh, sizeof fresh, "%s.new", place->path);
    close(bound_socket(fresh));
    struct kms_socket *socket = NULL;
    struct kms_error err = { 0 };
    assert_ok(open_at(place->path, &socket, &err), &err);
    kms_socket_close(socket);
}

static void a_file_in_the_place_of_the_socket_is_refused(void **state)
{
    const struct place *place = *state;
    close(open(place->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_refused(place->path, "not a socket");
    assert_int_equal(access(place->path, F_OK), 0);
}

static void a_symbolic_link_in_the_place_of_the_socket_is_refused(void **state)
{
    const struct place *place = *state;
    assert_int_equal(symlink("elsewhere", place->path), 0);
    assert_refused(place->path, "not a socket");
}

static void a_relative_path_is_refused(void **state)
{
    (void)state;
    assert_refused("kms.sock", "not absolute");
}

static void an_abstract_socket_is_refused(void **state)
{
    (void)state;
    assert_refused("@kms", "not absolute");
}

static void a_path_that_does_not_fit_with_its_suffix_is_refused(void **state)
{
    const struct place *place = *state;
    char path[160];
    snprintf(path, sizeof path, "%s/%0*d", place->dir, 103 - (int)strlen(place->dir), 0);
    assert_int_equal(strlen(path), 104); /* 107 fit into sun_path, ".new" takes 4 */
    assert_refused(path, "103 bytes");
}

static void the_longest_path_works(void **state)
{
    const struct place *place = *state;
    char path[160], lock[168];
    snprintf(path, sizeof path, "%s/%0*d", place->dir, 102 - (int)strlen(place->dir), 0);
    snprintf(lock, sizeof lock, "%s.lock", path);
    struct kms_socket *socket = NULL;
    struct kms_error err = { 0 };
    assert_ok(open_at(path, &socket, &err), &err);
    kms_socket_close(socket);
    unlink(lock);
}

static void a_directory_writable_by_others_is_refused(void **state)
{
    const struct place *place = *state;
    chmod(place->dir, 0777);
    assert_refused(place->path, "chmod o-w");
}

static void a_sticky_directory_writable_by_others_is_refused(void **state)
{
    const struct place *place = *state;
    chmod(place->dir, 01777);
    assert_refused(place->path, "chmod o-w");
}

static void a_directory_writable_by_a_foreign_group_is_refused(void **state)
{
    const struct place *place = *state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(place->dir, 0, 4711), 0);
    chmod(place->dir, 0770);
    assert_refused(place->path, "chmod g-w");
}

static void a_directory_writable_by_the_sockets_group_is_fine(void **state)
{
    const struct place *place = *state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(place->dir, 0, 4711), 0);
    chmod(place->dir, 0770);
    struct kms_socket *socket = NULL;
    struct kms_error err = { 0 };
    const struct kms_socket_options options = { .path = place->path,
                                                .mode = 0660,
                                                .group = "4711" };
    assert_ok(kms_socket_open(&options, &socket, &err), &err);
    kms_socket_close(socket);
}

static void a_directory_of_another_user_is_refused(void **state)
{
    const struct place *place = *state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(place->dir, 12345, 0), 0);
    assert_refused(place->path, "belongs to uid 12345");
}

static void a_missing_directory_is_refused(void **state)
{
    (void)state;
    assert_refused("/nonexistent/kms.sock", "/nonexistent");
}

static void the_lock_file_is_for_the_owner_alone(void **state)
{
    const struct place *place = *state;
    struct kms_socket *socket = NULL;
    struct kms_error err = { 0 };
    assert_ok(open_at(place->path, &socket, &err), &err);
    struct stat st;
    assert_int_equal(stat(place->lock, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    kms_socket_close(socket);
}

static void stop_removes_the_socket(void **state)
{
    const struct place *place = *state;
    struct kms_socket *socket = NULL;
    struct kms_error err = { 0 };
    assert_ok(open_at(place->path, &socket, &err), &err);
    kms_socket_stop(socket);
    assert_int_equal(access(place->path, F_OK), -1);
    kms_socket_close(socket);
}

static void stop_leaves_a_socket_that_is_not_ours(void **state)
{
    const struct place *place = *state;
    struct kms_socket *socket = NULL;
    struct kms_error err = { 0 };
    assert_ok(open_at(place->path, &socket, &err), &err);
    /* moved, not unlinked: a freed inode number may come again at once */
    char moved[104];
    snprintf(moved, sizeof moved, "%s.old", place->path);
    assert_int_equal(rename(place->path, moved), 0);
    int stranger = bound_socket(place->path);
    kms_socket_close(socket);
    assert_int_equal(access(place->path, F_OK), 0);
    close(stranger);
    unlink(moved);
}

static void after_close_the_path_is_free_again(void **state)
{
    const struct place *place = *state;
    for (int i = 0; i < 2; i++) {
        struct kms_socket *socket = NULL;
        struct kms_error err = { 0 };
        assert_ok(open_at(place->path, &socket, &err), &err);
        kms_socket_close(socket);
    }
}

/* --- who may connect --- */

/* True if the server closes @fd without a byte: before HTTP/2, which begins with SETTINGS. */
static bool is_closed_unheard(int fd)
{
    char byte = 0;
    return recv(fd, &byte, 1, 0) <= 0 && errno != EAGAIN;
}

/* Connects from a process with other credentials; exit code 0: refused, 1: served. */
static int connect_as(const struct fixture *fixture, uid_t uid, gid_t gid, const gid_t *groups,
                      size_t group_count)
{
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const struct sockaddr_un address = unix_address(fixture->path);
        const struct timeval guard = { .tv_sec = 60 };
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &guard, sizeof guard);
        if (setgroups(group_count, groups) != 0 || setresgid(gid, gid, gid) != 0 ||
            setresuid(uid, uid, uid) != 0 ||
            connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
            _exit(2);
        errno = 0;
        _exit(is_closed_unheard(fd) ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

enum { REFUSED = 0, SERVED = 1, STRANGER = 12345, GROUP = 4711 };

static struct fixture *open_to_all_by_mode(const uint32_t *allow_uids, size_t count)
{
    const struct kms_socket_options options = {
        .mode = 0666, .group = "4711", .allow_uids = allow_uids, .allow_uid_count = count
    };
    struct fixture *fixture = fixture_open(&default_server, &options);
    chmod(fixture->dir, 0755);
    return fixture;
}

static void a_stranger_is_closed_before_http2(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct fixture *fixture = open_to_all_by_mode(NULL, 0);
    const gid_t groups[] = { 1, 2, 3 };
    assert_int_equal(connect_as(fixture, STRANGER, STRANGER, groups, 3), REFUSED);
    fixture_close(fixture);
}

static void a_listed_uid_is_served(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    const uint32_t listed[] = { STRANGER };
    struct fixture *fixture = open_to_all_by_mode(listed, 1);
    assert_int_equal(connect_as(fixture, STRANGER, STRANGER, NULL, 0), SERVED);
    fixture_close(fixture);
}

static void a_member_of_the_group_is_served(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct fixture *fixture = open_to_all_by_mode(NULL, 0);
    assert_int_equal(connect_as(fixture, STRANGER, GROUP, NULL, 0), SERVED);
    fixture_close(fixture);
}

/* Also with more groups than the first guess has room for. */
static void a_supplementary_member_of_the_group_is_served(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    gid_t groups[1000];
    for (size_t i = 0; i < 1000; i++)
        groups[i] = (gid_t)(100000 + i);
    groups[999] = GROUP;
    struct fixture *fixture = open_to_all_by_mode(NULL, 0);
    assert_int_equal(connect_as(fixture, STRANGER, STRANGER, groups, 1000), SERVED);
    fixture_close(fixture);
}

static bool is_heard(int fd)
{
    char byte = 0;
    return recv(fd, &byte, 1, MSG_PEEK) == 1; /* core greets with SETTINGS */
}

static void the_65th_connection_of_a_uid_is_refused(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(&default_server, &default_socket);
    int fds[64];
    for (size_t i = 0; i < 64; i++)
        fds[i] = fixture_connect(fixture);
    int one_more = fixture_connect(fixture);
    assert_true(is_closed_unheard(one_more));
    close(one_more);
    for (size_t i = 0; i < 64; i++) {
        assert_true(is_heard(fds[i]));
        close(fds[i]);
    }
    fixture_close(fixture);
}

/* core closes its end some time after the client did, so the next attempt may come too early. */
static void a_closed_connection_makes_room_for_another(void **state)
{
    (void)state;
    const struct kms_socket_options options = { .max_per_uid = 2 };
    struct fixture *fixture = fixture_open(&default_server, &options);
    int first = fixture_connect(fixture);
    int second = fixture_connect(fixture);
    assert_true(is_heard(first) && is_heard(second));
    int64_t deadline_ms = kms_monotonic_ms() + FIXTURE_CALL_MS;
    for (int i = 0; i < 20; i++) {
        close(first);
        first = fixture_connect(fixture);
        while (!is_heard(first)) {
            assert_true(kms_monotonic_ms() < deadline_ms);
            close(first);
            first = fixture_connect(fixture);
        }
    }
    assert_true(is_heard(second));
    close(first);
    close(second);
    fixture_close(fixture);
}

/* No descriptor can be had any more, whichever are closed meanwhile: 0 to 2 stay open. */
static struct rlimit stop_descriptors(void)
{
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit none = { .rlim_cur = 3, .rlim_max = before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    return before;
}

static void wait_for_line(int fd, const char *text)
{
    char line[4096];
    do {
        struct pollfd ready = { .fd = fd, .events = POLLIN };
        assert_int_equal(poll(&ready, 1, FIXTURE_CALL_MS), 1);
        ssize_t n = read(fd, line, sizeof line - 1);
        assert_true(n > 0);
        line[n] = '\0';
    } while (strstr(line, text) == NULL);
}

static void accept_recovers_when_descriptors_run_out(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_open(&default_server, &default_socket);
    assert_served(fixture);
    int log[2];
    assert_int_equal(pipe2(log, O_CLOEXEC), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_un address = unix_address(fixture->path);
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_WARN, log[1]);
    const struct rlimit before = stop_descriptors();

    int connected = connect(fd, (const struct sockaddr *)&address, sizeof address);
    wait_for_line(log[0], "accept failed");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_ERROR, STDERR_FILENO);
    assert_int_equal(connected, 0);
    assert_true(is_heard(fd));
    assert_served(fixture);
    close(fd);
    close(log[0]);
    close(log[1]);
    fixture_close(fixture);
}

static void refusals_are_logged_with_who_it_was(void **state)
{
    (void)state;
    const struct kms_socket_options options = { .max_per_uid = 1 };
    struct fixture *fixture = fixture_open(&default_server, &options);
    int log[2];
    assert_int_equal(pipe2(log, O_CLOEXEC), 0);
    int first = fixture_connect(fixture);
    assert_true(is_heard(first));
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_WARN, log[1]);
    int second = fixture_connect(fixture);
    char expected[64];
    snprintf(expected, sizeof expected, "peer_pid=%d connections=1", getpid());
    wait_for_line(log[0], expected);
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_ERROR, STDERR_FILENO);
    close(first);
    close(second);
    fixture_close(fixture);
    close(log[0]);
    close(log[1]);
}

#define TEST_AT_A_PLACE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    kms_log_open(KMS_LOG_TEXT, KMS_LOG_ERROR, STDERR_FILENO);
    const struct CMUnitTest tests[] = {
        TEST_AT_A_PLACE(the_socket_has_the_wanted_mode_and_group),
        TEST_AT_A_PLACE(the_socket_goes_to_a_group_by_number),
        TEST_AT_A_PLACE(an_unknown_group_is_refused),
        TEST_AT_A_PLACE(opening_leaves_umask_as_it_was),
        TEST_AT_A_PLACE(a_live_instance_is_not_displaced),
        TEST_AT_A_PLACE(a_live_stranger_without_a_lock_is_not_displaced),
        TEST_AT_A_PLACE(a_stale_socket_is_replaced),
        TEST_AT_A_PLACE(what_a_killed_instance_left_half_made_is_replaced),
        TEST_AT_A_PLACE(a_file_in_the_place_of_the_socket_is_refused),
        TEST_AT_A_PLACE(a_symbolic_link_in_the_place_of_the_socket_is_refused),
        cmocka_unit_test(a_relative_path_is_refused),
        cmocka_unit_test(an_abstract_socket_is_refused),
        TEST_AT_A_PLACE(a_path_that_does_not_fit_with_its_suffix_is_refused),
        TEST_AT_A_PLACE(the_longest_path_works),
        TEST_AT_A_PLACE(a_directory_writable_by_others_is_refused),
        TEST_AT_A_PLACE(a_sticky_directory_writable_by_others_is_refused),
        TEST_AT_A_PLACE(a_directory_writable_by_a_foreign_group_is_refused),
        TEST_AT_A_PLACE(a_directory_writable_by_the_sockets_group_is_fine),
        TEST_AT_A_PLACE(a_directory_of_another_user_is_refused),
        cmocka_unit_test(a_missing_directory_is_refused),
        TEST_AT_A_PLACE(the_lock_file_is_for_the_owner_alone),
        TEST_AT_A_PLACE(stop_removes_the_socket),
        TEST_AT_A_PLACE(stop_leaves_a_socket_that_is_not_ours),
        TEST_AT_A_PLACE(after_close_the_path_is_free_again),
        cmocka_unit_test(a_stranger_is_closed_before_http2),
        cmocka_unit_test(a_listed_uid_is_served),
        cmocka_unit_test(a_member_of_the_group_is_served),
        cmocka_unit_test(a_supplementary_member_of_the_group_is_served),
        cmocka_unit_test(the_65th_connection_of_a_uid_is_refused),
        cmocka_unit_test(a_closed_connection_makes_room_for_another),
        cmocka_unit_test(accept_recovers_when_descriptors_run_out),
        cmocka_unit_test(refusals_are_logged_with_who_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
