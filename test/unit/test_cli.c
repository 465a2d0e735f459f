/* SPDX-License-Identifier: Apache-2.0 */
/* The installed program's manners: exit codes, and what goes to which stream. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct run {
    int code;
    char out[8192];
    char err[8192];
};

static void read_back(int fd, char *text, size_t cap)
{
    ssize_t got = pread(fd, text, cap - 1, 0);
    assert_true(got >= 0);
    text[got] = '\0';
    (void)close(fd);
}

static int scratch_file(void)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    int fd = dup(fileno(file));
    assert_true(fd >= 0);
    (void)fclose(file);
    return fd;
}

/* @out is a file for stdout. */
static struct run run_into(int out, const char *const *arguments)
{
    char *argv[12] = { NULL };
    static char program[] = HSM_KMS;
    argv[0] = program;
    for (size_t i = 0; arguments[i] != NULL; i++)
        argv[i + 1] = strdup(arguments[i]);
    int err = scratch_file();
    pid_t child = fork();
    if (child == 0) {
        if (dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0)
            _exit(126);
        execv(program, argv);
        _exit(127);
    }
    int status = 0;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    for (size_t i = 1; argv[i] != NULL; i++)
        free(argv[i]);
    struct run result = { .code = WIFEXITED(status) ? WEXITSTATUS(status) : -1 };
    read_back(out, result.out, sizeof(result.out));
    read_back(err, result.err, sizeof(result.err));
    return result;
}

static struct run run_program(const char *const *arguments)
{
    return run_into(scratch_file(), arguments);
}

#define RUN(...) run_program((const char *const[]){ __VA_ARGS__, NULL })

static void version_is_one_line_on_stdout(void **state)
{
    (void)state;
    struct run run = RUN("--version");
    assert_int_equal(run.code, 0);
    assert_string_equal(run.out, "hsm-kms " KMS_VERSION "\n");
}

static void help_lists_all_commands(void **state)
{
    (void)state;
    struct run run = RUN("--help");
    assert_int_equal(run.code, 0);
    static const char *const names[] = { "\n  serve ", "\n  key ", "\n  probe ", "\n  status ",
                                         "\n  config " };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_non_null(strstr(run.out, names[i]));
    assert_string_equal(run.err, "");
}

static void every_command_has_help(void **state)
{
    (void)state;
    static const char *const commands[][3] = {
        { "serve", NULL },
        { "key", NULL },
        { "key", "create", NULL },
        { "key", "list", NULL },
        { "probe", NULL },
        { "status", NULL },
        { "config", NULL },
        { "config", "check", NULL },
        { "config", "reference", NULL },
    };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        const char *second = commands[i][1];
        struct run run = RUN(commands[i][0], second != NULL ? second : "--help", "--help");
        char usage[64];
        (void)snprintf(usage, sizeof(usage), "Usage: hsm-kms %s%s%s ", commands[i][0],
                       second != NULL ? " " : "", second != NULL ? second : "");
        assert_int_equal(run.code, 0);
        assert_memory_equal(run.out, usage, strlen(usage));
    }
}

static void no_command_is_an_error(void **state)
{
    (void)state;
    struct run run = RUN(NULL);
    assert_int_equal(run.code, 1);
    assert_string_equal(run.out, "");
}

static void an_unknown_command_is_answered_by_a_near_one(void **state)
{
    (void)state;
    struct run run = RUN("prob");
    assert_int_equal(run.code, 1);
    assert_string_equal(run.err,
                        "hsm-kms: unknown command 'prob'; did you mean 'hsm-kms probe'?\n");
}

static void an_unknown_subcommand_is_answered_by_a_near_one(void **state)
{
    (void)state;
    struct run run = RUN("key", "crate");
    assert_int_equal(run.code, 1);
    assert_string_equal(run.err,
                        "hsm-kms: unknown command 'crate'; did you mean 'hsm-kms key create'?\n");
}

