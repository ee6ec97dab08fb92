/* For pages and tables that people read; programs get the plain numbers. */
#include "proxy/base/human.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

const char *human_count(uint64_t n, char buf[static HUMAN_MAX])
{
    char digits[24];
    size_t len = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n), at = 0;
    for (size_t i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            buf[at++] = ',';
        buf[at++] = digits[i];
    }
    buf[at] = '\0';
    return buf;
}

const char *human_size(double bytes, char buf[static HUMAN_MAX])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        bytes /= 1024;
        unit++;
    }
    snprintf(buf, HUMAN_MAX, unit > 0 && bytes < 100 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return buf;
}

const char *human_rate(double a_second, char buf[static HUMAN_MAX])
{
    int digits = a_second <= 0 || a_second >= 100 ? 0 : a_second >= 1 ? 1 : 2;
    snprintf(buf, HUMAN_MAX, "%.*f/s", digits, a_second);
    return buf;
}

const char *human_span(uint64_t seconds, char buf[static HUMAN_MAX])
{
    static const struct {
        uint64_t seconds;
        const char *unit;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    size_t i = 0;
    while (i < 3 && seconds < units[i].seconds)
        i++;
    uint64_t n = seconds / units[i].seconds, rest = seconds % units[i].seconds;
    if (i < 2 && rest / units[i + 1].seconds > 0)
        snprintf(buf, HUMAN_MAX, "%llu %s %llu %s", (unsigned long long)n, units[i].unit,
                 (unsigned long long)(rest / units[i + 1].seconds), units[i + 1].unit);
    else
        snprintf(buf, HUMAN_MAX, "%llu %s", (unsigned long long)n, units[i].unit);
    return buf;
}

const char *human_time(uint64_t wall_s, char buf[static HUMAN_MAX])
{
    time_t wall = (time_t)wall_s;
    struct tm tm;
    if (!gmtime_r(&wall, &tm) || strftime(buf, HUMAN_MAX, "%Y-%m-%d %H:%M:%S", &tm) == 0)
        buf[0] = '\0';
    return buf;
}
