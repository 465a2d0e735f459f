/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "evidence.h"
#include "json.h"
#include "kms/fd.h"
#include "text.h"

enum { SMALL_FILE_MAX = 64 * 1024 };

/* --- files --- */

/* The file that @path leads to, and its SHA-256; null for what can't be read. */
static void add_file(json_t *object, const char *path)
{
    char real[PATH_MAX], digest[KMS_EVIDENCE_DIGITS + 1];
    uint64_t size = 0;
    KMS_CLEANUP(kms_fd_done) int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    bool known = fd >= 0 && kms_digest_fd(fd, digest, &size);
    kms_json_set(object, "file", kms_json_text(realpath(path, real) != NULL ? real : NULL));
    kms_json_set(object, "sha256", kms_json_text(known ? digest : NULL));
}

/* Owned; "" if it can't be read, or is longer. */
static char *read_small(int fd)
{
    char *text = kms_must_alloc(calloc(1, SMALL_FILE_MAX + 1));
    size_t len = 0;
    if (fd < 0 || !kms_fd_read(fd, text, SMALL_FILE_MAX, &len) || len == SMALL_FILE_MAX)
        text[0] = '\0';
    return text;
}

/* --- the program --- */

/* What a library says of itself, by one of these; NULL: it has none. */
static const char *version_of(const char *path)
{
    static const struct {
        const char *library, *function;
    } known[] = {
        { "libgrpc.so", "grpc_version_string" },       { "libprotobuf-c.so", "protobuf_c_version" },
        { "libyaml-0.so", "yaml_get_version_string" }, { "libjansson.so", "jansson_version_str" },
        { "libarchive.so", "archive_version_string" },
    };
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    if (strncmp(name, "libcrypto.so", strlen("libcrypto.so")) == 0)
        return OpenSSL_version(OPENSSL_VERSION);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strncmp(name, known[i].library, strlen(known[i].library)) != 0)
            continue;
        const char *(*tell)(void) = NULL;
        void *symbol = dlsym(RTLD_DEFAULT, known[i].function);
        memcpy(&tell, &symbol, sizeof(tell)); /* ISO C has no cast for it */
        return tell != NULL ? tell() : NULL;
    }
    return NULL;
}

static int add_library(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size;
    if (info->dlpi_name[0] != '/')
        return 0; /* the program itself, and the kernel's vDSO */
    json_t *library = json_object();
    const char *slash = strrchr(info->dlpi_name, '/');
    kms_json_set(library, "name", kms_json_text(slash + 1));
    kms_json_set(library, "version", kms_json_text(version_of(info->dlpi_name)));
    add_file(library, info->dlpi_name);
    kms_json_append(context, library);
    return 0;
}

static json_t *program_json(void)
{
    json_t *program = json_object();
    kms_json_set(program, "version", kms_json_text(KMS_VERSION));
    add_file(program, "/proc/self/exe");
    return program;
}

/* --- tokens --- */

/* What `token describe` said of it; NULL where it said nothing.  Owned. */
static json_t *described(const struct kms_stage *stage, const char *token)
{
    char name[sizeof("tokens/.json") + KMS_TOKEN_NAME_MAX];
    (void)snprintf(name, sizeof(name), "tokens/%s.json", token);
    KMS_CLEANUP(kms_fd_done)
    int fd = openat(stage->files_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    char *text = read_small(fd);
    json_t *object = json_loads(text, 0, NULL);
    free(text);
    return object;
}

static json_t *token_json(const struct kms_config_token *config, const struct kms_stage *stage)
{
    static const char *const told[] = { "library",  "manufacturer", "model",
                                        "firmware", "label",        "serial" };
    json_t *object = json_object(), *description = described(stage, config->name);
    const json_t *token = json_object_get(description, "token");
    kms_json_set(object, "name", kms_json_text(config->name));
    kms_json_set(object, "module", kms_json_text(config->module));
    add_file(object, config->module);
    for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++)
        kms_json_set(object, told[i],
                     kms_json_text(json_string_value(json_object_get(token, told[i]))));
    json_decref(description);
    return object;
}

/* --- the host --- */

void kms_os_release_json(const char *text, json_t *object)
{
    for (const char *line = text; *line != '\0'; line += strspn(line, "\n")) {
        size_t len = strcspn(line, "\n"), name_len = strcspn(line, "=\n");
        const char *value = line + name_len + 1;
        if (line[0] >= 'A' && line[0] <= 'Z' && name_len < len) {
            size_t value_len = len - name_len - 1;
            bool quoted = value_len >= 2 && value[0] == '"' && value[value_len - 1] == '"';
            char *name = kms_must_alloc(strndup(line, name_len));
            const struct kms_bytes bytes = { (const uint8_t *)value + (quoted ? 1 : 0),
                                             value_len - (quoted ? 2 : 0) };
            kms_json_set(object, name, kms_json_bytes(bytes));
            free(name);
        }
        line += len;
    }
}

static json_t *os_release(void)
{
    KMS_CLEANUP(kms_fd_done) int fd = open("/etc/os-release", O_RDONLY | O_CLOEXEC);
    json_t *object = json_object();
    char *text = read_small(fd);
    kms_os_release_json(text, object);
    free(text);
    return object;
}

static json_t *kernel(void)
{
    struct utsname name;
    json_t *object = json_object();
    if (uname(&name) != 0)
        return object;
    kms_json_set(object, "system", kms_json_text(name.sysname));
    kms_json_set(object, "release", kms_json_text(name.release));
    kms_json_set(object, "version", kms_json_text(name.version));
    kms_json_set(object, "machine", kms_json_text(name.machine));
    return object;
}

json_t *kms_evidence_versions(const struct kms_evidence *evidence, const struct kms_stage *stage)
{
    json_t *object = kms_json_open("evidence-versions");
    json_t *libraries = json_array(), *tokens = json_array();
    (void)dl_iterate_phdr(add_library, libraries);
    for (size_t i = 0; i < evidence->config.token_count; i++)
        kms_json_append(tokens, token_json(&evidence->config.tokens[i], stage));
    kms_json_set(object, "hsm_kms", program_json());
    kms_json_set(object, "libraries", libraries);
    kms_json_set(object, "tokens", tokens);
    kms_json_set(object, "kernel", kernel());
    kms_json_set(object, "os_release", os_release());
    return object;
}
