/* SPDX-License-Identifier: Apache-2.0 */
/* doctor's checks of the host: each as it passes and as it fails. */
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "doctor_rig.h"
#include "doctor_unit.h"

static struct doctor_rig *rig_of(void **state)
{
    return *state;
}

static void below(const struct doctor_rig *rig, const char *name, char ret_path[static 128])
{
    (void)snprintf(ret_path, 128, "%s/%s", rig->dir, name);
}

static void state_dir_is_there_and_private(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "state-dir", KMS_DOCTOR_OK, "0700");
    assert_int_equal(chmod(rig->state_dir, 0755), 0);
    doctor_rig_expect(rig, "state-dir", KMS_DOCTOR_FAIL, "0755");
    assert_int_equal(rmdir(rig->state_dir), 0);
    doctor_rig_expect(rig, "state-dir", KMS_DOCTOR_FAIL, "No such file");
}

static void nobody_else_may_write_to_the_sockets_directory(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    char path[128];
    below(rig, "run", path);
    doctor_rig_expect(rig, "socket-directory", KMS_DOCTOR_OK, "0755");
    assert_int_equal(chmod(path, 01777), 0);
    doctor_rig_expect(rig, "socket-directory", KMS_DOCTOR_FAIL, "1777");
    assert_int_equal(unlink(rig->socket), 0);
    (void)snprintf(rig->socket, sizeof(rig->socket), "/nonexistent/kms.sock");
    doctor_rig_expect(rig, "socket-directory", KMS_DOCTOR_FAIL, "isn't there");
}

static void the_socket_is_as_configured(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "socket", KMS_DOCTOR_OK, "mode 0660");
    rig->doctor.config.socket.mode = 0600;
    doctor_rig_expect(rig, "socket", KMS_DOCTOR_WARN, "0600");
    rig->doctor.service_uid = geteuid() + 1;
    doctor_rig_expect(rig, "socket", KMS_DOCTOR_FAIL, "belongs to uid");
    assert_int_equal(unlink(rig->socket), 0);
    doctor_rig_expect(rig, "socket", KMS_DOCTOR_FAIL, "no socket");
}

static void the_sockets_group_exists(void **state)
{
    static char nobody[] = "no-such-group";
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "peer-rules", KMS_DOCTOR_OK, "root");
    rig->doctor.config.socket.group = nobody;
    rig->doctor.socket_gid_known = false;
    doctor_rig_expect(rig, "peer-rules", KMS_DOCTOR_FAIL, "no-such-group");
}

static void an_allowed_uid_can_open_the_socket(void **state)
{
    uint32_t uids[] = { 65534 };
    struct doctor_rig *rig = rig_of(state);
    rig->doctor.config.socket.allow_uids = uids;
    rig->doctor.config.socket.allow_uid_count = 1;
    doctor_rig_expect(rig, "peer-rules", KMS_DOCTOR_WARN, "65534");
    rig->doctor.config.socket.mode = 0666;
    doctor_rig_expect(rig, "peer-rules", KMS_DOCTOR_WARN, "every local user");
}

static void the_unit_comes_before_kubelet(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_OK, "before kubelet.service");
    doctor_rig_write(rig, "etc/systemd/system/hsm-kms.service", "[Unit]\nBefore=k3s.service\n");
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_FAIL, "isn't ordered before kubelet");
    doctor_rig_write(rig, "etc/systemd/system/kubelet.service.d/10-kms.conf",
                     "[Unit]\nAfter=network.target hsm-kms.service\n");
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_OK, "before kubelet.service");
}

static void without_a_unit_k3s_fails_and_kubelet_is_a_warning(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    rig->doctor.options.unit = "other.service";
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_WARN, "static Pod");
    doctor_rig_write(rig, "etc/systemd/system/k3s.service", "[Unit]\n");
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_FAIL, "a Pod comes too late");
}

static void a_host_without_any_of_these_units_is_unknown(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    rig->doctor.options.host_root = "/nonexistent";
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_WARN, "unknown");
}

static void a_unit_lists_whole_words_of_one_setting(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    const struct kms_doctor *doctor = &rig->doctor;
    assert_true(kms_unit_lists(doctor, "hsm-kms.service", "Before", "k3s.service"));
    assert_false(kms_unit_lists(doctor, "hsm-kms.service", "Before", "k3s"));
    assert_false(kms_unit_lists(doctor, "hsm-kms.service", "After", "k3s.service"));
    assert_false(kms_unit_lists(doctor, "hsm-kms.service", "Bef", "k3s.service"));
    assert_false(kms_unit_lists(doctor, "none.service", "Before", "k3s.service"));
}