static void an_unlike_command_is_answered_by_help(void **state)
{
    (void)state;
    struct run run = RUN("\x1b[31mfrobnicate");
    assert_int_equal(run.code, 1);
    assert_string_equal(run.err, "hsm-kms: unknown command '\\x1b[31mfrobnicate'; 'hsm-kms --help' "
                                 "lists all\n");
}

static void an_unknown_option_exits_1(void **state)
{
    (void)state;
    struct run run = RUN("key", "list", "--frob");
    assert_int_equal(run.code, 1);
    assert_string_equal(run.out, "");
}

static void an_unknown_output_form_exits_1(void **state)
{
    (void)state;
    struct run run = RUN("probe", "-o", "xml");
    assert_int_equal(run.code, 1);
    assert_non_null(strstr(run.err, "--output is text or json"));
}

static void probe_of_nothing_fails_with_advice(void **state)
{
    (void)state;
    struct run run = RUN("probe", "--socket", "/nonexistent/x.sock", "--timeout", "1s");
    assert_int_equal(run.code, 1);
    assert_string_equal(run.out, "");
    assert_memory_equal(run.err, "hsm-kms: Status on /nonexistent/x.sock: ", 40);
    assert_non_null(strstr(run.err, "see that hsm-kms serve runs"));
}

static void probe_of_nothing_says_so_in_json_too(void **state)
{
    (void)state;
    struct run run = RUN("probe", "--socket", "/nonexistent/x.sock", "-o", "json");
    assert_int_equal(run.code, 1);
    assert_non_null(strstr(run.out, "\"schema\": \"hsm-kms/probe/v1\""));
    assert_non_null(strstr(run.out, "\"ok\": false"));
    assert_non_null(strstr(run.out, "\"failed\": \"Status\""));
    assert_memory_equal(run.err, "hsm-kms: ", 9);
}

static void status_of_nothing_exits_1(void **state)
{
    (void)state;
    struct run run = RUN("status", "--socket", "/nonexistent/x.sock");
    assert_int_equal(run.code, 1);
    assert_string_equal(run.out, "");
}

static void config_check_of_nothing_exits_1(void **state)
{
    (void)state;
    struct run run = RUN("config", "check", "--config", "/nonexistent/c.yaml");
    assert_int_equal(run.code, 1);
    assert_string_equal(run.err, "hsm-kms: /nonexistent/c.yaml: No such file or directory\n");
}

static void config_reference_prints_the_table(void **state)
{
    (void)state;
    struct run run = RUN("config", "reference");
    assert_int_equal(run.code, 0);
    assert_memory_equal(run.out, "| Field | Type and range | Default | Meaning |\n", 47);
}

static void a_full_stdout_is_an_error(void **state)
{
    (void)state;
    int full = open("/dev/full", O_RDWR | O_CLOEXEC);
    assert_true(full >= 0);
    struct run run = run_into(full, (const char *const[]){ "config", "reference", NULL });
    assert_int_equal(run.code, 1);
    assert_string_equal(run.err, "hsm-kms: stdout: No space left on device\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_is_one_line_on_stdout),
        cmocka_unit_test(help_lists_all_commands),
        cmocka_unit_test(every_command_has_help),
        cmocka_unit_test(no_command_is_an_error),
        cmocka_unit_test(an_unknown_command_is_answered_by_a_near_one),
        cmocka_unit_test(an_unknown_subcommand_is_answered_by_a_near_one),
        cmocka_unit_test(an_unlike_command_is_answered_by_help),
        cmocka_unit_test(an_unknown_option_exits_1),
        cmocka_unit_test(an_unknown_output_form_exits_1),
        cmocka_unit_test(probe_of_nothing_fails_with_advice),
        cmocka_unit_test(probe_of_nothing_says_so_in_json_too),
        cmocka_unit_test(status_of_nothing_exits_1),
        cmocka_unit_test(config_check_of_nothing_exits_1),
        cmocka_unit_test(config_reference_prints_the_table),
        cmocka_unit_test(a_full_stdout_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
