/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_keep.h"
#include "audit_line.h"
#include "evidence.h"
#include "kms/fd.h"
#include "text.h"

enum { TAIL_MAX = 2 * KMS_AUDIT_LINE_MAX };

static const char *const writers[KMS_EVIDENCE_WRITERS] = { "serve", "admin" };

/* --- times --- */

/* From the end of the line before to @end, which is behind a line end. */
static size_t line_start(const char *text, size_t end)
{
    size_t start = end - 1;
    while (start > 0 && text[start - 1] != '\n')
        start--;
    return start;
}

void kms_evidence_last_time(int fd, char ret_time[static KMS_RFC3339_LEN + 1])
{
    struct stat st;
    char *text = kms_must_alloc(malloc(TAIL_MAX));
    ret_time[0] = '\0';
    size_t len = 0;
    if (fstat(fd, &st) == 0)
        len = st.st_size < TAIL_MAX ? (size_t)st.st_size : (size_t)TAIL_MAX;
    if (len > 0 && !kms_fd_read_at(fd, text, len, (uint64_t)st.st_size - len))
        len = 0;
    while (len > 0 && text[len - 1] != '\n')
        len--;
    size_t start = len > 0 ? line_start(text, len) : 0;
    struct kms_audit_line line = { .json = NULL };
    struct kms_error why = { .code = KMS_OK };
    const struct kms_bytes bytes = { (const uint8_t *)text + start, len > 0 ? len - 1 - start : 0 };
    if (kms_audit_line_parse(bytes, &line, &why) == KMS_OK)
        (void)snprintf(ret_time, KMS_RFC3339_LEN + 1, "%s", line.time);
    kms_audit_line_done(&line);
    free(text);
}

/* What can't be told is taken, for `audit verify` to judge. */
static bool is_recent(int fd, int64_t since_utc_s)
{
    char last[KMS_RFC3339_LEN + 1], since[KMS_RFC3339_LEN + 1];
    kms_evidence_last_time(fd, last);
    kms_rfc3339_format_ms(since_utc_s * 1000, since);
    return last[0] == '\0' || strcmp(last, since) >= 0;
}

/* The first line of @fd; false: it has none.  kms_audit_line_done(). */
static bool read_first(int fd, struct kms_audit_line *ret_line)
{
    struct kms_error why = { .code = KMS_OK };
    struct stat st;
    char *text = kms_must_alloc(malloc(KMS_AUDIT_LINE_MAX));
    size_t len = 0;
    if (fstat(fd, &st) == 0)
        len = st.st_size < KMS_AUDIT_LINE_MAX ? (size_t)st.st_size : (size_t)KMS_AUDIT_LINE_MAX;
    if (len > 0 && !kms_fd_read_at(fd, text, len, 0))
        len = 0;
    const char *end = len > 0 ? memchr(text, '\n', len) : NULL;
    const struct kms_bytes bytes = { (const uint8_t *)text,
                                     end != NULL ? (size_t)(end - text) : 0 };
    bool found = kms_audit_line_parse(bytes, ret_line, &why) == KMS_OK;
    free(text);
    return found;
}

/* --- files --- */

struct search {
    struct kms_evidence *evidence;
    struct kms_evidence_writer *writer; /* whose files are looked for */
    DIR *dir;                           /* owned */
    const char *base;                   /* the audit log's name, in @dir */
};

static bool is_same(int a, int b)
{
    struct stat of_a, of_b;
    return a >= 0 && b >= 0 && fstat(a, &of_a) == 0 && fstat(b, &of_b) == 0 &&
           of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
}

/* Takes @fd; -1: it is opened when it is copied.  A log whose name isn't fit for an archive is "log" there. */
static struct kms_evidence_file *add(struct search *search, const char *name, int fd)
{
    char *inside = NULL, *path = NULL;
    const char *base = kms_evidence_check_name(search->base) == NULL ? search->base : "log";
    const char *log = search->evidence->config.audit.path;
    if (asprintf(&inside, "audit/%s%s", base, name + strlen(search->base)) < 0 ||
        asprintf(&path, "%.*s%s", (int)(search->base - log), log, name) < 0)
        (void)kms_must_alloc(NULL);
    struct kms_evidence_file *file = kms_evidence_add(
        search->evidence, inside, "a whole file of the audit log, as it stands", KMS_EVIDENCE_COPY);
    free(inside);
    file->from = path;
    file->from_fd = fd;
    file->of_service = true;
    file->whole_lines = true;
    file->audit = true;
    file->served = strcmp(search->writer->name, writers[0]) == 0;
    return file;
}

static int by_name(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* The caller frees the names and the list. */
static char **list_rotated(DIR *dir, const char *live, size_t *ret_count)
{
    char **names = NULL;
    size_t count = 0;
    rewinddir(dir);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (!kms_audit_keep_is_rotated(entry->d_name, live))
            continue;
        names = kms_must_alloc(reallocarray(names, count + 1, sizeof(*names)));
        names[count++] = kms_must_alloc(strdup(entry->d_name));
    }
    if (count > 0)
        qsort(names, count, sizeof(*names), by_name);
    *ret_count = count;
    return names;
}