static void only_the_section_unit_counts(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_write(rig, "etc/systemd/system/hsm-kms.service",
                     "Before=kubelet.service\n[Service]\nBefore=kubelet.service\n");
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_FAIL, "isn't ordered before");
    doctor_rig_write(rig, "etc/systemd/system/hsm-kms.service",
                     "[Service]\nType=notify\n  [Unit]\n  Before=kubelet.service\n");
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_OK, "comes before");
}

static void a_line_goes_on_behind_a_backslash_and_comments_are_none(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_write(rig, "etc/systemd/system/hsm-kms.service",
                     "[Unit]\n# Before=kubelet.service\n;Before=kubelet.service\n"
                     "Description=a \\\nBefore=kubelet.service\n");
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_FAIL, "isn't ordered before");
    doctor_rig_write(rig, "etc/systemd/system/hsm-kms.service",
                     "[Unit]\nBefore=k3s.service \\\n# why\n  kubelet.service\n");
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_OK, "comes before");
    doctor_rig_write(rig, "etc/systemd/system/hsm-kms.service",
                     "[Unit]\n# a comment \\\nBefore=kubelet.service");
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_OK, "comes before");
}

static void a_drop_in_of_etc_hides_the_one_of_usr(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_write(rig, "etc/systemd/system/hsm-kms.service", "[Unit]\n");
    doctor_rig_write(rig, "usr/lib/systemd/system/hsm-kms.service.d/10.conf",
                     "[Unit]\nBefore=kubelet.service\n");
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_OK, "comes before");
    doctor_rig_write(rig, "etc/systemd/system/hsm-kms.service.d/10.conf", "[Unit]\n");
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_FAIL, "isn't ordered before");
}

static void an_order_both_ways_fails(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_write(rig, "etc/systemd/system/hsm-kms.service.d/10.conf",
                     "[Unit]\nAfter=kubelet.service\n");
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_FAIL, "both before and after");
}

static void a_unit_that_isnt_enabled_is_a_warning(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    char link[128];
    below(rig, "etc/systemd/system/multi-user.target.wants/hsm-kms.service", link);
    assert_int_equal(unlink(link), 0);
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_WARN, "isn't enabled");
    doctor_rig_write(rig, "etc/systemd/system/kubelet.service.d/10.conf",
                     "[Unit]\nWants=hsm-kms.service\n");
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_OK, "comes before");
}

static void a_masked_unit_isnt_there(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    char unit[128];
    below(rig, "etc/systemd/system/kubelet.service", unit);
    assert_int_equal(symlink("/dev/null", unit), 0);
    doctor_rig_expect(rig, "start-order", KMS_DOCTOR_WARN, "unknown");
}

static void nobody_else_may_change_a_directory_above(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    char top[128], sub[160], link[128], file[192];
    doctor_rig_expect(rig, "directories", KMS_DOCTOR_OK, "alone");
    below(rig, "open", top);
    assert_int_equal(mkdir(top, 0755), 0);
    assert_int_equal(chmod(top, 0777), 0);
    (void)snprintf(file, sizeof(file), "%s/sub/pin", top);
    rig->token.pin_file = file;
    doctor_rig_write(rig, "open/sub/pin", "1234\n");
    doctor_rig_expect(rig, "directories", KMS_DOCTOR_FAIL, "the PIN file: the directory");
    assert_int_equal(chmod(top, 01777), 0);
    doctor_rig_expect(rig, "directories", KMS_DOCTOR_OK, "alone");
    below(rig, "link", link);
    (void)snprintf(sub, sizeof(sub), "%s/sub", top);
    assert_int_equal(symlink(sub, link), 0);
    (void)snprintf(file, sizeof(file), "%s/pin", link);
    assert_int_equal(chmod(top, 0777), 0);
    doctor_rig_expect(rig, "directories", KMS_DOCTOR_FAIL, "/open above it has mode 0777");
}

static void a_directory_above_belongs_to_root_or_the_service(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    char path[128];
    if (geteuid() != 0)
        skip();
    below(rig, "run", path);
    assert_int_equal(chown(path, 12345, 0), 0);
    doctor_rig_expect(rig, "directories", KMS_DOCTOR_FAIL, "belongs to uid 12345");
    rig->doctor.service_uid = 12345;
    doctor_rig_expect(rig, "directories", KMS_DOCTOR_OK, "alone");
}

static void the_service_alone_may_write_ring_json(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    char path[128];
    doctor_rig_write(rig, "state/ring.json", "{}");
    below(rig, "state/ring.json", path);
    assert_int_equal(chmod(path, 0600), 0);
    doctor_rig_expect(rig, "state-dir", KMS_DOCTOR_OK, "0700");
    assert_int_equal(chmod(path, 0660), 0);
    doctor_rig_expect(rig, "state-dir", KMS_DOCTOR_FAIL, "ring.json");
}

