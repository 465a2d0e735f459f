/* SPDX-License-Identifier: Apache-2.0 */
#include "pin.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kms/fd.h"

enum { READ_MAX = PKCS11_PIN_MAX + 3 }; /* CR, LF, and one byte that shows that there is more */

/* systemd gives credentials mode 0440 there, for a group that only names the service. */
static bool is_in_credentials_directory(const char *path)
{
    const char *wanted = getenv("CREDENTIALS_DIRECTORY");
    char directory[PATH_MAX];
    char file[PATH_MAX];
    if (wanted == NULL || realpath(wanted, directory) == NULL || realpath(path, file) == NULL)
        return false;
    size_t len = strlen(directory);
    return strncmp(file, directory, len) == 0 && file[len] == '/';
}

static enum kms_code check_file(int fd, const char *path, struct kms_error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "fstat", errno, "can't check the PIN file");
    if (!S_ISREG(st.st_mode))
        return kms_fail(err, KMS_E_PRECONDITION, "the PIN file is not a regular file");
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return kms_fail(err, KMS_E_PRECONDITION,
                        "the PIN file belongs to uid %u: chown it to root or to uid %u",
                        (unsigned)st.st_uid, (unsigned)geteuid());
    if ((st.st_mode & S_IRWXO) != 0)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "the PIN file is open to others (mode %04o): chmod 0400 it",
                        (unsigned)(st.st_mode & 07777));
    if ((st.st_mode & S_IRWXG) != 0 && !is_in_credentials_directory(path))
        return kms_fail(err, KMS_E_PRECONDITION,
                        "the PIN file is open to its group (mode %04o): chmod 0400 it",
                        (unsigned)(st.st_mode & 07777));
    return KMS_OK;
}

static void strip_newline(struct kms_secret *pin)
{
    if (pin->len == 0 || pin->data[pin->len - 1] != '\n')
        return;
    pin->len--;
    if (pin->len > 0 && pin->data[pin->len - 1] == '\r')
        pin->len--;
}

static enum kms_code check_pin(const struct kms_secret *pin, struct kms_error *err)
{
    if (pin->len == 0)
        return kms_fail(err, KMS_E_PRECONDITION, "the PIN file is empty: write the PIN into it");
    if (pin->len > PKCS11_PIN_MAX)
        return kms_fail(err, KMS_E_PRECONDITION, "the PIN file holds more than %d bytes",
                        PKCS11_PIN_MAX);
    if (memchr(pin->data, '\0', pin->len) != NULL)
        return kms_fail(err, KMS_E_PRECONDITION,
                        "the PIN file holds a NUL byte: write the PIN as plain text");
    return KMS_OK;
}

enum kms_code pkcs11_pin_read(const char *path, struct kms_secret *ret_pin, struct kms_error *err)
{
    /* O_NONBLOCK: a FIFO there must not hold us up before it is refused. */
    KMS_CLEANUP(kms_fd_done) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "open", errno, "can't open the PIN file");
    enum kms_code rc = check_file(fd, path, err);
    if (rc != KMS_OK)
        return rc;
    KMS_CLEANUP(kms_secret_done) struct kms_secret pin = { 0 };
    rc = kms_secret_init(&pin, READ_MAX, err);
    if (rc != KMS_OK)
        return rc;
    if (!kms_fd_read(fd, pin.data, pin.cap, &pin.len))
        return kms_fail_errno(err, KMS_E_PRECONDITION, "read", errno, "can't read the PIN file");
    strip_newline(&pin);
    rc = check_pin(&pin, err);
    if (rc == KMS_OK)
        *ret_pin = kms_secret_take(&pin);
    return rc;
}
