/* Any bytes as ukai.conf: no crash, no leak, and what is accepted prints and reads back the same.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/inifile.h"
#include "conf/load.h"
#include "conf/print.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *printed(const struct conf *conf, size_t *ret_len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_len);

    if (!out)
        abort();
    print_conf(conf, out);
    fclose(out);
    return text;
}

/* Blanks that printing adds can push a line over what the guard takes. */
static bool has_long_line(const char *text)
{
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        if (len > INIFILE_LINE_MAX)
            return true;
        line += len + (line[len] == '\n');
    }
    return false;
}

static void expect_same(const struct conf *conf)
{
    struct findings findings = {0};
    struct conf again;
    size_t len, len2;
    char *text = printed(conf, &len);

    if (has_long_line(text)) {
        free(text);
        return;
    }
    if (load_bytes("fuzz.conf", text, len, "/nonexistent", &findings, &again) < 0)
        abort();
    char *text2 = printed(&again, &len2);
    if (len != len2 || memcmp(text, text2, len) != 0)
        abort();
    free(text);
    free(text2);
    load_fini(&again);
    findings_fini(&findings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct findings findings = {0};
    struct conf conf;

    if (size == 0)
        return 0;
    int r = load_bytes("fuzz.conf", (const char *)data, size, "/nonexistent", &findings, &conf);
    if ((r < 0) != (findings.n_errors > 0))
        abort();
    if (r == 0)
        expect_same(&conf);
    load_fini(&conf);
    findings_fini(&findings);
    return 0;
}