static void selinux_wants_a_label_for_containers(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    struct kms_doctor_selinux *selinux = &rig->doctor.selinux;
    doctor_rig_expect(rig, "selinux", KMS_DOCTOR_OK, "isn't in use");
    selinux->present = selinux->enforcing = true;
    (void)snprintf(selinux->label, sizeof(selinux->label), "system_u:object_r:var_run_t:s0");
    doctor_rig_expect(rig, "selinux", KMS_DOCTOR_WARN, "var_run_t");
    (void)snprintf(selinux->label, sizeof(selinux->label), "system_u:object_r:container_file_t:s0");
    doctor_rig_expect(rig, "selinux", KMS_DOCTOR_OK, "container_file_t");
}

/* What /sys would say of the device under the rig. */
static void write_device(struct doctor_rig *rig, const char *name, const char *text)
{
    char path[128];
    struct stat st;
    assert_int_equal(stat(rig->dir, &st), 0);
    (void)snprintf(path, sizeof(path), "sys/dev/block/%u:%u/%s", major(st.st_dev), minor(st.st_dev),
                   name);
    doctor_rig_write(rig, path, text);
}

static void etcds_disk_is_encrypted_plain_or_unknown(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_expect(rig, "etcd-disk", KMS_DOCTOR_WARN, "no data directory");
    rig->doctor.options.etcd_data_dir = "/enc";
    doctor_rig_expect(rig, "etcd-disk", KMS_DOCTOR_WARN, "unknown");
    write_device(rig, "size", "1\n");
    doctor_rig_expect(rig, "etcd-disk", KMS_DOCTOR_WARN, "without dm-crypt");
    write_device(rig, "dm/uuid", "LVM-abc\n");
    doctor_rig_expect(rig, "etcd-disk", KMS_DOCTOR_WARN, "without dm-crypt");
    write_device(rig, "dm/uuid", "CRYPT-LUKS2-abc\n");
    doctor_rig_expect(rig, "etcd-disk", KMS_DOCTOR_OK, "dm-crypt");
}

static void a_volume_is_encrypted_if_all_that_it_is_made_of_is(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    rig->doctor.options.etcd_data_dir = "/enc";
    write_device(rig, "slaves/dm-1/dm/uuid", "CRYPT-LUKS2-abc\n");
    doctor_rig_expect(rig, "etcd-disk", KMS_DOCTOR_OK, "dm-crypt");
    write_device(rig, "slaves/sdb/size", "1\n");
    doctor_rig_expect(rig, "etcd-disk", KMS_DOCTOR_WARN, "without dm-crypt");
}

static void etcds_usual_directory_is_found(void **state)
{
    struct doctor_rig *rig = rig_of(state);
    doctor_rig_write(rig, "var/lib/etcd/member", "");
    doctor_rig_expect(rig, "etcd-disk", KMS_DOCTOR_WARN, "/var/lib/etcd");
}

int main(void)
{
#define with_rig(test) cmocka_unit_test_setup_teardown(test, doctor_rig_setup, doctor_rig_teardown)
    const struct CMUnitTest tests[] = {
        with_rig(state_dir_is_there_and_private),
        with_rig(nobody_else_may_write_to_the_sockets_directory),
        with_rig(the_socket_is_as_configured),
        with_rig(the_sockets_group_exists),
        with_rig(an_allowed_uid_can_open_the_socket),
        with_rig(the_unit_comes_before_kubelet),
        with_rig(without_a_unit_k3s_fails_and_kubelet_is_a_warning),
        with_rig(a_host_without_any_of_these_units_is_unknown),
        with_rig(a_unit_lists_whole_words_of_one_setting),
        with_rig(only_the_section_unit_counts),
        with_rig(a_line_goes_on_behind_a_backslash_and_comments_are_none),
        with_rig(a_drop_in_of_etc_hides_the_one_of_usr),
        with_rig(an_order_both_ways_fails),
        with_rig(a_unit_that_isnt_enabled_is_a_warning),
        with_rig(a_masked_unit_isnt_there),
        with_rig(nobody_else_may_change_a_directory_above),
        with_rig(a_directory_above_belongs_to_root_or_the_service),
        with_rig(the_service_alone_may_write_ring_json),
        with_rig(selinux_wants_a_label_for_containers),
        with_rig(etcds_disk_is_encrypted_plain_or_unknown),
        with_rig(a_volume_is_encrypted_if_all_that_it_is_made_of_is),
        with_rig(etcds_usual_directory_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
