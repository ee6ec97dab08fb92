/* `preset = NAME`: which file it is, what its lines become, and whose line an error is of. */
#include "conf/aclfile.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "conf/fileset.h"
#include "found.h"

#define HEAD "[in]\ntcp 8080 = 192.168.1.10\n[out]\n" /* the first line of [out] is 4 */

enum { TEXT_MAX = 4096 };

/* An ACL in a folder of its own, beside presets.d. */
struct beside {
    char dir[32];
    char acl_path[PATH_MAX], preset_path[PATH_MAX]; /* presets.d/mine.conf: not there yet */
    struct findings findings;
    struct acl *acl;
    char said[TEXT_MAX];
};

static void begin(struct beside *b, const char *out)
{
    char text[TEXT_MAX], folder[PATH_MAX];
    *b = (struct beside){0};
    found_dir(b->dir);
    chmod(b->dir, 0755);
    snprintf(b->acl_path, sizeof(b->acl_path), "%s/acl.conf", b->dir);
    snprintf(folder, sizeof(folder), "%s/presets.d", b->dir);
    cr_assert_eq(mkdir(folder, 0755), 0);
    snprintf(b->preset_path, sizeof(b->preset_path), "%s/presets.d/mine.conf", b->dir);
    snprintf(text, sizeof(text), HEAD "%s", out);
    found_write(b->acl_path, text, strlen(text));
}

static int load(struct beside *b)
{
    int rc = aclfile_load(b->acl_path, &b->findings, &b->acl);
    found_text(&b->findings, b->said, sizeof(b->said));
    return rc;
}

static void end(struct beside *b)
{
    acl_free(b->acl);
    findings_fini(&b->findings);
}

static void write_preset(const struct beside *b, const char *text)
{
    found_write(b->preset_path, text, strlen(text));
}

/* Refused, with an error of @file and @line that says @part. */
static void expect_refused(struct beside *b, const char *file, unsigned line, const char *part)
{
    bool is_there = false;
    cr_expect_eq(load(b), -EINVAL, "%s", b->said);
    cr_expect_null(b->acl);
    for (size_t i = 0; i < b->findings.n_items; i++) {
        const struct finding *f = &b->findings.items[i];
        is_there = is_there || (f->level == FINDING_ERROR && f->line == line &&
                                strcmp(f->file, file) == 0 && strstr(f->text, part));
    }
    cr_expect(is_there, "no error of %s:%u with `%s`:\n%s", file, line, part, b->said);
    end(b);
}

static void expect_rule(const struct acl *acl, size_t at, unsigned line, const char *text,
                        const char *memo)
{
    cr_assert_lt(at, acl->n_out);
    const struct rule_place *place = &acl->out[at].place;
    cr_expect_eq(place->line, line);
    cr_expect_str_eq(place->file, "acl.conf");
    cr_expect_str_eq(place->text, text);
    cr_expect_str_eq(place->memo, memo);
}

Test(conf_preset, add__takes_the_line_that_names_it__and_keeps_both_memos)
{
    struct beside b;
    begin(&b, "deny = x.example\npreset = mine ; 申請 12\n");
    write_preset(&b, "; theirs\n[preset]\nallow = a.example:443 ; 自分の\nallow = 10.1.0.0/16\n");
    cr_assert_eq(load(&b), 0, "%s", b.said);
    cr_expect_eq(b.findings.n_items, 0, "%s", b.said);
    cr_expect_eq(b.acl->n_out, 3);
    expect_rule(b.acl, 1, 5, "allow = a.example:443", "preset mine:3: 自分の; 申請 12");
    expect_rule(b.acl, 2, 5, "allow = 10.1.0.0/16", "preset mine:4; 申請 12");
    cr_expect(b.acl->out[2].opens_special);
    end(&b);
}

Test(conf_preset, add__gives_each_section_its_rules__when_two_name_it)
{
    struct beside b;
    begin(&b, "preset = mine\n[group g]\nmember = 192.168.1.10\n[out @g]\npreset = mine\n");
    write_preset(&b, "[preset]\nallow = a.example ; m\n");
    cr_assert_eq(load(&b), 0, "%s", b.said);
    cr_assert_eq(b.acl->n_out, 2);
    expect_rule(b.acl, 0, 4, "allow = a.example", "preset mine:2: m");
    expect_rule(b.acl, 1, 8, "allow = a.example", "preset mine:2: m");
    cr_expect_neq(b.acl->out[0].section, b.acl->out[1].section);
    end(&b);
}

Test(conf_preset, add__keeps_its_own_place__when_memos_are_long)
{
    struct beside b;
    char out[TEXT_MAX], text[TEXT_MAX];
    snprintf(out, sizeof(out), "preset = mine ; %0150d\n", 1);
    begin(&b, out);
    snprintf(text, sizeof(text),
             "[preset]\nallow = a.example ; %0150d\nallow = b.example ; %0150d\n", 2, 2);
    write_preset(&b, text);
    cr_assert_eq(load(&b), 0, "%s", b.said);
    cr_assert_eq(b.acl->n_out, 2);
    cr_expect_eq(strncmp(b.acl->out[0].place.memo, "preset mine:2: 0", 16), 0);
    cr_expect_eq(strncmp(b.acl->out[1].place.memo, "preset mine:3: 0", 16), 0);
    end(&b);
}

