/* Values of options: text into what the table asks for. Thread-safety: stateless. */
#ifndef MUNINN_CLI_COMMON_OPTION_VALUES_H
#define MUNINN_CLI_COMMON_OPTION_VALUES_H

#include "bench/rows/lists.h"
#include "cli/common/options.h"

/* "a|b", in `text` [CHOICES_BYTES] where it has to be made; NULL when the option has no choices. */
const char *option_choices(const struct command_option *option, char *text, size_t text_bytes);
/* Reads `text`, which flags ignore, to the option's place in `values`. MN_ERR_USAGE names option and value. */
enum mn_status option_store(const struct command_option *option, const char *text, void *values,
                            const struct mn_log *log);

#endif