static int open_in(const struct search *search, const char *name)
{
    return openat(dirfd(search->dir), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

/* @file, of @fd, is the first that is taken of the writer.  What was before in its chain was left aside as
 * too old, if it is still there. */
static void look_at_beginning(const struct search *search, struct kms_evidence_file *file, int fd)
{
    char since[KMS_RFC3339_LEN + 1];
    struct kms_audit_line line = { .json = NULL };
    if (search->writer->from[0] != '\0' || !read_first(fd, &line))
        return;
    (void)snprintf(search->writer->from, sizeof(search->writer->from), "%s", line.time);
    kms_rfc3339_format_ms(search->evidence->options.since_utc_s * 1000, since);
    const char *previous = kms_audit_line_text(&line, "previous_file");
    bool goes_on = previous[0] != '\0' && strchr(previous, '/') == NULL &&
                   faccessat(dirfd(search->dir), previous, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    if (line.at.seq > 1 && !goes_on && strcmp(line.time, since) > 0)
        kms_evidence_set(file, KMS_EVIDENCE_FINDINGS,
                         "the log begins at %s: what was before was rotated away "
                         "(audit.rotate_keep), or taken away",
                         line.time);
    kms_audit_line_done(&line);
}

static void add_rotated(struct search *search, const char *name, int live_fd)
{
    int fd = open_in(search, name);
    if (fd < 0 && errno == ENOENT)
        return; /* rotate_keep took it away */
    if (fd < 0) {
        kms_evidence_set(add(search, name, -1), KMS_EVIDENCE_MISSING, "it can't be opened: %s",
                         strerror(errno));
        return;
    }
    if (!is_same(fd, live_fd) && is_recent(fd, search->evidence->options.since_utc_s))
        look_at_beginning(search, add(search, name, -1), fd);
    (void)close(fd);
}

/* A file that is of the writer, whatever it is; false: there is none. */
static bool find_trace(const struct search *search, const char *live,
                       char ret_name[static NAME_MAX + 1])
{
    rewinddir(search->dir);
    for (const struct dirent *entry = readdir(search->dir); entry != NULL;
         entry = readdir(search->dir)) {
        if (strncmp(entry->d_name, live, strlen(live)) != 0)
            continue;
        (void)snprintf(ret_name, NAME_MAX + 1, "%s", entry->d_name);
        return true;
    }
    return false;
}

/* kms_evidence_judge() knows more of what should be there. */
static void say_absent(const struct search *search, const char *live,
                       struct kms_evidence_file *file)
{
    char trace[NAME_MAX + 1];
    if (find_trace(search, live, trace))
        kms_evidence_set(file, KMS_EVIDENCE_MISSING,
                         "it isn't there, though %s is: the log was in use, and was taken away",
                         trace);
    else
        kms_evidence_set(file, KMS_EVIDENCE_LEFT_OUT,
                         "nothing shows that anything was ever written there");
}

/* The one that is written is opened first, and stays so: if it is rotated meanwhile, it is met once more, by
 * number, and is the same. */
static void add_writer(struct search *search)
{
    char live[NAME_MAX + 1];
    size_t count = 0;
    (void)snprintf(live, sizeof(live), "%s.%s", search->base, search->writer->name);
    int fd = open_in(search, live);
    int errnum = errno;
    char **rotated = list_rotated(search->dir, live, &count);
    for (size_t i = 0; i < count; i++) {
        add_rotated(search, rotated[i], fd);
        free(rotated[i]);
    }
    free((void *)rotated);
    struct kms_evidence_file *file = add(search, live, fd);
    if (fd >= 0)
        look_at_beginning(search, file, fd);
    else if (errnum == ENOENT)
        say_absent(search, live, file);
    else
        kms_evidence_set(file, KMS_EVIDENCE_MISSING, "it can't be opened: %s", strerror(errnum));
}

void kms_evidence_plan_audit(struct kms_evidence *evidence)
{
    const char *path = evidence->config.audit.path;
    const char *base = strrchr(path, '/') + 1; /* the configuration has absolute paths only */
    struct search search = { .evidence = evidence, .base = base };
    char *folder = kms_must_alloc(strndup(path, (size_t)(base - path)));
    search.dir = opendir(folder);
    int errnum = errno;
    free(folder);
    for (size_t i = 0; i < KMS_EVIDENCE_WRITERS; i++) {
        search.writer = &evidence->writers[i];
        search.writer->name = writers[i];
        if (search.dir != NULL) {
            add_writer(&search);
            continue;
        }
        char name[NAME_MAX + 1];
        (void)snprintf(name, sizeof(name), "%s.%s", base, writers[i]);
        kms_evidence_set(add(&search, name, -1), KMS_EVIDENCE_MISSING,
                         "its directory can't be opened: %s", strerror(errnum));
    }
    if (search.dir != NULL)
        (void)closedir(search.dir);
}
