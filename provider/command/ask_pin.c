/* SPDX-License-Identifier: Apache-2.0 */
#include "ask_pin.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "kms/fd.h"
#include "pin.h"

static const int watched[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
enum { WATCHED_COUNT = sizeof(watched) / sizeof(watched[0]) };

static void interrupt_read(int signal_number)
{
    (void)signal_number; /* it is enough that read() returns EINTR */
}

static enum kms_code read_line(int tty, struct kms_secret *line, struct kms_error *err)
{
    ssize_t got = read(tty, line->data, line->cap);
    if (got < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "read", errno, "no PIN was given");
    line->len = (size_t)got;
    if (line->len == 0 || line->data[line->len - 1] != '\n')
        return kms_fail(err, KMS_E_PRECONDITION, "a PIN has 1 to %d bytes and ends with Enter",
                        PKCS11_PIN_MAX);
    line->len--;
    if (line->len == 0 || line->len > PKCS11_PIN_MAX || memchr(line->data, '\0', line->len) != NULL)
        return kms_fail(err, KMS_E_PRECONDITION, "a PIN has 1 to %d bytes", PKCS11_PIN_MAX);
    return KMS_OK;
}

/* A signal must not leave the terminal without echo, so it only ends the read. */
static enum kms_code read_without_echo(int tty, struct kms_secret *line, struct kms_error *err)
{
    struct termios normal;
    if (tcgetattr(tty, &normal) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "tcgetattr", errno, "/dev/tty");
    struct termios silent = normal;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    struct sigaction previous[WATCHED_COUNT];
    struct sigaction action = { .sa_handler = interrupt_read };
    for (size_t i = 0; i < WATCHED_COUNT; i++)
        (void)sigaction(watched[i], &action, &previous[i]);
    enum kms_code rc = KMS_OK;
    if (tcsetattr(tty, TCSAFLUSH, &silent) != 0)
        rc = kms_fail_errno(err, KMS_E_PRECONDITION, "tcsetattr", errno, "/dev/tty");
    if (rc == KMS_OK)
        rc = read_line(tty, line, err);
    (void)tcsetattr(tty, TCSAFLUSH, &normal);
    for (size_t i = 0; i < WATCHED_COUNT; i++)
        (void)sigaction(watched[i], &previous[i], NULL);
    return rc;
}

enum kms_code kms_ask_pin(const char *prompt, struct kms_secret *ret_pin, struct kms_error *err)
{
    KMS_CLEANUP(kms_fd_done) int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    if (tty < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno,
                              "--ask-pin needs a terminal; use --pin-file");
    KMS_CLEANUP(kms_secret_done) struct kms_secret line = { 0 };
    enum kms_code rc = kms_secret_init(&line, PKCS11_PIN_MAX + 2, err);
    if (rc != KMS_OK)
        return rc;
    (void)dprintf(tty, "%s", prompt);
    rc = read_without_echo(tty, &line, err);
    (void)dprintf(tty, "\n");
    if (rc != KMS_OK)
        return rc;
    *ret_pin = kms_secret_take(&line);
    return KMS_OK;
}
