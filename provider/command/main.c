/* SPDX-License-Identifier: Apache-2.0 */
#include <argp.h>

#include "command.h"

const char *argp_program_version = "hsm-kms " KMS_VERSION;

static const struct kms_command commands[] = {
    { "serve", kms_command_serve, "serve kube-apiserver on a Unix socket" },
    { "key", kms_command_key, "create and list KEKs on the token" },
    { "pin", kms_command_pin, "learn whether a PIN is the right one" },
    { "token", kms_command_token, "learn what the token is and can do" },
    { "token-host", kms_command_token_host, "serve's own child, which has the PKCS#11 library" },
    { "probe", kms_command_probe, "try Status, Encrypt and Decrypt on a running plugin" },
    { "status", kms_command_status, "what a running plugin says of itself" },
    { "verify", kms_command_verify, "prove what is encrypted in etcd, and under which key" },
    { "inspect", kms_command_inspect, "show or open one value of etcd" },
    { "audit", kms_command_audit, "check and show the audit log" },
    { "doctor", kms_command_doctor, "look at all that has to be right around the plugin" },
    { "evidence", kms_command_evidence, "gather what an auditor asks for into one archive" },
    { "config", kms_command_config, "check the configuration; print its reference" },
    { NULL, NULL, NULL },
};

int main(int argc, char **argv)
{
    static char name[] = "hsm-kms";
    if (argc > 0)
        argv[0] = name;
    return kms_command_dispatch(commands, argc, argv);
}
