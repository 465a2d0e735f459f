/* SPDX-License-Identifier: Apache-2.0 */
#include "command.h"

int kms_command_key(int argc, char **argv)
{
    static const struct kms_command commands[] = {
        { "create", kms_command_key_create, "generate the next KEK of the ring" },
        { "list", kms_command_key_list, "show the ring's KEKs" },
        { NULL, NULL, NULL },
    };
    return kms_command_dispatch(commands, argc, argv);
}