/* However many bytes stand before it, no character is cut. */
Test(conf_preset, add__takes_long_memos__in_any_script)
{
    static const char memo[] = "あああああああああああああああああああああああああああああああああ"
                               "あああああああああああああああああ"
                               "あああああああああああああああああああああああああああああああああ"
                               "あああああああああああああああああ";
    for (int n = 0; n < 4; n++) {
        struct beside b;
        char text[TEXT_MAX], wanted[TEXT_MAX];
        begin(&b, "preset = mine\n");
        snprintf(text, sizeof(text), "[preset]\nallow = a.example ; %.*s%s\n", n, "xxx", memo);
        write_preset(&b, text);
        cr_assert_eq(load(&b), 0, "%s", b.said);
        snprintf(wanted, sizeof(wanted), "preset mine:2: %.*s%s", n, "xxx", memo);
        expect_rule(b.acl, 0, 4, "allow = a.example", wanted);
        end(&b);
    }
}

Test(conf_preset, add__names_the_line_of_the_preset__when_it_is_wrong)
{
    static const struct {
        const char *text;
        unsigned line;
        const char *part;
    } rows[] = {
        {"[preset]\nallow = ok.example\nallow = http://x.example\n", 3, ""},
        {"[preset]\nallow = 10.0.0.1/8\n", 2, "host bits"},
        {"[preset]\n\ndeny = x.example\n", 3, "allow = PATTERN"},
        {"[preset]\npreset = mine\n", 2, "allow = PATTERN"},
        {"[out]\nallow = x.example\n", 1, "one section, [preset]"},
        {"[preset]\nallow = x.example\n[in]\nany = ::/0\n", 3, "one section, [preset]"},
        {"allow = x.example\n", 1, ""},
        {"[preset]\nallow = x.example # y\n", 2, ""},
        {"", 0, "no line"},
        {"[preset]\n", 0, "no line"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct beside b;
        begin(&b, "preset = mine\n");
        write_preset(&b, rows[i].text);
        expect_refused(&b, b.preset_path, rows[i].line, rows[i].part);
    }
}

Test(conf_preset, add__offers_the_nearest_name__of_those_beside_the_acl)
{
    struct beside b;
    begin(&b, "preset = mien\n");
    write_preset(&b, "[preset]\nallow = a.example\n");
    expect_refused(&b, b.acl_path, 4, "did you mean mine?");
    begin(&b, "preset = quite-another\n");
    write_preset(&b, "[preset]\nallow = a.example\n");
    expect_refused(&b, b.acl_path, 4, "known are: mine");
}

Test(conf_preset, add__takes_names_only__and_no_path)
{
    static const char *const names[] = {
        "../presets.d/mine", "mine.conf", "/etc/passwd", "Mine", "-mine", "mine/", ".",
        "mine,mine"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct beside b;
        char out[TEXT_MAX];
        snprintf(out, sizeof(out), "preset = %s\n", names[i]);
        begin(&b, out);
        write_preset(&b, "[preset]\nallow = a.example\n");
        expect_refused(&b, b.acl_path, 4, "there is no preset");
    }
}

Test(conf_preset, add__refuses_what_is_no_regular_file__without_waiting)
{
    struct beside b;
    char target[PATH_MAX];
    begin(&b, "preset = mine\n");
    snprintf(target, sizeof(target), "%s/fifo", b.dir);
    cr_assert_eq(mkfifo(target, 0600), 0);
    cr_assert_eq(symlink(target, b.preset_path), 0);
    expect_refused(&b, b.preset_path, 0, "FIFO");
    begin(&b, "preset = mine\n");
    cr_assert_eq(symlink("/dev/zero", b.preset_path), 0);
    expect_refused(&b, b.preset_path, 0, "device");
    begin(&b, "preset = mine\n");
    cr_assert_eq(mkdir(b.preset_path, 0755), 0);
    expect_refused(&b, b.preset_path, 0, "directory");
}

Test(conf_preset, add__refuses_what_it_may_not_read_or_is_too_long)
{
    struct beside b;
    begin(&b, "preset = mine\n");
    write_preset(&b, "[preset]\nallow = a.example\n");
    cr_assert_eq(chmod(b.preset_path, 0), 0);
    /* Root reads everything. */
    cr_assert(geteuid() != 0 || seteuid(65534) == 0);
    expect_refused(&b, b.preset_path, 0, "ermission");
    cr_assert(getuid() != 0 || seteuid(0) == 0);

    static char text[2 * 1024 * 1024];
    memset(text, ';', sizeof(text));
    begin(&b, "preset = mine\n");
    found_write(b.preset_path, text, sizeof(text));
    expect_refused(&b, b.preset_path, 0, "larger");
}

/* Files that are in memory only: the acl's folder is /x, the other that of the installation. */
static void expect_from(struct fileset *set, const char *wanted)
{
    static const char text[] = HEAD "preset = mine\n";
    struct findings findings = {.files = set};
    struct acl *acl = NULL;
    char said[TEXT_MAX];
    int rc = aclfile_parse_bytes("/x/acl.conf", text, strlen(text), &findings, &acl);
    cr_assert_eq(rc, 0, "%s", found_text(&findings, said, sizeof(said)));
    cr_assert_eq(acl->n_out, 1);
    cr_expect_str_eq(acl->out[0].place.text, wanted);
    acl_free(acl);
    findings_fini(&findings);
}

Test(conf_preset, add__prefers_the_admins_file__to_the_one_that_came_along)
{
    static char own[] = "[preset]\nallow = own.example\n";
    static char shipped[] = "[preset]\nallow = shipped.example\n";
    static char own_path[] = "/x/presets.d/mine.conf", shipped_path[] = UKAI_PRESETS "/mine.conf";
    struct fileset_file files[] = {{shipped_path, shipped, sizeof(shipped) - 1},
                                   {own_path, own, sizeof(own) - 1}};
    expect_from(&(struct fileset){.is_replay = true, .files = files, .n_files = 2},
                "allow = own.example");
    expect_from(&(struct fileset){.is_replay = true, .files = files, .n_files = 1},
                "allow = shipped.example");
}
