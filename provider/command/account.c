/* SPDX-License-Identifier: Apache-2.0 */
#include "account.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

struct kms_account kms_account_of(const char *state_dir)
{
    struct stat st;
    if (geteuid() != 0 || stat(state_dir, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid == 0)
        return (struct kms_account){ .other = false };
    const struct passwd *user = getpwuid(st.st_uid); /* NOLINT: commands have one thread here */
    return (struct kms_account){
        .other = true,
        .uid = st.st_uid,
        .gid = user != NULL ? user->pw_gid : st.st_gid,
    };
}

/* A uid without a passwd entry (a container's) has no groups but its own. */
static int set_groups(const struct kms_account *account)
{
    const struct passwd *user = getpwuid(account->uid); /* NOLINT: one thread, as above */
    if (user != NULL)
        return initgroups(user->pw_name, account->gid);
    return setgroups(0, NULL);
}

enum kms_code kms_account_become(const struct kms_account *account, struct kms_error *err)
{
    if (!account->other)
        return KMS_OK;
    if (set_groups(account) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "setgroups", errno, "can't become uid %u",
                              (unsigned)account->uid);
    if (setresgid(account->gid, account->gid, account->gid) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "setresgid", errno, "can't become gid %u",
                              (unsigned)account->gid);
    if (setresuid(account->uid, account->uid, account->uid) != 0)
        return kms_fail_errno(err, KMS_E_PRECONDITION, "setresuid", errno, "can't become uid %u",
                              (unsigned)account->uid);
    if (setuid(0) == 0)
        return kms_fail(err, KMS_E_INTERNAL, "uid %u can become root again",
                        (unsigned)account->uid);
    return KMS_OK;
}
